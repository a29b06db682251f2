//! Reset, link, and frames there and back.

use super::*;

#[test]
fn a_frame_of_any_length_goes_round_the_loop() {
    let mut bench = Bench::new("82599,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    for len in [60, 61, 64, 127, 512, 1513, 1514] {
        let frame = frame(len);
        let index = bench.send(0, &frame);
        bench.run(20_000_000);
        assert!(bench.sent(0, index), "{len}");
        let (got, words) = bench.receive(0).unwrap();
        assert_eq!(got, frame);
        assert_eq!(words[1] & 0x3, 3);
        bench.assert_clean();
    }
}

#[test]
fn ten_thousand_frames_wrap_the_rings_in_order() {
    let mut bench = Bench::new("82599,strict");
    bench.receive_on(1);
    bench.transmit_on(1);
    let mut received = 0u32;
    for n in 0..10_000u32 {
        let mut frame = frame(60 + (n % 100) as usize);
        frame[20..24].copy_from_slice(&n.to_be_bytes());
        bench.send(0, &frame);
        if n % 16 == 15 {
            bench.run(20_000_000);
            while let Some((got, _)) = bench.receive(0) {
                assert_eq!(got[20..24], received.to_be_bytes());
                received += 1;
            }
        }
    }
    assert_eq!(received, 10_000);
    bench.assert_clean();
    let counters = bench.tap.wire();
    assert_eq!((counters.tx_frames, counters.rx_frames), (10_000, 10_000));
}
