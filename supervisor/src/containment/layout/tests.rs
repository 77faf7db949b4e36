use proptest::prelude::*;

use super::*;

/// v1 controllers apart, and a v2 tree beside them.
const HYBRID_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
const HYBRID_OWN: &str = "\
9:name=systemd:/
8:pids:/
7:blkio:/
6:freezer:/
4:memory:/process_api/95681c21976f468dd92decace2837803
3:cpuset:/
2:cpuacct:/
1:cpu:/
0::/
";

/// systemd's own hybrid set-up: controllers co-mounted, everything below a slice.
const SYSTEMD_HYBRID_MOUNTS: &str = "\
29 24 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
30 29 0:27 / /sys/fs/cgroup/unified rw,nosuid,nodev,noexec,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate
31 29 0:28 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:11 - cgroup cgroup rw,xattr,name=systemd
35 29 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:16 - cgroup cgroup rw,cpu,cpuacct
36 29 0:33 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:17 - cgroup cgroup rw,memory
37 29 0:34 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid,nodev,noexec,relatime shared:18 - cgroup cgroup rw,net_cls,net_prio
38 29 0:35 / /sys/fs/cgroup/pids rw,nosuid,nodev,noexec,relatime shared:19 - cgroup cgroup rw,pids
";
const SYSTEMD_HYBRID_OWN: &str = "\
11:pids:/system.slice/kennel.service
8:net_cls,net_prio:/
7:memory:/system.slice/kennel.service
4:cpu,cpuacct:/system.slice
1:name=systemd:/system.slice/kennel.service
0::/system.slice/kennel.service
";

const SYSTEMD_V2_MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";

/// A v1 host's Docker container without a cgroup namespace: each mount shows only its own group.
const DOCKER_V1_MOUNTS: &str = "\
900 880 0:80 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755
901 900 0:33 /docker/0a1b /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime master:17 - cgroup cgroup rw,memory
";

fn shown(mountinfo: &str, own: &str) -> Vec<String> {
    parse(mountinfo, own)
        .into_iter()
        .map(|found| {
            format!(
                "{:?} {:?} {} {}",
                found.version,
                found.controllers,
                found.own.display(),
                found.path
            )
        })
        .collect()
}

#[test]
fn known_hosts() {
    let cases: [(&str, &str, &[&str]); 6] = [
        (
            HYBRID_MOUNTS,
            HYBRID_OWN,
            &[
                "V1 [Pids] /sys/fs/cgroup/pids /",
                "V1 [Io] /sys/fs/cgroup/blkio /",
                "V1 [Freezer] /sys/fs/cgroup/freezer /",
                "V1 [Memory] /sys/fs/cgroup/memory/process_api/95681c21976f468dd92decace2837803 \
                 /process_api/95681c21976f468dd92decace2837803",
                "V1 [CpuAcct] /sys/fs/cgroup/cpuacct /",
                "V1 [Cpu] /sys/fs/cgroup/cpu /",
                "V2 [] /sys/fs/cgroup/unified /",
            ],
        ),
        (
            SYSTEMD_HYBRID_MOUNTS,
            SYSTEMD_HYBRID_OWN,
            &[
                "V1 [Pids] /sys/fs/cgroup/pids/system.slice/kennel.service /system.slice/kennel.service",
                "V1 [Memory] /sys/fs/cgroup/memory/system.slice/kennel.service /system.slice/kennel.service",
                "V1 [Cpu, CpuAcct] /sys/fs/cgroup/cpu,cpuacct/system.slice /system.slice",
                "V2 [] /sys/fs/cgroup/unified/system.slice/kennel.service /system.slice/kennel.service",
            ],
        ),
        (
            SYSTEMD_V2_MOUNTS,
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/kennel.service\n",
            &[
                "V2 [] /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/kennel.service \
                 /user.slice/user-1000.slice/user@1000.service/app.slice/kennel.service",
            ],
        ),
        // Docker on a v2 host, with a cgroup namespace of its own.
        (
            "700 690 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n",
            "0::/\n",
            &["V2 [] /sys/fs/cgroup /"],
        ),
        (
            DOCKER_V1_MOUNTS,
            "4:memory:/docker/0a1b\n",
            &["V1 [Memory] /sys/fs/cgroup/memory /docker/0a1b"],
        ),
        // A process outside of what its mount shows.
        (DOCKER_V1_MOUNTS, "4:memory:/docker/0a1bcd\n", &[]),
    ];
    for (mountinfo, own, expected) in cases {
        assert_eq!(shown(mountinfo, own), expected, "{own}");
    }
}

