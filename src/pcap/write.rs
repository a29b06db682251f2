//! Writing capture files, without ever stopping the thread that receives.
//!
//! ```text
//!   poll thread                               writer thread
//!   put records into a chunk ──full──────────> write(2) whole chunks
//!        ^                                         |
//!        +─────────────────────────empty───────────+
//! ```
//!
//! A packet is copied once, from its buffer into a chunk of [`CHUNK`] bytes; a
//! full chunk, or one that has waited [`FLUSH`], is handed over. If the disk is
//! slower than the traffic and all chunks are on their way, packets are counted
//! as dropped, and receiving goes on.
//!
//! Chunks end where records end, so the file is whole between any two writes. Where
//! a process is killed within one, another must mend the file, and so it hears of
//! every write. A write that fails in the middle (no space, an I/O error) is taken
//! back to the last whole record. What is counted as written is what is in the file.

use super::record::{Format, Record, Totals};
use crate::error::{Error, Result};
use crate::sys;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of a chunk.
pub const CHUNK: usize = 1 << 20;
/// How long a record may wait in memory: half of what is promised, since the
/// write takes its time too.
pub const FLUSH: Duration = Duration::from_millis(50);
/// Bytes of chunks if nothing else is asked: the pause of a disk at 1 GB/s, 60 ms.
/// Memory is only taken as far as it is used.
pub const BUFFER: usize = 64 << 20;
/// Longest packet that is kept.
pub const SNAPLEN: usize = 262_144;

/// What to write, and where.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The file; `-` is standard output.
    pub path: &'a Path,
    /// Its format.
    pub format: Format,
    /// Bytes to keep of each packet.
    pub snaplen: usize,
    /// Bytes to hold while the disk is slow.
    pub buffer: usize,
    /// Name of the interface, for pcapng.
    pub interface: &'a str,
}

/// Takes records, and has them written.
#[derive(Debug)]
pub struct Recorder {
    format: Format,
    snaplen: usize,
    chunk: Option<Chunk>,
    /// Chunks nobody uses, those that were used last on top: the rest is never touched.
    spare: Vec<Chunk>,
    empty: Receiver<Chunk>,
    full: SyncSender<Chunk>,
    thread: JoinHandle<io::Result<()>>,
    progress: Arc<Progress>,
    taken: u64,
    dropped: u64,
}

/// Records on their way.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    records: u64,
}

/// What the writer has done, for others to read.
#[derive(Debug, Default)]
struct Progress {
    records: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicBool,
}

/// How it ended.
#[derive(Debug)]
pub struct Written {
    /// Packets in the file.
    pub records: u64,
    /// Bytes of the file, headers included.
    pub bytes: u64,
    /// Packets that were not written because the disk was slower than they came.
    pub slow: u64,
    /// Packets that were lost when writing failed.
    pub lost: u64,
    /// Why writing stopped, if it failed.
    pub error: Option<io::Error>,
}

