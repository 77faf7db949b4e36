//! `sandbox`, `user` and `enforcement` of an agent.

use std::path::PathBuf;

use toml::de::DeValue;

use super::super::diagnostic::quoted;
use super::super::domain::{Enforcement, NetworkAccess, Sandbox, UserRef};
use super::super::reader::Node;
use super::super::value::{self, Placed, placed};
use super::agent::AgentPatch;

pub(super) const ENFORCEMENT: &[(&str, Enforcement)] = &[
    ("strict", Enforcement::Strict),
    ("best-effort", Enforcement::BestEffort),
];

const NETWORK: &[(&str, NetworkAccess)] = &[
    ("open", NetworkAccess::Open),
    ("closed", NetworkAccess::Closed),
];

/// The kernel keeps the number above it for "nobody in particular".
const LAST_ID: u32 = u32::MAX - 1;

pub(super) fn read(node: Node<'_>, dotted: String, patch: &mut AgentPatch) -> Option<()> {
    let mut table = node.table("SandboxTable", dotted)?;
    let paths = || value::list("[\"/usr/share/dict\"]", |node| placed(value::path)(node));
    patch.sandbox_enabled = table.optional("enabled", value::boolean);
    patch.sandbox_read = table.optional("read", paths());
    patch.sandbox_write = table.optional("write", paths());
    patch.network = table.optional("network", network);
    table.finish();
    Some(())
}

fn network(node: Node<'_>) -> Option<NetworkAccess> {
    const WHAT: &str = "\"open\", \"closed\" or a list of ports";
    match node.value.get_ref() {
        DeValue::String(word) => {
            let found = NETWORK.iter().find(|(known, _)| *known == word.as_ref());
            found.map(|(_, access)| access.clone()).or_else(|| {
                node.fail(
                    format!("unknown network \"{}\"", quoted(word)),
                    "not a known word",
                    format!("it is {WHAT}, as in `network = [443]`"),
                )
            })
        }
        DeValue::Array(ports) if ports.is_empty() => node.fail(
            "`network` is an empty list",
            "no port",
            "write `network = \"closed\"`",
        ),
        DeValue::Array(_) => {
            let mut ports = value::list("[443]", |node| value::integer(1..=u16::MAX)(node))(node)?;
            ports.sort_unstable();
            ports.dedup();
            Some(NetworkAccess::Ports(ports))
        }
        _ => node.mismatch(WHAT, "\"closed\""),
    }
}

/// A name, a number, or `"uid:gid"`.
pub(super) fn user(node: Node<'_>) -> Option<UserRef> {
    const HINT: &str = "write a user's name, its number, or \"uid:gid\" in numbers";
    if let DeValue::Integer(_) = node.value.get_ref() {
        let uid = value::integer(0..=LAST_ID)(node)?;
        return Some(UserRef::Ids { uid, gid: None });
    }
    let DeValue::String(_) = node.value.get_ref() else {
        return node.mismatch("a user's name or number", "\"kennel-hexa\"");
    };
    let written = value::line(node)?;
    let number = |text: &str| text.parse().ok().filter(|id| *id <= LAST_ID);
    let user = match written.split_once(':') {
        Some((uid, gid)) => number(uid).zip(number(gid)).map(|(uid, gid)| UserRef::Ids {
            uid,
            gid: Some(gid),
        }),
        None if written.starts_with(|c: char| c.is_ascii_digit()) => {
            number(&written).map(|uid| UserRef::Ids { uid, gid: None })
        }
        None if written.contains([' ', '/', '\0']) => None,
        None => Some(UserRef::Name(written.clone())),
    };
    user.or_else(|| {
        node.fail(
            format!("`user` is not a user: \"{}\"", quoted(&written)),
            "cannot be read",
            HINT,
        )
    })
}

impl AgentPatch {
    /// How an agent of this patch is closed in.
    pub(in super::super) fn sandbox(&self) -> Sandbox {
        let paths = |list: &Option<Vec<Placed<PathBuf>>>| {
            let list = list.iter().flatten();
            list.map(|placed| placed.value.clone()).collect()
        };
        Sandbox {
            enabled: self.sandbox_enabled.unwrap_or(true),
            read: paths(&self.sandbox_read),
            write: paths(&self.sandbox_write),
            network: self.network.clone().unwrap_or_default(),
        }
    }
}
