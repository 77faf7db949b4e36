//! `queue`: the messages that wait, run or were set aside.

use std::fmt::Write as _;

use super::{
    args::{Queue, QueueCommand, QueueList, QueueOne},
    exit::{Exit, Outcome},
    output::{Output, printable},
    table,
    units::{duration, now},
};
use crate::{
    client::Client,
    control::wire::{DeliveryDetail, QueueAction, QueueQuery, QueueView},
};

pub(super) async fn run(client: &Client, args: &Queue, out: &Output) -> Outcome {
    match &args.command {
        None => list(client, &args.list, out).await,
        Some(QueueCommand::List(args)) => list(client, args, out).await,
        Some(QueueCommand::Show(args)) => show(client, args, out).await,
        Some(QueueCommand::Drop(args)) => act(client, args, QueueAction::Drop, out).await,
        Some(QueueCommand::Retry(args)) => act(client, args, QueueAction::Retry, out).await,
        Some(QueueCommand::Requeue(args)) => act(client, args, QueueAction::Requeue, out).await,
    }
}

async fn list(client: &Client, args: &QueueList, out: &Output) -> Outcome {
    if let Some(agent) = &args.agent {
        // A name that nobody has is no empty queue.
        client.agent(agent).await?;
    }
    let view = match (args.poison, args.all) {
        (true, _) => QueueView::Poison,
        (_, true) => QueueView::All,
        _ => QueueView::Open,
    };
    let query = QueueQuery {
        agent: args.agent.clone(),
        view,
        limit: args.lines,
        behind: args.behind.clone(),
    };
    let queue = client.queue(&query).await?;
    if args.json {
        out.line(queue.json.trim_end())?;
        return Ok(Exit::Ok);
    }
    let queue = queue.value;
    if queue.deliveries.is_empty() {
        out.note(match view {
            QueueView::Open => "nothing waits",
            QueueView::Poison => "nothing was set aside",
            QueueView::All => "the journal keeps no message",
        });
    } else {
        out.text(table::deliveries(&queue.deliveries, Output::width(), now()))?;
    }
    if let Some(next) = &queue.next {
        out.note(format_args!("there is more: --behind {next}"));
    }
    let poison: u64 = queue.counts.iter().map(|count| count.poison).sum();
    if view == QueueView::Open && poison > 0 {
        out.note(format_args!(
            "{poison} set aside: `kennel queue --poison` lists them"
        ));
    }
    Ok(Exit::Ok)
}

async fn show(client: &Client, args: &QueueOne, out: &Output) -> Outcome {
    let shown = client.delivery(&args.id).await?;
    if args.json {
        out.line(shown.json.trim_end())?;
    } else {
        out.text(detail(&shown.value, now()))?;
    }
    Ok(Exit::Ok)
}

async fn act(client: &Client, args: &QueueOne, action: QueueAction, out: &Output) -> Outcome {
    let done = client.queue_action(&args.id, action).await?;
    if args.json {
        out.line(done.json.trim_end())?;
        return Ok(Exit::Ok);
    }
    let (id, agent) = (&done.value.id, &done.value.agent);
    out.line(&match action {
        QueueAction::Drop => format!("{id} for {agent} was dropped"),
        QueueAction::Retry => format!("{agent} is to answer it as {id}"),
        QueueAction::Requeue => {
            format!("{id} is back in the queue of {agent}, ahead of all others")
        }
    })?;
    Ok(Exit::Ok)
}

