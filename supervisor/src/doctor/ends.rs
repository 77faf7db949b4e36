//! How an agent is, from its life and its last end: the checks of the areas `agents` and `life`.

use std::time::Duration;

use super::{
    Area, Check, ago,
    facts::{Agent, LastEnd, Life, Stage},
};
use crate::{
    config::plain_size,
    supervision::ending::{Cause, End},
};

/// An end that is longer ago than this is history.
const RECENT: Duration = Duration::from_hours(1);

/// A loop that is later than this keeps its conversations waiting.
const LATE: Duration = Duration::from_secs(1);

/// How an agent is; the check is named after it.
pub(super) fn check(area: Area, agent: &Agent) -> Option<Check> {
    let (id, life) = (agent.id.as_str(), agent.life.as_ref()?);
    let says = |what: String| format!("`{id}` {what}");
    Some(match life.stage {
        Stage::Stopped | Stage::Exited { failed: false } => {
            Check::ok(area, id, says(at_rest(life)))
        }
        Stage::Ready => ready(area, id, life),
        Stage::Starting | Stage::Leaving => match bad_end(life) {
            Some(last) => Check::warn(
                area,
                id,
                says(format!("is {}; {}", life.stage.as_str(), told(last))),
                remedy(id, &last.end),
            ),
            None => Check::ok(area, id, says(format!("is {}", life.stage.as_str()))),
        },
        Stage::BackingOff => Check::warn(
            area,
            id,
            says(format!("waits for its next start; {}", trouble(life))),
            mend(id, life),
        ),
        Stage::Exited { failed: true } => Check::fail(
            area,
            id,
            says(format!(
                "is down, and its restart policy leaves it so; {}",
                trouble(life)
            )),
            format!("{}; then `kennel start {id}`", mend(id, life)),
        ),
        Stage::Quarantined => Check::fail(
            area,
            id,
            says(format!("is quarantined; {}", trouble(life))),
            format!("{}; then `kennel restart {id}`", mend(id, life)),
        ),
    })
}

fn at_rest(life: &Life) -> String {
    match (life.stage, life.wanted) {
        (Stage::Exited { .. }, _) => "has ended by itself, as its restart policy allows".to_owned(),
        _ if life.generation == 0 => "has not been started".to_owned(),
        _ => "is stopped, as asked".to_owned(),
    }
}

fn ready(area: Area, id: &str, life: &Life) -> Check {
    if !life.linked {
        return Check::warn(
            area,
            id,
            format!("`{id}` has lost its link"),
            format!("it comes back by itself or is ended soon; `kennel events {id}` tells"),
        );
    }
    if life.lag > LATE {
        let late = humantime::format_duration(Duration::from_millis(
            u64::try_from(life.lag.as_millis()).unwrap_or(u64::MAX),
        ));
        return Check::warn(
            area,
            id,
            format!("`{id}` answers late: its loop was {late} behind"),
            format!("`kennel status {id}` shows what it waits for: CPU, memory or disks"),
        );
    }
    match bad_end(life) {
        Some(last) if last.ago < RECENT => Check::warn(
            area,
            id,
            format!("`{id}` is ready again; {}", told(last)),
            remedy(id, &last.end),
        ),
        Some(last) => Check::ok(area, id, format!("`{id}` is ready; {}", told(last))),
        None => Check::ok(area, id, format!("`{id}` is ready")),
    }
}

/// The last end, if nobody wanted it.
fn bad_end(life: &Life) -> Option<&LastEnd> {
    let last = life.last_end.as_ref()?;
    (!matches!(last.end.cause, Cause::Asked | Cause::Code(0))).then_some(last)
}

fn told(last: &LastEnd) -> String {
    format!(
        "generation {}, {} ago: {}",
        last.generation,
        ago(last.ago),
        last.end.what()
    )
}

/// The end that brought it down: an earlier one says nothing of a start that came to no process.
fn downfall(life: &Life) -> Option<&LastEnd> {
    bad_end(life).filter(|last| last.generation == life.generation)
}

