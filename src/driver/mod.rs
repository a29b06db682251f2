//! Drivers: everything an application needs of a card, whatever its family.
//!
//! ```text
//!   open(function, config) -> Port { nic, rx: [RxQueue], tx: [TxQueue] }
//!
//!   nic    Box<dyn Nic>   control: link, filters, statistics. Slow, virtual.
//!   rx     RxQueue        data: recv(&mut Batch). Fast, an enum.
//!   tx     TxQueue        data: send(&mut Batch). Fast, an enum.
//! ```
//!
//! Queues own descriptor rings, not packets: buffers come from the
//! [`Pool`] of the batch that is passed in, and go back to
//! it. A queue and its pool can move to another thread together. A queue takes
//! buffers that its card can reach ([`Function::map`]) and no others.
//!
//! The device is not trusted. Every length, index and count it writes is
//! checked before it is used; a bad one is counted in [`Anomalies`], the packet
//! is dropped, and the queue goes on.

mod hw;
mod irq;
mod limits;
pub mod pair;
mod pieces;
mod regs;
pub mod ring;
mod rings;
pub mod rx;
mod stats;
pub mod supply;
pub mod tally;
pub mod tx;
pub mod wait;

pub mod efvi;
pub mod i40e;
pub mod ixgbe;
pub mod virtio;

pub use stats::{Anomalies, Stats};

use pair::{Receive, Transmit};

use crate::dma::{Batch, Pool, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use crate::pci::{self, Function};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Fewest descriptors in a ring.
pub const MIN_RING: u16 = 64;

/// Most descriptors in a ring.
pub const MAX_RING: u16 = 4096;

/// What a port is to be set up with. Frame sizes are without FCS.
#[derive(Clone, Debug)]
pub struct Config {
    /// Receive queues, at least 1. More than one are fed by RSS. A port has more of
    /// them if its card delivers to more ([`Port::rx`]).
    pub rx_queues: u16,
    /// Transmit queues, at least 1.
    pub tx_queues: u16,
    /// Descriptors in each receive ring: a power of two, 64 to 4096.
    pub rx_ring: u16,
    /// Descriptors in each transmit ring: a power of two, 64 to 4096.
    pub tx_ring: u16,
    /// Longest frame to receive, in bytes without FCS. Above 2048 a frame
    /// spans several buffers.
    pub max_frame: u16,
    /// If the card takes no frames as long as that, receive those that it takes.
    pub shorter_frames: bool,
    /// Receive frames for any address.
    pub promiscuous: bool,
    /// How several receive queues share the traffic.
    pub rss: Rss,
    /// Send to ourselves inside the card, for self-test.
    pub loopback: bool,
    /// Set up a receive interrupt for each queue, for [`RxQueue::wait`].
    pub interrupts: bool,
    /// Stamp every received packet if the silicon can.
    pub timestamps: bool,
    /// Receive descriptors of 32 bytes where a family has them and shorter ones:
    /// fewer to a cache line, so a card that writes whole lines writes sooner.
    pub long_descriptors: bool,
    /// Take VLAN tags out of received frames and report them in
    /// [`Meta::vlan`](crate::dma::Meta::vlan).
    pub vlan_strip: bool,
    /// Which way frames take to the card.
    pub tx_path: TxPath,
    /// How long to wait for the link.
    pub link_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rx_queues: 1,
            tx_queues: 1,
            rx_ring: 512,
            tx_ring: 512,
            max_frame: 1518,
            shorter_frames: false,
            promiscuous: true,
            rss: Rss::default(),
            loopback: false,
            interrupts: false,
            timestamps: false,
            long_descriptors: false,
            vlan_strip: false,
            tx_path: TxPath::Auto,
            link_wait: Duration::from_secs(10),
        }
    }
}

