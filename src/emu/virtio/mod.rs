//! The emulated virtio network device (VIRTIO 1.2), modern or legacy.
//!
//! ```text
//!      capabilities in configuration space say where all of this is
//!            |             |              |                 |
//!   +--------v------+ +----v----+ +-------v-----+ +---------v---------+
//!   | common: status| |   ISR   | | device: MAC,| | notify: one word  |
//!   | features, the | |         | | link, pairs | | a queue, polled   |
//!   | selected queue| +---------+ +-------------+ +---------+---------+
//!   +--------+------+                                       |
//!            |      receive q <-- filter <-- MAC            v
//!            +----> transmit q --> header --> offload --> MAC --> wire
//!                   control q --> filter, pairs             |
//!                        '--- used, vectors ----------------+--> eventfds
//! ```
//!
//! What it offers a driver need not take, and most do not: Linux takes nearly
//! all, DPDK and bmnic less. What was agreed on is then held to: a header that
//! asks for a checksum which was not agreed on is a violation, as are features
//! written late, a queue turned on before its addresses are there, a chain that
//! loops. A queue that breaks a rule stops the device (DEVICE_NEEDS_RESET).
//!
//! The legacy device (`legacy`) has ports in place of the structures; what is behind
//! them is the same.
//!
//! Not here: a device that has both interfaces, the window into the BAR that
//! configuration space may have (PCI_CFG), receive segmentation (GUEST_TSO), hashes (RSS).

mod config;
mod control;
mod features;
mod legacy;
mod models;
mod notify;
mod receive;
mod regs;
mod ring;
#[cfg(test)]
mod tests;
mod transmit;

use self::config::{Common, status};
use self::control::Filter;
use self::features::{ACCESS_PLATFORM, MQ, MRG_RXBUF, NOTIFY_ON_EMPTY, VERSION_1};
pub use self::models::MODELS;
use self::regs::{NOTIFY_AT, NOTIFY_STEP};
use self::ring::{Agreed, Broken, Chain, Ring};
use self::transmit::{HEADER, SHORT_HEADER, Transmit};
use super::transmit::transmit;
use super::wire::Speed;
use super::{At, Board, DoorbellPage, Fault, FaultKind, Layout, Model, Page, Picos};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

/// Pairs of queues.
pub const PAIRS: u16 = 8;

/// Queues: the pairs and one for control.
const QUEUES: u16 = 2 * PAIRS + 1;

/// Descriptors in a queue at most.
const SIZE: u16 = 1024;

/// Descriptors in the control queue at most.
const CONTROL_SIZE: u16 = 64;

/// Descriptors in a queue that has few (fault).
const FEW: u16 = 16;

/// MSI-X vectors: configuration, and one for each queue.
const VECTORS: u16 = QUEUES + 1;

/// What a cloud's network takes of a packet: a header of its own goes before it.
const SMALL_MTU: u16 = 1450;

/// No vector.
const NO_VECTOR: u16 = 0xffff;

/// What a word of the notification page holds until a driver writes there.
const SILENT: u32 = u32::MAX;

/// How a driver reaches what the device has (§1.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Structures in memory.
    Modern,
    /// Ports, as before VIRTIO 1.0.
    Legacy,
}

/// What a queue's fields hold, and the queue once it is on.
struct Queue {
    size: u16,
    /// The driver has read that (legacy: it is as it is).
    size_known: bool,
    vector: u16,
    addresses: [Iova; 3],
    ring: Option<Ring>,
    /// The driver has notified, or there may be more where something was.
    busy: bool,
    /// The driver has written to the port that notifies of packets to send, and the device has
    /// not looked yet.
    rung: bool,
    /// Something was put back since the driver was last interrupted.
    used: bool,
    /// Chains that were sent, to be put back: with this step, or later (nasty).
    sent: Vec<(u16, u16, u32)>,
}

impl Queue {
    /// A queue that has at most so many descriptors, and is off.
    fn new(size: u16) -> Self {
        Queue {
            size,
            size_known: false,
            vector: NO_VECTOR,
            addresses: [0; 3],
            ring: None,
            busy: false,
            rung: false,
            used: false,
            sent: Vec::new(),
        }
    }
}

/// One emulated device.
pub struct Virtio {
    board: Board,
    interface: Interface,
    offered: u64,
    /// Descriptors of each queue at most.
    sizes: Vec<u16>,
    notify: Page,

