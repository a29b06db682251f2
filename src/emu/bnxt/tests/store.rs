//! The memory of P5's contexts.

use super::*;

const UNMAPPED: &str = "DMA read outside mapped memory";

fn ready(spec: &str) -> Bench {
    let mut bench = Bench::bare(spec);
    bench.must(VER_GET, &[], 24);
    bench.must(FUNC_RESET, &[], 24);
    bench
}

#[test]
fn it_comes_after_the_queues_and_before_rings() {
    let mut bench = ready("bcm57508,strict");
    let caps = bench.must(STORE_QCAPS, &[], 16);
    let fields = bench.store_fields(&caps);
    let fields: Vec<(usize, &[u8])> = fields.iter().map(|(at, field)| (*at, &field[..])).collect();
    assert_eq!(bench.command(STORE_CFG, &fields, 336), Err(INVALID), "before QUEUE_QPORTCFG");
    bench.must(QPORTCFG, &[], 24);
    bench.register(0);
    assert_eq!(bench.try_ring(5, 64, &[]), Err(ALLOC));
    assert_eq!(bench.command(VNIC_ALLOC, &[], 24), Err(ALLOC));
    bench.must(STORE_CFG, &fields, 336);
    bench.ring(5, 64, &[]);
    bench.must(VNIC_ALLOC, &[], 24);
    bench.must(FUNC_RESET, &[], 24);
    bench.register(0);
    assert_eq!(bench.try_ring(5, 64, &[]), Err(ALLOC), "FUNC_RESET forgets it");
    assert_eq!(bench.command(STORE_CFG, &fields, 336), Err(INVALID));
    bench.assert_clean();
}

#[test]
fn what_differs_from_what_it_asked_for_is_refused() {
    let mut bench = ready("bcm57508");
    bench.must(QPORTCFG, &[], 24);
    let caps = bench.must(STORE_QCAPS, &[], 16);
    let good = bench.store_fields(&caps);
    let mut with = |at: usize, bytes: &[u8]| {
        let mut fields: Vec<(usize, &[u8])> = good.iter().map(|(at, field)| (*at, &field[..])).collect();
        fields.push((at, bytes));
        bench.command(STORE_CFG, &fields, 336).map(|_| ())
    };
    assert_eq!(with(0xe8, &[8, 0]), Err(INVALID), "an entry's size");
    assert_eq!(with(0xb8, &17_u32.to_le_bytes()), Err(INVALID), "no multiple");
    assert_eq!(with(0xb8, &[0; 4]), Err(INVALID), "too few");
    assert_eq!(with(0xb0, &9999_u32.to_le_bytes()), Err(INVALID), "too many");
    assert_eq!(with(0xb0, &[0; 4]), Err(INVALID), "none");
    assert_eq!(with(0x1a, &[3]), Err(INVALID), "a table of tables of tables");
    assert_eq!(with(0x38, &[0; 8]), Err(INVALID), "nowhere");
    with(0x18, &[1]).unwrap();
    // A kind that was left out shows later.
    let mut bench = ready("bcm57508");
    bench.must(QPORTCFG, &[], 24);
    let fields = bench.store_fields(&caps);
    let mut fields: Vec<(usize, &[u8])> = fields.iter().map(|(at, field)| (*at, &field[..])).collect();
    fields.push((0x14, &[0xfb]));
    bench.must(STORE_CFG, &fields, 336);
    bench.register(0);
    assert_eq!(bench.try_ring(5, 64, &[]), Err(ALLOC));
}

/// CFG of completion queues alone, 64 bytes of each of 256, with such tables.
fn queues(bench: &mut Bench, shape: u8, at: u64) -> Result<(), u16> {
    let (at, count, size) = (at.to_le_bytes(), 256_u32.to_le_bytes(), 64_u16.to_le_bytes());
    let fields: [(usize, &[u8]); 6] =
        [(0x14, &[4]), (0x1a, &[shape]), (0x38, &at), (0xb0, &count), (0xee, &count[..2]), (0xf0, &size)];
    bench.command(STORE_CFG, &fields, 336).map(|_| ())
}

