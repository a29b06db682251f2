//! The EF10 driver against a card that a test plays by hand: controllers and
//! events that lie, and what each transmit path stores where.

#[path = "common/families.rs"]
mod families;
#[path = "support/silicon/mod.rs"]
mod silicon;

use bmnic::Kind;
use bmnic::dma::{Addressing, Batch, L4, Offload, Pool, Timestamp};
use bmnic::driver::{self, Config, Port, TxPath};
use bmnic::net::MacAddr;
use bmnic::pci::Function;
use silicon::efvi::{self, Card, Fault, Queue, rx_event, tx_event};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Virtual interfaces of the first queues.
const RX: u16 = 0;
const TX: u16 = 1;

fn refused(fault: Fault, config: &Config) -> (Card, bmnic::Error) {
    let card = efvi::card(fault);
    let error = driver::open(card.function(), config).err().expect("such a card cannot be opened");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    assert!(error.to_string().starts_with("test:x2522: "), "{error}");
    assert!(!card.bus_master(), "a card that was given up must not write to memory");
    (card, error)
}

fn says(fault: Fault, kind: Kind, text: &str) {
    let (_, error) = refused(fault, &Config::default());
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

// ---- a controller that lies ----

#[test]
fn a_card_that_answers_all_ones_is_gone() {
    says(Fault::AllOnes, Kind::Gone, "BIU_MC_SFT_STATUS reads all ones");
}

#[test]
fn a_controller_that_does_not_run_is_given_up_with_what_its_register_held() {
    says(Fault::NoController, Kind::Timeout, "BIU_MC_SFT_STATUS = 0x0bad0003");
}

#[test]
fn a_command_that_is_never_answered_is_given_up_by_name_and_nothing_more_is_asked() {
    let start = Instant::now();
    let (card, error) = refused(Fault::Silent(efvi::INIT_EVQ), &Config::default());
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(error.to_string().contains("the management command INIT_EVQ (0x80) did not finish in 10000 ms"), "{error}");
    assert_eq!(card.asked().last(), Some(&efvi::INIT_EVQ));
    assert!(start.elapsed() < Duration::from_secs(30), "one patience, not one for each step of closing");
}

#[test]
fn an_answer_that_is_too_short_is_not_read() {
    says(Fault::Short(efvi::GET_CAPABILITIES), Kind::Device, "GET_CAPABILITIES has 4 bytes, 20 are needed");
}

#[test]
fn a_refusal_is_told_with_its_name() {
    let enospc = Fault::Refuses(efvi::FILTER_OP, 0x1c);
    says(enospc, Kind::Device, "its firmware refused FILTER_OP (0x8a) with ENOSPC (0x1c)");
    let eperm = Fault::Refuses(efvi::FILTER_OP, 0x1);
    says(eperm, Kind::Permission, "EPERM (0x1); this function may lack the privilege or the card a licence");
    says(Fault::Refuses(efvi::FILTER_OP, 0xdead), Kind::Device, "an unknown error (0xdead)");
}

#[test]
fn an_answer_to_another_question_ends_the_conversation() {
    says(Fault::WrongSequence(efvi::ALLOC_VIS), Kind::Device, "answers another question than ALLOC_VIS");
    says(Fault::WrongCommand(efvi::ALLOC_VIS), Kind::Device, "answers another question than ALLOC_VIS");
}

#[test]
fn a_controller_that_restarts_in_the_middle_is_noticed() {
    says(Fault::Restarts(efvi::INIT_TXQ), Kind::Device, "restarted while it was asked INIT_TXQ");
}

#[test]
fn an_answer_longer_than_any_is_read_no_further_than_its_buffer() {
    let card = efvi::card(Fault::None);
    let mut port = driver::open(card.function(), &Config::default()).unwrap();
    card.break_it(Fault::Endless(efvi::GET_LINK));
    assert!(port.nic.link().unwrap().up);
}

#[test]
fn a_controller_that_restarts_while_the_card_is_open_is_told_by_whatever_is_asked() {
    let card = efvi::card(Fault::None);
    let mut port = driver::open(card.function(), &Config::default()).unwrap();
    card.break_it(Fault::Restarts(efvi::GET_LINK));
    for error in [port.nic.link().unwrap_err(), port.nic.stats().unwrap_err()] {
        assert_eq!(error.kind(), Kind::Device, "{error}");
        assert!(error.to_string().contains("all queues are lost; open the card again"), "{error}");
    }
    drop(port);
    assert!(!card.bus_master());
}

#[test]
fn an_event_queue_that_never_starts_is_given_up() {
    says(Fault::DeadQueues, Kind::Timeout, "starting event queue 0 did not finish in 1000 ms");
}

#[test]
fn what_firmware_or_card_lack_is_said_in_a_line() {
    says(Fault::NoCapabilities, Kind::Unsupported, "cannot put a prefix before received frames");
    says(Fault::SmallBar, Kind::Unsupported, "windows for 1 queues but 2 are wanted");
    let with = |tx_path| Config { tx_path, ..Config::default() };
    let (_, error) = refused(Fault::Refuses(efvi::ALLOC_PIOBUF, 0x1c), &with(TxPath::Pio));
    assert!(error.to_string().contains("no packet memory (PIO)"), "{error}");
    assert!(error.to_string().contains("all of it is taken"), "{error}");
    let (card, error) = refused(Fault::Refuses(efvi::ALLOC_PIOBUF, 0x1), &with(TxPath::Pio));
    assert!(error.to_string().contains("refused ALLOC_PIOBUF (0x8f) with EPERM"), "{error}");
    assert!(!card.asked().contains(&efvi::FREE_PIOBUF));
    let (card, error) = refused(Fault::Refuses(efvi::LINK_PIOBUF, 0x1), &with(TxPath::Pio));
    assert!(error.to_string().contains("refused LINK_PIOBUF (0x92) with EPERM"), "{error}");
    assert!(card.asked().contains(&efvi::FREE_PIOBUF), "it was given");
    let (_, error) = refused(Fault::Refuses(efvi::INIT_TXQ, 0x1), &with(TxPath::Ctpio { threshold: None }));
    assert_eq!(error.kind(), Kind::Permission);
    assert!(error.to_string().contains("licence"), "{error}");
}

#[test]
fn a_frame_does_not_begin_before_it_is_stored_where_stores_are_not_combined() {
    let config = |tx_path| Config { tx_path, ..Config::default() };
    let (card, error) = refused(Fault::None, &config(TxPath::Ctpio { threshold: Some(64) }));
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("after 64 bytes"), "{error}");
    assert!(error.to_string().contains("stores are not combined"), "{error}");
    assert!(matches!(error.remedy(), Some(bmnic::Remedy::WholeFrame)), "{error:?}");
    assert!(card.combined().is_empty());
    for tx_path in [TxPath::Ctpio { threshold: None }, TxPath::Pio] {
        let port = driver::open(efvi::card(Fault::None).function(), &config(tx_path)).unwrap();
        let lacks = &port.nic.describe().lacks;
        assert_eq!(lacks.len(), 1, "{lacks:?}");
        assert!(lacks[0].contains("stores are not combined"), "{lacks:?}");
    }
    let port = driver::open(efvi::card(Fault::None).function(), &config(TxPath::Push)).unwrap();
    assert!(port.nic.describe().lacks.is_empty());
}

