//! Sessions of a real fleet, through the command line: read, exported, searched and deleted, with the agents
//! running and without a supervisor, and at any length.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use kennel_tests::harness::{Kennel, eventually, peak_memory_bytes, program};
use nix::sys::signal::Signal;
use rusqlite::{Connection, params};
use serde_json::{Value, json};

const MIB: u64 = 1024 * 1024;

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    fn lines(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        let parse = |line| serde_json::from_str(line).expect("a JSON object a line");
        self.stdout.lines().map(parse).collect()
    }
}

/// `kennel sessions …`
fn sessions(kennel: &Kennel, args: &[&str]) -> Said {
    let output = kennel
        .command()
        .env("KENNEL_AGENT_HOST", program("kennel-agent-host"))
        .arg("sessions")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("kennel can be started");
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

fn key(agent: &str, name: &str) -> String {
    format!("agent:{agent}:api:{name}")
}

/// Where an agent keeps its sessions.
fn store(kennel: &Kennel, agent: &str) -> PathBuf {
    let mut found = Vec::new();
    let mut folders = vec![kennel.root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.ends_with(format!("{agent}/store.db")) {
                found.push(path);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    found.pop().expect("the agent has a store")
}

async fn say(kennel: &Kennel, agent: &str, name: &str, text: &str) {
    let answer = kennel.client().send(agent, text, Some(name)).await;
    assert_eq!(answer.reply(), text);
}

#[tokio::test]
async fn sessions_are_read_with_and_without_a_supervisor() {
    let kennel = Kennel::builder().agents(&["one", "two"]).start().await;
    for text in ["first", "second", "third"] {
        say(&kennel, "one", "main", text).await;
    }
    say(&kennel, "two", "other", "something else").await;

    let check = |kennel: &Kennel| {
        let listed = sessions(kennel, &["list", "--json"]).lines();
        let mut keys: Vec<_> = listed.iter().map(|one| one["session"].clone()).collect();
        keys.sort_by_key(ToString::to_string);
        assert_eq!(keys, [key("one", "main"), key("two", "other")]);
        assert_eq!(
            sessions(kennel, &["list", "two", "--json"]).lines().len(),
            1
        );

        let main = key("one", "main");
        let shown = sessions(kennel, &["show", &main, "-n", "3", "--json"]).lines();
        let texts: Vec<_> = shown.iter().map(|one| one["text"].clone()).collect();
        assert_eq!(texts[1..], ["second", "third", "third"]);
        assert_eq!(
            (&shown[0]["type"], &shown[0]["omitted"]),
            (&json!("more"), &json!(3))
        );
        let before = shown[0]["before"].to_string();
        let earlier = sessions(kennel, &["show", &main, "--before", &before, "--json"]).lines();
        assert_eq!(earlier.len(), 3);
        // As a person reads it, and by its short name.
        let said = sessions(kennel, &["show", "one:api:main"]);
        assert!(said.stdout.contains(" user 2") && said.stdout.contains("\nthird\n"));

        let exported = sessions(kennel, &["export", &main]).lines();
        assert_eq!(
            (&exported[0]["type"], &exported[0]["format"]),
            (&json!("export"), &json!(1))
        );
        assert_eq!(
            exported.last().unwrap(),
            &json!({"type": "end", "messages": 6})
        );
        let turns = exported
            .iter()
            .filter(|line| line["type"] == "turn")
            .count();
        assert_eq!(turns, 3);

        let found = sessions(kennel, &["search", "one", "SECOND", "--json"]).lines();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0]["session"], main);
    };
    check(&kennel);

    let file = kennel.root().join("main.jsonl");
    let path = file.to_str().unwrap();
    assert_eq!(
        sessions(&kennel, &["export", "one:api:main", "-o", path]).code,
        Some(0)
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 11);
    let again = sessions(&kennel, &["export", "one:api:main", "-o", path]);
    assert_eq!(again.code, Some(1), "a file is not overwritten");

    let absent = sessions(&kennel, &["show", "one:api:none"]);
    assert_eq!(absent.code, Some(1));
    assert!(
        absent.stderr.contains("no such session"),
        "{}",
        absent.stderr
    );
    assert_eq!(sessions(&kennel, &["list", "three"]).code, Some(4));

    let mut kennel = kennel;
    let stopped = kennel.command().arg("shutdown").output().unwrap();
    assert!(stopped.status.success());
    kennel.until_down().await;
    check(&kennel);
    let deleted = sessions(&kennel, &["delete", "two:api:other", "--json"]).lines();
    assert_eq!(deleted[0]["messages"], 2);
    assert_eq!(
        sessions(&kennel, &["list", "two", "--json"]).lines(),
        [] as [Value; 0]
    );
    kennel.assert_clean();
}

#[tokio::test]
async fn a_running_agent_deletes_its_session_but_not_amid_a_turn() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    say(&kennel, "one", "main", "a secret").await;
    let pid = kennel.agent_pid("one").await;
    let mut stream = kennel.client().stream("one", "!hang", Some("main")).await;
    stream.until("started").await;

    let refused = sessions(&kennel, &["delete", "one:api:main"]);
    assert_eq!(refused.code, Some(6), "{}", refused.stderr);
    assert!(refused.stderr.contains("a turn of"), "{}", refused.stderr);
    // Whoever asked leaves, and so its turn ends.
    drop(stream);
    let said = eventually("the turn has ended", async || {
        let said = sessions(&kennel, &["delete", "one:api:main"]);
        (said.code == Some(0)).then_some(said)
    })
    .await;
    assert_eq!(
        said.stdout,
        format!("{}: deleted, 2 messages\n", key("one", "main"))
    );
    assert_eq!(kennel.agent_pid("one").await, pid);
    let gone = sessions(&kennel, &["delete", "one:api:main"]);
    assert_eq!(gone.code, Some(1), "{}", gone.stderr);
    say(&kennel, "one", "main", "a new beginning").await;
    let found = sessions(&kennel, &["search", "one", "secret", "--json"]);
    assert_eq!(found.lines(), [] as [Value; 0]);

    let of_another = kennel
        .client()
        .delete("/api/v1/agents/one/sessions?session=agent:two:a")
        .await
        .unwrap();
    assert_eq!(
        (of_another.status, of_another.error_code()),
        (400, "invalid_request")
    );
    kennel.shut_down().await;
}

