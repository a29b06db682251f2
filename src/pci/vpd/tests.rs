use super::*;
use crate::emu::{Drive, Engine, Spec};
use crate::pci::troubled::Troubled;
use std::sync::atomic::Ordering;

const WHOLE: &[u8] = b"\x82\x04\x00Card\x90\x15\x00PN\x04P-1 EC\x01ASN\x03123RV\x01\xff\x91\x03\x00RW\x00\x78";

/// Those bytes with a checksum that is right.
fn whole() -> Vec<u8> {
    let mut bytes = WHOLE.to_vec();
    let sum = bytes.windows(3).position(|three| three == *b"RV\x01").unwrap() + 3;
    bytes[sum] = 0;
    bytes[sum] = bytes[..=sum].iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    bytes
}

/// What is made of these bytes, and of `rest` for ever behind them; and how many were read.
fn read_of(bytes: &[u8], rest: u8) -> (String, usize) {
    let mut read = 0;
    let found = parse(|| {
        read += 1;
        Ok(bytes.get(read - 1).copied().unwrap_or(rest))
    });
    (said(found), read)
}

fn said(found: Result<Vpd>) -> String {
    match found {
        Ok(Vpd::Product(Product { name, part, changes, summed })) => format!("{name} {part:?} {changes:?} {summed}"),
        Ok(Vpd::Nothing(why)) => why,
        Err(error) => format!("failed: {error}"),
    }
}

#[test]
fn what_is_whole_is_told_without_its_serial_number_and_not_read_beyond_its_end() {
    let product = r#"Card Some("P-1") Some("A") true"#;
    assert_eq!(read_of(&whole(), 0x55), (product.into(), whole().len()));
    // What Linux passes over is passed over here too: other tags, and the rest behind RV.
    let other = b"\x82\x01\x00C\x1c\x01\x02\x03\x04\x84\x02\x00\xff\xff\x90\x00\x00\x79\x00";
    assert_eq!(read_of(other, 0), ("C None None false".into(), other.len() - 1));
    let text = b"\x82\x06\x00 \x1b[\xe9\x00 \x78";
    assert_eq!(read_of(text, 0).0, "?[? None None false");
}

#[test]
fn what_was_never_written_is_nothing_at_its_first_byte() {
    for (bytes, why) in [
        (&[0][..], "it was never written"),
        (&[0xff], "it was never written"),
        (&[0x78], "it is empty"),
        (&[0x30, 0x12], "it begins with 0x30, so it is none"),
    ] {
        assert_eq!(read_of(bytes, bytes[0]), (why.into(), 1));
    }
}

#[test]
fn what_begins_rightly_and_is_broken_is_told() {
    let with = |at: usize, byte: u8| {
        let mut bytes = whole();
        bytes[at] = byte;
        read_of(&bytes, 0).0
    };
    let sum = whole().len() - 8;
    assert_eq!(with(sum, whole()[sum].wrapping_add(3)), "failed: byte 27: the checksum is wrong by 3");
    assert_eq!(with(3, b'c'), "failed: byte 27: the checksum is wrong by 32");
    assert_eq!(with(29, 0), "failed: byte 27: a checksum of no bytes");
    assert_eq!(with(29, 2), "failed: byte 27: a field of 2 bytes in 1");
    assert_eq!(with(8, 0x16), "failed: byte 27: the checksum is wrong by 1");
    assert_eq!(with(8, 2), "failed: byte 10: a field has no room");
    assert_eq!(with(12, 0x20), "failed: byte 10: a field of 32 bytes in 18");
    assert_eq!(with(10, b'\n'), "failed: byte 10: [0a, 4e] is no keyword");
    assert_eq!(with(7, 3), "failed: byte 7: 0x03 is no tag");
    assert_eq!(with(2, 0x80), "failed: byte 0: 32772 bytes, which go beyond its end");
}

#[test]
fn what_is_torn_has_an_end_wherever_it_is_torn() {
    let whole = whole();
    for (rest, cut) in [0x00, 0xff].into_iter().flat_map(|rest| (1..whole.len()).map(move |cut| (rest, cut))) {
        let (found, read) = read_of(&whole[..cut], rest);
        assert!(found.starts_with("failed: byte "), "{cut} {rest:#x}: {found}");
        assert!(read < 600, "{cut} {rest:#x}: {read}");
    }
    // One of small tags without end.
    let endless = (format!("failed: byte {SPACE}: it has no end"), SPACE);
    assert_eq!(read_of(b"\x82\x01\x00C", 0x17), endless);
}

#[test]
fn a_card_is_read_and_one_that_does_not_answer_is_given_up() {
    let engine = Engine::new(Drive::Manual);
    let card = Troubled::of(engine.open(&Spec::new("cx5")).unwrap().0);
    assert_eq!(said(vpd(&card)), r#"ConnectX, emulated Some("EMULATED") Some("A1") true"#);
    assert_eq!(registers(&card).unwrap().first(), Some(&(0x4a..0x50)));
    card.vpd_until.store(64, Ordering::Relaxed);
    assert_eq!(said(vpd(&card)), "failed: byte 64 is not read in 125 ms");
    card.vpd_until.store(0, Ordering::Relaxed);
    assert_eq!(said(vpd(&card)), "it does not answer");
    card.gone.store(true, Ordering::Relaxed);
    assert_eq!(said(vpd(&card)), "it has none");
    let without = engine.open(&Spec::new("82599")).unwrap().0;
    assert_eq!(said(vpd(&*without)), "it has none");
}

#[test]
fn devices_that_linux_does_not_ask_are_not_asked() {
    let id = |vendor, device| Id { vendor, device, ..Id::default() };
    assert!(is_shunned(id(0x1969, 0x1063)) && is_shunned(id(0x1000, 0x005d)));
    assert!(!is_shunned(id(0x1000, 0x005c)) && !is_shunned(id(0x15b3, 0x1017)));
}