#[test]
fn stores_of_frames_are_combined_and_no_others() {
    const PIO: u64 = 0x1000;
    const CTPIO: u64 = 0x3000;
    let window = u64::from(TX) * 0x4000;
    let direct = |threshold| (TxPath::Ctpio { threshold }, &[CTPIO][..]);
    for (tx_path, offsets) in [direct(None), direct(Some(64)), (TxPath::Pio, &[PIO]), (TxPath::Push, &[])] {
        let card = efvi::combining_card();
        let port = driver::open(card.function(), &Config { tx_path, ..Config::default() }).unwrap();
        assert!(port.nic.describe().lacks.is_empty());
        assert_eq!(card.combined(), offsets.iter().map(|offset| window + offset).collect::<Vec<_>>(), "{tx_path}");
    }
}

#[test]
fn a_card_without_a_licence_for_its_clock_is_opened_without_time() {
    let card = efvi::card(Fault::Refuses(efvi::PTP, 0x1));
    let port = driver::open(card.function(), &Config { timestamps: true, ..Config::default() }).unwrap();
    assert_eq!(port.nic.describe().timestamps, driver::TimestampSource::Tsc);
}

#[test]
fn a_card_that_puts_no_time_among_its_events_says_so_and_stamps_nothing() {
    let card = efvi::card(Fault::NoTimeEvents);
    let mut port = driver::open(card.function(), &Config { timestamps: true, ..Config::default() }).unwrap();
    assert_eq!(port.nic.describe().timestamps, driver::TimestampSource::Tsc);
    assert_eq!(port.nic.clock(&mut || 0).unwrap(), None);
}

