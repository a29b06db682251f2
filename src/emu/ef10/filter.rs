//! Which queues a received frame goes to: filters, and spreading over queues.
//!
//! ```text
//!   frame --> the kind of filter that comes first in SUPPORTED and matches
//!               unicast: that filter        group addresses: all of that kind
//!               |
//!               v
//!             queue of the filter [+ table[Toeplitz hash & 127] of its RSS context]
//! ```

use super::super::frame::{L3, L4, Parsed, Toeplitz};
use super::bytes::{field, u32_at};
use std::collections::BTreeMap;

/// Fields that a filter may look at, as bits of its match mask.
const SRC_IP: u32 = 1 << 0;
const DST_IP: u32 = 1 << 1;
const SRC_PORT: u32 = 1 << 3;
const DST_MAC: u32 = 1 << 4;
const DST_PORT: u32 = 1 << 5;
const ETHER_TYPE: u32 = 1 << 6;
const OUTER_VLAN: u32 = 1 << 8;
const IP_PROTO: u32 = 1 << 9;
const UNKNOWN_MCAST: u32 = 1 << 30;
const UNKNOWN_UCAST: u32 = 1 << 31;

const FLOW: u32 = ETHER_TYPE | IP_PROTO;

/// The masks that can be used, the first that matches wins.
pub const SUPPORTED: [u32; 9] = [
    FLOW | SRC_IP | DST_IP | SRC_PORT | DST_PORT,
    FLOW | SRC_IP | DST_IP | DST_PORT,
    FLOW | DST_IP | DST_PORT,
    DST_MAC | OUTER_VLAN,
    DST_MAC,
    UNKNOWN_MCAST | OUTER_VLAN,
    UNKNOWN_UCAST | OUTER_VLAN,
    UNKNOWN_MCAST,
    UNKNOWN_UCAST,
];

/// Filters of a function.
const FILTERS: usize = 1024;

/// RSS contexts of a function.
const CONTEXTS: usize = 64;

/// Values of fields, in network order as they lie in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fields {
    src_ip: [u8; 16],
    dst_ip: [u8; 16],
    dst_mac: [u8; 6],
    src_port: [u8; 2],
    dst_port: [u8; 2],
    ether_type: [u8; 2],
    /// Without priority; 0 is no tag.
    outer_vlan: u16,
    protocol: u8,
}

/// A filter as FILTER_OP describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Match {
    /// Place in SUPPORTED.
    rank: usize,
    fields: Fields,
}

/// Where a filter sends its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    Drop,
    /// To this queue.
    Queue(u16),
    /// To a queue of this context, counted from this one.
    Spread(u16, u32),
}

#[derive(Debug)]
struct Filter {
    handle: u64,
    matching: Match,
    target: Target,
    exclusive: bool,
}

/// Why a filter was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No such kind of filter.
    Unsupported,
    /// Another has what this wants for itself.
    Taken,
    /// There are too many.
    Full,
}

/// All filters and RSS contexts of the function.
#[derive(Default)]
pub struct Filters {
    /// In the order in which they are asked.
    filters: Vec<Filter>,
    contexts: BTreeMap<u32, Context>,
    serial: u64,
}

/// How frames are spread.
pub struct Context {
    /// Queues it spreads over.
    pub queues: u32,
    /// By hash modulo queues, not by the table.
    pub even: bool,
    /// Offsets of queues, by the lower seven bits of the hash.
    pub table: [u8; 128],
    /// The key.
    pub toeplitz: Toeplitz,
    /// Which fields are hashed.
    pub flags: u32,
}

/// Flags of a new context: addresses, and ports of TCP.
const FLAGS: u32 = 0x33f3_3f0f;

