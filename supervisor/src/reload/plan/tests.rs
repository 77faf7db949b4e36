//! A plan applied gives what was wanted; every key of the schema is one that a plan knows.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use proptest::{prelude::*, sample::select};

use super::*;
use crate::config::{Directories, json_schema};

/// Lines of a table of an agent, each set of one key with different values. All of them fit each other.
const AGENT: &[&[&str]] = &[
    &["enabled = false"],
    &["autostart = false"],
    &["model = 'echo/a'", "model = 'far/b'"],
    &["temperature = 0.5", "temperature = 1.0"],
    &["max_tokens = 10", "max_tokens = 20"],
    &["workspace = '/w/one'", "workspace = '/w/two'"],
    &["system_prompt = 'A'", "system_prompt_file = 'p.md'"],
    &["restart = 'always'", "restart = 'never'"],
    &[
        "backoff = { initial = '1ms' }",
        "backoff = { jitter = 0.5 }",
    ],
    &["max_restarts = 3", "max_restarts = 4"],
    &["window = '20m'", "window = '30m'"],
    &["stable_after = '3m'"],
    &["start_timeout = '9s'"],
    &["heartbeat_interval = '2s'"],
    &["watchdog = '20s'"],
    &["stop_grace = '6s'"],
    &["drain_timeout = '7s'"],
    &["turn_timeout = '8m'"],
    &["queue_timeout = '9m'", "queue_timeout = '10m'"],
    &["first_token_timeout = '30s'", "first_token_timeout = '31s'"],
    &["cancel_grace = '3s'"],
    &["tools = ['read']", "tools = ['read', 'exec']"],
    &["max_steps = 5"],
    &["tool_timeout = '11s'"],
    &["limits.memory = '64MiB'", "limits.memory = '65MiB'"],
    &["limits.memory_high = '32MiB'"],
    &["limits.cpu = 0.5", "limits.cpu = 2.0"],
    &["limits.cpu_weight = 10"],
    &["limits.pids = 99"],
    &["limits.open_files = 99"],
    &["limits.io_weight = 99"],
    &["enforcement = 'best-effort'"],
    &["user = '7:8'", "user = '7:9'"],
    &[
        "sandbox = { network = 'closed' }",
        "sandbox = { read = ['/r'] }",
    ],
    &["max_concurrent = 2", "max_concurrent = 3"],
    &["max_queued = 2"],
    &["poison_after = 9"],
    &["queue.mode = 'followup'"],
    &["queue.debounce = '1s'"],
    &["queue.cap = 3"],
    &["queue.drop = 'oldest'"],
    &["class = 'batch'", "class = 'c0'"],
    &["weight = 50", "weight = 51"],
    &["context = { max_messages = 2 }"],
    &["log = { keep = 2 }"],
    &["budget.time_zone = 'Europe/Vienna'"],
    &["budget.downgrade = 'far/y'"],
    &["budget.hour = { max_tokens = 5 }"],
    &["budget.day = { warn_cost = 1 }"],
    &["budget.month = { max_cost = 2 }"],
];

/// The same of the supervisor; but for `state_dir`, with which no plan is made.
const SUPERVISOR: &[&[&str]] = &[
    &["max_concurrent = 2"],
    &["default_agent = 'a0'"],
    &["orphan_grace = '2s'"],
    &["stop_grace = '2s'"],
    &["log_level = 'debug'"],
    &["log_format = 'json'"],
    &["http.listen = '127.0.0.1:1'", "http.listen = '127.0.0.1:2'"],
    &["containment = 'best-effort'"],
    &["runtime_dir = '/other'"],
    &["journal.keep = '2d'"],
    &["prices.'echo/x' = { input = 1, output = 2 }"],
    &["otlp.endpoint = 'http://127.0.0.1:1'"],
    &["fleet.memory = '64GiB'"],
    &["fleet.cpu = 0.5"],
    &["fleet.cpu_weight = 5"],
    &["fleet.pids = 999999"],
    &["fleet.overcommit = true"],
];

