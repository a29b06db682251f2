//! Rings between processes: readers that are killed, stopped and lapped while one
//! publishes, and a publisher that is killed.
//!
//! A pass shows on this machine that no reader gets a torn packet, that each knows what it
//! lost, and that the publisher asks the system for nothing meanwhile. Of every order of
//! loads and stores `tests/publish_model.rs` shows it.

use bmnic::pcap::read::{Packet, Recording};
use bmnic::publish::{Begin, End, Event, Plan, Publisher, Readers, Subscriber};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A packet's length and bytes, which follow from its number; the first eight are it.
fn packet(sequence: u64, into: &mut [u8; 512]) -> usize {
    let len = 60 + (sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % 400;
    into[..8].copy_from_slice(&sequence.to_le_bytes());
    for (i, byte) in into[8..len].iter_mut().enumerate() {
        *byte = (sequence as usize).wrapping_add(i * i) as u8;
    }
    len
}

/// A ring's name that no other test and no other run of it has.
fn unique(test: &str) -> String {
    format!("test-{test}-{}", std::process::id())
}

fn publisher(name: &str) -> Publisher {
    let plan = Plan { name, size: 4 << 20, snaplen: 2048, readers: &Readers::Own, source: "a test" };
    Publisher::create(&plan).unwrap()
}

fn put(publisher: &mut Publisher, count: u64) {
    let mut bytes = [0; 512];
    for _ in 0..count {
        let sequence = publisher.count();
        let len = packet(sequence, &mut bytes);
        publisher.put(sequence ^ 77, &bytes[..len]);
    }
    publisher.publish();
}

/// What a reader had: the packet it began with, how many it received, how many it lost.
#[derive(Debug, PartialEq)]
struct Account {
    first: u64,
    received: u64,
    lost: u64,
    end: End,
}

/// Reads to the end; each packet is the one that it should be, whole.
fn read(mut subscriber: Subscriber) -> Account {
    let (mut whole, mut received, mut behind) = ([0; 512], 0, subscriber.first());
    loop {
        let lost = subscriber.lost();
        match subscriber.read().unwrap() {
            Event::Packet(got, bytes) => {
                let len = packet(got.sequence, &mut whole);
                assert!(bytes == &whole[..len] && got.wire_len == len, "packet {} is torn", got.sequence);
                assert_eq!(got.time, got.sequence ^ 77);
                assert!(got.sequence >= behind, "{} after {behind}", got.sequence);
                behind = got.sequence + 1;
                received += 1;
                let (first, sequence) = (subscriber.first(), got.sequence);
                assert_eq!(first + received + subscriber.lost(), sequence + 1, "{lost} lost before");
            }
            Event::Nothing => std::thread::yield_now(),
            Event::End(end) => {
                return Account { first: subscriber.first(), received, lost: subscriber.lost(), end };
            }
        }
    }
}

/// Not a test of its own: the other processes of the tests below.
#[test]
#[ignore = "run by other tests in a process of its own"]
fn helper() {
    let Ok(role) = std::env::var("BMNIC_TEST_ROLE") else { return };
    let name = std::env::var("BMNIC_TEST_RING").unwrap();
    let say = |line: &str| {
        // Past the harness, in one piece.
        std::io::stdout().write_all(format!("\n{line}\n").as_bytes()).unwrap();
        std::io::stdout().flush().unwrap();
    };
    match role.as_str() {
        "read" => {
            let subscriber = Subscriber::open(&name, Begin::Now).unwrap();
            say("ready");
            let Account { first, received, lost, end } = read(subscriber);
            say(&format!("account {first} {received} {lost} {end:?}"));
        }
        "publish" => {
            let mut publisher = publisher(&name);
            put(&mut publisher, 100);
            say("ready");
            put(&mut publisher, 1_000_000);
            say("done");
            let deadline = Instant::now() + Duration::from_secs(60);
            while Instant::now() < deadline {
                put(&mut publisher, 32);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        role => panic!("{role}"),
    }
}

/// Another process, and what it says.
struct Other(Child, BufReader<ChildStdout>);

impl Other {
    fn start(mut command: Command, role: &str, name: &str) -> Other {
        command
            .args(["--exact", "helper", "--ignored", "--nocapture"])
            .env("BMNIC_TEST_ROLE", role)
            .env("BMNIC_TEST_RING", name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        Other::spawn(&mut command)
    }

    fn spawn(command: &mut Command) -> Other {
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Other(child, output)
    }

    /// Waits until it has the ring mapped and has read what there is: only then it sleeps.
    fn wait_until_it_sleeps(&self) {
        let file = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.0.id())).unwrap_or_default();
        let sleeps = || file("maps").contains("bmnic-ring") && file("stat").contains(") S ");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !sleeps() {
            assert!(Instant::now() < deadline, "it does not sleep: {}", file("stat"));
        }
    }

    fn me(role: &str, name: &str) -> Other {
        let mut other = Other::start(Command::new(std::env::current_exe().unwrap()), role, name);
        other.line("ready");
        other
    }

    /// The next line that begins so.
    fn line(&mut self, beginning: &str) -> String {
        let line = self.1.by_ref().lines().map_while(Result::ok).find(|line| line.starts_with(beginning));
        line.unwrap_or_else(|| panic!("it ended before it said '{beginning}'"))
    }

    fn account(&mut self) -> Account {
        let line = self.line("account");
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |i: usize| words[i].parse().unwrap();
        let end = match words[4] {
            "Ended" => End::Ended,
            "Failed" => End::Failed,
            _ => End::Killed,
        };
        Account { first: number(1), received: number(2), lost: number(3), end }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([format!("-{signal}"), self.0.id().to_string()]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn readers_that_are_killed_and_stopped_at_random_disturb_neither_the_publisher_nor_each_other() {
    let (name, stop, count) = (unique("kill"), AtomicBool::new(false), AtomicU64::new(0));
    let mut publisher = publisher(&name);
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                put(&mut publisher, 32);
                count.store(publisher.count(), Ordering::Relaxed);
            }
            publisher.end()
        });
        let mut survivors: Vec<Other> = (0..2).map(|_| Other::me("read", &name)).collect();
        let mut stopped: Vec<Other> = (0..2).map(|_| Other::me("read", &name)).collect();
        let mut random = 1_u64;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut victims: Vec<Other> = (0..2).map(|_| Other::me("read", &name)).collect();
        for round in 0..30 {
            std::thread::sleep(Duration::from_micros(draw(30_000)));
            stopped[round % 2].signal(if round % 4 < 2 { "STOP" } else { "CONT" });
            std::thread::sleep(Duration::from_micros(draw(30_000)));
            // Wherever it was: connecting, copying, catching up.
            victims[round % 2].signal("KILL");
            victims[round % 2] = Other::me("read", &name);
        }
        // Some 15000 records are in the ring; one that is stopped for longer is lapped.
        stopped[0].signal("STOP");
        let before = count.load(Ordering::Relaxed);
        while count.load(Ordering::Relaxed) < before + 100_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
        stopped.iter().for_each(|other| other.signal("CONT"));
        stop.store(true, Ordering::Relaxed);
        let published = publishing.join().unwrap();
        let exact = |other: &mut Other| {
            let account = other.account();
            assert_eq!(account.first + account.received + account.lost, published, "{account:?}");
            assert_eq!(account.end, End::Ended, "{account:?}");
            account
        };
        // The last ones may have come at the very end.
        for other in &mut victims {
            exact(other);
        }
        assert!(survivors.iter_mut().all(|other| exact(other).received > 0));
        let lost = exact(&mut stopped[0]).lost;
        assert!(lost > 50_000, "{lost} lost of {published}");
        exact(&mut stopped[1]);
    });
}

