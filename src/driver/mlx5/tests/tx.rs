//! What a transmit queue makes of what is to be sent, and of what a card says.

use super::super::bell::SendBell;
use super::*;
use crate::dma::{L4, Offload, Span};
use crate::driver::Anomalies;
use crate::driver::queue::Transmit;

/// A transmit queue and the card's side of it.
pub struct Rig {
    pub pool: Pool,
    pub tx: TxQueue,
    pub uar: Uar,
    pub restarts: Restarts,
    pub fault: Fault,
    pub wqes: Region,
    pub record: Region,
    pub reports: Reports,
    pub read: Region,
    /// Blocks that the card has read.
    pub head: u32,
    /// A queue holds it weakly.
    _card: Arc<dyn Function>,
}

/// How it is set up.
#[derive(Clone, Copy)]
pub struct Setup {
    pub inline: Inline,
    pub tags: bool,
    pub multi: bool,
    pub clock: Option<Clock>,
    /// Entries go with their doorbell.
    pub push: bool,
}

pub const PLAIN: Setup = Setup { inline: Inline::Nothing, tags: true, multi: false, clock: None, push: false };
pub const MULTI: Setup = Setup { multi: true, ..PLAIN };
pub const HEADS: Setup = Setup { inline: Inline::L2, ..PLAIN };

/// An entry as the card reads it.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its first block.
    pub at: u16,
    pub opcode: u8,
    pub report: bool,
    pub checksums: u8,
    pub tag: Option<u16>,
    /// Bytes that stand inline, and the data segments.
    pub inline: Vec<u8>,
    pub data: Vec<(u32, u64)>,
}

pub const UDP: Offload =
    Offload { l2_len: 14, l3_len: 20, ip_checksum: true, l4_checksum: Some(L4::Udp), ipv6: false, vlan: Some(0x2064) };

/// A frame of `len` bytes that says where each of them stands.
pub fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|n| if matches!(n, 12 | 13) { 9 } else { (n % 251) as u8 }).collect()
}

impl Rig {
    pub fn new(setup: Setup) -> Self {
        let lengths = TxLengths::of(64);
        let [wqes, completions, record, read] =
            regions([lengths.bytes(), 64 * lengths.completions as usize, RECORD, RECORD]);
        let (uar, fault) = (Uar::new(), Fault::default());
        let reports = Reports::new(completions.clone());
        let restarts = Restarts::new(&reports, &record);
        let card: Arc<dyn Function> = Arc::new(Card);
        let tx = TxQueue::new(
            &card,
            TxParts {
                wqes: wqes.clone(),
                send: match setup.push {
                    true => SendBell::pushing(record.clone(), uar.register(512)),
                    false => SendBell::new(record.clone(), uar.long(0x800)),
                },
                completions,
                bell: CqBell::new(read.clone(), uar.long(0x20), CQN),
                sqn: SQN,
                lkey: LKEY,
                max_frame: 9018,
                inline: setup.inline,
                tags: setup.tags,
                multi: setup.multi,
                clock: setup.clock,
                fault: fault.clone(),
                restart: Box::new(restarts.clone()),
            },
        );
        let mut rig = Rig { pool: pool(), tx, uar, restarts, fault, wqes, record, reports, read, head: 0, _card: card };
        rig.tx.adopt(&rig.pool).unwrap();
        rig
    }

