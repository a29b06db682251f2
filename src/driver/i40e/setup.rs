//! From power-on to running queues and back, in the order of the datasheet.

use super::adminq::AdminQueue;
use super::hmc::{Contexts, RxContext, TxContext};
use super::hw::Hw;
use super::irq;
use super::regs::{self, QUEUES, Reg, hmc_error, pfgen_ctrl, qalloc, qena, qtx_ctl, rstat, rstctl, txpre};
use super::vsi::Vsi;
use crate::dma::{BUFFER_SIZE, Region};
use crate::error::{Kind, Result};
use std::ops::Range;
use std::time::Duration;

/// Time for a queue to start or stop.
const QUEUE_PATIENCE: Duration = Duration::from_millis(20);

/// Time for which a receive queue may go on that says that it is off (Linux
/// `i40e_vsi_control_rx`: "HW errata").
const RX_LINGERS: Duration = Duration::from_millis(50);

/// Time for a reset of the function.
const RESET_PATIENCE: Duration = Duration::from_secs(1);

/// Queues that a function has: those of the device from `first` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// The function's queue 0, counted in the device.
    pub first: u16,
    /// How many.
    pub count: u16,
}

/// The function's queues (§8.2.1).
pub fn allocation(hw: &Hw) -> Result<Allocation> {
    let word = hw.read(regs::PFLAN_QALLOC);
    let (first, last) = (word & 0x7ff, word >> 16 & 0x7ff);
    if word & qalloc::VALID == 0 || last < first || last >= u32::from(QUEUES) {
        return Err(hw.error(
            Kind::Device,
            format!(
                "its NVM gives this function no queues (PFLAN_QALLOC = {word:#010x}); is the port disabled in the BIOS?"
            ),
        ));
    }
    Ok(Allocation { first: first as u16, count: (last - first + 1) as u16 })
}

/// Resets the function (§4.1, §4.2): nothing of an earlier driver runs afterwards.
pub fn reset(hw: &Hw, queues: Allocation) -> Result<()> {
    // No interrupts, no queues that could write while the reset goes on.
    irq::clear(hw);
    for queue in 0..queues.count {
        announce(hw, queues.first + queue, txpre::SET);
    }
    hw.settle(Duration::from_micros(400));
    for queue in 0..queues.count {
        for reg in [regs::QINT_TQCTL, regs::QINT_RQCTL, regs::QTX_ENA, regs::QRX_ENA] {
            hw.write(reg.at(queue), 0);
        }
    }
    hw.settle(Duration::from_micros(50));
    // A reset of the whole device that is under way must end first.
    device_reset(hw)?;
    super::firmware::check_image(hw)?;
    hw.set(regs::PFGEN_CTRL, pfgen_ctrl::PFSWR);
    let reset = hw.wait("reset", regs::PFGEN_CTRL, pfgen_ctrl::PFSWR, 0, RESET_PATIENCE);
    if hw.read(regs::GLGEN_RSTAT) & rstat::DEVSTATE != 0 {
        // Another function resets the device, and so this one too.
        device_reset(hw)?;
        super::firmware::check_image(hw)?;
    } else {
        reset?;
    }
    // What is pending from before: forgotten.
    hw.write(regs::PFHMC_ERRORINFO, hmc_error::DETECTED);
    hw.forgive();
    Ok(())
}

/// Waits for the end of a reset of the device. Intel's drivers give it twenty
/// times the delay that it was set to, 16 s at most.
fn device_reset(hw: &Hw) -> Result<()> {
    const MOST: u32 = 160;
    let delay = (hw.read(regs::GLGEN_RSTCTL) & rstctl::GRSTDEL).max(1);
    let patience = Duration::from_millis(100) * (20 * delay).min(MOST);
    hw.wait("a reset of the device", regs::GLGEN_RSTAT, rstat::DEVSTATE, 0, patience)?;
    Ok(())
}

/// Warns the transmit scheduler that a queue, counted in the device, is about
/// to change (§8.4.3.1.2).
fn announce(hw: &Hw, queue: u16, change: u32) {
    hw.write(regs::GLLAN_TXPRE_QDIS.at(queue / 128), change | u32::from(queue % 128));
}

/// How a receive queue is to be set up.
pub struct Receive<'a> {
    /// Where its descriptors lie.
    pub ring: &'a Region,
    /// How many.
    pub len: u16,
    /// They have 32 bytes.
    pub long: bool,
    /// Longest frame, with FCS and tags.
    pub longest: u32,
}

