//! Starts `kennel-agent-host sessions`, and reads what it prints.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use kennel_shared::{
    cage::UserIds,
    ids::AgentId,
    sessions::{Ask, Line, Request, Trouble, TroubleCode},
};

use crate::{
    cli::exit::{Exit, Failure},
    plan,
};

/// The most that is read of a complaint.
const COMPLAINT: u64 = 16 * 1024;

/// Reads the store of one agent.
pub(super) struct Reader {
    agent: AgentId,
    folder: PathBuf,
    /// As whom, where it is not this user.
    user: Option<UserIds>,
}

/// Why it could not be read.
#[derive(Debug)]
pub(super) enum ReaderFailure {
    /// The agent has no folder: it was never started.
    NoFolder(Failure),
    /// The reader says so.
    Trouble(Trouble, AgentId),
    /// Anything else.
    Other(Failure),
}

impl ReaderFailure {
    /// What the reader says.
    pub(super) fn code(&self) -> Option<TroubleCode> {
        match self {
            Self::Trouble(trouble, _) => Some(trouble.code),
            Self::NoFolder(_) | Self::Other(_) => None,
        }
    }

    /// Whether this user may not.
    pub(super) fn is_denied(&self) -> bool {
        self.code() == Some(TroubleCode::Denied)
    }
}

impl From<ReaderFailure> for Failure {
    fn from(error: ReaderFailure) -> Self {
        let (trouble, agent) = match error {
            ReaderFailure::NoFolder(failure) | ReaderFailure::Other(failure) => return failure,
            ReaderFailure::Trouble(trouble, agent) => (trouble, agent),
        };
        let failure = Self::new(format!("`{agent}`: {}", trouble.message));
        match trouble.code {
            TroubleCode::NoSession => {
                failure.hint(format!("`kennel sessions list {agent}` lists its sessions"))
            }
            TroubleCode::Denied => failure.exit(Exit::Refused).hint(
                "sessions are read by the user to whom the agent's folder belongs, or by root",
            ),
            TroubleCode::Running => failure.exit(Exit::Refused),
            TroubleCode::Failed => failure,
        }
    }
}

impl Reader {
    pub(super) fn new(agent: &AgentId, folder: &Path, known: bool) -> Result<Self, ReaderFailure> {
        let about = fs::metadata(folder).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if known => ReaderFailure::NoFolder(Failure::new(format!(
                "`{agent}` was never started: it has no sessions"
            ))),
            io::ErrorKind::NotFound => ReaderFailure::Other(
                Failure::new(format!("there is no agent `{agent}`"))
                    .exit(Exit::NoSuchAgent)
                    .hint("`kennel sessions list` shows the sessions of all agents"),
            ),
            io::ErrorKind::PermissionDenied => {
                let trouble = Trouble {
                    code: TroubleCode::Denied,
                    message: format!("{} may not be read", folder.display()),
                };
                ReaderFailure::Trouble(trouble, agent.clone())
            }
            _ => ReaderFailure::Other(Failure::new(format!(
                "{} cannot be looked at: {error}",
                folder.display()
            ))),
        })?;
        // What is in a store is not read with the rights of root, and no file of root's is left in it.
        let user = (nix::unistd::geteuid().is_root() && about.uid() != 0).then(|| UserIds {
            uid: about.uid(),
            gid: about.gid(),
        });
        Ok(Self {
            agent: agent.clone(),
            folder: folder.to_owned(),
            user,
        })
    }

    /// Takes each line of the answer.
    pub(super) fn read(
        &self,
        ask: Ask,
        mut take: impl FnMut(Line) -> io::Result<()>,
    ) -> Result<(), ReaderFailure> {
        let mut child = self.start(ask, Stdio::piped())?;
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        for line in lines {
            let taken = line.and_then(|line| take(serde_json::from_str(&line)?));
            if let Err(error) = taken {
                // Nobody reads on: it ends at its next line.
                self.end(child)?;
                return Err(ReaderFailure::Other(error.into()));
            }
        }
        self.end(child)
    }

    /// Has the answer printed as it is.
    pub(super) fn pass_on(&self, ask: Ask) -> Result<(), ReaderFailure> {
        let child = self.start(ask, Stdio::inherit())?;
        self.end(child)
    }

    /// Has the answer written to a file.
    pub(super) fn pass_on_to(&self, ask: Ask, file: File) -> Result<(), ReaderFailure> {
        let child = self.start(ask, file.into())?;
        self.end(child)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "no agent: a program that the command line runs and waits for"
    )]
    fn start(&self, ask: Ask, stdout: Stdio) -> Result<Child, ReaderFailure> {
        let request = Request {
            agent: self.agent.clone(),
            state_dir: self.folder.clone(),
            user: self.user,
            ask,
        };
        let program = plan::agent_host();
        let failed = |error: &io::Error| {
            ReaderFailure::Other(
                Failure::new(format!("{} cannot be run: {error}", program.display()))
                    .hint("it belongs beside `kennel`, or where KENNEL_AGENT_HOST says"),
            )
        };
        let mut child = Command::new(&program)
            .arg("sessions")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let request = serde_json::to_vec(&request).expect("plain data");
        let mut stdin = child.stdin.take().expect("it is piped");
        // One that does not read it has something to say.
        let _ = stdin.write_all(&request);
        Ok(child)
    }

    /// Waits for its end, and for what it has to say.
    fn end(&self, mut child: Child) -> Result<(), ReaderFailure> {
        let mut said = String::new();
        if let Some(stderr) = child.stderr.take() {
            let _ = stderr.take(COMPLAINT).read_to_string(&mut said);
        }
        let status = child.wait().map_err(|error| {
            ReaderFailure::Other(Failure::new(format!("the reader is lost: {error}")))
        })?;
        if status.success() {
            return Ok(());
        }
        let last = said.lines().last().unwrap_or_default();
        Err(match serde_json::from_str::<Trouble>(last) {
            Ok(trouble) => ReaderFailure::Trouble(trouble, self.agent.clone()),
            Err(_) => ReaderFailure::Other(
                Failure::new(format!("the sessions cannot be read ({status})")).detail(said),
            ),
        })
    }
}
