//! An interface of the kernel, through packet sockets (packet(7)): the kernel keeps it and goes
//! on to use it.
//!
//! ```text
//!   wire --> kernel's driver --+--> the kernel's own stack
//!                              +--copy--> ring --copy--> buffer    rx
//!   wire <-- kernel's driver <--copy-- one call a burst <-- buffer  tx
//! ```
//!
//! For what is only looked at ([`Config::observes`]) the ring is one of blocks, frames are read
//! where they lie ([`RxQueue::show`](super::RxQueue::show)), and what the
//! kernel itself sends is received too, as tcpdump does; on a loopback interface it comes back
//! anyway. Otherwise frames are as a card would have them: only those that come in, one by
//! one, with checksums that the kernel had left open filled in. Tags that it took out are put
//! back in either case.
//!
//! Several receive queues are as many sockets of one group (`PACKET_FANOUT`): the kernel deals
//! frames out by a hash of addresses and ports, which is the same for both ways of a flow.
//! Fragments have no ports to it, and may come by another queue than the rest of their flow.
//!
//! A whole expression is the kernel's to judge ([`Wanted::expression`](super::Wanted)). What it
//! leaves out nobody counts.
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
use crate::sys::packet::socket::{Group, Socket};
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

/// Most queues of each kind.
const QUEUES: u16 = 64;

/// MiB of the rings for frames one by one, and for frames in blocks. Of several each has a share,
/// but not less than the last.
const SLOTS_MIB: u32 = 8;
const BLOCKS_MIB: u32 = 32;
const LEAST_MIB: u32 = 2;

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
    Limits { rx_queues: QUEUES, tx_queues: QUEUES, max_frame: u16::MAX }.check(&device, config)?;
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
    (description.max_rx_queues, description.max_tx_queues) = (QUEUES, QUEUES);
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
    let looks_both_ways = config.observes && !link.is_loopback();
    let keeps = config.keeps.filter(|_| config.observes);
    let how = How {
        longest,
        keeps: keeps.map_or(usize::MAX, |bytes| bytes as usize),
        incoming_only: !looks_both_ways,
        finished: !config.observes,
        strips: config.vlan_strip,
        stamps: config.timestamps,
    };
    let mib = if config.observes { BLOCKS_MIB } else { SLOTS_MIB };
    let mib = (mib / u32::from(config.rx_queues)).max(LEAST_MIB);
    let group = (config.rx_queues > 1).then(Group::default);
    let (mut rx, mut received, mut sockets): (Vec<R>, _, _) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..config.rx_queues {
        let socket = Socket::new().and_then(|socket| socket.keep(keeps));
        let socket = Arc::new(socket.map_err(failed)?);
        if !looks_both_ways {
            // Before Linux 4.20, and of several sockets, the queue tells by what is in the ring.
            socket.ignore_outgoing();
        }
        let ring = Ring::new(&socket, shape, mib).map_err(failed)?;
        let slots = match shape {
            Shape::Slots(bytes) => ring.bytes() / bytes,
            // Of frames of 1514 bytes; of shorter ones there is room for more.
            Shape::Blocks => ring.bytes() / 1_664,
        };
        description.own_rings = Some([u16::try_from(slots).unwrap_or(u16::MAX), config.tx_ring]);
        let counters = Arc::<Counters>::default();
        rx.push(RxQueue::new(Frames { ring, index, group: group.clone(), how }, &device, &counters).into());
        received.push(counters);
        sockets.push(socket);
    }
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
    let counting = sockets.clone();
    let missed = Box::new(move || {
        for socket in &counting {
            // A reading sets the kernel's count to zero.
            all += socket.statistics()?.dropped;
        }
        Ok(all)
    });
    let of_the_first = Arc::clone(&sockets[0]);
    let mut ops = Ops::new(interface, (of_the_first, sockets), [received, sent], missed, config.timestamps)?;
    ops.set_promiscuous(config.promiscuous)?;
    Ok(Opened { rx, tx, description, ops: Box::new(ops) })
}
