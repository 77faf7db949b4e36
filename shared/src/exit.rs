//! What a child writes down as it leaves: for a supervisor that did not start it, and so is not told by
//! the kernel how it ended.

use std::{io, io::Read, path::Path};

use serde::{Deserialize, Serialize};

use crate::ids::Generation;

/// The record's name in the agent's own directory.
pub const EXIT_FILE: &str = "exit.json";

/// The most that is read of it: an agent writes it, and may have gone bad.
const MAX_BYTES: u64 = 256;

/// How a child ended that left by itself. One that was killed leaves none, or that of a life before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExitRecord {
    /// Which life.
    pub generation: Generation,
    /// Its exit code.
    pub code: u8,
}

impl ExitRecord {
    /// Writes it into the agent's directory.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        std::fs::write(directory.join(EXIT_FILE), serde_json::to_vec(self)?)
    }

    /// Reads what was found there; `None` for what is no record.
    pub fn read(input: impl Read) -> Option<Self> {
        let mut bytes = Vec::new();
        input.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_written_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let record = ExitRecord {
            generation: Generation(7),
            code: 69,
        };
        record.write(directory.path()).unwrap();
        let file = std::fs::File::open(directory.path().join(EXIT_FILE)).unwrap();
        assert_eq!(ExitRecord::read(file), Some(record));
        for strange in [
            "",
            "{}",
            r#"{"generation":1}"#,
            r#"{"generation":1,"code":256}"#,
        ] {
            assert_eq!(ExitRecord::read(strange.as_bytes()), None, "{strange}");
        }
        let long = format!(r#"{{"generation":1,"code":0}}{}"#, " ".repeat(300));
        assert!(
            ExitRecord::read(long.as_bytes()).is_some(),
            "what follows is not looked at"
        );
    }
}
