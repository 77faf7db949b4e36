//! What became of every message: what is promised is in [`promise`]. Beside that, in all modes:
//!
//! - A command ran at most once.
//! - An answer that came twice is marked as doubtful in the journal, and nothing else came twice.
//! - Nothing is left to be done.

mod promise;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::Path,
};

use anyhow::Context as _;
use kennel::journal::{
    Reader,
    reader::{Behind, View},
};
use rusqlite::{Connection, OpenFlags};

use self::promise::{Fate, Findings, Talk};
use super::{AGENTS, load::Said};
use crate::fake_telegram::FakeTelegram;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    said: usize,
    found: Findings,
    /// The texts that the journal marks as doubtful.
    marked: Vec<String>,
    /// Left to be done.
    open: usize,
}

impl Verdict {
    pub(super) fn of(telegram: &FakeTelegram, said: &[Said], root: &Path) -> anyhow::Result<Self> {
        let mut verdict = Self {
            said: said.len(),
            ..Self::default()
        };
        let mut turns: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut ran: HashMap<String, usize> = HashMap::new();
        for agent in AGENTS {
            let home = root.join("state/agents").join(agent);
            questions(&home.join("store.db"), &mut turns)?;
            for word in ran_in(&home)? {
                *ran.entry(word).or_default() += 1;
            }
        }
        for (word, times) in ran {
            if times > 1 {
                let again = format!("the command of {word} ran {times} times");
                verdict.found.doubled.push(again);
            }
        }
        let fates = verdict.journal(root, said)?;
        verdict.talks(telegram, said, &turns, &fates);
        Ok(verdict)
    }

    /// Holds each talk to its promises.
    fn talks(
        &mut self,
        telegram: &FakeTelegram,
        said: &[Said],
        turns: &BTreeMap<String, Vec<String>>,
        fates: &HashMap<String, Fate>,
    ) {
        let mut talks: BTreeMap<&str, Vec<&Said>> = BTreeMap::new();
        for said in said {
            talks.entry(&said.session).or_default().push(said);
        }
        for (session, said) in talks {
            let heard: Vec<String> = match said[0].chat {
                Some((bot, person)) => {
                    let sent = telegram.sent(bot).into_iter();
                    let sent = sent.filter(|sent| sent.chat_id == person);
                    sent.map(|sent| sent.text).collect()
                }
                None => said
                    .iter()
                    .filter_map(|said| said.answered.clone())
                    .collect(),
            };
            let talk = Talk {
                session,
                mode: said[0].mode,
                words: said.iter().map(|said| said.word.as_str()).collect(),
                turns: turns.get(session).map_or(&[], Vec::as_slice),
                answers: heard.iter().map(String::as_str).collect(),
                fates,
            };
            promise::judge(&talk, &mut self.found);
        }
    }

    /// What is left to be done and what is marked; and how each message ended.
    fn journal(&mut self, root: &Path, said: &[Said]) -> anyhow::Result<HashMap<String, Fate>> {
        let mut fates = HashMap::new();
        let words: HashMap<&str, &str> = said
            .iter()
            .map(|said| (said.text.as_str(), said.word.as_str()))
            .collect();
        let reader = Reader::open(&root.join("state").join(kennel::journal::FILE))?;
        let open = reader.list(View::Open, None, None, 1000)?;
        self.open = open.entries.len();
        for channel in reader.owing()? {
            self.open += reader.owed_count(&channel)?;
        }
        let mut behind: Option<Behind> = None;
        loop {
            let window = reader.list(View::All, None, behind.as_ref(), 1000)?;
            for listed in window.entries {
                let shown = reader.show(listed.delivery)?;
                let text = shown.as_ref().and_then(|shown| shown.text.as_deref());
                if let Some(word) = text.and_then(|text| words.get(text)) {
                    let end = shown.as_ref().and_then(|shown| shown.end.as_ref());
                    let fate = Fate {
                        state: listed.state,
                        received: listed.received,
                        ended: end.map(|end| end.at),
                    };
                    fates.insert((*word).to_owned(), fate);
                }
                let sends = shown.map(|shown| shown.sends).unwrap_or_default();
                let doubtful = sends.into_iter().filter(|send| send.doubtful);
                self.marked.extend(doubtful.map(|send| send.text));
            }
            match window.next {
                Some(next) => behind = Some(next),
                None => return Ok(fates),
            }
        }
    }

    /// The promises that were broken.
    pub(super) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut list = |what: &str, found: &[String]| {
            if !found.is_empty() {
                let first = found
                    .iter()
                    .take(10)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join("\n  ");
                broken.push(format!("{what}: {}\n  {first}", found.len()));
            }
        };
        list("lost", &self.found.lost);
        list("doubled", &self.found.doubled);
        list("out of order", &self.found.disordered);
        let unmarked = |word: &&String| !self.marked.iter().any(|text| names(text, word));
        let unmarked: Vec<String> = self
            .found
            .repeated
            .iter()
            .filter(unmarked)
            .cloned()
            .collect();
        list("came again and is not marked", &unmarked);
        if self.open > 0 {
            broken.push(format!("{} things are left to be done", self.open));
        }
        if self.said == 0 {
            broken.push("nothing was said".into());
        }
        broken
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.found;
        write!(
            f,
            "{} messages: {} lost, {} doubled, {} sessions out of order, {} left open; {} answered with another, \
             {} named as dropped, {} ended by a later one; {} answers sent again, {} marked as doubtful",
            self.said,
            found.lost.len(),
            found.doubled.len(),
            found.disordered.len(),
            self.open,
            found.gathered,
            found.dropped,
            found.superseded,
            found.repeated.len(),
            self.marked.len()
        )
    }
}

/// Whether a text names a word, and no longer one.
pub(super) fn names(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let behind = text[at + word.len()..].chars().next();
        behind.is_none_or(|c| !c.is_ascii_digit())
    })
}

/// What was asked in each session of a store, in order.
fn questions(store: &Path, into: &mut BTreeMap<String, Vec<String>>) -> anyhow::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let store = Connection::open_with_flags(store, flags)
        .with_context(|| format!("{} cannot be opened", store.display()))?;
    let mut rows = store.prepare(
        "SELECT s.key, m.content FROM messages m JOIN sessions s ON s.id = m.session
         WHERE m.role = 0 AND m.tools IS NULL ORDER BY m.session, m.seq",
    )?;
    let mut rows = rows.query(())?;
    while let Some(row) = rows.next()? {
        into.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    Ok(())
}

/// The words that commands wrote down, in the workspace or beside it.
fn ran_in(home: &Path) -> anyhow::Result<Vec<String>> {
    let file = home.join("workspace/ran");
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_not_the_beginning_of_another() {
        assert!(names("!sleep 3 tg-a-11-1", "tg-a-11-1"));
        assert!(!names("!sleep 3 tg-a-11-12", "tg-a-11-1"));
        assert!(names("echo tg-a-11-1 | tee", "tg-a-11-1"));
    }
}
