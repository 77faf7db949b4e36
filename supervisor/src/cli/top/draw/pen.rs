//! Writes one line from left to right, and never beyond it.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};

use super::super::{
    text,
    theme::{Theme, Tone},
};

pub(super) struct Pen<'a> {
    buffer: &'a mut Buffer,
    theme: Theme,
    /// The line; empty where there is none.
    line: Rect,
    /// The next column, and where the line ends.
    x: u16,
    end: u16,
    reversed: bool,
}

impl<'a> Pen<'a> {
    /// Writes the line `y` of `area`.
    pub(super) fn new(buffer: &'a mut Buffer, area: Rect, y: u16, theme: Theme) -> Self {
        let line = Rect::new(area.x, area.y.saturating_add(y), area.width, 1);
        let line = line.intersection(area).intersection(buffer.area);
        Self {
            x: line.x,
            end: line.right(),
            line,
            buffer,
            theme,
            reversed: false,
        }
    }

    /// The whole line is reversed, and so is what is written to it.
    pub(super) fn reverse(&mut self) {
        self.reversed = true;
        self.buffer.set_style(self.line, Theme::reversed());
    }

    /// How many columns are left.
    pub(super) fn left(&self) -> u16 {
        if self.line.is_empty() {
            return 0;
        }
        self.end.saturating_sub(self.x)
    }

    /// Leaves columns free.
    pub(super) fn skip(&mut self, columns: u16) {
        self.x += columns.min(self.left());
    }

    /// Writes `text`, as much of it as there is room for.
    pub(super) fn say(&mut self, tone: Tone, text: &str) {
        let width = self.left();
        self.put(self.x, width, tone, text);
        self.skip(text::width(text));
    }

    /// Writes `text` into a column of this width.
    pub(super) fn column(&mut self, tone: Tone, text: &str, width: u16) {
        let width = width.min(self.left());
        self.put(self.x, width, tone, text);
        self.skip(width);
    }

    /// The same, at the right of the column.
    pub(super) fn column_right(&mut self, tone: Tone, text: &str, width: u16) {
        let width = width.min(self.left());
        let blank = width.saturating_sub(text::width(text));
        self.put(self.x + blank, width - blank, tone, text);
        self.skip(width);
    }

    /// Writes `text` at the end of the line, over what is there.
    pub(super) fn say_right(&mut self, tone: Tone, text: &str) {
        if self.line.is_empty() {
            return;
        }
        let width = text::width(text).min(self.line.width);
        let x = self.line.right() - width;
        let area = Rect::new(x, self.line.y, width, 1);
        for position in area.positions() {
            self.buffer[position].reset();
        }
        self.put(x, width, tone, text);
    }

    fn put(&mut self, x: u16, width: u16, tone: Tone, text: &str) {
        if width == 0 || self.line.is_empty() {
            return;
        }
        let mut style = self.theme.style(tone);
        if self.reversed {
            // Colours of the foreground would become backgrounds.
            style = Style::new().add_modifier(style.add_modifier);
            style = style.remove_modifier(Modifier::DIM);
        }
        let text = text::cut(text, usize::from(width));
        self.buffer
            .set_stringn(x, self.line.y, text, usize::from(width), style);
    }
}