#[test]
fn a_group_outside_of_the_namespace_is_nowhere() {
    assert!(parse(SYSTEMD_V2_MOUNTS, "0::/../other\n").is_empty());
    assert!(parse(SYSTEMD_V2_MOUNTS, "").is_empty());
    assert!(parse("", "0::/\n").is_empty());
}

#[test]
fn the_last_mount_at_a_place_hides_those_before() {
    let mounts = "\
1 0 0:1 /a /cg rw - cgroup2 cgroup2 rw
2 0 0:1 / /cg rw - cgroup2 cgroup2 rw
";
    assert_eq!(shown(mounts, "0::/b\n"), ["V2 [] /cg/b /b"]);
}

#[test]
fn a_supervisor_starts_where_the_one_before_it_did() {
    let cases = [
        ("/kennel-0a1b2c3d/supervisor", "/cg", "/"),
        (
            "/a.service/kennel-0a1b2c3d/supervisor",
            "/cg/a.service",
            "/a.service",
        ),
        (
            "/a.service/supervisor",
            "/cg/a.service/supervisor",
            "/a.service/supervisor",
        ),
        ("/supervisor", "/cg/supervisor", "/supervisor"),
        (
            "/kennel-0a1b2c3d/fleet/a.1",
            "/cg/kennel-0a1b2c3d/fleet/a.1",
            "/kennel-0a1b2c3d/fleet/a.1",
        ),
    ];
    for (path, own, base) in cases {
        let mounts = "1 0 0:1 / /cg rw - cgroup2 cgroup2 rw\n";
        let [found] = parse(mounts, &format!("0::{path}\n")).try_into().unwrap();
        let home = found.own.clone();
        let found = found.before_supervisor();
        assert_eq!(found.home, home);
        assert_eq!(
            (found.own.as_path(), found.path.as_str()),
            (Path::new(own), base)
        );
    }
}

#[test]
fn a_subgroup_that_systemd_made_is_left_for_what_it_gave_away() {
    let given = |group: &Path| group == Path::new("/cg/s/kennel.service");
    let cases = [
        (
            "/s/kennel.service/supervisor",
            "/cg/s/kennel.service",
            "/s/kennel.service",
        ),
        // Nobody gave that one away.
        (
            "/s/other.service/supervisor",
            "/cg/s/other.service/supervisor",
            "/s/other.service/supervisor",
        ),
        (
            "/s/kennel.service/main",
            "/cg/s/kennel.service/main",
            "/s/kennel.service/main",
        ),
        // Started by the supervisor before it.
        (
            "/s/kennel.service/kennel-0a1b2c3d/supervisor",
            "/cg/s/kennel.service",
            "/s/kennel.service",
        ),
    ];
    for (path, own, base) in cases {
        let mounts = "1 0 0:1 / /cg rw - cgroup2 cgroup2 rw\n";
        let [found] = parse(mounts, &format!("0::{path}\n")).try_into().unwrap();
        let found = found.before_supervisor().above_subgroup(given);
        assert_eq!(
            (found.own.as_path(), found.path.as_str()),
            (Path::new(own), base)
        );
    }
}

#[test]
fn names_with_spaces() {
    let mounts = "1 0 0:1 / /my\\040cgroups\\134x rw - cgroup2 cgroup2 rw\n";
    let found = parse(mounts, "0::/a: b\n");
    assert_eq!(found[0].own, Path::new("/my cgroups\\x/a: b"));
}

#[test]
fn below_is_by_whole_names() {
    assert!(is_below("/a/b", "/a"));
    assert!(is_below("/a", "/a"));
    assert!(is_below("/a", "/"));
    assert!(!is_below("/ab", "/a"));
    assert!(!is_below("/", "/a"));
}

proptest! {
    #[test]
    fn no_text_is_too_strange(mountinfo in ".{0,300}", own in ".{0,200}") {
        parse(&mountinfo, &own);
    }

    /// Whatever a group is called, its folder is found again.
    #[test]
    fn any_mount_point_and_group(
        at in "(/[a-z \\\\]{1,8}){1,4}",
        root in "(/[a-z:]{1,8}){0,3}",
        group in "(/[a-z: .]{0,4}[a-z]){1,4}",
    ) {
        let escaped = at.replace('\\', "\\134").replace(' ', "\\040");
        let shown_root = if root.is_empty() { "/" } else { &root };
        let line = format!("1 0 0:1 {shown_root} {escaped} rw - cgroup2 cgroup2 rw");
        let found = parse(&line, &format!("0::{root}{group}"));
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(&found[0].own, &PathBuf::from(format!("{at}{group}")));
    }
}
