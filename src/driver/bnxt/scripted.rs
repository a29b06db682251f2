//! For tests: a card whose firmware answers what a test says.

use super::Generation;
use super::bell::testing::Cells;
use super::hw::Hw;
use super::hwrm::{self, Hwrm};
use crate::dma::{Addressing, Arena, Region};
use crate::error::Result;
use crate::pci::{self, Bar, Doorbell, Function, Registers};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// What firmware does with a request, header included: what it writes where the
/// answer is to be, one piece for each look at the card that follows.
pub type Script = Box<dyn FnMut(&[u8]) -> Vec<Vec<u8>> + Send>;

/// A card of nothing but firmware.
pub struct Scripted {
    this: Weak<Scripted>,
    arenas: Mutex<Vec<Arc<Arena>>>,
    inside: Mutex<Inside>,
}

struct Inside {
    window: [u8; 256],
    script: Script,
    /// Where the answer is to be, and what is still to be written there.
    answer: u64,
    pending: Vec<Vec<u8>>,
    /// Codes of what was asked, and whether it lay in memory.
    asked: Vec<(u16, bool)>,
    gone: bool,
    /// How long it was waited for the card.
    passed: Duration,
    /// What registers of BAR 0 read as; others as 0.
    registers: HashMap<u64, u64>,
}

/// BAR 0 of a card.
struct Window(Arc<Scripted>);

impl Scripted {
    /// A card with that firmware, and a way to it.
    pub fn new(script: Script) -> (Arc<Scripted>, Hwrm) {
        let inside = Inside {
            window: [0; 256],
            script,
            answer: 0,
            pending: Vec::new(),
            asked: Vec::new(),
            gone: false,
            passed: Duration::ZERO,
            registers: HashMap::new(),
        };
        let card = Arc::new_cyclic(|this| Scripted {
            this: Weak::clone(this),
            arenas: Mutex::default(),
            inside: Mutex::new(inside),
        });
        let function: Arc<dyn Function> = Arc::clone(&card) as _;
        let buffer = card.region(hwrm::BUFFER);
        // The way to the firmware holds the card weakly: the caller keeps it.
        let hwrm = Hwrm::new(&function, card.bar(0).unwrap(), buffer, Generation::P5);
        (card, hwrm)
    }

    /// The same, as the control plane holds it.
    pub fn held(generation: Generation, script: Script) -> (Arc<Scripted>, Hw) {
        let (card, _) = Scripted::new(script);
        let function: Arc<dyn Function> = Arc::clone(&card) as _;
        let hw = Hw::new(&function, generation, card.region(hwrm::BUFFER)).unwrap();
        (card, hw)
    }

    /// Memory that the card reaches.
    pub fn region(&self, len: usize) -> Region {
        let arena = Arena::new(len, Addressing::Translated).unwrap();
        self.map(&arena).unwrap();
        Region::new(&arena, 0, len)
    }

    /// What was asked so far, and whether it lay in memory.
    pub fn asked(&self) -> Vec<(u16, bool)> {
        self.inside.lock().unwrap().asked.clone()
    }

    /// Sets what a register of BAR 0 reads as.
    pub fn set(&self, offset: u64, value: u64) {
        self.inside.lock().unwrap().registers.insert(offset, value);
    }

    /// How long it was waited for.
    pub fn waited(&self) -> Duration {
        self.inside.lock().unwrap().passed
    }

    /// Pulls the card.
    pub fn pull(&self) {
        self.inside.lock().unwrap().gone = true;
    }

    fn memory(&self, iova: u64, len: usize) -> Region {
        let arenas = self.arenas.lock().unwrap();
        let inside = |arena: &&Arc<Arena>| (arena.iova(0)..arena.iova(0) + arena.len() as u64).contains(&iova);
        let arena = arenas.iter().find(inside).expect("memory that was mapped");
        Region::new(arena, (iova - arena.iova(0)) as usize, len)
    }

    fn answer(&self, inside: &mut Inside) {
        if inside.pending.is_empty() {
            return;
        }
        let piece = inside.pending.remove(0);
        if !piece.is_empty() {
            let memory = self.memory(inside.answer, piece.len());
            for (to, from) in memory.bytes().iter().zip(&piece) {
                to.store(*from, Ordering::Release);
            }
        }
    }

