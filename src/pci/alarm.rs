//! What takes a card away from a program that uses it.

use crate::error::{Error, Kind, Result};

/// What has happened to a card that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Its registers are not there any more.
    Gone,
    /// The kernel asks for it, and waits until it is closed (Linux, vfio.h,
    /// `VFIO_PCI_REQ_IRQ_INDEX`).
    Wanted,
    /// PCIe has reported an error of it that was not corrected (`VFIO_PCI_ERR_IRQ_INDEX`).
    Failed,
    /// An interface of the kernel is down, or there no more.
    Down,
}

impl Alarm {
    /// The error of a run that it ends.
    pub fn of(self, card: &str) -> Error {
        let text = match self {
            Alarm::Gone => "the card is gone: it was pulled, lost power, or somebody else has reset it",
            Alarm::Down => "the interface was taken down, removed, or moved to another network namespace",
            Alarm::Wanted => {
                "the kernel asks for the card back, as it is being unplugged or unbound; it was closed for that"
            }
            Alarm::Failed => {
                "PCIe has reported an error of the card that was not corrected, so what it did since is not to be trusted; `dmesg` has the details"
            }
        };
        Error::new(Kind::Gone, format!("{card}: {text}"))
    }
}

/// Whether a card does not answer, given what its ids were read as.
pub(super) fn is_silent(ids: &Result<u32>) -> bool {
    matches!(ids, Err(_) | Ok(u32::MAX))
}
