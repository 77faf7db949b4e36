//! The loop of an agent: one task that owns the wire, the turns and the heartbeat.
//!
//! ```text
//!   wire ──► Deliver, Cancel, Drain ─┐            ┌─► turns (tasks) ─┐
//!   signal ────────────────────────► │ agent loop │                  │ events, bounded
//!   clock ──► heartbeat ───────────► │            │ ◄────────────────┘
//! ```
//!
//! The heartbeat comes from this loop and says how late it came: whatever blocks the loop is seen by the
//! supervisor. So nothing here blocks: SQLite has its thread; name lookups, TLS roots and what tools do to
//! files go to tokio's blocking pool.
//!
//! When the wire takes no more, events stay in their queue, and when that is full the turns wait. Nothing
//! is dropped. Turns go on while the link is away.
//!
//! Ends: drained (finish what runs, then leave), a stop signal (abandon what runs, let commits finish,
//! leave within a second), orphaned, refused.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use kennel_shared::{
    ids::{AgentId, DeliveryId, TurnId},
    protocol::{AgentSpec, Deletion, Delivery, Heartbeat, ToAgent, ToSupervisor},
    session_key::SessionKey,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::{Id, JoinError, JoinSet},
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tracing::{debug, error, info, warn};

use crate::{
    provider,
    start::Exit,
    store::Store,
    sys::StopSignal,
    turn::{self, Equipment, Stop},
    wire::{Connector, Wire, WireError, WireEvent},
};

/// Events of turns that wait for the wire. Turns wait when it is full.
const EVENTS: usize = 64;

/// Messages that wait for a turn to take them in. What is more is delivered by itself, later.
const STEERS: usize = 32;

/// How long commits may take after a stop signal.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// How long the last messages may take to leave.
const FLUSH_GRACE: Duration = Duration::from_millis(400);

/// The same after a drain, where nobody hurries.
const DRAIN_FLUSH_GRACE: Duration = Duration::from_secs(5);

/// A turn that runs.
#[derive(Debug)]
struct Running {
    turn: TurnId,
    delivery: DeliveryId,
    session: SessionKey,
    /// What it may take in at its next tool boundary; nothing more, once something was left out: they are taken in order.
    steers: Option<mpsc::Sender<Delivery>>,
    /// Taken when it is used.
    stop: Option<oneshot::Sender<Stop>>,
}

/// One agent.
pub(crate) struct Agent<C: Connector> {
    id: AgentId,
    wire: Wire<C>,
    equipment: Equipment,
    events: mpsc::Receiver<ToSupervisor>,
    tasks: JoinSet<()>,
    running: HashMap<Id, Running>,
    heartbeat: Interval,
    draining: bool,
}

impl<C: Connector> Agent<C> {
    pub(crate) fn new(
        id: AgentId,
        wire: Wire<C>,
        spec: AgentSpec,
        store: Store,
        home: &Path,
    ) -> Self {
        let (events_tx, events) = mpsc::channel(EVENTS);
        Self {
            id,
            wire,
            heartbeat: heartbeat(&spec),
            equipment: Equipment {
                provider: provider::build(&spec.model).into(),
                cheaper: cheaper(&spec),
                spec: Arc::new(spec),
                store,
                home: home.into(),
                events_tx,
            },
            events,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            draining: false,
        }
    }

    /// Runs until there is a reason to leave.
    pub(crate) async fn run(mut self, mut stop: impl StopRequests) -> Exit {
        self.say(ToSupervisor::Ready);
        loop {
            self.wire.set_overtime(self.overtime());
            if self.draining && self.tasks.is_empty() && self.events.is_empty() {
                return self.drained().await;
            }
            tokio::select! {
                event = self.wire.next() => match event {
                    Ok(WireEvent::Message(message)) => self.on_message(message),
                    Ok(WireEvent::Restored(spec)) => self.on_restored(*spec),
                    // Events that waited are taken in the next round.
                    Ok(WireEvent::Room) => {}
                    Err(error) => return self.on_wire_over(&error).await,
                },
                Some(event) = self.events.recv(), if !self.wire.is_full() => self.forward(event),
                Some(ended) = self.tasks.join_next_with_id() => self.on_turn_ended(ended),
                due = self.heartbeat.tick() => self.beat(due),
                () = stop.requested() => {
                    info!(running = self.running.len(), "asked to stop");
                    self.leave().await;
                    return Exit::Done;
                }
            }
        }
    }

