//! Whole bring-ups as drivers of others send them, byte by byte: Linux 7.2, iPXE 2.0.0,
//! DPDK 22.11. Addresses are this test's, and identifiers what the card gave.

use super::*;

impl Bench {
    /// A request as it was captured from its 17th byte on, with fields of this run.
    #[track_caller]
    fn golden(&mut self, code: u16, len: usize, payload: &str, fields: &[(usize, &[u8])]) -> Vec<u8> {
        let payload = hex(payload);
        let mut all: Vec<(usize, &[u8])> = vec![(0x10, &payload)];
        all.extend_from_slice(fields);
        self.must(code, &all, len)
    }

    /// A ring: its id.
    #[track_caller]
    fn golden_ring(&mut self, len: usize, payload: &str, at: u64, fields: &[(usize, &[u8])]) -> u16 {
        let at = at.to_le_bytes();
        let mut all: Vec<(usize, &[u8])> = vec![(0x18, &at)];
        all.extend_from_slice(fields);
        u16_at(&self.golden(RING_ALLOC, len, payload, &all), 8)
    }

    /// RING_FREE that is told in this completion queue.
    #[track_caller]
    fn golden_free(&mut self, kind: u8, ring: u16, cq: u16) {
        let request =
            self.request(RING_FREE, &[(2, &cq.to_le_bytes()), (0x10, &[kind]), (0x12, &ring.to_le_bytes())], 32);
        self.send(&request).unwrap().unwrap();
    }

    /// The context memory that QCAPS asks for: fields of CFG.
    pub fn store_fields(&mut self, caps: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let word = |at| u16_at(caps, at);
        let long = |at| u32_at(caps, at);
        let rings = usize::from(caps[0x4e]);
        let mut fields = vec![
            (0xe4, caps[0x0c..0x0e].to_vec()),
            (0xe6, caps[0x0e..0x10].to_vec()),
            (0xea, caps[0x12..0x14].to_vec()),
            (0xee, caps[0x1a..0x1c].to_vec()),
            (0xe8, caps[0x10..0x12].to_vec()),
            (0xec, caps[0x18..0x1a].to_vec()),
            (0xf0, caps[0x20..0x22].to_vec()),
            (0xf2, caps[0x22..0x26].to_vec()),
            (0xf6, caps[0x26..0x28].to_vec()),
            (0xf8, caps[0x2c..0x2e].to_vec()),
            (0xfa, caps[0x2e..0x30].to_vec()),
        ];
        let tqm = long(0x30).next_multiple_of(caps[0x46].into());
        let counts = [
            (0xa8, u32::from(word(0x0c)) + u32::from(word(0x0e))),
            (0xac, word(0x12).into()),
            (0xb0, word(0x1a).into()),
            (0xb4, long(0x28)),
        ];
        let tqms = (0..=rings).map(|n| (0xb8 + 4 * n, tqm));
        fields.extend(counts.into_iter().chain(tqms).map(|(at, count)| (at, count.to_le_bytes().to_vec())));
        for kind in 0..=5 + rings {
            // By way of a table of pages, as many as it takes.
            fields.push((0x18 + kind, vec![1]));
            fields.push((0x28 + 8 * kind, self.table(80, 1).to_le_bytes().to_vec()));
        }
        let enables = (1_u32 << (6 + rings)) - 1;
        fields.push((0x14, enables.to_le_bytes().to_vec()));
        fields
    }

    /// BACKING_STORE_QCAPS and CFG.
    pub fn give_store(&mut self, len: usize) {
        let caps = self.must(STORE_QCAPS, &[], 16);
        let fields = self.store_fields(&caps);
        let fields: Vec<(usize, &[u8])> = fields.iter().map(|(at, field)| (*at, &field[..])).collect();
        self.must(STORE_CFG, &fields, len);
    }
}

