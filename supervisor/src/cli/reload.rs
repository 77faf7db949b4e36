//! `reload`: has the supervisor read its configuration again, and tells what that changes.

use std::fmt::Write as _;

use super::{
    args::Reload,
    exit::{Exit, Failure, Outcome},
    output::{Output, printable},
};
use crate::{
    client::Client,
    control::wire::{
        ReloadChange, ReloadKey, ReloadOutcome, ReloadReply, ReloadRequest, ReloadStep,
        ReloadSubject,
    },
};

pub(super) async fn run(client: &Client, args: &Reload, out: &Output) -> Outcome {
    let request = ReloadRequest {
        dry_run: args.dry_run,
        wait: !args.no_wait,
        timeout_ms: args
            .timeout
            .map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
    };
    let spinner = out.spinner("the supervisor reads its configuration");
    let answer = client.reload(&request).await;
    drop(spinner);
    let answer = answer?;
    let reply = &answer.value;
    if args.json {
        out.line(answer.json.trim_end())?;
    } else {
        out.text(printable(&plan(reply)))?;
        out.report(&reply.report);
    }
    verdict(reply, args.json, out)
}

/// How it ends, in words and by a code.
fn verdict(reply: &ReloadReply, json: bool, out: &Output) -> Outcome {
    let waits = reply.changes.iter().flat_map(|change| &change.keys);
    let waits = waits.filter(|key| waits_for_a_start(key)).count() > 0;
    match reply.outcome {
        ReloadOutcome::Refused => {
            let errors = reply.diagnostics.iter();
            let errors = errors.filter(|one| one.severity == "error").count();
            let s = if errors == 1 { "" } else { "s" };
            let message =
                format!("the configuration is refused, and nothing was changed: {errors} error{s}");
            let failure = Failure::new(message).exit(Exit::Usage);
            return Err(if json {
                failure
            } else {
                failure
                    .hint("mend it, and try again; `kennel check` looks at it without a supervisor")
            });
        }
        ReloadOutcome::Unchanged if !waits => out.note("nothing differs from what runs"),
        ReloadOutcome::Planned => out.note("nothing was changed: this was a dry run"),
        _ => {}
    }
    if waits {
        out.note(
            "what waits for a start of the supervisor takes `kennel shutdown`, then `kennel up`",
        );
    }
    match reply.troubles.as_slice() {
        [] => Ok(Exit::Ok),
        [trouble] => Err(Failure::new(printable(trouble))),
        troubles => Err(Failure::new(format!(
            "not all of it came about:\n  {}",
            printable(&troubles.join("\n  "))
        ))),
    }
}

fn waits_for_a_start(key: &ReloadKey) -> bool {
    key.effect == "supervisor-restart"
}

/// The changes, a line for each.
fn plan(reply: &ReloadReply) -> String {
    let mut text = String::new();
    for change in &reply.changes {
        let (now, later): (Vec<_>, Vec<_>) =
            change.keys.iter().partition(|key| !waits_for_a_start(key));
        if !now.is_empty() || later.is_empty() {
            writeln!(text, "{}", line(change, &now)).expect("a string takes everything");
        }
        if !later.is_empty() {
            let keys = keys(&later);
            writeln!(
                text,
                "! supervisor: {keys}: waits for a start of the supervisor"
            )
            .expect("a string takes everything");
        }
    }
    text
}

