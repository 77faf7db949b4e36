//! The class of a message: that of its agent, or that of the schedule which it is a run of.
//!
//! It is not written down: a run says by which schedule it is, and the configuration says what that means now. So what waits, in
//! memory and on the disk, goes by the configuration of today, and a schedule that is gone has no say any more.

use std::collections::HashMap;

use super::Dispatcher;
use crate::{dispatch::lanes::Ticket, schedule::ScheduleId};

/// The classes of schedules that name one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScheduleClasses(HashMap<ScheduleId, String>);

impl FromIterator<(ScheduleId, String)> for ScheduleClasses {
    fn from_iter<T: IntoIterator<Item = (ScheduleId, String)>>(classes: T) -> Self {
        Self(classes.into_iter().collect())
    }
}

impl ScheduleClasses {
    /// The class that a message has of its own.
    pub(super) fn of(&self, schedule: Option<&ScheduleId>) -> Option<&str> {
        self.0.get(schedule?).map(String::as_str)
    }
}

impl Dispatcher {
    /// Says which class runs of schedules have. Those that wait are of it from now on; one that has a turn takes it along.
    pub fn set_schedules(&mut self, classes: ScheduleClasses) {
        let before = std::mem::replace(&mut self.classes, classes);
        let runs = self.jobs.values().filter_map(|job| {
            let schedule = job.schedule.as_ref();
            let differs = before.of(schedule) != self.classes.of(schedule);
            differs.then_some((&job.ticket, schedule))
        });
        let runs: Vec<(&Ticket, Option<&ScheduleId>)> = runs.collect();
        for (ticket, schedule) in runs {
            // One that is only here for whoever holds a line is in no lane.
            self.lanes.set_class(ticket, self.classes.of(schedule));
        }
    }
}
