//! Doorbells: what a store says, to which ring.
//!
//! ```text
//!   P4   BAR 2 + 0x80 * logical id    [ key:4 | silent:1 | valid:1 | 0:2 | index:24 ]
//!   P5   BAR 2 + one offset for all   [ kind:4 | 0:2 | path:2 | 0:4 | ring:20 | 0:8 | index:24 ]
//! ```
//!
//! On P4 a slot is shared by the rings of one logical id, and the key says which
//! of them is meant; on P5 every ring has the one address, and its id is in the
//! value. Either way a value is a constant of the ring with an index below it,
//! written in one store.

use crate::pci::{Doorbell, LongDoorbell};
use std::fmt;

/// How a chip is told of descriptors, and what it makes of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// BCM574xx, BCM588xx: ring groups, doorbells of 32 bits.
    P4,
    /// BCM575xx: notification queues, doorbells of 64 bits.
    P5,
}

/// Where a ring's doorbell is: a slot of its logical id, or the one address with
/// the ring's id in the value.
#[derive(Clone)]
pub enum Register {
    /// P4: the slot.
    Slot(Doorbell),
    /// P5: the address, and the id that RING_ALLOC has answered.
    Shared(LongDoorbell, u16),
}

/// Tells the card of an index of one ring.
#[derive(Clone)]
pub struct Bell {
    register: Register,
    /// All but the index.
    key: u64,
}

impl Bell {
    fn new(register: Register, short: u32, long: u64) -> Self {
        /// L2, not RDMA.
        const PATH: u64 = 1 << 56;
        let key = match &register {
            Register::Slot(_) => u64::from(short),
            Register::Shared(_, ring) => long << 60 | PATH | u64::from(*ring) << 32,
        };
        Bell { register, key }
    }

    /// Of a transmit ring.
    pub fn transmit(register: Register) -> Self {
        Bell::new(register, 0, 0)
    }

    /// Of a receive or aggregation ring.
    pub fn receive(register: Register) -> Self {
        Bell::new(register, 1 << 28, 2)
    }

    /// Says `index`, which is inside the ring.
    #[inline(always)]
    pub fn ring(&self, index: u32) {
        match &self.register {
            Register::Slot(slot) => slot.ring(self.key as u32 | index),
            Register::Shared(shared, _) => shared.ring(self.key | u64::from(index)),
        }
    }
}

/// Gives entries of a completion or notification ring back.
#[derive(Clone)]
pub struct AckBell {
    /// Gives back, and lets nothing interrupt.
    silent: Bell,
    /// Gives back, and lets the next entry interrupt.
    armed: Bell,
}

impl AckBell {
    /// Of a completion ring.
    pub fn completions(register: Register) -> Self {
        const KEY: u32 = 2 << 28;
        const SILENT: u32 = 1 << 27;
        const VALID: u32 = 1 << 26;
        let silent = Bell::new(register.clone(), KEY | SILENT | VALID, 4);
        AckBell { silent, armed: Bell::new(register, KEY | VALID, 6) }
    }

    /// Of a notification queue, which only P5 has.
    pub fn notifications(shared: LongDoorbell, ring: u16) -> Self {
        let register = Register::Shared(shared, ring);
        AckBell { silent: Bell::new(register.clone(), 0, 0xa), armed: Bell::new(register, 0, 0xb) }
    }

    /// Gives back what is before `index`.
    #[inline(always)]
    pub fn ack(&self, index: u32) {
        self.silent.ring(index);
    }

    /// As [`AckBell::ack`], and lets the card interrupt for what is there from
    /// `index` on.
    pub fn arm(&self, index: u32) {
        self.armed.ring(index);
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bell({:#x})", self.key)
    }
}

impl fmt::Debug for AckBell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ack{:?}", self.silent)
    }
}

/// Doorbells that are words of memory.
#[cfg(test)]
pub mod testing {
    use super::*;
    use crate::pci::{Bar, Page, Registers};
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    /// A page of doorbells.
    #[derive(Clone)]
    pub struct Cells(Page);

    impl Registers for Cells {
        fn read(&self, _: u64, _: u8) -> u64 {
            0
        }

        fn write(&self, _: u64, _: u8, _: u64) {}

        fn doorbell(&self, offset: u64) -> Option<Doorbell> {
            Some(Doorbell::in_page(&self.0, offset as usize / 4))
        }
    }

    impl Cells {
        pub fn new() -> Self {
            Cells(Page::row(1)[0].clone())
        }

        /// What was last said at `offset`.
        pub fn word(&self, offset: usize) -> u32 {
            self.0[offset / 4].load(Ordering::Acquire)
        }

        /// The same, of 64 bits.
        pub fn long(&self, offset: usize) -> u64 {
            u64::from(self.word(offset)) | u64::from(self.word(offset + 4)) << 32
        }

        /// Forgets what was said.
        pub fn clear(&self) {
            self.0.iter().for_each(|word| word.store(0, Ordering::Release));
        }

        fn bar(&self) -> Bar {
            Bar::Served(Arc::new(self.clone()), 4096)
        }
    }

    /// A slot of P4.
    pub fn short(cells: &Cells, offset: u64) -> Register {
        Register::Slot(cells.bar().doorbell(offset).unwrap())
    }

    /// P5's doorbell of ring `ring`.
    pub fn long(cells: &Cells, offset: u64, ring: u16) -> Register {
        Register::Shared(cells.bar().long_doorbell(offset).unwrap(), ring)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Cells, long, short};
    use super::*;

    #[test]
    fn values_of_p4_are_those_that_other_drivers_were_seen_to_write() {
        let cells = Cells::new();
        Bell::transmit(short(&cells, 0)).ring(7);
        Bell::receive(short(&cells, 0x80)).ring(511);
        let ack = AckBell::completions(short(&cells, 0x100));
        ack.ack(3);
        assert_eq!([0, 0x80, 0x100].map(|at| cells.word(at)), [0x0000_0007, 0x1000_01ff, 0x2c00_0003]);
        ack.arm(4);
        assert_eq!(cells.word(0x100), 0x2400_0004);
    }

    #[test]
    fn values_of_p5_are_those_that_other_drivers_were_seen_to_write() {
        let cells = Cells::new();
        let said = || cells.long(0);
        Bell::transmit(long(&cells, 0, 3)).ring(2);
        assert_eq!(said(), 0x0100_0003_0000_0002);
        Bell::receive(long(&cells, 0, 4)).ring(511);
        assert_eq!(said(), 0x2100_0004_0000_01ff);
        let ack = AckBell::completions(long(&cells, 0, 2));
        ack.arm(0);
        assert_eq!(said(), 0x6100_0002_0000_0000);
        ack.ack(9);
        assert_eq!(said(), 0x4100_0002_0000_0009);
        let Register::Shared(shared, _) = long(&cells, 0, 0) else { unreachable!() };
        let queue = AckBell::notifications(shared, 1);
        queue.ack(0);
        assert_eq!(said(), 0xa100_0001_0000_0000);
        queue.arm(5);
        assert_eq!(said(), 0xb100_0001_0000_0005);
    }
}
