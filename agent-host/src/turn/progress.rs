//! How far a turn has come, and what is next. Pure.
//!
//! ```text
//!            ┌──────────── all calls have results ───────────┐
//!            ▼                                               │
//!   ask the model ─► answer with calls ─► run ─► result ─► next call
//!            └─► answer without calls: the end
//! ```
//!
//! Between two of these, what the person has said meanwhile may be taken in: calls that were not begun are not run then,
//! and the model is asked anew.
//!
//! It is made of the question and of the steps of an earlier attempt; a turn that is new has none.

use std::collections::VecDeque;

use crate::{
    store::Step,
    window::{Call, Message},
};

/// What stands between the texts of two answers in the reply.
const BETWEEN: &str = "\n\n";

/// What the model is told of a tool that was begun and whose end nobody saw.
pub(super) const INTERRUPTED: &str = "[interrupted: the agent was restarted while this ran. It may have been done, in part or \
     in whole, or not at all; it was not done again. Look before you repeat it.]";

/// What the model is told of a call that was not begun, since the person had something to say.
const PUT_OFF: &str =
    "[not run: a message has come meanwhile, which follows. Decide anew what is to be done.]";

/// What a turn does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Run this, and write it down with this number.
    Run(u32, Call),
    /// Write down, with this number, that it was interrupted.
    Interrupted(u32),
    /// Ask the model.
    Ask,
}

/// How far a turn has come.
#[derive(Debug)]
pub(super) struct Progress {
    /// Of this turn, the question first.
    messages: Vec<Message>,
    /// Calls without a result.
    open: VecDeque<Call>,
    /// The number of the step that is being taken: the first of the open calls was begun with it.
    begun: Option<u32>,
    next: u32,
    /// Answers that are there.
    answers: u32,
    /// What was said to the person so far.
    said: String,
}

impl Progress {
    pub(super) fn new(question: String, steps: Vec<Step>) -> Self {
        let mut progress = Self {
            messages: vec![Message::User(question)],
            open: VecDeque::new(),
            begun: None,
            next: 0,
            answers: 0,
            said: String::new(),
        };
        for step in steps {
            match step {
                Step::Answer { text, calls } => {
                    progress.say(&text, true);
                    progress.answered(text, calls);
                }
                Step::Tool { result, .. } => {
                    progress.begun();
                    if let Some(result) = result {
                        progress.ended(result);
                    }
                }
                Step::Steered { text, .. } => progress.steered(text),
            }
        }
        progress
    }

    /// Whether there was an earlier attempt.
    pub(super) fn is_resumed(&self) -> bool {
        self.next > 0
    }

    /// How often the model has answered.
    pub(super) fn answers(&self) -> u32 {
        self.answers
    }

    /// The messages of the turn so far.
    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// What was said to the person so far.
    pub(super) fn said(&self) -> &str {
        &self.said
    }

    /// The number of the next step.
    pub(super) fn number(&self) -> u32 {
        self.next
    }

    pub(super) fn next(&self) -> Next {
        match (self.begun, self.open.front()) {
            (Some(number), _) => Next::Interrupted(number),
            (None, Some(call)) => Next::Run(self.next, call.clone()),
            (None, None) => Next::Ask,
        }
    }

