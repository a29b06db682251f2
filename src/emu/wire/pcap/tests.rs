//! Captures that are played, and those that are written.

use super::*;
use crate::pcap::samples::Ng;
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use proptest::prelude::*;
use std::borrow::Cow;
use std::time::Duration;

/// A file with a frame of 60 bytes at each of these microseconds.
fn capture(path: &Path, times: &[u64]) {
    let mut writer = PcapWriter::new(File::create(path).unwrap()).unwrap();
    for (n, &time) in times.iter().enumerate() {
        writer.write_packet(&PcapPacket::new(Duration::from_micros(time), 60, &[n as u8; 60])).unwrap();
    }
}

fn spec(path: &Path, speed: Playback) -> PcapSpec {
    PcapSpec { file: path.into(), out: None, speed, times: 1 }
}

fn play(wire: &mut Pcap, now: Picos) -> Vec<(u8, usize, Picos)> {
    std::iter::from_fn(|| {
        let frame = wire.peek(now).map(|(frame, at)| (frame[0], frame.len(), at));
        wire.advance_if(frame.is_some());
        frame
    })
    .collect()
}

impl Pcap {
    fn advance_if(&mut self, yes: bool) {
        if yes {
            self.advance();
        }
    }
}

#[test]
fn frames_come_at_their_recorded_times_or_as_fast_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    capture(&path, &[5_000_000, 5_000_010, 5_000_030]);
    let mut wire = Pcap::open(&spec(&path, Playback::Thousandths(1000))).unwrap();
    assert_eq!(play(&mut wire, 1_000_000), [(0, 60, 1_000_000)]);
    assert_eq!(play(&mut wire, 10_999_999), []);
    assert_eq!(play(&mut wire, 40_000_000), [(1, 60, 11_000_000), (2, 60, 31_000_000)]);
    let mut wire = Pcap::open(&spec(&path, Playback::Thousandths(2500))).unwrap();
    assert_eq!(play(&mut wire, 0), [(0, 60, 0)]);
    assert_eq!(play(&mut wire, 12_000_000), [(1, 60, 4_000_000), (2, 60, 12_000_000)]);
    let mut wire = Pcap::open(&spec(&path, Playback::Line)).unwrap();
    assert_eq!(play(&mut wire, 7).len(), 3);
    assert_eq!(wire.report()[0].frames, 3);
}

#[test]
fn pcapng_times_are_read_in_their_own_unit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcapng");
    for (options, unit) in [(vec![], 1_000_000), (vec![InterfaceDescriptionOption::IfTsResol(9)], 1_000)] {
        let mut writer = PcapNgWriter::new(File::create(&path).unwrap()).unwrap();
        let interface = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: 0, options };
        writer.write_pcapng_block(interface).unwrap();
        for count in [700, 800] {
            let data = Cow::Borrowed(&[1; 42][..]);
            let timestamp = Duration::from_nanos(count);
            let options = vec![];
            let packet = EnhancedPacketBlock { interface_id: 0, timestamp, original_len: 100, data, options };
            writer.write_pcapng_block(packet).unwrap();
        }
        drop(writer);
        let mut wire = Pcap::open(&spec(&path, Playback::Thousandths(1000))).unwrap();
        assert_eq!(play(&mut wire, 0), [(1, 60, 0)], "padded to what a wire carries");
        assert_eq!(play(&mut wire, u64::MAX / 2), [(1, 60, 100 * unit)]);
        assert_eq!(wire.report()[1].frames, 2);
    }
}

#[test]
fn a_file_that_breaks_off_is_played_as_far_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    capture(&path, &[1, 2, 3]);
    let whole = std::fs::read(&path).unwrap();
    for len in 24..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let mut wire = Pcap::open(&spec(&path, Playback::Line)).unwrap();
        let complete = (len - 24) / 76;
        assert_eq!(play(&mut wire, 0).len(), complete);
        let damaged = (len - 24) % 76 != 0;
        assert_eq!(counted(&mut wire, "damaged"), u64::from(damaged), "{len}");
        let says = damage(&mut wire).is_some_and(|why| why.contains(&format!("cut short after {complete} packet")));
        assert_eq!(says, damaged, "{:?}", damage(&mut wire));
    }
}

