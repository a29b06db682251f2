//! What is refused.

use super::*;

type Change = fn(Request) -> Request;

#[test]
fn event_queues_that_there_cannot_be_are_refused() {
    let mut bench = Bench::new("");
    let unknown = Status::BAD_PARAMETER.with(0x8fef);
    let cases: [(Change, Status); 6] = [
        (|request| request.with(0x58, 31, 0, 1), unknown),
        (|request| request.with(0x5c, 31, 0, 1 << 22), unknown),
        (|request| request.with(0x60, 31, 0, 1), unknown),
        (|request| request.with(0x1c, 28, 24, 23), Status::BAD_PARAMETER),
        (|request| request.with(0x24, 11, 0, 16), Status::BAD_PARAMETER),
        (|request| request.with(0x1c, 23, 0, 0x999), Status::BAD_RESOURCE),
    ];
    for (n, (change, status)) in cases.into_iter().enumerate() {
        let (_, request) = bench.eq_request(LOG, 1, 0);
        assert_eq!(bench.command(&change(request)), Err(status), "{n}");
    }
    let (_, mut request) = bench.eq_request(7, 1, 0);
    request.0.truncate(0x118);
    assert_eq!(bench.command(&request), Err(Status::BAD_INPUT_LENGTH));
    // One page may be as long as the ring.
    bench.made(&request.with(0x28, 28, 24, 1));
    bench.assert_clean();
    let (at, request) = bench.eq_request(LOG, 1, 0);
    bench.put(at, &[0; 64]);
    bench.made(&request);
    bench.assert_violated("do not all say that they are not valid yet");
}

#[test]
fn completion_queues_that_there_cannot_be_are_refused() {
    let mut bench = Bench::new("");
    let eq = bench.eq(LOG, 1, 0);
    let cases: [(Change, Status); 9] = [
        (|request| request.with(0x10, 23, 21, 2), Status::BAD_PARAMETER),
        (|request| request.with(0x10, 14, 12, 7), Status::BAD_PARAMETER),
        (|request| request.with(0x24, 7, 0, 0x99), Status::BAD_RESOURCE),
        (|request| request.with(0x1c, 23, 0, 0x99), Status::BAD_RESOURCE),
        (|request| request.with(0x1c, 28, 24, 23), Status::BAD_PARAMETER),
        (|request| request.with(0x10, 23, 21, 3), Status::BAD_PARAMETER),
        (|request| request.with(0x4c, 2, 0, 4), Status::BAD_PARAMETER),
        (|request| request.with(0x10, 14, 12, 6), Status::BAD_PARAMETER),
        (|request| request.with(0x1c, 28, 24, 10), Status::BAD_INPUT_LENGTH),
    ];
    for (n, (change, status)) in cases.into_iter().enumerate() {
        let (.., mut request) = bench.cq_request(LOG, eq);
        request.0.truncate(0x120);
        assert_eq!(bench.command(&change(request)), Err(status), "{n}");
    }
    let without: [fn(&mut Limits); 3] =
        [|limits| limits.cq_oi = false, |limits| limits.moderation = false, |limits| limits.compression = false];
    for off in without {
        let mut bench = Bench::new("");
        let eq = bench.eq(LOG, 1, 0);
        off(&mut bench.plane.limits);
        let (.., request) = bench.cq_request(LOG, eq);
        let all = request.with(0x10, 17, 17, 1).with(0x10, 14, 14, 1).with(0x20, 15, 0, 5);
        assert_eq!(bench.command(&all), Err(Status::BAD_PARAMETER));
    }
    bench.assert_clean();
}

