//! `bmnic latency`: how long one packet takes, and how often it takes longer.
//!
//! ```text
//!   one port      A sends ──wire that leads back──> A receives
//!   two ports     A sends ──cable────────────────> B receives
//! ```
//!
//! Both ends read the same clock, so the figure is one way and no clocks need
//! to agree. The machine's own floor is measured in the same run and printed
//! beside it.

pub(super) mod files;
mod paths;
mod view;

use super::account::{self, LossLimit, ShortfallLimit};
use super::args::RunLength;
use super::circuit::{self, Circuit, FCS};
use super::output::{self, Output};
use super::session::DEFAULT_DURATION;
use super::units::{self, Rate};
use super::{Context, Outcome};
use crate::driver::{Config, Description, TxPath};
use crate::error::{Error, Kind, Result};
use crate::measure::ping::{Ping, Plan, Report};
use crate::measure::{Clock, Floor, Machine, Noise};
use std::time::Duration;
use view::{Figure, View};

/// How long to wait for packets that are still out at the end.
const GRACE: Duration = Duration::from_secs(1);

/// Arguments of `bmnic latency`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    circuit: Circuit,
    #[command(flatten)]
    length: RunLength,
    /// Time before anything is counted
    #[arg(short, long, value_name = "TIME", default_value = "100ms", value_parser = units::duration)]
    warmup: Duration,
    /// Frame size in bytes, FCS included
    #[arg(short, long, value_name = "BYTES", default_value = "64", value_parser = circuit::frame_size)]
    size: usize,
    /// How often to send: 100k, 10Mbit, 1%; it does not wait for answers
    #[arg(short, long, value_name = "RATE", default_value = "100k")]
    rate: Rate,
    /// Way of frames to the card: auto, dma, push, pio, ctpio, ctpio=BYTES, or all
    ///
    /// dma: the card fetches descriptor and frame. push: the descriptor goes with
    /// the doorbell (to a ConnectX not through VFIO, which maps its registers
    /// uncached). pio: the frame goes into memory on the card. ctpio: it goes
    /// into the transmitter, which sends it when it has all of it, or as many
    /// bytes as are named (only where stores to the card are combined, which no
    /// host does for an EF10 of today). all: each that the card has, side by
    /// side, with the stages of a frame (see --stages).
    #[arg(long, value_name = "PATH", default_value = "auto", value_parser = ways)]
    tx_path: Ways,
    /// Show the stages of a frame: doorbell, fetch, wire, write-back, poll
    ///
    /// Those inside the card are an emulated card's model's: what crosses PCIe takes
    /// the time that its link needs (pcie= in the card's name, or gen3x8 with a round
    /// trip of 533 ns; see `bmnic emulate --list`), and a frame its time on the wire.
    /// The stages are medians of frames that are sent one by one. Poll is measured:
    /// the driver's look at a ring in which there is nothing.
    #[arg(long)]
    stages: bool,
    /// Count from when a packet was due, not from when it was sent
    ///
    /// Both are printed; this chooses what the headline and the --hgrm file
    /// show. The intended time includes what the sender itself was held up, as
    /// somebody who waits for the packet would feel it.
    #[arg(long)]
    intended: bool,
    /// Percentiles to print instead of 50, 90, 99, 99.9 and 99.99
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = percentile)]
    percentiles: Vec<f64>,
    #[command(flatten)]
    loss: LossLimit,
    #[command(flatten)]
    shortfall: ShortfallLimit,
    #[command(flatten)]
    headline: Headline,
    #[command(flatten)]
    files: files::Wanted,
}

/// Which ways of frames to the card are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ways {
    One(TxPath),
    All,
}

fn ways(text: &str) -> Result<Ways> {
    if text.trim() == "all" { Ok(Ways::All) } else { text.parse().map(Ways::One) }
}

/// One figure above all others; with `-q` it is the only output.
#[derive(Debug, Default, clap::Args)]
#[group(multiple = false)]
struct Headline {
    /// Make the median the headline; with -q it is the only output
    #[arg(long)]
    p50: bool,
    /// Make the 90th percentile the headline
    #[arg(long)]
    p90: bool,
    /// Make the 99th percentile the headline
    #[arg(long)]
    p99: bool,
    /// Make the 99.9th percentile the headline
    #[arg(long)]
    p999: bool,
    /// Make the 99.99th percentile the headline
    #[arg(long)]
    p9999: bool,
    /// Make the least the headline
    #[arg(long)]
    min: bool,
    /// Make the mean the headline
    #[arg(long)]
    mean: bool,
    /// Make the greatest the headline
    #[arg(long)]
    max: bool,
}

impl Headline {
    fn figure(&self) -> Option<Figure> {
        let choices = [
            (self.p50, Figure::Percentile(50.0)),
            (self.p90, Figure::Percentile(90.0)),
            (self.p99, Figure::Percentile(99.0)),
            (self.p999, Figure::Percentile(99.9)),
            (self.p9999, Figure::Percentile(99.99)),
            (self.min, Figure::Min),
            (self.mean, Figure::Mean),
            (self.max, Figure::Max),
        ];
        choices.into_iter().find_map(|(chosen, figure)| chosen.then_some(figure))
    }
}

