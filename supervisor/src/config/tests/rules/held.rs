//! Rules of what holds an agent: caps, the fleet's ceiling, users, the sandbox and its paths.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::super::super::{
    Config, Directories, Enforcement, Limits, NetworkAccess, Sandbox, Style, UserRef,
};
use super::super::{BASE, config, parse};
use super::refuses;

#[test]
fn caps() {
    for (limits, title, hint) in [
        ("memory = 512", "`memory` needs a unit", "\"512MiB\""),
        (
            "memory = \"1MiB\"",
            "`memory` is out of range",
            "from 4.0 MiB",
        ),
        (
            "memory = \"512M\"",
            "two meanings",
            "\"512MiB\" (powers of 1024)",
        ),
        ("memory = \"nothing\"", "`memory` is not a size", "MiB"),
        (
            "memory = \"512MiB\", memory_high = \"513MiB\"",
            "slowed down only beyond its end",
            "`memory_high` (513MiB) must not exceed `memory` (512MiB)",
        ),
        ("cpu = 0", "`cpu` is out of range", "from 0.01"),
        ("cpu = \"all\"", "`cpu` must be a number", "cpu = 0.01"),
        (
            "cpu_weight = 10001",
            "`cpu_weight` is out of range",
            "to 10000",
        ),
        ("pids = 0", "`pids` is out of range", "from 1"),
        ("open_files = 3", "`open_files` is out of range", "from 16"),
        ("io_weight = 0", "`io_weight` is out of range", "from 1"),
        ("cpus = 2", "unknown key `cpus`", "did you mean `cpu`?"),
    ] {
        refuses(&format!("{BASE}limits = {{ {limits} }}\n"), title, hint);
    }
}

/// `memory_high` of the one table above `memory` of the other: once, with both places.
#[test]
fn caps_that_only_the_merged_view_shows() {
    refuses(
        "[providers.echo]\nkind = \"echo\"\n[defaults]\nmodel = \"echo/x\"\nlimits = { memory_high = \"1GiB\" }\n\
         [agents.a]\nlimits = { memory = \"512MiB\" }\n[agents.b]\n",
        "slowed down only beyond its end",
        "`memory_high` (1GiB)",
    );
}

#[test]
fn a_cap_of_the_defaults_is_lifted_by_a_word() {
    let config = config(
        "[providers.echo]\nkind = \"echo\"\n[defaults]\nmodel = \"echo/x\"\n\
         limits = { memory = \"1GiB\", cpu = 2, pids = 9 }\n\
         [agents.a]\nlimits = { memory = \"none\", cpu = \"none\" }\n",
    );
    let wanted = Limits {
        pids: Some(9),
        ..Limits::default()
    };
    assert_eq!(config.agent("a").expect("declared").limits, wanted);
}

fn fleet(fleet: &str, agents: &[(&str, &str)]) -> String {
    let mut text = format!("[supervisor.fleet]\n{fleet}\n[providers.echo]\nkind = \"echo\"\n");
    for (id, limits) in agents {
        text += &format!("[agents.{id}]\nmodel = \"echo/x\"\n{limits}\n");
    }
    text
}

#[test]
fn the_fleet() {
    let capped = "limits = { memory = \"1GiB\", pids = 100 }";
    let more = "limits = { memory = \"1536MiB\" }";
    let agents = [("a", capped), ("b", more), ("c", ""), ("d", capped)];
    let of = |keys: &str| fleet(keys, &agents);
    refuses(
        &of("memory = \"3GiB\""),
        "the agents' `memory` adds up to 3584MiB, more than the fleet's 3GiB",
        "the largest are `b` (1536MiB), `a` (1GiB) and `d` (1GiB): lower some, raise `memory` in [supervisor.fleet], \
         or set `overcommit = true`",
    );
    refuses(
        &of("pids = 199"),
        "the agents' `pids` adds up to 200",
        "`a` (100)",
    );
    for keys in [
        "memory = \"3584MiB\"\npids = 200",
        "memory = \"1GiB\"\novercommit = true",
        "cpu = 0.1",
    ] {
        config(&of(keys));
    }
    // A disabled agent needs nothing.
    let off = format!("{capped}\nenabled = false");
    config(&fleet("memory = \"1GiB\"", &[("a", &off), ("b", capped)]));
    refuses(
        &of("memory_high = \"1GiB\""),
        "unknown key `memory_high`",
        "`memory`",
    );
    refuses(&of("overcommit = 1"), "must be true or false", "true");
}

