//! Which cards this driver knows, and how they differ.
//!
//! Virtual functions (10ed, 1515, 1565) have another register map, and the
//! X550EM parts inside Atom processors another way to their PHY: neither is
//! listed here.

use crate::pci;

const INTEL: u16 = 0x8086;

/// Generation of the MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mac {
    /// 82599.
    I82599,
    /// X540.
    X540,
    /// X550.
    X550,
}

/// What the MAC is connected to (82599 §3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// A backplane; the EEPROM says which mode.
    Backplane,
    /// An SFP+ cage.
    Sfp,
    /// A laser on the board itself; the EEPROM says which mode.
    Optics,
    /// A QSFP+ cage; the module is left to the firmware.
    Qsfp,
    /// A PHY for twisted pair, behind MDIO.
    Copper,
}

/// One of the cards.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    device: u16,
    /// Name as people know it.
    pub name: &'static str,
    /// Generation.
    pub mac: Mac,
    /// Medium.
    pub media: Media,
}

const fn model(device: u16, name: &'static str, mac: Mac, media: Media) -> Model {
    Model { device, name, mac, media }
}

static MODELS: [Model; 20] = {
    use Mac::{I82599, X540, X550};
    use Media::{Backplane, Copper, Optics, Qsfp, Sfp};
    [
        model(0x10f7, "Intel 82599 KX4", I82599, Backplane),
        model(0x1514, "Intel 82599 KX4 mezzanine", I82599, Backplane),
        model(0x10f8, "Intel 82599 combined backplane", I82599, Backplane),
        model(0x1517, "Intel 82599 KR", I82599, Backplane),
        model(0x152a, "Intel 82599 backplane FCoE", I82599, Backplane),
        model(0x10f9, "Intel 82599 CX4", I82599, Backplane),
        model(0x10fc, "Intel 82599 XAUI", I82599, Backplane),
        model(0x10fb, "Intel 82599ES SFP+", I82599, Sfp),
        model(0x1507, "Intel 82599 SFP+ EM", I82599, Sfp),
        model(0x1529, "Intel 82599 SFP+ FCoE", I82599, Sfp),
        model(0x154d, "Intel 82599 SFP+ SF2", I82599, Sfp),
        model(0x154a, "Intel 82599 quad SFP+", I82599, Sfp),
        model(0x1557, "Intel 82599EN SFP+", I82599, Sfp),
        model(0x154f, "Intel 82599 LS", I82599, Optics),
        model(0x1558, "Intel 82599 QSFP+", I82599, Qsfp),
        model(0x151c, "Intel 82599 10GBASE-T", I82599, Copper),
        model(0x1528, "Intel X540-T2", X540, Copper),
        model(0x1560, "Intel X540-T1", X540, Copper),
        model(0x1563, "Intel X550-T2", X550, Copper),
        model(0x15d1, "Intel X550-T1", X550, Copper),
    ]
};

/// The card with this id, if it is one of the family.
pub fn find(id: pci::Id) -> Option<&'static Model> {
    MODELS.iter().find(|model| id.vendor == INTEL && id.device == model.device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_listed_once_and_virtual_functions_are_not() {
        let id = |device| pci::Id { vendor: INTEL, device, ..pci::Id::default() };
        for model in &MODELS {
            assert!(std::ptr::eq(find(id(model.device)).unwrap(), model), "{:04x} twice", model.device);
        }
        for device in [0x10ed, 0x1515, 0x1565, 0x15a8, 0x15c5, 0x1572] {
            assert!(find(id(device)).is_none(), "{device:04x}");
        }
        assert!(find(pci::Id { vendor: 0x10b5, device: 0x10fb, ..pci::Id::default() }).is_none());
    }
}
