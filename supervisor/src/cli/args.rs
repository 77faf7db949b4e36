//! What can be asked for. The doc comments here are the help texts, and `docs/cli.md`.

#![expect(clippy::doc_markdown, reason = "these comments are read on a terminal")]

mod schedules;
mod sessions;

use std::{path::PathBuf, time::Duration};

use anstream::ColorChoice;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum, ValueHint};

pub(super) use self::{
    schedules::{ScheduleOne, Schedules, SchedulesCommand},
    sessions::{List, Search, Sessions},
};
use super::{
    output::Verbosity,
    top::{self, SortKey},
};
use crate::supervisor::Numbers;

const EXIT_CODES: &str = "\
Exit codes:
  0    done, or was so already
  1    the operation failed
  2    wrong usage, or a configuration that is refused
  3    no supervisor is running here
  4    no such agent
  5    it took longer than it may
  6    refused
  7    `kennel doctor` has found something that fails
  130  interrupted with Ctrl-C";

/// A supervisor for AI agents: one process each, so that none can hurt another.
#[derive(Debug, Parser)]
#[command(name = "kennel", version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    /// The configuration file
    ///
    /// Else ./kennel.toml, $XDG_CONFIG_HOME/kennel/kennel.toml (~/.config), /etc/kennel/kennel.toml: the first that
    /// exists.
    #[arg(
        short,
        long,
        global = true,
        env = "KENNEL_CONFIG",
        hide_env_values = true
    )]
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Global options")]
    pub(super) config: Option<PathBuf>,

    /// The control socket of the supervisor
    ///
    /// Else control.sock in the `runtime_dir` of the configuration, else in the default one.
    #[arg(long, global = true, env = "KENNEL_SOCKET", hide_env_values = true)]
    #[arg(value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = "Global options")]
    pub(super) socket: Option<PathBuf>,

    /// When to use colour; NO_COLOR is honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    #[arg(help_heading = "Global options")]
    pub(super) color: Color,

    /// Only print what was asked for, and errors
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    quiet: bool,

    /// Say more about errors
    #[arg(short, long, global = true, help_heading = "Global options")]
    verbose: bool,

    #[command(subcommand)]
    pub(super) command: Command,
}

impl Args {
    pub(super) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Color {
    /// On a terminal
    Auto,
    /// Also into files and pipes
    Always,
    /// Not at all
    Never,
}

impl Color {
    /// Decides for all output of this process.
    pub(super) fn apply(self) {
        match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        }
        .write_global();
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the supervisor and its agents
    Up(Up),
    /// Say whether the configuration is right
    Check(Json),
    /// Write a configuration to start from
    Init(Init),
    /// Show the supervisor and its agents
    Status(Status),
    /// Say whether all is well, and what to do where it is not
    ///
    /// Looks at what holds the agents, the host, the supervisor's folders, the configuration, secrets, agents and chat
    /// connections; of one agent, at its life, its last end, its caps and its cage. Where no supervisor is running, it tells
    /// what one that is started here would get. Ends with 0 when nothing fails, warnings or not, and with 7 when something
    /// does.
    Doctor(Doctor),
    /// Watch the agents on a screen of their own; restart, stop and start them
    #[command(after_long_help = top::keys_help())]
    Top(Top),
    /// Start agents
    Start(Which),
    /// Stop agents; they stay down
    Stop(Which),
    /// Restart agents; also the way out of quarantine
    Restart(Which),
    /// Show what an agent may use of the machine, or change it while it runs
    Set(Set),
    /// Read the configuration again, and change what differs while everything else goes on
    ///
    /// All of it is checked first: when anything is wrong, nothing changes. Then what differs is told, and done. Caps,
    /// limits of queues, restart policies and bindings change at once. An agent gets a new process only where it must,
    /// and after its turns; one that is removed finishes its turns, and what it has kept stays. Caps that were set by
    /// `kennel set` give way to what the file says. SIGHUP does the same; `kennel up --watch` whenever the files change.
    Reload(Reload),
    /// Show what an agent wrote to its output
    Logs(Logs),
    /// Send an agent a message and print its answer
    Send(Send),
    /// Talk to an agent
    Chat(Chat),
    /// List, show, export, search and delete the agents' sessions
    ///
    /// A session is one conversation of an agent. They are read from the agent's own store, with or without a supervisor,
    /// by whoever the store belongs to, or root.
    #[command(subcommand)]
    Sessions(Sessions),
    /// Show the chat connections
    Channels(Json),
    /// Show what happened to the agents, and what happens to them
    Events(Events),
    /// Show whether everybody has the share that weights give
    ///
    /// Of the turns that the fleet runs at once, and of the CPU: what each class and each agent had on average, and what it was
    /// entitled to. Who gets all that it wants is entitled to just that; where more is wanted than there is, shares and
    /// weights decide. One number for all is Jain's index: 1 when everybody has the same part of what they are entitled to. A
    /// turn that has begun is not interrupted, so where turns are longer than the window, it looks less fair than it is.
    Fairness(Fairness),
    /// Show the messages that wait or run; drop, retry and requeue single ones
    Queue(Queue),
    /// Show the schedules; run, pause and resume single ones
    Schedules(Schedules),
    /// Show what the last turns took: queued, model, tools, CPU, tokens, cost, and what held each up
    Turns(Turns),
    /// Show what agents may spend in an hour, a day and a month, and what they have spent
    Budget(Budget),
    /// Say what held one turn up, with a picture of where its time went
    Why(Why),
    /// Show what operators did, and what became of single messages
    Audit(Audit),
    /// Have this program take over from the one that runs, then give every agent a new process
    ///
    /// The running supervisor first has the new program say whether it would start: it reads the configuration, the journal
    /// and the secrets, and looks at what holds agents. If it would not, nothing changes, and the reason is told. Else callers
    /// get their answers, the sockets stay open, and the new program goes on in the same process; agents keep running and are
    /// adopted. Then each agent is restarted after its turns, one after the other, until one does not become ready.
    Upgrade(Upgrade),
    /// Stop all agents, then the supervisor
    Shutdown(Shutdown),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the manual page
    Man(Man),
    /// Print the JSON Schema of the configuration
    Schema,
    /// Print the OpenAPI document of the control API
    Openapi,
}

#[derive(Debug, ClapArgs)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word on the command line"
)]
pub(super) struct Up {
    /// Return once the supervisor answers, and leave it running in the background
    #[arg(short, long)]
    pub(super) detach: bool,

