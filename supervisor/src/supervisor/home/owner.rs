//! Folders of agents that run as users of their own: given to them, and within their reach.

use std::{
    fs, io,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::Path,
};

use kennel_shared::cage::UserIds;
use nix::{
    dir::{Dir, Type},
    fcntl::{AT_FDCWD, AtFlags, OFlag},
    sys::stat::Mode,
    unistd::{Gid, Uid, fchownat},
};

use super::HomeError;

/// Lets everybody pass through a folder, without letting them see what is in it.
pub(super) fn let_pass(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o011))
}

/// Gives a folder and all that is in it to a user. No link is followed: what is in there was made by an
/// agent.
pub(super) fn give_all(path: &Path, owner: UserIds) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    fchownat(
        AT_FDCWD,
        path,
        Some(uid),
        Some(gid),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    let folder = Dir::openat(AT_FDCWD, path, FOLDER, Mode::empty())?;
    give_entries(folder, uid, gid)
}

const FOLDER: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

fn give_entries(mut folder: Dir, uid: Uid, gid: Gid) -> io::Result<()> {
    let entries: Vec<_> = folder.iter().collect::<Result<_, _>>()?;
    for entry in entries {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(folder.as_fd(), name, Some(uid), Some(gid), flags)?;
        if entry.file_type() == Some(Type::Directory) {
            let below = Dir::openat(folder.as_fd(), name, FOLDER, Mode::empty())?;
            give_entries(below, uid, gid)?;
        }
    }
    Ok(())
}

/// Whether a user can get to `target`, through every folder above it.
pub(super) fn check_way(target: &Path, user: UserIds) -> Result<(), HomeError> {
    let above = target.parent().map(fs::canonicalize);
    let Some(Ok(above)) = above else {
        // Not there yet, or not to be seen: whoever makes or needs it will say so.
        return Ok(());
    };
    let above: Vec<_> = above.ancestors().collect();
    for path in above.into_iter().rev() {
        let metadata = fs::metadata(path).map_err(|source| HomeError::Directory {
            path: path.to_owned(),
            source,
        })?;
        if !may_pass(metadata.mode(), metadata.uid(), metadata.gid(), user) {
            return Err(HomeError::Closed {
                path: path.to_owned(),
                uid: user.uid,
                target: target.to_owned(),
            });
        }
    }
    Ok(())
}

fn may_pass(mode: u32, uid: u32, gid: u32, user: UserIds) -> bool {
    let bit = if uid == user.uid {
        0o100
    } else if gid == user.gid {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: UserIds = UserIds {
        uid: 12_345,
        gid: 54_321,
    };

    #[test]
    fn the_first_class_that_fits_decides() {
        assert!(may_pass(0o711, 0, 0, USER));
        assert!(!may_pass(0o710, 0, 0, USER));
        assert!(may_pass(0o710, 0, USER.gid, USER));
        assert!(!may_pass(0o701, 0, USER.gid, USER));
        assert!(may_pass(0o100, USER.uid, 0, USER));
        assert!(!may_pass(0o077, USER.uid, USER.gid, USER));
    }

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let state = root.join("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        let error = check_way(&state.join("file"), USER).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains(&format!("chmod o+x {}`", root.display())),
            "{said}"
        );
        assert!(said.contains("12345"), "{said}");
        let_pass(&root).unwrap();
        let_pass(&state).unwrap();
        check_way(&state.join("file"), USER).unwrap();
        assert_eq!(fs::metadata(&root).unwrap().mode() & 0o777, 0o711);
    }

    #[test]
    fn a_folder_is_given_away_whole_and_no_link_is_followed() {
        assert!(nix::unistd::geteuid().is_root(), "this test is root's");
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("agent/a/b")).unwrap();
        fs::write(path("agent/a/file"), "").unwrap();
        fs::write(path("mine"), "").unwrap();
        fs::create_dir(path("mine.d")).unwrap();
        fs::write(path("mine.d/too"), "").unwrap();
        std::os::unix::fs::symlink(path("mine"), path("agent/link")).unwrap();
        std::os::unix::fs::symlink(path("mine.d"), path("agent/a/link")).unwrap();
        give_all(&path("agent"), USER).unwrap();
        let owner = |name: &str| {
            let metadata = fs::symlink_metadata(path(name)).unwrap();
            (metadata.uid(), metadata.gid())
        };
        for given in [
            "agent",
            "agent/a",
            "agent/a/b",
            "agent/a/file",
            "agent/link",
        ] {
            assert_eq!(owner(given), (USER.uid, USER.gid), "{given}");
        }
        for kept in ["mine", "mine.d", "mine.d/too"] {
            assert_eq!(owner(kept), (0, 0), "{kept}");
        }
    }
}
