//! From power-on to running and back, in the order of the datasheet.

use super::hw::Hw;
use super::ids::Mac;
use super::irq;
use super::pace;
use super::regs::{
    self, ctrl, ctrl_ext, dca, dmatxctl, eec, fctrl, gcr_ext, hlreg0, mflcn, rdrxctl, rfctl, rttdcs, rxcsum, rxctrl,
    secrx, srrctl, status, tsauxc, tsyncrxctl, vlnctrl, xdctl,
};
use crate::dma::Region;
use crate::driver::config::Config;
use crate::error::{Kind, Result};
use std::time::Duration;

/// Time for a queue to start or stop.
const QUEUE_PATIENCE: Duration = Duration::from_millis(10);

/// How often it is asked whether PCIe requests are pending, 200 us apart: 160 ms, about as
/// long as Linux takes a completion to be late by default.
const PENDING_POLLS: u32 = 800;

/// Resets the function and waits until it has read its EEPROM (82599 §4.6.3).
pub fn reset(hw: &Hw) -> Result<()> {
    // §4.6.3.1: no interrupts from here on, nor any that an earlier driver asked for.
    irq::mask(hw);
    // §5.2.5.3.2: what that driver left running must not write any more. While the card
    // receives, its requests do not end.
    receive_off(hw);
    let quiet = master_off(hw);
    if quiet.is_err() {
        flush(hw);
    }
    // §4.6.3.2: global reset.
    global_reset(hw)?;
    if quiet.is_err() {
        // 82599 erratum: with requests pending, the first reset may not be enough.
        global_reset(hw)?;
    }
    irq::mask(hw);
    // §4.6.3: EEPROM read, then DMA ready.
    hw.wait("reading the EEPROM after reset", regs::EEC, eec::ARD, eec::ARD, Duration::from_millis(500))?;
    let ready = rdrxctl::DMAIDONE;
    hw.wait("DMA initialisation after reset", regs::RDRXCTL, ready, ready, Duration::from_millis(500))?;
    Ok(())
}

fn global_reset(hw: &Hw) -> Result<()> {
    // Function and link; the link of a card with its PHY inside may be its management
    // controller's, too.
    let bits = if hw.mac == Mac::I82599 { ctrl::RST | ctrl::LNK_RST } else { ctrl::RST };
    let reset = |hw: &Hw| {
        hw.set(regs::CTRL, bits);
        hw.settle(Duration::from_millis(1));
        hw.wait("reset", regs::CTRL, bits, 0, Duration::from_millis(100))
    };
    match hw.mac {
        Mac::I82599 => reset(hw)?,
        // The PHY is inside: its firmware must not be at work (X540 §4.6.3).
        Mac::X540 | Mac::X550 => hw.locked(hw.phy_lock(), reset)?,
    };
    hw.settle(Duration::from_millis(if hw.mac == Mac::I82599 { 10 } else { 100 }));
    Ok(())
}

/// Lets no more packets in, into none of the queues that a driver may have left on.
fn receive_off(hw: &Hw) {
    hw.clear(regs::RXCTRL, rxctrl::RXEN);
    for queue in regs::RXDCTL.all() {
        if hw.read(queue) & xdctl::ENABLE != 0 {
            hw.clear(queue, xdctl::ENABLE);
        }
    }
    hw.settle(Duration::from_millis(2));
}

/// Stops requests on PCIe and waits for those on their way (82599 §5.2.5.3.2).
fn master_off(hw: &Hw) -> Result<()> {
    hw.set(regs::CTRL, ctrl::GIO_DIS);
    hw.wait("stopping DMA", regs::STATUS, status::GIO, 0, Duration::from_millis(80))?;
    Ok(())
}

/// Flushes what does not end in the PCIe block, which two resets would not (Linux
/// ixgbe_clear_tx_pending). Nothing may be sent meanwhile, so the MAC loops. Each read of
/// STATUS sees to it that what was written before has come to the card.
fn flush(hw: &Hw) {
    let mac = hw.read(regs::HLREG0);
    let write = |reg, value| {
        hw.write(reg, value);
        hw.read(regs::STATUS);
    };
    write(regs::HLREG0, mac | hlreg0::LPBK);
    hw.settle(Duration::from_millis(3));
    // What may still be answered is waited for.
    for _ in 0..PENDING_POLLS {
        hw.settle(Duration::from_micros(200));
        if !hw.pending() {
            break;
        }
    }
    let pcie = hw.read(regs::GCR_EXT);
    write(regs::GCR_EXT, pcie | gcr_ext::BUFFERS_CLEAR);
    hw.settle(Duration::from_micros(20));
    write(regs::GCR_EXT, pcie);
    write(regs::HLREG0, mac);
}