#[test]
fn users() {
    let read = |user: &str| {
        let agent = config(&format!("{BASE}user = {user}\n")).agents["a"].clone();
        agent.user.expect("given")
    };
    let ids = |uid, gid| UserRef::Ids { uid, gid };
    assert_eq!(read("\"hexa\""), UserRef::Name("hexa".into()));
    assert_eq!(read("1001"), ids(1001, None));
    assert_eq!(read("\"1001\""), ids(1001, None));
    assert_eq!(read("\"1001:1002\""), ids(1001, Some(1002)));
    for (user, title) in [
        ("true", "must be a user's name or number"),
        ("\"\"", "`user` is empty"),
        ("\"a b\"", "not a user"),
        ("\"a:b\"", "not a user"),
        ("\"1:2:3\"", "not a user"),
        ("\"12x\"", "not a user"),
        ("-1", "out of range"),
        ("4294967295", "out of range"),
        ("\"4294967295\"", "not a user"),
    ] {
        refuses(&format!("{BASE}user = {user}\n"), title, "");
    }
}

#[test]
fn enforcement_and_sandbox() {
    let agent = |lines: &str| config(&format!("{BASE}{lines}\n")).agents["a"].clone();
    let plain = agent("");
    assert_eq!(plain.enforcement, Enforcement::Strict);
    assert_eq!(plain.sandbox, Sandbox::default());
    assert!(plain.sandbox.enabled);
    let other = agent(
        "enforcement = \"best-effort\"\nsandbox = { enabled = false, network = [443, 80, 443] }",
    );
    assert_eq!(other.enforcement, Enforcement::BestEffort);
    assert!(!other.sandbox.enabled);
    assert_eq!(other.sandbox.network, NetworkAccess::Ports(vec![80, 443]));
    let paths =
        agent("sandbox = { read = [\"/usr/share/dict\", \"data\"], write = [\"~/out\"] }").sandbox;
    assert_eq!(
        paths.read,
        ["/usr/share/dict", "/etc/kennel/data"].map(PathBuf::from)
    );
    assert_eq!(paths.write, [PathBuf::from("/home/u/out")]);
    for (line, title, hint) in [
        (
            "enforcement = \"lax\"",
            "unknown enforcement \"lax\"",
            "\"strict\", \"best-effort\"",
        ),
        ("sandbox = true", "must be a table", "sandbox"),
        (
            "sandbox = { network = \"shut\" }",
            "unknown network \"shut\"",
            "\"closed\" or a list of ports",
        ),
        ("sandbox = { network = [] }", "empty list", "\"closed\""),
        (
            "sandbox = { network = [0] }",
            "out of range",
            "from 1 to 65535",
        ),
        ("sandbox = { network = 443 }", "must be \"open\"", "closed"),
        (
            "sandbox = { read = \"/usr\" }",
            "must be a list",
            "/usr/share/dict",
        ),
        (
            "sandbox = { reed = [] }",
            "unknown key `reed`",
            "did you mean `read`?",
        ),
    ] {
        refuses(&format!("{BASE}{line}\n"), title, hint);
    }
}

/// Two agents with workspaces of their own, a secret in a file, and folders that are not the default ones.
fn fenced(agent: &str) -> String {
    format!(
        "[supervisor]\nstate_dir = \"/srv/state\"\nruntime_dir = \"/run/kennel\"\n\
         [providers.echo]\nkind = \"echo\"\n[providers.p]\nkind = \"gemini\"\napi_key = {{ file = \"keys/p\" }}\n\
         [agents.b]\nmodel = \"echo/x\"\nworkspace = \"/srv/work/b\"\n\
         [agents.a]\nmodel = \"echo/x\"\n{agent}\n"
    )
}

