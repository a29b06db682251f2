//! The module in a cage: its memory, as firmware of several families reads it for a
//! driver (SFF-8472, SFF-8636).
//!
//! ```text
//!   SFP28    A0h  0 what it is  20 vendor  40 part  63, 95 sums    A2h  96 diagnostics
//!   QSFP28   A0h  lower page: 0 what it is  22 diagnostics
//!                 page 0, from 128 on: what it is  148 vendor  168 part
//! ```

use super::{Board, FaultKind};

/// The slave's addresses.
const IDENTIFICATION: u8 = 0xa0;
const DIAGNOSTICS: u8 = 0xa2;

const PART: &[u8; 16] = b"EMULATED-SR     ";
const SERIAL: &[u8; 16] = b"EMULATED-SN-0001";
const DATE: &[u8; 8] = b"260101  ";
/// 35 degrees and 3.3 V, as both standards have them.
const TEMPERATURE: [u8; 2] = [35, 0];
const VOLTAGE: [u8; 2] = [0x80, 0xe8];

/// A module that is in a cage.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Who made it.
    pub vendor: [u8; 16],
    /// The maker's number.
    pub oui: [u8; 3],
    /// It is a QSFP28, for four lanes.
    pub wide: bool,
    /// The checksum over what it is is wrong.
    damaged: bool,
}

impl Module {
    /// That of a card.
    pub fn of(board: &Board, vendor: [u8; 16], oui: [u8; 3], wide: bool) -> Module {
        Module { vendor, oui, wide, damaged: board.faulty(FaultKind::ModuleSum) }
    }

    /// A byte of its memory; none if there is no such device.
    pub fn byte(&self, slave: u8, page: u16, at: usize) -> Option<u8> {
        match (self.wide, slave) {
            (false, IDENTIFICATION) => Some(self.sfp().get(at).copied().unwrap_or(0)),
            (false, DIAGNOSTICS) => Some(measured(at, 96, 98)),
            (true, IDENTIFICATION) => Some(self.qsfp(page, at)),
            _ => None,
        }
    }

    /// 25GBASE-SR in an SFP28, with diagnostics.
    fn sfp(&self) -> [u8; 128] {
        let mut id = [0; 128];
        (id[0], id[1], id[2], id[11], id[12], id[36]) = (0x03, 0x04, 0x07, 0x06, 0xff, 0x02);
        id[20..36].copy_from_slice(&self.vendor);
        id[37..40].copy_from_slice(&self.oui);
        id[40..56].copy_from_slice(PART);
        id[56..60].copy_from_slice(b"A   ");
        // 850 nm; 25.75 Gbit/s in units of 250 Mbit/s.
        id[60..62].copy_from_slice(&[0x03, 0x52]);
        id[66] = 103;
        id[68..84].copy_from_slice(SERIAL);
        id[84..92].copy_from_slice(DATE);
        // Diagnostics, calibrated inside.
        (id[92], id[94]) = (0x68, 0x08);
        id[63] = sum(&id[..63]) ^ u8::from(self.damaged);
        id[95] = sum(&id[64..95]);
        id
    }

    /// 100GBASE-SR4 in a QSFP28.
    fn qsfp(&self, page: u16, at: usize) -> u8 {
        let mut upper = [0; 128];
        (upper[0], upper[2], upper[11], upper[12], upper[64]) = (0x11, 0x0c, 0x05, 0xff, 0x02);
        upper[20..36].copy_from_slice(&self.vendor);
        upper[37..40].copy_from_slice(&self.oui);
        upper[40..56].copy_from_slice(PART);
        upper[68..84].copy_from_slice(SERIAL);
        upper[84..92].copy_from_slice(DATE);
        upper[63] = sum(&upper[..63]) ^ u8::from(self.damaged);
        upper[95] = sum(&upper[64..95]);
        match at {
            0 => 0x11,
            1 => 0x07,
            2..128 => measured(at, 22, 26),
            _ if page == 0 => upper.get(at - 128).copied().unwrap_or(0),
            _ => 0,
        }
    }
}

/// Temperature and voltage at those places.
fn measured(at: usize, temperature: usize, voltage: usize) -> u8 {
    let within = |start: usize, bytes: [u8; 2]| at.checked_sub(start).and_then(|n| bytes.get(n).copied());
    within(temperature, TEMPERATURE).or_else(|| within(voltage, VOLTAGE)).unwrap_or(0)
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_is_adds_up_unless_it_is_damaged() {
        for (wide, base) in [(false, 0), (true, 128)] {
            for damaged in [false, true] {
                let module = Module { vendor: *b"Acme            ", oui: [0; 3], wide, damaged };
                let byte = |at: usize| module.byte(IDENTIFICATION, 0, base + at).unwrap();
                let added = (0..63).fold(0, |sum: u8, at| sum.wrapping_add(byte(at)));
                assert_eq!(added == byte(63), !damaged, "{module:?}");
            }
        }
    }
}
