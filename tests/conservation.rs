//! Every packet on every family, a short way: what `cargo bench --bench conservation` does at
//! length.

#[path = "support/conservation/mod.rs"]
mod conservation;
#[path = "common/families.rs"]
mod families;
#[path = "support/rig.rs"]
mod rig;
#[path = "support/silicon/mod.rs"]
mod silicon;

use bmnic::dma::Batch;
use bmnic::driver::Anomalies;
use bmnic::driver::ring::begin_at;
use conservation::{Account, SCENARIOS, run};
use families::{CX5, Card, EACH};
use rig::Rig;

/// A million packets for each family.
const SHARE: u64 = 1_000_000_u64.div_ceil(SCENARIOS.len() as u64);

/// Where positions in rings begin that soon wrap; the counters of a ConnectX have 24 bits.
fn just_before_the_wrap(card: &Card) -> u32 {
    if card.name == CX5.name { 0_u32.wrapping_sub(1 << 24) } else { 0_u32.wrapping_sub(1 << 16) }
}

#[test]
fn what_came_is_what_was_kept_left_out_or_lost_by_a_name() {
    for card in &EACH {
        // A million packets wrap those of all but one on their way.
        begin_at(just_before_the_wrap(card));
        for scenario in SCENARIOS {
            if let Err(error) = run(card, scenario, SHARE, SHARE) {
                panic!("{card}, {}: {error}", scenario.name);
            }
        }
    }
}

#[test]
fn nothing_is_lost_where_positions_in_rings_wrap() {
    // Those that are played by hand count no more.
    const BEFORE: u32 = 1 << 16;
    for rings in families::all_rings() {
        begin_at(0_u32.wrapping_sub(BEFORE));
        let mut rig = Rig::new(rings, 1518);
        let (mut received, mut sent) = (0, 0);
        for _ in 0..BEFORE / 8 {
            rig.device.play(16, 60);
            let mut batch = Batch::new(&rig.pool);
            received += rig.port.rx[0].recv(&mut batch);
            sent += rig.port.tx[0].send(&mut batch);
        }
        assert!(received > 100_000 && sent == received, "{}: {received} received, {sent} sent", rings.name);
        assert_eq!(rig.rx_wrong(), Anomalies::default(), "{}", rings.name);
        rig.conserved();
    }
}

#[test]
#[ignore = "17 million packets, as a card of this family counts 24 bits: half a minute"]
fn nothing_is_lost_where_the_positions_of_a_connectx_wrap() {
    const PACKETS: u64 = (1 << 24) + 100_000;
    begin_at(just_before_the_wrap(&CX5));
    let account = run(&CX5, &SCENARIOS[0], PACKETS, PACKETS).unwrap();
    assert_eq!(account.losses().next(), None);
}

#[test]
fn a_packet_that_nobody_names_is_seen() {
    let account = Account { came: 10, received: 9, taken: 9, kept: 9, ..Account::default() };
    assert!(account.check().unwrap_err().starts_with("came and doubled = received + lost: 10 and 9, 1"));
    let named = Account { before: vec![("missed", 1)], ..account.clone() };
    assert_eq!(named.check(), Ok(()));
    let said = Account { said: Some(0), ..named.clone() };
    assert!(said.check().unwrap_err().starts_with("missed by the MAC"));
    let eaten = Account { kept: 8, ..named };
    assert!(eaten.check().unwrap_err().starts_with("received = kept + filtered + lost: 9 and 8, 1"));
}