#[test]
fn what_is_no_capture_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in");
    let error = || Pcap::open(&spec(&path, Playback::Line)).err().unwrap();
    assert_eq!(error().kind(), Kind::NotFound);
    for content in [&b""[..], b"abc", b"this is a text file and no capture", &[0x0a, 0x0d, 0x0d, 0x0a, 1]] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(error().kind(), Kind::Usage);
        assert!(!error().to_string().contains('\n'));
    }
    let header = PcapHeader { datalink: DataLink::NULL, ..PcapHeader::default() };
    drop(PcapWriter::with_header(File::create(&path).unwrap(), header).unwrap());
    assert!(error().to_string().contains("a wire carries Ethernet only"), "{}", error());
}

#[test]
fn what_is_sent_can_be_played_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("in.pcap"), dir.path().join("out.pcap"));
    capture(&path, &[1]);
    let mut wire = Pcap::open(&PcapSpec { out: Some(out.clone()), ..spec(&path, Playback::Line) }).unwrap();
    for n in 0..1000_u64 {
        assert!(wire.send(&vec![n as u8; 60 + n as usize], 5_000_000 + n * 1_000_000));
    }
    // The file is whole while it is written.
    wire.peek(200_000_000_000);
    assert_eq!(play(&mut Pcap::open(&spec(&out, Playback::Line)).unwrap(), 0).len(), 1000);
    drop(wire);
    let mut again = Pcap::open(&spec(&out, Playback::Thousandths(1000))).unwrap();
    let frames = play(&mut again, 1 << 40);
    for (n, (byte, len, at)) in frames.into_iter().enumerate() {
        assert_eq!((byte, len, at), (n as u8, 60 + n, (1 << 40) + n as u64 * 1_000_000));
        if n == 0 {
            break;
        }
    }
    assert_eq!(play(&mut again, (1 << 40) + 999_000_000).len(), 999);
}

#[test]
fn a_full_disk_leaves_a_valid_file_and_a_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    capture(&path, &[1]);
    let mut wire = Pcap::open(&spec(&path, Playback::Line)).unwrap();
    let mut recorder = Recorder::create(&dir.path().join("out.pcap")).unwrap();
    recorder.file = File::options().write(true).open("/dev/full").unwrap();
    wire.recorder = Some(recorder);
    for n in 0..100 {
        assert!(wire.send(&[0; 1500], n));
    }
    wire.peek(200_000_000_000);
    assert_eq!((counted(&mut wire, "written"), counted(&mut wire, "unwritten")), (0, 100));
}

/// Why the file was not played to its end.
fn damage(wire: &mut Pcap) -> Option<String> {
    wire.report().into_iter().find(|note| note.key == "damaged").map(|note| note.words.into_owned())
}

/// What the wire says of `name`.
fn counted(wire: &mut Pcap, name: &str) -> u64 {
    wire.report().iter().find(|note| note.key == name).map_or(0, |note| note.frames)
}

#[test]
fn what_is_not_played_is_counted_and_the_rest_is_played() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcapng");
    let mut file = Ng::ethernet();
    file.interface(105, 0, &[]);
    for len in [0, 13, 14, MAX_FRAME, MAX_FRAME + 1] {
        file.good(0, &vec![1; len]);
    }
    file.packet(1, 0, 20, 20, &[1; 20], &[]);
    file.packet(9, 0, 20, 20, &[1; 20], &[]);
    file.packet(0, 0, 99, 99, &[1; 20], &[]);
    file.obsolete(0, 0, 0, &[2; 60]);
    file.packet(0, 0, 60, 1514, &[3; 60], &[]);
    file.bytes.extend_from_slice(&[6, 0, 0, 0, 1]);
    std::fs::write(&path, &file.bytes).unwrap();
    let mut wire = Pcap::open(&spec(&path, Playback::Line)).unwrap();
    let played: Vec<_> = play(&mut wire, 0).into_iter().map(|(byte, len, _)| (byte, len)).collect();
    assert_eq!(played, [(1, 60), (1, MAX_FRAME), (2, 60), (3, 60)]);
    let counts = [
        ("played", 4),
        ("too_short", 2),
        ("too_long", 1),
        ("other_link", 1),
        ("undeclared", 1),
        ("malformed", 1),
        ("cut", 1),
        ("damaged", 1),
    ];
    for (name, count) in counts {
        assert_eq!(counted(&mut wire, name), count, "{name}");
    }
    let why = damage(&mut wire).unwrap();
    assert!(why.contains("cut short after 10 packets"), "{why}");
}

