//! `[[schedules]]`.

use std::time::Duration;

use kennel_shared::envelope::{self, Peer, TEXT_MAX_BYTES};

use super::super::diagnostic::{Diagnostic, Location, quoted};
use super::super::domain::PeerKind;
use super::super::nearest::did_you_mean;
use super::super::reader::{Node, Table};
use super::super::value::{self, NAME_RULE, Placed, placed};
use super::binding;
use crate::schedule::{
    CatchUp, ScheduleId, Timetable,
    cron::{self, Cron},
};

const SECOND: Duration = Duration::from_secs(1);

const CATCH_UP: &[(&str, CatchUp)] = &[
    ("skip", CatchUp::Skip),
    ("once", CatchUp::Once),
    ("all", CatchUp::All),
];

/// A schedule before its names are looked up.
pub(in super::super) struct ScheduleDraft {
    pub(in super::super) id: Placed<ScheduleId>,
    pub(in super::super) enabled: bool,
    pub(in super::super) timetable: Option<Timetable>,
    pub(in super::super) catch_up: CatchUp,
    pub(in super::super) jitter: Duration,
    pub(in super::super) agent: Option<Placed<String>>,
    /// Whether a session is named, even one that could not be read.
    pub(in super::super) session_given: bool,
    pub(in super::super) session: Option<Placed<String>>,
    pub(in super::super) class: Option<Placed<String>>,
    pub(in super::super) prompt: Option<String>,
    pub(in super::super) tell_given: bool,
    pub(in super::super) tell: Option<TellDraft>,
}

/// Who is told the answer, before the channel is looked up.
pub(in super::super) struct TellDraft {
    pub(in super::super) channel: Placed<String>,
    pub(in super::super) peer: Peer,
}

pub(in super::super) fn read(node: Node<'_>) -> Option<ScheduleDraft> {
    let mut table = node.table("ScheduleTable", "schedules".to_owned())?;
    let id = table.required("name", "\"morning\"", placed(name));
    let timetable = timetable(&mut table);
    let tell_path = table.path_of("tell");
    let draft = |id, mut table: Table<'_>| ScheduleDraft {
        id,
        enabled: table.optional("enabled", value::boolean).unwrap_or(true),
        timetable,
        catch_up: table
            .optional("catch_up", value::choice(CATCH_UP))
            .unwrap_or_default(),
        jitter: table
            .optional("jitter", value::duration_or_zero)
            .unwrap_or_default(),
        agent: table.required("agent", "\"assistant\"", placed(value::owned_text)),
        session_given: table.place("session").is_some(),
        session: table.optional("session", placed(value::line)),
        class: table.optional("class", placed(value::name)),
        prompt: table.required("prompt", "\"Say good morning.\"", prompt),
        tell_given: table.place("tell").is_some(),
        tell: {
            let tell = table.optional("tell", |node| tell(node, tell_path));
            table.finish();
            tell
        },
    };
    let Some(id) = id else {
        // Read all the same: its own mistakes are mistakes too.
        let nameless = Placed {
            value: ScheduleId::new("nameless").expect("it is a name"),
            at: node.at(),
        };
        draft(nameless, table);
        return None;
    };
    Some(draft(id, table))
}

fn name(node: Node<'_>) -> Option<ScheduleId> {
    let written = value::owned_text(node)?;
    ScheduleId::new(&written).ok().or_else(|| {
        node.fail(
            format!("\"{}\" cannot name a schedule", quoted(&written)),
            "not a name",
            NAME_RULE,
        )
    })
}

fn timetable(table: &mut Table<'_>) -> Option<Timetable> {
    let zone_at = table.place("zone");
    let (cron_at, every_at) = (table.place("cron"), table.place("every"));
    let zone = match table.get("zone") {
        Some(node) => zone(node),
        None => Some(("UTC".to_owned(), jiff::tz::TimeZone::UTC)),
    };
    let cron = table.get("cron");
    let every = table.optional("every", every);
    match (cron, cron_at, every_at) {
        (Some(_), Some(cron_at), Some(every_at)) => {
            table.context.report(
                Diagnostic::error("`cron` and `every` exclude each other")
                    .at(every_at, "when it is due is said already")
                    .related(cron_at, "here")
                    .hint("keep one of the two"),
            );
            None
        }
        (Some(node), _, None) => {
            let (name, zone) = zone?;
            expression(node, &name, zone)
        }
        (None, _, Some(_)) => {
            if let Some(at) = zone_at {
                without_meaning(table, at);
            }
            every.map(Timetable::Every)
        }
        _ => {
            table.missing("cron", "\"0 9 * * *\"");
            None
        }
    }
}

fn without_meaning(table: &Table<'_>, at: Location) {
    table.context.report(
        Diagnostic::error("`zone` has no meaning with `every`")
            .at(at, "never used")
            .hint("remove it; an interval is as long in every zone"),
    );
}

fn every(node: Node<'_>) -> Option<Duration> {
    let every = value::duration(node)?;
    if every < SECOND {
        return node.fail(
            "`every` is too short",
            "shorter than a second",
            "write `every = \"1s\"` or more",
        );
    }
    Some(every)
}

fn zone(node: Node<'_>) -> Option<(String, jiff::tz::TimeZone)> {
    let name = value::owned_text(node)?;
    if let Some(zone) = cron::zone(&name) {
        return Some((name, zone));
    }
    let known = cron::zones();
    let near = did_you_mean(&name, known.iter().map(String::as_str));
    node.fail(
        format!("there is no time zone \"{}\"", quoted(&name)),
        "unknown time zone",
        near.unwrap_or_else(|| {
            "write its name as in the tz database: \"Europe/Berlin\", \"America/New_York\", \"UTC\""
                .to_owned()
        }),
    )
}

fn expression(node: Node<'_>, zone_name: &str, zone: jiff::tz::TimeZone) -> Option<Timetable> {
    let written = value::line(node)?;
    let cron = match Cron::parse(&written, zone_name, zone) {
        Ok(cron) => cron,
        Err(why) => {
            return node.fail(
                format!("`cron` is not a cron expression: {}", quoted(&why)),
                "cannot be read as times",
                "write minute, hour, day, month and weekday, as in \"30 9 * * MON-FRI\"",
            );
        }
    };
    if cron.after(0).is_none() {
        return node.fail(
            "`cron` names no time that ever comes",
            "never due",
            "no month has such a day",
        );
    }
    Some(Timetable::Cron(Box::new(cron)))
}

fn prompt(node: Node<'_>) -> Option<String> {
    let prompt = value::owned_text(node)?;
    if prompt.len() > TEXT_MAX_BYTES {
        return node.fail(
            "`prompt` is too long",
            format!("{} bytes", prompt.len()),
            format!("a message has at most {TEXT_MAX_BYTES} bytes"),
        );
    }
    Some(prompt)
}

fn tell(node: Node<'_>, path: String) -> Option<TellDraft> {
    let mut table = node.table("TellTable", path)?;
    let channel = table.required("channel", "\"telegram\"", placed(value::owned_text));
    let peer = table.required("peer", "123456789", binding::peer);
    let kind = table.optional("kind", value::choice(binding::KINDS));
    table.finish();
    Some(TellDraft {
        channel: channel?,
        peer: Peer {
            kind: match kind {
                None | Some(PeerKind::Direct) => envelope::PeerKind::Direct,
                Some(PeerKind::Group) => envelope::PeerKind::Group,
            },
            id: peer?,
        },
    })
}
