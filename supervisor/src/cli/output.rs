//! The only module that prints.
//!
//! What was asked for goes to standard output, everything else to standard error. A write that fails
//! ends the command; a closed pipe does so quietly. Text from models and agents is shown without its
//! control characters on a terminal, where they could rewrite the screen, and as it is elsewhere.

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::exit::Failure;
use crate::config::{self, Diagnostics};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// How much is said beside what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verbosity {
    /// Errors.
    Quiet,
    /// Notes and progress too.
    Normal,
    /// And what is behind errors.
    Verbose,
}

/// Where a command's words go.
#[derive(Debug)]
pub(super) struct Output {
    verbosity: Verbosity,
    stdout: io::Stdout,
    stderr: io::Stderr,
}

impl Output {
    pub(super) fn new(verbosity: Verbosity) -> Self {
        Self {
            verbosity,
            stdout: io::stdout(),
            stderr: io::stderr(),
        }
    }

    /// Whether standard output is a terminal.
    pub(super) fn on_terminal() -> bool {
        io::stdout().is_terminal()
    }

    /// How many columns there are; no limit when standard output is not a terminal.
    pub(super) fn width() -> Option<usize> {
        comfy_table::Table::new().width().map(usize::from)
    }

    /// How many lines there are; no limit when standard output is not a terminal.
    pub(super) fn height() -> Option<usize> {
        if !Self::on_terminal() {
            return None;
        }
        let (_, rows) = crossterm::terminal::size().ok()?;
        (rows > 0).then_some(usize::from(rows))
    }

    /// Prints a line of what was asked for.
    pub(super) fn line(&self, text: impl Display) -> io::Result<()> {
        writeln!(AutoStream::auto(self.stdout.lock()), "{text}")
    }

    /// Prints what was asked for as it is, at once.
    pub(super) fn text(&self, text: impl Display) -> io::Result<()> {
        let mut stdout = AutoStream::auto(self.stdout.lock());
        write!(stdout, "{text}")?;
        stdout.flush()
    }

    /// Prints bytes that are not for eyes: scripts, pages.
    pub(super) fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Prints terminal controls; does nothing when standard output is no terminal.
    pub(super) fn control(&self, sequence: &str) -> io::Result<()> {
        if Self::on_terminal() {
            self.bytes(sequence.as_bytes())?;
        }
        Ok(())
    }

    /// Says something beside what was asked for.
    pub(super) fn note(&self, text: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            self.say(format_args!("{DIM}{text}{DIM:#}"));
        }
    }

    /// Says why the command fails.
    pub(super) fn failure(&self, failure: &Failure) {
        if failure.silent {
            return;
        }
        self.say(format_args!(
            "{ERROR}error{ERROR:#}: {}",
            printable(&failure.message)
        ));
        if let Some(hint) = &failure.hint {
            self.say(format_args!("{HINT}hint{HINT:#}: {}", printable(hint)));
        }
        if self.verbosity == Verbosity::Verbose {
            for detail in &failure.details {
                self.say(format_args!("{DIM}{}{DIM:#}", printable(detail)));
            }
        }
    }

    /// Draws what was found in a configuration.
    pub(super) fn diagnostics(&self, found: &Diagnostics) {
        let hide = found.errors() == 0 && self.verbosity == Verbosity::Quiet;
        if !found.is_empty() && !hide {
            self.say(found.render(config::Style::Ansi));
        }
    }

    /// Prints what the supervisor found in a configuration.
    pub(super) fn report(&self, report: &str) {
        if !report.is_empty() && self.verbosity > Verbosity::Quiet {
            self.say(printable(report.trim_end()));
        }
    }

    /// Asks on the terminal; the answer comes on the same line.
    pub(super) fn prompt(&self, text: impl Display) {
        let mut stderr = AutoStream::auto(self.stderr.lock());
        let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
    }

    fn say(&self, text: impl Display) {
        // There is nowhere left to complain to.
        let _ = writeln!(AutoStream::auto(self.stderr.lock()), "{text}");
    }

    /// A sign that something is awaited; it vanishes when dropped. Only on a terminal.
    pub(super) fn spinner(&self, what: impl Into<String>) -> Spinner {
        if self.verbosity < Verbosity::Normal || !io::stderr().is_terminal() {
            return Spinner(ProgressBar::with_draw_target(
                None,
                ProgressDrawTarget::hidden(),
            ));
        }
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")
            .expect("the template is constant");
        let bar = ProgressBar::new_spinner()
            .with_style(style)
            .with_message(what.into());
        bar.enable_steady_tick(Duration::from_millis(100));
        Spinner(bar)
    }
}

/// See [`Output::spinner`].
#[derive(Debug)]
pub(super) struct Spinner(ProgressBar);

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// `text` without terminal controls. A sequence that is cut in two leaves harmless characters behind.
pub(super) fn printable(text: &str) -> String {
    let plain = anstream::adapter::strip_str(text).to_string();
    let shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    plain.chars().filter(shown).collect()
}

/// Text from a model or an agent, as it can be shown where standard output goes.
pub(super) fn foreign(text: &str) -> Cow<'_, str> {
    if Output::on_terminal() {
        printable(text).into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_drive_the_terminal() {
        assert_eq!(
            printable("a\x1b[2Jb\r\x07c\x1b]0;title\x07d\n\te\u{7f}ü"),
            "abcd\n\teü"
        );
        // Cut in two, or in the form of one character.
        for text in ["a\x1b[2", "Jb", "\u{9b}31mc", "\x1b]0;title"] {
            assert!(!printable(text).chars().any(char::is_control), "{text:?}");
        }
    }
}
