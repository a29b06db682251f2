//! Prepared packets: laid ready at the card, and one of them fired on a trigger.
//!
//! ```text
//!   file ──> frames 1 2 3 .. in memory that the card reaches, or in the card's own
//!            descriptors of them, written down and not given
//!
//!   signal, datagram, packet ──trigger──> number ──> descriptor, doorbell
//!                                |<------- the time that is shown ------->|
//! ```
//!
//! What is fired stays ready for the next time. The time begins where the trigger is first
//! seen: in the handler of a signal, when the call that receives a datagram returns, or with
//! the poll of the receive ring that finds the packet; it ends when the doorbell has been
//! stored.

mod fire;
mod report;
mod trigger;

use super::Args;
use crate::cli::looks::{Look, Looks};
use crate::cli::output::Output;
use crate::cli::sandbox::Keeps;
use crate::cli::session::{DEFAULT_DURATION, Defaults, Session};
use crate::cli::signal::Ending;
use crate::cli::{Context, Outcome, account, cores, hang};
use crate::dma::{BATCH_MAX, BUFFER_SIZE};
use crate::driver::{Config, Port, TxPath};
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Machine};
use crate::packet::build::{FCS, MIN_FRAME};
use crate::pcap::read::Recording;
use fire::Work;
use report::Report;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use trigger::{Source, Trigger};

/// Options of prepared packets.
#[derive(Debug, Default, clap::Args)]
pub struct PreparedArgs {
    /// Lay the packets of this pcap or pcapng file ready at the card, and send one on a trigger
    ///
    /// Up to 64 packets of up to 2048 bytes, numbered from 1 in the order of the file. All is
    /// done before but the descriptor and the doorbell: on an EF10 the packet lies in the
    /// card's own memory, if it has up to 256 bytes. One that was sent stays ready. The
    /// summary has the time from the trigger to the doorbell.
    #[arg(long, value_name = "FILE", requires = "fire_on", help_heading = "Prepared packets", conflicts_with_all = [
        "pcap", "rate", "size", "burst", "print", "write", "queues",
    ])]
    pub prepare: Option<PathBuf>,
    /// What sends one: udp:ADDRESS:PORT, unix:PATH, signal, or match:EXPRESSION; several are
    /// looked at in turn
    ///
    /// udp, unix: a datagram with the packet's number as text. All who can send there can
    /// have packets sent. signal: USR1 sends packet 1, USR2 packet 2, and RTMIN+n packet n,
    /// up to 30. match: a received packet that matches, in the language of tcpdump; the first
    /// expression sends packet 1, the second packet 2, and so on. Each further trigger that
    /// is looked at makes the others wait, a socket for a system call.
    #[arg(long, value_name = "TRIGGER", requires = "prepare", help_heading = "Prepared packets")]
    pub fire_on: Vec<Trigger>,
    /// Way of these packets to the card: auto, dma, push, pio [default: auto]
    #[arg(long, value_name = "PATH", requires = "prepare", help_heading = "Prepared packets")]
    pub tx_path: Option<TxPath>,
}

