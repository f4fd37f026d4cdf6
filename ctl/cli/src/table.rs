//! Tables in Docker's look: no lines, upper-case headers, three spaces between columns.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table as Grid};
use vswitch_api::text::is_hostile;

/// Columns with headers, and rows.
#[derive(Debug)]
pub(crate) struct Table {
    grid: Grid,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new<S: Into<String>>(headers: impl IntoIterator<Item = S>) -> Self {
        let mut grid = Grid::new();
        grid.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        grid.set_header(headers.into_iter().map(Into::into).collect::<Vec<String>>());
        Table { grid }
    }

    /// Numbers: align these columns to the right.
    pub(crate) fn numbers(mut self, columns: impl IntoIterator<Item = usize>) -> Self {
        for column in columns {
            if let Some(column) = self.grid.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// Add a row. Anything that would start a new line or move the cursor is made harmless.
    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.grid.add_row(cells.into_iter().map(|cell| printable(cell.as_ref())).collect::<Vec<_>>());
    }

    /// The whole, each line ended, without blanks at the ends of lines.
    pub(crate) fn render(mut self) -> String {
        for column in self.grid.column_iter_mut() {
            column.set_padding((0, 3));
        }
        self.grid.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

fn printable(cell: &str) -> String {
    cell.chars().map(|letter| if is_hostile(letter) { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns line up, numbers to the right, and a cell cannot break out of its line.
    #[test]
    fn layout() {
        let mut table = Table::new(["NAME", "FRAMES"]).numbers([1]);
        table.row(["a", "1"]);
        table.row(["long name", "1,000"]);
        table.row(["evil\n\u{1b}[2\u{202e}J", ""]);
        let expected = "NAME         FRAMES\na                 1\nlong name     1,000\nevil  [2 J\n";
        assert_eq!(table.render(), expected);
    }

    /// Without rows the headers remain, as Docker prints them.
    #[test]
    fn empty() {
        assert_eq!(Table::new(["A", "B"]).render(), "A   B\n");
    }
}
