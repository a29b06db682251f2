//! Nothing is lost between two files and nothing is in both, whatever fills them: told by
//! the numbers that packets carry.

use super::*;
use crate::pcap::read::Recording;
use crate::pcap::record::Totals;
use crate::pcap::section::Section;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use tempfile::TempDir;

const SECOND: u64 = 1_000_000_000;
/// 2026-11-30 10:45:00 in UTC.
pub(super) const THEN: u64 = 1_796_035_500 * SECOND;
pub(super) const FORMATS: [Format; 2] = [Format::Pcap, Format::Pcapng];
pub(super) const BOTH: [Means; 2] = [Means { here: false, dropped: false }, Means { here: true, dropped: false }];

/// A time of day that stands still, and is set.
#[derive(Clone, Default)]
pub(super) struct Hand(Arc<AtomicU64>);

impl Hand {
    pub(super) fn now(&self) -> u64 {
        THEN + self.0.load(Ordering::Relaxed)
    }

    fn set(&self, time: u64) {
        self.0.store(time, Ordering::Relaxed);
    }
}

pub(super) fn numbered(dir: &TempDir, rules: Rules) -> Series {
    let names = Names::Numbered(dir.path().join("f"));
    Series { rules, names, keep: None, files: None, spared: Vec::new() }
}

/// Recorders of a series, by this clock.
pub(super) fn recorders(
    format: Format,
    means: Means,
    count: usize,
    series: Series,
    packed: bool,
    hand: &Hand,
) -> Vec<Recorder> {
    let plan = Plan {
        path: Path::new("unused"),
        format,
        snaplen: SNAPLEN,
        buffer: 8 * CHUNK,
        section: &Section::of(["test"]),
    };
    let layout = Layout { series: Some(series), packed, ..Layout::default() };
    let hand = hand.clone();
    Recorder::by_clock(&plan, means, count, layout, move || hand.now(), |_| ()).unwrap()
}

/// A frame that says whose it is and which, of 60 to 1514 bytes.
fn frame(whose: usize, number: u64) -> Vec<u8> {
    let mut frame = vec![whose as u8; 60 + (number * 7919 % 1455) as usize];
    frame[1..9].copy_from_slice(&number.to_be_bytes());
    frame
}

pub(super) fn put(recorder: &mut Recorder, whose: usize, number: u64, time: u64) {
    while recorder.is_full() {
        std::thread::yield_now();
    }
    assert!(recorder.record(time, &frame(whose, number)));
}

/// The files of a folder, by name.
pub(super) fn files(dir: &TempDir) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A packet: whose it is and which, when it came, and how long its record is.
pub(super) type Seen = (usize, u64, u64, u64);

/// What is in each file, all of them whole.
pub(super) fn contents(format: Format, files: &[PathBuf]) -> Vec<Vec<Seen>> {
    let read = |path: &PathBuf| {
        let recording = Recording::open(path).unwrap();
        assert_eq!(recording.damage(), None, "{}", path.display());
        let seen = recording.packets().map(|packet| {
            let number = u64::from_be_bytes(packet.bytes[1..9].try_into().unwrap());
            let (whose, len) = (usize::from(packet.bytes[0]), format.record_len(packet.bytes.len()));
            assert_eq!(packet.bytes, frame(whose, number), "byte for byte");
            (whose, number, packet.time as u64, len as u64)
        });
        seen.collect()
    };
    files.iter().map(read).collect()
}

/// Each recorder's packets are there from `first` on, in their order, each once; how many.
pub(super) fn in_order(contents: &[Vec<Seen>], recorders: usize, first: u64) -> u64 {
    let mut next = vec![first; recorders];
    for &(whose, number, ..) in contents.iter().flatten() {
        assert_eq!(number, next[whose], "of recorder {whose}");
        next[whose] += 1;
    }
    next.iter().map(|next| next - first).sum()
}

fn header(format: Format) -> u64 {
    let mut header = Vec::new();
    format.header(&mut header, SNAPLEN as u32, &Section::of(["test"]));
    header.len() as u64
}

