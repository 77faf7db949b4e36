//! The session against tables, and against a model: two ends over a lossy pair of connections.

use proptest::prelude::*;

use super::*;
use crate::{
    codec::{Front, PREFIX_BYTES, decode_body, front},
    ids::TurnId,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note(Vec<u8>);

impl Message for Note {}

/// Takes the first frame off `wire` and gives it to `to`.
fn carry<Out: Message, In: Message>(
    wire: &mut BytesMut,
    to: &mut Session<Out>,
) -> Result<Option<Received<In>>, Violation> {
    let Front::Frame(length) = front(wire, FRAME_MAX_BYTES).expect("a session writes good frames")
    else {
        return Ok(None);
    };
    let frame = wire.split_to(PREFIX_BYTES + length);
    let packet: Packet<In> =
        decode_body(&frame[PREFIX_BYTES..]).expect("a session writes good packets");
    to.on_packet(packet, length).map(Some)
}

fn note(seq: u64, bytes: usize) -> (Packet<Note>, usize) {
    let packet = Packet::Message {
        seq,
        message: Note(vec![0; bytes]),
    };
    let mut wire = BytesMut::new();
    let length = codec::encode_frame(&packet, &mut wire).unwrap();
    (packet, length)
}

#[test]
fn a_gap_is_a_violation_and_a_repeat_is_not() {
    let mut session = Session::<Note>::default();
    let (packet, length) = note(1, 1);
    assert!(matches!(
        session.on_packet(packet.clone(), length),
        Ok(Received::Message(_))
    ));
    assert_eq!(session.on_packet(packet, length), Ok(Received::Nothing));
    let (packet, length) = note(3, 1);
    assert_eq!(
        session.on_packet(packet, length),
        Err(Violation::Gap {
            expected: 2,
            got: 3
        })
    );
}

#[test]
fn acknowledging_the_unsent_is_a_violation() {
    let mut session = Session::<Note>::default();
    session.send(Note(vec![])).unwrap();
    let ack = Packet::<Note>::Ack(Position {
        received: 1,
        granted: WINDOW_BYTES,
    });
    assert_eq!(
        session.on_packet(ack, 4),
        Err(Violation::Ack {
            got: 1,
            first: 0,
            last: 0
        })
    );
}

#[test]
fn lowering_a_grant_is_a_violation() {
    let mut session = Session::<Note>::default();
    let ack = Packet::<Note>::Ack(Position {
        received: 0,
        granted: 1,
    });
    assert_eq!(
        session.on_packet(ack, 4),
        Err(Violation::Grant {
            from: WINDOW_BYTES,
            to: 1
        })
    );
}

#[test]
fn sending_beyond_the_credit_is_a_violation() {
    let mut session = Session::<Note>::default();
    // Never told of new credit, as `fill` is not called.
    let mut seq = 1;
    let violation = loop {
        let (packet, length) = note(seq, FRAME_MAX_BYTES / 2);
        seq += 1;
        if let Err(violation) = session.on_packet(packet, length) {
            break violation;
        }
        assert!(seq < 10, "half a megabyte five times exceeds two megabytes");
    };
    assert!(matches!(
        violation,
        Violation::Credit {
            granted: WINDOW_BYTES,
            ..
        }
    ));
}

#[test]
fn a_sender_stops_at_its_credit_and_goes_on_when_granted() {
    let (mut a, mut b) = (Session::<Note>::default(), Session::<Note>::default());
    for _ in 0..40 {
        a.send(Note(vec![1; FRAME_MAX_BYTES / 8])).unwrap();
    }
    let mut wire = BytesMut::new();
    let mut to_b = BytesMut::new();
    loop {
        a.fill(&mut wire).unwrap();
        if wire.is_empty() {
            break;
        }
        to_b.unsplit(wire.split());
    }
    assert!(a.sent_bytes <= WINDOW_BYTES, "{} bytes sent", a.sent_bytes);
    let mut got = 0;
    while let Some(received) = carry::<_, Note>(&mut to_b, &mut b).unwrap() {
        got += u32::from(matches!(received, Received::Message(_)));
    }
    assert!((1..40).contains(&got));
    let mut back = BytesMut::new();
    b.fill(&mut back).unwrap();
    assert!(
        !back.is_empty(),
        "a quarter of the window is used up, so credit is due"
    );
    while carry::<_, Note>(&mut back, &mut a).unwrap().is_some() {}
    a.fill(&mut wire).unwrap();
    assert!(!wire.is_empty(), "the new credit is used");
}

#[test]
fn a_full_queue_hands_the_message_back() {
    let mut session = Session::<Note>::default();
    for _ in 0..QUEUE_MAX {
        session.send(Note(vec![])).unwrap();
    }
    assert!(
        matches!(session.send(Note(vec![9])), Err(SendError::Full(Note(bytes))) if bytes == [9])
    );
}

#[test]
fn deltas_merge_only_while_they_wait_and_only_within_a_turn() {
    let (one, two) = (TurnId::new(), TurnId::new());
    let delta = |turn, text: &str| ToSupervisor::Delta {
        turn,
        text: text.into(),
    };
    let mut session = Session::<ToSupervisor>::default();
    session.send(delta(one, "a")).unwrap();
    let mut wire = BytesMut::new();
    session.fill(&mut wire).unwrap();
    session.send(delta(one, "b")).unwrap();
    session.send(delta(one, "c")).unwrap();
    session.send(delta(two, "d")).unwrap();
    session.send(ToSupervisor::Ready).unwrap();
    session.send(delta(two, "e")).unwrap();
    session.fill(&mut wire).unwrap();
    let mut other = Session::<ToAgent>::default();
    let mut got = Vec::new();
    while let Some(received) = carry::<_, ToSupervisor>(&mut wire, &mut other).unwrap() {
        if let Received::Message(message) = received {
            got.push(message);
        }
    }
    assert_eq!(
        got,
        [
            delta(one, "a"),
            delta(one, "bc"),
            delta(two, "d"),
            ToSupervisor::Ready,
            delta(two, "e")
        ]
    );
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// End 0 or 1 queues a message of so many bytes.
    Send(bool, usize),
    /// End 0 or 1 writes what it may.
    Fill(bool),
    /// So many frames arrive at end 0 or 1.
    Arrive(bool, usize),
    /// The connection breaks with all that is on its way, and a new one is made.
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), prop_oneof![9 => 0usize..200, 1 => 100_000usize..300_000]).prop_map(|(end, bytes)| Step::Send(end, bytes)),
        4 => any::<bool>().prop_map(Step::Fill),
        4 => (any::<bool>(), 1usize..20).prop_map(|(end, frames)| Step::Arrive(end, frames)),
        1 => Just(Step::Reconnect),
    ]
}

