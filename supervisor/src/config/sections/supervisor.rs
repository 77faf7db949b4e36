//! `[supervisor]` and `[supervisor.http]`.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::Directories;
use super::super::diagnostic::{Diagnostic, quoted};
use super::super::domain::{
    Backend, FleetLimits, Http, JournalKeep, LogFormat, LogLevel, Supervisor,
};
use super::super::reader::{Node, Table};
use super::super::value::{self, Placed, placed};
use super::limits::FleetDraft;
use super::secret::secret;
use super::telemetry;
use crate::turns::Prices;

/// `[supervisor]` before its names are looked up.
pub(in super::super) struct SupervisorDraft {
    pub(in super::super) supervisor: Supervisor,
    pub(in super::super) default_agent: Option<Placed<String>>,
    pub(in super::super) fleet: FleetDraft,
}

const MIB: u64 = 1024 * 1024;

const LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

const BACKENDS: &[(&str, Backend)] = &[
    ("auto", Backend::Auto),
    ("cgroup-v2", Backend::CgroupV2),
    ("hybrid", Backend::Hybrid),
    ("cgroup-v1", Backend::CgroupV1),
    ("best-effort", Backend::BestEffort),
];

const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

/// What holds without a `[supervisor]` table.
pub(in super::super) fn absent(directories: &Directories) -> SupervisorDraft {
    SupervisorDraft {
        supervisor: Supervisor {
            state_dir: directories.state.clone(),
            runtime_dir: directories.runtime.clone(),
            max_concurrent: 8,
            default_agent: None,
            orphan_grace: Duration::from_mins(1),
            stop_grace: Duration::from_secs(30),
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            http: None,
            containment: Backend::default(),
            fleet: FleetLimits::default(),
            journal: JournalKeep::default(),
            prices: Prices::default(),
            otlp: None,
        },
        default_agent: None,
        fleet: FleetDraft::default(),
    }
}

pub(in super::super) fn read(node: Node<'_>, directories: &Directories) -> Option<SupervisorDraft> {
    let mut table = node.table("SupervisorTable", "supervisor".to_owned())?;
    let allow_inline = table.optional("allow_inline_secrets", value::boolean);
    table
        .context
        .allow_inline_secrets
        .set(allow_inline.unwrap_or(false));
    let mut draft = absent(directories);
    let supervisor = &mut draft.supervisor;

    let state_dir = table.optional("state_dir", value::path);
    let runtime_dir = table.optional("runtime_dir", value::path);
    // A state folder of one's own keeps its sockets to itself: two fleets must not meet in one runtime folder.
    if let Some(state_dir) = state_dir {
        supervisor.runtime_dir = state_dir.join("run");
        supervisor.state_dir = state_dir;
    }
    if let Some(runtime_dir) = runtime_dir {
        supervisor.runtime_dir = runtime_dir;
    }
    check_socket(&table, supervisor);

    let set = |to: &mut Duration, from: Option<Duration>| *to = from.unwrap_or(*to);
    set(
        &mut supervisor.orphan_grace,
        table.optional("orphan_grace", value::duration),
    );
    set(
        &mut supervisor.stop_grace,
        table.optional("stop_grace", value::duration),
    );
    if let Some(n) = table.optional("max_concurrent", value::integer(1..=10_000)) {
        supervisor.max_concurrent = n;
    }
    if let Some(level) = table.optional("log_level", value::choice(LEVELS)) {
        supervisor.log_level = level;
    }
    if let Some(format) = table.optional("log_format", value::choice(FORMATS)) {
        supervisor.log_format = format;
    }
    if let Some(backend) = table.optional("containment", value::choice(BACKENDS)) {
        supervisor.containment = backend;
    }
    draft.default_agent = table.optional("default_agent", placed(value::owned_text));
    supervisor.http = table.optional("http", http);
    draft.fleet = table
        .optional("fleet", FleetDraft::read)
        .unwrap_or_default();
    supervisor.fleet = draft.fleet.settle();
    if let Some(keep) = table.optional("journal", journal) {
        supervisor.journal = keep;
    }
    if let Some(prices) = table.optional("prices", telemetry::prices) {
        supervisor.prices = prices;
    }
    supervisor.otlp = table.optional("otlp", telemetry::otlp);
    table.finish();
    Some(draft)
}

