//! What device and driver agree on (VIRTIO 1.2 §2.2, §5.1.3, §6).

use crate::driver::config::Config;

/// A set of features, by bit number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u64);

/// The device completes transport checksums.
pub const CSUM: u8 = 0;
/// The device tells the longest packet that its network takes.
pub const MTU: u8 = 3;
/// The device has an address.
pub const MAC: u8 = 5;
/// A frame may fill several receive buffers.
pub const MRG_RXBUF: u8 = 15;
/// The device tells of its link.
pub const STATUS: u8 = 16;
/// There is a control queue.
pub const CTRL_VQ: u8 = 17;
/// It takes receive modes.
pub const CTRL_RX: u8 = 18;
/// There may be several pairs of queues.
pub const MQ: u8 = 22;
/// The control queue takes an address.
pub const CTRL_MAC_ADDR: u8 = 23;
/// Of a legacy device: the header of a frame may share its descriptor.
pub const ANY_LAYOUT: u8 = 27;
/// Notifications and interrupts by index.
pub const EVENT_IDX: u8 = 29;
/// VIRTIO 1.0 or later.
pub const VERSION_1: u8 = 32;
/// Addresses are those of the platform's IOMMU.
pub const ACCESS_PLATFORM: u8 = 33;
/// Packed rings.
pub const RING_PACKED: u8 = 34;
/// Memory is ordered as the platform orders it: what our barriers do anyway.
pub const ORDER_PLATFORM: u8 = 36;
/// A notification carries the next index.
pub const NOTIFICATION_DATA: u8 = 38;
/// The device tells the speed of its link.
pub const SPEED_DUPLEX: u8 = 63;

impl Features {
    /// Whether `bit` is among them.
    pub fn has(self, bit: u8) -> bool {
        self.0 >> bit & 1 != 0
    }

    /// What this driver takes of what a device `offers`.
    ///
    /// Not taken: receive offloads (GUEST_CSUM, GUEST_TSO: a frame is received
    /// as it would be on a wire, its checksums complete), IN_ORDER (each
    /// completion names its buffer, so that it can be checked), and mergeable
    /// buffers where one holds the longest frame: their count would have to be
    /// read from every packet. Nor what a legacy device may have besides:
    /// NOTIFY_ON_EMPTY, as nobody waits for it.
    pub fn taken(offers: Features, config: &Config, one_buffer: u16) -> Features {
        let always = [
            CSUM,
            MTU,
            MAC,
            STATUS,
            CTRL_VQ,
            CTRL_RX,
            CTRL_MAC_ADDR,
            EVENT_IDX,
            VERSION_1,
            ACCESS_PLATFORM,
            RING_PACKED,
            ORDER_PLATFORM,
            NOTIFICATION_DATA,
            SPEED_DUPLEX,
        ];
        let mut wanted = always.iter().fold(0, |set, bit| set | 1 << bit);
        if config.max_frame > one_buffer {
            wanted |= 1 << MRG_RXBUF;
        }
        if config.rx_queues.max(config.tx_queues) > 1 {
            wanted |= 1 << MQ;
        }
        if !offers.has(VERSION_1) {
            wanted |= 1 << ANY_LAYOUT; // a matter of course later
        }
        let mut taken = offers.0 & wanted;
        if taken >> CTRL_VQ & 1 == 0 {
            // These need the queue (§5.1.3.1).
            taken &= !(1 << CTRL_RX | 1 << MQ | 1 << CTRL_MAC_ADDR);
        }
        Features(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_offered_is_not_taken_nor_what_needs_it() {
        let config = Config { rx_queues: 2, max_frame: 9000, ..Config::default() };
        let all = Features::taken(Features(u64::MAX), &config, 2028);
        assert!(all.has(MQ) && all.has(MRG_RXBUF) && all.has(RING_PACKED));
        assert!(!all.has(1) && !all.has(35) && !all.has(62), "GUEST_CSUM, IN_ORDER, STANDBY");
        let without_queue = Features::taken(Features(!(1 << CTRL_VQ)), &config, 2028);
        assert!(!without_queue.has(MQ) && !without_queue.has(CTRL_RX) && !without_queue.has(CTRL_MAC_ADDR));
        assert_eq!(Features::taken(Features(1 << 1), &config, 2028), Features(0));
        let short = Features::taken(Features(u64::MAX), &Config::default(), 2028);
        assert!(!short.has(MRG_RXBUF) && !short.has(MQ));
        let legacy = Features::taken(Features(0x79bf_8064), &Config::default(), 2028);
        assert!(legacy.has(ANY_LAYOUT) && !legacy.has(24), "NOTIFY_ON_EMPTY");
        assert!(!short.has(ANY_LAYOUT));
    }
}
