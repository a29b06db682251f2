//! The SFP+ module: who it is, asked over I2C, and the words that tune the MAC for it.
//!
//! The bus is two pins of a register, moved bit by bit at 100 kHz:
//!
//! ```text
//!   data  --\____X=======X=======X ... =X--ack--X____/--
//!   clock ----\____/--\____/--\___ ... /--\___/--\____/-
//!          start   bit 7   bit 6       bit 0      stop
//! ```

use super::hw::Hw;
use super::regs::{self, gssr, i2cctl};
use crate::driver::ops::Said;
use crate::driver::pluggable::{self, IDENTIFICATION, Pluggable};
use crate::error::{Kind, Result};
use std::time::Duration;

/// Half a period of the clock, at 100 kHz.
const HALF: Duration = Duration::from_micros(5);

/// What is plugged into the cage (SFF-8472 table 5-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// Nothing.
    Absent,
    /// Copper cable without electronics.
    PassiveCable,
    /// Copper cable with.
    ActiveCable,
    /// Optics, 10GBASE-SR or LR.
    Fibre10G,
    /// Optics or copper for 1 Gbit/s.
    Gigabit,
    /// Optics for either rate.
    DualRate,
    /// It does not say, as those for 10GBASE-T, for which there is no code.
    Unknown,
}

/// What a module runs at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// 10 Gbit/s, serial.
    Ten,
    /// 1 Gbit/s, negotiated (IEEE 802.3 clause 37).
    One,
}

impl Rate {
    /// The one that it is not.
    pub fn other(self) -> Rate {
        match self {
            Rate::Ten => Rate::One,
            Rate::One => Rate::Ten,
        }
    }
}

/// How often a module is asked whose answer makes no sense: a controller that boots
/// acknowledges before it knows what to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tries {
    /// Until it has had half a second.
    Patient,
    /// Not again.
    Once,
}

impl Module {
    /// What it runs at, at first.
    pub fn rate(self) -> Rate {
        if self == Module::Gigabit { Rate::One } else { Rate::Ten }
    }

    /// Id under which the EEPROM lists the words for it, on port 0; port 1's is
    /// one more. Active cables and 1 Gbit/s modules are tuned as fibre is.
    fn list_id(self) -> Option<u16> {
        match self {
            Module::Absent => None,
            Module::PassiveCable => Some(3),
            _ => Some(5),
        }
    }

    /// What a module with these codes is (SFF-8472 tables 5-3, 5-6; byte 60).
    fn of(codes: [u8; 4]) -> Module {
        let [ten, one, cable, active] = codes;
        match () {
            () if cable & 0x04 != 0 => Module::PassiveCable,
            () if cable & 0x08 != 0 && active & 0x04 != 0 => Module::ActiveCable,
            // SR and SX, or LR and LX.
            () if ten >> 4 & one & 0x3 != 0 => Module::DualRate,
            () if ten & 0x30 != 0 => Module::Fibre10G,
            () if one & 0x1b != 0 => Module::Gigabit,
            () => Module::Unknown,
        }
    }
}

/// Offsets of the identifier and of the codes: for 10 Gbit/s, for 1 Gbit/s, the cable's
/// technology, what an active cable complies with.
const IDENTIFIER: u8 = 0x00;
const CODES: [u8; 4] = [0x03, 0x06, 0x08, 0x3c];

/// Asks the module who it is. No answer on the bus means that there is none, whatever the
/// pin says that is to tell: not every board has it connected.
pub fn identify(hw: &Hw, tries: Tries) -> Result<Module> {
    const SFP: u8 = 0x03;
    const MOST: u32 = 5;
    const PAUSE: Duration = Duration::from_millis(100);
    let most = if tries == Tries::Patient { MOST } else { 1 };
    for tried in 1.. {
        let found = hw.locked(hw.phy_lock(), |hw| {
            let Some(identifier) = read_byte(hw, IDENTIFICATION, IDENTIFIER) else { return Ok(None) };
            let mut codes = [0; CODES.len()];
            for (code, offset) in codes.iter_mut().zip(CODES) {
                let Some(byte) = read_byte(hw, IDENTIFICATION, offset) else { return Ok(None) };
                *code = byte;
            }
            Ok(Some((identifier, codes)))
        })?;
        match found {
            None => break,
            Some((SFP, codes)) => return Ok(Module::of(codes)),
            Some((identifier, _)) if tried == most => {
                return Err(hw.error(
                    Kind::Unsupported,
                    format!(
                        "what is in its cage is no SFP or SFP+ module (identifier {identifier:#04x}); plug another in"
                    ),
                ));
            }
            Some(_) => std::thread::sleep(PAUSE),
        }
    }
    Ok(Module::Absent)
}

