//! Messages to agents and answers back: one dispatcher for the whole supervisor.
//!
//! [`lanes`] decides what may run, [`router`] who a message is for; both are pure. [`dispatcher`] is
//! the task that owns the lanes and every job. Whoever waits for an answer does so through a
//! [`ReplySink`]; [`turn`] has the one for callers that read a stream. Neither the dispatcher nor a
//! sink ever waits for an agent or a caller: all they do is hand over.

mod dispatcher;
pub mod gather;
pub mod lanes;
pub mod router;
pub mod turn;

pub use dispatcher::{
    Accepted, AgentCounts, AgentEvent, BudgetView, Change, Dispatcher, DispatcherHandle, Found,
    Limits, Nobody, Operation, OperationError, Outside, Rejected, Reports, Restored,
    ScheduleClasses, Submission, TimeLimits, Told, Waiting, prepare, waiting_for,
};
pub use turn::{EndKind, ReplySink, TurnEnd, TurnEvent, TurnStream};
