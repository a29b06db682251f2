//! A record of register accesses.

use crate::emu::Access;
use crate::error::{Error, Result};
use crate::pci::trace::not_whole;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file of register accesses, a line each.
pub struct Record {
    file: BufWriter<File>,
    path: PathBuf,
    whole: bool,
}

impl Record {
    /// Begins one.
    pub fn create(path: &Path) -> Result<Self> {
        let file =
            crate::sys::shared::create(path, true).map_err(|e| Error::io(format!("creating {}", path.display()), e))?;
        Ok(Record { file: BufWriter::new(file), path: path.into(), whole: true })
    }

    /// Writes `W 0:01018/4 RDT(0) = 0x1ff`, as in any trace ([`crate::pci::trace`]). A full disk
    /// ends the record, not the card.
    pub fn line(&mut self, access: &Access) {
        let written = writeln!(self.file, "{access}");
        self.check(written);
    }

    fn check(&mut self, written: std::io::Result<()>) {
        if self.whole && written.is_err() {
            self.whole = false;
            not_whole(&self.path);
        }
    }

    /// Writes what the cards were accessed with since the last time.
    #[cfg(target_arch = "x86_64")]
    pub fn append(&mut self, taps: &[&crate::emu::Tap]) {
        for tap in taps {
            tap.take_trace().iter().for_each(|access| self.line(access));
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let written = self.file.flush();
        self.check(written);
    }
}
