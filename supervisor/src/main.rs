//! The `kennel` binary: the supervisor, and the command line that talks to it.

use std::process::ExitCode;

fn main() -> ExitCode {
    kennel::cli::main()
}
