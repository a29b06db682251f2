//! The module in the cage: an I2C slave behind two bits of I2CCTL (82599
//! §8.2.3.1.4; module content: SFF-8472 §4).
//!
//! ```text
//!   START  1010000 W ack  offset ack   START  1010000 R ack  byte ack  byte nak  STOP
//! ```
//!
//! A driver moves clock and data by hand, both as open-drain lines: a line is
//! high if neither side pulls it down. The slave looks at edges only.

use super::super::{Board, FaultKind};
use super::module::Module;

/// Lines as the driver drives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    /// Clock.
    pub clock: bool,
    /// Data.
    pub data: bool,
}

/// A module that is plugged in.
pub struct Sfp {
    module: Module,
    id: [u8; 128],
    /// Which of its memories is read.
    slave: u8,
    /// Bytes that are still read as rubbish: its controller boots.
    rubbish: u8,
    lines: Lines,
    /// Whether the slave pulls data down.
    pull: bool,
    state: State,
    shift: u8,
    bits: u8,
    offset: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for a start.
    Idle,
    /// Takes the address and direction.
    Address,
    /// Takes the offset.
    Offset,
    /// Takes bytes, which a read-only memory ignores.
    Data,
    /// Gives bytes.
    Read,
}

/// The slave's addresses: identification, diagnostics.
const IDENTIFICATION: u8 = 0xa0;
const DIAGNOSTICS: u8 = 0xa2;

impl Sfp {
    /// That of a card.
    pub fn of(board: &Board) -> Self {
        let mut sfp = Sfp::new(Module::of(board));
        if board.faulty(FaultKind::I2cHeld) {
            // Somebody was reading zeros, and went away after the first bit of one.
            (sfp.state, sfp.bits, sfp.offset, sfp.pull) = (State::Read, 1, 128, true);
        }
        if board.faulty(FaultKind::ModuleBoots) {
            sfp.rubbish = 3;
        }
        if board.faulty(FaultKind::ModuleSum) {
            sfp.id[63] ^= 1;
        }
        sfp
    }

    /// `module`, plugged in.
    pub fn new(module: Module) -> Self {
        let lines = Lines { clock: true, data: true };
        let id = module.identification();
        Self {
            module,
            id,
            slave: IDENTIFICATION,
            rubbish: 0,
            lines,
            pull: false,
            state: State::Idle,
            shift: 0,
            bits: 0,
            offset: 0,
        }
    }

    /// Which one it is.
    pub fn module(&self) -> Module {
        self.module
    }

    /// The driver changes its lines.
    pub fn drive(&mut self, lines: Lines) {
        let before = std::mem::replace(&mut self.lines, lines);
        match (before.clock, lines.clock) {
            // A line that this side holds low shows no start and no stop.
            (true, true) if self.pull => {}
            (true, true) if before.data && !lines.data => self.start(),
            (true, true) if !before.data && lines.data => (self.state, self.pull) = (State::Idle, false),
            (false, true) => self.rise(self.data()),
            (true, false) => self.fall(),
            _ => {}
        }
    }

    /// The data line as the driver sees it.
    pub fn data(&self) -> bool {
        self.lines.data && !self.pull
    }

    fn start(&mut self) {
        (self.state, self.bits, self.shift, self.pull) = (State::Address, 0, 0, false);
    }

    /// Clock rises: the receiver of a bit takes it.
    fn rise(&mut self, data: bool) {
        match self.state {
            // No acknowledge: the driver has enough.
            State::Read if self.bits == 9 => {
                self.rubbish = self.rubbish.saturating_sub(1);
                if data {
                    self.state = State::Idle;
                }
            }
            State::Address | State::Offset | State::Data if self.bits <= 8 => {
                self.shift = self.shift << 1 | u8::from(data);
            }
            _ => {}
        }
    }

    /// Clock falls: the sender of the next bit puts it out.
    fn fall(&mut self) {
        if self.state == State::Idle {
            self.pull = false;
            return;
        }
        // The first fall after a start begins the first bit.
        self.bits += 1;
        match (self.state, self.bits) {
            (State::Read, 1..=8) => self.pull = self.byte() >> (8 - self.bits) & 1 == 0,
            (State::Read, 9) => self.pull = false,
            (State::Read, _) => {
                self.offset = self.offset.wrapping_add(1);
                self.bits = 1;
                self.pull = self.byte() >> 7 == 0;
            }
            (_, 9) => self.pull = self.received(),
            (_, 10) => {
                // The acknowledge is over: next byte.
                (self.bits, self.shift, self.pull) = (1, 0, false);
            }
            _ => {}
        }
    }

