//! Which agents the table shows, and which one is selected.

use super::{super::keys::Command, Detail, Effect, Model, Section};

impl Model {
    /// Filters and orders the rows anew, and keeps the selection. When the selected agent is not
    /// shown any more, the one in its place is selected.
    pub(super) fn arrange(&mut self) {
        let agents = self
            .status
            .as_ref()
            .map_or(&[][..], |status| &status.agents);
        let filter = self.filter.to_lowercase();
        let shown =
            |row: &usize| filter.is_empty() || agents[*row].id.to_lowercase().contains(&filter);
        let mut rows: Vec<usize> = (0..agents.len()).filter(shown).collect();
        rows.sort_by(|a, b| self.order.compare(&agents[*a], &agents[*b]));
        let selected = self.selected.as_ref();
        let kept = selected.and_then(|id| rows.iter().position(|row| agents[*row].id == *id));
        self.at = kept.unwrap_or(self.at.min(rows.len().saturating_sub(1)));
        self.selected = rows.get(self.at).map(|row| agents[*row].id.clone());
        self.rows = rows;
    }

    /// The row of the selected agent.
    pub(in crate::cli::top) fn selected_row(&self) -> Option<usize> {
        self.selected.as_ref().map(|_| self.at)
    }

    /// Has the pane show the selected agent.
    pub(super) fn follow(&mut self) -> Vec<Effect> {
        let Some(detail) = &self.detail else {
            return Vec::new();
        };
        match &self.selected {
            Some(selected) if *selected == detail.agent => Vec::new(),
            Some(selected) => {
                let section = detail.section;
                self.detail = Some(Detail::new(selected.clone(), section));
                vec![Effect::Watch(Some(selected.clone()))]
            }
            None => {
                self.detail = None;
                vec![Effect::Watch(None)]
            }
        }
    }

    /// Moves the selection, or what is shown of a section.
    pub(super) fn go(&mut self, command: Command) -> Vec<Effect> {
        let layout = self.layout();
        if let Some(detail) = &mut self.detail
            && detail.section != Section::Overview
        {
            let page = usize::from(layout.pane.height).saturating_sub(2).max(1);
            // These two are read from their end.
            let newest_first = matches!(detail.section, Section::Log | Section::Events);
            let end = match detail.section {
                Section::Log => detail.log.len(),
                Section::Events => {
                    let own = self
                        .events
                        .iter()
                        .filter(|event| event.agent.as_ref() == Some(&detail.agent));
                    own.count()
                }
                _ => match &detail.processes {
                    Some(Ok(list)) => list.processes.len(),
                    _ => 0,
                },
            };
            let end = end.saturating_sub(page);
            let up = matches!(command, Command::Up | Command::PageUp | Command::First);
            let by = match command {
                Command::Up | Command::Down => 1,
                Command::PageUp | Command::PageDown => page,
                _ => end,
            };
            detail.scroll = if up == newest_first {
                (detail.scroll + by).min(end)
            } else {
                detail.scroll.saturating_sub(by)
            };
            return Vec::new();
        }
        let page = usize::from(layout.table.height).saturating_sub(1).max(1);
        let last = self.rows.len().saturating_sub(1);
        self.at = match command {
            Command::Up => self.at.saturating_sub(1),
            Command::PageUp => self.at.saturating_sub(page),
            Command::Down => (self.at + 1).min(last),
            Command::PageDown => (self.at + page).min(last),
            Command::First => 0,
            _ => last,
        };
        let row = self.rows.get(self.at);
        self.selected = row.and_then(|row| {
            let agents = &self.status.as_ref()?.agents;
            Some(agents.get(*row)?.id.clone())
        });
        self.follow()
    }
}
