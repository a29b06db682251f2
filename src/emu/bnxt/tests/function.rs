//! The function: limits, reservations, registration, what firmware refuses of that.

use super::*;

/// The reserved numbers: transmit, receive, completions.
fn granted(bench: &mut Bench) -> [u16; 3] {
    let answer = bench.must(FUNC_QCFG, &[(0x10, &[0xff; 2])], 24);
    [0x1c, 0x1e, 0x1a].map(|at| u16_at(&answer, at))
}

/// FUNC_CFG that reserves as many of each of these.
fn reserve(bench: &mut Bench, transmit: u16, receive: u16, completions: u16, flags: u32) -> Answer {
    let [transmit, receive, completions] = [transmit, receive, completions].map(u16::to_le_bytes);
    let flags = flags.to_le_bytes();
    let fields: [(usize, &[u8]); 6] = [
        (0x10, &[0xff; 2]),
        (0x14, &flags),
        (0x18, &[0x38]),
        (0x22, &completions),
        (0x24, &transmit),
        (0x26, &receive),
    ];
    bench.command(FUNC_CFG, &fields, 88)
}

#[test]
fn a_reservation_is_granted_as_far_as_there_is_so_much() {
    let mut bench = Bench::registered("bcm57414", 0);
    reserve(&mut bench, 3, 1000, 5, 0).unwrap();
    assert_eq!(granted(&mut bench), [3, 128, 5], "success, and as much as there is");
    // Tests alone say no.
    assert_eq!(reserve(&mut bench, 1000, 1, 1, 0x2000), Err(ALLOC));
    reserve(&mut bench, 64, 128, 128, 0xe000).unwrap();
    assert_eq!(granted(&mut bench), [3, 128, 5], "a test reserves nothing");
    bench.assert_clean();
}

#[test]
fn a_nasty_card_grants_less_and_something() {
    let mut less = 0;
    for seed in 0..20 {
        let mut bench = Bench::bare(&format!("bcm57508,nasty,seed={seed}"));
        bench.must(RGTR, &[(0x14, &[0x10])], 112);
        while reserve(&mut bench, 8, 16, 16, 0) == Err(BUSY) {}
        let got = granted(&mut bench);
        less += u32::from(got != [8, 16, 16]);
        assert!(got.iter().zip([8, 16, 16]).all(|(got, asked)| (2..=asked).contains(got)), "{got:?}");
    }
    assert!(less > 10, "{less}");
}

#[test]
fn firmware_without_the_new_manager_says_so_by_not_answering_for_resources() {
    for fault in ["old-resources", "old"] {
        let mut bench = Bench::registered(&format!("bcm57414,fault={fault}"), 0);
        assert_eq!(bench.ask(RESOURCE_QCAPS, 0xffff), Err(UNKNOWN));
        reserve(&mut bench, 2, 2, 4, 0).unwrap();
        assert_eq!(granted(&mut bench), [2, 2, 4]);
    }
    let version = Bench::bare("bcm57414,fault=old").must(VER_GET, &[], 24);
    assert_eq!((&version[8..11], u16_at(&version, 0x88)), (&[1, 5, 1][..], 20));
}

#[test]
fn where_nothing_is_left_everything_is_granted_as_none() {
    let mut bench = Bench::registered("bcm57414,fault=no-resources", 0);
    reserve(&mut bench, 2, 2, 4, 0).unwrap();
    assert_eq!(granted(&mut bench), [0, 0, 0]);
    assert_eq!(bench.try_ring(0, 64, &[(0x4c, &[3])]), Err(ALLOC));
}

