//! What a card finds out about a received frame: its type, checksums, tag, and
//! whether it is a message of PTP.

use super::super::super::frame::{L4, Parsed, Verdict};
use super::record::{self, Received};

/// TPIDs by the number in an extension of a transmit descriptor; tags with one of the
/// first are taken off.
pub const TPIDS: [u16; 5] = [0x88a8, 0x8100, 0x9100, 0x9200, 0x9300];
const TAKEN_OFF: usize = 3;

/// TPID and TCI of the outer tag.
#[inline]
pub fn tag(frame: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *frame.get(12..16)?.first_chunk()?;
    let tpid = u16::from_be_bytes([a, b]);
    TPIDS[..TAKEN_OFF].contains(&tpid).then_some((tpid, u16::from_be_bytes([c, d])))
}

/// The sequence number of an event message of PTP.
pub fn ptp(frame: &[u8], headers: &Parsed) -> Option<u16> {
    const ETHERTYPE: u16 = 0x88f7;
    const EVENT_PORT: u16 = 319;
    let udp = headers.l4 == Some(L4::Udp) && headers.ports(frame).is_some_and(|(_, to)| to == EVENT_PORT);
    let at = match headers.ethertype {
        ETHERTYPE => headers.l3_at,
        _ if udp => headers.l4_at + 8,
        _ => return None,
    };
    let message = frame.get(at..at + 34).filter(|message| message[0] & 0xf < 8)?;
    Some(u16::from_be_bytes([message[30], message[31]]))
}

/// What a completion says of a frame's headers and checksums.
#[inline]
pub fn describe(frame: &[u8], headers: &Parsed) -> Received {
    let itype = match (headers.l3, headers.l4, headers.protocol) {
        (None, ..) if headers.ethertype == 0x8906 => 4,
        (None, ..) if headers.ethertype == 0x88f7 => 8,
        (None, ..) => 0,
        (_, Some(L4::Tcp), _) => 2,
        (_, Some(L4::Udp), _) => 3,
        (_, _, Some(1 | 58)) => 7,
        _ => 1,
    };
    let (mut checked, mut errors) = (0, 0);
    let ip = headers.ip_checksum(frame);
    if ip != Verdict::None {
        checked |= record::RX_IP_CHECKED;
    }
    if ip == Verdict::Bad {
        errors |= record::RX_IP_CHECKSUM;
    }
    if matches!(headers.l4, Some(L4::Tcp | L4::Udp)) {
        let l4 = headers.l4_checksum(frame);
        if l4 != Verdict::None {
            checked |= record::RX_L4_CHECKED;
        }
        if l4 == Verdict::Bad {
            errors |= record::RX_L4_CHECKSUM;
        }
    }
    Received { itype, checked, errors, ..Received::default() }
}
