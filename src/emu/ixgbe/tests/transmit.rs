//! Offloads, segmentation and completion.

use super::*;
use crate::emu::offload::Used;
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

/// A context descriptor: lengths of Ethernet, IP and transport header.
fn context(vlan: u64, mac: u64, ip: u64, l4: u64, mss: u64, command: u64) -> [u64; 2] {
    [vlan << 16 | mac << 9 | ip, 0x2020_0000 | command | l4 << 40 | mss << 48]
}

const IPV4: u64 = 1 << 10;
const TCP: u64 = 1 << 11;
const IXSM: u64 = 1 << 40;
const TXSM: u64 = 1 << 41;
const TSE: u64 = 1 << 31;
const VLE: u64 = 1 << 30;

/// The frame with its checksums as a driver hands them over: IP zero, transport
/// the sum of the pseudo-header.
fn seeded(frame: &[u8], field: usize, with_length: bool) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[24..26].fill(0);
    let l4_len = frame.len() - 34;
    let words = frame[26..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let len = if with_length { l4_len as u32 } else { 0 };
    let mut sum = words.sum::<u32>() + u32::from(frame[23]) + len;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[field..field + 2].copy_from_slice(&(sum as u16).to_be_bytes());
    frame
}

/// Whether both checksums of an IPv4 frame are right, by another library.
fn verify(frame: &[u8]) {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(etherparse::NetSlice::Ipv4(ip)) = &sliced.net else { panic!("not IPv4") };
    let header = ip.header().to_header();
    assert_eq!(header.calc_header_checksum(), header.header_checksum);
    match sliced.transport.unwrap() {
        TransportSlice::Tcp(tcp) => {
            let wanted = tcp.calc_checksum_ipv4(header.source, header.destination).unwrap();
            assert_eq!(tcp.checksum(), wanted);
        }
        TransportSlice::Udp(udp) => {
            let header_only = udp.to_header();
            let wanted = header_only.calc_checksum_ipv4(&header, udp.payload()).unwrap();
            assert_eq!(udp.checksum(), wanted);
        }
        other => panic!("{other:?}"),
    }
}

fn tcp_frame(payload: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..payload).map(|n| (n % 251) as u8).collect();
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9);
    builder.tcp(1234, 80, 0xffff_ff00, 5000).psh().fin().ack(7).write(&mut frame, &payload).unwrap();
    frame
}

#[test]
fn checksums_are_inserted_where_the_context_says() {
    let mut bench = Bench::new("82599,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    bench.push(0, context(0, 14, 20, 20, 0, IPV4 | TCP));
    let wanted = tcp_frame(333);
    bench.send_with(0, &seeded(&wanted, 50, true), IXSM | TXSM);
    bench.run(20_000_000);
    let (got, words) = bench.receive(0).unwrap();
    verify(&got);
    assert_eq!(got, wanted);
    assert_eq!(words[1] & 0xc000_0000, 0);

    // The other context slot, for UDP.
    let mut wanted = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9);
    builder.udp(1, 2).write(&mut wanted, &[9; 41]).unwrap();
    let mut second = context(0, 14, 20, 0, 0, IPV4);
    second[1] |= 1 << 36;
    bench.push(0, second);
    bench.send_with(0, &seeded(&wanted, 40, true), IXSM | TXSM | 1 << 36);
    bench.run(20_000_000);
    let (got, _) = bench.receive(0).unwrap();
    verify(&got);
    assert_eq!(got, wanted);
    bench.assert_clean();
}

#[test]
fn segments_carry_right_numbers_flags_and_checksums() {
    let mut bench = Bench::new("82599,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    let whole = tcp_frame(5000);
    let packet = seeded(&whole, 50, false);
    bench.push(0, context(0, 14, 20, 20, 1460, IPV4 | TCP));
    // Header and payload in two descriptors; what the packet wants stands in the first.
    let (head, tail) = packet.split_at(54);
    let head_at = bench.data(0, 1, head);
    let tail_at = bench.data(0, 2, tail);
    bench.push(0, [head_at, 54 | 0x2230_0000 | TSE | IXSM | TXSM | 5000 << 46]);
    let last = bench.push(0, [tail_at, 5000 | 0x2b30_0000]);
    bench.ring_tx(0);
    bench.run(50_000_000);
    assert!(bench.sent(0, last));
    let mut payload = Vec::new();
    for n in 0..4u16 {
        let (got, _) = bench.receive(0).unwrap();
        verify(&got);
        let sliced = SlicedPacket::from_ethernet(&got).unwrap();
        let Some(etherparse::NetSlice::Ipv4(ip)) = &sliced.net else { panic!("not IPv4") };
        let first_id = u16::from_be_bytes([whole[18], whole[19]]);
        assert_eq!(ip.header().identification(), first_id.wrapping_add(n));
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("not TCP") };
        assert_eq!(tcp.sequence_number(), 0xffff_ff00_u32.wrapping_add(1460 * u32::from(n)));
        assert_eq!((tcp.fin(), tcp.psh(), tcp.ack()), (n == 3, n == 3, true));
        payload.extend_from_slice(tcp.payload());
    }
    assert_eq!(payload, whole[54..]);
    assert!(bench.receive(0).is_none());
    assert_eq!(bench.tap.offloads_used(), Used { summed: 1, segmented: 1, ..Used::default() });
    bench.assert_clean();
}

