//! `bmnic bind`: hands cards to bmnic and gives them back.
//!
//! [`crate::pci::bind`] checks and does it; this asks for it and prints. Every run
//! ends with one line a card that says how it stands now.

use super::{Context, Outcome, list, output::Output};
use crate::error::{Error, Kind};
use crate::pci::Address;
use crate::pci::bind::{self, Plan, Report, Request, Restore, State, Vfs};
use crate::pci::discover::{self, Device};
use crate::pci::guard::Machine;
use crate::pci::journal::{self, Journal};
use crate::pci::kernel::Running;
use crate::pci::persist;
use crate::sys::{self, Roots};
use serde_json::{Value, json};

/// Arguments of `bmnic bind`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Cards: 0000:03:00.0, 03:00.0, an interface name, a pattern like '82:00.*', or several with commas
    #[arg(value_name = "DEV", required_unless_present_any = ["status", "restore"])]
    pub devices: Vec<String>,
    /// Driver to have the cards
    #[arg(short = 'b', long, value_name = "DRIVER", default_value = "vfio-pci")]
    pub driver: String,
    /// Leave the cards without a driver
    #[arg(short, long, conflicts_with_all = ["driver", "status", "restore"])]
    pub unbind: bool,
    /// Make this many virtual functions of each card, which stays with its driver; 0 removes them
    ///
    /// From one number to another the card goes by way of none, so a virtual function that is in
    /// use keeps them all. Their addresses are printed; hand one over by its own: `bmnic bind
    /// 03:10.0`. --restore puts the first number back.
    #[arg(long, value_name = "N",
        conflicts_with_all = ["driver", "unbind", "status", "restore", "user", "group", "noiommu", "persist"])]
    pub vfs: Option<u16>,
    /// Show which driver has which card
    #[arg(short, long, conflicts_with_all = ["restore", "dry_run"])]
    pub status: bool,
    /// Put cards back as they were before bmnic took them; 'all' or no card means every one
    #[arg(long, conflicts_with = "driver")]
    pub restore: bool,
    /// Print what would be written and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// User to own the device node: a name or a number
    ///
    /// Where VFIO has no groups (CONFIG_VFIO_GROUP=n) the user or group gets /dev/iommu too,
    /// which all cards share and which stays theirs until the machine boots again.
    #[arg(long, value_name = "USER", conflicts_with_all = ["unbind", "restore"])]
    pub user: Option<String>,
    /// Group to own the device node and to read and write it: a name or a number
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["unbind", "restore"])]
    pub group: Option<String>,
    /// Where there is no IOMMU, do without: the card can then reach all memory
    #[arg(long, conflicts_with_all = ["unbind", "restore"])]
    pub noiommu: bool,
    /// Go on although a card is in use; what uses it dies
    #[arg(long)]
    pub force: bool,
    /// Do not load the driver's module
    #[arg(long)]
    pub no_modprobe: bool,
    /// At each boot too; with --restore: not any more
    ///
    /// By a file in /etc/driverctl.d, which driverctl reads at boot: it must be installed.
    #[arg(long, conflicts_with_all = ["unbind", "status"])]
    pub persist: bool,
}

/// Runs it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    let out = Output::new(&context.global);
    if args.status {
        let devices = if args.devices.is_empty() {
            discover::network(&context.roots)
        } else {
            named(&context.roots, &args.devices)?
        };
        list::print(&devices, &context.roots, &out, "bind")?;
    } else if args.restore {
        restore(&args, &context.roots, &out)?;
    } else {
        take(&args, &context.roots, &out)?;
    }
    Ok(Outcome::Done)
}

