//! What is counted is what the file has, whichever thread writes it.

use super::*;
use crate::pcap::read::Recording;
use crate::pcap::record::Totals;
use crate::pcap::section::Section;
use std::fs::File;
use std::io;
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
fn what_each_recorder_has_in_the_file_is_known_apart_from_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    // The writer goes on when it is let.
    let (go, wait) = sync_channel::<()>(8);
    let told = move |_: Told<'_>| wait.recv().unwrap_or(());
    go.send(()).unwrap();
    let mut all = Recorder::several(&plan(&path, Format::Pcap), Means::default(), 2, told).unwrap();
    let mut take = |n: usize| {
        (0..10).for_each(|time| assert!(all[n].record(time, &[0; 60])));
        all[n].flush();
        [all[0].own_written(), all[1].own_written()]
    };
    // As many packets are in the file as both had when both were flushed, but not the same.
    take(0);
    take(0);
    take(1);
    go.send(()).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while all[0].written().0 < 20 && std::time::Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!([all[0].own_written(), all[1].own_written()], [20, 0]);
    drop(go);
    assert_eq!(Recorder::finish_all(all, &[]).records, 30);
}

#[test]
fn a_reader_that_takes_nothing_is_not_waited_for_when_no_more_comes() {
    let dir = tempfile::tempdir().unwrap();
    for (format, here) in [(Format::Pcap, false), (Format::Pcapng, false), (Format::Pcap, true)] {
        let fifo = dir.path().join(format!("{format}{here}"));
        sys::make_fifo(&fifo).unwrap();
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || File::open(fifo).unwrap()
        });
        let mut recorder = Recorder::several(&plan(&fifo, format), Means { here, dropped: false }, 1, |_| ()).unwrap();
        let mut stalled = reader.join().unwrap();
        // A pipe holds some 64 KiB. One that writes itself would wait as well, so it is not to
        // fill it before the end.
        let packets = if here { SLICE as u64 / 80 } else { 3_000 };
        (0..packets).for_each(|time| assert!(recorder[0].record(time, &[0; 60])));
        let written = recorder.swap_remove(0).finish(Totals::default());
        assert_eq!(written.error.as_ref().map(io::Error::kind), Some(io::ErrorKind::TimedOut), "{format}, {here}");
        assert_eq!(written.records + written.lost, packets);
        // What is said to be written is in the pipe.
        let (mut bytes, header) = (Vec::new(), plan(&fifo, format).header().len());
        std::io::Read::read_to_end(&mut stalled, &mut bytes).unwrap();
        assert!(written.records > 0 && written.lost > 0);
        assert_eq!(format.whole(&bytes[header..]).1, written.records);
    }
}

#[test]
fn a_reader_that_takes_a_little_now_and_then_is_not_waited_for_either() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    sys::make_fifo(&fifo).unwrap();
    let (give_up, wait) = sync_channel::<()>(0);
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || {
            let (mut pipe, mut bytes) = (File::open(fifo).unwrap(), vec![0; 4_096]);
            let mut taken = 0;
            // A page each time, so that there is room for another; and in the end all of it.
            while wait.recv_timeout(Duration::from_millis(300)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                taken += io::Read::read(&mut pipe, &mut bytes).unwrap();
            }
            taken += io::Read::read_to_end(&mut pipe, &mut bytes).unwrap();
            taken as u64
        }
    });
    let mut recorder = Recorder::create(&plan(&fifo, Format::Pcap), |_| ()).unwrap();
    (0..5_000).for_each(|time| assert!(recorder.record(time, &[0; 60])));
    let written = recorder.finish(Totals::default());
    let error = written.error.unwrap();
    assert!(error.kind() == io::ErrorKind::TimedOut && error.to_string().contains("taken only"), "{error}");
    assert_eq!(written.records + written.lost, 5_000);
    assert!(written.records > 0 && written.lost > 0);
    drop(give_up);
    let taken = reader.join().unwrap();
    // A pipe cannot be cut behind the last record that is whole.
    assert!((written.bytes..written.bytes + 76).contains(&taken), "{taken}, {}", written.bytes);
}

