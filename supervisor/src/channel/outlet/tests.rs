use kennel_shared::envelope::{Peer, PeerKind};
use proptest::prelude::*;

use super::*;

fn outbound(peer: &str, text: &str) -> Outbound {
    Outbound {
        peer: Peer {
            kind: PeerKind::Direct,
            id: peer.into(),
        },
        reply_to: None,
        kind: if text == "…" {
            OutboundKind::Typing
        } else {
            OutboundKind::Text(text.into())
        },
    }
}

fn queue(now: Instant, items: &[(&str, &str)]) -> Queue<String> {
    let mut queue = Queue::new();
    for (peer, text) in items {
        queue.push(outbound(peer, text), now, 0, (*text).into());
    }
    queue
}

fn lent(queue: &mut Queue<String>, now: Instant) -> Option<(u64, String)> {
    match queue.next(now) {
        Next::Now(Sending { id, outbound, .. }) => match outbound.kind {
            OutboundKind::Text(text) => Some((id, text)),
            OutboundKind::Typing => Some((id, "…".into())),
        },
        _ => None,
    }
}

fn passing(retry_after: Option<u64>) -> Result<(), SendError> {
    Err(SendError::Passing {
        detail: "busy".into(),
        retry_after: retry_after.map(Duration::from_secs),
        doubtful: false,
    })
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn peers_do_not_wait_for_each_other_but_each_keeps_its_order() {
    let now = Instant::now();
    let mut queue = queue(now, &[("a", "a1"), ("a", "a2"), ("b", "b1")]);
    let (a1, text) = lent(&mut queue, now).unwrap();
    assert_eq!(text, "a1");
    assert_eq!(lent(&mut queue, now).unwrap().1, "b1");
    assert_eq!(lent(&mut queue, now), None, "a1 is still out");
    assert!(matches!(
        queue.sent(a1, Ok(()), now),
        Verdict::Settled { failure: None, .. }
    ));
    assert_eq!(lent(&mut queue, now).unwrap().1, "a2");
}

#[test]
fn a_passing_failure_keeps_its_place_and_waits_as_asked() {
    let now = Instant::now();
    let mut queue = queue(now, &[("a", "a1"), ("a", "a2")]);
    let (a1, _) = lent(&mut queue, now).unwrap();
    queue.progress(a1, 3);
    assert_eq!(queue.sent(a1, passing(Some(7)), now), Verdict::Kept);
    assert_eq!(queue.next(now), Next::At(now + 7 * SECOND));
    let Next::Now(again) = queue.next(now + 7 * SECOND) else {
        panic!("it is due");
    };
    assert_eq!((again.id, again.parts_done), (a1, 3));
    // Without a word from the platform: 1 s was used up by the first attempt.
    assert_eq!(queue.sent(a1, passing(None), now), Verdict::Kept);
    assert_eq!(queue.next(now), Next::At(now + 2 * SECOND));
}

#[test]
fn it_gives_up_after_an_hour_and_at_once_when_told() {
    let now = Instant::now();
    let mut queue = queue(now, &[("a", "a1"), ("a", "a2"), ("a", "a3")]);
    let (a1, _) = lent(&mut queue, now).unwrap();
    let late = now + GIVE_UP_AFTER;
    assert!(matches!(
        queue.sent(a1, passing(None), late),
        Verdict::Settled {
            failure: Some(_),
            ..
        }
    ));
    let (a2, _) = lent(&mut queue, now).unwrap();
    let blocked = Err(SendError::Permanent {
        detail: "blocked".into(),
    });
    assert!(matches!(
        queue.sent(a2, blocked, now),
        Verdict::Settled { failure: Some(reason), .. } if reason == "blocked"
    ));
    assert_eq!(lent(&mut queue, now).unwrap().1, "a3");
    assert_eq!(queue.sent(a1, Ok(()), now), Verdict::Unknown);
}

#[test]
fn a_lost_connection_returns_its_loans() {
    let now = Instant::now();
    let mut queue = queue(now, &[("a", "a1")]);
    let (a1, _) = lent(&mut queue, now).unwrap();
    queue.recall();
    assert_eq!(lent(&mut queue, now), Some((a1, "a1".into())));
}

#[test]
fn typing_is_never_late() {
    let now = Instant::now();
    let mut queue = queue(now, &[("a", "a1"), ("a", "…"), ("b", "…")]);
    let (a1, _) = lent(&mut queue, now).unwrap();
    let (typing, _) = lent(&mut queue, now).unwrap();
    assert!(matches!(
        queue.sent(typing, passing(None), now),
        Verdict::Settled {
            failure: Some(_),
            ..
        }
    ));
    assert!(queue.take_stale(now + 5 * SECOND).is_empty());
    assert_eq!(queue.take_stale(now + 6 * SECOND), ["…"]);
    queue.sent(a1, Ok(()), now);
    assert_eq!(queue.next(now), Next::Nothing);
}

proptest! {
    /// Whatever happens, each peer's texts are delivered in order, each once.
    #[test]
    fn order_holds_for_each_peer(
        peers in proptest::collection::vec(0_u8..4, 1..40),
        results in proptest::collection::vec(0_u8..4, 0..200),
    ) {
        let mut now = Instant::now();
        let mut queue = Queue::new();
        for (n, peer) in peers.iter().enumerate() {
            queue.push(outbound(&peer.to_string(), &n.to_string()), now, 0, (*peer, n));
        }
        let mut delivered: Vec<(u8, usize)> = Vec::new();
        let mut out: Vec<u64> = Vec::new();
        let mut results = results.into_iter();
        loop {
            match queue.next(now) {
                Next::Now(sending) => {
                    out.push(sending.id);
                    prop_assert!(out.len() <= 4, "one for each peer");
                    continue;
                }
                Next::At(due) if out.is_empty() => now = due,
                _ => {}
            }
            if queue.items.is_empty() {
                break;
            }
            if out.is_empty() {
                continue;
            }
            match results.next().unwrap_or(0) {
                1 => {
                    queue.recall();
                    out.clear();
                }
                2 => {
                    prop_assert_eq!(queue.sent(out.remove(0), passing(None), now), Verdict::Kept);
                }
                last => {
                    let id = if last == 3 { out.remove(0) } else { out.pop().expect("not empty") };
                    let Verdict::Settled { tag, failure: None, .. } = queue.sent(id, Ok(()), now) else {
                        return Err(TestCaseError::fail("it was lent"));
                    };
                    delivered.push(tag);
                }
            }
        }
        prop_assert_eq!(delivered.len(), peers.len());
        for peer in 0..4 {
            let order: Vec<usize> = delivered.iter().filter(|(p, _)| *p == peer).map(|(_, n)| *n).collect();
            prop_assert!(order.is_sorted(), "{order:?}");
        }
    }
}
