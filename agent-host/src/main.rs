//! The `kennel-agent-host` binary: one agent, started by the supervisor.

fn main() -> std::process::ExitCode {
    kennel_agent_host::run().into()
}
