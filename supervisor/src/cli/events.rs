//! `events`: what happened to the agents, and what happens to them.

use std::fmt::Write as _;

use super::{
    args,
    exit::{Exit, Outcome},
    output::{Output, printable},
    units,
};
use crate::{
    client::Client,
    control::wire::{EventsQuery, LifecycleEvent},
};

pub(super) async fn run(client: &Client, args: args::Events, out: &Output) -> Outcome {
    let query = EventsQuery {
        tail: args.lines,
        follow: args.follow,
        agent: args.agent,
    };
    if !args.follow {
        for event in client.past_events(&query).await?.events {
            show(&event, args.json, out)?;
        }
        return Ok(Exit::Ok);
    }
    let mut events = client.events(&query).await?;
    while let Some(event) = events.next_named::<LifecycleEvent>("lifecycle").await? {
        show(&event, args.json, out)?;
    }
    out.note("the supervisor has ended the stream");
    Ok(Exit::Ok)
}

fn show(event: &LifecycleEvent, json: bool, out: &Output) -> std::io::Result<()> {
    if json {
        out.line(serde_json::to_string(event).expect("wire types are plain data"))
    } else {
        out.line(printable(&line(event)))
    }
}

fn line(event: &LifecycleEvent) -> String {
    let at = units::time(event.at_ms);
    let mut line = match &event.agent {
        Some(agent) => format!("{at} {agent} #{} {}", event.generation, event.kind),
        None => format!("{at} supervisor {}", event.kind),
    };
    if let Some(detail) = &event.detail {
        write!(line, ": {detail}").expect("a string takes everything");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let mut event = LifecycleEvent {
            at_ms: 1_700_000_000_123,
            agent: Some("hexa".into()),
            generation: 3,
            kind: "exited".into(),
            detail: Some("killed by SIGKILL".into()),
            end: None,
            held_back: None,
        };
        assert_eq!(
            line(&event),
            "2023-11-14T22:13:20.123Z hexa #3 exited: killed by SIGKILL"
        );
        event.agent = None;
        event.kind = "reloaded".into();
        event.detail = Some("1 agent added".into());
        assert_eq!(
            line(&event),
            "2023-11-14T22:13:20.123Z supervisor reloaded: 1 agent added"
        );
        event.agent = Some("hexa".into());
        event.kind = "exited".into();
        event.at_ms = u64::MAX;
        event.detail = None;
        assert_eq!(line(&event), "9999-12-31T23:59:59.000Z hexa #3 exited");
    }
}
