//! What the clock asks for.

use std::collections::BTreeMap;

use super::{
    super::text::{
        Kind::{Counter, Gauge},
        Page, Sample,
    },
    float,
};
use crate::schedule::{Observed, ScheduleId};

pub(super) fn write(page: &mut Page, schedules: &BTreeMap<ScheduleId, Observed>) {
    let each = |value: fn(&Observed) -> Option<f64>| {
        let samples = schedules.iter();
        samples.filter_map(move |(id, observed)| -> Option<Sample<'_>> {
            Some((vec![("schedule", id.as_str())], value(observed)?))
        })
    };
    page.family(
        Counter,
        "kennel_schedule_runs",
        "Runs of a schedule, since it is known.",
        each(|observed| Some(float(observed.runs))),
    );
    page.family(
        Counter,
        "kennel_schedule_missed",
        "Due times of a schedule that were not run, since it is known.",
        each(|observed| Some(float(observed.missed))),
    );
    page.family(
        Gauge,
        "kennel_schedule_next_timestamp_seconds",
        "When a schedule is due next, in seconds since 1970; none while it is paused.",
        each(|observed| Some(float(observed.next?.unsigned_abs()) / 1000.0)),
    );
    page.family(
        Gauge,
        "kennel_schedule_held",
        "Whether a run is due that could not be begun yet.",
        each(|observed| Some(f64::from(u8::from(observed.held.is_some())))),
    );
}
