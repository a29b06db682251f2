//! What a card is asked to do to a frame that it sends.

/// What a card is asked to do to a frame it sends. Lengths in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Length of the Ethernet header with any VLAN tags, at most 127.
    pub l2_len: u8,
    /// Length of the IP header with options or extensions, at most 511.
    pub l3_len: u16,
    /// Fill in the IPv4 header checksum.
    pub ip_checksum: bool,
    /// Fill in the transport checksum; the field must hold the checksum of the
    /// pseudo-header.
    pub l4_checksum: Option<L4>,
    /// The packet is IPv6.
    pub ipv6: bool,
    /// Put this VLAN tag control information into the frame.
    pub vlan: Option<u16>,
}

/// A transport protocol whose checksum a card can fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4 {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Offload {
    /// In one word, for an [`Entry`](super::Entry).
    pub(super) fn pack(self) -> u64 {
        let l4 = match self.l4_checksum {
            None => 0,
            Some(L4::Tcp) => 1,
            Some(L4::Udp) => 2,
            Some(L4::Sctp) => 3,
        };
        u64::from(self.l2_len & 0x7f)
            | u64::from(self.l3_len & 0x1ff) << 8
            | u64::from(self.ip_checksum) << 20
            | u64::from(self.ipv6) << 21
            | l4 << 22
            | self.vlan.map_or(0, |tci| 1 << 24 | u64::from(tci) << 32)
    }

    /// What [`Offload::pack`] made a word of.
    pub(super) fn unpack(word: u64) -> Self {
        Offload {
            l2_len: (word & 0x7f) as u8,
            l3_len: (word >> 8 & 0x1ff) as u16,
            ip_checksum: word >> 20 & 1 != 0,
            ipv6: word >> 21 & 1 != 0,
            l4_checksum: match word >> 22 & 3 {
                1 => Some(L4::Tcp),
                2 => Some(L4::Udp),
                3 => Some(L4::Sctp),
                _ => None,
            },
            vlan: (word >> 24 & 1 != 0).then_some((word >> 32) as u16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offload_survives_its_word() {
        let all = Offload {
            l2_len: 18,
            l3_len: 60,
            ip_checksum: true,
            l4_checksum: Some(L4::Udp),
            ipv6: false,
            vlan: Some(0xefff),
        };
        let sctp = Offload { l4_checksum: Some(L4::Sctp), ipv6: true, l3_len: 511, l2_len: 127, ..Offload::default() };
        for offload in [all, sctp, Offload::default(), Offload { vlan: Some(0), ..all }] {
            assert_eq!(Offload::unpack(offload.pack()), offload);
        }
    }
}
