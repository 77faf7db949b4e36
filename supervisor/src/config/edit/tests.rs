//! What becomes of files whose caps are changed.

use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

const PROVIDER: &str = "[providers.echo]\nkind = \"echo\"\n";

fn changes(words: &str) -> Vec<LimitChange> {
    let words = words.split_whitespace();
    words
        .map(|word| LimitChange::read(word).expect("a test writes them right"))
        .collect()
}

fn edited(texts: &[&str], words: &str) -> Result<Edit, EditError> {
    let name = |n| match n {
        0 => PathBuf::from("/etc/kennel/kennel.toml"),
        n => PathBuf::from(format!("/etc/kennel/agents.d/{n}.toml")),
    };
    let files = texts.iter().enumerate();
    let files = files
        .map(|(n, text)| (name(n), (*text).to_owned()))
        .collect();
    let base_dir = Path::new("/etc/kennel");
    edit(
        files,
        base_dir,
        &Directories::below(Path::new("/home/u")),
        "a",
        &changes(words),
    )
}

/// The one file of a configuration, from the agents on; before that there is what they need.
fn agents(text: &str, words: &str) -> String {
    let head = format!("{PROVIDER}[defaults]\nmodel = \"echo/x\"\nlimits = {{ pids = 99 }}\n");
    let edit = edited(&[&format!("{head}{text}")], words);
    let edit = edit.unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let after = edit
        .after
        .strip_prefix(&head)
        .expect("what is before stays");
    after.to_owned()
}

#[test]
fn every_layout_keeps_its_form_and_its_comments() {
    for (before, words, after) in [
        // There is no table yet.
        (
            "[agents.a]\n",
            "memory=1GiB",
            "[agents.a]\nlimits = { memory = \"1GiB\" }\n",
        ),
        (
            "[agents.a] # mine\nclass = \"batch\" # fast\n# behind\n[agents.b]\n",
            "memory=1GiB cpu=0.5",
            "[agents.a] # mine\nclass = \"batch\" # fast\nlimits = { memory = \"1GiB\", cpu = 0.5 }\n# behind\n[agents.b]\n",
        ),
        (
            "[agents.a.sandbox]\nread = []\n",
            "cpu=2",
            "\n[agents.a]\nlimits = { cpu = 2 }\n[agents.a.sandbox]\nread = []\n",
        ),
        (
            "[agents]\na = { class = \"batch\" } # short\n",
            "pids=7",
            "[agents]\na = { class = \"batch\", limits = { pids = 7 } } # short\n",
        ),
        // There is one.
        (
            "[agents.a]\nlimits = { memory = \"512 MiB\", pids = 3 } # why\nclass = \"batch\"\n",
            "memory=1.5GiB",
            "[agents.a]\nlimits = { memory = \"1.5GiB\", pids = 3 } # why\nclass = \"batch\"\n",
        ),
        (
            "[agents.a]\nlimits = { memory = \"512MiB\" }\n",
            "cpu_weight=50 io_weight=20",
            "[agents.a]\nlimits = { memory = \"512MiB\", cpu_weight = 50, io_weight = 20 }\n",
        ),
        (
            "[agents.a]\nlimits = {memory=\"512MiB\"}\n",
            "memory=1GiB",
            "[agents.a]\nlimits = {memory=\"1GiB\"}\n",
        ),
        (
            "[agents.a.limits]\n# Reviews are large.\nmemory   = \"1GiB\"   # as of May\ncpu = 1.0\n\n[agents.b]\n",
            "memory=2GiB pids=64",
            "[agents.a.limits]\n# Reviews are large.\nmemory   = \"2GiB\"   # as of May\ncpu = 1.0\npids = 64\n\n[agents.b]\n",
        ),
        (
            "[agents.a]\nlimits.memory = \"1GiB\"\nlimits.cpu = 1\n",
            "memory=2GiB open_files=64",
            "[agents.a]\nlimits.memory = \"2GiB\"\nlimits.cpu = 1\nlimits.open_files = 64\n",
        ),
        // Lifting: the key goes, unless a comment hangs on it or the defaults would come back.
        (
            "[agents.a]\nlimits = { memory = \"1GiB\", cpu = 1 }\n",
            "memory=none",
            "[agents.a]\nlimits = { cpu = 1 }\n",
        ),
        (
            "[agents.a.limits]\ncpu = 1 # enough\nmemory = \"1GiB\"\n",
            "cpu=none memory=none",
            "[agents.a.limits]\ncpu = \"none\" # enough\n",
        ),
        (
            "[agents.a]\n",
            "pids=none",
            "[agents.a]\nlimits = { pids = \"none\" }\n",
        ),
        (
            "[agents.a]\nlimits.pids = 5\n",
            "pids=none",
            "[agents.a]\nlimits.pids = \"none\"\n",
        ),
        // Nothing to do.
        (
            "[agents.a]\n\n# end\n",
            "memory=none",
            "[agents.a]\n\n# end\n",
        ),
        (
            "[agents.a]\nlimits = { memory = \"1GiB\" }\n",
            "memory=1GiB",
            "[agents.a]\nlimits = { memory = \"1GiB\" }\n",
        ),
        // Without a last line end, and with those of another system.
        (
            "[agents.a]\nclass = \"batch\"",
            "cpu=1",
            "[agents.a]\nclass = \"batch\"\nlimits = { cpu = 1 }\n",
        ),
    ] {
        assert_eq!(agents(before, words), after, "{before}\n{words}");
    }
    let windows =
        format!("{PROVIDER}[agents.a] # here\nmodel = \"echo/x\"\n").replace('\n', "\r\n");
    let edit = edited(&[&windows], "cpu=1").expect("right");
    assert_eq!(edit.after, format!("{windows}limits = {{ cpu = 1 }}\r\n"));
}

