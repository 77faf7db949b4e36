//! The configuration: TOML in, a checked [`Config`] or everything that is wrong with it out.
//!
//! ```text
//! files ── source ──► toml's spanned tree ── reader + sections ──► Draft ── link ──► Config
//!                                   └───────────── Diagnostics ◄──────────────┘
//! ```
//!
//! Pure but for [`Config::load`], which reads the files, and the secrets, which are fetched only when they are
//! needed. Nothing here stops at the first mistake: a reader reports and goes on, and whoever asks gets all of them,
//! each with its place and a hint. `schema` describes the same keys for editors; a test keeps the two alike.
//! TOML is read in this module and nowhere else.

mod check;
mod diagnostic;
mod domain;
mod draft;
mod edit;
mod fence;
mod intensity;
mod link;
mod mask;
mod nearest;
mod reader;
pub mod schema;
mod secret;
mod sections;
mod source;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use check::{Fault, Host};
pub use diagnostic::{Diagnostic, Diagnostics, Report, Severity, Style};
pub use domain::{
    AgentConfig, AgentId, AllowFrom, Amount, Backend, Backoff, Binding, Budget, Channel, ChannelId,
    ChannelKind, Class, Config, ContextWindow, EchoProvider, Enforcement, Excess, FleetLimits,
    Http, Irc, Limits, LogFormat, LogLevel, LogRotation, ModelApi, ModelRef, NetworkAccess, Otlp,
    PeerKind, Provider, ProviderId, ProviderKind, QueuePatch, RemoteProvider, RestartMode,
    RestartPolicy, Sampling, Sandbox, Sasl, Schedule, ScheduleId, Supervisor, SystemPrompt,
    Telegram, Timeouts, Tls, Tools, UserError, UserRef, is_name, plain_size,
};
pub use edit::{Change, Edit, EditError, LimitChange};
pub use schema::json_schema;
pub use secret::{COMMAND_TIMEOUT, InlineSecret, MAX_SECRET_BYTES, SecretError, SecretRef};
pub use source::{FRAGMENTS, MAX_FILE_BYTES, MAX_FILES, files};

use diagnostic::Location;
use reader::{Context, PathSite, SecretSite, UserSite};
use source::Sources;
pub(crate) use value::is_loopback;

/// What `kennel init` writes: it works as it is, with the built-in echo provider.
pub fn starter_file() -> &'static str {
    include_str!("../../config/minimal.toml")
}

/// Every key with its meaning and its default.
pub fn example_file() -> &'static str {
    include_str!("../../config/example.toml")
}

/// Where state and sockets go when the configuration does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// The home folder, for `~/`.
    pub home: Option<PathBuf>,
    /// The default of `state_dir`.
    pub state: PathBuf,
    /// The default of `runtime_dir`.
    pub runtime: PathBuf,
}

impl Directories {
    /// By the rules of the XDG base directories; a process without a home uses the system's.
    pub fn from_env() -> Self {
        let var = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self::from_vars(var("HOME"), var("XDG_STATE_HOME"), var("XDG_RUNTIME_DIR"))
    }

    fn from_vars(
        home: Option<PathBuf>,
        state_home: Option<PathBuf>,
        runtime_home: Option<PathBuf>,
    ) -> Self {
        let state = state_home
            .or_else(|| home.as_ref().map(|home| home.join(".local/state")))
            .unwrap_or_else(|| PathBuf::from("/var/lib"))
            .join("kennel");
        Self {
            runtime: runtime_home.map_or_else(|| state.join("run"), |dir| dir.join("kennel")),
            home,
            state,
        }
    }

    /// Everything below one folder.
    pub fn below(folder: &Path) -> Self {
        Self {
            home: Some(folder.to_owned()),
            state: folder.join("state"),
            runtime: folder.join("run"),
        }
    }
}

/// A configuration that can be used, and what else there is to say about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings; never an error.
    pub warnings: Diagnostics,
    /// The files that it came from, the main one first.
    pub files: Vec<PathBuf>,
    secrets: Vec<SecretSite>,
    users: Vec<UserSite>,
    paths: Vec<PathSite>,
    limits: BTreeMap<AgentId, Location>,
    sources: Arc<Sources>,
}

impl Config {
    /// Reads the file and those of `agents.d` beside it.
    pub fn load(path: &Path, directories: &Directories) -> Result<Loaded, Diagnostics> {
        let files = source::read(path).map_err(|found| Diagnostics::new(found, Arc::default()))?;
        // Absolute, so that no path depends on where the supervisor happens to stand later. Messages keep the path
        // as it was given.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let loaded = Self::assemble(&files, folder(&absolute), directories)?;
        let found = check::prompt_files(&loaded)
            .merge(check::users(&loaded))
            .merge(check::real_paths(&loaded));
        if found.errors() > 0 {
            return Err(loaded.warnings.merge(found));
        }
        Ok(loaded)
    }

    /// Where a supervisor of this file listens, as far as the file says so, whatever else is wrong with it; `None` where
    /// it cannot be read at all.
    pub fn control_socket_of(path: &Path, directories: &Directories) -> Option<PathBuf> {
        let text = source::text_of(path)?;
        let absolute = std::path::absolute(path).ok()?;
        let context = Context::new(folder(&absolute).to_owned(), directories.home.clone());
        let draft = draft::read(&context, &[(path.to_owned(), text)], directories);
        let said = draft.supervisor.map(|draft| draft.supervisor);
        let otherwise = || directories.runtime.join("control.sock");
        Some(said.map_or_else(otherwise, |supervisor| supervisor.control_socket()))
    }

    /// Reads texts; the first is the main file. Touches neither files nor the environment.
    pub fn parse(
        files: &[(PathBuf, String)],
        directories: &Directories,
    ) -> Result<Loaded, Diagnostics> {
        let base_dir = files
            .first()
            .map_or(Path::new(""), |(path, _)| folder(path));
        Self::assemble(files, base_dir, directories)
    }

    fn assemble(
        files: &[(PathBuf, String)],
        base_dir: &Path,
        directories: &Directories,
    ) -> Result<Loaded, Diagnostics> {
        let context = Context::new(base_dir.to_owned(), directories.home.clone());
        let draft = draft::read(&context, files, directories);
        // What seems to dangle may point into what could not be read.
        let main = files.first().map_or(Path::new(""), |(path, _)| path);
        let config =
            (!context.any_broken()).then(|| link::link(&context, draft, directories, main));

        let found = context.take_found();
        let mut sources = Sources::new(files);
        let masked: Vec<Location> = context.masked.take();
        sources.mask(&masked);
        let sources = Arc::new(sources);
        let found = Diagnostics::new(found, Arc::clone(&sources));
        match config {
            Some(config) if found.errors() == 0 => Ok(Loaded {
                config,
                warnings: found,
                files: sources.paths(),
                secrets: context.secrets.take(),
                users: context.users.take(),
                paths: context.paths.take(),
                limits: context.limits.take(),
                sources,
            }),
            _ => Err(found),
        }
    }
}

fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}
