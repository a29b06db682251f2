//! Binding: handing a card from one driver to another, and back.
//!
//! ```text
//!   plan      look, check, refuse; nothing is changed     -> steps, which can be printed
//!   execute   journal, then step by step                  -> bound | unchanged
//!                 any step fails: make it equal to the journal again -> rolled back
//!   restore   make it equal to the journal, then drop it  -> restored | unchanged
//! ```
//!
//! Only `driver_override` of the one function is used, never `new_id`, which
//! would claim every card of a kind, and only for as long as the probe takes.
//! After the probe the driver link is read again: the kernel reports success
//! even if no driver took the card. One routine, `moves`, finds the steps
//! from any state to any other; binding, rolling back and restoring differ only
//! in where they want to go, so a run that was killed anywhere can be restored.

use super::Address;
use super::discover::{self, Device};
use super::explain;
use super::guard::{self, Machine, Use};
use super::journal::{self, Journal};
use super::kernel::Kernel;
use super::nodes;
use crate::error::{Error, Kind, Remedy, Result};
use crate::sys::Roots;
use std::fmt;
use std::fs::OpenOptions;
use std::path::PathBuf;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Driver to have the card; none takes it from the driver that has it.
    pub driver: Option<String>,
    /// Go on although the card is in use or its group is shared.
    pub force: bool,
    /// Switch on VFIO's mode without an IOMMU where there is none.
    pub noiommu: bool,
    /// Do not load the driver's module.
    pub no_modprobe: bool,
    /// User and group to own the VFIO device node.
    pub owner: Option<(Option<u32>, Option<u32>)>,
}

/// One step. Its text is the shell command that does the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the journal.
    Save(PathBuf),
    /// Load a driver's module.
    LoadModule(String),
    /// Write a text into a sysfs attribute.
    Write(PathBuf, String),
    /// See that this driver, or none, has the card.
    Verify(PathBuf, Option<String>),
    /// Give the card's VFIO nodes to a user and a group.
    Own(Option<u32>, Option<u32>),
    /// Remove the journal.
    Forget(PathBuf),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Save(path) => write!(f, "# write the journal {}", path.display()),
            Step::LoadModule(name) => write!(f, "modprobe {name}"),
            Step::Write(path, text) if text == CLEAR => write!(f, "echo > {}", path.display()),
            Step::Write(path, text) => write!(f, "echo {text} > {}", path.display()),
            Step::Verify(link, Some(driver)) => write!(f, "readlink {}  # must end in {driver}", link.display()),
            Step::Verify(link, None) => write!(f, "readlink {}  # must fail", link.display()),
            Step::Own(user, group) => {
                let id = |id: &Option<u32>| id.map_or(String::new(), |id| id.to_string());
                write!(f, "chown {}:{} /dev/vfio/GROUP", id(user), id(group))
            }
            Step::Forget(path) => write!(f, "rm -f {}", path.display()),
        }
    }
}

/// What clears `driver_override` (Linux: a line without characters).
const CLEAR: &str = "\n";

/// What will be done with one card.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The card as it is.
    pub device: Device,
    /// Driver it goes to.
    pub target: Option<String>,
    /// What it was, for the way back.
    pub journal: Journal,
    /// Whether the journal is this plan's own, not one of an earlier run.
    pub fresh: bool,
    /// Steps, in order. None if all is as asked already.
    pub steps: Vec<Step>,
    /// Members of its IOMMU group, itself included.
    pub group: Vec<Device>,
    /// Uses that end because of `force`.
    pub ends: Vec<Use>,
    /// What the user should know besides.
    pub warnings: Vec<String>,
}

/// How binding ended for one card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The driver asked for has it.
    Bound,
    /// No driver has it, as asked.
    Unbound,
    /// It was so already; nothing was changed.
    Unchanged,
    /// It is as it was before bmnic took it.
    Restored,
    /// A step failed and everything was undone.
    RolledBack,
    /// A step failed and so did undoing it; the journal is kept.
    Stuck,
}

/// How one card stands in the end.
#[derive(Clone, Debug)]
pub struct Report {
    /// The card.
    pub address: Address,
    /// How it ended.
    pub state: State,
    /// Driver that has it now.
    pub driver: Option<String>,
    /// Driver that had it before.
    pub before: Option<String>,
    /// `ip` commands that give its interfaces back what they had.
    pub commands: Vec<String>,
    /// Why it is unchanged, or what else there is to say.
    pub note: Option<String>,
}

