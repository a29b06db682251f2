//! What is sent, and when: frames from a builder or a recording, and schedules.

use crate::cli::args::Limits;
use crate::cli::output::{self, Output};
use crate::error::{Error, Kind, Result};
use crate::measure::probe::wire_bits;
use crate::measure::{Clock, Pace, Ticks};
use crate::packet::build::{Builder, MAX_FRAME};
use crate::packet::parse::parse;
use crate::pcap::SHORTEST;
use crate::pcap::read::Recording;
use crate::pcap::record::{Format, Totals};
use crate::pcap::write::{BUFFER, Plan, Recorder, SNAPLEN};
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// Where frames come from.
pub enum Traffic {
    /// Made as they are needed.
    Built(Builder),
    /// Recorded earlier.
    Replay(Replay),
}

impl Traffic {
    /// Packets a second that a link of `speed` carries of these, in the long run.
    pub fn line_rate(&self, speed: u64) -> f64 {
        match self {
            // Bits on the wire grow by the byte, so those of the mean length are the mean.
            Traffic::Built(builder) => speed as f64 / (8.0 * (builder.mean_len() + 24.0)),
            Traffic::Replay(replay) => speed as f64 * replay.sent as f64 / replay.wire_bits,
        }
    }

    /// Mean bits of a frame on the wire.
    pub fn mean_bits(&self) -> f64 {
        1e9 / self.line_rate(1_000_000_000)
    }

    /// Longest of its frames.
    pub fn longest(&self) -> usize {
        match self {
            Traffic::Built(builder) => builder.longest(),
            Traffic::Replay(replay) => replay.longest(),
        }
    }

    /// Whether it ends by itself.
    pub fn ends(&self) -> bool {
        matches!(self, Traffic::Replay(replay) if replay.loops.is_some())
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        match self {
            Traffic::Built(_) => false,
            Traffic::Replay(replay) => replay.peek().is_none(),
        }
    }
}

/// Whether a frame of this many bytes is sent.
fn fits(len: usize) -> bool {
    (SHORTEST..=MAX_FRAME).contains(&len)
}

/// Nanoseconds from `start` to `time`; none if that is earlier.
fn since(time: i64, start: i64) -> u64 {
    time.saturating_sub(start).max(0) as u64
}

/// What of a recording is not sent: "3 packets were recorded ...", `unfit` of them
/// for their length.
fn left_out(recording: &Recording, unfit: usize) -> Vec<String> {
    let mut all = recording.left_out().words();
    all.push((unfit as u64, format!("are not {SHORTEST} to {MAX_FRAME} bytes long")));
    all.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} packets {what}")).collect()
}

/// A recording on its way out, over and over.
pub struct Replay {
    recording: Recording,
    /// Times through that are left after this one; `None` is without end.
    loops: Option<u64>,
    next: usize,
    /// Time of the first packet of this time through, ns from the start.
    base: u64,
    /// Time of the packet before, so that time never runs backwards.
    last: u64,
    first_time: i64,
    /// From the first packet of a time through to that of the next.
    period: u64,
    wire_bits: f64,
    /// Packets that are sent each time.
    sent: usize,
    cut: usize,
    unfit: usize,
}

impl Replay {
    /// `recording`, `loops` times; 0 is without end.
    ///
    /// # Errors
    /// If there is no packet that could be sent.
    pub fn new(recording: Recording, loops: u64) -> Result<Self> {
        let packets = || recording.packets().filter(|packet| fits(packet.bytes.len()));
        let (sent, cut) = (packets().count(), packets().filter(|packet| packet.bytes.len() < packet.wire_len).count());
        let unfit = recording.len() - sent;
        let Some(first) = packets().next() else {
            let mut why: Vec<String> = left_out(&recording, unfit);
            why.extend(recording.damage().map(str::to_string));
            let why = if why.is_empty() { "it is empty".to_string() } else { why.join("; ") };
            return Err(Error::new(Kind::Usage, format!("there is no packet to send in the recording: {why}")));
        };
        let first_time = first.time;
        let wire_bits = packets().map(|packet| wire_bits(packet.bytes.len())).sum();
        let span = packets().map(|packet| since(packet.time, first_time)).max().unwrap_or(0);
        // The pause before the next time through is the mean pause.
        let period = span.saturating_add(span / (sent as u64 - 1).max(1));
        Ok(Replay {
            recording,
            loops: loops.checked_sub(1),
            next: 0,
            base: 0,
            last: 0,
            first_time,
            period,
            wire_bits,
            sent,
            cut,
            unfit,
        })
    }

    /// Whether all of it was recorded at one moment, so that going round as recorded
    /// would be at no rate.
    pub fn is_momentary(&self) -> bool {
        self.period == 0
    }

