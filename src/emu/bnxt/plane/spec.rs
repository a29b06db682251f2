//! Requests that make and change objects of the data plane, taken apart. They are
//! whole requests: the first 16 bytes are the header. What a sender left out is zero.

use super::super::super::bytes::{field, u16_at, u32_at, u64_at};
use crate::dma::Iova;

/// Kinds of rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingKind {
    /// Completions, type 0.
    Completion,
    /// Transmit, type 1.
    Transmit,
    /// Receive, type 2; on P4 aggregation rings too.
    Receive,
    /// Aggregation, type 4 (P5).
    Aggregation,
    /// Notifications, type 5 (P5).
    Notification,
}

impl RingKind {
    /// By the number in a request.
    pub fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => RingKind::Completion,
            1 => RingKind::Transmit,
            2 => RingKind::Receive,
            4 => RingKind::Aggregation,
            5 => RingKind::Notification,
            _ => return None,
        })
    }
}

/// RING_ALLOC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSpec {
    /// What kind of ring; none that is known.
    pub kind: Option<RingKind>,
    /// Which fields count.
    pub enables: u32,
    /// TX_PKT_TS_CMPL is 8.
    pub flags: u16,
    /// Where the ring is, or the table of its pages.
    pub address: Iova,
    /// Logarithm of the size of a page.
    pub page_size: u8,
    /// Levels of tables.
    pub depth: u8,
    /// Entries.
    pub length: u32,
    /// Doorbell slot and vector.
    pub logical_id: u16,
    /// Completion queue.
    pub cq: u16,
    /// Queue of the scheduler.
    pub queue: u16,
    /// Size of receive buffers.
    pub buffer: u16,
    /// Receive ring that an aggregation ring belongs to.
    pub rx_ring: u16,
    /// Notification queue.
    pub nq: u16,
    /// Statistics context.
    pub stat: u32,
    /// How it tells that there is something: 2 is MSI-X, 3 is not at all.
    pub interrupt: u8,
    /// What notifications say in place of the id.
    pub handle: u64,
}

impl RingSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        RingSpec {
            enables: u32_at(request, 0x10),
            kind: RingKind::of(field::<1>(request, 0x14)[0]),
            flags: u16_at(request, 0x16),
            address: u64_at(request, 0x18),
            page_size: field::<1>(request, 0x24)[0],
            depth: field::<1>(request, 0x25)[0],
            length: u32_at(request, 0x28),
            logical_id: u16_at(request, 0x2c),
            cq: u16_at(request, 0x2e),
            queue: u16_at(request, 0x30),
            buffer: u16_at(request, 0x32),
            rx_ring: u16_at(request, 0x34),
            nq: u16_at(request, 0x36),
            stat: u32_at(request, 0x40),
            interrupt: field::<1>(request, 0x4c)[0],
            handle: u64_at(request, 0x50),
        }
    }
}

/// RING_GRP_ALLOC (P4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// Completion queue.
    pub cq: u16,
    /// Receive ring.
    pub rx: u16,
    /// Aggregation ring; 0xffff is none.
    pub agg: u16,
    /// Statistics context; 0xffff is none.
    pub stat: u16,
}

impl GroupSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        let word = |at| u16_at(request, at);
        GroupSpec { cq: word(0x10), rx: word(0x12), agg: word(0x14), stat: word(0x16) }
    }
}

/// VNIC_CFG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VnicSpec {
    /// VLAN_STRIP is 2.
    pub flags: u32,
    /// Which fields count.
    pub enables: u32,
    /// Which VNIC.
    pub vnic: u16,
    /// Ring group of frames that are not spread.
    pub group: u16,
    /// RSS context.
    pub rss: u16,
    /// Class-of-service context, loopback context: echoed, of no effect.
    pub cos: u16,
    /// See `cos`.
    pub lb: u16,
    /// Longest frame.
    pub mru: u16,
    /// Receive ring and completion queue of frames that are not spread (P5).
    pub rx: u16,
    /// See `rx`.
    pub cq: u16,
}

impl VnicSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        let word = |at| u16_at(request, at);
        VnicSpec {
            flags: u32_at(request, 0x10),
            enables: u32_at(request, 0x14),
            vnic: word(0x18),
            group: word(0x1a),
            rss: word(0x1c),
            cos: word(0x1e),
            lb: word(0x20),
            mru: word(0x22),
            rx: word(0x24),
            cq: word(0x26),
        }
    }
}

/// VNIC_RSS_CFG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RssSpec {
    /// What is hashed.
    pub types: u32,
    /// Which VNIC.
    pub vnic: u16,
    /// Which of a VNIC's tables (P5).
    pub pair: u8,
    /// Ring groups, or pairs of rings.
    pub table: Iova,
    /// Key of 40 bytes.
    pub key: Iova,
    /// RSS context.
    pub context: u16,
}

impl RssSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        RssSpec {
            types: u32_at(request, 0x10),
            vnic: u16_at(request, 0x14),
            pair: field::<1>(request, 0x16)[0],
            table: u64_at(request, 0x18),
            key: u64_at(request, 0x20),
            context: u16_at(request, 0x28),
        }
    }
}

