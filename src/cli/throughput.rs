//! `bmnic throughput`: packets a second over frame sizes, and cycles a packet.
//!
//! One thread sends on the first port as fast as its ring takes packets and
//! receives on the last; the table says what came through, against what the
//! link could carry. With `--ndr` or `--pdr` it searches for the highest rate
//! that loses nothing, or no more than a share (RFC 2544): several times, and
//! after it has measured what the tester itself can offer.

mod row;

use self::row::{Row, Search};
use super::account::{self, LossLimit};
use super::args::RingLengths;
use super::circuit::{self, Circuit, FCS};
use super::html;
use super::output::{self, Output};
use super::session::Session;
use super::signal::Stop;
use super::units;
use super::{Context, Outcome};
use crate::dma::{BATCH_MAX, Pool};
use crate::driver::Config;
use crate::error::{Error, Kind, Result};
use crate::measure::flood::{self, Flood, Plan, Report};
use crate::measure::search::{self, Goal, Trial, Verdict};
use crate::measure::{Clock, Machine, Noise};
use crate::packet::build::IMIX;
use serde_json::json;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How long to wait for packets that are still out at the end of a trial.
const GRACE: Duration = Duration::from_millis(100);
/// The sizes of RFC 2544 §9.1, and a mix.
const SIZES: &str = "64,128,256,512,1024,1280,1518,imix";
/// Floods that the tester's own ceiling is the highest of, and how long each one is.
const CEILING_FLOODS: usize = 3;
const CEILING_TIME: Duration = Duration::from_millis(100);
/// Searches for one result, and floods.
const SEARCHES: u32 = 3;
const FLOODS: u32 = 1;

/// Arguments of `bmnic throughput`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    circuit: Circuit,
    /// Frame sizes in bytes, FCS included; `imix` is IMIX_v4_1 of CSIT: 28 x 64, 16 x 570, 4 x 1518
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', default_value = SIZES, value_parser = Size::parse)]
    sizes: Vec<Size>,
    /// Length of a trial, at least 1ms
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = trial_length)]
    trial: Duration,
    /// Search for the highest rate that loses nothing (non-drop rate)
    ///
    /// A trial counts only if it offered what was asked within 1 %, and a loss only if
    /// the tester cannot have caused it; others are repeated. A rate fails with its
    /// second loss. Rates above 80 % of what the tester offers unpaced are not tried:
    /// if none below fails, the result is "at least" that. Where a search comes to no
    /// end, what is known is printed and the exit code is 3.
    #[arg(long, conflicts_with = "pdr", verbatim_doc_comment)]
    ndr: bool,
    /// Search for the highest rate that loses no more than this share: 0.5%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pdr: Option<f64>,
    /// How exactly to search, as a share of line rate
    #[arg(long, value_name = "SHARE", default_value = "0.5%", value_parser = share)]
    precision: f64,
    /// Do it this often and print the median and the spread [default: 3 searches, 1 flood]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: Option<u32>,
    /// Packets a call to send() and recv(), 1 to 64
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=BATCH_MAX as i64))]
    batch: u16,
    #[command(flatten)]
    lengths: RingLengths,
    /// Share of packets that a flood may lose; more ends with exit code 3 [default: any]
    ///
    /// A flood without a search sends more than some cards take, on purpose.
    #[arg(long, value_name = "SHARE", value_parser = units::share, conflicts_with_all = ["ndr", "pdr"])]
    allow_loss: Option<f64>,
    /// Print comma-separated values instead of a table
    #[arg(long)]
    csv: bool,
    /// Write all of it into this HTML file: tables, a plot, the machine, the command line
    ///
    /// One file that needs no other, no network and no script.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Size {
    /// All frames alike: bytes with FCS.
    Fixed(usize),
    /// IMIX_v4_1.
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

