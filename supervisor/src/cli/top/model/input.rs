//! What keys do, by where they go.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    super::keys::{self, Command},
    Action, Detail, Effect, FILTER_MAX, Mode, Model, Section,
};

impl Model {
    pub(super) fn key(&mut self, key: &KeyEvent) -> Vec<Effect> {
        self.notice = None;
        let command = keys::command(key);
        // Whatever the keys are for otherwise.
        if key.modifiers.contains(KeyModifiers::CONTROL)
            && let Some(command) = command
        {
            return self.command(command);
        }
        match std::mem::replace(&mut self.mode, Mode::Table) {
            Mode::Table => command.map_or_else(Vec::new, |command| self.command(command)),
            Mode::Help => Vec::new(),
            Mode::Filter => self.typed(key),
            Mode::Confirm(agent, action) => self.answered(key, agent, action),
        }
    }

    fn answered(&mut self, key: &KeyEvent, agent: String, action: Action) -> Vec<Effect> {
        if !matches!(key.code, KeyCode::Char('y' | 'Y')) {
            self.say(format!("{agent} is left as it is"));
            return Vec::new();
        }
        self.say(match action {
            Action::Start => format!("starting {agent}…"),
            Action::Stop => format!("stopping {agent}…"),
            Action::Restart => format!("restarting {agent}…"),
        });
        vec![Effect::Act(agent, action)]
    }

    fn typed(&mut self, key: &KeyEvent) -> Vec<Effect> {
        match key.code {
            KeyCode::Enter => return Vec::new(),
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Backspace if self.filter.is_empty() => return Vec::new(),
            KeyCode::Backspace => {
                self.filter.pop();
                self.mode = Mode::Filter;
            }
            KeyCode::Char(c) => {
                if !c.is_control() && self.filter.chars().count() < FILTER_MAX {
                    self.filter.push(c);
                }
                self.mode = Mode::Filter;
            }
            code => {
                self.mode = Mode::Filter;
                return match code {
                    KeyCode::Up => self.command(Command::Up),
                    KeyCode::Down => self.command(Command::Down),
                    _ => Vec::new(),
                };
            }
        }
        self.arrange();
        self.follow()
    }

    fn command(&mut self, command: Command) -> Vec<Effect> {
        match command {
            Command::Quit => return vec![Effect::Quit],
            Command::Suspend => return vec![Effect::Suspend],
            Command::Redraw => return vec![Effect::Redraw],
            Command::Help => self.mode = Mode::Help,
            Command::Filter => self.mode = Mode::Filter,
            Command::Ask(action) => self.ask(action),
            Command::Sort(key) => {
                self.order = self.order.pressed(key);
                self.arrange();
            }
            Command::Reverse => {
                self.order.reversed = !self.order.reversed;
                self.arrange();
            }
            Command::Open => return self.open(),
            Command::Back => return self.back(),
            Command::NextSection => {
                if let Some(detail) = &mut self.detail {
                    detail.section = detail.section.next();
                    detail.scroll = 0;
                }
            }
            Command::Up
            | Command::Down
            | Command::PageUp
            | Command::PageDown
            | Command::First
            | Command::Last => return self.go(command),
        }
        Vec::new()
    }

    fn ask(&mut self, action: Action) {
        match self.selected().map(|agent| agent.id.clone()) {
            Some(agent) => self.mode = Mode::Confirm(agent, action),
            None => self.say("no agent is selected"),
        }
    }

    fn open(&mut self) -> Vec<Effect> {
        if self.detail.take().is_some() {
            return vec![Effect::Watch(None)];
        }
        let Some(agent) = self.selected().map(|agent| agent.id.clone()) else {
            return Vec::new();
        };
        self.detail = Some(Detail::new(agent.clone(), Section::Overview));
        vec![Effect::Watch(Some(agent))]
    }

    /// Out of a section, out of the pane, out of the filter: one at a time.
    fn back(&mut self) -> Vec<Effect> {
        if let Some(detail) = &mut self.detail {
            if detail.section != Section::Overview {
                detail.section = Section::Overview;
                detail.scroll = 0;
                return Vec::new();
            }
            self.detail = None;
            return vec![Effect::Watch(None)];
        }
        self.filter.clear();
        self.arrange();
        Vec::new()
    }
}
