//! A run as one HTML file: its plots, its figures, the machine.
//!
//! ```text
//!   document   fields                      names and values, in one table
//!              objects that are alike      a row each
//!              an array of objects         a row each; what each of them has besides
//!                                          figures stands below, under its name
//! ```
//!
//! All of it is made of the document that `--json` prints, field by field: one that is added
//! shows. The file needs nothing else and asks for nothing: its policy forbids it scripts and
//! the network, whatever was in a name.

mod table;

use super::file::NewFile;
use super::output;
use crate::error::Result;
use crate::sys;
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::fmt::Write;
use std::fs::Metadata;
use std::path::Path;
use table::{Table, is_flat, label};

/// How it looks: on screens of both kinds, and on paper.
const STYLE: &str = include_str!("html/style.css");

/// No script runs and nothing is fetched.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A file that is going to be written.
pub struct Report(NewFile);

impl Report {
    /// Makes sure that it can be written, if there is to be one.
    ///
    /// # Errors
    /// That it cannot.
    pub fn make(path: Option<&Path>) -> Result<Option<Report>> {
        path.map(|path| NewFile::make(path).map(Report)).transpose()
    }

    /// Where it is going to be, and what is there now.
    pub fn place(&self) -> Option<(&Path, Metadata)> {
        Some((self.0.path(), self.0.path().metadata().ok()?))
    }

    /// Writes all of it: a document of [`output::document`], and plots of it as SVG.
    ///
    /// # Errors
    /// What writing meets: then what was there before is still there.
    pub fn write(self, document: &Value, plots: &[String]) -> Result<()> {
        let args: Vec<OsString> = std::env::args_os().collect();
        self.0.write(&page(document, plots, &command_line(&args), &now()))
    }
}

/// The page of a document.
fn page(document: &Value, plots: &[String], command: &str, time: &str) -> String {
    let empty = Map::new();
    let fields = document.as_object().unwrap_or(&empty);
    let text = |name: &str| escaped(fields.get(name).and_then(Value::as_str).unwrap_or_default());
    let title = format!("bmnic {}", text("command"));
    let mut page = Page(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p>{}</p>\n<pre>{}</pre>\n",
        escaped(time),
        escaped(command),
    ));
    for plot in plots {
        page.add(format_args!("<figure>{}</figure>\n", drawing(plot)));
    }
    // What ran is above; where it ran is read last.
    let is_last = |name: &str| ["machine", "devices"].contains(&name);
    let of = |last: bool| {
        let chosen = fields
            .iter()
            .filter(move |(name, _)| !["schema", "command"].contains(&name.as_str()) && is_last(name) == last);
        chosen.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>()
    };
    page.object(&of(false), 2);
    page.object(&of(true), 2);
    page.add(format_args!("<footer>{}, documents {}</footer>\n</body>\n</html>\n", output::PROGRAM, text("schema")));
    page.0
}

/// Text of a page so far.
struct Page(String);

impl Page {
    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.0.write_fmt(text);
    }

    fn heading(&mut self, depth: usize, text: &str) {
        let depth = depth.min(6);
        self.add(format_args!("<h{depth}>{}</h{depth}>\n", escaped(text)));
    }

    /// Fields: first those that are values, then what has fields itself.
    fn object(&mut self, fields: &Map<String, Value>, depth: usize) {
        let mut flat = Table::default();
        for (name, value) in fields.iter().filter(|(_, value)| is_flat(value) && !is_list(value)) {
            flat.row(Some(label(name)), &Map::from_iter([("value".to_owned(), value.clone())]), name);
        }
        self.0 += &flat.html();
        let mut rest = fields.iter().filter(|(_, value)| !is_flat(value) || is_list(value)).peekable();
        while let Some((name, value)) = rest.next() {
            let mut alike = vec![(name, value)];
            while let Some(next) = rest.next_if(|(_, next)| are_alike(value, next)) {
                alike.push(next);
            }
            match value {
                Value::Object(_) if alike.len() > 1 => {
                    self.heading(depth, &alike.iter().map(|(name, _)| label(name)).collect::<Vec<_>>().join(", "));
                    let rows = alike.iter().filter_map(|(name, value)| Some((Some(label(name)), value.as_object()?)));
                    self.rows(rows, depth);
                }
                Value::Object(fields) => {
                    self.heading(depth, &label(name));
                    self.object(fields, depth + 1);
                }
                Value::Array(all) if is_list(value) => {
                    self.heading(depth, &label(name));
                    let lines = all.iter().map(|line| format!("<li>{}</li>\n", escaped(line.as_str().unwrap_or(""))));
                    self.add(format_args!("<ul>\n{}</ul>\n", lines.collect::<String>()));
                }
                Value::Array(all) => {
                    self.heading(depth, &label(name));
                    self.rows(all.iter().filter_map(|row| Some((None, row.as_object()?))), depth);
                }
                _ => {}
            }
        }
    }

    /// A row for each object, and below what they have besides figures.
    fn rows<'v>(&mut self, rows: impl Iterator<Item = (Option<String>, &'v Map<String, Value>)>, depth: usize) {
        let mut table = Table::default();
        let mut besides = Vec::new();
        for (number, (name, fields)) in rows.enumerate() {
            let own = table.row(name.clone(), fields, "");
            let first = fields.values().find(|value| value.is_string() || value.is_number());
            let first = first.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            let name = name.or(first).unwrap_or_else(|| (number + 1).to_string());
            besides.extend((!own.is_empty()).then_some((name, own)));
        }
        self.0 += &table.html();
        for (name, own) in besides {
            self.heading(depth + 1, &name);
            self.object(&own, depth + 2);
        }
    }
}

