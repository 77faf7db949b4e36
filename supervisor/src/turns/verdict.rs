//! Why a turn took as long as it did, in one line. Pure.
//!
//! A turn that its agent did not live to end is that first of all. Half of the whole time in lanes is a turn that queued. Of the rest, what the CPU had of it comes first, since it lies
//! within all other times: a tool that spins and a model that is waited for by a loop that spins both look like what they
//! are not. Then whatever has half of the time; else it is a bit of everything.

use super::record::{Machine, Outcome, Share, Step, TurnRecord};

/// What held a turn up most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The turn before it in its session.
    Session,
    /// The places of its agent.
    Agent,
    /// The places of its class.
    Class,
    /// The places of the fleet.
    Fleet,
    /// Its agent was not up, or it was held on purpose.
    Held,
    /// Its agent died with it.
    Lost,
    /// The way to the agent.
    Dispatch,
    /// The processor.
    Cpu,
    /// The model.
    Provider,
    /// Its tools.
    Tools,
    /// The agent's store.
    Store,
    /// Nothing in particular.
    Mixed,
}

impl Bound {
    /// In a table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session lane",
            Self::Agent => "agent lane",
            Self::Class => "class lane",
            Self::Fleet => "fleet lane",
            Self::Held => "held",
            Self::Lost => "lost attempts",
            Self::Dispatch => "dispatch",
            Self::Cpu => "CPU",
            Self::Provider => "provider",
            Self::Tools => "tools",
            Self::Store => "store",
            Self::Mixed => "mixed",
        }
    }
}

/// What held a turn up most, and how it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What.
    pub bound: Bound,
    /// One line.
    pub text: String,
}

/// Waiting for a processor is to blame from this share of the time on, in percent.
const WAITING: u64 = 30;

/// Everything else from this one on.
const MOST: u64 = 50;

/// Of this turn.
pub fn verdict(turn: &TurnRecord) -> Verdict {
    died(turn)
        .or_else(|| queued(turn))
        .or_else(|| processor(turn))
        .or_else(|| steps(turn))
        .unwrap_or_else(|| mixed(turn))
}

/// A part in percent of a whole.
fn percent(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(u64::MAX).min(100)
}

/// Its agent did not live to its end.
fn died(turn: &TurnRecord) -> Option<Verdict> {
    let run = words(turn.run_us);
    let text = match turn.outcome {
        Outcome::Lost => format!("lost with the agent's process after {run}, and begun anew"),
        Outcome::Agent => format!(
            "set aside: the agent stopped working {} times while it answered this, the last time after {run}",
            turn.attempts
        ),
        _ => return None,
    };
    Some(Verdict {
        bound: Bound::Lost,
        text,
    })
}

fn queued(turn: &TurnRecord) -> Option<Verdict> {
    if percent(turn.queued_us(), turn.total_us()) < MOST {
        return None;
    }
    let waits = &turn.waits;
    let all = [
        (Bound::Session, waits.session_us),
        (Bound::Agent, waits.agent_us),
        (Bound::Class, waits.class_us),
        (Bound::Fleet, waits.fleet_us),
        (Bound::Held, waits.held_us),
        (Bound::Lost, turn.lost_us),
    ];
    let (bound, us) = all.into_iter().max_by_key(|(_, us)| *us)?;
    let time = words(us);
    let text = match bound {
        Bound::Held => format!("held until its agent took it: {time}"),
        Bound::Lost => format!("begun anew: {time} were lost with the agent's process"),
        lane => format!("queued behind {}: {time}", lane.as_str()),
    };
    Some(Verdict { bound, text })
}

fn processor(turn: &TurnRecord) -> Option<Verdict> {
    let Machine {
        cpu_us,
        runnable_us,
        throttled_us,
        shared,
        share,
        ..
    } = turn.machine;
    let run = turn.run_us;
    if shared && waited_for_its_model(turn) {
        return None;
    }
    let (cpu, waited, throttled) = (
        cpu_us.unwrap_or(0),
        runnable_us.unwrap_or(0),
        throttled_us.unwrap_or(0),
    );
    let with_others = if shared { ", with other turns" } else { "" };
    let share = share.unwrap_or_default();
    let text = if percent(throttled, run) >= WAITING && throttled >= waited {
        let cap = share.cap_milli.map_or_else(String::new, |milli| {
            format!(" of {} CPUs", thousandths(milli))
        });
        format!(
            "held back by its cap{cap} for {} of {}{with_others}",
            words(throttled),
            words(run)
        )
    } else if percent(waited, run) >= WAITING {
        format!(
            "{}; waited {} of {}{with_others}",
            neighbours(&share),
            words(waited),
            words(run)
        )
    } else if percent(cpu, run) >= MOST {
        format!("used {} of CPU in {}{with_others}", words(cpu), words(run))
    } else {
        return None;
    };
    Some(Verdict {
        bound: Bound::Cpu,
        text: format!("CPU-bound: {text}"),
    })
}

