use kennel_shared::cage::CageStep;

use super::*;
use crate::{
    containment::Cap,
    doctor::{
        facts::{Agent, Ask, Life},
        samples, worst,
    },
    supervision::{ending::Cause, lifecycle::Exit},
};

fn of<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    let found = checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no check `{name}`: {checks:#?}"))
}

#[test]
fn a_fleet_that_is_well_is_told_in_a_few_lines() {
    let checks = checks(&samples::fleet());
    assert_eq!(worst(&checks), State::Ok, "{checks:#?}");
    let told: Vec<String> = checks
        .iter()
        .map(|check| format!("{}: {}", check.area.as_str(), check.says))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn whatever_is_not_well_has_a_remedy() {
    let mut facts = samples::fleet();
    facts.supervisor = Supervisor::Absent {
        socket: "/run/kennel/control.sock".into(),
    };
    facts.host.landlock = None;
    facts.host.seccomp = false;
    facts.host.available = Some(1);
    facts.asks = vec![Ask {
        agent: Some("coder".into()),
        strict: true,
        caps: vec![Cap::Cpu],
        sandbox: true,
        ports: true,
    }];
    facts.program.problem = Some("it is not on the path".into());
    facts.agents[0].life.as_mut().unwrap().stage = Stage::Quarantined;
    facts.agents[1].life.as_mut().unwrap().stage = Stage::BackingOff;
    facts.secrets = Some(vec![Finding {
        fails: true,
        says: "KEY is not set".into(),
        remedy: None,
    }]);
    facts.channels = [
        Connection::Connecting,
        Connection::BackingOff,
        Connection::Failed,
    ]
    .map(|state| connection("tg", state, 60))
    .to_vec();
    let checks = checks(&facts);
    let ill = checks.iter().filter(|check| check.state != State::Ok);
    let without: Vec<_> = ill.clone().filter(|check| check.remedy.is_none()).collect();
    assert!(without.is_empty(), "{without:#?}");
    assert_eq!(ill.count(), 11, "{checks:#?}");
}

#[test]
fn a_missing_supervisor_is_said_first_and_fails_nothing() {
    let mut facts = samples::fleet();
    facts.supervisor = Supervisor::Absent {
        socket: "/run/kennel/control.sock".into(),
    };
    for agent in &mut facts.agents {
        agent.life = None;
    }
    let checks = checks(&facts);
    assert_eq!(checks[0].state, State::Warn);
    assert!(checks[0].says.contains("no supervisor is running here"));
    assert!(checks[1].says.starts_with("agents would be held by"));
    assert_eq!(worst(&checks[1..]), State::Ok, "{checks:#?}");
    assert!(checks.iter().all(|check| check.area != Area::Agents));
}

#[test]
fn a_configuration_is_right_changed_refused_or_absent() {
    let mut facts = samples::fleet();
    let warning = |n: usize| Finding {
        fails: false,
        says: format!("warning {n}"),
        remedy: Some("mend it".into()),
    };
    facts.config = ConfigFile::Right {
        file: "k.toml".into(),
        content: "1 agent".into(),
        warnings: (0..7).map(warning).collect(),
        changed: true,
    };
    let right = checks(&facts);
    assert_eq!(of(&right, "file").state, State::Warn);
    assert!(of(&right, "file").says.contains("was changed since"));
    let warnings: Vec<_> = right.iter().filter(|one| one.name == "warning").collect();
    assert_eq!(warnings.len(), 6, "{warnings:#?}");
    assert!(warnings[5].says.starts_with("2 warnings more"));

    facts.config = ConfigFile::Refused {
        file: "k.toml".into(),
        summary: "2 errors".into(),
        first: Finding {
            fails: true,
            ..warning(1)
        },
        running: true,
    };
    let refused = checks(&facts);
    let check = of(&refused, "file");
    assert_eq!(check.state, State::Fail);
    assert!(
        check.says.contains("2 errors; the supervisor runs on"),
        "{check:?}"
    );
    assert_eq!(
        check.remedy.as_deref().unwrap(),
        "mend it; `kennel --config k.toml check` shows all of it with its places"
    );
    assert!(refused.iter().all(|check| check.area != Area::Secrets));

    facts.config = ConfigFile::Absent {
        looked: "here".into(),
    };
    assert_eq!(of(&checks(&facts), "file").state, State::Fail);
}

#[test]
fn two_hundred_agents_are_one_line_and_the_ill_ones_stand_out() {
    let mut facts = samples::fleet();
    facts.agents = (0..200).map(|n| samples::agent(&format!("a{n}"))).collect();
    facts.disabled = 3;
    let ill = Agent {
        life: Some(Life {
            stage: Stage::Quarantined,
            generation: 2,
            last_end: Some(samples::last_end(Cause::OutOfMemory, Exit::Signal(9), 5)),
            ..samples::ready()
        }),
        ..samples::agent("a7")
    };
    facts.agents[7] = ill;
    facts.agents[8].life.as_mut().unwrap().stage = Stage::Stopped;
    let checks = checks(&facts);
    let agents: Vec<_> = checks
        .iter()
        .filter(|check| check.area == Area::Agents)
        .collect();
    assert_eq!(agents.len(), 2, "{agents:#?}");
    assert_eq!(
        agents[0].says,
        "as they should be: 198 ready, 1 stopped, 3 disabled"
    );
    assert_eq!(
        (agents[1].name.as_str(), agents[1].state),
        ("a7", State::Fail)
    );
}

#[test]
fn a_step_that_failed_is_told_once_for_all() {
    let mut facts = samples::fleet();
    let step = |outcome| CageStep {
        name: "landlock".into(),
        outcome,
        detail: "this kernel has none".into(),
    };
    for agent in &mut facts.agents {
        agent.life.as_mut().unwrap().cage = vec![step(CageOutcome::Failed)];
    }
    let failed = checks(&facts);
    let check = of(&failed, "cage-landlock");
    assert_eq!(check.state, State::Warn);
    assert!(
        check.says.starts_with("`coder` and `hexa` run without"),
        "{check:?}"
    );
    assert_eq!(
        check.remedy.as_deref(),
        Some("`kennel doctor coder` shows all steps")
    );
    for outcome in [CageOutcome::Done, CageOutcome::Partial, CageOutcome::Off] {
        facts.agents[0].life.as_mut().unwrap().cage = vec![step(outcome)];
        facts.agents[1].life.as_mut().unwrap().cage = Vec::new();
        assert!(
            !checks(&facts)
                .iter()
                .any(|one| one.name.starts_with("cage"))
        );
    }
}

fn connection(id: &str, state: Connection, since: u64) -> Channel {
    Channel {
        id: id.into(),
        kind: "telegram".into(),
        state,
        since: Duration::from_secs(since),
        detail: Some("the platform refuses the token".into()),
    }
}

#[test]
fn channels_that_are_not_connected_stand_out() {
    let mut facts = samples::fleet();
    facts.channels = vec![
        connection("one", Connection::Online, 60),
        connection("two", Connection::Failed, 60),
        connection("three", Connection::Connecting, 3),
    ];
    let checks = checks(&facts);
    assert_eq!(of(&checks, "channels").says, "1 of 3 channels connected");
    let two = of(&checks, "two");
    assert_eq!(two.state, State::Fail);
    assert_eq!(
        two.says,
        "`two` (telegram) has been refused for 1m: the platform refuses the token"
    );
    assert!(!checks.iter().any(|check| check.name == "three"));
}
