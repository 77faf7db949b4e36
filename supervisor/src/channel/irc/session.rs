//! One connection's conversation with the server, as a state machine. Pure: lines in, effects out.
//!
//! ```text
//! opening: [CAP REQ sasl] [PASS] NICK USER
//!   │ 433 nick in use ─► NICK nick_ (a few times)
//!   │ CAP ACK ─► AUTHENTICATE PLAIN ─► + ─► credentials ─► 903 ─► CAP END
//!   └─ 001 ─► online: JOIN …, messages
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use irc_proto::{CapSubCommand, Command, Message, Prefix};
use kennel_shared::envelope::{Peer, PeerKind};
use secrecy::{ExposeSecret as _, SecretString};

use super::words::{self, Said};
use crate::channel::ChannelError;

/// How often another nick is tried.
const NICK_TRIES: u32 = 4;
/// SASL takes its data in pieces of this size.
const SASL_PIECE: usize = 400;

/// An account at the network's services.
#[derive(Debug, Clone)]
pub struct Sasl {
    /// Its name.
    pub account: String,
    /// Its password.
    pub password: SecretString,
}

/// Who we are there.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) nick: String,
    pub(super) password: Option<SecretString>,
    pub(super) sasl: Option<Sasl>,
    pub(super) rooms: Vec<String>,
}

/// What a line brings about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Send this line.
    Send(String),
    /// We are in. The text says as whom.
    Online(String),
    /// Somebody said something to us.
    Heard(Heard),
    /// For the operator to see.
    Remark(String),
    /// The connection is of no use.
    Fail(ChannelError),
}

/// A message that is addressed to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) peer: Peer,
    /// The nick as its owner writes it.
    pub(super) nick: String,
    /// `nick!user@host`
    pub(super) full: String,
    pub(super) text: String,
}

#[derive(Debug)]
pub(super) struct Session {
    identity: Identity,
    nick: String,
    nick_tries: u32,
    online: bool,
}

