//! One line for each rule: a text that breaks it, the title and the hint that it must give.

#![expect(clippy::too_many_lines, reason = "tables of rules, one for each line")]

use super::super::{Severity, Style};
use super::{BASE, parse, titles};

mod classes;
mod held;
mod outside;

/// Checks that the text has exactly this one error, with this hint.
fn refuses(text: &str, title: &str, hint: &str) {
    let Err(found) = parse(text) else {
        panic!("accepted:\n{text}");
    };
    let errors: Vec<_> = found
        .iter()
        .filter(|d| d.severity() == Severity::Error)
        .collect();
    assert!(
        errors.len() == 1
            && errors[0].title().contains(title)
            && errors[0].advice().unwrap_or("").contains(hint),
        "wanted {title:?} with {hint:?}, found\n{}",
        found.render(Style::Plain)
    );
}

fn warns(text: &str, title: &str) {
    let loaded = parse(text).unwrap_or_else(|found| panic!("{}", found.render(Style::Plain)));
    let warnings = titles(&loaded.warnings, Severity::Warning);
    assert!(
        warnings.iter().any(|warning| warning.contains(title)),
        "wanted {title:?}, found {warnings:?}"
    );
}

#[test]
fn values_of_an_agent() {
    for (line, title, hint) in [
        (
            "max_concurrent = \"4\"",
            "`max_concurrent` must be a whole number, not a string",
            "`max_concurrent = 1`",
        ),
        (
            "max_concurrent = 0",
            "`max_concurrent` is out of range",
            "from 1 to 1000",
        ),
        (
            "max_concurrent = 99999999999999999999",
            "`max_concurrent` is out of range",
            "from 1",
        ),
        (
            "max_concurrent = -1",
            "`max_concurrent` is out of range",
            "from 1",
        ),
        (
            "temperature = 2.5",
            "`temperature` is out of range",
            "from 0 to 2",
        ),
        (
            "temperature = nan",
            "`temperature` is out of range",
            "from 0 to 2",
        ),
        (
            "temperature = \"warm\"",
            "must be a number, not a string",
            "temperature = 0.0",
        ),
        (
            "tools = [\"read\", \"exce\"]",
            "unknown tools \"exce\"",
            "did you mean",
        ),
        (
            "tools = \"exec\"",
            "`tools` must be a list, not a string",
            "[\"read\", \"list\"]",
        ),
        (
            "max_steps = 0",
            "`max_steps` is out of range",
            "from 1 to 1000",
        ),
        (
            "turn_timeout = 30",
            "`turn_timeout` needs a unit",
            "`turn_timeout = \"30s\"`",
        ),
        (
            "turn_timeout = \"30\"",
            "`turn_timeout` needs a unit",
            "`turn_timeout = \"30s\"`",
        ),
        (
            "turn_timeout = 1.5",
            "`turn_timeout` needs a unit",
            "\"1.5s\"",
        ),
        (
            "turn_timeout = \"30 parsecs\"",
            "`turn_timeout` is not a time",
            "\"1h30m\"",
        ),
        (
            "turn_timeout = \"-3s\"",
            "`turn_timeout` is not a time",
            "\"30s\"",
        ),
        (
            "turn_timeout = \"0s\"",
            "`turn_timeout` must be longer than zero",
            "\"30s\"",
        ),
        (
            "turn_timeout = \"3 years\"",
            "`turn_timeout` is too long",
            "longest",
        ),
        // Would overflow inside the parser of times, and panic there.
        (
            "turn_timeout = \"18446744073709551615s 1000ms\"",
            "`turn_timeout` is not a time",
            "",
        ),
        (
            "turn_timeout = true",
            "must be a time, not true or false",
            "\"30s\"",
        ),
        (
            "limits = { memory = 512 }",
            "`memory` needs a unit",
            "\"512MiB\"",
        ),
        (
            "limits = { memory = \"512\" }",
            "`memory` needs a unit",
            "\"512MiB\"",
        ),
        (
            "limits = { memory = \"512M\" }",
            "two meanings",
            "\"512MiB\" (powers of 1024) or \"512MB\"",
        ),
        (
            "limits = { memory = \"much\" }",
            "`memory` is not a size",
            "\"64KiB\"",
        ),
        (
            "limits = { memory = \"1KiB\" }",
            "`memory` is out of range",
            "4.0 MiB",
        ),
        ("limits = { cpu = 0 }", "`cpu` is out of range", ""),
        ("limits = [1]", "`limits` must be a table, not a list", ""),
        (
            "limits.memroy = \"1GiB\"",
            "unknown key `memroy` in `[agents.b.limits]`",
            "did you mean `memory`?",
        ),
        (
            "restart = \"onfailure\"",
            "unknown restart \"onfailure\"",
            "did you mean `on-failure`?",
        ),
        ("restart = 1", "must be a word", "restart = \"always\""),
        ("class = \"Batch Jobs\"", "`class` is not a name", "a-z"),
        (
            "autostart = \"yes\"",
            "`autostart` must be true or false",
            "autostart = true",
        ),
        (
            "system_prompt = \"  \"",
            "`system_prompt` is empty",
            "remove",
        ),
        (
            "system_prompt = \"a\"\nsystem_prompt_file = \"b\"",
            "exclude each other",
            "one of the two",
        ),
        ("workspace = \"~root/x\"", "another user's home", "absolute"),
        ("workspace = \"a\\u0000b\"", "not a path", "remove"),
        (
            "watchdog = \"1s\"",
            "watchdog would end every healthy agent",
            "longer than",
        ),
        (
            "heartbeat_interval = \"1m\"",
            "watchdog would end every healthy agent",
            "longer than",
        ),
        (
            "backoff = { initial = \"2m\" }\nwindow = \"1d\"",
            "first wait of the backoff",
            "must not exceed",
        ),
        (
            "backoff.max = \"1h\"\nbackoff.initial = \"10m\"",
            "cancel each other",
            "set `window = \"7h\"` or more, or `max_restarts = 1` or less",
        ),
        (
            "temprature = 1.0",
            "unknown key `temprature` in `[agents.b]`",
            "did you mean `temperature`?",
        ),
        ("zzz = 1", "unknown key `zzz`", "its keys are `autostart`"),
        (
            "max_concurrent = 2026-01-01",
            "not a date",
            "max_concurrent = 1",
        ),
    ] {
        let text = format!("{BASE}[agents.b]\nmodel = \"echo/x\"\n{line}\n");
        refuses(&text, title, hint);
    }
}

