//! `logs`: what an agent wrote to its output.

use super::{
    args::Logs,
    exit::{Exit, Outcome},
    output::{Output, foreign},
};
use crate::{client::Client, control::wire::LogLine};

pub(super) async fn run(client: &Client, args: &Logs, out: &Output) -> Outcome {
    if !args.follow {
        for line in client.logs(&args.agent, args.lines).await?.lines {
            show(&line, out)?;
        }
        return Ok(Exit::Ok);
    }
    // The supervisor follows the file over rotations and over restarts of the agent.
    let mut lines = client.follow_logs(&args.agent, args.lines).await?;
    while let Some(line) = lines.next_named::<LogLine>("line").await? {
        show(&line, out)?;
    }
    out.note("the supervisor has ended the stream");
    Ok(Exit::Ok)
}

fn show(line: &LogLine, out: &Output) -> std::io::Result<()> {
    out.line(foreign(&line.text))
}