impl Session {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            nick: identity.nick.clone(),
            identity,
            nick_tries: 0,
            online: false,
        }
    }

    /// The nick that we have, or try to have.
    pub(super) fn nick(&self) -> &str {
        &self.nick
    }

    /// The first lines; or what in the settings cannot be sent.
    pub(super) fn open(&self) -> Result<Vec<String>, ChannelError> {
        let Identity {
            nick,
            password,
            sasl,
            rooms,
        } = &self.identity;
        let odd = std::iter::once(nick)
            .chain(rooms)
            .find(|name| !words::is_plain(name));
        if let Some(odd) = odd {
            return Err(refused(
                format!("{odd:?} is not an IRC name"),
                "correct the nick or the rooms in the configuration",
            ));
        }
        let mut lines = Vec::new();
        if sasl.is_some() {
            lines.push("CAP REQ :sasl".to_owned());
        }
        if let Some(password) = password {
            let password = password.expose_secret();
            if password.contains(['\r', '\n', '\0']) {
                return Err(refused(
                    "the server password has a line break in it".into(),
                    "correct it where it is stored",
                ));
            }
            lines.push(format!("PASS :{password}"));
        }
        lines.push(format!("NICK {nick}"));
        lines.push("USER kennel 0 * :kennel".to_owned());
        Ok(lines)
    }

    /// What a line of the server brings about.
    pub(super) fn on_message(&mut self, message: &Message) -> Vec<Effect> {
        match &message.command {
            Command::PING(token, _) => vec![Effect::Send(format!("PONG :{token}"))],
            Command::ERROR(reason) => vec![Effect::Fail(ChannelError::lost(format!(
                "the server closed the connection: {reason}"
            )))],
            Command::PRIVMSG(target, text) => self.on_privmsg(message, target, text),
            Command::CAP(_, answer, a, b) => {
                self.on_cap(*answer, b.as_deref().or(a.as_deref()).unwrap_or(""))
            }
            Command::AUTHENTICATE(data) if data == "+" => self.credentials(),
            Command::NICK(new) => {
                if self.is_me(message.source_nickname()) {
                    self.nick.clone_from(new);
                    return vec![Effect::Remark(self.shown())];
                }
                vec![]
            }
            Command::KICK(room, who, reason) if self.is_me(Some(who)) => {
                let reason = reason.as_deref().unwrap_or("no reason given");
                vec![Effect::Remark(format!(
                    "{}; kicked from {room}: {reason}",
                    self.shown()
                ))]
            }
            Command::Response(code, args) => self.on_numeric(*code as u16, args),
            Command::Raw(code, args) => match code.parse() {
                Ok(code) => self.on_numeric(code, args),
                Err(_) => vec![],
            },
            _ => vec![],
        }
    }

    fn is_me(&self, nick: Option<&str>) -> bool {
        nick.is_some_and(|nick| words::lower(nick) == words::lower(&self.nick))
    }

    fn shown(&self) -> String {
        if self.nick == self.identity.nick {
            self.nick.clone()
        } else {
            format!("{} ({} was taken)", self.nick, self.identity.nick)
        }
    }

    fn on_numeric(&mut self, code: u16, args: &[String]) -> Vec<Effect> {
        let reason = args.last().map_or("", String::as_str);
        match code {
            1 if !self.online => self.on_welcome(args),
            432 if !self.online => fail(refused(
                format!(
                    "the server does not take the nick {:?}: {reason}",
                    self.nick
                ),
                "choose another nick",
            )),
            433 | 436 | 437 if !self.online => self.next_nick(),
            464 => fail(refused(
                format!("the server refuses the password: {reason}"),
                "check `password`",
            )),
            465 => fail(refused(
                format!("banned from the server: {reason}"),
                "ask the network's operators",
            )),
            902 | 904 | 905 | 906 | 908 => fail(refused(
                format!("the login was refused: {reason}"),
                "check the account and password under `sasl`",
            )),
            903 => vec![Effect::Send("CAP END".into())],
            // No such room, too many, it is full, by invitation, banned, key, bad name, registered nicks only.
            403 | 405 | 437 | 471 | 473 | 474 | 475 | 476 | 477 => {
                let room = args.get(1).map_or("a room", String::as_str);
                vec![Effect::Remark(format!(
                    "{}; cannot join {room}: {reason}",
                    self.shown()
                ))]
            }
            _ => vec![],
        }
    }

    fn on_welcome(&mut self, args: &[String]) -> Vec<Effect> {
        self.online = true;
        if let Some(nick) = args.first() {
            self.nick.clone_from(nick);
        }
        let joins = self
            .identity
            .rooms
            .iter()
            .map(|room| Effect::Send(format!("JOIN {room}")));
        std::iter::once(Effect::Online(self.shown()))
            .chain(joins)
            .collect()
    }

    fn next_nick(&mut self) -> Vec<Effect> {
        self.nick_tries += 1;
        if self.nick_tries > NICK_TRIES {
            let nick = &self.identity.nick;
            return fail(ChannelError::lost(format!(
                "the nick {nick} and its variants are in use"
            )));
        }
        self.nick.push('_');
        vec![Effect::Send(format!("NICK {}", self.nick))]
    }

    fn on_cap(&self, answer: CapSubCommand, capabilities: &str) -> Vec<Effect> {
        let sasl = capabilities.split_whitespace().any(|name| name == "sasl");
        match answer {
            CapSubCommand::ACK if sasl => vec![Effect::Send("AUTHENTICATE PLAIN".into())],
            CapSubCommand::NAK if sasl && self.identity.sasl.is_some() => fail(refused(
                "the server offers no SASL login".into(),
                "remove `sasl`, or use the server's password",
            )),
            _ => vec![],
        }
    }

    fn credentials(&self) -> Vec<Effect> {
        let Some(Sasl { account, password }) = &self.identity.sasl else {
            return vec![];
        };
        let plain = format!("\0{account}\0{}", password.expose_secret());
        let data = STANDARD.encode(plain);
        let mut pieces: Vec<&str> = Vec::new();
        let mut rest = data.as_str();
        while rest.len() >= SASL_PIECE {
            let (piece, tail) = rest.split_at(SASL_PIECE);
            pieces.push(piece);
            rest = tail;
        }
        // A piece that is not full ends the data.
        pieces.push(if rest.is_empty() { "+" } else { rest });
        let lines = pieces
            .into_iter()
            .map(|piece| format!("AUTHENTICATE {piece}"));
        lines.map(Effect::Send).collect()
    }

    fn on_privmsg(&self, message: &Message, target: &str, text: &str) -> Vec<Effect> {
        let Some(Prefix::Nickname(nick, user, host)) = &message.prefix else {
            return vec![];
        };
        if !self.online || self.is_me(Some(nick)) {
            return vec![];
        }
        let said = words::said(text);
        let (peer, text) = if self.is_me(Some(target)) {
            let text = match said {
                Said::Words(words) => words,
                Said::Action(action) => format!("* {nick} {action}"),
                Said::Ctcp(_) => return vec![],
            };
            (direct(nick), text)
        } else if words::is_room(target) {
            let Said::Words(words) = said else {
                return vec![];
            };
            let Some(text) = words::addressed(&words, &self.nick) else {
                return vec![];
            };
            (room(target), text.to_owned())
        } else {
            return vec![];
        };
        if text.trim().is_empty() {
            return vec![];
        }
        vec![Effect::Heard(Heard {
            peer,
            nick: nick.clone(),
            full: format!("{nick}!{user}@{host}"),
            text,
        })]
    }
}

fn direct(nick: &str) -> Peer {
    Peer {
        kind: PeerKind::Direct,
        id: words::lower(nick),
    }
}

fn room(name: &str) -> Peer {
    Peer {
        kind: PeerKind::Group,
        id: words::lower(name),
    }
}

fn refused(detail: String, hint: &str) -> ChannelError {
    ChannelError::Refused {
        detail,
        hint: hint.to_owned(),
    }
}

fn fail(error: ChannelError) -> Vec<Effect> {
    vec![Effect::Fail(error)]
}

#[cfg(test)]
mod tests;
