//! A card that receives, what it receives from, and the loop that takes packets off it.

use super::account::Account;
use super::disk::Disk;
use super::{Card, Scenario, Trouble, Wire};
use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{self, Anomalies, Config, Port, Stats};
use bmnic::emu::wire::{Fate, Note, Source, SourceSpec, Wire as _};
use bmnic::emu::{Drive, Engine, Spec, Tap};
use bmnic::packet::Filter;
use bmnic::pci::Function;
use std::sync::Arc;

/// Packets that the wire carries between two looks at the card.
const TURN: u64 = 64;
/// What one of them takes on the wire, in bits: 60 bytes with all that is around them.
const BITS: u64 = 84 * 8;
/// Turns without a packet after which all have come: more than what is late takes.
const QUIET: u32 = 2000;
/// Turns from one trouble to the next; the first is early.
const EVERY: u64 = 1500;
const FIRST: u64 = 100;
/// Turns for which nobody looks, more than a packet buffer holds, and for which the disk
/// stands still, more than its recorder and the pipe hold.
const AWAY: u64 = 300;
const STILL: u64 = 1000;
/// Where a generated frame has its number.
const NUMBER: std::ops::Range<usize> = 46..54;
/// A quarter of the flows.
const LEAVES_OUT: &str = "not src host 198.18.0.1";
const FLOWS: u32 = 4;

/// A card with its driver.
struct End {
    function: Arc<dyn Function>,
    tap: Tap,
    pool: &'static Pool,
    port: Option<Port>,
}

pub struct Rig {
    engine: Engine,
    scenario: Scenario,
    /// Time of a turn.
    turn: u64,
    receiver: End,
    /// The card that sends, and what makes its frames.
    sender: Option<(End, Source, Batch<'static>)>,
    filter: Filter,
    disk: Disk,
    /// What was counted by those that are not there any more.
    gone: Stats,
    turns: u64,
    /// The number that comes next, if nothing is lost.
    next: u64,
    account: Account,
    /// What was left in rings when their card was reset.
    left: u64,
}

impl End {
    /// A card that is plugged in, without a driver.
    fn new(engine: &Engine, spec: &str) -> Self {
        let spec: Spec = spec.parse().unwrap();
        let (function, tap) = engine.open(&spec).unwrap();
        // It lives as long as the process: a batch of it stays with its rig.
        let pool: &'static Pool = Box::leak(Box::new(Pool::new(2048, Addressing::Translated).unwrap()));
        function.map(pool.arena()).unwrap();
        End { function, tap, pool, port: None }
    }

    fn open(&mut self) {
        let mut port = driver::open(Arc::clone(&self.function), &Config::default()).unwrap();
        port.rx[0].fill(self.pool).unwrap();
        self.port = Some(port);
    }

    fn port(&mut self) -> &mut Port {
        self.port.as_mut().unwrap()
    }

    fn stats(&mut self) -> Stats {
        self.port().nic.stats().unwrap()
    }

    fn close(&mut self) {
        if let Some(port) = self.port.take() {
            port.close([self.pool]);
        }
    }
}

impl Rig {
    pub fn new(card: &Card, scenario: &Scenario) -> Self {
        let engine = Engine::new(Drive::Manual);
        let (name, bits) = (card.name, if card.speed == 0 { 10_000_000_000 } else { card.speed });
        let wire = match scenario.wire {
            Wire::Pair => "peer".to_string(),
            Wire::Source => format!("source:flows={FLOWS}"),
        };
        let end = |options: &str| End::new(&engine, &format!("{name},strict,link=20us,wire={wire}{options}"));
        let receiver = end(scenario.receiver);
        let sender = (scenario.wire == Wire::Pair).then(|| end(scenario.sender)).map(|end| {
            let batch = Batch::new(end.pool);
            (end, Source::new(&SourceSpec { flows: FLOWS, ..SourceSpec::default() }), batch)
        });
        let mut rig = Rig {
            engine,
            scenario: *scenario,
            turn: TURN * BITS * 1_000_000_000 / (bits / 1000),
            receiver,
            sender,
            filter: Filter::parse(LEAVES_OUT).unwrap(),
            disk: Disk::new(),
            gone: Stats::default(),
            turns: 0,
            next: 0,
            account: Account::default(),
            left: 0,
        };
        rig.receiver.open();
        if let Some((sender, ..)) = &mut rig.sender {
            sender.open();
        }
        rig.await_links();
        rig
    }

