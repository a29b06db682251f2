//! The module in a card's cage: what it says of itself (SFF-8472, SFF-8636, CMIS; codes of
//! SFF-8024).
//!
//! ```text
//!   SFP     a0  0 form  2 connector  3..10 what it complies with  20 vendor  36 more of that
//!               40 part  63 sum of the bytes before  92 how it is measured    a2  96 temperature
//!   QSFP    a0  0 form  22 temperature   128..191 as 0..63 of an SFP, 20 vendor  40 part  192 more
//!   CMIS    a0  0 form  14 temperature   129 vendor  148 part
//! ```
//!
//! A family says how a part of that memory is read ([`read`] takes it), and what it is that
//! nothing can be read. Bytes that tell one module from another, serial number and date of
//! manufacture, are not asked for; so the sum over them is not looked at either.

use super::ops::Said;
use crate::error::{Error, Kind, Result};
use std::fmt::{self, Display, Formatter};

/// Addresses of a module's memories on its bus, as written: what it is, what is measured.
pub const IDENTIFICATION: u8 = 0xa0;
pub const DIAGNOSTICS: u8 = 0xa2;

/// Why [`DIAGNOSTICS`] cannot be read where firmware knows pages alone: the module of a cage for
/// four lanes may be one of a single lane, in an adapter.
pub const NO_DIAGNOSTICS: &str = "in a cage for four lanes its firmware does not read what an SFP measures";

/// Where page 0 begins that is behind the part that is always there, of a module with pages.
pub const PAGED: u8 = 128;

/// Bytes that are read at once: any firmware can read so many.
const CHUNK: usize = 32;

/// What is in a cage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pluggable {
    /// Which kind of module.
    pub form: &'static str,
    /// How the cable is plugged in, where that is known.
    pub connector: Option<&'static str>,
    /// Who made it, as it says, without spaces at the ends.
    pub vendor: String,
    /// Its number in the maker's list.
    pub part: String,
    /// What it complies with, as IEEE 802.3 names it, as far as that is known.
    pub complies: Vec<&'static str>,
    /// Its temperature in 1/256 degrees Celsius, if it is measured.
    pub temperature: Option<i16>,
    /// Its checksum is right; if not so it was not looked at.
    pub summed: bool,
}

impl Display for Pluggable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let named = [&self.vendor, &self.part].map(|name| if name.is_empty() { "?" } else { name }).join(" ");
        write!(f, "{}", self.form)?;
        if let Some(connector) = self.connector {
            write!(f, ", {connector}")?;
        }
        write!(f, "; {named}")?;
        if !self.complies.is_empty() {
            write!(f, "; {}", self.complies.join(", "))?;
        }
        if let Some(temperature) = self.temperature {
            write!(f, "; {:.1} °C", f64::from(temperature) / 256.0)?;
        }
        f.write_str(match self.summed {
            true => "; checksum right",
            false => "; checksum not looked at (it is over the serial number)",
        })
    }
}

/// How the memory of a form is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Sfp,
    Qsfp,
    Cmis,
}

/// Forms by identifier (SFF-8024 table 4-1).
const FORMS: &[(u8, &str, Layout)] = &[
    (0x03, "SFP", Layout::Sfp),
    (0x0b, "DWDM-SFP", Layout::Sfp),
    (0x0c, "QSFP", Layout::Qsfp),
    (0x0d, "QSFP+", Layout::Qsfp),
    (0x11, "QSFP28", Layout::Qsfp),
    (0x18, "QSFP-DD", Layout::Cmis),
    (0x19, "OSFP", Layout::Cmis),
    (0x1e, "QSFP with CMIS", Layout::Cmis),
];

/// Connectors (SFF-8024 table 4-3).
const CONNECTORS: &[(u8, &str)] = &[
    (0x01, "SC"),
    (0x07, "LC"),
    (0x0b, "optical pigtail"),
    (0x0c, "MPO"),
    (0x0d, "MPO"),
    (0x21, "copper pigtail"),
    (0x22, "RJ45"),
    (0x23, "no connector"),
];

/// What an SFP complies with: byte, bit (SFF-8472 table 5-3).
const OF_SFP: &[(usize, u8, &str)] = &[
    (3, 4, "10GBASE-SR"),
    (3, 5, "10GBASE-LR"),
    (3, 6, "10GBASE-LRM"),
    (3, 7, "10GBASE-ER"),
    (6, 0, "1000BASE-SX"),
    (6, 1, "1000BASE-LX"),
    (6, 2, "1000BASE-CX"),
    (6, 3, "1000BASE-T"),
    (8, 2, "passive cable"),
    (8, 3, "active cable"),
];

