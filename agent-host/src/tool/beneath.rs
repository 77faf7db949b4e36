//! A folder that no path leads out of: neither by `..`, nor by a link, nor by one that is put there
//! meanwhile. The kernel resolves (`openat2`), so there is nothing to race.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fchmod, fstat, mkdirat, openat,
        openat2, renameat, statat, unlinkat,
    },
    io::Errno,
};

/// How often a resolution is tried again that others disturb by renaming.
const RACES: usize = 16;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            path: path.to_owned(),
            fd: openat(CWD, path, flags, Mode::empty())?,
        })
    }

    /// A path in it as it is seen from it: what is absolute must begin with its own path.
    fn relative<'a>(&self, path: &'a Path) -> Result<&'a Path, Errno> {
        let inside = if path.is_absolute() {
            path.strip_prefix(&self.path).map_err(|_| Errno::XDEV)?
        } else {
            path
        };
        Ok(if inside.as_os_str().is_empty() {
            Path::new(".")
        } else {
            inside
        })
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = self.relative(path)?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        let mut tries = RACES;
        loop {
            match openat2(&self.fd, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if tries > 0 => tries -= 1,
                opened => return opened,
            }
        }
    }

    /// Opens a regular file to be read. A pipe or a device would block, or worse.
    pub(super) fn read(&self, path: &Path) -> io::Result<File> {
        let file = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(File::from(file)),
            FileType::Directory => Err(Errno::ISDIR.into()),
            _ => Err(not_regular()),
        }
    }

    /// Opens a folder to be listed.
    pub(super) fn list(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)?)
    }

    /// Writes a file, whole or not at all: it is written beside its place, then put there. Folders that
    /// are missing are made.
    pub(super) fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let path = self.relative(path)?;
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(Errno::ISDIR.into());
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent = self.make_folders(parent)?;
        let before = regular(statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW))?;
        let beside = format!(".kennel-{:016x}", fastrand::u64(..));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&parent, &beside, flags, Mode::from_raw_mode(0o666))?;
        let put = || {
            if let Some(before) = before {
                fchmod(&file, Mode::from_raw_mode(before.st_mode & 0o777))?;
            }
            io::Write::write_all(&mut File::from(file), content)?;
            renameat(&parent, &beside, &parent, name)?;
            Ok(())
        };
        put().inspect_err(|_: &io::Error| {
            let _ = unlinkat(&parent, &beside, AtFlags::empty());
        })
    }

    fn make_folders(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.resolve(path, flags) {
            Err(Errno::NOENT) => {}
            opened => return Ok(opened?),
        }
        let mut above = PathBuf::new();
        let mut folder = self.resolve(Path::new("."), flags)?;
        for component in path.components() {
            if let Component::Normal(name) = component {
                match mkdirat(folder.as_fd(), name, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            above.push(component);
            folder = self.resolve(&above, flags)?;
        }
        Ok(folder)
    }
}

/// What a file is that is there and may be replaced.
fn regular(found: Result<Stat, Errno>) -> io::Result<Option<Stat>> {
    let found = match found {
        Err(Errno::NOENT) => return Ok(None),
        found => found?,
    };
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok(Some(found)),
        FileType::Directory => Err(Errno::ISDIR.into()),
        FileType::Symlink => Err(io::Error::other(
            "it is a link: name the file that it points to",
        )),
        _ => Err(not_regular()),
    }
}

fn not_regular() -> io::Error {
    io::Error::other("it is not a regular file")
}

/// An error in words for a model.
pub(super) fn words(path: &str, error: &io::Error) -> String {
    let what = match Errno::from_io_error(error) {
        Some(Errno::XDEV) => "the path leads out of the workspace".into(),
        Some(Errno::NOENT) => "there is no such file or folder".into(),
        Some(Errno::ISDIR) => "it is a folder".into(),
        Some(Errno::NOTDIR) => "a part of the path is not a folder".into(),
        Some(Errno::ACCESS | Errno::PERM) => "it is not allowed".into(),
        Some(Errno::LOOP) => "the path is a link that leads nowhere".into(),
        Some(Errno::NAMETOOLONG) => "a name is too long".into(),
        Some(Errno::NOSPC | Errno::DQUOT) => "the disk is full".into(),
        _ => error.to_string(),
    };
    let shown = &path[..path.floor_char_boundary(200)];
    format!("{shown}: {what}")
}
