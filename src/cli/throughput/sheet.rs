//! A table of results, in three forms: for a terminal, comma-separated, and Markdown.

use crate::cli::output::{self, Output};
use std::io;

/// A table.
pub(super) struct Sheet {
    /// What it is, where there are several.
    pub title: Option<String>,
    pub columns: Vec<Column>,
    /// A text for each column; `-` where there is no figure.
    pub rows: Vec<Vec<String>>,
    /// What is to be said below it.
    pub notes: Vec<String>,
}

/// A column: its title for people, its name for programs, and whether people see it.
pub(super) struct Column {
    pub title: &'static str,
    pub name: &'static str,
    pub shown: bool,
}

/// Columns that are always shown.
pub(super) fn columns(names: &[(&'static str, &'static str)]) -> Vec<Column> {
    names.iter().map(|&(title, name)| Column { title, name, shown: true }).collect()
}

/// A figure of so many digits behind the point.
pub(super) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_string(), |value| format!("{value:.digits$}"))
}

impl Sheet {
    /// The table for people.
    pub fn print(&self, output: &Output) -> io::Result<()> {
        if let Some(title) = &self.title {
            output.result(format_args!("{title}:"))?;
        }
        let titles: Vec<&str> = self.columns.iter().filter(|column| column.shown).map(|column| column.title).collect();
        let mut table = output::table(&titles, 1);
        for row in self.shown() {
            table.add_row(row);
        }
        output.table(&table)?;
        self.notes.iter().try_for_each(|note| output.result(note))
    }

    /// All columns, separated by commas (RFC 4180); empty where there is no figure.
    pub fn csv(&self) -> String {
        let names = self.columns.iter().map(|column| column.name.to_string()).collect();
        let mut text = String::new();
        for row in std::iter::once(&names).chain(&self.rows) {
            let cells: Vec<String> = row.iter().map(|cell| field(cell)).collect();
            text += &cells.join(",");
            text.push('\n');
        }
        text
    }

    /// The table for people in Markdown, its title above and its notes below it.
    pub fn markdown(&self) -> String {
        let shown: Vec<&Column> = self.columns.iter().filter(|column| column.shown).collect();
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = self.title.as_ref().map_or(String::new(), |title| format!("{title}:\n\n"));
        text += &line(shown.iter().map(|column| column.title.to_string()).collect());
        // The first column is words, the others are mostly numbers.
        text += &line((0..shown.len()).map(|n| if n == 0 { "---" } else { "---:" }.to_string()).collect());
        for row in self.shown() {
            text += &line(row.iter().map(|cell| cell.replace('|', "\\|")).collect());
        }
        for note in &self.notes {
            text += &format!("\n{note}\n");
        }
        text
    }

    fn shown(&self) -> impl Iterator<Item = Vec<&str>> {
        self.rows.iter().map(|row| {
            let shown = row.iter().zip(&self.columns).filter(|(_, column)| column.shown);
            shown.map(|(cell, _)| cell.as_str()).collect()
        })
    }
}

/// A field of a CSV file.
fn field(cell: &str) -> String {
    match cell {
        "-" => String::new(),
        cell if cell.contains([',', '"', '\n']) => format!("\"{}\"", cell.replace('"', "\"\"")),
        cell => cell.to_string(),
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    fn sheet() -> Sheet {
        let mut columns = columns(&[("frame", "frame"), ("Mpps", "mpps"), ("why", "why")]);
        columns[1].shown = false;
        let row = |cells: [&str; 3]| cells.map(String::from).to_vec();
        Sheet { title: None, columns, rows: vec![row(["64", "-", "a, \"b\" | c"])], notes: vec![] }
    }

    #[test]
    fn csv_has_every_column_and_nothing_where_there_is_no_figure() {
        assert_eq!(sheet().csv(), "frame,mpps,why\n64,,\"a, \"\"b\"\" | c\"\n");
    }

    #[test]
    fn markdown_is_what_people_see() {
        let table = "| frame | why |\n| --- | ---: |\n| 64 | a, \"b\" \\| c |\n";
        assert_eq!(sheet().markdown(), table);
        let all = Sheet { title: Some("loss".into()), notes: vec!["64: not measured".into()], ..sheet() };
        assert_eq!(all.markdown(), format!("loss:\n\n{table}\n64: not measured\n"));
    }

    #[test]
    fn people_see_the_columns_that_are_shown() {
        let sheet = sheet();
        assert_eq!(sheet.shown().next().unwrap(), ["64", "a, \"b\" | c"]);
    }
}
