//! A file that is whole or not there: it is written under another name beside its own.

use crate::error::{Error, Kind, Result};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file that is going to be written.
pub struct NewFile {
    path: PathBuf,
    file: File,
    /// What it is called until it is whole; none for what is no file, like a pipe.
    beside: Option<PathBuf>,
}

impl NewFile {
    /// Makes sure that it can be written, before there is anything to write.
    ///
    /// # Errors
    /// That it cannot.
    pub fn make(path: &Path) -> Result<NewFile> {
        let failed = |e| Error::io(format!("creating {}", path.display()), e);
        let Some(name) = path.file_name() else {
            return Err(Error::new(Kind::Usage, format!("'{}' is no name for a file", path.display())));
        };
        // What a link leads to is written, not the link.
        let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        if fs::metadata(&whole).is_ok_and(|there| !there.is_file()) {
            let file = OpenOptions::new().write(true).open(&whole).map_err(failed)?;
            return Ok(NewFile { path: whole, file, beside: None });
        }
        let name = whole.file_name().unwrap_or(name).to_string_lossy();
        let beside = whole.with_file_name(format!(".{name}.{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&beside).map_err(failed)?;
        Ok(NewFile { path: whole, file, beside: Some(beside) })
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// What writing meets: then what was there before is still there.
    pub fn write(mut self, text: &str) -> Result<()> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| match self.beside.take() {
            Some(beside) => self.file.sync_all().and_then(|()| fs::rename(&beside, &self.path)).inspect_err(|_| {
                self.beside = Some(beside);
            }),
            None => Ok(()),
        });
        written.map_err(|e| Error::io(format!("writing {}", self.path.display()), e))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // Nothing can be done about it then.
            let _ = fs::remove_file(beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_when_it_is_whole_and_nothing_is_left_of_one_that_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        fs::write(&path, "old").unwrap();
        drop(NewFile::make(&path).unwrap());
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names(dir.path()).len()), ("old", 1));
        NewFile::make(&path).unwrap().write("new").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names(dir.path()).len()), ("new", 1));
    }

    #[test]
    fn a_link_stays_one_and_what_is_no_file_is_written_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        symlink(&file, &link).unwrap();
        NewFile::make(&link).unwrap().write("new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        NewFile::make(Path::new("/dev/null")).unwrap().write("gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn where_none_can_be_made_is_told_before_there_is_anything_to_write() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("none/report.json"), dir.path().to_path_buf(), "/".into()] {
            assert!(NewFile::make(&path).is_err(), "{}", path.display());
        }
    }
}