#[test]
fn what_was_reserved_is_the_end_of_it() {
    let mut bench = Bench::registered("bcm57414", 0);
    reserve(&mut bench, 1, 1, 2, 0).unwrap();
    let queue = bench.queue();
    bench.tx(&queue, LOSSY).unwrap();
    assert_eq!(bench.tx(&queue, LOSSY), Err(ALLOC));
    bench.ring(0, 64, &[(0x2c, &[1]), (0x4c, &[3])]);
    assert_eq!(bench.try_ring(0, 64, &[(0x2c, &[2]), (0x4c, &[3])]), Err(ALLOC));
    for (enable, at, code) in [
        (0x80_u32, 0x2a, VNIC_ALLOC),
        (0x100, 0x2c, STAT_ALLOC),
        (4, 0x20, 0x70),
        (0x8_0000, 0x2e, GRP_ALLOC),
        (0x40, 0x28, L2_FILTER_ALLOC),
    ] {
        bench.must(FUNC_CFG, &[(0x10, &[0xff; 2]), (0x18, &enable.to_le_bytes()), (at, &[0, 0])], 88);
        assert_eq!(bench.command(code, &[], 24), Err(ALLOC), "{code:#x}");
    }
    bench.assert_clean();
}

#[test]
fn a_reset_takes_what_is_the_functions_and_leaves_the_port() {
    let mut bench = Bench::registered("bcm57414", 0);
    reserve(&mut bench, 1, 1, 2, 0).unwrap();
    let queue = bench.queue();
    bench.tx(&queue, LOSSY).unwrap();
    bench.must(MAC_CFG, &[(0x14, &[2]), (0x1b, &[1])], 40);
    bench.must(FUNC_RESET, &[], 24);
    assert_eq!(granted(&mut bench), [64, 128, 128]);
    assert_eq!(bench.must(0x28, &[], 24)[0xd], 1, "the MAC loops");
    assert!(bench.link());
    bench.assert_clean();
    bench.must(STAT_ALLOC, &[], 32);
    assert_eq!(bench.violations(), ["STAT_CTX_ALLOC before FUNC_DRV_RGTR"]);
    bench.register(0);
    assert_eq!(bench.command(RING_FREE, &[(0x12, &queue.cq.to_le_bytes())], 32), Err(INVALID), "it is gone");
}

#[test]
fn a_driver_that_dies_leaves_everything_and_another_may_register() {
    let mut bench = Bench::registered("bcm57414", 1);
    reserve(&mut bench, 1, 1, 2, 0).unwrap();
    let queue = bench.queue();
    bench.tx(&queue, LOSSY).unwrap();
    bench.must(PHY_CFG, &[(0x10, &0x4000_u32.to_le_bytes())], 56);
    // A new one, without a reset.
    bench.must(VER_GET, &[], 24);
    assert_eq!(granted(&mut bench), [1, 1, 2]);
    bench.register(0);
    assert_eq!(bench.tx(&queue, LOSSY), Err(ALLOC), "rings live on");
    bench.must(FUNC_RESET, &[], 24);
    bench.register(0);
    let queue = bench.queue();
    bench.tx(&queue, LOSSY).unwrap();
    assert!(!bench.link(), "the link is as it was left");
    bench.assert_clean();
}

#[test]
fn queues_of_the_scheduler_have_numbers_and_profiles_of_their_own() {
    let mut bench = Bench::registered("bcm57414", 0);
    let answer = bench.must(QPORTCFG, &[], 24);
    assert_eq!(
        (answer[8], &answer[0xf..0x1f]),
        (3, &hex("0000010202 01ffffffffffffffffffff".replace(' ', "").as_str())[..])
    );
    assert_eq!((answer[0x1f], &answer[0xa0..0xa3]), (2, &[4, 1, 0][..]));
    assert_eq!(bench.must(0x37, &[], 24)[8..16], [0; 8], "of each priority");
    let queue = bench.queue();
    // One that is not there, and that for congestion notifications.
    assert_eq!([1, 3].map(|number| bench.tx(&queue, number)), [Err(INVALID); 2]);
    bench.tx(&queue, LOSSY).unwrap();

    let far = Bench::registered("bcm57414,fault=far-queue", 0).must(QPORTCFG, &[], 24);
    assert_eq!((far[8], far[0xf], far[0x15], far[0x16]), (4, 5, 4, 0));
}

