//! The cage, tried by code that means ill: each act is denied inside and succeeds outside.
//!
//! For root, on a kernel with all of it: what is missing fails these tests, so that nobody takes them
//! for passed.

mod rig;
mod whole;

use std::{
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            net::{SocketAddr, UnixListener},
            process::ExitStatusExt as _,
        },
    },
    path::Path,
    process::{Command, Stdio},
};

use kennel_shared::{
    cage::{CageOutcome, Network, UserIds},
    codec,
    ids::Generation,
    protocol::{Hello, LinkId, PROTOCOL, Position},
    secret::Token,
};
use kennel_tests::harness::{Kennel, Process, eventually, program};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use self::rig::{Caged, MISBEHAVING, Results, open, outside, prepare, results};

/// The names of errors by which the kernel says no.
const DENIED: [&str; 2] = ["EACCES", "EPERM"];

fn assert_done(results: &Results, names: &[&str], place: &str) {
    for name in names {
        assert_eq!(results[*name], "done", "{name}, {place}: {results:#?}");
    }
}

fn assert_denied(results: &Results, names: &[&str]) {
    for name in names {
        let code = results[*name].as_str().unwrap_or_default();
        assert!(DENIED.contains(&code), "{name}, inside: {results:#?}");
    }
}

/// The names of the acts of a plan.
fn names(plan: &Value) -> Vec<&str> {
    let acts = plan.as_array().unwrap().iter();
    acts.map(|act| act[0].as_str().unwrap()).collect()
}

