//! Who runs at once, and who waits for whom, with the real programs: shown by a model server that holds every answer
//! until it is let go, so that nothing here depends on how long anything takes.

mod burst;
mod proof;

use std::time::Duration;

use kennel_tests::{
    harness::{Builder, Client, Kennel, eventually},
    held_model::{HeldModel, Visit},
};
use proof::Account;

/// How long the model takes with an answer once it holds nobody: long enough to be met by whoever runs beside it.
const PACE: Duration = Duration::from_millis(10);

/// A fleet that runs so many turns at once, each agent on the held model under its own name.
fn fleet(model: &HeldModel, agents: &[&str], at_once: usize, per_agent: usize) -> Builder {
    let mut builder = Kennel::builder()
        .supervisor(&[("max_concurrent", &at_once.to_string())])
        .provider(
            "held",
            &[("kind", "'openai'"), ("base_url", &model.base_url())],
        )
        .defaults(&[("max_concurrent", &per_agent.to_string())]);
    for agent in agents {
        builder = builder.agent(agent, &[("model", &format!("'held/{agent}'"))]);
    }
    builder
}

/// Asks, without waiting for an answer that is held; gives it in the end.
async fn ask(client: &Client, agent: &str, text: &str, session: &str) -> Asked {
    let mut events = client.stream(agent, text, Some(session)).await;
    events.until("accepted").await;
    Asked(events)
}

struct Asked(kennel_tests::harness::Events);

impl Asked {
    async fn reply(mut self) -> String {
        let end = self.0.until("finished").await;
        end["reply"].as_str().expect("a reply").to_owned()
    }
}

/// Waits until so many messages of an agent wait, and so many run.
async fn until_counted(kennel: &Kennel, agent: &str, queued: u64, running: u64) {
    let what = format!("has {queued} that wait and {running} that run");
    let wanted =
        |seen: &kennel_tests::harness::AgentView| (seen.queued, seen.running) == (queued, running);
    kennel.until(agent, &what, wanted).await;
}

#[tokio::test]
async fn two_agents_run_at_once_and_two_messages_of_one_in_turn() {
    let model = HeldModel::start().await;
    let kennel = fleet(&model, &["one", "two", "three"], 2, 1).start().await;
    let client = kennel.client();
    let first = ask(&client, "one", "first", "a").await;
    model.until_inside(1).await;
    // Of another session, and there is a place in the fleet: only its agent is in its way.
    let second = ask(&client, "one", "second", "b").await;
    until_counted(&kennel, "one", 1, 1).await;
    let beside = ask(&client, "two", "beside", "c").await;
    let inside = model.until_inside(2).await;
    let asked: Vec<_> = inside.iter().map(Visit::news).collect();
    assert_eq!(asked, ["first", "beside"], "two agents at once");
    // Its agent is free, and the fleet is not.
    let third = ask(&client, "three", "third", "d").await;
    until_counted(&kennel, "three", 1, 0).await;
    until_counted(&kennel, "one", 1, 1).await;
    assert_eq!(model.inside(), inside, "nobody else comes in");

    model.let_go(PACE);
    for (asked, reply) in [
        (first, "first"),
        (second, "second"),
        (beside, "beside"),
        (third, "third"),
    ] {
        assert_eq!(asked.reply().await, reply);
    }
    let visits = model.visits();
    proof::at_once(&visits, 2, 1);
    let accounts = eventually("all four are written down", || async {
        let accounts = Account::all(&client).await;
        (accounts.len() == 4).then_some(accounts)
    })
    .await;
    Account::at_once(&accounts, 2, 1);
    // What each waited for is what stood in its way.
    let waited = |session: &str, lane: &str| {
        let of = |account: &&Account| account.session.ends_with(session);
        let found = accounts.iter().find(of);
        found.expect("an account").waited(lane)
    };
    assert!(waited(":b", "agent_us") > 0);
    assert_eq!(waited(":b", "session_us"), 0);
    assert!(waited(":d", "fleet_us") > 0);
    assert_eq!(waited(":d", "agent_us"), 0);
    kennel.shut_down().await;
}

#[tokio::test]
async fn one_session_keeps_its_order_and_runs_alone_where_its_agent_may_do_more() {
    let model = HeldModel::start().await;
    let kennel = fleet(&model, &["one"], 4, 3).start().await;
    let client = kennel.client();
    let mut asked = Vec::new();
    for n in 0..6 {
        asked.push(ask(&client, "one", &format!("same-{n}"), "s").await);
    }
    let beside = ask(&client, "one", "beside", "t").await;
    let inside = model.until_inside(2).await;
    let news: Vec<_> = inside.iter().map(Visit::news).collect();
    assert_eq!(news, ["same-0", "beside"]);
    // The supervisor has looked at all seven, and there is a third place.
    until_counted(&kennel, "one", 5, 2).await;
    assert_eq!(model.inside(), inside);

    model.let_go(PACE);
    for (n, asked) in asked.into_iter().enumerate() {
        assert_eq!(asked.reply().await, format!("same-{n}"));
    }
    assert_eq!(beside.reply().await, "beside");
    let visits = model.visits();
    let same: Vec<_> = visits
        .into_iter()
        .filter(|visit| visit.news().starts_with("same"))
        .collect();
    proof::at_once(&same, 1, 1);
    // Each sees all that was before it, and nothing else.
    for (n, visit) in same.iter().enumerate() {
        let expected: Vec<_> = (0..=n).map(|n| format!("same-{n}")).collect();
        assert_eq!(visit.said, expected);
    }
    assert_eq!(same.len(), 6);
    kennel.shut_down().await;
}