#[test]
fn a_publisher_that_is_killed_ends_its_readers_and_leaves_its_name_to_the_next() {
    let name = unique("dead");
    let mut other = Other::me("publish", &name);
    let subscriber = Subscriber::open(&name, Begin::Oldest).unwrap();
    let begun = Instant::now();
    let reading = std::thread::spawn(move || read(subscriber));
    other.line("done");
    other.signal("KILL");
    other.0.wait().unwrap();
    let account = reading.join().unwrap();
    assert_eq!((account.first, account.end), (0, End::Killed));
    assert!(account.received + account.lost >= 1_000_100, "{account:?} in {:?}", begun.elapsed());
    assert!(Path::new("/dev/shm").join(format!("bmnic-ring-{name}")).exists(), "it could not clean up");
    let mut next = publisher(&name);
    let subscriber = Subscriber::open(&name, Begin::Now).unwrap();
    assert_eq!(subscriber.first(), 0, "another ring");
    put(&mut next, 10);
    next.end();
    assert_eq!(read(subscriber), Account { first: 0, received: 10, lost: 0, end: End::Ended });
}

#[test]
fn a_million_packets_take_no_system_call() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED  strace is not installed: system calls of publishing were not counted");
        return;
    }
    let (name, log) = (unique("calls"), tempfile::NamedTempFile::new().unwrap());
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", log.path().to_str().unwrap()]).arg(std::env::current_exe().unwrap());
    let mut other = Other::start(strace, "publish", &name);
    other.line("done");
    let text = std::fs::read_to_string(log.path()).unwrap();
    let mut lines = text.lines().skip_while(|line| !line.contains("\"\\nready\\n\""));
    let thread = lines.next().expect("the line before").split_whitespace().next().unwrap();
    // A call that another thread's cuts in two is on two lines.
    let between = lines.take_while(|line| !line.contains("\"\\ndone\\n\"")).filter(|line| !line.contains(" resumed>"));
    let calls: Vec<&str> = between.filter(|line| line.split_whitespace().next() == Some(thread)).collect();
    assert_eq!(calls, Vec::<&str>::new());
    // strace ends with what it watches.
    assert!(Command::new("kill").args(["-KILL", thread]).status().unwrap().success());
    other.0.wait().unwrap();
    std::fs::remove_file(bmnic::publish::directory().join(format!("bmnic-ring-{name}"))).unwrap();
}