    /// The entries that the card has been told of since it looked last.
    pub fn seen(&mut self) -> Vec<Seen> {
        let end = words(&self.record)[1];
        let mut seen = Vec::new();
        let mut begin = [0; 8];
        while self.head & 0xffff != end {
            let at = 64 * (self.head % 64) as usize;
            begin = bytes(&self.wqes, at);
            let [0, high, low, opcode, a, b, c, segments] = begin else { panic!("{begin:x?}") };
            assert_eq!((u16::from_be_bytes([high, low]), u32_at(&[0, a, b, c], 0)), (self.head as u16, SQN));
            let blocks = u32::from(segments).div_ceil(4);
            assert!(segments <= 60 && self.head % 64 + blocks <= 64, "it goes on at the start of the ring");
            assert!(blocks <= end.wrapping_sub(self.head) & 0xffff, "more than was announced");
            let entry: Vec<u8> = (0..16 * usize::from(segments)).map(|n| bytes::<1>(&self.wqes, at + n)[0]).collect();
            self.head = self.head.wrapping_add(blocks);
            assert_eq!((entry[8..11].to_vec(), entry[11] & !8, entry[12..16].to_vec()), (vec![0; 3], 0, vec![0; 4]));
            if opcode == 0 {
                assert_eq!((segments, entry[11]), (1, 0), "nothing to do");
                continue;
            }
            assert!(opcode == 0x0a || opcode == 0x29);
            assert!(entry[16..20] == [0; 4] && entry[21..28] == [0; 7]);
            let field = u16::from_be_bytes([entry[0x1c], entry[0x1d]]);
            let (tag, inline) = match field {
                0x8000 => (Some(u16::from_be_bytes([entry[0x1e], entry[0x1f]])), 0),
                count => (None, usize::from(count)),
            };
            assert!(opcode == 0x0a || inline == 0, "several with a header");
            let data = 0x20_usize.max((0x1e + inline).next_multiple_of(16));
            let data = entry[data..].chunks(16).map(|segment| {
                assert!(u32_at(segment, 4) == LKEY && u32_at(segment, 0) > 0);
                (u32_at(segment, 0), u64_at(segment, 8) - self.pool.arena().iova(0))
            });
            seen.push(Seen {
                at: self.head.wrapping_sub(blocks) as u16,
                opcode,
                report: entry[11] & 8 != 0,
                checksums: entry[20],
                tag,
                inline: entry[0x1e..0x1e + inline].to_vec(),
                data: data.collect(),
            });
        }
        if !seen.is_empty() {
            assert_eq!(self.uar.bytes(0x800), begin, "the doorbell is how the newest begins");
        }
        seen
    }

    /// The frames in them, as they leave.
    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        let seen = self.seen();
        let memory = |&(len, at): &(u32, u64)| -> Vec<u8> {
            let arena = Region::new(self.pool.arena(), at as usize & !7, len as usize + (at as usize & 7));
            arena.bytes()[at as usize & 7..].iter().map(|byte| byte.load(Ordering::Relaxed)).collect()
        };
        let mut frames = Vec::new();
        for entry in seen {
            if entry.opcode == 0x29 {
                frames.extend(entry.data.iter().map(memory));
                continue;
            }
            let mut frame = entry.inline;
            frame.extend(entry.data.iter().flat_map(memory));
            if let Some(tci) = entry.tag {
                frame.splice(12..12, [0x81, 0, (tci >> 8) as u8, tci as u8]);
            }
            frames.push(frame);
        }
        frames
    }

    pub fn send(&mut self, lengths: &[usize]) -> usize {
        let mut batch = Batch::new(&self.pool);
        for &len in lengths {
            assert!(batch.push_frame(&frame(len)));
        }
        self.tx.send(&mut batch)
    }

    /// Sends a frame with an offload.
    pub fn send_with(&mut self, frame: &[u8], offload: Offload) -> usize {
        let mut batch = Batch::new(&self.pool);
        assert!(batch.push_frame(frame));
        batch.set_offload(0, offload);
        self.tx.send(&mut batch)
    }

    pub fn done(&mut self, counter: u16) {
        let mut cqe = cqe(0x0, u32::from(counter));
        cqe[0x38] = 0x0a;
        self.reports.push(cqe);
    }

    pub fn reclaim(&mut self) -> usize {
        self.tx.reclaim(&self.pool)
    }

    /// Reports all that asks for it.
    pub fn finish(&mut self) -> Vec<Seen> {
        let seen = self.seen();
        seen.iter().filter(|entry| entry.report).for_each(|entry| self.done(entry.at));
        assert_eq!(self.reclaim(), 0);
        assert_eq!(words(&self.read)[0], self.reports.at() & 0xff_ffff);
        seen
    }

    pub fn wrong(&self) -> Anomalies {
        self.tx.anomalies()
    }

    pub fn conserved(mut self) {
        self.tx.release(&self.pool);
        assert_eq!(self.pool.available(), self.pool.capacity());
    }
}

