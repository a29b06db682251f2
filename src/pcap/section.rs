//! What a pcapng file says before its packets: of itself, and of each interface that they
//! came by (draft-ietf-opsawg-pcapng, §4.1 and §4.2).
//!
//! ```text
//!   section header    comments, hardware, operating system, program
//!   interface 0       name, description, address, speed, resolution of times, filter, ...
//!   interface 1       ...
//! ```
//!
//! What is not known is left out.

use super::decode::ETHERNET;
use super::record::{INTERFACE, SECTION, block, option, words};
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;

/// Bytes that the value of an option has at most: its length is a number of 16 bits (§3.5).
const LONGEST: usize = u16::MAX as usize;

/// A section, which is all of a file that is written here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Comments on the whole file.
    pub comments: Vec<String>,
    /// Hardware of the machine that writes it.
    pub hardware: Option<String>,
    /// Its operating system.
    pub os: Option<String>,
    /// The program that writes it.
    pub application: Option<String>,
    /// In the order of their numbers.
    pub interfaces: Vec<Interface>,
}

/// An interface that packets came by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// As the user calls it.
    pub name: String,
    /// What it is, in words.
    pub description: Option<String>,
    /// Ethernet address.
    pub mac: Option<MacAddr>,
    /// Bits a second.
    pub speed: Option<u64>,
    /// The filter that packets passed, as it was written.
    pub filter: Option<String>,
    /// Operating system of the machine that it is in.
    pub os: Option<String>,
    /// Model of the card.
    pub hardware: Option<String>,
}

impl Section {
    /// With interfaces of these names, and nothing else said of them.
    pub fn of<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let interface = |name: S| Interface { name: name.into(), ..Interface::default() };
        Section { interfaces: names.into_iter().map(interface).collect(), ..Section::default() }
    }

    /// Refuses what has no place in an option.
    ///
    /// # Errors
    /// [`Kind::Usage`] with what is too long.
    pub fn check(&self) -> Result<()> {
        self.comments.iter().try_for_each(|comment| fits("a comment", comment, 0))?;
        for Interface { name, filter, .. } in &self.interfaces {
            fits("the name of an interface", name, 0)?;
            filter.as_ref().map_or(Ok(()), |filter| fits("a filter", filter, 1))?;
        }
        Ok(())
    }

    /// Appends its blocks: packets are cut to `snaplen`, their times are nanoseconds.
    pub(super) fn put(&self, out: &mut Vec<u8>, snaplen: u32) {
        block(out, SECTION, |out| {
            // Byte order, version 1.0, length of the section unknown.
            words(out, &[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]);
            let said = self.comments.iter().map(|comment| (1, comment));
            let own = [(2, &self.hardware), (3, &self.os), (4, &self.application)];
            let own = own.into_iter().filter_map(|(code, text)| Some((code, text.as_ref()?)));
            let all: Vec<_> = said.chain(own).collect();
            all.iter().for_each(|(code, text)| option(out, *code, text.as_bytes()));
            if !all.is_empty() {
                option(out, 0, &[]);
            }
        });
        self.interfaces.iter().for_each(|interface| interface.put(out, snaplen));
    }
}

impl Interface {
    fn put(&self, out: &mut Vec<u8>, snaplen: u32) {
        block(out, INTERFACE, |out| {
            words(out, &[ETHERNET, snaplen]);
            let mut text = |code, text: Option<&String>| {
                if let Some(text) = text {
                    option(out, code, text.as_bytes());
                }
            };
            text(2, Some(&self.name));
            text(3, self.description.as_ref());
            text(12, self.os.as_ref());
            text(15, self.hardware.as_ref());
            if let Some(MacAddr(mac)) = &self.mac {
                option(out, 6, mac);
            }
            if let Some(speed) = self.speed {
                option(out, 8, &speed.to_le_bytes());
            }
            // Resolution 10^-9 s.
            option(out, 9, &[9]);
            if let Some(filter) = &self.filter {
                // It begins with a byte for its language: 0 is that of libpcap.
                option(out, 11, &[&[0], filter.as_bytes()].concat());
            }
            option(out, 0, &[]);
        });
    }
}

