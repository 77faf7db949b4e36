//! `turns` and `why`: what turns took, and what held one up.

mod sum;

pub(super) use self::sum::Sum;
use super::{
    args,
    exit::{Exit, Outcome},
    output::Output,
    queue, table,
    units::now,
    why,
};
use crate::{
    client::{Answer, Client, ClientError},
    control::wire::{DeliveryDetail, DeliveryState, ErrorCode, TurnsQuery},
};

/// Turns that are listed, unless it is said how many.
const LIST: u32 = 20;

/// And those that are added up: as many as the API gives at once.
const LIST_MAX: u32 = 1000;

pub(super) async fn run(client: &Client, args: &args::Turns, out: &Output) -> Outcome {
    if let Some(agent) = &args.agent {
        // A name that nobody has is no agent without turns.
        client.agent(agent).await?;
    }
    let usual = if args.sum { LIST_MAX } else { LIST };
    let query = TurnsQuery {
        agent: args.agent.clone(),
        limit: args.limit.unwrap_or(usual),
        before: args.before,
    };
    let turns = client.turns(&query).await?;
    if args.sum {
        let sums = sum::sums(&turns.value.turns);
        if args.json {
            let json = serde_json::to_string_pretty(&sums).expect("names and numbers are JSON");
            out.line(&json)?;
        } else if sums.is_empty() {
            out.note("no turn has ended, as far as is kept");
        } else {
            out.text(table::turn_sums(&sums, Output::width()))?;
        }
        return Ok(Exit::Ok);
    }
    if args.json {
        out.line(turns.json.trim_end())?;
        return Ok(Exit::Ok);
    }
    let turns = turns.value;
    if turns.turns.is_empty() {
        out.note("no turn has ended, as far as is kept");
    } else {
        out.text(table::turns(&turns.turns, Output::width(), now()))?;
    }
    if let Some(next) = turns.next {
        out.note(format_args!("there may be more: --before {next}"));
    }
    Ok(Exit::Ok)
}

pub(super) async fn why(client: &Client, args: &args::Why, out: &Output) -> Outcome {
    let turn = match client.turn_detail(&args.turn).await {
        Ok(turn) => turn,
        Err(error) if is_unknown(&error) => {
            return match client.delivery(&args.turn).await {
                Ok(open) if is_open(&open.value) => so_far(&open, args.json, out),
                _ => Err(error.into()),
            };
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        out.line(turn.json.trim_end())?;
    } else {
        out.text(why::draw(&turn.value, Output::width().unwrap_or(80)))?;
    }
    Ok(Exit::Ok)
}

fn is_unknown(error: &ClientError) -> bool {
    matches!(error, ClientError::Api { error, .. } if error.code == ErrorCode::TurnNotFound)
}

fn is_open(shown: &DeliveryDetail) -> bool {
    matches!(
        shown.delivery.state,
        DeliveryState::Queued | DeliveryState::Leased
    )
}

/// What is known of a message whose turn has not ended.
fn so_far(open: &Answer<DeliveryDetail>, json: bool, out: &Output) -> Outcome {
    if json {
        out.line(open.json.trim_end())?;
        return Ok(Exit::Ok);
    }
    let delivery = &open.value.delivery;
    let what = match (delivery.state, delivery.waits_for) {
        (DeliveryState::Leased, _) => {
            "its turn runs: where its time went is known when it has ended".to_owned()
        }
        (_, Some(waits_for)) => {
            format!("its turn has not begun: it waits for {}", waits_for.words())
        }
        (_, None) => "its turn has not begun".to_owned(),
    };
    out.line(&what)?;
    out.text(format!("\n{}", queue::detail(&open.value, now())))?;
    Ok(Exit::Ok)
}