/// Why it does not run.
fn trouble(life: &Life) -> String {
    let last = downfall(life);
    let end = last.map(told);
    // The end often is the trouble, in more words.
    let detail = life
        .detail
        .clone()
        .filter(|detail| last.is_none_or(|last| last.end.what() != *detail));
    let parts: Vec<String> = [detail, end].into_iter().flatten().collect();
    if parts.is_empty() {
        return "nothing is known of why".to_owned();
    }
    parts.join("; ")
}

fn mend(id: &str, life: &Life) -> String {
    downfall(life).map_or_else(
        || format!("`kennel logs {id}` says more"),
        |last| remedy(id, &last.end),
    )
}

/// What to do so that it does not end like this again.
pub(super) fn remedy(id: &str, end: &End) -> String {
    let logs = format!("`kennel logs {id}`");
    match (&end.cause, end.caps.memory, end.caps.pids) {
        (Cause::Stalled { .. }, Some(memory), _) if end.caps.memory_high.is_some() => format!(
            "see in {logs} what it did; where it needs more: `kennel set {id} memory={} memory_high=none --save`",
            plain_size(memory.saturating_mul(2))
        ),
        (Cause::Stalled { high, .. }, None, _) => format!(
            "see in {logs} what it did; where it needs more: `kennel set {id} memory_high={} --save`",
            plain_size(high.saturating_mul(2))
        ),
        (Cause::OutOfMemory | Cause::Stalled { .. }, Some(memory), _) => format!(
            "see in {logs} what it did; where it needs more: `kennel set {id} memory={} --save`",
            plain_size(memory.saturating_mul(2))
        ),
        (Cause::OutOfMemory, None, _) => format!(
            "it has no cap of its own, so the fleet or the machine ran out: give it one by `kennel set {id} \
             memory=512MiB --save`"
        ),
        (Cause::TooManyProcesses, _, Some(pids)) => format!(
            "see in {logs} what it started; where it needs more: `kennel set {id} pids={} --save`",
            pids.saturating_mul(2)
        ),
        (Cause::TooManyProcesses, _, None) => format!("see in {logs} what it started"),
        (Cause::Hung, ..) => format!("{logs} says where it hung"),
        (Cause::Stuck, ..) => format!(
            "{logs} says where it was; a turn that needs longer to end: raise `cancel_grace` of [agents.{id}]"
        ),
        (Cause::StartTimeout | Cause::NotBack, ..) => format!(
            "{logs} says how far it came; where the machine is slow, raise `start_timeout` of [agents.{id}]"
        ),
        (Cause::Signal(_), ..) => format!(
            "somebody outside of Kennel sent it, or the program crashed: see {logs} and the kernel's log (`dmesg`)"
        ),
        (Cause::Asked | Cause::Code(_) | Cause::Unknown, ..) => format!("{logs} says why"),
    }
}