/// Writes the words that the EEPROM holds for `module` (82599 §4.6.4.2, NVM word 0x2b).
///
/// ```text
///   word 0x2b -> list    [ ..., id, words, id, words, ..., 0xffff ]
///                              words -> [ ..., word, word, ..., 0xffff ]
/// ```
pub fn tune(hw: &Hw, module: Module) -> Result<()> {
    const LIST: u16 = 0x2b;
    const END: u16 = 0xffff;
    let Some(id) = module.list_id() else { return Ok(()) };
    let id = id + hw.port as u16;
    let list = hw.eeprom(LIST)?;
    let missing = || {
        hw.error(
            Kind::Unsupported,
            format!("its EEPROM has no tuning for this SFP+ module (id {id}); plug another in, or update the EEPROM"),
        )
    };
    if matches!(list, 0 | END) {
        return Err(missing());
    }
    // Both lists end; a spoilt EEPROM must not make them endless.
    let entries = || (1..=u16::MAX - list).step_by(2).take(64);
    let mut words = None;
    for at in entries() {
        match hw.eeprom(list + at)? {
            END => break,
            found if found == id => {
                words = Some(hw.eeprom(list + at + 1)?);
                break;
            }
            _ => {}
        }
    }
    let words = words.filter(|&words| !matches!(words, 0 | END)).ok_or_else(missing)?;
    hw.locked(gssr::MAC_CSR, |hw| {
        for at in (1..=u16::MAX - words).take(256) {
            let word = hw.eeprom(words + at)?;
            if word == END {
                break;
            }
            hw.write(regs::CORECTL, u32::from(word));
        }
        Ok(())
    })
}

/// What the module says of itself. It is read a byte at a time, as some give no more (Linux
/// sfp.c, its quirks).
///
/// # Errors
/// As [`pluggable::read`].
pub fn describe(hw: &Hw) -> Result<Said<Pluggable>> {
    let module = pluggable::read(|slave, at, bytes| {
        hw.locked(hw.phy_lock(), |hw| {
            for (byte, at) in bytes.iter_mut().zip(at..) {
                let Some(read) = read_byte(hw, slave, at) else {
                    return Ok(Said::Nothing("no module, or it does not answer".into()));
                };
                *byte = read;
            }
            Ok(Said::This(()))
        })
    });
    // One that is gone has no module either.
    hw.alive()?;
    module
}

/// Reads one byte of the memory at an address of the bus; `None` if nobody answers.
fn read_byte(hw: &Hw, slave: u8, offset: u8) -> Option<u8> {
    // A module may be busy for a moment after power-on; the standard lets it.
    (0..3).find_map(|_| {
        start(hw);
        let chosen = send(hw, slave) && send(hw, offset) && {
            start(hw);
            send(hw, slave | 1)
        };
        let byte = chosen.then(|| receive_last(hw));
        stop(hw);
        if byte.is_none() {
            clear_bus(hw);
        }
        byte
    })
}

/// Gets a module out of the middle of a byte, in which a driver that is gone may have left
/// it: nine clocks with the data line let go are the rest of any byte, and a refusal to
/// read more (I2C §3.1.16).
fn clear_bus(hw: &Hw) {
    for _ in 0..9 {
        clock(hw, true);
    }
    start(hw);
    stop(hw);
}

fn pins(hw: &Hw, clock: bool, data: bool) {
    let pin = |on, bit| if on { bit } else { 0 };
    hw.change(
        regs::I2CCTL,
        i2cctl::CLK_OUT | i2cctl::DATA_OUT,
        pin(clock, i2cctl::CLK_OUT) | pin(data, i2cctl::DATA_OUT),
    );
    hw.settle(HALF);
}

/// Data falls while the clock is high.
fn start(hw: &Hw) {
    pins(hw, false, true);
    pins(hw, true, true);
    pins(hw, true, false);
    pins(hw, false, false);
}

/// Data rises while the clock is high.
fn stop(hw: &Hw) {
    pins(hw, false, false);
    pins(hw, true, false);
    pins(hw, true, true);
}

/// One clock with `data` on the line; returns what is seen there.
fn clock(hw: &Hw, data: bool) -> bool {
    pins(hw, false, data);
    pins(hw, true, data);
    // A slow module holds the clock low.
    for _ in 0..100 {
        if hw.read(regs::I2CCTL) & i2cctl::CLK_IN != 0 {
            break;
        }
        hw.settle(HALF);
    }
    let seen = hw.read(regs::I2CCTL) & i2cctl::DATA_IN != 0;
    pins(hw, false, data);
    seen
}

/// Sends a byte, highest bit first; true if it was acknowledged.
fn send(hw: &Hw, byte: u8) -> bool {
    for bit in (0..8).rev() {
        clock(hw, byte >> bit & 1 != 0);
    }
    // The line is let go, and the module pulls it low.
    !clock(hw, true)
}

/// Receives a byte and asks for no more.
fn receive_last(hw: &Hw) -> u8 {
    let byte = (0..8).fold(0, |byte, _| byte << 1 | u8::from(clock(hw, true)));
    clock(hw, true);
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Identification pages of real modules, as others read them out.
    const MODULES: &str = include_str!("../../../tests/recordings/sfp-modules.txt");

    #[test]
    fn real_modules_are_what_they_are() {
        let mut seen = 0;
        for line in MODULES.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let [name, kind, page] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
            let byte = |offset: u8| u8::from_str_radix(&page[2 * usize::from(offset)..][..2], 16).unwrap();
            assert_eq!(byte(IDENTIFIER), 0x03, "{name}");
            assert_eq!(format!("{:?}", Module::of(CODES.map(byte))), kind, "{name}");
            seen += 1;
        }
        assert_eq!(seen, 10);
    }

    #[test]
    fn two_rates_are_of_one_wavelength() {
        assert_eq!(Module::of([0x10, 0x01, 0, 0]), Module::DualRate);
        assert_eq!(Module::of([0x20, 0x02, 0, 0]), Module::DualRate);
        assert_eq!(Module::of([0x10, 0x02, 0, 0]), Module::Fibre10G);
        assert_eq!(Module::of([0, 0, 0, 0]), Module::Unknown);
        assert_eq!(Module::of([0, 0, 0x08, 0]), Module::Unknown);
    }
}
