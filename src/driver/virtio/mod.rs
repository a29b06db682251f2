//! Driver for virtio-net over PCI: VIRTIO 1.0 and later, split and packed rings, and
//! legacy devices (virtio 0.9.5).
//!
//! ```text
//!                     memory                                 device
//!
//!   Pool --buffer--> [ receive virtqueue ] --available--> fills the buffer:
//!    ^                    |  used: id, length  <--------- [ header:12 | frame ]
//!    |                    v
//!    |     Batch <-- recv: buffer out, free buffer in, same id
//!    |       |              the frame starts at byte 12
//!    |       v
//!    |     Batch --> send: header into the room before the frame,
//!    |                    |  or a descriptor of its own
//!    |               [ transmit virtqueue ] --available--> reads header and frame
//!    +--- reclaim <-------+  used: id          <---------- gives them back
//! ```
//!
//! The device is told by a notification, if it wants to be: it says so in
//! memory, by a flag or by the index it waits for. All formats of virtqueue
//! are one trait (`ring`), and receive and transmit are written once for them.
//!
//! A device is driven by its registers of VIRTIO 1.0, if it has them, and as a legacy
//! device only if not: registers in I/O ports (`legacy`), rings on pages of 32 bits,
//! headers of 10 bytes. There is no memory to notify it by: each notification is a
//! system call on a real machine. Nor can it say whether it obeys an IOMMU. QEMU's own
//! never does, and a card of silicon always; Linux's drivers take it for one that does not
//! (`virtio_has_dma_quirk`), and DPDK's give it the physical addresses that it then has
//! in either case. So does this one ([`Function::address_physically`]).
//!
//! The driver does not pretend what a virtio device lacks: it has no FCS and so no
//! broken frames, no line rate, no statistics (packets are counted here), no RSS
//! that could be set up, no filters for flows. A checksum that the device cannot
//! complete is completed in software.
//!
//! A device is brought up in the order of VIRTIO 1.2, §3.1.1. Not here:
//! receive offloads (GUEST_CSUM, GUEST_TSO: a received frame is
//! what was on the wire), segmentation, indirect descriptors.

mod caps;
mod control;
mod features;
mod header;
mod hw;
mod legacy;
mod modern;
mod packed;
mod regs;
mod ring;
mod rx;
mod split;
mod stats;
mod tx;

use super::config::Config;
use super::irq::Interrupts;
use super::ops::{Description, FlowRule, Link, NOT_PROMISCUOUS, NicOps, Opened, Said, no_driver};
use super::pieces::Pieces;
use super::pluggable::Pluggable;
use super::slots::Stock;
use super::stats::Stats;
use crate::dma::{Addressing, Region};
use crate::error::{Kind, Result};
use crate::net::MacAddr;
use crate::pci::{self, Function};
use control::{Command, Control, Shown};
use features::Features;
use header::Framing;
use hw::{BellPlace, Hw};
use packed::Packed;
use ring::{Notifier, Virtqueue};
use split::{LegacySplit, Split};
use stats::Counters;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// PCI ids (§4.1.2): of a device that is only modern, and of one that is also
/// a legacy device, or nothing else.
const VENDOR: u16 = 0x1af4;
const MODERN: u16 = 0x1041;
const TRANSITIONAL: u16 = 0x1000;

/// Longest frame without FCS. The device sets no bound; ours is that of the
/// other cards.
const MAX_FRAME: u16 = 15_872;

/// Descriptors in a control queue: one command at a time needs four at most.
const CONTROL_RING: u32 = 16;

/// Descriptors in a queue at least: of a command with two tables, or of a frame with its
/// header and of one more.
const LEAST: u32 = 4;

/// For [`Description::lacks`], of a legacy device.
const NOTIFIED_BY_PORT: &str = "it is a legacy device: whenever it is told of packets that costs a system call";
const PAST_IOMMU: &str =
    "a legacy device may go past the IOMMU, which then protects nothing; it is given physical addresses";

/// Transmit paths.
pub const PATHS: &[&str] = &["dma"];

/// A receive queue on a split virtqueue.
pub type SplitRxQueue = rx::Queue<Split>;

/// A receive queue on a legacy device's.
pub type LegacyRxQueue = rx::Queue<LegacySplit>;

/// A receive queue on a packed one.
pub type PackedRxQueue = rx::Queue<Packed>;

/// A transmit queue on a split virtqueue.
pub type SplitTxQueue = tx::Queue<Split>;

/// A transmit queue on a legacy device's.
pub type LegacyTxQueue = tx::Queue<LegacySplit>;

/// A transmit queue on a packed one.
pub type PackedTxQueue = tx::Queue<Packed>;

/// Whether `id` is one of this family.
pub fn supports(id: pci::Id) -> bool {
    id.vendor == VENDOR && (id.device == MODERN || id.device == TRANSITIONAL)
}

