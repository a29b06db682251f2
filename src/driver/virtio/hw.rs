//! The steps of bringing a device up (VIRTIO 1.2 §3.1), and what they do with its
//! registers, whether those are of VIRTIO 1.0 or of a legacy device.

use super::caps::Layout;
use super::features::Features;
use super::legacy::Legacy;
use super::regs::{NO_VECTOR, Reg, net, status};
use super::ring::{Bell, Places};
use crate::driver::wait;
use crate::error::{Error, Kind, Remedy, Result};
use crate::net::MacAddr;
use crate::pci::{Bar, Function};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Name of the register that says how far the driver has come.
const STATUS: &str = "DEVICE_STATUS";

/// Time for a device to be reset: one that is a card of its own may have much to end.
const RESET_PATIENCE: Duration = Duration::from_secs(5);

/// How often a piece of configuration is read that changes all the while.
const GENERATIONS: u32 = 100;

/// The registers of a device, by what is done with them.
pub trait Transport: Send + Sync {
    /// Whether it is older than VIRTIO 1.0.
    fn is_legacy(&self) -> bool;

    /// The BAR that its registers are in.
    fn bar(&self) -> &Bar;

    /// DEVICE_STATUS.
    fn status(&self) -> u32;

    /// Writes it.
    fn set_status(&self, status: u32);

    /// Features that the device offers.
    fn offers(&self) -> Features;

    /// Says which of them are taken.
    fn take(&self, features: Features);

    /// The bit of the status that settles them; 0 if there is none.
    fn features_ok(&self) -> u32;

    /// Queues that the device has, as far as it says.
    fn queues(&self) -> u16;

    /// Most descriptors that a queue can have; 0 if there is no such queue.
    fn queue_size(&self, queue: u16) -> u32;

    /// Descriptors that a queue has if `len` are asked for: a device may know one size only,
    /// as a legacy one does.
    fn settle_queue(&self, queue: u16, len: u32) -> u32;

    /// Gives a queue a vector; which one it has then.
    fn set_vector(&self, queue: u16, vector: u32) -> u32;

    /// Gives changes of the configuration a vector.
    fn set_config_vector(&self, vector: u32);

    /// Turns a queue on.
    fn start_queue(&self, hw: &Hw, queue: u16, places: Places) -> Result<()>;

    /// Where a queue is notified.
    fn bell(&self, hw: &Hw, queue: u16, features: Features) -> Result<(BellPlace, Bell)>;

    /// A field of the network device's configuration; `None` if it has none.
    fn config(&self, reg: Reg) -> Option<u32>;

    /// Changes with the configuration, if the device has such a count.
    fn generation(&self) -> u32;

    /// Writes an address into the configuration; whether that can be done.
    fn set_mac(&self, _mac: MacAddr) -> bool {
        false
    }

    /// It was reset.
    fn was_reset(&self) {}

    /// It is to let go of queues that a reset may have left.
    fn release(&self) {}
}

/// The control plane's hold on a device.
pub struct Hw {
    device: String,
    transport: Box<dyn Transport>,
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
    /// The registers of `function`: those of VIRTIO 1.0 if it has them.
    pub fn new(function: &Arc<dyn Function>) -> Result<Hw> {
        let transport: Box<dyn Transport> = match Layout::find(&**function)? {
            Some(layout) => Box::new(layout),
            None => Box::new(Legacy::find(function)?),
        };
        let hw = Hw { device: function.name().to_owned(), transport };
        hw.answers()?;
        Ok(hw)
    }

    /// Whether it is driven as a legacy device.
    pub fn is_legacy(&self) -> bool {
        self.transport.is_legacy()
    }

    /// An error of this device.
    pub fn error(&self, kind: Kind, text: impl fmt::Display) -> Error {
        Error::new(kind, format!("{self}: {text}"))
    }

