//! IRC, over TCP or TLS.
//!
//! | chat | peer |
//! | --- | --- |
//! | a user | direct, the nick in lower case |
//! | a room | group, `#room` in lower case |
//!
//! In rooms only what begins with `nick:` or `nick,` counts. Senders are allowed by nick, or by a mask of
//! `nick!user@host` with `*` and `?`. **Anybody can take a nick** on a network whose services do not protect it: there,
//! allow masks with a host that the server vouches for.
//!
//! IRC keeps nothing: a message that comes while we are away is lost, and one that arrives while too many wait is
//! dropped and counted. Nor does it confirm: a text counts as delivered when it is written to the connection. Messages
//! have no ids; ours name the connection and count. Typing is ignored.
//!
//! Long texts go out line by line, at the pace that flood protection allows, the chats in turn. What is sent has no
//! control characters, so that no text can carry a command.
//!
//! The protocol's grammar is the crate `irc-proto`'s; transport and registration are ours, because its client ends the
//! connection at the first byte that is not UTF-8 and has queues and lines without bound.

mod bucket;
mod session;
mod wire;
mod words;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use irc_proto::Message;
use kennel_shared::envelope::{Envelope, Sender};
use kennel_shared::ids::DeliveryId;
use secrecy::SecretString;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, warn};

pub use self::bucket::Flood;
pub use self::session::Sasl;
pub use self::wire::Tls;

use self::bucket::Bucket;
use self::session::{Effect, Heard, Identity, Session};
use self::wire::{Io, LineReader, write_line};
use super::{
    AccountIo, AllowFrom, ChannelError, Inlet, OutboundKind, Outlet, Platform, SendError, Sending,
};

/// From the connection to the server's welcome.
const REGISTER_TIMEOUT: Duration = Duration::from_mins(1);
/// Messages that wait for a verdict; more are dropped and counted.
const HEARD_QUEUE: usize = 64;
/// Lines of the protocol that wait to be written. When it is full, reading waits, until the server's patience ends.
const URGENT_QUEUE: usize = 64;
/// So many chats are answered in turns.
const CONCURRENT_REPLIES: usize = 8;

/// What an IRC account needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Host name or address.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub tls: Tls,
    /// The nick; with a `_` behind it when it is in use.
    pub nick: String,
    /// The server's password.
    pub password: Option<SecretString>,
    /// The account to log in with.
    pub sasl: Option<Sasl>,
    /// Rooms to join.
    pub rooms: Vec<String>,
    /// Who is answered: nicks, and masks of `nick!user@host`.
    pub allow_from: AllowFrom,
    /// How fast lines may go out.
    pub flood: Flood,
    /// The most lines of one reply.
    pub reply_lines: usize,
    /// After so long without a word from the server we ask whether it is there.
    pub ping_after: Duration,
    /// And after so long without an answer it is not.
    pub ping_timeout: Duration,
}

impl Settings {
    /// The usual settings: TLS with the system's authorities, no rooms, nobody allowed.
    pub fn new(server: impl Into<String>, port: u16, nick: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            port,
            tls: Tls::On { ca: None },
            nick: nick.into(),
            password: None,
            sasl: None,
            rooms: Vec::new(),
            allow_from: AllowFrom::default(),
            flood: Flood::default(),
            reply_lines: 40,
            ping_after: Duration::from_mins(1),
            ping_timeout: Duration::from_secs(30),
        }
    }
}

/// One user of a network.
pub struct Irc {
    settings: Settings,
}

impl fmt::Debug for Irc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Irc")
            .field("server", &self.settings.server)
            .finish_non_exhaustive()
    }
}

impl Irc {
    /// A user that is not connected yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

impl Platform for Irc {
    fn kind(&self) -> &'static str {
        "irc"
    }

    async fn serve(&mut self, io: &mut AccountIo) -> Result<Infallible, ChannelError> {
        let Settings {
            server, port, tls, ..
        } = &self.settings;
        let stream = wire::connect(server, *port, tls).await?;
        serve_stream(&self.settings, stream, io).await
    }
}

