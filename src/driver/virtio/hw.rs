//! A device's registers by name, and the steps of bringing it up (VIRTIO 1.2 §3.1).

use super::caps::Layout;
use super::features::{self, Features};
use super::regs::{NO_VECTOR, Reg, common, net, status};
use super::ring::{Bell, Places};
use crate::driver::wait;
use crate::error::{Error, Kind, Remedy, Result};
use crate::net::MacAddr;
use crate::pci::{Bar, Function};
use std::fmt;
use std::time::Duration;

/// Time for a device to be reset: one that is a card of its own may have much to end.
const RESET_PATIENCE: Duration = Duration::from_secs(5);

/// How often a piece of configuration is read that changes all the while.
const GENERATIONS: u32 = 100;

/// The control plane's hold on a device.
pub struct Hw {
    device: String,
    layout: Layout,
}

/// Where a queue is notified: for a trace, which does not see it.
#[derive(Debug)]
pub struct BellPlace {
    /// The BAR.
    pub bar: Bar,
    /// Offset in it.
    pub at: u64,
    /// Bytes of a store.
    pub width: u8,
}

impl Hw {
    /// The registers of `function`.
    pub fn new(function: &dyn Function) -> Result<Hw> {
        let hw = Hw { device: function.name().to_owned(), layout: Layout::find(function)? };
        hw.answers()?;
        Ok(hw)
    }

    fn read(&self, reg: Reg) -> u32 {
        let (bar, at) = self.layout.common.at(u64::from(reg.offset));
        match reg.width {
            1 => u32::from(bar.read8(at)),
            2 => u32::from(bar.read16(at)),
            _ => bar.read32(at),
        }
    }

    fn write(&self, reg: Reg, value: u32) {
        let (bar, at) = self.layout.common.at(u64::from(reg.offset));
        match reg.width {
            1 => bar.write8(at, value as u8),
            2 => bar.write16(at, value as u16),
            _ => bar.write32(at, value),
        }
    }

    /// An error of this device.
    pub fn error(&self, kind: Kind, text: impl fmt::Display) -> Error {
        Error::new(kind, format!("{self}: {text}"))
    }

    /// DEVICE_STATUS, all ones if nothing answers.
    fn status(&self) -> u32 {
        match self.read(common::DEVICE_STATUS) {
            0xff => u32::MAX,
            status => status,
        }
    }

    /// What a wait for the device's memory reads between two looks: all ones if
    /// the device is gone, an odd number if it has stopped.
    pub fn poll(&self) -> u32 {
        match self.status() {
            u32::MAX => u32::MAX,
            status => u32::from(status & status::NEEDS_RESET != 0),
        }
    }

    fn answers(&self) -> Result<u32> {
        match self.status() {
            u32::MAX => Err(wait::gone(self, common::DEVICE_STATUS.name)),
            status => Ok(status),
        }
    }

    /// Fails if the device is gone or has given up.
    pub fn alive(&self) -> Result<()> {
        let status = self.answers()?;
        if status & status::NEEDS_RESET == 0 {
            return Ok(());
        }
        Err(self.error(
            Kind::Device,
            format!(
                "the device found a fault in its queues and stopped (DEVICE_STATUS = {status:#04x}); open it again"
            ),
        ))
    }

    /// Back to power-on (§2.4, §4.1.4.3.1).
    pub fn reset(&self) -> Result<()> {
        self.write(common::DEVICE_STATUS, 0);
        let (what, register) = ("reset", common::DEVICE_STATUS.name);
        wait::wait_until(self, what, register, RESET_PATIENCE, || self.status(), |status| status == 0)?;
        Ok(())
    }

    /// Steps 2 and 3: the device is known and there is a driver.
    pub fn acknowledge(&self) {
        self.write(common::DEVICE_STATUS, status::ACKNOWLEDGE);
        self.write(common::DEVICE_STATUS, status::ACKNOWLEDGE | status::DRIVER);
    }

    /// Features that the device offers.
    pub fn offers(&self) -> Features {
        let half = |n| {
            self.write(common::DEVICE_FEATURE_SELECT, n);
            u64::from(self.read(common::DEVICE_FEATURE))
        };
        Features(half(0) | half(1) << 32)
    }

