//! Commands of the management controller: their layouts, as a table.
//!
//! Offsets, lengths and names are those of the controller's own interface
//! description (MCDI), which the vendor publishes with its drivers. Only commands
//! that this driver gives are here; [`commands!`] says how a line is read.

#[cfg(test)]
use crate::driver::mailbox::Field;
use crate::driver::mailbox::commands;

commands! {
    Little;

    /// Whether the firmware has failed, and how; all but FLAGS is there only if it has.
    get_asserts GET_ASSERTS 0x06
        in 0x04 { CLEAR 0x00/4 }
        out 0x04 { FLAGS 0x00/4 }

    /// Starts the firmware anew.
    reboot REBOOT 0x3d
        in 0x04 { FLAGS 0x00/4 }
        out 0x00 {}

    /// Takes the function, or gives it up.
    drv_attach DRV_ATTACH 0x1c
        in 0x0c { NEW_STATE 0x00/4  UPDATE 0x04/4  FIRMWARE_ID 0x08/4 }
        out 0x08 { OLD_STATE 0x00/4  FUNC_FLAGS 0x04/4 }

    /// Drops every queue, filter and context that the function has.
    entity_reset ENTITY_RESET 0x20
        in 0x04 { FLAG 0x00/4 }
        out 0x00 {}

    /// What medium there is, and which speeds.
    get_phy_cfg GET_PHY_CFG 0x24
        in 0x00 {}
        out 0x48 { FLAGS 0x00/4  SUPPORTED_CAP 0x08/4  MEDIA_TYPE 0x2c/4 }

    /// Where a frame can be turned round, a mask a speed.
    get_loopback_modes GET_LOOPBACK_MODES 0x28
        in 0x00 {}
        out 0x28 { SUGGESTED 0x18/8 }

    /// State of the link.
    get_link GET_LINK 0x29
        in 0x00 {}
        out 0x1c { LINK_SPEED 0x08/4  FLAGS 0x10/4 }

    /// Which link is wanted.
    set_link SET_LINK 0x2a
        in 0x10 { CAP 0x00/4  FLAGS 0x04/4  LOOPBACK_MODE 0x08/4  LOOPBACK_SPEED 0x0c/4 }
        out 0x00 {}

    /// What the MAC lets through.
    set_mac SET_MAC 0x2c
        in 0x1c { MTU 0x00/4  DRAIN 0x04/4  ADDR 0x08/8  REJECT 0x10/4  FCNTL 0x14/4  FLAGS 0x18/4 }
        out 0x00 {}

    /// Writes the MAC's counters to memory.
    mac_stats MAC_STATS 0x2e
        in 0x14 { DMA_ADDR 0x00/8  CMD 0x08/4  DMA_LEN 0x0c/4  PORT_ID 0x10/4 }
        out 0x00 {}

    /// Reads a page of the module's memory.
    get_phy_media_info GET_PHY_MEDIA_INFO 0x4b
        in 0x04 { PAGE 0x00/4 }
        out 0x04 { DATALEN 0x00/4  DATA 0x04/128 }

    /// Parts of the non-volatile memory.
    nvram_partitions NVRAM_PARTITIONS 0x51
        in 0x00 {}
        out 0x04 { NUM_PARTITIONS 0x00/4  TYPE_ID 0x04/248 }

    /// Whether a part of the non-volatile memory is whole.
    nvram_test NVRAM_TEST 0x4c
        in 0x04 { TYPE 0x00/4 }
        out 0x04 { RESULT 0x00/4 }

    /// The function's addresses.
    get_mac_addresses GET_MAC_ADDRESSES 0x55
        in 0x00 {}
        out 0x10 { MAC_ADDR_BASE 0x00/6 }

    /// Lets the firmware work around a fault of the silicon.
    workaround WORKAROUND 0x4a
        in 0x08 { TYPE 0x00/4  ENABLED 0x04/4 }
        out 0x00 {}

    /// Which workarounds there are, a bit each.
    get_workarounds GET_WORKAROUNDS 0x59
        in 0x00 {}
        out 0x08 { IMPLEMENTED 0x00/4  ENABLED 0x04/4 }

    /// Changes the address of the function's adaptor.
    vadaptor_set_mac VADAPTOR_SET_MAC 0x5d
        in 0x0a { UPSTREAM_PORT_ID 0x00/4  MACADDR 0x04/6 }
        out 0x00 {}

    /// Starts an event queue. TARGET: its vector, or the event queue that is woken in its place.
    init_evq INIT_EVQ 0x80
        in 0x24 { SIZE 0x00/4  INSTANCE 0x04/4  FLAGS 0x10/4  TARGET 0x18/4 }
        out 0x04 { IRQ 0x00/4  FLAGS 0x04/4 }

    /// Starts a receive queue.
    init_rxq INIT_RXQ 0x81
        in 0x1c { SIZE 0x00/4  TARGET_EVQ 0x04/4  LABEL 0x08/4  INSTANCE 0x0c/4  FLAGS 0x10/4  PORT_ID 0x18/4 }
        out 0x00 {}

    /// Starts a transmit queue.
    init_txq INIT_TXQ 0x82
        in 0x1c { SIZE 0x00/4  TARGET_EVQ 0x04/4  LABEL 0x08/4  INSTANCE 0x0c/4  FLAGS 0x10/4  PORT_ID 0x18/4 }
        out 0x00 {}

    /// Stops an event queue.
    fini_evq FINI_EVQ 0x83
        in 0x04 { INSTANCE 0x00/4 }
        out 0x00 {}

    /// Stops a receive queue; an event says when it is flushed.
    fini_rxq FINI_RXQ 0x84
        in 0x04 { INSTANCE 0x00/4 }
        out 0x00 {}

    /// Stops a transmit queue; an event says when it is flushed.
    fini_txq FINI_TXQ 0x85
        in 0x04 { INSTANCE 0x00/4 }
        out 0x00 {}

    /// Inserts or removes a filter. Match values are in network order.
    filter_op FILTER_OP 0x8a
        in 0x6c {
            OP 0x00/4  HANDLE 0x04/8  PORT_ID 0x0c/4  MATCH_FIELDS 0x10/4
            RX_DEST 0x14/4  RX_QUEUE 0x18/4  RX_MODE 0x1c/4  RX_CONTEXT 0x20/4
            TX_DOMAIN 0x24/4  TX_DEST 0x28/4
            SRC_PORT 0x32/2  DST_MAC 0x34/6  DST_PORT 0x3a/2  ETHER_TYPE 0x3c/2  IP_PROTO 0x42/2
            SRC_IP 0x4c/16  DST_IP 0x5c/16
        }
        out 0x0c { OP 0x00/4  HANDLE 0x04/8 }

    /// Gives the function virtual interfaces: each an event, a receive and a transmit queue.
    alloc_vis ALLOC_VIS 0x8b
        in 0x08 { MIN_VI_COUNT 0x00/4  MAX_VI_COUNT 0x04/4 }
        out 0x08 { VI_COUNT 0x00/4  VI_BASE 0x04/4 }

    /// Takes them back.
    free_vis FREE_VIS 0x8c
        in 0x00 {}
        out 0x00 {}

    /// Gives the function a buffer on the card for programmed input and output.
    alloc_piobuf ALLOC_PIOBUF 0x8f
        in 0x00 {}
        out 0x04 { PIOBUF_HANDLE 0x00/4 }

    /// Takes it back.
    free_piobuf FREE_PIOBUF 0x90
        in 0x04 { PIOBUF_HANDLE 0x00/4 }
        out 0x00 {}

    /// Shows the buffer in a queue's window.
    link_piobuf LINK_PIOBUF 0x92
        in 0x08 { PIOBUF_HANDLE 0x00/4  TXQ_INSTANCE 0x04/4 }
        out 0x00 {}

    /// Takes it out of the window.
    unlink_piobuf UNLINK_PIOBUF 0x93
        in 0x04 { TXQ_INSTANCE 0x00/4 }
        out 0x00 {}

    /// Connects the function to its port.
    vadaptor_alloc VADAPTOR_ALLOC 0x98
        in 0x1e { UPSTREAM_PORT_ID 0x00/4  FLAGS 0x08/4  NUM_VLANS 0x0c/4  NUM_VLAN_TAGS 0x10/4  VLAN_TAGS 0x14/4  MACADDR 0x18/6 }
        out 0x00 {}

    /// Disconnects it.
    vadaptor_free VADAPTOR_FREE 0x99
        in 0x04 { UPSTREAM_PORT_ID 0x00/4 }
        out 0x00 {}

    /// Makes a context for spreading flows over queues.
    rss_context_alloc RSS_CONTEXT_ALLOC 0x9e
        in 0x0c { UPSTREAM_PORT_ID 0x00/4  TYPE 0x04/4  NUM_QUEUES 0x08/4 }
        out 0x04 { RSS_CONTEXT_ID 0x00/4 }

    /// Frees it.
    rss_context_free RSS_CONTEXT_FREE 0x9f
        in 0x04 { RSS_CONTEXT_ID 0x00/4 }
        out 0x00 {}

    /// Its Toeplitz key.
    rss_context_set_key RSS_CONTEXT_SET_KEY 0xa0
        in 0x2c { RSS_CONTEXT_ID 0x00/4  TOEPLITZ_KEY 0x04/40 }
        out 0x00 {}

    /// Its table: hash to queue.
    rss_context_set_table RSS_CONTEXT_SET_TABLE 0xa2
        in 0x84 { RSS_CONTEXT_ID 0x00/4  INDIRECTION_TABLE 0x04/128 }
        out 0x00 {}

    /// Which fields it hashes.
    rss_context_set_flags RSS_CONTEXT_SET_FLAGS 0xe1
        in 0x08 { RSS_CONTEXT_ID 0x00/4  FLAGS 0x04/4 }
        out 0x00 {}

    /// What firmware and silicon can do.
    get_capabilities GET_CAPABILITIES 0xbe
        in 0x00 {}
        out 0x14 {
            FLAGS1 0x00/4  RX_FIRMWARE 0x04/2  FLAGS2 0x14/4  NUM_PIO_BUFFS 0x44/2  SIZE_PIO_BUFF 0x46/2
            VI_WINDOW_MODE 0x48/1  MAC_STATS_NUM_STATS 0x4c/2
        }

    /// Which combinations of fields filters can match.
    get_parser_disp_info GET_PARSER_DISP_INFO 0xe4
        in 0x04 { OP 0x00/4 }
        out 0x08 { NUM_SUPPORTED_MATCHES 0x04/4  SUPPORTED_MATCHES 0x08/244 }

    /// Format of the card's timestamps.
    ptp_get_attributes PTP 0x0b
        in 0x08 { OP 0x00/4  PERIPH_ID 0x04/4 }
        out 0x04 { TIME_FORMAT 0x00/4 }

    /// What to add to them.
    ptp_get_corrections PTP 0x0b
        in 0x08 { OP 0x00/4  PERIPH_ID 0x04/4 }
        out 0x08 { PTP_TX 0x00/4  PTP_RX 0x04/4  GENERAL_TX 0x10/4  GENERAL_RX 0x14/4 }

    /// The card's time.
    ptp_read_time PTP 0x0b
        in 0x08 { OP 0x00/4  PERIPH_ID 0x04/4 }
        out 0x08 { MAJOR 0x00/4  MINOR 0x04/4 }

    /// Has events with the time put into an event queue.
    ptp_subscribe PTP 0x0b
        in 0x0c { OP 0x00/4  PERIPH_ID 0x04/4  QUEUE 0x08/4 }
        out 0x00 {}

    /// Ends that, for one queue or all.
    ptp_unsubscribe PTP 0x0b
        in 0x10 { OP 0x00/4  PERIPH_ID 0x04/4  CONTROL 0x08/4  QUEUE 0x0c/4 }
        out 0x00 {}
}

