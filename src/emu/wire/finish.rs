//! What the kernel left undone: a frame that it hands out locally is not yet
//! one that can be on a wire.
//!
//! Between a network stack and a virtual interface checksums are left open and
//! TCP segments are up to 64 KiB long, for hardware to finish. A wire carries
//! finished frames only, so this does what the hardware would: splits, fills
//! checksums in, puts the VLAN tag back, and pads to 60 bytes.

use super::MIN_FRAME;
use crate::emu::frame::sum;
use crate::emu::segment::{Layout, Transport, insert_vlan, split};
use crate::sys::packet::{Offloads, Received};

/// `VIRTIO_NET_HDR_GSO_*` (linux/virtio_net.h).
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// Flag in the same byte: the flow uses ECN.
const GSO_ECN: u8 = 0x80;

/// Turns what was received into frames as they are on a wire. `None` if the
/// kernel's description does not fit the frame, or is of a kind that no card does.
pub(super) fn finish(frame: &mut Vec<u8>, received: &Received, mut wire: impl FnMut(&[u8])) -> Option<()> {
    let offloads = received.offloads;
    let mut deliver = |frame: &mut Vec<u8>| -> Option<()> {
        if let Some((kind, tag)) = received.vlan {
            insert_vlan(frame, kind, tag)?;
        }
        if frame.len() < MIN_FRAME {
            frame.resize(MIN_FRAME, 0);
        }
        wire(frame);
        Some(())
    };
    if offloads.gso != 0 {
        let mut result = Some(());
        segment(frame, offloads, |part| {
            let mut part = part.to_vec();
            result = result.and_then(|()| deliver(&mut part));
        })?;
        return result;
    }
    if offloads.checksum {
        fill_checksum(frame, offloads)?;
    }
    deliver(frame)
}

