//! `bmnic capture` as a program: exact counts, and a file that is whole whatever
//! happens to the program or the disk.

#[path = "common/capture.rs"]
mod capture;
#[path = "common/families.rs"]
mod families;
#[path = "common/namespaces.rs"]
mod namespaces;

use bmnic::pcap::read::Recording;
use capture::{adds_up, bmnic, count, document, lenient, small_disk, text};
use families::EACH;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

/// Waits until the file at `path` is longer than `bytes`.
fn grown(path: &Path, bytes: u64) {
    let end = Instant::now() + Duration::from_secs(30);
    while std::fs::metadata(path).map_or(0, |file| file.len()) <= bytes {
        assert!(Instant::now() < end, "nothing is written");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until the file at `path` has not grown for a while.
fn settled(path: &Path) {
    let len = || std::fs::metadata(path).map_or(0, |file| file.len());
    let mut before = None;
    while before != Some(len()) {
        before = Some(len());
        std::thread::sleep(Duration::from_secs(2));
    }
}

#[test]
fn the_file_holds_what_is_counted_in_both_formats() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    for (model, format) in EACH.iter().flat_map(|model| ["pcap", "pcapng"].map(|format| (model, format))) {
        let card = format!("emu:{model},wire=source");
        let words =
            ["capture", path.to_str().unwrap(), "-i", &card, "--format", format, "-c", "5000", "--json", "--strict"];
        let output = lenient(&words).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let document = document(&output);
        assert_eq!(count(&document, "/captured"), 5_000);
        assert_eq!(count(&document, "/file_bytes"), std::fs::metadata(&path).unwrap().len());
        adds_up(&document);
        let recording = Recording::open(&path).unwrap();
        assert_eq!((recording.len(), recording.damage()), (5_000, None));
        assert!(recording.packets().all(|packet| packet.bytes.len() == 60));
        let times: Vec<i64> = recording.packets().map(|packet| packet.time).collect();
        assert!(times.is_sorted() && times[0] > 1_700_000_000_000_000_000, "nanoseconds since 1970");
        if let Ok(info) = Command::new("capinfos").args(["-c", "-M", path.to_str().unwrap()]).output() {
            assert!(info.status.success() && text(&info.stdout).contains("5000"), "{}", text(&info.stdout));
        }
    }
}

#[test]
fn flows_are_spread_over_the_queues_and_each_queues_packets_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    for model in EACH.iter().filter(|card| card.queues[0] >= 4) {
        let card = format!("emu:{model},wire=source:flows=256");
        let words = ["capture", path.to_str().unwrap(), "-i", &card, "--rxq", "4", "-c", "20000", "--json", "--strict"];
        let output = lenient(&words).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let document = document(&output);
        let queues = document["received_by_queue"].as_array().unwrap();
        let counts: Vec<u64> = queues.iter().map(|count| count.as_u64().unwrap()).collect();
        assert_eq!(counts.len(), 4);
        assert_eq!(counts.iter().sum::<u64>(), count(&document, "/received"));
        // 256 flows: a queue without 20 of them has a hash that does not spread.
        assert!(counts.iter().all(|&count| count > 20_000 / 13), "{model}: {counts:?}");
    }
}

/// The times in a file, and how many of its packets stand behind a later one.
fn times(path: &Path) -> (Vec<u64>, u64) {
    let times: Vec<u64> =
        Recording::open(path).unwrap().packets().map(|packet| packet.time.try_into().unwrap()).collect();
    let mut latest = 0;
    let late = times.iter().filter(|&&time| {
        let late = time < latest;
        latest = latest.max(time);
        late
    });
    let late = late.count() as u64;
    (times, late)
}

#[test]
fn stamps_of_the_cards_tell_packets_apart_and_queues_are_merged_by_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let file = path.to_str().unwrap();
    for model in ["x2522", "x550"].map(families::card) {
        let step_ns = model.step_ns;
        for (queues, card) in [("1", "rate=10k"), ("4", "rate=10k:flows=64")] {
            let card = format!("emu:{model},wire=source:{card}");
            let words =
                ["capture", file, "-i", &card, "--rxq", queues, "-c", "4000", "-d", "60s", "--json", "--strict"];
            let output = lenient(&words).output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            let document = document(&output);
            let stamps = &document["timestamps"];
            assert_eq!((&stamps["source"], &stamps["resolution_ns"]), (&"hw".into(), &step_ns.into()), "{document}");
            assert!(count(&document, "/timestamps/offset_uncertainty_ns") > 0);
            assert_eq!(count(&document, "/timestamps/unstamped"), 0, "{card}");
            let (mut times, late) = times(&path);
            assert_eq!(late, count(&document, "/timestamps/late"), "{card}: what is out of order is said");
            // A machine that stops the card for long within a step can make it late;
            // queues that are not merged leave most out of order.
            assert!(late < 1_000, "{card}: {late} of 4000 out of order");
            times.sort_unstable();
            assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{card}: two packets of one time");
        }
    }
    let output = bmnic(&["capture", file, "-i", "emu:82599,wire=source", "-c", "10", "--json"]).output().unwrap();
    let document = document(&output);
    assert_eq!(document["timestamps"]["source"], "tsc");
    assert!(document["timestamps"]["resolution_ns"].is_null(), "one a batch: {document}");
}