/// Lays ready and fires until the run is to end.
pub fn run(args: &Args, path: &Path, context: &Context, output: &Output) -> anyhow::Result<Outcome> {
    let asked = &args.prepared;
    let places = args.cores.places()?;
    if places.len() > 1 {
        let line = "one thread waits for triggers and fires; leave --cores out, and name a processor with --cpu";
        return Err(Error::new(Kind::Usage, line).into());
    }
    if let Some(TxPath::Ctpio { .. }) = asked.tx_path {
        let line = "a packet that goes into the card's transmitter (ctpio) leaves at once and cannot be laid ready there; use pio";
        return Err(Error::new(Kind::Usage, line).into());
    }
    let frames = frames(path, output)?;
    let longest = frames.iter().map(Vec::len).max().unwrap_or(MIN_FRAME);
    let mut clock = Clock::new();
    // From here on a trigger waits for the card.
    let sources = Source::open_all(&asked.fire_on, frames.len(), &clock, output)?;
    let receives = sources.iter().any(Source::receives);
    let names: Vec<String> = args.device.device.iter().chain(&args.port).cloned().collect();
    let wires = [if receives { "source:pause=on" } else { "sink" }];
    let defaults = Defaults { wires: &wires, duration: Some(DEFAULT_DURATION), link: false };
    let config = Config {
        tx_queues: 1,
        max_frame: longest.max(1518) as u16,
        tx_path: asked.tx_path.unwrap_or_default(),
        prepares: true,
        ..args.rings.config()
    };
    let mut session = Session::open(context, &names, defaults, &config)?;
    session.announce(output)?;
    cores::warn_of_far(&places, &session, &context.roots, output);
    session.may_send(longest)?;
    let limits = session.limits(&args.length);
    clock.refine();
    let Some(Port { mut rx, tx, mut nic }) = std::mem::take(&mut session.ports).into_iter().next() else {
        return Err(Error::new(Kind::NotFound, "no card to send with; name one with --device").into());
    };
    let Some(tx) = tx.into_iter().next() else {
        return Err(Error::new(Kind::Device, "the card has no transmit queue").into());
    };
    if !receives {
        rx.clear();
    }
    let rings = tx.buffers() + rx.iter().map(|rx| rx.buffers()).sum::<usize>();
    let pool = session.pool_of(0, rings + frames.len() + 2 * BATCH_MAX)?;
    let keeps = Keeps { removed: sources.iter().filter_map(Source::path).collect(), ..Keeps::default() };
    args.sandbox.enter(keeps, &session, &context.roots, output)?;
    let (before, noted) = (session.stats(0, &mut nic)?, session.notes());
    let fired = Arc::new(AtomicU64::new(0));
    let work = Work {
        rx,
        tx,
        pool,
        frames,
        sources,
        batch: args.rings.batch(),
        clock: clock.clone(),
        count: limits.count.unwrap_or(u64::MAX),
        stop: session.stop.clone(),
        fired: Arc::clone(&fired),
    };
    let own = !work.sources.iter().any(Source::is_signal);
    let (done, ended) = mpsc::channel::<()>();
    let (place, stop) = (places.first().copied().flatten(), session.stop.clone());
    let body = move || {
        let _whatever_happens = Ending(stop.clone());
        let result = cores::stay(place).and_then(|()| work.run());
        stop.end();
        drop(done);
        result
    };
    let thread = thread::Builder::new().name("pktgen".into()).spawn(body);
    let thread = thread.map_err(|error| Error::thread("starting a thread that fires", error))?;
    for look in Looks::new(&session, &ended, Duration::from_secs(1)).at_most(limits.duration) {
        if let Look::Figures { asked: true, .. } = look
            && own
        {
            output.now(format_args!("fired {} packets", fired.load(Ordering::Relaxed)));
        }
    }
    session.stop.end();
    let done = thread.join().map_err(|_| anyhow::anyhow!("the thread that fires panicked"))?;
    let done = done.map_err(|error| session.blame(error))?;
    let mut stats = session.stats(0, &mut nic).map_err(|error| session.blame(error))?;
    // The card's counters may be a moment behind its write-backs.
    let patience = Instant::now() + Duration::from_millis(100);
    while stats.tx_packets - before.tx_packets < done.fired() && !session.is_stale() && Instant::now() < patience {
        thread::sleep(Duration::from_millis(1));
        stats = session.stats(0, &mut nic)?;
    }
    clock.refine();
    let report = Report {
        done,
        receives,
        stats: stats.since(&before),
        notes: account::notes_since(session.notes(), &noted),
        stale: session.is_stale(),
    };
    drop(nic);
    report.print(output)?;
    session.warn_of_stale(output);
    let machine = Machine::record(&context.roots, &clock);
    output.document(&crate::cli::output::document("pktgen", &session.devices, &machine, report.json()))?;
    session.check(output)?;
    let lost = report.losses().total();
    let kept = args.loss.check(lost, report.done.asked());
    // What was not sent is a loss, and no hang.
    let stuck = report.done.stuck as u64;
    session.stop.judge(kept.and_then(|()| if lost == 0 { hang::check(stuck) } else { Ok(()) }))
}

/// The packets of a file that can be laid ready.
fn frames(path: &Path, output: &Output) -> Result<Vec<Vec<u8>>> {
    let file = Recording::open(path)?;
    let shown = path.display();
    let wrong = |line: String| Err(Error::new(Kind::Usage, format!("{shown}: {line}")));
    if file.is_empty() {
        return wrong("there is no packet in it to lay ready".into());
    }
    if file.len() > BATCH_MAX {
        return wrong(format!(
            "{} packets are more than the {BATCH_MAX} that are laid ready; make a file of those that are to be fired",
            file.len()
        ));
    }
    if let Some(damage) = file.damage() {
        output.warn(format_args!("{shown}: {damage}"));
    }
    for (packets, why) in file.left_out().words() {
        output.warn(format_args!(
            "{shown}: {packets} packets are left out, and the others are numbered without them: {why}"
        ));
    }
    let mut frames: Vec<Vec<u8>> = file.packets().map(|packet| packet.bytes.to_vec()).collect();
    if let Some(n) = frames.iter().position(|frame| frame.len() > BUFFER_SIZE) {
        return wrong(format!(
            "packet {} has {} bytes, and one that is laid ready has {BUFFER_SIZE} at most",
            n + 1,
            frames[n].len()
        ));
    }
    // As every card would do, if not the driver.
    frames.iter_mut().for_each(|frame| frame.resize(frame.len().max(MIN_FRAME), 0));
    Ok(frames)
}

/// Bytes on the wire, as sizes are shown.
fn size(frame: &[u8]) -> usize {
    frame.len() + FCS
}
