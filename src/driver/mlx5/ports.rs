//! Registers of the port, which the firmware reads and writes for any function: how
//! long frames may be, speeds, the link, pauses, counters. As tables; see `layout`.
//!
//! A port may be somebody else's: another host's, a virtual machine's, the processor's
//! on the card. A register that is refused then is none the less one, and what was
//! written is read back.

use super::cmd::{access_register, header};
use super::hw::Hw;
use super::layout::structures;
use crate::driver::mailbox::{Bits, Request};
use crate::error::Result;

structures! {
    /// What registers begin with.
    port 0x04 { LOCAL_PORT 0x00[23:16] }

    /// How long frames may be.
    pmtu 0x10 { MAX_MTU 0x04[31:16]  ADMIN_MTU 0x08[31:16]  OPER_MTU 0x0c[31:16] }

    /// Which speeds the port can, is allowed, and has.
    ptys 0x40 {
        AN_DISABLE_ADMIN 0x00[30]  PROTO_MASK 0x00[2:0]
        EXT_ETH_PROTO_CAPABILITY 0x08[31:0]  ETH_PROTO_CAPABILITY 0x0c[31:0]
        EXT_ETH_PROTO_OPER 0x20[31:0]  ETH_PROTO_OPER 0x24[31:0]
    }

    /// Whether the port is to have a link, and has.
    paos 0x10 { ADMIN_STATUS 0x00[11:8]  OPER_STATUS 0x00[3:0]  ASE 0x04[31] }

    /// Whether frames ask for pauses, and are asked.
    pfcc 0x20 { PPTX 0x08[31]  PFCTX 0x08[23:16]  PPRX 0x0c[31]  PFCRX 0x0c[23:16] }

    /// Counters of a group.
    ppcnt 0x100 { GRP 0x00[5:0] }

    /// Those of RFC 2863, behind the head.
    rfc_2863 0x100 { IN_DISCARDS 0x18[63:0] }

    /// Those of IEEE 802.3, behind the head; octets are with FCS.
    ieee_802_3 0x100 {
        FRAMES_TRANSMITTED_OK 0x08[63:0]  FRAMES_RECEIVED_OK 0x10[63:0]
        OCTETS_TRANSMITTED_OK 0x28[63:0]  OCTETS_RECEIVED_OK 0x30[63:0]
        FRAME_CHECK_SEQUENCE_ERRORS 0x18[63:0]  ALIGNMENT_ERRORS 0x20[63:0]  FRAME_TOO_LONG_ERRORS 0x68[63:0]
    }

    /// Where frames are turned round.
    pplr 0x08 { LB_CAP 0x04[23:16]  LB_EN 0x04[7:0] }

    /// Which module the port's first lane goes to.
    pmlp 0x40 { MODULE 0x04[7:0] }

    /// Forward error correction: what is asked for at each speed, 0 if the firmware
    /// chooses.
    pplm 0x78 { FEC_OVERRIDE_ADMIN 0x14[31:0] }

    /// A part of a module's memory, behind the head.
    mcia 0x90 {
        MODULE 0x00[23:16]  STATUS 0x00[7:0]  I2C_DEVICE_ADDRESS 0x04[31:24]  PAGE_NUMBER 0x04[23:16]
        DEVICE_ADDRESS 0x04[15:0]  SIZE 0x08[15:0]
    }
}

/// Registers by number, and what is done with them.
pub mod register {
    /// To write.
    pub const WRITE: u64 = 0;
    /// To read.
    pub const READ: u64 = 1;
    /// Modules of the port's lanes.
    pub const PMLP: u64 = 0x5002;
    /// How long frames may be.
    pub const PMTU: u64 = 0x5003;
    /// Speeds.
    pub const PTYS: u64 = 0x5004;
    /// The link.
    pub const PAOS: u64 = 0x5006;
    /// Pauses.
    pub const PFCC: u64 = 0x5007;
    /// Counters.
    pub const PPCNT: u64 = 0x5008;
    /// Where frames are turned round.
    pub const PPLR: u64 = 0x5018;
    /// Forward error correction.
    pub const PPLM: u64 = 0x5023;
    /// In which order this machine has the bytes of numbers.
    pub const HOST_ENDIANNESS: u64 = 0x7004;
    /// A module's memory.
    pub const MCIA: u64 = 0x9014;
}

