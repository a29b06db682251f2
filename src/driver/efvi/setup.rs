//! Bringing a function up and down, step by step.

use super::clock;
use super::cmd::{
    self, EVB_PORT_ID_ASSIGNED, alloc_vis, attach, drv_attach, entity_reset, fini_evq, fini_rxq, fini_txq, free_vis,
    get_capabilities, get_link, get_loopback_modes, get_mac_addresses, get_phy_cfg, get_workarounds, init_evq,
    init_rxq, init_txq, refusal, set_link, set_mac, vadaptor_alloc, vadaptor_free, workaround,
};
use super::ev::{self, Event, code};
use super::hw::{Capabilities, Capability, Hw};
use super::ids::Generation;
use crate::dma::Region;
use crate::driver::mailbox::Request;
use crate::driver::ops::Link;
use crate::driver::slots::TAG;
use crate::driver::wait;
use crate::error::{Kind, Remedy, Result};
use crate::net::MacAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long an event queue may take to say that it has started.
const QUEUE_PATIENCE: Duration = Duration::from_secs(1);

/// How long a queue may take to say that it is flushed. What is on its way to
/// memory goes where its events were if they are taken away before.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of the frame check sequence.
pub const FCS: u32 = 4;

/// The virtual interface whose event queue always has a vector.
const WAKES: u16 = 0;

/// Firmware that receives packed streams (MCDI, GET_CAPABILITIES, RXDP_PACKED_STREAM).
const PACKED_STREAM: u16 = 2;

/// Takes the function: attaches, resets what it had, and learns what it can.
pub fn attach(hw: &mut Hw) -> Result<()> {
    let take = |firmware| {
        Request::new(drv_attach::COMMAND)
            .with(drv_attach::input::NEW_STATE, attach::ATTACH)
            .with(drv_attach::input::UPDATE, 1)
            .with(drv_attach::input::FIRMWARE_ID, firmware)
    };
    hw.recover()?;
    // Other firmware may be running for a sibling, or be all that there is.
    let codes = [refusal::EPERM, refusal::ENOENT, 0x10, 0x16, refusal::ENOSYS, refusal::ENOTSUP];
    let attached = match hw.ask_if(take(attach::LOW_LATENCY), &codes)? {
        Some(attached) => attached,
        None => hw.ask(take(attach::DONT_CARE))?,
    };
    hw.attached = true;
    if attached.get(drv_attach::output::FUNC_FLAGS) & attach::NO_ACTIVE_PORT != 0 {
        return Err(hw.error(
            Kind::Unsupported,
            "this function has no port of its own in the card's present port mode; use the function that has",
        ));
    }
    hw.ask(Request::new(entity_reset::COMMAND).with(entity_reset::input::FLAG, 1))?;
    let reply = hw.ask(Request::new(get_capabilities::COMMAND))?;
    hw.caps = Capabilities::read(&reply).ok_or_else(|| {
        hw.error(Kind::Unsupported, "its firmware lays the windows of its queues out in a way that is not known here")
    })?;
    if hw.caps.rx_firmware == PACKED_STREAM {
        return Err(hw.error(
            Kind::Unsupported,
            "its firmware is the variant for packed streams, which receives in another way; choose another with `sfboot firmware-variant=ultra-low-latency` and restart the machine",
        ));
    }
    if !hw.caps.has(Capability::Prefix14) {
        return Err(hw.error(
            Kind::Unsupported,
            "its firmware cannot put a prefix before received frames, which tells their length; update the firmware",
        ));
    }
    work_around(hw)
}

/// Huntington may lose a write to EVQ_RPTR (bug 35388): where the firmware has
/// the way around, it is taken. It is one setting for the port, which its first
/// function may have made and no other may make.
fn work_around(hw: &mut Hw) -> Result<()> {
    const BUG35388: u64 = 2;
    if hw.generation != Generation::Huntington {
        return Ok(());
    }
    let Some(reply) = hw.ask_optional(Request::new(get_workarounds::COMMAND))? else {
        return Ok(());
    };
    let has = |field| reply.get(field) >> BUG35388 & 1 != 0;
    if has(get_workarounds::output::ENABLED) {
        hw.indirect = true;
    } else if has(get_workarounds::output::IMPLEMENTED) {
        let on = Request::new(workaround::COMMAND)
            .with(workaround::input::TYPE, BUG35388)
            .with(workaround::input::ENABLED, 1);
        hw.indirect = hw.ask_optional(on)?.is_some();
    }
    Ok(())
}

