//! A real card is the judge: the commands that Linux's driver sent to a ConnectX-4 Lx
//! go to the model of one, and its answers are held against the card's, word by word.

#[path = "../../../../tests/recordings/connectx_4_lx.rs"]
mod recorded;

use super::*;
use recorded::Recorded;

/// Words of an entry that differ, and all that does: where this test has its mailboxes,
/// and the signature over that, whose rule is held against the card's by itself.
const OF_THIS_RUN: [usize; 5] = [2, 3, 12, 13, 15];

impl Recorded {
    fn code(&self) -> u16 {
        be::u16_at(&self.input, 0)
    }
}

/// Its commands, and the ten that the recording's copy leaves out: other vectors, other
/// numbers.
fn commands() -> Vec<Recorded> {
    let mut commands = recorded::commands();
    let last = commands.last().unwrap().clone();
    let more = (1..=10).map(|n| {
        let mut command = last.clone();
        command.input[0x27] += n;
        command.output[0xb] += n;
        command
    });
    commands.extend(more);
    commands
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

impl Bench {
    /// A recorded request, with the addresses of this run in the place of that host's.
    fn rewritten(&self, command: &Recorded) -> Vec<u8> {
        let mut request = command.input.clone();
        let (at, count) = match command.code() {
            MANAGE_PAGES => (0x10, be::u32_at(&request, 0xc) as usize),
            CREATE_EQ => (0x110, (request.len() - 0x110) / 8),
            _ => return request,
        };
        // A ring's pages are as large as its context says.
        let size = if command.code() == CREATE_EQ { 1 << be::bits(&request, 0x28, 28, 24) } else { 1 };
        for n in 0..count {
            let page = self.pages(size)[0];
            request[at + 8 * n..at + 8 * n + 8].copy_from_slice(&page.to_be_bytes());
            if command.code() == CREATE_EQ {
                self.fill_events(page, size * 4096 / 64);
            }
        }
        request
    }

    /// Entries of an event queue that are the card's.
    fn fill_events(&self, page: u64, count: usize) {
        let at = (page - self.arena.iova(0)) as usize;
        let mut entry = [0; 64];
        entry[63] = 1;
        (0..count).for_each(|n| self.put(at + 64 * n, &entry));
    }

    /// Sends a recorded command and compares what comes back; words that differ.
    fn replay(&self, command: &Recorded) -> Vec<String> {
        let request = self.rewritten(command);
        let room = command.sent[6] as usize;
        let mut entry = self.entry(0, &request, room);
        // The recording's token, in the entry and in the mailboxes.
        let token = (command.sent[7] >> 24) as u8;
        self.retoken(&mut entry, &request, room, token);
        self.post(0, &entry);
        let back = self.wait(0, SECOND).unwrap_or_else(|| panic!("{} was not answered", command.name));
        let mut differences = Vec::new();
        let mut compare = |what: &str, at: usize, ours: u32, theirs: u32| {
            if ours != theirs {
                differences.push(format!("{what} {at:#x}: {ours:08x}, and the card {theirs:08x}"));
            }
        };
        for at in (0..room).step_by(4) {
            compare("output", at, be::u32_at(&back.bytes, at), be::u32_at(&command.output, at));
        }
        let theirs = recorded::entry(&command.back, &command.input, &command.output);
        for word in (0..16).filter(|word| !OF_THIS_RUN.contains(word)) {
            compare("entry", 4 * word, be::u32_at(&back.entry, 4 * word), be::u32_at(&theirs, 4 * word));
        }
        // Token, delivery status and owner; and the rule of signatures.
        compare("control", 0x3c, be::u32_at(&back.entry, 0x3c) & !0xff_0000, command.back[7] & !0xff_0000);
        compare("signature", 0x3d, sum(&back.entry).into(), sum(&theirs).into());
        for block in 0..room.saturating_sub(16).div_ceil(512) {
            let (_, from) = Bench::chains(0, 0);
            let tail = self.bytes(from + BLOCK * block + 0x238, 8);
            let expected = [&(block as u32).to_be_bytes()[..], &[0, token, 0, 0]].concat();
            compare("mailbox", block, be::u32_at(&tail, 0), be::u32_at(&expected, 0));
            compare("mailbox", block, be::u32_at(&tail, 4), be::u32_at(&expected, 4));
        }
        differences
    }

    /// Gives a command that was made another token.
    fn retoken(&self, entry: &mut [u8; 64], request: &[u8], room: usize, token: u8) {
        let (to, from) = Bench::chains(0, request.len());
        self.chain(to, request.get(16..).unwrap_or_default(), request.len(), token);
        self.chain(from, &[], room, token);
        (entry[0x3c], entry[0x3d]) = (token, 0);
        entry[0x3d] = !sum(entry);
    }
}

#[test]
fn a_connectx_4_lx_answers_the_recorded_commands_as_the_recorded_card_did() {
    let bench = Bench::ready("cx4lx,strict");
    let commands = commands();
    assert_eq!(commands.len(), 42);
    for (n, command) in commands.iter().enumerate() {
        let mut sent = recorded::entry(&command.sent, &command.input, &command.output);
        sent[0x20..0x30].fill(0);
        assert_eq!(sum(&sent), 0xff, "{n} {}: what Linux signed", command.name);
        // Capabilities that the model does not have, nor tell of: tunnels, several packets.
        let ethernet = command.code() == QUERY_HCA_CAP && be::u16_at(&command.input, 6) >> 1 == 1;
        let expected: Vec<String> =
            if ethernet { vec!["output 0x10: e8721900, and the card e8725903".into()] } else { vec![] };
        assert_eq!(bench.replay(command), expected, "{n} {}", command.name);
    }
    bench.assert_clean();
}

#[test]
fn pages_and_initialisation_take_their_time() {
    let bench = Bench::booted("cx4lx");
    let mut caps = bench.caps(0, true);
    caps[0x13] = 0x11;
    bench.set_caps(&caps).unwrap();
    assert_eq!(bench.wants(2), 12_868);
    let pages = bench.pages(12_868);
    bench.start(0, &give(&pages), 0x10);
    assert_eq!(bench.bytes(QUEUE, 8)[4..], 0x1_9230_u32.to_be_bytes(), "as long as the recorded one");
    assert!(bench.wait(0, 15 * MILLISECOND).is_none());
    assert_eq!(bench.wait(0, 10 * MILLISECOND).unwrap().bytes[0], 0);
    bench.start(0, &request(INIT_HCA, 0, &[], 0x10), 0x10);
    assert!(bench.wait(0, 188 * MILLISECOND).is_none());
    assert_eq!(bench.wait(0, 5 * MILLISECOND).unwrap().bytes[0], 0);
    bench.assert_clean();
}

#[test]
fn the_cards_of_users_start_with_fewer_pages_and_sooner() {
    for model in ["cx5", "cx6dx", "cx7"] {
        let bench = Bench::booted(model);
        assert_eq!(bench.wants(2), 112);
        bench.give_all(2);
        bench.start(0, &request(INIT_HCA, 0, &[], 0x10), 0x10);
        assert!(bench.wait(0, 25 * MILLISECOND).is_some());
    }
}
