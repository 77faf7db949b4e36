//! Trouble on demand: what a bot's next calls meet instead of a plain answer.

use std::time::Duration;

/// One kind of trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is accepted and never answered; nothing of it is carried out.
    Hang,
    /// The request is refused with this status, and nothing of it is carried out.
    Status {
        /// The HTTP status and `error_code`.
        code: u16,
        /// Seconds to wait, as `parameters.retry_after`. A 429 without it says 1.
        retry_after: Option<u32>,
    },
    /// The request *is* carried out, but the connection is cut in the middle of the reply.
    Disconnect,
    /// Status 200 with a body that is not JSON, as from a broken proxy. Nothing is carried out.
    Garbage,
    /// The request is carried out and answered after this delay.
    Slow(Duration),
}

/// A fault, and which calls it befalls: by default every call of every method until it is cleared.
#[derive(Clone, Debug)]
pub struct FaultRule {
    fault: Fault,
    method: Option<String>,
    left: Option<u32>,
}

impl FaultRule {
    /// A rule for every call.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            method: None,
            left: None,
        }
    }

    /// Only calls of this method (case does not matter).
    #[must_use]
    pub fn on(mut self, method: &str) -> Self {
        self.method = Some(method.to_ascii_lowercase());
        self
    }

    /// Only the next `count` calls that match.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.left = Some(count);
        self
    }
}

impl From<Fault> for FaultRule {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

/// The rules of one bot, in the order they were given; the first that matches wins.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<FaultRule>);

impl Faults {
    pub(super) fn add(&mut self, rule: FaultRule) {
        self.0.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault that this call meets; a used-up rule is forgotten.
    pub(super) fn take(&mut self, method: &str) -> Option<Fault> {
        self.0.retain(|rule| rule.left != Some(0));
        let rule = self
            .0
            .iter_mut()
            .find(|rule| rule.method.as_deref().is_none_or(|wanted| wanted == method))?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_match_in_order_and_run_out() {
        let mut faults = Faults::default();
        faults.add(FaultRule::new(Fault::Hang).on("getUpdates").times(1));
        faults.add(FaultRule::new(Fault::Garbage).times(2));
        assert_eq!(faults.take("sendmessage"), Some(Fault::Garbage));
        assert_eq!(faults.take("getupdates"), Some(Fault::Hang));
        assert_eq!(faults.take("getupdates"), Some(Fault::Garbage));
        assert_eq!(faults.take("getupdates"), None);
        faults.add(Fault::Disconnect.into());
        assert_eq!(faults.take("anything"), Some(Fault::Disconnect));
        assert_eq!(faults.take("anything"), Some(Fault::Disconnect));
        faults.clear();
        assert_eq!(faults.take("anything"), None);
    }
}
