//! Frames in several buffers.

use super::*;

/// A set with aggregation rings, and buffers of 640 bytes in front of them.
fn start(chip: Chip, options: &str) -> (Bench, Set, Mine) {
    let mut bench = Bench::new(chip, options);
    let mut set = bench.start_with(true);
    let agg = set.agg.unwrap();
    let placement = Placement { flags: 0xe, jumbo: 640, hds_threshold: 640, ..Placement::default() };
    bench.plane.set_placement(set.vnic.into(), 5, placement).unwrap();
    let mut post = set.rx;
    post.next = 0;
    for index in 0..RING - 1 {
        let mut words = bench.words(post.at + 16 * index as usize);
        words[0] = 0x84 | 640 << 16 | u64::from(index) << 32;
        bench.put_words(post.at + 16 * index as usize, words);
    }
    set.agg = Some(agg);
    (bench, set, agg)
}

#[test]
fn the_rest_of_a_long_frame_is_in_aggregation_buffers() {
    for chip in CHIPS {
        let (mut bench, mut set, mut agg) = start(chip, "");
        bench.post(&mut agg, RING - 1, 4096, 0x06);
        bench.send(&mut set.tx, &frame(1442));
        let expected = [[0x91 | 640 << 16, 3], [0, 1], [0x12 | 802 << 16, 1]];
        assert_eq!(bench.read(&mut set.rx_cq), expected);
        let whole = [bench.buffer(set.rx, 0, 640), bench.buffer(agg, 0, 802)].concat();
        assert_eq!(whole, frame(1442));
        // A short one is not, and a very long one takes several.
        bench.send(&mut set.tx, &frame(640));
        assert_eq!(bench.read(&mut set.rx_cq).len(), 2);
        bench.send(&mut set.tx, &frame(9000));
        let record = bench.read(&mut set.rx_cq);
        assert_eq!((record.len(), record[0][1] >> 1 & 0x1f), (5, 3));
        let opaque: Vec<u64> = record[2..].iter().map(|entry| entry[0] >> 32).collect();
        assert_eq!(opaque, [1, 2, 3]);
        let parts = [(set.rx, 2, 640), (agg, 1, 4096), (agg, 2, 4096), (agg, 3, 168)];
        let whole = parts.map(|(ring, index, len)| bench.buffer(ring, index, len)).concat();
        assert_eq!(whole, frame(9000));
        assert_eq!(bench.plane.stat(set.stat.into()).unwrap().rx_packets[0], 3);
        bench.assert_clean();
    }
}

#[test]
fn without_aggregation_buffers_a_long_frame_is_an_error() {
    for chip in CHIPS {
        let (mut bench, mut set, mut agg) = start(chip, "");
        bench.send(&mut set.tx, &frame(1442));
        let record = bench.read(&mut set.rx_cq);
        assert_eq!(record, [[0x51 | 640 << 16, 1], [0, 3]]);
        bench.post(&mut agg, 4, 4096, 0x06);
        bench.send(&mut set.tx, &frame(1442));
        let after = bench.read(&mut set.rx_cq);
        assert_eq!(after.len(), if chip.p5() { 3 } else { 0 });
        bench.assert_clean();
    }
}

#[test]
fn a_frame_as_long_as_the_threshold_must_fit_the_first_buffer() {
    let (mut bench, mut set, mut agg) = start(Chip::P5, "");
    bench.post(&mut agg, 4, 4096, 0x06);
    let higher = Placement { flags: 2, jumbo: 1000, ..Placement::default() };
    bench.plane.set_placement(set.vnic.into(), 1, higher).unwrap();
    bench.send(&mut set.tx, &frame(1000));
    assert_eq!(bench.read(&mut set.rx_cq)[1][1], 3);
    bench.send(&mut set.tx, &frame(1001));
    assert_eq!(bench.read(&mut set.rx_cq).len(), 3);
    // Regular placement has no further buffers.
    let regular = Placement { flags: 1, ..higher };
    bench.plane.set_placement(set.vnic.into(), 0, regular).unwrap();
    bench.send(&mut set.tx, &frame(1001));
    assert_eq!(bench.read(&mut set.rx_cq)[1][1], 3);
}

#[test]
fn a_descriptor_of_the_wrong_type_is_a_violation() {
    let (mut bench, mut set, mut agg) = start(Chip::P5, "");
    bench.post(&mut agg, 4, 4096, 0x04);
    bench.send(&mut set.tx, &frame(1442));
    bench.assert_violated("aggregation descriptor of another type");
    assert_eq!(bench.read(&mut set.rx_cq)[1][1], 3);

    let mut bench = Bench::new(Chip::P5, "");
    let mut set = bench.start();
    let words = bench.words(set.rx.at);
    bench.put_words(set.rx.at, [words[0] & !0x3f | 6, words[1]]);
    bench.send(&mut set.tx, &frame(60));
    bench.assert_violated("receive descriptor of another type");
    assert_eq!(bench.read(&mut set.rx_cq)[1][1], 7);
}
