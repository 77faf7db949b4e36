//! The schema and the reader describe the same keys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::reader::Context;
use super::super::schema::{ConfigFile, json_schema};
use super::super::{draft, example_file, starter_file};
use super::{BASE, directories, parse};

/// A text that visits every table of every kind.
const EVERY_TABLE: &str = r#"
[supervisor.http]
[supervisor.fleet]
[supervisor.journal]
[supervisor.prices]
"a/b" = {}
[supervisor.otlp]
[classes.c]
[providers]
a = { kind = "openai" }
b = { kind = "anthropic" }
c = { kind = "gemini", api_key = {} }
d = { kind = "ollama" }
e = { kind = "echo" }
[agents.a]
backoff = {}
limits = {}
queue = {}
sandbox = {}
context = {}
log = {}
budget = { hour = {} }
[channels]
t = { kind = "telegram" }
i = { kind = "irc", sasl = {} }
[[bindings]]
[[schedules]]
tell = {}
"#;

type Keys = BTreeMap<String, BTreeSet<String>>;

fn keys_of_the_reader() -> Keys {
    let context = Context::new(PathBuf::new(), None);
    let files = [(PathBuf::from("k.toml"), EVERY_TABLE.to_owned())];
    draft::read(&context, &files, &directories());
    let known = context.known_keys.take();
    known
        .into_iter()
        .map(|(table, keys)| {
            let keys = keys.into_iter().map(str::to_owned).collect();
            (table.to_owned(), keys)
        })
        .collect()
}

/// The keys of every object of the schema; a variant is named by its `kind`.
fn keys_of_the_schema(schema: &Value) -> Keys {
    let mut keys = Keys::new();
    add(&mut keys, "ConfigFile", schema);
    for (name, definition) in schema["definitions"].as_object().expect("definitions") {
        for variant in definition["oneOf"].as_array().into_iter().flatten() {
            if let Some(kind) = variant["properties"]["kind"]["const"].as_str() {
                add(
                    &mut keys,
                    &format!("{name}:{kind}"),
                    &resolved(schema, variant),
                );
            }
        }
        // A table that is only the body of a variant is counted there.
        let is_body =
            ["RemoteTable", "EchoTable", "TelegramTable", "IrcTable"].contains(&name.as_str());
        if !is_body {
            add(&mut keys, name, definition);
        }
    }
    keys
}

/// A variant with the properties of what it refers to.
fn resolved(schema: &Value, variant: &Value) -> Value {
    let mut whole = variant.clone();
    if let Some(reference) = variant["$ref"].as_str() {
        let body = schema
            .pointer(reference.trim_start_matches('#'))
            .expect("the reference leads somewhere");
        for (key, value) in body["properties"].as_object().expect("a table") {
            whole["properties"][key] = value.clone();
        }
    }
    whole
}

fn add(keys: &mut Keys, name: &str, object: &Value) {
    if let Some(properties) = object["properties"].as_object() {
        keys.insert(name.to_owned(), properties.keys().cloned().collect());
    }
}

#[test]
fn reader_and_schema_know_the_same_keys() {
    let (reader, schema) = (keys_of_the_reader(), keys_of_the_schema(&json_schema()));
    // Table by table first: the difference is easier to see.
    for (table, keys) in &schema {
        assert_eq!(reader.get(table), Some(keys), "[{table}]");
    }
    assert_eq!(reader, schema);
    assert!(schema.len() >= 20, "{:?}", schema.keys());
}

#[test]
fn every_table_of_the_schema_is_closed() {
    fn walk(value: &Value, path: &str, open: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                let is_table = object.get("properties").is_some_and(Value::is_object)
                    && object.get("type") == Some(&Value::from("object"));
                let closed = object.get("additionalProperties") == Some(&Value::Bool(false))
                    || object.get("unevaluatedProperties") == Some(&Value::Bool(false));
                if is_table && !closed {
                    open.push(path.to_owned());
                }
                for (key, value) in object {
                    walk(value, &format!("{path}/{key}"), open);
                }
            }
            Value::Array(array) => {
                for (n, value) in array.iter().enumerate() {
                    walk(value, &format!("{path}/{n}"), open);
                }
            }
            _ => {}
        }
    }
    let mut open = Vec::new();
    walk(&json_schema(), "", &mut open);
    assert_eq!(open, [""; 0]);
}

