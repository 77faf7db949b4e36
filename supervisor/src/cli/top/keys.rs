//! What keys ask for. The help is made from the same list that the keys are looked up in.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::sort::SortKey;
use crate::control::wire::Action;

/// What a key asks for while nothing else is being typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    Suspend,
    Redraw,
    Help,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Open,
    Back,
    NextSection,
    Filter,
    Sort(SortKey),
    Reverse,
    Ask(Action),
}

/// A key, how it is written in the help, and what it asks for.
struct Bound {
    code: KeyCode,
    command: Command,
}

const fn key(code: KeyCode, command: Command) -> Bound {
    Bound { code, command }
}

const fn letter(letter: char, command: Command) -> Bound {
    key(KeyCode::Char(letter), command)
}

const BINDINGS: [Bound; 35] = [
    key(KeyCode::Up, Command::Up),
    letter('k', Command::Up),
    key(KeyCode::Down, Command::Down),
    letter('j', Command::Down),
    key(KeyCode::PageUp, Command::PageUp),
    key(KeyCode::PageDown, Command::PageDown),
    letter(' ', Command::PageDown),
    key(KeyCode::Home, Command::First),
    letter('g', Command::First),
    key(KeyCode::End, Command::Last),
    letter('G', Command::Last),
    key(KeyCode::Enter, Command::Open),
    key(KeyCode::Esc, Command::Back),
    key(KeyCode::Backspace, Command::Back),
    key(KeyCode::Tab, Command::NextSection),
    letter('/', Command::Filter),
    letter('c', Command::Sort(SortKey::Cpu)),
    letter('m', Command::Sort(SortKey::Memory)),
    letter('n', Command::Sort(SortKey::Name)),
    letter('w', Command::Sort(SortKey::Queue)),
    letter('u', Command::Sort(SortKey::Turns)),
    letter('x', Command::Sort(SortKey::Restarts)),
    letter('l', Command::Sort(SortKey::Lag)),
    letter('i', Command::Reverse),
    letter('r', Command::Ask(Action::Restart)),
    letter('s', Command::Ask(Action::Stop)),
    letter('t', Command::Ask(Action::Start)),
    letter('?', Command::Help),
    letter('h', Command::Help),
    key(KeyCode::F(1), Command::Help),
    letter('q', Command::Quit),
    letter('Q', Command::Quit),
    key(KeyCode::F(10), Command::Quit),
    key(KeyCode::F(5), Command::Redraw),
    key(KeyCode::F(3), Command::Filter),
];

/// The help: keys, and what they do.
pub(super) const HELP: [(&str, &str); 17] = [
    ("↑ ↓ j k", "one agent up or down"),
    ("PgUp PgDn Space", "one page up or down"),
    ("Home End g G", "the first, the last"),
    ("Enter", "look into the agent, and back"),
    ("Tab", "there: processes, events, log in full"),
    ("/", "show only names with these letters; Esc ends it"),
    ("c m n", "order by CPU, memory, name"),
    ("w u", "order by what waits, by turns"),
    ("x l", "order by restarts, by lag"),
    ("i, or the key again", "turn the order around"),
    ("r", "restart the agent, after its turn"),
    ("s", "stop it; it stays down"),
    ("t", "start it"),
    ("F5 Ctrl-L", "draw anew"),
    ("Ctrl-Z", "back to the shell, `fg` returns"),
    ("? h", "this"),
    ("q Ctrl-C", "leave"),
];

/// The help, for `--help` and the reference.
pub(in crate::cli) fn written() -> String {
    let lines = HELP
        .iter()
        .map(|(keys, what)| format!("\n  {keys:<19}  {what}"));
    ["Keys:".to_owned()].into_iter().chain(lines).collect()
}

/// What a key asks for, if anything.
pub(super) fn command(key: &KeyEvent) -> Option<Command> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Command::Quit),
            KeyCode::Char('z') => Some(Command::Suspend),
            KeyCode::Char('l') => Some(Command::Redraw),
            _ => None,
        };
    }
    let bound = BINDINGS.iter().find(|bound| bound.code == key.code)?;
    Some(bound.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_help_does_something() {
        let written = HELP.iter().flat_map(|(keys, _)| keys.split(' '));
        for word in written {
            let code = match word {
                "↑" => KeyCode::Up,
                "↓" => KeyCode::Down,
                "PgUp" => KeyCode::PageUp,
                "PgDn" => KeyCode::PageDown,
                "Space" => KeyCode::Char(' '),
                "Home" => KeyCode::Home,
                "End" => KeyCode::End,
                "Enter" => KeyCode::Enter,
                "Tab" => KeyCode::Tab,
                "F5" => KeyCode::F(5),
                "i," => KeyCode::Char('i'),
                "or" | "the" | "key" | "again" => continue,
                word if word.starts_with("Ctrl-") => {
                    let letter = word.chars().last().unwrap().to_ascii_lowercase();
                    let key = KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
                    assert!(command(&key).is_some(), "{word}");
                    continue;
                }
                word => {
                    assert_eq!(word.chars().count(), 1, "{word}");
                    KeyCode::Char(word.chars().next().unwrap())
                }
            };
            let key = KeyEvent::new(code, KeyModifiers::NONE);
            assert!(command(&key).is_some(), "{word}");
        }
    }

    #[test]
    fn a_key_is_bound_once() {
        for (index, bound) in BINDINGS.iter().enumerate() {
            let twice = BINDINGS[..index]
                .iter()
                .any(|other| other.code == bound.code);
            assert!(!twice, "{:?}", bound.code);
        }
    }

    #[test]
    fn control_makes_another_key() {
        let key = KeyEvent::new(KeyCode::Char('r'), KeyModifiers::CONTROL);
        assert_eq!(command(&key), None);
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(command(&key), Some(Command::Quit));
    }
}
