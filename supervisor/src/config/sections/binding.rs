//! `[[bindings]]`.

use toml::de::DeValue;

use super::super::diagnostic::Location;
use super::super::domain::PeerKind;
use super::super::reader::Node;
use super::super::value::{self, Placed, placed};

/// A binding before its names are looked up.
pub(in super::super) struct BindingDraft {
    pub(in super::super) at: Location,
    pub(in super::super) channel: Placed<String>,
    pub(in super::super) agent: Placed<String>,
    pub(in super::super) peer: Option<String>,
    pub(in super::super) kind: Option<PeerKind>,
}

pub(super) const KINDS: &[(&str, PeerKind)] =
    &[("direct", PeerKind::Direct), ("group", PeerKind::Group)];

pub(in super::super) fn read(node: Node<'_>) -> Option<BindingDraft> {
    let mut table = node.table("BindingTable", "bindings".to_owned())?;
    let channel = table.required("channel", "\"telegram\"", placed(value::owned_text));
    let agent = table.required("agent", "\"assistant\"", placed(value::owned_text));
    let peer_given = table.place("peer").is_some();
    let peer = table.optional("peer", peer);
    let kind_given = table.place("kind").is_some();
    let kind = table.optional("kind", value::choice(KINDS));
    table.finish();
    // Half-read, it would be compared with others as what it is not.
    if peer_given != peer.is_some() || kind_given != kind.is_some() {
        return None;
    }
    Some(BindingDraft {
        at: node.at(),
        channel: channel?,
        agent: agent?,
        peer,
        kind,
    })
}

/// Platforms name their peers by numbers or by words.
pub(super) fn peer(node: Node<'_>) -> Option<String> {
    match node.value.get_ref() {
        DeValue::Integer(_) => value::integer(i64::MIN..=i64::MAX)(node).map(|id| id.to_string()),
        DeValue::String(_) => value::line(node),
        _ => node.mismatch("a peer's name or number", "\"alice\""),
    }
}
