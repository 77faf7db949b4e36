//! The steps as they are taken, and what a step that fails means.

use std::{error::Error, fmt};

use kennel_shared::cage::{CageOutcome, CageStep};

/// A step that was asked for and cannot be taken here.
#[derive(Debug)]
pub struct CageError {
    /// The step.
    pub step: &'static str,
    /// Why not.
    pub why: String,
    /// What the operator can do about it.
    pub remedy: &'static str,
    /// Whether `enforcement = "best-effort"` would let the agent run without the step.
    pub optional: bool,
}

impl fmt::Display for CageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            step, why, remedy, ..
        } = self;
        write!(f, "the step `{step}` of its cage failed: {why}; {remedy}")?;
        if self.optional {
            f.write_str(", or let the agent run without it by `enforcement = \"best-effort\"`")?;
        }
        Ok(())
    }
}

impl Error for CageError {}

/// Why a step was not taken, or not in full.
pub(super) enum Trouble {
    /// Taken as far as the kernel goes, and enough for what was asked.
    Partly(String),
    /// Taken as far as the kernel goes, and that is less than what was asked.
    Short(String),
    /// Not taken.
    Failed(String),
}

impl<E: Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        let mut why = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            why.push_str(": ");
            why.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::Failed(why)
    }
}

/// What was done so far.
pub(super) struct Report {
    strict: bool,
    steps: Vec<CageStep>,
}

impl Report {
    pub(super) fn new(strict: bool) -> Self {
        Self {
            strict,
            steps: Vec::new(),
        }
    }

    /// Notes how a step went; an error when it failed and must not.
    pub(super) fn note(
        &mut self,
        step: &'static str,
        remedy: &'static str,
        taken: Result<String, Trouble>,
    ) -> Result<(), CageError> {
        let (outcome, detail) = match taken {
            Ok(detail) => (CageOutcome::Done, detail),
            Err(Trouble::Failed(why) | Trouble::Short(why)) if self.strict => {
                return Err(CageError {
                    step,
                    why,
                    remedy,
                    optional: true,
                });
            }
            Err(Trouble::Partly(detail) | Trouble::Short(detail)) => (CageOutcome::Partial, detail),
            Err(Trouble::Failed(why)) => (CageOutcome::Failed, format!("{why}; {remedy}")),
        };
        self.steps.push(CageStep::new(step, outcome, detail));
        Ok(())
    }

    /// Notes how a step went that is taken where it can be, and without which a strict agent runs too.
    pub(super) fn attempt(
        &mut self,
        step: &'static str,
        remedy: &'static str,
        taken: Result<String, Trouble>,
    ) {
        let strict = std::mem::replace(&mut self.strict, false);
        self.note(step, remedy, taken)
            .expect("best effort notes every step");
        self.strict = strict;
    }

    /// Notes a step that nobody asked for.
    pub(super) fn off(&mut self, step: &'static str, why: &str) {
        self.steps.push(CageStep::new(step, CageOutcome::Off, why));
    }

    pub(super) fn finish(self) -> Vec<CageStep> {
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(strict: bool) -> (Report, Result<(), CageError>) {
        let mut report = Report::new(strict);
        let taken = Err(Trouble::Failed("it is not there".into()));
        let noted = report.note("landlock", "boot another kernel", taken);
        (report, noted)
    }

    #[test]
    fn strict_ends_where_best_effort_notes() {
        let (_, refused) = failing(true);
        let said = refused.unwrap_err().to_string();
        for part in [
            "`landlock`",
            "it is not there",
            "boot another kernel",
            "best-effort",
        ] {
            assert!(said.contains(part), "{said}");
        }
        let (report, noted) = failing(false);
        noted.unwrap();
        let steps = report.finish();
        assert_eq!(steps[0].outcome, CageOutcome::Failed);
        assert_eq!(steps[0].detail, "it is not there; boot another kernel");
    }

    #[test]
    fn a_partial_step_is_enough_for_strict() {
        let mut report = Report::new(true);
        let taken = Err(Trouble::Partly("ABI 2".into()));
        report.note("landlock", "", taken).unwrap();
        assert_eq!(report.finish()[0].outcome, CageOutcome::Partial);
    }
}