#[test]
fn a_driver_is_turned_away_without_what_the_card_needs_it_to_know() {
    let mut bench = Bench::bare("bcm57414,fault=npar12");
    bench.must(VER_GET, &[], 24);
    let flags = |flags: u32| flags.to_le_bytes();
    assert_eq!(bench.command(RGTR, &[(0x10, &flags(4))], 112), Err(INVALID));
    bench.must(RGTR, &[(0x10, &flags(0x204))], 112);
    let mut bench = Bench::bare("bcm57414");
    assert_eq!(bench.command(RGTR, &[(0x10, &flags(0x104))], 112), Err(INVALID), "strict hashes");
}

#[test]
fn only_events_that_were_asked_for_come() {
    for (events, wanted) in [(0, 0), (1, 0x2e)] {
        let mut bench = Bench::registered("bcm57414", events);
        let at = bench.pages(1);
        let address = bench.arena.iova(at).to_le_bytes();
        let cq = bench.must(RING_ALLOC, &[(0x18, &address), (0x28, &[64]), (0x4c, &[3])], 88);
        bench.must(FUNC_CFG, &[(0x10, &[0xff; 2]), (0x18, &[0, 0x40]), (0x50, &cq[8..10])], 88);
        bench.must(PHY_CFG, &[(0x10, &0x4000_u32.to_le_bytes())], 56);
        bench.run(MILLISECOND);
        let entry = bench.bytes(at, 16);
        assert_eq!((entry[0] & 0x3f, u16_at(&entry, 2), u32_at(&entry, 12) & 1), (wanted, 0, 0));
        bench.assert_clean();
    }
}

#[test]
fn a_driver_that_hears_of_resets_says_that_it_is_up_before_it_has_rings() {
    let mut bench = Bench::bare("bcm57414");
    bench.must(VER_GET, &[], 24);
    bench.must(RGTR, &[(0x14, &[0x10]), (0x48, &[0, 1])], 112);
    let queue = bench.queue();
    assert_eq!(bench.tx(&queue, LOSSY), Err(FAIL));
    bench.must(IF_CHANGE, &[(0x10, &[1])], 24);
    bench.tx(&queue, LOSSY).unwrap();
    bench.must(IF_CHANGE, &[], 24);
    assert_eq!(bench.try_ring(2, 64, &[]), Err(FAIL));
    bench.assert_clean();
}

#[test]
fn a_nasty_card_lets_an_interface_up_later_and_may_have_shrunk() {
    let (mut late, mut shrunk) = (0, 0);
    for seed in 0..24 {
        let mut bench = Bench::bare(&format!("bcm57414,nasty,seed={seed}"));
        bench.must(RGTR, &[(0x14, &[0x10])], 112);
        late += u32::from(bench.command(IF_CHANGE, &[(0x10, &[1])], 24) == Err(BUSY));
        bench.run(500 * MILLISECOND);
        let answer = loop {
            if let Ok(answer) = bench.command(IF_CHANGE, &[(0x10, &[1])], 24) {
                break answer;
            }
        };
        let less = u32_at(&answer, 8) & 1 == 1;
        shrunk += u32::from(less);
        let most = bench.must(RESOURCE_QCAPS, &[(0x10, &[0xff; 2])], 24);
        assert_eq!(u16_at(&most, 0x18), if less { 32 } else { 64 });
    }
    assert!(late > 15 && (2..15).contains(&shrunk), "{late} {shrunk}");
}