    common: Common,
    /// What was agreed on.
    features: u64,
    queues: Vec<Queue>,

    /// Its address.
    address: [u8; 6],
    megabits: u32,
    /// Bytes of a packet that the network behind it takes, where it says so.
    mtu: Option<u16>,
    link: bool,
    reset_at: Option<Picos>,
    filter: Filter,

    tx: Transmit,
    /// The chain that is worked on, and those of a received frame.
    chain: Chain,
    rx_chains: Vec<Chain>,
    /// Frames that were received.
    received: u64,
}

impl Virtio {
    /// A device that offers these features, powered on.
    pub fn new(interface: Interface, offered: u64, mut board: Board) -> Self {
        let megabits = match board.speed {
            Speed::Bits(bits) => (bits / 1_000_000).min(0x7fff_ffff) as u32,
            Speed::Max => u32::MAX,
        };
        let mut offered = offered;
        for (kind, feature) in [
            (FaultKind::PastIommu, ACCESS_PLATFORM),
            (FaultKind::NoMac, features::MAC),
            (FaultKind::NoMergeable, MRG_RXBUF),
            (FaultKind::NoAnyLayout, features::ANY_LAYOUT),
            (FaultKind::NoControl, features::OF_CONTROL),
        ] {
            if board.faulty(kind) {
                offered &= !feature;
            }
        }
        let few = match board.fault {
            Some(Fault { kind: FaultKind::FewDescriptors, at: Some(At::Number(number)), .. }) => {
                u16::try_from(number).unwrap_or(SIZE)
            }
            Some(Fault { kind: FaultKind::FewDescriptors, .. }) => FEW,
            _ => SIZE,
        };
        let sizes = match interface {
            Interface::Modern => {
                (0..QUEUES).map(|index| few.min(if index == QUEUES - 1 { CONTROL_SIZE } else { SIZE })).collect()
            }
            Interface::Legacy => legacy::whims(&mut board, &mut offered, few),
        };
        let mtu = board.faulty(FaultKind::SmallMtu).then_some(SMALL_MTU);
        if mtu.is_some() {
            offered |= features::MTU;
        }
        let mut device = Virtio {
            address: board.factory,
            board,
            interface,
            offered,
            sizes,
            notify: Page::row(1)[0].clone(),
            common: Common::new(),
            features: 0,
            queues: Vec::new(),
            megabits,
            mtu,
            link: false,
            reset_at: None,
            filter: Filter::default(),
            chain: Chain::default(),
            rx_chains: Vec::new(),
            received: 0,
            tx: Transmit::new(1),
        };
        device.restart();
        device
    }

    /// Everything as after power-on (§2.4).
    fn restart(&mut self) {
        (self.common, self.features) = (Common::new(), 0);
        self.queues = self.sizes.iter().map(|size| Queue::new(*size)).collect();
        self.notify.iter().for_each(|word| word.store(SILENT, Ordering::Relaxed));
        self.address = self.board.factory;
        self.filter = Filter::new(self.address);
        (self.link, self.reset_at) = (false, None);
        self.tx = Transmit::new(1);
    }

    fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    fn is_legacy(&self) -> bool {
        self.interface == Interface::Legacy
    }

    /// Whether queues are served.
    fn running(&self) -> bool {
        self.common.status & status::DRIVER_OK != 0 && !self.common.stopped
    }

    /// Bytes of the header before a packet (§5.1.6.1).
    fn header_len(&self) -> usize {
        if self.has(VERSION_1 | MRG_RXBUF) { HEADER } else { SHORT_HEADER }
    }

    /// Index of the control queue (§5.1.2).
    fn control_index(&self) -> u16 {
        if self.has(MQ) { 2 * PAIRS } else { 2 }
    }

    /// A rule was broken that a device cannot go on after (§2.1.2). A legacy one has no
    /// word for it and falls silent.
    fn stop(&mut self, rule: Broken) {
        self.board.violations.note(rule);
        self.common.stopped = true;
        if !self.is_legacy() {
            self.common.status |= status::NEEDS_RESET;
            self.config_changed();
        }
    }

    fn config_changed(&mut self) {
        self.common.generation = self.common.generation.wrapping_add(1);
        if self.common.status & status::DRIVER_OK != 0 {
            self.common.isr |= 2;
            self.board.bus.interrupts.signal(self.common.config_vector);
        }
    }

