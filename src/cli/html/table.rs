//! Tables of an HTML report.

use super::escaped;
use crate::cli::output;
use serde_json::{Map, Number, Value};
use std::fmt::Write;

/// More columns than that are rows, where there are fewer of the others.
const COLUMNS: usize = 8;

/// Rows of fields; each may have others.
#[derive(Default)]
pub struct Table {
    /// Names of the fields, as they came.
    columns: Vec<String>,
    rows: Vec<Row>,
}

struct Row {
    name: Option<String>,
    /// Column and value.
    cells: Vec<(usize, Value)>,
    /// The field that all values are of, if it is one.
    of: String,
}

impl Table {
    /// Adds a row, of values of the field `of` unless they have names of their own. What is
    /// left of `fields` has fields itself.
    pub fn row(&mut self, name: Option<String>, fields: &Map<String, Value>, of: &str) -> Map<String, Value> {
        let mut row = Row { name, cells: Vec::new(), of: of.into() };
        let mut rest = Map::new();
        for (field, value) in fields {
            match value {
                Value::Object(inner) if !inner.is_empty() && inner.values().all(is_flat) => {
                    for (name, value) in inner {
                        row.cells.push((self.column(&format!("{field} {name}")), value.clone()));
                    }
                }
                value if is_flat(value) => row.cells.push((self.column(field), value.clone())),
                value => _ = rest.insert(field.clone(), value.clone()),
            }
        }
        if !row.cells.is_empty() {
            self.rows.push(row);
        }
        rest
    }

    fn column(&mut self, name: &str) -> usize {
        self.columns.iter().position(|column| column == name).unwrap_or_else(|| {
            self.columns.push(name.into());
            self.columns.len() - 1
        })
    }

    /// The table, or nothing without rows.
    pub fn html(&self) -> String {
        let mut html = String::new();
        if self.rows.is_empty() {
            return html;
        }
        let value = |row: &Row, column: usize| row.cells.iter().find(|(at, _)| *at == column).map(|(_, v)| v.clone());
        let name =
            |row: &Row, column: usize| if row.of.is_empty() { self.columns[column].clone() } else { row.of.clone() };
        let heads = self.columns.iter().map(|column| label(column));
        let names = self.rows.iter().map(|row| row.name.clone());
        let is_named = self.rows.iter().any(|row| row.name.is_some());
        let plain = self.rows.iter().all(|row| !row.of.is_empty());
        let cell = |row: &Row, column: usize| cell(&name(row, column), value(row, column).as_ref());
        let turned = self.columns.len() > COLUMNS && self.rows.len() < self.columns.len();
        // Beside names, one column of values begins where text does.
        let is_one = if turned { self.rows.len() == 1 } else { plain };
        html += if is_one { "<div class=\"wide\"><table class=\"one\">\n" } else { "<div class=\"wide\"><table>\n" };
        if turned {
            if is_named {
                line(
                    &mut html,
                    [String::new()].into_iter().chain(names.map(Option::unwrap_or_default)).map(|n| head(&n)),
                );
            }
            for (column, name) in heads.enumerate() {
                line(&mut html, [head(&name)].into_iter().chain(self.rows.iter().map(|row| cell(row, column))));
            }
        } else {
            if !plain {
                line(&mut html, is_named.then(String::new).into_iter().chain(heads).map(|name| head(&name)));
            }
            for row in &self.rows {
                let name = is_named.then(|| head(row.name.as_deref().unwrap_or_default()));
                line(&mut html, name.into_iter().chain((0..self.columns.len()).map(|column| cell(row, column))));
            }
        }
        html + "</table></div>\n"
    }
}

fn line(html: &mut String, cells: impl Iterator<Item = String>) {
    *html += "<tr>";
    html.extend(cells);
    *html += "</tr>\n";
}

fn head(text: &str) -> String {
    format!("<th>{}</th>", escaped(text))
}