/// Looks at all `devices`, checks, and finds the steps; changes nothing.
///
/// # Errors
/// [`Kind::Refused`] if one is in use or shares its group, [`Kind::Unsupported`]
/// if the machine lacks what the driver needs. Then none may be touched.
pub fn plan(roots: &Roots, machine: &Machine, devices: &[Device], request: &Request) -> Result<Vec<Plan>> {
    let taken: Vec<Address> = devices.iter().map(|d| d.address).collect();
    devices.iter().map(|device| plan_one(roots, machine, device, &taken, request)).collect()
}

fn plan_one(roots: &Roots, machine: &Machine, device: &Device, taken: &[Address], request: &Request) -> Result<Plan> {
    let (address, target) = (device.address, request.driver.as_deref());
    if !device.is_network() {
        let what = format!("{address} is not a network card (PCI class {:06x})", device.class);
        return Err(refused(format!("{what}; bmnic leaves everything else alone")).with_remedy(Remedy::ListCards));
    }
    // An earlier run's journal knows better what the card was, unless the card
    // was put back by other means or replaced since.
    let earlier = Journal::load(roots, address)?.filter(|j| j.is_about(device) && !j.is_fulfilled(device));
    let mut plan = Plan {
        device: device.clone(),
        target: request.driver.clone(),
        fresh: earlier.is_none(),
        journal: earlier.unwrap_or_else(|| Journal::of(roots, device, &machine.network)),
        steps: Vec::new(),
        group: device.iommu_group.map(|group| discover::group_members(roots, group)).unwrap_or_default(),
        ends: Vec::new(),
        warnings: Vec::new(),
    };
    if device.driver.as_deref() != target {
        plan.ends = uses(roots, machine, device);
        if !plan.ends.is_empty() && !request.force {
            return Err(in_use(device, &plan.ends));
        }
    }
    let mut switch = None;
    if target.is_some_and(guard::is_vfio) {
        check_group(roots, &plan, taken, request.force)?;
        switch = check_iommu(roots, &mut plan, request)?;
    }
    if let Some(switch) = &switch
        && plan.journal.noiommu.is_none()
    {
        plan.journal.noiommu = Some(discover::text(switch).unwrap_or_else(|| "N".into()));
    }

    let mut steps = Vec::new();
    if let Some(driver) = target.filter(|driver| !roots.pci().join("drivers").join(driver).exists()) {
        if request.no_modprobe {
            let text = format!("the driver {driver} is not loaded; run `modprobe {driver}`");
            return Err(Error::new(Kind::Unsupported, text).with_remedy(Remedy::Modprobe));
        }
        steps.push(Step::LoadModule(driver.to_string()));
    }
    steps.extend(switch.map(|path| Step::Write(path, "Y".into())));
    steps.extend(moves(roots, device, target, plan.journal.driver_override.as_deref()));
    let owner = request.owner.filter(|_| target.is_some_and(guard::is_vfio));
    if let Some((user, group)) = owner {
        plan.warnings.extend(nodes::check(roots, address, user, group)?);
    }
    steps.extend(owner.map(|(user, group)| Step::Own(user, group)));
    // A card that is back with its first driver needs no way back.
    let home = target == plan.journal.driver.as_deref();
    let path = journal::path(roots, address);
    if home && !plan.fresh {
        steps.push(Step::Forget(path));
    } else if !home && !steps.is_empty() && (plan.fresh || plan.journal.noiommu.is_some()) {
        steps.insert(0, Step::Save(path));
    }
    plan.steps = steps;
    Ok(plan)
}