#[test]
fn a_card_without_an_address_says_zero_and_one_that_is_held_to_its_own_refuses_others() {
    let mac = |bench: &mut Bench| bench.must(FUNC_QCAPS, &[(0x10, &[0xff; 2])], 24)[0x10..0x16].to_vec();
    assert_eq!(mac(&mut Bench::bare("bcm57414,fault=no-mac")), [0; 6]);
    let mut bench = Bench::registered("bcm57414,fault=mac-locked", 0);
    let own = mac(&mut bench);
    let filter: [(usize, &[u8]); 3] = [(0x10, &[1]), (0x14, &[3, 0x80]), (0x20, &[0xff; 6])];
    let vnic = bench.must(VNIC_ALLOC, &[], 24);
    let at: (usize, &[u8]) = (0x4e, &vnic[8..10]);
    let with = |mac: &'static [u8]| [&filter[..], &[(0x18, mac)]].concat();
    let foreign = [with(&[2, 0, 0, 0, 0, 9]), vec![at]].concat();
    assert_eq!(bench.command(L2_FILTER_ALLOC, &foreign, 96), Err(DENIED));
    let ours = [&filter[..], &[(0x18, &own), at]].concat();
    assert_eq!(bench.command(L2_FILTER_ALLOC, &ours, 96), Err(INVALID), "only that the VNIC has no ring");
    assert_eq!(bench.command(0x0f, &[(0x10, &[8]), (0x1a, &[2, 0, 0, 0, 0, 9])], 56), Err(DENIED));
}

#[test]
fn frames_are_as_long_as_the_card_says_at_most() {
    for (spec, mtu) in [("bcm57414", 9500), ("bcm57414,fault=small-mtu", 1500)] {
        let mut bench = Bench::registered(spec, 0);
        assert_eq!(u16_at(&bench.must(FUNC_QCFG, &[(0x10, &[0xff; 2])], 24), 0x2e), mtu);
        let vnic = bench.must(VNIC_ALLOC, &[], 24);
        let mut mru = |mru: u16| {
            bench.command(VNIC_CFG, &[(0x14, &[0x10]), (0x18, &vnic[8..10]), (0x22, &mru.to_le_bytes())], 48)
        };
        mru(mtu + 26).unwrap();
        assert_eq!(mru(mtu + 101), Err(INVALID));
    }
}

#[test]
fn multicast_lists_are_refused_where_they_are_too_long() {
    for (spec, most) in [("bcm57414", 16), ("bcm57414,fault=few-groups", 2)] {
        let mut bench = Bench::registered(spec, 0);
        let vnic = bench.must(VNIC_ALLOC, &[], 24);
        let table = bench.pages(1);
        bench.put(table, &[1, 0, 0x5e, 0, 0, 1].repeat(20));
        let table = bench.arena.iova(table).to_le_bytes();
        let mut mask = |mask: u8, count: u8| {
            bench.command(RX_MASK, &[(0x10, &vnic[8..10]), (0x14, &[mask]), (0x18, &table), (0x20, &[count])], 56)
        };
        mask(0xa, most).unwrap();
        assert_eq!(mask(0xa, most + 1), Err(ALLOC));
        mask(0xc, 0).unwrap();
    }
}

#[test]
fn flows_can_be_steered_unless_they_cannot() {
    let caps = |spec: &str| Bench::bare(spec).ask(0x124, 0).map(|answer| u32_at(&answer, 8));
    assert_eq!(caps("bcm57508"), Ok(0x2000));
    assert_eq!(caps("bcm57414"), Err(UNKNOWN));
    assert_eq!(caps("bcm57508,fault=no-ntuple"), Ok(0));
    let mut bench = Bench::registered("bcm57414,fault=no-ntuple", 0);
    assert_eq!(bench.command(0x99, &[], 128), Err(ALLOC));
}

#[test]
fn optional_commands_fail_on_a_nasty_card_at_random() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut bench = Bench::bare(&format!("bcm57414,nasty,seed={seed}"));
        for (code, len) in [(0xe0, 16), (0x2f, 24), (0xfff6, 16), (0x200, 16)] {
            seen.insert(bench.command(code, &[], len).map(|_| ()).err());
        }
    }
    assert!([Some(UNKNOWN), Some(DENIED), Some(0x11), None].iter().all(|error| seen.contains(error)), "{seen:?}");
}

#[test]
fn what_is_told_of_vnics_may_be_nothing() {
    let caps = |spec: &str| {
        let answer = Bench::bare(spec).must(0x4a, &[], 24);
        (u32_at(&answer, 0xc), u16_at(&answer, 0x10))
    };
    assert_eq!(caps("bcm57414"), (0x22, 0));
    assert_eq!(caps("bcm57508"), (0x22, 16), "P5 needs some, or it is not taken");
    assert_eq!(caps("bcm57508,nasty"), (0, 16));
}

