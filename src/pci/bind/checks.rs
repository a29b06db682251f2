//! What binding looks at before it changes anything, and how it says no.

use super::{Plan, Request};
use crate::error::{Error, Kind, Remedy, Result};
use crate::pci::discover::{self, Device};
use crate::pci::guard::{self, Machine, Use};
use crate::pci::{Address, explain, journal};
use crate::sys::Roots;
use std::fs::OpenOptions;
use std::path::PathBuf;

/// Uses that end if the card leaves the driver it has.
pub(super) fn uses(roots: &Roots, machine: &Machine, device: &Device) -> Vec<Use> {
    let mut uses = guard::holders(roots, device);
    uses.extend(machine.uses(device));
    uses
}

/// Refuses if other members of the card's IOMMU group are in the way.
pub(super) fn check_group(roots: &Roots, plan: &Plan, taken: &[Address], force: bool) -> Result<()> {
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
pub(super) fn check_iommu(roots: &Roots, plan: &mut Plan, request: &Request) -> Result<Option<PathBuf>> {
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

pub(super) fn noiommu_switch(roots: &Roots) -> PathBuf {
    roots.sys.join("module/vfio/parameters/enable_unsafe_noiommu_mode")
}

/// Level of the kernel's lockdown, if it is on: `none [integrity] confidentiality`.
pub fn lockdown(roots: &Roots) -> Option<String> {
    let levels = discover::text(&roots.sys.join("kernel/security/lockdown"))?;
    let chosen = levels.split('[').nth(1)?.split(']').next()?.to_string();
    (chosen != "none").then_some(chosen)
}

/// Says early, before the journal, that this user may not do it.
pub(super) fn permitted(roots: &Roots, plan: &Plan) -> Result<()> {
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

pub(super) fn refused(text: String) -> Error {
    Error::new(Kind::Refused, text)
}

pub(super) fn in_use(device: &Device, uses: &[Use]) -> Error {
    let uses: Vec<String> = uses.iter().map(Use::to_string).collect();
    refused(format!("{} is in use: {}; nothing changed", device.address, uses.join(", ")))
        .with_remedy(Remedy::AnotherCard)
}

pub(super) fn not_taken(address: Address, wanted: Option<&str>, has: Option<&str>) -> Error {
    let text = match (wanted, has) {
        (Some(wanted), None) => {
            format!("{address}: the driver {wanted} did not take it; the kernel's log (dmesg) says why")
        }
        (Some(wanted), Some(has)) => format!("{address}: {has} took it instead of {wanted}"),
        (None, has) => format!("{address}: {} did not let it go", has.unwrap_or("its driver")),
    };
    Error::new(Kind::Io, text)
}

pub(super) fn explain_module(roots: &Roots, error: Error, name: &str) -> Error {
    match lockdown(roots) {
        Some(level) => error.hint(format!(
            "the kernel is locked down ({level}): only modules signed by its maker load; install the {name} of your distribution's kernel"
        )),
        None => error.hint(format!("install the package of your kernel's extra modules, which holds {name}")),
    }
}