/// The steps that bring `device` from where it is to `target`, leaving
/// `driver_override` as `finally`.
fn moves(roots: &Roots, device: &Device, target: Option<&str>, finally: Option<&str>) -> Vec<Step> {
    let directory = device.directory(roots);
    let (link, attribute) = (directory.join("driver"), directory.join("driver_override"));
    let name = device.address.to_string();
    let mut steps = Vec::new();
    let mut set = device.driver_override.as_deref();
    if device.driver.as_deref() != target {
        if target.is_some() && set != target {
            set = target;
            steps.push(Step::Write(attribute.clone(), target.unwrap_or(CLEAR).to_string()));
        }
        if let Some(driver) = &device.driver {
            steps.push(Step::Write(roots.pci().join("drivers").join(driver).join("unbind"), name.clone()));
            steps.push(Step::Verify(link.clone(), None));
        }
        if let Some(driver) = target {
            steps.push(Step::Write(roots.pci().join("drivers_probe"), name));
            steps.push(Step::Verify(link, Some(driver.to_string())));
        }
    }
    if set != finally {
        steps.push(Step::Write(attribute, finally.unwrap_or(CLEAR).to_string()));
    }
    steps
}

/// Executes plans in order. If one fails, it and those before it are undone;
/// the reports say how each card that was come to ended.
pub fn execute(kernel: &dyn Kernel, roots: &Roots, plans: &[Plan]) -> (Vec<Report>, Result<()>) {
    for (index, plan) in plans.iter().enumerate() {
        let Err(error) = permitted(roots, plan).and_then(|()| run(kernel, roots, &plan.journal, &plan.steps)) else {
            continue;
        };
        // The last first, as they may share a group.
        let mut reports: Vec<Report> =
            plans[..=index].iter().rev().map(|plan| roll_back(kernel, roots, plan)).collect();
        reports.reverse();
        return (reports, Err(error));
    }
    (plans.iter().map(Plan::report).collect(), Ok(()))
}

/// Makes a card what it was before its plan was begun.
fn roll_back(kernel: &dyn Kernel, roots: &Roots, plan: &Plan) -> Report {
    let address = plan.device.address;
    let undone = Device::read(roots, address)
        .ok_or_else(|| Error::new(Kind::Gone, format!("{address} has gone")))
        .and_then(|now| {
            let before = &plan.device;
            let mut steps = moves(roots, &now, before.driver.as_deref(), before.driver_override.as_deref());
            let untouched = steps.is_empty();
            steps.extend(switch_back(roots, &plan.journal));
            let path = journal::path(roots, address);
            steps.push(if plan.fresh { Step::Forget(path) } else { Step::Save(path) });
            run(kernel, roots, &plan.journal, &steps)?;
            Ok(if untouched { State::Unchanged } else { State::RolledBack })
        });
    let driver = discover::link_name(&plan.device.directory(roots).join("driver"));
    let (state, note) = match undone {
        Ok(state) => (state, None),
        Err(error) => (State::Stuck, Some(error.to_string())),
    };
    let (before, commands) = (plan.device.driver.clone(), plan.journal.commands.clone());
    Report { address, state, driver, before, commands, note }
}

/// Puts a card back as its journal says. Without a journal nothing is changed.
///
/// # Errors
/// As the step that failed; the journal is kept, and it can be tried again.
pub fn restore(kernel: &dyn Kernel, roots: &Roots, address: Address, force: bool) -> Result<Report> {
    match plan_restore(roots, address, force)? {
        Restore::Nothing(report) => {
            journal::forget(kernel, roots, address)?;
            Ok(report)
        }
        Restore::Steps(device, journal, steps) => {
            run(kernel, roots, &journal, &steps)
                .map_err(|e| e.hint("the journal is kept").with_remedy(Remedy::Restore(address.to_string())))?;
            let (driver, commands) = (journal.driver, journal.commands);
            Ok(Report { address, state: State::Restored, driver, before: device.driver, commands, note: None })
        }
    }
}

/// What restoring a card takes.
#[derive(Debug)]
pub enum Restore {
    /// There is nothing to put back.
    Nothing(Report),
    /// The card as it is, as it was, and the steps between.
    Steps(Box<Device>, Box<Journal>, Vec<Step>),
}