#[test]
fn a_card_that_tells_others_the_time_alone_tells_it_alone() {
    let card = efvi::card(Fault::TimeWithoutState);
    let mut port = driver::open(card.function(), &Config { timestamps: true, ..Config::default() }).unwrap();
    assert_eq!(port.nic.describe().timestamps, driver::TimestampSource::Hardware);
    assert!(port.nic.clock(&mut || 0).unwrap().is_some());
}

#[test]
fn the_events_of_a_queue_stay_until_it_is_flushed() {
    let card = efvi::card(Fault::LateFlush);
    drop(driver::open(card.function(), &Config::default()).unwrap());
    assert!(!card.early());
}

// ---- a card that is up ----

struct Rig {
    card: Card,
    pool: Pool,
    port: Port,
    rx: Queue,
    tx: Queue,
}

impl Rig {
    fn new(config: &Config) -> Rig {
        Rig::of(efvi::card(Fault::None), config)
    }

    fn of(card: Card, config: &Config) -> Rig {
        let pool = Pool::new(2048, Addressing::Translated).unwrap();
        card.map(pool.arena()).unwrap();
        let mut port = driver::open(card.function(), config).unwrap();
        port.rx[0].fill(&pool).unwrap();
        let (rx, mut tx) = (card.rx(RX), card.tx(config.rx_queues));
        // The first descriptor only switches options.
        assert_eq!(tx.descriptor(0).load(Ordering::Acquire) >> 60, 8);
        tx.head = 1;
        Rig { card, pool, port, rx, tx }
    }

    fn over(path: TxPath) -> Rig {
        Rig::new(&Config { tx_path: path, ..Config::default() })
    }

    /// Sends frames of `len` bytes in one batch.
    fn send(&mut self, len: usize, count: usize) {
        let mut batch = Batch::new(&self.pool);
        for n in 0..count {
            batch.push(len).unwrap().fill(n as u8 + 1);
        }
        assert_eq!(self.port.tx[0].send(&mut batch), count);
    }

    fn done(self) {
        let Rig { pool, port, card, .. } = self;
        port.close([&pool]);
        assert_eq!(pool.available(), pool.capacity());
        assert_eq!(card.filters(), 0, "filters were left behind");
        assert!(!card.bus_master());
    }
}

/// The card receives a frame of `len` bytes with `prefix`, and `bits` in its event.
fn receive(card: &Card, rx: &mut Queue, prefix: [u8; 14], len: u32, bits: u64) {
    let address = rx.descriptor(rx.head).load(Ordering::Acquire) & 0xffff_ffff_ffff;
    card.write(address, &prefix);
    rx.head += 1;
    rx.report(rx_event(len + 14, rx.head, true) | bits);
}

#[test]
fn events_that_make_no_sense_are_counted_and_passed_over() {
    let mut rig = Rig::new(&Config::default());
    let good = |next| rx_event(60 + 14, next, true);
    for event in [
        good(1) | 5 << 16,                // another queue's label
        9 << 60,                          // no such reporter
        tx_event(1),                      // a transmit queue reports elsewhere
        12 << 60 | 0x15 << 44,            // the controller has restarted
        5 << 60 | 3 << 56,                // a timer: means nothing here
        12 << 60 | 4 << 44 | 0x0100_0000, // the link: asked for, not believed
    ] {
        rig.rx.report(event);
    }
    receive(&rig.card, &mut rig.rx, [0; 14], 60, 0);
    let mut batch = Batch::new(&rig.pool);
    assert_eq!(rig.port.rx[0].recv(&mut batch), 1);
    drop(batch);
    let wrong = rig.port.rx[0].anomalies();
    assert_eq!((wrong.bad_index, wrong.queue_reset), (3, 1), "{wrong:?}");
    rig.done();
}