#[test]
fn the_file_that_declares_the_agent_is_the_one() {
    let main = format!("{PROVIDER}[defaults]\nmodel = \"echo/x\"\n[agents.b]\n");
    let one = "[agents.c]\n";
    let two = "# our own\n[agents.a]\n";
    let edit = edited(&[&main, one, two], "memory=1GiB").expect("right");
    assert_eq!(edit.path(), Path::new("/etc/kennel/agents.d/2.toml"));
    assert_eq!(
        edit.after,
        "# our own\n[agents.a]\nlimits = { memory = \"1GiB\" }\n"
    );
    let said: Vec<_> = edit.changes().iter().map(ToString::to_string).collect();
    assert_eq!(said, ["limits.memory = \"1GiB\""]);
}

#[test]
fn what_changes_is_said() {
    let text = format!(
        "{PROVIDER}[agents.a]\nmodel = \"echo/x\"\nlimits = {{ memory = \"1GiB\", cpu = 1, pids = 3 }}\n"
    );
    let edit = edited(&[&text], "memory=2GiB cpu=none pids=3 open_files=99").expect("right");
    let said: Vec<_> = edit.changes().iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "limits.memory: \"1GiB\" -> \"2GiB\"",
            "limits.cpu = 1 removed",
            "limits.open_files = 99"
        ]
    );
}

