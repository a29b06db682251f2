//! `bmnic throughput`: packets a second over frame sizes, and cycles a packet.
//!
//! One thread sends on the first port as fast as its ring takes packets and
//! receives on the last; the table says what came through, against what the
//! link could carry. With `--ndr` or `--pdr` it searches for the highest rate
//! that loses nothing, or no more than a share (RFC 2544).

use super::circuit::{self, Circuit, FCS};
use super::output::{self, Output};
use super::session::Session;
use super::signal::Stop;
use super::units;
use super::{Context, Outcome};
use crate::dma::{BATCH_MAX, Pool};
use crate::driver::Config;
use crate::error::{Error, Kind, Result};
use crate::measure::flood::{self, Flood, Plan, Report};
use crate::measure::search::{Found, Goal, Trial, search};
use crate::measure::{Clock, Machine, Noise};
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// How long to wait for packets that are still out at the end of a trial.
const GRACE: Duration = Duration::from_millis(100);
/// The sizes of RFC 2544 §9.1, and a mix.
const SIZES: &str = "64,128,256,512,1024,1280,1518,imix";
/// Simple IMIX, FCS included: seven short frames and four middle ones for each
/// long one, spread over the sequence.
const IMIX: [usize; 12] = [64, 594, 64, 64, 594, 64, 1518, 64, 594, 64, 594, 64];

/// Arguments of `bmnic throughput`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    circuit: Circuit,
    /// Frame sizes in bytes, FCS included; `imix` is 7 x 64, 4 x 594, 1 x 1518
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', default_value = SIZES, value_parser = Size::parse)]
    sizes: Vec<Size>,
    /// Length of a trial
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    trial: Duration,
    /// Search for the highest rate that loses nothing (non-drop rate)
    #[arg(long, conflicts_with = "pdr")]
    ndr: bool,
    /// Search for the highest rate that loses no more than this share: 0.5%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pdr: Option<f64>,
    /// How exactly to search, as a share of line rate
    #[arg(long, value_name = "SHARE", default_value = "0.5%", value_parser = share)]
    precision: f64,
    /// Packets a call to send() and recv(), 1 to 64
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=BATCH_MAX as i64))]
    batch: u16,
    /// Descriptors in the receive ring, a power of two from 64 to 4096
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = units::ring)]
    rxd: u16,
    /// Descriptors in the transmit ring, a power of two from 64 to 4096
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = units::ring)]
    txd: u16,
    /// Print comma-separated values instead of a table
    #[arg(long)]
    csv: bool,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Size {
    /// All frames alike: bytes with FCS.
    Fixed(usize),
    /// Simple IMIX.
    Imix,
}

impl Size {
    fn parse(text: &str) -> Result<Self> {
        if text.trim().eq_ignore_ascii_case("imix") {
            return Ok(Size::Imix);
        }
        circuit::frame_size(text).map(Size::Fixed).map_err(|e| e.hint("or imix"))
    }

    /// Frames in the order they are sent, in bytes without FCS.
    fn frames(&self) -> Vec<usize> {
        match self {
            Size::Fixed(size) => vec![size - FCS],
            Size::Imix => IMIX.map(|size| size - FCS).to_vec(),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Fixed(size) => write!(f, "{size}"),
            Size::Imix => f.write_str("imix"),
        }
    }
}

/// What came of one size.
struct Row {
    size: Size,
    /// Highest rate the link carries, packets a second.
    line: f64,
    /// The flood, or the search's best trial.
    report: Report,
    /// The search, if there was one.
    found: Option<Found>,
}

