//! Programs that are run for their answer and are no agents: waited for within a time limit, and ended with all that
//! they started.

use std::{
    io,
    process::{Child, ExitStatus},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// Waits for a program to end; `None` when the time is up. Blocks.
#[expect(
    clippy::disallowed_methods,
    reason = "blocks its caller by contract, which is no event loop"
)]
pub(crate) fn wait(child: &mut Child, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    const STEP: Duration = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    while waited < timeout {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(STEP);
        waited += STEP;
    }
    Ok(None)
}

/// Kills a program that leads a group of its own, and all that it started in that group, and reaps it.
pub(crate) fn end(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}
