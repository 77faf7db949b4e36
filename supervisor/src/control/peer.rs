//! Who is at the other end of the control socket.
//!
//! The socket's mode lets in the user who runs the supervisor, and agents run as the same user unless
//! told otherwise. What an agent starts must not order the supervisor about, so a process of the fleet
//! is turned away: one in a group of the fleet, one that an agent started, and one that carries the mark
//! of a cage, whoever its parents are by now. A peer that is gone is turned away too: nobody can tell
//! any more what it was, and whom it left its connection to.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use nix::{
    errno::Errno,
    sys::socket::{getsockopt, sockopt},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{PidfdFlags, pidfd_open},
};
use tokio::net::UnixStream;

use super::Current;
use crate::supervision::{ancestry, driver::AgentHandle};

/// The children that run now.
pub(super) type Children = Arc<dyn Fn() -> Vec<i32> + Send + Sync>;

/// Says whether a process is in a group of the fleet; `None` where nothing can be said.
pub type InFleet = Arc<dyn Fn(i32) -> Option<bool> + Send + Sync>;

/// How peers are told from the fleet.
#[derive(Clone)]
pub struct Peers {
    /// By group, where there are groups.
    pub in_fleet: InFleet,
    /// By descent.
    pub(super) children: Children,
}

impl Peers {
    /// Told by the fleet as it is when somebody connects.
    pub fn of(current: Current, in_fleet: InFleet) -> Self {
        let children = move || {
            let app = current.app();
            let pid = |agent: &AgentHandle| agent.observed.borrow().pid;
            app.agents
                .values()
                .chain(&app.leaving)
                .filter_map(pid)
                .collect()
        };
        Self {
            in_fleet,
            children: Arc::new(children),
        }
    }
}

/// Why a peer is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    /// It belongs to an agent.
    Fleet(i32),
    /// It ended, or cannot be seen from here.
    Gone,
}

impl Stranger {
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Fleet(_) => "agents and what they start may not use the control socket",
            Self::Gone => {
                "the process that opened this connection is gone, or in another PID namespace"
            }
        }
    }
}

impl Peers {
    /// Looks at who connected.
    pub(super) fn look(&self, stream: &UnixStream) -> Result<(), Stranger> {
        let peer = stream.peer_cred().map_err(|_| Stranger::Gone)?;
        // Root needs no socket to reach a supervisor that is not root's, and may be hidden from it.
        if peer.uid() == 0 && !nix::unistd::geteuid().is_root() {
            return Ok(());
        }
        let pid = peer.pid().filter(|pid| *pid > 0).ok_or(Stranger::Gone)?;
        let pidfd = pidfd_of(stream, pid).ok_or(Stranger::Gone)?;
        let fleet = self.is_fleet(pid);
        // Looked at last: until here the number was that of the process that connected.
        if has_ended(&pidfd) {
            return Err(Stranger::Gone);
        }
        match fleet {
            Some(false) => Ok(()),
            Some(true) => Err(Stranger::Fleet(pid)),
            None => Err(Stranger::Gone),
        }
    }

    fn is_fleet(&self, pid: i32) -> Option<bool> {
        if (self.in_fleet)(pid) == Some(true) || ancestry::is_marked(pid)? {
            return Some(true);
        }
        ancestry::descends_from(pid, &(self.children)())
    }
}

/// The process that connected, held: by the socket's own word, from Linux 6.5 on, else by its number.
fn pidfd_of(stream: &UnixStream, pid: i32) -> Option<OwnedFd> {
    match getsockopt(&stream.as_fd(), sockopt::PeerPidfd) {
        Ok(pidfd) => Some(pidfd),
        Err(Errno::ENOPROTOOPT) => {
            let pid = rustix::process::Pid::from_raw(pid)?;
            pidfd_open(pid, PidfdFlags::empty()).ok()
        }
        Err(_) => None,
    }
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut watched = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut watched, Some(&Timespec::default())) != Ok(0)
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    fn peers(in_fleet: Option<bool>) -> Peers {
        Peers {
            in_fleet: Arc::new(move |_| in_fleet),
            children: Arc::new(Vec::new),
        }
    }

    async fn connected() -> (UnixStream, UnixStream) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let (ours, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        (ours.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn a_process_in_a_group_of_the_fleet_is_turned_away() {
        let (_ours, accepted) = connected().await;
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(peers(Some(true)).look(&accepted), Err(Stranger::Fleet(own)));
        assert_eq!(peers(Some(false)).look(&accepted), Ok(()));
        assert_eq!(peers(None).look(&accepted), Ok(()));
    }

    /// It connects, leaves its connection to a child, and ends: who is it now?
    #[tokio::test]
    async fn a_peer_that_is_gone_is_turned_away() {
        const CONNECT_AND_LEAVE: &str = "import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
if os.fork() == 0:
    sys.stdin.read()
os._exit(0)";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a peer that is no agent")]
        let mut child = std::process::Command::new("python3")
            .args(["-c", CONNECT_AND_LEAVE])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        // Closes its standard input only afterwards, so that the grandchild holds the connection.
        let stdin = child.stdin.take();
        child.wait().unwrap();
        assert_eq!(peers(Some(false)).look(&accepted), Err(Stranger::Gone));
        drop(stdin);
    }
}
