//! The control queue: what is received, and by how many queues (VIRTIO 1.2
//! §5.1.6.5).

use super::super::FaultKind;
use super::features::{CTRL_MAC_ADDR, CTRL_RX, CTRL_VLAN, CTRL_VQ, MQ};
use super::legacy::framed;
use super::{Chain, PAIRS, Virtio};
use std::collections::BTreeSet;

/// Longest command that makes sense: two tables of addresses.
const LONGEST: usize = 64 << 10;

/// Addresses that a table holds; with more, all are received.
const TABLE: usize = 64;

const OK: u8 = 0;
const ERR: u8 = 1;

/// Which frames are received (§5.1.6.5.1 to §5.1.6.5.3).
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub(super) address: [u8; 6],
    promiscuous: bool,
    all_multicast: bool,
    unicast: Vec<[u8; 6]>,
    multicast: Vec<[u8; 6]>,
    overflow: [bool; 2],
    /// VLANs of which tagged frames are received; all, if that was not agreed on.
    pub(super) vlans: Option<BTreeSet<u16>>,
}

impl Filter {
    /// After reset: its own address, broadcast, and until the driver says
    /// otherwise everything (a driver without CTRL_RX could not ask for it).
    pub fn new(address: [u8; 6]) -> Self {
        Filter { address, promiscuous: true, ..Filter::default() }
    }

    /// Whether a frame is received.
    #[inline]
    pub fn accepts(&self, frame: &[u8]) -> bool {
        if self.promiscuous {
            return true;
        }
        let Some(to) = frame.first_chunk::<6>() else { return false };
        if let (Some(vlans), Some(&[0x81, 0, high, low])) = (&self.vlans, frame.get(12..16))
            && !vlans.contains(&(u16::from_be_bytes([high, low]) & 0xfff))
        {
            return false;
        }
        if to[0] & 1 == 0 {
            return *to == self.address || self.overflow[0] || self.unicast.contains(to);
        }
        *to == [0xff; 6] || self.all_multicast || self.overflow[1] || self.multicast.contains(to)
    }
}

impl Virtio {
    /// Carries out the commands that were given; how many.
    pub(super) fn commands(&mut self) -> usize {
        let q = self.control_index();
        if !self.has(CTRL_VQ) || !self.queues[usize::from(q)].busy {
            return 0;
        }
        let mut chain = std::mem::take(&mut self.chain);
        let mut work = 0;
        loop {
            match self.next_chain(q, &mut chain) {
                Ok(true) => {}
                Ok(false) => break,
                Err(rule) => {
                    self.stop(rule);
                    break;
                }
            }
            work += 1;
            let answer = self.command(&chain);
            let written = match chain.writable.last() {
                Some(&(address, len)) => {
                    self.board.bus.memory.write(address + u64::from(len) - 1, &[answer]);
                    chain.writable_len() as u32
                }
                None => {
                    self.board.violations.note("command without room for its answer");
                    0
                }
            };
            self.put_back(q, &[(chain.id, chain.slots, written)]);
        }
        self.chain = chain;
        work
    }

    fn command(&mut self, chain: &Chain) -> u8 {
        let mut bytes = Vec::new();
        let whole = chain.readable_len() <= LONGEST
            && chain
                .readable
                .iter()
                .all(|&(address, len)| self.board.bus.memory.append(address, len as usize, &mut bytes));
        let [class, number, data @ ..] = &bytes[..] else {
            self.board.violations.note("command of less than two bytes");
            return ERR;
        };
        if self.header_alone() && !framed(chain, (*class, *number) == (1, 0)) {
            self.board.violations.note("command whose parts share a descriptor, or have several, without ANY_LAYOUT");
        }
        if !whole {
            return ERR;
        }
        let needed = match class {
            0 => CTRL_RX,
            1 if *number == 1 => CTRL_MAC_ADDR,
            1 => CTRL_RX,
            2 => CTRL_VLAN,
            4 => MQ,
            _ => 0,
        };
        if needed != 0 && !self.has(needed) {
            self.board.violations.note("command that was not agreed on");
            return ERR;
        }
        match (class, number, data) {
            (0, ..) if self.board.faulty(FaultKind::Promiscuous) => return ERR,
            (0, 0, [on]) => self.filter.promiscuous = *on != 0,
            (0, 1, [on]) => self.filter.all_multicast = *on != 0,
            (1, 0, _) => return self.tables(data),
            (1, 1, [a, b, c, d, e, f]) => {
                self.address = [*a, *b, *c, *d, *e, *f];
                self.filter.address = self.address;
            }
            (2, 0 | 1, [low, high]) => {
                let vlan = u16::from_le_bytes([*low, *high]);
                let Some(vlans) = self.filter.vlans.as_mut().filter(|_| vlan < 4096) else {
                    self.board.violations.note("a VLAN that there is not");
                    return ERR;
                };
                if *number == 0 {
                    vlans.insert(vlan)
                } else {
                    vlans.remove(&vlan)
                };
            }
            (4, 0, [low, high]) => {
                let pairs = u16::from_le_bytes([*low, *high]);
                if !(1..=PAIRS).contains(&pairs) {
                    self.board.violations.note("a number of queues that there are not");
                    return ERR;
                }
                self.tx.set_pairs(pairs);
            }
            _ => {
                self.board.violations.note(format!("command {class}.{number} that is unknown or of the wrong length"));
                return ERR;
            }
        }
        OK
    }

    /// Two tables, unicast and multicast, each a count and so many addresses.
    fn tables(&mut self, mut data: &[u8]) -> u8 {
        let mut tables = [Vec::new(), Vec::new()];
        let mut overflow = [false; 2];
        for (table, overflow) in tables.iter_mut().zip(&mut overflow) {
            let Some((count, rest)) = data.split_first_chunk::<4>() else { return self.bad_tables() };
            let bytes = (u32::from_le_bytes(*count) as usize).saturating_mul(6);
            let Some((addresses, rest)) = rest.split_at_checked(bytes) else { return self.bad_tables() };
            *overflow = bytes / 6 > TABLE;
            table.extend(addresses.as_chunks::<6>().0.iter().take(TABLE));
            data = rest;
        }
        let [unicast, multicast] = tables;
        (self.filter.unicast, self.filter.multicast, self.filter.overflow) = (unicast, multicast, overflow);
        OK
    }

    fn bad_tables(&mut self) -> u8 {
        self.board.violations.note("address tables shorter than they say");
        ERR
    }
}
