//! Whatever text a configuration holds, every mistake is reported and rendered, never a panic or a hang; and what is
//! accepted stays accepted when it is read again.
//!
//! A NUL byte divides the input into the main file and those of `agents.d`. Nothing is read from the disk, and no
//! secret is fetched.
#![no_main]

use std::path::{Path, PathBuf};

use kennel::config::{Config, Directories};
use libfuzzer_sys::fuzz_target;

const FILES_MAX: usize = 4;

fuzz_target!(|input: &[u8]| {
    let Ok(input) = std::str::from_utf8(input) else {
        return;
    };
    let files: Vec<(PathBuf, String)> = input
        .splitn(FILES_MAX, '\0')
        .enumerate()
        .map(|(index, text)| (PathBuf::from(format!("{index}.toml")), text.to_owned()))
        .collect();
    let directories = Directories::below(Path::new("/fuzz"));
    match Config::parse(&files, &directories) {
        Ok(loaded) => {
            let again = Config::parse(&files, &directories).expect("it was accepted a moment ago");
            assert_eq!(loaded.config, again.config, "one text, two meanings");
            let _ = loaded.warnings.to_string();
        }
        Err(found) => {
            assert!(found.errors() > 0, "refused without a reason");
            let _ = found.to_string();
        }
    }
});
