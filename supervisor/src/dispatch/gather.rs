//! How messages of one chat wait together: the modes, and several messages as one text. Pure.
//!
//! | mode | a message that comes while others of its session wait or run |
//! | --- | --- |
//! | `collect` | joins what waits: one turn answers all of it |
//! | `followup` | waits for a turn of its own |
//! | `interrupt` | ends the turn that runs and all that waits, and is next |
//! | `steer` | is handed to the turn that runs, at its next tool boundary; else it waits for a turn of its own |
//!
//! Several messages are kept in the place of one text, with what is needed to drop the oldest: see [`Gathered`].

use std::{fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};

use kennel_shared::envelope::{Sender, TEXT_MAX_BYTES};

/// What becomes of a message that comes while others of its session wait or run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It joins what waits.
    Collect,
    /// It waits for a turn of its own.
    Followup,
    /// It ends what runs and what waits.
    Interrupt,
    /// It goes into the turn that runs.
    Steer,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Collect, Self::Followup, Self::Steer, Self::Interrupt];

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Collect => "collect",
            Self::Followup => "followup",
            Self::Interrupt => "interrupt",
            Self::Steer => "steer",
        }
    }
}

/// What is dropped when too many messages of a session wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropPolicy {
    /// The oldest.
    Oldest,
    /// The one that comes.
    Newest,
    /// The oldest; its first words stay.
    Summarize,
}

impl DropPolicy {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Newest => "newest",
            Self::Summarize => "summarize",
        }
    }
}

/// How the messages of a chat wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queueing {
    /// What becomes of one that comes while others wait or run.
    pub mode: Mode,
    /// How long it must be quiet before what was collected is answered. Zero: at once.
    pub debounce: Duration,
    /// How many may wait in a session, from 1.
    pub cap: u32,
    /// What is dropped beyond that.
    pub drop: DropPolicy,
}

/// Marks a text that holds several. Never the first character of a message: see [`plain`].
const MARK: char = '\u{1e}';

/// Dropped messages whose first words are kept.
const SUMMARIES: usize = 10;

/// The first words of one, in characters.
const SUMMARY_CHARS: usize = 80;

/// One message among several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    from: String,
    text: String,
}

/// Several messages in the place of one text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gathered {
    /// How many were dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    dropped: u32,
    /// The first words of the last of those, where they are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    summaries: Vec<String>,
    parts: Vec<Part>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What came of another message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Whether it was taken.
    pub taken: bool,
    /// How many were dropped: itself, when it was not taken.
    pub dropped: u32,
}

/// A message as it may be kept: not to be taken for several.
pub fn plain(text: String) -> String {
    match text.strip_prefix(MARK) {
        Some(_) => text.trim_start_matches(MARK).to_owned(),
        None => text,
    }
}

/// A kept text as an agent reads it.
pub fn readable(text: String, sender: &Sender) -> String {
    if text.starts_with(MARK) {
        Gathered::read(&text, sender).to_text()
    } else {
        text
    }
}

/// The beginning of a kept text, for a list.
pub fn preview(beginning: String) -> String {
    if beginning.starts_with(MARK) {
        "(several messages)".to_owned()
    } else {
        beginning
    }
}

impl Gathered {
    /// From a text that is kept; of one message, `sender` wrote it.
    pub fn read(text: &str, sender: &Sender) -> Self {
        let several = text
            .strip_prefix(MARK)
            .and_then(|json| serde_json::from_str(json).ok());
        several.unwrap_or_else(|| Self {
            parts: vec![Part {
                from: name(sender),
                text: text.to_owned(),
            }],
            ..Self::default()
        })
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Takes another message in, within `cap` messages and the size of one text.
    pub fn push(&mut self, sender: &Sender, text: &str, cap: u32, drop: DropPolicy) -> Pushed {
        let full = |gathered: &Self| gathered.parts.len() >= cap.max(1) as usize;
        let refused = Pushed {
            taken: false,
            dropped: 1,
        };
        if full(self) && drop == DropPolicy::Newest {
            return refused;
        }
        let mut dropped = 0;
        while full(self) {
            self.drop_oldest(drop == DropPolicy::Summarize);
            dropped += 1;
        }
        self.parts.push(Part {
            from: name(sender),
            text: text.to_owned(),
        });
        while self.to_text().len() > TEXT_MAX_BYTES && self.parts.len() > 1 {
            self.drop_oldest(drop == DropPolicy::Summarize);
            dropped += 1;
        }
        Pushed {
            taken: true,
            dropped,
        }
    }

    /// Takes what another text holds for dropped, ahead of what is here.
    pub fn succeed(&mut self, mut other: Self, summarize: bool) {
        while !other.parts.is_empty() {
            other.drop_oldest(summarize);
        }
        self.dropped += other.dropped;
        other.summaries.append(&mut self.summaries);
        self.summaries = other.summaries;
        self.bound_summaries();
    }

    fn drop_oldest(&mut self, summarize: bool) {
        let Part { text, .. } = self.parts.remove(0);
        self.dropped = self.dropped.saturating_add(1);
        if summarize {
            let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            if let Some((end, _)) = words.char_indices().nth(SUMMARY_CHARS) {
                words.truncate(end);
                words.push('…');
            }
            self.summaries.push(words);
            self.bound_summaries();
        }
    }

    fn bound_summaries(&mut self) {
        let excess = self.summaries.len().saturating_sub(SUMMARIES);
        self.summaries.drain(..excess);
    }

    /// As it is kept.
    pub fn to_kept(&self) -> String {
        match &self.parts[..] {
            [one] if self.dropped == 0 => one.text.clone(),
            _ => format!(
                "{MARK}{}",
                serde_json::to_string(self).expect("texts are JSON")
            ),
        }
    }

    /// As an agent reads it: a line of what was dropped, if its words were kept, and the messages in their order, with
    /// names where they are of several people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        if !self.summaries.is_empty() {
            let quoted: Vec<String> = self.summaries.iter().map(|s| format!("\"{s}\"")).collect();
            let (count, s) = (self.dropped, if self.dropped == 1 { "" } else { "s" });
            let quoted = quoted.join("; ");
            write!(
                text,
                "[{count} earlier message{s} dropped, as too many waited: {quoted}]"
            )
            .expect("a string takes everything");
        }
        let several = self.parts.windows(2).any(|two| two[0].from != two[1].from);
        for part in &self.parts {
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            if several {
                text.push_str(&part.from);
                text.push_str(": ");
            }
            text.push_str(&part.text);
        }
        text
    }
}

