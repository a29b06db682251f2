//! What a transmit queue makes of what is to be sent, and of what a card says.

use super::super::bell::SendBell;
use super::*;
use crate::dma::{L4, Offload, Span, Timestamp};
use crate::driver::Anomalies;
use crate::driver::queue::Transmit;
use crate::testing::allocations;
use std::time::Duration;

/// A transmit queue and the card's side of it.
struct Rig {
    pool: Pool,
    tx: TxQueue,
    uar: Uar,
    restarts: Restarts,
    fault: Fault,
    wqes: Region,
    record: Region,
    reports: Reports,
    read: Region,
    /// Blocks that the card has read.
    head: u32,
    /// A queue holds it weakly.
    _card: Arc<dyn Function>,
}

/// How it is set up.
#[derive(Clone, Copy)]
struct Setup {
    inline: Inline,
    tags: bool,
    multi: bool,
    clock: Option<Clock>,
}

const PLAIN: Setup = Setup { inline: Inline::Nothing, tags: true, multi: false, clock: None };
const MULTI: Setup = Setup { multi: true, ..PLAIN };
const HEADS: Setup = Setup { inline: Inline::L2, ..PLAIN };

/// An entry as the card reads it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// Its first block.
    at: u16,
    opcode: u8,
    report: bool,
    checksums: u8,
    tag: Option<u16>,
    /// Bytes that stand inline, and the data segments.
    inline: Vec<u8>,
    data: Vec<(u32, u64)>,
}

const UDP: Offload =
    Offload { l2_len: 14, l3_len: 20, ip_checksum: true, l4_checksum: Some(L4::Udp), ipv6: false, vlan: Some(0x2064) };

/// A frame of `len` bytes that says where each of them stands.
fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|n| if matches!(n, 12 | 13) { 9 } else { (n % 251) as u8 }).collect()
}

