//! A legacy virtio network device, virtio 0.9.5, as [`super::Net`] is a modern one: registers in
//! I/O ports, rings of a size that it has, on a page each.

use super::super::{Opened, Shell, Silicon};
use super::{Ring, Rings, offset};
use bmnic::dma::Region;
use bmnic::driver::Config;
use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

/// Features: MAC, MRG_RXBUF, STATUS, NOTIFY_ON_EMPTY.
const FEATURES: u32 = 1 << 5 | 1 << 15 | 1 << 16 | 1 << 24;
const MRG_RXBUF: u32 = 1 << 15;
const ANY_LAYOUT: u32 = 1 << 27;

/// MSI-X capability in configuration space.
const MSIX: usize = 0x40;

/// What is wrong with the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every register reads as all ones.
    AllOnes,
    /// Its status never becomes 0.
    EndlessReset,
    /// Its address is of zeroes.
    NoAddress,
    /// A queue does not keep its address.
    ForgetsPages,
    /// Its configuration changes whenever it is read.
    Restless,
}

/// What it is like.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Descriptors of its receive and its transmit queue.
    pub sizes: [u16; 2],
    /// It takes a header in the descriptor of its frame.
    pub any_layout: bool,
    /// The bytes of its address can be written.
    pub mac: [u8; 6],
    /// MSI-X was left on.
    pub msix: bool,
    pub id: [u16; 2],
}

impl Default for Shape {
    fn default() -> Self {
        Shape { sizes: [256; 2], any_layout: true, mac: [2, 0, 0, 0, 0, 1], msix: false, id: [0x1000, 0] }
    }
}

pub struct Old {
    config: Vec<u8>,
    shape: Shape,
    registers: Mutex<Fields>,
}

pub type Card = Shell<Old>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// All that was written to the status, in order.
    pub statuses: Vec<u32>,
    /// Features that were taken.
    pub taken: u32,
    /// Pages of the queues.
    pub pages: [u32; 2],
    /// Queues that were notified, in order.
    pub notified: Vec<u32>,
    /// The address as it was written over.
    pub mac: [u8; 6],
    select: usize,
    reads: u8,
}

/// Such a device.
pub fn card(shape: Shape, fault: Fault) -> Card {
    let mut config = vec![0; 256];
    config[0x06] = 0x10;
    config[0x10] = 1;
    config[0x34] = MSIX as u8;
    config[MSIX] = 0x11;
    config[MSIX + 3] = if shape.msix { 0x80 } else { 0 };
    let registers = Fields { mac: shape.mac, ..Fields::default() };
    Shell::new(Old { config, shape, registers: Mutex::new(registers) }, fault)
}

/// A device without a fault, opened, with queues that hold as much as `config` asks for.
pub fn opened(any_layout: bool, config: &Config) -> Opened<Rings> {
    let factor = if any_layout { 1 } else { 2 };
    let card =
        card(Shape { sizes: [config.rx_ring * factor, config.tx_ring], any_layout, ..Shape::default() }, Fault::None);
    let hand = card.clone();
    card.opened(config, Box::new(Rings::new(move |index| hand.queue(index))))
}

impl Card {
    /// What the driver has written.
    pub fn fields(&self) -> Fields {
        self.silicon().registers.lock().unwrap().clone()
    }

    /// Queue `index` as the driver has set it up: 0 receives, 1 transmits.
    pub fn queue(&self, index: usize) -> Ring {
        let Fields { pages, taken, .. } = self.fields();
        let size = u32::from(self.silicon().shape.sizes[index]);
        let arenas = self.arenas().clone();
        let (arena, start) = self.find(u64::from(pages[index]) << 12);
        let available = start + 16 * size as usize;
        let used = (available + 2 * (3 + size as usize)).next_multiple_of(4096);
        let apart = taken & ANY_LAYOUT == 0;
        Ring {
            packed: false,
            size,
            most: if apart && index == 0 { size / 2 } else { size },
            header: if taken & MRG_RXBUF != 0 { 12 } else { 10 },
            places: [start, available, used],
            memory: Region::new(&arena, 0, arena.len()),
            arenas,
            head: 0,
            position: 0,
            used: 0,
            known: RefCell::default(),
        }
    }
}