/// Finds what [`restore`] would do; changes nothing.
pub fn plan_restore(roots: &Roots, address: Address, force: bool) -> Result<Restore> {
    let device = Device::read(roots, address);
    let nothing = |note: &str| {
        let driver = device.as_ref().and_then(|d| d.driver.clone());
        let (before, commands, note) = (driver.clone(), Vec::new(), Some(note.to_string()));
        Ok(Restore::Nothing(Report { address, state: State::Unchanged, driver, before, commands, note }))
    };
    let Some(journal) = Journal::load(roots, address)? else { return nothing("bmnic has not changed it") };
    let Some(device) = device.as_ref().filter(|d| journal.is_about(d)) else {
        return nothing("the card that bmnic changed is no longer there");
    };
    if journal.is_fulfilled(device) && switch_back(roots, &journal).is_none() {
        return nothing("it is as it was before");
    }
    let open = if device.driver == journal.driver { Vec::new() } else { guard::holders(roots, device) };
    if !open.is_empty() && !force {
        return Err(in_use(device, &open));
    }
    let mut steps = Vec::new();
    let home = journal.driver.as_deref().filter(|d| !roots.pci().join("drivers").join(d).exists());
    steps.extend(home.map(|driver| Step::LoadModule(driver.to_string())));
    steps.extend(moves(roots, device, journal.driver.as_deref(), journal.driver_override.as_deref()));
    steps.extend(switch_back(roots, &journal));
    steps.push(Step::Forget(journal::path(roots, address)));
    Ok(Restore::Steps(Box::new(device.clone()), Box::new(journal), steps))
}

/// The step that puts VFIO's no-IOMMU switch back, if bmnic changed it.
fn switch_back(roots: &Roots, journal: &Journal) -> Option<Step> {
    let (was, switch) = (journal.noiommu.as_ref()?, noiommu_switch(roots));
    let now = discover::text(&switch)?;
    (now != *was).then(|| Step::Write(switch, was.clone()))
}

/// Runs steps until one fails.
fn run(kernel: &dyn Kernel, roots: &Roots, journal: &Journal, steps: &[Step]) -> Result<()> {
    let address = journal.address;
    for step in steps {
        match step {
            Step::Save(_) => journal.save(kernel, roots)?,
            Step::LoadModule(name) => kernel.load_module(name).map_err(|e| explain_module(roots, e, name))?,
            Step::Write(path, text) => kernel
                .write(path, text)
                .map_err(|e| Error::io(format!("{address}: writing '{}' to {}", text.trim(), path.display()), e))?,
            Step::Verify(link, wanted) => {
                let has = || discover::link_name(link);
                if !kernel.settled(&mut || has() == *wanted) {
                    return Err(not_taken(address, wanted.as_deref(), has().as_deref()));
                }
            }
            Step::Own(user, group) => nodes::own(kernel, roots, address, *user, *group)?,
            Step::Forget(_) => journal::forget(kernel, roots, address)?,
        }
    }
    Ok(())
}

impl Plan {
    /// The report of a plan that went through.
    fn report(&self) -> Report {
        let state = match &self.target {
            target if *target == self.device.driver => State::Unchanged,
            Some(_) => State::Bound,
            None => State::Unbound,
        };
        let commands = if state == State::Unchanged { Vec::new() } else { self.journal.commands.clone() };
        let (driver, before) = (self.target.clone(), self.device.driver.clone());
        Report { address: self.device.address, state, driver, before, commands, note: None }
    }
}

/// Uses that end if the card leaves the driver it has.
fn uses(roots: &Roots, machine: &Machine, device: &Device) -> Vec<Use> {
    let mut uses = guard::holders(roots, device);
    uses.extend(machine.uses(device));
    uses
}

/// Refuses if other members of the card's IOMMU group are in the way.
fn check_group(roots: &Roots, plan: &Plan, taken: &[Address], force: bool) -> Result<()> {
    let (address, Some(group)) = (plan.device.address, plan.device.iommu_group) else { return Ok(()) };
    let obstacles = guard::obstacles(roots, group, taken);
    if obstacles.is_empty() || force {
        return Ok(());
    }
    let named: Vec<String> = obstacles
        .iter()
        .map(|d| {
            let interfaces = if d.interfaces.is_empty() { String::new() } else { format!(", {}", d.interface_names()) };
            format!("{} ({}{interfaces})", d.address, d.driver.as_deref().unwrap_or("no driver"))
        })
        .collect();
    Err(refused(format!(
        "{address} cannot be used alone: its IOMMU group {group} also holds {}; bind these too, or use a slot with a group of its own; nothing changed",
        named.join(", ")
    ))
    .with_remedy(Remedy::Force))
}

