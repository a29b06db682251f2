//! The source: a traffic generator on the wire, and a sink for what comes back.
//!
//! Frames are UDP over IPv4 between the networks that RFC 2544 sets aside for
//! tests (198.18/15), with correct checksums and a sequence number (see
//! [`sink`](super::sink)). A flow is a source address and port; flows take turns.
//!
//! A frame is made in the place it is shown from: of a template of its size only
//! the words that change are written, and the checksums follow from the
//! template's by adding those words (RFC 1624).

use super::clock::{ByteTime, Clock, Span};
use super::sink::{HEADER, MARK, MARK_AT, SEQUENCE_AT, Sink, fold, fold_few, ones_sum};
use super::{MAX_FRAME, Note, OVERHEAD, Picos, Speed, Wire};

/// What to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// How fast (`rate=`).
    pub rate: Rate,
    /// How long the frames are (`size=`).
    pub sizes: Sizes,
    /// Flows that take turns, 1 to 65536 (`flows=`).
    pub flows: u32,
    /// Frames in all, if not endless (`count=`).
    pub count: Option<u64>,
    /// Whether it honours pause frames, so that a port that is behind loses
    /// nothing and is sent less (`pause=on`).
    pub pause: bool,
}

/// How fast frames come. Never faster than line rate: that is the MAC's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As fast as the wire carries them: `line`.
    Line,
    /// Frames a second: `10M`.
    Frames(u64),
    /// Bits a second on the wire, preamble and gap included: `5Gbit`.
    Bits(u64),
}

/// How long frames are, in bytes with FCS as sizes are commonly given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// These take turns: `64`, `64/512/1518`.
    List(Vec<u16>),
    /// CSIT's `IMIX_v4_1`, seven of 64, four of 570, one of 1518 bytes: `imix`.
    Imix,
}

impl Default for SourceSpec {
    fn default() -> Self {
        SourceSpec { rate: Rate::Line, sizes: Sizes::List(vec![64]), flows: 1, count: None, pause: false }
    }
}

/// Shortest and longest size that can be asked for.
pub(super) const SIZES: std::ops::RangeInclusive<u16> = 64..=(MAX_FRAME + FCS) as u16;

const FCS: usize = 4;

/// The order in which IMIX sizes come: spread, not in bursts.
const IMIX: [u16; 12] = [64, 570, 64, 64, 570, 64, 1518, 64, 570, 64, 64, 570];

/// What a source may be behind its rate before the time is given up: nobody
/// stepped the port, and what was not generated is not made up.
const BEHIND: Picos = 500_000_000;

/// A generator that also swallows and checks what is sent to it.
pub struct Source {
    templates: Vec<Template>,
    /// Template of each frame, over and over.
    order: Vec<usize>,
    turn: usize,
    flow: u32,
    flows: u32,
    sequence: u64,
    left: u64,
    /// When the next frame is due; of no meaning at line rate.
    due: Clock,
    /// Whether the next frame is written.
    ready: bool,
    /// Times that time was given up.
    stalls: u64,
    pause: bool,
    sink: Sink,
}

/// A frame of one size.
struct Template {
    frame: Vec<u8>,
    /// Sums over header and pseudo header with payload, without what changes.
    ip_sum: u32,
    udp_sum: u32,
    /// Time to the frame behind it; none at line rate.
    interval: Option<Span>,
}

impl Source {
    /// A source that generates what `spec` says. Sizes that no frame can have
    /// are brought to the nearest that it can.
    pub fn new(spec: &SourceSpec) -> Self {
        let sizes = match &spec.sizes {
            Sizes::List(list) if list.is_empty() => &[*SIZES.start()][..],
            Sizes::List(list) => list,
            Sizes::Imix => &IMIX,
        };
        let mut kinds = sizes.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        let templates = kinds.iter().map(|&size| Template::new(size, spec.rate)).collect();
        let order = sizes.iter().filter_map(|size| kinds.binary_search(size).ok()).collect();
        Source {
            templates,
            order,
            turn: 0,
            flow: 0,
            flows: spec.flows.clamp(1, 1 << 16),
            sequence: 0,
            left: spec.count.unwrap_or(u64::MAX),
            due: Clock::default(),
            ready: false,
            stalls: 0,
            pause: spec.pause,
            sink: Sink::new(),
        }
    }

