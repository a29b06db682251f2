//! Which cards this driver knows, and which of the same maker it does not drive.

use crate::pci;

const MELLANOX: u16 = 0x15b3;

/// One of the cards.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    device: u16,
    /// Name as people know it.
    pub name: &'static str,
}

impl Model {
    /// Its silicon reads L2 headers from the entry, whatever its firmware says.
    pub fn wants_headers(&self) -> bool {
        matches!(self.device, 0x1013 | 0x1015)
    }
}

const fn model(device: u16, name: &'static str) -> Model {
    Model { device, name }
}

static MODELS: [Model; 9] = [
    model(0x1013, "NVIDIA ConnectX-4"),
    model(0x1015, "NVIDIA ConnectX-4 Lx"),
    model(0x1017, "NVIDIA ConnectX-5"),
    model(0x1019, "NVIDIA ConnectX-5 Ex"),
    model(0x101b, "NVIDIA ConnectX-6"),
    model(0x101d, "NVIDIA ConnectX-6 Dx"),
    model(0x101f, "NVIDIA ConnectX-6 Lx"),
    model(0x1021, "NVIDIA ConnectX-7"),
    // Seen from the host, the card of a BlueField-2 is a ConnectX-6 Dx.
    model(0xa2d6, "NVIDIA BlueField-2"),
];

/// The card behind a PCI id.
pub fn find(id: pci::Id) -> Option<&'static Model> {
    MODELS.iter().find(|model| id.vendor == MELLANOX && id.device == model.device)
}

/// Why a card that looks like one of these is not driven.
pub fn why_not(id: pci::Id) -> Option<&'static str> {
    if id.vendor != MELLANOX {
        return None;
    }
    match id.device {
        0x1003 | 0x1004 | 0x1007 | 0x6340..=0x6fff => {
            Some("ConnectX-3 and older cards have another interface; ConnectX-4 to ConnectX-7 are driven")
        }
        0x0209..=0x0218 => Some("its firmware is in recovery; burn one with the maker's tools"),
        0x1011 | 0x1012 => Some("Connect-IB has no Ethernet; ConnectX-4 to ConnectX-7 are driven"),
        0x1014 | 0x1016 | 0x1018 | 0x101a | 0x101c | 0x101e | 0xa2d3 => {
            Some("this is a virtual function, whose frames its physical function decides on; use that one")
        }
        0x1023 | 0x1025 | 0x1027 | 0xa2d2 | 0xa2dc | 0xa2df => {
            Some("this card was never tried; ConnectX-4 to ConnectX-7 are driven")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_driven_or_there_is_a_reason() {
        let id = |device| pci::Id { vendor: MELLANOX, device, ..pci::Id::default() };
        for model in &MODELS {
            assert!(why_not(id(model.device)).is_none(), "{}", model.name);
        }
        assert_eq!(find(id(0x1015)).unwrap().name, "NVIDIA ConnectX-4 Lx");
        for device in [0x020b, 0x1003, 0x1011, 0x1016, 0x101e, 0x1023, 0x6372] {
            assert!(find(id(device)).is_none() && why_not(id(device)).is_some(), "{device:#x}");
        }
        assert!(why_not(pci::Id { vendor: 0x8086, ..id(0x1016) }).is_none());
    }
}
