//! Whether every packet is accounted for, over as many as are asked for: `cargo bench --bench
//! conservation -- [FAMILY|all] [PACKETS]`, a million of each family if nothing is said.
//!
//! Each family meets the scenarios of `tests/support/conservation`, of which each has its
//! share of the packets, and the account is checked at least every million. What does not add
//! up ends the run with exit code 1.

#[path = "../tests/support/conservation/mod.rs"]
mod conservation;
#[path = "../tests/common/families.rs"]
mod families;

use conservation::{SCENARIOS, run};
use families::{Card, EACH};
use std::process::ExitCode;
use std::time::Instant;

/// What comes besides what was sent: came and doubled are kept, filtered and lost.
const DOUBLED: &str = "doubled on the wire";

/// Packets between two looks at the account.
const STEP: u64 = 1_000_000;

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let start = digits.len() % 3;
    let (first, rest) = digits.split_at(start);
    let rest = rest.as_bytes().chunks(3).map(|three| String::from_utf8_lossy(three).into_owned());
    Some(first.to_string()).filter(|first| !first.is_empty()).into_iter().chain(rest).collect::<Vec<_>>().join(" ")
}

/// Prints a line: packets that came, were kept and were left out, and what took how long.
fn line(card: &Card, what: &str, [came, kept, filtered]: [u64; 3], since: Instant) {
    let [came, kept, filtered] = [came, kept, filtered].map(grouped);
    let seconds = since.elapsed().as_secs_f64();
    println!("{:<14} {what:<13} {came:>13} {kept:>13} {filtered:>13} {seconds:>8.1}", card.name);
}

/// Prints below it why these are not the same, if any packet is.
fn cause(what: &str, packets: u64) {
    if packets > 0 {
        println!("{:>16}{what:<28}{:>13}", "", grouped(packets));
    }
}

/// Plays all scenarios on a card; whether all adds up.
fn play(card: &Card, packets: u64) -> bool {
    let share = packets.div_ceil(SCENARIOS.len() as u64);
    let mut sums = [0; 5];
    let mut adds_up = true;
    let begun = Instant::now();
    for scenario in SCENARIOS {
        let start = Instant::now();
        match run(card, scenario, share, STEP) {
            Ok(account) => {
                line(card, scenario.name, [account.came, account.kept, account.filtered], start);
                account.losses().for_each(|(what, packets)| cause(what, packets));
                cause(DOUBLED, account.doubled);
                let lost = account.losses().map(|(_, packets)| packets).sum();
                let these = [account.came, account.kept, account.filtered, lost, account.doubled];
                sums.iter_mut().zip(these).for_each(|(sum, of)| *sum += of);
            }
            Err(error) => {
                println!("{:<14} {:<13} DOES NOT ADD UP: {error}", card.name, scenario.name);
                adds_up = false;
            }
        }
    }
    let [came, kept, filtered, lost, doubled] = sums;
    line(card, "all", [came, kept, filtered], begun);
    cause("lost by all causes", lost);
    cause(DOUBLED, doubled);
    println!();
    adds_up
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let family = words.next().unwrap_or_else(|| "all".into());
    let packets: u64 = match words.next().map(|word| word.replace('_', "").parse()) {
        None => 1_000_000,
        Some(Ok(packets)) => packets,
        Some(Err(_)) => {
            eprintln!("conservation: the second word is the number of packets of each family, as 1000000");
            return ExitCode::from(2);
        }
    };
    let cards: Vec<&Card> = EACH.iter().filter(|card| family == "all" || card.name == family).collect();
    if cards.is_empty() {
        let names: Vec<&str> = EACH.iter().map(|card| card.name).collect();
        eprintln!("conservation: there is no '{family}'; it is all, {}", names.join(", "));
        return ExitCode::from(2);
    }
    println!("{:<14} {:<13} {:>13} {:>13} {:>13} {:>8}", "card", "scenario", "came", "kept", "filtered", "seconds");
    let wrong = cards.into_iter().filter(|card| !play(card, packets)).count();
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
