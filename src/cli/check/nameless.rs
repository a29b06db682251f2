//! Words without what tells one machine, or one card of a kind, from another.
//!
//! ```text
//!   names of cards     DEV and PEER
//!   names of files     FILE, as they were given
//!   addresses          ADDRESS: Ethernet's in any form, EUI-64, PCI's; inside words, too
//!   paths              PATH, unless they are the kernel's
//! ```

use crate::pci::Address;

/// Paths that are the same on every machine.
const KERNEL: [&str; 3] = ["/sys/", "/proc/", "/dev/"];

/// Digits of an Ethernet address, of which numbers in messages have fewer.
const DIGITS: usize = 12;

/// The text without these names, each of which goes by another, and without Ethernet and PCI
/// addresses and paths.
pub fn nameless(text: &str, names: &[(String, &str)]) -> String {
    let mut names: Vec<&(String, &str)> = names.iter().filter(|(name, _)| !name.is_empty()).collect();
    // One may begin as another does.
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let name = names.iter().find(|(name, _)| {
            let behind = rest.strip_prefix(name.as_str());
            behind.is_some_and(|behind| !before.is_alphanumeric() && !behind.starts_with(char::is_alphanumeric))
        });
        let (word, len) = match name {
            Some((name, other)) => (*other, name.len()),
            None => match (address(rest, before), path(rest, before)) {
                (Some(len), _) => ("ADDRESS", len),
                (None, Some(len)) => ("PATH", len),
                (None, None) => (&rest[..first.len_utf8()], first.len_utf8()),
            },
        };
        out.push_str(word);
        before = rest[..len].chars().next_back().unwrap_or(' ');
        rest = &rest[len..];
    }
    out
}

/// The numbers that a release of a kernel begins with: `6.1.0` of `6.1.0-18-amd64`. The rest
/// is whatever who built it liked.
pub fn version(release: &str) -> String {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    release[..end].trim_end_matches('.').into()
}

/// How long the address is that the text begins with.
fn address(text: &str, before: char) -> Option<usize> {
    let whole = !before.is_ascii_hexdigit();
    groups(text, 2, &[':', '-'], 6)
        .or_else(|| groups(text, 4, &['.'], 3).filter(|_| whole))
        .or_else(|| Some(digits(text)).filter(|len| whole && *len >= DIGITS))
        .or_else(|| pci(text).filter(|_| whole))
}

/// How many hexadecimal digits it begins with.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_hexdigit).count()
}

/// How long the groups of `size` digits are that it begins with, if there are `least`:
/// `02:00:00:00:00:01`, and more of them in an EUI-64.
fn groups(text: &str, size: usize, between: &[char], least: usize) -> Option<usize> {
    let is_group = |text: &str| text.len() >= size && digits(&text[..floor(text, size)]) == size;
    let between = text.chars().nth(size).filter(|c| between.contains(c))?;
    let (mut len, mut count) = (size, 1);
    if !is_group(text) {
        return None;
    }
    while let Some(next) = text[len..].strip_prefix(between)
        && is_group(next)
    {
        len += 1 + size;
        count += 1;
    }
    (count >= least).then_some(len)
}

/// The place of a character at this one or before it.
fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// How long the PCI address is that it begins with: `0000:03:00.0`, or without its domain.
fn pci(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_hexdigit() && !matches!(c, ':' | '.')).unwrap_or(text.len());
    let point = text[..end].find('.')?;
    let len = point + 2;
    let word = text.get(..len)?;
    let is = |word: &str| word.parse::<Address>().is_ok();
    let ends = digits(&text[len..]) == 0;
    (ends && word.contains(':') && (is(word) || is(&format!("0000:{word}")))).then_some(len)
}

