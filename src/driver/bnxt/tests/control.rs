//! What control asks of firmware, and what it makes of refusals.

use super::super::cmd::{
    cfa_l2_set_rx_mask, error_recovery_qcfg, func_dbr_recovery_completed, port_mac_cfg, port_phy_cfg, port_phy_qcaps,
    port_phy_qcfg, ring_alloc, ring_free, vnic_cfg, vnic_rss_cfg,
};
use super::super::codes::caps;
use super::super::delivery::{Delivery, Handling, KEY_BYTES, TABLE_BYTES};
use super::super::filters::{Filters, GROUPS_BYTES, Steering};
use super::super::health::Pulse;
use super::super::hw::Hw;
use super::super::link;
use super::super::port::{Port, Shared};
use super::super::rings::{Common, Events, RxRings, TxRings};
use super::super::scripted::{Scripted, answer};
use super::super::standstill::Lookout;
use super::*;
use crate::driver::config::Rss;
use crate::driver::mailbox::{Command, Field, Request};
use crate::net::MacAddr;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What firmware was asked, and how it answers.
#[derive(Default)]
struct Told {
    asked: Vec<Vec<u8>>,
    /// Errors, and bodies, by command.
    refused: HashMap<u16, u16>,
    bodies: HashMap<u16, Vec<u8>>,
    lengths: HashMap<u16, usize>,
}

struct Rig {
    card: Arc<Scripted>,
    hw: Arc<Hw>,
    told: Arc<Mutex<Told>>,
}

impl Rig {
    /// A firmware that grants everything, and numbers what it is asked for.
    fn new(generation: Generation) -> Rig {
        let told = Arc::new(Mutex::new(Told::default()));
        let script = Arc::clone(&told);
        let (card, hw) = Scripted::held(
            generation,
            Box::new(move |request| {
                let mut told = script.lock().unwrap();
                told.asked.push(request.to_vec());
                let code = u16_at(request, 0);
                let number = (told.asked.len() as u16).to_le_bytes().to_vec();
                let body = told.bodies.get(&code).cloned().unwrap_or(number);
                match told.refused.get(&code) {
                    Some(&error) => vec![answer(request, error, 16, &[])],
                    None => vec![answer(request, 0, told.lengths.get(&code).copied().unwrap_or(0xb0), &body)],
                }
            }),
        );
        Rig { card, hw: Arc::new(hw), told }
    }

    fn refuse(&self, command: Command, error: u16) {
        self.told.lock().unwrap().refused.insert(command.code, error);
    }

    fn grant(&self) {
        self.told.lock().unwrap().refused.clear();
    }

    fn says(&self, command: Command, field: Field, value: u32) {
        let mut told = self.told.lock().unwrap();
        let body = told.bodies.entry(command.code).or_insert_with(|| vec![0; 0x60]);
        body[field.offset - 8..][..field.bytes].copy_from_slice(&value.to_le_bytes()[..field.bytes]);
    }

    /// Requests of a command since the last look at what was asked.
    fn asked(&self, command: Command) -> Vec<Vec<u8>> {
        let told = self.told.lock().unwrap();
        told.asked.iter().filter(|request| u16_at(request, 0) == command.code).cloned().collect()
    }

    /// Codes of all that was asked, and forgets it.
    fn take(&self) -> Vec<u16> {
        let asked = std::mem::take(&mut self.told.lock().unwrap().asked);
        asked.iter().map(|request| u16_at(request, 0)).collect()
    }

    /// What the firmware has said that the function can do.
    fn caps(&mut self) -> &mut super::super::hw::Capabilities {
        &mut Arc::get_mut(&mut self.hw).unwrap().caps
    }

    /// A port of two receive queues that have places of their own.
    fn port(&self) -> Shared {
        let common = Common::new(&self.hw, 2, 1, 0, false).unwrap();
        let take = |entries: u32| self.card.region(entries as usize * 16);
        let mut rx: Vec<_> = (0..2).map(|n| RxRings::new(n, Lengths::of(64, 1518), None, false, take)).collect();
        rx.iter_mut().for_each(|rings| rings.start(&self.hw, &common).unwrap());
        let mut delivery = Delivery::new(Handling { longest: 1526, strip: false, long: false });
        let memory = (self.card.region(TABLE_BYTES), self.card.region(KEY_BYTES));
        delivery.start(&self.hw, &rx, &Rss::default(), memory, true).unwrap();
        Shared::new(Port { common, events: None, rx, tx: Vec::new(), delivery })
    }
}

