//! The host's memory that firmware works with: pages that it asks for, counts and gives
//! back.
//!
//! ```text
//!   QUERY_PAGES   boot 6, init by log_max_qp, regular 0      how many are still to come
//!   MANAGE_PAGES  1 give --> given    2 take back <-- given    0 there are none to give
//!   event 0x0b    so many more, or (negative) so many may be taken back
//! ```
//!
//! Firmware writes to its pages until they are taken back or the function is reset,
//! whatever becomes of the driver; a page that has another use by then is spoilt.

use super::super::super::{FaultKind, Picos, Translation};
use super::super::Mlx5;
use super::super::caps::RELEASE_ALL_PAGES;
use super::super::cmd::Request;
use super::super::plane::{Status, be};
use super::hca::is_other;
use super::{Answer, Reply, makes_much};
use crate::dma::Iova;
use std::collections::HashSet;

/// Pages that firmware starts with.
const BOOT: i64 = 6;
/// Bytes of a page.
const PAGE: u64 = 4096;
/// How often firmware writes to one of them.
const TOUCH: Picos = 1_000_000_000;

/// The event that asks for pages; its flag says that all are the driver's again.
const REQUEST: u8 = 0x0b;
const RELEASE_ALL: u16 = 1 << 14;
/// Some function that is not this one.
const ANOTHER: u16 = 9;

/// The pages that firmware has.
#[derive(Debug, Default)]
pub struct Pages {
    given: Vec<Iova>,
    all: HashSet<Iova>,
    /// How many it cannot do without, since INIT_HCA.
    kept: i64,
    /// How many a command waits for.
    awaited: i64,
    /// How often bus mastering had gone off when it looked last.
    stops: u64,
    next_touch: Picos,
    touched: u64,
}

impl Pages {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.given.len()
    }

    fn have(&self) -> i64 {
        self.given.len() as i64
    }

    /// Whether firmware can start.
    pub fn booted(&self, needs: bool) -> bool {
        !needs || self.have() >= BOOT
    }

    /// Whether it has those for INIT_HCA too.
    pub fn initialised(&self, init: i64) -> bool {
        self.have() >= BOOT + init
    }

    /// INIT_HCA was done with so many.
    pub fn settle(&mut self, init: i64) {
        self.kept = BOOT + init;
    }

    /// The function was reset: nothing is touched any more.
    pub fn stop(&mut self) {
        *self = Pages { stops: self.stops, ..Pages::default() };
    }

    /// The same, if bus mastering was off since this was called last: what is under way
    /// then has an end, and without a reset nothing begins again.
    fn heed(&mut self, memory: &Translation) {
        if std::mem::replace(&mut self.stops, memory.stops()) != memory.stops() {
            self.next_touch = Picos::MAX;
        }
    }

    fn add(&mut self, pages: &[Iova]) {
        self.given.extend_from_slice(pages);
        self.all.extend(pages);
    }

    fn remove(&mut self, count: usize) -> Vec<Iova> {
        let pages = self.given.split_off(self.given.len() - count);
        pages.iter().for_each(|page| {
            self.all.remove(page);
        });
        pages
    }
}

impl Mlx5 {
    /// Writes to one of its pages, now and then: memory that is gone shows as a fault.
    pub(in super::super) fn touch_pages(&mut self) {
        if self.board.now < self.pages.next_touch || self.pages.given.is_empty() {
            return;
        }
        self.pages.next_touch = self.board.now + TOUCH;
        let memory = &self.board.bus.memory;
        self.pages.heed(memory);
        if self.pages.next_touch == Picos::MAX {
            return;
        }
        let any = self.board.random.below(self.pages.given.len() as u64) as usize;
        self.pages.touched += 1;
        memory.write(self.pages.given[any], &self.pages.touched.to_be_bytes());
    }

    /// Asks for pages, or says that so many may be taken back.
    fn ask_pages(&mut self, function: u16, flags: u16, count: i32) {
        let mut data = [0; 28];
        data[..2].copy_from_slice(&flags.to_be_bytes());
        data[2..4].copy_from_slice(&function.to_be_bytes());
        data[4..8].copy_from_slice(&count.to_be_bytes());
        self.plane.event(&mut self.board, REQUEST, 0, data);
    }

