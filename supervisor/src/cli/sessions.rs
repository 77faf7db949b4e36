//! `sessions`: what was said, read from the agents' own stores.
//!
//! The supervisor has no part in it: `kennel-agent-host sessions` reads, as whom the store belongs to ([`reader`]), and
//! what it prints is passed on or drawn. Only to delete a session of an agent that runs, the supervisor is asked to ask
//! the agent.

mod draw;
mod reader;

use std::{fs::File, os::unix::fs::OpenOptionsExt as _, path::Path};

use kennel_shared::{
    ids::AgentId,
    session_key::SessionKey,
    sessions::{Ask, Line, TroubleCode},
};

use self::reader::{Reader, ReaderFailure};
use super::{
    args::{self, Sessions},
    block_on,
    exit::{Exit, Failure, Outcome},
    locate::Locator,
    output::Output,
};
use crate::{
    client::{Client, ClientError},
    config::Config,
    control::wire::ErrorCode,
};

pub(super) fn run(sessions: &Sessions, locator: &Locator, out: &Output) -> Outcome {
    let file = locator.config_file()?;
    let config = locator.load(&file, out)?.config;
    match sessions {
        Sessions::List(list) => self::list(list, &config, out),
        Sessions::Show(show) => {
            let ask = Ask::Show {
                session: show.session.clone(),
                limit: show.last,
                before: show.before,
            };
            let reader = reader_of(&config, &show.session.agent())?;
            print(&reader, ask, show.json, out)
        }
        Sessions::Search(search) => self::search(search, &config, out),
        Sessions::Export(export) => {
            let session = &export.session;
            let reader = reader_of(&config, &session.agent())?;
            self::export(&reader, session, export.output.as_deref(), out)
        }
        Sessions::Delete(delete) => {
            let reader = reader_of(&config, &delete.session.agent());
            self::delete(reader, &delete.session, delete.json, locator, out)
        }
    }
}

fn list(list: &args::List, config: &Config, out: &Output) -> Outcome {
    let agents: Vec<AgentId> = if list.agents.is_empty() {
        config.agents.keys().cloned().collect()
    } else {
        let ids = list.agents.iter().map(|id| agent_id(config, id));
        ids.collect::<Result<_, _>>()?
    };
    let mut sessions = Vec::new();
    for agent in agents {
        let ask = Ask::List { limit: list.last };
        match reader_of(config, &agent) {
            // It has never been started.
            Err(ReaderFailure::NoFolder(_)) => {}
            reader if list.json => {
                reader?.pass_on(ask)?;
            }
            reader => reader?.read(ask, |line| {
                match line {
                    Line::Session(session) => sessions.push(session),
                    Line::More {
                        omitted: Some(omitted),
                        ..
                    } => out.note(format_args!("{agent} has {omitted} more: see --last")),
                    _ => {}
                }
                Ok(())
            })?,
        }
    }
    if !list.json {
        out.text(draw::sessions(&sessions))?;
    }
    Ok(Exit::Ok)
}

fn search(search: &args::Search, config: &Config, out: &Output) -> Outcome {
    let agent = agent_id(config, &search.agent)?;
    if let Some(session) = search.session.as_ref().filter(|one| one.agent() != agent) {
        let message = format!("`{session}` is no session of `{agent}`");
        return Err(Failure::new(message).exit(Exit::Usage));
    }
    let ask = Ask::Search {
        session: search.session.clone(),
        text: search.text.clone(),
        limit: search.last,
        before: search.before,
    };
    print(&reader_of(config, &agent)?, ask, search.json, out)
}

