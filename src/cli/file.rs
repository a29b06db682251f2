//! A file that is whole or not there: it is written under another name beside its own.

use crate::error::{Error, Kind, Result};
use crate::sys::{Beside, shared};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that is going to be written.
pub struct NewFile {
    path: PathBuf,
    /// What is no file, like a pipe: it is written as it is.
    device: Option<File>,
}

/// The other name, less the umask's permissions.
fn beside(path: &Path) -> io::Result<Beside> {
    Beside::make(path, "new", 0o666)
}

impl NewFile {
    /// Makes sure that it can be written, before there is anything to write.
    ///
    /// # Errors
    /// That it cannot.
    pub fn make(path: &Path) -> Result<NewFile> {
        if path.file_name().is_none() {
            return Err(Error::new(Kind::Usage, format!("'{}' is no name for a file", path.display())));
        }
        // What a link leads to is written, not the link.
        let whole = match shared::leads(path) {
            Ok(true) => fs::canonicalize(path).or_else(|_| leads_to(path)),
            Ok(false) => Ok(path.to_path_buf()),
            Err(planted) => Err(planted),
        };
        let whole = whole.map_err(|e| Error::io(format!("creating {}", path.display()), e))?;
        let device = shared::look(&whole).and_then(|()| match fs::metadata(&whole) {
            Ok(there) if !there.is_file() => OpenOptions::new().write(true).open(&whole).map(Some),
            // It does not stay: of a run that is killed nothing is left.
            _ => beside(&whole).map(|_| None),
        });
        let device = device.map_err(|e| Error::io(format!("creating {}", path.display()), e))?;
        Ok(NewFile { path: whole, device })
    }

    /// Where it is going to be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// What writing meets: then what was there before is still there.
    pub fn write(self, text: &str) -> Result<()> {
        let written = match self.device {
            Some(mut file) => file.write_all(text.as_bytes()),
            None => beside(&self.path).and_then(|mut beside| {
                beside.file.write_all(text.as_bytes())?;
                beside.file.sync_all()?;
                beside.take_place(&self.path)
            }),
        };
        written.map_err(|e| Error::io(format!("writing {}", self.path.display()), e))
    }
}

/// Where a link leads to which nothing is there yet.
fn leads_to(link: &Path) -> io::Result<PathBuf> {
    let to = fs::read_link(link)?;
    Ok(link.parent().map_or(to.clone(), |beside| beside.join(to)))
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
        let file = NewFile::make(&path).unwrap();
        assert_eq!(names(dir.path()), ["report.json"], "while it is measured, when it can be killed");
        drop(file);
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
        fs::remove_file(&file).unwrap();
        fs::remove_file(&link).unwrap();
        symlink("file", &link).unwrap();
        NewFile::make(&link).unwrap().write("first").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "first", "where nothing was yet");
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
