//! The guard of a capture file: a process that mends it if the capture is killed.
//!
//! ```text
//!   capture  ──"whole up to byte n"──> guard        (a pipe; the same program)
//!      x  killed in the middle of a write
//!                                      the pipe ends: cut the file after the
//!                                      last whole record behind byte n
//! ```
//!
//! The kernel stops a write(2) of a process that is killed at any page, so no
//! order of writes keeps a record from being torn. Another process can mend it:
//! it sleeps in a read of the pipe, and wakes for good when nobody holds the
//! other end any more. It is in a process group of its own, so that Ctrl-C and a
//! kill of the group do not reach it.

use crate::cli::environment;
use crate::error::{Error, Result};
use crate::pcap::record::Format;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A guard on its post.
#[derive(Debug)]
pub struct Guard {
    child: Child,
}

impl Guard {
    /// Starts one for the file at `path`, and what to tell it by.
    ///
    /// # Errors
    /// If the program cannot be started a second time.
    pub fn post(path: &Path, format: Format) -> Result<(Guard, Teller)> {
        let mut command = Command::new("/proc/self/exe");
        environment::strip(&mut command);
        command.args(["capture", "--guard", "--format", &format.to_string(), "--"]).arg(path);
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| Error::io("starting the file's guard", e))?;
        let pipe = child.stdin.take();
        Ok((Guard { child }, Teller { pipe, told: None }))
    }

    /// Lets it go, when the file is ended and its [`Teller`] is gone.
    pub fn dismiss(mut self) {
        // How it ended does not matter: the file is whole.
        let _ = self.child.wait();
    }
}

/// Bytes after which the guard is told how far the file is whole: it reads as much of the end
/// of a file, and wakes up each time, on a processor that receives perhaps.
const TOLD_EACH: u64 = 16 << 20;

/// The end of the pipe that is written to.
#[derive(Debug)]
pub struct Teller {
    pipe: Option<ChildStdin>,
    /// What it was told last.
    told: Option<u64>,
}

impl Teller {
    /// The file is whole up to byte `len`.
    pub fn tell(&mut self, len: u64) {
        let due = self.told.is_none_or(|told| len - told.min(len) >= TOLD_EACH);
        let Some(pipe) = self.pipe.as_mut().filter(|_| due) else { return };
        self.told = Some(len);
        if pipe.write_all(&len.to_le_bytes()).is_err() {
            // Nobody is there any more: the capture goes on unguarded.
            self.pipe = None;
        }
    }
}

/// The guard's side: waits until the pipe ends, and cuts what is torn behind the last
/// place that it was told.
pub fn stand(path: &Path, format: Format) -> Result<()> {
    let mut whole = [0; 8];
    let mut pipe = std::io::stdin().lock();
    if pipe.read_exact(&mut whole).is_err() {
        return Ok(());
    }
    // A pipe or a device cannot be cut, and a guard that opens one is in the way.
    if !std::fs::metadata(path).is_ok_and(|file| file.is_file()) {
        return Ok(());
    }
    // Opened now, so that a file of the same name made later is not touched.
    let opening = |e| Error::io(format!("opening {}", path.display()), e);
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(opening)?;
    let mut next = whole;
    while pipe.read_exact(&mut next).is_ok() {
        whole = next;
    }
    cut(&mut file, u64::from_le_bytes(whole), format).map_err(|e| Error::io(format!("mending {}", path.display()), e))
}

/// Cuts `file`, whole up to byte `from`, after its last whole record.
fn cut(file: &mut File, from: u64, format: Format) -> std::io::Result<()> {
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut tail)?;
    let (whole, _) = format.whole(&tail);
    if whole < tail.len() { file.set_len(from + whole as u64) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap::record::Record;
    use crate::pcap::repair::repair;
    use crate::pcap::section::Section;

    #[test]
    fn whatever_was_written_of_the_last_record_is_cut_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for format in [Format::Pcap, Format::Pcapng] {
            let mut bytes = Vec::new();
            format.header(&mut bytes, 65_535, &Section::of(["x"]));
            let header = bytes.len();
            for _ in 0..2 {
                format.put(&mut bytes, &Record { interface: 0, time: 0, wire_len: 61, parts: &[&[1; 61]] });
            }
            let record = (bytes.len() - header) / 2;
            for len in header..=bytes.len() {
                std::fs::write(&path, &bytes[..len]).unwrap();
                let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
                cut(&mut file, header as u64, format).unwrap();
                let want = header + (len - header) / record * record;
                assert_eq!(file.metadata().unwrap().len(), want as u64);
                drop(file);

                std::fs::write(&path, &bytes[..len]).unwrap();
                let mended = repair(&path, &|| false).unwrap();
                assert_eq!((mended.packets, mended.cut), (((len - header) / record) as u64, (len - want) as u64));
            }
        }
    }
}
