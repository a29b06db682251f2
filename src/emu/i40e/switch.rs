//! The switch inside: VSIs, who gets a frame, and the commands that say so
//! (X710 §7.4).
//!
//! ```text
//!   port (MAC, seid 2) --- VSI of the function (seid 390) --- its queues
//!                      \-- VEB --- more VSIs, if the driver adds some
//! ```
//!
//! An element has a *seid*, by which commands name it; a VSI has a *number*
//! besides, by which descriptors do, and an index for its statistics. They are
//! told apart here, so that a driver that mixes them up is found out.

use super::adminq::{Command, ECODE_EEXIST, ECODE_EINVAL, ECODE_ENOENT, ECODE_ENOSPC, ECODE_ESRCH, Reply};
use super::stats::VsiGood;
use super::{I40e, QUEUES};

/// VSIs that the function may have.
pub const VSIS: usize = 16;
/// Switch elements besides.
const VEBS: usize = 8;
/// Address filters of all of them.
const FILTERS: usize = 1536;

/// Seids of the port, of the function and of its first VSI.
const PORT: u16 = 2;
const FUNCTION: u16 = 16;
const MAIN: u16 = 390;
/// Number of the first VSI, and the handle of its queue set.
const FIRST_NUMBER: u16 = 6;
const FIRST_HANDLE: u16 = 17;

/// Bytes of a VSI's properties.
const PROPERTIES: usize = 128;

/// Sections of the properties: valid bit, and the bytes they are.
const SECTIONS: [(u16, std::ops::Range<usize>); 10] = [
    (0x001, 2..6),
    (0x002, 6..8),
    (0x004, 8..16),
    (0x008, 24..28),
    (0x010, 16..20),
    (0x020, 20..24),
    (0x040, 28..78),
    (0x080, 78..82),
    (0x200, 82..84),
    (0x100, 84..96),
];

/// Promiscuous flags.
const UNICAST: u16 = 1;
const MULTICAST: u16 = 2;
const BROADCAST: u16 = 4;
const DEFAULT: u16 = 8;

/// A virtual station interface.
pub struct Vsi {
    /// Names it to commands.
    pub seid: u16,
    /// Names it to descriptors.
    pub number: u16,
    /// Its statistics registers.
    pub stat: u16,
    uplink: u16,
    properties: [u8; PROPERTIES],
    /// Addresses, as little-endian numbers, with the VLAN they are wanted in:
    /// `None` is any, 0 untagged.
    filters: Vec<(u64, Option<u16>)>,
    promiscuous: u16,
    /// The same in single VLANs: those that have some, 0 being untagged.
    promiscuous_in: Vec<(u16, u16)>,
    /// First queue of traffic class 0 in the VSI, how many there are, and which.
    class: (u16, u16),
    queues: Vec<u16>,
    /// Takes tags out of received frames.
    pub strips: bool,
    /// What it received and sent in this step.
    pub rx: VsiGood,
    /// See rx.
    pub tx: VsiGood,
}

impl Vsi {
    fn new(seid: u16, number: u16, uplink: u16) -> Self {
        let mut vsi = Vsi {
            seid,
            number,
            // Neither of the numbers that name it.
            stat: number + 3,
            uplink,
            properties: [0; PROPERTIES],
            filters: Vec::new(),
            promiscuous: 0,
            promiscuous_in: Vec::new(),
            class: (0, 1),
            queues: Vec::new(),
            strips: false,
            rx: VsiGood::default(),
            tx: VsiGood::default(),
        };
        // All tags pass, and stay in the frame.
        vsi.properties[12] = 0x1b;
        vsi.respond();
        vsi.map_queues();
        vsi
    }

