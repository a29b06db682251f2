//! Devices that lie: what a driver must survive, case by case.
//!
//! A [`Hostile`] is one card family with its rings laid open. Every family that
//! is driven here goes through the same cases, on receive and on transmit:
//!
//! | case | what the device does |
//! |---|---|
//! | normal | completes in order |
//! | out of range | completes what lies beyond what it was given |
//! | not in use | completes what was never given to it |
//! | duplicate | completes the same twice |
//! | mid-chain | ends, or never ends, a frame within a chain |
//! | corrupted | overwrites all shared descriptors with noise |
//! | oversize | names a length beyond the buffer, or zero |
//!
//! After each, no buffer is lost and none is in two places, the queue goes on,
//! and what can be told from honest behaviour has been counted.

#[path = "support/efvi_card.rs"]
mod efvi_card;
#[path = "support/hostile_efvi.rs"]
mod hostile_efvi;
#[path = "support/i40e_card.rs"]
mod i40e_card;
#[path = "support/ixgbe_card.rs"]
mod ixgbe_card;
#[path = "support/shell.rs"]
mod shell;
#[path = "support/virtio_card.rs"]
mod virtio_card;

use bmnic::Kind;
use bmnic::dma::{Addressing, BATCH_MAX, Batch, Pool};
use bmnic::driver::{self, Anomalies, Config, Port};
use bmnic::pci::Function;
use ixgbe_card::Fault;
use shell::Ring;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const RING: u16 = 64;

/// A card family whose device side the test plays.
trait Hostile: Sized {
    /// Descriptors of the transmit ring: [`RING`], or more where a frame takes several.
    const TX_RING: u16 = RING;
    /// Descriptors of a receive ring that a driver gives away at most.
    const GIVEN: u32 = RING as u32 - 1;
    /// Longest part of a frame in its first buffer.
    const FIRST: u32 = 2048;
    /// Descriptor whose completion reports a frame of five buffers as sent.
    const REPORT: u32 = 4;

    /// A card that is up, with one queue each way of [`RING`] descriptors.
    fn new(config: &Config) -> (Self, Port);
    /// What the driver opened.
    fn function(&self) -> Arc<dyn Function>;
    /// Looks up the rings, once the driver has filled them.
    fn attach(&mut self);
    /// Descriptors of the receive ring that the device owns.
    fn rx_owned(&self) -> u32;
    /// Completes receive descriptor `ahead` of the device's position, as a
    /// frame, or a part of one, of `len` bytes.
    fn rx_complete(&mut self, ahead: u32, len: u32, last: bool);
    /// Moves the device's position in the receive ring.
    fn rx_advance(&mut self, n: u32);
    /// Moves it to where the driver waits, found by completing one descriptor
    /// after the other until `received` says that one was taken. A device that
    /// completes out of turn loses its own place: that it then receives no more
    /// traffic is its own affair.
    fn rx_resume(&mut self, received: &mut dyn FnMut() -> bool);
    /// Descriptors of the transmit ring that the device owns.
    fn tx_owned(&self) -> u32;
    /// Reports transmit descriptor `ahead` of the device's position as sent.
    fn tx_complete(&mut self, ahead: u32);
    /// Moves the device's position in the transmit ring.
    fn tx_advance(&mut self, n: u32);
    /// Overwrites both rings with `noise`.
    fn corrupt(&mut self, noise: &mut dyn FnMut() -> u64);
}

/// A family whose rings are of descriptors that the card writes back in place.
trait WritesBack {
    type Card;
    fn card() -> Self::Card;
    /// What a driver opens of it.
    fn function(card: &Self::Card) -> Arc<dyn Function>;
    /// The first ring of each kind, as the driver has set it up.
    fn rings(card: &Self::Card) -> (Ring, Ring);
    /// What the card writes over a receive descriptor.
    fn received(len: u32, last: bool) -> [u64; 2];
    /// What it writes over a transmit descriptor that asked for a report.
    const REPORTED: u64;
    /// Adds what the family needs to a configuration.
    fn adapt(_config: &mut Config) {}
}

/// 82599, X540, X550.
struct I82599;

impl WritesBack for I82599 {
    type Card = ixgbe_card::Card;

    fn card() -> Self::Card {
        ixgbe_card::card(Fault::None)
    }

