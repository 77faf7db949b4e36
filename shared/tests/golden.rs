//! Golden bytes: the wire format, held still. When one of these fails, the protocol changed: give
//! `PROTOCOL` its next number and these their new bytes, in one commit.

use bytes::BytesMut;
use kennel_shared::{
    cage::{CageOutcome, CageStep},
    codec,
    ids::Generation,
    link::Packet,
    protocol::{
        FailureKind, Heartbeat, Hello, HelloReply, PROTOCOL, Position, Refusal, ToAgent,
        ToSupervisor, Tool, ToolsSpec, TurnFailure, TurnOutcome, TurnStep,
    },
};

fn hex<T: serde::Serialize>(message: &T) -> String {
    let mut buffer = BytesMut::new();
    codec::encode_frame(message, &mut buffer).unwrap();
    buffer
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The whole first frame of an agent, with its report.
#[test]
fn the_first_frame_is_the_one_of_this_protocol_version() {
    let hello = Hello {
        protocol: PROTOCOL,
        build: "0".into(),
        agent: "a".parse().unwrap(),
        generation: Generation(7),
        token: serde_json::from_value(vec![9; 32].into()).unwrap(),
        resume: Position {
            received: 1,
            granted: 2,
        },
        cage: vec![CageStep::new("core", CageOutcome::Partial, "x")],
    };
    let token = "09".repeat(32);
    let expected = format!("3100000002 0130 0161 07 {token} 01 02 01 04636f7265 01 0178");
    assert_eq!(hex(&hello), expected.replace(' ', ""));
}

#[test]
fn the_wire_format_is_the_one_of_this_protocol_version() {
    assert_eq!(PROTOCOL, 2, "new version: check the bytes below against it");
    let turn = "0190a1b2c3d47e5f8a9b0c1d2e3f4a5b".parse().unwrap();
    let packets: [(Packet<ToSupervisor>, &str); 5] = [
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
}
