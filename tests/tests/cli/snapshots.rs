//! `tests/cmd`: help texts and error messages. `TRYCMD=overwrite` writes them anew.

use super::command::program;

#[test]
fn help_and_errors() {
    trycmd::TestCases::new()
        .register_bin("kennel", program())
        .env("COLUMNS", "100")
        .env("HOME", "/nonexistent")
        .env("XDG_CONFIG_HOME", "/nonexistent/config")
        .env("XDG_STATE_HOME", "/nonexistent/state")
        .env("XDG_RUNTIME_DIR", "/nonexistent/run")
        .case("cmd/*.trycmd");
}
