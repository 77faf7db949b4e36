//! `events`: what happens to the agents, as it happens.

use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    exit::{Exit, Outcome},
    output::{Output, printable},
};
use crate::{client::Client, control::wire::LifecycleEvent};

pub(super) async fn run(client: &Client, json: bool, out: &Output) -> Outcome {
    let mut events = client.events().await?;
    while let Some(event) = events.next_named::<LifecycleEvent>("lifecycle").await? {
        if json {
            out.line(serde_json::to_string(&event).expect("wire types are plain data"))?;
        } else {
            out.line(printable(&line(&event)))?;
        }
    }
    out.note("the supervisor has ended the stream");
    Ok(Exit::Ok)
}

fn line(event: &LifecycleEvent) -> String {
    // Times that no calendar holds come from a broken clock: they are shown as its last.
    let at = UNIX_EPOCH + Duration::from_millis(event.at_ms.min(253_402_300_799_000));
    let mut line = format!(
        "{} {} #{} {}",
        humantime::format_rfc3339_millis(at),
        event.agent,
        event.generation,
        event.kind
    );
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
            agent: "hexa".into(),
            generation: 3,
            kind: "exited".into(),
            detail: Some("killed by SIGKILL".into()),
        };
        assert_eq!(
            line(&event),
            "2023-11-14T22:13:20.123Z hexa #3 exited: killed by SIGKILL"
        );
        event.at_ms = u64::MAX;
        event.detail = None;
        assert_eq!(line(&event), "9999-12-31T23:59:59.000Z hexa #3 exited");
    }
}