#[test]
fn models_and_names() {
    for (text, title, hint) in [
        (
            "[agents.b]\n",
            "the agent \"b\" has no model",
            "model = \"echo/model\"",
        ),
        (
            "[agents.b]\nmodel = \"x\"",
            "must name a provider and its model",
            "provider/model",
        ),
        (
            "[agents.b]\nmodel = \"echo/\"",
            "must name a provider and its model",
            "provider/model",
        ),
        (
            "[agents.b]\nmodel = \"eco/x\"",
            "there is no provider \"eco\"",
            "did you mean `echo`?",
        ),
        (
            "[agents.b]\nmodel = \"somewhere/x\"",
            "there is no provider",
            "the providers are `echo`",
        ),
        (
            "[agents.Bob]\nmodel = \"echo/x\"",
            "\"Bob\" cannot name an agent",
            "a-z",
        ),
        (
            "[providers.\"\"]\nkind = \"echo\"",
            "cannot name a provider",
            "a-z",
        ),
        (
            "[supervisor]\ndefault_agent = \"b\"",
            "there is no agent \"b\"",
            "agent",
        ),
        (
            "[agents.a]\nclass = \"b\"",
            "this name is given twice",
            "remove one of the two",
        ),
        (
            "[providers.q]\nkind = \"echo\"\nkind = \"echo\"",
            "this name is given twice",
            "remove one of the two",
        ),
        (
            "[superviser]\n",
            "unknown key `superviser` in the top of the file",
            "did you mean `supervisor`?",
        ),
    ] {
        refuses(&format!("{BASE}{text}\n"), title, hint);
    }
}

#[test]
fn supervisor() {
    for (body, title, hint) in [
        ("max_concurrent = 0", "out of range", "from 1"),
        (
            "log_level = \"verbose\"",
            "unknown log_level",
            "\"error\", \"warn\", \"info\"",
        ),
        (
            "http = { listen = \"0.0.0.0:80\" }",
            "open to the network without a token",
            "127.0.0.1:80",
        ),
        (
            "http = { listen = \"[::]:80\" }",
            "open to the network without a token",
            "token",
        ),
        (
            "http = { listen = \"localhost\" }",
            "not an address with a port",
            "127.0.0.1:7700",
        ),
        (
            "http = { }",
            "missing key `listen` in `[supervisor.http]`",
            "listen = \"127.0.0.1:7700\"",
        ),
        (
            "http = { listen = \"127.0.0.1:1\", token = { env = \"T\" }, allowed_origins = [\"https://a/b\"] }",
            "an origin has no path",
            "https://example.org",
        ),
        (
            "http = { listen = \"127.0.0.1:1\", token = { env = \"T\" }, allowed_origins = [\"*\"] }",
            "not a web address",
            "http",
        ),
        ("state_dir = 5", "`state_dir` must be a string", "state_dir"),
    ] {
        refuses(&format!("{BASE}[supervisor]\n{body}\n"), title, hint);
    }
    let long = "x".repeat(100);
    refuses(
        &format!("{BASE}[supervisor]\nruntime_dir = \"/{long}\"\n"),
        "too long for a Unix socket",
        "runtime_dir",
    );
    warns(
        &format!("{BASE}[supervisor.http]\nlisten = \"127.0.0.1:1\"\n"),
        "has no token",
    );
}

#[test]
fn warnings_of_the_fleet() {
    warns("", "no agent is declared");
}
