//! The virtual port: its context, its state, and the table of addresses in front of all
//! functions of the card.
//!
//! ```text
//!   context   0x00 inline mode, own loopback  0x04 events   0x24 MTU   0x28 numbers
//!             0xf0 promiscuous, which list and its length   0xf4 address   0x100 list
//! ```

use super::super::super::FaultKind;
use super::super::Mlx5;
use super::super::caps::{self, ESWITCH_MANAGER, ETHERNET, VPORT_GROUP_MANAGER};
use super::super::cmd::Request;
use super::super::plane::{MTU, Status, be};
use super::{Answer, Reply};

/// Bytes of the context in front of its list.
const CONTEXT: usize = 0x100;
/// Where the context is in an answer and in a request, and its list there.
const IN_ANSWER: usize = 0x10;
const IN_REQUEST: usize = 0x100;
const LIST: usize = IN_REQUEST + CONTEXT;

/// Lists: unicast addresses, groups, tags.
const UNICAST: u32 = 0;
const MULTICAST: u32 = 1;
const TAGS: u32 = 2;

/// Whether headers must be inline: as the vport says.
const AS_VPORT_SAYS: u32 = 1;
/// State that a port is to be in by itself.
const AUTOMATIC: u32 = 2;

/// What firmware keeps of the vport besides what the data plane looks at.
#[derive(Clone, Debug, Default)]
pub struct VportSettings {
    /// What it is to be: 0 down, 1 up, 2 as the port is.
    admin: u32,
    /// Changes of its context that are told.
    events: u32,
    roce: bool,
    tags: Vec<u16>,
    /// The number that a driver gave the node.
    node: u64,
}

impl Mlx5 {
    /// The vport as after a reset. One that is virtual has no address.
    pub(in super::super) fn start_vport(&mut self) {
        let inline = be::bits(self.caps.current(ETHERNET), 0x00, 13, 12);
        self.vport = VportSettings { admin: AUTOMATIC, ..VportSettings::default() };
        let vport = &mut self.plane.vport;
        vport.mtu = MTU;
        vport.inline = match inline {
            AS_VPORT_SAYS if self.board.nasty => 1 + self.board.random.below(3) as u8,
            AS_VPORT_SAYS => 1,
            _ => 0,
        };
        let distrusted = self.faulty(FaultKind::VfUntrusted);
        let shared = self.caps.get(ESWITCH_MANAGER) == 1;
        let vport = &mut self.plane.vport;
        (vport.distrusted, vport.shared) = (distrusted, shared);
        if self.is_virtual() {
            self.plane.vport.mac = [0; 6];
        }
        // The port's MTU is granted, the vport's reads as none.
        if self.board.nasty {
            self.plane.vport.mtu = 0;
        }
    }

    /// A number of 64 bits that is made of an address, which is not the function's.
    fn guid(&self) -> u64 {
        let [a, b, c, d, e, f] = self.board.factory;
        u64::from_be_bytes([a, b, c, 0x03, 0x00, d ^ 0x5a, e, f])
    }

    /// The system's, which is made of nothing.
    fn system_guid(&self) -> u64 {
        let [a, b, c, d, e, f] = self.board.factory;
        u64::from_be_bytes([a, b, c, d ^ 0x5a, e, f, 0x77, 0x88])
    }

    /// The vport that a command is about is this function's own.
    fn own_vport(&self, request: &Request) -> Result<(), Status> {
        let (other, number) = (request.bits(0x08, 31, 31) == 1, request.bits(0x08, 15, 0));
        if number != 0 || other && self.caps.get(VPORT_GROUP_MANAGER) == 0 {
            return Err(Status::BAD_PARAMETER);
        }
        Ok(())
    }
}

fn address(bytes: &[u8]) -> [u8; 6] {
    [2, 3, 4, 5, 6, 7].map(|at| bytes.get(at).copied().unwrap_or(0))
}

/// An address in the 8 bytes of an entry.
fn entry(mac: &[u8; 6]) -> [u8; 8] {
    let mut entry = [0; 8];
    entry[2..].copy_from_slice(mac);
    entry
}

/// QUERY_NIC_VPORT_CONTEXT, with one of its lists.
pub fn query(card: &mut Mlx5, request: &Request) -> Answer {
    card.own_vport(request)?;
    let (kind, vport) = (request.bits(0x0c, 26, 24), &card.plane.vport);
    let list: Vec<[u8; 8]> = match kind {
        UNICAST => vport.unicast.iter().map(entry).collect(),
        MULTICAST => vport.multicast.iter().map(entry).collect(),
        TAGS => card.vport.tags.iter().map(|tag| u64::from(*tag).to_be_bytes()).collect(),
        _ => return Err(Status::BAD_PARAMETER),
    };
    let [unicast, multicast] = vport.no_loopback;
    let flags = u32::from(multicast) << 2 | u32::from(unicast) << 1 | u32::from(card.vport.roce);
    let promiscuous = vport.promiscuous.iter().fold(0, |bits, on| bits << 1 | u32::from(*on)) << 29;
    let at = |offset| IN_ANSWER + offset;
    let guid = card.guid();
    let node = if card.vport.node == 0 { guid } else { card.vport.node };
    Ok(Reply::new(IN_ANSWER + CONTEXT + 8 * list.len())
        .u32(at(0x00), u32::from(vport.inline) << 24 | flags)
        .u32(at(0x04), card.vport.events)
        .u32(at(0x24), vport.mtu.into())
        .u64(at(0x28), card.system_guid())
        .u64(at(0x30), guid)
        .u64(at(0x38), node)
        .u32(at(0xf0), promiscuous | kind << 24 | list.len() as u32)
        .put(at(0xf4), &entry(&vport.mac)[..])
        .put(at(CONTEXT), &list.concat()))
}

