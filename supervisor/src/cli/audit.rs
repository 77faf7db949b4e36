//! `audit`: what operators did.

use super::{
    args,
    exit::{Exit, Outcome},
    output::{Output, printable},
    units,
};
use crate::{
    client::Client,
    control::wire::{AuditEntry, AuditQuery},
};

pub(super) async fn run(client: &Client, args: &args::Audit, out: &Output) -> Outcome {
    let query = AuditQuery {
        limit: args.lines,
        before: args.before,
    };
    let audit = client.audit(query).await?;
    if args.json {
        out.line(audit.json.trim_end())?;
        return Ok(Exit::Ok);
    }
    if audit.value.entries.is_empty() {
        out.note("nothing is written down");
    }
    // Oldest first, as logs are read.
    for entry in audit.value.entries.iter().rev() {
        out.line(printable(&line(entry)))?;
    }
    Ok(Exit::Ok)
}

fn line(entry: &AuditEntry) -> String {
    let at = units::time(entry.at_ms);
    let agent = entry.agent.as_deref().unwrap_or("-");
    format!("{at} {agent} {}: {}", entry.what, entry.detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each() {
        let entry = AuditEntry {
            id: 1,
            at_ms: 1_000,
            what: "restart".into(),
            agent: Some("hexa".into()),
            detail: "by the control API".into(),
        };
        assert_eq!(
            line(&entry),
            "1970-01-01T00:00:01.000Z hexa restart: by the control API"
        );
    }
}
