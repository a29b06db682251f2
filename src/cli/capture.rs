//! `bmnic capture`: packets into a file.
//!
//! ```text
//!   thread "capture"   rings -> filter -> record into a chunk; never waits
//!   thread "writer"    chunks -> file                  (pcap::write)
//!   others             a ring that is published -> their files   (publish)
//!   main thread        once a second: counters, the card's clock, the live line
//! ```
//!
//! Every packet that the card saw is accounted for: it is in the file, or the
//! filter left it out, or it is named in the table of losses.

mod from;
mod guard;
mod merge;
mod receive;
mod report;
mod sink;
mod times;

use super::account::{self, LossLimit, Losses};
use super::args::{DeviceArg, JUMBO, Rings, RunLength};
use super::output::{self, Output};
use super::session::{DEFAULT_DURATION, Defaults, Session};
use super::signal::{Interrupted, Stop};
use super::{Context, Outcome, units};
use crate::dma::BATCH_MAX;
use crate::driver::{Config, Nic, Port, RxQueue, Stats};
use crate::emu::wire::Note;
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Machine};
use crate::packet::Filter;
use crate::pcap::record::{Format, Totals};
use crate::pcap::repair::{self, Repaired};
use crate::pcap::write::{Plan, Recorder, SNAPLEN};
use crate::publish::{self, Publisher, Readers};
use guard::Guard;
use receive::{Counts, Ended, Receiver};
use report::Report;
use sink::Sink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use times::Gauge;

/// Arguments of `bmnic capture`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArg,
    /// The capture file; - is standard output
    #[arg(value_name = "FILE", required_unless_present_any = ["write", "publish"])]
    file: Option<PathBuf>,
    /// Packets to keep, in the language of tcpdump: tcp port 80 and not host 10.0.0.1
    ///
    /// With --write all words are the expression.
    #[arg(value_name = "EXPRESSION")]
    words: Vec<String>,
    /// The capture file, as dumpcap and tcpdump name it
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Packets to keep, as one word
    #[arg(short, long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// Format of the file: pcap (in nanoseconds) or pcapng
    #[arg(long, value_name = "FORMAT", default_value = "pcap")]
    format: Format,
    /// Bytes to keep of each packet; 0 is all of it
    #[arg(short, long, value_name = "BYTES", default_value = "0", value_parser = snaplen)]
    snaplen: usize,
    /// Memory that bridges the pauses of the disk
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = buffer)]
    buffer: u64,
    /// Longest frame to receive, in bytes without FCS [default: 9216, or what the card takes]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(60..=15_868))]
    max_frame: Option<u16>,
    /// Keep packets in a ring of this name, which any number of programs read meanwhile
    ///
    /// FILE can be left out then. Who reads is not noticed and not waited for: `bmnic capture
    /// --from NAME`, or a program that includes bmnic_ring.h.
    #[arg(long, value_name = "NAME")]
    publish: Option<String>,
    /// Memory of the ring: what readers may be behind
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = units::size, requires = "publish")]
    publish_size: u64,
    /// Who may read the ring besides this user and root: a group, or all
    #[arg(long, value_name = "GROUP", requires = "publish")]
    publish_to: Option<Readers>,
    /// Take packets out of the ring that another process publishes, not off a card
    #[arg(long, value_name = "NAME", conflicts_with_all = ["publish", "device", "repair"])]
    from: Option<String>,
    /// Begin with the oldest packet that is left in the ring, not with the next
    #[arg(long, requires = "from")]
    history: bool,
    /// Capture nothing: cut a record off the end of FILE that a crash has torn
    ///
    /// FILE may be of any link type. It is replaced as a whole, and left as it is if
    /// anything but a torn end is wrong with it.
    #[arg(long)]
    repair: bool,
    /// Stand by and cut a torn record off the end of FILE when standard input ends
    #[arg(long, hide = true)]
    guard: bool,
    #[command(flatten)]
    loss: LossLimit,
    #[command(flatten)]
    length: RunLength,
    #[command(flatten)]
    rings: Rings,
}

/// Wire of the default card: what two cores carry into a file without a loss.
const DEFAULT_WIRE: &str = "source:rate=100k";