    fn function(card: &Self::Card) -> Arc<dyn Function> {
        card.function()
    }

    fn rings(card: &Self::Card) -> (Ring, Ring) {
        (ixgbe_card::rx(card, 0), ixgbe_card::tx(card, 0))
    }

    fn received(len: u32, last: bool) -> [u64; 2] {
        ixgbe_card::received(u64::from(len), last)
    }

    const REPORTED: u64 = ixgbe_card::REPORTED;
}

/// X710, XL710, XXV710, X722, with receive descriptors of 16 bytes or of 32.
struct X710<const LONG: bool>;

impl<const LONG: bool> WritesBack for X710<LONG> {
    type Card = i40e_card::Card;

    fn card() -> Self::Card {
        i40e_card::card(i40e_card::Fault::None)
    }

    fn function(card: &Self::Card) -> Arc<dyn Function> {
        card.function()
    }

    fn rings(card: &Self::Card) -> (Ring, Ring) {
        (i40e_card::rx(card, 0), i40e_card::tx(card, 0))
    }

    fn received(len: u32, last: bool) -> [u64; 2] {
        i40e_card::received(u64::from(len), last)
    }

    const REPORTED: u64 = i40e_card::REPORTED;

    fn adapt(config: &mut Config) {
        config.long_descriptors = LONG;
    }
}

/// The device side of such a family.
struct InPlace<F: WritesBack> {
    card: F::Card,
    rings: Option<(Ring, Ring)>,
    _family: PhantomData<F>,
}

type Ixgbe = InPlace<I82599>;
type I40e = InPlace<X710<false>>;
type I40eLong = InPlace<X710<true>>;

impl<F: WritesBack> InPlace<F> {
    fn rx(&mut self) -> &mut Ring {
        &mut self.rings.as_mut().unwrap().0
    }

    fn tx(&mut self) -> &mut Ring {
        &mut self.rings.as_mut().unwrap().1
    }
}

impl<F: WritesBack> Hostile for InPlace<F> {
    fn new(config: &Config) -> (Self, Port) {
        let mut config = config.clone();
        F::adapt(&mut config);
        let card = F::card();
        let port = driver::open(F::function(&card), &config).unwrap();
        (InPlace { card, rings: None, _family: PhantomData }, port)
    }

    fn function(&self) -> Arc<dyn Function> {
        F::function(&self.card)
    }

    fn attach(&mut self) {
        self.rings = Some(F::rings(&self.card));
    }

    fn rx_owned(&self) -> u32 {
        self.rings.as_ref().unwrap().0.owned()
    }

    fn rx_complete(&mut self, ahead: u32, len: u32, last: bool) {
        let at = self.rx().head.wrapping_add(ahead);
        self.rx().write(at, F::received(len, last));
    }

    fn rx_advance(&mut self, n: u32) {
        self.rx().head = self.rx().head.wrapping_add(n);
    }

    fn rx_resume(&mut self, received: &mut dyn FnMut() -> bool) {
        let tail = self.rx().tail();
        for at in (tail + 1..).take(usize::from(RING)) {
            let before = [0, 1].map(|n| self.rx().at(at)[n].load(Ordering::Relaxed));
            self.rx().write(at, F::received(60, true));
            if received() {
                self.rx().head = at + 1;
                return;
            }
            self.rx().write(at, before);
        }
        panic!("the driver waits nowhere");
    }

    fn tx_owned(&self) -> u32 {
        self.rings.as_ref().unwrap().1.owned()
    }

    fn tx_complete(&mut self, ahead: u32) {
        let at = self.tx().head.wrapping_add(ahead);
        self.tx().write(at, [0, F::REPORTED]);
    }

    fn tx_advance(&mut self, n: u32) {
        self.tx().head = self.tx().head.wrapping_add(n);
    }

    fn corrupt(&mut self, noise: &mut dyn FnMut() -> u64) {
        for ring in [0, 1] {
            for n in 0..u32::from(RING) {
                let words = [noise(), noise()];
                if ring == 0 { self.rx().write(n, words) } else { self.tx().write(n, words) }
            }
        }
    }
}

