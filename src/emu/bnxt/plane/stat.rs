//! Statistics contexts, and the counters of the port.
//!
//! A context's counters are written to a driver's memory now and then: every so many
//! milliseconds, if it asked for that.

use super::super::super::frame::cast;
use super::super::super::{Board, Picos, Translation};
use super::slab::{Handle, Slab};
use super::{Outcome, Plane, Refusal};
use crate::dma::Iova;
use std::sync::atomic::Ordering;

const MILLISECOND: Picos = 1_000_000_000;

/// How wide counters are: firmware says so, and a nasty card's wrap there.
pub const WIDTH: u64 = (1 << 40) - 1;

/// The counters of one context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets to one, to many, to all.
    pub rx_packets: [u64; 3],
    /// No buffer for them.
    pub rx_discards: u64,
    /// Broken.
    pub rx_errors: u64,
    /// Bytes to one, to many, to all.
    pub rx_bytes: [u64; 3],
    /// Packets to one, to many, to all.
    pub tx_packets: [u64; 3],
    /// Could not be sent.
    pub tx_errors: u64,
    /// Were not sent.
    pub tx_discards: u64,
    /// Bytes to one, to many, to all.
    pub tx_bytes: [u64; 3],
}

impl Counters {
    /// In the order in which they lie in memory.
    fn words(&self) -> [u64; 16] {
        let [ru, rm, rb] = self.rx_packets;
        let [rub, rmb, rbb] = self.rx_bytes;
        let [tu, tm, tb] = self.tx_packets;
        let [tub, tmb, tbb] = self.tx_bytes;
        let (rd, re, td, te) = (self.rx_discards, self.rx_errors, self.tx_discards, self.tx_errors);
        [ru, rm, rb, rd, re, rub, rmb, rbb, tu, tm, tb, te, td, tub, tmb, tbb]
    }

    #[inline]
    pub(super) fn received(&mut self, frame: &[u8]) {
        self.rx_packets[cast(frame)] += 1;
        self.rx_bytes[cast(frame)] += frame.len() as u64;
    }

    #[inline]
    pub(super) fn sent(&mut self, frame: &[u8]) {
        self.tx_packets[cast(frame)] += 1;
        self.tx_bytes[cast(frame)] += frame.len() as u64;
    }
}

/// A statistics context.
pub struct Context {
    counters: Counters,
    address: Iova,
    length: usize,
    period: Picos,
    next: Picos,
    /// Where its counters start (nasty).
    start: u64,
}

impl Context {
    /// The counters as a driver sees them: from where they started, and no wider than
    /// they are.
    fn shown(&self) -> Counters {
        let start = self.start;
        let show = |value: u64| if start == 0 { value } else { start.wrapping_add(value) & WIDTH };
        let own = &self.counters;
        Counters {
            rx_packets: own.rx_packets.map(show),
            rx_discards: show(own.rx_discards),
            rx_errors: show(own.rx_errors),
            rx_bytes: own.rx_bytes.map(show),
            tx_packets: own.tx_packets.map(show),
            tx_errors: show(own.tx_errors),
            tx_discards: show(own.tx_discards),
            tx_bytes: own.tx_bytes.map(show),
        }
    }

    /// Writes the counters, or now and then zeros in their place (nasty).
    fn write(&self, memory: &Translation, blank: bool) {
        let words = if blank { [0; 16] } else { self.shown().words() };
        for at in 0..self.length / 8 {
            if let Some(word) = memory.word64(self.address.wrapping_add(8 * at as u64)) {
                word.store(words.get(at).copied().unwrap_or(0), Ordering::Release);
            }
        }
    }
}

/// The port's counters, as PORT_QSTATS writes them.
pub struct Port {
    pub tx: [u64; 51],
    pub rx: [u64; 66],
}

/// Words of the port's counters: both directions have those first.
const GOOD_TX: usize = 0x58 / 8;
const TOTAL_TX: usize = 0x60 / 8;
const CAST_TX: usize = 0x68 / 8;
const BYTES_TX: usize = 0x178 / 8;
const TOTAL_RX: usize = 0x58 / 8;
const CAST_RX: usize = 0x60 / 8;
const MTU_RX: usize = 0xe0 / 8;
const GOOD_RX: usize = 0x110 / 8;
const BYTES_RX: usize = 0x1e8 / 8;
const DISCARD_RX: usize = 0x200 / 8;

impl Port {
    pub fn new() -> Self {
        Port { tx: [0; 51], rx: [0; 66] }
    }

    /// A frame was sent. Lengths count the FCS.
    #[inline]
    pub fn sent(&mut self, frame: &[u8]) {
        let len = frame.len() as u64 + 4;
        for word in [size_class(len), GOOD_TX, TOTAL_TX, CAST_TX + cast(frame)] {
            self.tx[word] += 1;
        }
        self.tx[BYTES_TX] += len;
    }

