//! What crosses PCIe for a packet that a driver receives and sends, exactly.
//!
//! ```text
//!   doorbells    stores of the driver to pages of the card, each of them   (sys::stores)
//!   descriptors, packets, interrupts                        by the card    (emu::pcie)
//! ```
//!
//! Bursts go round both rings from their beginning, and what is counted is as many rounds
//! after the first ones: it comes to the same each time, on any machine.

use super::bench::{WHOLE_STEP, drain};
use super::{Card, Contender, Ours, spec, stepped};
use crate::dma::{Addressing, Pool};
use crate::emu::pcie::{Crossings, Traffic};
use crate::emu::{Drive, Engine, native};
use crate::error::{Error, Kind, Result};
use crate::pci::Page;
use crate::sys::stores::{Stores, Watch};

/// Rounds after which rings of completions, which are longer, begin anew as well.
const ROUNDS: usize = 8;

/// What crossed for so many packets.
#[derive(Clone, Copy, Debug)]
pub struct Crossing {
    /// Packets that were received and sent.
    pub packets: usize,
    /// What the driver stored to the card.
    pub stores: Stores,
    /// What the card began.
    pub card: Crossings,
}

/// Counts what crosses for bmnic's own driver on a card of this model, with rings of `ring`
/// descriptors, in bursts of `burst` packets; the model decides whether there is one.
///
/// # Errors
/// What opening the card meets; as [`Crossing::count`].
pub fn count_alone(model: &str, ring: u16, burst: usize) -> Result<Crossing> {
    /// Buffers beside those in the rings: of a burst, and of what a ring is late to give back.
    const SPARE: usize = 1024;
    let engine = Engine::new(Drive::Manual);
    let (function, tap) = engine.open(&spec(model)?)?;
    let pool = Pool::new(SPARE + 8 * usize::from(ring), Addressing::Translated)?;
    let mut ours = stepped(&engine, None, || Ours::start(function, ring, &pool))?;
    let card = Card { engine: &engine, tap: &tap, crowded: false };
    Crossing::count(&mut ours, &card, ring.into(), burst)
}

impl Crossing {
    /// What crossed for one packet: a column's name, and how often.
    pub fn a_packet(&self) -> [(&'static str, f64); 5] {
        let Crossings { fetched, reported, read, written, rung, .. } = self.card;
        let each = |n: u64| n as f64 / self.packets as f64;
        let transactions = |a: Traffic, b: Traffic| each(a.transactions + b.transactions);
        [
            ("stores", each(self.stores.stores + rung)),
            ("lines in", each(fetched.lines)),
            ("lines out", each(reported.lines)),
            ("reads", transactions(fetched, read)),
            ("writes", transactions(reported, written)),
        ]
    }

    /// Counts bursts of `burst` packets through rings of `ring`, before anything else
    /// was sent.
    ///
    /// # Errors
    /// If the card does not deliver what it should, or the driver does not send it.
    pub fn count(contender: &mut impl Contender, card: &Card<'_>, ring: usize, burst: usize) -> Result<Crossing> {
        let _held = card.hold();
        let crossing = count(contender, card, ROUNDS * ring, burst);
        card.tap.count_crossings(false);
        crossing
    }
}

/// Counts a round, after one that is not counted.
fn count(contender: &mut impl Contender, card: &Card<'_>, round: usize, burst: usize) -> Result<Crossing> {
    let failed = |e| Error::io("counting stores to the card", e);
    align(contender, card, round)?;
    let packets = round * burst / gcd(round, burst);
    // The card's first look finds what was announced before.
    card.tap.count_crossings(true);
    pass(contender, card, packets / burst, burst, |act| Ok(act()))?;
    let watch = Watch::new(Page::everywhere().map_err(failed)?, native::width).map_err(failed)?;
    let before = card.tap.crossings();
    let mut stores = Stores::default();
    pass(contender, card, packets / burst, burst, |act| {
        let (n, more) = watch.count(act).map_err(failed)?;
        stores += more;
        Ok(n)
    })?;
    Ok(Crossing { packets, stores, card: card.tap.crossings() - before })
}

/// Takes what the card has, until a round of so many frames begins. Whole steps lead there:
/// where a driver gives descriptors by steps, these begin with the round too.
///
/// # Errors
/// If the card delivers nothing, or without an end.
fn align(contender: &mut impl Contender, card: &Card<'_>, round: usize) -> Result<()> {
    drain(contender, card, WHOLE_STEP)?;
    card.play(WHOLE_STEP);
    drain(contender, card, round)
}

/// Receives and sends so many bursts, each call by `around`.
fn pass(
    contender: &mut impl Contender,
    card: &Card<'_>,
    bursts: usize,
    burst: usize,
    mut around: impl FnMut(&mut dyn FnMut() -> usize) -> Result<usize>,
) -> Result<()> {
    for _ in 0..bursts {
        card.play(burst);
        let received = around(&mut || contender.receive(burst))?;
        if card.crowded {
            card.play(0);
        }
        let sent = around(&mut || contender.send())?;
        if (received, sent) != (burst, burst) {
            let what = format!("of a burst of {burst} it received {received} and sent {sent}, while that was counted");
            return Err(Error::new(Kind::Device, what));
        }
    }
    Ok(())
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
