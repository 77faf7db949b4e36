//! The loop of a misbehaving agent: a correct one, up to the moment.

use std::{
    collections::HashMap, os::unix::net::UnixStream as StdStream, path::Path, process::ExitCode,
    time::Duration,
};

use kennel_shared::{
    bootstrap::Bootstrap,
    cage::CageStep,
    ids::{DeliveryId, Generation, TurnId},
    link::{Incoming, Link, Session, say_hello},
    protocol::{
        DELTA_MAX_BYTES, Delivery, Heartbeat, Hello, LinkId, PROTOCOL, Position, REPLY_MAX_BYTES,
        Spent, ToAgent, ToSupervisor, Trace, TurnOutcome,
    },
    secret::Token,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::{MissedTickBehavior, interval},
};

use super::{Fault, LONG_ANSWER_BYTES, hunger, orphan, raw};

type AgentLink = Link<UnixStream, ToSupervisor, ToAgent>;

/// How many pieces an answer of [`Fault::Reconnect`] has.
const PIECES: u32 = 20;

struct Agent {
    fault: Fault,
    bootstrap: Bootstrap,
    /// For the next handshake.
    token: Token,
    link_id: LinkId,
    link: AgentLink,
    /// How its cage was closed, if it closed one.
    cage: Vec<CageStep>,
    /// The link's socket once more, to write what the link would not.
    raw: StdStream,
    /// How often each delivery came.
    seen: HashMap<DeliveryId, u32>,
}

/// Runs until the supervisor ends it, or there is nothing more to do wrong.
pub(super) async fn live(fault: Fault, bootstrap: Bootstrap, cage: Vec<CageStep>) -> ExitCode {
    if let Some(bytes) = match fault {
        Fault::Mute => Some(&[][..]),
        Fault::HelloGarbage => Some(&raw::HELLO_GARBAGE[..]),
        Fault::HelloLength => Some(&raw::FOUR_GIB[..]),
        Fault::HelloHalf => Some(&raw::HALF[..]),
        _ => None,
    } {
        let mut stream = connect(&bootstrap.socket).await;
        stream
            .write_all(bytes)
            .await
            .expect("a socket takes a few bytes");
        if fault == Fault::HelloHalf {
            drop(stream);
            super::sleep_for_ever();
        }
        return wait_for_end(stream).await;
    }
    let mut hello = Hello {
        protocol: PROTOCOL,
        build: "misbehaving".into(),
        agent: bootstrap.agent.clone(),
        generation: bootstrap.generation,
        token: bootstrap.token,
        link: LinkId::NONE,
        draining: false,
        resume: Session::<ToSupervisor>::default().position(),
        cage: cage.clone(),
    };
    match fault {
        Fault::Version => hello.protocol = PROTOCOL + 1,
        Fault::Token => hello.token = Token::random(),
        Fault::Generation => hello.generation = Generation(bootstrap.generation.0 - 1),
        _ => {}
    }
    let mut stream = connect(&bootstrap.socket).await;
    let Ok(welcome) = say_hello(&mut stream, &hello).await else {
        // The real one would leave. This one stays, so that nothing but its link is lost.
        super::sleep_for_ever();
    };
    let (stream, raw) = doubled(stream);
    let link = Link::resume(stream, Session::default(), welcome.resume).expect("a new link");
    let agent = Agent {
        fault,
        bootstrap,
        token: welcome.next_token,
        link_id: welcome.link,
        link,
        cage,
        raw,
        seen: HashMap::new(),
    };
    let period = Duration::from_millis(welcome.spec.heartbeat_interval_ms);
    agent.run(period).await
}

async fn connect(socket: &Path) -> UnixStream {
    UnixStream::connect(socket)
        .await
        .expect("the supervisor listens")
}

fn doubled(stream: UnixStream) -> (UnixStream, StdStream) {
    let stream = stream.into_std().expect("a socket");
    let raw = stream.try_clone().expect("one more descriptor");
    (UnixStream::from_std(stream).expect("a socket"), raw)
}

/// Reads until the supervisor closes, then stays: only the link is lost by that.
async fn wait_for_end(mut stream: UnixStream) -> ExitCode {
    let mut sink = Vec::new();
    let _ = stream.read_to_end(&mut sink).await;
    super::sleep_for_ever()
}

