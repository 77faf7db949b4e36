//! The tools as a model uses them: a call in, a text out.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use kennel_shared::protocol::Tool;
use nix::{errno::Errno, sys::signal::killpg, unistd::Pid};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::*;

struct Bench {
    dir: TempDir,
    tools: Toolbox,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("work")).unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        fs::write(dir.path().join("secret"), "the secret").unwrap();
        let tools = Toolbox {
            workspace: dir.path().join("work"),
            spool: Spool::new(dir.path().join("home/output")),
            enabled: Tool::ALL.to_vec(),
            limit: Duration::from_secs(20),
        };
        Self { dir, tools }
    }

    fn work(&self, path: &str) -> PathBuf {
        self.dir.path().join("work").join(path)
    }

    async fn call(&self, name: &str, arguments: &Value) -> String {
        self.tools.run(&call(name, &arguments.to_string())).await
    }

    async fn exec(&self, command: &str) -> String {
        self.call("exec", &json!({ "command": command })).await
    }

    async fn read(&self, path: &str) -> String {
        self.call("read", &json!({ "path": path })).await
    }
}

fn call(name: &str, arguments: &str) -> Call {
    Call {
        id: "abcdefghi".into(),
        name: name.into(),
        arguments: arguments.into(),
        signature: None,
    }
}

