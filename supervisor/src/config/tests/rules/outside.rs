//! Rules of what connects to the outside: providers, channels, bindings.

use super::super::{BASE, config};
use super::{refuses, warns};

#[test]
fn providers() {
    for (body, title, hint) in [
        (
            "",
            "missing key `kind` in `[providers.p]`",
            "add `kind = \"openai\"`",
        ),
        (
            "kind = \"opnai\"",
            "unknown kind \"opnai\"",
            "did you mean `openai`?",
        ),
        (
            "kind = \"mistral\"",
            "unknown kind \"mistral\"",
            "\"openai\", \"anthropic\", \"gemini\", \"ollama\", \"echo\"",
        ),
        (
            "kind = \"openai\"",
            "missing key `api_key`",
            "add `api_key = { env = \"API_KEY\" }`",
        ),
        ("kind = \"anthropic\"", "missing key `api_key`", "env"),
        (
            "kind = \"echo\"\nbase_url = \"http://x\"",
            "unknown key `base_url`",
            "its keys are",
        ),
        (
            "kind = \"echo\"\nchunks = 0",
            "`chunks` is out of range",
            "from 1",
        ),
        (
            "kind = \"ollama\"\nbase_url = \"localhost:11434\"",
            "not a web address",
            "http://127.0.0.1",
        ),
        (
            "kind = \"ollama\"\nbase_url = \"ftp://x\"",
            "not a web address",
            "http",
        ),
        (
            "kind = \"ollama\"\nbase_url = \"http://\"",
            "not a web address",
            "http",
        ),
        (
            "kind = \"ollama\"\nbase_url = \"http://u:p@x/\"",
            "not a web address",
            "http",
        ),
        (
            "kind = \"ollama\"\nbase_url = \"http://x/?key=1\"",
            "not a web address",
            "http",
        ),
        (
            "kind = \"anthropic\"\napi_key = \"sk-123\"",
            "`providers.p.api_key` holds a secret in the open",
            "{ env = \"NAME\" }, { file = \"path\" } or { command",
        ),
        (
            "kind = \"anthropic\"\napi_key = 5",
            "must say where the secret is",
            "{ env",
        ),
        (
            "kind = \"anthropic\"\napi_key = {}",
            "a secret's place is missing",
            "{ env",
        ),
        (
            "kind = \"anthropic\"\napi_key = { env = \"A\", file = \"b\" }",
            "more than one place",
            "{ env",
        ),
        (
            "kind = \"anthropic\"\napi_key = { env = \"sk-123\" }",
            "name of an environment variable",
            "not the secret itself",
        ),
        (
            "kind = \"anthropic\"\napi_key = { command = [] }",
            "names no program",
            "pass",
        ),
        (
            "kind = \"anthropic\"\napi_key = { command = \"pass\" }",
            "must be a list",
            "pass",
        ),
        (
            "kind = \"anthropic\"\napi_key = { enviroment = \"A\", file = \"b\" }",
            "unknown key `enviroment`",
            "keys are",
        ),
    ] {
        refuses(&format!("{BASE}[providers.p]\n{body}\n"), title, hint);
    }
    warns(
        &format!(
            "{BASE}[providers.p]\nkind = \"openai\"\nbase_url = \"http://192.0.2.1/v1\"\napi_key = {{ env = \"K\" }}\n"
        ),
        "travels in the clear",
    );
    warns(
        &format!(
            "[supervisor]\nallow_inline_secrets = true\n{BASE}[providers.p]\nkind = \"openai\"\napi_key = \"k\"\n"
        ),
        "holds a secret in the open",
    );
}

