//! The memory that firmware works with.

use super::*;

#[test]
fn pages_follow_the_queue_pairs_that_are_planned() {
    let bench = Bench::booted("cx4lx");
    assert_eq!((bench.wants(1), bench.wants(2), bench.wants(3)), (0, 4232, 0));
    let mut caps = bench.caps(0, true);
    for (log_qp, pages) in [(17, 12_868), (10, 3076), (14, 4232)] {
        caps[0x13] = log_qp;
        bench.set_caps(&caps).unwrap();
        assert_eq!(bench.wants(2), pages);
    }
}

#[test]
fn a_nasty_card_wants_less_than_none_in_the_run() {
    let bench = Bench::booted("cx5,nasty");
    assert!(bench.wants(3) < 0);
}

#[test]
fn only_pages_of_its_own_that_are_aligned_are_taken() {
    let bench = Bench::ready("cx5");
    bench.must(ENABLE_HCA, 0, &[], 0x10, 0xc);
    let pages = bench.pages(6);
    for bad in [vec![], vec![pages[0], 0], vec![pages[0] + 0x200], vec![pages[0], pages[0]]] {
        assert_eq!(bench.give(&bad), Err(BAD_PARAMETER), "{bad:x?}");
    }
    let mut short = give(&pages);
    short.truncate(0x10 + 8 * 5);
    assert_eq!(bench.send(&short, 0x10).unwrap(), Err(BAD_INPUT_LENGTH));
    assert_eq!(bench.wants(1), 6, "all or nothing");
    bench.give(&pages).unwrap();
    assert_eq!(bench.give(&pages[..1]), Err(BAD_PARAMETER), "it has that one");
    let mut foreign = give(&bench.pages(1));
    foreign[0xb] = 3;
    assert_eq!(bench.send(&foreign, 0x10).unwrap(), Err(BAD_PARAMETER), "for another function");
    bench.assert_clean();
    assert_eq!(bench.give(&[0xffff_ffff_ffff_f000]), Err(BAD_PARAMETER), "nothing is there");
}

#[test]
fn all_come_back_and_each_once() {
    for spec in ["cx5", "cx5,nasty", "cx5,nasty,seed=7"] {
        let bench = Bench::booted(spec);
        let first = bench.next_page.get();
        bench.init();
        assert!(bench.take(8).is_empty(), "it needs them all");
        bench.must(TEARDOWN_HCA, 0, &[], 0x10, 0x10);
        let mut back = Vec::new();
        for _ in 0..1000 {
            back.extend(bench.take(16));
        }
        back.sort_unstable();
        back.dedup();
        assert_eq!(back.len(), 118);
        assert!(first > FIRST_PAGE);
        bench.must(DISABLE_HCA, 0, &[], 0x10, 0xc);
        bench.assert_clean();
    }
}

#[test]
fn pages_that_are_left_with_firmware_are_noted() {
    let bench = Bench::booted("cx5");
    bench.must(DISABLE_HCA, 0, &[], 0x10, 0xc);
    assert!(bench.violations().iter().any(|name| name.contains("while firmware has pages")));
}

#[test]
fn firmware_may_never_give_them_back() {
    let bench = Bench::running("cx5,fault=take-stuck");
    bench.must(TEARDOWN_HCA, 0, &[], 0x10, 0x10);
    assert!(bench.take(16).is_empty());
}

#[test]
fn firmware_writes_to_its_pages_until_bus_mastering_is_off() {
    let bench = Bench::running("cx5");
    bench.assert_clean();
    for _ in 0..50 {
        bench.run(20 * MILLISECOND);
    }
    assert!(written(&bench) > 20);
    // Its driver is gone, and so is its memory for this process's use.
    clear(&bench);
    bench.run(100 * MILLISECOND);
    assert!(written(&bench) > 0);
    bench.function.set_bus_master(false).unwrap();
    bench.function.set_bus_master(true).unwrap();
    bench.run(2 * MILLISECOND);
    clear(&bench);
    bench.run(100 * MILLISECOND);
    assert_eq!(written(&bench), 0);
    bench.assert_clean();
}

/// How many pages were written to since they were cleared.
pub fn written(bench: &Bench) -> usize {
    (0..118).filter(|n| bench.bytes(FIRST_PAGE + 4096 * n, 8) != [0; 8]).count()
}

/// Clears what is written to pages.
pub fn clear(bench: &Bench) {
    (0..118).for_each(|n| bench.put(FIRST_PAGE + 4096 * n, &[0; 8]));
}

/// A page request, if that is the next event: function, count.
fn wanted(bench: &Bench) -> Option<(u16, i32)> {
    let (kind, _, data) = bench.event()?;
    assert_eq!((kind, be::u16_at(&data, 0)), (0x0b, 0));
    Some((be::u16_at(&data, 2), be::u32_at(&data, 4) as i32))
}

