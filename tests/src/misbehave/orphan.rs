//! A grandchild that does everything to outlive its agent.

use std::{fs::OpenOptions, io::Write as _, path::Path};

use nix::{
    sys::{
        signal::{SigSet, Signal},
        wait::waitpid,
    },
    unistd::{pause, setsid},
};

use super::sys;

/// Where an agent's orphans note their ids, one a line, in the agent's own directory.
pub const ORPHANS: &str = "orphans.pids";

/// Leaves a process in a session of its own whose parent is gone, so that neither the process group
/// nor the parent leads to it. It is deaf to HUP, INT and TERM, holds every descriptor that the agent
/// had (its log and its link among them) and has noted its id in [`ORPHANS`] when this returns.
pub(super) fn leave(directory: &Path) {
    let middle = sys::fork_alone(|| found_session(directory)).expect("a child");
    waitpid(middle, None).expect("our own child");
}

fn found_session(directory: &Path) {
    setsid().expect("a child leads no group");
    let mut deaf = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        deaf.add(signal);
    }
    deaf.thread_block().expect("they can be blocked");
    let orphan = sys::fork_alone(|| {
        loop {
            pause();
        }
    });
    // Written by its parent, so that the line is there when the agent goes on.
    let line = format!("{}\n", orphan.expect("a grandchild"));
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.join(ORPHANS))
        .expect("the agent's own directory");
    file.write_all(line.as_bytes()).expect("a short line");
}
