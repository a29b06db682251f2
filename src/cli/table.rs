//! A table of results, as wide as there is room for it.
//!
//! ```text
//!   size  rx cycles  lost          size      rx  lost          size        64  128
//!   64           12     0               cycles                 rx cycles   12   12
//!   128          12     3          64        12     0          lost         0    3
//!
//!   there is room for all          heads and words break       else it is turned
//! ```
//!
//! A figure is never broken. A table that is turned has a row for each column, and beside
//! each other as many of its rows as there is room for.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, TableStyle, Width};
use unicode_width::UnicodeWidthStr;

/// Spaces between two columns.
const GAP: usize = 2;
/// Words are in columns of that many at least, if there are as many: narrower ones are tall.
const NARROW: usize = 16;

/// A table.
#[derive(Debug)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Columns of words; those behind them are of figures.
    words: usize,
}

impl Table {
    /// Without rows; columns from `numbers` on are figures, to the right.
    pub fn new(head: &[&str], numbers: usize) -> Self {
        let head = head.iter().map(ToString::to_string).collect();
        Table { head, rows: Vec::new(), words: numbers }
    }

    /// Adds a row; cells that it lacks are empty.
    pub fn add_row(&mut self, cells: impl IntoIterator<Item = impl ToString>) {
        self.rows.push(cells.into_iter().map(|cell| cell.to_string()).collect());
    }

    /// Its text in so many columns, or as it is, with a `rule` under the head.
    pub fn text(&self, columns: Option<usize>, rule: Option<char>) -> String {
        let grid = Grid {
            head: self.head.iter().map(|head| Cell { text: head, whole: false }).collect(),
            rows: self.rows.iter().map(|row| (0..self.head.len()).map(|at| self.cell(row, at)).collect()).collect(),
            right: (0..self.head.len()).map(|at| at >= self.words).collect(),
        };
        match columns {
            Some(columns) if grid.width(Grid::least) > columns => {
                let grids = self.turned(columns);
                grids.iter().map(|grid| grid.text(Some(columns), rule)).collect::<Vec<_>>().join("\n\n")
            }
            _ => grid.text(columns, rule),
        }
    }

    fn cell<'t>(&self, row: &'t [String], at: usize) -> Cell<'t> {
        Cell { text: row.get(at).map_or("", String::as_str), whole: at >= self.words.max(1) }
    }

    /// Grids of the same, each of as many rows as there is room for.
    fn turned(&self, columns: usize) -> Vec<Grid<'_>> {
        let mut grids: Vec<Grid> = Vec::new();
        for row in &self.rows {
            if let Some(grid) = grids.last_mut() {
                let mut wider = grid.clone();
                self.turn_in(&mut wider, row);
                if wider.width(Grid::least) <= columns {
                    *grid = wider;
                    continue;
                }
            }
            let (first, names) = (self.head.first(), self.head.iter().skip(1));
            let name = |name| vec![Cell { text: name, whole: false }];
            let mut grid = Grid {
                head: first.into_iter().flat_map(|first| name(first)).collect(),
                rows: names.map(|text| name(text)).collect(),
                right: vec![false],
            };
            self.turn_in(&mut grid, row);
            grids.push(grid);
        }
        grids
    }

    /// Adds a row to a turned grid, as its last column.
    fn turn_in<'t>(&self, grid: &mut Grid<'t>, row: &'t [String]) {
        grid.head.push(self.cell(row, 0));
        grid.rows.iter_mut().enumerate().for_each(|(at, turned)| turned.push(self.cell(row, at + 1)));
        grid.right.push(2 * self.words <= self.head.len());
    }
}

/// A text, and whether it is one that is not broken.
#[derive(Clone, Copy, Debug)]
struct Cell<'t> {
    text: &'t str,
    whole: bool,
}

impl Cell<'_> {
    fn width(&self) -> usize {
        self.text.width()
    }

    /// Columns that it needs.
    fn least(&self, head: bool) -> usize {
        if self.whole {
            return self.width();
        }
        let word = self.text.split(' ').map(UnicodeWidthStr::width).max().unwrap_or(0);
        // A head may be as tall as it has words.
        if head { word } else { word.max(self.width().min(NARROW)) }
    }
}

/// Cells as they are printed.
#[derive(Clone, Debug)]
struct Grid<'t> {
    head: Vec<Cell<'t>>,
    rows: Vec<Vec<Cell<'t>>>,
    /// Which columns are aligned to the right.
    right: Vec<bool>,
}

