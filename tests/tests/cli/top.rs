//! `kennel top` on a terminal, against a real supervisor.

use std::process::Command;

use kennel_tests::harness::{Kennel, until_ended};
use nix::sys::signal::Signal;

use super::pty::Pty;

fn top(kennel: &Kennel, options: &[&str]) -> Command {
    let mut command = kennel.command();
    command.args(["top", "--interval", "100ms"]).args(options);
    command
}

/// The line of an agent in the table.
fn line<'a>(screen: &'a str, agent: &str) -> &'a str {
    let of = |line: &&str| line.split_whitespace().next() == Some(agent);
    screen.lines().find(of).unwrap_or_default()
}

#[tokio::test]
async fn keys_restart_stop_and_start_an_agent_and_no_other() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    let before = kennel.pids(&["one", "two"]).await;
    let mut terminal = Pty::start(&top(&kennel, &["--sort", "name"]), (80, 24));
    terminal
        .until_screen("the whole screen", |screen| {
            screen.contains("2 ready") && line(screen, "one").contains("ready")
        })
        .await;
    assert!(terminal.has_screen());

    terminal.press("\x1b[B");
    terminal.press("r");
    terminal.until("restart two? y/n").await;
    terminal.press("n");
    terminal.until("two is left as it is").await;
    terminal.press("ry");
    let again = kennel.until_reborn("two", 1).await;
    let pid = again.pid.expect("it is ready");
    terminal
        .until(&format!("two restarted (pid {pid}, generation 2)"))
        .await;
    assert_eq!(kennel.agent_pid("one").await, before[0]);
    assert_ne!(pid, before[1]);

    terminal.press("sy");
    kennel.until_state("two", "stopped").await;
    terminal
        .until_screen("two is stopped", |screen| {
            line(screen, "two").contains("stopped")
        })
        .await;
    terminal.press("ty");
    kennel.until_state("two", "ready").await;
    terminal.until("two started").await;

    // The selection did not go to another agent meanwhile, and the screen is as large as the window.
    terminal.resize(160, 50);
    terminal
        .until_screen("the whole screen", |screen| {
            screen.contains("PRESS") && line(screen, "two").contains("ready")
        })
        .await;
    assert_eq!(kennel.agent_pid("one").await, before[0]);
    terminal.press("q");
    let (status, screen) = terminal.ended().await;
    assert_eq!((status.code(), screen.trim()), (Some(0), ""));
    kennel.shut_down().await;
}

#[tokio::test]
async fn an_agent_is_looked_into() {
    let kennel = Kennel::builder()
        .agents(&["one", "bad-hang"])
        .misbehaving(kennel_tests::harness::program("misbehaving-agent"))
        .start()
        .await;
    kennel.until_state("bad-hang", "ready").await;
    let mut terminal = Pty::start(&top(&kennel, &[]), (160, 50));
    terminal.until("2 ready").await;
    terminal.press("/on");
    terminal.until("1/1 of 2").await;
    terminal.press("\r\r");
    let pid = kennel.agent_pid("one").await;
    terminal.until("PROCESSES 1 ").await;
    terminal.until("kennel-agent-ho").await;
    terminal.until(&format!("pid {pid}  generation 1")).await;
    terminal.until("EVENTS").await;
    let log = kennel.agent_log("one").await;
    let last: String = log
        .last()
        .expect("it logs its start")
        .chars()
        .take(40)
        .collect();
    terminal.until(&last).await;

    terminal.press("ry");
    kennel.until_reborn("one", 1).await;
    let again = kennel.agent_pid("one").await;
    terminal.until(&format!("{again} ")).await;
    terminal
        .until_screen("its event", |screen| {
            screen.lines().any(|line| line.contains("Z #2 ready"))
        })
        .await;
    terminal.until(&format!("pid {again}  generation 2")).await;
    // Ctrl-C is a key here.
    terminal.press("\x03");
    let (status, _) = terminal.ended().await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_supervisor_that_went_away_is_waited_for() {
    let mut kennel = Kennel::builder().agents(&["one"]).start().await;
    let mut terminal = Pty::start(&top(&kennel, &[]), (80, 24));
    terminal.until("1 ready").await;
    kennel.signal(Signal::SIGTERM);
    kennel.until_down().await;
    let screen = terminal.until("no supervisor; retrying").await;
    // What was seen last is still there.
    assert!(!line(&screen, "one").is_empty(), "{screen}");
    kennel.start_again().await;
    terminal.until("another supervisor runs now").await;
    terminal.until("1 ready").await;
    terminal.press("q");
    terminal.ended().await;
}

#[tokio::test]
async fn a_signal_gives_the_terminal_back() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let terminal = Pty::start(&top(&kennel, &[]), (80, 24));
        terminal.until("1 ready").await;
        terminal.signal(signal);
        let (status, _) = terminal.ended().await;
        assert_eq!(status.code(), Some(130), "{signal}");
    }
}

