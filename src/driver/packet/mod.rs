//! An interface of the kernel, through packet sockets (packet(7)): the kernel keeps it and goes
//! on to use it.
//!
//! ```text
//!   wire --> kernel's driver --+--> the kernel's own stack
//!                              +--copy--> ring --copy--> buffer    rx
//!   wire <-- kernel's driver <--copy-- one call a burst <-- buffer  tx
//! ```
//!
//! For what is only looked at ([`Config::observes`]) the ring is one of blocks, and what the
//! kernel itself sends is received too, as tcpdump does; on a loopback interface it comes back
//! anyway. Otherwise frames are as a card would have them: only those that come in, one by
//! one, with checksums that the kernel had left open filled in. Tags that it took out are put
//! back in either case.
//!
//! It takes `CAP_NET_RAW`. That the interface is promiscuous ends with the process.

pub(super) mod counters;
pub(super) mod offload;
pub(super) mod ops;
mod rx;
mod tx;

use super::config::Config;
use super::kernel::Queue;
use super::limits::Limits;
use super::ops::{Description, NicOps, Opened, TimestampSource};
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use crate::pci::{Function, Interface};
use crate::sys::packet::ring::{OVERHEAD, Ring, Shape};
use crate::sys::packet::socket::Socket;
use counters::Counters;
use ops::Ops;
use rx::{Frames, How};
use std::sync::Arc;

/// A receive queue.
pub type RxQueue = Queue<Frames>;

/// A transmit queue.
pub type TxQueue = Queue<Socket>;

/// Bytes of an Ethernet header, and of a tag.
const ETHERNET: u32 = 14;
const TAG: usize = 4;

/// MiB of the ring for frames one by one, and for frames in blocks.
const SLOTS_MIB: u32 = 8;
const BLOCKS_MIB: u32 = 32;

/// Longest thing that the kernel hands out: a super-frame with its header and tags.
const LARGEST: usize = (1 << 16) + 64;

/// Room for frames that are on their way out, bytes.
const SEND_ROOM: i32 = 8 << 20;

/// Opens the interface: sockets and rings are there, and nothing is received yet.
///
/// # Errors
/// [`Kind::Usage`] for a configuration that it cannot have, [`Kind::Permission`] without
/// `CAP_NET_RAW`, [`Kind::NotFound`] if it is gone.
pub fn open<R: From<RxQueue>, T: From<TxQueue>>(
    function: &Arc<dyn Function>,
    interface: &Interface,
    config: &Config,
) -> Result<Opened<R, T>> {
    let device: Arc<str> = function.name().into();
    let index = interface.index();
    let link = interface.link()?;
    Limits { rx_queues: 1, tx_queues: 64, max_frame: u16::MAX }.check(&device, config)?;
    if config.loopback {
        let text = format!(
            "{device}: an interface of the kernel cannot send to itself; use packet:lo, or two ends of a veth pair"
        );
        return Err(Error::new(Kind::Unsupported, text));
    }
    let failed = |e| {
        Error::io(format!("{device}: opening a packet socket"), e).hint(
            "it takes CAP_NET_RAW: run it as root, or give it that once with `sudo setcap cap_net_raw+ep` and its path",
        )
    };
    let carried = link.mtu.saturating_add(ETHERNET);
    let mut description = Description::new(&**function, "af_packet", "Linux network interface");
    description.mac = MacAddr(link.mac);
    description.max_tx_queues = 64;
    description.longest_sent = u16::try_from(carried).ok();
    if config.timestamps {
        description.timestamps = TimestampSource::Kernel;
    }
    let longest = match (config.shorter_frames, config.observes) {
        (false, _) => config.max_frame.into(),
        (true, true) => LARGEST,
        // Of two tags the kernel takes out the outer one.
        (true, false) => carried.saturating_add(TAG as u32).min(config.max_frame.into()) as usize,
    };
    let shape = match config.observes {
        true => Shape::Blocks,
        false => Shape::Slots((longest + TAG + OVERHEAD).next_power_of_two().max(2_048)),
    };
    let socket = Arc::new(Socket::new().map_err(failed)?);
    let looks_both_ways = config.observes && !link.is_loopback();
    if !looks_both_ways {
        // Before Linux 4.20 the queue tells by what is in the ring.
        socket.ignore_outgoing();
    }
    let mib = if config.observes { BLOCKS_MIB } else { SLOTS_MIB };
    let ring = Ring::new(&socket, shape, mib).map_err(failed)?;
    let slots = match shape {
        Shape::Slots(bytes) => ring.bytes() / bytes,
        // Of frames of 1514 bytes; of shorter ones there is room for more.
        Shape::Blocks => ring.bytes() / 1_664,
    };
    description.own_rings = Some([u16::try_from(slots).unwrap_or(u16::MAX), config.tx_ring]);
    let how = How {
        longest,
        incoming_only: !looks_both_ways,
        finished: !config.observes,
        strips: config.vlan_strip,
        stamps: config.timestamps,
    };
    let received = Arc::<Counters>::default();
    let rx = RxQueue::new(Frames { ring, index, how }, &device, &received);
    let mut tx: Vec<T> = Vec::new();
    let mut sent = Vec::new();
    for _ in 0..config.tx_queues {
        let socket = Socket::new().and_then(|socket| {
            socket.bind(index, false)?;
            socket.send_straight(SEND_ROOM)?;
            Ok(socket)
        });
        let counters = Arc::<Counters>::default();
        tx.push(TxQueue::new(socket.map_err(failed)?, &device, &counters).into());
        sent.push(counters);
    }
    let mut all = 0;
    let counting = Arc::clone(&socket);
    let missed = Box::new(move || {
        // A reading sets the kernel's count to zero.
        all += counting.statistics()?.dropped;
        Ok(all)
    });
    let mut ops = Ops::new(interface, socket, [vec![received], sent], missed, config.timestamps)?;
    ops.set_promiscuous(config.promiscuous)?;
    Ok(Opened { rx: vec![rx.into()], tx, description, ops: Box::new(ops) })
}
