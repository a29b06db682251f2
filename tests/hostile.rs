//! Devices that lie: what a driver must survive, case by case.
//!
//! Every family goes through the same cases, on receive and on transmit, at a card
//! with its rings laid open ([`silicon`]):
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

#[path = "common/families.rs"]
mod families;
#[path = "support/rig.rs"]
mod rig;
#[path = "support/silicon/mod.rs"]
mod silicon;

use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{Anomalies, Config};
use families::{Rings, all_rings, rings};
use rig::{RING, Rig, random};
use silicon::Opened;
use std::collections::VecDeque;

/// Each case as a test of its own, for each family.
macro_rules! cases {
    ($($module:ident: $name:literal),*; $cases:tt) => {
        $(cases!(@one $module: $name, $cases);)*
    };
    (@one $module:ident: $name:literal, { $($case:ident)* }) => {
        mod $module {
            $(#[test] fn $case() { crate::$case(crate::rings($name)); })*
        }
    };
}

cases! {
    ixgbe: "ixgbe", i40e: "i40e", i40e_long: "i40e-long", virtio: "virtio", virtio_packed: "virtio-packed",
    virtio_legacy: "virtio-legacy", virtio_legacy_apart: "virtio-legacy-apart", efvi: "efvi", bnxt: "bnxt",
    mlx5: "mlx5", mlx5_short: "mlx5-short", mlx5_each: "mlx5-each", mlx5_inline: "mlx5-inline";
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

// A virtqueue has ids and a count of buffers instead of places of their own for
// completions and chains that end nowhere, a completion of bnxt's that count, and mlx5's
// a length: `virtio.rs`, and unit tests of the queues of these, have what stands for these.
mod by_place {
    cases! {
        ixgbe: "ixgbe", i40e: "i40e", i40e_long: "i40e-long", efvi: "efvi";
        {
            rx_not_in_use
            rx_duplicate
            rx_chain_that_never_ends
            rx_chain_with_a_hole_in_it
        }
    }
}

#[test]
fn no_rings_are_left_out() {
    let names: Vec<&str> = all_rings().map(|rings| rings.name).collect();
    assert_eq!(
        names,
        [
            "ixgbe",
            "i40e",
            "i40e-long",
            "efvi",
            "bnxt",
            "mlx5",
            "mlx5-short",
            "mlx5-each",
            "virtio",
            "virtio-packed",
            "virtio-legacy",
            "virtio-legacy-apart",
            "mlx5-inline"
        ],
        "name them in the cases above"
    );
    let by_place: Vec<&str> = all_rings().filter(|rings| rings.by_place).map(|rings| rings.name).collect();
    assert_eq!(by_place, ["ixgbe", "i40e", "i40e-long", "efvi"], "name them in the cases by place");
}

// ---- receive ----

fn rx_normal(rings: &Rings) {
    let mut rig = Rig::new(rings, 1518);
    assert_eq!(
        rig.device.rx_owned(),
        u32::from(RING) - rings.withheld,
        "of most rings one is withheld: full would look like empty"
    );
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

fn rx_beyond_what_was_given(rings: &Rings) {
    let mut rig = Rig::new(rings, 1518);
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

fn rx_not_in_use(rings: &Rings) {
    let mut rig = Rig::new(rings, 1518);
    // The ring is the device's but it skips: completes the tenth, not the first.
    rig.device.rx_complete(10, 60, true);
    assert!(rig.recv().is_empty(), "nothing is received out of turn");
    rig.goes_on();
    rig.conserved();
}

fn rx_duplicate(rings: &Rings) {
    let mut rig = Rig::new(rings, 1518);
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

fn rx_chain_that_never_ends(rings: &Rings) {
    let mut rig = Rig::new(rings, 9000);
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

fn rx_chain_with_a_hole_in_it(rings: &Rings) {
    let mut rig = Rig::new(rings, 9000);
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

fn rx_corrupted_ring(rings: &Rings) {
    for seed in 1..50 {
        let mut rig = Rig::new(rings, 9000);
        let mut noise = random(seed);
        rig.device.corrupt(&mut noise);
        let lengths = rig.recv();
        assert!(lengths.iter().all(|&len| (1..=2048).contains(&len)));
        rig.goes_on();
        rig.conserved();
    }
}

fn rx_length_zero_or_beyond_the_buffer(rings: &Rings) {
    let mut rig = Rig::new(rings, 9000);
    let most = rings.longest;
    let lengths = [60, 0, most, most + 1, 0xffff, 61];
    for (i, len) in lengths.into_iter().enumerate() {
        rig.device.rx_complete(i as u32, len, true);
    }
    rig.device.rx_advance(lengths.len() as u32);
    let parts = (0..most).step_by(2048).map(|from| 2048.min(most - from) as usize);
    assert_eq!(rig.recv(), [60].into_iter().chain(parts).chain([61]).collect::<Vec<_>>());
    assert_eq!(rig.rx_wrong().bad_length, 3);
    rig.goes_on();
    rig.conserved();
}

fn rx_longer_than_was_configured(rings: &Rings) {
    let mut rig = Rig::new(rings, 1518);
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

fn tx_normal(rings: &Rings) {
    let mut rig = Rig::new(rings, 1518);
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

fn tx_beyond_what_was_given(rings: &Rings) {
    let mut rig = Rig::new(rings, 1518);
    rig.send(5);
    for i in 5..u32::from(RING) {
        rig.device.tx_complete(i);
    }
    assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 5, "none of these is one of ours");
    rig.conserved();
}

fn tx_not_in_use(rings: &Rings) {
    let mut rig = Rig::new(rings, 1518);
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

fn tx_duplicate(rings: &Rings) {
    let mut rig = Rig::new(rings, 1518);
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

fn tx_mid_chain(rings: &Rings) {
    let mut rig = Rig::new(rings, 9000);
    let mut batch = Batch::new(&rig.pool);
    assert!(batch.push_frame(&[7; 9000]));
    assert_eq!(rig.port.tx[0].send(&mut batch), 5);
    drop(batch);
    // Completes a part that did not ask for it.
    rig.device.tx_complete(2);
    let left = rig.port.tx[0].reclaim(&rig.pool);
    assert!(left == 5 || left == 0, "a frame is sent as a whole, not {left} of 5");
    rig.device.tx_complete(rings.report);
    assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0);
    rig.conserved();
}

fn tx_corrupted_ring(rings: &Rings) {
    for seed in 1..50 {
        let mut rig = Rig::new(rings, 1518);
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

fn tx_oversize_frames_never_reach_the_device(rings: &Rings) {
    let mut rig = Rig::new(rings, 9000);
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

// ---- everything at once ----

/// A million completions by a device that follows the rules, or not, as dice
/// fall. What the driver then holds must always add up.
fn a_random_device_loses_no_buffer(rings: &Rings) {
    let (mut completions, mut checked) = (0, 0);
    let mut seed = 1;
    while completions < 1_000_000 {
        let mut rig = Rig::new(rings, 9000);
        let mut dice = random(seed);
        let Rig { pool, port, device } = &mut rig;
        let mut kept: VecDeque<Batch<'_>> = VecDeque::new();
        for _ in 0..20_000 {
            let roll = dice();
            let (what, n, len) = (roll % 16, roll >> 8 & 15, (roll >> 16) as u32 % 2300);
            match what {
                0..=5 => {
                    let n = (n as u32).min(device.rx_owned());
                    for i in 0..n {
                        device.rx_complete(i, 60 + len % 1400, true);
                    }
                    device.rx_advance(n);
                    completions += u64::from(n);
                }
                6 => device.rx_complete(roll as u32 >> 20 & 127, len, roll >> 60 != 0),
                7 => {
                    device.rx_complete(0, 2048, roll >> 60 & 1 != 0);
                    device.rx_advance(1);
                    completions += 1;
                }
                8 => {
                    for i in 0..device.tx_owned().min(n as u32) {
                        device.tx_complete(i);
                        completions += 1;
                    }
                    device.tx_advance(device.tx_owned().min(n as u32));
                }
                9 => device.tx_complete(roll as u32 >> 20 & 127),
                10 if roll >> 58 == 0 => device.corrupt(&mut dice),
                11 if roll >> 60 == 0 => device.rx_advance(n as u32),
                _ => {
                    // The application: receives, sends what it can, keeps the rest for a while.
                    let mut batch = Batch::with_limit(pool, 1 + n as usize * 4);
                    port.rx[0].recv(&mut batch);
                    assert!(batch.frames().all(|frame| (1..=2048).contains(&frame.len())));
                    port.tx[0].send(&mut batch);
                    kept.push_back(batch);
                    if kept.len() > 2 {
                        kept.pop_front();
                    }
                }
            }
            if roll >> 56 == 0 {
                // Every slot for packets to come has a buffer; the others are in the
                // pool, on their way out, or kept.
                let leaving = port.tx[0].reclaim(pool);
                let held: usize = kept.iter().map(Batch::len).sum();
                let out = pool.capacity() - pool.available();
                let slots = usize::from(RING) * rings.buffers - rings.bare;
                assert_eq!(out, slots + leaving + held, "{leaving} are leaving, {held} kept");
                checked += 1;
            }
        }
        drop(kept);
        rig.conserved();
        seed += 1;
    }
    assert!(checked > 100, "{checked}");
}

#[test]
#[should_panic(expected = "one pool")]
fn buffers_of_another_pool_are_never_mixed_in() {
    let mut rig = Rig::new(rings("ixgbe"), 1518);
    let other = Pool::new(16, Addressing::Translated).unwrap();
    rig.port.rx[0].recv(&mut Batch::new(&other));
}

#[test]
fn a_pool_smaller_than_the_ring_still_receives() {
    let config = Config { rx_ring: 4096, tx_ring: RING, ..Config::default() };
    let pool = Pool::new(16, Addressing::Translated).unwrap();
    let Opened { function, mut port, mut device } = silicon::open(rings("ixgbe"), &config);
    function.map(pool.arena()).unwrap();
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
