//! A burst over every entry point at once, much of it on the same sessions: two chat platforms, the control API, the
//! `OpenAI` endpoint, the command line and schedules.

use std::collections::{BTreeMap, BTreeSet};

use futures::{
    FutureExt as _,
    future::{BoxFuture, join, join_all},
};
use hyper::Method;
use kennel::journal::{FILE, Reader, entry::Origin, reader::View};
use kennel_tests::{
    fake_telegram::FakeTelegram,
    harness::{Builder, Client, Kennel, eventually, patience},
    held_model::{HeldModel, Visit},
    irc::{Person, Server, Terms},
};
use serde_json::{Value, json};

use super::{
    PACE, fleet,
    proof::{self, Account},
};

const AGENTS: [&str; 3] = ["one", "two", "three"];
const BOT: &str = "111:one";
const ADA: i64 = 7;
const NICK: &str = "kennel";
const TOKEN: &str = "a-token-for-this-test";

/// What each entry point says to each agent in the session that they share.
const EACH: usize = 3;

/// What a person says in a chat.
const CHAT: usize = 5;

/// What the clock says.
const TICK: &str = "tick";

/// The session that all entry points of an agent share: the chat's, where it has one.
fn shared(agent: &str) -> &'static str {
    match agent {
        "one" => "agent:one:tg:direct:7",
        "two" => "agent:two:irc:direct:alice",
        _ => "agent:three:api:shared",
    }
}

/// Everything in a burst has a word of its own: who is asked, over which entry point, and the how manieth it is.
fn words(agent: &str, entry: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{agent}-{entry}-{n}")).collect()
}

/// Who asks, and what was answered to which word.
type Asking<'a> = BoxFuture<'a, Vec<(String, String)>>;

/// One after the other is accepted, all wait together.
async fn by_the_api(client: Client, agent: &str) -> Vec<(String, String)> {
    let mut asked = Vec::new();
    for word in words(agent, "api", EACH) {
        asked.push((super::ask(&client, agent, &word, shared(agent)).await, word));
    }
    let replies = asked
        .into_iter()
        .map(|(asked, word)| async { (word, asked.reply().await) });
    join_all(replies).await
}

/// Each is asked twice at once, by one key.
async fn by_the_api_with_keys(client: Client, agent: &str) -> Vec<(String, String)> {
    let path = format!("/api/v1/agents/{agent}/turns");
    let asked = words(agent, "keyed", EACH).into_iter().map(|word| {
        let body = json!({ "text": word, "session": shared(agent) });
        twice(client.clone(), path.clone(), body, word, |body| {
            (&body["turn_id"], &body["reply"])
        })
    });
    join_all(asked).await
}

async fn by_openai_with_keys(client: Client, agent: &str) -> Vec<(String, String)> {
    let client = client.header("x-kennel-session", shared(agent));
    let asked = words(agent, "openai-keyed", EACH).into_iter().map(|word| {
        let body = question(agent, &word, false);
        let path = "/v1/chat/completions".to_owned();
        twice(client.clone(), path, body, word, |body| {
            (&body["id"], &body["choices"][0]["message"]["content"])
        })
    });
    join_all(asked).await
}

async fn twice(
    client: Client,
    path: String,
    body: Value,
    word: String,
    read: impl Fn(&Value) -> (&Value, &Value),
) -> (String, String) {
    let keyed = client.header("idempotency-key", &word);
    let (one, other) = join(keyed.post(&path, &body), keyed.post(&path, &body)).await;
    let (one, other) = (one.expect("an answer"), other.expect("an answer"));
    assert_eq!((one.status, other.status), (200, 200), "{one:?} {other:?}");
    let answer = read(&one.body);
    assert_eq!(answer, read(&other.body), "one turn for both");
    let reply = answer.1.as_str().expect("a reply").to_owned();
    (word, reply)
}

fn question(agent: &str, word: &str, stream: bool) -> Value {
    json!({ "model": format!("agent/{agent}"), "stream": stream, "messages": [{ "role": "user", "content": word }] })
}

