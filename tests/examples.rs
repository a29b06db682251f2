//! The programs of `examples` do what they say.

#[path = "../examples/capture.rs"]
mod capture;
#[path = "../examples/forward.rs"]
mod forward;
#[path = "../examples/generate.rs"]
mod generate;
#[path = "../examples/multicast.rs"]
mod multicast;

use bmnic::pcap::read::Recording;

#[test]
fn forward_sends_on_what_has_come() {
    assert_eq!(forward::forward(2_000).unwrap(), 2_000);
    forward::main().unwrap();
}

#[test]
fn capture_writes_what_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let written = capture::capture(&path, "udp", 3_000).unwrap();
    let recording = Recording::open(&path).unwrap();
    assert_eq!((written.records, recording.len(), recording.damage()), (3_000, 3_000, None));
    assert!(capture::capture(&path, "udp port", 1).is_err());
    let _ = capture::main as fn() -> bmnic::Result<()>;
}

#[test]
fn generate_gets_back_what_it_sends_in_order() {
    let came = generate::generate(5_000, 100_000.0).unwrap();
    assert_eq!(came, generate::Came { sent: 5_000, back: 5_000, misplaced: 0 });
    generate::main().unwrap();
}

#[test]
fn multicast_reads_its_group_alone_each_packet_later_than_the_one_before() {
    let read = multicast::read(50).unwrap();
    let numbers: Vec<u64> = read.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..50).collect::<Vec<u64>>());
    assert!(read.windows(2).all(|pair| pair[0].1 < pair[1].1), "{read:?}");
    multicast::main().unwrap();
}
