//! The area `host`: what of the kernel Kennel needs.

use super::{
    Area, Check,
    facts::{Ask, Host},
    names, size,
};
use crate::containment::{BackendKind, Hierarchy};

/// From this version on Landlock restricts TCP, and from that one signals and abstract sockets.
const LANDLOCK_TCP: u32 = 4;
const LANDLOCK_SIGNALS: u32 = 6;

const LANDLOCK_REMEDY: &str =
    "boot a kernel from 5.13 on with Landlock (`lsm=landlock,…` on its command line)";

pub(super) fn checks(host: &Host, backend: BackendKind, asks: &[Ask]) -> Vec<Check> {
    vec![
        machine(host),
        cgroups(host),
        landlock(host, asks),
        seccomp(host, asks),
        user_namespaces(host, backend),
    ]
}

fn machine(host: &Host) -> Check {
    let cores = super::count(usize::try_from(host.cores).unwrap_or(usize::MAX), "core");
    let mut says = format!("{}, {cores}", host.kernel);
    if let (Some(memory), Some(available)) = (host.memory, host.available) {
        says = format!(
            "{says}, {} of memory, of which {} are available",
            size(memory),
            size(available)
        );
        if available < memory / 20 {
            return Check::warn(
                Area::Host,
                "kernel",
                says,
                "`kennel top` shows who has it; cap the agents that need most, by `memory`",
            );
        }
    }
    Check::ok(Area::Host, "kernel", says)
}

fn cgroups(host: &Host) -> Check {
    let of = |v2: bool| -> Vec<&Hierarchy> {
        let all = host.hierarchies.iter();
        all.filter(|one| one.v2 == v2).collect()
    };
    let (v1, v2) = (of(false), of(true));
    let shown = |hierarchies: &[&Hierarchy]| {
        let mut controllers: Vec<&str> = hierarchies
            .iter()
            .flat_map(|one| one.controllers.iter().copied())
            .collect();
        controllers.sort_unstable();
        controllers.dedup();
        if controllers.is_empty() {
            "none of the controllers".to_owned()
        } else {
            controllers.join(", ")
        }
    };
    let says = match (v1.is_empty(), v2.first()) {
        (true, None) => {
            return Check::warn(
                Area::Host,
                "cgroups",
                "no cgroup hierarchy is mounted that Kennel could use",
                "mount one: `mount -t cgroup2 none /sys/fs/cgroup`; in a container, pass the host's through",
            );
        }
        (true, Some(v2_mount)) => {
            format!("cgroups v2 at {}: {}", v2_mount.mount.display(), shown(&v2))
        }
        (false, None) => format!("cgroups v1: {}", shown(&v1)),
        (false, Some(v2_mount)) => format!(
            "cgroups v1: {}; and v2 at {}: {}",
            shown(&v1),
            v2_mount.mount.display(),
            shown(&v2)
        ),
    };
    let closed = host.hierarchies.iter().find_map(|one| one.closed.as_ref());
    match closed {
        // What that means for caps is told where they are.
        Some(closed) => Check::ok(
            Area::Host,
            "cgroups",
            format!("{says}; not open to Kennel: {closed}"),
        ),
        None => Check::ok(Area::Host, "cgroups", says),
    }
}

/// Agents that would be closed in, told apart by whether they run otherwise.
fn sandboxed(asks: &[Ask], strict: bool, wanted: impl Fn(&Ask) -> bool) -> Vec<&str> {
    asks.iter()
        .filter(|ask| ask.sandbox && ask.strict == strict && wanted(ask))
        .filter_map(|ask| ask.agent.as_deref())
        .collect()
}

/// What is missing fails where a strict agent needs it, and is a warning elsewhere.
fn missing(
    name: &str,
    says: &str,
    remedy: &str,
    asks: &[Ask],
    wanted: impl Fn(&Ask) -> bool + Copy,
) -> Check {
    let (strict, lax) = (
        sandboxed(asks, true, wanted),
        sandboxed(asks, false, wanted),
    );
    if !strict.is_empty() {
        return Check::fail(
            Area::Host,
            name,
            format!("{says}; {} cannot run without it", names(strict)),
            format!("{remedy}; or set `enforcement = \"best-effort\"` for them"),
        );
    }
    let who = if lax.is_empty() {
        String::new()
    } else {
        format!("; {} run without it", names(lax))
    };
    Check::warn(Area::Host, name, format!("{says}{who}"), remedy)
}

fn landlock(host: &Host, asks: &[Ask]) -> Check {
    let Some(abi) = host.landlock else {
        return missing(
            "landlock",
            "this kernel has no Landlock: nothing keeps agents from files",
            LANDLOCK_REMEDY,
            asks,
            |_| true,
        );
    };
    let tcp = asks.iter().any(|ask| ask.sandbox && ask.ports);
    if abi < LANDLOCK_TCP && tcp {
        return missing(
            "landlock",
            &format!("Landlock {abi} does not restrict TCP ports"),
            "boot a kernel from 6.7 on",
            asks,
            |ask| ask.ports,
        );
    }
    let holds = match abi {
        ..LANDLOCK_TCP => "files; not TCP ports, signals and abstract sockets",
        LANDLOCK_TCP..LANDLOCK_SIGNALS => "files and TCP ports; not signals and abstract sockets",
        _ => "files, TCP ports, signals and abstract sockets",
    };
    Check::ok(Area::Host, "landlock", format!("Landlock {abi}: {holds}"))
}

