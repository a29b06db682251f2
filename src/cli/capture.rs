//! `bmnic capture`: packets into a file.
//!
//! ```text
//!   thread "capture"   ring -> filter -> record into a chunk; never waits
//!   thread "writer"    chunks -> file                  (packet::write)
//!   main thread        once a second: counters, the live line
//! ```
//!
//! Every packet that the card saw is accounted for: it is in the file, or the
//! filter left it out, or it is named in the table of losses.

mod guard;
mod receive;
mod report;

use super::args::{DeviceArg, JUMBO, Rings, RunLength};
use super::output::{self, Output};
use super::session::{DEFAULT_DURATION, Defaults, Session};
use super::{Context, Outcome, units};
use crate::dma::BATCH_MAX;
use crate::driver::{Config, Nic, Port, Stats};
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Machine};
use crate::packet::Filter;
use crate::packet::record::{Format, Totals};
use crate::packet::write::{Plan, Recorder, SNAPLEN};
use guard::Guard;
use receive::{Counts, Ended, Receiver};
use report::Report;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Arguments of `bmnic capture`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArg,
    /// The capture file; - is standard output
    #[arg(value_name = "FILE", required_unless_present = "write")]
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
    /// Capture nothing: cut a record off the end of FILE that a crash has torn
    #[arg(long)]
    repair: bool,
    /// Stand by and cut a torn record off the end of FILE when standard input ends
    #[arg(long, hide = true)]
    guard: bool,
    #[command(flatten)]
    length: RunLength,
    #[command(flatten)]
    rings: Rings,
}

/// Runs it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    // What can be refused is refused before a card or a file is touched.
    let (path, filter) = args.target(context.taken.has("filter"))?;
    if args.guard {
        guard::stand(&path, args.format)?;
        return Ok(Outcome::Done);
    }
    let output = Output::new(&context.global);
    let output = if path == Path::new("-") { output.on_stderr() } else { output };
    if args.repair {
        return repair(&path, context, &output);
    }
    let mut clock = Clock::new();
    let defaults = Defaults { wires: &["source"], duration: Some(DEFAULT_DURATION) };
    let mut session = Session::open(context, &args.device.names(), defaults, &args.config())?;
    let device = session.devices.first().map_or(String::new(), |device| device.device.clone());
    let plan = Plan {
        path: &path,
        format: args.format,
        snaplen: args.snaplen,
        buffer: args.buffer as usize,
        interface: &device,
    };
    let (guard, mut teller) = match Guard::post(&path, args.format) {
        Ok((guard, teller)) => (Some(guard), Some(teller)),
        Err(error) => {
            output.warn(format_args!("{error}; the last record may be torn if this is killed"));
            (None, None)
        }
    };
    let recorder = Recorder::create(&plan, move |len| {
        if let Some(teller) = &mut teller {
            teller.tell(len);
        }
    })?;
    session.announce(&output)?;
    let Some(Port { rx, tx: _, mut nic }) = std::mem::take(&mut session.ports).into_iter().next() else {
        return Err(Error::new(Kind::NotFound, "no card to capture from; name one with --device").into());
    };
    clock.refine();
    let limits = session.limits(&args.length);
    let rings = usize::from(args.rings.rxd) * rx.len();
    let receiver = Receiver {
        pool: session.pool_of(rings + 2 * BATCH_MAX)?,
        queues: rx,
        batch: args.rings.batch(),
        filter: filter.clone(),
        recorder,
        clock: clock.clone(),
        limits,
        stop: session.stop.clone(),
        counts: Arc::default(),
    };
    let before = nic.stats()?;
    let started = Instant::now();
    let ended = watch(receiver, &session, &output, nic.as_mut(), &before)?;
    let elapsed = started.elapsed();
    clock.refine();
    let stats = nic.stats()?;
    drop(nic);
    let report = finish(ended, &before, &stats, elapsed, &clock);
    if let Some(guard) = guard {
        guard.dismiss();
    }
    report.print(&output, &path, &session, &filter)?;
    let machine = Machine::record(&context.roots, &clock);
    output.document(&output::document("capture", &session.devices, &machine, report.json(&path, &filter)))?;
    match report.failure(&path) {
        Some(error) => Err(error.into()),
        None => {
            session.check(&output)?;
            Ok(session.stop.outcome())
        }
    }
}

