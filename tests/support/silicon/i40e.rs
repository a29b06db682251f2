//! A card of the X710 family that is all rings: enough registers, and enough of
//! a firmware behind its admin queue, to be brought up.

use super::{InPlace, Opened, Ring, Shell, Silicon, WritesBack};
use bmnic::dma::Region;
use bmnic::driver::Config;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

const ATQBAL: u64 = 0x80000;
const ATQLEN: u64 = 0x80200;
const ATQH: u64 = 0x80300;
const ATQT: u64 = 0x80400;
const ARQBAL: u64 = 0x80080;
const ARQLEN: u64 = 0x80280;
const ARQH: u64 = 0x80380;
const ARQT: u64 = 0x80480;
const PFGEN_CTRL: u64 = 0x92400;
const PF_MDET_TX: u64 = 0xe6400;
const PF_MDET_RX: u64 = 0x12a400;
const SRCTL: u64 = 0xb6110;

/// The counter set of the function's interface.
pub const COUNTERS: u64 = 3;

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
    /// Commands are never answered.
    Silence,
    /// This command is answered with another's opcode.
    Echoes(u16),
    /// This command is answered with less data than it must have.
    Short(u16),
    /// This command is answered with more data than there is room for.
    Long(u16),
    /// This command is refused.
    Refuses(u16, u8),
    /// The head moves, the descriptor stays as it was.
    NoAnswer,
    /// The head is moved to where there is no descriptor.
    HeadBeyondRing,
    /// The admin queue's version.
    Version(u16, u16),
    /// The flash holds nothing.
    Blank,
    /// The firmware runs without an image.
    Recovery,
    /// The NVM's control word is wrong.
    DamagedNvm,
    /// A module that the firmware does not take.
    UnfitModule,
    /// The PHY was left so by an earlier driver: its abilities, as command 0600 has them.
    Phy(u8),
    /// The same, and it may not be set.
    LockedPhy(u8),
    /// The card goes away when this register is read.
    GoneFrom(u64),
}

#[derive(Default)]
pub struct X710 {
    /// Opcodes of the commands that have come.
    commands: Mutex<Vec<u16>>,
    /// Queues that were on when the driver said good-bye.
    at_the_end: Mutex<Option<u32>>,
    /// Properties that its interface was given.
    properties: Mutex<Option<Vec<u8>>>,
    /// Abilities that its PHY was given.
    abilities: Mutex<Option<u8>>,
    /// It has gone away.
    gone: AtomicBool,
}

pub type Card = Shell<X710>;

impl Silicon for X710 {
    const NAME: &'static str = "test:x710";
    const ID: [u16; 2] = [0x8086, 0x1572];
    const BAR_LEN: u64 = 0x39_0008;

    type Fault = Fault;
    const ALL_ONES: Fault = Fault::AllOnes;

    fn read(&self, fault: Fault, offset: u64, value: u32) -> u32 {
        let queues = matches!(offset, 0x10_0000..0x10_1800 | 0x12_0000..0x12_1800);
        if fault == Fault::GoneFrom(offset) {
            self.gone.store(true, Ordering::Relaxed);
        }
        if self.gone.load(Ordering::Relaxed) {
            return u32::MAX;
        }
        match (fault, offset) {
            (Fault::EndlessReset, PFGEN_CTRL) => value,
            (_, PFGEN_CTRL) => 0,
            // Cleared by ones, of which there are none.
            (_, PF_MDET_TX | PF_MDET_RX) => 0,
            (_, SRCTL) => value | 1 << 31,
            // QENA_STAT follows QENA_REQ.
            (Fault::DeadQueues, _) if queues => value & 1,
            _ if queues => value & 1 | (value & 1) << 2,
            _ => value,
        }
    }

    fn written(&self, card: &Card, offset: u64, _value: u32) {
        if offset == ATQT {
            self.serve(card);
        }
    }
}

impl X710 {
    fn serve(&self, card: &Card) {
        let fault = card.fault();
        let len = card.get(ATQLEN) & 0x3ff;
        if fault == Fault::Silence || len == 0 {
            return;
        }
        while card.get(ATQH) != card.get(ATQT) {
            let head = card.get(ATQH);
            if fault != Fault::NoAnswer {
                self.answer(card, &card.memory(pair(card, ATQBAL) + 32 * u64::from(head), 32), fault);
            }
            card.set(ATQH, if fault == Fault::HeadBeyondRing { len + 5 } else { (head + 1) % len });
            if fault == Fault::HeadBeyondRing {
                return;
            }
        }
    }