/// virtio-net, on split or on packed virtqueues.
struct Virtio<const PACKED: bool> {
    card: virtio_card::Card,
    rings: Option<[virtio_card::Ring; 2]>,
    /// Parts of an unfinished frame that were completed so far.
    parts: u16,
}

impl<const PACKED: bool> Virtio<PACKED> {
    fn rx(&mut self) -> &mut virtio_card::Ring {
        &mut self.rings.as_mut().unwrap()[0]
    }

    fn tx(&mut self) -> &mut virtio_card::Ring {
        &mut self.rings.as_mut().unwrap()[1]
    }
}

impl<const PACKED: bool> Hostile for Virtio<PACKED> {
    const TX_RING: u16 = 2 * RING;
    const GIVEN: u32 = RING as u32;
    const FIRST: u32 = 2048 - virtio_card::HEADER;
    const REPORT: u32 = 0;

    fn new(config: &Config) -> (Self, Port) {
        let card = virtio_card::Card::new(PACKED, virtio_card::Fault::None);
        let port = driver::open(card.function(), config).unwrap();
        (Virtio { card, rings: None, parts: 0 }, port)
    }

    fn function(&self) -> Arc<dyn Function> {
        self.card.function()
    }

    fn attach(&mut self) {
        self.rings = Some([self.card.ring(0), self.card.ring(1)]);
    }

    fn rx_owned(&self) -> u32 {
        self.rings.as_ref().unwrap()[0].owned()
    }

    /// Only the first buffer of a frame has a header, which says how many there are.
    fn rx_complete(&mut self, ahead: u32, len: u32, last: bool) {
        let header = if self.parts == 0 { virtio_card::HEADER } else { 0 };
        self.parts += 1;
        if last {
            let parts = std::mem::take(&mut self.parts);
            self.rx().set_buffers(ahead.saturating_sub(u32::from(parts) - 1), parts);
        }
        self.rx().complete(ahead, len + header);
    }

    fn rx_advance(&mut self, n: u32) {
        self.rx().advance(n);
    }

    fn rx_resume(&mut self, received: &mut dyn FnMut() -> bool) {
        self.parts = 0;
        self.rx().resume(60 + virtio_card::HEADER, received);
    }

    fn tx_owned(&self) -> u32 {
        self.rings.as_ref().unwrap()[1].owned()
    }

    fn tx_complete(&mut self, ahead: u32) {
        self.tx().complete(ahead, 0);
    }

    fn tx_advance(&mut self, n: u32) {
        self.tx().advance(n);
    }

    fn corrupt(&mut self, noise: &mut dyn FnMut() -> u64) {
        self.rx().corrupt(noise);
        self.tx().corrupt(noise);
    }
}

/// A port, its device and its pool.
struct Rig<H> {
    pool: Pool,
    port: Port,
    device: H,
}

impl<H: Hostile> Rig<H> {
    fn new(max_frame: u16) -> Self {
        let config = Config { rx_ring: RING, tx_ring: H::TX_RING, max_frame, ..Config::default() };
        let pool = Pool::new(512, Addressing::Translated).unwrap();
        let (mut device, mut port) = H::new(&config);
        device.function().map(pool.arena()).unwrap();
        port.rx[0].fill(&pool).unwrap();
        device.attach();
        Rig { pool, port, device }
    }

    /// Receives what there is: the length of each entry.
    fn recv(&mut self) -> Vec<usize> {
        let mut batch = Batch::new(&self.pool);
        self.port.rx[0].recv(&mut batch);
        batch.frames().map(<[u8]>::len).collect()
    }

    /// Sends `n` frames of 60 bytes.
    fn send(&mut self, n: usize) {
        let mut batch = Batch::new(&self.pool);
        while batch.len() < n {
            batch.push(60).unwrap().fill(0);
        }
        assert_eq!(self.port.tx[0].send(&mut batch), n);
    }

    fn rx_wrong(&self) -> Anomalies {
        self.port.rx[0].anomalies()
    }

