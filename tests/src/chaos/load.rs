//! People and programs that say something, steadily, and wait for each answer.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{task::JoinHandle, time::sleep};

use super::{AGENTS, judge::names, mode::Mode};
use crate::{fake_telegram::FakeTelegram, harness::Client};

/// Between two looks of a person who waits.
const PAUSE: Duration = Duration::from_millis(15);

/// Callers of the API, each with a conversation of its own.
const CALLERS: usize = 2;

/// A bot and those who talk to it.
pub(super) struct BotAccount {
    pub(super) channel: &'static str,
    pub(super) token: &'static str,
    pub(super) people: [i64; 2],
}

pub(super) const BOTS: [BotAccount; 3] = [
    BotAccount {
        channel: "tg-a",
        token: "111:a",
        people: [11, 12],
    },
    BotAccount {
        channel: "tg-b",
        token: "222:b",
        people: [21, 22],
    },
    BotAccount {
        channel: "tg-c",
        token: "333:c",
        people: [31, 32],
    },
];

impl BotAccount {
    pub(super) fn join(&self, telegram: &FakeTelegram) {
        telegram.add_bot(self.token, &self.channel.replace('-', "_"));
        for person in self.people {
            telegram.user(person, &format!("P{person}"));
            telegram.open_chat(self.token, person);
        }
    }
}

/// What was said, and what the one who said it knows.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// Who spoke to whom: the beginning of the name of the session.
    pub(super) session: String,
    /// Unlike that of all others.
    pub(super) word: String,
    /// What was said, word and all.
    pub(super) text: String,
    /// The bot that was spoken to, and the chat.
    pub(super) chat: Option<(&'static str, i64)>,
    /// How messages wait there.
    pub(super) mode: Mode,
    /// A caller of the API has its answer.
    pub(super) answered: Option<String>,
}

/// A turn that takes its time, or one that runs a command, which writes the word down.
fn text(word: &str, rng: &mut fastrand::Rng) -> String {
    if rng.u8(..4) == 0 {
        let command = format!("echo {word} | tee -a ran");
        let exec = json!({ "name": "exec", "arguments": { "command": command } });
        // There is no such tool, and the answer says so: by that it is known, also when the
        // command was interrupted.
        let named = json!({ "name": word, "arguments": {} });
        let calls = json!([[exec, named]]);
        format!("!tools {calls}")
    } else {
        format!("!sleep {} {word}", rng.u64(..60))
    }
}

#[derive(Default)]
struct Shared {
    said: Mutex<Vec<Said>>,
    over: AtomicBool,
    count: AtomicUsize,
    /// When something was answered last.
    heard: Mutex<Option<Instant>>,
}

impl Shared {
    fn say(&self, said: Said) -> usize {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(said);
        all.len() - 1
    }

    fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// All who talk.
pub(super) struct Load {
    shared: Arc<Shared>,
    talkers: Vec<JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(
        telegram: &Arc<FakeTelegram>,
        client: &Client,
        seed: u64,
        modes: &[Mode],
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let mut talkers = Vec::new();
        for ((bot, agent), mode) in BOTS.iter().zip(AGENTS).zip(modes) {
            for person in bot.people {
                let who = Person {
                    bot,
                    id: person,
                    agent,
                    mode: *mode,
                };
                let rng = fastrand::Rng::with_seed(seed ^ person.unsigned_abs());
                let talk = person_talks(Arc::clone(telegram), who, Arc::clone(&shared), rng);
                talkers.push(tokio::spawn(talk));
            }
        }
        for n in 0..CALLERS {
            let agent = AGENTS[AGENTS.len() - 1 - n];
            let rng = fastrand::Rng::with_seed(seed ^ (1000 + n as u64));
            let talk = caller_talks(client.clone(), n, agent, Arc::clone(&shared), rng);
            talkers.push(tokio::spawn(talk));
        }
        Self { shared, talkers }
    }

    /// How much was said.
    pub(super) fn said(&self) -> usize {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// When something was answered last.
    pub(super) fn heard(&self) -> Option<Instant> {
        *self
            .shared
            .heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Says no more, and waits until everybody has their answers, or for so long.
    pub(super) async fn rest(mut self, limit: Duration) -> Vec<Said> {
        self.shared.over.store(true, Ordering::Relaxed);
        let all = futures::future::join_all(&mut self.talkers);
        let _ = tokio::time::timeout(limit, all).await;
        for talker in &self.talkers {
            talker.abort();
        }
        let said = self.shared.said.lock();
        said.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Somebody in a chat with a bot.
struct Person {
    bot: &'static BotAccount,
    id: i64,
    agent: &'static str,
    mode: Mode,
}

/// Says something new while not too many wait, until it is over and all are answered.
async fn person_talks(
    telegram: Arc<FakeTelegram>,
    who: Person,
    shared: Arc<Shared>,
    mut rng: fastrand::Rng,
) {
    let Person {
        bot,
        id: person,
        agent,
        mode,
    } = who;
    let mut waiting: Vec<String> = Vec::new();
    let mut answers = 0;
    for n in 0.. {
        while waiting.len() >= mode.ahead() || shared.over.load(Ordering::Relaxed) {
            if waiting.is_empty() {
                return;
            }
            sleep(PAUSE).await;
            let sent = telegram.sent(bot.token);
            if sent.len() > answers {
                answers = sent.len();
                shared.hear();
            }
            let answered = |word: &String| sent.iter().any(|sent| names(&sent.text, word));
            if !mode.answers_what_was_before() {
                waiting.retain(|word| !answered(word));
            } else if let Some(last) = waiting.iter().rposition(answered) {
                waiting.drain(..=last);
            }
        }
        let word = format!("{}-{person}-{n}", bot.channel);
        let text = text(&word, &mut rng);
        telegram.say(bot.token, person, &text);
        waiting.push(word.clone());
        shared.say(Said {
            session: format!("agent:{agent}:{}:direct:{person}", bot.channel),
            word,
            text,
            chat: Some((bot.token, person)),
            mode,
            answered: None,
        });
        sleep(PAUSE).await;
    }
}

/// Asks one thing after the other, each by a key, again and again until it is answered.
async fn caller_talks(
    client: Client,
    caller: usize,
    agent: &'static str,
    shared: Arc<Shared>,
    mut rng: fastrand::Rng,
) {
    let name = format!("caller-{caller}");
    for n in 0.. {
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        let word = format!("{name}-{n}");
        let text = text(&word, &mut rng);
        let body = json!({ "text": text, "session": name });
        let keyed = client.clone().header("idempotency-key", &word);
        let index = shared.say(Said {
            session: format!("agent:{agent}:api:{name}"),
            word,
            text,
            chat: None,
            // Callers have a turn each.
            mode: Mode::Followup,
            answered: None,
        });
        let path = format!("/api/v1/agents/{agent}/turns");
        let reply = loop {
            match keyed.post(&path, &body).await {
                Ok(answer) if answer.status == 200 => {
                    break answer.body["reply"].as_str().unwrap_or_default().to_owned();
                }
                // Nobody is there, or not for long.
                _ => sleep(PAUSE).await,
            }
        };
        shared.hear();
        let mut all = shared.said.lock().unwrap_or_else(PoisonError::into_inner);
        all[index].answered = Some(reply);
    }
}