/// What Linux asks before it opens an interface.
fn linux_probe(bench: &mut Bench, reserve: &str) {
    let version = bench.golden(VER_GET, 24, "010a03", &[]);
    assert_eq!((version.len(), version[8], version[9], version[0x7f]), (176, 1, 10, 1));
    assert_eq!([0x76, 0x78, 0x7a, 0xa8].map(|at| u16_at(&version, at)), [128, 704, 5000, 384]);
    bench.must(0xfff6, &[], 16);
    bench.must(FUNC_RESET, &[], 24);
    bench.golden(0xc8, 32, "ea070b1d", &[]);
    let caps = bench.golden(FUNC_QCAPS, 24, "ffff", &[]);
    assert_eq!((caps.len(), &caps[0x10..0x13]), (144, &[0x00, 0x0a, 0xf7][..]));
    let queues = bench.must(QPORTCFG, &[], 24);
    assert!(queues[8] != 0 && u16::from(queues[0xf]) == LOSSY);
    if bench.short {
        bench.give_store(336);
    }
    assert_eq!(bench.golden(RESOURCE_QCAPS, 24, "ffff", &[]).len(), 88);
    let answer = bench.golden(RGTR, 112, "040000001b0000002400010a0300000000000000000000000080800080000000000000000000000000000100000000000000000000000000d50500000100880035100000000000000000000000000000000000000000000001000a0003", &[]);
    assert_eq!(u32_at(&answer, 8), 1, "it is to tell when it is up");
    assert_eq!(bench.command(0x261, &[], 24), Err(UNKNOWN), "watchdog of pause");
    bench.golden(FUNC_QCFG, 24, "ffff", &[]);
    for (code, len) in [(0x4a, 24), (0x2f, 24), (0x200, 16), (0xe0, 16), (PHY_QCAPS, 24), (PHY_QCFG, 24)] {
        bench.must(code, &[], len);
    }
    bench.golden(FUNC_CFG, 160, reserve, &[]);
    let got = bench.golden(FUNC_QCFG, 24, "ffff", &[]);
    assert!([0x1a, 0x1c, 0x1e, 0x22, 0x46].iter().all(|at| u16_at(&got, *at) >= 1), "{got:02x?}");
    bench.golden(FUNC_CFG, 160, "ffff000000000000000010", &[]);
    bench.must(0x54, &[], 16);
}

