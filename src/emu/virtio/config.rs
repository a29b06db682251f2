//! The structures that a driver configures the device by (§4.1.4): common, ISR and
//! device configuration; features are agreed on here, and queues turned on.

use super::super::FaultKind;
use super::features::{EVENT_IDX, INDIRECT_DESC, NEEDED, NEEDS, RING_PACKED};
use super::regs::{self, Field, NOTIFY_AT, QueueField};
use super::{Agreed, NO_VECTOR, PAIRS, QUEUES, Queue, Ring, Virtio};

/// Bits of device_status (§2.1).
pub mod status {
    pub const ACKNOWLEDGE: u8 = 1;
    pub const DRIVER: u8 = 2;
    pub const DRIVER_OK: u8 = 4;
    pub const FEATURES_OK: u8 = 8;
    pub const NEEDS_RESET: u8 = 0x40;
}

/// What the common structure's fields hold that are not a queue's.
#[derive(Default)]
pub struct Common {
    /// Which half of the features is shown, and written.
    pub device_select: u32,
    pub driver_select: u32,
    /// Features that the driver takes, as written.
    pub taken: u64,
    /// See [`status`].
    pub status: u8,
    /// A rule was broken, and nothing is done until a reset.
    pub stopped: bool,
    /// Vector of changes of the configuration, and how many there were.
    pub config_vector: u16,
    pub generation: u8,
    /// Whose fields are shown.
    pub select: u16,
    /// The interrupt's cause: a queue, or the configuration (bit 1).
    pub isr: u8,
}

impl Common {
    /// As after power-on.
    pub fn new() -> Self {
        Common { config_vector: NO_VECTOR, ..Common::default() }
    }
}

impl Virtio {
    /// A read of what is not a queue's doorbell, at its offset in the BAR.
    pub(super) fn read_register(&mut self, offset: u32, size: u8) -> u64 {
        match offset {
            0..regs::COMMON_LEN => self.read_common(offset, size),
            regs::ISR_AT if size == 1 => u64::from(std::mem::take(&mut self.common.isr)),
            regs::DEVICE_AT..NOTIFY_AT if offset + u32::from(size) <= regs::DEVICE_AT + regs::DEVICE_LEN => {
                self.read_device(offset - regs::DEVICE_AT, size)
            }
            _ => {
                self.board.violations.note(format!("read outside the structures: {offset:#x}"));
                0
            }
        }
    }

    fn read_common(&mut self, offset: u32, size: u8) -> u64 {
        let Some(&(at, width, name, field)) = regs::row(offset) else { return 0 };
        if at != offset || width != size {
            self.board.violations.note(format!("read of {name} that is not of {width} bytes"));
        }
        let half = |value: u64, n: u32| if n < 2 { value >> (32 * n) & 0xffff_ffff } else { 0 };
        let queue = self.queues.get(usize::from(self.common.select));
        let of = |value: fn(&Queue) -> u64| queue.map_or(0, value);
        match field {
            Field::DeviceFeatureSelect => u64::from(self.common.device_select),
            Field::DeviceFeature => half(self.offered, self.common.device_select),
            Field::DriverFeatureSelect => u64::from(self.common.driver_select),
            Field::DriverFeature => half(self.common.taken, self.common.driver_select),
            Field::ConfigVector => u64::from(self.common.config_vector),
            Field::NumQueues => u64::from(QUEUES),
            Field::Status => u64::from(self.common.status),
            Field::Generation => u64::from(self.common.generation),
            Field::QueueSelect => u64::from(self.common.select),
            Field::Queue(QueueField::Size) => of(|queue| u64::from(queue.size)),
            Field::Queue(QueueField::Vector) => queue.map_or(u64::from(NO_VECTOR), |queue| u64::from(queue.vector)),
            Field::Queue(QueueField::Enable) => of(|queue| u64::from(queue.ring.is_some())),
            Field::Queue(QueueField::Address(n, upper)) => {
                queue.map_or(0, |queue| half(queue.addresses[usize::from(n)], upper.into()))
            }
            Field::NotifyOff => u64::from(self.common.select),
        }
    }

    fn read_device(&mut self, offset: u32, size: u8) -> u64 {
        // An address is so many fields of a byte each. To read a field by bytes, as DPDK does, is
        // not what the specification says, and no device minds.
        let end = offset + u32::from(size);
        if !regs::DEVICE.iter().any(|&(at, bytes, _)| at <= offset && end <= at + u32::from(bytes)) {
            self.board.violations.note("read of more than one field of the device's configuration");
        }
        self.device_field(offset, size)
    }

    /// What stands in the device's own configuration.
    pub(super) fn device_field(&self, offset: u32, size: u8) -> u64 {
        let mut bytes = [0xff; regs::DEVICE_LEN as usize + 8];
        bytes[..6].copy_from_slice(&self.address);
        bytes[6..8].copy_from_slice(&u16::from(self.link).to_le_bytes());
        bytes[8..10].copy_from_slice(&PAIRS.to_le_bytes());
        if let Some(mtu) = self.mtu {
            bytes[10..12].copy_from_slice(&mtu.to_le_bytes());
        }
        bytes[12..16].copy_from_slice(&self.megabits.to_le_bytes());
        bytes[16] = 1;
        bytes[offset as usize..].iter().take(usize::from(size)).rev().fold(0, |v, b| v << 8 | u64::from(*b))
    }

    pub(super) fn write_register(&mut self, offset: u32, size: u8, value: u64) {
        match offset {
            0..regs::COMMON_LEN => self.write_common(offset, size, value),
            NOTIFY_AT.. if u64::from(offset) < regs::BAR_LEN => self.notified(offset, size, value as u32),
            regs::DEVICE_AT..NOTIFY_AT => self.board.violations.note("write to the device's configuration"),
            _ => self.board.violations.note(format!("write outside the structures: {offset:#x}")),
        }
    }

