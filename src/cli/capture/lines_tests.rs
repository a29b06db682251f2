//! What two threads that capture into one file write: no line of 64 bytes is written by both.

use super::intake::{Intake, Ring};
use super::receive::in_turn;
use super::times::Times;
use crate::cli::lines::{FAMILIES, Turn, alone, write_no_common_line};
use crate::cli::share::{Left, Share};
use crate::cli::signal::Stop;
use crate::dma::{Addressing, Batch, Pool};
use crate::driver::{self, Config, Port, RxQueue};
use crate::emu::{Drive, Engine};
use crate::measure::Clock;
use crate::packet::Filter;
use crate::pcap::record::Format;
use crate::pcap::section::Section;
use crate::pcap::write::{CHUNK, Means, Plan, Recorder, SNAPLEN};
use std::sync::Arc;

/// Starts what captures off one queue, in the thread that is to do it.
fn start(queue: RxQueue, pool: Pool, recorder: Recorder, left: Arc<Left>) -> impl FnOnce() -> Turn<'static> + Send {
    move || {
        let share = Share::new(Some(&left));
        let mut intake = Intake::new(Filter::parse("udp").unwrap(), recorder.into(), vec![Ring::default()], share);
        let (mut queues, mut times, mut last, clock) = ([queue], [Times::by_ours()], 0, Clock::new());
        Box::new(move || {
            let mut batch = Batch::with_limit(&pool, 32);
            let moved = in_turn(&mut queues, &mut batch, &mut last, &mut times, &clock, &mut intake);
            intake.share.polled(0);
            moved
        })
    }
}

#[test]
fn two_queues_of_one_card_are_captured_up_to_a_count_without_a_common_line() {
    if !alone("cli::capture::lines_tests::two_queues_of_one_card_are_captured_up_to_a_count_without_a_common_line") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        let engine = Engine::new(Drive::Manual);
        let card = format!("{family},wire=source:flows=64");
        let (function, _tap) = engine.open(&card.parse().unwrap()).unwrap();
        let config = Config { rx_queues: 2, rx_ring: 128, tx_ring: 128, shorter_frames: true, ..Config::default() };
        let Port { rx, tx: _tx, mut nic } = driver::open(Arc::clone(&function), &config).unwrap();
        while !nic.link().unwrap().up {
            engine.advance(100_000_000);
            engine.step();
        }
        let path = dir.path().join(family);
        let section = Section::of([family]);
        let plan = Plan { path: &path, format: Format::Pcapng, snaplen: SNAPLEN, buffer: 4 * CHUNK, section: &section };
        let recorders = Recorder::several(&plan, Means::default(), 2, |_| ()).unwrap();
        let left = Left::new(1 << 30, 2, &Stop::default());
        let starts = rx.into_iter().zip(recorders).map(|(mut queue, recorder)| {
            let pool = Pool::new(queue.buffers() + 128, Addressing::Translated).unwrap();
            function.map(pool.arena()).unwrap();
            queue.fill(&pool).unwrap();
            start(queue, pool, recorder, Arc::clone(&left))
        });
        let Ok(starts) = starts.collect::<Vec<_>>().try_into() else { panic!("{family}: two queues") };
        let step = || {
            engine.advance(5_000_000);
            engine.step();
        };
        write_no_common_line(family, step, starts);
    }
}