/// Waits until no process of the group is left.
async fn gone(group: i32) {
    let begun = Instant::now();
    while killpg(Pid::from_raw(group), None) != Err(Errno::ESRCH) {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "group {group} lives"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

async fn number_in(path: &Path) -> i32 {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if let Some(number) = text.strip_suffix('\n') {
            return number.parse().unwrap();
        }
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{path:?} is not written"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn only_what_is_listed_may_be_used() {
    let mut bench = Bench::new();
    bench.tools.enabled = vec![Tool::Read, Tool::List];
    let told = bench.exec("touch ran").await;
    assert_eq!(told, "error: there is no such tool; there are read, list");
    assert!(!bench.work("ran").exists());
    let names: Vec<_> = bench
        .tools
        .definitions(true)
        .iter()
        .map(|d| d.name)
        .collect();
    assert_eq!(names, ["read", "list"]);
    bench.tools.enabled.clear();
    assert!(bench.tools.definitions(false).is_empty());
    assert_eq!(
        bench.tools.definitions(true).len(),
        5,
        "history speaks of them"
    );
    assert_eq!(bench.read("x").await, "error: there are no tools");
}

#[tokio::test]
async fn files_are_written_read_edited_and_listed() {
    let bench = Bench::new();
    let content = "one\ntwo\nthree\n";
    let write = json!({"path": "a/b/c.txt", "content": content});
    assert_eq!(bench.call("write", &write).await, "wrote 14 bytes");
    assert_eq!(bench.read("a/b/c.txt").await, content);
    let absolute = bench.work("a/b/c.txt");
    assert_eq!(bench.read(absolute.to_str().unwrap()).await, content);

    let edit = json!({"path": "a/b/c.txt", "old": "two\n", "new": "2\n"});
    assert_eq!(bench.call("edit", &edit).await, "replaced it");
    assert_eq!(fs::read_to_string(&absolute).unwrap(), "one\n2\nthree\n");
    assert_eq!(
        bench.call("edit", &edit).await,
        "error: `old` is not in the file"
    );
    let twice = json!({"path": "a/b/c.txt", "old": "e", "new": "E"});
    let told = bench.call("edit", &twice).await;
    assert!(
        told.starts_with("error: `old` is in the file 3 times"),
        "{told}"
    );
    let all = json!({"path": "a/b/c.txt", "old": "e", "new": "E", "all": true});
    assert_eq!(bench.call("edit", &all).await, "replaced it 3 times");

    fs::set_permissions(&absolute, fs::Permissions::from_mode(0o750)).unwrap();
    bench
        .call("write", &json!({"path": "a/b/c.txt", "content": "new"}))
        .await;
    assert_eq!(fs::read_to_string(&absolute).unwrap(), "new");
    let mode = fs::metadata(&absolute).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o750, "it stays a program");

    fs::write(bench.work("a/new\nline"), "").unwrap();
    symlink("c.txt", bench.work("a/b/link")).unwrap();
    let list = |path: &str| json!({ "path": path });
    assert_eq!(bench.call("list", &json!({})).await, "a/\n");
    assert_eq!(
        bench.call("list", &list("a")).await,
        "b/\nnew\u{fffd}line  0\n"
    );
    assert_eq!(
        bench.call("list", &list("a/b")).await,
        "c.txt  3\nlink  (link)\n"
    );
    fs::create_dir(bench.work("empty")).unwrap();
    assert_eq!(
        bench.call("list", &list("empty")).await,
        "[the folder is empty]"
    );
}

#[tokio::test]
async fn no_path_leads_out() {
    let bench = Bench::new();
    let secret = bench.dir.path().join("secret");
    fs::create_dir(bench.work("in")).unwrap();
    fs::write(bench.work("in/file"), "fine").unwrap();
    for (target, name) in [
        ("../secret", "up"),
        (secret.to_str().unwrap(), "absolute"),
        ("..", "parent"),
        ("/", "root"),
        ("/proc/self/root", "magic"),
        ("loop", "loop"),
    ] {
        symlink(target, bench.work(name)).unwrap();
    }
    let paths = [
        "../secret",
        "in/../../secret",
        "./in/./../../secret",
        secret.to_str().unwrap(),
        "/etc/passwd",
        "/proc/self/environ",
        "up",
        "absolute",
        "parent/secret",
        "root/etc/passwd",
        "magic/etc/passwd",
        "in/../parent/secret",
        "loop",
        "..",
        "/",
    ];
    for path in paths {
        let told = bench.read(path).await;
        assert!(told.starts_with("error: "), "{path}: {told}");
        let told = bench
            .call("write", &json!({"path": path, "content": "x"}))
            .await;
        assert!(told.starts_with("error: "), "{path}: {told}");
        let edit = json!({"path": path, "old": "secret", "new": "x"});
        let told = bench.call("edit", &edit).await;
        assert!(told.starts_with("error: "), "{path}: {told}");
        let told = bench.call("list", &json!({ "path": path })).await;
        assert!(told.starts_with("error: "), "{path}: {told}");
    }
    let told = bench
        .call("write", &json!({"path": "parent/new/file", "content": "x"}))
        .await;
    assert!(told.contains("leads out of the workspace"), "{told}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "the secret");
    assert!(!bench.dir.path().join("new").exists());
    // What stays inside is fine.
    assert_eq!(bench.read("in/../in/file").await, "fine");
    symlink("in/file", bench.work("good")).unwrap();
    assert_eq!(bench.read("good").await, "fine");
    // The folder beside it whose name begins alike is another.
    fs::create_dir(bench.dir.path().join("workshop")).unwrap();
    fs::write(bench.dir.path().join("workshop/x"), "other").unwrap();
    let beside = format!(
        "{}shop/x",
        bench.work("").to_str().unwrap().trim_end_matches('/')
    );
    assert!(
        bench
            .read(&beside)
            .await
            .contains("leads out of the workspace")
    );
}

#[tokio::test]
async fn what_is_no_file_is_refused_at_once() {
    let bench = Bench::new();
    nix::unistd::mkfifo(&bench.work("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let cases = [
        ("pipe", "it is not a regular file"),
        (".", "it is a folder"),
        ("nowhere", "there is no such file or folder"),
        ("pipe/x", "a part of the path is not a folder"),
    ];
    for (path, expected) in cases {
        assert_eq!(bench.read(path).await, format!("error: {path}: {expected}"));
        let told = bench
            .call("write", &json!({"path": "pipe", "content": ""}))
            .await;
        assert_eq!(told, "error: pipe: it is not a regular file");
    }
    fs::write(bench.work("binary"), [0xff, 0xfe, 0]).unwrap();
    let edit = json!({"path": "binary", "old": "x", "new": "y"});
    assert_eq!(
        bench.call("edit", &edit).await,
        "error: the file is not text"
    );
    assert_eq!(bench.read("binary").await, "\u{fffd}\u{fffd}\0");
    let long = vec![b'x'; 2 * 1024 * 1024];
    fs::write(bench.work("long"), long).unwrap();
    let edit = json!({"path": "long", "old": "x", "new": "y"});
    assert!(
        bench
            .call("edit", &edit)
            .await
            .contains("longer than 1024 KiB")
    );
    let name = "n".repeat(300);
    assert!(bench.read(&name).await.ends_with("a name is too long"));
}

#[tokio::test]
async fn a_file_is_read_in_parts() {
    let bench = Bench::new();
    let lines: Vec<_> = (1..=5000).map(|n| format!("line {n}\n")).collect();
    let text = lines.concat();
    fs::write(bench.work("f"), &text).unwrap();
    let part = async |offset: u64, limit: u64| {
        let wanted = json!({"path": "f", "offset": offset, "limit": limit});
        bench.call("read", &wanted).await
    };
    let told = part(4998, 2).await;
    assert_eq!(
        told,
        "line 4998\nline 4999\n[there may be more: go on with offset 5000]"
    );
    assert_eq!(part(5000, 5).await, "line 5000\n");
    assert_eq!(
        part(5001, 5).await,
        "[there is no line 5001: the file ends before]"
    );
    assert_eq!(
        part(u64::MAX, u64::MAX).await,
        format!("[there is no line {}: the file ends before]", u64::MAX)
    );
    // Without a limit so much that the result has room for it; following the offsets reads all of it.
    let (mut read, mut offset) = (String::new(), 1);
    loop {
        let told = part(offset, 100_000).await;
        assert!(told.len() < RESULT_MAX_BYTES + 100);
        let Some((lines, note)) = told.split_once("[there may be more: go on with offset ") else {
            read.push_str(&told);
            break;
        };
        read.push_str(lines);
        offset = note.trim_end_matches(']').parse().unwrap();
    }
    assert_eq!(read, text);

    let long = format!("{}\nshort\n", "x".repeat(100_000));
    fs::write(bench.work("f"), long).unwrap();
    let told = part(1, 10).await;
    assert!(told.starts_with("xxx") && told.contains("\n[line 1 was cut: it is too long]\n"));
    assert!(
        told.ends_with("[there may be more: go on with offset 2]"),
        "{}",
        &told[told.len() - 99..]
    );
    assert_eq!(part(2, 10).await, "short\n");
    fs::write(bench.work("f"), "").unwrap();
    assert_eq!(bench.read("f").await, "[the file is empty]");
}

#[tokio::test]
async fn a_command_is_told_with_its_end() {
    let bench = Bench::new();
    let cases = [
        (
            "echo out; echo err >&2; exit 3",
            "[exit status 3]\nout\nerr\n",
        ),
        ("true", "[exit status 0; it wrote nothing]"),
        ("kill -TERM $$", "[ended by SIGTERM; it wrote nothing]"),
        ("cat; echo end", "[exit status 0]\nend\n"),
        ("printf '\\377\\000'", "[exit status 0]\n\u{fffd}\0"),
        (
            "test \"$(ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat | tr -d ' ')\" -eq $$ && echo leads",
            "[exit status 0]\nleads\n",
        ),
    ];
    for (command, expected) in cases {
        let told = bench.exec(command).await;
        assert_eq!(told, expected, "{command}");
    }
    let told = bench.exec("pwd -P").await;
    let work = fs::canonicalize(bench.work("")).unwrap();
    assert_eq!(told, format!("[exit status 0]\n{}\n", work.display()));
    let told = bench.exec("nosuchprogram").await;
    assert!(told.starts_with("[exit status 127]"), "{told}");
    let long = "x".repeat(200_000);
    let told = bench.exec(&long).await;
    assert!(
        told.starts_with("error: the command could not be run:"),
        "{told}"
    );
}

#[tokio::test]
async fn nothing_outlives_its_command() {
    let bench = Bench::new();
    let begun = Instant::now();
    let told = bench
        .exec("sleep 1000 & (trap '' TERM HUP; sleep 1000) & echo $$ > group; echo done")
        .await;
    assert_eq!(told, "[exit status 0]\ndone\n");
    assert!(begun.elapsed() < Duration::from_secs(5));
    gone(number_in(&bench.work("group")).await).await;
}

#[tokio::test]
async fn a_command_whose_time_is_over_ends_with_all_that_it_started() {
    let bench = Bench::new();
    let command = "echo begun; sleep 1000 & echo $$ > group; wait";
    let wanted = json!({"command": command, "timeout": 1});
    let told = bench.call("exec", &wanted).await;
    assert_eq!(told, "[ended: it took longer than 1 s]\nbegun\n");
    gone(number_in(&bench.work("group")).await).await;
    // The model cannot ask for more than there is.
    let mut bench = Bench::new();
    bench.tools.limit = Duration::from_millis(200);
    let told = bench
        .call("exec", &json!({"command": "sleep 1000", "timeout": 9999}))
        .await;
    assert_eq!(
        told,
        "[ended: it took longer than 200 ms; it wrote nothing]"
    );
}

#[tokio::test]
async fn a_command_that_is_given_up_ends_with_all_that_it_started() {
    let bench = Bench::new();
    let group = bench.work("group");
    let command = "sleep 1000 & echo $$ > group; wait";
    tokio::select! {
        told = bench.exec(command) => panic!("{told}"),
        number = number_in(&group) => assert_eq!(killpg(Pid::from_raw(number), None), Ok(())),
    }
    gone(number_in(&group).await).await;
    // And when it is given up while it is being started.
    fs::remove_file(&group).unwrap();
    for _ in 0..20 {
        let told = tokio::time::timeout(Duration::ZERO, bench.exec(command)).await;
        assert!(told.is_err());
    }
    let begun = Instant::now();
    let own = std::process::id().to_string();
    while children(&own)
        .iter()
        .any(|name| name == "sh" || name == "sleep")
    {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            children(&own)
        );
        sleep(Duration::from_millis(5)).await;
    }
}

/// The names of a process' children.
fn children(parent: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            let (before, after) = stat.rsplit_once(") ")?;
            let name = before.split_once('(')?.1;
            (after.split(' ').nth(1)? == parent).then(|| name.to_owned())
        })
        .collect()
}

