//! The firmware: finding it awake, having it forget what was before, learning what
//! the function can, and signing on and off.
//!
//! The port's queues are asked for before memory is given: the question has the
//! firmware map them, relative to the memory that follows.

use super::Generation;
use super::cmd::{
    func_drv_if_change, func_drv_rgtr, func_drv_unrgtr, func_qcaps, func_qcfg, func_reset, func_resource_qcaps,
    queue_qportcfg, ver_get,
};
use super::codes::{SELF, if_change, refusal, register, version};
use super::events;
use super::health::{explain, has_failed};
use super::hw::{Capabilities, Firmware, Hw, Resources};
use super::hwrm::Manner;
use super::regs::fw_status;
use crate::driver::mailbox::{Failure, Reply, Request};
use crate::error::{Kind, Remedy, Result};
use crate::net::MacAddr;
use std::time::{Duration, Instant};

/// How long a firmware may take to start after a reset of the function. Most take
/// less than a second.
const START: Duration = Duration::from_secs(6);

/// How long the card may not answer at all after a reset.
const ABSENCE: Duration = Duration::from_secs(1);

/// Patience with each question while it starts.
const START_PATIENCE: Duration = Duration::from_millis(500);

/// Oldest interface of a card that must be given memory to run in.
const WITH_MEMORY: [u8; 3] = [1, 9, 2];

/// Waits for a firmware that runs, and learns how to speak to it.
///
/// # Errors
/// [`Kind::Gone`] if the card does not answer, [`Kind::Timeout`] if its firmware
/// does not, [`Kind::Unsupported`] if it is too old.
pub fn identify(hw: &mut Hw) -> Result<()> {
    let request = Request::new(ver_get::COMMAND)
        .with(ver_get::input::INTF_MAJ, 1)
        .with(ver_get::input::INTF_MIN, 10)
        .with(ver_get::input::INTF_UPD, 2);
    let begun = Instant::now();
    let mut passed = Duration::ZERO;
    let reply = loop {
        let mut hwrm = hw.hwrm();
        hwrm.begin();
        let late = begun.elapsed() >= START || passed >= START;
        let outcome = hwrm.ask_once(&request, START_PATIENCE);
        drop(hwrm);
        match outcome {
            // Some old firmware says for ever that it is not ready, and is.
            Ok(reply) if late || reply.get(ver_get::output::FLAGS) & version::NOT_READY == 0 => break reply,
            Err(Failure::Broken(error)) if late => return Err(error),
            // A chip that is being reset does not answer at all for a moment.
            Err(Failure::Broken(error)) if error.kind() == Kind::Gone && begun.elapsed() > ABSENCE => {
                return Err(error);
            }
            Err(Failure::Broken(error)) if !matches!(error.kind(), Kind::Timeout | Kind::Gone) => return Err(error),
            Err(Failure::Refused(code)) if late => return Err(hw.refused(&request, code)),
            _ => {}
        }
        const PAUSE: Duration = Duration::from_millis(50);
        hw.pause(PAUSE);
        passed += PAUSE;
    };
    let mut hwrm = hw.hwrm();
    hwrm.begin();
    hwrm.manner = Manner::of(&reply);
    drop(hwrm);
    hw.firmware = read(&reply);
    let [major, minor, update] = hw.firmware.interface;
    if major != 1 {
        let text = format!(
            "its firmware speaks interface {major}.{minor}.{update}, this driver 1.x; use a firmware of this card's own generation"
        );
        return Err(hw.error(Kind::Unsupported, text));
    }
    if hw.generation == Generation::P5 && !hw.speaks(WITH_MEMORY) {
        let [a, b, c] = WITH_MEMORY;
        let text = format!(
            "its firmware is too old: it speaks interface {major}.{minor}.{update}, but only from {a}.{b}.{c} on can a BCM575xx be given memory to run in; update the firmware"
        );
        return Err(hw.error(Kind::Unsupported, text));
    }
    Ok(())
}

