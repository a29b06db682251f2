//! When what crosses PCIe is on the other side.
//!
//! ```text
//!   up    read requests  posted writes  messages      one after the other, each its bytes
//!   down  answers        doorbells                    the same
//! ```
//!
//! A model does at once what a card takes its time for: it reads descriptors and data when
//! it sees a doorbell, and writes when it has done something. What is put off is what
//! others see of that. A packet is on the wire no sooner than its data is there
//! ([`Due`]); what is written waits in a queue of posted writes until its time has come
//! ([`Pace::post`], and [`Translation::commit`](super::super::Translation::commit)).
//!
//! Posted writes stay in order, but for one thing: what is said of packets that are still
//! on their way out is decided on before they have left, so it waits apart, and what is
//! received does not wait for it. A message stays behind all that was written before it,
//! and a register that is read has all of it written first, as the answer must not pass it
//! (PCI Express Base Specification 5.0 §2.4.1). What the card writes because a register was
//! written, and not in a step, is the answer to a command, which takes no time here.
//!
//! A step does what has happened since the last one, if the card was busy in that: reads
//! may have begun by then, and a way of the link that was idle may have carried something.
//! Descriptors for received packets are taken to be there: cards fetch them ahead.
//!
//! Two things are not put off. A wire that leads to the kernel (`tap`, `packet`) takes a frame
//! as soon as the card has begun to read for it, up to six round trips early. And where
//! a virtio queue has a vector and its driver wants no interrupt at the moment, what was put
//! back is there at once: the device must look at what is wanted behind its own writes.

use super::super::Picos;
use super::Traffic;
use super::link::{ANSWER, Link, REQUEST};
use crate::dma::Iova;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many round trips of packets the card fetches ahead: as many as a packet's chain of
/// reads takes on a device that knows no doorbell's value, and one more.
const AHEAD: u64 = 6;

/// What the MAC and the bus tell each other.
#[derive(Debug, Default)]
pub struct Due {
    ready: AtomicU64,
    left: AtomicU64,
}

impl Due {
    /// When the packet that is to be sent is in the card.
    #[inline]
    pub fn ready(&self) -> Picos {
        self.ready.load(Ordering::Relaxed)
    }

    /// Says so.
    pub fn set_ready(&self, at: Picos) {
        self.ready.store(at, Ordering::Relaxed);
    }

    /// When the last frame that was sent has left.
    pub fn left(&self) -> Picos {
        self.left.load(Ordering::Relaxed)
    }

    /// Says so.
    #[inline]
    pub fn set_left(&self, at: Picos) {
        self.left.store(at, Ordering::Relaxed);
    }
}

/// What is written.
#[derive(Clone, Debug)]
pub enum What {
    /// Two words, the second last.
    Pair([u64; 2]),
    /// 8 bytes.
    Word(u64),
    /// 4 bytes.
    Half(u32),
    /// 2 bytes.
    Short(u16),
    /// Data.
    Bytes(Box<[u8]>),
}

/// A posted write on its way.
#[derive(Debug)]
pub struct Posted {
    /// When it is there.
    pub at: Picos,
    /// Where to.
    pub to: Iova,
    /// What.
    pub what: What,
}

/// The clock of a function's link.
#[derive(Debug)]
pub struct Pace {
    link: Link,
    now: Cell<Picos>,
    /// What happens now may have begun then.
    since: Cell<Picos>,
    /// Until when each way is taken.
    up: Cell<Picos>,
    down: Cell<Picos>,
    /// When the last data that was asked for is there.
    data: Cell<Picos>,
    /// When what is posted now is there, and whether it is of sent packets.
    at: Cell<Picos>,
    sent: Cell<bool>,
    /// Something was posted since the model was called.
    fresh: Cell<bool>,
    /// Of received packets and all else, and of sent ones; when the last of each is there.
    posted: [RefCell<VecDeque<Posted>>; 2],
    last: [Cell<Picos>; 2],
    messages: RefCell<VecDeque<(Picos, u16)>>,
    due: Arc<Due>,
}

impl Pace {
    /// That of an idle link.
    pub fn new(link: Link, due: Arc<Due>) -> Self {
        let zero = Cell::default;
        Pace {
            link,
            now: zero(),
            since: zero(),
            up: zero(),
            down: zero(),
            data: zero(),
            at: zero(),
            sent: Cell::default(),
            fresh: Cell::default(),
            posted: Default::default(),
            last: Default::default(),
            messages: RefCell::default(),
            due,
        }
    }

    /// How far ahead of the wire packets are fetched.
    pub fn ahead(&self) -> Picos {
        AHEAD * self.link.trip
    }

    /// It is `now`, and what happens may have begun at `since`.
    pub fn tick(&self, now: Picos, since: Picos) {
        self.now.set(now);
        self.since.set(since.min(now));
        self.fresh.set(false);
        self.fall_behind();
    }

