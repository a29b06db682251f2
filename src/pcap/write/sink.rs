//! The file itself: it grows by whole records only.

use super::writer::Progress;
use super::{CHUNK, Lines};
use crate::pcap::packed;
use crate::pcap::record::Format;
use crate::sys;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Where chunks go.
#[derive(Debug)]
pub(super) enum Sink {
    File(Growing),
    /// They are compressed, each to a member of its own, so that a file ends behind a record
    /// wherever a member ends.
    Packed(Growing),
    /// They are told, packet by packet.
    Text(Text),
    /// They are counted and dropped.
    Nowhere(u64),
}

/// A file of lines, each of them of a packet.
pub(super) struct Text {
    file: Growing,
    format: Format,
    lines: Lines,
    /// What is to be written next, and where each packet's lines end in it.
    text: String,
    ends: Vec<usize>,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Bytes of text that are worth a write at once.
const PAGE: usize = 32 << 10;

/// A file that only ever grows by whole records.
#[derive(Debug)]
pub(super) struct Growing {
    pub(super) file: File,
    pub(super) len: u64,
    /// A regular file can be cut; a pipe cannot.
    pub(super) regular: bool,
    /// Its file system can send what is written to the disk at once.
    pub(super) uncached: bool,
    /// What a write that is not waited for may have: of a pipe of others so much as fits where
    /// there is room at all (pipe(7)).
    pub(super) at_once: usize,
    /// What says that no more comes.
    pub(super) progress: Arc<Progress>,
    /// How its reader gets on since.
    pub(super) rest: Option<Rest>,
}

/// Bytes that are worth a disk's while at once. Fewer come of a flush: they may wait for more.
const MANY: usize = CHUNK / 2;

/// How long a reader may take for [`LEAST`] bytes, or for what is left, once no more comes: one
/// that takes nothing, or some bytes now and then, would hold the end of a capture for ever.
const PATIENCE: Duration = Duration::from_secs(3);
/// What a pipe holds, four times over.
const LEAST: u64 = 256 << 10;

/// What a reader took of a file's rest.
#[derive(Debug)]
pub(super) struct Rest {
    since: Instant,
    taken: u64,
}

impl Rest {
    fn new() -> Self {
        Rest { since: Instant::now(), taken: 0 }
    }
}

/// A write that failed.
pub(super) struct Failed {
    pub(super) records: u64,
    pub(super) error: io::Error,
}

impl Sink {
    /// Makes the file at `path`, or empties it. The reader of a named pipe is waited for until
    /// `stopped`, and what it does not take once `progress` is closing is given up.
    pub(super) fn open(
        path: &Path,
        packed: bool,
        progress: &Arc<Progress>,
        stopped: &dyn Fn() -> bool,
    ) -> io::Result<Self> {
        let file = if path == Path::new("-") {
            File::from(sys::standard_output()?.as_fd().try_clone_to_owned()?)
        } else if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
            sys::shared::look(path)?;
            let pipe = pipe(path, stopped)?;
            sys::shared::vet(path, &pipe)?;
            pipe
        } else {
            sys::shared::create(path, true)?
        };
        let found = file.metadata()?.file_type();
        let regular = path != Path::new("-") && found.is_file();
        // Standard output waits, and is not ours alone to have it not wait.
        let waits = path == Path::new("-") && (found.is_fifo() || found.is_socket());
        let at_once = if waits { libc::PIPE_BUF } else { usize::MAX };
        let progress = Arc::clone(progress);
        let file = Growing { file, len: 0, regular, uncached: regular, at_once, progress, rest: None };
        Ok(if packed { Sink::Packed(file) } else { Sink::File(file) })
    }

    /// Bytes of the file, all of them of whole records.
    pub(super) fn len(&self) -> u64 {
        match self {
            Sink::File(Growing { len, .. }) | Sink::Packed(Growing { len, .. }) | Sink::Nowhere(len) => *len,
            Sink::Text(Text { file, .. }) => file.len,
        }
    }

    /// The same with the words of each packet instead of its record in this `format`.
    pub(super) fn into_text(self, format: Format, lines: Lines) -> Self {
        match self {
            Sink::File(file) => Sink::Text(Text { file, format, lines, text: String::new(), ends: Vec::new() }),
            other => other,
        }
    }

