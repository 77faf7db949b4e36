//! An agent's end of its link, connected or not.
//!
//! The session is there from the spawn on, so that messages can be queued before the child connects
//! and while it reconnects. Tokens rotate: see [`tokens`](super::tokens).
//!
//! The link has a name. A child that names it goes on with it; one that names another, which a supervisor
//! before this one gave it, begins it.

use std::{
    collections::HashSet,
    future::pending,
    time::{Duration, Instant},
};

use kennel_shared::{
    ids::TurnId,
    link::{Incoming, Link, LinkError, Session, Violation},
    protocol::{
        Delivery, Hello, LinkId, PROTOCOL_BEFORE, Position, Refusal, ToAgent, ToSupervisor,
    },
    secret::Token,
};
use tokio::time::sleep_until;
use tracing::error;

use super::{
    allowance::Allowance,
    now,
    tokens::{TokenNews, Tokens},
};
use crate::{journal::entry::TokenDigests, supervision::links::LinkStream};

/// More heartbeats in a second than this are a flood.
const HEARTBEATS_PER_SECOND: u32 = 50;

enum Connection {
    Down(Session<ToAgent>),
    Up(Box<Link<LinkStream, ToAgent, ToSupervisor>>),
}

/// With so many messages on their way to an agent, it is offered nothing that can wait.
const OFFERS: usize = 64;

/// Turns to which something could not be offered.
#[derive(Debug, Default)]
struct Offers(HashSet<TurnId>);

impl Offers {
    /// Whether a turn is to be offered something now, of an agent that reads it, or does not.
    fn may(&mut self, turn: TurnId, reads: bool) -> bool {
        if !reads {
            self.0.insert(turn);
        }
        !self.0.contains(&turn)
    }

    fn over(&mut self, turn: TurnId) {
        self.0.remove(&turn);
    }
}

/// How a child is let in.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) next_token: Token,
    pub(super) link: LinkId,
    pub(super) resume: Position,
    pub(super) attempt: u64,
}

/// See the module.
pub(super) struct LinkSlot {
    connection: Connection,
    id: LinkId,
    /// `None` while there is no child.
    tokens: Option<Tokens>,
    /// Counts welcomes; only the last may attach.
    attempt: u64,
    /// Where the child stands that was welcomed last.
    peer: Position,
    /// Whether that is of the version before.
    is_older: bool,
    offers: Offers,
    /// Heartbeats in the second that began then.
    beats: Option<(Instant, u32)>,
    /// What the agent had acknowledged, and since when no more with something outstanding.
    progress: Option<(u64, Instant)>,
    /// How much more is read now.
    allowance: Allowance,
}

impl Default for LinkSlot {
    /// For no child: nobody can connect.
    fn default() -> Self {
        Self {
            connection: Connection::Down(Session::default()),
            id: LinkId::random(),
            tokens: None,
            attempt: 0,
            peer: Position::default(),
            is_older: false,
            offers: Offers::default(),
            beats: None,
            progress: None,
            allowance: Allowance::default(),
        }
    }
}

impl LinkSlot {
    /// For a child that was given `token`.
    pub(super) fn for_child(token: Token) -> Self {
        Self {
            tokens: Some(Tokens::of_child(token)),
            ..Self::default()
        }
    }

    /// For a child of a supervisor that died.
    pub(super) fn for_adopted(tokens: TokenDigests) -> Self {
        Self {
            tokens: Some(Tokens::adopted(tokens)),
            ..Self::default()
        }
    }