/// What a process used at its end, and what was done then: for the doctor of one agent.
pub(super) fn last_end(last: &LastEnd) -> String {
    format!(
        "generation {} ended {} ago: {}",
        last.generation,
        ago(last.ago),
        last.end.sentence()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        containment::Cap,
        doctor::{State, samples},
        supervision::lifecycle::Exit,
    };

    fn of(life: Life) -> Check {
        let agent = Agent {
            life: Some(life),
            ..samples::agent("coder")
        };
        check(Area::Agents, &agent).expect("it has a life")
    }

    fn ended(cause: Cause, ago_s: u64) -> LastEnd {
        samples::last_end(cause, Exit::Signal(9), ago_s)
    }

    #[test]
    fn who_runs_or_was_stopped_is_well() {
        let ready = samples::ready();
        assert_eq!(of(ready.clone()).says, "`coder` is ready");
        let stopped = Life {
            stage: Stage::Stopped,
            wanted: false,
            last_end: Some(ended(Cause::Asked, 5)),
            ..ready.clone()
        };
        assert_eq!(of(stopped).says, "`coder` is stopped, as asked");
        let done = Life {
            stage: Stage::Exited { failed: false },
            ..ready
        };
        assert_eq!(of(done).state, State::Ok);
    }

    #[test]
    fn a_quarantined_one_fails_and_says_how_it_comes_back() {
        let check = of(Life {
            stage: Stage::Quarantined,
            generation: 2,
            detail: Some("restarted too often; the last child was ended by SIGKILL".into()),
            last_end: Some(ended(Cause::OutOfMemory, 185)),
            ..samples::ready()
        });
        assert_eq!((check.state, check.name.as_str()), (State::Fail, "coder"));
        assert_eq!(
            check.says,
            "`coder` is quarantined; restarted too often; the last child was ended by SIGKILL; generation 2, 3m 5s ago: \
             killed at its memory cap of 512.0 MiB"
        );
        assert_eq!(
            check.remedy.unwrap(),
            "see in `kennel logs coder` what it did; where it needs more: `kennel set coder memory=1GiB --save`; then \
             `kennel restart coder`"
        );
    }

    #[test]
    fn a_recent_end_is_worth_a_warning_and_an_old_one_is_not() {
        let life = |ago| Life {
            last_end: Some(ended(Cause::Signal(9), ago)),
            ..samples::ready()
        };
        let check = of(life(60));
        assert_eq!(check.state, State::Warn);
        assert!(check.says.contains("1m ago: ended by SIGKILL"), "{check:?}");
        let check = of(life(2 * 3600));
        assert_eq!(check.state, State::Ok);
        assert!(check.says.contains("2h ago"), "{check:?}");
        assert_eq!(check.remedy, None);
    }

    #[test]
    fn the_same_trouble_is_told_once() {
        let last = ended(Cause::Code(101), 1);
        let what = last.end.what();
        let check = of(Life {
            stage: Stage::BackingOff,
            generation: 2,
            detail: Some(what.clone()),
            last_end: Some(last),
            ..samples::ready()
        });
        assert_eq!(check.state, State::Warn);
        assert_eq!(check.says.matches(&what).count(), 1, "{check:?}");
    }

    #[test]
    fn a_start_that_never_came_to_a_child_is_told_too() {
        let check = of(Life {
            stage: Stage::Quarantined,
            detail: Some("cannot be started: this host does not hold cpu".into()),
            // Of the life before.
            last_end: Some(ended(Cause::OutOfMemory, 5)),
            ..samples::ready()
        });
        assert!(check.says.contains("does not hold cpu"), "{check:?}");
        assert_eq!(
            check.remedy.unwrap(),
            "`kennel logs coder` says more; then `kennel restart coder`"
        );
    }

    #[test]
    fn a_lost_link_and_a_late_loop_are_seen() {
        let unlinked = of(Life {
            linked: false,
            ..samples::ready()
        });
        assert_eq!(unlinked.state, State::Warn);
        let late = of(Life {
            lag: Duration::from_millis(2500),
            ..samples::ready()
        });
        assert!(late.says.ends_with("2s 500ms behind"), "{late:?}");
    }

    #[test]
    fn every_cause_has_a_remedy_that_names_the_agent() {
        for cause in [
            Cause::OutOfMemory,
            Cause::TooManyProcesses,
            Cause::Hung,
            Cause::Stuck,
            Cause::StartTimeout,
            Cause::Asked,
            Cause::Code(1),
            Cause::Signal(11),
        ] {
            let last = samples::last_end(cause, Exit::Code(1), 1);
            let said = remedy("coder", &last.end);
            assert!(said.contains("coder") && said.contains('`'), "{said}");
        }
    }

    #[test]
    fn who_stood_still_gets_more_of_the_cap_that_held_it() {
        let stalled = Cause::Stalled {
            cap: Cap::Memory,
            high: 100 << 20,
            lasted: Duration::from_secs(2),
        };
        let last = samples::last_end(stalled, Exit::Signal(9), 1);
        for (memory, memory_high, remedied) in [
            (
                Some(512 << 20),
                None,
                "`kennel set coder memory=1GiB --save`",
            ),
            (
                Some(512 << 20),
                Some(100 << 20),
                "`kennel set coder memory=1GiB memory_high=none --save`",
            ),
            (
                None,
                Some(100 << 20),
                "`kennel set coder memory_high=200MiB --save`",
            ),
        ] {
            let mut end = End::clone(&last.end);
            end.caps.memory = memory;
            end.caps.memory_high = memory_high;
            let said = remedy("coder", &end);
            assert!(said.ends_with(remedied), "{said}");
        }
    }
}