    fn await_links(&mut self) {
        for _ in 0..100_000 {
            let sends = self.sender.as_mut().is_none_or(|(end, ..)| end.port().nic.link().unwrap().up);
            if sends && self.receiver.port().nic.link().unwrap().up {
                return;
            }
            self.pass();
        }
        panic!("no link: {:?}", self.receiver.tap.violations());
    }

    /// Packets that came so far.
    pub fn came(&self) -> u64 {
        self.account.came
    }

    /// Lets so many packets come, and all of them get where they are bound for.
    pub fn play(&mut self, packets: u64) {
        let until = self.account.came + packets;
        while self.account.came < until {
            self.turns += 1;
            self.trouble();
            self.send(until);
            self.pass();
            self.receive();
        }
        self.disk.stall(false);
        if self.sender.is_none() {
            // A generator never ends: time stands still until all is taken that came.
            while self.receive() > 0 {}
            return self.send(until);
        }
        let mut quiet = 0;
        while quiet < QUIET {
            self.send(until);
            self.pass();
            quiet = if self.receive() == 0 { quiet + 1 } else { 0 };
        }
    }

    /// Time passes on the wire.
    fn pass(&self) {
        self.engine.advance(self.turn);
        self.engine.step();
    }

    /// What this scenario has for this turn.
    fn trouble(&mut self) {
        let (begins, ends) = (self.turns % EVERY == FIRST, self.turns % EVERY == FIRST + STILL);
        match self.scenario.trouble {
            Trouble::Nothing => {}
            Trouble::Stalls => {
                if begins || ends {
                    self.disk.stall(begins);
                }
            }
            Trouble::Pauses if begins => (0..AWAY).for_each(|_| self.pass()),
            Trouble::Resets if begins => self.reset(),
            Trouble::Pauses | Trouble::Resets => {}
        }
    }

    /// The driver goes while packets are in its ring, and another comes.
    fn reset(&mut self) {
        (0..3).for_each(|_| self.pass());
        let stats = self.receiver.stats();
        add(&mut self.gone, &stats);
        let in_memory = self.receiver.tap.wire().rx_frames;
        let left = in_memory - self.account.received - self.left - self.gone.anomalies.total();
        assert!(left <= u64::from(Config::default().rx_ring), "{left} packets in a ring");
        self.left += left;
        self.receiver.close();
        self.receiver.open();
        self.await_links();
    }

    /// Hands over what the card that sends takes, until so many have come; of a generator
    /// it is counted what it made.
    fn send(&mut self, until: u64) {
        let Some((end, source, batch)) = &mut self.sender else {
            let passed = self.receiver.tap.wire();
            self.account.came = passed.rx_frames + passed.drops + passed.unwanted;
            return;
        };
        while batch.room() > 0 && self.account.came + (batch.len() as u64) < until {
            let Some((frame, _)) = source.peek(u64::MAX) else { break };
            if !batch.push_frame(frame) {
                break;
            }
            source.advance();
        }
        let Port { tx, .. } = end.port.as_mut().unwrap();
        self.account.came += tx[0].send(batch) as u64;
    }

