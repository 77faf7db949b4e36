//! How an agent is closed in: as whom it runs, what it may read, change and connect to.

use std::fmt;
use std::path::PathBuf;

use kennel_shared::cage::UserIds;
use nix::errno::Errno;
use nix::unistd::{Uid, User};

/// What happens to an agent that cannot be held as it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// It does not run.
    #[default]
    Strict,
    /// It runs, and `status` says what does not hold it.
    BestEffort,
}

impl Enforcement {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::BestEffort => "best-effort",
        }
    }
}

/// `sandbox`: what an agent reaches beside its own folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Whether files, connections and system calls are restricted at all.
    pub enabled: bool,
    /// What it may read, and run programs from.
    pub read: Vec<PathBuf>,
    /// What it may change.
    pub write: Vec<PathBuf>,
    /// What it may connect to.
    pub network: NetworkAccess,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            enabled: true,
            read: Vec::new(),
            write: Vec::new(),
            network: NetworkAccess::Open,
        }
    }
}

/// What an agent may connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetworkAccess {
    /// Whatever the host reaches.
    #[default]
    Open,
    /// Its provider's port alone.
    Closed,
    /// These TCP ports, and its provider's.
    Ports(Vec<u16>),
}

/// `user`: as whom an agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserRef {
    /// A name of the system's user database; its own group goes with it.
    Name(String),
    /// Numbers; without a group, the user database says which.
    Ids {
        /// The user.
        uid: u32,
        /// The group.
        gid: Option<u32>,
    },
}

impl fmt::Display for UserRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ids { uid, gid: None } => write!(f, "{uid}"),
            Self::Ids {
                uid,
                gid: Some(gid),
            } => write!(f, "{uid}:{gid}"),
        }
    }
}

/// Why it is not known who a [`UserRef`] is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// Nobody is called so.
    #[error("this system has no user `{0}`")]
    NoSuchName(String),
    /// Nobody has this number, so that there is no group.
    #[error("this system has no user with the number {0}, and so no group for it")]
    NoSuchNumber(u32),
    /// The user database cannot be asked.
    #[error("the system's users cannot be looked up: {0}")]
    Lookup(#[from] Errno),
}

impl UserError {
    /// What to do about it.
    pub fn advice(&self) -> String {
        match self {
            Self::NoSuchName(name) => {
                format!(
                    "make it with `useradd --system --no-create-home {name}`, or write \"uid:gid\" in numbers"
                )
            }
            Self::NoSuchNumber(uid) => format!("write user and group, as in \"{uid}:{uid}\""),
            Self::Lookup(_) => "write user and group in numbers, as in \"1001:1001\"".to_owned(),
        }
    }
}

impl UserRef {
    /// Asks the system who that is.
    pub fn resolve(&self) -> Result<UserIds, UserError> {
        let ids = |user: &User| UserIds {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        };
        match self {
            Self::Name(name) => match User::from_name(name)? {
                Some(user) => Ok(ids(&user)),
                None => Err(UserError::NoSuchName(name.clone())),
            },
            Self::Ids {
                uid,
                gid: Some(gid),
            } => Ok(UserIds {
                uid: *uid,
                gid: *gid,
            }),
            Self::Ids { uid, gid: None } => match User::from_uid(Uid::from_raw(*uid))? {
                Some(user) => Ok(ids(&user)),
                None => Err(UserError::NoSuchNumber(*uid)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_knows_its_users() {
        let root = UserIds { uid: 0, gid: 0 };
        let numbers = |uid, gid| UserRef::Ids { uid, gid };
        assert_eq!(UserRef::Name("root".into()).resolve(), Ok(root));
        assert_eq!(numbers(0, None).resolve(), Ok(root));
        let written = UserIds { uid: 7, gid: 8 };
        assert_eq!(numbers(7, Some(8)).resolve(), Ok(written));
        let nobody = "no-such-user-of-kennel".to_owned();
        assert_eq!(
            UserRef::Name(nobody.clone()).resolve(),
            Err(UserError::NoSuchName(nobody))
        );
        let unused = 3_999_999_999;
        assert_eq!(
            numbers(unused, None).resolve(),
            Err(UserError::NoSuchNumber(unused))
        );
    }
}
