//! What crosses PCIe for a packet of each of our drivers: counted on the model, the same on
//! every machine, and held here.
#![cfg(target_arch = "x86_64")]

use bmnic::compare::count_alone;

/// Packets in a burst, and for each packet: stores to doorbells; lines of descriptors,
/// completions and indices in and out; reads and writes that the card begins.
type Row = (usize, [f64; 5]);

/// With rings of 512.
const HELD: [(&str, [Row; 3]); 8] = [
    (
        "82599",
        [
            (1, [1.03, 1.28, 2.00, 2.04, 3.00]),
            (4, [0.28, 0.53, 1.25, 1.28, 2.25]),
            (32, [0.06, 0.53, 1.03, 1.07, 2.03]),
        ],
    ),
    (
        "x710",
        [
            (1, [1.03, 1.28, 2.00, 2.04, 3.00]),
            (4, [0.28, 0.53, 1.25, 1.28, 2.25]),
            (32, [0.06, 0.53, 1.03, 1.07, 2.03]),
        ],
    ),
    (
        "virtio",
        [
            (1, [1.00, 7.28, 5.00, 8.04, 6.00]),
            (4, [0.25, 3.28, 3.75, 4.04, 4.75]),
            (32, [0.03, 2.63, 3.97, 3.16, 4.97]),
        ],
    ),
    (
        "virtio-legacy",
        [
            (1, [1.00, 7.29, 5.25, 8.04, 6.00]),
            (4, [0.25, 3.32, 4.00, 4.04, 4.75]),
            (32, [0.03, 2.66, 4.22, 3.17, 4.97]),
        ],
    ),
    (
        "x2522",
        [
            (1, [1.02, 0.12, 2.00, 1.02, 3.00]),
            (4, [0.27, 0.50, 2.00, 1.27, 3.00]),
            (32, [0.05, 0.28, 2.00, 1.05, 3.00]),
        ],
    ),
    (
        "bcm57414",
        [
            (1, [1.07, 1.31, 2.00, 2.07, 3.00]),
            (4, [0.31, 0.56, 1.25, 1.32, 2.25]),
            (32, [0.06, 0.53, 1.03, 1.07, 2.03]),
        ],
    ),
    (
        "bcm57508",
        [
            (1, [1.07, 1.31, 2.00, 2.07, 3.00]),
            (4, [0.31, 0.56, 1.25, 1.32, 2.25]),
            (32, [0.06, 0.53, 1.03, 1.07, 2.03]),
        ],
    ),
    (
        "cx5",
        [
            (1, [1.00, 1.25, 2.00, 2.04, 3.00]),
            (4, [0.25, 0.75, 1.25, 1.28, 2.25]),
            (32, [0.03, 0.53, 1.03, 1.10, 2.03]),
        ],
    ),
];

#[test]
fn no_driver_has_more_cross_than_is_written_down() {
    for (model, rows) in HELD {
        for (burst, held) in rows {
            let crossing = count_alone(model, 512, burst).unwrap();
            for ((column, counted), held) in crossing.a_packet().into_iter().zip(held) {
                // The third decimal is where in their pages rings and buffers lie.
                assert!((counted - held).abs() < 0.01, "{model}, bursts of {burst}: {counted:.3} {column}, not {held}");
            }
            assert_eq!(crossing.card.interrupts, 0, "{model}: who polls wants none");
        }
    }
}

#[test]
fn a_card_that_there_is_not_is_refused() {
    let refused = count_alone("82598", 512, 1).unwrap_err();
    assert_eq!(refused.kind(), bmnic::Kind::Usage, "{refused}");
}
