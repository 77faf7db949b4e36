//! All files read and not yet joined: tables by name, each with its place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeString, DeTable};

use super::Directories;
use super::diagnostic::{Diagnostic, Location, quoted};
use super::domain::{AgentId, Channel, ChannelId, Provider, ProviderId, is_name};
use super::reader::{Context, Node, Table};
use super::sections::agent::{self, AgentPatch};
use super::sections::binding::{self, BindingDraft};
use super::sections::class::{self, ClassDraft};
use super::sections::supervisor::{self, SupervisorDraft};
use super::sections::{channel, provider};
use super::value::NAME_RULE;

/// A named table; without a value when it was there and could not be read.
pub(super) struct Entry<T> {
    pub(super) at: Location,
    pub(super) value: Option<T>,
}

type Named<I, T> = BTreeMap<I, Entry<T>>;

/// What the files say.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) supervisor: Option<SupervisorDraft>,
    pub(super) providers: Named<ProviderId, Provider>,
    pub(super) defaults: AgentPatch,
    pub(super) classes: Named<String, ClassDraft>,
    pub(super) agents: Named<AgentId, AgentPatch>,
    pub(super) channels: Named<ChannelId, Channel>,
    pub(super) bindings: Vec<BindingDraft>,
    /// Whether `[agents]` was there at all, and had something in it.
    pub(super) any_agent: bool,
}

/// Reads all files; the first is the main one.
pub(super) fn read(
    context: &Context,
    files: &[(PathBuf, String)],
    directories: &Directories,
) -> Draft {
    // All syntax first: what is missing in one file may stand in the unreadable part of another.
    let parsed: Vec<_> = files
        .iter()
        .enumerate()
        .map(|(file, (_, text))| parse(context, file, text))
        .collect();
    let mut draft = Draft::default();
    for (file, root) in parsed.iter().enumerate() {
        read_file(context, file, root, directories, &mut draft);
    }
    draft
}

fn parse<'a>(context: &Context, file: usize, text: &'a str) -> Spanned<DeTable<'a>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let start = text.floor_char_boundary(span.start);
        let end = text[..start].rfind('\n').map_or(0, |n| n + 1)
            ..text[start..].find('\n').map_or(text.len(), |n| start + n) + 1;
        // The title may quote the file; the place shows it better.
        let mut diagnostic = Diagnostic::error(format!("this is not TOML: {}", error.message()))
            .at(Location { file, span }, "here");
        if error.message() == "duplicate key" {
            diagnostic = Diagnostic::error("this name is given twice")
                .at(
                    Location {
                        file,
                        span: error.span().unwrap_or(0..0),
                    },
                    "given before",
                )
                .hint("remove one of the two, or rename it");
        }
        context.report_syntax(diagnostic, file, end);
    }
    root
}

fn read_file<'a>(
    context: &'a Context,
    file: usize,
    root: &'a Spanned<DeTable<'a>>,
    directories: &Directories,
    draft: &mut Draft,
) {
    let main = file == 0;
    let mut top = Table::root(context, file, root);
    // First: whether secrets may stand in the open decides how the others are read.
    if let Some(node) = top.get("supervisor").and_then(|node| only_main(node, main)) {
        draft.supervisor = supervisor::read(node, directories);
    }
    top.optional("providers", |node| {
        named(
            node,
            "a provider",
            ProviderId::new,
            &mut draft.providers,
            provider::read,
        )
    });
    if let Some(node) = top.get("classes").and_then(|node| only_main(node, main)) {
        named(
            node,
            "a class",
            |name| is_name(name).then(|| name.to_owned()),
            &mut draft.classes,
            |name, node| class::read(name, node),
        );
    }
    if let Some(node) = top.get("defaults").and_then(|node| only_main(node, main)) {
        draft.defaults = agent::read(node, "defaults".to_owned()).unwrap_or_default();
    }
    top.optional("agents", |node| {
        draft.any_agent = true;
        named(
            node,
            "an agent",
            |name| AgentId::new(name).ok(),
            &mut draft.agents,
            |id, node| agent::read(node, format!("agents.{id}")),
        )
    });
    top.optional("channels", |node| {
        named(
            node,
            "a channel",
            |name| ChannelId::new(name).ok(),
            &mut draft.channels,
            channel::read,
        )
    });
    top.optional("bindings", |node| {
        let elements = node.elements("a list of tables", "[{ channel = \"…\", agent = \"…\" }]")?;
        draft
            .bindings
            .extend(elements.into_iter().filter_map(binding::read));
        Some(())
    });
    top.finish();
}

/// Settings of the whole stand in one place.
fn only_main(node: Node<'_>, main: bool) -> Option<Node<'_>> {
    if main {
        return Some(node);
    }
    node.fail(
        format!("`[{}]` belongs into the main file", node.key),
        "not in a file of agents.d",
        "move it; these files may hold providers, agents, channels and bindings",
    )
}

/// Reads a table of named tables into `into`; a name twice is an error that shows both places.
fn named<'a, I: Ord, T>(
    node: Node<'a>,
    what: &str,
    name: fn(&str) -> Option<I>,
    into: &mut Named<I, T>,
    read: impl Fn(&I, Node<'a>) -> Option<T>,
) -> Option<()> {
    for (key, node) in node.entries()? {
        let at = key_place(node, key);
        let written: &str = key.get_ref();
        let Some(id) = name(written) else {
            node.context.report(
                Diagnostic::error(format!("\"{}\" cannot name {what}", quoted(written)))
                    .at(at, "not a name")
                    .hint(NAME_RULE),
            );
            continue;
        };
        // Read even when it is there already: its own mistakes are mistakes too.
        let value = read(&id, node);
        match into.get(&id) {
            Some(first) => node.context.report(
                Diagnostic::error(format!("\"{written}\" names {what} twice"))
                    .at(at, "again here")
                    .related(first.at.clone(), "first here")
                    .hint("rename one of them"),
            ),
            None => {
                into.insert(id, Entry { at, value });
            }
        }
    }
    Some(())
}

fn key_place(node: Node<'_>, key: &Spanned<DeString<'_>>) -> Location {
    Location {
        file: node.file,
        span: key.span(),
    }
}
