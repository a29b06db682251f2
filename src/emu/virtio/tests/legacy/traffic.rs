//! Frames and commands through the block of pages that a legacy queue is.

use super::*;

#[test]
fn frames_go_round_behind_a_header_of_10_bytes_or_12() {
    for (features, header) in [(MAC, 10), (MAC | ANY_LAYOUT, 10), (MAC | MRG_RXBUF, 12)] {
        let mut bench = Bench::up("virtio-legacy,strict,wire=loop", features);
        for round in 0..600 {
            bench.give_buffer(round, header);
            let sent = frame(60 + round);
            bench.send(&vec![0; header as usize], &sent);
            assert_eq!(bench.completed(1, round), ((2 * round % 256) as u32, 0));
            assert_eq!(bench.completed(0, round), ((2 * round % 256) as u32, header + sent.len() as u32));
            let got = bench.bytes(BUFFERS + 2048 * (round % 64), header as usize + sent.len());
            let told = [&[0; 10][..], if header == 12 { &[1, 0] } else { &[] }].concat();
            assert_eq!((&got[..told.len()], &got[told.len()..]), (&told[..], &sent[..]), "{features:#x}");
        }
        assert_eq!(bench.tap.violations(), []);
    }
}

#[test]
fn a_header_shares_a_descriptor_if_that_was_agreed_on() {
    for (q, spec, features, alone) in [
        (1, "virtio-legacy,wire=loop", MAC, true),
        (1, "virtio-legacy,wire=loop", MAC | MRG_RXBUF, true),
        (1, "virtio-legacy,wire=loop", MAC | ANY_LAYOUT, false),
        (0, "virtio-legacy,wire=source:flows=1", MAC, true),
        (0, "virtio-legacy,wire=source:flows=1", MAC | MRG_RXBUF, false),
        (0, "virtio-legacy,wire=source:flows=1", MAC | ANY_LAYOUT, false),
    ] {
        let mut bench = Bench::up(spec, features);
        bench.give(q, &[(BUFFERS, if q == 0 { 2048 } else { 80 }, q == 0)]);
        bench.notify(q);
        let rule = ["header that is not alone in the first descriptor, without ANY_LAYOUT"];
        assert_eq!(bench.violations(), if alone { &rule[..] } else { &[] }, "queue {q}, {features:#x}");
        assert_eq!(bench.used_count(q), if alone && q == 0 { 0 } else { 1 - usize::from(alone) });
        assert_eq!(bench.bar.read8(18), 7);
    }
}

#[test]
fn a_checksum_is_completed_behind_a_short_header() {
    let mut bench = Bench::up("virtio-legacy,strict,wire=loop", MAC | CSUM);
    let mut whole = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(7, 9);
    builder.write(&mut whole, &[5; 33]).unwrap();
    let mut half = whole.clone();
    half[40..42].copy_from_slice(&(0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 17 + 41_u16).to_be_bytes());
    bench.give_buffer(0, 10);
    bench.send(&[1, 0, 0, 0, 0, 0, 34, 0, 6, 0], &half);
    assert_eq!(bench.bytes(BUFFERS + 10, whole.len()), whole);
    assert_eq!(bench.tap.violations(), []);
}

#[test]
fn queues_may_be_filled_and_notified_before_anything_is_agreed_on() {
    // In the order of iPXE's driver, which leaves ACKNOWLEDGE out.
    let mut bench = Bench::new("virtio-legacy,strict,wire=loop");
    bench.bar.write8(18, 0);
    (0..2).for_each(|q| bench.place(q));
    bench.give_buffer(0, 10);
    bench.notify(0);
    bench.send(&[0; 10], &frame(60));
    assert_eq!(bench.used_count(1), 0, "nothing is done yet");
    bench.bar.write32(4, MAC as u32);
    bench.bar.write8(18, 6);
    bench.run();
    assert_eq!((bench.completed(1, 0), bench.completed(0, 0)), ((0, 0), (0, 70)));
    assert_eq!(bench.tap.violations(), []);
}

#[test]
fn using_up_all_buffers_interrupts_where_that_was_agreed_on() {
    for (features, cause) in [(MAC, 0), (MAC | ON_EMPTY, 1)] {
        let mut bench = Bench::up("virtio-legacy,strict", features);
        bench.bar.read8(19);
        bench.put(bench.available(1), &[1, 0]);
        bench.send(&[0; 10], &frame(60));
        assert_eq!((bench.used_count(1), bench.bar.read8(19)), (1, cause), "{features:#x}");
        assert_eq!(bench.tap.violations(), []);
    }
}

