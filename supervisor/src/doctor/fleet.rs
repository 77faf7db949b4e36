//! From the facts about a fleet to its checks. Pure.

use std::time::Duration;

use kennel_shared::cage::CageOutcome;

use super::{
    Area, Check, State, ago, caps, count, ends,
    facts::{Channel, ConfigFile, Connection, Finding, Fleet, Stage, Supervisor},
    host, journal, names, places,
};

/// Warnings of a configuration that are told one by one.
const WARNINGS: usize = 5;

/// A connection that takes longer than this to come about is in trouble.
const CONNECTING: Duration = Duration::from_secs(30);

/// Judges.
pub fn checks(facts: &Fleet) -> Vec<Check> {
    let running = matches!(facts.supervisor, Supervisor::Running { .. });
    let mut checks = vec![supervisor(&facts.supervisor)];
    checks.extend(facts.journal.iter().flat_map(journal::checks));
    checks.extend(caps::checks(&facts.backend, &facts.asks, running));
    checks.extend(host::checks(&facts.host, facts.backend.kind, &facts.asks));
    let folders = facts.places.iter();
    checks.extend(folders.map(|place| places::folder(place, running)));
    checks.push(places::program(&facts.program));
    checks.extend(config(&facts.config));
    checks.extend(secrets(facts));
    checks.extend(agents(facts));
    checks.extend(channels(&facts.channels));
    checks
}

pub(super) fn supervisor(supervisor: &Supervisor) -> Check {
    let area = Area::Supervisor;
    match supervisor {
        Supervisor::Running { pid, up } => Check::ok(
            area,
            "running",
            format!("the supervisor answers: pid {pid}, up {}", ago(*up)),
        ),
        Supervisor::Absent { socket } => Check::warn(
            area,
            "running",
            format!(
                "no supervisor is running here ({}): this is what one started here would get",
                socket.display()
            ),
            "`kennel up --detach` starts one",
        ),
        Supervisor::Unknown => Check::warn(
            area,
            "running",
            "nobody knows where a supervisor would be, since the configuration does not say: this is what one started \
             here would get",
            "mend the configuration, or name the control socket with --socket",
        ),
    }
}

fn config(config: &ConfigFile) -> Vec<Check> {
    let area = Area::Configuration;
    match config {
        ConfigFile::Absent { looked } => vec![Check::fail(
            area,
            "file",
            format!("there is no configuration here; looked for: {looked}"),
            "write one with `kennel init`, or name one with --config",
        )],
        ConfigFile::Refused {
            file,
            summary,
            first,
            running,
        } => {
            let then = if *running {
                "; the supervisor runs on what it said before, and no other would start"
            } else {
                ""
            };
            vec![Check::fail(
                area,
                "file",
                format!("{file} is refused: {summary}{then}; the first: {}", first.says),
                first.remedy.as_ref().map_or_else(
                    || format!("`kennel --config {file} check` shows all of it with its places"),
                    |remedy| format!("{remedy}; `kennel --config {file} check` shows all of it with its places"),
                ),
            )]
        }
        ConfigFile::Right {
            file,
            content,
            warnings,
            changed,
        } => {
            let right = format!("{file} is right: {content}");
            let mut checks = vec![if *changed {
                Check::warn(
                    area,
                    "file",
                    format!(
                        "{right}; it was changed since the supervisor read it, which runs on what it said before"
                    ),
                    "`kennel reload --dry-run` tells what differs, `kennel reload` has it take effect",
                )
            } else {
                Check::ok(area, "file", right)
            }];
            checks.extend(
                warnings
                    .iter()
                    .take(WARNINGS)
                    .map(|warning| finding(area, "warning", warning, file)),
            );
            if warnings.len() > WARNINGS {
                checks.push(Check::warn(
                    area,
                    "warning",
                    format!("{} more", count(warnings.len() - WARNINGS, "warning")),
                    format!("`kennel --config {file} check` shows them"),
                ));
            }
            checks
        }
    }
}

fn finding(area: Area, name: &str, finding: &Finding, file: &str) -> Check {
    let remedy = finding
        .remedy
        .clone()
        .unwrap_or_else(|| format!("`kennel --config {file} check` shows its place"));
    if finding.fails {
        Check::fail(area, name, &*finding.says, remedy)
    } else {
        Check::warn(area, name, &*finding.says, remedy)
    }
}

fn secrets(facts: &Fleet) -> Vec<Check> {
    let area = Area::Secrets;
    let (Some(found), ConfigFile::Right { file, .. }) = (&facts.secrets, &facts.config) else {
        return Vec::new();
    };
    if found.is_empty() {
        let says = "every secret that is in use is there (commands were not run)";
        return vec![Check::ok(area, "secrets", says)];
    }
    let found = found.iter();
    found
        .map(|one| finding(area, "secret", one, file))
        .collect()
}

