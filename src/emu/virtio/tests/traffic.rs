//! Frames and commands through both formats of virtqueue (§2.7, §2.8, §5.1.6).

use super::*;
use etherparse::PacketBuilder;

const PLAIN: [u8; 12] = [0; 12];

/// On a loop, split and packed: what is sent comes back.
fn both(features: u64, mut test: impl FnMut(Bench)) {
    test(Bench::up("virtio,strict,wire=loop", features));
    test(Bench::up("virtio-packed,strict,wire=loop", features | PACKED));
}

fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|n| n as u8).collect()
}

#[test]
fn frames_go_round_and_the_rings_wrap() {
    both(MAC, |mut bench| {
        for round in 0..4 * SIZE {
            bench.give_buffer(round % SIZE);
            let sent = frame(60 + round);
            bench.send(PLAIN, &sent);
            let tx = bench.completed(1, round, 2 * round).expect("sent");
            assert_eq!(tx.0 as usize, 2 * round % SIZE);
            let rx = bench.completed(0, round, round).expect("received");
            assert_eq!(rx, ((round % SIZE) as u32, 12 + sent.len() as u32));
            let got = bench.bytes(BUFFERS + 2048 * (round % SIZE), 12 + sent.len());
            assert_eq!((&got[..12], &got[12..]), (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0][..], &sent[..]));
        }
        assert_eq!(bench.tap.violations(), []);
    });
}

#[test]
fn a_short_frame_is_padded_and_a_long_one_fills_several_buffers() {
    both(MAC | MRG_RXBUF, |mut bench| {
        (0..4).for_each(|n| bench.give_buffer(n));
        bench.send(PLAIN, &frame(20));
        let sent = frame(5000);
        bench.send(PLAIN, &sent);
        assert_eq!(bench.completed(0, 0, 0).unwrap().1, 72);
        assert_eq!(bench.half(BUFFERS + 2048 + 10), 3, "num_buffers");
        let lengths: Vec<u32> = (1..4).map(|n| bench.completed(0, n, n).unwrap().1).collect();
        assert_eq!(lengths, [2048, 2048, 5012 - 4096]);
        let got = bench.bytes(BUFFERS + 2048 + 12, 5000);
        assert_eq!(got, sent, "the buffers lie side by side");
        assert_eq!(bench.tap.violations(), []);
    });
}

#[test]
fn a_frame_waits_for_a_buffer_and_one_that_is_too_long_is_lost() {
    for (spec, features) in [("virtio", MAC), ("virtio-packed", MAC | PACKED)] {
        let mut bench = Bench::up(&format!("{spec},strict,wire=loop:pause=on"), features);
        bench.send(PLAIN, &frame(60));
        assert_eq!(bench.completed(0, 0, 0), None);
        bench.give_buffer(0);
        bench.run();
        assert_eq!(bench.completed(0, 0, 0).unwrap().1, 72);
        bench.give_buffer(1);
        bench.send(PLAIN, &frame(3000));
        assert_eq!(bench.completed(0, 1, 1), None, "the buffer is still there");
        bench.send(PLAIN, &frame(61));
        assert_eq!(bench.completed(0, 1, 1).unwrap().1, 73);
        assert_eq!(bench.tap.violations(), []);
    }
}

#[test]
fn a_paused_wire_does_not_hold_back_what_was_read() {
    for seed in 1..20 {
        let mut bench = Bench::up(&format!("virtio,strict,nasty,seed={seed},wire=loop:pause=on"), MAC);
        let used = |bench: &Bench| usize::from(bench.half(QUEUE + DEVICE + 2));
        bench.put(BUFFERS, &PLAIN);
        bench.put(BUFFERS + 64, &frame(9000));
        // Nobody receives: the loop fills up, and one more packet is read.
        while used(&bench) == bench.turn[1] {
            (0..4).for_each(|_| bench.give(1, &[(BUFFERS, 12, false), (BUFFERS + 64, 9000, false)]));
            bench.notify(1);
        }
        assert_eq!(used(&bench) as u64, bench.tap.wire().tx_frames + 1, "seed {seed}");
        assert_eq!(bench.tap.violations(), []);
    }
}

/// A UDP frame whose checksum field holds the pseudo-header's sum, and the same
/// with its checksum.
fn half_done() -> (Vec<u8>, Vec<u8>) {
    let mut whole = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(7, 9);
    builder.write(&mut whole, &[5; 33]).unwrap();
    let mut half = whole.clone();
    let pseudo = 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 17 + 41_u16;
    half[40..42].copy_from_slice(&pseudo.to_be_bytes());
    (half, whole)
}

#[test]
fn a_checksum_is_completed_if_that_was_agreed_on() {
    let header = [1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0];
    let (half, whole) = half_done();
    both(MAC | 1, |mut bench| {
        bench.give_buffer(0);
        bench.send(header, &half);
        assert_eq!(bench.bytes(BUFFERS + 12, whole.len()), whole);
        assert_eq!(bench.tap.violations(), []);
    });
    let mut bench = Bench::up("virtio", MAC);
    bench.send(header, &half);
    assert_eq!(bench.violations(), ["checksum asked for that was not agreed on"]);
    assert!(bench.completed(1, 0, 0).is_some(), "it is given back all the same");
}