/// Runs it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    let html = html::Report::make(args.html.as_deref())?;
    let mut clock = Clock::new();
    let mut noise = Noise::begin(&context.roots, &clock, Duration::from_millis(10));

    let longest = args.sizes.iter().flat_map(Size::frames).max().unwrap_or(0);
    let config = args.lengths.of(Config { max_frame: longest.max(1_518) as u16, ..Config::default() });
    let mut session = args.circuit.open(context, &config, None)?;
    let stop = session.stop.clone();
    session.announce(&output)?;
    args.lengths.warn_of_others(&session.devices, &output);
    session.may_send(longest)?;
    output.info(scope(&args, session.is_emulated()))?;

    let pool = circuit::filled_pool(&mut session)?;
    let noted = session.notes();
    let live = output.live(1);
    let mut rows = Vec::new();
    for size in &args.sizes {
        live.show(0, format!("{size} bytes ..."));
        let row = Bench { args: &args, clock: &clock, pool: &pool, stop: &stop }.row(size, &mut session);
        let row = match row {
            Ok(row) => row,
            // The sizes before it were measured, and are printed; why it was lost is told below.
            Err(_) if !rows.is_empty() && session.intact().is_err() => break,
            Err(error) => return Err(session.blame(error)),
        };
        // A flood that was cut short has a rate all the same, but not the one asked for.
        rows.extend(row.filter(|row| !stop.requested() || row.is_search()));
        if stop.requested() {
            break;
        }
    }
    drop(live);

    let notes = account::notes_since(session.notes(), &noted);
    clock.refine();
    noise.end(&context.roots);
    let machine = Machine::record(&context.roots, &clock);
    let warnings = [machine.warnings(), noise.warnings()].concat();
    let document = || {
        let result = json!({
            "measured": scope(&args, session.is_emulated()),
            "batch": args.batch,
            "trial_ns": args.trial.as_nanos() as u64,
            "runs": args.runs(),
            "loss_allowed": args.goal_loss(),
            "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
            "wire": account::notes_json(&notes),
            "noise": noise.json(),
            "warnings": warnings,
        });
        output::document("throughput", &session.devices, &machine, result)
    };
    if let Some(file) = html {
        let document = document();
        file.write(&document, &row::picture(&document).svg()?.into_iter().collect::<Vec<_>>())?;
    }
    if output.is_json() {
        output.document(&document())?;
    } else if args.csv {
        row::print_csv(&output, &rows)?;
    } else {
        output.info(format_args!("machine: {machine}"))?;
        output.info("")?;
        row::print_table(&output, &rows)?;
        account::print_notes(&notes, &output)?;
    }
    warnings.iter().for_each(|warning| output.warn(warning));
    session.check(&output)?;
    stop.intact()?;
    if stop.outcome() == Outcome::Done && (rows.len() < args.sizes.len() || !rows.iter().all(Row::is_result)) {
        return Ok(Outcome::Limit);
    }
    let limit = LossLimit::of(args.allow_loss.unwrap_or(1.0));
    stop.judge(rows.iter().flat_map(Row::floods).try_for_each(|flood| limit.check(flood.lost(), flood.sent)))
}

impl Args {
    /// The loss that a search allows, if one was asked for.
    fn goal_loss(&self) -> Option<f64> {
        if self.ndr { Some(0.0) } else { self.pdr }
    }