#[test]
fn a_filter_sees_a_frame_beyond_its_first_buffer() {
    let dir = tempfile::tempdir().unwrap();
    let (jumbo, path) = (dir.path().join("jumbo.pcap"), dir.path().join("out.pcap"));
    // One frame of 4000 bytes, marked in its second buffer and at its end.
    let mut frame = vec![0_u8; 4000];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    frame[2500] = 0xaa;
    frame[3996..].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    let words = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1, 1, 0, 4000, 4000];
    let head: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(&jumbo, [&head[..], &frame].concat()).unwrap();
    for model in EACH.iter().filter(|card| card.limits_frames) {
        let card = format!("emu:{model},wire=pcap:{}", jumbo.display());
        for (filter, wanted) in [
            ("ether[2500] = 0xaa", true),
            ("ether[len - 4:4] = 0xdeadbeef", true),
            ("not ether[2500] = 0", true),
            ("ether[2500] = 0", false),
            ("not ether[4000] = 0", false),
        ] {
            let file = path.to_str().unwrap();
            let output = bmnic(&["capture", "-i", &card, "-w", file, "-c", "1", "-d", "30s", "--json", filter])
                .output()
                .unwrap();
            let document = document(&output);
            let seen = count(&document, "/received");
            assert!(seen > 0, "{card}: {}", text(&output.stderr));
            let counts = (count(&document, "/captured"), count(&document, "/filtered"));
            assert_eq!(counts, if wanted { (1, 0) } else { (0, seen) }, "{card}: {filter}");
        }
    }
}

#[test]
fn a_file_that_was_played_to_its_end_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let (played, path) = (dir.path().join("in.pcap"), dir.path().join("out.pcap"));
    let mut file: Vec<u8> =
        [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
    for n in 0..500_u32 {
        file.extend([1, n, 60, 60].iter().flat_map(|word| word.to_le_bytes()));
        file.extend([&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5][..], &[0; 42], &n.to_le_bytes()].concat());
    }
    std::fs::write(&played, file).unwrap();
    for model in EACH {
        let card = format!("emu:{model},wire=pcap:{}:speed=line:loop=3", played.display());
        let begun = Instant::now();
        let output = bmnic(&["capture", "-i", &card, path.to_str().unwrap(), "-d", "100s", "--json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{card}: {}", text(&output.stderr));
        assert!(begun.elapsed() < Duration::from_secs(90), "{card} ran on without a frame to come");
        let document = document(&output);
        assert_eq!((count(&document, "/captured"), count(&document, "/received")), (1_500, 1_500), "{card}");
        // The same on its way to another port, which brings nothing.
        let begun = Instant::now();
        let output =
            bmnic(&["fwd", &card, &format!("emu:{model},wire=sink"), "-d", "100s", "--json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{card}: {}", text(&output.stderr));
        assert!(begun.elapsed() < Duration::from_secs(90), "{card} went on without a frame to come");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["directions"][0]["frames"], 1_500, "{card}");
    }
}

