//! Asks the machine for facts. Changes nothing, and blocks: not for an event loop.
//!
//! What is looked at is looked at as this process would meet it: a supervisor that a service starts may be
//! given more, or less, than a person at a terminal.

mod file;
mod host;

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access, statvfs};

pub use self::{
    file::{Read, asks, configuration},
    host::host,
};
use super::facts::{Backend, Found, Place, Program};
use crate::{
    config::{self, Config, Supervisor},
    containment::Containment,
    plan,
    supervisor::SOCKET_PATH_MAX,
};

/// Sessions grow there, and logs.
const STATE_ROOM: (u64, u64) = (1 << 30, 64 << 20);

/// Only sockets and a pid file are there.
const RUNTIME_ROOM: (u64, u64) = (1 << 20, 64 << 10);

/// What holds the agents; `config` may name it.
pub fn backend(containment: &Containment, config: Option<&Config>) -> Backend {
    let named = config.map(|config| config.supervisor.containment);
    let named = named.is_some_and(|named| named != config::Backend::Auto);
    Backend {
        kind: containment.backend(),
        why: if named {
            "`containment` under [supervisor] says so".to_owned()
        } else {
            containment.why().to_owned()
        },
        cannot: containment.cannot(),
        named,
        refused: None,
    }
}

/// What would hold the agents of a supervisor that is started here. Where what its configuration names
/// cannot be had, what the host has.
pub fn future_backend(config: Option<&Config>) -> (Containment, Backend) {
    let (containment, refused) = match config.map(plan::containment) {
        Some(Ok(containment)) => (containment, None),
        Some(Err(error)) => (Containment::probe(), Some(crate::error_chain(&error))),
        None => (Containment::probe(), None),
    };
    let backend = Backend {
        refused,
        ..backend(&containment, config)
    };
    (containment, backend)
}

/// The folders of a supervisor.
pub fn places(settings: &Supervisor) -> Vec<Place> {
    let long_socket = [settings.link_socket(), settings.control_socket()]
        .into_iter()
        .find(|socket| socket.as_os_str().len() > SOCKET_PATH_MAX);
    let place = |key, path: &PathBuf, room, long_socket| Place {
        key,
        path: path.clone(),
        owner: rustix::process::geteuid().as_raw(),
        room,
        found: found(path),
        long_socket,
    };
    vec![
        place("state_dir", &settings.state_dir, STATE_ROOM, None),
        place(
            "runtime_dir",
            &settings.runtime_dir,
            RUNTIME_ROOM,
            long_socket,
        ),
    ]
}

fn found(path: &Path) -> Found {
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Found::Nothing(cannot_be_made(path));
        }
        Err(error) => return Found::Closed(error.to_string()),
    };
    if !about.is_dir() {
        return Found::NoFolder;
    }
    let room = statvfs(path);
    let room = room.as_ref().ok();
    Found::Folder {
        uid: about.uid(),
        mode: about.permissions().mode(),
        free: room.map(|room| room.f_bavail.saturating_mul(room.f_frsize)),
        // A file system without a number of inodes says that it has none.
        full: room.is_some_and(|room| room.f_files > 0 && room.f_favail == 0),
        closed: closed(path),
    }
}

/// Why nothing can be made in the nearest folder above that is there.
fn cannot_be_made(path: &Path) -> Option<String> {
    let above = path.ancestors().skip(1).find(|above| above.exists())?;
    if !above.is_dir() {
        return Some(format!("{} is no folder", above.display()));
    }
    closed(above).map(|why| format!("{}: {why}", above.display()))
}

fn closed(folder: &Path) -> Option<String> {
    let error = access(folder, Access::WRITE_OK | Access::EXEC_OK).err()?;
    Some(io::Error::from(error).to_string())
}

/// The program that agents are run by: `path`, looked for as a start would.
pub fn program(path: &Path) -> Program {
    let by_name = path.components().count() == 1;
    let search = std::env::var_os("PATH").filter(|_| by_name);
    let Some(search) = search else {
        return Program {
            problem: cannot_run(path),
            path: path.to_owned(),
        };
    };
    let on_path = std::env::split_paths(&search)
        .map(|folder| folder.join(path))
        .find(|found| cannot_run(found).is_none());
    Program {
        problem: on_path
            .is_none()
            .then(|| "it is neither beside kennel nor on the path".to_owned()),
        path: on_path.unwrap_or_else(|| path.to_owned()),
    }
}

fn cannot_run(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(about) if !about.is_file() => Some("it is no file".to_owned()),
        Ok(_) => {
            let error = access(path, Access::EXEC_OK).err()?;
            Some(io::Error::from(error).to_string())
        }
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_seen_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let Found::Folder {
            uid,
            mode,
            free,
            full,
            closed,
        } = found(dir.path())
        else {
            panic!("it is a folder");
        };
        assert_eq!(uid, rustix::process::geteuid().as_raw());
        assert_eq!((mode & 0o777, full, closed), (0o750, false, None));
        assert!(free.is_some_and(|free| free > 0));
    }

    #[test]
    fn what_is_not_there_can_be_made_or_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(found(&dir.path().join("a/b")), Found::Nothing(None));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(found(&file), Found::NoFolder);
        // Below a file nothing can be looked for.
        assert!(matches!(found(&file.join("a")), Found::Closed(_)));
        // Root may write where nobody may.
        let shut = dir.path().join("shut");
        fs::create_dir(&shut).unwrap();
        fs::set_permissions(&shut, fs::Permissions::from_mode(0o500)).unwrap();
        let refused = matches!(found(&shut.join("a")), Found::Nothing(Some(_)));
        assert_eq!(refused, !rustix::process::geteuid().is_root());
    }

    #[test]
    fn a_program_is_found_by_path_and_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kennel-agent-host");
        assert!(program(&path).problem.is_some());
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(program(&path).problem.is_some(), "it cannot be executed");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(program(&path).problem, None);
        assert!(program(dir.path()).problem.is_some(), "it is no file");

        let shell = program(Path::new("sh"));
        assert_eq!(shell.problem, None);
        assert!(shell.path.is_absolute(), "{shell:?}");
        assert!(
            program(Path::new("kennel-no-such-program"))
                .problem
                .is_some()
        );
    }
}
