//! `channels`: the chat connections.

use super::{
    exit::{Exit, Outcome},
    output::Output,
    table,
};
use crate::client::Client;

pub(super) async fn run(client: &Client, json: bool, out: &Output) -> Outcome {
    let channels = client.channels().await?;
    if json {
        out.line(channels.json.trim_end())?;
    } else if channels.value.channels.is_empty() {
        out.note("no channels are configured");
    } else {
        out.text(table::channels(&channels.value, Output::width()))?;
    }
    Ok(Exit::Ok)
}
