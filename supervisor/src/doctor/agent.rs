//! From the facts about one agent to its checks. Pure.

use std::time::Duration;

use kennel_shared::cage::{CageOutcome, CageStep};

use super::{
    Area, Check, caps, ends,
    facts::{Life, OneAgent, Supervisor},
    fleet, size,
};
use crate::{
    config::plain_size,
    containment::{Cap, Caps, Unenforced},
};

/// Judges.
pub fn checks(facts: &OneAgent) -> Vec<Check> {
    let running = matches!(facts.supervisor, Supervisor::Running { .. });
    let mut checks = vec![fleet::supervisor(&facts.supervisor)];
    if facts.disabled {
        let id = facts.agent.id.as_str();
        let says = format!("`{id}` is disabled in the configuration");
        checks.push(Check::ok(Area::Life, id, says));
    }
    checks.extend(ends::check(Area::Life, &facts.agent));
    checks.extend(facts.agent.life.as_ref().and_then(ended));
    checks.push(caps::held_by(&facts.backend, running));
    checks.extend(group(facts));
    checks.extend(held(facts));
    checks.extend(in_use(facts));
    checks.extend(cage(facts));
    checks
}

/// The caps that hold of those that are set, and the one that comes with another.
pub fn in_force(caps: &Caps, cannot: &[Unenforced]) -> Caps {
    let holds = |cap| !cannot.iter().any(|one| one.cap == cap);
    Caps {
        memory: caps.memory.filter(|_| holds(Cap::Memory)),
        memory_high: caps.high().filter(|_| holds(Cap::MemoryHigh)),
        cpu: caps.cpu.filter(|_| holds(Cap::Cpu)),
        cpu_weight: caps.cpu_weight.filter(|_| holds(Cap::CpuWeight)),
        pids: caps.pids.filter(|_| holds(Cap::Pids)),
        open_files: caps.open_files.filter(|_| holds(Cap::OpenFiles)),
        io_weight: caps.io_weight.filter(|_| holds(Cap::IoWeight)),
    }
}

/// The last end in full, whatever it was.
fn ended(life: &Life) -> Option<Check> {
    let last = life.last_end.as_ref()?;
    Some(Check::ok(Area::Life, "last-end", ends::last_end(last)))
}

/// Whether its process is where its caps are.
fn group(facts: &OneAgent) -> Option<Check> {
    let group = facts.group.as_ref()?;
    let id = &facts.agent.id;
    Some(if group.strays.is_empty() {
        Check::ok(
            Area::Caps,
            "group",
            format!("its process is in its group {}", group.path),
        )
    } else {
        Check::fail(
            Area::Caps,
            "group",
            format!(
                "its process is not in its group {} ({}): what it uses there is not capped",
                group.path,
                group.strays.join(", ")
            ),
            format!("somebody moved it: `kennel restart {id}` puts the next one back"),
        )
    })
}

/// Each cap that was asked for.
fn held(facts: &OneAgent) -> Vec<Check> {
    let (id, requested) = (&facts.agent.id, facts.asked.requested());
    if requested.is_empty() {
        return vec![Check::ok(
            Area::Caps,
            "caps",
            format!("no cap is asked for; `kennel set {id} memory=512MiB --save` asks for one"),
        )];
    }
    let unenforced = |cap| facts.unenforced.iter().find(|one| one.cap == cap);
    let held: Vec<&str> = requested
        .iter()
        .filter(|cap| unenforced(**cap).is_none())
        .map(|cap| cap.as_str())
        .collect();
    let mut checks = Vec::new();
    if !held.is_empty() {
        let says = format!("in force as asked: {}", held.join(", "));
        checks.push(if facts.changed {
            Check::ok(
                Area::Caps,
                "caps",
                format!("{says}; not as the configuration has them, since `kennel set` changed them until the supervisor ends"),
            )
        } else {
            Check::ok(Area::Caps, "caps", says)
        });
    }
    checks.extend(
        requested
            .iter()
            .filter_map(|cap| unenforced(*cap))
            .map(|one| not_held(one, facts.agent.strict)),
    );
    checks
}