#[tokio::test]
async fn hostile_code_gets_nowhere() {
    let kennel = Kennel::builder()
        .agents(&["sibling"])
        .agent("bad-hostile", &[("autostart", "false")])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    assert_eq!(kennel.send("sibling", "hello").await.reply(), "hello");
    let sibling = kennel.agent_pid("sibling").await;
    let agents = kennel.root().join("state/agents");
    let (home, theirs) = (agents.join("bad-hostile"), agents.join("sibling"));
    let abstract_name = format!("kennel-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(abstract_name.as_bytes()).unwrap();
    let _abstract = UnixListener::bind_addr(&address).unwrap();
    let proc = |pid: i32, file: &str| format!("/proc/{pid}/{file}");
    let plan = json!([
        ["the other's store", "read", theirs.join("store.db")],
        [
            "the other's store, to write",
            "write",
            theirs.join("store.db")
        ],
        [
            "a file in the other's folder",
            "write",
            theirs.join("planted")
        ],
        [
            "the configuration",
            "read",
            kennel.root().join("kennel.toml")
        ],
        [
            "the supervisor's log of the other",
            "read",
            kennel.root().join("state/logs/sibling.log")
        ],
        ["root's own folder", "write", "/root/kennel-test-planted"],
        ["the password hashes", "read", "/etc/shadow"],
        [
            "the supervisor's environment",
            "read",
            proc(kennel.pid(), "environ")
        ],
        [
            "the supervisor's memory",
            "open_only",
            proc(kennel.pid(), "mem")
        ],
        ["the other's environment", "read", proc(sibling, "environ")],
        ["a signal to the supervisor", "signal", kennel.pid()],
        ["a signal to the other", "signal", sibling],
        ["tracing the supervisor", "trace", kennel.pid()],
        ["tracing the other", "trace", sibling],
        ["a mount", "mount", home.join("mounted")],
        ["a user namespace", "new_user_namespace"],
        ["another root", "change_root", home],
        ["a device", "make_device", home.join("null")],
        ["a raw socket", "open_socket", "AF_INET", "SOCK_RAW", 1],
        ["a packet socket", "open_socket", "AF_PACKET", "SOCK_RAW", 0],
        ["netfilter", "open_socket", "AF_NETLINK", "SOCK_RAW", 12],
        ["an abstract socket of another", "abstract", abstract_name],
        ["the control socket", "control", kennel.control_socket()],
        [
            "the control socket, as an orphan",
            "control_as_orphan",
            kennel.control_socket()
        ],
    ]);
    prepare(&home, &plan);

    kennel.order("bad-hostile", "start").await;
    let inside = results(&home).await;
    let outside = outside(&home);

    assert_denied(&inside, &names(&plan));
    assert_done(&outside, &names(&plan), "outside");
    let _ = std::fs::remove_file("/root/kennel-test-planted");
    kennel.until_state("bad-hostile", "ready").await;
    kennel
        .logged(&["a connection to the control socket is refused"])
        .await;
    assert_eq!(kennel.agent_pid("sibling").await, sibling);
    kennel.shut_down().await;
}

/// The link socket can be reached, since an agent must. What counts is the token and who comes: a
/// neighbour with a made-up token is nobody, inside or outside.
#[tokio::test]
async fn nobody_gets_a_link_by_a_made_up_token() {
    let kennel = Kennel::builder()
        .agents(&["sibling"])
        .agent("bad-hostile", &[("autostart", "false")])
        .misbehaving(MISBEHAVING)
        .start()
        .await;
    let before = kennel.agent("sibling").await;
    let hello = Hello {
        protocol: PROTOCOL,
        build: "hostile".into(),
        agent: "sibling".parse().unwrap(),
        generation: Generation(before.generation),
        token: Token::random(),
        link: LinkId::NONE,
        draining: false,
        resume: Position::default(),
        cage: Vec::new(),
    };
    let mut frame = bytes::BytesMut::new();
    codec::encode_frame(&hello, &mut frame).unwrap();
    let frame = frame
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let home = kennel.root().join("state/agents/bad-hostile");
    prepare(
        &home,
        &json!([["link", "link", kennel.link_socket(), frame]]),
    );

    kennel.order("bad-hostile", "start").await;
    let (inside, outside) = (results(&home).await, outside(&home));

    // A frame of two bytes: refuse, because of who it is.
    for told in [inside, outside] {
        assert_eq!(told["link"], "020000000105", "{told:#?}");
    }
    kennel
        .logged(&["the connecting process is not the child that was started"])
        .await;
    let after = kennel.agent("sibling").await;
    assert_eq!((after.pid, after.state), (before.pid, before.state));
    assert_eq!(
        kennel.send("sibling", "still there?").await.reply(),
        "still there?"
    );
    kennel.shut_down().await;
}

/// A cage that breaks what agents do is opened by everybody.
#[tokio::test]
async fn honest_work_goes_on_inside() {
    let directory = tempfile::tempdir().unwrap();
    let shared = directory.path().join("shared");
    std::fs::write(&shared, "for reading").unwrap();
    let plan = json!([
        [
            "a program",
            "run",
            "sh",
            "-c",
            "cp /bin/true ./mine && ./mine && test -w /dev/null"
        ],
        [
            "a shell",
            "run",
            "bash",
            "-c",
            "cat <(echo y) - <<< x > f && test -s f"
        ],
        [
            "a repository",
            "run",
            "git",
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@x",
            "-c",
            "init.defaultBranch=m",
            "init",
            "repository"
        ],
        [
            "a commit",
            "run",
            "git",
            "-C",
            "repository",
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@x",
            "commit",
            "--allow-empty",
            "-m",
            "x"
        ],
        [
            "node",
            "run",
            "node",
            "-e",
            "const { Worker } = require('worker_threads'); require('fs').writeFileSync('n', 'x'); new Worker('process.exit(0)', { eval: true }); require('child_process').execSync('true')"
        ],
        ["a database", "database", "data.db"],
        ["certificates", "certificates"],
        ["a name", "resolve", "localhost"],
        ["a thread", "thread"],
        ["temporary", "temporary"],
        ["a listed file", "read", shared],
        ["facts", "facts"],
    ]);
    let caged = Caged::start(&plan, |cage| cage.read = vec![shared.clone()]);
    let results = caged.results().await;

    let works: Vec<_> = names(&plan)
        .into_iter()
        .filter(|name| !matches!(*name, "facts" | "temporary"))
        .collect();
    assert_done(&results, &works, "inside");
    let home = caged.home();
    assert_eq!(results["temporary"], json!(home.join("tmp")));
    let facts = &results["facts"];
    for set in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
        assert_eq!(facts[set], "0000000000000000", "{set}: {facts:#}");
    }
    assert_eq!(facts["NoNewPrivs"], "1");
    assert_eq!(facts["Seccomp"], "2");
    assert_eq!(facts["Umask"], "0077");
    assert_eq!(facts["core"], json!([0, 0]));
    assert_eq!(facts["home"], json!(home));
    assert_eq!(
        facts["environment"],
        json!(["HOME", "LC_CTYPE", "PATH", "TMPDIR"])
    );
    assert_eq!(facts["session_of_parent"], true);
    assert_eq!(facts["descriptors"], json!([0, 1, 2]));
    for step in [
        "descriptors",
        "session",
        "capabilities",
        "no-new-privs",
        "landlock",
        "seccomp",
    ] {
        let (outcome, detail) = caged.step(step);
        assert_eq!(outcome, CageOutcome::Done, "{step}: {detail}");
    }
    assert_eq!(caged.step("group").0, CageOutcome::Off);
}

