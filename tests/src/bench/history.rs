//! A turn in a session with a long past. The stores are filled from outside, through the agents' own tables.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rusqlite::{Connection, params};
use serde_json::json;

use super::{
    Scale,
    api::Api,
    fleet::{Home, size_of},
    report::{Report, Unit},
    stats::Samples,
};

/// The session that has the past.
pub(super) const SESSION: &str = "bench";

/// The length of each past message.
const MESSAGE_BYTES: usize = 2000;

pub(super) const MB: usize = 1_000_000;

/// Turns before the clock starts, after the first.
const WARM_UP: usize = 5;

struct Subject {
    agent: String,
    megabytes: usize,
    first: Duration,
    turns: Samples,
    inside: Samples,
}

pub(super) async fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let sizes: &[usize] = if scale.quick {
        &[0, 1]
    } else {
        &[0, 1, 28, 256, 1024]
    };
    let mut subjects: Vec<Subject> = sizes.iter().map(|&megabytes| subject(megabytes)).collect();
    let home = Home::new(
        subjects
            .iter()
            .map(|subject| subject.agent.clone())
            .collect(),
    )?;
    let fleet = home.up().await?;
    let mut api = fleet.unix().await?;
    for subject in &subjects {
        // The first turn makes the store and the session; the past is then put behind it.
        turn(&mut api, &subject.agent).await?;
        api.act(&subject.agent, "stop").await?;
        let store = home.store(&subject.agent);
        fill(&store, subject.megabytes * MB)?;
        let at_least = u64::try_from(subject.megabytes * MB)?;
        anyhow::ensure!(size_of(&store) >= at_least, "the store was not filled");
        api.act(&subject.agent, "start").await?;
    }
    for subject in &mut subjects {
        subject.first = turn(&mut api, &subject.agent).await?.0;
        for _ in 0..WARM_UP {
            turn(&mut api, &subject.agent).await?;
        }
    }
    // In turns, so that what else the machine does meets all of them alike.
    for _ in 0..scale.pick(300, 10) {
        for subject in &mut subjects {
            let (outside, inside) = turn(&mut api, &subject.agent).await?;
            subject.turns.push(outside);
            subject.inside.push(inside);
        }
    }
    fleet.down()?;
    show(report, &subjects)
}

fn subject(megabytes: usize) -> Subject {
    Subject {
        agent: format!("h{megabytes}"),
        megabytes,
        first: Duration::ZERO,
        turns: Samples::default(),
        inside: Samples::default(),
    }
}

fn show(report: &mut Report, subjects: &[Subject]) -> anyhow::Result<()> {
    let empty = subjects.first().context("there are subjects")?.turns.p50();
    for subject in subjects {
        let size = format!("{} MB", subject.megabytes);
        report.millis(format!("{size}: turn, p50"), subject.turns.p50(), Some(5.0))?;
        report.millis(format!("{size}: turn, p99"), subject.turns.p99(), None)?;
        report.millis(
            format!("{size}: within the agent, p50"),
            subject.inside.p50(),
            None,
        )?;
        report.millis(
            format!("{size}: first turn after a start"),
            subject.first,
            None,
        )?;
        if subject.megabytes > 0 {
            let ratio = subject.turns.p50().as_secs_f64() / empty.as_secs_f64();
            report.add(
                format!("{size}: turn / turn of 0 MB"),
                ratio,
                Unit::Ratio,
                None,
            )?;
        }
    }
    Ok(())
}

/// One turn: how long the caller waited, and how long the agent says that it took.
pub(super) async fn turn(api: &mut Api, agent: &str) -> anyhow::Result<(Duration, Duration)> {
    let body = json!({ "text": "And what was the question?", "session": SESSION });
    let path = format!("/api/v1/agents/{agent}/turns");
    let began = Instant::now();
    let reply = api.post(&path, &body).await?;
    let outside = began.elapsed();
    let inside = reply["timing"]["total_us"].as_u64().context("a timing")?;
    Ok((outside, Duration::from_micros(inside)))
}

/// Puts `bytes` of messages behind the newest of the session, in questions and answers.
pub(super) fn fill(store: &Path, bytes: usize) -> anyhow::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let mut connection = Connection::open(store)?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    let transaction = connection.transaction()?;
    {
        let (session, last): (i64, i64) = transaction.query_row(
            "SELECT s.id, max(m.seq) FROM sessions s JOIN messages m ON m.session = s.id WHERE s.key LIKE ?1",
            [format!("%:api:{SESSION}")],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let mut insert = transaction.prepare(
            "INSERT INTO messages (session, seq, role, content, turn, created_ms) VALUES (?1, ?2, ?3, ?4, ?5, 0)",
        )?;
        let content = "All the world is a stage, and all the agents merely players. ".repeat(40);
        let content = &content[..MESSAGE_BYTES];
        // An even number, so that a question follows what is put here.
        for nth in 0..i64::try_from(bytes.div_ceil(2 * MESSAGE_BYTES) * 2)? {
            let turn = format!("{:032x}", nth / 2);
            insert.execute(params![session, last + 1 + nth, nth % 2, content, turn])?;
        }
    }
    transaction.commit()?;
    connection
        .close()
        .map_err(|(_, error)| error)
        .context("the store cannot be closed")
}
