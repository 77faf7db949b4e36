//! What children print, line by line into a rotated file per agent.
//!
//! Each pipe has a task here that reads, splits and stamps lines, and hands them to the one
//! [`LogWriter`] thread: disks block, and the supervisor's loop must not. A task has one batch with
//! the writer at a time and a budget of bytes per second; a child that prints more finds its pipe
//! full and waits. So a flood costs its author only, and memory is bounded by two batches a pipe.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, SystemTime},
};

use kennel_shared::ids::AgentId;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    sync::{broadcast, mpsc, oneshot, watch},
    task::AbortHandle,
    time::Instant,
};
use tracing::{error, warn};

/// A longer line is broken.
pub const LINE_MAX_BYTES: usize = 8 * 1024;

/// What one pipe may print per second, in the long run.
const BYTES_PER_SECOND: f64 = 1024.0 * 1024.0;

/// What one pipe may print at once.
const BURST_BYTES: f64 = 2.0 * 1024.0 * 1024.0;

/// What is read at once.
const READ_BYTES: usize = 16 * 1024;

/// Batches of all agents that wait for the writer. Full: the tasks wait, and their children's pipes
/// fill.
const WRITER_QUEUE: usize = 64;

/// Lines that a follower may lag behind before it is told that it missed some.
const FOLLOW_LINES: usize = 512;

/// When a log is put aside, and how many old ones are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// A file that has grown to this many bytes is put aside.
    pub max_bytes: u64,
    /// How many files that were put aside are kept.
    pub keep: u32,
}

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The child's standard output.
    Out,
    /// The child's standard error.
    Err,
    /// The supervisor, on the child.
    Kennel,
}

impl Source {
    fn tag(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
            Self::Kennel => "kennel",
        }
    }
}

struct Batch {
    agent: AgentId,
    rotation: Rotation,
    bytes: Vec<u8>,
    done: Option<oneshot::Sender<()>>,
}

/// A handle to the thread that writes the logs.
#[derive(Debug, Clone)]
pub struct LogWriter {
    directory: Arc<Path>,
    batches: mpsc::Sender<Batch>,
}

impl LogWriter {
    /// Starts the thread; logs go to `<directory>/<agent>.log`. It ends when the last handle is
    /// dropped and everything handed in is written.
    pub fn start(directory: PathBuf) -> io::Result<(Self, thread::JoinHandle<()>)> {
        let (batches, mut inbox) = mpsc::channel::<Batch>(WRITER_QUEUE);
        let mut files = Files {
            directory: directory.clone(),
            open: HashMap::new(),
        };
        let thread = thread::Builder::new()
            .name("log-writer".into())
            .stack_size(256 * 1024)
            .spawn(move || {
                while let Some(batch) = inbox.blocking_recv() {
                    if let Err(error) = files.write(&batch) {
                        warn!(agent.id = %batch.agent, %error, "an agent's log cannot be written");
                    }
                    if let Some(done) = batch.done {
                        let _ = done.send(());
                    }
                }
            })?;
        Ok((
            Self {
                directory: directory.into(),
                batches,
            },
            thread,
        ))
    }

    /// The file of an agent's present log.
    pub fn path(&self, agent: &AgentId) -> PathBuf {
        log_path(&self.directory, agent)
    }
}

fn log_path(directory: &Path, agent: &AgentId) -> PathBuf {
    directory.join(format!("{agent}.log"))
}

/// The thread's own state.
struct Files {
    directory: PathBuf,
    open: HashMap<AgentId, (File, u64)>,
}

impl Files {
    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let path = log_path(&self.directory, &batch.agent);
        if !self.open.contains_key(&batch.agent) {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&path)?;
            let length = file.metadata()?.len();
            self.open.insert(batch.agent.clone(), (file, length));
        }
        let (file, length) = self.open.get_mut(&batch.agent).expect("just opened");
        file.write_all(&batch.bytes)?;
        *length += batch.bytes.len() as u64;
        if *length >= batch.rotation.max_bytes {
            self.open.remove(&batch.agent);
            rotate(&path, batch.rotation.keep)?;
        }
        Ok(())
    }
}