#[test]
fn channels() {
    let bound = |body: &str| {
        format!("{BASE}[channels.c]\n{body}\n[[bindings]]\nchannel = \"c\"\nagent = \"a\"\n")
    };
    let telegram = "kind = \"telegram\"\ntoken = { env = \"T\" }";
    let irc = "kind = \"irc\"\nserver = \"irc.example.org\"\nnick = \"k\"";
    for (body, title, hint) in [
        (
            "kind = \"discord\"".to_owned(),
            "unknown kind \"discord\"",
            "one of \"telegram\", \"irc\"",
        ),
        (
            "kind = \"telegram\"".to_owned(),
            "missing key `token`",
            "env",
        ),
        (
            format!("{telegram}\nallow_from = [\"alice\"]"),
            "not a Telegram user",
            "\"@alice\"",
        ),
        (
            format!("{telegram}\nallow_from = [\"*\", 5]"),
            "everybody and somebody",
            "leave \"*\" alone",
        ),
        (
            format!("{telegram}\nallow_from = 5"),
            "must be a list",
            "123456789",
        ),
        (
            format!("{telegram}\npoll_timeout = \"1500ms\""),
            "whole seconds",
            "30s",
        ),
        (
            format!("{telegram}\nserver = \"x\""),
            "unknown key `server`",
            "api_url",
        ),
        (
            "kind = \"irc\"\nnick = \"k\"".to_owned(),
            "missing key `server`",
            "irc.libera.chat",
        ),
        (
            "kind = \"irc\"\nserver = \"irc.example.org:6697\"\nnick = \"k\"".to_owned(),
            "not a host name",
            "own key",
        ),
        (
            "kind = \"irc\"\nserver = \"x\"\nnick = \"1k\"".to_owned(),
            "not a nick",
            "letter",
        ),
        (
            "kind = \"irc\"\nserver = \"x\"\nnick = \"k\\r\\nQUIT\"".to_owned(),
            "control character",
            "line breaks",
        ),
        (
            format!("{irc}\nport = 70000"),
            "`port` is out of range",
            "65535",
        ),
        (
            format!("{irc}\nchannels = [\"kennel\"]"),
            "not an IRC channel",
            "\"#kennel\"",
        ),
        (
            format!("{irc}\nchannels = [\"#a b\"]"),
            "must be one word",
            "",
        ),
        (
            format!("{irc}\ntls = false\ntls_ca = \"x\""),
            "no meaning without TLS",
            "remove",
        ),
        (
            format!("{irc}\nsasl = {{ account = \"k\" }}"),
            "missing key `password` in `[channels.c.sasl]`",
            "env",
        ),
        (
            format!("{irc}\nallow_from = [\"a b\"]"),
            "not a nick",
            "one nick",
        ),
    ] {
        refuses(&bound(&body), title, hint);
    }
    warns(
        &bound(telegram),
        "nobody will be answered on `[channels.c]`",
    );
    warns(
        &bound(&format!("{telegram}\nallow_from = []")),
        "nobody will be answered",
    );
    warns(
        &bound(&format!("{irc}\ntls = false\npassword = {{ env = \"P\" }}")),
        "travels in the clear",
    );
    warns(
        &format!("{BASE}[channels.c]\n{telegram}\n"),
        "no agent answers on the channel \"c\"",
    );
}

#[test]
fn bindings() {
    let base = format!(
        "{BASE}[agents.b]\nmodel = \"echo/x\"\n[channels.tg]\nkind = \"telegram\"\ntoken = {{ env = \"T\" }}\n"
    );
    for (body, title, hint) in [
        (
            "[[bindings]]\nagent = \"a\"",
            "missing key `channel` in `[bindings]`",
            "channel =",
        ),
        (
            "[[bindings]]\nchannel = \"tg\"",
            "missing key `agent`",
            "agent =",
        ),
        (
            "[[bindings]]\nchannel = \"tgg\"\nagent = \"a\"",
            "there is no channel \"tgg\"",
            "did you mean `tg`?",
        ),
        (
            "[[bindings]]\nchannel = \"tg\"\nagent = \"nobody\"",
            "there is no agent \"nobody\"",
            "the agents are `a`, `b`",
        ),
        (
            "[[bindings]]\nchannel = \"tg\"\nagent = \"a\"\nkind = \"all\"",
            "unknown kind \"all\"",
            "\"direct\", \"group\"",
        ),
        (
            "[[bindings]]\nchannel = \"tg\"\nagent = \"a\"\npeer = 1.5",
            "must be a peer's name or number",
            "",
        ),
        (
            "[bindings]\nchannel = \"tg\"",
            "`bindings` must be a list of tables",
            "channel",
        ),
        (
            "[[bindings]]\nchannel = \"tg\"\nagent = \"a\"\n[[bindings]]\nchannel = \"tg\"\nagent = \"a\"",
            "this binding is given twice",
            "remove one",
        ),
        (
            "[[bindings]]\nchannel = \"tg\"\nagent = \"a\"\npeer = 5\n[[bindings]]\nchannel = \"tg\"\nagent = \"b\"\npeer = \"5\"",
            "different agents",
            "tell them apart",
        ),
    ] {
        refuses(&format!("{base}{body}\n"), title, hint);
    }
    warns(
        &format!(
            "{base}[agents.off]\nmodel = \"echo/x\"\nenabled = false\n[[bindings]]\nchannel = \"tg\"\nagent = \"off\"\n"
        ),
        "names an agent that is disabled",
    );
    // More precise and less precise ones live side by side.
    config(&format!(
        "{base}{}",
        [
            "",
            "peer = 5",
            "kind = \"group\"",
            "peer = 5\nkind = \"group\""
        ]
        .map(|extra| format!("[[bindings]]\nchannel = \"tg\"\nagent = \"a\"\n{extra}\n"))
        .concat()
    ));
}
