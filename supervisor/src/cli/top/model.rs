//! What the screen shows, and what keys and news do to it.
//!
//! Pure: no terminal, no socket, no clock. [`Model::on_event`] says what the shell is to do,
//! [`super::draw`] paints what there is.
//!
//! ```text
//!            /                    r s t
//! Filter ◄──────► Table ◄──────────────────► Confirm
//!          Enter    ▲     y, or any other key
//!           Esc     │ ?, any key
//!                   ▼
//!                  Help
//! ```
//!
//! The agent that is selected is remembered by its name: it stays selected when the order changes, so
//! that a key never hits another agent than the one that was looked at.

mod history;
mod input;
mod select;

use std::collections::{BTreeMap, VecDeque};

use ratatui::{crossterm::event::KeyEvent, layout::Size};

pub(super) use self::history::{History, fleet_cpu, fleet_memory, float};
use super::{
    layout,
    sort::{Order, SortKey},
    text::safe,
    theme::Theme,
};
use crate::control::wire::{Action, AgentStatus, LifecycleEvent, ProcessList, Status};

/// Older events are forgotten.
const EVENTS_KEPT: usize = 1000;

/// Older lines of a log are forgotten.
const LINES_KEPT: usize = 1000;

/// The longest filter.
const FILTER_MAX: usize = 64;

/// What happens to the screen.
#[derive(Debug)]
pub(super) enum Event {
    /// A key was pressed.
    Key(KeyEvent),
    /// The terminal has this size now.
    Resize(Size),
    /// The supervisor answered.
    Status(Box<Status>),
    /// It did not, and why.
    Lost(String),
    /// Something happened to an agent.
    Lifecycle(Box<LifecycleEvent>),
    /// The log of an agent comes, from its tail.
    LogBegins(String),
    /// A line of an agent's log.
    LogLine(String, String),
    /// The processes of an agent, or why they cannot be told.
    Processes(String, Result<ProcessList, String>),
    /// What came of an action.
    Acted(Result<String, String>),
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Leave.
    Quit,
    /// Give the terminal back to the shell for a while.
    Suspend,
    /// Paint everything anew.
    Redraw,
    /// Do this to an agent, and ask for the status when it is done.
    Act(String, Action),
    /// Look into this agent: its processes, its log. Into none when absent.
    Watch(Option<String>),
}

/// Where keys go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// To the table and the pane.
    Table,
    /// Into the filter.
    Filter,
    /// They answer a question.
    Confirm(String, Action),
    /// They close the help.
    Help,
}

/// Parts of the pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// A little of everything.
    Overview,
    Processes,
    Events,
    Log,
}

impl Section {
    fn next(self) -> Self {
        match self {
            Self::Overview => Self::Processes,
            Self::Processes => Self::Events,
            Self::Events => Self::Log,
            Self::Log => Self::Overview,
        }
    }
}

/// What is known of the agent that is looked into.
#[derive(Debug)]
pub(super) struct Detail {
    pub(super) agent: String,
    pub(super) section: Section,
    /// How far the section is scrolled: lines from the top, for the log and events from the end.
    pub(super) scroll: usize,
    pub(super) processes: Option<Result<ProcessList, String>>,
    pub(super) log: VecDeque<String>,
}

impl Detail {
    fn new(agent: String, section: Section) -> Self {
        Self {
            agent,
            section,
            scroll: 0,
            processes: None,
            log: VecDeque::new(),
        }
    }
}

/// The last line of the screen, until a key is pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) text: String,
    pub(super) bad: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) theme: Theme,
    pub(super) size: Size,
    pub(super) order: Order,
    pub(super) filter: String,
    pub(super) mode: Mode,
    pub(super) notice: Option<Notice>,
    /// The last answer of the supervisor.
    pub(super) status: Option<Status>,
    /// Why there is none any more.
    pub(super) lost: Option<String>,
    pub(super) events: VecDeque<LifecycleEvent>,
    pub(super) detail: Option<Detail>,
    /// What the table shows: positions in the status, in order.
    pub(super) rows: Vec<usize>,
    pub(super) agents: BTreeMap<String, History>,
    pub(super) fleet: History,
    pub(super) host: History,
    selected: Option<String>,
    /// The row that it was last seen in.
    at: usize,
}