fn not_held(one: &Unenforced, strict: bool) -> Check {
    let name = one.cap.as_str();
    if strict {
        return Check::fail(
            Area::Caps,
            name,
            format!(
                "`{name}` cannot be enforced, and without it this agent does not run: {}",
                one.why
            ),
            format!(
                "{}; or set `enforcement = \"best-effort\"`, to run without it",
                one.remedy
            ),
        );
    }
    Check::warn(
        Area::Caps,
        name,
        format!("`{name}` is not enforced: {}", one.why),
        &*one.remedy,
    )
}

/// Caps that it comes near to.
fn in_use(facts: &OneAgent) -> Vec<Check> {
    let (id, caps, usage) = (&facts.agent.id, &facts.caps, &facts.usage);
    let mut checks = Vec::new();
    if let (Some(used), Some(cap)) = (usage.memory, caps.memory) {
        let says = format!("uses {} of the {} of `memory`", size(used), size(cap));
        checks.push(if used >= cap / 10 * 9 {
            Check::warn(
                Area::Caps,
                "memory-use",
                format!("{says}: at the cap it is ended"),
                format!(
                    "`kennel set {id} memory={} --save`, where it needs more",
                    plain_size(cap.saturating_mul(2))
                ),
            )
        } else {
            Check::ok(Area::Caps, "memory-use", says)
        });
    }
    if let (Some(denied @ 1..), Some(cap)) = (usage.pids_denied, caps.pids) {
        checks.push(Check::warn(
            Area::Caps,
            "pids-denied",
            format!("was denied {denied} more processes or threads at its cap of {cap}"),
            format!(
                "`kennel status {id}` shows how many it has; where it needs more: `kennel set {id} pids={} --save`",
                cap.saturating_mul(2)
            ),
        ));
    }
    if let (Some(throttled), Some(cap), Some(up)) = (
        usage.throttled,
        caps.cpu,
        life_of(facts).and_then(|life| life.up),
    ) && up > Duration::ZERO
        && throttled > up / 10
    {
        checks.push(Check::warn(
            Area::Caps,
            "cpu-throttled",
            format!(
                "was held back for {} of its {} by its `cpu` of {cap}",
                super::ago(throttled),
                super::ago(up)
            ),
            format!(
                "`kennel set {id} cpu={} --save`, where it is too slow",
                cap * 2.0
            ),
        ));
    }
    checks
}

fn life_of(facts: &OneAgent) -> Option<&Life> {
    facts.agent.life.as_ref()
}

/// The steps that were not taken in full, and one line for the others.
fn cage(facts: &OneAgent) -> Vec<Check> {
    let Some(steps) = life_of(facts).map(|life| &life.cage) else {
        return Vec::new();
    };
    let mut checks: Vec<Check> = steps.iter().filter_map(step).collect();
    let of = |outcome| steps.iter().filter(move |step| step.outcome == outcome);
    let done = of(CageOutcome::Done).count();
    if done > 0 {
        let off: Vec<&str> = of(CageOutcome::Off)
            .map(|step| step.name.as_str())
            .collect();
        let off = if off.is_empty() {
            String::new()
        } else {
            format!("; not asked for: {}", off.join(", "))
        };
        let says = format!("{done} of {} steps taken in full{off}", steps.len());
        checks.insert(0, Check::ok(Area::Cage, "cage", says));
    }
    if !facts.agent.sandbox {
        checks.push(Check::warn(
            Area::Cage,
            "sandbox",
            "its `sandbox` is off: it reaches whatever its user does",
            format!(
                "set `sandbox = {{ enabled = true }}` for [agents.{}]",
                facts.agent.id
            ),
        ));
    }
    checks
}

fn step(step: &CageStep) -> Option<Check> {
    let CageStep {
        name,
        outcome,
        detail,
    } = step;
    match outcome {
        CageOutcome::Done | CageOutcome::Off => None,
        CageOutcome::Partial => Some(Check::warn(
            Area::Cage,
            name,
            format!("`{name}` was taken in part: {detail}"),
            "what is missing is up to this host; a newer kernel has more of it",
        )),
        CageOutcome::Failed => Some(Check::warn(
            Area::Cage,
            name,
            format!("`{name}` failed, and the agent runs without it: {detail}"),
            "mend what it names, or have the agent refused without it by `enforcement = \"strict\"`",
        )),
    }
}

#[cfg(test)]
mod tests;
