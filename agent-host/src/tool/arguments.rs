//! What a model may ask for, and what it has written, read.

use kennel_shared::protocol::Tool;
use serde::Deserialize;
use serde_json::json;

use super::Definition;
use crate::provider::ARGUMENTS_MAX_BYTES;

/// The longest path.
const PATH_MAX_BYTES: usize = 4096;

/// The most of what is wrong that is told.
const WRONG_MAX_BYTES: usize = 300;

/// What a model wants done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Read(Read),
    Write(Write),
    Edit(Edit),
    List(List),
    Exec(Exec),
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    pub(super) path: String,
    /// The first line, from 1.
    #[serde(default)]
    pub(super) offset: Option<u64>,
    /// How many lines.
    #[serde(default)]
    pub(super) limit: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Write {
    pub(super) path: String,
    pub(super) content: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    pub(super) path: String,
    pub(super) old: String,
    pub(super) new: String,
    #[serde(default)]
    pub(super) all: bool,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    #[serde(default = "here")]
    pub(super) path: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exec {
    pub(super) command: String,
    /// At most so many seconds.
    #[serde(default)]
    pub(super) timeout: Option<u64>,
}

fn here() -> String {
    ".".into()
}

/// What the model is told of a tool.
pub(super) fn definition(tool: Tool) -> Definition {
    let path = json!({
        "type": "string",
        "description": "relative to the workspace"
    });
    let (description, properties, required): (_, _, &[&str]) = match tool {
        Tool::Read => (
            "Reads lines of a file in the workspace, or of the long output of a command. Says where to go on when there are more.",
            json!({
                "path": path,
                "offset": {"type": "integer", "minimum": 1, "description": "the first line, from 1"},
                "limit": {"type": "integer", "minimum": 1, "description": "how many lines"}
            }),
            &["path"],
        ),
        Tool::Write => (
            "Writes a file in the workspace, with all that is to be in it. Makes folders that are missing.",
            json!({"path": path, "content": {"type": "string"}}),
            &["path", "content"],
        ),
        Tool::Edit => (
            "Replaces a text in a file in the workspace. The old text must be in it exactly once, unless `all` is true.",
            json!({
                "path": path,
                "old": {"type": "string", "description": "as it is in the file, with its spaces and line ends"},
                "new": {"type": "string"},
                "all": {"type": "boolean", "description": "replace it wherever it is"}
            }),
            &["path", "old", "new"],
        ),
        Tool::List => (
            "Lists a folder of the workspace: names, folders with a slash, sizes in bytes.",
            json!({"path": path}),
            &[],
        ),
        Tool::Exec => (
            "Runs a shell command in the workspace, without input. Tells its exit status and what it writes; long output goes to a file. What it leaves running is ended.",
            json!({
                "command": {"type": "string", "description": "for sh -c"},
                "timeout": {"type": "integer", "minimum": 1, "description": "seconds"}
            }),
            &["command"],
        ),
    };
    Definition {
        name: tool.as_str(),
        description,
        parameters: json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false
        }),
    }
}

/// Reads arguments. What is wrong is told to the model.
pub(super) fn parse(tool: Tool, arguments: &str) -> Result<Wanted, String> {
    if arguments.len() >= ARGUMENTS_MAX_BYTES {
        let limit = ARGUMENTS_MAX_BYTES / 1024;
        return Err(format!("the arguments are longer than {limit} KiB"));
    }
    let wanted = match tool {
        Tool::Read => serde_json::from_str(arguments).map(Wanted::Read),
        Tool::Write => serde_json::from_str(arguments).map(Wanted::Write),
        Tool::Edit => serde_json::from_str(arguments).map(Wanted::Edit),
        Tool::List => serde_json::from_str(arguments).map(Wanted::List),
        Tool::Exec => serde_json::from_str(arguments).map(Wanted::Exec),
    };
    let wanted = wanted.map_err(|error| {
        let mut wrong = format!(
            "these are not the arguments of `{}`: {error}",
            tool.as_str()
        );
        wrong.truncate(wrong.floor_char_boundary(WRONG_MAX_BYTES));
        wrong
    })?;
    match &wanted {
        Wanted::Read(Read { path, .. })
        | Wanted::Write(Write { path, .. })
        | Wanted::Edit(Edit { path, .. })
        | Wanted::List(List { path }) => checked(path)?,
        Wanted::Exec(exec) if exec.command.trim().is_empty() => {
            return Err("`command` is empty".into());
        }
        Wanted::Exec(exec) if exec.command.contains('\0') => {
            return Err("`command` holds a NUL".into());
        }
        Wanted::Exec(_) => {}
    }
    Ok(wanted)
}

