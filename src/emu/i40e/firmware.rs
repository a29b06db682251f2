//! Firmware: what it answers to commands (X710 §7.10.11 on).
//!
//! What it does not know it refuses with ESRCH, and the strict model counts it.

use super::adminq::{
    Command, ECODE_EBUSY, ECODE_EINVAL, ECODE_EIO, ECODE_ENOENT, ECODE_ENOMEM, ECODE_EPERM, ECODE_ESRCH, Reply,
};
use super::regs::{PFQF_HKEY, PFQF_HLUT};
use super::{I40e, Kind, QUEUES, VECTORS};
use crate::emu::Registers;
use crate::emu::{Fault, FaultKind, Picos};

/// Filters that flow director guarantees, and those it has besides.
pub const FD_GUARANTEED: u16 = 512;
/// See FD_GUARANTEED.
pub const FD_BEST_EFFORT: u16 = 1536;

/// State of the firmware.
pub struct Firmware {
    /// What it does wrong.
    pub fault: Option<Fault>,
    /// It has stopped.
    pub dead: bool,
    /// Commands so far.
    pub served: u32,
    /// When the commands that were given are answered.
    pub due: Option<Picos>,
    /// The command that it had no time for (fault).
    tried: Option<u16>,
    /// Commands given before that are not seen (fault).
    pub awake: Picos,
    /// When the next flood of events comes.
    pub flood_at: Picos,
}

impl Firmware {
    /// Firmware with this fault.
    pub fn new(fault: Option<Fault>) -> Self {
        Firmware { fault, dead: false, served: 0, due: None, tried: None, awake: 0, flood_at: 0 }
    }

    /// Whether this fault strikes the command that is being served.
    pub fn struck(&self, kind: FaultKind, opcode: u16) -> bool {
        self.fault.is_some_and(|fault| fault.strikes_command(kind, self.served, opcode.into()))
    }

    /// Whether it has this fault for good.
    pub fn has(&self, kind: FaultKind) -> bool {
        self.fault.is_some_and(|fault| fault.kind == kind)
    }

    /// Interface version.
    fn api(&self, kind: Kind) -> (u16, u16) {
        match kind {
            Kind::X722 if self.has(FaultKind::Old) => (1, 3),
            _ if self.has(FaultKind::Old) => (1, 0),
            Kind::X722 => (1, 12),
            _ => (1, 15),
        }
    }
}

impl I40e {
    /// Does what a command asks for.
    pub(super) fn execute(&mut self, command: Command) -> Reply {
        let mut reply = Reply { result: 0, params: command.params, data: None, length: None };
        if command.room > 0 && self.firmware.struck(FaultKind::Hollow, command.opcode) {
            return reply;
        }
        let answer = self.refusal(command.opcode).map_or_else(|| self.dispatch(&command, &mut reply), Err);
        if let Err(result) = answer {
            reply.result = result;
        }
        reply
    }

    /// Why a command is refused that is in order, if it is (fault).
    fn refusal(&mut self, opcode: u16) -> Option<u16> {
        // What changes the port is not for a function that shares it.
        const OF_THE_PORT: [u16; 5] = [0x0601, 0x0603, 0x0605, 0x0613, 0x0618];
        let struck = |kind| self.firmware.struck(kind, opcode);
        let busy = struck(FaultKind::Busy) && self.firmware.tried != Some(opcode);
        let code = if struck(FaultKind::Error) {
            ECODE_EIO
        } else if struck(FaultKind::Denied) || self.firmware.has(FaultKind::Npar) && OF_THE_PORT.contains(&opcode) {
            ECODE_EPERM
        } else if struck(FaultKind::Unsupported) {
            ECODE_ENOENT
        } else if busy {
            ECODE_EBUSY
        } else {
            self.firmware.tried = None;
            return None;
        };
        self.firmware.tried = Some(opcode);
        Some(code)
    }

