//! What is reserved for a function, and what it gets.
//!
//! The firmware may grant less than it was asked for and say nothing, so what was
//! granted is read back. Queues that were asked for are needed; what is only good
//! to have is left out where there is too little.

use super::Generation;
use super::cmd::func_cfg;
use super::codes::{SELF, func};
use super::firmware::{self, too_few};
use super::hw::{Hw, Resources};
use crate::dma::BUFFER_SIZE;
use crate::driver::config::Config;
use crate::driver::mailbox::Request;
use crate::driver::slots::TAGS;
use crate::error::Result;

/// What a configuration needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Generation of the card.
    pub generation: Generation,
    /// Receive queues.
    pub rx: u16,
    /// Transmit queues.
    pub tx: u16,
    /// Frames that fill several buffers.
    pub long: bool,
    /// The longest frame may be shorter than that.
    pub shorter: bool,
    /// Receive queues interrupt.
    pub interrupts: bool,
}

/// What is done with what was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Frames may fill several buffers.
    pub long: bool,
    /// Contexts of counters.
    pub stats: u16,
    /// Completion ring, or notification queue, for events.
    pub events: bool,
    /// Receive queues have notification queues of their own.
    pub own_notifications: bool,
    /// Receive queues have places for frames of their own.
    pub places: bool,
}

