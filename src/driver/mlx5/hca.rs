//! Talking to the firmware: a command is asked, and while it is waited for, what the
//! firmware wants itself is seen to.
//!
//! ```text
//!   ask ----> entry for commands ---------------------------> answer
//!               |  meanwhile
//!               +--> events: pages wanted --> entry for pages
//!                            the rest     --> kept until news is asked for
//! ```
//!
//! A firmware that wants pages may answer nothing else before it has them, so they go
//! by an entry of their own, one request at a time, and nobody waits for its answer.

use super::cmd::{disable_hca, enable_hca, header, init_hca, manage_pages, query_pages, teardown_hca};
use super::cmdq::{self, CommandQueue, Failure, Outcome, PAGES_GIVEN, PAGES_TAKEN, Posted, Slot};
use super::codes::{Refusal, status};
use super::eq::{Event, EventQueue, PageEvent};
use super::pages::Pages;
use crate::dma::Iova;
use crate::driver::mailbox::{Reply, Request};
use crate::error::{Error, Kind, Result};
use crate::pci::Function;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What pages are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// To say what it can.
    Boot = 1,
    /// To start.
    Init = 2,
    /// To run.
    Regular = 3,
}

/// Pages that a firmware may want at once: 4 GiB.
const MOST_PAGES: usize = 1 << 20;

/// What is done with pages (MANAGE_PAGES).
mod way {
    pub const CANNOT_GIVE: u64 = 0;
    pub const GIVE: u64 = 1;
    pub const TAKE: u64 = 2;
}

/// What the firmware told of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// A completion queue is lost: its number and why.
    pub cq: Option<(u32, u8)>,
}

/// A request about pages that the firmware has.
enum Job {
    Give(Vec<Iova>),
    Take,
    CannotGive,
}

/// The firmware of a card.
pub struct Hca {
    device: String,
    function: Weak<dyn Function>,
    /// The way to it.
    pub queue: CommandQueue,
    pages: Pages,
    events: Option<EventQueue>,
    wanted: VecDeque<PageEvent>,
    job: Option<(Posted, Job)>,
    news: News,
    /// How the firmware numbers this function.
    number: u16,
    /// The function was taken into use, and its firmware started.
    state: (bool, bool),
}

impl Hca {
    /// Nothing was asked yet.
    pub fn new(function: &Arc<dyn Function>, queue: CommandQueue) -> Hca {
        Hca {
            device: function.name().to_owned(),
            function: Arc::downgrade(function),
            queue,
            pages: Pages::default(),
            events: None,
            wanted: VecDeque::new(),
            job: None,
            news: News::default(),
            number: 0,
            state: (false, false),
        }
    }

    /// Looks for events in `events` from now on.
    pub fn listen(&mut self, events: EventQueue) {
        self.events = Some(events);
    }

    /// Looks for none any more, as their queue goes.
    pub fn deafen(&mut self) {
        self.events = None;
        self.wanted.clear();
    }

    /// Asks, and waits for the answer. One that has nothing in it is a refusal.
    pub fn ask(&mut self, request: &Request) -> Outcome {
        let outcome = self.ask_in(Slot::Commands, request).and_then(|reply| match cmdq::unsaid(&reply) {
            true => Err(Failure::Refused(Refusal::UNSAID)),
            false => Ok(reply),
        });
        if let Err(Failure::Broken(error)) = &outcome
            && matches!(error.kind(), Kind::Timeout | Kind::Gone | Kind::Device)
        {
            self.queue.end(error);
        }
        outcome
    }

    /// Asks again for a while what there was no time for, but not of a card that is about
    /// to be reset. Linux does not: it hands the
    /// status on as EBUSY (cmd.c, mlx5_cmd_status_to_err), to callers that give up.
    fn ask_in(&mut self, slot: Slot, request: &Request) -> Outcome {
        const TRIES: usize = 10;
        const PAUSE: Duration = Duration::from_millis(10);
        let busy = |outcome: &Outcome| matches!(outcome, Err(Failure::Refused(refusal)) if refusal.status == status::RESOURCE_BUSY);
        let mut outcome = self.ask_once(slot, request);
        for _ in 1..TRIES {
            if !busy(&outcome) || self.queue.hurried() {
                break;
            }
            self.queue.pause(PAUSE);
            outcome = self.ask_once(slot, request);
        }
        outcome
    }

    fn ask_once(&mut self, slot: Slot, request: &Request) -> Outcome {
        let mut posted = self.queue.post(slot, request).map_err(Failure::Broken)?;
        loop {
            if let Some(outcome) = self.queue.poll(&posted) {
                return outcome;
            }
            if slot == Slot::Commands {
                self.step().map_err(Failure::Broken)?;
            }
            self.queue.breathe(&mut posted).map_err(Failure::Broken)?;
        }
    }

