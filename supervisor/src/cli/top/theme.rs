//! How things look: in colour, or with bold and reverse only.

use ratatui::style::{Color, Modifier, Style};

use crate::control::wire::AgentState;

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// On its way, or near a limit.
    Notable,
    /// Somebody should look.
    Bad,
    /// Beside what matters.
    Faint,
    /// Names a part of the screen.
    Title,
    /// A picture.
    Chart,
}

impl From<AgentState> for Tone {
    fn from(state: AgentState) -> Self {
        match state {
            AgentState::Ready => Self::Good,
            AgentState::Starting | AgentState::Draining | AgentState::Stopping => Self::Notable,
            AgentState::BackingOff | AgentState::Quarantined | AgentState::Exited => Self::Bad,
            AgentState::Stopped | AgentState::Hibernated | AgentState::Unknown => Self::Faint,
        }
    }
}

/// Whether there is colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    Color,
    Mono,
}

impl Theme {
    pub(super) fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        match (self, tone) {
            (_, Tone::Plain) | (Self::Mono, Tone::Good | Tone::Faint | Tone::Chart) => style,
            (_, Tone::Title) | (Self::Mono, Tone::Notable | Tone::Bad) => {
                style.add_modifier(Modifier::BOLD)
            }
            (Self::Color, Tone::Good) => style.fg(Color::Green),
            (Self::Color, Tone::Notable) => style.fg(Color::Yellow),
            (Self::Color, Tone::Bad) => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Self::Color, Tone::Faint) => style.add_modifier(Modifier::DIM),
            (Self::Color, Tone::Chart) => style.fg(Color::Cyan),
        }
    }

    /// The line that the keys go to, and heads of tables.
    pub(super) fn reversed() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}
