//! The steps that concern the process alone: what it inherited, and what of it others can see.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

use kennel_shared::cage::MARK;
use nix::{
    sys::{
        resource::{Resource, setrlimit},
        signal::{Signal, kill},
        stat::Mode,
        wait::waitpid,
    },
    unistd::{ForkResult, getpgid, getpid, getppid, getsid, pause, setpgid, setsid},
};
use rustix::process::{DumpableBehavior, set_dumpable_behavior, set_parent_process_death_signal};

use super::report::Trouble;
use crate::sys::raw;

type Taken = Result<String, Trouble>;

/// What is kept of the environment: where programs are, what language people speak, whom to trust.
const KEPT: [&str; 7] = [
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "KENNEL_LOG",
];

/// Where programs are, when nobody says.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

pub(super) fn close_descriptors() -> Taken {
    raw::close_inherited()?;
    Ok("all but standard input, output and error".into())
}

/// Where there is a list of folders that programs can be run from, PATH keeps no others: what cannot be
/// run there would still be found, and taken for the one to run.
pub(super) fn environment(home: &Path, temporary: &Path, programs: Option<&[PathBuf]>) -> Taken {
    let mut kept: Vec<(&'static str, OsString)> = KEPT
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
        .collect();
    let path = kept.iter().position(|(name, _)| *name == "PATH");
    let path = path.map_or_else(|| PATH.into(), |at| kept.swap_remove(at).1);
    kept.push((
        "PATH",
        programs.map_or_else(|| path.clone(), |programs| reachable(&path, programs)),
    ));
    kept.push(("HOME", home.into()));
    kept.push(("TMPDIR", temporary.into()));
    let names: Vec<_> = kept.iter().map(|(name, _)| *name).collect();
    let detail = format!("only {}", names.join(", "));
    raw::replace_environment(kept)?;
    Ok(detail)
}

/// The entries of a PATH that lie in one of these folders.
fn reachable(path: &OsStr, programs: &[PathBuf]) -> OsString {
    let entries = std::env::split_paths(path).filter(|entry| {
        let entry = fs::canonicalize(entry);
        entry.is_ok_and(|entry| programs.iter().any(|folder| entry.starts_with(folder)))
    });
    std::env::join_paths(entries).expect("what was split can be joined")
}

/// A session of its own has no terminal. The leader of a process group cannot found one, and the
/// supervisor makes each child such a leader, so that one steps back into its parent's group first.
pub(super) fn session() -> Taken {
    if getsid(None)? != getpid() && setsid().is_err() {
        let group = getpgid(Some(getppid()))?;
        if group.as_raw() == 0 {
            // Made outside of this PID namespace, or by the kernel for its first process: it has no
            // number here, and nobody can join it.
            step_aside()?;
        } else {
            setpgid(getpid(), group)?;
        }
        setsid()?;
    }
    Ok("its leader, without a terminal".into())
}

/// Goes into the group of a process that is there for nothing else, and only for the moment.
fn step_aside() -> Result<(), Trouble> {
    match raw::fork_alone()? {
        ForkResult::Child => {
            let _ = set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            loop {
                pause();
            }
        }
        ForkResult::Parent { child } => {
            let moved = setpgid(child, child).and_then(|()| setpgid(getpid(), child));
            kill(child, Signal::SIGKILL)?;
            waitpid(child, None)?;
            Ok(moved?)
        }
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a step as the others; this one cannot fail"
)]
pub(super) fn umask() -> Taken {
    nix::sys::stat::umask(Mode::from_bits_truncate(0o077));
    Ok("077".into())
}

/// Memory holds secrets.
pub(super) fn no_core() -> Taken {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok("none is written".into())
}

/// See [`MARK`].
pub(super) fn mark() -> Taken {
    setrlimit(Resource::RLIMIT_MSGQUEUE, 0, 0)?;
    Ok(format!("{MARK} is 0 for all that it starts"))
}

/// Whether the supervisor has put this process where it says, before it let it run.
pub(super) fn in_group(group: &str) -> Taken {
    let lines = fs::read_to_string("/proc/self/cgroup")?;
    match groups_ending_in(&lines, group) {
        (0, _) => Err(Trouble::Failed(format!(
            "this process is not in the group {group}"
        ))),
        (found, all) => Ok(format!("{group}, in {found} of {all} hierarchies")),
    }
}

/// In how many of the hierarchies of `/proc/self/cgroup` the path ends in `group`, and how many there
/// are.
fn groups_ending_in(lines: &str, group: &str) -> (usize, usize) {
    let paths = lines.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let found = paths
        .clone()
        .filter(|path| Path::new(path).ends_with(group.trim_start_matches('/')))
        .count();
    (found, paths.count())
}

pub(super) fn no_new_privileges() -> Taken {
    rustix::thread::set_no_new_privs(true)?;
    Ok("set-user-ID programs give none".into())
}

/// Nobody of the same user can read its memory, or trace it. Not inherited by programs that it starts.
pub(super) fn not_dumpable() -> Taken {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok("its memory is closed to its own user's processes".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_what_can_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| fs::canonicalize(folder.path()).unwrap().join(name);
        for name in ["tools/bin", "tools-of-others", "home"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        std::os::unix::fs::symlink(path("tools/bin"), path("bin")).unwrap();
        let names = ["home", "bin", "tools-of-others", "tools/bin", "nowhere"];
        let before = std::env::join_paths(names.map(path)).unwrap();
        let after = reachable(&before, &[path("tools")]);
        let after: Vec<_> = std::env::split_paths(&after).collect();
        assert_eq!(after, [path("bin"), path("tools/bin")]);
    }

    #[test]
    fn a_group_is_found_in_every_form_of_hierarchy() {
        let v1 =
            "5:pids:/kennel-1a/fleet/hexa.3\n4:memory:/kennel-1a/fleet/hexa.3\n1:cpu:/\n0::/\n";
        let group = "kennel-1a/fleet/hexa.3";
        assert_eq!(groups_ending_in(v1, group), (2, 4));
        let v2 = "0::/system.slice/kennel.service/kennel-1a/fleet/hexa.3\n";
        assert_eq!(groups_ending_in(v2, group), (1, 1));
        assert_eq!(groups_ending_in(v2, "/kennel-1a/fleet/hexa.3"), (1, 1));
        // By whole names: `xkennel-1a` is somebody else's, and so is generation 33.
        assert_eq!(
            groups_ending_in("0::/xkennel-1a/fleet/hexa.3\n", group),
            (0, 1)
        );
        assert_eq!(
            groups_ending_in("0::/kennel-1a/fleet/hexa.33\n", group),
            (0, 1)
        );
    }
}
