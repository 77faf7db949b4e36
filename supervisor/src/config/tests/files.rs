//! Loading from the disk: fragments, limits, files that are not what they should be; and secrets that are not there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::{Config, Diagnostics, Loaded, MAX_FILE_BYTES, Severity, Style};
use super::{BASE, directories, titles};

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        for (name, content) in files {
            let path = folder.path(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
            fs::write(path, content).expect("a file");
        }
        folder
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Result<Loaded, Diagnostics> {
        Config::load(&self.path("kennel.toml"), &directories())
    }

    fn load_error(&self) -> String {
        self.load().expect_err("it is wrong").render(Style::Plain)
    }
}

#[test]
fn fragments_are_read_by_name_and_hidden_ones_are_not() {
    let folder = Folder::with(&[
        ("kennel.toml", BASE.as_bytes()),
        ("agents.d/2.toml", b"[agents.c]\nmodel = \"echo/x\"\n"),
        ("agents.d/1.toml", b"[agents.b]\nmodel = \"echo/x\"\n"),
        ("agents.d/.hidden.toml", b"nonsense"),
        ("agents.d/note.txt", b"nonsense"),
    ]);
    let loaded = folder.load().expect("right");
    let names: Vec<_> = loaded
        .files
        .iter()
        .map(|path| path.file_name().expect("a file").to_owned())
        .collect();
    assert_eq!(names, ["kennel.toml", "1.toml", "2.toml"]);
    assert_eq!(loaded.config.agents.len(), 3);
    assert_eq!(loaded.config.base_dir, folder.0.path());
}

#[test]
fn a_missing_file_names_the_command_that_makes_one() {
    let folder = Folder::with(&[]);
    let error = folder.load_error();
    assert!(
        error.contains("kennel.toml") && error.contains("`kennel init`"),
        "{error}"
    );
}

#[test]
fn files_that_are_no_text_of_a_fair_size_are_refused() {
    let too_long = vec![b'#'; usize::try_from(MAX_FILE_BYTES).expect("small") + 1];
    for (content, words) in [
        (&b"a = \"\xff\""[..], "not UTF-8: byte 5"),
        (&too_long, "larger than 1 MiB"),
    ] {
        let folder = Folder::with(&[("kennel.toml", content)]);
        let error = folder.load_error();
        assert!(error.contains(words), "{error}");
    }
    let largest = vec![b'#'; usize::try_from(MAX_FILE_BYTES).expect("small")];
    Folder::with(&[("kennel.toml", &largest)])
        .load()
        .expect("just fits");
}

#[test]
fn what_is_not_a_file_is_never_waited_for() {
    let folder = Folder::with(&[("kennel.toml", BASE.as_bytes())]);
    fs::create_dir_all(folder.path("agents.d/x.toml")).expect("a folder");
    nix::unistd::mkfifo(
        &folder.path("agents.d/y.toml"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .expect("a fifo");
    let found = folder.load().expect_err("they are no files");
    assert_eq!(
        titles(&found, Severity::Error),
        ["this is not a regular file"; 2]
    );
}

#[test]
fn a_missing_prompt_file_is_found_at_load() {
    let folder = Folder::with(&[(
        "kennel.toml",
        format!("{BASE}system_prompt_file = \"p.md\"\n").as_bytes(),
    )]);
    let error = folder.load_error();
    assert!(
        error.contains("system prompt of \"a\"") && error.contains("p.md"),
        "{error}"
    );
    fs::write(folder.path("p.md"), "You are.").expect("a file");
    let loaded = folder.load().expect("right now");
    let prompt = loaded
        .config
        .agent("a")
        .expect("declared")
        .system_prompt
        .clone();
    assert_eq!(prompt.expect("set").load().expect("readable"), "You are.");
}

#[test]
fn check_finds_missing_and_exposed_secrets_without_showing_one() {
    let folder = Folder::with(&[
        (
            "kennel.toml",
            br#"
            [supervisor.http]
            listen = "127.0.0.1:1"
            token = { env = "KENNEL_TEST_NO_SUCH_VARIABLE" }
            [providers.used]
            kind = "anthropic"
            api_key = { file = "exposed" }
            [providers.unused]
            kind = "anthropic"
            api_key = { file = "nowhere" }
            [agents.a]
            model = "used/x"
            [channels.t]
            kind = "telegram"
            token = { file = "empty" }
            [channels.i]
            kind = "irc"
            server = "localhost"
            nick = "k"
            password = { command = ["/no/such/program"] }
            "#,
        ),
        ("exposed", b"sk-very-secret\n"),
        ("empty", b"\n"),
    ]);
    let mode = |name: &str, mode| {
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(mode)).expect("chmod");
    };
    mode("exposed", 0o640);
    mode("empty", 0o600);
    let loaded = folder.load().expect("right");
    let found = loaded.check_secrets();
    assert_eq!(
        titles(&found, Severity::Error),
        [
            "`supervisor.http.token`: environment variable KENNEL_TEST_NO_SUCH_VARIABLE is not set",
            "`channels.t.token`: the secret is empty",
        ]
    );
    assert_eq!(
        titles(&found, Severity::Warning),
        ["`providers.used.api_key`: others can read this secret's file (mode 640)"]
    );
    let shown = format!("{} {found:?} {loaded:?}", found.render(Style::Plain));
    assert!(!shown.contains("sk-very-secret"));
    mode("exposed", 0o600);
    assert_eq!(loaded.check_secrets().warnings(), 0);
}

#[test]
fn paths_in_messages_are_as_they_were_given() {
    let error =
        Config::load(Path::new("no/such/kennel.toml"), &directories()).expect_err("missing");
    assert!(
        error.to_string().starts_with("no/such/kennel.toml: "),
        "{error}"
    );
}