/// As it, so that no file of root's is left where the agent cannot write it, and nothing is read with root's rights.
#[tokio::test]
async fn the_store_of_an_agent_with_a_user_of_its_own_is_read_as_that_user() {
    use std::os::unix::fs::MetadataExt as _;

    const USER: u32 = 61_234;
    assert!(nix::unistd::geteuid().is_root(), "this test is root's");
    let mut kennel = Kennel::builder()
        .passable()
        .agent("own", &[("user", "'61234:61235'")])
        .start()
        .await;
    say(&kennel, "own", "main", "mine").await;
    kennel.kill("own", Signal::SIGKILL).await;
    kennel.until_reborn("own", 1).await;
    let stopped = kennel.command().arg("shutdown").output().unwrap();
    assert!(stopped.status.success());
    kennel.until_down().await;

    let found = sessions(&kennel, &["search", "own", "MINE", "--json"]).lines();
    assert_eq!(found.len(), 2);
    let folder = store(&kennel, "own").parent().unwrap().to_owned();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().uid(), USER, "{entry:?}");
    }
    let deleted = sessions(&kennel, &["delete", "own:api:main", "--json"]).lines();
    assert_eq!(deleted[0]["messages"], 2);
    kennel.assert_clean();
}

/// Puts so many MiB of messages behind those of a session.
fn fill(store: &std::path::Path, session: &str, mib: u64) -> u64 {
    const EACH: u64 = 4096;
    let mut connection = Connection::open(store).unwrap();
    connection
        .pragma_update(None, "synchronous", "OFF")
        .unwrap();
    let transaction = connection.transaction().unwrap();
    let messages = mib * MIB / EACH;
    transaction
        .execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO messages (session, seq, role, content, turn, created_ms)
             SELECT s.id, (SELECT max(seq) FROM messages WHERE session = s.id) + i, (i + 1) % 2,
                 hex(zeroblob(?2 / 2)), printf('%032x', i / 2), 0
             FROM n, sessions s WHERE s.key = ?3",
            params![messages.cast_signed(), EACH.cast_signed(), session],
        )
        .unwrap();
    transaction.commit().unwrap();
    connection.close().unwrap();
    messages
}