    /// Longest frame of it that is sent.
    pub fn longest(&self) -> usize {
        self.recording.packets().map(|packet| packet.bytes.len()).filter(|len| fits(*len)).max().unwrap_or(0)
    }

    /// What the user should know about the recording.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(damage) = self.recording.damage() {
            warnings.push(format!("the recording is damaged: {damage}; its {} whole packets are sent", self.sent));
        }
        if self.cut > 0 {
            warnings.push(format!(
                "{} packets were cut when they were recorded; they are sent as short as they are",
                self.cut
            ));
        }
        let left_out = left_out(&self.recording, self.unfit);
        warnings.extend(left_out.into_iter().map(|what| format!("{what}; they are left out")));
        if self.recording.untimed() > 0 {
            warnings.push(format!(
                "{} packets have no time in the file; as recorded they are sent with the packet before",
                self.recording.untimed()
            ));
        }
        warnings
    }

    /// The packet at hand and when it is due, in ns from the start as recorded.
    #[inline]
    pub fn peek(&mut self) -> Option<(&[u8], u64)> {
        loop {
            if self.next == self.recording.len() {
                match &mut self.loops {
                    Some(0) => return None,
                    Some(left) => *left -= 1,
                    None => {}
                }
                self.next = 0;
                self.base = self.base.saturating_add(self.period);
            }
            if fits(self.recording.packet(self.next).bytes.len()) {
                break;
            }
            self.next += 1;
        }
        let packet = self.recording.packet(self.next);
        self.last = self.last.max(self.base.saturating_add(since(packet.time, self.first_time)));
        Some((packet.bytes, self.last))
    }

    /// Goes on to the next packet.
    #[inline]
    pub fn step(&mut self) {
        self.next += 1;
    }
}

/// When packets go.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// As fast as the link carries them.
    Line,
    /// At a constant rate, `burst` packets a slot.
    Rate {
        /// Of bursts.
        pace: Box<Pace>,
        /// Packets a slot.
        burst: usize,
        /// Packets a second that were asked for.
        asked: f64,
    },
    /// As recorded, sped up.
    Recorded {
        /// Ticks a recorded nanosecond, 32.32.
        ticks_per_ns: u64,
        /// Times as fast as recorded.
        factor: f64,
        /// How late a packet may be and still not move the schedule.
        slack: Ticks,
    },
}

impl Schedule {
    /// Packets of one place, which leave together.
    pub fn run(&self) -> u64 {
        if let Schedule::Rate { burst, .. } = self { *burst as u64 } else { 1 }
    }

    /// Every `among`-th place from number `first` on.
    pub fn share(&self, first: u64, among: u64) -> Schedule {
        let mut share = self.clone();
        if let Schedule::Rate { pace, .. } = &mut share {
            **pace = (**pace).clone().share(first, among);
        }
        share
    }

    /// `factor` times as fast as recorded.
    pub fn recorded(clock: &Clock, factor: f64) -> Self {
        let ticks_per_ns = clock.ticks_per_second() / 1e9 / factor * 4_294_967_296.0;
        Schedule::Recorded { ticks_per_ns: ticks_per_ns as u64, factor, slack: clock.ticks(Duration::from_millis(1)) }
    }
}

/// Ticks from the start to a recorded time: exact over centuries.
#[inline]
pub fn recorded_ticks(ticks_per_ns: u64, ns: u64) -> Ticks {
    let ticks = (u128::from(ns) * u128::from(ticks_per_ns)) >> 32;
    // Centuries, and still room to add them to a time.
    ticks.min(u128::from(Ticks::MAX / 2)) as Ticks
}

/// Calls `each` with frames and their times in ns from the start, until a limit
/// is reached or `each` says stop.
fn each(
    traffic: &mut Traffic,
    schedule: &Schedule,
    line: f64,
    limits: Limits,
    wall: u64,
    mut each: impl FnMut(&[u8], u64) -> Result<bool>,
) -> Result<u64> {
    let mut scratch = vec![0; MAX_FRAME];
    let mut packets = 0_u64;
    let end = limits.duration.map_or(u64::MAX, |duration| duration.as_nanos() as u64);
    loop {
        if limits.count.is_some_and(|count| packets >= count) {
            return Ok(packets);
        }
        let (rate, burst) = match schedule {
            Schedule::Line => (line, 1),
            Schedule::Rate { burst, asked, .. } => (*asked, *burst as u64),
            Schedule::Recorded { .. } => (0.0, 1),
        };
        let steady = ((packets / burst * burst) as f64 * 1e9 / rate) as u64;
        let (frame, time) = match traffic {
            Traffic::Built(builder) => {
                let frame = &mut scratch[..builder.next_len()];
                builder.write(frame, wall + steady);
                (&*frame, steady)
            }
            Traffic::Replay(replay) => {
                let Some((frame, recorded)) = replay.peek() else {
                    return Ok(packets);
                };
                scratch[..frame.len()].copy_from_slice(frame);
                let frame = &scratch[..frame.len()];
                replay.step();
                match schedule {
                    Schedule::Recorded { factor, .. } => (frame, (recorded as f64 / factor) as u64),
                    _ => (frame, steady),
                }
            }
        };
        if time >= end || !each(frame, time)? {
            return Ok(packets);
        }
        packets += 1;
    }
}