/// Two ends, the bytes on their way to each, and what each has sent and got.
#[derive(Default)]
struct World {
    ends: [Session<(u64, Vec<u8>)>; 2],
    wires: [BytesMut; 2],
    sent: [u64; 2],
    got: [u64; 2],
}

impl Message for (u64, Vec<u8>) {}

impl World {
    fn fill(&mut self, end: usize) {
        self.ends[end].fill(&mut self.wires[1 - end]).unwrap();
    }

    fn arrive(&mut self, end: usize) -> Result<bool, TestCaseError> {
        let received = carry::<_, (u64, Vec<u8>)>(&mut self.wires[end], &mut self.ends[end])
            .map_err(|violation| TestCaseError::fail(format!("two good ends: {violation}")))?;
        if let Some(Received::Message((number, _))) = &received {
            prop_assert_eq!(*number, self.got[end], "in order, each once");
            self.got[end] += 1;
        }
        Ok(received.is_some())
    }

    fn reconnect(&mut self) {
        self.wires = Default::default();
        let stand = [self.ends[0].position(), self.ends[1].position()];
        self.ends[0].resume(stand[1]).unwrap();
        self.ends[1].resume(stand[0]).unwrap();
    }

    fn apply(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Send(end, bytes) => {
                let end = usize::from(end);
                if self.ends[end]
                    .send((self.sent[end], vec![0; bytes]))
                    .is_ok()
                {
                    self.sent[end] += 1;
                }
            }
            Step::Fill(end) => self.fill(usize::from(end)),
            Step::Arrive(end, frames) => {
                for _ in 0..frames {
                    self.arrive(usize::from(end))?;
                }
            }
            Step::Reconnect => self.reconnect(),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn everything_arrives_once_and_in_order_over_breaking_connections(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = World::default();
        for step in steps {
            world.apply(step)?;
        }
        // Left to itself over a whole connection, everything arrives, credit included.
        world.reconnect();
        for _ in 0..10_000 {
            world.fill(0);
            world.fill(1);
            let busy = (world.arrive(0)?, world.arrive(1)?);
            if busy == (false, false) {
                break;
            }
        }
        prop_assert_eq!(world.got, [world.sent[1], world.sent[0]]);
    }

    #[test]
    fn no_packet_makes_a_session_panic(
        packets in prop::collection::vec((any::<u8>(), any::<u64>(), any::<u64>()), 0..40),
    ) {
        let mut session = Session::<Note>::default();
        let _ = session.send(Note(vec![1]));
        let _ = session.fill(&mut BytesMut::new());
        for (kind, a, b) in packets {
            let packet = match kind % 3 {
                0 => Packet::Message { seq: a % 8, message: Note(vec![]) },
                1 => Packet::Ack(Position { received: a % 4, granted: b }),
                _ => Packet::Heartbeat(Heartbeat { lag_us: a, running: 0 }),
            };
            if session.on_packet(packet, 1).is_err() {
                break;
            }
        }
    }
}
