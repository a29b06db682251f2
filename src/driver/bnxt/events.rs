//! Events of the firmware: the link, and that everything is lost.
//!
//! ```text
//!   [ 2e | event:16 | data2:32 | valid:1 | data1:32 ]
//! ```
//!
//! They come in a ring that nothing else is reported in, and are looked at whenever
//! the control plane is asked something. A driver that signs on is sent those that it
//! names; others are passed over.

use super::bell::AckBell;
use super::cq::Completions;
use super::desc::kind;
use crate::dma::Region;

/// Entries of the ring.
pub const ENTRIES: u32 = 256;

/// Events by number.
mod event {
    pub const LINK_STATUS_CHANGE: u64 = 0x00;
    pub const LINK_SPEED_CHANGE: u64 = 0x02;
    pub const PORT_CONN_NOT_ALLOWED: u64 = 0x04;
    pub const LINK_SPEED_CFG_CHANGE: u64 = 0x06;
    pub const PORT_PHY_CFG_CHANGE: u64 = 0x07;
    pub const RESET_NOTIFY: u64 = 0x08;
    pub const ERROR_REPORT: u64 = 0x45;

    /// Those that are understood here.
    pub const ALL: [u64; 7] = [
        LINK_STATUS_CHANGE,
        LINK_SPEED_CHANGE,
        PORT_CONN_NOT_ALLOWED,
        LINK_SPEED_CFG_CHANGE,
        PORT_PHY_CFG_CHANGE,
        RESET_NOTIFY,
        ERROR_REPORT,
    ];
}

/// A bit for each event that is understood.
pub fn wanted() -> [u8; 32] {
    let mut bits = [0; 32];
    for event in event::ALL {
        bits[event as usize / 8] |= 1 << (event % 8);
    }
    bits
}

/// What is new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Something about the PHY: what it can may have changed.
    pub phy: bool,
    /// The firmware restarts: data of its notice.
    pub reset: Option<u32>,
    /// Doorbells were lost: the number of that report.
    pub doorbells: Option<u32>,
}

/// The ring of events.
pub struct Watch(Completions);

impl Watch {
    /// Of a ring that the card has.
    pub fn new(region: Region, bell: AckBell) -> Watch {
        Watch(Completions::new(region, 0, bell))
    }

    /// Reads all that has come, and gives the entries back.
    pub fn read(&mut self) -> News {
        let mut news = News::default();
        // One round at most: a ring that never ends is none.
        for _ in 0..ENTRIES {
            let Some([first, second]) = self.0.peek(0) else { break };
            if first & kind::MASK == kind::EVENT {
                news.take(first >> 16 & 0xffff, (second >> 32) as u32);
            }
            self.0.take(1);
        }
        self.0.ack();
        news
    }

    /// Gives entries back once more, as the card may have missed it.
    pub fn ring_again(&self) {
        self.0.ring_again();
    }
}

impl News {
    fn take(&mut self, event: u64, data: u32) {
        match event {
            event::RESET_NOTIFY => self.reset = Some(data),
            event::ERROR_REPORT => {
                /// What is reported: more doorbells were lost than is usual.
                const DOORBELLS: u32 = 4;
                if data & 0xff == DOORBELLS {
                    self.doorbells = Some(data >> 8);
                }
            }
            event if event::ALL.contains(&event) => self.phy = true,
            _ => {}
        }
    }
}

/// What a notice of a reset says: why, to go behind "its firmware restarts".
pub fn explain(data: u32) -> &'static str {
    match data >> 8 & 0xff {
        1 => " as management asked for it",
        2 => " as it has crashed",
        3 => " after an error",
        5 => " as another version takes over",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::bell::Register;
    use super::*;
    use crate::dma::{Addressing, Arena};
    use crate::pci::{Doorbell, Page};
    use std::sync::atomic::Ordering;

    #[test]
    fn events_are_read_once_in_each_lap() {
        let arena = Arena::new(4096, Addressing::Translated).unwrap();
        let region = Region::new(&arena, 0, ENTRIES as usize * 16);
        let page = &Page::row(1)[0];
        let bell = AckBell::completions(Register::Slot(Doorbell::in_page(page, 4)));
        let mut watch = Watch::new(region.clone(), bell);
        let put = |n: usize, first: u64, second: u64| {
            region.words64()[2 * n].store(first, Ordering::Relaxed);
            region.words64()[2 * n + 1].store(second, Ordering::Release);
        };
        assert_eq!(watch.read(), News::default());
        put(0, 0x2e, 1 | 1 << 32);
        assert_eq!(watch.read(), News { phy: true, ..News::default() });
        assert_eq!(watch.read(), News::default(), "once");
        assert_eq!(page[4].load(Ordering::Relaxed), 0x2c00_0001);
        for n in 1..256 {
            put(n, 0x43 << 16 | 0x2e, 1);
        }
        assert_eq!(watch.read(), News::default(), "none that is understood");
        put(0, 0x08 << 16 | 0x2e, 0x0200 << 32);
        assert_eq!(watch.read(), News { reset: Some(0x200), ..News::default() }, "the second lap");
        put(1, 0x45 << 16 | 0x2e, 0x0704 << 32);
        assert_eq!(watch.read(), News { doorbells: Some(7), ..News::default() });
        put(2, 0x45 << 16 | 0x2e, 0x01 << 32);
        assert_eq!(watch.read(), News::default(), "another report");
        assert_eq!((&wanted()[..2], wanted()[8]), (&[0b1101_0101, 1][..], 1 << 5));
    }
}
