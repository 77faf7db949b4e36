//! Resolving real variables, files and programs.

use std::path::Path;

use super::*;

fn command(words: &[&str]) -> SecretRef {
    SecretRef::Command(words.iter().map(|word| (*word).to_owned()).collect())
}

fn resolve(secret: &SecretRef) -> Result<String, SecretError> {
    secret
        .resolve(Path::new("/"))
        .map(|secret| secret.expose_secret().to_owned())
}

#[test]
fn every_place_gives_its_secret_without_the_line_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("s"), "from-file\r\n").expect("a file");
    let file = SecretRef::File("s".into())
        .resolve(folder.path())
        .expect("there");
    assert_eq!(file.expose_secret(), "from-file");
    // Cargo sets it for every test.
    let env = SecretRef::Env("CARGO_PKG_NAME".to_owned());
    assert_eq!(resolve(&env).expect("set"), "kennel");
    assert_eq!(
        resolve(&command(&["printf", "%s\n", "x y"])).expect("prints"),
        "x y"
    );
    assert_eq!(resolve(&SecretRef::inline("abc")).expect("here"), "abc");
}

#[test]
fn a_command_runs_in_the_base_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path().canonicalize().expect("there");
    let found = command(&["pwd", "-P"]).resolve(&folder).expect("prints");
    assert_eq!(Path::new(found.expose_secret()), folder);
}

#[test]
fn what_is_no_secret_is_an_error() {
    use SecretError as E;
    let errors = [
        resolve(&SecretRef::Env("KENNEL_TEST_NO_SUCH_VARIABLE".to_owned())),
        resolve(&SecretRef::File("/no/such/file".into())),
        resolve(&SecretRef::File("/".into())),
        resolve(&command(&["/no/such/program"])),
        resolve(&command(&["sh", "-c", "exit 3"])),
        resolve(&command(&["true"])),
        resolve(&command(&["printf", "a\\nb"])),
        resolve(&command(&["printf", "\\377"])),
        resolve(&command(&["head", "-c", "70000", "/dev/zero"])),
        // Endless, and ended as soon as it is too much.
        resolve(&command(&["yes"])),
    ]
    .map(Result::unwrap_err);
    assert!(
        matches!(
            &errors,
            [
                E::EnvMissing(_),
                E::File { .. },
                E::NotAFile(_),
                E::Command { .. },
                E::CommandStatus { .. },
                E::Empty,
                E::ControlCharacter,
                E::NotText,
                E::TooLarge,
                E::TooLarge,
            ]
        ),
        "{errors:?}"
    );
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the end of a process that is not ours cannot be awaited"
)]
fn a_slow_command_is_ended_with_all_that_it_started() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let argv: Vec<String> = ["sh", "-c", "sleep 600 & echo $! > pid; wait"]
        .map(str::to_owned)
        .to_vec();
    let started = run(&argv, folder.path(), Duration::from_millis(500));
    assert!(
        matches!(started, Err(SecretError::CommandTimeout { .. })),
        "{started:?}"
    );
    let pid = std::fs::read_to_string(folder.path().join("pid")).expect("it had begun");
    let stat = Path::new("/proc").join(pid.trim()).join("stat");
    // Killed; whoever adopted it may not have reaped it yet.
    let ended = || match std::fs::read_to_string(&stat) {
        Ok(state) => state.contains(") Z") || state.contains(") X"),
        Err(_) => true,
    };
    let soon = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        ended()
    });
    assert!(soon, "the grandchild {} lives on", pid.trim());
}

#[test]
fn a_command_that_closes_its_output_and_stays_is_ended() {
    let argv: Vec<String> = ["sh", "-c", "echo x; exec sleep 600 >&- 2>&-"]
        .map(str::to_owned)
        .to_vec();
    let ended = run(&argv, Path::new("/"), Duration::from_millis(300));
    assert!(
        matches!(ended, Err(SecretError::CommandTimeout { .. })),
        "{ended:?}"
    );
}

#[test]
fn no_debug_shows_a_secret() {
    let shown = format!(
        "{:?} {:?}",
        SecretRef::inline("hush"),
        command(&["vault", "--pass=hush"])
    );
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains("vault"), "{shown}");
}