    fn dispatch(&mut self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        match command.opcode {
            0x0001 => self.version(reply),
            // Driver version; queue shutdown; resource released; PXE mode, proxy and wake-up set-up.
            0x0002 | 0x0003 | 0x0009 | 0x0110 | 0x0104 | 0x0120 => {}
            0x0008 => return self.request_resource(command, reply),
            0x000a | 0x000b => return self.capabilities(command, reply),
            0x0107 => self.addresses(reply),
            0x0108 => self.set_address(command),
            // From version 1.5 on.
            0x0206 | 0x0207 if self.firmware.has(FaultKind::Old) => return Err(ECODE_ESRCH),
            0x0206 => return self.read_control(command, reply, 12),
            0x0207 => return self.write_control(command, 12),
            0x0200..=0x02ff => return self.switch_command(command, reply),
            // DCB: ignore PFC, updated, parameters.
            0x0301..=0x0303 => {}
            0x0400..=0x04ff => return self.scheduler(command, reply),
            // HMC resource profile.
            0x0500 | 0x0501 => {}
            0x0600..=0x06ff => return self.link_command(command, reply),
            0x0701 => return self.nvm_read(command, reply),
            // LLDP: no neighbour; its agent can be stopped and started.
            0x0a00 | 0x0a07 => return Err(ECODE_ENOENT),
            0x0a01 | 0x0a05 | 0x0a06 | 0x0a08 | 0x0a09 => {}
            0x0b02..=0x0b05 if self.kind == Kind::X722 => return self.rss_command(command, reply),
            0xff03 => return self.read_control(command, reply, 12),
            0xff04 => return self.write_control(command, 12),
            opcode => {
                self.board.violations.note(format!("unknown admin command {opcode:#06x}"));
                return Err(ECODE_ESRCH);
            }
        }
        Ok(())
    }

    fn version(&self, reply: &mut Reply) {
        let (major, minor) = self.firmware.api(self.kind);
        let firmware = match self.kind {
            _ if self.firmware.has(FaultKind::Old) => (3, 10),
            Kind::X722 => (6, 0),
            _ => (9, 120),
        };
        reply.set32(0, 0x0001_0000);
        reply.set32(4, 73026);
        for (at, value) in [(8, firmware.0), (10, firmware.1), (12, major), (14, minor)] {
            reply.set16(at, value);
        }
    }

    /// Resource 1 is the NVM, for 3 seconds. Others cannot be had.
    fn request_resource(&mut self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        if command.u16(0) != 1 {
            return Err(ECODE_EINVAL);
        }
        // Another function has it now and then, for so many milliseconds.
        const MILLISECOND: Picos = 1_000_000_000;
        let left = match self.board.nasty && self.board.random.below(8) == 0 {
            _ if self.firmware.has(FaultKind::NvmHeld) => 1000u64.saturating_sub(self.board.now / MILLISECOND),
            true => 10,
            false => 0,
        };
        if left > 0 {
            reply.set32(4, left as u32);
            return Err(ECODE_EBUSY);
        }
        reply.set32(4, 3000);
        Ok(())
    }

    /// What the function has: id, version, number, logical and physical id.
    fn capabilities(&self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        let first = u32::from(self.first_queue);
        let (guaranteed, best) = (u32::from(FD_GUARANTEED), u32::from(FD_BEST_EFFORT));
        let elements: [(u16, u32, u32, u32); 12] = [
            // Valid functions; VSIs; DCB with one traffic class.
            (0x05, 1, 0, 0),
            (0x17, super::switch::VSIS as u32, 0, 0),
            (0x18, 1, 1, 1),
            // RSS table: entries, and bits of each.
            (0x40, 512, 6, 0),
            (0x41, u32::from(QUEUES), 0, first),
            (0x42, u32::from(QUEUES), 0, first),
            (0x43, u32::from(VECTORS), 0, 0),
            (0x44, 0, 0, 0),
            (0x45, guaranteed, best, 0),
            (0x46, 1, 0, 0),
            // NPAR off; NVM management.
            (0x03, 0, 0, 0),
            (0x80, 0, 0, 0),
        ];
        let mut data = Vec::new();
        for (id, number, logical, physical) in elements {
            data.extend(id.to_le_bytes());
            data.extend([1, 0]);
            for value in [number, logical, physical] {
                data.extend(value.to_le_bytes());
            }
            data.extend([0; 16]);
        }
        reply.set32(4, elements.len() as u32);
        if command.room < data.len() {
            reply.length = Some(data.len() as u16);
            return Err(ECODE_ENOMEM);
        }
        reply.data = Some(data);
        Ok(())
    }

