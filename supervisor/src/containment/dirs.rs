//! One group as the kernel has it: a folder in each hierarchy that is used.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    choose::Tree,
    files,
    layout::{Controller, Version},
};

/// The folders of a group; none for the backend without groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Dirs(Vec<Dir>);

/// The folder of a group in one hierarchy.
#[derive(Debug, Clone)]
pub(super) struct Dir {
    /// Of which generation.
    pub version: Version,
    /// What the hierarchy is used for.
    pub controllers: Vec<Controller>,
    /// Where it is.
    pub path: PathBuf,
}

impl Dirs {
    /// The group `below` the base of every tree.
    pub(super) fn new(trees: &[Tree], below: &str) -> Self {
        let dir = |tree: &Tree| Dir {
            version: tree.version,
            controllers: tree.controllers.clone(),
            path: tree.base.join(below),
        };
        Self(trees.iter().map(dir).collect())
    }

    /// Those of groups that were found rather than made.
    pub(super) fn found(dirs: Vec<Dir>) -> Self {
        Self(dirs)
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Dir> {
        self.0.iter()
    }

    /// Where a controller is.
    pub(super) fn of(&self, controller: Controller) -> Option<(Version, &Path)> {
        let dir = self
            .0
            .iter()
            .find(|dir| dir.controllers.contains(&controller))?;
        Some((dir.version, &dir.path))
    }

    /// Where the v2 tree is.
    pub(super) fn v2(&self) -> Option<&Path> {
        let dir = self.0.iter().find(|dir| dir.version == Version::V2)?;
        Some(&dir.path)
    }

    /// Makes the folders. One that is there already is an error.
    pub(super) fn make(&self) -> Result<(), (PathBuf, io::Error)> {
        self.0.iter().try_for_each(|dir| {
            std::fs::create_dir(&dir.path).map_err(|error| (dir.path.clone(), error))
        })
    }

    /// Moves a process into the group. The one after whom a process may look first comes last: once it
    /// sees itself in its v2 group it is in all of them.
    pub(super) fn enter(&self, pid: i32) -> io::Result<()> {
        for dir in self.0.iter().rev() {
            files::enter(&dir.path, pid)?;
        }
        Ok(())
    }

    /// Whoever is in it, in any hierarchy, or in a group below it.
    pub(super) fn members(&self) -> Vec<i32> {
        let mut members: Vec<i32> = self
            .0
            .iter()
            .flat_map(|dir| files::pids_below(&dir.path))
            .collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// Removes the folders, and those below.
    pub(super) fn remove(&self) -> io::Result<()> {
        for dir in &self.0 {
            files::remove(&dir.path)?;
        }
        Ok(())
    }
}
