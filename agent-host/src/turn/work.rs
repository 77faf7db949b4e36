//! The steps of a turn: ask the model, run what it wants, ask again. Each is written down before the next
//! begins, so that an attempt that is cut short is gone on with, not begun anew.

use std::sync::Arc;

use kennel_shared::{
    envelope::Sender,
    protocol::{Asked as AskedSpan, Delivery, REPLY_MAX_BYTES, SpanKind, ToSupervisor, TurnStep},
};
use tokio::{sync::mpsc, time::Instant};
use tracing::{debug, info};

use super::{
    Doing, Replied, Turn, Worked, micros,
    progress::{INTERRUPTED, Next, Progress},
};
use crate::{
    provider::{Answer, Fault, ProviderError, Request},
    store::{self, Asked, NewSteer, NewStep, StoreError},
    tool::Toolbox,
    window::{self, Call, Message, Part},
};

/// What ends a reply that was cut.
const CUT_NOTE: &str = "\n\n[The answer was longer than 512 KiB and was cut here.]";

/// An answer that is whole.
struct Whole {
    text: String,
    calls: Vec<Call>,
    asked: Asked,
}

impl Turn<'_> {
    /// Works until there is an answer.
    pub(super) async fn work(
        &mut self,
        window: &[Message],
        mut progress: Progress,
        steers: &mut mpsc::Receiver<Delivery>,
    ) -> Worked {
        let toolbox = Toolbox::new(&self.equipment.spec, &self.equipment.home);
        if progress.is_resumed() {
            info!(
                turn.id = %self.delivery.turn,
                steps = progress.number(),
                "a turn goes on where an earlier attempt was"
            );
            self.show(progress.said()).await;
        }
        loop {
            if let Err(error) = self.take_in(&mut progress, steers).await {
                return Worked::Unstored(error);
            }
            let stored = match progress.next() {
                Next::Ask => match self.ask(window, &mut progress, &toolbox).await {
                    Ok(whole) if whole.calls.is_empty() => return reply(progress, whole),
                    Ok(_) if progress.answers() + 1 >= self.most() => return Worked::TooManySteps,
                    Ok(whole) => self.keep(&mut progress, whole).await,
                    Err(error) => return Worked::Failed(error),
                },
                Next::Run(number, call) => self.run(&mut progress, number, call, &toolbox).await,
                Next::Interrupted(number) => {
                    progress.ended(INTERRUPTED.to_owned());
                    self.end(number, INTERRUPTED.to_owned()).await
                }
            };
            if let Err(error) = stored {
                return Worked::Unstored(error);
            }
        }
    }

    /// Takes in what the person has said meanwhile, if this is a tool boundary.
    async fn take_in(
        &mut self,
        progress: &mut Progress,
        steers: &mut mpsc::Receiver<Delivery>,
    ) -> Result<(), StoreError> {
        // The last time that the model may be asked, it has no tools left to act upon it.
        while progress.is_at_boundary()
            && progress.answers() + 1 < self.most()
            && let Ok(steer) = steers.try_recv()
        {
            let delivery = steer.delivery;
            let text = words_of(steer, &self.delivery.sender);
            if progress.heard_bytes() + text.len()
                > self.equipment.spec.context.max_bytes as usize / 2
            {
                // What the person says is never cut, so it must leave room for the rest. All that comes now follows.
                steers.close();
                while steers.try_recv().is_ok() {}
                break;
            }
            let taking = NewSteer {
                delivery,
                into: self.delivery.delivery,
                number: progress.number(),
                text: text.clone(),
            };
            if self.equipment.store.steer(taking).await? {
                info!(turn.id = %self.delivery.turn, delivery.id = %delivery, "a message was taken into the turn");
                progress.steered(text);
                self.say_steered(delivery).await;
            }
        }
        Ok(())
    }

    /// How often the model may be asked.
    fn most(&self) -> u32 {
        self.equipment.spec.tools.max_steps.max(1)
    }

    async fn ask(
        &mut self,
        window: &[Message],
        progress: &mut Progress,
        toolbox: &Toolbox,
    ) -> Result<Whole, ProviderError> {
        if progress.answers() > 0 {
            self.step(TurnStep::Asking).await;
        }
        let spec = &self.equipment.spec;
        let most_bytes = spec.context.max_bytes as usize;
        let messages = window::fit(window, progress.messages(), most_bytes);
        let spoken_of = messages.iter().any(|message| message.part() == Part::Tools);
        let request = Request {
            system: spec.system_prompt.clone(),
            messages,
            tools: toolbox.definitions(spoken_of),
            // The last time it is to come to an answer.
            may_call: !toolbox.is_empty() && progress.answers() + 1 < self.most(),
        };
        let (at_ms, asked_at) = (store::now_ms(), Instant::now());
        self.begin_to(Doing::Asking);
        let provider = Arc::clone(&self.equipment.provider);
        let mut answer = Answer::to(&request, &*provider);
        let text = self.read(&mut answer, progress).await;
        self.settle();
        self.spent.retries += answer.retries;
        self.spent.input_tokens = self
            .spent
            .input_tokens
            .saturating_add(answer.usage.input_tokens);
        self.spent.output_tokens = self
            .spent
            .output_tokens
            .saturating_add(answer.usage.output_tokens);
        if let (Some(first), 0) = (answer.first_text_at, self.spent.first_token_us) {
            self.spent.first_token_us = micros(first.duration_since(self.begun_at));
        }
        self.spans.told(AskedSpan {
            first_token_us: answer
                .first_text_at
                .map(|first| micros(first.duration_since(asked_at))),
            input_tokens: answer.usage.input_tokens,
            output_tokens: answer.usage.output_tokens,
            retries: answer.retries,
        });
        Ok(Whole {
            text: text?,
            calls: answer.calls,
            asked: Asked {
                at_ms,
                usage: answer.usage,
            },
        })
    }

    /// Reads an answer to its end, showing it as it comes.
    async fn read(
        &self,
        answer: &mut Answer<'_>,
        progress: &mut Progress,
    ) -> Result<String, ProviderError> {
        let mut text = String::new();
        while let Some(piece) = answer.next().await? {
            let before = progress.before(&piece, text.is_empty());
            let (piece, whole) = fit(piece, progress.said().len() + before.len());
            self.show(&format!("{before}{piece}")).await;
            progress.say(&piece, text.is_empty());
            text.push_str(&piece);
            if !whole {
                break;
            }
        }
        Ok(text)
    }

    async fn keep(&mut self, progress: &mut Progress, whole: Whole) -> Result<(), StoreError> {
        let Whole { text, calls, asked } = whole;
        let step = NewStep::Answer {
            text: text.clone(),
            calls: calls.clone(),
            asked,
        };
        let number = progress.number();
        progress.answered(text, calls);
        let store = &self.equipment.store;
        store.step(self.delivery.delivery, number, step).await
    }

    async fn run(
        &mut self,
        progress: &mut Progress,
        number: u32,
        call: Call,
        toolbox: &Toolbox,
    ) -> Result<(), StoreError> {
        let begin = NewStep::Begin {
            call: call.id.clone(),
            name: call.name.clone(),
        };
        let store = &self.equipment.store;
        store.step(self.delivery.delivery, number, begin).await?;
        progress.begun();
        if let Some(tool) = toolbox.find(&call.name) {
            self.step(TurnStep::Tool(tool.as_str().to_owned())).await;
        }
        debug!(turn.id = %self.delivery.turn, tool = call.name, "a tool runs");
        self.begin_to(Doing::Tool(call.name.clone()));
        let result = toolbox.run(&call).await;
        self.settle();
        progress.ended(result.clone());
        self.end(number, result).await
    }

    async fn end(&self, number: u32, result: String) -> Result<(), StoreError> {
        let store = &self.equipment.store;
        let end = NewStep::End { result };
        store.step(self.delivery.delivery, number, end).await
    }

    async fn step(&self, step: TurnStep) {
        let turn = self.delivery.turn;
        self.say(ToSupervisor::Step { turn, step }).await;
    }

    fn begin_to(&mut self, doing: Doing) {
        self.doing = Some((doing, Instant::now()));
    }

    /// Counts the time of what was being done, also when it was broken off.
    pub(super) fn settle(&mut self) {
        if let Some((doing, since)) = self.doing.take() {
            let took = micros(since.elapsed());
            let what = match doing {
                Doing::Asking => {
                    self.spent.provider_us += took;
                    self.spent.asked += 1;
                    SpanKind::Asked(AskedSpan::default())
                }
                Doing::Tool(name) => {
                    self.spent.tools_us += took;
                    self.spent.tools += 1;
                    SpanKind::Tool(name)
                }
            };
            let start = micros(since.duration_since(self.begun_at));
            self.spans.ended(what, start, took);
        }
    }
}

/// A message as the model reads it within a turn that somebody has begun: with a name, where that is somebody else.
fn words_of(steer: Delivery, asker: &Sender) -> String {
    if steer.sender.id == asker.id {
        return steer.text;
    }
    let name = steer.sender.name.unwrap_or(steer.sender.id);
    format!("{name}: {}", steer.text)
}

/// The end of a turn.
fn reply(progress: Progress, whole: Whole) -> Worked {
    let reply = progress.said().to_owned();
    if reply.trim().is_empty() {
        return Worked::Failed(ProviderError::new(Fault::Empty, ""));
    }
    let last = (progress.number(), whole.asked);
    Worked::Replied(Replied {
        reply,
        messages: progress.finish(whole.text),
        last,
    })
}

/// What of `text` fits a reply that has `length` bytes already, within [`REPLY_MAX_BYTES`]; when not all
/// of it does, a note takes the place of the rest, and `false` says so.
fn fit(text: String, length: usize) -> (String, bool) {
    let room = (REPLY_MAX_BYTES - CUT_NOTE.len()).saturating_sub(length);
    if text.len() <= room {
        return (text, true);
    }
    let kept = &text[..text.floor_char_boundary(room)];
    (format!("{kept}{CUT_NOTE}"), false)
}
