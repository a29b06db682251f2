//! `list --watch`: what changes of the cards, as it happens.
//!
//! ```text
//!   terminal           the table, drawn again after each change
//!   anything else      the table, then a line a change
//!   --json             a document of one line a change, at last that of `list`
//! ```
//!
//! The cards are looked at once an interval; what comes and goes between two looks is not seen.

use super::{print, speed};
use crate::cli::output::Output;
use crate::cli::screen::Screen;
use crate::cli::signal::Stop;
use crate::cli::{Context, Outcome};
use crate::pci::Address;
use crate::pci::discover::{Device, Interface};
use serde_json::{Value, json};
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A card is there, or again.
    Came(Device),
    /// A card is no longer there.
    Went(Address),
    /// Another driver has a card.
    Driver(Address, Option<String>, Option<String>),
    /// An interface is there.
    Appeared(Address, Interface),
    /// An interface is no longer there.
    Disappeared(Address, String),
    /// An interface has this state and speed now; it had that state.
    Link(Address, Interface, String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |driver: &Option<String>| driver.clone().unwrap_or_else(|| "no driver".into());
        let at = |interface: &Interface| interface.speed.map_or(String::new(), |bits| format!(", {}", speed(bits)));
        match self {
            Change::Came(device) => write!(f, "{} came ({})", device.address, named(&device.driver)),
            Change::Went(address) => write!(f, "{address} went"),
            Change::Driver(address, from, to) => write!(f, "{address} driver {} (was: {})", named(to), named(from)),
            Change::Appeared(address, i) => write!(f, "{address} interface {} came ({}{})", i.name, i.state, at(i)),
            Change::Disappeared(address, name) => write!(f, "{address} interface {name} went"),
            Change::Link(address, i, from) => write!(f, "{address} link {} {}{} (was: {from})", i.name, i.state, at(i)),
        }
    }
}

impl Change {
    fn to_json(&self, elapsed: Duration) -> Value {
        let (event, address, more) = match self {
            Change::Came(device) => ("came", device.address, json!({ "driver": device.driver })),
            Change::Went(address) => ("went", *address, json!({})),
            Change::Driver(address, from, to) => ("driver", *address, json!({ "driver": to, "before": from })),
            Change::Appeared(address, i) => ("interface came", *address, link(i)),
            Change::Disappeared(address, name) => ("interface went", *address, json!({ "interface": name })),
            Change::Link(address, i, _) => ("link", *address, link(i)),
        };
        let mut line = json!({
            "elapsed_ns": elapsed.as_nanos() as u64,
            "event": event,
            "address": address.to_string(),
        });
        if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
            line.extend(more);
        }
        line
    }
}

fn link(interface: &Interface) -> Value {
    json!({
        "interface": interface.name, "state": interface.state, "speed_bits_per_second": interface.speed,
    })
}

/// What is otherwise `now` than it was `before`; both by address.
pub(super) fn changes(before: &[Device], now: &[Device]) -> Vec<Change> {
    let mut found = Vec::new();
    let gone = before.iter().filter(|was| !now.iter().any(|is| is.address == was.address));
    found.extend(gone.map(|was| Change::Went(was.address)));
    for is in now {
        let Some(was) = before.iter().find(|was| was.address == is.address && was.id == is.id) else {
            // Another card in the same place went and came.
            found.extend(before.iter().filter(|was| was.address == is.address).map(|was| Change::Went(was.address)));
            found.push(Change::Came(is.clone()));
            continue;
        };
        if was.driver != is.driver {
            found.push(Change::Driver(is.address, was.driver.clone(), is.driver.clone()));
        }
        let lost = was.interfaces.iter().filter(|w| !is.interfaces.iter().any(|i| i.name == w.name));
        found.extend(lost.map(|interface| Change::Disappeared(is.address, interface.name.clone())));
        for i in &is.interfaces {
            match was.interfaces.iter().find(|w| w.name == i.name) {
                None => found.push(Change::Appeared(is.address, i.clone())),
                Some(w) if (&w.state, w.speed) != (&i.state, i.speed) => {
                    found.push(Change::Link(is.address, i.clone(), w.state.clone()));
                }
                Some(_) => {}
            }
        }
    }
    found
}

/// Watches until Ctrl-C, or until `count` looks were taken.
pub(super) fn run(
    context: &Context,
    look: &dyn Fn() -> Vec<Device>,
    interval: Duration,
    count: Option<u64>,
) -> anyhow::Result<Outcome> {
    let mut global = context.global.clone();
    // A document that grows as long as this is watched would be read by nobody.
    (global.json, global.json_lines) = (false, global.is_json());
    let output = Output::new(&global);
    let stop = Stop::install()?;
    let drawn = !output.is_json() && Screen::stdout().has_cursor();
    let begun = Instant::now();
    let mut devices = look();
    let draw = |devices: &[Device]| -> anyhow::Result<()> {
        if drawn {
            // ECMA-48: the cursor to the top, and nothing below it.
            output.verbatim("\x1b[H\x1b[2Jchanges are drawn as they come; Ctrl-C ends this")?;
        }
        print(devices, &context.roots, &output, "list")
    };
    if !output.is_json() {
        draw(&devices)?;
    }
    let mut looks = 1;
    while count.is_none_or(|count| looks < count) && sleep(&stop, interval) {
        let now = look();
        looks += 1;
        let found = changes(&devices, &now);
        devices = now;
        if drawn && !found.is_empty() {
            draw(&devices)?;
        }
        for change in &found {
            output.interval("list", || change.to_json(begun.elapsed()))?;
            if !drawn {
                output.result(change)?;
            }
        }
    }
    if output.is_json() {
        print(&devices, &context.roots, &output, "list")?;
    }
    // Ctrl-C is how this is to end.
    Ok(Outcome::Done)
}

/// Sleeps for `interval`; false if the run is to end.
fn sleep(stop: &Stop, interval: Duration) -> bool {
    const SLICE: Duration = Duration::from_millis(50);
    let end = Instant::now() + interval;
    while !stop.requested() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(SLICE));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(address: &str, driver: Option<&str>, links: &[(&str, &str)]) -> Device {
        let interface = |&(name, state): &(&str, &str)| Interface {
            name: name.into(),
            state: state.into(),
            ..Interface::default()
        };
        Device {
            address: address.parse().unwrap(),
            driver: driver.map(str::to_string),
            interfaces: links.iter().map(interface).collect(),
            ..Device::default()
        }
    }

    fn told(before: &[Device], now: &[Device]) -> Vec<String> {
        changes(before, now).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_change_is_a_line_and_no_change_is_none() {
        let before = [
            card("03:00.0", Some("ixgbe"), &[("eth1", "up")]),
            card("03:00.1", Some("ixgbe"), &[("eth2", "up"), ("eth3", "down")]),
        ];
        assert_eq!(told(&before, &before), [""; 0]);
        let now = [card("03:00.1", Some("vfio-pci"), &[("eth3", "up")]), card("04:00.0", None, &[])];
        assert_eq!(
            told(&before, &now),
            [
                "0000:03:00.0 went",
                "0000:03:00.1 driver vfio-pci (was: ixgbe)",
                "0000:03:00.1 interface eth2 went",
                "0000:03:00.1 link eth3 up (was: down)",
                "0000:04:00.0 came (no driver)",
            ]
        );
    }

    #[test]
    fn another_card_in_the_same_place_went_and_came() {
        let before = [card("03:00.0", None, &[])];
        let mut now = before.clone();
        now[0].id.device = 0x10fb;
        assert_eq!(told(&before, &now), ["0000:03:00.0 went", "0000:03:00.0 came (no driver)"]);
    }
}
