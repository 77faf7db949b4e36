//! The neighbours, and what makes them do it.

use std::{path::PathBuf, thread, time::Duration};

use tokio::sync::oneshot;

use super::super::{api::Api, runtime};
use crate::misbehave::NOW;

/// Between two looks whether a neighbour is up, and two messages to one that is to be asked again.
const LOOK: Duration = Duration::from_millis(50);

/// How many children a neighbour that nothing holds back may make: the machine is not ours alone.
const UNCAPPED_CHILDREN: usize = 2000;

/// Somebody to live beside.
pub(super) struct Neighbour {
    pub(super) name: &'static str,
    /// `None`: nobody.
    pub(super) agent: Option<&'static str>,
    message: Message,
}

#[derive(Clone, Copy)]
enum Message {
    /// To each life of the neighbour, once.
    Once,
    /// The same, with a bound where nothing else is one.
    OnceBounded,
    /// As soon as the last one is answered, and a while has passed.
    Again,
    /// As soon as the last one is answered.
    Always(&'static str),
}

/// 32 MiB, of which an honest agent passes on what fits a reply.
const ECHO_32_MIB: &str = "!repeat 2097152 0123456789abcdef";

pub(super) const NEIGHBOURS: [Neighbour; 8] = [
    neighbour("nobody", None, Message::Once),
    neighbour("spins with 8 threads", Some("bad-spin-all"), Message::Once),
    neighbour("takes memory", Some("bad-memory"), Message::Once),
    neighbour("forks", Some("bad-fork"), Message::OnceBounded),
    neighbour("floods link and log", Some("bad-flood"), Message::Once),
    neighbour("writes 1 GiB", Some("bad-disk"), Message::Again),
    neighbour(
        "answers of 32 MiB",
        Some("verbose"),
        Message::Always(ECHO_32_MIB),
    ),
    neighbour(
        "sends 32 MiB",
        Some("bad-long-answer"),
        Message::Always(NOW),
    ),
];

const fn neighbour(name: &'static str, agent: Option<&'static str>, message: Message) -> Neighbour {
    Neighbour {
        name,
        agent,
        message,
    }
}

/// Tells a neighbour to begin, and again after each restart. A thread of its own, so that what it
/// is answered takes no time from who measures.
pub(super) struct Provoker {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<anyhow::Result<()>>,
}

impl Provoker {
    pub(super) fn start(neighbour: &Neighbour, control: PathBuf) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (agent, message) = (neighbour.agent.unwrap_or_default(), neighbour.message);
        let thread = thread::spawn(move || {
            runtime()?.block_on(async {
                tokio::select! {
                    provoked = provoke(&control, agent, message) => provoked,
                    _ = stopped => Ok(()),
                }
            })
        });
        Self { stop, thread }
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        // Gone already: then it has failed, and says so.
        let _ = self.stop.send(());
        self.thread
            .join()
            .map_err(|_| anyhow::anyhow!("the thread that provokes panicked"))?
    }
}

async fn provoke(control: &std::path::Path, agent: &str, message: Message) -> anyhow::Result<()> {
    let mut api = Api::unix(control).await?;
    let mut told = 0;
    loop {
        let status = api.get(&format!("/api/v1/agents/{agent}")).await?;
        let generation = status["generation"].as_u64().unwrap_or_default();
        if status["state"] == "ready" {
            let capped = status["usage"]["pids_cap"].is_u64();
            // It may die of it before it has answered; the next life is asked again.
            match message {
                Message::Always(text) => {
                    let _ = api.tell(agent, text).await;
                    continue;
                }
                Message::Again => drop(api.tell(agent, NOW).await),
                _ if generation == told => {}
                Message::OnceBounded if !capped => {
                    let text = format!("{NOW} {UNCAPPED_CHILDREN}");
                    drop(api.tell(agent, &text).await);
                }
                Message::Once | Message::OnceBounded => drop(api.tell(agent, NOW).await),
            }
            told = generation;
        }
        tokio::time::sleep(LOOK).await;
    }
}