/// Place and longest frame of VNIC_CFG.
fn places(requests: &[Vec<u8>]) -> Vec<(u16, u16)> {
    use vnic_cfg::input::{MRU, VNIC_ID};
    requests.iter().map(|request| (u16_at(request, VNIC_ID.offset), u16_at(request, MRU.offset))).collect()
}

#[test]
fn the_queue_of_events_has_a_vector_that_is_reserved() {
    for (taken, logical) in [(0, 0), (2, 2)] {
        let rig = Rig::new(Generation::P5);
        let mut common = Common::new(&rig.hw, 2, 1, 0, false).unwrap();
        Events::start(&rig.hw, &mut common, rig.card.region(4096), taken).unwrap();
        let [request] = &rig.asked(ring_alloc::COMMAND)[..] else { panic!("one ring") };
        assert_eq!(u16_at(request, ring_alloc::input::LOGICAL_ID.offset), logical);
    }
}

#[test]
fn places_take_no_frame_while_their_rings_are_started_anew() {
    for generation in [Generation::P4, Generation::P5] {
        let rig = Rig::new(generation);
        let port = rig.port();
        let all = places(&rig.asked(vnic_cfg::COMMAND));
        let (default, own) = (all[0].0, all[2].0);
        rig.take();
        port.restart_rx(&rig.hw, 1)().unwrap();
        let expected = [(default, 0), (own, 0), (default, 1526), (own, 1526)];
        assert_eq!(places(&rig.asked(vnic_cfg::COMMAND)), expected, "{generation:?}");
        let order = rig.take();
        let at = |code: u16| order.iter().position(|&asked| asked == code).unwrap();
        assert!(at(vnic_cfg::COMMAND.code) < at(ring_free::COMMAND.code), "held first");
        assert!(at(ring_alloc::COMMAND.code) < at(vnic_rss_cfg::COMMAND.code), "then told of the new ones");
        assert!(rig.hw.check().is_ok());
    }
}

#[test]
fn a_restart_that_is_refused_is_told_by_control() {
    let rig = Rig::new(Generation::P5);
    let port = rig.port();
    rig.refuse(ring_alloc::COMMAND, 4);
    assert!(port.restart_rx(&rig.hw, 0)().is_err());
    let error = rig.hw.check().unwrap_err();
    assert_eq!(error.kind(), Kind::Device);
    let text = error.to_string();
    assert!(text.starts_with("a card: a queue had to be set up anew") && text.contains("RING_ALLOC"), "{text}");
    assert_eq!(text.matches("a card: ").count(), 1, "{text}");
}

#[test]
fn a_setting_of_the_phy_that_was_taken_is_not_sent_again() {
    let rig = Rig::new(Generation::P5);
    rig.says(port_phy_qcfg::COMMAND, port_phy_qcfg::output::LINK, 0);
    rig.says(port_phy_qcaps::COMMAND, port_phy_qcaps::output::AUTO_SPEEDS, 0x140);
    let mut watch = link::Watch::start(&rig.hw, false, false).unwrap();
    for _ in 0..5 {
        assert!(!watch.state(&rig.hw).unwrap().up);
    }
    assert_eq!(rig.asked(port_phy_cfg::COMMAND).len(), 1);
    // One that is lost may come back by itself.
    rig.says(port_phy_qcfg::COMMAND, port_phy_qcfg::output::LINK, 2);
    assert!(watch.state(&rig.hw).unwrap().up);
    rig.says(port_phy_qcfg::COMMAND, port_phy_qcfg::output::LINK, 0);
    assert!(!watch.state(&rig.hw).unwrap().up);
    assert_eq!(rig.asked(port_phy_cfg::COMMAND).len(), 1);
    // Another module is another matter.
    rig.says(port_phy_qcaps::COMMAND, port_phy_qcaps::output::AUTO_SPEEDS, 0x40);
    watch.changed(&rig.hw).unwrap();
    watch.state(&rig.hw).unwrap();
    assert_eq!(rig.asked(port_phy_cfg::COMMAND).len(), 2);
}

