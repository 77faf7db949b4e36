//! The account task, on a paused clock, with a platform that does what a script says.

use kennel_shared::envelope::{Envelope, Peer, PeerKind, Sender};

use super::*;
use crate::channel::{Accepted, OutboundKind, Rejected, SendError};

/// What the scripted platform does in one connection.
enum Act {
    /// Fails before it is online.
    Fail(ChannelError),
    /// Comes online, lasts this long, and breaks.
    Hold(Duration),
    /// Comes online, delivers an envelope and reports the verdict, then breaks.
    Deliver(Envelope),
    /// Comes online and answers what is to be sent with these, then sends on forever.
    Send(Vec<Result<(), SendError>>),
    /// Comes online, takes one outbound, and breaks with it in hand.
    Snatch,
}

struct Scripted {
    acts: std::vec::IntoIter<Act>,
    seen: mpsc::Sender<String>,
}

impl Scripted {
    async fn see(&self, what: impl Into<String>) {
        self.seen.send(what.into()).await.expect("the test listens");
    }
}

impl Platform for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    async fn serve(&mut self, io: &mut AccountIo) -> Result<Infallible, ChannelError> {
        let Some(act) = self.acts.next() else {
            return std::future::pending().await;
        };
        if let Act::Fail(error) = act {
            return Err(error);
        }
        io.inlet.online("as a script");
        match act {
            Act::Fail(_) => unreachable!("handled above"),
            Act::Hold(time) => tokio::time::sleep(time).await,
            Act::Deliver(envelope) => {
                let accepted = io.inlet.deliver(envelope).await?;
                self.see(format!("{accepted:?}")).await;
            }
            Act::Send(results) => {
                let mut results = results.into_iter();
                loop {
                    let sending = io.outlet.next().await;
                    self.see(format!("{:?}", sending.outbound.kind)).await;
                    io.outlet.sent(sending.id, results.next().unwrap_or(Ok(())));
                }
            }
            Act::Snatch => {
                io.outlet.next().await;
            }
        }
        Err(ChannelError::lost("the script says so"))
    }
}

struct Rig {
    handle: AccountHandle,
    task: JoinHandle<()>,
    inbound_rx: mpsc::Receiver<Inbound>,
    seen_rx: mpsc::Receiver<String>,
}

fn rig(acts: Vec<Act>) -> Rig {
    let (inbound_tx, inbound_rx) = mpsc::channel(1);
    let (seen, seen_rx) = mpsc::channel(100);
    let platform = Scripted {
        acts: acts.into_iter(),
        seen,
    };
    let id = "test".parse().unwrap();
    let (handle, task) = spawn_account(id, platform, inbound_tx, AccountOptions::default());
    Rig {
        handle,
        task,
        inbound_rx,
        seen_rx,
    }
}

fn envelope() -> Envelope {
    Envelope {
        channel: "test".parse().unwrap(),
        peer: peer("p"),
        sender: Sender {
            id: "s".into(),
            name: None,
        },
        message_id: "1".into(),
        text: "hello".into(),
        sent_at_ms: 0,
    }
}

fn peer(id: &str) -> Peer {
    Peer {
        kind: PeerKind::Direct,
        id: id.into(),
    }
}

fn text(to: &str, text: &str) -> Outbound {
    Outbound {
        peer: peer(to),
        reply_to: None,
        kind: OutboundKind::Text(text.into()),
    }
}

async fn reach(
    handle: &AccountHandle,
    wanted: impl FnMut(&ChannelStatus) -> bool,
) -> ChannelStatus {
    handle.status().wait_for(wanted).await.unwrap().clone()
}

fn lost() -> Act {
    Act::Fail(ChannelError::lost("no route"))
}

#[tokio::test(start_paused = true)]
async fn attempts_back_off_until_one_holds() {
    let start = Instant::now();
    let rig = rig(vec![
        lost(),
        lost(),
        lost(),
        Act::Hold(Duration::from_secs(61)),
    ]);
    let backing = reach(&rig.handle, |s| s.state.name() == "backing-off").await;
    assert_eq!(backing.detail.as_deref(), Some("no route"));
    let online = reach(&rig.handle, |s| s.state == ChannelState::Online).await;
    assert_eq!(online.reconnects, 3);
    assert_eq!(online.detail.as_deref(), Some("as a script"));
    let waited = online.since - start;
    assert!(
        (3.5..=7.0).contains(&waited.as_secs_f64()),
        "1 + 2 + 4 s with jitter, not {waited:?}"
    );
    let broken = reach(&rig.handle, |s| s.state.name() == "backing-off").await;
    let ChannelState::BackingOff { until } = broken.state else {
        unreachable!("just awaited");
    };
    assert!(
        until - broken.since <= Duration::from_secs(1),
        "after a stable time the backoff begins anew"
    );
}

