//! A thread that sleeps until a card is taken away, and ends the run then.
//!
//! Nothing of it is in the way of packets: it wakes once at most, or when the run is over.

use super::signal::Stop;
use crate::error::{Error, Result};
use crate::pci::{Alarm, Function};
use crate::sys::{self, EventFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Watches cards until it is dropped, which must be before they are closed.
pub struct Watch {
    over: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Ends the run with the first alarm of a card; nothing if no card has any.
    ///
    /// # Errors
    /// If there is no descriptor or thread for it.
    pub fn keep(cards: &[Arc<dyn Function>], stop: &Stop) -> Result<Option<Watch>> {
        if cards.iter().all(|card| card.alarms().is_empty()) {
            return Ok(None);
        }
        const DOING: &str = "starting the thread that watches the cards";
        let failed = |e| Error::io(DOING, e);
        let over = Arc::new(EventFd::new().map_err(failed)?);
        let (cards, stop, told) = (cards.to_vec(), stop.clone(), Arc::clone(&over));
        let body = move || sleep(&cards, &stop, &told);
        let thread = thread::Builder::new().name("watch".into()).spawn(body);
        let thread = thread.map_err(|e| Error::thread(DOING, e))?;
        Ok(Some(Watch { over, thread: Some(thread) }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Where it cannot be told it is left behind: it holds nothing but the cards.
        if self.over.signal().is_ok() {
            self.thread.take().map(JoinHandle::join);
        }
    }
}

fn sleep(cards: &[Arc<dyn Function>], stop: &Stop, over: &EventFd) {
    let mut alarms: Vec<(&str, Alarm, BorrowedFd<'_>)> = Vec::new();
    for card in cards {
        alarms.extend(card.alarms().into_iter().map(|(alarm, fd)| (card.name(), alarm, fd)));
    }
    let fds: Vec<BorrowedFd<'_>> = [over.as_fd()].into_iter().chain(alarms.iter().map(|&(_, _, fd)| fd)).collect();
    // Failing to sleep is no reason to end a run.
    let Ok(Some(first)) = sys::wait_any(&fds) else { return };
    if let Some((name, alarm, _)) = first.checked_sub(1).and_then(|at| alarms.get(at)) {
        stop.lose(&alarm.of(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emu::{Drive, Engine, Spec};
    use crate::error::Kind;
    use crate::pci;
    use crate::sys::Roots;
    use std::fs::{self, File};
    use std::time::{Duration, Instant};

    #[test]
    fn emulated_cards_need_no_watch() {
        let engine = Engine::new(Drive::Manual);
        let (card, _tap) = engine.open(&Spec::new("82599")).unwrap();
        assert!(Watch::keep(&[card], &Stop::default()).unwrap().is_none());
    }

    #[test]
    fn a_card_whose_registers_are_taken_away_ends_the_run() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        let directory = roots.pci().join("devices/0000:03:00.0");
        fs::create_dir_all(&directory).unwrap();
        let put = |file: &str, text: &str| fs::write(directory.join(file), text).unwrap();
        put("vendor", "0x8086");
        put("device", "0x10fb");
        put("class", "0x020000");
        put("resource", "0x00000000f7c00000 0x00000000f7c0ffff 0x0000000000040200\n");
        fs::write(directory.join("config"), [0; 64]).unwrap();
        let registers = File::create_new(directory.join("resource0")).unwrap();
        registers.set_len(0x1_0000).unwrap();

        let card = pci::open(&roots, "0000:03:00.0".parse().unwrap()).unwrap();
        let bar = card.bar(0).unwrap();
        let stop = Stop::default();
        let watch = Watch::keep(&[card], &stop).unwrap();
        assert!(watch.is_some() && !stop.requested());
        registers.set_len(0).unwrap();
        bar.write32(0x6018, 1);
        let patience = Instant::now() + Duration::from_secs(20);
        while !stop.requested() && Instant::now() < patience {
            thread::sleep(Duration::from_millis(1));
        }
        let told = stop.intact().unwrap_err();
        assert_eq!(told.kind(), Kind::Gone);
        assert!(told.to_string().starts_with("0000:03:00.0: the card is gone"), "{told}");
        drop(watch);
    }
}