/// Gets `count` virtual interfaces and an adaptor for them.
pub fn interfaces(hw: &Hw, count: u16) -> Result<()> {
    let windows = hw.windows();
    if windows < u64::from(count) {
        return Err(hw.error(
            Kind::Unsupported,
            format!("its register BAR has windows for {windows} queues but {count} are wanted; use fewer queues"),
        ));
    }
    // If some are left after all, ALLOC_VIS says so.
    hw.ask_any(Request::new(free_vis::COMMAND))?;
    let wanted = Request::new(alloc_vis::COMMAND)
        .with(alloc_vis::input::MIN_VI_COUNT, u64::from(count))
        .with(alloc_vis::input::MAX_VI_COUNT, u64::from(count));
    let got = match hw.ask_if(wanted, &[refusal::ENOSPC])? {
        Some(reply) => reply.get(alloc_vis::output::VI_COUNT),
        None => 0,
    };
    if got < u64::from(count) {
        return Err(hw.error(
            Kind::Unsupported,
            format!("its firmware has {got} virtual interfaces to give but {count} queues are wanted; use fewer"),
        ));
    }
    let permit = u64::from(hw.caps.has(Capability::SetMacWithFilters)) << 1;
    let adaptor = Request::new(vadaptor_alloc::COMMAND)
        .with(vadaptor_alloc::input::UPSTREAM_PORT_ID, EVB_PORT_ID_ASSIGNED)
        .with(vadaptor_alloc::input::FLAGS, permit);
    hw.ask_any(adaptor)?;
    Ok(())
}

/// The function's own address.
pub fn mac(hw: &Hw) -> Result<MacAddr> {
    let reply = hw.ask(Request::new(get_mac_addresses::COMMAND))?;
    let mut mac = MacAddr::default();
    mac.0.copy_from_slice(reply.bytes(get_mac_addresses::output::MAC_ADDR_BASE));
    hw.bar().note_address(mac);
    if !mac.is_unicast() {
        let text = format!("its firmware gives it no valid address ({mac}); its configuration may be lost");
        return Err(hw.error(Kind::Device, text));
    }
    Ok(mac)
}

/// Lets the link come up at whatever it supports; `loopback`: to itself.
pub fn link_up(hw: &Hw, loopback: bool) -> Result<()> {
    /// Inside the data path, no PHY.
    const DATA: u64 = 1;
    /// Speeds, autonegotiation and FEC; not pause frames, which bits 8 and 9 offer.
    const PAUSE: u64 = 3 << 8;
    const STAYS: &str = "its link stays as it was found";
    let Some(phy) = hw.ask_or_lose(Request::new(get_phy_cfg::COMMAND), STAYS)? else {
        return Ok(());
    };
    let supported = phy.get(get_phy_cfg::output::SUPPORTED_CAP) & !PAUSE;
    if supported == 0 {
        hw.lacks.note(format!("its firmware names no speed of its PHY: {STAYS}"));
        return Ok(());
    }
    let mode = if loopback { DATA } else { 0 };
    if loopback {
        let modes = hw.ask_any(Request::new(get_loopback_modes::COMMAND))?;
        let suggested = modes.map_or(0, |modes| modes.get(get_loopback_modes::output::SUGGESTED));
        // Some firmware suggests nothing and loops all the same.
        if suggested != 0 && suggested >> DATA & 1 == 0 {
            return Err(
                hw.error(Kind::Unsupported, "its firmware has no loop inside the data path; use a loopback plug")
            );
        }
    }
    let link = Request::new(set_link::COMMAND)
        .with(set_link::input::CAP, supported)
        .with(set_link::input::LOOPBACK_MODE, mode);
    if loopback {
        hw.ask(link)?;
    } else {
        // A function that is not its port's first takes the link as it is.
        hw.ask_or_lose(link, STAYS)?;
    }
    Ok(())
}

/// Fails if the firmware does not tell the state of the link.
pub fn tells_link(hw: &Hw) -> Result<()> {
    hw.ask(Request::new(get_link::COMMAND)).map(|_| ())
}

/// State of the link; as it was `last`, if that is not told now.
pub fn link(hw: &Hw, last: Link) -> Result<Link> {
    let Some(reply) = hw.ask_any(Request::new(get_link::COMMAND))? else { return Ok(last) };
    let up = reply.get(get_link::output::FLAGS) & 1 != 0;
    let speed = if up { reply.get(get_link::output::LINK_SPEED) * 1_000_000 } else { 0 };
    Ok(Link { up, speed })
}

