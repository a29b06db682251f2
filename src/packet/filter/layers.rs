//! Where the layers of a frame begin, and how a link says what it carries.
//!
//! `vlan`, `mpls`, `pppoes`, `geneve` and `vxlan` move these places for everything
//! that stands to the right of them in the expression (pcap-filter(7)).

use super::expression::{Operator, Slot, Test, Value};

pub const IP: u32 = 0x0800;
pub const ARP: u32 = 0x0806;
pub const RARP: u32 = 0x8035;
pub const IP6: u32 = 0x86dd;
pub const DECNET: u32 = 0x6003;
pub const ATALK: u32 = 0x809b;
pub const AARP: u32 = 0x80f3;
pub const MPLS: u32 = 0x8847;
const NS: u32 = 0x0600;
const IPX: u32 = 0x8137;

/// Service access points of 802.2 (IEEE 802.2 §3.3.1, and IEEE's registry).
pub mod sap {
    pub const IP: u32 = 0x06;
    pub const STP: u32 = 0x42;
    pub const SNAP: u32 = 0xaa;
    pub const IPX: u32 = 0xe0;
    pub const NETBEUI: u32 = 0xf0;
    pub const ISO: u32 = 0xfe;
}

/// Longest 802.3 frame: what is larger in the place of a length is an EtherType.
const LONGEST: u32 = 1500;

/// What the frames, or those in a tunnel, are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ethernet,
    Ppp,
}

/// A place in the frame: so many bytes from its beginning, or from what a word of
/// scratch memory says.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub slot: Option<Slot>,
    pub bytes: u32,
}

impl Place {
    pub const fn fixed(bytes: u32) -> Place {
        Place { slot: None, bytes }
    }

    pub const fn remembered(slot: Slot) -> Place {
        Place { slot: Some(slot), bytes: 0 }
    }

    pub const fn on(self, bytes: u32) -> Place {
        Place { slot: self.slot, bytes: self.bytes.wrapping_add(bytes) }
    }

    pub fn load(self, size: u8) -> Value {
        self.load_at(Value::Number(0), size)
    }

    /// `at` bytes further on.
    pub fn load_at(self, at: Value, size: u8) -> Value {
        let at = match self.slot {
            Some(slot) => Value::Slot(slot).with(Operator::Add, at),
            None => at,
        };
        Value::load(at, self.bytes, size)
    }
}

/// The layers as they are at one point of an expression.
#[derive(Clone, Copy, Debug)]
pub struct Layers {
    pub link: Link,
    /// The link's header.
    pub header: Place,
    /// The EtherType or length in it, or PPP's protocol.
    pub link_type: Place,
    /// What follows it.
    pub payload: Place,
    /// Where in this the network's header is: behind the labels of MPLS.
    pub network: u32,
    /// The same with 802.2's header before it.
    pub behind_llc: u32,
    /// Labels of MPLS gone past.
    pub labels: u32,
    /// Whether the link's header may be missing: Geneve carries packets as well.
    pub bare: bool,
    /// The next free word of scratch memory.
    pub free: Slot,
}

impl Default for Layers {
    fn default() -> Self {
        Layers {
            link: Link::Ethernet,
            header: Place::fixed(0),
            link_type: Place::fixed(12),
            payload: Place::fixed(14),
            network: 0,
            behind_llc: 3,
            labels: 0,
            bare: false,
            free: 0,
        }
    }
}

impl Layers {
    /// `size` bytes at `at` in the network header.
    pub fn l3(&self, at: u32, size: u8) -> Value {
        self.network_header().on(at).load(size)
    }

    pub fn network_header(&self) -> Place {
        self.payload.on(self.network)
    }

    /// `size` bytes at `at` behind an IPv4 header, whatever its length.
    pub fn l4(&self, at: u32, size: u8) -> Value {
        self.behind_ip(Value::Number(0), at, size)
    }

    /// The same, `at` bytes and a number that the frame holds on.
    pub fn behind_ip(&self, number: Value, at: u32, size: u8) -> Value {
        let start = self.ip_header().with(Operator::Add, number);
        Value::load(start, self.network_header().on(at).bytes, size)
    }

