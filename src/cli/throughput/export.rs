//! Where results go besides the screen, and in what form.

use super::baseline::Baseline;
use super::document::picture;
use super::sheet::Sheet;
use crate::cli::destination::{Destination, check_apart};
use crate::cli::html;
use crate::cli::output::Output;
use crate::error::Result;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What is to be left.
#[derive(Debug, clap::Args)]
pub(super) struct Exports {
    /// Print comma-separated values instead of a table
    #[arg(long, conflicts_with_all = ["json", "json_lines"])]
    csv: bool,
    /// Print a Markdown table instead
    #[arg(long, conflicts_with_all = ["csv", "json", "json_lines"])]
    markdown: bool,
    /// Write comma-separated values here, beside what is printed
    #[arg(long, value_name = "FILE")]
    export_csv: Option<PathBuf>,
    /// Write a Markdown table here, beside what is printed
    #[arg(long, value_name = "FILE")]
    export_markdown: Option<PathBuf>,
    /// Write the JSON document here, beside what is printed; it can be a --baseline later
    #[arg(long, value_name = "FILE")]
    export_json: Option<PathBuf>,
    /// Write all of it into this HTML file: tables, a plot, the machine, the command line
    ///
    /// One file that needs no other, no network and no script.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// How tables are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Table,
    Csv,
    Markdown,
}

impl Form {
    /// The option that asks for it.
    pub fn option(self) -> Option<&'static str> {
        match self {
            Form::Table => None,
            Form::Csv => Some("--csv"),
            Form::Markdown => Some("--markdown"),
        }
    }
}

impl Exports {
    pub fn form(&self) -> Form {
        match (self.csv, self.markdown) {
            (true, _) => Form::Csv,
            (_, true) => Form::Markdown,
            _ => Form::Table,
        }
    }

    /// The files that are written.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let all = [&self.export_csv, &self.export_markdown, &self.export_json, &self.html];
        all.into_iter().flatten().map(PathBuf::as_path)
    }

    /// Those of them that come into being after the run.
    pub fn made_later(&self) -> Vec<PathBuf> {
        self.html.iter().cloned().collect()
    }

    /// Opens what is to be written: bad paths should be known before the run.
    ///
    /// # Errors
    /// If a file cannot be had, is named twice, or is the `baseline`.
    pub fn open(&self, baseline: Option<&Baseline>) -> Result<Files<'_>> {
        let files = Files {
            csv: Destination::create(&self.export_csv)?,
            markdown: Destination::create(&self.export_markdown)?,
            json: Destination::create(&self.export_json)?,
            html: html::Report::make(self.html.as_deref())?,
        };
        let named = [&files.csv, &files.markdown, &files.json].into_iter().flatten().filter_map(Destination::place);
        let named: Vec<_> = named.chain(files.html.iter().filter_map(html::Report::place)).collect();
        baseline.map_or(Ok(()), |baseline| baseline.check_apart(named.iter().cloned()))?;
        check_apart(named)?;
        Ok(files)
    }
}

/// Files that are open, not yet written.
pub(super) struct Files<'a> {
    csv: Option<Destination<'a>>,
    markdown: Option<Destination<'a>>,
    json: Option<Destination<'a>>,
    html: Option<html::Report>,
}

impl Files<'_> {
    /// Writes them all.
    ///
    /// # Errors
    /// If one cannot be written, the first: the others are written all the same.
    pub fn write(mut self, sheets: &[Sheet], document: &Value) -> Result<()> {
        let texts = [
            (&mut self.csv, csv(sheets)),
            (&mut self.markdown, markdown(sheets)),
            (&mut self.json, format!("{document:#}\n")),
        ];
        let written = texts.map(|(file, text)| match file {
            Some(file) => file.write(|out| out.write_all(text.as_bytes())),
            None => Ok(()),
        });
        let html = self.html.map_or(Ok(()), |file| {
            let plots: Vec<String> = picture(document).svg()?.into_iter().collect();
            file.write(document, &plots)
        });
        // One that cannot be written is no reason to leave out another.
        written.into_iter().chain([html]).collect()
    }
}

/// All tables as CSV, an empty line between two.
fn csv(sheets: &[Sheet]) -> String {
    sheets.iter().map(Sheet::csv).collect::<Vec<_>>().join("\n")
}

/// All tables in Markdown.
fn markdown(sheets: &[Sheet]) -> String {
    sheets.iter().map(Sheet::markdown).collect::<Vec<_>>().join("\n")
}

/// Prints all tables in a form that is data: what else is to be said are warnings.
pub(super) fn print(form: Form, sheets: &[Sheet], output: &Output) -> std::io::Result<()> {
    let text = if form == Form::Csv { csv(sheets) } else { markdown(sheets) };
    output.verbatim(text.trim_end())?;
    sheets.iter().flat_map(|sheet| &sheet.notes).for_each(|note| output.warn(note));
    Ok(())
}