    /// An honest device again: once what is left of the lies has been passed
    /// over, every frame comes through.
    fn goes_on(&mut self) {
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
    fn conserved(self) {
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

/// Each case as a test of its own, for each family.
macro_rules! cases {
    (for $($family:ident: $device:ty),*; $cases:tt) => {
        $(cases!(@one $family: $device, $cases);)*
    };
    (@one $family:ident: $device:ty, { $($case:ident)* }) => {
        mod $family {
            $(#[test] fn $case() { super::$case::<$device>(); })*
        }
    };
}

cases! {
    for efvi: super::hostile_efvi::Efvi, ixgbe: super::Ixgbe, i40e: super::I40e, i40e_long: super::I40eLong;
    {
        rx_normal
        rx_beyond_what_was_given
        rx_not_in_use
        rx_duplicate
        rx_chain_that_never_ends
        rx_chain_with_a_hole_in_it
        rx_corrupted_ring
        rx_length_zero_or_beyond_the_buffer
        rx_longer_than_was_configured
        tx_normal
        tx_beyond_what_was_given
        tx_not_in_use
        tx_duplicate
        tx_mid_chain
        tx_corrupted_ring
        tx_oversize_frames_never_reach_the_device
        a_random_device_loses_no_buffer
    }
}

// A virtqueue has ids and a count of buffers instead of chains that end nowhere
// and places of its own for each completion.
cases! {
    for virtio_split: super::Virtio<false>, virtio_packed: super::Virtio<true>;
    {
        rx_normal
        rx_beyond_what_was_given
        rx_corrupted_ring
        rx_length_zero_or_beyond_the_buffer
        rx_longer_than_was_configured
        tx_normal
        tx_beyond_what_was_given
        tx_not_in_use
        tx_duplicate
        tx_mid_chain
        tx_corrupted_ring
        tx_oversize_frames_never_reach_the_device
        a_random_device_loses_no_buffer
    }
}

// ---- receive ----

fn rx_normal<H: Hostile>() {
    let mut rig = Rig::<H>::new(1518);
    assert_eq!(rig.device.rx_owned(), H::GIVEN, "of most rings one is withheld: full would look like empty");
    for round in 0..300 {
        let n = 1 + round % 40;
        for i in 0..n {
            rig.device.rx_complete(i, 60 + i, true);
        }
        rig.device.rx_advance(n);
        assert_eq!(rig.recv(), (60..60 + n as usize).collect::<Vec<_>>());
    }
    assert_eq!(rig.rx_wrong(), Anomalies::default());
    rig.conserved();
}

fn rx_beyond_what_was_given<H: Hostile>() {
    let mut rig = Rig::<H>::new(1518);
    let owned = rig.device.rx_owned();
    for i in 0..=owned {
        rig.device.rx_complete(i, 60, true);
    }
    rig.device.rx_advance(owned);
    let got = rig.recv();
    // Where one index says it all, none of it is believed; where each descriptor
    // speaks for itself, a lap too far is no completion at all.
    assert!(got.len() == owned as usize || got.is_empty(), "only what the device owned");
    assert!(rig.rx_wrong().bad_index == 1 || got.is_empty(), "the one beyond is named");
    rig.goes_on();
    rig.conserved();
}

fn rx_not_in_use<H: Hostile>() {
    let mut rig = Rig::<H>::new(1518);
    // The ring is the device's but it skips: completes the tenth, not the first.
    rig.device.rx_complete(10, 60, true);
    assert!(rig.recv().is_empty(), "nothing is received out of turn");
    rig.goes_on();
    rig.conserved();
}

fn rx_duplicate<H: Hostile>() {
    let mut rig = Rig::<H>::new(1518);
    for i in 0..20 {
        rig.device.rx_complete(i, 60, true);
    }
    assert_eq!(rig.recv().len(), 20);
    // Once more, all of them: the driver has refilled the slots, and given back
    // all but the last.
    for i in 0..20 {
        rig.device.rx_complete(i, 60, true);
    }
    assert!(rig.recv().is_empty(), "a completion is taken once");
    rig.device.rx_advance(20);
    rig.goes_on();
    assert!(rig.rx_wrong().bad_index >= 1, "{:?}", rig.rx_wrong());
    rig.conserved();
}

fn rx_chain_that_never_ends<H: Hostile>() {
    let mut rig = Rig::<H>::new(9000);
    for i in 0..40 {
        rig.device.rx_complete(i, 2048, false);
    }
    rig.device.rx_advance(40);
    assert!(rig.recv().is_empty());
    assert_eq!(rig.rx_wrong().bad_chain, 1, "one chain, counted once");
    // Its end, when it comes after all, is no frame.
    rig.device.rx_complete(0, 100, true);
    rig.device.rx_complete(1, 101, true);
    rig.device.rx_advance(2);
    assert_eq!(rig.recv(), [101], "never half a frame");
    rig.goes_on();
    rig.conserved();
}

fn rx_chain_with_a_hole_in_it<H: Hostile>() {
    let mut rig = Rig::<H>::new(9000);
    // The middle part is not full, so the next frame's start is in doubt.
    for (i, (len, last)) in [(2048, false), (100, false), (900, true), (60, true)].into_iter().enumerate() {
        rig.device.rx_complete(i as u32, len, last);
    }
    rig.device.rx_advance(4);
    assert_eq!(rig.recv(), [60]);
    assert_eq!(rig.rx_wrong().bad_length, 1);
    rig.goes_on();
    rig.conserved();
}

fn rx_corrupted_ring<H: Hostile>() {
    for seed in 1..50 {
        let mut rig = Rig::<H>::new(9000);
        let mut noise = random(seed);
        rig.device.corrupt(&mut noise);
        let lengths = rig.recv();
        assert!(lengths.iter().all(|&len| (1..=2048).contains(&len)));
        rig.goes_on();
        rig.conserved();
    }
}

fn rx_length_zero_or_beyond_the_buffer<H: Hostile>() {
    let mut rig = Rig::<H>::new(9000);
    let lengths = [60, 0, H::FIRST, H::FIRST + 1, 0xffff, 61];
    for (i, len) in lengths.into_iter().enumerate() {
        rig.device.rx_complete(i as u32, len, true);
    }
    rig.device.rx_advance(lengths.len() as u32);
    assert_eq!(rig.recv(), [60, H::FIRST as usize, 61]);
    assert_eq!(rig.rx_wrong().bad_length, 3);
    rig.goes_on();
    rig.conserved();
}

fn rx_longer_than_was_configured<H: Hostile>() {
    let mut rig = Rig::<H>::new(1518);
    for (i, len) in [1518, 1526, 1600].into_iter().enumerate() {
        rig.device.rx_complete(i as u32, len, true);
    }
    rig.device.rx_advance(3);
    assert_eq!(rig.recv(), [1518, 1526], "two VLAN tags may come on top");
    let stats = rig.port.nic.stats().unwrap();
    assert_eq!(stats.anomalies.bad_length + stats.rx_oversize, 1);
    rig.conserved();
}

// ---- transmit ----

fn tx_normal<H: Hostile>() {
    let mut rig = Rig::<H>::new(1518);
    let free = rig.pool.available();
    for _ in 0..100 {
        rig.send(20);
        let owned = rig.device.tx_owned();
        for i in 0..owned {
            rig.device.tx_complete(i);
        }
        rig.device.tx_advance(owned);
        assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0);
        assert_eq!(rig.pool.available(), free);
    }
    rig.conserved();
}

fn tx_beyond_what_was_given<H: Hostile>() {
    let mut rig = Rig::<H>::new(1518);
    rig.send(5);
    for i in 5..u32::from(RING) {
        rig.device.tx_complete(i);
    }
    assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 5, "none of these is one of ours");
    rig.conserved();
}

fn tx_not_in_use<H: Hostile>() {
    let mut rig = Rig::<H>::new(1518);
    let free = rig.pool.available();
    for i in 0..u32::from(RING) {
        rig.device.tx_complete(i);
    }
    assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0);
    assert_eq!(rig.pool.available(), free, "nothing was sent, so nothing comes back");
    // What lay there before does not count for what is sent now.
    rig.send(5);
    assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 5);
    rig.conserved();
}

