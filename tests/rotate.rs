//! `bmnic capture` in several files, compressed, and into named pipes, as a program: nothing is
//! lost between two files, told by the numbers that packets carry, and each file is whole.

#[path = "common/capture.rs"]
mod common;

use bmnic::pcap::read::Recording;
use common::{count, document, small_disk, text};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn bmnic(words: &[&str]) -> Command {
    common::lenient(&[&["capture"], words].concat())
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

/// The files of a folder, by name.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A folder on a disk, and one in memory if there is one: other threads write there.
fn folders() -> Vec<TempDir> {
    let memory = Path::new("/dev/shm");
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    [disk].into_iter().chain(memory.is_dir().then(|| tempfile::tempdir_in(memory).unwrap())).collect()
}

/// Every packet that was received is in a file, was filtered or dropped by a named cause, or came
/// after the last file was full.
fn adds_up(document: &Value) {
    let lost = count(document, "/lost/disk_slow") + count(document, "/lost/disk_failed");
    let rest = count(document, "/filtered") + count(document, "/beyond");
    assert_eq!(count(document, "/captured") + lost + rest, count(document, "/received"), "{document}");
}

/// The numbers that the source gave the packets of all files, which are whole.
fn numbers(files: &[PathBuf]) -> Vec<Vec<u64>> {
    let read = |path: &PathBuf| {
        let recording = Recording::open(path).unwrap();
        assert_eq!(recording.damage(), None, "{}", path.display());
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes[46..54].try_into().unwrap());
        recording.packets().map(|packet| number(packet.bytes)).collect()
    };
    files.iter().map(read).collect()
}

/// Captures into `dir/out.pcap`, or what the rest makes of that name.
fn capture(dir: &TempDir, words: &[&str]) -> Value {
    let path = dir.path().join("out.pcap");
    let output = bmnic(&[&["-w", path.to_str().unwrap(), "--json", "--strict"], words].concat()).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    let document = document(&output);
    adds_up(&document);
    document
}

#[test]
fn under_load_all_files_together_hold_what_came_in_order_and_once() {
    for (rule, format, packets) in [
        ("packets:2", "pcap", "2000"),
        ("filesize:7", "pcapng", "50000"),
        ("filesize:1000", "pcap", "500000"),
        ("filesize:1M,duration:20ms", "pcapng", "500000"),
    ] {
        for dir in folders() {
            let card = "emu:82599,wire=source";
            let document = capture(&dir, &["-i", card, "--format", format, "-b", rule, "-c", packets, "-d", "60s"]);
            let paths = files(dir.path());
            let numbers = numbers(&paths).concat();
            assert_eq!(numbers.len() as u64, count(&document, "/captured"), "{rule}: {document}");
            assert_eq!(paths.len() as u64, count(&document, "/files/begun"));
            assert!(paths.len() > 5, "{rule}: {} files", paths.len());
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{rule}: in order and once");
            // What is not there between the first and the last has a name.
            let missing = numbers[numbers.len() - 1] - numbers[0] + 1 - numbers.len() as u64;
            assert!(missing <= count(&document, "/lost/total"), "{rule}: {missing} are missing: {document}");
            let bytes: u64 = paths.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
            assert_eq!(bytes, count(&document, "/file_bytes"));
        }
    }
}

#[test]
fn threads_that_capture_share_the_files_and_lose_nothing_between_them() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("SKIPPED: two threads take two processors");
        return;
    }
    for dir in folders() {
        let card = "emu:82599,wire=source:flows=64";
        let words = ["-i", card, "--rxq", "2", "--cores", "2", "-b", "filesize:300", "-c", "60000", "-d", "60s"];
        let document = capture(&dir, &words);
        let mut numbers = numbers(&files(dir.path())).concat();
        assert_eq!(numbers.len() as u64, count(&document, "/captured"), "{document}");
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len() as u64, count(&document, "/captured"), "each once");
        assert_eq!(count(&document, "/captured"), 60_000);
    }
}