    fn trigger(&self) {
        let mut inside = self.inside.lock().unwrap();
        let inside = &mut *inside;
        let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let short = inside.window[2..4] == [0x21, 0x43];
        let request: Vec<u8> = if short {
            let len = u16::from_le_bytes([inside.window[6], inside.window[7]]);
            let memory = self.memory(word(&inside.window, 8), usize::from(len));
            memory.bytes().iter().map(|byte| byte.load(Ordering::Acquire)).collect()
        } else {
            inside.window[..128].to_vec()
        };
        inside.answer = word(&request, 8);
        inside.asked.push((u16::from_le_bytes([request[0], request[1]]), short));
        inside.pending = (inside.script)(&request);
        self.answer(inside);
    }
}

impl Registers for Window {
    fn read(&self, offset: u64, _size: u8) -> u64 {
        let mut inside = self.0.inside.lock().unwrap();
        self.0.answer(&mut inside);
        if inside.gone { u64::MAX } else { inside.registers.get(&offset).copied().unwrap_or(0) }
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        if offset == 0x100 {
            self.0.trigger();
        } else if offset < 0x100 {
            let at = offset as usize;
            let mut inside = self.0.inside.lock().unwrap();
            inside.window[at..at + usize::from(size)].copy_from_slice(&value.to_le_bytes()[..usize::from(size)]);
        }
    }

    fn doorbell(&self, _offset: u64) -> Option<Doorbell> {
        None
    }
}

/// BAR 2 of a card: the doorbells of a page, over and over.
struct Doorbells(Cells);

impl Registers for Doorbells {
    fn read(&self, _offset: u64, _size: u8) -> u64 {
        0
    }

    fn write(&self, _offset: u64, _size: u8, _value: u64) {}

    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        self.0.doorbell(offset % 4096)
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
        pci::Id { vendor: 0x14e4, device: 0x1750, ..pci::Id::default() }
    }

    fn bar(&self, index: u8) -> Result<Bar> {
        let registers: Arc<dyn Registers> = match index {
            0 => Arc::new(Window(self.this.upgrade().expect("a card that is held"))),
            _ => Arc::new(Doorbells(Cells::new())),
        };
        Ok(Bar::Served(registers, 0x10_0000))
    }

    fn config_read(&self, _offset: u16, _size: u8) -> Result<u32> {
        Ok(0)
    }

    fn config_write(&self, _offset: u16, _size: u8, _value: u32) -> Result<()> {
        Ok(())
    }

    fn map(&self, arena: &Arc<Arena>) -> Result<()> {
        self.arenas.lock().unwrap().push(Arc::clone(arena));
        Ok(())
    }

    fn reset(&self) -> Result<bool> {
        Ok(true)
    }

    /// Time is the test's.
    fn wait(&self, time: Duration) {
        self.inside.lock().unwrap().passed += time;
    }
}

/// An answer to `request` of `len` bytes, with `error` and a body.
pub fn answer(request: &[u8], error: u16, len: usize, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[..2].copy_from_slice(&error.to_le_bytes());
    bytes[2..4].copy_from_slice(&request[..2]);
    bytes[4..6].copy_from_slice(&request[4..6]);
    bytes[6..8].copy_from_slice(&(len as u16).to_le_bytes());
    bytes[8..8 + body.len()].copy_from_slice(body);
    bytes[len - 1] = 1;
    bytes
}

mod tests {
    use super::*;
    use crate::driver::bnxt::cmd::{func_backing_store_cfg, func_cfg, func_qcaps, func_reset, ring_alloc, ver_get};
    use crate::driver::bnxt::hwrm::Manner;
    use crate::driver::mailbox::{Failure, Request};
    use crate::error::Kind;

    const SOON: Duration = Duration::from_millis(20);

    fn alloc() -> Request {
        Request::new(ring_alloc::COMMAND)
    }

    #[test]
    fn an_answer_counts_when_its_last_byte_is_there() {
        let (_card, mut hwrm) = Scripted::new(Box::new(|request| {
            let whole = answer(request, 0, 16, &[7, 0]);
            let mut begun = whole.clone();
            begun[15] = 0;
            vec![Vec::new(), begun, whole]
        }));
        let reply = hwrm.ask(&alloc()).unwrap();
        assert_eq!(reply.get(ring_alloc::output::RING_ID), 7);
    }

    #[test]
    fn a_late_answer_to_another_question_is_not_taken_for_this_one() {
        let (_card, mut hwrm) = Scripted::new(Box::new(|request| {
            let mut late = answer(request, 0, 16, &[66, 0]);
            late[4] = late[4].wrapping_sub(1);
            let mut other = answer(request, 0, 16, &[67, 0]);
            other[2] = 0x51;
            vec![late, other, answer(request, 0, 16, &[7, 0])]
        }));
        for _ in 0..5 {
            assert_eq!(hwrm.ask(&alloc()).unwrap().get(ring_alloc::output::RING_ID), 7);
        }
    }

