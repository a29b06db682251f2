//! Cards that may stand at a place: those of this machine, the emulated ones and their options,
//! and interfaces of the kernel.

use super::super::emulate::{OPTIONS, WIRES};
use super::Candidate;
use crate::driver;
use crate::emu;
use crate::pci::discover;
use crate::sys::Roots;
use clap::{Arg, Command};
use std::fs;

/// Which cards a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cards {
    All,
    /// None that stay the kernel's.
    Driven,
    /// Those of the machine.
    Real,
    Emulated,
    /// Emulated ones, without `emu:` before them.
    Models,
}

/// Which `argument` takes, if it is a card.
pub fn of(command: &Command, argument: &Arg) -> Option<Cards> {
    let named = argument.get_value_names().unwrap_or_default();
    match (command.get_name(), named.first()?.as_str()) {
        ("emulate", "CARD") => Some(Cards::Models),
        ("demo", "CARD") => Some(Cards::Emulated),
        ("bind" | "doctor" | "tune" | "compare-dpdk", "DEV") => Some(Cards::Real),
        ("check", "DEV") => Some(Cards::Driven),
        ("fwd", "PORT") | (_, "DEV" | "DEV|FILE|EXPRESSION") => Some(Cards::All),
        _ => None,
    }
}

/// Cards of which one may begin as `word`: at least those that do.
pub fn candidates(roots: &Roots, which: Cards, word: &str) -> Vec<Candidate> {
    let prefix = if which == Cards::Models { "" } else { "emu:" };
    if let Some(spec) = word.strip_prefix(prefix).filter(|_| which != Cards::Real)
        && let Some((first, last)) = spec.rsplit_once(',')
    {
        let so_far = format!("{prefix}{first},");
        return options(roots, first, last).map(|(option, what)| (so_far.clone() + &option, what)).collect();
    }
    let mut all = Vec::new();
    if matches!(which, Cards::All | Cards::Driven | Cards::Real) {
        all = of_the_machine(roots, word);
    }
    if which == Cards::All {
        for name in interfaces(roots) {
            all.push((format!("packet:{name}"), "interface that the kernel keeps".into()));
            all.push((format!("xdp:{name}"), "interface by AF_XDP".into()));
        }
    }
    if which != Cards::Real {
        all.extend(emu::models().map(|model| (format!("{prefix}{}", model.profile.name), model.text.to_string())));
    }
    all
}

/// The network cards, by the short form of their address where the word begins so.
fn of_the_machine(roots: &Roots, word: &str) -> Vec<Candidate> {
    let cards = discover::network(roots).into_iter().map(|card| {
        let whole = card.address.to_string();
        let short = whole.strip_prefix("0000:").filter(|short| !word.is_empty() && short.starts_with(word));
        let of = card.driver.as_deref().unwrap_or("no driver");
        let ours = driver::driver_for(card.id).map_or(String::new(), |ours| format!(", {ours} of bmnic"));
        (short.unwrap_or(&whole).to_string(), format!("{}: {of}{ours}", card.interface_names()))
    });
    cards.collect()
}

/// The kernel's interfaces, in the order of their names.
fn interfaces(roots: &Roots) -> Vec<String> {
    let entries = fs::read_dir(roots.sys.join("class/net")).into_iter().flatten().flatten();
    // Beside them there may be a file, bonding_masters.
    let entries = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// What may stand behind the last comma of an emulated card.
fn options(roots: &Roots, first: &str, last: &str) -> Box<dyn Iterator<Item = Candidate>> {
    let model = first.split(',').next().unwrap_or_default().to_string();
    match last.split_once('=') {
        Some(("wire", wire)) if wire.starts_with("packet:") => {
            let named = interfaces(roots).into_iter().map(|name| format!("wire=packet:{name}"));
            Box::new(named.map(|wire| (wire, "interface of the kernel".to_string())))
        }
        Some(("wire", _)) => Box::new(WIRES.iter().map(|wire| {
            // What is to be named stands there in capitals.
            let name = wire.name.trim_end_matches(|letter: char| letter.is_ascii_uppercase());
            (format!("wire={name}"), wire.text.to_string())
        })),
        Some(("fault", _)) => {
            let faults = emu::models().filter(move |info| info.profile.name == model).flat_map(emu::ModelInfo::faults);
            Box::new(faults.map(|fault| (format!("fault={}", fault.name()), fault.text().to_string())))
        }
        Some(_) => Box::new(std::iter::empty()),
        None => {
            let given: Vec<String> = first
                .split(',')
                .skip(1)
                .map(|option| option.split('=').next().unwrap_or_default().to_string())
                .collect();
            let left = OPTIONS
                .iter()
                .filter(move |option| !given.iter().any(|given| option.name.trim_end_matches('=') == given));
            Box::new(left.map(|option| (option.name.to_string(), option.text.to_string())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What can be said in place of `word` on a machine without cards.
    fn said(word: &str) -> Vec<String> {
        let nowhere = tempfile::tempdir().unwrap();
        let all = candidates(&Roots::under(nowhere.path()), Cards::All, word).into_iter();
        all.map(|(candidate, _)| candidate).filter(|candidate| candidate.starts_with(word)).collect()
    }

    #[test]
    fn every_card_and_option_that_is_offered_is_one() {
        for card in said("emu:") {
            card.strip_prefix("emu:").unwrap().parse::<emu::Spec>().unwrap_or_else(|error| panic!("{card}: {error}"));
        }
        assert_eq!(said("emu:82599,wi"), ["emu:82599,wire="]);
        assert_eq!(said("emu:82599,wire=pc"), ["emu:82599,wire=pcap:"]);
        assert_eq!(said("emu:82599,queues=2,fault=rx-d"), ["emu:82599,queues=2,fault=rx-dup"]);
        assert!(said("emu:82599,nasty,").iter().all(|card| !card.ends_with(",nasty")), "given once is enough");
        assert!(said("emu:82599,queues=").is_empty());
    }
}