/// Runs it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    // What can be refused is refused before a card or a file is touched.
    let (file, filter) = args.target(context.taken.has("filter"))?;
    let file = file.as_deref();
    let output = Output::new(&context.global);
    let output = if file == Some(Path::new("-")) { output.on_stderr() } else { output };
    if let Some(path) = file {
        if args.guard {
            guard::stand(path, args.format)?;
            return Ok(Outcome::Done);
        }
        if args.repair {
            return mend(path, context, &output);
        }
        if let Some(name) = &args.from {
            return from::run(&args, name, path, &filter, context, &output);
        }
    }
    let mut clock = Clock::new();
    let defaults = Defaults { wires: &[DEFAULT_WIRE], duration: Some(DEFAULT_DURATION) };
    let mut session = Session::open(context, &args.device.names(), defaults, &args.config())?;
    file.map_or(Ok(()), |path| session.check_write(path))?;
    let device = session.devices.first().map_or(String::new(), |device| device.device.clone());
    let ring = args.publish(&device, &output)?;
    let written = file.map(|path| recorder(&args, path, &device, &output)).transpose()?;
    let (recorder, guard) = written.unzip();
    session.announce(&output)?;
    args.rings.lengths.warn_of_others(&session.devices, &output);
    let Some(Port { mut rx, tx: _, mut nic }) = std::mem::take(&mut session.ports).into_iter().next() else {
        return Err(Error::new(Kind::NotFound, "no card to capture from; name one with --device").into());
    };
    clock.refine();
    let limits = session.limits(&args.length);
    let rings: usize = rx.iter().map(RxQueue::buffers).sum();
    let (mut gauge, times) = Gauge::new(&mut nic, clock.clone())?;
    // All that is in memory: in the rings, held by the merge, and in hand.
    let buffers = rings + (merge::HELD * rx.len() + 1) * BATCH_MAX;
    let pool = session.pool_of(0, buffers)?;
    for queue in &mut rx {
        queue.fill(&pool)?;
    }
    // From here on the rings take packets, and what is lost is lost.
    let before = Counted::now(&session, &mut nic)?;
    let receiver = Receiver {
        pool,
        queues: rx,
        batch: args.rings.batch(),
        filter: filter.clone(),
        sink: Sink::new(recorder, ring),
        clock: clock.clone(),
        times,
        limits,
        stop: session.stop.clone(),
        counts: Arc::default(),
    };
    let (ended, counted, elapsed, failed) = watch(receiver, &session, &output, &mut nic, &mut gauge, &before)?;
    clock.refine();
    drop(nic);
    // What was captured is written, whatever became of the card.
    let (counted, gone) = match counted {
        Ok(counted) => (counted, None),
        Err(error) => (before.clone(), Some(error)),
    };
    let own_rings = session.devices.iter().any(|device| device.own_rings.is_some());
    let report = finish(ended, &before, counted, buffers, own_rings, elapsed, &clock);
    if let Some(guard) = guard.flatten() {
        guard.dismiss();
    }
    report.print(&output, file, &filter)?;
    session.warn_of_stale(&output);
    let machine = Machine::record(&context.roots, &clock);
    output.document(&output::document("capture", &session.devices, &machine, report.json(file, &filter)))?;
    match failed.or(gone).or(report::failure(&report.written, file)) {
        Some(error) => Err(session.blame(error)),
        None => {
            session.check(&output)?;
            let lost = if report::reader_left(&report.written) { 0 } else { report.lost() };
            session.stop.judge(args.loss.check(lost, report.came()))
        }
    }
}

/// The file, and who mends it if this is killed.
fn recorder(args: &Args, path: &Path, interface: &str, output: &Output) -> Result<(Recorder, Option<Guard>)> {
    let (format, snaplen, buffer) = (args.format, args.snaplen, args.buffer as usize);
    let plan = Plan { path, format, snaplen, buffer, interface };
    // Standard output is no file of the name "-".
    let (guard, mut teller) = match (path != Path::new("-")).then(|| Guard::post(path, format)) {
        None => (None, None),
        Some(Ok((guard, teller))) => (Some(guard), Some(teller)),
        Some(Err(error)) => {
            output.warn(format_args!("{error}; the last record may be torn if this is killed"));
            (None, None)
        }
    };
    let recorder = Recorder::create(&plan, move |len| {
        if let Some(teller) = &mut teller {
            teller.tell(len);
        }
    })?;
    Ok((recorder, guard))
}