/// Opens the device: everything set up and receiving into empty rings.
///
/// # Errors
/// [`Kind::Unsupported`] for a device that is no virtio device of either kind, [`Kind::Usage`] for
/// a configuration that it cannot have, [`Kind::Gone`] if it does not answer.
///
/// Queues come in pairs, and the device may deliver to each pair's receive queue
/// (§5.1.5): so there are as many of those as transmit queues, if fewer were asked for.
pub fn open<R, T>(function: Arc<dyn Function>, config: &Config) -> Result<Opened<R, T>>
where
    R: From<SplitRxQueue> + From<PackedRxQueue> + From<LegacyRxQueue>,
    T: From<SplitTxQueue> + From<PackedTxQueue> + From<LegacyTxQueue>,
{
    if !supports(function.id()) {
        return Err(no_driver(&*function));
    }
    let hw = Arc::new(Hw::new(&function)?);
    hw.reset()?; // §3.1.1 step 1
    let translated = function.addressing() == Addressing::Translated;
    if hw.is_legacy() {
        function.address_physically();
    }
    let past_iommu = translated && function.addressing() == Addressing::Physical;
    let device = Device { function, hw, past_iommu };
    let hw = &device.hw;
    hw.acknowledge(); // steps 2 and 3
    let mut config = config.clone();
    if config.shorter_frames && !hw.offers().has(features::MRG_RXBUF) {
        config.max_frame = config.max_frame.min(rx::ONE_BUFFER);
    }
    let features = features::agree(hw, &config, device.function.addressing() == Addressing::Translated)?; // steps 4 to 6
    config.rx_queues = config.rx_queues.max(config.tx_queues);
    if features.has(features::RING_PACKED) {
        start::<Packed, R, T>(device, features, &config)
    } else if hw.is_legacy() {
        start::<LegacySplit, R, T>(device, features, &config)
    } else {
        start::<Split, R, T>(device, features, &config)
    }
}

/// An address for a device without one: of those that anybody may give, and another one
/// each time, as two devices may stand at one network.
fn any_address() -> MacAddr {
    let number = RandomState::new().hash_one(0);
    let [_, _, b, c, d, e, f, _] = number.to_le_bytes();
    MacAddr([2, b, c, d, e, f])
}

/// Steps 7 and 8: queues, then everything that is told through the control queue.
fn start<F, R, T>(device: Device, features: Features, config: &Config) -> Result<Opened<R, T>>
where
    F: Virtqueue + 'static,
    R: From<rx::Queue<F>>,
    T: From<tx::Queue<F>>,
{
    let model = match (device.hw.is_legacy(), features.has(features::RING_PACKED)) {
        (true, _) => "virtio-net, legacy",
        (false, true) => "virtio-net, packed rings",
        (false, false) => "virtio-net",
    };
    let mut description = Description::new(&*device.function, "virtio", model);
    description.mac = if features.has(features::MAC) { device.hw.mac()? } else { any_address() };
    description.longest_sent = device.longest_sent(features);
    let lacks = [(device.hw.is_notified_by_call(), NOTIFIED_BY_PORT), (device.past_iommu, PAST_IOMMU)];
    description.lacks.extend(lacks.iter().filter(|(lacks, _)| *lacks).map(|(_, what)| what.to_string()));
    let most = if features.has(features::MQ) { device.hw.max_pairs() } else { 1 };
    (description.max_rx_queues, description.max_tx_queues) = (most, most);
    let mut card = Card::<F>::new(device, features);
    let (rx, tx, lengths) = card.queues(features, config).map_err(|error| {
        let hidden = error.kind() == Kind::Permission && card.device.hw.is_legacy();
        let why = "the kernel hides physical addresses from this user, and a legacy virtio device needs them, under VFIO too; run as root";
        if hidden { card.device.hw.error(Kind::Permission, why) } else { error }
    })?;
    let short = lengths[0] < config.rx_ring || lengths[1] < config.tx_ring;
    match card.device.hw.is_legacy() {
        true => description.own_rings = Some(lengths),
        false => description.short_rings = short.then_some(lengths),
    }
    card.device.function.set_bus_master(true)?;
    card.device.hw.go()?;
    if config.rx_queues > 1 {
        card.command(&Command::pairs(config.rx_queues))?;
    }
    if features.has(features::CTRL_RX) {
        // A device that refuses it receives what is for its own address, and what a host
        // lets it see.
        match card.set_promiscuous(config.promiscuous) {
            Err(error) if error.kind() != Kind::Unsupported => return Err(error),
            Err(_) if config.promiscuous => description.lacks.push(NOT_PROMISCUOUS.into()),
            _ => {}
        }
    }
    Ok(Opened { rx, tx, description, ops: Box::new(card) })
}

