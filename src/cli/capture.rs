//! `bmnic capture`: packets into a file.
//!
//! ```text
//!   thread "capture"   rings -> filter -> record into a chunk; never waits; or several
//!   thread "writer"    chunks -> file                  (pcap::write)
//!   others             a ring that is published -> their files   (publish)
//!   main thread        once a second: counters, the card's clock, the live line
//! ```
//!
//! Every packet that the card saw is accounted for: it is in the file, or the
//! filter left it out, or it is named in the table of losses.

mod files;
mod from;
mod guard;
mod merge;
mod perf;
mod quota;
mod receive;
mod report;
mod sink;
mod threads;
mod times;

use super::account::{self, LossLimit, Losses};
use super::args::{DeviceArg, JUMBO, Rings, RunLength};
use super::cores::{self, Cores};
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
use crate::pcap::write::SNAPLEN;
use crate::publish::Readers;
use crate::sys;
use files::Files;
use perf::Part;
use quota::Quota;
use receive::{Ended, Receiver};
use report::Report;
use sink::Sink;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use threads::Run;
use times::Gauge;

/// Arguments of `bmnic capture`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArg,
    /// The capture file; - is standard output
    #[arg(value_name = "FILE", required_unless_present_any = ["write", "publish", "print_filter"])]
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
    ///
    /// Names of hosts in it are looked up, once and before anything is opened, as long as
    /// that takes.
    #[arg(short, long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// Print the filter's program, as tcpdump -d does, and capture nothing
    ///
    /// It is classic BPF, as bmnic runs it. All words are the expression.
    #[arg(long)]
    print_filter: bool,
    /// Format of the file: pcap (in nanoseconds) or pcapng
    #[arg(long, value_name = "FORMAT", default_value = "pcap")]
    format: Format,
    /// Bytes to keep of each packet; 0 is all of it
    #[arg(short, long, value_name = "BYTES", default_value = "0", value_parser = snaplen)]
    snaplen: usize,
    #[command(flatten)]
    files: Files,
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
    #[arg(long, value_name = "NAME", conflicts_with_all = ["publish", "device", "repair", "perf_test"])]
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
    /// Capture nothing: replace these parts by dummies and say what the rest manages
    ///
    /// Several with commas between them. FILE is written unless the ring or the disk is a dummy.
    /// The dummy of a card has the packets of the emulated one that --device names, as fast as
    /// they are taken.
    #[arg(long, value_name = "PART", value_delimiter = ',', conflicts_with_all = ["repair", "guard", "publish"])]
    perf_test: Vec<Part>,
    #[command(flatten)]
    cores: Cores,
    #[command(flatten)]
    loss: LossLimit,
    #[command(flatten)]
    length: RunLength,
    #[command(flatten)]
    rings: Rings,
}

/// The help of --rxd: as short as rings of others are, they would lose what comes while the
/// thread that receives is kept from it.
pub const RXD: &str =
    "Descriptors in each receive ring, a power of two from 64 to 4096 [default: 4096, or 512 and more of several]";

/// Wire of the default card: what two cores carry into a file without a loss.
const DEFAULT_WIRE: &str = "source:rate=100k";

