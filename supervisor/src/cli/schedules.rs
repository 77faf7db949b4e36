//! `schedules`: what the clock asks for.

use super::{
    args::{ScheduleOne, Schedules, SchedulesCommand},
    exit::{Exit, Outcome},
    output::Output,
    table,
    units::{duration, now},
};
use crate::{
    client::Client,
    control::wire::{DeliveryState, Schedule, ScheduleAction},
};

pub(super) async fn run(client: &Client, args: &Schedules, out: &Output) -> Outcome {
    match &args.command {
        None => list(client, args.list.json, out).await,
        Some(SchedulesCommand::List(args)) => list(client, args.json, out).await,
        Some(SchedulesCommand::Run(one)) => act(client, one, ScheduleAction::Run, out).await,
        Some(SchedulesCommand::Pause(one)) => act(client, one, ScheduleAction::Pause, out).await,
        Some(SchedulesCommand::Resume(one)) => act(client, one, ScheduleAction::Resume, out).await,
    }
}

async fn list(client: &Client, json: bool, out: &Output) -> Outcome {
    let list = client.schedules().await?;
    if json {
        out.line(list.json.trim_end())?;
        return Ok(Exit::Ok);
    }
    let schedules = list.value.schedules;
    if schedules.is_empty() {
        out.note("there is no schedule: add one with [[schedules]]");
        return Ok(Exit::Ok);
    }
    out.text(table::schedules(&schedules, Output::width(), now()))?;
    for schedule in &schedules {
        if let Some(held) = &schedule.held {
            out.note(format_args!(
                "{} is tried again: {}",
                schedule.name, held.why
            ));
        }
    }
    Ok(Exit::Ok)
}

async fn act(client: &Client, one: &ScheduleOne, action: ScheduleAction, out: &Output) -> Outcome {
    let done = client.schedule_action(&one.name, action).await?;
    if one.json {
        out.line(done.json.trim_end())?;
        return Ok(Exit::Ok);
    }
    let done = done.value;
    let (name, already) = (&done.name, done.already);
    out.line(&match (action, &done.id) {
        (ScheduleAction::Run, Some(id)) => format!("{} runs {name} as {id}", done.agent),
        (ScheduleAction::Run, None) => format!("{} runs {name}", done.agent),
        (ScheduleAction::Pause, _) if already => format!("{name} was paused already"),
        (ScheduleAction::Pause, _) => format!("{name} is paused"),
        (ScheduleAction::Resume, _) if already => format!("{name} was not paused"),
        (ScheduleAction::Resume, _) => format!("{name} runs by itself again"),
    })?;
    Ok(Exit::Ok)
}

/// When it is due, as it was written.
pub(super) fn when(schedule: &Schedule) -> String {
    match (&schedule.cron, schedule.every_ms) {
        (Some(cron), _) => cron.clone(),
        (None, Some(every)) => {
            let every = std::time::Duration::from_millis(every);
            format!("every {}", humantime::format_duration(every))
        }
        (None, None) => String::new(),
    }
}

/// When it is due next, by the clocks of its zone and from now on. `now` is in milliseconds since 1970.
pub(super) fn next(schedule: &Schedule, now: u64) -> String {
    match (&schedule.next, schedule.next_ms) {
        _ if !schedule.enabled => "disabled".to_owned(),
        _ if schedule.paused => "paused".to_owned(),
        (Some(next), Some(at)) if at > now => format!("{next}, in {}", duration(at - now)),
        (Some(next), Some(_)) => format!("{next}, now"),
        _ => String::new(),
    }
}

/// What became of the last run.
pub(super) fn last(schedule: &Schedule, now: u64) -> String {
    schedule.last.as_ref().map_or_else(String::new, |last| {
        let state = last.state.map_or("?", DeliveryState::as_str);
        format!("{state} {} ago", duration(now.saturating_sub(last.at_ms)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::{CatchUp, ScheduleRun};

    fn schedule(name: &str) -> Schedule {
        Schedule {
            name: name.into(),
            agent: "hexa".into(),
            session: format!("agent:hexa:cron:{name}"),
            class: None,
            cron: Some("30 9 * * MON-FRI".into()),
            zone: Some("Europe/Berlin".into()),
            every_ms: None,
            catch_up: CatchUp::Skip,
            jitter_ms: 0,
            enabled: true,
            paused: false,
            tell: None,
            next_ms: Some(90_060_000),
            next: Some("1970-01-02 02:01 CET".into()),
            held: None,
            last: Some(ScheduleRun {
                id: "0194f2a0-0000-7000-8000-000000000001".into(),
                due_ms: Some(1_000),
                at_ms: 1_000,
                state: Some(DeliveryState::Replied),
                ended_ms: Some(2_000),
                why: None,
            }),
            runs: 7,
            missed: 2,
        }
    }

    #[test]
    fn lists_fit_their_screens() {
        let paused = Schedule {
            paused: true,
            next: None,
            next_ms: None,
            ..schedule("weekly-report")
        };
        let every = Schedule {
            cron: None,
            zone: None,
            every_ms: Some(900_000),
            last: None,
            ..schedule("poll")
        };
        let schedules = [schedule("morning"), paused, every];
        for width in [80, 160] {
            let list = table::schedules(&schedules, Some(width), 60_000);
            let list = anstream::adapter::strip_str(&list).to_string();
            assert!(
                list.lines().all(|line| line.chars().count() <= width),
                "{list}"
            );
            insta::assert_snapshot!(format!("schedules_{width}"), list);
        }
    }
}