#[test]
fn a_filter_s_program_is_printed_without_a_card_or_a_file() {
    let dir = tempfile::tempdir().unwrap();
    for words in [
        &["capture", "--print-filter", "udp", "port", "53"][..],
        &["capture", "--print-filter", "-f", "udp port 53"],
        &["capture", "-i", "0000:00:00.7", "--print-filter", "-w", "out.pcap", "udp port 53"],
    ] {
        let output = bmnic(words).current_dir(dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        let printed = text(&output.stdout);
        assert!(printed.starts_with("(000) ldh      [12]\n(001) jeq      #0x86dd          jt 2\tjf 8\n"), "{printed}");
        assert!(printed.ends_with(") ret      #0\n"), "{printed}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no file was made");
    let refused = bmnic(&["capture", "--print-filter", "udp port"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("a port number"), "{}", text(&refused.stderr));
}

#[test]
fn a_filter_and_a_snap_length_decide_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let file = path.to_str().unwrap();
    let words = [
        "capture",
        "-i",
        "emu:82599,wire=source:size=64/1518:rate=20k",
        // A ring that bridges 200 ms: what is left out is counted exactly.
        "--rxd",
        "4096",
        "-w",
        file,
        "-s",
        "100",
        "-c",
        "500",
        "--json",
    ];
    let output = lenient(&[&words[..], &["greater", "1000", "and", "udp"]].concat()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document = document(&output);
    adds_up(&document);
    assert!(count(&document, "/filtered") >= 499);
    let recording = Recording::open(&path).unwrap();
    assert_eq!(recording.len(), 500);
    assert!(recording.packets().all(|packet| (packet.bytes.len(), packet.wire_len) == (100, 1514)));
}

#[test]
fn when_nothing_is_captured_the_likely_cause_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let file = path.to_str().unwrap();
    for (words, cause) in [
        (&["tcp"][..], "the filter 'tcp' left out all"),
        (&["-i", "emu:82599,wire=sink"], "no packet reached the card"),
    ] {
        let output = lenient(&[&["capture", file, "-d", "200ms"][..], words].concat()).output().unwrap();
        assert!(output.status.success());
        assert!(text(&output.stderr).contains(cause), "{}", text(&output.stderr));
        assert_eq!(Recording::open(&path).unwrap().len(), 0, "an empty capture is a valid one");
    }
}

#[test]
fn a_loss_is_named_and_ends_with_its_own_code_unless_it_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let file = path.to_str().unwrap();
    for model in EACH {
        let long = model.limits_frames;
        // Every other frame is too long for the port, whatever the machine does.
        let size = if long { "64/1518" } else { "64" };
        let card = format!("emu:{model},wire=source:size={size}:rate=2k");
        let words = ["capture", file, "-i", &card, "--max-frame", "100", "-c", "100", "--rxd", "4096", "--json"];
        let output = bmnic(&words).output().unwrap();
        let document = document(&output);
        let (captured, lost) = (count(&document, "/captured"), count(&document, "/lost/total"));
        assert_eq!(captured, 100, "{document}");
        assert_eq!(lost > 0, long, "{document}");
        assert_eq!(count(&document, "/lost/missed_by_card"), 0, "{document}");
        assert_eq!(output.status.code(), Some(if long { 3 } else { 0 }), "{document}");
        if long {
            let said = format!("{lost} of {} packets were lost", captured + lost);
            assert!(text(&output.stderr).contains(&said), "{}", text(&output.stderr));
            assert!(bmnic(&[&words[..], &["--allow-loss", "90%"]].concat()).status().unwrap().success());
        }
    }
}

#[test]
fn what_came_before_the_rings_took_packets_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    for model in EACH {
        // The shortest ring, of 256 descriptors, bridges 256 ms.
        let card = format!("emu:{model},wire=source:rate=1000");
        for _ in 0..5 {
            let words = ["capture", path.to_str().unwrap(), "-i", &card, "-d", "50ms", "--rxd", "4096", "--json"];
            let output = bmnic(&words).output().unwrap();
            assert!(output.status.success(), "{model}: {}", text(&output.stderr));
            assert_eq!(count(&document(&output), "/lost/total"), 0, "{model}");
        }
    }
}