    /// Takes events in, and sees to pages. Fails if the card is dead, or was before.
    pub fn attend(&mut self) -> Result<News> {
        self.queue.check()?;
        let outcome = match self.queue.sense() {
            Some(dead) => Err(self.queue.dead(dead)),
            None => self.step(),
        };
        if let Err(error) = &outcome {
            self.queue.end(error);
        }
        outcome.map(|()| std::mem::take(&mut self.news))
    }

    /// One step of what the firmware wants.
    fn step(&mut self) -> Result<()> {
        let Hca { events, wanted, news, .. } = self;
        if let Some(events) = events {
            events.drain(|event| match event {
                Event::Pages(pages) => wanted.push_back(pages),
                Event::CqError(number, why) => news.cq = Some((number, why)),
                Event::Other => {}
            });
        }
        if let Some((mut posted, job)) = self.job.take() {
            match self.queue.poll(&posted) {
                Some(outcome) => self.settle(job, outcome)?,
                None => {
                    let breathed = self.queue.breathe(&mut posted);
                    self.job = Some((posted, job));
                    return breathed;
                }
            }
        }
        match self.wanted.pop_front() {
            Some(wish) => self.see_to(wish),
            None => Ok(()),
        }
    }

    /// Has the firmware told what becomes of what it wants.
    fn see_to(&mut self, wish: PageEvent) -> Result<()> {
        let ours = !wish.embedded && (wish.function == 0 || wish.function == self.number);
        if wish.release_all {
            if ours {
                self.pages.put_all();
            }
            return Ok(());
        }
        let count = wish.count.unsigned_abs() as usize;
        let (request, job) = if count == 0 {
            return Ok(());
        } else if wish.count < 0 {
            (take(wish.function, count.min(PAGES_TAKEN)), Job::Take)
        } else {
            let some = count.min(PAGES_GIVEN);
            // Pages for other functions are not ours to give.
            match if ours { self.take_pages(some).ok() } else { None } {
                Some(pages) => {
                    if count > some {
                        self.wanted.push_front(PageEvent { count: (count - some) as i32, ..wish });
                    }
                    (give(wish.function, &pages), Job::Give(pages))
                }
                None => (cannot_give(&wish), Job::CannotGive),
            }
        };
        self.job = Some((self.queue.post(Slot::Pages, &request)?, job));
        Ok(())
    }

    fn take_pages(&mut self, count: usize) -> Result<Vec<Iova>> {
        match self.function.upgrade() {
            Some(function) => self.pages.take(&*function, count),
            None => Err(self.error(Kind::Gone, "the card was closed")),
        }
    }

    /// Accounts for pages that the firmware has answered about. That it refuses what it
    /// has asked for is no failure.
    fn settle(&mut self, job: Job, outcome: Outcome) -> Result<()> {
        match (job, outcome) {
            (_, Err(Failure::Broken(error))) => return Err(error),
            (Job::Give(pages), Err(Failure::Refused(_))) => {
                self.pages.put(&pages);
            }
            (Job::Take, Ok(reply)) => {
                self.pages.put(&returned(&reply));
            }
            _ => {}
        }
        Ok(())
    }

    /// Gives the firmware the pages that it wants for `stage`; how many that were.
    pub fn give_pages(&mut self, stage: Stage) -> Result<usize> {
        use query_pages::output;
        let request = Request::new(query_pages::COMMAND)
            .with_bits(header::OP_MOD, stage as u64)
            .with_bits(query_pages::input::FUNCTION_ID, 0);
        let reply = match (self.ask(&request), stage) {
            (Ok(reply), _) => reply,
            (Err(Failure::Refused(_)), Stage::Regular) => return Ok(0),
            (Err(failure), _) => return Err(self.explain(&request, failure)),
        };
        self.number = reply.bits(output::FUNCTION_ID) as u16;
        // Less than none are offers to return some, which they need not.
        let count = (reply.bits(output::NUM_PAGES) as u32 as i32).max(0) as usize;
        if count > MOST_PAGES {
            return Err(self
                .error(Kind::Device, format!("its firmware wants {count} pages of memory, more than any card needs")));
        }
        let mut left = count;
        while left > 0 {
            let some = left.min(PAGES_GIVEN);
            let pages = self.take_pages(some)?;
            let request = give(self.number, &pages);
            if let Err(failure) = self.manage(&request) {
                if matches!(failure, Failure::Refused(_)) {
                    self.pages.put(&pages);
                    // What it only would like is no need.
                    if stage == Stage::Regular {
                        return Ok(count - left);
                    }
                }
                return Err(self.explain(&request, failure));
            }
            left -= some;
        }
        Ok(count)
    }

    /// Asks by the entry for pages, which is free if nothing is under way.
    fn manage(&mut self, request: &Request) -> Outcome {
        while self.job.is_some() {
            self.step().map_err(Failure::Broken)?;
        }
        let outcome = self.ask_in(Slot::Pages, request);
        if let Err(Failure::Broken(error)) = &outcome {
            self.queue.end(error);
        }
        outcome
    }

