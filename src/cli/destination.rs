//! A file of results, which is opened before the run and written after it.

use crate::error::{Error, Kind, Result};
use crate::sys::shared;
use std::fs::{File, Metadata};
use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file of results.
pub struct Destination<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Destination<'a> {
    /// The file of this name, if there is to be one.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn create(path: &'a Option<PathBuf>) -> Result<Option<Self>> {
        let Some(path) = path.as_deref() else { return Ok(None) };
        // Not truncated yet: a run that fails leaves the results of the last one.
        let file = shared::create(path, false).map_err(|e| Error::io(format!("creating {}", path.display()), e))?;
        Ok(Some(Destination { path, file }))
    }

    /// Writes it, instead of what was there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
        let regular = self.file.metadata().is_ok_and(|data| data.is_file());
        let emptied = if regular { self.file.set_len(0) } else { Ok(()) };
        emptied.map_err(|e| self.incomplete(e)).and_then(|()| self.append(content))
    }

    /// Writes on.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn append(&mut self, content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
        let mut out = BufWriter::new(&self.file);
        content(&mut out).and_then(|()| out.flush()).map_err(|e| self.incomplete(e))
    }

    /// Its path and what the system says of it.
    pub fn place(&self) -> Option<(&Path, Metadata)> {
        Some((self.path, self.file.metadata().ok()?))
    }

    fn incomplete(&self, error: std::io::Error) -> Error {
        Error::io(format!("writing {}; it is not complete", self.path.display()), error)
    }
}

/// Refuses one file for two things, of which the second would be written over the first.
///
/// # Errors
/// [`Kind::Usage`] with the second name.
pub fn check_apart<'p>(files: impl IntoIterator<Item = (&'p Path, Metadata)>) -> Result<()> {
    let mut seen = Vec::new();
    for (path, data) in files {
        if data.is_file() && seen.contains(&(data.dev(), data.ino())) {
            let path = path.display();
            let line = format!("{path} is named for two results, and one would write over the other; name two files");
            return Err(Error::new(Kind::Usage, line));
        }
        seen.push((data.dev(), data.ino()));
    }
    Ok(())
}