fn seccomp(host: &Host, asks: &[Ask]) -> Check {
    if host.seccomp {
        return Check::ok(Area::Host, "seccomp", "system calls can be filtered");
    }
    missing(
        "seccomp",
        "system calls cannot be filtered here",
        "boot a kernel with CONFIG_SECCOMP_FILTER",
        asks,
        |_| true,
    )
}

/// They matter only where no group finds whom an agent has started.
fn user_namespaces(host: &Host, backend: BackendKind) -> Check {
    let name = "user-namespaces";
    match (&host.no_user_namespaces, backend) {
        (None, _) => Check::ok(Area::Host, name, "user namespaces can be made"),
        (Some(why), BackendKind::BestEffort) => Check::warn(
            Area::Host,
            name,
            format!(
                "user namespaces cannot be made ({why}), and no cgroup holds what agents start"
            ),
            "allow them (`sysctl user.max_user_namespaces`, `kernel.unprivileged_userns_clone`, \
             `kernel.apparmor_restrict_unprivileged_userns`), or let Kennel have cgroups",
        ),
        (Some(why), _) => Check::ok(
            Area::Host,
            name,
            format!(
                "user namespaces cannot be made ({why}); they are not needed, since groups hold the agents"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{State, samples};

    fn ask(id: &str, strict: bool, ports: bool) -> Ask {
        Ask {
            agent: Some(id.into()),
            strict,
            caps: Vec::new(),
            sandbox: true,
            ports,
        }
    }

    fn of(host: &Host, asks: &[Ask], name: &str) -> Check {
        let checks = checks(host, BackendKind::Hybrid, asks);
        let found = checks.into_iter().find(|check| check.name == name);
        found.expect("there is such a check")
    }

    #[test]
    fn a_machine_that_has_everything_is_well() {
        let asks = [ask("a", true, true)];
        let checks = checks(&samples::host(), BackendKind::V2Delegated, &asks);
        assert!(
            checks.iter().all(|check| check.state == State::Ok),
            "{checks:?}"
        );
        assert_eq!(
            checks[0].says,
            "Linux 6.18.5, 2 cores, 24.0 GiB of memory, of which 20.0 GiB are available"
        );
        assert_eq!(
            checks[1].says,
            "cgroups v2 at /sys/fs/cgroup: cpu, io, memory, pids"
        );
    }

    #[test]
    fn a_hybrid_layout_is_named() {
        let hierarchy = |v2, controllers: &[&'static str], mount: &str| Hierarchy {
            v2,
            controllers: controllers.to_vec(),
            mount: mount.into(),
            group: "/".into(),
            closed: None,
        };
        let mut host = samples::host();
        host.hierarchies = vec![
            hierarchy(false, &["memory"], "/sys/fs/cgroup/memory"),
            hierarchy(false, &["cpu", "cpuacct"], "/sys/fs/cgroup/cpu"),
            hierarchy(true, &[], "/sys/fs/cgroup/unified"),
        ];
        assert_eq!(
            of(&host, &[], "cgroups").says,
            "cgroups v1: cpu, cpuacct, memory; and v2 at /sys/fs/cgroup/unified: none of the controllers"
        );
        host.hierarchies.pop();
        assert_eq!(
            of(&host, &[], "cgroups").says,
            "cgroups v1: cpu, cpuacct, memory"
        );
        host.hierarchies.clear();
        assert_eq!(of(&host, &[], "cgroups").state, State::Warn);
    }

    #[test]
    fn without_landlock_a_strict_agent_does_not_run() {
        let host = Host {
            landlock: None,
            ..samples::host()
        };
        let check = of(
            &host,
            &[ask("a", true, false), ask("b", false, false)],
            "landlock",
        );
        assert_eq!(check.state, State::Fail);
        assert!(
            check.says.ends_with("`a` cannot run without it"),
            "{check:?}"
        );
        let check = of(&host, &[ask("b", false, false)], "landlock");
        assert_eq!(check.state, State::Warn);
        assert!(check.says.ends_with("`b` run without it"), "{check:?}");
    }

    #[test]
    fn an_old_landlock_matters_to_who_asks_for_ports() {
        let host = Host {
            landlock: Some(3),
            ..samples::host()
        };
        assert_eq!(
            of(&host, &[ask("a", true, false)], "landlock").state,
            State::Ok
        );
        let asks = [ask("a", true, false), ask("b", true, true)];
        let check = of(&host, &asks, "landlock");
        assert_eq!(check.state, State::Fail);
        assert!(
            check.says.ends_with("`b` cannot run without it"),
            "{check:?}"
        );
    }

    #[test]
    fn user_namespaces_matter_without_groups_only() {
        let host = Host {
            no_user_namespaces: Some("none are allowed".into()),
            ..samples::host()
        };
        let of = |kind| user_namespaces(&host, kind).state;
        assert_eq!(of(BackendKind::BestEffort), State::Warn);
        assert_eq!(of(BackendKind::Hybrid), State::Ok);
    }

    #[test]
    fn memory_that_runs_out_is_seen() {
        let host = Host {
            available: Some(1 << 30),
            ..samples::host()
        };
        assert_eq!(of(&host, &[], "kernel").state, State::Warn);
    }
}
