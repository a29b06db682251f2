//! A lane between emulated ports, turn by turn.

use super::*;
use crate::cli::lines::FAMILIES;
use crate::cli::share::Left;
use crate::cli::signal::Stop;
use crate::driver::{self, Config, Port};
use crate::emu::{Drive, Engine, Spec, Tap};
use crate::net::MacAddr;
use crate::pci::Function;
use crate::testing::allocations;

/// A frame from one address to another, its rest numbered by `n`.
fn frame(n: usize, len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|i| (n * 31 + i) as u8).collect();
    frame[..12].copy_from_slice(b"\x02to-to\x02fromf");
    frame
}

/// near --wire-- [in] lane [out] --wire-- far, all in this thread.
struct Bench {
    engine: Engine,
    near: Port,
    far: Port,
    pool: Pool,
    taps: Vec<Tap>,
    nics: Vec<driver::Nic>,
    lane: Lane,
}

impl Bench {
    fn new(rewrite: Rewrite) -> Self {
        let engine = Engine::new(Drive::Manual);
        let config = Config { max_frame: 9216, rx_ring: 128, tx_ring: 64, ..Config::default() };
        let (mut taps, mut functions) = (Vec::new(), Vec::new());
        let mut port = |wire: &str| {
            let spec: Spec = format!("82599,strict,wire=peer:{wire}").parse().unwrap();
            let (function, tap) = engine.open(&spec).unwrap();
            taps.push(tap);
            functions.push(Arc::clone(&function));
            driver::open(function, &config).unwrap()
        };
        let (mut near, mut into, mut out, mut far) = (port("a"), port("a"), port("b"), port("b"));
        for nic in [&mut near.nic, &mut into.nic, &mut out.nic, &mut far.nic] {
            while !nic.link().unwrap().up {
                engine.advance(100_000_000);
                engine.step();
            }
        }
        let pool = |functions: &[Arc<dyn Function>]| {
            let pool = Pool::new(1024, crate::dma::Addressing::Translated).unwrap();
            functions.iter().for_each(|function| function.map(pool.arena()).unwrap());
            pool
        };
        let lane = Lane::new(into.rx.remove(0), out.tx.remove(0), pool(&functions), 32, rewrite).unwrap();
        let pool = pool(&functions);
        far.rx[0].fill(&pool).unwrap();
        Bench { engine, near, far, pool, taps, nics: vec![into.nic, out.nic], lane }
    }

    fn step(&self) {
        for _ in 0..4 {
            self.engine.advance(20_000_000);
            self.engine.step();
        }
    }

    /// Sends `frames` from the near port, lets `turns` go by, and returns
    /// what the far port received.
    fn pass(&mut self, frames: &[Vec<u8>], until: &Until, turns: usize) -> Vec<Vec<u8>> {
        let Bench { lane, engine, far, near, pool, .. } = self;
        let mut got = Vec::new();
        let mut batch = Batch::new(pool);
        for frame in frames {
            assert!(batch.push_frame(frame));
        }
        let mut running = lane.start(Instant::now());
        let mut share = until.share();
        for _ in 0..turns {
            near.tx[0].send(&mut batch);
            for _ in 0..4 {
                engine.advance(20_000_000);
                engine.step();
            }
            running.turn(&mut share);
            let mut arrived = Batch::new(batch.pool());
            far.rx[0].recv(&mut arrived);
            let mut whole = Vec::new();
            for i in 0..arrived.len() {
                whole.extend_from_slice(arrived.frame(i));
                if !arrived.continues(i) {
                    got.push(std::mem::take(&mut whole));
                }
            }
        }
        got
    }

    fn violations(&self) -> Vec<(String, u64)> {
        self.taps.iter().flat_map(Tap::violations).collect()
    }
}

fn forever() -> Until {
    Until { stop: Stop::default(), left: None, counted: Arc::default() }
}

#[test]
fn frames_of_every_length_pass_byte_for_byte_and_in_order() {
    let mut bench = Bench::new(Rewrite::Nothing);
    let sizes = [60, 61, 64, 1514, 1518, 2047, 2048, 2049, 4096, 9000, 9216, 60];
    let sent: Vec<_> = sizes.iter().enumerate().map(|(n, &len)| frame(n, len)).collect();
    let got = bench.pass(&sent, &forever(), 40);
    assert_eq!(got.len(), sent.len());
    assert!(got == sent);
    assert_eq!(bench.lane.counts().frames.load(Ordering::Relaxed), sent.len() as u64);
    assert_eq!(bench.violations(), []);
    assert_eq!(bench.nics[0].stats().unwrap().rx_packets, sent.len() as u64);
    assert_eq!(bench.nics[1].stats().unwrap().tx_packets, sent.len() as u64);
}

