//! Programs: what the verifier refuses, that the interpreter does what the plainest
//! one does, and how they are printed.

use super::super::code::{self, Instruction};
use super::super::run::{Parts, Program, Whole};
use super::super::verify::{Fault, verify};
use super::super::{emit, graph, parser};
use super::{chance::Chance, corpus, random, reference};
use proptest::prelude::*;

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[test]
fn programs_that_could_go_astray_are_refused() {
    let accept = instruction(0x06, 0, 0, 1);
    for (program, fault) in [
        (vec![], Fault::Empty),
        (vec![accept; 4097], Fault::TooLong(4097)),
        (vec![instruction(0x00, 0, 0, 1)], Fault::Beyond(0)),
        (vec![instruction(0x15, 0, 1, 1), accept], Fault::Beyond(0)),
        (vec![instruction(0x15, 1, 0, 1), accept], Fault::Beyond(0)),
        (vec![instruction(0x05, 0, 0, 1), accept], Fault::Beyond(0)),
        // Backward, as libpcap has it.
        (vec![instruction(0x00, 0, 0, 1), instruction(0x05, 0, 0, u32::MAX), accept], Fault::Beyond(1)),
        (vec![instruction(0x60, 0, 0, 0), accept], Fault::ReadsUnwritten(0)),
        (vec![instruction(0x61, 0, 0, 15), accept], Fault::ReadsUnwritten(0)),
        (vec![instruction(0x02, 0, 0, 16), accept], Fault::NoSuchWord(0)),
        (vec![instruction(0x34, 0, 0, 0), accept], Fault::DividesByZero(0)),
        (vec![instruction(0x94, 0, 0, 0), accept], Fault::DividesByZero(0)),
        (vec![instruction(0x64, 0, 0, 32), accept], Fault::ShiftsTooFar(0)),
        (vec![instruction(0xffff, 0, 0, 0), accept], Fault::Unknown(0)),
        (vec![instruction(0x18, 0, 0, 0), accept], Fault::Unknown(0)),
        // Unknown even where no way leads.
        (vec![accept, instruction(0xff, 0, 0, 0)], Fault::Unknown(1)),
        // Written on one of two ways only.
        (
            vec![instruction(0x15, 0, 1, 0), instruction(0x02, 0, 0, 3), instruction(0x60, 0, 0, 3), accept],
            Fault::ReadsUnwritten(2),
        ),
    ] {
        assert_eq!(verify(&program), Err(fault), "{program:?}");
        assert!(Program::new(program).is_err());
    }
    let written = [0, 1].map(|jf| {
        vec![
            instruction(0x15, 0, jf, 0),
            instruction(0x02, 0, 0, 3),
            instruction(0x02, 0, 0, 3),
            instruction(0x60, 0, 0, 3),
            accept,
        ]
    });
    assert!(written.iter().all(|program| verify(program).is_ok()));
}

#[test]
fn the_interpreter_does_what_the_plainest_one_does() {
    let frames = corpus::frames(400);
    let mut chance = Chance(11);
    let mut matched = 0;
    for _ in 0..300 {
        let expression = random::expression(&mut chance, 2);
        let Ok(test) = parser::parse(&expression) else { continue };
        let Ok(code) = emit::program(&graph::Graph::new(&test)) else { continue };
        let program = Program::new(code.clone()).unwrap();
        for frame in &frames {
            let whole = program.run(&Whole(frame), frame.len() as u32);
            assert_eq!(Some(whole), reference::run(&code, frame), "{expression} {frame:02x?}");
            let parts: Vec<&[u8]> = frame.chunks(13).collect();
            assert_eq!(whole, program.run(&Parts(&parts), frame.len() as u32), "{expression} {frame:02x?}");
            matched += usize::from(whole != 0);
        }
    }
    assert!(matched > 10_000, "{matched}");
}