    fn on_message(&mut self, message: ToAgent) {
        match message {
            ToAgent::Deliver(delivery) => self.deliver(delivery, self.equipment.clone()),
            ToAgent::DeliverCheaper(delivery) => {
                self.deliver(delivery, self.equipment.clone().sparing());
            }
            ToAgent::Steer(delivery) => self.steer(delivery),
            ToAgent::Cancel(turn) => self.cancel(turn),
            ToAgent::DeleteSession(session) => self.delete_session(session),
            ToAgent::Drain => {
                if !self.draining {
                    info!(running = self.running.len(), "draining");
                }
                self.draining = true;
                self.wire.drain();
            }
        }
    }

    /// How long a turn that runs may still take: a supervisor that comes back meanwhile gets its end.
    fn overtime(&self) -> Duration {
        if self.tasks.is_empty() {
            Duration::ZERO
        } else {
            Duration::from_millis(self.equipment.spec.turn_timeout_ms)
        }
    }

    fn deliver(&mut self, delivery: Delivery, equipment: Equipment) {
        let mut running = self.running.values();
        if running.any(|running| running.delivery == delivery.delivery) {
            // Redelivered while it runs: its end will name the delivery.
            debug!(delivery.id = %delivery.delivery, "this delivery is running already");
            return;
        }
        if self.draining {
            // Unanswered, it goes back to the queue when this process ends.
            self.tasks
                .spawn(turn::repeat(self.equipment.clone(), delivery));
            return;
        }
        if let Some(reason) = self.objection(&delivery) {
            // Unless it was processed before, which a supervisor that has just come back cannot know.
            let repeating = turn::repeat_or_refuse(self.equipment.clone(), delivery, reason);
            self.tasks.spawn(repeating);
            return;
        }
        let (stop_tx, stop) = oneshot::channel();
        let (steers_tx, steers) = mpsc::channel(STEERS);
        let running = Running {
            turn: delivery.turn,
            delivery: delivery.delivery,
            session: delivery.session.clone(),
            steers: Some(steers_tx),
            stop: Some(stop_tx),
        };
        let task = turn::run(equipment, delivery, turn::Wishes { stop, steers });
        let handle = self.tasks.spawn(task);
        self.running.insert(handle.id(), running);
    }

