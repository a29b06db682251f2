use super::*;
use crate::net::MacAddr;

const REAL: MacAddr = MacAddr([0x00, 0x1b, 0x21, 0xaa, 0xbb, 0xcc]);

fn read(offset: u64, size: u8, value: u64) -> Event {
    Event::Access(Access { write: false, bar: 0, offset, size, value, name: None }, 7)
}

/// One of each kind.
fn events() -> Vec<Event> {
    let access = Access { write: true, bar: 4, offset: 0x1018, size: 2, value: 0x1ff, name: Some("RDT(0)".into()) };
    vec![
        Event::Bar(4, 0x4000),
        Event::Map(1 << 32, 0x20_0000),
        Event::Access(access, 12),
        read(8, 8, u64::MAX),
        Event::Config(Config { write: true, offset: 4, size: 2, value: 6 }, 13),
        Event::Reset,
        Event::Vectors(4),
        Event::Settle(10_000_000),
        Event::Command(0x104, "ENABLE_HCA".into()),
        Event::Put(Bytes { iova: 1 << 32, bytes: [vec![0; 40], vec![7; 24]].concat() }),
        Event::Answer("ENABLE_HCA".into(), "refused with 3".into()),
        Event::Got(Bytes { iova: 1 << 32, bytes: vec![9; 3] }),
    ]
}

fn text(events: &[Event]) -> String {
    let head = ["bmnic trace 1\ncard 8086:10fb 8086:000c 01".to_owned()];
    let mut lines: Vec<String> = head.into_iter().chain(events.iter().map(ToString::to_string)).collect();
    lines.push(format!("end {}", lines.join("\n").lines().count()));
    lines.join("\n") + "\n"
}

#[test]
fn what_is_written_is_read() {
    let recording = Recording::parse("a.trace", &text(&events())).unwrap();
    assert_eq!(recording.events, events());
    assert_eq!((recording.id.vendor, recording.id.device, recording.id.subsystem), (0x8086, 0x10fb, 0x000c));
    assert_eq!(recording.torn, None);
}

#[test]
fn a_torn_trace_is_read_as_far_as_its_lines_are_whole() {
    let text = text(&events());
    let cut = text.find("RDT(0)").unwrap();
    let recording = Recording::parse("a.trace", &text[..cut]).unwrap();
    assert_eq!(recording.events, events()[..2]);
    assert_eq!(recording.torn, Some(4));
}

