//! What a model may do: the built-in tools, in the agent's workspace.
//!
//! A [`Toolbox`] runs one call and always has a text for the model, which says what came of it or what was
//! wrong. Nothing that a model writes can do more than that: arguments are parsed with limits, paths are
//! resolved beneath the workspace, time and output are bounded.
//!
//! | module | holds |
//! | --- | --- |
//! | [`arguments`] | what a model writes, read; hostile until then |
//! | [`beneath`] | a folder that no path leads out of |
//! | [`files`] | `read`, `write`, `edit`, `list`; they block, so they run in the blocking pool |
//! | [`exec`] | `exec`: a process group, from its start to its end |
//! | [`output`] | long output: its head and tail for the model, all of it in a file |
//!
//! Files are the first fence. The cage is the second, and the only one for what `exec` starts.

mod arguments;
mod beneath;
mod exec;
mod files;
mod output;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kennel_shared::protocol::{AgentSpec, Tool};
use serde_json::Value;
use tokio::time::timeout;
use tracing::error;

use crate::{provider, window::Call};
use arguments::Wanted;
use output::Spool;

/// The most that a model is told of one result, in bytes.
pub(crate) const RESULT_MAX_BYTES: usize = 16 * 1024;

/// The folder in the agent's own for output that is longer.
const OUTPUT: &str = "output";

/// What the model is told of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// JSON Schema of its arguments.
    pub(crate) parameters: Value,
}

/// The tools of one agent.
#[derive(Debug, Clone)]
pub(crate) struct Toolbox {
    workspace: PathBuf,
    spool: Spool,
    enabled: Vec<Tool>,
    limit: Duration,
}

impl Toolbox {
    /// The tools that `spec` allows; `home` is the agent's own folder.
    pub(crate) fn new(spec: &AgentSpec, home: &Path) -> Self {
        Self {
            workspace: spec.workspace.clone(),
            spool: Spool::new(home.join(OUTPUT)),
            enabled: spec.tools.enabled.clone(),
            limit: Duration::from_millis(spec.tools.timeout_ms),
        }
    }

    /// What the model is told of them. Where the messages speak of tools it is told of all, also when it may
    /// use none any more: some providers refuse calls and results of which they know no tool.
    pub(crate) fn definitions(&self, spoken_of: bool) -> Vec<Definition> {
        let told: &[Tool] = match self.enabled.as_slice() {
            [] if spoken_of => &Tool::ALL,
            enabled => enabled,
        };
        told.iter().copied().map(arguments::definition).collect()
    }

    /// Whether there is none that may be used.
    pub(crate) fn is_empty(&self) -> bool {
        self.enabled.is_empty()
    }

    /// The tool of this name, if it is allowed.
    pub(crate) fn find(&self, name: &str) -> Option<Tool> {
        let mut enabled = self.enabled.iter().copied();
        enabled.find(|tool| tool.as_str() == name)
    }

    /// Does what a model wants. Dropping this ends what was begun: a process at once, with its whole
    /// group; a change of a file is whole or was not begun.
    pub(crate) async fn run(&self, call: &Call) -> String {
        let done = match self.find(&call.name) {
            Some(tool) => match arguments::parse(tool, &call.arguments) {
                Ok(wanted) => self.carry_out(wanted, &call.id).await,
                Err(wrong) => Err(wrong),
            },
            None => Err(self.no_such_tool()),
        };
        done.unwrap_or_else(|wrong| format!("error: {wrong}"))
    }

    async fn carry_out(&self, wanted: Wanted, id: &str) -> Result<String, String> {
        let in_files: Box<dyn FnOnce(&files::Files) -> files::Done + Send> = match wanted {
            Wanted::Exec(wanted) => {
                let shell = exec::Shell {
                    workspace: &self.workspace,
                    spool: &self.spool,
                    limit: self.limit,
                };
                return shell.run(wanted, id).await;
            }
            Wanted::Read(wanted) => Box::new(move |files| files.read(&wanted)),
            Wanted::Write(wanted) => Box::new(move |files| files.write(&wanted)),
            Wanted::Edit(wanted) => Box::new(move |files| files.edit(&wanted)),
            Wanted::List(wanted) => Box::new(move |files| files.list(&wanted)),
        };
        let files = files::Files {
            workspace: self.workspace.clone(),
            output: self.spool.folder().to_owned(),
        };
        let work = tokio::task::spawn_blocking(move || in_files(&files));
        match timeout(self.limit, work).await {
            Ok(Ok(done)) => done,
            Ok(Err(panicked)) => {
                error!(error = %panicked, "a tool failed");
                Err("the tool made a mistake of its own".into())
            }
            Err(_elapsed) => Err(format!(
                "it took longer than {} and was given up",
                provider::words(self.limit)
            )),
        }
    }

    fn no_such_tool(&self) -> String {
        let names: Vec<_> = self.enabled.iter().map(|tool| tool.as_str()).collect();
        match names.as_slice() {
            [] => "there are no tools".into(),
            names => format!("there is no such tool; there are {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests;