#[test]
fn one_look_reads_a_bounded_number_of_records_and_the_next_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcapng");
    let mut file = Ng::ethernet();
    file.interface(105, 0, &[]);
    // Two interfaces and what is too short fill one look, another link the next.
    for _ in 2..LOOK {
        file.good(0, &[1; 13]);
    }
    for _ in 0..LOOK {
        file.packet(1, 0, 20, 20, &[1; 20], &[]);
    }
    file.good(0, &[2; 60]);
    std::fs::write(&path, &file.bytes).unwrap();
    let mut wire = Pcap::open(&spec(&path, Playback::Line)).unwrap();
    assert_eq!(wire.peek(0), None);
    assert_eq!((counted(&mut wire, "too_short"), counted(&mut wire, "other_link")), (LOOK as u64 - 2, 0));
    assert_eq!(wire.peek(0), None);
    assert_eq!((counted(&mut wire, "other_link"), counted(&mut wire, "played")), (LOOK as u64, 0));
    assert_eq!(wire.peek(0).map(|(frame, _)| frame[0]), Some(2));
    wire.advance();
    assert_eq!(wire.peek(0), None);
    assert_eq!(counted(&mut wire, "played"), 1);
}

#[test]
fn packets_without_a_time_come_with_those_before_them_and_an_offset_is_no_wait() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcapng");
    let mut file = Ng::new(false);
    // Times count from 54 years after 1970, and from an hour before it.
    for offset in [1_700_000_000_i64, -3_600] {
        let options = [file.option(14, &offset.to_le_bytes()), file.option(9, &[9])].concat();
        file.interface(1, 0, &options);
    }
    for (interface, after) in [(0, 0), (1, 1)] {
        let mut file = file.clone();
        file.simple(60, &[1; 60]);
        file.packet(interface, 1_000, 60, 60, &[2; 60], &[]);
        file.simple(60, &[3; 60]);
        file.packet(interface, 3_000 + after, 60, 60, &[4; 60], &[]);
        file.simple(60, &[5; 60]);
        std::fs::write(&path, &file.bytes).unwrap();
        let mut wire = Pcap::open(&spec(&path, Playback::Thousandths(1000))).unwrap();
        assert_eq!(play(&mut wire, 7_000), [(1, 60, 7_000), (2, 60, 7_000), (3, 60, 7_000)]);
        let due = 7_000 + (2_000 + after) * 1_000;
        assert_eq!(play(&mut wire, due), [(4, 60, due), (5, 60, due)]);
    }
}

