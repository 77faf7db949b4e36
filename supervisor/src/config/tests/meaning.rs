//! What a right configuration means: defaults, merging, paths.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kennel_shared::protocol::Tool;

use super::super::{
    AgentConfig, AllowFrom, Backoff, ChannelKind, Config, Directories, Limits, LogLevel, ModelApi,
    PeerKind, ProviderKind, RestartMode, Severity, SystemPrompt, Tls, Tools, example_file,
    starter_file,
};
use super::{BASE, config, parse, parse_files, titles};

#[test]
fn the_shipped_files_are_right_and_without_warnings() {
    for text in [starter_file(), example_file()] {
        let loaded = parse(text).unwrap_or_else(|found| {
            panic!("{}", found.render(super::super::Style::Plain));
        });
        assert_eq!(titles(&loaded.warnings, Severity::Warning), [""; 0]);
    }
    let starter = config(starter_file());
    let agent = starter
        .agent("assistant")
        .expect("the starter has an agent");
    let provider = starter.provider_of(agent).expect("and its provider");
    assert!(matches!(provider.kind, ProviderKind::Echo(_)));
}

#[test]
fn what_the_starter_has_commented_out_is_right_too() {
    let whole: Vec<&str> = starter_file()
        .lines()
        .map(|line| {
            let inner = line.strip_prefix("# ").unwrap_or(line);
            let is_toml = inner.starts_with('[') || inner.contains(" = ");
            if is_toml { inner } else { line }
        })
        .collect();
    let config = config(&whole.join("\n"));
    assert_eq!((config.providers.len(), config.bindings.len()), (3, 1));
}

/// The example says that it shows the defaults: an agent of it is the same as one about which nothing is said.
#[test]
fn the_example_shows_the_defaults() {
    let shown = config(example_file());
    let mut bare =
        config("[providers.local]\nkind = \"ollama\"\n[agents.hexa]\nmodel = \"local/smollm2\"\n");
    let agent = bare.agents.get_mut("hexa").expect("declared");
    agent.workspace = PathBuf::from("/etc/kennel/agents/hexa");
    agent.system_prompt = Some(SystemPrompt::Text(
        "You are Hexa. Answer briefly.".to_owned(),
    ));
    assert_eq!(shown.agent("hexa"), bare.agent("hexa"));
    bare.supervisor
        .default_agent
        .clone_from(&shown.supervisor.default_agent);
    bare.supervisor.http.clone_from(&shown.supervisor.http);
    assert_eq!(shown.supervisor, bare.supervisor);

    // And those of a provider with every key are those of one with none.
    let remote = |name: &str| match &shown.providers[name].kind {
        ProviderKind::Remote(remote) => remote.clone(),
        ProviderKind::Echo(_) => panic!("{name} is remote"),
    };
    let (full, empty) = (remote("local"), remote("ollama"));
    assert_eq!(full.api, ModelApi::OpenAi);
    assert_eq!(
        (
            full.request_timeout,
            full.first_byte_timeout,
            full.idle_timeout,
            full.max_retries
        ),
        (
            empty.request_timeout,
            empty.first_byte_timeout,
            empty.idle_timeout,
            empty.max_retries
        ),
    );
    let echo = config(BASE).providers["echo"].kind.clone();
    assert_eq!(shown.providers["echo"].kind, echo);
}