/// What is looked at of entries: place, report, inline bytes, lengths.
pub fn shape(seen: &[Seen]) -> Vec<(u16, bool, usize, Vec<u32>)> {
    let one = |entry: &Seen| {
        (entry.at, entry.report, entry.inline.len(), entry.data.iter().map(|&(len, _)| len).collect::<Vec<_>>())
    };
    seen.iter().map(one).collect()
}

#[test]
fn a_plain_frame_is_a_block_and_the_last_of_a_burst_asks() {
    let mut rig = Rig::new(PLAIN);
    assert_eq!(rig.send(&[60, 511, 2048, 60]), 4);
    let seen = rig.seen();
    let expected = [60, 511, 2048, 60].into_iter().enumerate();
    assert_eq!(shape(&seen), expected.map(|(n, len)| (n as u16, n == 3, 0, vec![len])).collect::<Vec<_>>());
    assert!(seen.iter().all(|entry| entry.opcode == 0x0a && entry.checksums == 0 && entry.tag.is_none()));
    assert_eq!(words(&rig.record), [0, 4]);
    assert_eq!(rig.reclaim(), 4, "nothing is said yet");
    rig.done(3);
    assert_eq!((rig.reclaim(), words(&rig.read)), (0, [1, 0]));
    assert_eq!(rig.send(&[60]), 1);
    assert_eq!(shape(&rig.finish()), [(4, true, 0, vec![60])]);
    rig.conserved();
}

#[test]
fn what_is_sent_is_what_was_to_be_sent_whatever_must_be_inline() {
    let all = [Inline::Nothing, Inline::L2, Inline::Ip, Inline::L4];
    for setup in all.map(|inline| Setup { inline, ..PLAIN }).into_iter().chain([MULTI]) {
        let mut rig = Rig::new(setup);
        // A UDP packet with two tags, an IPv6 one, and frames of nothing known.
        let mut tagged = frame(500);
        tagged[12..24].copy_from_slice(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0, 0x45, 0]);
        (tagged[28], tagged[29], tagged[31]) = (0, 0, 17);
        let mut six = frame(5000);
        (six[12], six[13], six[20]) = (0x86, 0xdd, 6);
        six[14 + 40 + 12] = 0x80;
        let frames = [frame(60), tagged, six, frame(2049), frame(2048), frame(9018), frame(61), frame(1514)];
        for round in 0..50 {
            let mut batch = Batch::new(&rig.pool);
            for n in 0..frames.len() {
                assert!(batch.push_frame(&frames[(n + round) % frames.len()]));
            }
            let entries = batch.len();
            assert_eq!(rig.tx.send(&mut batch), entries);
            drop(batch);
            let before = rig.head;
            let sent = rig.sent();
            let expected: Vec<Vec<u8>> =
                (0..frames.len()).map(|n| frames[(n + round) % frames.len()].clone()).collect();
            assert_eq!(sent, expected, "{:?}, round {round}", setup.inline);
            rig.head = before;
            let seen = rig.finish();
            for entry in seen.iter().filter(|entry| setup.inline > Inline::Nothing && entry.data.len() == 1) {
                assert!(entry.inline.len() >= 18);
                if entry.inline[12..14] == [0x88, 0xa8] {
                    let expected = [22, 42, 50][setup.inline as usize - 1];
                    assert_eq!(entry.inline.len(), expected);
                }
            }
        }
        assert_eq!(rig.wrong(), Anomalies::default());
        rig.conserved();
    }
}

