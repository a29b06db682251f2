//! Which cards this driver knows, and how they differ.
//!
//! Virtual functions (154c, 1571, 37cd) have another register map and are not
//! listed here.

use crate::pci;

const INTEL: u16 = 0x8086;

/// Generation of the MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mac {
    /// X710, XL710, XXV710.
    Xl710,
    /// X722, inside the C620 chipset.
    X722,
}

/// One of the cards.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    device: u16,
    /// Name as people know it.
    pub name: &'static str,
    /// Generation.
    pub mac: Mac,
}

const fn model(device: u16, name: &'static str, mac: Mac) -> Model {
    Model { device, name, mac }
}

static MODELS: [Model; 26] = {
    use Mac::{X722, Xl710};
    [
        model(0x1572, "Intel X710 SFP+", Xl710),
        model(0x1580, "Intel XL710 backplane", Xl710),
        model(0x1581, "Intel X710 backplane", Xl710),
        model(0x1583, "Intel XL710 QSFP+", Xl710),
        model(0x1584, "Intel XL710 QSFP+ single port", Xl710),
        model(0x1585, "Intel X710 QSFP+", Xl710),
        model(0x1586, "Intel X710 10GBASE-T", Xl710),
        model(0x1587, "Intel XL710 20G backplane", Xl710),
        model(0x1588, "Intel XL710 20G backplane", Xl710),
        model(0x1589, "Intel X710-T4", Xl710),
        model(0x158a, "Intel XXV710 backplane", Xl710),
        model(0x158b, "Intel XXV710 SFP28", Xl710),
        model(0x15ff, "Intel X710-TL", Xl710),
        model(0x101f, "Intel X710 5GBASE-T", Xl710),
        model(0x104e, "Intel X710 SFP+", Xl710),
        model(0x104f, "Intel X710 backplane", Xl710),
        model(0x0dd2, "Intel X710 1GBASE-T", Xl710),
        model(0x0cf8, "Intel X710 N3000", Xl710),
        model(0x0d58, "Intel XXV710 N3000", Xl710),
        model(0x37ce, "Intel X722 backplane", X722),
        model(0x37cf, "Intel X722 QSFP+", X722),
        model(0x37d0, "Intel X722 SFP+", X722),
        model(0x37d1, "Intel X722 1GBASE-T", X722),
        model(0x37d2, "Intel X722 10GBASE-T", X722),
        model(0x37d3, "Intel X722 SFP+ iWARP", X722),
        model(0x0dda, "Intel X722 SFP+", X722),
    ]
};

/// The card with this id.
pub fn find(id: pci::Id) -> Option<&'static Model> {
    MODELS.iter().find(|model| id.vendor == INTEL && model.device == id.device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_there_once_and_no_virtual_function() {
        let mut ids: Vec<_> = MODELS.iter().map(|model| model.device).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), MODELS.len());
        assert!([0x154c, 0x1571, 0x37cd].iter().all(|id| !ids.contains(id)));
    }
}
