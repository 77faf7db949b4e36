//! The directories of a supervisor, and the lock that makes it the only one in them.

mod owner;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use kennel_shared::cage::UserIds;

use super::Handover;
use crate::{config::Config, plan};

/// The longest path of a Unix socket on Linux, without its final zero.
pub const SOCKET_PATH_MAX: usize = 107;

/// Why a supervisor has no place to be.
#[derive(Debug, Error)]
pub enum HomeError {
    /// A directory cannot be made or used.
    #[error("the directory {path} cannot be used")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A directory belongs to somebody else, or others may write to it.
    #[error("the directory {path} {problem}; sockets and secrets would not be safe there")]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An agent has a user of its own, who cannot get to what is the agent's.
    #[error(
        "the folder {path} is closed to uid {uid}, which is the `user` of an agent that needs {target}; open it by `chmod o+x {path}`, or set another `state_dir` and `runtime_dir`"
    )]
    Closed {
        /// The folder that cannot be passed.
        path: PathBuf,
        /// Who cannot pass it.
        uid: u32,
        /// What lies beyond.
        target: PathBuf,
    },
    /// A socket's path is longer than the kernel takes.
    #[error(
        "the socket path {0} is longer than {SOCKET_PATH_MAX} bytes; set a shorter `runtime_dir` under [supervisor]"
    )]
    LongPath(PathBuf),
    /// Another supervisor has the lock.
    #[error("a supervisor is running here already, with pid {pid}")]
    Running {
        /// Its process id, as it wrote it.
        pid: String,
    },
    /// The lock file cannot be used.
    #[error("the lock file {path} cannot be used")]
    Lock {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The right to be the supervisor of these directories, until it is dropped.
#[derive(Debug)]
pub struct Home {
    /// Locked until its last copy is closed: nothing unlocks it before, since a program may go back to the one before it.
    lock: File,
}

impl Home {
    /// A copy of the lock's descriptor: it is held for as long as that is open.
    pub fn copy_lock(&self) -> io::Result<OwnedFd> {
        Handover::copy(&self.lock)
    }

    /// Makes the directories, readable by this user only, and takes the lock, or goes on with that which is `held`. Where agents have users
    /// of their own, those may pass through to what is theirs.
    pub fn prepare(config: &Config, held: Option<OwnedFd>) -> Result<Self, HomeError> {
        let settings = &config.supervisor;
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        own_directory(&settings.state_dir.join("logs"))?;
        let agents = settings.state_dir.join("agents");
        for path in [&settings.state_dir, &settings.runtime_dir, &agents] {
            own_directory(path)?;
        }
        let_users_pass(config)?;
        for socket in [settings.link_socket(), settings.control_socket()] {
            if socket.as_os_str().len() > SOCKET_PATH_MAX {
                return Err(HomeError::LongPath(socket));
            }
        }
        Ok(Self {
            lock: lock(&settings.pid_file(), held)?,
        })
    }
}

/// Where agents have users of their own, lets those through to what is theirs.
pub(super) fn let_users_pass(config: &Config) -> Result<(), HomeError> {
    let settings = &config.supervisor;
    // The system is asked for each.
    let users: Vec<UserIds> = users(config).collect();
    if users.is_empty() {
        return Ok(());
    }
    let agents = settings.state_dir.join("agents");
    for path in [&settings.state_dir, &settings.runtime_dir, &agents] {
        owner::let_pass(path).map_err(|source| HomeError::Directory {
            path: path.clone(),
            source,
        })?;
    }
    for user in users {
        owner::check_way(&settings.link_socket(), user)?;
    }
    Ok(())
}

/// Whether agents run as other users, which must get through to their folders and to the link socket.
pub(super) fn is_shared(config: &Config) -> bool {
    users(config).next().is_some()
}

fn users(config: &Config) -> impl Iterator<Item = UserIds> {
    let agents = config.agents.values().filter(|agent| agent.enabled);
    agents.filter_map(|agent| plan::cage(config, agent).ok()?.user)
}

/// Makes the directories of one agent, and gives them to the user that it runs as. A workspace that is
/// there already may be anybody's.
pub(super) fn prepare_agent(
    directory: &Path,
    workspace: &Path,
    user: Option<UserIds>,
) -> Result<(), HomeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| HomeError::Directory { path, source }
    };
    let own = UserIds {
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
    };
    let owner = user.unwrap_or(own);
    make(directory).map_err(failed(directory))?;
    let is_new = !workspace.exists();
    make(workspace).map_err(failed(workspace))?;
    // It may have had another user until now.
    if fs::metadata(directory).map_err(failed(directory))?.uid() != owner.uid && own.uid == 0 {
        owner::give_all(directory, owner).map_err(failed(directory))?;
    }
    if is_new && owner != own {
        owner::give_all(workspace, owner).map_err(failed(workspace))?;
    }
    directory_of(directory, owner.uid)?;
    match user {
        Some(user) => owner::check_way(&directory.join("store.db"), user)
            .and_then(|()| owner::check_way(&workspace.join("."), user)),
        None => Ok(()),
    }
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn own_directory(path: &Path) -> Result<(), HomeError> {
    directory_of(path, nix::unistd::geteuid().as_raw())
}

fn directory_of(path: &Path, uid: u32) -> Result<(), HomeError> {
    let failed = |source| HomeError::Directory {
        path: path.to_owned(),
        source,
    };
    make(path).map_err(failed)?;
    let metadata = fs::metadata(path).map_err(failed)?;
    let unsafe_because = |problem| HomeError::Unsafe {
        path: path.to_owned(),
        problem,
    };
    if metadata.uid() != uid {
        return Err(unsafe_because("belongs to another user"));
    }
    if metadata.permissions().mode() & 0o022 != 0 {
        return Err(unsafe_because("can be written to by other users"));
    }
    Ok(())
}

/// Takes the lock, or goes on with one that the program before in this process holds.
fn lock(path: &Path, held: Option<OwnedFd>) -> Result<File, HomeError> {
    let failed = |source| HomeError::Lock {
        path: path.to_owned(),
        source,
    };
    let mut file = match held {
        Some(held) => File::from(held),
        None => OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            file.set_len(0).map_err(failed)?;
            file.rewind().map_err(failed)?;
            writeln!(file, "{}", std::process::id()).map_err(failed)?;
            Ok(file)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // What it says is for people; the lock itself is what counts.
            let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut pid);
            Err(HomeError::Running {
                pid: pid.trim().to_owned(),
            })
        }
        Err(errno) => Err(failed(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_lock_names_the_first_s_pid() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kennel.pid");
        let first = lock(&path, None).unwrap();
        let second = lock(&path, None).unwrap_err();
        assert!(
            second.to_string().contains(&std::process::id().to_string()),
            "{second}"
        );
        drop(first);
        assert!(lock(&path, None).is_ok());
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("open");
        make(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(
            own_directory(&path),
            Err(HomeError::Unsafe { .. })
        ));
    }
}