async fn serve_stream(
    settings: &Settings,
    stream: Box<dyn Io>,
    io: &mut AccountIo,
) -> Result<Infallible, ChannelError> {
    let (read, write) = tokio::io::split(stream);
    let mut session = Session::new(Identity {
        nick: settings.nick.clone(),
        password: settings.password.clone(),
        sasl: settings.sasl.clone(),
        rooms: settings.rooms.clone(),
    });
    let mut connection = Connection {
        reader: LineReader::new(read),
        write,
    };
    let registering = connection.register(&mut session, &mut io.inlet);
    timeout(REGISTER_TIMEOUT, registering)
        .await
        .map_err(|_| ChannelError::lost("the server did not let us in in time"))??;

    let (urgent_tx, urgent_rx) = mpsc::channel(URGENT_QUEUE);
    let (heard_tx, mut heard_rx) = mpsc::channel(HEARD_QUEUE);
    let (nick_tx, nick_rx) = tokio::sync::watch::channel(session.nick().to_owned());
    let mut listener = Listener {
        settings,
        reader: connection.reader,
        session,
        inlet: io.inlet.clone(),
        urgent_tx,
        heard_tx,
        nick_tx,
    };
    let speaker = Speaker {
        settings,
        write: connection.write,
        bucket: Bucket::new(settings.flood),
        nick_rx,
    };
    tokio::select! {
        ended = listener.run() => ended,
        ended = speaker.run(&mut io.outlet, urgent_rx) => ended,
        ended = deliver(&mut heard_rx, &mut io.inlet) => ended,
    }
}

/// A connection that is not online yet.
struct Connection {
    reader: LineReader<ReadHalf<Box<dyn Io>>>,
    write: WriteHalf<Box<dyn Io>>,
}