#[test]
fn files_are_called_and_kept_as_dumpcap_and_tcpdump_do() {
    let names = |words: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let card = ["-i", "emu:82599,wire=source", "-c", "100"];
        capture(&dir, &[&card[..], words].concat());
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_string();
        let paths = files(dir.path());
        let packets: usize = numbers(&paths).iter().map(Vec::len).sum();
        (paths.iter().map(name).collect::<Vec<_>>(), packets)
    };
    let (all, packets) = names(&["-b", "packets:30"]);
    assert_eq!((all.len(), packets), (4, 100));
    for (n, name) in all.iter().enumerate() {
        let digits = name.strip_prefix(&format!("out_0000{}_", n + 1)).and_then(|name| name.strip_suffix(".pcap"));
        let time = digits.unwrap_or_else(|| panic!("{name}"));
        assert!(time.len() == 14 && time.starts_with("20") && time.bytes().all(|byte| byte.is_ascii_digit()), "{name}");
    }
    let (all, packets) = names(&["-b", "packets:30", "-b", "files:2"]);
    assert_eq!((all.len(), packets), (2, 40), "{all:?}");
    assert!(all[0].starts_with("out_00003_") && all[1].starts_with("out_00004_"), "{all:?}");
    // A record is of 76 bytes behind a header of 24: the 27th exceeds 2000.
    let (all, packets) = names(&["-C", "2000B"]);
    assert_eq!((all, packets), (["out.pcap", "out.pcap1", "out.pcap2", "out.pcap3"].map(String::from).to_vec(), 100));
    let (all, packets) = names(&["-C", "2000B", "-W", "3"]);
    assert_eq!((all, packets), (["out.pcap0", "out.pcap1", "out.pcap2"].map(String::from).to_vec(), 100 - 27));
}

#[test]
fn it_ends_with_the_last_file_and_says_what_came_later() {
    let dir = tempfile::tempdir().unwrap();
    let card = "emu:82599,wire=source:rate=200k";
    let document = capture(&dir, &["-i", card, "-b", "packets:100", "-a", "files:3", "-d", "60s"]);
    assert_eq!((count(&document, "/captured"), count(&document, "/files/begun")), (300, 3), "{document}");
    let numbers = numbers(&files(dir.path()));
    assert!(numbers.iter().all(|file| file.len() == 100));
    let all = numbers.concat();
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]));

    let dir = tempfile::tempdir().unwrap();
    let document = capture(&dir, &["-i", card, "-a", "filesize:10", "-d", "60s"]);
    // 24 bytes and 76 for each: as many as it takes to have 10,000.
    assert_eq!((count(&document, "/captured"), count(&document, "/file_bytes")), (132, 24 + 132 * 76), "{document}");
    assert_eq!(files(dir.path()), [dir.path().join("out.pcap")]);
}

#[test]
fn a_file_ends_by_its_time_though_no_packet_comes() {
    // All five come before anybody looks, or as good as that.
    for card in ["emu:82599,wire=source:rate=1000:count=5", "emu:82599,wire=source:rate=5"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out-%Y%m%d%H%M%S.pcap");
        let words = ["-w", path.to_str().unwrap(), "-i", card, "-G", "1", "-W", "3", "-d", "60s", "--json"];
        let started = Instant::now();
        let output = bmnic(&words).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let document = document(&output);
        assert!(started.elapsed() < Duration::from_secs(50), "it ended with the last file");
        assert_eq!(count(&document, "/files/begun"), 3, "{document}");
        let counts: Vec<usize> = numbers(&files(dir.path())).iter().map(Vec::len).collect();
        assert_eq!(
            (counts.len(), counts.iter().sum::<usize>() as u64),
            (3, count(&document, "/captured")),
            "{counts:?}"
        );
        adds_up(&document);
    }
}