#[test]
fn commands_have_a_descriptor_for_each_of_their_parts() {
    let mac: [u8; 6] = [2, 0, 0, 0, 0, 9];
    let tables = [&[1, 0, 0, 0][..], &mac].concat();
    let mut bench = Bench::up("virtio-legacy,strict", MAC | CTRL);
    assert_eq!(bench.command(&[&[0, 0], &[1]]), 0);
    assert_eq!(bench.command(&[&[1, 1], &mac]), 0);
    assert_eq!(bench.command(&[&[1, 0], &tables, &[0; 4]]), 0);
    assert_eq!(bench.tap.violations(), []);
    for parts in [&[&[0, 0, 1][..]][..], &[&[0], &[0, 1]], &[&[1, 0], &[&tables[..], &[0; 4]].concat()]] {
        let mut bench = Bench::up("virtio-legacy", MAC | CTRL);
        assert_eq!(bench.command(parts), 0, "it is carried out all the same");
        let rule = "command whose parts share a descriptor, or have several, without ANY_LAYOUT";
        assert_eq!(bench.violations(), [rule]);
        let mut bench = Bench::up("virtio-legacy,strict", MAC | CTRL | ANY_LAYOUT);
        assert_eq!(bench.command(parts), 0);
        assert_eq!(bench.tap.violations(), []);
    }
}

#[test]
fn tagged_frames_are_received_of_the_vlans_that_were_named() {
    let tagged = |vlan: u16| [&[0xff; 12][..], &[0x81, 0], &(0xa000 | vlan).to_be_bytes(), &[8, 0], &[0; 50]].concat();
    for (features, all) in [(MAC | CTRL, true), (MAC | CTRL | VLAN, false)] {
        let mut bench = Bench::up("virtio-legacy,strict,wire=loop", features);
        let received = |bench: &mut Bench, frame: &[u8]| {
            let before = bench.used_count(0);
            bench.give_buffer(bench.turn[0], 10);
            bench.send(&[0; 10], frame);
            bench.used_count(0) > before
        };
        assert!(received(&mut bench, &tagged(7)), "promiscuous, after reset");
        assert_eq!(bench.command(&[&[0, 0], &[0]]), 0);
        assert_eq!(received(&mut bench, &tagged(7)), all);
        if !all {
            assert_eq!(bench.command(&[&[2, 0], &7_u16.to_le_bytes()]), 0);
            assert!(received(&mut bench, &tagged(7)) && !received(&mut bench, &tagged(8)));
            assert_eq!(bench.command(&[&[2, 1], &7_u16.to_le_bytes()]), 0);
            assert!(!received(&mut bench, &tagged(7)));
        }
        assert!(received(&mut bench, &[&[0xff; 12][..], &[8, 6], &[0; 50]].concat()));
        assert_eq!(bench.tap.violations(), []);
    }
}

#[test]
fn a_nasty_device_has_queues_of_other_sizes_and_loses_nothing() {
    let (mut sizes, mut lengths, mut layouts) = (Vec::new(), 0, [0; 2]);
    for seed in 1..30 {
        let mut bench = Bench::up(&format!("virtio-legacy,strict,nasty,seed={seed},wire=loop"), MAC);
        layouts[bench.bar.read32(0) as usize >> 27 & 1] += 1;
        let mut seen = Vec::new();
        for n in 0..300 {
            bench.give_buffer(n, 10);
            let at = BUFFERS + 0x2_0000 + 0x800 * (n % 64);
            bench.put(at, &[&[0; 10][..], &[n as u8; 60]].concat());
            bench.give(1, &[(at, 10, false), (at + 10, 60, false)]);
            bench.notify(1);
        }
        // What was held back comes with what is sent later.
        for n in 0..bench.used_count(0) {
            seen.push(bench.bytes(BUFFERS + 2048 * (n % 64) + 10, 1)[0]);
        }
        assert_eq!(bench.used_count(0), 300, "seed {seed}");
        assert_eq!(&seen[236..], (236..300).map(|n| n as u8).collect::<Vec<_>>(), "seed {seed}");
        lengths += (0..bench.used_count(1)).filter(|n| bench.completed(1, *n).1 != 0).count();
        sizes.extend(bench.size);
        bench.bar.write32(8, 0);
        assert_eq!((bench.bar.read8(18), bench.bar.read32(4)), (0, 0), "page 0 resets all of it");
        assert_eq!(bench.tap.violations(), []);
    }
    assert!([16, 32, 64, 128, 256, 512, 1024].iter().all(|size| sizes.contains(size)), "{sizes:?}");
    assert!(lengths > 0 && layouts.iter().all(|seen| *seen > 0));
}

#[test]
fn a_notification_that_is_written_to_a_port_is_a_doorbell_that_crosses() {
    let mut bench = Bench::up("virtio-legacy,strict,wire=sink", MAC);
    bench.notify(1);
    bench.tap.count_crossings(true);
    let before = bench.tap.crossings();
    for round in 0..3 {
        bench.send(&[0; 10], &frame(60 + round));
    }
    let crossed = bench.tap.crossings() - before;
    assert_eq!((crossed.rung, crossed.read.bytes), (3, 3 * 10 + 60 + 61 + 62));
    assert_eq!(bench.tap.violations(), []);
}