#[test]
fn a_nasty_card_makes_queues_when_it_was_given_more_pages() {
    let (mut waited, mut twice, mut foreign, mut negative) = (0, 0, 0, 0);
    for seed in 1..8 {
        let bench = Bench::booted(&format!("cx5,nasty,seed={seed}"));
        bench.init();
        bench.event_queue(1 << 0x0b);
        for _ in 0..30 {
            // Its fields make no sense: it is refused, when its turn comes.
            bench.start(0, &request(CREATE_FLOW_TABLE, 0, &[(0x10, 0x6300_0000)], 0x40), 0x10);
            bench.run(MILLISECOND);
            let mut requests = Vec::new();
            while let Some(request) = wanted(&bench) {
                requests.push(request);
            }
            foreign += requests.iter().filter(|(function, _)| *function != 0).count();
            negative += requests.iter().filter(|(_, count)| *count < 0).count();
            let own: Vec<i32> = requests.iter().filter(|(f, n)| *f == 0 && *n > 0).map(|(_, n)| *n).collect();
            twice += usize::from(own.len() > 1);
            if !own.is_empty() {
                waited += 1;
                assert!(bench.wait(0, 50 * MILLISECOND).is_none(), "it waits for {own:?}");
                for count in own {
                    bench.start(31, &give(&bench.pages(count as usize)), 0x10);
                    assert_eq!(bench.wait(31, SECOND).unwrap().bytes[0], 0);
                }
            }
            assert_ne!(bench.wait(0, SECOND).unwrap().bytes[0], NO_RESOURCES);
        }
        bench.assert_clean();
    }
    assert!(waited > 20 && twice > 5 && foreign > 5 && negative > 5, "{waited} {twice} {foreign} {negative}");
}

#[test]
fn where_there_are_none_to_give_the_command_fails() {
    let bench = Bench::booted("cx5,nasty");
    bench.init();
    bench.event_queue(1 << 0x0b);
    for _ in 0..30 {
        bench.start(0, &request(CREATE_FLOW_TABLE, 0, &[(0x10, 0x6300_0000)], 0x40), 0x10);
        if bench.wait(0, 50 * MILLISECOND).is_none() {
            bench.start(31, &request(MANAGE_PAGES, 0, &[], 0x10), 0x10);
            bench.wait(31, SECOND).unwrap();
            assert_eq!(bench.wait(0, SECOND).unwrap().bytes[0], NO_RESOURCES);
            return;
        }
    }
    panic!("it never asked");
}

#[test]
fn all_pages_are_released_at_once_only_if_the_driver_knows_of_that() {
    for knows in [false, true] {
        let bench = Bench::booted("cx5,fault=release-all");
        let mut caps = bench.caps(0, true);
        assert_eq!(be::bits(&caps, 0x28, 26, 26), 0);
        be::set_bits(&mut caps, 0x28, 26, 26, knows.into());
        bench.set_caps(&caps).unwrap();
        bench.init();
        bench.event_queue(1 << 0x0b);
        bench.run(SECOND);
        let told = bench.event().map(|(kind, _, data)| (kind, be::u16_at(&data, 0)));
        assert_eq!(told, knows.then_some((0x0b, 0x4000)));
        bench.must(TEARDOWN_HCA, 0, &[], 0x10, 0x10);
        assert_eq!(bench.take(16).is_empty(), knows);
    }
}

#[test]
fn what_waits_for_pages_fails_when_the_function_is_torn_down() {
    let bench = Bench::booted("cx5,nasty");
    bench.init();
    bench.event_queue(1 << 0x0b);
    for _ in 0..30 {
        bench.start(0, &request(CREATE_FLOW_TABLE, 0, &[(0x10, 0x6300_0000)], 0x40), 0x10);
        if bench.wait(0, 50 * MILLISECOND).is_none() {
            bench.start(31, &request(TEARDOWN_HCA, 0, &[], 0x10), 0x10);
            assert_eq!(bench.wait(31, SECOND).unwrap().bytes[0], 0);
            assert_eq!(bench.wait(0, SECOND).unwrap().bytes[0], NO_RESOURCES);
            return;
        }
    }
    panic!("it never asked");
}

#[test]
fn a_card_with_processors_asks_its_host_for_none() {
    for seed in 1..4 {
        let bench = Bench::booted(&format!("cx6dx,nasty,fault=dpu-host,seed={seed}"));
        bench.init();
        bench.event_queue(1 << 0x0b);
        for _ in 0..20 {
            bench.start(0, &request(CREATE_FLOW_TABLE, 0, &[(0x10, 0x6300_0000)], 0x40), 0x10);
            assert!(bench.wait(0, 50 * MILLISECOND).is_some());
        }
        assert_eq!(bench.event(), None);
    }
}
