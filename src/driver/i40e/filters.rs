//! Which frames are received, and on which queue (§7.1, §7.4).

use super::adminq::{AdminQueue, BUFFER, Buffer, Code, le32};
use super::hw::Hw;
use super::ids::Mac;
use super::regs::{self, Reg, pfqf};
use super::vsi::Vsi;
use crate::driver::config::Rss;
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;

/// Reads a filter register: of the X710 by command 0206, as the firmware uses
/// it too; of the X722, or where the firmware refuses that, by itself.
pub fn read(aq: &mut AdminQueue, hw: &Hw, reg: Reg) -> Result<u32> {
    if hw.mac != Mac::X722 {
        let mut params = [0; 16];
        params[4..8].copy_from_slice(&reg.offset.to_le_bytes());
        let answer = aq.ask(reg.name, 0x0206, &params, Buffer::None)?;
        if answer.code == Code::OK {
            return Ok(le32(&answer.params, 12));
        }
    }
    Ok(hw.read(reg))
}

/// Writes a filter register, in the same way (command 0207).
pub fn write(aq: &mut AdminQueue, hw: &Hw, reg: Reg, value: u32) -> Result<()> {
    if hw.mac != Mac::X722 {
        let mut params = [0; 16];
        params[4..8].copy_from_slice(&reg.offset.to_le_bytes());
        params[12..].copy_from_slice(&value.to_le_bytes());
        if aq.ask(reg.name, 0x0207, &params, Buffer::None)?.code == Code::OK {
            return Ok(());
        }
    }
    hw.write(reg, value);
    Ok(())
}

/// The address filters of a VSI that this driver has set.
#[derive(Default)]
pub struct Addresses {
    own: MacAddr,
    groups: Vec<MacAddr>,
    /// Why no filter receives what is sent to `own`, if none does.
    unfiltered: Option<String>,
}

/// What becomes of address filters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Received, whatever the VLAN.
    Add,
    /// No more.
    Remove,
    /// No more by a filter for untagged frames alone.
    RemoveUntagged,
}

impl Addresses {
    /// Receives what is sent to `own`, and to everybody. The firmware has a
    /// filter of its own for that after a reset, for untagged frames, which
    /// would outlive a change of address.
    pub fn new(aq: &mut AdminQueue, vsi: &Vsi, own: MacAddr) -> Result<Self> {
        let unfiltered = match change(aq, vsi, Change::Add, &[own])? {
            Taken::Yes => {
                // One that stays is in the way of nobody.
                change(aq, vsi, Change::RemoveUntagged, &[own])?;
                None
            }
            Taken::No(why) => Some(why),
        };
        Ok(Addresses { own, groups: Vec::new(), unfiltered })
    }

    /// Why no filter receives what is sent to the card's own address, if none does.
    pub fn unfiltered(&self) -> Option<&str> {
        self.unfiltered.as_deref()
    }

    /// Replaces the card's own address. `all`: frames for any address are received.
    pub fn set_own(&mut self, aq: &mut AdminQueue, hw: &Hw, vsi: &Vsi, own: MacAddr, all: bool) -> Result<()> {
        if own == self.own {
            return Ok(());
        }
        self.unfiltered = match change(aq, vsi, Change::Add, &[own])? {
            Taken::Yes => None,
            Taken::No(why) if all => Some(why),
            Taken::No(why) => return Err(no_filter(hw, &why)),
        };
        change(aq, vsi, Change::Remove, &[self.own])?;
        self.own = own;
        // Locally administered, until the next reset.
        let MacAddr([a, b, c, d, e, f]) = own;
        aq.tell("its address", 0x0108, &[0, 0, b, a, f, e, d, c], Buffer::None)?;
        Ok(())
    }

    /// Receives these groups, and no others. `all`: frames for any address are
    /// received, whatever the filters.
    pub fn set_groups(&mut self, aq: &mut AdminQueue, hw: &Hw, vsi: &Vsi, groups: &[MacAddr], all: bool) -> Result<()> {
        let not_in = |these: &[MacAddr], those: &[MacAddr]| {
            these.iter().filter(|mac| !those.contains(mac)).copied().collect::<Vec<_>>()
        };
        let (new, old) = (not_in(groups, &self.groups), not_in(&self.groups, groups));
        change(aq, vsi, Change::Remove, &old)?;
        if let Taken::No(why) = change(aq, vsi, Change::Add, &new)?
            && !all
        {
            return Err(no_filter(hw, &why));
        }
        self.groups = groups.to_vec();
        Ok(())
    }
}

