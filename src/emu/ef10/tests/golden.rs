//! Commands byte by byte as drivers of others send them, and what they take for
//! an answer. Linux 7.2, iPXE 2019 and DPDK 22.11; where a command names memory
//! it is this test's.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Header words (the second is of version 2), length and input, answer.
type Vector = (u32, Option<u32>, usize, &'static str, Result<usize, u32>);

impl Bench {
    fn replay(&mut self, vectors: &[Vector]) {
        for &(header, second, len, input, wanted) in vectors {
            let mut input = hex(input);
            input.resize(len, 0);
            self.golden(header, second, &input, wanted);
        }
    }

    fn golden(&mut self, header: u32, second: Option<u32>, input: &[u8], wanted: Result<usize, u32>) {
        // The trace has gaps: a new driver, as it were, for each.
        self.write(0, 0x204, 1);
        let (answered, output) = self.request(header, second, input);
        let name = format!("{header:08x} {second:08x?}");
        assert_eq!(answered & 0x0f00_00ff, header & 0x0f00_00ff, "{name}: code, version, sequence number");
        assert_eq!(answered >> 16 & 0xf, header >> 16 & 0xf, "{name}");
        let error = answered >> 22 & 1 == 1;
        match wanted {
            Ok(len) => assert_eq!((error, output.len()), (false, len), "{name} {output:02x?}"),
            Err(code) => assert_eq!((error, u32_of(&output, 0)), (true, code), "{name}"),
        }
    }

    /// A command that names the pages of a ring at `at`, from byte `from` on.
    fn golden_ring(&mut self, header: u32, second: u32, input: &str, pages: (usize, usize, usize), wanted: usize) {
        let (from, at, count) = pages;
        let mut input = hex(input);
        input.resize(from, 0);
        input.extend(self.pages(at, count));
        input.resize((second >> 16 & 0x3ff) as usize, 0);
        self.golden(header, Some(second), &input, Ok(wanted));
    }
}

#[test]
fn linux_is_answered_as_its_trace_has_it() {
    let mut bench = Bench::bare("x2522,strict");
    assert_eq!(bench.bar.read32(0x10), 0xb007_0000);
    let v2 = Some;
    bench.replay(&[
        (0x0001_00ff, v2(0x0004_0006), 4, "01", Ok(140)),
        (0x0022_00ff, v2(0x000c_001c), 12, "010000000100000001", Ok(8)),
        (0x0024_00ff, v2(0x0004_0020), 4, "01", Ok(0)),
        (0x0025_00ff, v2(0x0008_0007), 8, "02", Ok(0)),
        (0x0027_00ff, v2(0x0000_00be), 0, "", Ok(78)),
        (0x0020_00ff, v2(0x0000_008f), 0, "", Ok(4)),
        (0x0021_00ff, v2(0x0008_008b), 8, "0200000006", Ok(12)),
        (0x0023_00ff, v2(0x0008_0092), 8, "0100000005", Ok(0)),
        (0x0024_00ff, v2(0x0008_0092), 8, "01", Ok(0)),
        (0x0025_00ff, v2(0x0020_0098), 32, "00000001", Ok(0)),
        (0x0027_00ff, v2(0x0004_00e4), 4, "01", Ok(44)),
        (0x0028_00ff, v2(0x0010_002a), 16, "80", Ok(0)),
    ]);
    for (n, instance) in [(0, "00"), (1, "01")] {
        let at = EVENTS + 0x8000 * n;
        bench.put(at, &[0xff; 0x8000]);
        let input = format!("00100000{instance}0000000000000000000000810100000000000{n}");
        bench.golden_ring(0x0029_00ff, 0x0064_0080, &input[..input.len() & !1], (0x24, at, 8), 8);
        assert_eq!(bench.qword(at), 0x5200_0000_0000_0000 | n as u64);
    }
    // From here on it wants events of its commands.
    bench.replay(&[
        (0x012c_00ff, v2(0x00ac_008a), 172, "00000000000000000000000000000001100000000100000000000000000000000000000000000000ffffffff0000000000000000000f53010203", Ok(12)),
        (0x012d_00ff, v2(0x00ac_008a), 172, "02000000000000000000000000000001100000000100000000000000000000000000000000000000ffffffff0000000000000000333300000001", Ok(12)),
        (0x012e_00ff, v2(0x00ac_008a), 172, "02000000000000000000000000000001100000000100000000000000000000000000000000000000ffffffff0000000000000000ffffffffffff", Ok(12)),
        (0x012f_00ff, v2(0x001c_002c), 28, "0806000000000000000f5301020300000000000002", Ok(4)),
    ]);
    // Code CMDDONE, sequence number, length of the reply.
    assert_eq!(bench.qword(EVENTS + 8), 0xc000_3000_0000_0000 | 0x0c << 8 | 0x0c);
    assert_eq!(bench.qword(EVENTS + 32), 0xc000_3000_0000_0000 | 0x04 << 8 | 0x0f);
    for (header, input) in [
        (0x0120_00ff, "000400000100000000000000020000000600000000000000000000 01"),
        (0x0121_00ff, "000400000100000001000000030000000200000000000000000000 01"),
        (0x0122_00ff, "0004000001000000020000000400000006 0c00000000000000000001"),
        (0x0123_00ff, "0004000001000000030000000500000002 0c00000000000000000001"),
    ] {
        bench.golden_ring(header, 0x002c_0082, &input.replace(' ', ""), (0x1c, TX_RING, 2), 0);
    }
    bench.golden_ring(
        0x0126_00ff,
        0x0234_0081,
        "00040000000000000000000000000000040100000000000000000001",
        (0x1c, RX_RING, 2),
        0,
    );
    bench.replay(&[
        (0x0127_00ff, v2(0x000c_0086), 12, "000000000100000000000070", Ok(0)),
        (0x0125_00ff, v2(0x0004_0084), 4, "", Ok(0)),
        (0x0126_00ff, v2(0x0004_0085), 4, "02", Ok(0)),
    ]);
    assert!(bench.tap.violations().is_empty(), "{:?}", bench.tap.violations());
}

#[test]
fn linux_reads_statistics_as_its_trace_has_it() {
    let mut bench = Bench::bare("x2522,strict");
    bench.must(0x1c, &words(&[1, 1, 1]));
    bench.must(0x8b, &words(&[1, 1]));
    bench.evq(0, 0);
    bench.rxq(0, 0, 0x100);
    let address = bench.arena.iova(STATS);
    for (command, wanted) in [(0x03e8_002d_u32, 0), (0x20, 0), (0x24, 0)] {
        let input = [&address.to_le_bytes()[..], &words(&[command, 0x308, 0x0100_0000])].concat();
        bench.golden(0x012a_00ff, Some(0x0014_002e), &input, Ok(wanted));
    }
    assert_eq!((bench.qword(STATS), bench.qword(STATS + 8 * 0x60)), (1, 1));
    bench.assert_clean();
}

#[test]
fn ipxe_is_answered_as_its_trace_has_it() {
    let mut bench = Bench::bare("x2522,strict");
    let v2 = Some;
    bench.replay(&[
        (0x0001_00ff, v2(0x0004_0020), 4, "01", Ok(0)),
        (0x0002_00ff, v2(0x0044_0117), 68, "01", Err(0x26)),
        (0x0007_00ff, v2(0x000c_001c), 12, "0300000001000000ffffffff", Ok(8)),
        (0x0008_00ff, v2(0x0008_008b), 8, "0100000001", Ok(12)),
    ]);
    bench.put(EVENTS, &[0xff; 4096]);
    bench.golden_ring(0x0009_00ff, 0x002c_0080, "0002000000000000000000000000000001", (0x24, EVENTS, 1), 8);
    bench.golden_ring(
        0x000a_00ff,
        0x0024_0081,
        "00020000000000000000000000000000000100000000000000000001",
        (0x1c, RX_RING, 1),
        0,
    );
    bench.golden_ring(
        0x000e_00ff,
        0x0024_0082,
        "00020000000000000000000000000000060000000000000000000001",
        (0x1c, TX_RING, 1),
        0,
    );
    bench.replay(&[
        // What is not selected holds anything.
        (0x000c_00ff, v2(0x006c_008a), 108, "0000000028d1fb32bc09556e000000011000000001000000000000000000000008f1140074f11400ffffffff84f11400a9070000000f53010203000000b00b", Ok(12)),
        (0x000f_00ff, v2(0x001c_002c), 28, "0006000000000000000f530102030000000000000200000000000001", Ok(4)),
    ]);
    bench.assert_clean();
}

#[test]
fn dpdk_is_answered_as_its_trace_has_it() {
    let mut bench = Bench::bare("x2522,strict");
    let v2 = Some;
    bench.replay(&[
        (0x0000_0486, None, 4, "01", Ok(140)),
        (0x0021_04bd, None, 4, "01", Ok(0)),
        (0x0022_0c9c, None, 12, "0500000001000000ffffffff", Ok(8)),
        (0x0027_00ff, v2(0x0004_01c4), 4, "feffffff", Err(0x26)),
        (0x0029_08da, None, 8, "0000ffff", Ok(4)),
        (0x0020_08ca, None, 8, "0600000001", Err(2)),
        (0x0025_14ae, None, 20, "000000000000000022", Ok(0)),
        (0x002f_00ff, v2(0x0008_008b), 8, "030000000002", Ok(12)),
        (0x0020_00ff, v2(0x001e_0098), 30, "00000001", Ok(0)),
        (0x0021_00ff, v2(0x000c_009e), 12, "000000010000000040", Ok(4)),
        (0x002b_1cac, None, 28, "000000000100000000000000000000000000000003", Ok(4)),
        (0x002e_10aa, None, 16, "80", Ok(0)),
        (0x0023_20ac, None, 32, "0806000000000000000000000000000000000000000000000000000001", Ok(4)),
        (0x0024_0add, None, 10, "00000001000f53010203", Ok(0)),
    ]);
    for (header, input, at) in [
        (0x002a_00ff, "000200000000000000000000000000000101", EVENTS),
        (0x002c_00ff, "000200000100000000000000000000000001", EVENTS + 0x1000),
    ] {
        bench.put(at, &[0xff; 4096]);
        bench.golden_ring(header, 0x002c_0080, input, (0x24, at, 1), 8);
    }
    bench.golden_ring(
        0x002d_00ff,
        0x0238_0081,
        "00020000010000000000000000000000000300000000000000000001",
        (0x1c, RX_RING, 1),
        0,
    );
    bench.replay(&[
        (0x002e_00ff, v2(0x00b4_008a), 180, "00000000000000000000000000000001100000000100000000000000000000000000000000000000ffffffff0000000000000000000f53010203", Ok(12)),
        (0x0024_00ff, v2(0x00b4_008a), 180, "02000000000000000000000000000001000000800100000000000000000000000000000000000000ffffffff", Ok(12)),
        (0x0025_0c9c, None, 12, "0400000001000000ffffffff", Ok(8)),
    ]);
    bench.assert_clean();
}

#[test]
fn huntington_offers_the_workaround_and_others_do_not() {
    let mut bench = Bench::bare("sfc9120,strict");
    bench.replay(&[(0x002c_00ff, Some(0x0008_004a), 8, "0200000001", Ok(4))]);
    let reply = bench.must(0x59, &[]);
    assert_eq!((u32_of(&reply, 0), u32_of(&reply, 4)), (4, 4));
    assert_eq!(Bench::bare("sfc9220,strict").command(0x4a, &words(&[2, 1])), Err(2));
}
