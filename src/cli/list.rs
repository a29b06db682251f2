//! `bmnic list`: the cards of this machine and what can be done with them.
//!
//! It works as any user and changes nothing. The same facts go into the table
//! and into the JSON document; [`row`] makes them once for both.

mod watch;

use super::{Context, Outcome, output, units};
use crate::driver;
use crate::error::{Error, Kind};
use crate::pci::discover::{self, Device};
use crate::pci::guard::{self, Machine, Use};
use crate::pci::{Address, Id};
use crate::sys::Roots;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

/// Arguments of `bmnic list`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Show every PCI function, not network cards alone
    #[arg(short, long)]
    pub all: bool,
    /// Go on, and show what changes: cards, drivers, interfaces, links
    ///
    /// On a terminal the table is drawn again; elsewhere each change is a line, with --json or
    /// --json-lines a document of one line. It ends on Ctrl-C, with exit code 0.
    #[arg(long)]
    pub watch: bool,
    /// With --watch: end after so many looks, the first included
    #[arg(short, long, value_name = "N")]
    pub count: Option<u64>,
    /// With --watch: time between two looks (1s)
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub interval: Option<Duration>,
}

/// Runs it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    let look = || if args.all { discover::all(&context.roots) } else { discover::network(&context.roots) };
    if args.watch {
        return watch::run(context, &look, args.interval.unwrap_or(Duration::from_secs(1)), args.count);
    }
    let given = |option: &str, is: bool| is && !context.taken.has(option);
    if given("count", args.count.is_some()) || given("interval", args.interval.is_some()) {
        let text = "--count and --interval are of --watch, without which the cards are looked at once; add it";
        return Err(Error::new(Kind::Usage, text).into());
    }
    print(&look(), &context.roots, &output::Output::new(&context.global), "list")?;
    Ok(Outcome::Done)
}

/// Prints `devices` as a table or a document; `bind --status` does the same.
pub(super) fn print(devices: &[Device], roots: &Roots, out: &output::Output, command: &str) -> anyhow::Result<()> {
    let ssh = std::env::var("SSH_CONNECTION").ok();
    let machine = Machine::read(roots, ssh.as_deref());
    let names = Names::read();
    let rows: Vec<Row> = devices.iter().map(|device| row(roots, &machine, &names, device)).collect();
    let cards: Vec<Value> = rows.iter().map(|row| row.to_json(roots)).collect();
    out.facts(roots, command, json!({ "devices": cards, "emulated": "emu:82599" }))?;
    if rows.is_empty() {
        out.result("this machine has no PCI network card")?;
    } else {
        out.table(&table(&rows))?;
    }
    let interfaces = devices.iter().flat_map(|device| &device.interfaces).filter(|_| out.verbosity() > 0);
    for name in interfaces.map(|interface| &interface.name) {
        let others = discover::altnames(roots, name);
        if !others.is_empty() {
            out.detail(format_args!("{name}: also called {}", others.join(", ")))?;
        }
    }
    for row in rows.iter().filter(|row| !row.companions.is_empty()) {
        let also: Vec<String> = row.companions.iter().map(ToString::to_string).collect();
        out.detail(format_args!("{}: its IOMMU group also holds {}", row.device.address, also.join(", ")))?;
    }
    if !rows.iter().any(|row| row.bmnic.is_some()) {
        out.info(
            "no card here has a driver of bmnic; an emulated one always works: `bmnic fwd`, `bmnic emulate --list`",
        )?;
    }
    Ok(())
}

/// What is known of one card.
struct Row<'d> {
    device: &'d Device,
    name: String,
    /// bmnic's driver for it.
    bmnic: Option<&'static str>,
    uses: Vec<Use>,
    /// Who else is in its IOMMU group.
    companions: Vec<Address>,
}

fn row<'d>(roots: &Roots, machine: &Machine, names: &Names, device: &'d Device) -> Row<'d> {
    // Only cards in VFIO's hands are looked for in open files: that takes time.
    let given_away = device.driver.as_deref().is_some_and(guard::is_user_space);
    let mut uses = if given_away { guard::holders(roots, device) } else { Vec::new() };
    uses.extend(machine.uses(device));
    let mut companions = device.iommu_group.map_or_else(Vec::new, |group| discover::group_addresses(roots, group));
    companions.retain(|address| *address != device.address);
    Row { device, name: names.name(device.id), bmnic: driver::driver_for(device.id), uses, companions }
}

