//! A driver's rings, and a card that completes what the input says.

use super::Input;
use crate::families::Rings;
use crate::rig::{RING, Rig, random};
use crate::silicon::Played;
use bmnic::dma::{Batch, Pool};
use bmnic::driver::Port;
use std::collections::VecDeque;

/// Plays `data` to a driver; how many completions it took.
pub fn play(rings: &Rings, data: &[u8]) -> u64 {
    let mut rig = Rig::new(rings, 9000);
    let Rig { pool, port, device } = &mut rig;
    let mut application = Application::new(pool, port);
    let mut input = Input::new(data);
    while !input.is_over() {
        let (what, n, value) = (input.byte(), u32::from(input.byte()), input.number(2) as u32);
        if what == 0xfc {
            application.meets_honesty(device.as_mut());
        } else if !device_does(device.as_mut(), what & 15, n, value) {
            application.turn(1 + (n as usize & 15) * 4);
        }
        if what >> 4 == 15 {
            application.holds_every_buffer(rings);
        }
    }
    application.holds_every_buffer(rings);
    let taken = application.taken();
    drop(application);
    rig.goes_on();
    rig.conserved();
    taken
}

/// What a card does, by the rules or not; false if it does nothing.
fn device_does(device: &mut dyn Played, what: u8, n: u32, value: u32) -> bool {
    let (few, last) = (n & 15, n & 0x80 != 0);
    match what {
        0..=5 => {
            let burst = few.min(device.rx_owned());
            (0..burst).for_each(|i| device.rx_complete(i, 60 + value % 1400, true));
            device.rx_advance(burst);
        }
        6 => device.rx_complete(n & 127, value % 2300, value >> 12 != 0),
        7 => {
            device.rx_complete(0, 2048, last);
            device.rx_advance(1);
        }
        8 => {
            let burst = device.tx_owned().min(few);
            (0..burst).for_each(|i| device.tx_complete(i));
            device.tx_advance(burst);
        }
        9 => device.tx_complete(n & 127),
        // Any length at all, zero among them.
        10 if n >> 4 == 0 => device.rx_complete(few, value, value & 1 != 0),
        10 if n >> 4 == 1 => device.corrupt(&mut random(u64::from(value))),
        11 if n >> 4 == 0 => device.rx_advance(few),
        11 if n >> 4 == 1 => device.tx_advance(few),
        _ => return false,
    }
    true
}

/// What receives, sends what it can, and keeps the rest for a while.
struct Application<'a> {
    pool: &'a Pool,
    port: &'a mut Port,
    kept: VecDeque<Batch<'a>>,
    received: u64,
    sent: u64,
}

impl<'a> Application<'a> {
    fn new(pool: &'a Pool, port: &'a mut Port) -> Self {
        Application { pool, port, kept: VecDeque::new(), received: 0, sent: 0 }
    }

    fn turn(&mut self, limit: usize) {
        let mut batch = Batch::with_limit(self.pool, limit);
        self.received += self.port.rx[0].recv(&mut batch) as u64;
        for i in 0..batch.len() {
            assert!((1..=2048).contains(&batch.frame(i).len()));
            std::hint::black_box(batch.meta(i));
        }
        self.sent += self.port.tx[0].send(&mut batch) as u64;
        self.kept.push_back(batch);
        if self.kept.len() > 2 {
            self.kept.pop_front();
        }
    }

    /// The card finds the place again where the driver waits, and is honest for a while.
    fn meets_honesty(&mut self, device: &mut dyn Played) {
        self.kept.clear();
        let (pool, port) = (self.pool, &mut *self.port);
        let mut receives = || {
            let got = port.rx[0].recv(&mut Batch::new(pool)) as u64;
            self.received += got;
            got > 0
        };
        while receives() {}
        device.rx_resume(&mut receives);
    }

    /// Every slot for packets to come has a buffer; the others are in the pool, on their
    /// way out, or kept.
    fn holds_every_buffer(&mut self, rings: &Rings) {
        let leaving = self.port.tx[0].reclaim(self.pool);
        let held: usize = self.kept.iter().map(Batch::len).sum();
        let out = self.pool.capacity() - self.pool.available();
        let slots = usize::from(RING) * rings.buffers - rings.bare;
        assert_eq!(out, slots + leaving + held, "{leaving} are leaving, {held} kept");
    }

    /// Completions of either kind that it has had.
    fn taken(&mut self) -> u64 {
        self.received + self.sent - self.port.tx[0].reclaim(self.pool) as u64
    }
}
