//! What is true of every backend that has groups.

use super::*;
use crate::containment::move_self;

/// Holds so many MiB of text in a variable, and says so.
fn hog(mib: u64) -> String {
    let bytes = mib * MIB;
    format!("x=$(head -c {bytes} /dev/zero | tr '\\0' a); echo has it; read _; echo ${{#x}}")
}

pub(super) fn memory_beyond_the_cap_is_the_end(host: &Host) {
    const CAP: u64 = 24 * MIB;
    let group = host.group(&Caps {
        memory: Some(CAP),
        // Else v2 slows the greedy one down for many seconds before it ends it.
        memory_high: Some(CAP),
        ..Caps::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut notice = runtime
        .block_on(async { group.oom_notice() })
        .unwrap()
        .unwrap();
    let mut modest = Script::held(&group, &hog(4));
    assert_eq!(modest.line(), "has it");
    assert_eq!(group.reading().oom_kills, Some(0));
    let mut greedy = Script::held(&group, &hog(64));
    let more = runtime
        .block_on(async { tokio::time::timeout(LONG, notice.grew()).await })
        .expect("a notice comes")
        .unwrap();
    assert!(more >= 1, "{more}");
    let status = greedy.ended();
    assert!(!status.success(), "{status}");
    let reading = group.reading();
    assert!(reading.oom_kills >= Some(1), "{reading:?}");
    let peak = reading.memory_peak;
    assert!(
        peak.is_none_or(|peak| peak <= CAP && peak > CAP / 2),
        "{reading:?}"
    );
    if host.get().backend() == BackendKind::Hybrid || host.get().backend() == BackendKind::V1 {
        assert!(is_running(modest.pid()));
    } else {
        assert!(!modest.ended().success(), "the group ends as one");
    }
    group.remove_blocking(LONG).unwrap();
    // Its end is word enough, rather than a wait without one.
    let gone = runtime.block_on(async { tokio::time::timeout(LONG, notice.grew()).await });
    assert!(!matches!(gone, Ok(Ok(0))), "{gone:?}");
}

pub(super) fn a_cpu_cap_holds(host: &Host) {
    let group = host.group(&Caps {
        cpu: Some(0.2),
        ..Caps::default()
    });
    let mut reader = group.reader().unwrap();
    let spin = "while :; do :; done";
    let _spinning = [Script::held(&group, spin), Script::held(&group, spin)];
    wait("it is held back", || {
        reader.read().throttled_periods > Some(2)
    });
    let begun = tokio::time::Instant::now();
    let before = reader.read();
    files::wait_until(Duration::from_secs(2), || false);
    let after = reader.read_quick();
    let wall = begun.elapsed().as_secs_f64();
    let used = Duration::from_micros(after.cpu_us.unwrap() - before.cpu_us.unwrap()).as_secs_f64();
    // A busy host gives less than the cap, and never much more.
    assert!(used / wall < 0.3, "{used} of {wall} s");
    assert!(used / wall > 0.02, "{used} of {wall} s");
    let throttled = reader.read();
    assert!(
        throttled.throttled_periods > before.throttled_periods,
        "{throttled:?}"
    );
    assert!(
        throttled.throttled_us > before.throttled_us,
        "{throttled:?}"
    );
    group.remove_blocking(LONG).unwrap();
}

/// Who does nothing is as it was; who takes memory needs time to do so, and is looked at.
pub(super) fn a_quick_look_sees_who_grows(host: &Host) {
    let group = host.group(&Caps::default());
    let mut script = Script::held(&group, &format!("echo up; read _; {}", hog(32)));
    assert_eq!(script.line(), "up");
    let mut reader = group.reader().unwrap();
    let before = reader.read();
    let again = reader.read_quick();
    assert!(again.cpu_us >= before.cpu_us && again.pids == before.pids);
    script.go();
    assert_eq!(script.line(), "has it");
    let after = reader.read_quick();
    assert!(
        after.memory > before.memory.map(|memory| memory + 24 * MIB),
        "{before:?} {after:?}"
    );
    group.remove_blocking(LONG).unwrap();
    // Of who is gone nothing is known, however often one asks.
    assert_eq!(reader.read_quick(), Reading::default());
    assert_eq!(reader.read_quick(), Reading::default());
}

pub(super) fn processes_beyond_the_cap_are_denied(host: &Host) {
    let group = host.group(&Caps {
        pids: Some(6),
        ..Caps::default()
    });
    let mut reader = group.reader().unwrap();
    let many = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 300 & done; wait";
    let _forking = Script::held(&group, many);
    wait("one is denied", || reader.read().pids_denied > Some(0));
    let reading = reader.read();
    assert!(
        reading.pids.is_some_and(|pids| (2..=6).contains(&pids)),
        "{reading:?}"
    );
    group.remove_blocking(LONG).unwrap();
    assert_eq!(group.members(), [] as [i32; 0]);
}

/// Two forks and a session of its own, so that neither its parent nor its process group leads to it.
const RUN_AWAY: &str =
    "setsid sh -c 'sleep 300 & echo $!; exec sleep 0'; echo done; exec sleep 300";

pub(super) fn a_kill_reaches_who_ran_away(host: &Host) {
    let group = host.group(&Caps::default());
    let mut script = Script::held(&group, RUN_AWAY);
    let grandchild: i32 = script.line().parse().unwrap();
    assert_eq!(script.line(), "done");
    let stat = procfs::Stat::of(grandchild).unwrap();
    assert!(stat.parent != script.pid() && stat.session != script.pid());
    let members = group.members();
    assert!(
        members.contains(&grandchild) && members.contains(&script.pid()),
        "{members:?}"
    );

    group.kill().unwrap();
    wait("the grandchild ends", || !is_running(grandchild));
    assert!(!script.ended().success());
    group.remove_blocking(LONG).unwrap();
    assert_eq!(group.reading(), Reading::default());
    // Twice is once.
    group.remove_blocking(LONG).unwrap();
}

/// As a container that an agent starts does.
pub(super) fn groups_below_its_own_go_with_it(host: &Host) {
    let group = host.group(&Caps::default());
    let mut script = Script::held(&group, "sleep 300 & echo $!; wait");
    let child: i32 = script.line().parse().unwrap();
    for dir in group.dirs().iter() {
        files::make(&dir.path.join("inner")).unwrap();
        files::enter(&dir.path.join("inner"), child).unwrap();
    }
    let mut expected = [script.pid(), child];
    expected.sort_unstable();
    assert_eq!(group.members(), expected);
    group.remove_blocking(LONG).unwrap();
    assert!(!is_running(child) && !script.ended().success());
}

pub(super) fn a_fork_bomb_ends(host: &Host) {
    let group = host.group(&Caps {
        pids: Some(60),
        memory: Some(256 * MIB),
        ..Caps::default()
    });
    // Each of them starts two of its kind for as long as it may.
    let bomb = "f() { f & f & while :; do :; done; }; f";
    let mut script = Script::held(&group, bomb);
    wait("it is denied more", || {
        group.reading().pids_denied > Some(0)
    });
    group.remove_blocking(LONG).unwrap();
    assert!(!script.ended().success());
    assert_eq!(group.members(), [] as [i32; 0]);
}

/// Who left the group in one hierarchy, as root may, is found through the others.
pub(super) fn who_leaves_in_part_is_found(host: &Host) {
    let group = host.group(&Caps::default());
    let mut script = Script::held(&group, "echo up; exec sleep 300");
    assert_eq!(script.line(), "up");
    let trees = &host.get().choice.trees;
    if trees.len() == 1 {
        // There is nowhere else to be found.
        return group.remove_blocking(LONG).unwrap();
    }
    files::enter(&trees[0].home, script.pid()).unwrap();
    assert_eq!(host.get().is_member(script.pid()), Some(true));
    group.remove_blocking(LONG).unwrap();
    assert!(!script.ended().success());
}

pub(super) fn the_frozen_end_too(host: &Host) {
    let group = host.group(&Caps::default());
    let mut script = Script::held(&group, "echo up; exec sleep 300");
    assert_eq!(script.line(), "up");
    let at = |dirs: &Dirs| match (dirs.v2(), dirs.of(Controller::Freezer)) {
        (Some(dir), _) => (dir.join("cgroup.freeze"), "1"),
        (None, Some((_, dir))) => (dir.join("freezer.state"), "FROZEN"),
        (None, None) => panic!("nothing freezes here"),
    };
    let (file, on) = at(group.dirs());
    files::write(&file, on).unwrap();
    group.remove_blocking(LONG).unwrap();
    assert!(!script.ended().success());
}

pub(super) fn who_is_in_the_fleet(host: &Host) {
    let group = host.group(&Caps::default());
    let mut script = Script::new("exec sleep 300");
    let pid = script.pid();
    let me = std::process::id().cast_signed();
    assert_eq!(host.get().is_member(pid), Some(false));
    group.enter(pid).unwrap();
    script.go();
    assert_eq!(host.get().is_member(pid), Some(true));
    assert_eq!(host.get().is_member(me), Some(false));
    let shown = group.path_shown();
    assert!(
        shown.ends_with(&format!("kennel-{}/fleet/held.3", host.instance)),
        "{shown}"
    );
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(cgroup.contains(&shown), "{cgroup}");
    group.remove_blocking(LONG).unwrap();
    script.ended();
    assert_eq!(host.get().is_member(pid), None);
    // The supervisor is in a group of its own beside the fleet.
    let mine = fs::read_to_string("/proc/self/cgroup").unwrap();
    assert!(
        mine.contains(&format!("kennel-{}/supervisor", host.instance)),
        "{mine}"
    );
}

pub(super) fn caps_change_while_it_runs(host: &Host) {
    let caps = Caps {
        memory: Some(64 * MIB),
        pids: Some(20),
        cpu: Some(1.5),
        cpu_weight: Some(50),
        ..Caps::default()
    };
    let group = host.group(&caps);
    let mut script = Script::held(&group, &hog(30));
    assert_eq!(script.line(), "has it");
    let more = Caps {
        memory: Some(128 * MIB),
        memory_high: Some(100 * MIB),
        cpu: None,
        cpu_weight: Some(200),
        ..caps
    };
    group.set(&more).unwrap();
    assert_eq!(group.caps(), more);
    let less = Caps {
        memory: Some(16 * MIB),
        ..caps
    };
    let refused = group.set(&less).unwrap_err();
    assert!(
        matches!(
            refused,
            ContainmentError::InUse { cap: Cap::Memory, used, allowed }
                if used > 16 * MIB && allowed == 16 * MIB
        ),
        "{refused:?}"
    );
    assert_eq!(group.caps(), more);
    assert!(is_running(script.pid()), "a refused cap ends nobody");
    // Everything can be taken off again.
    group.set(&Caps::default()).unwrap();
    script.go();
    assert_eq!(script.line(), (30 * MIB).to_string());
    assert!(script.ended().success());
    assert_eq!(group.reading().oom_kills, Some(0));
    group.remove_blocking(LONG).unwrap();
}

pub(super) fn open_files_are_limited(host: &Host) {
    let limited = |pid: i32| -> Vec<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = text.lines().find(|line| line.starts_with("Max open files"));
        let words = line.unwrap().split_ascii_whitespace().skip(3).take(2);
        words.map(str::to_owned).collect()
    };
    let caps = |open_files| Caps {
        open_files: Some(open_files),
        ..Caps::default()
    };
    let group = host.group(&caps(64));
    let mut script = Script::held(&group, "sleep 300 & echo $!; wait");
    let child: i32 = script.line().parse().unwrap();
    for pid in [script.pid(), child] {
        assert_eq!(limited(pid), ["64", "64"]);
    }
    group.set(&caps(32)).unwrap();
    for pid in [script.pid(), child] {
        assert_eq!(limited(pid), ["32", "32"]);
    }
    group.remove_blocking(LONG).unwrap();
}

pub(super) fn a_dead_supervisors_groups_are_cleaned(host: &Host) {
    let kind = host.get().backend();
    // This one stays alive, under another name.
    let beside = host.group(&Caps::default());
    let mut spared = Script::held(&beside, "echo up; exec sleep 300");
    assert_eq!(spared.line(), "up");

    let dead = Host::beside(Containment::with(kind).unwrap());
    let instance = dead.instance.clone();
    let group = dead.group(&Caps::default());
    let mut script = Script::held(&group, RUN_AWAY);
    let grandchild: i32 = script.line().parse().unwrap();
    assert_eq!(script.line(), "done");
    dead.abandon();
    assert!(is_running(grandchild), "nobody has cleaned yet");

    // The next one is started from somewhere else.
    for tree in &host.get().choice.trees {
        let elsewhere = format!("kennel-{}/supervisor", host.instance);
        move_self(&tree.base.join(elsewhere)).unwrap();
    }
    let mut next = Containment::with(kind).unwrap();
    let cleaned = next.prepare(&instance, &Caps::default()).unwrap();
    let expected = Cleaned {
        groups: 1,
        processes: 2,
    };
    assert_eq!(cleaned, expected);
    assert!(!is_running(grandchild));
    assert!(!script.ended().success());
    assert!(is_running(spared.pid()));
    assert_eq!(beside.members(), [spared.pid()]);
    next.release().unwrap();
    assert_eq!(folders_of(&instance), [] as [PathBuf; 0]);
    beside.remove_blocking(LONG).unwrap();
}

/// What is kept goes on in its group, or is moved to where the next one makes its own; the rest is ended.
pub(super) fn a_group_that_is_kept_is_adopted(host: &Host) {
    let kind = host.get().backend();
    let dead = Host::beside(Containment::with(kind).unwrap());
    let instance = dead.instance.clone();
    let agent = AgentId::new("held").unwrap();
    let doomed = AgentId::new("doomed").unwrap();
    let kept = dead.group(&Caps::default());
    let mut script = Script::held(&kept, "sleep 300 & echo $!; wait");
    let child: i32 = script.line().parse().unwrap();
    let other = dead
        .get()
        .create(&doomed, Generation(1), &Caps::default())
        .unwrap();
    let mut ended = Script::held(&other, "echo up; exec sleep 300");
    assert_eq!(ended.line(), "up");
    dead.abandon();
    // The next one is started elsewhere, not in the group of the dead one.
    let own = format!("kennel-{}/supervisor", host.instance);
    for tree in &host.get().choice.trees {
        move_self(&tree.base.join(&own)).unwrap();
    }

    let mut next = Containment::with(kind).unwrap();
    let mut names: Vec<_> = next.leftovers(&instance);
    names.retain(|left| left.name == "held.3");
    let [left] = names.try_into().unwrap();
    let mut expected = vec![script.pid(), child];
    expected.sort_unstable();
    assert_eq!(left.pids, expected);
    let keep = [left.name].into();
    let cleaned = next
        .prepare_keeping(&instance, &Caps::default(), &keep)
        .unwrap();
    let one = Cleaned {
        groups: 1,
        processes: 1,
    };
    assert_eq!(cleaned, one);
    assert!(!ended.ended().success());
    let group = next.adopt(&agent, Generation(3), &left.pids).unwrap();
    assert_eq!(group.members(), expected);
    assert_eq!(next.is_member(child), Some(true));
    let caps = Caps {
        pids: Some(20),
        ..Caps::default()
    };
    group.set(&caps).unwrap();
    assert_eq!(group.caps(), caps);
    group.remove_blocking(LONG).unwrap();
    assert!(!script.ended().success());
    assert!(!is_running(child));
    next.release().unwrap();
    assert_eq!(folders_of(&instance), [] as [PathBuf; 0]);
}

/// Another host's, as it were: a container with the same folder for its state sees this hierarchy too.
pub(super) fn a_living_supervisor_elsewhere_is_left_alone(host: &Host) {
    let other = format!("test-{}-elsewhere", std::process::id());
    let trees = &host.get().choice.trees;
    let inner = format!("kennel-{}/supervisor/inner", host.instance);
    let root = format!("{inner}/kennel-{other}");
    // v2 lets nobody be above a group with controllers; these have none.
    for below in [
        &inner,
        &root,
        &format!("{root}/supervisor"),
        &format!("{root}/fleet"),
    ] {
        make(&Dirs::new(trees, below)).unwrap();
    }
    let start = |below: &str| {
        let mut script = Script::new("echo up; exec sleep 300");
        Dirs::new(trees, below).enter(script.pid()).unwrap();
        script.go();
        assert_eq!(script.line(), "up");
        script
    };
    let mut supervisor = start(&format!("{root}/supervisor"));
    let mut agent = start(&format!("{root}/fleet"));
    let kind = host.get().backend();
    let clean = || {
        let mut here = Containment::with(kind).unwrap();
        let cleaned = here.prepare(&other, &Caps::default()).unwrap();
        for tree in trees {
            move_self(
                &tree
                    .base
                    .join(format!("kennel-{}/supervisor", host.instance)),
            )
            .unwrap();
        }
        here.release().unwrap();
        cleaned
    };
    assert_eq!(clean(), Cleaned::default());
    assert!(is_running(agent.pid()));

    // Dead, it is cleaned up after wherever it was.
    supervisor.child.kill().unwrap();
    supervisor.ended();
    assert_eq!(clean().processes, 1);
    assert!(!agent.ended().success());
    assert_eq!(folders_of(&other), [] as [PathBuf; 0]);
    Dirs::new(trees, &inner).remove().unwrap();
}

pub(super) fn the_same_life_twice(host: &Host) {
    let group = host.group(&Caps::default());
    let mut script = Script::held(&group, "exec sleep 300");
    let again = host.group(&Caps::default());
    assert!(!script.ended().success(), "who was in the first is ended");
    assert_eq!(again.members(), [] as [i32; 0]);
    again.remove_blocking(LONG).unwrap();
}

pub(super) fn the_fleet_has_caps_of_its_own(host: &Host) {
    let caps = Caps {
        memory: Some(24 * MIB),
        cpu: Some(1.75),
        pids: Some(40),
        ..Caps::default()
    };
    host.get().set_fleet(&caps).unwrap();
    // More than the fleet has, which v1 by itself would refuse.
    let group = host.group(&Caps {
        cpu: Some(2.0),
        memory: Some(1024 * MIB),
        pids: Some(100),
        ..Caps::default()
    });
    let less = Caps {
        cpu: Some(1.5),
        ..caps
    };
    host.get().set_fleet(&less).unwrap();
    let mut greedy = Script::held(&group, &hog(64));
    assert!(!greedy.ended().success());
    assert!(
        group.reading().oom_kills >= Some(1),
        "{:?}",
        group.reading()
    );
    let fleet = host.get().fleet_reader().unwrap().read();
    assert!(
        fleet.memory.is_some_and(|memory| memory <= 24 * MIB),
        "{fleet:?}"
    );
    assert!(fleet.cpu_us > Some(0), "{fleet:?}");
    group.remove_blocking(LONG).unwrap();
    host.get().set_fleet(&Caps::default()).unwrap();
}
