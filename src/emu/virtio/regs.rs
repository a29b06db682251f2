//! The registers of a virtio device, as VIRTIO 1.2 §4.1.4.3 draws them: one row
//! a field. An access that is not to a whole field at its own width is a
//! violation (§4.1.3.1).

use QueueField::{Address, Enable, Size, Vector};

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Which half of the offered features is shown.
    DeviceFeatureSelect,
    /// That half.
    DeviceFeature,
    /// Which half of the taken features is written.
    DriverFeatureSelect,
    /// That half.
    DriverFeature,
    /// Vector for changes of the configuration.
    ConfigVector,
    /// Queues.
    NumQueues,
    /// Device status.
    Status,
    /// Counts changes of the configuration.
    Generation,
    /// Which queue the rest is of.
    QueueSelect,
    /// Something of that queue.
    Queue(QueueField),
    /// Its place among notifications.
    NotifyOff,
}

/// What a field of a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueField {
    /// Its size.
    Size,
    /// Its vector.
    Vector,
    /// Whether it is on.
    Enable,
    /// A half of one of its addresses: which address, which half.
    Address(u8, u8),
}

/// Offset, bytes, name, field.
pub type Row = (u32, u8, &'static str, Field);

/// The common structure.
pub const COMMON: &[Row] = &[
    (0x00, 4, "device_feature_select", Field::DeviceFeatureSelect),
    (0x04, 4, "device_feature", Field::DeviceFeature),
    (0x08, 4, "driver_feature_select", Field::DriverFeatureSelect),
    (0x0c, 4, "driver_feature", Field::DriverFeature),
    (0x10, 2, "config_msix_vector", Field::ConfigVector),
    (0x12, 2, "num_queues", Field::NumQueues),
    (0x14, 1, "device_status", Field::Status),
    (0x15, 1, "config_generation", Field::Generation),
    (0x16, 2, "queue_select", Field::QueueSelect),
    (0x18, 2, "queue_size", Field::Queue(Size)),
    (0x1a, 2, "queue_msix_vector", Field::Queue(Vector)),
    (0x1c, 2, "queue_enable", Field::Queue(Enable)),
    (0x1e, 2, "queue_notify_off", Field::NotifyOff),
    (0x20, 4, "queue_desc", Field::Queue(Address(0, 0))),
    (0x24, 4, "queue_desc+4", Field::Queue(Address(0, 1))),
    (0x28, 4, "queue_driver", Field::Queue(Address(1, 0))),
    (0x2c, 4, "queue_driver+4", Field::Queue(Address(1, 1))),
    (0x30, 4, "queue_device", Field::Queue(Address(2, 0))),
    (0x34, 4, "queue_device+4", Field::Queue(Address(2, 1))),
];

/// Bytes of the common structure.
pub const COMMON_LEN: u32 = 0x38;

/// Where the structures are in BAR 0, each in a page of its own.
pub const COMMON_AT: u32 = 0x0000;
/// Interrupt status.
pub const ISR_AT: u32 = 0x1000;
/// What is a network device's own.
pub const DEVICE_AT: u32 = 0x2000;
/// Notifications.
pub const NOTIFY_AT: u32 = 0x3000;
/// Bytes of all of it.
pub const BAR_LEN: u64 = 0x4000;

/// Bytes between two queues' notifications.
pub const NOTIFY_STEP: u32 = 4;

/// A network device's fields (§5.1.4): offset, bytes, name.
pub const DEVICE: &[(u32, u8, &str)] = &[
    (0, 1, "mac"),
    (1, 1, "mac"),
    (2, 1, "mac"),
    (3, 1, "mac"),
    (4, 1, "mac"),
    (5, 1, "mac"),
    (6, 2, "status"),
    (8, 2, "max_virtqueue_pairs"),
    (10, 2, "mtu"),
    (12, 4, "speed"),
    (16, 1, "duplex"),
];

/// Bytes of a network device's configuration.
pub const DEVICE_LEN: u32 = 20;

/// The row of the field at `offset`.
pub fn row(offset: u32) -> Option<&'static Row> {
    COMMON.iter().find(|row| (row.0..row.0 + u32::from(row.1)).contains(&offset))
}

/// Name of the device's own field at `at`, for a trace.
pub fn device_name(at: u32) -> Option<String> {
    let field = DEVICE.iter().find(|field| (field.0..field.0 + u32::from(field.1)).contains(&at));
    field.map(|field| format!("net.{}", field.2))
}

/// A capability of the vendor's (§4.1.4): type, BAR, offset in it, bytes, and for
/// notifications the step.
fn capability(kind: u8, bar: u8, offset: u32, len: u32, step: Option<u32>) -> Vec<u8> {
    let bytes = if step.is_some() { 20 } else { 16 };
    let mut capability = vec![0x09, 0, bytes, kind, bar, 0, 0, 0];
    capability.extend_from_slice(&offset.to_le_bytes());
    capability.extend_from_slice(&len.to_le_bytes());
    capability.extend(step.map(u32::to_le_bytes).into_iter().flatten());
    capability
}

/// Where the structures are, for configuration space. `port`: a driver may notify through
/// a port as well, in an I/O BAR that not everybody can reach (§4.1.4.4).
pub fn capabilities(port: bool) -> Vec<Vec<u8>> {
    let mut capabilities = vec![
        capability(1, 0, COMMON_AT, COMMON_LEN, None),
        capability(3, 0, ISR_AT, 1, None),
        capability(4, 0, DEVICE_AT, DEVICE_LEN, None),
        capability(2, 0, NOTIFY_AT, 0x1000, Some(NOTIFY_STEP)),
    ];
    if port {
        const PORTS: u8 = 2;
        capabilities.insert(3, capability(2, PORTS, 0, 4, Some(0)));
    }
    capabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_fill_the_structure_without_a_gap() {
        let mut at = 0;
        for (offset, bytes, name, _) in COMMON {
            assert_eq!(*offset, at, "{name}");
            at += u32::from(*bytes);
        }
        assert_eq!(at, COMMON_LEN);
    }
}
