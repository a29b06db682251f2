//! The emulated virtio network device (VIRTIO 1.2; modern only).
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
//! Not here: the legacy layout, the window into the BAR that configuration space
//! may have (PCI_CFG), receive segmentation (GUEST_TSO), hashes (RSS).

mod control;
mod receive;
mod regs;
mod ring;
#[cfg(test)]
mod tests;
mod transmit;

use self::control::Filter;
use self::regs::{Field, NOTIFY_AT, NOTIFY_STEP};
use self::ring::{Agreed, Broken, Chain, Ring};
use self::transmit::Outgoing;
use super::card::factory_address;
use super::wire::{Counters, Mac, Random, Speed};
use super::{Bus, DoorbellPage, Model, Page, Picos, Profile, Spec, Violations};
use crate::dma::Iova;
use crate::pci::Id;
use std::sync::atomic::Ordering;

/// Pairs of queues.
pub const PAIRS: u16 = 8;

/// Queues: the pairs and one for control.
const QUEUES: u16 = 2 * PAIRS + 1;

/// Descriptors in a queue at most.
const SIZE: u16 = 1024;

/// Descriptors in the control queue at most.
const CONTROL_SIZE: u16 = 64;

/// MSI-X vectors: configuration, and one for each queue.
const VECTORS: u16 = QUEUES + 1;

/// No vector.
const NO_VECTOR: u16 = 0xffff;

/// Line rate of its wire, unless the specification says another. The device
/// itself has none.
pub const SPEED: u64 = 10_000_000_000;

/// What a word of the notification page holds until a driver writes there.
const SILENT: u32 = u32::MAX;

// ---- features (§5.1.3, §6) ----

const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
const MAC: u64 = 1 << 5;
const HOST_TSO4: u64 = 1 << 11;
const HOST_TSO6: u64 = 1 << 12;
const MRG_RXBUF: u64 = 1 << 15;
const STATUS: u64 = 1 << 16;
const CTRL_VQ: u64 = 1 << 17;
const CTRL_RX: u64 = 1 << 18;
const MQ: u64 = 1 << 22;
const CTRL_MAC_ADDR: u64 = 1 << 23;
const INDIRECT_DESC: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;
const ACCESS_PLATFORM: u64 = 1 << 33;
const RING_PACKED: u64 = 1 << 34;
const ORDER_PLATFORM: u64 = 1 << 36;
const NOTIFICATION_DATA: u64 = 1 << 38;
const SPEED_DUPLEX: u64 = 1 << 63;

const OFFERED: u64 = CSUM
    | GUEST_CSUM
    | MAC
    | HOST_TSO4
    | HOST_TSO6
    | MRG_RXBUF
    | STATUS
    | CTRL_VQ
    | CTRL_RX
    | MQ
    | CTRL_MAC_ADDR
    | INDIRECT_DESC
    | EVENT_IDX
    | VERSION_1
    | ACCESS_PLATFORM
    | ORDER_PLATFORM
    | NOTIFICATION_DATA
    | SPEED_DUPLEX;

/// Features, and those that each of them needs (§5.1.3.1).
const NEEDS: &[(u64, u64)] =
    &[(HOST_TSO4, CSUM), (HOST_TSO6, CSUM), (CTRL_RX, CTRL_VQ), (MQ, CTRL_VQ), (CTRL_MAC_ADDR, CTRL_VQ)];

/// Bits of device_status (§2.1).
mod status {
    pub const ACKNOWLEDGE: u8 = 1;
    pub const DRIVER: u8 = 2;
    pub const DRIVER_OK: u8 = 4;
    pub const FEATURES_OK: u8 = 8;
    pub const NEEDS_RESET: u8 = 0x40;
}

/// What a queue's fields hold, and the queue once it is on.
struct Queue {
    size: u16,
    vector: u16,
    addresses: [Iova; 3],
    ring: Option<Ring>,
    /// The driver has notified, or there may be more where something was.
    busy: bool,
    /// Something was put back since the driver was last interrupted.
    used: bool,
    /// Put back later (nasty).
    late: Vec<(u16, u16, u32)>,
}

