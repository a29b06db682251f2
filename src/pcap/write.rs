//! Writing capture files, without ever stopping the threads that receive.
//!
//! ```text
//!   poll threads, a recorder each             writer thread
//!   put records into a chunk ──full──────────> write(2) whole chunks
//!        ^                                         |
//!        +─────────────────────────empty───────────+
//! ```
//!
//! A packet is copied once, from its buffer into a chunk of [`CHUNK`] bytes; a
//! full chunk, or one that has waited [`FLUSH`], is handed over. If the disk is
//! slower than the traffic and all chunks are on their way, packets are counted
//! as dropped, and receiving goes on. Chunks are memory that is taken as far as it is used, or
//! huge pages that are there from the beginning ([`Layout::ring`]); how many of them were in use
//! at a time is told in the end ([`Held`]).
//!
//! A file in memory is never waited for, so where no processor is left for a writer
//! ([`Means::here`]) the poll thread writes it itself, a little at a time ([`SLICE`]):
//! two threads that take turns on one processor would each keep the other from it for
//! longer than a ring bridges.
//!
//! Chunks end where records end, so the file is whole between any two writes. Where
//! a process is killed within one, another must mend the file, and so it hears how
//! far the writer is ([`Told`]). A write that fails in the middle (no space, an I/O error) is taken
//! back to the last whole record. What is counted as written is what is in the file.
//!
//! A capture may go on in file after file ([`Series`]), and be compressed ([`Layout`]). That is
//! the writer's affair alone: it divides a chunk between two records. No packet is lost
//! between two files, and none is in both.

mod chunk;
mod finish;
mod layout;
mod series;
#[cfg(test)]
mod series_tests;
mod sink;
#[cfg(test)]
mod statistics_tests;
mod syncer;
#[cfg(test)]
mod tests;
mod turner;
#[cfg(test)]
mod turner_tests;
mod writer;

pub use layout::{Held, Layout, Lines, Means, Plan, Told, Written};
pub use series::{Files, NUMBERS, Names, Rules, Series};
pub use turner::Turner;

use super::record::{Format, Record};
use crate::dma::Lot;
use crate::error::{Error, Result};
use crate::sys;
use chunk::Chunk;
use series::Place;
use sink::Sink;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use syncer::Syncer;
use writer::{Closed, Progress, Writer};

/// Bytes of a chunk.
pub const CHUNK: usize = 1 << 20;
/// Bytes of records after which a poll thread that writes itself does so: 50 to 100 us of
/// writing into memory, a fraction of what a ring bridges.
pub const SLICE: usize = 128 << 10;
/// How long a record may wait in memory: half of what is promised, since the
/// write takes its time too.
pub const FLUSH: Duration = Duration::from_millis(50);
/// Bytes of chunks if nothing else is asked: the pause of a disk at 1 GB/s, 60 ms.
/// Memory is only taken as far as it is used.
pub const BUFFER: usize = 64 << 20;
/// Longest packet that is kept.
pub const SNAPLEN: usize = 262_144;

/// Takes records, and has them written.
#[derive(Debug)]
pub struct Recorder {
    format: Format,
    snaplen: usize,
    chunk: Option<Chunk>,
    /// Bytes after which a chunk is full.
    full: usize,
    /// Chunks nobody uses, those that were used last on top: the rest is never touched.
    spare: Vec<Chunk>,
    /// How many there are, and how many of them nobody used when fewest did not.
    chunks: usize,
    least: usize,
    /// Bytes in a page of them, if they are huge.
    page: Option<u64>,
    way: Way,
    progress: Arc<Progress>,
    /// Which of the recorders of its file it is.
    of: usize,
    /// The interface that packets come by.
    interface: u32,
    taken: u64,
    dropped: u64,
    /// Whether more than one file may be written.
    turns: bool,
    /// The thread that writes, if there is one: the last of them waits for it.
    thread: Thread,
}

/// The thread that writes for all recorders of a file.
type Thread = Arc<Mutex<Option<JoinHandle<Closed>>>>;

/// How full chunks get to the writer, and back.
enum Way {
    Thread { full: SyncSender<Chunk>, empty: Receiver<Chunk> },
    Here(Arc<Mutex<Writer>>),
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Way::Thread { .. } => "Thread",
            Way::Here(_) => "Here",
        })
    }
}