#[test]
fn an_agent_lies_over_the_defaults_key_by_key() {
    let config = config(
        r#"
        [providers.echo]
        kind = "echo"
        [defaults]
        model = "echo/a/b"
        restart = "always"
        backoff = { initial = "1s", factor = 3 }
        limits = { memory = "256MiB", cpu = 1, pids = 64 }
        system_prompt_file = "prompt.md"
        max_concurrent = 2
        tools = ["list"]
        tool_timeout = "5s"
        [agents.one]
        backoff = { initial = "2s", max = "9s" }
        limits = { memory = "1GiB", cpu_weight = 50 }
        system_prompt = "Hello."
        [agents.two]
        enabled = false
        class = "batch"
        turn_timeout = "1h 30m"
        tools = ["exec", "read", "exec"]
        max_steps = 3
        "#,
    );
    let one = config.agent("one").expect("declared");
    assert_eq!(
        (one.model.provider.as_str(), one.model.model.as_str()),
        ("echo", "a/b")
    );
    assert_eq!(one.restart.mode, RestartMode::Always);
    assert_eq!(
        one.restart.backoff,
        Backoff {
            initial: Duration::from_secs(2),
            max: Duration::from_secs(9),
            factor: 3.0,
            jitter: 0.2
        }
    );
    assert_eq!(
        one.limits,
        Limits {
            memory: Some(1 << 30),
            cpu: Some(1.0),
            cpu_weight: Some(50),
            pids: Some(64),
            ..Limits::default()
        }
    );
    assert_eq!(
        one.system_prompt,
        Some(SystemPrompt::Text("Hello.".to_owned()))
    );
    assert_eq!((one.max_concurrent, one.enabled), (2, true));

    let two = config.agent("two").expect("declared");
    assert_eq!(two.restart.backoff.initial, Duration::from_secs(1));
    assert_eq!(
        two.system_prompt,
        Some(SystemPrompt::File(PathBuf::from("/etc/kennel/prompt.md")))
    );
    assert_eq!((two.enabled, two.class.as_str()), (false, "batch"));
    assert_eq!(two.timeouts.turn, Duration::from_mins(90));
    let tools = |agent: &AgentConfig| {
        let Tools {
            enabled,
            max_steps,
            timeout,
        } = &agent.tools;
        (enabled.clone(), *max_steps, timeout.as_secs())
    };
    assert_eq!(tools(one), (vec![Tool::List], 32, 5));
    assert_eq!(
        tools(two),
        (vec![Tool::Exec, Tool::Read], 3, 5),
        "a list replaces"
    );
    assert_eq!(config.agent("three"), None);
}

#[test]
fn backoff_grows_to_its_maximum_and_no_further() {
    let backoff = Backoff {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(10),
        factor: 2.0,
        jitter: 0.5,
    };
    let seconds = [1, 2, 3, 4, 5, u32::MAX].map(|n| backoff.nominal(n).as_secs());
    assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);
    assert_eq!(backoff.shortest(3), Duration::from_secs(2));
}

#[test]
fn paths_count_from_the_main_file() {
    let config = config(&format!(
        "[supervisor]\nstate_dir = \"~/k\"\n{BASE}[agents.b]\nmodel = \"echo/x\"\nworkspace = \"w/b\"\n[agents.c]\nmodel = \"echo/x\"\nworkspace = \"/abs\"\n"
    ));
    let workspace = |id: &str| config.agent(id).expect("declared").workspace.clone();
    assert_eq!(workspace("a"), Path::new("/home/u/k/agents/a/workspace"));
    assert_eq!(workspace("b"), Path::new("/etc/kennel/w/b"));
    assert_eq!(workspace("c"), Path::new("/abs"));
    let supervisor = &config.supervisor;
    let a = &config.agent("a").expect("declared").id;
    assert_eq!(
        supervisor.control_socket(),
        Path::new("/home/u/k/run/control.sock")
    );
    assert_eq!(
        supervisor.link_socket(),
        Path::new("/home/u/k/run/link.sock")
    );
    assert_eq!(supervisor.pid_file(), Path::new("/home/u/k/run/kennel.pid"));
    assert_eq!(supervisor.agent_log(a), Path::new("/home/u/k/logs/a.log"));
    assert_eq!(supervisor.agent_dir(a), Path::new("/home/u/k/agents/a"));
}

#[test]
fn folders_follow_the_base_directories() {
    let path = |p: &str| Some(PathBuf::from(p));
    let all = Directories::from_vars(path("/h"), path("/s"), path("/r"));
    assert_eq!(
        (all.state, all.runtime),
        ("/s/kennel".into(), "/r/kennel".into())
    );
    let home = Directories::from_vars(path("/h"), None, None);
    assert_eq!(home.state, Path::new("/h/.local/state/kennel"));
    assert_eq!(home.runtime, Path::new("/h/.local/state/kennel/run"));
    let none = Directories::from_vars(None, None, None);
    assert_eq!(none.state, Path::new("/var/lib/kennel"));
}

