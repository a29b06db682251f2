//! An emulated card for another program, natively.

use super::kept;
use super::record::Record;
use crate::cli::account;
use crate::cli::output::Output;
use crate::cli::remedy;
use crate::cli::signal::Stop;
use crate::cli::{Context, Outcome};
use crate::emu::native::{self, Ended, Machine};
use crate::emu::{Drive, Spec, Tap};
use crate::error::{Error, Kind, Result};
use crate::sys::{Roots, trace};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

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
        output.warn(remedy::line(&error));
    }
    let taps: Vec<&Tap> = (0..specs.len()).map(|card| machine.tap(card)).collect();
    taps.iter().for_each(|tap| tap.trace(record.is_some()));

    let (program, arguments) = command.split_first().ok_or_else(|| Error::new(Kind::Usage, "no program to run"))?;
    let stop = Stop::install()?;
    let mut told = false;
    let end = native::run(&machine, Command::new(program).args(arguments), |pid| {
        if let Some(record) = &mut record {
            record.append(&taps);
        }
        if let Some(signal) = stop.signal()
            && !told
        {
            told = true;
            // Gone already, at worst.
            let _ = trace::kill(pid, signal);
        }
    })?;
    report(&machine, &taps, end, &context.roots, &output)?;

    let broken = taps.iter().zip(specs).filter(|(_, spec)| spec.strict || context.global.strict);
    kept(broken.map(|(tap, _)| tap.violations().len()).sum())?;
    Ok(match end {
        Ended::Exited(code) => Outcome::Program(code as u8),
        Ended::Killed(signal) => Outcome::Signal(signal),
    })
}

fn report(machine: &Machine, taps: &[&Tap], end: Ended, roots: &Roots, output: &Output) -> Result<()> {
    let card = |tap: &&Tap| -> Value {
        let rules: Vec<Value> =
            tap.violations().into_iter().map(|(rule, n)| json!({ "rule": rule, "count": n })).collect();
        json!({
            "device": tap.name(),
            "wire": account::wire_json(&tap.wire(), &tap.wire_report()),
            "violations": rules,
        })
    };
    output.facts(
        roots,
        "emulate",
        json!({
            "cards": taps.iter().map(card).collect::<Vec<_>>(),
            "trapped": machine.traps(),
            "program": match end {
                Ended::Exited(code) => json!({ "exit": code }),
                Ended::Killed(signal) => json!({ "signal": signal }),
            },
        }),
    )?;
    for tap in taps {
        let (name, wire) = (tap.name(), tap.wire());
        output.result(format_args!(
            "{name}: sent {} frames, received {}, dropped {}, unwanted {}; {} register accesses were trapped",
            wire.tx_frames,
            wire.rx_frames,
            wire.drops,
            wire.unwanted,
            machine.traps()
        ))?;
        account::print_notes(&tap.wire_report(), output)?;
        for (rule, count) in tap.violations() {
            output.result(format_args!("{name}: violation {count:>6} x {rule}"))?;
        }
    }
    Ok(())
}
