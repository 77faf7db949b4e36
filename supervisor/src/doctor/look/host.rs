//! The machine, as far as Kennel needs something of it.

use std::fs;

use sysinfo::{MemoryRefreshKind, System};

use crate::{containment::Containment, doctor::facts::Host, sys};

/// Looks at it.
pub fn host() -> Host {
    let says = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
    };
    let system = System::new().map(|mut system| {
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        system
    });
    let system = system.ok();
    Host {
        kernel: format!("{} {}", says("ostype"), says("osrelease")),
        cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u64),
        memory: system.as_ref().map(System::total_memory),
        available: system.as_ref().map(System::available_memory),
        landlock: sys::landlock_abi(),
        seccomp: seccomp(),
        no_user_namespaces: no_user_namespaces(|path| fs::read_to_string(path).ok()),
        // Whatever is used of them.
        hierarchies: Containment::probe().survey(),
    }
}

/// A kernel with filters lists what they can do, unless it is hidden; then it counts those of each process.
fn seccomp() -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    read("/proc/sys/kernel/seccomp/actions_avail").contains("errno")
        || read("/proc/self/status").contains("Seccomp_filters:")
}

/// Why a process without privileges cannot make a user namespace: the three ways in which systems forbid
/// it.
fn no_user_namespaces(read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let forbidden = [
        ("/proc/sys/user/max_user_namespaces", 0),
        ("/proc/sys/kernel/unprivileged_userns_clone", 0),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 1),
    ];
    if number(forbidden[0].0).is_none() {
        return Some("this kernel has none".to_owned());
    }
    let (path, value) = forbidden
        .into_iter()
        .find(|(path, value)| number(path) == Some(*value))?;
    Some(format!("{path} is {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_seen() {
        let host = host();
        assert!(host.kernel.starts_with("Linux "), "{host:?}");
        assert!(host.cores >= 1 && host.seccomp, "{host:?}");
        assert!(host.landlock.is_some_and(|abi| abi >= 1), "{host:?}");
        assert!(host.memory > host.available, "{host:?}");
    }

    #[test]
    fn user_namespaces_are_forbidden_in_three_ways() {
        let of = |files: &[(&str, &str)]| {
            no_user_namespaces(|path| {
                let found = files.iter().find(|(name, _)| path.ends_with(name));
                found.map(|(_, text)| format!("{text}\n"))
            })
        };
        let max = ("max_user_namespaces", "1000");
        assert_eq!(of(&[max]), None);
        assert_eq!(
            of(&[
                max,
                ("unprivileged_userns_clone", "1"),
                ("apparmor_restrict_unprivileged_userns", "0")
            ]),
            None
        );
        assert!(of(&[]).is_some());
        assert!(of(&[("max_user_namespaces", "0")]).is_some());
        assert!(of(&[max, ("unprivileged_userns_clone", "0")]).is_some());
        assert!(of(&[max, ("apparmor_restrict_unprivileged_userns", "1")]).is_some());
    }
}
