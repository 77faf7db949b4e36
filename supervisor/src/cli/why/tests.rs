use super::*;
use crate::control::wire::{TurnStep, TurnSummary, TurnWaits};

fn step(tool: Option<&str>, start_us: u64, took_us: u64) -> TurnStep {
    TurnStep {
        tool: tool.map(str::to_owned),
        start_us,
        took_us,
        first_token_us: tool.is_none().then_some(took_us / 2),
        input_tokens: 0,
        output_tokens: 0,
        retries: 0,
    }
}

fn turn() -> TurnDetail {
    TurnDetail {
        turn: TurnSummary {
            id: "0194f2a0000070008000000000000001".into(),
            delivery: "0194f2a0000070008000000000000002".into(),
            agent: "hexa".into(),
            session: format!("agent:hexa:tg:direct:42\u{1b}[31m{}", "x".repeat(100)),
            class: Some("batch".into()),
            model: Some("local/smollm2".into()),
            outcome: "replied".into(),
            ended_ms: 1_700_000_000_000,
            total_us: 5_100_000,
            queued_us: 1_000_000,
            provider_us: 3_400_000,
            tools_us: 500_000,
            cpu_us: Some(300_000),
            runnable_us: Some(20_000),
            cpu_shared: true,
            input_tokens: 1200,
            output_tokens: 34,
            cost_micros: Some(4_110),
            bound: "provider".into(),
            verdict: "provider-bound: 83 % of 4.1 s waiting for the model".into(),
        },
        generation: 3,
        attempts: 0,
        waits: TurnWaits {
            session_us: 900_000,
            fleet_us: 100_000,
            ..TurnWaits::default()
        },
        dispatch_us: 300,
        run_us: 4_100_000,
        context_us: 1_200,
        first_token_us: 900_000,
        commit_us: 6_000,
        agent_us: 4_099_000,
        event_loop_lag_us: 12_000,
        retries: 0,
        runnable_by: Some("pressure".into()),
        throttled_us: Some(0),
        share: None,
        steps: vec![
            step(None, 1_300, 1_700_000),
            step(Some("exec"), 1_710_000, 500_000),
            step(None, 2_215_000, 1_700_000),
        ],
        steps_left_out: 0,
    }
}

#[test]
fn a_turn_on_a_screen() {
    for width in [60, 80, 200] {
        let text = draw(&turn(), width);
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(width.min(120)), "{text}");
        insta::assert_snapshot!(format!("why_{width}"), text);
    }
}

#[test]
fn nothing_is_too_long_or_too_short() {
    let mut turn = turn();
    turn.turn.total_us = 0;
    turn.steps_left_out = 7;
    turn.steps[0].retries = 2;
    turn.steps[1].tool = Some("a_tool_with_a_name\nthat is long".into());
    turn.waits.lost_us = 10_000_000_000;
    let text = draw(&turn, 10);
    assert!(
        text.lines()
            .all(|line| line.chars().count() <= 40 || line.contains("bound")),
        "{text}"
    );
    assert!(text.contains("and 7 steps more"), "{text}");
}