    /// LAN address now, SAN none, port and wake-up address.
    fn addresses(&self, reply: &mut Reply) {
        const LAN_VALID: u16 = 0x10;
        const SAN_VALID: u16 = 0x20;
        const PORT_VALID: u16 = 0x40;
        reply.set16(0, LAN_VALID | SAN_VALID | PORT_VALID);
        // That for storage is of another range.
        let [a, b, c, d, e, f] = self.board.factory;
        let storage = [a, b, c, d ^ 0x5a, e, f];
        reply.data = Some([self.address, storage, self.board.factory, self.board.factory].concat());
    }

    /// Bytes 0 and 1, then 2 to 5, each big-endian in a little-endian field.
    fn set_address(&mut self, command: &Command) {
        let high = command.u16(2).to_be_bytes();
        let low = command.u32(4).to_be_bytes();
        let [a, b] = high;
        let [c, d, e, f] = low;
        if a & 1 == 1 {
            self.board.violations.note("group address given to a function");
        }
        self.address = [a, b, c, d, e, f];
    }

    /// A register read through firmware: address at 4.
    fn read_control(&mut self, command: &Command, reply: &mut Reply, at: usize) -> Result<(), u16> {
        let value = self.read_register(0, self.control_address(command)?);
        reply.set32(at, value);
        Ok(())
    }

    fn write_control(&mut self, command: &Command, at: usize) -> Result<(), u16> {
        self.write_register(0, self.control_address(command)?, command.u32(at));
        Ok(())
    }

    fn control_address(&self, command: &Command) -> Result<u32, u16> {
        let address = command.u32(4);
        let known = address < super::regs::SIZE && address.is_multiple_of(4);
        if known { Ok(address) } else { Err(ECODE_EINVAL) }
    }

    /// Transmit scheduler: bandwidth limits are taken and have no effect; queue
    /// set handles and shares of one traffic class are told.
    fn scheduler(&mut self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        let seid = command.u16(0);
        let handle = self.switch.by_seid(seid).map(|at| self.switch.vsis[at].handle());
        match command.opcode {
            0x0400 | 0x0406 | 0x0410..=0x0417 | 0x041c => Ok(()),
            0x0407 | 0x0408 => {
                let handle = handle.ok_or(ECODE_ENOENT)?;
                let mut data = vec![0; if command.opcode == 0x0407 { 32 } else { 64 }];
                data[0] = 1;
                data[16..32].fill(0xff);
                data[16..18].copy_from_slice(&handle.to_le_bytes());
                reply.data = Some(data);
                Ok(())
            }
            0x040a => {
                handle.ok_or(ECODE_ENOENT)?;
                let mut data = vec![0; 32];
                (data[0], data[4]) = (1, 100);
                reply.data = Some(data);
                Ok(())
            }
            // Of a switch element: valid classes, then shares.
            0x0418..=0x041a => {
                let mut data = vec![0; if command.opcode == 0x041a { 64 } else { 32 }];
                (data[0], data[4]) = (1, 100);
                reply.data = Some(data);
                Ok(())
            }
            opcode => {
                self.board.violations.note(format!("unknown admin command {opcode:#06x}"));
                Err(ECODE_ESRCH)
            }
        }
    }

    /// Module 0 is the whole shadow RAM; offsets and lengths in bytes.
    fn nvm_read(&mut self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        let (module, length) = (command.params[1], usize::from(command.u16(2)));
        let offset = (command.u32(4) & 0x00ff_ffff) as usize;
        let bytes = || self.nvm.iter().flat_map(|word| word.to_le_bytes());
        if module != 0 || offset + length > 2 * self.nvm.len() || length > command.room {
            return Err(ECODE_EINVAL);
        }
        reply.data = Some(bytes().skip(offset).take(length).collect());
        Ok(())
    }

    /// X722: RSS key (52 bytes) and table by command.
    fn rss_command(&mut self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        let (row, words) = if command.opcode & 1 == 0 { (PFQF_HKEY, 13) } else { (PFQF_HLUT, 128) };
        if command.opcode <= 0x0b03 {
            for (word, n) in command.buffer.chunks_exact(4).take(words).zip(0..) {
                self.regs.poke(row.nth(n), u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            }
            self.stale = true;
        } else {
            let word = |n: u32| self.regs.peek(row.nth(n)).to_le_bytes();
            reply.data = Some((0..words as u32).flat_map(word).take(command.room).collect());
        }
        Ok(())
    }
}