/// Runs it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    let mut clock = Clock::new();
    let tx_path = match args.tx_path {
        Ways::One(path) if !args.stages => path,
        ways if args.files.is_any() || args.headline.figure().is_some() => {
            let text = match ways {
                Ways::All => "--tx-path all prints one table; a headline, a plot and files are of one path, so name it",
                Ways::One(_) => {
                    "--stages prints a table of its own; a headline, a plot and files are of a run without it"
                }
            };
            return Err(Error::new(Kind::Usage, text).into());
        }
        Ways::All => return paths::compare(&args, context, &output, clock, &paths::ALL),
        Ways::One(path) => return paths::compare(&args, context, &output, clock, &[path]),
    };
    // Bad paths should be known before the run, not after it.
    let files = args.files.open()?;

    // Before any model runs: the floor needs both cores for itself.
    let frame = args.size - FCS;
    let mut noise = Noise::begin(&context.roots, &clock, Duration::from_millis(10));
    let floor = Floor::measure(&clock, frame, Duration::from_millis(5));

    let config = Config { max_frame: frame.max(1_518) as u16, tx_path, ..Config::default() };
    let mut session = args.circuit.open(context, &config, Some(DEFAULT_DURATION))?;
    let stop = session.stop.clone();
    session.announce(&output)?;
    session.may_send(frame)?;
    let limits = session.limits(&args.length);
    let rate = rate(&args, circuit::speed(&session))?;
    let plan = Plan {
        frame,
        rate,
        count: limits.count,
        duration: limits.duration,
        warm_up: args.warmup,
        grace: GRACE,
        raw: files.samples(rate, limits.count, limits.duration)?,
        addresses: circuit::addresses(&session),
    };
    let pool = circuit::filled_pool(&mut session)?;
    let noted = session.notes();
    let ping = Ping::new(&clock, &pool, plan, || stop.requested())?;
    let report = circuit::run(&mut session, ping).map_err(|error| session.blame(error))?;

    clock.refine();
    noise.end(&context.roots);
    let intact = session.intact();
    match intact {
        Err(lost) if report.received() == 0 => return Err(session.blame(lost)),
        Ok(()) if report.stuck => return Err(session.blame(no_room(&session.devices[0]))),
        _ => {}
    }
    if report.received() == 0 && stop.signal().is_none() {
        return Err(session.blame(args.circuit.nothing_came(&session.devices, report.sent)));
    }
    let notes = account::notes_since(session.notes(), &noted);
    let view = View {
        frame: args.size,
        percentiles: &args.percentiles,
        intended: args.intended,
        headline: args.headline.figure(),
        devices: &session.devices,
        emulated: session.is_emulated(),
        rate,
        report: &report,
        notes: &notes,
        floor: &floor,
        noise: &noise,
        machine: &Machine::record(&context.roots, &clock),
    };
    let refused = view.print(&output)?;
    files.write(&view, &output)?;
    session.check(&output)?;
    let limits = match refused {
        Some(refusal) => Err(refusal),
        None => args.judge(&report, rate),
    };
    stop.judge(limits)
}

impl Args {
    /// Whether the run kept its limits: nothing was lost, and the rate was that
    /// which was asked for.
    fn judge(&self, report: &Report, rate: f64) -> Result<()> {
        self.loss.check(report.lost, report.sent)?;
        self.shortfall.check(rate, report.rate(), report.elapsed_ns as f64 / 1e9)
    }
}

/// Packets a second, if the link carries so many: one that does not would only
/// show how long packets wait for it.
fn rate(args: &Args, speed: u64) -> Result<f64> {
    let frame = args.size - FCS;
    let (rate, line) = (args.rate.pps(frame, speed), Rate::Line.pps(frame, speed));
    if rate > line {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "{} of {} bytes are more than the link carries; ask for less than {}",
                output::pps(rate),
                args.size,
                output::pps(line)
            ),
        ));
    }
    Ok(rate)
}

fn no_room(device: &Description) -> Error {
    Error::new(
        Kind::Timeout,
        format!(
            "{}: its ring is full and the card took no packet for two seconds; the link may be paused by its far end",
            device.device
        ),
    )
}

/// A percentile between 0 and 100, both excluded.
fn percentile(text: &str) -> Result<f64> {
    let text = text.trim();
    let number = text.strip_prefix('p').unwrap_or(text).parse::<f64>().ok();
    number.filter(|&percent| percent > 0.0 && percent < 100.0).ok_or_else(|| {
        Error::new(Kind::Usage, format!("'{text}' is not a percentile; write one above 0 and below 100, like 99.9"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_outside_their_range_are_refused() {
        assert_eq!(percentile("p99.9").unwrap(), 99.9);
        assert_eq!(percentile(" 50").unwrap(), 50.0);
        for text in ["", "0", "100", "-1", "nan", "p", "99,9"] {
            assert_eq!(percentile(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }
}