/// MODIFY_NIC_VPORT_CONTEXT: what of it is named by bits.
pub fn modify(card: &mut Mlx5, request: &Request) -> Answer {
    card.own_vport(request)?;
    let wanted = |bit: u32| request.bits(0x0c, bit, bit) == 1;
    let field = |at, high, low| request.bits(IN_REQUEST + at, high, low);
    // What is refused is so before anything changes.
    if wanted(1) && card.caps.get(caps::ROCE_CAP) == 0 {
        return Err(Status::BAD_PARAMETER);
    }
    for (n, bit) in [(0, 11), (1, 10)] {
        if wanted(bit) && card.caps.get(caps::LOCAL_LB_OFF[n]) == 0 {
            return Err(Status::BAD_PARAMETER);
        }
    }
    let (mtu, mac) = (field(0x24, 15, 0), address(request.rest(IN_REQUEST + 0xf4)));
    let too_long = wanted(6) && mtu > u32::from(super::ports::MOST_MTU);
    let inline = be::bits(card.caps.current(ETHERNET), 0x00, 13, 12);
    if too_long || wanted(3) && mac[0] & 1 == 1 || wanted(7) && inline != AS_VPORT_SAYS {
        return Err(Status::BAD_PARAMETER);
    }
    if wanted(2) {
        set_list(card, request, field(0xf0, 26, 24), field(0xf0, 15, 0) as usize)?;
    }
    let vport = &mut card.plane.vport;
    if wanted(1) {
        card.vport.roce = field(0x00, 0, 0) == 1;
    }
    if wanted(3) {
        vport.mac = mac;
    }
    if wanted(4) {
        vport.promiscuous = [31, 30, 29].map(|bit| field(0xf0, bit, bit) == 1);
    }
    if wanted(5) {
        card.vport.events = field(0x04, 31, 0);
    }
    if wanted(6) {
        vport.mtu = mtu as u16;
    }
    if wanted(7) {
        vport.inline = field(0x00, 26, 24) as u8;
    }
    if wanted(9) {
        card.vport.node = u64::from(field(0x38, 31, 0)) << 32 | u64::from(field(0x3c, 31, 0));
    }
    for (n, (bit, at)) in [(11, 1), (10, 2)].into_iter().enumerate() {
        if wanted(bit) {
            vport.no_loopback[n] = field(0x00, at, at) == 1;
        }
    }
    Ok(Reply::done())
}

/// A list is replaced by another that is no longer than it may be.
fn set_list(card: &mut Mlx5, request: &Request, kind: u32, len: usize) -> Result<(), Status> {
    let Some(&field) = caps::LOG_MAX_LISTS.get(kind as usize) else { return Err(Status::BAD_PARAMETER) };
    if len > 1 << card.caps.get(field) {
        return Err(Status::EXCEEDS_LIMIT);
    }
    let list = request.rest(LIST).as_chunks::<8>().0;
    let Some(list) = list.get(..len) else { return Err(Status::BAD_INPUT_LENGTH) };
    let addresses = || list.iter().map(|entry| address(entry)).collect();
    match kind {
        UNICAST => card.plane.vport.unicast = addresses(),
        MULTICAST => card.plane.vport.multicast = addresses(),
        _ => card.vport.tags = list.iter().map(|entry| be::u16_at(entry, 6) & 0xfff).collect(),
    }
    Ok(())
}

/// QUERY_VPORT_STATE.
pub fn query_state(card: &mut Mlx5, request: &Request) -> Answer {
    card.own_vport(request)?;
    let up = card.link_up() && card.vport.admin != 0;
    Ok(Reply::done().u32(0x0c, card.vport.admin << 4 | u32::from(up)))
}

pub fn modify_state(card: &mut Mlx5, request: &Request) -> Answer {
    card.own_vport(request)?;
    let admin = request.bits(0x0c, 7, 4);
    if card.caps.get(ESWITCH_MANAGER) == 0 || admin > AUTOMATIC {
        return Err(Status::BAD_PARAMETER);
    }
    card.vport.admin = admin;
    Ok(Reply::done())
}

/// An entry of the table in front of the functions, which the card's first one keeps.
fn l2_index(card: &Mlx5, request: &Request) -> Result<u32, Status> {
    let index = request.id(0x14);
    if card.caps.get(VPORT_GROUP_MANAGER) == 0 {
        return Err(Status::BAD_PARAMETER);
    }
    if index >= 1 << card.caps.get(caps::LOG_MAX_L2_TABLE) {
        return Err(Status::BAD_INDEX);
    }
    Ok(index)
}

pub fn set_l2_entry(card: &mut Mlx5, request: &Request) -> Answer {
    let index = l2_index(card, request)?;
    let mac = address(request.rest(0x20));
    let table = &mut card.plane.vport.l2;
    table.retain(|(at, _)| *at != index);
    table.push((index, mac));
    Ok(Reply::done())
}

pub fn query_l2_entry(card: &mut Mlx5, request: &Request) -> Answer {
    let index = l2_index(card, request)?;
    let entries = &card.plane.vport.l2;
    let (_, mac) = entries.iter().find(|(at, _)| *at == index).ok_or(Status::BAD_RESOURCE)?;
    Ok(Reply::new(0x40).put(0x20, &entry(mac)))
}

pub fn delete_l2_entry(card: &mut Mlx5, request: &Request) -> Answer {
    let index = l2_index(card, request)?;
    card.plane.vport.l2.retain(|(at, _)| *at != index);
    Ok(Reply::done())
}