    fn write_common(&mut self, offset: u32, size: u8, value: u64) {
        let Some(&(at, width, name, field)) = regs::row(offset) else { return };
        if at != offset || width != size {
            self.board.violations.note(format!("write to {name} that is not of {width} bytes"));
            return;
        }
        match field {
            Field::DeviceFeatureSelect => self.common.device_select = value as u32,
            Field::DriverFeatureSelect => self.common.driver_select = value as u32,
            Field::DriverFeature => self.take_features(value as u32),
            Field::ConfigVector => self.common.config_vector = self.known_vector(value as u16),
            Field::Status => self.write_status(value as u8),
            Field::QueueSelect => self.common.select = value as u16,
            Field::Queue(field) => self.write_queue(field, value),
            Field::DeviceFeature | Field::NumQueues | Field::Generation | Field::NotifyOff => {
                self.board.violations.note(format!("write to read-only {name}"));
            }
        }
    }

    fn take_features(&mut self, half: u32) {
        if self.common.status & status::FEATURES_OK != 0 {
            self.board.violations.note("features written after FEATURES_OK");
        } else if self.common.driver_select < 2 {
            let shift = 32 * self.common.driver_select;
            self.common.taken = self.common.taken & !(0xffff_ffff << shift) | u64::from(half) << shift;
        } else if half != 0 {
            self.board.violations.note("features written that do not exist");
        }
    }

    /// The steps of §3.1.1, in their order.
    fn write_status(&mut self, value: u8) {
        use status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET};
        if value == 0 {
            return self.restart();
        }
        let value = value & !NEEDS_RESET | self.common.status & NEEDS_RESET;
        if self.common.status & !value != 0 {
            self.board.violations.note("device_status bit cleared without a reset");
        }
        for (step, before) in [(DRIVER, ACKNOWLEDGE), (FEATURES_OK, DRIVER), (DRIVER_OK, FEATURES_OK)] {
            if value & step != 0 && value & before == 0 {
                self.board.violations.note("device_status out of order");
            }
        }
        let mut accepted = value;
        if value & FEATURES_OK != 0 && self.common.status & FEATURES_OK == 0 && !self.agree() {
            accepted &= !(FEATURES_OK | DRIVER_OK);
        }
        if accepted & DRIVER_OK != 0 && self.common.status & DRIVER_OK == 0 {
            self.reset_at.get_or_insert(self.board.now);
        }
        self.common.status = accepted;
    }

    /// Whether these features can be had together.
    fn agree(&mut self) -> bool {
        let taken = self.common.taken;
        let mut agreed = true;
        let mut refuse = |rule: &'static str| {
            self.board.violations.note(rule);
            agreed = false;
        };
        if taken & !self.offered != 0 {
            refuse("features taken that were not offered");
        }
        if NEEDS.iter().any(|(feature, needed)| taken & feature != 0 && taken & needed == 0) {
            refuse("feature taken without one that it needs");
        }
        // These a driver may leave, and the device may refuse it (§6.1, §6.2).
        agreed &= NEEDED & self.offered & !taken == 0;
        if agreed {
            self.features = taken;
        }
        agreed
    }

    fn write_queue(&mut self, field: QueueField, value: u64) {
        let vector = self.known_vector(value as u16);
        let Some(queue) = self.queues.get_mut(usize::from(self.common.select)) else {
            self.board.violations.note("field of a queue that does not exist written");
            return;
        };
        if queue.ring.is_some() {
            // Its vector may change.
            if field != QueueField::Vector {
                self.board.violations.note("field of a queue that is on written");
                return;
            }
        }
        match field {
            QueueField::Size => {
                if value == 0 || value > u64::from(queue.size) {
                    self.board.violations.note("queue_size of 0 or more than there are");
                } else if !self.board.faulty(FaultKind::FixedSize) {
                    queue.size = value as u16;
                }
            }
            QueueField::Vector => queue.vector = vector,
            QueueField::Address(n, upper) => {
                let shift = 32 * u32::from(upper);
                let address = &mut queue.addresses[usize::from(n)];
                *address = *address & !(0xffff_ffff << shift) | value << shift;
            }
            QueueField::Enable => self.enable(value),
        }
    }

    /// What was agreed on, as far as rings go.
    pub(super) fn agreed(&self) -> Agreed {
        Agreed { packed: self.has(RING_PACKED), indirect: self.has(INDIRECT_DESC), event_index: self.has(EVENT_IDX) }
    }

    fn enable(&mut self, value: u64) {
        let (features, running) =
            (self.common.status & status::FEATURES_OK != 0, self.common.status & status::DRIVER_OK != 0);
        let agreed = self.agreed();
        let queue = &mut self.queues[usize::from(self.common.select)];
        let alignment = if agreed.packed { [16, 4, 4] } else { [16, 2, 4] };
        let aligned = queue.addresses.iter().zip(alignment).all(|(at, to)| at.is_multiple_of(to));
        let wrong = if value != 1 {
            Some("queue_enable written as other than 1")
        } else if !features {
            Some("queue turned on before FEATURES_OK")
        } else if queue.addresses.contains(&0) {
            Some("queue turned on before its addresses were written")
        } else if !aligned {
            Some("queue with addresses that are not aligned")
        } else if !agreed.packed && !queue.size.is_power_of_two() {
            Some("split queue with a size that is no power of two")
        } else {
            None
        };
        match wrong {
            Some(rule) => self.stop(rule),
            None => {
                queue.ring = Some(Ring::new(agreed, queue.size, queue.addresses));
                if running {
                    self.board.violations.note("queue turned on after DRIVER_OK");
                }
            }
        }
    }
}
