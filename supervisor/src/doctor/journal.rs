//! From how the journal is to checks. Pure.

use super::{Area, Check, ago, count, facts::Journal};
use crate::journal::health::{Damage, Refusing};

pub(super) fn checks(journal: &Journal) -> Vec<Check> {
    let health = &journal.health;
    let mut checks = vec![match &health.refusing {
        Some(refusing) => refused(refusing, journal),
        None => well(journal),
    }];
    checks.extend(health.damage.as_ref().map(damaged));
    if health.size.over_limit {
        checks.push(Check::warn(
            Area::Journal,
            "size",
            format!(
                "it has {} in use, more than it may, and nothing of it may be deleted yet",
                mib(health.size.used)
            ),
            "`kennel queue` shows what waits; or raise `max_size` under [supervisor.journal]",
        ));
    }
    if journal.poison > 0 {
        checks.push(Check::warn(
            Area::Journal,
            "poison",
            format!(
                "{} set aside, since its agent died of it again and again",
                count(
                    usize::try_from(journal.poison).unwrap_or(usize::MAX),
                    "message"
                )
            ),
            "`kennel queue --poison` shows them; `kennel queue requeue` and `drop` settle them",
        ));
    }
    checks
}

fn well(journal: &Journal) -> Check {
    let waiting = usize::try_from(journal.waiting).unwrap_or(usize::MAX);
    let says = format!(
        "messages are written down: {} in use, {} waiting",
        mib(journal.health.size.used),
        count(waiting, "message")
    );
    Check::ok(Area::Journal, "writes", says)
}

fn refused(refusing: &Refusing, journal: &Journal) -> Check {
    let since = journal
        .refusing_for
        .map_or_else(String::new, |time| format!(" for {}", ago(time)));
    Check::fail(
        Area::Journal,
        "writes",
        format!(
            "nothing is accepted{since}: {}; agents stay up, and {} to be written down",
            refusing.trouble,
            match refusing.owed {
                1 => "1 thing that happened waits".to_owned(),
                n => format!("{n} things that happened wait"),
            }
        ),
        refusing.trouble.remedy(),
    )
}

fn damaged(damage: &Damage) -> Check {
    Check::warn(
        Area::Journal,
        "damage",
        damage.to_string(),
        format!(
            "move {} to a safe place once you have looked at it; this is said for as long as it lies there",
            damage.moved_to.display()
        ),
    )
}

fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes >> 10) % 1024) * 10 / 1024)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        doctor::State,
        journal::{Health, Trouble, health::Size},
    };

    #[test]
    fn a_full_disk_is_explained_with_what_to_do() {
        let mut journal = Journal {
            health: Health::default(),
            refusing_for: None,
            waiting: 3,
            poison: 0,
        };
        let well = checks(&journal);
        assert_eq!((well.len(), well[0].state), (1, State::Ok));
        assert!(well[0].says.contains("3 messages waiting"), "{well:?}");
        journal.health.refusing = Some(Refusing {
            trouble: Trouble::Full {
                path: "/state/journal.db".into(),
            },
            since: 0,
            owed: 2,
        });
        journal.refusing_for = Some(Duration::from_mins(2));
        journal.health.size = Size {
            used: 300 << 20,
            free: 0,
            over_limit: true,
        };
        journal.poison = 1;
        let ill = checks(&journal);
        let states: Vec<State> = ill.iter().map(|check| check.state).collect();
        assert_eq!(states, [State::Fail, State::Warn, State::Warn]);
        let says = &ill[0].says;
        assert!(says.contains("disk of /state/journal.db is full"), "{says}");
        assert!(says.contains("2 things that happened wait"), "{says}");
        let remedy = ill[0].remedy.as_deref().unwrap();
        assert!(
            remedy.contains("make room on the disk of /state"),
            "{remedy}"
        );
        assert!(ill[1].says.contains("300.0 MiB"), "{:?}", ill[1]);
    }
}
