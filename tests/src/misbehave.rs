//! An agent-host that does wrong on purpose.
//!
//! Given to a supervisor in place of the real one, it becomes the real one (which must lie beside
//! it) for every agent whose id does not begin with `bad-`. What follows `bad-` says what it does
//! wrong: see [`Fault`]. It does so at once, or when it gets the message [`NOW`], which it answers
//! first; until then it is a correct agent that answers with what it was asked. So a test knows when
//! the trouble begins, and the agent of the next generation behaves. A number behind the id
//! (`bad-hang-2`) makes one more of the same kind.

mod agent;
mod fault;
pub mod hostile;
mod hunger;
mod orphan;
mod raw;
mod sys;

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use kennel_shared::bootstrap::Bootstrap;
use nix::sys::signal::{SigSet, Signal};

pub use self::{fault::Fault, orphan::ORPHANS};

/// The message that a misbehaving agent waits for. A number behind it (`now 100`) is a bound for
/// what takes one: MiB of [`Fault::Memory`], [`Fault::Hoard`] and [`Fault::Disk`], children of
/// [`Fault::Fork`].
pub const NOW: &str = "now";

/// How long an answer of [`Fault::LongAnswer`] is, in pieces of the largest size. The reply at its
/// end is no longer than a reply may be.
pub const LONG_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// What is done wrong when the message has no number.
const MEMORY_MIB: usize = 1024;
const HOARD_MIB: usize = 1;
const DISK_MIB: usize = 1024;
const CHILDREN: usize = 20_000;

/// Whether a message is [`NOW`], with or without a number.
fn is_now(text: &str) -> bool {
    text == NOW || bound(text).is_some()
}

/// The number behind [`NOW`].
fn bound(text: &str) -> Option<usize> {
    text.strip_prefix(NOW)?.strip_prefix(' ')?.parse().ok()
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
    if fault == Fault::OrphanEarly {
        orphan::leave(&bootstrap.state_dir);
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