#[test]
fn an_event_of_a_later_descriptor_has_the_queue_set_up_anew() {
    let mut rig = Rig::new(&Config::default());
    // Three frames in one event, which was not allowed; then one, of another length.
    receive(&rig.card, &mut rig.rx, [0; 14], 60, 0);
    for (next, len) in [(4, 60), (5, 99)] {
        rig.rx.report(rx_event(len + 14, next, true));
    }
    let mut batch = Batch::new(&rig.pool);
    assert_eq!(rig.port.rx[0].recv(&mut batch), 1);
    batch.clear();
    assert_eq!(rig.port.rx[0].anomalies().queue_reset, 1);
    assert_eq!(rig.card.starts(RX), 2);
    rig.rx = rig.card.rx(RX);
    receive(&rig.card, &mut rig.rx, [0; 14], 99, 0);
    assert_eq!(rig.port.rx[0].recv(&mut batch), 1);
    assert_eq!(batch.frame(0).len(), 99);
    drop(batch);
    rig.done();
}

#[test]
fn half_an_event_is_no_event() {
    let mut rig = Rig::new(&Config::default());
    let whole = rx_event(60 + 14, 1, true);
    let mut batch = Batch::new(&rig.pool);
    for half in [whole | 0xffff_ffff, whole | 0xffff_ffff << 32] {
        rig.rx.slot(rig.rx.event).store(half, Ordering::Release);
        assert_eq!(rig.port.rx[0].recv(&mut batch), 0);
    }
    rig.rx.report(whole);
    assert_eq!(rig.port.rx[0].recv(&mut batch), 1);
    assert_eq!(rig.port.rx[0].anomalies().total(), 0);
    drop(batch);
    rig.done();
}

#[test]
fn a_card_that_overran_its_events_has_the_queue_set_up_anew() {
    let mut rig = Rig::new(&Config::default());
    // Once round and one further, over events that nobody took.
    for n in 0..=rig.rx.event_slots() {
        rig.rx.report(rx_event(60 + 14, n + 1, true));
    }
    let mut batch = Batch::new(&rig.pool);
    assert_eq!(rig.port.rx[0].recv(&mut batch), 0, "which of them are of today cannot be told");
    assert_eq!(rig.port.rx[0].anomalies().queue_reset, 1);
    assert_eq!(rig.card.starts(RX), 2);
    rig.rx = rig.card.rx(RX);
    receive(&rig.card, &mut rig.rx, [0; 14], 99, 0);
    assert_eq!(rig.port.rx[0].recv(&mut batch), 1);
    assert_eq!(batch.frame(0).len(), 99);
    drop(batch);
    rig.done();
}

#[test]
fn an_event_that_stays_away_is_lost_and_the_queue_set_up_anew() {
    let mut rig = Rig::new(&Config::default());
    rig.rx.slot(rig.rx.event + 1).store(rx_event(60 + 14, 2, true), Ordering::Release);
    let mut batch = Batch::new(&rig.pool);
    for _ in 0..2000 {
        assert_eq!(rig.port.rx[0].recv(&mut batch), 0);
    }
    assert_eq!(rig.card.starts(RX), 2);
    drop(batch);
    rig.done();
}

