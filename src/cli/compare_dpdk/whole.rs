//! The comparison of whole programs: each in turn, alone, on the same card.

use super::child::RING;
use super::programs::{self, BURST, Job, PROGRAMS, Program, Said};
use super::rounds::Spread;
use super::seat::{self, Counted};
use super::{Args, nics};
use crate::cli::html;
use crate::cli::output::{self, Output};
use crate::cli::progress::Goal;
use crate::cli::{Context, Outcome};
use crate::emu::{Spec, native};
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Machine};
use crate::pci::{discover, guard};
use crate::sys;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// What is held equal.
fn equal() -> String {
    format!(
        "held equal: the card, rings of {RING}, bursts of up to {BURST}, frames of 64 bytes, one queue each way, no offloads, one core that polls"
    )
}

/// The shortest time that a turn is measured for.
const SHORTEST: Duration = Duration::from_millis(100);

/// How the figures are to be read.
const READING: &str = "cycles of the time-stamp counter, in bursts that had packets: a program that is faster than the card finds fewer packets at a time, and each takes more; without --testpmd and --pci drivers are compared at equal bursts";

/// Where the programs run.
enum Place {
    /// A model, and what DPDK's driver is to be told.
    Emulated(Box<Spec>, &'static str),
    /// A card, by its address.
    Real(String),
}

/// A turn of a program.
#[derive(Debug, Default)]
struct Figures {
    said: Said,
    counted: Option<Counted>,
}

/// What a program did in each round.
type Turns = Vec<Figures>;

/// Compares testpmd and bmnic on an emulated card.
pub fn emulated(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let nic = nics::find(&args.nic)?;
    if !nic.whole {
        let what = format!(
            "--testpmd cannot run on an emulated {}: its queues share doorbells, and to trap each store there takes longer than a packet; without --testpmd the drivers are compared",
            nic.name
        );
        return Err(Error::new(Kind::Unsupported, what).into());
    }
    programs::require_testpmd()?;
    let spec = format!("{},wire=source", nic.model).parse()?;
    compare(args, context, &Place::Emulated(Box::new(spec), nic.ways[0].arguments), &[Job::Forward])
}

/// Compares them on a card of this machine.
pub fn real(name: &str, args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let device = discover::find(&context.roots, name)?;
    let address = device.address.to_string();
    match device.driver.as_deref() {
        Some(driver) if guard::is_user_space(driver) => {}
        driver => {
            let has = driver.map_or("no driver has it".into(), |driver| format!("the kernel's {driver} has it"));
            let what = format!(
                "{address}: {has}, and DPDK takes cards from vfio-pci only; give it up first with `sudo bmnic bind {address}`"
            );
            return Err(Error::new(Kind::Refused, what).into());
        }
    }
    programs::require_testpmd()?;
    compare(args, context, &Place::Real(address), &[Job::Send, Job::Forward])
}

fn compare(args: &Args, context: &Context, place: &Place, jobs: &[Job]) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    if args.duration < SHORTEST {
        let what = "--duration must be 100ms at least: in less, programs have sent too little to be measured";
        return Err(Error::new(Kind::Usage, what).into());
    }
    if args.rounds == 0 {
        let what = "--rounds must be 1 at least: whole programs are timed, and nothing of them is counted without";
        return Err(Error::new(Kind::Usage, what).into());
    }
    let html = html::Report::make(args.html.as_deref())?;
    native::require_huge_pages(&context.roots, programs::PAGES)?;
    let cpus = sys::affinity().map_err(|e| Error::io("asking where this process may run", e))?;
    let cpus = &cpus[..cpus.len().min(2)];
    let live = output.bar(Goal::Count((usize::from(args.rounds) * jobs.len() * PROGRAMS.len()) as u64));
    let mut found: Vec<(Job, [Turns; 2])> = jobs.iter().map(|&job| (job, Default::default())).collect();
    for round in 0..usize::from(args.rounds) {
        for (job, turns) in &mut found {
            for (program, turns) in PROGRAMS.into_iter().zip(turns) {
                live.show(0, format!("round {} of {}: {}", round + 1, args.rounds, program.name(*job)));
                turns.push(turn(program, *job, place, args, cpus)?);
                live.advance(1);
            }
        }
    }
    drop(live);
    let device = match place {
        Place::Emulated(spec, _) => format!("emu:{spec}"),
        Place::Real(address) => address.clone(),
    };
    let machine = Machine::record(&context.roots, &Clock::new());
    let document = output::document("compare-dpdk", &[], &machine, document(&device, args, &found));
    if let Some(file) = html {
        file.write(&document, &[])?;
    }
    if output.is_json() {
        output.document(&document)?;
        return Ok(Outcome::Done);
    }
    print(&device, args, &found, &output)?;
    Ok(Outcome::Done)
}