/// A device that was reset and may be working. Dropped, it works no more.
struct Device {
    function: Arc<dyn Function>,
    hw: Arc<Hw>,
    /// It is given physical addresses, though an IOMMU would translate others.
    past_iommu: bool,
}

impl Device {
    /// Bytes of the longest frame without a tag that the network behind it takes, where it
    /// says so.
    fn longest_sent(&self, features: Features) -> Option<u16> {
        const ETHERNET: u16 = 14;
        let mtu = if features.has(features::MTU) { self.hw.mtu() } else { None };
        mtu.map(|mtu| mtu.saturating_add(ETHERNET).min(MAX_FRAME))
    }
}

impl Drop for Device {
    /// Reset, so that no queue is read or written any more, then bus mastering
    /// off. The function may keep what it has mapped, and then nothing reads or writes it.
    fn drop(&mut self) {
        self.hw.stop();
        // A device that is gone cannot be told; one that is there was stopped above.
        let _ = self.function.set_bus_master(false);
    }
}

/// The control plane of an opened device.
struct Card<F> {
    control: Option<Control<F>>,
    features: Features,
    rx: Vec<Arc<Counters>>,
    tx: Vec<Arc<Counters>>,
    /// It was told that a queue is astray.
    told: bool,
    /// Declared before the device: no eventfd is signalled that is not there.
    interrupts: Option<Interrupts>,
    /// Declared last: dropped, it stops the device.
    device: Device,
}

impl<F: Virtqueue + 'static> Card<F> {
    fn new(device: Device, features: Features) -> Self {
        Card { control: None, features, rx: Vec::new(), tx: Vec::new(), told: false, interrupts: None, device }
    }

    /// Makes all queues, in one arena, and turns them on. Each pair of a device
    /// is one receive queue and one transmit queue, whether that is used or not. With the
    /// lengths of the first pair.
    fn queues<R, T>(&mut self, features: Features, config: &Config) -> Result<(Vec<R>, Vec<T>, [u16; 2])>
    where
        R: From<rx::Queue<F>>,
        T: From<tx::Queue<F>>,
    {
        let (function, hw) = (&self.device.function, &self.device.hw);
        let mut queues = Vec::new();
        // Fewer would never carry the longest frame, which is sent with a header before it.
        let parts = if features.has(features::MRG_RXBUF) { rx::parts(config.max_frame) } else { 1 };
        let rx_parts = if Framing::of(features).apart { 2 * parts } else { parts };
        for queue in 0..2 * config.rx_queues {
            let (wanted, least) = if queue % 2 == 0 { (config.rx_ring, rx_parts) } else { (config.tx_ring, parts + 1) };
            queues.push(hw.queue_len(queue, u32::from(wanted), least.max(LEAST))?);
        }
        let lengths = [queues[0] as u16, queues[1] as u16];
        let control = if features.has(features::CTRL_VQ) {
            // Behind all pairs that there could be (§5.1.2).
            let index = if features.has(features::MQ) { 2 * hw.max_pairs() } else { 2 };
            Some((index, hw.queue_len(index, CONTROL_RING, LEAST)?))
        } else {
            None
        };
        let of_queues = queues.iter().flat_map(|&len| [F::bytes(len), tx::header_bytes(len)]);
        let of_control = control.iter().flat_map(|&(_, len)| [F::bytes(len), control::MEMORY]);
        let mut memory = Pieces::new(&**function, of_queues.chain(of_control))?;
        if config.interrupts {
            self.interrupts = Some(Interrupts::new(function, config.rx_queues, 0, u16::MAX)?);
        }

        hw.no_config_interrupt();
        let longest = self.device.longest_sent(features).unwrap_or(MAX_FRAME);
        let begin = |memory: &Region, queue: u16, len: u32, vector| -> Result<(F, Notifier, BellPlace)> {
            let (ring, places) = F::new(memory, len, features);
            let (place, bell) = hw.bell(queue, features)?;
            hw.start_queue(queue, places, vector)?;
            Ok((ring, Notifier::new(bell), place))
        };
        let start = |memory: &mut Pieces, queue: u16, len: u32, vector| -> Result<(F, Notifier)> {
            begin(&memory.take(F::bytes(len)), queue, len, vector).map(|(ring, notifier, _)| (ring, notifier))
        };
        let (mut rx, mut tx) = (Vec::new(), Vec::new());
        for (queue, len) in (0..).zip(queues) {
            let n = queue / 2;
            if queue % 2 == 0 {
                let interrupt = self.interrupts.as_ref();
                let (ring, notifier) = start(&mut memory, queue, len, interrupt.map(|_| n))?;
                // The mask is in the ring, not in a register: the queue lifts it.
                let interrupt = interrupt.map(|interrupts| interrupts.of(n, || ()));
                let mergeable = features.has(features::MRG_RXBUF);
                let stock = Stock::new(function, interrupt);
                let queue = rx::Queue::new(ring, notifier, stock, config.max_frame, mergeable);
                self.rx.push(queue.counters());
                rx.push(queue.into());
            } else {
                let (ring, notifier) = start(&mut memory, queue, len, None)?;
                if n < config.tx_queues {
                    let checksums = features.has(features::CSUM);
                    let headers = memory.take(tx::header_bytes(len));
                    let queue = tx::Queue::new(ring, notifier, function, &headers, checksums, longest);
                    self.tx.push(queue.counters());
                    tx.push(queue.into());
                }
            }
        }
        if let Some((index, len)) = control {
            let queue = memory.take(F::bytes(len));
            let (ring, notifier, place) = begin(&queue, index, len, None)?;
            let shown = Shown { queue, place };
            self.control = Some(Control::new(ring, notifier, memory.take(control::MEMORY), shown));
        }
        Ok((rx, tx, lengths))
    }

    /// Has the device carry out a command.
    fn command(&mut self, command: &Command) -> Result<()> {
        let hw = &self.device.hw;
        match &mut self.control {
            Some(control) => control.run(hw, command),
            None => Err(hw.error(Kind::Unsupported, "it has no control queue, so nothing can be set")),
        }
    }

    /// Fails unless `feature` was agreed on: what it is for is `what`.
    fn needs(&self, feature: u8, what: &str) -> Result<()> {
        if self.features.has(feature) {
            return Ok(());
        }
        Err(self.device.hw.error(Kind::Unsupported, format!("the device does not let {what} be set")))
    }
}

