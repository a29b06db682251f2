//! `bmnic latency --stages` and `--tx-path all`: the stages of a frame, for one way to the
//! card or for all of them side by side.
//!
//! ```text
//!   stored --> doorbell --> fetched --> on the wire --> written back --> polled
//!       the clock of an emulated card's model                        measured here
//! ```
//!
//! The card is opened once more for each way. What an emulated card notes of each frame
//! comes from the line rate and from its PCIe link ([`crate::emu::pcie::link`]), that of
//! its name or the default one: it shows how the ways differ, and is no measurement of a
//! card.

use super::asked::Case;
use super::rows::{self, GRACE};
use super::{Args, EACH};
use crate::cli::circuit;
use crate::cli::output::{self, Output};
use crate::cli::progress::Goal;
use crate::cli::remedy;
use crate::cli::session::Session;
use crate::cli::{Context, Outcome};
use crate::dma::{Batch, Pool};
use crate::driver::{Config, Description, TxPath};
use crate::emu::{Picos, Stages};
use crate::error::{Error, Kind};
use crate::measure::ping::{Empty, Ping, Plan, Report};
use crate::measure::{Clock, Machine};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// All ways, slowest first.
pub const ALL: [TxPath; 4] = [TxPath::Dma, TxPath::Push, TxPath::Pio, TxPath::Ctpio { threshold: None }];

/// What came of one way.
struct Row {
    path: TxPath,
    report: Report,
    /// Packets a second that were asked for.
    rate: f64,
    stages: Option<Reckoned>,
    /// Nanoseconds of a poll that finds nothing.
    poll: f64,
}

/// Medians of the stages of the frames that went this way, in picoseconds.
struct Reckoned {
    doorbell: Picos,
    fetch: Picos,
    wire: Picos,
    write_back: Picos,
    /// Frames that did, and that went another.
    frames: usize,
    others: usize,
}

impl Reckoned {
    /// Of `all` frames, those whose way the model calls by its name, or whichever the
    /// driver chose.
    fn of(path: TxPath, all: &[Stages]) -> Option<Reckoned> {
        let any = path == TxPath::Auto;
        let mine: Vec<_> = all.iter().filter(|stages| any || stages.path.eq_ignore_ascii_case(path.name())).collect();
        let median = |stage: fn(&Stages) -> Picos| {
            let mut times: Vec<_> = mine.iter().map(|stages| stage(stages)).collect();
            times.sort_unstable();
            times.get(times.len() / 2).copied()
        };
        Some(Reckoned {
            doorbell: median(|s| s.doorbell.saturating_sub(s.rung))?,
            fetch: median(|s| s.fetch.saturating_sub(s.doorbell))?,
            wire: median(|s| s.wire.saturating_sub(s.fetch))?,
            write_back: median(|s| s.write_back.saturating_sub(s.wire))?,
            frames: mine.len(),
            others: all.len() - mine.len(),
        })
    }

    fn sum(&self) -> Picos {
        self.doorbell + self.fetch + self.wire + self.write_back
    }
}