    /// Whether a command that comes now waits for pages, which are asked for: of a nasty
    /// card, if there is a queue to ask in. Then it may ask twice, for another function,
    /// and to have some taken back.
    pub(in super::super) fn asks_for_pages(&mut self, code: u16) -> bool {
        let asks = self.board.nasty && self.needs_pages() && makes_much(code);
        if !asks || !self.hca.running() || !self.plane.subscribed(REQUEST) || self.board.random.below(3) != 0 {
            return false;
        }
        if self.board.random.below(4) == 0 {
            self.ask_pages(ANOTHER, 0, 1);
        }
        if self.board.random.below(4) == 0 && self.pages.have() > self.pages.kept {
            self.ask_pages(0, 0, -1);
        }
        for _ in 0..=self.board.random.below(2) {
            let count = 1 + self.board.random.below(4) as i64;
            self.pages.awaited += count;
            self.ask_pages(0, 0, count as i32);
        }
        true
    }

    /// There will be no pages for commands that wait for them: they fail.
    pub(super) fn forget_wanted_pages(&mut self) {
        self.pages.awaited = 0;
        self.channel.pages_came(self.board.now, true);
    }

    /// All pages are the driver's again, without a command, if it knows of that.
    pub(in super::super) fn release_all_pages(&mut self) {
        if self.caps.get(RELEASE_ALL_PAGES) != 0 {
            self.pages.stop();
            self.ask_pages(0, RELEASE_ALL, 0);
        }
    }
}

/// QUERY_PAGES: how many are to come, or (negative) may be taken.
pub fn query(card: &mut Mlx5, request: &Request) -> Answer {
    if is_other(request) {
        return Err(Status::BAD_PARAMETER);
    }
    let missing = |all: i64| (all - card.pages.have()).max(0) as i32;
    let count = match request.modifier() {
        1..=3 if !card.needs_pages() => 0,
        1 => missing(BOOT),
        2 => missing(BOOT + card.init_pages()),
        3 if card.board.nasty => -1 - card.board.random.below(8) as i32,
        3 => 0,
        _ => return Err(Status::BAD_PARAMETER),
    };
    Ok(Reply::done().u32(0x0c, count as u32))
}

pub fn manage(card: &mut Mlx5, request: &Request) -> Answer {
    if is_other(request) {
        return Err(Status::BAD_PARAMETER);
    }
    let count = request.u32(0x0c) as usize;
    match request.modifier() {
        0 => {
            card.forget_wanted_pages();
            Ok(Reply::done())
        }
        1 => give(card, request, count),
        2 => Ok(take(card, request, count)),
        _ => Err(Status::BAD_PARAMETER),
    }
}

/// All of them, or none if one is not to be had.
fn give(card: &mut Mlx5, request: &Request, count: usize) -> Answer {
    let list = request.rest(0x10).as_chunks::<8>().0;
    if list.len() < count {
        return Err(Status::BAD_INPUT_LENGTH);
    }
    let pages: Vec<Iova> = list[..count].iter().map(|page| be::u64_at(page, 0)).collect();
    let distinct: HashSet<&Iova> = pages.iter().collect();
    let memory = &card.board.bus.memory;
    let fit = |page: &Iova| *page != 0 && page.is_multiple_of(PAGE) && !card.pages.all.contains(page);
    if count == 0 || distinct.len() < count || !pages.iter().all(fit) {
        return Err(Status::BAD_PARAMETER);
    }
    if !pages.iter().all(|page| memory.read(page.wrapping_add(PAGE - 8), &mut [0; 8])) {
        return Err(Status::BAD_PARAMETER);
    }
    card.pages.heed(memory);
    card.pages.next_touch = card.board.now + TOUCH;
    card.pages.add(&pages);
    if card.pages.awaited > 0 {
        card.pages.awaited -= count as i64;
        if card.pages.awaited <= 0 {
            card.pages.awaited = 0;
            card.channel.pages_came(card.board.now, false);
        }
    }
    Ok(Reply::done())
}

/// As many as firmware can do without, and there is room for in the answer.
fn take(card: &mut Mlx5, request: &Request, count: usize) -> Reply {
    let kept = if card.hca.running() { card.pages.kept } else { 0 };
    let spare = (card.pages.have() - kept).max(0) as usize;
    let room = request.room.saturating_sub(0x10) / 8;
    let most = count.min(spare).min(room);
    let granted = match card.board.nasty {
        _ if card.faulty(FaultKind::TakeStuck) => 0,
        // None, or fewer than were asked for.
        true if most > 0 && card.board.random.below(3) == 0 => 0,
        true if most > 0 => 1 + card.board.random.below(most as u64) as usize,
        _ => most,
    };
    let pages = card.pages.remove(granted);
    let addresses: Vec<u8> = pages.iter().flat_map(|page| page.to_be_bytes()).collect();
    Reply::of(&addresses).u32(0x08, granted as u32)
}