impl Connection {
    async fn register(
        &mut self,
        session: &mut Session,
        inlet: &mut Inlet,
    ) -> Result<(), ChannelError> {
        for line in session.open()? {
            write_line(&mut self.write, &line).await?;
        }
        let mut online = false;
        while !online {
            let line = self.reader.next().await?;
            let Some(message) = parse(&line) else {
                continue;
            };
            for effect in session.on_message(&message) {
                match effect {
                    Effect::Send(line) => write_line(&mut self.write, &line).await?,
                    Effect::Online(who) => {
                        online = true;
                        inlet.online(who);
                    }
                    Effect::Fail(error) => return Err(error),
                    Effect::Remark(detail) => inlet.remark(detail),
                    // Nobody is heard before the welcome.
                    Effect::Heard(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// A line that cannot be parsed is nothing to us.
fn parse(line: &str) -> Option<Message> {
    let parsed = line.parse();
    if parsed.is_err() {
        debug!("skipped a line that is not IRC");
    }
    parsed.ok()
}

/// Reads what the server says, and notices when it says nothing any more.
struct Listener<'a> {
    settings: &'a Settings,
    reader: LineReader<ReadHalf<Box<dyn Io>>>,
    session: Session,
    inlet: Inlet,
    urgent_tx: mpsc::Sender<String>,
    heard_tx: mpsc::Sender<Heard>,
    nick_tx: tokio::sync::watch::Sender<String>,
}

impl Listener<'_> {
    async fn run(&mut self) -> Result<Infallible, ChannelError> {
        loop {
            let line = self.next_line().await?;
            let Some(message) = parse(&line) else {
                continue;
            };
            for effect in self.session.on_message(&message) {
                match effect {
                    Effect::Send(line) => self.urge(line).await?,
                    Effect::Heard(heard) => self.hear(heard),
                    Effect::Remark(detail) => {
                        warn!(detail, "a word from the IRC server");
                        self.inlet.remark(detail);
                        self.nick_tx.send_replace(self.session.nick().to_owned());
                    }
                    Effect::Fail(error) => return Err(error),
                    Effect::Online(_) => {}
                }
            }
        }
    }

    async fn next_line(&mut self) -> Result<String, ChannelError> {
        let Settings {
            ping_after,
            ping_timeout,
            ..
        } = *self.settings;
        let ask_at = Instant::now() + ping_after;
        if let Ok(line) = timeout_at(ask_at, self.reader.next()).await {
            return line;
        }
        self.urge("PING :kennel".into()).await?;
        match timeout(ping_timeout, self.reader.next()).await {
            Ok(line) => line,
            Err(_) => Err(ChannelError::lost(format!(
                "no sign of life from the server for {:?}",
                ping_after + ping_timeout
            ))),
        }
    }

    /// Has a line of the protocol written. A server that does not take it for long is gone.
    async fn urge(&mut self, line: String) -> Result<(), ChannelError> {
        let sent = timeout(self.settings.ping_timeout, self.urgent_tx.send(line)).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ChannelError::lost("the server takes nothing any more")),
        }
    }

    fn hear(&mut self, heard: Heard) {
        let allowed = &self.settings.allow_from;
        if !allowed.allows(|entry| words::matches(entry, &heard.nick, &heard.full)) {
            self.inlet.turned_away(&heard.full);
            return;
        }
        if let Err(error) = self.heard_tx.try_send(heard) {
            self.inlet.dropped(&error.into_inner().full);
        }
    }
}

/// Hands messages in, one by one.
async fn deliver(
    heard_rx: &mut mpsc::Receiver<Heard>,
    inlet: &mut Inlet,
) -> Result<Infallible, ChannelError> {
    let connection = DeliveryId::new();
    let mut count = 0_u64;
    while let Some(heard) = heard_rx.recv().await {
        count += 1;
        inlet
            .deliver(Envelope {
                channel: inlet.channel().clone(),
                peer: heard.peer,
                sender: Sender {
                    id: words::lower(&heard.nick),
                    name: Some(heard.nick),
                },
                message_id: format!("{connection}:{count}"),
                text: heard.text,
                sent_at_ms: now_ms(),
            })
            .await?;
    }
    Err(ChannelError::lost("the connection ended"))
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A reply on its way, line by line.
struct Reply {
    sending: Sending,
    lines: VecDeque<String>,
    done: usize,
}

/// Writes: the protocol's lines at once, replies at the pace of the bucket.
struct Speaker<'a> {
    settings: &'a Settings,
    write: WriteHalf<Box<dyn Io>>,
    bucket: Bucket,
    nick_rx: tokio::sync::watch::Receiver<String>,
}

impl Speaker<'_> {
    async fn run(
        mut self,
        outlet: &mut Outlet,
        mut urgent_rx: mpsc::Receiver<String>,
    ) -> Result<Infallible, ChannelError> {
        let mut replies: VecDeque<Reply> = VecDeque::new();
        loop {
            let ready_at = self.bucket.ready_at(Instant::now());
            tokio::select! {
                biased;
                Some(line) = urgent_rx.recv() => write_line(&mut self.write, &line).await?,
                sending = outlet.next(), if replies.len() < CONCURRENT_REPLIES => {
                    let id = sending.id;
                    match self.prepare(sending) {
                        Ok(reply) => replies.push_back(reply),
                        Err(result) => outlet.sent(id, result),
                    }
                }
                () = sleep_until(ready_at), if !replies.is_empty() => {
                    if let Some(reply) = replies.pop_front() {
                        replies.extend(self.speak(reply, outlet).await?);
                    }
                }
            }
        }
    }

    /// The lines of a reply; or how it went, if there is nothing to write.
    fn prepare(&self, sending: Sending) -> Result<Reply, Result<(), SendError>> {
        let peer = &sending.outbound.peer.id;
        let OutboundKind::Text(text) = &sending.outbound.kind else {
            return Err(Ok(()));
        };
        if !words::is_plain(peer) {
            return Err(Err(SendError::Permanent {
                detail: format!("{peer:?} is neither a nick nor a room"),
            }));
        }
        let nick = self.nick_rx.borrow();
        let lines = words::reply(text, &nick, peer, self.settings.reply_lines);
        let lines: VecDeque<String> = lines.into_iter().skip(sending.parts_done).collect();
        if lines.is_empty() {
            return Err(Ok(()));
        }
        Ok(Reply {
            done: sending.parts_done,
            sending,
            lines,
        })
    }

    /// Writes the next line of a reply; gives it back if there are more.
    async fn speak(
        &mut self,
        mut reply: Reply,
        outlet: &mut Outlet,
    ) -> Result<Option<Reply>, ChannelError> {
        if let Some(line) = reply.lines.pop_front() {
            self.bucket.take(Instant::now());
            let peer = &reply.sending.outbound.peer.id;
            write_line(&mut self.write, &format!("PRIVMSG {peer} :{line}")).await?;
            reply.done += 1;
            outlet.progress(reply.sending.id, reply.done);
        }
        if reply.lines.is_empty() {
            outlet.sent(reply.sending.id, Ok(()));
            return Ok(None);
        }
        Ok(Some(reply))
    }
}

#[cfg(test)]
mod tests;