    /// Whether it is compressed.
    pub(super) fn is_packed(&self) -> bool {
        matches!(self, Sink::Packed(_))
    }

    /// Appends `bytes`, or of what did get in as much as `whole` (bytes, records)
    /// finds whole.
    pub(super) fn put(&mut self, bytes: &[u8], whole: impl Fn(&[u8]) -> (usize, u64)) -> Result<(), Failed> {
        match self {
            Sink::File(file) => file.put(bytes, whole),
            // Of a member that is torn nothing counts.
            Sink::Packed(file) => match packed::member(bytes) {
                Ok(member) => file.put(&member, |_| (0, 0)),
                Err(error) => Err(Failed { records: 0, error }),
            },
            Sink::Text(text) => text.put(bytes),
            Sink::Nowhere(len) => {
                *len += bytes.len() as u64;
                Ok(())
            }
        }
    }

    /// Waits until the disk has it: some errors only show then.
    pub(super) fn sync(&self) -> io::Result<()> {
        let (Sink::File(Growing { file, regular, .. }) | Sink::Packed(Growing { file, regular, .. })) = self else {
            return Ok(());
        };
        match file.sync_data() {
            Err(error) if *regular => Err(error),
            _ => Ok(()),
        }
    }
}

/// A named pipe, once it has a reader: open(2) would wait for one in a call that no signal ends.
fn pipe(path: &Path, stopped: &dyn Fn() -> bool) -> io::Result<File> {
    /// Between two looks for a reader.
    const REST: Duration = Duration::from_millis(5);
    loop {
        match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {}
            opened => return opened,
        }
        if stopped() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        std::thread::sleep(REST);
    }
}

impl Text {
    /// Writes the lines of each packet in `bytes`. One counts as written when all of it is.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        let (mut rest, mut written) = (bytes, 0);
        loop {
            self.text.clear();
            self.ends.clear();
            while let Some((len, taken)) = self.format.read(rest).filter(|_| self.text.len() < PAGE) {
                if let Some(taken) = taken {
                    (self.lines)(&taken, &mut self.text);
                    self.ends.push(self.text.len());
                }
                rest = &rest[len..];
            }
            if self.ends.is_empty() {
                return Ok(());
            }
            let ends = &self.ends;
            let whole = |text: &[u8]| (0, ends.partition_point(|end| *end <= text.len()) as u64);
            let put = self.file.put(self.text.as_bytes(), whole);
            put.map_err(|failed| Failed { records: written + failed.records, ..failed })?;
            written += self.ends.len() as u64;
        }
    }
}

