//! What holds an agent, from its configuration.

use std::path::Path;

use super::*;
use crate::config::{Config, Directories};

fn config(text: &str) -> Config {
    let files = [(PathBuf::from("/etc/kennel/kennel.toml"), text.to_owned())];
    let loaded = Config::parse(&files, &Directories::below(Path::new("/home/u")));
    loaded.unwrap_or_else(|found| panic!("{found}")).config
}

#[test]
fn an_agent_without_caps_still_has_pids_and_asks_for_none() {
    let (caps, requested) = caps(&Limits::default());
    let held = Caps {
        pids: Some(DEFAULT_PIDS),
        ..Caps::default()
    };
    assert_eq!((caps, requested), (held, Vec::new()));
}

#[test]
fn every_cap_that_is_asked_for_arrives() {
    let limits = Limits {
        memory: Some(1),
        memory_high: Some(2),
        cpu: Some(3.0),
        cpu_weight: Some(4),
        pids: Some(5),
        open_files: Some(6),
        io_weight: Some(7),
    };
    let wanted = Caps {
        memory: Some(1),
        memory_high: Some(2),
        cpu: Some(3.0),
        cpu_weight: Some(4),
        pids: Some(5),
        open_files: Some(6),
        io_weight: Some(7),
    };
    assert_eq!(caps(&limits), (wanted, Cap::ALL.to_vec()));
    assert_eq!(super::limits(&wanted), limits);
    // A number that happens to be the default one is asked for all the same.
    let limits = Limits {
        pids: Some(DEFAULT_PIDS),
        ..Limits::default()
    };
    assert_eq!(caps(&limits).1, [Cap::Pids]);
}

#[test]
fn caps_in_force_are_told_as_a_configuration_would() {
    let (none, some) = (
        Limits::default(),
        Limits {
            pids: Some(DEFAULT_PIDS),
            cpu: Some(1.0),
            ..Limits::default()
        },
    );
    for limits in [none, some] {
        assert_eq!(limits_in_force(&limits, &caps(&limits).0), limits);
    }
    // Changed while it runs.
    let changed = Caps {
        memory: Some(7),
        ..caps(&none).0
    };
    let told = Limits {
        memory: Some(7),
        ..none
    };
    assert_eq!(limits_in_force(&none, &changed), told);
}

#[test]
fn the_fleet_has_no_default_caps() {
    let none = config("[providers.echo]\nkind = \"echo\"\n[agents.a]\nmodel = \"echo/x\"\n");
    assert_eq!(fleet_caps(&none), Caps::default());
    let some =
        config("[supervisor.fleet]\nmemory = \"4GiB\"\ncpu = 1.5\ncpu_weight = 7\npids = 9\n");
    let wanted = Caps {
        memory: Some(4 << 30),
        cpu: Some(1.5),
        cpu_weight: Some(7),
        pids: Some(9),
        ..Caps::default()
    };
    assert_eq!(fleet_caps(&some), wanted);
}

#[test]
fn the_providers_port_is_open_whatever_else_is() {
    let network = |provider: &str, network: &str| {
        let config = config(&format!(
            "[providers.p]\n{provider}\n[agents.a]\nmodel = \"p/x\"\nsandbox = {{ network = {network} }}\n"
        ));
        cage(&config, &config.agents["a"]).unwrap().network
    };
    let key = "api_key = { env = \"K\" }";
    let (closed, some) = ("\"closed\"", "[8080, 443]");
    let remote = |kind: &str, rest: &str| format!("kind = \"{kind}\"\n{key}\n{rest}");
    let at = |url: &str| remote("openai", &format!("base_url = \"{url}\""));
    for (provider, access, wanted) in [
        (remote("openai", ""), "\"open\"", Network::Open),
        ("kind = \"echo\"".into(), closed, Network::Closed),
        (
            "kind = \"echo\"".into(),
            some,
            Network::Ports(vec![443, 8080]),
        ),
        (remote("openai", ""), closed, Network::Ports(vec![443])),
        (remote("anthropic", ""), closed, Network::Ports(vec![443])),
        (remote("gemini", ""), closed, Network::Ports(vec![443])),
        (
            "kind = \"ollama\"".into(),
            closed,
            Network::Ports(vec![11434]),
        ),
        (
            at("http://127.0.0.1:9000/v1"),
            closed,
            Network::Ports(vec![9000]),
        ),
        (
            at("http://127.0.0.1:9000/v1"),
            some,
            Network::Ports(vec![443, 8080, 9000]),
        ),
        (
            at("http://models.example/v1"),
            closed,
            Network::Ports(vec![80]),
        ),
        (
            at("https://models.example"),
            some,
            Network::Ports(vec![443, 8080]),
        ),
        (at("https://[::1]:7/v1"), closed, Network::Ports(vec![7])),
    ] {
        assert_eq!(network(&provider, access), wanted, "{provider}, {access}");
    }
}

#[test]
fn the_cage_is_as_the_configuration_says() {
    let config = config(
        "[providers.echo]\nkind = \"echo\"\n[defaults]\nmodel = \"echo/x\"\n[agents.a]\n[agents.b]\n\
         enforcement = \"best-effort\"\nuser = \"7:8\"\nworkspace = \"/w\"\n\
         sandbox = { enabled = false, read = [\"/r\"], write = [\"s\"] }\n",
    );
    let plain = CageSpec {
        strict: true,
        group: None,
        user: None,
        sandbox: true,
        read: Vec::new(),
        write: Vec::new(),
        network: Network::Open,
        hidden: vec![
            "/etc/kennel".into(),
            "/home/u/state".into(),
            "/home/u/run".into(),
        ],
        workspace: "/home/u/state/agents/a/workspace".into(),
        pid_namespace: false,
    };
    assert_eq!(cage(&config, &config.agents["a"]), Ok(plain.clone()));
    let other = CageSpec {
        strict: false,
        user: Some(kennel_shared::cage::UserIds { uid: 7, gid: 8 }),
        sandbox: false,
        read: vec!["/r".into()],
        write: vec!["/etc/kennel/s".into()],
        workspace: "/w".into(),
        ..plain
    };
    assert_eq!(cage(&config, &config.agents["b"]), Ok(other));
}

/// What would fail in the child is said before there is one.
#[test]
fn another_user_needs_a_supervisor_of_root() {
    let other = config(
        "[providers.echo]\nkind = \"echo\"\n[agents.a]\nmodel = \"echo/x\"\nuser = \"123456:7\"\n",
    );
    let spec = cage(&other, &other.agents["a"]);
    if nix::unistd::geteuid().is_root() {
        assert_eq!(spec.unwrap().user.unwrap().uid, 123_456);
    } else {
        let error = spec.unwrap_err();
        assert!(error.contains("run the supervisor as root"), "{error}");
    }
    let gone = config(
        "[providers.echo]\nkind = \"echo\"\n[agents.a]\nmodel = \"echo/x\"\nuser = \"no-such-user\"\n",
    );
    let error = cage(&gone, &gone.agents["a"]).unwrap_err();
    assert_eq!(error, "this system has no user `no-such-user`");
}