    /// What is posted next, until [`Pace::write`], comes behind all that was posted before:
    /// the late half of something.
    pub fn fall_behind(&self) {
        self.at.set(self.now.get().max(self.last[0].get()).max(self.last[1].get()));
        self.sent.set(true);
    }

    /// Takes one way of the link for so many bytes: how long that takes, and when the last
    /// of them has passed if the first is there now.
    fn take(&self, way: &Cell<Picos>, bytes: u64) -> (Picos, Picos) {
        let time = self.link.bytes(bytes);
        way.set(way.get().max(self.since.get()) + time);
        (time, way.get())
    }

    /// When a doorbell of so many bytes is seen, which the processor stores as writes of up
    /// to 64.
    pub fn doorbell(&self, bytes: u64) -> Picos {
        let (time, passed) = self.take(&self.down, bytes + REQUEST * bytes.div_ceil(64).max(1));
        passed.max(self.now.get() + time) + self.link.way()
    }

    /// When memory has answered what is asked for from `after` on: read requests, and so
    /// many answers.
    pub fn fetch(&self, traffic: Traffic, answers: u64, after: Picos) -> Picos {
        if traffic.bytes == 0 {
            return after;
        }
        let (time, passed) = self.take(&self.up, REQUEST * traffic.transactions);
        let asked = passed.max(after.max(self.since.get()) + time);
        self.answer(traffic, answers, asked + self.link.trip)
    }

    /// The same of what was asked for already, and is answered from `after` on.
    pub fn answer(&self, traffic: Traffic, answers: u64, after: Picos) -> Picos {
        let (time, passed) = self.take(&self.down, traffic.bytes + ANSWER * answers);
        passed.max(after + time)
    }

    /// The same of packet data, which comes in the order in which it is asked for.
    pub fn read(&self, traffic: Traffic, answers: u64, after: Picos) -> Picos {
        let bytes = traffic.bytes + ANSWER * answers;
        let there = self.fetch(traffic, answers, after).max(self.data.get() + self.link.bytes(bytes));
        self.data.set(there);
        there
    }

    /// Writes are posted, of `sent` packets or others: what is posted next is there at that
    /// time.
    pub fn write(&self, traffic: Traffic, sent: bool) -> Picos {
        let (time, passed) = self.take(&self.up, traffic.bytes + REQUEST * traffic.transactions);
        let begins = if sent { self.now.get().max(self.due.left()) } else { self.now.get() };
        let at = passed.max(begins + time) + self.link.way();
        self.at.set(at);
        self.sent.set(sent);
        self.at.get().max(self.last[usize::from(sent)].get())
    }

    /// Posts a write of those.
    pub fn post(&self, to: Iova, what: What) {
        let class = usize::from(self.sent.get());
        let at = self.at.get().max(self.last[class].get());
        self.last[class].set(at);
        self.fresh.set(true);
        self.posted[class].borrow_mut().push_back(Posted { at, to, what });
    }

    /// Posts a message, behind all that was posted before.
    pub fn message(&self, vector: u16) {
        let (time, passed) = self.take(&self.up, 4 + REQUEST);
        let mut messages = self.messages.borrow_mut();
        let last = messages.back().map_or(0, |(at, _)| *at).max(self.last[0].get()).max(self.last[1].get());
        messages.push_back((last.max(passed.max(self.now.get() + time) + self.link.way()), vector));
    }

    /// The next write that is there by `now`, in the order of their times.
    pub fn arrived(&self, now: Picos) -> Option<Posted> {
        let next = |class: usize| self.posted[class].borrow().front().map_or(Picos::MAX, |posted| posted.at);
        let class = usize::from(next(1) < next(0));
        let there = next(class) <= now;
        there.then(|| self.posted[class].borrow_mut().pop_front()).flatten()
    }

    /// The next message that is there by `now`.
    pub fn told(&self, now: Picos) -> Option<u16> {
        self.messages.borrow_mut().pop_front_if(|(at, _)| *at <= now).map(|(_, vector)| vector)
    }

    /// Whether something was posted since the last [`Pace::tick`].
    pub fn is_fresh(&self) -> bool {
        self.fresh.get()
    }

    /// All that was posted is there: what comes next need not wait for it.
    pub fn caught_up(&self) {
        self.last.iter().for_each(|last| last.set(0));
    }

    /// Whether something is on its way.
    pub fn is_idle(&self) -> bool {
        self.messages.borrow().is_empty() && self.posted.iter().all(|posted| posted.borrow().is_empty())
    }

    /// Whether more is to be written than the link can take by and by: received packets
    /// have to wait.
    pub fn is_behind(&self) -> bool {
        self.up.get() > self.now.get() + self.ahead() + self.link.bytes(4096)
    }
}