#[test]
fn the_state_of_the_link_is_asked_for_once_a_second_without_events() {
    let rig = Rig::new(Generation::P4);
    rig.says(port_phy_qcfg::COMMAND, port_phy_qcfg::output::LINK, 2);
    rig.says(port_phy_qcaps::COMMAND, port_phy_qcaps::output::AUTO_SPEEDS, 0x140);
    let mut watch = link::Watch::start(&rig.hw, false, false).unwrap();
    rig.take();
    watch.poll(&rig.hw, Instant::now()).unwrap();
    watch.poll(&rig.hw, Instant::now()).unwrap();
    assert_eq!(rig.asked(port_phy_qcfg::COMMAND).len(), 1);
    // It was lost, and no event said so.
    rig.says(port_phy_qcfg::COMMAND, port_phy_qcfg::output::LINK, 0);
    watch.poll(&rig.hw, Instant::now() + Duration::from_secs(2)).unwrap();
    assert_eq!(rig.asked(port_phy_qcfg::COMMAND).len(), 2);
}

#[test]
fn a_loopback_that_was_left_is_ended_unless_the_port_is_shared() {
    for (shared, mac, phy) in [(false, 1, 1), (true, 0, 0)] {
        let rig = Rig::new(Generation::P4);
        rig.says(port_phy_qcfg::COMMAND, port_phy_qcfg::output::LINK, 2);
        rig.says(port_phy_qcfg::COMMAND, port_phy_qcfg::output::LPBK, 1);
        rig.says(port_phy_qcaps::COMMAND, port_phy_qcaps::output::AUTO_SPEEDS, 0x140);
        link::Watch::start(&rig.hw, shared, false).unwrap();
        let asked = (rig.asked(port_mac_cfg::COMMAND), rig.asked(port_phy_cfg::COMMAND));
        assert_eq!((asked.0.len(), asked.1.len()), (mac, phy));
        assert!(asked.1.iter().all(|request| request[port_phy_cfg::input::LPBK.offset] == 0));
    }
}

#[test]
fn filters_stay_as_the_card_has_them_when_it_refuses() {
    let rig = Rig::new(Generation::P5);
    let delivery = Delivery::new(Handling { longest: 1526, strip: false, long: false });
    let mut filters = Filters::new(Steering::Place, rig.card.region(GROUPS_BYTES));
    filters.start(&rig.hw, &delivery, MacAddr([2, 0, 0, 0, 0, 1]), true).unwrap();
    rig.refuse(cfa_l2_set_rx_mask::COMMAND, 2);
    let group = [MacAddr([1, 0, 0x5e, 0, 0, 1])];
    assert!(filters.set_multicast(&rig.hw, &delivery, &group).is_err(), "promiscuous or not");
    assert!(filters.set_promiscuous(&rig.hw, &delivery, false).is_err());
    rig.grant();
    rig.take();
    filters.set_promiscuous(&rig.hw, &delivery, true).unwrap();
    let [request] = &rig.asked(cfa_l2_set_rx_mask::COMMAND)[..] else { panic!("one") };
    // Broadcast and everything, and no group.
    assert_eq!(u32_at(request, cfa_l2_set_rx_mask::input::MASK.offset), 0x18);
}

