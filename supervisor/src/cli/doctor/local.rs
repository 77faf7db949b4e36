//! What can be told without a supervisor: what one that is started here would find.

use crate::{
    cli::{
        exit::{Exit, Failure},
        locate::Locator,
        output::Output,
    },
    config::{AgentId, Enforcement},
    control::{doctor::report, wire},
    doctor::{
        facts::{Agent, ConfigFile, Fleet, OneAgent, Supervisor, Usage},
        look,
    },
    plan,
};

/// Everything but processes and connections.
pub(super) fn fleet(locator: &Locator, supervisor: Supervisor) -> wire::Doctor {
    let read = match locator.file() {
        Some(file) => look::configuration(&file, locator.directories(), None),
        None => look::Read {
            file: ConfigFile::Absent {
                looked: locator.looked(),
            },
            secrets: None,
            config: None,
        },
    };
    let config = read.config.as_ref();
    let (_, backend) = look::future_backend(config);
    report::fleet(&Fleet {
        supervisor,
        journal: None,
        backend,
        asks: config.map(look::asks).unwrap_or_default(),
        host: look::host(),
        places: config
            .map(|config| look::places(&config.supervisor))
            .unwrap_or_default(),
        program: look::program(&plan::agent_host()),
        config: read.file,
        secrets: read.secrets,
        agents: Vec::new(),
        disabled: 0,
        channels: Vec::new(),
    })
}

/// The caps of an agent, and what would become of them.
pub(super) fn agent(
    locator: &Locator,
    id: &str,
    supervisor: Supervisor,
    out: &Output,
) -> Result<wire::AgentDoctor, Failure> {
    let file = locator.config_file()?;
    let config = locator.load(&file, out)?.config;
    let agent = config.agent(id).ok_or_else(|| {
        let known: Vec<&str> = config.agents.keys().map(AgentId::as_str).collect();
        Failure::new(format!("no agent is called `{id}`"))
            .exit(Exit::NoSuchAgent)
            .hint(format!("{} has {}", file.display(), known.join(", ")))
    })?;
    let (containment, backend) = look::future_backend(Some(&config));
    let (caps, requested) = plan::caps(&agent.limits);
    let mut asked = caps;
    if agent.limits.pids.is_none() {
        asked.pids = None;
    }
    let mut unenforced = containment.unenforced(&caps);
    unenforced.retain(|one| requested.contains(&one.cap));
    let facts = OneAgent {
        supervisor,
        agent: Agent {
            id: id.to_owned(),
            strict: agent.enforcement == Enforcement::Strict,
            sandbox: agent.sandbox.enabled,
            life: None,
        },
        disabled: !agent.enabled,
        backend,
        group: None,
        asked,
        caps,
        unenforced,
        changed: false,
        usage: Usage::default(),
    };
    Ok(report::agent(&facts, None))
}
