//! `init`: writes a configuration to start from.
//!
//! On a terminal it asks for the agent's name and where the model is; elsewhere it asks nothing and
//! writes the starter file as it is. It never overwrites.

use std::{
    fs::{self, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    exit::{Exit, Failure, Outcome},
    locate::FILE_NAME,
    output::Output,
};
use crate::config;
use kennel_shared::ids::AgentId;

/// So often is a question asked before the answers are taken for a mistake.
const PATIENCE: usize = 3;

/// The agent of the starter file.
const AGENT: &str = "assistant";

/// The providers of the starter file: its active one, and what stands instead of it.
const PROVIDERS: [(&str, &str, &str); 5] = [
    ("echo", "", "echo/echo"),
    (
        "openai",
        "base_url = \"http://127.0.0.1:8080/v1\"\n",
        "openai/default",
    ),
    (
        "anthropic",
        "api_key = { env = \"ANTHROPIC_API_KEY\" }\n",
        "anthropic/claude-sonnet-4-5",
    ),
    (
        "gemini",
        "api_key = { env = \"GEMINI_API_KEY\" }\n",
        "gemini/gemini-2.5-flash",
    ),
    ("ollama", "", "ollama/llama3.2"),
];

pub(super) fn run(path: Option<&Path>, out: &Output) -> Outcome {
    let file = target(path);
    let exists = || {
        Failure::new(format!(
            "{} is there already, and stays as it is",
            file.display()
        ))
        .exit(Exit::Refused)
        .hint("name another file, or remove this one first")
    };
    // Before anything is asked; who comes in between loses nothing either, see `write`.
    if file.exists() {
        return Err(exists());
    }
    let interactive = io::stdin().is_terminal() && io::stderr().is_terminal();
    let text = if interactive {
        let agent = ask(out, "Name of the first agent", AGENT, |name| {
            AgentId::new(name)
                .map(drop)
                .map_err(|error| error.to_string())
        })?;
        let kinds = PROVIDERS.map(|(kind, ..)| kind).join(", ");
        let kind = ask(
            out,
            &format!("Where models are ({kinds})"),
            "echo",
            |kind| {
                let known = PROVIDERS.iter().any(|(known, ..)| *known == kind);
                known.then_some(()).ok_or_else(|| format!("one of {kinds}"))
            },
        )?;
        starter(&agent, &kind)
    } else {
        config::starter_file().to_owned()
    };
    write(&file, &text).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(),
        _ => Failure::new(format!("cannot write {}: {error}", file.display())),
    })?;
    out.line(file.display())?;
    out.note("start it with `kennel up`");
    Ok(Exit::Ok)
}

fn target(path: Option<&Path>) -> PathBuf {
    match path {
        None => PathBuf::from(FILE_NAME),
        Some(path) if path.extension().is_some_and(|e| e == "toml") && !path.is_dir() => {
            path.into()
        }
        Some(dir) => dir.join(FILE_NAME),
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    // It may come to hold a secret.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(text.as_bytes())
}

fn ask(
    out: &Output,
    question: &str,
    default: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<String, Failure> {
    for _ in 0..PATIENCE {
        out.prompt(format_args!("{question} [{default}]: "));
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        let read =
            read.map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
        if read == 0 {
            return Err(Failure::new("nothing is written").exit(Exit::Usage));
        }
        let answer = match answer.trim() {
            "" => default,
            answer => answer,
        };
        match check(answer) {
            Ok(()) => return Ok(answer.to_owned()),
            Err(wanted) => out.prompt(format_args!("{wanted}\n")),
        }
    }
    Err(Failure::new("nothing is written").exit(Exit::Usage))
}

/// The starter file with another agent and another provider in it.
fn starter(agent: &str, kind: &str) -> String {
    let (_, lines, model) = PROVIDERS
        .iter()
        .find(|(known, ..)| *known == kind)
        .expect("the answer was checked");
    let mut text = config::starter_file().to_owned();
    if kind != "echo" {
        let provider = format!("[providers.{kind}]\nkind = \"{kind}\"\n{lines}");
        text = text
            .replace("[providers.echo]\nkind = \"echo\"\n", &provider)
            .replace("model = \"echo/echo\"", &format!("model = \"{model}\""));
    }
    text.replace(&format!("[agents.{AGENT}]"), &format!("[agents.{agent}]"))
        .replace(
            &format!("kennel chat {AGENT}"),
            &format!("kennel chat {agent}"),
        )
        .replace(
            &format!("agent = \"{AGENT}\""),
            &format!("agent = \"{agent}\""),
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Directories};

    #[test]
    fn every_answer_gives_a_configuration_that_is_right() {
        for (kind, _, model) in PROVIDERS {
            let text = starter("hexa", kind);
            let files = [(PathBuf::from("/etc/kennel/kennel.toml"), text.clone())];
            let loaded = Config::parse(&files, &Directories::below(Path::new("/x")))
                .unwrap_or_else(|found| panic!("{kind}: {found:?}"));
            let agent = loaded.config.agent("hexa").expect(kind);
            let (provider, name) = model.split_once('/').unwrap();
            assert_eq!(agent.model.provider.as_str(), provider);
            assert_eq!(agent.model.model, name);
            assert!(!text.contains("assistant]"), "{text}");
            assert!(text.contains("kennel chat hexa"), "{text}");
        }
    }

    #[test]
    fn the_default_answers_change_nothing() {
        assert_eq!(starter(AGENT, "echo"), config::starter_file());
    }

    #[test]
    fn a_folder_gets_the_usual_name() {
        assert_eq!(target(None), Path::new("kennel.toml"));
        assert_eq!(target(Some(Path::new("a"))), Path::new("a/kennel.toml"));
        assert_eq!(target(Some(Path::new("a/b.toml"))), Path::new("a/b.toml"));
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sub/kennel.toml");
        write(&file, "mine").unwrap();
        let error = write(&file, "yours").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }
}