/// `UPDATE_SCHEMA=1 cargo nextest run -p kennel schema_file` writes it anew.
#[test]
fn the_schema_file_is_the_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/kennel.schema.json");
    let wanted = format!("{:#}\n", json_schema());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &wanted).expect("the file can be written");
    }
    let found = std::fs::read_to_string(&path).expect("config/kennel.schema.json is there");
    assert!(
        found == wanted,
        "config/kennel.schema.json is old: run this test with UPDATE_SCHEMA=1 and commit the file"
    );
}

/// What the reader takes, the types of the schema take too; a key that the reader does not know, they do not either.
#[test]
fn both_take_and_refuse_alike() {
    let with = |line: &str| format!("{BASE}{line}\n");
    for text in [starter_file(), example_file(), BASE, EVERY_KEY] {
        assert!(parse(text).is_ok(), "{:?}", parse(text));
        let schema = toml::from_str::<ConfigFile>(text);
        assert!(schema.is_ok(), "{}", schema.unwrap_err());
    }
    for text in [
        with("zzz = 1"),
        with("limits = { zzz = 1 }"),
        with("backoff = { zzz = 1 }"),
        with("sandbox = { zzz = 1 }"),
        with("[supervisor.fleet]\nzzz = 1"),
        with("[supervisor.prices]\n\"echo/x\" = { input = 1, output = 1, zzz = 1 }"),
        with("[supervisor.otlp]\nendpoint = \"http://127.0.0.1:1\"\nzzz = 1"),
        with("context = { zzz = 1 }"),
        with("log = { zzz = 1 }"),
        with("budget = { zzz = 1 }"),
        with("budget = { day = { zzz = 1 } }"),
        with("[supervisor]\nzzz = 1"),
        with("[classes.c]\nzzz = 1"),
        with("[supervisor.http]\nlisten = \"127.0.0.1:1\"\nzzz = 1"),
        with("[providers.z]\nkind = \"echo\"\nzzz = 1"),
        with("[providers.z]\nkind = \"ollama\"\nzzz = 1"),
        with("[providers.z]\nkind = \"gemini\"\napi_key = { env = \"A\", zzz = \"B\" }"),
        with("[channels.z]\nkind = \"telegram\"\ntoken = { env = \"T\" }\nzzz = 1"),
        with("[channels.z]\nkind = \"irc\"\nserver = \"x\"\nnick = \"k\"\nzzz = 1"),
        with("[zzz]"),
    ] {
        assert!(
            super::errors(&text)
                .iter()
                .any(|title| title.contains("`zzz`")),
            "{text}"
        );
        assert!(toml::from_str::<ConfigFile>(&text).is_err(), "{text}");
    }
}

/// The keys that the example has only in comments.
const EVERY_KEY: &str = r#"
[supervisor]
state_dir = "s"
runtime_dir = "r"
[classes.research]
weight = 50
min_share = 0.25
max_share = 1
[providers.p]
kind = "gemini"
base_url = "https://example.org"
api_key = { command = ["pass", "p"] }
[agents.a]
model = "p/m"
temperature = 1
max_tokens = 10
system_prompt_file = "p.md"
limits = { memory = "1GiB", memory_high = "1GiB", cpu = 1, cpu_weight = 1, pids = 1, open_files = 16, io_weight = 1 }
user = "agent"
sandbox = { write = ["w"], network = [443, 80] }
budget = { time_zone = "Europe/Vienna", downgrade = "p/n", hour = { warn_tokens = 1, max_tokens = 2, warn_cost = 0.5, max_cost = 1 }, day = {}, month = {} }
[agents.b]
model = "p/m"
limits = { memory = "none", memory_high = "none", cpu = "none", cpu_weight = "none", pids = "none", open_files = "none", io_weight = "none" }
user = 1001
enforcement = "best-effort"
sandbox = { network = "closed" }
[supervisor.prices]
"p/m" = { input = 0.25, output = 1 }
[supervisor.otlp]
endpoint = "http://127.0.0.1:4318"
headers = { authorization = { env = "A" } }
[supervisor.fleet]
memory = "4GiB"
cpu = 2.5
cpu_weight = 10
pids = 100
[channels.t]
kind = "telegram"
token = { env = "T" }
api_url = "http://127.0.0.1:1"
[channels.i]
kind = "irc"
server = "x"
nick = "k"
tls_ca = "ca"
password = { env = "P" }
[[bindings]]
channel = "i"
agent = "a"
peer = "bob"
kind = "direct"
"#;

#[test]
fn nothing_may_be_null() {
    let schema = json_schema().to_string();
    assert!(!schema.contains("null"), "{schema}");
}
