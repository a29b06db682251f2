//! Interfaces of the kernel in place of cards: `packet:IFACE` and `xdp:IFACE`, on veth pairs in
//! network namespaces of their own.

#[path = "common/capture.rs"]
mod capture;
#[path = "common/interfaces.rs"]
mod common;
#[path = "common/namespaces.rs"]
mod namespaces;
#[path = "common/schema.rs"]
mod schema;

use bmnic::pcap::read::Recording;
use capture::{adds_up, count, text};
use common::{address, begin, bmnic, end, failure, field, of_length, pairs, probe, receives, run, until};
use namespaces::Namespace;
use serde_json::Value;
use std::net::UdpSocket;
use std::process::Command;

#[test]
fn what_one_end_sends_the_other_captures_with_its_tags_and_the_kernels_times() {
    let Some(namespace) = pairs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let child = begin(&namespace, "packet:a1", &path, &[]);
    let sent = run(&namespace, &["pktgen", "packet:a0", "-c", "20000", "-r", "50k", "--allow-shortfall", "100%"]);
    let tagged = run(&namespace, &["pktgen", "packet:a0", "-c", "100", "--vlan", "5", "-s", "1518"]);
    let seen = end(child, &path, 130);
    for document in [&sent, &tagged] {
        assert_eq!(field(document, "/devices/0/kind"), "packet");
        assert_eq!(count(document, "/lost/total"), 0, "{document:#}");
    }
    assert_eq!((count(&sent, "/sent"), count(&tagged, "/sent")), (20_000, 100));
    adds_up(&seen);
    assert_eq!(count(&seen, "/captured") + count(&seen, "/lost/total"), 20_100, "{seen:#}");
    assert_eq!(field(&seen, "/timestamps/source"), "kernel");
    assert_eq!((field(&seen, "/devices/0/driver"), count(&seen, "/timestamps/unstamped")), ("af_packet", 0));
    let recording = Recording::open(&path).unwrap();
    assert_eq!(recording.len() as u64, count(&seen, "/captured"));
    let last = recording.packets().last().unwrap();
    assert_eq!(last.bytes[12..16], [0x81, 0, 0, 5], "the tag is where it was");
    let times: Vec<i64> = recording.packets().map(|packet| packet.time).collect();
    assert!(times.is_sorted() && times[0] > 1_700_000_000_000_000_000);
}

