//! The legacy interface (virtio 0.9.5; VIRTIO 1.2 §4.1.4.10 and what its other parts say
//! of legacy devices): ports in BAR 0, and queues by the number of their page.
//!
//! ```text
//!    0 host features 32   16 queue_notify 16    20 device: MAC, status       MSI-X off
//!    4 driver's      32   18 status        8    -------------------------------------
//!    8 queue_pfn     32   19 isr, cleared  8    20 config_vector 16
//!   12 queue_num     16      by a read          22 queue_vector  16
//!   14 queue_select  16                         24 device: MAC, status       MSI-X on
//!
//!   page queue_pfn: | descriptors 16n | available 6+2n | to 4096 | used 6+8n |
//! ```
//!
//! A driver cannot choose a queue's size. There is no FEATURES_OK, and a device that
//! stops does not say so. Before DRIVER_OK nearly everything may come in any order
//! (§3.1.2): iPXE places queues and notifies, then takes features. Nothing is done with
//! it until DRIVER_OK, as in QEMU.
//!
//! Where the specification leaves something open, a `nasty` device has queues of other
//! sizes, no ANY_LAYOUT, wrong lengths of what was sent (§2.7.8), and a page 0 that
//! resets all of the device, as QEMU's (`hw/virtio/virtio-pci.c`).

use super::super::{Board, Layout};
use super::config::status;
use super::features::{ANY_LAYOUT, BAD_FEATURE, CTRL_MAC_ADDR, CTRL_VLAN, CTRL_VQ, MQ, NEEDS, OF_BAD_DRIVERS};
use super::{Broken, CONTROL_SIZE, Chain, NO_VECTOR, PAIRS, Queue, Ring, Virtio, regs};
use std::collections::BTreeSet;

/// Bytes of ports, of a device with one pair of queues and of one with several.
pub const PORTS: [u64; 2] = [32, 64];

/// MSI-X vectors of a device with one pair: configuration, receive, transmit.
pub const VECTORS: u16 = 3;

/// Descriptors in a queue of packets.
const SIZE: u16 = 256;

/// Bytes of a page, by whose number a queue is placed.
const PAGE: u64 = 4096;

/// A rule that stops the device (§5.1.6.6): early releases of QEMU end over it.
pub const SHARED_HEADER: Broken = "header that is not alone in the first descriptor, without ANY_LAYOUT";

/// Configuration space as dumps have it: conventional PCI, with MSI-X and nothing else.
pub const LAYOUT: Layout = Layout {
    prefetchable: false,
    wide: false,
    list: &[0x40],
    power: 0,
    msi: 0,
    msix: 0x40,
    pcie: 0,
    extended: &[],
    ..Layout::INTEL
};

/// What a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    HostFeatures,
    DriverFeatures,
    QueuePfn,
    QueueNum,
    QueueSelect,
    QueueNotify,
    Status,
    Isr,
    ConfigVector,
    QueueVector,
}