#[test]
fn a_program_in_c_reads_what_is_published_and_knows_what_it_lost() {
    if Command::new("cc").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED  no C compiler (cc) is installed: bmnic_ring.h was not tried");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("ring");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2", "-I"])
        .arg(here.join("src/publish"))
        .arg("-o")
        .args([&program, &here.join("examples/ring.c")])
        .status();
    assert!(status.unwrap().success());
    let start = |name: &str| {
        let mut command = Command::new(&program);
        Other::spawn(command.args([name, "oldest"]).stdout(Stdio::piped()))
    };
    let name = unique("c");

    // All of it, byte by byte.
    let mut publisher = self::publisher(&name);
    put(&mut publisher, 5_000);
    let (mut total, mut sum, mut bytes) = (0, 0, [0; 512]);
    for sequence in 0..5_000 {
        let len = packet(sequence, &mut bytes);
        total += len;
        sum += bytes[..len].iter().map(|&byte| u64::from(byte)).sum::<u64>();
    }
    let mut other = start(&name);
    other.wait_until_it_sleeps();
    publisher.end();
    assert_eq!(other.line("from"), format!("from 0 packets 5000 bytes {total} lost 0 sum {sum} ended"));

    // Stopped, lapped, and going on.
    let mut publisher = self::publisher(&name);
    let mut other = start(&name);
    other.wait_until_it_sleeps();
    other.signal("STOP");
    put(&mut publisher, 100_000);
    other.signal("CONT");
    publisher.end();
    let said = other.line("from");
    let number = |i: usize| said.split_whitespace().nth(i).unwrap().parse::<u64>().unwrap();
    assert_eq!((number(1), number(3) + number(7)), (0, 100_000), "{said}");
    assert!(number(7) > 50_000 && said.ends_with("ended"), "{said}");

    // Nobody there.
    let mut child = Command::new(&program).arg(&name).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

fn bmnic(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmnic"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn document(child: Child) -> serde_json::Value {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"))
}

