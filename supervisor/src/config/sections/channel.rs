//! `[channels.<id>]`.

use std::collections::BTreeSet;
use std::time::Duration;

use toml::de::DeValue;

use super::super::diagnostic::{Diagnostic, quoted};
use super::super::domain::{AllowFrom, Channel, ChannelId, ChannelKind, Irc, Sasl, Telegram, Tls};
use super::super::reader::{Node, Table};
use super::super::value::{self, placed};
use super::queue;
use super::secret::secret;

#[derive(Clone, Copy)]
enum Kind {
    Telegram,
    Irc,
}

const KINDS: &[(&str, Kind)] = &[("telegram", Kind::Telegram), ("irc", Kind::Irc)];

pub(in super::super) fn read(id: &ChannelId, node: Node<'_>) -> Option<Channel> {
    let mut table = node
        .table("ChannelTable", format!("channels.{id}"))?
        .sensitive();
    let kind = table.required("kind", "\"telegram\"", value::choice(KINDS))?;
    let allow_from = allow_from(&mut table, kind);
    let queue_path = table.path_of("queue");
    let queue = table.optional("queue", |node| queue::read(node, queue_path));
    let kind = match kind {
        Kind::Telegram => {
            table.becomes("ChannelTable:telegram");
            ChannelKind::Telegram(telegram(table)?)
        }
        Kind::Irc => {
            table.becomes("ChannelTable:irc");
            ChannelKind::Irc(irc(table)?)
        }
    };
    Some(Channel {
        id: id.clone(),
        allow_from: allow_from?,
        queue: queue.unwrap_or_default(),
        kind,
    })
}

