//! What agents may spend, with scripted drivers: what is said of a turn is what it cost.

use super::*;
use crate::{
    journal::now_ms,
    turns::{
        Window,
        budget::{Limits as Bounds, Spent as Sum},
    },
};

const HOUR_MS: i64 = 3_600_000;

/// A warning from 50 tokens on and an end at 100, in a month, so that no test runs into the next window but once in one.
fn monthly() -> Budget {
    let month = Bounds {
        warn_tokens: Some(50),
        max_tokens: Some(100),
        ..Bounds::default()
    };
    Budget {
        limits: [Bounds::default(), Bounds::default(), month],
        downgrades: true,
        ..Budget::default()
    }
}

fn books(budget: &Budget, at_ms: i64, tokens: u64) -> Books {
    let spent = Sum { tokens, cost: 0 };
    Books::of(budget, at_ms, [spent; 3])
}

impl Bench {
    async fn allow(&self, budget: &Budget, books: Books) {
        let change = Change::Budget {
            agent: agent("a"),
            budget: Some(Box::new((budget.clone(), books))),
        };
        self.handle.change(change).await;
    }

    /// An answer that has read so many tokens.
    async fn spend(&self, delivery: DeliveryId, input_tokens: u32) {
        let event = AgentEvent::Finished {
            delivery,
            outcome: TurnOutcome::Replied("done".into()),
            spent: Spent {
                input_tokens,
                ..Spent::default()
            },
            told: Box::default(),
        };
        self.report("a", event).await;
    }

    /// The next delivery, and whether it is for the cheaper model.
    async fn cheaper(&mut self) -> (DeliveryId, bool) {
        match self.command("a").await {
            Command::Deliver(delivery) => (delivery.delivery, false),
            Command::DeliverCheaper(delivery) => (delivery.delivery, true),
            other => panic!("{other:?} is no delivery"),
        }
    }
}

fn refused(found: Result<TurnStream, Rejected>) -> String {
    match found {
        Err(Rejected::OverBudget { agent, why, wait }) => {
            assert_eq!(agent, "a");
            assert!(wait > Duration::ZERO, "{wait:?}");
            why
        }
        Err(other) => panic!("{other:?} is another refusal"),
        Ok(_) => panic!("it is taken"),
    }
}

#[tokio::test]
async fn a_budget_that_runs_out_turns_to_the_cheaper_model_and_then_refuses() {
    let mut bench = Bench::new(10).await;
    bench.allow(&monthly(), Books::default()).await;
    for (spends, is_cheaper) in [(49, false), (1, false), (50, true)] {
        let turn = bench.ask("a", "hi").await.unwrap();
        let (delivery, cheaper) = bench.cheaper().await;
        assert_eq!(cheaper, is_cheaper);
        bench.spend(delivery, spends).await;
        assert_eq!(replied(&turn.finish().await), "done");
    }
    let why = refused(bench.ask("a", "no").await);
    let begins = "the budget of the month is spent (100 of 100 tokens); it begins anew at ";
    assert!(why.starts_with(begins), "{why}");
    // The other agent has none.
    assert!(bench.ask("b", "hi").await.is_ok());
    let view = &bench.handle.budgets().await[&agent("a")];
    assert_eq!(view.windows[2].2.tokens, 100);
}

#[tokio::test]
async fn what_was_begun_goes_on_and_what_waits_is_refused_in_its_turn() {
    let mut bench = Bench::new(10).await;
    bench.allow(&monthly(), Books::default()).await;
    let begun = bench.ask("a", "long").await.unwrap();
    let waits = bench.ask("a", "later").await.unwrap();
    let (delivery, _) = bench.cheaper().await;
    // All is spent meanwhile.
    let budget = monthly();
    bench.allow(&budget, books(&budget, now_ms(), 100)).await;
    refused(bench.ask("a", "no").await);
    bench.spend(delivery, 20).await;
    assert_eq!(replied(&begun.finish().await), "done");
    match waits.finish().await {
        TurnEnd::Failed { kind, message } => {
            assert_eq!(kind, EndKind::Budget);
            assert!(message.starts_with("the budget of the month is spent (120 of 100"));
        }
        other => panic!("{other:?}"),
    }
    // Nobody was asked for it: what comes next to the driver is something else.
    bench.allow(&budget, Books::default()).await;
    bench
        .handle
        .change(Change::Budget {
            agent: agent("a"),
            budget: None,
        })
        .await;
    let _free = bench.ask("a", "free").await.unwrap();
    assert_eq!(bench.delivery("a").await.text, "free");
}

#[tokio::test]
async fn a_window_that_has_ended_counts_no_more() {
    let mut bench = Bench::new(10).await;
    let mut budget = monthly();
    budget.limits.swap(0, 2);
    let before = books(&budget, now_ms() - HOUR_MS, 100);
    // It was spent then.
    assert!(matches!(
        before.decide(&budget, now_ms() - HOUR_MS),
        crate::turns::Decision::Refused(_)
    ));
    bench.allow(&budget, before).await;
    let turn = bench.ask("a", "hi").await.unwrap();
    let (delivery, cheaper) = bench.cheaper().await;
    assert!(!cheaper, "nor does the warning");
    bench.spend(delivery, 3).await;
    turn.finish().await;
    let view = &bench.handle.budgets().await[&agent("a")];
    let [hour, day, _] = &view.windows;
    assert_eq!((hour.0, hour.2.tokens), (Window::Hour, 3));
    assert_eq!(day.0, Window::Day);
}

#[tokio::test]
async fn a_restart_keeps_the_books() {
    let mut bench = Bench::new(10).await;
    bench.allow(&monthly(), Books::default()).await;
    for spends in [30, 30] {
        let turn = bench.ask("a", "hi").await.unwrap();
        let (delivery, _) = bench.cheaper().await;
        bench.spend(delivery, spends).await;
        turn.finish().await;
    }
    // And one whose agent died of it: nobody knows what it took.
    let lost = bench.ask("a", "deadly").await.unwrap();
    for _ in 0..POISON_AFTER {
        bench.cheaper().await;
        bench.report("a", AgentEvent::Down { asked: false }).await;
        bench.report("a", AgentEvent::Up).await;
    }
    assert!(matches!(lost.finish().await, TurnEnd::Failed { .. }));
    let mut bench = bench.next(&[]).await;
    let reader = Reader::open(&bench.home.path().join("journal.db")).unwrap();
    let budget = monthly();
    let found = crate::plan::books(&reader, &agent("a"), &budget, now_ms()).unwrap();
    assert_eq!(found.spent()[2].tokens, 60);
    bench.report("a", AgentEvent::Up).await;
    bench.allow(&budget, found).await;
    let turn = bench.ask("a", "hi").await.unwrap();
    let (delivery, cheaper) = bench.cheaper().await;
    assert!(cheaper, "the warning was in the life before");
    bench.spend(delivery, 40).await;
    turn.finish().await;
    let why = refused(bench.ask("a", "no").await);
    assert!(why.contains("(100 of 100 tokens)"), "{why}");
}