/// The way that a frame takes from memory to the wire.
///
/// ```text
///            processor stores             card reads over PCIe       first bit leaves
///   dma      doorbell                     descriptor, then frame     after both
///   push     descriptor and doorbell      frame                      after that
///   pio      frame; later, descriptor     nothing                    at once
///   ctpio    frame, straight to the MAC   nothing, unless it fails   while it is stored
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxPath {
    /// What the card is best at: the lowest latency that costs no throughput.
    #[default]
    Auto,
    /// Descriptors and frames are fetched.
    Dma,
    /// The first descriptor goes with the doorbell; frames are fetched.
    Push,
    /// Frames that fit go into memory on the card.
    Pio,
    /// Single frames are stored into the card's transmitter, which begins to
    /// send once it has `threshold` bytes of one; `None`: once it has all, so
    /// that a processor that is held up never spoils a frame on the wire.
    Ctpio {
        /// Bytes.
        threshold: Option<u16>,
    },
}

impl TxPath {
    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            TxPath::Auto => "auto",
            TxPath::Dma => "dma",
            TxPath::Push => "push",
            TxPath::Pio => "pio",
            TxPath::Ctpio { .. } => "ctpio",
        }
    }
}

impl fmt::Display for TxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TxPath::Ctpio { threshold: Some(bytes) } => write!(f, "ctpio={bytes}"),
            other => f.write_str(other.name()),
        }
    }
}

impl std::str::FromStr for TxPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let threshold = |bytes: &str| bytes.parse().ok().filter(|bytes| (64..=2048).contains(bytes));
        match text.trim() {
            "auto" => Ok(TxPath::Auto),
            "dma" => Ok(TxPath::Dma),
            "push" => Ok(TxPath::Push),
            "pio" => Ok(TxPath::Pio),
            "ctpio" => Ok(TxPath::Ctpio { threshold: None }),
            other => match other.strip_prefix("ctpio=").and_then(threshold) {
                Some(bytes) => Ok(TxPath::Ctpio { threshold: Some(bytes) }),
                None => Err(Error::new(
                    Kind::Usage,
                    format!(
                        "'{text}' is no transmit path; it is auto, dma, push, pio, ctpio, or ctpio=BYTES to begin sending after 64 to 2048 of them"
                    ),
                )),
            },
        }
    }
}

/// Receive-side scaling: which queue a flow goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// Toeplitz key.
    pub key: [u8; 40],
    /// Redirection table (RETA): hash low bits to queue. Empty: all queues in turn.
    pub table: Vec<u16>,
    /// Hash UDP ports too; fragments of one datagram may then part.
    pub udp: bool,
}

impl Default for Rss {
    /// A key whose 16-bit pattern repeats, so both directions of a flow hash alike.
    fn default() -> Self {
        let mut key = [0; 40];
        for pair in key.chunks_exact_mut(2) {
            pair.copy_from_slice(&[0x6d, 0x5a]);
        }
        Rss { key, table: Vec::new(), udp: true }
    }
}

/// State of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether frames can pass.
    pub up: bool,
    /// Speed in bits a second; 0 while down, or where the card does not know.
    pub speed: u64,
}

/// A flow to steer to a queue: a field that is `None` matches anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRule {
    /// Source address.
    pub source: Option<IpAddr>,
    /// Destination address, a multicast group for one.
    pub destination: Option<IpAddr>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// Transport.
    pub protocol: crate::dma::L4,
    /// Queue to receive it on.
    pub queue: u16,
}

/// Where receive timestamps come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampSource {
    /// The card stamps each packet as it arrives.
    Hardware,
    /// The processor's counter when the batch was taken off the ring; one stamp a batch.
    Tsc,
}

impl fmt::Display for TimestampSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimestampSource::Hardware => "hw",
            TimestampSource::Tsc => "tsc",
        })
    }
}

/// The time on a card's clock, between two readings of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The other clock, right before.
    pub before: u64,
    /// The card's time.
    pub time: Timestamp,
    /// The other clock, right after.
    pub after: u64,
    /// Step of the card's clock, in picoseconds.
    pub step_ps: u32,
}

/// What a card is.
#[derive(Clone, Debug)]
pub struct Description {
    /// Name the user gave.
    pub device: String,
    /// Model, as in "Intel 82599ES".
    pub model: &'static str,
    /// Driver family, as in "ixgbe".
    pub driver: &'static str,
    /// What stands behind it.
    pub kind: pci::Kind,
    /// Ethernet address.
    pub mac: MacAddr,
    /// Where receive timestamps come from as configured.
    pub timestamps: TimestampSource,
    /// Most receive queues it can have.
    pub max_rx_queues: u16,
    /// Most transmit queues it can have.
    pub max_tx_queues: u16,
}