/// Tables of a class that is always declared, so that agents may be of it.
const CLASSES: &[&str] = &[
    "",
    "weight = 50",
    "min_share = 0.25",
    "min_share = 0.25, max_share = 0.5",
    "max_share = 0.5",
];

const PROVIDERS: &[&str] = &["'echo'", "'echo', delay = '1ms'", "'ollama'"];

const CHANNELS: &[&str] = &[
    "",
    "kind = 'irc', server = 'i', nick = 'n'",
    "kind = 'irc', server = 'j', nick = 'n', allow_from = ['a']",
    "kind = 'telegram', token = { env = 'T' }",
];

fn setting(text: &str, prompts: &[(&str, u64)]) -> Setting {
    let files = [(PathBuf::from("/etc/kennel/kennel.toml"), text.to_owned())];
    let loaded = Config::parse(&files, &Directories::below(Path::new("/home/u")));
    Setting {
        config: loaded
            .unwrap_or_else(|found| panic!("{found}\n{text}"))
            .config,
        prompts: prompts
            .iter()
            .map(|(id, digest)| (id.parse().unwrap(), *digest))
            .collect(),
    }
}

fn lines(of: &'static [&'static [&'static str]]) -> impl Strategy<Value = String> {
    // Few keys differ between two settings, as it is when people edit.
    let line = |values: &'static [&'static str]| prop_oneof![6 => Just(""), 1 => select(values)];
    let all: Vec<_> = of.iter().map(|values| line(values)).collect();
    all.prop_map(|lines| lines.join("\n"))
}

fn any_setting() -> impl Strategy<Value = Setting> {
    let agent = || proptest::option::of(lines(AGENT));
    let agents = (lines(AGENT), agent(), agent());
    let channels = (select(CHANNELS), select(CHANNELS));
    let rest = (select(PROVIDERS), 0_usize..4, 0_u64..3);
    let classes = (select(CLASSES), proptest::option::of(select(CLASSES)));
    (lines(SUPERVISOR), agents, channels, rest, classes).prop_map(
        |(supervisor, (first, second, third), (irc, other), (far, bound, digest), classes)| {
            let agents = [("a0", Some(first)), ("a1", second), ("a2", third)];
            let agents = agents
                .into_iter()
                .filter_map(|(id, keys)| Some((id, keys?)));
            let agents = agents.map(|(id, keys)| format!("[agents.{id}]\n{keys}"));
            let channels = [("c0", irc), ("c1", other)];
            let channels = channels.into_iter().filter(|(_, keys)| !keys.is_empty());
            let channels = channels.map(|(id, keys)| format!("{id} = {{ {keys} }}"));
            let bound = if irc.is_empty() { 0 } else { bound };
            let bindings = ["direct", "group"].into_iter().take(bound);
            let bindings = bindings
                .map(|kind| format!("[[bindings]]\nchannel = 'c0'\nagent = 'a0'\nkind = '{kind}'"));
            let schedules = ["'1m'\njitter = '1s'", "'2m'\nprompt = 'b'", "'2m'"];
            let schedules = schedules.into_iter().skip(bound).enumerate();
            let schedules = schedules.map(|(n, every)| {
                let prompt = if every.contains("prompt") {
                    ""
                } else {
                    "\nprompt = 'a'"
                };
                format!("[[schedules]]\nname = 's{n}'\nagent = 'a0'\nevery = {every}{prompt}")
            });
            let text: Vec<String> = [
                format!("[supervisor]\n{supervisor}\n[defaults]\nmodel = 'echo/x'"),
                format!("[providers]\necho.kind = 'echo'\nfar = {{ kind = {far} }}"),
            ]
            .into_iter()
            .chain([format!("[classes]\nc0 = {{ {} }}", classes.0)])
            .chain(classes.1.map(|keys| format!("batch = {{ {keys} }}")))
            .chain(agents)
            .chain(["[channels]".to_owned()])
            .chain(channels)
            .chain(bindings)
            .chain(schedules)
            .collect();
            let text = text.join("\n");
            let prompts: &[(&str, u64)] = if digest == 0 { &[] } else { &[("a0", digest)] };
            setting(&text, prompts)
        },
    )
}