/// Page faults that this thread has taken (proc(5), /proc/pid/stat: field 10, minor).
fn faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let behind_the_name = stat.rsplit(')').next().unwrap();
    behind_the_name.split_whitespace().nth(7).unwrap().parse().unwrap()
}

#[test]
fn a_ring_takes_no_page_fault_and_says_how_full_it_was() {
    const LOTS: usize = 16;
    let Ok(lots) = crate::dma::Lot::several(LOTS, CHUNK, None) else {
        println!("SKIPPED  no huge pages are free: page faults of a ring were not counted");
        return;
    };
    let page = lots[0].page_size().bytes() as u64;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    // The writer goes on when it is let: once for the header.
    let (go, wait) = sync_channel::<()>(64);
    let told = move |_: Told<'_>| wait.recv().unwrap_or(());
    go.send(()).unwrap();
    let frame = [7; 1_000];
    let per_chunk = (CHUNK / Format::Pcap.record_len(frame.len())) as u64;
    let all = LOTS as u64 * per_chunk;
    let fill = |recorder: &mut Recorder, packets: u64| {
        let before = faults();
        let taken = (0..packets).filter(|&time| recorder.record(time, &frame)).count() as u64;
        (taken, faults() - before)
    };
    // Memory that is taken as it is used takes faults, or else they are not counted.
    let plan = Plan { buffer: LOTS * CHUNK, ..plan(&path, Format::Pcap) };
    let mut heap = Recorder::create(&plan, |_| ()).unwrap();
    assert!(fill(&mut heap, 3 * per_chunk).1 > 100);
    assert_eq!(heap.held().page, None);
    heap.finish(Totals::default());
    let layout = Layout { ring: vec![lots], ..Layout::default() };
    let mut ring = Recorder::laid_out(&plan, Means::default(), 1, layout, told).unwrap().swap_remove(0);
    let bytes = (LOTS * CHUNK) as u64;
    assert_eq!(ring.held(), Held { bytes, most: 0, page: Some(page) });
    // The first chunk that is full takes the code's own, of the channel for instance.
    fill(&mut ring, per_chunk + 1);
    let (taken, faults) = fill(&mut ring, all - per_chunk + 9);
    assert_eq!((taken, ring.dropped()), (all - per_chunk - 1, 10), "all of it was used, and no more");
    assert_eq!(faults, 0);
    assert_eq!(ring.held().most, bytes);
    drop(go);
    let written = ring.finish(Totals::default());
    assert_eq!((written.records, written.slow), (all, 10));
    assert_eq!(written.held, Held { bytes, most: bytes, page: Some(page) });
}

#[test]
fn a_full_disk_stops_at_a_whole_record_with_an_exact_count() {
    // Every write to it fails with ENOSPC.
    let written = Recorder::create(&plan(Path::new("/dev/full"), Format::Pcap), |_| ());
    assert!(written.unwrap_err().to_string().contains("No space left"));
}

/// Set where this program runs a test of its own again, with files of a few thousand bytes.
const LIMITED: &str = "BMNIC_TEST_LIMITED";