fn name(sender: &Sender) -> String {
    sender.name.clone().unwrap_or_else(|| sender.id.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sender(name: &str) -> Sender {
        Sender {
            id: name.to_lowercase(),
            name: Some(name.into()),
        }
    }

    fn gathered(texts: &[&str]) -> Gathered {
        let mut gathered = Gathered::read(texts[0], &sender("Ada"));
        for text in &texts[1..] {
            let pushed = gathered.push(&sender("Ada"), text, 20, DropPolicy::Newest);
            assert!(pushed.taken);
        }
        gathered
    }

    #[test]
    fn one_message_is_kept_as_it_is() {
        let one = gathered(&["hello"]);
        assert_eq!(
            (one.to_kept(), one.to_text()),
            ("hello".into(), "hello".into())
        );
    }

    #[test]
    fn several_are_kept_and_read_in_their_order() {
        let three = gathered(&["one", "two\nlines", "three"]);
        let kept = three.to_kept();
        assert_eq!(Gathered::read(&kept, &sender("Bob")), three);
        assert_eq!(readable(kept, &sender("Bob")), "one\n\ntwo\nlines\n\nthree");
    }

    #[test]
    fn names_stand_where_there_are_several_people() {
        let mut two = gathered(&["lunch?"]);
        two.push(&sender("Bob"), "yes", 20, DropPolicy::Newest);
        assert_eq!(two.to_text(), "Ada: lunch?\n\nBob: yes");
    }

    #[test]
    fn what_is_too_much_is_dropped_by_the_policy() {
        let push = |drop| {
            let mut gathered = gathered(&["one", "two"]);
            let pushed = gathered.push(&sender("Ada"), "three", 2, drop);
            (pushed.taken, pushed.dropped, gathered.to_text())
        };
        assert_eq!(push(DropPolicy::Newest), (false, 1, "one\n\ntwo".into()));
        assert_eq!(push(DropPolicy::Oldest), (true, 1, "two\n\nthree".into()));
        let summary = "[1 earlier message dropped, as too many waited: \"one\"]\n\ntwo\n\nthree";
        assert_eq!(push(DropPolicy::Summarize), (true, 1, summary.into()));
    }

    #[test]
    fn an_heir_tells_of_those_before() {
        let mut heir = gathered(&["new"]);
        heir.succeed(gathered(&["old", "older"]), true);
        assert_eq!(
            heir.to_text(),
            "[2 earlier messages dropped, as too many waited: \"old\"; \"older\"]\n\nnew"
        );
        let mut heir = gathered(&["new"]);
        heir.succeed(gathered(&["old"]), false);
        assert_eq!(heir.to_text(), "new");
        assert_eq!(Gathered::read(&heir.to_kept(), &sender("Ada")), heir);
    }

    #[test]
    fn nobody_writes_the_mark() {
        let forged = format!("{MARK}{MARK}{{\"parts\":[]}}");
        assert_eq!(plain(forged), "{\"parts\":[]}");
        assert_eq!(plain("fine".into()), "fine");
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds_and_loses_nothing_unsaid(
            texts in prop::collection::vec("[a-z ]{0,200}", 1..60),
            cap in 1u32..20,
            policy in prop_oneof![
                Just(DropPolicy::Oldest), Just(DropPolicy::Newest), Just(DropPolicy::Summarize)
            ],
        ) {
            let mut gathered = gathered(&[&texts[0]]);
            let mut dropped = 0;
            for text in &texts[1..] {
                let pushed = gathered.push(&sender("Ada"), text, cap, policy);
                prop_assert_eq!(pushed.taken, policy != DropPolicy::Newest || pushed.dropped == 0);
                dropped += pushed.dropped as usize;
                prop_assert!(gathered.len() <= cap as usize);
                prop_assert!(gathered.summaries.len() <= SUMMARIES);
            }
            prop_assert_eq!(gathered.len() + dropped, texts.len());
            prop_assert_eq!(&Gathered::read(&gathered.to_kept(), &sender("Ada")), &gathered);
        }
    }
}
