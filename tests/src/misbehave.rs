//! An agent-host that does wrong on purpose.
//!
//! Given to a supervisor in place of the real one, it becomes the real one (which must lie beside
//! it) for every agent whose id does not begin with `bad-`. What follows `bad-` says what it does
//! wrong: see [`Fault`]. It does so at once, or when it gets the message [`NOW`], which it answers
//! first; until then it is a correct agent that answers with what it was asked. So a test knows when
//! the trouble begins, and the agent of the next generation behaves.

mod agent;
pub mod hostile;
mod raw;

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use kennel_shared::bootstrap::Bootstrap;
use nix::sys::signal::{SigSet, Signal};

/// The message that a misbehaving agent waits for.
pub const NOW: &str = "now";

/// What an agent does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Ends with 0, at once.
    Exit0,
    /// Ends by SIGABRT, at once.
    Crash,
    /// Does not even read its bootstrap.
    UnreadStdin,
    /// Never connects.
    Silent,
    /// Connects and says nothing.
    Mute,
    /// Says hello in another version.
    Version,
    /// Says hello with a token of its own.
    Token,
    /// Says hello as the generation before.
    Generation,
    /// Says garbage in place of hello.
    HelloGarbage,
    /// Announces 4 GiB in place of hello.
    HelloLength,
    /// Says half a hello and closes.
    HelloHalf,
    /// Never says that it is ready.
    NoReady,
    /// Neither drains nor minds TERM.
    IgnoreTerm,
    /// Loses its connection after every piece of an answer, and resumes.
    Reconnect,
    /// Closes the cage as the real one does, and then runs what the test has left in its folder.
    Hostile,

    /// On request: ends with 0.
    Leave,
    /// On request: stops its loop.
    Hang,
    /// On request: its loop spins.
    Spin,
    /// On request: sends garbage.
    Garbage,
    /// On request: announces 4 GiB.
    Length,
    /// On request: sends half a frame and no more.
    HalfStall,
    /// On request: sends half a frame and closes.
    HalfClose,
    /// On request: leaves a number out.
    Gap,
    /// On request: acknowledges what was never sent.
    Ack,
    /// On request: stops reading, and goes on with its heartbeat.
    NoRead,
    /// On request: reconnects from a position where it never was.
    Resume,
    /// On request: sends text for turns that nobody asked for, as fast as it can.
    FloodLink,
    /// On request: sends heartbeats as fast as it can.
    FloodBeats,
    /// On request: prints as fast as it can.
    FloodLog,
    /// On request: opens descriptors until it gets no more.
    FdLeak,
    /// On request: leaves a grandchild in its process group.
    DoubleFork,
}

const FAULTS: [(&str, Fault); 31] = [
    ("exit0", Fault::Exit0),
    ("crash", Fault::Crash),
    ("unread-stdin", Fault::UnreadStdin),
    ("silent", Fault::Silent),
    ("mute", Fault::Mute),
    ("version", Fault::Version),
    ("token", Fault::Token),
    ("generation", Fault::Generation),
    ("hello-garbage", Fault::HelloGarbage),
    ("hello-length", Fault::HelloLength),
    ("hello-half", Fault::HelloHalf),
    ("noready", Fault::NoReady),
    ("ignore-term", Fault::IgnoreTerm),
    ("reconnect", Fault::Reconnect),
    ("hostile", Fault::Hostile),
    ("leave", Fault::Leave),
    ("hang", Fault::Hang),
    ("spin", Fault::Spin),
    ("garbage", Fault::Garbage),
    ("length", Fault::Length),
    ("half-stall", Fault::HalfStall),
    ("half-close", Fault::HalfClose),
    ("gap", Fault::Gap),
    ("ack", Fault::Ack),
    ("noread", Fault::NoRead),
    ("resume", Fault::Resume),
    ("flood-link", Fault::FloodLink),
    ("flood-beats", Fault::FloodBeats),
    ("flood-log", Fault::FloodLog),
    ("fdleak", Fault::FdLeak),
    ("doublefork", Fault::DoubleFork),
];

impl Fault {
    /// The fault that an agent's id asks for; `None` for a good agent.
    fn of(id: &str) -> Option<Self> {
        let name = id.strip_prefix("bad-")?;
        let found = FAULTS.iter().find(|(known, _)| *known == name);
        Some(found.unwrap_or_else(|| panic!("no such fault: {name}")).1)
    }
}

/// The whole program.
pub fn run() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [program, flag, id] = &arguments[..] else {
        panic!("usage: misbehaving-agent --agent ID");
    };
    assert_eq!(flag, "--agent");
    let Some(fault) = Fault::of(id) else {
        // The link that the harness made, and not what it points to.
        let real = Path::new(program).with_file_name("kennel-agent-host");
        let error = Command::new(&real).args([flag, id]).exec();
        panic!("{} cannot be run: {error}", real.display());
    };
    match fault {
        Fault::Exit0 => return ExitCode::SUCCESS,
        Fault::Crash => std::process::abort(),
        Fault::UnreadStdin => sleep_for_ever(),
        Fault::IgnoreTerm => {
            // One thread yet, and those to come inherit it: what is blocked is never delivered.
            let mut term = SigSet::empty();
            term.add(Signal::SIGTERM);
            term.thread_block().expect("TERM can be blocked");
        }
        _ => {}
    }
    let bootstrap = Bootstrap::read(std::io::stdin().lock()).expect("a bootstrap");
    if fault == Fault::Silent {
        sleep_for_ever();
    }
    let steps = match fault {
        Fault::Hostile => hostile::act(&bootstrap),
        _ => Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(agent::live(fault, bootstrap, steps))
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Prints lines as fast as the pipe takes them.
fn flood_log() -> ! {
    let line = format!("{}\n", "flood ".repeat(100));
    let mut out = std::io::stderr().lock();
    loop {
        out.write_all(line.as_bytes()).expect("somebody reads");
    }
}

fn leave_grandchild() {
    let child = Command::new("sh")
        .args(["-c", "sleep 600 & sleep 600 &"])
        .stdin(Stdio::null())
        .status();
    assert!(child.expect("there is a shell").success());
}

/// Opens descriptors until the kernel gives no more, and keeps them.
fn leak_descriptors() {
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    std::mem::forget(files);
}

/// For the loop: stands still, or spins, until somebody ends the process.
fn stop_loop(spin: bool) -> ! {
    if spin {
        loop {
            std::hint::spin_loop();
        }
    }
    sleep_for_ever();
}
