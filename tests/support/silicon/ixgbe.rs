//! A card of the 82599 family that is all rings: enough registers to be brought up.

use super::{InPlace, Opened, Ring, Shell, Silicon, WritesBack};
use bmnic::driver::Config;

const CTRL: u64 = 0x0;
const I2CCTL: u64 = 0x28;
const CTRL_RST: u32 = 1 << 26;
const CTRL_LNK_RST: u32 = 1 << 3;

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

pub struct I82599;

pub type Card = Shell<I82599>;

impl Silicon for I82599 {
    const NAME: &'static str = "test:82599";
    const ID: [u16; 2] = [0x8086, 0x10fb];
    const BAR_LEN: u64 = 0x80000;

    type Fault = Fault;
    const ALL_ONES: Fault = Fault::AllOnes;

    fn read(&self, fault: Fault, offset: u64, value: u32) -> u32 {
        match (fault, offset) {
            (Fault::EndlessReset, CTRL) => value,
            // Nobody is on the bus to the cage: both lines are as they are driven.
            (_, I2CCTL) => value & !5 | value >> 1 & 5,
            (_, CTRL) => value & !(CTRL_RST | CTRL_LNK_RST),
            // RXDCTL and TXDCTL of the first queues.
            (Fault::DeadQueues, 0x1028 | 0x6028) => value & !(1 << 25),
            _ => value,
        }
    }
}

impl WritesBack for I82599 {
    fn rings(card: &Card) -> [Ring; 2] {
        [0x1000, 0x6000].map(|base| {
            let iova = u64::from(card.get(base)) | u64::from(card.get(base + 4)) << 32;
            card.ring(iova, card.get(base + 8) as usize, base + 0x18)
        })
    }

    /// IPv4, done.
    fn received(len: u64, last: bool) -> [u64; 2] {
        [0x10, len << 32 | u64::from(last) << 1 | 1]
    }

    const REPORT: u64 = 1 << 27;
    const REPORTED: u64 = 1 << 32;
}

/// A card that is up to its link.
pub fn card(fault: Fault) -> Card {
    let card = Shell::new(I82599, fault);
    card.set(0x10010, 1 << 9); // EEC: EEPROM read
    card.set(0x2f00, 1 << 3); // RDRXCTL: DMA ready
    card.set(0x8d04, 1); // SECRXSTAT: empty
    card.set(0xa200, 0x0000_0002); // RAL 0
    card.set(0xa204, 0x8000_0100); // RAH 0: 02:00:00:00:00:01, valid
    card.set(0x42a4, 0x7000_0000); // LINKS: up, 10 Gbit/s
    card
}

pub fn open(config: &Config) -> Opened {
    InPlace::open(&card(Fault::None), config)
}