/// A capture file of packets of many lengths, no more of them than a ring has room for.
fn sample(path: &Path) {
    let mut bytes: Vec<u8> =
        [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
    for n in 0..2_500_u32 {
        let len = 60 + n * 7_919 % 1_454;
        let words = [1_790_000_000, n * 100, len, len];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        let mut frame = vec![0; len as usize];
        frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
        bytes.extend(frame);
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_same_packets_are_in_the_same_files_as_of_dumpcap_and_tcpdump() {
    let dir = tempfile::tempdir().unwrap();
    let played = dir.path().join("in.pcap");
    sample(&played);
    let input = played.to_str().unwrap();
    let dumpcap = |file: &str, rules: &str| {
        let script = "cat \"$0\" | dumpcap -q -P -i - -w \"$1\" $2";
        let words = rules.split(',').map(|rule| format!("-b {rule}")).collect::<Vec<_>>().join(" ");
        Command::new("sh")
            .args(["-c", script, input, file, &words])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let tcpdump = |file: &str, rules: &str| {
        let words = ["-Z", "root", "-r", input, "-w", file];
        Command::new("tcpdump").args(words).args(rules.split(' ')).output().is_ok_and(|output| output.status.success())
    };
    let packets =
        |dir: &Path| -> Vec<usize> { files(dir).iter().map(|path| Recording::open(path).unwrap().len()).collect() };
    let mut compared = 0;
    for rules in ["filesize:100", "packets:700", "packets:700,files:3", "filesize:200,packets:170", "-C 1", "-C 1 -W 2"]
    {
        let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = theirs.path().join("out.pcap");
        let is_tcpdump = rules.starts_with('-');
        let done =
            if is_tcpdump { tcpdump(file.to_str().unwrap(), rules) } else { dumpcap(file.to_str().unwrap(), rules) };
        if !done {
            eprintln!("SKIPPED: {} is not here or may not run", if is_tcpdump { "tcpdump" } else { "dumpcap" });
            continue;
        }
        let card = format!("emu:82599,wire=pcap:{input}");
        let mut words = vec!["-i", &card, "-d", "60s"];
        words.extend(if is_tcpdump { rules.split(' ').collect() } else { vec!["-b", rules] });
        let document = capture(&ours, &words);
        assert_eq!(count(&document, "/captured"), 2_500, "{document}");
        assert_eq!(packets(ours.path()), packets(theirs.path()), "{rules}");
        let names = |dir: &Path| -> Vec<String> {
            // Without the time.
            let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_string();
            files(dir).iter().map(|path| if is_tcpdump { name(path) } else { name(path)[..9].to_string() }).collect()
        };
        assert_eq!(names(ours.path()), names(theirs.path()), "{rules}");
        compared += 1;
    }
    println!("{compared} compared");
}

/// Waits until there are `count` files, one of them at least with a packet.
fn appear(dir: &Path, count: usize) {
    let end = Instant::now() + Duration::from_secs(30);
    while files(dir).len() < count {
        assert!(Instant::now() < end, "no more than {} files", files(dir).len());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_capture_that_is_killed_leaves_every_file_whole() {
    for round in 0..12_u64 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.pcap");
        let format = if round % 2 == 0 { "pcap" } else { "pcapng" };
        let compress = if round % 3 == 0 { "gzip" } else { "none" };
        let words = ["-i", "emu:82599,wire=source:size=1518", "-b", "filesize:400", "--format", format];
        let words = [&["-w", path.to_str().unwrap(), "--compress", compress][..], &words].concat();
        let mut child = bmnic(&words).spawn().unwrap();
        appear(dir.path(), 2);
        // At another moment each time.
        std::thread::sleep(Duration::from_micros(7_919 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        // The guard of the files has the last word, at once but not before.
        let end = Instant::now() + Duration::from_secs(10);
        let torn = || {
            files(dir.path()).iter().filter(|path| Recording::open(path).is_ok_and(|r| r.damage().is_some())).count()
        };
        while torn() > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        // A header that was not written yet is no file.
        let paths: Vec<_> = files(dir.path()).into_iter().filter(|path| path.metadata().unwrap().len() > 0).collect();
        let numbers = numbers(&paths).concat();
        assert!(!numbers.is_empty() && numbers.windows(2).all(|pair| pair[0] < pair[1]), "round {round}");
    }
}

#[test]
fn a_disk_that_is_full_ends_it_and_a_ring_of_files_that_fits_goes_on() {
    let Some(dir) = small_disk() else { return };
    let path = dir.path().join("out.pcap");
    let run = |rules: &str| {
        let card = "emu:82599,wire=source:rate=200k";
        let output =
            bmnic(&["-w", path.to_str().unwrap(), "-i", card, "-b", rules, "-c", "20000", "--json"]).output().unwrap();
        let paths = files(dir.path());
        let numbers = numbers(&paths);
        paths.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        (output, numbers)
    };
    let (ring, kept) = run("filesize:60,files:3");
    let (full, written) = run("filesize:60");
    assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());

    assert!(ring.status.success(), "{}", text(&ring.stderr));
    let ring = document(&ring);
    adds_up(&ring);
    let there: usize = kept.iter().map(Vec::len).sum();
    assert_eq!(there as u64 + count(&ring, "/files/removed_packets"), count(&ring, "/captured"));
    assert!(kept.len() == 3 && kept.concat().windows(2).all(|pair| pair[0] < pair[1]));

    assert_eq!(full.status.code(), Some(1));
    let line = text(&full.stderr);
    assert!(line.contains("No space left") && line.contains("packets are in the files, all whole"), "{line}");
    let full = document_before_the_error(&full);
    adds_up(&full);
    let there: usize = written.iter().map(Vec::len).sum();
    assert_eq!((there as u64, written.len() as u64), (count(&full, "/captured"), count(&full, "/files/begun")));
    assert!(count(&full, "/lost/disk_failed") > 0);
}

/// The document that was printed before what failed was said.
fn document_before_the_error(output: &Output) -> Value {
    let mut documents = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    documents.next().unwrap().unwrap()
}

#[test]
fn other_programs_read_what_is_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap.gz");
    let file = path.to_str().unwrap();
    let card = "emu:82599,wire=source:rate=100k";
    let output = bmnic(&["-w", file, "-i", card, "-c", "20000", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document = document(&output);
    assert_eq!(count(&document, "/file_bytes"), std::fs::metadata(&path).unwrap().len());
    assert!(count(&document, "/file_bytes") < 20_000 * 76 / 2, "{document}");
    assert_eq!(numbers(std::slice::from_ref(&path)).concat().len(), 20_000);
    assert!(Command::new("gzip").args(["-t", file]).status().unwrap().success());
    if let Ok(info) = Command::new("capinfos").args(["-c", "-M", file]).output() {
        assert!(info.status.success() && text(&info.stdout).contains("20000"), "{}", text(&info.stdout));
    }
}

#[test]
fn a_named_pipe_is_written_while_it_has_a_reader_and_waits_for_one_that_a_signal_ends() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    bmnic::sys::make_fifo(&fifo).unwrap();
    let file = fifo.to_str().unwrap();
    let child = bmnic(&["-w", file, "-d", "0"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    signal(&child, "TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", text(&output.stderr));

    // One that leaves after a few packets ends it, which is no failure.
    let child = bmnic(&["-w", file, "-d", "0", "--json"]).spawn().unwrap();
    let head = Command::new("head").args(["-c", "10000", file]).stdout(Stdio::piped()).output().unwrap();
    assert_eq!(head.stdout.len(), 10_000);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    adds_up(&document(&output));

    // One that stays has all that was counted.
    let child = bmnic(&["-w", file, "-c", "5000", "--json"]).spawn().unwrap();
    let cat = Command::new("cat").arg(file).stdout(Stdio::piped()).output().unwrap();
    let document = document(&child.wait_with_output().unwrap());
    assert_eq!((count(&document, "/captured"), cat.stdout.len() as u64), (5_000, count(&document, "/file_bytes")));
}

#[test]
fn what_cannot_be_divided_is_refused_in_one_line_and_makes_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let (file, zst) = (path.to_str().unwrap(), dir.path().join("out.pcap.zst"));
    for (words, code, part) in [
        (&["-w", "-", "-b", "packets:1"][..], 2, "no file that another could follow"),
        (&["-w", "/dev/null", "-b", "packets:1"], 2, "no file that another could follow"),
        (&["-w", file, "-b", "files:3"], 2, "not when another one begins"),
        (&["-w", file, "-b", "packets:1", "-C", "1"], 2, "one or the other"),
        (&["-w", file, "-G", "60"], 2, "each file would overwrite the one before"),
        (&["-w", file, "-b", "packets:1", "--perf-test", "disk"], 2, "a dummy of the ring or the disk"),
        (&["--publish", "rotate-test", "-b", "packets:1"], 2, "no file is written"),
        (&["-w", zst.to_str().unwrap()], 1, "does not write zstd"),
    ] {
        let output = bmnic(words).output().unwrap();
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {line}");
        assert!(line.contains(part) && line.trim_end().lines().count() == 1, "{words:?}: {line}");
        assert_eq!(files(dir.path()), [] as [PathBuf; 0]);
    }
}
