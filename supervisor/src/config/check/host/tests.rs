//! What is said about a host, which is made up here.

use std::path::{Path, PathBuf};

use super::super::super::{Config, Directories, Severity, Style};
use super::*;

const GIB: u64 = 1 << 30;

fn loaded(text: &str) -> Loaded {
    let text = format!("[providers.echo]\nkind = \"echo\"\n[defaults]\nmodel = \"echo/x\"\n{text}");
    let files = [(PathBuf::from("/etc/kennel/kennel.toml"), text)];
    let loaded = Config::parse(&files, &Directories::below(Path::new("/home/u")));
    loaded.unwrap_or_else(|found| panic!("{}", found.render(Style::Plain)))
}

/// A host without any means to cap memory.
fn check(loaded: &Loaded, memory: u64, root: bool) -> Diagnostics {
    let found = loaded.check_host(&Host {
        memory: Some(memory),
        refused: None,
        root,
        unenforced: &|limits| {
            let asked = limits.memory.map(|_| Unenforced {
                cap: Cap::Memory,
                why: "there is nothing to do it with".into(),
                remedy: "buy some".into(),
            });
            asked.into_iter().collect()
        },
    });
    assert!(found.iter().all(|d| d.severity() == Severity::Warning));
    found
}

#[test]
fn a_host_that_can_do_all_is_not_spoken_of() {
    let loaded = loaded(
        "[supervisor.fleet]\nmemory = \"1GiB\"\n[agents.a]\nuser = \"7:8\"\nlimits = { memory = \"1GiB\", cpu = 1 }\n\
         sandbox = { read = [\"/\", \"/usr\"], enabled = false }\n",
    );
    let found = loaded.check_host(&Host {
        memory: Some(GIB),
        refused: None,
        root: true,
        unenforced: &|_| Vec::new(),
    });
    assert!(found.is_empty(), "{}", found.render(Style::Plain));
}

#[test]
fn what_cannot_be_enforced_is_said_once_for_all_whom_it_concerns() {
    let loaded = loaded(
        "limits = { memory = \"1GiB\" }\n[agents.a]\n[agents.b]\n[agents.c]\n[agents.d]\n[agents.e]\n\
         [agents.lax]\nenforcement = \"best-effort\"\n[agents.off]\nenabled = false\n\
         [agents.free]\nlimits = { memory = \"none\", cpu = 1 }\n[supervisor.fleet]\nmemory = \"9GiB\"\n",
    );
    insta::assert_snapshot!(check(&loaded, 64 * GIB, true).render(Style::Plain));
}

#[test]
fn memory_that_the_machine_does_not_have() {
    let titles = |text: &str, memory| {
        let loaded = loaded(text);
        let found = loaded.check_host(&Host {
            memory: Some(memory),
            refused: None,
            root: true,
            unenforced: &|_| Vec::new(),
        });
        let found = found.iter();
        found.map(|d| d.title().to_owned()).collect::<Vec<_>>()
    };
    let agents = "[agents.a]\nlimits = { memory = \"1GiB\" }\n[agents.b]\nlimits = { memory = \"2GiB\" }\n[agents.c]\n";
    assert_eq!(titles(agents, 3 * GIB), [""; 0]);
    assert_eq!(
        titles(agents, 2 * GIB),
        ["the agents' `memory` adds up to 3GiB, more than this machine has (2.0 GiB)"]
    );
    // Where a ceiling is given, it is what counts.
    let with = |fleet: &str| format!("{agents}[supervisor.fleet]\n{fleet}\n");
    assert_eq!(
        titles(&with("memory = \"2GiB\"\novercommit = true"), 2 * GIB),
        [""; 0]
    );
    assert_eq!(titles(&with("overcommit = true"), 2 * GIB), [""; 0]);
    assert_eq!(
        titles(&with("memory = \"3GiB\""), 2 * GIB),
        ["the fleet's `memory` (3GiB) is more than this machine has (2.0 GiB)"]
    );
}

#[test]
fn users_need_root_and_paths_must_be_there() {
    let loaded = loaded(
        "[agents.a]\nuser = 7\nworkspace = \"/no/such/place\"\n\
         sandbox = { read = [\"/usr\", \"/no/such/file\"] }\n",
    );
    let titles = |root| -> Vec<String> {
        let found = check(&loaded, GIB, root);
        found.iter().map(|d| d.title().to_owned()).collect()
    };
    assert_eq!(titles(true), ["this path of the sandbox is not there"]);
    assert_eq!(
        titles(false),
        [
            "`agents.a.user` needs a supervisor that runs as root",
            "this path of the sandbox is not there"
        ]
    );
}
