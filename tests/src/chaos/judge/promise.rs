//! What is promised to a speaker, by the mode of the chat. Pure: from what was said, what the session and the journal
//! hold, and what came back.
//!
//! | promise | collect | followup, callers | interrupt |
//! | --- | --- | --- | --- |
//! | turns that name a message | one | one, its own | one, its own; or none, if a later one was there to end it |
//! | answers that name it | one | one | one; or none, if a later one ended it |
//! | what was dropped | is named as dropped, and the chat was told | nothing | nothing |
//! | order | that of asking, turns and answers | the same | the same, of those that are there |
//!
//! An answer may come twice; then it must be marked, which is looked at elsewhere.

use std::collections::{BTreeMap, HashMap};

use kennel::journal::entry::{State, UnixMs};

use crate::chaos::mode::Mode;

/// What a chat is told when something was dropped.
const TOLD: &str = "too many messages wait";

/// What a turn's text begins with that tells of something dropped.
const DROPPED: &str = " dropped, as too many waited: ";

/// One speaker in one session, and everything that is known of it.
#[derive(Debug)]
pub(super) struct Talk<'a> {
    pub(super) session: &'a str,
    pub(super) mode: Mode,
    /// In the order of asking: all begin alike and end in a number.
    pub(super) words: Vec<&'a str>,
    /// What was asked in the session's turns, in order.
    pub(super) turns: &'a [String],
    /// What came back, in order.
    pub(super) answers: Vec<&'a str>,
    /// How each ended, as the journal says.
    pub(super) fates: &'a HashMap<String, Fate>,
}

/// What the journal says of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) state: State,
    /// When it was accepted.
    pub(super) received: UnixMs,
    /// When it ended.
    pub(super) ended: Option<UnixMs>,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// No turn, or no answer.
    pub(super) lost: Vec<String>,
    /// More than one turn, or one with another message where each has its own.
    pub(super) doubled: Vec<String>,
    /// Out of order.
    pub(super) disordered: Vec<String>,
    /// Answers that came more than once: their words.
    pub(super) repeated: Vec<String>,
    /// Ended by a later message.
    pub(super) superseded: usize,
    /// Named as dropped.
    pub(super) dropped: usize,
    /// Answered together with another.
    pub(super) gathered: usize,
}

/// Judges one talk.
pub(super) fn judge(talk: &Talk<'_>, findings: &mut Findings) {
    let Some(first) = talk.words.first() else {
        return;
    };
    let stem = first.trim_end_matches(|c: char| c.is_ascii_digit());
    let named: Vec<Vec<&str>> = talk.turns.iter().map(|text| words_in(text, stem)).collect();
    let turns = counted(named.iter().flatten());
    let heard: Vec<Vec<&str>> = talk
        .answers
        .iter()
        .map(|text| words_in(text, stem))
        .collect();
    let answers = counted(heard.iter().flatten());
    let count = |of: &BTreeMap<&str, usize>, word: &str| of.get(word).copied().unwrap_or(0);
    let session = talk.session;
    for (place, word) in talk.words.iter().enumerate() {
        let (turns, answers) = (count(&turns, word), count(&answers, word));
        if turns > 1 {
            let doubled = format!("{word} has {turns} turns in {session}");
            findings.doubled.push(doubled);
        }
        if talk.mode == Mode::Interrupt {
            let fate = talk.fates.get(*word);
            match fate.map(|fate| fate.state) {
                Some(State::Cancelled) if had_come(fate, &talk.words[place + 1..], talk.fates) => {
                    findings.superseded += 1;
                    if answers > 0 {
                        let both = format!("{word} was ended by a later one, and answered");
                        findings.doubled.push(both);
                    }
                    continue;
                }
                Some(State::Replied) => {}
                other => {
                    let what = format!("{word} ended as {other:?} in {session}");
                    findings.lost.push(what);
                    continue;
                }
            }
        }
        if turns == 0 {
            let what = format!("{word} has no turn in {session}");
            findings.lost.push(what);
        }
        match answers {
            0 => findings.lost.push(format!("{word} has no answer")),
            1 => {}
            _ => findings.repeated.push((*word).to_owned()),
        }
    }
    together(talk, &named, findings);
    let place_of = |word: &&str| talk.words.iter().position(|known| known == word);
    let in_turns: Vec<_> = named.iter().flatten().map(place_of).collect();
    if !in_turns.is_sorted() {
        let disordered = format!("{session}: {named:?}");
        findings.disordered.push(disordered);
    }
    // Of an answer that came again, the first counts.
    let mut first_heard: Vec<&str> = Vec::new();
    for word in heard.into_iter().flatten() {
        if !first_heard.contains(&word) {
            first_heard.push(word);
        }
    }
    if !first_heard.iter().map(place_of).is_sorted() {
        let disordered = format!("answers of {session}");
        findings.disordered.push(disordered);
    }
}