    /// Why a delivery cannot be taken. Each is a mistake of the supervisor's.
    fn objection(&self, delivery: &Delivery) -> Option<&'static str> {
        if delivery.session.agent_str() != self.id.as_str() {
            return Some("the session is another agent's");
        }
        if self.running.len() >= usize::from(self.equipment.spec.max_concurrent.max(1)) {
            return Some("as many turns as allowed are running");
        }
        let mut running = self.running.values();
        running
            .any(|running| running.session == delivery.session)
            .then_some("a turn of this session is running")
    }

    /// Offers a message to the turn that it is meant for. What that does not take is delivered by itself, later.
    fn steer(&mut self, delivery: Delivery) {
        let mut running = self.running.values_mut();
        let meant = |running: &&mut Running| {
            running.turn == delivery.turn && running.session == delivery.session
        };
        let Some(running) = running.find(meant) else {
            debug!(delivery.id = %delivery.delivery, "no turn to be steered by this");
            return;
        };
        let taken = running
            .steers
            .as_ref()
            .is_some_and(|steers| steers.try_send(delivery).is_ok());
        if !taken {
            running.steers = None;
        }
    }

    fn cancel(&mut self, turn: TurnId) {
        let found = self
            .running
            .values_mut()
            .find(|running| running.turn == turn);
        if let Some(stop) = found.and_then(|running| running.stop.take()) {
            let _ = stop.send(Stop::Cancel);
        } else {
            debug!(turn.id = %turn, "nothing to cancel: the turn has ended");
        }
    }

    fn delete_session(&mut self, session: SessionKey) {
        let mut running = self.running.values();
        let busy = running.any(|running| running.session == session);
        let Equipment {
            store, events_tx, ..
        } = self.equipment.clone();
        // A turn that comes next asks the store after this.
        self.tasks.spawn(async move {
            let deletion = if busy {
                Deletion::Busy
            } else {
                match store.delete(session.clone()).await {
                    Ok(Some(messages)) => Deletion::Done(messages),
                    Ok(None) => Deletion::Absent,
                    Err(error) => {
                        error!(session.key = %session, error = ?error, "a session could not be deleted");
                        Deletion::Failed
                    }
                }
            };
            let deleted = ToSupervisor::SessionDeleted { session, deletion };
            // The loop is gone only when the process is about to be.
            let _ = events_tx.send(deleted).await;
        });
    }

    /// A returned supervisor may want something else of us; turns that run finish as they began.
    fn on_restored(&mut self, spec: AgentSpec) {
        if spec == *self.equipment.spec {
            return;
        }
        info!("the supervisor has changed this agent's settings");
        if spec.heartbeat_interval_ms != self.equipment.spec.heartbeat_interval_ms {
            self.heartbeat = heartbeat(&spec);
        }
        if spec.model != self.equipment.spec.model {
            self.equipment.provider = provider::build(&spec.model).into();
        }
        if spec.cheaper != self.equipment.spec.cheaper {
            self.equipment.cheaper = cheaper(&spec);
        }
        self.equipment.spec = Arc::new(spec);
    }

    fn on_turn_ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                // Panics are caught within the turn, and nobody aborts one.
                error!(error = %error, "a turn's task failed");
                error.id()
            }
        };
        self.running.remove(&id);
    }

    fn beat(&mut self, due: Instant) {
        let lag = Instant::now().saturating_duration_since(due);
        self.wire.send_heartbeat(Heartbeat {
            lag_us: u64::try_from(lag.as_micros()).unwrap_or(u64::MAX),
            running: u32::try_from(self.running.len()).unwrap_or(u32::MAX),
        });
    }

    /// Moves an event to the wire, and those behind it, so that they leave in one write.
    fn forward(&mut self, first: ToSupervisor) {
        self.forward_one(first);
        while !self.wire.is_full()
            && let Ok(event) = self.events.try_recv()
        {
            self.forward_one(event);
        }
    }

    fn forward_one(&mut self, event: ToSupervisor) {
        // The supervisor may fill the place of a turn as soon as it hears of its end, which can be
        // before this loop hears of the end of its task.
        if let ToSupervisor::Finished { turn, .. } = &event {
            self.running.retain(|_, running| running.turn != *turn);
        }
        self.say(event);
    }

    fn say(&mut self, message: ToSupervisor) {
        if self.wire.send(message).is_err() {
            // Events are taken when there is room, and what else is said comes first or last of all.
            warn!("the link is full; a message was left out");
        }
    }

    async fn drained(mut self) -> Exit {
        self.say(ToSupervisor::Drained);
        if self.wire.is_up() {
            let _ = timeout(DRAIN_FLUSH_GRACE, self.wire.flush()).await;
        }
        info!("drained");
        Exit::Done
    }

    async fn on_wire_over(mut self, error: &WireError) -> Exit {
        let exit = match error {
            WireError::Orphaned(_) => {
                info!(error = %error, running = self.running.len(), "leaving: there is no supervisor");
                Exit::Orphaned
            }
            WireError::Refused(_) | WireError::Resume(_) => {
                error!(error = %error, "leaving");
                Exit::Refused
            }
            WireError::Unsendable(_) => {
                error!(error = %error, cause = ?error, "leaving");
                Exit::Internal
            }
        };
        self.leave().await;
        exit
    }

    /// Abandons the turns, lets commits that have begun finish, and sends what there is to send.
    async fn leave(&mut self) {
        for running in self.running.values_mut() {
            if let Some(stop) = running.stop.take() {
                let _ = stop.send(Stop::Abandon);
            }
        }
        let settle = async {
            loop {
                tokio::select! {
                    ended = self.tasks.join_next() => if ended.is_none() { break },
                    Some(event) = self.events.recv() => { let _ = self.wire.send(event); }
                }
            }
            while let Ok(event) = self.events.try_recv() {
                let _ = self.wire.send(event);
            }
        };
        if timeout(STOP_GRACE, settle).await.is_err() {
            warn!("a turn did not stop in time");
        }
        // None may hold the store any longer: its thread ends with the last handle.
        self.tasks.shutdown().await;
        let _ = timeout(FLUSH_GRACE, self.wire.flush()).await;
    }
}

/// Where the wish to stop comes from.
pub(crate) trait StopRequests {
    /// Waits for it. Cancel-safe.
    async fn requested(&mut self);
}

impl StopRequests for StopSignal {
    async fn requested(&mut self) {
        self.caught().await;
    }
}

fn cheaper(spec: &AgentSpec) -> Option<Arc<dyn provider::Provider>> {
    let model = spec.cheaper.as_ref();
    model.map(|model| provider::build(model).into())
}

fn heartbeat(spec: &AgentSpec) -> Interval {
    let period = Duration::from_millis(spec.heartbeat_interval_ms.max(1));
    let mut interval = interval_at(Instant::now() + period, period);
    // A late beat is one beat, with its lag.
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

#[cfg(test)]
mod tests;
