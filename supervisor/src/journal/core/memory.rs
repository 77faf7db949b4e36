//! [`Rows`] as maps: what the SQLite file is compared with.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
};

use kennel_shared::{
    envelope::Sender,
    ids::{AgentId, ChannelId, DeliveryId},
    session_key::SessionKey,
};

use crate::turns::TurnRecord;

use super::{
    super::entry::{
        CallerKey, Chat, Child, Digest, End, Ended, NewAudit, NewDelivery, NewSend, Origin,
        ScheduleMark, SendId, SendStanding, SendState, Seq, Standing, State, Tokens, UnixMs,
    },
    Closed, Open, Rows,
};
use crate::schedule::ScheduleId;

#[derive(Debug, Clone)]
struct Row {
    new: NewDelivery,
    key: Option<CallerKey>,
    standing: Standing,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(in crate::journal) struct Memory {
    rows: BTreeMap<i64, Row>,
    seqs: HashMap<DeliveryId, i64>,
    sends: BTreeMap<i64, (SendStanding, NewSend, Option<DeliveryId>)>,
    children: BTreeMap<AgentId, Child>,
    schedules: BTreeMap<ScheduleId, ScheduleMark>,
    audits: Vec<NewAudit>,
    chats: BTreeMap<SessionKey, Chat>,
}

impl Memory {
    fn row(&mut self, seq: Seq) -> &mut Row {
        self.rows.get_mut(&seq.0).expect("it was found before")
    }

    fn push(&mut self, new: NewDelivery, key: Option<CallerKey>) -> Seq {
        let seq = self.rows.last_key_value().map_or(0, |(seq, _)| *seq) + 1;
        let standing = Standing {
            delivery: new.delivery,
            seq: Seq(seq),
            session: new.session.clone(),
            state: State::Queued,
            attempts: 0,
            lease: None,
            end: None,
            keyed: key.is_some(),
            retried: None,
        };
        self.seqs.insert(new.delivery, seq);
        self.rows.insert(seq, Row { new, key, standing });
        Seq(seq)
    }

    pub(in crate::journal) fn standings(&self) -> Vec<Standing> {
        self.rows.values().map(|row| row.standing.clone()).collect()
    }

    pub(in crate::journal) fn sends(&self) -> Vec<SendStanding> {
        self.sends.values().map(|(send, ..)| send.clone()).collect()
    }

    /// The delivery of each thing to be sent.
    pub(in crate::journal) fn causes(&self) -> Vec<Option<DeliveryId>> {
        self.sends.values().map(|(_, _, cause)| *cause).collect()
    }

    pub(in crate::journal) fn children(&self) -> Vec<Child> {
        self.children.values().cloned().collect()
    }

    pub(in crate::journal) fn schedules(&self) -> Vec<ScheduleMark> {
        self.schedules.values().cloned().collect()
    }

    pub(in crate::journal) fn chats(&self) -> Vec<Chat> {
        self.chats.values().cloned().collect()
    }

    pub(in crate::journal) fn audits(&self) -> usize {
        self.audits.len()
    }

    pub(in crate::journal) fn recall_sends(&mut self) {
        for (send, ..) in self.sends.values_mut() {
            if send.state == SendState::Sending {
                send.doubtful |= !send.repeatable;
                send.state = if send.repeatable {
                    SendState::Pending
                } else {
                    SendState::Maybe
                };
            }
        }
    }
}

type Done<T> = Result<T, Infallible>;

impl Rows for Memory {
    type Error = Infallible;

    fn delivery(&self, delivery: DeliveryId) -> Done<Option<Standing>> {
        let seq = self.seqs.get(&delivery);
        Ok(seq.map(|seq| self.rows[seq].standing.clone()))
    }

    fn by_message(&self, channel: &ChannelId, message_id: &str) -> Done<Option<DeliveryId>> {
        let found = self.rows.values().find(|row| {
            matches!(&row.new.origin, Origin::Channel { channel: c, message_id: m }
                if c == channel && m == message_id)
        });
        Ok(found.map(|row| row.new.delivery))
    }

    fn by_key(&self, key: &str) -> Done<Option<(DeliveryId, Digest)>> {
        let keyed = |row: &Row| {
            let found = row.key.as_ref().filter(|found| found.key == key)?;
            Some((row.new.delivery, found.body))
        };
        Ok(self.rows.values().find_map(keyed))
    }

    fn insert(&mut self, new: &NewDelivery, _: UnixMs) -> Done<Seq> {
        Ok(self.push(new.clone(), new.origin.key().cloned()))
    }

    fn set_open(&mut self, seq: Seq, open: Open) -> Done<()> {
        let standing = &mut self.row(seq).standing;
        standing.state = open.state;
        standing.attempts = open.attempts;
        standing.lease = open.lease;
        standing.end = None;
        Ok(())
    }

