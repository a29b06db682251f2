//! What people read text on, and text that is as wide as that.
//!
//! Here and nowhere else it is decided how long a line may be: on a terminal as long as that is
//! wide, elsewhere as long as it is, as programs and files that get it know no width.

use super::table::Table;
use crate::sys;
use std::borrow::Cow;
use std::io;
use unicode_width::UnicodeWidthStr;

/// Columns of a terminal that does not say how many it has.
const USUAL: usize = 80;
/// Below that nothing is arranged any better.
const LEAST: usize = 20;

/// What a stream leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// A file, a pipe: words and spaces, and lines that are whole.
    None,
    /// A terminal of so many columns; a dumb one (`TERM`) has letters of ASCII, and no cursor.
    Terminal { columns: usize, dumb: bool },
}

impl Screen {
    /// Of standard output, now: a terminal can be made wider while a command runs.
    pub fn stdout() -> Screen {
        Screen::of(sys::terminal_columns(io::stdout()))
    }

    /// Of standard error.
    pub fn stderr() -> Screen {
        Screen::of(sys::terminal_columns(io::stderr()))
    }

    fn of(said: io::Result<u16>) -> Screen {
        let Ok(said) = said else { return Screen::None };
        let usual = || std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(USUAL);
        let columns = if said == 0 { usual() } else { usize::from(said) };
        // As terminfo(5) has it: one without a name can do nothing.
        let dumb = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
        Screen::Terminal { columns: columns.max(LEAST), dumb }
    }

    /// How wide it is, if there is a bound.
    pub fn columns(self) -> Option<usize> {
        match self {
            Screen::None => None,
            Screen::Terminal { columns, .. } => Some(columns),
        }
    }

    /// Whether what stands there can be written over.
    pub fn has_cursor(self) -> bool {
        matches!(self, Screen::Terminal { dumb: false, .. })
    }

    /// What is drawn under the head of a table.
    fn rule(self) -> Option<char> {
        match self {
            Screen::None => None,
            Screen::Terminal { dumb: true, .. } => Some('-'),
            Screen::Terminal { .. } => Some('─'),
        }
    }

    /// The text of a table.
    pub fn table(self, table: &Table) -> String {
        table.text(self.columns(), self.rule())
    }

    /// Text whose lines fit, broken between words. A line goes on below where its last part
    /// begins: parts are two spaces or more apart. What stands in backquotes is one word.
    pub fn fold(self, text: &str) -> Cow<'_, str> {
        let Some(columns) = self.columns() else { return text.into() };
        if text.lines().all(|line| line.width() <= columns) {
            return text.into();
        }
        let lines: Vec<String> = text.split('\n').map(|line| folded(line, columns)).collect();
        lines.join("\n").into()
    }
}

fn folded(line: &str, columns: usize) -> String {
    if line.width() <= columns {
        return line.into();
    }
    let hang = hang(line, columns);
    let mut text = String::new();
    let mut at = 0;
    for (gap, word) in words(line, columns - hang) {
        let width = word.width();
        if at > hang && at + gap + width > columns {
            text += &format!("\n{:hang$}", "");
            at = hang;
        } else {
            text += &" ".repeat(gap);
            at += gap;
        }
        text += word;
        at += width;
    }
    text
}

/// Where the last part of a line begins that does so in its first half.
fn hang(line: &str, columns: usize) -> usize {
    let lead = line.len() - line.trim_start_matches(' ').len();
    let begin = |(at, _): (usize, &str)| at + line[at..].len() - line[at..].trim_start_matches(' ').len();
    let parts = line.match_indices("  ").map(begin).map(|at| line[..at].width());
    let usual = if lead == 0 { 2 } else { lead };
    parts.filter(|&at| at <= columns / 2).max().unwrap_or(usual).min(columns / 2)
}

/// The words of a line, and how many spaces are before each.
fn words(line: &str, room: usize) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let text = rest.trim_start_matches(' ');
        let gap = rest.len() - text.len();
        let end = |from: usize| text[from..].find(' ').map_or(text.len(), |at| from + at);
        let mut word = &text[..end(0)];
        if word.matches('`').count() % 2 == 1
            && let Some(close) = text[word.len()..].find('`')
        {
            let quoted = &text[..end(word.len() + close)];
            word = if quoted.width() <= room { quoted } else { word };
        }
        rest = &text[word.len()..];
        (!word.is_empty()).then_some((gap, word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(columns: usize, text: &str) -> String {
        Screen::Terminal { columns, dumb: false }.fold(text).into_owned()
    }

    #[test]
    fn lines_break_between_words_and_go_on_below_their_last_part() {
        assert_eq!(fold(20, "one two three four five six"), "one two three four\n  five six");
        assert_eq!(fold(20, "sent  one two three four"), "sent  one two three\n      four");
        assert_eq!(fold(20, "    one two three four"), "    one two three\n    four");
        assert_eq!(fold(20, "one two\nthree"), "one two\nthree");
        let far = "one two three four five  six";
        assert_eq!(fold(24, far), "one two three four five\n  six", "a part that begins too far right is none");
    }

    #[test]
    fn a_word_that_is_longer_has_a_line_to_itself() {
        let long = "x".repeat(30);
        assert_eq!(fold(20, &format!("see {long} there")), format!("see\n  {long}\n  there"));
        assert_eq!(fold(20, &long), long);
    }

    #[test]
    fn what_is_to_be_typed_stays_together_where_it_fits() {
        assert_eq!(fold(24, "hand it over: `sudo bmnic bind`"), "hand it over:\n  `sudo bmnic bind`");
        let long = "say `one two three four five six`";
        assert!(fold(20, long).lines().all(|line| line.len() <= 20), "{}", fold(20, long));
    }

    #[test]
    fn what_goes_nowhere_wide_stays_whole() {
        let line = "word ".repeat(100);
        assert_eq!(Screen::None.fold(&line), line);
        assert!(!Screen::None.has_cursor() && Screen::None.columns().is_none());
    }

    #[test]
    fn a_width_is_counted_in_columns_and_not_in_bytes() {
        assert_eq!(fold(20, "äöü äöü äöü äöü äöü"), "äöü äöü äöü äöü äöü");
    }
}
