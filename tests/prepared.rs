//! Prepared packets: what is laid ready is sent on its trigger, to the byte and as often as it
//! is asked for, on every card; by the driver's calls, and by the whole program.

#[path = "common/families.rs"]
mod families;
#[path = "common/forward.rs"]
mod forward;
#[path = "common/schema.rs"]
mod schema;

use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{self, Config, TxPath};
use bmnic::emu::{Drive, Engine};
use families::{Card, EACH, EF10, FAMILIES};
use forward::{bmnic, frames, number, write};
use serde_json::Value;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Frames of their own lengths and content.
fn packets() -> Vec<Vec<u8>> {
    [60, 61, 256, 257, 700, 1514].iter().map(|&len| (0..len).map(|i| (len * 7 + i) as u8 & !1).collect()).collect()
}

// ---- the driver's calls ----

#[test]
fn what_is_laid_ready_leaves_as_often_as_it_is_launched_on_every_family_that_can() {
    for card in FAMILIES {
        let (sent, crossed) = launched(card, TxPath::Auto, true);
        let packets = packets();
        let right: Vec<Vec<u8>> = (0..300).map(|n| packets[n * 5 % packets.len()].clone()).collect();
        assert!(sent == right, "{card}: {} of {}", sent.len(), right.len());
        assert!(crossed > 0, "{card}");
    }
}

/// Launches 300 packets, a few at a time; what came out at the wire's other end, and the bytes
/// that the card read of memory for them.
fn launched(card: Card, tx_path: TxPath, prepares: bool) -> (Vec<Vec<u8>>, u64) {
    let engine = Engine::new(Drive::Manual);
    let config = Config { tx_ring: 64, tx_path, prepares, ..Config::default() };
    let open = |wire: &str| {
        let (function, tap) =
            engine.open(&format!("{card},strict,pcie=gen3x8,wire=peer:{wire}").parse().unwrap()).unwrap();
        let port = driver::open(Arc::clone(&function), &config).unwrap();
        let pool = Pool::new(2048, Addressing::Translated).unwrap();
        function.map(pool.arena()).unwrap();
        (port, pool, tap)
    };
    let ((mut near, pool, tap), (mut far, away, far_tap)) = (open("a"), open("a"));
    let step = |time: u64| {
        engine.advance(time);
        engine.step();
    };
    while !near.nic.link().unwrap().up || !far.nic.link().unwrap().up {
        step(100_000_000);
    }
    far.rx[0].fill(&away).unwrap();
    let packets = packets();
    let mut batch = Batch::new(&pool);
    packets.iter().for_each(|packet| assert!(batch.push_frame(packet)));
    assert_eq!(near.tx[0].prepare(&mut batch).unwrap(), packets.len(), "{card}");
    assert!(!near.tx[0].launch(packets.len()), "there is none such");
    tap.count_crossings(true);
    let (mut got, mut next) = (Vec::new(), 0);
    for _ in 0..4000 {
        while next < 300 && near.tx[0].launch(next * 5 % packets.len()) {
            next += 1;
        }
        (0..10).for_each(|_| step(1_000_000));
        near.tx[0].reclaim(&pool);
        let mut arrived = Batch::new(&away);
        far.rx[0].recv(&mut arrived);
        got.extend(arrived.frames().map(<[u8]>::to_vec));
        if got.len() == 300 {
            break;
        }
    }
    let read = tap.crossings().read.bytes;
    assert_eq!((tap.violations(), far_tap.violations()), (vec![], vec![]), "{card}");
    drop(batch);
    near.close([&pool]);
    assert_eq!(pool.available(), pool.capacity(), "{card}");
    (got, read)
}

#[test]
fn on_an_ef10_what_fits_lies_in_the_cards_own_memory_unless_another_way_is_asked_for() {
    // Neither descriptor nor frame is read for the first three of six packets.
    let short: u64 = 300 / 6 * (60 + 61 + 256);
    let [own, push] =
        [(TxPath::Auto, true), (TxPath::Push, true)].map(|(path, prepares)| launched(EF10, path, prepares).1);
    assert!(push - own >= short, "{push} bytes are read where frames lie in memory, {own} otherwise");
}

// ---- the program ----