/// The same of a QSFP, by bits of byte 131 (SFF-8636 table 6-17).
const OF_QSFP: &[(usize, u8, &str)] = &[
    (3, 0, "40G active cable"),
    (3, 1, "40GBASE-LR4"),
    (3, 2, "40GBASE-SR4"),
    (3, 3, "40GBASE-CR4"),
    (3, 4, "10GBASE-SR"),
    (3, 5, "10GBASE-LR"),
    (3, 6, "10GBASE-LRM"),
];

/// Codes for what those bits do not cover (SFF-8024 table 4-4): of one lane, and of four.
const MORE: &[(u8, &str, &str)] = &[
    (0x01, "25G active cable", "100G active cable"),
    (0x02, "25GBASE-SR", "100GBASE-SR4"),
    (0x03, "25GBASE-LR", "100GBASE-LR4"),
    (0x04, "25GBASE-ER", "100GBASE-ER4"),
    (0x06, "25G", "100G CWDM4"),
    (0x07, "25G", "100G PSM4"),
    (0x0b, "25GBASE-CR CA-25G-L", "100GBASE-CR4"),
    (0x0c, "25GBASE-CR CA-25G-S", "100GBASE-CR4"),
    (0x0d, "25GBASE-CR CA-25G-N", "100GBASE-CR4"),
    (0x16, "10GBASE-T", "10GBASE-T"),
    (0x18, "25G active cable", "100G active cable"),
    (0x1c, "10GBASE-T", "10GBASE-T"),
];

/// Reads what the module says of itself. `memory` reads so many bytes, from a place in the
/// memory of an address, page 0 from [`PAGED`] on; or says why that cannot be read.
///
/// # Errors
/// What reading meets, and [`Kind::Device`] if the checksum over what it is is wrong.
pub fn read(memory: impl FnMut(u8, u8, &mut [u8]) -> Result<Said<()>>) -> Result<Said<Pluggable>> {
    let mut memory = Memory { read: memory, nothing: None };
    let module = memory.module()?;
    Ok(match (module, memory.nothing) {
        (Some(module), _) => Said::This(module),
        (None, why) => Said::Nothing(why.unwrap_or_default()),
    })
}

/// A module's memory, and why it cannot be read.
struct Memory<F> {
    read: F,
    nothing: Option<String>,
}

impl<F: FnMut(u8, u8, &mut [u8]) -> Result<Said<()>>> Memory<F> {
    /// Bytes from a place on; `None` if they cannot be read.
    fn bytes<const N: usize>(&mut self, slave: u8, at: u8) -> Result<Option<[u8; N]>> {
        let mut bytes = [0; N];
        for (chunk, at) in bytes.chunks_mut(CHUNK).zip((at..).step_by(CHUNK)) {
            if let Said::Nothing(why) = (self.read)(slave, at, chunk)? {
                self.nothing = Some(why);
                return Ok(None);
            }
        }
        Ok(Some(bytes))
    }

    fn module(&mut self) -> Result<Option<Pluggable>> {
        let Some([identifier]) = self.bytes(IDENTIFICATION, 0)? else { return Ok(None) };
        let Some(&(_, form, layout)) = FORMS.iter().find(|row| row.0 == identifier) else {
            self.nothing = Some(format!("what is in its cage is of a kind that is not known here ({identifier:#04x})"));
            return Ok(None);
        };
        match layout {
            Layout::Sfp => self.sfp(form),
            Layout::Qsfp => self.qsfp(form),
            Layout::Cmis => self.cmis(form),
        }
    }

    fn sfp(&mut self, form: &'static str) -> Result<Option<Pluggable>> {
        const MEASURES: u8 = 92;
        const TEMPERATURE: u8 = 96;
        /// It measures, calibrated inside; another address has to be asked for.
        const MEASURED: u8 = 1 << 6;
        const INSIDE: u8 = 1 << 5;
        const HIDDEN: u8 = 1 << 2;
        let Some(id) = self.bytes(IDENTIFICATION, 0)? else { return Ok(None) };
        let mut module = identified(form, &id, OF_SFP, (id[36], 0))?;
        // Some modules tell what they are and no more.
        let how = self.bytes(IDENTIFICATION, MEASURES)?.map_or(0, |[how]| how);
        if how & (MEASURED | INSIDE | HIDDEN) == MEASURED | INSIDE {
            module.temperature = self.bytes(DIAGNOSTICS, TEMPERATURE)?.map(i16::from_be_bytes);
        }
        Ok(Some(module))
    }