#[test]
fn short_frames_stand_inline_padded_and_impossible_ones_are_refused() {
    for setup in [PLAIN, MULTI, HEADS, Setup { inline: Inline::L4, ..PLAIN }] {
        let mut rig = Rig::new(setup);
        assert_eq!(rig.send(&[59, 1, 17, 60]), 4);
        let before = rig.head;
        let sent = rig.sent();
        assert!(sent.iter().all(|frame| frame.len() == 60));
        assert_eq!((&sent[0][..59], sent[0][59], &sent[1][1..]), (&frame(59)[..], 0, &[0; 59][..]));
        rig.head = before;
        let seen = rig.finish();
        assert_eq!(shape(&seen[..2]), [(0, false, 60, vec![]), (2, false, 60, vec![])], "no segment of no bytes");
        let mut batch = Batch::new(&rig.pool);
        batch.push(0).unwrap();
        assert_eq!(rig.tx.send(&mut batch), 1);
        drop(batch);
        assert_eq!(rig.send(&[9019]), 5);
        assert_eq!(rig.send_with(&frame(9015), UDP), 5, "with a tag it is 9019");
        assert_eq!(rig.send_with(&frame(60), Offload { l4_checksum: Some(L4::Sctp), ..UDP }), 1);
        assert_eq!(rig.send_with(&frame(11), UDP), 1, "no place for a tag");
        assert_eq!((rig.wrong().bad_length, rig.seen()), (5, vec![]));
        // More buffers than an entry has segments for, and as many.
        for (parts, refused) in [(47, true), (46, false)] {
            let mut batch = Batch::new(&rig.pool);
            for n in 0..parts {
                batch.push(64).unwrap().fill(n as u8);
                batch.entries_mut()[n].span = Span::new(0, 64, n + 1 < parts);
            }
            assert_eq!(rig.tx.send(&mut batch), parts);
            assert_eq!(rig.wrong().bad_chain, 1);
            drop(batch);
            assert_eq!(rig.finish().len(), usize::from(!refused));
        }
        rig.conserved();
    }
}

#[test]
fn short_frames_in_parts_are_one() {
    let mut rig = Rig::new(PLAIN);
    let mut batch = Batch::new(&rig.pool);
    for (n, len) in [14, 1, 20, 5].into_iter().enumerate() {
        batch.push(len).unwrap().fill(n as u8 + 1);
        batch.entries_mut()[n].span = Span::new(0, len as u16, n < 3);
    }
    assert_eq!(rig.tx.send(&mut batch), 4);
    drop(batch);
    let expected = [vec![1; 14], vec![2], vec![3; 20], vec![4; 5], vec![0; 20]].concat();
    assert_eq!(rig.sent(), [expected]);
    rig.done(0);
    assert_eq!(rig.reclaim(), 0);
    rig.conserved();
}

#[test]
fn several_plain_frames_are_one_entry() {
    let mut rig = Rig::new(MULTI);
    assert_eq!(rig.send(&[60, 61, 2048, 63]), 4);
    let seen = rig.finish();
    assert_eq!((seen[0].opcode, shape(&seen)), (0x29, vec![(0, true, 0, vec![60, 61, 2048, 63])]));
    assert_eq!(words(&rig.record)[1], 2, "six segments");
    // One alone, and what is not plain, as ever.
    assert_eq!(rig.send(&[60]), 1);
    assert_eq!((rig.seen()[0].opcode, words(&rig.record)[1]), (0x0a, 3));
    rig.done(2);
    assert_eq!(rig.send(&[60, 60, 3000, 60, 60, 60]), 7);
    let seen = rig.finish();
    let opcodes: Vec<u8> = seen.iter().map(|entry| entry.opcode).collect();
    assert_eq!(opcodes, [0x29, 0x0a, 0x29]);
    assert_eq!(shape(&seen), [(3, false, 0, vec![60; 2]), (4, false, 0, vec![2048, 952]), (5, true, 0, vec![60; 3])]);
    // As many as an entry can have, and the rest.
    let mut rig = Rig::new(MULTI);
    assert_eq!(rig.send(&[60; 64]), 64);
    let lengths: Vec<usize> = rig.finish().iter().map(|entry| entry.data.len()).collect();
    assert_eq!(lengths, [58, 6]);
    // Where the ring ends an entry does.
    for _ in 0..100 {
        assert_eq!(rig.send(&[60; 50]), 50);
        assert_eq!(rig.finish().iter().map(|entry| entry.data.len()).sum::<usize>(), 50);
    }
    assert_eq!(rig.wrong(), Anomalies::default());
    rig.conserved();
}