/// Ports and adaptors: that which the function is assigned to.
pub const EVB_PORT_ID_ASSIGNED: u64 = 0x0100_0000;

/// What a driver says of itself, and may do.
pub mod attach {
    /// There is a driver.
    pub const ATTACH: u64 = 1 << 0;
    /// Firmware for the lowest latency.
    pub const LOW_LATENCY: u64 = 1;
    /// Whichever firmware runs.
    pub const DONT_CARE: u64 = 0xffff_ffff;
    /// The function has no port of its own.
    pub const NO_ACTIVE_PORT: u64 = 1 << 3;
}

/// Failures of the firmware.
pub mod asserts {
    /// There was none (GET_ASSERTS).
    pub const NO_FAILS: u64 = 1;
    /// Only if there was one, and it was not started anew since (REBOOT).
    pub const AFTER_ASSERTION: u64 = 1 << 0;
}

/// Operations of PTP.
pub mod ptp {
    /// The time.
    pub const READ_NIC_TIME: u64 = 0x04;
    /// Format.
    pub const GET_ATTRIBUTES: u64 = 0x16;
    /// Corrections.
    pub const GET_TIMESTAMP_CORRECTIONS: u64 = 0x17;
    /// Time events on.
    pub const TIME_EVENT_SUBSCRIBE: u64 = 0x18;
    /// Time events off.
    pub const TIME_EVENT_UNSUBSCRIBE: u64 = 0x19;
}

