//! The registers of a device of VIRTIO 1.0 or later (VIRTIO 1.2 §4.1.4.3 to §4.1.4.6).

use super::caps::Layout;
use super::features::{self, Features};
use super::hw::{BellPlace, Hw, Transport};
use super::regs::{Reg, common, status};
use super::ring::{Bell, Places};
use crate::error::{Kind, Result};
use crate::pci::Bar;

impl Layout {
    fn read(&self, reg: Reg) -> u32 {
        let (bar, start) = self.common.at(0);
        reg.read(bar, start)
    }

    fn write(&self, reg: Reg, value: u32) {
        let (bar, start) = self.common.at(0);
        reg.write(bar, start, value);
    }

    fn select(&self, queue: u16) {
        self.write(common::QUEUE_SELECT, u32::from(queue));
    }
}

impl Transport for Layout {
    fn is_legacy(&self) -> bool {
        false
    }

    fn bar(&self) -> &Bar {
        self.common.at(0).0
    }

    fn status(&self) -> u32 {
        self.read(common::DEVICE_STATUS)
    }

    fn set_status(&self, status: u32) {
        self.write(common::DEVICE_STATUS, status);
    }

    fn offers(&self) -> Features {
        let half = |n| {
            self.write(common::DEVICE_FEATURE_SELECT, n);
            u64::from(self.read(common::DEVICE_FEATURE))
        };
        Features(half(0) | half(1) << 32)
    }

    fn take(&self, features: Features) {
        for (n, half) in [features.0 as u32, (features.0 >> 32) as u32].into_iter().enumerate() {
            self.write(common::DRIVER_FEATURE_SELECT, n as u32);
            self.write(common::DRIVER_FEATURE, half);
        }
    }

    fn features_ok(&self) -> u32 {
        status::FEATURES_OK
    }

    fn queues(&self) -> u16 {
        self.read(common::NUM_QUEUES) as u16
    }

    fn queue_size(&self, queue: u16) -> u32 {
        self.select(queue);
        self.read(common::QUEUE_SIZE)
    }

    fn settle_queue(&self, queue: u16, len: u32) -> u32 {
        self.select(queue);
        self.write(common::QUEUE_SIZE, len);
        self.read(common::QUEUE_SIZE)
    }

    fn set_vector(&self, queue: u16, vector: u32) -> u32 {
        self.select(queue);
        self.write(common::QUEUE_MSIX_VECTOR, vector);
        self.read(common::QUEUE_MSIX_VECTOR)
    }

    fn set_config_vector(&self, vector: u32) {
        self.write(common::CONFIG_MSIX_VECTOR, vector);
    }

    fn start_queue(&self, hw: &Hw, queue: u16, places: Places) -> Result<()> {
        self.select(queue);
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
            return Err(hw.error(Kind::Device, format!("queue {queue} did not start (QUEUE_ENABLE reads 0)")));
        }
        Ok(())
    }

    fn bell(&self, hw: &Hw, queue: u16, features: Features) -> Result<(BellPlace, Bell)> {
        self.select(queue);
        let (window, multiplier) = &self.notify;
        let offset = u64::from(self.read(common::QUEUE_NOTIFY_OFF)) * u64::from(*multiplier);
        let with_data = features.has(features::NOTIFICATION_DATA);
        let width = if with_data { 4 } else { 2 };
        let (bar, at) = window.at(offset);
        if offset + width > window.len() || !at.is_multiple_of(width) {
            let text = format!("queue {queue} is notified outside its registers ({offset:#x})");
            return Err(hw.error(Kind::Device, text));
        }
        let place = BellPlace { bar: bar.clone(), at, width: width as u8 };
        let bell =
            if with_data { Bell::Data(bar.doorbell(at)?, queue) } else { Bell::Index(bar.short_doorbell(at)?, queue) };
        Ok((place, bell))
    }

    fn config(&self, reg: Reg) -> Option<u32> {
        let (bar, start) = self.device.at(0);
        (reg.end() <= self.device.len()).then(|| reg.read(bar, start))
    }

    fn generation(&self) -> u32 {
        self.read(common::CONFIG_GENERATION)
    }
}