impl Recorder {
    /// Makes the file with its header, and a thread that writes it. `committed` is
    /// told how long the file is whenever it is whole.
    ///
    /// # Errors
    /// If the file cannot be made or not even its header written.
    pub fn create(plan: &Plan<'_>, mut committed: impl FnMut(u64) + Send + 'static) -> Result<Self> {
        let shown = plan.path.display();
        let mut sink = Sink::open(plan.path).map_err(|e| match Error::io(format!("making {shown}"), e) {
            error if plan.path == Path::new("-") => error,
            error => error.hint("name a folder that exists and that you may write to"),
        })?;
        let progress = Arc::new(Progress::default());
        let mut header = Vec::new();
        plan.format.header(&mut header, plan.snaplen as u32, plan.interface);
        sink.put(&header, |_| (0, 0)).map_err(|failed| Error::io(format!("writing {shown}"), failed.error))?;
        progress.bytes.store(sink.len, Ordering::Relaxed);
        committed(sink.len);

        // Two at least: one fills while the other is written.
        let count = (plan.buffer / CHUNK).clamp(2, 1 << 16);
        let spare: Vec<Chunk> = (0..count).map(|_| Chunk { bytes: Vec::with_capacity(CHUNK), records: 0 }).collect();
        let (full, incoming) = sync_channel(count);
        let (outgoing, empty) = sync_channel(count);
        let writer =
            Writer { sink, format: plan.format, progress: Arc::clone(&progress), committed: Box::new(committed) };
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || writer.run(&incoming, &outgoing))
            .map_err(|e| Error::io("starting the thread that writes", e))?;
        let snaplen = plan.snaplen.clamp(1, SNAPLEN);
        Ok(Recorder {
            format: plan.format,
            snaplen,
            chunk: None,
            spare,
            empty,
            full,
            thread,
            progress,
            taken: 0,
            dropped: 0,
        })
    }

    /// Takes a packet; false if it was dropped because the disk is behind.
    #[inline]
    pub fn record(&mut self, time: u64, frame: &[u8]) -> bool {
        self.put(&Record { time, wire_len: frame.len(), parts: &[frame] })
    }

    /// Takes a packet that lies in several buffers.
    pub fn record_parts(&mut self, time: u64, parts: &[&[u8]]) -> bool {
        let wire_len = parts.iter().map(|part| part.len()).sum();
        self.put(&Record { time, wire_len, parts })
    }

    /// Takes a packet of which only `frame` is left of `wire_len` bytes.
    pub fn record_cut(&mut self, time: u64, frame: &[u8], wire_len: usize) -> bool {
        self.put_first(&Record { time, wire_len, parts: &[frame] }, frame.len())
    }

    /// Whether the next packet would be dropped, for a caller that can wait.
    pub fn is_full(&mut self) -> bool {
        let most = self.format.record_len(self.snaplen);
        if self.chunk.as_ref().is_some_and(|chunk| chunk.bytes.len() + most > CHUNK) {
            self.flush();
        }
        if self.chunk.is_none() {
            self.chunk = self.next_chunk();
        }
        self.chunk.is_none()
    }

    #[inline]
    fn put(&mut self, record: &Record<'_>) -> bool {
        self.put_first(record, record.wire_len)
    }

    /// The same of a packet of which there are `len` bytes.
    #[inline]
    fn put_first(&mut self, record: &Record<'_>, len: usize) -> bool {
        let kept = len.min(self.snaplen);
        let len = self.format.record_len(kept);
        if self.chunk.as_ref().is_some_and(|chunk| chunk.bytes.len() + len > CHUNK) {
            self.flush();
        }
        if self.chunk.is_none() {
            self.chunk = self.next_chunk();
        }
        let Some(chunk) = &mut self.chunk else {
            self.dropped += 1;
            return false;
        };
        self.format.put_first(&mut chunk.bytes, record, kept);
        chunk.records += 1;
        self.taken += 1;
        true
    }

    #[cold]
    fn next_chunk(&mut self) -> Option<Chunk> {
        while let Ok(chunk) = self.empty.try_recv() {
            self.spare.push(chunk);
        }
        self.spare.pop()
    }

    /// Hands over what was taken so far. To be called every [`FLUSH`], whether
    /// packets come or not.
    pub fn flush(&mut self) {
        let Some(chunk) = self.chunk.take_if(|chunk| !chunk.bytes.is_empty()) else {
            return;
        };
        // There is room for every chunk there is, so it fails only if the writer
        // is gone, and then `finish` tells why.
        if let Err(error) = self.full.try_send(chunk) {
            drop(error);
            self.progress.failed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether writing has failed: nothing more will be written.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.progress.failed.load(Ordering::Relaxed)
    }

    /// Packets in the file and bytes of it, so far.
    pub fn written(&self) -> (u64, u64) {
        (self.progress.records.load(Ordering::Relaxed), self.progress.bytes.load(Ordering::Relaxed))
    }

    /// Packets taken so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Packets dropped so far because the disk was behind.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Writes what is left, and the file's end with `totals`, whose
    /// `delivered` and `dropped` are filled in; waits for the disk.
    pub fn finish(mut self, mut totals: Totals) -> Written {
        self.flush();
        totals.delivered = self.taken;
        totals.dropped += self.dropped;
        let mut bytes = Vec::new();
        self.format.end(&mut bytes, &totals);
        if !bytes.is_empty() {
            // The channel has room for one chunk more than are on their way, or
            // the writer makes it.
            let _ = self.full.send(Chunk { bytes, records: 0 });
        }
        let Recorder { full, empty, thread, progress, taken, dropped, .. } = self;
        drop(full);
        let error = match thread.join() {
            Ok(result) => result.err(),
            Err(_) => Some(io::Error::other("the thread that writes panicked")),
        };
        drop(empty);
        let records = progress.records.load(Ordering::Relaxed);
        let bytes = progress.bytes.load(Ordering::Relaxed);
        Written { records, bytes, slow: dropped, lost: taken - records, error }
    }
}