/// Of which there is too little: has, needed.
type Short = (&'static str, u16, u16);

impl Need {
    /// Of `config` on a card of `generation`.
    pub fn new(config: &Config, generation: Generation) -> Need {
        Need {
            generation,
            rx: config.rx_queues,
            tx: config.tx_queues,
            long: u32::from(config.max_frame) + TAGS > BUFFER_SIZE as u32,
            shorter: config.shorter_frames,
            interrupts: config.interrupts,
        }
    }

    /// All that is good to have.
    pub fn wish(&self) -> Resources {
        let p5 = self.generation == Generation::P5;
        Resources {
            rx: self.rx * (1 + u16::from(self.long)),
            tx: self.tx,
            completions: self.rx + self.tx + u16::from(!p5),
            // Places of their own, for flows that are steered.
            vnics: 1 + if self.rx > 1 { self.rx } else { 0 },
            stats: self.rx.max(self.tx),
            spreads: 1,
            groups: if p5 { 0 } else { self.rx },
            notifications: if p5 { 1 + if self.interrupts { self.rx } else { 0 } } else { 0 },
        }
    }

    /// What can be done with what it `has`.
    pub fn fit(&self, has: &Resources) -> std::result::Result<Plan, Short> {
        let wish = self.wish();
        let p5 = self.generation == Generation::P5;
        let queues = self.rx + self.tx;
        let long = self.long && has.rx >= wish.rx;
        let rx = if self.long && !self.shorter { wish.rx } else { self.rx };
        for (what, has, needed) in [
            ("receive rings", has.rx, rx),
            ("transmit rings", has.tx, self.tx),
            ("completion rings", has.completions, queues),
            ("places for received frames (VNICs)", has.vnics, 1),
            ("contexts of counters", has.stats, 1),
            ("contexts to spread flows with", has.spreads, u16::from(self.rx > 1)),
            ("groups of rings", has.groups, wish.groups),
            ("vectors", has.notifications, if self.interrupts { wish.notifications } else { u16::from(p5) }),
        ] {
            let unlimited = what == "vectors" && !p5;
            if has < needed && !unlimited {
                return Err((what, has, needed));
            }
        }
        Ok(Plan {
            long,
            stats: wish.stats.min(has.stats),
            events: p5 || has.completions > queues,
            own_notifications: p5 && self.interrupts,
            places: self.rx > 1 && has.vnics >= wish.vnics,
        })
    }
}

/// Reserves what is needed, as far as it is to be had; `most`: what can be
/// reserved, if the firmware reserves.
pub fn reserve(hw: &Hw, need: &Need, most: Option<&Resources>) -> Result<Plan> {
    use func_cfg::input;
    let refuse = |(what, has, needed)| too_few(hw, what, has, needed);
    let wish = need.wish();
    let p5 = need.generation == Generation::P5;
    let limit = most.copied().unwrap_or(hw.caps.most);
    need.fit(&limit).map_err(refuse)?;
    let capped = |wish: u16, most: u16| u64::from(wish.min(most));
    let mut request = Request::new(func_cfg::COMMAND)
        .with(input::FID, SELF)
        .with(input::ENABLES, func::TX)
        .with(input::NUM_TX_RINGS, u64::from(wish.tx));
    if most.is_some() {
        let own = if p5 { func::MSIX } else { func::GROUPS };
        let enables = func::RSSCOS | func::CMPL | func::TX | func::RX | func::VNICS | func::STAT | own;
        request = request
            .with(input::ENABLES, enables)
            .with(input::NUM_MSIX, capped(wish.notifications, limit.notifications))
            .with(input::NUM_RSSCOS_CTXS, capped(wish.spreads, limit.spreads))
            .with(input::NUM_CMPL_RINGS, capped(wish.completions, limit.completions))
            .with(input::NUM_RX_RINGS, capped(wish.rx, limit.rx))
            .with(input::NUM_VNICS, capped(wish.vnics, limit.vnics))
            .with(input::NUM_STAT_CTXS, capped(wish.stats, limit.stats))
            .with(input::NUM_HW_RING_GRPS, capped(wish.groups, limit.groups));
    }
    hw.ask(request)?;
    let has = firmware::configured(hw)?.has;
    let has = if most.is_some() { has } else { Resources { tx: has.tx, ..limit } };
    need.fit(&has).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(generation: Generation) -> Need {
        let config = Config { rx_queues: 4, tx_queues: 2, ..Config::default() };
        Need::new(&config, generation)
    }

    #[test]
    fn all_that_is_wished_for_is_used() {
        for generation in [Generation::P4, Generation::P5] {
            let need = Need { long: true, interrupts: true, ..need(generation) };
            let plan = need.fit(&need.wish()).unwrap();
            let p5 = generation == Generation::P5;
            assert_eq!(plan, Plan { long: true, stats: 4, events: true, own_notifications: p5, places: true });
        }
        let wish = need(Generation::P4).wish();
        assert_eq!((wish.completions, wish.groups, wish.vnics, wish.notifications), (7, 4, 5, 0));
        let wish = need(Generation::P5).wish();
        assert_eq!((wish.completions, wish.groups, wish.notifications), (6, 0, 1));
    }

    #[test]
    fn what_is_only_good_to_have_shrinks() {
        let need = need(Generation::P4);
        let has = Resources { stats: 1, completions: 6, vnics: 4, ..need.wish() };
        let plan = need.fit(&has).unwrap();
        assert_eq!((plan.stats, plan.events, plan.places), (1, false, false));
        let long = Need { long: true, shorter: true, ..need };
        assert!(!long.fit(&Resources { rx: 7, ..long.wish() }).unwrap().long, "an odd ring is none");
        assert_eq!(
            Need { shorter: false, ..long }.fit(&Resources { rx: 7, ..long.wish() }),
            Err(("receive rings", 7, 8))
        );
    }

    #[test]
    fn queues_that_were_asked_for_are_there_or_the_lack_is_named() {
        let need = need(Generation::P5);
        let wish = need.wish();
        for (has, what) in [
            (Resources { rx: 3, ..wish }, "receive rings"),
            (Resources { tx: 1, ..wish }, "transmit rings"),
            (Resources { completions: 5, ..wish }, "completion rings"),
            (Resources { notifications: 0, ..wish }, "vectors"),
            (Resources { stats: 0, ..wish }, "contexts of counters"),
            (Resources { spreads: 0, ..wish }, "contexts to spread flows with"),
        ] {
            assert_eq!(need.fit(&has).unwrap_err().0, what);
        }
        let waits = Need { interrupts: true, ..need };
        assert_eq!(waits.fit(&wish), Err(("vectors", 1, 5)));
    }
}
