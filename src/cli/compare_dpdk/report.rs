//! What was found, for people and for programs.

use super::child::{CONTENDERS, RING};
use super::crossings;
use super::nics::Nic;
use super::rounds::{Found, Plan, Rounds, STAGES, Spread};
use crate::cli::output::{self, Output};
use crate::cli::plot::Lines;
use crate::compare;
use crate::error::Result;
use crate::measure::Floor;
use serde_json::{Value, json};

/// What is held equal, and what it is.
pub fn equal() -> String {
    format!(
        "rings of {RING}, pools of {} buffers of 2 KiB in huge pages, 64-byte frames, one queue each way, promiscuous, no offloads; payload is touched by neither",
        compare::BUFFERS
    )
}

/// What the figures do not show.
pub const NOT_SHOWN: &str = "not shown: the time that a wire and PCIe take (a doorbell here is a store into memory, for both), cache misses of the application; TSC cycles are not core cycles";

/// Receiving and sending together.
fn sum(rounds: &Rounds) -> impl Iterator<Item = Option<f64>> + '_ {
    rounds.iter().map(|round| round.map(|[rx, tx]| rx + tx))
}

/// Ratio of two contenders, round by round.
fn ratio(ours: &Rounds, theirs: &Rounds) -> Option<Spread> {
    Spread::of(sum(ours).zip(sum(theirs)).filter_map(|(ours, theirs)| Some(ours? / theirs?)))
}

fn part(rounds: &Rounds, part: usize) -> Option<Spread> {
    Spread::of(rounds.iter().flatten().map(|round| round[part]))
}

/// Whether every figure that could be had was had.
pub fn is_whole(found: &[Found]) -> bool {
    let had = |rounds: &Rounds| rounds.iter().any(Option::is_some);
    let ours = |row: &[Rounds; CONTENDERS]| row[1..].iter().all(|rounds| rounds.is_empty() || had(rounds));
    found.iter().all(|found| found.costs.iter().flatten().all(ours))
}

fn cost(rounds: &Rounds) -> String {
    match (part(rounds, 0), part(rounds, 1)) {
        (Some(rx), Some(tx)) => format!("{:.1} ({:.1}+{:.1})", rx.median + tx.median, rx.median, tx.median),
        _ => "-".into(),
    }
}

/// Tables.
pub fn print(nic: &Nic, plan: &Plan, found: &[Found], floor: &Floor, output: &Output) -> Result<()> {
    let [best, other] = found else { return Ok(()) };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    output.result(format_args!(
        "{} (ABI {}) {} and bmnic on emu:{}{}",
        text(&best.hello["dpdk"]),
        best.hello["abi"],
        nic.pmd,
        nic.model,
        if plan.rounds == 0 { String::new() } else { format!(", in turn, {} rounds", plan.rounds) }
    ))?;
    for (way, found) in nic.ways.iter().zip(found) {
        output.result(format_args!("DPDK {}: {}", way.name, text(&found.hello["path"])))?;
    }
    let names = nic.ways.iter().map(|way| format!("DPDK {}", way.name)).collect::<Vec<_>>();
    let [first, second] = [&names[0], &names[1]];
    let against = [
        format!("bmnic / {}", nic.ways[0].name),
        format!("all / {}", nic.ways[0].name),
        format!("bmnic / {}", nic.ways[1].name),
    ];
    let heads = ["burst", first, second, "bmnic", "bmnic, all metadata", &against[0], &against[1], &against[2]];
    for (stage, name) in STAGES.iter().enumerate() {
        if best.costs[stage].iter().all(|row| row[1].is_empty()) {
            continue;
        }
        let what = if stage == 0 { "one core" } else { "card on another core" };
        output.result(format_args!("\n{name} ({what}): TSC cycles a packet, receive + send"))?;
        let mut table = output::table(&heads, 0);
        for (at, burst) in plan.bursts.iter().enumerate() {
            let ([theirs, ours, all], [scalar, beside, _]) = (&best.costs[stage][at], &other.costs[stage][at]);
            table.add_row([
                burst.to_string(),
                cost(theirs),
                cost(scalar),
                cost(ours),
                cost(all),
                Spread::text(ratio(ours, theirs), 2),
                Spread::text(ratio(all, theirs), 2),
                Spread::text(ratio(beside, scalar), 2),
            ]);
        }
        output.table(&table)?;
    }
    if !best.instructions.is_empty() {
        output.result("\ninstructions a packet, receive + send")?;
        let mut table = output::table(&heads[..5], 0);
        for (at, burst) in plan.bursts.iter().enumerate() {
            let count = |cost: Option<[f64; 2]>| {
                cost.map_or("-".into(), |[rx, tx]| format!("{:.1} ({rx:.1}+{tx:.1})", rx + tx))
            };
            let ([theirs, ours, all], [scalar, ..]) = (best.instructions[at], other.instructions[at]);
            table.add_row([burst.to_string(), count(theirs), count(scalar), count(ours), count(all)]);
        }
        output.table(&table)?;
    }
    crossings::print(nic, plan, found, output)?;
    latency(best, other, first, second, floor, output)?;
    output.info(format_args!("\nheld equal: {}", equal()))?;
    output.info(format_args!("{NOT_SHOWN}"))?;
    let noisy: [usize; 2] = [0, 1].map(|i| found.iter().map(|found| found.noisy[i]).sum());
    if noisy[1] == 0 {
        return Ok(());
    }
    output.info(format_args!("{} of {} stretches were not quiet, and are left out", noisy[0], noisy[1]))?;
    Ok(())
}

