//! The scheduler's queues, of which a transmit ring names one.

use super::super::Bnxt;
use super::super::hwrm::{Answer, Reply, Request};

/// Profiles of queues: drops when full, for congestion notifications of RoCE, never drops.
const LOSSY: u8 = 0;
const LOSSLESS: u8 = 1;
const CNP: u8 = 2;
/// There is no queue there.
const NO_QUEUE: u8 = 0xff;
/// Whom a queue is for: RoCE, the NIC, congestion notifications.
const FOR_ROCE: u8 = 1;
const FOR_NIC: u8 = 2;
const FOR_CNP: u8 = 4;

/// The queues by slot: number, profile, and whom they are for.
#[derive(Debug)]
pub struct Scheduler([(u8, u8, u8); 8]);

impl Scheduler {
    /// The queues. The first is one for a NIC, on a nasty card one that never drops, which
    /// will do, and if that was asked for (fault) one that a NIC may not use. Then numbers
    /// do not begin at 0 either, as they do on other cards: iPXE of 2025 names queue 0
    /// and has not asked for any.
    pub fn new(nasty: bool, far: bool) -> Self {
        let mut queues = [(NO_QUEUE, 0xff, 0); 8];
        let first = if nasty || far { 4 } else { 0 };
        let lossy = (first, LOSSY, FOR_NIC);
        let cnp = (first + 1, CNP, FOR_CNP);
        let lossless = (first + 2, LOSSLESS, FOR_ROCE);
        let used = match (far, nasty) {
            (true, _) => [(0, cnp), (1, lossless), (3, lossy)],
            (false, true) => [(0, lossless), (1, cnp), (3, lossy)],
            (false, false) => [(0, lossy), (1, cnp), (2, lossless)],
        };
        for (slot, queue) in used {
            queues[slot] = queue;
        }
        Scheduler(queues)
    }

    /// Numbers of those that transmit rings may name.
    pub fn usable(&self) -> Vec<u16> {
        let usable = self.0.iter().filter(|(id, profile, _)| *id != NO_QUEUE && *profile != CNP);
        usable.map(|(id, ..)| u16::from(*id)).collect()
    }
}

/// QUEUE_QPORTCFG: the same for both directions.
pub fn queues(card: &mut Bnxt, _: &Request) -> Answer {
    card.function.asked_for_queues = true;
    let queues = card.function.queues.0;
    let slots = queues.iter().rposition(|(id, ..)| *id != NO_QUEUE).map_or(0, |last| last as u8 + 1);
    let pairs: Vec<u8> = queues.iter().flat_map(|(id, profile, _)| [*id, *profile]).collect();
    let mut reply = Reply::new(168).bytes(0x08, &[slots, 1]).bytes(0x0f, &pairs).u8(0x1f, queues[0].2);
    for (n, (id, _, whose)) in queues.iter().enumerate().filter(|(_, (id, ..))| *id != NO_QUEUE) {
        reply = reply.bytes(0x20 + 16 * n, format!("queue {id}").as_bytes());
        if n > 0 {
            reply = reply.u8(0xa0 + n - 1, *whose);
        }
    }
    Ok(reply)
}

/// QUEUE_PRI2COS_QCFG: which queue frames of each priority go to. All go to one.
pub fn priorities(card: &mut Bnxt, _: &Request) -> Answer {
    let queue = card.function.queues().first().map_or(NO_QUEUE, |queue| *queue as u8);
    Ok(Reply::new(24).bytes(0x08, &[queue; 8]))
}
