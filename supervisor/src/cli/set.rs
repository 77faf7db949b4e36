//! `set`: what an agent may use of the machine, shown and changed.
//!
//! With `--save` the edit of the configuration is tried first, then the change is made live, and only when that has
//! worked is the file written: what is refused by either changes nothing.

use std::path::PathBuf;

use super::{
    args::Set,
    exit::{Exit, Failure, Outcome},
    locate::Locator,
    output::Output,
    table::{self, CapRow},
};
use crate::{
    client::{Client, ClientError},
    config::{Amount, Edit, EditError, LimitChange, Limits},
    containment::Cap,
    control::wire,
};

pub(super) async fn run(client: &Client, args: &Set, locator: &Locator, out: &Output) -> Outcome {
    if args.changes.is_empty() {
        return show(client, args, out).await;
    }
    let changes = read(&args.changes)?;
    let edit = if args.save {
        Some(prepare(client, args, &changes, locator, out).await?)
    } else {
        None
    };
    match client.set_limits(&args.agent, &patch(&changes)).await {
        Ok(answer) => {
            if args.json {
                out.text(&answer.json)?;
            } else {
                out.text(changed(&answer.value))?;
            }
            if !answer.value.live {
                out.note(format_args!(
                    "{} does not run under them yet: they hold from its next start on",
                    args.agent
                ));
            }
        }
        // There is nothing to change but the file.
        Err(ClientError::NotRunning { .. }) if edit.is_some() => {
            out.note("no supervisor is running here: the change is only saved");
        }
        Err(error) => return Err(error.into()),
    }
    match edit {
        Some(edit) => save(&edit, &args.agent, out),
        None => Ok(Exit::Ok),
    }
}

async fn show(client: &Client, args: &Set, out: &Output) -> Outcome {
    let answer = client.limits(&args.agent).await?;
    if args.json {
        out.text(&answer.json)?;
        return Ok(Exit::Ok);
    }
    let limits = domain(&answer.value.limits);
    let rows = Cap::ALL.map(|cap| CapRow {
        cap: cap.as_str(),
        before: None,
        now: shown(&limits, cap),
        note: note(cap, &answer.value.unenforced),
    });
    out.text(table::caps(&rows, Output::width()))?;
    Ok(Exit::Ok)
}

fn read(changes: &[String]) -> Result<Vec<LimitChange>, Failure> {
    let mut read: Vec<LimitChange> = Vec::new();
    for text in changes {
        let change = LimitChange::read(text).map_err(|advice| {
            Failure::new(format!("`{text}` does not name a cap and its value"))
                .exit(Exit::Usage)
                .hint(advice)
        })?;
        if read.iter().any(|known| known.cap == change.cap) {
            return Err(Failure::new(format!("`{}` is given twice", change.cap)).exit(Exit::Usage));
        }
        read.push(change);
    }
    Ok(read)
}

/// Tries the edit in the configuration that the supervisor runs, or in the usual one when there is none.
async fn prepare(
    client: &Client,
    args: &Set,
    changes: &[LimitChange],
    locator: &Locator,
    out: &Output,
) -> Result<Edit, Failure> {
    let file = match client.status().await {
        Ok(answer) => PathBuf::from(answer.value.supervisor.config),
        Err(ClientError::NotRunning { .. }) => locator.config_file()?,
        Err(error) => return Err(error.into()),
    };
    locator
        .edit(&file, &args.agent, changes)
        .map_err(|error| failure(error, out).detail(format!("looked in: {}", file.display())))
}

fn save(edit: &Edit, agent: &str, out: &Output) -> Outcome {
    let path = edit.path().display();
    if edit.changes().is_empty() {
        out.note(format_args!("{path} says so already"));
        return Ok(Exit::Ok);
    }
    edit.write().map_err(|error| {
        let failure = failure(error, out);
        let hint = "what was changed live holds until the supervisor ends: save it again, or edit the file";
        failure.about("not saved").hint(hint)
    })?;
    let changes: Vec<_> = edit.changes().iter().map(ToString::to_string).collect();
    out.note(format_args!(
        "saved in {path}: agents.{agent}: {}",
        changes.join(", ")
    ));
    Ok(Exit::Ok)
}

fn failure(error: EditError, out: &Output) -> Failure {
    let failure = Failure::new(crate::error_chain(&error));
    match error {
        EditError::Broken(found) | EditError::Refused(found) => {
            out.diagnostics(&found);
            failure.exit(Exit::Usage)
        }
        EditError::Undeclared(_) => failure
            .exit(Exit::NoSuchAgent)
            .hint("`kennel status` lists the agents"),
        EditError::Layout(path) => failure.hint(format!(
            "set the caps by hand in {}, and leave out --save",
            path.display()
        )),
        EditError::Changed(_) => failure.hint("look at it, and try again"),
        EditError::Io { .. } => failure,
    }
}

fn patch(changes: &[LimitChange]) -> wire::LimitsPatch {
    let mut patch = wire::LimitsPatch::default();
    for change in changes {
        let mut limits = Limits::default();
        limits.set(change.cap, change.amount);
        match change.cap {
            Cap::Memory => patch.memory = Some(limits.memory),
            Cap::MemoryHigh => patch.memory_high = Some(limits.memory_high),
            Cap::Cpu => patch.cpu = Some(limits.cpu),
            Cap::CpuWeight => patch.cpu_weight = Some(limits.cpu_weight),
            Cap::Pids => patch.pids = Some(limits.pids),
            Cap::OpenFiles => patch.open_files = Some(limits.open_files),
            Cap::IoWeight => patch.io_weight = Some(limits.io_weight),
        }
    }
    patch
}

/// A row for each cap that is not as it was; all of them where none is.
fn changed(reply: &wire::LimitsReply) -> String {
    let (before, now) = (domain(&reply.before), domain(&reply.limits));
    let row = |cap: Cap| CapRow {
        cap: cap.as_str(),
        before: Some(shown(&before, cap)),
        now: shown(&now, cap),
        note: note(cap, &reply.unenforced),
    };
    let differs = |cap: &Cap| before.get(*cap) != now.get(*cap);
    let mut rows: Vec<CapRow> = Cap::ALL.into_iter().filter(differs).map(row).collect();
    if rows.is_empty() {
        rows = Cap::ALL.into_iter().map(row).collect();
    }
    table::caps(&rows, Output::width())
}

fn shown(limits: &Limits, cap: Cap) -> String {
    match (limits.get(cap), cap, limits.memory) {
        (Some(amount), ..) => amount.to_string(),
        // Nothing was asked for, and still there is something.
        (None, Cap::MemoryHigh, Some(memory)) => {
            format!("(90 % of {})", Amount::Bytes(memory))
        }
        (None, ..) => "none".to_owned(),
    }
}

fn note(cap: Cap, unenforced: &[wire::UnenforcedCap]) -> String {
    let one = unenforced.iter().find(|one| one.cap == cap.as_str());
    one.map_or_else(String::new, |one| {
        format!("not enforced: {} ({})", one.why, one.remedy)
    })
}

/// Caps of the API as the configuration knows them.
pub(super) fn domain(limits: &wire::Limits) -> Limits {
    Limits {
        memory: limits.memory,
        memory_high: limits.memory_high,
        cpu: limits.cpu,
        cpu_weight: limits.cpu_weight,
        pids: limits.pids,
        open_files: limits.open_files,
        io_weight: limits.io_weight,
    }
}
