//! What is counted is what the file has, whichever thread writes it.

use super::*;
use crate::pcap::read::Recording;
use std::fs::File;
use std::sync::LazyLock;

fn plan(path: &Path, format: Format) -> Plan<'_> {
    static SECTION: LazyLock<Section> = LazyLock::new(|| Section::of(["test", "other"]));
    Plan { path, format, snaplen: SNAPLEN, buffer: BUFFER, section: &SECTION }
}

#[test]
fn what_is_counted_is_in_the_file_cut_to_the_snap_length() {
    let dir = tempfile::tempdir().unwrap();
    for format in [Format::Pcap, Format::Pcapng] {
        let path = dir.path().join("f");
        let mut recorder = Recorder::create(&Plan { snaplen: 100, ..plan(&path, format) }, |_| ()).unwrap();
        for i in 0..5_000_u64 {
            assert!(recorder.record(i, &[i as u8; 60]));
            assert!(recorder.record_parts(i, &[&[1; 90], &[2; 90]]));
        }
        let written = recorder.finish(Totals::default());
        assert!(written.error.is_none());
        assert_eq!((written.records, written.slow, written.lost), (10_000, 0, 0));
        assert_eq!(written.bytes, std::fs::metadata(&path).unwrap().len());
        let recording = Recording::open(&path).unwrap();
        assert_eq!((recording.len(), recording.damage()), (10_000, None));
        let long = recording.packet(9_999);
        assert_eq!((long.wire_len, long.bytes.len(), &long.bytes[88..92]), (180, 100, &[1, 1, 2, 2][..]));
    }
}

#[test]
fn taking_a_packet_asks_the_allocator_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let plan = Plan { snaplen: 1_600, ..plan(&path, Format::Pcapng) };
    let mut recorder = Recorder::create(&plan, |_| ()).unwrap();
    let frame = [7; 1_000];
    let asked = crate::testing::allocations(|| {
        for time in 0..10_000 {
            recorder.record(time, &frame);
            recorder.record_parts(time, &[&frame, &frame]);
        }
    });
    assert_eq!(asked, 0, "over some twenty chunks");
    recorder.finish(Totals::default());
}

#[test]
fn a_flush_makes_the_file_whole_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let mut recorder = Recorder::create(&plan(&path, Format::Pcap), |_| ()).unwrap();
    assert_eq!(Recording::open(&path).unwrap().len(), 0, "valid before the first packet");
    recorder.record(1, &[0; 60]);
    recorder.flush();
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while recorder.written().0 == 0 && std::time::Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(Recording::open(&path).unwrap().len(), 1);
    recorder.finish(Totals::default());
}

#[test]
fn a_full_disk_stops_at_a_whole_record_with_an_exact_count() {
    // Every write to it fails with ENOSPC.
    let written = Recorder::create(&plan(Path::new("/dev/full"), Format::Pcap), |_| ());
    assert!(written.unwrap_err().to_string().contains("No space left"));
}

#[test]
fn a_slow_disk_drops_packets_and_never_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    crate::sys::make_fifo(&fifo).unwrap();
    // A reader that does not read: the pipe fills up and the writer waits.
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || File::open(fifo).unwrap()
    });
    let mut recorder = Recorder::create(&Plan { buffer: 2 * CHUNK, ..plan(&fifo, Format::Pcap) }, |_| ()).unwrap();
    let reader = reader.join().unwrap();
    let frame = [0; 1500];
    for i in 0..4_000 {
        recorder.record(i, &frame);
    }
    assert!(recorder.dropped() > 0);
    assert_eq!(recorder.dropped() + recorder.taken(), 4_000);
    drop(reader);
    let taken = recorder.taken();
    let written = recorder.finish(Totals::default());
    assert_eq!(written.error.unwrap().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(written.records + written.lost, taken);
}

