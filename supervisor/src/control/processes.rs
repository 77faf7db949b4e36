//! The processes of one agent, read from `/proc` when somebody asks.
//!
//! What belongs to an agent is what is in the control group of its agent-host, where it has one that
//! the supervisor is not in too, and whatever descends from those. So a grandchild that left its
//! session is listed, and so is one that left the group. Reading blocks and takes some milliseconds
//! on a busy host: it is done on the blocking pool.

use std::{collections::HashMap, fs, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
};

use super::{
    App, api,
    error::Failure,
    wire::{self, AgentProcess, ProcessList},
};

/// The most processes that are listed.
const LISTED_MAX: usize = 512;

/// The processes of an agent.
#[utoipa::path(get, path = "/api/v1/agents/{id}/processes", params(("id" = String, Path)), responses(
    (status = 200, body = wire::ProcessList), (status = 404, body = wire::ErrorBody)))]
pub(super) async fn processes(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ProcessList>, Failure> {
    let Some(root) = api::find(&app, &id)?.observed.borrow().pid else {
        return Ok(Json(ProcessList::default()));
    };
    let list = tokio::task::spawn_blocking(move || tree(root, scan(root))).await;
    list.map(Json).map_err(|_| api::leaving())
}

/// A process of this host.
#[derive(Debug, Clone)]
struct Seen {
    pid: i32,
    ppid: i32,
    /// It is in the agent's group.
    grouped: bool,
    name: String,
    threads: u64,
    memory_bytes: u64,
    cpu_ms: u64,
}

/// Every process of this host. Blocks.
fn scan(root: i32) -> Vec<Seen> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let read = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let group = group(&read("self"), &read(&root.to_string()));
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        // One that ends meanwhile is gone from the list too.
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let mut seen = parse(pid, &String::from_utf8_lossy(&stat))?;
        seen.grouped = !group.is_empty() && is_in(&group, &read(&pid.to_string()));
        Some(seen)
    })
    .collect()
}

/// The control groups, one for each hierarchy, that an agent is in and the supervisor is not: lines of
/// `/proc/<pid>/cgroup`.
fn group(own: &str, agents: &str) -> Vec<String> {
    let differs = |line: &&str| !own.lines().any(|own| own == *line);
    agents
        .lines()
        .filter(differs)
        .map(ToOwned::to_owned)
        .collect()
}

fn is_in(group: &[String], of: &str) -> bool {
    group
        .iter()
        .all(|wanted| of.lines().any(|line| line == wanted))
}

/// A line of `/proc/<pid>/stat`. The name stands in brackets and may have brackets itself.
fn parse(pid: i32, stat: &str) -> Option<Seen> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    // From the state on, which proc(5) counts as the third.
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    Some(Seen {
        pid,
        ppid: fields.get(1)?.parse().ok()?,
        grouped: false,
        name: name.to_owned(),
        threads: number(20)?,
        memory_bytes: number(24)? * rustix::param::page_size() as u64,
        cpu_ms: (number(14)? + number(15)?) * 1000 / ticks,
    })
}

/// What of `all` is the agent's, in the order of a tree.
fn tree(root: i32, all: Vec<Seen>) -> ProcessList {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for seen in &all {
        children.entry(seen.ppid).or_default().push(seen.pid);
    }
    // Members whose parent is none: taken over by another process when theirs ended.
    let members: HashMap<i32, bool> = all.iter().map(|seen| (seen.pid, seen.grouped)).collect();
    let mut adopted: Vec<i32> = all
        .iter()
        .filter(|seen| seen.grouped && seen.pid != root)
        .filter(|seen| !members.get(&seen.ppid).is_some_and(|grouped| *grouped))
        .map(|seen| seen.pid)
        .collect();
    adopted.sort_unstable_by(|a, b| b.cmp(a));

    let mut left: HashMap<i32, Seen> = all.into_iter().map(|seen| (seen.pid, seen)).collect();
    let mut list = ProcessList::default();
    // Depth first; each is taken once, so that a parent that is its own child ends nothing.
    let mut next = adopted;
    next.push(root);
    while let Some(pid) = next.pop() {
        let Some(seen) = left.remove(&pid) else {
            continue;
        };
        if list.processes.len() < LISTED_MAX {
            list.processes.push(view(seen));
        } else {
            list.omitted += 1;
        }
        let mut below = children.remove(&pid).unwrap_or_default();
        below.sort_unstable_by(|a, b| b.cmp(a));
        next.append(&mut below);
    }
    list
}