#[test]
fn a_packet_is_stamped_in_the_second_of_the_last_time_event() {
    let mut rig = Rig::new(&Config { timestamps: true, ..Config::default() });
    let mut prefix = [0; 14];
    prefix[10..].copy_from_slice(&4048u32.to_le_bytes());
    receive(&rig.card, &mut rig.rx, prefix, 60, 0);
    let mut batch = Batch::new(&rig.pool);
    assert_eq!(rig.port.rx[0].recv(&mut batch), 1);
    // A quarter of a nanosecond each, less a correction of 48.
    let first = Some(Timestamp(Duration::new(1000, 1000)));
    assert_eq!(batch.meta(0).timestamp, first, "no time event yet: the second is that of the card's time at the start");
    batch.clear();
    // Bits 37:36 of an event are the fraction's where nobody asked for a state.
    rig.rx.report(12 << 60 | 0x1a << 44 | 1000);
    receive(&rig.card, &mut rig.rx, prefix, 60, 0);
    assert_eq!(rig.port.rx[0].recv(&mut batch), 1);
    assert_eq!(batch.meta(0).timestamp, first);
    let mut ticks = 0;
    let reading = rig
        .port
        .nic
        .clock(&mut || {
            ticks += 1;
            ticks
        })
        .unwrap()
        .unwrap();
    let time = Timestamp(Duration::new(999, 975_000_000));
    assert_eq!(reading, driver::ClockReading { before: 1, time, after: 2, step_ps: 250 });
    drop(batch);

    // And a packet that leaves: done, then when, in two halves.
    rig.send(60, 1);
    rig.tx.report(12 << 60 | 0x1a << 44 | 3 << 36 | 1000);
    rig.tx.report(tx_event(1));
    rig.tx.report(2 << 60 | 0x51 << 24 | 3600);
    rig.tx.report(2 << 60 | 0x52 << 24 | 1000);
    assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0);
    assert_eq!(rig.port.tx[0].last_sent(), Some(Timestamp(Duration::new(1000, 1000))));
    rig.done();
}

#[test]
fn a_tag_is_taken_out_and_the_rest_is_still_told() {
    let mut rig = Rig::new(&Config { vlan_strip: true, rx_queues: 2, ..Config::default() });
    let address = rig.rx.descriptor(0).load(Ordering::Acquire) & 0xffff_ffff_ffff;
    let mut frame: Vec<u8> = (0..64).collect();
    frame[12..16].copy_from_slice(&[0x81, 0, 0x20, 0x64]);
    rig.card.write(address + 14, &frame);
    let mut prefix = [0; 14];
    prefix[..4].copy_from_slice(&0xdead_beefu32.to_le_bytes());
    receive(&rig.card, &mut rig.rx, prefix, 64, 1 << 39 | 1 << 25);
    let mut batch = Batch::new(&rig.pool);
    assert_eq!(rig.port.rx[0].recv(&mut batch), 1);
    let meta = batch.meta(0);
    assert_eq!((meta.vlan(), meta.rss_hash()), (Some(0x2064), Some(0xdead_beef)));
    assert_eq!(meta.checksums().ip, bmnic::dma::Checksum::Bad);
    frame.drain(12..16);
    assert_eq!(batch.frame(0), frame);
}

// ---- the ways of a frame to the card ----

#[test]
fn a_pushed_descriptor_is_that_of_the_ring() {
    let mut rig = Rig::over(TxPath::Push);
    rig.send(100, 3);
    let first = rig.tx.descriptor(1).load(Ordering::Acquire);
    assert_eq!(first >> 48, 100);
    let pushed = [0xa10, 0xa14, 0xa18, 0xa1c].map(|offset| rig.card.word(TX, offset));
    assert_eq!(pushed, [first as u32, (first >> 32) as u32, 4, 0]);
    assert_eq!(rig.tx.owned(), 3);
    rig.tx.transmit(false);
    assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0);
    rig.done();
}

#[test]
fn a_plain_doorbell_names_the_index_alone() {
    let mut rig = Rig::over(TxPath::Dma);
    rig.send(100, 3);
    assert_eq!([0xa10, 0xa18].map(|offset| rig.card.word(TX, offset)), [0, 4]);
    rig.done();
}