    /// Length of an IPv4 header, from the place that is remembered if one is.
    pub fn ip_header(&self) -> Value {
        let length = self.l3(0, 1).with(Operator::And, 0xf).with(Operator::Multiply, 4);
        match self.payload.slot {
            Some(slot) => length.with(Operator::Add, Value::Slot(slot)),
            None => length,
        }
    }

    /// `size` bytes at `at` behind an IPv6 header without extensions.
    pub fn l4_of_ip6(&self, at: u32, size: u8) -> Value {
        self.l3(40 + at, size)
    }

    /// Fragment offset zero.
    pub fn first_fragment(&self) -> Test {
        Test::masked(self.l3(6, 2), 0x1fff, 0)
    }

    /// Frames of this EtherType, or of this service access point of 802.2 if it is
    /// no more than 1500. `None` under a label of MPLS, which only tells IPv4 from IPv6.
    pub fn carries(&self, protocol: u32) -> Option<Test> {
        if self.labels > 0 {
            let version = match protocol {
                IP => 0x40,
                IP6 => 0x60,
                _ => return None,
            };
            let bottom = Test::masked(self.l3(2_u32.wrapping_neg(), 1), 1, 1);
            return Some(bottom.and(Test::masked(self.l3(0, 1), 0xf0, version)));
        }
        Some(match self.link {
            Link::Ppp => Test::equal(self.link_type.load(2), ppp(protocol)),
            Link::Ethernet => self.ethernet_carries(protocol),
        })
    }

    fn ethernet_carries(&self, protocol: u32) -> Test {
        let ether = |number| Test::equal(self.link_type.load(2), number);
        match protocol {
            sap::ISO | sap::IP | sap::NETBEUI => {
                self.llc().and(Test::equal(self.payload.load(2), protocol << 8 | protocol))
            }
            // Four ways to carry it: EtherType, SNAP, 802.2, or 802.3 with nothing.
            sap::IPX => {
                let llc = self.snap(0, IPX).or(Test::equal(self.payload.load(1), sap::IPX));
                ether(IPX).or(self.llc().and(llc.or(Test::equal(self.payload.load(2), 0xffff))))
            }
            ATALK => ether(ATALK).or(self.llc().and(self.snap(0x08_0007, ATALK))),
            AARP => ether(AARP).or(self.llc().and(self.snap(0, AARP))),
            _ if protocol <= LONGEST => self.llc().and(Test::equal(self.link_type.on(2).load(1), protocol)),
            _ => ether(protocol),
        }
    }

    /// 802.3's length stands where an EtherType would.
    pub fn llc(&self) -> Test {
        Test::All(vec![Test::at_most(self.link_type.load(2), LONGEST)])
    }

    /// SNAP's header, of this organisation and protocol.
    fn snap(&self, organisation: u32, protocol: u32) -> Test {
        let [_, a, b, c] = organisation.to_be_bytes();
        let [_, _, d, e] = protocol.to_be_bytes();
        octets(self.payload, &[sap::SNAP as u8, sap::SNAP as u8, 3, a, b, c, d, e])
    }
}

/// These bytes stand at this place; the last ones are compared first, as libpcap does:
/// which test comes first decides what a frame that is too short means.
pub fn octets(place: Place, octets: &[u8]) -> Test {
    let mut tests = Vec::new();
    let mut end = octets.len();
    while end > 0 {
        let size = if end >= 4 { 4 } else { end.min(2) };
        let number = octets[end - size..end].iter().fold(0, |number, octet| number << 8 | u32::from(*octet));
        end -= size;
        tests.push(Test::equal(place.on(end as u32).load(size as u8), number));
    }
    Test::All(tests)
}

/// PPP's number for what Ethernet calls so (RFC 1661 §2, IANA's PPP numbers).
fn ppp(protocol: u32) -> u32 {
    match protocol {
        IP => 0x0021,
        IP6 => 0x0057,
        sap::ISO => 0x0023,
        NS => 0x0025,
        DECNET => 0x0027,
        ATALK => 0x0029,
        sap::IPX => 0x002b,
        sap::STP => 0x0031,
        other => other,
    }
}
