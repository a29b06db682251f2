//! Who it is, its health, and what not all firmware has: sensors, lamps, tests,
//! non-volatile memory.

use super::super::super::FaultKind;
use super::super::health::ECHO_DATA;
use super::super::hwrm::{Answer, LONGEST_ANSWER, PATIENCE, Reply, Request, WINDOW};
use super::super::regs::{self, HEARTBEAT, IN_GRC, IN_RESET, RESETS, RESTART};
use super::super::{Bnxt, chip::Chip};
use super::{Refusal, UNKNOWN};

/// Version of the interface, and of one from before most of what drivers know.
const INTERFACE: [u8; 3] = [1, 10, 2];
const OLD_INTERFACE: [u8; 3] = [1, 5, 1];
/// Version of the firmware.
const FIRMWARE: [u16; 4] = [226, 0, 145, 0];
const OLD_FIRMWARE: [u16; 4] = [20, 1, 40, 0];

/// VER_GET: device capabilities.
const SHORT_SUPPORTED: u32 = 1 << 2;
const SHORT_REQUIRED: u32 = 1 << 3;
const ADVANCED_FLOWS: u32 = 1 << 12;

/// VER_GET: flags.
const NOT_READY: u8 = 1;
const STORE_NOT_READY: u8 = 1 << 2;

/// Longest that a command may take, in seconds.
const LONGEST_COMMAND: u16 = 100;

pub fn version(card: &mut Bnxt, _: &Request) -> Answer {
    let old = card.faulty(FaultKind::Old);
    let (interface, firmware) = if old { (OLD_INTERFACE, OLD_FIRMWARE) } else { (INTERFACE, FIRMWARE) };
    let firmware = if card.faulty(FaultKind::NoVersion) { [0; 4] } else { firmware };
    let kind = card.kind;
    let mut capabilities = SHORT_SUPPORTED;
    if kind.short {
        capabilities |= SHORT_REQUIRED;
    }
    if kind.chip.p5() {
        capabilities |= ADVANCED_FLOWS;
    }
    let mut flags = 0;
    if card.faulty(FaultKind::NotReady) || card.board.now < card.health.ready() {
        flags |= NOT_READY;
    }
    if card.store_busy() {
        flags |= STORE_NOT_READY;
    }
    let [major, minor, update] = interface;
    Ok(Reply::new(176)
        .bytes(0x08, &[major, minor, update])
        .bytes(0x0c, &firmware.map(|part| part as u8))
        .u32(0x18, capabilities)
        .bytes(0x20, b"emulated")
        .bytes(0x50, format!("{}.{}.{}", firmware[0], firmware[1], firmware[2]).as_bytes())
        .u16(0x70, kind.number)
        .u8(0x72, kind.revision)
        .u16s(0x76, &[WINDOW as u16, LONGEST_ANSWER, PATIENCE])
        .u8(0x7c, flags)
        .u8(0x7f, 1)
        .u16s(0x80, &[major.into(), minor.into(), update.into(), 0])
        .u16s(0x88, &firmware)
        .u16s(0xa8, &[card.longest_request() as u16, LONGEST_COMMAND]))
}

/// FUNC_ECHO_RESPONSE.
pub fn echo(card: &mut Bnxt, request: &Request) -> Answer {
    if [request.u32(0x10), request.u32(0x14)] != ECHO_DATA {
        card.board.violations.note("FUNC_ECHO_RESPONSE with other data than the request had");
        return Err(Refusal::INVALID);
    }
    card.health.echoed();
    Ok(Reply::done())
}

/// ERROR_RECOVERY_QCFG: where the health is, and how the host starts the firmware over.
/// Times are in units of 100 ms.
pub fn recovery(card: &mut Bnxt, _: &Request) -> Answer {
    const BY_HOST: u32 = 1;
    if !card.recovers() {
        return Err(UNKNOWN);
    }
    let grc = |at: u32| at | IN_GRC;
    Ok(Reply::new(208)
        .u32(0x08, BY_HOST)
        .u32(0x0c, 10)
        .u32(0x10, 20)
        .u32(0x14, 60)
        .u32(0x18, 10)
        .u32(0x1c, 60)
        .u32(0x20, regs::status_place(card.chip().p5()))
        .u32(0x24, grc(HEARTBEAT))
        .u32(0x28, grc(RESETS))
        .u32(0x2c, grc(IN_RESET))
        .u32(0x30, 1)
        .u8(0x37, 1)
        .u32(0x38, grc(RESTART))
        .u32(0x78, 1))
}

