//! Tests of the whole path from text to configuration or findings.

use std::path::{Path, PathBuf};

use super::{Config, Diagnostics, Directories, Loaded, Severity};

mod chaos;
mod files;
mod meaning;
mod rendered;
mod rules;
mod schema;

/// A main file that is right and has nothing in it that a test would need to take away.
const BASE: &str = "[providers.echo]\nkind = \"echo\"\n[agents.a]\nmodel = \"echo/x\"\n";

fn directories() -> Directories {
    Directories::below(Path::new("/home/u"))
}

fn parse_files(files: &[(&str, &str)]) -> Result<Loaded, Diagnostics> {
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
        .collect();
    Config::parse(&files, &directories())
}

fn parse(text: &str) -> Result<Loaded, Diagnostics> {
    parse_files(&[("/etc/kennel/kennel.toml", text)])
}

/// The configuration of a text that must be right.
fn config(text: &str) -> Config {
    match parse(text) {
        Ok(loaded) => loaded.config,
        Err(found) => panic!("{}", found.render(super::Style::Plain)),
    }
}

/// Titles of the errors of a text, in order.
fn errors(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => Vec::new(),
        Err(found) => titles(&found, Severity::Error),
    }
}

fn titles(found: &Diagnostics, severity: Severity) -> Vec<String> {
    found
        .iter()
        .filter(|d| d.severity() == severity)
        .map(|d| d.title().to_owned())
        .collect()
}