    /// A frame has arrived.
    #[inline]
    pub fn received(&mut self, frame: &[u8]) {
        let len = frame.len() as u64 + 4;
        for word in [size_class(len), TOTAL_RX, CAST_RX + cast(frame), GOOD_RX] {
            self.rx[word] += 1;
        }
        self.rx[BYTES_RX] += len;
    }

    /// It was longer than its VNIC takes.
    pub fn too_long(&mut self) {
        self.rx[MTU_RX] += 1;
    }

    /// It was lost for want of a buffer.
    pub fn discarded(&mut self) {
        self.rx[DISCARD_RX] += 1;
    }
}

/// 64, up to 127, ... up to 1518, tagged of that size, up to 2047, ... up to 16383.
#[inline]
fn size_class(len: u64) -> usize {
    match len {
        ..=64 => 0,
        65..=127 => 1,
        128..=255 => 2,
        256..=511 => 3,
        512..=1023 => 4,
        1024..=1518 => 5,
        1519..=1522 => 6,
        1523..=2047 => 7,
        2048..=4095 => 8,
        4096..=9216 => 9,
        _ => 10,
    }
}

/// The counters of a context that is still there.
#[inline]
pub fn counters(stats: &mut Slab<Context>, stat: Option<Handle>) -> Option<&mut Counters> {
    let stat = stat.filter(|stat| stats.holds(*stat))?;
    Some(&mut stats.get_mut(stat.id)?.counters)
}

impl Plane {
    /// STAT_CTX_ALLOC: the context's id. Counters are written to `address`, if it is
    /// not 0, every `period` milliseconds, if that is not 0.
    pub fn alloc_stat(&mut self, board: &mut Board, address: Iova, period: u32, length: u16) -> Outcome<u16> {
        let length = if length == 0 { 160 } else { usize::from(length) };
        if !address.is_multiple_of(8) || length > 512 {
            return Err(Refusal::INVALID);
        }
        let period = Picos::from(period) * MILLISECOND;
        let period = if board.nasty && period != 0 { period.max(1000 * MILLISECOND) } else { period };
        // A little below where they wrap.
        let start = if board.nasty { WIDTH - board.random.below(1 << 16) } else { 0 };
        let context =
            Context { counters: Counters::default(), address, length, period, next: board.now + period, start };
        self.stats_due = 0;
        self.stats.insert(context, board.nasty.then_some(&mut board.random)).ok_or(Refusal::ALLOC)
    }

    /// STAT_CTX_FREE.
    pub fn free_stat(&mut self, board: &mut Board, stat: u32) -> Outcome<()> {
        let id = u16::try_from(stat).map_err(|_| Refusal::INVALID)?;
        let handle = self.stats.handle(id).ok_or(Refusal::INVALID)?;
        let by_group = self.groups.iter().any(|(_, group)| group.stat == Some(handle) && self.rings.holds(group.rx));
        if by_group || self.rings.iter().any(|(_, ring)| ring.stat() == Some(handle)) {
            board.violations.note("statistics context freed while a ring counts in it");
        }
        self.stats.remove(id);
        Ok(())
    }

    /// STAT_CTX_CLR_STATS.
    pub fn clear_stat(&mut self, stat: u32) -> Outcome<()> {
        let id = u16::try_from(stat).map_err(|_| Refusal::INVALID)?;
        let context = self.stats.get_mut(id).ok_or(Refusal::INVALID)?;
        (context.counters, context.start) = (Counters::default(), 0);
        Ok(())
    }

    /// STAT_CTX_QUERY.
    pub fn stat(&self, stat: u32) -> Outcome<Counters> {
        let id = u16::try_from(stat).map_err(|_| Refusal::INVALID)?;
        self.stats.get(id).map(Context::shown).ok_or(Refusal::INVALID)
    }

    /// The function's counters: of all contexts, those that are freed too.
    pub fn totals(&self) -> Counters {
        self.total
    }

    /// The port's counters as PORT_QSTATS writes them: transmit, receive.
    pub fn port(&self) -> (&[u64; 51], &[u64; 66]) {
        (&self.port.tx, &self.port.rx)
    }

    /// PORT_CLR_STATS.
    pub fn clear_port(&mut self) {
        self.port = Port::new();
    }

    /// Counts in a context, if there is one, and for the function.
    #[inline]
    pub(super) fn count(&mut self, stat: Option<Handle>, how: impl Fn(&mut Counters)) {
        counters(&mut self.stats, stat).into_iter().for_each(&how);
        how(&mut self.total);
    }

    /// Writes the counters whose time has come.
    pub(super) fn write_stats(&mut self, board: &mut Board) {
        let now = board.now;
        if now < self.stats_due {
            return;
        }
        let mut due = now + 1000 * MILLISECOND;
        for context in self.stats.iter_mut().filter(|context| context.period != 0 && context.address != 0) {
            if context.next <= now {
                context.next = now + context.period;
                let blank = board.nasty && board.random.below(500) == 0;
                context.write(&board.bus.memory, blank);
            }
            due = due.min(context.next);
        }
        self.stats_due = due;
    }
}