#[test]
fn linux_brings_p4_up_and_down() {
    let mut bench = Bench::bare("bcm57414,strict");
    let reserve = "ffff000000000000bc01080000000000010001000100020000000100010001";
    linux_probe(&mut bench, reserve);
    bench.golden(FUNC_CFG, 160, "ffff0000000000008400080000000000010000000000000000000200000001", &[]);
    bench.must(IF_CHANGE, &[(0x10, &[1])], 24);
    let stats = bench.memory(1).to_le_bytes();
    let stat = bench.golden(STAT_ALLOC, 48, "00305e0200000000e80300000000a0", &[(0x10, &stats)]);
    let stat = u16_at(&stat, 8).to_le_bytes();
    let (cq_at, tx_at, rx_at, agg_at) = (bench.table(16, 0), bench.table(2, 0), bench.table(2, 0), bench.table(8, 0));
    let cq = bench.golden_ring(96, "000000000000000000a05f0200000000000000000c01000000100000000000000000000000000000000000000000000000000000000000000000000002", cq_at, &[]);
    let cq_id = cq.to_le_bytes();
    let doorbells = bench.function.bar(2).unwrap();
    doorbells.write32(0, 0x2c00_0000);
    bench.golden(FUNC_CFG, 160, "ffff000000000000004000", &[(0x50, &cq_id)]);
    let queue = LOSSY.to_le_bytes();
    let tx = bench.golden_ring(
        96,
        "00000000010000000000670300000000000000000c01000000020000000001000000000000000000000000000000000001",
        tx_at,
        &[(0x2e, &cq_id), (0x30, &queue), (0x40, &stat)],
    );
    let rx = bench.golden_ring(96, "000000000200000000d0660300000000000000000c0100000002", rx_at, &[]);
    let agg = bench.golden_ring(96, "00000000020000000090660300000000000000000c0100000008000001", agg_at, &[]);
    let group = [cq_id, rx.to_le_bytes(), agg.to_le_bytes(), stat].concat();
    let group = u16_at(&bench.golden(GRP_ALLOC, 24, "01000300040001", &[(0x10, &group)]), 8).to_le_bytes();
    let vnic = u16_at(&bench.golden(VNIC_ALLOC, 24, "01", &[]), 8);
    let vnic_id = vnic.to_le_bytes();
    let rss = u16_at(&bench.must(0x70, &[], 16), 8).to_le_bytes();
    bench.golden(
        VNIC_CFG,
        48,
        "0200000013000000000001000100ffffffffee05",
        &[(0x18, &vnic_id), (0x1a, &group), (0x1c, &rss)],
    );
    let (table, key) = (bench.pages(1), bench.memory(1).to_le_bytes());
    bench.put(table, &group.repeat(128));
    let table = bench.arena.iova(table).to_le_bytes();
    bench.golden(
        0x46,
        48,
        "3f0000000000000100905e020000000000915e020000000001",
        &[(0x14, &vnic_id), (0x18, &table), (0x20, &key), (0x28, &rss)],
    );
    let read = bench.must(0x47, &[(0x10, &rss), (0x12, &vnic_id)], 24);
    assert_eq!((read.len(), u32_at(&read, 8)), (64, 0x3f));
    bench.golden(0x48, 40, "0e0000000500000000000000800200008002", &[(0x18, &vnic_id)]);
    let second = u16_at(&bench.must(VNIC_ALLOC, &[], 24), 8).to_le_bytes();
    bench.golden(
        VNIC_CFG,
        48,
        "2200000013000000010001000100ffffffffee05",
        &[(0x18, &second), (0x1a, &group), (0x1c, &rss)],
    );
    bench.golden(0x48, 40, "0e0000000500000001000000800200008002", &[(0x18, &second)]);
    bench.golden(0x44, 48, "3f0000000b0000000000050007000000000000000002", &[(0x18, &vnic_id)]);
    let mac = bench.must(FUNC_QCAPS, &[(0x10, &[0xff, 0xff])], 24)[0x10..0x16].to_vec();
    let filter = bench.golden(
        L2_FILTER_ALLOC,
        96,
        "0900000003800000000af70102030000ffffffffffff",
        &[(0x18, &mac), (0x4e, &vnic_id)],
    );
    let groups = bench.pages(1);
    bench.put(groups, &hex("01005e0000013333ff010203"));
    let groups = bench.arena.iova(groups).to_le_bytes();
    bench.golden(RX_MASK, 56, "000000000a00000000405e020000000001", &[(0x10, &vnic_id), (0x18, &groups)]);
    bench.golden(0x53, 40, "010003001e0002001f000c003e007d001e003f", &[(0x10, &cq_id)]);
    bench.golden(RX_MASK, 56, "000000000a00000000405e020000000002", &[(0x10, &vnic_id), (0x18, &groups)]);
    bench.must(PHY_QCFG, &[], 24);
    let (sent, received) = (bench.memory(1).to_le_bytes(), bench.memory(1).to_le_bytes());
    let sizes = bench.must(0x23, &[(0x18, &sent), (0x20, &received)], 40);
    assert_eq!((u16_at(&sizes, 8), u16_at(&sizes, 10)), (408, 528));
    bench.must(0xb4, &[(0x12, &[0, 1, 0, 2]), (0x18, &sent), (0x20, &received)], 40);

    bench.must(0x91, &[(0x10, &filter[8..16])], 24);
    bench.must(0x71, &[(0x10, &rss)], 24);
    bench.must(0x44, &[(0x18, &vnic_id)], 48);
    bench.must(0x41, &[(0x10, &second)], 24);
    bench.must(0x41, &[(0x10, &vnic_id)], 24);
    bench.golden_free(1, tx, cq);
    bench.golden_free(2, rx, cq);
    bench.golden_free(2, agg, cq);
    bench.golden_free(0, cq, 0xffff);
    bench.must(0x61, &[(0x10, &group)], 24);
    bench.must(0xb1, &[(0x10, &stat)], 24);
    bench.must(IF_CHANGE, &[], 24);
    bench.golden(PHY_CFG, 64, "0040", &[]);
    bench.must(UNRGTR, &[], 24);
    assert!(!bench.link());
    bench.assert_clean();
}

