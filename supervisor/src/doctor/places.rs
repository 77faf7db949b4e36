//! The area `files`: the supervisor's folders, and the program that agents are run by.

use super::{
    Area, Check,
    facts::{Found, Place, Program},
    size,
};

/// `running` is whether a supervisor uses the folder now.
pub(super) fn folder(place: &Place, running: bool) -> Check {
    let (key, path) = (place.key, place.path.display());
    let fail = |says: String, remedy: String| Check::fail(Area::Files, key, says, remedy);
    if let Some(socket) = &place.long_socket {
        return fail(
            format!(
                "the path of the socket {} is longer than the kernel takes",
                socket.display()
            ),
            "set a shorter `runtime_dir` under [supervisor]".to_owned(),
        );
    }
    match &place.found {
        Found::Nothing(_) if running => fail(
            format!("`{key}` is gone: {path}"),
            "start Kennel anew: `kennel shutdown`, then `kennel up --detach`; if no command reaches it, end it by its pid"
                .to_owned(),
        ),
        Found::Nothing(None) => Check::ok(
            Area::Files,
            key,
            format!("`{key}` is not there yet; `kennel up` makes it: {path}"),
        ),
        Found::Nothing(Some(why)) => fail(
            format!("`{key}` is not there and cannot be made: {path}: {why}"),
            format!("make it for uid {}, or set another `{key}` under [supervisor]", place.owner),
        ),
        Found::NoFolder => fail(
            format!("`{key}` is no folder: {path}"),
            format!("move it away, or set another `{key}` under [supervisor]"),
        ),
        Found::Closed(why) => fail(
            format!("`{key}` cannot be looked at: {path}: {why}"),
            format!("open the folders above it to uid {}", place.owner),
        ),
        Found::Folder {
            uid,
            mode,
            free,
            full,
            closed,
        } => {
            let mode = mode & 0o7777;
            if *uid != place.owner {
                return fail(
                    format!("`{key}` belongs to uid {uid} instead of {}: {path}", place.owner),
                    format!("`chown {} {path}`, or set another `{key}` under [supervisor]", place.owner),
                );
            }
            if mode & 0o022 != 0 {
                return fail(
                    format!("others may write to `{key}` (mode {mode:03o}), where sockets and secrets would not be safe: {path}"),
                    format!("`chmod go-w {path}`"),
                );
            }
            if let Some(why) = closed {
                return fail(
                    format!("`{key}` cannot be written to: {path}: {why}"),
                    "make its file system writable".to_owned(),
                );
            }
            room(place, mode, *free, *full)
        }
    }
}

fn room(place: &Place, mode: u32, free: Option<u64>, full: bool) -> Check {
    let (key, path) = (place.key, place.path.display());
    let (soon, now) = place.room;
    let says = match free {
        Some(free) => format!("`{key}` has {} free: {path} (mode {mode:03o})", size(free)),
        None => format!("`{key}`: {path} (mode {mode:03o})"),
    };
    let remedy = format!("make room there, or move `{key}` to a larger disk");
    if full {
        let says = format!("the file system of `{key}` has no inodes left: {path}");
        return Check::fail(Area::Files, key, says, "delete files there");
    }
    match free {
        Some(free) if free < now => Check::fail(Area::Files, key, says, remedy),
        Some(free) if free < soon => Check::warn(Area::Files, key, says, remedy),
        _ if mode & 0o044 != 0 => Check::warn(
            Area::Files,
            key,
            format!("others can list `{key}` (mode {mode:03o}): {path}"),
            format!("`chmod go-r {path}`"),
        ),
        _ => Check::ok(Area::Files, key, says),
    }
}

pub(super) fn program(program: &Program) -> Check {
    let path = program.path.display();
    match &program.problem {
        None => Check::ok(
            Area::Files,
            "agent-host",
            format!("agents are run by {path}"),
        ),
        Some(why) => Check::fail(
            Area::Files,
            "agent-host",
            format!("no agent can be started: {path}: {why}"),
            "put kennel-agent-host beside kennel, or name it in KENNEL_AGENT_HOST and start the supervisor anew",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{State, samples};

    fn of(found: Found) -> Check {
        let place = Place {
            found,
            ..samples::place("state_dir")
        };
        folder(&place, false)
    }

    fn with(uid: u32, mode: u32, free: u64) -> Check {
        of(Found::Folder {
            uid,
            mode,
            free: Some(free),
            full: false,
            closed: None,
        })
    }

    #[test]
    fn a_folder_is_ours_and_private_and_has_room() {
        assert_eq!(
            with(0, 0o40_700, 5 << 30).says,
            "`state_dir` has 5.0 GiB free: /var/lib/kennel (mode 700)"
        );
        // Passable, for agents with users of their own.
        assert_eq!(with(0, 0o711, 5 << 30).state, State::Ok);
        for (check, state, remedy) in [
            (
                with(7, 0o700, 5 << 30),
                State::Fail,
                "`chown 0 /var/lib/kennel`",
            ),
            (
                with(0, 0o770, 5 << 30),
                State::Fail,
                "`chmod go-w /var/lib/kennel`",
            ),
            (
                with(0, 0o755, 5 << 30),
                State::Warn,
                "`chmod go-r /var/lib/kennel`",
            ),
            (with(0, 0o700, 500 << 20), State::Warn, "make room"),
            (with(0, 0o700, 1 << 20), State::Fail, "make room"),
        ] {
            assert_eq!(check.state, state, "{check:?}");
            assert!(
                check.remedy.as_deref().unwrap().contains(remedy),
                "{check:?}"
            );
        }
    }

    #[test]
    fn what_is_not_there_yet_is_well_unless_it_cannot_be_made() {
        assert_eq!(of(Found::Nothing(None)).state, State::Ok);
        assert_eq!(
            of(Found::Nothing(Some("read-only".into()))).state,
            State::Fail
        );
        assert_eq!(of(Found::NoFolder).state, State::Fail);
        assert_eq!(of(Found::Closed("no".into())).state, State::Fail);
        let gone = Place {
            found: Found::Nothing(None),
            ..samples::place("state_dir")
        };
        assert_eq!(folder(&gone, true).state, State::Fail);
    }

    #[test]
    fn a_full_or_closed_file_system_fails() {
        for (full, closed) in [
            (true, None),
            (false, Some("Read-only file system".to_owned())),
        ] {
            let check = of(Found::Folder {
                uid: 0,
                mode: 0o700,
                free: Some(5 << 30),
                full,
                closed,
            });
            assert_eq!(check.state, State::Fail, "{check:?}");
        }
    }

    #[test]
    fn a_long_socket_is_told_first() {
        let place = Place {
            long_socket: Some("/very/long/link.sock".into()),
            ..samples::place("runtime_dir")
        };
        let check = folder(&place, false);
        assert_eq!(check.state, State::Fail);
        assert!(check.remedy.unwrap().contains("shorter `runtime_dir`"));
    }

    #[test]
    fn a_program_that_is_missing_fails() {
        let missing = Program {
            path: "kennel-agent-host".into(),
            problem: Some("it is not on the path".into()),
        };
        assert_eq!(program(&missing).state, State::Fail);
    }
}
