//! What the threads that capture are told while they run.
//!
//! ```text
//!   one that gives orders                    a thread that captures
//!   the order into the thread's post
//!   post.asked = n           ------------>   once a round: is there another n?
//!                                            the filter changes places with the order's;
//!                                            time and counts go into the post
//!   all have done n: answer  <------------   post.done = n
//! ```
//!
//! A thread reads one word a round, which nobody writes unless there is an order, and takes
//! the order between two rounds: without waiting, without asking the system and without
//! memory, as the filter was made before and the old one is dropped by who gave the order. So
//! each packet is judged by one rule, the old or the new one, and what both want is kept.

use super::intake::Intake;
use crate::error::{Error, Kind, Result};
use crate::measure::Clock;
use crate::packet::Filter;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the threads may take for an order.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pause between two looks at whether they have.
const LOOK: Duration = Duration::from_micros(200);

/// For [`Post::done`]: the thread takes no more packets.
const OVER: u64 = u64::MAX;

/// How far threads were when they took an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// When the last of them took it, ns since 1970.
    pub time: u64,
    /// Packets that had come off the rings.
    pub received: u64,
    /// Of these, those that filters had left out.
    pub filtered: u64,
    /// Those on their way into the file, or else in the ring that others read.
    pub taken: u64,
    /// Those dropped because the disk was behind.
    pub dropped: u64,
    /// Packets that were in the file; all threads share it.
    pub written: u64,
    /// Of the packets that were taken before the last flush, those that were not in the file.
    pub owed: u64,
}

impl Moment {
    fn add(&mut self, other: &Moment) {
        self.time = self.time.max(other.time);
        self.received += other.received;
        self.filtered += other.filtered;
        self.taken += other.taken;
        self.dropped += other.dropped;
        self.written = self.written.max(other.written);
        self.owed += other.owed;
    }
}

/// Where orders for one thread lie.
#[derive(Debug, Default)]
pub struct Post {
    /// Number of the last order.
    asked: AtomicU64,
    /// Number of the last that was carried out, or [`OVER`].
    done: AtomicU64,
    /// Locked by one side at a time: the numbers say by which.
    order: Mutex<Order>,
}

#[derive(Debug, Default)]
struct Order {
    /// The filter to take, or the one that was given up for it.
    filter: Option<Filter>,
    /// Which of the two.
    fresh: bool,
    /// Hand over what was taken so far.
    flush: bool,
    /// How far the thread was.
    moment: Moment,
}

impl Post {
    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a post at which a thread looks for orders.
#[derive(Debug, Default)]
pub struct Orders {
    post: Arc<Post>,
    /// Number of the last order that was carried out.
    seen: u64,
}

impl Orders {
    /// Carries out what was asked for since the last time. To be called once a round.
    #[inline]
    pub fn follow(&mut self, intake: &mut Intake, clock: &Clock) {
        let asked = self.post.asked.load(Ordering::Acquire);
        if asked != self.seen {
            self.carry_out(asked, intake, clock);
        }
    }

    #[cold]
    fn carry_out(&mut self, asked: u64, intake: &mut Intake, clock: &Clock) {
        self.seen = asked;
        let mut order = self.post.order();
        if mem::take(&mut order.fresh)
            && let Some(filter) = &mut order.filter
        {
            intake.exchange(filter);
        }
        if mem::take(&mut order.flush) {
            intake.flush();
        }
        order.moment = intake.moment(clock.wall_ns(clock.now()));
        drop(order);
        self.post.done.store(asked, Ordering::Release);
    }
}

impl Drop for Orders {
    /// However a thread ends, nobody waits for it.
    fn drop(&mut self) {
        self.post.done.store(OVER, Ordering::Release);
    }
}

/// Gives orders to all threads of a capture.
#[derive(Debug, Default)]
pub struct Desk {
    posts: Vec<Arc<Post>>,
    asked: u64,
}

impl Desk {
    /// A thread more: what it looks at.
    pub fn post(&mut self) -> Orders {
        let orders = Orders::default();
        self.posts.push(Arc::clone(&orders.post));
        orders
    }

    /// Has every thread take `filter`, if there is one, and hand over what it has taken if
    /// `flush`; how far they were. To be called when the threads run.
    ///
    /// # Errors
    /// [`Kind::Gone`] if one takes no more packets, [`Kind::Timeout`] if one is kept from
    /// them for too long: it takes the filter when it goes on.
    pub fn give(&mut self, filter: Option<&Filter>, flush: bool) -> Result<Moment> {
        self.asked += 1;
        for post in &self.posts {
            let mut order = post.order();
            if let Some(filter) = filter {
                (order.filter, order.fresh) = (Some(filter.clone()), true);
            }
            order.flush |= flush;
            drop(order);
            post.asked.store(self.asked, Ordering::Release);
        }
        let deadline = Instant::now() + PATIENCE;
        let mut sum = Moment::default();
        for post in &self.posts {
            loop {
                match post.done.load(Ordering::Acquire) {
                    OVER => return Err(Error::new(Kind::Gone, "this capture is at its end")),
                    done if done == self.asked => break,
                    _ if Instant::now() >= deadline => return Err(self.late()),
                    _ => thread::sleep(LOOK),
                }
            }
            let mut order = post.order();
            // The one that was given up.
            order.filter = None;
            sum.add(&order.moment);
        }
        Ok(sum)
    }

    fn late(&self) -> Error {
        let late = self.posts.iter().filter(|post| post.done.load(Ordering::Acquire) != self.asked).count();
        let (all, seconds) = (self.posts.len(), PATIENCE.as_secs());
        let line = format!("{late} of {all} threads did not get to it within {seconds} s and will later; ask again");
        Error::new(Kind::Timeout, line)
    }
}
