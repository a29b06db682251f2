//! Which frames are received, and by which queue (82599 §7.1.1, §7.1.2).
//!
//! ```text
//!   length, MAC address, VLAN --> EtherType --> 5-tuple --> flow director --> RSS --> queue 0
//!            drop                    first match decides, the rest is skipped
//! ```
//!
//! The registers are read into this form when they change, not for each frame.

use super::super::frame::{L3, L4, Parsed, Toeplitz};
use super::super::{RegisterFile, Row};
use super::fdir::{Directed, FlowDirector};
use super::{Ixgbe, Kind, regs};

/// What the filters are set to.
#[derive(Default)]
pub struct Filters {
    unicast_all: bool,
    multicast_all: bool,
    broadcast: bool,
    /// Exact addresses (RAL, RAH with AV), as little-endian numbers.
    addresses: Vec<u64>,
    /// The hash tables for multicast and unicast, and where their 12 bits lie.
    multicast: Option<Box<[u32; 128]>>,
    unicast: Option<Box<[u32; 128]>>,
    hash_shift: u32,
    /// The table of VLANs to receive.
    /// VET, and which VLANs are received.
    vlans: Option<(u16, Box<[u32; 128]>)>,
    ether_types: Vec<EtherType>,
    tuples: Vec<Tuple>,
    /// RSS is on.
    rss: Option<Rss>,
    /// The hash, not the packet checksum, goes into the descriptor (PCSD).
    pub hash_in_descriptor: bool,
}

struct EtherType {
    ethertype: u16,
    index: u8,
    /// IEEE 1588 packets.
    pub time: bool,
    queue: Option<u16>,
}

/// One 5-tuple filter.
struct Tuple {
    /// Higher first, then the lower number.
    priority: u32,
    src: Option<[u8; 4]>,
    dst: Option<[u8; 4]>,
    sport: Option<[u8; 2]>,
    dport: Option<[u8; 2]>,
    /// None inside: none of those that are known.
    protocol: Option<Option<L4>>,
    queue: u16,
}

struct Rss {
    fields: u32,
    toeplitz: Toeplitz,
    table: Vec<u8>,
}

/// Where a frame goes, and what its descriptor says of why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Receive queue.
    pub queue: u16,
    /// RSS type; 0 is no hash.
    pub rss_type: u8,
    /// RSS hash.
    pub hash: u32,
    /// Number of the EtherType filter that matched.
    pub ether_type: Option<u8>,
    /// An IEEE 1588 packet by its EtherType.
    pub time: bool,
    /// The flow director matched: soft id and bucket.
    pub directed: Option<(u16, u16)>,
    /// A five-tuple filter matched.
    pub steered: bool,
    /// The flow director drops it.
    pub drop: bool,
}

impl Filters {
    /// What the registers say. `old` is reused where nothing changed.
    pub fn load(regs: &RegisterFile<Ixgbe>, kind: Kind, old: Option<Self>) -> Self {
        let fctrl = regs.peek(regs::FCTRL.at);
        let vlnctrl = regs.peek(regs::VLNCTRL.at);
        let mcst = regs.peek(regs::MCSTCTRL.at);
        let table = |row: &Row<Ixgbe>| {
            let mut table = Box::new([0; 128]);
            table.iter_mut().zip(0..).for_each(|(word, n)| *word = regs.peek(row.nth(n)));
            table
        };
        let hashed = mcst & 4 != 0;
        let mut tuples: Vec<_> = (0..128).filter_map(|n| Tuple::load(regs, n)).collect();
        tuples.sort_by_key(|tuple| std::cmp::Reverse(tuple.priority));
        Filters {
            unicast_all: fctrl & 0x200 != 0,
            multicast_all: fctrl & 0x100 != 0,
            broadcast: fctrl & 0x400 != 0,
            addresses: (0..128).filter_map(|n| address(regs, n)).collect(),
            multicast: hashed.then(|| table(&regs::MTA)),
            unicast: hashed.then(|| table(&regs::UTA)),
            hash_shift: 36 - (mcst & 3),
            vlans: (vlnctrl & 1 << 30 != 0).then(|| (vlnctrl as u16, table(&regs::VFTA))),
            ether_types: (0..8).filter_map(|n| EtherType::load(regs, n)).collect(),
            tuples,
            rss: Rss::load(regs, kind, old.and_then(|old| old.rss)),
            hash_in_descriptor: regs.peek(regs::RXCSUM.at) & 0x2000 != 0,
        }
    }