/// Binds, or unbinds.
fn take(args: &Args, roots: &Roots, out: &Output) -> anyhow::Result<()> {
    let request = request(args)?;
    let look = || -> anyhow::Result<Vec<Plan>> {
        let ssh = std::env::var("SSH_CONNECTION").ok();
        let machine = Machine::read(roots, ssh.as_deref());
        Ok(bind::plan(roots, &machine, &named(roots, &args.devices)?, &request)?)
    };
    // The first look refuses what must be refused to every user; the second is
    // made while nobody else can change anything.
    let plans = look()?;
    for plan in &plans {
        tell_plan(plan, out)?;
    }
    if args.persist {
        plans.iter().try_for_each(|plan| persist::check(roots, plan.device.address, &args.driver))?;
    }
    if args.dry_run {
        let kept = |address| {
            args.persist.then(|| format!("echo {} > {}", args.driver, persist::path(roots, address).display()))
        };
        let lines = |plan: &Plan| plan.steps.iter().map(ToString::to_string).chain(kept(plan.device.address)).collect();
        return dry_run(roots, plans.iter().map(|plan| (plan.device.address, lines(plan))), out);
    }
    let needed = args.persist || plans.iter().any(|plan| !plan.steps.is_empty());
    let _lock = needed.then(|| journal::lock(roots)).transpose()?;
    let plans = look()?;
    let kernel = Running::new(roots);
    let (reports, result) = bind::execute(&kernel, roots, &plans);
    tell(roots, &reports, out)?;
    result?;
    if args.persist {
        plans.iter().try_for_each(|plan| persist::save(&kernel, roots, plan.device.address, &args.driver))?;
        if args.user.is_some() || args.group.is_some() || args.noiommu {
            out.warn("only the driver comes back at boot: --user, --group and --noiommu are to be given again then");
        }
        for plan in &plans {
            let end = persist::undo(plan.device.address, &args.driver);
            out.info(format_args!("at each boot too, by /etc/driverctl.d; `{end}` ends that"))?;
        }
        if !persist::is_read(roots) {
            out.warn("driverctl is not installed, or not where systemd looks: nothing reads its files at boot");
        }
    }
    Ok(())
}

/// Gives cards back.
fn restore(args: &Args, roots: &Roots, out: &Output) -> anyhow::Result<()> {
    let everything = args.devices.is_empty() || args.devices.iter().any(|name| name == "all");
    let addresses = if everything {
        // A boot ends the journals, and not the files that it reads.
        let mut addresses = journal::addresses(roots);
        if args.persist {
            addresses.extend(persist::addresses(roots));
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    } else {
        // A card that has gone still has its journal, so an address is taken as it is.
        let mut addresses: Vec<Address> = Vec::new();
        for name in each(&args.devices) {
            match name.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => addresses.extend(named(roots, &[name.into()])?.iter().map(|d| d.address)),
            }
        }
        addresses
    };
    if args.dry_run {
        let mut plans = Vec::new();
        for address in addresses {
            let file = if args.persist { persist::removable(roots, address)? } else { None };
            let mut lines: Vec<String> = file.iter().map(|file| format!("rm {}", file.display())).collect();
            if let Restore::Steps(_, _, steps) = bind::plan_restore(roots, address, args.force)? {
                lines.extend(steps.iter().map(ToString::to_string));
            }
            if !lines.is_empty() {
                plans.push((address, lines));
            }
        }
        return dry_run(roots, plans.into_iter(), out);
    }
    if addresses.is_empty() {
        out.info("unchanged: bmnic has taken no card since this machine was started")?;
        out.facts(roots, "bind", document(&[]))?;
        return Ok(());
    }
    let has_journal = args.persist || addresses.iter().any(|a| journal::path(roots, *a).exists());
    let _lock = if has_journal { Some(journal::lock(roots)?) } else { None };
    let kernel = Running::new(roots);
    let (mut reports, mut failed) = (Vec::new(), None);
    // One that cannot be given back must not keep the others.
    let mut fail = |error: Error| match failed {
        None => failed = Some(error),
        Some(_) => out.warn(error),
    };
    for address in addresses {
        let forgotten = if args.persist { persist::forget(&kernel, roots, address) } else { Ok(false) };
        match (forgotten, persist::driver(roots, address)) {
            (Ok(true), _) => out.info(format_args!("{address}: its kernel driver has it again at the next boot"))?,
            (Err(error), _) => fail(error),
            (Ok(false), Some(driver)) => out.warn(format_args!(
                "{address} goes to {driver} at the next boot; `{}` ends that",
                persist::undo(address, &driver)
            )),
            (Ok(false), None) => {}
        }
        match bind::restore(&kernel, roots, address, args.force) {
            Ok(report) => reports.push(report),
            Err(error) => fail(error),
        }
    }
    tell(roots, &reports, out)?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn request(args: &Args) -> anyhow::Result<Request> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if args.driver.is_empty() || !args.driver.chars().all(plain) || args.driver.starts_with('-') {
        let text = format!("'{}' is not the name of a driver; write one like vfio-pci", args.driver);
        return Err(Error::new(Kind::Usage, text).into());
    }
    let user = args.user.as_deref().map(user_id).transpose()?;
    let group = args.group.as_deref().map(|name| id("group", name, sys::group_id)).transpose()?;
    Ok(Request {
        driver: (!args.unbind).then(|| args.driver.clone()),
        force: args.force,
        noiommu: args.noiommu,
        no_modprobe: args.no_modprobe,
        owner: (user.is_some() || group.is_some()).then_some((user, group)),
        vfs: args.vfs,
    })
}

