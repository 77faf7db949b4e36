//! `[classes.*]`, and whose class agents are of.

use super::super::{BASE, config, parse_files};
use super::{refuses, warns};
use crate::config::Class;
use crate::dispatch::lanes::{BATCH, Most, Shares};

#[test]
fn what_cannot_be() {
    for (text, title, hint) in [
        (
            "class = \"btach\"",
            "there is no class \"btach\"",
            "did you mean `batch`?",
        ),
        (
            "class = \"research\"\n[classes.other]",
            "there is no class \"research\"",
            "the classes are `batch`, `interactive`, `other`",
        ),
        ("weight = 0", "`weight` is out of range", "from 1 to 10000"),
        (
            "weight = 1.5",
            "`weight` must be a whole number",
            "`weight = 1`",
        ),
        (
            "[classes.\"Big Jobs\"]",
            "\"Big Jobs\" cannot name a class",
            "a-z",
        ),
        (
            "[classes.b]\nmin_share = 25",
            "`min_share` is out of range",
            "from 0 to 1",
        ),
        (
            "[classes.b]\nmax_share = 0",
            "`max_share` is out of range",
            "from 0.0001 to 1",
        ),
        (
            "[classes.b]\nmin_share = 0.5\nmax_share = 0.25",
            "the class \"b\" is guaranteed more than it may have",
            "lower `min_share` (0.5) to `max_share` (0.25) or less",
        ),
        (
            "[classes.b]\nmin_share = 0.5\n[classes.c]\nmin_share = 0.6",
            "the classes are guaranteed more than the whole fleet",
            "at most 1",
        ),
        (
            "[classes.b]\nmin_shares = 0.5",
            "unknown key `min_shares` in `[classes.b]`",
            "did you mean `min_share`?",
        ),
        ("[classes]\nb = 1", "`b` must be a table", "`b = { … }`"),
    ] {
        refuses(&format!("{BASE}{text}\n"), title, hint);
    }
}

#[test]
fn a_guarantee_of_no_turn_is_told() {
    let text = format!("[supervisor]\nmax_concurrent = 3\n{BASE}[classes.b]\nmin_share = 0.25\n");
    warns(&text, "the class \"b\" is guaranteed less than one turn");
    let loaded = super::parse(&text.replace("= 3", "= 4")).unwrap();
    assert_eq!(loaded.warnings.iter().count(), 0);
    // Thirds are a little more than one together.
    let thirds = ["a", "b", "c"].map(|name| format!("[classes.{name}]\nmin_share = 0.3333334\n"));
    config(&format!("{BASE}{}", thirds.concat()));
}

#[test]
fn classes_stand_in_the_main_file() {
    let found = parse_files(&[
        ("/etc/kennel/kennel.toml", BASE),
        ("/etc/kennel/agents.d/b.toml", "[classes.b]\n"),
    ]);
    let found = found.unwrap_err();
    let titles: Vec<_> = found.iter().map(|d| d.title().to_owned()).collect();
    assert_eq!(titles, ["`[classes]` belongs into the main file"]);
}

#[test]
fn two_are_always_there_and_keys_lie_over_them() {
    let found = config(BASE);
    let names: Vec<_> = found.classes.keys().map(String::as_str).collect();
    assert_eq!(names, ["batch", "interactive"]);
    let agent = found.agent("a").unwrap();
    assert_eq!((agent.class.as_str(), agent.weight), ("interactive", 100));
    assert_eq!(found.classes["batch"].shares(BATCH).max, Most::AllButOne);
    assert_eq!(
        found.classes["interactive"].shares("interactive"),
        Shares::default()
    );

    let found = config(&format!(
        "[defaults]\nweight = 7\nclass = \"slow\"\n{BASE}[classes.batch]\nweight = 3\n\
         [classes.slow]\nmin_share = 0.25\nmax_share = 1\n"
    ));
    let agent = found.agent("a").unwrap();
    assert_eq!((agent.class.as_str(), agent.weight), ("slow", 7));
    let batch = found.classes["batch"].shares(BATCH);
    assert_eq!((batch.weight, batch.max), (3, Most::AllButOne));
    let slow = Class {
        weight: 100,
        min_share: 0.25,
        max_share: Some(1.0),
    };
    assert_eq!(found.classes["slow"], slow);
}
