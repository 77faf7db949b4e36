//! A program on a terminal of its own: what it paints is read by a terminal emulator that others wrote.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    num::NonZero,
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use kennel_tests::harness::until_ended;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::{
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize},
};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);

/// A program and its terminal. The program is killed when this is dropped.
pub(super) struct Pty {
    terminal: File,
    /// The program's end, held open to see how it leaves it.
    inner: OwnedFd,
    before: Termios,
    child: Child,
    seen: Arc<Mutex<Seen>>,
}

/// What was painted.
struct Seen {
    parser: vt100::Parser,
    bytes: Vec<u8>,
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size_of(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn lines(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("a screen has lines and columns")
}

impl Pty {
    /// Runs `command` on a terminal of this size.
    pub(super) fn start(command: &Command, (columns, rows): (u16, u16)) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = openpt(flags).expect("a terminal");
        grantpt(&terminal).expect("it is ours");
        unlockpt(&terminal).expect("it is ours");
        tcsetwinsize(&terminal, size_of(columns, rows)).expect("it has a size");
        let inner = ioctl_tiocgptpeer(&terminal, flags).expect("its other end");
        let before = tcgetattr(&inner).expect("it is a terminal");
        let end = || inner.try_clone().expect("a descriptor");
        // The terminal must be the one that signals come from and that /dev/tty means.
        let mut on_terminal = Command::new("setsid");
        on_terminal
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args())
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(end())
            .stdout(end())
            .stderr(end());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => on_terminal.env(name, value),
                None => on_terminal.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            on_terminal.current_dir(directory);
        }
        let child = on_terminal.spawn().expect("setsid is there");
        let terminal = File::from(terminal);
        let seen = Arc::new(Mutex::new(Seen {
            parser: vt100::Parser::new(lines(rows), lines(columns), 0),
            bytes: Vec::new(),
        }));
        let mut output = terminal.try_clone().expect("a descriptor");
        let painted = Arc::clone(&seen);
        // Ends when the terminal does.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match output.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(n) => {
                        let mut seen = lock(&painted);
                        seen.parser.process(&buffer[..n]);
                        seen.bytes.extend_from_slice(&buffer[..n]);
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        });
        Self {
            terminal,
            inner,
            before,
            child,
            seen,
        }
    }

    /// Types.
    pub(super) fn press(&mut self, keys: &str) {
        self.terminal
            .write_all(keys.as_bytes())
            .expect("the terminal is open");
    }

    /// Another program writes over the middle of the screen.
    pub(super) fn scribble(&self, text: &str) {
        let bytes = format!("\x1b[12;20H{text}");
        lock(&self.seen).parser.process(bytes.as_bytes());
    }

    /// Makes the window another size.
    pub(super) fn resize(&self, columns: u16, rows: u16) {
        lock(&self.seen)
            .parser
            .screen_mut()
            .set_size(lines(rows), lines(columns));
        tcsetwinsize(&self.terminal, size_of(columns, rows)).expect("it has a size");
    }

    /// What is on the screen.
    pub(super) fn screen(&self) -> String {
        lock(&self.seen).parser.screen().contents()
    }

    /// Whether it was painted in colour.
    pub(super) fn has_colour(&self) -> bool {
        let seen = lock(&self.seen);
        let (rows, columns) = seen.parser.screen().size();
        let cells =
            (0..rows.get()).flat_map(|row| (0..columns.get()).map(move |column| (row, column)));
        cells
            .filter_map(|(row, column)| seen.parser.screen().cell(row, column))
            .any(|cell| cell.fgcolor() != vt100::Color::Default)
    }

    /// Waits until the screen has `text`.
    pub(super) async fn until(&self, text: &str) -> String {
        self.until_screen(text, |screen| screen.contains(text))
            .await
    }

    /// Waits until the screen is as wanted.
    pub(super) async fn until_screen(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}:\n{screen}\n---"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a signal to the program.
    pub(super) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it is running");
    }

    /// Waits for the end; the terminal must be as it was before.
    pub(super) async fn ended(mut self) -> (ExitStatus, String) {
        let status = until_ended(&mut self.child).await;
        let after = tcgetattr(&self.inner).expect("it is a terminal");
        let modes = |of: &Termios| {
            (
                of.input_modes,
                of.output_modes,
                of.control_modes,
                of.local_modes,
            )
        };
        assert_eq!(modes(&after), modes(&self.before));
        assert!(
            after
                .local_modes
                .contains(LocalModes::ECHO | LocalModes::ICANON)
        );
        // The last that it wrote may still be on its way to the reader.
        self.until_screen("the ordinary screen", |_| {
            let seen = lock(&self.seen);
            let screen = seen.parser.screen();
            !screen.alternate_screen() && !screen.hide_cursor()
        })
        .await;
        let screen = self.screen();
        (status, screen)
    }

    /// Whether the program has taken the screen for itself.
    pub(super) fn has_screen(&self) -> bool {
        lock(&self.seen).parser.screen().alternate_screen()
    }

    /// All that was painted, as it came.
    pub(super) fn bytes(&self) -> Vec<u8> {
        lock(&self.seen).bytes.clone()
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
