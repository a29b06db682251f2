//! A file that takes the place of another once it is whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A new file in the folder of another, which goes away unless it takes its place.
pub struct Beside {
    /// The file, to be written.
    pub file: File,
    /// Empty once it has the other's name.
    path: PathBuf,
}

impl Beside {
    /// One for `path`, with this word in its name, and these permissions less the umask's.
    ///
    /// # Errors
    /// Those of creating a file.
    pub fn make(path: &Path, word: &str, mode: u32) -> io::Result<Beside> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let path = path.with_file_name(format!(".{name}.{word}-{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        Ok(Beside { file, path })
    }

    /// Gives it the name of `path`.
    ///
    /// # Errors
    /// Those of renaming a file; then `path` is what it was.
    pub fn take_place(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.path = PathBuf::new();
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if self.path != Path::new("") {
            // Nothing can be done about it then.
            let _ = fs::remove_file(&self.path);
        }
    }
}
