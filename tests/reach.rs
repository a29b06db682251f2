//! Memory that a card cannot reach: what a program that forgets to map a pool
//! is told, on a card of each family.
//!
//! Time is virtual and moves only when a test says so.

mod common {
    pub mod families;
}

use bmnic::Kind;
use bmnic::dma::Arena;
use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{self, Config, Port};
use bmnic::emu::{Drive, Engine, Tap};
use bmnic::pci::{self, Bar, Function};
use common::families::{self, Card, EACH};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

/// A card on a loop whose link is up, and which knows no pool yet.
struct Rig {
    engine: Engine,
    function: Arc<dyn Function>,
    tap: Tap,
    port: Port,
}

impl Rig {
    fn new(model: Card) -> Rig {
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = engine.open(&format!("{model},strict,wire=loop,link=2ms").parse().unwrap()).unwrap();
        Rig::driven(model, engine, function, tap)
    }

    fn driven(model: Card, engine: Engine, function: Arc<dyn Function>, tap: Tap) -> Rig {
        let port = driver::open(Arc::clone(&function), &Config::default()).unwrap();
        let mut rig = Rig { engine, function, tap, port };
        for _ in 0..1000 {
            if rig.port.nic.link().unwrap().up {
                return rig;
            }
            rig.run();
        }
        panic!("{model}: no link");
    }

    /// Lets a tenth of a millisecond pass on the card.
    fn run(&self) {
        for _ in 0..50 {
            self.engine.advance(2_000_000);
            self.engine.step();
        }
    }
}

fn pool() -> Pool {
    Pool::new(1024, Addressing::Translated).unwrap()
}

#[test]
fn a_pool_that_was_not_mapped_is_refused_and_moves_nothing() {
    for model in EACH {
        let mut rig = Rig::new(model);
        let pool = pool();
        let free = pool.available();

        for error in [rig.port.rx[0].fill(&pool).unwrap_err(), rig.port.tx[0].adopt(&pool).unwrap_err()] {
            assert_eq!(error.kind(), Kind::Usage, "{model}");
            assert!(error.to_string().contains("map(pool.arena())"), "{model}: {error}");
            assert!(error.to_string().starts_with("emu:"), "{model}: {error}");
        }
        let mut batch = Batch::new(&pool);
        assert!(batch.push_frame(&[1; 60]));
        for times in 1..=3 {
            assert_eq!(rig.port.tx[0].send(&mut batch), 0, "{model}");
            rig.run();
            assert_eq!(rig.port.rx[0].recv(&mut Batch::new(&pool)), 0, "{model}");
            assert_eq!(rig.port.rx[0].anomalies().unmapped, times, "{model}");
            assert_eq!(rig.port.tx[0].anomalies().unmapped, times, "{model}");
        }
        assert_eq!(batch.len(), 1, "{model}: the frame is still the caller's");
        assert_eq!(rig.port.nic.stats().unwrap().anomalies.unmapped, 6, "{model}");
        batch.clear();
        assert_eq!(pool.available(), free, "{model}: no buffer was given away");
        assert_eq!(rig.tap.wire().tx_frames, 0, "{model}");
        assert!(rig.tap.violations().is_empty(), "{model}: the card was given nothing: {:?}", rig.tap.violations());

        // Mapped late is early enough.
        rig.function.map(pool.arena()).unwrap();
        rig.port.rx[0].fill(&pool).unwrap();
        assert!(batch.push_frame(&[7; 60]));
        assert_eq!(rig.port.tx[0].send(&mut batch), 1, "{model}");
        rig.run();
        let mut received = Batch::new(&pool);
        assert_eq!(rig.port.rx[0].recv(&mut received), 1, "{model}");
        assert_eq!(received.frame(0), [7; 60], "{model}");
        assert_eq!(rig.port.nic.stats().unwrap().anomalies.unmapped, 6, "{model}: no more of them");
    }
}

#[test]
fn a_pool_is_mapped_for_each_card_that_is_to_see_it() {
    for model in EACH {
        let (mut near, mut far) = (Rig::new(model), Rig::new(model));
        let pool = pool();
        near.function.map(pool.arena()).unwrap();
        near.port.rx[0].fill(&pool).unwrap();
        let mut batch = Batch::new(&pool);
        assert!(batch.push_frame(&[1; 60]));
        assert_eq!(far.port.tx[0].send(&mut batch), 0, "{model}");
        assert_eq!(far.port.tx[0].anomalies().unmapped, 1, "{model}");
        assert_eq!(near.port.tx[0].send(&mut batch), 1, "{model}");
    }
}

