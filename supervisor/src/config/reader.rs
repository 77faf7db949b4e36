//! Walks a spanned TOML tree and collects every mistake on the way.
//!
//! A [`Table`] is asked for its keys one by one; [`Table::finish`] then reports the keys that nobody asked for.
//! Each value is a [`Node`], which knows its place, so that a parser reports by one call and returns `None`.
//! A section is read to its end whatever is wrong in it: that is how all errors come at once.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::{Diagnostic, Location, quoted};
use super::domain::{AgentId, UserRef};
use super::nearest::did_you_mean;
use super::secret::SecretRef;

/// A secret of the configuration and its place, kept so that `check` can say which one is missing.
#[derive(Clone, Debug)]
pub(super) struct SecretSite {
    /// `providers.local.api_key`
    pub(super) name: String,
    pub(super) secret: SecretRef,
    pub(super) at: Location,
}

/// A user that an agent is to run as, and its place: whether the system knows him is asked at load.
#[derive(Clone, Debug)]
pub(super) struct UserSite {
    /// `agents.hexa.user`
    pub(super) name: String,
    pub(super) user: UserRef,
    pub(super) at: Location,
}

/// A path that an agent may use, and its place.
#[derive(Clone, Debug)]
pub(super) struct PathSite {
    pub(super) agent: AgentId,
    /// Whether it is the agent's own workspace.
    pub(super) workspace: bool,
    pub(super) path: PathBuf,
    pub(super) at: Location,
}

/// What all readers of one configuration share.
pub(super) struct Context {
    pub(super) base_dir: PathBuf,
    pub(super) home: Option<PathBuf>,
    pub(super) allow_inline_secrets: Cell<bool>,
    pub(super) secrets: RefCell<Vec<SecretSite>>,
    pub(super) users: RefCell<Vec<UserSite>>,
    pub(super) paths: RefCell<Vec<PathSite>>,
    /// Where an agent's caps are set: its own table, or that of the defaults.
    pub(super) limits: RefCell<BTreeMap<AgentId, Location>>,
    /// Spans that must never be shown.
    pub(super) masked: RefCell<Vec<Location>>,
    found: RefCell<Vec<Diagnostic>>,
    /// Lines that are not TOML, by file: what is read from them says nothing.
    broken: RefCell<Vec<(usize, Range<usize>)>>,
    #[cfg(test)]
    pub(super) known_keys: RefCell<BTreeMap<&'static str, BTreeSet<&'static str>>>,
}

impl Context {
    pub(super) fn new(base_dir: PathBuf, home: Option<PathBuf>) -> Self {
        Self {
            base_dir,
            home,
            allow_inline_secrets: Cell::new(false),
            secrets: RefCell::default(),
            users: RefCell::default(),
            paths: RefCell::default(),
            limits: RefCell::default(),
            masked: RefCell::default(),
            found: RefCell::default(),
            broken: RefCell::default(),
            #[cfg(test)]
            known_keys: RefCell::default(),
        }
    }

    pub(super) fn report(&self, diagnostic: Diagnostic) {
        let broken = self.broken.borrow();
        let unreliable = diagnostic.location().is_some_and(|at| {
            broken
                .iter()
                .any(|(file, line)| *file == at.file && line.contains(&at.span.start))
        });
        if !unreliable {
            self.found.borrow_mut().push(diagnostic);
        }
    }

    /// Reports what may have been reported already, then with a better place.
    pub(super) fn report_once(&self, diagnostic: Diagnostic) {
        let title = diagnostic.title();
        let known = self.found.borrow().iter().any(|d| d.title() == title);
        if !known {
            self.report(diagnostic);
        }
    }

    /// A mistake in the TOML itself; `line` is where it is.
    pub(super) fn report_syntax(&self, diagnostic: Diagnostic, file: usize, line: Range<usize>) {
        self.found.borrow_mut().push(diagnostic);
        self.broken.borrow_mut().push((file, line));
    }

    /// Whether a file could not be read as TOML: then what seems to be missing may only be unread.
    pub(super) fn is_broken(&self, file: usize) -> bool {
        self.broken
            .borrow()
            .iter()
            .any(|(broken, _)| *broken == file)
    }

    pub(super) fn any_broken(&self) -> bool {
        !self.broken.borrow().is_empty()
    }

    pub(super) fn take_found(&self) -> Vec<Diagnostic> {
        self.found.take()
    }
}