#[test]
fn linux_brings_p5_up_and_down() {
    let mut bench = Bench::bare("bcm57508,strict");
    linux_probe(&mut bench, "ffff010000000000bc0120000000000001000200010002000000010001");
    bench.must(IF_CHANGE, &[(0x10, &[1])], 24);
    bench.must(0x0124, &[], 24);
    bench.must(0x29, &[], 24);
    let stats = bench.memory(1).to_le_bytes();
    let stat = bench.golden(STAT_ALLOC, 48, "00305e0200000000e80300000000b0", &[(0x10, &stats)]);
    let stat = u16_at(&stat, 8).to_le_bytes();
    let at: Vec<u64> = [16, 16, 2, 2, 16, 8].into_iter().map(|count| bench.table(count, 0)).collect();
    let nq = bench.golden_ring(96, "00000000050000000090260300000000000000000c01000000100000000000000000000000000000000000000000000000000000000000000000000002", at[0], &[]);
    let nq_id = nq.to_le_bytes();
    bench.golden(FUNC_CFG, 160, "ffff000000000000004000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001", &[(0x50, &nq_id)]);
    let cq = bench.golden_ring(96, "800000000000000000702a0300000000000000000c0100000010000000000000000000000000010000000000000000000000000000000000000000000000000001000001", at[1], &[(0x36, &nq_id)]);
    let cq_id = cq.to_le_bytes();
    let queue = LOSSY.to_le_bytes();
    let tx = bench.golden_ring(
        96,
        "00000000010000000060260300000000000000000c01000000020000000002000000000000000000000000000000000001",
        at[2],
        &[(0x2e, &cq_id), (0x30, &queue), (0x40, &stat)],
    );
    let rx = bench.golden_ring(
        96,
        "80010000020000000040c50200000000000000000c01000000020000000000000000800200000100000000000000000001",
        at[3],
        &[(0x36, &nq_id), (0x40, &stat)],
    );
    let rx_id = rx.to_le_bytes();
    let rx_cq = bench.golden_ring(
        96,
        "80000000000000000060290300000000000000000c010000001000000000000000000000000001",
        at[4],
        &[(0x36, &nq_id)],
    );
    let rx_cq_id = rx_cq.to_le_bytes();
    let agg = bench.golden_ring(
        96,
        "c00100000400000000a0c50200000000000000000c01000000080000010000000000001004000100000000000000000001",
        at[5],
        &[(0x34, &rx_id), (0x36, &nq_id), (0x40, &stat)],
    );
    let vnic_id = u16_at(&bench.golden(VNIC_ALLOC, 24, "01", &[]), 8).to_le_bytes();
    let rss = u16_at(&bench.must(0x70, &[], 16), 8).to_le_bytes();
    let (table, key) = (bench.pages(1), bench.memory(1).to_le_bytes());
    bench.put(table, &[rx_id, rx_cq_id].concat().repeat(64));
    let table = bench.arena.iova(table).to_le_bytes();
    bench.golden(
        0x46,
        48,
        "3f0000000000000100902b030000000000982b030000000001",
        &[(0x14, &vnic_id), (0x18, &table), (0x20, &key), (0x28, &rss)],
    );
    bench.golden(
        VNIC_CFG,
        48,
        "020000006000000000000000000000000000ee05040005",
        &[(0x18, &vnic_id), (0x24, &rx_id), (0x26, &rx_cq_id)],
    );
    bench.golden(0x48, 40, "0e0000000500000000000000800200008002", &[(0x18, &vnic_id)]);
    bench.golden(0x44, 48, "3f0000000b00000000003f0000010000000000000002", &[(0x18, &vnic_id)]);
    let mac = bench.must(FUNC_QCAPS, &[(0x10, &[0xff, 0xff])], 24)[0x10..0x16].to_vec();
    let filter = bench.golden(
        L2_FILTER_ALLOC,
        96,
        "0900000003800000000af70102030000ffffffffffff",
        &[(0x18, &mac), (0x4e, &vnic_id)],
    );
    bench.golden(RX_MASK, 56, "0000000008", &[(0x10, &vnic_id)]);
    for cq in [cq_id, rx_cq_id] {
        bench.golden(0x53, 40, "010003001e0002001f000c003e007d001e003fff01", &[(0x10, &cq)]);
    }
    let (sent, received) = (bench.memory(1).to_le_bytes(), bench.memory(1).to_le_bytes());
    let sizes = bench.must(0xb4, &[(0x12, &[0, 1, 0, 2]), (0x18, &sent), (0x20, &received)], 40);
    assert_eq!((u16_at(&sizes, 8), u16_at(&sizes, 10)), (256, 280), "as much as there is room for, or as there is");

    bench.must(0x91, &[(0x10, &filter[8..16])], 24);
    bench.must(0x41, &[(0x10, &vnic_id)], 24);
    bench.must(0x71, &[(0x10, &rss)], 24);
    bench.golden_free(1, tx, cq);
    bench.golden_free(2, rx, rx_cq);
    bench.golden_free(4, agg, rx_cq);
    for (kind, ring) in [(0, cq), (0, rx_cq), (5, nq)] {
        bench.golden_free(kind, ring, 0xffff);
    }
    bench.must(0xb1, &[(0x10, &stat)], 24);
    bench.golden(PHY_CFG, 64, "0040", &[]);
    bench.must(UNRGTR, &[], 24);
    bench.assert_clean();
}

