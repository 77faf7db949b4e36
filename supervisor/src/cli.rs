//! The command line.
//!
//! ```text
//! args ──► locate (which config, which socket) ──► one module per command ──► output
//!                                                        │
//!                                                        └─► client ──► control socket
//! ```
//!
//! Every command is a function that ends with an [`Exit`] or a [`Failure`]; only [`main`] turns those
//! into messages and a code. Only `up` runs a supervisor in this process, everything else asks the
//! one that runs. Everything is printed through [`output`], so that colour, `--quiet`, a closed pipe
//! and control characters in foreign text are dealt with in one place.

mod act;
mod args;
mod audit;
mod budget;
mod channels;
mod chat;
mod check;
mod detach;
mod detail;
mod doctor;
mod ends;
mod events;
mod exit;
mod fairness;
mod generate;
mod init;
mod interrupt;
mod locate;
mod logs;
mod output;
mod queue;
#[cfg(test)]
mod reference;
mod reload;
mod schedules;
mod send;
mod sessions;
mod set;
mod status;
mod table;
mod top;
mod turns;
mod units;
mod up;
mod upgrade;
mod why;

use std::{future::Future, process::ExitCode};

use clap::Parser as _;

pub use self::exit::Exit;
use self::{
    args::{Args, Command},
    exit::{Failure, Outcome},
    locate::Locator,
    output::Output,
};
use crate::{client::Client, control::wire::Action};

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let args = Args::parse();
    args.color.apply();
    let out = Output::new(args.verbosity());
    let exit = match dispatch(args, &out) {
        Ok(exit) => exit,
        Err(failure) => {
            out.failure(&failure);
            failure.exit
        }
    };
    exit.into()
}

fn dispatch(args: Args, out: &Output) -> Outcome {
    let locator = Locator::from_env(args.config, args.socket);
    // Only what talks to a supervisor needs to know where it is.
    let client = || locator.socket(out).map(Client::new);
    match args.command {
        Command::Up(up) => up::run(&up, &locator, out),
        Command::Check(check) => check::run(check.json, &locator, out),
        Command::Init(init) => init::run(init.path.as_deref(), out),
        Command::Status(status) => block_on(status::run(&client()?, &status, out)),
        Command::Doctor(doctor) => block_on(doctor::run(&doctor, &locator, out)),
        Command::Top(top) => block_on(top::run(client()?, &top)),
        Command::Start(which) => block_on(act::run(&client()?, Action::Start, &which, out)),
        Command::Stop(which) => block_on(act::run(&client()?, Action::Stop, &which, out)),
        Command::Restart(which) => block_on(act::run(&client()?, Action::Restart, &which, out)),
        Command::Set(set) => block_on(set::run(&client()?, &set, &locator, out)),
        Command::Logs(logs) => block_on(logs::run(&client()?, &logs, out)),
        Command::Send(send) => {
            let text = send::text(&send.text)?;
            block_on(send::run(&client()?, &send, text, out))
        }
        Command::Chat(chat) => {
            let history = locator.state_dir(out).map(|dir| dir.join("chat_history"));
            block_on(chat::run(&client()?, &chat, history, out))
        }
        Command::Sessions(sessions) => sessions::run(&sessions, &locator, out),
        Command::Channels(channels) => block_on(channels::run(&client()?, channels.json, out)),
        Command::Events(events) => block_on(events::run(&client()?, events, out)),
        Command::Fairness(fairness) => block_on(fairness::run(&client()?, &fairness, out)),
        Command::Upgrade(upgrade) => block_on(upgrade::run(&client()?, &upgrade, out)),
        Command::Audit(audit) => block_on(audit::run(&client()?, &audit, out)),
        Command::Turns(turns) => block_on(turns::run(&client()?, &turns, out)),
        Command::Budget(budget) => block_on(budget::run(&client()?, &budget, out)),
        Command::Why(why) => block_on(turns::why(&client()?, &why, out)),
        Command::Queue(queue) => block_on(queue::run(&client()?, &queue, out)),
        Command::Schedules(schedules) => block_on(schedules::run(&client()?, &schedules, out)),
        Command::Reload(reload) => block_on(reload::run(&client()?, &reload, out)),
        Command::Shutdown(shutdown) => block_on(act::shutdown(&client()?, &shutdown, out)),
        Command::Completions(completions) => generate::completions(completions.shell, out),
        Command::Man(man) => generate::man(man.out.as_deref(), out),
        Command::Schema => generate::schema(out),
        Command::Openapi => generate::openapi(out),
    }
}

/// Runs one command's conversation with the supervisor.
fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?
        .block_on(command)
}