/// The head of an answer comes when the question is accepted: one after the other, all wait together.
async fn by_openai(client: Client, agent: &str) -> Vec<(String, String)> {
    let client = client.header("x-kennel-session", shared(agent));
    let mut asked = Vec::new();
    for word in words(agent, "openai", EACH) {
        let body = question(agent, &word, true).to_string().into();
        let events = client.events(Method::POST, "/v1/chat/completions", body);
        asked.push((events.await, word));
    }
    let replies = asked.into_iter().map(|(mut events, word)| async move {
        let pieces = events.rest().await;
        assert_eq!(pieces.last().expect("pieces").1, "[DONE]", "{pieces:?}");
        let texts = pieces
            .iter()
            .map(|(_, piece)| &piece["choices"][0]["delta"]["content"]);
        (word, texts.filter_map(Value::as_str).collect())
    });
    join_all(replies).await
}

/// In a session that nobody else has.
async fn by_themselves(client: Client, agent: &str) -> Vec<(String, String)> {
    let asked = words(agent, "fresh", EACH).into_iter().map(|word| async {
        let reply = client.send(agent, &word, None).await.reply().to_owned();
        (word, reply)
    });
    join_all(asked).await
}

async fn by_the_command_line(kennel: &Kennel, agent: &str) -> Vec<(String, String)> {
    let asked = words(agent, "cli", 2).into_iter().map(|word| async move {
        let order = ["send", agent, &word, "--session", shared(agent)];
        let (code, out, err) = kennel.run(&order).await;
        assert_eq!(code, Some(0), "{err}");
        (word, out.trim_end().to_owned())
    });
    join_all(asked).await
}

