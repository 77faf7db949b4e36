//! `kennel schedules`.

use clap::{Args as ClapArgs, Subcommand};

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct Schedules {
    #[command(subcommand)]
    pub(in crate::cli) command: Option<SchedulesCommand>,

    #[command(flatten)]
    pub(in crate::cli) list: ScheduleList,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SchedulesCommand {
    /// List schedules, when they are due next and how they ran last; what `kennel schedules` does by itself
    List(ScheduleList),
    /// Run a schedule now, also one that is paused or disabled; its next due time stays
    Run(ScheduleOne),
    /// Have a schedule run by itself no more, until it is resumed
    Pause(ScheduleOne),
    /// Have a schedule run by itself again, from its next due time on
    Resume(ScheduleOne),
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct ScheduleList {
    /// Print the control API's JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct ScheduleOne {
    /// Which schedule
    #[arg(value_name = "SCHEDULE")]
    pub(in crate::cli) name: String,

    /// Print the control API's JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