fn turn(program: Program, job: Job, place: &Place, args: &Args, cpus: &[usize]) -> Result<Figures> {
    let turn = match place {
        Place::Emulated(spec, arguments) => {
            let make = |address: &str| program.command(job, address, arguments, cpus);
            seat::emulated(spec, args.duration, make, || program.sent(Path::new(native::RUNTIME)))
        }
        Place::Real(address) => seat::real(program.command(job, address, "", cpus), args.duration),
    };
    let named = |e: Error| e.of(program.name(job));
    let turn = turn.map_err(named)?;
    let all = if program == Program::Testpmd { turn.errors + &turn.output } else { turn.output };
    let said = program
        .understand(job, &all)
        .ok_or_else(|| named(Error::new(Kind::Device, "what it said at its end is not understood".to_string())))?;
    Ok(Figures { said, counted: turn.counted })
}

/// Millions of packets sent in a second, by the card if it is emulated.
fn by_card(turn: &Figures) -> Option<f64> {
    turn.counted.map(|counted| counted.sent as f64 / counted.seconds / 1e6)
}

/// The same, otherwise as the program says.
fn mpps(turn: &Figures) -> Option<f64> {
    by_card(turn).or_else(|| own_mpps(turn))
}

fn cycles(turn: &Figures) -> Option<f64> {
    turn.said.cycles
}

fn burst(turn: &Figures) -> Option<f64> {
    turn.said.burst
}

/// Millions of packets sent in a second, by the program's own driver.
fn own_mpps(turn: &Figures) -> Option<f64> {
    let by_telemetry = turn.counted.and_then(|counted| Some(counted.said_sent? as f64 / counted.seconds / 1e6));
    by_telemetry.or(turn.said.mpps)
}

/// Share of what a program was given that it did not send.
fn lost(turn: &Figures) -> Option<f64> {
    let counted = turn.counted.filter(|counted| counted.received > 0)?;
    Some(100.0 * counted.received.saturating_sub(counted.sent) as f64 / counted.received as f64)
}

fn spread(turns: &Turns, of: fn(&Figures) -> Option<f64>) -> Option<Spread> {
    Spread::of(turns.iter().filter_map(of))
}

/// Ratio of ours to theirs, round by round.
fn ratio([theirs, ours]: &[Turns; 2], of: fn(&Figures) -> Option<f64>) -> Option<Spread> {
    Spread::of(ours.iter().zip(theirs).filter_map(|(ours, theirs)| Some(of(ours)? / of(theirs).filter(|n| *n > 0.0)?)))
}

