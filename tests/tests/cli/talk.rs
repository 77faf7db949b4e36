//! Every command that talks to a supervisor: what it prints where, and how it ends.

use super::{
    command::{kennel, start},
    scripted::Scripted,
};

#[tokio::test]
async fn status_is_a_table() {
    let supervisor = Scripted::start();
    let ended = kennel(&supervisor.socket(), &["status"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    insta::assert_snapshot!(ended.stdout);
}

#[tokio::test]
async fn status_is_the_json_of_the_api() {
    let supervisor = Scripted::start();
    let ended = kennel(&supervisor.socket(), &["status", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    // Also what this client does not know.
    assert_eq!(json["later"], 1);
    assert_eq!(json["agents"][1]["id"], "other");
}

#[tokio::test]
async fn status_of_agents_is_in_full() {
    let supervisor = Scripted::start();
    let ended = kennel(&supervisor.socket(), &["status", "hexa", "other"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    insta::assert_snapshot!(ended.stdout);
    let ended = kennel(&supervisor.socket(), &["status", "hexa", "other", "--json"]).await;
    let ids: Vec<_> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, ["hexa", "other"]);
    let ended = kennel(&supervisor.socket(), &["status", "hexxa"]).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
}

#[tokio::test]
async fn status_is_watched_until_ctrl_c() {
    let supervisor = Scripted::start();
    let mut child = start(&supervisor.socket(), &["status", "--watch"]);
    // The second block starts behind an empty line.
    let blocks = child.read_until("\n\nkennel 0.1.0").await;
    assert!(!blocks.contains('\x1b'), "{blocks:?}");
    child.interrupt();
    assert_eq!(child.finish("").await.code, Some(0));
}

#[tokio::test]
async fn a_closed_pipe_ends_a_command_quietly() {
    let supervisor = Scripted::start();
    let mut child = start(&supervisor.socket(), &["status", "--watch", "--json"]);
    child.read_until("}\n").await;
    child.close_stdout();
    let ended = child.finish("").await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn an_answer_is_printed() {
    let supervisor = Scripted::start();
    for args in [
        &["send", "hexa", "hello"][..],
        &["send", "hexa", "hello", "--no-stream"],
    ] {
        let ended = kennel(&supervisor.socket(), args).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(0), "hello\n"),
            "{ended:?}"
        );
        assert_eq!(ended.stderr, "");
    }
}

#[tokio::test]
async fn a_message_comes_from_standard_input() {
    let supervisor = Scripted::start();
    let child = start(
        &supervisor.socket(),
        &["send", "hexa", "-", "--session", "mine", "--json"],
    );
    let ended = child.finish("from a pipe\n").await;
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["reply"], "from a pipe\n");
    assert_eq!(json["session"], "agent:hexa:api:mine");
}

#[tokio::test]
async fn a_failed_turn_is_a_failure() {
    let supervisor = Scripted::start();
    let ended = kennel(&supervisor.socket(), &["send", "hexa", "fail"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "fail\n"));
    assert_eq!(ended.stderr, "error: hexa: the model answered 401\n");

    let ended = kennel(&supervisor.socket(), &["send", "hexa", "fail", "--json"]).await;
    assert_eq!(ended.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["error"]["code"], "turn_failed");
}

#[tokio::test]
async fn a_stream_that_ends_early_is_a_failure() {
    let supervisor = Scripted::start();
    let ended = kennel(&supervisor.socket(), &["send", "hexa", "cut"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "c\n"));
    assert!(ended.stderr.contains("before it was complete"), "{ended:?}");
}

#[tokio::test]
async fn ctrl_c_cancels_the_turn() {
    let supervisor = Scripted::start();
    let mut child = start(&supervisor.socket(), &["send", "hexa", "hang"]);
    child.read_until("ha").await;
    child.interrupt();
    let ended = child.finish("").await;
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("\n", "cancelled\n")
    );
}

#[tokio::test]
async fn an_unknown_agent_has_its_code_and_a_hint() {
    let supervisor = Scripted::start();
    for args in [
        &["send", "hexx", "hello"][..],
        &["send", "hexx", "hello", "--json"],
        &["chat", "hexx"],
        &["logs", "hexx"],
        &["logs", "hexx", "--follow"],
        &["stop", "hexx"],
    ] {
        let ended = kennel(&supervisor.socket(), args).await;
        assert_eq!(ended.code, Some(4), "{args:?} {ended:?}");
        assert_eq!(
            ended.stderr, "error: no agent is called `hexx`\nhint: did you mean `hexa`?\n",
            "{args:?}"
        );
    }
}

#[tokio::test]
async fn actions_tell_of_each_agent() {
    let supervisor = Scripted::start();
    let cases = [
        (
            &["start", "--all"][..],
            0,
            "hexa is ready already (pid 4711, generation 2)\nother started (pid 4711, generation 2)\n",
        ),
        (&["stop", "hexa"], 0, "hexa stopped\n"),
        (
            &["stop", "other", "hexa", "--timeout", "100ms"],
            5,
            "error: other: it did not stop within 100ms\nhexa stopped\n",
        ),
        (
            &["restart", "other"],
            6,
            "error: other: cannot restart: it is being stopped\n",
        ),
        (&["--quiet", "restart", "hexa"], 0, ""),
    ];
    for (args, code, stderr) in cases {
        let ended = kennel(&supervisor.socket(), args).await;
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(code), stderr),
            "{args:?}"
        );
        assert_eq!(ended.stdout, "", "{args:?}");
    }
    let ended = kennel(&supervisor.socket(), &["restart", "hexa", "--json"]).await;
    assert!(
        ended
            .stdout
            .starts_with(r#"{"outcome":"done","agent":{"id":"hexa","#),
        "{ended:?}"
    );
}

#[tokio::test]
async fn logs_are_printed_and_followed() {
    let supervisor = Scripted::start();
    let ended = kennel(&supervisor.socket(), &["logs", "hexa", "-n", "2"]).await;
    assert_eq!(ended.stdout, "two\nthree\n");
    let ended = kennel(
        &supervisor.socket(),
        &["--quiet", "logs", "hexa", "--follow"],
    )
    .await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "one\ntwo\nthree\n")
    );
}