#[test]
fn addresses_are_swapped_or_set_once_a_frame_and_nothing_else_changes() {
    let sent: Vec<_> = [60, 5000, 100].iter().enumerate().map(|(n, &len)| frame(n, len)).collect();
    let (source, destination) = (MacAddr(*b"\x02sourc"), MacAddr(*b"\x02desti"));
    for (rewrite, head) in [
        (Rewrite::SwapMacs, &b"\x02fromf\x02to-to"[..]),
        (Rewrite::SetMacs { source, destination }, b"\x02desti\x02sourc"),
    ] {
        let got = Bench::new(rewrite).pass(&sent, &forever(), 30);
        assert_eq!(got.len(), sent.len());
        for (got, sent) in got.iter().zip(&sent) {
            assert_eq!(&got[..12], head);
            assert!(got[12..] == sent[12..]);
        }
    }
}

#[test]
fn a_count_is_kept_to_the_frame() {
    let mut bench = Bench::new(Rewrite::Nothing);
    let sent: Vec<_> = (0..20).map(|n| frame(n, if n % 5 == 3 { 3000 } else { 60 })).collect();
    let until = forever();
    let until = Until { left: Some(Left::new(13, 1, &until.stop)), ..until };
    let got = bench.pass(&sent, &until, 40);
    assert!(until.stop.requested());
    assert!(got == sent[..13]);
    assert_eq!(bench.lane.counts().frames.load(Ordering::Relaxed), 13);
}

#[test]
fn the_hot_loop_allocates_nothing_and_reads_no_register() {
    let mut bench = Bench::new(Rewrite::SwapMacs);
    for tap in &bench.taps {
        tap.trace(true);
        tap.take_trace();
    }
    let until = forever();
    let Bench { lane, engine, near, far, pool, taps, .. } = &mut bench;
    let mut running = lane.start(Instant::now());
    let mut share = until.share();
    let mut moved = 0;
    let mut requests = 0;
    for _ in 0..500 {
        let mut batch = Batch::with_limit(pool, 32);
        while batch.room() > 0 && batch.push(60).is_some() {}
        near.tx[0].send(&mut batch);
        drop(batch);
        for _ in 0..4 {
            engine.advance(20_000_000);
            engine.step();
        }
        requests += allocations(|| moved += running.turn(&mut share));
        far.rx[0].recv(&mut Batch::new(&*pool));
    }
    assert!(moved > 10_000, "{moved} buffers: too few to show anything");
    assert_eq!(requests, 0);
    for tap in taps {
        assert_eq!(tap.take_trace(), [], "{} buffers moved", moved);
    }
}

#[test]
fn what_the_far_ring_has_no_room_for_is_kept_and_not_lost() {
    let mut bench = Bench::new(Rewrite::Nothing);
    let sent: Vec<_> = (0..120).map(|n| frame(n, 60)).collect();
    for half in sent.chunks(60) {
        let mut batch = Batch::new(&bench.pool);
        half.iter().for_each(|frame| assert!(batch.push_frame(frame)));
        bench.near.tx[0].send(&mut batch);
        bench.step();
    }
    // Many turns while the card's clock stands still: nothing leaves, so the
    // ring of 64 takes 63 and the lane holds the rest of its second batch.
    let until = forever();
    let mut running = bench.lane.start(Instant::now());
    let mut share = until.share();
    for _ in 0..50 {
        running.turn(&mut share);
    }
    assert_eq!((running.frames, running.batch.len()), (64, 1));
    let mut got = Vec::new();
    for _ in 0..30 {
        running.turn(&mut share);
        for _ in 0..4 {
            bench.engine.advance(20_000_000);
            bench.engine.step();
        }
        let mut arrived = Batch::new(&bench.pool);
        bench.far.rx[0].recv(&mut arrived);
        got.extend(arrived.frames().map(<[u8]>::to_vec));
    }
    assert!(got == sent, "{} of {}", got.len(), sent.len());
}