impl Grid<'_> {
    /// Width of all columns, each as wide as `of` says.
    fn width(&self, of: fn(&Self, usize) -> usize) -> usize {
        let columns = self.head.len();
        (0..columns).map(|at| of(self, at)).sum::<usize>() + GAP * columns.saturating_sub(1)
    }

    /// Width of a column in which everything is on one line.
    fn most(&self, at: usize) -> usize {
        self.rows.iter().map(|row| row[at].width()).chain([self.head[at].width()]).max().unwrap_or(0)
    }

    /// The least in which no word and no figure is broken.
    fn least(&self, at: usize) -> usize {
        self.rows.iter().map(|row| row[at].least(false)).chain([self.head[at].least(true)]).max().unwrap_or(0)
    }

    fn text(&self, columns: Option<usize>, rule: Option<char>) -> String {
        let mut table = comfy_table::Table::new();
        // With a junction it would reckon with lines between columns.
        let rule = rule.map(|rule| LineStyle::none().fill(rule));
        table.load_style(rule.map_or(TableStyle::new(), |rule| TableStyle::new().header_separator(rule)));
        table.set_header(self.head.iter().map(|cell| cell.text));
        table.add_rows(self.rows.iter().map(|row| row.iter().map(|cell| cell.text)));
        let narrow = columns.filter(|&columns| self.width(Grid::most) > columns);
        if let Some(columns) = narrow {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(columns.try_into().unwrap_or(u16::MAX));
        }
        let fits = narrow.is_some_and(|columns| self.width(Grid::least) <= columns);
        let last = self.head.len().saturating_sub(1);
        for (at, column) in table.column_iter_mut().enumerate() {
            let (left, right) = (u16::from(at > 0), u16::from(at < last));
            column.set_padding((left, right));
            if self.right[at] {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if fits {
                let least = u16::try_from(self.least(at)).unwrap_or(u16::MAX);
                let least = Width::Fixed(least.saturating_add(left + right));
                column.set_constraint(ColumnConstraint::LowerBoundary(least));
            }
        }
        table.trim_fmt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["size", "what it is", "rx cycles", "lost"], 2);
        table.add_row(["64", "the shortest frame of all", "1 234", "0"]);
        table.add_row(["1518", "the longest", "7", "1 000 000"]);
        table
    }

    fn widest(text: &str) -> usize {
        text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0)
    }

    #[test]
    fn in_a_pipe_it_is_words_and_spaces() {
        let text = table().text(None, None);
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "size  what it is                 rx cycles       lost",
                "64    the shortest frame of all      1 234          0",
                "1518  the longest                        7  1 000 000",
            ]
        );
    }

    #[test]
    fn on_a_terminal_it_has_a_rule_under_its_head_alone() {
        let text = table().text(Some(80), Some('─'));
        let rules: Vec<bool> = text.lines().map(|line| line.starts_with('─')).collect();
        assert_eq!(rules, [false, true, false, false], "{text}");
        let narrow = table().text(Some(44), Some('─'));
        assert_eq!(narrow.matches("──\n").count(), 1, "none under rows that take two lines: {narrow}");
        assert!(narrow.lines().count() > 4, "{narrow}");
    }

    #[test]
    fn words_break_before_it_is_turned_and_figures_never() {
        for columns in 20..60 {
            let text = table().text(Some(columns), None);
            assert!(widest(&text) <= columns, "{columns}:\n{text}");
            for figure in ["1 234", "1 000 000", "1518"] {
                assert!(text.contains(figure), "{columns}: {figure} was broken:\n{text}");
            }
        }
        assert!(table().text(Some(44), None).lines().next().is_some_and(|head| head.contains("what it is")));
    }

    #[test]
    fn what_has_no_room_is_turned_and_has_as_many_rows_beside_each_other_as_fit() {
        let mut table = Table::new(&["size", "a", "b", "c"], 1);
        for n in 1..=3 {
            table.add_row([format!("s{n}"), format!("{n}00 000 000"), n.to_string(), "x".repeat(10)]);
        }
        let text = table.text(Some(30), None);
        let lines = [
            "size           s1           s2",
            "a     100 000 000  200 000 000",
            "b               1            2",
            "c      xxxxxxxxxx   xxxxxxxxxx",
            "",
            "size           s3",
            "a     300 000 000",
            "b               3",
            "c      xxxxxxxxxx",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{text}");
        assert_eq!(table.text(Some(34), None).lines().count(), 4, "it is not turned");
    }

    #[test]
    fn cells_that_a_row_lacks_are_empty() {
        let mut table = Table::new(&["a", "b"], 1);
        table.add_row(["1"]);
        assert_eq!(table.text(None, None), "a  b\n1");
    }
}
