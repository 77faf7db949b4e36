//! Turns as an `ExportTraceServiceRequest` in JSON. Pure.
//!
//! The encoding is protobuf's for JSON but for ids, which are hexadecimal; numbers of 64 bits are texts. Names follow
//! OpenTelemetry's conventions for generative AI where there are some, else they begin with `kennel.`.

use serde_json::{Value, json};

use crate::turns::{Outcome, Span, Step, TurnRecord, verdict::verdict};

/// Kinds of spans.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;

/// The status of a span that ended badly.
const ERROR: u8 = 2;

/// A request with these turns, each a trace.
pub(super) fn request(turns: &[Box<TurnRecord>]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let spans: Vec<Value> = turns.iter().flat_map(|turn| trace(turn)).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            text("service.name", "kennel"),
            text("service.version", version),
        ] },
        "scopeSpans": [{
            "scope": { "name": "kennel.turns", "version": version },
            "spans": spans,
        }],
    }] })
}

/// Where the spans of a turn hang.
struct Tree<'a> {
    turn: &'a TurnRecord,
    trace: String,
    root: u64,
    count: u64,
}

/// One span to be: its times are microseconds since 1970.
struct Draft {
    name: String,
    kind: u8,
    start_us: u64,
    took_us: u64,
    attributes: Vec<Value>,
}

fn trace(turn: &TurnRecord) -> Vec<Value> {
    // The end of the id is its random part.
    let (_, random) = turn
        .turn
        .as_bytes()
        .split_last_chunk::<8>()
        .expect("an id has 16 bytes");
    let mut tree = Tree {
        turn,
        trace: hex(turn.delivery.as_bytes()),
        root: u64::from_be_bytes(*random).max(1),
        count: 0,
    };
    let ended_us = u64::try_from(turn.ended_ms)
        .unwrap_or(0)
        .saturating_mul(1000);
    let accepted_us = ended_us.saturating_sub(turn.total_us());
    let left_lane_us = ended_us.saturating_sub(turn.run_us);
    let begun_us = left_lane_us + turn.dispatch_us;
    let mut spans = vec![tree.root(accepted_us)];
    let mut add = |draft: Draft| spans.push(tree.child(&draft));
    if turn.queued_us() > 0 {
        add(Draft {
            name: "queue".into(),
            kind: INTERNAL,
            start_us: accepted_us,
            took_us: turn.queued_us(),
            attributes: lanes(turn),
        });
    }
    if turn.took.context_us > 0 {
        add(internal("load context", begun_us, turn.took.context_us));
    }
    for span in &turn.spans {
        add(step(turn, span, begun_us));
    }
    if turn.took.commit_us > 0 {
        let took = &turn.took;
        let start_us = begun_us + took.total_us.saturating_sub(took.commit_us);
        add(internal("commit", start_us, took.commit_us));
    }
    spans
}

fn internal(name: &str, start_us: u64, took_us: u64) -> Draft {
    Draft {
        name: name.into(),
        kind: INTERNAL,
        start_us,
        took_us,
        attributes: Vec::new(),
    }
}

fn step(turn: &TurnRecord, span: &Span, begun_us: u64) -> Draft {
    let start_us = begun_us + span.start_us;
    match &span.step {
        Step::Tool { name } => Draft {
            name: format!("execute_tool {name}"),
            kind: INTERNAL,
            start_us,
            took_us: span.took_us,
            attributes: vec![
                text("gen_ai.operation.name", "execute_tool"),
                text("gen_ai.tool.name", name),
                text("gen_ai.tool.type", "function"),
            ],
        },
        Step::Model {
            first_token_us,
            input_tokens,
            output_tokens,
            retries,
        } => {
            let mut attributes = vec![
                text("gen_ai.operation.name", "chat"),
                text("gen_ai.conversation.id", turn.session.as_str()),
            ];
            let (provider, model) = names(turn);
            attributes.extend(provider.map(|provider| text("gen_ai.provider.name", provider)));
            attributes.extend(model.map(|model| text("gen_ai.request.model", model)));
            attributes.push(number("gen_ai.usage.input_tokens", (*input_tokens).into()));
            attributes.push(number(
                "gen_ai.usage.output_tokens",
                (*output_tokens).into(),
            ));
            if let Some(us) = first_token_us {
                let seconds = std::time::Duration::from_micros(*us).as_secs_f64();
                attributes.push(json!({
                    "key": "gen_ai.response.time_to_first_chunk", "value": { "doubleValue": seconds }
                }));
            }
            attributes.push(number("kennel.retries", (*retries).into()));
            Draft {
                name: model.map_or_else(|| "chat".to_owned(), |model| format!("chat {model}")),
                kind: CLIENT,
                start_us,
                took_us: span.took_us,
                attributes,
            }
        }
    }
}