fn line(change: &ReloadChange, now: &[&ReloadKey]) -> String {
    let (sign, becomes) = match (change.what, change.step) {
        (_, ReloadStep::Added) => ('+', ""),
        (ReloadSubject::Agent, ReloadStep::Removed) => {
            ('-', "finishes its turns and ends; what it has kept stays")
        }
        (_, ReloadStep::Removed) => ('-', ""),
        (ReloadSubject::Agent, ReloadStep::Restarted) => ('~', "restarts after its turns"),
        (_, ReloadStep::Restarted) => ('~', "connects anew"),
        (ReloadSubject::Agent, ReloadStep::Changed) => ('~', "goes on"),
        (_, ReloadStep::Noted) => ('~', "is disabled"),
        _ => ('~', ""),
    };
    let what = match change.what {
        ReloadSubject::Agent => "agent",
        ReloadSubject::Channel => "channel",
        ReloadSubject::Provider => "provider",
        ReloadSubject::Class => "class",
        ReloadSubject::Bindings => "bindings",
        ReloadSubject::Supervisor => "supervisor",
        ReloadSubject::Unknown => "something",
    };
    let mut line = format!("{sign} {what}");
    if let Some(id) = &change.id {
        line = format!("{line} {id}");
    }
    for part in [becomes.to_owned(), keys(now)] {
        if !part.is_empty() {
            line = format!("{line}: {part}");
        }
    }
    line
}

/// `limits.memory none -> 64MiB, tools`.
fn keys(keys: &[&ReloadKey]) -> String {
    let one = |key: &&ReloadKey| {
        let mut text = key.name.clone();
        if let (Some(from), Some(to)) = (&key.from, &key.to) {
            text = format!("{text} {from} -> {to}");
        }
        if key.effect == "next-start" {
            text += " (from the next start on)";
        }
        text
    };
    keys.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply(value: serde_json::Value) -> ReloadReply {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_change_is_a_line() {
        let reply = reply(json!({
            "outcome": "planned",
            "changes": [
                { "what": "agent", "id": "new", "step": "added" },
                { "what": "agent", "id": "old", "step": "removed" },
                { "what": "agent", "id": "a", "step": "restarted", "keys": [
                    { "name": "model", "effect": "restart", "from": "p/a", "to": "p/b" },
                    { "name": "tools", "effect": "restart" },
                ] },
                { "what": "agent", "id": "b", "step": "changed", "keys": [
                    { "name": "limits.memory", "effect": "live", "from": "none", "to": "64MiB" },
                    { "name": "autostart", "effect": "next-start", "from": "true", "to": "false" },
                ] },
                { "what": "agent", "id": "off", "step": "noted", "keys": [{ "name": "tools", "effect": "restart" }] },
                { "what": "channel", "id": "tg", "step": "restarted", "keys": [{ "name": "token", "effect": "restart" }] },
                { "what": "channel", "id": "irc", "step": "removed" },
                { "what": "provider", "id": "local", "step": "changed" },
                { "what": "bindings", "step": "changed" },
                { "what": "supervisor", "step": "changed", "keys": [
                    { "name": "max_concurrent", "effect": "live", "from": "8", "to": "4" },
                    { "name": "http", "effect": "supervisor-restart" },
                ] },
            ],
        }));
        assert_eq!(
            plan(&reply),
            "+ agent new\n\
             - agent old: finishes its turns and ends; what it has kept stays\n\
             ~ agent a: restarts after its turns: model p/a -> p/b, tools\n\
             ~ agent b: goes on: limits.memory none -> 64MiB, autostart true -> false (from the next start on)\n\
             ~ agent off: is disabled: tools\n\
             ~ channel tg: connects anew: token\n\
             - channel irc\n\
             ~ provider local\n\
             ~ bindings\n\
             ~ supervisor: max_concurrent 8 -> 4\n\
             ! supervisor: http: waits for a start of the supervisor\n"
        );
    }

    #[test]
    fn the_code_says_how_it_went() {
        let out = Output::new(crate::cli::output::Verbosity::Quiet);
        for (value, exit) in [
            (json!({ "outcome": "applied" }), Exit::Ok),
            (json!({ "outcome": "unchanged" }), Exit::Ok),
            (json!({ "outcome": "planned" }), Exit::Ok),
            (json!({ "outcome": "refused" }), Exit::Usage),
            (
                json!({ "outcome": "applied", "troubles": ["no"] }),
                Exit::Failed,
            ),
        ] {
            let ended = verdict(&reply(value.clone()), false, &out);
            let exit_of = ended.unwrap_or_else(|failure| failure.exit);
            assert_eq!(exit_of, exit, "{value}");
        }
    }
}