/// Sums from where the kernel says to the end; the field holds the
/// pseudo-header's part.
fn fill_checksum(frame: &mut [u8], offloads: Offloads) -> Option<()> {
    let data = frame.get_mut(usize::from(offloads.checksum_start)..)?;
    let at = usize::from(offloads.checksum_offset);
    data.get(at..at + 2)?;
    // A UDP checksum of 0 would mean none; TCP does not mind 0xffff for 0.
    let checksum = match !sum(data, 0) {
        0 => 0xffff,
        checksum => checksum,
    };
    data[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

fn segment(frame: &mut [u8], offloads: Offloads, wire: impl FnMut(&[u8])) -> Option<()> {
    let l4_at = usize::from(offloads.checksum_start);
    let l3_at = network_header(frame)?;
    let ipv6 = frame.get(l3_at)? >> 4 == 6;
    let (transport, l4_header, checksum_at) = match offloads.gso & !GSO_ECN {
        GSO_TCPV4 | GSO_TCPV6 => (Transport::Tcp, usize::from(frame.get(l4_at + 12)? >> 4) * 4, l4_at + 16),
        GSO_UDP_L4 => (Transport::Udp, 8, l4_at + 6),
        _ => return None,
    };
    // The kernel's part has the length of the whole; a part's own takes its place.
    let field = frame.get(checksum_at..checksum_at + 2)?;
    let whole = (frame.len() - l4_at) as u32;
    let pseudo = sum(field, u32::from(!(whole as u16)));
    frame[checksum_at..checksum_at + 2].copy_from_slice(&pseudo.to_be_bytes());
    let layout = Layout { l3_at, l4_at, ipv6 };
    split(frame, layout, transport, l4_at + l4_header, usize::from(offloads.gso_size), wire).map(drop)
}

/// Where the network header begins: behind the addresses, the tags and the type.
fn network_header(frame: &[u8]) -> Option<usize> {
    let mut at = 12;
    while matches!(frame.get(at..at + 2)?, [0x81, 0] | [0x88, 0xa8]) {
        at += 4;
    }
    Some(at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, SlicedPacket, TcpHeader, TransportSlice};
    use proptest::prelude::*;

    fn all(frame: &[u8], received: &Received) -> Option<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        finish(&mut frame.to_vec(), received, |frame| frames.push(frame.to_vec()))?;
        Some(frames)
    }

    /// A TCP frame as the stack hands it out: the checksum is the pseudo-header's.
    fn unfinished(ipv6: bool, payload: &[u8]) -> (Vec<u8>, Offloads) {
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = if ipv6 { ethernet.ipv6([1; 16], [2; 16], 9) } else { ethernet.ipv4([10, 0, 0, 1], [10, 9, 8, 7], 9) };
        let mut frame = Vec::new();
        ip.tcp(1000, 2000, 77, 512).psh().write(&mut frame, payload).unwrap();
        let l4 = if ipv6 { 54 } else { 34 };
        let addresses = if ipv6 { &frame[22..54] } else { &frame[26..34] };
        let pseudo = sum(addresses, 6 + (frame.len() - l4) as u32);
        frame[l4 + 16..l4 + 18].copy_from_slice(&pseudo.to_be_bytes());
        let offloads = Offloads { checksum: true, gso: 0, gso_size: 0, checksum_start: l4 as u16, checksum_offset: 16 };
        (frame, offloads)
    }

    fn tcp(frame: &[u8]) -> (TcpHeader, Vec<u8>) {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("not TCP") };
        let header = tcp.to_header();
        let checksum = match packet.net.unwrap() {
            etherparse::NetSlice::Ipv4(ip) => {
                assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
                header.calc_checksum_ipv4(&ip.header().to_header(), tcp.payload()).unwrap()
            }
            etherparse::NetSlice::Ipv6(ip) => {
                header.calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()).unwrap()
            }
            etherparse::NetSlice::Arp(_) => panic!("ARP"),
        };
        assert_eq!(header.checksum, checksum);
        (header, tcp.payload().to_vec())
    }

    #[test]
    fn an_open_checksum_is_filled_in() {
        for ipv6 in [false, true] {
            let (frame, offloads) = unfinished(ipv6, b"some payload");
            let frames = all(&frame, &Received { offloads, ..Received::default() }).unwrap();
            assert_eq!(tcp(&frames[0]).1[..12], *b"some payload");
        }
    }

    #[test]
    fn a_super_frame_becomes_frames_that_another_parser_accepts() {
        for ipv6 in [false, true] {
            let payload: Vec<_> = (0..40_000_u32).map(|n| n as u8).collect();
            let (frame, offloads) = unfinished(ipv6, &payload);
            let gso = if ipv6 { GSO_TCPV6 } else { GSO_TCPV4 };
            let offloads = Offloads { gso: gso | GSO_ECN, gso_size: 1448, ..offloads };
            let frames = all(&frame, &Received { offloads, ..Received::default() }).unwrap();
            assert_eq!(frames.len(), 40_000_usize.div_ceil(1448));
            let mut received = Vec::new();
            for frame in &frames {
                let (header, part) = tcp(frame);
                assert_eq!(header.sequence_number as usize, 77 + received.len());
                received.extend(part);
            }
            assert_eq!(received, payload);
        }
    }

    #[test]
    fn a_short_frame_is_padded_and_a_tag_put_back() {
        let frame = [[0xff; 6], [2; 6]].concat();
        let frame = [&frame[..], &[8, 6], &[7; 28]].concat();
        let received = Received { vlan: Some((0x8100, 0x2005)), ..Received::default() };
        let frames = all(&frame, &received).unwrap();
        assert_eq!(frames[0].len(), 60);
        assert_eq!(frames[0][12..18], [0x81, 0, 0x20, 5, 8, 6]);
    }

    proptest! {
        #[test]
        fn nothing_the_kernel_could_say_brings_it_down(
            frame in prop::collection::vec(any::<u8>(), 0..200),
            checksum in any::<bool>(),
            gso in any::<u8>(),
            sizes in any::<[u8; 3]>(),
            vlan in prop::option::of(any::<(u16, u16)>()),
        ) {
            let [gso_size, checksum_start, checksum_offset] = sizes.map(u16::from);
            let offloads = Offloads { checksum, gso, gso_size, checksum_start, checksum_offset };
            let _ = all(&frame, &Received { len: frame.len(), offloads, vlan, outgoing: false });
        }
    }
}
