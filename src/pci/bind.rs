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

mod checks;
mod vfs;

pub use checks::lockdown;
pub use vfs::{Sriov, Vfs};

use super::Address;
use super::discover::{self, Device};
use super::guard::{self, Machine, Use};
use super::journal::{self, Journal};
use super::kernel::Kernel;
use super::nodes;
use crate::error::{Error, Kind, Remedy, Result};
use crate::sys::Roots;
use checks::{check_group, check_iommu, explain_module, in_use, noiommu_switch, not_taken, permitted, refused, uses};
use std::fmt;
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
    /// Virtual functions that the card is to have; it then stays with the driver that it has.
    pub vfs: Option<u16>,
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
    /// See that a physical function has so many virtual ones, by its `sriov_numvfs`.
    Count(PathBuf, u16),
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
            Step::Count(path, wanted) => write!(f, "cat {}  # must be {wanted}", path.display()),
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
    /// The journal of an earlier run, if there is one: it is the same again where this one fails.
    pub earlier: Option<Journal>,
    /// Steps, in order. None if all is as asked already.
    pub steps: Vec<Step>,
    /// Members of its IOMMU group, itself included, where it matters.
    pub group: Vec<Device>,
    /// Uses that end because of `force`.
    pub ends: Vec<Use>,
    /// Virtual functions that the card has and will not have, or not keep.
    pub vfs: Option<u16>,
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
    /// It has the virtual functions asked for.
    Divided,
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
    /// Its virtual functions, where it was about them.
    pub vfs: Option<Vfs>,
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
    let plan = |device| match request.vfs {
        Some(wanted) => vfs::plan(roots, machine, device, wanted, request.force),
        None => plan_one(roots, machine, device, &taken, request),
    };
    devices.iter().map(plan).collect()
}

impl Plan {
    /// A plan without steps for `device`, if it is one of those that bmnic may change.
    fn begin(roots: &Roots, machine: &Machine, device: &Device, target: Option<String>) -> Result<Plan> {
        let address = device.address;
        if !device.is_network() {
            let what = format!("{address} is not a network card (PCI class {:06x})", device.class);
            let text = format!("{what}; bmnic leaves everything else alone");
            return Err(refused(text).with_remedy(Remedy::ListCards));
        }
        // An earlier run's journal knows better what the card was, unless the card
        // was put back by other means or replaced since.
        let earlier = Journal::load(roots, address)?.filter(|j| j.is_about(device) && !j.is_fulfilled(roots, device));
        Ok(Plan {
            device: device.clone(),
            target,
            journal: earlier.clone().unwrap_or_else(|| Journal::of(roots, device, &machine.network)),
            earlier,
            steps: Vec::new(),
            group: Vec::new(),
            ends: Vec::new(),
            vfs: None,
            warnings: Vec::new(),
        })
    }
}

