//! Requests that Linux, iPXE and DPDK sent, taken apart.

use super::*;

/// A request of which this follows the header.
fn request(payload: &str) -> Vec<u8> {
    let digit = |digit: u8| (digit as char).to_digit(16).unwrap() as u8;
    let payload: Vec<u8> = payload.bytes().map(digit).collect();
    let bytes = payload.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0));
    [0; 16].into_iter().chain(bytes).collect()
}

fn ring(payload: &str) -> RingSpec {
    RingSpec::of(&request(payload))
}

#[test]
fn rings_of_linux() {
    let cq = ring(
        "000000000000000000a05f0200000000000000000c010000001000000000000000000000000000000000000000000000\
         00000000000000000000000002",
    );
    let expected = (Some(RingKind::Completion), 0x025f_a000, 12, 1, 4096, 0, 2);
    assert_eq!((cq.kind, cq.address, cq.page_size, cq.depth, cq.length, cq.logical_id, cq.interrupt), expected);
    let tx = ring(
        "00000000010000000000670300000000000000000c010000000200000000010000000000000000000000000000000000\
         01",
    );
    assert_eq!((tx.kind, tx.length, tx.cq, tx.queue, tx.stat), (Some(RingKind::Transmit), 512, 1, 0, 1));
    let agg = ring("00000000020000000090660300000000000000000c0100000008000001");
    assert_eq!((agg.kind, agg.length, agg.logical_id), (Some(RingKind::Receive), 2048, 1));
    let cq = ring(
        "800000000000000000702a0300000000000000000c010000001000000000000000000000000001000000000000000000\
         0000000000000000000000000000000001000001",
    );
    assert_eq!((cq.enables, cq.nq, cq.handle), (NQ, 1, 0x0100_0001));
    let rx = ring(
        "80010000020000000040c50200000000000000000c010000000200000000000000008002000001000000000000000000\
         01",
    );
    assert_eq!((rx.enables, rx.buffer, rx.nq, rx.rx_ring), (NQ | BUFFER, 640, 1, 0));
    let agg = ring(
        "c00100000400000000a0c50200000000000000000c010000000800000100000000000010040001000000000000000000\
         01",
    );
    assert_eq!((agg.kind, agg.enables, agg.rx_ring), (Some(RingKind::Aggregation), NQ | BUFFER | RX_RING, 4));
}

#[test]
fn rings_of_ipxe_and_dpdk() {
    let nq = ring(
        "00000000050000000030991d00000000000000000c00000040000000ffff000000000000000000000000000000000000\
         00000000000000000000000003",
    );
    assert_eq!((nq.kind, nq.logical_id, nq.depth, nq.interrupt), (Some(RingKind::Notification), 0xffff, 0, 3));
    let rx = ring(
        "00010000020000000050991d000000000000000008000000100000000000020000000006000000000000000000000000\
         01000000000000000000000003",
    );
    assert_eq!((rx.enables, rx.cq, rx.buffer, rx.length), (BUFFER, 2, 0x600, 16));
    let cq = ring(
        "800000000000000000406c05000000000000000000000000000200000100000000000000000002000000000000000000\
         00000000000000000000000002",
    );
    assert_eq!((cq.page_size, cq.depth, cq.logical_id, cq.nq, cq.handle, cq.interrupt), (0, 0, 1, 2, 0, 2));
}

#[test]
fn groups_vnics_and_filters() {
    let group = GroupSpec::of(&request("01000300040001"));
    assert_eq!(group, GroupSpec { cq: 1, rx: 3, agg: 4, stat: 1 });
    assert_eq!(GroupSpec::of(&request("01000300ffff")).agg, 0xffff);
    let vnic = VnicSpec::of(&request("0200000013000000000001000100ffffffffee05"));
    let expected = (2, 0x13, 0, 1, 1, 0xffff, 1518);
    assert_eq!((vnic.flags, vnic.enables, vnic.vnic, vnic.group, vnic.rss, vnic.cos, vnic.mru), expected);
    let vnic = VnicSpec::of(&request("020000006000000000000000000000000000ee05040005"));
    assert_eq!((vnic.enables, vnic.rx, vnic.cq), (0x60, 4, 5));
    let rss = RssSpec::of(&request("3f0000000000000100905e020000000000915e020000000001"));
    assert_eq!((rss.types, rss.vnic, rss.pair, rss.context), (0x3f, 0, 0, 1));
    assert_eq!((rss.table, rss.key), (0x025e_9000, 0x025e_9100));
    let l2 = L2Spec::of(&request("0900000003800000000af70102030000ffffffffffff"));
    assert_eq!((l2.address, l2.mask, l2.vnic), ([0, 0x0a, 0xf7, 1, 2, 3], [0xff; 6], 0));
    let mask = MaskSpec::of(&request("000000000a00000000405e020000000002"));
    assert_eq!(mask, MaskSpec { vnic: 0, mask: 10, table: 0x025e_4000, count: 2 });
}

#[test]
fn coalescing_of_linux_is_taken() {
    let how = Coalescing::of(&request("010003001e0002001f000c003e007d001e003f"));
    let expected = Coalescing {
        ring: 1,
        flags: 3,
        enables: 0x3f,
        count: [30, 2],
        timer: [31, 12],
        latency: [62, 125],
        interrupt: 30,
    };
    assert_eq!(how, expected);
    let mut bench = Bench::new(Chip::P4, "");
    let cq = bench.cq(64, None);
    bench.plane.set_coalescing(&Coalescing { ring: cq.id, ..how }).unwrap();
}
