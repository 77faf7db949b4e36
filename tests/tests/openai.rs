//! The `OpenAI`-compatible endpoint, judged by programs that were written for `OpenAI`'s own: the
//! official Python client, and the command lines `llm` and `aichat`.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use kennel_tests::harness::{Kennel, counterpart, until_ended};

const TOKEN: &str = "a-token-for-this-test";

async fn kennel() -> (Kennel, String) {
    let kennel = Kennel::builder()
        .agents(&["one", "two"])
        .echo(&[("chunks", "5"), ("chunk_delay", "'2ms'")])
        .http(TOKEN)
        .start()
        .await;
    let base_url = format!("http://127.0.0.1:{}/v1", kennel.http_port().await);
    (kennel, base_url)
}

/// Runs a program to its end, in an environment of its own; gives what it printed.
async fn run(kennel: &Kennel, command: &mut Command) -> String {
    let home = kennel.root().join("home");
    fs::create_dir_all(&home).expect("a home for the program");
    let (out, err) = (home.join("stdout"), home.join("stderr"));
    let file = |path: &Path| File::create(path).expect("a file for its output");
    command
        .env_clear()
        .envs([
            ("HOME", home.as_path()),
            ("PATH", Path::new("/usr/bin:/bin")),
        ])
        .env("LANG", "C.UTF-8")
        .env("LLM_USER_PATH", &home)
        .env("OPENAI_API_KEY", TOKEN)
        .env("AICHAT_CONFIG_DIR", &home)
        .stdin(Stdio::null())
        .stdout(file(&out))
        .stderr(file(&err));
    let status = until_ended(&mut command.spawn().expect("it starts")).await;
    let read = |path: &Path| fs::read_to_string(path).expect("its output is text");
    assert!(
        status.success(),
        "{command:?}: {status}\n{}\n{}",
        read(&out),
        read(&err)
    );
    read(&out)
}

#[tokio::test]
async fn the_official_python_client() {
    let python = counterpart("KENNEL_TEST_VENV", "venv", "bin/python");
    let (kennel, base_url) = kennel().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("py/openai_client.py");
    run(
        &kennel,
        Command::new(python).arg(script).args([&base_url, TOKEN]),
    )
    .await;
    kennel.shut_down().await;
}

#[tokio::test]
async fn the_llm_command_line() {
    let llm = counterpart("KENNEL_TEST_VENV", "venv", "bin/llm");
    let (kennel, base_url) = kennel().await;
    let home = kennel.root().join("home");
    fs::create_dir_all(&home).expect("a home for the program");
    let models = format!(
        "- model_id: kennel-one\n  model_name: agent/one\n  api_base: {base_url}\n  api_key_name: openai\n"
    );
    fs::write(home.join("extra-openai-models.yaml"), models).expect("its configuration");

    let listed = run(&kennel, Command::new(&llm).args(["models", "list"])).await;
    assert!(listed.contains("kennel-one"), "{listed}");
    let streamed = run(
        &kennel,
        Command::new(&llm).args(["-m", "kennel-one", "streamed answer"]),
    )
    .await;
    assert_eq!(streamed.trim_end(), "streamed answer");
    let whole = run(
        &kennel,
        Command::new(&llm).args(["-m", "kennel-one", "--no-stream", "whole answer"]),
    )
    .await;
    assert_eq!(whole.trim_end(), "whole answer");
    // It sends the whole conversation again, with an answer in its middle.
    let again = run(&kennel, Command::new(&llm).args(["-c", "and more"])).await;
    assert!(
        again.contains("whole answer") && again.contains("and more"),
        "{again}"
    );
    kennel.shut_down().await;
}

#[tokio::test]
async fn the_aichat_command_line() {
    let aichat = counterpart("KENNEL_TEST_AICHAT", "cargo/bin/aichat", "");
    let (kennel, base_url) = kennel().await;
    let home = kennel.root().join("home");
    fs::create_dir_all(&home).expect("a home for the program");
    let config = format!(
        "model: kennel:agent/one\nclients:\n- type: openai-compatible\n  name: kennel\n  api_base: {base_url}\n  api_key: {TOKEN}\n  models:\n  - name: agent/one\n  - name: agent/two\n"
    );
    fs::write(home.join("config.yaml"), config).expect("its configuration");

    let listed = run(&kennel, Command::new(&aichat).arg("--list-models")).await;
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        ["kennel:agent/one", "kennel:agent/two"]
    );
    let streamed = run(&kennel, Command::new(&aichat).arg("streamed answer")).await;
    assert_eq!(streamed.trim_end(), "streamed answer");
    let whole = run(
        &kennel,
        Command::new(&aichat).args(["-m", "kennel:agent/two", "-S", "whole answer"]),
    )
    .await;
    assert_eq!(whole.trim_end(), "whole answer");
    kennel.shut_down().await;
}
