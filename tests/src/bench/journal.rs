//! Messages a second that the journal accepts, each on the disk before it is acknowledged: in groups, beside
//! the same with one commit, and so one sync of the disk, for each message.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use kennel::journal::{
    Journal, Options,
    entry::{NewDelivery, Origin},
};
use kennel_shared::{envelope::Sender, ids::DeliveryId};

use super::{
    Scale,
    report::{Report, Unit},
    stats::{Samples, median},
};

const WRITERS: [usize; 3] = [1, 8, 64];

pub(super) async fn measure(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let time = Duration::from_millis(scale.pick(1000, 50) as u64);
    let probe = syncs(home.path(), scale.pick(200, 10))?;
    report.millis(
        "beside it: a write of 4 KiB and its sync, p50",
        probe.p50(),
        None,
    )?;
    for writers in WRITERS {
        let (mut ones, mut groups, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut waits = Samples::default();
        for round in 0..scale.pick(5, 1) {
            let path = |kind| home.path().join(format!("{writers}-{round}-{kind}.db"));
            let mut options = Options::new(path("one"));
            options.group = 1;
            let (one, _) = rate(options, writers, time).await?;
            let (group, wait) = rate(Options::new(path("group")), writers, time).await?;
            waits.extend(wait);
            ratios.push(group / one);
            ones.push(one);
            groups.push(group);
        }
        let noun = if writers == 1 { "writer" } else { "writers" };
        let mut add = |what: &str, value, unit| {
            report.add(format!("{writers} {noun}: {what}"), value, unit, None)
        };
        add("a commit for each message", median(ones), Unit::PerSecond)?;
        add("commits of groups", median(groups), Unit::PerSecond)?;
        add("groups beside single commits", median(ratios), Unit::Ratio)?;
        report.millis(
            format!("{writers} {noun}: until acknowledged, p50"),
            waits.p50(),
            None,
        )?;
        report.millis(
            format!("{writers} {noun}: until acknowledged, p99"),
            waits.p99(),
            None,
        )?;
    }
    Ok(())
}

/// Messages a second of a fresh journal with so many callers, each of which waits for its answer before it
/// hands in the next.
async fn rate(options: Options, writers: usize, time: Duration) -> anyhow::Result<(f64, Samples)> {
    let (journal, thread) = Journal::open(options)?;
    let began = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let mut waits = Samples::default();
                for number in 0.. {
                    let asked = Instant::now();
                    if began.elapsed() > time {
                        break;
                    }
                    journal.accept(message(writer, number)).await?;
                    waits.push(asked.elapsed());
                }
                anyhow::Ok(waits)
            })
        })
        .collect();
    let mut waits = Samples::default();
    for task in tasks {
        waits.extend(task.await??);
    }
    let took = began.elapsed();
    drop(journal);
    let _ = thread.join();
    #[expect(clippy::cast_precision_loss, reason = "a count of messages")]
    let rate = waits.len() as f64 / took.as_secs_f64();
    Ok((rate, waits))
}

fn message(writer: usize, number: u64) -> NewDelivery {
    NewDelivery {
        delivery: DeliveryId::new(),
        origin: Origin::Channel {
            channel: "bench".parse().expect("an id"),
            message_id: format!("{writer}-{number}"),
        },
        session: format!("agent:a:bench:direct:{writer}")
            .parse()
            .expect("a key"),
        sender: Sender {
            id: writer.to_string(),
            name: None,
        },
        text: "how is the weather in Vienna today, and shall I take an umbrella?".into(),
        reply_to: Some("{\"peer\":\"42\"}".into()),
    }
}

/// What the disk takes for the least that a commit can be.
fn syncs(home: &std::path::Path, count: usize) -> anyhow::Result<Samples> {
    let path = home.join("probe");
    let file = OpenOptions::new().create_new(true).write(true).open(path)?;
    let mut samples = Samples::default();
    for at in 0..count as u64 {
        let began = Instant::now();
        file.write_all_at(&[1; 4096], at * 4096)?;
        file.sync_data()?;
        samples.push(began.elapsed());
    }
    Ok(samples)
}
