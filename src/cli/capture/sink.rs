//! Where packets go that the filter wants: into a file, into a ring that others read, or both.

use super::about::About;
use super::guard::Guard;
use super::ring::Ring;
use super::{Args, perf};
use crate::cli::cores;
use crate::cli::output::Output;
use crate::cli::signal::{Interrupted, Stop};
use crate::error::Result;
use crate::pcap::record::Totals;
use crate::pcap::write::{Layout, Means, Plan, Recorder, Told, Turner, Written};
use crate::publish::{self, Publisher, Readers};
use crate::sys;
use std::path::Path;

/// A file, a ring, or both, of one of the threads that receive.
#[derive(Debug)]
pub struct Sink {
    file: Option<Recorder>,
    ring: Option<Publisher>,
}

impl From<Recorder> for Sink {
    fn from(file: Recorder) -> Self {
        Sink { file: Some(file), ring: None }
    }
}

/// The ring and the file `path` that are asked for, for as many threads as `held` says, and who
/// mends the file if this is killed. A ring that others read has one writer: it is the first
/// thread's. `spare` as in [`recorders`].
pub fn several(
    args: &Args,
    path: Option<&Path>,
    about: &About,
    held: Ring,
    spare: bool,
    stop: &Stop,
    output: &Output,
) -> anyhow::Result<(Vec<Sink>, Option<Guard>)> {
    let mut ring = publisher(args, about.name(), output)?;
    let threads = held.threads;
    let (files, guard) = match path {
        Some(path) => recorders(args, path, about, held, spare, stop, output)?,
        None => (Vec::new(), None),
    };
    let mut files = files.into_iter();
    let sinks = (0..threads).map(|_| Sink { file: files.next(), ring: ring.take() }).collect();
    Ok((sinks, guard))
}

/// Makes the ring that others read, if one was asked for.
fn publisher(args: &Args, source: &str, output: &Output) -> Result<Option<Publisher>> {
    let Some(name) = &args.publish else { return Ok(None) };
    let readers = args.publish_to.clone().unwrap_or(Readers::Own);
    let (size, snaplen) = (args.publish_size, args.snaplen);
    let ring = Publisher::create(&publish::Plan { name, size, snaplen, readers: &readers, source })?;
    if !ring.is_huge() {
        let words = "no huge pages are free for the ring, it is of ordinary ones, which is slower";
        output.warn(format_args!("{words}; bmnic hugepages --setup {}M", size.div_ceil(1 << 20)));
    }
    Ok(Some(ring))
}

/// The file, or what stands for it, for as many threads as `held` says, which hand packets over
/// in that, and who mends it if this is killed.
/// `spare`: whether there is a processor that none of the threads uses which never rest. The
/// reader of a named pipe is waited for until `stop`.
pub fn recorders(
    args: &Args,
    path: &Path,
    about: &About,
    held: Ring,
    spare: bool,
    stop: &Stop,
    output: &Output,
) -> anyhow::Result<(Vec<Recorder>, Option<Guard>)> {
    let snaplen = args.snaplen;
    let About { format, section } = about;
    let plan = Plan { path, format: *format, snaplen, buffer: args.buffer as usize, section };
    // A thread that only writes into memory takes turns with those that receive, unless it
    // has a processor to itself. One that compresses has more to do than a ring waits for.
    let packed = args.files.is_packed(path);
    let in_memory = !packed && path != Path::new("-") && sys::is_in_memory(path);
    let here = !spare && !held.is_huge() && in_memory;
    let means = perf::means(&args.perf_test, Means { here, dropped: false });
    // Standard output is no file of the name "-".
    let posted = (path != Path::new("-") && !means.dropped).then(|| Guard::post(path, *format, packed, args.sandbox));
    let (guard, mut teller) = match posted {
        None => (None, None),
        Some(Ok((guard, teller))) => (Some(guard), Some(teller)),
        Some(Err(error)) => {
            output.warn(format_args!("{error}; the last record may be torn if this is killed"));
            (None, None)
        }
    };
    let Ring { threads, memory, place } = held;
    let series = args.files.series(path)?;
    let lines = args.lines(about);
    let layout = Layout { series, packed, lines, ring: memory, stopped: &|| stop.requested() };
    let told = move |what: Told<'_>| {
        if let Some(teller) = &mut teller {
            teller.tell(what);
        }
    };
    let all = cores::staying(place, || Recorder::laid_out(&plan, means, threads, layout, told))?;
    match (all, stop.signal()) {
        (Ok(all), _) => Ok((all, guard)),
        // It was waiting for the reader of a pipe.
        (Err(_), Some(signal)) => Err(Interrupted(signal).into()),
        (Err(error), None) => Err(error.into()),
    }
}