/// The MTU of a MAC for frames of up to `max_frame` bytes without tags and FCS: the
/// longest frame with both, by eights, and the 16 bytes more that it may need to see
/// where a frame ends.
pub fn mtu(max_frame: u32) -> u32 {
    (max_frame + TAG + FCS).next_multiple_of(8) + 16
}

/// Sets what the MAC lets through: frames of up to `max_frame` bytes without FCS.
/// No flow control.
pub fn mac_unit(hw: &Hw, mac: MacAddr, max_frame: u16) -> Result<()> {
    let request = Request::new(set_mac::COMMAND)
        .with(set_mac::input::MTU, mtu(max_frame.into()).into())
        .with_bytes(set_mac::input::ADDR, &mac.0);
    // Only the port's first function may; another has the MAC as it is.
    hw.ask_or_lose(request, "its MAC takes what it took before")?;
    Ok(())
}

/// What a queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Receives.
    Rx,
    /// Transmits.
    Tx,
}

/// One queue with the event queue it reports to, as the card is told of them.
///
/// Each queue has a virtual interface to itself: queue, events and window of
/// the same number. So receive and transmit queues share nothing, and each can
/// be polled by a thread of its own.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Receive or transmit.
    pub direction: Direction,
    /// Its virtual interface.
    pub vi: u16,
    /// Ring of descriptors.
    pub ring: Region,
    /// Ring of events.
    pub events: Region,
    /// Flags of INIT_RXQ or INIT_TXQ.
    pub flags: u64,
    /// Vector for its events, if they are to interrupt.
    pub vector: Option<u16>,
    /// Has the time put among its events.
    pub timed: bool,
    /// Frames may share an event: the firmware decides, by the card's licence.
    pub merges: bool,
}

/// Flags of INIT_RXQ.
pub mod rxq {
    /// Stamp frames.
    pub const TIMESTAMP: u64 = 1 << 2;
    /// Write a prefix before them.
    pub const PREFIX: u64 = 1 << 8;
}

/// Flags of INIT_TXQ.
pub mod txq {
    /// Do not fill in IPv4 header checksums.
    pub const IP_CSUM_DIS: u64 = 1 << 1;
    /// Nor those of TCP and UDP.
    pub const TCP_CSUM_DIS: u64 = 1 << 2;
    /// Report when frames left.
    pub const TIMESTAMP: u64 = 1 << 8;
    /// Take frames that are stored into the transmitter.
    pub const CTPIO: u64 = 1 << 13;
    /// Begin to send them at their own threshold.
    pub const CTPIO_UTHRESH: u64 = 1 << 14;
}

impl Queue {
    /// Starts events, waits for the first, and starts the queue.
    ///
    /// A card that has no licence to say when frames left is not asked to.
    pub fn start(&mut self, hw: &Hw) -> Result<()> {
        ev::clear(&self.events);
        hw.bar().note_stored(&self.events);
        self.merges = self.start_events(hw)?;
        let size = self.ring.len() as u64 / 8;
        let (vi, flags) = (u64::from(self.vi), self.flags);
        match self.direction {
            Direction::Rx => {
                let request = Request::new(init_rxq::COMMAND)
                    .with(init_rxq::input::SIZE, size)
                    .with(init_rxq::input::TARGET_EVQ, vi)
                    .with(init_rxq::input::INSTANCE, vi)
                    .with(init_rxq::input::FLAGS, flags)
                    .with(init_rxq::input::PORT_ID, EVB_PORT_ID_ASSIGNED)
                    .with_pages(&self.ring);
                hw.ask(request)?;
            }
            Direction::Tx => {
                let request = |flags| {
                    Request::new(init_txq::COMMAND)
                        .with(init_txq::input::SIZE, size)
                        .with(init_txq::input::TARGET_EVQ, vi)
                        .with(init_txq::input::INSTANCE, vi)
                        .with(init_txq::input::FLAGS, flags)
                        .with(init_txq::input::PORT_ID, EVB_PORT_ID_ASSIGNED)
                        .with_pages(&self.ring)
                };
                let codes = [refusal::EPERM, refusal::NO_PRIVILEGE];
                let mut started = hw.ask_if(request(flags), &codes)?;
                if started.is_none() && flags & txq::TIMESTAMP != 0 {
                    self.flags &= !txq::TIMESTAMP;
                    started = hw.ask_if(request(self.flags), &codes)?;
                }
                if started.is_none() {
                    let path = if flags & txq::CTPIO != 0 { " that frames are stored into (CTPIO)" } else { "" };
                    let text = format!(
                        "its firmware refuses a transmit queue{path} (INIT_TXQ) with EPERM: the card may lack the licence, or this function the privilege"
                    );
                    return Err(hw.error(Kind::Permission, text).with_remedy(Remedy::Push));
                }
            }
        }
        if self.timed {
            self.timed = clock::subscribe(hw, self.vi)?;
        }
        Ok(())
    }