    /// Whether something may be taken in now: the model has been asked before, and no tool is being run.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.answers > 0 && self.begun.is_none()
    }

    /// How much the person has said, in bytes.
    pub(super) fn heard_bytes(&self) -> usize {
        let said = self.messages.iter();
        let said = said.filter(|message| matches!(message, Message::User(_)));
        said.map(Message::bytes).sum()
    }

    /// Somebody has said more, and it is taken in.
    pub(super) fn steered(&mut self, text: String) {
        for Call { id, name, .. } in self.open.drain(..) {
            self.messages.push(Message::Result {
                call: id,
                name,
                text: PUT_OFF.to_owned(),
            });
        }
        self.messages.push(Message::User(text));
        self.next += 1;
    }

    /// A piece of what is said to the person; the first of an answer is set apart from the one before.
    pub(super) fn say(&mut self, piece: &str, first: bool) {
        self.said.push_str(self.before(piece, first));
        self.said.push_str(piece);
    }

    /// What stands before a piece.
    pub(super) fn before(&self, piece: &str, first: bool) -> &'static str {
        if first && !piece.is_empty() && !self.said.is_empty() {
            BETWEEN
        } else {
            ""
        }
    }

    /// The model has answered, and wants these calls done.
    pub(super) fn answered(&mut self, text: String, calls: Vec<Call>) {
        self.open = calls.iter().cloned().collect();
        self.messages.push(Message::Model { text, calls });
        self.answers += 1;
        self.next += 1;
    }

    /// The first of the open calls is being run.
    pub(super) fn begun(&mut self) {
        self.begun = Some(self.next);
        self.next += 1;
    }

    /// It has ended.
    pub(super) fn ended(&mut self, text: String) {
        self.begun = None;
        if let Some(Call { id, name, .. }) = self.open.pop_front() {
            self.messages.push(Message::Result {
                call: id,
                name,
                text,
            });
        }
    }

    /// The messages of the whole turn, with its last answer.
    pub(super) fn finish(mut self, last: String) -> Vec<Message> {
        if !last.trim().is_empty() {
            self.messages.push(Message::answer(last));
        }
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use kennel_shared::ids::DeliveryId;
    use proptest::prelude::*;

    use super::*;

    fn call(id: &str) -> Call {
        Call {
            id: id.into(),
            name: "exec".into(),
            arguments: "{}".into(),
            signature: None,
        }
    }

    /// The steps as they are written down, from the first on, of a turn whose answers have so many calls.
    fn steps(script: &[usize]) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, calls) in script.iter().enumerate() {
            let calls: Vec<_> = (0..*calls)
                .map(|place| call(&format!("{number}-{place}")))
                .collect();
            steps.push(Step::Answer {
                text: format!("answer {number}"),
                calls: calls.clone(),
            });
            for call in calls {
                for result in [None, Some(format!("result of {}", call.id))] {
                    steps.push(Step::Tool {
                        call: call.id.clone(),
                        result,
                    });
                }
            }
        }
        steps
    }

    /// What is in the store after so many writes: the end of a tool takes the place of its begin.
    fn stored(writes: &[Step]) -> Vec<Step> {
        let mut stored: Vec<Step> = Vec::new();
        for write in writes {
            if matches!(
                write,
                Step::Tool {
                    result: Some(_),
                    ..
                }
            ) {
                stored.pop();
            }
            stored.push(write.clone());
        }
        stored
    }

    /// Goes on to the end by the script; returns what was asked and run.
    fn go_on(mut progress: Progress, script: &[usize]) -> (usize, Vec<String>, Vec<Message>) {
        let (mut asked, mut run) = (0, Vec::new());
        loop {
            match progress.next() {
                Next::Interrupted(_) => progress.ended(INTERRUPTED.into()),
                Next::Run(number, call) => {
                    assert_eq!(number, progress.number());
                    progress.begun();
                    progress.ended(format!("result of {}", call.id));
                    run.push(call.id);
                }
                Next::Ask => {
                    asked += 1;
                    let number = progress.answers() as usize;
                    let Some(calls) = script.get(number) else {
                        return (asked, run, progress.finish("done".into()));
                    };
                    let calls = (0..*calls).map(|place| call(&format!("{number}-{place}")));
                    let calls = calls.collect();
                    progress.say(&format!("answer {number}"), true);
                    progress.answered(format!("answer {number}"), calls);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_turn_that_is_cut_anywhere_asks_and_runs_nothing_twice(
            script in prop::collection::vec(1usize..4, 0..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let writes = steps(&script);
            let cut = cut.index(writes.len() + 1);
            let stored = stored(&writes[..cut]);
            let answered = stored.iter().filter(|s| matches!(s, Step::Answer { .. })).count();
            let begun: Vec<_> = stored
                .iter()
                .filter_map(|step| match step {
                    Step::Tool { call, .. } => Some(call.clone()),
                    Step::Answer { .. } | Step::Steered { .. } => None,
                })
                .collect();
            let interrupted = matches!(stored.last(), Some(Step::Tool { result: None, .. }));

            let progress = Progress::new("question".into(), stored);
            prop_assert_eq!(progress.is_resumed(), cut > 0);
            let said = (0..answered).map(|n| format!("answer {n}")).collect::<Vec<_>>();
            prop_assert_eq!(progress.said(), said.join(BETWEEN));
            let (asked, run, messages) = go_on(progress, &script);
            prop_assert_eq!(asked, script.len() + 1 - answered);
            prop_assert!(run.iter().all(|id| !begun.contains(id)), "{run:?} {begun:?}");
            prop_assert_eq!(run.len() + begun.len(), script.iter().sum::<usize>());

            // All is there, as if nothing had happened, but for what was interrupted.
            let (_, _, whole) = go_on(Progress::new("question".into(), Vec::new()), &script);
            prop_assert_eq!(messages.len(), whole.len());
            let differ: Vec<_> = messages.iter().zip(&whole).filter(|(a, b)| a != b).collect();
            prop_assert_eq!(differ.len(), usize::from(interrupted));
            prop_assert!(differ.iter().all(|(told, _)| told.text() == INTERRUPTED));
        }
    }

    /// Goes through a turn, taking in what is said at the steps of these numbers; all that is written down, and the
    /// messages at its end.
    fn steer_through(
        mut progress: Progress,
        script: &[usize],
        said: &[(u32, String)],
    ) -> (Vec<Step>, Vec<Message>) {
        let mut writes = Vec::new();
        loop {
            while progress.is_at_boundary()
                && let Some((_, text)) = said.iter().find(|(at, _)| *at == progress.number())
            {
                writes.push(Step::Steered {
                    delivery: DeliveryId::new(),
                    text: text.clone(),
                });
                progress.steered(text.clone());
            }
            match progress.next() {
                Next::Interrupted(_) => unreachable!("it is not cut within a tool"),
                Next::Run(_, call) => {
                    let result = format!("result of {}", call.id);
                    progress.begun();
                    progress.ended(result.clone());
                    writes.push(Step::Tool {
                        call: call.id,
                        result: Some(result),
                    });
                }
                Next::Ask => {
                    let number = progress.answers() as usize;
                    let Some(calls) = script.get(number) else {
                        return (writes, progress.finish("done".into()));
                    };
                    let calls: Vec<_> = (0..*calls)
                        .map(|place| call(&format!("{number}-{place}")))
                        .collect();
                    let text = format!("answer {number}");
                    progress.say(&text, true);
                    progress.answered(text.clone(), calls.clone());
                    writes.push(Step::Answer { text, calls });
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_in_stands_behind_the_results_of_all_calls_and_stays_there(
            script in prop::collection::vec(1usize..4, 1..5),
            at in prop::collection::btree_set(0u32..16, 0..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let said: Vec<_> = at.iter().map(|at| (*at, format!("said {at}"))).collect();
            let new = || Progress::new("question".into(), Vec::new());
            let (writes, messages) = steer_through(new(), &script, &said);
            // Each call has one result behind it, before anybody says more.
            let mut open: Vec<&str> = Vec::new();
            for message in &messages {
                match message {
                    Message::Model { calls, .. } => {
                        prop_assert!(open.is_empty());
                        open = calls.iter().map(|call| call.id.as_str()).collect();
                    }
                    Message::Result { call, .. } => prop_assert_eq!(open.remove(0), call),
                    Message::User(_) => prop_assert!(open.is_empty()),
                }
            }
            let steered = |writes: &[Step]| {
                writes.iter().filter(|step| matches!(step, Step::Steered { .. })).count()
            };
            let heard = messages.iter().filter(|message| matches!(message, Message::User(_)));
            prop_assert_eq!(heard.count(), 1 + steered(&writes));
            // Cut anywhere, it comes to the same.
            let cut = cut.index(writes.len() + 1);
            let resumed = Progress::new("question".into(), writes[..cut].to_vec());
            prop_assert_eq!(resumed.number(), number_of(&writes[..cut]));
            let (rest, again) = steer_through(resumed, &script, &said);
            prop_assert_eq!(rest.len() + cut, writes.len());
            prop_assert_eq!(again, messages);
        }
    }

    /// The number of the step behind these.
    fn number_of(writes: &[Step]) -> u32 {
        u32::try_from(writes.len()).unwrap()
    }

    #[test]
    fn an_empty_last_answer_is_no_message() {
        let steps = stored(&steps(&[1]));
        let progress = Progress::new("question".into(), steps);
        assert_eq!((progress.next(), progress.number()), (Next::Ask, 2));
        let progress = Progress::new("q".into(), Vec::new());
        assert_eq!(progress.finish(" \n".into()), [Message::User("q".into())]);
    }
}