#[test]
fn what_was_recorded_is_in_all_files_together_in_order_and_once() {
    // A file for each packet or two, a few, some to a chunk, and of several chunks.
    let rules = [
        (Rules { records: Some(1), ..Rules::default() }, 150),
        (Rules { bytes: Some(1), ..Rules::default() }, 150),
        (Rules { bytes: Some(1_700), ..Rules::default() }, 400),
        (Rules { records: Some(97), bytes: Some(70_000), ..Rules::default() }, 3_000),
        (Rules { bytes: Some(300_000), ..Rules::default() }, 5_000),
        (Rules { bytes: Some(3_000_000), ..Rules::default() }, 9_000),
    ];
    for (format, means, count) in FORMATS
        .iter()
        .flat_map(|format| BOTH.iter().flat_map(move |means| [(*format, *means, 1), (*format, *means, 3)]))
    {
        for (rules, each) in rules {
            let what = format!("{format}, {means:?}, {count} recorders, {rules:?}");
            let (dir, hand) = (tempfile::tempdir().unwrap(), Hand::default());
            let all = recorders(format, means, count, numbered(&dir, rules), false, &hand);
            let threads = all.into_iter().enumerate().map(|(whose, mut recorder)| {
                std::thread::spawn(move || {
                    for number in 0..each {
                        put(&mut recorder, whose, number, THEN + number);
                        if number % 1_000 == 500 {
                            recorder.flush();
                        }
                    }
                    recorder
                })
            });
            let all = threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect();
            let written = Recorder::finish_all(all, &[Totals::default()]);
            assert!(written.error.is_none(), "{what}: {written:?}");
            let paths = files(&dir);
            let contents = contents(format, &paths);
            assert_eq!(in_order(&contents, count, 0), count as u64 * each, "{what}");
            assert_eq!((written.records, written.lost, written.beyond()), (count as u64 * each, 0, 0), "{what}");
            let bytes: u64 = paths.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
            assert_eq!(written.bytes, bytes, "{what}");
            let said = written.files.unwrap();
            assert_eq!(
                (said.begun as usize, &said.first, &said.last),
                (paths.len(), &paths[0], &paths[paths.len() - 1])
            );
            // A file is full with the packet that fills it: not before, and no other follows.
            for (n, file) in contents.iter().enumerate() {
                let last = file.last().map_or(0, |(.., len)| *len);
                let with: u64 = header(format) + file.iter().map(|(.., len)| len).sum::<u64>();
                let (most, packets) = (rules.bytes.unwrap_or(u64::MAX), rules.records.unwrap_or(u64::MAX));
                let full = |bytes: u64, records: u64| records > 0 && (bytes >= most || records >= packets);
                let records = file.len() as u64;
                assert!(!full(with - last, records - 1), "{what}: file {n} has one too many");
                assert!(full(with, records) || n + 1 == contents.len(), "{what}: file {n} was not full");
            }
        }
    }
}

#[test]
fn each_file_is_told_before_its_packets_and_is_whole_as_far_as_is_told() {
    for (format, means) in FORMATS.iter().flat_map(|format| BOTH.map(|means| (*format, means))) {
        let dir = tempfile::tempdir().unwrap();
        let rules = Rules { records: Some(7), ..Rules::default() };
        let told = Arc::new(Mutex::new(Vec::new()));
        let plan = Plan {
            path: Path::new("unused"),
            format,
            snaplen: SNAPLEN,
            buffer: BUFFER,
            section: &Section::of(["test"]),
        };
        let layout = Layout { series: Some(numbered(&dir, rules)), ..Layout::default() };
        let heard = Arc::clone(&told);
        let committed = move |what: Told<'_>| match what {
            Told::File(path) => heard.lock().unwrap().push((path.to_path_buf(), Vec::new())),
            Told::Whole(len) => {
                let mut heard = heard.lock().unwrap();
                let (path, lens) = heard.last_mut().unwrap();
                let bytes = std::fs::read(path).unwrap();
                let records = &bytes[header(format) as usize..len as usize];
                assert_eq!(format.whole(records).0, records.len(), "blocks of counters too");
                lens.push(len);
            }
        };
        let mut one = Recorder::laid_out(&plan, means, 1, layout, committed).unwrap().swap_remove(0);
        for number in 0..50 {
            put(&mut one, 0, number, THEN);
            if number % 3 == 0 {
                one.flush();
            }
        }
        let written = one.finish(Totals::default());
        assert!(written.error.is_none(), "{written:?}");
        let told = told.lock().unwrap();
        assert_eq!(told.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), files(&dir));
        for (path, lens) in told.iter() {
            assert_eq!(lens[0], header(format), "before the first packet");
            assert_eq!(lens[lens.len() - 1], path.metadata().unwrap().len(), "up to its end");
            assert!(lens.is_sorted());
        }
    }
}