#[tokio::test]
async fn connections_go_to_the_listed_ports_only() {
    let [listed, other] = [(); 2].map(|()| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (listener.local_addr().unwrap().port(), listener)
    });
    let plan = json!([
        ["listed", "tcp", listed.0],
        ["not listed", "tcp", other.0],
        ["not listed, with data", "tcp_fast", other.0],
        ["not listed, by many paths", "tcp_many_paths", other.0],
    ]);
    let caged = Caged::start(&plan, |cage| cage.network = Network::Ports(vec![listed.0]));
    let inside = caged.results().await;
    assert_done(&inside, &["listed"], "inside");
    assert_denied(&inside, &names(&plan)[1..]);
    let (outcome, detail) = caged.step("landlock");
    assert_eq!(outcome, CageOutcome::Done);
    assert!(
        detail.contains(&format!("TCP to {} only", listed.0)),
        "{detail}"
    );
    let outside = outside(&caged.home());
    assert_done(&outside, &names(&plan), "outside");
}

#[tokio::test]
async fn without_a_network_there_is_no_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let plan = json!([
        ["connection", "tcp", port],
        ["packets", "open_socket", "AF_INET", "SOCK_DGRAM", 0],
        [
            "packets of version 6",
            "open_socket",
            "AF_INET6",
            "SOCK_DGRAM",
            0
        ],
    ]);
    let caged = Caged::start(&plan, |cage| cage.network = Network::Closed);
    assert_denied(&caged.results().await, &names(&plan));
    assert_done(&outside(&caged.home()), &names(&plan), "outside");
}

/// The same acts, with the sandbox off: what is left of the cage is what needs no sandbox.
#[tokio::test]
async fn an_agent_without_a_sandbox_reads_what_its_user_reads() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "x").unwrap();
    let plan = json!([["a file", "read", secret], ["a mount", "mount", "m"],]);
    for (sandbox, read) in [(true, "EACCES"), (false, "done")] {
        let caged = Caged::start(&plan, |cage| cage.sandbox = sandbox);
        let results = caged.results().await;
        assert_eq!(results["a file"], read);
        // Root, but without its privileges.
        assert_eq!(results["a mount"], "EPERM");
        assert_eq!(caged.step("seccomp").0 == CageOutcome::Off, !sandbox);
    }
}

#[tokio::test]
async fn what_is_hidden_is_hidden_in_what_is_shared() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir_all(path("shared/kennel")).unwrap();
    for name in ["shared/file", "shared/kennel/kennel.toml"] {
        std::fs::write(path(name), "x").unwrap();
    }
    let plan = json!([
        ["shared", "read", path("shared/file")],
        ["hidden", "read", path("shared/kennel/kennel.toml")],
    ]);
    let caged = Caged::start(&plan, |cage| {
        cage.read = vec![path("shared")];
        cage.hidden = vec![path("shared/kennel")];
    });
    let results = caged.results().await;
    assert_done(&results, &["shared"], "inside");
    assert_denied(&results, &["hidden"]);

    // To write to what holds it is no way to run.
    let caged = Caged::start(&plan, |cage| {
        cage.workspace = path("shared");
        cage.hidden = vec![path("shared/kennel")];
    });
    let (code, said) = caged.end().await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("which no agent may see"), "{said}");
}

#[tokio::test]
async fn an_agent_with_a_user_is_that_user() {
    const USER: UserIds = UserIds {
        uid: 61_234,
        gid: 61_235,
    };
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), 0o755);
    let file = directory.path().join("of-root");
    std::fs::write(&file, "x").unwrap();
    open(&file, 0o600);
    let plan = json!([
        ["facts", "facts"],
        ["of root", "read", file],
        ["its own", "database", "data.db"],
        ["a supervisor", "signal", std::process::id()],
    ]);
    let given = |path: &Path| {
        std::os::unix::fs::chown(path, Some(USER.uid), Some(USER.gid)).unwrap();
    };
    let home = directory.path().join("w");
    std::fs::create_dir(&home).unwrap();
    given(&home);
    let caged = Caged::start_by(
        &plan,
        |cage| {
            cage.user = Some(USER);
            // Open to everything, so that it is the user that is denied.
            cage.sandbox = false;
            cage.workspace = home;
        },
        |program| {
            let home = program.with_file_name("home");
            given(&home);
            Command::new(program)
        },
    );
    let results = caged.results().await;
    let facts = &results["facts"];
    assert_eq!(facts["Uid"], "61234\t61234\t61234\t61234", "{facts:#}");
    assert_eq!(facts["Gid"], "61235\t61235\t61235\t61235");
    assert_eq!(facts["Groups"], "");
    assert_eq!(facts["CapBnd"], "0000000000000000");
    assert_denied(&results, &["of root", "a supervisor"]);
    assert_done(&results, &["its own"], "inside");
    assert_eq!(caged.step("user").0, CageOutcome::Done);
    assert_done(
        &outside(&caged.home()),
        &["of root", "a supervisor"],
        "outside",
    );
}

