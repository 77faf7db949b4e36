//! The suite that scripts/vm runs inside its guests: see `kennel_tests::guest`.

fn main() -> std::process::ExitCode {
    kennel_tests::guest::run(std::env::args().skip(1))
}
