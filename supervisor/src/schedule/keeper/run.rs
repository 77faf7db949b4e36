//! One run of a schedule as a message, and what is said of those that were not.

use kennel_shared::{envelope::Sender, ids::DeliveryId};

use super::super::{Schedule, planner::Missed};
use crate::{
    dispatch::Submission,
    gateway,
    journal::entry::{Origin, UnixMs},
};

/// The message of a run.
pub(super) fn submission(schedule: &Schedule, due: Option<UnixMs>) -> Submission {
    let (sink, reply_to) = gateway::tell(&schedule.id, schedule.tell.as_ref());
    Submission {
        delivery: DeliveryId::new(),
        origin: Origin::Schedule {
            schedule: schedule.id.clone(),
            due,
        },
        session: schedule.session.clone(),
        sender: Sender {
            id: format!("schedule:{}", schedule.id),
            name: Some(format!("schedule {}", schedule.id)),
        },
        text: schedule.prompt.clone(),
        reply_to,
        queueing: None,
        sink,
    }
}

/// That due times were missed.
pub(super) fn missed_in_words(schedule: &Schedule, missed: &Missed, why: Option<&str>) -> String {
    let Missed {
        count,
        more,
        first,
        last,
    } = missed;
    let (table, id) = (&schedule.timetable, &schedule.id);
    let (first, last) = (table.local(*first), table.local(*last));
    let mut text = match (count, more) {
        (1, false) => format!("schedule `{id}` was not run at {last}"),
        (_, false) => {
            format!("schedule `{id}` was not run {count} times, from {first} to {last}")
        }
        (_, true) => format!("schedule `{id}` was not run more than {count} times, up to {last}"),
    };
    if let Some(why) = why {
        text.push_str(": ");
        text.push_str(why);
    }
    text
}