    /// Whether a frame for this address is received (§7.1.1.1).
    #[inline]
    pub fn accepts_address(&self, frame: &[u8]) -> bool {
        let Some(bytes) = frame.get(..6) else { return false };
        let mut word = [0; 8];
        word[..6].copy_from_slice(bytes);
        let address = u64::from_le_bytes(word);
        let hashed = |table: &Option<Box<[u32; 128]>>| {
            let Some(table) = table else { return false };
            let hash = (address >> self.hash_shift) as usize & 0xfff;
            table[hash >> 5] >> (hash & 31) & 1 == 1
        };
        if address & 1 == 0 {
            self.unicast_all || self.addresses.contains(&address) || hashed(&self.unicast)
        } else if address == 0xffff_ffff_ffff {
            self.broadcast || self.addresses.contains(&address)
        } else {
            self.multicast_all || self.addresses.contains(&address) || hashed(&self.multicast)
        }
    }

    /// Whether its VLAN is received (§7.4.3): with the filter on, frames with a tag of the
    /// EtherType in VET need their bit in VFTA. Others pass.
    #[inline]
    pub fn accepts_vlan(&self, frame: &[u8]) -> bool {
        let Some((ether_type, table)) = &self.vlans else { return true };
        match frame.get(12..16) {
            Some(&[a, b, c, d]) if u16::from_be_bytes([a, b]) == *ether_type => {
                let id = usize::from(u16::from_be_bytes([c, d]) & 0xfff);
                table[id >> 5] >> (id & 31) & 1 == 1
            }
            _ => true,
        }
    }

    /// The queue of the last five-tuple filter, if there is one.
    pub fn steered_to(&self) -> Option<u16> {
        self.tuples.last().map(|tuple| tuple.queue)
    }

    /// The queue of a frame that is received (§7.1.2).
    #[inline]
    pub fn route(&self, frame: &[u8], headers: &Parsed, director: &mut FlowDirector) -> Route {
        let mut route = Route::default();
        if let Some(rss) = &self.rss {
            (route.rss_type, route.hash) = rss.hash(frame, headers);
        }
        if !self.ether_types.is_empty()
            && let Some(filter) = self.ether_types.iter().find(|f| f.ethertype == headers.ethertype)
        {
            (route.ether_type, route.time) = (Some(filter.index), filter.time);
            if let Some(queue) = filter.queue {
                return Route { queue, ..route };
            }
        }
        if !self.tuples.is_empty()
            && matches!(headers.l3, Some(L3::V4 { .. }))
            && let Some(tuple) = self.tuples.iter().find(|tuple| tuple.matches(frame, headers))
        {
            return Route { queue: tuple.queue, steered: true, ..route };
        }
        if director.on() {
            match director.look_up(frame, headers) {
                Some(Directed::Drop) => return Route { drop: true, ..route },
                Some(Directed::To { queue, id, bucket }) => {
                    return Route { queue, directed: Some((id, bucket)), ..route };
                }
                None => {}
            }
        }
        if let Some(rss) = &self.rss
            && route.rss_type != 0
        {
            route.queue = u16::from(rss.table[route.hash as usize & (rss.table.len() - 1)]);
        }
        route
    }
}

/// An exact address, if its valid bit is set.
fn address(regs: &RegisterFile<Ixgbe>, n: u32) -> Option<u64> {
    let high = regs.peek(regs::RAH.nth(n));
    (high >> 31 == 1).then(|| u64::from(regs.peek(regs::RAL.nth(n))) | u64::from(high & 0xffff) << 32)
}

impl EtherType {
    fn load(regs: &RegisterFile<Ixgbe>, n: u32) -> Option<Self> {
        let (filter, select) = (regs.peek(regs::ETQF.nth(n)), regs.peek(regs::ETQS.nth(n)));
        (filter >> 31 == 1).then(|| EtherType {
            ethertype: filter as u16,
            index: n as u8,
            time: filter >> 30 & 1 == 1,
            queue: (select >> 31 == 1).then_some((select >> 16 & 0x7f) as u16),
        })
    }
}