fn tx_duplicate<H: Hostile>() {
    let mut rig = Rig::<H>::new(1518);
    let free = rig.pool.available();
    rig.send(5);
    for _ in 0..3 {
        for i in 0..5 {
            rig.device.tx_complete(i);
        }
        assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0);
        assert_eq!(rig.pool.available(), free, "once each");
    }
    rig.conserved();
}

fn tx_mid_chain<H: Hostile>() {
    let mut rig = Rig::<H>::new(9000);
    let mut batch = Batch::new(&rig.pool);
    assert!(batch.push_frame(&[7; 9000]));
    assert_eq!(rig.port.tx[0].send(&mut batch), 5);
    drop(batch);
    // Completes a part that did not ask for it.
    rig.device.tx_complete(2);
    let left = rig.port.tx[0].reclaim(&rig.pool);
    assert!(left == 5 || left == 0, "a frame is sent as a whole, not {left} of 5");
    rig.device.tx_complete(H::REPORT);
    assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0);
    rig.conserved();
}

fn tx_corrupted_ring<H: Hostile>() {
    for seed in 1..50 {
        let mut rig = Rig::<H>::new(1518);
        rig.send(40);
        let mut noise = random(seed);
        rig.device.corrupt(&mut noise);
        rig.port.tx[0].reclaim(&rig.pool);
        for _ in 0..10 {
            rig.send(1);
        }
        rig.conserved();
    }
}