/// Mends a file and says what was done.
fn repair(path: &Path, context: &Context, output: &Output) -> anyhow::Result<Outcome> {
    let (packets, gone) = guard::repair(path)?;
    let shown = path.display();
    let what =
        if gone == 0 { "was whole".to_string() } else { format!("is whole again, {gone} bytes were cut off its end") };
    output.result(format_args!("{shown} {what}; {} packets are in it", output::grouped(packets as u64)))?;
    let result = serde_json::json!({ "file": shown.to_string(), "packets": packets, "cut_bytes": gone });
    output.facts(&context.roots, "capture", result)?;
    Ok(Outcome::Done)
}

/// Runs the receiver in its thread and shows how it gets on.
fn watch(
    receiver: Receiver,
    session: &Session,
    output: &Output,
    nic: &mut dyn Nic,
    before: &Stats,
) -> anyhow::Result<Ended> {
    /// How long SIGUSR1 may wait for its answer.
    const SLICE: Duration = Duration::from_millis(50);
    let counts = Arc::clone(&receiver.counts);
    let live = output.live(1);
    let (done, over) = mpsc::channel::<()>();
    let body = move || {
        let ended = receiver.run();
        drop(done);
        ended
    };
    let thread = thread::Builder::new().name("capture".into()).spawn(body);
    let thread = thread.map_err(|e| Error::io("starting the thread that receives", e))?;
    let (mut then, mut last) = (Instant::now(), 0);
    while over.recv_timeout(SLICE) == Err(RecvTimeoutError::Timeout) {
        let asked = session.stop.print_now();
        let elapsed = then.elapsed();
        if !asked && elapsed < Duration::from_secs(1) {
            continue;
        }
        let Counts { taken, dropped, .. } = &*counts;
        let (taken, dropped) = (receive::read(taken), receive::read(dropped));
        let missed = nic.stats()?.rx_missed.saturating_sub(before.rx_missed);
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
    Ok(thread.join().map_err(|_| anyhow::anyhow!("the thread that receives panicked"))??)
}

/// Ends the file and adds everything up.
fn finish(ended: Ended, before: &Stats, stats: &Stats, elapsed: Duration, clock: &Clock) -> Report {
    let Ended { recorder, received: by_queue, filtered, anomalies } = ended;
    let received: u64 = by_queue.iter().sum();
    let lost = |now: u64, then: u64| now.saturating_sub(then);
    let missed = lost(stats.rx_missed, before.rx_missed);
    let totals = Totals {
        time: clock.wall_ns(clock.now()),
        received: received + missed,
        missed,
        accepted: received - filtered,
        ..Totals::default()
    };
    let written = recorder.finish(totals);
    Report {
        received,
        by_queue,
        filtered,
        missed,
        bad: lost(stats.rx_errors, before.rx_errors) + lost(stats.rx_oversize, before.rx_oversize),
        anomalies: anomalies.total(),
        written,
        elapsed,
        stats: *stats,
    }
}

impl Args {
    /// The file, and the filter; `by_default` if --filter only counts where no
    /// words are given.
    fn target(&self, by_default: bool) -> Result<(PathBuf, Filter)> {
        // With --write the first word is part of the expression, as in tcpdump.
        let (path, mut words) = match (&self.write, &self.file) {
            (Some(path), Some(first)) => (path, vec![first.to_string_lossy().into_owned()]),
            (Some(path), None) | (None, Some(path)) => (path, Vec::new()),
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
        Ok((path.clone(), filter))
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
