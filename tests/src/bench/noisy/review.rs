//! The review of a case: files, of which each is read into the agent, which keeps its event loop busy, and then worked on in a
//! turn of several steps, each a command that computes.

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::Instant};

use crate::bench::{Scale, api::Api, fleet::Fleet};

/// Files of a case: more than there are slots.
const FILES: (usize, usize) = (6, 4);

/// Steps of a turn.
const STEPS: (usize, usize) = (12, 2);

/// How long reading a file keeps the event loop of its agent from everything else, in milliseconds.
const READING_MS: (usize, usize) = (1000, 100);

/// How far a step counts: about a second of processor time.
const COUNT: (usize, usize) = (1_000_000, 100_000);

/// A review that goes on.
pub(super) struct Review(Vec<JoinHandle<anyhow::Result<Reviewed>>>);

/// What is left of it.
#[derive(Debug)]
pub(super) struct Reviewed {
    /// When the last file was done.
    pub(super) ended: Instant,
    /// The message of the first turn that worked on a file and ended.
    pub(super) delivery: String,
}

impl Review {
    /// Hands in all files at once.
    pub(super) async fn begin(
        fleet: &Fleet<'_>,
        agent: &'static str,
        scale: Scale,
    ) -> anyhow::Result<Self> {
        let of = |(full, quick)| scale.pick(full, quick);
        let (reading, work) = (of(READING_MS), script(of(STEPS), of(COUNT)));
        let mut files = Vec::new();
        for number in 0..of(FILES) {
            let api = fleet.unix().await?;
            let read = format!("!busy {reading} Read.");
            files.push(tokio::spawn(file(api, agent, number, read, work.clone())));
        }
        Ok(Self(files))
    }

    pub(super) fn is_done(&self) -> bool {
        self.0.iter().all(JoinHandle::is_finished)
    }

    pub(super) async fn end(self) -> anyhow::Result<Reviewed> {
        let mut files = Vec::new();
        for file in self.0 {
            files.push(file.await??);
        }
        files.sort_unstable_by_key(|file| file.ended);
        let ended = files.last().context("a case has files")?.ended;
        let first = files.swap_remove(0);
        Ok(Reviewed { ended, ..first })
    }
}

async fn file(
    mut api: Api,
    agent: &str,
    number: usize,
    read: String,
    work: String,
) -> anyhow::Result<Reviewed> {
    let session = format!("file-{number}");
    api.tell_in(agent, &session, &read).await?;
    let reply = api.tell_in(agent, &session, &work).await?;
    let said = reply["reply"].as_str().context("an answer")?;
    anyhow::ensure!(
        said.contains("exit status 0") && !said.contains("exit status 1"),
        "the commands of a review: {said}"
    );
    let delivery = reply["turn_id"].as_str().context("a turn has an id")?;
    Ok(Reviewed {
        ended: Instant::now(),
        delivery: delivery.to_owned(),
    })
}

/// A turn of so many steps.
fn script(steps: usize, count: usize) -> String {
    let command = format!("i=0; while [ $i -lt {count} ]; do i=$((i+1)); done; echo $i");
    let step = json!([{ "name": "exec", "arguments": { "command": command } }]);
    let steps: Vec<Value> = vec![step; steps];
    format!("!tools {}", json!(steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_its_steps() {
        let script = script(2, 10);
        let steps: Value = serde_json::from_str(script.strip_prefix("!tools ").unwrap()).unwrap();
        assert_eq!(steps.as_array().unwrap().len(), 2);
        assert_eq!(steps[1][0]["name"], "exec");
    }
}
