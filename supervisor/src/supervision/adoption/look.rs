//! What there is to see of a process, through `/proc`.

use std::{fs, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Seen;
use crate::containment::Stat;

/// Looks at the process with this pid while holding it: what is returned is its descriptor, if it is still
/// the one that was seen. `None` when there is none.
pub fn look(pid: i32, group: Option<&[i32]>) -> Option<(Seen, OwnedFd)> {
    // First the descriptor, then the look: the process that began when the journal says so had the pid all
    // the time between, so that the descriptor is its own.
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let stat = Stat::of(pid)?;
    let seen = Seen {
        start_time: stat.started,
        is_dead: stat.is_dead(),
        agent: agent_of(&fs::read(format!("/proc/{pid}/cmdline")).ok()?),
        uid: uid_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)?,
        in_group: group.map(|pids| pids.contains(&pid)),
    };
    Some((seen, pidfd))
}

/// As the spawner writes it: `<program> --agent <id>`.
fn agent_of(command_line: &[u8]) -> Option<String> {
    let mut words = command_line.split(|byte| *byte == 0).skip(1);
    if words.next()? != b"--agent" {
        return None;
    }
    String::from_utf8(words.next()?.to_vec()).ok()
}

/// The effective one.
fn uid_of(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let agent = |line: &[u8]| agent_of(line);
        assert_eq!(
            agent(b"/usr/bin/kennel-agent-host\0--agent\0hexa\0"),
            Some("hexa".into())
        );
        for other in [
            &b""[..],
            b"sleep\0",
            b"sleep\0--agent",
            b"x\0y\0--agent\0hexa\0",
        ] {
            assert_eq!(agent(other), None, "{other:?}");
        }
        let status = "Name:\tx\nUid:\t0\t1001\t0\t0\nGid:\t0\t0\t0\t0\n";
        assert_eq!(uid_of(status), Some(1001));
        assert_eq!(uid_of("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_is_seen_and_is_no_agent() {
        let own = std::process::id().cast_signed();
        let (seen, _pidfd) = look(own, Some(&[own])).unwrap();
        assert!(seen.start_time > 0 && !seen.is_dead);
        assert_eq!((seen.agent, seen.in_group), (None, Some(true)));
        assert_eq!(seen.uid, nix::unistd::geteuid().as_raw());
        assert!(look(i32::MAX, None).is_none());
        assert!(look(0, None).is_none());
    }
}