    /// Whether the next frame is due, at a rate that is not the line's. A source
    /// that has fallen behind gives whole intervals up.
    #[inline]
    fn is_due(&mut self, interval: Span, now: Picos) -> bool {
        if self.due == Clock::default() {
            self.due = self.due.not_before(now);
        }
        if now.saturating_sub(self.due.picos()) > BEHIND {
            let missed = interval.fits(now - self.due.picos() - BEHIND);
            self.stalls += u64::from(missed > 0);
            self.due = self.due.later(interval.times(missed));
        }
        self.due.picos() <= now
    }
}

impl Wire for Source {
    #[inline]
    fn send(&mut self, frame: &[u8], _: Picos) -> bool {
        self.sink.swallow(frame);
        true
    }

    #[inline]
    fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        if self.left == 0 {
            return None;
        }
        let kind = self.order[self.turn];
        let mut at = 0;
        if let Some(interval) = self.templates[kind].interval {
            if !self.is_due(interval, now) {
                return None;
            }
            at = self.due.picos();
        }
        let template = &mut self.templates[kind];
        if !self.ready {
            template.write(self.flow as u16, self.sequence);
            self.ready = true;
        }
        Some((&template.frame, at))
    }

    #[inline]
    fn advance(&mut self) {
        if let Some(interval) = self.templates[self.order[self.turn]].interval {
            self.due = self.due.later(interval);
        }
        self.sequence += 1;
        self.left = self.left.saturating_sub(1);
        self.flow = if self.flow + 1 == self.flows { 0 } else { self.flow + 1 };
        self.turn = if self.turn + 1 == self.order.len() { 0 } else { self.turn + 1 };
        self.ready = false;
    }

    fn carrier(&self) -> bool {
        true
    }

    fn waits(&self) -> bool {
        self.pause
    }

    /// What the sink says of what came back, and what was generated.
    fn report(&mut self) -> Vec<Note> {
        let mut report = vec![
            Note::passed("generated", "were generated", self.sequence),
            Note::passed("stalls", "times nobody took them", self.stalls),
        ];
        report.extend(self.sink.report());
        report
    }
}

/// Where the words are that change.
const IP: usize = 14;
const UDP: usize = 34;
const IP_CHECKSUM: usize = IP + 10;
const FLOW_ADDRESS: usize = IP + 14;
const UDP_CHECKSUM: usize = UDP + 6;

/// Source port of flow 0; flows have 16384 different ones.
const FIRST_PORT: u16 = 1024;
/// From flow to flow the port takes another step than the address: an RSS key
/// that is the same for both directions adds the two without carry, and what
/// went up in step would cancel out. Odd, so that no port comes twice.
const PORT_STEP: u16 = 0x2b35;