/// What became of a change of filters.
enum Taken {
    Yes,
    /// Not, or not of all, and why.
    No(String),
}

/// The error for addresses that no filter has taken.
fn no_filter(hw: &Hw, why: &str) -> Error {
    hw.error(
        Kind::Usage,
        format!("its address filters cannot take that: {why}; ask for fewer groups, or for all frames"),
    )
}

/// Adds or removes perfect filters for addresses (commands 0250, 0251).
fn change(aq: &mut AdminQueue, vsi: &Vsi, change: Change, addresses: &[MacAddr]) -> Result<Taken> {
    const ELEMENT: usize = 16;
    const VALID: u16 = 0x8000;
    const PERFECT: u8 = 0x01;
    const ADD_ANY_VLAN: u8 = 0x04;
    const REMOVE_ANY_VLAN: u8 = 0x08;
    /// How the firmware matches it, once added; it writes another value than this.
    const MATCH: usize = 12;
    const NO_RESOURCE: u8 = 0xff;
    let adding = change == Change::Add;
    let (what, opcode) = if adding { ("an address filter", 0x0250) } else { ("the end of an address filter", 0x0251) };
    let any_vlan = match change {
        Change::Add => ADD_ANY_VLAN,
        Change::Remove => REMOVE_ANY_VLAN,
        Change::RemoveUntagged => 0,
    };
    for some in addresses.chunks(BUFFER / ELEMENT) {
        let mut list = vec![0; some.len() * ELEMENT];
        for (element, mac) in list.chunks_exact_mut(ELEMENT).zip(some) {
            element[..6].copy_from_slice(&mac.0);
            element[8] = PERFECT | any_vlan;
            element[MATCH] = if adding { NO_RESOURCE } else { 0 };
        }
        let mut params = [0; 4];
        params[..2].copy_from_slice(&(some.len() as u16).to_le_bytes());
        params[2..].copy_from_slice(&(vsi.seid | VALID).to_le_bytes());
        let answer = aq.ask(what, opcode, &params, Buffer::Send(&list))?;
        match answer.code {
            // Already there.
            Code::EEXIST if adding => continue,
            Code::OK | Code::ENOSPC => {}
            _ => return Ok(Taken::No(answer.why(opcode))),
        }
        // An answer that says nothing of a filter looks the same as one that has no
        // room: nothing shows that it is there.
        let full = adding && answer.data.chunks_exact(ELEMENT).any(|element| element[MATCH] == NO_RESOURCE);
        if full || answer.code == Code::ENOSPC {
            return Ok(Taken::No("all of them are in use".into()));
        }
    }
    Ok(Taken::Yes)
}

/// Any address, or only those asked for; broadcast always (command 0254). `lost`
/// says what it means if the firmware refuses; without, that is an error.
pub fn set_promiscuous(aq: &mut AdminQueue, vsi: &Vsi, on: bool, lost: Option<&str>) -> Result<bool> {
    const UNICAST: u8 = 0x01;
    const MULTICAST: u8 = 0x02;
    const BROADCAST: u8 = 0x04;
    const VLAN: u8 = 0x10;
    let all = UNICAST | MULTICAST | BROADCAST | VLAN;
    let flags = if on { all } else { BROADCAST };
    let [low, high] = vsi.seid.to_le_bytes();
    let (what, params) = ("its filters", [flags, 0, all, 0, low, high]);
    match lost {
        Some(lost) => Ok(aq.try_tell(what, 0x0254, &params, Buffer::None, lost)?.is_some()),
        None => aq.tell(what, 0x0254, &params, Buffer::None).map(|_| true),
    }
}

