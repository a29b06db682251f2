//! The card as a PCI function, before any register is touched.

use super::Seen;
use super::bench::{Bench, bad};
use crate::error::Result;
use crate::pci::{Function, Product, Vpd, capabilities, vpd};

/// Capabilities: power management, MSI-X.
const POWER_MANAGEMENT: u8 = 0x01;
const MSIX: u8 = 0x11;

/// Its ids are those that it was found by.
pub fn ids(bench: &mut Bench) -> Result<Seen> {
    found(bench.function()?)
}

fn found(function: &dyn Function) -> Result<Seen> {
    let ids = function.config_read(0, 4)?;
    let id = function.id();
    let (vendor, device) = (ids as u16, (ids >> 16) as u16);
    let revision = function.config_read(8, 1)?;
    if (vendor, device) != (id.vendor, id.device) {
        return Err(bad(format_args!("{vendor:04x}:{device:04x} instead of {:04x}:{:04x}", id.vendor, id.device)));
    }
    Ok(Seen::Good(format!("{vendor:04x}:{device:04x}, revision {revision}")))
}

/// It is awake.
pub fn power(bench: &mut Bench) -> Result<Seen> {
    awake(bench.function()?)
}

fn awake(function: &dyn Function) -> Result<Seen> {
    let Some(&at) = capabilities(function, POWER_MANAGEMENT)?.first() else {
        return Ok(Seen::Skipped("it has no power management".into()));
    };
    match function.config_read(at + 4, 2)? & 3 {
        0 => Ok(Seen::Good("D0".into())),
        state => Err(bad(format_args!("D{state}"))),
    }
}

/// It has as many interrupts as it says.
pub fn vectors(bench: &mut Bench) -> Result<Seen> {
    told(bench.function()?)
}

fn told(function: &dyn Function) -> Result<Seen> {
    let Some(&at) = capabilities(function, MSIX)?.first() else {
        return Ok(Seen::Skipped("it has no MSI-X".into()));
    };
    // The last one's number (PCI 3.0 §6.8.2.3).
    let says = (function.config_read(at + 2, 2)? & 0x7ff) + 1;
    match u32::from(function.irq_vectors()) {
        0 => Ok(Seen::Skipped("none, this way to the card; with vfio-pci there are".into())),
        vectors if vectors == says => Ok(Seen::Good(format!("{vectors} (MSI-X)"))),
        vectors => Err(bad(format_args!("{vectors} can be had, it says {says}"))),
    }
}

/// It is there again when it was reset.
pub fn reset(bench: &mut Bench) -> Result<Seen> {
    let function = bench.function()?;
    if !function.reset()? {
        return Ok(Seen::Skipped("it cannot be reset by itself".into()));
    }
    match found(function)? {
        Seen::Good(_) => Ok(Seen::Good("it answers".into())),
        skipped @ Seen::Skipped(_) => Ok(skipped),
    }
}

/// What it says of itself is whole.
pub fn product(bench: &mut Bench) -> Result<Seen> {
    match vpd(bench.function()?)? {
        Vpd::Nothing(why) => Ok(Seen::Skipped(why)),
        Vpd::Product(product) => Ok(Seen::Good(words(&product))),
    }
}

fn words(product: &Product) -> String {
    let name = if product.name.is_empty() { "no name" } else { &product.name };
    let part = product.part.as_ref().map(|part| format!("PN {part}"));
    let changes = product.changes.as_ref().map(|changes| format!("EC {changes}"));
    let sum = if product.summed { "checksum right" } else { "no checksum" };
    [Some(name.into()), part, changes, Some(sum.into())].into_iter().flatten().collect::<Vec<String>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emu::{Drive, Engine, Spec};
    use crate::error::Error;
    use crate::pci::troubled::Troubled;
    use std::sync::atomic::Ordering;

    /// A card of which something is wrong.
    fn troubled(engine: &Engine) -> Troubled {
        Troubled::of(engine.open(&Spec::new("82599")).unwrap().0)
    }

    fn seen(step: fn(&dyn Function) -> Result<Seen>, function: &dyn Function) -> String {
        match step(function) {
            Ok(Seen::Good(text) | Seen::Skipped(text)) => text,
            Err(error) => format!("failed: {}", Error::to_string(&error)),
        }
    }

    #[test]
    fn other_ids_than_those_of_the_slot_are_told() {
        let engine = Engine::new(Drive::Manual);
        let card = troubled(&engine);
        assert_eq!(seen(found, &card), "8086:10fb, revision 1");
        card.gone.store(true, Ordering::Relaxed);
        assert_eq!(seen(found, &card), "failed: ffff:ffff instead of 8086:10fb");
    }

    #[test]
    fn a_product_is_told_by_what_it_says_of_itself() {
        let mut product = Product { part: Some("X-1".into()), summed: true, ..Product::default() };
        assert_eq!(words(&product), "no name; PN X-1; checksum right");
        product = Product { name: "Card".into(), changes: Some("A".into()), ..Product::default() };
        assert_eq!(words(&product), "Card; EC A; no checksum");
    }

    #[test]
    fn a_card_that_sleeps_is_told() {
        let engine = Engine::new(Drive::Manual);
        let card = troubled(&engine);
        assert_eq!(seen(awake, &card), "D0");
        card.sleepy.store(1, Ordering::Relaxed);
        assert_eq!(seen(awake, &card), "failed: D3");
    }

    #[test]
    fn vectors_that_cannot_be_had_are_told() {
        let engine = Engine::new(Drive::Manual);
        let card = troubled(&engine);
        assert_eq!(seen(told, &card), "64 (MSI-X)");
        card.vectors_lost.store(60, Ordering::Relaxed);
        assert_eq!(seen(told, &card), "failed: 4 can be had, it says 64");
        card.vectors_lost.store(64, Ordering::Relaxed);
        assert!(seen(told, &card).starts_with("none, this way"));
    }
}
