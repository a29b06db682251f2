//! ACCESS_REGISTER: registers of the port, by number.
//!
//! ```text
//!   5002 PMLP  lanes       5006 PAOS  up or down     5018 PPLR  loopback
//!   5003 PMTU  MTU         5007 PFCC  pause          5023 PPLM  FEC
//!   5004 PTYS  speeds      5008 PPCNT counters       507f PCAM  what there is of these
//!   9014 MCIA  module's memory                       7004 byte order of the host
//!   9055 MTUTC time of day 907f MCAM  what there is of these
//! ```
//!
//! Data that is short reads as zero beyond its end. A register that is not in the table,
//! and one that is not this function's to write, is a bad parameter.

use super::super::super::{FaultKind, module};
use super::super::Mlx5;
use super::super::caps::PCAM_REG;
use super::super::cmd::Request;
use super::super::plane::{MTU, Port, Status, be};
use super::{Answer, Reply, counters, time};

/// Longest frame of all, with tag and check sequence.
pub const MOST_MTU: u16 = 10_000;
/// Bytes of a module's memory in one read.
const MCIA_MOST: u32 = 48;

/// What the port was told, but for its link.
#[derive(Clone, Copy, Debug)]
pub struct PortSettings {
    mtu: u16,
    /// Pause is sent, is obeyed; and by class.
    pause: [bool; 2],
    classes: [u8; 2],
    /// FEC as it was asked for.
    fec: u32,
    /// Counters as they were when a group of them was cleared last.
    pub cleared: [Port; counters::GROUPS],
}

impl PortSettings {
    /// As at power-on: pause both ways.
    pub fn new() -> Self {
        PortSettings {
            mtu: MTU,
            pause: [true; 2],
            classes: [0; 2],
            fec: 0,
            cleared: [Port::default(); counters::GROUPS],
        }
    }
}

/// A register: its data, in and out.
pub struct Access<'a> {
    /// It is written.
    pub write: bool,
    data: &'a mut Vec<u8>,
}

impl Access<'_> {
    /// Bits of a word.
    pub fn get(&self, at: usize, high: u32, low: u32) -> u32 {
        be::bits(self.data, at, high, low)
    }

    /// Sets bits of a word.
    pub fn set(&mut self, at: usize, high: u32, low: u32, value: u32) {
        be::set_bits(self.data, at, high, low, value);
    }
}

