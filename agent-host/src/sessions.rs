//! `kennel-agent-host sessions`: reads an agent's sessions, or deletes one while the agent does not run.
//!
//! Not an agent: a process of its own, started by `kennel sessions`, that answers one
//! [`Request`] and ends. It needs no supervisor, and the agent need not run.
//! What is in a store was written by strangers and models, so this process closes itself in a cage first, as
//! its agent does, with nothing but the agent's own folder and no network.

use std::{
    fs::{File, TryLockError},
    io::{self, BufWriter, Read as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use kennel_shared::{
    bootstrap::{BOOTSTRAP_MAX_BYTES, Bootstrap},
    cage::{CageSpec, Network},
    ids::Generation,
    secret::Token,
    session_key::SessionKey,
    sessions::{Ask, LISTED_MAX, Line, Request, Trouble, TroubleCode},
};

use crate::{
    cage,
    start::{Exit, LOCK_FILE, STORE_FILE},
    store::{self, DeleteError, ReadError, Reader},
};

/// How long the lock is kept at a time while space is freed; an agent that starts waits longer than that.
const TURN: Duration = Duration::from_secs(2);

/// And how long others get to take it in between.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads a request from standard input and answers it.
pub(crate) fn run() -> Exit {
    let told = || -> Result<(), Trouble> {
        let request = read_request()?;
        close_in(&request)?;
        answer(&request)
    };
    match told() {
        Ok(()) => Exit::Done,
        Err(trouble) => {
            let text = serde_json::to_string(&trouble).expect("plain data");
            // There is nowhere else to complain to.
            let _ = writeln!(io::stderr(), "{text}");
            match trouble.code {
                TroubleCode::Running => Exit::Locked,
                TroubleCode::NoSession | TroubleCode::Denied => Exit::Refused,
                TroubleCode::Failed => Exit::Internal,
            }
        }
    }
}

fn failed(message: impl Into<String>) -> Trouble {
    Trouble {
        code: TroubleCode::Failed,
        message: message.into(),
    }
}

fn read_request() -> Result<Request, Trouble> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(BOOTSTRAP_MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(format!("no request: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        failed(format!(
            "not a request ({error}); this is started by `kennel sessions`, not by hand"
        ))
    })
}

