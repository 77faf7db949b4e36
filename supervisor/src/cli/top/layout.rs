//! What of the screen is what. Anything may be empty: a terminal can have any size.

use ratatui::layout::{Rect, Size};

/// From this height on, a pane leaves the table visible.
const BOTH: u16 = 30;

/// Where the parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) header: Rect,
    pub(super) table: Rect,
    /// What is known of one agent.
    pub(super) pane: Rect,
    pub(super) footer: Rect,
}

/// The layout of a screen of `size` with `rows` agents, with the pane or without.
pub(super) fn of(size: Size, rows: usize, pane: bool) -> Layout {
    let header = match size.height {
        0..4 => 0,
        4..10 => 1,
        10..16 => 2,
        16..20 => 4,
        _ => 5,
    };
    let footer = u16::from(size.height > 1);
    let body = size.height - header - footer;
    let table = match pane {
        false => body,
        true if body < BOTH => 0,
        true => u16::try_from(rows + 1).unwrap_or(body).min(body / 3),
    };
    let at = |y, height| Rect::new(0, y, size.width, height);
    Layout {
        header: at(0, header),
        table: at(header, table),
        pane: at(header + table, body - table),
        footer: at(header + body, footer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_fill_the_screen_whatever_its_size() {
        for height in 0..80 {
            for rows in [0, 1, 5, 200, usize::from(u16::MAX)] {
                for pane in [false, true] {
                    let layout = of(Size::new(80, height), rows, pane);
                    let parts = [layout.header, layout.table, layout.pane, layout.footer];
                    let mut y = 0;
                    for part in parts {
                        assert_eq!(part.y, y, "{height} {rows} {pane}: {layout:?}");
                        y += part.height;
                    }
                    assert_eq!(y, height);
                    assert_eq!(layout.pane.height > 0, pane && height > 0, "{layout:?}");
                }
            }
        }
    }

    #[test]
    fn a_pane_leaves_the_table_visible_where_there_is_room() {
        assert_eq!(of(Size::new(80, 24), 5, true).table.height, 0);
        assert_eq!(of(Size::new(160, 50), 5, true).table.height, 6);
        assert_eq!(of(Size::new(160, 50), 200, true).table.height, 14);
    }
}