/// `x.log` becomes `x.log.1`, that becomes `x.log.2`, and the oldest goes.
fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |n: u32| PathBuf::from(format!("{}.{n}", path.display()));
    if keep == 0 {
        return fs::remove_file(path);
    }
    for n in (1..keep).rev() {
        match fs::rename(numbered(n), numbered(n + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
}

/// The log of one agent: for its driver to write to, for others to follow.
#[derive(Debug, Clone)]
pub struct AgentLog {
    agent: AgentId,
    rotation: watch::Sender<Rotation>,
    writer: LogWriter,
    /// Made for the first follower: its slots are most of what an agent would cost the supervisor.
    lines: Arc<OnceLock<broadcast::Sender<Arc<str>>>>,
}

impl AgentLog {
    /// The log of `agent`.
    pub fn new(agent: AgentId, rotation: Rotation, writer: LogWriter) -> Self {
        Self {
            agent,
            rotation: watch::Sender::new(rotation),
            writer,
            lines: Arc::default(),
        }
    }

    /// Puts it aside by another rule from now on, for all who write to it.
    pub fn rotate_by(&self, rotation: Rotation) {
        self.rotation.send_replace(rotation);
    }

    /// Where its lines are kept.
    pub fn path(&self) -> PathBuf {
        self.writer.path(&self.agent)
    }

    /// Lines as they come.
    pub fn follow(&self) -> broadcast::Receiver<Arc<str>> {
        let lines = || broadcast::Sender::new(FOLLOW_LINES);
        self.lines.get_or_init(lines).subscribe()
    }

    /// A line of the supervisor's own among the child's. Left out when the writer is swamped.
    pub fn note(&self, text: &str) {
        let mut batch = Vec::new();
        self.stamp(Source::Kennel, text.as_bytes(), &mut batch);
        let _ = self.writer.batches.try_send(self.batch(batch, None));
    }

    /// Captures one pipe of a child until it closes, or the returned handle is told to abort: what
    /// outlives the child may hold the pipe for ever.
    pub fn capture(&self, pipe: OwnedFd, source: Source) -> Option<AbortHandle> {
        let log = self.clone();
        match pipe::Receiver::from_owned_fd(pipe) {
            Ok(pipe) => Some(tokio::spawn(log.run(pipe, source)).abort_handle()),
            Err(error) => {
                error!(agent.id = %self.agent, %error, "an agent's output cannot be captured");
                None
            }
        }
    }

    async fn run(self, mut pipe: pipe::Receiver, source: Source) {
        let mut splitter = Splitter::default();
        let mut budget = Budget {
            bytes: BURST_BYTES,
            at: Instant::now(),
        };
        let mut buffer = Vec::with_capacity(READ_BYTES);
        loop {
            buffer.clear();
            let read = pipe.read_buf(&mut buffer).await.unwrap_or_default();
            let mut batch = Vec::new();
            splitter.split(&buffer, read == 0, |line| {
                self.stamp(source, line, &mut batch);
            });
            if !batch.is_empty() {
                self.write(batch).await;
            }
            if read == 0 {
                return;
            }
            budget.spend(read).await;
        }
    }

    async fn write(&self, bytes: Vec<u8>) {
        let (done, written) = oneshot::channel();
        if self
            .writer
            .batches
            .send(self.batch(bytes, Some(done)))
            .await
            .is_ok()
        {
            let _ = written.await;
        }
    }

    fn batch(&self, bytes: Vec<u8>, done: Option<oneshot::Sender<()>>) -> Batch {
        Batch {
            agent: self.agent.clone(),
            rotation: *self.rotation.borrow(),
            bytes,
            done,
        }
    }

    fn stamp(&self, source: Source, line: &[u8], batch: &mut Vec<u8>) {
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let text: String = String::from_utf8_lossy(line)
            .chars()
            .map(harmless)
            .collect();
        let line = format!("{time} {} {text}", source.tag());
        batch.extend_from_slice(line.as_bytes());
        batch.push(b'\n');
        // Nobody following is the usual case.
        if let Some(lines) = self.lines.get() {
            let _ = lines.send(line.into());
        }
    }
}

/// A log is read in terminals: control characters of a hostile line must not reach them.
fn harmless(c: char) -> char {
    if c.is_control() && c != '\t' {
        '\u{fffd}'
    } else {
        c
    }
}

/// Bytes per second, with a burst.
struct Budget {
    bytes: f64,
    at: Instant,
}

impl Budget {
    async fn spend(&mut self, bytes: usize) {
        let now = Instant::now();
        let earned = now.duration_since(self.at).as_secs_f64() * BYTES_PER_SECOND;
        self.bytes = (self.bytes + earned).min(BURST_BYTES);
        self.at = now;
        #[expect(clippy::cast_precision_loss, reason = "at most READ_BYTES")]
        let spent = bytes as f64;
        self.bytes -= spent;
        if self.bytes < 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(-self.bytes / BYTES_PER_SECOND)).await;
        }
    }
}