/// Refuses a `text` that is too long for an option which holds `beside` bytes more.
///
/// # Errors
/// [`Kind::Usage`] with `what` it is.
pub fn fits(what: &str, text: &str, beside: usize) -> Result<()> {
    let (len, most) = (text.len(), LONGEST - beside);
    if len <= most {
        return Ok(());
    }
    let line = format!("{what} of {len} bytes does not fit into a pcapng file, which holds {most} of it; shorten it");
    Err(Error::new(Kind::Usage, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options behind the `fixed` bytes of the block at the start of `bytes`, and the rest.
    fn options(bytes: &[u8], kind: u32, fixed: usize) -> (Vec<(u16, Vec<u8>)>, &[u8]) {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let len = word(4) as usize;
        assert_eq!((word(0), word(len - 4) as usize, len % 4), (kind, len, 0));
        let mut rest = &bytes[8 + fixed..len - 4];
        let mut all = Vec::new();
        while let [a, b, c, d, behind @ ..] = rest {
            let (code, len) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
            all.push((code, behind[..len].to_vec()));
            rest = &behind[len.next_multiple_of(4)..];
            assert!(code != 0 || rest.is_empty(), "nothing follows the end of options");
        }
        (all, &bytes[len..])
    }

    #[test]
    fn a_section_and_its_interfaces_stand_byte_for_byte_where_the_draft_has_them() {
        let text = |text: &str| Some(text.to_string());
        let section = Section {
            comments: vec!["one".into(), "two, longer".into()],
            hardware: text("cpu"),
            os: text("Linux 6"),
            application: text("bmnic"),
            interfaces: vec![
                Interface {
                    name: "card".into(),
                    description: text("a card"),
                    mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
                    speed: Some(10_000_000_000),
                    filter: text("tcp"),
                    os: text("Linux 6"),
                    hardware: text("82599"),
                },
                Interface { name: "other".into(), ..Interface::default() },
            ],
        };
        let mut bytes = Vec::new();
        section.put(&mut bytes, 96);
        let (of_section, rest) = options(&bytes, SECTION, 16);
        let want: [(u16, &[u8]); 6] =
            [(1, b"one"), (1, b"two, longer"), (2, b"cpu"), (3, b"Linux 6"), (4, b"bmnic"), (0, b"")];
        assert_eq!(of_section, want.map(|(code, value)| (code, value.to_vec())));
        assert_eq!(rest[8..16], [1, 0, 0, 0, 96, 0, 0, 0], "Ethernet, cut to 96 bytes");
        let (first, rest) = options(rest, INTERFACE, 8);
        let want: [(u16, &[u8]); 9] = [
            (2, b"card"),
            (3, b"a card"),
            (12, b"Linux 6"),
            (15, b"82599"),
            (6, &[2, 0, 0, 0, 0, 1]),
            (8, &[0, 0xe4, 0x0b, 0x54, 2, 0, 0, 0]),
            (9, &[9]),
            (11, b"\0tcp"),
            (0, b""),
        ];
        assert_eq!(first, want.map(|(code, value)| (code, value.to_vec())));
        let (second, rest) = options(rest, INTERFACE, 8);
        assert_eq!(second, [(2, b"other".to_vec()), (9, vec![9]), (0, vec![])]);
        assert!(rest.is_empty());
    }

    #[test]
    fn what_an_option_has_no_room_for_is_refused_and_one_byte_less_is_not() {
        let comment = |len| Section { comments: vec!["x".repeat(len)], ..Section::default() };
        assert!(comment(65_535).check().is_ok());
        let refused = comment(65_536).check().unwrap_err();
        assert_eq!(refused.kind(), Kind::Usage);
        assert!(refused.to_string().contains("a comment of 65536 bytes"), "{refused}");
        let filtered = |len| {
            let interface = Interface { filter: Some("x".repeat(len)), ..Interface::default() };
            Section { interfaces: vec![interface], ..Section::default() }.check()
        };
        assert!(filtered(65_534).is_ok() && filtered(65_535).is_err());

        let mut bytes = Vec::new();
        comment(65_535).put(&mut bytes, 0);
        let (options, rest) = options(&bytes, SECTION, 16);
        assert_eq!((options[0].1.len(), options[1].0, rest.len()), (65_535, 0, 0));
    }
}