fn cell(name: &str, value: Option<&Value>) -> String {
    let class = if value.is_some_and(Value::is_number) { " class=\"n\"" } else { "" };
    format!("<td{class}>{}</td>", value.map_or(String::new(), |value| shown(name, value)))
}

/// Whether it fits into a cell.
pub fn is_flat(value: &Value) -> bool {
    match value {
        Value::Object(_) => false,
        Value::Array(all) => all.iter().all(is_flat),
        _ => true,
    }
}

/// A field as people say it: `service (ns)`.
pub fn label(field: &str) -> String {
    let words = field.replace('_', " ");
    match words.strip_suffix(" ns") {
        Some(words) => format!("{words} (ns)"),
        None => words.strip_suffix(" bits per second").map_or(words.clone(), |words| format!("{words} rate")),
    }
}

/// A value as HTML; a number with all its digits in `data`.
fn shown(name: &str, value: &Value) -> String {
    match value {
        Value::Null | Value::Object(_) => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) => format!("<data value=\"{number}\">{}</data>", figure(name, number)),
        Value::String(text) => escaped(text),
        Value::Array(all) if all.is_empty() => "-".into(),
        Value::Array(all) => {
            let mut text = String::new();
            for (n, value) in all.iter().enumerate() {
                let between = if n == 0 { "" } else { ", " };
                let inner = shown(name, value);
                // Writing to a String cannot fail.
                let _ = if value.is_array() {
                    write!(text, "{between}({inner})")
                } else {
                    write!(text, "{between}{inner}")
                };
            }
            text
        }
    }
}

/// A number as it is read: rates in their units, shares in per cent.
fn figure(name: &str, number: &Number) -> String {
    let float = number.as_f64().unwrap_or(0.0);
    let ends = |unit: &str| name == unit || name.ends_with(&format!("_{unit}")) || name.ends_with(&format!(" {unit}"));
    match number.as_u64() {
        _ if ends("pps") => output::pps(float),
        _ if name.ends_with("bits_per_second") => output::bits(float),
        _ if ends("share") => format!("{:.2} %", 100.0 * float),
        Some(whole) => output::grouped(whole),
        None if float.fract() == 0.0 && (0.0..1e15).contains(&float) => output::grouped(float as u64),
        None if (1e3..1e15).contains(&float) => {
            let tenths = (float * 10.0).round() as u64;
            format!("{}.{}", output::grouped(tenths / 10), tenths % 10)
        }
        None if float.abs() >= 1e-3 => format!("{float:.3}"),
        None => format!("{float:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_are_shown_in_units_that_people_read() {
        for (name, value, text) in [
            ("pps", json!(14_880_952.38), "14.881 Mpps"),
            ("above pps", json!(1_000), "1 kpps"),
            ("l1_bits_per_second", json!(1e10), "10 Gbit/s"),
            ("stolen_share", json!(0.125), "12.50 %"),
            ("sent", json!(1_234_567), "1 234 567"),
            ("clock_hz", json!(2_500_000_000.0), "2 500 000 000"),
            ("rx_cycles", json!(10.25), "10.250"),
            ("poll_ns", json!(1_354.96), "1 355.0"),
            ("drift", json!(-2.5e-6), "-2.500e-6"),
        ] {
            assert_eq!(figure(name, value.as_number().unwrap()), text, "{name}");
        }
    }

    #[test]
    fn many_columns_of_few_rows_are_rows_of_few_columns() {
        let fields: Map<String, Value> = (0..20).map(|n| (format!("field_{n}"), n.into())).collect();
        let mut table = Table::default();
        table.row(None, &fields, "");
        table.row(None, &fields, "");
        let html = table.html();
        assert_eq!(html.matches("<tr>").count(), 20, "{html}");
        assert!(html.contains("<tr><th>field 3</th><td class=\"n\"><data value=\"3\">3</data></td><td"), "{html}");
    }
}