/// The median of the agent's own account of its turns.
async fn turns(kennel: &Kennel, agent: &str) -> Duration {
    let mut all = Vec::new();
    for _ in 0..40 {
        let body = json!({"text": "And then?", "session": "main"});
        let path = format!("/api/v1/agents/{agent}/turns");
        let answer = kennel.client().post(&path, &body).await.unwrap();
        all.push(answer.body["timing"]["total_us"].as_u64().unwrap());
    }
    all.sort_unstable();
    Duration::from_micros(all[all.len() / 2])
}

/// 300 MiB of it.
#[tokio::test]
async fn alone_a_long_session_costs_no_more_than_a_short_one() {
    const LENGTH: u64 = 300;
    let kennel = Kennel::builder().agents(&["long", "short"]).start().await;
    for agent in ["long", "short"] {
        say(&kennel, agent, "main", "hello").await;
    }
    kennel.order("long", "stop").await;
    let session = key("long", "main");
    let store = store(&kennel, "long");
    let messages = fill(&store, &session, LENGTH);
    kennel.order("long", "start").await;
    kennel.until_state("long", "ready").await;

    let (mut long, mut short) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        long = long.min(turns(&kennel, "long").await);
        short = short.min(turns(&kennel, "short").await);
    }
    assert!(
        long < short * 2 + Duration::from_millis(1),
        "{long:?}, {short:?}"
    );

    // A process, a cage and a few reads: not what 300 MiB take.
    for args in [
        &["list", "long"][..],
        &["show", &session],
        &["show", &session, "--before", "100000000"],
    ] {
        let began = Instant::now();
        assert_eq!(sessions(&kennel, args).code, Some(0));
        let took = began.elapsed();
        assert!(took < Duration::from_secs(2), "{args:?} took {took:?}");
    }

    let exported = export(&store, &session);
    assert!(exported.bytes > LENGTH * MIB, "{}", exported.bytes);
    assert!(exported.messages > messages, "{}", exported.messages);
    let peak = exported.peak / MIB;
    assert!(peak < 40, "{peak} MiB to export {LENGTH}");

    // While it is removed, turns go on as ever.
    let deleted = sessions(&kennel, &["delete", &session]);
    assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    let meanwhile = turns(&kennel, "long").await;
    assert!(
        meanwhile < short * 4 + Duration::from_millis(20),
        "{meanwhile:?}, {short:?}"
    );
    kennel.shut_down().await;
}

struct Exported {
    bytes: u64,
    messages: u64,
    /// The most memory that the exporting process had, close to its end.
    peak: u64,
}

/// By the program that `kennel sessions export` runs, so that it can be looked at before it has ended.
fn export(store: &std::path::Path, session: &str) -> Exported {
    let request = json!({
        "agent": "long",
        "state_dir": store.parent().unwrap(),
        "user": null,
        "ask": {"export": {"session": session}},
    });
    let mut child = Command::new(program("kennel-agent-host"))
        .arg("sessions")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), &request).unwrap();
    let mut output = BufReader::with_capacity(1 << 16, child.stdout.take().unwrap());
    let size = std::fs::metadata(store).unwrap().len();
    // Nearly all of it; the rest is more than a pipe holds.
    let mut bytes = std::io::copy(
        &mut output.by_ref().take(size / 10 * 8),
        &mut std::io::sink(),
    );
    let peak = peak_memory_bytes(i32::try_from(child.id()).unwrap());
    let mut last = String::new();
    loop {
        let mut line = Vec::new();
        let read = output.read_until(b'\n', &mut line).unwrap();
        if read == 0 {
            break;
        }
        *bytes.as_mut().unwrap() += read as u64;
        last = String::from_utf8(line).unwrap();
    }
    assert!(child.wait().unwrap().success());
    let end: Value = serde_json::from_str(&last).expect("the last line");
    assert_eq!(end["type"], "end");
    Exported {
        bytes: bytes.unwrap(),
        messages: end["messages"].as_u64().unwrap(),
        peak,
    }
}