fn view(seen: Seen) -> AgentProcess {
    AgentProcess {
        pid: u32::try_from(seen.pid).unwrap_or_default(),
        ppid: u32::try_from(seen.ppid).unwrap_or_default(),
        name: seen.name,
        threads: seen.threads,
        memory_bytes: seen.memory_bytes,
        cpu_ms: seen.cpu_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: i32, parent: i32, grouped: bool) -> Seen {
        Seen {
            pid,
            ppid: parent,
            grouped,
            name: format!("p{pid}"),
            threads: 1,
            memory_bytes: 0,
            cpu_ms: 0,
        }
    }

    fn pids(list: &ProcessList) -> Vec<u32> {
        list.processes.iter().map(|process| process.pid).collect()
    }

    #[test]
    fn a_name_cannot_pretend_to_be_fields() {
        let line =
            "42 (a) R 1 2) S 7 42 42 0 -1 4194304 1 2 3 4 250 50 9 9 20 0 3 0 100 1000 25 18";
        let seen = parse(42, line).unwrap();
        assert_eq!((seen.name.as_str(), seen.ppid), ("a) R 1 2", 7));
        assert_eq!(seen.threads, 3);
        assert_eq!(
            seen.cpu_ms,
            300 * 1000 / rustix::param::clock_ticks_per_second()
        );
        assert_eq!(seen.memory_bytes, 25 * rustix::param::page_size() as u64);
        for broken in ["", "42 (a", "42 (a) S", "42 a) S 7"] {
            assert!(parse(42, broken).is_none(), "{broken:?}");
        }
    }

    #[test]
    fn descendants_stand_behind_their_parent() {
        let all = vec![
            seen(1, 0, false),
            seen(30, 20, false),
            seen(21, 10, false),
            seen(20, 10, false),
            seen(10, 5, false),
            seen(11, 5, false),
            seen(31, 20, false),
        ];
        assert_eq!(pids(&tree(10, all)), [10, 20, 30, 31, 21]);
    }

    #[test]
    fn who_left_its_parent_or_its_group_is_listed() {
        let all = vec![
            seen(1, 0, false),
            seen(10, 5, true),
            // Its parent has ended: init has it now.
            seen(40, 1, true),
            seen(41, 40, true),
            // Left the group.
            seen(42, 41, false),
            seen(50, 1, false),
        ];
        assert_eq!(pids(&tree(10, all)), [10, 40, 41, 42]);
    }

    #[test]
    fn a_fork_bomb_gets_a_bounded_answer() {
        let all = (10..2010).map(|pid| seen(pid, 10, true)).collect();
        let list = tree(10, all);
        assert_eq!((list.processes.len(), list.omitted), (LISTED_MAX, 1488));
        assert_eq!(pids(&list)[..3], [10, 11, 12]);
    }

    #[test]
    fn a_process_that_is_gone_has_no_tree() {
        assert_eq!(tree(10, vec![seen(1, 0, false)]), ProcessList::default());
    }

    #[test]
    fn a_group_is_what_the_supervisor_is_not_in() {
        let own = "2:memory:/kennel-1/supervisor\n1:name=systemd:/\n0::/\n";
        let agents = "2:memory:/kennel-1/fleet/a.1\n1:name=systemd:/\n0::/\n";
        let found = group(own, agents);
        assert_eq!(found, ["2:memory:/kennel-1/fleet/a.1"]);
        assert!(is_in(&found, "3:cpu:/\n2:memory:/kennel-1/fleet/a.1\n"));
        assert!(!is_in(&found, "2:memory:/kennel-1/fleet/a.10\n"));
        assert!(group(own, own).is_empty());
    }

    #[test]
    fn this_process_is_found_with_its_threads_and_memory() {
        let own = i32::try_from(std::process::id()).unwrap();
        let list = tree(own, scan(own));
        let first = &list.processes[0];
        assert_eq!(first.pid, std::process::id());
        assert!(first.threads >= 1 && first.memory_bytes > 0, "{first:?}");
    }
}