#[test]
fn a_packet_is_in_the_file_of_its_time() {
    for (format, means) in FORMATS.iter().flat_map(|format| BOTH.map(|means| (*format, means))) {
        let (dir, hand) = (tempfile::tempdir().unwrap(), Hand::default());
        let rules = Rules { duration: Some(Duration::from_millis(100)), ..Rules::default() };
        let mut all = recorders(format, means, 1, numbered(&dir, rules), false, &hand);
        let mut time = 0;
        for number in 0..3_000 {
            // Up to three of these periods without a packet, seldom.
            time += if number % 500 == 499 { 290_000_000 } else { number * 7919 % 1_000_000 };
            // As often as a recorder is flushed: so long a file waits for packets of its time.
            if number % 50 == 49 {
                all[0].flush();
            }
            hand.set(time);
            put(&mut all[0], 0, number, THEN + time);
        }
        let written = Recorder::finish_all(all, &[Totals::default()]);
        let contents = contents(format, &files(&dir));
        assert_eq!(in_order(&contents, 1, 0), 3_000, "{format}, {means:?}");
        assert_eq!((written.records, written.lost), (3_000, 0));
        assert!(contents.len() > 10, "{} files", contents.len());
        let period = |time: u64| (time - THEN) / 100_000_000;
        for file in contents.iter().filter(|file| !file.is_empty()) {
            assert_eq!(period(file[0].2), period(file[file.len() - 1].2), "{format}, {means:?}");
        }
        let mut periods: Vec<u64> = contents.iter().flatten().map(|(.., time, _)| period(*time)).collect();
        periods.dedup();
        assert!(periods.is_sorted() && periods.len() >= contents.len() - 1);
    }
}