    fn answer(&self, card: &Card, descriptor: &Region, fault: Fault) {
        let words: Vec<u64> = descriptor.words64().iter().map(|word| word.load(Ordering::Acquire)).collect();
        let opcode = (words[0] >> 16) as u16;
        let room = (words[0] >> 32) as u16 as usize;
        self.commands.lock().unwrap().push(opcode);
        if opcode == 0x0003 {
            let on = |base: u64| (0..128).map(|queue| card.get(base + 4 * queue) & 1).sum::<u32>();
            *self.at_the_end.lock().unwrap() = Some(on(0x10_0000) + on(0x12_0000));
        }
        let mut params = [words[2], words[3]];
        let data = match opcode {
            0x0001 => {
                let (major, minor) = if let Fault::Version(major, minor) = fault { (major, minor) } else { (1, 15) };
                // Firmware 8.0.
                params = [0, 8 | u64::from(major) << 32 | u64::from(minor) << 48];
                vec![]
            }
            0x000a => {
                // Hash table, receive and transmit queues, vectors, flow filters.
                let all = [(0x40, 512, 6), (0x41, 128, 0), (0x42, 128, 0), (0x43, 129, 0), (0x45, 1024, 512)];
                params[0] = (all.len() as u64) << 32;
                all.iter()
                    .flat_map(|&(id, number, logical): &(u64, u64, u64)| {
                        [id | number << 32, logical, 0, 0].into_iter().flat_map(u64::to_le_bytes)
                    })
                    .collect()
            }
            0x0107 => {
                params[0] = 0x10;
                [2, 0, 0, 0, 0, 1].into_iter().cycle().take(24).collect()
            }
            0x0200 => {
                params[0] = 0;
                let mut data = vec![0; 32];
                data[0] = 1;
                data[2] = 1;
                // A VSI: SEID 0x200 below 2.
                data[16..22].copy_from_slice(&[19, 1, 0x00, 0x02, 0x02, 0x00]);
                data
            }
            0x0212 => {
                params[0] = params[0] & 0xffff | 5 << 16;
                let mut data = self.properties.lock().unwrap().clone().unwrap_or(vec![0; 128]);
                data[112] = COUNTERS as u8;
                data
            }
            0x0211 => {
                let given = self.buffer(card, words[3], 128);
                let given = given.bytes().iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
                *self.properties.lock().unwrap() = Some(given);
                vec![]
            }
            // Filters: matched perfectly.
            0x0250 => {
                let buffer = self.buffer(card, words[3], room);
                let mut data: Vec<u8> = buffer.bytes().iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
                data.chunks_exact_mut(16).for_each(|element| element[12] = 1);
                data
            }
            0x0600 => {
                let mut data = vec![0; 0x218];
                // 10GBASE-SR, 10 Gbit/s, link and negotiation on.
                data[..6].copy_from_slice(&[0, 0, 0x10, 0, 8, 0x18]);
                if let Fault::Phy(abilities) | Fault::LockedPhy(abilities) = fault {
                    data[5] = abilities;
                }
                data
            }
            0x0601 => {
                *self.abilities.lock().unwrap() = Some((words[2] >> 40) as u8);
                vec![]
            }
            0x0607 => {
                params = link_params(fault != Fault::UnfitModule);
                vec![]
            }
            _ => vec![],
        };
        let (mut length, mut echo, mut code) = (data.len(), opcode, 0u8);
        match fault {
            Fault::Echoes(which) if which == opcode => echo = 0x0fff,
            Fault::Short(which) if which == opcode => length = length.min(20),
            Fault::Long(which) if which == opcode => length = 0xfff0,
            Fault::Refuses(which, with) if which == opcode => code = with,
            Fault::LockedPhy(_) if opcode == 0x0601 => code = 1,
            _ => {}
        }
        if !data.is_empty() {
            let buffer = self.buffer(card, words[3], room.max(1));
            for (slot, byte) in buffer.bytes().iter().zip(&data) {
                slot.store(*byte, Ordering::Relaxed);
            }
        }
        let first = words[0] & 0xffff | 0b11 | u64::from(echo) << 16 | (length as u64) << 32 | u64::from(code) << 48;
        for (slot, word) in descriptor.words64().iter().zip([first, words[1], params[0], params[1]]) {
            slot.store(word, Ordering::Release);
        }
    }

    /// The buffer of a command, whose address has its halves swapped.
    fn buffer(&self, card: &Card, address: u64, len: usize) -> Region {
        card.memory(address.rotate_left(32), len)
    }
}

/// The parameters that tell of the link: up at 10 Gbit/s, or down with a module
/// that is not accepted.
pub fn link_params(up: bool) -> [u64; 2] {
    let (info, negotiation): (u64, u64) = if up { (0xe1, 0x83) } else { (0x40, 0) };
    [0x14 << 16 | 8 << 24 | info << 32 | negotiation << 40, 0x0004_2600]
}

