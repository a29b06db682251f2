//! Compressed completions, on queues that asked for them.
//!
//! ```text
//!   slot c      title: what all frames have in common, how many there are
//!   slot c+1    eight small entries of 8 bytes: hash or checksum, length
//!   slot c+8    the next eight, c+16 ...
//!   slot c+n    the next entry
//! ```

use super::super::super::Board;
use super::Plane;
use super::be::u16_at;
use super::cq::Cq;

/// Frames that share a title.
const MOST: usize = 16;

/// Small entries in a slot.
const SLOT: usize = 8;

/// The last byte of an entry for a received frame, and the format of a title.
const RECEIVED: u8 = 0x20;
const COMPRESSED: u8 = 3 << 2;

/// What differs from frame to frame, and is not in small entries either: stamps.
const OWN: [std::ops::Range<usize>; 4] = [0x0c..0x10, 0x14..0x16, 0x2c..0x38, 0x3c..0x3e];

/// An entry without what is its own.
fn common(entry: &[u8; 64]) -> [u8; 64] {
    let mut entry = *entry;
    OWN.into_iter().for_each(|own| entry[own].fill(0));
    entry
}

impl Cq {
    /// Whether an entry may follow those that wait, under the same title.
    fn joins(&self, entry: &[u8; 64]) -> bool {
        let Some(last) = self.session.last() else { return true };
        let next = u16_at(last, 0x3c).wrapping_add(1) == u16_at(entry, 0x3c);
        next && common(last) == common(entry) && self.session.len() < MOST
    }

    /// The small entry of a frame.
    fn small(&self, entry: &[u8; 64]) -> [u8; 8] {
        let mut small = [0; 8];
        match self.spec.mini_format {
            0 => small[..4].copy_from_slice(&entry[0x0c..0x10]),
            1 => small[..2].copy_from_slice(&entry[0x14..0x16]),
            _ => {
                small[..2].copy_from_slice(&entry[0x14..0x16]);
                small[2..4].copy_from_slice(&entry[0x3c..0x3e]);
            }
        }
        small[4..].copy_from_slice(&entry[0x2c..0x30]);
        small
    }
}

impl Plane {
    /// Puts an entry into a queue that compresses, or keeps it for company.
    pub(super) fn complete_compressed(
        &mut self,
        board: &mut Board,
        cqn: u32,
        entry: [u8; 64],
        solicited: bool,
    ) -> bool {
        let Some(cq) = self.cqs.get_mut(cqn).filter(|cq| !cq.dead) else { return false };
        let small = entry[0x3f] == RECEIVED;
        let fits = (small && cq.joins(&entry)) || self.end_session(board, cqn);
        let Some(cq) = self.cqs.get_mut(cqn).filter(|_| small && fits) else {
            return fits && self.write_entry(board, cqn, entry, solicited, 1);
        };
        cq.session.push(entry);
        if !self.sessions.contains(&cqn) {
            self.sessions.push(cqn);
        }
        true
    }

    /// Writes what waits for company, in all queues.
    pub(super) fn end_sessions(&mut self, board: &mut Board) {
        for cqn in std::mem::take(&mut self.sessions) {
            self.end_session(board, cqn);
        }
    }

    /// Writes what waits for company in a queue; false if it has no room.
    pub(super) fn end_session(&mut self, board: &mut Board, cqn: u32) -> bool {
        let Some(cq) = self.cqs.get_mut(cqn) else { return false };
        let session = std::mem::take(&mut cq.session);
        let count = session.len() as u32;
        let [first, _, ..] = &session[..] else {
            return session.iter().all(|entry| self.write_entry(board, cqn, *entry, false, 1));
        };
        if !cq.has_room(board, count) {
            return session.iter().all(|entry| self.write_entry(board, cqn, *entry, false, 1));
        }
        for (n, part) in session.chunks(SLOT).enumerate() {
            let bytes: Vec<u8> = part.iter().flat_map(|entry| cq.small(entry)).collect();
            let slot = cq.slot(if n == 0 { 1 } else { (n * SLOT) as u32 });
            if let Some(meter) = board.bus.memory.meter() {
                meter.report([(slot, bytes.len() as u64)], false);
            }
            board.bus.memory.put(slot, &bytes);
        }
        let mut title = *first;
        title[0x2c..0x30].copy_from_slice(&count.to_be_bytes());
        title[0x3f] |= COMPRESSED;
        self.write_entry(board, cqn, title, false, count)
    }
}
