//! The channel itself: how commands come and answers go, and how not.

use super::*;

#[test]
fn an_answer_is_valid_when_its_last_byte_is_which_comes_last() {
    let mut bench = Bench::bare("bcm57414");
    let request = bench.request(VER_GET, &[], 24);
    bench.start(&request);
    // An access takes 5 us: the body is there after 2, and valid after 1 more.
    bench.engine.step();
    assert_eq!((u16_at(&bench.bytes(ANSWER, 8), 6), bench.bytes(ANSWER, 176)[175]), (0, 0));
    bench.engine.advance(2_000_000);
    bench.engine.step();
    let body = bench.bytes(ANSWER, 176);
    assert_eq!((u16_at(&body, 4), u16_at(&body, 6), body[8], body[175]), (bench.seq, 176, 1, 0));
    bench.engine.advance(1_000_000);
    bench.engine.step();
    assert_eq!(bench.bytes(ANSWER, 176)[175], 1);
    bench.assert_clean();
}

#[test]
fn an_error_is_of_16_bytes_with_the_commands_number() {
    let mut bench = Bench::bare("bcm57414");
    for (code, error) in [(0x1234, UNKNOWN), (0xd4, UNKNOWN), (FUNC_QCAPS, INVALID)] {
        let request = bench.request(code, &[(0x10, &[9, 9])], 24);
        bench.start(&request);
        let answer = bench.wait(bench.seq, MILLISECOND).unwrap();
        let header = [0, 2, 4, 6].map(|at| u16_at(&answer, at));
        assert_eq!((header, answer[15]), ([error, code, bench.seq, 16], 1));
    }
}

#[test]
fn what_is_beyond_a_senders_length_is_zero() {
    let mut bench = Bench::registered("bcm57508", 0);
    // Flags and counts that follow are none: nothing is reserved.
    let before = bench.must(FUNC_QCFG, &[(0x10, &[0xff; 2])], 24);
    bench.must(FUNC_CFG, &[(0x10, &[0xff; 2]), (0x18, &[0x10])], 28);
    let after = bench.must(FUNC_QCFG, &[(0x10, &[0xff; 2])], 24);
    assert_eq!((u16_at(&after, 0x1c), u16_at(&before, 0x1c)), (0, 64), "an enable whose field was not sent");
    bench.assert_clean();
}

#[test]
fn what_an_earlier_command_left_in_the_window_is_not_looked_at() {
    let mut bench = Bench::bare("bcm57414");
    bench.must(RGTR, &[(0x10, &4u32.to_le_bytes()), (0x14, &[0x10]), (0x48, &[0xff; 32])], 112);
    // 24 bytes are all that this command has.
    bench.must(FUNC_QCFG, &[(0x10, &[0xff; 2])], 24);
    bench.must(UNRGTR, &[], 24);
    bench.assert_clean();
}

#[test]
fn long_requests_come_by_memory_and_have_an_end() {
    let mut bench = Bench::registered("bcm57414", 0);
    bench.must(FUNC_CFG, &[(0x10, &[0xff; 2])], 160);
    bench.must(FUNC_CFG, &[(0x10, &[0xff; 2])], 384);
    bench.assert_clean();
    assert_eq!(bench.command(FUNC_CFG, &[(0x10, &[0xff; 2])], 392), Err(INVALID));
    assert_eq!(bench.violations(), ["HWRM request of 392 bytes, of at most 384"]);

    let mut bench = Bench::registered("bcm57414,fault=short-requests", 0);
    assert_eq!(u16_at(&bench.must(VER_GET, &[], 24), 0xa8), 128);
    bench.must(FUNC_CFG, &[(0x10, &[0xff; 2])], 128);
    assert_eq!(bench.command(FUNC_CFG, &[(0x10, &[0xff; 2])], 160), Err(INVALID));
}

