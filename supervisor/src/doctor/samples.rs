//! Facts for the tests of this module.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::facts::{
    Agent, Backend, ConfigFile, Fleet, Found, Host, LastEnd, Life, Place, Program, Stage,
    Supervisor,
};
use crate::{
    containment::{BackendKind, Caps, Hierarchy},
    supervision::{
        ending::{Cause, End},
        lifecycle::Exit,
    },
};

/// An agent that runs well.
pub(super) fn agent(id: &str) -> Agent {
    Agent {
        id: id.into(),
        strict: true,
        sandbox: true,
        life: Some(ready()),
    }
}

/// A life in which nothing happens.
pub(super) fn ready() -> Life {
    Life {
        stage: Stage::Ready,
        wanted: true,
        generation: 3,
        pid: Some(4711),
        up: Some(Duration::from_secs(185)),
        restarts: 2,
        linked: true,
        lag: Duration::from_micros(300),
        detail: None,
        last_end: None,
        cage: Vec::new(),
    }
}

/// An end of generation 2, which had 512 MiB and 64 processes.
pub(super) fn last_end(cause: Cause, exit: Exit, ago_s: u64) -> LastEnd {
    LastEnd {
        ago: Duration::from_secs(ago_s),
        generation: 2,
        end: Arc::new(End {
            cause,
            exit,
            caps: Caps {
                memory: Some(512 << 20),
                pids: Some(64),
                ..Caps::default()
            },
            peak: Some(512 << 20),
            hang: None,
            turns: Vec::new(),
            next: "generation 3 starts now".into(),
        }),
    }
}

/// A machine that has everything.
pub(super) fn host() -> Host {
    Host {
        kernel: "Linux 6.18.5".into(),
        cores: 2,
        memory: Some(24 << 30),
        available: Some(20 << 30),
        landlock: Some(7),
        seccomp: true,
        no_user_namespaces: None,
        hierarchies: vec![Hierarchy {
            v2: true,
            controllers: vec!["cpu", "io", "memory", "pids"],
            mount: "/sys/fs/cgroup".into(),
            group: "/kennel.service".into(),
            closed: None,
        }],
    }
}

/// A folder as it should be.
pub(super) fn place(key: &'static str) -> Place {
    Place {
        key,
        path: PathBuf::from("/var/lib/kennel"),
        owner: 0,
        room: (1 << 30, 64 << 20),
        found: Found::Folder {
            uid: 0,
            mode: 0o700,
            free: Some(50 << 30),
            full: false,
            closed: None,
        },
        long_socket: None,
    }
}

/// A backend that holds everything.
pub(super) fn backend() -> Backend {
    Backend {
        kind: BackendKind::V2Delegated,
        why: "the group /kennel.service was given to us".into(),
        cannot: Vec::new(),
        named: false,
        refused: None,
    }
}

/// A fleet of two in which all is well.
pub(super) fn fleet() -> Fleet {
    Fleet {
        supervisor: Supervisor::Running {
            pid: 4242,
            up: Duration::from_mins(190),
        },
        journal: None,
        backend: backend(),
        asks: Vec::new(),
        host: host(),
        places: vec![place("state_dir"), place("runtime_dir")],
        program: Program {
            path: "/usr/bin/kennel-agent-host".into(),
            problem: None,
        },
        config: ConfigFile::Right {
            file: "/etc/kennel/kennel.toml".into(),
            content: "2 agents, 0 channels".into(),
            warnings: Vec::new(),
            changed: false,
        },
        secrets: Some(Vec::new()),
        agents: vec![agent("coder"), agent("hexa")],
        disabled: 0,
        channels: Vec::new(),
    }
}