/// Offset, bytes, name, port.
type Row = (u32, u8, &'static str, Port);

/// The ports; the last two are there while MSI-X is on.
const ROWS: [Row; 10] = [
    (0, 4, "host_features", Port::HostFeatures),
    (4, 4, "driver_features", Port::DriverFeatures),
    (8, 4, "queue_pfn", Port::QueuePfn),
    (12, 2, "queue_num", Port::QueueNum),
    (14, 2, "queue_select", Port::QueueSelect),
    (16, 2, "queue_notify", Port::QueueNotify),
    (18, 1, "status", Port::Status),
    (19, 1, "isr", Port::Isr),
    (20, 2, "config_vector", Port::ConfigVector),
    (22, 2, "queue_vector", Port::QueueVector),
];

/// Bytes of the device's own configuration, without MQ and with it: what MTU would add is
/// not there.
const DEVICE_LEN: [u32; 2] = [8, 10];

/// Sizes of the queues of a device that offers this, where `few` are the most; and what
/// a nasty one leaves out.
pub fn whims(board: &mut Board, offered: &mut u64, few: u16) -> Vec<u16> {
    let queues = if *offered & MQ == 0 { 2 } else { 2 * usize::from(PAIRS) };
    let mut sizes = vec![SIZE; queues];
    sizes.push(CONTROL_SIZE);
    if board.nasty {
        let mut any = |sizes: [u16; 4]| sizes[board.random.below(4) as usize];
        sizes = (0..queues).map(|_| any([128, 256, 512, 1024])).collect();
        sizes.push(any([16, 32, 64, 128]));
        *offered &= !if board.random.below(2) == 0 { ANY_LAYOUT } else { 0 };
    }
    if *offered & CTRL_VQ == 0 {
        sizes.truncate(2);
    }
    // A driver cannot change it, so it is a power of two.
    let few = few.checked_ilog2().map_or(0, |log| 1 << log);
    sizes.into_iter().map(|size| size.min(few)).collect()
}

/// Whether a command's parts are each in as many descriptors as without ANY_LAYOUT
/// (§5.1.6.6): what it is, what it needs (of address `tables` each), the answer.
pub fn framed(chain: &Chain, tables: bool) -> bool {
    let parts = chain.readable.len();
    let first = chain.readable.first().is_some_and(|part| part.1 == 2);
    first && if tables { parts == 3 } else { parts <= 2 } && matches!(chain.writable[..], [(_, 1)])
}

/// Where a queue's three parts are, one after the other in a block.
fn parts(pfn: u32, size: u16) -> [u64; 3] {
    let (start, size) = (u64::from(pfn) * PAGE, u64::from(size));
    let available = start + 16 * size;
    [start, available, (available + 6 + 2 * size).next_multiple_of(PAGE)]
}

impl Virtio {
    /// Whether a header has a descriptor to itself.
    pub(super) fn header_alone(&self) -> bool {
        self.is_legacy() && !self.has(ANY_LAYOUT)
    }

    /// Whether it is late to look at what is available (nasty).
    pub(super) fn dawdles(&mut self) -> bool {
        self.is_legacy() && self.board.nasty && self.board.random.below(4) == 0
    }

    /// Says of packets that were sent that something was written to them (nasty).
    pub(super) fn misstate(&mut self, sent: &mut [(u16, u16, u32)]) {
        if self.is_legacy() {
            sent.iter_mut().for_each(|used| used.2 = self.board.random.below(2048) as u32);
        }
    }

    /// Where the device's own configuration is.
    fn device_at(&self) -> u32 {
        if self.board.bus.interrupts.enabled() { 24 } else { 20 }
    }

    /// The row of the port at `offset`; none where the device's own configuration is.
    fn port(&self, offset: u32) -> Option<&'static Row> {
        let within = |row: &&Row| (row.0..row.0 + u32::from(row.1)).contains(&offset);
        ROWS.iter().find(within).filter(|_| offset < self.device_at())
    }

    /// Name of a port, for a trace.
    pub(super) fn port_name(&self, offset: u32) -> Option<String> {
        match self.port(offset) {
            Some(row) => Some(row.2.into()),
            None => regs::device_name(offset - self.device_at()),
        }
    }

    /// A read of ports. What is wider or narrower than a port is answered all the same.
    pub(super) fn read_port(&mut self, offset: u32, size: u8) -> u64 {
        let ones = u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)));
        let Some(&(at, width, name, port)) = self.port(offset) else {
            return self.read_own(offset - self.device_at(), size).unwrap_or(ones);
        };
        if at != offset || width != size {
            self.board.violations.note(format!("read of {name} that is not of {width} bytes"));
        }
        if at != offset {
            return ones;
        }
        let noisy = self.board.nasty && self.board.bus.interrupts.enabled();
        let queue = self.queues.get_mut(usize::from(self.common.select));
        match port {
            Port::HostFeatures => self.offered,
            Port::DriverFeatures => self.features,
            Port::QueuePfn => queue.map_or(0, |queue| queue.addresses[0] / PAGE),
            Port::QueueNum => queue.map_or(0, |queue| {
                queue.size_known = true;
                queue.size.into()
            }),
            Port::QueueSelect => self.common.select.into(),
            Port::Status => self.common.status.into(),
            // With MSI-X it says nothing (§4.1.4.5).
            Port::Isr if noisy => self.board.random.below(4),
            Port::Isr => std::mem::take(&mut self.common.isr).into(),
            Port::ConfigVector => self.common.config_vector.into(),
            Port::QueueVector => queue.map_or(NO_VECTOR, |queue| queue.vector).into(),
            Port::QueueNotify => {
                self.board.violations.note(format!("read of write-only {name}"));
                ones
            }
        }
    }

    /// A read of the device's own configuration: in pieces of any width, as DPDK does.
    fn read_own(&mut self, at: u32, size: u8) -> Option<u64> {
        let len = DEVICE_LEN[usize::from(self.offered & MQ != 0)];
        if at + u32::from(size) > len {
            self.board.violations.note("read of a field that was not offered");
            return None;
        }
        Some(self.device_field(at, size))
    }

    /// A write to a port.
    pub(super) fn write_port(&mut self, offset: u32, size: u8, value: u32) {
        let Some(&(at, width, name, port)) = self.port(offset) else {
            return self.write_own((offset - self.device_at()) as usize, size, value);
        };
        if at != offset || width != size {
            self.board.violations.note(format!("write to {name} that is not of {width} bytes"));
            return;
        }
        match port {
            Port::DriverFeatures => self.take_legacy(value.into()),
            Port::QueuePfn => self.place(value),
            Port::QueueSelect => self.common.select = value as u16,
            Port::QueueNotify => self.notified_by_port(value as usize),
            Port::Status => self.write_legacy_status(value as u8),
            Port::ConfigVector => self.common.config_vector = self.known_vector(value as u16),
            Port::QueueVector => {
                let vector = self.known_vector(value as u16);
                match self.selected() {
                    Some(queue) => queue.vector = vector,
                    None => self.board.violations.note("vector of a queue that does not exist written"),
                }
            }
            Port::HostFeatures | Port::QueueNum | Port::Isr => {
                self.board.violations.note(format!("write to read-only {name}"));
            }
        }
    }

    fn selected(&mut self) -> Option<&mut Queue> {
        self.queues.get_mut(usize::from(self.common.select))
    }

    /// A driver gives the device another address here, byte by byte, unless there is a
    /// command for it (§5.1.4.3).
    fn write_own(&mut self, at: usize, size: u8, value: u32) {
        let Some(bytes) = self.address.get_mut(at..at + usize::from(size)) else {
            return self.board.violations.note("write to the device's configuration");
        };
        if self.features & CTRL_MAC_ADDR != 0 {
            return self.board.violations.note("address written past the command that was agreed on");
        }
        bytes.copy_from_slice(&value.to_le_bytes()[..usize::from(size)]);
        self.filter.address = self.address;
    }

    /// Features are agreed on as they are written.
    fn take_legacy(&mut self, taken: u64) {
        if self.common.status & status::DRIVER_OK != 0 {
            return self.board.violations.note("features written after DRIVER_OK");
        }
        let mut agreed = taken & self.offered;
        if taken & !self.offered != 0 {
            self.board.violations.note("features taken that were not offered");
        }
        if NEEDS.iter().any(|(feature, needed)| agreed & feature != 0 && agreed & needed == 0) {
            self.board.violations.note("feature taken without one that it needs");
        }
        if taken & BAD_FEATURE != 0 {
            self.board.violations.note("the feature taken that nobody may take");
            agreed = OF_BAD_DRIVERS & self.offered;
        }
        self.features = agreed;
        self.filter.vlans = self.has(CTRL_VLAN).then(BTreeSet::new);
    }

    /// A queue is where this page begins; 0 takes it away.
    fn place(&mut self, pfn: u32) {
        if pfn == 0 && self.board.nasty {
            return self.restart();
        }
        let (running, agreed) = (self.running(), self.agreed());
        let Some(queue) = self.selected() else {
            return self.board.violations.note("page of a queue that does not exist written");
        };
        let (placed, known) = (queue.addresses[0] != 0, queue.size_known);
        *queue = Queue { vector: queue.vector, size_known: known, ..Queue::new(queue.size) };
        if pfn == 0 {
            return;
        }
        queue.addresses = parts(pfn, queue.size);
        queue.ring = running.then(|| Ring::new(agreed, queue.size, queue.addresses));
        for (wrong, rule) in [
            (placed, "queue placed anew without being taken away"),
            (!known, "queue placed before its size was read"),
            (running, "queue placed after DRIVER_OK"),
        ] {
            if wrong {
                self.board.violations.note(rule);
            }
        }
    }

    /// One that comes before DRIVER_OK is remembered (§3.1.2).
    fn notified_by_port(&mut self, q: usize) {
        let running = self.running();
        if let Some(meter) = self.board.bus.memory.meter() {
            meter.ring();
        }
        match self.queues.get_mut(q) {
            None => self.board.violations.note("notification of a queue that does not exist"),
            Some(queue) if queue.addresses[0] == 0 => {
                self.board.violations.note("notification of a queue without pages")
            }
            // Packets are sent in the next step, and all other queues looked at now.
            Some(queue) if running && q % 2 == 1 => queue.rung = true,
            Some(_) if running => self.attend(q),
            Some(queue) => queue.busy = true,
        }
    }

    /// The packets to send of which ports told since the last step: the doorbell is heard in
    /// the step in which they are fetched, as one that is stored into the page is, and time
    /// in which the model was not played is none of their stages.
    pub(super) fn look_at_ports(&mut self) {
        for q in 0..self.queues.len() {
            if std::mem::take(&mut self.queues[q].rung) {
                self.attend(q);
            }
        }
    }

    /// The steps of §3.1.1 as old drivers take them: ACKNOWLEDGE is left out by iPXE.
    fn write_legacy_status(&mut self, value: u8) {
        use status::{DRIVER, DRIVER_OK, FEATURES_OK};
        if value == 0 {
            return self.restart();
        }
        let before = std::mem::replace(&mut self.common.status, value);
        for (wrong, rule) in [
            (before & !value != 0, "device_status bit cleared without a reset"),
            (value & FEATURES_OK != 0, "FEATURES_OK, which this interface does not have"),
            (value & DRIVER_OK != 0 && value & DRIVER == 0, "device_status out of order"),
        ] {
            if wrong {
                self.board.violations.note(rule);
            }
        }
        if value & !before & DRIVER_OK != 0 {
            self.start();
        }
    }

    /// DRIVER_OK: from here on the queues that were placed are served.
    fn start(&mut self) {
        let agreed = self.agreed();
        if self.queues.iter().take(2).any(|queue| queue.addresses[0] == 0) {
            self.board.violations.note("DRIVER_OK before the queues were placed");
        }
        let mut mapped = true;
        for queue in self.queues.iter_mut().filter(|queue| queue.addresses[0] != 0) {
            let ring = Ring::new(agreed, queue.size, queue.addresses);
            mapped &= ring.is_mapped(&self.board.bus.memory);
            queue.ring = Some(ring);
        }
        if !mapped {
            self.stop("queue outside mapped memory");
        }
        self.reset_at.get_or_insert(self.board.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_as_long_as_its_size_says() {
        assert_eq!(parts(0x10, 256), [0x10000, 0x11000, 0x12000]);
        assert_eq!(parts(0x10, 128), [0x10000, 0x10800, 0x11000]);
        assert_eq!(parts(0xffff_ffff, 1024), [0xfff_ffff_f000, 0x1000_0000_3000, 0x1000_0000_4000]);
    }

    #[test]
    fn the_ports_are_side_by_side() {
        let mut at = 0;
        for (offset, bytes, name, _) in ROWS {
            assert_eq!(offset, at, "{name}");
            at += u32::from(bytes);
        }
        assert_eq!(DEVICE_LEN.map(|len| u64::from(at + len).next_power_of_two()), PORTS);
    }
}