/// Which firmware answered.
fn read(reply: &Reply) -> Firmware {
    use ver_get::output;
    const ADVANCED_FLOWS: u64 = 1 << 12;
    let byte = |field| reply.get(field) as u8;
    let short = [output::FW_MAJ, output::FW_MIN, output::FW_BLD].map(|field| reply.get(field) as u16);
    let long = [output::FW_MAJOR, output::FW_MINOR, output::FW_BUILD].map(|field| reply.get(field) as u16);
    Firmware {
        interface: [byte(output::INTF_MAJ), byte(output::INTF_MIN), byte(output::INTF_UPD)],
        // Old firmware has the short form only.
        version: if long[0] == 0 { short } else { long },
        advanced_flows: reply.get(output::DEV_CAPS) & ADVANCED_FLOWS != 0,
    }
}

/// Drops everything that the function has: rings, filters, memory, reservations.
pub fn reset(hw: &Hw) -> Result<()> {
    hw.ask(Request::new(func_reset::COMMAND)).map(drop)
}

/// A count of zero is one that is not told, which is no limit.
fn told(count: u16) -> u16 {
    if count == 0 { u16::MAX } else { count }
}

/// Learns what the function is and can have.
pub fn capabilities(hw: &mut Hw) -> Result<()> {
    use func_qcaps::output;
    let reply = hw.ask(Request::new(func_qcaps::COMMAND).with(func_qcaps::input::FID, SELF))?;
    let count = |field| reply.get(field).min(u64::from(u16::MAX)) as u16;
    let mut mac = [0; 6];
    mac.copy_from_slice(reply.bytes(output::MAC_ADDRESS));
    hw.doorbells.note_address(MacAddr(mac));
    let tx = count(output::MAX_TX_RINGS);
    // Groups that are not told go with transmit rings.
    let groups = match reply.get(output::MAX_HW_RING_GRPS) {
        0 => tx,
        _ => count(output::MAX_HW_RING_GRPS),
    };
    hw.caps = Capabilities {
        port: count(output::PORT_ID),
        flags: reply.get(output::FLAGS),
        flags_ext2: reply.optional(output::FLAGS_EXT2).unwrap_or(0),
        mac,
        most: Resources {
            rx: count(output::MAX_RX_RINGS),
            tx,
            completions: count(output::MAX_CMPL_RINGS),
            vnics: told(count(output::MAX_VNICS)),
            stats: told(count(output::MAX_STAT_CTX)),
            spreads: told(count(output::MAX_RSSCOS_CTX)),
            groups: told(groups),
            notifications: u16::MAX,
        },
    };
    Ok(())
}

/// What the function may reserve; `None`: the firmware does not say, and reserves
/// nothing but transmit rings.
pub fn reservable(hw: &Hw) -> Result<Option<Resources>> {
    use func_resource_qcaps::output;
    let request = Request::new(func_resource_qcaps::COMMAND).with(func_resource_qcaps::input::FID, SELF);
    let Some(reply) = hw.ask_optional(request)? else { return Ok(None) };
    let count = |field| reply.get(field) as u16;
    let tx = match count(output::MAX_TX_SCHED) {
        0 => count(output::MAX_TX_RINGS),
        inputs => count(output::MAX_TX_RINGS).min(inputs),
    };
    Ok(Some(Resources {
        rx: count(output::MAX_RX_RINGS),
        tx,
        completions: count(output::MAX_CMPL_RINGS),
        vnics: told(count(output::MAX_VNICS)),
        stats: told(count(output::MAX_STAT_CTX)),
        spreads: told(count(output::MAX_RSSCOS_CTX)),
        groups: told(count(output::MAX_HW_RING_GRPS)),
        notifications: told(count(output::MAX_MSIX)),
    }))
}

/// The port's queues that frames can be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortQueues {
    /// The one for this driver's.
    pub queue: u8,
    /// How many there are.
    pub count: u8,
}

