//! The families of cards: the only place above them, and the one list of them.

use super::config::{Config, TxPath};
use super::nic::Nic;
use super::ops::{Opened, no_driver};
use super::queue::{Loop, Receive, Transmit};
use super::sends::Sends;
use super::slots::Slots;
use super::stats::Anomalies;
use super::{bnxt, efvi, i40e, ixgbe, mlx5, packet, virtio, xdp};
use crate::dma::{Batch, Pool, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::pci::{self, Function};
use std::sync::Arc;
use std::time::Duration;

/// An opened card.
pub struct Port {
    /// Receive queues, in order.
    pub rx: Vec<RxQueue>,
    /// Transmit queues, in order.
    pub tx: Vec<TxQueue>,
    /// Control. Declared last: dropped after the queues, it stops the card.
    pub nic: Nic,
}

/// How a family opens a card.
type OpenFn = fn(Arc<dyn Function>, &Config) -> Result<Opened<RxQueue, TxQueue>>;

/// A family of cards, and how to open one of them.
struct Family {
    name: &'static str,
    /// Transmit paths besides [`TxPath::Auto`].
    paths: &'static [&'static str],
    supports: fn(pci::Id) -> bool,
    open: OpenFn,
}

/// Declares the families and the types of their queues; each type of receive
/// queue goes with a type of transmit queue.
macro_rules! families {
    (
        families { $($family:ident)* }
        receive { $($(#[$rx_doc:meta])* $rx:ident($rx_type:ty) with $with:ident;)* }
        transmit { $($(#[$tx_doc:meta])* $tx:ident($tx_type:ty);)* }
    ) => {
        /// All families that can be driven.
        const FAMILIES: &[Family] = &[$(Family {
            name: stringify!($family),
            paths: $family::PATHS,
            supports: $family::supports,
            open: $family::open,
        }),*];

        /// A receive queue of any family.
        #[derive(Debug)]
        #[allow(clippy::large_enum_variant)] // a few a port; a box would cost each burst a pointer
        pub enum RxQueue {
            $($(#[$rx_doc])* $rx($rx_type)),*
        }

        /// A transmit queue of any family.
        #[derive(Debug)]
        #[allow(clippy::large_enum_variant)] // as RxQueue
        pub enum TxQueue {
            $($(#[$tx_doc])* $tx($tx_type)),*
        }

        $(impl From<$rx_type> for RxQueue {
            fn from(queue: $rx_type) -> Self {
                RxQueue::$rx(queue)
            }
        })*

        $(impl From<$tx_type> for TxQueue {
            fn from(queue: $tx_type) -> Self {
                TxQueue::$tx(queue)
            }
        })*

        /// Does something with a receive queue, compiled for each family.
        macro_rules! rx_of_its_family {
            ($any:expr, $queue:ident => $what:expr) => {
                match $any {
                    $(RxQueue::$rx($queue) => $what,)*
                }
            };
        }

        /// As `rx_of_its_family`, with a transmit queue.
        macro_rules! tx_of_its_family {
            ($any:expr, $queue:ident => $what:expr) => {
                match $any {
                    $(TxQueue::$tx($queue) => $what,)*
                }
            };
        }

        /// Runs `body` on the queues themselves, compiled for their family; for queues
        /// of two families on the enums.
        pub fn with_pair<L: Loop>(rx: &mut RxQueue, tx: &mut TxQueue, body: L) -> L::Output {
            match (rx, tx) {
                $((RxQueue::$rx(rx), TxQueue::$with(tx)) => body.run(rx, tx),)*
                (rx, tx) => body.run(rx, tx),
            }
        }
    };
}

families! {
    families { ixgbe i40e virtio efvi bnxt mlx5 }
    receive {
        /// Intel 82599, X540, X550.
        Ixgbe(ixgbe::RxQueue) with Ixgbe;
        /// Intel X710, XL710, XXV710, X722.
        I40e(i40e::RxQueue) with I40e;
        /// The same, with [`Config::long_descriptors`].
        I40eLong(i40e::LongRxQueue) with I40e;
        /// virtio-net, on split virtqueues.
        VirtioSplit(virtio::SplitRxQueue) with VirtioSplit;
        /// virtio-net, on packed ones.
        VirtioPacked(virtio::PackedRxQueue) with VirtioPacked;
        /// virtio-net, on those of a legacy device.
        VirtioLegacy(virtio::LegacyRxQueue) with VirtioLegacy;
        /// Solarflare EF10.
        Efvi(efvi::RxQueue) with Efvi;
        /// Broadcom NetXtreme-E.
        Bnxt(bnxt::RxQueue) with Bnxt;
        /// NVIDIA ConnectX.
        Mlx5(mlx5::RxQueue) with Mlx5;
        /// An interface of the kernel, through packet sockets.
        Packet(packet::RxQueue) with Packet;
        /// The same, through AF_XDP sockets.
        Xdp(xdp::RxQueue) with Xdp;
    }
    transmit {
        /// Intel 82599, X540, X550.
        Ixgbe(ixgbe::TxQueue);
        /// Intel X710, XL710, XXV710, X722.
        I40e(i40e::TxQueue);
        /// virtio-net, on split virtqueues.
        VirtioSplit(virtio::SplitTxQueue);
        /// virtio-net, on packed ones.
        VirtioPacked(virtio::PackedTxQueue);
        /// virtio-net, on those of a legacy device.
        VirtioLegacy(virtio::LegacyTxQueue);
        /// Solarflare EF10.
        Efvi(efvi::TxQueue);
        /// Broadcom NetXtreme-E.
        Bnxt(bnxt::TxQueue);
        /// NVIDIA ConnectX.
        Mlx5(mlx5::TxQueue);
        /// An interface of the kernel, through packet sockets.
        Packet(packet::TxQueue);
        /// The same, through AF_XDP sockets.
        Xdp(xdp::TxQueue);
    }
}

fn family(id: pci::Id) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| (family.supports)(id))
}

/// Name of the driver for a PCI id, if there is one.
pub fn driver_for(id: pci::Id) -> Option<&'static str> {
    family(id).map(|family| family.name)
}

/// Opens a card with the driver for its id, or an interface of the kernel.
///
/// # Errors
/// [`Kind::Unsupported`] if there is none or the card lacks what `config` asks
/// for, otherwise what the driver met.
pub fn open(function: Arc<dyn Function>, config: &Config) -> Result<Port> {
    if let Some(interface) = function.interface() {
        if config.tx_path != TxPath::Auto {
            let (name, path) = (function.name(), config.tx_path);
            let text = format!("{name}: an interface of the kernel has no transmit path {path}; leave --tx-path out");
            return Err(Error::new(Kind::Unsupported, text));
        }
        let opened = match function.kind() {
            pci::Kind::AfXdp => xdp::open(&function, interface, config),
            _ => packet::open(&function, interface, config),
        };
        return opened.map(port);
    }
    let refusal = || bnxt::refusal(&*function).or_else(|| mlx5::refusal(&*function));
    let nobody = || refusal().unwrap_or_else(|| no_driver(&*function));
    let family = family(function.id()).ok_or_else(nobody)?;
    let path = config.tx_path.name();
    if config.tx_path != TxPath::Auto && !family.paths.contains(&path) {
        let (name, driver, paths) = (function.name(), family.name, family.paths.join(", "));
        let text = format!("{name}: {driver} cards cannot send by {path}; their transmit paths are {paths}");
        return Err(Error::new(Kind::Unsupported, text));
    }
    (family.open)(function, config).map(port)
}

/// The port of what was opened.
fn port(Opened { rx, tx, description, ops }: Opened<RxQueue, TxQueue>) -> Port {
    let tallies = rx.iter().map(|rx| rx_of_its_family!(rx, queue => queue.tally()));
    let tallies = tallies.chain(tx.iter().map(|tx| tx_of_its_family!(tx, queue => queue.tally()))).collect();
    let nic = Nic::new(ops, description, [rx.len() as u16, tx.len() as u16], tallies);
    Port { rx, tx, nic }
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

    /// As [`RxQueue::wait`], which was called before and returned false: goes on to sleep, but
    /// until the card interrupts. Packets that are there without an interrupt wake nobody.
    ///
    /// # Errors
    /// [`Kind::Usage`] without [`Config::interrupts`].
    pub fn interrupted(&mut self, patience: Duration) -> Result<bool> {
        rx_of_its_family!(self, queue => queue.interrupted(patience))
    }

    /// Whether packets can be looked at where they lie, and nothing is lost by sleeping
    /// ([`RxQueue::wait`]) as long as none is there: so it is of an interface of the kernel that
    /// is only [observed](Config::observes), by packet sockets.
    pub fn shows(&self) -> bool {
        matches!(self, RxQueue::Packet(queue) if queue.shows())
    }

    /// Shows up to `most` packets that are there to `see`, where they lie and until it returns
    /// false: each in parts, with its length, which is more than what is there if it was
    /// [cut](Config::keeps), and its stamp. How many that were; none of a queue that does
    /// not [show](RxQueue::shows) them.
    pub fn show(&mut self, most: usize, see: impl FnMut(&[&[u8]], usize, Option<Timestamp>) -> bool) -> usize {
        match self {
            RxQueue::Packet(queue) => queue.show(most, see),
            _ => 0,
        }
    }

    /// Buffers that it holds, once filled: as many as its ring has descriptors, or
    /// more where a card takes those that a frame goes on in from another ring.
    pub fn buffers(&self) -> usize {
        rx_of_its_family!(self, queue => queue.slots() as usize)
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
    /// later calls. What is in the ring when the link is lost leaves when it
    /// returns. None are taken from a pool that the card cannot reach
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

    /// Buffers that it holds at most: what its ring has room for, whatever was asked for.
    pub fn buffers(&self) -> usize {
        tx_of_its_family!(self, queue => queue.slots() as usize)
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
    /// a pool that the card cannot reach, [`Kind::Unsupported`] if the card is of a
    /// family that cannot.
    pub fn prepare(&mut self, batch: &mut Batch<'_>) -> Result<usize> {
        tx_of_its_family!(self, queue => queue.prepare(batch))
    }

    /// Sends packet `n` of those laid ready; false if there is none such or no
    /// room in the ring, which [`TxQueue::reclaim`] makes.
    #[inline]
    pub fn launch(&mut self, n: usize) -> bool {
        tx_of_its_family!(self, queue => queue.launch(n))
    }

    /// When the last packet that the card reported as sent left, by its own
    /// clock, if it says so and [`Config::timestamps`] asked it to.
    pub fn last_sent(&self) -> Option<Timestamp> {
        tx_of_its_family!(self, queue => queue.last_sent())
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

impl Receive for RxQueue {
    #[inline]
    fn recv(&mut self, batch: &mut Batch<'_>) -> usize {
        RxQueue::recv(self, batch)
    }
}

impl Transmit for TxQueue {
    #[inline]
    fn send(&mut self, batch: &mut Batch<'_>) -> usize {
        TxQueue::send(self, batch)
    }

    fn reclaim(&mut self, pool: &Pool) -> usize {
        TxQueue::reclaim(self, pool)
    }
}
