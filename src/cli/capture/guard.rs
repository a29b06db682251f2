//! The guard of a capture file: a process that mends it if the capture is killed.
//!
//! ```text
//!   capture  ──"whole up to byte n"──> guard        (a pipe; the same program)
//!            ──"go on with that file"─>
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

use crate::cli::Context;
use crate::cli::environment;
use crate::cli::output::Output;
use crate::cli::sandbox::{Keeps, Sandbox};
use crate::error::{Error, Result};
use crate::pcap::packed;
use crate::pcap::record::Format;
use crate::pcap::write::Told;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// A guard on its post.
#[derive(Debug)]
pub struct Guard {
    child: Child,
}

impl Guard {
    /// Starts one for the file at `path`, which may be compressed, and what to tell it by.
    ///
    /// # Errors
    /// If the program cannot be started a second time.
    pub fn post(path: &Path, format: Format, packed: bool, sandbox: Sandbox) -> Result<(Guard, Teller)> {
        let mut command = Command::new("/proc/self/exe");
        environment::strip(&mut command);
        let compress = if packed { "gzip" } else { "none" };
        command.args(["capture", "--guard", "--format", &format.to_string(), "--compress", compress]);
        command.args(sandbox.no_sandbox.then_some("--no-sandbox")).arg("--").arg(path);
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

/// Stands for no length: that of a path follows in two bytes, and the path.
const ANOTHER: u64 = u64::MAX;

/// The end of the pipe that is written to.
#[derive(Debug)]
pub struct Teller {
    pipe: Option<ChildStdin>,
    /// What it was told last.
    told: Option<u64>,
}

impl Teller {
    /// Tells it.
    pub fn tell(&mut self, what: Told<'_>) {
        let bytes = match what {
            Told::Whole(len) if self.told.is_some_and(|told| len - told.min(len) < TOLD_EACH) => return,
            Told::Whole(len) => {
                self.told = Some(len);
                len.to_le_bytes().to_vec()
            }
            Told::File(path) => {
                self.told = None;
                let path = path.as_os_str().as_bytes();
                // No path that could be opened is longer.
                let len = u16::try_from(path.len()).unwrap_or_default();
                [&ANOTHER.to_le_bytes()[..], &len.to_le_bytes(), &path[..len.into()]].concat()
            }
        };
        let Some(pipe) = self.pipe.as_mut() else { return };
        if pipe.write_all(&bytes).is_err() {
            // Nobody is there any more: the capture goes on unguarded.
            self.pipe = None;
        }
    }
}

/// What the guard hears.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    File(PathBuf),
    Whole(u64),
}

/// The next thing that is told, until the pipe ends.
fn hear(pipe: &mut impl Read) -> io::Result<Heard> {
    let mut len = [0; 8];
    pipe.read_exact(&mut len)?;
    let len = u64::from_le_bytes(len);
    if len != ANOTHER {
        return Ok(Heard::Whole(len));
    }
    let mut len = [0; 2];
    pipe.read_exact(&mut len)?;
    let mut path = vec![0; u16::from_le_bytes(len).into()];
    pipe.read_exact(&mut path)?;
    Ok(Heard::File(OsStr::from_bytes(&path).into()))
}

/// The guard's side: waits until the pipe ends, and cuts what is torn behind the last
/// place that it was told, of the file that it was told last. It opens files beside `path`, and
/// no others.
pub fn stand(path: &Path, format: Format, packed: bool, sandbox: Sandbox, context: &Context) -> Result<()> {
    let files = vec![path.to_path_buf()];
    let keeps = Keeps { made: files.clone(), played: files, ..Keeps::default() };
    // Nobody hears what it says.
    let _ = sandbox.enter_with(&keeps, &context.roots, &Output::new(&context.global));
    watch(&mut io::stdin().lock(), path, format, packed)
}

fn watch(pipe: &mut impl Read, path: &Path, format: Format, packed: bool) -> Result<()> {
    let (mut path, mut file, mut whole) = (path.to_path_buf(), None, 0);
    while let Ok(heard) = hear(pipe) {
        match heard {
            Heard::File(next) => (path, file) = (next, None),
            Heard::Whole(len) => {
                whole = len;
                // Opened now, so that a file of the same name made later is not touched.
                file = file.take().or_else(|| open(&path));
            }
        }
    }
    let Some(mut file) = file else { return Ok(()) };
    cut(&mut file, whole, format, packed).map_err(|e| Error::io(format!("mending {}", path.display()), e))
}

/// The file, if it can be mended: a pipe or a device cannot be cut, and a guard that opens one is
/// in the way; one of a series may be gone already.
fn open(path: &Path) -> Option<File> {
    if !std::fs::metadata(path).is_ok_and(|file| file.is_file()) {
        return None;
    }
    OpenOptions::new().read(true).write(true).open(path).ok()
}

/// Cuts `file`, whole up to byte `from`, after its last whole record, or member of them.
fn cut(file: &mut File, from: u64, format: Format, packed: bool) -> io::Result<()> {
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut tail)?;
    let whole = if packed { packed::whole_members(&tail) } else { format.whole(&tail).0 };
    if whole < tail.len() { file.set_len(from + whole as u64) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap::record::Record;
    use crate::pcap::repair::repair;
    use crate::pcap::section::Section;

    #[test]
    fn of_a_compressed_file_the_last_member_is_cut_if_it_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let members = [&b"header"[..], &[7; 300], &[8; 300]].map(|bytes| packed::member(bytes).unwrap());
        let (bytes, header) = (members.concat(), members[0].len());
        for len in header..=bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            cut(&mut open(&path).unwrap(), header as u64, Format::Pcap, true).unwrap();
            let second = header + members[1].len();
            let want = if len == bytes.len() {
                len
            } else if len >= second {
                second
            } else {
                header
            };
            assert_eq!(std::fs::metadata(&path).unwrap().len(), want as u64, "{len}");
        }
    }

    #[test]
    fn the_file_that_was_told_last_is_mended_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        Format::Pcap.header(&mut bytes, 65_535, &crate::pcap::section::Section::default());
        Format::Pcap.put(&mut bytes, &Record { interface: 0, time: 0, wire_len: 61, parts: &[&[1; 61]] });
        let (header, whole) = (24_u64, bytes.len() as u64);
        Format::Pcap.put(&mut bytes, &Record { interface: 0, time: 0, wire_len: 61, parts: &[&[1; 61]] });
        bytes.truncate(bytes.len() - 7);
        let paths = ["base", "f1", "f2", "f3"].map(|name| dir.path().join(name));
        let gone = dir.path().join("gone");
        // The last of several, one behind a file that was removed, and the only one.
        for (told, mended) in [(&[&paths[1], &paths[2]][..], 2), (&[&gone, &paths[3]], 3), (&[], 0)] {
            paths.iter().for_each(|path| std::fs::write(path, &bytes).unwrap());
            let mut pipe = Vec::new();
            for path in told {
                let path = path.as_os_str().as_bytes();
                pipe.extend([&ANOTHER.to_le_bytes()[..], &(path.len() as u16).to_le_bytes(), path].concat());
                pipe.extend(header.to_le_bytes());
            }
            pipe.extend(header.to_le_bytes());
            watch(&mut &pipe[..], &paths[0], Format::Pcap, false).unwrap();
            for (n, path) in paths.iter().enumerate() {
                let want = if n == mended { whole } else { bytes.len() as u64 };
                assert_eq!(path.metadata().unwrap().len(), want, "{n} of {mended}");
            }
        }
    }

    #[test]
    fn what_is_told_is_heard_and_no_more_often_than_it_need_be() {
        let (mut child, mut heard) =
            (Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap(), Vec::new());
        let mut teller = Teller { pipe: child.stdin.take(), told: None };
        let path = Path::new("f_00002_20261130104500.pcap");
        let told = [Told::Whole(24), Told::Whole(100), Told::Whole(TOLD_EACH + 24), Told::File(path), Told::Whole(24)];
        told.into_iter().for_each(|what| teller.tell(what));
        drop(teller);
        let mut pipe = child.stdout.take().unwrap();
        while let Ok(what) = hear(&mut pipe) {
            heard.push(what);
        }
        child.wait().unwrap();
        let file = Heard::File(path.to_path_buf());
        assert_eq!(heard, [Heard::Whole(24), Heard::Whole(TOLD_EACH + 24), file, Heard::Whole(24)]);
    }

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
                cut(&mut file, header as u64, format, false).unwrap();
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