/// A socket's path has a short limit, and the error of the system does not say so.
pub(in super::super) fn check_socket(table: &Table<'_>, supervisor: &Supervisor) {
    let socket = supervisor.control_socket();
    if value::fits_socket(&socket) {
        return;
    }
    let at = table
        .place("runtime_dir")
        .or_else(|| table.place("state_dir"))
        .unwrap_or_else(|| table.header.clone());
    table.context.report(
        socket_too_long(supervisor).at(at, format!("makes {} bytes", socket.as_os_str().len())),
    );
}

/// The mistake without its place, for a file without `[supervisor]`.
pub(in super::super) fn socket_too_long(supervisor: &Supervisor) -> Diagnostic {
    Diagnostic::error(format!(
        "the path of the control socket is too long for a Unix socket: {}",
        quoted(&supervisor.control_socket().display().to_string())
    ))
    .hint("set a short `runtime_dir` in [supervisor], as in \"/run/kennel\"")
}

fn journal(node: Node<'_>) -> Option<JournalKeep> {
    let mut table = node.table("JournalTable", "supervisor.journal".to_owned())?;
    let usual = JournalKeep::default();
    let ended = table.optional("keep", value::duration);
    let poison = table.optional("keep_poison", value::duration);
    let audit = table.optional("keep_audit", value::duration);
    let turns = table.optional("keep_turns", value::duration);
    let max_turns = table.optional("max_turns", value::integer(1..=100_000_000));
    let max_size = table.optional("max_size", value::size(MIB..=MIB * MIB));
    table.finish();
    Some(JournalKeep {
        ended: ended.unwrap_or(usual.ended),
        poison: poison.unwrap_or(usual.poison),
        audit: audit.unwrap_or(usual.audit),
        turns: turns.unwrap_or(usual.turns),
        max_turns: max_turns.unwrap_or(usual.max_turns),
        max_size: max_size.unwrap_or(usual.max_size),
    })
}

fn http(node: Node<'_>) -> Option<Http> {
    let mut table = node
        .table("HttpTable", "supervisor.http".to_owned())?
        .sensitive();
    let listen = table.required("listen", "\"127.0.0.1:7700\"", placed(address));
    let token_given = table.place("token").is_some();
    let token = table.optional("token", secret("supervisor.http.token".to_owned()));
    let allowed_origins = table
        .optional(
            "allowed_origins",
            value::list("[\"http://localhost:5173\"]", origin),
        )
        .unwrap_or_default();
    let context = table.context;
    table.finish();

    let listen = listen?;
    if !token_given {
        let token_hint = "add `token = { env = \"KENNEL_TOKEN\" }` to [supervisor.http]";
        context.report(if listen.value.ip().is_loopback() {
            Diagnostic::warning("the control API on TCP has no token")
                .at(listen.at, "every user of this machine can use it")
                .hint(token_hint)
        } else {
            Diagnostic::error("the control API would be open to the network without a token")
                .at(listen.at, "reached from other machines")
                .hint(format!(
                    "{token_hint}, or listen on \"127.0.0.1:{}\"",
                    listen.value.port()
                ))
        });
    }
    Some(Http {
        listen: listen.value,
        token,
        allowed_origins,
    })
}

fn address(node: Node<'_>) -> Option<SocketAddr> {
    let written = value::text(node)?;
    written.parse().ok().or_else(|| {
        node.fail(
            "`listen` is not an address with a port",
            "cannot be read",
            "write it as in \"127.0.0.1:7700\" or \"[::1]:7700\"",
        )
    })
}

/// What a browser sends as `Origin`: scheme, host, port.
fn origin(node: Node<'_>) -> Option<String> {
    let origin = value::url(node)?;
    let path = origin.split_once("://").map_or("", |(_, rest)| rest);
    if path.contains('/') {
        return node.fail(
            "an origin has no path",
            "more than scheme, host and port",
            "write it as in \"https://example.org\" or \"http://localhost:5173\"",
        );
    }
    Some(origin.to_ascii_lowercase())
}