/// What iPXE says up to its rings.
fn ipxe_open(bench: &mut Bench, reserve: &str) {
    let window = |bench: &mut Bench, code: u16, len: usize, payload: &str| bench.golden(code, len, payload, &[]);
    window(bench, VER_GET, 24, "010a");
    window(bench, FUNC_RESET, 24, "00000000000001");
    window(bench, FUNC_QCAPS, 24, "ffff");
    window(
        bench,
        RGTR,
        112,
        "0400000013000000010000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000c50000000000000000000000000000000000000000000000000000000000000001",
    );
    if bench.is_p5() {
        window(bench, STORE_CFG, 256, "01");
        window(bench, 0x194, 16, "");
    }
    window(bench, RESOURCE_QCAPS, 24, "ffff");
    window(bench, PHY_QCAPS, 24, "");
    window(bench, FUNC_QCFG, 24, "ffff");
    window(bench, MAC_CFG, 40, "");
    window(bench, FUNC_CFG, 88, reserve);
    window(bench, PHY_QCFG, 24, "");
}

/// What it says after them, and to take all away again. Rings are transmit, receive,
/// completions and, on P5, notifications.
fn ipxe_traffic(bench: &mut Bench, vnic: &str, to: &[(usize, &[u8])], rings: &[(u8, u16)], group: Option<[u8; 2]>) {
    let vnic_id = u16_at(&bench.golden(VNIC_ALLOC, 24, "01", &[]), 8).to_le_bytes();
    let events = rings.last().unwrap().1.to_le_bytes();
    bench.golden(FUNC_CFG, 88, "ffff000000000000004000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001", &[(0x50, &events)]);
    let mut fields = vec![(0x18, &vnic_id[..])];
    fields.extend_from_slice(to);
    bench.golden(VNIC_CFG, 40, vnic, &fields);
    let mac = bench.must(FUNC_QCAPS, &[(0x10, &[0xff, 0xff])], 24)[0x10..0x16].to_vec();
    let filter = bench.golden(
        L2_FILTER_ALLOC,
        96,
        "0100000003800000000af70102030000ffffffffffff00000000000000000000000af70102030000ffffffffffff",
        &[(0x18, &mac), (0x30, &mac), (0x4e, &vnic_id)],
    );
    bench.golden(RX_MASK, 56, "000000000e", &[(0x10, &vnic_id)]);
    assert!(bench.link());
    bench.must(0x91, &[(0x10, &filter[8..16])], 24);
    bench.must(RX_MASK, &[(0x10, &vnic_id)], 56);
    bench.must(0x41, &[(0x10, &vnic_id)], 24);
    if let Some(group) = group {
        bench.must(0x61, &[(0x10, &group)], 24);
    }
    for (kind, ring) in [rings[1], rings[0]] {
        bench.must(RING_FREE, &[(0x10, &[kind]), (0x12, &ring.to_le_bytes())], 24);
    }
}

#[test]
fn ipxe_brings_p4_up_twice() {
    let mut bench = Bench::bare("bcm57414,strict");
    for _ in 0..2 {
        ipxe_open(&mut bench, "ffff0000000000003801080000000000000001000100010000000000010001");
        let stat = u16_at(&bench.must(STAT_ALLOC, &[], 32), 8).to_le_bytes();
        let queues = bench.must(QPORTCFG, &[], 24);
        let queue = [queues[0xf], 0];
        let (cq_at, tx_at, rx_at) = (bench.memory(1), bench.memory(1), bench.memory(1));
        let cq = bench.golden_ring(88, "00000000000000000040991d00000000000000000800000080000000000000000000000000000000000000000000000000000000000000000000000003", cq_at, &[]);
        let cq_id = cq.to_le_bytes();
        let tx = bench.golden_ring(88, "00000000010000000060991d00000000000000000800000040000000000001000000000000000000000000000000000001000000000000000000000003", tx_at, &[(0x2e, &cq_id), (0x30, &queue), (0x40, &stat)]);
        let rx = bench.golden_ring(88, "00000000020000000050991d00000000000000000800000010000000000001000000000000000000000000000000000001000000000000000000000003", rx_at, &[(0x2e, &cq_id), (0x40, &stat)]);
        let group = [cq_id, rx.to_le_bytes(), [0xff; 2], stat].concat();
        let group = bench.golden(GRP_ALLOC, 24, "01000300ffff", &[(0x10, &group)]);
        let group = [group[8], group[9]];
        ipxe_traffic(
            &mut bench,
            "0000000011000000000001000000000000000006",
            &[(0x1a, &group)],
            &[(1, tx), (2, rx), (0, cq)],
            Some(group),
        );
        bench.must(0xb1, &[(0x10, &stat)], 24);
        bench.must(RING_FREE, &[(0x10, &[0]), (0x12, &cq_id)], 24);
        bench.must(UNRGTR, &[], 24);
    }
    bench.assert_clean();
}