/// DBG_READ_DIRECT: words of the chip's bus, which are written to memory.
pub fn read_bus(card: &mut Bnxt, request: &Request) -> Answer {
    const MOST: u32 = 0x1000;
    let (at, words) = (request.u32(0x18), request.u32(0x1c));
    if words == 0 || words > MOST || !at.is_multiple_of(4) {
        return Err(Refusal::INVALID);
    }
    let bytes: Vec<u8> = (0..words).flat_map(|n| card.bus_word(at.wrapping_add(4 * n)).to_le_bytes()).collect();
    if !card.board.bus.memory.write(request.u64(0x10), &bytes) {
        return Err(Refusal::INVALID);
    }
    Ok(Reply::new(16))
}

/// FW_SET_TIME: which it does not keep.
pub fn set_time(card: &mut Bnxt, request: &Request) -> Answer {
    if request.u16(0x10) < 1970 || !(1..=12).contains(&request.u8(0x12)) || !(1..=31).contains(&request.u8(0x13)) {
        card.board.violations.note("FW_SET_TIME with no date");
        return Err(Refusal::INVALID);
    }
    Ok(Reply::done())
}

/// TEMP_MONITOR_QUERY, in degrees: chip, PHY, module.
pub fn temperature(_: &mut Bnxt, _: &Request) -> Answer {
    Ok(Reply::new(16).bytes(8, &[45, 41, 35]))
}

/// PORT_LED_QCAPS: two, which can be off, on and blink.
pub fn leds(_: &mut Bnxt, _: &Request) -> Answer {
    const STATES: u16 = 0x1f;
    const GREEN: u16 = 1 << 2;
    Ok(Reply::new(48)
        .u8(0x08, 2)
        .bytes(0x0c, &[0, 0, 0])
        .u16s(0x10, &[STATES, GREEN])
        .bytes(0x14, &[1, 1, 0])
        .u16s(0x18, &[STATES, GREEN]))
}

/// SELFTEST_QLIST: the firmware has none of its own.
pub fn self_tests(_: &mut Bnxt, _: &Request) -> Answer {
    const TIMEOUT: u16 = 5;
    Ok(Reply::new(280).u16(0x0c, TIMEOUT))
}

/// SELFTEST_EXEC: what was asked for, and what of it passed.
pub fn self_test(_: &mut Bnxt, request: &Request) -> Answer {
    Ok(Reply::new(16).bytes(8, &[request.u8(0x10); 2]))
}

/// NVM_GET_VARIABLE: none is set.
pub fn variable(card: &mut Bnxt, request: &Request) -> Answer {
    let (to, bits) = (request.u64(0x10), request.u16(0x18));
    let bytes = usize::from(bits).div_ceil(8);
    if bytes == 0 || bytes > 4096 || !card.board.bus.memory.write(to, &vec![0; bytes]) {
        return Err(Refusal::INVALID);
    }
    Ok(Reply::new(16).u16s(8, &[bits, request.u16(0x1a)]))
}

/// NVM_GET_DEV_INFO.
pub fn flash(card: &mut Bnxt, _: &Request) -> Answer {
    const SECTOR: u32 = 4096;
    const SIZE: u32 = 8 << 20;
    let size = if card.chip() == Chip::P5 { 2 * SIZE } else { SIZE };
    Ok(Reply::new(72)
        .u16s(0x08, &[0xef, 0x4018])
        .u32(0x0c, SECTOR)
        .u32(0x10, size)
        .u32(0x14, size / 4)
        .u32(0x18, size / 2)
        .u16s(0x20, &FIRMWARE))
}