type Run = fn(&mut Mlx5, &mut Access<'_>) -> Result<(), Status>;

struct Register {
    number: u16,
    bytes: usize,
    /// It is one of the port, whose number is in its second byte.
    port: bool,
    /// Who may write it: nobody, whose port it is, everybody.
    writer: Writer,
    run: Run,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    Nobody,
    Owner,
    Anybody,
}

const fn port(number: u16, bytes: usize, writer: Writer, run: Run) -> Register {
    Register { number, bytes, port: true, writer, run }
}

const REGISTERS: &[Register] = &[
    port(0x5002, 0x40, Writer::Nobody, lanes),
    port(0x5003, 0x10, Writer::Owner, mtu),
    port(0x5004, 0x40, Writer::Owner, speeds),
    port(0x5006, 0x10, Writer::Owner, state),
    port(0x5007, 0x20, Writer::Owner, pause),
    port(0x5008, 0x100, Writer::Nobody, count),
    port(0x5018, 0x08, Writer::Owner, loopback),
    port(0x5023, 0x78, Writer::Owner, fec),
    port(0x507f, 0x50, Writer::Nobody, known),
    Register { number: 0x7004, bytes: 0x10, port: false, writer: Writer::Anybody, run: endianness },
    Register { number: 0x9055, bytes: 0x1c, port: false, writer: Writer::Owner, run: time::adjust },
    Register { number: 0x907f, bytes: 0x48, port: false, writer: Writer::Nobody, run: time::known },
    Register { number: 0x9014, bytes: 0x90, port: false, writer: Writer::Nobody, run: memory },
];

pub fn access(card: &mut Mlx5, request: &Request) -> Answer {
    let number = request.bits(0x08, 15, 0) as u16;
    let write = match request.modifier() {
        0 => true,
        1 => false,
        _ => return Err(Status::BAD_PARAMETER),
    };
    let register = REGISTERS.iter().find(|register| register.number == number).ok_or(Status::BAD_PARAMETER)?;
    let barred = match register.writer {
        Writer::Nobody => write,
        Writer::Owner => write && (card.is_virtual() || card.faulty(FaultKind::DpuHost)),
        Writer::Anybody => card.is_virtual(),
    };
    let mut data = request.rest(0x10).to_vec();
    data.resize(register.bytes, 0);
    if barred || register.port && data[1] > 1 {
        return Err(Status::BAD_PARAMETER);
    }
    (register.run)(card, &mut Access { write, data: &mut data })?;
    Ok(Reply::of(&data))
}

/// PMLP: one module, on all lanes of the port.
fn lanes(card: &mut Mlx5, access: &mut Access<'_>) -> Result<(), Status> {
    let width = if card.kind.wide { 4 } else { 1 };
    access.set(0x00, 7, 0, width);
    for lane in 0..width {
        access.set(4 + 4 * lane as usize, 31, 0, lane << 16);
    }
    Ok(())
}

fn mtu(card: &mut Mlx5, access: &mut Access<'_>) -> Result<(), Status> {
    if access.write {
        let wanted = access.get(0x08, 31, 16) as u16;
        if wanted > MOST_MTU {
            return Err(Status::BAD_PARAMETER);
        }
        card.port.mtu = wanted;
        // It may be taken and not granted.
        card.plane.port_mtu = if card.board.nasty { wanted.min(MTU) } else { wanted };
    }
    access.set(0x04, 31, 16, MOST_MTU.into());
    access.set(0x08, 31, 16, card.port.mtu.into());
    access.set(0x0c, 31, 16, card.plane.port_mtu.into());
    Ok(())
}

/// Whether the newer field of speeds is there.
fn newer_speeds(card: &Mlx5) -> bool {
    card.kind.speeds[1] != 0 && card.caps.get(PCAM_REG) != 0
}

fn speeds(card: &mut Mlx5, access: &mut Access<'_>) -> Result<(), Status> {
    const ETHERNET: u32 = 4;
    let (can, newer) = (card.kind.speeds, newer_speeds(card));
    if access.write {
        let wanted = [access.get(0x18, 31, 0), if newer { access.get(0x14, 31, 0) } else { 0 }];
        let known = wanted[0] & !can[0] == 0 && wanted[1] & !can[1] == 0;
        if access.get(0, 2, 0) != ETHERNET || !known || wanted == [0; 2] {
            return Err(Status::BAD_PARAMETER);
        }
        let fixed = access.get(0, 30, 30) == 1;
        if (wanted, fixed) != (card.link.offered, card.link.fixed) {
            (card.link.offered, card.link.fixed) = (wanted, fixed);
            if card.link.admin {
                card.restart_link();
            }
        }
    }
    let mut oper = if card.link_up() { card.link.speed() } else { [0; 2] };
    oper[0] &= can[0];
    oper[1] &= can[1];
    // Newer cards may say it in the newer field alone.
    if newer && card.board.nasty {
        oper[0] = 0;
    }
    // One way to run at that speed is what it does.
    let lowest = |bits: u32| bits & bits.wrapping_neg();
    access.set(0x00, 2, 0, ETHERNET);
    access.set(0x00, 30, 30, card.link.fixed.into());
    access.set(0x0c, 31, 0, can[0]);
    access.set(0x18, 31, 0, card.link.offered[0]);
    access.set(0x24, 31, 0, lowest(oper[0]));
    if newer {
        access.set(0x08, 31, 0, can[1]);
        access.set(0x14, 31, 0, card.link.offered[1]);
        access.set(0x20, 31, 0, lowest(oper[1]));
    }
    // Optical, if there is something in the cage.
    let connector = if card.faulty(FaultKind::NoModule) { 1 } else { 7 };
    access.set(0x2c, 3, 0, connector);
    Ok(())
}

fn state(card: &mut Mlx5, access: &mut Access<'_>) -> Result<(), Status> {
    const UP: u32 = 1;
    const DOWN: u32 = 2;
    if access.write && access.get(0x04, 31, 31) == 1 {
        match access.get(0x00, 11, 8) {
            UP => card.set_admin(true),
            DOWN => card.set_admin(false),
            _ => return Err(Status::BAD_PARAMETER),
        }
    }
    let say = |up| if up { UP } else { DOWN };
    access.set(0x00, 11, 8, say(card.link.admin));
    access.set(0x00, 3, 0, say(card.link_up()));
    Ok(())
}

fn pause(card: &mut Mlx5, access: &mut Access<'_>) -> Result<(), Status> {
    let places = [0x08, 0x0c];
    if access.write {
        card.port.pause = places.map(|at| access.get(at, 31, 31) == 1);
        card.port.classes = places.map(|at| access.get(at, 23, 16) as u8);
    }
    for (n, at) in places.into_iter().enumerate() {
        access.set(at, 31, 31, card.port.pause[n].into());
        access.set(at, 23, 16, card.port.classes[n].into());
    }
    Ok(())
}

fn count(card: &mut Mlx5, access: &mut Access<'_>) -> Result<(), Status> {
    if card.faulty(FaultKind::DpuHost) {
        return Err(Status::BAD_PARAMETER);
    }
    access.data[8..].fill(0);
    let (group, clears) = (access.get(0x00, 5, 0) as usize, access.get(0x04, 31, 31) == 1);
    for (at, value) in counters::group(card, group, clears) {
        access.data[8 + at..16 + at].copy_from_slice(&value.to_be_bytes());
    }
    Ok(())
}

fn loopback(card: &mut Mlx5, access: &mut Access<'_>) -> Result<(), Status> {
    const NEAR: u32 = 2;
    if access.write {
        let wanted = access.get(0x04, 7, 0);
        if wanted & !NEAR != 0 {
            return Err(Status::BAD_PARAMETER);
        }
        card.set_port_loopback(wanted == NEAR);
    }
    access.set(0x04, 23, 16, NEAR);
    access.set(0x04, 7, 0, if card.link.loops { NEAR } else { 0 });
    Ok(())
}

/// PPLM: no FEC up to 10 Gbit/s, clause 108 or 91 above; overrides are kept.
fn fec(card: &mut Mlx5, access: &mut Access<'_>) -> Result<(), Status> {
    const NONE: u32 = 1;
    const REED_SOLOMON: u32 = 1 << 2;
    if access.write {
        card.port.fec = access.get(0x14, 31, 0);
    }
    let fast = card.link.speed()[0] & (1 << 12 | 1 << 1) == 0;
    let active = if fast { REED_SOLOMON } else { NONE };
    access.set(0x0c, 23, 0, if card.link_up() { active } else { 0 });
    access.set(0x10, 31, 0, 0x0007_7777);
    access.set(0x14, 31, 0, card.port.fec);
    Ok(())
}

/// PCAM: which of these registers there are, and what is in them.
fn known(card: &mut Mlx5, access: &mut Access<'_>) -> Result<(), Status> {
    if card.caps.get(PCAM_REG) == 0 {
        return Err(Status::BAD_PARAMETER);
    }
    for register in REGISTERS.iter().filter(|register| register.port) {
        let bit = u32::from(register.number & 0x7f);
        access.set(0x14 - 4 * (bit / 32) as usize, bit % 32, bit % 32, 1);
    }
    // Bits 3 and 13 of the last word: the connector, the newer field of speeds.
    access.set(0x34, 3, 3, 1);
    access.set(0x34, 13, 13, newer_speeds(card).into());
    Ok(())
}

/// What kind of host this is; nothing depends on it.
fn endianness(_: &mut Mlx5, access: &mut Access<'_>) -> Result<(), Status> {
    access.data.fill(0);
    Ok(())
}

/// MCIA: the module's memory. What goes wrong on its bus is in a byte of the register. It
/// fills the register, whatever was asked for: a driver takes no more than that.
fn memory(card: &mut Mlx5, access: &mut Access<'_>) -> Result<(), Status> {
    const NO_ANSWER: u32 = 1;
    const NO_MODULE: u32 = 3;
    const STUCK: u32 = 9;
    const ROOM: u32 = 128;
    let (module, slave, page) = (access.get(0, 23, 16), access.get(4, 31, 24), access.get(4, 23, 16));
    let (offset, len) = (access.get(4, 15, 0), access.get(8, 15, 0));
    if module != 0 || len == 0 || len > MCIA_MOST || offset + len > 256 {
        return Err(Status::BAD_PARAMETER);
    }
    let cage = card.cage();
    let len = ROOM.min(256 - offset);
    let bytes: Option<Vec<u8>> =
        (offset..offset + len).map(|at| cage.byte((slave << 1) as u8, page as u16, at as usize)).collect();
    let status = match bytes {
        _ if card.faulty(FaultKind::NoModule) => NO_MODULE,
        _ if card.faulty(FaultKind::I2cStuck) => STUCK,
        None => NO_ANSWER,
        Some(bytes) => {
            access.data[0x10..0x10 + bytes.len()].copy_from_slice(&bytes);
            0
        }
    };
    access.set(0, 7, 0, status);
    Ok(())
}

impl Mlx5 {
    fn cage(&self) -> module::Module {
        module::Module::of(&self.board, *b"Mellanox        ", [0x00, 0x02, 0xc9], self.kind.wide)
    }
}
