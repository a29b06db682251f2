//! For tests: a card whose firmware answers what a test says.

use crate::dma::{Arena, Region};
use crate::error::Result;
use crate::pci::{self, Bar, Doorbell, Function, Page, Registers};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// What firmware does with a request.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The answer, which is filled up with zeros.
    pub output: Vec<u8>,
    /// Delivery status; then there is no answer.
    pub delivery: u8,
    /// The entry is not given back at all.
    pub silent: bool,
    /// Events that come before.
    pub events: Vec<[u8; 64]>,
    /// The answer comes only once another request says `release`.
    pub held: bool,
    /// What was held is answered now.
    pub release: bool,
}

/// What firmware does with requests, headers included.
pub type Script = Box<dyn FnMut(&[u8]) -> Said + Send>;

/// A request as it was found.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which entry it came in.
    pub slot: usize,
    /// The entry, as it was posted.
    pub entry: [u32; 16],
    /// All of it.
    pub input: Vec<u8>,
}

impl Asked {
    /// Number of the command, and its modifier.
    pub fn code(&self) -> (u16, u16) {
        let at = |n: usize| u16::from_be_bytes([self.input[n], self.input[n + 1]]);
        (at(0), at(6))
    }
}

/// A card of nothing but firmware.
pub struct Scripted {
    this: Weak<Scripted>,
    arenas: Mutex<Vec<Arc<Arena>>>,
    inside: Mutex<Inside>,
    bells: Page,
}

struct Inside {
    script: Option<Script>,
    registers: HashMap<u64, u32>,
    command: u32,
    count: u32,
    asked: Vec<Asked>,
    held: Vec<(u64, Vec<u8>)>,
    /// Pages of the first event queue, and events in it so far.
    events: Option<(Vec<u64>, usize)>,
    resets: usize,
    /// How long it was waited for the card.
    passed: Duration,
}

/// BAR 0 of a card.
struct Window(Arc<Scripted>);

impl Scripted {
    /// A card with that firmware.
    pub fn new(script: Script) -> (Arc<Scripted>, Arc<dyn Function>) {
        let registers = [(0x00, 0x000c_000e), (0x04, 0x0005_04c4), (0x14, 0x56), (0x230, 0x0e_0000)];
        let inside = Inside {
            script: Some(script),
            registers: registers.into(),
            command: 0,
            count: 0,
            asked: Vec::new(),
            held: Vec::new(),
            events: None,
            resets: 0,
            passed: Duration::ZERO,
        };
        let card = Arc::new_cyclic(|this| Scripted {
            this: Weak::clone(this),
            arenas: Mutex::default(),
            inside: Mutex::new(inside),
            bells: Page::row(1)[0].clone(),
        });
        let function: Arc<dyn Function> = Arc::clone(&card) as _;
        (card, function)
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.inside.lock().unwrap().asked.clone()
    }