fn tx_oversize_frames_never_reach_the_device<H: Hostile>() {
    let mut rig = Rig::<H>::new(9000);
    let mut batch = Batch::new(&rig.pool);
    assert!(batch.push_frame(&[0; 20_000]));
    batch.push(60).unwrap();
    batch.push(0).unwrap();
    assert_eq!(rig.port.tx[0].send(&mut batch), 12, "all are dealt with");
    drop(batch);
    assert_eq!(rig.device.tx_owned(), 1, "one of them is sent");
    assert_eq!(rig.port.tx[0].anomalies().bad_length, 2);
    rig.conserved();
}

// ---- what only virtqueues have ----

/// An id that is not the device's to name: the packet is dropped, the buffer
/// stays, and the next one comes through.
fn an_id_that_is_not_the_devices<const PACKED: bool>() {
    let mut rig = Rig::<Virtio<PACKED>>::new(1518);
    for id in [u32::from(RING), 0xffff, 4095] {
        rig.device.rx().complete_as(id, 72);
        rig.device.rx_advance(1);
        rig.device.rx_complete(0, 61, true);
        rig.device.rx_advance(1);
        assert_eq!(rig.recv(), [61]);
    }
    assert_eq!(rig.rx_wrong().bad_index, 3);
    rig.send(3);
    rig.device.tx().complete_as(1, 0);
    assert!(rig.port.tx[0].reclaim(&rig.pool) <= 3);
    assert_eq!(rig.port.tx[0].anomalies().bad_index, 1, "the middle of a chain");
    rig.goes_on();
    rig.conserved();
}

/// A device may use buffers in any order.
fn buffers_used_out_of_order<const PACKED: bool>() {
    let mut rig = Rig::<Virtio<PACKED>>::new(1518);
    for _ in 0..20 {
        let ids: Vec<u32> = (0..8).map(|n| rig.device.rx().id(n)).collect();
        for (n, id) in ids.iter().rev().enumerate() {
            rig.device.rx().complete_as(*id, 72 + n as u32);
            rig.device.rx_advance(1);
        }
        assert_eq!(rig.recv(), [60, 61, 62, 63, 64, 65, 66, 67]);
    }
    assert_eq!(rig.rx_wrong(), Anomalies::default());
    rig.conserved();
}

fn a_count_of_buffers_that_is_a_lie<const PACKED: bool>() {
    let mut rig = Rig::<Virtio<PACKED>>::new(9000);
    for count in [0, 6, 0xffff] {
        rig.device.rx().set_buffers(0, count);
        rig.device.rx().complete(0, 72);
        rig.device.rx_advance(1);
        assert!(rig.recv().is_empty());
    }
    assert_eq!(rig.rx_wrong().bad_chain, 3);
    // Of two buffers one is there: it waits for the other.
    rig.device.rx().set_buffers(0, 2);
    rig.device.rx().complete(0, 2048);
    rig.device.rx_advance(1);
    assert!(rig.recv().is_empty());
    rig.device.rx().complete(0, 100);
    rig.device.rx_advance(1);
    assert_eq!(rig.recv(), [2036, 100]);
    rig.goes_on();
    rig.conserved();
}

#[test]
fn virtqueues_survive_what_only_they_have() {
    an_id_that_is_not_the_devices::<false>();
    an_id_that_is_not_the_devices::<true>();
    buffers_used_out_of_order::<false>();
    buffers_used_out_of_order::<true>();
    a_count_of_buffers_that_is_a_lie::<false>();
    a_count_of_buffers_that_is_a_lie::<true>();
}