#[tokio::test]
async fn a_strict_agent_does_not_run_in_an_open_cage() {
    let plan = json!([]);
    let group = || Some("kennel-test/fleet/nobody.1".to_owned());
    let (code, said) = Caged::start(&plan, |cage| cage.group = group()).end().await;
    assert_eq!(code, Some(78));
    for told in [
        "`group`",
        "not in the group kennel-test/fleet/nobody.1",
        "enforcement = \"best-effort\"",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    let lenient = Caged::start(&plan, |cage| {
        cage.group = group();
        cage.strict = false;
    });
    lenient.results().await;
    let (outcome, detail) = lenient.step("group");
    assert_eq!(outcome, CageOutcome::Failed);
    assert!(detail.contains("not in the group"), "{detail}");
}

/// As root, and as somebody else, who needs a user namespace for it.
#[tokio::test]
async fn a_pid_namespace_ends_with_its_agent() {
    let plan = json!([["orphan", "orphan"], ["facts", "facts"]]);
    let as_root: fn(&Path) -> Command = |program| Command::new(program);
    let as_nobody: fn(&Path) -> Command = |program| {
        let home = program.with_file_name("home");
        for path in [&home, &home.join("workspace")] {
            std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(program);
        command
    };
    for (start, uid) in [
        (as_root, "0\t0\t0\t0"),
        (as_nobody, "65534\t65534\t65534\t65534"),
    ] {
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            let mut caged = Caged::start_by(&plan, |cage| cage.pid_namespace = true, start);
            let results = caged.results().await;
            assert_done(&results, &["orphan"], "inside");
            assert_eq!(results["facts"]["Uid"], uid);
            assert_eq!(results["facts"]["CapBnd"].as_str().map(str::len), Some(16));
            assert_eq!(results["facts"]["CapEff"], "0000000000000000");
            let (outcome, detail) = caged.step("pid-namespace");
            assert_eq!(outcome, CageOutcome::Done, "{detail}");
            let inside = Process::within(caged.directory.path());
            let commands: Vec<_> = inside.iter().map(Process::command).collect();
            assert!(
                commands.iter().any(|command| command.contains("sleep 600")),
                "{commands:?}"
            );

            let pid = nix::unistd::Pid::from_raw(caged.child.id().cast_signed());
            kill(pid, signal).unwrap();
            let status = eventually("its end", || {
                let ended = caged.child.try_wait().unwrap();
                async move { ended }
            })
            .await;
            assert_eq!(status.signal(), Some(signal as i32), "{status:?}");
            for process in inside {
                assert!(
                    process.wait(kennel_tests::harness::patience()),
                    "{process:?} is left"
                );
            }
        }
    }
}

/// Root without privileges is an ordinary user to an agent of root's.
#[tokio::test]
async fn an_agent_s_memory_is_closed_to_its_own_user() {
    let kennel = Kennel::builder().agents(&["one"]).start().await;
    let one = kennel.agent_pid("one").await;
    let read = |path: String| {
        let mut command = Command::new("setpriv");
        command
            .args(["--bounding-set", "-all", "cat", &path])
            .stdout(Stdio::null());
        let output = command.stderr(Stdio::piped()).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(read(format!("/proc/{one}/status")), "");
    let said = read(format!("/proc/{one}/environ"));
    assert!(said.contains("Permission denied"), "{said}");
    kennel.shut_down().await;
}

/// The files in `/proc` of a process that is closed to its user belong to root.
#[tokio::test]
async fn a_supervisor_s_memory_is_closed_to_its_own_user() {
    const NOBODY: u32 = 65_534;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    open(directory.path(), 0o755);
    std::fs::copy(program("kennel"), path("kennel")).unwrap();
    std::fs::create_dir(path("home")).unwrap();
    std::os::unix::fs::chown(path("home"), Some(NOBODY), Some(NOBODY)).unwrap();
    let settings = format!(
        "[supervisor]\nstate_dir = '{0}/state'\nruntime_dir = '{0}/run'\n[providers.echo]\nkind = 'echo'\n[agents.a]\nmodel = 'echo/x'\nautostart = false\n",
        path("home").display()
    );
    std::fs::write(path("kennel.toml"), settings).unwrap();
    let mut supervisor = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(path("kennel"))
        .arg("--config")
        .arg(path("kennel.toml"))
        .arg("up")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = supervisor.id();
    let socket = path("home/run/control.sock");
    eventually("its control socket", || async {
        socket.exists().then_some(())
    })
    .await;
    let owner = |file: &str| {
        std::os::unix::fs::MetadataExt::uid(
            &std::fs::metadata(format!("/proc/{pid}/{file}")).unwrap(),
        )
    };
    let owners = (owner("."), owner("environ"));
    let term = kill(
        nix::unistd::Pid::from_raw(pid.cast_signed()),
        Signal::SIGTERM,
    );
    let ended = supervisor.wait().unwrap();
    assert!(term.is_ok() && ended.success(), "{ended:?}");
    assert_eq!(owners, (NOBODY, 0));
}