    /// Requests of a command.
    pub fn asked_for(&self, code: u16) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.code().0 == code).collect()
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        self.inside.lock().unwrap().asked.clear();
    }

    /// Has a register hold `value`.
    pub fn hold(&self, offset: u64, value: u32) {
        self.inside.lock().unwrap().registers.insert(offset, value);
    }

    /// How often the function was reset, and how long it was waited for.
    pub fn waited(&self) -> (usize, Duration) {
        let inside = self.inside.lock().unwrap();
        (inside.resets, inside.passed)
    }

    /// Puts an event into the first event queue.
    pub fn event(&self, event: [u8; 64]) {
        self.put_event(&mut self.inside.lock().unwrap(), event);
    }

    fn memory(&self, iova: u64, len: usize) -> Region {
        let arenas = self.arenas.lock().unwrap();
        let inside = |arena: &&Arc<Arena>| (arena.iova(0)..arena.iova(0) + arena.len() as u64).contains(&iova);
        let arena = arenas.iter().find(inside).expect("memory that was mapped");
        Region::new(arena, (iova - arena.iova(0)) as usize, len)
    }

    fn read(&self, iova: u64, len: usize) -> Vec<u8> {
        self.memory(iova, len).bytes().iter().map(|byte| byte.load(Ordering::Acquire)).collect()
    }

    fn write(&self, iova: u64, bytes: &[u8]) {
        for (to, from) in self.memory(iova, bytes.len().next_multiple_of(8)).bytes().iter().zip(bytes) {
            to.store(*from, Ordering::Release);
        }
    }

    fn put_event(&self, inside: &mut Inside, mut event: [u8; 64]) {
        let (pages, count) = inside.events.as_mut().expect("an event queue");
        let entries = pages.len() * 4096 / 64;
        let at = *count % entries * 64;
        event[63] = (*count / entries % 2) as u8;
        *count += 1;
        let iova = pages[at / 4096] + (at % 4096) as u64;
        self.write(iova, &event);
    }

    /// Addresses of a chain of mailboxes for `len` bytes, which must be as it should.
    fn chain(&self, first: u64, len: usize, token: u8) -> Vec<u64> {
        let (mut next, mut chain) = (first, Vec::new());
        while chain.len() * 512 < len {
            assert!(next != 0 && next.is_multiple_of(1024), "mailbox {} at {next:#x}", chain.len());
            let mailbox = self.read(next, 0x240);
            let number = u32::from_be_bytes(mailbox[0x238..0x23c].try_into().unwrap());
            assert_eq!((number as usize, mailbox[0x23d]), (chain.len(), token));
            assert_eq!(mailbox.iter().fold(0, |sum, byte| sum ^ byte), 0xff);
            chain.push(next);
            next = u64::from_be_bytes(mailbox[0x230..0x238].try_into().unwrap());
        }
        assert!(len == 0 || next == 0, "the chain ends");
        chain
    }

    fn serve(&self, slot: usize) {
        let (place, bus_master, script) = {
            let mut inside = self.inside.lock().unwrap();
            let word = |offset| u64::from(inside.registers.get(&offset).copied().unwrap_or(0));
            (word(0x10) << 32 | word(0x14) & !0xfff, inside.command & 4 != 0, inside.script.take())
        };
        let mut script = script.expect("one command at a time");
        if bus_master {
            self.run(place + slot as u64 * 64, slot, &mut script);
        }
        self.inside.lock().unwrap().script = Some(script);
    }

    fn run(&self, at: u64, slot: usize, script: &mut Script) {
        let bytes = self.read(at, 64);
        assert_eq!(bytes.iter().fold(0, |sum, byte| sum ^ byte), 0xff, "the signature");
        let entry: [u32; 16] = std::array::from_fn(|n| u32::from_be_bytes(bytes[4 * n..4 * n + 4].try_into().unwrap()));
        assert_eq!((entry[0], entry[15] & 0xff), (7 << 24, 1));
        assert!(entry[4] >> 16 != 0 && bytes[0x20..0x30].iter().all(|byte| *byte == 0), "the answer is cleared");
        let (len, token) = (entry[1] as usize, (entry[15] >> 24) as u8);
        let pointer = |n: usize| u64::from(entry[n]) << 32 | u64::from(entry[n + 1]);
        let mut input = bytes[0x10..0x20].to_vec();
        for mailbox in self.chain(pointer(2), len.saturating_sub(16), token) {
            input.extend(self.read(mailbox, 512));
        }
        input.truncate(len);
        if input[..2] == [0x03, 0x01] {
            let mut inside = self.inside.lock().unwrap();
            let pages = input[0x110..].as_chunks::<8>().0.iter().map(|page| u64::from_be_bytes(*page)).collect();
            inside.events.get_or_insert((pages, 0));
        }
        let said = script(&input);
        let mut inside = self.inside.lock().unwrap();
        inside.asked.push(Asked { slot, entry, input });
        for event in &said.events {
            self.put_event(&mut inside, *event);
        }
        if said.release {
            for (at, output) in std::mem::take(&mut inside.held) {
                self.answer(at, &output, 0);
            }
        }
        if said.held {
            inside.held.push((at, said.output));
        } else if !said.silent {
            self.answer(at, &said.output, said.delivery);
        }
    }

    fn answer(&self, at: u64, output: &[u8], delivery: u8) {
        let entry = self.read(at, 64);
        let word = |n: usize| u32::from_be_bytes(entry[n..n + 4].try_into().unwrap());
        let len = word(0x38) as usize;
        let mut output = output.to_vec();
        output.resize(len.max(16), 0);
        if delivery == 0 {
            let pointer = u64::from(word(0x30)) << 32 | u64::from(word(0x34));
            let chain = self.chain(pointer, len.saturating_sub(16), entry[0x3c]);
            for (mailbox, part) in chain.into_iter().zip(output[16..].chunks(512)) {
                self.write(mailbox, part);
            }
            self.write(at + 0x20, &output[..16]);
        }
        let mut last = entry[0x38..].to_vec();
        last[7] = delivery << 1;
        self.write(at + 0x38, &last);
    }
}