    /// Starts the event queue: its first event says so. Whether received frames may
    /// share an event.
    fn start_events(&self, hw: &Hw) -> Result<bool> {
        /// One event a frame, written as soon as can be.
        const INTERRUPTING: u64 = 1 << 0;
        const CUT_THROUGH: u64 = 1 << 3;
        const TX_MERGE: u64 = 1 << 5;
        const LOW_LATENCY: u64 = 1 << 7;
        let kind = if hw.caps.has(Capability::InitEvqV2) { LOW_LATENCY } else { CUT_THROUGH | TX_MERGE };
        // A queue without a vector names one that has one, for its wake-ups, even if it
        // is never to be woken: the first, which therefore always has. It stays silent,
        // as no interrupt is asked for by its read pointer.
        let vector = self.vector.or((self.vi == WAKES).then_some(0));
        let (interrupting, target) = vector.map_or((0, WAKES), |vector| (INTERRUPTING, vector));
        let request = Request::new(init_evq::COMMAND)
            .with(init_evq::input::SIZE, self.events.len() as u64 / 8)
            .with(init_evq::input::INSTANCE, u64::from(self.vi))
            .with(init_evq::input::FLAGS, kind | interrupting)
            .with(init_evq::input::TARGET, u64::from(target));
        // What was granted; older firmware does what it is asked.
        const RX_MERGE: u64 = 1 << 1;
        let reply = hw.ask(request.with_pages(&self.events))?;
        let merges = reply.optional(init_evq::output::FLAGS).is_some_and(|granted| granted & RX_MERGE != 0);
        let what = format!("starting event queue {}", self.vi);
        wait::wait_until(
            hw,
            &what,
            "its first event",
            QUEUE_PATIENCE,
            || ev::first(&self.events),
            |upper| u64::from(upper) >> 28 == code::DRIVER,
        )?;
        ev::begun(&self.events);
        Ok(merges)
    }

    /// Stops the queue, waits until nothing of it is on its way, and stops its events.
    pub fn stop(&self, hw: &Hw) -> Result<()> {
        let vi = u64::from(self.vi);
        if self.timed {
            clock::unsubscribe(hw, self.vi)?;
        }
        let (request, flushed) = match self.direction {
            Direction::Rx => (Request::new(fini_rxq::COMMAND).with(fini_rxq::input::INSTANCE, vi), ev::mcdi::RX_FLUSH),
            Direction::Tx => (Request::new(fini_txq::COMMAND).with(fini_txq::input::INSTANCE, vi), ev::mcdi::TX_FLUSH),
        };
        if hw.ask_if(request, &[refusal::EALREADY, refusal::ENOENT])?.is_some() {
            let is_it =
                |slot: &std::sync::atomic::AtomicU64| Event(slot.load(Ordering::Acquire)).flushed(flushed, self.vi);
            let read = || u32::from(self.events.words64().iter().any(is_it));
            // Late is no reason to go on differently: the events go next.
            let _ = wait::wait_until(hw, "flushing a queue", "its event", FLUSH_PATIENCE, read, |seen| seen != 0);
        }
        let request = Request::new(fini_evq::COMMAND).with(fini_evq::input::INSTANCE, vi);
        hw.ask_if(request, &[refusal::EALREADY, refusal::ENOENT])?;
        Ok(())
    }
}

/// Gives the function up, whose queues are all `stopped` or not. What fails is passed
/// over: the caller turns bus mastering off behind it.
pub fn release(hw: &Hw, stopped: bool) {
    if !hw.attached || hw.check().is_err() {
        return;
    }
    let _ = hw.ask_optional(
        Request::new(vadaptor_free::COMMAND).with(vadaptor_free::input::UPSTREAM_PORT_ID, EVB_PORT_ID_ASSIGNED),
    );
    // Those of queues that would not stop go with the reset.
    if stopped {
        let _ = hw.ask_any(Request::new(free_vis::COMMAND));
    }
    let _ = hw.ask(Request::new(entity_reset::COMMAND).with(cmd::entity_reset::input::FLAG, 1));
    let leave = Request::new(drv_attach::COMMAND)
        .with(drv_attach::input::NEW_STATE, 0)
        .with(drv_attach::input::UPDATE, 1)
        .with(drv_attach::input::FIRMWARE_ID, attach::DONT_CARE);
    let _ = hw.ask(leave);
}
