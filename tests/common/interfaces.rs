//! What tests of the kernel's interfaces in place of cards have in common.

#![allow(dead_code)] // each test program uses a part

use crate::capture::text;
use crate::namespaces::{Namespace, obstacle};
use crate::schema;
use bmnic::pcap::read::Recording;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A namespace with two veth pairs: a0 to a1 and b0 to b1. None, with a word, where there
/// can be none.
pub fn pairs() -> Option<Namespace> {
    if let Some(why) = obstacle(&[]) {
        eprintln!("SKIPPED interfaces of the kernel: {why}");
        return None;
    }
    let namespace = Namespace::new("interfaces");
    namespace.must("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
    for pair in ["a", "b"] {
        namespace.must(&format!(
            "ip link add {pair}0 type veth peer name {pair}1; ip link set {pair}0 up; ip link set {pair}1 up"
        ));
    }
    Some(namespace)
}

/// What gives an interface an address, from which another can be reached that nobody has.
pub fn address(interface: &str) -> String {
    format!(
        "ip addr add 10.99.0.1/24 dev {interface}; ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:02 dev {interface} nud permanent"
    )
}

/// A command of bmnic in a namespace.
pub fn bmnic(namespace: &Namespace, words: &[&str]) -> Command {
    let mut command = namespace.command(env!("CARGO_BIN_EXE_bmnic"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Its document, where it succeeds.
pub fn run(namespace: &Namespace, words: &[&str]) -> Value {
    let output = bmnic(namespace, words).arg("--json").output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    schema::document(&output.stdout)
}

/// Waits until `seen`, for what is not there.
pub fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !seen() {
        assert!(Instant::now() < deadline, "{what}: not within 60 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until somebody receives from a device: a packet socket is bound to it and runs, or it
/// has an XDP program.
pub fn receives(namespace: &Namespace, device: &str) {
    if let Some(name) = device.strip_prefix("xdp:") {
        return until(device, || namespace.must(&format!("ip link show {name}")).contains("xdp"));
    }
    let name = device.strip_prefix("packet:").unwrap_or(device);
    let index = namespace.must(&format!("cat /sys/class/net/{name}/ifindex"));
    until(device, || {
        let sockets = namespace.must("cat /proc/net/packet");
        let mut columns = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        columns.any(|columns| columns.get(3..6) == Some(&["0003", &index, "1"]))
    });
}

/// Sends short frames until one has come into a capture's file: the program of an interface is
/// there before it delivers.
pub fn probe(namespace: &Namespace, device: &str, path: &Path) {
    let len = || std::fs::metadata(path).map_or(0, |file| file.len());
    let before = len();
    let mut sent = Instant::now() - Duration::from_secs(1);
    until(device, || {
        if len() == before && sent.elapsed() >= Duration::from_secs(1) {
            run(namespace, &["pktgen", device, "-c", "1", "-s", "64"]);
            sent = Instant::now();
        }
        len() > before
    });
}

/// Frames of so many bytes in a capture's file.
pub fn of_length(path: &Path, bytes: usize) -> u64 {
    Recording::open(path).unwrap().packets().filter(|packet| packet.bytes.len() == bytes).count() as u64
}

/// Starts a capture until a signal, and waits until it receives.
pub fn begin(namespace: &Namespace, device: &str, path: &Path, more: &[&str]) -> Child {
    let words = ["capture", path.to_str().unwrap(), "-i", device, "-d", "0", "--json", "--allow-loss", "100%"];
    let child = bmnic(namespace, &words).args(more).spawn().unwrap();
    until(device, || std::fs::metadata(path).is_ok_and(|file| file.len() > 0));
    // The file is there before the socket is bound.
    receives(namespace, device);
    child
}

/// Ends it once its file does not grow any more; its document.
pub fn end(child: Child, path: &Path, code: i32) -> Value {
    let len = || std::fs::metadata(path).map_or(0, |file| file.len());
    let mut before = None;
    while before != Some(len()) {
        before = Some(len());
        std::thread::sleep(Duration::from_secs(1));
    }
    let ended = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap();
    assert!(ended.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    schema::document(&output.stdout)
}

pub fn field<'a>(document: &'a Value, at: &str) -> &'a str {
    document.pointer(at).and_then(Value::as_str).unwrap_or_else(|| panic!("no {at} in {document:#}"))
}

pub fn failure(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    text(&output.stderr)
}