/// Finds the port's queue for frames that may be lost: not the one of congestion
/// notifications, and no lossless one unless there is no other. Its number may be
/// any.
pub fn port_queues(hw: &Hw) -> Result<PortQueues> {
    use queue_qportcfg::output;
    let reply =
        hw.ask(Request::new(queue_qportcfg::COMMAND).with(queue_qportcfg::input::PORT_ID, u64::from(hw.caps.port)))?;
    let count = reply.get(output::MAX_CONFIGURABLE_QUEUES).min(8) as u8;
    match find_queue(reply.bytes(output::QUEUES), usize::from(count)) {
        Some(queue) => Ok(PortQueues { queue, count }),
        None => Err(hw.error(
            Kind::Unsupported,
            "its firmware gives the port no queue that frames could be sent to; load the card's default configuration",
        )),
    }
}

/// The best of up to `count` pairs of a queue's number and profile.
fn find_queue(pairs: &[u8], count: usize) -> Option<u8> {
    const LOSSY: u8 = 0;
    const LOSSLESS: u8 = 1;
    const UNUSED: u8 = 0xff;
    // Unused places may lie between others, so they are all looked at.
    let of =
        |profile| pairs.as_chunks::<2>().0.iter().find(|[id, of]| *id != UNUSED && *of == profile).map(|pair| pair[0]);
    if count == 0 { None } else { of(LOSSY).or_else(|| of(LOSSLESS)) }
}

/// Signs the driver on; true if the firmware wants to be told when rings are about
/// to be used.
pub fn sign_on(hw: &Hw) -> Result<bool> {
    use func_drv_rgtr::input;
    let request = |flags| {
        Request::new(func_drv_rgtr::COMMAND)
            .with(input::FLAGS, flags)
            .with(input::ENABLES, register::ENABLES)
            .with(input::OS_TYPE, register::OS_OTHER)
            .with(input::VER_MAJ_8B, 1)
            .with(input::VER_MAJ, 1)
            .with_bytes(input::ASYNC_EVENT_FWD, &events::wanted())
    };
    let plain = request(register::VERSION_16);
    let reply = match hw.try_ask(&plain)? {
        Ok(reply) => reply,
        // Partitions of some cards want to hear that the driver knows what they lack.
        Err(refusal::INVALID_PARAMS) => hw.ask(request(register::VERSION_16 | register::NPAR_1_2))?,
        Err(code) => return Err(hw.refused(&plain, code)),
    };
    Ok(reply.get(func_drv_rgtr::output::FLAGS) & register::IF_CHANGE != 0)
}

/// What has changed since the firmware was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// It has restarted: everything is lost, the signature too.
    pub restarted: bool,
    /// There are other resources, or capabilities.
    pub resources: bool,
}

/// Tells the firmware that rings are about to be used, or are not any more.
pub fn interface(hw: &Hw, up: bool) -> Result<Changed> {
    let flags = if up { if_change::UP } else { 0 };
    let reply = hw.ask(Request::new(func_drv_if_change::COMMAND).with(func_drv_if_change::input::FLAGS, flags))?;
    let flags = reply.get(func_drv_if_change::output::FLAGS);
    Ok(Changed {
        restarted: flags & if_change::RESTARTED != 0,
        resources: flags & (if_change::RESOURCES | if_change::CAPABILITIES) != 0,
    })
}

/// Gives the function up: signs off and has everything dropped. Where the firmware
/// says nothing any more, `reset` is what is left.
pub fn leave(hw: &Hw, tells_interface: bool, reset: impl FnOnce()) {
    let silent = hw.check().is_err();
    if !silent {
        if tells_interface {
            let _ = interface(hw, false);
        }
        let _ = hw.ask_optional(Request::new(func_drv_unrgtr::COMMAND));
    }
    let dropped = match silent {
        false => self::reset(hw).is_ok(),
        // It may be slow and not dead; that is not waited for long.
        true => {
            let mut hwrm = hw.hwrm();
            !hwrm.state().is_some_and(has_failed)
                && hwrm.ask_once(&Request::new(func_reset::COMMAND), START_PATIENCE).is_ok()
        }
    };
    if !dropped {
        reset();
    }
    // Queues that live on must not have rings started anew.
    let closed = hw.error(Kind::Gone, "the card was closed; open it again");
    hw.hwrm().end(&closed);
}

