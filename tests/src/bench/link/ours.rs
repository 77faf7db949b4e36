//! Our link, as the supervisor and an agent use it: deliveries one way, finished turns the other.
//!
//! The handshake is left out, since it is done once. The session of a delivery says whether the echo answers each or
//! only now and then.

use std::path::Path;

use bytes::BytesMut;
use interprocess::local_socket::{
    GenericFilePath, ListenerOptions, ToFsName as _,
    tokio::{Stream, prelude::*},
};
use kennel_shared::{
    codec,
    envelope::Sender,
    ids::{AgentId, DeliveryId, TurnId},
    link::{Incoming, Link, Message, Packet, Session, WINDOW_BYTES},
    protocol::{Delivery, Position, Spent, ToAgent, ToSupervisor, Trace, TurnOutcome},
    session_key::SessionKey,
};

use super::{AHEAD, ANSWER_EVERY, Chain, patiently};

const CLIENT_SOCKET: &str = "our-client";
const ECHO_SOCKET: &str = "our-echo";

const EACH: &str = "each";
const SOME: &str = "some";

type ToEcho = Link<Stream, ToAgent, ToSupervisor>;
type ToClient = Link<Stream, ToSupervisor, ToAgent>;

pub(super) async fn router(directory: &Path) -> anyhow::Result<()> {
    let listen = |name: &str| {
        let path = directory.join(name);
        ListenerOptions::new()
            .name(path.to_fs_name::<GenericFilePath>()?)
            .create_tokio()
    };
    let (clients, echoes) = (listen(CLIENT_SOCKET)?, listen(ECHO_SOCKET)?);
    let mut client: ToClient = linked(clients.accept().await?)?;
    let mut echo: ToEcho = linked(echoes.accept().await?)?;
    loop {
        tokio::select! {
            there = client.next() => match there {
                Ok(Incoming::Message(message)) => send(&mut echo, message)?,
                Ok(Incoming::Heartbeat(_)) => {}
                Err(_) => return Ok(()),
            },
            back = echo.next() => match back {
                Ok(Incoming::Message(message)) => send(&mut client, message)?,
                Ok(Incoming::Heartbeat(_)) => {}
                Err(_) => return Ok(()),
            },
        }
    }
}

pub(super) async fn echo(directory: &Path) -> anyhow::Result<()> {
    let mut link: ToClient = linked(connect(directory, ECHO_SOCKET).await?)?;
    let mut owed = 0;
    while let Ok(incoming) = link.next().await {
        let Incoming::Message(ToAgent::Deliver(delivery)) = incoming else {
            continue;
        };
        if delivery.session.rest() == SOME {
            owed += 1;
        }
        if delivery.session.rest() == EACH || owed == ANSWER_EVERY {
            owed = 0;
            let finished = ToSupervisor::Finished {
                delivery: delivery.delivery,
                turn: delivery.turn,
                outcome: TurnOutcome::Replied(delivery.text),
                spent: Spent::default(),
                trace: Trace::default(),
            };
            send(&mut link, finished)?;
        }
    }
    Ok(())
}

async fn connect(directory: &Path, name: &str) -> anyhow::Result<Stream> {
    let path = directory.join(name);
    patiently(|| async { Stream::connect(path.as_path().to_fs_name::<GenericFilePath>()?).await })
        .await
}

fn linked<Out: Message, In: Message>(stream: Stream) -> anyhow::Result<Link<Stream, Out, In>> {
    let start = Position {
        received: 0,
        granted: WINDOW_BYTES,
    };
    Ok(Link::resume(stream, Session::default(), start)?)
}

fn send<Out: Message, In: Message>(
    link: &mut Link<Stream, Out, In>,
    message: Out,
) -> anyhow::Result<()> {
    link.send(message)
        .map_err(|_| anyhow::anyhow!("more is on its way than the client sends ahead"))
}

pub(super) struct Client {
    link: ToEcho,
    each: Delivery,
    some: Delivery,
}

impl Client {
    pub(super) async fn connect(directory: &Path, size: usize) -> anyhow::Result<Self> {
        Ok(Self {
            link: linked(connect(directory, CLIENT_SOCKET).await?)?,
            each: delivery(EACH, size)?,
            some: delivery(SOME, size)?,
        })
    }

    async fn take(&mut self) -> anyhow::Result<()> {
        match self.link.next().await? {
            Incoming::Message(ToSupervisor::Finished { .. }) => Ok(()),
            other => anyhow::bail!("the echo said {other:?}"),
        }
    }
}

/// A delivery whose frame has a body of `size` bytes.
fn delivery(session: &str, size: usize) -> anyhow::Result<Delivery> {
    let mut delivery = Delivery {
        delivery: DeliveryId::new(),
        turn: TurnId::new(),
        session: SessionKey::new(&AgentId::new("a")?, session)?,
        sender: Sender {
            id: "1".into(),
            name: None,
        },
        text: String::new(),
    };
    let mut length = body_length(&delivery)?;
    while length < size {
        delivery.text.push_str(&"x".repeat(size - length));
        length = body_length(&delivery)?;
        // A longer text takes more bytes for its own length.
        let excess = length.saturating_sub(size);
        delivery.text.truncate(delivery.text.len() - excess);
        length -= excess;
    }
    Ok(delivery)
}

fn body_length(delivery: &Delivery) -> anyhow::Result<usize> {
    let packet = Packet::Message {
        seq: 1000,
        message: ToAgent::Deliver(delivery.clone()),
    };
    Ok(codec::encode_frame(&packet, &mut BytesMut::new())?)
}

impl Chain for Client {
    async fn round_trip(&mut self) -> anyhow::Result<()> {
        send(&mut self.link, ToAgent::Deliver(self.each.clone()))?;
        self.take().await
    }

    async fn one_way(&mut self, count: usize) -> anyhow::Result<()> {
        let (mut sent, mut come) = (0, 0);
        while come < count {
            while sent < count.min(come + AHEAD) {
                send(&mut self.link, ToAgent::Deliver(self.some.clone()))?;
                sent += 1;
            }
            self.take().await?;
            come += ANSWER_EVERY;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_have_the_size_of_bare_frames() {
        for size in super::super::SIZES {
            for session in [EACH, SOME] {
                assert_eq!(
                    body_length(&delivery(session, size).unwrap()).unwrap(),
                    size
                );
            }
        }
    }
}