#[test]
fn channels_and_bindings() {
    let config = config(&format!(
        r##"{BASE}
        [supervisor]
        default_agent = "a"
        log_level = "debug"
        [channels.t]
        kind = "telegram"
        token = {{ env = "T" }}
        allow_from = [42, "@Alice"]
        [channels.i]
        kind = "irc"
        server = "127.0.0.1"
        nick = "k"
        tls = false
        channels = ["#k"]
        allow_from = ["*"]
        [[bindings]]
        channel = "t"
        agent = "a"
        peer = -100
        kind = "group"
        "##
    ));
    let telegram = &config.channels["t"];
    assert!(telegram.allow_from.allows(&["42"]) && telegram.allow_from.allows(&["7", "@ALICE"]));
    assert!(!telegram.allow_from.allows(&["43", "alice"]) && !telegram.allow_from.allows(&[]));
    let irc = &config.channels["i"];
    assert_eq!(irc.allow_from, AllowFrom::Anyone);
    let ChannelKind::Irc(irc) = &irc.kind else {
        panic!("an IRC channel")
    };
    assert_eq!((irc.port, &irc.tls), (6667, &Tls::Off));
    assert_eq!(config.bindings[0].peer.as_deref(), Some("-100"));
    assert_eq!(config.bindings[0].kind, Some(PeerKind::Group));
    assert_eq!(config.supervisor.log_level, LogLevel::Debug);
    assert_eq!(
        config
            .supervisor
            .default_agent
            .as_ref()
            .map(ToString::to_string)
            .as_deref(),
        Some("a")
    );
}

#[test]
fn equal_texts_are_equal_configurations() {
    let one = config(BASE);
    let other = config(&format!("# a comment\n{BASE}restart = \"on-failure\"\n"));
    assert_eq!(one, other);
    assert_ne!(one, config(&format!("{BASE}restart = \"never\"\n")));
}

#[test]
fn two_hundred_agents_are_read_in_milliseconds() {
    use std::fmt::Write as _;
    let mut text =
        String::from("[providers.echo]\nkind = \"echo\"\n[defaults]\nmodel = \"echo/x\"\n");
    for n in 0..200 {
        write!(
            text,
            "[agents.agent-{n}]\nworkspace = \"w/{n}\"\nturn_timeout = \"{n}m 1s\"\n\
             context = {{ max_bytes = \"64KiB\" }}\nsystem_prompt = \"You are number {n}.\"\n"
        )
        .expect("a String takes everything");
    }
    let files = [(PathBuf::from("k.toml"), text)];
    let directories = super::directories();
    let read = || -> Config {
        Config::parse(&files, &directories)
            .expect("it is right")
            .config
    };
    // The best of several: the machine may be busy, and this build is not optimised.
    let best = (0..10)
        .map(|_| {
            let begin = clock();
            assert_eq!(read().agents.len(), 200);
            begin.elapsed()
        })
        .min()
        .expect("ten runs");
    assert!(best < Duration::from_millis(100), "took {best:?}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "a stopwatch, not a clock that decides"
)]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}

#[test]
fn fragments_join_the_main_file() {
    let loaded = parse_files(&[
        ("k/kennel.toml", "[defaults]\nmodel = \"p/x\"\n"),
        (
            "k/agents.d/a.toml",
            "[agents.a]\n[providers.p]\nkind = \"echo\"\n",
        ),
        ("k/agents.d/b.toml", "[agents.b]\nworkspace = \"w\"\n"),
    ])
    .expect("right");
    assert_eq!(loaded.config.agents.len(), 2);
    // From the main file's folder, not from the fragment's.
    assert_eq!(
        loaded.config.agent("b").expect("declared").workspace,
        Path::new("k/w")
    );
    assert_eq!(loaded.files.len(), 3);
}
