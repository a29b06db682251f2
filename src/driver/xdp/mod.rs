//! An interface of the kernel, through AF_XDP sockets: frames come to this process before the
//! kernel's stack has made packets of them.
//!
//! ```text
//!   wire --> kernel's driver --> program --+--> chunk --copy--> buffer         rx
//!                                          +--> the kernel's stack, of queues without a socket
//!   wire <-- kernel's driver <------------------ chunk <--copy-- buffer         tx
//! ```
//!
//! A socket stands on each receive queue of the interface, so there are as many here, up to 128.
//! What comes in is taken from the kernel's own stack once a queue is filled; program and sockets
//! go with the process, however it ends. Whether the card reads and writes the chunks itself
//! (zero-copy), or the kernel copies, is part of [`Description::model`].
//!
//! A program sees frames as the card's driver has them: a VLAN tag that the card takes out is
//! not in them, and nothing says so (`ethtool -K IFACE rxvlan off` has it left in).
//!
//! It takes `CAP_NET_RAW`, `CAP_NET_ADMIN` and `CAP_BPF`. A program that is there already is
//! never replaced.

mod rx;
mod tx;

use super::config::Config;
use super::kernel::Queue;
use super::limits::Limits;
use super::ops::{Description, NicOps, Opened};
use super::packet::counters::Counters;
use super::packet::ops::Ops;
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use crate::pci::{Function, Interface};
use crate::sys::packet::socket;
use crate::sys::xdp::program::{Mode, Program};
use crate::sys::xdp::{self, CHUNK, Copies, HEADROOM, Opened as Socket, Sender};
use rx::Chunks;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// A receive queue.
pub type RxQueue = Queue<Chunks>;

/// A transmit queue.
pub type TxQueue = Queue<Sender>;

/// Bytes of an Ethernet header.
const ETHERNET: u32 = 14;

/// Most queues of an interface.
const MOST: u32 = 128;

/// Chunks to receive into and to send from, where there is one queue: as many as bridge the
/// pauses of the thread that receives. Of several each has a share, down to an eighth.
const CHUNKS: [u32; 2] = [4096, 1024];

/// For [`Description::lacks`], where frames are only to be looked at.
const TAKES: &str = "what comes in does not reach the kernel's own stack meanwhile, and what goes out is not seen; packet: in place of xdp: sees both and takes nothing";

/// Opens the interface: sockets, rings and program are there, and nothing is received yet.
///
/// # Errors
/// [`Kind::Usage`] for a configuration that it cannot have, [`Kind::Unsupported`] if it has too
/// many queues, [`Kind::Refused`] if it has a program or a socket already, [`Kind::Permission`] without
/// the right to, [`Kind::Memory`] where too little may be locked.
pub fn open<R: From<RxQueue>, T: From<TxQueue>>(
    function: &Arc<dyn Function>,
    interface: &Interface,
    config: &Config,
) -> Result<Opened<R, T>> {
    let device: Arc<str> = function.name().into();
    let index = interface.index();
    let link = interface.link()?;
    let longest = (CHUNK - HEADROOM) as u16;
    let config = if config.shorter_frames {
        Config { max_frame: config.max_frame.min(longest), ..config.clone() }
    } else {
        config.clone()
    };
    if config.loopback {
        let text = format!("{device}: an interface of the kernel cannot send to itself; use two ends of a veth pair");
        return Err(Error::new(Kind::Unsupported, text));
    }
    if let Some(id) = link.xdp_program {
        return Err(occupied(&device, format_args!("has an XDP program already, number {id}")));
    }
    let share = link.rx_queues.clamp(1, 8).next_power_of_two();
    let chunks = CHUNKS.map(|chunks| chunks / share);
    let (queues, copies) = sockets(&device, index, chunks)?;
    let most = queues.len() as u16;
    Limits { rx_queues: most, tx_queues: most, max_frame: longest }.check(&device, &config)?;
    let program = Program::attach(index, u32::from(most)).map_err(|e| match e.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            occupied(&device, format_args!("was given an XDP program by somebody else"))
        }
        _ => denied(Error::io(format!("{device}: attaching the XDP program"), e)),
    })?;
    let mut description = Description::new(&**function, "af_xdp", model(program.mode(), copies));
    description.mac = MacAddr(link.mac);
    (description.max_rx_queues, description.max_tx_queues) = (most, most);
    description.longest_sent = u16::try_from(link.mtu.saturating_add(ETHERNET)).ok();
    description.own_rings = Some(chunks.map(|chunks| chunks as u16));
    if config.observes {
        description.lacks.push(TAKES.into());
    }
    let program = Arc::new(program);
    let mut counted = Vec::new();
    let mut counters = [Vec::new(), Vec::new()];
    let (mut rx, mut tx): (Vec<R>, Vec<T>) = (Vec::new(), Vec::new());
    for (n, Socket { socket, receiver, sender }) in queues.into_iter().enumerate() {
        let [received, sent] = [Arc::<Counters>::default(), Arc::<Counters>::default()];
        // Frames come to all of them, whatever was asked for.
        let program = Arc::clone(&program);
        let chunks = Chunks { receiver, queue: n as u32, program, longest: config.max_frame.into() };
        rx.push(RxQueue::new(chunks, &device, &received).into());
        if n < usize::from(config.tx_queues) {
            tx.push(TxQueue::new(sender, &device, &sent).into());
        }
        counters[0].push(received);
        counters[1].push(sent);
        counted.push(socket);
    }
    let missed = Box::new(move || {
        let of = |socket: &Arc<xdp::Socket>| socket.statistics().map(|counts| counts.dropped + counts.ring_full);
        counted.iter().map(of).sum::<io::Result<u64>>()
    });
    // Memberships are those of a packet socket.
    let member =
        socket::Socket::new().map_err(|e| denied(Error::io(format!("{device}: opening a packet socket"), e)))?;
    let mut ops = Ops::new(interface, (Arc::new(member), Vec::new()), counters, missed, false)?;
    ops.set_promiscuous(config.promiscuous)?;
    Ok(Opened { rx, tx, description, ops: Box::new(ops) })
}

