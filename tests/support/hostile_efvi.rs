//! EF10 as a hostile device: events that a test writes at will.

use super::efvi_card::{Card, Fault, Queue, rx_event, tx_event};
use super::{Hostile, RING};
use bmnic::driver::{self, Config, Port};
use bmnic::pci::Function;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Receive queue and transmit queue, by their virtual interfaces.
const RX: u16 = 0;
const TX: u16 = 1;

/// SFC9120 to X2.
pub struct Efvi {
    card: Card,
    rx: RefCell<Option<Queue>>,
    tx: RefCell<Option<Queue>>,
    starts: Cell<[u32; 2]>,
    /// A frame has begun and not ended.
    open: bool,
}

impl Efvi {
    /// A card that sets a queue up anew begins anew itself.
    fn sync(&self) {
        let now = [RX, TX].map(|vi| self.card.starts(vi));
        let seen = self.starts.replace(now);
        if now[0] != seen[0] {
            *self.rx.borrow_mut() = Some(self.card.rx(RX));
        }
        if now[1] != seen[1] {
            // The first descriptor only switches options.
            let mut tx = self.card.tx(TX);
            tx.head = 1;
            *self.tx.borrow_mut() = Some(tx);
        }
    }

    fn with_rx<R>(&self, f: impl FnOnce(&mut Queue) -> R) -> R {
        self.sync();
        f(self.rx.borrow_mut().as_mut().unwrap())
    }

    fn with_tx<R>(&self, f: impl FnOnce(&mut Queue) -> R) -> R {
        self.sync();
        f(self.tx.borrow_mut().as_mut().unwrap())
    }
}

impl Hostile for Efvi {
    const GIVEN: u32 = RING as u32 - 8;
    const FIRST: u32 = 2048 - 14;

    fn new(config: &Config) -> (Self, Port) {
        let card = Card::new(Fault::None);
        let port = driver::open(card.function(), config).unwrap();
        (Efvi { card, rx: RefCell::default(), tx: RefCell::default(), starts: Cell::default(), open: false }, port)
    }

    fn function(&self) -> Arc<dyn Function> {
        self.card.function()
    }

    fn attach(&mut self) {
        self.sync();
    }

    fn rx_owned(&self) -> u32 {
        self.with_rx(|rx| rx.owned())
    }

    fn rx_complete(&mut self, ahead: u32, len: u32, last: bool) {
        // The first part of a frame has the prefix before it; one that is to be
        // full is full with it.
        let prefix = if self.open || !last { 0 } else { 14 };
        self.open = !last;
        self.with_rx(|rx| {
            let next = rx.head.wrapping_add(ahead + 1);
            let event = rx_event(len.wrapping_add(prefix), next, last);
            rx.slot(rx.event.wrapping_add(ahead)).store(event, Ordering::Release);
        });
    }

    fn rx_advance(&mut self, n: u32) {
        self.with_rx(|rx| {
            rx.head = rx.head.wrapping_add(n);
            rx.event = rx.event.wrapping_add(n);
        });
    }

    fn rx_resume(&mut self, received: &mut dyn FnMut() -> bool) {
        self.open = false;
        let mut at = self.with_rx(|rx| rx.event);
        let mut guess = self.with_rx(|rx| rx.head);
        for _ in 0..4 * self.with_rx(|rx| rx.event_slots()) {
            let before =
                self.with_rx(|rx| rx.slot(at).swap(rx_event(60 + 14, guess.wrapping_add(1), true), Ordering::AcqRel));
            let starts = self.starts.get();
            if received() {
                self.with_rx(|rx| {
                    rx.event = at.wrapping_add(1);
                    // It keeps 41 to 56 descriptors out: the sixteen that one nibble tells apart.
                    let low = rx.tail().wrapping_sub(56);
                    rx.head = low.wrapping_add(guess.wrapping_add(1).wrapping_sub(low) & 0xf);
                });
                return;
            }
            self.sync();
            if starts != self.starts.get() {
                (at, guess) = self.with_rx(|rx| (rx.event, rx.head));
                continue;
            }
            // Taken and refused: the right slot, another descriptor. Not taken:
            // another slot.
            let taken = self.with_rx(|rx| rx.slot(at).load(Ordering::Acquire) == u64::MAX);
            if taken {
                guess = guess.wrapping_add(1);
            } else {
                self.with_rx(|rx| rx.slot(at).store(before, Ordering::Release));
            }
            at = at.wrapping_add(1);
        }
        panic!("the driver waits nowhere");
    }

    fn tx_owned(&self) -> u32 {
        self.with_tx(|tx| tx.owned())
    }

    fn tx_complete(&mut self, ahead: u32) {
        self.with_tx(|tx| {
            let index = tx.head.wrapping_add(ahead) & (tx.len() - 1);
            tx.report(tx_event(index));
        });
    }

    fn tx_advance(&mut self, n: u32) {
        self.with_tx(|tx| tx.head = tx.head.wrapping_add(n));
    }

    fn corrupt(&mut self, noise: &mut dyn FnMut() -> u64) {
        for queue in [&self.rx, &self.tx] {
            let queue = queue.borrow();
            let queue = queue.as_ref().unwrap();
            for n in 0..queue.len() {
                queue.descriptor(n).store(noise(), Ordering::Release);
            }
            for n in 0..queue.event_slots() {
                queue.slot(n).store(noise(), Ordering::Release);
            }
        }
    }
}