/// A user by name or number.
///
/// # Errors
/// [`Kind::Usage`] if there is no such user.
pub(super) fn user_id(name: &str) -> Result<u32, Error> {
    id("user", name, sys::user_id)
}

fn id(what: &str, name: &str, look_up: fn(&str) -> Option<u32>) -> Result<u32, Error> {
    let unknown = || Error::new(Kind::Usage, format!("this machine has no {what} '{name}'"));
    name.parse().ok().or_else(|| look_up(name)).ok_or_else(unknown)
}

/// Names, several of which may be in one word: `82:00.0,82:00.1`.
fn each(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().flat_map(|name| name.split(',')).filter(|name| !name.is_empty())
}

/// The cards that `names` mean, each once. The interface of a card that bmnic
/// has taken is gone, but its journal remembers the name.
pub(super) fn named(roots: &Roots, names: &[String]) -> anyhow::Result<Vec<Device>> {
    let mut devices: Vec<Device> = Vec::new();
    for name in each(names) {
        let found = discover::find_matching(roots, name).or_else(|error| {
            let mut taken = journal::addresses(roots).into_iter();
            let had_it = |a: &Address| {
                Journal::load(roots, *a).is_ok_and(|j| j.is_some_and(|j| j.interfaces.iter().any(|i| i == name)))
            };
            let device = taken.find(had_it).and_then(|address| Device::read(roots, address));
            device.map(|device| vec![device]).ok_or(error)
        })?;
        for device in found {
            if !devices.iter().any(|d| d.address == device.address) {
                devices.push(device);
            }
        }
    }
    Ok(devices)
}

/// What the user should know before anything happens.
fn tell_plan(plan: &Plan, out: &Output) -> anyhow::Result<()> {
    let address = plan.device.address;
    if let Some(group) = plan.device.iommu_group.filter(|_| plan.target.is_some() && !plan.group.is_empty()) {
        let member = |d: &Device| {
            let driver = d.driver.as_deref().unwrap_or("no driver");
            let what = if d.is_bridge() { "bridge, " } else { "" };
            if d.address == address { "this card".into() } else { format!("{} ({what}{driver})", d.address) }
        };
        let members: Vec<String> = plan.group.iter().map(member).collect();
        out.info(format_args!("{address}: IOMMU group {group} holds {}", members.join(", ")))?;
    }
    for warning in &plan.warnings {
        out.warn(warning);
    }
    for end in &plan.ends {
        out.warn(format_args!("--force: {end}; this dies"));
    }
    Ok(())
}

fn dry_run(roots: &Roots, plans: impl Iterator<Item = (Address, Vec<String>)>, out: &Output) -> anyhow::Result<()> {
    let mut documents = Vec::new();
    for (address, steps) in plans {
        documents.push(json!({ "address": address.to_string(), "kind": "pci", "steps": steps }));
        for step in steps {
            out.result(step)?;
        }
    }
    out.facts(roots, "bind", json!({ "dry_run": true, "devices": documents }))?;
    out.info("dry run: nothing was changed")?;
    Ok(())
}

