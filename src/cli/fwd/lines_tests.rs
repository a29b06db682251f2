//! What two forwarding threads write: no line of 64 bytes is written by both.

use super::lane::Lane;
use super::rewrite::Rewrite;
use super::until::Until;
use crate::cli::lines::{FAMILIES, Turn, alone, write_no_common_line};
use crate::cli::share::Left;
use crate::cli::signal::Stop;
use crate::dma::{Addressing, Pool};
use crate::driver::{self, Config, Port};
use crate::emu::{Drive, Engine, Inline, Tap};
use crate::pci::Function;
use std::sync::Arc;
use std::time::Instant;

/// Cards whose links are up.
struct Bench {
    engine: Engine,
    functions: Vec<Arc<dyn Function>>,
    taps: Vec<Tap>,
    ports: Vec<Port>,
    until: Until,
}

impl Bench {
    fn new(cards: &[String], queues: u16) -> Self {
        let engine = Engine::new(Drive::Manual);
        let config = Config {
            rx_queues: queues,
            tx_queues: queues,
            rx_ring: 128,
            tx_ring: 128,
            shorter_frames: true,
            ..Config::default()
        };
        let stop = Stop::default();
        let left = Some(Left::new(1 << 30, 2, &stop));
        let mut bench = Bench {
            engine,
            functions: Vec::new(),
            taps: Vec::new(),
            ports: Vec::new(),
            until: Until { stop, left, counted: Arc::default() },
        };
        for card in cards {
            let (function, tap) = bench.engine.open(&card.parse().unwrap()).unwrap();
            bench.functions.push(Arc::clone(&function));
            bench.taps.push(tap);
            bench.ports.push(driver::open(function, &config).unwrap());
        }
        for port in &mut bench.ports {
            while !port.nic.link().unwrap().up {
                bench.engine.advance(100_000_000);
                bench.engine.step();
            }
        }
        bench
    }

    /// From a receive queue of one card to a transmit queue of another.
    fn lane(&mut self, from: usize, to: usize) -> Lane {
        let (rx, tx) = (self.ports[from].rx.remove(0), self.ports[to].tx.remove(0));
        let pool = Pool::new(rx.buffers() + tx.buffers() + 128, Addressing::Translated).unwrap();
        self.functions.iter().for_each(|function| function.map(pool.arena()).unwrap());
        Lane::new(rx, tx, pool, 32, Rewrite::SwapMacs).unwrap()
    }
    /// What two threads with a lane each write, and what the cards that they play do: nothing
    /// in common.
    fn write_no_common_line(&self, name: &str, lanes: [&mut Lane; 2], cards: [Option<Inline>; 2]) {
        let Bench { engine, until, .. } = self;
        let ([one, other], [of_one, of_other]) = (lanes, cards);
        let step = || {
            engine.advance(5_000_000);
            engine.step();
        };
        write_no_common_line(name, step, [start(one, of_one, until), start(other, of_other, until)]);
    }
}

/// Starts a lane in the thread that is to make its turns, which play the `cards` too.
fn start<'l>(lane: &'l mut Lane, cards: Option<Inline>, until: &'l Until) -> impl FnOnce() -> Turn<'l> + Send {
    move || {
        let mut running = lane.start(Instant::now());
        let mut share = until.share();
        Box::new(move || {
            let moved = running.turn(&mut share);
            share.polled(moved);
            if let Some(cards) = &cards {
                cards.step();
            }
            moved
        })
    }
}

#[test]
fn two_queues_of_one_card_are_served_without_a_common_line() {
    if !alone("cli::fwd::lines_tests::two_queues_of_one_card_are_served_without_a_common_line") {
        return;
    }
    for family in FAMILIES {
        let card = |wire: &str| format!("{family},wire={wire}");
        let mut bench = Bench::new(&[card("source:flows=64"), card("sink")], 2);
        let (mut one, mut other) = (bench.lane(0, 1), bench.lane(0, 1));
        bench.write_no_common_line(family, [&mut one, &mut other], [None, None]);
    }
}

#[test]
fn two_threads_with_cards_of_their_own_have_no_common_line() {
    if !alone("cli::fwd::lines_tests::two_threads_with_cards_of_their_own_have_no_common_line") {
        return;
    }
    for family in FAMILIES {
        let card = |wire: &str| format!("{family},wire={wire}");
        let mut bench = Bench::new(&["source", "sink", "source", "sink"].map(card), 1);
        let (mut one, mut other) = (bench.lane(0, 1), bench.lane(2, 3));
        let cards = [0, 2].map(|first| Some(bench.engine.inline(&bench.taps[first..first + 2])));
        bench.write_no_common_line(family, [&mut one, &mut other], cards);
    }
}
