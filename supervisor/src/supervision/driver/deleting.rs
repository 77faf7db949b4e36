//! Who waits for an agent to delete a session.

use kennel_shared::{
    protocol::{Deletion, ToAgent},
    session_key::SessionKey,
};
use tokio::sync::oneshot;

use super::{handle::Deleted, slot::LinkSlot};

/// So many may wait for one agent. More are turned away: an answer takes milliseconds.
const WAITING: usize = 32;

/// Those who wait, of the present life of the agent.
#[derive(Debug, Default)]
pub(super) struct Deleting(Vec<(SessionKey, oneshot::Sender<Deleted>)>);

impl Deleting {
    /// Asks the agent, if it can be asked.
    pub(super) fn ask(
        &mut self,
        session: SessionKey,
        reply: oneshot::Sender<Deleted>,
        link: &mut LinkSlot,
    ) {
        self.0.retain(|(_, waiting)| !waiting.is_closed());
        let refused = if !link.is_up() {
            Deleted::NotRunning
        } else if self.0.len() >= WAITING {
            Deleted::TooMany
        } else {
            link.send(ToAgent::DeleteSession(session.clone()));
            self.0.push((session, reply));
            return;
        };
        // Who asked may have stopped waiting.
        let _ = reply.send(refused);
    }

    /// The agent has answered: the same to all who asked for it.
    pub(super) fn answered(&mut self, session: &SessionKey, deletion: Deletion) {
        for (_, reply) in self.0.extract_if(.., |(asked, _)| asked == session) {
            let _ = reply.send(Deleted::Said(deletion));
        }
    }

    /// The agent has ended.
    pub(super) fn end(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_be_asked_says_so_at_once() {
        let mut deleting = Deleting::default();
        let (reply, mut answer) = oneshot::channel();
        let session: SessionKey = "agent:hexa:a".parse().unwrap();
        deleting.ask(session, reply, &mut LinkSlot::default());
        assert_eq!(answer.try_recv(), Ok(Deleted::NotRunning));
    }

    #[test]
    fn an_answer_is_for_all_who_asked_for_it() {
        let mut deleting = Deleting::default();
        let keys: [SessionKey; 2] =
            ["agent:hexa:a", "agent:hexa:b"].map(|key| key.parse().unwrap());
        let mut answers: Vec<_> = [0, 1, 0]
            .map(|key: usize| {
                let (reply, answer) = oneshot::channel();
                deleting.0.push((keys[key].clone(), reply));
                answer
            })
            .into();
        deleting.answered(&keys[0], Deletion::Done(3));
        let done = Ok(Deleted::Said(Deletion::Done(3)));
        assert_eq!(answers[0].try_recv(), done);
        assert_eq!(answers[2].try_recv(), done);
        assert!(answers[1].try_recv().is_err());
        deleting.end();
        let closed = Err(oneshot::error::TryRecvError::Closed);
        assert_eq!(answers[1].try_recv(), closed);
    }
}