/// Whether one of those that came later was there when a message ended.
fn had_come(fate: Option<&Fate>, later: &[&str], fates: &HashMap<String, Fate>) -> bool {
    let ended = fate.and_then(|fate| fate.ended);
    let mut later = later.iter().filter_map(|word| fates.get(*word));
    later.any(|later| ended.is_some_and(|ended| later.received <= ended))
}

/// Who shared a turn, and who was only named in it as dropped.
fn together(talk: &Talk<'_>, named: &[Vec<&str>], findings: &mut Findings) {
    let mut dropped = 0;
    for (text, words) in talk.turns.iter().zip(named) {
        if talk.mode == Mode::Collect {
            let (line, _) = text.split_once("]\n\n").unwrap_or(("", text));
            let of_dropped = line.starts_with('[') && line.contains(DROPPED);
            let is_dropped = |word: &&&str| of_dropped && super::names(line, word);
            let here = words.iter().filter(is_dropped).count();
            dropped += here;
            findings.gathered += (words.len() - here).saturating_sub(1);
        } else if words.len() > 1 {
            let shared = format!("{words:?} share a turn in {}", talk.session);
            findings.doubled.push(shared);
        }
    }
    findings.dropped += dropped;
    if dropped > 0 && !talk.answers.iter().any(|text| text.contains(TOLD)) {
        let untold = format!(
            "{dropped} of {} were dropped, and nobody was told",
            talk.session
        );
        findings.lost.push(untold);
    }
}

/// The words with this beginning that a text names, each once, in order.
fn words_in<'a>(text: &'a str, stem: &str) -> Vec<&'a str> {
    let mut found: Vec<&str> = Vec::new();
    for (at, _) in text.match_indices(stem) {
        let number = &text[at + stem.len()..];
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        let word = &text[at..at + stem.len() + digits];
        if digits > 0 && !found.contains(&word) {
            found.push(word);
        }
    }
    found
}

