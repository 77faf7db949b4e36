//! Changes the caps of an agent in the file that declares it, and nothing else in that file.
//!
//! The text is edited as a tree that keeps comments and layout. Before anything is written, the whole configuration is
//! read again with the new text: it must be right, and mean what it meant but for the caps that were to change. The
//! file is replaced at once, so that nobody ever reads half of it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, InlineTable, Item, TableLike, Value};

use super::diagnostic::Diagnostics;
use super::domain::{Amount, Config};
use super::sections::limits::NONE;
use super::{Directories, folder, source};
use crate::containment::Cap;

/// One cap that is to change.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitChange {
    /// Which.
    pub cap: Cap,
    /// To what; `None` lifts it.
    pub amount: Option<Amount>,
    /// The amount as somebody wrote it, which is how it is saved.
    pub written: String,
}

impl LimitChange {
    /// Reads `memory=1GiB` or `cpu=none`; the error says what to write.
    pub fn read(text: &str) -> Result<Self, String> {
        let (name, written) = text
            .split_once('=')
            .ok_or_else(|| "write cap=value, as in memory=1GiB or cpu=none".to_owned())?;
        let (name, written) = (name.trim(), written.trim());
        let cap = Cap::ALL.into_iter().find(|cap| cap.as_str() == name);
        let cap = cap.ok_or_else(|| {
            let names = Cap::ALL.map(Cap::as_str);
            let near = super::nearest::did_you_mean(name, names.into_iter());
            near.unwrap_or_else(|| format!("the caps are {}", names.join(", ")))
        })?;
        let amount = match written {
            NONE => None,
            _ => Some(Amount::read(cap, written)?),
        };
        Ok(Self {
            cap,
            amount,
            written: written.to_owned(),
        })
    }

    fn value(&self) -> Value {
        match self.amount {
            None => NONE.into(),
            Some(Amount::Bytes(_)) => self.written.as_str().into(),
            Some(Amount::Count(count)) => i64::from(count).into(),
            // As it was written where that is TOML too: 2 stays 2, and not 2.0.
            Some(Amount::Cpus(cpus)) => match self.written.parse::<i64>() {
                Ok(whole) => whole.into(),
                Err(_) => cpus.into(),
            },
        }
    }
}

/// Why caps cannot be saved. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The configuration is not right as it is.
    #[error("the configuration is refused as it is")]
    Broken(Diagnostics),
    /// It would not be right with the new caps.
    #[error("the configuration would be refused with these caps")]
    Refused(Diagnostics),
    /// No file declares the agent.
    #[error("the configuration declares no agent `{0}`")]
    Undeclared(String),
    /// The edit would change more than it should.
    #[error("{} is laid out in a way that cannot be edited safely", .0.display())]
    Layout(PathBuf),
    /// Somebody else changed the file meanwhile.
    #[error("{} was changed meanwhile", .0.display())]
    Changed(PathBuf),
    /// A file cannot be read or written.
    #[error("failed to save {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A change that was tried and is not written yet.
#[derive(Debug)]
pub struct Edit {
    path: PathBuf,
    before: String,
    after: String,
    changed: Vec<Change>,
}

/// One key that differs between the old text and the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    cap: Cap,
    before: Option<String>,
    after: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(f, "limits.{} = {after}", self.cap),
            (Some(before), Some(after)) => write!(f, "limits.{}: {before} -> {after}", self.cap),
            (Some(before), None) => write!(f, "limits.{} = {before} removed", self.cap),
            (None, None) => Ok(()),
        }
    }
}

impl Edit {
    /// Prepares to save the caps of `agent`, in the file of the configuration `main` that declares it.
    pub fn limits(
        main: &Path,
        directories: &Directories,
        agent: &str,
        changes: &[LimitChange],
    ) -> Result<Self, EditError> {
        let files = source::read(main).map_err(|found| {
            EditError::Broken(Diagnostics::new(found, std::sync::Arc::default()))
        })?;
        let absolute = std::path::absolute(main).unwrap_or_else(|_| main.to_owned());
        let edit = edit(files, folder(&absolute), directories, agent, changes)?;
        // What the texts alone do not show: users, links, prompt files.
        Config::load(main, directories).map_err(EditError::Broken)?;
        Ok(edit)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What changes in it; nothing when it says so already.
    pub fn changes(&self) -> &[Change] {
        &self.changed
    }

    /// Replaces the file, keeping its mode and its owner. A link to it stays a link.
    pub fn write(&self) -> Result<(), EditError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let failed = |source| EditError::Io {
            path: self.path.clone(),
            source,
        };
        let target = self.path.canonicalize().map_err(failed)?;
        if fs::read_to_string(&target).map_err(failed)? != self.before {
            return Err(EditError::Changed(self.path.clone()));
        }
        replace(&target, &self.after).map_err(failed)
    }
}

/// Writes beside the file and moves it there.
fn replace(target: &Path, text: &str) -> io::Result<()> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    // Hidden, so that nobody reads it as a fragment.
    let beside = target.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = fill(&beside, target, text).and_then(|()| fs::rename(&beside, target));
    if written.is_err() {
        // What failed is told; that there is something left beside it is the lesser trouble.
        let _ = fs::remove_file(&beside);
        return written;
    }
    File::open(folder(target))?.sync_all()
}

