//! What the board is, who drives it, and what its firmware can do.

use super::super::super::FaultKind;
use super::super::bytes::{put, reply, u32_at};
use super::super::{Ef10, Kind};
use super::errno::{EALREADY, EINVAL, ENOENT, EPERM};
use super::{Answer, No};

/// What is said of the function when a driver attaches: primary of its port,
/// controls the link, trusted; of one of several, that it is trusted.
const FUNCTION_FLAGS: u32 = 7;
const PARTITION_FLAGS: u32 = 4;

/// Firmware that a driver asks for if it takes any.
const DONT_CARE: u32 = 0xffff_ffff;

/// Workarounds, by the number of the bug's command type.
const BUG35388: u32 = 2;

/// The only privileges that a driver asks for by name.
const PRIVILEGES: u32 = 0x7ff;

/// EVB_PORT_ID_ASSIGNED: the port that the function was given.
const ASSIGNED: u32 = 0x0100_0000;

/// GET_CAPABILITIES, first flags.
const SET_MAC_ENHANCED: u32 = 1 << 9;
const ADDITIONAL_RSS_MODES: u32 = 1 << 13;
const INCLUDE_FCS: u32 = 1 << 18;
const TX_VLAN_INSERT: u32 = 1 << 19;
const PREFIX_LEN_0: u32 = 1 << 22;
const PREFIX_LEN_14: u32 = 1 << 23;
const RX_TIMESTAMP: u32 = 1 << 24;
const RX_BATCHING: u32 = 1 << 25;
const MCAST_FILTER_CHAINING: u32 = 1 << 26;
const DISABLE_SCATTER: u32 = 1 << 28;
/// Second flags.
const TSO_V2: u32 = 1;
const EVENT_CUT_THROUGH: u32 = 1 << 3;
const INIT_EVQ_V2: u32 = 1 << 7;
const TX_MAC_TIMESTAMPING: u32 = 1 << 8;
const CTPIO: u32 = 1 << 15;
/// Firmware of the receive side: that for packed streams (0 is that for all purposes).
const PACKED_STREAM: u8 = 2;
/// LICENSED_FEATURES: transmit stamps.
const TX_TIMESTAMPS: u64 = 1 << 5;

pub fn boot_status(_: &mut Ef10, _: &[u8]) -> Answer {
    const PRIMARY: u32 = 2;
    Ok(reply(8, &[(4, PRIMARY)]))
}

/// GET_ASSERTS: what has failed, where, and in which thread; forgotten if that is asked for.
pub fn asserts(card: &mut Ef10, input: &[u8]) -> Answer {
    const NO_FAILS: u32 = 1;
    const THREAD_FAILED: u32 = 3;
    if !card.asserted.noted {
        return Ok(reply(0x8c, &[(0, NO_FAILS)]));
    }
    card.asserted.noted = u32_at(input, 0) == 0;
    Ok(reply(0x8c, &[(0, THREAD_FAILED), (4, 0x0010_2030), (0x84, 5)]))
}

pub fn log_control(card: &mut Ef10, input: &[u8]) -> Answer {
    const EVENT_QUEUE: u32 = 2;
    card.mc.log = (u32_at(input, 0) & EVENT_QUEUE != 0).then(|| u32_at(input, 4) as u16);
    Ok(Vec::new())
}

pub fn version(_: &mut Ef10, _: &[u8]) -> Answer {
    Ok(reply(0x20, &[(0, 1), (4, 1), (0x18, 8 << 16 | 1), (0x1c, 1)]))
}

pub fn board_config(card: &mut Ef10, _: &[u8]) -> Answer {
    let mut bytes = reply(0x60, &[(0x38, 1), (0x40, 1)]);
    put(&mut bytes, 4, card.board.profile.name.as_bytes());
    put(&mut bytes, 0x2c, &card.board.factory);
    Ok(bytes)
}

/// DRV_ATTACH: who drives the function, and with what firmware.
pub fn attach(card: &mut Ef10, input: &[u8]) -> Answer {
    let (state, update) = (u32_at(input, 0), u32_at(input, 4));
    // The first function of the port has chosen.
    let partition = card.board.faulty(FaultKind::Npar);
    if partition && u32_at(input, 8) != DONT_CARE {
        return Err(No::Code(EPERM));
    }
    let old = u32::from(card.mc.attached);
    if update != 0 {
        const ATTACH: u32 = 1;
        const PREBOOT: u32 = 2;
        card.mc.attached = state & (ATTACH | PREBOOT) != 0;
        card.mc.boot_rom = state & PREBOOT != 0;
    }
    Ok(reply(8, &[(0, old), (4, if partition { PARTITION_FLAGS } else { FUNCTION_FLAGS })]))
}