#[test]
fn a_tag_is_inserted_behind_the_addresses() {
    let mut bench = Bench::new("82599,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    bench.push(0, context(0x2007, 14, 0, 0, 0, 0));
    let plain = frame(100);
    bench.send_with(0, &plain, VLE);
    bench.run(20_000_000);
    let (got, _) = bench.receive(0).unwrap();
    assert_eq!(got[12..16], [0x81, 0, 0x20, 0x07]);
    assert_eq!((&got[..12], &got[16..]), (&plain[..12], &plain[12..]));
    assert_eq!(bench.tap.offloads_used(), Used { tagged: 1, ..Used::default() });
    bench.assert_clean();
}

#[test]
fn short_frames_are_padded_and_descriptors_without_rs_stay_as_they_are() {
    let mut bench = Bench::new("82599,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    let short = frame(20);
    let address = bench.data(0, 0, &short);
    let silent = bench.push(0, [address, 20 | 0x2330_0000 | 20 << 46]);
    let told = bench.send(0, &frame(60));
    bench.run(20_000_000);
    assert!(!bench.sent(0, silent) && bench.sent(0, told));
    let (got, _) = bench.receive(0).unwrap();
    assert_eq!((got.len(), &got[..20], &got[20..]), (60, &short[..], &[0; 40][..]));
    bench.assert_clean();
}

#[test]
fn the_head_is_written_to_memory_instead_of_the_descriptors() {
    let mut bench = Bench::new("82599,strict");
    let home = bench.arena.iova(0xf000);
    bench.write(0x6038, home as u32 | 1);
    bench.write(0x603c, (home >> 32) as u32);
    bench.transmit_on(1);
    for n in 1..=3 {
        let index = bench.send(0, &frame(60));
        bench.run(20_000_000);
        assert!(!bench.sent(0, index));
        assert_eq!(bench.bytes(0xf000, 4), [n, 0, 0, 0]);
        assert_eq!(bench.read(0x6010), u32::from(n));
    }
    bench.assert_clean();
}

#[test]
fn line_rate_holds_whatever_the_driver_asks() {
    let mut bench = Bench::new("82599,strict");
    bench.transmit_on(1);
    let before = bench.tap.wire().tx_frames;
    let start = bench.engine.now();
    for _ in 0..200 {
        for _ in 0..40 {
            if (bench.tx_next[0] + 1) % RING != bench.read(0x6010) {
                bench.send(0, &frame(60));
            }
        }
        bench.run(2_000_000);
    }
    let frames = bench.tap.wire().tx_frames - before;
    let most = (bench.engine.now() - start) / 67_200;
    assert!(frames <= most + 1, "{frames} of {most}");
    assert!(frames > 1000);
    bench.assert_clean();
}

#[test]
fn mac_loopback_needs_no_wire() {
    let mut bench = Bench::unlinked("82599,strict,link=10s");
    // LPBK, forced link.
    bench.set(0x4240, 1 << 15);
    bench.set(0x42a0, 1);
    bench.receive_on(1);
    bench.transmit_on(1);
    bench.send(0, &frame(99));
    bench.run(20_000_000);
    let (got, words) = bench.receive(0).unwrap();
    assert_eq!(got, frame(99));
    assert_eq!(words[1] >> 18 & 1, 1);
    assert_eq!(bench.tap.wire().tx_frames, 0);
    bench.assert_clean();
}

#[test]
fn ipxe_sends_and_receives_with_legacy_descriptors() {
    let mut bench = Bench::new("82599,strict");
    bench.write(0x0900, 0x8180);
    bench.transmit_on(1);
    bench.write(0x5080, 0x700);
    bench.set(0x2f00, 1);
    bench.receive_with(1, 2);
    let frame = frame(77);
    let address = bench.data(0, 0, &frame);
    // EOP, IFCS, RS.
    let index = bench.push(0, [address, 77 | 0x0b00_0000]);
    bench.ring_tx(0);
    bench.run(20_000_000);
    assert!(bench.sent(0, index));
    let words = bench.qword(RX_RING + 8);
    assert_eq!((words & 0xffff, words >> 32 & 0xffff), (77, 3));
    assert_eq!(bench.bytes(bench.rx_buffer(0, 0), 77), frame);
    // Causes 0 and 1 show although nothing is enabled, and clear when read.
    assert_eq!(bench.read(0x800) & 3, 3);
    assert_eq!(bench.read(0x800), 0);
    bench.assert_clean();
}

#[test]
fn no_descriptor_brings_the_card_down() {
    // Random words between random contexts: the card neither panics nor stops.
    let mut random = super::super::super::wire::Random::new(5);
    for seed in 0..20u64 {
        let mut bench = Bench::new("82599");
        bench.receive_on(1);
        bench.transmit_on(1);
        for _ in 0..500 {
            let address = bench.arena.iova(TX_BUFFERS) + random.number() % (1 << 20);
            let (high, low) = (random.number() << 32, random.number());
            let words = match random.number() % 4 {
                0 => [low | high, low ^ high],
                1 => context(
                    low & 0xffff,
                    low >> 16 & 0x7f,
                    low >> 24 & 0x1f,
                    low >> 30 & 0x3f,
                    low >> 36 & 0xfff,
                    IPV4 | TCP,
                ),
                2 => [address, low & 0xffff | 0x2330_0000 | high | (TSE * (seed & 1))],
                _ => [address, low & 0x3fff | 0x2b30_0000 | high],
            };
            bench.push(0, words);
            bench.ring_tx(0);
            bench.run(20_000_000);
            while bench.receive(0).is_some() {}
        }
        assert!(!bench.violations().is_empty());
        assert_eq!(bench.read(0x0008) >> 19 & 1, 1);
        // The queue starts over and sends.
        bench.write(0x6028, 0);
        bench.tx_next[0] = 0;
        bench.transmit_on(1);
        let sent = bench.tap.wire().tx_frames;
        bench.send(0, &frame(100));
        bench.run(50_000_000);
        assert_eq!(bench.tap.wire().tx_frames, sent + 1);
    }
}

#[test]
fn a_descriptor_without_data_is_named_before_the_end_of_its_packet_and_passed_over() {
    let mut bench = Bench::new("82599");
    bench.receive_on(1);
    bench.transmit_on(1);
    let address = bench.data(0, 0, &[]);
    bench.push(0, [address, 0x2230_0000]);
    bench.ring_tx(0);
    bench.run(20_000_000);
    let text = "transmit descriptor without data, or a packet without end";
    assert_eq!(bench.violations(), [text]);
    bench.send(0, &frame(100));
    bench.run(20_000_000);
    assert_eq!(bench.receive(0).unwrap().0, frame(100));
    // A context behind it does not hide it.
    bench.push(0, [address, 0x2230_0000]);
    bench.push(0, context(0, 14, 20, 20, 0, IPV4));
    bench.ring_tx(0);
    bench.run(20_000_000);
    assert_eq!(bench.tap.violations(), [(text.to_string(), 2)]);
}

/// Where the queues' pages are mapped nobody sees that a head is read: it is there.
#[test]
fn heads_in_mapped_pages_are_those_that_the_card_gives() {
    for card in ["82599,strict", "x550,strict"] {
        let mut bench = Bench::new(card);
        bench.receive_with(1, 0x0200_0002);
        bench.transmit_on(1);
        bench.slot.with(|card| card.model().mapped()).unwrap();
        let seen = |bench: &Bench, at: u64| {
            let page = bench.slot.doorbells().iter().find(|page| page.offset == at & !0xfff).unwrap();
            page.words[(at & 0xfff) as usize / 4].load(Ordering::Relaxed)
        };
        // Once round the rings, and further.
        for n in 1..=RING + 5 {
            bench.send(0, &frame(100));
            bench.run(20_000_000);
            assert!(bench.receive(0).is_some());
            let heads = [0x6010, 0x1010].map(|at| seen(&bench, at));
            assert_eq!(heads, [n % RING; 2], "{card}");
            assert_eq!([0x6010, 0x1010].map(|at| bench.read(at)), heads, "{card}");
        }
        bench.assert_clean();
    }
}
