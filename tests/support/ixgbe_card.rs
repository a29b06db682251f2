//! A card of the 82599 family that is all rings: enough registers to be brought up.

#![allow(dead_code)]

use crate::shell::{Ring, Shell, Silicon};
use std::sync::Mutex;

const CTRL: u64 = 0x0;
const CTRL_RST: u32 = 1 << 26;
const CTRL_LNK_RST: u32 = 1 << 3;

/// Second word of a transmit descriptor: report, and reported.
pub const REPORT: u64 = 1 << 27;
pub const REPORTED: u64 = 1 << 32;

/// What is wrong with the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every register reads as all ones.
    AllOnes,
    /// The reset bit never clears.
    EndlessReset,
    /// Queues never say that they are on.
    DeadQueues,
}

pub struct I82599(Mutex<Fault>);

pub type Card = Shell<I82599>;

impl Silicon for I82599 {
    const NAME: &'static str = "test:82599";
    const DEVICE: u16 = 0x10fb;
    const BAR_LEN: u64 = 0x80000;

    fn read(&self, offset: u64, value: u32) -> u32 {
        match (*self.0.lock().unwrap(), offset) {
            (Fault::AllOnes, _) => u32::MAX,
            (Fault::EndlessReset, CTRL) => value,
            (_, CTRL) => value & !(CTRL_RST | CTRL_LNK_RST),
            // RXDCTL and TXDCTL of the first queues.
            (Fault::DeadQueues, 0x1028 | 0x6028) => value & !(1 << 25),
            _ => value,
        }
    }
}

/// A card that is up to its link.
pub fn card(fault: Fault) -> Card {
    let card = Shell::new(I82599(Mutex::new(fault)));
    card.set(0x10010, 1 << 9); // EEC: EEPROM read
    card.set(0x2f00, 1 << 3); // RDRXCTL: DMA ready
    card.set(0x8d04, 1); // SECRXSTAT: empty
    card.set(0xa200, 0x0000_0002); // RAL 0
    card.set(0xa204, 0x8000_0100); // RAH 0: 02:00:00:00:00:01, valid
    card.set(0x42a4, 0x7000_0000); // LINKS: up, 10 Gbit/s
    card
}

/// Gives it another fault.
pub fn break_it(card: &Card, fault: Fault) {
    *card.silicon().0.lock().unwrap() = fault;
}

/// Receive ring `queue` as the driver has set it up.
pub fn rx(card: &Card, queue: u64) -> Ring {
    ring(card, 0x1000 + 0x40 * queue)
}

/// Transmit ring `queue` as the driver has set it up.
pub fn tx(card: &Card, queue: u64) -> Ring {
    ring(card, 0x6000 + 0x40 * queue)
}

fn ring(card: &Card, base: u64) -> Ring {
    let iova = u64::from(card.get(base)) | u64::from(card.get(base + 4)) << 32;
    card.ring(iova, card.get(base + 8) as usize, base + 0x18)
}

/// The words of a received frame, or of a part of one: IPv4, done.
pub fn received(len: u64, last: bool) -> [u64; 2] {
    [0x10, len << 32 | u64::from(last) << 1 | 1]
}