#[test]
fn what_is_played_is_not_written_under_any_of_its_names() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    capture(&at("in"), &[1, 2, 3]);
    let before = std::fs::read(at("in")).unwrap();
    std::fs::hard_link(at("in"), at("hard")).unwrap();
    std::os::unix::fs::symlink("in", at("soft")).unwrap();
    for name in ["in", "hard", "soft"] {
        let both = PcapSpec { out: Some(at(name)), ..spec(&at("in"), Playback::Line) };
        assert_eq!(Pcap::open(&both).err().unwrap().kind(), Kind::Usage, "{name}");
        // Or by another port, or the command itself.
        let plays = WireSpec::Pcap(spec(&at("in"), Playback::Line));
        let other = WireSpec::Pcap(PcapSpec { out: Some(at(name)), ..spec(&at("other"), Playback::Line) });
        assert!(check_files([&plays, &other], &[]).is_err() && check_files([&plays], &[&at(name)]).is_err());
    }
    assert_eq!(std::fs::read(at("in")).unwrap(), before);
    let writes = |name: &str| WireSpec::Pcap(PcapSpec { out: Some(name.into()), ..spec(&at("in"), Playback::Line) });
    let out = at("out");
    let out = out.to_str().unwrap();
    assert!(check_files([&writes(out), &writes(out)], &[]).is_err(), "two write one file");
    check_files([&writes(out), &writes("/dev/null"), &writes("/dev/null"), &WireSpec::Sink], &[&at("x")]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn a_spoiled_file_never_brings_it_down(spots in prop::collection::vec((0usize..252, any::<u8>()), 1..12), ng in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.pcap");
        if ng {
            let mut writer = PcapNgWriter::new(File::create(&path).unwrap()).unwrap();
            writer.write_pcapng_block(InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0)).unwrap();
            for _ in 0..3 {
                let (timestamp, data) = (Duration::ZERO, Cow::Borrowed(&[1; 42][..]));
                let packet = EnhancedPacketBlock { interface_id: 0, timestamp, original_len: 42, data, options: vec![] };
                writer.write_pcapng_block(packet).unwrap();
            }
        } else {
            capture(&path, &[1, 2, 3]);
        }
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, byte) in spots {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        std::fs::write(&path, bytes).unwrap();
        if let Ok(mut wire) = Pcap::open(&spec(&path, Playback::Thousandths(1))) {
            for (_, len, _) in play(&mut wire, u64::MAX) {
                prop_assert!((MIN_FRAME..=MAX_FRAME).contains(&len));
            }
        }
    }
}

#[test]
fn a_file_is_played_as_often_as_asked_for_with_the_mean_pause_between() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    capture(&path, &[5_000_000, 5_000_010, 5_000_030]);
    let often = |times, speed| Pcap::open(&PcapSpec { times, ..spec(&path, speed) }).unwrap();
    // 30 us and a mean pause of 15 us, at double speed.
    let mut wire = often(3, Playback::Thousandths(2000));
    let played = play(&mut wire, 1_000_000_000);
    let at: Vec<Picos> = played.iter().map(|(_, _, at)| *at - 1_000_000_000).collect();
    assert_eq!(at, [0]);
    let at: Vec<Picos> =
        play(&mut wire, u64::MAX).into_iter().map(|(_, _, at)| (at - 1_000_000_000) / 100_000).collect();
    assert_eq!(at, [50, 150, 225, 275, 375, 450, 500, 600]);
    assert!(wire.is_over() == Some(true));
    assert_eq!(wire.report()[0].frames, 9);
    // Without end there is always another one.
    let mut wire = often(0, Playback::Line);
    for n in 0..1_000 {
        assert_eq!(wire.peek(0).map(|(frame, _)| frame[0]), Some((n % 3) as u8));
        wire.advance();
    }
    assert!(wire.is_over() == Some(false));
}

#[test]
fn a_wire_is_over_when_the_last_frame_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    capture(&path, &[1, 2]);
    let mut wire = Pcap::open(&spec(&path, Playback::Line)).unwrap();
    for _ in 0..2 {
        assert!(wire.peek(0).is_some() && wire.is_over() == Some(false));
        wire.advance();
    }
    assert!(wire.peek(0).is_none() && wire.is_over() == Some(true));
    // One with no frame in it is over at once, however often it is to be played.
    capture(&path, &[]);
    let mut wire = Pcap::open(&PcapSpec { times: 0, ..spec(&path, Playback::Line) }).unwrap();
    assert!(wire.peek(0).is_none() && wire.is_over() == Some(true));
}

#[test]
fn a_file_that_is_gone_when_it_is_to_be_played_again_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    capture(&path, &[1, 2]);
    let mut wire = Pcap::open(&PcapSpec { times: 5, ..spec(&path, Playback::Line) }).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(play(&mut wire, 0).len(), 2);
    assert!(wire.is_over() == Some(true) && damage(&mut wire).unwrap().contains("opening"), "{:?}", damage(&mut wire));
    assert_eq!(
        Pcap::open(&PcapSpec { times: 2, ..spec(Path::new("/dev/null"), Playback::Line) }).err().unwrap().kind(),
        Kind::Usage
    );
}