#[tokio::test]
async fn events_are_lines() {
    let supervisor = Scripted::start();
    for args in [&["events"][..], &["--quiet", "events", "-f", "-n", "5"]] {
        let ended = kennel(&supervisor.socket(), args).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (
                Some(0),
                "1970-01-01T00:00:00.000Z hexa #2 exited: killed by SIGKILL\n"
            )
        );
    }
}

#[tokio::test]
async fn a_chat_goes_on_after_a_failure() {
    let supervisor = Scripted::start();
    let child = start(&supervisor.socket(), &["chat", "hexa", "--session", "mine"]);
    let ended = child
        .finish("hello\nfail\n/xyz\nagain\n/quit\nnever said\n")
        .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        ended.stdout,
        "hello\nfail\n/xyz is no command; /help lists them\nagain\n"
    );
    assert_eq!(
        ended.stderr,
        "hexa · echo/echo · session mine · /help\nerror: hexa: the model answered 401\n"
    );
}

#[tokio::test]
async fn a_chat_ends_with_its_input() {
    let supervisor = Scripted::start();
    let child = start(&supervisor.socket(), &["--quiet", "chat", "hexa"]);
    let ended = child.finish("hello").await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "hello\n"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn ctrl_c_in_a_chat_cancels_the_turn_and_not_the_chat() {
    let supervisor = Scripted::start();
    let mut child = start(&supervisor.socket(), &["chat", "hexa"]);
    child.say("hang\n");
    child.read_until("ha").await;
    child.interrupt();
    let ended = child.finish("hello\n").await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "\nhello\n"),
        "{ended:?}"
    );
    assert!(ended.stderr.ends_with("cancelled\n"), "{ended:?}");
}

#[tokio::test]
async fn shutdown_waits_for_the_end() {
    let supervisor = Scripted::start();
    let ended = kennel(&supervisor.socket(), &["shutdown"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr, "the supervisor (pid 7) has ended\n");
    let ended = kennel(&supervisor.socket(), &["status"]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
}

#[tokio::test]
async fn init_writes_a_file_that_check_takes() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let ended = kennel(&socket, &["init", "new"]).await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "new/kennel.toml\n"),
        "{ended:?}"
    );
    let ended = kennel(&socket, &["check", "--json", "--config", "new/kennel.toml"]).await;
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, &json["valid"]), (Some(0), &true.into()));

    std::fs::write(dir.path().join("new/kennel.toml"), "wrong = 1\n").unwrap();
    let ended = kennel(&socket, &["check", "--json", "--config", "new/kennel.toml"]).await;
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, &json["valid"]), (Some(2), &false.into()));
    assert_eq!(json["diagnostics"][0]["line"], 1);
}

#[tokio::test]
async fn what_is_generated_is_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    for args in [&["schema"], &["openapi"]] {
        let ended = kennel(&socket, args).await;
        let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert!(json.is_object(), "{args:?}");
    }
    let ended = kennel(&socket, &["completions", "bash"]).await;
    assert!(ended.stdout.contains("complete -F _kennel"), "{ended:?}");
    let ended = kennel(&socket, &["man"]).await;
    assert!(ended.stdout.contains(".TH kennel 1"), "{ended:?}");
    let ended = kennel(&socket, &["--quiet", "man", "--out", "pages"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(dir.path().join("pages/kennel-restart.1").exists());
}