#[tokio::test(start_paused = true)]
async fn the_platforms_own_wait_is_honoured() {
    let start = Instant::now();
    let rig = rig(vec![
        Act::Fail(ChannelError::Throttled {
            detail: "slow down".into(),
            retry_after: Duration::from_secs(33),
        }),
        Act::Hold(Duration::from_secs(9)),
    ]);
    let online = reach(&rig.handle, |s| s.state == ChannelState::Online).await;
    assert_eq!((online.since - start).as_secs(), 33);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_waits_for_a_person_but_not_forever() {
    let start = Instant::now();
    let rig = rig(vec![
        Act::Fail(ChannelError::Refused {
            detail: "401 Unauthorized".into(),
            hint: "check the token".into(),
        }),
        Act::Hold(Duration::from_secs(9)),
    ]);
    let failed = reach(&rig.handle, |s| s.state.name() == "failed").await;
    assert_eq!(
        failed.detail.as_deref(),
        Some("401 Unauthorized: check the token")
    );
    let online = reach(&rig.handle, |s| s.state == ChannelState::Online).await;
    assert_eq!((online.since - start).as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn delivery_waits_for_the_verdict_and_asks_again_when_full() {
    let mut rig = rig(vec![Act::Deliver(envelope())]);
    let first = rig.inbound_rx.recv().await.unwrap();
    assert_eq!(rig.handle.status().borrow().received, 0);
    assert!(rig.seen_rx.try_recv().is_err(), "no verdict yet");
    let asked = Instant::now();
    let retry_after = Duration::from_secs(3);
    first
        .verdict
        .send(Err(Rejected::Full { retry_after }))
        .unwrap();
    let second = rig.inbound_rx.recv().await.unwrap();
    assert_eq!((Instant::now() - asked).as_secs(), 3);
    assert_eq!(second.envelope, envelope());
    second.verdict.send(Ok(Accepted::New)).unwrap();
    assert_eq!(rig.seen_rx.recv().await.unwrap(), "New");
    assert_eq!(rig.handle.status().borrow().received, 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_listening_ends_the_account() {
    let mut rig = rig(vec![Act::Deliver(envelope())]);
    rig.inbound_rx.close();
    rig.task.await.unwrap();
    assert_eq!(rig.handle.status().borrow().state, ChannelState::Stopped);
    assert!(matches!(
        rig.handle.send(text("p", "late")).await,
        Err(SendRefused::Stopped(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_holds_up_its_own_peer_only() {
    let busy = Err(SendError::Passing {
        detail: "busy".into(),
        retry_after: Some(Duration::from_secs(30)),
        doubtful: false,
    });
    let mut rig = rig(vec![Act::Send(vec![busy])]);
    for (to, words) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
        rig.handle.send(text(to, words)).await.unwrap();
    }
    let start = Instant::now();
    rig.handle.drained().await;
    let mut seen = Vec::new();
    while let Ok(what) = rig.seen_rx.try_recv() {
        seen.push(what);
    }
    let order = ["a1", "b1", "a1", "a2"].map(|words| format!("Text({words:?})"));
    assert_eq!(seen, order);
    assert_eq!((Instant::now() - start).as_secs(), 30);
    assert_eq!(rig.handle.status().borrow().sent, 3);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_settled_with_its_reason() {
    let blocked = Err(SendError::Permanent {
        detail: "blocked by the user".into(),
    });
    let rig = rig(vec![Act::Send(vec![blocked])]);
    let receipt = rig.handle.send(text("a", "hello")).await.unwrap();
    assert_eq!(
        receipt.settled().await,
        Settlement::Failed("blocked by the user".into())
    );
    assert_eq!(rig.handle.status().borrow().failed, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_broken_connection_held_goes_out_on_the_next() {
    let rig = rig(vec![Act::Snatch, Act::Send(vec![])]);
    let receipt = rig.handle.send(text("a", "hello")).await.unwrap();
    assert_eq!(
        receipt.settled().await,
        Settlement::Delivered { doubtful: true }
    );
    assert_eq!(rig.handle.status().borrow().reconnects, 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_a_stop_settles_all() {
    let rig = rig(vec![]);
    let mut receipts = Vec::new();
    let refused = loop {
        match rig.handle.try_send(text("a", "hello")) {
            Ok(receipt) => receipts.push(receipt),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, SendRefused::Full(_)));
    assert_eq!(receipts.len(), OUTBOUND_QUEUE);
    rig.handle.stop();
    rig.handle.stop();
    rig.task.await.unwrap();
    for receipt in receipts {
        assert_eq!(
            receipt.settled().await,
            Settlement::Abandoned { tried: false }
        );
    }
    rig.handle.drained().await;
    assert_eq!(rig.handle.status().borrow().state, ChannelState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_takes_the_account_with_it() {
    let rig = rig(vec![]);
    drop(rig.handle);
    rig.task.await.unwrap();
}