#[test]
fn what_would_be_wrong_is_refused() {
    let agent = "[agents.a]\nmodel = \"echo/x\"\nlimits = { memory_high = \"1GiB\" }\n";
    let fleet = format!("[supervisor.fleet]\nmemory = \"2GiB\"\n{PROVIDER}{agent}");
    let refused = |text: &str, words: &str| match edited(&[text], words) {
        Err(EditError::Refused(found)) => found.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(refused(&fleet, "memory=3GiB").contains("more than the fleet's 2GiB"));
    assert!(refused(&fleet, "memory=512MiB").contains("slowed down only beyond its end"));
    assert!(matches!(
        edited(&["][", agent], "cpu=1"),
        Err(EditError::Broken(_))
    ));
    let other = format!("{PROVIDER}[agents.b]\nmodel = \"echo/x\"\n");
    assert!(matches!(edited(&[&other], "cpu=1"), Err(EditError::Undeclared(id)) if id == "a"));
}

#[test]
fn assignments_are_read_with_advice() {
    let read = |text: &str| LimitChange::read(text);
    let cpu = read(" cpu = 0.5 ").expect("right");
    assert_eq!((cpu.cap, cpu.amount), (Cap::Cpu, Some(Amount::Cpus(0.5))));
    assert_eq!(read("pids=none").expect("right").amount, None);
    for (text, advice) in [
        ("memory", "cap=value"),
        ("cpus=1", "did you mean `cpu`?"),
        ("x=1", "the caps are memory, memory_high, cpu"),
        ("memory=1G", "\"1GiB\" (powers of 1024)"),
        ("memory=12", "`memory = \"12MiB\"`"),
        ("pids=", "from 1 to 4194304"),
        ("cpu=lots", "from 0.01 to 4096"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(advice), "{error}");
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        let text = format!("{PROVIDER}[agents.a] # keep\nmodel = \"echo/x\"\n");
        fs::write(folder.main(), text).expect("a file");
        folder
    }

    fn main(&self) -> PathBuf {
        self.0.path().join("kennel.toml")
    }

    fn edit(&self, file: &Path) -> Edit {
        let directories = Directories::below(self.0.path());
        Edit::limits(file, &directories, "a", &changes("memory=1GiB")).expect("right")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names
            .map(|name| name.into_string().expect("text"))
            .collect();
        names.sort();
        names
    }
}

#[test]
fn the_file_is_replaced_and_keeps_its_mode() {
    let folder = Folder::new();
    fs::set_permissions(folder.main(), fs::Permissions::from_mode(0o640)).expect("chmod");
    let before = fs::metadata(folder.main()).expect("there");
    folder.edit(&folder.main()).write().expect("written");
    let after = fs::metadata(folder.main()).expect("there");
    assert_ne!(before.ino(), after.ino(), "replaced, not overwritten");
    assert_eq!(after.mode() & 0o7777, 0o640);
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    let text = fs::read_to_string(folder.main()).expect("readable");
    assert!(
        text.ends_with("[agents.a] # keep\nmodel = \"echo/x\"\nlimits = { memory = \"1GiB\" }\n")
    );
    assert_eq!(folder.names(), ["kennel.toml"]);
    // Once more changes nothing, not even the file's identity.
    let again = folder.edit(&folder.main());
    assert!(again.changes().is_empty());
    again.write().expect("nothing to do");
    assert_eq!(
        fs::metadata(folder.main()).expect("there").ino(),
        after.ino()
    );
}

#[test]
fn a_link_stays_a_link() {
    let folder = Folder::new();
    let link = folder.0.path().join("link.toml");
    symlink("kennel.toml", &link).expect("a link");
    folder.edit(&link).write().expect("written");
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    let text = fs::read_to_string(folder.main()).expect("readable");
    assert!(text.contains("1GiB"), "{text}");
}

#[test]
fn what_somebody_else_wrote_meanwhile_stays() {
    let folder = Folder::new();
    let edit = folder.edit(&folder.main());
    fs::write(folder.main(), "# theirs\n").expect("a file");
    assert!(matches!(edit.write(), Err(EditError::Changed(_))));
    assert_eq!(
        fs::read_to_string(folder.main()).expect("readable"),
        "# theirs\n"
    );
    assert_eq!(folder.names(), ["kennel.toml"]);
}

/// One key of `limits`, as somebody may write it.
fn key() -> impl Strategy<Value = (Cap, &'static str)> {
    prop::sample::select(vec![
        (Cap::Memory, "\"1GiB\""),
        (Cap::Memory, "'512 MiB'"),
        (Cap::MemoryHigh, "\"64MiB\""),
        (Cap::Cpu, "1"),
        (Cap::Cpu, "0.5"),
        (Cap::CpuWeight, "50"),
        (Cap::Pids, "0x40"),
        (Cap::Pids, "\"none\""),
        (Cap::OpenFiles, "1_024"),
        (Cap::IoWeight, "10"),
    ])
}

fn assignment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "memory=2GiB",
        "memory=1GiB",
        "memory=none",
        "memory_high=32MiB",
        "memory_high=none",
        "cpu=2",
        "cpu=0.5",
        "cpu=none",
        "cpu_weight=7",
        "cpu_weight=none",
        "pids=64",
        "pids=9",
        "pids=none",
        "open_files=1024",
        "open_files=none",
        "io_weight=1",
        "io_weight=none",
    ])
}

