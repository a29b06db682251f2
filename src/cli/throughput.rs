//! `bmnic throughput`: packets a second over frame sizes, and cycles a packet.
//!
//! One thread sends on the first port as fast as its ring takes packets and
//! receives on the last; the table says what came through, against what the
//! link could carry. With `--ndr` or `--pdr` it searches for the highest rate
//! that loses nothing, or no more than a share (RFC 2544): several times, and
//! after it has measured what the tester itself can offer; with both, or several
//! shares, in one search (RFC 9971). With `--rfc2544` it makes the other tests of
//! that RFC too. An earlier run can be laid beside this one (`--baseline`).

mod baseline;
mod bench;
mod document;
mod export;
mod options;
mod rfc;
mod row;
mod sheet;
mod size;
mod table;

pub use self::options::Args;

use self::bench::Bench;
use self::export::Form;
use self::rfc::Test;
use self::row::{Aim, Row};
use self::sheet::Sheet;
use super::account::{self, LossLimit};
use super::circuit;
use super::output::{self, Output};
use super::progress::Goal;
use super::sandbox::Keeps;
use super::units;
use super::{Context, Outcome};
use crate::driver::Config;
use crate::measure::{Clock, Machine, Noise};
use serde_json::json;
use std::time::Duration;

/// How long to wait for packets that are still out at the end of a trial.
const GRACE: Duration = Duration::from_millis(100);
/// Floods that the tester's own ceiling is the highest of, and how long each one is.
const CEILING_FLOODS: usize = 3;
const CEILING_TIME: Duration = Duration::from_millis(100);

/// Runs it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    args.check()?;
    args.export.form().option().map_or(Ok(()), |option| output.check_alone(option))?;
    // Bad paths should be known before the run, not after it.
    let baseline = args.baseline.open()?;
    let mut clock = Clock::new();
    let mut noise = Noise::begin(&context.roots, &clock, Duration::from_millis(10));

    let longest = args.sizes.iter().flat_map(size::Size::frames).max().unwrap_or(0);
    let queues = args.queues();
    let most = queues.iter().copied().max().unwrap_or(1);
    let config = Config { max_frame: longest.max(1_518) as u16, rx_queues: most, tx_queues: most, ..Config::default() };
    let config = args.lengths.of(config);
    let mut session = args.circuit.open(context, &config, None)?;
    let stop = session.stop.clone();
    session.announce(&output)?;
    args.lengths.warn_of_others(&session.devices, &output);
    session.may_send(longest)?;
    circuit::check_queues(&mut session, most.into())?;
    args.export.paths().try_for_each(|path| session.check_write(path))?;
    let files = args.export.open(baseline.as_ref())?;
    let scope = scope(&args, session.is_emulated());
    output.info(&scope[0])?;
    output.detail(&scope[1])?;

    let pool = circuit::filled_pool(&mut session, most.into())?;
    let keeps = Keeps { made: args.export.made_later(), ..Keeps::default() };
    args.sandbox.enter(keeps, &session, &context.roots, &output)?;
    let noted = session.notes();
    let (mut rows, batches) = (Vec::new(), args.batches());
    let mut failed = None;
    let each: Vec<(u16, u16)> = batches.iter().flat_map(|&batch| queues.iter().map(move |&n| (batch, n))).collect();
    let all = args.sizes.len() * each.len();
    let mut left = all;
    let steps = bench::steps(args.expected());
    let live = output.bar(Goal::Count(steps * left as u64));
    'all: for size in &args.sizes {
        for &(batch, queues) in &each {
            live.show(0, format!("{size} bytes"));
            let bench = Bench { args: &args, clock: &clock, pool: &pool, stop: &stop, batch, queues, live: &live };
            let spread = if most > 1 { circuit::spread(&mut session, queues) } else { Ok(()) };
            let measured = match spread.and_then(|()| bench.rows(size, &mut session)) {
                Ok(measured) => measured,
                Err(error) if rows.is_empty() => return Err(session.blame(error)),
                // The sizes before it were measured, and are printed.
                Err(error) => {
                    failed = Some(session.blame(error));
                    break 'all;
                }
            };
            // A flood that was cut short has a rate all the same, but not the one asked for.
            let kept = measured.into_iter().filter(|row| !stop.requested() || row.is_search());
            let before = rows.len();
            rows.extend(kept);
            left -= usize::from(rows.len() > before);
            live.reach(steps * (all - left) as u64);
            if stop.requested() {
                break 'all;
            }
        }
    }
    drop(live);

    let notes = account::notes_since(session.notes(), &noted);
    clock.refine();
    noise.end(&context.roots);
    let machine = Machine::record(&context.roots, &clock);
    let warnings = [machine.warnings(), noise.warnings()].concat();
    let tests = args.tests();
    let deviations = args.deviations();
    let result = json!({
        "measured": scope.join("; "),
        "method": method(&args),
        "batch": batches.first().filter(|_| batches.len() == 1),
        "sweep": each.len() > 1,
        "trial_ns": args.trial.as_nanos() as u64,
        "duration_sum_ns": args.goals(1.0, 1.0).map(|goals| goals.sum.as_nanos() as u64),
        "exceed": args.goals(1.0, 1.0).and_then(|goals| goals.goals.first().map(|goal| goal.exceed)),
        "runs": args.runs(),
        "loss_allowed": match args.aims()[..] {
            [aim] => Some(aim.loss()),
            _ => None,
        },
        "tests": tests.iter().map(|test| test.name()).collect::<Vec<_>>(),
        "deviations": deviations,
        "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
        "wire": account::notes_json(&notes),
        "noise": noise.json(),
        "warnings": warnings,
    });
    let mut document = output::document("throughput", &session.devices, &machine, result);
    let comparison = baseline.as_ref().map(|baseline| baseline.compare(&document));
    if let (Some(fields), Some(comparison)) = (document.as_object_mut(), &comparison) {
        fields.insert("baseline".into(), comparison.json());
    }
    let sheets = sheets(&rows, &tests, comparison.as_ref());
    // A file that cannot be written costs no table, and a reader that leaves no file.
    let written = files.write(&sheets, &document);
    match args.export.form() {
        _ if output.is_json() => output.document(&document)?,
        Form::Table => {
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
        form => export::print(form, &sheets, &output)?,
    }
    warnings.iter().for_each(|warning| output.warn(warning));
    written?;
    session.check(&output)?;
    if let Some(error) = failed {
        return Err(error);
    }
    stop.intact()?;
    if stop.outcome() == Outcome::Done && (left > 0 || !rows.iter().all(Row::is_result)) {
        return Ok(Outcome::Limit);
    }
    let limit = LossLimit::of(args.allow_loss.unwrap_or(1.0));
    let lost = rows.iter().flat_map(Row::floods).try_for_each(|flow| limit.check(flow.lost(), flow.sent));
    stop.judge(lost.and_then(|()| comparison.map_or(Ok(()), |comparison| comparison.judge())))
}