/// Provider and model, as the configuration names them.
fn names(turn: &TurnRecord) -> (Option<&str>, Option<&str>) {
    let named = turn
        .model
        .as_deref()
        .and_then(|model| model.split_once('/'));
    named.unzip()
}

fn lanes(turn: &TurnRecord) -> Vec<Value> {
    let lanes = turn.waits.lanes().into_iter();
    let lanes = lanes.map(|(lane, us)| number(&format!("kennel.wait.{lane}_us"), us));
    let lost = number("kennel.wait.lost_us", turn.lost_us);
    lanes.chain([lost]).collect()
}

impl Tree<'_> {
    fn root(&self, accepted_us: u64) -> Value {
        let turn = self.turn;
        let agent = turn.session.agent_str();
        let mut attributes = vec![
            text("gen_ai.operation.name", "invoke_agent"),
            text("gen_ai.agent.id", agent),
            text("gen_ai.agent.name", agent),
            text("gen_ai.conversation.id", turn.session.as_str()),
            number("gen_ai.usage.input_tokens", turn.took.input_tokens.into()),
            number("gen_ai.usage.output_tokens", turn.took.output_tokens.into()),
            text("kennel.turn.id", &turn.turn.to_string()),
            text("kennel.delivery.id", &turn.delivery.to_string()),
            text("kennel.verdict", &verdict(turn).text),
            number("kennel.dispatch_us", turn.dispatch_us),
            number(
                "kennel.event_loop_lag_us",
                turn.took.lag_us.max(turn.machine.lag_us),
            ),
            number("kennel.attempts", turn.attempts.into()),
        ];
        let (provider, model) = names(turn);
        attributes.extend(provider.map(|provider| text("gen_ai.provider.name", provider)));
        attributes.extend(model.map(|model| text("gen_ai.request.model", model)));
        let class = turn.class.as_deref();
        attributes.extend(class.map(|class| text("kennel.class", class)));
        attributes.extend(lanes(turn));
        let machine = &turn.machine;
        for (key, us) in [
            ("kennel.cpu_us", machine.cpu_us),
            ("kennel.runnable_us", machine.runnable_us),
            ("kennel.throttled_us", machine.throttled_us),
            ("kennel.cost_micros", turn.cost),
        ] {
            attributes.extend(us.map(|us| number(key, us)));
        }
        let failed = !matches!(turn.outcome, Outcome::Replied | Outcome::Cancelled);
        if failed {
            attributes.push(text("error.type", turn.outcome.as_str()));
        }
        let draft = Draft {
            name: format!("invoke_agent {agent}"),
            kind: INTERNAL,
            start_us: accepted_us,
            took_us: turn.total_us(),
            attributes,
        };
        let mut span = self.span(self.root, &draft);
        if failed {
            span["status"] = json!({ "code": ERROR });
        }
        span
    }

    fn child(&mut self, draft: &Draft) -> Value {
        self.count += 1;
        let id = self.root.wrapping_add(self.count).max(1);
        let mut span = self.span(id, draft);
        span["parentSpanId"] = format!("{:016x}", self.root).into();
        span
    }

    fn span(&self, id: u64, draft: &Draft) -> Value {
        let nanos = |us: u64| (u128::from(us) * 1000).to_string();
        json!({
            "traceId": self.trace,
            "spanId": format!("{id:016x}"),
            "name": draft.name,
            "kind": draft.kind,
            "startTimeUnixNano": nanos(draft.start_us),
            "endTimeUnixNano": nanos(draft.start_us.saturating_add(draft.took_us)),
            "attributes": draft.attributes,
        })
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number(key: &str, value: u64) -> Value {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}
