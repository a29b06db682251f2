//! Offloads, segmentation and completion.

use super::*;
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

const EOP_RS_ICRC: u64 = 7;
const IL2TAG1: u64 = 8;
const IPV4_SUM: u64 = 0x60;
const TCP: u64 = 0x100;
/// Lengths: Ethernet 14 in words, IPv4 20 in dwords, TCP 20 in dwords.
const LENGTHS: u64 = (7 | 5 << 7 | 5 << 14) << 16;

/// The frame with its checksums as a driver hands them over: IP zero, TCP the
/// sum of the pseudo-header.
fn seeded(frame: &[u8], with_length: bool) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[24..26].fill(0);
    let words = frame[26..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let len = if with_length { frame.len() as u32 - 34 } else { 0 };
    let mut sum = words.sum::<u32>() + 6 + len;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[50..52].copy_from_slice(&(sum as u16).to_be_bytes());
    frame
}

fn tcp_frame(payload: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..payload).map(|n| (n % 251) as u8).collect();
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9);
    builder.tcp(1234, 80, 0xffff_ff00, 5000).psh().fin().ack(7).write(&mut frame, &payload).unwrap();
    frame
}

#[test]
fn checksums_and_a_tag_are_inserted() {
    let mut bench = Bench::new("x710,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    let wanted = tcp_frame(333);
    let more = LENGTHS | 0x2007 << 48;
    bench.push_data(0, &seeded(&wanted, true), EOP_RS_ICRC | IPV4_SUM | TCP | IL2TAG1, more);
    bench.ring_tx(0);
    bench.run(20_000_000);
    let (got, words) = bench.receive(0).unwrap();
    assert_eq!(got[12..16], [0x81, 0, 0x20, 0x07]);
    assert_eq!((&got[..12], &got[16..]), (&wanted[..12], &wanted[12..]));
    assert_eq!(words[1] & (3 << 22), 0);
    bench.assert_clean();
}

#[test]
fn segments_carry_right_numbers_flags_and_checksums() {
    let mut bench = Bench::new("x710,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    let whole = tcp_frame(5000);
    let packet = seeded(&whole, false);
    bench.push(0, [0, 1 | 1 << 4 | 5000 << 30 | 1460 << 50]);
    let (head, tail) = packet.split_at(54);
    let command = 4 | IPV4_SUM | TCP;
    bench.push_data(0, head, command, LENGTHS);
    let last = bench.push_data(0, tail, command | 3, LENGTHS);
    bench.ring_tx(0);
    bench.run(50_000_000);
    assert!(bench.sent(0, last));
    let mut payload = Vec::new();
    for n in 0..4u16 {
        let (got, words) = bench.receive(0).unwrap();
        assert_eq!(words[1] & (1 << 3 | 3 << 22), 1 << 3, "segment {n}");
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
    bench.assert_clean();
}

#[test]
fn the_head_is_written_back_where_the_context_says() {
    const AT: usize = TX_RING + 16 * RING as usize;
    let mut bench = Bench::new("x710,strict");
    bench.receive_on(1);
    bench.back_contexts();
    bench.open_tx(0, Some(AT));
    for n in 1..=5 {
        let index = bench.send(0, &frame(60));
        bench.run(20_000_000);
        assert_eq!((bench.qword(AT) as u32, bench.sent(0, index)), (n, false));
        assert_eq!(bench.read(0xe4000), n);
    }
    bench.assert_clean();
}

#[test]
fn short_frames_are_padded_and_descriptors_without_rs_stay_as_they_are() {
    let mut bench = Bench::new("x710,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    let silent = bench.push_data(0, &frame(20), 5, 0);
    let told = bench.send(0, &frame(60));
    bench.run(20_000_000);
    assert_eq!((bench.sent(0, silent), bench.sent(0, told)), (false, true));
    let (got, _) = bench.receive(0).unwrap();
    assert_eq!((got.len(), &got[..20], got[20..].iter().all(|b| *b == 0)), (60, &frame(20)[..], true));
    bench.assert_clean();
}

#[test]
fn frames_loop_inside_the_card_when_firmware_is_told_so() {
    // The modes were numbered anew with version 6 of the NVM, but not the X722's.
    for (card, mode, loops) in
        [("x710", 1, true), ("x710", 4, false), ("x710,fault=old-nvm", 4, true), ("x722", 4, true), ("x710", 0, false)]
    {
        let mut bench = Bench::new(&format!("{card},strict,wire=sink"));
        bench.receive_on(1);
        bench.transmit_on(1);
        bench.tell(0x0618, &[mode]);
        bench.send(0, &frame(60));
        bench.run(20_000_000);
        let got = bench.receive(0).map(|(got, words)| (got, words[1] >> 14 & 1));
        assert_eq!(got, loops.then(|| (frame(60), 1)), "{card}: mode {mode}");
        assert_eq!(bench.tap.wire().tx_frames, u64::from(!loops));
        bench.assert_clean();
    }
}

#[test]
fn control_frames_that_firmware_holds_back_are_not_sent() {
    let mut bench = Bench::new("x710,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    // Any address, EtherType 0x8808, drop, transmit.
    bench.tell(0x025a, &[0, 0, 0, 0x8808, 1 | 2 | 8, MAIN, 0]);
    let mut pause = frame(60);
    pause[12..14].copy_from_slice(&[0x88, 0x08]);
    let index = bench.send(0, &pause);
    bench.run(20_000_000);
    assert!(bench.sent(0, index) && bench.receive(0).is_none());
    bench.assert_clean();
}

#[test]
fn malicious_descriptors_are_named_and_stop_their_queue() {
    let wrong = |act: fn(&mut Bench)| {
        let mut bench = Bench::new("x710");
        bench.receive_on(1);
        bench.transmit_on(1);
        act(&mut bench);
        bench.ring_tx(0);
        bench.run(20_000_000);
        assert!(bench.receive(0).is_none());
        assert_eq!(bench.read(0x344000 + 8 * 9), 1);
        assert_eq!((bench.read(0xe6400), bench.read(0xe6480) >> 31, bench.read(0x38780) >> 19 & 1), (1, 1, 1));
        assert_eq!(bench.read(0x38780), 0, "read once");
        bench.write(0xe6400, 0xffff);
        bench.write(0xe6480, !0);
        assert_eq!((bench.read(0xe6400), bench.read(0xe6480)), (0, 0), "written as ones");
        let index = bench.send(0, &frame(60));
        bench.run(20_000_000);
        assert!(!bench.sent(0, index) && bench.receive(0).is_none(), "the queue has stopped");
        bench.violations()
    };
    let text = "context descriptor inside a packet, or two in a row";
    let twice = |b: &mut Bench| {
        b.push(0, [0, 1]);
        b.push(0, [0, 1]);
    };
    assert_eq!(wrong(twice), [text]);
    let unknown = |b: &mut Bench| {
        b.push(0, [0, 5]);
    };
    assert_eq!(wrong(unknown), ["transmit descriptor of an unknown type"]);
    let empty = |b: &mut Bench| {
        b.push_data(0, &[], EOP_RS_ICRC, 0);
    };
    let text = "transmit descriptor without data, or a packet without end";
    assert_eq!(wrong(empty), [text]);
    let open = |b: &mut Bench| {
        b.push_data(0, &[], 0, 0);
    };
    assert_eq!(wrong(open), [text], "before its end is there");
    let short = |b: &mut Bench| {
        b.push_data(0, &frame(16), EOP_RS_ICRC, 0);
    };
    assert_eq!(wrong(short), ["packet shorter than 17 bytes or longer than the MAC takes"]);
    let lengths = |b: &mut Bench| {
        b.push_data(0, &tcp_frame(10), EOP_RS_ICRC | IPV4_SUM | TCP, 0);
    };
    assert_eq!(wrong(lengths), ["offload without the lengths of the headers"]);
    let mss = |b: &mut Bench| {
        b.push(0, [0, 1 | 1 << 4 | 5000 << 30 | 10 << 50]);
        b.push_data(0, &seeded(&tcp_frame(5000), false), EOP_RS_ICRC | IPV4_SUM | TCP, LENGTHS);
    };
    let scattered = |b: &mut Bench| {
        (0..8).for_each(|_| _ = b.push_data(0, &frame(60), 4, 0));
        b.push_data(0, &frame(60), EOP_RS_ICRC, 0);
    };
    assert_eq!(wrong(scattered), ["packet of more than 8 buffers"]);
    assert_eq!(wrong(mss), ["segmentation of no TCP packet, or with a wrong MSS or length"]);
    // One without an end is waited for.
    let endless = |b: &mut Bench| {
        for _ in 0..63 {
            b.push_data(0, &frame(60), 4, 0);
        }
    };
    let mut bench = Bench::new("x710");
    bench.transmit_on(1);
    endless(&mut bench);
    bench.ring_tx(0);
    bench.run(20_000_000);
    bench.assert_clean();
}

/// Pages that a program maps hold nothing that the card moves: QTX_HEAD is elsewhere, and
/// a read of it is always answered.
#[test]
fn doorbell_pages_hold_tails_alone() {
    let (slot, _tap) = Engine::new(Drive::Manual).plug(&"x710".parse::<Spec>().unwrap()).unwrap();
    let mut tails = 0;
    for page in slot.doorbells() {
        for at in (page.offset..page.offset + 4096).step_by(4) {
            let Some(name) = slot.with(|card| card.model().register_name(page.bar, at)).unwrap() else { continue };
            assert!(name.starts_with("QTX_TAIL(") || name.starts_with("QRX_TAIL("), "{at:#x}: {name}");
            tails += 1;
        }
    }
    assert!(tails >= 2 * 128, "{tails}");
}
