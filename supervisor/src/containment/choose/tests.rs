use proptest::prelude::*;

use super::*;

fn v1(controllers: &[Controller], path: &str) -> Seen {
    let name = controllers[0].v2_name();
    let mount = PathBuf::from(format!("/cg/{name}"));
    Seen {
        hierarchy: Hierarchy {
            version: Version::V1,
            controllers: controllers.to_vec(),
            own: mount.join(path.trim_start_matches('/')),
            home: mount.join(path.trim_start_matches('/')),
            mount,
            path: path.to_owned(),
        },
        closed: None,
        v2: V2Facts::default(),
    }
}

fn v2(path: &str, about: V2Facts) -> Seen {
    let mount = PathBuf::from("/cg/unified");
    Seen {
        hierarchy: Hierarchy {
            version: Version::V2,
            controllers: Vec::new(),
            own: mount.join(path.trim_start_matches('/')),
            home: mount.join(path.trim_start_matches('/')),
            mount,
            path: path.to_owned(),
        },
        closed: None,
        v2: about,
    }
}

fn facts(uid: u32, seen: Vec<Seen>) -> Facts {
    Facts {
        uid,
        seen,
        weighted_disks: true,
    }
}

const ALL_V2: [Controller; 4] = CAPPING;

fn all_v1() -> Vec<Seen> {
    [
        &[Controller::Cpu, Controller::CpuAcct][..],
        &[Controller::Memory],
        &[Controller::Pids],
        &[Controller::Io],
        &[Controller::Freezer],
    ]
    .map(|controllers| v1(controllers, "/a"))
    .to_vec()
}

fn caps(choice: &Choice) -> Vec<Cap> {
    choice.cannot.iter().map(|one| one.cap).collect()
}

fn bases(choice: &Choice) -> Vec<String> {
    let base = |tree: &Tree| format!("{} {:?}", tree.base.display(), tree.controllers);
    choice.trees.iter().map(base).collect()
}

#[test]
fn a_delegated_service() {
    let seen = v2(
        "/user.slice/kennel.service",
        V2Facts {
            controllers: vec![Controller::Cpu, Controller::Memory, Controller::Pids],
            delegated: true,
            ..V2Facts::default()
        },
    );
    let choice = choose(&facts(1000, vec![seen]));
    assert_eq!(choice.kind, BackendKind::V2Delegated);
    assert_eq!(
        bases(&choice),
        ["/cg/unified/user.slice/kennel.service [Cpu, Memory, Pids]"]
    );
    assert_eq!(caps(&choice), [Cap::IoWeight]);
    assert!(
        choice.cannot[0].remedy.contains("Delegate=io"),
        "{}",
        choice.cannot[0]
    );
    assert!(
        choice.why.contains("/user.slice/kennel.service"),
        "{}",
        choice.why
    );
}

#[test]
fn root_at_the_top_of_a_vm() {
    let about = V2Facts {
        controllers: ALL_V2.to_vec(),
        top: true,
        others: 80,
        ..V2Facts::default()
    };
    let choice = choose(&facts(0, vec![v2("/", about)]));
    assert_eq!(choice.kind, BackendKind::V2Root);
    assert_eq!(bases(&choice), ["/cg/unified/ [Memory, Cpu, Pids, Io]"]);
    assert!(choice.cannot.is_empty());
}

#[test]
fn root_in_a_shell_goes_to_the_top() {
    let about = V2Facts {
        controllers: ALL_V2.to_vec(),
        others: 3,
        above: Some(ALL_V2.to_vec()),
        ..V2Facts::default()
    };
    let choice = choose(&facts(0, vec![v2("/user.slice/session-1.scope", about)]));
    assert_eq!(choice.kind, BackendKind::V2Root);
    assert_eq!(choice.trees[0].base, PathBuf::from("/cg/unified"));
    assert_eq!(choice.trees[0].path_of("x"), "/x");
    assert_eq!(
        choice.trees[0].home,
        PathBuf::from("/cg/unified/user.slice/session-1.scope")
    );
}

/// In a container the mount's root is no real root, and a shell beside us forbids controllers below.
#[test]
fn others_in_our_own_group() {
    let about = V2Facts {
        controllers: ALL_V2.to_vec(),
        others: 3,
        ..V2Facts::default()
    };
    let choice = choose(&facts(0, vec![v2("/", about)]));
    assert_eq!(choice.kind, BackendKind::V2Root);
    assert!(choice.trees[0].controllers.is_empty());
    assert!(caps(&choice).starts_with(&[Cap::Memory, Cap::MemoryHigh, Cap::Cpu]));
    assert!(
        choice.cannot[0].remedy.contains("3 processes"),
        "{}",
        choice.cannot[0]
    );
}

#[test]
fn hybrid_takes_limits_from_v1_and_the_rest_from_v2() {
    let mut seen = all_v1();
    seen.push(v2(
        "/",
        V2Facts {
            top: true,
            ..V2Facts::default()
        },
    ));
    let choice = choose(&facts(0, seen));
    assert_eq!(choice.kind, BackendKind::Hybrid);
    assert_eq!(
        bases(&choice),
        [
            "/cg/unified/ []",
            "/cg/cpu/a [Cpu, CpuAcct]",
            "/cg/memory/a [Memory]",
            "/cg/pids/a [Pids]",
            "/cg/io/a [Io]"
        ]
    );
    assert_eq!(caps(&choice), [Cap::MemoryHigh]);
    assert!(
        choice.why.starts_with("memory, cpu, pids, io of v1"),
        "{}",
        choice.why
    );
}

