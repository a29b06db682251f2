use super::*;
use crate::cli::Global;
use crate::dma::BATCH_MAX;
use crate::driver::{RxQueue, TxQueue};
use crate::pci::troubled::Troubled;
use crate::sys::Roots;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A session of `card`, and what it prints to.
fn session(card: &str) -> (Session, Output) {
    configured(card, &Config::default())
}

/// The same, with ports that are set up so.
fn configured(card: &str, config: &Config) -> (Session, Output) {
    let global = Global { link_wait: Duration::from_secs(30), ..Global::default() };
    let context = Context {
        global,
        roots: Roots::under("/".as_ref()),
        started: Instant::now(),
        taken: Default::default(),
        loans: Default::default(),
    };
    let defaults = Defaults { wires: &["loop"], duration: None, link: false };
    let session = Session::open(&context, &[card.into()], defaults, config).unwrap();
    (session, Output::new(&context.global))
}

/// The same, of a card that can get into trouble.
fn troubled() -> (Session, Arc<Troubled>) {
    let (mut session, _output) = session("emu:82599,wire=loop");
    let card = Arc::new(Troubled::of(Arc::clone(&session.functions[0])));
    session.functions[0] = card.clone();
    (session, card)
}

#[test]
fn the_death_of_a_strict_card_is_told_before_what_came_of_it() {
    for (card, strict) in [("emu:82599,strict,wire=loop", true), ("emu:82599,wire=loop", false)] {
        let (session, output) = session(card);
        assert!(session.check(&output).is_ok());
        session.functions[0].bar(0).unwrap().write32(0x3_0000, 1);
        let told = session.blame(Error::new(Kind::Gone, "it does not answer")).to_string();
        assert_eq!(told.contains("the driver broke 1 rules of the card"), strict, "{told}");
        assert_eq!(session.check(&output).is_err(), strict);
    }
}

#[test]
fn a_card_that_is_gone_ends_the_run_at_the_first_question_and_is_told_before_what_came_of_it() {
    let asks: [fn(&mut Session); 3] = [
        |session| assert_eq!(session.missed().unwrap(), 0),
        |session| assert_eq!(session.intact().unwrap_err().kind(), Kind::Gone),
        |session| drop(session.blame(Error::new(Kind::Timeout, "none came back"))),
    ];
    for ask in asks {
        let (mut session, card) = troubled();
        ask_whole(&mut session);
        card.gone.store(true, Ordering::Relaxed);
        ask(&mut session);
        assert!(session.stop.requested());
        let told = session.blame(Error::new(Kind::Timeout, "none came back")).to_string();
        assert!(told.ends_with("or somebody else has reset it"), "{told}");
    }
}

fn ask_whole(session: &mut Session) {
    session.missed().unwrap();
    session.intact().unwrap();
    assert_eq!(session.blame(Error::new(Kind::Timeout, "none came back")).to_string(), "none came back");
    assert!(!session.stop.requested() && !session.is_stale());
}

#[test]
fn memory_that_was_moved_ends_a_run_that_only_asks_for_what_was_missed() {
    let (mut session, card) = troubled();
    ask_whole(&mut session);
    card.moved.store(true, Ordering::Relaxed);
    session.missed().unwrap();
    assert!(session.stop.requested());
    assert_eq!(session.stop.intact().unwrap_err().kind(), Kind::Memory);
    assert!(!session.is_stale(), "the card is there, and its counters are its own");
}

#[test]
fn counters_of_a_card_that_is_gone_are_known_to_be_old() {
    let (mut session, card) = troubled();
    let mut nic = session.ports.remove(0).nic;
    session.stats(0, &mut nic).unwrap();
    assert!(!session.is_stale());
    card.gone.store(true, Ordering::Relaxed);
    // Also where another thread has seen it first.
    session.intact().unwrap_err();
    session.stats(0, &mut nic).unwrap();
    assert!(session.is_stale());
}

/// Also where a host made the rings, and made them longer than was asked for.
#[test]
fn a_pool_outlasts_full_rings() {
    for card in crate::emu::models().map(|model| format!("emu:{}", model.profile.name)) {
        let (session, _output) = configured(&card, &Config { rx_ring: 64, tx_ring: 64, ..Config::default() });
        let [Port { rx, tx, .. }] = &session.ports[..] else { panic!("one port") };
        let held = rx.iter().map(RxQueue::buffers).sum::<usize>() + tx.iter().map(TxQueue::buffers).sum::<usize>();
        assert_eq!(session.buffers, held + 2 * BATCH_MAX, "{card}");
    }
}
