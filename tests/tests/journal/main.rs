//! The journal on disks that fill, and on disks whose power fails.

mod disk_full;
mod power_cut;
mod sys;

use kennel::journal::entry::{NewDelivery, Origin};
use kennel_shared::{envelope::Sender, ids::DeliveryId};

/// Message `number`, with a text of `bytes`.
fn message(number: usize, bytes: usize) -> NewDelivery {
    NewDelivery {
        delivery: DeliveryId::new(),
        origin: Origin::Channel {
            channel: "irc".parse().unwrap(),
            message_id: number.to_string(),
        },
        session: "agent:a:irc:group:#room".parse().unwrap(),
        sender: Sender {
            id: "ann".into(),
            name: None,
        },
        text: "x".repeat(bytes),
        reply_to: None,
    }
}
