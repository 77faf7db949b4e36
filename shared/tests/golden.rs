//! Golden bytes: the wire format, held still. When one of these fails, the protocol changed: give
//! `PROTOCOL` its next number and these their new bytes, in one commit.

use bytes::BytesMut;
use kennel_shared::{
    cage::{CageOutcome, CageStep},
    codec,
    envelope::Sender,
    ids::Generation,
    link::{HandshakeError, Packet, accept_hello, reply_hello},
    protocol::{
        AgentSpec, Asked, ContextSpec, Deletion, Delivery, EchoSpec, Endpoint, FailureKind,
        Heartbeat, Hello, HelloReply, LinkId, ModelSpec, PROTOCOL, PROTOCOL_BEFORE, Position,
        Refusal, SpanKind, Spent, ToAgent, ToSupervisor, Tool, ToolsSpec, Trace, TurnFailure,
        TurnOutcome, TurnSpan, TurnStep, Welcome,
    },
    secret::Token,
};

fn hex<T: serde::Serialize>(message: &T) -> String {
    let mut buffer = BytesMut::new();
    codec::encode_frame(message, &mut buffer).unwrap();
    buffer
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn token() -> Token {
    serde_json::from_value(vec![9; 32].into()).unwrap()
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        build: "0".into(),
        agent: "a".parse().unwrap(),
        generation: Generation(7),
        token: token(),
        link: link(),
        resume: Position {
            received: 1,
            granted: 2,
        },
        draining: true,
        cage: vec![CageStep::new("core", CageOutcome::Partial, "x")],
    }
}

fn link() -> LinkId {
    serde_json::from_value(5.into()).unwrap()
}

fn welcome() -> HelloReply {
    HelloReply::Welcome(Box::new(Welcome {
        next_token: token(),
        link: link(),
        resume: Position {
            received: 3,
            granted: 4,
        },
        spec: AgentSpec {
            model: ModelSpec {
                provider: "p".into(),
                model: "m".into(),
                temperature_milli: Some(700),
                max_tokens: None,
                endpoint: Endpoint::Echo(EchoSpec::default()),
            },
            cheaper: None,
            system_prompt: None,
            context: ContextSpec {
                max_messages: 1,
                max_bytes: 2,
            },
            max_concurrent: 1,
            turn_timeout_ms: 6,
            workspace: "/w".into(),
            heartbeat_interval_ms: 7,
            tools: ToolsSpec {
                enabled: vec![],
                max_steps: 8,
                timeout_ms: 9,
            },
        },
    }))
}

/// What an agent is told to be.
const SPEC: &str = "0170 016d 01fbbc02 00 00 000000 00 00 01 02 01 06 022f77 07 000809";

/// The whole first frame of an agent, with its report.
#[test]
fn the_first_frame_is_the_one_of_this_protocol_version() {
    let token = "09".repeat(32);
    let expected = format!("3300000005 0130 0161 07 {token} 05 01 02 01 01 04636f7265 01 0178");
    assert_eq!(hex(&hello()), expected.replace(' ', ""));
    let expected = format!("3e000000 00 {token} 05 03 04 {SPEC}");
    assert_eq!(hex(&welcome()), expected.replace(' ', ""));
}

/// An agent-host of the release before says the same, and is heard. What is new stands at the ends of enums, and is not
/// said to it.
#[tokio::test]
async fn the_version_before_is_still_spoken() {
    assert_eq!(PROTOCOL_BEFORE, 4);
    let token = "09".repeat(32);
    let said = format!("3300000004 0130 0161 07 {token} 05 01 02 01 01 04636f7265 01 0178");
    let heard = accept_hello(&mut &bytes(&said)[..]).await.unwrap();
    let expected = Hello {
        protocol: PROTOCOL_BEFORE,
        ..hello()
    };
    assert_eq!(heard, expected);
    let mut answer = Vec::new();
    reply_hello(&mut answer, &welcome()).await.unwrap();
    assert_eq!(
        answer,
        bytes(&format!("3e000000 00 {token} 05 03 04 {SPEC}"))
    );
}