#[test]
fn a_command_with_a_completion_ring_is_told_there_too() {
    let mut bench = Bench::registered("bcm57414", 0);
    let at = bench.pages(1);
    let address = bench.arena.iova(at).to_le_bytes();
    let cq = bench.must(RING_ALLOC, &[(0x18, &address), (0x28, &[64]), (0x4c, &[3])], 88);
    let cq = [cq[8], cq[9]];
    let request = bench.request(0x202, &[(2, &cq)], 16);
    bench.send(&request).unwrap().unwrap();
    bench.run(MILLISECOND);
    let entry = bench.bytes(at, 16);
    assert_eq!((entry[0] & 0x3f, u16_at(&entry, 2), entry[8] & 1), (0x20, bench.seq, 1));
    bench.assert_clean();
}

#[test]
fn a_command_of_p5_may_name_a_notification_queue() {
    let mut bench = Bench::bare("bcm57508,strict");
    bench.must(VER_GET, &[], 24);
    bench.must(FUNC_RESET, &[], 24);
    bench.must(QPORTCFG, &[], 24);
    bench.give_store(336);
    bench.register(0);
    let at = bench.pages(1);
    let nq = bench.ring(5, 64, &[(0x18, &bench.arena.iova(at).to_le_bytes()), (0x4c, &[2])]).to_le_bytes();
    let request = bench.request(0x202, &[(2, &nq)], 16);
    bench.send(&request).unwrap().unwrap();
    bench.run(MILLISECOND);
    let entry = bench.bytes(at, 16);
    assert_eq!((entry[0] & 0x3f, u16_at(&entry, 2), entry[8] & 1), (0x20, bench.seq, 1));
    bench.assert_clean();
}