/// Waits until somebody publishes a ring of this name.
fn published(name: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Subscriber::open(name, Begin::Now).is_err() {
        assert!(Instant::now() < deadline, "nobody publishes {name}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_is_published_beside_a_file_is_what_another_process_has_in_its_own() {
    let (name, folder) = (unique("capture"), tempfile::tempdir().unwrap());
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let (ours, theirs) = (ours.to_str().unwrap(), theirs.to_str().unwrap());
    for format in ["pcap", "pcapng"] {
        let card = "emu:82599,wire=source:rate=100k:size=imix";
        let words = ["capture", "-i", card, "--allow-loss", "100%", "--json", "-c", "100000", "--format", format];
        let publisher = bmnic(&words).args(["--publish", &name, "--publish-size", "128M", ours]).spawn().unwrap();
        published(&name);
        let read = |file: &str, filter: &str| {
            let words = ["capture", "--from", &name, "--history", "--json", "--format", format, file, filter];
            bmnic(&words).spawn().unwrap()
        };
        let (reader, none) = (read(theirs, ""), read("/dev/null", "tcp"));
        let (publisher, reader, none) = (document(publisher), document(reader), document(none));
        assert_eq!((&publisher["published"], &publisher["captured"]), (&100_000.into(), &100_000.into()));
        assert_eq!((&reader["captured"], &reader["lost"]["total"]), (&100_000.into(), &0.into()), "{reader:#}");
        assert_eq!((&reader["ring"]["ended"], &reader["ring"]["source"]), (&"ended".into(), &card.into()));
        assert_eq!((&none["captured"], &none["filtered"]), (&0.into(), &100_000.into()), "{none:#}");
        if format == "pcap" {
            let (ours, theirs) = (std::fs::read(ours).unwrap(), std::fs::read(theirs).unwrap());
            assert!(ours == theirs, "files of {} and {} bytes", ours.len(), theirs.len());
        } else {
            // A file of pcapng tells of the card, of which a ring has only the name.
            let [ours, theirs] = [ours, theirs].map(|file| Recording::open(Path::new(file)).unwrap());
            assert_eq!((ours.len(), theirs.len()), (100_000, 100_000));
            let same = |(ours, theirs): (Packet<'_>, Packet<'_>)| {
                (ours.time, ours.wire_len, ours.bytes) == (theirs.time, theirs.wire_len, theirs.bytes)
            };
            assert!(ours.packets().zip(theirs.packets()).all(same));
        }
    }
}

#[test]
fn a_ring_without_a_file_is_captured_without_a_system_call_a_packet() {
    let calls = |count: &str| {
        let (name, log) = (unique("alone"), tempfile::NamedTempFile::new().unwrap());
        let words = ["capture", "-i", "emu:82599,wire=source:rate=1M", "--allow-loss", "100%", "-c", count, "--json"];
        let output = Command::new("strace")
            .args(["-f", "-o", log.path().to_str().unwrap(), env!("CARGO_BIN_EXE_bmnic")])
            .args(words)
            .args(["--publish", &name])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((document["published"].to_string(), &document["file"]), (count.into(), &serde_json::Value::Null));
        let text = std::fs::read_to_string(log.path()).unwrap();
        let named = text.lines().find(|line| line.contains("PR_SET_NAME, \"capture\"")).expect("its thread");
        let thread = named.split_whitespace().next().unwrap();
        let calls = text.lines().filter(|line| line.split_whitespace().next() == Some(thread));
        calls.filter(|line| !line.contains("sched_yield") && !line.contains(" resumed>")).count()
    };
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED  strace is not installed: system calls of capturing into a ring were not counted");
        return;
    }
    let (few, many) = (calls("1000"), calls("100000"));
    assert!(few < 100 && many.abs_diff(few) <= 20, "{few} calls for 1000 packets, {many} for 100000");
}

#[test]
fn what_cannot_be_published_or_read_is_refused_in_a_line() {
    let said = |words: &[&str]| {
        let output = bmnic(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let name = unique("nobody");
    for (words, code, line) in [
        (&["capture", "--from", &name, "/dev/null"][..], 1, "nobody publishes a ring"),
        (&["capture", "--from", "../x", "/dev/null"], 2, "cannot be the name of a ring"),
        (&["capture", "--from", &name], 1, "nobody publishes a ring"),
        (&["capture", "--publish", "a/b", "-c", "1"], 2, "cannot be the name of a ring"),
        (&["capture", "--publish", &name, "--publish-size", "1M", "-c", "1"], 2, "2M to 64G"),
        (&["capture", "--publish", &name, "--publish-to", "no such group", "-c", "1"], 1, "there is no group"),
        (&["capture", "--publish-size", "2M", "/dev/null"], 2, "--publish"),
        (&["capture", "--history", "/dev/null"], 2, "--from"),
        (&["capture", "--publish", &name, "--cores", "2", "/nonexistent/f"], 2, "has one writer, not 2"),
        (&["capture", "--publish", &name, "--perf-test", "ring", "/nonexistent/f"], 2, "cannot be used with"),
        (&["capture", "--from", &name, "--cores", "2", "/nonexistent/f"], 2, "one thread reads a ring"),
        (&["capture", "--from", &name, "--perf-test", "card", "/nonexistent/f"], 2, "cannot be used with"),
    ] {
        let (status, text) = said(words);
        assert!(status == Some(code) && text.contains(line), "{words:?}: {status:?} {text}");
    }
    let _publisher = publisher(&name);
    let (status, text) = said(&["capture", "--publish", &name, "-c", "1"]);
    assert!(status == Some(4) && text.contains("publishes by this name"), "{status:?} {text}");
}
