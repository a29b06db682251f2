//! Descriptors, options, push and PIO.

use super::*;
use etherparse::{PacketBuilder, PacketHeaders};

impl Bench {
    /// What came back of what was sent, without prefixes.
    fn back(&mut self) -> Vec<Vec<u8>> {
        let events = self.events(0);
        self.packets(0, &events).into_iter().map(|packet| packet[14..].to_vec()).collect()
    }
}

#[test]
fn a_packet_of_several_descriptors_has_one_event_of_its_last() {
    let mut bench = Bench::new("x2522,strict", 1);
    bench.start();
    let frame = frame(300);
    for (n, part) in frame.chunks(100).enumerate() {
        let more = if n < 2 { 1 << 62 } else { 0 };
        let descriptor = bench.data(0, bench.tx_next[0], part);
        bench.push(0, descriptor | more);
    }
    bench.ring_tx(0);
    bench.run(20_000_000);
    let events = bench.events(0);
    assert_eq!(events.iter().filter(|event| **event >> 60 == 2).collect::<Vec<_>>(), [&0x2000_0000_0000_0002]);
    assert_eq!(bench.packets(0, &events)[0][14..], frame);
    bench.assert_clean();
}

#[test]
fn option_descriptors_have_no_event_and_what_they_say_stays() {
    let mut bench = Bench::new("x2522,strict", 1);
    bench.start();
    let mut wanted = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
        .udp(5, 6)
        .write(&mut wanted, &[7; 50])
        .unwrap();
    let mut blank = wanted.clone();
    blank[24..26].copy_from_slice(&[0, 0]);
    blank[40..42].copy_from_slice(&[0xde, 0xad]);
    // The first push, as Linux does it.
    bench.push(0, 0x8000_0000_0000_0003);
    bench.ring_tx(0);
    bench.run(1_000_000);
    assert_eq!(bench.events(0), NONE);
    for _ in 0..2 {
        bench.send(0, &blank);
        assert_eq!(bench.back(), [wanted.clone()]);
    }
    bench.push(0, 0x8000_0000_0000_0000);
    bench.send(0, &blank);
    assert_eq!(bench.back(), [blank]);
    bench.assert_clean();
}

#[test]
fn tags_are_put_in_until_there_shall_be_none() {
    let mut bench = Bench::new("x2522,strict", 1);
    bench.start();
    let plain = frame(100);
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0x20, 0x07]);
    bench.push(0, 0xe000_0001_0000_0720);
    bench.send(0, &plain);
    assert_eq!(bench.back(), [tagged]);
    assert_eq!(bench.tap.offloads_used().tagged, 1);
    bench.push(0, 0xe000_0000_0000_0000);
    bench.send(0, &plain);
    assert_eq!(bench.back(), [plain]);
    bench.assert_clean();
}

#[test]
fn segmentation_makes_frames_that_another_parser_finds_right() {
    for ipv6 in [false, true] {
        let mut bench = Bench::new("x2522,strict", 1);
        bench.start();
        bench.must(0x85, &words(&[0]));
        // With a context for segmentation.
        bench.txq(0, 0, 0x1006);
        bench.events(0);
        let payload: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
        let mut packet = Vec::new();
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = if ipv6 { ethernet.ipv6([1; 16], [2; 16], 9) } else { ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9) };
        ip.tcp(5, 6, 1000, 99).psh().write(&mut packet, &payload).unwrap();
        // The length says nothing, as Linux leaves it.
        let at = if ipv6 { 18 } else { 16 };
        packet[at..at + 2].copy_from_slice(&[0xff, 0x30]);
        bench.push(0, 0xf200_0000_0000_0000 | 77 << 32 | 1000);
        bench.push(0, 0xf300_0000_0000_0000 | 1400 << 32);
        bench.send(0, &packet);
        let frames = bench.back();
        assert_eq!(frames.len(), 3);
        let mut sequence = 1000;
        let mut got = Vec::new();
        for (n, frame) in frames.iter().enumerate() {
            let headers = PacketHeaders::from_ethernet_slice(frame).unwrap();
            let tcp = headers.transport.unwrap().tcp().unwrap();
            let data = headers.payload.slice();
            assert_eq!((tcp.sequence_number, tcp.psh), (sequence, n == 2));
            match headers.net.unwrap() {
                etherparse::NetHeaders::Ipv4(ip, _) => {
                    assert_eq!((ip.identification, ip.header_checksum), (77 + n as u16, ip.calc_header_checksum()));
                    assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, data).unwrap());
                }
                etherparse::NetHeaders::Ipv6(ip, _) => {
                    assert_eq!(tcp.checksum, tcp.calc_checksum_ipv6(&ip, data).unwrap());
                }
                _ => panic!(),
            }
            sequence += data.len() as u32;
            got.extend_from_slice(data);
        }
        assert_eq!(got, payload);
        bench.assert_clean();
    }
}

