//! The tables `steps` and `steered`: how far turns have come, and what they have taken in.

use kennel_shared::ids::DeliveryId;
use rusqlite::{Connection, OptionalExtension, params, types::Type};

use super::{NewSteer, NewStep, Record, Step, encoding, file::now_ms};

/// The most rows that are kept of ended turns, beside their time.
const KEPT: i64 = 50_000;

const ANSWER: i64 = 0;
const TOOL: i64 = 1;

/// In no column: rows of `steered` among those of `steps`.
const STEERED: i64 = 2;

/// Those of a delivery that is not finished, in order.
pub(super) fn of(connection: &Connection, delivery: DeliveryId) -> rusqlite::Result<Vec<Step>> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, content, tools, seq FROM steps WHERE delivery = ?1
         UNION ALL SELECT ?2, content, delivery, seq FROM steered WHERE target = ?1
         ORDER BY seq",
    )?;
    let rows = statement.query_map(params![delivery.to_string(), STEERED], |row| {
        let tools: String = row.get(2)?;
        Ok(match row.get(0)? {
            ANSWER => Step::Answer {
                text: row.get(1)?,
                calls: encoding::read_calls(&tools)?,
            },
            STEERED => Step::Steered {
                delivery: id(&tools)?,
                text: row.get(1)?,
            },
            _ => Step::Tool {
                call: tools,
                result: row.get(1)?,
            },
        })
    })?;
    rows.collect()
}

fn id(text: &str) -> rusqlite::Result<DeliveryId> {
    text.parse::<DeliveryId>()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into()))
}

/// Writes down that a turn takes a delivery in, unless that has its end. One statement, so one transaction.
pub(super) fn steer(connection: &Connection, steer: &NewSteer) -> rusqlite::Result<bool> {
    let taken = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO steered (delivery, target, seq, content, taken_ms)
             SELECT ?1, ?2, ?3, ?4, ?5
             WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE delivery = ?1)",
        )?
        .execute(params![
            steer.delivery.to_string(),
            steer.into.to_string(),
            steer.number,
            steer.text,
            now_ms(),
        ])?;
    Ok(taken > 0)
}

/// The delivery whose turn has taken this one in.
pub(super) fn steered_into(
    connection: &Connection,
    delivery: DeliveryId,
) -> rusqlite::Result<Option<DeliveryId>> {
    let target: Option<String> = connection
        .prepare_cached("SELECT target FROM steered WHERE delivery = ?1")?
        .query_row([delivery.to_string()], |row| row.get(0))
        .optional()?;
    target.as_deref().map(id).transpose()
}

/// One statement, so one transaction.
pub(super) fn write(
    connection: &Connection,
    delivery: DeliveryId,
    number: u32,
    step: NewStep,
) -> rusqlite::Result<()> {
    let (delivery, now) = (delivery.to_string(), now_ms());
    match step {
        NewStep::Answer { text, calls, asked } => connection
            .prepare_cached(
                "INSERT INTO steps (delivery, seq, kind, content, tools, input_tokens,
                     output_tokens, began_ms, ended_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                delivery,
                number,
                ANSWER,
                text,
                encoding::calls(&calls),
                asked.usage.input_tokens,
                asked.usage.output_tokens,
                asked.at_ms,
                now,
            ]),
        NewStep::Begin { call, name } => connection
            .prepare_cached(
                "INSERT INTO steps (delivery, seq, kind, name, tools, began_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![delivery, number, TOOL, name, call, now]),
        NewStep::End { result } => connection
            .prepare_cached(
                "UPDATE steps SET content = ?3, ended_ms = ?4 WHERE delivery = ?1 AND seq = ?2",
            )?
            .execute(params![delivery, number, result, now]),
    }
    .map(drop)
}

/// Within the transaction that ends the turn: what was said is in the session now, or forgotten.
pub(super) fn finish(connection: &Connection, record: &Record, now: i64) -> rusqlite::Result<()> {
    let delivery = record.delivery.to_string();
    connection
        .prepare_cached("UPDATE steps SET content = NULL, tools = NULL WHERE delivery = ?1")?
        .execute([&delivery])?;
    connection
        .prepare_cached("UPDATE steered SET content = NULL WHERE target = ?1")?
        .execute([&delivery])?;
    if let Some((number, asked)) = record.last {
        connection
            .prepare_cached(
                "INSERT INTO steps (delivery, seq, kind, input_tokens, output_tokens, began_ms,
                     ended_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                delivery,
                number,
                ANSWER,
                asked.usage.input_tokens,
                asked.usage.output_tokens,
                asked.at_ms,
                now,
            ])?;
    }
    Ok(())
}

/// Forgets what began before, or is beyond what is kept.
pub(super) fn prune(connection: &Connection, before: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM steered WHERE taken_ms < ?1")?
        .execute([before])?;
    connection
        .prepare_cached(
            "DELETE FROM steps WHERE began_ms < max(?1, coalesce(
                 (SELECT began_ms FROM steps ORDER BY began_ms DESC LIMIT 1 OFFSET ?2), 0))",
        )?
        .execute([before, KEPT])
        .map(drop)
}
