//! Each check with each backend that has groups: `hybrid::…`, `v1::…`, `v2::…`.

use super::*;

macro_rules! checks {
    ($(#[$attribute:meta])* $backend:ident, $host:expr) => {
        checks!(@each [$(#[$attribute])*] $backend, $host,
            memory_beyond_the_cap_is_the_end,
            a_cpu_cap_holds,
            a_quick_look_sees_who_grows,
            processes_beyond_the_cap_are_denied,
            a_kill_reaches_who_ran_away,
            groups_below_its_own_go_with_it,
            a_fork_bomb_ends,
            who_leaves_in_part_is_found,
            the_frozen_end_too,
            who_is_in_the_fleet,
            caps_change_while_it_runs,
            open_files_are_limited,
            a_dead_supervisors_groups_are_cleaned,
            a_group_that_is_kept_is_adopted,
            a_living_supervisor_elsewhere_is_left_alone,
            the_same_life_twice,
            the_fleet_has_caps_of_its_own,
        );
    };
    (@each $attributes:tt $backend:ident, $host:expr, $($check:ident),+ $(,)?) => {
        mod $backend {
            use super::*;
            $(checks!(@one $attributes $check, $host);)+
        }
    };
    (@one [$(#[$attribute:meta])*] $check:ident, $host:expr) => {
        #[test]
        $(#[$attribute])*
        fn $check() {
            if let Some(host) = $host {
                checks::$check(&host);
            }
        }
    };
}

checks!(hybrid, host(BackendKind::Hybrid));
checks!(v1, host(BackendKind::V1));
checks!(
    #[ignore = "needs the v2 hierarchy with its controllers"]
    v2,
    Some(v2_host())
);

/// A process that v1's freezer holds does not end by a signal: what cannot be done is said.
#[test]
fn who_cannot_be_ended_is_named() {
    let Some(host) = host(BackendKind::Hybrid) else {
        return;
    };
    let mounts = probe::facts().seen;
    let freezer = mounts
        .iter()
        .find(|seen| seen.hierarchy.controllers == [Controller::Freezer])
        .expect("a hybrid host has v1's freezer");
    let cold = freezer
        .hierarchy
        .own
        .join(format!("{INSTANCE_PREFIX}{}-cold", host.instance));
    files::make(&cold).unwrap();
    let group = host.group(&Caps::default());
    let mut script = Script::held(&group, "exec sleep 300");
    wait("it is another program", || {
        procfs::Stat::of(script.pid()).is_some_and(|stat| stat.command == "sleep")
    });
    files::enter(&cold, script.pid()).unwrap();
    files::write(&cold.join("freezer.state"), "FROZEN").unwrap();
    let left = group.remove_blocking(Duration::from_millis(300));
    // Whatever comes of it, nothing may stay frozen.
    files::write(&cold.join("freezer.state"), "THAWED").unwrap();
    let status = script.ended();
    group.remove_blocking(LONG).unwrap();
    files::remove(&cold).unwrap();

    assert!(!status.success(), "{status}");
    let left = left.unwrap_err();
    let [one] = &left.remaining[..] else {
        panic!("{left}");
    };
    assert_eq!((one.pid, &*one.command), (script.pid(), "sleep"));
    assert!(
        left.to_string()
            .contains(&format!("{} (sleep, ", script.pid())),
        "{left}"
    );
}