/// Packet types that are hashed (table 7-5): IPv4 and IPv6, each with UDP, TCP,
/// SCTP, none of them, in fragments. The X722 has types of its own for
/// unicast and multicast UDP and for the first segment of a TCP connection.
fn hashed(mac: Mac) -> u64 {
    let list = |types: &[u64]| types.iter().fold(0, |all, t| all | 1 << t);
    let common = list(&[31, 33, 34, 35, 36, 41, 43, 44, 45, 46]);
    match mac {
        Mac::Xl710 => common,
        Mac::X722 => common | list(&[29, 30, 32, 39, 40, 42]),
    }
}

/// Turns the filters of this function on, with a hash table of `entries`.
pub fn enable(aq: &mut AdminQueue, hw: &Hw, entries: u32, flow_director: bool) -> Result<()> {
    let bit = |on: bool, bit: u32| if on { bit } else { 0 };
    let control = read(aq, hw, regs::PFQF_CTL_0)? & !(pfqf::HASHLUTSIZE_512 | pfqf::FD_ENA);
    let wanted = control
        | bit(entries == 512, pfqf::HASHLUTSIZE_512)
        | bit(flow_director, pfqf::FD_ENA)
        | pfqf::ETYPE_ENA
        | pfqf::MACVLAN_ENA;
    write(aq, hw, regs::PFQF_CTL_0, wanted)
}

/// Turns RSS on for `queues` queues (§7.1.8): key and table first, the packet
/// types last.
pub fn set_rss(aq: &mut AdminQueue, hw: &Hw, vsi: &Vsi, rss: &Rss, queues: u16, entries: u32) -> Result<()> {
    if !rss.udp {
        return Err(hw.error(
            Kind::Unsupported,
            "which fields it hashes is set for all of its ports at once, so UDP ports cannot be left out here",
        ));
    }
    // 40 bytes, and 12 for fields that only tunnels have.
    let mut key = [0; 52];
    key[..40].copy_from_slice(&rss.key);
    match hw.mac {
        Mac::Xl710 => {
            for (reg, word) in regs::PFQF_HKEY.all().zip(key.chunks_exact(4)) {
                hw.write(reg, le32(word, 0));
            }
        }
        Mac::X722 => {
            let params = (vsi.number | 0x8000).to_le_bytes();
            let lost = "flows are spread by another one than was asked for";
            aq.try_tell("the hash key", 0x0b02, &params, Buffer::Send(&key), lost)?;
        }
    }
    let bytes = table(&rss.table, queues, entries);
    match hw.mac {
        Mac::Xl710 => write_table(hw, &bytes),
        Mac::X722 => {
            let (params, lost) = (table_params(vsi), "flows are spread as its firmware has it");
            aq.try_tell("the hash table", 0x0b03, &params, Buffer::Send(&bytes), lost)?;
        }
    }
    let types = hashed(hw.mac);
    write(aq, hw, regs::PFQF_HENA.at(0), types as u32)?;
    write(aq, hw, regs::PFQF_HENA.at(1), (types >> 32) as u32)
}

/// Writes the redirection table while frames flow.
pub fn set_rss_table(aq: &mut AdminQueue, hw: &Hw, vsi: &Vsi, entries: &[u8]) -> Result<()> {
    match hw.mac {
        Mac::Xl710 => write_table(hw, entries),
        Mac::X722 => {
            aq.tell("the hash table", 0x0b03, &table_params(vsi), Buffer::Send(entries))?;
        }
    }
    Ok(())
}

/// A redirection table repeated to the card's `entries`; an empty one names the
/// queues in turn.
pub fn table(table: &[u16], queues: u16, entries: u32) -> Vec<u8> {
    let entry = |i: usize| (if table.is_empty() { i as u16 % queues } else { table[i % table.len()] }) as u8;
    (0..entries as usize).map(entry).collect()
}

fn write_table(hw: &Hw, entries: &[u8]) {
    for (reg, word) in regs::PFQF_HLUT.all().zip(entries.chunks_exact(4)) {
        hw.write(reg, le32(word, 0));
    }
}

/// Of command 0b03: the table of the function, not of one VSI.
fn table_params(vsi: &Vsi) -> [u8; 4] {
    const OF_THE_FUNCTION: u8 = 1;
    let [low, high] = (vsi.number | 0x8000).to_le_bytes();
    [low, high, OF_THE_FUNCTION, 0]
}
