//! What is written down of attempts that came to nothing.

use super::*;
use crate::turns::{Bound, Outcome, TurnRecord, verdict::verdict};

impl Bench {
    /// What was written down, the first first.
    async fn accounts(&self) -> Vec<TurnRecord> {
        self.handle.flushed().await;
        let reader = Reader::open(&self.home.path().join("journal.db")).unwrap();
        let mut turns = reader.turns(None, None, 100).unwrap();
        turns.reverse();
        turns.into_iter().map(|(turn, _)| turn).collect()
    }
}

fn outcomes(accounts: &[TurnRecord]) -> Vec<Outcome> {
    accounts.iter().map(|turn| turn.outcome).collect()
}

#[tokio::test]
async fn each_attempt_that_its_agent_did_not_survive_has_an_account() {
    let mut bench = Bench::new(10).await;
    let turn = bench.ask("a", "hi").await.unwrap();
    let first = bench.delivery("a").await;
    bench.report("a", AgentEvent::Started(first.turn)).await;
    bench.report("a", AgentEvent::Down { asked: true }).await;
    bench.report("a", AgentEvent::Up).await;
    let second = bench.delivery("a").await;
    bench.reply("a", second.delivery, "done").await;
    assert_eq!(replied(&turn.finish().await), "done");
    let accounts = bench.accounts().await;
    assert_eq!(outcomes(&accounts), [Outcome::Lost, Outcome::Replied]);
    assert_eq!(
        [accounts[0].turn, accounts[1].turn],
        [first.turn, second.turn]
    );
    assert!(accounts.iter().all(|one| one.delivery == first.delivery));
    assert_eq!(accounts[0].lost_us, 0, "nothing was lost before it");
    assert!(accounts[1].lost_us >= accounts[0].run_us);
    let told = verdict(&accounts[0]);
    assert_eq!(told.bound, Bound::Lost);
    assert!(told.text.starts_with("lost with the agent's process"));
    // Counted is the one that answered.
    let histograms = bench.handle.histograms().await;
    let total = &histograms[&agent("a")].total;
    assert_eq!(total.counts.iter().sum::<u64>(), 1);
}

#[tokio::test]
async fn what_is_set_aside_has_an_account_of_each_attempt() {
    let mut bench = Bench::new(10).await;
    let deadly = bench.ask("a", "deadly").await.unwrap();
    let mut attempts = Vec::new();
    for _ in 0..POISON_AFTER {
        attempts.push(bench.delivery("a").await.turn);
        bench.report("a", AgentEvent::Down { asked: false }).await;
        bench.report("a", AgentEvent::Up).await;
    }
    assert!(matches!(deadly.finish().await, TurnEnd::Failed { .. }));
    let accounts = bench.accounts().await;
    let expected = [Outcome::Lost, Outcome::Lost, Outcome::Agent];
    assert_eq!(outcomes(&accounts), expected);
    let turns: Vec<_> = accounts.iter().map(|one| one.turn).collect();
    assert_eq!(turns, attempts);
    let last = &accounts[2];
    assert_eq!((last.attempts, last.generation), (3, Generation(1)));
    let told = verdict(last).text;
    assert!(told.starts_with("set aside: the agent stopped working 3 times"));
    // The message leads to the last of them.
    let reader = Reader::open(&bench.home.path().join("journal.db")).unwrap();
    let found = reader.find_turns(&last.delivery.to_string()).unwrap();
    assert_eq!(found.as_slice(), std::slice::from_ref(last));
}

/// It was told to end, and its process had to be ended for it.
#[tokio::test]
async fn a_turn_that_was_ended_by_force_has_the_account_of_its_end() {
    let mut bench = Bench::new(10).await;
    let turn = bench.ask("a", "stuck").await.unwrap();
    let delivery = bench.delivery("a").await;
    assert!(bench.handle.cancel(delivery.delivery).await);
    assert!(matches!(bench.command("a").await, Command::Cancel(_)));
    bench.report("a", AgentEvent::Down { asked: false }).await;
    assert_eq!(turn.finish().await, TurnEnd::Cancelled);
    let accounts = bench.accounts().await;
    assert_eq!(outcomes(&accounts), [Outcome::Cancelled]);
    assert_eq!(accounts[0].turn, delivery.turn);
}

#[tokio::test]
async fn what_no_agent_had_has_none() {
    let mut bench = Bench::new(10).await;
    let running = bench.ask("a", "one").await.unwrap();
    let waiting = bench.ask("a", "two").await.unwrap();
    let delivery = bench.delivery("a").await;
    assert!(bench.handle.cancel(waiting.delivery()).await);
    assert_eq!(waiting.finish().await, TurnEnd::Cancelled);
    bench.reply("a", delivery.delivery, "done").await;
    running.finish().await;
    assert_eq!(outcomes(&bench.accounts().await), [Outcome::Replied]);
}

#[tokio::test]
async fn each_moment_of_a_wait_counts_once_however_often_it_is_handed_out() {
    let mut bench = Bench::new(10).await;
    bench.report("a", AgentEvent::Closed).await;
    let began = Instant::now();
    let turn = bench.ask("a", "hi").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..2 {
        bench.report("a", AgentEvent::Up).await;
        bench.delivery("a").await;
        bench.report("a", AgentEvent::Down { asked: true }).await;
    }
    bench.report("a", AgentEvent::Up).await;
    let last = bench.delivery("a").await;
    bench.reply("a", last.delivery, "done").await;
    turn.finish().await;
    let passed = u64::try_from(began.elapsed().as_micros()).unwrap();
    for account in bench.accounts().await {
        let waited = account.waits.total_us();
        assert!(waited >= 100_000, "{account:?}");
        assert!(
            waited + account.lost_us <= passed,
            "{account:?} in {passed}"
        );
    }
}
