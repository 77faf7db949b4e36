//! Accepts link connections and hands each to the driver that it belongs to.
//!
//! Whoever connects is unknown until its hello is checked: it gets a small frame, little time, and
//! one of a bounded number of places. What fails here costs that connection and one log line.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::Permissions,
    io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use interprocess::{
    local_socket::{
        GenericFilePath, ListenerOptions, ToFsName,
        tokio::Stream,
        traits::{StreamCommon, tokio::Listener as _},
    },
    os::unix::local_socket::ListenerOptionsExt,
};
use kennel_shared::{
    ids::AgentId,
    link::{self, HandshakeError},
    protocol::{HelloReply, PROTOCOL, Refusal},
};
use thiserror::Error;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use tracing::{debug, warn};

use super::driver::Command;
use crate::supervisor::Handover;

/// How long a handshake may take in all.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Handshakes at once; further connections wait in the kernel's backlog.
const HANDSHAKES: usize = 64;

/// Handshakes of one process at once; its further connections are closed. An agent has one, so this
/// keeps the places free for the others.
const HANDSHAKES_PER_PROCESS: usize = 4;

/// The ways to all drivers, at one moment.
pub type Doors = Arc<HashMap<AgentId, Door>>;

/// Finds the driver of an agent, among those that there are now.
pub type Drivers = watch::Receiver<Doors>;

/// The way to one agent's driver, and who may take it.
#[derive(Debug, Clone)]
pub struct Door {
    /// To the driver.
    pub commands: mpsc::Sender<Command>,
    /// The user that the agent runs as.
    pub uid: u32,
}

/// What agents connect to.
pub type Listener = interprocess::local_socket::tokio::Listener;

/// A connected agent, past its handshake.
pub type LinkStream = Stream;

/// Why a connection became no link.
#[derive(Debug, Error)]
enum Rejected {
    #[error("it took longer than {HANDSHAKE_TIMEOUT:?} over its handshake")]
    Timeout,
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("it was refused: {0}")]
    Refused(Refusal),
    #[error("its credentials cannot be read")]
    Credentials(#[source] io::Error),
    #[error("the supervisor is leaving")]
    Leaving,
}

/// Binds the link socket, for this user only, or for all where agents have users of their own: what
/// connects is checked in any case. A socket file that a dead supervisor left is replaced: the caller
/// holds the lock that makes it the only one.
pub fn bind(path: &Path, for_all: bool) -> io::Result<Listener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = ListenerOptions::new()
        .name(path.to_fs_name::<GenericFilePath>()?)
        .mode(0o600)
        // Who takes the supervisor down removes it, and nobody does who hands it over.
        .reclaim_name(false)
        .create_tokio()?;
    if for_all {
        // Afterwards, since the umask takes from the mode that a socket is made with.
        open_to_all(path)?;
    }
    Ok(listener)
}

/// Listens on what the program before has bound.
pub fn take_over(socket: OwnedFd) -> io::Result<Listener> {
    let listener = interprocess::os::unix::uds_local_socket::tokio::Listener::try_from(socket)?;
    Ok(Listener::UdSocket(listener))
}

/// A copy of a listener's descriptor, which outlives it.
pub fn copy(listener: &Listener) -> io::Result<OwnedFd> {
    let Listener::UdSocket(listener) = listener;
    Handover::copy(listener)
}

/// Lets agents of other users connect too; what connects is checked in any case.
pub fn open_to_all(path: &Path) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(0o666))
}

