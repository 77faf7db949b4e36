//! Each check with each backend that has groups: `hybrid::…`, `v1::…`, `v2::…`.

use super::*;

macro_rules! checks {
    ($(#[$attribute:meta])* $backend:ident, $host:expr) => {
        checks!(@each [$(#[$attribute])*] $backend, $host,
            memory_beyond_the_cap_is_the_end,
            a_cpu_cap_holds,
            processes_beyond_the_cap_are_denied,
            a_kill_reaches_who_ran_away,
            the_frozen_end_too,
            who_is_in_the_fleet,
            caps_change_while_it_runs,
            open_files_are_limited,
            a_dead_supervisors_groups_are_cleaned,
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