/// The control plane of a card. Dropping it stops the card: queues off, bus
/// mastering off, and only then is memory released.
pub trait Nic: Send {
    /// What it is.
    fn describe(&self) -> &Description;

    /// State of the link now.
    fn link(&mut self) -> Result<Link>;

    /// Receive frames for any address, or only for those asked for.
    fn set_promiscuous(&mut self, on: bool) -> Result<()>;

    /// Receive these multicast groups, and no others.
    fn set_multicast(&mut self, groups: &[MacAddr]) -> Result<()>;

    /// Changes the card's own address until it is reset.
    fn set_mac(&mut self, mac: MacAddr) -> Result<()>;

    /// Changes the redirection table while running.
    fn set_rss_table(&mut self, table: &[u16]) -> Result<()>;

    /// Steers a flow to a queue.
    fn steer(&mut self, rule: &FlowRule) -> Result<()>;

    /// Counters since the port was opened, read from the card's own.
    fn stats(&mut self) -> Result<Stats>;

    /// Reads the clock that stamps received packets; `None` if none does.
    /// `other` is read right before the card is asked for its time and right after.
    fn clock(&mut self, _other: &mut dyn FnMut() -> u64) -> Result<Option<ClockReading>> {
        Ok(None)
    }
}

impl dyn Nic {
    /// Waits until the link is up, at most `patience`.
    pub fn wait_for_link(&mut self, patience: Duration) -> Result<Link> {
        let deadline = std::time::Instant::now() + patience;
        loop {
            let link = self.link()?;
            if link.up {
                return Ok(link);
            }
            if std::time::Instant::now() >= deadline {
                return Err(Error::new(
                    Kind::Timeout,
                    format!(
                        "{}: no link after {:.1} s; is a cable or module plugged in, and is the far end up?",
                        self.describe().device,
                        patience.as_secs_f64()
                    ),
                ));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// An opened card.
pub struct Port {
    /// Receive queues, in order.
    pub rx: Vec<RxQueue>,
    /// Transmit queues, in order.
    pub tx: Vec<TxQueue>,
    /// Control. Declared last: dropped after the queues, it stops the card.
    pub nic: Box<dyn Nic>,
}

/// Does something with the receive queue of whichever family it is.
macro_rules! rx_of_its_family {
    ($any:expr, $queue:ident => $what:expr) => {
        match $any {
            RxQueue::Efvi($queue) => $what,
            RxQueue::Ixgbe($queue) => $what,
            RxQueue::I40e($queue) => $what,
            RxQueue::I40eLong($queue) => $what,
            RxQueue::Virtio($queue) => $what,
        }
    };
}

/// As [`rx_of_its_family`], with a transmit queue.
macro_rules! tx_of_its_family {
    ($any:expr, $queue:ident => $what:expr) => {
        match $any {
            TxQueue::Efvi($queue) => $what,
            TxQueue::Ixgbe($queue) => $what,
            TxQueue::I40e($queue) => $what,
            TxQueue::Virtio($queue) => $what,
        }
    };
}

/// A receive queue of any family.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // a few a port; a box would cost each burst a pointer
pub enum RxQueue {
    /// Solarflare EF10.
    Efvi(efvi::RxQueue),
    /// Intel 82599, X540, X550.
    Ixgbe(ixgbe::RxQueue),
    /// Intel X710, XL710, XXV710, X722.
    I40e(i40e::RxQueue),
    /// The same, with [`Config::long_descriptors`].
    I40eLong(i40e::LongRxQueue),
    /// virtio-net.
    Virtio(virtio::RxQueue),
}

/// A transmit queue of any family.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // as RxQueue
pub enum TxQueue {
    /// Solarflare EF10.
    Efvi(efvi::TxQueue),
    /// Intel 82599, X540, X550.
    Ixgbe(ixgbe::TxQueue),
    /// Intel X710, XL710, XXV710, X722.
    I40e(i40e::TxQueue),
    /// virtio-net.
    Virtio(virtio::TxQueue),
}

impl Port {
    /// Stops the card and gives the buffers in its rings back to the pools they
    /// came from, so that these can be used again. A port that is only dropped
    /// keeps them.
    pub fn close<'a>(self, pools: impl IntoIterator<Item = &'a Pool>) {
        let Port { mut rx, mut tx, nic } = self;
        // First the card: what it could still write belongs to nobody else.
        drop(nic);
        for pool in pools {
            rx.iter_mut().for_each(|rx| rx_of_its_family!(rx, queue => queue.release(pool)));
            tx.iter_mut().for_each(|tx| tx_of_its_family!(tx, queue => queue.release(pool)));
        }
    }
}

impl RxQueue {
    /// Gives the queue its first buffers. Without it the card drops what comes
    /// before the first [`RxQueue::recv`].
    ///
    /// # Errors
    /// [`Kind::Usage`] if the card cannot reach the pool, because
    /// [`Function::map`] was forgotten; [`Kind::Gone`] if it was closed.
    ///
    /// ```
    /// use bmnic::dma::{Addressing, Batch, Pool};
    /// use bmnic::driver::{self, Config};
    /// use bmnic::emu::{Drive, Engine};
    ///
    /// let engine = Engine::new(Drive::Thread);
    /// let (function, _tap) = engine.open(&"82599,wire=source".parse()?)?;
    /// let mut port = driver::open(function.clone(), &Config::default())?;
    /// let pool = Pool::new(1024, Addressing::Translated)?;
    ///
    /// // Forgotten: nothing is received, and nothing pretends to be.
    /// assert!(port.rx[0].fill(&pool).is_err());
    /// assert_eq!(port.rx[0].recv(&mut Batch::new(&pool)), 0);
    /// assert_eq!(port.rx[0].anomalies().unmapped, 1);
    ///
    /// function.map(pool.arena())?;
    /// port.rx[0].fill(&pool)?;
    /// # Ok::<(), bmnic::Error>(())
    /// ```
    pub fn fill(&mut self, pool: &Pool) -> Result<()> {
        rx_of_its_family!(self, queue => queue.fill(pool))
    }

    /// Appends received packets to `batch`, as many as it has room for, and
    /// returns how many entries were added. Never waits. Frames of several
    /// buffers are added whole or not at all. None are added from a pool that the
    /// card cannot reach ([`Anomalies::unmapped`]; [`RxQueue::fill`] says why).
    #[inline]
    pub fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        rx_of_its_family!(self, queue => recv(queue, batch))
    }

    /// Sleeps until the card says there may be packets, or `patience` is over;
    /// true if it said so. Needs [`Config::interrupts`].
    pub fn wait(&mut self, patience: Duration) -> Result<bool> {
        rx_of_its_family!(self, queue => queue.wait(patience))
    }

    /// What the device did wrong on this queue.
    pub fn anomalies(&self) -> Anomalies {
        rx_of_its_family!(self, queue => queue.anomalies())
    }
}

impl TxQueue {
    /// Sends packets from the front of `batch`, as many as the ring has room
    /// for, and returns how many entries were taken; the rest stay in it. Never
    /// waits. Buffers of packets that have left are given back to the pool on
    /// later calls. None are taken from a pool that the card cannot reach
    /// ([`Anomalies::unmapped`]; [`TxQueue::adopt`] says why).
    #[inline]
    pub fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        tx_of_its_family!(self, queue => send(queue, batch))
    }

    /// Takes to `pool`, whose buffers are to be sent, once those of another have
    /// left. [`TxQueue::send`] does it by itself, but cannot say what is wrong.
    ///
    /// # Errors
    /// As [`RxQueue::fill`].
    pub fn adopt(&mut self, pool: &Pool) -> Result<()> {
        tx_of_its_family!(self, queue => queue.adopt(pool))
    }

    /// Gives buffers of packets that have left back to `pool`, all that the
    /// device reports done; returns how many packets' buffers are still in the ring.
    pub fn reclaim(&mut self, pool: &Pool) -> usize {
        tx_of_its_family!(self, queue => queue.reclaim(pool))
    }

    /// Lays the packets of `batch` ready at the card, all of them or none: each
    /// is then sent by [`TxQueue::launch`] with a single store, as often as
    /// wanted, by its number in the order of laying. They stay until the port is
    /// closed. Returns how many that were.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a packet of several buffers or with an offload, or of
    /// a pool that the card cannot reach, [`Kind::Unsupported`] if the card is of a family that cannot.
    pub fn prepare(&mut self, batch: &mut Batch<'_>) -> Result<usize> {
        match self {
            TxQueue::Efvi(queue) => queue.prepare(batch),
            _ => Err(Error::new(Kind::Unsupported, "cards of this family cannot have packets laid ready; use send")),
        }
    }

    /// Sends packet `n` of those laid ready; false if there is none such or no
    /// room in the ring, which [`TxQueue::reclaim`] makes.
    #[inline]
    pub fn launch(&mut self, n: usize) -> bool {
        match self {
            TxQueue::Efvi(queue) => queue.launch(n),
            _ => false,
        }
    }

    /// When the last packet that the card reported as sent left, by its own
    /// clock, if it says so and [`Config::timestamps`] asked it to.
    pub fn last_sent(&self) -> Option<Timestamp> {
        match self {
            TxQueue::Efvi(queue) => queue.last_sent(),
            _ => None,
        }
    }

    /// What the device did wrong on this queue.
    pub fn anomalies(&self) -> Anomalies {
        tx_of_its_family!(self, queue => queue.anomalies())
    }
}

/// Each family's loop is a function of its own: several in one compete for the
/// processor's registers, at two instructions a packet. The call is one a burst.
#[inline(never)]
fn recv(queue: &mut impl Receive, batch: &mut Batch<'_>) -> usize {
    queue.recv(batch)
}

/// As [`recv`].
#[inline(never)]
fn send(queue: &mut impl Transmit, batch: &mut Batch<'_>) -> usize {
    queue.send(batch)
}

/// A family of cards, and how to open one of them.
struct Family {
    name: &'static str,
    /// Transmit paths besides [`TxPath::Auto`].
    paths: &'static [&'static str],
    supports: fn(pci::Id) -> bool,
    open: fn(Arc<dyn Function>, &Config) -> Result<Port>,
}

