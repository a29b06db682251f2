//! `bmnic latency`: how long one packet takes, and how often it takes longer.
//!
//! ```text
//!   one port      A sends ──wire that leads back──> A receives
//!   two ports     A sends ──cable────────────────> B receives
//! ```
//!
//! Both ends read the same clock, so the figure is one way and no clocks need
//! to agree. The machine's own floor is measured in the same run and printed
//! beside it. Each frame size with each load of other traffic is a row of its own.

mod asked;
mod files;
mod hlog;
mod paths;
mod rows;
mod sweep;
mod view;

use super::account::{LossLimit, ShortfallLimit};
use super::args::{Limits, RunLength};
use super::circuit::{self, Circuit};
use super::hang;
use super::output::{self, Output};
use super::progress::Goal;
use super::sandbox::{Keeps, Sandbox};
use super::session::DEFAULT_DURATION;
use super::units;
use super::{Context, Outcome};
use crate::driver::{Config, TxPath};
use crate::error::{Error, Kind, Result};
use crate::measure::ping::{Empty, Report};
use crate::measure::{Clock, Floor, Machine, Noise};
use asked::{Asked, Case};
use rows::{Bench, Row};
use std::time::Duration;
use view::{Figure, View};

/// How long a row of several is measured unless it is said.
const EACH: Duration = Duration::from_secs(1);

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
    #[command(flatten)]
    asked: Asked,
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
    #[command(flatten)]
    sandbox: Sandbox,
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
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    args.files.check(&output)?;
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
        Ways::All => return paths::compare(args, context, &output, clock, &paths::ALL),
        Ways::One(path) => return paths::compare(args, context, &output, clock, &[path]),
    };
    let cases = args.asked.cases()?;
    let several = cases.len() > 1;
    if several && args.headline.figure().is_some() {
        let line = "a headline is of one frame size and load; name one of each, or leave it out";
        return Err(Error::new(Kind::Usage, line).into());
    }
    let limits = if several { Some(args.length.limits(Some(EACH))) } else { None };
    if limits.is_some_and(|limits| (limits.count, limits.duration) == (None, None)) {
        let line = "without an end the first row would be the only one; give -d or -c, which are of each row";
        return Err(Error::new(Kind::Usage, line).into());
    }
    // Bad paths should be known before the run, not after it.
    let mut files = args.files.open(cases.len())?;
    let mut log = files.log(args.intended);

    // Before any model runs: the floor needs both cores for itself.
    let mut noise = Noise::begin(&context.roots, &clock, Duration::from_millis(10));
    let floors = floors(&cases, &clock);

    let longest = cases.iter().map(Case::longest).max().unwrap_or(0);
    let config = Config { max_frame: longest.max(1_518) as u16, tx_path, ..Config::default() };
    let mut session = args.circuit.open(context, &config, Some(DEFAULT_DURATION))?;
    let stop = session.stop.clone();
    args.files.paths().try_for_each(|path| session.check_write(path))?;
    session.announce(&output)?;
    session.may_send(longest)?;
    let limits = limits.unwrap_or_else(|| session.limits(&args.length));
    let speed = circuit::speed(&session);
    let rates = cases.iter().map(|case| args.asked.rate(case, speed)).collect::<Result<Vec<_>>>()?;
    let raw = files.samples(&rates, limits.count, limits.duration)?;
    let pool = circuit::filled_pool(&mut session, 1)?;
    let keeps = Keeps { made: args.files.made_later(), ..Keeps::default() };
    args.sandbox.enter(keeps, &session, &context.roots, &output)?;
    let own = circuit::run(&mut session, Empty::new(&clock, &pool)?)?;
    let bench = Bench { circuit: &args.circuit, clock: &clock, pool: &pool, limits, warm_up: args.warmup };
    let live = output.bar(expected(&rates, &limits, args.warmup).map_or(Goal::Open, Goal::Time));
    let mut rows = Vec::new();
    let mut failed = None;
    for (((case, rate), floor), raw) in cases.iter().zip(rates.iter().copied()).zip(floors).zip(raw) {
        if stop.requested() && !rows.is_empty() {
            break;
        }
        live.show(0, case.name());
        let row = |intervals| bench.row(&mut session, (case, rate), floor, raw, rows.is_empty(), intervals);
        let tag = several.then(|| case.tag());
        let row = match &mut log {
            Some(log) => log.during(&clock, tag.as_deref(), row),
            None => row(None),
        };
        match row {
            Ok(row) => rows.push(row),
            Err(error) if rows.is_empty() => return Err(session.blame(error)),
            // The rows before it were measured, and are printed.
            Err(error) => {
                failed = Some(session.blame(error));
                break;
            }
        }
    }

    drop(live);
    clock.refine();
    noise.end(&context.roots);
    let view = View {
        rows: &rows,
        several,
        percentiles: &args.percentiles,
        intended: args.intended,
        headline: args.headline.figure(),
        devices: &session.devices,
        emulated: session.is_emulated(),
        own,
        noise: &noise,
        machine: &Machine::record(&context.roots, &clock),
    };
    // A reader that leaves costs no file.
    let refused = view.print(&output);
    let written = files.write(&view, &output);
    let refused = refused?;
    log.map_or(Ok(()), hlog::Log::end)?;
    written?;
    session.check(&output)?;
    if let Some(error) = failed {
        return Err(error);
    }
    let limits = match refused {
        Some(refusal) => Err(refusal),
        None => rows.iter().try_for_each(|row| args.judge_row(row, several)),
    };
    stop.judge(limits)
}

