//! What a card would do to a frame that it sends, done here: the kernel's sockets take whole
//! frames.

use crate::dma::{Batch, L4, Offload, Span};
use crate::net::Sum;

/// Does what is asked for on the frame that starts in entry `first`, and forgets that it was
/// asked for. What does not fit the frame is left as it is.
#[cold]
pub fn fill(batch: &mut Batch<'_>, first: usize) {
    let Some(offload) = batch.offload(first) else { return };
    let span = batch.entries()[first].span;
    batch.entries_mut()[first].span = Span::new(span.start(), span.len(), span.continues());
    let Offload { l2_len, l3_len, ip_checksum, l4_checksum, vlan, .. } = offload;
    let (l3, l4) = (usize::from(l2_len), usize::from(l2_len) + usize::from(l3_len));
    let field = match l4_checksum {
        Some(L4::Tcp) => Some(l4 + 16),
        Some(L4::Udp) => Some(l4 + 6),
        // A CRC, which nothing here asks for.
        Some(L4::Sctp) | None => None,
    };
    if ip_checksum && let Some(header) = batch.frame_mut(first).get_mut(l3..l4).filter(|header| header.len() >= 20) {
        let checksum = Sum::of(header).checksum();
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    if let Some(field) = field
        && field + 2 <= batch.frame(first).len()
    {
        let checksum = match transport(batch, first, l4).checksum() {
            0 => 0xffff,
            checksum => checksum,
        };
        batch.frame_mut(first)[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    if let Some(tci) = vlan {
        batch.insert_tag(first, tci);
    }
}

/// The sum of the frame from byte `from` of its first entry to its end.
fn transport(batch: &Batch<'_>, first: usize, from: usize) -> Sum {
    let mut sum = Sum::default();
    let mut odd = false;
    for i in first..batch.len() {
        let bytes = if i == first { &batch.frame(i)[from..] } else { batch.frame(i) };
        let part = Sum::of(bytes);
        sum = sum.and(if odd { part.shifted() } else { part });
        odd ^= bytes.len() % 2 != 0;
        if !batch.continues(i) {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{Addressing, Pool};
    use crate::packet::complete;
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

    #[test]
    fn checksums_are_as_another_library_has_them_in_one_buffer_and_in_several() {
        let pool = Pool::new(64, Addressing::Translated).unwrap();
        for len in [0, 33, 1_400, 5_001] {
            let payload: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let mut right = Vec::new();
            let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9);
            builder.udp(1_000, 2_000).write(&mut right, &payload).unwrap();
            let mut batch = Batch::new(&pool);
            assert!(batch.push_frame(&right));
            let offload = complete::ask(batch.frame_mut(0), right.len()).unwrap();
            batch.set_offload(0, offload);
            assert_ne!(batch.frames().flatten().copied().collect::<Vec<u8>>(), right, "cleared first");
            fill(&mut batch, 0);
            let filled: Vec<u8> = batch.frames().flatten().copied().collect();
            assert_eq!(filled, right, "{len}");
            assert_eq!(batch.offload(0), None, "a second time it would be wrong");
            let packet = SlicedPacket::from_ethernet(&filled).unwrap();
            assert!(matches!(packet.transport, Some(TransportSlice::Udp(_))));
        }
    }
}
