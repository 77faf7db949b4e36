//! The steps of a turn, with what each took. Pure. Those beyond [`SPANS_MAX`] are only counted.

use kennel_shared::protocol::{
    Asked, MODEL_NAME_MAX_BYTES, ModelSpec, SPANS_MAX, SpanKind, TOOL_NAME_MAX_BYTES, Trace,
    TurnSpan,
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spans {
    kept: Vec<TurnSpan>,
    left_out: u32,
    asked: u32,
}

impl Spans {
    /// A step has ended, or was broken off.
    pub(super) fn ended(&mut self, what: SpanKind, start_us: u64, took_us: u64) {
        self.asked += u32::from(matches!(what, SpanKind::Asked(_)));
        if self.kept.len() == SPANS_MAX {
            self.left_out += 1;
            return;
        }
        let what = match what {
            // A model can name a tool as it likes.
            SpanKind::Tool(mut name) => {
                name.truncate(name.floor_char_boundary(TOOL_NAME_MAX_BYTES));
                SpanKind::Tool(name)
            }
            asked @ SpanKind::Asked(_) => asked,
        };
        self.kept.push(TurnSpan {
            what,
            start_us,
            took_us,
        });
    }

    /// What is known of the step that was ended last, which was to ask.
    pub(super) fn told(&mut self, asked: Asked) {
        if self.left_out == 0
            && let Some(TurnSpan {
                what: SpanKind::Asked(last),
                ..
            }) = self.kept.last_mut()
        {
            *last = asked;
        }
    }

    /// All of them.
    pub(super) fn trace(self, model: &ModelSpec) -> Trace {
        let mut name = String::new();
        if self.asked > 0 {
            name = format!("{}/{}", model.provider, model.model);
            name.truncate(name.floor_char_boundary(MODEL_NAME_MAX_BYTES));
        }
        Trace {
            model: name,
            spans: self.kept,
            left_out: self.left_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use kennel_shared::protocol::{EchoSpec, Endpoint};

    use super::*;

    fn model() -> ModelSpec {
        ModelSpec {
            provider: "p".into(),
            model: "é".repeat(MODEL_NAME_MAX_BYTES),
            temperature_milli: None,
            max_tokens: None,
            endpoint: Endpoint::Echo(EchoSpec::default()),
        }
    }

    #[test]
    fn only_so_many_are_kept_and_names_are_cut() {
        let asked = |output_tokens| Asked {
            output_tokens,
            ..Asked::default()
        };
        let mut spans = Spans::default();
        spans.ended(SpanKind::Asked(asked(0)), 1, 2);
        spans.told(asked(5));
        for _ in 1..SPANS_MAX {
            spans.ended(SpanKind::Tool("é".repeat(TOOL_NAME_MAX_BYTES)), 3, 4);
        }
        spans.ended(SpanKind::Asked(asked(0)), 5, 6);
        // Nobody but that one is meant.
        spans.told(asked(7));
        let trace = spans.trace(&model());
        assert_eq!((trace.spans.len(), trace.left_out), (SPANS_MAX, 1));
        assert_eq!(trace.spans[0].what, SpanKind::Asked(asked(5)));
        let SpanKind::Tool(name) = &trace.spans[SPANS_MAX - 1].what else {
            panic!("{trace:?}")
        };
        assert_eq!(name.len(), TOOL_NAME_MAX_BYTES);
        assert_eq!(trace.model.len(), MODEL_NAME_MAX_BYTES);
        assert!(trace.model.starts_with("p/é"));
    }

    #[test]
    fn a_turn_that_asked_nobody_names_no_model() {
        assert_eq!(Spans::default().trace(&model()), Trace::default());
    }
}