/// All families that can be driven.
const FAMILIES: &[Family] = &[
    Family { name: "ixgbe", paths: &["dma"], supports: ixgbe::supports, open: ixgbe::open },
    Family { name: "i40e", paths: &["dma"], supports: i40e::supports, open: i40e::open },
    Family { name: "virtio", paths: &["dma"], supports: virtio::supports, open: virtio::open },
    Family { name: "efvi", paths: &["dma", "push", "pio", "ctpio"], supports: efvi::supports, open: efvi::open },
];

fn family(id: pci::Id) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| (family.supports)(id))
}

/// Opens a card with the driver for its id.
///
/// # Errors
/// [`Kind::Unsupported`] if there is none or the card lacks what `config` asks
/// for, otherwise what the driver met.
pub fn open(function: Arc<dyn Function>, config: &Config) -> Result<Port> {
    let Some(family) = family(function.id()) else {
        return Err(unsupported(&*function));
    };
    let path = config.tx_path.name();
    if config.tx_path != TxPath::Auto && !family.paths.contains(&path) {
        let (name, driver, paths) = (function.name(), family.name, family.paths.join(", "));
        let text = format!("{name}: {driver} cards cannot send by {path}; their transmit paths are {paths}");
        return Err(Error::new(Kind::Unsupported, text));
    }
    (family.open)(function, config)
}

fn unsupported(function: &dyn Function) -> Error {
    let (name, id) = (function.name(), function.id());
    Error::new(
        Kind::Unsupported,
        format!(
            "{name}: no driver for PCI id {:04x}:{:04x}; `bmnic list` shows the cards that can be driven",
            id.vendor, id.device
        ),
    )
}

/// Name of the driver for a PCI id, if there is one.
pub fn driver_for(id: pci::Id) -> Option<&'static str> {
    family(id).map(|family| family.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transmit_path_reads_as_it_prints() {
        for text in ["auto", "dma", "push", "pio", "ctpio", "ctpio=64"] {
            assert_eq!(text.parse::<TxPath>().unwrap().to_string(), text);
        }
        for text in ["", "DMA", "ctpio=", "ctpio=63", "ctpio=2049", "pio=64"] {
            assert_eq!(text.parse::<TxPath>().unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }
}