/// Prints frames: a line each, and with -v their bytes.
pub fn print(traffic: &mut Traffic, schedule: &Schedule, line: f64, limits: Limits, output: &Output) -> Result<()> {
    each(traffic, schedule, line, limits, 0, |frame, time| {
        let what = parse(frame).map_or("too short for a header".into(), |parsed| parsed.to_string());
        let mut text = format!("{}.{:09}  {what} length {}", time / 1_000_000_000, time % 1_000_000_000, frame.len());
        if output.verbosity() > 0 {
            for (i, bytes) in frame.chunks(16).enumerate() {
                // Writing to a String cannot fail.
                let _ = write!(text, "\n    0x{:04x}: ", 16 * i);
                for (i, byte) in bytes.iter().enumerate() {
                    let gap = if i % 2 == 0 { " " } else { "" };
                    let _ = write!(text, "{gap}{byte:02x}");
                }
            }
        }
        output.result(text)?;
        Ok(true)
    })
    .map(drop)
}

/// Writes frames to a file, at times that begin at `start`; packets and bytes of it.
pub fn write(
    traffic: &mut Traffic,
    schedule: &Schedule,
    line: f64,
    limits: Limits,
    path: &Path,
    format: Format,
    start: u64,
) -> Result<(u64, u64)> {
    let plan = Plan { path, format, snaplen: SNAPLEN, buffer: BUFFER / 8, interface: "bmnic pktgen" };
    let mut recorder = Recorder::create(&plan, |_| ())?;
    let result = each(traffic, schedule, line, limits, start, |frame, time| {
        // Nothing is in a hurry here: a slow disk is waited for.
        while recorder.is_full() && !recorder.has_ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(recorder.record(start + time, frame) && !recorder.has_ended())
    });
    let written = recorder.finish(Totals::default());
    result?;
    match written.error {
        None => Ok((written.records, written.bytes)),
        // The reader of a pipe has left.
        Some(error) if error.kind() == ErrorKind::BrokenPipe => Ok((written.records, written.bytes)),
        Some(error) => Err(Error::io(format!("writing {}", path.display()), error)
            .hint(format!("{} packets are in it, all whole", output::grouped(written.records)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap::record::Record;

    fn recording(times: &[u64], len: usize) -> Recording {
        let mut bytes = Vec::new();
        Format::Pcap.header(&mut bytes, 65_535, "");
        let frame = vec![7; len];
        for &time in times {
            Format::Pcap.put(&mut bytes, &Record { time, wire_len: len, parts: &[&frame] });
        }
        Recording::parse(bytes, "test").unwrap()
    }

    #[test]
    fn a_replay_goes_round_with_a_mean_pause_and_never_back_in_time() {
        let mut replay = Replay::new(recording(&[1_000, 1_100, 1_050, 1_300], 60), 2).unwrap();
        let mut times = Vec::new();
        while let Some((_, time)) = replay.peek() {
            times.push(time);
            replay.step();
        }
        assert_eq!(times, [0, 100, 100, 300, 400, 500, 500, 700]);
    }

    #[test]
    fn a_replay_without_end_keeps_exact_time_beyond_two_to_the_32_packets() {
        let mut replay = Replay::new(recording(&[0, 67, 134], 60), 0).unwrap();
        // 2^33 times through, without walking there.
        replay.base = replay.period << 33;
        let clock = Clock::new();
        let Schedule::Recorded { ticks_per_ns, .. } = Schedule::recorded(&clock, 1.0) else { panic!() };
        let due = |replay: &mut Replay| replay.peek().map(|(_, ns)| recorded_ticks(ticks_per_ns, ns)).unwrap();
        let first = due(&mut replay);
        for n in 1..3_000_u64 {
            replay.step();
            let gap = due(&mut replay) - first;
            let want = n as f64 * 67.0 * clock.ticks_per_second() / 1e9;
            assert!((gap as f64 - want).abs() <= 2.0, "packet {n}: {gap} against {want}");
        }
    }

    #[test]
    fn a_recording_with_nothing_to_send_is_refused() {
        for recording in [recording(&[], 60), recording(&[1, 2], 13), recording(&[1], MAX_FRAME + 1)] {
            assert_eq!(Replay::new(recording, 1).err().unwrap().kind(), Kind::Usage);
        }
        assert!(Replay::new(recording(&[5], 60), 1).unwrap().warnings().is_empty());
    }
}