fn allow_from(table: &mut Table<'_>, kind: Kind) -> Option<AllowFrom> {
    let (example, sender): (_, fn(Node<'_>) -> Option<String>) = match kind {
        Kind::Telegram => ("[123456789, \"@alice\"]", telegram_sender),
        Kind::Irc => ("[\"alice\"]", irc_sender),
    };
    let Some(node) = table.get("allow_from") else {
        nobody(table, example);
        return Some(AllowFrom::Listed(BTreeSet::new()));
    };
    let senders = value::list(example, sender)(node)?;
    if senders.is_empty() {
        nobody(table, example);
    }
    let anyone = senders.iter().any(|sender| sender == "*");
    if anyone && senders.len() > 1 {
        return node.fail(
            "`allow_from` lists both everybody and somebody",
            "\"*\" is everybody",
            "leave \"*\" alone, or remove it",
        );
    }
    if anyone {
        return Some(AllowFrom::Anyone);
    }
    Some(AllowFrom::Listed(
        senders.iter().map(|sender| sender.to_lowercase()).collect(),
    ))
}

fn nobody(table: &Table<'_>, example: &str) {
    let at = table
        .place("allow_from")
        .unwrap_or_else(|| table.header.clone());
    table.context.report(
        Diagnostic::warning(format!(
            "nobody will be answered on `[{}]`",
            quoted(&table.path)
        ))
        .at(at, "`allow_from` lists no sender")
        .hint(format!(
            "list who may write, as in `allow_from = {example}`, or everybody with [\"*\"]"
        )),
    );
}

fn telegram_sender(node: Node<'_>) -> Option<String> {
    let bad = || {
        node.fail(
            "`allow_from` holds what is not a Telegram user",
            "not a user",
            "write a number, as in 123456789, or a user name, as in \"@alice\"",
        )
    };
    match node.value.get_ref() {
        DeValue::Integer(_) => value::integer(i64::MIN..=i64::MAX)(node).map(|id| id.to_string()),
        DeValue::String(text) if text == "*" || text.parse::<i64>().is_ok() => {
            Some(text.to_string())
        }
        DeValue::String(text) => {
            let user = text.strip_prefix('@').unwrap_or("");
            let plain = user.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
            if user.is_empty() || user.len() > 32 || !plain {
                return bad();
            }
            Some(text.to_string())
        }
        _ => bad(),
    }
}

fn irc_sender(node: Node<'_>) -> Option<String> {
    let sender = value::line(node)?;
    if sender.contains(char::is_whitespace) {
        return node.fail(
            "`allow_from` holds what is not a nick",
            "a nick has no spaces",
            "write one nick for each element, as in [\"alice\", \"bob\"]",
        );
    }
    Some(sender)
}

fn telegram(mut table: Table<'_>) -> Option<Telegram> {
    let token = table.required(
        "token",
        "{ env = \"TELEGRAM_TOKEN\" }",
        secret(table.path_of("token")),
    );
    let api_url = table.optional("api_url", value::url);
    let poll_timeout = table.optional("poll_timeout", |node| {
        let wait = value::duration(node)?;
        if (1..=300).contains(&wait.as_secs()) && wait.subsec_nanos() == 0 {
            return Some(wait);
        }
        node.fail(
            "`poll_timeout` must be whole seconds, from 1s to 5m",
            "the platform counts whole seconds",
            "write `poll_timeout = \"30s\"`",
        )
    });
    table.finish();
    Some(Telegram {
        token: token?,
        api_url,
        poll_timeout: poll_timeout.unwrap_or(Duration::from_secs(30)),
    })
}

fn irc(mut table: Table<'_>) -> Option<Irc> {
    let server = table.required("server", "\"irc.libera.chat\"", placed(host));
    let encrypted = table.optional("tls", value::boolean).unwrap_or(true);
    let port = table.optional("port", value::integer(1..=u16::MAX));
    let ca = table.optional("tls_ca", placed(value::path));
    let nick = table.required("nick", "\"kennel\"", nick);
    let password = table.optional("password", secret(table.path_of("password")));
    let sasl_path = table.path_of("sasl");
    let sasl = table.optional("sasl", |node| sasl(node, sasl_path));
    let channels = table
        .optional("channels", value::list("[\"#kennel\"]", room))
        .unwrap_or_default();
    let context = table.context;
    table.finish();

    if let (false, Some(ca)) = (encrypted, &ca) {
        context.report(
            Diagnostic::error("`tls_ca` has no meaning without TLS")
                .at(ca.at.clone(), "never used")
                .hint("remove it, or set `tls = true`"),
        );
    }
    let server = server?;
    let secret_given = password.is_some() || sasl.is_some();
    let local = value::is_loopback(&format!("irc://{}", server.value));
    if !encrypted && secret_given && !local {
        context.report(
            Diagnostic::warning("the password of this account travels in the clear")
                .at(server.at, "not encrypted")
                .hint("set `tls = true`"),
        );
    }
    let tls = if encrypted {
        Tls::On {
            ca: ca.map(|ca| ca.value),
        }
    } else {
        Tls::Off
    };
    Some(Irc {
        server: server.value,
        port: port.unwrap_or(if encrypted { 6697 } else { 6667 }),
        tls,
        nick: nick?,
        password,
        sasl,
        channels,
    })
}

fn sasl(node: Node<'_>, path: String) -> Option<Sasl> {
    let mut table = node.table("SaslTable", path)?.sensitive();
    let account = table.required("account", "\"kennel\"", word);
    let password = table.required(
        "password",
        "{ env = \"IRC_PASSWORD\" }",
        secret(table.path_of("password")),
    );
    table.finish();
    Some(Sasl {
        account: account?,
        password: password?,
    })
}

/// One word of an IRC line: a space or a line break in it would be another command.
fn word(node: Node<'_>) -> Option<String> {
    let word = value::line(node)?;
    if word.contains(char::is_whitespace) || word.starts_with(':') {
        return node.fail(
            format!("`{}` must be one word", quoted(node.key)),
            "has a space, or begins with a colon",
            "remove them",
        );
    }
    Some(word)
}

fn nick(node: Node<'_>) -> Option<String> {
    let nick = word(node)?;
    let begins_badly = nick.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '#'));
    if begins_badly || nick.contains(['!', '@', ',', '*', '?']) {
        return node.fail(
            "`nick` is not a nick",
            "no server takes it",
            "begin with a letter, and use letters, digits, `_` and `-`",
        );
    }
    Some(nick)
}

fn room(node: Node<'_>) -> Option<String> {
    let room = word(node)?;
    if !room.starts_with(['#', '&', '+', '!']) || room.contains([',', '\u{7}']) {
        return node.fail(
            "`channels` holds what is not an IRC channel",
            "not a channel",
            format!("write it as in \"#{}\"", quoted(&room)),
        );
    }
    Some(room)
}

/// A host name or an address, without scheme, port or path.
fn host(node: Node<'_>) -> Option<String> {
    let host = value::line(node)?;
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let is_name = host.len() <= 253
        && host
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'));
    if is_address || is_name {
        return Some(host);
    }
    node.fail(
        "`server` is not a host name",
        "not a host name",
        "write the name alone, as in \"irc.libera.chat\"; the port has its own key",
    )
}