#[test]
fn whatever_is_no_trace_is_refused_in_one_line_that_says_where() {
    let with = |line: &str| format!("bmnic trace 1\ncard 8086:10fb 8086:000c 01\n{line}\nend 3\n");
    let refused = |text: &str| Recording::parse("a.trace", text).unwrap_err().to_string();
    for line in [
        "",
        "x",
        "R 0:00008/4 STATUS",
        "R 0:00008/3 STATUS = 0x0",
        "R 0:00009/4 STATUS = 0x0",
        "R 6:00008/4 STATUS = 0x0",
        "R 0:00008/4 STATUS = 0x100000000",
        "R 0:ffffffffffffffff8/4 STATUS = 0x1",
        "R 0:00008/4 STATUS = 0x1 @soon",
        "r 100/4 = 0x0",
        "map 1",
        "> ffffffffffffffff 2",
        "> 0 ffffffffffff",
        "> 0 10\n  0c 0102030405",
        "  00 01",
        "command 0x100000000 X",
        "bar 9 0",
        "\u{1b}[31m",
    ] {
        let error = refused(&with(line));
        assert!(error.starts_with("a.trace, line ") && error.lines().count() == 1, "{line}: {error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
    assert!(refused("").contains("its first line is not"), "{}", refused(""));
    assert!(refused("bmnic trace 1\nend 1\n").contains("which card"), "{}", refused("bmnic trace 1\nend 1\n"));
    // Of a file in which a line is missing, the end is none.
    let short = text(&events()).replace("reset\n", "");
    assert!(refused(&short).contains("'end 1"), "{}", refused(&short));
}

#[test]
fn an_address_is_found_in_memory_and_across_registers() {
    let other = mask::stand_in(REAL);
    assert_eq!(other, MacAddr([0x00, 0x1b, 0x21, 0, 0, 0xaa ^ 0xbb ^ 0xcc]));
    let [a, b, c, d, e, f] = REAL.0;
    // Once more as the neighbour's, and in an EUI-64.
    let memory = [vec![5], REAL.0.to_vec(), vec![6, a, b, c, d, e, f ^ 1, a, b, c, 0xff, 0xfe, d, e, f]].concat();
    let byte = |n: usize| read(0x2000 + n as u64, 1, REAL.0[n].into());
    let mut events = vec![
        read(0x5400, 4, 0xaa21_1b00),
        Event::Settle(1),
        read(0x5404, 4, 0x8000_ccbb),
        Event::Put(Bytes { iova: 0, bytes: memory }),
    ];
    events.extend((0..6).map(byte));
    mask::replace(&mut events, REAL);
    let all: String = events.iter().map(|event| format!("{event}\n")).collect();
    let [.., last] = other.0;
    assert_eq!(events[0], read(0x5400, 4, 0x0021_1b00));
    assert_eq!(events[2], read(0x5404, 4, 0x8000_0000 | u64::from(last) << 8));
    let (own, next) = (format!("001b210000{last:02x}"), format!("001b210000{:02x}", last ^ 1));
    assert!(all.contains(&format!("05{own}06{next}001b21fffe0000{last:02x}")), "{all}");
    assert_eq!(events[4 + 3], read(0x2003, 1, 0));
    assert_eq!(events[4 + 5], read(0x2005, 1, last.into()));
}

#[test]
fn a_neighbours_address_is_found_across_a_carry_and_in_either_order() {
    let real = MacAddr([0x00, 0x1b, 0x21, 0xaa, 0xbb, 0xff]);
    let got = |bytes: &[u8]| Event::Got(Bytes { iova: 0, bytes: bytes.to_vec() });
    let masked = |event: Event| {
        let mut events = [event];
        mask::replace(&mut events, real);
        events[0].to_string()
    };
    for (near, shown) in [([0xaa, 0xbc, 0x00], true), ([0xaa, 0xba, 0xff], true), ([0xaa, 0xbd, 0x00], false)] {
        let [d, e, f] = near;
        let forward = masked(got(&[7, 0x00, 0x1b, 0x21, d, e, f, 7]));
        let other = stand_in(MacAddr([0x00, 0x1b, 0x21, d, e, f])).0[5];
        assert_eq!(forward.contains(&format!("07001b210000{other:02x}07")), shown, "{forward}");
        let backward = masked(got(&[7, f, e, d, 0x21, 0x1b, 0x00, 7]));
        assert_eq!(backward.contains(&format!("07{other:02x}0000211b0007")), shown, "{backward}");
    }
    let said = masked(Event::Answer("X".into(), format!("its address is {real}")));
    assert_eq!(said, format!("answer X its address is {}", stand_in(real)));
    // Registers of a card that has the highest byte first.
    let mut events = [read(0, 4, 0x001b_21aa), read(4, 4, 0xbbff_0000)];
    mask::replace(&mut events, real);
    let other = u64::from(stand_in(real).0[5]);
    assert_eq!(events, [read(0, 4, 0x001b_2100), read(4, 4, other << 16)]);
}

/// The trace of a card, and where it is written.
fn begun(directory: &tempfile::TempDir) -> (Trace, std::path::PathBuf) {
    let path = directory.path().join("a.trace");
    let id = crate::pci::Id { vendor: 0x8086, device: 0x10fb, ..Default::default() };
    (Trace::create(&path, id, Vec::new(), Box::new(|_, _| None)).unwrap(), path)
}

#[test]
fn of_a_card_whose_address_was_never_read_no_answer_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    for known in [false, true] {
        let (trace, path) = begun(&directory);
        trace.note(Event::Put(Bytes { iova: 0, bytes: vec![5; 8] }));
        trace.note(Event::Answer("X".into(), "done".into()));
        trace.note(Event::Got(Bytes { iova: 0, bytes: REAL.0.to_vec() }));
        if known {
            trace.address(REAL);
        }
        drop(trace);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!((text.contains("\n< 0 6\n"), text.contains("aabbcc")), (known, false), "{text}");
        assert!(text.contains("\nanswer X done\n") && text.contains("\n> 0 8\n"), "{text}");
        assert_eq!(Recording::open(&path).unwrap().torn, None);
    }
}

#[test]
fn a_trace_reaches_its_file_in_batches() {
    let directory = tempfile::tempdir().unwrap();
    let (trace, path) = begun(&directory);
    trace.address(REAL);
    let mut lengths = Vec::new();
    for _ in 0..1000 {
        trace.note(Event::Reset);
        lengths.push(std::fs::metadata(&path).unwrap().len());
    }
    lengths.dedup();
    assert!((10..=20).contains(&lengths.len()), "{lengths:?}");
}
