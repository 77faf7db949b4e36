//! Paints the model.
//!
//! Text is put at places that were computed, never padded into them: whatever width a terminal gives
//! a character, columns stay columns. Everything is clipped, so a screen of any size is painted.

mod agents;
mod header;
mod pane;
mod pen;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    widgets::{Clear, Widget as _},
};

use self::pen::Pen;
use super::{
    keys::HELP,
    model::{Mode, Model},
    text,
    theme::{Theme, Tone},
};

/// Paints all of it.
pub(super) fn draw(model: &Model, frame: &mut Frame<'_>) {
    let layout = model.layout();
    let screen = frame.area();
    let buffer = frame.buffer_mut();
    // The terminal may have changed its size since the model was told.
    let part = |area: Rect| area.intersection(screen);
    header::draw(model, buffer, part(layout.header));
    agents::draw(model, buffer, part(layout.table));
    pane::draw(model, buffer, part(layout.pane));
    footer(model, buffer, part(layout.footer));
    if model.mode == Mode::Help {
        help(model, buffer, screen);
    }
}

/// The question, the filter, what came of the last key, or what keys there are.
fn footer(model: &Model, buffer: &mut Buffer, area: Rect) {
    let count = count(model);
    let mut pen = Pen::new(buffer, area, 0, model.theme);
    match (&model.mode, &model.notice) {
        (Mode::Confirm(agent, action), _) => {
            pen.reverse();
            let question = format!(" {} {}? y/n", action.as_str(), text::safe(agent));
            pen.say(Tone::Title, &question);
        }
        (Mode::Filter, _) => {
            pen.say(Tone::Title, "/");
            pen.say(Tone::Plain, &model.filter);
            pen.say(Tone::Title, "▏");
            pen.say(Tone::Faint, "  Enter keeps it, Esc ends it");
        }
        (_, Some(notice)) => {
            let tone = if notice.bad { Tone::Bad } else { Tone::Title };
            pen.say(tone, &notice.text);
        }
        (_, None) => {
            if !model.filter.is_empty() {
                pen.say(Tone::Title, &format!("/{}  ", model.filter));
            }
            let hints = if model.detail.is_some() {
                HINTS_PANE
            } else {
                HINTS
            };
            for hint in hints {
                if text::width(hint) + text::width(&count) < pen.left() {
                    pen.say(Tone::Faint, &format!("{hint}  "));
                }
            }
        }
    }
    pen.say_right(Tone::Plain, &count);
}

/// The keys that are worth the room, the most important first.
const HINTS: [&str; 5] = [
    "? help",
    "q quit",
    "Enter look into",
    "r restart s stop t start",
    "/ filter",
];
const HINTS_PANE: [&str; 5] = [
    "? help",
    "q quit",
    "Enter back",
    "Tab section",
    "r restart s stop t start",
];

/// Where the selection is, when not all agents are in sight.
fn count(model: &Model) -> String {
    let Some(status) = &model.status else {
        return String::new();
    };
    let (shown, all) = (model.rows.len(), status.agents.len());
    let at = model.selected_row().map_or(0, |row| row + 1);
    if shown < all {
        format!("  {at}/{shown} of {all}")
    } else if shown + 1 > usize::from(model.layout().table.height) {
        format!("  {at}/{all}")
    } else {
        String::new()
    }
}

fn help(model: &Model, buffer: &mut Buffer, screen: Rect) {
    let keys = HELP.iter().map(|(keys, _)| text::width(keys)).max();
    let keys = keys.unwrap_or(0) + 2;
    let width = HELP.iter().map(|(_, what)| text::width(what)).max();
    let width = width.unwrap_or(0) + keys + 4;
    let height = u16::try_from(HELP.len()).unwrap_or(0) + 2;
    let area = Rect::new(
        screen.width.saturating_sub(width) / 2,
        screen.height.saturating_sub(height) / 2,
        width,
        height,
    )
    .intersection(screen);
    Clear.render(area, buffer);
    buffer.set_style(area, Theme::reversed());
    let lines = [("", "")].into_iter().chain(HELP);
    for (y, (key, what)) in (0..area.height).zip(lines) {
        let mut pen = Pen::new(buffer, area, y, model.theme);
        pen.reverse();
        pen.skip(2);
        pen.column(Tone::Title, key, keys);
        pen.say(Tone::Plain, what);
    }
}