#[test]
fn the_next_file_is_begun_though_no_packet_comes() {
    for means in BOTH {
        let (dir, hand) = (tempfile::tempdir().unwrap(), Hand::default());
        let rules = Rules { duration: Some(Duration::from_secs(10)), ..Rules::default() };
        let mut all = recorders(Format::Pcap, means, 1, numbered(&dir, rules), false, &hand);
        put(&mut all[0], 0, 0, THEN);
        for (time, want) in [(9 * SECOND, 1), (10 * SECOND + SECOND / 5, 2), (45 * SECOND, 3)] {
            hand.set(time);
            let end = Instant::now() + Duration::from_secs(30);
            loop {
                all[0].flush();
                match files(&dir).len() {
                    n if n == want => break,
                    n => assert!(n < want && Instant::now() < end, "{means:?}: {n} files at {time}"),
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        put(&mut all[0], 0, 1, THEN + 46 * SECOND);
        let written = Recorder::finish_all(all, &[Totals::default()]);
        assert_eq!(written.records, 2);
        let counts: Vec<usize> = contents(Format::Pcap, &files(&dir)).iter().map(Vec::len).collect();
        assert_eq!(counts, [1, 0, 1], "{means:?}");
    }
}

#[test]
fn a_packet_that_is_handed_over_late_is_in_a_later_file_and_none_is_lost() {
    for means in BOTH {
        let (dir, hand) = (tempfile::tempdir().unwrap(), Hand::default());
        let rules = Rules { duration: Some(Duration::from_secs(1)), ..Rules::default() };
        let mut all = recorders(Format::Pcap, means, 2, numbered(&dir, rules), false, &hand);
        // The second is behind the first by some of these periods, and once it is ahead by a lot.
        for number in 0..50 {
            let time = number * SECOND / 5;
            hand.set(time);
            put(&mut all[0], 0, number, THEN + time);
            all[0].flush();
            let odd = if number == 25 { u64::from(u32::MAX) * SECOND } else { THEN + time - time.min(3 * SECOND) };
            put(&mut all[1], 1, number, odd);
            all[1].flush();
        }
        let written = Recorder::finish_all(all, &[Totals::default()]);
        let contents = contents(Format::Pcap, &files(&dir));
        assert_eq!(in_order(&contents, 2, 0), 100, "{means:?}");
        assert_eq!((written.records, contents.len()), (100, 10), "{means:?}");
    }
}

#[test]
fn no_more_than_so_many_files_are_kept_and_what_went_with_the_others_is_counted() {
    for means in BOTH {
        let (dir, hand) = (tempfile::tempdir().unwrap(), Hand::default());
        let rules = Rules { records: Some(10), ..Rules::default() };
        let series = Series { keep: Some(3), ..numbered(&dir, rules) };
        let mut all = recorders(Format::Pcap, means, 1, series, false, &hand);
        for number in 0..95 {
            put(&mut all[0], 0, number, THEN);
            all[0].flush();
            assert!(files(&dir).len() <= 4, "one more for a moment");
        }
        let written = Recorder::finish_all(all, &[Totals::default()]);
        let said = written.files.unwrap();
        let paths = files(&dir);
        assert_eq!((written.records, said.begun, said.removed, said.removed_records), (95, 10, 7, 70), "{means:?}");
        assert_eq!((paths.len(), &said.first, &said.last), (3, &paths[0], &paths[2]));
        assert_eq!(in_order(&contents(Format::Pcap, &paths), 1, 70), 25);
    }
}

#[test]
fn after_the_last_file_packets_are_counted_apart_and_it_is_said_at_once() {
    for means in BOTH {
        let (dir, hand) = (tempfile::tempdir().unwrap(), Hand::default());
        let rules = Rules { records: Some(10), ..Rules::default() };
        let series = Series { files: Some(3), ..numbered(&dir, rules) };
        let mut all = recorders(Format::Pcapng, means, 1, series, false, &hand);
        (0..29).for_each(|number| put(&mut all[0], 0, number, THEN));
        all[0].flush();
        assert!(!all[0].has_ended());
        (29..50).for_each(|number| put(&mut all[0], 0, number, THEN));
        all[0].flush();
        let end = Instant::now() + Duration::from_secs(30);
        while !all[0].has_ended() {
            assert!(Instant::now() < end, "it is full with the packet that fills it, not with the next");
            std::thread::yield_now();
        }
        let written = Recorder::finish_all(all, &[Totals::default()]);
        assert!(written.error.is_none());
        assert_eq!((written.records, written.lost, written.beyond()), (30, 0, 20), "{means:?}");
        assert_eq!(in_order(&contents(Format::Pcapng, &files(&dir)), 1, 0), 30);
    }
}

#[test]
fn a_file_that_cannot_be_begun_ends_it_with_exact_counts_and_its_name() {
    for means in BOTH {
        let (dir, hand) = (tempfile::tempdir().unwrap(), Hand::default());
        let rules = Rules { records: Some(10), ..Rules::default() };
        let names = Names::Counted(dir.path().join("f"), None);
        let (played, folder) = (dir.path().join("f2"), dir.path().join("f3"));
        std::fs::write(&played, "played").unwrap();
        let series = Series { names, spared: vec![played.clone()], ..numbered(&dir, rules) };
        let mut all = recorders(Format::Pcap, means, 1, series.clone(), false, &hand);
        (0..50).for_each(|number| put(&mut all[0], 0, number, THEN));
        let written = Recorder::finish_all(all, &[Totals::default()]);
        assert!(written.error.unwrap().to_string().contains("overwritten while it is played"));
        assert_eq!((written.records, written.lost), (20, 30), "{means:?}");
        assert_eq!(written.files.unwrap().failed.unwrap(), played);
        assert_eq!(std::fs::read_to_string(&played).unwrap(), "played");

        std::fs::create_dir(&folder).unwrap();
        let series = Series { spared: Vec::new(), ..series };
        let mut all = recorders(Format::Pcap, means, 1, series, false, &hand);
        (0..50).for_each(|number| put(&mut all[0], 0, number, THEN));
        let written = Recorder::finish_all(all, &[Totals::default()]);
        assert!(written.error.unwrap().to_string().contains("no regular file"));
        assert_eq!((written.records, written.lost), (30, 20), "{means:?}");
        let files = written.files.unwrap();
        assert_eq!((files.failed.unwrap(), files.replaced, files.last), (folder, 3, played));
        std::fs::remove_dir(dir.path().join("f3")).unwrap();
    }
}

#[test]
fn a_compressed_file_is_readable_up_to_the_last_flush_wherever_it_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let (path, torn) = (dir.path().join("f.gz"), dir.path().join("torn.gz"));
    for (format, means) in FORMATS.iter().flat_map(|format| BOTH.map(|means| (*format, means))) {
        let plan = Plan { path: &path, format, snaplen: SNAPLEN, buffer: BUFFER, section: &Section::of(["test"]) };
        let layout = Layout { packed: true, ..Layout::default() };
        let mut one = Recorder::laid_out(&plan, means, 1, layout, |_| ()).unwrap().swap_remove(0);
        let mut flushed = Vec::new();
        for number in 0..40_u64 {
            put(&mut one, 0, number, THEN);
            if number % 5 == 4 {
                let before = one.written().1;
                one.flush();
                while one.written().1 == before {
                    std::thread::yield_now();
                }
                flushed.push((one.written().1 as usize, number as usize + 1));
            }
        }
        let written = one.finish(Totals::default());
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((written.records, written.bytes), (40, bytes.len() as u64));
        assert!((bytes.len() as u64) < header(format) + 40 * 800 / 2, "it is smaller: {} bytes", bytes.len());
        assert_eq!(in_order(&contents(format, std::slice::from_ref(&path)), 1, 0), 40);
        for cut in flushed[0].0..bytes.len() {
            std::fs::write(&torn, &bytes[..cut]).unwrap();
            let promised = flushed.iter().rfind(|(len, _)| *len <= cut).unwrap().1;
            let read = Recording::open(&torn).unwrap().len();
            assert!(read >= promised, "{format}: {read} of {promised} at byte {cut}");
            // Cut behind the last member it is a file like any other.
            let whole = crate::pcap::packed::whole_members(&bytes[..cut]);
            std::fs::write(&torn, &bytes[..whole]).unwrap();
            let recording = Recording::open(&torn).unwrap();
            assert_eq!((recording.len(), recording.damage()), (promised, None));
        }
    }
}

#[test]
fn files_of_a_series_are_compressed_each_and_full_by_what_is_in_them() {
    for means in BOTH {
        let (dir, hand) = (tempfile::tempdir().unwrap(), Hand::default());
        let rules = Rules { bytes: Some(100_000), ..Rules::default() };
        let mut all = recorders(Format::Pcap, means, 1, numbered(&dir, rules), true, &hand);
        (0..2_000).for_each(|number| put(&mut all[0], 0, number, THEN));
        let written = Recorder::finish_all(all, &[Totals::default()]);
        let paths = files(&dir);
        let contents = contents(Format::Pcap, &paths);
        assert_eq!((in_order(&contents, 1, 0), written.records), (2_000, 2_000));
        for file in &contents[..contents.len() - 1] {
            let bytes: u64 = header(Format::Pcap) + file.iter().map(|(.., len)| len).sum::<u64>();
            assert!((100_000..100_000 + 1_530).contains(&bytes), "{bytes} bytes");
        }
        assert_eq!(written.bytes, paths.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum::<u64>());
    }
}