#[test]
fn ipxe_brings_p5_up_twice() {
    let mut bench = Bench::bare("bcm57508,strict");
    // It does not heed that commands have to come by way of memory.
    bench.short = false;
    for _ in 0..2 {
        ipxe_open(&mut bench, "ffff010000000000b8012a0000000000000001000100010000000100010001");
        let stat = u16_at(&bench.must(STAT_ALLOC, &[], 32), 8).to_le_bytes();
        let queues = bench.must(QPORTCFG, &[], 24);
        let queue = [queues[0xf], 0];
        let at: Vec<u64> = (0..4).map(|_| bench.memory(1)).collect();
        let nq = bench.golden_ring(88, "00000000050000000030991d00000000000000000c00000040000000ffff00000000000000000000000000000000000000000000000000000000000003", at[0], &[]);
        let nq_id = nq.to_le_bytes();
        let cq = bench.golden_ring(88, "80000000000000000040991d0000000000000000080000008000000000000000000000000000010000000000000000000000000000000000000000000300000001", at[1], &[(0x36, &nq_id), (0x50, &nq_id)]);
        let cq_id = cq.to_le_bytes();
        let tx = bench.golden_ring(88, "00000000010000000060991d00000000000000000800000040000000000002000000000000000000000000000000000001000000000000000000000003", at[2], &[(0x2e, &cq_id), (0x30, &queue), (0x40, &stat)]);
        let rx = bench.golden_ring(88, "00010000020000000050991d00000000000000000800000010000000000002000000000600000000000000000000000001000000000000000000000003", at[3], &[(0x2e, &cq_id), (0x40, &stat)]);
        let rx_id = rx.to_le_bytes();
        ipxe_traffic(
            &mut bench,
            "0000000070000000000000000000000000000006040002",
            &[(0x24, &rx_id), (0x26, &cq_id)],
            &[(1, tx), (2, rx), (5, nq)],
            None,
        );
        bench.must(0xb1, &[(0x10, &stat)], 24);
        for (kind, ring) in [(0, cq_id), (5, nq_id)] {
            bench.must(RING_FREE, &[(0x10, &[kind]), (0x12, &ring)], 24);
        }
        bench.must(UNRGTR, &[], 24);
    }
    bench.assert_clean();
}

/// What DPDK says before it starts a port.
fn dpdk_init(bench: &mut Bench, reserve: &str) {
    bench.bar.write32(0x404, 0x0310_01f0);
    assert_eq!(bench.bar.read32(0x2000), 0);
    bench.golden(VER_GET, 24, "010a02", &[]);
    bench.must(FUNC_RESET, &[], 24);
    bench.must(0x4a, &[], 24);
    for direction in 0..2 {
        let queues = bench.must(QPORTCFG, &[(0x10, &[direction])], 24);
        // Lossy, and for the NIC.
        assert_eq!((u16::from(queues[0xf]), queues[0x10], queues[0x1f]), (LOSSY, 0, 2));
    }
    bench.golden(FUNC_QCAPS, 24, "ffff", &[]);
    if bench.short {
        bench.give_store(256);
    }
    bench.golden(RESOURCE_QCAPS, 24, "ffff", &[]);
    bench.golden(FUNC_QCFG, 24, "ffff", &[]);
    for code in [0x28, PHY_QCAPS, 0x2f] {
        bench.must(code, &[], 24);
    }
    bench.golden(RGTR, 112, "400000001a0000000000160b0b00000000000000000000000080800080000000000000000000000000000100000000000000100000000000550100000100a80024", &[]);
    bench.golden(FUNC_QCAPS, 24, "ffff", &[]);
    bench.golden(RESOURCE_QCAPS, 24, "ffff", &[]);
    bench.golden(FUNC_CFG, 112, reserve, &[]);
    bench.golden(FUNC_QCFG, 24, "ffff", &[]);
}