impl Queue {
    fn new(index: u16) -> Self {
        Queue {
            size: if index == QUEUES - 1 { CONTROL_SIZE } else { SIZE },
            vector: NO_VECTOR,
            addresses: [0; 3],
            ring: None,
            busy: false,
            used: false,
            late: Vec::new(),
        }
    }
}

/// One emulated device.
pub struct Virtio {
    profile: Profile,
    bus: Bus,
    mac: Mac,
    violations: Violations,
    strict: bool,
    /// Strict, and something was violated: the device is dead.
    poisoned: bool,
    nasty: bool,
    random: Random,
    now: Picos,
    offered: u64,
    notify: Page,

    device_select: u32,
    driver_select: u32,
    /// What the driver takes, as written.
    taken: u64,
    /// What was agreed on.
    features: u64,
    status: u8,
    config_vector: u16,
    generation: u8,
    isr: u8,
    select: u16,
    queues: Vec<Queue>,

    /// Its address, and what that is after reset.
    address: [u8; 6],
    factory: [u8; 6],
    megabits: u32,
    link: bool,
    link_delay: Picos,
    reset_at: Option<Picos>,
    filter: Filter,
    pairs: u16,

    chain: Chain,
    chains: Vec<Chain>,
    packet: Vec<u8>,
    out: Outgoing,
    /// Frames lost in this step because a queue had no buffer.
    starved: usize,
}

impl Virtio {
    /// A device at the end of a wire, powered on.
    pub fn new(packed: bool, spec: &Spec, mac: Mac) -> Self {
        let id = Id { vendor: 0x1af4, device: 0x1041, subsystem_vendor: 0x1af4, subsystem: 0x1100, revision: 1 };
        let (megabits, bits) = match spec.speed.unwrap_or(Speed::Bits(SPEED)) {
            Speed::Bits(bits) => ((bits / 1_000_000).min(0x7fff_ffff) as u32, bits),
            Speed::Max => (u32::MAX, 0),
        };
        let profile = Profile {
            name: if packed { "virtio-packed" } else { "virtio" },
            id,
            bars: [regs::BAR_LEN, 0, 0, 0, 16 << 10, 0],
            io: 0,
            vectors: VECTORS,
            msix: (4, 0, 0x2000),
            speed: bits,
        };
        let factory = spec.mac.unwrap_or_else(factory_address);
        let mut device = Virtio {
            profile,
            bus: Bus::new(VECTORS),
            mac,
            violations: Violations::default(),
            strict: spec.strict,
            poisoned: false,
            nasty: spec.nasty,
            random: Random::new(spec.seed),
            now: 0,
            offered: if packed { OFFERED | RING_PACKED } else { OFFERED },
            notify: Page::row(1)[0].clone(),
            device_select: 0,
            driver_select: 0,
            taken: 0,
            features: 0,
            status: 0,
            config_vector: NO_VECTOR,
            generation: 0,
            isr: 0,
            select: 0,
            queues: Vec::new(),
            address: factory,
            factory,
            megabits,
            link: false,
            link_delay: spec.link.unwrap_or(0),
            reset_at: None,
            filter: Filter::default(),
            pairs: 1,
            chain: Chain::default(),
            chains: Vec::new(),
            packet: Vec::with_capacity(2048),
            out: Outgoing::new(),
            starved: 0,
        };
        device.restart();
        device
    }

    /// Everything as after power-on (§2.4).
    fn restart(&mut self) {
        (self.device_select, self.driver_select, self.taken, self.features) = (0, 0, 0, 0);
        (self.status, self.config_vector, self.generation, self.isr, self.select) = (0, NO_VECTOR, 0, 0, 0);
        self.queues = (0..QUEUES).map(Queue::new).collect();
        self.notify.iter().for_each(|word| word.store(SILENT, Ordering::Relaxed));
        self.address = self.factory;
        self.filter = Filter::new(self.address);
        (self.pairs, self.link, self.reset_at) = (1, false, None);
        self.out = Outgoing::new();
    }

    fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// Whether queues are served.
    fn running(&self) -> bool {
        self.status & (status::DRIVER_OK | status::NEEDS_RESET) == status::DRIVER_OK
    }

    /// Index of the control queue (§5.1.2).
    fn control_index(&self) -> u16 {
        if self.has(MQ) { 2 * PAIRS } else { 2 }
    }

    /// A rule was broken that a device cannot go on after (§2.1.2).
    fn stop(&mut self, rule: Broken) {
        self.violations.note(rule);
        self.status |= status::NEEDS_RESET;
        self.config_changed();
    }

    fn config_changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if self.status & status::DRIVER_OK != 0 {
            self.isr |= 2;
            self.bus.interrupts.signal(self.config_vector);
        }
    }

    /// Some queues were put to use: tells the driver, where it wants to be told.
    fn interrupt(&mut self) {
        for q in 0..self.queues.len() {
            let queue = &mut self.queues[q];
            if !std::mem::take(&mut queue.used) {
                continue;
            }
            let Some(ring) = &mut queue.ring else { continue };
            match ring.wants_interrupt(&self.bus.memory, &mut self.violations) {
                Ok(true) => {
                    self.isr |= 1;
                    self.bus.interrupts.signal(queue.vector);
                }
                Ok(false) => {}
                Err(rule) => self.stop(rule),
            }
        }
    }

    // ---- registers ----

    fn read_register(&mut self, offset: u32, size: u8) -> u64 {
        match offset {
            0..regs::COMMON_LEN => self.read_common(offset, size),
            regs::ISR_AT if size == 1 => u64::from(std::mem::take(&mut self.isr)),
            regs::DEVICE_AT..NOTIFY_AT if offset + u32::from(size) <= regs::DEVICE_AT + regs::DEVICE_LEN => {
                self.read_device(offset - regs::DEVICE_AT, size)
            }
            _ => {
                self.violations.note(format!("read outside the structures: {offset:#x}"));
                0
            }
        }
    }

    fn read_common(&mut self, offset: u32, size: u8) -> u64 {
        let Some(&(at, width, name, field, _)) = regs::row(offset) else { return 0 };
        if at != offset || width != size {
            self.violations.note(format!("read of {name} that is not of {width} bytes"));
        }
        let half = |value: u64, n: u32| if n < 2 { value >> (32 * n) & 0xffff_ffff } else { 0 };
        let queue = self.queues.get(usize::from(self.select));
        let of = |value: fn(&Queue) -> u64| queue.map_or(0, value);
        match field {
            Field::DeviceFeatureSelect => u64::from(self.device_select),
            Field::DeviceFeature => half(self.offered, self.device_select),
            Field::DriverFeatureSelect => u64::from(self.driver_select),
            Field::DriverFeature => half(self.taken, self.driver_select),
            Field::ConfigVector => u64::from(self.config_vector),
            Field::NumQueues => u64::from(QUEUES),
            Field::Status => u64::from(self.status),
            Field::Generation => u64::from(self.generation),
            Field::QueueSelect => u64::from(self.select),
            Field::QueueSize => of(|queue| u64::from(queue.size)),
            Field::QueueVector => queue.map_or(u64::from(NO_VECTOR), |queue| u64::from(queue.vector)),
            Field::QueueEnable => of(|queue| u64::from(queue.ring.is_some())),
            Field::NotifyOff => u64::from(self.select),
            Field::Address(n, upper) => queue.map_or(0, |queue| half(queue.addresses[usize::from(n)], upper.into())),
        }
    }

    fn read_device(&mut self, offset: u32, size: u8) -> u64 {
        let mut bytes = [0xff; regs::DEVICE_LEN as usize + 8];
        bytes[..6].copy_from_slice(&self.address);
        bytes[6..8].copy_from_slice(&u16::from(self.link).to_le_bytes());
        bytes[8..10].copy_from_slice(&PAIRS.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.megabits.to_le_bytes());
        bytes[16] = 1;
        if size > 4 || !offset.is_multiple_of(u32::from(size)) {
            self.violations.note("read of the device's configuration that is not aligned");
        }
        bytes[offset as usize..].iter().take(usize::from(size)).rev().fold(0, |v, b| v << 8 | u64::from(*b))
    }

    fn write_register(&mut self, offset: u32, size: u8, value: u64) {
        match offset {
            0..regs::COMMON_LEN => self.write_common(offset, size, value),
            NOTIFY_AT.. if u64::from(offset) < regs::BAR_LEN => self.notified(offset, size, value as u32),
            regs::DEVICE_AT..NOTIFY_AT => self.violations.note("write to the device's configuration"),
            _ => self.violations.note(format!("write outside the structures: {offset:#x}")),
        }
    }

    fn write_common(&mut self, offset: u32, size: u8, value: u64) {
        let Some(&(at, width, name, field, writable)) = regs::row(offset) else { return };
        if at != offset || width != size {
            self.violations.note(format!("write to {name} that is not of {width} bytes"));
            return;
        }
        if !writable {
            self.violations.note(format!("write to read-only {name}"));
            return;
        }
        match field {
            Field::DeviceFeatureSelect => self.device_select = value as u32,
            Field::DriverFeatureSelect => self.driver_select = value as u32,
            Field::DriverFeature => self.take_features(value as u32),
            Field::ConfigVector => self.config_vector = known_vector(value as u16),
            Field::Status => self.write_status(value as u8),
            Field::QueueSelect => self.select = value as u16,
            _ => self.write_queue(field, value),
        }
    }

    fn take_features(&mut self, half: u32) {
        if self.status & status::FEATURES_OK != 0 {
            self.violations.note("features written after FEATURES_OK");
        } else if self.driver_select < 2 {
            let shift = 32 * self.driver_select;
            self.taken = self.taken & !(0xffff_ffff << shift) | u64::from(half) << shift;
        } else if half != 0 {
            self.violations.note("features written that do not exist");
        }
    }

    /// The steps of §3.1.1, in their order.
    fn write_status(&mut self, value: u8) {
        use status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET};
        if value == 0 {
            return self.restart();
        }
        let value = value & !NEEDS_RESET | self.status & NEEDS_RESET;
        if self.status & !value != 0 {
            self.violations.note("device_status bit cleared without a reset");
        }
        for (step, before) in [(DRIVER, ACKNOWLEDGE), (FEATURES_OK, DRIVER), (DRIVER_OK, FEATURES_OK)] {
            if value & step != 0 && value & before == 0 {
                self.violations.note("device_status out of order");
            }
        }
        let mut accepted = value;
        if value & FEATURES_OK != 0 && self.status & FEATURES_OK == 0 && !self.agree() {
            accepted &= !(FEATURES_OK | DRIVER_OK);
        }
        if accepted & DRIVER_OK != 0 && self.status & DRIVER_OK == 0 {
            self.reset_at.get_or_insert(self.now);
        }
        self.status = accepted;
    }

    /// Whether these features can be had together.
    fn agree(&mut self) -> bool {
        let taken = self.taken;
        let mut agreed = true;
        let mut refuse = |rule: &'static str| {
            self.violations.note(rule);
            agreed = false;
        };
        if taken & !self.offered != 0 {
            refuse("features taken that were not offered");
        }
        if NEEDS.iter().any(|(feature, needed)| taken & feature != 0 && taken & needed == 0) {
            refuse("feature taken without one that it needs");
        }
        // These a driver may leave, and the device may refuse it (§6.1, §6.2).
        agreed &= taken & VERSION_1 != 0 && taken & ACCESS_PLATFORM != 0;
        if agreed {
            self.features = taken;
        }
        agreed
    }

    fn write_queue(&mut self, field: Field, value: u64) {
        let Some(queue) = self.queues.get_mut(usize::from(self.select)) else {
            self.violations.note("field of a queue that does not exist written");
            return;
        };
        if queue.ring.is_some() {
            // Its vector may change.
            if field != Field::QueueVector {
                self.violations.note("field of a queue that is on written");
                return;
            }
        }
        match field {
            Field::QueueSize => {
                if value == 0 || value > u64::from(queue.size) {
                    self.violations.note("queue_size of 0 or more than there are");
                } else {
                    queue.size = value as u16;
                }
            }
            Field::QueueVector => queue.vector = known_vector(value as u16),
            Field::Address(n, upper) => {
                let shift = 32 * u32::from(upper);
                let address = &mut queue.addresses[usize::from(n)];
                *address = *address & !(0xffff_ffff << shift) | value << shift;
            }
            Field::QueueEnable => self.enable(value),
            _ => {}
        }
    }

    fn enable(&mut self, value: u64) {
        let (features, running) = (self.status & status::FEATURES_OK != 0, self.status & status::DRIVER_OK != 0);
        let agreed = Agreed {
            packed: self.has(RING_PACKED),
            indirect: self.has(INDIRECT_DESC),
            event_index: self.has(EVENT_IDX),
        };
        let queue = &mut self.queues[usize::from(self.select)];
        let alignment = if agreed.packed { [16, 4, 4] } else { [16, 2, 4] };
        let aligned = queue.addresses.iter().zip(alignment).all(|(at, to)| at.is_multiple_of(to));
        let wrong = if value != 1 {
            Some("queue_enable written as other than 1")
        } else if !features {
            Some("queue turned on before FEATURES_OK")
        } else if queue.addresses.contains(&0) {
            Some("queue turned on before its addresses were written")
        } else if !aligned {
            Some("queue with addresses that are not aligned")
        } else if !agreed.packed && !queue.size.is_power_of_two() {
            Some("split queue with a size that is no power of two")
        } else {
            None
        };
        match wrong {
            Some(rule) => self.stop(rule),
            None => {
                queue.ring = Some(Ring::new(agreed, queue.size, queue.addresses));
                if running {
                    self.violations.note("queue turned on after DRIVER_OK");
                }
            }
        }
    }

    // ---- notifications ----

    /// A notification, from a register access or out of the page.
    fn notified(&mut self, offset: u32, size: u8, value: u32) {
        let place = (offset - NOTIFY_AT) / NOTIFY_STEP;
        let with_data = self.has(NOTIFICATION_DATA);
        let Some(queue) = self.queues.get_mut(place as usize) else {
            self.violations.note("notification of a queue that does not exist");
            return;
        };
        let data = (value >> 16) as u16;
        let wrong = if !offset.is_multiple_of(NOTIFY_STEP) || size != if with_data { 4 } else { 2 } {
            Some("notification of the wrong size or place")
        } else if value & 0xffff != place || !with_data && data != 0 {
            Some("notification with the wrong queue index")
        } else if self.status & status::DRIVER_OK == 0 {
            Some("notification before DRIVER_OK")
        } else if with_data && queue.ring.as_ref().is_some_and(|ring| !ring.data_is_sane(data)) {
            Some("notification with an index outside the queue")
        } else if queue.ring.is_none() {
            Some("notification of a queue that is off")
        } else {
            None
        };
        queue.busy = wrong.is_none();
        match (wrong, &queue.ring) {
            (Some(rule), _) => self.violations.note(rule),
            (None, Some(ring)) => {
                // It is looked at from here on, until it is found empty.
                if let Err(rule) = ring.want_notice(&self.bus.memory, false) {
                    self.stop(rule);
                }
            }
            (None, None) => {}
        }
    }

    /// Looks for notifications in the page.
    fn look(&mut self) {
        for place in 0..QUEUES {
            let word = &self.notify[usize::from(place)];
            if word.load(Ordering::Relaxed) != SILENT {
                let value = word.swap(SILENT, Ordering::Acquire);
                // A store of 16 bits leaves the upper half as it was.
                let (size, value) = if self.has(NOTIFICATION_DATA) { (4, value) } else { (2, value & 0xffff) };
                self.notified(NOTIFY_AT + NOTIFY_STEP * u32::from(place), size, value);
            }
        }
    }

    fn poll_link(&mut self) {
        let waited = self.reset_at.is_some_and(|since| self.now - since >= self.link_delay);
        let link = waited && self.mac.carrier();
        if link != self.link {
            self.link = link;
            self.config_changed();
        }
    }

    fn condemn(&mut self) {
        let total = self.violations.total() + self.bus.memory.violations_total();
        self.poisoned = self.strict && total > 0;
    }
}