    fn runs(&self) -> u32 {
        self.runs.unwrap_or(if self.goal_loss().is_some() { SEARCHES } else { FLOODS })
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
    /// What came of one size; `None` if it was told to stop before there was anything.
    fn row(&self, size: &Size, session: &mut Session) -> Result<Option<Row>> {
        let frames = size.frames();
        let line = flood::line_rate(&frames, circuit::speed(session));
        let row = |measured| Row { size: size.clone(), line, measured };
        let Some(loss) = self.args.goal_loss() else {
            let floods = self.floods(&frames, self.args.runs() as usize, self.args.trial, session)?;
            return Ok(Some(row(row::Measured::Floods(floods))).filter(|row| row.rate().is_some()));
        };
        let floods = self.floods(&frames, CEILING_FLOODS, self.args.trial.min(CEILING_TIME), session)?;
        let ceiling = floods.iter().map(Report::sent_per_second).fold(0.0, f64::max);
        if self.stop.requested() || ceiling == 0.0 {
            return Ok(None);
        }
        let goal = Goal { line, ceiling, loss, precision: self.args.precision };
        let mut searches = Vec::new();
        while searches.len() < self.args.runs() as usize && !self.stop.requested() {
            searches.push(self.search(&goal, &frames, session)?);
        }
        Ok(Some(row(row::Measured::Searches { ceiling, searches })))
    }

    /// Unpaced floods, until it is told to stop.
    fn floods(&self, frames: &[usize], runs: usize, time: Duration, session: &mut Session) -> Result<Vec<Report>> {
        let mut floods = Vec::new();
        while floods.len() < runs && !self.stop.requested() {
            let report = self.flood(frames, None, time, session)?;
            if report.received == 0 && !self.stop.requested() {
                return Err(match report.sent {
                    0 => Error::new(
                        Kind::Timeout,
                        format!(
                            "no packet was sent in {time:?}: the machine was busy or the card stands still; try a longer -t/--trial"
                        ),
                    ),
                    sent => self.args.circuit.nothing_came(&session.devices, sent),
                });
            }
            floods.push(report);
        }
        Ok(floods)
    }

    fn search(&self, goal: &Goal, frames: &[usize], session: &mut Session) -> Result<Search> {
        let mut best = None;
        let found = search::search(goal, |rate| {
            let (trial, report) = self.trial(rate, frames, session)?;
            if self.stop.requested() {
                return Ok(None);
            }
            // Each rate that passes is above all those that passed before.
            if trial.verdict(goal.loss) == Verdict::Passed {
                best = Some(report);
            }
            Ok(Some(trial))
        })?;
        Ok(Search { found, best })
    }

    /// A trial at a rate, and what the tester itself did to it.
    fn trial(&self, rate: f64, frames: &[usize], session: &mut Session) -> Result<(Trial, Report)> {
        let plan = self.plan(frames, Some(rate), self.args.trial, session);
        let missed = session.missed()?;
        session.watch_engine(plan.patience());
        let report = self.flood(frames, Some(rate), self.args.trial, session)?;
        let held_up = report.held_up + session.engine_held_up();
        let missed = session.missed()?.saturating_sub(missed);
        Ok((Trial { missed, held_up, ..report.trial(rate) }, report))
    }

    fn plan(&self, frames: &[usize], rate: Option<f64>, duration: Duration, session: &Session) -> Plan {
        Plan {
            frames: frames.to_vec(),
            rate,
            duration,
            grace: GRACE,
            batch: usize::from(self.args.batch),
            addresses: circuit::addresses(session),
        }
    }

    /// One trial: sends on the first port, receives on the last.
    fn flood(&self, frames: &[usize], rate: Option<f64>, time: Duration, session: &mut Session) -> Result<Report> {
        let plan = self.plan(frames, rate, time, session);
        let flood = Flood::new(self.clock, self.pool, plan, || self.stop.requested())?;
        let report = circuit::run(session, flood)?;
        session.intact().map(|()| report)
    }
}

/// A share that leaves something over: all that is lost, or allowed, says nothing.
fn share(text: &str) -> Result<f64> {
    let all = || Error::new(Kind::Usage, format!("'{text}' is all packets; write less, like 0.5% or 0.005"));
    Some(units::share(text)?).filter(|share| *share < 1.0).ok_or_else(all)
}

/// Length of a trial: there is one, and it is not over before a batch is sent.
fn trial_length(text: &str) -> Result<Duration> {
    let time = units::duration(text)?;
    if time < Duration::from_millis(1) {
        let line = format!("a trial of '{text}' is too short to send at a rate; give -t/--trial at least 1ms, or 1s");
        return Err(Error::new(Kind::Usage, line));
    }
    Ok(time)
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
    fn the_mix_is_imix_v4_1_of_seven_four_and_one() {
        let frames = Size::Imix.frames();
        let of = |size: usize| frames.iter().filter(|&&len| len + FCS == size).count();
        assert_eq!((of(64), of(570), of(1518), frames.len()), (7, 4, 1, 12));
    }

    #[test]
    fn a_trial_of_no_length_is_refused() {
        assert_eq!(trial_length("1ms").unwrap(), Duration::from_millis(1));
        for text in ["0", "0s", "999us", "soon"] {
            assert_eq!(trial_length(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
        assert!(trial_length("0").unwrap_err().to_string().contains("-t/--trial"));
    }
}
