//! Which cards this driver knows, how their generations differ, and which cards
//! of the same maker it does not drive.

use super::Generation;
use crate::pci;

const BROADCOM: u16 = 0x14e4;

/// One of the cards.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    device: u16,
    /// Name as people know it.
    pub name: &'static str,
    /// Generation.
    pub generation: Generation,
}

const fn model(device: u16, name: &'static str, generation: Generation) -> Model {
    Model { device, name, generation }
}

static MODELS: [Model; 28] = {
    use Generation::{P4, P5};
    [
        model(0x16d6, "Broadcom BCM57412", P4),
        model(0x16d7, "Broadcom BCM57414", P4),
        model(0x16d8, "Broadcom BCM57416", P4),
        model(0x16d9, "Broadcom BCM57417", P4),
        model(0x16e2, "Broadcom BCM57417", P4),
        model(0x16e3, "Broadcom BCM57416", P4),
        model(0x1614, "Broadcom BCM57454", P4),
        model(0x16f1, "Broadcom BCM57452", P4),
        model(0x16f0, "Broadcom BCM58808", P4),
        model(0xd802, "Broadcom BCM58802", P4),
        model(0xd804, "Broadcom BCM58804", P4),
        model(0x16c0, "Broadcom BCM57417 (partition)", P4),
        model(0x16cc, "Broadcom BCM57417 (partition)", P4),
        model(0x16de, "Broadcom BCM57412 (partition)", P4),
        model(0x16eb, "Broadcom BCM57412 (partition)", P4),
        model(0x16ec, "Broadcom BCM57414 (partition)", P4),
        model(0x16ed, "Broadcom BCM57414 (partition)", P4),
        model(0x16ee, "Broadcom BCM57416 (partition)", P4),
        model(0x16ef, "Broadcom BCM57416 (partition)", P4),
        model(0x1750, "Broadcom BCM57508", P5),
        model(0x1751, "Broadcom BCM57504", P5),
        model(0x1752, "Broadcom BCM57502", P5),
        model(0x1800, "Broadcom BCM57502 (partition)", P5),
        model(0x1801, "Broadcom BCM57504 (partition)", P5),
        model(0x1802, "Broadcom BCM57508 (partition)", P5),
        model(0x1803, "Broadcom BCM57502 (partition)", P5),
        model(0x1804, "Broadcom BCM57504 (partition)", P5),
        model(0x1805, "Broadcom BCM57508 (partition)", P5),
    ]
};

/// The card behind a PCI id.
pub fn find(id: pci::Id) -> Option<&'static Model> {
    MODELS.iter().find(|model| id.vendor == BROADCOM && id.device == model.device)
}

/// Why a card that looks like one of these is not driven.
pub fn why_not(id: pci::Id) -> Option<&'static str> {
    if id.vendor != BROADCOM {
        return None;
    }
    match id.device {
        0x16c8..=0x16ca | 0x16cd..=0x16cf | 0x16d0..=0x16d2 | 0x16d4 | 0x16d5 | 0x16df | 0x16e7..=0x16ea => Some(
            "NetXtreme-C and the first NetXtreme-E cards lose single doorbells; only BCM574xx from 57412 on and BCM575xx are driven",
        ),
        0x1760..=0x1763 => Some("BCM576xx has completions of another form; only BCM574xx and BCM575xx are driven"),
        0x16c1 | 0x16cb | 0x16d3 | 0x16dc | 0x16e1 | 0x16e5 | 0x1606 | 0x1609 | 0x1806..=0x1809 | 0xd800 => {
            Some("this is a virtual function, which may not bring a link up; use the physical one")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(device: u16) -> pci::Id {
        pci::Id { vendor: BROADCOM, device, ..pci::Id::default() }
    }

    #[test]
    fn a_card_is_driven_or_there_is_a_reason() {
        for model in &MODELS {
            assert!(why_not(id(model.device)).is_none(), "{}", model.name);
        }
        assert_eq!(find(id(0x1750)).unwrap().generation, Generation::P5);
        for device in [0x16c8, 0x16d5, 0x1760, 0x16dc, 0x1806] {
            assert!(find(id(device)).is_none() && why_not(id(device)).is_some(), "{device:#x}");
        }
        assert!(why_not(pci::Id { vendor: 0x8086, ..id(0x1760) }).is_none());
    }
}