/// A vector that there is, or none: what reading back then says (§4.1.5.1.2).
fn known_vector(vector: u16) -> u16 {
    if vector < VECTORS { vector } else { NO_VECTOR }
}

impl Model for Virtio {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn capabilities(&self) -> Vec<Vec<u8>> {
        regs::capabilities()
    }

    fn read(&mut self, bar: u8, offset: u64, size: u8) -> u64 {
        if self.poisoned {
            return u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)));
        }
        if bar != 0 || offset >= regs::BAR_LEN {
            self.violations.note(format!("read outside the registers: BAR {bar} at {offset:#x}"));
            return 0;
        }
        let value = self.read_register(offset as u32, size);
        self.condemn();
        value
    }

    fn write(&mut self, bar: u8, offset: u64, size: u8, value: u64) {
        if self.poisoned {
            return;
        }
        if bar != 0 || offset >= regs::BAR_LEN {
            self.violations.note(format!("write outside the registers: BAR {bar} at {offset:#x}"));
        } else {
            self.write_register(offset as u32, size, value);
        }
        self.condemn();
    }

    fn tick(&mut self, now: Picos) {
        self.now = self.now.max(now);
        self.poll_link();
        // Commands move no packet, and are carried out at once.
        self.look();
        if self.running() && self.commands() != 0 {
            self.interrupt();
        }
    }

    fn step(&mut self, now: Picos) -> usize {
        if self.poisoned {
            return 0;
        }
        self.tick(now);
        let now = self.now;
        self.mac.tick(now);
        let mut work = 0;
        if self.running() {
            work = self.transmit(now) + self.receive(now);
            if work != 0 {
                self.interrupt();
            }
        }
        if self.strict {
            self.condemn();
        }
        // What was lost because the driver gave no buffers is no work: the
        // driver needs the processor more.
        work - std::mem::take(&mut self.starved)
    }

    fn doorbells(&self) -> Vec<DoorbellPage> {
        vec![DoorbellPage { bar: 0, offset: u64::from(NOTIFY_AT), words: self.notify.clone() }]
    }

    fn reset(&mut self) {
        self.poisoned = false;
        self.restart();
    }

    fn bus(&mut self) -> &mut Bus {
        &mut self.bus
    }

    fn violations(&self) -> &Violations {
        &self.violations
    }

    fn register_name(&self, bar: u8, offset: u64) -> Option<String> {
        let offset = u32::try_from(offset).ok().filter(|_| bar == 0)?;
        match offset {
            0..regs::COMMON_LEN => regs::row(offset).map(|row| row.2.to_string()),
            regs::ISR_AT => Some("isr".into()),
            regs::DEVICE_AT..NOTIFY_AT => {
                let at = offset - regs::DEVICE_AT;
                let field = regs::DEVICE.iter().find(|field| (field.0..field.0 + u32::from(field.1)).contains(&at));
                field.map(|field| format!("net.{}", field.2))
            }
            NOTIFY_AT.. => Some(format!("notify({})", (offset - NOTIFY_AT) / NOTIFY_STEP)),
            _ => None,
        }
    }

    fn wire_counters(&self) -> Counters {
        self.mac.counters()
    }
}