impl Registers for Window {
    fn read(&self, offset: u64, size: u8) -> u64 {
        assert_eq!(size, 4);
        let mut inside = self.0.inside.lock().unwrap();
        let inside = &mut *inside;
        let held = inside.registers.get(&offset).copied();
        let value = held.unwrap_or_else(|| {
            inside.count += 1;
            if offset == 0x1010 { inside.count } else { 0 }
        });
        u64::from(value.to_be())
    }

    fn write(&self, offset: u64, _size: u8, value: u64) {
        let value = u32::from_be(value as u32);
        match offset {
            0x10 => self.0.hold(offset, value),
            0x14 => {
                assert_eq!(value & 0x700, 0, "nobody asks for a reset of the chip");
                let kept = self.0.inside.lock().unwrap().registers[&offset] & 0xfff;
                self.0.hold(offset, value & !0xfff | kept);
            }
            0x18 => (0..32).filter(|slot| value >> slot & 1 != 0).for_each(|slot| self.0.serve(slot)),
            _ => panic!("a write to {offset:#x}"),
        }
    }

    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        Some(Doorbell::in_page(&self.0.bells, offset as usize % 4096 / 4))
    }
}

impl Function for Scripted {
    fn name(&self) -> &str {
        "a card"
    }

    fn kind(&self) -> pci::Kind {
        pci::Kind::Emulated
    }

    fn id(&self) -> pci::Id {
        pci::Id { vendor: 0x15b3, device: 0x1015, ..pci::Id::default() }
    }

    fn bar(&self, _index: u8) -> Result<Bar> {
        Ok(Bar::Served(Arc::new(Window(self.this.upgrade().expect("a card that is held"))), 32 << 20))
    }

    fn config_read(&self, offset: u16, _size: u8) -> Result<u32> {
        let inside = self.inside.lock().unwrap();
        Ok(match offset {
            0x04 => inside.command,
            0x0a => inside.registers.get(&0x0a).copied().unwrap_or(0x0200),
            _ => 0,
        })
    }

    fn config_write(&self, offset: u16, _size: u8, value: u32) -> Result<()> {
        assert_eq!(offset, 0x04);
        self.inside.lock().unwrap().command = value;
        Ok(())
    }

    fn map(&self, arena: &Arc<Arena>) -> Result<()> {
        self.arenas.lock().unwrap().push(Arc::clone(arena));
        Ok(())
    }

    fn irq_vectors(&self) -> u16 {
        8
    }

    fn set_irqs(&self, _fds: &[RawFd]) -> Result<()> {
        Ok(())
    }

    fn reset(&self) -> Result<bool> {
        let mut inside = self.inside.lock().unwrap();
        inside.resets += 1;
        inside.held.clear();
        inside.events = None;
        Ok(true)
    }

    /// Time is the test's.
    fn wait(&self, time: Duration) {
        self.inside.lock().unwrap().passed += time;
    }
}

/// An answer with words at offsets.
pub fn answer(words: &[(usize, u32)]) -> Said {
    let mut output = vec![0; words.iter().map(|(at, _)| at + 4).max().unwrap_or(16)];
    for (at, word) in words {
        output[*at..at + 4].copy_from_slice(&word.to_be_bytes());
    }
    Said { output, ..Said::default() }
}

/// A refusal.
pub fn refused(status: u8, syndrome: u32) -> Said {
    answer(&[(0, u32::from(status) << 24), (4, syndrome)])
}