/// Fails if the firmware has stopped or restarted, where it says what it does.
pub fn check_state(hw: &Hw) -> Result<()> {
    let state = hw.hwrm().state().unwrap_or(0);
    match state & fw_status::CODE {
        // Some do not say.
        0 => Ok(()),
        fw_status::HEALTHY if !has_failed(state) => Ok(()),
        _ => Err(hw.lost(format_args!("its firmware does not run any more ({})", explain(state)))),
    }
}

/// What the function is configured to, and what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// What it has of each resource.
    pub has: Resources,
    /// The port is shared, by partitions or hosts.
    pub shared: bool,
    /// Longest frame without FCS, with its tag.
    pub max_frame: u16,
}

/// What the function is configured to.
pub fn configured(hw: &Hw) -> Result<Configured> {
    use super::codes::func;
    use func_qcfg::output;
    /// Longest packet of cards that do not tell theirs, and the header before it, with a tag.
    const MTU: u16 = 9500;
    const ETHERNET: u16 = 18;
    let reply = hw.ask(Request::new(func_qcfg::COMMAND).with(func_qcfg::input::FID, SELF))?;
    let count = |field| reply.get(field).min(u64::from(u16::MAX)) as u16;
    let mtu = match count(output::MAX_MTU_CONFIGURED) {
        0 => MTU,
        mtu => mtu.min(MTU),
    };
    Ok(Configured {
        has: Resources {
            rx: count(output::ALLOC_RX_RINGS),
            tx: count(output::ALLOC_TX_RINGS),
            completions: count(output::ALLOC_CMPL_RINGS),
            vnics: count(output::ALLOC_VNICS),
            stats: count(output::ALLOC_STAT_CTX),
            spreads: count(output::ALLOC_RSSCOS_CTX),
            groups: count(output::ALLOC_HW_RING_GRPS),
            notifications: count(output::ALLOC_MSIX),
        },
        shared: !matches!(count(output::PORT_PARTITION_TYPE), 0 | 0xff)
            || reply.get(output::FLAGS) & func::MULTI_HOST != 0,
        max_frame: mtu + ETHERNET,
    })
}

/// The function's own address: the firmware's, or one that is made up where it has none.
pub fn mac(hw: &Hw) -> MacAddr {
    let mac = MacAddr(hw.caps.mac);
    if mac.is_unicast() {
        return mac;
    }
    hw.lacks.note("its firmware gives it no address: it has one that was made up");
    MacAddr::made_up(&hw.to_string())
}

/// The error for resources that are not there.
pub fn too_few(hw: &Hw, what: &str, has: u16, wanted: u16) -> crate::Error {
    let text = format!(
        "its firmware grants this function {has} {what}, {wanted} are needed; use fewer queues, or give this function more of the card (partitions and virtual functions share it)"
    );
    let error = hw.error(Kind::Unsupported, text);
    if what == "vectors" { error.with_remedy(Remedy::Interrupts) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_to_a_queue_that_may_lose_them() {
        assert_eq!(find_queue(&[4, 0, 0xff, 0xff], 1), Some(4), "any number");
        assert_eq!(find_queue(&[7, 2, 1, 1, 3, 0], 3), Some(3), "neither notifications nor lossless");
        assert_eq!(find_queue(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 5, 0], 1), Some(5), "the fourth place");
        assert_eq!(find_queue(&[7, 2, 1, 1], 2), Some(1), "a lossless one if there is no other");
        assert_eq!(find_queue(&[7, 2, 0xff, 0xff], 2), None);
        assert_eq!(find_queue(&[0, 0], 0), None);
    }
}
