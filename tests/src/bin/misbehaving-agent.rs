//! An agent-host that does what its agent's id says. See [`kennel_tests::misbehave`].

fn main() -> std::process::ExitCode {
    kennel_tests::misbehave::run()
}