impl Rig {
    fn new(setup: Setup) -> Self {
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
                send: SendBell::new(record.clone(), uar.long(0x800)),
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
    fn seen(&mut self) -> Vec<Seen> {
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
    fn sent(&mut self) -> Vec<Vec<u8>> {
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

    fn send(&mut self, lengths: &[usize]) -> usize {
        let mut batch = Batch::new(&self.pool);
        for &len in lengths {
            assert!(batch.push_frame(&frame(len)));
        }
        self.tx.send(&mut batch)
    }

    /// Sends a frame with an offload.
    fn send_with(&mut self, frame: &[u8], offload: Offload) -> usize {
        let mut batch = Batch::new(&self.pool);
        assert!(batch.push_frame(frame));
        batch.set_offload(0, offload);
        self.tx.send(&mut batch)
    }

    fn done(&mut self, counter: u16) {
        let mut cqe = cqe(0x0, u32::from(counter));
        cqe[0x38] = 0x0a;
        self.reports.push(cqe);
    }

    fn reclaim(&mut self) -> usize {
        self.tx.reclaim(&self.pool)
    }

    /// Reports all that asks for it.
    fn finish(&mut self) -> Vec<Seen> {
        let seen = self.seen();
        seen.iter().filter(|entry| entry.report).for_each(|entry| self.done(entry.at));
        assert_eq!(self.reclaim(), 0);
        assert_eq!(words(&self.read)[0], self.reports.at() & 0xff_ffff);
        seen
    }

    fn wrong(&self) -> Anomalies {
        self.tx.anomalies()
    }

    fn conserved(mut self) {
        self.tx.release(&self.pool);
        assert_eq!(self.pool.available(), self.pool.capacity());
    }
}

/// What is looked at of entries: place, report, inline bytes, lengths.
fn shape(seen: &[Seen]) -> Vec<(u16, bool, usize, Vec<u32>)> {
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
fn an_entry_never_goes_on_at_the_start_of_the_ring() {
    let mut rig = Rig::new(Setup { inline: Inline::L4, ..PLAIN });
    for round in 0..400 {
        assert_eq!(rig.send(&[9000, 60]), 6);
        let seen = rig.finish();
        assert_eq!(seen.len(), 2, "round {round}");
    }
    assert_eq!(rig.wrong(), Anomalies::default());
    rig.conserved();
}

#[test]
fn counters_go_on_where_16_24_and_32_bits_end() {
    for start in [0xfff0, 0xff_fff0, 0_u32.wrapping_sub(11)] {
        for setup in [PLAIN, MULTI, HEADS] {
            let mut rig = Rig::new(setup);
            rig.tx.begin_at(start, start.wrapping_sub(5), start.wrapping_add(2));
            rig.head = start;
            rig.reports.at = Arc::new(start.wrapping_add(2).into());
            for n in 0..64 {
                let ahead = 0_u32.wrapping_sub(n + 1);
                rig.reports.put(ahead, cqe(0, start), 0..8);
            }
            for _ in 0..200 {
                assert_eq!(rig.send(&[60, 5000, 60, 70]), 6);
                rig.finish();
            }
            assert_eq!(rig.wrong(), Anomalies::default());
            rig.conserved();
        }
    }
}

#[test]
fn a_ring_may_be_filled_to_the_last() {
    let mut rig = Rig::new(PLAIN);
    assert_eq!(rig.send(&[60; 64]), 64);
    assert_eq!(rig.send(&[60]), 0);
    assert_eq!(rig.seen().len(), 64);
    rig.done(63);
    assert_eq!(rig.send(&[60]), 1, "it looks when there is much to be had");
    assert_eq!(rig.send(&[60; 64]), 63);
    rig.conserved();
    // Of blocks or of buffers, whatever is less.
    let mut rig = Rig::new(MULTI);
    assert_eq!((rig.send(&[60; 60]), rig.send(&[60; 10])), (60, 4));
    rig.conserved();
    let mut rig = Rig::new(Setup { inline: Inline::L4, ..PLAIN });
    let sent: usize = (0..40).map(|_| rig.send(&[59])).sum();
    assert_eq!(sent, 32, "two blocks each");
    for counter in [0, 2, 4] {
        rig.done(counter);
    }
    assert_eq!(rig.send(&[59; 5]), 3);
    rig.conserved();
}

#[test]
fn completions_are_believed_if_they_name_an_entry_that_asked() {
    let mut rig = Rig::new(PLAIN);
    rig.send(&[60, 60]);
    rig.send(&[60]);
    rig.send(&[5000]);
    for lie in [0, 4, 5, 64, 0xffff, 0x8001] {
        rig.done(lie);
        assert_eq!(rig.reclaim(), 6, "{lie}");
    }
    assert_eq!(rig.wrong().bad_index, 6);
    rig.done(1);
    assert_eq!(rig.reclaim(), 4);
    for _ in 0..3 {
        rig.done(1);
    }
    rig.done(3);
    rig.done(2);
    assert_eq!(rig.reclaim(), 0, "the older one came late");
    assert_eq!((rig.wrong().bad_index, rig.restarts.count()), (10, 0));
    // Other opcodes and formats.
    rig.send(&[60]);
    for last in [0x10, 0x20, 0x50, 0xc0, 0x04, 0x0c, 0x2c] {
        let mut cqe = cqe(0, 5);
        cqe[0x3f] = last;
        rig.reports.push(cqe);
    }
    assert_eq!((rig.reclaim(), rig.wrong().bad_index), (1, 17));
    rig.done(5);
    assert_eq!(rig.reclaim(), 0);
    rig.conserved();
}

#[test]
fn nothing_is_believed_before_the_last_byte() {
    let mut rig = Rig::new(PLAIN);
    for round in 0..200_u16 {
        rig.send(&[60]);
        for words in 0..8 {
            assert_eq!(rig.reclaim(), 1, "with {words} words");
            rig.reports.put(0, cqe(0, u32::from(round)), words..words + 1);
        }
        rig.reports.skip(1);
        assert_eq!(rig.reclaim(), 0);
    }
    assert_eq!(rig.wrong(), Anomalies::default());
    rig.conserved();
}

#[test]
fn an_error_has_the_queue_set_up_anew_after_all_is_flushed() {
    for setup in [PLAIN, MULTI] {
        for syndrome in [1, 2, 4, 5] {
            let mut rig = Rig::new(setup);
            for times in 1..=10 {
                rig.send(&[60; 5]);
                rig.send(&[60, 3000]);
                rig.send(&[60]);
                let seen = rig.seen();
                let reports: Vec<u16> = seen.iter().filter(|entry| entry.report).map(|entry| entry.at).collect();
                rig.done(reports[0]);
                rig.reports.push(failed(0xd, u32::from(reports[1]), syndrome));
                *rig.restarts.flushes.lock().unwrap() = vec![failed(0xd, u32::from(reports[2]), 5)];
                assert_eq!(rig.reclaim(), 0);
                let Anomalies { frame_error, queue_reset, .. } = rig.wrong();
                assert_eq!((frame_error, queue_reset, rig.restarts.count()), (times, times, times as u32));
                assert_eq!(rig.fault.last(), Some(Syndrome { code: syndrome, vendor: 0x52 }));
                assert_eq!(words(&rig.read)[0], rig.reports.at());
                rig.head = 0;
                rig.send(&[60]);
                assert_eq!(shape(&rig.finish()), [(0, true, 0, vec![60])]);
            }
            rig.conserved();
        }
    }
}

#[test]
fn a_queue_that_cannot_be_set_up_again_is_dead_and_keeps_its_buffers() {
    let mut rig = Rig::new(PLAIN);
    rig.restarts.fails.store(true, Ordering::Relaxed);
    rig.send(&[60; 5]);
    rig.reports.push(failed(0xd, 4, 4));
    assert_eq!(rig.reclaim(), 5);
    for _ in 0..10 {
        assert_eq!((rig.send(&[60]), rig.send(&[3000]), rig.send(&[20])), (0, 0, 0));
        rig.done(4);
        assert_eq!(rig.reclaim(), 5);
    }
    assert_eq!((rig.restarts.count(), words(&rig.record)), (1, [0, 0]));
    rig.conserved();
}

#[test]
fn what_is_laid_ready_is_sent_as_often_as_wanted() {
    for setup in [PLAIN, HEADS, MULTI, Setup { inline: Inline::L4, ..PLAIN }] {
        let mut rig = Rig::new(setup);
        let mut batch = Batch::new(&rig.pool);
        batch.push_frame(&frame(20));
        batch.push_frame(&frame(700));
        assert_eq!(rig.tx.prepare(&mut batch).unwrap(), 2);
        batch.push_frame(&frame(70));
        batch.set_offload(0, UDP);
        assert_eq!(rig.tx.prepare(&mut batch).unwrap_err().kind(), Kind::Usage);
        batch.clear();
        drop(batch);
        assert!(!rig.tx.launch(2));
        let mut short = frame(20);
        short.resize(60, 0);
        for _ in 0..200 {
            assert!(rig.tx.launch(1) && rig.tx.launch(0));
            let before = rig.head;
            assert_eq!(rig.sent(), [frame(700), short.clone()]);
            rig.head = before;
            assert!(rig.finish().iter().all(|entry| entry.report));
        }
        assert_eq!(rig.pool.capacity() - rig.pool.available(), 2);
        assert!((0..64).all(|_| rig.tx.launch(1)) && !rig.tx.launch(1), "no room");
        rig.conserved();
    }
}

#[test]
fn the_last_frame_of_a_burst_is_stamped() {
    let mut rig = Rig::new(Setup { clock: Some(Clock::RealTime), ..PLAIN });
    let stamp = |counter: u32, seconds: u8| {
        let mut cqe = cqe(0, counter);
        (cqe[0x33], cqe[0x37]) = (seconds, 123);
        cqe
    };
    assert_eq!(rig.tx.last_sent(), None);
    rig.send(&[60, 60]);
    rig.send(&[60]);
    rig.reports.push(stamp(1, 5));
    assert_eq!(rig.reclaim(), 1);
    assert_eq!(rig.tx.last_sent(), Some(Timestamp(Duration::new(5, 123))));
    rig.reports.push(stamp(2, 6));
    assert_eq!((rig.reclaim(), rig.tx.last_sent()), (0, Some(Timestamp(Duration::new(6, 123)))));
    rig.send(&[60]);
    rig.done(3);
    assert_eq!((rig.reclaim(), rig.tx.last_sent()), (0, None), "a card that has none");
    rig.conserved();
}

#[test]
fn noise_is_survived() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for setup in [PLAIN, MULTI, HEADS] {
        let mut rig = Rig::new(setup);
        for _ in 0..5_000 {
            let at = (next() % 64) as usize;
            let words = &rig.reports.ring.words64()[8 * at..8 * at + 8];
            words.iter().for_each(|word| word.store(next(), Ordering::Relaxed));
            if next() % 2 == 0 {
                let mut cqe = cqe([0, 0, 0xd][(next() % 3) as usize], (next() % 64) as u32);
                cqe[0x3f] |= (next() % 2) as u8;
                words[7].store(u64::from_le_bytes(cqe[56..].try_into().unwrap()), Ordering::Relaxed);
            }
            let lengths: Vec<usize> = (0..next() % 5).map(|_| (next() % 5000) as usize + 1).collect();
            rig.send(&lengths);
            rig.reclaim();
        }
        rig.conserved();
    }
}

#[test]
fn sending_allocates_nothing() {
    for setup in [PLAIN, MULTI, HEADS, Setup { inline: Inline::L4, ..PLAIN }] {
        let mut rig = Rig::new(setup);
        let Rig { tx, pool, .. } = &mut rig;
        let mut batch = Batch::new(pool);
        for len in [60, 5000, 60, 20] {
            assert!(batch.push_frame(&frame(len)));
        }
        batch.set_offload(4, UDP);
        assert_eq!(
            allocations(|| {
                assert_eq!(tx.send(&mut batch), 6);
                assert_eq!(tx.reclaim(pool), 6);
            }),
            0
        );
    }
}
