//! `bmnic capture --from NAME`: packets out of a ring that another process publishes.
//!
//! Here the ring bridges the pauses of the disk: a reader may wait, as nobody waits for
//! it. What it comes too late for is counted exactly, by the packets' numbers.

use super::about::About;
use super::report::{self, reader_left};
use super::ring::Ring;
use super::{Args, sink};
use crate::cli::account::Losses;
use crate::cli::output::{self, Output};
use crate::cli::signal::Stop;
use crate::cli::{Context, Outcome, cores};
use crate::error::{Error, Kind, Result};
use crate::packet::Filter;
use crate::pcap::record::{Format, Totals};
use crate::pcap::write::{FLUSH, Recorder};
use crate::publish::{Begin, End, Event, Subscriber, Whose};
use crate::sys;
use serde_json::{Value, json};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long to rest when there is nothing to read, or no room to write to.
const REST: Duration = Duration::from_millis(1);

/// Packets between two looks at the clock.
const BURST: usize = 256;

/// What came out of the ring.
struct Taken {
    received: u64,
    filtered: u64,
    /// How the ring ended, if it did before the reading.
    end: Option<End>,
}

/// Reads the ring `name` into the file `path`.
pub fn run(
    args: &Args,
    name: &str,
    path: &Path,
    filter: &Filter,
    format: Format,
    context: &Context,
    output: &Output,
) -> anyhow::Result<Outcome> {
    let (places, writer) = args.places()?;
    let [place] = places[..] else {
        let line = "one thread reads a ring; leave --cores and --cpu out, or name one";
        return Err(Error::new(Kind::Usage, line).into());
    };
    let stop = Stop::install()?;
    let begin = if args.history { Begin::Oldest } else { Begin::Now };
    let mut subscriber = Subscriber::open(name, begin)?;
    let (source, Whose { user, pid }) = (subscriber.source(), subscriber.whose());
    output.info(format_args!("ring      {name}, published by process {pid} of user {user}, packets of {source}"))?;
    let spare = cores::processors().is_some_and(|all| all > 1);
    // Before the thread that writes is started.
    cores::step_aside(&[place, writer])?;
    let held = Ring::reserve(args, &[None], writer, &context.roots)?;
    let about = About::source(format, &source, filter, &args.capture_comment, &context.roots);
    let (mut recorders, guard) = sink::recorders(args, path, &about, held, spare, &stop, output)?;
    let mut recorder = recorders.swap_remove(0);
    cores::stay(place)?;
    args.sandbox.enter_with(&args.keeps(Some(path))?, &context.roots, output)?;
    let started = Instant::now();
    let mut taken = Taken { received: 0, filtered: 0, end: None };
    let failed = take(args, &mut subscriber, filter, &mut recorder, &stop, output, &mut taken).err();
    let elapsed = started.elapsed();
    let Taken { received, filtered, end } = taken;
    let mut losses = Losses::default();
    let words = "overwritten in the ring before they were read (try a larger --publish-size there)";
    losses.add("overwritten", words, subscriber.lost());
    let totals = Totals {
        time: sys::realtime_ns(),
        received: received + subscriber.lost(),
        missed: subscriber.lost(),
        accepted: received - filtered,
        ..Totals::default()
    };
    let written = recorder.finish(totals);
    losses.add("disk_failed", "writing failed", written.lost);
    if let Some(guard) = guard {
        guard.dismiss();
    }
    let seconds = elapsed.as_secs_f64();
    report::print_written(output, &written, Some(path), seconds, &[])?;
    report::print_received(output, received, filtered)?;
    report::print_held(output, &written)?;
    losses.print(output)?;
    match end {
        Some(End::Killed) => output.warn(format_args!("the process that published {name} was killed")),
        Some(End::Failed) => output.warn(format_args!("the process that published {name} failed")),
        Some(End::Ended) | None => {}
    }
    let result = json!({
        "file": report::file_json(path, &written),
        "printed": written.lines,
        "filter": filter.to_string(),
        "ring": {
            "name": name,
            "source": source,
            "user": user,
            "pid": pid,
            "first": subscriber.first(),
            "ended": end.map(word),
        },
        "elapsed_ns": output::ns(elapsed),
        "captured": written.records,
        "file_bytes": written.bytes,
        "files": report::files_json(&written),
        "buffer": report::held_json(&written),
        "received": received,
        "filtered": filtered,
        "beyond": written.beyond(),
        "lost": losses.json(),
        "write_error": written.error.as_ref().map(ToString::to_string),
    });
    output.facts(&context.roots, "capture", result)?;
    if let Some(error) = failed.or_else(|| report::failure(&written, Some(path))) {
        return Err(error.into());
    }
    let lost = if reader_left(&written) { 0 } else { losses.total() };
    stop.judge(args.loss.check(lost, received + subscriber.lost()))
}

fn word(end: End) -> Value {
    match end {
        End::Ended => "ended",
        End::Failed => "failed",
        End::Killed => "killed",
    }
    .into()
}

/// Takes packets until the ring has ended, a limit is reached, writing fails, or
/// somebody says stop.
fn take(
    args: &Args,
    subscriber: &mut Subscriber,
    filter: &Filter,
    recorder: &mut Recorder,
    stop: &Stop,
    output: &Output,
    taken: &mut Taken,
) -> Result<()> {
    let limits = args.length.limits(None);
    let started = Instant::now();
    let live = output.bar(limits.goal());
    let (mut flushed, mut shown) = (started, started);
    let most = limits.count.unwrap_or(u64::MAX);
    while !stop.requested() && !recorder.has_ended() && recorder.taken() < most {
        let mut did = 0;
        while did < BURST && recorder.taken() < most && !recorder.is_full() {
            match subscriber.read()? {
                Event::Packet(packet, bytes) => {
                    taken.received += 1;
                    if filter.matches(bytes, packet.wire_len) {
                        recorder.record_cut(packet.time, &[bytes], packet.wire_len);
                    } else {
                        taken.filtered += 1;
                    }
                }
                Event::Nothing => break,
                Event::End(end) => {
                    taken.end = Some(end);
                    return Ok(());
                }
            }
            did += 1;
        }
        let now = Instant::now();
        if now - flushed >= FLUSH {
            flushed = now;
            recorder.flush();
            if limits.duration.is_some_and(|most| now - started >= most) {
                return Ok(());
            }
        }
        let asked = stop.print_now();
        if asked || now - shown >= Duration::from_secs(1) {
            shown = now;
            let (kept, lost) = (recorder.taken(), subscriber.lost());
            let elapsed = output::ns(now - started);
            output.interval("capture", || json!({ "elapsed_ns": elapsed, "captured": kept, "overwritten": lost }))?;
            let (kept, lost) = (output::grouped(kept), output::grouped(lost));
            let text = format!("captured {kept} packets, overwritten before they were read {lost}");
            if asked {
                output.now(&text);
            }
            live.show(0, text);
            live.reach(recorder.taken());
        }
        if did == 0 {
            thread::sleep(REST);
        }
    }
    Ok(())
}
