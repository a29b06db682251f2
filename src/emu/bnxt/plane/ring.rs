//! Rings: what they are asked to be, and what they are.
//!
//! ```text
//!             P4                                P5
//!   group: RX + AGG + CQ + statistics     RX <- AGG      VNIC or RSS table: RX + CQ
//!   TX --> CQ --> MSI-X                   TX --> CQ --> NQ --> MSI-X
//! ```

use super::super::super::pcie::Bell;
use super::super::super::{Board, Translation};
use super::completion::Completion;
use super::entries::{Entries, Words};
use super::notification::Notification;
use super::slab::{Handle, Slab};
use super::{Outcome, Plane, Refusal, RingKind, RingSpec};

/// Enables of RING_ALLOC.
const STAT_CTX: u32 = 1 << 3;
const RX_RING_ID: u32 = 1 << 6;
const NQ_RING_ID: u32 = 1 << 7;
const RX_BUF_SIZE: u32 = 1 << 8;

/// Flags of RING_ALLOC.
const SOP_PAD: u16 = 1 << 0;
const TX_STAMPS: u16 = 1 << 3;

/// Modes of interrupts.
const MSIX: u8 = 2;

/// A ring that a driver has.
pub struct Ring {
    pub kind: RingKind,
    /// Doorbell slot (P4).
    pub slot: u16,
    pub role: Role,
}

/// What a ring is for.
pub enum Role {
    Completion(Completion),
    Notification(Notification),
    Transmit(Transmit),
    Receive(Receive),
}

/// A transmit ring.
pub struct Transmit {
    pub entries: Entries,
    pub cq: Handle,
    pub stat: Option<Handle>,
    /// Stamps come in completions.
    pub stamps: bool,
    /// First descriptor that is not the card's, and first that is not sent.
    pub producer: u32,
    pub consumer: u32,
    /// When the doorbell was heard.
    pub bell: Bell,
    /// It met what it cannot go on from.
    pub dead: bool,
}

/// A receive or aggregation ring.
pub struct Receive {
    pub entries: Entries,
    /// Aggregation ring that belongs to it; it is one itself.
    pub agg: Option<Handle>,
    pub is_agg: bool,
    pub stat: Option<Handle>,
    /// Completion queue, as far as it is known.
    pub cq: Option<Handle>,
    /// Two bytes are left free in front of a frame.
    pub padded: bool,
    /// First descriptor that is not the card's, and first that is not filled.
    pub producer: u32,
    pub consumer: u32,
    /// The one at `consumer`, if it was read ahead.
    pub ahead: Option<Words>,
    /// The opaque value of the last one filled.
    pub opaque: u32,
    /// A bad buffer has stopped it (P4).
    pub dead: bool,
}

impl Receive {
    /// Descriptors that wait for frames.
    #[inline]
    pub fn posted(&self) -> u32 {
        self.producer.wrapping_sub(self.consumer)
    }

    /// The first descriptor that is not filled.
    #[inline]
    pub fn next(&self, memory: &Translation) -> Option<Words> {
        self.ahead.or_else(|| self.entries.read(self.consumer, memory))
    }

    /// The next so many are filled.
    #[inline]
    pub fn take(&mut self, count: u32) {
        self.consumer = self.consumer.wrapping_add(count);
        self.ahead = None;
    }
}

/// A transmit ring by id.
#[inline]
pub fn transmit_ring(rings: &Slab<Ring>, id: u16) -> Option<&Transmit> {
    match &rings.get(id)?.role {
        Role::Transmit(ring) => Some(ring),
        _ => None,
    }
}

impl Plane {
    /// A transmit ring by id.
    #[inline]
    pub(super) fn tx_ring(&mut self, id: u16) -> Option<&mut Transmit> {
        match &mut self.rings.get_mut(id)?.role {
            Role::Transmit(ring) => Some(ring),
            _ => None,
        }
    }

    /// A receive or aggregation ring by id.
    #[inline]
    pub(super) fn rx_ring(&mut self, id: u16) -> Option<&mut Receive> {
        match &mut self.rings.get_mut(id)?.role {
            Role::Receive(ring) => Some(ring),
            _ => None,
        }
    }

    /// Reads the next descriptor of each ring that was filled, as cards do between frames: none
    /// waits then for one to come from memory.
    pub(super) fn read_ahead(&mut self, board: &Board) {
        while let Some(id) = self.rx.filled.pop() {
            if let Some(ring) = self.rx_ring(id).filter(|ring| ring.posted() > 0) {
                ring.ahead = ring.next(&board.bus.memory);
            }
        }
    }

    /// The id of a ring that another one names, if it is still that ring.
    #[inline]
    pub(super) fn live(&self, ring: Option<Handle>) -> Option<u16> {
        ring.filter(|ring| self.rings.holds(*ring)).map(|ring| ring.id)
    }

