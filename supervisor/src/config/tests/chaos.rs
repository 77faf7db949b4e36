//! Whatever the text is: findings or a configuration, never a panic, and findings that can be drawn.

use std::path::PathBuf;

use proptest::prelude::*;

use super::super::{Config, Severity, Style, example_file};
use super::directories;

/// Reads, draws, and checks what must hold of every answer.
fn survive(texts: &[&str]) {
    let files: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(n, text)| (PathBuf::from(format!("{n}.toml")), (*text).to_owned()))
        .collect();
    let found = match Config::parse(&files, &directories()) {
        Ok(loaded) => {
            assert_eq!(loaded.warnings.errors(), 0);
            loaded.check_policy_of_every_agent();
            loaded.warnings
        }
        Err(found) => {
            assert!(found.errors() > 0, "refused without a reason");
            found
        }
    };
    for report in found.reports() {
        let missing = report.severity == Severity::Error && report.hint.is_none();
        let syntax = report.message.starts_with("this is not TOML");
        assert!(!missing || syntax, "no hint: {report:?}");
    }
    let drawn = found.render(Style::Plain);
    assert!(
        !drawn.contains('\u{1b}'),
        "an escape of the user's reaches the terminal"
    );
    assert_eq!(drawn.is_empty(), found.is_empty());
}

impl super::Loaded {
    /// What the supervisor relies on without looking again.
    fn check_policy_of_every_agent(&self) {
        for agent in self.config.agents.values() {
            assert!(self.config.provider_of(agent).is_some());
            assert!(super::super::intensity::cancelled(&agent.restart).is_none());
            assert!(agent.timeouts.watchdog > agent.timeouts.heartbeat_interval);
            assert!(agent.max_concurrent > 0 && agent.max_queued > 0);
        }
        for binding in &self.config.bindings {
            assert!(self.config.agents.contains_key(&binding.agent));
            assert!(self.config.channels.contains_key(&binding.channel));
        }
        for schedule in self.config.schedules.values() {
            assert!(self.config.agents.contains_key(&schedule.agent));
            assert_eq!(schedule.session.agent(), schedule.agent);
            let tell = schedule.tell.as_ref();
            assert!(tell.is_none_or(|tell| self.config.channels.contains_key(&tell.channel)));
        }
        if let Some(http) = &self.config.supervisor.http {
            assert!(http.token.is_some() || http.listen.ip().is_loopback());
        }
    }
}

/// Pieces that configurations are made of, and some that they are not.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "[supervisor]\n",
            "[defaults]\n",
            "[agents.a]\n",
            "[agents.b]\n",
            "[agents]\n",
            "[providers.p]\n",
            "[channels.c]\n",
            "[[bindings]]\n",
            "[[schedules]]\n",
            "name = 's'\n",
            "cron = '* * * * *'\n",
            "every = '1m'\n",
            "prompt = 'p'\n",
            "tell = { channel = 'c', peer = 1 }\n",
            "[supervisor.http]\n",
            "[",
            "]\n",
            "{",
            "}",
            "\n",
            "\r\n",
            "\t",
            "=",
            ".",
            ",",
            "\"",
            "'''",
            "\"\"\"",
            "#",
            "kind = \"echo\"\n",
            "kind = \"irc\"\n",
            "kind = \"telegram\"\n",
            "model = \"p/x\"\n",
            "token = \"t\"\n",
            "token = { env = \"T\" }\n",
            "api_key = { file = \"k\" }\n",
            "channel = \"c\"\n",
            "agent = \"a\"\n",
            "listen = \"0.0.0.0:1\"\n",
            "backoff = { max = \"1h\", initial = \"59m\" }\n",
            "window = \"1s\"\n",
            "limits = { memory = \"1GiB\" }\n",
            "allow_from = [1, \"@a\", \"*\"]\n",
            "watchdog = \"1ms\"\n",
            "a.b.c = 1\n",
            "1979-05-27",
            "\u{feff}",
            "\u{1b}[31m",
            "é",
            "\u{202e}",
            "\0",
            "1e999",
            "18446744073709551615s1000ms",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
        "[a-z_]{1,12} = (\"[^\"]{0,12}\"|[0-9]{1,22}|\\[[0-9, ]*\\])\n",
    ]
}

proptest! {
    #[test]
    fn any_text(text in any::<String>()) {
        survive(&[&text]);
    }

    #[test]
    fn any_pieces(main in prop::collection::vec(piece(), 0..24), other in prop::collection::vec(piece(), 0..8)) {
        survive(&[&main.concat(), &other.concat()]);
    }

    /// A right text with one stretch of it replaced.
    #[test]
    fn the_example_changed(
        at in 0usize..10_000,
        length in 0usize..40,
        by in piece(),
    ) {
        let text = example_file();
        let start = text.floor_char_boundary(at % text.len());
        let end = text.floor_char_boundary((start + length).min(text.len()));
        survive(&[&format!("{}{by}{}", &text[..start], &text[end..])]);
    }

    /// No secret is drawn, whatever is wrong around it.
    #[test]
    fn a_secret_in_the_open_is_never_drawn(
        key in prop::sample::select(vec!["token", "api_key", "password", "toekn", "tokne"]),
        before in piece(),
        after in piece(),
    ) {
        const SECRET: &str = "hunter2hunter2";
        let text = format!(
            "[channels.c]\nkind = \"telegram\"\n{before}\n{key} = \"{SECRET}\"\n{after}\n"
        );
        if let Err(found) = Config::parse(&[(PathBuf::from("k.toml"), text)], &directories()) {
            let drawn = format!("{}{found}{found:?}", found.render(Style::Plain));
            prop_assert!(!drawn.contains(SECRET), "{drawn}");
        }
    }
}

#[test]
fn a_flood_of_mistakes_is_counted_and_not_drawn() {
    use std::fmt::Write as _;
    let mut text = String::new();
    for n in 0..20_000 {
        writeln!(text, "k{n} = 1").expect("a String takes everything");
    }
    let found = Config::parse(&[(PathBuf::from("k.toml"), text)], &directories())
        .expect_err("nothing but unknown keys");
    assert_eq!(found.iter().count(), 256);
    assert!(
        found.summary().contains("more not shown"),
        "{}",
        found.summary()
    );
    assert!(found.render(Style::Plain).contains("… and "));
}