/// What it says of a VNIC whose frames go to `to`; the VNIC and its filter.
fn dpdk_vnic(bench: &mut Bench, config: &str, to: &[(usize, &[u8])]) -> ([u8; 2], Vec<u8>) {
    let vnic_id = u16_at(&bench.must(VNIC_ALLOC, &[], 24), 8).to_le_bytes();
    bench.must(0x49, &[(0x10, &vnic_id)], 24);
    let mut fields = vec![(0x18, &vnic_id[..])];
    fields.extend_from_slice(to);
    bench.golden(VNIC_CFG, 48, config, &fields);
    bench.golden(0x48, 40, "0000000007", &[(0x18, &vnic_id)]);
    let mac = bench.must(FUNC_QCAPS, &[(0x10, &[0xff, 0xff])], 24)[0x10..0x16].to_vec();
    let filter = bench.golden(
        L2_FILTER_ALLOC,
        96,
        "5900000003800000000af70102030000ffffffffffff",
        &[(0x18, &mac), (0x4e, &vnic_id)],
    );
    bench.golden(0x48, 40, "0200000001000000000000000008", &[(0x18, &vnic_id)]);
    bench.must(0x44, &[(0x18, &vnic_id)], 40);
    bench.golden(RX_MASK, 56, "0000000008", &[(0x10, &vnic_id)]);
    bench.must(PHY_QCAPS, &[], 24);
    assert!(bench.link());
    bench.golden(RX_MASK, 56, "0000000018", &[(0x10, &vnic_id)]);
    (vnic_id, filter[8..16].to_vec())
}

#[test]
fn dpdk_brings_p4_up_and_down() {
    let mut bench = Bench::bare("bcm57414,strict");
    dpdk_init(
        &mut bench,
        "ffff000000040000ff0108206625f20508002000100020001000100020002000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000dc05",
    );
    let at: Vec<u64> = [1, 2, 1, 1, 1].into_iter().map(|count| bench.memory(4 * count)).collect();
    let events = bench.golden_ring(88, "000000000000000000209a0400000000000000000000000000010000000000000000000000000000000000000000000000000000000000000000000002", at[0], &[]);
    bench.golden(FUNC_CFG, 112, "ffff000000040000004000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001", &[(0x50, &events.to_le_bytes())]);
    bench.must(IF_CHANGE, &[(0x10, &[1])], 24);
    let rx_cq = bench.golden_ring(88, "000000000000000000400c0500000000000000000000000000020000010000000000000000000000000000000000000000000000000000000000000002", at[1], &[]);
    let rx_cq_id = rx_cq.to_le_bytes();
    let stats = bench.memory(1).to_le_bytes();
    let rx_stat = u16_at(&bench.must(STAT_ALLOC, &[(0x10, &stats)], 32), 8).to_le_bytes();
    let rx = bench.golden_ring(
        88,
        "080000000200000000600c0500000000000000000000000000010000000002000000000000000000000000000000000001",
        at[2],
        &[(0x2e, &rx_cq_id), (0x40, &rx_stat)],
    );
    let group = [rx_cq_id, rx.to_le_bytes(), [0xff; 2], rx_stat].concat();
    let group = u16_at(&bench.golden(GRP_ALLOC, 24, "02000300ffff01", &[(0x10, &group)]), 8).to_le_bytes();
    let tx_cq = bench.golden_ring(88, "000000000000000000900c0500000000000000000000000000010000020000000000000000000000000000000000000000000000000000000000000002", at[3], &[]);
    let tx_cq_id = tx_cq.to_le_bytes();
    let tx_stat = u16_at(&bench.must(STAT_ALLOC, &[(0x10, &stats)], 32), 8).to_le_bytes();
    let queue = LOSSY.to_le_bytes();
    // As on P5: the sheet has no transmit ring of P4's.
    let tx = bench.golden_ring(
        88,
        "080000000100000000a06c0500000000000000000000000000010000020005000000000000000000000000000000000002",
        at[4],
        &[(0x2e, &tx_cq_id), (0x30, &queue), (0x40, &tx_stat)],
    );
    let (vnic_id, filter) = dpdk_vnic(&mut bench, "010000000100000000000100fffffffffffff205", &[(0x1a, &group)]);
    let counters = bench.must(0xb2, &[(0x10, &rx_stat)], 24);
    assert_eq!(counters.len(), 176);

    bench.golden(PHY_CFG, 56, "0040", &[]);
    bench.must(0x25, &[], 24);
    bench.must(0x91, &[(0x10, &filter)], 24);
    bench.must(0x44, &[(0x18, &vnic_id)], 40);
    bench.must(0x41, &[(0x10, &vnic_id)], 24);
    bench.golden_free(1, tx, tx_cq);
    bench.must(0xb1, &[(0x10, &tx_stat)], 24);
    bench.golden_free(0, tx_cq, 0xffff);
    bench.must(0x61, &[(0x10, &group)], 24);
    bench.golden_free(2, rx, rx_cq);
    bench.must(0xb1, &[(0x10, &rx_stat)], 24);
    bench.golden_free(0, rx_cq, 0xffff);
    bench.must(IF_CHANGE, &[], 24);
    bench.must(UNRGTR, &[], 24);
    bench.assert_clean();
}