fn print(device: &str, args: &Args, found: &[(Job, [Turns; 2])], output: &Output) -> Result<()> {
    let version = |turns: &Turns| turns.first().and_then(|turn| turn.said.version.clone()).unwrap_or("?".into());
    if let Some((_, [theirs, ours])) = found.first() {
        output.result(format_args!(
            "{} and {} in turn, each alone, on {device}: {} rounds of {:.1} s",
            version(theirs),
            version(ours),
            args.rounds,
            args.duration.as_secs_f64()
        ))?;
    }
    let by = if device.starts_with("emu:") { "Mpps, by the card" } else { "Mpps, by its own count" };
    let mut table =
        output::table(&["", by, "% received and not sent", "cycles/packet, by its own count", "packets/burst"], 1);
    for (job, turns) in found {
        for (program, turns) in PROGRAMS.into_iter().zip(turns) {
            table.add_row([
                program.name(*job).to_string(),
                Spread::text(spread(turns, by_card), 3),
                Spread::text(spread(turns, own_mpps), 3),
                Spread::text(spread(turns, lost), 1),
                Spread::text(spread(turns, cycles), 1),
                Spread::text(spread(turns, burst), 1),
            ]);
        }
        let [rate, own, cost] = [by_card, own_mpps, cycles].map(|of| Spread::text(ratio(turns, of), 2));
        table.add_row(["bmnic / testpmd".to_string(), rate, own, String::new(), cost, String::new()]);
    }
    output.table(&table)?;
    output.info(format_args!("\n{}", equal()))?;
    output.info(format_args!("{READING}"))?;
    for (_, turns) in found.iter().filter(|(job, _)| *job == Job::Forward) {
        if let Some(warning) = idle(turns) {
            output.warn(warning);
        }
    }
    Ok(())
}

/// What there is to say where a program forwarded nothing, by its median.
fn idle(turns: &[Turns; 2]) -> Option<String> {
    let idle = |turns: &Turns| spread(turns, mpps).is_none_or(|spread| spread.median < 1e-6);
    let names = PROGRAMS.map(|program| program.name(Job::Forward));
    let (which, other) = match [idle(&turns[0]), idle(&turns[1])] {
        [false, false] => return None,
        [true, true] => {
            let all = "nothing came in by the card, so nothing was forwarded: send it traffic from another port";
            return Some(all.into());
        }
        [true, false] => (0, 1),
        [false, true] => (1, 0),
    };
    let (which, other) = (names[which], names[other]);
    Some(format!("{which} forwarded nothing, {other} did: what {which} says when it runs alone may tell why"))
}

fn document(device: &str, args: &Args, found: &[(Job, [Turns; 2])]) -> Value {
    let turn = |turn: &Figures| {
        json!({
            "pps": mpps(turn).map(|rate| rate * 1e6),
            "own_pps": own_mpps(turn).map(|rate| rate * 1e6),
            "cycles_per_packet": turn.said.cycles,
            "packets_per_burst": turn.said.burst,
            "version": turn.said.version,
            "card": turn.counted.map(|c| json!({ "elapsed_ns": (c.seconds * 1e9).round(), "received": c.received, "sent": c.sent })),
            "telemetry_sent": turn.counted.and_then(|counted| counted.said_sent),
        })
    };
    let jobs = found.iter().map(|(job, turns)| {
        let programs = PROGRAMS.into_iter().zip(turns).map(|(program, turns)| {
            json!({ "program": program.name(*job), "rounds": turns.iter().map(turn).collect::<Vec<_>>() })
        });
        json!({
            "programs": programs.collect::<Vec<_>>(),
            "ratio_pps": Spread::json(ratio(turns, mpps)),
            "ratio_cycles_per_packet": Spread::json(ratio(turns, cycles)),
        })
    });
    json!({
        "device": device,
        "rounds": args.rounds,
        "duration_ns": output::ns(args.duration),
        "held_equal": equal(),
        "reading": READING,
        "jobs": jobs.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(sent: u64) -> Turns {
        let counted = Counted { seconds: 1.0, received: 1_000, sent, said_sent: None };
        vec![Figures { counted: Some(counted), ..Figures::default() }]
    }

    #[test]
    fn a_program_that_forwarded_nothing_is_named() {
        assert_eq!(idle(&[turns(1_000), turns(900)]), None);
        assert!(idle(&[turns(0), turns(0)]).unwrap().starts_with("nothing came in"));
        let [theirs, ours] = PROGRAMS.map(|program| program.name(Job::Forward));
        assert!(idle(&[turns(0), turns(900)]).unwrap().starts_with(&format!("{theirs} forwarded nothing, {ours} did")));
        assert!(idle(&[turns(900), turns(0)]).unwrap().starts_with(&format!("{ours} forwarded nothing, {theirs} did")));
    }
}
