//! Vital product data, as a card has it in its EEPROM (PCI 3.0 appendix I), with the
//! fields that Mellanox's manuals list.
//!
//! ```text
//!   82 name    90 [ PN EC SN V0 RV ]    91 [ V1 RW ]    78 at byte 255
//! ```

use super::super::FaultKind;

/// Where the end is.
const END: usize = 255;

/// Where it is torn: behind the longest name, and before RV of the shortest.
const TEAR: usize = 64;

/// The serial number, of no card.
const SERIAL: &[u8] = b"EMU-SERIAL-0001";

/// That of a card with this name, and what its fault makes of it.
pub(super) fn of(name: &str, fault: Option<FaultKind>) -> Vec<u8> {
    let fields = [("PN", &b"EMULATED    "[..]), ("EC", b"A1"), ("SN", SERIAL), ("V0", b"PCIe x8 "), ("RV", &[0])];
    let mut bytes = [large(0x82, name.as_bytes()), large(0x90, &fields.map(field).concat())].concat();
    // With the last byte of these all of them come to zero.
    let sum = bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    if let Some(last) = bytes.last_mut() {
        *last = sum.wrapping_neg().wrapping_add((fault == Some(FaultKind::VpdSum)).into());
    }
    let free = END - bytes.len() - 3 - 3 - 3 - 3;
    bytes.extend(large(0x91, &[("V1", &b"N/A"[..]), ("RW", &vec![0; free])].map(field).concat()));
    bytes.push(0x78);
    if fault == Some(FaultKind::VpdTorn) {
        // As an EEPROM is that was never written.
        bytes[TEAR..].fill(0xff);
    }
    bytes
}

/// A large resource: tag, length, content.
fn large(tag: u8, content: &[u8]) -> Vec<u8> {
    let [low, high] = (content.len() as u16).to_le_bytes();
    [&[tag, low, high], content].concat()
}

/// A field of one: keyword, length, content.
fn field((keyword, content): (&str, &[u8])) -> Vec<u8> {
    [keyword.as_bytes(), &[content.len() as u8], content].concat()
}