fn fill(beside: &Path, target: &Path, text: &str) -> io::Result<()> {
    let like = fs::metadata(target)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(beside)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        fchown(&file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The edit on texts alone.
fn edit(
    mut files: Vec<(PathBuf, String)>,
    base_dir: &Path,
    directories: &Directories,
    agent: &str,
    changes: &[LimitChange],
) -> Result<Edit, EditError> {
    let read = |files: &[(PathBuf, String)]| Config::assemble(files, base_dir, directories);
    let before = read(&files).map_err(EditError::Broken)?.config;
    let undeclared = || EditError::Undeclared(agent.to_owned());
    let mut wanted = before;
    let declared = wanted.agents.get_mut(agent).ok_or_else(undeclared)?;
    for change in changes {
        declared.limits.set(change.cap, change.amount);
    }

    let defaults = defaults(&files);
    let declares = |(_, text): &(PathBuf, String)| {
        text.parse::<DocumentMut>()
            .is_ok_and(|document| document.get("agents").and_then(|a| a.get(agent)).is_some())
    };
    let index = files.iter().position(declares).ok_or_else(undeclared)?;
    let (path, text) = files[index].clone();
    let unsafe_layout = || EditError::Layout(path.clone());
    let mut document: DocumentMut = text.parse().map_err(|_| unsafe_layout())?;
    let changed = apply(&mut document, agent, changes, &defaults).ok_or_else(unsafe_layout)?;
    let after = if changed.is_empty() {
        text.clone()
    } else {
        keep_line_ends(&text, document.to_string())
    };
    files[index].1.clone_from(&after);

    let found = read(&files).map_err(EditError::Refused)?.config;
    if found != wanted {
        return Err(unsafe_layout());
    }
    Ok(Edit {
        path,
        before: text,
        after,
        changed,
    })
}

/// What is new comes with plain line ends; a file of the other sort keeps its own.
fn keep_line_ends(before: &str, after: String) -> String {
    let windows = before.contains("\r\n") && !before.replace("\r\n", "").contains('\n');
    if windows {
        after.replace("\r\n", "\n").replace('\n', "\r\n")
    } else {
        after
    }
}

/// The caps that `[defaults]` sets: to lift those, a word must say so.
fn defaults(files: &[(PathBuf, String)]) -> Vec<Cap> {
    let main = files.first().map(|(_, text)| text.parse::<DocumentMut>());
    let Some(Ok(document)) = main else {
        return Vec::new();
    };
    let limits = document.get("defaults").and_then(|d| d.get("limits"));
    let Some(limits) = limits.and_then(Item::as_table_like) else {
        return Vec::new();
    };
    let sets = |cap: &Cap| limits.get(cap.as_str()).is_some_and(|item| !is_none(item));
    Cap::ALL.into_iter().filter(sets).collect()
}

fn is_none(item: &Item) -> bool {
    item.as_str().is_some_and(|word| word.trim() == NONE)
}

/// Makes the changes; `None` where a table is none.
fn apply(
    document: &mut DocumentMut,
    agent: &str,
    changes: &[LimitChange],
    defaults: &[Cap],
) -> Option<Vec<Change>> {
    let agents = document.get_mut("agents")?.as_table_like_mut()?;
    let table = agents.get_mut(agent)?.as_table_like_mut()?;
    let missing = !table.contains_key("limits");
    if missing {
        let limits = Item::Value(InlineTable::new().into());
        insert(table, "limits", limits);
    }
    let limits = table.get_mut("limits")?;
    let changed: Vec<Change> = changes
        .iter()
        .filter_map(|change| set(limits.as_table_like_mut()?, change, defaults))
        .collect();
    if missing && changed.is_empty() {
        table.remove("limits");
    }
    Some(changed)
}

/// Sets one key; `None` when it says so already.
fn set(limits: &mut dyn TableLike, change: &LimitChange, defaults: &[Cap]) -> Option<Change> {
    let key = change.cap.as_str();
    let shown = |item: &Item| item.to_string().trim().to_owned();
    let bare = |item: &Item| {
        let mut item = item.clone();
        if let Some(value) = item.as_value_mut() {
            value.decor_mut().clear();
        }
        shown(&item)
    };
    let before = limits.get(key).map(bare);
    let commented = has_comment(limits, key);
    let lift = change.amount.is_none() && !defaults.contains(&change.cap);
    // A key that holds a comment stays for it.
    if lift && !commented {
        limits.remove(key)?;
        return Some(Change {
            cap: change.cap,
            before,
            after: None,
        });
    }
    let value = change.value();
    let after = Some(value.to_string().trim().to_owned());
    if before == after {
        return None;
    }
    match limits.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        None => insert(limits, key, Item::Value(value)),
    }
    Some(Change {
        cap: change.cap,
        before,
        after,
    })
}

/// Whether a comment stands above a key or behind it.
fn has_comment(table: &dyn TableLike, key: &str) -> bool {
    let holds = |raw: Option<&toml_edit::RawString>| {
        raw.and_then(toml_edit::RawString::as_str)
            .is_some_and(|text| text.contains('#'))
    };
    let above = table
        .key(key)
        .is_some_and(|key| holds(key.leaf_decor().prefix()) || holds(key.leaf_decor().suffix()));
    let behind = table
        .get(key)
        .and_then(Item::as_value)
        .is_some_and(|value| holds(value.decor().prefix()) || holds(value.decor().suffix()));
    above || behind
}

/// Adds a key at the end. The blank before a closing brace moves behind the new value.
fn insert(table: &mut dyn TableLike, key: &str, mut item: Item) {
    let last = table.iter().last().map(|(name, _)| name.to_owned());
    if let Some(last) = last.and_then(|name| table.get_mut(&name)?.as_value_mut())
        && let Some(value) = item.as_value_mut()
    {
        let blank = last.decor().suffix().and_then(|raw| raw.as_str());
        if let Some(blank) = blank.map(str::to_owned).filter(|text| !text.contains('#')) {
            last.decor_mut().set_suffix("");
            value.decor_mut().set_prefix(" ");
            value.decor_mut().set_suffix(blank);
        }
    }
    table.insert(key, item);
}

#[cfg(test)]
mod tests;