/// A socket on each queue of the interface, and how often they copy.
fn sockets(device: &str, index: u32, [rx, tx]: [u32; 2]) -> Result<(Vec<Socket>, Copies)> {
    let mut all = Vec::new();
    let mut copies = Copies::None;
    for queue in 0..=MOST {
        let opened = xdp::open(rx, tx).map_err(|e| match e.raw_os_error() {
            Some(libc::ENOBUFS | libc::ENOMEM) => {
                let needed = (rx + tx) as usize * CHUNK / 1024;
                let text = format!("{device}: locking {needed} KiB of memory for queue {queue}");
                Error::io(text, e)
                    .with_kind(Kind::Memory)
                    .hint("raise what this user may lock with `ulimit -l`, or run as root")
            }
            _ => denied(Error::io(format!("{device}: opening an AF_XDP socket"), e)),
        })?;
        match bind(&opened.socket, index, queue) {
            Ok(_) if queue == MOST => {
                let name = device.strip_prefix("xdp:").unwrap_or(device);
                let text = format!(
                    "{device}: the interface has more than {MOST} receive queues, and what comes by the others would be missed; give it fewer with `ethtool -L {name} combined {MOST}`, or use packet:{name}"
                );
                return Err(Error::new(Kind::Unsupported, text));
            }
            Ok(how) if how == Copies::One => copies = how,
            Ok(_) => {}
            // There are no more.
            Err(e) if queue > 0 && e.raw_os_error() == Some(libc::EINVAL) => break,
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
                return Err(occupied(device, format_args!("has an AF_XDP socket of another program on queue {queue}")));
            }
            Err(e) => return Err(denied(Error::io(format!("{device}: binding an AF_XDP socket to queue {queue}"), e))),
        }
        all.push(opened);
    }
    Ok((all, copies))
}

/// Binds the socket, and waits for a queue that is taken.
///
/// The kernel gives a queue back in a worker of its own (`xp_put_pool`, net/xdp), after the
/// process that had it has ended: of two runs one right after the other the second finds it taken.
///
/// # Errors
/// Those of [`xdp::Socket::bind`]; `EBUSY` after a second.
fn bind(socket: &xdp::Socket, index: u32, queue: u32) -> io::Result<Copies> {
    const PATIENCE: Duration = Duration::from_secs(1);
    const PAUSE: Duration = Duration::from_millis(10);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match socket.bind(index, queue) {
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => thread::sleep(PAUSE),
            bound => return bound,
        }
    }
}

/// The error of an interface that somebody uses in this way.
fn occupied(device: &str, how: std::fmt::Arguments<'_>) -> Error {
    let name = device.strip_prefix("xdp:").unwrap_or(device);
    let text = format!(
        "{device}: the interface {how}, and it is not replaced; end what put it there (`ip link show {name}`, `bpftool net`), or use packet:{name}"
    );
    Error::new(Kind::Refused, text)
}

/// The same error with what it takes.
fn denied(error: Error) -> Error {
    match error.kind() {
        Kind::Permission => error.hint(
            "it takes CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF: run it as root, or give it these once with `sudo setcap cap_net_raw,cap_net_admin,cap_bpf+ep` and its path",
        ),
        _ => error,
    }
}

fn model(mode: Mode, copies: Copies) -> &'static str {
    match (mode, copies) {
        (Mode::Driver, Copies::None) => "Linux network interface, XDP in its driver, zero-copy",
        (Mode::Driver, Copies::One) => "Linux network interface, XDP in its driver, copied",
        (Mode::Generic, _) => "Linux network interface, generic XDP, copied",
    }
}