    /// Handle of the queue set of traffic class 0.
    pub fn handle(&self) -> u16 {
        self.number - FIRST_NUMBER + FIRST_HANDLE
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.properties[at], self.properties[at + 1]])
    }

    /// What firmware fills in: handles, statistics index, scheduler's id.
    fn respond(&mut self) {
        let (handle, stat) = (self.handle().to_le_bytes(), self.stat.to_le_bytes());
        self.properties[96..112].fill(0xff);
        self.properties[96..98].copy_from_slice(&handle);
        self.properties[112..114].copy_from_slice(&stat);
        self.properties[114..116].copy_from_slice(&handle);
    }

    /// Takes over the sections that are marked valid.
    fn update(&mut self, properties: &[u8]) {
        let valid = u16::from_le_bytes([properties[0], properties[1]]);
        for (bit, bytes) in SECTIONS {
            if valid & bit != 0 {
                self.properties[bytes.clone()].copy_from_slice(&properties[bytes]);
            }
        }
        self.properties[..2].copy_from_slice(&valid.to_le_bytes());
        self.respond();
        self.map_queues();
    }

    /// Reads the queue map: contiguous from a first queue, or a list.
    fn map_queues(&mut self) {
        const SCATTERED: u16 = 1;
        let map = self.u16(62);
        let (offset, count) = (map & 0x1ff, 1 << (map >> 9 & 7));
        self.class = (offset, count);
        self.queues = if self.u16(28) & SCATTERED != 0 {
            (0..16).map(|n| self.u16(30 + 2 * n) & 0x7ff).collect()
        } else {
            let first = self.u16(30) & 0x7ff;
            (first..(first + 256).min(QUEUES)).collect()
        };
        self.strips = self.properties[12] & 0x18 == 0;
    }

    /// The function's number of queue `n` of the VSI.
    pub fn queue(&self, n: u16) -> Option<u16> {
        self.queues.get(usize::from(n)).copied().filter(|q| *q < QUEUES)
    }

    /// The function's number of queue `n` of traffic class 0; `None` if the
    /// class has fewer.
    #[inline]
    pub fn class_queue(&self, n: u16) -> Option<u16> {
        if n < self.class.1 { self.queue(self.class.0 + n) } else { None }
    }

    /// Whether it gets a frame for this address in this VLAN.
    #[inline]
    pub fn accepts(&self, address: u64, vlan: u16) -> bool {
        let all = match address {
            0xffff_ffff_ffff => BROADCAST,
            _ if address & 1 == 1 => MULTICAST,
            _ => UNICAST,
        };
        self.promiscuous & all != 0
            || self.filters.iter().any(|(wanted, tag)| *wanted == address && tag.is_none_or(|tag| tag == vlan))
            || self.promiscuous_in.iter().any(|(tag, flags)| *tag == vlan && flags & all != 0)
    }

    /// Whether it gets what nobody else wants.
    pub fn is_default(&self) -> bool {
        self.promiscuous & DEFAULT != 0
    }

    /// Whether no frame can ever be for it.
    fn deaf(&self) -> bool {
        self.promiscuous == 0 && self.promiscuous_in.is_empty() && self.filters.is_empty()
    }
}

/// The elements that the driver sees.
pub struct Switch {
    /// The function's VSIs, its first one first.
    pub vsis: Vec<Vsi>,
    /// The VSIs that may get frames, as indices.
    pub listeners: Vec<usize>,
    vebs: Vec<u16>,
    /// Which VSI a transmit queue belongs to, as an index.
    pub owners: [u8; QUEUES as usize],
    /// EtherTypes of control frames that nobody may send, and that nobody gets.
    pub blocked: [Vec<u16>; 2],
}

impl Switch {
    /// As after a reset: one VSI with one queue, for the card's address, untagged.
    pub fn new(address: [u8; 6]) -> Self {
        let mut main = Vsi::new(MAIN, FIRST_NUMBER, PORT);
        main.filters.push((number(&address), Some(0)));
        main.promiscuous = BROADCAST;
        let mut switch = Switch {
            vsis: vec![main],
            listeners: Vec::new(),
            vebs: Vec::new(),
            owners: [0; QUEUES as usize],
            blocked: [Vec::new(), Vec::new()],
        };
        switch.refresh();
        switch
    }

    /// Index of the VSI with this seid.
    pub fn by_seid(&self, seid: u16) -> Option<usize> {
        self.vsis.iter().position(|vsi| vsi.seid == seid & 0x3ff)
    }

    /// Index of the VSI with this number.
    pub fn by_number(&self, number: u16) -> Option<usize> {
        self.vsis.iter().position(|vsi| vsi.number == number)
    }

    /// A seid that no element has.
    fn fresh_seid(&self) -> u16 {
        let free = |seid: &u16| self.by_seid(*seid).is_none() && !self.vebs.contains(seid);
        (MAIN + 1..).find(free).unwrap_or(MAIN)
    }

    /// Works out again what frames and queues are looked up in.
    fn refresh(&mut self) {
        self.listeners = (0..self.vsis.len()).filter(|at| !self.vsis[*at].deaf()).collect();
        self.owners = [0; QUEUES as usize];
        // The later VSI wins: the first one's contiguous map has no end.
        for (at, vsi) in self.vsis.iter().enumerate() {
            for q in vsi.queues.iter().filter(|q| **q < QUEUES) {
                self.owners[usize::from(*q)] = at as u8;
            }
        }
    }

    fn filters(&self) -> usize {
        self.vsis.iter().map(|vsi| vsi.filters.len()).sum()
    }
}