#[test]
fn paths_of_the_sandbox_keep_off_what_is_not_the_agents() {
    for (path, title) in [
        ("/", "holds the configuration"),
        ("/etc", "holds the configuration"),
        (".", "holds the configuration"),
        ("kennel.toml", "is the configuration"),
        ("agents.d/x.toml", "is the configuration of the agents"),
        ("keys", "holds the secret of `providers.p.api_key`"),
        ("keys/../keys/p", "is the secret"),
        ("/run", "holds the supervisor's sockets"),
        ("/run/kennel/link.sock", "is the supervisor's sockets"),
        ("/srv/state/agents/b", "is the state of the agent \"b\""),
        (
            "/srv/state/agents/a/../b/x",
            "is the state of the agent \"b\"",
        ),
        ("/srv/state/agents", "holds the state of the agent \"b\""),
        ("/srv/state/logs", "is the state of the fleet"),
        ("/srv/work", "holds the workspace of the agent \"b\""),
        ("/srv/work/b/sub", "is the workspace of the agent \"b\""),
    ] {
        for list in ["read", "write"] {
            let text = fenced(&format!("sandbox = {{ {list} = [\"{path}\"] }}"));
            refuses(&text, title, "name a folder apart from it");
        }
        config(&fenced(&format!(
            "sandbox = {{ enabled = false, read = [\"{path}\"] }}"
        )));
    }
    for path in [
        "/usr/share",
        "data",
        "/etc/kennel2",
        "keys/public",
        "/srv/state/agents/a",
        "/srv/state/agents/a/blobs",
        "/srv/work/bc",
    ] {
        config(&fenced(&format!("sandbox = {{ write = [\"{path}\"] }}")));
    }
}

#[test]
fn a_workspace_keeps_off_what_is_the_supervisors() {
    for (path, title) in [
        (".", "`workspace` holds the configuration"),
        ("/srv", "`workspace` holds the state of the agent \"b\""),
        (
            "/srv/state/agents/b",
            "`workspace` is the state of the agent \"b\"",
        ),
        ("/run/kennel", "`workspace` is the supervisor's sockets"),
        ("keys", "`workspace` holds the secret"),
    ] {
        refuses(&fenced(&format!("workspace = \"{path}\"")), title, "apart");
    }
    // Together by intent.
    for path in [
        "/srv/work/b",
        "/srv/work",
        "/srv/work/b/c",
        "agents/a",
        "/srv/state/shared",
    ] {
        config(&fenced(&format!("workspace = \"{path}\"")));
    }
}

/// A link in the way changes nothing.
#[test]
fn paths_are_followed_at_load() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("state/agents/b")).expect("a folder");
    std::fs::create_dir_all(at("data")).expect("a folder");
    symlink(at("state/agents"), at("data/innocent")).expect("a link");
    let load = |path: &str| {
        let text = format!(
            "[providers.echo]\nkind = \"echo\"\n[agents.b]\nmodel = \"echo/x\"\n\
             [agents.a]\nmodel = \"echo/x\"\nsandbox = {{ read = [\"{path}\"] }}\n"
        );
        assert!(parse(&text).is_ok(), "by its text alone it is right");
        std::fs::write(at("kennel.toml"), text).expect("a file");
        Config::load(&at("kennel.toml"), &Directories::below(folder.path()))
    };
    for path in ["data/innocent", "data/innocent/b", "data/innocent/b/none"] {
        let found = load(path).expect_err("it leads to the other agent");
        let drawn = found.render(Style::Plain);
        assert!(
            drawn.contains("the state of the agent \"b\"") && drawn.contains("by way of"),
            "{drawn}"
        );
    }
    load("data/innocent/a").expect("its own");
    load("data").expect("a link inside gives nothing away by itself");
}

#[test]
fn users_are_looked_up_at_load() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("kennel.toml");
    let load = |user: &str| {
        std::fs::write(&file, format!("{BASE}user = {user}\n")).expect("a file");
        Config::load(&file, &Directories::below(folder.path()))
    };
    load("\"root\"").expect("everybody has one");
    load("\"7:8\"").expect("numbers need nobody");
    for (user, words) in [
        (
            "\"no-such-user\"",
            ["`agents.a.user`: this system has no user", "useradd"],
        ),
        (
            "3999999999",
            [
                "no user with the number 3999999999",
                "\"3999999999:3999999999\"",
            ],
        ),
    ] {
        let drawn = load(user).expect_err("nobody").render(Style::Plain);
        assert!(words.iter().all(|word| drawn.contains(word)), "{drawn}");
    }
}