/// A table of limits of the agent in one of the forms that TOML has, with comments where they can be.
fn layout(form: u8, keys: &[(Cap, &str)], comments: bool) -> String {
    let note = |n: usize| {
        if comments {
            format!(" # note {n}")
        } else {
            String::new()
        }
    };
    let above = |n: usize| {
        if comments {
            format!("# above {n}\n")
        } else {
            String::new()
        }
    };
    let lines = |prefix: &str| {
        let lines = keys
            .iter()
            .enumerate()
            .map(|(n, (cap, value))| format!("{}{prefix}{cap} = {value}{}\n", above(n), note(n)));
        lines.collect::<Vec<_>>().concat()
    };
    let pairs: Vec<_> = keys
        .iter()
        .map(|(cap, value)| format!("{cap} = {value}"))
        .collect();
    let pairs = pairs.join(", ");
    let end = note(99);
    match form {
        0 => format!("[agents.a]{end}\n"),
        1 => format!("[agents.a]\nlimits = {{ {pairs} }}{end}\n"),
        2 => format!("[agents.a]\nlimits={{{pairs}}}{end}\nclass = \"batch\"\n"),
        3 => format!("[agents.a.limits]{end}\n{}", lines("")),
        4 => format!("[agents.a]{end}\n{}class = \"batch\"\n", lines("limits.")),
        5 => format!("[agents]\na = {{ class = \"batch\", limits = {{ {pairs} }} }}{end}\n"),
        6 => format!("[agents]\n{}a.class = \"batch\"{end}\n", lines("a.limits.")),
        7 => format!(
            "[agents.a.context]{end}\nmax_messages = 7\n[agents.a.limits]\n{}",
            lines("")
        ),
        _ => format!(
            "[agents]{end}\n[agents.a]\nclass = \"batch\"\n[agents.a.limits]\n{}\n",
            lines("")
        ),
    }
}

proptest! {
    /// Whatever the layout: the agent has the caps, nothing else has changed, and every comment is still there.
    #[test]
    fn only_the_caps_change(
        form in 0u8..9,
        keys in prop::collection::vec(key(), 0..5),
        words in prop::collection::vec(assignment(), 1..4),
        comments in any::<bool>(),
        capped in any::<bool>(),
        behind in any::<bool>(),
    ) {
        let mut keys = keys;
        let mut seen = Vec::new();
        keys.retain(|(cap, _)| !seen.contains(cap) && { seen.push(*cap); true });
        let mut words = words;
        let mut seen = Vec::new();
        words.retain(|word| {
            let cap = word.split('=').next();
            !seen.contains(&cap) && { seen.push(cap); true }
        });
        let defaults = if capped { "limits = { pids = 5, memory = \"1GiB\" } # theirs\n" } else { "" };
        let tail = if behind { "\n# tail\n[channels] # none\n" } else { "" };
        let text = format!(
            "# head\n{PROVIDER}[defaults]\nmodel = \"echo/x\"\n{defaults}\n{}{tail}",
            layout(form, &keys, comments)
        );
        let files = [(PathBuf::from("/etc/kennel/kennel.toml"), text.clone())];
        let directories = Directories::below(Path::new("/home/u"));
        let before = Config::parse(&files, &directories).expect("a layout is right").config;
        let mut wanted = before;
        let agent = wanted.agents.get_mut("a").expect("declared");
        for change in changes(&words.join(" ")) {
            agent.limits.set(change.cap, change.amount);
        }
        // A soft cap above the hard one is refused, and the only thing that is.
        if agent.limits.fault().is_some() {
            let refused = edited(&[&text], &words.join(" "));
            prop_assert!(matches!(refused, Err(EditError::Refused(_))), "{refused:?}");
            return Ok(());
        }

        let edit = edited(&[&text], &words.join(" "));
        let edit = match edit {
            Ok(edit) => edit,
            Err(error) => return Err(TestCaseError::fail(format!("{error:?}\n{text}\n{words:?}"))),
        };
        let files = [(PathBuf::from("/etc/kennel/kennel.toml"), edit.after.clone())];
        let found = Config::parse(&files, &directories).expect("and right again").config;
        prop_assert_eq!(&found, &wanted, "{}\n{:?}\n{}", text, words, edit.after);
        for comment in text.lines().filter_map(|line| line.split_once('#')) {
            prop_assert!(edit.after.contains(comment.1), "lost #{}:\n{}\n{}", comment.1, text, edit.after);
        }
        // Lines that say nothing about caps are there, in their order.
        let mut rest = edit.after.lines();
        for line in text.lines().filter(|line| !line.contains("limits") && !line.contains(" = ")) {
            prop_assert!(rest.any(|there| there == line), "lost {line:?}:\n{text}\n{}", edit.after);
        }
        prop_assert_eq!(edit.changes().is_empty(), edit.after == text);
    }
}