/// Sentences, which are read one below the other.
fn is_list(value: &Value) -> bool {
    value.as_array().is_some_and(|all| all.iter().any(|one| one.as_str().is_some_and(|text| text.contains(' '))))
}

/// Whether two values are objects of the same figures.
fn are_alike(one: &Value, other: &Value) -> bool {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else { return false };
    one.keys().eq(other.keys()) && one.values().chain(other.values()).all(is_flat)
}

/// A picture as a part of the page, which needs no declaration of its own.
fn drawing(svg: &str) -> &str {
    svg.find("<svg").map_or("", |at| &svg[at..])
}

/// Text that is text in HTML too, also within quotes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            '\n' | '\t' => safe.push(c),
            c if c.is_control() => safe.push(char::REPLACEMENT_CHARACTER),
            c => safe.push(c),
        }
    }
    safe
}

/// A command line that a shell reads as these words.
fn command_line(args: &[OsString]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,%+@".contains(c);
    let word = |word: &OsString| match word.to_string_lossy() {
        word if !word.is_empty() && word.chars().all(plain) => word.into_owned(),
        word => format!("'{}'", word.replace('\'', r"'\''")),
    };
    args.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// The time of day, here.
fn now() -> String {
    let seconds = i64::try_from(sys::realtime_ns() / 1_000_000_000).unwrap_or(0);
    let text = sys::local_time(c"%Y-%m-%d %H:%M:%S %z", seconds).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const EVIL: &str = "</style><script>alert('1')</script>&\"\u{1b}";

    #[test]
    fn what_comes_from_outside_is_text_wherever_it_stands() {
        let document = json!({
            "schema": EVIL, "command": EVIL, EVIL: EVIL, "deep": { EVIL: { EVIL: [EVIL] } },
            "rows": [{ EVIL: EVIL, "more": [{ EVIL: EVIL }] }], "warnings": [format!("{EVIL} two words")],
        });
        let page = page(&document, &[], EVIL, EVIL);
        assert!(!page.contains("<script") && !page.contains('\u{1b}'), "{page}");
        assert_eq!(page.matches("</style>").count(), 1, "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;\u{fffd}"), "{page}");
    }

    #[test]
    fn every_figure_of_a_document_is_on_the_page() {
        let document = json!({
            "command": "x", "pps": 1.5e6, "none": null, "flag": true, "few": [1, 2], "pairs": [[3, 4], null],
            "service_ns": { "p50": 5, "max": 6 }, "intended_ns": { "p50": 7, "max": 8 },
            "rows": [{ "frame": "64", "above": { "pps": 9 }, "trials": [{ "sent": 10 }, { "sent": 11 }] }, { "frame": "imix", "other": 12 }],
            "floor": { "copy_ns": 13.25, "line_ns": { "min": 14 } }, "machine": { "cores": 15 },
        });
        let page = page(&document, &[], "", "");
        let figures: Vec<&str> =
            page.split("<data value=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let mut expected = vec!["1500000.0", "13.25"];
        let whole: Vec<String> = (1..=15).filter(|n| *n != 13).map(|n| n.to_string()).collect();
        expected.extend(whole.iter().map(String::as_str));
        let sorted = |mut all: Vec<&str>| {
            all.sort_unstable();
            all.join(" ")
        };
        assert_eq!(sorted(figures), sorted(expected), "{page}");
        for words in ["service (ns), intended (ns)", "1.5 Mpps", "above pps", "yes", "<h3>64</h3>", "imix"] {
            assert!(page.contains(words), "no {words} in {page}");
        }
        assert!(page.find("machine").unwrap() > page.find("floor").unwrap());
    }

    #[test]
    fn a_command_line_is_one_that_a_shell_reads_the_same() {
        let words = ["bmnic", "latency", "--svg", "it's here.svg", "", "a=b,c:1.5%"].map(OsString::from);
        assert_eq!(command_line(&words), r"bmnic latency --svg 'it'\''s here.svg' '' a=b,c:1.5%");
    }
}
