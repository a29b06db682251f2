//! `--perf-test`: a part is replaced by a dummy, to see what the rest manages.
//!
//! ```text
//!   card             ring             disk
//!   card, driver --> chunks are   --> write(2)
//!   and its rings    handed over
//!     |                |                |
//!   frames that      dropped when     dropped by the
//!   are in memory    they are full    thread that writes
//! ```
//!
//! This is no capture, and everything that is printed says so.

use super::about::About;
use super::cards::Tally;
use super::intake::{self, Intake};
use super::report::{self, Report};
use super::ring::Ring;
use super::sink::{self, Sink};
use super::times::Times;
use super::{Args, DEFAULT_WIRE};
use crate::cli::cards::{Card, resolve};
use crate::cli::output::{self, Output};
use crate::cli::session::DEFAULT_DURATION;
use crate::cli::share::{Left, Share};
use crate::cli::signal::Stop;
use crate::cli::wanted::end_of;
use crate::cli::{Context, Outcome, cores};
use crate::dma::{Addressing, BATCH_MAX, Batch, Pool};
use crate::emu::wire::{Rate, Source, SourceSpec, Wire, WireSpec};
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Idle, Machine, Ticks};
use crate::packet::Filter;
use crate::pcap::record::Format;
use crate::pcap::write::{FLUSH, Means};
use std::path::Path;
use std::time::{Duration, Instant};

/// A part that a dummy stands in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The card, its driver and its rings: packets lie in memory
    Card,
    /// What hands chunks of records to the thread that writes: they are dropped before
    Ring,
    /// The disk: that thread drops them
    Disk,
}

impl Part {
    /// What is done instead.
    pub fn instead(self) -> &'static str {
        match self {
            Part::Card => "packets come from memory, without card, driver and its rings",
            Part::Ring => "records are dropped before they are handed over, and nothing is written",
            Part::Disk => "nothing is written",
        }
    }

    /// As it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Part::Card => "card",
            Part::Ring => "ring",
            Part::Disk => "disk",
        }
    }
}

/// By whom the file is written with these dummies; `means` without any.
pub fn means(dummies: &[Part], means: Means) -> Means {
    let without = |part| dummies.contains(&part);
    match (without(Part::Ring), without(Part::Disk)) {
        (true, _) => Means { here: true, dropped: true },
        (false, true) => Means { here: false, dropped: true },
        (false, false) => means,
    }
}

/// Says what is to come, before anything else is said.
pub fn announce(dummies: &[Part], output: &Output) -> std::io::Result<()> {
    for part in dummies {
        output.info(format_args!(
            "no capture but a test of its parts: {} is a dummy, {}",
            part.name(),
            part.instead()
        ))?;
    }
    Ok(())
}

/// Runs the rest with packets that lie in memory.
pub fn without_card(
    args: &Args,
    context: &Context,
    output: &Output,
    path: &Path,
    format: Format,
    filter: Filter,
) -> anyhow::Result<Outcome> {
    let (places, writer) = args.places()?;
    let [place] = places[..] else {
        let line = "the dummy of a card has one receiver; leave --cores out, or the dummy";
        return Err(Error::new(Kind::Usage, line).into());
    };
    let source = source(args, context)?;
    let stop = Stop::install()?;
    let mut clock = Clock::new();
    announce(&args.perf_test, output)?;
    let spare = cores::processors().is_some_and(|all| all > 1);
    // Before the thread that writes is started.
    cores::step_aside(&[place, writer])?;
    let held = Ring::reserve(args, &[None], writer, &context.roots)?;
    let about = About::source(format, "memory", &filter, &args.capture_comment, &context.roots);
    let (mut sinks, guard) = sink::several(args, Some(path), &about, held, spare, &stop, output)?;
    cores::stay(place)?;
    clock.refine();
    let limits = args.length.limits(Some(DEFAULT_DURATION));
    let left = limits.count.map(|count| Left::new(count, 1, &stop));
    let mut intake =
        Intake::new(filter.clone(), sinks.swap_remove(0), vec![intake::Ring::default()], Share::new(left.as_ref()));
    let mut times = Times::by_ours();
    let started = Instant::now();
    feed(source, args.rings.batch(), &mut intake, &mut times, &mut clock, limits.duration, &stop)?;
    let elapsed = started.elapsed();
    let (sink, rings) = intake.into_parts();
    let memory = Tally::of_memory(about.name(), &rings, times.summary(0));
    let written = Sink::finish_all(vec![sink], &[memory.totals(0, clock.wall_ns(clock.now()))]);
    if let Some(guard) = guard {
        guard.dismiss();
    }
    let report = Report::new(vec![memory], written, elapsed, args.perf_test.clone(), 1);
    report.print(output, Some(path), &filter)?;
    let machine = Machine::record(&context.roots, &clock);
    output.document(&output::document("capture", &[], &machine, report.json(Some(path), &filter)))?;
    match report::failure(&report.written, Some(path)) {
        Some(error) => Err(error.into()),
        None => stop.judge(Ok(())),
    }
}

/// What the wire of the emulated card that is named would bring, as fast as it is taken.
fn source(args: &Args, context: &Context) -> Result<Source> {
    let default = DEFAULT_WIRE.parse()?;
    let names = &args.device.devices;
    if names.len() > 1 {
        let line = format!("a dummy stands for one card, not for {}; name one", names.len());
        return Err(Error::new(Kind::Usage, line));
    }
    let wire = match names.is_empty() {
        true => default,
        false => match resolve(&context.roots, names, &[DEFAULT_WIRE])?.cards.into_iter().next() {
            Some(Card::Emulated(spec)) => spec.wire,
            _ => default,
        },
    };
    match wire {
        WireSpec::Source(spec) => Ok(Source::new(&SourceSpec { rate: Rate::Line, count: None, ..spec })),
        _ => {
            let line = "the dummy of a card has the packets of a source; name one, -i emu:82599,wire=source:size=1518";
            Err(Error::new(Kind::Usage, line))
        }
    }
}

/// Hands the same packets out again and again, up to a batch of them at a time; waits where
/// the disk is behind, as these can wait.
fn feed(
    mut source: Source,
    most: usize,
    intake: &mut Intake,
    times: &mut Times,
    clock: &mut Clock,
    duration: Option<Duration>,
    stop: &Stop,
) -> Result<()> {
    let pool = Pool::new(BATCH_MAX, Addressing::Translated)?;
    // Room for the longest frame, as where a card brings it.
    let mut batch = Batch::with_limit(&pool, most.max(8));
    // The clock of a source stands still at line rate.
    while let Some((frame, _)) = source.peek(0) {
        if !batch.push_frame(frame) {
            break;
        }
        source.advance();
    }
    let start = clock.now();
    let end = duration.map_or(Ticks::MAX, |d| start.saturating_add(clock.ticks(d)));
    let flush = clock.ticks(FLUSH);
    let (mut next_flush, mut last, mut idle) = (start + flush, 0, Idle::new());
    while !stop.requested() && !intake.is_full() {
        let now = clock.now();
        if now >= end {
            break;
        }
        if now >= next_flush {
            next_flush = now + flush;
            intake.flush();
            if intake.has_ended() {
                break;
            }
        }
        if intake.is_behind() {
            idle.polled(0);
            continue;
        }
        times.batch(clock.wall_ns(now));
        let mut first = 0;
        while first < batch.len() && !intake.is_full() {
            let end = end_of(&batch, first);
            intake.take(0, &batch, first..end, || times.packet(&batch, end - 1, &mut last));
            first = end;
        }
        idle.polled(first);
    }
    Ok(())
}
