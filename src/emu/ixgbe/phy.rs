//! The copper PHY of X540 and X550, behind MDIO (IEEE 802.3 clause 45).
//!
//! No reset of the function reaches it: a driver finds it as the last one left it, switched
//! off and with less to offer, as Linux leaves it where nobody wants to wake the machine.

use super::super::wire::Speed;
use super::Kind;
use std::collections::BTreeMap;

/// Device, register.
type Register = (u8, u16);

/// Control of the vendor's device: low power.
const POWER: Register = (0x1e, 0);
const LOW_POWER: u16 = 1 << 11;
/// Control of auto-negotiation: restart.
const AN_CONTROL: Register = (7, 0);
const AN_RESTART: u16 = 1 << 9;

/// What can be offered: where, the bit, megabits a second; the fastest first.
const OFFERS: [(Register, u16, u32); 5] = [
    ((7, 0x20), 1 << 12, 10_000),
    ((7, 0xc400), 1 << 11, 5_000),
    ((7, 0xc400), 1 << 10, 2_500),
    ((7, 0xc400), 1 << 15, 1_000),
    ((7, 0x10), 1 << 8, 100),
];

/// Registers that are kept at most.
const MOST: usize = 256;

/// A PHY, at address 0.
pub struct Phy {
    id: u32,
    /// What was written, or is there from the start.
    registers: BTreeMap<Register, u16>,
    /// The fastest that the partner has, megabits a second.
    partner: u32,
}

impl Phy {
    /// That of a card, if it has one, on a wire of this speed; `left`: as a driver that is gone
    /// has left it.
    pub fn new(kind: Kind, wire: Speed, left: bool) -> Option<Phy> {
        let id = match kind {
            Kind::X540 => 0x0154_0200,
            Kind::X550 => 0x0154_0220,
            Kind::I82599 => return None,
        };
        let mut registers = BTreeMap::new();
        let has = |megabits: u32| kind == Kind::X550 || ![2_500, 5_000].contains(&megabits);
        for (register, bit, megabits) in OFFERS {
            if if left { megabits == 100 } else { has(megabits) } {
                *registers.entry(register).or_default() |= bit;
            }
        }
        if left {
            registers.insert(POWER, LOW_POWER);
        }
        // A wire of a speed that this PHY does not have is none that it could tell of.
        let mut all = OFFERS.into_iter().map(|(.., megabits)| megabits).filter(|megabits| has(*megabits));
        let partner = all.find(|megabits| wire == Speed::Bits(u64::from(*megabits) * 1_000_000));
        Some(Phy { id, registers, partner: partner.unwrap_or(u32::MAX) })
    }

    /// What a register reads as, with the link `up` or not.
    pub fn read(&self, device: u8, register: u16, up: bool) -> u16 {
        match (device, register) {
            (_, 2) => (self.id >> 16) as u16,
            (_, 3) => self.id as u16,
            // Device responds.
            (1..=5, 8) => 0x8000,
            // Speed ability: 10G, 1G.
            (1, 4) => 0x0011,
            // Extended ability: 10GBASE-T, 1000BASE-T, 100BASE-TX.
            (1, 0xb) => 0x00a4,
            // Link status of PMA and auto-negotiation.
            (1 | 7, 1) => u16::from(up) << 2 | u16::from(up) << 5,
            _ => self.registers.get(&(device, register)).copied().unwrap_or(0),
        }
    }

    /// A register is written; whether the link starts over.
    pub fn write(&mut self, device: u8, register: u16, data: u16) -> bool {
        let place = (device, register);
        // Reset (bit 15) and restart (bit 9) clear themselves.
        let own = if register == 0 { 0x8200 } else { 0 };
        let before = self.speed();
        if self.registers.len() < MOST || self.registers.contains_key(&place) {
            self.registers.insert(place, data & !own);
        }
        place == AN_CONTROL && data & AN_RESTART != 0 || place == POWER && self.speed() != before
    }

    /// Megabits a second that its partner agrees on; none if it is off or offers nothing that
    /// the partner has.
    pub fn speed(&self) -> Option<u32> {
        let set = |register, bit| self.registers.get(&register).is_some_and(|value| value & bit != 0);
        let offered =
            || OFFERS.iter().find(|&&(register, bit, megabits)| set(register, bit) && megabits <= self.partner);
        if set(POWER, LOW_POWER) { None } else { offered().map(|&(_, _, megabits)| megabits) }
    }
}