/// One message in full. `now` is in milliseconds since 1970.
pub(super) fn detail(shown: &DeliveryDetail, now: u64) -> String {
    const STRING: &str = "a string takes everything";
    let delivery = &shown.delivery;
    let ago = |ms: u64| duration(now.saturating_sub(ms));
    let mut text = format!(
        "{}  {}\nsession   {}\nfrom      {}{}\naccepted  {} ago\n",
        delivery.id,
        delivery.state.as_str(),
        printable(&delivery.session),
        printable(&delivery.sender),
        delivery
            .channel
            .as_ref()
            .map_or_else(String::new, |channel| format!(" through {channel}")),
        ago(delivery.received_ms),
    );
    if let Some(waits_for) = delivery.waits_for {
        writeln!(text, "waits     for {}", waits_for.words()).expect(STRING);
    }
    if let Some(waits) = &delivery.waits {
        let so_far = [
            ("its session", waits.session_us),
            ("its agent", waits.agent_us),
            ("its class", waits.class_us),
            ("the fleet", waits.fleet_us),
            ("held", waits.held_us),
        ];
        let so_far = so_far.into_iter().filter(|(_, us)| *us >= 1_000);
        let so_far: Vec<String> = so_far
            .map(|(name, us)| format!("{name} {}", duration(us / 1_000)))
            .collect();
        if !so_far.is_empty() {
            writeln!(text, "so far    {}", so_far.join(", ")).expect(STRING);
        }
    }
    if let Some(generation) = delivery.generation {
        let who = match delivery.state {
            crate::control::wire::DeliveryState::Leased => "with",
            _ => "last with",
        };
        writeln!(text, "{who:<9} generation {generation}").expect(STRING);
    }
    if delivery.attempts > 0 {
        writeln!(text, "cost      {} lives of its agent", delivery.attempts).expect(STRING);
    }
    if let Some(ended) = shown.ended_ms {
        writeln!(text, "ended     {} ago", ago(ended)).expect(STRING);
    }
    if let Some(retried) = &shown.retried {
        writeln!(text, "again as  {retried}").expect(STRING);
    }
    for send in &shown.sends {
        let doubt = if send.doubtful {
            ", may have been sent twice"
        } else {
            ""
        };
        let failure = send
            .failure
            .as_deref()
            .map_or_else(String::new, |failure| format!(": {}", printable(failure)));
        writeln!(
            text,
            "answer    {} through {}{doubt}{failure}",
            send.state, send.channel
        )
        .expect(STRING);
    }
    let mut block = |title: &str, body: Option<&str>| {
        if let Some(body) = body {
            writeln!(text, "\n{title}\n{}", printable(body).trim_end()).expect(STRING);
        }
    };
    let lost = "[its text was lost when the journal was damaged]";
    block("MESSAGE", Some(shown.text.as_deref().unwrap_or(lost)));
    block(
        "END",
        shown
            .end
            .as_deref()
            .or(shown.sends.first().map(|send| send.text.as_str())),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::{Delivery, DeliveryState, DeliveryWaitsFor, Send, TurnWaits};

    fn delivery(state: DeliveryState, text: &str) -> Delivery {
        Delivery {
            id: "0194f2a0-0000-7000-8000-000000000001".into(),
            agent: "hexa".into(),
            session: "agent:hexa:tg:direct:42".into(),
            state,
            attempts: 3,
            generation: Some(7),
            sender: "Ada\u{1b}[31m".into(),
            channel: Some("tg-hexa".into()),
            received_ms: 1_000_000,
            preview: text.into(),
            bytes: text.len() as u64,
            waits_for: None,
            waits: None,
        }
    }

    #[test]
    fn one_message_in_full() {
        let shown = DeliveryDetail {
            delivery: delivery(DeliveryState::Poison, "drop everything"),
            text: Some("drop everything".into()),
            ended_ms: Some(1_060_000),
            end: None,
            retried: None,
            sends: vec![Send {
                channel: "tg-hexa".into(),
                state: "sent".into(),
                parts_done: 1,
                doubtful: true,
                text: "the message was set aside".into(),
                failure: None,
            }],
        };
        insta::assert_snapshot!(detail(&shown, 1_120_000));
    }

    #[test]
    fn one_that_waits_says_what_for() {
        let waits = TurnWaits {
            session_us: 61_500_000,
            fleet_us: 400,
            held_us: 2_000_000,
            ..TurnWaits::default()
        };
        let shown = DeliveryDetail {
            delivery: Delivery {
                waits_for: Some(DeliveryWaitsFor::Class),
                waits: Some(waits),
                attempts: 0,
                generation: None,
                ..delivery(DeliveryState::Queued, "what is the time?")
            },
            text: Some("what is the time?".into()),
            ended_ms: None,
            end: None,
            retried: None,
            sends: Vec::new(),
        };
        insta::assert_snapshot!(detail(&shown, 1_120_000));
    }

    #[test]
    fn lists_fit_their_screens() {
        let deliveries = [
            Delivery {
                waits_for: Some(DeliveryWaitsFor::Session),
                ..delivery(DeliveryState::Queued, "what is\nthe time?")
            },
            delivery(DeliveryState::Leased, &"long ".repeat(40)),
        ];
        for width in [60, 80, 160] {
            let list = table::deliveries(&deliveries, Some(width), 1_120_000);
            let list = anstream::adapter::strip_str(&list).to_string();
            assert!(
                list.lines().all(|line| line.chars().count() <= width),
                "{list}"
            );
            insta::assert_snapshot!(format!("queue_{width}"), list);
        }
    }
}