/// Refuses VFIO without an IOMMU, unless asked for; then returns the switch to set.
fn check_iommu(roots: &Roots, plan: &mut Plan, request: &Request) -> Result<Option<PathBuf>> {
    let address = plan.device.address;
    if plan.device.iommu_group.is_some() {
        if request.noiommu {
            plan.warnings.push(format!("{address} has an IOMMU, so it is not bound without one"));
        }
        return Ok(None);
    }
    let unsupported = |text: String| Error::new(Kind::Unsupported, text);
    if !request.noiommu {
        let text = format!(
            "{address} is behind no IOMMU, so nothing would keep it to its own memory; switch VT-d or AMD-Vi on in the firmware and boot with intel_iommu=on iommu=pt"
        );
        return Err(unsupported(text).with_remedy(Remedy::NoIommu));
    }
    if matches!(request.owner, Some((Some(user), _)) if user != 0) {
        return Err(unsupported(format!("{address} is behind no IOMMU: {}, and leave --user out", explain::ONLY_ROOT)));
    }
    if let Some(level) = lockdown(roots) {
        return Err(unsupported(format!(
            "the kernel is locked down ({level}, as secure boot does) and cards without an IOMMU could write any memory; switch the IOMMU or secure boot's lockdown setting in the firmware"
        )));
    }
    let switch = noiommu_switch(roots);
    let vfio_is_loaded = roots.sys.join("module/vfio").exists();
    if vfio_is_loaded && !switch.exists() {
        let text = "this kernel has VFIO but not its mode without an IOMMU (CONFIG_VFIO_NOIOMMU)";
        return Err(unsupported(text.into()));
    }
    plan.warnings.push(format!(
        "{address} WITHOUT AN IOMMU: the card, and any program that drives it, can read and write ALL memory of this machine; the kernel is tainted until it boots again"
    ));
    let is_on = discover::text(&switch).is_some_and(|value| matches!(value.as_str(), "Y" | "1"));
    Ok((!is_on).then_some(switch))
}

fn noiommu_switch(roots: &Roots) -> PathBuf {
    roots.sys.join("module/vfio/parameters/enable_unsafe_noiommu_mode")
}

/// Level of the kernel's lockdown, if it is on: `none [integrity] confidentiality`.
pub fn lockdown(roots: &Roots) -> Option<String> {
    let levels = discover::text(&roots.sys.join("kernel/security/lockdown"))?;
    let chosen = levels.split('[').nth(1)?.split(']').next()?.to_string();
    (chosen != "none").then_some(chosen)
}

/// Says early, before the journal, that this user may not do it.
fn permitted(roots: &Roots, plan: &Plan) -> Result<()> {
    if plan.steps.is_empty() {
        return Ok(());
    }
    let attribute = plan.device.directory(roots).join("driver_override");
    // Opening changes nothing; only a write does.
    OpenOptions::new().write(true).open(&attribute).map(drop).map_err(|e| {
        let error = Error::io(format!("{}: opening {}", plan.device.address, attribute.display()), e);
        match error.kind() {
            Kind::Permission => error.hint(journal::NEEDS_ROOT),
            Kind::NotFound => error.hint("this kernel is older than 3.16 or the card has gone; nothing changed"),
            _ => error,
        }
    })
}

fn refused(text: String) -> Error {
    Error::new(Kind::Refused, text)
}

fn in_use(device: &Device, uses: &[Use]) -> Error {
    let uses: Vec<String> = uses.iter().map(Use::to_string).collect();
    refused(format!("{} is in use: {}; nothing changed", device.address, uses.join(", ")))
        .with_remedy(Remedy::AnotherCard)
}

fn not_taken(address: Address, wanted: Option<&str>, has: Option<&str>) -> Error {
    let text = match (wanted, has) {
        (Some(wanted), None) => {
            format!("{address}: the driver {wanted} did not take it; the kernel's log (dmesg) says why")
        }
        (Some(wanted), Some(has)) => format!("{address}: {has} took it instead of {wanted}"),
        (None, has) => format!("{address}: {} did not let it go", has.unwrap_or("its driver")),
    };
    Error::new(Kind::Io, text)
}

fn explain_module(roots: &Roots, error: Error, name: &str) -> Error {
    match lockdown(roots) {
        Some(level) => error.hint(format!(
            "the kernel is locked down ({level}): only modules signed by its maker load; install the {name} of your distribution's kernel"
        )),
        None => error.hint(format!("install the package of your kernel's extra modules, which holds {name}")),
    }
}