/// Runs it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    let mut clock = Clock::new();
    let mut noise = Noise::begin(&context.roots, &clock, Duration::from_millis(10));

    let longest = args.sizes.iter().flat_map(Size::frames).max().unwrap_or(0);
    let config =
        Config { max_frame: longest.max(1_518) as u16, rx_ring: args.rxd, tx_ring: args.txd, ..Config::default() };
    let mut session = args.circuit.open(context, &config, None)?;
    let stop = session.stop.clone();
    session.announce(&output)?;
    output.info(scope(&args, session.is_emulated()))?;

    let pool = circuit::filled_pool(&mut session)?;
    let live = output.live(1);
    let mut rows = Vec::new();
    for size in &args.sizes {
        live.show(0, format!("{size} bytes ..."));
        let row = Bench { args: &args, clock: &clock, pool: &pool, stop: &stop }.row(size, &mut session)?;
        if stop.requested() {
            break;
        }
        if row.report.received == 0 && row.found.is_none() {
            return Err(args.circuit.nothing_came(&session.devices, row.report.sent).into());
        }
        rows.push(row);
    }
    drop(live);

    clock.refine();
    noise.end(&context.roots);
    let machine = Machine::record(&context.roots, &clock);
    let warnings = [machine.warnings(), noise.warnings()].concat();
    if output.is_json() {
        let result = json!({
            "measured": scope(&args, session.is_emulated()),
            "batch": args.batch,
            "trial_ns": args.trial.as_nanos() as u64,
            "loss_allowed": args.goal_loss(),
            "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
            "noise": noise.json(),
            "warnings": warnings,
        });
        output.document(&output::document("throughput", &session.devices, &machine, result))?;
    } else if args.csv {
        print_csv(&output, &rows)?;
    } else {
        output.info(format_args!("machine: {machine}"))?;
        output.info("")?;
        print_table(&output, &rows)?;
    }
    warnings.iter().for_each(|warning| output.warn(warning));
    session.check(&output)?;
    Ok(stop.outcome())
}

impl Args {
    /// The loss that a search allows, if one was asked for.
    fn goal_loss(&self) -> Option<f64> {
        if self.ndr { Some(0.0) } else { self.pdr }
    }
}

/// What the figures are, in one line.
fn scope(args: &Args, emulated: bool) -> String {
    let what = match args.goal_loss() {
        None => "sent as fast as the ring takes it, received by the same thread".to_string(),
        Some(0.0) => "highest rate without loss (NDR)".to_string(),
        Some(loss) => format!("highest rate with a loss of at most {} % (PDR)", loss * 100.0),
    };
    let device =
        if emulated { "the model runs on another thread, and time on its wire is modelled" } else { "real card" };
    format!("measured: {what}; {device}; cycles are ticks of the clock inside send() and recv(), median a packet")
}

/// All that a trial needs.
struct Bench<'a> {
    args: &'a Args,
    clock: &'a Clock,
    pool: &'a Pool,
    stop: &'a Stop,
}

impl Bench<'_> {
    fn row(&self, size: &Size, session: &mut Session) -> Result<Row> {
        let frames = size.frames();
        let line = flood::line_rate(&frames, circuit::speed(session));
        let Some(loss) = self.args.goal_loss() else {
            let report = self.flood(&frames, None, session)?;
            return Ok(Row { size: size.clone(), line, report, found: None });
        };
        let goal = Goal { max: line, loss, precision: self.args.precision };
        let mut best: Option<Report> = None;
        let mut last = None;
        let found = search(&goal, |rate| {
            let report = self.flood(&frames, Some(rate), session)?;
            let trial = report.trial(rate);
            if trial.passes(loss) && best.as_ref().is_none_or(|best| report.sent > best.sent) {
                best = Some(report.clone());
            }
            last = Some(report);
            // Asked to stop: what is known already is the result.
            Ok(if self.stop.requested() { Trial { lost: trial.sent, ..trial } } else { trial })
        })?;
        let report = best.or(last).ok_or_else(|| Error::new(Kind::Io, "the search made no trial"))?;
        Ok(Row { size: size.clone(), line, report, found: Some(found) })
    }

    /// One trial: sends on the first port, receives on the last.
    fn flood(&self, frames: &[usize], rate: Option<f64>, session: &mut Session) -> Result<Report> {
        let plan = Plan {
            frames: frames.to_vec(),
            rate,
            duration: self.args.trial,
            grace: GRACE,
            batch: usize::from(self.args.batch),
            addresses: circuit::addresses(session),
        };
        let flood = Flood::new(self.clock, self.pool, plan, || self.stop.requested())?;
        circuit::run(session, flood)
    }
}

impl Row {
    /// Packets a second that count: what came, or what the search found.
    fn rate(&self) -> f64 {
        match &self.found {
            None => self.report.packets_per_second(),
            Some(found) => found.best.map_or(0.0, |trial| trial.offered),
        }
    }

    /// Bits a second on the wire at that rate.
    fn bits(&self) -> f64 {
        if self.report.received == 0 {
            return 0.0;
        }
        self.rate() * self.report.wire_bits / self.report.received as f64
    }

