//! What is sent, and when: frames from a builder or a recording, and schedules.

use super::due::Due;
use super::facts::Facts;
use super::listed::Listed;
use super::replay::{Replay, Timed};
use super::shortfall::AWAY;
use crate::cli::args::Limits;
use crate::cli::output::{self, Output};
use crate::error::{Error, Result};
use crate::measure::{Clock, Pace, Ticks};
use crate::packet::build::{Builder, MAX_FRAME};
use crate::packet::parse::parse;
use crate::pcap::record::{Format, Totals};
use crate::pcap::section::Section;
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
    Replay(Box<Replay>),
    /// Of a list, each with its time.
    Listed(Box<Listed>),
}

impl Traffic {
    /// Packets a second that a link of `speed` carries of these, in the long run.
    pub fn line_rate(&self, speed: u64) -> f64 {
        match self {
            // Bits on the wire grow by the byte, so those of the mean length are the mean.
            Traffic::Built(builder) => speed as f64 / (8.0 * (builder.mean_len() + 24.0)),
            Traffic::Replay(replay) => speed as f64 / replay.known().facts.mean_bits(),
            Traffic::Listed(listed) => speed as f64 / listed.mean_bits(),
        }
    }

    /// Whether that is only what the beginning of a recording is like.
    pub fn is_guess(&self) -> bool {
        matches!(self, Traffic::Replay(replay) if !replay.known().whole)
    }

    /// Mean bits of a frame on the wire.
    pub fn mean_bits(&self) -> f64 {
        1e9 / self.line_rate(1_000_000_000)
    }

    /// Longest of its frames.
    pub fn longest(&self) -> usize {
        match self {
            Traffic::Built(builder) => builder.longest(),
            Traffic::Replay(replay) => replay.known().facts.longest,
            Traffic::Listed(listed) => listed.longest(),
        }
    }

    /// What was met of a recording.
    pub fn met(self) -> Option<Facts> {
        match self {
            Traffic::Replay(replay) => Some(replay.into_met()),
            Traffic::Built(_) | Traffic::Listed(_) => None,
        }
    }

    /// Whether it ends by itself.
    pub fn ends(&self) -> bool {
        match self {
            Traffic::Built(_) => false,
            Traffic::Replay(replay) => replay.ends(),
            Traffic::Listed(_) => true,
        }
    }

    /// Gives up what of a list was due before `moment` and was not sent; how many packets.
    pub fn give_up(&mut self, due: &mut Due, moment: Ticks) -> u64 {
        match self {
            Traffic::Listed(listed) => due.pass(&mut **listed, moment),
            Traffic::Built(_) | Traffic::Replay(_) => 0,
        }
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        match self {
            Traffic::Built(_) => false,
            Traffic::Replay(replay) => replay.is_over(),
            Traffic::Listed(listed) => listed.is_over(),
        }
    }

    /// Whether the next packet of it was not read yet.
    pub fn is_late(&mut self) -> bool {
        match self {
            Traffic::Built(_) | Traffic::Listed(_) => false,
            Traffic::Replay(replay) => replay.is_late(),
        }
    }
}

/// The pattern whose places are at random.
pub const RANDOM: &str = "poisson";

/// When packets go.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// As fast as the link carries them.
    Line,
    /// At a rate, `burst` packets a slot.
    Rate {
        /// Of bursts.
        pace: Box<Pace>,
        /// Packets a slot.
        burst: usize,
        /// Packets a second that were asked for.
        asked: f64,
    },
    /// As fast as the card takes them, which keeps the rate itself.
    Card {
        /// Packets a second that were asked for.
        asked: f64,
    },
    /// As recorded, sped up.
    Recorded {
        /// From recorded nanoseconds to ticks.
        scale: Scale,
        /// Times as fast as recorded.
        factor: f64,
        /// How late a packet may be and still not move the schedule.
        slack: Ticks,
    },
    /// At the times of a list.
    Listed {
        /// From nanoseconds to ticks.
        scale: Scale,
        /// Packets of it.
        packets: u64,
        /// How late a packet may be and still be sent.
        slack: Ticks,
    },
}

impl Schedule {
    /// Packets of one place, which leave together.
    pub fn run(&self) -> u64 {
        if let Schedule::Rate { burst, .. } = self { *burst as u64 } else { 1 }
    }

