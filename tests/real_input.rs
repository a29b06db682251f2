//! Real traffic through the whole program.
//!
//! What programs send each other in network namespaces is recorded with tcpdump,
//! replayed through three bmnic processes that are joined by cables, and read
//! back with tshark and capinfos. And two namespaces talk to each other through
//! `bmnic fwd` while it runs.
//!
//! A pass shows that the emulated wire, the driver, the model and the commands
//! carry any frame that a network stack makes, unchanged and in order. It does
//! not show how fast, nor what silicon would do.

#[path = "common/families.rs"]
mod families;
#[path = "common/namespaces.rs"]
mod namespaces;

use families::{Card, EACH};
use namespaces::{Namespace, Running, obstacle};
use pcap_file::pcap::PcapReader;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const MULTICAST: Ipv4Addr = Ipv4Addr::new(239, 77, 0, 1);
const DOWNLOAD: usize = 4 << 20;

/// Frames of a capture file, as they are on a wire: padded to 60 bytes.
fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::new(File::open(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_raw_packet() {
        let packet = packet.unwrap();
        assert_eq!(packet.incl_len, packet.orig_len, "cut by the capture");
        let mut frame = packet.data.to_vec();
        frame.resize(frame.len().max(60), 0);
        frames.push(frame);
    }
    frames
}

/// One line of tshark for each frame.
fn tshark(path: &Path, fields: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(path).args(["-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_string).collect()
}

/// Records what a day on a small network looks like: two hosts resolve names,
/// ping in both families, fetch a file, send to a group.
fn record(path: &Path) {
    let (left, right) = (Namespace::new("left"), Namespace::new("right"));
    left.join("l0", &right, "r0", 9000);
    // Nothing is left to hardware: tcpdump sees frames as they are on a wire.
    for (host, interface, n) in [(&left, "l0", 1), (&right, "r0", 2)] {
        host.must(&format!(
            "ethtool -K {interface} tx off tso off gso off gro off >&2
             ip addr add 10.77.0.{n}/24 dev {interface}
             ip addr add fd77::{n}/64 dev {interface}
             ip route add 239.0.0.0/8 dev {interface}"
        ));
    }
    let mut tcpdump = right.command("tcpdump");
    // At once into the file: an interrupted tcpdump forgets what still waits in blocks.
    tcpdump.args(["-i", "r0", "-s", "0", "-B", "16384", "--immediate-mode", "-U", "-Z", "root", "-w"]).arg(path);
    let tcpdump = Running::start(&mut tcpdump, "listening on");

    let _servers = ["dns", "http", "group"].map(|role| right.helper(role));
    let scratch = tempfile::tempdir().unwrap();
    let resolver = scratch.path().join("resolv.conf");
    std::fs::write(&resolver, "nameserver 10.77.0.2\noptions timeout:2 attempts:2\n").unwrap();
    // `ip netns exec` has its own mounts: this one is not seen outside.
    let resolved =
        left.must(&format!("mount --bind {} /etc/resolv.conf; getent ahostsv4 host.bmnic.test", resolver.display()));
    assert!(resolved.contains("10.77.0.2"), "{resolved}");
    // 18 bytes of payload make frames of 60 bytes, 8000 make jumbo frames.
    left.must("ping -n -q -c 5 -i 0.02 10.77.0.2");
    left.must("ping -n -q -c 5 -i 0.02 -s 18 10.77.0.2");
    left.must("ping -n -q -c 5 -i 0.02 -s 8000 -M do 10.77.0.2");
    left.must("ping -n -q -c 5 -i 0.02 fd77::2");
    left.must("ping -n -q -c 5 -i 0.02 -s 8000 fd77::2");
    fetch(&left, "10.77.0.2", scratch.path());
    drop(left.helper("sender"));

    // What tcpdump has seen it must have written.
    std::thread::sleep(Duration::from_millis(300));
    tcpdump.interrupt();
    assert_eq!(tcpdump.wait(Duration::from_secs(10)), Some(0));
}

/// Fetches the file over HTTP and compares it.
fn fetch(host: &Namespace, server: &str, scratch: &Path) {
    let file = scratch.join("download");
    host.must(&format!("curl -sS -m 60 -o {} http://{server}/file", file.display()));
    let fetched = std::fs::read(file).unwrap();
    assert!(fetched == download(), "{} bytes, or others than were served", fetched.len());
}

fn download() -> Vec<u8> {
    (0..DOWNLOAD as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn a_recording_comes_out_of_three_processes_as_it_went_in() {
    if let Some(reason) = obstacle(&["tcpdump", "tshark", "capinfos", "ethtool", "ping", "curl", "getent"]) {
        eprintln!("SKIPPED real traffic through three processes: {reason}");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (recording, result) = (scratch.path().join("in.pcap"), scratch.path().join("out.pcap"));
    record(&recording);
    let sent = frames(&recording);
    assert_recording_is_rich(&recording, &sent);

    for model in EACH {
        comes_out_as_it_went_in(model, &recording, &sent, &result);
    }
}

/// Replays a recording through three processes, each with a card of this model.
fn comes_out_as_it_went_in(model: Card, recording: &Path, sent: &[Vec<u8>], result: &Path) {
    let name = |cable: &str| format!("test-{}-{cable}", std::process::id());
    let port = |cable: &str| format!("emu:{model},strict,wire=cable:{}", name(cable));
    let bmnic = || Command::new(env!("CARGO_BIN_EXE_bmnic"));
    let count = sent.len().to_string();
    let capture = Running::spawn(bmnic().args(["capture", "-i", &port("b"), "-c", &count]).arg(result));
    let forward = Running::spawn(bmnic().args(["fwd", &port("a"), &port("b")]));
    let generate = Running::spawn(
        bmnic().args(["pktgen", "--allow-shortfall", "100%", "-i", &port("a"), "--pcap"]).arg(recording),
    );
    assert_eq!(generate.wait(Duration::from_secs(60)), Some(0));
    assert_eq!(capture.wait(Duration::from_secs(60)), Some(0));
    forward.interrupt();
    assert_eq!(forward.wait(Duration::from_secs(30)), Some(130));

    // To the byte and in order.
    let received = frames(result);
    assert_eq!(received.len(), sent.len());
    for (n, (sent, received)) in sent.iter().zip(&received).enumerate() {
        assert_eq!(sent, received, "{model}: frame {n}");
    }
    // And so say those who read captures for a living.
    let fields =
        ["frame.len", "frame.protocols", "ip.id", "tcp.seq_raw", "udp.checksum", "dns.qry.name", "http.request.uri"];
    let padded = |line: String| match line.split_once('\t') {
        Some((len, rest)) => format!("{}\t{rest}", len.parse::<u32>().unwrap().max(60)),
        None => line,
    };
    let recorded: Vec<_> = tshark(recording, &fields).into_iter().map(padded).collect();
    assert_eq!(recorded, tshark(result, &fields));
    let info = Command::new("capinfos").args(["-M", "-c", "-S", "-o"]).arg(result).output().unwrap();
    let info = String::from_utf8(info.stdout).unwrap();
    assert!(info.lines().any(|line| line.starts_with("Number of packets") && line.ends_with(&count)), "{info}");
    assert!(info.lines().any(|line| line.starts_with("Strict time order") && line.ends_with("True")), "{info}");
}

/// A recording without one of these would prove less than it says.
fn assert_recording_is_rich(path: &Path, frames: &[Vec<u8>]) {
    let lines = tshark(path, &["frame.protocols", "ip.dst"]);
    for wanted in ["arp", ":icmp", ":icmpv6", ":dns", ":http", ":tcp", ":igmp", &MULTICAST.to_string()] {
        assert!(lines.iter().any(|line| line.contains(wanted)), "nothing with {wanted} was recorded");
    }
    assert!(frames.iter().any(|frame| frame.len() == 60) && frames.iter().any(|frame| frame.len() > 8000));
    assert!(frames.iter().map(Vec::len).sum::<usize>() > DOWNLOAD);
}

#[test]
fn two_namespaces_ping_and_fetch_through_a_forwarder_between_them() {
    if let Some(reason) = obstacle(&["ping", "curl"]) {
        eprintln!("SKIPPED two namespaces through the forwarder: {reason}");
        return;
    }
    // Offloads are on, as a host has them: what leaves a stack is unfinished.
    let [left, middle, right] = ["left", "middle", "right"].map(Namespace::new);
    middle.must("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
    left.join("l0", &middle, "l1", 1500);
    right.join("r0", &middle, "r1", 1500);
    for (host, interface, n) in [(&left, "l0", 1), (&right, "r0", 2)] {
        host.must(&format!("ip addr add 10.77.0.{n}/24 dev {interface}; ip addr add fd77::{n}/64 dev {interface}"));
    }
    let _server = right.helper("http");
    let scratch = tempfile::tempdir().unwrap();
    for model in EACH {
        let mut forward = middle.command(env!("CARGO_BIN_EXE_bmnic"));
        let port = |interface| format!("emu:{model},strict,wire=packet:{interface}");
        let forward = Running::spawn(forward.args(["fwd", &port("l1"), &port("r1")]));
        // The first answer comes when the forwarder is up.
        left.must("ping -n -q -c 1 -w 30 10.77.0.2");
        left.must("ping -n -q -c 10 -i 0.02 -w 30 -s 1472 -M do 10.77.0.2");
        left.must("ping -n -q -c 10 -i 0.02 -w 30 fd77::2");
        fetch(&left, "10.77.0.2", scratch.path());
        forward.interrupt();
        assert_eq!(forward.wait(Duration::from_secs(30)), Some(130));
    }
}

/// Not a test of its own: the programs that talk in the tests above.
#[test]
#[ignore = "run by other tests in a namespace"]
fn helper() {
    let ready = || {
        println!("\nready");
        std::io::stdout().flush().unwrap();
    };
    let server = Ipv4Addr::new(10, 77, 0, 2);
    match std::env::var("BMNIC_TEST_ROLE").as_deref() {
        Ok("dns") => {
            let socket = UdpSocket::bind((server, 53)).unwrap();
            ready();
            let mut query = [0; 512];
            loop {
                let (len, from) = socket.recv_from(&mut query).unwrap();
                socket.send_to(&dns_answer(&query[..len], server), from).unwrap();
            }
        }
        Ok("http") => {
            let listener = TcpListener::bind((server, 80)).unwrap();
            ready();
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut request = [0; 4096];
                assert!(connection.read(&mut request).unwrap() > 0);
                write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {DOWNLOAD}\r\nConnection: close\r\n\r\n")
                    .unwrap();
                connection.write_all(&download()).unwrap();
            }
        }
        Ok("group") => {
            let socket = UdpSocket::bind((MULTICAST, 7777)).unwrap();
            socket.join_multicast_v4(&MULTICAST, &server).unwrap();
            ready();
            let mut datagram = [0; 2048];
            while socket.recv(&mut datagram).is_ok() {}
        }
        Ok("sender") => {
            let socket = UdpSocket::bind((Ipv4Addr::new(10, 77, 0, 1), 7777)).unwrap();
            for n in 0..100_usize {
                socket.send_to(&vec![n as u8; 10 + 14 * n], (MULTICAST, 7777)).unwrap();
            }
            ready();
        }
        _ => {}
    }
}

/// An answer to a query for an address: the server's, and none in IPv6 (RFC 1035 §4).
fn dns_answer(query: &[u8], address: Ipv4Addr) -> Vec<u8> {
    const A: [u8; 2] = [0, 1];
    let question_end = 12 + query[12..].iter().position(|&b| b == 0).unwrap() + 5;
    let is_a = query[question_end - 4..question_end - 2] == A;
    let mut answer = query[..2].to_vec();
    // Response, authoritative, recursion as asked for; one question, maybe one answer.
    answer.extend([0x85, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(&query[12..question_end]);
    if is_a {
        // The name at byte 12, A, IN, one minute.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}