async fn by_schedules(client: Client, agent: &str) -> Vec<(String, String)> {
    for name in words(agent, "sched", EACH) {
        let path = format!("/api/v1/schedules/{name}/run");
        let answer = client.post(&path, &json!({})).await.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    Vec::new()
}

/// Schedules of each agent that are due next year, and run when they are told to; and the clock of one.
fn with_schedules(mut builder: Builder) -> Builder {
    for agent in AGENTS {
        for name in words(agent, "sched", EACH) {
            builder = builder.schedule(&[
                ("name", &format!("'{name}'")),
                ("prompt", &format!("'{name}'")),
                ("cron", "'0 0 1 1 *'"),
                ("agent", &format!("'{agent}'")),
                ("session", &format!("'{}'", shared(agent))),
            ]);
        }
    }
    builder.schedule(&[
        ("name", "'clock'"),
        ("prompt", &format!("'{TICK}'")),
        ("every", "'1s'"),
        ("agent", "'three'"),
    ])
}

struct Scene {
    model: HeldModel,
    telegram: FakeTelegram,
    alice: Person,
    kennel: Kennel,
    _irc: Server,
}

impl Scene {
    async fn set(at_once: usize, per_agent: usize) -> Self {
        let model = HeldModel::start().await;
        let telegram = FakeTelegram::start().await.expect("a server");
        telegram.add_bot(BOT, "OneBot");
        telegram.user(ADA, "Ada");
        telegram.open_chat(BOT, ADA);
        let irc = Server::start(Terms::default()).await;
        let alice = Person::connect(irc.port, None, "alice").await;
        let builder = fleet(&model, &AGENTS, at_once, per_agent)
            .defaults(&[
                ("queue", "{ mode = 'followup' }"),
                // Each turn sees all of its session, so that the last one tells what was in it.
                ("context", "{ max_messages = 1000, max_bytes = '1MiB' }"),
            ])
            .http(TOKEN)
            .telegram("tg", &telegram.url(), BOT, "one")
            .irc("irc", irc.port, NICK, "two")
            .channel("irc", &[("queue", "{ mode = 'collect' }")]);
        let kennel = with_schedules(builder).start().await;
        eventually("both channels are online", || async {
            let answer = kennel.client().get("/api/v1/channels").await.ok()?;
            let channels = answer.body["channels"].as_array()?.clone();
            let online = |channel: &Value| channel["state"] == "connected";
            channels.iter().all(online).then_some(())
        })
        .await;
        Self {
            model,
            telegram,
            alice,
            kennel,
            _irc: irc,
        }
    }

    /// What was accepted: what the clock asked, and everything else.
    fn accepted(&self) -> (usize, usize) {
        let reader = Reader::open(&self.kennel.root().join("state").join(FILE));
        let reader = reader.expect("a journal");
        let list = reader.list(View::All, None, None, 1000).expect("a list");
        let of_clock = |delivery| {
            let message = reader.message(delivery).expect("it reads");
            message.is_some_and(|message| {
                matches!(message.origin, Origin::Schedule { due: Some(_), .. })
            })
        };
        let all = list.entries.len();
        let ticks = list.entries.iter().filter(|entry| of_clock(entry.delivery));
        let ticks = ticks.count();
        (ticks, all - ticks)
    }

    /// Everybody who asks over HTTP, the command line or a schedule.
    async fn askers(&self) -> Vec<Asking<'_>> {
        let control = self.kennel.client();
        let port = self.kennel.http_port().await;
        let http = Client::tcp(port).header("authorization", &format!("Bearer {TOKEN}"));
        let mut asking: Vec<Asking<'_>> = Vec::new();
        for agent in AGENTS {
            asking.push(by_the_api(control.clone(), agent).boxed());
            asking.push(by_the_api_with_keys(control.clone(), agent).boxed());
            asking.push(by_openai(http.clone(), agent).boxed());
            asking.push(by_openai_with_keys(http.clone(), agent).boxed());
            asking.push(by_themselves(http.clone(), agent).boxed());
            asking.push(by_the_command_line(&self.kennel, agent).boxed());
            asking.push(by_schedules(control.clone(), agent).boxed());
        }
        asking
    }

    /// The fleet is full while all is held, and nobody is in it beyond that; then the model lets go.
    async fn watch(&self, asked: usize, at_once: usize) {
        eventually("everything is accepted", || async {
            let (ticks, others) = self.accepted();
            assert!(others <= asked, "{others} messages of {asked}");
            (others == asked && ticks > 0).then_some(())
        })
        .await;
        self.model.until_inside(at_once).await;
        let running: u64 = self
            .kennel
            .agents()
            .await
            .iter()
            .map(|agent| agent.running)
            .sum();
        assert_eq!(running, at_once as u64, "by the supervisor's own word");
        assert_eq!(self.model.inside().len(), at_once);
        self.model.let_go(PACE);
    }

    /// Each answer in the chats came once, to what was asked there, in order.
    async fn chats(&mut self) {
        let expected = words("one", "tg", CHAT);
        let all = |chat: &FakeTelegram| chat.sent(BOT).len() >= CHAT;
        assert!(self.telegram.wait_until(all, patience()).await);
        for word in words("two", "irc", CHAT) {
            self.alice.hear("privmsg", &word).await;
        }
        // Behind this answer there is nothing of before.
        self.alice.say(NICK, "last");
        self.alice.hear("privmsg", "last").await;
        let sent: Vec<_> = self
            .telegram
            .sent(BOT)
            .into_iter()
            .map(|sent| sent.text)
            .collect();
        assert_eq!(sent, expected);
        let heard = self
            .alice
            .seen()
            .iter()
            .filter(|event| event["event"] == "privmsg");
        let mut expected = words("two", "irc", CHAT);
        expected.push("last".into());
        assert_eq!(
            heard.map(|event| event["text"].clone()).collect::<Vec<_>>(),
            expected
        );
    }
}