#[test]
fn a_virtio_device_that_cannot_be_driven_is_refused_in_one_line() {
    use virtio_card::{Card, Fault};
    for (fault, kind, words) in [
        (Fault::AllOnes, Kind::Gone, "does not answer"),
        (Fault::EndlessReset, Kind::Timeout, "reset did not finish"),
        (Fault::Refuses, Kind::Unsupported, "does not take the features"),
        (Fault::Old, Kind::Unsupported, "no VERSION_1"),
        (Fault::Legacy, Kind::Unsupported, "it is a legacy device"),
        (Fault::Loop, Kind::Unsupported, "it is a legacy device"),
        (Fault::OneQueue, Kind::Unsupported, "use fewer queues"),
        (Fault::NeedsReset, Kind::Device, "found a fault in its queues"),
    ] {
        let card = Card::new(false, fault);
        let error = driver::open(card.function(), &Config::default()).err().expect("such a device cannot be opened");
        assert_eq!(error.kind(), kind, "{error}");
        let line = error.to_string();
        assert!(line.starts_with("test:virtio: ") && line.contains(words) && !line.contains('\n'), "{line}");
        assert!(!card.bus_master(), "{line}");
    }
    let pairs = Config { rx_queues: 2, ..Config::default() };
    let error = driver::open(Card::new(false, Fault::None).function(), &pairs).err().expect("one pair");
    assert_eq!(error.kind(), Kind::Usage, "{error}");
}

#[test]
fn a_closed_virtio_device_was_reset_and_is_no_bus_master() {
    let card = virtio_card::Card::new(true, virtio_card::Fault::None);
    let mut port = driver::open(card.function(), &Config::default()).unwrap();
    assert_eq!((card.status(), card.bus_master()), (0xf, true));
    assert_eq!(port.nic.describe().mac.to_string(), "02:00:00:00:00:01");
    assert!(port.nic.link().unwrap().up);
    card.break_it(virtio_card::Fault::NeedsReset);
    assert_eq!(port.nic.stats().unwrap_err().kind(), Kind::Device);
    drop(port);
    assert_eq!((card.status(), card.bus_master()), (0, false));
}

// ---- everything at once ----

/// xorshift64*: seeded, and good enough for noise.
fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// A million completions by a device that follows the rules, or not, as dice
/// fall. What the driver then holds must always add up.
fn a_random_device_loses_no_buffer<H: Hostile>() {
    let mut completions = 0;
    let mut seed = 1;
    while completions < 1_000_000 {
        let mut rig = Rig::<H>::new(9000);
        let mut dice = random(seed);
        let (mut holding, mut holding_pool) = (Vec::new(), 0);
        for _ in 0..20_000 {
            let roll = dice();
            let (what, n, len) = (roll % 16, roll >> 8 & 15, (roll >> 16) as u32 % 2300);
            match what {
                0..=5 => {
                    let n = (n as u32).min(rig.device.rx_owned());
                    for i in 0..n {
                        rig.device.rx_complete(i, 60 + len % 1400, true);
                    }
                    rig.device.rx_advance(n);
                    completions += u64::from(n);
                }
                6 => rig.device.rx_complete(roll as u32 >> 20 & 127, len, roll >> 60 != 0),
                7 => {
                    rig.device.rx_complete(0, 2048, roll >> 60 & 1 != 0);
                    rig.device.rx_advance(1);
                    completions += 1;
                }
                8 => {
                    for i in 0..rig.device.tx_owned().min(n as u32) {
                        rig.device.tx_complete(i);
                        completions += 1;
                    }
                    rig.device.tx_advance(rig.device.tx_owned().min(n as u32));
                }
                9 => rig.device.tx_complete(roll as u32 >> 20 & 127),
                10 if roll >> 58 == 0 => rig.device.corrupt(&mut dice),
                11 if roll >> 60 == 0 => rig.device.rx_advance(n as u32),
                _ => {
                    // The application: receives, keeps some, sends the rest.
                    let mut batch = Batch::with_limit(&rig.pool, 1 + n as usize * 4);
                    rig.port.rx[0].recv(&mut batch);
                    assert!(batch.frames().all(|frame| (1..=2048).contains(&frame.len())));
                    rig.port.tx[0].send(&mut batch);
                    holding_pool = holding_pool.max(batch.len());
                    holding.push(batch.len());
                }
            }
        }
        assert!(holding_pool <= BATCH_MAX);
        rig.conserved();
        seed += 1;
    }
}