    /// Read the configuration again whenever its files change, as `kennel reload` does
    #[arg(short, long)]
    pub(super) watch: bool,

    /// Only say whether it would start, for the supervisor that runs.
    #[arg(long, hide = true, conflicts_with_all = ["detach", "take_over"])]
    pub(super) preflight: bool,

    /// Go on where the program before in this process has stopped.
    #[arg(
        long,
        hide = true,
        value_name = "DESCRIPTORS",
        conflicts_with = "detach"
    )]
    pub(super) take_over: Option<Numbers>,

    /// The configuration of the program before, should this one not come up.
    #[arg(long, hide = true, value_name = "FILE", requires = "take_over")]
    pub(super) return_to: Option<PathBuf>,

    /// Why the program that was to take over from this one has not.
    #[arg(long, hide = true, value_name = "WHY", requires = "take_over")]
    pub(super) undone: Option<String>,

    /// This process is the background one: leave the terminal's session.
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub(super) detached: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Init {
    /// Where: a file that ends in .toml, or a folder for kennel.toml; here when absent
    #[arg(value_name = "DIR|FILE", value_hint = ValueHint::AnyPath)]
    pub(super) path: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Fairness {
    /// How far back
    #[arg(long, value_enum, default_value = "5m")]
    pub(super) window: FairnessSpan,

    /// Print all windows as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// How far back one looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FairnessSpan {
    #[value(name = "1m")]
    Minute,
    #[value(name = "5m")]
    FiveMinutes,
    #[value(name = "1h")]
    Hour,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Status {
    /// Show these agents in full, the memory that their processes share included
    #[arg(value_name = "AGENT")]
    pub(super) agents: Vec<String>,

    /// Print the control API's JSON; of agents, one object each
    #[arg(long)]
    pub(super) json: bool,

    /// Show it anew every second until Ctrl-C
    #[arg(short, long)]
    pub(super) watch: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Doctor {
    /// Look at this agent only, in full
    pub(super) agent: Option<String>,

    /// Print the control API's JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Top {
    /// How often to ask the supervisor, from 100ms to 1h
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub(super) interval: Duration,

    /// What to order the agents by at first; `?` lists the keys that change it
    #[arg(short, long, value_name = "KEY", default_value = "cpu")]
    pub(super) sort: SortKey,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_millis(100)..=Duration::from_hours(1)).contains(&interval) {
        Ok(interval)
    } else {
        Err("not from 100ms to 1h".to_owned())
    }
}

#[derive(Debug, ClapArgs)]
pub(super) struct Which {
    /// Which agents
    #[arg(
        value_name = "AGENT",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(super) agents: Vec<String>,

    /// All agents of the configuration
    #[arg(long)]
    pub(super) all: bool,

    /// Give up waiting after this time, as in 30s; the agents' own limits when absent
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) timeout: Option<Duration>,

    /// Print one JSON object per agent
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Set {
    /// Which agent
    pub(super) agent: String,

    /// What to change, as in memory=1GiB, cpu=0.5, pids=64; none lifts a cap
    ///
    /// The caps are memory, memory_high, cpu, cpu_weight, pids, open_files and io_weight. They hold at once, and until
    /// the supervisor ends or reads its configuration again. Without any, those that are in force are shown.
    #[arg(value_name = "CAP=VALUE")]
    pub(super) changes: Vec<String>,

    /// Also write them into the configuration, into the file that declares the agent
    #[arg(long, requires = "changes")]
    pub(super) save: bool,

    /// Print the control API's JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Reload {
    /// Tell what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Return when it is begun, without waiting for agents that finish their turns or start
    #[arg(long)]
    pub(super) no_wait: bool,

    /// Give up waiting for the agents after this time, as in 30s; they go on
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) timeout: Option<Duration>,

    /// Print the control API's JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Logs {
    /// Which agent
    pub(super) agent: String,

    /// Go on with new lines as they come, over restarts of the agent, until Ctrl-C
    #[arg(short, long)]
    pub(super) follow: bool,

    /// How many of the last lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(super) lines: u32,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Events {
    /// Only those of this agent
    pub(super) agent: Option<String>,

    /// Go on with new ones as they come, until Ctrl-C
    #[arg(short, long)]
    pub(super) follow: bool,

    /// How many of the past ones
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    pub(super) lines: u32,

    /// Print one JSON object per event
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Queue {
    #[command(subcommand)]
    pub(super) command: Option<QueueCommand>,

    #[command(flatten)]
    pub(super) list: QueueList,
}

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// List messages; what `kennel queue` does by itself
    List(QueueList),
    /// Show one message, its end, and what was sent because of it
    Show(QueueOne),
    /// Take out a message that waits or is poison; its sender is not told
    Drop(QueueOne),
    /// Have a message that failed, or was cancelled or dropped, answered after all, as a new one
    Retry(QueueOne),
    /// Put a message that is poison back in the queue, ahead of all others
    Requeue(QueueOne),
}

#[derive(Debug, ClapArgs)]
pub(super) struct QueueList {
    /// Only those for this agent
    pub(super) agent: Option<String>,

    /// Those that were set aside, since their agent died of them again and again
    #[arg(long, conflicts_with = "all")]
    pub(super) poison: bool,

    /// All that the journal keeps, also what has ended
    #[arg(long)]
    pub(super) all: bool,

    /// How many at most, from 1 to 1000
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) lines: u32,

    /// Go on behind this one, as the list before named it
    #[arg(long, value_name = "PLACE")]
    pub(super) behind: Option<String>,

    /// Print the control API's JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Upgrade {
    /// The program that takes over; this one when absent
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) program: Option<PathBuf>,

    /// Leave the agents with the processes that they have
    #[arg(long)]
    pub(super) keep_agents: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Audit {
    /// How many of the last, from 1 to 1000
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) lines: u32,

    /// Only those before this number, which --json shows
    #[arg(long, value_name = "NUMBER")]
    pub(super) before: Option<i64>,

    /// Print the control API's JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Turns {
    /// Only those of this agent
    pub(super) agent: Option<String>,

    /// How many of the last, from 1 to 1000
    ///
    /// [default: 20; 1000 with --sum]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) limit: Option<u32>,

    /// Add them up by agent: where the time went, and what held up most of it
    #[arg(long)]
    pub(super) sum: bool,

    /// Only those before this one, as the list before named it
    #[arg(long, value_name = "NUMBER")]
    pub(super) before: Option<i64>,

    /// Print the control API's JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Budget {
    /// Only that of this agent
    pub(super) agent: Option<String>,

    /// Print the control API's JSON, of all agents
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Why {
    /// Which turn: its id, that of its message, or as much of the beginning as names just one
    pub(super) turn: String,

    /// Print the control API's JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct QueueOne {
    /// Which message: its id, or as much of its beginning as names just one
    pub(super) id: String,

    /// Print the control API's JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Send {
    /// Which agent
    pub(super) agent: String,

    /// The message; - reads it from standard input
    pub(super) text: String,

    /// Which conversation to go on with; a fresh one when absent
    #[arg(short, long, value_name = "NAME")]
    pub(super) session: Option<String>,

    /// Print the control API's JSON: one object, also when the turn fails
    #[arg(long)]
    pub(super) json: bool,

    /// Print the answer only when it is complete
    #[arg(long)]
    pub(super) no_stream: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Chat {
    /// Which agent
    pub(super) agent: String,

    /// Which conversation to go on with; a fresh one when absent
    #[arg(short, long, value_name = "NAME")]
    pub(super) session: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Shutdown {
    /// Give up waiting for its end after this time; it ends all the same
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(super) timeout: Duration,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Completions {
    /// For which shell
    pub(super) shell: clap_complete::Shell,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Man {
    /// Write the pages of all commands into this folder instead
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) out: Option<PathBuf>,
}