#[test]
fn what_a_kernel_interface_was_sent_is_all_captured_or_named() {
    if let Some(why) = namespaces::obstacle(&[]) {
        eprintln!("SKIPPED capture from an interface of the kernel: {why}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let namespace = namespaces::Namespace::new("capture");
    namespace.must("ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up");
    let capture = ["capture", path.to_str().unwrap(), "-i", "emu:82599,wire=packet:v1", "-d", "0"];
    let capture = namespace
        .command(env!("CARGO_BIN_EXE_bmnic"))
        .args(capture)
        .args(["udp", "--json", "--allow-loss", "100%", "--rxd", "4096"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    grown(&path, 0);
    let send = ["pktgen", "-i", "emu:82599,wire=packet:v0", "-c", "300000", "-r", "100k"];
    let mut sender = namespace.command(env!("CARGO_BIN_EXE_bmnic"));
    let sender = sender.args(send).args(["--json", "--allow-shortfall", "100%"]).output().unwrap();
    settled(&path);
    signal(&capture, "INT");
    let (sent, seen) = (document(&sender), document(&capture.wait_with_output().unwrap()));
    assert!(sender.status.success(), "{}", text(&sender.stderr));
    assert_eq!((count(&sent, "/sent"), count(&sent, "/lost/total")), (300_000, 0), "{sent}");
    adds_up(&seen);
    assert_eq!(count(&seen, "/captured") + count(&seen, "/lost/total"), 300_000, "{seen}");
    // What an interface does not carry is named by who sent it, and is no success.
    let mut sender = namespace.command(env!("CARGO_BIN_EXE_bmnic"));
    let refused = sender.args(["pktgen", "-i", "emu:82599,wire=packet:v0", "-c", "2", "-s", "4000"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(text(&refused.stdout).contains("2 refused by the kernel: longer than the interface's MTU"), "{refused:?}");
}

#[test]
fn a_capture_goes_down_a_pipe_and_a_reader_that_leaves_is_no_failure() {
    let output = lenient(&["capture", "-", "-c", "300"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(Recording::parse(output.stdout, "pipe").unwrap().len(), 300);
    assert!(text(&output.stderr).contains("captured  300 packets"));

    let mut child = lenient(&["capture", "-", "-d", "20s"]).spawn().unwrap();
    let mut head = [0; 4096];
    child.stdout.take().unwrap().read_exact(&mut head).unwrap();
    let started = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(15), "it went on for nobody");
}

#[test]
fn the_first_signal_ends_it_cleanly_with_its_summary() {
    let dir = tempfile::tempdir().unwrap();
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let path = dir.path().join(name);
        let child = bmnic(&["capture", path.to_str().unwrap(), "-d", "0", "--json"]).spawn().unwrap();
        grown(&path, 100);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        let document = document(&output);
        adds_up(&document);
        assert_eq!(Recording::open(&path).unwrap().len() as u64, count(&document, "/captured"));
    }
}

#[test]
fn a_killed_capture_leaves_a_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..12_u64 {
        let format = if round % 2 == 0 { "pcap" } else { "pcapng" };
        let path = dir.path().join(format!("{round}.{format}"));
        let source = "emu:82599,wire=source:size=1518";
        let mut child = bmnic(&["capture", path.to_str().unwrap(), "-i", source, "--format", format]).spawn().unwrap();
        grown(&path, 1_000);
        // At another moment each time.
        std::thread::sleep(Duration::from_micros(7_919 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        // The guard of the file has the last word, at once but not before.
        let end = Instant::now() + Duration::from_secs(10);
        let mut recording = Recording::open(&path).unwrap();
        while recording.damage().is_some() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
            recording = Recording::open(&path).unwrap();
        }
        assert_eq!(recording.damage(), None, "round {round}");
        assert!(!recording.is_empty());
    }
}

#[test]
fn what_was_captured_is_in_the_file_though_no_more_traffic_pushes_it_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let source = "emu:82599,wire=source:rate=1000:count=300";
    let child = bmnic(&["capture", path.to_str().unwrap(), "-i", source, "--json"]).spawn().unwrap();
    grown(&path, 100);
    // The source has 300 packets in 300 ms and then falls silent.
    let len = || std::fs::metadata(&path).unwrap().len();
    let (mut before, end) = (0, Instant::now() + Duration::from_secs(30));
    while len() != before {
        assert!(Instant::now() < end, "it grows for ever");
        before = len();
        std::thread::sleep(Duration::from_secs(1));
    }
    let in_file = Recording::open(&path).unwrap().len() as u64;
    signal(&child, "TERM");
    let output = child.wait_with_output().unwrap();
    let document = document(&output);
    assert_eq!(count(&document, "/captured"), in_file, "nothing was held back until the end");
}

#[test]
fn a_disk_that_fills_up_ends_it_with_exact_counts_and_whole_records() {
    let Some(dir) = small_disk() else { return };
    let path = dir.path().join("out.pcap");
    let output = bmnic(&["capture", path.to_str().unwrap(), "-d", "20s"]).output().unwrap();
    let line = text(&output.stderr);
    let recording = Recording::open(&path);
    assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());
    assert_eq!(output.status.code(), Some(1), "{line}");
    let recording = recording.unwrap();
    assert_eq!(recording.damage(), None);
    assert!(recording.len() > 3_000);
    assert!(
        line.contains("No space left") && line.contains(&format!("{} packets are in it", recording.len())),
        "{line}"
    );
}

#[test]
fn a_torn_file_is_repaired_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("torn");
    let file = path.to_str().unwrap();
    for format in ["pcap", "pcapng"] {
        // A busy machine may lose packets; here it is about those that it keeps.
        let words = ["capture", file, "--format", format, "-c", "10", "--allow-loss", "100%"];
        assert!(bmnic(&words).status().unwrap().success());
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        assert!(Recording::open(&path).unwrap().damage().is_some());
        let output = bmnic(&["capture", file, "--repair"]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let recording = Recording::open(&path).unwrap();
        assert_eq!(recording.damage(), None);
        assert!(recording.len() >= 9);
        assert!(whole.starts_with(&std::fs::read(&path).unwrap()), "only its end was cut");
    }
}

#[test]
fn a_full_disk_leaves_a_file_that_was_to_be_mended_as_it_was() {
    let Some(dir) = small_disk() else { return };
    let path = dir.path().join("torn.pcap");
    let written = bmnic(&["pktgen", "-w", path.to_str().unwrap(), "-s", "1518", "-c", "120"]).status().unwrap();
    let torn = std::fs::read(&path).unwrap();
    let torn = &torn[..torn.len() - 1];
    std::fs::write(&path, torn).unwrap();
    let output = bmnic(&["capture", path.to_str().unwrap(), "--repair"]).output().unwrap();
    let (then, names) = (std::fs::read(&path).unwrap(), std::fs::read_dir(dir.path()).unwrap().count());
    assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());
    assert!(written.success());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("No space left"), "{}", text(&output.stderr));
    assert!(then == torn && names == 1, "{names} files");
}

#[test]
fn a_file_that_a_wire_plays_is_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (played, soft, hard, other) = (at("in.pcap"), at("soft"), at("hard"), at("other.pcap"));
    assert!(bmnic(&["pktgen", "-w", &played, "-c", "10"]).status().unwrap().success());
    std::os::unix::fs::symlink(&played, &soft).unwrap();
    std::fs::hard_link(&played, &hard).unwrap();
    let before = std::fs::read(&played).unwrap();
    let plays = format!("emu:82599,wire=pcap:{played}");
    let writes = |out: &str| format!("emu:82599,wire=pcap:{played}:out={out}");
    for out in [&played, &soft, &hard] {
        let (own, far) = (writes(out), format!("emu:82599,wire=pcap:{other}:out={out}"));
        for words in [
            &["capture", out, "-i", &plays][..],
            &["capture", "-i", &plays, "-w", out],
            &["capture", &other, "-i", &own],
            &["fwd", &plays, &far],
            &["emulate", &own[4..], "--vfio-user", &at("socket")],
        ] {
            let output = bmnic(words).output().unwrap();
            let line = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{words:?}: {line}");
            assert!(line.contains("while it is played") && line.trim_end().lines().count() == 1, "{words:?}: {line}");
            assert_eq!(std::fs::read(&played).unwrap(), before, "{words:?}");
        }
    }
    // Nor is it the first file of several.
    let (first, out) = (at("ring0"), at("ring"));
    std::fs::copy(&played, &first).unwrap();
    let plays = format!("emu:82599,wire=pcap:{first}");
    let output = bmnic(&["capture", "-i", &plays, "-w", &out, "-C", "1", "-W", "3"]).output().unwrap();
    assert!(
        !output.status.success() && text(&output.stderr).contains("while it is played"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(std::fs::read(&first).unwrap(), before);
    // One that is read before it is written is no matter.
    assert!(bmnic(&["pktgen", "--pcap", &played, "-w", &played]).status().unwrap().success());
    assert_eq!(Recording::open(Path::new(&played)).unwrap().len(), 10);
}

#[test]
fn bad_input_is_one_line_a_stable_exit_code_and_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let file = path.to_str().unwrap();
    for (words, code, part) in [
        (&["capture", "out"][..], 2, "'out' is no card here"),
        (&["capture", file, "port", "no-such-service"], 2, "no-such-service"),
        (&["capture", file, "-f", "tcp", "udp"], 2, "twice"),
        (&["capture", file, "-s", "1G"], 2, "longer than any packet"),
        (&["capture", file, "--format", "erf"], 2, "pcap or pcapng"),
        (&["capture", file, "-i", "emu:nothing"], 2, "nothing"),
        (&["capture", "/nonexistent/out.pcap", "-c", "1"], 1, "No such file"),
        (&["capture", "/dev/full", "-c", "1"], 1, "No space left"),
        (&["capture", "/nonexistent.pcap", "--repair"], 1, "No such file"),
        (&["capture", "/dev/null", "--repair"], 1, "no regular file"),
        (&["capture", "-", "--repair"], 2, "a stream cannot be mended"),
    ] {
        let output = bmnic(words).output().unwrap();
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {line}");
        assert!(line.contains(part) && line.trim_end().lines().count() == 1, "{words:?}: {line}");
        assert!(!path.exists());
    }
}