pub fn entity_reset(card: &mut Ef10, _: &[u8]) -> Answer {
    card.drop_resources();
    Ok(Vec::new())
}

/// REBOOT: unconditionally, or only if the firmware has failed and still waits.
pub fn reboot(card: &mut Ef10, input: &[u8]) -> Answer {
    const AFTER_ASSERTION: u32 = 1;
    if u32_at(input, 0) & AFTER_ASSERTION != 0 && !card.asserted.waits {
        return Ok(Vec::new());
    }
    card.restart_firmware();
    Err(No::Rebooted)
}

/// Tests of the controller's memory and registers, which take the whole card down:
/// no function of this one may ask for them, as there is nothing that could fail.
pub fn offline_tests(_: &mut Ef10, _: &[u8]) -> Answer {
    Err(No::Code(EPERM))
}

/// No sensors on the first page, and no further pages.
pub fn sensors(_: &mut Ef10, _: &[u8]) -> Answer {
    Ok(reply(4, &[]))
}

pub fn workarounds(card: &mut Ef10, _: &[u8]) -> Answer {
    let implemented = if card.kind.huntington() { 1 << BUG35388 } else { 0 };
    let enabled = if card.mc.bug35388 { 1 << BUG35388 } else { 0 };
    Ok(reply(8, &[(0, implemented), (4, enabled)]))
}

pub fn workaround(card: &mut Ef10, input: &[u8]) -> Answer {
    if u32_at(input, 0) != BUG35388 || !card.kind.huntington() {
        return Err(No::Code(ENOENT));
    }
    if card.board.faulty(FaultKind::Npar) {
        return Err(No::Code(EPERM));
    }
    card.mc.bug35388 = u32_at(input, 4) != 0;
    Ok(reply(4, &[]))
}

/// Parts of the non-volatile memory: firmware, its backup, settings that stay, settings that
/// change, and the map of all.
const PARTITIONS: [u32; 5] = [0x100, BACKUP, 0x400, DYNAMIC_CONFIG, PARTITION_MAP];
const BACKUP: u32 = 0x101;
const DYNAMIC_CONFIG: u32 = 0x500;
const PARTITION_MAP: u32 = 0xffff;

/// The first three as they were named before, a bit each.
const TYPES: u32 = 1 << 1 | 1 << OLD_BACKUP | 1 << 3;
const OLD_BACKUP: u32 = 2;

/// NVRAM_TYPES.
pub fn types(_: &mut Ef10, _: &[u8]) -> Answer {
    Ok(reply(4, &[(0, TYPES)]))
}

/// NVRAM_PARTITIONS.
pub fn partitions(_: &mut Ef10, _: &[u8]) -> Answer {
    let mut bytes = reply(4 + 4 * PARTITIONS.len(), &[(0, PARTITIONS.len() as u32)]);
    for (n, partition) in PARTITIONS.iter().enumerate() {
        put(&mut bytes, 4 + 4 * n, &partition.to_le_bytes());
    }
    Ok(bytes)
}

/// NVRAM_INFO: none of them is one that a driver could write.
pub fn partition(_: &mut Ef10, input: &[u8]) -> Answer {
    const PROTECTED: u32 = 1;
    const SIZE: u32 = 256 << 10;
    let kind = u32_at(input, 0);
    if !PARTITIONS.contains(&kind) {
        return Err(No::Code(ENOENT));
    }
    Ok(reply(0x1c, &[(0, kind), (4, SIZE), (8, 4096), (0xc, PROTECTED), (0x18, 1)]))
}

/// NVRAM_TEST: whether a part is whole. Those that firmware writes while it runs cannot be
/// tested; drivers leave them out (Linux efx_new_mcdi_nvram_test_all).
pub fn test_part(card: &mut Ef10, input: &[u8]) -> Answer {
    const PASS: u32 = 0;
    const FAIL: u32 = 1;
    let part = u32_at(input, 0);
    let result = match part {
        DYNAMIC_CONFIG | PARTITION_MAP => return Err(No::Code(EINVAL)),
        BACKUP | OLD_BACKUP if card.board.faulty(FaultKind::Nvm) => FAIL,
        ..32 if TYPES >> part & 1 != 0 => PASS,
        _ if PARTITIONS.contains(&part) => PASS,
        _ => return Err(No::Code(ENOENT)),
    };
    Ok(reply(4, &[(0, result)]))
}

pub fn addresses(card: &mut Ef10, _: &[u8]) -> Answer {
    let mut bytes = reply(0x10, &[(8, 1), (0xc, 1)]);
    put(&mut bytes, 0, &card.board.factory);
    Ok(bytes)
}