fn plan_one(roots: &Roots, machine: &Machine, device: &Device, taken: &[Address], request: &Request) -> Result<Plan> {
    let (address, target) = (device.address, request.driver.as_deref());
    let mut plan = Plan::begin(roots, machine, device, request.driver.clone())?;
    plan.group = device.iommu_group.map(|group| discover::group_members(roots, group)).unwrap_or_default();
    if device.driver.as_deref() != target {
        plan.ends = uses(roots, machine, device);
        if !plan.ends.is_empty() && !request.force {
            return Err(in_use(device, &plan.ends));
        }
        // They go with the driver that made them.
        plan.vfs = Sriov::read(roots, address).map(|sriov| sriov.now).filter(|now| *now > 0);
    }
    let mut remembers = plan.earlier.is_none();
    if plan.vfs.is_some() && plan.journal.vfs.is_none() {
        (plan.journal.vfs, remembers) = (plan.vfs, true);
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
    let home = target == plan.journal.driver.as_deref() && plan.journal.has_vfs(roots, device);
    let path = journal::path(roots, address);
    if home && plan.earlier.is_some() {
        steps.push(Step::Forget(path));
    } else if !home && !steps.is_empty() && (remembers || plan.journal.noiommu.is_some()) {
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
    (plans.iter().map(|plan| plan.report(roots)).collect(), Ok(()))
}

/// Makes a card what it was before its plan was begun.
fn roll_back(kernel: &dyn Kernel, roots: &Roots, plan: &Plan) -> Report {
    let address = plan.device.address;
    let undone = Device::read(roots, address)
        .ok_or_else(|| Error::new(Kind::Gone, format!("{address} has gone")))
        .and_then(|now| {
            let before = &plan.device;
            let back = moves(roots, &now, before.driver.as_deref(), before.driver_override.as_deref());
            let mut steps = vfs::around(roots, &now, before.driver.as_deref(), plan.vfs, back);
            let untouched = steps.is_empty();
            steps.extend(switch_back(roots, &plan.journal));
            let path = journal::path(roots, address);
            steps.push(if plan.earlier.is_some() { Step::Save(path) } else { Step::Forget(path) });
            run(kernel, roots, plan.earlier.as_ref().unwrap_or(&plan.journal), &steps)?;
            Ok(if untouched { State::Unchanged } else { State::RolledBack })
        });
    let driver = discover::link_name(&plan.device.directory(roots).join("driver"));
    let (state, note) = match undone {
        Ok(state) => (state, None),
        Err(error) => (State::Stuck, Some(error.to_string())),
    };
    let (before, commands) = (plan.device.driver.clone(), plan.journal.commands.clone());
    let vfs = Vfs::since(roots, address, plan.vfs);
    Report { address, state, driver, before, vfs, commands, note }
}

/// Puts a card back as its journal says. Without a journal nothing is changed.
///
/// # Errors
/// As the step that failed; the journal is kept, and it can be tried again.
pub fn restore(kernel: &dyn Kernel, roots: &Roots, address: Address, force: bool) -> Result<Report> {
    let had = Sriov::read(roots, address).map(|sriov| sriov.now);
    match plan_restore(roots, address, force)? {
        Restore::Nothing(report) => {
            journal::forget(kernel, roots, address)?;
            Ok(report)
        }
        Restore::Steps(device, journal, steps) => {
            run(kernel, roots, &journal, &steps)
                .map_err(|e| e.hint("the journal is kept").with_remedy(Remedy::Restore(address.to_string())))?;
            let (driver, before) = (journal.driver, device.driver);
            // An interface that stayed has kept what it had.
            let stayed = journal.vfs.is_some() && driver == before;
            let commands = if stayed { Vec::new() } else { journal.commands };
            let vfs = journal.vfs.and_then(|_| Vfs::since(roots, address, had));
            Ok(Report { address, state: State::Restored, driver, before, vfs, commands, note: None })
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
        let state = State::Unchanged;
        Ok(Restore::Nothing(Report { address, state, driver, before, vfs: None, commands, note }))
    };
    let Some(journal) = Journal::load(roots, address)? else { return nothing("bmnic has not changed it") };
    let Some(device) = device.as_ref().filter(|d| journal.is_about(d)) else {
        return nothing("the card that bmnic changed is no longer there");
    };
    if journal.is_fulfilled(roots, device) && switch_back(roots, &journal).is_none() {
        return nothing("it is as it was before");
    }
    let open = if device.driver == journal.driver { Vec::new() } else { guard::holders(roots, device) };
    if !open.is_empty() && !force {
        return Err(in_use(device, &open));
    }
    if !force && journal.vfs.is_some() && !journal.has_vfs(roots, device) {
        vfs::check_free(roots, &Machine::read(roots, None), device)?;
    }
    let mut steps = Vec::new();
    let home = journal.driver.as_deref().filter(|d| !roots.pci().join("drivers").join(d).exists());
    steps.extend(home.map(|driver| Step::LoadModule(driver.to_string())));
    let back = moves(roots, device, journal.driver.as_deref(), journal.driver_override.as_deref());
    steps.extend(vfs::around(roots, device, journal.driver.as_deref(), journal.vfs, back));
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
            Step::Write(path, text) => kernel.write(path, text).map_err(|e| {
                let why = vfs::explain(roots, address, path, &e);
                let error = Error::io(format!("{address}: writing '{}' to {}", text.trim(), path.display()), e);
                why.into_iter().fold(error, Error::hint)
            })?,
            Step::Verify(link, wanted) => {
                let has = || discover::link_name(link);
                if !kernel.settled(&mut || has() == *wanted) {
                    return Err(not_taken(address, wanted.as_deref(), has().as_deref()));
                }
            }
            Step::Count(path, wanted) => vfs::count(kernel, address, path, *wanted)?,
            Step::Own(user, group) => nodes::own(kernel, roots, address, *user, *group)?,
            Step::Forget(path) => journal::remove(kernel, path)?,
        }
    }
    Ok(())
}

impl Plan {
    /// The report of a plan that went through.
    fn report(&self, roots: &Roots) -> Report {
        let state = match &self.target {
            _ if self.steps.is_empty() => State::Unchanged,
            target if *target == self.device.driver && self.vfs.is_some() => State::Divided,
            target if *target == self.device.driver => State::Unchanged,
            Some(_) => State::Bound,
            None => State::Unbound,
        };
        let moved = matches!(state, State::Bound | State::Unbound);
        let commands = if moved { self.journal.commands.clone() } else { Vec::new() };
        let (driver, before) = (self.target.clone(), self.device.driver.clone());
        let address = self.device.address;
        let vfs = Vfs::since(roots, address, self.vfs);
        Report { address, state, driver, before, vfs, commands, note: None }
    }
}