/// Runs it.
pub fn run(mut args: Args, context: &Context) -> anyhow::Result<Outcome> {
    if args.print_filter {
        write!(io::stdout().lock(), "{}", args.program(context.taken.has("filter"))?.listing())?;
        return Ok(Outcome::Done);
    }
    // What can be refused is refused before a card or a file is touched.
    let (file, filter) = args.target(context.taken.has("filter"))?;
    let file = file.as_deref();
    let output = Output::new(&context.global);
    let output = if file == Some(Path::new("-")) { output.on_stderr() } else { output };
    let by_default = |option: &str| context.taken.has(option);
    let whole = files::Whole { path: file, dummies: &args.perf_test, by_default: &by_default };
    args.files.settle(whole, &mut args.length)?;
    if let Some(path) = file {
        if args.guard {
            guard::stand(path, args.format, args.files.is_packed(path))?;
            return Ok(Outcome::Done);
        }
        if args.repair {
            return mend(path, context, &output);
        }
        if let Some(name) = &args.from {
            return from::run(&args, name, path, &filter, context, &output);
        }
        if args.perf_test.contains(&Part::Card) {
            return perf::without_card(&args, context, &output, path, filter);
        }
    }
    let places = args.cores.places()?;
    let threads = places.len();
    if args.publish.is_some() && threads > 1 {
        let line =
            format!("a ring that is published has one writer, not {threads}; leave --cores and --cpu out, or name one");
        return Err(Error::new(Kind::Usage, line).into());
    }
    let processors = processors();
    let mut clock = Clock::new();
    let defaults = Defaults { wires: &[DEFAULT_WIRE], duration: Some(DEFAULT_DURATION), link: false };
    // Before a model's thread is started, and others.
    cores::step_aside(&places)?;
    let mut session = Session::open(context, &args.device.names(), defaults, &args.config(threads))?;
    file.map_or(Ok(()), |path| session.check_write(path))?;
    args.files.spared = session.played();
    let device = session.devices.first().map_or(String::new(), |device| device.device.clone());
    perf::announce(&args.perf_test, &output)?;
    let spare = processors > threads + usize::from(session.is_emulated());
    let (sinks, guard) = sink::several(&args, file, &device, threads, spare, &session.stop, &output)?;
    session.announce(&output)?;
    args.rings.lengths.warn_of_others(&session.devices, &output);
    let Some(Port { rx, tx: _, mut nic }) = std::mem::take(&mut session.ports).into_iter().next() else {
        return Err(Error::new(Kind::NotFound, "no card to capture from; name one with --device").into());
    };
    clock.refine();
    let limits = session.limits(&args.length);
    let (mut gauge, times) = Gauge::new(&mut nic, clock.clone(), threads)?;
    let quotas = Quota::of(limits.count, threads);
    let mut receivers = Vec::new();
    let mut buffers = 0;
    for ((queues, sink), ((times, quota), &place)) in
        dealt(rx, threads).into_iter().zip(sinks).zip(times.into_iter().zip(quotas).zip(&places))
    {
        // All that is in memory: in the rings, held by the merge, and in hand.
        let rings: usize = queues.iter().map(RxQueue::buffers).sum();
        let most = rings + (merge::HELD * queues.len() + 1) * BATCH_MAX;
        buffers += most;
        receivers.push(Receiver {
            pool: session.pool_of(0, most)?,
            queues,
            batch: args.rings.batch(),
            filter: filter.clone(),
            sink,
            clock: clock.clone(),
            times,
            duration: limits.duration,
            quota,
            place,
            stop: session.stop.clone(),
            counts: Arc::default(),
        });
    }
    for Receiver { pool, queues, .. } in &mut receivers {
        queues.iter_mut().try_for_each(|queue| queue.fill(pool))?;
    }
    // From here on the rings take packets, and what is lost is lost.
    let before = Counted::now(&session, &mut nic)?;
    let Run { ended, counted, elapsed, failed } =
        threads::run(receivers, &session, &output, &mut nic, &mut gauge, &before)?;
    clock.refine();
    drop(nic);
    // What was captured is written, whatever became of the card.
    let (counted, gone) = match counted {
        Ok(counted) => (counted, None),
        Err(error) => (before.clone(), Some(error)),
    };
    let own_rings = session.devices.iter().any(|device| device.own_rings.is_some());
    let report = finish(ended, &before, counted, buffers, own_rings, elapsed, &clock);
    let report = Report { dummies: args.perf_test.clone(), threads, ..report };
    if let Some(guard) = guard {
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
            // A test of the parts has no loss that may not be.
            let is_test = !args.perf_test.is_empty();
            let lost = if is_test || report::reader_left(&report.written) { 0 } else { report.lost() };
            session.stop.judge(args.loss.check(lost, report.came()))
        }
    }
}

/// How many processors this process may use.
fn processors() -> usize {
    sys::affinity().map_or(1, |may| may.len())
}

/// Queue `q` to thread `q % threads`.
fn dealt(queues: Vec<RxQueue>, threads: usize) -> Vec<Vec<RxQueue>> {
    let mut hands: Vec<Vec<RxQueue>> = (0..threads).map(|_| Vec::new()).collect();
    for (q, queue) in queues.into_iter().enumerate() {
        hands[q % threads].push(queue);
    }
    hands
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
    let Ended { sinks, received: by_queue, surplus, filtered, anomalies, times, failed: _ } = ended;
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
    let (written, published) = Sink::finish_all(sinks, totals);
    report::add_written(&mut losses, &written);
    let (dummies, threads) = (Vec::new(), 1);
    Report { received, by_queue, filtered, losses, notes, written, elapsed, stats, times, published, dummies, threads }
}

impl Args {
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
        Ok((path.cloned(), self.compiled(&words.join(" "), by_default)?))
    }

    /// The filter alone: no word is a file.
    fn program(&self, by_default: bool) -> Result<Filter> {
        let first = self.file.iter().map(|word| word.to_string_lossy().into_owned());
        let words: Vec<String> = first.chain(self.words.iter().cloned()).collect();
        self.compiled(&words.join(" "), by_default)
    }

    /// The filter that words or --filter ask for.
    fn compiled(&self, text: &str, by_default: bool) -> Result<Filter> {
        match (&self.filter, text.trim().is_empty()) {
            (Some(filter), true) => Filter::parse(filter),
            (None, _) => Filter::parse(text),
            (Some(_), false) if by_default => Filter::parse(text),
            (Some(_), false) => {
                let line = format!("a filter is given twice, with --filter and as '{text}'; join them with and");
                Err(Error::new(Kind::Usage, line))
            }
        }
    }

    /// A queue for each of so many threads, or more.
    fn config(&self, threads: usize) -> Config {
        // No more than 128 can be asked for.
        let queues = self.rings.rxq.max(threads as u16);
        Config {
            rx_queues: queues,
            max_frame: self.max_frame.unwrap_or(JUMBO),
            shorter_frames: self.max_frame.is_none(),
            timestamps: true,
            rx_ring: self.rings.lengths.rxd.unwrap_or(deepest(queues)),
            ..self.rings.config()
        }
    }
}

/// Descriptors of each of so many receive rings where nobody says: as many as bridge the longest
/// pauses of the thread that receives, and no more memory than that for many rings.
fn deepest(rings: u16) -> u16 {
    const ALL: u16 = 4096;
    (ALL / rings.next_power_of_two()).max(Config::default().rx_ring)
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