impl Tuple {
    /// FTQF: a set mask bit leaves the field out (§8.2.3.7.16 to .20).
    fn load(regs: &RegisterFile<Ixgbe>, n: u32) -> Option<Self> {
        let at = |row: &Row<Ixgbe>| regs.peek(row.nth(n));
        let ftqf = at(&regs::FTQF);
        let wanted = |bit: u32| ftqf >> bit & 1 == 0;
        let ports = at(&regs::SDPQF).to_le_bytes();
        (ftqf >> 31 == 1).then(|| Tuple {
            priority: ftqf >> 2 & 7,
            src: wanted(25).then(|| at(&regs::SAQF).to_le_bytes()),
            dst: wanted(26).then(|| at(&regs::DAQF).to_le_bytes()),
            sport: wanted(27).then_some([ports[0], ports[1]]),
            dport: wanted(28).then_some([ports[2], ports[3]]),
            protocol: wanted(29).then(|| [Some(L4::Tcp), Some(L4::Udp), Some(L4::Sctp), None][(ftqf & 3) as usize]),
            queue: (at(&regs::L34T_IMIR) >> 21 & 0x7f) as u16,
        })
    }

    fn matches(&self, frame: &[u8], headers: &Parsed) -> bool {
        let addresses = headers.address_bytes(frame);
        let ports = headers.port_bytes(frame);
        self.src.is_none_or(|src| addresses[..4] == src)
            && self.dst.is_none_or(|dst| addresses[4..] == dst)
            && self.sport.is_none_or(|port| ports.get(..2) == Some(&port))
            && self.dport.is_none_or(|port| ports.get(2..) == Some(&port))
            && self.protocol.is_none_or(|protocol| headers.l4 == protocol)
    }
}

impl Rss {
    fn load(regs: &RegisterFile<Ixgbe>, kind: Kind, old: Option<Self>) -> Option<Self> {
        let mrqc = regs.peek(regs::MRQC.at);
        if !matches!(mrqc & 0xf, 1 | 4 | 5 | 0xa | 0xb) {
            return None;
        }
        let mut key = [0; 40];
        for (bytes, n) in key.chunks_exact_mut(4).zip(0..) {
            bytes.copy_from_slice(&regs.peek(regs::RSSRK.nth(n)).to_le_bytes());
        }
        // X550: 512 entries of 6 bits; before, 128 of 4.
        let x550 = kind == Kind::X550;
        let more = if x550 { 96 } else { 0 };
        let words = (0..32).map(|n| regs::RETA.nth(n)).chain((0..more).map(|n| regs::ERETA.nth(n)));
        let mask = if x550 { 0x3f } else { 0x0f };
        let table = words.flat_map(|at| regs.peek(at).to_le_bytes()).map(|entry| entry & mask).collect();
        let toeplitz = match old {
            Some(old) if *old.toeplitz.key() == key => old.toeplitz,
            _ => Toeplitz::new(key),
        };
        Some(Rss { fields: mrqc, toeplitz, table })
    }

    /// RSS type and hash of a frame (§7.1.2.8.1): the most that is enabled.
    #[inline]
    fn hash(&self, frame: &[u8], headers: &Parsed) -> (u8, u32) {
        // Bits of MRQC: TCP, UDP and addresses alone; the types of each.
        let (tcp, udp, ip, types) = match headers.l3 {
            Some(L3::V4 { .. }) => (1 << 16, 1 << 22, 1 << 17, [1, 7, 2]),
            Some(L3::V6 { .. }) => (1 << 21, 1 << 23, 1 << 20, [3, 8, 5]),
            None => return (0, 0),
        };
        let addresses = headers.address_bytes(frame);
        let rss_type = match headers.l4 {
            Some(L4::Tcp) if self.fields & tcp != 0 => types[0],
            Some(L4::Udp) if self.fields & udp != 0 => types[1],
            _ if self.fields & ip != 0 => return (types[2], self.toeplitz.hash(addresses, &[])),
            _ => return (0, 0),
        };
        (rss_type, self.toeplitz.hash(addresses, headers.port_bytes(frame)))
    }
}