/// What the card, and the wire of an emulated one, have counted.
#[derive(Clone)]
struct Counted {
    stats: Stats,
    notes: Vec<Note>,
}

impl Counted {
    fn now(session: &Session, nic: &mut Nic) -> Result<Self> {
        Ok(Counted { stats: session.stats(0, nic)?, notes: session.notes() })
    }
}

/// Mends a file that was torn and says what was done.
fn mend(path: &Path, context: &Context, output: &Output) -> anyhow::Result<Outcome> {
    if path == Path::new("-") {
        return Err(Error::new(Kind::Usage, "a stream cannot be mended; write it into a file first").into());
    }
    let stop = Stop::install()?;
    let mended = repair::repair(path, &|| stop.requested());
    if let (Err(_), Some(signal)) = (&mended, stop.signal()) {
        return Err(Interrupted(signal).into());
    }
    let Repaired { packets, cut: gone } = mended?;
    let shown = path.display();
    let what =
        if gone == 0 { "was whole".to_string() } else { format!("is whole again, {gone} bytes were cut off its end") };
    output.result(format_args!("{shown} {what}; {} packets are in it", output::grouped(packets)))?;
    let result = serde_json::json!({ "file": shown.to_string(), "packets": packets, "cut_bytes": gone });
    output.facts(&context.roots, "capture", result)?;
    Ok(Outcome::Done)
}

/// Runs the receiver in its thread and shows how it gets on.
fn watch(
    receiver: Receiver,
    session: &Session,
    output: &Output,
    nic: &mut Nic,
    gauge: &mut Gauge,
    before: &Counted,
) -> anyhow::Result<(Ended, Result<Counted>, Duration, Option<Error>)> {
    /// How long SIGUSR1 may wait for its answer.
    const SLICE: Duration = Duration::from_millis(50);
    let started = Instant::now();
    let counts = Arc::clone(&receiver.counts);
    let live = output.live(1);
    let (done, over) = mpsc::channel::<()>();
    let thread = thread::Builder::new().name("capture".into()).spawn(move || receiver.run(done));
    let thread = thread.map_err(|e| Error::io("starting the thread that receives", e))?;
    let (mut then, mut last, mut failed) = (Instant::now(), 0, None);
    while over.recv_timeout(SLICE) == Err(RecvTimeoutError::Timeout) {
        let asked = session.stop.print_now();
        let elapsed = then.elapsed();
        if !asked && elapsed < Duration::from_secs(1) {
            continue;
        }
        // A card that is gone is found out at the end.
        let _ = gauge.read(nic);
        let Counts { taken, dropped, .. } = &*counts;
        let (taken, dropped) = (receive::read(taken), receive::read(dropped));
        let missed = match session.stats(0, nic) {
            Ok(stats) => stats.since(&before.stats).rx_lost(),
            // It is told once, of a queue that brings no more packets for instance.
            Err(error) => {
                failed.get_or_insert(error);
                session.stop.end();
                0
            }
        };
        let text = format!(
            "captured {} packets, {}, missed by the card {}, dropped for the disk {}",
            output::grouped(taken),
            output::pps((taken - last) as f64 / elapsed.as_secs_f64()),
            output::grouped(missed),
            output::grouped(dropped)
        );
        if asked {
            output.now(&text);
        }
        live.show(0, text);
        (then, last) = (Instant::now(), taken);
    }
    drop(live);
    let elapsed = started.elapsed();
    let counted = Counted::now(session, nic);
    counts.closed.store(true, Ordering::Relaxed);
    let ended = thread.join().map_err(|_| anyhow::anyhow!("the thread that receives panicked"))?;
    Ok((ended, counted, elapsed, failed))
}