/// A register's contents, of this function's port.
#[derive(Clone, Debug)]
pub struct Register {
    number: u64,
    data: Vec<u8>,
    /// Bytes of it that a trace shows.
    shown: usize,
}

impl Register {
    /// Nothing but the port.
    pub fn new(number: u64, bytes: usize) -> Register {
        Register { number, data: vec![0; bytes], shown: bytes }.with(port::LOCAL_PORT, 1)
    }

    /// Sets a field.
    #[must_use]
    pub fn with(mut self, bits: Bits, value: u64) -> Register {
        bits.write(&mut self.data, value);
        self
    }

    /// Has a trace show so many bytes of what it holds.
    #[must_use]
    pub fn with_shown(self, shown: usize) -> Register {
        Register { shown, ..self }
    }

    /// A field.
    pub fn get(&self, bits: Bits) -> u64 {
        bits.read(&self.data).unwrap_or(0)
    }

    /// Bytes of it.
    pub fn bytes(&self, at: usize, len: usize) -> &[u8] {
        self.data.get(at..at + len).unwrap_or_default()
    }

    /// What it holds, asked for with what is set here; `None` if this function may not.
    pub fn read(&self, hw: &Hw) -> Result<Option<Register>> {
        self.access(hw, register::READ)
    }

    /// Writes it; whether that was taken.
    pub fn write(&self, hw: &Hw) -> Result<bool> {
        Ok(self.access(hw, register::WRITE)?.is_some())
    }

    fn access(&self, hw: &Hw, way: u64) -> Result<Option<Register>> {
        let request = Request::new(access_register::COMMAND)
            .with_bits(header::OP_MOD, way)
            .with_bits(access_register::input::REGISTER_ID, self.number)
            .with_more(&self.data)
            .with_output(access_register::DATA + self.data.len())
            .with_answer_shown(access_register::DATA + self.shown);
        let reply = hw.ask_optional(request)?;
        let data = reply.and_then(|reply| reply.body().get(access_register::DATA..).map(<[u8]>::to_vec));
        Ok(data.map(|data| Register { data, ..*self }))
    }
}

/// How long frames may be on the port, with tags and FCS: at most, and now.
pub fn mtu(hw: &Hw) -> Result<Option<(u32, u32)>> {
    let register = Register::new(register::PMTU, pmtu::BYTES).read(hw)?;
    Ok(register.map(|register| (register.get(pmtu::MAX_MTU) as u32, register.get(pmtu::OPER_MTU) as u32)))
}

/// Has frames of `bytes` pass the port, if this function may say so.
pub fn set_mtu(hw: &Hw, bytes: u32) -> Result<bool> {
    Register::new(register::PMTU, pmtu::BYTES).with(pmtu::ADMIN_MTU, u64::from(bytes)).write(hw)
}

/// Has no pauses asked for, nor made: a queue that is not read must not stop others.
pub fn no_pauses(hw: &Hw) -> Result<bool> {
    Register::new(register::PFCC, pfcc::BYTES).write(hw)
}

/// Wants a link. The state is only taken with the bit that says so.
pub fn up(hw: &Hw) -> Result<bool> {
    const UP: u64 = 1;
    Register::new(register::PAOS, paos::BYTES).with(paos::ADMIN_STATUS, UP).with(paos::ASE, 1).write(hw)
}

/// Speeds by bit, in units of 100 Mbit/s.
const SPEEDS: [u16; 32] = {
    let mut speeds = [0; 32];
    let table: [(u16, &[usize]); 6] = [
        (10, &[0, 1]),
        (100, &[2, 3, 4, 12, 13, 14]),
        (250, &[27, 28, 29]),
        (400, &[6, 7, 15, 16]),
        (500, &[18, 30, 31]),
        (1000, &[20, 21, 22, 23]),
    ];
    let mut n = 0;
    while n < table.len() {
        let (speed, bits) = table[n];
        let mut bit = 0;
        while bit < bits.len() {
            speeds[bits[bit]] = speed;
            bit += 1;
        }
        n += 1;
    }
    speeds
};

