//! What became of every message.
//!
//! - A message that was acknowledged has exactly one turn in its session, and its answer was delivered.
//! - A session has its turns in the order in which they were asked.
//! - A command ran at most once.
//! - An answer that came twice is marked as doubtful in the journal, and nothing else came twice.
//! - Nothing is left to be done.

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

use super::{
    AGENTS,
    load::{BOTS, Said},
};
use crate::fake_telegram::FakeTelegram;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    said: usize,
    /// No turn, or no answer.
    lost: Vec<String>,
    /// More than one turn, or a command that ran again.
    doubled: Vec<String>,
    /// Out of order.
    disordered: Vec<String>,
    /// Answers that came more than once: their words.
    repeated: Vec<String>,
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
        verdict.sessions(said, &turns);
        for (word, times) in ran {
            if times > 1 {
                verdict
                    .doubled
                    .push(format!("the command of {word} ran {times} times"));
            }
        }
        verdict.journal(root)?;
        verdict.answers(telegram, said);
        Ok(verdict)
    }

    /// Each question once, in order.
    fn sessions(&mut self, said: &[Said], turns: &BTreeMap<String, Vec<String>>) {
        let mut expected: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for said in said {
            expected.entry(&said.session).or_default().push(&said.word);
        }
        let none = Vec::new();
        for (session, words) in expected {
            let asked = turns.get(session).unwrap_or(&none);
            // By the word that each has: the text around it says what to do.
            let mut found = Vec::new();
            for text in asked {
                let is = |word: &&&str| names(text, word);
                found.extend(words.iter().find(is).copied());
            }
            for word in &words {
                match found.iter().filter(|found| *found == word).count() {
                    0 => self.lost.push(format!("{word} has no turn in {session}")),
                    1 => {}
                    n => self
                        .doubled
                        .push(format!("{word} has {n} turns in {session}")),
                }
            }
            let place = |word: &&str| words.iter().position(|known| known == word);
            if !found.iter().map(place).is_sorted() {
                self.disordered.push(format!("{session}: {found:?}"));
            }
        }
    }

    fn answers(&mut self, telegram: &FakeTelegram, said: &[Said]) {
        let sent: HashMap<&str, _> = BOTS
            .iter()
            .map(|bot| (bot.token, telegram.sent(bot.token)))
            .collect();
        for said in said {
            let Some(bot) = said.bot else {
                match &said.answered {
                    Some(reply) if names(reply, &said.word) => {}
                    other => self
                        .lost
                        .push(format!("{} was answered {other:?}", said.word)),
                }
                continue;
            };
            let answers = sent[bot].iter();
            let count = answers.filter(|sent| names(&sent.text, &said.word)).count();
            match count {
                0 => self
                    .lost
                    .push(format!("{} has no answer in its chat", said.word)),
                1 => {}
                _ => self.repeated.push(said.word.clone()),
            }
        }
        // Of each chat: the answers came in the order in which was asked.
        let mut chats: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for said in said {
            let Some(bot) = said.bot else { continue };
            let mut answers = sent[bot].iter();
            let first = answers.position(|sent| names(&sent.text, &said.word));
            chats.entry(&said.session).or_default().extend(first);
        }
        for (session, places) in chats {
            if !places.is_sorted() {
                self.disordered.push(format!("answers of {session}"));
            }
        }
    }

    fn journal(&mut self, root: &Path) -> anyhow::Result<()> {
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
                let sends = shown.map(|shown| shown.sends).unwrap_or_default();
                let doubtful = sends.into_iter().filter(|send| send.doubtful);
                self.marked.extend(doubtful.map(|send| send.text));
            }
            match window.next {
                Some(next) => behind = Some(next),
                None => return Ok(()),
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
        list("lost", &self.lost);
        list("doubled", &self.doubled);
        list("out of order", &self.disordered);
        let unmarked = |word: &&String| !self.marked.iter().any(|text| names(text, word));
        let unmarked: Vec<String> = self.repeated.iter().filter(unmarked).cloned().collect();
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
        write!(
            f,
            "{} messages: {} lost, {} doubled, {} sessions out of order, {} left open; {} answers sent again, {} marked as doubtful",
            self.said,
            self.lost.len(),
            self.doubled.len(),
            self.disordered.len(),
            self.open,
            self.repeated.len(),
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

    #[test]
    fn what_is_missing_doubled_or_misplaced_is_found() {
        let said = |word: &str| Said {
            session: "s".into(),
            word: word.into(),
            bot: None,
            tool: false,
            answered: Some(word.into()),
        };
        let said = [said("w-1"), said("w-2"), said("w-3"), said("w-4")];
        let mut verdict = Verdict::default();
        let asked = ["w-1", "w-3", "w-2", "w-3"].map(str::to_owned).to_vec();
        verdict.sessions(&said, &BTreeMap::from([("s".to_owned(), asked)]));
        assert_eq!(
            (
                verdict.lost.len(),
                verdict.doubled.len(),
                verdict.disordered.len()
            ),
            (1, 1, 1)
        );
    }
}
