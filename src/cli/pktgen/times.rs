//! When packets leave, as `bmnic pktgen` is told.

use super::traffic::Schedule;
use crate::cli::output::{self, Output};
use crate::cli::units::Rate;
use crate::driver::Nic;
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Pace};

/// Options of a rate.
#[derive(Debug, clap::Args)]
pub struct Times {
    /// How fast: 14.88M or 1kpps (packets), 2Gbit (on the wire, with preamble and gap), 50%, line
    ///
    /// Without it as fast as ring and link take packets, and no rate is too low. A rate
    /// that was asked for and not kept ends with exit code 3: see --allow-shortfall.
    ///
    /// Each packet has a place in a schedule that begins with the run. A place that is later
    /// than 64 packets, or 20 us if that is longer, is skipped. The summary says how many were,
    /// to the packet, and what was the matter when they were due: the ring was full, so that
    /// card and link took no more; the system ran something else; no buffer was free; or the
    /// sender itself was slower than the rate. Places until the end = sent + skipped. It also
    /// says how far the times between two doorbells, as the sender sees them, were from those
    /// between their places.
    #[arg(short, long, value_name = "RATE")]
    pub rate: Option<Rate>,
    /// How packets follow one another at --rate [default: cbr, or burst with --burst]
    ///
    /// poisson draws the gaps: each is exponential and independent of the others, and --seed
    /// draws the same again. Of 4096 places together the rate is exact, so that it does not
    /// stray in the long run. With --burst it is bursts that arrive so.
    #[arg(long, value_name = "PATTERN", requires = "rate")]
    pub pattern: Option<Pattern>,
    /// Packets that leave together; the rate stays [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub burst: Option<u16>,
    /// Who keeps the rate: software, or the card itself, which some can (82599, X540, X550)
    /// [default: software]
    ///
    /// Hardware pacing: with card, packets are given to the ring as fast as it takes them, and
    /// the card begins each as much later than the one before as that one takes at the rate. So
    /// gaps do not depend on this machine while the ring does not run dry. The card counts bits
    /// of frames: a longer one is followed by a longer gap. There are no places that could be
    /// skipped, and what is in the ring when the time is up is still sent.
    #[arg(long, value_name = "WHO", requires = "rate", conflicts_with_all = [
        "pattern", "burst", "pcap", "schedule", "prepare", "print", "write",
    ])]
    pub pace: Option<Pacer>,
}

/// Who keeps a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Pacer {
    /// The thread that sends
    Software,
    /// The card, by the rate of its transmit queue
    Card,
}

/// When the packets of a rate are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Pattern {
    /// One by one, each as far from the next
    Cbr,
    /// At random, as independent arrivals
    Poisson,
    /// As many as --burst says together, each burst as far from the next
    Burst,
}

impl Times {
    /// Whether packets are due at random.
    pub fn is_random(&self) -> bool {
        self.pattern == Some(Pattern::Poisson)
    }

    /// Refuses patterns that contradict the rest.
    ///
    /// # Errors
    /// [`Kind::Usage`] with what to leave out, or to say.
    pub fn check(&self) -> Result<()> {
        let line = match (self.pattern, self.burst.unwrap_or(1)) {
            (Some(Pattern::Cbr), 2..) => {
                "a constant rate sends packets one by one, and --burst asks for several together; ask for --pattern burst, or leave --burst out"
            }
            (Some(Pattern::Burst), 1) => "a burst is of several packets; say how many leave together with --burst",
            _ => return Ok(()),
        };
        Err(Error::new(Kind::Usage, line))
    }

    /// When packets go that a link of `speed` bits a second carries `line` of, at random as
    /// `seed` draws them if they are to be. Without a rate at line rate.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a rate that cannot be kept, or that leaves a pattern no room.
    pub fn schedule(&self, clock: &Clock, line: f64, speed: u64, seed: u64, output: &Output) -> Result<Schedule> {
        let rate = self.rate.unwrap_or(Rate::Line);
        let pps = in_packets(rate, line, speed);
        if pps >= line * 0.999_999 && self.is_random() {
            let line = format!(
                "{rate} leaves no gaps to draw between these packets on this link; --pattern poisson needs less than its {}",
                output::pps(line)
            );
            return Err(Error::new(Kind::Usage, line));
        }
        if pps > line * 1.000_001 {
            output.warn(format_args!(
                "{rate} is more than the link carries; sending at line rate, {}",
                output::pps(line)
            ));
        }
        if pps >= line * 0.999_999 {
            return Ok(Schedule::Line);
        }
        if self.pace == Some(Pacer::Card) {
            return Ok(Schedule::Card { asked: pps });
        }
        let burst = usize::from(self.burst.unwrap_or(1));
        // A burst has one place in the schedule.
        let mut pace = Pace::new(clock, pps / burst as f64)?;
        if self.is_random() {
            pace = pace.at_random(seed);
        }
        Ok(Schedule::Rate { pace: Box::new(pace), burst, asked: pps })
    }
}

/// Has the card keep a rate of `bits` a second, of frames with FCS, with its first `queues`
/// transmit queues together.
///
/// # Errors
/// As [`Nic::set_tx_rate`].
pub fn pace_by_card(nic: &mut Nic, queues: usize, bits: f64) -> Result<()> {
    let each = (bits / queues.max(1) as f64).round() as u64;
    (0..queues as u16).try_for_each(|queue| nic.set_tx_rate(queue, Some(each)))
}

/// A rate in packets a second, on a link of `speed` bits a second that carries `line`
/// of these frames: shares of the line are worked out for them.
pub fn in_packets(rate: Rate, line: f64, speed: u64) -> f64 {
    match rate {
        Rate::Pps(pps) => pps,
        Rate::Bits(bits) => bits / speed as f64 * line,
        Rate::Percent(percent) => line * percent / 100.0,
        Rate::Line => line,
    }
}