/// Prints messages.
fn print(reader: &Reader, ask: Ask, json: bool, out: &Output) -> Outcome {
    if json {
        reader.pass_on(ask)?;
        return Ok(Exit::Ok);
    }
    let searched = matches!(ask, Ask::Search { .. });
    reader.read(ask, |line| {
        match line {
            Line::Message(message) => out.line(draw::message(&message))?,
            Line::More {
                before: Some(before),
                ..
            } if searched => {
                out.note(format_args!(
                    "not all was looked through: go on with --before {before}"
                ));
            }
            Line::More {
                before: Some(before),
                omitted,
            } => {
                let omitted = omitted.unwrap_or_default();
                out.note(format_args!(
                    "{omitted} older messages: see --last, and --before {before}"
                ));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(Exit::Ok)
}

fn export(reader: &Reader, session: &SessionKey, file: Option<&Path>, out: &Output) -> Outcome {
    let ask = Ask::Export {
        session: session.clone(),
    };
    let Some(path) = file else {
        reader.pass_on(ask)?;
        return Ok(Exit::Ok);
    };
    // What was said in private stays so.
    let created = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let file = created.map_err(|error| {
        Failure::new(format!("{} cannot be made: {error}", path.display()))
            .hint("a file that is there already is not overwritten")
    })?;
    if let Err(error) = reader.pass_on_to(ask, file) {
        // Half an export is none.
        let _ = std::fs::remove_file(path);
        return Err(error.into());
    }
    out.note(format_args!("{session} is in {}", path.display()));
    Ok(Exit::Ok)
}

fn delete(
    reader: Result<Reader, ReaderFailure>,
    session: &SessionKey,
    json: bool,
    locator: &Locator,
    out: &Output,
) -> Outcome {
    let ask = Ask::Delete {
        session: session.clone(),
    };
    let mut messages = 0;
    let at_rest = reader.and_then(|reader| {
        reader.read(ask, |line| {
            if let Line::Deleted { messages: deleted } = line {
                messages = deleted;
            }
            Ok(())
        })
    });
    match at_rest {
        Ok(()) => {}
        // Only it may write to its store; and whom it belongs to need not be whoever asks.
        Err(error) if error.code() == Some(TroubleCode::Running) || error.is_denied() => {
            let client = Client::new(locator.socket(out)?);
            messages = ask_agent(&client, session, error)?;
        }
        Err(error) => return Err(error.into()),
    }
    if json {
        out.line(serde_json::json!({ "session": session, "messages": messages }))?;
    } else {
        let noun = if messages == 1 { "message" } else { "messages" };
        out.line(format_args!("{session}: deleted, {messages} {noun}"))?;
    }
    Ok(Exit::Ok)
}

/// Has the agent delete it. `otherwise` is why it could not be done without.
fn ask_agent(
    client: &Client,
    session: &SessionKey,
    otherwise: ReaderFailure,
) -> Result<u64, Failure> {
    let id = session.agent();
    let asked = async { Ok(client.delete_session(id.as_str(), session.as_str()).await) };
    match block_on(asked)? {
        Ok(answer) => Ok(answer.value.messages),
        Err(ClientError::NotRunning { .. }) if otherwise.is_denied() => Err(otherwise.into()),
        Err(ClientError::NotRunning { .. }) => Err(Failure::from(otherwise).hint(
            "its supervisor is gone: start one with `kennel up`, or wait until the agent leaves",
        )),
        // It does not run, or is none of this supervisor's: then whose store it is matters.
        Err(ClientError::Api { error, .. })
            if otherwise.is_denied()
                && matches!(error.code, ErrorCode::Denied | ErrorCode::AgentNotFound)
                && !error.message.contains("a turn of") =>
        {
            Err(otherwise.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn agent_id(config: &Config, id: &str) -> Result<AgentId, Failure> {
    AgentId::new(id).map_err(|error| {
        let known: Vec<&str> = config.agents.keys().map(AgentId::as_str).collect();
        Failure::new(format!("no agent is called `{id}`: {error}"))
            .exit(Exit::NoSuchAgent)
            .hint(format!("the configuration has {}", known.join(", ")))
    })
}

/// For an agent of the configuration, or one that was in it once.
fn reader_of(config: &Config, agent: &AgentId) -> Result<Reader, ReaderFailure> {
    let known = config.agents.contains_key(agent);
    Reader::new(agent, &config.supervisor.agent_dir(agent), known)
}