pub fn vport_addresses(card: &mut Ef10, _: &[u8]) -> Answer {
    let mut bytes = reply(10, &[(0, 1)]);
    put(&mut bytes, 4, &card.board.factory);
    Ok(bytes)
}

pub fn privileges(_: &mut Ef10, _: &[u8]) -> Answer {
    Ok(reply(4, &[(0, PRIVILEGES)]))
}

pub fn vadaptor_alloc(card: &mut Ef10, input: &[u8]) -> Answer {
    if u32_at(input, 0) != ASSIGNED {
        card.board.violations.note("VADAPTOR_ALLOC on a port that the function does not have");
        return Err(No::Code(ENOENT));
    }
    card.mc.vadaptor = true;
    Ok(Vec::new())
}

pub fn vadaptor_free(card: &mut Ef10, _: &[u8]) -> Answer {
    if std::mem::take(&mut card.mc.vadaptor) { Ok(Vec::new()) } else { Err(No::Code(EALREADY)) }
}

pub fn vadaptor_set_mac(_: &mut Ef10, _: &[u8]) -> Answer {
    Ok(Vec::new())
}

pub fn vadaptor_query(card: &mut Ef10, _: &[u8]) -> Answer {
    if card.mc.vadaptor { Ok(reply(12, &[])) } else { Err(No::Code(ENOENT)) }
}

/// Megahertz of the system's and of the datapath's clock.
pub fn clock(_: &mut Ef10, _: &[u8]) -> Answer {
    Ok(reply(8, &[(0, 800), (4, 800)]))
}

pub fn functions(_: &mut Ef10, _: &[u8]) -> Answer {
    Ok(vec![1])
}

pub fn port_assignment(_: &mut Ef10, _: &[u8]) -> Answer {
    Ok(reply(4, &[]))
}

pub fn vectors(card: &mut Ef10, _: &[u8]) -> Answer {
    Ok(reply(12, &[(4, u32::from(card.board.profile.vectors))]))
}

/// How far past a frame its buffer may be written: 64 bytes' boundary.
pub fn rxdp_config(_: &mut Ef10, _: &[u8]) -> Answer {
    Ok(reply(4, &[(0, 1)]))
}

pub fn licences(_: &mut Ef10, _: &[u8]) -> Answer {
    let mut bytes = reply(0x58, &[(0, 1), (0x10, 1)]);
    put(&mut bytes, 0x38, &TX_TIMESTAMPS.to_le_bytes());
    Ok(bytes)
}

/// A physical function has no virtual one's number: all ones.
pub fn function_info(_: &mut Ef10, _: &[u8]) -> Answer {
    Ok(reply(8, &[(4, 0xffff)]))
}

/// Bus addresses are used as they are.
pub fn addressing(_: &mut Ef10, _: &[u8]) -> Answer {
    Ok(reply(4, &[]))
}

/// GET_CAPABILITIES, in its fourth version.
pub fn capabilities(card: &mut Ef10, _: &[u8]) -> Answer {
    let first = SET_MAC_ENHANCED
        | ADDITIONAL_RSS_MODES
        | INCLUDE_FCS
        | TX_VLAN_INSERT
        | PREFIX_LEN_0
        | PREFIX_LEN_14
        | RX_TIMESTAMP
        | RX_BATCHING
        | MCAST_FILTER_CHAINING
        | DISABLE_SCATTER;
    let second = match card.kind {
        Kind::Sfc9120 | Kind::Sfc9140 => TSO_V2 | TX_MAC_TIMESTAMPING,
        Kind::Sfc9220 => TSO_V2 | INIT_EVQ_V2 | TX_MAC_TIMESTAMPING,
        Kind::X2522 => TSO_V2 | EVENT_CUT_THROUGH | INIT_EVQ_V2 | TX_MAC_TIMESTAMPING | CTPIO,
    };
    let mut bytes = reply(0x4e, &[(0, first), (0x14, second)]);
    if card.board.faulty(FaultKind::PackedStream) {
        bytes[4] = PACKED_STREAM;
    }
    put(&mut bytes, 0x18, &super::super::TSO_CONTEXTS.to_le_bytes());
    // This function is on port 0, no other is there.
    bytes[0x1a..0x2a].fill(0xff);
    bytes[0x1a] = 0;
    put(&mut bytes, 0x44, &(card.pio.len() as u16).to_le_bytes());
    put(&mut bytes, 0x46, &(super::super::pio::SIZE as u16).to_le_bytes());
    bytes[0x48] = card.kind.window_mode();
    put(&mut bytes, 0x4c, &(card.stats.count() as u16).to_le_bytes());
    Ok(bytes)
}