fn pair(card: &Card, low: u64) -> u64 {
    u64::from(card.get(low)) | u64::from(card.get(low + 0x100)) << 32
}

/// A card that is up to its link.
pub fn card(fault: Fault) -> Card {
    let card = Shell::new(X710::default(), fault);
    card.set(0x1e2140, 0x2600_0000); // PRTGL_SAH: frames of up to 9728 bytes
    card.set(0xb6108, if fault == Fault::Blank { 0 } else { 0x40 }); // GLNVM_FLA: protected
    card.set(0xb6008, 0x18); // GLNVM_ULD: loaded
    card.set(0x83048, if fault == Fault::Recovery { 0x30 << 16 } else { 0 }); // GL_FWSTS
    card.set(0xb6114, if fault == Fault::DamagedNvm { 0xffff_0000 } else { 0x0040_0000 }); // SRDATA: control word
    card.set(0x1c0400, 1 << 31 | 127 << 16); // PFLAN_QALLOC: 0 to 127
    card.set(0xbe494, 129 << 2); // GLPCI_CNF2: vectors
    card.set(0xc2004, 7); // LANTXOBJSZ
    card.set(0xc2008, 1536); // LANQMAX
    card.set(0xc200c, 5); // LANRXOBJSZ
    card
}

/// Opcodes of the commands that have come.
pub fn commands(card: &Card) -> Vec<u16> {
    card.silicon().commands.lock().unwrap().clone()
}

/// Abilities that the PHY was given, if it was set at all.
pub fn phy_abilities(card: &Card) -> Option<u8> {
    *card.silicon().abilities.lock().unwrap()
}

/// Queues that were on when the driver said good-bye, if it has.
pub fn running_at_the_end(card: &Card) -> Option<u32> {
    *card.silicon().at_the_end.lock().unwrap()
}

/// Posts an event that claims `length` bytes of data; false if there is no
/// descriptor for it, which the card then notes.
pub fn event(card: &Card, opcode: u16, length: u16, params: [u64; 2]) -> bool {
    let (head, len) = (card.get(ARQH), card.get(ARQLEN) & 0x3ff);
    if head == card.get(ARQT) {
        card.set(ARQLEN, card.get(ARQLEN) | 1 << 29);
        return false;
    }
    let descriptor = card.memory(pair(card, ARQBAL) + 32 * u64::from(head), 32);
    let first = 0x1003 | u64::from(opcode) << 16 | u64::from(length) << 32;
    for (slot, word) in descriptor.words64().iter().zip([first, 0, params[0], params[1]]) {
        slot.store(word, Ordering::Release);
    }
    card.set(ARQH, (head + 1) % len);
    true
}

/// Puts the head of the event queue anywhere.
pub fn event_head(card: &Card, head: u32) {
    card.set(ARQH, head);
}

impl WritesBack for X710 {
    /// From the contexts of the first queues.
    fn rings(card: &Card) -> [Ring; 2] {
        let rx = context(card, card.get(0xc6400), 32);
        let long = rx[1] >> 52 & 1;
        let mut rx_ring = card.ring(base(&rx), ((rx[1] >> 25 & 0x1fff) << (4 + long)) as usize, 0x12_8000);
        rx_ring.size = 16 << long;
        let tx = context(card, card.get(0xc6200), 128);
        [rx_ring, card.ring(base(&tx), ((tx[2] >> 33 & 0x1fff) * 16) as usize, 0x10_8000)]
    }

    /// UDP over IPv4, done.
    fn received(len: u64, last: bool) -> [u64; 2] {
        [0, (len & 0x3fff) << 38 | 24 << 30 | u64::from(last) << 1 | 1]
    }

    const REPORT: u64 = 0x2 << 4;
    const REPORTED: u64 = 0xf;
}

pub fn open(config: &Config) -> Opened {
    InPlace::open(&card(Fault::None), config)
}

/// With receive descriptors of 32 bytes.
pub fn open_long(config: &Config) -> Opened {
    open(&Config { long_descriptors: true, ..config.clone() })
}

/// A ring's address: 57 bits from bit 32 on, in 128 bytes.
fn base(context: &[u64]) -> u64 {
    ((context[0] >> 32 | context[1] << 32) & ((1 << 57) - 1)) * 128
}

fn context(card: &Card, base: u32, len: usize) -> Vec<u64> {
    let segment = u64::from(card.get(0xc0100) & !0xfff) | u64::from(card.get(0xc0200)) << 32;
    let memory = card.memory(segment + 512 * u64::from(base), len);
    memory.words64().iter().map(|word| word.load(Ordering::Acquire)).collect()
}