/// How frames are placed in buffers: VNIC_PLCMODES_CFG and QCFG.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// REGULAR 1, JUMBO 2, HDS_IPV4 4, HDS_IPV6 8.
    pub flags: u32,
    /// Longer frames go on in aggregation buffers.
    pub jumbo: u16,
    /// Where headers are split.
    pub hds_offset: u16,
    /// From which length on.
    pub hds_threshold: u16,
}

/// CFA_L2_FILTER_ALLOC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L2Spec {
    /// PATH_RX 1, LOOPBACK 2, DROP 4.
    pub flags: u32,
    /// Which fields count.
    pub enables: u32,
    /// Destination address and which of its bits count.
    pub address: [u8; 6],
    /// See `address`.
    pub mask: [u8; 6],
    /// Outer tag and which of its bits count.
    pub vlan: u16,
    /// See `vlan`.
    pub vlan_mask: u16,
    /// Inner tag and which of its bits count.
    pub inner: u16,
    /// See `inner`.
    pub inner_mask: u16,
    /// VNIC.
    pub vnic: u16,
}

impl L2Spec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        L2Spec {
            flags: u32_at(request, 0x10),
            enables: u32_at(request, 0x14),
            address: field(request, 0x18),
            mask: field(request, 0x20),
            vlan: u16_at(request, 0x26),
            vlan_mask: u16_at(request, 0x28),
            inner: u16_at(request, 0x2a),
            inner_mask: u16_at(request, 0x2c),
            vnic: u16_at(request, 0x4e),
        }
    }
}

/// CFA_L2_SET_RX_MASK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskSpec {
    /// VNIC.
    pub vnic: u16,
    /// MCAST 2, ALL_MCAST 4, BCAST 8, PROMISC 16.
    pub mask: u32,
    /// Multicast addresses, 6 bytes each.
    pub table: Iova,
    /// How many.
    pub count: u32,
}

impl MaskSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        MaskSpec {
            vnic: u32_at(request, 0x10) as u16,
            mask: u32_at(request, 0x14),
            table: u64_at(request, 0x18),
            count: u32_at(request, 0x20),
        }
    }
}

/// CFA_NTUPLE_FILTER_ALLOC. Addresses, ports and EtherType are in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtupleSpec {
    /// DROP 2, DEST_RFS_RING_IDX 0x20.
    pub flags: u32,
    /// Which fields count.
    pub enables: u32,
    /// L2 filter that it refines.
    pub l2: u64,
    /// Source address of the frame.
    pub source: [u8; 6],
    /// EtherType.
    pub ethertype: [u8; 2],
    /// 4 or 6.
    pub address_type: u8,
    /// Protocol above IP.
    pub protocol: u8,
    /// VNIC, or on P5 with the flag the place in the RSS table.
    pub vnic: u16,
    /// Place in the RSS table.
    pub ring: u16,
    /// IP addresses and which of their bits count.
    pub source_ip: [[u8; 16]; 2],
    /// See `source_ip`.
    pub destination_ip: [[u8; 16]; 2],
    /// Ports and which of their bits count.
    pub source_port: [[u8; 2]; 2],
    /// See `source_port`.
    pub destination_port: [[u8; 2]; 2],
}

impl NtupleSpec {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        let byte = |at| field::<1>(request, at)[0];
        NtupleSpec {
            flags: u32_at(request, 0x10),
            enables: u32_at(request, 0x14),
            l2: u64_at(request, 0x18),
            source: field(request, 0x20),
            ethertype: field(request, 0x26),
            address_type: byte(0x28),
            protocol: byte(0x29),
            vnic: u16_at(request, 0x2a),
            ring: u16_at(request, 0x2c),
            source_ip: [field(request, 0x30), field(request, 0x40)],
            destination_ip: [field(request, 0x50), field(request, 0x60)],
            source_port: [field(request, 0x70), field(request, 0x72)],
            destination_port: [field(request, 0x74), field(request, 0x76)],
        }
    }
}

/// RING_CMPL_RING_CFG_AGGINT_PARAMS: how long completions and interrupts wait for
/// company, in units of 80 ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coalescing {
    /// Completion queue, or notification queue.
    pub ring: u16,
    /// TIMER_RESET 1, RING_IDLE 2, IS_NQ 4.
    pub flags: u16,
    /// Which fields count (P5).
    pub enables: u16,
    /// Completions that are written together, and while an interrupt is under way.
    pub count: [u16; 2],
    /// How long the first one waits, and while an interrupt is under way.
    pub timer: [u16; 2],
    /// Least and longest wait for an interrupt.
    pub latency: [u16; 2],
    /// Completions that share an interrupt.
    pub interrupt: u16,
}

impl Coalescing {
    /// Takes a request apart.
    pub fn of(request: &[u8]) -> Self {
        let word = |at| u16_at(request, at);
        Coalescing {
            ring: word(0x10),
            flags: word(0x12),
            count: [word(0x14), word(0x16)],
            timer: [word(0x18), word(0x1a)],
            latency: [word(0x1c), word(0x1e)],
            interrupt: word(0x20),
            enables: word(0x22),
        }
    }
}