#[test]
fn another_pool_is_looked_at_as_the_first_was() {
    for model in EACH {
        let mut rig = Rig::new(model);
        let (mapped, forgotten) = (pool(), pool());
        rig.function.map(mapped.arena()).unwrap();
        rig.port.rx[0].fill(&mapped).unwrap();
        let mut batch = Batch::new(&mapped);
        assert!(batch.push_frame(&[1; 60]));
        assert_eq!(rig.port.tx[0].send(&mut batch), 1, "{model}");
        rig.run();
        while rig.port.tx[0].reclaim(&mapped) > 0 {
            rig.run();
        }
        let mut batch = Batch::new(&forgotten);
        assert!(batch.push_frame(&[1; 60]));
        assert_eq!(rig.port.tx[0].send(&mut batch), 0, "{model}");
        let mut batch = Batch::new(&mapped);
        assert!(batch.push_frame(&[2; 60]));
        assert_eq!(rig.port.tx[0].send(&mut batch), 1, "{model}: it still sends for the other");
    }
}

#[test]
fn frames_are_not_laid_ready_in_memory_out_of_reach() {
    let mut rig = Rig::new(families::card("x2522"));
    let pool = pool();
    let mut batch = Batch::new(&pool);
    assert!(batch.push_frame(&[1; 60]));
    assert_eq!(rig.port.tx[0].prepare(&mut batch).unwrap_err().kind(), Kind::Usage);
    assert_eq!(batch.len(), 1);
    rig.function.map(pool.arena()).unwrap();
    assert_eq!(rig.port.tx[0].prepare(&mut batch).unwrap(), 1);
}

#[test]
fn a_card_that_was_taken_out_takes_no_buffers() {
    for model in EACH {
        let Rig { engine, function, tap, port } = Rig::new(model);
        let pool = pool();
        function.map(pool.arena()).unwrap();
        let Port { mut rx, mut tx, nic } = port;
        // The card is closed with the last handle on it.
        drop((nic, function, tap, engine));
        assert_eq!(rx[0].fill(&pool).unwrap_err().kind(), Kind::Gone, "{model}");
        assert_eq!(tx[0].adopt(&pool).unwrap_err().kind(), Kind::Gone, "{model}");
        assert_eq!(rx[0].recv(&mut Batch::new(&pool)), 0, "{model}");
        assert_eq!(pool.available(), pool.capacity(), "{model}");
    }
}

/// A function that says of all memory that its card reaches it.
struct Liar(Arc<dyn Function>);

impl Function for Liar {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn kind(&self) -> pci::Kind {
        self.0.kind()
    }

    fn wait(&self, time: Duration) {
        self.0.wait(time);
    }

    fn id(&self) -> pci::Id {
        self.0.id()
    }

    fn bar(&self, index: u8) -> bmnic::Result<Bar> {
        self.0.bar(index)
    }

    fn config_read(&self, offset: u16, size: u8) -> bmnic::Result<u32> {
        self.0.config_read(offset, size)
    }

    fn config_write(&self, offset: u16, size: u8, value: u32) -> bmnic::Result<()> {
        self.0.config_write(offset, size, value)
    }

    fn addressing(&self) -> Addressing {
        self.0.addressing()
    }

    fn map(&self, arena: &Arc<Arena>) -> bmnic::Result<()> {
        self.0.map(arena)
    }

    fn reaches(&self, _arena: &Arc<Arena>) -> bool {
        true
    }

    fn irq_vectors(&self) -> u16 {
        self.0.irq_vectors()
    }

    fn set_irqs(&self, fds: &[RawFd]) -> bmnic::Result<()> {
        self.0.set_irqs(fds)
    }

    fn numa_node(&self) -> Option<u16> {
        self.0.numa_node()
    }

    fn reset(&self) -> bmnic::Result<bool> {
        self.0.reset()
    }
}

#[test]
fn an_emulated_card_that_is_given_memory_out_of_reach_says_so() {
    for model in EACH {
        // Not strict: such a card falls silent after the first.
        let engine = Engine::new(Drive::Manual);
        let (function, tap) = engine.open(&format!("{model},wire=loop,link=2ms").parse().unwrap()).unwrap();
        let mut rig = Rig::driven(model, engine, Arc::new(Liar(function)), tap);
        let (mapped, forgotten) = (pool(), pool());
        rig.function.map(mapped.arena()).unwrap();
        rig.port.rx[0].fill(&forgotten).unwrap();
        let mut batch = Batch::new(&mapped);
        assert!(batch.push_frame(&[1; 60]));
        assert_eq!(rig.port.tx[0].send(&mut batch), 1);
        rig.run();
        let rules = |rig: &Rig| rig.tap.violations().into_iter().map(|(rule, _)| rule).collect::<Vec<_>>();
        assert!(rules(&rig).iter().any(|rule| rule == "DMA write outside mapped memory"), "{model}: {:?}", rules(&rig));

        while rig.port.tx[0].reclaim(&mapped) > 0 {
            rig.run();
        }
        let mut batch = Batch::new(&forgotten);
        assert!(batch.push_frame(&[1; 60]));
        assert_eq!(rig.port.tx[0].send(&mut batch), 1);
        rig.run();
        assert!(rules(&rig).iter().any(|rule| rule == "DMA read outside mapped memory"), "{model}: {:?}", rules(&rig));
    }
}