/// Neither older nor newer ones.
#[tokio::test]
async fn other_versions_are_told_apart_by_their_first_byte() {
    for version in [0_u8, 3, 6] {
        let frame = [2, 0, 0, 0, version, 0xff];
        let refused = accept_hello(&mut &frame[..]).await;
        assert!(
            matches!(refused, Err(HandshakeError::Protocol(found)) if found == u16::from(version)),
            "{refused:?}"
        );
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex = hex.replace(' ', "");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn spent() -> Spent {
    Spent {
        context_us: 1,
        first_token_us: 2,
        provider_us: 3,
        tools_us: 4,
        commit_us: 5,
        total_us: 6,
        input_tokens: 7,
        output_tokens: 8,
        retries: 9,
        lag_us: 10,
        asked: 11,
        tools: 12,
    }
}

fn trace() -> Trace {
    let asked = Asked {
        first_token_us: Some(20),
        input_tokens: 21,
        output_tokens: 22,
        retries: 23,
    };
    let span = |what, start_us, took_us| TurnSpan {
        what,
        start_us,
        took_us,
    };
    Trace {
        model: "p/m".into(),
        spans: vec![
            span(SpanKind::Asked(asked), 24, 25),
            span(SpanKind::Tool("exec".into()), 26, 27),
        ],
        left_out: 28,
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one message after the other")]
fn the_wire_format_is_the_one_of_this_protocol_version() {
    assert_eq!(PROTOCOL, 5, "new version: check the bytes below against it");
    let turn = "0190a1b2c3d47e5f8a9b0c1d2e3f4a5b".parse().unwrap();
    let packets: [(Packet<ToSupervisor>, &str); 8] = [
        (
            Packet::Message {
                seq: 1,
                message: ToSupervisor::Ready,
            },
            "03000000000100",
        ),
        (
            Packet::Message {
                seq: 300,
                message: ToSupervisor::Delta {
                    turn,
                    text: "hé".into(),
                },
            },
            "1a00000000fb2c0102100190a1b2c3d47e5f8a9b0c1d2e3f4a5b0368c3a9",
        ),
        (
            Packet::Message {
                seq: 2,
                message: ToSupervisor::Step {
                    turn,
                    step: TurnStep::Tool("exec".into()),
                },
            },
            "1a0000000002 05 10 0190a1b2c3d47e5f8a9b0c1d2e3f4a5b 01 0465786563",
        ),
        (
            Packet::Message {
                seq: 2,
                message: ToSupervisor::SessionDeleted {
                    session: "agent:a:b".parse().unwrap(),
                    deletion: Deletion::Done(7),
                },
            },
            "0f0000000002 06 09 6167656e743a613a62 00 07",
        ),
        (
            Packet::Message {
                seq: 4,
                message: ToSupervisor::Finished {
                    delivery: "0190a1b2c3d47e5f8a9b0c1d2e3f4a5b".parse().unwrap(),
                    turn,
                    outcome: TurnOutcome::Replied("ok".into()),
                    spent: spent(),
                    trace: trace(),
                },
            },
            "4b000000 00 04 03 10 0190a1b2c3d47e5f8a9b0c1d2e3f4a5b 10 0190a1b2c3d47e5f8a9b0c1d2e3f4a5b 00 026f6b \
             01 02 03 04 05 06 07 08 09 0a 0b 0c 03702f6d 02 00 01 14 15 16 17 18 19 01 0465786563 1a 1b 1c",
        ),
        (
            Packet::Message {
                seq: 5,
                message: ToSupervisor::Steered {
                    delivery: "0190a1b2c3d47e5f8a9b0c1d2e3f4a5b".parse().unwrap(),
                    into: "0190a1b2c3d47e5f8a9b0c1d2e3f4a5c".parse().unwrap(),
                },
            },
            "25000000 00 05 07 10 0190a1b2c3d47e5f8a9b0c1d2e3f4a5b 10 0190a1b2c3d47e5f8a9b0c1d2e3f4a5c",
        ),
        (
            Packet::Ack(Position {
                received: 7,
                granted: 2_097_152,
            }),
            "0700000001 07fc00002000",
        ),
        (
            Packet::Heartbeat(Heartbeat {
                lag_us: 9,
                running: 2,
            }),
            "03000000020902",
        ),
    ];
    for (packet, expected) in packets {
        assert_eq!(hex(&packet), expected.replace(' ', ""), "{packet:?}");
    }
    assert_eq!(hex(&ToAgent::Drain), "0100000002");
    let delete = ToAgent::DeleteSession("agent:a:b".parse().unwrap());
    assert_eq!(hex(&delete), "0b00000003096167656e743a613a62");
    let id = "10 0190a1b2c3d47e5f8a9b0c1d2e3f4a5b";
    let delivery = Delivery {
        delivery: "0190a1b2c3d47e5f8a9b0c1d2e3f4a5b".parse().unwrap(),
        turn,
        session: "agent:a:b".parse().unwrap(),
        sender: Sender {
            id: "1".into(),
            name: None,
        },
        text: "x".into(),
    };
    let (cheaper, steer) = (
        ToAgent::DeliverCheaper(delivery.clone()),
        ToAgent::Steer(delivery),
    );
    for (message, variant) in [(cheaper, "04"), (steer, "05")] {
        let expected = format!("32000000 {variant} {id} {id} 09 6167656e743a613a62 0131 00 0178");
        assert_eq!(hex(&message), expected.replace(' ', ""));
    }
    assert_eq!(
        hex(&HelloReply::Refuse(Refusal::Protocol { supported: 1 })),
        "03000000010001"
    );
    let tools = ToolsSpec {
        enabled: Tool::ALL.to_vec(),
        ..ToolsSpec::none()
    };
    assert_eq!(
        hex(&tools),
        "0c000000 05 0001020304 20 fcc0d40100".replace(' ', "")
    );
    let failed = TurnOutcome::Failed(TurnFailure {
        kind: FailureKind::Timeout,
        message: "x".into(),
    });
    assert_eq!(hex(&failed), "0400000001020178");
    let steered = TurnOutcome::Steered("0190a1b2c3d47e5f8a9b0c1d2e3f4a5b".parse().unwrap());
    assert_eq!(hex(&steered), format!("12000000 03 {id}").replace(' ', ""));
}
