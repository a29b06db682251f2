//! Frames written straight through to the wire.

use super::*;

/// Counters of CTPIO.
const UNDERFLOW: usize = 0x6c;
const NONCONTIG: usize = 0x6e;
const VI_BUSY: usize = 0x68;
const UNQUALIFIED: usize = 0x72;
const RUNT: usize = 0x73;
const SUCCESS: usize = 0x74;
const FALLBACK: usize = 0x75;
const POISON: usize = 0x76;
const ERASE: usize = 0x77;

/// Flags of INIT_TXQ: no checksums, CTPIO, its thresholds.
const CTPIO: u32 = 6 | 1 << 13;
const UTHRESH: u32 = 1 << 14;

impl Bench {
    fn with_ctpio(spec: &str, flags: u32) -> Bench {
        let mut bench = Bench::new(spec, 1);
        bench.evq(0, 0);
        bench.rxq(0, 0, 0x100);
        bench.txq(0, 0, flags);
        bench.receive_all();
        bench
    }

    /// Writes a frame into the aperture; `skip` leaves a word out.
    fn aperture(&self, frame: &[u8], threshold: u32, skip: Option<usize>) {
        let header = frame.len() as u32 | threshold << 16;
        self.write(0, 0x3000, header);
        for (n, word) in frame.chunks(4).enumerate().filter(|(n, _)| Some(*n) != skip) {
            let mut bytes = [0; 4];
            bytes[..word.len()].copy_from_slice(word);
            self.write(0, 0x3004 + 4 * n as u64, u32::from_le_bytes(bytes));
        }
    }

    /// The type of the event that the frame behind it had; the frame must come back.
    fn sent_as(&mut self, frame: &[u8]) -> u64 {
        self.send(0, frame);
        let events = self.events(0);
        let kind = events.iter().find(|event| **event >> 60 == 2).map(|event| event >> 24 & 0x7f).unwrap();
        assert_eq!(self.packets(0, &events)[0][14..], *frame);
        kind
    }

    fn counter(&mut self, index: usize) -> u64 {
        let address = self.arena.iova(STATS);
        self.must(0x2e, &[&address.to_le_bytes()[..], &words(&[1, 0x79 * 8, 0])].concat());
        self.qword(STATS + 8 * index)
    }
}

#[test]
fn a_frame_in_the_aperture_is_sent_and_its_descriptor_only_consumed() {
    let mut bench = Bench::with_ctpio("x2522,strict", CTPIO | UTHRESH);
    bench.tap.note_stages(true);
    for len in [60, 64, 301, 1514] {
        let frame = frame(len);
        bench.aperture(&frame, 0xfff, None);
        assert_eq!(bench.sent_as(&frame), 0x11);
    }
    // Without, it is as it ever was.
    assert_eq!(bench.sent_as(&frame(60)), 0);
    assert_eq!((bench.counter(SUCCESS), bench.counter(FALLBACK)), (4, 0));
    let paths: Vec<_> = bench.tap.take_stages().iter().map(|stages| stages.path).collect();
    assert_eq!(paths, ["CTPIO", "CTPIO", "CTPIO", "CTPIO", "DMA"]);
    bench.assert_clean();
}

#[test]
fn what_cannot_go_straight_falls_back_on_its_descriptor() {
    // The queue was not initialised for it.
    let mut bench = Bench::with_ctpio("x2522,strict", 6);
    let one = frame(100);
    bench.aperture(&one, 0xfff, None);
    assert_eq!(bench.sent_as(&one), 0);
    assert_eq!((bench.counter(UNQUALIFIED), bench.counter(FALLBACK)), (1, 1));

    // It has something else to send.
    let mut bench = Bench::with_ctpio("x2522,strict", CTPIO);
    let first = bench.data(0, bench.tx_next[0], &frame(200));
    bench.push(0, first);
    bench.aperture(&one, 0xfff, None);
    bench.send(0, &one);
    let events = bench.events(0);
    assert_eq!(bench.packets(0, &events).len(), 2);
    assert_eq!((bench.counter(VI_BUSY), bench.counter(FALLBACK)), (1, 1));

    // Too short.
    let mut bench = Bench::with_ctpio("x2522,strict", CTPIO);
    bench.aperture(&frame(28), 0xfff, None);
    bench.send(0, &frame(28));
    assert_eq!((bench.counter(RUNT), bench.counter(FALLBACK)), (1, 1));
    bench.assert_clean();
}

#[test]
fn a_frame_with_a_gap_is_erased_or_if_it_had_begun_poisoned() {
    for (flags, threshold, lost) in [(CTPIO | UTHRESH, 64, POISON), (CTPIO | UTHRESH, 0xfff, ERASE), (CTPIO, 64, ERASE)]
    {
        let mut bench = Bench::with_ctpio("x2522", flags);
        let frame = frame(200);
        bench.aperture(&frame, threshold, Some(7));
        assert_eq!(bench.sent_as(&frame), 0);
        assert_eq!((bench.counter(NONCONTIG), bench.counter(lost), bench.counter(FALLBACK)), (1, 1, 1));
        assert_eq!(bench.violations(), ["CTPIO write that does not follow the one before"]);
    }
}

#[test]
fn a_frame_that_has_begun_is_poisoned_if_the_wire_has_to_wait_for_it() {
    // A store takes microseconds in virtual time, the wire 57 nanoseconds for 72 bytes.
    for (flags, threshold, poisoned) in [(CTPIO | UTHRESH, 64, 1), (CTPIO | UTHRESH, 200, 0), (CTPIO, 64, 0)] {
        let mut bench = Bench::with_ctpio("x2522,strict", flags);
        let frame = frame(200);
        bench.aperture(&frame, threshold, None);
        assert_eq!(bench.sent_as(&frame), if poisoned == 1 { 0 } else { 0x11 });
        let counted = [UNDERFLOW, POISON, FALLBACK, SUCCESS].map(|index| bench.counter(index));
        assert_eq!(counted, [poisoned, poisoned, poisoned, 1 - poisoned], "threshold {threshold}");
        // It is the host's fault and not the driver's.
        bench.assert_clean();
    }
}

#[test]
fn a_frame_must_be_whole_before_its_doorbell_and_have_one() {
    let mut bench = Bench::with_ctpio("x2522", CTPIO);
    let frame = frame(100);
    bench.aperture(&frame[..60], 0xfff, None);
    bench.write(0, 0x3000, frame.len() as u32);
    assert_eq!(bench.violations(), ["CTPIO frame begun before the doorbell of the last one"]);
    assert_eq!(bench.sent_as(&frame), 0);

    let mut bench = Bench::with_ctpio("x2522", CTPIO);
    bench.write(0, 0x3000, frame.len() as u32);
    assert_eq!(bench.sent_as(&frame), 0);
    assert_eq!(bench.violations(), ["doorbell before the end of a CTPIO frame"]);
}

#[test]
fn older_cards_have_no_aperture() {
    let bench = Bench::new("sfc9220", 1);
    assert_eq!(u32_of(&Bench::new("sfc9220", 1).must(0xbe, &[]), 0x14) >> 15 & 1, 0);
    bench.write(0, 0x1ffc, 0);
    bench.write(1, 0, 0);
    assert!(!bench.violations().is_empty());
}