impl Match {
    /// Takes FILTER_OP's input apart: what is not selected may hold anything.
    fn decode(input: &[u8]) -> Option<Self> {
        let mask = u32_at(input, 0x10);
        let rank = SUPPORTED.iter().position(|supported| *supported == mask)?;
        let on = |bit: u32| mask & bit != 0;
        let mut fields = Fields::default();
        if on(SRC_PORT) {
            fields.src_port = field(input, 0x32);
        }
        if on(DST_MAC) {
            fields.dst_mac = field(input, 0x34);
        }
        if on(DST_PORT) {
            fields.dst_port = field(input, 0x3a);
        }
        if on(ETHER_TYPE) {
            fields.ether_type = field(input, 0x3c);
        }
        if on(OUTER_VLAN) {
            fields.outer_vlan = u16::from_be_bytes(field(input, 0x40)) & 0xfff;
        }
        if on(IP_PROTO) {
            [fields.protocol] = field(input, 0x42);
        }
        if on(SRC_IP) {
            fields.src_ip = field(input, 0x4c);
        }
        if on(DST_IP) {
            fields.dst_ip = field(input, 0x5c);
        }
        Some(Match { rank, fields })
    }

    #[inline]
    fn matches(&self, frame: &Fields, ports: bool) -> bool {
        let (mask, own) = (SUPPORTED[self.rank], &self.fields);
        let on = |bit: u32| mask & bit != 0;
        (!on(DST_MAC) || own.dst_mac == frame.dst_mac)
            && (!on(UNKNOWN_UCAST) || frame.dst_mac[0] & 1 == 0)
            && (!on(UNKNOWN_MCAST) || frame.dst_mac[0] & 1 == 1)
            && (!on(OUTER_VLAN) || own.outer_vlan == frame.outer_vlan)
            && (!on(ETHER_TYPE) || own.ether_type == frame.ether_type)
            && (!on(IP_PROTO) || own.protocol == frame.protocol)
            && (!on(DST_IP) || own.dst_ip == frame.dst_ip)
            && (!on(DST_PORT) || ports && own.dst_port == frame.dst_port)
            && (!on(SRC_IP) || own.src_ip == frame.src_ip)
            && (!on(SRC_PORT) || ports && own.src_port == frame.src_port)
    }
}

impl Fields {
    /// The fields of a frame.
    #[inline]
    fn of(frame: &[u8], headers: &Parsed) -> Self {
        let mut fields = Fields {
            dst_mac: field(frame, 0),
            ether_type: headers.ethertype.to_be_bytes(),
            outer_vlan: headers.vlan.unwrap_or(0) & 0xfff,
            ..Fields::default()
        };
        let addresses = headers.address_bytes(frame);
        let (source, destination) = addresses.split_at(addresses.len() / 2);
        fields.src_ip[..source.len()].copy_from_slice(source);
        fields.dst_ip[..destination.len()].copy_from_slice(destination);
        if let [a, b, c, d] = *headers.port_bytes(frame) {
            (fields.src_port, fields.dst_port) = ([a, b], [c, d]);
        }
        fields.protocol = match (headers.l4, headers.l3) {
            (Some(L4::Tcp), _) => 6,
            (Some(L4::Udp), _) => 17,
            (Some(L4::Sctp), _) => 132,
            (None, Some(L3::V4 { .. })) => frame[headers.l3_at + 9],
            (None, _) => 0,
        };
        fields
    }
}

impl Filters {
    /// Adds a filter: alone in what it matches, or one of several; its handle.
    pub fn insert(&mut self, input: &[u8], target: Target, exclusive: bool) -> Result<u64, Refused> {
        let matching = Match::decode(input).ok_or(Refused::Unsupported)?;
        let same = |filter: &&Filter| filter.matching == matching;
        if self.filters.iter().filter(same).any(|filter| exclusive || filter.exclusive) {
            return Err(Refused::Taken);
        }
        if self.filters.len() >= FILTERS {
            return Err(Refused::Full);
        }
        self.serial += 1;
        let handle = self.serial | (matching.rank as u64) << 32;
        let at = self.filters.partition_point(|filter| filter.matching.rank <= matching.rank);
        self.filters.insert(at, Filter { handle, matching, target, exclusive });
        Ok(handle)
    }

    /// Takes a filter away; false if there is none of this handle.
    pub fn remove(&mut self, handle: u64) -> bool {
        let before = self.filters.len();
        self.filters.retain(|filter| filter.handle != handle);
        self.filters.len() != before
    }

    /// Gives a filter another target; false if there is none of this handle.
    pub fn redirect(&mut self, handle: u64, target: Target) -> bool {
        match self.filters.iter_mut().find(|filter| filter.handle == handle) {
            Some(filter) => {
                filter.target = target;
                true
            }
            None => false,
        }
    }

