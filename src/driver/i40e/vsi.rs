//! The virtual station interface (VSI): the switch port behind which this
//! function's queues are (§7.4.9.5.5).

use super::adminq::{AdminQueue, Buffer, le16};
use super::firmware::Place;
use super::hw::Hw;
use super::regs::COUNTER_SETS;
use crate::error::{Kind, Result};

/// Bytes of the properties.
const BYTES: usize = 128;

/// Sections of the properties: which are to change.
mod section {
    pub const SWITCH: u16 = 0x0001;
    pub const VLAN: u16 = 0x0004;
    pub const QUEUE_MAP: u16 = 0x0040;
}

/// Offsets in the properties.
mod at {
    pub const SECTIONS: usize = 0;
    pub const SWITCH_ID: usize = 2;
    pub const PORT_VLAN: usize = 12;
    pub const MAPPING: usize = 28;
    pub const QUEUES: usize = 30;
    pub const CLASSES: usize = 62;
    pub const QS_HANDLES: usize = 96;
    pub const COUNTERS: usize = 112;
}

/// What the data path and the filters need to know of a VSI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vsi {
    /// Its element in the switch, for commands.
    pub seid: u16,
    /// Its number, for descriptors.
    pub number: u16,
    /// Where the transmit scheduler has it.
    pub qs_handle: u16,
    /// Its counter set.
    pub counters: u16,
    /// Frames can be spread over all queues that were wished for.
    pub spreads: bool,
}

/// What is asked of the function's own VSI.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// Queues from the function's first on, a power of two.
    pub queues: u16,
    /// VLAN tags are taken out of received frames.
    pub vlan_strip: bool,
}

/// Sets the function's own VSI up (commands 0212, 0211).
pub fn configure(aq: &mut AdminQueue, hw: &Hw, place: Place, wishes: Wishes) -> Result<Vsi> {
    let (_, found) = read(aq, hw, place.seid)?;
    let mut properties = found;
    put(&mut properties, at::SECTIONS, section::SWITCH | section::VLAN | section::QUEUE_MAP);
    // A frame with our own source address is received, as a tester must.
    const LOCAL_LOOPBACK: u16 = 0x4000;
    let switch = le16(&properties, at::SWITCH_ID) | LOCAL_LOOPBACK;
    put(&mut properties, at::SWITCH_ID, switch);
    // Tagged and untagged frames; strip the tag, or leave it.
    const ALL_FRAMES: u8 = 0b11;
    const LEAVE_TAG: u8 = 0b11 << 3;
    properties[at::PORT_VLAN] = ALL_FRAMES | if wishes.vlan_strip { 0 } else { LEAVE_TAG };
    map_queues(&mut properties, 0, wishes.queues);
    let (what, params) = ("the properties of its interface", place.seid.to_le_bytes());
    let lost = "all frames come on its first queue, and tags stay or go as they did before";
    let told = aq.try_tell(what, 0x0211, &params, Buffer::Send(&properties), lost)?;

    let wanted = properties;
    let (number, properties) = read(aq, hw, place.seid)?;
    // How the firmware shows what it was told is its own affair, if it shows
    // something else than before.
    let same = |a: &[u8], b: &[u8]| le16(a, at::CLASSES) == le16(b, at::CLASSES);
    let spreads = same(&wanted, &found) || told.is_some() && !same(&properties, &found);
    if told.is_some() && !spreads {
        aq.lacks.note(format!("its firmware did not do what it was told with {what}: {lost}"));
    }
    Ok(Vsi { spreads, ..describe(hw, place.seid, number, &properties)? })
}

/// Adds a VSI of one queue pair below `uplink` (command 0210).
pub fn add(aq: &mut AdminQueue, hw: &Hw, uplink: u16, queue: u16) -> Result<Vsi> {
    const NORMAL: u8 = 1;
    const PHYSICAL: u8 = 2;
    let mut properties = [0; BYTES];
    put(&mut properties, at::SECTIONS, section::QUEUE_MAP);
    map_queues(&mut properties, queue, 1);
    let [low, high] = uplink.to_le_bytes();
    let params = [low, high, NORMAL, 0, 0, 0, PHYSICAL, 0];
    let answer = aq.tell("an interface for flow director", 0x0210, &params, Buffer::Send(&properties))?;
    describe(hw, le16(&answer.params, 0), le16(&answer.params, 2), &answer.data)
}

/// Gives a VSI `count` queues in a row, all in traffic class 0.
fn map_queues(properties: &mut [u8; BYTES], first: u16, count: u16) {
    const CONTIGUOUS: u16 = 0;
    put(properties, at::MAPPING, CONTIGUOUS);
    put(properties, at::QUEUES, first);
    for class in 0..8 {
        put(properties, at::CLASSES + 2 * class, 0);
    }
    put(properties, at::CLASSES, (count.trailing_zeros() as u16) << 9);
}

fn put(properties: &mut [u8; BYTES], at: usize, value: u16) {
    properties[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

/// Number and properties of a VSI (command 0212).
fn read(aq: &mut AdminQueue, hw: &Hw, seid: u16) -> Result<(u16, [u8; BYTES])> {
    let answer = aq.tell("its interface", 0x0212, &seid.to_le_bytes(), Buffer::Receive(BYTES))?;
    match answer.data.try_into() {
        Ok(properties) => Ok((le16(&answer.params, 2), properties)),
        Err(short) => {
            let len = short.len();
            Err(hw.error(
                Kind::Device,
                format!("its firmware described its interface in {len} bytes, not {BYTES}; update its NVM"),
            ))
        }
    }
}

fn describe(hw: &Hw, seid: u16, number: u16, properties: &[u8]) -> Result<Vsi> {
    const NUMBERS: u16 = 512;
    const INVALID: u16 = 0xffff;
    let (qs_handle, counters) = (le16(properties, at::QS_HANDLES), le16(properties, at::COUNTERS));
    let vsi = Vsi { seid, number, qs_handle, counters, spreads: true };
    if vsi.qs_handle == INVALID || vsi.counters >= COUNTER_SETS || vsi.number >= NUMBERS {
        return Err(hw.error(
            Kind::Device,
            format!("its firmware gave its interface impossible numbers ({vsi:?}); update its NVM"),
        ));
    }
    Ok(vsi)
}