#[test]
fn send_queues_that_there_cannot_be_are_refused() {
    let mut bench = Bench::new("");
    let set = bench.start();
    let stamps = Status::BAD_PARAMETER.with(0x43_d98f);
    let cases: [(Change, Status); 16] = [
        (|request| request.with(0x20, 19, 19, 1), Status::BAD_PARAMETER),
        (|request| request.with(0x20, 18, 18, 1), Status::BAD_PARAMETER),
        (|request| request.with(0x3c, 15, 0, 1), Status::BAD_PARAMETER),
        (|request| request.with(0x20, 5, 4, 1), stamps),
        (|request| request.with(0x20, 5, 4, 2), stamps),
        (|request| request.with(0x20, 23, 20, 1), Status::BAD_PARAMETER),
        (|request| request.with(0x20, 17, 17, 1), Status::BAD_PARAMETER),
        (|request| request.with(0x50, 31, 28, 0), Status::BAD_PARAMETER),
        (|request| request.with(0x40, 31, 16, 2), Status::BAD_PARAMETER),
        (|request| request.with(0x70, 19, 16, 5), Status::BAD_PARAMETER),
        (|request| request.with(0x70, 4, 0, 16), Status::EXCEEDS_LIMIT),
        (|request| request.with(0x70, 4, 0, 15), Status::BAD_INPUT_LENGTH),
        (|request| request.with(0x4c, 23, 0, 0x99), Status::BAD_RESOURCE),
        (|request| request.with(0x28, 23, 0, 0x99), Status::BAD_RESOURCE),
        (|request| request.with(0x58, 23, 0, 0x99), Status::BAD_RESOURCE),
        (|request| request.with(0x5c, 23, 0, 0x99), Status::BAD_RESOURCE),
    ];
    for (n, (change, status)) in cases.into_iter().enumerate() {
        let (.., request) = bench.sq_request(set.tx_cq, set.tis);
        assert_eq!(bench.command(&change(request)), Err(status), "{n}");
    }
    // Cards whose stamps are the time of day have no free-running ones.
    for (can, formats) in [(0, [true, false, false]), (1, [false, true, true]), (2, [true, true, true])] {
        bench.plane.limits.sq_stamps = can;
        for (format, fine) in formats.into_iter().enumerate() {
            let (.., request) = bench.sq_request(set.tx_cq, set.tis);
            let outcome = bench.command(&request.with(0x20, 5, 4, format as u32));
            assert_eq!(outcome.map(drop), if fine { Ok(()) } else { Err(stamps) }, "{can} {format}");
        }
    }
    bench.assert_clean();
}

#[test]
fn receive_queues_that_there_cannot_be_are_refused() {
    let mut bench = Bench::new("");
    let set = bench.start();
    let bad = Status::BAD_PARAMETER;
    let cases: [(Change, Status); 10] = [
        (|request| request.with(0x20, 5, 4, 2), bad.with(0x43_d98f)),
        (|request| request.with(0x20, 30, 30, 1), bad),
        (|request| request.with(0x20, 29, 29, 1), bad),
        (|request| request.with(0x20, 27, 24, 1), bad),
        (|request| request.with(0x50, 31, 28, 0), bad),
        (|request| request.with(0x70, 19, 16, 3), bad),
        (|request| request.with(0x70, 19, 16, 10), bad),
        (|request| request.with(0x70, 4, 0, 16), Status::EXCEEDS_LIMIT),
        (|request| request.with(0x2c, 31, 24, 9), Status::BAD_RESOURCE),
        (|request| request.with(0x28, 23, 0, 0x99), Status::BAD_RESOURCE),
    ];
    for (n, (change, status)) in cases.into_iter().enumerate() {
        let (.., request) = bench.rq_request(set.rx_cq, 1, LOG, 4);
        assert_eq!(bench.command(&change(request)), Err(status), "{n}");
    }
    // One of no domain there may be.
    for (domain, outcome) in [(0, Ok(())), (0x99, Err(Status::BAD_RESOURCE))] {
        let (.., request) = bench.rq_request(set.rx_cq, 1, 0, 4);
        assert_eq!(bench.command(&request.with(0x58, 23, 0, domain)).map(drop), outcome);
    }
    bench.assert_clean();
}

#[test]
fn strides_are_as_many_and_as_long_as_the_card_has_them() {
    let mut bench = Bench::new("");
    let set = bench.start();
    let strides = |bench: &mut Bench, count, size, few, striding| {
        bench.plane.limits.few_strides = few;
        bench.plane.limits.striding = striding;
        let (.., request) = bench.rq_request(set.rx_cq, 3, 2, 5);
        bench.command(&request.with(0x74, 11, 8, count).with(0x74, 2, 0, size)).map(drop)
    };
    let bad = Err(Status::BAD_PARAMETER);
    assert_eq!(strides(&mut bench, 0, 0, false, true), Ok(()));
    assert_eq!(strides(&mut bench, 7, 7, false, true), Ok(()));
    assert_eq!(strides(&mut bench, 0, 0, false, false), bad);
    // 256 and 8 strides, of cards that have so few; 4 are too few of all.
    assert_eq!(strides(&mut bench, 15, 0, false, true), bad);
    assert_eq!(strides(&mut bench, 15, 0, true, true), Ok(()));
    assert_eq!(strides(&mut bench, 10, 0, true, true), Ok(()));
    assert_eq!(strides(&mut bench, 9, 0, true, true), bad);
    let (.., request) = bench.rq_request(set.rx_cq, 2, 2, 4);
    assert_eq!(bench.command(&request).map(drop), bad, "no room for both segments");
    bench.assert_clean();
}