#[test]
fn packet_memory_takes_what_fits_and_the_rest_is_fetched() {
    let mut rig = Rig::over(TxPath::Pio);
    let free = rig.pool.available();
    rig.send(90, 10);
    for slice in 0..8 {
        let at = 0x1000 + 256 * u64::from(slice);
        assert_eq!(rig.card.word(TX, at), 0x0101_0101 * (slice + 1));
        assert_eq!(rig.card.word(TX, at + 88) & 0xffff, 0x0101 * (slice + 1), "and zeroes behind it");
        assert_eq!(rig.card.word(TX, at + 92), 0);
        let descriptor = rig.tx.descriptor(slice + 1).load(Ordering::Acquire);
        assert_eq!(descriptor, 9 << 60 | 90 << 32 | u64::from(256 * slice));
    }
    assert_eq!(rig.tx.descriptor(9).load(Ordering::Acquire) >> 48, 90, "the ninth finds no slice");
    assert_eq!(rig.pool.available(), free - 2, "what was copied needs no buffer");
    // A slice is used again once its frame has left, and not before.
    rig.send(90, 1);
    assert_eq!(rig.tx.descriptor(11).load(Ordering::Acquire) >> 48, 90);
    rig.tx.report(tx_event(1));
    rig.send(90, 1);
    assert_eq!(rig.tx.descriptor(12).load(Ordering::Acquire), 9 << 60 | 90 << 32);
    rig.send(257, 1);
    assert_eq!(rig.tx.descriptor(13).load(Ordering::Acquire) >> 48, 257, "longer than a slice");
    rig.tx.report(tx_event(13));
    assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0);
    rig.done();
}

#[test]
fn a_frame_alone_is_stored_into_the_transmitter_with_its_fallback_behind_it() {
    for (threshold, head) in [(None, 0x0fff_0064), (Some(64), 0x0040_0064)] {
        let config = Config { tx_path: TxPath::Ctpio { threshold }, ..Config::default() };
        let mut rig = Rig::of(efvi::combining_card(), &config);
        rig.send(100, 1);
        let stored = rig.card.direct(TX, 32);
        assert_eq!(stored[0], head);
        assert!(stored[1..26].iter().all(|&word| word == 0x0101_0101));
        assert!(stored[26..].iter().all(|&word| word == 0), "filled up to the line");
        assert_eq!(rig.tx.descriptor(1).load(Ordering::Acquire) >> 48, 100);
        assert_eq!(rig.card.word(TX, 0xa18), 2);
        // While it is out there is no other way than by descriptors.
        rig.send(60, 1);
        assert_eq!(rig.card.direct(TX, 1), [head], "the transmitter was left alone");
        rig.tx.report(tx_event(1) | 0x11 << 24);
        rig.tx.report(tx_event(2));
        assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0);
        // Idle again: a short frame is filled up to what the transmitter takes.
        rig.send(20, 1);
        assert_eq!(rig.card.direct(TX, 1)[0] & 0xfff, 60);
        rig.tx.report(tx_event(3));
        assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0, "the fallback was sent instead");
        assert_eq!(rig.port.tx[0].anomalies().total(), 0);
        rig.done();
    }
}

#[test]
fn sending_goes_on_where_the_fallback_of_a_spoiled_frame_is_lost() {
    let config = Config { tx_path: TxPath::Ctpio { threshold: Some(64) }, ..Config::default() };
    let mut rig = Rig::of(efvi::combining_card(), &config);
    for round in 0..3 {
        // Spoiled, and its descriptor neither sent nor reported.
        rig.send(100, 1);
        assert_eq!(rig.card.direct(TX, 1)[0], 0x0040_0064);
        assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 1);
        // Those behind it go by their descriptors, and their event stands for it, too.
        rig.send(60, 2);
        assert_eq!(rig.card.direct(TX, 1)[0], 0x0040_0064, "the transmitter was left alone");
        rig.tx.report(tx_event(3 + 3 * round));
        assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0, "round {round}");
    }
    rig.done();
}

#[test]
fn a_failure_from_before_is_asked_for_again_and_may_be_no_business_of_this_function() {
    let refuses = |code| efvi::card(Fault::Refuses(efvi::GET_ASSERTS, code));
    // EPERM, and what is not known.
    for code in [0x1, 0x26] {
        let card = refuses(code);
        drop(driver::open(card.function(), &Config::default()).unwrap());
        assert_eq!(card.asked()[..2], [efvi::GET_ASSERTS, efvi::DRV_ATTACH], "{code:#x}");
    }
    // EINTR and EIO: twice more.
    for code in [0x4, 0x5] {
        let card = refuses(code);
        drop(driver::open(card.function(), &Config::default()).unwrap());
        let asked = card.asked();
        assert_eq!(asked.iter().filter(|&&command| command == efvi::GET_ASSERTS).count(), 3, "{code:#x}");
        assert_eq!(asked[3], efvi::DRV_ATTACH);
    }
}