/// The tables of a run: the throughput first, if it was asked for.
fn sheets(rows: &[Row], tests: &[Test], comparison: Option<&baseline::Comparison>) -> Vec<Sheet> {
    let throughput = tests.is_empty() || tests.contains(&Test::Throughput);
    let throughput = throughput.then(|| table::sheet(rows, !tests.is_empty()));
    throughput.into_iter().chain(rfc::sheets(rows)).chain(comparison.map(baseline::Comparison::sheet)).collect()
}

/// How rates are measured, in a word.
fn method(args: &Args) -> &'static str {
    match args.aims()[..] {
        _ if args.goals(1.0, 1.0).is_some() => "mlrsearch",
        [_, ..] => "binary search",
        [] if !args.tests().is_empty() => "rfc2544",
        [] if args.is_mrr() => "mrr",
        [] => "flood",
    }
}

/// What the figures are, in a line, and what else there is to know of them.
fn scope(args: &Args, emulated: bool) -> [String; 2] {
    let unpaced = match args.flows() {
        1 => "sent as fast as the ring takes it, received by the same thread",
        _ => "sent as fast as the rings take it, received by the same thread, which serves all queues in turn",
    };
    let what = match args.aims()[..] {
        _ if !args.tests().is_empty() => {
            let names: Vec<&str> = args.tests().iter().map(|test| test.name()).collect();
            format!("{} as RFC 2544 has it", names.join(", "))
        }
        _ if args.goals(1.0, 1.0).is_some() => {
            let names: Vec<String> = args.aims().iter().map(ToString::to_string).collect();
            format!("{} in one search, {:?} of trials a rate (RFC 9971)", names.join(", "), args.duration_sum())
        }
        [] if args.is_mrr() => format!("mean of {} trials, {unpaced} (MRR)", args.runs()),
        [] => unpaced.to_string(),
        [Aim::Ndr, ..] => "highest rate without loss (NDR)".to_string(),
        [Aim::Pdr(loss), ..] => format!("highest rate with a loss of at most {} % (PDR)", units::percent(loss)),
    };
    let device =
        if emulated { "the model runs on another thread, and time on its wire is modelled" } else { "real card" };
    let cycles = "cycles are ticks of the clock inside send() and recv(), median a packet";
    [format!("measured: {what}"), format!("{device}; {cycles}")]
}
