//! What is sent, and when: frames from a builder or a recording, and schedules.

use crate::cli::args::Limits;
use crate::cli::output::{self, Output};
use crate::error::{Error, Kind, Result};
use crate::measure::probe::wire_bits;
use crate::measure::{Clock, Pace, Ticks};
use crate::packet::build::{Builder, MAX_FRAME};
use crate::packet::parse::parse;
use crate::packet::read::Recording;
use crate::packet::record::{Format, Totals};
use crate::packet::write::{BUFFER, Plan, Recorder, SNAPLEN};
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
            Traffic::Replay(replay) => speed as f64 * replay.recording.len() as f64 / replay.wire_bits,
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
    first_time: u64,
    /// From the first packet of a time through to that of the next.
    period: u64,
    wire_bits: f64,
    cut: usize,
    unfit: usize,
}

impl Replay {
    /// `recording`, `loops` times; 0 is without end.
    ///
    /// # Errors
    /// If there is no packet that could be sent.
    pub fn new(recording: Recording, loops: u64) -> Result<Self> {
        let fits = |len: usize| (14..=MAX_FRAME).contains(&len);
        let unfit = recording.packets().filter(|packet| !fits(packet.bytes.len())).count();
        let cut = recording.packets().filter(|packet| packet.bytes.len() < packet.wire_len).count();
        if recording.len() == unfit {
            let why = recording.damage().map_or("it is empty".to_string(), str::to_string);
            return Err(Error::new(Kind::Usage, format!("there is no packet to send in the recording: {why}")));
        }
        let wire_bits = recording.packets().map(|packet| wire_bits(packet.bytes.len())).sum();
        let (first, latest) = recording.packets().fold((None, 0), |(first, latest): (Option<u64>, u64), packet| {
            (first.or(Some(packet.time)), latest.max(packet.time))
        });
        let first_time = first.unwrap_or(0);
        let span = latest.saturating_sub(first_time);
        // The pause before the next time through is the mean pause.
        let period = span + span / (recording.len() as u64 - 1).max(1);
        Ok(Replay {
            recording,
            loops: loops.checked_sub(1),
            next: 0,
            base: 0,
            last: 0,
            first_time,
            period,
            wire_bits,
            cut,
            unfit,
        })
    }

    /// Longest frame of it that is sent.
    pub fn longest(&self) -> usize {
        self.recording.packets().map(|packet| packet.bytes.len()).filter(|len| *len <= MAX_FRAME).max().unwrap_or(0)
    }

    /// What the user should know about the recording.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(damage) = self.recording.damage() {
            warnings.push(format!(
                "the recording is damaged: {damage}; its {} whole packets are sent",
                self.recording.len()
            ));
        }
        if self.cut > 0 {
            warnings.push(format!(
                "{} packets were cut when they were recorded; they are sent as short as they are",
                self.cut
            ));
        }
        if self.unfit > 0 {
            warnings.push(format!("{} packets are not 14 to {MAX_FRAME} bytes long; they are left out", self.unfit));
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
                self.base += self.period;
            }
            let len = self.recording.packet(self.next).bytes.len();
            if (14..=MAX_FRAME).contains(&len) {
                break;
            }
            self.next += 1;
        }
        let packet = self.recording.packet(self.next);
        self.last = self.last.max(self.base + packet.time.saturating_sub(self.first_time));
        Some((packet.bytes, self.last))
    }

    /// Goes on to the next packet.
    #[inline]
    pub fn step(&mut self) {
        self.next += 1;
    }
}

/// When packets go.
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
    /// `factor` times as fast as recorded.
    pub fn recorded(clock: &Clock, factor: f64) -> Self {
        let ticks_per_ns = clock.ticks_per_second() / 1e9 / factor * 4_294_967_296.0;
        Schedule::Recorded { ticks_per_ns: ticks_per_ns as u64, factor, slack: clock.ticks(Duration::from_millis(1)) }
    }
}

/// Ticks from the start to a recorded time: exact over centuries.
#[inline]
pub fn recorded_ticks(ticks_per_ns: u64, ns: u64) -> Ticks {
    ((u128::from(ns) * u128::from(ticks_per_ns)) >> 32) as Ticks
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
        while recorder.is_full() && !recorder.has_failed() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(recorder.record(start + time, frame) && !recorder.has_failed())
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
    use crate::packet::record::Record;

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