#[test]
fn firmware_that_may_not_be_started_anew_is_not_said_to_have_been() {
    let card = efvi::card(Fault::FailedForOthers);
    let port = driver::open(card.function(), &Config::default()).unwrap();
    let lacks = &port.nic.describe().lacks;
    let [line] = &lacks[..] else { panic!("{lacks:?}") };
    assert!(line.contains("had failed before (GET_ASSERTS 0x3)"), "{line}");
    assert!(line.contains("cannot be started anew by this function (REBOOT: EPERM)"), "{line}");
}

#[test]
fn all_frames_are_asked_for_again_where_half_of_them_was_refused() {
    // Its own address, broadcasts; unicast, multicast.
    let card = efvi::card(Fault::RefusesFilter(4));
    let mut port = driver::open(card.function(), &Config { promiscuous: true, ..Config::default() }).unwrap();
    let lacks = port.nic.describe().lacks.clone();
    assert!(lacks.len() == 1 && lacks[0].contains("no frames for other addresses"), "{lacks:?}");
    assert_eq!(card.filters(), 2, "no half of it");
    for _ in 0..2 {
        assert_eq!(port.nic.set_promiscuous(true).unwrap_err().kind(), Kind::Device);
        assert_eq!(card.filters(), 2);
    }
    card.break_it(Fault::None);
    port.nic.set_promiscuous(true).unwrap();
    port.nic.set_promiscuous(true).unwrap();
    assert_eq!(card.filters(), 4);
    port.nic.set_promiscuous(false).unwrap();
    assert_eq!(card.filters(), 2);
}

#[test]
fn a_table_that_no_flow_is_spread_by_is_refused_and_no_context_is_left() {
    let config = Config { rx_queues: 2, ..Config::default() };
    for (command, freed) in
        [(efvi::RSS_CONTEXT_ALLOC, 0), (efvi::RSS_CONTEXT_SET_KEY, 1), (efvi::RSS_CONTEXT_SET_TABLE, 1)]
    {
        let card = efvi::card(Fault::Refuses(command, 0x1));
        let mut port = driver::open(card.function(), &config).unwrap();
        let frees = card.asked().into_iter().filter(|&command| command == efvi::RSS_CONTEXT_FREE).count();
        assert_eq!(frees, freed, "{command:#x}");
        let error = port.nic.set_rss_table(&[0, 1]).unwrap_err();
        assert_eq!((error.kind(), error.to_string().lines().count()), (Kind::Unsupported, 1), "{error}");
    }
    for rx_queues in [1, 2] {
        let config = Config { rx_queues, ..Config::default() };
        let mut port = driver::open(efvi::card(Fault::None).function(), &config).unwrap();
        port.nic.set_rss_table(&[0]).unwrap();
    }
}

#[test]
fn a_link_that_is_not_told_now_is_as_it_was() {
    let card = efvi::card(Fault::None);
    let mut port = driver::open(card.function(), &Config::default()).unwrap();
    card.break_it(Fault::Refuses(efvi::GET_LINK, 0x1));
    assert!(!port.nic.link().unwrap().up, "it was not told yet");
    card.break_it(Fault::None);
    let up = port.nic.link().unwrap();
    card.break_it(Fault::Refuses(efvi::GET_LINK, 0x1));
    assert_eq!((up.up, port.nic.link().unwrap()), (true, up));
}

#[test]
fn one_of_several_packets_laid_ready_leaves_by_a_single_store() {
    for path in [TxPath::Push, TxPath::Pio] {
        let mut rig = Rig::over(path);
        let mut batch = Batch::new(&rig.pool);
        for n in 1..=3 {
            batch.push(100).unwrap().fill(n);
        }
        assert_eq!(rig.port.tx[0].prepare(&mut batch).unwrap(), 3);
        assert!(batch.is_empty());
        for _ in 0..5 {
            assert!(rig.port.tx[0].launch(1));
        }
        assert!(!rig.port.tx[0].launch(3), "there is none such");
        assert_eq!(rig.tx.owned(), 5);
        let descriptor = rig.tx.descriptor(1).load(Ordering::Acquire);
        if path == TxPath::Pio {
            assert_eq!(descriptor, 9 << 60 | 100 << 32 | 256, "the second slice");
        } else {
            assert_eq!(rig.card.memory(descriptor & 0xffff_ffff_ffff, 8).bytes()[0].load(Ordering::Relaxed), 2);
        }
        rig.tx.transmit(false);
        rig.tx.report(tx_event(5));
        rig.port.tx[0].reclaim(&rig.pool);
        // What is laid ready stays so.
        assert!(rig.port.tx[0].launch(1));
        drop(batch);
        rig.done();
    }
}