#[test]
fn words_of_the_chips_bus_are_read_into_memory() {
    const READ_DIRECT: u16 = 0xff10;
    let mut bench = Bench::bare("bcm57414,strict");
    let (at, chip) = (bench.pages(1), 0x26_0048_u32.to_le_bytes());
    let address = bench.arena.iova(at).to_le_bytes();
    bench.must(READ_DIRECT, &[(0x10, &address), (0x18, &chip), (0x1c, &[2])], 32);
    assert_eq!(bench.bytes(at, 8), [0xd7, 0x16, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bench.command(READ_DIRECT, &[(0x10, &address), (0x18, &chip)], 32), Err(INVALID));
    bench.assert_clean();
}

#[test]
fn wrong_use_of_the_channel_is_noted() {
    let wrong = |name: &str, act: &dyn Fn(&mut Bench)| {
        let mut bench = Bench::bare("bcm57414");
        act(&mut bench);
        bench.run(MILLISECOND);
        assert_eq!(bench.violations(), [name]);
    };
    wrong("HWRM trigger written with another value than 1", &|bench| bench.bar.write32(0x100, 0));
    wrong("HWRM command whose answer has no aligned address", &|bench| {
        let request = bench.request(VER_GET, &[(8, &[0; 8])], 24);
        bench.start(&request);
    });
    wrong("HWRM command before the last one was answered", &|bench| {
        let request = bench.request(VER_GET, &[], 24);
        bench.start(&request);
        bench.bar.write32(0x100, 1);
    });
    wrong("HWRM command with the sequence number of the last one", &|bench| {
        for _ in 0..2 {
            bench.seq = 7;
            bench.ask(FUNC_QCFG, 0xffff).unwrap();
        }
    });
    wrong("short HWRM command for a request without a header", &|bench| {
        bench.window(&hex("16002143ffff08000000000000000000"));
        bench.bar.write32(0x100, 1);
    });
    wrong("short HWRM command that names another command than its request", &|bench| {
        let request = bench.request(FUNC_QCFG, &[], 24);
        bench.put(REQUEST, &request);
        let address = bench.arena.iova(REQUEST).to_le_bytes();
        bench.window(&[&hex("15002143ffff1800")[..], &address].concat());
        bench.bar.write32(0x100, 1);
    });
    wrong("FUNC_CFG before FUNC_DRV_RGTR", &|bench| {
        bench.must(FUNC_CFG, &[(0x10, &[0xff; 2])], 88);
    });
    wrong("unknown register 0x00200", &|bench| bench.bar.write32(0x200, 0));
    wrong("write to 0x0 behind a GRC window", &|bench| bench.bar.write32(0x1000, 0));
    wrong("DMA write outside mapped memory", &|bench| {
        let request = bench.request(VER_GET, &[(8, &0x10_0000_0000_u64.to_le_bytes())], 24);
        bench.start(&request);
    });
}

#[test]
fn a_new_driver_may_begin_with_the_old_ones_number() {
    let mut bench = Bench::bare("bcm57414");
    for _ in 0..2 {
        bench.seq = 7;
        bench.must(VER_GET, &[], 24);
    }
    bench.assert_clean();
}

#[test]
fn silent_firmware_answers_nothing_any_more() {
    let mut bench = Bench::bare("bcm57414,fault=timeout:2");
    bench.must(VER_GET, &[], 24);
    for _ in 0..2 {
        let request = bench.request(FUNC_RESET, &[], 24);
        assert_eq!(bench.send(&request), None);
    }
    bench.assert_clean();
}

#[test]
fn answers_are_wrong_on_demand() {
    let header = |spec: &str| {
        let mut bench = Bench::bare(spec);
        let request = bench.request(VER_GET, &[], 24);
        bench.start(&request);
        bench.run(MILLISECOND);
        let answer = bench.bytes(ANSWER, 176);
        (u16_at(&answer, 0), u16_at(&answer, 2), u16_at(&answer, 6), answer[175])
    };
    assert_eq!(header("bcm57414,fault=opcode"), (0, 1, 176, 1));
    assert_eq!(header("bcm57414,fault=short"), (0, 0, 176, 0), "never valid");
    assert_eq!(header("bcm57414,fault=error"), (FAIL, 0, 16, 0));
}

#[test]
fn busy_firmware_does_the_same_command_at_its_second_try() {
    let mut bench = Bench::bare("bcm57414,fault=busy");
    bench.must(VER_GET, &[], 24);
    for _ in 0..2 {
        assert_eq!(bench.command(FUNC_RESET, &[], 24), Err(BUSY));
        bench.must(FUNC_RESET, &[], 24);
    }
    let mut bench = Bench::bare("bcm57414,fault=busy:2");
    bench.must(VER_GET, &[], 24);
    assert_eq!(bench.command(FUNC_RESET, &[], 24), Err(BUSY));
    bench.must(FUNC_QCAPS, &[(0x10, &[0xff; 2])], 24);
}

#[test]
fn a_nasty_card_is_late_and_sends_old_answers_and_short_ones() {
    let (mut late, mut stale, mut short, mut busy) = (0, 0, 0, 0);
    for seed in 0..24 {
        let mut bench = Bench::bare(&format!("bcm57414,nasty,seed={seed}"));
        for _ in 0..40 {
            let request = bench.request(FUNC_RESET, &[], 24);
            bench.start(&request);
            // At any time before the answer.
            let mut old = false;
            for _ in 0..20 {
                let header = bench.bytes(ANSWER, 8);
                old |= u16_at(&header, 6) == 16 && u16_at(&header, 4) != bench.seq;
                bench.engine.advance(10_000_000);
                bench.engine.step();
            }
            stale += u32::from(old);
            let since = bench.engine.now();
            bench.wait(bench.seq, 5000 * MILLISECOND).expect("an answer in the end");
            late += u32::from(bench.engine.now() - since > 5 * MILLISECOND);
        }
        short += u32::from(bench.must(FUNC_QCAPS, &[(0x10, &[0xff; 2])], 24).len() == 80);
        busy += (0..40).filter(|_| bench.command(0xc8, &[(0x10, &hex("ea070b1d"))], 32) == Err(BUSY)).count();
        bench.assert_clean();
    }
    assert!(late > 100 && stale > 5 && (4..20).contains(&short) && busy > 5, "{late} {stale} {short} {busy}");
}

#[test]
fn a_trace_names_the_command() {
    let mut bench = Bench::bare("bcm57414");
    bench.tap.trace(true);
    bench.must(VER_GET, &[], 24);
    let trace = bench.tap.take_trace();
    let names: Vec<_> = trace.iter().filter_map(|access| access.name.clone()).collect();
    assert!(names.contains(&"HWRM_WINDOW(5)".into()) && names.contains(&"HWRM_VER_GET".into()), "{names:?}");
}
