//! What `packet:IFACE` leaves to the kernel: to deal frames out to several sockets, and to judge
//! them.

#[path = "common/capture.rs"]
mod capture;
#[path = "common/interfaces.rs"]
mod common;
#[path = "common/namespaces.rs"]
mod namespaces;
#[path = "common/schema.rs"]
mod schema;

use bmnic::pcap::read::Recording;
use capture::{adds_up, count};
use common::{begin, bmnic, end, failure, pairs, run};
use serde_json::{Value, json};

/// Sends so many frames of UDP to port `port`, with what is asked for `more`.
fn send(namespace: &namespaces::Namespace, frames: &str, port: &str, more: &[&str]) {
    let words = ["pktgen", "packet:a0", "-c", frames, "-r", "20k", "--allow-shortfall", "100%", "--dport", port];
    let sent = run(namespace, &[&words, more].concat());
    assert_eq!(count(&sent, "/sent").to_string(), frames);
}

#[test]
fn several_sockets_have_a_share_each_and_each_frame_comes_once() {
    let Some(namespace) = pairs() else { return };
    let dir = tempfile::tempdir().unwrap();
    for (n, more) in [&["--rxq", "4"][..], &["--cores", "2"]].iter().enumerate() {
        let path = dir.path().join(format!("{n}.pcap"));
        let child = begin(&namespace, "packet:a1", &path, more);
        send(&namespace, "4000", "1000-1063", &[]);
        let seen = end(child, &path, 130);
        adds_up(&seen);
        assert_eq!(count(&seen, "/captured") + count(&seen, "/lost/total"), 4_000, "{more:?}: {seen:#}");
        assert_eq!(Recording::open(&path).unwrap().len() as u64, count(&seen, "/captured"));
        let queues = seen["received_by_queue"].as_array().unwrap();
        let used = queues.iter().filter(|queue| queue.as_u64() > Some(0)).count();
        assert!(used > 1, "64 flows on one queue: {seen:#}");
    }
    let words = ["capture", "/dev/null", "-i", "packet:a1", "-d", "1ms", "--rxq", "65"];
    let line = failure(&bmnic(&namespace, &words).output().unwrap(), 2);
    assert!(line.contains("the number of receive queues cannot be 65"), "{line}");
}

#[test]
fn the_kernel_leaves_out_what_is_not_wanted_and_tagged_frames_are_judged_here() {
    let Some(namespace) = pairs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let filter = "udp dst port 1000";
    // Received, left out here, left out by the kernel, and what the kernel was given.
    let left = [("exact", 150, 50, Value::Null, json!([filter])), ("off", 250, 150, json!(0), Value::Null)];
    for (push_down, received, filtered, left_out, in_card) in left {
        let path = dir.path().join(push_down);
        let child = begin(&namespace, "packet:a1", &path, &["--push-down", push_down, filter]);
        send(&namespace, "100", "1000", &[]);
        send(&namespace, "100", "2000", &[]);
        send(&namespace, "50", "1000", &["--vlan", "5"]);
        let seen = end(child, &path, 130);
        adds_up(&seen);
        assert_eq!(count(&seen, "/lost/total"), 0, "{seen:#}");
        let counted = (count(&seen, "/captured"), count(&seen, "/received"), count(&seen, "/filtered"));
        assert_eq!(counted, (100, received, filtered), "{push_down}: {seen:#}");
        assert_eq!((&seen["left_out_by_card"], &seen["in_card"]), (&left_out, &in_card), "{push_down}");
    }
}

#[test]
fn the_kernel_copies_no_more_than_is_kept_and_lengths_are_those_on_the_wire() {
    let Some(namespace) = pairs() else { return };
    let dir = tempfile::tempdir().unwrap();
    // The first and the last look at all of a frame, wherever it is cut.
    for (n, filter) in ["ip[1000] >= 0", "udp dst port 1000", "", "udp[(len - 1400):1] >= 0"].iter().enumerate() {
        let path = dir.path().join(format!("{n}.pcap"));
        let child = begin(&namespace, "packet:a1", &path, &["-s", "80", "-f", filter]);
        send(&namespace, "100", "1000", &["-s", "1518"]);
        send(&namespace, "50", "1000", &["-s", "1518", "--vlan", "5"]);
        let seen = end(child, &path, 130);
        adds_up(&seen);
        // Without a tag behind it no port is where the expression looks.
        let tagged = if filter.is_empty() { 50 } else { 0 };
        assert_eq!((count(&seen, "/captured"), count(&seen, "/lost/total")), (100 + tagged, 0), "{filter}: {seen:#}");
        let recording = Recording::open(&path).unwrap();
        assert!(recording.packets().all(|packet| packet.bytes.len() == 80 && packet.wire_len >= 1514), "{filter}");
    }
}
