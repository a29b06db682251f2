//! The virtual port: its context, what is received.

use super::super::cmd::Request;
use super::super::models::{CX4LX, CX5};
use super::super::{Board, MODELS, Mlx5, fw};
use super::*;

const PROMISCUOUS: u32 = 1 << 4;
const LIST: u32 = 1 << 2;
const MTU: u32 = 1 << 6;

/// A context that is changed: which fields, and words of it.
fn modify(bench: &Bench, which: u32, words: &[(usize, u32)], list: &[[u8; 6]]) -> Result<(), u8> {
    let mut fields = vec![(0xc, which)];
    fields.extend(words.iter().map(|&(at, value)| (0x100 + at, value)));
    for (n, mac) in list.iter().enumerate() {
        fields.push((0x200 + 8 * n, u32::from(be::u16_at(mac, 0))));
        fields.push((0x204 + 8 * n, be::u32_at(mac, 2)));
    }
    bench.command(MODIFY_VPORT, 0, &fields, 0x200 + 8 * list.len(), 0x10).map(|_| ())
}

/// The context: its words, and the list of this kind.
fn context(bench: &Bench, list: u32) -> Vec<u8> {
    bench.must(QUERY_VPORT, 0, &[(0xc, list << 24)], 0x10, 0x190)[0x10..].to_vec()
}

const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];

#[test]
fn a_context_reads_back_what_was_written() {
    let bench = Bench::running("cx5,strict,mac=02:00:00:00:00:01");
    let fresh = context(&bench, 0);
    assert_eq!((be::u32_at(&fresh, 0x24), fresh[0xf6..0xfc].to_vec()), (1522, vec![2, 0, 0, 0, 0, 1]));
    assert_eq!(
        (be::u32_at(&fresh, 0), be::u32_at(&fresh, 0xf0)),
        (0, 0),
        "loopback is on, nothing foreign is received"
    );
    modify(&bench, PROMISCUOUS | MTU, &[(0x24, 9022), (0xf0, 1 << 29)], &[]).unwrap();
    modify(&bench, LIST, &[(0xf0, 1)], &[OTHER]).unwrap();
    modify(&bench, 1 << 10 | 1 << 11, &[(0, 6)], &[]).unwrap();
    let told = context(&bench, 0);
    assert_eq!((be::u32_at(&told, 0x24), be::u32_at(&told, 0xf0), be::u32_at(&told, 0)), (9022, 1 << 29 | 1, 6));
    assert_eq!(told[0x102..0x108], OTHER);
    assert_eq!(be::u32_at(&context(&bench, 1), 0xf0) & 0xffff, 0, "the list of groups is another");
    bench.assert_clean();
}

#[test]
fn what_a_vport_cannot_have_is_refused() {
    let bench = Bench::running("cx5");
    let many = vec![OTHER; 33];
    assert_eq!(modify(&bench, LIST, &[(0xf0, 1025)], &many), Err(EXCEEDS_LIMIT), "a list longer than 2^10");
    assert_eq!(modify(&bench, LIST, &[(0xf0, 34)], &many), Err(BAD_INPUT_LENGTH));
    assert_eq!(modify(&bench, MTU, &[(0x24, 10_001)], &[]), Err(BAD_PARAMETER));
    assert_eq!(modify(&bench, 1 << 7, &[(0, 0)], &[]), Err(BAD_PARAMETER), "nothing has to be inline here");
    assert_eq!(modify(&bench, 1 << 3, &[(0xf4, 0x0100)], &[]), Err(BAD_PARAMETER), "a group as its address");
    assert_eq!(bench.command(QUERY_VPORT, 0, &[(8, 1 << 31 | 3)], 0x10, 0x110), Err(BAD_PARAMETER));
    let older = Bench::running("cx4lx");
    assert_eq!(modify(&older, 1 << 11, &[(0, 2)], &[]), Err(BAD_PARAMETER), "loopback is always on");
    assert_eq!(context(&older, 0)[0], 1, "18 bytes inline");
}