/// Answers that refuse (error codes).
pub mod refusal {
    /// Not permitted, or not licensed.
    pub const EPERM: u32 = 0x1;
    /// There is none such.
    pub const ENOENT: u32 = 0x2;
    /// Interrupted.
    pub const EINTR: u32 = 0x4;
    /// It failed.
    pub const EIO: u32 = 0x5;
    /// Try again.
    pub const EAGAIN: u32 = 0xb;
    /// Not for this function.
    pub const EACCES: u32 = 0xd;
    /// There is no more of it.
    pub const ENOSPC: u32 = 0x1c;
    /// Not as others have it.
    pub const ERANGE: u32 = 0x22;
    /// Not known to this firmware.
    pub const ENOSYS: u32 = 0x26;
    /// Not supported.
    pub const ENOTSUP: u32 = 0x5f;
    /// It is so already.
    pub const EALREADY: u32 = 0x72;
    /// The function has no privilege for it.
    pub const NO_PRIVILEGE: u32 = 0x1013;

    /// Name of a code.
    pub fn name(code: u32) -> &'static str {
        match code {
            EPERM => "EPERM",
            ENOENT => "ENOENT",
            EINTR => "EINTR",
            EIO => "EIO",
            0x6 => "EEXIST",
            EAGAIN => "EAGAIN",
            0xc => "ENOMEM",
            EACCES => "EACCES",
            0x10 => "EBUSY",
            0x13 => "ENODEV",
            0x16 => "EINVAL",
            ENOSPC => "ENOSPC",
            ERANGE => "ERANGE",
            ENOSYS => "ENOSYS",
            0x3e => "ETIME",
            ENOTSUP => "ENOTSUP",
            EALREADY => "EALREADY",
            0x1000 => "ALLOC_FAIL",
            0x1001 => "NO_VADAPTOR",
            0x1009 => "MAC_EXIST",
            0x1010 => "PROXY_PENDING",
            NO_PRIVILEGE => "NO_PRIVILEGE",
            0x1014 => "FILTERS_PRESENT",
            0x101a => "VIS_PRESENT",
            0x101b => "PIOBUFS_PRESENT",
            _ => "an unknown error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_request_lies_within_it() {
        let end = |fields: &[Field]| fields.iter().map(|field| field.offset + field.bytes).max().unwrap_or(0);
        for (command, input, output) in TABLE {
            assert!(end(input) <= command.input, "{}", command.name);
            assert!(end(output) <= 0x400 && command.output <= 0x400 && command.input <= 0x400, "{}", command.name);
        }
    }
}