impl Args {
    /// Whether a row kept its limits: nothing was lost, and the rates were those which were
    /// asked for.
    fn judge_row(&self, row: &Row, several: bool) -> Result<()> {
        let none = match row.report.sent {
            0 => Some(rows::NONE_SENT.to_string()),
            sent if row.report.received() == 0 => Some(format!(
                "{} packets were sent and none came back, so there is no figure; choose a lower --load, or shorter frames",
                output::grouped(sent)
            )),
            _ => None,
        };
        // What is in the ring for good may be all that is wrong with a row of which nothing came.
        let judged = hang::check(row.report.unreported);
        let judged = judged.and_then(|()| none.map_or(Ok(()), |line| Err(Error::new(Kind::Limit, line))));
        let judged = judged.and_then(|()| self.judge(&row.report, row.rate)).and_then(|()| {
            let Some(load) = row.report.load else { return Ok(()) };
            let kept = self.shortfall.check(row.load_rate, row.report.load_rate(), row.seconds());
            kept.and_then(|()| self.loss.check(load.lost(), load.sent)).map_err(|error| error.of("the load"))
        });
        judged.map_err(|error| if several { error.of(row.case.name()) } else { error })
    }

    /// The same of the probes alone.
    fn judge(&self, report: &Report, rate: f64) -> Result<()> {
        self.loss.check(report.lost, report.sent)?;
        self.shortfall.check(rate, report.rate(), report.elapsed_ns as f64 / 1e9)
    }
}

/// How long the rows take together, if they have an end.
fn expected(rates: &[f64], limits: &Limits, warm_up: Duration) -> Option<Duration> {
    let row = |rate: &f64| {
        let counted =
            limits.count.map(|count| Duration::try_from_secs_f64(count as f64 / rate).unwrap_or(Duration::MAX));
        counted.into_iter().chain(limits.duration).min().map(|time| time.saturating_add(warm_up))
    };
    rates.iter().map(row).try_fold(Duration::ZERO, |sum, time| Some(sum.saturating_add(time?)))
}

/// The floor of each case, measured once for each size.
fn floors(cases: &[Case], clock: &Clock) -> Vec<Floor> {
    let mut floors: Vec<Floor> = Vec::new();
    for case in cases {
        let same = floors.last().filter(|floor| floor.frame == case.frame()).cloned();
        floors.push(same.unwrap_or_else(|| Floor::measure(clock, case.frame(), Duration::from_millis(5))));
    }
    floors
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
    use crate::measure::ping::Carried;
    use clap::Parser;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        args: Args,
        #[command(flatten)]
        _global: crate::cli::Global,
    }

    #[test]
    fn a_row_is_judged_by_its_probes_and_by_its_load_and_says_which_it_is() {
        let args = Words::parse_from(["latency", "--load", "50", "--allow-loss", "1%"]).args;
        let case = args.asked.cases().unwrap().remove(0);
        let floor = Floor { frame: 60, counter_ns: 1.0, copy_ns: 1.0, line: None, handoff: None };
        // One second at 1000 and 2000 packets a second.
        let judged = |probes: [u64; 2], load: [u64; 2]| {
            let carried = Carried { sent: load[0], received: load[0] - load[1], duplicated: 0 };
            let (sent, lost, load) = (probes[0], probes[1], Some(carried));
            let report = Report { sent, lost, load, elapsed_ns: 1_000_000_000, ..Report::default() };
            let (case, floor) = (case.clone(), floor.clone());
            let row = Row { case, rate: 1_000.0, load_rate: 2_000.0, report, notes: Vec::new(), floor };
            args.judge_row(&row, true).map_err(|error| (error.kind(), error.to_string()))
        };
        assert_eq!(judged([1_000, 10], [2_000, 20]), Ok(()));
        for (probes, load, words) in [
            ([0, 0], [0, 0], "64 bytes, load 50 %: no packet was sent in the time"),
            ([1_000, 1_000], [2_000, 0], "64 bytes, load 50 %: 1 000 packets were sent and none came back"),
            ([1_000, 11], [2_000, 0], "64 bytes, load 50 %: 11 of 1 000 packets were lost"),
            ([900, 0], [2_000, 0], "64 bytes, load 50 %: 900 pps were sent of 1 kpps"),
            ([1_000, 0], [2_000, 21], "64 bytes, load 50 %: the load: 21 of 2 000 packets were lost"),
            ([1_000, 0], [1_800, 0], "64 bytes, load 50 %: the load: 1.8 kpps were sent of 2 kpps"),
        ] {
            let (kind, text) = judged(probes, load).unwrap_err();
            assert!(kind == Kind::Limit && text.starts_with(words), "{text}");
        }
    }

    #[test]
    fn the_time_of_all_rows_is_known_where_they_have_an_end() {
        let limits = |count, seconds: Option<u64>| Limits { count, duration: seconds.map(Duration::from_secs) };
        let rows = |limits| expected(&[100.0, 50.0], &limits, Duration::from_secs(1));
        assert_eq!(rows(limits(None, None)), None);
        assert_eq!(rows(limits(Some(100), None)), Some(Duration::from_secs(5)));
        assert_eq!(rows(limits(Some(100), Some(1))), Some(Duration::from_secs(4)));
    }

    #[test]
    fn percentiles_outside_their_range_are_refused() {
        assert_eq!(percentile("p99.9").unwrap(), 99.9);
        assert_eq!(percentile(" 50").unwrap(), 50.0);
        for text in ["", "0", "100", "-1", "nan", "p", "99,9"] {
            assert_eq!(percentile(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }
}