/// Accepts until the task is aborted.
pub async fn accept(listener: Listener, drivers: Drivers) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    let guests = Arc::new(Mutex::new(Guests::default()));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("never closed");
        match listener.accept().await {
            Ok(stream) => {
                let pid = stream.peer_creds().ok().and_then(|creds| creds.pid());
                if !Guests::lock(&guests).admit(pid) {
                    continue;
                }
                let (doors, guests) = (drivers.borrow().clone(), Arc::clone(&guests));
                tokio::spawn(async move {
                    greet(stream, pid, &doors).await;
                    Guests::lock(&guests).leave(pid);
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "a link connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Who is in its handshake, by process.
#[derive(Debug, Default)]
struct Guests(HashMap<Option<i32>, Guest>);

#[derive(Debug, Default)]
struct Guest {
    handshakes: usize,
    /// Whether it was logged that it has too many: once, until all of them are over.
    noted: bool,
}

impl Guests {
    fn lock(guests: &Mutex<Self>) -> MutexGuard<'_, Self> {
        guests.lock().expect("nothing in here panics")
    }

    /// Whether a process may have one more handshake.
    fn admit(&mut self, pid: Option<i32>) -> bool {
        let guest = self.0.entry(pid).or_default();
        let admitted = guest.handshakes < HANDSHAKES_PER_PROCESS;
        if admitted {
            guest.handshakes += 1;
        } else if !std::mem::replace(&mut guest.noted, true) {
            warn!(
                peer.pid = pid,
                at_most = HANDSHAKES_PER_PROCESS,
                "a process opens too many connections to the link socket; they are closed"
            );
        }
        admitted
    }

    fn leave(&mut self, pid: Option<i32>) {
        if let Entry::Occupied(mut guest) = self.0.entry(pid) {
            guest.get_mut().handshakes -= 1;
            if guest.get().handshakes == 0 {
                guest.remove();
            }
        }
    }
}

async fn greet(mut stream: Stream, pid: Option<i32>, drivers: &Doors) {
    let greeted = timeout(HANDSHAKE_TIMEOUT, handshake(&mut stream, drivers)).await;
    let rejected = match greeted {
        Ok(Ok(Greeted { driver, attempt })) => {
            let attach = Command::Attach { stream, attempt };
            match driver.send(attach).await {
                Ok(()) => return,
                Err(_) => Rejected::Leaving,
            }
        }
        Ok(Err(rejected)) => rejected,
        Err(_) => Rejected::Timeout,
    };
    let error = crate::error_chain(&rejected);
    warn!(
        peer.pid = pid,
        error, "a connection to the link socket was turned away"
    );
}

struct Greeted {
    driver: mpsc::Sender<Command>,
    attempt: u64,
}

async fn handshake(stream: &mut Stream, drivers: &Doors) -> Result<Greeted, Rejected> {
    let creds = stream.peer_creds().map_err(Rejected::Credentials)?;
    // Nobody's agent: not worth reading what it says.
    if !drivers.values().any(|door| creds.euid() == Some(door.uid)) {
        return refuse(stream, Refusal::Peer).await;
    }
    let hello = match link::accept_hello(stream).await {
        Ok(hello) => hello,
        Err(HandshakeError::Protocol(version)) => {
            let refusal = Refusal::Protocol {
                supported: PROTOCOL,
            };
            debug!(
                peer.protocol = version,
                "a peer speaks another protocol version"
            );
            return refuse(stream, refusal).await;
        }
        Err(error @ HandshakeError::Decode(_)) => {
            let _ = link::reply_hello(stream, &HelloReply::Refuse(Refusal::Malformed)).await;
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    let Some(door) = drivers.get(&hello.agent) else {
        return refuse(stream, Refusal::UnknownAgent).await;
    };
    if creds.euid() != Some(door.uid) {
        return refuse(stream, Refusal::Peer).await;
    }
    let driver = door.commands.clone();
    let (reply, answer) = oneshot::channel();
    let asked = Command::Hello {
        hello: Box::new(hello),
        peer_pid: creds.pid(),
        reply,
    };
    driver.send(asked).await.map_err(|_| Rejected::Leaving)?;
    match answer.await.map_err(|_| Rejected::Leaving)? {
        Err(refusal) => refuse(stream, refusal).await,
        Ok((welcome, attempt)) => {
            link::reply_hello(stream, &HelloReply::Welcome(welcome)).await?;
            Ok(Greeted { driver, attempt })
        }
    }
}

async fn refuse<T>(stream: &mut Stream, refusal: Refusal) -> Result<T, Rejected> {
    let reply = HelloReply::Refuse(refusal.clone());
    let _ = link::reply_hello(stream, &reply).await;
    Err(Rejected::Refused(refusal))
}