    /// What a user calls it.
    pub fn pattern(&self) -> Option<&'static str> {
        match self {
            Schedule::Rate { pace, .. } if pace.is_random() => Some(RANDOM),
            Schedule::Rate { burst: 2.., .. } => Some("burst"),
            Schedule::Rate { .. } | Schedule::Card { .. } => Some("cbr"),
            Schedule::Listed { .. } => Some("schedule"),
            Schedule::Line | Schedule::Recorded { .. } => None,
        }
    }

    /// Every `among`-th place from number `first` on.
    pub fn share(&self, first: u64, among: u64) -> Schedule {
        let mut share = self.clone();
        match &mut share {
            Schedule::Rate { pace, .. } => **pace = (**pace).clone().share(first, among),
            Schedule::Card { asked } => *asked /= among as f64,
            Schedule::Line | Schedule::Recorded { .. } | Schedule::Listed { .. } => {}
        }
        share
    }

    /// Its places if they are at random, from 0 on.
    fn random(&self) -> Option<Pace> {
        let Schedule::Rate { pace, .. } = self else { return None };
        let mut pace = pace.is_random().then(|| (**pace).clone())?;
        pace.start(0);
        Some(pace)
    }

    /// At the times of a list of so many packets.
    pub fn listed(clock: &Clock, packets: usize) -> Self {
        let scale = Scale::new(clock.ticks_per_second() / 1e9);
        Schedule::Listed { scale, packets: packets as u64, slack: clock.ticks(AWAY) }
    }

    /// `factor` times as fast as recorded.
    pub fn recorded(clock: &Clock, factor: f64) -> Self {
        let scale = Scale::new(clock.ticks_per_second() / 1e9 / factor);
        Schedule::Recorded { scale, factor, slack: clock.ticks(Duration::from_millis(1)) }
    }
}

/// Ticks in a recorded nanosecond, as a fraction of a power of two: to all the digits of the
/// number that it is made from, however small.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    ticks: u64,
    shift: u32,
}

impl Scale {
    /// `ticks_per_ns`, from 2^-64 to 2^62.
    pub fn new(ticks_per_ns: f64) -> Self {
        // The highest bit is one of 2^62; 53 of them are known.
        let shift = (62 - ticks_per_ns.log2().floor() as i32).clamp(0, 126);
        Scale { ticks: (ticks_per_ns * f64::from(shift).exp2()) as u64, shift: shift as u32 }
    }

    /// Ticks from the start to a recorded time.
    #[inline]
    pub fn ticks(self, ns: u64) -> Ticks {
        let ticks = (u128::from(ns) * u128::from(self.ticks)) >> self.shift;
        // Centuries, and still room to add them to a time.
        ticks.min(u128::from(Ticks::MAX / 2)) as Ticks
    }
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
    let end = limits.duration.map(|duration| duration.as_nanos() as u64);
    // Random places, of which nothing can be worked out but by going there.
    let mut random = schedule.random();
    let mut place = 0;
    loop {
        if limits.count.is_some_and(|count| packets >= count) {
            return Ok(packets);
        }
        let (rate, burst) = match schedule {
            Schedule::Line => (line, 1),
            Schedule::Card { asked } => (*asked, 1),
            Schedule::Rate { burst, asked, .. } => (*asked, *burst as u64),
            Schedule::Recorded { .. } | Schedule::Listed { .. } => (0.0, 1),
        };
        let steady = match &mut random {
            None => ((packets / burst * burst) as f64 * 1e9 / rate) as u64,
            Some(pace) => {
                if packets.is_multiple_of(burst) {
                    place = pace.take_next();
                }
                place
            }
        };
        let (frame, time) = match traffic {
            Traffic::Built(builder) => {
                let frame = &mut scratch[..builder.next_len()];
                builder.write(frame, wall.saturating_add(steady));
                (&*frame, steady)
            }
            Traffic::Replay(replay) => {
                while replay.is_late() {
                    std::thread::sleep(Duration::from_millis(1));
                }
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
            Traffic::Listed(listed) => {
                let Some((frame, time)) = listed.peek() else { return Ok(packets) };
                scratch[..frame.len()].copy_from_slice(frame);
                let frame = &scratch[..frame.len()];
                listed.step();
                (frame, time)
            }
        };
        if end.is_some_and(|end| time >= end) || !each(frame, time)? {
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
    let section = Section { application: Some(output::PROGRAM.to_string()), ..Section::of(["bmnic pktgen"]) };
    let plan = Plan { path, format, snaplen: SNAPLEN, buffer: BUFFER / 8, section: &section };
    let mut recorder = Recorder::create(&plan, |_| ())?;
    let result = each(traffic, schedule, line, limits, start, |frame, time| {
        // Nothing is in a hurry here: a slow disk is waited for.
        while recorder.is_full() && !recorder.has_ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(recorder.record(start.saturating_add(time), frame) && !recorder.has_ended())
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

    #[test]
    fn recorded_time_is_exact_for_a_century_at_any_speed() {
        const CENTURY: u64 = 100 * 365 * 86_400 * 1_000_000_000;
        for speed in [1e-6, 0.1, 1.0, 3.0, 1e6] {
            for ticks_per_ns in [1.0, 2.1, 2.999_999_7] {
                let scale = Scale::new(ticks_per_ns / speed);
                for ns in [0, 1, 1_000_000_007, CENTURY / 1_000_000, CENTURY] {
                    let want = ns as f64 * (ticks_per_ns / speed);
                    let want = want.min((Ticks::MAX / 2) as f64);
                    let off = (scale.ticks(ns) as f64 - want).abs();
                    assert!(off <= 1.0 + want * 1e-15, "{ns} ns, {ticks_per_ns} a ns, {speed}x: off by {off}");
                }
            }
        }
    }
}
