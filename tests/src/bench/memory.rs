//! Memory of an idle fleet whose agents have each answered once.

use std::time::Duration;

use super::{
    Scale,
    fleet::Home,
    process::Memory,
    report::{Report, Unit},
};

/// Longer than unused threads are kept.
const IDLE: Duration = Duration::from_secs(7);

pub(super) async fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let sizes: &[usize] = if scale.quick { &[1] } else { &[1, 10, 100] };
    for &agents in sizes {
        let home = Home::of(agents)?;
        let fleet = home.up().await?;
        let mut api = fleet.unix().await?;
        for agent in home.agents() {
            api.chat(agent, None, "hello").await?;
        }
        drop(api);
        let idle = if scale.quick { Duration::ZERO } else { IDLE };
        tokio::time::sleep(idle).await;
        let supervisor = Memory::of(fleet.pid())?;
        let mut each = Vec::new();
        for pid in fleet.pids().await?.into_values() {
            each.push(Memory::of(pid)?);
        }
        fleet.down()?;
        show(report, agents, supervisor, &each)?;
    }
    Ok(())
}

fn show(
    report: &mut Report,
    agents: usize,
    supervisor: Memory,
    each: &[Memory],
) -> anyhow::Result<()> {
    let count = u64::try_from(each.len())?;
    let pss: u64 = each.iter().map(|memory| memory.pss).sum();
    let uss: u64 = each.iter().map(|memory| memory.uss).sum();
    let largest = each.iter().map(|memory| memory.pss).max().unwrap_or(0);
    // One agent alone pays for all the pages that it could share.
    let (own_goal, each_goal, total_goal) = match agents {
        10 => (Some(10.0), Some(3.0), Some(39.0)),
        100 => (None, Some(3.0), None),
        _ => (Some(10.0), None, None),
    };
    let mut add = |figure: &str, kib: u64, goal| {
        let noun = if agents == 1 { "agent" } else { "agents" };
        #[expect(clippy::cast_precision_loss, reason = "below 2^52 KiB")]
        let mib = kib as f64 / 1024.0;
        report.add(format!("{agents} {noun}: {figure}"), mib, Unit::MiB, goal)
    };
    add("supervisor PSS", supervisor.pss, own_goal)?;
    add("supervisor USS", supervisor.uss, None)?;
    add("each agent PSS, mean", pss / count, each_goal)?;
    add("each agent PSS, largest", largest, None)?;
    add("each agent USS, mean", uss / count, None)?;
    add("all PSS", supervisor.pss + pss, total_goal)
}