#[test]
fn an_answer_that_is_cut_short_is_none_where_one_can_do_without() {
    let rig = Rig::new(Generation::P5);
    rig.told.lock().unwrap().lengths.insert(port_phy_qcaps::COMMAND.code, 16);
    let request = || Request::new(port_phy_qcaps::COMMAND);
    assert!(rig.hw.ask_optional(request()).unwrap().is_none());
    assert_eq!(rig.hw.ask(request()).unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn firmware_that_restarted_without_a_word_or_hangs_is_found_out() {
    use error_recovery_qcfg::output;
    /// In BAR 0.
    const BEAT: u64 = 0x600;
    const RESETS: u64 = 0x604;
    let begun = Instant::now();
    let after = |seconds| begun + Duration::from_secs(seconds);
    let found = || {
        let mut rig = Rig::new(Generation::P5);
        assert!(Pulse::find(&rig.hw, begun).unwrap().is_none(), "it tells of no such thing");
        rig.caps().flags = caps::ERROR_RECOVERY;
        rig.says(error_recovery_qcfg::COMMAND, output::DRIVER_POLLING_FREQ, 20);
        rig.says(error_recovery_qcfg::COMMAND, output::FW_HEARTBEAT_REG, BEAT as u32 | 2);
        rig.says(error_recovery_qcfg::COMMAND, output::FW_RESET_CNT_REG, RESETS as u32 | 2);
        let pulse = Pulse::find(&rig.hw, begun).unwrap().unwrap();
        (rig, pulse)
    };
    let (rig, mut pulse) = found();
    rig.card.set(RESETS, 1);
    assert!(pulse.check(&rig.hw, after(1)).is_ok(), "it is not looked at so often");
    let error = pulse.check(&rig.hw, after(2)).unwrap_err();
    assert!(error.to_string().starts_with("a card: its firmware has restarted and did not say so, so all"), "{error}");
    assert!(rig.hw.check().is_err(), "it stays so");
    let (rig, mut pulse) = found();
    assert!(pulse.check(&rig.hw, after(2)).is_ok(), "a pulse that never was is none");
    rig.card.set(BEAT, 9);
    assert!(pulse.check(&rig.hw, after(4)).is_ok());
    let error = pulse.check(&rig.hw, after(6)).unwrap_err();
    assert!(error.to_string().contains("its pulse stands still for 2s"), "{error}");
}

/// One transmit queue, at which a frame waits.
fn waiting(rig: &Rig) -> Vec<TxRings> {
    let common = Common::new(&rig.hw, 1, 1, 0, false).unwrap();
    let lengths = super::super::tx::Lengths::of(64);
    let mut rings = TxRings::new(0, lengths, |entries| rig.card.region(entries as usize * 16));
    rings.start(&rig.hw, &common).unwrap();
    rings.descriptors.words64()[0].store(0x8140 | 60 << 16 | 1 << 32, Ordering::Release);
    vec![rings]
}

#[test]
fn a_queue_at_which_a_frame_waits_is_called_and_then_reported() {
    for generation in [Generation::P4, Generation::P5] {
        let rig = Rig::new(generation);
        let tx = waiting(&rig);
        let mut lookout = Lookout::default();
        let recall = lookout.tx();
        let begun = Instant::now();
        let mut look = |ms, up| lookout.look(&rig.hw, &tx, begun + Duration::from_millis(ms), || Ok(up));
        assert!(look(0, true).is_ok() && !recall.waits());
        assert!(look(1, true).is_ok());
        assert_eq!(recall.take(), generation == Generation::P5, "the other loses no doorbells");
        assert!(look(2, true).is_ok() && !recall.waits(), "once");
        assert!((3..8).all(|n| look(250 * n, false).is_ok()), "there is no link");
        assert!((8..10).all(|n| look(250 * n, true).is_ok()));
        let error = look(2500, true).unwrap_err().to_string();
        assert!(
            error.starts_with("a card: transmit queue 0 has packets to send and has sent none for a second"),
            "{error}"
        );
        // It goes on.
        tx[0].completions.words64()[0].store(1 << 32, Ordering::Release);
        assert!(look(9000, true).is_ok() && look(19000, true).is_ok());
    }
}

#[test]
fn firmware_is_told_when_lost_doorbells_were_rung_again() {
    for wanted in [true, false] {
        let mut rig = Rig::new(Generation::P5);
        rig.caps().flags_ext2 = if wanted { caps::DOORBELL_RECOVERY } else { 0 };
        let mut lookout = Lookout::default();
        let (rx, tx) = (lookout.rx(), lookout.tx());
        let begun = Instant::now();
        let mut look = |ms| lookout.look(&rig.hw, &[], begun + Duration::from_millis(ms), || Ok(true)).unwrap();
        look(0);
        assert!(!rx.waits() && !tx.waits());
        lookout.lost_doorbells(7, begun);
        assert!(rx.waits() && tx.take());
        let mut look = |ms| lookout.look(&rig.hw, &[], begun + Duration::from_millis(ms), || Ok(true)).unwrap();
        look(10);
        assert!(rig.asked(func_dbr_recovery_completed::COMMAND).is_empty(), "one has not come");
        rx.take();
        look(20);
        look(30);
        let asked = rig.asked(func_dbr_recovery_completed::COMMAND);
        let said = asked.iter().map(|request| u32_at(request, func_dbr_recovery_completed::input::EPOCH.offset));
        assert_eq!(said.collect::<Vec<_>>(), if wanted { vec![7] } else { vec![] });
    }
}
