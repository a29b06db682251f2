//! What any card can get wrong of packets: what it says of them, where it reads and writes
//! them, its link, and its place in the machine.
//!
//! ```text
//!   a model has a packet to report --way--> Slip: the Nth, is it one that is struck?
//!        |                                    | no: as ever          | yes: an Act
//!        v                                    v                      v
//!   Translation::store_*   <--- at once ------'    in the model's own form: not at all, twice,
//!                          <--- when it is due -------- late, with another length or index
//!   Translation::put, gather: the bytes of packets, or an address that was not given
//! ```
//!
//! What goes wrong is counted where it happens, and told beside what the wire did: a driver
//! may see that something is wrong, but seldom all of it.

use super::fault::Fault;
use super::pcie::pace::What;
use super::wire::{Fate, Note};
use super::{FaultKind, Picos, Translation};
use crate::dma::Iova;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// How late a report is unless it is said, and how long a link is down.
const USUAL: Picos = 1_000_000_000;

/// Where nothing is ever mapped: the last page of all.
const NOWHERE: Iova = !0xfff;

/// The way of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the wire to memory.
    Rx,
    /// From memory to the wire.
    Tx,
}

/// What goes wrong with the report of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is never written.
    Never,
    /// It is written twice.
    Twice,
    /// It is written so much later.
    Late(Picos),
    /// It says this length.
    Length(u32),
    /// It is that of the descriptor behind its own.
    Other,
    /// It does not say that the packet ends.
    Endless,
}

/// A store whose time is still to come.
struct Late {
    due: Picos,
    to: Iova,
    what: What,
}

/// A fault of the data path, and what it has struck.
pub struct Slip {
    fault: Fault,
    seen: Cell<u64>,
    struck: Cell<u64>,
    now: Cell<Picos>,
    /// What is stored is kept until then.
    until: Cell<Option<Picos>>,
    /// Until when all reports are late that must not pass one that is.
    behind: Cell<Picos>,
    late: RefCell<VecDeque<Late>>,
}

impl Slip {
    /// That of a card with this fault, if it is one of the data path.
    pub fn of(fault: Option<Fault>) -> Option<Box<Slip>> {
        let fault = fault.filter(|fault| told(fault.kind).is_some())?;
        Some(Box::new(Slip {
            fault,
            seen: Cell::new(0),
            struck: Cell::new(0),
            now: Cell::new(0),
            until: Cell::new(None),
            behind: Cell::new(0),
            late: RefCell::default(),
        }))
    }

    /// Counts something of this kind; whether it is struck.
    fn strikes(&self, kinds: &[FaultKind]) -> bool {
        if !kinds.contains(&self.fault.kind) {
            return false;
        }
        self.seen.set(self.seen.get() + 1);
        let strikes = self.fault.strikes_packet(self.seen.get());
        self.struck.set(self.struck.get() + u64::from(strikes));
        strikes
    }

    /// What goes wrong with the next report of a packet of this way.
    #[cold]
    fn report(&self, way: Direction) -> Option<Act> {
        use FaultKind::{RxDup, RxEndless, RxLate, RxLength, RxOther, RxStuck, TxDup, TxLate, TxOther, TxStuck};
        let strikes = match way {
            Direction::Rx => self.strikes(&[RxStuck, RxDup, RxLength, RxLate, RxOther, RxEndless]),
            Direction::Tx => self.strikes(&[TxStuck, TxDup, TxLate, TxOther]),
        };
        strikes.then_some(match self.fault.kind {
            RxDup | TxDup => Act::Twice,
            RxLength => Act::Length(self.fault.measure.unwrap_or(0) as u32),
            RxLate | TxLate => Act::Late(self.fault.measure.unwrap_or(USUAL)),
            RxOther | TxOther => Act::Other,
            RxEndless => Act::Endless,
            _ => Act::Never,
        })
    }

    /// What it has done so far, if anything.
    pub fn note(&self) -> Option<Note> {
        let (key, words) = told(self.fault.kind)?;
        (self.struck.get() > 0).then(|| Note::new(Fate::Faulted, key, words, self.struck.get()))
    }

