//! `kennel up`, from the start of the process until the control API shows every agent ready.

use super::{Scale, fleet::Home, report::Report, stats::Samples};

pub(super) async fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let sizes: &[(usize, usize, Option<f64>)] = if scale.quick {
        &[(1, 1, None), (10, 1, Some(50.0))]
    } else {
        &[(1, 10, None), (10, 10, Some(50.0)), (100, 4, None)]
    };
    for &(agents, runs, goal) in sizes {
        let (mut first, mut again) = (Samples::default(), Samples::default());
        for _ in 0..runs {
            let home = Home::of(agents)?;
            for samples in [&mut first, &mut again] {
                let fleet = home.up().await?;
                samples.push(fleet.took);
                fleet.down()?;
            }
        }
        let noun = if agents == 1 { "agent" } else { "agents" };
        report.millis(
            format!("{agents} {noun}, with their stores, p50"),
            again.p50(),
            goal,
        )?;
        report.millis(
            format!("{agents} {noun}, with their stores, slowest"),
            again.max(),
            None,
        )?;
        report.millis(
            format!("{agents} {noun}, nothing there yet, p50"),
            first.p50(),
            None,
        )?;
    }
    Ok(())
}
