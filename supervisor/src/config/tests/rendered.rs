//! How findings look.

use super::super::{Diagnostics, Style};
use super::{BASE, parse_files};

fn drawn(files: &[(&str, &str)]) -> String {
    let found = parse_files(files).expect_err("it is wrong");
    format!("{}\n{}\n", found.render(Style::Plain), found.summary())
}

fn one(text: &str) -> String {
    drawn(&[("kennel.toml", text)])
}

/// One file with a mistake of nearly every sort: all of them are shown at once.
const BAD: &str = r#"[supervisor]
max_concurent = 8
orphan_grace = 60
log_level = "loud"
default_agent = "hexxa"

[supervisor.http]
listen = "0.0.0.0:8080"

[providers.local]
kind = "opeani"

[providers.vendor]
kind = "anthropic"
api_key = "sk-ant-secret"

[defaults]
model = "vendor/large"
max_restarts = 50
window = "1m"
backoff = { max = "10m" }

[agents.hexa]
modle = "vendor/small"
limits = { memory = 512, cpus = 2 }
restart = true

[agents.Bot]

[agents.reviewer]
model = "vender/large"
turn_timeout = "soon"
temperature = 9

[channels.tg]
kind = "telegram"
token = { enviro = "TG" }
allow_from = ["alice"]

[channels.irc]
kind = "irc"
server = "irc://irc.libera.chat"

[[bindings]]
channel = "tgg"
agent = "hexa"

[[bindings]]
channel = "irc"
agent = "hexa"

[[bindings]]
channel = "irc"
agent = "reviewer"
"#;

#[test]
fn all_mistakes_of_a_file_at_once() {
    insta::assert_snapshot!(one(BAD));
}

#[test]
fn mistakes_in_what_holds_agents() {
    insta::assert_snapshot!(one(r#"[supervisor]
state_dir = "/srv/kennel"

[supervisor.fleet]
memory = "2GiB"
pids = 100

[providers.echo]
kind = "echo"

[defaults]
model = "echo/x"
limits = { memory_high = "768MiB", pids = 60 }

[agents.hexa]
limits = { memory = "512MiB" }
sandbox = { read = ["/srv/kennel/agents/reviewer"], network = [0] }

[agents.reviewer]
limits = { memory = "1600MiB" }
user = "a b"
enforcement = "strickt"
sandbox = { write = ["/etc"] }
"#));
}

#[test]
fn mistakes_over_several_files() {
    insta::assert_snapshot!(drawn(&[
        ("kennel.toml", BASE),
        (
            "agents.d/one.toml",
            "[agents.a]\nmodel = \"echo/y\"\n\n[supervisor]\n"
        ),
        (
            "agents.d/two.toml",
            "[defaults]\n[providers.echo]\nkind = \"echo\"\n"
        ),
    ]));
}

#[test]
fn text_that_is_not_toml() {
    insta::assert_snapshot!(one(r#"[agents.a]
model = echo/x
class =
temprature = 1
restart = "always
max_queued = 1
max_queued = 2

[agents.b]
modell = 1

[agents.a]
log = { keep = 1
"#));
}

#[test]
fn warnings_of_a_file_that_is_right() {
    let loaded = parse_files(&[(
        "kennel.toml",
        r#"[supervisor]
allow_inline_secrets = true
[supervisor.http]
listen = "127.0.0.1:7700"
[providers.echo]
kind = "echo"
[defaults]
limits = { memory = "1GiB" }
[agents.a]
model = "echo/x"
limits = { pids = 10 }
[channels.tg]
kind = "telegram"
token = "123456:SECRET"
"#,
    )])
    .expect("only warnings");
    insta::assert_snapshot!(format!(
        "{}\n{}",
        loaded.warnings.render(Style::Plain),
        loaded.warnings.summary()
    ));
}

#[test]
fn long_lines_wide_letters_and_escapes() {
    let text = format!(
        "# {}\nclass = \"{}\u{1b}[31mred\"\n[agents.\"ünï \\u001b[31mcode\"]\n\"日本\" = 1\n",
        "x".repeat(300),
        "long ".repeat(60),
    );
    insta::assert_snapshot!(one(&text));
}

#[test]
fn colour_only_when_asked_for() {
    let found: Diagnostics = parse_files(&[("k.toml", "x = 1")]).expect_err("unknown");
    assert!(found.render(Style::Ansi).contains('\u{1b}'));
    assert!(!found.render(Style::Plain).contains('\u{1b}'));
}

#[test]
fn programs_get_lines_and_columns() {
    let found = parse_files(&[("k.toml", "# é\n[agents.a]\n  \"é\" = 1\n")]).expect_err("wrong");
    let reports: Vec<_> = found
        .reports()
        .into_iter()
        .map(|r| (r.line, r.column))
        .collect();
    assert_eq!(reports, [(Some(2), Some(9)), (Some(3), Some(3))]);
    assert!(
        found.to_string().contains("k.toml:3:3: unknown key `é`"),
        "{found}"
    );
    let json = serde_json::to_value(found.reports()).expect("plain values");
    assert_eq!(json[1]["severity"], "error");
}
