//! What the doctor found, for people. Pure: values and a width in, text with colours in it out.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use crate::{
    cli::{output::printable, set, units::duration},
    config::Limits,
    containment::Cap,
    control::wire::{AgentDoctor, AgentLife, CageStep, Check, CheckState, Doctor},
};

const STRING: &str = "a string takes everything";

/// Where the words of a check begin.
const INDENT: usize = 8;

/// Narrower than this nothing is wrapped: it would be a column of words.
const NARROW: usize = 30;

const HEAD: Style = Style::new().bold();

/// A fleet.
pub(super) fn fleet(doctor: &Doctor, width: Option<usize>) -> String {
    let mut text = String::new();
    for area in areas(&doctor.checks) {
        head(&mut text, area);
        checks(&mut text, &doctor.checks, area, width);
    }
    verdict(&mut text, doctor.state, &doctor.checks);
    text
}

/// One agent.
pub(super) fn agent(doctor: &AgentDoctor, width: Option<usize>) -> String {
    let mut text = format!("{HEAD}{}{HEAD:#}", printable(&doctor.agent));
    if let Some(life) = &doctor.life {
        write!(text, ": {}", told(life)).expect(STRING);
    }
    text.push('\n');
    match &doctor.group {
        Some(group) => writeln!(text, "held by {}: {}", doctor.backend, printable(group)),
        None => writeln!(text, "held by {}", doctor.backend),
    }
    .expect(STRING);
    for area in areas(&doctor.checks) {
        head(&mut text, area);
        checks(&mut text, &doctor.checks, area, width);
        match area {
            "caps" => caps(&mut text, doctor),
            "cage" => steps(&mut text, &doctor.cage, width),
            _ => {}
        }
    }
    verdict(&mut text, doctor.state, &doctor.checks);
    text
}

fn told(life: &AgentLife) -> String {
    let mut parts = vec![life.state.to_string()];
    parts.extend(life.pid.map(|pid| format!("pid {pid}")));
    parts.push(format!("generation {}", life.generation));
    parts.extend(life.uptime_ms.map(|up| format!("up {}", duration(up))));
    let s = if life.restarts == 1 { "" } else { "s" };
    parts.push(format!("{} restart{s}", life.restarts));
    parts.join(", ")
}

/// Each area once, in the order of its first check.
fn areas(checks: &[Check]) -> Vec<&str> {
    let mut areas: Vec<&str> = Vec::new();
    for check in checks {
        if !areas.contains(&check.area.as_str()) {
            areas.push(&check.area);
        }
    }
    areas
}

fn head(text: &mut String, area: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    writeln!(text, "{HEAD}{}{HEAD:#}", printable(area)).expect(STRING);
}

fn checks(text: &mut String, checks: &[Check], area: &str, width: Option<usize>) {
    for check in checks.iter().filter(|check| check.area == area) {
        let style = style(check.state);
        write!(text, "  {style}{:<4}{style:#}  ", check.state).expect(STRING);
        paragraph(text, &check.message, width);
        if let Some(remedy) = &check.remedy
            && check.state != CheckState::Ok
        {
            write!(text, "     → ").expect(STRING);
            paragraph(text, remedy, width);
        }
    }
}

fn style(state: CheckState) -> Style {
    let color = match state {
        CheckState::Ok => AnsiColor::Green,
        CheckState::Warn => AnsiColor::Yellow,
        CheckState::Fail => AnsiColor::Red,
        CheckState::Unknown => return Style::new(),
    };
    color.on_default().bold()
}

/// Words from column [`INDENT`] on, over as many lines as they need.
fn paragraph(text: &mut String, words: &str, width: Option<usize>) {
    let room = width.filter(|width| *width >= NARROW);
    let room = room.map_or(usize::MAX, |width| width - INDENT);
    let mut used = 0;
    for word in printable(words).split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > room {
            write!(text, "\n{:INDENT$}", "").expect(STRING);
            used = 0;
        } else if used > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += length;
    }
    text.push('\n');
}

/// What was asked for beside what holds.
fn caps(text: &mut String, doctor: &AgentDoctor) {
    let (asked, in_force) = (set::domain(&doctor.asked), set::domain(&doctor.in_force));
    let shown = |limits: &Limits, cap| {
        let amount = limits.get(cap);
        amount.map_or_else(|| "-".to_owned(), |amount| amount.to_string())
    };
    let mut rows = vec![["cap", "asked", "in force"].map(ToOwned::to_owned)];
    rows.extend(
        Cap::ALL
            .into_iter()
            .filter(|cap| asked.get(*cap).is_some() || in_force.get(*cap).is_some())
            .map(|cap| {
                [
                    cap.as_str().to_owned(),
                    shown(&asked, cap),
                    shown(&in_force, cap),
                ]
            }),
    );
    if rows.len() == 1 {
        return;
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (first, second, third) = (width(0), width(1), width(2));
    for [cap, asked, in_force] in &rows {
        writeln!(
            text,
            "{:INDENT$}{cap:<first$}  {asked:>second$}  {in_force:>third$}",
            ""
        )
        .expect(STRING);
    }
}

fn steps(text: &mut String, steps: &[CageStep], width: Option<usize>) {
    let longest = steps.iter().map(|step| step.name.chars().count()).max();
    let longest = longest.unwrap_or(0);
    for step in steps {
        let (name, outcome) = (printable(&step.name), printable(&step.outcome));
        let line = format!("{:INDENT$}{name:<longest$}  {outcome:<7}  ", "");
        let begin = line.chars().count();
        let room = width.map_or(usize::MAX, |width| width.saturating_sub(begin));
        let detail = printable(&step.detail).replace('\n', " ");
        let cut = detail.chars().count() > room && room > 0;
        let detail: String = if cut {
            detail.chars().take(room - 1).chain(['…']).collect()
        } else {
            detail
        };
        writeln!(text, "{}", format!("{line}{detail}").trim_end()).expect(STRING);
    }
}

fn verdict(text: &mut String, state: CheckState, checks: &[Check]) {
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let (ok, warn, fail) = (
        count(CheckState::Ok),
        count(CheckState::Warn),
        count(CheckState::Fail),
    );
    let word = match state {
        CheckState::Ok => "all is well",
        CheckState::Warn => "nothing fails",
        CheckState::Fail => "something fails",
        CheckState::Unknown => "not all is known",
    };
    let style = style(state);
    writeln!(
        text,
        "\n{style}{word}{style:#}: {fail} fail, {warn} warn, {ok} ok"
    )
    .expect(STRING);
}

#[cfg(test)]
mod tests;