    fn qsfp(&mut self, form: &'static str) -> Result<Option<Pluggable>> {
        const TEMPERATURE: u8 = 22;
        const MORE: u8 = 192;
        let Some(id) = self.bytes(IDENTIFICATION, PAGED)? else { return Ok(None) };
        let more = self.bytes(IDENTIFICATION, MORE)?.map_or(0, |[more]| more);
        let mut module = identified(form, &id, OF_QSFP, (more, 1))?;
        module.temperature = self.measured(TEMPERATURE)?;
        Ok(Some(module))
    }

    fn cmis(&mut self, form: &'static str) -> Result<Option<Pluggable>> {
        const VENDOR: u8 = 129;
        const PART: u8 = 148;
        const TEMPERATURE: u8 = 14;
        let Some(vendor) = self.bytes::<16>(IDENTIFICATION, VENDOR)? else { return Ok(None) };
        let Some(part) = self.bytes::<16>(IDENTIFICATION, PART)? else { return Ok(None) };
        Ok(Some(Pluggable {
            form,
            connector: None,
            vendor: printable(&vendor),
            part: printable(&part),
            complies: Vec::new(),
            temperature: self.measured(TEMPERATURE)?,
            // It is over the serial number too.
            summed: false,
        }))
    }

    /// The temperature there; a module that does not measure has zeros.
    fn measured(&mut self, at: u8) -> Result<Option<i16>> {
        Ok(self.bytes(IDENTIFICATION, at)?.map(i16::from_be_bytes).filter(|&temperature| temperature != 0))
    }
}