#[test]
fn several_threads_write_one_file_each_in_its_own_order() {
    const EACH: u64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    for (format, here) in [(Format::Pcap, false), (Format::Pcapng, false), (Format::Pcap, true), (Format::Pcapng, true)]
    {
        let path = dir.path().join("f");
        let means = Means { here, dropped: false };
        let plan = Plan { buffer: 16 * CHUNK, ..plan(&path, format) };
        let threads =
            Recorder::several(&plan, means, 3, |_| ()).unwrap().into_iter().enumerate().map(|(n, mut one)| {
                std::thread::spawn(move || {
                    for i in 0..EACH {
                        while one.is_full() {
                            std::thread::yield_now();
                        }
                        assert!(one.record(i, &[n as u8; 60]));
                    }
                    one
                })
            });
        let recorders = threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect();
        let written = Recorder::finish_all(recorders, &[]);
        assert!(written.error.is_none());
        assert_eq!((written.records, written.slow, written.lost), (3 * EACH, 0, 0), "{format}, {here}");
        assert_eq!(written.bytes, std::fs::metadata(&path).unwrap().len());
        let recording = Recording::open(&path).unwrap();
        assert_eq!((recording.len() as u64, recording.damage()), (3 * EACH, None));
        let mut next = [0; 3];
        for packet in recording.packets() {
            let thread = usize::from(packet.bytes[0]);
            assert_eq!(packet.time, next[thread], "{format}, {here}, thread {thread}");
            next[thread] += 1;
        }
    }
}

#[test]
fn a_thread_that_writes_itself_stops_at_a_full_disk_with_an_exact_count_of_each_interface() {
    let dir = tempfile::tempdir().unwrap();
    for format in [Format::Pcap, Format::Pcapng] {
        let fifo = dir.path().join(format.to_string());
        crate::sys::make_fifo(&fifo).unwrap();
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || File::open(fifo).unwrap()
        });
        let means = Means { here: true, dropped: false };
        let mut recorder = Recorder::several(&plan(&fifo, format), means, 1, |_| ()).unwrap().swap_remove(0);
        drop(reader.join().unwrap());
        for i in 0..9_000 {
            recorder.switch_to(u32::from(i % 3 == 0));
            recorder.record(i, &[0; 60]);
        }
        assert!(recorder.has_failed());
        let taken = recorder.taken();
        let written = recorder.finish(Totals::default());
        assert_eq!(written.error.unwrap().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!((written.records, written.lost), (0, taken));
        // pcap has no place for the number of an interface.
        let each = if format == Format::Pcap { vec![taken] } else { vec![taken * 2 / 3, taken / 3] };
        assert_eq!(written.lost_of, each, "{format}");
    }
}

#[test]
fn what_is_dropped_is_counted_and_makes_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    for here in [false, true] {
        let means = Means { here, dropped: true };
        let mut recorder = Recorder::several(&plan(&path, Format::Pcap), means, 1, |_| ()).unwrap().swap_remove(0);
        for i in 0..100_000 {
            while recorder.is_full() {
                std::thread::yield_now();
            }
            assert!(recorder.record(i, &[0; 60]));
        }
        let written = recorder.finish(Totals::default());
        assert_eq!((written.records, written.bytes, written.lost), (100_000, 24 + 100_000 * 76, 0));
        assert!(!path.exists());
    }
}

#[test]
fn a_frame_of_any_length_is_recorded_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let bytes: Vec<u8> = (0..300_u16).map(|n| (n * 7) as u8).collect();
    // A recording shows no frame that is shorter than its header.
    let lengths = 14..bytes.len();
    for format in [Format::Pcap, Format::Pcapng] {
        let mut recorder = Recorder::create(&plan(&path, format), |_| ()).unwrap();
        lengths.clone().for_each(|len| assert!(recorder.record(len as u64, &bytes[..len])));
        recorder.finish(Totals::default());
        let recording = Recording::open(&path).unwrap();
        assert_eq!(recording.len(), lengths.len());
        recording.packets().zip(lengths.clone()).for_each(|(packet, len)| assert_eq!(packet.bytes, &bytes[..len]));
    }
}
