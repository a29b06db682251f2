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
pub const MQ: u64 = 1 << 22;
pub const CTRL_MAC_ADDR: u64 = 1 << 23;
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

/// Features that a driver has to take where they are offered.
pub const NEEDED: u64 = VERSION_1 | ACCESS_PLATFORM;

/// Features, and those that each of them needs (§5.1.3.1).
pub const NEEDS: &[(u64, u64)] =
    &[(HOST_TSO4, CSUM), (HOST_TSO6, CSUM), (CTRL_RX, CTRL_VQ), (MQ, CTRL_VQ), (CTRL_MAC_ADDR, CTRL_VQ)];
