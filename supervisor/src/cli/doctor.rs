//! `doctor`: whether all is well, and what to do where it is not.
//!
//! A supervisor that runs is asked. Where none runs, this process looks by itself, which tells what a
//! supervisor that is started here would find; the judging is the same.

mod draw;
mod local;

use super::{
    args::Doctor as Args,
    exit::{Exit, Outcome},
    locate::Locator,
    output::Output,
};
use crate::{
    client::{Answer, Client, ClientError},
    control::wire::{AgentDoctor, CheckState, Doctor},
    doctor::facts::Supervisor,
};

pub(super) async fn run(args: &Args, locator: &Locator, out: &Output) -> Outcome {
    // A configuration that is refused is what there is to tell, not a reason to tell nothing.
    let client = locator.find_socket().ok().map(Client::new);
    match &args.agent {
        None => {
            let (json, doctor) = fleet(client.as_ref(), locator).await?;
            let text = || draw::fleet(&doctor, Output::width());
            tell(args, out, &json, text, doctor.state)
        }
        Some(id) => {
            let (json, doctor) = agent(client.as_ref(), id, locator, out).await?;
            let text = || draw::agent(&doctor, Output::width());
            tell(args, out, &json, text, doctor.state)
        }
    }
}

async fn fleet(
    client: Option<&Client>,
    locator: &Locator,
) -> Result<(String, Doctor), ClientError> {
    let absent = match client {
        None => Supervisor::Unknown,
        Some(client) => match or_absent(client.doctor().await)? {
            Ok(answer) => return Ok((answer.json, answer.value)),
            Err(absent) => absent,
        },
    };
    let found = local::fleet(locator, absent);
    Ok((json(&found), found))
}

async fn agent(
    client: Option<&Client>,
    id: &str,
    locator: &Locator,
    out: &Output,
) -> Result<(String, AgentDoctor), super::exit::Failure> {
    let absent = match client {
        None => Supervisor::Unknown,
        Some(client) => match or_absent(client.agent_doctor(id).await)? {
            Ok(answer) => return Ok((answer.json, answer.value)),
            Err(absent) => absent,
        },
    };
    let found = local::agent(locator, id, absent, out)?;
    Ok((json(&found), found))
}

/// An answer, or that there is nobody to answer.
fn or_absent<T>(
    answer: Result<Answer<T>, ClientError>,
) -> Result<Result<Answer<T>, Supervisor>, ClientError> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(ClientError::NotRunning { socket }) => Ok(Err(Supervisor::Absent { socket })),
        Err(error) => Err(error),
    }
}

fn json(found: &impl serde::Serialize) -> String {
    serde_json::to_string(found).expect("wire types are plain data")
}

fn tell(
    args: &Args,
    out: &Output,
    json: &str,
    text: impl FnOnce() -> String,
    state: CheckState,
) -> Outcome {
    if args.json {
        out.line(json.trim_end())?;
    } else {
        out.text(text())?;
    }
    Ok(match state {
        CheckState::Fail => Exit::Unwell,
        CheckState::Ok | CheckState::Warn | CheckState::Unknown => Exit::Ok,
    })
}