impl Sink {
    /// Packets that are taken from now on came by this interface.
    #[inline]
    pub fn switch_to(&mut self, interface: u32) {
        if let Some(file) = &mut self.file {
            file.switch_to(interface);
        }
    }

    /// Takes a packet; false if it is not in the file because the disk is behind. In the
    /// ring it is in any case.
    #[inline]
    pub fn record(&mut self, time: u64, frame: &[u8]) -> bool {
        if let Some(ring) = &mut self.ring {
            ring.put(time, frame);
        }
        self.file.as_mut().is_none_or(|file| file.record(time, frame))
    }

    /// Takes a packet of `wire_len` bytes that lies in several buffers. All of it does where a
    /// ring is published.
    pub fn record_parts(&mut self, time: u64, parts: &[&[u8]], wire_len: usize) -> bool {
        if let Some(ring) = &mut self.ring {
            ring.put_parts(time, parts);
        }
        self.file.as_mut().is_none_or(|file| file.record_cut(time, parts, wire_len))
    }

    /// Shows what was taken to those who read the ring. To be called once a burst.
    #[inline]
    pub fn publish(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.publish();
        }
    }

    /// As [`Recorder::flush`].
    pub fn flush(&mut self) {
        if let Some(file) = &mut self.file {
            file.flush();
        }
    }

    /// As [`Recorder::turner`].
    pub fn turner(&self) -> Option<Turner> {
        self.file.as_ref().and_then(Recorder::turner)
    }

    /// Whether the disk is so far behind that the next packet would not be in the file.
    pub fn is_full(&mut self) -> bool {
        self.file.as_mut().is_some_and(Recorder::is_full)
    }

    /// Whether writing the file has failed.
    pub fn has_ended(&self) -> bool {
        self.file.as_ref().is_some_and(Recorder::has_ended)
    }

    /// Packets taken so far: on their way into the file, or else in the ring.
    pub fn taken(&self) -> u64 {
        let published = || self.ring.as_ref().map_or(0, Publisher::count);
        self.file.as_ref().map_or_else(published, Recorder::taken)
    }

    /// Packets that are in the file by now, of all threads, or else in the ring.
    pub fn written(&self) -> u64 {
        let published = || self.ring.as_ref().map_or(0, Publisher::count);
        self.file.as_ref().map_or_else(published, |file| file.written().0)
    }

    /// Packets of this thread that are in the file by now, or else in the ring.
    pub fn own_written(&self) -> u64 {
        self.file.as_ref().map_or_else(|| self.taken(), Recorder::own_written)
    }

    /// Packets that are not in the file because the disk was behind.
    pub fn dropped(&self) -> u64 {
        self.file.as_ref().map_or(0, Recorder::dropped)
    }

    /// Ends both, of all threads, with the totals of each interface: what was written, or else
    /// published; and what was published.
    pub fn finish_all(all: Vec<Sink>, totals: &[Totals]) -> (Written, Option<u64>) {
        let (files, rings): (Vec<_>, Vec<_>) = all.into_iter().map(|sink| (sink.file, sink.ring)).unzip();
        // Those who read the ring need not wait for the disk.
        let published = rings.into_iter().flatten().map(Publisher::end).reduce(|all, one| all + one);
        let files: Vec<Recorder> = files.into_iter().flatten().collect();
        let only_published = Written { records: published.unwrap_or(0), ..Written::default() };
        let written = if files.is_empty() { only_published } else { Recorder::finish_all(files, totals) };
        (written, published)
    }
}
