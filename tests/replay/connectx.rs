//! The recording of a real ConnectX-4 Lx, which was made by another program, as a trace.
//!
//! Its commands lie where that host had them; mailboxes beyond the first, which it does not
//! place, and pages, of which it shows the first only, are given places of their own.

use bmnic::dma::Iova;
use bmnic::emu::replay::replay;
use bmnic::pci::Id;
use bmnic::pci::trace::{Access, Bytes, Config, Event, Recording};

const RECORDING: &str = include_str!("../recordings/connectx-4-lx.txt");

/// Bytes of a request or an answer in the entry, and in a mailbox.
const INLINE: usize = 16;
const BLOCK: usize = 512;
/// Where the entries, further mailboxes and pages are.
const QUEUE: Iova = 0x10_0000_0000;
const BOXES: Iova = 0x11_0000_0000;
const PAGES: Iova = 0x12_0000_0000;
const MANAGE_PAGES: u16 = 0x108;
const CREATE_EQ: u16 = 0x301;

#[derive(Default)]
struct Recorded {
    name: String,
    sent: Vec<u32>,
    back: Vec<u32>,
    input: Vec<u8>,
    output: Vec<u8>,
}

fn words(text: &str) -> Vec<u32> {
    text.split_whitespace().filter(|word| *word != "|").map(|word| u32::from_str_radix(word, 16).unwrap()).collect()
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn commands() -> Vec<Recorded> {
    let mut commands: Vec<Recorded> = Vec::new();
    let mut to_output = false;
    for line in RECORDING.lines().filter(|line| !line.starts_with('#')) {
        let (key, rest) = line.trim_start().split_once(' ').unwrap_or((line.trim_start(), ""));
        if key == "cmd" {
            let name = rest.splitn(4, ' ').nth(3).unwrap().replace(' ', "_");
            commands.push(Recorded { name, ..Recorded::default() });
            continue;
        }
        let command = commands.last_mut().unwrap();
        match key {
            "entry.in" => {
                command.sent = words(rest);
                command.input = vec![0; command.sent[1].max(16) as usize];
                command.output = vec![0; command.sent[6].max(16) as usize];
            }
            "entry.out" => command.back = words(rest),
            "in" | "out" => to_output = key == "out",
            "(all" => {}
            at => {
                let at = usize::from_str_radix(at.trim_end_matches(':'), 16).unwrap();
                let to = if to_output { &mut command.output } else { &mut command.input };
                let row = bytes(&words(rest));
                let len = row.len().min(to.len() - at);
                to[at..at + len].copy_from_slice(&row[..len]);
            }
        }
    }
    commands
}

/// A trace that is being made of it.
struct Maker {
    events: Vec<Event>,
    boxes: Iova,
    pages: Iova,
}

impl Maker {
    fn write(&mut self, offset: u64, value: u32) {
        let value = u64::from(value.to_be());
        self.events.push(Event::Access(Access { write: true, bar: 0, offset, size: 4, value, name: None }, 0));
    }

    /// A chain of mailboxes whose first is at `first`: where each is, and its bytes.
    fn chain(&mut self, first: Iova, data: &[u8], token: u8) -> Vec<Bytes> {
        let count = data.len().div_ceil(BLOCK);
        let more: Vec<Iova> = (1..count).map(|n| self.boxes + 0x1000 * n as u64).collect();
        self.boxes += 0x1000 * count as u64;
        let places: Vec<Iova> = [first].into_iter().chain(more).chain([0]).collect();
        let mailbox = |(n, part): (usize, &[u8])| {
            let mut bytes = vec![0; 0x240];
            bytes[..part.len()].copy_from_slice(part);
            bytes[0x230..0x238].copy_from_slice(&(if n + 1 < count { places[n + 1] } else { 0 }).to_be_bytes());
            bytes[0x238..0x23c].copy_from_slice(&(n as u32).to_be_bytes());
            bytes[0x23d] = token;
            Bytes { iova: places[n], bytes }
        };
        data.chunks(BLOCK).enumerate().map(mailbox).collect()
    }

    /// A request with pages of this host in the place of that one's.
    fn with_pages(&mut self, input: &[u8]) -> Vec<u8> {
        let mut input = input.to_vec();
        let (at, size) = match u16::from_be_bytes([input[0], input[1]]) {
            MANAGE_PAGES => (0x10, 1),
            // A ring's pages are as large as its context says.
            CREATE_EQ => (0x110, 1 << (u32_at(&input, 0x28) >> 24 & 0x1f)),
            _ => return input,
        };
        for place in at / 8..input.len() / 8 {
            input[8 * place..8 * place + 8].copy_from_slice(&self.pages.to_be_bytes());
            if at == 0x110 {
                // Entries of an event queue that are the card's.
                let entries = (0..size * 4096).map(|n| u8::from(n % 64 == 63)).collect();
                self.events.push(Event::Put(Bytes { iova: self.pages, bytes: entries }));
            }
            self.pages += 4096 * size as u64;
        }
        input
    }

    fn command(&mut self, command: &Recorded) {
        let Recorded { name, sent, back, .. } = command;
        let input = self.with_pages(&command.input);
        let output = &command.output;
        let token = (sent[7] >> 24) as u8;
        let entry = |words: &[u32], output: &[u8]| {
            [&bytes(&words[..4])[..], &input[..INLINE], &output[..INLINE], &bytes(&words[4..])].concat()
        };
        let pointer = |at: usize| u64::from(sent[at]) << 32 | u64::from(sent[at + 1]);
        let room = vec![0; output.len() - INLINE];
        let asked = self.chain(pointer(2), &input[INLINE..], token);
        let empty = self.chain(pointer(4), &room, token);
        let mut told = empty.clone();
        for (mailbox, part) in told.iter_mut().zip(output[INLINE..].chunks(BLOCK)) {
            mailbox.bytes[..part.len()].copy_from_slice(part);
        }
        let code = u32::from(u16::from_be_bytes([input[0], input[1]]));
        self.events.push(Event::Command(code, name.clone()));
        self.events.push(Event::Put(Bytes { iova: QUEUE, bytes: entry(sent, &[0; INLINE]) }));
        self.events.extend(asked.into_iter().chain(empty).map(Event::Put));
        self.write(0x18, 1);
        self.events.push(Event::Answer(name.clone(), "delivered".into()));
        self.events.push(Event::Got(Bytes { iova: QUEUE, bytes: entry(back, output) }));
        self.events.extend(told.into_iter().map(Event::Got));
    }
}

/// The recording as a trace.
fn recording() -> Recording {
    let mut maker = Maker { events: Vec::new(), boxes: BOXES, pages: PAGES };
    let commands = commands();
    // Mailboxes are where that host had them.
    let pointers =
        commands.iter().flat_map(|command| [[2, 3], [4, 5]].map(|[h, l]| (command.sent[h], command.sent[l])));
    let mut used: Vec<Iova> = pointers.map(|(high, low)| (u64::from(high) << 32 | u64::from(low)) & !0xfff).collect();
    used.sort_unstable();
    used.dedup();
    let mapped = used.iter().filter(|page| **page != 0).map(|page| Event::Map(*page, 4096));
    maker.events.extend(mapped);
    let bulk = [(QUEUE, 4096), (BOXES, 16 << 20), (PAGES, 256 << 20)];
    maker.events.extend(bulk.map(|(iova, len)| Event::Map(iova, len)));
    let master = Config { write: true, offset: 4, size: 2, value: 6 };
    maker.events.push(Event::Config(master, 0));
    maker.events.push(Event::Settle(10_000_000_000));
    maker.write(0x10, (QUEUE >> 32) as u32);
    maker.write(0x14, QUEUE as u32);
    commands.iter().for_each(|command| maker.command(command));
    let id = Id { vendor: 0x15b3, device: 0x1015, ..Id::default() };
    Recording { id, events: maker.events, ..Recording::default() }
}

/// Written and read, as a file of it would be.
fn as_text(recording: &Recording) -> Recording {
    let lines: String = recording.events.iter().map(|event| format!("{event}\n")).collect();
    let text = format!("bmnic trace 1\ncard 15b3:1015 0000:0000 00\n{lines}");
    let text = format!("{text}end {}\n", text.lines().count());
    Recording::parse("connectx-4-lx", &text).unwrap()
}

#[test]
fn a_model_answers_the_replayed_commands_of_a_connectx_4_lx_as_the_card_did() {
    let recording = as_text(&recording());
    assert_eq!(recording.events, self::recording().events);
    let found = replay(&"cx4lx".parse().unwrap(), &recording).unwrap();
    assert_eq!(found.commands, 32);
    // Capabilities that the model does not have, nor tell of: tunnels, several packets.
    let [difference] = &found.differences[..] else { panic!("{:#?}", found.differences) };
    assert_eq!(difference.name, "QUERY_HCA_CAP at 0x00 of 0x240");
    assert_eq!((difference.card.as_str(), difference.model.as_str()), ("e8725903", "e8721900"));
    assert_eq!(found.violations, []);
}
