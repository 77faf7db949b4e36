//! What tells that a child exceeds its caps: the kernel, or where the kernel does not hold a cap, a
//! look each second.

use std::{future::pending, time::Duration};

use kennel_shared::ids::AgentId;
use tokio::task::AbortHandle;
use tokio::{sync::oneshot, task::spawn_blocking, time::sleep};
use tracing::warn;

use crate::containment::{Cap, Containment, Group, OomNotice, Over};

/// How often caps that only we hold are looked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A cap was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// The kernel has ended so many processes for want of memory.
    OomKilled(u64),
    /// We have to end it.
    Over(Over),
}

/// Watches one child's group. The default watches nothing.
#[derive(Debug, Default)]
pub(super) struct Guard {
    notice: Option<OomNotice>,
    looking: Option<(AbortHandle, oneshot::Receiver<Over>)>,
}

impl Guard {
    /// Watches what of its caps can be watched.
    pub(super) fn of(agent: &AgentId, group: &Group, containment: &Containment) -> Self {
        let notice = group.oom_notice().unwrap_or_else(|error| {
            warn!(agent.id = %agent, %error, "the kernel cannot tell of memory that runs out; only the end will");
            None
        });
        let ours = containment.unenforced(&group.caps());
        let looking = ours
            .iter()
            .any(|one| matches!(one.cap, Cap::Memory | Cap::Pids))
            .then(|| look(group.clone()));
        Self { notice, looking }
    }

    /// Waits until a cap is exceeded. Cancel-safe.
    pub(super) async fn exceeded(&mut self) -> Exceeded {
        let notice = async {
            match &mut self.notice {
                Some(notice) => match notice.grew().await {
                    Ok(more) => Exceeded::OomKilled(more),
                    // The group is gone, and with it whom to watch.
                    Err(_) => pending().await,
                },
                None => pending().await,
            }
        };
        let looking = async {
            match &mut self.looking {
                Some((_, over)) => match over.await {
                    Ok(over) => Exceeded::Over(over),
                    Err(_) => pending().await,
                },
                None => pending().await,
            }
        };
        let exceeded = tokio::select! {
            exceeded = notice => exceeded,
            exceeded = looking => exceeded,
        };
        if let Exceeded::Over(_) = exceeded {
            self.looking = None;
        }
        exceeded
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((task, _)) = &self.looking {
            task.abort();
        }
    }
}

fn look(group: Group) -> (AbortHandle, oneshot::Receiver<Over>) {
    let (over_tx, over) = oneshot::channel();
    let task = tokio::spawn(async move {
        loop {
            sleep(LOOK_EVERY).await;
            let group = group.clone();
            match spawn_blocking(move || group.over()).await {
                Ok(None) => {}
                Ok(Some(over)) => {
                    let _ = over_tx.send(over);
                    return;
                }
                Err(_) => return,
            }
        }
    });
    (task.abort_handle(), over)
}