    fn set_ended(&mut self, seq: Seq, closed: &Closed<'_>) -> Done<()> {
        let standing = &mut self.row(seq).standing;
        standing.state = closed.state;
        standing.attempts = closed.attempts;
        standing.end = Some(match closed.end {
            Some(End::Replied { text, tokens }) => Ended {
                at: closed.at,
                text: closed.keep_answer.then(|| text.clone()),
                kind: None,
                tokens: *tokens,
            },
            Some(End::Failed { kind, message }) => Ended {
                at: closed.at,
                text: Some(message.clone()),
                kind: Some(*kind),
                tokens: Tokens::default(),
            },
            Some(End::Cancelled) | None => Ended {
                at: closed.at,
                text: None,
                kind: None,
                tokens: Tokens::default(),
            },
        });
        Ok(())
    }

    fn text(&self, seq: Seq) -> Done<String> {
        Ok(self.rows[&seq.0].new.text.clone())
    }

    fn set_text(&mut self, seq: Seq, text: &str) -> Done<()> {
        text.clone_into(&mut self.row(seq).new.text);
        Ok(())
    }

    fn sender(&self, seq: Seq) -> Done<Sender> {
        Ok(self.rows[&seq.0].new.sender.clone())
    }

    fn goes_on_as(&mut self, seq: Seq, delivery: DeliveryId) -> Done<()> {
        self.row(seq).standing.retried = Some(delivery);
        Ok(())
    }

    fn copy(&mut self, from: Seq, anew: DeliveryId, _: UnixMs) -> Done<Seq> {
        let row = self.row(from);
        row.standing.retried = Some(anew);
        row.standing.keyed = false;
        let key = row.key.take();
        let mut new = row.new.clone();
        new.delivery = anew;
        // Its message id, or its due time, stays with the first.
        new.origin = match new.origin {
            Origin::Schedule { schedule, .. } => Origin::Schedule {
                schedule,
                due: None,
            },
            _ => Origin::Caller { key: None },
        };
        Ok(self.push(new, key))
    }

    fn schedule_of(&self, delivery: DeliveryId) -> Done<Option<ScheduleId>> {
        let seq = self.seqs.get(&delivery);
        Ok(seq.and_then(|seq| self.rows[seq].new.origin.schedule().cloned()))
    }

    fn send(&self, send: SendId) -> Done<Option<SendStanding>> {
        Ok(self.sends.get(&send.0).map(|(send, ..)| send.clone()))
    }

    fn insert_send(
        &mut self,
        new: &NewSend,
        delivery: Option<DeliveryId>,
        _: UnixMs,
    ) -> Done<SendId> {
        let id = SendId(self.sends.last_key_value().map_or(0, |(id, _)| *id) + 1);
        let standing = SendStanding {
            id,
            state: SendState::Pending,
            parts_done: 0,
            attempts: 0,
            repeatable: false,
            doubtful: false,
            platform_ids: Vec::new(),
            settled: None,
            failure: None,
        };
        self.sends.insert(id.0, (standing, new.clone(), delivery));
        Ok(id)
    }

    fn set_send(&mut self, send: &SendStanding) -> Done<()> {
        self.sends
            .get_mut(&send.id.0)
            .expect("it was found before")
            .0 = send.clone();
        Ok(())
    }

    fn child(&self, agent: &AgentId) -> Done<Option<Child>> {
        Ok(self.children.get(agent).cloned())
    }

    fn set_child(&mut self, child: &Child) -> Done<()> {
        self.children.insert(child.agent.clone(), child.clone());
        Ok(())
    }

    fn by_due(&self, schedule: &ScheduleId, due: UnixMs) -> Done<Option<DeliveryId>> {
        let found = self.rows.values().find(|row| {
            matches!(&row.new.origin, Origin::Schedule { schedule: s, due: Some(d) }
                if s == schedule && *d == due)
        });
        Ok(found.map(|row| row.new.delivery))
    }

    fn schedule(&self, schedule: &ScheduleId) -> Done<Option<ScheduleMark>> {
        Ok(self.schedules.get(schedule).cloned())
    }

    fn set_schedule(&mut self, mark: &ScheduleMark) -> Done<()> {
        self.schedules.insert(mark.schedule.clone(), mark.clone());
        Ok(())
    }

    fn forget_schedule(&mut self, schedule: &ScheduleId) -> Done<()> {
        self.schedules.remove(schedule);
        Ok(())
    }

    fn set_chat(&mut self, chat: &Chat) -> Done<()> {
        self.chats.insert(chat.key.clone(), chat.clone());
        Ok(())
    }

    fn insert_audit(&mut self, audit: &NewAudit, _: UnixMs) -> Done<()> {
        self.audits.push(audit.clone());
        Ok(())
    }

    /// Nothing else depends on it.
    fn insert_turn(&mut self, _: &TurnRecord) -> Done<()> {
        Ok(())
    }
}
