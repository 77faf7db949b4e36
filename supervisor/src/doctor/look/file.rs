//! The configuration file as it is now, and what is missing for it.

use std::path::Path;

use crate::{
    config::{
        AgentConfig, Config, Diagnostics, Directories, Enforcement, Host, Loaded, NetworkAccess,
        ProviderKind, Report, Severity,
    },
    containment::Cap,
    doctor::{
        count,
        facts::{Ask, ConfigFile, Finding},
    },
    plan,
};

/// A configuration file, looked at.
pub struct Read {
    /// How it is.
    pub file: ConfigFile,
    /// What is missing of its secrets; `None` where it cannot be used.
    pub secrets: Option<Vec<Finding>>,
    /// Itself, where it can be used.
    pub config: Option<Config>,
}

/// Looks at a file as `kennel check` does, but for caps, which are told where they are asked for. `same` says
/// whether it means what a supervisor runs on; `None` where none runs.
pub fn configuration(
    path: &Path,
    directories: &Directories,
    same: Option<&dyn Fn(&Config) -> bool>,
) -> Read {
    let file = path.display().to_string();
    match Config::load(path, directories) {
        Ok(loaded) => {
            let found = loaded.warnings.clone().merge(on_this_host(&loaded));
            Read {
                secrets: Some(findings(&loaded.check_secrets())),
                file: ConfigFile::Right {
                    file,
                    content: content(&loaded.config),
                    warnings: findings(&found),
                    changed: same.is_some_and(|same| !same(&loaded.config)),
                },
                config: Some(loaded.config),
            }
        }
        Err(found) => Read {
            file: ConfigFile::Refused {
                file,
                summary: found.summary(),
                first: first_error(&found),
                running: same.is_some(),
            },
            secrets: None,
            config: None,
        },
    }
}

/// What the machine says about it, without caps.
fn on_this_host(loaded: &Loaded) -> Diagnostics {
    let memory = sysinfo::System::new().map(|mut system| {
        system.refresh_memory();
        system.total_memory()
    });
    loaded.check_host(&Host {
        memory: memory.ok(),
        root: rustix::process::geteuid().is_root(),
        // Caps, and what holds them, are told where they are asked for.
        refused: None,
        unenforced: &|_| Vec::new(),
    })
}

fn first_error(found: &Diagnostics) -> Finding {
    let reports = found.reports();
    let mut errors = reports.iter().filter(|one| one.severity == Severity::Error);
    errors.next().map_or_else(
        || Finding {
            fails: true,
            says: "it cannot be read".to_owned(),
            remedy: None,
        },
        finding,
    )
}

fn findings(found: &Diagnostics) -> Vec<Finding> {
    found.reports().iter().map(finding).collect()
}

fn finding(report: &Report) -> Finding {
    let place = match (&report.file, report.line) {
        (Some(file), Some(line)) => format!(" ({file}:{line})"),
        (Some(file), None) => format!(" ({file})"),
        _ => String::new(),
    };
    Finding {
        fails: report.severity == Severity::Error,
        says: format!("{}{place}", report.message),
        remedy: report.hint.clone(),
    }
}

fn content(config: &Config) -> String {
    let agents = count(config.agents.len(), "agent");
    format!("{agents}, {}", count(config.channels.len(), "channel"))
}

/// What a configuration asks of the host.
pub fn asks(config: &Config) -> Vec<Ask> {
    let agents = config.agents.values().filter(|agent| agent.enabled);
    let mut asks: Vec<Ask> = agents
        .map(|agent| Ask {
            agent: Some(agent.id.to_string()),
            strict: agent.enforcement == Enforcement::Strict,
            caps: plan::caps(&agent.limits).1,
            sandbox: agent.sandbox.enabled,
            ports: restricts_ports(config, agent),
        })
        .collect();
    asks.push(fleet_ask(config));
    asks
}

/// A port is open to each agent that has a provider behind one, so that `closed` is a list of one.
fn restricts_ports(config: &Config, agent: &AgentConfig) -> bool {
    match agent.sandbox.network {
        NetworkAccess::Open => false,
        NetworkAccess::Ports(_) => true,
        NetworkAccess::Closed => {
            let provider = config.provider_of(agent);
            provider.is_some_and(|provider| matches!(provider.kind, ProviderKind::Remote(_)))
        }
    }
}

/// A ceiling that cannot be had keeps nobody from running.
fn fleet_ask(config: &Config) -> Ask {
    let caps: Vec<Cap> = plan::fleet_caps(config).requested();
    Ask {
        agent: None,
        strict: false,
        caps,
        sandbox: false,
        ports: false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn of(text: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("k.toml"), text).unwrap();
            Self(dir)
        }

        fn read(&self, same: Option<&dyn Fn(&Config) -> bool>) -> Read {
            let directories = Directories::below(self.0.path());
            configuration(&self.0.path().join("k.toml"), &directories, same)
        }
    }

    const GOOD: &str = "[providers.p]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:1/v1'\n\
        api_key = { file = 'key' }\n[agents.a]\nmodel = 'p/m'\nlimits = { memory = '64MiB' }\n\
        [agents.b]\nmodel = 'p/m'\nenforcement = 'best-effort'\nsandbox = { network = [443] }\n";

    #[test]
    fn a_missing_secret_is_found_and_its_absence_only() {
        let place = Place::of(GOOD);
        let read = place.read(None);
        let secrets = read.secrets.unwrap();
        assert_eq!(secrets.len(), 1, "{secrets:?}");
        assert!(
            secrets[0].fails && secrets[0].says.contains("providers.p.api_key"),
            "{secrets:?}"
        );
        assert!(secrets[0].says.ends_with(":4)"), "{secrets:?}");
        assert!(secrets[0].remedy.is_some());

        let key = place.0.path().join("key");
        fs::write(&key, "sesame").unwrap();
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(place.read(None).secrets, Some(Vec::new()));
    }

    #[test]
    fn what_is_refused_names_its_first_error() {
        let read = Place::of("[agents.a]\nflavour = 'p/m'\n").read(Some(&|_| true));
        let ConfigFile::Refused { first, running, .. } = read.file else {
            panic!("it is refused");
        };
        assert!(
            running && first.fails && first.says.contains("k.toml:"),
            "{first:?}"
        );
        assert!(read.config.is_none());
    }

    #[test]
    fn a_file_that_means_something_else_by_now_is_seen() {
        let place = Place::of(GOOD);
        let changed = |same: Option<&dyn Fn(&Config) -> bool>| match place.read(same).file {
            ConfigFile::Right {
                changed, content, ..
            } => {
                assert_eq!(content, "2 agents, 0 channels");
                changed
            }
            other => panic!("{other:?}"),
        };
        assert!(!changed(None));
        assert!(!changed(Some(&|_| true)));
        assert!(changed(Some(&|_| false)));
    }

    #[test]
    fn asks_are_those_of_agents_and_fleet() {
        let text = format!("{GOOD}[supervisor.fleet]\npids = 100\n");
        let config = Place::of(&text).read(None).config.unwrap();
        let asks = asks(&config);
        assert_eq!(asks.len(), 3);
        assert_eq!((asks[0].strict, &asks[0].caps), (true, &vec![Cap::Memory]));
        assert_eq!((asks[1].strict, asks[1].ports), (false, true));
        assert_eq!(
            (asks[2].agent.as_ref(), &asks[2].caps),
            (None, &vec![Cap::Pids])
        );
    }
}