impl Template {
    fn new(size: u16, rate: Rate) -> Self {
        let len = usize::from(size.clamp(*SIZES.start(), *SIZES.end())) - FCS;
        let mut frame = vec![0; len];
        let ip_len = (len - IP) as u16;
        let udp_len = (len - UDP) as u16;
        frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
        frame[12..14].copy_from_slice(&0x0800_u16.to_be_bytes());
        // Version and header length, and at 6 "do not fragment"; 64 hops, UDP.
        frame[IP] = 0x45;
        frame[IP + 2..IP + 4].copy_from_slice(&ip_len.to_be_bytes());
        frame[IP + 6] = 0x40;
        frame[IP + 8..IP + 10].copy_from_slice(&[64, 17]);
        frame[IP + 12..IP + 20].copy_from_slice(&[198, 18, 0, 0, 198, 19, 0, 1]);
        // Port 9, discard.
        frame[UDP + 2..UDP + 4].copy_from_slice(&9_u16.to_be_bytes());
        frame[UDP + 4..UDP + 6].copy_from_slice(&udp_len.to_be_bytes());
        frame[MARK_AT..SEQUENCE_AT].copy_from_slice(&MARK);
        for (n, byte) in frame[HEADER..].iter_mut().enumerate() {
            *byte = n as u8;
        }
        let ip_sum = u32::from(fold(ones_sum(&frame[IP..UDP])));
        let udp_sum = u32::from(fold(ones_sum(&frame[IP + 12..]) + 17 + u64::from(udp_len)));
        let interval = match rate {
            Rate::Line => None,
            Rate::Frames(frames) => Some(Span::between(frames)),
            Rate::Bits(bits) => Some(ByteTime::new(Speed::Bits(bits)).of(len + OVERHEAD)),
        };
        Template { frame, ip_sum, udp_sum, interval }
    }

    /// Writes what differs from frame to frame.
    #[inline]
    fn write(&mut self, flow: u16, sequence: u64) {
        let port = FIRST_PORT + (flow.wrapping_mul(PORT_STEP) & 0x3fff);
        // Every frame is longer: the shortest has 60 bytes.
        let Some(header) = self.frame.first_chunk_mut::<HEADER>() else { return };
        header[FLOW_ADDRESS..FLOW_ADDRESS + 2].copy_from_slice(&flow.to_be_bytes());
        header[UDP..UDP + 2].copy_from_slice(&port.to_be_bytes());
        header[SEQUENCE_AT..HEADER].copy_from_slice(&sequence.to_be_bytes());
        let (high, low) = ((sequence >> 32) as u32, sequence as u32);
        let words = (low & 0xffff) + (low >> 16) + (high & 0xffff) + (high >> 16);
        let ip = !fold_few(self.ip_sum + u32::from(flow));
        let udp = match !fold_few(self.udp_sum + u32::from(flow) + u32::from(port) + words) {
            // 0 would say that there is no checksum (RFC 768).
            0 => 0xffff,
            sum => sum,
        };
        header[IP_CHECKSUM..IP_CHECKSUM + 2].copy_from_slice(&ip.to_be_bytes());
        header[UDP_CHECKSUM..UDP_CHECKSUM + 2].copy_from_slice(&udp.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mac;
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use std::collections::HashSet;

    fn spec(rate: Rate, sizes: Sizes) -> SourceSpec {
        SourceSpec { rate, sizes, ..SourceSpec::default() }
    }

    fn frames(source: &mut Source, count: usize) -> Vec<Vec<u8>> {
        let mut next = || {
            let frame = source.peek(u64::MAX / 2).map(|(frame, _)| frame.to_vec());
            source.advance();
            frame
        };
        (0..count).map_while(|_| next()).collect()
    }

    #[test]
    fn every_frame_is_valid_for_another_parser() {
        let sizes = Sizes::List(vec![64, 65, 570, 1518, 9018]);
        let mut source = Source::new(&SourceSpec { flows: 65536, ..spec(Rate::Line, sizes) });
        source.sequence = 0x0123_4567_89ab_cdef;
        source.flow = 65000;
        for frame in frames(&mut source, 5000) {
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("not IPv4") };
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            assert_eq!(usize::from(header.total_len()), frame.len() - 14);
            assert_eq!(header.source()[..2], [198, 18]);
            let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!("not UDP") };
            let checksum = udp.to_header().calc_checksum_ipv4(&header.to_header(), udp.payload()).unwrap();
            assert_eq!(udp.checksum(), checksum);
            assert_eq!(udp.payload().len(), frame.len() - 42);
        }
    }