    /// Of a fault of the whole card: it has seen so many packets in all. Whether one of those
    /// that are new is struck.
    pub fn passes(&self, packets: u64) -> bool {
        const KINDS: [FaultKind; 2] = [FaultKind::LinkFlap, FaultKind::Pulled];
        KINDS.contains(&self.fault.kind) && (self.seen.get()..packets).filter(|_| self.strikes(&KINDS)).count() > 0
    }

    /// Whether it pulls the card, or else for how long it takes the link down.
    pub fn down(&self) -> Option<Picos> {
        (self.fault.kind == FaultKind::LinkFlap).then(|| self.fault.measure.unwrap_or(USUAL))
    }
}

/// A fault of the data path in a document, and in words that follow a count.
fn told(kind: FaultKind) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        FaultKind::RxStuck => ("fault_rx_stuck", "received packets were never reported (fault=rx-stuck)"),
        FaultKind::TxStuck => ("fault_tx_stuck", "sent packets were never reported (fault=tx-stuck)"),
        FaultKind::RxDup => ("fault_rx_dup", "received packets were reported twice (fault=rx-dup)"),
        FaultKind::TxDup => ("fault_tx_dup", "sent packets were reported twice (fault=tx-dup)"),
        FaultKind::RxLength => {
            ("fault_rx_length", "received packets were reported too short or too long (fault=rx-length)")
        }
        FaultKind::RxLate => ("fault_rx_late", "received packets were reported late (fault=rx-late)"),
        FaultKind::TxLate => ("fault_tx_late", "sent packets were reported late (fault=tx-late)"),
        FaultKind::RxOther => ("fault_rx_other", "received packets were reported as another's (fault=rx-other)"),
        FaultKind::TxOther => ("fault_tx_other", "sent packets were reported as another's (fault=tx-other)"),
        FaultKind::RxEndless => {
            ("fault_rx_endless", "received packets were reported without an end (fault=rx-endless)")
        }
        FaultKind::RxIommu => {
            ("fault_rx_iommu", "writes were refused by the IOMMU: no memory of the card's (fault=rx-iommu)")
        }
        FaultKind::TxIommu => {
            ("fault_tx_iommu", "reads were refused by the IOMMU: no memory of the card's (fault=tx-iommu)")
        }
        FaultKind::LinkFlap => ("fault_link_flap", "times the link went down (fault=link-flap)"),
        FaultKind::Pulled => ("fault_pulled", "packets after which the card was pulled (fault=pulled)"),
        _ => return None,
    })
}

impl Translation {
    /// Whether anything goes wrong with packets.
    #[inline]
    pub fn slips(&self) -> bool {
        self.slip.is_some()
    }

    /// What goes wrong with the report that is next, of a packet of this way.
    #[inline]
    pub fn slip(&self, way: Direction) -> Option<Act> {
        self.slip.as_ref().and_then(|slip| slip.report(way))
    }

    /// Does what stores a report so that all of it comes so much later.
    #[cold]
    pub fn later(&self, by: Picos, store: impl FnOnce()) {
        let Some(slip) = &self.slip else { return store() };
        slip.until.set(Some(slip.now.get() + by));
        store();
        slip.until.set(None);
    }

    /// The same, where what is stored behind it must not come before it: how much later all of
    /// that is.
    #[inline]
    pub fn late_behind(&self, by: Option<Picos>) -> Picos {
        let Some(slip) = &self.slip else { return 0 };
        let due = slip.behind.get().max(by.map_or(0, |by| slip.now.get() + by));
        slip.behind.set(due);
        due.saturating_sub(slip.now.get())
    }

    /// Keeps a store for later, if it is one; false if it is to be done now.
    #[inline]
    pub(super) fn keeps(&self, to: Iova, what: impl FnOnce() -> What) -> bool {
        match &self.slip {
            None => false,
            Some(slip) => slip
                .until
                .get()
                .inspect(|&due| slip.late.borrow_mut().push_back(Late { due, to, what: what() }))
                .is_some(),
        }
    }