    /// Takes all pages back, as far as the firmware returns them.
    fn take_pages_back(&mut self) -> Result<()> {
        /// How long it may return none.
        const PATIENCE: Duration = Duration::from_secs(5);
        const PAUSE: Duration = Duration::from_millis(1);
        let (mut since, mut passed) = (Instant::now(), Duration::ZERO);
        while self.pages.given() > 0 {
            let before = self.pages.given();
            let count = before.min(PAGES_TAKEN);
            let request = take(self.number, count);
            let reply = self.manage(&request).map_err(|failure| self.explain(&request, failure))?;
            let told = reply.bits(manage_pages::output::OUTPUT_NUM_ENTRIES) as usize;
            if told > count || !self.pages.put(&returned(&reply)) {
                return Err(self.error(Kind::Device, "its firmware returned pages that it was not given"));
            }
            if self.pages.given() < before {
                (since, passed) = (Instant::now(), Duration::ZERO);
                continue;
            }
            if since.elapsed().max(passed) >= PATIENCE {
                let text = format!("its firmware keeps {before} pages of memory");
                return Err(self.error(Kind::Timeout, text));
            }
            self.queue.pause(PAUSE);
            passed += PAUSE;
        }
        Ok(())
    }

    /// Takes the function into use.
    pub fn enable(&mut self) -> Outcome {
        let outcome = self.ask(&Request::new(enable_hca::COMMAND));
        self.state.0 = outcome.is_ok();
        outcome
    }

    /// Starts it, once it has the pages that it wants.
    pub fn init(&mut self) -> Result<()> {
        let request = Request::new(init_hca::COMMAND);
        let outcome = self.ask(&request).map(drop).map_err(|failure| self.explain(&request, failure));
        self.state.1 = outcome.is_ok();
        outcome
    }

    /// Stops it, takes the memory back, and gives it up. What fails is left to the reset
    /// of the function.
    pub fn disable(&mut self) -> Result<()> {
        let (enabled, started) = std::mem::take(&mut self.state);
        self.deafen();
        if !enabled {
            return Ok(());
        }
        if started {
            let request = Request::new(teardown_hca::COMMAND);
            self.ask(&request).map_err(|failure| self.explain(&request, failure))?;
        }
        self.take_pages_back()?;
        let request = Request::new(disable_hca::COMMAND);
        self.ask(&request).map(drop).map_err(|failure| self.explain(&request, failure))
    }

    /// What a failure means, in a line.
    pub fn explain(&self, request: &Request, failure: Failure) -> Error {
        use status::{BAD_OP, BAD_SYS_STATE, EXCEED_LIM, NO_RESOURCES};
        let refusal = match failure {
            Failure::Broken(error) => return error,
            Failure::Refused(refusal) => refusal,
        };
        let (kind, advice) = match refusal.status {
            BAD_OP => (Kind::Unsupported, "; its firmware is too old, or this function may not do that"),
            EXCEED_LIM | NO_RESOURCES => {
                (Kind::Unsupported, "; it has no room for that: use fewer queues or shorter rings")
            }
            BAD_SYS_STATE => (Kind::Device, "; the function is not in a state for it"),
            _ => (Kind::Device, ""),
        };
        let command = request.command();
        let (name, code) = (command.name, command.code);
        if refusal == Refusal::UNSAID {
            return self.error(Kind::Device, format!("its firmware's answer to {name} ({code:#x}) says nothing"));
        }
        self.error(kind, format!("its firmware refused {name} ({code:#x}) with {refusal}{advice}"))
    }

    fn error(&self, kind: Kind, text: impl AsRef<str>) -> Error {
        Error::new(kind, format!("{}: {}", self.device, text.as_ref()))
    }
}

fn pages_request(way: u64, function: u16, count: usize) -> Request {
    Request::new(manage_pages::COMMAND)
        .with_bits(header::OP_MOD, way)
        .with_bits(manage_pages::input::FUNCTION_ID, u64::from(function))
        .with_bits(manage_pages::input::INPUT_NUM_ENTRIES, count as u64)
}

fn give(function: u16, pages: &[Iova]) -> Request {
    let addresses: Vec<u8> = pages.iter().flat_map(|page| page.to_be_bytes()).collect();
    pages_request(way::GIVE, function, pages.len()).with_more(&addresses)
}

fn take(function: u16, count: usize) -> Request {
    pages_request(way::TAKE, function, count).with_output(manage_pages::PAS + 8 * count)
}

fn cannot_give(wish: &PageEvent) -> Request {
    pages_request(way::CANNOT_GIVE, wish.function, 0)
        .with_bits(manage_pages::input::EMBEDDED_CPU, u64::from(wish.embedded))
}

/// The pages that an answer returns: as many as it says, and has room for.
fn returned(reply: &Reply) -> Vec<Iova> {
    let count = reply.bits(manage_pages::output::OUTPUT_NUM_ENTRIES) as usize;
    let addresses = reply.body().get(manage_pages::PAS..).unwrap_or(&[]);
    addresses.as_chunks::<8>().0.iter().take(count).map(|page| Iova::from_be_bytes(*page)).collect()
}