    /// Steps 4 to 6: agrees on `features`.
    pub fn agree(&self, features: Features) -> Result<()> {
        for (n, half) in [features.0 as u32, (features.0 >> 32) as u32].into_iter().enumerate() {
            self.write(common::DRIVER_FEATURE_SELECT, n as u32);
            self.write(common::DRIVER_FEATURE, half);
        }
        self.write(common::DEVICE_STATUS, status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
        if self.answers()? & status::FEATURES_OK == 0 {
            return Err(self.error(
                Kind::Unsupported,
                format!("the device does not take the features that this driver needs ({:#x})", features.0),
            ));
        }
        Ok(())
    }

    /// Step 8: the device may work.
    pub fn go(&self) -> Result<()> {
        let so_far = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        self.write(common::DEVICE_STATUS, so_far | status::DRIVER_OK);
        self.alive()
    }

    /// Stops the device: reset, or told that it is given up (§2.1). One that is
    /// gone needs neither.
    pub fn stop(&self) {
        if self.answers().is_ok() && self.reset().is_err() {
            self.write(common::DEVICE_STATUS, self.read(common::DEVICE_STATUS) | status::FAILED);
        }
    }

    /// Queues that the device has.
    pub fn queues(&self) -> u16 {
        self.read(common::NUM_QUEUES) as u16
    }

    /// Most descriptors that a queue can have; 0 if there is no such queue.
    pub fn queue_size(&self, queue: u16) -> u32 {
        self.write(common::QUEUE_SELECT, u32::from(queue));
        self.read(common::QUEUE_SIZE)
    }

    /// Descriptors that a queue has if `len` are asked for: a device may know one size only,
    /// as a legacy one did.
    pub fn settle_queue(&self, queue: u16, len: u32) -> u32 {
        self.write(common::QUEUE_SELECT, u32::from(queue));
        self.write(common::QUEUE_SIZE, len);
        self.read(common::QUEUE_SIZE)
    }

    /// Step 7, for one queue whose size is settled (§4.1.5.1.3): turns it on.
    pub fn start_queue(&self, queue: u16, places: Places, vector: Option<u16>) -> Result<()> {
        self.write(common::QUEUE_SELECT, u32::from(queue));
        let wanted = vector.map_or(NO_VECTOR, u32::from);
        self.write(common::QUEUE_MSIX_VECTOR, wanted);
        if self.read(common::QUEUE_MSIX_VECTOR) != wanted {
            let text = format!("it has no interrupt vector for queue {queue}");
            return Err(self.error(Kind::Device, text).with_remedy(Remedy::Poll));
        }
        let halves = [
            (common::QUEUE_DESC_LO, common::QUEUE_DESC_HI, places.descriptors),
            (common::QUEUE_DRIVER_LO, common::QUEUE_DRIVER_HI, places.driver),
            (common::QUEUE_DEVICE_LO, common::QUEUE_DEVICE_HI, places.device),
        ];
        for (low, high, iova) in halves {
            self.write(low, iova as u32);
            self.write(high, (iova >> 32) as u32);
        }
        self.write(common::QUEUE_ENABLE, 1);
        if self.read(common::QUEUE_ENABLE) != 1 {
            return Err(self.error(Kind::Device, format!("queue {queue} did not start (QUEUE_ENABLE reads 0)")));
        }
        Ok(())
    }

    /// No interrupt for changes of the configuration: they are asked for.
    pub fn no_config_interrupt(&self) {
        self.write(common::CONFIG_MSIX_VECTOR, NO_VECTOR);
    }

    /// Where a queue is notified (§4.1.4.4), and how.
    pub fn bell(&self, queue: u16, features: Features) -> Result<(BellPlace, Bell)> {
        self.write(common::QUEUE_SELECT, u32::from(queue));
        let (window, multiplier) = &self.layout.notify;
        let offset = u64::from(self.read(common::QUEUE_NOTIFY_OFF)) * u64::from(*multiplier);
        let with_data = features.has(features::NOTIFICATION_DATA);
        let width = if with_data { 4 } else { 2 };
        let (bar, at) = window.at(offset);
        if offset + width > window.len() || !at.is_multiple_of(width) {
            return Err(
                self.error(Kind::Device, format!("queue {queue} is notified outside its registers ({offset:#x})"))
            );
        }
        let place = BellPlace { bar: bar.clone(), at, width: width as u8 };
        let bell =
            if with_data { Bell::Data(bar.doorbell(at)?, queue) } else { Bell::Index(bar.short_doorbell(at)?, queue) };
        Ok((place, bell))
    }

    /// A field of the network device's configuration; `None` if it has none.
    fn config(&self, reg: Reg) -> Option<u32> {
        let end = u64::from(reg.offset) + u64::from(reg.width);
        if end > self.layout.device.len() {
            return None;
        }
        let (bar, at) = self.layout.device.at(u64::from(reg.offset));
        Some(match reg.width {
            1 => u32::from(bar.read8(at)),
            2 => u32::from(bar.read16(at)),
            _ => bar.read32(at),
        })
    }

    /// Reads what belongs together, again if it changed meanwhile (§2.5.1).
    fn steady<T>(&self, read: impl Fn() -> T) -> T {
        let generation = || self.read(common::CONFIG_GENERATION);
        let mut before = generation();
        let mut value = read();
        for _ in 0..GENERATIONS {
            let after = generation();
            if after == before {
                break;
            }
            (before, value) = (after, read());
        }
        value
    }

    /// The device's address.
    pub fn mac(&self) -> Result<MacAddr> {
        let byte = |n| self.config(Reg { offset: net::MAC.offset + n, ..net::MAC }).unwrap_or(0) as u8;
        let mac = MacAddr(self.steady(|| [0, 1, 2, 3, 4, 5].map(byte)));
        self.layout.common.at(0).0.note_address(mac);
        if !mac.is_unicast() {
            return Err(self.error(Kind::Device, format!("it has no valid address ({mac}); give it one (`mac=`)")));
        }
        Ok(mac)
    }

    /// Whether the link is up.
    pub fn link_up(&self) -> bool {
        self.config(net::STATUS).is_none_or(|status| status & net::LINK_UP != 0)
    }

    /// Speed of the link in bits a second; 0 if the device does not know.
    pub fn speed(&self) -> u64 {
        match self.config(net::SPEED) {
            None | Some(u32::MAX) => 0,
            Some(megabits) => u64::from(megabits) * 1_000_000,
        }
    }

    /// Bytes of the longest packet that its network takes, without an Ethernet header.
    pub fn mtu(&self) -> Option<u16> {
        // Less than 68 is none that a network may have (RFC 791).
        self.config(net::MTU).map(|mtu| mtu as u16).filter(|mtu| *mtu >= 68)
    }

    /// Pairs of queues that it can have, as far as their indices have 16 bits.
    pub fn max_pairs(&self) -> u16 {
        self.config(net::MAX_VIRTQUEUE_PAIRS).map_or(1, |pairs| (pairs as u16).clamp(1, 0x7fff))
    }
}

impl fmt::Display for Hw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.device)
    }
}