    /// Whether the bytes of the packet that is next are written to an address that the card
    /// was not given, or read from there. The IOMMU refuses that: the card is told with the
    /// completion of a read (PCIe 2.3.2: Unsupported Request), and of a write never.
    #[inline]
    pub(super) fn strays(&self, way: Direction) -> bool {
        let kind = match way {
            Direction::Rx => FaultKind::RxIommu,
            Direction::Tx => FaultKind::TxIommu,
        };
        self.slip.as_ref().is_some_and(|slip| slip.strikes(&[kind]) && !self.is_mapped(NOWHERE))
    }

    /// Stores what is due by `now`; whether something is left.
    #[cold]
    pub(super) fn bring(&self, now: Picos) -> bool {
        let Some(slip) = &self.slip else { return false };
        slip.now.set(now);
        let mut late = slip.late.borrow_mut();
        // Each at its own time, those of one time in their order.
        late.retain(|store| {
            if store.due <= now && self.is_mapped(store.to) {
                self.arrive(store.to, &store.what);
            }
            store.due > now
        });
        !late.is_empty()
    }

    /// Forgets what was to come late: the card was reset.
    pub(super) fn forget_late(&self) {
        if let Some(slip) = &self.slip {
            slip.late.borrow_mut().clear();
            slip.behind.set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Spec;
    use super::*;
    use crate::dma::{Addressing, Arena};
    use std::sync::atomic::Ordering;

    /// Memory of a card with this fault, and where it begins.
    fn memory(fault: &str) -> (Translation, Iova) {
        let spec: Spec = format!("82599,fault={fault}").parse().unwrap();
        let arena = Arena::new(4096, Addressing::Translated).unwrap();
        let mut memory = Translation::new();
        memory.map_arena(&arena).unwrap();
        memory.set_bus_master(true);
        memory.slip = Slip::of(spec.fault);
        (memory, arena.iova(0))
    }

    #[test]
    fn what_is_late_comes_in_its_order_when_it_is_due_or_never_after_a_reset() {
        let (memory, at) = memory("rx-late=5us:2");
        let word = |at| memory.word64(at).unwrap().load(Ordering::Relaxed);
        assert_eq!((memory.slip(Direction::Rx), memory.slip(Direction::Tx)), (None, None));
        let Some(Act::Late(by)) = memory.slip(Direction::Rx) else { panic!("the second is late") };
        memory.bring(1_000_000);
        memory.later(by, || (1..=2).for_each(|value| memory.store64(at, value)));
        memory.store64(at + 8, 3);
        assert!(memory.bring(5_999_999));
        assert_eq!((word(at), word(at + 8)), (0, 3), "what is behind it does not wait");
        assert!(!memory.bring(6_000_000));
        assert_eq!(word(at), 2);
        memory.later(by, || memory.store64(at, 4));
        memory.forget_late();
        assert!(!memory.bring(Picos::MAX));
        assert_eq!((word(at), memory.slip.as_ref().unwrap().note().unwrap().frames), (2, 1));
    }

    #[test]
    fn an_address_that_was_not_given_is_refused_and_no_rule_is_broken() {
        let (memory, at) = memory("rx-iommu:/2");
        assert_eq!([1, 2, 3, 4].map(|byte| memory.put(at, &[byte])), [true, false, true, false]);
        let mut read = Vec::new();
        assert!(memory.gather(at, 1, &mut read));
        assert_eq!((read, memory.violations_total()), (vec![3], 0));
        assert_eq!(memory.slip.as_ref().unwrap().note().unwrap().frames, 2);
    }

    #[test]
    fn a_card_is_pulled_or_its_link_goes_down_after_packets_of_both_ways() {
        let (memory, _) = memory("link-flap=20ms:3");
        let slip = memory.slip.as_ref().unwrap();
        assert_eq!([2, 2, 5, 9].map(|packets| slip.passes(packets)), [false, false, true, false]);
        assert_eq!(slip.down(), Some(20_000_000_000));
        let (memory, _) = self::memory("pulled:1");
        let slip = memory.slip.as_ref().unwrap();
        assert!(!slip.passes(0) && slip.passes(1) && slip.down().is_none());
    }
}