/// One line a card: how it stands now.
fn tell(roots: &Roots, reports: &[Report], out: &Output) -> anyhow::Result<()> {
    out.facts(roots, "bind", document(reports))?;
    for report in reports {
        if let Some(Vfs { now, .. }) = report.vfs.as_ref().filter(|_| report.state != State::Stuck) {
            functions(roots, now, out)?;
        }
        out.result(line(report))?;
        if report.state != State::Unchanged && !report.commands.is_empty() {
            let when = if report.state == State::Bound || report.state == State::Unbound {
                "after --restore, these give its interface back what it had (or your network manager does)"
            } else {
                "these give its interface back what it had (or your network manager does)"
            };
            out.info(format_args!("  {when}:"))?;
            for command in &report.commands {
                out.info(format_args!("    {command}"))?;
            }
        }
    }
    Ok(())
}

/// A line for each virtual function of a card, and a warning if one cannot be used alone.
fn functions(roots: &Roots, addresses: &[Address], out: &Output) -> anyhow::Result<()> {
    let found: Vec<Device> = addresses.iter().filter_map(|address| Device::read(roots, *address)).collect();
    for function in &found {
        let driver = function.driver.as_deref().unwrap_or("no driver");
        out.result(format_args!("{}: virtual function ({driver})", function.address))?;
    }
    let shared = found.iter().find_map(|function| {
        let mut others = discover::group_addresses(roots, function.iommu_group?);
        others.retain(|address| *address != function.address);
        (!others.is_empty()).then_some((function.address, others))
    });
    if let Some((address, others)) = shared {
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        let others = others.join(", ");
        out.warn(format_args!("{address} shares its IOMMU group with {others}, and can only be used with these"));
    }
    Ok(())
}

pub(super) fn line(report: &Report) -> String {
    let driver = |driver: &Option<String>| driver.clone().unwrap_or_else(|| "no driver".into());
    let (now, before) = (driver(&report.driver), driver(&report.before));
    let (vfs, had) = match &report.vfs {
        Some(Vfs { before, now }) => (Some(count(now.len())), count(usize::from(*before))),
        None => (None, String::new()),
    };
    let end = match report.state {
        State::Bound => format!("bound to {now} (was: {before})"),
        State::Unbound => format!("unbound (was: {before})"),
        State::Divided => format!("{now} with {} (had: {had})", vfs.unwrap_or_default()),
        State::Unchanged => format!("unchanged: {now}{}", vfs.map_or(String::new(), |vfs| format!(", {vfs}"))),
        State::Restored if report.driver == report.before && vfs.is_some() => {
            format!("restored to {} (had: {had})", vfs.unwrap_or_default())
        }
        State::Restored => format!("restored to {now} (was: {before})"),
        State::RolledBack => {
            format!("rolled back: {now} has it again{}", vfs.map_or(String::new(), |vfs| format!(", with {vfs}")))
        }
        State::Stuck => format!("NOT rolled back: {now} has it; `bmnic bind --restore {}` tries again", report.address),
    };
    let note = report.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
    format!("{}: {end}{note}", report.address)
}

/// `no virtual functions`, `1 virtual function`, `4 virtual functions`.
fn count(functions: usize) -> String {
    match functions {
        0 => "no virtual functions".into(),
        1 => "1 virtual function".into(),
        n => format!("{n} virtual functions"),
    }
}

pub(super) fn document(reports: &[Report]) -> Value {
    let device = |report: &Report| {
        let state = match report.state {
            State::Bound => "bound",
            State::Unbound => "unbound",
            State::Divided => "divided",
            State::Unchanged => "unchanged",
            State::Restored => "restored",
            State::RolledBack => "rolled back",
            State::Stuck => "stuck",
        };
        json!({
            "address": report.address.to_string(),
            "kind": "pci",
            "state": state,
            "driver": report.driver,
            "before": report.before,
            "virtual_functions": report.vfs.as_ref().map(|vfs| vfs.now.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "virtual_functions_before": report.vfs.as_ref().map(|vfs| vfs.before),
            "commands": report.commands,
            "note": report.note,
        })
    };
    json!({ "devices": reports.iter().map(device).collect::<Vec<_>>() })
}