/// The cage of the agent, smaller: no network, no folders but its own.
fn close_in(request: &Request) -> Result<(), Trouble> {
    let home = &request.state_dir;
    let bootstrap = Bootstrap {
        agent: request.agent.clone(),
        generation: Generation::default(),
        token: Token::random(),
        socket: home.join("none"),
        state_dir: home.clone(),
        orphan_grace_ms: 0,
        cage: CageSpec {
            user: request.user,
            network: Network::Closed,
            // The folders of all agents.
            hidden: home.parent().map(Path::to_owned).into_iter().collect(),
            ..CageSpec::plain(home.clone())
        },
    };
    // A folder that is not there, or not ours, is explained better than by a step that fails.
    std::fs::read_dir(home).map_err(|error| unreadable(home, &error))?;
    cage::close(&bootstrap).map(drop).map_err(|error| Trouble {
        code: TroubleCode::Denied,
        message: error.to_string(),
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Trouble {
    let code = match error.kind() {
        io::ErrorKind::PermissionDenied => TroubleCode::Denied,
        io::ErrorKind::NotFound => TroubleCode::NoSession,
        _ => TroubleCode::Failed,
    };
    Trouble {
        code,
        message: format!("{} cannot be read: {error}", path.display()),
    }
}

fn answer(request: &Request) -> Result<(), Trouble> {
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let mut print = |line: &Line| -> io::Result<()> {
        serde_json::to_writer(&mut out, line)?;
        out.write_all(b"\n")
    };
    if let Ask::Delete { session } = &request.ask {
        let print = &mut |line: &Line| print(line).and_then(|()| io::stdout().flush());
        delete(&request.state_dir, session, print)?;
    } else {
        match read(request, &mut print) {
            // Whoever wanted to read it has gone.
            Err(ReadError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(());
            }
            read => read.map_err(|error| trouble(&error))?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(failed(format!("the output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

fn read(
    request: &Request,
    print: &mut dyn FnMut(&Line) -> io::Result<()>,
) -> Result<(), ReadError> {
    let reader = match open(request) {
        // Nothing was ever said.
        Err(ReadError::NoStore) if matches!(request.ask, Ask::List { .. }) => return Ok(()),
        Err(ReadError::NoStore) => return Err(ReadError::NoSession),
        reader => reader?,
    };
    let listed = |limit: u32| limit.min(LISTED_MAX);
    match &request.ask {
        Ask::List { limit } => reader.list(listed(*limit) as usize, print),
        Ask::Show {
            session,
            limit,
            before,
        } => reader.show(session, listed(*limit), *before, print),
        Ask::Export { session } => reader.export(session, print),
        Ask::Search {
            session,
            text,
            limit,
            before,
        } => {
            let limit = listed(*limit) as usize;
            reader.search(session.as_ref(), text, (limit, *before), print)
        }
        Ask::Delete { .. } => Ok(()),
    }
}

/// Opens the store; one of an earlier version is brought up to date first, if its agent does not run.
fn open(request: &Request) -> Result<Reader, ReadError> {
    let path = request.state_dir.join(STORE_FILE);
    let open = || Reader::open(request.agent.clone(), &path);
    match open() {
        Err(ReadError::Older { found }) => {
            let _lock = lock(&request.state_dir).map_err(|_| ReadError::Older { found })?;
            store::bring_up_to_date(&path).map_err(|_| ReadError::Older { found })?;
            open()
        }
        opened => opened,
    }
}

fn trouble(error: &ReadError) -> Trouble {
    let code = match error {
        ReadError::NoSession | ReadError::NoStore => TroubleCode::NoSession,
        ReadError::Denied { .. } => TroubleCode::Denied,
        _ => TroubleCode::Failed,
    };
    Trouble {
        code,
        message: error.to_string(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a process with one thread and no event loop, which does nothing else"
)]
/// Deletes a session, and frees its space for as long as no agent wants to start.
fn delete(
    home: &Path,
    session: &SessionKey,
    print: &mut dyn FnMut(&Line) -> io::Result<()>,
) -> Result<(), Trouble> {
    let path = home.join(STORE_FILE);
    let gone = || Trouble {
        code: TroubleCode::NoSession,
        message: ReadError::NoSession.to_string(),
    };
    let mut held = Some(lock(home)?);
    // Else it would be made.
    if !path.exists() {
        return Err(gone());
    }
    let (deleted, mut clearing) = store::delete_at_rest(&path, session).map_err(|error| {
        let (DeleteError::Open(_) | DeleteError::Store(_)) = &error;
        failed(crate::start::with_causes(&error))
    })?;
    let messages = deleted.ok_or_else(gone)?;
    let mut since = Instant::now();
    loop {
        // What is not freed here is freed by the agent when it runs next.
        if !clearing.clear().unwrap_or(false) {
            break;
        }
        if since.elapsed() >= TURN {
            drop(clearing);
            drop(held.take());
            std::thread::sleep(PAUSE);
            let Ok(again) = lock(home) else {
                break;
            };
            held = Some(again);
            clearing = match store::clear_at_rest(&path) {
                Ok(clearing) => clearing,
                Err(_) => break,
            };
            since = Instant::now();
        }
    }
    // Nobody who reads this is no reason to fail.
    let _ = print(&Line::Deleted { messages });
    Ok(())
}

/// Takes the lock of an agent that does not run.
fn lock(home: &Path) -> Result<File, Trouble> {
    let path = home.join(LOCK_FILE);
    let file = crate::sys::lock_file(&path).map_err(|error| unreadable(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Trouble {
            code: TroubleCode::Running,
            message: "the agent runs".to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(unreadable(&path, &error)),
    }
}