/// Measures those of the ways `paths` that the card has, and prints them.
pub fn compare(
    args: &Args,
    context: &Context,
    output: &Output,
    mut clock: Clock,
    paths: &[TxPath],
) -> anyhow::Result<Outcome> {
    let case = args.asked.only()?;
    let frame = case.frame();
    let html = args.files.report()?;
    let mut rows = Vec::new();
    let mut missing = Vec::new();
    let mut devices: Vec<Description> = Vec::new();
    let mut outcome = None;
    let mut emulated = false;
    let live = output.bar(Goal::Count(paths.len() as u64));
    for &path in paths {
        live.show(0, path.to_string());
        let config = Config { max_frame: frame.max(1_518) as u16, tx_path: path, ..Config::default() };
        let mut session = match args.circuit.open_with_link(context, &config, Some(EACH)) {
            Ok(session) => session,
            // A way that this card does not have is no failure, if it has another.
            Err(error) => match error.downcast::<Error>() {
                Ok(error) if !devices.is_empty() && error.kind() == Kind::Unsupported => {
                    missing.push(remedy::line(&error));
                    continue;
                }
                Ok(error) => return Err(error.into()),
                Err(error) => return Err(error),
            },
        };
        if devices.is_empty() {
            session.announce(output)?;
            session.may_send(frame)?;
            devices.clone_from(&session.devices);
            emulated = session.is_emulated();
        }
        let stop = session.stop.clone();
        match measure(args, &case, path, &mut session, &clock) {
            Ok(row) => rows.push(row),
            // The ways before it were measured, and are printed; why it was lost is told below.
            Err(_) if !rows.is_empty() && session.intact().is_err() => {}
            Err(error) => return Err(session.blame(error)),
        }
        session.check(output)?;
        live.advance(1);
        let over = stop.requested();
        outcome = Some(stop);
        if over {
            break;
        }
    }
    drop(live);
    clock.refine();
    let machine = Machine::record(&context.roots, &clock);
    let document = || {
        let result = json!({
            "measured": scope(emulated).join("; "),
            "paths": rows.iter().map(Row::json).collect::<Vec<_>>(),
            "missing": missing,
            "warnings": machine.warnings(),
        });
        output::document("latency", &devices, &machine, result)
    };
    // A file that cannot be written costs no table, and a reader that leaves no file.
    let written = html.map_or(Ok(()), |file| file.write(&document(), &[]));
    if output.is_json() {
        output.document(&document())?;
    } else {
        print(output, &rows, &missing, &machine, emulated)?;
    }
    written?;
    match outcome {
        // A limit is passed by the first way that passes it.
        Some(stop) => stop.judge(rows.iter().try_for_each(|row| args.judge(&row.report, row.rate))),
        None => Ok(Outcome::Done),
    }
}

/// What the stages are, and what is measured.
fn scope(emulated: bool) -> [&'static str; 2] {
    if emulated {
        [
            "the model's, from the time of its PCIe link (pcie=, else gen3x8) and the line rate: no card was measured",
            "poll and service are driver and model on this machine, the time of its link included",
        ]
    } else {
        ["those inside a card cannot be seen from here", "poll is the driver's, service is driver, card and wire"]
    }
}

/// Measures one way.
fn measure(args: &Args, case: &Case, path: TxPath, session: &mut Session, clock: &Clock) -> anyhow::Result<Row> {
    let stop = session.stop.clone();
    let limits = args.length.limits(Some(EACH));
    let rate = args.asked.rate(case, circuit::speed(session))?;
    let plan = Plan {
        frame: case.frame(),
        rate,
        load: None,
        count: limits.count,
        duration: limits.duration,
        warm_up: args.warmup,
        grace: GRACE,
        raw: 0,
        addresses: circuit::addresses(session),
    };
    let pool = circuit::filled_pool(session, 1)?;
    let stages = Reckoned::of(path, &one_by_one(session, &pool, plan.frame));
    let report = circuit::run(session, Ping::new(clock, &pool, plan, || stop.requested())?)?;
    session.intact()?;
    if report.stuck {
        return Err(rows::no_room(&session.devices[0]).into());
    }
    if report.received() == 0 && stop.signal().is_none() {
        return Err(args.circuit.nothing_came(&session.devices, report.sent).into());
    }
    Ok(Row { path, report, rate, stages, poll: circuit::run(session, Empty::new(clock, &pool)?)?.poll })
}