/// A file of packets, and what the card wrote.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("ready.pcap"), &packets());
        write(&dir.path().join("none.pcap"), &[]);
        Bench(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn words(&self, card: &str, played: &str, more: &[&str]) -> Vec<String> {
        let shown = |name: &str| self.path(name).display().to_string();
        let device = format!("emu:{card},wire=pcap:{}:out={}", shown(played), shown("out.pcap"));
        let ready = shown("ready.pcap");
        let words = ["pktgen", &device, "--prepare", &ready, "-d", "60s"];
        words.iter().chain(more).map(|word| word.to_string()).collect()
    }

    fn start(&self, card: &str, more: &[&str]) -> Running {
        let words = self.words(card, "none.pcap", more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let child = bmnic(&words).arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running(Some(child))
    }

    /// Whether these packets, by their numbers, are what was sent.
    fn sent(&self, numbers: &[usize], card: &str) {
        let packets = packets();
        let right: Vec<Vec<u8>> = numbers.iter().map(|n| packets[n - 1].clone()).collect();
        assert!(frames(&self.path("out.pcap")) == right, "{card}");
    }
}

struct Running(Option<Child>);

impl Running {
    fn pid(&self) -> String {
        self.0.as_ref().unwrap().id().to_string()
    }

    /// Waits until `ready`.
    fn until(&mut self, mut ready: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !ready() {
            assert!(self.0.as_mut().unwrap().try_wait().unwrap().is_none(), "it has ended");
            assert!(Instant::now() < deadline, "it is not ready");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The document, once it has ended by itself.
    fn end(mut self) -> Value {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        schema::document(&output.stdout)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Of one trigger: so many were seen and fired, each has a time, and the card sent them.
fn adds_up(document: &Value, kind: &str, seen: u64, fired: u64) {
    let triggers = document["triggers"].as_array().unwrap();
    let trigger = triggers.iter().find(|trigger| trigger["kind"] == kind).unwrap();
    assert_eq!((number(&trigger["seen"]), number(&trigger["fired"])), (seen, fired), "{document:#}");
    assert_eq!(seen - fired, number(&trigger["unknown"]) + number(&trigger["no_room"]), "{document:#}");
    assert_eq!(number(&trigger["to_doorbell_ns"]["count"]), fired, "{document:#}");
    assert!(number(&trigger["to_doorbell_ns"]["max"]) > 0, "{document:#}");
    assert_eq!(number(&document["port"]["tx_packets"]), number(&document["fired"]), "{document:#}");
    assert_eq!(number(&document["lost"]["total"]), 0, "{document:#}");
    let packets = document["prepared"]["packets"].as_array().unwrap();
    let each: u64 = packets.iter().map(|packet| number(&packet["fired"])).sum();
    assert_eq!(each, number(&document["fired"]), "{document:#}");
}

#[test]
fn a_datagram_fires_the_packet_that_it_names_on_every_card() {
    for model in EACH {
        let bench = Bench::new();
        let path = bench.path("fire");
        let trigger = format!("unix:{}", path.display());
        let mut run = bench.start(model.name, &["--fire-on", &trigger, "-c", "5"]);
        run.until(|| path.exists());
        let socket = UnixDatagram::unbound().unwrap();
        for text in ["3", "1\n", "nine", " 6 ", "0", "7", "3", "2"] {
            socket.send_to(text.as_bytes(), &path).unwrap();
        }
        let document = run.end();
        adds_up(&document, "unix", 8, 5);
        bench.sent(&[3, 1, 6, 3, 2], model.name);
        // A virtio device takes no descriptors ready.
        assert_eq!(document["prepared"]["descriptors"], !model.name.starts_with("virtio"), "{document:#}");
        assert!(!path.exists(), "the socket goes with the run");
    }
}

#[test]
fn a_datagram_of_udp_fires_too() {
    let bench = Bench::new();
    // A port that is free now.
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut run = bench.start("82599", &["--fire-on", &format!("udp:{address}"), "-c", "3"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    // A port that nobody has answers with an error, which the next call tells.
    run.until(|| socket.send(b"none").is_ok() && socket.send(b"none").is_ok());
    for text in ["4", "5", "4"] {
        socket.send(text.as_bytes()).unwrap();
    }
    let document = run.end();
    let seen = number(&document["triggers"][0]["seen"]);
    assert!(seen > 3);
    adds_up(&document, "udp", seen, 3);
    bench.sent(&[4, 5, 4], "82599");
}

/// Whether a process has a handler for a signal.
fn handles(pid: &str, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[test]
fn a_signal_fires_the_packet_that_it_stands_for() {
    let bench = Bench::new();
    let mut run = bench.start("x2522", &["--fire-on", "signal", "-c", "4"]);
    let pid = run.pid();
    // The last that is taken over is that of the sixth packet.
    run.until(|| handles(&pid, 34 + 6));
    for signal in ["USR1", "RTMIN+5", "USR2", "RTMIN+3"] {
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        // Signals of several kinds that wait together come in the order of their numbers.
        std::thread::sleep(Duration::from_millis(50));
    }
    let document = run.end();
    adds_up(&document, "signal", 4, 4);
    let mut sent: Vec<usize> = frames(&bench.path("out.pcap")).iter().map(Vec::len).collect();
    sent.sort_unstable();
    assert_eq!(sent, [60, 61, 256, 700]);
}

#[test]
fn a_received_packet_fires_that_of_the_first_expression_it_matches_on_every_card() {
    for model in EACH {
        let bench = Bench::new();
        let made = |proto: &str, count: &str, file: &str| {
            let out = bench.path(file);
            let run = bmnic(&["pktgen", "--proto", proto, "-c", count, "-w"]).arg(&out).output().unwrap();
            assert!(run.status.success());
            frames(&out)
        };
        let [udp, tcp, arp] = [("udp", "20"), ("tcp", "7"), ("arp", "9")].map(|(proto, n)| made(proto, n, proto));
        write(&bench.path("played.pcap"), &[udp, tcp, arp].concat());
        let words =
            bench.words(model.name, "played.pcap", &["--fire-on", "match:tcp", "--fire-on", "match:ip", "-c", "27"]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = bmnic(&words).arg("--json").output().unwrap();
        assert!(output.status.success(), "{model}: {}", String::from_utf8_lossy(&output.stderr));
        let document = schema::document(&output.stdout);
        adds_up(&document, "match", 27, 27);
        bench.sent(&[[2; 20].as_slice(), &[1; 7]].concat(), model.name);
    }
}

#[test]
fn a_packet_that_the_card_never_reports_is_an_error_and_the_fault_is_named() {
    let bench = Bench::new();
    let path = bench.path("fire");
    let trigger = format!("unix:{}", path.display());
    let mut run = bench.start("82599,fault=tx-stuck", &["--fire-on", &trigger, "-c", "2"]);
    run.until(|| path.exists());
    let socket = UnixDatagram::unbound().unwrap();
    (0..2).for_each(|_| assert!(socket.send_to(b"1", &path).is_ok()));
    let output = run.0.take().unwrap().wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && errors.contains("transmit hang: 2 packets"), "{errors}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((number(&document["still_in_rings"]), number(&document["fired"])), (2, 2), "{document:#}");
    assert_eq!(number(&document["wire"]["fault_tx_stuck"]), 2, "{document:#}");
}

#[test]
fn packets_that_were_lost_before_they_were_looked_at_are_told_where_packets_are_triggers() {
    let bench = Bench::new();
    // The 82599 receives no frame that is longer than it is told to, and these are jumbos.
    write(&bench.path("played.pcap"), &[vec![0; 60], vec![0; 3000], vec![0; 3000], vec![0; 60]]);
    let words = bench.words("82599", "played.pcap", &["--fire-on", "match:ether[0] = 0", "-c", "2"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = bmnic(&words).arg("--json").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("2 packets came and were lost before they were looked at"), "{errors}");
    assert!(output.status.success(), "what was fired is whole: {errors}");
}

#[test]
fn the_summary_has_the_times_and_what_cannot_be_is_refused_in_a_line() {
    let bench = Bench::new();
    let path = bench.path("fire");
    let trigger = format!("unix:{}", path.display());
    let words = bench.words("82599", "none.pcap", &["--fire-on", &trigger, "-c", "40"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let child = bmnic(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut run = Running(Some(child));
    run.until(|| path.exists());
    let socket = UnixDatagram::unbound().unwrap();
    (0..40).for_each(|_| assert!(socket.send_to(b"1", &path).is_ok()));
    let output = run.0.take().unwrap().wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("unix") && line.contains(" ns ")), "{text}");
    assert!(text.contains("fired     40 packets; the card sent 40\n"), "{text}");
    assert!(text.lines().filter(|line| !line.starts_with("device")).all(|line| line.len() <= 80), "{text}");

    let refused = |more: &[&str]| {
        let words = bench.words("82599", "none.pcap", more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = bmnic(&words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--fire-on", "knock"]).contains("write udp:ADDRESS:PORT"));
    assert!(refused(&["--fire-on", "signal", "--fire-on", "signal"]).contains("given twice"));
    assert!(refused(&["--fire-on", "signal", "--cores", "2"]).contains("one thread"));
    assert!(refused(&["--fire-on", "signal", "--tx-path", "ctpio"]).contains("use pio"));
    write(&bench.path("ready.pcap"), &vec![vec![0; 60]; 65]);
    assert!(refused(&["--fire-on", "signal"]).contains("65 packets are more than the 64"));
    write(&bench.path("ready.pcap"), &[vec![0; 60], vec![0; 3000]]);
    assert!(refused(&["--fire-on", "signal"]).contains("packet 2 has 3000 bytes"));
    write(&bench.path("ready.pcap"), &[]);
    assert!(refused(&["--fire-on", "signal"]).contains("no packet"));
}