    /// A new context; its number, none if there are too many.
    pub fn allocate_context(&mut self, queues: u32, even: bool) -> Option<u32> {
        let id = (1..).find(|id| !self.contexts.contains_key(id)).filter(|id| *id <= CONTEXTS as u32)?;
        let toeplitz = Toeplitz::new([0; 40]);
        self.contexts.insert(id, Context { queues, even, table: [0; 128], toeplitz, flags: FLAGS });
        Some(id)
    }

    /// Takes a context away; false if there is none of this number.
    pub fn free_context(&mut self, id: u32) -> bool {
        self.contexts.remove(&id).is_some()
    }

    /// Whether filters spread by this context.
    pub fn context_in_use(&self, id: u32) -> bool {
        self.filters.iter().any(|filter| matches!(filter.target, Target::Spread(_, context) if context == id))
    }

    /// A context.
    pub fn context(&mut self, id: u32) -> Option<&mut Context> {
        self.contexts.get_mut(&id)
    }

    /// Finds the queues of a frame, each with the frame's hash, into `queues`.
    #[inline]
    pub fn route(&self, frame: &[u8], headers: &Parsed, queues: &mut Vec<(u16, u32)>) {
        queues.clear();
        let fields = Fields::of(frame, headers);
        let ports = headers.l4.is_some();
        let group = fields.dst_mac[0] & 1 == 1;
        let mut rank = usize::MAX;
        for filter in &self.filters {
            if filter.matching.rank > rank {
                break;
            }
            if !filter.matching.matches(&fields, ports) {
                continue;
            }
            rank = filter.matching.rank;
            match filter.target {
                Target::Drop => {}
                Target::Queue(queue) => queues.push((queue, 0)),
                Target::Spread(first, id) => {
                    if let Some(context) = self.contexts.get(&id) {
                        let (offset, hash) = context.spread(frame, headers);
                        queues.push((first + offset, hash));
                    }
                }
            }
            // A unicast frame is one receiver's, unless others subscribed to the same.
            if !group && filter.exclusive {
                break;
            }
        }
    }
}

impl Context {
    /// Offset of the frame's queue, and its hash.
    #[inline]
    fn spread(&self, frame: &[u8], headers: &Parsed) -> (u16, u32) {
        let hash = self.hash(frame, headers);
        let offset = match self.even {
            true => hash % self.queues.max(1),
            false => u32::from(self.table[hash as usize & 127]),
        };
        (offset as u16, hash)
    }

    /// The hash over the fields that the flags select; 0 if none are there.
    #[inline]
    fn hash(&self, frame: &[u8], headers: &Parsed) -> u32 {
        /// Bits of a class's mode.
        const SOURCE: u32 = 1;
        const DESTINATION: u32 = 2;
        const ADDRESSES: u32 = SOURCE | DESTINATION;
        const PORTS: u32 = 0xc;
        let ipv6 = match headers.l3 {
            None => return 0,
            Some(L3::V4 { .. }) => false,
            Some(L3::V6 { .. }) => true,
        };
        let mode = if self.flags >> 8 != 0 {
            let class = match headers.l4 {
                Some(L4::Tcp) => 8,
                Some(L4::Udp) => 12,
                _ => 16,
            };
            self.flags >> (class + if ipv6 { 12 } else { 0 }) & 0xf
        } else {
            // The older flags: addresses, and the ports of TCP too.
            let (addresses, tcp) = if ipv6 { (4, 8) } else { (1, 2) };
            match headers.l4 {
                Some(L4::Tcp) if self.flags & tcp != 0 => ADDRESSES | PORTS,
                _ if self.flags & addresses != 0 => ADDRESSES,
                _ => 0,
            }
        };
        let addresses = headers.address_bytes(frame);
        let (source, destination) = addresses.split_at(addresses.len() / 2);
        let addresses = match mode & ADDRESSES {
            ADDRESSES => addresses,
            SOURCE => source,
            DESTINATION => destination,
            _ => &[],
        };
        let ports = headers.port_bytes(frame);
        let ports = match mode & PORTS {
            PORTS => ports,
            4 => ports.get(..2).unwrap_or_default(),
            8 => ports.get(2..).unwrap_or_default(),
            _ => &[],
        };
        self.toeplitz.hash(addresses, ports)
    }
}