/// An address as a little-endian number.
fn number(address: &[u8]) -> u64 {
    address.iter().take(6).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl I40e {
    /// Commands 0200 to 02ff.
    pub(super) fn switch_command(&mut self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        let seid = command.u16(0) & 0x3ff;
        match command.opcode {
            0x0200 => self.configuration(command, reply),
            // Port parameters, switch configuration.
            0x0203 | 0x0205 => Ok(()),
            0x0210 => self.add_vsi(command, reply),
            0x0211 => self.update_vsi(command, reply),
            0x0212 => {
                let at = self.switch.by_seid(seid).ok_or(ECODE_ENOENT)?;
                self.answer_vsi(at, reply);
                Ok(())
            }
            0x0230 => self.add_veb(command, reply),
            0x0232 => {
                self.switch.vebs.contains(&seid).then_some(()).ok_or(ECODE_ENOENT)?;
                for (at, value) in [(0, seid), (2, 0), (4, 0), (6, 0), (8, 1), (10, 7)] {
                    reply.set16(at, value);
                }
                Ok(())
            }
            0x0243 => self.delete_element(seid),
            0x0250 => self.add_filters(command, reply),
            0x0251 => self.remove_filters(command, reply),
            // VLAN filters of a VSI are part of its address filters here.
            0x0252 | 0x0253 => self.switch.by_seid(seid).map(|_| ()).ok_or(ECODE_ENOENT),
            0x0254 => self.promiscuous(command),
            0x025a | 0x025b => self.control_filter(command),
            opcode => {
                self.board.violations.note(format!("unknown admin command {opcode:#06x}"));
                Err(ECODE_ESRCH)
            }
        }
    }

    /// The one element that concerns a driver: its VSI.
    fn configuration(&self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        const VSI: u8 = 19;
        let main = &self.switch.vsis[0];
        let mut data = vec![0; 32];
        (data[0], data[2]) = (1, 1);
        (data[16], data[17], data[27]) = (VSI, 1, 1);
        for (at, value) in [(18, main.seid), (20, main.uplink), (22, FUNCTION), (30, main.number)] {
            data[at..at + 2].copy_from_slice(&u16::to_le_bytes(value));
        }
        if command.room < data.len() {
            return Err(ECODE_EINVAL);
        }
        reply.set16(0, 0);
        reply.data = Some(data);
        Ok(())
    }

    fn answer_vsi(&mut self, at: usize, reply: &mut Reply) {
        let vsi = &self.switch.vsis[at];
        let used = self.switch.vsis.len();
        for (at, value) in [(0, vsi.seid), (2, vsi.number), (4, used as u16), (6, (VSIS - used) as u16)] {
            reply.set16(at, value);
        }
        reply.data = Some(vsi.properties.to_vec());
    }

    fn add_vsi(&mut self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        let uplink = command.u16(0) & 0x3ff;
        let known = uplink == PORT || self.switch.vebs.contains(&uplink);
        if !known {
            self.board.violations.note("VSI added to an element that there is not");
            return Err(ECODE_ENOENT);
        }
        let number = (FIRST_NUMBER..).find(|n| self.switch.by_number(*n).is_none()).unwrap_or(FIRST_NUMBER);
        if self.switch.vsis.len() >= VSIS {
            return Err(ECODE_ENOSPC);
        }
        let mut vsi = Vsi::new(self.switch.fresh_seid(), number, uplink);
        vsi.update(command.buffer.get(..PROPERTIES).ok_or(ECODE_EINVAL)?);
        self.switch.vsis.push(vsi);
        self.switch.refresh();
        self.answer_vsi(self.switch.vsis.len() - 1, reply);
        Ok(())
    }

    fn update_vsi(&mut self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        let at = self.known_vsi(command.u16(0))?;
        let properties = command.buffer.get(..PROPERTIES).ok_or(ECODE_EINVAL)?;
        self.switch.vsis[at].update(properties);
        if self.switch.vsis[at].queue(0).is_none() {
            self.board.violations.note("VSI without a queue of the function");
        }
        self.switch.refresh();
        self.stale = true;
        self.answer_vsi(at, reply);
        Ok(())
    }

    fn add_veb(&mut self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        let (uplink, downlink) = (command.u16(0) & 0x3ff, command.u16(2) & 0x3ff);
        if uplink != 0 && uplink != PORT || downlink != 0 && self.switch.by_seid(downlink).is_none() {
            return Err(ECODE_ENOENT);
        }
        if self.switch.vebs.len() >= VEBS {
            return Err(ECODE_ENOSPC);
        }
        let seid = self.switch.fresh_seid();
        self.switch.vebs.push(seid);
        if let Some(at) = self.switch.by_seid(downlink) {
            self.switch.vsis[at].uplink = seid;
        }
        for (at, value) in [
            (6, 1),
            (8, seid),
            (10, 0),
            (12, self.switch.vebs.len() as u16),
            (14, (VEBS - self.switch.vebs.len()) as u16),
        ] {
            reply.set16(at, value);
        }
        Ok(())
    }

    fn delete_element(&mut self, seid: u16) -> Result<(), u16> {
        if let Some(at) = self.switch.by_seid(seid).filter(|at| *at != 0) {
            self.flush_stats();
            self.switch.vsis.remove(at);
        } else if let Some(at) = self.switch.vebs.iter().position(|veb| *veb == seid) {
            self.switch.vebs.remove(at);
        } else {
            return Err(ECODE_ENOENT);
        }
        self.switch.refresh();
        Ok(())
    }

    fn known_vsi(&mut self, seid: u16) -> Result<usize, u16> {
        let at = self.switch.by_seid(seid);
        if at.is_none() {
            self.board.violations.note("command for a VSI that there is not");
        }
        at.ok_or(ECODE_ENOENT)
    }

    /// Elements of 16 bytes: address, VLAN, flags, queue, match method.
    fn add_filters(&mut self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        const IGNORE_VLAN: u16 = 4;
        const PERFECT: u8 = 1;
        const NO_ROOM: u8 = 0xff;
        let at = self.known_vsi(command.u16(2))?;
        let mut data = command.buffer.clone();
        let mut result = Ok(());
        for element in data.chunks_exact_mut(16).take(usize::from(command.u16(0))) {
            let flags = u16::from_le_bytes([element[8], element[9]]);
            let vlan = u16::from_le_bytes([element[6], element[7]]) & 0xfff;
            let filter = (number(element), (flags & IGNORE_VLAN == 0).then_some(vlan));
            let full = self.switch.filters() >= FILTERS;
            let filters = &mut self.switch.vsis[at].filters;
            element[12] = PERFECT;
            if filters.contains(&filter) {
                result = Err(ECODE_EEXIST);
            } else if full {
                element[12] = NO_ROOM;
                result = Err(ECODE_ENOSPC);
            } else {
                filters.push(filter);
            }
        }
        self.switch.refresh();
        let used = self.switch.filters();
        reply.set16(0, used as u16);
        reply.set16(2, (FILTERS - used) as u16);
        reply.data = Some(data);
        result
    }

    /// Elements of 16 bytes: address, VLAN, flags, error code.
    fn remove_filters(&mut self, command: &Command, reply: &mut Reply) -> Result<(), u16> {
        const IGNORE_VLAN: u8 = 8;
        let at = self.known_vsi(command.u16(2))?;
        let mut data = command.buffer.clone();
        let mut result = Ok(());
        for element in data.chunks_exact_mut(16).take(usize::from(command.u16(0))) {
            let vlan = u16::from_le_bytes([element[6], element[7]]) & 0xfff;
            let filter = (number(element), (element[8] & IGNORE_VLAN == 0).then_some(vlan));
            let filters = &mut self.switch.vsis[at].filters;
            let known = filters.iter().position(|known| *known == filter);
            element[12] = if known.is_some() { 0 } else { ECODE_ENOENT as u8 };
            match known {
                Some(known) => {
                    filters.swap_remove(known);
                }
                None => result = Err(ECODE_ENOENT),
            }
        }
        self.switch.refresh();
        let used = self.switch.filters();
        reply.set16(0, used as u16);
        reply.set16(2, (FILTERS - used) as u16);
        reply.data = Some(data);
        result
    }

    /// Flags, and which of them are meant: everywhere, or in one VLAN.
    fn promiscuous(&mut self, command: &Command) -> Result<(), u16> {
        const IN_VLAN: u16 = 1 << 15;
        let (flags, valid) = (command.u16(0), command.u16(2));
        let at = self.known_vsi(command.u16(4))?;
        let (vlan, vsi) = (command.u16(6), &mut self.switch.vsis[at]);
        if vlan & IN_VLAN == 0 {
            vsi.promiscuous = vsi.promiscuous & !valid | flags & valid;
        } else {
            let vlan = vlan & 0xfff;
            let known = vsi.promiscuous_in.iter().find(|(tag, _)| *tag == vlan).map_or(0, |(_, flags)| *flags);
            vsi.promiscuous_in.retain(|(tag, _)| *tag != vlan);
            let now = known & !valid | flags & valid;
            if now != 0 {
                vsi.promiscuous_in.push((vlan, now));
            }
        }
        self.switch.refresh();
        Ok(())
    }

    /// Control frames by EtherType that are dropped, either way.
    fn control_filter(&mut self, command: &Command) -> Result<(), u16> {
        const DROP: u16 = 2;
        const TX: u16 = 8;
        let (ethertype, flags) = (command.u16(6), command.u16(8));
        let blocked = &mut self.switch.blocked[usize::from(flags & TX == 0)];
        blocked.retain(|known| *known != ethertype);
        if command.opcode == 0x025a && flags & DROP != 0 {
            blocked.push(ethertype);
        }
        Ok(())
    }
}
