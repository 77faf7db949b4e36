//! Takes the terminal, and gives it back however this ends: by a key, an error, a signal or a panic.

use std::{
    io::{self, IsTerminal as _, Stdout, Write},
    panic,
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
    layout::{Position, Rect},
};

use super::super::exit::{Exit, Failure};

/// A terminal with a screen of its own, until dropped.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

/// Whether there is a terminal that a screen can be painted on.
pub(super) fn check() -> Result<(), Failure> {
    // A terminal that cannot move its cursor has this name by convention.
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let why = if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        "this is not a terminal"
    } else if dumb {
        "this terminal cannot move its cursor (TERM=dumb)"
    } else {
        return Ok(());
    };
    Err(Failure::new(why)
        .exit(Exit::Usage)
        .hint("`kennel status --watch` prints the same figures line by line"))
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn enter() -> io::Result<Self> {
        // Before the first control goes out: a panic is told on the ordinary screen, with lines that
        // begin at the left.
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            release();
            told(panic);
        }));
        take()?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()));
        terminal
            .map(|terminal| Self { terminal })
            .inspect_err(|_| release())
    }

    pub(super) fn terminal(&mut self) -> &mut Terminal<CrosstermBackend<Stdout>> {
        &mut self.terminal
    }

    /// Gives the terminal to the shell that started us, until it says to go on.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        release();
        // Stops here. Where no shell is in control, this does nothing.
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTSTP)?;
        take()?;
        self.anew()
    }

    /// Has the next picture painted in full.
    pub(super) fn anew(&mut self) -> io::Result<()> {
        // Not `clear`: it asks the terminal where its cursor is, and the answer would have to pass
        // those who wait for keys.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        release();
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen).inspect_err(|_| release())
}

/// Twice does no harm. Who cannot be told that it failed is not told.
fn release() {
    let _ = leave(&mut io::stdout());
    let _ = disable_raw_mode();
}

fn leave(out: &mut impl Write) -> io::Result<()> {
    execute!(out, LeaveAlternateScreen, Show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_the_ordinary_screen_and_the_cursor() {
        let mut out = Vec::new();
        leave(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\x1b[?1049l\x1b[?25h");
    }
}