// ---- registers that lie ----

fn open(fault: Fault) -> bmnic::Error {
    driver::open(ixgbe_card::card(fault).function(), &Config::default()).err().expect("such a card cannot be opened")
}

#[test]
fn a_card_that_answers_all_ones_is_gone() {
    let error = open(Fault::AllOnes);
    assert_eq!(error.kind(), Kind::Gone);
    assert!(error.to_string().starts_with("test:82599: the card does not answer (STATUS"), "{error}");
}

#[test]
fn a_card_that_never_finishes_its_reset_is_given_up_by_name() {
    let error = open(Fault::EndlessReset);
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(error.to_string().contains("reset did not finish in 100 ms (CTRL = 0x"), "{error}");
}

#[test]
fn a_queue_that_never_starts_is_given_up_and_the_card_stopped() {
    let card = ixgbe_card::card(Fault::DeadQueues);
    let error = driver::open(card.function(), &Config::default()).err().expect("no queue");
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(error.to_string().contains("RXDCTL"), "{error}");
    assert!(!card.bus_master(), "a card that was given up must not write to memory");
}

#[test]
fn a_card_that_goes_away_while_open_is_told_and_can_still_be_closed() {
    let card = ixgbe_card::card(Fault::None);
    let mut port = driver::open(card.function(), &Config::default()).unwrap();
    assert!(port.nic.link().unwrap().up);
    assert!(card.bus_master());
    ixgbe_card::break_it(&card, Fault::AllOnes);
    assert_eq!(port.nic.link().unwrap_err().kind(), Kind::Gone);
    assert_eq!(port.nic.stats().unwrap_err().kind(), Kind::Gone);
    drop(port);
}

#[test]
fn a_stopped_card_has_its_engines_off_and_is_no_bus_master() {
    let card = ixgbe_card::card(Fault::None);
    let port = driver::open(card.function(), &Config::default()).unwrap();
    assert_eq!((card.get(0x3000) & 1, card.get(0x4a80) & 1), (1, 1));
    assert_ne!(card.get(0x18) & 1 << 28, 0, "DRV_LOAD");
    drop(port);
    assert_eq!((card.get(0x3000) & 1, card.get(0x4a80) & 1), (0, 0));
    assert_eq!((card.get(0x1028) | card.get(0x6028)) & 1 << 25, 0, "queues");
    assert_eq!(card.get(0x18) & 1 << 28, 0, "DRV_LOAD");
    assert!(!card.bus_master());
}

#[test]
#[should_panic(expected = "one pool")]
fn buffers_of_another_pool_are_never_mixed_in() {
    let mut rig = Rig::<Ixgbe>::new(1518);
    let other = Pool::new(16, Addressing::Translated).unwrap();
    rig.port.rx[0].recv(&mut Batch::new(&other));
}

#[test]
fn a_pool_smaller_than_the_ring_still_receives() {
    let config = Config { rx_ring: 4096, tx_ring: RING, ..Config::default() };
    let pool = Pool::new(16, Addressing::Translated).unwrap();
    let (mut device, mut port) = Ixgbe::new(&config);
    device.function().map(pool.arena()).unwrap();
    port.rx[0].fill(&pool).unwrap();
    device.attach();
    assert_eq!((pool.available(), device.rx_owned() as usize), (0, pool.capacity()));
    let mut held = Batch::new(&pool);
    for round in 0..3 {
        let n = device.rx_owned();
        for i in 0..n {
            device.rx_complete(i, 60 + i % 1000, true);
        }
        device.rx_advance(n);
        let mut got = 0;
        for _ in 0..n {
            got += port.rx[0].recv(&mut held);
            held.clear();
            if got == n as usize {
                break;
            }
        }
        assert_eq!(got, n as usize, "round {round}");
    }
    drop(held);
    port.close([&pool]);
    assert_eq!(pool.available(), pool.capacity());
}