/// How long the path is that it begins with, unless it is the kernel's.
fn path(text: &str, before: char) -> Option<usize> {
    let begins = text.starts_with('/') && !before.is_alphanumeric() && !matches!(before, '/' | '.' | '-' | '_');
    if !begins || KERNEL.iter().any(|kernel| text.starts_with(kernel)) {
        return None;
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | ',' | ';' | ':' | ')');
    let len = text.find(ends).unwrap_or(text.len());
    (len > 1).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(text: &str) -> String {
        let names = [
            ("emu:cx5,mac=02:ab:cd:ef:12:34".to_string(), "DEV"),
            ("alice0".to_string(), "DEV"),
            ("0000:04:00.1".to_string(), "PEER"),
            (String::new(), "NOBODY"),
        ];
        nameless(text, &names)
    }

    #[test]
    fn names_and_addresses_are_left_out_and_the_rest_is_kept() {
        for (text, nothing) in [
            ("emu:cx5,mac=02:ab:cd:ef:12:34: no link after 1.0 s", "DEV: no link after 1.0 s"),
            ("alice0: no link; malice0 and alice01 are others", "DEV: no link; malice0 and alice01 are others"),
            ("0000:04:00.1: gone", "PEER: gone"),
            ("its bridge 0000:00:1c.4: hot reset", "its bridge ADDRESS: hot reset"),
            ("(03:00.0) has it", "(ADDRESS) has it"),
            ("/sys/bus/pci/devices/0000:03:00.0/vpd", "/sys/bus/pci/devices/ADDRESS/vpd"),
            ("pci-0000:03:00.0-sfp, 10000:e1:00.0.", "pci-ADDRESS-sfp, ADDRESS."),
            ("8086:10fb, revision 1", "8086:10fb, revision 1"),
            ("7.10 0x8000a5c3 of 256 flows as [64, 70]: é", "7.10 0x8000a5c3 of 256 flows as [64, 70]: é"),
            (
                "version 16.35.2000, 227.0.131.0 (12345678901 bytes)",
                "version 16.35.2000, 227.0.131.0 (12345678901 bytes)",
            ),
        ] {
            assert_eq!(without(text), nothing);
        }
    }

    #[test]
    fn an_ethernet_address_is_found_in_every_form_and_inside_words() {
        for (text, nothing) in [
            ("from 02:AB:cd:ef:12:34.", "from ADDRESS."),
            ("from 02-ab-cd-ef-12-34, not 7", "from ADDRESS, not 7"),
            ("card02:ab:cd:ef:12:34x", "cardADDRESSx"),
            ("seed02:ab:cd:ef:12:34.pcap", "seedADDRESS.pcap"),
            ("1:02:ab:cd:ef:12:34", "1:ADDRESS"),
            ("guid 00:1b:21:ff:fe:aa:bb:cc", "guid ADDRESS"),
            ("02ab.cdef.1234: down", "ADDRESS: down"),
            ("enx001b21aabbcc: down", "enxADDRESS: down"),
            ("0x001b21fffeaabbcc", "0xADDRESS"),
            ("a:b:c 02:ab:cd:ef:12 02:ab-cd:ef-12:34", "a:b:c 02:ab:cd:ef:12 02:ab-cd:ef-12:34"),
            ("é2:ab:cd 0é", "é2:ab:cd 0é"),
        ] {
            assert_eq!(without(text), nothing);
        }
    }

    #[test]
    fn paths_that_people_chose_are_left_out_and_those_of_the_kernel_are_kept() {
        for (text, nothing) in [
            ("reading /home/alice/fw.bin: denied", "reading PATH: denied"),
            ("wire=pcap:/home/alice/a.pcap,nasty", "wire=pcap:PATH,nasty"),
            ("'/root/x' and (/tmp/y)", "'PATH' and (PATH)"),
            ("opening /dev/vfio/12: busy", "opening /dev/vfio/12: busy"),
            ("10 Gbit/s, and/or 3 / 4", "10 Gbit/s, and/or 3 / 4"),
        ] {
            assert_eq!(without(text), nothing);
        }
    }

    #[test]
    fn of_a_kernel_the_numbers_are_told() {
        for (release, told) in
            [("6.1.0-18-amd64", "6.1.0"), ("6.1.0-alice", "6.1.0"), ("6.12.rc3+", "6.12"), ("5.4", "5.4"), ("me", "")]
        {
            assert_eq!(version(release), told);
        }
    }
}