fn checked(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("`path` is empty".into());
    }
    if path.contains('\0') {
        return Err("`path` holds a NUL".into());
    }
    if path.len() > PATH_MAX_BYTES {
        return Err(format!("`path` is longer than {PATH_MAX_BYTES} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_wrong_is_told() {
        let deep = "[".repeat(100_000);
        let long = format!(r#"{{"path": "{}"}}"#, "x".repeat(5000));
        let longer = format!(r#"{{"command": "{}"}}"#, "x".repeat(ARGUMENTS_MAX_BYTES));
        let named = format!(r#"{{"{}": 1}}"#, "x".repeat(10_000));
        let cases = [
            (Tool::Read, "", "EOF while parsing"),
            (Tool::Read, "null", "invalid type: null"),
            (Tool::Read, "[]", "invalid length 0"),
            (Tool::Read, &deep, "invalid type: sequence"),
            (Tool::Read, "{}", "missing field `path`"),
            (Tool::Read, r#"{"path": 1}"#, "invalid type: integer"),
            (Tool::Read, r#"{"path": ""}"#, "`path` is empty"),
            (Tool::Read, r#"{"path": "a\u0000b"}"#, "holds a NUL"),
            (Tool::Read, &long, "longer than 4096"),
            (
                Tool::Read,
                r#"{"path": "a", "offset": -1}"#,
                "invalid value",
            ),
            (
                Tool::Read,
                r#"{"path": "a", "offset": 1e99}"#,
                "invalid type",
            ),
            (
                Tool::Read,
                r#"{"path": "a", "path": "b"}"#,
                "duplicate field",
            ),
            (
                Tool::Read,
                r#"{"path": "a", "mode": 7}"#,
                "unknown field `mode`",
            ),
            (Tool::Write, r#"{"path": "a"}"#, "missing field `content`"),
            (
                Tool::Edit,
                r#"{"path": "a", "old": "x"}"#,
                "missing field `new`",
            ),
            (Tool::Exec, r#"{"command": " "}"#, "`command` is empty"),
            (Tool::Exec, r#"{"command": "\u0000"}"#, "holds a NUL"),
            (
                Tool::Exec,
                r#"{"command": ["ls"]}"#,
                "invalid type: sequence",
            ),
            (Tool::Exec, &longer, "longer than 256 KiB"),
            (Tool::Exec, &named, "unknown field"),
        ];
        for (tool, arguments, expected) in cases {
            let wrong = parse(tool, arguments).unwrap_err();
            let shown = &arguments[..arguments.len().min(60)];
            assert!(wrong.contains(expected), "{shown}: {wrong}");
            assert!(wrong.len() <= WRONG_MAX_BYTES, "{shown}");
        }
    }

    #[test]
    fn what_may_be_left_out_may_be_left_out() {
        let read = Read {
            path: "a".into(),
            ..Read::default()
        };
        assert_eq!(
            parse(Tool::Read, r#"{"path": "a"}"#),
            Ok(Wanted::Read(read))
        );
        let list = List { path: ".".into() };
        assert_eq!(parse(Tool::List, "{}"), Ok(Wanted::List(list)));
    }

    #[test]
    fn every_tool_is_described_as_it_is_read() {
        for tool in Tool::ALL {
            let definition = definition(tool);
            let properties = definition.parameters["properties"].as_object().unwrap();
            // Each property that is described is known, and no other.
            let unknown = parse(tool, r#"{"?": 0}"#).unwrap_err();
            for name in properties.keys() {
                assert!(unknown.contains(&format!("`{name}`")), "{unknown}: {name}");
            }
            let expected = unknown.split("expected").nth(1).unwrap();
            assert_eq!(
                expected.matches('`').count() / 2,
                properties.len(),
                "{unknown}"
            );
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(text in ".{0,200}", tool in 0usize..5) {
            let _ = parse(Tool::ALL[tool], &text);
        }

        #[test]
        fn any_json_is_read_or_refused(path in any::<String>(), offset in any::<f64>(), tool in 0usize..5) {
            let value = json!({"path": path, "command": path, "offset": offset, "content": path});
            let _ = parse(Tool::ALL[tool], &value.to_string());
            let value = json!({"path": path});
            if let Ok(Wanted::Read(read)) = parse(Tool::Read, &value.to_string()) {
                prop_assert_eq!(read.path, path);
            }
        }
    }
}