fn counted<'a, 'b>(words: impl Iterator<Item = &'b &'a str>) -> BTreeMap<&'a str, usize>
where
    'a: 'b,
{
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(*word).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 3] = ["w-1", "w-2", "w-3"];

    fn judged(
        mode: Mode,
        turns: &[&str],
        answers: &[&'static str],
        states: [State; 3],
    ) -> Findings {
        // Each comes in the moment in which the one before it ends.
        let fates = (0..).zip(states).map(|(at, state)| Fate {
            state,
            received: at,
            ended: Some(at + 1),
        });
        judged_by(mode, turns, answers, fates)
    }

    fn judged_by(
        mode: Mode,
        turns: &[&str],
        answers: &[&'static str],
        fates: impl Iterator<Item = Fate>,
    ) -> Findings {
        let turns: Vec<String> = turns.iter().map(|text| (*text).to_owned()).collect();
        let fates = WORDS.map(str::to_owned).into_iter().zip(fates).collect();
        let talk = Talk {
            session: "s",
            mode,
            words: WORDS.to_vec(),
            turns: &turns,
            answers: answers.to_vec(),
            fates: &fates,
        };
        let mut findings = Findings::default();
        judge(&talk, &mut findings);
        findings
    }

    /// How many were lost, doubled, out of order and repeated.
    fn bad(findings: &Findings) -> [usize; 4] {
        [
            findings.lost.len(),
            findings.doubled.len(),
            findings.disordered.len(),
            findings.repeated.len(),
        ]
    }

    const REPLIED: [State; 3] = [State::Replied; 3];

    #[test]
    fn words_are_found_in_order_and_whole() {
        assert_eq!(
            words_in("!sleep 3 w-12 w-1 w-12 w- xw-7", "w-"),
            ["w-12", "w-1", "w-7"]
        );
        assert_eq!(words_in("nothing", "w-"), [""; 0]);
    }

    #[test]
    fn each_has_a_turn_of_its_own() {
        let followup = |turns, answers| bad(&judged(Mode::Followup, turns, answers, REPLIED));
        assert_eq!(followup(&WORDS, &WORDS), [0; 4]);
        assert_eq!(followup(&["w-1", "w-3"], &WORDS), [1, 0, 0, 0]);
        assert_eq!(followup(&WORDS, &["w-1", "w-3"]), [1, 0, 0, 0]);
        assert_eq!(
            followup(&["w-1", "w-2", "w-2", "w-3"], &WORDS),
            [0, 1, 0, 0]
        );
        assert_eq!(followup(&["w-2", "w-1", "w-3"], &WORDS), [0, 0, 1, 0]);
        assert_eq!(followup(&WORDS, &["w-1", "w-3", "w-2"]), [0, 0, 1, 0]);
        assert_eq!(followup(&["w-1 w-2", "w-3"], &WORDS), [0, 1, 0, 0]);
        // Again, which must be marked, and is not out of order.
        assert_eq!(
            followup(&WORDS, &["w-1", "w-2", "w-1", "w-3"]),
            [0, 0, 0, 1]
        );
    }

    #[test]
    fn what_is_collected_is_in_one_turn_or_was_said_to_be_dropped() {
        let collect = |turns: &[&str], answers: &[&'static str]| {
            judged(Mode::Collect, turns, answers, REPLIED)
        };
        let all = collect(&["w-1\n\nw-2", "w-3"], &["w-1\n\nw-2", "w-3"]);
        assert_eq!((bad(&all), all.gathered, all.dropped), ([0; 4], 1, 0));
        let lost = collect(&["w-1\n\nw-3"], &["w-1\n\nw-3"]);
        assert_eq!(bad(&lost), [2, 0, 0, 0], "neither a turn nor an answer");
        let twice = collect(&["w-1\n\nw-2", "w-2\n\nw-3"], &["w-1\n\nw-2", "w-3"]);
        assert_eq!(bad(&twice), [0, 1, 0, 0]);
        let turned = collect(&["w-2\n\nw-1", "w-3"], &["w-2\n\nw-1", "w-3"]);
        assert_eq!(bad(&turned), [0, 0, 2, 0]);
        let line = "[1 earlier message dropped, as too many waited: \"w-1\"]\n\nw-2\n\nw-3";
        let silent = collect(&[line], &[line]);
        assert_eq!((bad(&silent), silent.dropped), ([1, 0, 0, 0], 1));
        let told = collect(&[line], &["too many messages wait", line]);
        assert_eq!((bad(&told), told.dropped, told.gathered), ([0; 4], 1, 1));
    }

    #[test]
    fn what_is_interrupted_is_answered_or_has_a_later_one() {
        use State::{Cancelled, Failed, Replied};
        let interrupt = |turns: &[&str], answers: &[&'static str], states| {
            judged(Mode::Interrupt, turns, answers, states)
        };
        let last = ["w-3"];
        let ended = [Cancelled, Cancelled, Replied];
        let fine = interrupt(&last, &last, ended);
        assert_eq!((bad(&fine), fine.superseded), ([0; 4], 2));
        assert_eq!(bad(&interrupt(&WORDS, &WORDS, REPLIED)), [0; 4]);
        let both = interrupt(&last, &["w-1", "w-3"], ended);
        assert_eq!(bad(&both), [0, 1, 0, 0]);
        let unanswered = interrupt(&WORDS, &["w-1", "w-3"], REPLIED);
        assert_eq!(bad(&unanswered), [1, 0, 0, 0]);
        // Nobody came after it.
        let silenced = interrupt(&["w-1"], &["w-1"], [Replied, Cancelled, Cancelled]);
        assert_eq!((bad(&silenced), silenced.superseded), ([1, 0, 0, 0], 1));
        // One came after it, and too late to have ended it.
        let fate = |state, received, ended| Fate {
            state,
            received,
            ended: Some(ended),
        };
        let fates = [
            fate(Cancelled, 0, 3),
            fate(Cancelled, 5, 6),
            fate(Replied, 7, 8),
        ];
        let early = judged_by(Mode::Interrupt, &last, &last, fates.into_iter());
        assert_eq!((bad(&early), early.superseded), ([2, 0, 0, 0], 0));
        let failed = interrupt(&last, &last, [Failed, Cancelled, Replied]);
        assert_eq!(bad(&failed), [1, 0, 0, 0]);
    }
}