    /// Takes packets off the ring; how many.
    fn receive(&mut self) -> u64 {
        let before = self.account.received;
        let mut batch = Batch::new(self.receiver.pool);
        let ordered = self.is_ordered();
        while self.receiver.port().rx[0].recv(&mut batch) > 0 {
            let Account { received, again, filtered, .. } = &mut self.account;
            for frame in batch.frames() {
                *received += 1;
                let number = u64::from_be_bytes(frame[NUMBER].try_into().unwrap());
                *again += u64::from(ordered && number < self.next);
                self.next = number + 1;
                if !self.filter.matches(frame, frame.len()) {
                    *filtered += 1;
                    continue;
                }
                // A disk that does not stand still is waited for, however slow the machine.
                while self.scenario.trouble != Trouble::Stalls && self.disk.recorder.is_full() {
                    std::thread::yield_now();
                }
                self.disk.recorder.record(self.engine.now() / 1000, frame);
            }
            batch.clear();
        }
        self.account.received - before
    }

    /// Whether a packet has come at most once, and in its turn.
    fn is_ordered(&self) -> bool {
        !self.scenario.receiver.contains("dup=")
    }

    /// What was counted up to now, everywhere.
    pub fn account(&mut self) -> Account {
        let kept = self.disk.settled();
        let mut notes = self.receiver.tap.wire_report();
        notes.extend(self.sender.iter().flat_map(|(end, ..)| end.tap.wire_report()));
        let mut stats = self.receiver.stats();
        add(&mut stats, &self.gone);
        let wire = self.receiver.tap.wire();
        let Anomalies { bad_length, bad_index, bad_chain, frame_error, queue_reset, unmapped } = stats.anomalies;
        let mut before = vec![
            ("missed", wire.drops),
            ("unwanted", wire.unwanted),
            ("left_at_reset", self.left),
            ("bad_length", bad_length),
            ("bad_index", bad_index),
            ("bad_chain", bad_chain),
            ("frame_error", frame_error),
            ("queue_reset", queue_reset),
            ("unmapped", unmapped),
        ];
        before.extend(notes.iter().filter(|note| is_lost(note)).map(|note| (note.key, note.frames)));
        let doubled = notes.iter().filter(|note| note.key.ends_with("_duplicated")).map(|note| note.frames).sum();
        let recorder = &self.disk.recorder;
        let (taken, slow) = (recorder.taken(), recorder.dropped());
        let said = stats.rx_missed.map(|_| stats.rx_lost());
        self.account =
            Account { doubled, taken, kept, before, behind: vec![("disk_slow", slow)], said, ..self.account.clone() };
        self.account.clone()
    }

    /// Closes all; the account once the file has ended.
    pub fn end(mut self) -> Account {
        let mut account = self.account();
        self.receiver.close();
        if let Some((sender, _, batch)) = &mut self.sender {
            batch.clear();
            sender.close();
        }
        let ends = [Some(&self.receiver), self.sender.as_ref().map(|(end, ..)| end)];
        for end in ends.into_iter().flatten() {
            assert_eq!(end.tap.violations(), [], "the driver did what the datasheet forbids");
            assert_eq!(end.pool.available(), end.pool.capacity(), "buffers were lost");
        }
        let (written, kept) = self.disk.end();
        assert_eq!((written.records, written.lost), (kept, 0), "{written:?}");
        account.kept = kept;
        account
    }
}

/// Whether the packets of a note never reach the ring, and nobody else counts them.
fn is_lost(note: &Note) -> bool {
    match note.fate {
        Fate::LostIn | Fate::LostOut | Fate::MeantIn | Fate::MeantOut => true,
        Fate::Faulted => note.key.starts_with("fault_lose"),
        Fate::Passed | Fate::LeftOut => false,
    }
}

/// Adds what a driver that is gone has counted.
fn add(stats: &mut Stats, gone: &Stats) {
    stats.rx_missed = stats.rx_missed.map(|missed| missed + gone.rx_missed.unwrap_or(0)).or(gone.rx_missed);
    stats.rx_overflow += gone.rx_overflow;
    stats.rx_errors += gone.rx_errors;
    stats.rx_oversize += gone.rx_oversize;
    stats.anomalies.add(&gone.anomalies);
}