#[tokio::test]
async fn long_output_can_be_read_on() {
    let bench = Bench::new();
    let told = bench.exec("seq 1 100000").await;
    assert!(told.starts_with("[exit status 0]\n1\n2\n") && told.ends_with("\n100000\n"));
    assert!(told.len() < RESULT_MAX_BYTES + 500);
    let path = told
        .split_once(" are in ")
        .and_then(|(_, rest)| rest.split_once(": read it there"))
        .unwrap()
        .0;
    let wanted = json!({"path": path, "offset": 50_000, "limit": 2});
    let part = bench.call("read", &wanted).await;
    assert!(part.starts_with("50000\n50001\n["), "{part}");
    let told = bench
        .call("write", &json!({"path": path, "content": ""}))
        .await;
    assert!(told.contains("leads out of the workspace"), "{told}");
    let up = json!({"path": format!("{path}/../../../secret")});
    assert!(bench.call("read", &up).await.starts_with("error: "));
}

#[tokio::test]
async fn whoever_floods_is_slowed_and_ended() {
    let bench = Bench::new();
    let wanted = json!({"command": "yes", "timeout": 1});
    let told = bench.call("exec", &wanted).await;
    assert!(
        told.starts_with("[ended: it took longer than 1 s]\ny\ny\n"),
        "{told}"
    );
    let kept = fs::metadata(bench.dir.path().join("home/output/abcdefghi.txt")).unwrap();
    assert!(kept.len() <= 8 * 1024 * 1024);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn hostile_arguments_are_answered(name in prop_oneof!["read", "write", "edit", "list", ".{0,20}"], text in ".{0,100}", path in "[./a-c\\x00]{0,12}") {
        let bench = Bench::new();
        fs::write(bench.work("a"), "a").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let told = bench.tools.run(&call(&name, &text)).await;
            assert!(!told.is_empty());
            let all = json!({"path": path, "content": "x"});
            bench.call("write", &all).await;
            bench.call("list", &json!({ "path": path })).await;
            bench.call("read", &json!({ "path": path })).await;
        });
        let mut names: Vec<_> = fs::read_dir(bench.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        prop_assert_eq!(names, ["home", "secret", "work"]);
    }
}