/// For most of its run, and in a loop that was free to take the answer. Where several turns have one account of the processor, what
/// it says is then said of the others.
fn waited_for_its_model(turn: &TurnRecord) -> bool {
    let late = turn.took.lag_us.max(turn.machine.lag_us);
    percent(turn.took.provider_us, turn.run_us) >= MOST && percent(late, turn.run_us) < WAITING
}

/// Whom it shares the processors with.
fn neighbours(share: &Share) -> String {
    let cores = match share.cores {
        1 => "1 core".to_owned(),
        cores => format!("{cores} cores"),
    };
    if share.of_weights > share.weight {
        let (own, all) = (share.weight, share.of_weights);
        format!("neighbours share {cores}, weight {own} of {all}")
    } else {
        format!("more wants to run than {cores} can")
    }
}

fn steps(turn: &TurnRecord) -> Option<Verdict> {
    let (run, took) = (turn.run_us, &turn.took);
    let all = [
        (Bound::Provider, took.provider_us),
        (Bound::Tools, took.tools_us),
        (Bound::Store, took.context_us.saturating_add(took.commit_us)),
        (Bound::Dispatch, turn.dispatch_us),
    ];
    let (bound, us) = all.into_iter().max_by_key(|(_, us)| *us)?;
    let part = percent(us, run);
    if part < MOST {
        return None;
    }
    let of = format!("{part} % of {}", words(run));
    let text = match bound {
        Bound::Provider => {
            let retries = match took.retries {
                0 => String::new(),
                1 => ", asked again once".to_owned(),
                n => format!(", asked again {n} times"),
            };
            format!("provider-bound: {of} waiting for the model{retries}")
        }
        Bound::Tools => format!("tool-bound: {of} in {}", tool(turn)),
        Bound::Store => format!("store-bound: {of} loading and committing"),
        _ => format!("dispatch-bound: {of} until its agent had it"),
    };
    Some(Verdict { bound, text })
}

/// The tool that took longest, by name.
fn tool(turn: &TurnRecord) -> String {
    let mut tools: Vec<(&str, u64)> = Vec::new();
    for span in &turn.spans {
        if let Step::Tool { name } = &span.step {
            match tools.iter_mut().find(|(known, _)| known == name) {
                Some((_, us)) => *us += span.took_us,
                None => tools.push((name, span.took_us)),
            }
        }
    }
    match tools[..] {
        [] => "its tools".to_owned(),
        [(only, _)] => only.to_owned(),
        _ => {
            let longest = tools.iter().max_by_key(|(_, us)| *us);
            let longest = longest.map_or("", |(name, _)| name);
            format!("its tools, {longest} most")
        }
    }
}

fn mixed(turn: &TurnRecord) -> Verdict {
    let (run, took) = (turn.total_us(), &turn.took);
    let mut parts = [
        ("queued", turn.queued_us()),
        ("model", took.provider_us),
        ("tools", took.tools_us),
        ("store", took.context_us.saturating_add(took.commit_us)),
        ("dispatch", turn.dispatch_us),
    ];
    parts.sort_by_key(|(_, us)| std::cmp::Reverse(*us));
    let parts = parts.iter().filter(|(_, us)| percent(*us, run) > 0).take(3);
    let parts: Vec<_> = parts
        .map(|(name, us)| format!("{name} {} %", percent(*us, run)))
        .collect();
    let parts = if parts.is_empty() {
        String::new()
    } else {
        format!(": {}", parts.join(", "))
    };
    Verdict {
        bound: Bound::Mixed,
        text: format!("nothing stands out in {}{parts}", words(run)),
    }
}

/// A time with two digits or more that count: `4.1 s`, `12 s`, `350 ms`, `80 µs`, `2 min 5 s`.
pub fn words(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..9_950 => tenths(us, 1_000, "ms"),
        9_950..999_500 => format!("{} ms", nearest(us, 1_000)),
        999_500..9_950_000 => tenths(us, 1_000_000, "s"),
        9_950_000..99_500_000 => format!("{} s", nearest(us, 1_000_000)),
        _ => {
            let seconds = nearest(us, 1_000_000);
            match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
                (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
                (hours, minutes, _) => format!("{hours} h {minutes} min"),
            }
        }
    }
}

fn nearest(us: u64, unit: u64) -> u64 {
    us / unit + u64::from(us % unit >= unit / 2)
}

fn tenths(us: u64, unit: u64, name: &str) -> String {
    let tenths = (us * 10 + unit / 2) / unit;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// `500` as `0.5`.
fn thousandths(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
