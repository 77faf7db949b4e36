//! `kennel sessions`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueHint};
use kennel_shared::{session_key::SessionKey, sessions::LISTED_MAX};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Sessions {
    /// List sessions, those that were used last first
    List(List),
    /// Show the last messages of a session
    Show(Show),
    /// Write a whole session as JSON Lines
    ///
    /// One JSON object a line: first what is exported, with the version of the format, then each message, and behind the
    /// last one of a turn how that went, as long as it is known; last of all, that this was all. A session of any length
    /// takes no more memory than a short one. docs/sessions.md describes the lines.
    Export(Export),
    /// Find messages that have a text
    ///
    /// Newest first; upper and lower case are the same. So much is looked through at a time; where there is more, it is
    /// said how to go on.
    Search(Search),
    /// Delete a session for good
    ///
    /// A session of which a turn is running is not deleted. An agent that is running deletes it by itself, beside its work;
    /// it forgets what was said, and not which messages it has answered.
    Delete(Delete),
}

/// A session's key, with or without `agent:` in front.
fn session(text: &str) -> Result<SessionKey, String> {
    let whole = if text.starts_with("agent:") {
        text.parse::<SessionKey>()
    } else {
        format!("agent:{text}").parse()
    };
    whole.map_err(|error| error.to_string())
}

fn limit() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(LISTED_MAX))
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct List {
    /// Only those of these agents
    #[arg(value_name = "AGENT")]
    pub(in crate::cli) agents: Vec<String>,

    /// How many of each agent at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, value_parser = limit())]
    pub(in crate::cli) last: u32,

    /// Print one JSON object per line
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Show {
    /// Which, as `kennel sessions list` shows it
    #[arg(value_parser = session)]
    pub(in crate::cli) session: SessionKey,

    /// How many messages
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = limit())]
    pub(in crate::cli) last: u32,

    /// Only those before the message with this number
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) before: Option<i64>,

    /// Print one JSON object per line
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Export {
    /// Which, as `kennel sessions list` shows it
    #[arg(value_parser = session)]
    pub(in crate::cli) session: SessionKey,

    /// Into this file, which must not be there yet; else to standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(in crate::cli) output: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Search {
    /// In the sessions of this agent
    pub(in crate::cli) agent: String,

    /// Which text
    pub(in crate::cli) text: String,

    /// Only in this session
    #[arg(short, long, value_name = "SESSION", value_parser = session)]
    pub(in crate::cli) session: Option<SessionKey>,

    /// How many messages
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = limit())]
    pub(in crate::cli) last: u32,

    /// Only those before the message with this number
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) before: Option<i64>,

    /// Print one JSON object per line
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Delete {
    /// Which, as `kennel sessions list` shows it
    #[arg(value_parser = session)]
    pub(in crate::cli) session: SessionKey,

    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_be_short() {
        let whole = session("agent:hexa:tg:direct:42").unwrap();
        assert_eq!(session("hexa:tg:direct:42").unwrap(), whole);
        assert!(session("hexa").is_err() && session("agent:hexa").is_err());
    }
}
