//! What a card is, for who mends a model of it: nothing that tells one card from another of
//! its kind.

use crate::error::Result;
use crate::pci::{Function, capabilities, extended, listed};
use serde_json::{Value, json};

/// The PCI Express capability; in it, what the link can and what it does (PCIe 3.0 §7.8.6,
/// §7.8.8).
const PCIE: u8 = 0x10;
const LINK_CAPABILITIES: u16 = 0x0c;
const LINK_STATUS: u16 = 0x12;

/// What configuration space says: ids, capabilities and their places, the slot's link. Not
/// the serial number, of which only the place is told.
///
/// # Errors
/// Those of [`Function::config_read`].
pub fn of(function: &dyn Function) -> Result<Value> {
    let id = function.id();
    let class = function.config_read(8, 4)? >> 8;
    let hex = |places: Vec<(u16, u16)>| -> Vec<String> {
        places.into_iter().map(|(at, id)| format!("{id:#04x} at {at:#x}")).collect()
    };
    let short = listed(function)?.into_iter().map(|(at, id)| (at, u16::from(id))).collect();
    Ok(json!({
        "id": format!("{:04x}:{:04x}", id.vendor, id.device),
        "subsystem": format!("{:04x}:{:04x}", id.subsystem_vendor, id.subsystem),
        "revision": id.revision,
        "class": format!("{class:06x}"),
        "opened_by": function.kind().to_string(),
        "vectors": function.irq_vectors(),
        "capabilities": hex(short),
        "extended_capabilities": hex(extended(function)?),
        "pcie": link(function)?,
    }))
}

/// Generation and width of the slot's link: what they are and what they could be.
fn link(function: &dyn Function) -> Result<Option<Value>> {
    let Some(&at) = capabilities(function, PCIE)?.first() else { return Ok(None) };
    let [most, now] =
        [(LINK_CAPABILITIES, 4), (LINK_STATUS, 2)].map(|(field, size)| function.config_read(at + field, size));
    let (most, now) = (most?, now?);
    let [generation, most_generation] = [now, most].map(|word| word & 0xf);
    let [width, most_width] = [now, most].map(|word| word >> 4 & 0x3f);
    Ok(Some(json!({
        "generation": generation, "width": width,
        "max_generation": most_generation, "max_width": most_width,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emu::{Drive, Engine, Spec};

    #[test]
    fn a_card_is_told_by_its_kind() {
        let engine = Engine::new(Drive::Manual);
        let (card, _tap) = engine.open(&Spec::new("82599")).unwrap();
        let facts = of(&*card).unwrap();
        assert_eq!(facts["id"], "8086:10fb");
        assert_eq!(facts["class"], "020000");
        assert_eq!(facts["capabilities"][0], "0x01 at 0x40");
        assert_eq!(facts["extended_capabilities"][1], "0x03 at 0x140", "{facts:#}");
        assert_eq!(facts["pcie"]["max_width"], facts["pcie"]["width"]);
        assert!(facts["pcie"]["width"].as_u64().unwrap() > 0);
    }
}
