//! Tests: the driver against what a real card was asked and answered, and against what
//! firmware is known to refuse, delay or want.

use super::scripted::{Asked, Said, Scripted, answer, refused};
use super::{RxQueue, TxQueue};
use crate::driver::config::Config;
use crate::driver::ops::Opened;
use crate::error::Result;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

mod hostile;
mod queues;
mod refusals;
mod sequence;

/// A request to a real card, and its answer.
#[derive(Clone, Debug, Default)]
struct Recorded {
    code: (u16, u16),
    /// Words 0 to 3 and 12 to 15 of the entry.
    entry: Vec<u32>,
    input: BTreeMap<usize, u32>,
    output: BTreeMap<usize, u32>,
}

/// All requests of the recording.
fn recording() -> Vec<Recorded> {
    let text = include_str!("../../../tests/recordings/connectx-4-lx.txt");
    let mut all: Vec<Recorded> = Vec::new();
    let mut output = false;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words =
            |text: &str| text.split_whitespace().filter_map(|word| u32::from_str_radix(word, 16).ok()).collect();
        if line.starts_with("cmd ") {
            all.push(Recorded::default());
            continue;
        }
        let Some(last) = all.last_mut() else { continue };
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("entry.in ") {
            last.entry = words(rest);
        } else if line.starts_with("in (") || line == "out" {
            output = line == "out";
        } else if let Some((at, rest)) = line.split_once(": ")
            && let Ok(at) = usize::from_str_radix(at, 16)
        {
            let row: Vec<u32> = words(rest);
            let side = if output { &mut last.output } else { &mut last.input };
            side.extend(row.into_iter().enumerate().map(|(n, word)| (at + 4 * n, word)));
        }
    }
    for recorded in &mut all {
        let word = |at| recorded.input.get(&at).copied().unwrap_or(0);
        recorded.code = ((word(0) >> 16) as u16, word(4) as u16);
    }
    all
}

/// Firmware that answers as the recorded card did, and as one that grants everything
/// where the recording ends.
#[derive(Default)]
struct Firmware {
    answers: HashMap<(u16, u16), Vec<Said>>,
    /// What it refuses, by command.
    refuses: HashMap<u16, (u8, u32)>,
    /// What it says otherwise, by command and modifier; each time the next, the last for ever.
    says: HashMap<(u16, u16), Vec<Said>>,
    pages: HashSet<u64>,
    /// Most pages that it returns at once.
    returns: Option<usize>,
    /// A page that it returns and never was given.
    strange: Option<u64>,
    number: u32,
}

impl Firmware {
    fn say(&mut self, input: &[u8]) -> Said {
        let at = |n: usize| u16::from_be_bytes([input[n], input[n + 1]]);
        let code = (at(0), at(6));
        if let Some((status, syndrome)) = self.refuses.get(&code.0) {
            return refused(*status, *syndrome);
        }
        if let Some(said) = self.says.get_mut(&code) {
            let next = if said.len() > 1 { said.remove(0) } else { said[0].clone() };
            return next;
        }
        match code {
            (0x108, 1) => {
                for page in input[16..].as_chunks::<8>().0 {
                    let page = u64::from_be_bytes(*page);
                    assert!(page != 0 && page % 4096 == 0 && self.pages.insert(page), "{page:#x}");
                }
                Said { release: true, ..Said::default() }
            }
            (0x108, 2) => {
                let count = usize::from(at(0x0e)).min(self.returns.unwrap_or(usize::MAX));
                let pages: Vec<u64> = self.pages.iter().copied().take(count).collect();
                self.pages.retain(|page| !pages.contains(page));
                let pages: Vec<u64> = pages.into_iter().chain(self.strange).collect();
                let mut said = answer(&[(8, pages.len() as u32), (0xc, 0)]);
                said.output.extend(pages.iter().flat_map(|page| page.to_be_bytes()));
                said.release = true;
                said
            }
            (0x108, _) => Said { release: true, ..Said::default() },
            _ => match self.answers.get_mut(&code) {
                Some(answers) => {
                    if answers.len() > 1 {
                        answers.remove(0)
                    } else {
                        answers[0].clone()
                    }
                }
                None => {
                    self.number += 1;
                    // Numbers of objects have 24 bits, those of event queues and counters 8.
                    answer(&[(8, self.number & 0xff)])
                }
            },
        }
    }
}

/// A card of the recorded kind, and what its firmware is set to.
struct Rig {
    card: Arc<Scripted>,
    firmware: Arc<Mutex<Firmware>>,
}

impl Rig {
    fn new() -> Rig {
        let mut firmware = Firmware { number: 0x20, ..Firmware::default() };
        for recorded in recording() {
            let words: Vec<_> = recorded.output.into_iter().collect();
            // Numbers of event queues are made up: there are more in the recording than here.
            if recorded.code.0 != 0x108 && recorded.code.0 != 0x301 && recorded.code.0 != 0x802 {
                firmware.answers.entry(recorded.code).or_default().push(answer(&words));
            }
        }
        firmware.says.insert((0x107, 3), vec![answer(&[(0xc, 0)])]);
        // L2 headers inline, an address, and no limit of frames.
        let vport = answer(&[(0x10, 1 << 24), (0x104, 0x0002), (0x108, 0xc903_0405)]);
        firmware.says.insert((0x754, 0), vec![vport]);
        firmware.says.insert((0x805, 1), vec![answer(&[(0x10, 0)])]);
        let firmware = Arc::new(Mutex::new(firmware));
        let script = Arc::clone(&firmware);
        let (card, _) = Scripted::new(Box::new(move |input| script.lock().unwrap().say(input)));
        Rig { card, firmware }
    }

    fn set(&self, change: impl FnOnce(&mut Firmware)) -> &Rig {
        change(&mut self.firmware.lock().unwrap());
        self
    }

    fn refuse(&self, code: u16, status: u8, syndrome: u32) -> &Rig {
        self.set(|firmware| firmware.refuses.extend([(code, (status, syndrome))]))
    }

    fn says(&self, code: (u16, u16), said: Vec<Said>) -> &Rig {
        self.set(|firmware| firmware.says.extend([(code, said)]))
    }

    fn open(&self, config: &Config) -> Result<Opened<RxQueue, TxQueue>> {
        super::open(Arc::clone(&self.card) as _, config)
    }

    /// Opens it, as it must be possible.
    fn opened(&self) -> Opened<RxQueue, TxQueue> {
        self.open(&Config::default()).unwrap()
    }

    /// Why it cannot be opened.
    fn fails(&self) -> String {
        match self.open(&Config::default()) {
            Ok(_) => panic!("it was opened"),
            Err(error) => error.to_string(),
        }
    }

    fn codes(&self) -> Vec<(u16, u16)> {
        self.card.asked().iter().map(Asked::code).collect()
    }
}

/// A word of a request.
fn word(asked: &Asked, at: usize) -> u32 {
    asked.input.get(at..at + 4).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
}