/// What concerns neither receive nor transmit alone (82599 §4.6.3, §4.6.5).
pub fn general(hw: &Hw) {
    hw.set(regs::CTRL_EXT, ctrl_ext::NS_DIS | ctrl_ext::DRV_LOAD);
    // §3.7.7: no flow control. The high threshold must leave room all the same.
    hw.write(regs::MFLCN, mflcn::DPF);
    hw.write(regs::FCCFG, 0);
    for n in 0..8 {
        hw.write(regs::FCRTL.at(n), 0);
        hw.write(regs::FCRTH.at(n), if n == 0 { rx_buffer(hw) - 0x6000 } else { 0 });
    }
}

/// Bytes of the receive packet buffer (82599 §8.2.3.8.9).
fn rx_buffer(hw: &Hw) -> u32 {
    match hw.mac {
        Mac::I82599 => 512 << 10,
        Mac::X540 | Mac::X550 => 384 << 10,
    }
}

/// The receive unit, off (82599 §4.6.7).
pub fn receive_unit(hw: &Hw, config: &Config) {
    hw.clear(regs::RXCTRL, rxctrl::RXEN);
    // §4.6.11.3.4: all of the packet buffer to one traffic class.
    for n in 0..8 {
        hw.write(regs::RXPBSIZE.at(n), if n == 0 { rx_buffer(hw) } else { 0 });
    }
    // FCS off in both places, which must agree; jumbo frames up to MAXFRS,
    // which counts the FCS (and adds a VLAN tag by itself).
    hw.set(regs::HLREG0, hlreg0::RXCRCSTRP | hlreg0::JUMBOEN);
    hw.write(regs::MAXFRS, (u32::from(config.max_frame) + 4) << 16);
    hw.change(regs::RDRXCTL, rdrxctl::RSCFRSTSIZE, rdrxctl::CRCSTRIP | rdrxctl::RSCACKC | rdrxctl::FCOE_WRFIX);
    // §7.1.10: one packet is one frame: no coalescing.
    hw.set(regs::RFCTL, rfctl::RSC_DIS);
    // §7.1.11: check checksums; the descriptor carries the RSS hash.
    hw.set(regs::RXCSUM, rxcsum::PCSD);
    // §7.1.1: broadcast and our own address, until told otherwise.
    hw.write(regs::FCTRL, fctrl::BAM);
    hw.clear(regs::VLNCTRL, vlnctrl::VFE);
    // Queue q counts in counter set q: four queues a register (§8.2.3.23.71).
    for n in 0..4u16 {
        let sets = (0..4).fold(0, |sets, k| sets | u32::from(4 * n + k) << (8 * k));
        hw.write(regs::RQSMR.at(n), sets);
    }
}

/// A receive queue, on and empty (82599 §4.6.7.1).
pub fn receive_queue(hw: &Hw, queue: u16, ring: &Region, config: &Config) -> Result<()> {
    hw.clear(regs::RXDCTL.at(queue), xdctl::ENABLE);
    hw.wait("stopping a receive queue", regs::RXDCTL.at(queue), xdctl::ENABLE, 0, QUEUE_PATIENCE)?;
    hw.write(regs::RDBAL.at(queue), ring.iova() as u32);
    hw.write(regs::RDBAH.at(queue), (ring.iova() >> 32) as u32);
    hw.write(regs::RDLEN.at(queue), ring.len() as u32);
    hw.write(regs::RDH.at(queue), 0);
    hw.write(regs::RDT.at(queue), 0);
    // Several queues: one that is not served must not hold up the others, so
    // the card drops what has no descriptor. One queue: the packet buffer may
    // hold some hundred microseconds for it.
    let drop = if config.rx_queues > 1 { srrctl::DROP_EN } else { 0 };
    hw.write(regs::SRRCTL.at(queue), srrctl::BSIZEPKT_2K | srrctl::ADVANCED_ONE_BUFFER | drop);
    hw.write(regs::RSCCTL.at(queue), 0);
    hw.clear(regs::DCA_RXCTRL.at(queue), dca::RX_BIT12 | dca::RX_DATA_WRO | dca::RX_HEAD_WRO);
    let strip = if config.vlan_strip { xdctl::VME } else { 0 };
    hw.change(regs::RXDCTL.at(queue), xdctl::VME, strip | xdctl::ENABLE);
    // A tail written before the queue is on would be lost.
    let on = xdctl::ENABLE;
    hw.wait("starting a receive queue", regs::RXDCTL.at(queue), on, on, QUEUE_PATIENCE)?;
    Ok(())
}

