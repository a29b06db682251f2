//! A port at a card that a test plays by hand, and what must hold of it.

#![allow(dead_code)] // each test program uses a part

use crate::families::Rings;
use crate::silicon::{self, Opened, Played};
use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{Anomalies, Config, Port};

/// Descriptors of a ring.
pub const RING: u16 = 64;

/// A port, its device and its pool.
pub struct Rig<D: Played + ?Sized = dyn Played> {
    pub pool: Pool,
    pub port: Port,
    pub device: Box<D>,
}

impl Rig {
    /// A card with such rings.
    pub fn new(rings: &Rings, max_frame: u16) -> Self {
        Rig::of(silicon::open(rings, &config(rings, max_frame)))
    }
}

/// Rings of [`RING`] descriptors, on transmit more where a frame takes several.
pub fn config(rings: &Rings, max_frame: u16) -> Config {
    Config { rx_ring: RING, tx_ring: RING * rings.tx_factor, max_frame, ..Config::default() }
}

impl<D: Played + ?Sized> Rig<D> {
    /// What was opened, with its rings filled.
    pub fn of(opened: Opened<D>) -> Self {
        let Opened { function, mut port, mut device } = opened;
        let pool = Pool::new(512, Addressing::Translated).unwrap();
        function.map(pool.arena()).unwrap();
        port.rx[0].fill(&pool).unwrap();
        device.attach();
        Rig { pool, port, device }
    }

    /// Receives what there is: the length of each entry.
    pub fn recv(&mut self) -> Vec<usize> {
        let mut batch = Batch::new(&self.pool);
        self.port.rx[0].recv(&mut batch);
        batch.frames().map(<[u8]>::len).collect()
    }

    /// Sends `n` frames of 60 bytes.
    pub fn send(&mut self, n: usize) {
        let mut batch = Batch::new(&self.pool);
        while batch.len() < n {
            batch.push(60).unwrap().fill(0);
        }
        assert_eq!(self.port.tx[0].send(&mut batch), n);
    }

    pub fn rx_wrong(&self) -> Anomalies {
        self.port.rx[0].anomalies()
    }

    /// An honest device again: once what is left of the lies has been passed
    /// over, every frame comes through.
    pub fn goes_on(&mut self) {
        assert!((0..RING).any(|_| self.every_frame_comes_through()), "the queue is stuck: {:?}", self.rx_wrong());
    }

    fn every_frame_comes_through(&mut self) -> bool {
        while !self.recv().is_empty() {}
        let Rig { pool, port, device } = self;
        device.rx_resume(&mut || port.rx[0].recv(&mut Batch::new(pool)) > 0);
        (100..100 + 3 * u32::from(RING)).all(|len| {
            self.device.rx_complete(0, len, true);
            self.device.rx_advance(1);
            self.device.rx_owned() > 0 && self.recv() == [len as usize]
        })
    }

    /// Nothing is lost and nothing is in two places: what is free, in the
    /// batches and in the rings makes the whole pool, each once.
    pub fn conserved(self) {
        let Rig { pool, port, .. } = self;
        port.close([&pool]);
        assert_eq!(pool.available(), pool.capacity(), "buffers were lost or given back twice");
        let mut seen = std::collections::HashSet::new();
        let mut batches = Vec::new();
        while pool.available() > 0 {
            let mut batch = Batch::new(&pool);
            while let Some(frame) = batch.push(1) {
                assert!(seen.insert(frame.as_ptr() as usize), "a buffer was given out twice");
            }
            batches.push(batch);
        }
        assert_eq!(seen.len(), pool.capacity());
    }
}

/// xorshift64*: seeded, and good enough for noise.
pub fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