    /// RING_ALLOC: the ring's id.
    pub fn alloc_ring(&mut self, board: &mut Board, spec: &RingSpec) -> Outcome<u16> {
        let kind = spec.kind.ok_or(Refusal::INVALID)?;
        if !self.chip.p5() && (matches!(kind, RingKind::Aggregation | RingKind::Notification) || self.taken(kind, spec))
        {
            return Err(Refusal::INVALID);
        }
        self.check_references(kind, spec)?;
        let entries = Entries::of(self.chip, spec, &board.bus.memory)?;
        let vector = Some(spec.logical_id).filter(|_| spec.interrupt == MSIX);
        let told = matches!(kind, RingKind::Completion | RingKind::Notification);
        if told && !entries.clean(&board.bus.memory) {
            board.violations.note("completion or notification queue whose memory is not zero");
        }
        let (cq, nq) = (self.rings.handle(spec.cq), self.rings.handle(spec.nq));
        let stat = u16::try_from(spec.stat).ok().and_then(|stat| self.stats.handle(stat));
        let role = match kind {
            RingKind::Completion => {
                let mut queue = match self.chip.p5() {
                    true => Completion::new(entries, None, nq, spec.handle),
                    false => Completion::new(entries, vector, None, 0),
                };
                queue.at_once = self.crowd.is_overlooked();
                Role::Completion(queue)
            }
            RingKind::Notification => Role::Notification(Notification::new(entries, vector)),
            RingKind::Transmit => Role::Transmit(Transmit {
                entries,
                cq: cq.ok_or(Refusal::INVALID)?,
                stat,
                stamps: self.chip.p5() && spec.flags & TX_STAMPS != 0,
                producer: 0,
                consumer: 0,
                bell: Bell::default(),
                dead: false,
            }),
            RingKind::Receive | RingKind::Aggregation => Role::Receive(Receive {
                entries,
                agg: None,
                is_agg: kind == RingKind::Aggregation,
                stat,
                cq: None,
                padded: spec.flags & SOP_PAD != 0,
                producer: 0,
                consumer: 0,
                ahead: None,
                opaque: 0,
                dead: false,
            }),
        };
        let ring = Ring { kind, slot: spec.logical_id, role };
        let id = self.rings.insert(ring, board.nasty.then_some(&mut board.random)).ok_or(Refusal::ALLOC)?;
        match kind {
            RingKind::Transmit => self.tx.turns.start(id),
            RingKind::Aggregation => {
                let agg = self.rings.handle(id);
                if let Some(ring) = self.rx_ring(spec.rx_ring) {
                    ring.agg = agg;
                }
            }
            _ => {}
        }
        if !self.chip.p5() {
            self.bells.attach(kind, spec.logical_id, id);
        }
        Ok(id)
    }

    /// Whether the doorbell of such a ring is another's (P4).
    fn taken(&self, kind: RingKind, spec: &RingSpec) -> bool {
        self.bells.attached(kind, spec.logical_id).is_some()
    }

    /// Whether all that a request names is there.
    fn check_references(&mut self, kind: RingKind, spec: &RingSpec) -> Outcome<()> {
        let p5 = self.chip.p5();
        let on = |enable: u32| spec.enables & enable != 0;
        let stat = u16::try_from(spec.stat).is_ok_and(|stat| self.stats.get(stat).is_some());
        let (cq, nq) = (self.cq(spec.cq).is_some(), self.nq(spec.nq).is_some());
        let queue = self.queues.is_empty() || self.queues.contains(&spec.queue);
        let base = self.rx_ring(spec.rx_ring).is_some_and(|ring| !ring.is_agg && ring.agg.is_none());
        let fits = match kind {
            RingKind::Completion => !p5 || on(NQ_RING_ID) && nq,
            RingKind::Notification => true,
            RingKind::Transmit => cq && queue,
            RingKind::Receive => !p5 || on(RX_BUF_SIZE) && spec.buffer != 0 && (!on(NQ_RING_ID) || nq),
            RingKind::Aggregation => on(RX_RING_ID) && on(RX_BUF_SIZE) && spec.buffer != 0 && base,
        };
        if fits && (stat || !on(STAT_CTX)) { Ok(()) } else { Err(Refusal::INVALID) }
    }

    /// RING_FREE.
    pub fn free_ring(&mut self, board: &mut Board, kind: RingKind, id: u16) -> Outcome<()> {
        let slot = self.rings.get(id).filter(|ring| ring.kind == kind).ok_or(Refusal::INVALID)?.slot;
        let own = self.rings.handle(id).ok_or(Refusal::INVALID)?;
        // What it still has to write comes before the answer.
        self.mend(board, Some(id));
        match kind {
            RingKind::Completion if self.rings.iter().any(|(_, ring)| ring.reports_to(own)) => {
                board.violations.note("completion queue freed while a ring reports to it");
            }
            RingKind::Notification if self.rings.iter().any(|(_, ring)| ring.notifies(own)) => {
                board.violations.note("notification queue freed while a completion queue uses it");
            }
            RingKind::Transmit => self.tx.stop(id),
            RingKind::Receive | RingKind::Aggregation if board.nasty => self.start_lingering(board, id),
            _ => {}
        }
        self.bells.detach(kind, slot);
        self.bells.forget(id);
        self.busy.retain(|busy| *busy != id);
        self.rings.remove(id);
        Ok(())
    }
}

impl Ring {
    /// Whether it is a transmit or receive ring with this completion queue.
    fn reports_to(&self, cq: Handle) -> bool {
        match &self.role {
            Role::Transmit(ring) => ring.cq == cq,
            Role::Receive(ring) => ring.cq == Some(cq),
            _ => false,
        }
    }

    /// Whether it is a completion queue with this notification queue.
    fn notifies(&self, nq: Handle) -> bool {
        matches!(&self.role, Role::Completion(queue) if queue.nq == Some(nq))
    }

    /// Whether it is a completion queue.
    pub fn completes(&self) -> bool {
        matches!(self.role, Role::Completion(_))
    }

    /// The statistics context that it counts in.
    pub fn stat(&self) -> Option<Handle> {
        match &self.role {
            Role::Transmit(ring) => ring.stat,
            Role::Receive(ring) => ring.stat,
            _ => None,
        }
    }
}