    #[test]
    fn a_busy_firmware_is_asked_again_and_one_that_stays_busy_is_not_for_ever() {
        let mut times = 0;
        let (card, mut hwrm) = Scripted::new(Box::new(move |request| {
            times += 1;
            let code = if times > 3 && times < 6 { 0 } else { 0x10 };
            vec![answer(request, code, 16, &[])]
        }));
        hwrm.ask(&alloc()).unwrap();
        assert_eq!(card.asked().len(), 4);
        hwrm.ask(&alloc()).unwrap();
        assert!(matches!(hwrm.ask(&alloc()), Err(Failure::Refused(0x10))));
        let error = hwrm.refused(ring_alloc::COMMAND, 0x10);
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.to_string().starts_with("a card: its firmware refused RING_ALLOC (0x50) with BUSY (0x10)"));
    }

    #[test]
    fn after_a_silence_nothing_is_asked_but_who_and_forget() {
        let (card, mut hwrm) = Scripted::new(Box::new(|request| match request[0] {
            0x50 => Vec::new(),
            _ => vec![answer(request, 0, 176, &[])],
        }));
        let Err(Failure::Broken(error)) = hwrm.ask_once(&alloc(), SOON) else { panic!("an answer") };
        assert_eq!(error.kind(), Kind::Timeout);
        assert!(error.to_string().starts_with("a card: its firmware did not answer RING_ALLOC (0x50) in "), "{error}");
        let asked = card.asked().len();
        let again = hwrm.ask(&Request::new(func_qcaps::COMMAND));
        assert!(matches!(again, Err(Failure::Broken(error)) if error.kind() == Kind::Timeout));
        assert_eq!(card.asked().len(), asked, "it was not asked");
        assert!(hwrm.ask(&Request::new(ver_get::COMMAND)).is_ok());
        assert!(hwrm.ask(&Request::new(func_reset::COMMAND)).is_ok());
        assert!(hwrm.check().is_err(), "what was lost stays lost");
        hwrm.begin();
        assert!(hwrm.ask(&Request::new(func_qcaps::COMMAND)).is_ok());
    }

    #[test]
    fn a_card_that_was_pulled_is_gone_at_once() {
        let (card, mut hwrm) = Scripted::new(Box::new(|_| Vec::new()));
        card.pull();
        let outcome = hwrm.ask_once(&alloc(), Duration::from_secs(60));
        assert!(matches!(outcome, Err(Failure::Broken(error)) if error.kind() == Kind::Gone));
    }

    #[test]
    fn requests_go_the_way_that_the_firmware_wants_and_no_further_than_it_reads() {
        let (card, mut hwrm) = Scripted::new(Box::new(|request| {
            assert!(request.len() <= 256);
            vec![answer(request, 0, 176, &[])]
        }));
        hwrm.ask(&alloc()).unwrap();
        hwrm.manner = Manner { longest: 256, ..Manner::FIRST };
        hwrm.ask(&alloc()).unwrap();
        let store = Request::new(func_backing_store_cfg::COMMAND);
        hwrm.ask(&store).unwrap();
        hwrm.manner.memory = true;
        hwrm.ask(&alloc()).unwrap();
        hwrm.ask(&Request::new(ver_get::COMMAND)).unwrap();
        assert_eq!(card.asked(), [(0x50, false), (0x50, false), (0x193, true), (0x50, true), (0, false)]);
        let full = store.with(func_backing_store_cfg::input::TQM_RING8_NUM_ENTRIES, 1);
        let refused = hwrm.ask(&full);
        assert!(matches!(refused, Err(Failure::Broken(error)) if error.kind() == Kind::Unsupported));
        hwrm.manner = Manner { longest: 0, ..Manner::FIRST };
        assert!(hwrm.ask(&Request::new(func_cfg::COMMAND)).is_ok(), "fits the window");
    }

    #[test]
    fn a_short_answer_is_one_of_old_firmware_and_an_absurd_one_is_none() {
        let (_card, mut hwrm) = Scripted::new(Box::new(|request| match request[0] {
            0x15 => vec![answer(request, 0, 16, &[])],
            _ => {
                let mut absurd = answer(request, 0, 16, &[]);
                absurd[6..8].copy_from_slice(&[0xff, 0xff]);
                vec![absurd]
            }
        }));
        let short = hwrm.ask(&Request::new(func_qcaps::COMMAND));
        assert!(matches!(short, Err(Failure::Broken(error)) if error.kind() == Kind::Unsupported));
        let absurd = hwrm.ask_once(&alloc(), SOON);
        assert!(matches!(absurd, Err(Failure::Broken(error)) if error.kind() == Kind::Timeout));
    }
}