/// Runs the test `name` again with no file longer than some KiB; false in that run.
fn in_a_small_world(name: &str) -> bool {
    if std::env::var_os(LIMITED).is_some() {
        return false;
    }
    // A shell's blocks are of 512 or of 1024 bytes. A write that reaches the limit gets in as far
    // as there is room, and the next one meets EFBIG.
    let script = "trap '' XFSZ; ulimit -f 9; exec \"$0\" \"$@\"";
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(LIMITED, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    true
}

#[test]
fn a_write_that_gets_in_half_way_counts_the_records_that_are_whole() {
    if in_a_small_world("pcap::write::tests::a_write_that_gets_in_half_way_counts_the_records_that_are_whole") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (format, here) in [(Format::Pcap, false), (Format::Pcapng, false), (Format::Pcap, true), (Format::Pcapng, true)]
    {
        let path = dir.path().join("f");
        let means = Means { here, dropped: false };
        let mut recorder = Recorder::several(&plan(&path, format), means, 1, |_| ()).unwrap().swap_remove(0);
        let mut taken = 0;
        // Three chunks, so that the second meets a disk that is full already.
        for i in 0..300 {
            taken += u64::from(recorder.record(i, &[i as u8; 61]));
            if i % 100 == 99 {
                recorder.flush();
            }
        }
        let written = recorder.finish(Totals::default());
        assert_eq!(written.error.as_ref().and_then(io::Error::raw_os_error), Some(libc::EFBIG), "{:?}", written.error);
        assert!(written.records > 0 && written.lost > 200, "{format}, {here}: {written:?}");
        assert_eq!(written.records + written.lost, taken);
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert_eq!(written.bytes, bytes);
        // As many as there is room for: not one more would have got in.
        let record = format.record_len(61) as u64;
        assert!([4608, 9216].iter().any(|room| bytes <= *room && bytes + record > *room), "{format}: {bytes} bytes");
        let recording = Recording::open(&path).unwrap();
        assert_eq!((recording.len() as u64, recording.damage()), (written.records, None));
        assert!(recording.packets().enumerate().all(|(i, packet)| packet.time == i as i64));
    }
}

#[test]
fn what_is_written_is_waited_for_whichever_of_the_recorders_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    for here in [false, true] {
        for gone in [0, 1] {
            let means = Means { here, dropped: false };
            let mut recorders = Recorder::several(&plan(&path, Format::Pcap), means, 2, |_| ()).unwrap();
            // Its thread could not be started.
            drop(recorders.remove(gone));
            for i in 0..20_000 {
                while recorders[0].is_full() {
                    std::thread::yield_now();
                }
                assert!(recorders[0].record(i, &[0; 60]));
            }
            let written = Recorder::finish_all(recorders, &[Totals::default()]);
            assert_eq!((written.records, written.lost), (20_000, 0), "{here}, without {gone}");
            assert_eq!(Recording::open(&path).unwrap().len(), 20_000);
        }
    }
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
        assert!(recorder.has_ended());
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

#[test]
fn a_pipe_without_a_reader_is_waited_for_until_it_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    sys::make_fifo(&fifo).unwrap();
    let looks = std::cell::Cell::new(0);
    let third = || looks.replace(looks.get() + 1) == 2;
    let layout = Layout { stopped: &third, ..Layout::default() };
    let error = Recorder::laid_out(&plan(&fifo, Format::Pcap), Means::default(), 1, layout, |_| ()).unwrap_err();
    assert_eq!((looks.get(), error.kind()), (3, crate::Kind::Io), "{error}");
    // The reader comes once it is waited for.
    let (reader, come) = (std::cell::RefCell::new(None), fifo.clone());
    let late = || {
        let open = || {
            std::thread::spawn({
                let come = come.clone();
                move || std::fs::read(come).unwrap()
            })
        };
        reader.borrow_mut().get_or_insert_with(open);
        false
    };
    let layout = Layout { stopped: &late, ..Layout::default() };
    let mut one =
        Recorder::laid_out(&plan(&fifo, Format::Pcap), Means::default(), 1, layout, |_| ()).unwrap().swap_remove(0);
    // More than a pipe holds: what writes waits for the reader again.
    (0..2_000).for_each(|time| assert!(one.record(time, &[0; 900])));
    let written = one.finish(Totals::default());
    assert!(written.error.is_none() && written.records == 2_000, "{written:?}");
    let read = reader.take().unwrap().join().unwrap();
    assert_eq!(read.len() as u64, written.bytes);
}
