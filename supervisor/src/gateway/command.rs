//! What people may tell the supervisor from a chat, instead of the agent. Pure.
//!
//! | command | does |
//! | --- | --- |
//! | `/queue`, `/queue <mode>` | says how messages wait in this chat, or changes it |
//! | `/stop` | ends the turn that runs and drops what waits |
//! | `/new` | begins a new conversation; the old one is kept |
//! | `/status` | says how the agent is, and what waits |
//! | `/whoami` | says as whom one is known here |
//!
//! Everything else that begins with a slash goes to the agent.

use crate::dispatch::gather::Mode;

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// Says how messages wait.
    ShowQueue,
    /// Has them wait so.
    Queue(Mode),
    /// Has them wait as the configuration says.
    QueueDefault,
    /// There is no such mode.
    UnknownMode(&'a str),
    Stop,
    New,
    Status,
    WhoAmI,
}

/// Reads a message; `None` of one for the agent. Platforms put the name of a bot behind a command in groups: `/stop@Bot`.
pub(super) fn read(text: &str) -> Option<Command<'_>> {
    let rest = text.trim().strip_prefix('/')?;
    let mut words = rest.split_whitespace();
    let word = words.next()?;
    let (name, _bot) = word.split_once('@').unwrap_or((word, ""));
    let argument = words.next();
    if words.next().is_some() {
        return None;
    }
    Some(match (name.to_lowercase().as_str(), argument) {
        ("queue", None) => Command::ShowQueue,
        ("queue", Some("default")) => Command::QueueDefault,
        ("queue", Some(mode)) => {
            let named = Mode::ALL.into_iter().find(|known| known.as_str() == mode);
            named.map_or(Command::UnknownMode(mode), Command::Queue)
        }
        ("stop", None) => Command::Stop,
        ("new", None) => Command::New,
        ("status", None) => Command::Status,
        ("whoami", None) => Command::WhoAmI,
        _ => return None,
    })
}

/// The modes, for people.
pub(super) fn modes() -> String {
    let modes: Vec<&str> = Mode::ALL.iter().map(|mode| mode.as_str()).collect();
    modes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        for (text, command) in [
            ("/queue", Command::ShowQueue),
            (" /Queue  followup ", Command::Queue(Mode::Followup)),
            ("/queue collect", Command::Queue(Mode::Collect)),
            ("/queue interrupt", Command::Queue(Mode::Interrupt)),
            ("/queue steer", Command::Queue(Mode::Steer)),
            ("/queue default", Command::QueueDefault),
            ("/queue nonsense", Command::UnknownMode("nonsense")),
            ("/stop@KennelBot", Command::Stop),
            ("/new", Command::New),
            ("/status", Command::Status),
            ("/WHOAMI", Command::WhoAmI),
        ] {
            assert_eq!(read(text), Some(command), "{text}");
        }
    }

    #[test]
    fn the_rest_is_for_the_agent() {
        for text in [
            "",
            "/",
            "stop",
            "/start",
            "/stopping",
            "/stop it now",
            "/new idea please",
            "say /stop",
            "/queue collect now",
            "//stop",
            "/status of the project",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