impl Model {
    pub(super) fn new(theme: Theme, size: Size, sort: SortKey) -> Self {
        Self {
            theme,
            size,
            order: Order::by(sort),
            filter: String::new(),
            mode: Mode::Table,
            notice: None,
            status: None,
            lost: None,
            events: VecDeque::new(),
            detail: None,
            rows: Vec::new(),
            agents: BTreeMap::new(),
            fleet: History::default(),
            host: History::default(),
            selected: None,
            at: 0,
        }
    }

    pub(super) fn on_event(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Key(key) => return self.key(&key),
            Event::Resize(size) => {
                self.size = size;
                // In full: one that comes back to its size may have lost on the way what it showed.
                return vec![Effect::Redraw];
            }
            Event::Status(status) => return self.snapshot(*status),
            Event::Lost(why) => self.lost = Some(safe(&why)),
            Event::Lifecycle(event) => self.happened(*event),
            Event::LogBegins(agent) => {
                if let Some(detail) = self.detail_of(&agent) {
                    detail.log.clear();
                }
            }
            Event::LogLine(agent, line) => self.line(&agent, &line),
            Event::Processes(agent, processes) => {
                if let Some(detail) = self.detail_of(&agent) {
                    detail.processes = Some(processes.map_err(|why| safe(&why)));
                }
            }
            Event::Acted(told) => {
                self.notice = Some(match told {
                    Ok(text) => Notice {
                        text: safe(&text),
                        bad: false,
                    },
                    Err(text) => Notice {
                        text: safe(&text),
                        bad: true,
                    },
                });
            }
        }
        Vec::new()
    }

    /// The agent that is selected, as it was last seen.
    pub(super) fn selected(&self) -> Option<&AgentStatus> {
        let row = self.rows.get(self.selected_row()?)?;
        self.status.as_ref()?.agents.get(*row)
    }

    fn snapshot(&mut self, status: Status) -> Vec<Effect> {
        let other = |before: &Status| before.supervisor.pid != status.supervisor.pid;
        if self.status.as_ref().is_some_and(other) {
            self.say(format!(
                "another supervisor runs now: pid {}",
                status.supervisor.pid
            ));
        }
        self.lost = None;
        self.fleet.fleet(&status);
        self.host.host(&status.host);
        let mut before = std::mem::take(&mut self.agents);
        for agent in &status.agents {
            let mut history = before.remove(&agent.id).unwrap_or_default();
            history.agent(agent);
            self.agents.insert(agent.id.clone(), history);
        }
        self.status = Some(status);
        self.arrange();
        self.follow()
    }

    fn happened(&mut self, event: LifecycleEvent) {
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        // Who reads older events keeps seeing them.
        if let Some(detail) = &mut self.detail
            && detail.section == Section::Events
            && detail.scroll > 0
            && event.agent.as_ref() == Some(&detail.agent)
        {
            detail.scroll += 1;
        }
        self.events.push_back(LifecycleEvent {
            agent: event.agent,
            kind: safe(&event.kind),
            detail: event.detail.map(|detail| safe(&detail)),
            ..event
        });
    }

    fn line(&mut self, agent: &str, line: &str) {
        let Some(detail) = self.detail_of(agent) else {
            return;
        };
        if detail.log.len() == LINES_KEPT {
            detail.log.pop_front();
        }
        // Who reads older lines keeps seeing them.
        if detail.section == Section::Log && detail.scroll > 0 {
            detail.scroll = (detail.scroll + 1).min(LINES_KEPT);
        }
        detail.log.push_back(safe(line));
    }

    /// The pane, if it shows this agent: news of one that was looked into before may still come.
    fn detail_of(&mut self, agent: &str) -> Option<&mut Detail> {
        self.detail.as_mut().filter(|detail| detail.agent == agent)
    }

    fn say(&mut self, text: impl Into<String>) {
        self.notice = Some(Notice {
            text: text.into(),
            bad: false,
        });
    }

    /// What of the screen is what.
    pub(super) fn layout(&self) -> layout::Layout {
        layout::of(self.size, self.rows.len(), self.detail.is_some())
    }
}

#[cfg(test)]
mod tests;
