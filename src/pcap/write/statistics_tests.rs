//! What each file of a series says of the packets up to its end.

use super::series_tests::{BOTH, Hand, THEN, files, numbered, put, recorders};
use super::*;
use crate::pcap::record::Totals;
use crate::pcap::section::Section;

#[test]
fn each_pcapng_file_says_how_many_packets_there_are_up_to_its_end() {
    let (dir, hand) = (tempfile::tempdir().unwrap(), Hand::default());
    let rules = Rules { records: Some(10), ..Rules::default() };
    let mut all = recorders(Format::Pcapng, BOTH[0], 1, numbered(&dir, rules), false, &hand);
    (0..35).for_each(|number| put(&mut all[0], 0, number, THEN));
    let written = Recorder::finish_all(all, &[Totals { received: 40, delivered: 35, ..Totals::default() }]);
    assert_eq!(written.records, 35);
    let told: Vec<u64> = files(&dir)
        .iter()
        .map(|path| {
            let bytes = std::fs::read(path).unwrap();
            let len = u32::from_le_bytes(bytes[bytes.len() - 4..].try_into().unwrap()) as usize;
            let block = &bytes[bytes.len() - len..];
            assert_eq!(block[..4], 5_u32.to_le_bytes(), "an interface statistics block");
            // isb_usrdeliv, draft-ietf-opsawg-pcapng section 4.6.
            let at = block.windows(4).position(|option| option == [8, 0, 8, 0]).unwrap() + 4;
            u64::from_le_bytes(block[at..at + 8].try_into().unwrap())
        })
        .collect();
    assert_eq!(told, [10, 20, 30, 35]);
}

/// Interface and packets so far of each statistics block of a file.
fn statistics(path: &Path) -> Vec<(u32, u64)> {
    let bytes = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, mut found) = (0, Vec::new());
    while at < bytes.len() {
        let len = word(at + 4) as usize;
        if word(at) == 5 {
            let block = &bytes[at..at + len];
            // isb_usrdeliv, draft-ietf-opsawg-pcapng section 4.6.
            let option = block.windows(4).position(|option| option == [8, 0, 8, 0]).unwrap() + 4;
            found.push((word(at + 8), u64::from_le_bytes(block[option..option + 8].try_into().unwrap())));
        }
        at += len;
    }
    found
}

#[test]
fn each_file_of_several_interfaces_says_how_many_packets_of_each_there_are_up_to_its_end() {
    for means in BOTH {
        let (dir, hand) = (tempfile::tempdir().unwrap(), Hand::default());
        let rules = Rules { records: Some(10), ..Rules::default() };
        let section = Section::of(["one", "other"]);
        let plan = Plan {
            path: Path::new("unused"),
            format: Format::Pcapng,
            snaplen: SNAPLEN,
            buffer: CHUNK,
            section: &section,
        };
        let layout = Layout { series: Some(numbered(&dir, rules)), ..Layout::default() };
        let mut all = Recorder::by_clock(&plan, means, 1, layout, move || hand.now(), |_| ()).unwrap();
        for number in 0..35 {
            all[0].switch_to(u32::from(number % 3 == 0));
            put(&mut all[0], 0, number, THEN);
        }
        let totals = [0, 1].map(|interface| Totals {
            interface,
            delivered: 23 - 11 * u64::from(interface),
            ..Totals::default()
        });
        let written = Recorder::finish_all(all, &totals);
        let told: Vec<_> = files(&dir).iter().map(|path| statistics(path)).collect();
        let each = |first, second| vec![(0, first), (1, second)];
        assert_eq!(told, [each(6, 4), each(13, 7), each(20, 10), each(23, 12)], "{means:?}");
        // Each of them is on the disk, not the last one alone.
        let files = written.files.unwrap();
        assert_eq!((files.begun, files.synced), (4, 4));
    }
}
