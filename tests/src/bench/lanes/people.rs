//! People: when they ask whom what. Pure, but for the asking.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use kennel::dispatch::lanes::INTERACTIVE;
use tokio::time::{Instant, sleep_until};

use super::{LONGEST, Member};
use crate::{
    bench::api::Api,
    lanes_sim::{heavy_tailed, pause},
};

/// Conversations of an agent.
const SESSIONS: usize = 8;

/// Something that somebody wants to know.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::bench) struct Question {
    pub(in crate::bench) agent: String,
    pub(in crate::bench) session: String,
    /// When it is asked, from the begin of the round on.
    pub(in crate::bench) due: Duration,
    /// How long the model thinks about it.
    pub(in crate::bench) takes: Duration,
}

/// What became of it.
#[derive(Debug)]
pub(in crate::bench) struct Asked {
    /// By what its account is found.
    pub(in crate::bench) delivery: String,
    /// From when it was due to its answer.
    pub(in crate::bench) took: Duration,
}

/// All questions of a round, in order: the same for the same seed.
pub(super) fn questions(members: &[Member], seed: u64, lasts: Duration) -> Vec<Question> {
    let mut questions = Vec::new();
    let people = members.iter().filter(|member| member.class == INTERACTIVE);
    for (index, member) in (0_u64..).zip(people) {
        // Of its own for each agent, as in the simulation.
        let mut chance = fastrand::Rng::with_seed(seed.wrapping_mul(1 << 20) + index);
        let mut due = pause(&mut chance, member.shortest);
        let mut asked = 0;
        while due < lasts {
            questions.push(Question {
                agent: member.id.clone(),
                session: format!("people-{}", asked % SESSIONS),
                due,
                takes: heavy_tailed(&mut chance, member.shortest, LONGEST),
            });
            asked += 1;
            due += pause(&mut chance, member.shortest);
        }
    }
    questions.sort_by_key(|question| question.due);
    questions
}

/// Asks when it is time, over a connection of its own: who asks does not wait for others who ask.
pub(in crate::bench) async fn ask(
    control: PathBuf,
    question: Question,
    began: Instant,
) -> anyhow::Result<Asked> {
    let due = began + question.due;
    sleep_until(due).await;
    let mut api = Api::unix(&control).await?;
    let text = format!("!sleep {} Yes.", question.takes.as_millis());
    let reply = api
        .tell_in(&question.agent, &question.session, &text)
        .await?;
    let took = due.elapsed();
    anyhow::ensure!(reply["reply"] == "Yes.", "an answer: {reply}");
    let delivery = reply["turn_id"].as_str().context("a turn has an id")?;
    Ok(Asked {
        delivery: delivery.to_owned(),
        took,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bench::lanes::members, lanes_sim::BUSY};

    #[test]
    fn a_seed_says_who_asks_what_and_when() {
        let (members, lasts) = (members(), Duration::from_mins(10));
        let questions = super::questions(&members, 1, lasts);
        assert_eq!(questions, super::questions(&members, 1, lasts));
        assert_ne!(questions, super::questions(&members, 2, lasts));
        assert!(questions.is_sorted_by_key(|question| question.due));
        assert!(questions.iter().all(|question| question.due < lasts));
        assert!(questions.iter().all(|question| question.takes <= LONGEST));
        // People want a tenth of what their agents could do, but for the turns that are cut at their longest.
        let takes: f64 = questions
            .iter()
            .map(|question| question.takes.as_secs_f64())
            .sum();
        let people = members.iter().filter(|member| member.class == INTERACTIVE);
        let busy =
            takes / (lasts.as_secs_f64() * f64::from(u32::try_from(people.count()).unwrap()));
        assert!((0.6 * BUSY..1.1 * BUSY).contains(&busy), "{busy}");
    }
}
