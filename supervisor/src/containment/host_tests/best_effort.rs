//! Without groups.

use super::*;

fn best_effort() -> Host {
    host(BackendKind::BestEffort).expect("it can always be had")
}

fn hold(script: &str, caps: Caps) -> (Host, Group, Script) {
    let host = best_effort();
    let group = host.group(&caps);
    let script = Script::held(&group, script);
    (host, group, script)
}

#[test]
fn a_tree_is_ended() {
    let (_host, group, mut script) = hold(
        "setsid sh -c 'sleep 300 & echo $!; wait' & read _; exec sleep 300",
        Caps::default(),
    );
    let grandchild: i32 = script.line().parse().unwrap();
    // Seen once, it is found again when its parents have ended.
    let members = group.members();
    assert!(
        members.contains(&grandchild) && members.len() >= 3,
        "{members:?}"
    );
    let between = procfs::Stat::of(grandchild).unwrap().parent;
    group.kill().unwrap();
    wait("all have ended", || {
        !is_running(grandchild) && !is_running(between)
    });
    assert!(!script.ended().success());
    group.remove_blocking(LONG).unwrap();
    assert_eq!(group.members(), [] as [i32; 0]);
}

#[test]
fn a_tree_without_its_root_is_ended() {
    let (_host, group, mut script) = hold("sleep 300 & echo $!", Caps::default());
    let child: i32 = script.line().parse().unwrap();
    assert!(script.ended().success());
    // Its process group leads to it.
    assert_eq!(group.members(), [child]);
    group.remove_blocking(LONG).unwrap();
    assert!(!is_running(child));
}

#[test]
fn memory_over_the_cap_is_seen() {
    let (_host, group, mut script) = hold(
        "x=$(head -c 41943040 /dev/zero | tr '\\0' a); echo has it; read _; echo ${#x}",
        Caps {
            memory: Some(16 * MIB),
            ..Caps::default()
        },
    );
    assert_eq!(script.line(), "has it");
    let over = group.over().unwrap();
    assert_eq!((over.cap, over.allowed), (Cap::Memory, 16 * MIB));
    assert!(over.used > 40 * MIB, "{over:?}");
    let reading = group.reader().unwrap().read();
    assert!(
        reading.memory > Some(40 * MIB) && reading.memory_peak >= reading.memory,
        "{reading:?}"
    );
    assert!(reading.cpu_us > Some(0), "{reading:?}");
    group
        .set(&Caps {
            memory: Some(1024 * MIB),
            ..Caps::default()
        })
        .unwrap();
    assert_eq!(group.over(), None);
    group.remove_blocking(LONG).unwrap();
}

#[test]
fn processes_over_the_cap_are_seen() {
    let (_host, group, mut script) = hold(
        "for i in 1 2 3 4; do sleep 300 & done; echo up; wait",
        Caps {
            pids: Some(3),
            ..Caps::default()
        },
    );
    assert_eq!(script.line(), "up");
    let expected = Over {
        cap: Cap::Pids,
        used: 5,
        allowed: 3,
    };
    assert_eq!(group.over(), Some(expected));
    group.remove_blocking(LONG).unwrap();
    assert_eq!(group.over(), None);
}

/// A hundred agents are read for the price of a look or two.
#[test]
fn who_is_read_at_the_same_time_shares_a_look() {
    const AGENTS: usize = 20;
    let host = best_effort();
    let groups: Vec<_> = (0..AGENTS)
        .map(|number| {
            let agent = AgentId::new(&format!("held{number}")).unwrap();
            let caps = Caps::default();
            host.get().create(&agent, Generation(1), &caps).unwrap()
        })
        .collect();
    let mut scripts: Vec<_> = groups
        .iter()
        .map(|group| Script::held(group, "echo up; read _"))
        .collect();
    for script in &mut scripts {
        assert_eq!(script.line(), "up");
    }
    let mut readers: Vec<_> = groups.iter().map(|group| group.reader().unwrap()).collect();
    // A machine that stands still for a moment makes a look old, but not each time.
    wait("they share", || {
        let before = host.get().scans.count();
        let pids: Vec<_> = readers.iter_mut().map(|one| one.read().pids).collect();
        assert_eq!(pids, vec![Some(1); AGENTS]);
        host.get().scans.count() <= before + 2
    });
    for group in groups {
        group.remove_blocking(LONG).unwrap();
    }
}

#[test]
fn open_files_are_limited_all_the_same() {
    let caps = Caps {
        open_files: Some(48),
        ..Caps::default()
    };
    let (host, group, mut script) = hold("ulimit -n; ulimit -Hn; read _", caps);
    assert_eq!((script.line(), script.line()), ("48".into(), "48".into()));
    assert!(host.get().unenforced(&caps).is_empty());
    group.remove_blocking(LONG).unwrap();
}

#[test]
fn it_says_what_it_cannot() {
    let host = best_effort();
    let caps = Caps {
        memory: Some(MIB),
        open_files: Some(9),
        ..Caps::default()
    };
    let [only] = host.get().unenforced(&caps).try_into().unwrap();
    assert_eq!(only.cap, Cap::Memory);
    assert!(only.why.starts_with("best-effort "), "{only}");
    assert_eq!(host.get().is_member(1), None);
    assert!(host.get().fleet_reader().is_none());
}