/// How many of two frames the function took: one to another address, one to everyone.
fn counted(bench: &Bench) -> [u32; 2] {
    let counters = bench.must(0x770, 0, &[], 0x20, 0x210);
    [0x94, 0x74].map(|at| be::u32_at(&counters, at))
}

#[test]
fn the_table_of_addresses_is_the_first_functions() {
    let bench = Bench::running("cx4lx");
    let entry = [(0x14, 5), (0x20, 0x0200), (0x24, 9)];
    bench.must(0x829, 0, &entry, 0x40, 0x10);
    assert_eq!(bench.must(0x82a, 0, &[(0x14, 5)], 0x40, 0x40)[0x22..0x28], OTHER);
    assert!(bench.command(0x829, 0, &[(0x14, 1 << 16)], 0x40, 0x10).is_err());
    bench.must(0x82b, 0, &[(0x14, 5)], 0x40, 0x10);
    assert!(bench.command(0x82a, 0, &[(0x14, 5)], 0x40, 0x40).is_err());
    assert_eq!(counted(&bench), [0; 2]);
}

#[test]
fn a_function_that_is_not_trusted_is_told_yes_and_receives_nothing_more() {
    let bench = Bench::running("cx5,fault=vf-untrusted");
    modify(&bench, PROMISCUOUS, &[(0xf0, 7 << 29)], &[]).unwrap();
    assert_eq!(be::u32_at(&context(&bench, 0), 0xf0), 7 << 29);
}

#[test]
fn a_nasty_vport_says_no_mtu_and_wants_more_inline() {
    let mut modes = Vec::new();
    for seed in 1..8 {
        let bench = Bench::booted(&format!("cx4lx,nasty,seed={seed}"));
        bench.init();
        let context = context(&bench, 0);
        assert_eq!(be::u32_at(&context, 0x24), 0);
        modes.push(context[0]);
    }
    assert!(modes.iter().all(|mode| (1..=3).contains(mode)) && modes.iter().any(|mode| *mode > 1), "{modes:?}");
}

#[test]
fn the_oldest_cards_count_no_discards() {
    for (model, counts) in [("cx4lx,nasty", false), ("cx4lx", true), ("cx5", true)] {
        let bench = Bench::running(model);
        assert_eq!(bench.ask(ALLOC_Q_COUNTER, 0).map(drop), if counts { Ok(()) } else { Err(BAD_OPERATION) });
    }
}

#[test]
fn a_list_of_addresses_is_enough_where_the_function_looks_after_no_table() {
    for (spec, enough) in [("cx5", true), ("cx4lx", false), ("cx5,fault=vf-untrusted", true)] {
        let mut card = card(spec);
        let list = [(0xc, LIST), (0x1f0, 1), (0x200, 0x0200), (0x204, 9)];
        set(&mut card, request(MODIFY_VPORT, 0, &list, 0x208));
        assert_eq!(card.plane.vport.takes(&OTHER), enough, "{spec}");
    }
}

#[test]
fn a_function_that_is_trusted_receives_what_it_asks_for_and_another_does_not() {
    for (spec, takes) in [("cx5", true), ("cx5,fault=vf", true), ("cx5,fault=vf-untrusted", false)] {
        let mut card = card(spec);
        set(&mut card, request(MODIFY_VPORT, 0, &[(0xc, PROMISCUOUS), (0x1f0, 7 << 29)], 0x200));
        assert_eq!(card.plane.vport.takes(&OTHER), takes, "{spec}");
    }
}

/// A card by itself, without a bus.
fn card(spec: &str) -> Mlx5 {
    let spec: Spec = spec.parse().unwrap();
    let kind = if spec.model == "cx4lx" { &CX4LX } else { &CX5 };
    let info = MODELS.iter().find(|info| info.profile.id.device == kind.device).unwrap();
    let wire = spec.open_wire(&mut Default::default()).unwrap();
    Mlx5::new(kind, Board::new(info, &spec, wire))
}

/// Does a command, as if somebody had initialised the function.
fn set(card: &mut Mlx5, bytes: Vec<u8>) {
    card.inherit();
    fw::run(card, &Request { bytes, room: 0x10 }).unwrap();
}