#[test]
fn headers_stand_inline_for_a_card_that_wants_them() {
    let mut rig = Rig::new(HEADS);
    assert_eq!(rig.send(&[60, 700]), 2);
    let seen = rig.finish();
    assert_eq!(shape(&seen), [(0, false, 18, vec![42]), (1, true, 18, vec![682])]);
    assert_eq!((&seen[1].inline[..], seen[1].data[0].1 % 2048), (&frame(700)[..18], 18));
    let setup = Setup { multi: true, ..HEADS };
    let mut rig = Rig::new(setup);
    assert_eq!(rig.send(&[60; 3]), 3);
    assert!(rig.finish().iter().all(|entry| entry.opcode == 0x0a && entry.inline.len() == 18));
    rig.conserved();
}

#[test]
fn checksums_and_tags_are_put_in_by_who_can() {
    for (setup, by_card) in [(PLAIN, true), (Setup { tags: false, ..PLAIN }, false), (HEADS, false), (MULTI, true)] {
        let mut rig = Rig::new(setup);
        for len in [60, 1000, 3000] {
            let entries = rig.send_with(&frame(len), UDP);
            assert_eq!(entries, len.div_ceil(2048));
            let before = rig.head;
            let mut expected = frame(len);
            expected.splice(12..12, [0x81, 0, 0x20, 0x64]);
            assert_eq!(rig.sent(), [expected]);
            rig.head = before;
            let seen = rig.finish();
            assert_eq!((seen[0].checksums, seen[0].tag), (0xc0, by_card.then_some(0x2064)));
            assert_eq!(
                seen[0].inline.len(),
                if by_card {
                    0
                } else if setup.inline == Inline::L2 {
                    22
                } else {
                    18
                }
            );
        }
        let ip = Offload { l4_checksum: None, vlan: None, ..UDP };
        assert_eq!(rig.send_with(&frame(60), ip), 1);
        assert_eq!(rig.finish()[0].checksums, 0x40);
        assert_eq!(rig.send_with(&frame(60), Offload { ip_checksum: false, vlan: None, ..UDP }), 1);
        assert_eq!(rig.finish()[0].checksums, 0x80);
        // A short one with a tag.
        assert_eq!(rig.send_with(&frame(50), UDP), 1);
        let mut expected = frame(50);
        expected.splice(12..12, [0x81, 0, 0x20, 0x64]);
        expected.resize(60, 0);
        assert_eq!(rig.sent(), [expected]);
        rig.conserved();
    }
}

#[test]
fn an_entry_goes_with_its_doorbell_as_it_is_in_the_ring_if_it_is_the_only_one() {
    for setup in [PLAIN, MULTI, HEADS] {
        let mut rig = Rig::new(Setup { push: true, ..setup });
        let block = |rig: &Rig, n: usize| -> Vec<u64> {
            rig.wqes.words64()[8 * n..8 * n + 8].iter().map(|word| word.load(Ordering::Relaxed)).collect()
        };
        for n in 0..4 {
            rig.send(&[60 + n]);
            let at = 0x800 + 0x100 * (n % 2);
            let wanted: Vec<_> = block(&rig, n).into_iter().enumerate().map(|(m, word)| (at + 8 * m, word)).collect();
            let wanted: Vec<_> = wanted.into_iter().filter(|(_, word)| *word != 0).collect();
            assert_eq!(rig.uar.take(), wanted);
            assert_eq!(words(&rig.record), [0, n as u32 + 1]);
        }
        // Several at once, of which the last one's beginning is told.
        rig.send(&[5000, 5000]);
        assert_eq!(rig.uar.take().len(), 1);
        // What is laid ready goes the same way.
        let mut batch = Batch::new(&rig.pool);
        assert!(batch.push_frame(&frame(60)));
        assert_eq!(rig.tx.prepare(&mut batch).unwrap(), 1);
        drop(batch);
        assert!(rig.tx.launch(0));
        assert!(rig.uar.take().len() > 1);
    }
}
