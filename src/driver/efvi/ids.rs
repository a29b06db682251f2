//! Which cards this driver knows, and how their generations differ.
//!
//! Virtual functions (1903, 1923, 1a03, 1b03) may neither bring a link up nor
//! set what the MAC receives: they are not listed.

use crate::pci;

const SOLARFLARE: u16 = 0x1924;

/// Generation of the silicon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// SFC9120, SFC9140.
    Huntington,
    /// SFC9220.
    Medford,
    /// SFC9250.
    Medford2,
}

/// One of the cards.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    device: u16,
    /// Name as people know it.
    pub name: &'static str,
    /// Generation.
    pub generation: Generation,
    /// BAR of the registers; the older ones have I/O ports in BAR 0.
    pub bar: u8,
}

const fn model(device: u16, name: &'static str, generation: Generation, bar: u8) -> Model {
    Model { device, name, generation, bar }
}

static MODELS: [Model; 4] = {
    use Generation::{Huntington, Medford, Medford2};
    [
        model(0x0903, "Solarflare SFC9120", Huntington, 2),
        model(0x0923, "Solarflare SFC9140", Huntington, 2),
        model(0x0a03, "Solarflare SFC9220", Medford, 2),
        model(0x0b03, "Solarflare X2 (SFC9250)", Medford2, 0),
    ]
};

/// The card behind a PCI id.
pub fn find(id: pci::Id) -> Option<&'static Model> {
    MODELS.iter().find(|model| id.vendor == SOLARFLARE && id.device == model.device)
}