/// The thread that writes.
struct Writer {
    sink: Sink,
    format: Format,
    progress: Arc<Progress>,
    committed: Box<dyn FnMut(u64) + Send>,
}

impl Writer {
    fn run(mut self, incoming: &Receiver<Chunk>, outgoing: &SyncSender<Chunk>) -> io::Result<()> {
        let mut result = Ok(());
        // After a failure chunks are still taken back, so that nobody waits.
        for mut chunk in incoming {
            if result.is_ok() {
                result = self.write(&chunk);
            }
            chunk.bytes.clear();
            chunk.records = 0;
            // The other side may be gone already.
            let _ = outgoing.try_send(chunk);
        }
        match result {
            Ok(()) => self.sink.sync(),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, chunk: &Chunk) -> io::Result<()> {
        let before = self.progress.records.load(Ordering::Relaxed);
        let (records, result) = match self.sink.put(&chunk.bytes, |bytes| self.format.whole(bytes)) {
            Ok(()) => (chunk.records, Ok(())),
            Err(failed) => (failed.records.min(chunk.records), Err(failed.error)),
        };
        self.progress.records.store(before + records, Ordering::Relaxed);
        self.progress.bytes.store(self.sink.len, Ordering::Relaxed);
        (self.committed)(self.sink.len);
        self.progress.failed.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    }
}

/// A file that only ever grows by whole records.
#[derive(Debug)]
struct Sink {
    file: File,
    len: u64,
    /// A regular file can be cut; a pipe cannot.
    regular: bool,
}

/// A write that failed.
struct Failed {
    records: u64,
    error: io::Error,
}

impl Sink {
    fn open(path: &Path) -> io::Result<Self> {
        let file = if path == Path::new("-") {
            File::from(sys::standard_output()?.as_fd().try_clone_to_owned()?)
        } else {
            OpenOptions::new().write(true).create(true).truncate(true).open(path)?
        };
        let regular = path != Path::new("-") && file.metadata()?.is_file();
        Ok(Sink { file, len: 0, regular })
    }

