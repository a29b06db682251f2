//! Registers of the common structure, the ones this driver uses
//! (VIRTIO 1.2 §4.1.4.3), of a legacy device (the end of §4.1.4), and of a network
//! device (§5.1.4).

use crate::pci::Bar;

/// A register: its name, its offset in the structure, its width in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg {
    /// Name in the specification, for messages.
    pub name: &'static str,
    /// Offset in bytes.
    pub offset: u16,
    /// Bytes.
    pub width: u8,
}

impl Reg {
    /// Reads it in the structure that begins at `start`.
    pub fn read(self, bar: &Bar, start: u64) -> u32 {
        let at = start + u64::from(self.offset);
        match self.width {
            1 => u32::from(bar.read8(at)),
            2 => u32::from(bar.read16(at)),
            _ => bar.read32(at),
        }
    }

    /// Writes it in the structure that begins at `start`.
    pub fn write(self, bar: &Bar, start: u64, value: u32) {
        let at = start + u64::from(self.offset);
        match self.width {
            1 => bar.write8(at, value as u8),
            2 => bar.write16(at, value as u16),
            _ => bar.write32(at, value),
        }
    }

    /// Offset of the byte behind it.
    pub fn end(self) -> u64 {
        u64::from(self.offset) + u64::from(self.width)
    }
}

/// Declares registers, one a line: `NAME = offset, width in bits, "what"`.
macro_rules! registers {
    ($($name:ident = $offset:literal, $bits:literal, $doc:literal;)*) => {
        $(#[doc = $doc] pub const $name: Reg =
            Reg { name: stringify!($name), offset: $offset, width: $bits / 8 };)*
    };
}

/// The common structure.
pub mod common {
    use super::Reg;

    registers! {
        DEVICE_FEATURE_SELECT = 0, 32,  "Which 32 of the device's features are shown.";
        DEVICE_FEATURE        = 4, 32,  "Features that the device offers.";
        DRIVER_FEATURE_SELECT = 8, 32,  "Which 32 of the driver's features are written.";
        DRIVER_FEATURE        = 12, 32, "Features that the driver takes.";
        CONFIG_MSIX_VECTOR    = 16, 16, "Vector of configuration changes.";
        NUM_QUEUES            = 18, 16, "Queues that the device has.";
        DEVICE_STATUS         = 20, 8,  "How far the driver has come.";
        CONFIG_GENERATION     = 21, 8,  "Changes with the device's configuration.";
        QUEUE_SELECT          = 22, 16, "Which queue the following are of.";
        QUEUE_SIZE            = 24, 16, "Its size: the most on reset.";
        QUEUE_MSIX_VECTOR     = 26, 16, "Its vector.";
        QUEUE_ENABLE          = 28, 16, "Whether it is on.";
        QUEUE_NOTIFY_OFF      = 30, 16, "Its place among the notifications.";
        QUEUE_DESC_LO         = 32, 32, "Its descriptors, low half.";
        QUEUE_DESC_HI         = 36, 32, "High half.";
        QUEUE_DRIVER_LO       = 40, 32, "What the driver writes, low half.";
        QUEUE_DRIVER_HI       = 44, 32, "High half.";
        QUEUE_DEVICE_LO       = 48, 32, "What the device writes, low half.";
        QUEUE_DEVICE_HI       = 52, 32, "High half.";
    }
}

/// A legacy device's, in its BAR 0.
pub mod legacy {
    use super::Reg;

    registers! {
        DEVICE_FEATURES    = 0, 32,  "Features that the device offers.";
        DRIVER_FEATURES    = 4, 32,  "Features that the driver takes.";
        QUEUE_PFN          = 8, 32,  "Page in which the selected queue begins; 0 if it is off.";
        QUEUE_SIZE         = 12, 16, "Its size: what it is.";
        QUEUE_SELECT       = 14, 16, "Which queue the two before are of.";
        QUEUE_NOTIFY       = 16, 16, "Written with the index of a queue that has something new.";
        DEVICE_STATUS      = 18, 8,  "How far the driver has come.";
        ISR                = 19, 8,  "Why it interrupts; reading clears it.";
        CONFIG_MSIX_VECTOR = 20, 16, "Vector of configuration changes: there while MSI-X is on.";
        QUEUE_MSIX_VECTOR  = 22, 16, "The selected queue's vector: there while MSI-X is on.";
    }

    /// Where a network device's own structure begins while MSI-X is off, and while it is on.
    pub const DEVICE: [u64; 2] = [20, 24];
}

/// A network device's own structure.
pub mod net {
    use super::Reg;

    registers! {
        MAC                 = 0, 8,   "Its address, the first of 6 fields.";
        STATUS              = 6, 16,  "Its link.";
        MAX_VIRTQUEUE_PAIRS = 8, 16,  "Pairs of queues it can have.";
        MTU                 = 10, 16, "Bytes of the longest packet that its network takes.";
        SPEED               = 12, 32, "Speed in Mbit/s, all ones if not known.";
    }

    /// The link is up, in STATUS.
    pub const LINK_UP: u32 = 1;
}

/// Bits of DEVICE_STATUS (§2.1).
pub mod status {
    /// The driver has seen the device.
    pub const ACKNOWLEDGE: u32 = 1;
    /// It knows how to drive it.
    pub const DRIVER: u32 = 2;
    /// It is driving.
    pub const DRIVER_OK: u32 = 4;
    /// Features are agreed on.
    pub const FEATURES_OK: u32 = 8;
    /// The device cannot go on.
    pub const NEEDS_RESET: u32 = 0x40;
    /// The driver has given up.
    pub const FAILED: u32 = 0x80;
}

/// No vector.
pub const NO_VECTOR: u32 = 0xffff;
