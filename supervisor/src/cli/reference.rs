//! `docs/cli.md`, made from the help texts. The test compares; `UPDATE_DOCS=1` writes.

use std::{fmt::Write as _, fs, path::Path};

use clap::{Command, CommandFactory as _};

use super::args::Args;

const HEAD: &str = "\
# The command line

`kennel` runs the supervisor (`kennel up`) and talks to the one that runs. This page is made from the help texts:
`UPDATE_DOCS=1 cargo test -p kennel reference` writes it anew.

A command finds its supervisor by `--socket`, else `$KENNEL_SOCKET`, else by the `runtime_dir` of the configuration, else in
the default one. The configuration is `--config`, else `$KENNEL_CONFIG`, else the first that exists of `./kennel.toml`,
`$XDG_CONFIG_HOME/kennel/kennel.toml` (`~/.config`) and `/etc/kennel/kennel.toml`.

What was asked for goes to standard output, everything else to standard error; `--quiet` leaves only the errors there.
Colour is used on a terminal only, unless `--color` or `NO_COLOR` says otherwise. Text from models and agents is shown
without terminal controls on a terminal, and passed on as it is elsewhere.
";

fn reference() -> String {
    let mut root = Args::command()
        .term_width(100)
        .disable_help_subcommand(true);
    root.build();
    let mut text = HEAD.to_owned();
    section(&mut text, "kennel", root.clone());
    sections(&mut text, "kennel", &root);
    text
}

/// Of each command, and of those below it.
fn sections(text: &mut String, above: &str, command: &Command) {
    let told = |c: &&Command| !c.is_hide_set() && c.get_name() != "help";
    for command in command.get_subcommands().filter(told) {
        // The global options are told once, above.
        let told = command.clone().mut_args(|arg| {
            let hide = arg.is_global_set() || arg.get_id() == "help";
            arg.hide(hide)
        });
        let name = format!("{above} {}", command.get_name());
        section(text, &name, told);
        sections(text, &name, command);
    }
}

fn section(text: &mut String, name: &str, mut command: Command) {
    let help = command.render_long_help().to_string();
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    let help = help.join("\n");
    write!(text, "\n## `{name}`\n\n```text\n{}\n```\n", help.trim_end())
        .expect("a string takes everything");
}

#[test]
fn docs_are_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let expected = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/cli.md is stale: run this test with UPDATE_DOCS=1"
    );
}

#[test]
fn the_arguments_are_consistent() {
    Args::command().debug_assert();
}