#[test]
fn a_large_packet_leaves_as_segments() {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(7, 9, 1000, 99);
    builder.write(&mut packet, &frame(2500)).unwrap();
    let pseudo = 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 6 + 2520_u16;
    packet[50..52].copy_from_slice(&pseudo.to_be_bytes());
    let header = [1, 1, 54, 0, 0xe8, 3, 34, 0, 16, 0, 0, 0]; // 1000 bytes each
    both(MAC | 1 | 1 << 11, |mut bench| {
        (0..3).for_each(|n| bench.give_buffer(n));
        bench.send(header, &packet);
        let mut payload = Vec::new();
        for n in 0..3 {
            let len = bench.completed(0, n, n).unwrap().1 as usize - 12;
            let segment = bench.bytes(BUFFERS + 2048 * n + 12, len);
            let parsed = super::super::super::frame::Parsed::of(&segment);
            assert_eq!(parsed.l4_checksum(&segment), super::super::super::frame::Verdict::Good);
            payload.extend_from_slice(&segment[54..]);
        }
        assert_eq!(payload, frame(2500));
        assert_eq!(bench.tap.violations(), []);
    });
}

#[test]
fn commands_change_what_is_received() {
    both(MAC | CTRL, |mut bench| {
        let command = BUFFERS + 0xf000;
        let run = |bench: &mut Bench, bytes: &[u8]| {
            bench.put(command, bytes);
            bench.put(command + 64, &[0xff]);
            bench.give(2, &[(command, bytes.len() as u32, false), (command + 64, 1, true)]);
            bench.notify(2);
            bench.bytes(command + 64, 1)[0]
        };
        let to = |address: [u8; 6]| [&address[..], &[2, 0, 0, 0, 0, 1, 8, 0], &[0; 50]].concat();
        let received = |bench: &mut Bench, address| {
            let turn = bench.turn[0];
            bench.give_buffer(turn % SIZE);
            bench.send(PLAIN, &to(address));
            bench.completed(0, turn, turn).is_some()
        };
        let (own, group) = ([2, 0, 0, 0, 0, 9], [1, 0, 0x5e, 0, 0, 1]);
        assert!(received(&mut bench, own), "everything, after reset");
        assert_eq!(run(&mut bench, &[0, 0, 0]), 0);
        // What is not received leaves its buffer for the next.
        let turn = bench.turn[0];
        bench.give_buffer(turn % SIZE);
        bench.send(PLAIN, &to(own));
        assert_eq!(bench.completed(0, turn, turn), None);
        assert_eq!(run(&mut bench, &[1, 1, 2, 0, 0, 0, 0, 9]), 0);
        bench.send(PLAIN, &to(own));
        assert!(bench.completed(0, turn, turn).is_some(), "its new address");
        assert_eq!(run(&mut bench, &[1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1]), 0);
        assert!(received(&mut bench, group));
        assert_eq!(bench.tap.violations(), []);
    });
    let mut bench = Bench::up("virtio", MAC | CTRL);
    bench.put(BUFFERS, &[9, 9]);
    bench.give(2, &[(BUFFERS, 2, false), (BUFFERS + 64, 1, true)]);
    bench.notify(2);
    assert_eq!(bench.bytes(BUFFERS + 64, 1), [1], "refused");
    assert_eq!(bench.violations(), ["command 9.9 that is unknown or of the wrong length"]);
}

#[test]
fn a_chain_that_breaks_a_rule_stops_the_device() {
    type Fault = fn(&mut Bench);
    let cases: [(&str, Fault, &str); 5] = [
        ("virtio", |b| b.put(QUEUE + DRIVER + 2, &100_u16.to_le_bytes()), "available index further ahead"),
        (
            "virtio",
            |b| {
                b.give(1, &[(BUFFERS, 64, false), (BUFFERS, 64, false)]);
                // The second points back to the first.
                b.put(QUEUE + 16 + 12, &[1, 0, 0, 0]);
            },
            "chain loops",
        ),
        ("virtio", |b| b.give(1, &[(BUFFERS, 0, false)]), "descriptor of no bytes"),
        ("virtio-packed", |b| b.give(1, &[(BUFFERS, 64, true), (BUFFERS, 64, false)]), "readable descriptor behind"),
        (
            "virtio-packed",
            |b| {
                b.give(1, &[(BUFFERS, 64, false)]);
                b.put(QUEUE + 12, &99_u16.to_le_bytes());
            },
            "buffer id is not below",
        ),
    ];
    for (spec, fault, rule) in cases {
        let packed = if spec == "virtio" { 0 } else { PACKED };
        let mut bench = Bench::up(spec, MAC | packed);
        fault(&mut bench);
        bench.notify(1);
        assert_eq!(bench.bar.read8(0x14), 0x4f, "{rule}: NEEDS_RESET");
        assert!(bench.violations().iter().any(|name| name.starts_with(rule)), "{:?}", bench.violations());
    }
}

#[test]
fn memory_that_is_not_mapped_is_named() {
    let mut bench = Bench::up("virtio", MAC);
    bench.give(1, &[(BUFFERS, 12, false), (BUFFERS, 60, false)]);
    bench.put(QUEUE + 16, &0x1234_0000_u64.to_le_bytes());
    bench.notify(1);
    assert_eq!(bench.violations(), ["DMA read outside mapped memory"]);
}

#[test]
fn notifications_and_interrupts_are_wanted_only_now_and_then() {
    let mut bench = Bench::up("virtio,strict,wire=loop", MAC | 1 << 29);
    bench.give_buffer(0);
    bench.send(PLAIN, &frame(60));
    assert_eq!(bench.half(QUEUE + DEVICE + 4 + 8 * SIZE), 1, "avail_event: the next one");
    let mut bench = Bench::up("virtio,strict,wire=loop", MAC);
    bench.send(PLAIN, &frame(60));
    assert_eq!(bench.half(QUEUE + DEVICE), 0, "an idle queue wants to be told");
    assert_eq!(bench.tap.violations(), []);
}