    /// A whole byte came; whether it is acknowledged.
    fn received(&mut self) -> bool {
        match self.state {
            State::Address if self.answers(self.shift & 0xfe) => {
                self.slave = self.shift & 0xfe;
                if self.shift & 1 == 0 {
                    self.state = State::Offset;
                } else {
                    // Each byte read moves on; the first is the one at the offset.
                    (self.state, self.offset) = (State::Read, self.offset.wrapping_sub(1));
                }
                true
            }
            State::Offset => {
                (self.offset, self.state) = (self.shift, State::Data);
                true
            }
            State::Data => true,
            State::Address | State::Idle | State::Read => {
                self.state = State::Idle;
                false
            }
        }
    }

    /// Whether there is a memory of this address.
    fn answers(&self, slave: u8) -> bool {
        slave == IDENTIFICATION || slave == DIAGNOSTICS && self.module.is_measured()
    }

    fn byte(&self) -> u8 {
        if self.rubbish != 0 {
            return 0xff;
        }
        let page = if self.slave == DIAGNOSTICS { self.module.diagnostics() } else { self.id };
        page.get(usize::from(self.offset)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(sfp: &mut Sfp, data: bool) -> bool {
        sfp.drive(Lines { clock: false, data });
        sfp.drive(Lines { clock: true, data });
        let seen = sfp.data();
        sfp.drive(Lines { clock: false, data });
        seen
    }

    fn start(sfp: &mut Sfp) {
        sfp.drive(Lines { clock: sfp.lines.clock, data: true });
        sfp.drive(Lines { clock: true, data: true });
        sfp.drive(Lines { clock: true, data: false });
        sfp.drive(Lines { clock: false, data: false });
    }

    fn stop(sfp: &mut Sfp) {
        sfp.drive(Lines { clock: false, data: false });
        sfp.drive(Lines { clock: true, data: false });
        sfp.drive(Lines { clock: true, data: true });
    }

    /// Sends a byte; whether it was acknowledged.
    fn send(sfp: &mut Sfp, byte: u8) -> bool {
        for bit in (0..8).rev() {
            clock(sfp, byte >> bit & 1 == 1);
        }
        !clock(sfp, true)
    }

    fn receive(sfp: &mut Sfp, more: bool) -> u8 {
        let byte = (0..8).fold(0, |byte, _| byte << 1 | u8::from(clock(sfp, true)));
        clock(sfp, !more);
        byte
    }

    #[test]
    fn a_byte_is_read_as_drivers_read_it() {
        let mut sfp = Sfp::new(Module::ShortRange);
        for (offset, wanted) in [(0, 0x03), (3, 0x10), (0x25, 0x00), (0x26, 0x1b), (0x27, 0x21)] {
            start(&mut sfp);
            assert!(send(&mut sfp, 0xa0));
            assert!(send(&mut sfp, offset));
            start(&mut sfp);
            assert!(send(&mut sfp, 0xa1));
            assert_eq!(receive(&mut sfp, false), wanted, "byte {offset:#x}");
            stop(&mut sfp);
        }
    }

    #[test]
    fn the_temperature_is_in_another_memory_if_it_is_measured() {
        for (module, measured) in [(Module::ShortRange, true), (Module::Silent, false)] {
            let mut sfp = Sfp::new(module);
            start(&mut sfp);
            assert_eq!(send(&mut sfp, 0xa2), measured, "{module:?}");
            if measured {
                assert!(send(&mut sfp, 96));
                start(&mut sfp);
                assert!(send(&mut sfp, 0xa3));
                assert_eq!([receive(&mut sfp, true), receive(&mut sfp, false)], [35, 0x80]);
            }
            stop(&mut sfp);
        }
    }

    #[test]
    fn bytes_in_sequence_and_other_addresses() {
        let mut sfp = Sfp::new(Module::ShortRange);
        start(&mut sfp);
        assert!(send(&mut sfp, 0xa0) && send(&mut sfp, 20));
        start(&mut sfp);
        assert!(send(&mut sfp, 0xa1));
        let name: Vec<u8> = (0..10).map(|n| receive(&mut sfp, n < 9)).collect();
        assert_eq!(name, b"Intel Corp");
        stop(&mut sfp);
        start(&mut sfp);
        assert!(!send(&mut sfp, 0x50));
        stop(&mut sfp);
    }
}