impl Ring {
    /// Address, length and flags of each descriptor of the chain `ahead` of the device's
    /// position, of a split queue.
    pub fn parts(&self, ahead: u32) -> Vec<(u64, u32, u16)> {
        let (mut parts, mut at) = (Vec::new(), self.id(ahead));
        loop {
            let address = self.memory.words64()[self.places[0] / 8 + 2 * at as usize].load(Ordering::Relaxed);
            let word = self.word(at).load(Ordering::Relaxed);
            parts.push((address, word as u32, (word >> 32) as u16));
            if word >> 32 & 1 == 0 {
                return parts;
            }
            at = (word >> 48) as u32;
        }
    }

    /// Does something with the `len` bytes at `address`.
    fn at<R>(&self, address: u64, len: u32, what: impl FnOnce(&[AtomicU8]) -> R) -> R {
        let found = self.arenas.iter().find_map(|arena| Some((arena, offset(arena, address)?)));
        let (arena, start) = found.expect("mapped memory");
        let before = start % 4;
        what(&Region::new(arena, start - before, before + len as usize).bytes()[before..])
    }

    /// Bytes of each descriptor of such a chain.
    pub fn sent(&self, ahead: u32) -> Vec<Vec<u8>> {
        let bytes = |bytes: &[AtomicU8]| bytes.iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        self.parts(ahead).into_iter().map(|(address, len, _)| self.at(address, len, bytes)).collect()
    }

    /// Writes `bytes` into such a chain, and uses it.
    pub fn receive(&mut self, bytes: &[u8]) {
        let mut left = bytes;
        for (address, len, _) in self.parts(0) {
            let (now, then) = left.split_at(left.len().min(len as usize));
            self.at(address, len, |memory| {
                memory.iter().zip(now).for_each(|(to, from)| to.store(*from, Ordering::Relaxed));
            });
            left = then;
        }
        assert!(left.is_empty(), "{} bytes have no room", left.len());
        self.complete(0, bytes.len() as u32);
        self.advance(1);
    }
}

impl Silicon for Old {
    const NAME: &'static str = "test:virtio-legacy";
    const ID: [u16; 2] = [0x1af4, 0x1000];
    const BAR_LEN: u64 = 32;

    type Fault = Fault;
    const ALL_ONES: Fault = Fault::AllOnes;

    fn read(&self, fault: Fault, offset: u64, value: u32) -> u32 {
        let mut fields = self.registers.lock().unwrap();
        let device = if self.shape.msix { 24 } else { 20 };
        match offset {
            0 => FEATURES | if self.shape.any_layout { ANY_LAYOUT } else { 0 },
            8 if fault == Fault::ForgetsPages => 0,
            8 => fields.pages.get(fields.select).copied().unwrap_or(0),
            12 => self.shape.sizes.get(fields.select).copied().map_or(0, u32::from),
            18 if fault == Fault::EndlessReset => fields.statuses.last().copied().unwrap_or(0) | 1,
            18 => fields.statuses.last().copied().unwrap_or(0),
            22 if self.shape.msix => 0xffff,
            _ if (device..device + 6).contains(&offset) => {
                if fault == Fault::Restless {
                    fields.reads = fields.reads.wrapping_add(1);
                }
                let byte = fields.mac[(offset - device) as usize];
                let last = offset == device + 5;
                u32::from(if fault == Fault::NoAddress {
                    0
                } else if last {
                    byte ^ fields.reads
                } else {
                    byte
                })
            }
            _ if offset == device + 6 => 1,
            _ => value,
        }
    }

    fn written(&self, _card: &Card, offset: u64, value: u32) {
        let mut fields = self.registers.lock().unwrap();
        let select = fields.select;
        let device = if self.shape.msix { 24 } else { 20 };
        match offset {
            4 => fields.taken = value,
            8 if select < 2 => fields.pages[select] = value,
            14 => fields.select = value as usize,
            16 => fields.notified.push(value),
            18 => fields.statuses.push(value),
            _ if (device..device + 6).contains(&offset) => fields.mac[(offset - device) as usize] = value as u8,
            _ => {}
        }
    }

    fn id(&self) -> [u16; 3] {
        [0x1af4, self.shape.id[0], self.shape.id[1]]
    }

    fn config(&self) -> &[u8] {
        &self.config
    }
}