    /// Tokens that are to be written down, once.
    pub(super) fn token_news(&mut self) -> Option<TokenNews> {
        self.tokens.as_mut()?.news()
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.connection, Connection::Up(_))
    }

    /// Offers a message to a turn: of an agent that knows what that is, and reads what it is sent. Once one was left out,
    /// that turn is offered no more: it takes them in order.
    pub(super) fn offer(&mut self, delivery: Delivery) {
        let reads = match &self.connection {
            Connection::Up(link) => !self.is_older && link.unacknowledged() < OFFERS,
            Connection::Down(_) => false,
        };
        if self.offers.may(delivery.turn, reads) {
            self.send(ToAgent::Steer(delivery));
        }
    }

    /// A turn has ended: nothing more is offered to it.
    pub(super) fn turn_over(&mut self, turn: TurnId) {
        self.offers.over(turn);
    }

    /// Queues a message. More than the queue holds cannot come from a dispatcher that keeps to the
    /// agent's limits, so a full queue is an error of this program.
    pub(super) fn send(&mut self, message: ToAgent) {
        let sent = match &mut self.connection {
            Connection::Down(session) => session.send(message),
            Connection::Up(link) => link.send(message),
        };
        if let Err(error) = sent {
            error!(%error, "a message to an agent was dropped");
        }
    }

    /// The next thing from the agent, not before its allowance has something left; never, while it is not
    /// connected. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Incoming<ToSupervisor>, LinkError> {
        if self.is_up()
            && let Some(until) = self.allowance.pause(now())
        {
            // What is to be written waits as well: a few milliseconds, and only for this agent.
            sleep_until(until.into()).await;
        }
        self.next_at_once().await
    }

    /// The next thing from the agent, whatever it has said before. Cancel-safe.
    pub(super) async fn next_at_once(&mut self) -> Result<Incoming<ToSupervisor>, LinkError> {
        let incoming = match &mut self.connection {
            Connection::Down(_) => return pending().await,
            Connection::Up(link) => link.next().await,
        };
        if let Ok(incoming) = &incoming {
            // It speaks, so it has the new token.
            if let Some(tokens) = &mut self.tokens {
                tokens.spoken();
            }
            if let Incoming::Message(message) = incoming {
                self.allowance.charge(message, now());
            }
        }
        incoming
    }

    /// Checks a hello of the right process and generation. A link that is still up belongs to the
    /// same child, which has given it up.
    pub(super) fn welcome(&mut self, hello: &Hello) -> Result<Admission, Refusal> {
        let tokens = self.tokens.as_mut().ok_or(Refusal::UnknownAgent)?;
        let next_token = tokens.check(&hello.token).ok_or(Refusal::Token)?;
        self.lose();
        let Connection::Down(session) = &mut self.connection else {
            unreachable!("just lost");
        };
        let goes_on = hello.link == self.id;
        self.peer = if goes_on {
            hello.resume
        } else {
            Session::<ToSupervisor>::default().position()
        };
        session.resume(self.peer).map_err(|_| Refusal::Resume)?;
        self.is_older = hello.protocol == PROTOCOL_BEFORE;
        self.attempt += 1;
        Ok(Admission {
            next_token,
            link: self.id,
            resume: session.position(),
            attempt: self.attempt,
        })
    }

    /// Takes the connection that was welcomed as `attempt`.
    pub(super) fn attach(&mut self, stream: LinkStream, attempt: u64) -> Result<(), Violation> {
        if attempt != self.attempt {
            return Ok(());
        }
        if let Connection::Down(session) = &mut self.connection {
            let link = Link::resume(stream, std::mem::take(session), self.peer)?;
            self.connection = Connection::Up(Box::new(link));
            self.beats = None;
            self.progress = None;
        }
        Ok(())
    }

    /// Gives the connection up and keeps the session.
    pub(super) fn lose(&mut self) {
        let taken = std::mem::replace(&mut self.connection, Connection::Down(Session::default()));
        self.connection = match taken {
            Connection::Up(link) => Connection::Down(link.into_session()),
            down @ Connection::Down(_) => down,
        };
    }

    /// Answers a heartbeat with an acknowledgement, and looks whether the agent still reads: one
    /// that has acknowledged nothing for `patience` with something outstanding does not.
    pub(super) fn on_heartbeat(
        &mut self,
        now: Instant,
        patience: Duration,
    ) -> Result<(), &'static str> {
        let Connection::Up(link) = &mut self.connection else {
            return Ok(());
        };
        link.acknowledge();
        let (since, count) = match self.beats {
            Some((since, count)) if now.duration_since(since) < Duration::from_secs(1) => {
                (since, count + 1)
            }
            _ => (now, 1),
        };
        self.beats = Some((since, count));
        if count > HEARTBEATS_PER_SECOND {
            return Err("it floods heartbeats");
        }
        let acknowledged = link.acknowledged();
        self.progress = match self.progress {
            _ if link.unacknowledged() == 0 => None,
            Some((before, since)) if before == acknowledged => Some((before, since)),
            _ => Some((acknowledged, now)),
        };
        match self.progress {
            Some((_, since)) if now.duration_since(since) > patience => Err("it stopped reading"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_was_passed_over_once_is_offered_no_more() {
        let (mut offers, one, two) = (Offers::default(), TurnId::new(), TurnId::new());
        assert!(offers.may(one, true));
        assert!(!offers.may(one, false));
        assert!(!offers.may(one, true), "it would be out of order");
        assert!(offers.may(two, true));
        offers.over(one);
        assert!(offers.0.is_empty());
    }
}