    #[test]
    fn sizes_come_in_the_proportion_asked_for() {
        let sizes = |sizes| frames(&mut Source::new(&spec(Rate::Line, sizes)), 1200);
        let imix = sizes(Sizes::Imix);
        let of = |len: usize| imix.iter().filter(|frame| frame.len() + 4 == len).count();
        assert_eq!((of(64), of(570), of(1518)), (700, 400, 100));
        let list: Vec<_> = sizes(Sizes::List(vec![100, 64, 100])).iter().map(|frame| frame.len() + 4).collect();
        assert_eq!(list[..6], [100, 64, 100, 100, 64, 100]);
    }

    #[test]
    fn flows_take_turns() {
        let mut source = Source::new(&SourceSpec { flows: 7, ..SourceSpec::default() });
        let flow = |frame: &Vec<u8>| frame[26..38].to_vec();
        let flows: Vec<_> = frames(&mut source, 21).iter().map(flow).collect();
        assert_eq!(flows[..7].iter().collect::<HashSet<_>>().len(), 7);
        assert_eq!(flows[..7], flows[14..]);
    }

    #[test]
    fn a_source_stops_at_its_count() {
        let mut source = Source::new(&SourceSpec { count: Some(3), ..SourceSpec::default() });
        assert_eq!(frames(&mut source, 10).len(), 3);
    }

    #[test]
    fn rates_are_kept_exactly_under_line_rate_and_never_above() {
        const STEP: Picos = 1_000_000;
        let ten = Speed::Bits(10_000_000_000);
        for (rate, size, wanted) in [
            (Rate::Frames(1_000_000), 64, 10_000),
            (Rate::Frames(3), 64, 1),
            (Rate::Frames(14_000_000), 64, 140_000),
            (Rate::Frames(50_000_000), 64, 148_809),
            (Rate::Bits(5_000_000_000), 64, 74_404),
            (Rate::Bits(1_000_000_000), 1518, 812),
            (Rate::Line, 1518, 8127),
        ] {
            let source = Source::new(&spec(rate, Sizes::List(vec![size])));
            let mut mac = Mac::new(Box::new(source), ten);
            let mut count: u64 = 0;
            // A hundredth of a second.
            for step in 1..=10_000 {
                while mac.peek(step * STEP).is_some() {
                    mac.advance();
                    count += 1;
                }
            }
            assert!(count.abs_diff(wanted) <= 20, "{rate:?}: {count}");
        }
    }

    #[test]
    fn what_a_stall_kept_from_being_generated_is_not_made_up() {
        let mut source = Source::new(&spec(Rate::Frames(1_000_000), Sizes::Imix));
        let mut drain = |now| std::iter::from_fn(|| source.peek(now).is_some().then(|| source.advance())).count();
        assert_eq!(drain(1), 1);
        assert_eq!(drain(10_000_000_000_000), 501);
        assert_eq!(drain(10_000_001_000_000), 1);
        assert_eq!((source.report()[1].key, source.report()[1].frames), ("stalls", 1));
        let mut slow = Source::new(&spec(Rate::Frames(1), Sizes::Imix));
        assert!(slow.peek(1).is_some());
        slow.advance();
        assert_eq!(slow.peek(900_000_000_000), None);
        assert!(slow.peek(1_001_000_000_000).is_some(), "late, not lost");
    }

    #[test]
    fn a_source_checks_what_comes_back() {
        let mut source = Source::new(&SourceSpec { flows: 3, ..spec(Rate::Line, Sizes::Imix) });
        let mut sent = frames(&mut source, 100);
        // One lost, two swapped, one double, one spoiled.
        sent.remove(10);
        sent.swap(20, 21);
        sent.insert(30, sent[29].clone());
        sent[40][50] ^= 1;
        for frame in &sent {
            source.send(frame, 0);
        }
        let report: std::collections::HashMap<_, _> =
            source.report().into_iter().map(|note| (note.key, note.frames)).collect();
        let wanted = [("generated", 100), ("frames", 100), ("corrupt", 1), ("lost", 2), ("late", 1), ("duplicate", 1)];
        for (name, count) in wanted {
            assert_eq!(report[name], count, "{name}");
        }
        assert_eq!(report["foreign"], 0);
    }
}