/// A receive queue, on and empty (§8.3.3.1.1).
pub fn receive_queue(hw: &Hw, contexts: &Contexts, queue: u16, wanted: &Receive<'_>) -> Result<()> {
    /// Buffers that one frame may span.
    const CHAIN: u32 = 5;
    let context = RxContext::new()
        .with(32, 57, wanted.ring.iova() / 128) // BASE
        .with(89, 13, u64::from(wanted.len)) // QLEN
        .with(102, 7, BUFFER_SIZE as u64 / 128) // DBUFF
        .with(116, 1, u64::from(wanted.long)) // DSIZE
        .with(117, 1, 1) // CRCSTRIP
        .with(119, 1, 1) // L2TSEL: a stripped tag in L2TAG1
        .with(174, 14, u64::from(wanted.longest.min(CHAIN * BUFFER_SIZE as u32))) // RXMAX
        .with(198, 3, 1) // LRXQTHRESH: warn below 64 descriptors
        .with(201, 1, 1); // PREFENA: fetch ahead
    settled(hw, regs::QRX_ENA.at(queue))?;
    contexts.receive(hw, queue, &context);
    hw.write(regs::QRX_TAIL.at(queue), 0);
    switch(hw, "starting a receive queue", regs::QRX_ENA.at(queue), true)
}

/// A transmit queue, on (§8.4.3.1.1). `programs`: it may program filters.
pub fn transmit_queue(
    hw: &Hw,
    contexts: &Contexts,
    allocation: Allocation,
    queue: u16,
    ring: &Region,
    vsi: &Vsi,
    programs: bool,
) -> Result<()> {
    let context = TxContext::new()
        .with(30, 1, 1) // NEW_CONTEXT
        .with(32, 57, ring.iova() / 128) // BASE
        .with(91, 1, u64::from(programs)) // FD_ENA
        .with(161, 13, ring.len() as u64 / 16) // QLEN
        .with(980, 10, u64::from(vsi.qs_handle)); // RDYLIST
    settled(hw, regs::QTX_ENA.at(queue))?;
    contexts.transmit(hw, queue, &context);
    hw.write(regs::QTX_CTL.at(queue), qtx_ctl::PF | u32::from(hw.function) << qtx_ctl::PF_SHIFT);
    announce(hw, allocation.first + queue, txpre::CLEAR);
    hw.write(regs::QTX_HEAD.at(queue), 0);
    hw.write(regs::QTX_TAIL.at(queue), 0);
    switch(hw, "starting a transmit queue", regs::QTX_ENA.at(queue), true)
}

/// Waits until a queue is as it was last told to be.
fn settled(hw: &Hw, reg: Reg) -> Result<()> {
    let wanted = if hw.read(reg) & qena::REQUEST != 0 { qena::STATE } else { 0 };
    hw.wait("an earlier change of a queue", reg, qena::STATE, wanted, QUEUE_PATIENCE)?;
    Ok(())
}

/// Turns a queue on or off.
fn switch(hw: &Hw, what: &str, reg: Reg, on: bool) -> Result<()> {
    let (request, state) = if on { (qena::REQUEST, qena::STATE) } else { (0, 0) };
    hw.change(reg, qena::REQUEST, request);
    hw.wait(what, reg, qena::STATE, state, QUEUE_PATIENCE)?;
    Ok(())
}

/// What is on and must be turned off.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// Receive queues.
    pub rx: Range<u16>,
    /// Transmit queues.
    pub tx: Range<u16>,
    /// The queue pair that programs filters.
    pub steering: Option<u16>,
}

/// Stops everything, so that no memory is read or written afterwards: queues,
/// then the admin queue, then what they lie in. What fails is passed over: the
/// caller turns bus mastering off behind it.
pub fn stop(hw: &Hw, allocation: Allocation, running: &Running, aq: Option<&mut AdminQueue>) {
    if hw.answers(regs::GLGEN_RSTAT).is_err() {
        return;
    }
    irq::clear(hw);
    let rx = running.rx.clone().chain(running.steering);
    let tx = running.tx.clone().chain(running.steering);
    for queue in rx {
        let _ = switch(hw, "stopping a receive queue", regs::QRX_ENA.at(queue), false);
    }
    for queue in tx.clone() {
        announce(hw, allocation.first + queue, txpre::SET);
    }
    hw.settle(Duration::from_micros(400));
    for queue in tx {
        let _ = switch(hw, "stopping a transmit queue", regs::QTX_ENA.at(queue), false);
    }
    if let Some(aq) = aq {
        aq.close();
    }
    if !running.rx.is_empty() || running.steering.is_some() {
        hw.settle(RX_LINGERS);
    }
    Contexts::close(hw);
    // Filters, interfaces, addresses: all as the next driver expects them.
    hw.set(regs::PFGEN_CTRL, pfgen_ctrl::PFSWR);
    let _ = hw.wait("reset", regs::PFGEN_CTRL, pfgen_ctrl::PFSWR, 0, RESET_PATIENCE);
}
