//! The driver's own sequence, held against the recording.

use super::*;

/// Pages that the recorded card wanted: to say what it can, and to start.
const PAGES: [usize; 2] = [6, 12868];

/// Where the driver's requests differ from Linux's up to INIT_HCA, and why.
const DIFFERENCES: &[(u16, usize, &str)] =
    &[(0x109, 0x20, "log_max_qp: Linux raises it, and the card wants 50 MiB; here it is lowered")];

#[test]
fn up_to_the_start_of_the_firmware_the_sequence_is_that_which_the_real_card_took() {
    let rig = Rig::new();
    drop(rig.opened());
    let (asked, recorded) = (rig.card.asked(), recording());
    let start = recorded.iter().position(|recorded| recorded.code.0 == 0x102).unwrap();
    assert_eq!(start, 11);
    for (n, (asked, recorded)) in asked.iter().zip(&recorded[..=start]).enumerate() {
        assert_eq!(asked.code(), recorded.code, "request {n}");
        // Type, lengths and token; addresses are this machine's.
        let entry = &recorded.entry;
        assert_eq!((asked.entry[0], asked.entry[1], asked.entry[14]), (entry[0], entry[1], entry[6]), "request {n}");
        assert_eq!(asked.entry[15] >> 24, entry[7] >> 24, "request {n}");
        if entry[2..6] == [0; 4] {
            assert_eq!(asked.entry[15], entry[7], "request {n}: nothing but itself is signed");
        }
        let len = if asked.code().0 == 0x108 { 0x10 } else { asked.input.len() };
        for at in (0..len).step_by(4) {
            let real = recorded.input.get(&at).copied().unwrap_or(0);
            let known = DIFFERENCES.iter().any(|(code, place, _)| (*code, *place) == (asked.code().0, at));
            assert_eq!(word(asked, at) != real, known, "request {n} at {at:#x}: {:#x}, {real:#x}", word(asked, at));
        }
    }
    assert_eq!(word(&asked[8], 0x20), 0x0f0f_000c, "2^12 queues");
    let given: Vec<usize> = rig.card.asked_for(0x108).iter().filter(|asked| asked.code().1 == 1).map(pages).collect();
    assert_eq!(given, PAGES);
}

/// Pages that a request gives.
fn pages(asked: &Asked) -> usize {
    (asked.input.len() - 16) / 8
}

#[test]
fn the_pages_of_a_real_card_are_given_in_one_request_by_the_last_entry() {
    let rig = Rig::new();
    drop(rig.opened());
    let give = &rig.card.asked_for(0x108)[1];
    assert_eq!((give.slot, give.input.len(), give.entry[1]), (31, 0x19230, 0x19230));
    assert!(rig.card.asked().iter().all(|asked| (asked.slot == 31) == (asked.code().0 == 0x108)));
}

#[test]
fn after_the_start_it_asks_for_what_linux_asks_for_and_no_more_than_it_needs() {
    let rig = Rig::new();
    drop(rig.opened());
    let codes = rig.codes();
    let after = codes.iter().position(|code| code.0 == 0x102).unwrap() + 1;
    let caps: Vec<_> = codes[after..].iter().filter(|code| code.0 == 0x100).map(|code| code.1).collect();
    assert_eq!(caps, [1, 3, 0xf], "what is set, of the function, of Ethernet, of flow tables");
    let made: Vec<u16> = codes[after..].iter().map(|code| code.0).collect();
    let order = [
        0x107, 0x100, 0x100, 0x100, 0x754, // firmware, capabilities, vport
        0x805, 0x805, // the port as it was found
        0x805, 0x805, 0x755, 0x805, 0x754, // frames: most, asked for, what was granted
        0x805, 0x805, 0x805, // pauses, loopback, link
        0x802, 0x301, 0x800, 0x816, 0x200, 0x912, 0x771, // what queues have in common
        0x802, 0x400, 0x908, 0x909, // a receive queue
        0x802, 0x400, 0x904, 0x905, // a send queue
        0x900, 0x805, 0x805, 0x773, 0x770, // its place; counters
        0x930, 0x933, 0x933, 0x933, 0x936, 0x936, 0x936, 0x92f, 0x755, 0x755, 0x755, 0x829, // flows
    ];
    assert_eq!(made[..order.len()], order);
    let queue = &rig.card.asked_for(0x301)[0];
    assert_eq!(word(queue, 0x5c), 0x810, "events that are acted on");
    assert_eq!(word(queue, 0x1c) >> 24, 12);
}

#[test]
fn everything_that_was_made_is_taken_back_the_latest_first_and_then_the_pages() {
    let rig = Rig::new();
    let opened = rig.opened();
    rig.card.forget();
    let resets = rig.card.waited().0;
    drop(opened);
    let codes: Vec<u16> = rig.codes().iter().map(|code| code.0).collect();
    let order = [
        0x755, 0x82b, 0x938, 0x938, 0x938, // nothing more is received
        0x805, 0x805, // the port as it was found
        0x92f, 0x934, 0x934, 0x934, 0x931, // flows
        0x902, 0x906, 0x401, 0x803, 0x90a, 0x401, 0x803, // queues
        0x772, 0x914, 0x202, 0x817, 0x801, 0x302, 0x803, 0x103,
    ];
    assert_eq!(codes[..order.len()], order);
    let rest = &codes[order.len()..];
    assert!(rest[..rest.len() - 1].iter().all(|code| *code == 0x108), "{rest:x?}");
    assert_eq!(rest.last(), Some(&0x105));
    assert_eq!(rest.len() - 1, PAGES.iter().sum::<usize>().div_ceil(1024));
    assert!(rig.firmware.lock().unwrap().pages.is_empty());
    assert_eq!(rig.card.waited().0, resets + 1, "and the function is reset");
}