/// Any instructions that are known, and some that are not; with jumps and numbers that
/// are small enough to pass now and then.
fn any_instruction() -> impl Strategy<Value = Instruction> {
    let classes = proptest::sample::select(vec![
        0x00, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x80, 0x01, 0x61, 0x81, 0xb1, 0x02, 0x03, 0x04, 0x0c, 0x14,
        0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x54, 0x5c, 0x64, 0x6c, 0x74, 0x7c, 0x84, 0x94, 0x9c, 0xa4, 0x05, 0x15,
        0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d, 0x06, 0x16, 0x07, 0x87,
    ]);
    let code = prop_oneof![20 => classes.prop_map(|code: u16| code), 1 => any::<u16>()];
    let k = prop_oneof![8 => 0..70_u32, 1 => any::<u32>()];
    (code, 0..6_u8, 0..6_u8, k)
        .prop_map(|(code, jt, jf, k)| instruction(code, jt, jf, if code == 5 { k % 6 } else { k }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_the_verifier_lets_through_ends_and_harms_nothing(
        mut program in proptest::collection::vec(any_instruction(), 0..24),
        frame in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        // Ends in returns: many pass.
        program.extend(vec![instruction(0x16, 0, 0, 0); 7]);
        if let Ok(prepared) = Program::new(program.clone()) {
            let returned = prepared.run(&Whole(&frame), frame.len() as u32);
            prop_assert_eq!(Some(returned), reference::run(&program, &frame));
        }
    }
}

#[test]
fn jumps_are_as_far_as_a_program_is_long() {
    // Each address that is not the frame's leads to the next, the last one far away.
    let hosts = |count: usize| (0..count).map(|n| format!("ether[{n}] = {}", n % 7)).collect::<Vec<_>>();
    for count in [60, 100, 126, 127, 128, 129, 130, 140] {
        for (joint, byte) in [(" or ", 9), (" and ", 0)] {
            let text = hosts(count).join(joint);
            let filter = super::Filter::parse(&text).unwrap();
            let right: Vec<u8> = (0..count).map(|n| (n % 7) as u8).collect();
            for place in [None, Some(0), Some(count / 2), Some(count - 1)] {
                let mut frame = if joint == " and " { right.clone() } else { vec![byte; count] };
                if let Some(place) = place {
                    frame[place] = if joint == " and " { 9 } else { right[place] };
                }
                let wanted = (joint == " and ") == place.is_none();
                assert_eq!(filter.matches(&frame, frame.len()), wanted, "{count}{joint}{place:?}");
            }
        }
    }
}

#[test]
fn a_program_is_printed_as_tcpdump_prints_it() {
    let filter = super::Filter::parse("udp port 53 and (-len > ip[0] & 5)").unwrap();
    let listing = filter.listing();
    let wanted = "\
(000) ldh      [12]
(001) jeq      #0x86dd          jt 2\tjf 8
(002) ldb      [20]
(003) jeq      #0x11            jt 4\tjf 26
";
    assert!(listing.starts_with(wanted), "{listing}");
    for line in [
        "jset     #0x1fff ",
        "ldxb     4*([14]&0xf)",
        "ldh      [x + 14]",
        "ld       #pktlen",
        "neg      ",
        "ret      #262144",
    ] {
        assert!(listing.contains(line), "{line}: {listing}");
    }
    assert_eq!(super::Filter::parse("").unwrap().listing(), "(000) ret      #262144\n");
    // Line by line, for whatever tcpdump makes.
    if std::process::Command::new("tcpdump").arg("--version").output().is_err() {
        println!("SKIPPED the comparison with tcpdump -d: it is not installed");
        return;
    }
    let mut chance = Chance(13);
    let mut lines = 0;
    for _ in 0..40 {
        let expression = random::expression(&mut chance, 2);
        if expression.contains("protochain") {
            // Backward jumps, which no program of ours has.
            continue;
        }
        let run = |option| {
            let arguments = ["-y", "EN10MB", "-O", option, "--", &expression];
            std::process::Command::new("tcpdump").args(arguments).output().unwrap()
        };
        let (numbers, printed) = (run("-ddd"), run("-d"));
        if numbers.status.success() {
            let program = reference::read(&String::from_utf8_lossy(&numbers.stdout));
            assert_eq!(code::listing(&program), String::from_utf8_lossy(&printed.stdout), "{expression}");
            lines += program.len();
        }
    }
    assert!(lines > 500, "{lines}");
}