#[test]
fn what_had_come_when_an_end_was_asked_for_is_captured() {
    let Some(namespace) = pairs() else { return };
    let dir = tempfile::tempdir().unwrap();
    for more in [&[][..], &["--rxq", "2"], &["--cores", "2"]] {
        let path = dir.path().join("out.pcap");
        let child = begin(&namespace, "packet:a1", &path, more);
        let signal = |name: &str| {
            assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
        };
        // It cannot look before it is to end.
        signal("STOP");
        run(&namespace, &["pktgen", "packet:a0", "-c", "500"]);
        signal("INT");
        signal("CONT");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
        let seen = schema::document(&output.stdout);
        assert_eq!((count(&seen, "/captured"), count(&seen, "/lost/total")), (500, 0), "{more:?}: {seen:#}");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn an_interface_is_seen_both_ways_and_a_loopback_interface_once() {
    let Some(namespace) = pairs() else { return };
    let dir = tempfile::tempdir().unwrap();
    namespace.must(&address("a0"));
    for (device, from) in
        [("packet:a0", "10.99.0.1 10.99.0.2"), ("a1", "10.99.0.1 10.99.0.2"), ("lo", "127.0.0.1 127.0.0.1")]
    {
        let path = dir.path().join(device.replace(':', "-"));
        let child = begin(&namespace, device, &path, &["udp"]);
        namespace.helper(from);
        let seen = end(child, &path, 130);
        assert_eq!(count(&seen, "/captured"), 10, "{device}: {seen:#}");
        assert!(field(&seen, "/devices/0/name").starts_with("packet:"), "{device}");
    }
}

#[test]
fn a_bare_word_is_an_interface_to_look_at() {
    let Some(namespace) = pairs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let seen = run(&namespace, &["capture", "a1", path.to_str().unwrap(), "-d", "100ms"]);
    assert_eq!((field(&seen, "/devices/0/name"), field(&seen, "/file")), ("packet:a1", path.to_str().unwrap()));
}

#[test]
fn packets_go_from_pair_to_pair() {
    let Some(namespace) = pairs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let capture = begin(&namespace, "packet:b1", &path, &["udp"]);
    let forward = ["fwd", "packet:a1", "packet:b0", "-u", "-d", "0", "--json", "--allow-loss", "100%"];
    let forward = bmnic(&namespace, &forward).spawn().unwrap();
    receives(&namespace, "packet:a1");
    let sent = run(&namespace, &["pktgen", "packet:a0", "-c", "5000", "-r", "20k", "--allow-shortfall", "100%"]);
    let seen = end(capture, &path, 130);
    let forwarded = end(forward, &path, 130);
    assert_eq!(count(&sent, "/sent"), 5_000);
    assert_eq!(
        count(&seen, "/captured") + count(&seen, "/lost/total") + count(&forwarded, "/lost/total"),
        5_000,
        "{seen:#} {forwarded:#}"
    );
    assert_eq!(count(&forwarded, "/lost/unaccounted"), 0, "{forwarded:#}");
}

#[test]
fn latency_and_throughput_are_measured_across_a_pair() {
    let Some(namespace) = pairs() else { return };
    let latency =
        run(&namespace, &["latency", "packet:a0", "packet:a1", "-c", "500", "-r", "1k", "--allow-shortfall", "100%"]);
    assert_eq!(field(&latency, "/devices/1/kind"), "packet");
    let text = latency.to_string();
    assert!(text.contains("\"sent\":500"), "{latency:#}");
    let words = ["throughput", "packet:a0", "packet:a1", "--mrr", "-t", "200ms", "-s", "64", "--runs", "1"];
    let throughput = run(&namespace, &words);
    assert!(count(&throughput, "/rows/0/received") > 0, "{throughput:#}");
}

#[test]
fn frames_that_wait_for_the_other_end_are_not_lost() {
    let Some(namespace) = pairs() else { return };
    let sent = || -> Value {
        let links: Value = serde_json::from_str(&namespace.must("ip -j -s link show a0")).unwrap();
        links[0]["stats64"]["tx"].clone()
    };
    let words = ["pktgen", "packet:a0", "-c", "20000", "-r", "10k", "--json", "--allow-shortfall", "100%"];
    let child = bmnic(&namespace, &words).spawn().unwrap();
    until("frames", || count(&sent(), "/packets") > 0);
    namespace.must("ip link set a1 down");
    until("refused frames", || count(&sent(), "/dropped") > 100);
    namespace.must("ip link set a1 up");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document = schema::document(&output.stdout);
    assert_eq!(count(&sent(), "/packets"), 20_000);
    assert_eq!((count(&document, "/sent"), count(&document, "/lost/total")), (20_000, 0), "{document:#}");
}

#[test]
fn an_interface_that_goes_away_ends_the_run_with_its_summary() {
    let Some(namespace) = pairs() else { return };
    let dir = tempfile::tempdir().unwrap();
    for (device, how) in [("packet:a1", "ip link set a1 down"), ("packet:b1", "ip link del b0")] {
        let path = dir.path().join("out.pcap");
        let child = begin(&namespace, device, &path, &[]);
        namespace.must(how);
        let output = child.wait_with_output().unwrap();
        let told = failure(&output, 1);
        assert!(told.contains(&format!("{device}: the interface was taken down, removed")), "{told}");
        let document = text(&output.stdout);
        assert!(document.contains("\"captured\""), "{how}: {document}");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_cannot_be_is_refused_in_a_line() {
    let Some(namespace) = pairs() else { return };
    namespace.must("ip link set b0 down");
    let out = ["capture", "/dev/null", "-d", "1ms"];
    for (words, code, told) in [
        (&["pktgen", "a0", "-c", "1"][..], 1, "packet:a0 uses it as it is"),
        (&["pktgen", "packet:b0", "-c", "1"], 1, "packet:b0: the interface is down; `ip link set b0 up`"),
        (&["pktgen", "packet:c0", "-c", "1"], 1, "packet:c0: no interface has that name here"),
        (&["pktgen", "packet:a0", "-c", "1", "-s", "4000"], 2, "takes frames of up to 1514 bytes"),
        (&["latency", "packet:a0", "--loop", "-c", "1"], 1, "cannot send to itself"),
        (&["latency", "packet:a0", "packet:a1", "--tx-path", "pio", "-c", "1"], 1, "no transmit path pio"),
        (&["fwd", "packet:a0", "packet:a1", "--inline", "-c", "1"], 2, "packet:a0"),
        (&["check", "packet:a0"], 2, "interface of the kernel"),
        (&["pktgen", "packet:a0", "-c", "1", "--trace", "/nowhere/trace"], 2, "no registers to trace"),
    ] {
        let output = bmnic(&namespace, words).output().unwrap();
        let line = failure(&output, code);
        assert!(line.contains(told) && line.trim_end().lines().count() == 1, "{words:?}: {line}");
    }
    // Without the right to.
    let mut command = namespace.command("setpriv");
    command.args(["--bounding-set=-net_raw", "--inh-caps=-net_raw", env!("CARGO_BIN_EXE_bmnic")]);
    let output = command.args(out).args(["-i", "packet:a0"]).output().unwrap();
    let line = failure(&output, 1);
    assert!(line.contains("packet:a0: opening a packet socket") && line.contains("CAP_NET_RAW"), "{line}");
}

#[test]
fn what_the_kernel_leaves_to_hardware_is_named() {
    let Some(_) = pairs() else { return };
    let (near, far) = (Namespace::new("near"), Namespace::new("far"));
    near.join("v0", &far, "v1", 1_500);
    near.must(&address("v0"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let child = begin(&far, "v1", &path, &["udp port 4242"]);
    near.helper("10.99.0.1 10.99.0.2");
    let seen = end(child, &path, 130);
    assert_eq!(count(&seen, "/captured"), 10, "{seen:#}");
    assert!(count(&seen, "/port/rx_unfinished") >= 10, "{seen:#}");
}

/// A namespace as of [`pairs`] in which AF_XDP works; none, with a word, where it does not.
fn xdp_pairs() -> Option<Namespace> {
    let namespace = pairs()?;
    let words = ["capture", "/dev/null", "-i", "xdp:a0", "-d", "1ms"];
    let output = bmnic(&namespace, &words).output().unwrap();
    let told = text(&output.stderr);
    let missing = ["opening an AF_XDP socket", "attaching the XDP program"].iter().any(|what| told.contains(what));
    let lacks = ["not supported", "Address family"].iter().any(|what| told.contains(what));
    if !output.status.success() && missing && lacks {
        eprintln!("SKIPPED XDP: {told}");
        return None;
    }
    Some(namespace)
}

#[test]
fn xdp_captures_all_that_is_sent_by_either_way() {
    let Some(namespace) = xdp_pairs() else { return };
    let dir = tempfile::tempdir().unwrap();
    for from in ["packet:a0", "xdp:a0"] {
        let path = dir.path().join(from.replace(':', "-"));
        let child = begin(&namespace, "xdp:a1", &path, &[]);
        probe(&namespace, "packet:a0", &path);
        let sent =
            run(&namespace, &["pktgen", from, "-c", "5000", "-r", "20k", "-s", "300", "--allow-shortfall", "100%"]);
        let seen = end(child, &path, 130);
        assert_eq!(field(&seen, "/devices/0/kind"), "af_xdp");
        assert!(field(&seen, "/devices/0/model").contains("copied"), "{seen:#}");
        assert_eq!((count(&sent, "/sent"), count(&sent, "/lost/total")), (5_000, 0), "{from}: {sent:#}");
        adds_up(&seen);
        let (long, short) = (of_length(&path, 296), of_length(&path, 60));
        assert_eq!(long + count(&seen, "/lost/total"), 5_000, "{from}: {seen:#}");
        assert_eq!(long + short, count(&seen, "/captured"), "{from}: {seen:#}");
    }
}

#[test]
fn xdp_forwards_from_pair_to_pair_and_measures_across_one() {
    let Some(namespace) = xdp_pairs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let capture = begin(&namespace, "packet:b1", &path, &["udp"]);
    let forward = ["fwd", "xdp:a1", "xdp:b0", "-u", "-d", "0", "--json", "--allow-loss", "100%"];
    let forward = bmnic(&namespace, &forward).spawn().unwrap();
    receives(&namespace, "xdp:a1");
    probe(&namespace, "packet:a0", &path);
    let words = ["pktgen", "packet:a0", "-c", "5000", "-r", "20k", "-s", "300", "--allow-shortfall", "100%"];
    let sent = run(&namespace, &words);
    let seen = end(capture, &path, 130);
    let forwarded = end(forward, &path, 130);
    let lost = count(&seen, "/lost/total") + count(&forwarded, "/lost/total");
    assert_eq!((count(&sent, "/sent"), of_length(&path, 296) + lost), (5_000, 5_000), "{seen:#} {forwarded:#}");
    let words = ["latency", "xdp:a0", "xdp:a1", "-c", "500", "-r", "1k", "--allow-shortfall", "100%"];
    assert!(run(&namespace, &words).to_string().contains("\"sent\":500"));
}

#[test]
fn queues_that_nobody_would_read_are_refused_by_xdp() {
    let Some(namespace) = xdp_pairs() else { return };
    namespace.must(
        "ip link add m1 numrxqueues 4 numtxqueues 4 type veth peer name m0; ip link set m0 up; ip link set m1 up",
    );
    for (words, code, told) in [
        (&["latency", "packet:m0", "xdp:m1", "-c", "5"][..], 1, "xdp:m1 receives by 4 queues and 1 would be read"),
        (&["throughput", "packet:m0", "xdp:m1", "--mrr", "-t", "1ms"], 1, "or use packet:m1"),
        (&["fwd", "xdp:m1", "xdp:b0", "-u", "-d", "1ms"], 2, "xdp:b0 has fewer transmit queues than xdp:m1"),
        (&["fwd", "xdp:m1", "xdp:b0", "-u", "-d", "1ms"], 2, "`ethtool -L m1 combined 1`, or use packet:m1"),
    ] {
        let line = failure(&bmnic(&namespace, words).output().unwrap(), code);
        assert!(line.contains(told), "{words:?}: {line}");
    }
}

#[test]
fn the_program_goes_with_a_killed_process_and_is_never_replaced() {
    let Some(namespace) = xdp_pairs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let mut child = begin(&namespace, "xdp:a1", &path, &[]);
    assert!(namespace.must("ip link show a1").contains("xdp"));
    let second = bmnic(&namespace, &["pktgen", "xdp:a1", "-c", "1"]).output().unwrap();
    let line = failure(&second, 4);
    assert!(line.contains("has an XDP program already") && line.contains("use packet:a1"), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
    until("the program is left", || !namespace.must("ip link show a1").contains("xdp"));
}

#[test]
fn an_interface_that_the_kernel_uses_is_spared_by_xdp_unless_it_is_insisted_on() {
    let Some(namespace) = xdp_pairs() else { return };
    namespace.must(&address("a0"));
    let refused = bmnic(&namespace, &["pktgen", "xdp:a0", "-c", "1"]).output().unwrap();
    let line = failure(&refused, 4);
    assert!(line.contains("a0 has the address 10.99.0.1") && line.contains("xdp:a0,force"), "{line}");
    assert_eq!(count(&run(&namespace, &["pktgen", "xdp:a0,force", "-c", "10"]), "/sent"), 10);
    let mut command = namespace.command("setpriv");
    command.args([
        "--bounding-set=-net_admin,-sys_admin",
        "--inh-caps=-net_admin,-sys_admin",
        env!("CARGO_BIN_EXE_bmnic"),
    ]);
    let output = command.args(["pktgen", "xdp:b0", "-c", "1"]).output().unwrap();
    let line = failure(&output, 1);
    assert!(line.contains("xdp:b0") && line.contains("CAP_NET_ADMIN"), "{line}");
}

/// Sends datagrams of the kernel's own, in a namespace.
#[test]
#[ignore = "a part of another test"]
fn helper() {
    let role = std::env::var("BMNIC_TEST_ROLE").unwrap();
    let (from, to) = role.split_once(' ').unwrap();
    let socket = UdpSocket::bind((from, 0)).unwrap();
    for n in 0..10 {
        socket.send_to(&[n; 100], (to, 4242)).unwrap();
    }
    println!("ready");
}