impl Growing {
    fn put(&mut self, bytes: &[u8], whole: impl Fn(&[u8]) -> (usize, u64)) -> Result<(), Failed> {
        let mut done = 0;
        while done < bytes.len() {
            let error = match self.write(&bytes[done..], done as u64) {
                Ok(0) => io::Error::from(io::ErrorKind::WriteZero),
                Ok(n) => {
                    done += n;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let (kept, records) = whole(&bytes[..done]);
            if self.regular {
                // If even this fails, the torn record stays, and is not counted.
                let _ = self.file.set_len(self.len + kept as u64);
            }
            self.len += kept as u64;
            return Err(Failed { records, error });
        }
        if self.regular && !self.uncached && bytes.len() >= MANY {
            // Only a hint: what fails on its way to the disk is told in the end.
            let _ = sys::begin_write_back(&self.file, self.len, bytes.len() as u64);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Writes `bytes` behind the `done` bytes that follow the last record: many of them
    /// past the page cache where that is possible, as what piles up there is written by fits
    /// and starts, and drives out what others have cached.
    fn write(&mut self, bytes: &[u8], done: u64) -> io::Result<usize> {
        if self.uncached && bytes.len() >= MANY {
            match sys::write_uncached(&self.file, bytes, self.len + done) {
                Err(error) if refuses(&error) => self.uncached = false,
                result => return result,
            }
        }
        if self.regular {
            return std::os::unix::fs::FileExt::write_at(&self.file, bytes, self.len + done);
        }
        self.write_stream(bytes)
    }

    /// Writes as much as there is room for, once there is; not for ever when no more comes.
    fn write_stream(&mut self, bytes: &[u8]) -> io::Result<usize> {
        /// Between two looks at whether more comes.
        const LOOK: Duration = Duration::from_millis(50);
        loop {
            self.check_reader()?;
            if sys::has_room(&self.file, LOOK)? {
                match self.file.write(&bytes[..bytes.len().min(self.at_once)]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => {
                        if let (Some(rest), Ok(taken)) = (&mut self.rest, &done) {
                            rest.taken += *taken as u64;
                        }
                        return done;
                    }
                }
            }
        }
    }

    /// Gives a reader up that is too slow once no more comes.
    fn check_reader(&mut self) -> io::Result<()> {
        if !self.progress.closing.load(Ordering::Relaxed) {
            return Ok(());
        }
        let rest = self.rest.get_or_insert_with(Rest::new);
        if rest.taken >= LEAST {
            *rest = Rest::new();
        }
        if rest.since.elapsed() < PATIENCE {
            return Ok(());
        }
        let taken = if rest.taken == 0 { "nothing".into() } else { format!("only {} bytes", rest.taken) };
        let line = format!("its reader has taken {taken} for {} s", PATIENCE.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, line))
    }
}

/// Whether the kernel or the file system has no such way to write, which is told of the
/// first write.
fn refuses(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_in_the_middle_is_taken_back_to_the_last_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"0123456789").unwrap();
        // Nothing gets in: a file opened for reading refuses.
        let file = File::open(&path).unwrap();
        let mut sink = Sink::File(Growing {
            file,
            len: 4,
            regular: true,
            uncached: true,
            at_once: usize::MAX,
            progress: Arc::default(),
            rest: None,
        });
        let failed = sink.put(b"abc", |_| (0, 0)).err().unwrap();
        assert_eq!((failed.records, sink.len()), (0, 4));
    }

    #[test]
    fn a_file_is_the_same_whichever_way_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        for uncached in [true, false] {
            let path = dir.path().join("f");
            let Sink::File(mut growing) = Sink::open(&path, false, &Arc::default(), &|| false).unwrap() else {
                panic!("no file")
            };
            growing.uncached &= uncached;
            for part in [&b"one"[..], &vec![7; MANY + 3], b"two"] {
                assert!(growing.put(part, |_| (0, 0)).is_ok());
            }
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!((bytes.len() as u64, growing.len), (MANY as u64 + 9, MANY as u64 + 9));
            assert!(bytes.starts_with(b"one\x07") && bytes.ends_with(b"\x07two"));
        }
    }

    #[test]
    fn text_has_the_lines_of_each_packet_and_none_of_what_is_no_packet() {
        use crate::pcap::record::{Record, Totals};
        let dir = tempfile::tempdir().unwrap();
        let frames: Vec<Vec<u8>> = (1..=2_000).map(|n| vec![n as u8; n % 50]).collect();
        let lines = |frames: &[Vec<u8>]| frames.iter().map(|frame| format!("{frame:?}\n")).collect::<String>();
        for format in [Format::Pcap, Format::Pcapng] {
            let mut bytes = Vec::new();
            for frame in &frames {
                format.put(&mut bytes, &Record { interface: 0, time: 1, wire_len: frame.len(), parts: &[frame] });
            }
            format.end(&mut bytes, &Totals::default());
            let told = || -> Lines { Box::new(|taken, text| *text += &format!("{:?}\n", taken.bytes)) };
            let open = |path: &Path| Sink::open(path, false, &Arc::default(), &|| false).unwrap();
            let path = dir.path().join("f");
            let mut sink = open(&path).into_text(format, told());
            assert!(sink.put(&bytes, |_| (0, 0)).is_ok());
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text == lines(&frames) && sink.len() == text.len() as u64);
            let mut full = open(Path::new("/dev/full")).into_text(format, told());
            let failed = full.put(&bytes, |_| (0, 0)).err().unwrap();
            assert_eq!((failed.records, failed.error.kind()), (0, io::ErrorKind::StorageFull));
        }
    }
}