    /// DEVICE_STATUS, all ones if nothing answers.
    fn status(&self) -> u32 {
        match self.transport.status() {
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
            u32::MAX => Err(wait::gone(self, STATUS)),
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
        self.transport.set_status(0);
        wait::wait_until(self, "reset", STATUS, RESET_PATIENCE, || self.status(), |status| status == 0)?;
        self.transport.was_reset();
        Ok(())
    }

    /// Steps 2 and 3: the device is known and there is a driver.
    pub fn acknowledge(&self) {
        self.transport.set_status(status::ACKNOWLEDGE);
        self.transport.set_status(status::ACKNOWLEDGE | status::DRIVER);
    }

    /// Features that the device offers.
    pub fn offers(&self) -> Features {
        self.transport.offers()
    }

    /// Steps 4 to 6: agrees on `features`.
    pub fn agree(&self, features: Features) -> Result<()> {
        self.transport.take(features);
        let settled = self.transport.features_ok();
        if settled == 0 {
            return Ok(());
        }
        self.transport.set_status(status::ACKNOWLEDGE | status::DRIVER | settled);
        if self.answers()? & settled == 0 {
            return Err(self.error(
                Kind::Unsupported,
                format!("the device does not take the features that this driver needs ({:#x})", features.0),
            ));
        }
        Ok(())
    }

    /// Step 8: the device may work.
    pub fn go(&self) -> Result<()> {
        let settled = self.transport.features_ok();
        self.transport.set_status(status::ACKNOWLEDGE | status::DRIVER | settled | status::DRIVER_OK);
        self.alive()
    }

    /// Stops the device: reset, or told that it is given up (§2.1). One that is
    /// gone needs neither.
    pub fn stop(&self) {
        if self.answers().is_err() {
            return;
        }
        if self.reset().is_err() {
            self.transport.set_status(self.transport.status() | status::FAILED);
        }
        self.transport.release();
    }

    /// Length of a queue: what is wanted, the most that the device has, or the only one.
    pub fn queue_len(&self, queue: u16, wanted: u32, least: u32) -> Result<u32> {
        let most = self.transport.queue_size(queue);
        if queue >= self.transport.queues() || most == 0 {
            let text = format!("it has no queue {queue}, which this needs; use fewer queues");
            return Err(self.error(Kind::Unsupported, text));
        }
        let most = 1 << most.min(1 << 15).ilog2();
        let len = self.transport.settle_queue(queue, wanted.min(most));
        let wrong = if len < least {
            format!("{least} are needed")
        } else if !len.is_power_of_two() || len > 1 << 15 {
            "it must be a power of two up to 32768".to_owned()
        } else {
            return Ok(len);
        };
        Err(self.error(Kind::Unsupported, format!("its queue {queue} has {len} descriptors; {wrong}")))
    }

    /// Step 7, for one queue whose size is settled (§4.1.5.1.3): turns it on.
    pub fn start_queue(&self, queue: u16, places: Places, vector: Option<u16>) -> Result<()> {
        let wanted = vector.map_or(NO_VECTOR, u32::from);
        if self.transport.set_vector(queue, wanted) != wanted {
            let text = format!("it has no interrupt vector for queue {queue}");
            return Err(self.error(Kind::Device, text).with_remedy(Remedy::Poll));
        }
        self.transport.start_queue(self, queue, places)
    }

    /// No interrupt for changes of the configuration: they are asked for.
    pub fn no_config_interrupt(&self) {
        self.transport.set_config_vector(NO_VECTOR);
    }

    /// Where a queue is notified (§4.1.4.4), and how.
    pub fn bell(&self, queue: u16, features: Features) -> Result<(BellPlace, Bell)> {
        self.transport.bell(self, queue, features)
    }

    fn config(&self, reg: Reg) -> Option<u32> {
        self.transport.config(reg)
    }

    /// Reads what belongs together until it is the same twice and nothing was changed
    /// meanwhile: a legacy device does not tell (§2.5.1).
    fn steady<T: PartialEq>(&self, read: impl Fn() -> T) -> T {
        let look = || (self.transport.generation(), read());
        let mut before = look();
        for _ in 0..GENERATIONS {
            let after = look();
            if after == before {
                break;
            }
            before = after;
        }
        before.1
    }

    /// The device's address.
    pub fn mac(&self) -> Result<MacAddr> {
        let byte = |n| self.config(Reg { offset: net::MAC.offset + n, ..net::MAC }).unwrap_or(0) as u8;
        let mac = MacAddr(self.steady(|| [0, 1, 2, 3, 4, 5].map(byte)));
        self.transport.bar().note_address(mac);
        if !mac.is_unicast() {
            return Err(self.error(Kind::Device, format!("it has no valid address ({mac}); give it one (`mac=`)")));
        }
        Ok(mac)
    }

    /// Has a legacy device take another address; false if it is not one.
    pub fn set_mac(&self, mac: MacAddr) -> bool {
        self.transport.set_mac(mac)
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
