//! How an agent's last process ended, in a line beneath a table.

use super::units::{bytes, duration};
use crate::{
    control::wire::{AgentEnd, AgentState, AgentStatus},
    supervision::ending::signal_name,
};

/// An agent that runs again for so long has nothing to explain any more.
const FORGOTTEN_MS: u64 = 24 * 60 * 60 * 1000;

/// `out of memory (cap 512M) 3m05s ago, restarted`; nothing of an end that was asked for, and of one that is long
/// forgotten. `now` is in milliseconds since 1970.
pub(super) fn note(agent: &AgentStatus, now: u64) -> Option<String> {
    let end = agent.last_end.as_ref()?;
    let ago = now.saturating_sub(end.at_ms);
    let well = agent.state == AgentState::Ready;
    if is_orderly(end) || (well && ago > FORGOTTEN_MS) {
        return None;
    }
    let then = if agent.generation > end.generation {
        "restarted"
    } else {
        &end.next
    };
    Some(format!("{} {} ago, {then}", cause(end), duration(ago)))
}

/// `3m05s ago, generation 2: …`, in full.
pub(super) fn story(end: &AgentEnd, now: u64) -> String {
    let ago = duration(now.saturating_sub(end.at_ms));
    format!("{ago} ago, generation {}: {}", end.generation, end.sentence)
}

fn is_orderly(end: &AgentEnd) -> bool {
    end.cause == "asked" || (end.cause == "exited" && end.code == Some(0))
}

fn cause(end: &AgentEnd) -> String {
    match (end.cause.as_str(), end.cap_value, end.code, end.signal) {
        ("out-of-memory", Some(cap), ..) => format!("out of memory (cap {})", bytes(cap)),
        ("out-of-memory", None, ..) => "out of memory".to_owned(),
        ("too-many-processes", Some(cap), ..) => format!("too many processes (cap {cap})"),
        ("too-many-processes", None, ..) => "too many processes".to_owned(),
        ("hung", ..) => "hung and was killed".to_owned(),
        ("start-timeout", ..) => "was not ready in time".to_owned(),
        ("not-back", ..) => "did not connect to its new supervisor".to_owned(),
        ("unknown", ..) => "ended; nobody saw how".to_owned(),
        ("exited", _, Some(code), _) => format!("exited with {code}"),
        ("signal", _, _, Some(signal)) => format!("ended by {}", signal_name(signal)),
        // One of a newer supervisor.
        (cause, ..) => cause.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(cause: &str) -> AgentEnd {
        AgentEnd {
            at_ms: 1_000_000,
            generation: 2,
            cause: cause.into(),
            code: None,
            signal: None,
            cap: None,
            cap_value: None,
            memory_high_bytes: None,
            memory_peak_bytes: None,
            turns: Vec::new(),
            next: "generation 3 starts now".into(),
            sentence: "killed at its memory cap of 512.0 MiB; generation 3 starts now".into(),
        }
    }

    fn after(end: AgentEnd, state: AgentState, generation: u64) -> AgentStatus {
        let mut agent: AgentStatus = serde_json::from_value(serde_json::json!({
            "id": "coder", "state": state, "desired": "running", "generation": generation, "restarts": 1, "queued": 0,
            "running": 0, "turns": 0, "model": "echo/echo", "link": "connected",
        }))
        .unwrap();
        agent.last_end = Some(end);
        agent
    }

    const NOW: u64 = 1_185_000;

    #[test]
    fn a_line_says_why_when_and_what_then() {
        let oom = AgentEnd {
            cap_value: Some(512 << 20),
            ..end("out-of-memory")
        };
        let ready = after(oom.clone(), AgentState::Ready, 3);
        assert_eq!(
            note(&ready, NOW).unwrap(),
            "out of memory (cap 512M) 3m05s ago, restarted"
        );
        let down = AgentEnd {
            next: "stays down until `kennel restart`".into(),
            ..oom.clone()
        };
        assert_eq!(
            note(&after(down, AgentState::Quarantined, 2), NOW).unwrap(),
            "out of memory (cap 512M) 3m05s ago, stays down until `kennel restart`"
        );
        assert_eq!(
            story(&oom, NOW),
            "3m05s ago, generation 2: killed at its memory cap of 512.0 MiB; generation 3 starts now"
        );
    }

    #[test]
    fn every_cause_is_short() {
        for (cause, code, signal, said) in [
            ("hung", None, Some(9), "hung and was killed"),
            ("start-timeout", None, Some(9), "was not ready in time"),
            ("exited", Some(101), None, "exited with 101"),
            ("signal", None, Some(11), "ended by SIGSEGV"),
            ("too-many-processes", None, Some(9), "too many processes"),
            ("sulked", None, None, "sulked"),
        ] {
            let end = AgentEnd {
                code,
                signal,
                ..end(cause)
            };
            let note = note(&after(end, AgentState::Ready, 3), NOW).unwrap();
            assert_eq!(note, format!("{said} 3m05s ago, restarted"));
            assert!(note.chars().count() < 60, "{note}");
        }
    }

    #[test]
    fn what_was_asked_for_or_is_long_ago_is_no_news() {
        let clean = AgentEnd {
            code: Some(0),
            ..end("exited")
        };
        for orderly in [end("asked"), clean] {
            assert_eq!(note(&after(orderly, AgentState::Stopped, 2), NOW), None);
        }
        let later = NOW + FORGOTTEN_MS;
        assert_eq!(note(&after(end("hung"), AgentState::Ready, 3), later), None);
        assert!(note(&after(end("hung"), AgentState::Quarantined, 2), later).is_some());
    }
}