/// Those that are well together, each of the others by itself.
fn agents(facts: &Fleet) -> Vec<Check> {
    let area = Area::Agents;
    let lives = facts.agents.iter().filter(|agent| agent.life.is_some());
    let judged: Vec<(&super::facts::Agent, Check)> = lives
        .filter_map(|agent| Some((agent, ends::check(area, agent)?)))
        .collect();
    let mut checks = Vec::new();
    let (well, ill): (Vec<_>, Vec<_>) = judged
        .into_iter()
        .partition(|(_, check)| check.state == State::Ok);
    if let Some(says) = together(&well, facts.disabled) {
        checks.push(Check::ok(area, "agents", says));
    }
    checks.extend(ill.into_iter().map(|(_, check)| check));
    checks.extend(open_cages(facts));
    checks
}

fn together(well: &[(&super::facts::Agent, Check)], disabled: usize) -> Option<String> {
    let stages = [
        Stage::Ready,
        Stage::Starting,
        Stage::Leaving,
        Stage::Stopped,
        Stage::Exited { failed: false },
    ];
    let mut parts: Vec<String> = stages
        .into_iter()
        .filter_map(|stage| {
            let in_it = |(agent, _): &&(&super::facts::Agent, Check)| {
                agent.life.as_ref().is_some_and(|life| life.stage == stage)
            };
            let n = well.iter().filter(in_it).count();
            (n > 0).then(|| format!("{n} {}", stage.as_str()))
        })
        .collect();
    if disabled > 0 {
        parts.push(format!("{disabled} disabled"));
    }
    (!parts.is_empty()).then(|| format!("as they should be: {}", parts.join(", ")))
}

/// Steps of cages that failed: one check for each step, not for each of two hundred agents.
fn open_cages(facts: &Fleet) -> Vec<Check> {
    let mut failed: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for agent in &facts.agents {
        let steps = agent.life.iter().flat_map(|life| &life.cage);
        for step in steps.filter(|step| step.outcome == CageOutcome::Failed) {
            match failed.iter_mut().find(|(name, ..)| *name == step.name) {
                Some((.., who)) => who.push(&agent.id),
                None => failed.push((&step.name, &step.detail, vec![&agent.id])),
            }
        }
    }
    failed
        .into_iter()
        .map(|(step, why, who)| {
            Check::warn(
                Area::Agents,
                format!("cage-{step}"),
                format!(
                    "{} run without the step `{step}` of the cage: {why}",
                    names(who.iter().copied())
                ),
                format!("`kennel doctor {}` shows all steps", who[0]),
            )
        })
        .collect()
}

fn channels(channels: &[Channel]) -> Vec<Check> {
    let area = Area::Channels;
    let judged = channels.iter().map(channel);
    let (well, ill): (Vec<_>, Vec<_>) = judged.partition(|check| check.state == State::Ok);
    let mut checks = Vec::new();
    if !well.is_empty() {
        let online = channels.iter();
        let online = online.filter(|one| one.state == Connection::Online).count();
        checks.push(Check::ok(
            area,
            "channels",
            format!("{online} of {} connected", count(channels.len(), "channel")),
        ));
    }
    checks.extend(ill);
    checks
}

fn channel(channel: &Channel) -> Check {
    let (area, id) = (Area::Channels, channel.id.as_str());
    let why = channel.detail.as_ref();
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    let since = ago(channel.since);
    let what = |what: &str| format!("`{id}` ({}) {what} for {since}{why}", channel.kind);
    match channel.state {
        Connection::Online => Check::ok(area, id, what("has been connected")),
        Connection::Stopped => Check::ok(area, id, what("has been off")),
        Connection::Connecting if channel.since < CONNECTING => {
            Check::ok(area, id, what("has been connecting"))
        }
        Connection::Connecting => Check::warn(
            area,
            id,
            what("has been connecting"),
            format!(
                "see whether this host reaches the platform; its settings are in [channels.{id}]"
            ),
        ),
        Connection::BackingOff => Check::warn(
            area,
            id,
            what("has not been connected"),
            "it is tried again by itself; see whether this host reaches the platform",
        ),
        Connection::Failed => Check::fail(
            area,
            id,
            what("has been refused"),
            format!(
                "mend [channels.{id}] (a wrong token, a ban), then `kennel shutdown` and `kennel up --detach`"
            ),
        ),
    }
}

#[cfg(test)]
mod tests;