/// A lane between cards that run by themselves sleeps after a few looks that find nothing, and
/// packets come one by one, each at another moment of that. One that is slept over comes a
/// minute late, and the sleep is not ended by the card.
#[test]
fn a_packet_that_comes_between_the_last_look_and_the_sleep_wakes_the_lane() {
    const ROUNDS: u64 = 300;
    const PATIENCE: Duration = Duration::from_secs(60);
    for family in FAMILIES {
        let engine = Engine::new(Drive::Thread);
        let mut functions = Vec::new();
        let mut port = |wire: &str, interrupts| {
            let (function, _tap) = engine.open(&format!("{family},wire=peer:{wire}").parse().unwrap()).unwrap();
            functions.push(Arc::clone(&function));
            driver::open(function, &Config { interrupts, rx_ring: 128, tx_ring: 128, ..Config::default() }).unwrap()
        };
        let (mut near, mut into) = (port("a", false), port("a", true));
        let (mut out, mut far) = (port("b", false), port("b", false));
        for nic in [&mut near.nic, &mut into.nic, &mut out.nic, &mut far.nic] {
            while !nic.link().unwrap().up {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let pool = || {
            let pool = Pool::new(1024, crate::dma::Addressing::Translated).unwrap();
            functions.iter().for_each(|function| function.map(pool.arena()).unwrap());
            pool
        };
        let lane = Lane::new(into.rx.remove(0), out.tx.remove(0), pool(), 32, Rewrite::Nothing).unwrap();
        let away = pool();
        far.rx[0].fill(&away).unwrap();
        let until = forever();
        let (theirs, begun) = (until.clone(), Instant::now());
        let sleeper = std::thread::spawn(move || {
            let (wait, mut lanes) = (Wait::Interrupt { after: 3 }, [lane]);
            let work = Work { lanes: &mut lanes, cards: None, patience: PATIENCE, wait, until: &theirs, clock: None };
            run(work, || ()).unwrap().1
        });
        let mut batch = Batch::new(&away);
        let mut send = |n: u64| {
            assert!(batch.push_frame(&frame(n as usize, 60)));
            while near.tx[0].send(&mut batch) == 0 {
                std::thread::yield_now();
            }
            near.tx[0].reclaim(&away);
        };
        for n in 0..ROUNDS {
            send(n);
            let mut came = Batch::new(&away);
            while far.rx[0].recv(&mut came) == 0 {
                assert!(begun.elapsed() < PATIENCE / 2, "{family}: packet {n} was slept over");
                std::thread::yield_now();
            }
            // From at once to longer than a few looks take.
            let pause = Instant::now() + Duration::from_nanos(n * n * 7919 % 60_000);
            while Instant::now() < pause {
                std::hint::spin_loop();
            }
        }
        until.stop.end();
        until.counted.store(true, Ordering::Relaxed);
        send(ROUNDS);
        let waits = sleeper.join().unwrap();
        assert_eq!(waits.sleeps, waits.woken, "{family}: {waits:?}");
        assert!(waits.sleeps > ROUNDS / 10 && waits.empty >= waits.sleeps, "{family}: {waits:?}");
    }
}

/// The last look finds nothing, then a packet comes, then the lane goes to sleep. The card runs
/// only when the test says so: after that nothing but a look can end the sleep.
#[test]
fn a_packet_that_came_before_the_sleep_ends_it_at_once() {
    const PATIENCE: Duration = Duration::from_secs(3);
    for family in FAMILIES {
        let engine = Engine::new(Drive::Manual);
        let (function, _tap) = engine.open(&format!("{family},wire=loop,link=2ms").parse().unwrap()).unwrap();
        let pool = Pool::new(1024, crate::dma::Addressing::Translated).unwrap();
        function.map(pool.arena()).unwrap();
        let mut port = driver::open(function, &Config { interrupts: true, ..Config::default() }).unwrap();
        let pass = || {
            for _ in 0..50 {
                engine.advance(2_000_000);
                engine.step();
            }
        };
        while !port.nic.link().unwrap().up {
            pass();
        }
        port.rx[0].fill(&pool).unwrap();
        let mut batch = Batch::new(&pool);
        for n in 0..3 {
            assert!(batch.push_frame(&frame(n, 60)));
            port.tx[0].send(&mut batch);
            assert_eq!(port.rx[0].recv(&mut batch), 0, "{family}: the last look");
            pass();
            assert!(port.rx[0].wait(PATIENCE).unwrap(), "{family}: packet {n} was slept over");
            assert_eq!(port.rx[0].recv(&mut batch), 1, "{family}");
            batch.clear();
        }
    }
}