/// The stages of frames that are sent one by one, each when the last has
/// arrived and been reported: so that none waits for another.
fn one_by_one(session: &mut Session, pool: &Pool, len: usize) -> Vec<Stages> {
    const FRAMES: usize = 200;
    const PATIENCE: Duration = Duration::from_millis(200);
    let [from, to] = circuit::addresses(session);
    if !session.note_stages() {
        return Vec::new();
    }
    let deadline = Instant::now() + PATIENCE * 10;
    for _ in 0..FRAMES {
        let (tx, rx) = match &mut session.ports[..] {
            [port] => (port.tx.first_mut(), port.rx.first_mut()),
            [sender, .., receiver] => (sender.tx.first_mut(), receiver.rx.first_mut()),
            [] => (None, None),
        };
        let (Some(tx), Some(rx)) = (tx, rx) else { break };
        let mut batch = Batch::new(pool);
        let Some(frame) = batch.push(len) else { break };
        frame.fill(0);
        frame[..14].copy_from_slice(&[&to[..], &from[..], &[0x88, 0xb5]].concat());
        let mut out = tx.send(&mut batch);
        batch.clear();
        let late = Instant::now() + PATIENCE;
        while (out > 0 || tx.reclaim(pool) > 0) && Instant::now() < late {
            out = out.saturating_sub(rx.recv(&mut batch));
            batch.clear();
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    session.take_stages()
}

impl Row {
    fn json(&self) -> Value {
        let ns = |picos: Picos| picos as f64 / 1e3;
        json!({
            "path": self.path.to_string(),
            "model_stages_ns": self.stages.as_ref().map(|stages| json!({
                "doorbell": ns(stages.doorbell),
                "fetch": ns(stages.fetch),
                "wire": ns(stages.wire),
                "write_back": ns(stages.write_back),
                "sum": ns(stages.sum()),
                "frames": stages.frames,
                "frames_another_way": stages.others,
            })),
            "poll_ns": self.poll,
            "service_p50_ns": self.report.service.quantile(0.5),
            "service_p99_ns": self.report.service.quantile(0.99),
            "sent": self.report.sent,
            "lost": self.report.lost,
        })
    }
}

fn print(output: &Output, rows: &[Row], missing: &[String], machine: &Machine, emulated: bool) -> anyhow::Result<()> {
    let [stages, measured] = scope(emulated);
    output.info(format_args!("measured: {measured}"))?;
    output.info(format_args!("stages: {stages}"))?;
    output.info(format_args!("machine: {machine}"))?;
    output.info("")?;
    let reckoned: &[&str] =
        if emulated { &["to doorbell", "to fetched", "to wire", "to written back", "sum"] } else { &[] };
    let headers = [&["ns"], reckoned, &["poll", "service p50", "p99", "sent", "lost"]].concat();
    let mut table = output::table(&headers, 1);
    for row in rows {
        let stage = |pick: &fn(&Reckoned) -> Picos| {
            let ns = row.stages.as_ref().map(|stages| pick(stages) as f64 / 1e3);
            ns.map_or("-".into(), |ns| format!("{ns:.0}"))
        };
        let picks: [fn(&Reckoned) -> Picos; 5] =
            [|s| s.doorbell, |s| s.fetch, |s| s.wire, |s| s.write_back, Reckoned::sum];
        let stages = picks.iter().map(stage).take(reckoned.len());
        let quantile = |q| row.report.service.quantile(q).map_or("-".into(), output::grouped);
        let measured = [
            format!("{:.1}", row.poll),
            quantile(0.5),
            quantile(0.99),
            output::grouped(row.report.sent),
            output::grouped(row.report.lost),
        ];
        table.add_row([row.path.to_string()].into_iter().chain(stages).chain(measured));
    }
    output.table(&table)?;
    for row in rows {
        if let Some(stages) = row.stages.as_ref().filter(|stages| stages.others > 0) {
            let (others, all) = (stages.others, stages.others + stages.frames);
            output.info(format_args!("{}: {others} of {all} frames went another way", row.path))?;
        }
    }
    for reason in missing {
        output.info(reason)?;
    }
    for warning in machine.warnings() {
        output.warn(warning);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_medians_of_the_frames_that_went_this_way() {
        let frame = |path, fetch, wire| Stages { path, rung: 990, doorbell: 1000, fetch, wire, write_back: wire + 5 };
        let all = [frame("CTPIO", 1000, 1060), frame("CTPIO", 1000, 1080), frame("DMA", 9000, 9060)];
        let reckoned = Reckoned::of(TxPath::Ctpio { threshold: None }, &all).unwrap();
        assert_eq!((reckoned.doorbell, reckoned.fetch, reckoned.wire, reckoned.write_back), (10, 0, 80, 5));
        assert_eq!((reckoned.frames, reckoned.others, reckoned.sum()), (2, 1, 95));
        let chosen = Reckoned::of(TxPath::Auto, &all).unwrap();
        assert_eq!((chosen.frames, chosen.others), (3, 0));
        assert!(Reckoned::of(TxPath::Pio, &all).is_none());
    }
}
