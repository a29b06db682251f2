//! Feature bits (§5.1.3, §6): what the device offers, and what goes only together.

pub const CSUM: u64 = 1 << 0;
pub const GUEST_CSUM: u64 = 1 << 1;
pub const MTU: u64 = 1 << 3;
pub const MAC: u64 = 1 << 5;
pub const HOST_TSO4: u64 = 1 << 11;
pub const HOST_TSO6: u64 = 1 << 12;
pub const MRG_RXBUF: u64 = 1 << 15;
pub const STATUS: u64 = 1 << 16;
pub const CTRL_VQ: u64 = 1 << 17;
pub const CTRL_RX: u64 = 1 << 18;
pub const CTRL_VLAN: u64 = 1 << 19;
pub const MQ: u64 = 1 << 22;
pub const CTRL_MAC_ADDR: u64 = 1 << 23;
/// Legacy: a device that has used all buffers interrupts, though interrupts are suppressed (§6.3).
pub const NOTIFY_ON_EMPTY: u64 = 1 << 24;
/// Legacy: a header may share a descriptor with what follows it.
pub const ANY_LAYOUT: u64 = 1 << 27;
/// Legacy: taken by drivers alone that take whatever is offered (QEMU `virtio-pci.c`).
pub const BAD_FEATURE: u64 = 1 << 30;
pub const INDIRECT_DESC: u64 = 1 << 28;
pub const EVENT_IDX: u64 = 1 << 29;
pub const VERSION_1: u64 = 1 << 32;
pub const ACCESS_PLATFORM: u64 = 1 << 33;
pub const RING_PACKED: u64 = 1 << 34;
pub const ORDER_PLATFORM: u64 = 1 << 36;
pub const NOTIFICATION_DATA: u64 = 1 << 38;
pub const SPEED_DUPLEX: u64 = 1 << 63;

pub const OFFERED: u64 = CSUM
    | GUEST_CSUM
    | MAC
    | HOST_TSO4
    | HOST_TSO6
    | MRG_RXBUF
    | STATUS
    | CTRL_VQ
    | CTRL_RX
    | MQ
    | CTRL_MAC_ADDR
    | INDIRECT_DESC
    | EVENT_IDX
    | VERSION_1
    | ACCESS_PLATFORM
    | ORDER_PLATFORM
    | NOTIFICATION_DATA
    | SPEED_DUPLEX;

/// What cannot be had without a control queue.
pub const OF_CONTROL: u64 = CTRL_VQ | CTRL_RX | CTRL_VLAN | CTRL_MAC_ADDR | MQ;

/// What QEMU offers through the legacy interface before a kernel's tap. Left out: what the
/// driver would have to receive in one piece (GUEST_TSO), and GSO, ECN and UFO.
pub const LEGACY: u64 = CSUM
    | GUEST_CSUM
    | MAC
    | HOST_TSO4
    | HOST_TSO6
    | MRG_RXBUF
    | STATUS
    | CTRL_VQ
    | CTRL_RX
    | CTRL_VLAN
    | CTRL_MAC_ADDR
    | NOTIFY_ON_EMPTY
    | ANY_LAYOUT
    | INDIRECT_DESC
    | EVENT_IDX
    | BAD_FEATURE;

/// What is left of the features where a driver takes the bad one, too.
pub const OF_BAD_DRIVERS: u64 = MAC | CSUM | HOST_TSO4 | HOST_TSO6;

/// Features that a driver has to take where they are offered.
pub const NEEDED: u64 = VERSION_1 | ACCESS_PLATFORM;

/// Features, and those that each of them needs (§5.1.3.1).
pub const NEEDS: &[(u64, u64)] = &[
    (HOST_TSO4, CSUM),
    (HOST_TSO6, CSUM),
    (CTRL_RX, CTRL_VQ),
    (CTRL_VLAN, CTRL_VQ),
    (MQ, CTRL_VQ),
    (CTRL_MAC_ADDR, CTRL_VQ),
];
