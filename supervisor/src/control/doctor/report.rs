//! From facts and what was judged of them to what the API shows. The command line uses it too, where it looks by
//! itself.

use kennel_shared::cage::CageStep;

use crate::{
    containment::Hierarchy,
    control::{limits, wire},
    doctor::{
        self, Check, State,
        facts::{Fleet, Host, OneAgent, Supervisor},
    },
    plan,
};

/// A fleet.
pub(crate) fn fleet(facts: &Fleet) -> wire::Doctor {
    let checks = doctor::fleet::checks(facts);
    wire::Doctor {
        state: view_state(doctor::worst(&checks)),
        running: is_running(&facts.supervisor),
        version: env!("CARGO_PKG_VERSION").into(),
        checks: checks.iter().map(view_check).collect(),
        containment: wire::Containment {
            backend: facts.backend.kind.as_str().to_owned(),
            why: facts.backend.why.clone(),
            cannot: facts
                .backend
                .cannot
                .iter()
                .map(limits::view_unenforced)
                .collect(),
        },
        host: view_host(&facts.host),
    }
}

/// One agent; `life` is absent where no supervisor runs.
pub(crate) fn agent(facts: &OneAgent, life: Option<wire::AgentLife>) -> wire::AgentDoctor {
    let checks = doctor::agent::checks(facts);
    let in_force = doctor::agent::in_force(&facts.caps, &facts.backend.cannot);
    let cage = facts.agent.life.iter().flat_map(|life| &life.cage);
    wire::AgentDoctor {
        agent: facts.agent.id.clone(),
        state: view_state(doctor::worst(&checks)),
        running: is_running(&facts.supervisor),
        checks: checks.iter().map(view_check).collect(),
        life,
        backend: facts.backend.kind.as_str().to_owned(),
        group: facts.group.as_ref().map(|group| group.path.clone()),
        asked: limits::view(&plan::limits(&facts.asked)),
        in_force: limits::view(&plan::limits(&in_force)),
        unenforced: facts
            .unenforced
            .iter()
            .map(limits::view_unenforced)
            .collect(),
        cage: cage.map(view_step).collect(),
    }
}

fn is_running(supervisor: &Supervisor) -> bool {
    matches!(supervisor, Supervisor::Running { .. })
}

fn view_state(state: State) -> wire::CheckState {
    match state {
        State::Ok => wire::CheckState::Ok,
        State::Warn => wire::CheckState::Warn,
        State::Fail => wire::CheckState::Fail,
    }
}

fn view_check(check: &Check) -> wire::Check {
    wire::Check {
        area: check.area.as_str().to_owned(),
        name: check.name.clone(),
        state: view_state(check.state),
        message: check.says.clone(),
        remedy: check.remedy.clone(),
    }
}

fn view_step(step: &CageStep) -> wire::CageStep {
    wire::CageStep {
        name: step.name.clone(),
        outcome: step.outcome.as_str().to_owned(),
        detail: step.detail.clone(),
    }
}

fn view_host(host: &Host) -> wire::DoctorHost {
    let has = |v2: bool| host.hierarchies.iter().any(|one| one.v2 == v2);
    let layout = match (has(false), has(true)) {
        (false, false) => "none",
        (false, true) => "v2",
        (true, false) => "v1",
        (true, true) => "hybrid",
    };
    wire::DoctorHost {
        kernel: host.kernel.clone(),
        cpus: host.cores,
        memory_total_bytes: host.memory,
        memory_available_bytes: host.available,
        landlock_abi: host.landlock,
        seccomp: host.seccomp,
        user_namespaces: host.no_user_namespaces.is_none(),
        cgroup_layout: layout.to_owned(),
        cgroups: host.hierarchies.iter().map(view_hierarchy).collect(),
    }
}

fn view_hierarchy(hierarchy: &Hierarchy) -> wire::CgroupHierarchy {
    let names = hierarchy.controllers.iter();
    wire::CgroupHierarchy {
        version: if hierarchy.v2 { 2 } else { 1 },
        mount: hierarchy.mount.display().to_string(),
        group: hierarchy.group.clone(),
        controllers: names.map(|name| (*name).to_owned()).collect(),
        closed: hierarchy.closed.clone(),
    }
}
