//! The command line.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::BENCHMARKS;

pub(super) const HELP: &str = "\
Measures Kennel and prints a table.

usage: kennel-bench [--quick] [--json FILE] [BENCHMARK…]

Benchmarks (all of them, unless some are named):
  link      a round trip through a router: our link beside bare tokio
  spawn     a stopped agent, from `start` to ready
  start     `kennel up` to all ready, with 1, 10 and 100 agents
  memory    PSS and USS of the supervisor and of each agent, with 1, 10 and 100 agents
  http      answers of /v1/chat/completions: time, CPU, throughput
  history   a turn in sessions of 0, 1, 28, 256 and 1024 MB
  sessions  reading, exporting, searching and deleting a session of 1024 MB
  journal   messages a second that are on the disk before they are acknowledged
  restart   a restart of one agent while the others answer
  usage     what it costs to know what 10 and 100 agents use
  lanes-sim the lanes alone: a million messages on a virtual clock
  lanes     people beside agents that always have more to do: waits, shares of slots
  noisy     questions of one line beside a review that computes: one process, one pool, classes
  blast     quiet agents beside one that takes all it can get, of everything in turn

Options:
  --quick       a few seconds for all: shows that everything works, not how fast it is
  --json FILE   the figures as JSON, too

KENNEL_BIN_DIR names the directory of the binaries, if they are not beside this one.
";

pub(super) enum Parsed {
    Help,
    Run(Options),
    /// Started by a benchmark of this program as one of its processes.
    Child {
        role: String,
        directory: PathBuf,
    },
}

#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) quick: bool,
    pub(super) json: Option<PathBuf>,
    names: Vec<String>,
}

impl Options {
    pub(super) fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }
}

pub(super) fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Parsed> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => return Ok(Parsed::Help),
            "--quick" => options.quick = true,
            "--json" => options.json = Some(words.next().context("--json needs a file")?.into()),
            "--child" => {
                return Ok(Parsed::Child {
                    role: words.next().context("--child needs a role")?,
                    directory: words.next().context("--child needs a directory")?.into(),
                });
            }
            name if BENCHMARKS.contains(&name) => options.names.push(word),
            _ => bail!("`{word}` is neither an option nor a benchmark; --help lists them"),
        }
    }
    Ok(Parsed::Run(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> anyhow::Result<Parsed> {
        parse(words.iter().map(ToString::to_string))
    }

    #[test]
    fn benchmarks_are_named_or_all() {
        let Ok(Parsed::Run(some)) = parse_words(&["--quick", "http", "link"]) else {
            panic!("these are benchmarks");
        };
        assert!(some.quick && some.wants("http") && some.wants("link") && !some.wants("start"));
        let Ok(Parsed::Run(all)) = parse_words(&[]) else {
            panic!("nothing is all");
        };
        assert!(BENCHMARKS.iter().all(|name| all.wants(name)));
    }

    #[test]
    fn what_is_no_benchmark_is_refused() {
        assert!(parse_words(&["htpp"]).is_err());
        assert!(parse_words(&["--json"]).is_err());
    }
}
