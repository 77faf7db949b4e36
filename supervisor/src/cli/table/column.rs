//! Columns, and how a table of them is drawn.

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets::NOTHING};

use crate::cli::output::printable;

/// A column and how it gives way.
pub(super) struct Column {
    header: &'static str,
    right: bool,
    /// May be cut to so many characters.
    shortest: Option<usize>,
    /// May go; the lowest goes first.
    goes: Option<u8>,
    cells: Vec<(String, Option<Color>)>,
}

impl Column {
    pub(super) fn new<T>(header: &'static str, rows: &[T], cell: impl Fn(&T) -> String) -> Self {
        Self {
            header,
            right: false,
            shortest: None,
            goes: None,
            cells: rows
                .iter()
                .map(|row| (printable(&cell(row)).replace(['\n', '\t'], " "), None))
                .collect(),
        }
    }

    pub(super) fn right(mut self) -> Self {
        self.right = true;
        self
    }

    pub(super) fn shortest(mut self, width: usize) -> Self {
        self.shortest = Some(width);
        self
    }

    pub(super) fn goes(mut self, rank: u8) -> Self {
        self.goes = Some(rank);
        self
    }

    pub(super) fn colored<T>(mut self, rows: &[T], color: impl Fn(&T) -> Option<Color>) -> Self {
        for (cell, row) in self.cells.iter_mut().zip(rows) {
            cell.1 = color(row);
        }
        self
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|(text, _)| text.chars().count());
        cells.max().unwrap_or(0).max(self.header.len())
    }

    fn cut(&mut self, width: usize) {
        for (text, _) in &mut self.cells {
            if text.chars().count() > width {
                *text = text.chars().take(width - 1).chain(['…']).collect();
            }
        }
    }
}

/// All of them, within `width` characters.
pub(super) fn draw(mut columns: Vec<Column>, width: Option<usize>) -> String {
    let gap = fit(&mut columns, width.unwrap_or(usize::MAX));
    // The library asks NO_COLOR by itself; here it is `output` that knows what the reader wants.
    crossterm::style::force_color_output(true);
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .enforce_styling();
    let header = columns.iter().map(|c| c.header);
    table.set_header(header);
    for row in 0..columns[0].cells.len() {
        table.add_row(columns.iter().map(|column| {
            let (text, color) = &column.cells[row];
            match color {
                Some(color) => Cell::new(text).fg(*color),
                None => Cell::new(text),
            }
        }));
    }
    let last = columns.len() - 1;
    for (index, (column, drawn)) in columns.iter().zip(table.column_iter_mut()).enumerate() {
        drawn.set_padding((0, if index == last { 0 } else { gap }));
        if column.right {
            drawn.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect::<Vec<_>>().concat()
}

/// Makes the columns fit, and tells how far apart they are.
fn fit(columns: &mut Vec<Column>, width: usize) -> u16 {
    let needs = |columns: &[Column], gap: usize| {
        columns.iter().map(Column::width).sum::<usize>() + gap * (columns.len() - 1)
    };
    if needs(columns, 2) <= width {
        return 2;
    }
    loop {
        // From the right: what is most important stands left.
        for index in (0..columns.len()).rev() {
            let excess = needs(columns, 1).saturating_sub(width);
            let column = &mut columns[index];
            if let Some(shortest) = column.shortest
                && excess > 0
            {
                let cut = column.width().saturating_sub(excess).max(shortest);
                column.cut(cut);
            }
        }
        let first_to_go = (0..columns.len())
            .filter(|index| columns[*index].goes.is_some())
            .min_by_key(|index| columns[*index].goes);
        match first_to_go {
            Some(index) if needs(columns, 1) > width => columns.remove(index),
            _ => return 1,
        };
    }
}