#[test]
fn a_pushed_descriptor_must_be_the_one_in_the_ring() {
    let mut bench = Bench::new("x2522", 1);
    bench.start();
    bench.tap.note_stages(true);
    let push = |bench: &mut Bench, wrong: u64| {
        let descriptor = bench.data(0, bench.tx_next[0], &frame(60));
        bench.push(0, descriptor);
        let pushed = descriptor ^ wrong;
        for (at, word) in
            [(0xa10, pushed as u32), (0xa14, (pushed >> 32) as u32), (0xa18, bench.tx_next[0]), (0xa1c, 0)]
        {
            bench.write(0, at, word);
        }
        bench.run(20_000_000);
        assert_eq!(bench.back(), [frame(60)]);
    };
    push(&mut bench, 0);
    bench.assert_clean();
    bench.send(0, &frame(60));
    let paths: Vec<_> = bench.tap.take_stages().iter().map(|stages| stages.path).collect();
    assert_eq!(paths, ["push", "DMA"]);
    bench.back();
    push(&mut bench, 1 << 48);
    assert_eq!(bench.violations(), ["pushed descriptor that is not the one in the ring"]);
}

#[test]
fn an_index_that_follows_a_push_at_once_pushes_nothing() {
    let mut bench = Bench::new("x2522,strict", 1);
    bench.start();
    bench.tap.note_stages(true);
    let descriptor = bench.data(0, bench.tx_next[0], &frame(60));
    bench.push(0, descriptor);
    for (at, word) in [(0xa10, descriptor as u32), (0xa14, (descriptor >> 32) as u32), (0xa18, 1), (0xa1c, 0)] {
        bench.write(0, at, word);
    }
    // Before the card has looked.
    for len in [70, 80] {
        let descriptor = bench.data(0, bench.tx_next[0], &frame(len));
        bench.push(0, descriptor);
        bench.ring_tx(0);
    }
    bench.run(20_000_000);
    assert_eq!(bench.back(), [frame(60), frame(70), frame(80)]);
    let paths: Vec<_> = bench.tap.take_stages().iter().map(|stages| stages.path).collect();
    assert_eq!(paths, ["push", "DMA", "DMA"]);
    bench.assert_clean();
}

#[test]
fn a_packet_goes_out_of_the_cards_own_memory() {
    let mut bench = Bench::new("x2522,strict", 6);
    bench.start();
    bench.tap.note_stages(true);
    let handle = u32_of(&bench.must(0x8f, &[]), 0);
    // Written through one window, sent by the queue of another, as Linux does.
    bench.must(0x92, &words(&[handle, 5]));
    bench.must(0x92, &words(&[handle, 0]));
    let frame = frame(90);
    for (n, word) in frame.chunks(8).enumerate() {
        let mut bytes = [0; 8];
        bytes[..word.len()].copy_from_slice(word);
        bench.bar.write64(bench.window(5, 0x1000 + 256 + 8 * n as u64), u64::from_le_bytes(bytes));
    }
    bench.push(0, 0x9000_0000_0000_0000 | 90 << 32 | 256);
    bench.ring_tx(0);
    bench.run(20_000_000);
    assert_eq!(bench.back(), [frame]);
    let stages = bench.tap.take_stages();
    assert_eq!((stages[0].path, stages[0].fetch), ("PIO", stages[0].doorbell));
    bench.must(0x90, &words(&[handle]));
    bench.assert_clean();
}

#[test]
fn transmit_descriptors_of_any_content_are_survived() {
    let mut bench = Bench::new("x2522", 1);
    bench.start();
    let mut random = crate::emu::wire::Random::new(7);
    for _ in 0..2000 {
        bench.push(0, random.number());
        bench.ring_tx(0);
        bench.run(1_000_000);
    }
    assert!(!bench.violations().is_empty());
}

#[test]
fn huntington_sends_read_pointers_through_the_index() {
    let mut bench = Bench::new("sfc9120,strict", 1);
    bench.must(0x4a, &words(&[2, 1]));
    bench.function.set_irqs(&[]).unwrap();
    bench.start();
    bench.write(0, 0xa18, 0xf1f);
    bench.write(0, 0xa18, 0x800);
    bench.write(0, 0xa18, 0x901);
    bench.send(0, &frame(60));
    assert_eq!(bench.back(), [frame(60)]);
    bench.assert_clean();
}
