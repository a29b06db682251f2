//! The card as a PCI function, before any register is touched.

use super::Seen;
use super::bench::Bench;
use crate::error::Result;
use crate::pci::capabilities;

/// Its ids are those that it was found by.
pub fn ids(bench: &mut Bench) -> Result<Seen> {
    let function = bench.function();
    let ids = function.config_read(0, 4)?;
    let id = function.id();
    let (vendor, device) = (ids as u16, (ids >> 16) as u16);
    let revision = function.config_read(8, 1)?;
    if (vendor, device) != (id.vendor, id.device) {
        return Err(
            bench.error(format_args!("{vendor:04x}:{device:04x} instead of {:04x}:{:04x}", id.vendor, id.device))
        );
    }
    Ok(Seen::Good(format!("{vendor:04x}:{device:04x}, revision {revision}")))
}

/// It is awake.
pub fn power(bench: &mut Bench) -> Result<Seen> {
    const POWER_MANAGEMENT: u8 = 0x01;
    let function = bench.function();
    let Some(&at) = capabilities(function, POWER_MANAGEMENT)?.first() else {
        return Ok(Seen::Skipped("it has no power management".into()));
    };
    match function.config_read(at + 4, 2)? & 3 {
        0 => Ok(Seen::Good("D0".into())),
        state => Err(bench.error(format_args!("D{state}"))),
    }
}

/// It has interrupts that can be waited for.
pub fn vectors(bench: &mut Bench) -> Result<Seen> {
    Ok(match bench.function().irq_vectors() {
        0 => Seen::Skipped("none, this way to the card; with vfio-pci there are".into()),
        vectors => Seen::Good(format!("{vectors} (MSI-X)")),
    })
}