#[test]
fn the_rest_is_refused_where_it_makes_no_sense() {
    let mut bench = Bench::new("");
    let set = bench.start();
    let bad = Err(Status::BAD_PARAMETER);
    let gone = Err(Status::BAD_RESOURCE);
    let tir = bench.tir_request(set.rq.id);
    assert_eq!(bench.command(&tir.clone().with(0x24, 27, 27, 1)), bad);
    assert_eq!(bench.command(&tir.clone().with(0x44, 31, 28, 3)), bad);
    assert_eq!(bench.command(&tir.clone().with(0x3c, 23, 0, 0x999)), gone);
    assert_eq!(bench.command(&tir.clone().with(0x24, 31, 28, 1)), gone);
    assert_eq!(bench.command(&tir.clone().with(0x44, 23, 0, 0x999)), gone);
    bench.plane.limits.lro = false;
    for (high, low) in [(11, 8), (27, 12), (7, 0)] {
        assert_eq!(bench.command(&tir.clone().with(0x30, high, low, 1)), bad, "merging without the capability");
    }
    bench.plane.limits.tunnels = false;
    assert_eq!(bench.command(&tir.with(0x40, 29, 29, 1)), bad);
    let table = bench.table_request(0);
    assert_eq!(bench.command(&table.clone().with(0x10, 31, 24, 4)), bad);
    assert_eq!(bench.command(&table.clone().with(0x18, 7, 0, 17)), bad);
    bench.plane.limits.level = 3;
    assert_eq!(bench.command(&table.with(0x18, 23, 16, 4)), bad);
    let root = |kind, table| Request::new(0x92f, 0x40).with(0x10, 31, 24, kind).with(0x14, 23, 0, table);
    assert_eq!(bench.command(&root(0, 99)), gone);
    assert_eq!(bench.command(&root(1, set.table)), gone, "a table of another kind");
    let key = Request::new(0x200, 0x110).with(0x1c, 23, 0, bench.pd);
    assert_eq!(bench.command(&key.clone().with(0x10, 9, 8, 1)), bad);
    assert_eq!(bench.command(&key.with(0x1c, 23, 0, 99)), gone);
    let sq = Request::new(0x905, 0x110).with(0x08, 31, 28, 1).with(0x08, 23, 0, set.sq.id).with(0x20, 23, 20, 1);
    assert_eq!(bench.command(&sq.clone().with(0x14, 31, 0, 1)), bad, "a rate without pacing");
    bench.done(&sq);
    let tis = Request::new(0x913, 0xc0).with(0x08, 23, 0, set.tis).with(0x20, 19, 16, 3);
    let priority = |bench: &mut Bench| bits(&bench.on(0x915, set.tis).unwrap(), 0x10, 19, 16);
    assert_eq!(bench.command(&tis.clone().with(0x14, 31, 0, 2)), bad);
    bench.done(&tis);
    assert_eq!(priority(&mut bench), 0, "what is not named stays");
    bench.done(&tis.with(0x14, 31, 0, 1));
    assert_eq!(priority(&mut bench), 3);
    let tis = Request::new(0x912, 0xc0).with(0x44, 23, 0, 99);
    assert_eq!(bench.command(&tis), gone);
    let cq = Request::new(0x403, 0x110).with(0x08, 23, 0, set.rx_cq.id).with(0x0c, 31, 0, 8);
    assert_eq!(bench.command(&cq), bad);
    assert_eq!(bench.change(0x909, set.rq.id, 3, 0), Err(Status::BAD_QUEUE_STATE));
    assert_eq!(bench.change(0x909, set.rq.id, 1, 2), bad);
    assert!(bench.plane.command(&mut bench.board, &Request::new(0x805, 0x10).0).is_none());
    assert_eq!(u32_at(&bench.on(0x203, 0).unwrap(), 0x0c), RESERVED_LKEY);
    bench.assert_clean();
}
