//! Queues: what the firmware is told of them, and how they are set up anew.

use super::super::cqe::Fault;
use super::super::hw::Hw;
use super::super::queues::Renewal;
use super::super::setup;
use super::*;
use crate::driver::TimestampSource;
use crate::pci::Function;
use std::time::Duration;

/// A card whose firmware runs.
fn running(rig: &Rig) -> Arc<Hw> {
    let function: Arc<dyn Function> = Arc::clone(&rig.card) as _;
    let mut hw = Hw::new(&function).unwrap();
    setup::bring_up(&*function, &mut hw).unwrap();
    rig.card.forget();
    Arc::new(hw)
}

#[test]
fn a_queue_in_error_is_flushed_before_it_is_reset() {
    let rig = Rig::new();
    let hw = running(&rig);
    rig.says((0x90b, 0), vec![answer(&[(0x20, 3 << 20)])]);
    let mut renewal = Renewal::receive(&hw, 0x123, &Fault::default());
    let mut times = 0;
    let mut flushed = || {
        times += 1;
        times == 5
    };
    renewal.stop(&mut flushed).unwrap();
    renewal.start().unwrap();
    assert_eq!(times, 5);
    let changes: Vec<_> = rig.card.asked_for(0x909).iter().map(|asked| (word(asked, 8), word(asked, 0x20))).collect();
    assert_eq!(changes, [((3 << 28) | 0x123, 0), (0x123, 1 << 20)]);
    let before = rig.card.waited().1;
    renewal.stop(&mut || false).unwrap();
    assert_eq!((rig.card.waited().1 - before).as_secs(), 2, "what never comes");
}

#[test]
fn a_queue_that_lost_its_place_is_reset_and_one_that_is_refused_ends_the_card() {
    let rig = Rig::new();
    let hw = running(&rig);
    rig.says((0x907, 0), vec![answer(&[(0x20, 1 << 20)])]);
    let mut renewal = Renewal::transmit(&hw, 7, &Fault::default());
    renewal.stop(&mut || panic!("nothing is flushed")).unwrap();
    rig.refuse(0x905, 0x10, 0);
    assert!(renewal.start().is_err());
    let lost = hw.check().unwrap_err().to_string();
    assert!(lost.contains("a queue had to be set up anew and could not be"), "{lost}");
}

#[test]
fn queues_that_interrupt_report_to_event_queues_of_their_own() {
    let rig = Rig::new();
    let config = Config { rx_queues: 2, interrupts: true, ..Config::default() };
    let opened = rig.open(&config).unwrap();
    let queues = rig.card.asked_for(0x301);
    let said: Vec<_> = queues.iter().map(|asked| (word(asked, 0x24), word(asked, 0x5c) != 0)).collect();
    assert_eq!(said, [(0, true), (0, false), (1, false)], "vectors, and whether for the firmware");
    let events: HashSet<u32> = rig.card.asked_for(0x400).iter().map(|asked| word(asked, 0x24)).collect();
    assert_eq!(events.len(), 3, "two that receive, and one that sends");
    drop(opened);
}

#[test]
fn stamps_have_the_form_that_the_card_can_and_none_are_promised_without_a_frequency() {
    let stamped = Config { timestamps: true, ..Config::default() };
    let rig = Rig::new();
    let opened = rig.open(&stamped).unwrap();
    assert_eq!(opened.description.timestamps, TimestampSource::Tsc, "it names no frequency in kHz");
    assert_eq!(word(&rig.card.asked_for(0x908)[0], 0x20), 0x1004_0000, "tags stay in, errors are flushed");
    drop(opened);
    let rig = Rig::new();
    rig.set(|firmware| {
        for said in firmware.answers.get_mut(&(0x100, 1)).unwrap() {
            said.output.resize(0x200, 0);
            said.output[0x98..0x9c].copy_from_slice(&0x5000_0000u32.to_be_bytes());
        }
    });
    let mut opened = rig.open(&stamped).unwrap();
    assert_eq!(opened.description.timestamps, TimestampSource::Hardware);
    assert_eq!(word(&rig.card.asked_for(0x908)[0], 0x20) & 0x30, 0x20, "real time");
    assert_eq!(word(&rig.card.asked_for(0x904)[0], 0x20) & 0x30, 0x20);
    rig.card.hold(0x1040, 5);
    rig.card.hold(0x1044, 9);
    let reading = opened.ops.clock(&mut || 1).unwrap().unwrap();
    assert_eq!(reading.time, crate::dma::Timestamp(Duration::new(5, 9)));
}

#[test]
fn tags_must_be_inline_with_what_the_vport_wants() {
    let rig = Rig::new();
    drop(rig.opened());
    let queue = &rig.card.asked_for(0x904)[0];
    assert_eq!(word(queue, 0x20), 0x1100_0000, "headers of Ethernet, one frame an entry");
    assert_eq!((word(queue, 0x50), word(queue, 0x70)), (1 << 28, (6 << 16) | 9));
    let rig = Rig::new();
    rig.set(|firmware| {
        for said in firmware.answers.get_mut(&(0x100, 3)).unwrap() {
            // Nothing must be inline, and several frames go by one entry.
            said.output[0x10..0x14].copy_from_slice(&0xe872_6923u32.to_be_bytes());
        }
    });
    drop(rig.opened());
    assert_eq!(word(&rig.card.asked_for(0x904)[0], 0x20), 0x1800_0000);
}
