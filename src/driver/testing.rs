//! For tests only: a card that is nothing but reachable, and memory for its rings.

use crate::dma::{Addressing, Arena, Region};
use crate::error::{Error, Kind, Result};
use crate::pci::{self, Function};

/// A card that is nothing but reachable.
pub struct Card;

impl Function for Card {
    fn name(&self) -> &str {
        "test:card"
    }

    fn kind(&self) -> pci::Kind {
        pci::Kind::Emulated
    }

    fn config_read(&self, _offset: u16, _size: u8) -> Result<u32> {
        Ok(0)
    }

    fn config_write(&self, _offset: u16, _size: u8, _value: u32) -> Result<()> {
        Ok(())
    }
}

/// An error of something that is not here.
pub fn nothing() -> Error {
    Error::new(Kind::Unsupported, "not here")
}

/// Regions of so many bytes, one after the other.
pub fn regions<const N: usize>(bytes: [usize; N]) -> [Region; N] {
    let mut at = 0;
    let arena = Arena::new(bytes.iter().sum(), Addressing::Translated).unwrap();
    bytes.map(|bytes| {
        at += bytes;
        Region::new(&arena, at - bytes, bytes)
    })
}