/// `new` as far as a running supervisor takes it.
fn reachable(old: &Setting, new: &Setting) -> Setting {
    let mut new = new.clone();
    for key in keys::SUPERVISOR {
        let (was, is) = (&old.config.supervisor, &mut new.config.supervisor);
        if (key.effect)(was, is) >= Effect::Supervisor {
            (key.copy)(was, is);
        }
    }
    new
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn applied_it_gives_what_was_wanted(old in any_setting(), new in any_setting()) {
        let plan = Plan::between(&old, &new);
        let got = plan.apply(&old);
        prop_assert_eq!(&got, &reachable(&old, &new));
        // What is left are the keys that wait for another supervisor.
        let left = Plan::between(&got, &new);
        prop_assert!(left.is_idle());
        let waiting: Vec<_> = plan.supervisor_keys(Effect::Supervisor).cloned().collect();
        prop_assert_eq!(left.supervisor, waiting);
    }

    #[test]
    fn from_a_setting_to_itself_there_is_nothing_to_do(setting in any_setting()) {
        prop_assert!(Plan::between(&setting, &setting).is_empty());
    }

    #[test]
    fn it_restarts_only_what_it_must(old in any_setting(), new in any_setting()) {
        let plan = Plan::between(&old, &new);
        for (id, change) in &plan.agents {
            let (was, is) = (old.config.agents.get(id), new.config.agents.get(id));
            if change.step == AgentStep::Restart {
                let must = change.keys.iter().any(|key| key.effect == Effect::Restart);
                prop_assert!(must && was.unwrap().enabled && is.unwrap().enabled);
            }
        }
        for id in old.config.agents.keys() {
            let same = old.config.agents.get(id) == new.config.agents.get(id)
                && old.prompts.get(id) == new.prompts.get(id)
                && old.config.providers == new.config.providers;
            prop_assert!(!same || !plan.agents.contains_key(id));
        }
    }
}

const BASE: &str = "[providers.echo]\nkind = 'echo'\n[providers.far]\nkind = 'ollama'\n\
                    [defaults]\nmodel = 'echo/x'\n[agents.a0]\n";

fn change(agent: &str) -> AgentChange {
    let with = |agent: &str| setting(&format!("[classes.c0]\n{BASE}{agent}\n"), &[]);
    let plan = Plan::between(&with(""), &with(agent));
    let mut agents = plan.agents.into_iter();
    let (id, change) = agents
        .next()
        .unwrap_or_else(|| panic!("{agent} is nothing"));
    assert_eq!(id.as_str(), "a0");
    change
}

#[test]
fn every_key_of_an_agent_is_known_by_its_name() {
    for line in AGENT.iter().flat_map(|values| values.iter()) {
        let (name, _) = line.split_once(" = ").unwrap();
        let name = name.replace("system_prompt_file", "system_prompt");
        let change = change(line);
        let names: Vec<_> = change.keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(names, [name.as_str()], "{line}");
        assert_eq!(
            change.step,
            match change.keys[0].effect {
                Effect::Restart => AgentStep::Restart,
                _ if name == "enabled" => AgentStep::Remove,
                _ => AgentStep::Live,
            },
            "{line}"
        );
    }
}

#[test]
fn every_key_of_a_class_is_known_by_its_name() {
    let with = |keys: &str| setting(&format!("{BASE}[classes]\nc0 = {{ {keys} }}\n"), &[]);
    for line in ["weight = 50", "min_share = 0.25", "max_share = 0.5"] {
        let plan = Plan::between(&with(""), &with(line));
        let (name, change) = plan.classes.first_key_value().unwrap();
        let names: Vec<_> = change.keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(
            (name.as_str(), names),
            ("c0", vec![line.split(' ').next().unwrap()])
        );
        assert!(change.keys.iter().all(|key| key.effect == Effect::Live));
        assert!(plan.agents.is_empty() && plan.supervisor.is_empty());
        assert!(!plan.is_idle());
    }
}