#[test]
fn several_queues_are_spread_over_by_kind_of_frame_and_flows_come_before_addresses() {
    let rig = Rig::new();
    let config = Config { rx_queues: 3, promiscuous: false, ..Config::default() };
    let mut opened = rig.open(&config).unwrap();
    let table = &rig.card.asked_for(0x916)[0];
    assert_eq!((word(table, 0x34), word(table, 0x38), table.input.len()), (128, 128, 0x110 + 512));
    let queues: HashSet<u32> = (0..128).map(|n| word(table, 0x110 + 4 * n)).collect();
    assert_eq!(queues.len(), 3);
    let places = rig.card.asked_for(0x900);
    assert_eq!(places.len(), 3 + 6);
    let hashes: Vec<u32> = places[3..].iter().map(|place| word(place, 0x70)).collect();
    assert_eq!(hashes, [0xf, 0x4000_000f, 0x8000_000f, 0xc000_000f, 3, 0x8000_0003]);
    assert!(places[3..].iter().all(|place| word(place, 0x44) >> 28 == 2 && word(place, 0x48) == 0x6d5a_6d5a));
    // Level and size: kinds of frames, then the root.
    let tables: Vec<u32> = rig.card.asked_for(0x930).iter().map(|table| word(table, 0x18)).collect();
    assert_eq!(tables, [0x0001_0003, 0x0000_0007]);
    let root = rig.card.asked_for(0x936);
    let last = &root[root.len() - 1];
    assert_eq!((word(last, 0x20), word(last, 0x340) >> 24), (65, 1), "broadcast, to a table");
    rig.card.forget();
    let rule = crate::driver::FlowRule {
        source: None,
        destination: Some([239, 1, 2, 3].into()),
        source_port: None,
        destination_port: Some(0x1234),
        protocol: crate::dma::L4::Udp,
        queue: 2,
    };
    opened.ops.steer(0, &rule).unwrap();
    let (group, entry) = (&rig.card.asked_for(0x933)[0], &rig.card.asked_for(0x936)[0]);
    assert_eq!((word(group, 0x1c), word(group, 0x24), word(group, 0x3c)), (0, 0, 1));
    assert_eq!(
        (word(group, 0x44), word(group, 0x50), word(group, 0x5c), word(group, 0x7c)),
        (0xffff, 0xff00_0000, 0xffff, u32::MAX)
    );
    assert_eq!(
        (word(entry, 0x84), word(entry, 0x90), word(entry, 0x9c), word(entry, 0xbc)),
        (0x0800, 17 << 24, 0x1234, 0xef01_0203)
    );
    assert_eq!((word(entry, 0x48), word(entry, 0x340) >> 24), (1, 2), "marked, to a place");
    rig.card.forget();
    opened.ops.steer(0, &crate::driver::FlowRule { queue: 1, ..rule }).unwrap();
    assert_eq!(rig.codes().iter().map(|code| code.0).collect::<Vec<_>>(), [0x938, 0x934, 0x933, 0x936]);
    opened.ops.set_rss_table(&[2]).unwrap();
    let table = &rig.card.asked_for(0x917)[0];
    assert_eq!(
        (word(table, 0x14), word(table, 0x110), word(table, 0x30c)),
        (1, word(table, 0x114), word(table, 0x114))
    );
}

#[test]
fn promiscuous_mode_and_groups_change_what_must_be_changed() {
    let rig = Rig::new();
    let mut opened = rig.opened();
    let indexes = |code| rig.card.asked_for(code).iter().map(|asked| word(asked, 0x20)).collect::<Vec<_>>();
    assert_eq!(indexes(0x936), [64, 65, 127]);
    rig.card.forget();
    opened.ops.set_promiscuous(false).unwrap();
    assert_eq!((indexes(0x938), indexes(0x936)), (vec![127], vec![]));
    let group = |n: u8| crate::net::MacAddr([1, 0, 0x5e, 0, 0, n]);
    rig.card.forget();
    opened.ops.set_multicast(&[group(1), group(2)]).unwrap();
    assert_eq!((indexes(0x938), indexes(0x936)), (vec![], vec![66, 67]));
    let list = &rig.card.asked_for(0x755)[1];
    assert_eq!((word(list, 0x0c), word(list, 0x1f0), word(list, 0x208)), (4, 0x0100_0002, 0x0100));
    rig.card.forget();
    opened.ops.set_multicast(&(0..100).map(group).collect::<Vec<_>>()).unwrap();
    assert_eq!((indexes(0x938), indexes(0x936)), (vec![66, 67], vec![126]), "more than there is room for");
    rig.card.forget();
    opened.ops.set_mac(crate::net::MacAddr([2, 0, 0, 0, 0, 9])).unwrap();
    assert_eq!((indexes(0x938), indexes(0x936)), (vec![64], vec![64]));
    let entry = &rig.card.asked_for(0x829)[0];
    assert_eq!((word(entry, 0x20), word(entry, 0x24)), (0x0200, 9));
}
