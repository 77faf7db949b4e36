//! Lines from a person, with editing and a history, on a thread of their own.

use std::{
    fs::{DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::mpsc as blocking,
    thread,
};

use rustyline::{Config, DefaultEditor, error::ReadlineError};
use tokio::sync::mpsc;

/// More lines than this are forgotten, the oldest first.
const HISTORY_MAX: usize = 1000;

/// What came of asking for a line.
#[derive(Debug)]
pub(super) enum Line {
    /// A line.
    Text(String),
    /// Ctrl-C on the prompt.
    Dropped,
    /// Ctrl-D, or the end of the file.
    End,
    /// The terminal does not work any more.
    Broken(ReadlineError),
}

/// Asks for lines.
#[derive(Debug)]
pub(super) struct Editor {
    ask_tx: blocking::SyncSender<()>,
    line_rx: mpsc::Receiver<Line>,
    /// A line was asked for and has not come.
    asked: bool,
}

impl Editor {
    /// Starts the thread. Without a `history` file, the history ends with the conversation.
    pub(super) fn start(history: Option<PathBuf>, prompt: String) -> rustyline::Result<Self> {
        let config = Config::builder()
            .max_history_size(HISTORY_MAX)?
            .auto_add_history(true)
            .build();
        let mut editor = DefaultEditor::with_config(config)?;
        // A history is a comfort: without one the conversation is as good.
        let history = history.filter(|path| create_private(path).is_ok());
        if let Some(path) = &history {
            let _ = editor.load_history(path);
        }
        // One question, one answer: both queues hold all that can be in them.
        let (ask_tx, ask_rx) = blocking::sync_channel::<()>(1);
        let (line_tx, line_rx) = mpsc::channel(1);
        thread::Builder::new().name("lines".into()).spawn(move || {
            while ask_rx.recv().is_ok() {
                let line = match editor.readline(prompt.as_str()) {
                    Ok(text) => Line::Text(text),
                    Err(ReadlineError::Interrupted) => Line::Dropped,
                    Err(ReadlineError::Eof) => Line::End,
                    Err(error) => Line::Broken(error),
                };
                if let (Line::Text(_), Some(path)) = (&line, &history) {
                    let _ = editor.append_history(path);
                }
                if line_tx.blocking_send(line).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self {
            ask_tx,
            line_rx,
            asked: false,
        })
    }

    /// The next line. Cancel safe: a line that was asked for is waited for the next time.
    pub(super) async fn next(&mut self) -> Line {
        if !self.asked {
            self.asked = self.ask_tx.try_send(()).is_ok();
        }
        let line = self.line_rx.recv().await;
        self.asked = false;
        line.unwrap_or(Line::End)
    }
}

/// Makes sure that there is a file that only this user can read.
fn create_private(path: &Path) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path);
    file.map(drop)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn the_history_is_private_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/chat_history");
        create_private(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let dir_mode = fs::metadata(path.parent().unwrap())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(dir_mode & 0o777, 0o700);
        fs::write(&path, "kept\n").unwrap();
        create_private(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept\n");
    }
}