/// A module with these first 64 bytes of what it is. `more`: the code for what bits do not
/// cover, and which column is read.
fn identified(
    form: &'static str,
    id: &[u8; 64],
    bits: &[(usize, u8, &'static str)],
    more: (u8, usize),
) -> Result<Pluggable> {
    let (said, sum) = (id[63], id[..63].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
    if said != sum {
        let text = format!("the checksum over what its module is is {sum:#04x}, and it says {said:#04x}");
        return Err(Error::new(Kind::Device, text));
    }
    let set = bits.iter().filter(|row| id[row.0] >> row.1 & 1 != 0).map(|row| row.2);
    let coded = MORE.iter().find(|row| row.0 == more.0).map(|row| [row.1, row.2][more.1]);
    Ok(Pluggable {
        form,
        connector: CONNECTORS.iter().find(|row| row.0 == id[2]).map(|row| row.1),
        vendor: printable(&id[20..36]),
        part: printable(&id[40..56]),
        complies: set.chain(coded).collect(),
        temperature: None,
        summed: true,
    })
}

/// Bytes of a name, as far as they are text.
pub fn printable(bytes: &[u8]) -> String {
    let text: String =
        bytes.iter().filter(|byte| (b' '..=b'~').contains(*byte)).map(|byte| char::from(*byte)).collect();
    text.trim().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Identification pages of real modules, as others read them out.
    const MODULES: &str = include_str!("../../tests/recordings/sfp-modules.txt");

    /// What is said of a module with this memory, and which of its bytes were read.
    fn look(mut byte: impl FnMut(u8, u8) -> Option<u8>) -> (Result<Said<Pluggable>>, Vec<(u8, u8)>) {
        let mut seen = Vec::new();
        let module = read(|slave, at, bytes| {
            assert!(bytes.len() <= CHUNK);
            for (byte_here, at) in bytes.iter_mut().zip(at..) {
                seen.push((slave, at));
                match byte(slave, at) {
                    Some(byte) => *byte_here = byte,
                    None => return Ok(Said::Nothing("no answer".into())),
                }
            }
            Ok(Said::This(()))
        });
        (module, seen)
    }

    fn words(module: Result<Said<Pluggable>>) -> String {
        match module {
            Ok(Said::This(module)) => module.to_string(),
            Ok(Said::Nothing(why)) => format!("nothing: {why}"),
            Err(error) => format!("failed: {error}"),
        }
    }

    /// The page of a real module.
    fn page(name: &str) -> Vec<u8> {
        let line = MODULES.lines().find(|line| line.starts_with(name)).unwrap();
        let page = line.split_whitespace().last().unwrap();
        (0..page.len()).step_by(2).map(|at| u8::from_str_radix(&page[at..at + 2], 16).unwrap()).collect()
    }

    fn of_page(page: &[u8]) -> impl FnMut(u8, u8) -> Option<u8> {
        move |slave, at| match slave {
            IDENTIFICATION => page.get(usize::from(at)).copied(),
            _ => Some(if at == 96 { 0xfe } else { 0x80 }),
        }
    }

    #[test]
    fn real_modules_are_told_by_what_they_say() {
        for (name, told) in [
            ("sr-finisar", "SFP, LC; FINISAR CORP. FTLX8574D3BCL; 10GBASE-SR; -1.5 °C; checksum right"),
            ("lr-cisco", "SFP, LC; CISCO-FINISAR FTLX1474D3BCL-CS; 10GBASE-LR; -1.5 °C; checksum right"),
            ("dac-passive-amphenol", "SFP, copper pigtail; Amphenol 571540002; passive cable; checksum right"),
            ("1g-lx", "SFP, SC; ODI DFP-34X-2C2; 1000BASE-LX; checksum right"),
        ] {
            let page = page(name);
            assert_eq!(words(look(of_page(&page)).0), told, "{name}");
        }
    }

    #[test]
    fn every_real_module_has_a_right_checksum_and_one_bit_makes_it_wrong() {
        for line in MODULES.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let name = line.split_whitespace().next().unwrap();
            let mut page = page(name);
            assert!(words(look(of_page(&page)).0).ends_with("; checksum right"), "{name}");
            page[30] ^= 1;
            assert!(words(look(of_page(&page)).0).starts_with("failed: the checksum over what its module is is 0x"));
        }
    }

    /// A QSFP28 for 100GBASE-SR4, at so many degrees.
    fn qsfp(degrees: u8) -> Vec<u8> {
        let mut memory = vec![0; 256];
        (memory[0], memory[22], memory[128], memory[130], memory[131], memory[192]) =
            (0x11, degrees, 0x11, 0x0c, 0x80, 0x02);
        memory[148..164].copy_from_slice(b"Acme            ");
        memory[168..184].copy_from_slice(b"Q-1             ");
        memory[191] = memory[128..191].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        memory
    }

    #[test]
    fn one_of_four_lanes_has_it_in_a_page() {
        assert_eq!(words(look(of_page(&qsfp(40))).0), "QSFP28, MPO; Acme Q-1; 100GBASE-SR4; 40.0 °C; checksum right");
        assert_eq!(words(look(of_page(&qsfp(0))).0), "QSFP28, MPO; Acme Q-1; 100GBASE-SR4; checksum right");
    }

    #[test]
    fn one_with_cmis_has_it_elsewhere() {
        let mut memory = vec![0; 256];
        (memory[0], memory[14]) = (0x18, 50);
        memory[129..145].copy_from_slice(b"Acme            ");
        memory[148..164].copy_from_slice(b"DD-1            ");
        assert_eq!(
            words(look(of_page(&memory)).0),
            "QSFP-DD; Acme DD-1; 50.0 °C; checksum not looked at (it is over the serial number)"
        );
    }

    /// Serial numbers and dates: SFF-8472 §8, SFF-8636 §6.3, CMIS 5 §8.3.
    #[test]
    fn what_tells_one_module_from_another_is_not_read() {
        let mut cmis = qsfp(1);
        cmis[0] = 0x1e;
        let sfp = page("sr-finisar");
        for (memory, secret) in [(&sfp, 67..92), (&qsfp(1), 196..220), (&cmis, 166..190)] {
            let (module, seen) = look(of_page(memory));
            assert!(matches!(module, Ok(Said::This(_))), "{module:?}");
            assert!(seen.iter().all(|(slave, at)| *slave != IDENTIFICATION || !secret.contains(at)), "{seen:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_reason_and_no_failure() {
        assert_eq!(words(look(|_, _| None).0), "nothing: no answer");
        assert_eq!(words(look(|_, at| (at < 3).then_some(3)).0), "nothing: no answer");
        let strange = "nothing: what is in its cage is of a kind that is not known here (0x55)";
        assert_eq!(words(look(|_, _| Some(0x55)).0), strange);
        // One that does not say how it is measured is one all the same.
        let page = page("sr-finisar");
        let short = look(|slave, at| (at < 64 && slave == IDENTIFICATION).then(|| page[usize::from(at)])).0;
        assert_eq!(words(short), "SFP, LC; FINISAR CORP. FTLX8574D3BCL; 10GBASE-SR; checksum right");
    }
}