impl Row<'_> {
    fn to_json(&self, roots: &Roots) -> Value {
        let d = self.device;
        let interfaces: Vec<Value> = d
            .interfaces
            .iter()
            .map(|i| {
                json!({
                    "name": i.name, "altnames": discover::altnames(roots, &i.name), "mac": i.mac, "state": i.state,
                    "speed_bits_per_second": i.speed,
                })
            })
            .collect();
        let pcie = d.pcie.as_ref().map(|p| {
            json!({
                "speed": p.speed, "width": p.width,
                "max_speed": p.max_speed, "max_width": p.max_width, "degraded": p.degraded(),
            })
        });
        json!({
            "address": d.address.to_string(),
            "kind": "pci",
            "id": format!("{:04x}:{:04x}", d.id.vendor, d.id.device),
            "class": format!("{:06x}", d.class),
            "name": self.name,
            "driver": d.driver,
            "interfaces": interfaces,
            "numa_node": d.numa_node,
            "iommu_group": d.iommu_group,
            "iommu_group_also": self.companions.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "pcie": pcie,
            "physical_function": d.physical_function.map(|a| a.to_string()),
            "virtual_functions": d.virtual_functions.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "bmnic_driver": self.bmnic,
            "in_use": d.is_network().then_some(!self.uses.is_empty()),
            "uses": self.uses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}

fn table(rows: &[Row<'_>]) -> super::table::Table {
    let head = ["ADDRESS", "CARD", "DRIVER", "INTERFACE", "LINK", "SPEED", "PCIE", "NUMA", "GROUP", "BMNIC", "IN USE"];
    let mut table = output::table(&head, head.len());
    for row in rows {
        let d = row.device;
        let each = |fact: &dyn Fn(&discover::Interface) -> String| {
            let facts: Vec<String> = d.interfaces.iter().map(fact).collect();
            if facts.is_empty() { "-".to_string() } else { facts.join(", ") }
        };
        // A slot too narrow or too old: what the card could do stands behind.
        let pcie = d.pcie.as_ref().map(|p| {
            let now = format!("x{} {}", p.width, p.speed);
            if p.degraded() { format!("{now} (of x{} {})", p.max_width, p.max_speed) } else { now }
        });
        let more = if row.uses.len() > 1 { format!(" +{}", row.uses.len() - 1) } else { String::new() };
        table.add_row([
            d.address.to_string(),
            row.name.clone(),
            or_dash(d.driver.clone()),
            each(&|i| i.name.clone()),
            each(&|i| i.state.clone()),
            each(&|i| i.speed.map_or("-".into(), speed)),
            or_dash(pcie),
            or_dash(d.numa_node),
            or_dash(d.iommu_group),
            or_dash(row.bmnic),
            match row.uses.first() {
                Some(first) => format!("{}{more}", first.word()),
                // Of a disk nothing is known here.
                None if !d.is_network() => "-".into(),
                None => "no".into(),
            },
        ]);
    }
    table
}

fn or_dash<T: ToString>(fact: Option<T>) -> String {
    fact.map_or("-".into(), |fact| fact.to_string())
}

/// `10G`, `2.5G`, `100M`.
fn speed(bits: u64) -> String {
    if bits >= 1_000_000_000 { format!("{}G", bits as f64 / 1e9) } else { format!("{}M", bits / 1_000_000) }
}

/// Names of cards, from the list that most distributions install for lspci.
struct Names(String);

impl Names {
    fn read() -> Names {
        let lists = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];
        let bytes = lists.iter().find_map(|list| fs::read(list).ok()).unwrap_or_default();
        Names(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// `Intel 82599ES ...`, or the numbers where nothing is known.
    fn name(&self, id: Id) -> String {
        self.lookup(id).unwrap_or_else(|| format!("{:04x}:{:04x}", id.vendor, id.device))
    }

    /// A vendor's line starts with its id, its cards' lines follow with a tab.
    fn lookup(&self, id: Id) -> Option<String> {
        let vendor = format!("\n{:04x}  ", id.vendor);
        let found = &self.0[self.0.find(&vendor)? + vendor.len()..];
        let mut lines = found.lines();
        let vendor = lines.next()?;
        let device = format!("\t{:04x}  ", id.device);
        let mut cards = lines.take_while(|line| line.starts_with(['\t', '#']));
        let card = cards.find_map(|line| line.strip_prefix(&device))?;
        Some(format!("{} {card}", vendor.trim_end_matches(" Corporation")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_has_the_name_of_the_list_or_its_numbers() {
        let names = Names(
            "# list\n8086  Intel Corporation\n\t10fb  82599ES\n\t\t8086 0003  X520\n1af4  Red Hat\n\t1041  Virtio\n"
                .into(),
        );
        let id = |vendor, device| Id { vendor, device, ..Id::default() };
        assert_eq!(names.name(id(0x8086, 0x10fb)), "Intel 82599ES");
        assert_eq!(names.name(id(0x8086, 0x1041)), "8086:1041", "another vendor's card");
        assert_eq!(names.name(id(0x1af4, 0x1041)), "Red Hat Virtio");
        assert_eq!(Names(String::new()).name(id(1, 2)), "0001:0002");
    }

    #[test]
    fn speeds_are_short() {
        assert_eq!([speed(10_000_000_000), speed(2_500_000_000), speed(100_000_000)], ["10G", "2.5G", "100M"]);
    }
}
