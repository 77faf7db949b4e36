//! Files in, a proposal or everything that is wrong out.

use std::fs;

use super::*;
use crate::containment::Cap;

struct Place {
    folder: tempfile::TempDir,
    current: Setting,
}

const MAIN: &str = "[providers.echo]\nkind = 'echo'\n[defaults]\nmodel = 'echo/x'\nenforcement = 'best-effort'\n[agents.a]\n";

impl Place {
    /// A supervisor that runs `text`.
    fn of(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kennel.toml"), text).unwrap();
        let directories = Directories::below(folder.path());
        let loaded = Config::load(&folder.path().join("kennel.toml"), &directories);
        let current = Setting::read(loaded.unwrap_or_else(|found| panic!("{found}")).config);
        Self { folder, current }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn propose(&self, cannot: &[Cap]) -> Result<Proposal, Diagnostics> {
        let unenforced = |caps: &Caps| {
            let asked = caps.requested();
            let cannot = cannot.iter().filter(|cap| asked.contains(cap));
            cannot
                .map(|cap| Unenforced {
                    cap: *cap,
                    why: "no groups".into(),
                    remedy: "get some".into(),
                })
                .collect()
        };
        let file = self.folder.path().join("kennel.toml");
        let directories = Directories::below(self.folder.path());
        propose(&file, &directories, &self.current, &unenforced)
    }

    fn plan(&self) -> Plan {
        match self.propose(&[]) {
            Ok(proposal) => proposal.plan,
            Err(found) => panic!("{found}"),
        }
    }

    fn refused(&self, cannot: &[Cap]) -> String {
        match self.propose(cannot) {
            Ok(proposal) => panic!("{:?}", proposal.plan),
            Err(found) => {
                assert!(found.errors() > 0);
                found.render(crate::config::Style::Plain)
            }
        }
    }
}

#[test]
fn all_errors_are_told_with_their_places() {
    let place = Place::of(MAIN);
    assert!(place.plan().is_empty());
    place.write(
        "kennel.toml",
        &format!("{MAIN}model_ = 'x'\nmax_queued = 'many'\n"),
    );
    let said = place.refused(&[]);
    assert!(
        said.contains("kennel.toml:7:1") && said.contains("kennel.toml:8:14"),
        "{said}"
    );
    assert!(said.contains("did you mean `model`?"), "{said}");
    fs::remove_file(place.folder.path().join("kennel.toml")).unwrap();
    assert!(place.refused(&[]).contains("failed to read this file"));
}

#[test]
fn fragments_prompts_and_secrets_count() {
    let place = Place::of(
        &format!("{MAIN}system_prompt_file = 'p.md'\n")
            .replace("[agents.a]", "[agents.b]\n[agents.a]")
            .replace("system_prompt_file = 'p.md'\n", ""),
    );
    fs::create_dir(place.folder.path().join("agents.d")).unwrap();
    place.write("agents.d/c.toml", "[agents.c]\n");
    let plan = place.plan();
    assert_eq!(plan.agents_to(AgentStep::Add).count(), 1);
    assert_eq!(plan.summary(), "1 agent added");
    place.write(
        "agents.d/c.toml",
        "[providers.far]\nkind = 'openai'\napi_key = { env = 'KENNEL_TEST_NO_SUCH' }\n[agents.c]\nmodel = 'far/x'\n",
    );
    let said = place.refused(&[]);
    assert!(
        said.contains("KENNEL_TEST_NO_SUCH") && said.contains("c.toml:3"),
        "{said}"
    );
}

#[test]
fn a_prompt_that_was_edited_is_a_change() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.md"), "one").unwrap();
    fs::write(
        folder.path().join("kennel.toml"),
        format!("{MAIN}system_prompt_file = 'p.md'\n[agents.b]\n"),
    )
    .unwrap();
    let directories = Directories::below(folder.path());
    let file = folder.path().join("kennel.toml");
    let current = Setting::read(Config::load(&file, &directories).unwrap().config);
    assert_eq!(prompt_files(&current.config), [folder.path().join("p.md")]);
    let plan = || propose(&file, &directories, &current, &|_| Vec::new()).map(|found| found.plan);
    assert!(plan().unwrap().is_empty());
    fs::write(folder.path().join("p.md"), "two").unwrap();
    let restarted: Vec<_> = plan()
        .unwrap()
        .agents_to(AgentStep::Restart)
        .cloned()
        .collect();
    assert_eq!(restarted.len(), 1);
    assert_eq!(restarted[0].as_str(), "a");
    fs::remove_file(folder.path().join("p.md")).unwrap();
    plan().unwrap_err();
}

#[test]
fn a_state_folder_cannot_be_moved_under_a_supervisor() {
    let place = Place::of(MAIN);
    place.write(
        "kennel.toml",
        &format!("[supervisor]\nstate_dir = '/elsewhere'\n{MAIN}"),
    );
    let said = place.refused(&[]);
    assert!(
        said.contains("`state_dir` cannot be changed while the supervisor runs"),
        "{said}"
    );
    assert!(said.contains("run/control.sock shutdown"), "{said}");
    place.write(
        "kennel.toml",
        &format!("[supervisor]\nlog_format = 'json'\n{MAIN}"),
    );
    let plan = place.plan();
    assert!(plan.is_idle() && !plan.is_empty());
    assert_eq!(
        plan.summary(),
        "not before the supervisor is started again: log_format"
    );
}

#[test]
fn a_strict_agent_is_not_promised_what_the_host_cannot_hold() {
    let place = Place::of(MAIN);
    let asks = |enforcement: &str| {
        format!("{MAIN}enforcement = '{enforcement}'\nlimits = {{ memory = '64MiB' }}\n")
    };
    place.write("kennel.toml", &asks("best-effort"));
    assert!(place.propose(&[Cap::Memory]).is_ok());
    place.write("kennel.toml", &asks("strict"));
    let said = place.refused(&[Cap::Memory]);
    assert!(
        said.contains("`memory` of `a` cannot be enforced here") && said.contains("no groups"),
        "{said}"
    );
    assert!(said.contains("kennel.toml:8"), "{said}");
    // The default of pids was not asked for.
    assert!(place.propose(&[Cap::Pids]).is_ok());
}

#[test]
fn the_new_whole_must_fit_under_the_ceiling() {
    let fleet = "[supervisor.fleet]\nmemory = '128MiB'\n";
    let place = Place::of(&format!("{fleet}{MAIN}limits = {{ memory = '64MiB' }}\n"));
    place.write(
        "kennel.toml",
        &format!("{fleet}{MAIN}limits = {{ memory = '64MiB' }}\n[agents.b]\nlimits = {{ memory = '65MiB' }}\n"),
    );
    let said = place.refused(&[]);
    assert!(said.contains("adds up to 129MiB"), "{said}");
}

#[tokio::test]
async fn who_asks_in_passing_never_waits() {
    let (requests, mut inbox) = Requests::new();
    for _ in 0..REQUESTS + 5 {
        requests.hint(Asker::Signal);
    }
    let mut waiting = 0;
    while inbox.try_recv().is_ok() {
        waiting += 1;
    }
    assert_eq!(waiting, REQUESTS);
    drop(inbox);
    assert!(requests.ask(true).await.is_none());
}