/// The same of the longer list, which cards have that can more than 100 Gbit/s.
const LONG_SPEEDS: [u16; 17] = [1, 10, 25, 50, 100, 400, 250, 500, 500, 1000, 1000, 1000, 2000, 2000, 2000, 4000, 4000];

/// Bits a second of a port that has a link; 0 for a speed that is not known.
pub fn speed(hw: &Hw) -> Result<u64> {
    const ETHERNET: u64 = 4;
    let register = Register::new(register::PTYS, ptys::BYTES).with(ptys::PROTO_MASK, ETHERNET).read(hw)?;
    Ok(register.map_or(0, |register| speed_of(&register)))
}

fn speed_of(register: &Register) -> u64 {
    const UNIT: u64 = 100_000_000;
    let of = |bits: u64, table: &[u16]| {
        let highest = bits.checked_ilog2().map(|bit| bit as usize);
        highest.and_then(|bit| table.get(bit)).map_or(0, |&units| u64::from(units) * UNIT)
    };
    let (long, short) = (register.get(ptys::EXT_ETH_PROTO_OPER), register.get(ptys::ETH_PROTO_OPER));
    // That a card has the longer list is said by no capability as surely as by itself.
    match register.get(ptys::EXT_ETH_PROTO_CAPABILITY) {
        0 => of(short, &SPEEDS),
        _ if long == 0 => of(short, &SPEEDS),
        _ => of(long, &LONG_SPEEDS),
    }
}

/// Turns frames round in the port, or lets them out: whether that was taken.
pub fn turn_round(hw: &Hw, on: bool) -> Result<bool> {
    const LOCAL: u64 = 2;
    let register = Register::new(register::PPLR, pplr::BYTES);
    if !on {
        // A card that cannot has not been told to, either.
        let now = register.read(hw)?.map_or(0, |now| now.get(pplr::LB_EN));
        return if now == 0 { Ok(true) } else { register.write(hw) };
    }
    register.with(pplr::LB_EN, LOCAL).write(hw)
}

/// Counters of a group.
pub fn counters(hw: &Hw, group: u64) -> Result<Option<Register>> {
    Register::new(register::PPCNT, ppcnt::BYTES).with(ppcnt::GRP, group).read(hw)
}

#[cfg(test)]
mod tests {
    use super::super::layout::assert_apart;
    use super::*;

    #[test]
    fn fields_lie_in_their_registers() {
        for (name, bytes, fields) in STRUCTURES {
            assert_apart(name, *bytes, fields);
        }
    }

    #[test]
    fn speeds_are_read_from_the_list_that_the_card_has() {
        let gigabits = |capability, long, short| {
            let register = Register::new(register::PTYS, ptys::BYTES)
                .with(ptys::EXT_ETH_PROTO_CAPABILITY, capability)
                .with(ptys::EXT_ETH_PROTO_OPER, long)
                .with(ptys::ETH_PROTO_OPER, short);
            speed_of(&register) / 1_000_000_000
        };
        assert_eq!(gigabits(0, 0, 1 << 28), 25);
        assert_eq!(gigabits(0, 0, 1 << 13), 10);
        assert_eq!(gigabits(0, 1 << 12, 1 << 23), 100, "no such list");
        assert_eq!(gigabits(0xffff, 1 << 12, 0), 200);
        assert_eq!(gigabits(0xffff, 1 << 15, 1 << 23), 400);
        assert_eq!(gigabits(0xffff, 0, 1 << 31), 50);
        assert_eq!(gigabits(0xffff, 1 << 30, 0), 0, "one that is not known");
        assert_eq!(gigabits(0, 0, 0), 0, "no link");
    }
}
