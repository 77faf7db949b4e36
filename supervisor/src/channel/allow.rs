//! Who is answered.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// Who is answered: nobody, unless listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowFrom {
    /// Everybody.
    Anyone,
    /// These senders only, as the platform names them: each platform's settings say how.
    Listed(BTreeSet<String>),
}

impl AllowFrom {
    /// These senders only.
    pub fn listed<T: Into<String>>(senders: impl IntoIterator<Item = T>) -> Self {
        Self::Listed(senders.into_iter().map(Into::into).collect())
    }

    /// Whether an entry of the list is one that `matches` recognises as the sender.
    pub fn allows(&self, matches: impl FnMut(&String) -> bool) -> bool {
        match self {
            Self::Anyone => true,
            Self::Listed(senders) => senders.iter().any(matches),
        }
    }
}

impl Default for AllowFrom {
    fn default() -> Self {
        Self::Listed(BTreeSet::new())
    }
}

/// Lets one line in a while through, and counts the others: strangers must not fill the log.
#[derive(Debug, Clone)]
pub(super) struct Seldom {
    every: Duration,
    last: Option<Instant>,
    held_back: u64,
}

impl Seldom {
    pub(super) const fn new(every: Duration) -> Self {
        Self {
            every,
            last: None,
            held_back: 0,
        }
    }

    /// Whether to speak now; if so, how often we were silent since the last time.
    pub(super) fn speak(&mut self, now: Instant) -> Option<u64> {
        let due = self.last.is_none_or(|last| now - last >= self.every);
        if due {
            self.last = Some(now);
            return Some(std::mem::take(&mut self.held_back));
        }
        self.held_back += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_by_default() {
        assert!(!AllowFrom::default().allows(|_| true));
        assert!(AllowFrom::Anyone.allows(|_| false));
        let list = AllowFrom::listed(["42"]);
        assert!(list.allows(|entry| entry == "42"));
        assert!(!list.allows(|entry| entry == "43"));
    }

    #[test]
    fn it_speaks_seldom_and_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seldom = Seldom::new(Duration::from_mins(1));
        let spoken: Vec<_> = [0, 1, 59, 60, 61, 130]
            .map(|seconds| seldom.speak(at(seconds)))
            .into();
        assert_eq!(
            spoken,
            [Some(0), None, None, Some(2), None, Some(1)],
            "at 0, 60 and 130 s"
        );
    }
}