    /// Appends `bytes`, or of what did get in as much as `whole` (bytes, records)
    /// finds whole.
    fn put(&mut self, bytes: &[u8], whole: impl Fn(&[u8]) -> (usize, u64)) -> std::result::Result<(), Failed> {
        let mut done = 0;
        while done < bytes.len() {
            let error = match self.file.write(&bytes[done..]) {
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
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Waits until the disk has it: some errors only show then.
    fn sync(&self) -> io::Result<()> {
        match self.file.sync_data() {
            Err(error) if self.regular => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap::read::Recording;

    fn plan(path: &Path, format: Format) -> Plan<'_> {
        Plan { path, format, snaplen: SNAPLEN, buffer: BUFFER, interface: "test" }
    }

    #[test]
    fn what_is_counted_is_in_the_file_cut_to_the_snap_length() {
        let dir = tempfile::tempdir().unwrap();
        for format in [Format::Pcap, Format::Pcapng] {
            let path = dir.path().join("f");
            let mut recorder = Recorder::create(&Plan { snaplen: 100, ..plan(&path, format) }, |_| ()).unwrap();
            for i in 0..5_000_u64 {
                assert!(recorder.record(i, &[i as u8; 60]));
                assert!(recorder.record_parts(i, &[&[1; 90], &[2; 90]]));
            }
            let written = recorder.finish(Totals::default());
            assert!(written.error.is_none());
            assert_eq!((written.records, written.slow, written.lost), (10_000, 0, 0));
            assert_eq!(written.bytes, std::fs::metadata(&path).unwrap().len());
            let recording = Recording::open(&path).unwrap();
            assert_eq!((recording.len(), recording.damage()), (10_000, None));
            let long = recording.packet(9_999);
            assert_eq!((long.wire_len, long.bytes.len(), &long.bytes[88..92]), (180, 100, &[1, 1, 2, 2][..]));
        }
    }

    #[test]
    fn taking_a_packet_asks_the_allocator_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let plan = Plan { snaplen: 1_600, ..plan(&path, Format::Pcapng) };
        let mut recorder = Recorder::create(&plan, |_| ()).unwrap();
        let frame = [7; 1_000];
        let asked = crate::testing::allocations(|| {
            for time in 0..10_000 {
                recorder.record(time, &frame);
                recorder.record_parts(time, &[&frame, &frame]);
            }
        });
        assert_eq!(asked, 0, "over some twenty chunks");
        recorder.finish(Totals::default());
    }

    #[test]
    fn a_flush_makes_the_file_whole_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut recorder = Recorder::create(&plan(&path, Format::Pcap), |_| ()).unwrap();
        assert_eq!(Recording::open(&path).unwrap().len(), 0, "valid before the first packet");
        recorder.record(1, &[0; 60]);
        recorder.flush();
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while recorder.written().0 == 0 && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!(Recording::open(&path).unwrap().len(), 1);
        recorder.finish(Totals::default());
    }

    #[test]
    fn a_full_disk_stops_at_a_whole_record_with_an_exact_count() {
        // Every write to it fails with ENOSPC.
        let written = Recorder::create(&plan(Path::new("/dev/full"), Format::Pcap), |_| ());
        assert!(written.unwrap_err().to_string().contains("No space left"));
    }

    #[test]
    fn a_slow_disk_drops_packets_and_never_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        crate::sys::make_fifo(&fifo).unwrap();
        // A reader that does not read: the pipe fills up and the writer waits.
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || File::open(fifo).unwrap()
        });
        let mut recorder = Recorder::create(&Plan { buffer: 2 * CHUNK, ..plan(&fifo, Format::Pcap) }, |_| ()).unwrap();
        let reader = reader.join().unwrap();
        let frame = [0; 1500];
        for i in 0..4_000 {
            recorder.record(i, &frame);
        }
        assert!(recorder.dropped() > 0);
        assert_eq!(recorder.dropped() + recorder.taken(), 4_000);
        drop(reader);
        let taken = recorder.taken();
        let written = recorder.finish(Totals::default());
        assert_eq!(written.error.unwrap().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(written.records + written.lost, taken);
    }

    #[test]
    fn a_write_that_fails_in_the_middle_is_taken_back_to_the_last_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"0123456789").unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let mut sink = Sink { file, len: 4, regular: true };
        // Nothing gets in: a file opened for reading refuses.
        sink.file = File::open(&path).unwrap();
        let failed = sink.put(b"abc", |_| (0, 0)).err().unwrap();
        assert_eq!((failed.records, sink.len), (0, 4));
    }
}