    /// Some queues were put to use: tells the driver, where it wants to be told.
    fn interrupt(&mut self) {
        let on_empty = self.has(NOTIFY_ON_EMPTY);
        for q in 0..self.queues.len() {
            let queue = &mut self.queues[q];
            if !std::mem::take(&mut queue.used) {
                continue;
            }
            let Some(ring) = &mut queue.ring else { continue };
            let memory = &self.board.bus.memory;
            let wanted = ring.wants_interrupt(memory, queue.vector != NO_VECTOR, &mut self.board.violations);
            let wanted = wanted.and_then(|wanted| Ok(wanted || on_empty && ring.is_spent(memory)?));
            match wanted {
                Ok(true) => {
                    self.common.isr |= 1;
                    self.board.bus.interrupts.signal(queue.vector);
                }
                Ok(false) => {}
                Err(rule) => self.stop(rule),
            }
        }
    }

    /// A vector that there is, or none: what reading back then says (§4.1.5.1.2).
    fn known_vector(&self, vector: u16) -> u16 {
        if vector < self.board.profile.vectors { vector } else { NO_VECTOR }
    }

    fn poll_link(&mut self) {
        let waited = self.reset_at.is_some_and(|since| self.board.now - since >= self.board.link_delay);
        let link = waited && self.board.port.mac.carrier();
        if link != self.link {
            self.link = link;
            self.config_changed();
        }
    }
}

impl Model for Virtio {
    fn board(&self) -> &Board {
        &self.board
    }

    fn board_mut(&mut self) -> &mut Board {
        &mut self.board
    }

    fn capabilities(&self) -> Vec<Vec<u8>> {
        match self.interface {
            Interface::Modern => regs::capabilities(self.board.faulty(FaultKind::PioNotify)),
            Interface::Legacy => Vec::new(),
        }
    }

    fn layout(&self) -> Layout {
        match self.interface {
            Interface::Modern => Layout::INTEL,
            Interface::Legacy => legacy::LAYOUT,
        }
    }

    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        if bar != 0 || offset >= self.board.profile.bar(0) {
            self.board.violations.note(format!("read outside the registers: BAR {bar} at {offset:#x}"));
            return 0;
        }
        match self.interface {
            Interface::Modern => self.read_register(offset as u32, size),
            Interface::Legacy => self.read_port(offset as u32, size),
        }
    }

    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        if bar != 0 || offset >= self.board.profile.bar(0) {
            self.board.violations.note(format!("write outside the registers: BAR {bar} at {offset:#x}"));
            return;
        }
        match self.interface {
            Interface::Modern => self.write_register(offset as u32, size, value),
            Interface::Legacy => self.write_port(offset as u32, size, value as u32),
        }
    }

    fn tick(&mut self) {
        self.poll_link();
        // Commands move no packet, and are carried out at once.
        if !self.is_legacy() {
            self.look_at_page();
        }
        if self.running() && self.commands() != 0 {
            self.interrupt();
        }
    }

    fn step(&mut self) -> usize {
        let mut work = 0;
        if self.running() && !self.dawdles() {
            self.look_at_ports();
            work = transmit(self) + self.receive();
            if work != 0 {
                self.interrupt();
            }
        }
        work
    }

    fn doorbells(&self) -> Vec<DoorbellPage> {
        if self.is_legacy() {
            return Vec::new();
        }
        vec![DoorbellPage { bar: 0, offset: u64::from(NOTIFY_AT), words: self.notify.clone(), crowded: false }]
    }

    fn reset(&mut self) {
        self.restart();
    }

    fn register_name(&self, bar: u8, offset: u64) -> Option<String> {
        let offset = u32::try_from(offset).ok().filter(|_| bar == 0)?;
        if self.is_legacy() {
            return self.port_name(offset);
        }
        match offset {
            0..regs::COMMON_LEN => regs::row(offset).map(|row| row.2.to_string()),
            regs::ISR_AT => Some("isr".into()),
            regs::DEVICE_AT..NOTIFY_AT => regs::device_name(offset - regs::DEVICE_AT),
            NOTIFY_AT.. => Some(format!("notify({})", (offset - NOTIFY_AT) / NOTIFY_STEP)),
            _ => None,
        }
    }
}
