//! The checks, in their order. Each gives a few words on what it saw.

mod caps;
mod ends;
mod life;

use futures::{FutureExt as _, future::LocalBoxFuture};

use super::supervisor::Supervisor;

type Check = for<'a> fn(&'a Supervisor) -> LocalBoxFuture<'a, String>;

const MIB: u64 = 1024 * 1024;

/// Every check, by name.
pub(super) const ALL: [(&str, Check); 20] = [
    ("starts", |s| life::starts(s).boxed_local()),
    ("names its backend", |s| life::backend(s).boxed_local()),
    ("a group for each agent", |s| caps::tree(s).boxed_local()),
    ("caps are where the kernel sees them", |s| {
        caps::written(s).boxed_local()
    }),
    ("answers", |s| life::answers(s).boxed_local()),
    ("restart leaves the others", |s| {
        life::restart(s).boxed_local()
    }),
    ("memory beyond the cap", |s| caps::memory(s).boxed_local()),
    ("memory beyond the soft mark, at a standstill", |s| {
        caps::memory_by_default(s).boxed_local()
    }),
    ("memory at the soft mark", |s| {
        caps::soft_mark(s).boxed_local()
    }),
    ("CPU beyond the cap", |s| caps::cpu(s).boxed_local()),
    ("processes beyond the cap", |s| caps::pids(s).boxed_local()),
    ("pressure", |s| caps::pressure(s).boxed_local()),
    ("set, while it runs", |s| caps::set(s).boxed_local()),
    ("restart ends who ran away", |s| {
        ends::restart(s).boxed_local()
    }),
    ("a crash ends who ran away", |s| {
        ends::crash(s).boxed_local()
    }),
    ("stop leaves no group", |s| ends::stop(s).boxed_local()),
    ("others were never touched", |s| {
        life::untouched(s).boxed_local()
    }),
    ("a killed supervisor comes back", |s| {
        ends::killed(s).boxed_local()
    }),
    ("the end leaves nothing", |s| ends::all(s).boxed_local()),
    ("unit tests on cgroup v2", |s| {
        life::unit_tests(s).boxed_local()
    }),
];
