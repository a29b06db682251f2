//! An emulated card for another program, natively.

use super::record::Record;
use crate::cli::output::Output;
use crate::cli::signal::Stop;
use crate::cli::{Context, Outcome};
use crate::emu::native::{self, Ended, Machine, Tracer};
use crate::emu::{Drive, Spec, Tap};
use crate::error::{Error, Kind, Result};
use crate::sys::trace;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How often the machine is looked after while the program touches no register.
const ROUND: Duration = Duration::from_millis(1);

/// Runs `command` on this machine with the cards `specs` instead of its own, and
/// then says what passed and what its driver did wrong, on standard error:
/// standard output is the program's.
pub fn run(specs: &[Spec], command: &[String], trace: Option<&Path>, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global).on_stderr();
    let mut record = trace.map(Record::create).transpose()?;
    let machine = Machine::enter(Drive::Thread, specs)?;
    for (address, spec) in machine.addresses().zip(specs) {
        output.info(format_args!("emu:{spec} is {address}, in place of all devices of this machine"))?;
    }
    if let Err(error) = native::require_huge_pages(&context.roots, 1) {
        output.warn(error);
    }
    let taps: Vec<&Tap> = (0..specs.len()).map(|card| machine.tap(card)).collect();
    taps.iter().for_each(|tap| tap.trace(record.is_some()));

    let (program, arguments) = command.split_first().ok_or_else(|| Error::new(Kind::Usage, "no program to run"))?;
    let stop = Stop::install()?;
    let ended = AtomicBool::new(false);
    let end = thread::scope(|scope| {
        // The program belongs to this thread; it must be the one that watches it.
        let mut tracer = Tracer::start(&machine, Command::new(program).args(arguments))?;
        let (pid, record) = (tracer.pid(), &mut record);
        let (machine, taps, stop, ended) = (&machine, &taps, &stop, &ended);
        scope.spawn(move || tend(machine, taps, record, stop, pid, ended));
        let end = tracer.run();
        ended.store(true, Ordering::Relaxed);
        end
    })?;
    report(&machine, &taps, end, &output)?;

    let rules: usize = taps.iter().map(|tap| tap.violations().len()).sum();
    if context.global.strict && rules > 0 {
        let what = format!("the program's driver broke {rules} rules of the card; they are listed above");
        return Err(Error::new(Kind::Device, what).into());
    }
    Ok(match end {
        Ended::Exited(code) => Outcome::Program(code as u8),
        Ended::Killed(signal) => Outcome::Signal(signal),
    })
}

/// Looks after the machine until the program has ended, and passes on a signal
/// to end.
fn tend(machine: &Machine, taps: &[&Tap], record: &mut Option<Record>, stop: &Stop, pid: i32, ended: &AtomicBool) {
    let mut told = false;
    while !ended.load(Ordering::Relaxed) {
        thread::sleep(ROUND);
        // What fails here is a violation of the card's when it matters.
        let _ = machine.tend();
        if let Some(record) = record.as_mut() {
            record.append(taps);
        }
        if let Some(signal) = stop.signal()
            && !told
        {
            told = true;
            // Gone already, at worst.
            let _ = trace::kill(pid, signal);
        }
    }
    if let Some(record) = record.as_mut() {
        record.append(taps);
    }
}

fn report(machine: &Machine, taps: &[&Tap], end: Ended, output: &Output) -> Result<()> {
    let card = |tap: &&Tap| -> Value {
        let wire = tap.wire();
        let rules: Vec<Value> =
            tap.violations().into_iter().map(|(rule, n)| json!({ "rule": rule, "count": n })).collect();
        json!({
            "device": tap.name(),
            "wire": {
                "tx_frames": wire.tx_frames, "tx_bytes": wire.tx_bytes,
                "rx_frames": wire.rx_frames, "rx_bytes": wire.rx_bytes, "drops": wire.drops,
            },
            "violations": rules,
        })
    };
    output.document(&json!({
        "command": "emulate",
        "cards": taps.iter().map(card).collect::<Vec<_>>(),
        "trapped": machine.traps(),
        "program": match end {
            Ended::Exited(code) => json!({ "exit": code }),
            Ended::Killed(signal) => json!({ "signal": signal }),
        },
    }))?;
    for tap in taps {
        let (name, wire) = (tap.name(), tap.wire());
        output.result(format_args!(
            "{name}: sent {} frames, received {}, dropped {}; {} register accesses were trapped",
            wire.tx_frames,
            wire.rx_frames,
            wire.drops,
            machine.traps()
        ))?;
        for (rule, count) in tap.violations() {
            output.result(format_args!("{name}: violation {count:>6} x {rule}"))?;
        }
    }
    Ok(())
}
