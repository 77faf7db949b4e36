//! Who a message is for. Pure: bindings in, agent and session key out.
//!
//! The most exact binding wins: channel and peer, then channel and kind of peer, then channel, then
//! the default agent.

use std::collections::HashMap;

use kennel_shared::{
    envelope::{Envelope, PeerKind},
    ids::{AgentId, ChannelId},
    session_key::{InvalidSessionKey, SessionKey},
};
use thiserror::Error;

use super::gather::Queueing;
use crate::config::QueuePatch;

/// One rule: messages of `channel`, narrowed by what else is given, go to `agent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The account.
    pub channel: ChannelId,
    /// Only this peer.
    pub peer: Option<String>,
    /// Only this kind of peer.
    pub kind: Option<PeerKind>,
    /// Who answers.
    pub agent: AgentId,
}

/// Why a message has nobody to go to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unroutable {
    /// No binding matches and there is no default agent.
    #[error("no binding matches, and there is no default agent")]
    NoBinding,
    /// The peer's id cannot be part of a session key.
    #[error("the peer cannot be part of a session key")]
    Peer(#[from] InvalidSessionKey),
}

/// The rules, by how exact they are.
#[derive(Debug, Clone, Default)]
pub struct Router {
    rules: HashMap<(ChannelId, Option<PeerKind>, Option<String>), AgentId>,
    default: Option<AgentId>,
    queueing: HashMap<AgentId, Queueing>,
    by_channel: HashMap<ChannelId, QueuePatch>,
}

impl Router {
    /// A router over `bindings`; of two that say the same, the first counts.
    pub fn new(bindings: impl IntoIterator<Item = Binding>, default: Option<AgentId>) -> Self {
        let mut rules = HashMap::new();
        for binding in bindings {
            let Binding {
                channel,
                peer,
                kind,
                agent,
            } = binding;
            rules.entry((channel, kind, peer)).or_insert(agent);
        }
        Self {
            rules,
            default,
            ..Self::default()
        }
    }

    /// How messages wait: as the agent says, but for what the channel says.
    #[must_use]
    pub fn with_queueing(
        self,
        agents: impl IntoIterator<Item = (AgentId, Queueing)>,
        channels: impl IntoIterator<Item = (ChannelId, QueuePatch)>,
    ) -> Self {
        Self {
            queueing: agents.into_iter().collect(),
            by_channel: channels.into_iter().collect(),
            ..self
        }
    }

    /// How a message of this channel waits for this agent.
    pub fn queueing(&self, agent: &str, channel: &ChannelId) -> Queueing {
        let agent = self.queueing.get(agent).copied();
        let channel = self.by_channel.get(channel).copied().unwrap_or_default();
        channel.over(agent.unwrap_or(QueuePatch::DEFAULT))
    }

    /// The agent and the conversation of a message.
    pub fn route(&self, envelope: &Envelope) -> Result<SessionKey, Unroutable> {
        let (channel, kind, peer) = (&envelope.channel, envelope.peer.kind, &envelope.peer.id);
        let agent = [
            (Some(kind), Some(peer.clone())),
            (None, Some(peer.clone())),
            (Some(kind), None),
            (None, None),
        ]
        .into_iter()
        .find_map(|(kind, peer)| self.rules.get(&(channel.clone(), kind, peer)))
        .or(self.default.as_ref())
        .ok_or(Unroutable::NoBinding)?;
        Ok(SessionKey::for_peer(agent, channel, kind, peer)?)
    }
}

#[cfg(test)]
mod tests {
    use kennel_shared::envelope::{Peer, Sender};

    use super::*;

    fn envelope(channel: &str, kind: PeerKind, peer: &str) -> Envelope {
        Envelope {
            channel: channel.parse().unwrap(),
            peer: Peer {
                kind,
                id: peer.into(),
            },
            sender: Sender {
                id: "1".into(),
                name: None,
            },
            message_id: "1".into(),
            text: "hi".into(),
            sent_at_ms: 0,
        }
    }

    fn binding(channel: &str, kind: Option<PeerKind>, peer: Option<&str>, agent: &str) -> Binding {
        Binding {
            channel: channel.parse().unwrap(),
            peer: peer.map(Into::into),
            kind,
            agent: agent.parse().unwrap(),
        }
    }

    #[test]
    fn the_most_exact_binding_wins() {
        let router = Router::new(
            [
                binding("tg", None, None, "all"),
                binding("tg", Some(PeerKind::Group), None, "groups"),
                binding("tg", None, Some("42"), "friend"),
            ],
            Some("default".parse().unwrap()),
        );
        let cases = [
            (
                envelope("tg", PeerKind::Direct, "1"),
                "agent:all:tg:direct:1",
            ),
            (
                envelope("tg", PeerKind::Group, "-7"),
                "agent:groups:tg:group:-7",
            ),
            (
                envelope("tg", PeerKind::Direct, "42"),
                "agent:friend:tg:direct:42",
            ),
            (
                envelope("irc", PeerKind::Direct, "bob"),
                "agent:default:irc:direct:bob",
            ),
        ];
        for (envelope, expected) in cases {
            assert_eq!(router.route(&envelope).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn without_a_default_a_message_may_have_nobody() {
        let router = Router::new([], None);
        assert_eq!(
            router.route(&envelope("tg", PeerKind::Direct, "1")),
            Err(Unroutable::NoBinding)
        );
    }

    #[test]
    fn a_hostile_peer_is_refused() {
        let router = Router::new([], Some("a".parse().unwrap()));
        let result = router.route(&envelope("irc", PeerKind::Direct, "bob\r\nQUIT"));
        assert!(matches!(result, Err(Unroutable::Peer(_))));
    }
}