fn latency(best: &Found, other: &Found, first: &str, second: &str, floor: &Floor, output: &Output) -> Result<()> {
    if best.latency[1].is_empty() {
        return Ok(());
    }
    output
        .result("\nlatency of single packets, from before the card begins to write one to the driver's caller, ns")?;
    let mut table = output::table(&["", "p50", "p99"], 1);
    let figure = |spread| Spread::text(spread, 0);
    for (name, rounds) in [(first, &best.latency[0]), (second, &other.latency[0]), ("bmnic", &best.latency[1])] {
        table.add_row([name.to_string(), figure(part(rounds, 0)), figure(part(rounds, 1))]);
    }
    if let Some(handoff) = &floor.handoff {
        let at = |q| handoff.quantile_unchecked(q).to_string();
        table.add_row(["frame and descriptor from core to core, no card, no driver".into(), at(0.5), at(0.99)]);
    }
    output.table(&table)?;
    Ok(())
}

/// A document.
pub fn document(nic: &Nic, plan: &Plan, found: &[Found], floor: &Floor) -> Value {
    let rounds = |rounds: &Rounds| -> Value { rounds.iter().map(|round| json!(round)).collect() };
    let ways = nic.ways.iter().zip(found).map(|(way, found)| {
        let stages = STAGES.iter().zip(&found.costs).map(|(name, rows)| {
            let rows = plan.bursts.iter().zip(rows).filter(|(_, row)| !row[1].is_empty()).map(|(burst, row)| {
                json!({
                    "burst": burst,
                    "dpdk": rounds(&row[0]), "bmnic": rounds(&row[1]), "bmnic_all_metadata": rounds(&row[2]),
                    "ratio": Spread::json(ratio(&row[1], &row[0])),
                    "ratio_all_metadata": Spread::json(ratio(&row[2], &row[0])),
                })
            });
            (name.to_string(), rows.collect::<Value>())
        });
        let instructions = plan.bursts.iter().zip(&found.instructions).map(|(burst, [dpdk, bmnic, all])| {
            json!({ "burst": burst, "dpdk": dpdk, "bmnic": bmnic, "bmnic_all_metadata": all })
        });
        json!({
            "way": way.name,
            "dpdk": found.hello,
            "ticks_a_packet": stages.collect::<serde_json::Map<_, _>>(),
            "instructions_a_packet": instructions.collect::<Vec<_>>(),
            "crossings_a_packet": crossings::document(plan, found),
            "latency_ns": {
                "dpdk": rounds(&found.latency[0]), "bmnic": rounds(&found.latency[1]),
                "bmnic_all_metadata": rounds(&found.latency[2]),
            },
            "counted": found.end,
            "stretches": { "noisy": found.noisy[0], "all": found.noisy[1] },
        })
    });
    json!({
        "nic": nic.name,
        "model": nic.model,
        "pmd": nic.pmd,
        "rounds": plan.rounds,
        "held_equal": equal(),
        "not_shown": NOT_SHOWN,
        "ways": ways.collect::<Vec<_>>(),
        "floor": floor.json(),
    })
}

/// Cycles by burst of each stage, of a document.
///
/// # Errors
/// If the crate that draws cannot.
pub fn pictures(document: &Value) -> Result<Vec<String>> {
    let ways = document["ways"].as_array().map_or(&[][..], Vec::as_slice);
    let rows = |way: &Value, stage: &str| way["ticks_a_packet"][stage].as_array().cloned().unwrap_or_default();
    // Both parts together, of the round in the middle.
    let median = |rounds: &Value| {
        let parts = |round: &Value| Some(round[0].as_f64()? + round[1].as_f64()?);
        Spread::of(rounds.as_array()?.iter().filter_map(parts)).map(|spread| spread.median)
    };
    let figures = |rows: &[Value], who: &str| rows.iter().map(|row| median(&row[who])).collect::<Vec<_>>();
    let mut pictures = Vec::new();
    for stage in STAGES {
        let mut series: Vec<_> = ways
            .iter()
            .map(|way| {
                (format!("DPDK {}", way["way"].as_str().unwrap_or_default()), figures(&rows(way, stage), "dpdk"))
            })
            .collect();
        let best = ways.first().map(|way| rows(way, stage)).unwrap_or_default();
        series.push(("bmnic".into(), figures(&best, "bmnic")));
        series.push(("bmnic, all metadata".into(), figures(&best, "bmnic_all_metadata")));
        let lines = Lines {
            title: format!("Cycles a packet, {stage}: received and sent"),
            below: "packets in a burst",
            names: best.iter().map(|row| row["burst"].to_string()).collect(),
            series,
            unit: |cycles| format!("{cycles:.0}"),
        };
        pictures.extend(lines.svg()?);
    }
    Ok(pictures)
}
