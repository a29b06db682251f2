//! PHY, link, MAC and statistics of the port.

use super::super::super::FaultKind;
use super::super::super::module::Module;
use super::super::bytes::{put, reply, u16_at, u32_at, u64_at};
use super::super::{Ef10, link};
use super::errno::{EINVAL, ENOENT, EPERM};
use super::{Answer, No};

pub fn phy_config(card: &mut Ef10, _: &[u8]) -> Answer {
    const PRESENT: u32 = 1;
    const SFP_PLUS: u32 = 5;
    const QSFP_PLUS: u32 = 7;
    let media = if wide(card) { QSFP_PLUS } else { SFP_PLUS };
    let supported = link::capabilities(card.board.profile.speed);
    let mut bytes = reply(0x48, &[(0, PRESENT), (4, 1), (8, supported), (0x2c, media)]);
    put(&mut bytes, 0x18, b"emulated");
    put(&mut bytes, 0x34, b"1");
    Ok(bytes)
}

pub fn phy_state(_: &mut Ef10, _: &[u8]) -> Answer {
    const OK: u32 = 1;
    Ok(reply(4, &[(0, OK)]))
}

/// GET_PHY_MEDIA_INFO: 128 bytes of the module's memory. An SFP28's are pages 0 and 1 of
/// what it is, 2 and 3 of its diagnostics; a QSFP28's lower half is page -1.
pub fn media(card: &mut Ef10, input: &[u8]) -> Answer {
    const BYTES: usize = 128;
    const LOWER: u32 = u32::MAX;
    let module = Module::of(&card.board, *b"Solarflare Comm.", [0x00, 0x0f, 0x53], wide(card));
    if card.board.faulty(FaultKind::NoModule) {
        return Err(No::Code(ENOENT));
    }
    let (slave, page, at) = match (module.wide, u32_at(input, 0)) {
        (true, LOWER) => (0xa0, 0, 0),
        (true, page @ 0..4) => (0xa0, page as u16, BYTES),
        (false, page @ (0 | 1)) => (0xa0, 0, BYTES * page as usize),
        (false, page @ (2 | 3)) => (0xa2, 0, BYTES * (page - 2) as usize),
        _ => return Err(No::Code(ENOENT)),
    };
    let memory: Vec<_> = (at..at + BYTES).filter_map(|at| module.byte(slave, page, at)).collect();
    let mut bytes = reply(4 + BYTES, &[(0, BYTES as u32)]);
    put(&mut bytes, 4, &memory);
    Ok(bytes)
}

/// Its cage takes a QSFP28.
fn wide(card: &Ef10) -> bool {
    card.board.profile.speed > 10_000_000_000
}

pub fn loopback_modes(_: &mut Ef10, _: &[u8]) -> Answer {
    let mask: u64 = 1 << link::LOOPBACK_NONE | 1 << link::LOOPBACK_DATA;
    let mut bytes = reply(0x28, &[]);
    for at in [0, 8, 0x10, 0x18, 0x20] {
        put(&mut bytes, at, &mask.to_le_bytes());
    }
    Ok(bytes)
}

pub fn link(card: &mut Ef10, _: &[u8]) -> Answer {
    let len = if card.kind.huntington() { 0x1c } else { 0x2c };
    let state = card.link_state();
    let mut bytes = reply(
        len,
        &[
            (0, state.capabilities),
            (4, state.partner),
            (8, state.megabits),
            (0xc, state.loopback),
            (0x10, state.flags),
            (0x14, state.flow),
        ],
    );
    if len > 0x1c {
        put(&mut bytes, 0x1c, &link::capabilities(card.board.profile.speed).to_le_bytes());
    }
    Ok(bytes)
}

pub fn set_link(card: &mut Ef10, input: &[u8]) -> Answer {
    if card.board.faulty(FaultKind::Npar) {
        return Err(No::Code(EPERM));
    }
    let (wanted, flags, loopback) = (u32_at(input, 0), u32_at(input, 4), u32_at(input, 8));
    if wanted & !(link::capabilities(card.board.profile.speed) | link::ALWAYS) != 0 {
        card.board.violations.note("SET_LINK advertises what the PHY cannot do");
    }
    if loopback != link::LOOPBACK_NONE && loopback != link::LOOPBACK_DATA {
        return Err(No::Code(EINVAL));
    }
    card.set_link(wanted, flags, loopback);
    Ok(Vec::new())
}

pub fn set_mac(card: &mut Ef10, input: &[u8]) -> Answer {
    if card.board.faulty(FaultKind::Npar) {
        return Err(No::Code(EPERM));
    }
    // Without the control word everything is set.
    let control = if input.len() >= 0x20 { u32_at(input, 0x1c) } else { 0x1f };
    let mtu = u32_at(input, 0);
    if control & 1 != 0 {
        if mtu as usize > super::super::LONGEST {
            return Err(No::Code(EINVAL));
        }
        // The MAC compares by eights.
        if !mtu.is_multiple_of(8) {
            card.board.violations.note("SET_MAC with an MTU that is not a multiple of 8");
        }
        card.mc.longest = mtu as usize & !7;
    }
    if control & 2 != 0 {
        card.mc.drain = u32_at(input, 4) != 0;
    }
    if control & 8 != 0 {
        card.set_flow(u32_at(input, 0x14));
    }
    Ok(reply(4, &[(0, card.mc.longest as u32)]))
}

/// MAC_STATS: once, or again and again.
pub fn mac_stats(card: &mut Ef10, input: &[u8]) -> Answer {
    const DMA: u32 = 1;
    const CLEAR: u32 = 1 << 1;
    const PERIODIC_CHANGE: u32 = 1 << 2;
    const PERIODIC_ENABLE: u32 = 1 << 3;
    const PERIODIC_NOEVENT: u32 = 1 << 5;
    let (address, command, len) = (u64_at(input, 0), u32_at(input, 8), u32_at(input, 12));
    // An image is one of a function that has queues. DPDK asks for images by the clock
    // before it has any, and gets them afterwards.
    if command & DMA != 0 && !card.has_queues() {
        return Err(No::Code(ENOENT));
    }
    if command & CLEAR != 0 {
        card.stats.clear();
    }
    // DPDK asks for images by the clock without asking for one now.
    let by_the_clock = command & PERIODIC_CHANGE != 0 && command & PERIODIC_ENABLE != 0;
    if (by_the_clock || command & DMA != 0) && (address % 8 != 0 || len as usize / 8 < super::super::stats::BASE) {
        card.board.violations.note("MAC_STATS with memory that is too short or not aligned");
        return Err(No::Code(EINVAL));
    }
    if command & PERIODIC_CHANGE != 0 {
        let period = u64::from(u16_at(input, 10)) * 1_000_000_000;
        let event = command & PERIODIC_NOEVENT == 0;
        let repeat = by_the_clock && period != 0;
        card.stats.repeat(repeat.then_some((address, len, period, event)), card.board.now);
    }
    if command & DMA != 0 {
        card.stats.write(&card.board.bus.memory, address, len);
    }
    Ok(Vec::new())
}

/// One mode: one port at the board's speed.
pub fn modes(_: &mut Ef10, _: &[u8]) -> Answer {
    Ok(reply(12, &[(0, 4), (4, 2), (8, 2)]))
}