/// Ends the file and adds everything up. Up to `buffers` packets
/// may be in memory; the device may have rings of its own ([`Description::own_rings`](crate::driver::Description::own_rings)).
fn finish(
    ended: Ended,
    before: &Counted,
    counted: Counted,
    buffers: usize,
    own_rings: bool,
    elapsed: Duration,
    clock: &Clock,
) -> Report {
    let Ended { sink, received: by_queue, surplus, filtered, anomalies, times } = ended;
    let stats = Stats { anomalies, ..counted.stats.since(&before.stats) };
    let notes = account::notes_since(counted.notes, &before.notes);
    let received: u64 = by_queue.iter().sum();
    let mut losses = Losses::default();
    losses.add_arriving(&notes);
    losses.add_port(&stats, own_rings);
    // No ring had taken anything before it was filled, so this is of the whole time.
    let elsewhere = counted.stats.rx_packets.saturating_sub(received + surplus + anomalies.total());
    let unaccounted = elsewhere.saturating_sub(buffers as u64);
    losses.add("unaccounted", account::UNACCOUNTED, unaccounted);
    let totals = Totals {
        time: clock.wall_ns(clock.now()),
        received: received + losses.total(),
        missed: losses.total(),
        accepted: received - filtered,
        ..Totals::default()
    };
    let (written, published) = sink.finish(totals);
    losses.add("disk_slow", "the disk was slower than they came (try a larger --buffer, or --snaplen)", written.slow);
    losses.add("disk_failed", "writing failed", written.lost);
    Report { received, by_queue, filtered, losses, notes, written, elapsed, stats, times, published }
}

impl Args {
    /// Makes the ring that others read, if one was asked for.
    fn publish(&self, source: &str, output: &Output) -> Result<Option<Publisher>> {
        let Some(name) = &self.publish else { return Ok(None) };
        let readers = self.publish_to.clone().unwrap_or(Readers::Own);
        let (size, snaplen) = (self.publish_size, self.snaplen);
        let ring = Publisher::create(&publish::Plan { name, size, snaplen, readers: &readers, source })?;
        if !ring.is_huge() {
            let words = "no huge pages are free for the ring, it is of ordinary ones, which is slower";
            output.warn(format_args!("{words}; bmnic hugepages --setup {}M", size.div_ceil(1 << 20)));
        }
        Ok(Some(ring))
    }

    /// The file, if one was named, and the filter; `by_default` if --filter only counts where no
    /// words are given.
    fn target(&self, by_default: bool) -> Result<(Option<PathBuf>, Filter)> {
        // With --write the first word is part of the expression, as in tcpdump.
        let (path, mut words) = match (&self.write, &self.file) {
            (Some(path), Some(first)) => (Some(path), vec![first.to_string_lossy().into_owned()]),
            (Some(path), None) | (None, Some(path)) => (Some(path), Vec::new()),
            (None, None) if self.publish.is_some() => (None, Vec::new()),
            (None, None) => return Err(Error::new(Kind::Usage, "capture into which file? bmnic capture out.pcap")),
        };
        words.extend(self.words.iter().cloned());
        let text = words.join(" ");
        let filter = match (&self.filter, text.trim().is_empty()) {
            (Some(filter), true) => Filter::parse(filter)?,
            (None, _) => Filter::parse(&text)?,
            (Some(_), false) if by_default => Filter::parse(&text)?,
            (Some(_), false) => {
                let line = format!("a filter is given twice, with --filter and as '{text}'; join them with and");
                return Err(Error::new(Kind::Usage, line));
            }
        };
        Ok((path.cloned(), filter))
    }

    fn config(&self) -> Config {
        Config {
            max_frame: self.max_frame.unwrap_or(JUMBO),
            shorter_frames: self.max_frame.is_none(),
            timestamps: true,
            ..self.rings.config()
        }
    }
}

/// Bytes to keep of a packet.
fn snaplen(text: &str) -> Result<usize> {
    match units::size(text)? {
        0 => Ok(SNAPLEN),
        len => usize::try_from(len).ok().filter(|len| *len <= SNAPLEN).ok_or_else(|| {
            Error::new(
                Kind::Usage,
                format!("'{text}' is longer than any packet; keep 1 to {SNAPLEN} bytes, or 0 for all"),
            )
        }),
    }
}

/// Memory for the file's chunks.
fn buffer(text: &str) -> Result<u64> {
    let size = units::size(text)?;
    if (2 << 20..=16 << 30).contains(&size) {
        return Ok(size);
    }
    Err(Error::new(Kind::Usage, format!("a buffer of '{text}' is not possible; use 2M to 16G")))
}