impl Recorder {
    /// Makes the file with its header, and a thread that writes it. `committed` is
    /// told how long the file is whenever it is whole.
    ///
    /// # Errors
    /// If the file cannot be made or not even its header written, and [`Section::check`](super::section::Section::check).
    pub fn create(plan: &Plan<'_>, committed: impl FnMut(Told<'_>) + Send + 'static) -> Result<Self> {
        let mut one = Recorder::several(plan, Means::default(), 1, committed)?;
        Ok(one.swap_remove(0))
    }

    /// The same for `count` threads, at least one: a recorder each. The file has the packets
    /// of each in their order, and those of all in the order in which chunks were handed over.
    ///
    /// # Errors
    /// As [`Recorder::create`].
    pub fn several(
        plan: &Plan<'_>,
        means: Means,
        count: usize,
        committed: impl FnMut(Told<'_>) + Send + 'static,
    ) -> Result<Vec<Self>> {
        Recorder::laid_out(plan, means, count, Layout::default(), committed)
    }

    /// The same in files of this layout; of a series the plan's path is not looked at.
    ///
    /// # Errors
    /// As [`Recorder::create`], and [`std::io::ErrorKind::Interrupted`] if a named pipe had no reader
    /// until it was stopped.
    pub fn laid_out(
        plan: &Plan<'_>,
        means: Means,
        count: usize,
        layout: Layout<'_>,
        committed: impl FnMut(Told<'_>) + Send + 'static,
    ) -> Result<Vec<Self>> {
        Recorder::by_clock(plan, means, count, layout, sys::realtime_ns, committed)
    }

    /// The same by another clock than that of the system.
    fn by_clock(
        plan: &Plan<'_>,
        means: Means,
        count: usize,
        layout: Layout<'_>,
        now: impl Fn() -> u64 + Send + 'static,
        mut committed: impl FnMut(Told<'_>) + Send + 'static,
    ) -> Result<Vec<Self>> {
        if plan.format == Format::Pcapng {
            plan.section.check()?;
        }
        let naming = |e| Error::io(format!("naming {}", plan.path.display()), e);
        let series = layout.series.filter(|_| !means.dropped);
        let mut place = series.map(|series| Place::new(series, now())).transpose().map_err(naming)?;
        let path = place.as_ref().map_or(plan.path, |place| &place.files.last).to_path_buf();
        let shown = path.display();
        let making = |e| Error::io(format!("making {shown}"), e);
        let there = place.as_ref().map_or(Ok(false), |place| place.series.overwrites(&path)).map_err(making)?;
        let count = count.max(1);
        let records_of = (0..count).map(|_| AtomicU64::new(0)).collect();
        let progress = Arc::new(Progress { records_of, lines: layout.lines.is_some(), ..Progress::default() });
        let opened = if means.dropped {
            Ok(Sink::Nowhere(0))
        } else {
            Sink::open(&path, layout.packed, &progress, layout.stopped)
        };
        let opened = match layout.lines {
            Some(lines) => opened.map(|sink| sink.into_text(plan.format, lines)),
            None => opened,
        };
        let mut sink = opened.map_err(|e| match making(e) {
            error if path == Path::new("-") => error,
            error => error.hint("name a folder that exists and that you may write to"),
        })?;
        let header = if progress.lines { Vec::new() } else { plan.header() };
        sink.put(&header, |_| (0, 0)).map_err(|failed| Error::io(format!("writing {shown}"), failed.error))?;
        progress.bytes.store(sink.len(), Ordering::Relaxed);
        if let Some(place) = &mut place {
            place.begin(path.clone(), there);
            place.add(header.len() as u64, 0);
            committed(Told::File(&path));
        }
        committed(Told::Whole(sink.len()));

        let turns = place.as_ref().is_some_and(|place| !matches!(place.series.names, Names::Only(_)));
        let writer = Writer {
            sink,
            format: plan.format,
            header,
            delivered: vec![0; plan.section.interfaces.len()],
            of: 0,
            syncer: Syncer::default(),
            progress: Arc::clone(&progress),
            committed: Box::new(committed),
            failed: None,
            place,
            over: false,
            before: 0,
            now: Box::new(now),
        };
        let mut ring = layout.ring.into_iter().map(|lots| lots.into_iter().filter(|lot| lot.len() >= CHUNK));
        let holding = |e| Error::memory("mapping memory for packets", e);
        let mut all: Vec<Vec<Chunk>> = Vec::new();
        let mut pages = Vec::new();
        // Two at least: one fills while the other is written.
        let shared = if means.here { 1 } else { (plan.buffer / CHUNK / count).clamp(2, 1 << 16) };
        for of in 0..count {
            let lots: Vec<Lot> = ring.next().into_iter().flatten().collect();
            let is_ring = lots.len() >= 2 && !means.here;
            pages.push(lots.first().filter(|_| is_ring).map(|lot| lot.page_size().bytes() as u64));
            all.push(match is_ring {
                true => lots.into_iter().map(|lot| Chunk::within(lot, of)).collect(),
                false => (0..shared).map(|_| Chunk::new(of)).collect::<std::io::Result<_>>().map_err(holding)?,
            });
        }
        let chunks: Vec<usize> = all.iter().map(Vec::len).collect();
        let (ways, thread) = if means.here { (beside(writer, count), None) } else { apart(writer, &chunks)? };
        let thread = Arc::new(Mutex::new(thread));
        let recorder = |(of, ((way, spare), page)): (usize, ((Way, Vec<Chunk>), _))| Recorder {
            format: plan.format,
            snaplen: plan.snaplen.clamp(1, SNAPLEN),
            chunk: None,
            full: if means.here { SLICE } else { CHUNK },
            chunks: spare.len(),
            least: spare.len(),
            spare,
            page,
            way,
            progress: Arc::clone(&progress),
            of,
            interface: 0,
            taken: 0,
            dropped: 0,
            turns,
            thread: Arc::clone(&thread),
        };
        Ok(ways.into_iter().zip(all).zip(pages).enumerate().map(recorder).collect())
    }

    /// Packets that are taken from now on came by this interface; by the first before that.
    #[inline]
    pub fn switch_to(&mut self, interface: u32) {
        self.interface = interface;
    }

    /// Takes a packet; false if it was dropped because the disk is behind.
    #[inline]
    pub fn record(&mut self, time: u64, frame: &[u8]) -> bool {
        self.put(&Record { interface: self.interface, time, wire_len: frame.len(), parts: &[frame] })
    }

    /// Takes a packet that lies in several buffers.
    pub fn record_parts(&mut self, time: u64, parts: &[&[u8]]) -> bool {
        let wire_len = parts.iter().map(|part| part.len()).sum();
        self.put(&Record { interface: self.interface, time, wire_len, parts })
    }

    /// Takes a packet of which only these parts are left of `wire_len` bytes.
    pub fn record_cut(&mut self, time: u64, parts: &[&[u8]], wire_len: usize) -> bool {
        let left = parts.iter().map(|part| part.len()).sum();
        self.put_first(&Record { interface: self.interface, time, wire_len, parts }, left)
    }

    /// Whether the next packet would be dropped, for a caller that can wait.
    pub fn is_full(&mut self) -> bool {
        let most = self.format.record_len(self.snaplen);
        self.make_room(most);
        self.chunk.is_none()
    }

    #[inline]
    fn put(&mut self, record: &Record<'_>) -> bool {
        self.put_first(record, record.wire_len)
    }

    /// The same of a packet of which there are `len` bytes.
    #[inline]
    fn put_first(&mut self, record: &Record<'_>, len: usize) -> bool {
        let (format, kept) = (self.format, len.min(self.snaplen));
        let len = format.record_len(kept);
        self.make_room(len);
        let taken = self.chunk.as_mut().is_some_and(|chunk| chunk.add(len, |out| format.fill(out, record, kept)));
        let count = if taken { &mut self.taken } else { &mut self.dropped };
        *count += 1;
        taken
    }

    /// Has a chunk at hand that takes `len` bytes more, if there is any.
    #[inline]
    fn make_room(&mut self, len: usize) {
        let full = |chunk: &Chunk| chunk.len() >= self.full || chunk.len() + len > CHUNK;
        if self.chunk.as_ref().is_some_and(full) {
            self.flush();
        }
        if self.chunk.is_none() {
            self.chunk = self.next_chunk();
        }
    }

    #[cold]
    fn next_chunk(&mut self) -> Option<Chunk> {
        if let Way::Thread { empty, .. } = &self.way {
            while let Ok(chunk) = empty.try_recv() {
                self.spare.push(chunk);
            }
        }
        let chunk = self.spare.pop();
        self.least = self.least.min(self.spare.len());
        chunk
    }

    /// The memory that packets are held in, and how much of it was in use so far.
    pub fn held(&self) -> Held {
        let bytes = |chunks: usize| (chunks * CHUNK) as u64;
        Held { bytes: bytes(self.chunks), most: bytes(self.chunks - self.least), page: self.page }
    }

    /// Hands over what was taken so far. To be called every [`FLUSH`], whether
    /// packets come or not.
    pub fn flush(&mut self) {
        let Some(mut chunk) = self.chunk.take_if(|chunk| chunk.len() > 0) else {
            match &self.way {
                Way::Here(writer) => writer.lock().unwrap_or_else(PoisonError::into_inner).rest(),
                // One that waits for chunks looks for what it is asked for behind each of them.
                Way::Thread { .. } if self.progress.turns.asked().is_some() => self.wake(),
                Way::Thread { .. } => {}
            }
            return;
        };
        match &self.way {
            // There is room for every chunk there is, so it fails only if the writer
            // is gone, and then `finish` tells why.
            Way::Thread { full, .. } => {
                if let Err(TrySendError::Full(chunk) | TrySendError::Disconnected(chunk)) = full.try_send(chunk) {
                    self.progress.lost.add(self.format.interfaces(chunk.bytes()));
                    self.progress.ended.store(true, Ordering::Relaxed);
                }
            }
            Way::Here(writer) => {
                writer.lock().unwrap_or_else(PoisonError::into_inner).take(&mut chunk);
                self.spare.push(chunk);
            }
        }
    }

    /// Hands over a chunk with nothing in it. If all are on their way, those are to come.
    #[cold]
    fn wake(&mut self) {
        if let Some(chunk) = self.next_chunk()
            && let Way::Thread { full, .. } = &self.way
        {
            // A writer that is gone needs none.
            let _ = full.try_send(chunk);
        }
    }

    /// Who has the files go on in another one, if they may.
    pub fn turner(&self) -> Option<Turner> {
        self.turns.then(|| Turner(Arc::clone(&self.progress)))
    }

    /// Whether nothing more will be written: writing has failed, or the last file is full.
    #[inline]
    pub fn has_ended(&self) -> bool {
        self.progress.ended.load(Ordering::Relaxed)
    }

    /// Packets in the file and bytes of it, so far.
    pub fn written(&self) -> (u64, u64) {
        (self.progress.records.load(Ordering::Relaxed), self.progress.bytes.load(Ordering::Relaxed))
    }

    /// Packets in the file that this recorder has taken, so far.
    pub fn own_written(&self) -> u64 {
        self.progress.records_of.get(self.of).map_or(0, |records| records.load(Ordering::Relaxed))
    }

    /// Packets taken so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Packets dropped so far because the disk was behind.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// A writer that is called by the `count` threads that record.
fn beside(writer: Writer, count: usize) -> Vec<Way> {
    let writer = Arc::new(Mutex::new(writer));
    (0..count).map(|_| Way::Here(Arc::clone(&writer))).collect()
}

/// A writer in a thread of its own, and the ways to it of recorders with so many `chunks` each.
#[allow(clippy::type_complexity)] // what it returns is taken apart at once
fn apart(writer: Writer, chunks: &[usize]) -> Result<(Vec<Way>, Option<JoinHandle<Closed>>)> {
    let (full, incoming) = sync_channel(chunks.iter().sum());
    let (outgoing, empty): (Vec<_>, Vec<_>) = chunks.iter().map(|&chunks| sync_channel(chunks)).unzip();
    let thread = std::thread::Builder::new()
        .name("writer".into())
        .spawn(move || writer.run(&incoming, &outgoing))
        .map_err(|e| Error::thread("starting the thread that writes", e))?;
    let ways = empty.into_iter().map(|empty| Way::Thread { full: full.clone(), empty }).collect();
    Ok((ways, Some(thread)))
}