/// Its clock is cheaper than that of v2, but no reason for a second tree.
#[test]
fn the_clock_of_v1_is_used_where_v1_is() {
    let clock = || v1(&[Controller::CpuAcct], "/a");
    let about = V2Facts {
        controllers: ALL_V2.to_vec(),
        top: true,
        ..V2Facts::default()
    };
    let choice = choose(&facts(0, vec![clock(), v2("/", about.clone())]));
    assert_eq!(choice.kind, BackendKind::V2Root);
    assert_eq!(choice.trees.len(), 1);

    let none = V2Facts {
        controllers: Vec::new(),
        ..about
    };
    let pids = v1(&[Controller::Pids], "/a");
    let choice = choose(&facts(0, vec![clock(), pids, v2("/", none)]));
    assert_eq!(choice.kind, BackendKind::Hybrid);
    assert_eq!(
        bases(&choice),
        [
            "/cg/unified/ []",
            "/cg/cpuacct/a [CpuAcct]",
            "/cg/pids/a [Pids]"
        ]
    );
    let expected = "pids of v1, whose cpuacct counts CPU time; groups are ended";
    assert!(choice.why.starts_with(expected), "{}", choice.why);
}

#[test]
fn v1_alone_needs_its_freezer_and_its_clock() {
    let choice = choose(&facts(0, all_v1()));
    assert_eq!(choice.kind, BackendKind::V1);
    assert_eq!(choice.trees.len(), 5);
    assert_eq!(
        choice.trees[0].controllers,
        [Controller::Cpu, Controller::CpuAcct]
    );
    assert_eq!(choice.trees[4].controllers, [Controller::Freezer]);
    assert!(choice.trees[1].is_called(&["memory"]));
    assert!(choice.trees[0].is_called(&["cpu", "cpuacct"]));
    assert!(!choice.trees[0].is_called(&[]) && !choice.trees[0].is_called(&["name=systemd"]));
}

#[test]
fn nothing_that_may_be_written() {
    let mut seen = v2("/session.scope", V2Facts::default());
    seen.closed = Some("/cg/unified/session.scope: Permission denied".to_owned());
    let choice = choose(&facts(1000, vec![seen.clone()]));
    assert_eq!(choice.kind, BackendKind::BestEffort);
    assert!(choice.why.contains("Permission denied"), "{}", choice.why);
    assert!(choice.trees.is_empty());
    let all_but_files = Cap::ALL.into_iter().filter(|cap| *cap != Cap::OpenFiles);
    let mut found = caps(&choice);
    found.sort_unstable();
    assert_eq!(found, all_but_files.collect::<Vec<_>>());
    assert!(
        choice.cannot[0].remedy.contains("Delegate="),
        "{}",
        choice.cannot[0]
    );
    // Root needs another remedy: the mount is read-only.
    let choice = choose(&facts(0, vec![seen]));
    assert!(
        choice.cannot[0].remedy.contains("writable"),
        "{}",
        choice.cannot[0]
    );
    // No hierarchy at all.
    let choice = choose(&facts(0, Vec::new()));
    assert_eq!(choice.kind, BackendKind::BestEffort);
    assert!(
        choice.cannot[0].remedy.contains("mount"),
        "{}",
        choice.cannot[0]
    );
}

/// A freezer or a clock alone holds nobody.
#[test]
fn v1_without_caps_is_best_effort() {
    let choice = choose(&facts(0, vec![v1(&[Controller::Freezer], "/")]));
    assert_eq!(choice.kind, BackendKind::BestEffort);
    assert!(choice.trees.is_empty());
}

#[test]
fn a_lost_controller_is_said_once() {
    let about = V2Facts {
        controllers: ALL_V2.to_vec(),
        top: true,
        ..V2Facts::default()
    };
    let mut choice = choose(&facts(0, vec![v2("/", about)]));
    choice.lose(Controller::Cpu, "busy");
    choice.lose(Controller::Cpu, "busy");
    assert_eq!(caps(&choice), [Cap::Cpu, Cap::CpuWeight]);
    assert!(!choice.trees[0].controllers.contains(&Controller::Cpu));
}

fn some_of(all: Vec<Controller>) -> impl Strategy<Value = Vec<Controller>> {
    proptest::sample::subsequence(all, 0..=4)
}

proptest! {
    /// Whatever the host: no controller is used twice, each cap is either held or said not to be, and
    /// best effort is where there are no trees.
    #[test]
    fn every_host(
        uid in prop_oneof![Just(0_u32), Just(1000)],
        own in some_of(ALL_V2.to_vec()),
        above in proptest::option::of(some_of(ALL_V2.to_vec())),
        (top, delegated, weighted_disks) in any::<(bool, bool, bool)>(),
        others in 0_usize..3,
        with_v2 in any::<bool>(),
        closed in proptest::collection::vec(any::<bool>(), 6),
    ) {
        let mut seen = all_v1();
        if with_v2 {
            seen.push(v2("/a", V2Facts { controllers: own, top, delegated, others, above }));
        }
        for (seen, closed) in seen.iter_mut().zip(closed) {
            seen.closed = closed.then(|| "closed".to_owned());
        }
        let choice = choose(&Facts { uid, seen, weighted_disks });
        let cannot = caps(&choice);
        for (controller, cap) in [
            (Controller::Memory, Cap::Memory),
            (Controller::Cpu, Cap::Cpu),
            (Controller::Pids, Cap::Pids),
        ] {
            let holders = choice.trees.iter().filter(|tree| tree.controllers.contains(&controller));
            let holders = holders.count();
            prop_assert!(holders <= 1);
            prop_assert_eq!(holders == 0, cannot.contains(&cap));
        }
        let mut once = cannot.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), cannot.len());
        prop_assert_eq!(choice.kind == BackendKind::BestEffort, choice.trees.is_empty());
        prop_assert!(!choice.why.is_empty());
    }
}