#[test]
fn classes_come_and_go() {
    let (without, with) = (
        setting(BASE, &[]),
        setting(&format!("{BASE}class = 'c0'\n[classes.c0]\n"), &[]),
    );
    let plan = Plan::between(&without, &with);
    assert_eq!(plan.classes["c0"].keys, []);
    assert_eq!(plan.agents["a0"].step, AgentStep::Live);
    assert_eq!(plan.apply(&without), with);
    let back = Plan::between(&with, &without);
    assert_eq!(back.classes["c0"].to, None);
    assert_eq!(back.apply(&with), without);
    assert_eq!(back.classes.len(), 1, "those that are always there stay");
}

#[test]
fn every_key_of_the_schema_is_tried_here() {
    let schema = serde_json::to_value(json_schema()).unwrap();
    let keys = |table: &str| -> BTreeSet<String> {
        let keys = schema["definitions"][table]["properties"].as_object();
        keys.unwrap().keys().cloned().collect()
    };
    let tried = |of: &[&[&str]]| -> BTreeSet<String> {
        let lines = of.iter().flat_map(|values| values.iter());
        lines
            .map(|line| line.split([' ', '.']).next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(tried(AGENT), keys("AgentTable"));
    let class: BTreeSet<String> = keys::CLASS.iter().map(|key| key.name.to_owned()).collect();
    assert_eq!(class, keys("ClassTable"));
    let mut supervisor = tried(SUPERVISOR);
    // The one makes no plan, the other is for the reader alone.
    supervisor.extend(["state_dir".to_owned(), "allow_inline_secrets".to_owned()]);
    assert_eq!(supervisor, keys("SupervisorTable"));
}

#[test]
fn every_key_of_the_supervisor_is_known_by_its_name() {
    let base = format!("[supervisor]\nXXX\n{BASE}");
    for line in SUPERVISOR.iter().flat_map(|values| values.iter()) {
        let (name, _) = line.split_once(" = ").unwrap();
        let name = name.replace("http.listen", "http");
        let name = name.replace("journal.keep", "journal");
        let name = name.replace("prices.'echo/x'", "prices");
        let name = name.replace("otlp.endpoint", "otlp");
        let (old, new) = (base.replace("XXX", ""), base.replace("XXX", line));
        let plan = Plan::between(&setting(&old, &[]), &setting(&new, &[]));
        let names: Vec<_> = plan
            .supervisor
            .iter()
            .map(|key| key.name.as_str())
            .collect();
        assert_eq!(names, [name.as_str()], "{line}");
        assert!(plan.agents.is_empty(), "{line}");
    }
}

#[test]
fn fewer_turns_at_once_hold_at_once_and_more_take_a_new_process() {
    let with = |n: u32| setting(&format!("{BASE}max_concurrent = {n}\n"), &[]);
    let step = |from, to| Plan::between(&with(from), &with(to)).agents["a0"].step;
    assert_eq!(step(4, 2), AgentStep::Live);
    assert_eq!(step(2, 4), AgentStep::Restart);
}

#[test]
fn a_provider_that_changes_restarts_those_that_use_it() {
    let text = format!(
        "{BASE}model = 'far/x'\n[agents.other]\n[agents.off]\nenabled = false\nmodel = 'far/x'\n"
    );
    let old = setting(&text, &[]);
    let new = setting(&text.replace("'ollama'", "'ollama'\nmax_retries = 9"), &[]);
    let plan = Plan::between(&old, &new);
    let steps: Vec<_> = plan
        .agents
        .iter()
        .map(|(id, change)| (id.as_str(), change.step, change.keys[0].name.as_str()))
        .collect();
    assert_eq!(
        steps,
        [
            ("a0", AgentStep::Restart, "providers.far"),
            ("off", AgentStep::Note, "providers.far")
        ]
    );
    assert_eq!(plan.apply(&old), new);
}

#[test]
fn a_prompt_file_that_says_something_else_restarts_its_agent() {
    let text = format!("{BASE}system_prompt_file = 'p.md'\n[agents.other]\n");
    let (old, new) = (setting(&text, &[("a0", 1)]), setting(&text, &[("a0", 2)]));
    let plan = Plan::between(&old, &new);
    assert_eq!(plan.agents["a0"].step, AgentStep::Restart);
    assert_eq!(plan.agents.len(), 1);
    assert_eq!(plan.apply(&old), new);
}

#[test]
fn what_is_shown_of_a_key_is_short() {
    let key = change("limits.memory = '64MiB'").keys.remove(0);
    let wanted = KeyChange {
        name: "limits.memory".into(),
        effect: Effect::Live,
        from: Some("none".into()),
        to: Some("64MiB".into()),
    };
    assert_eq!(key, wanted);
    let key = change("tools = ['read']").keys.remove(0);
    assert_eq!((key.from, key.to), (None, None));
}

#[test]
fn channels_say_where_they_differ() {
    let with = |channel: &str| setting(&format!("{BASE}[channels]\nc = {{ {channel} }}\n"), &[]);
    let keys = |from: &str, to: &str| match &Plan::between(&with(from), &with(to)).channels["c"] {
        ChannelChange::Restart { keys, .. } => keys.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(keys(CHANNELS[1], CHANNELS[2]), ["allow_from", "server"]);
    assert_eq!(keys(CHANNELS[1], CHANNELS[3]), ["kind"]);
    for key in [
        "port = 7",
        "tls = false",
        "password = { env = 'P' }",
        "sasl = { account = 'a', password = { env = 'P' } }",
        "channels = ['#a']",
        "allow_from = ['*']",
    ] {
        let found = keys(CHANNELS[1], &format!("{}, {key}", CHANNELS[1]));
        let mut wanted = vec![key.split(' ').next().unwrap()];
        // Without TLS the port that goes without saying is another.
        if key.starts_with("tls") {
            wanted.insert(0, "port");
        }
        assert_eq!(found, wanted);
    }
    for key in ["api_url = 'http://127.0.0.1:1'", "poll_timeout = '1s'"] {
        let found = keys(CHANNELS[3], &format!("{}, {key}", CHANNELS[3]));
        assert_eq!(found, [key.split(' ').next().unwrap()]);
    }
}

#[test]
fn the_table_of_the_docs_has_every_key_where_it_belongs() {
    let docs = include_str!("../../../../docs/reload.md");
    let row = |when: &str| {
        let row = docs
            .lines()
            .find(|line| line.starts_with(&format!("| {when}")));
        row.unwrap_or_else(|| panic!("no row `{when}`"))
    };
    let rows = |effect, own: &'static str| match effect {
        Effect::Live => row(own),
        Effect::Restart => row("with a new process"),
        Effect::NextStart => row("with the next start"),
        Effect::Supervisor => row("not before the supervisor"),
        Effect::Fixed => row("never while it runs"),
    };
    let old = setting(BASE, &[]).config;
    for (name, effect) in keys::AGENT
        .iter()
        .map(|key| (key.name, (key.effect)(&old.agents["a0"], &old.agents["a0"])))
    {
        let row = rows(effect, "at once, of an agent");
        assert!(row.contains(&format!("`{name}`")), "{name} in {row}");
    }
    for key in keys::CLASS {
        let row = row("at once, of a class");
        assert!(row.contains(&format!("`{}`", key.name)), "{row}");
    }
    for key in keys::SUPERVISOR {
        let effect = (key.effect)(&old.supervisor, &old.supervisor);
        let row = rows(effect, "at once, of the supervisor");
        assert!(
            row.contains(&format!("`{}`", key.name)),
            "{} in {row}",
            key.name
        );
    }
}
