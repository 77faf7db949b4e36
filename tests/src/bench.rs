//! The benchmarks: what `scripts/bench` runs and `docs/benchmarks.md` shows.
//!
//! Every figure comes from real processes: the supervisor's and the agents' binaries, started with a
//! configuration and a home of their own in a temporary directory, and asked over their sockets. Times of a shared
//! machine lie, so what can be compared is measured beside its reference in the same run, in turns, and given as a
//! ratio.
//!
//! `kennel`, `kennel-agent-host` and `misbehaving-agent` are looked for in `KENNEL_BIN_DIR`, else beside this program.

mod api;
mod blast;
mod fleet;
mod history;
mod http;
mod journal;
mod lanes;
mod lanes_sim;
mod link;
mod memory;
mod noisy;
mod options;
mod process;
mod report;
mod restart;
mod sessions;
mod spawn;
mod start;
mod stats;
mod usage;

use std::io::Write as _;

use anyhow::Context as _;

use self::{
    options::{Options, Parsed},
    report::Report,
};

/// Everything that can be measured, in the order in which it is.
const BENCHMARKS: [&str; 14] = [
    "link",
    "spawn",
    "start",
    "memory",
    "http",
    "history",
    "sessions",
    "journal",
    "restart",
    "usage",
    "lanes-sim",
    "lanes",
    "noisy",
    "blast",
];

/// How much to measure.
#[derive(Debug, Clone, Copy)]
struct Scale {
    quick: bool,
}

impl Scale {
    /// `full`, or `quick` where the run only shows that everything works.
    fn pick(self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// Runs what the command line asks for.
pub fn run(words: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let options = match options::parse(words)? {
        Parsed::Help => {
            write!(std::io::stdout(), "{}", options::HELP)?;
            return Ok(());
        }
        Parsed::Child { role, directory } => return child(&role, &directory),
        Parsed::Run(options) => options,
    };
    runtime()?.block_on(measure(&options))
}

fn child(role: &str, directory: &std::path::Path) -> anyhow::Result<()> {
    match role {
        spawn::FIRST_BYTE => spawn::first_byte(),
        lanes_sim::TICKETS => lanes_sim::tickets(directory),
        _ => runtime()?.block_on(link::child(role, directory)),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let scale = Scale {
        quick: options.quick,
    };
    let mut report = Report::new(options.quick);
    for name in BENCHMARKS {
        if !options.wants(name) {
            continue;
        }
        report.begin(name)?;
        let measured = match name {
            "link" => link::measure(scale, &mut report).await,
            "spawn" => spawn::measure(scale, &mut report).await,
            "start" => start::measure(scale, &mut report).await,
            "memory" => memory::measure(scale, &mut report).await,
            "http" => http::measure(scale, &mut report).await,
            "history" => history::measure(scale, &mut report).await,
            "sessions" => sessions::measure(scale, &mut report).await,
            "journal" => journal::measure(scale, &mut report).await,
            "restart" => restart::measure(scale, &mut report).await,
            "usage" => usage::measure(scale, &mut report).await,
            "lanes-sim" => lanes_sim::measure(scale, &mut report),
            "lanes" => lanes::measure(scale, &mut report).await,
            "noisy" => noisy::measure(scale, &mut report).await,
            _ => blast::measure(scale, &mut report).await,
        };
        measured.with_context(|| format!("the benchmark `{name}` failed"))?;
    }
    report.end()?;
    match &options.json {
        Some(path) => report.write_json(path),
        None => Ok(()),
    }
}