/// Lets packets in (82599 §4.6.7 last step).
///
/// Erratum of the 82599: RXEN may only change while the path behind the
/// security engine is empty.
pub fn start_receive(hw: &Hw) -> Result<()> {
    hw.set(regs::SECRXCTRL, secrx::RX_DIS);
    let empty =
        hw.wait("emptying the receive path", regs::SECRXSTAT, secrx::RDY, secrx::RDY, Duration::from_millis(40));
    hw.set(regs::RXCTRL, rxctrl::RXEN);
    hw.clear(regs::SECRXCTRL, secrx::RX_DIS);
    match empty {
        Err(error) if error.kind() == Kind::Gone => Err(error),
        // Late is no reason to fail: nothing has been received yet.
        _ => Ok(()),
    }
}

/// The transmit unit (82599 §4.6.8).
pub fn transmit_unit(hw: &Hw) {
    const BUFFER: u32 = 160 << 10;
    hw.set(regs::HLREG0, hlreg0::TXCRCEN | hlreg0::TXPADEN);
    for n in 0..8 {
        hw.write(regs::TXPBSIZE.at(n), if n == 0 { BUFFER } else { 0 });
        hw.write(regs::TXPBTHRESH.at(n), if n == 0 { (BUFFER >> 10) - 10 } else { 0 });
    }
    hw.write(regs::DTXMXSZRQ, 0xfff);
    // §7.2.1.2.1: no traffic classes, no virtual functions: 64 queues in one buffer.
    hw.set(regs::RTTDCS, rttdcs::ARBDIS);
    hw.write(regs::MTQC, 0);
    hw.clear(regs::RTTDCS, rttdcs::ARBDIS);
    hw.set(regs::DMATXCTL, dmatxctl::TE);
}

/// A transmit queue, on (82599 §4.6.8.1).
pub fn transmit_queue(hw: &Hw, queue: u16, ring: &Region) -> Result<()> {
    /// Fetch when fewer than 32 descriptors are on the card and one is there;
    /// report at once (WTHRESH 0, required as not every descriptor asks).
    const THRESHOLDS: u32 = 32 | 1 << 8;
    pace::write_rate(hw, queue, 0);
    hw.write(regs::TXDCTL.at(queue), 0);
    hw.wait("stopping a transmit queue", regs::TXDCTL.at(queue), xdctl::ENABLE, 0, QUEUE_PATIENCE)?;
    hw.write(regs::TDBAL.at(queue), ring.iova() as u32);
    hw.write(regs::TDBAH.at(queue), (ring.iova() >> 32) as u32);
    hw.write(regs::TDLEN.at(queue), ring.len() as u32);
    hw.write(regs::TDH.at(queue), 0);
    hw.write(regs::TDT.at(queue), 0);
    hw.clear(regs::DCA_TXCTRL.at(queue), dca::TX_DESC_WRO);
    hw.write(regs::TDWBAL.at(queue), 0);
    hw.write(regs::TXDCTL.at(queue), THRESHOLDS | xdctl::ENABLE);
    let on = xdctl::ENABLE;
    hw.wait("starting a transmit queue", regs::TXDCTL.at(queue), on, on, QUEUE_PATIENCE)?;
    Ok(())
}

/// Stamps every received packet, in the packet (X550 §7.9).
pub fn timestamps(hw: &Hw) {
    hw.clear(regs::TSAUXC, tsauxc::DISABLE_SYSTIME);
    // No adjustment; the clock starts at zero, in nanoseconds and seconds.
    hw.write(regs::TIMINCA, 0);
    hw.write(regs::SYSTIMR, 0);
    hw.write(regs::SYSTIML, 0);
    hw.write(regs::SYSTIMH, 0);
    hw.write(regs::TSYNCRXCTL, tsyncrxctl::EN | tsyncrxctl::TYPE_ALL | tsyncrxctl::TSIP_UT_EN | tsyncrxctl::TSIP_UP);
}

/// Stops everything (82599 §4.6.7.1.2, §4.6.8.1.2, §5.2.5.3.2), so that no
/// memory is read or written afterwards. What fails is passed over: the caller
/// turns bus mastering off behind it.
pub fn stop(hw: &Hw, rx_queues: u16, tx_queues: u16) {
    if hw.alive().is_err() {
        return;
    }
    irq::mask(hw);
    hw.clear(regs::RXCTRL, rxctrl::RXEN);
    for queue in 0..rx_queues {
        hw.clear(regs::RXDCTL.at(queue), xdctl::ENABLE);
    }
    for queue in 0..tx_queues {
        hw.clear(regs::TXDCTL.at(queue), xdctl::ENABLE);
    }
    hw.clear(regs::DMATXCTL, dmatxctl::TE);
    let _ = master_off(hw);
    // The firmware may have the port back.
    hw.clear(regs::CTRL_EXT, ctrl_ext::DRV_LOAD);
}
