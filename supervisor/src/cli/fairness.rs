//! `fairness`: whether everybody has the share that weights give.

use std::fmt::Write as _;

use super::{
    args::{self, FairnessSpan},
    exit::{Exit, Failure, Outcome},
    output::{Output, printable},
    table,
    units::duration,
};
use crate::{
    client::Client,
    control::wire::{Fairness, FairnessWindow},
};

pub(super) async fn run(client: &Client, args: &args::Fairness, out: &Output) -> Outcome {
    let fairness = client.fairness().await?;
    if args.json {
        out.line(fairness.json.trim_end())?;
        return Ok(Exit::Ok);
    }
    let Some(text) = draw(&fairness.value, args.window, Output::width()) else {
        return Err(Failure::new("the supervisor has nothing to tell of it yet"));
    };
    out.text(text)?;
    Ok(Exit::Ok)
}

impl FairnessSpan {
    fn millis(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::FiveMinutes => 300_000,
            Self::Hour => 3_600_000,
        }
    }
}

/// What people read. `None` when the window is not there.
fn draw(fairness: &Fairness, span: FairnessSpan, width: Option<usize>) -> Option<String> {
    let mut windows = fairness.windows.iter();
    let window = windows.find(|window| window.window_ms == span.millis())?;
    let mut text = verdict(fairness, window);
    for part in [
        table::class_shares(&window.classes, width),
        table::agent_shares(&window.agents, width),
    ] {
        write!(text, "\n{part}").expect("a string takes everything");
    }
    Some(text)
}

fn verdict(fairness: &Fairness, window: &FairnessWindow) -> String {
    let covered = if window.covered_ms < window.window_ms {
        format!(" (of which {} are known)", duration(window.covered_ms))
    } else {
        String::new()
    };
    let mut text = format!(
        "{} turns at once, the last {}{covered}\n",
        fairness.slots,
        duration(window.window_ms)
    );
    let line = |name: &str, index: Option<f64>, none: &str| match index {
        Some(index) => format!("{name}  {index:.3}  {}\n", word(index)),
        None => format!("{name}  -      {none}\n"),
    };
    text += &line("slots", window.slots_index, "nobody wanted any");
    text += &line(
        "CPU  ",
        window.cpu_index,
        "this host cannot tell who waited for it",
    );
    match &window.longest_wait {
        Some(longest) => {
            let wait = duration(longest.wait_ms);
            writeln!(text, "longest wait  {wait}, {}", printable(&longest.agent))
        }
        None => writeln!(text, "longest wait  none"),
    }
    .expect("a string takes everything");
    text
}

/// Jain's index in words.
fn word(index: f64) -> &'static str {
    match index {
        0.99.. => "fair: everybody has what they are entitled to, or the same part of it",
        0.9.. => "nearly fair",
        _ => "unfair: some have much less of what they are entitled to than others",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::{AgentShare, ClassShare, LongestWait};

    fn window(window_ms: u64) -> FairnessWindow {
        let agent = |agent: &str, weight, used, entitled| AgentShare {
            agent: agent.into(),
            class: "interactive".into(),
            weight,
            slots_used: used,
            slots_entitled: entitled,
            slots_wanted: 2.0,
            cpu_used: 0.123,
            cpu_entitled: (weight == 100).then_some(0.2),
            longest_wait_ms: 12_345,
        };
        FairnessWindow {
            window_ms,
            covered_ms: 60_000,
            slots_index: Some(0.9876),
            cpu_index: None,
            longest_wait: Some(LongestWait {
                agent: "hexa\x1b[2J".into(),
                wait_ms: 12_345,
            }),
            classes: vec![ClassShare {
                class: "interactive".into(),
                weight: 100,
                min_slots: 2,
                max_slots: 8,
                running: 3,
                slots_used: 2.5,
                slots_entitled: 2.75,
            }],
            agents: vec![
                agent("hexa", 100, 1.5, 1.75),
                agent("reviewer", 50, 1.0, 1.0),
            ],
        }
    }

    #[test]
    fn people_read_it_on_eighty_columns() {
        let fairness = Fairness {
            slots: 8,
            windows: vec![window(60_000), window(300_000)],
        };
        insta::assert_snapshot!(draw(&fairness, FairnessSpan::FiveMinutes, Some(80)).unwrap());
        assert_eq!(draw(&fairness, FairnessSpan::Hour, None), None);
        assert!(!verdict(&fairness, &fairness.windows[0]).contains("known"));
    }
}