#[tokio::test]
async fn colours_are_used_where_they_are_wanted() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let cases = [
        (None, "auto", true),
        (Some("1"), "auto", false),
        (None, "never", false),
        (Some("1"), "always", true),
    ];
    for (no_color, option, expected) in cases {
        let mut command = top(&kennel, &["--color", option]);
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let mut terminal = Pty::start(&command, (80, 24));
        terminal.until("1 ready").await;
        assert_eq!(terminal.has_colour(), expected, "{no_color:?} {option}");
        terminal.press("q");
        terminal.ended().await;
    }
}

#[tokio::test]
async fn a_terminal_of_any_size_will_do() {
    let kennel = Kennel::builder().numbered(3).start().await;
    let mut terminal = Pty::start(&top(&kennel, &[]), (80, 24));
    terminal.until("3 ready").await;
    for (columns, rows) in [
        (1, 1),
        (5, 2),
        (20, 3),
        (300, 2),
        (2, 60),
        (40, 10),
        (80, 24),
    ] {
        terminal.resize(columns, rows);
        terminal.press("\r?x\t");
    }
    terminal.until("3 ready").await;
    // Painted anew, and after a shell had the terminal: there is none here, so it goes on at once.
    for keys in ["\x1b[15~", "\x0c", "\x1a"] {
        terminal.scribble("SCRIBBLE");
        terminal.press(keys);
        terminal
            .until_screen("a clean screen", |screen| {
                screen.contains("3 ready") && !screen.contains("SCRIBBLE")
            })
            .await;
    }
    terminal.press("q");
    let (status, _) = terminal.ended().await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn what_an_agent_prints_cannot_drive_the_terminal() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    // What an agent could have printed: its log is a file of lines.
    let log = kennel.root().join("state/logs/one.log");
    let mut text = std::fs::read_to_string(&log).expect("it logs its start");
    text.push_str("here \x1b]0;owned\x07\x1b[2J\x1b[?1049l\x1b[5n\u{9b}31m it ends\n");
    std::fs::write(&log, text).expect("it is ours");
    let mut terminal = Pty::start(&top(&kennel, &[]), (160, 50));
    terminal.until("1 ready").await;
    terminal.press("\r");
    terminal.until("it ends").await;
    assert!(terminal.has_screen());
    let bytes = terminal.bytes();
    for sequence in [&b"\x1b]0;"[..], b"owned", b"\x1b[5n", b"\xc2\x9b"] {
        let found = bytes.windows(sequence.len()).any(|bytes| bytes == sequence);
        assert!(!found, "{sequence:?}");
    }
}

#[tokio::test]
async fn without_a_terminal_it_says_what_does_without() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let said = kennel.root().join("said");
    let mut child = top(&kennel, &[])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(&said).expect("a file"))
        .spawn()
        .expect("kennel starts");
    assert_eq!(until_ended(&mut child).await.code(), Some(2));
    assert_eq!(
        std::fs::read_to_string(said).expect("it says something"),
        "error: this is not a terminal\nhint: `kennel status --watch` prints the same figures line by line\n"
    );
    let mut command = top(&kennel, &[]);
    command.env("TERM", "dumb");
    let terminal = Pty::start(&command, (80, 24));
    terminal.until("TERM=dumb").await;
    let (status, _) = terminal.ended().await;
    assert_eq!(status.code(), Some(2));
}