/// A value and its place.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) context: &'a Context,
    pub(super) file: usize,
    /// The name of the key that holds it, as the user wrote it.
    pub(super) key: &'a str,
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Node<'a> {
    pub(super) fn at(&self) -> Location {
        Location {
            file: self.file,
            span: self.value.span(),
        }
    }

    /// Reports a mistake at this value.
    pub(super) fn fail<T>(
        &self,
        title: impl Into<String>,
        label: impl Into<String>,
        hint: impl Into<String>,
    ) -> Option<T> {
        self.context
            .report(Diagnostic::error(title).at(self.at(), label).hint(hint));
        None
    }

    /// Reports that the value has the wrong type.
    pub(super) fn mismatch<T>(&self, wanted: &str, example: &str) -> Option<T> {
        let found = type_name(self.value.get_ref());
        self.fail(
            format!("`{}` must be {wanted}, not {found}", quoted(self.key)),
            found,
            format!("write {}", assignment(self.key, example)),
        )
    }

    /// The value as a table of the kind `kind`, called `path` in messages.
    pub(super) fn table(&self, kind: &'static str, path: String) -> Option<Table<'a>> {
        match self.value.get_ref() {
            DeValue::Table(table) => Some(Table {
                context: self.context,
                file: self.file,
                header: self.at(),
                kind,
                path,
                keys: table,
                asked: BTreeSet::new(),
                sensitive: false,
            }),
            _ => self.mismatch("a table", "{ … }"),
        }
    }

    /// The entries of a table whose keys are names of the user's choice, in the order of the file.
    pub(super) fn entries(&self) -> Option<Vec<(&'a Spanned<DeString<'a>>, Node<'a>)>> {
        let DeValue::Table(table) = self.value.get_ref() else {
            return self.mismatch("a table", "{ … }");
        };
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| {
                let node = Node {
                    key: key.get_ref(),
                    value,
                    ..*self
                };
                (key, node)
            })
            .collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        Some(entries)
    }

    /// The elements of an array, each under the array's key.
    pub(super) fn elements(&self, wanted: &str, example: &str) -> Option<Vec<Node<'a>>> {
        match self.value.get_ref() {
            DeValue::Array(array) => {
                Some(array.iter().map(|value| Node { value, ..*self }).collect())
            }
            _ => self.mismatch(wanted, example),
        }
    }

    /// Forbids that this value is ever shown.
    pub(super) fn mask(&self) {
        self.context.masked.borrow_mut().push(self.at());
    }
}

/// A table that is asked for its keys.
pub(super) struct Table<'a> {
    pub(super) context: &'a Context,
    pub(super) file: usize,
    /// What to point at when something is missing: the header, or the inline table.
    pub(super) header: Location,
    kind: &'static str,
    /// `agents.hexa`, as messages call it; empty for the whole file.
    pub(super) path: String,
    keys: &'a DeTable<'a>,
    asked: BTreeSet<&'static str>,
    sensitive: bool,
}

impl<'a> Table<'a> {
    /// The top of a file.
    pub(super) fn root(context: &'a Context, file: usize, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self {
            context,
            file,
            header: Location { file, span: 0..0 },
            kind: "ConfigFile",
            path: String::new(),
            keys: table.get_ref(),
            asked: BTreeSet::new(),
            sensitive: false,
        }
    }

    /// Its unknown keys may hold misspelt secrets: their values are masked.
    pub(super) fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// Names the kind more precisely, once the table has said what it is.
    pub(super) fn becomes(&mut self, kind: &'static str) {
        self.kind = kind;
    }

    pub(super) fn get(&mut self, key: &'static str) -> Option<Node<'a>> {
        self.asked.insert(key);
        self.keys.get(key).map(|value| Node {
            context: self.context,
            file: self.file,
            key,
            value,
        })
    }

    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(Node<'a>) -> Option<T>,
    ) -> Option<T> {
        self.get(key).and_then(parse)
    }

    /// Reports the key as missing when it is not there; `example` is a value for the hint.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(Node<'a>) -> Option<T>,
    ) -> Option<T> {
        let node = self.get(key);
        if node.is_none() {
            self.missing(key, example);
        }
        node.and_then(parse)
    }

    pub(super) fn missing(&self, key: &str, example: &str) {
        if self.context.is_broken(self.file) {
            return;
        }
        self.context.report(
            Diagnostic::error(format!("missing key `{key}` in {}", self.name()))
                .at(self.header.clone(), format!("needs `{key}`"))
                .hint(format!("add {}", assignment(key, example))),
        );
    }

    /// The place of a key's value.
    pub(super) fn place(&self, key: &str) -> Option<Location> {
        self.keys.get(key).map(|value| Location {
            file: self.file,
            span: value.span(),
        })
    }

    /// The dotted path of one of its keys.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn name(&self) -> String {
        if self.path.is_empty() {
            "the top of the file".to_owned()
        } else {
            format!("`[{}]`", quoted(&self.path))
        }
    }

    /// Reports the keys that were never asked for.
    pub(super) fn finish(self) {
        #[cfg(test)]
        self.context
            .known_keys
            .borrow_mut()
            .entry(self.kind)
            .or_default()
            .extend(&self.asked);
        for (key, value) in self.keys {
            let name: &str = key.get_ref();
            if self.asked.contains(name) {
                continue;
            }
            if self.sensitive {
                self.context.masked.borrow_mut().push(Location {
                    file: self.file,
                    span: value.span(),
                });
            }
            let unused = || {
                self.asked
                    .iter()
                    .copied()
                    .filter(|known| !self.keys.contains_key(*known))
            };
            let hint = did_you_mean(name, unused()).unwrap_or_else(|| {
                let known: Vec<_> = self.asked.iter().map(|k| format!("`{k}`")).collect();
                format!("its keys are {}", known.join(", "))
            });
            self.context.report(
                Diagnostic::error(format!("unknown key `{}` in {}", quoted(name), self.name()))
                    .at(
                        Location {
                            file: self.file,
                            span: key.span(),
                        },
                        "not a key of this table",
                    )
                    .hint(hint),
            );
        }
    }
}

/// `key = example` in backticks.
fn assignment(key: &str, example: &str) -> String {
    format!("`{} = {example}`", quoted(key))
}

/// The TOML type in words.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