/// Finds lines in pieces of any size. Pure.
#[derive(Default)]
struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    /// Takes `bytes` and calls `each` with every line that is complete, too long, or, at the `end`,
    /// left over.
    fn split(&mut self, bytes: &[u8], end: bool, mut each: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let complete = piece.last() == Some(&b'\n');
            let mut text = if complete {
                &piece[..piece.len() - 1]
            } else {
                piece
            };
            while self.partial.len() + text.len() > LINE_MAX_BYTES {
                let (head, tail) = text.split_at(LINE_MAX_BYTES - self.partial.len());
                self.partial.extend_from_slice(head);
                each(&self.partial);
                self.partial.clear();
                text = tail;
            }
            self.partial.extend_from_slice(text);
            if complete {
                each(&self.partial);
                self.partial.clear();
            }
        }
        if end && !self.partial.is_empty() {
            each(&std::mem::take(&mut self.partial));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut splitter, mut found) = (Splitter::default(), Vec::new());
        for piece in pieces {
            splitter.split(piece, false, |line| found.push(line.to_vec()));
        }
        splitter.split(b"", true, |line| found.push(line.to_vec()));
        found
    }

    #[test]
    fn a_line_may_come_in_pieces_and_the_last_without_an_end() {
        assert_eq!(lines(&[b"a", b"b\n\nc", b"d"]), [&b"ab"[..], b"", b"cd"]);
    }

    #[test]
    fn a_line_without_an_end_is_broken() {
        let found = lines(&[&vec![b'x'; LINE_MAX_BYTES * 2 + 5]]);
        assert_eq!(
            found.iter().map(Vec::len).collect::<Vec<_>>(),
            [LINE_MAX_BYTES, LINE_MAX_BYTES, 5]
        );
    }

    #[test]
    fn old_logs_move_on_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        for n in 0..5 {
            fs::write(&path, n.to_string()).unwrap();
            rotate(&path, 2).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["a.log.1", "a.log.2"]);
        assert_eq!(
            fs::read_to_string(directory.path().join("a.log.1")).unwrap(),
            "4"
        );
    }

    #[tokio::test]
    async fn the_rule_of_the_moment_puts_a_log_aside() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, _) = LogWriter::start(directory.path().to_owned()).unwrap();
        let roomy = Rotation {
            max_bytes: 1 << 20,
            keep: 1,
        };
        let log = AgentLog::new("a".parse().unwrap(), roomy, writer);
        let own = log.clone();
        own.write(b"one\n".to_vec()).await;
        assert!(log.path().exists());
        log.rotate_by(Rotation {
            max_bytes: 1,
            ..roomy
        });
        own.write(b"two\n".to_vec()).await;
        assert!(!log.path().exists(), "it was put aside");
    }

    proptest! {
        #[test]
        fn the_cut_of_the_pieces_does_not_matter(
            text in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..300),
            cut in 1usize..50,
        ) {
            let pieces: Vec<&[u8]> = text.chunks(cut).collect();
            prop_assert_eq!(lines(&pieces), lines(&[&text]));
        }
    }
}
