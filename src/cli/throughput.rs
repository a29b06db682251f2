//! `bmnic throughput`: packets a second over frame sizes, and cycles a packet.
//!
//! One thread sends on the first port as fast as its ring takes packets and
//! receives on the last; the table says what came through, against what the
//! link could carry. With `--ndr` or `--pdr` it searches for the highest rate
//! that loses nothing, or no more than a share (RFC 2544): several times, and
//! after it has measured what the tester itself can offer. With `--rfc2544` it makes
//! the other tests of that RFC too.

mod bench;
mod rfc;
mod row;
mod sheet;
mod size;

use self::bench::Bench;
use self::rfc::Test;
use self::row::Row;
use self::sheet::Sheet;
use self::size::Size;
use super::account::{self, LossLimit};
use super::args::RingLengths;
use super::circuit::{self, Circuit};
use super::output::{self, Output};
use super::units;
use super::{Context, Outcome};
use crate::dma::BATCH_MAX;
use crate::driver::Config;
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Machine, Noise};
use serde_json::json;
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
    /// Tests of RFC 2544 to make
    ///
    /// They keep to the rules of --ndr: what was not offered as asked is no result, and
    /// trials in which the tester may have lost packets itself are repeated. Where they
    /// differ from the RFC, which asks for longer trials and more of them, is said.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with_all = ["ndr", "pdr"])]
    test: Vec<Test>,
    /// All tests of RFC 2544: --test throughput,latency,loss,back-to-back
    #[arg(long, conflicts_with_all = ["ndr", "pdr", "test"])]
    rfc2544: bool,
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
    #[arg(long, value_name = "SHARE", value_parser = units::share, conflicts_with_all = ["ndr", "pdr", "test", "rfc2544"])]
    allow_loss: Option<f64>,
    /// Print comma-separated values instead of a table
    #[arg(long)]
    csv: bool,
}

/// Runs it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
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
    let tests = args.tests();
    let deviations = rfc::deviations(&tests, args.trial, args.runs());
    let sheets = sheets(&rows, &tests);
    if output.is_json() {
        let result = json!({
            "measured": scope(&args, session.is_emulated()),
            "batch": args.batch,
            "trial_ns": args.trial.as_nanos() as u64,
            "runs": args.runs(),
            "loss_allowed": args.goal_loss(),
            "tests": tests.iter().map(|test| test.name()).collect::<Vec<_>>(),
            "deviations": deviations,
            "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
            "wire": account::notes_json(&notes),
            "noise": noise.json(),
            "warnings": warnings,
        });
        output.document(&output::document("throughput", &session.devices, &machine, result))?;
    } else if args.csv {
        print_csv(&sheets, &output)?;
    } else {
        output.info(format_args!("machine: {machine}"))?;
        for deviation in &deviations {
            output.info(format_args!("note: {deviation}"))?;
        }
        for sheet in &sheets {
            output.info("")?;
            sheet.print(&output)?;
        }
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

/// The tables of a run: the throughput first, if it was asked for.
fn sheets(rows: &[Row], tests: &[Test]) -> Vec<Sheet> {
    let throughput =
        (tests.is_empty() || tests.contains(&Test::Throughput)).then(|| row::sheet(rows, !tests.is_empty()));
    throughput.into_iter().chain(rfc::sheets(rows)).collect()
}

/// All tables as CSV, an empty line between two.
fn print_csv(sheets: &[Sheet], output: &Output) -> std::io::Result<()> {
    let text: Vec<String> = sheets.iter().map(Sheet::csv).collect();
    output.result(text.join("\n").trim_end())?;
    sheets.iter().flat_map(|sheet| &sheet.notes).for_each(|note| output.warn(note));
    Ok(())
}

impl Args {
    /// The loss that a search allows, if one was asked for.
    fn goal_loss(&self) -> Option<f64> {
        if self.ndr || self.tests().contains(&Test::Throughput) { Some(0.0) } else { self.pdr }
    }

    /// The tests of RFC 2544 that are to be made, in its order.
    fn tests(&self) -> Vec<Test> {
        let asked = |test: &Test| self.rfc2544 || self.test.contains(test);
        // Latency is that at the throughput.
        let needed = |test: &Test| *test == Test::Throughput && self.test.contains(&Test::Latency);
        Test::ALL.into_iter().filter(|test| asked(test) || needed(test)).collect()
    }

    fn runs(&self) -> u32 {
        let searches = self.goal_loss().is_some() || !self.tests().is_empty();
        self.runs.unwrap_or(if searches { SEARCHES } else { FLOODS })
    }
}

/// What the figures are, in one line.
fn scope(args: &Args, emulated: bool) -> String {
    let what = match args.goal_loss() {
        _ if !args.tests().is_empty() => {
            let names: Vec<&str> = args.tests().iter().map(|test| test.name()).collect();
            format!("{} as RFC 2544 has it", names.join(", "))
        }
        None => "sent as fast as the ring takes it, received by the same thread".to_string(),
        Some(0.0) => "highest rate without loss (NDR)".to_string(),
        Some(loss) => format!("highest rate with a loss of at most {} % (PDR)", loss * 100.0),
    };
    let device =
        if emulated { "the model runs on another thread, and time on its wire is modelled" } else { "real card" };
    format!("measured: {what}; {device}; cycles are ticks of the clock inside send() and recv(), median a packet")
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
    fn shares_are_read_and_nonsense_is_refused() {
        assert_eq!(share("0.5%").unwrap(), 0.005);
        assert_eq!(share("0.005").unwrap(), 0.005);
        for text in ["", "%", "100%", "1", "-1%", "nan"] {
            assert_eq!(share(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
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