/// Every word that was asked has one visit, and each entry point its order; by the visits in the order of coming.
fn once_and_in_order(visits: &[Visit], asked: &BTreeSet<String>) {
    let news: Vec<&str> = visits
        .iter()
        .flat_map(|visit| visit.news().split_whitespace())
        .filter(|word| *word != TICK && *word != "last")
        .collect();
    let mut sorted: Vec<&str> = news.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, asked.iter().map(String::as_str).collect::<Vec<_>>());
    for agent in AGENTS {
        for (entry, count) in [
            ("api", EACH),
            ("openai", EACH),
            ("sched", EACH),
            ("tg", CHAT),
            ("irc", CHAT),
        ] {
            let expected = words(agent, entry, count);
            let own = news
                .iter()
                .filter(|word| expected.iter().any(|own| own == *word));
            let own: Vec<_> = own.copied().collect();
            assert!(own.is_empty() || own == expected, "{own:?}");
        }
    }
}

/// Of each shared session: one at a time, and each saw all that came before it, once.
fn one_history(visits: &[Visit]) {
    for agent in AGENTS {
        let own = |visit: &&Visit| {
            visit.model == agent && !visit.news().contains("fresh") && visit.news() != TICK
        };
        let session: Vec<Visit> = visits.iter().filter(own).cloned().collect();
        proof::at_once(&session, 1, 1);
        let mut history = Vec::new();
        for visit in &session {
            history.push(visit.news().to_owned());
            assert_eq!(visit.said, history, "{agent}");
        }
        assert!(session.len() > 4 * EACH, "{} of {agent}", session.len());
    }
}

async fn burst(at_once: usize, per_agent: usize) {
    let mut scene = Scene::set(at_once, per_agent).await;
    let mut asked: BTreeSet<String> = words("one", "tg", CHAT).into_iter().collect();
    asked.extend(words("two", "irc", CHAT));
    for agent in AGENTS {
        for entry in ["api", "keyed", "openai", "openai-keyed", "fresh", "sched"] {
            asked.extend(words(agent, entry, EACH));
        }
        asked.extend(words(agent, "cli", 2));
    }
    for word in words("one", "tg", CHAT) {
        scene.telegram.say(BOT, ADA, &word);
    }
    for word in words("two", "irc", CHAT) {
        scene.alice.say(NICK, &word);
    }
    let asking = scene.askers().await;
    let (answers, ()) = join(join_all(asking), scene.watch(asked.len(), at_once)).await;
    for (word, reply) in answers.into_iter().flatten() {
        assert_eq!(word, reply);
    }
    scene.chats().await;
    let kennel = &scene.kennel;
    let (code, _, err) = kennel.run(&["schedules", "pause", "clock"]).await;
    assert_eq!(code, Some(0), "{err}");
    let client = kennel.client();
    eventually("all has come to rest", || async {
        let agents = kennel.agents().await;
        agents
            .iter()
            .all(|agent| agent.queued + agent.running == 0)
            .then_some(())
    })
    .await;

    let visits = scene.model.visits();
    proof::at_once(&visits, at_once, per_agent);
    once_and_in_order(&visits, &asked);
    one_history(&visits);
    let ticks = visits.iter().filter(|visit| visit.news() == TICK).count();
    assert_eq!(ticks, scene.accepted().0, "each due time once");
    let accounts = eventually("each turn has its account", || async {
        let accounts = Account::all(&client).await;
        (accounts.len() == visits.len()).then_some(accounts)
    })
    .await;
    Account::at_once(&accounts, at_once, per_agent);
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for account in &accounts {
        *outcomes.entry(&account.outcome).or_default() += 1;
    }
    assert_eq!(outcomes, BTreeMap::from([("replied", visits.len())]));
    scene.kennel.shut_down().await;
}

#[tokio::test]
async fn a_burst_over_every_entry_point_runs_two_at_once_and_one_of_each_agent() {
    burst(2, 1).await;
}

/// Where an agent may do more at once, a session still does not.
#[tokio::test]
async fn a_burst_over_every_entry_point_runs_one_of_each_session() {
    burst(4, 3).await;
}