#[test]
fn options_are_switched_once_and_switched_back() {
    let mut rig = Rig::over(TxPath::Auto);
    let mut batch = Batch::new(&rig.pool);
    let checksum = Offload { ip_checksum: true, l4_checksum: Some(L4::Udp), ..Offload::default() };
    let tagged = Offload { vlan: Some(0x2064), ..checksum };
    for offload in [None, Some(checksum), Some(checksum), Some(tagged), None] {
        batch.push(60).unwrap();
        if let Some(offload) = offload {
            batch.set_offload(batch.len() - 1, offload);
        }
    }
    assert_eq!(rig.port.tx[0].send(&mut batch), 5);
    let written: Vec<u64> = (1..10).map(|n| rig.tx.descriptor(n).load(Ordering::Acquire)).collect();
    let kinds: Vec<u64> = written.iter().map(|word| if word >> 63 == 0 { 0 } else { word & !0xffff }).collect();
    let (checksums, tag, no_tag) = (0x8 << 60, 0xe << 60 | 1 << 32, 0xe << 60);
    assert_eq!(kinds, [0, checksums, 0, 0, tag, 0, checksums, no_tag, 0]);
    assert_eq!((written[1] & 0xffff, written[4] & 0xffff, written[6] & 0xffff), (3, 0x6420, 0));
    // Options are not reported, and nothing of theirs is given back.
    rig.tx.report(tx_event(2));
    rig.port.tx[0].reclaim(&rig.pool);
    assert_eq!(rig.port.tx[0].anomalies().bad_index, 1);
    rig.tx.report(tx_event(9));
    assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0);
    drop(batch);
    rig.done();
}

#[test]
fn a_transmit_queue_that_overran_its_events_gives_all_buffers_back_once() {
    let mut rig = Rig::new(&Config::default());
    rig.send(60, 40);
    for n in 0..=rig.tx.event_slots() {
        rig.tx.report(tx_event(n));
    }
    assert_eq!(rig.port.tx[0].reclaim(&rig.pool), 0);
    assert_eq!(rig.port.tx[0].anomalies().queue_reset, 1);
    rig.tx = rig.card.tx(TX);
    rig.tx.head = 1;
    rig.send(60, 2);
    assert_eq!(rig.tx.owned(), 2);
    rig.done();
}

// ---- filters ----

#[test]
fn filters_follow_what_is_asked_for() {
    let mut rig = Rig::new(&Config { promiscuous: false, ..Config::default() });
    assert_eq!(rig.card.filters(), 2, "its own address and broadcast");
    let groups = [1, 2, 2].map(|n| MacAddr([1, 0, 0x5e, 0, 0, n]));
    rig.port.nic.set_multicast(&groups).unwrap();
    assert_eq!(rig.card.filters(), 4, "a group that is named twice is in once");
    rig.port.nic.set_promiscuous(true).unwrap();
    rig.port.nic.set_promiscuous(true).unwrap();
    assert_eq!(rig.card.filters(), 6);
    rig.port.nic.set_mac(MacAddr([2, 0, 0, 0, 0, 1])).unwrap();
    assert_eq!(rig.card.filters(), 6);
    let rule = driver::FlowRule {
        source: None,
        destination: Some([239, 1, 2, 3].into()),
        source_port: None,
        destination_port: Some(30001),
        protocol: L4::Udp,
        queue: 0,
    };
    rig.port.nic.steer(&rule).unwrap();
    rig.port.nic.steer(&rule).unwrap();
    assert_eq!(rig.card.filters(), 7, "the same flow again replaces the rule");
    let other = driver::FlowRule { destination: None, ..rule };
    assert_eq!(rig.port.nic.steer(&other).unwrap_err().kind(), Kind::Unsupported);
    rig.done();
}