impl<F: Virtqueue + 'static> NicOps for Card<F> {
    fn link(&mut self) -> Result<Link> {
        let hw = &self.device.hw;
        hw.alive()?;
        let up = !self.features.has(features::STATUS) || hw.link_up();
        let speed = if up && self.features.has(features::SPEED_DUPLEX) { hw.speed() } else { 0 };
        Ok(Link { up, speed })
    }

    fn nvm(&mut self) -> Result<Said<String>> {
        Ok(Said::Nothing("a virtual device has none".into()))
    }

    fn module(&mut self) -> Result<Said<Pluggable>> {
        Ok(Said::Nothing("a virtual device has none".into()))
    }

    fn set_promiscuous(&mut self, on: bool) -> Result<()> {
        self.needs(features::CTRL_RX, "promiscuous mode")?;
        self.command(&Command::promiscuous(on))?;
        self.command(&Command::all_multicast(on))
    }

    fn set_multicast(&mut self, groups: &[MacAddr]) -> Result<()> {
        let hw = &self.device.hw;
        if groups.len() > Command::MOST_GROUPS {
            let most = Command::MOST_GROUPS;
            return Err(hw.error(Kind::Usage, format!("{} groups; at most {most} can be set", groups.len())));
        }
        self.needs(features::CTRL_RX, "multicast groups")?;
        self.command(&Command::groups(groups))
    }

    fn set_mac(&mut self, mac: MacAddr) -> Result<()> {
        if !self.features.has(features::CTRL_MAC_ADDR) && self.device.hw.set_mac(mac) {
            return self.device.hw.alive();
        }
        self.needs(features::CTRL_MAC_ADDR, "an address")?;
        self.command(&Command::address(mac))
    }

    fn set_rss_table(&mut self, _table: &[u16]) -> Result<()> {
        let text = "a virtio device spreads flows as it likes; use one queue, or a card with RSS";
        Err(self.device.hw.error(Kind::Unsupported, text))
    }

    fn steer(&mut self, _slot: usize, _rule: &FlowRule) -> Result<()> {
        let text = "a virtio device has no flow filters; filter in software";
        Err(self.device.hw.error(Kind::Unsupported, text))
    }

    fn stats(&mut self) -> Result<Stats> {
        self.device.hw.alive()?;
        let mut stats = Stats::default();
        for counters in &self.rx {
            let (packets, bytes, oversize) = counters.read();
            stats.rx_packets += packets;
            stats.rx_bytes += bytes;
            stats.rx_oversize += oversize;
        }
        for counters in &self.tx {
            let (packets, bytes, _) = counters.read();
            stats.tx_packets += packets;
            stats.tx_bytes += bytes;
        }
        let astray = self.rx.iter().chain(&self.tx).fold(false, |any, counters| counters.stays_astray() | any);
        // Once: the counters are true all the same.
        if astray && !std::mem::replace(&mut self.told, true) {
            let text = "one of its queues reports more used buffers than it was given, as if its index had gone back: perhaps the program behind it has started over, which it cannot without a reset; run the command again";
            return Err(self.device.hw.error(Kind::Device, text));
        }
        Ok(stats)
    }
}