#[test]
fn a_dropped_doorbell_is_told_to_who_asked() {
    for (asked, wanted) in [(0, 0), (1 << 5, 0x2e)] {
        let mut bench = Bench::bare("bcm57414,fault=doorbell:1");
        bench.must(VER_GET, &[], 24);
        bench.must(RGTR, &[(0x10, &4u32.to_le_bytes()), (0x14, &[0x10]), (0x50, &[asked])], 112);
        let at = bench.pages(1);
        let address = bench.arena.iova(at).to_le_bytes();
        let cq = bench.must(RING_ALLOC, &[(0x18, &address), (0x28, &[64]), (0x4c, &[3])], 88);
        bench.must(FUNC_CFG, &[(0x10, &[0xff; 2]), (0x18, &[0, 0x40]), (0x50, &cq[8..10])], 88);
        bench.function.bar(2).unwrap().write32(0, 0x2c00_0000);
        bench.run(MILLISECOND);
        let entry = bench.bytes(at, 16);
        let told = (entry[0] & 0x3f, u16_at(&entry, 2), u32_at(&entry, 12));
        assert_eq!(told, if wanted == 0 { (0, 0, 0) } else { (wanted, 0x45, 4) });
    }
}

#[test]
fn rings_have_numbers_of_doorbells_and_of_vectors_that_were_granted() {
    let mut bench = Bench::registered("bcm57414", 0);
    let cq =
        |bench: &mut Bench, id: u16, mode: u8| bench.try_ring(0, 64, &[(0x2c, &id.to_le_bytes()), (0x4c, &[mode])]);
    for (id, mode, taken) in [(73, 2, true), (74, 2, false), (74, 3, true), (0x1fff, 3, true), (0x2000, 3, false)] {
        let outcome = cq(&mut bench, id, mode).map(|_| ());
        assert_eq!(outcome, if taken { Ok(()) } else { Err(INVALID) }, "{id:#x}");
    }
    let mut bench = Bench::bare("bcm57508");
    bench.must(VER_GET, &[], 24);
    bench.must(FUNC_RESET, &[], 24);
    bench.must(QPORTCFG, &[], 24);
    bench.give_store(336);
    bench.register(0);
    bench.must(FUNC_CFG, &[(0x10, &[0xff, 0xff, 1, 0]), (0x18, &(1u32 << 21).to_le_bytes())], 88);
    let nq = |bench: &mut Bench, id: u16, mode: u8| {
        let id = bench.try_ring(5, 64, &[(0x2c, &id.to_le_bytes()), (0x4c, &[mode])])?;
        bench.must(RING_FREE, &[(0x10, &[5]), (0x12, &id.to_le_bytes())], 32);
        Ok(())
    };
    for (id, mode, outcome) in [(1, 2, Err(INVALID)), (0xffff, 2, Err(INVALID)), (0xffff, 3, Ok(())), (0, 2, Ok(()))] {
        assert_eq!(nq(&mut bench, id, mode), outcome, "{id:#x}");
    }
    bench.assert_clean();
}

#[test]
fn a_freed_ring_is_unknown_to_every_command() {
    let mut bench = Bench::registered("bcm57414", 0);
    let queue = bench.queue();
    bench.must(RING_FREE, &[(0x12, &queue.cq.to_le_bytes())], 32);
    let cq = queue.cq.to_le_bytes();
    assert_eq!(bench.command(RING_FREE, &[(0x12, &cq)], 32), Err(INVALID));
    assert_eq!(
        bench.command(
            0x53,
            &[(0x10, &cq), (0x14, &hex("010001000100010001000100 0100".replace(' ', "").as_str()))],
            40
        ),
        Err(INVALID)
    );
    assert_eq!(bench.command(0x5e, &[(0x10, &[2]), (0x12, &cq)], 24), Err(UNSUPPORTED));
}
