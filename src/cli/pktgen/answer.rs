//! Answers to those who look for the addresses that packets come from: `--respond`.
//!
//! A thread with a transmit queue of its own takes what comes in on the receive queue, so that
//! what is sent at a rate does not wait for it.

use crate::cli::args::Limits;
use crate::cli::output::{self, Output};
use crate::cli::session::Session;
use crate::cli::signal::Stop;
use crate::dma::{BATCH_MAX, BUFFER_SIZE, Batch, Pool};
use crate::driver::{RxQueue, TxQueue};
use crate::error::{Error, Result};
use crate::measure::{Clock, Idle};
use crate::packet::respond::{Asked, Responder};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Whether there are answers, and packets beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Respond {
    /// While packets are sent
    Beside,
    /// And send nothing else
    Only,
}

/// The queues of who answers.
pub struct Answers {
    /// Declared before the pool whose buffers they hold.
    rx: Vec<RxQueue>,
    tx: TxQueue,
    pool: Pool,
    responder: Responder,
    clock: Clock,
    limits: Limits,
    stop: Stop,
    /// Whether those are done beside whom it answers.
    over: Arc<AtomicBool>,
}

/// What was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    arp: u64,
    neighbour: u64,
    ping: u64,
    /// Answers that the ring had no room for.
    unsent: u64,
    /// Answers that are counted as such and that no ring took until the end.
    stuck: u64,
    /// Packets that asked nothing.
    others: u64,
}

impl Answers {
    /// Ready to take packets in, for so long or for so many answers.
    ///
    /// # Errors
    /// What making a pool of buffers or filling rings meets.
    pub fn new(
        mut rx: Vec<RxQueue>,
        tx: TxQueue,
        responder: Responder,
        clock: Clock,
        limits: Limits,
        session: &Session,
    ) -> Result<Self> {
        let rings: usize = rx.iter().map(RxQueue::buffers).sum::<usize>() + tx.buffers();
        let pool = session.pool_of(0, rings + 2 * BATCH_MAX)?;
        for queue in &mut rx {
            queue.fill(&pool)?;
        }
        Ok(Answers { rx, tx, pool, responder, clock, limits, stop: session.stop.clone(), over: Arc::default() })
    }

    /// What tells it that those are done beside whom it answers.
    pub fn over(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.over)
    }

    /// Answers in a thread of its own, which drops `done` in the end.
    ///
    /// # Errors
    /// What the system says of one more thread.
    pub fn spawn(self, done: Option<mpsc::Sender<()>>) -> Result<JoinHandle<Answered>> {
        let body = move || {
            let answered = self.run();
            drop(done);
            answered
        };
        let thread = thread::Builder::new().name("respond".into()).spawn(body);
        thread.map_err(|error| Error::thread("starting a thread that answers", error))
    }

    /// Answers until the run ends, or its time is over.
    fn run(self) -> Answered {
        let Answers { mut rx, mut tx, pool, responder, clock, limits, stop, over } = self;
        let mut answered = Answered::default();
        let (mut batch, mut answers) = (Batch::new(&pool), Batch::new(&pool));
        let mut answer = Vec::with_capacity(BUFFER_SIZE);
        let mut idle = Idle::new();
        let end = limits.duration.map_or(u64::MAX, |limit| clock.now().saturating_add(clock.ticks(limit)));
        let most = limits.count.unwrap_or(u64::MAX);
        let is_over = |answered: &Answered| answered.sent() >= most || stop.requested() || over.load(Ordering::Relaxed);
        while !is_over(&answered) && clock.now() < end {
            let mut came = 0;
            for queue in &mut rx {
                came += queue.recv(&mut batch);
                for i in 0..batch.len() {
                    if answered.sent() >= most {
                        break;
                    }
                    // What takes several buffers is longer than anybody asks.
                    let part = batch.continues(i) || i > 0 && batch.continues(i - 1);
                    let asked = if part { None } else { responder.answer(batch.frame(i), &mut answer) };
                    let fits = asked.is_none() || answers.push_frame(&answer);
                    answered.count(asked, fits);
                }
                batch.clear();
                // What the ring has no room for waits in the batch.
                tx.send(&mut answers);
            }
            if came == 0 {
                tx.reclaim(&pool);
            }
            idle.polled(came);
        }
        let patience = clock.now().saturating_add(clock.ticks(Duration::from_millis(100)));
        while clock.now() < patience {
            let sent = tx.send(&mut answers);
            if tx.reclaim(&pool) == 0 && answers.is_empty() {
                break;
            }
            idle.polled(sent);
        }
        answered.stuck = answers.len() as u64;
        answers.clear();
        answered
    }
}

impl Answered {
    fn count(&mut self, asked: Option<Asked>, fits: bool) {
        let count = match asked {
            None => &mut self.others,
            Some(_) if !fits => &mut self.unsent,
            Some(Asked::Arp) => &mut self.arp,
            Some(Asked::Neighbour) => &mut self.neighbour,
            Some(Asked::Ping) => &mut self.ping,
        };
        *count += 1;
    }

    /// Answers that were sent.
    pub fn sent(&self) -> u64 {
        self.arp + self.neighbour + self.ping - self.stuck
    }

    /// Prints what was answered.
    pub fn print(&self, output: &Output) -> std::io::Result<()> {
        let [arp, neighbour, ping, unsent] =
            [self.arp, self.neighbour, self.ping, self.unsent + self.stuck].map(output::grouped);
        output.result(format_args!("answered  {arp} of ARP, {neighbour} neighbour discovery, {ping} pings"))?;
        if self.unsent + self.stuck > 0 {
            output.result(format_args!("          {unsent} not, or not in time, as the ring had no room for them"))?;
        }
        Ok(())
    }

    /// The same as fields of a document.
    pub fn json(&self) -> Value {
        json!({
            "arp": self.arp,
            "neighbour_discovery": self.neighbour,
            "ping": self.ping,
            "no_room": self.unsent + self.stuck,
            "others": self.others,
        })
    }
}