#[test]
fn pages_are_found_by_none_one_or_two_tables() {
    let mut bench = ready("bcm57508");
    bench.must(QPORTCFG, &[], 24);
    let whole = bench.memory(4);
    assert_eq!(queues(&mut bench, 0, whole), Err(INVALID), "one page of 4 KiB is too little");
    queues(&mut bench, 0x20, whole).unwrap();
    let table = bench.table(4, 1);
    queues(&mut bench, 1, table).unwrap();
    let root = bench.pages(1);
    bench.put(root, &(table | 1).to_le_bytes());
    let root = bench.arena.iova(root);
    queues(&mut bench, 2, root).unwrap();
    bench.assert_clean();
    let unmarked = bench.table(4, 0);
    assert_eq!(queues(&mut bench, 1, unmarked), Err(INVALID));
    assert_eq!(bench.violations(), ["page of the backing store that is not marked valid"]);
    assert_eq!(queues(&mut bench, 0x20, 0x7000_0000_0000), Err(INVALID));
    assert!(bench.violations().contains(&UNMAPPED.into()));
}

#[test]
fn a_card_goes_on_reading_it_until_bus_mastering_is_off() {
    for off_first in [true, false] {
        let mut bench = ready("bcm57508");
        bench.must(QPORTCFG, &[], 24);
        bench.give_store(336);
        bench.must(FUNC_RESET, &[], 24);
        if off_first {
            bench.function.set_bus_master(false).unwrap();
            bench.run(10 * MILLISECOND);
        }
        // The driver's memory is gone.
        bench.tap.unmap_all();
        bench.function.set_bus_master(true).unwrap();
        bench.run(10 * MILLISECOND);
        assert_eq!(bench.violations().contains(&UNMAPPED.into()), !off_first);
    }
}

#[test]
fn a_reset_or_a_moment_without_bus_mastering_ends_that_at_once() {
    for reset in [true, false] {
        let mut bench = ready("bcm57508");
        bench.must(QPORTCFG, &[], 24);
        bench.give_store(336);
        if reset {
            bench.function.reset().unwrap();
        } else {
            bench.function.set_bus_master(false).unwrap();
        }
        bench.tap.unmap_all();
        bench.function.set_bus_master(true).unwrap();
        bench.run(10 * MILLISECOND);
        assert_eq!(bench.violations(), [""; 0], "reset: {reset}");
    }
}

#[test]
fn nasty_sizes_are_odd_and_entries_have_to_begin_as_told() {
    let mut odd = 0;
    for seed in 0..8 {
        let mut bench = Bench::bare(&format!("bcm57508,nasty,seed={seed}"));
        let caps = bench.must(STORE_QCAPS, &[], 16);
        assert_eq!(u16_at(&caps, 0x18), 0, "no contexts for shared receive queues");
        odd += u32::from(u16_at(&caps, 0x10) != 256);
        if caps.len() < 104 {
            continue;
        }
        assert_eq!(
            (caps[0x47], u16_at(&caps, 0x48), caps[0x4e]),
            (0xa5, 0x1b, 8),
            "completion queues begin with nothing"
        );
        bench.must(QPORTCFG, &[], 24);
        bench.give_store(336);
        assert_eq!(bench.violations(), ["backing store without its initial values"]);
    }
    assert!(odd > 2, "{odd}");
}

#[test]
fn the_older_cards_have_none() {
    let mut bench = ready("bcm57414");
    assert_eq!(bench.command(STORE_QCAPS, &[], 16), Err(UNKNOWN));
    assert_eq!(bench.command(STORE_CFG, &[], 256), Err(UNKNOWN));
}

#[test]
fn a_store_that_is_not_ready_makes_commands_wait() {
    let mut bench = Bench::cold("bcm57508,fault=store-busy");
    bench.run(100 * MILLISECOND);
    assert_eq!(bench.must(VER_GET, &[], 24)[0x7c], 4);
    bench.must(RGTR, &[], 112);
    assert_eq!(bench.command(FUNC_CFG, &[(0x10, &[0xff; 2])], 88), Err(BUSY));
    assert_eq!(bench.try_ring(5, 64, &[]), Err(BUSY));
    bench.run(1000 * MILLISECOND);
    assert_eq!(bench.must(VER_GET, &[], 24)[0x7c], 0);
    bench.must(FUNC_CFG, &[(0x10, &[0xff; 2])], 88);
}

#[test]
fn a_boot_rom_gives_no_memory() {
    let mut bench = ready("bcm57508,strict");
    bench.register(0);
    bench.must(STORE_CFG, &[(0x10, &[1])], 256);
    assert_eq!(bench.must(0x194, &[], 16)[8], 1);
    bench.ring(5, 64, &[]);
    bench.assert_clean();
}