    /// Text of each column, in the order of [`COLUMNS`].
    fn cells(&self) -> [String; 9] {
        let cycles = |cost: &flood::Cost| cost.ticks().map_or("-".to_string(), |ticks| format!("{ticks:.1}"));
        [
            self.size.to_string(),
            format!("{:.3}", self.rate() / 1e6),
            format!("{:.3}", self.bits() / 1e9),
            format!("{:.1}", self.rate() / self.line * 100.0),
            cycles(&self.report.rx),
            cycles(&self.report.tx),
            format!("{:.1}", self.report.rx.per_call()),
            format!("{:.1}", self.report.tx.per_call()),
            self.report.lost().to_string(),
        ]
    }

    fn json(&self) -> Value {
        let report = &self.report;
        json!({
            "frame": self.size.to_string(),
            "pps": self.rate(),
            "l1_bits_per_second": self.bits(),
            "line_rate_pps": self.line,
            "of_line_rate": self.rate() / self.line,
            "rx_cycles": report.rx.ticks(),
            "tx_cycles": report.tx.ticks(),
            "rx_batch": report.rx.per_call(),
            "tx_batch": report.tx.per_call(),
            "sent": report.sent,
            "received": report.received,
            "lost": report.lost(),
            "foreign": report.foreign,
            "trials": self.found.as_ref().map(|found| found.trials.iter().map(trial_json).collect::<Vec<_>>()),
        })
    }
}

fn trial_json(trial: &Trial) -> Value {
    json!({ "asked_pps": trial.asked, "offered_pps": trial.offered, "sent": trial.sent, "lost": trial.lost })
}

/// Columns of the table, and their names in a CSV file.
const COLUMNS: [(&str, &str); 9] = [
    ("frame", "frame"),
    ("Mpps", "mpps"),
    ("Gbit/s (L1)", "l1_gbit_per_second"),
    ("% of line", "percent_of_line"),
    ("rx cycles", "rx_cycles"),
    ("tx cycles", "tx_cycles"),
    ("rx batch", "rx_batch"),
    ("tx batch", "tx_batch"),
    ("lost", "lost"),
];

fn print_table(output: &Output, rows: &[Row]) -> std::io::Result<()> {
    let mut table = output::table(&COLUMNS.map(|(title, _)| title), 1);
    for row in rows {
        table.add_row(row.cells());
    }
    output.result(table.trim_fmt())
}

fn print_csv(output: &Output, rows: &[Row]) -> std::io::Result<()> {
    output.result(COLUMNS.map(|(_, name)| name).join(","))?;
    for row in rows {
        output.result(row.cells().join(",").replace(",-,", ",,"))?;
    }
    Ok(())
}

/// A share: `0.5%`, `0.005`.
fn share(text: &str) -> Result<f64> {
    let (digits, scale) = text.trim().strip_suffix('%').map_or((text, 1.0), |digits| (digits, 100.0));
    let value = digits.trim().parse::<f64>().ok().map(|value| value / scale);
    value.filter(|share| (0.0..1.0).contains(share)).ok_or_else(|| {
        Error::new(Kind::Usage, format!("'{text}' is not a share of packets; write one like 0.5% or 0.005"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_shares_are_read_and_nonsense_is_refused() {
        assert_eq!(Size::parse("64").unwrap().frames(), [60]);
        assert_eq!(Size::parse("IMIX").unwrap(), Size::Imix);
        for text in ["", "63", "2053", "big", "64k"] {
            assert_eq!(Size::parse(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
        assert_eq!(share("0.5%").unwrap(), 0.005);
        assert_eq!(share("0.005").unwrap(), 0.005);
        for text in ["", "%", "100%", "1", "-1%", "nan"] {
            assert_eq!(share(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }

    #[test]
    fn the_mix_is_the_simple_imix_of_seven_four_and_one() {
        let frames = Size::Imix.frames();
        let of = |size: usize| frames.iter().filter(|&&len| len + FCS == size).count();
        assert_eq!((of(64), of(594), of(1518), frames.len()), (7, 4, 1, 12));
        let mean: usize = IMIX.iter().sum::<usize>() / IMIX.len();
        assert_eq!(mean, 361);
    }
}