impl Agent {
    async fn run(mut self, period: Duration) -> ExitCode {
        if self.fault != Fault::NoReady {
            self.say(ToSupervisor::Ready);
        }
        let mut clock = interval(period);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                incoming = self.link.next() => match incoming {
                    Ok(Incoming::Message(message)) => {
                        if let Some(exit) = self.on_message(message).await {
                            return exit;
                        }
                    }
                    Ok(Incoming::Heartbeat(_)) => {}
                    Err(_) => super::sleep_for_ever(),
                },
                _ = clock.tick() => self.link.send_heartbeat(Heartbeat::default()),
            }
        }
    }

    fn say(&mut self, message: ToSupervisor) {
        self.link.send(message).expect("few messages are sent");
    }

    async fn on_message(&mut self, message: ToAgent) -> Option<ExitCode> {
        match message {
            ToAgent::Deliver(delivery) | ToAgent::DeliverCheaper(delivery) => {
                *self.seen.entry(delivery.delivery).or_default() += 1;
                match self.fault {
                    Fault::Reconnect => self.answer_in_pieces(&delivery).await,
                    Fault::LongAnswer => self.answer_at_length(&delivery),
                    Fault::SpinTurn if super::is_now(&delivery.text) => {
                        self.say(ToSupervisor::Started(delivery.turn));
                    }
                    _ => {
                        self.say(ToSupervisor::Started(delivery.turn));
                        self.finish(&delivery, delivery.text.clone());
                    }
                }
                if super::is_now(&delivery.text) {
                    self.link.flush().await.expect("the link is up");
                    if self.fault == Fault::Leave {
                        return Some(ExitCode::SUCCESS);
                    }
                    self.misbehave(super::bound(&delivery.text)).await;
                }
                None
            }
            ToAgent::Cancel(_) | ToAgent::DeleteSession(_) | ToAgent::Steer(_) => None,
            ToAgent::Drain if self.fault == Fault::IgnoreTerm => None,
            ToAgent::Drain => {
                self.say(ToSupervisor::Drained);
                let _ = self.link.flush().await;
                Some(ExitCode::SUCCESS)
            }
        }
    }

    fn finish(&mut self, delivery: &Delivery, text: String) {
        self.say(ToSupervisor::Finished {
            delivery: delivery.delivery,
            turn: delivery.turn,
            outcome: TurnOutcome::Replied(text),
            spent: Spent::default(),
            trace: Trace::default(),
        });
    }

    /// More than any reply may hold, in pieces that are as long as they may be. All of them wait in
    /// the link's queue; the loop writes them as fast as the supervisor takes them.
    fn answer_at_length(&mut self, delivery: &Delivery) {
        self.say(ToSupervisor::Started(delivery.turn));
        for _ in 0..LONG_ANSWER_BYTES / DELTA_MAX_BYTES {
            self.say(ToSupervisor::Delta {
                turn: delivery.turn,
                text: "x".repeat(DELTA_MAX_BYTES),
            });
        }
        self.finish(delivery, "x".repeat(REPLY_MAX_BYTES));
    }

    /// Numbered pieces, each around a loss of the connection: before it is sent, in the middle, or
    /// after. The last says how often the message came.
    async fn answer_in_pieces(&mut self, delivery: &Delivery) {
        self.say(ToSupervisor::Started(delivery.turn));
        let mut whole = String::new();
        for n in 0..PIECES {
            let text = match n + 1 {
                PIECES => format!("seen {}", self.seen[&delivery.delivery]),
                _ => format!("{n} "),
            };
            whole.push_str(&text);
            self.say(ToSupervisor::Delta {
                turn: delivery.turn,
                text,
            });
            if n % 2 == 0 {
                self.link.flush().await.expect("the link is up");
            }
            self.reconnect(0).await;
        }
        self.finish(delivery, whole);
        self.reconnect(0).await;
    }

    /// Drops the connection and resumes on another, claiming to have received `beyond` too many.
    async fn reconnect(&mut self, beyond: u64) {
        // Something to hold while there is no connection.
        let (nowhere, _) = UnixStream::pair().expect("a pair of sockets");
        let (nowhere, raw) = doubled(nowhere);
        let start = Session::<ToAgent>::default().position();
        let empty = Link::resume(nowhere, Session::default(), start).expect("both ends are new");
        let session = std::mem::replace(&mut self.link, empty).into_session();
        // Only now is the old connection closed: both of its descriptors are gone.
        self.raw = raw;
        let mut stream = connect(&self.bootstrap.socket).await;
        let position = session.position();
        let hello = Hello {
            protocol: PROTOCOL,
            build: "misbehaving".into(),
            agent: self.bootstrap.agent.clone(),
            generation: self.bootstrap.generation,
            token: self.token,
            link: self.link_id,
            draining: false,
            resume: Position {
                received: position.received + beyond,
                ..position
            },
            cage: self.cage.clone(),
        };
        let Ok(welcome) = say_hello(&mut stream, &hello).await else {
            super::sleep_for_ever();
        };
        self.token = welcome.next_token;
        let (stream, raw) = doubled(stream);
        self.raw = raw;
        self.link = Link::resume(stream, session, welcome.resume).expect("the ends agree");
    }

    async fn misbehave(&mut self, bound: Option<usize>) {
        match self.fault {
            Fault::Hang => super::stop_loop(false),
            Fault::Spin => super::stop_loop(true),
            Fault::Garbage => self.write(&raw::GARBAGE),
            Fault::Length => self.write(&raw::FOUR_GIB),
            Fault::HalfStall => {
                self.write(&raw::HALF);
                super::stop_loop(false);
            }
            Fault::HalfClose => {
                self.write(&raw::HALF);
                self.raw
                    .shutdown(std::net::Shutdown::Both)
                    .expect("it is open");
            }
            Fault::Gap => self.write(&raw::gap()),
            Fault::Ack => self.write(&raw::ack()),
            Fault::NoRead => self.beat_only().await,
            Fault::Resume => self.reconnect(1000).await,
            Fault::FloodLink => self.flood_link().await,
            Fault::FloodBeats => self.flood_beats(),
            Fault::FloodLog => drop(std::thread::spawn(super::flood_log)),
            Fault::FdLeak => super::leak_descriptors(),
            Fault::DoubleFork => super::leave_grandchild(),
            Fault::Orphan => orphan::leave(&self.bootstrap.state_dir),
            Fault::SpinAll | Fault::SpinTurn => hunger::spin(),
            Fault::Memory => hunger::take_memory(bound.unwrap_or(super::MEMORY_MIB)),
            Fault::Hoard => hunger::hoard(bound.unwrap_or(super::HOARD_MIB)),
            Fault::Fork => hunger::fork(bound.unwrap_or(super::CHILDREN)),
            Fault::Disk => {
                let directory = self.bootstrap.state_dir.clone();
                hunger::write_disk(directory, bound.unwrap_or(super::DISK_MIB));
            }
            Fault::Flood => {
                std::thread::spawn(|| super::flood_log());
                self.flood_link().await;
            }
            _ => {}
        }
    }

    fn write(&self, bytes: &[u8]) {
        raw::write(&self.raw, bytes).expect("the link is up");
    }

    async fn beat_only(&self) -> ! {
        let mut clock = interval(Duration::from_millis(100));
        loop {
            clock.tick().await;
            if raw::write(&self.raw, &raw::heartbeat()).is_err() {
                super::sleep_for_ever();
            }
        }
    }

    fn flood_beats(&self) -> ! {
        while raw::write(&self.raw, &raw::heartbeat()).is_ok() {}
        super::sleep_for_ever()
    }

    async fn flood_link(&mut self) -> ! {
        let mut clock = interval(Duration::from_millis(50));
        loop {
            while !self.link.is_full() {
                self.say(ToSupervisor::Delta {
                    turn: TurnId::new(),
                    text: "flood ".repeat(20),
                });
            }
            tokio::select! {
                biased;
                _ = clock.tick() => self.link.send_heartbeat(Heartbeat::default()),
                incoming = self.link.next() => if incoming.is_err() {
                    super::sleep_for_ever();
                },
                // As soon as there is room again.
                () = tokio::task::yield_now() => {}
            }
        }
    }
}