#[test]
fn dpdk_brings_p5_up_and_down() {
    let mut bench = Bench::bare("bcm57508,strict");
    dpdk_init(
        &mut bench,
        "ffff100000040000ff0120206625f20508002000100020001000100020002000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000dc05",
    );
    let at: Vec<u64> = [1, 1, 2, 1, 1, 1].into_iter().map(|count| bench.memory(4 * count)).collect();
    let events = bench.golden_ring(88, "00000000050000000050b70400000000000000000c00000000010000000000000000000000000000000000000000000000000000000000000000000002", at[0], &[]);
    bench.golden(FUNC_CFG, 112, "ffff000000040000004000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001", &[(0x50, &events.to_le_bytes())]);
    let nq = bench.golden_ring(88, "00000000050000000000b70400000000000000000c00000000010000010000000000000000000000000000000000000000000000000000000000000002", at[1], &[]).to_le_bytes();
    bench.must(IF_CHANGE, &[(0x10, &[1])], 24);
    let rx_cq = bench.golden_ring(88, "800000000000000000406c0500000000000000000000000000020000010000000000000000000000000200000000000000000000000000000000000000000002", at[2], &[(0x36, &nq)]);
    let rx_cq_id = rx_cq.to_le_bytes();
    let stats = bench.memory(1).to_le_bytes();
    let stat = u16_at(&bench.must(STAT_ALLOC, &[(0x10, &stats)], 32), 8).to_le_bytes();
    bench.must(0x54, &[], 16);
    let rx = bench.golden_ring(
        88,
        "080100000200000000606c0500000000000000000000000000010000000003000000000800000000000000000000000001",
        at[3],
        &[(0x2e, &rx_cq_id), (0x40, &stat)],
    );
    let rx_id = rx.to_le_bytes();
    let tx_cq = bench.golden_ring(88, "800000000000000000906c0500000000000000000000000000010000020000000000000000000000000200000000000000000000000000000000000000000002", at[4], &[(0x36, &nq)]);
    let tx_cq_id = tx_cq.to_le_bytes();
    let queue = LOSSY.to_le_bytes();
    let tx = bench.golden_ring(
        88,
        "080000000100000000a06c0500000000000000000000000000010000000005000000000000000000000000000000000002",
        at[5],
        &[(0x2e, &tx_cq_id), (0x30, &queue), (0x40, &stat)],
    );
    let (vnic_id, filter) =
        dpdk_vnic(&mut bench, "010000006000000000000000000000000000f205040003", &[(0x24, &rx_id), (0x26, &rx_cq_id)]);

    bench.golden(PHY_CFG, 56, "0040", &[]);
    bench.must(0x91, &[(0x10, &filter)], 24);
    bench.must(0x41, &[(0x10, &vnic_id)], 24);
    bench.golden_free(1, tx, tx_cq);
    bench.golden_free(0, tx_cq, 0xffff);
    bench.golden_free(2, rx, rx_cq);
    bench.golden_free(0, rx_cq, 0xffff);
    bench.must(0xb1, &[(0x10, &stat)], 24);
    bench.must(IF_CHANGE, &[], 24);
    bench.must(UNRGTR, &[], 24);
    bench.assert_clean();
}
