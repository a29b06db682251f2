//! That tcpdump's own compiler agrees, on random expressions over a corpus.
//!
//! `tcpdump -ddd` prints its programs, which [`reference`] runs; what this says is
//! compared with what `tcpdump -r` lets through, for some of them. Where the programs
//! differ on a frame the cause must be one of those that the module's page lists:
//! libpcap's optimiser (its program without it agrees), or what this does otherwise
//! before it (ours agrees when it follows libpcap to the letter).

use super::super::parser::Parser;
use super::super::run::{Program, Whole};
use super::super::{emit, graph};
use super::chance::Chance;
use super::{corpus, random, reference};
use crate::error::Result;
use std::process::Command;
use std::thread;

/// Frames of the corpus.
const FRAMES: usize = 1_900;

/// Expressions, and the fewer of them that a run of all tests takes.
const ALL: usize = 10_000;
const SOME: usize = 600;

/// What tcpdump's compiler makes of an expression.
enum Theirs {
    Program(Vec<super::super::code::Instruction>),
    Nothing,
    Refused(String),
}

fn tcpdump(expression: &str, optimised: bool) -> Option<Theirs> {
    let mut command = Command::new("tcpdump");
    command.args(["-y", "EN10MB", "-ddd"]);
    if !optimised {
        command.arg("-O");
    }
    let output = command.args(["--", expression]).output().ok()?;
    let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() {
        return Some(Theirs::Program(reference::read(&String::from_utf8_lossy(&output.stdout))));
    }
    Some(if error.contains("expression rejects all packets") { Theirs::Nothing } else { Theirs::Refused(error) })
}

fn compile(expression: &str, literal: bool) -> Result<Program> {
    let mut parser = Parser::new(expression)?;
    parser.literal = literal;
    let code = emit::program(&graph::Graph::new(&parser.whole()?))?;
    Ok(Program::new(code).unwrap_or_else(|fault| panic!("{expression}: {fault}")))
}

/// How a run of expressions went.
#[derive(Debug, Default)]
struct Tally {
    same: usize,
    optimiser: usize,
    letter: usize,
    endless: usize,
    /// By both, or by libpcap for what it finds too hard.
    refused: usize,
    matched: usize,
    faults: Vec<String>,
}

impl Tally {
    fn of(expressions: &[String], frames: &[Vec<u8>]) -> Tally {
        let mut tally = Tally::default();
        for expression in expressions {
            let fault = tally.compare(expression, frames);
            tally.faults.extend(fault);
        }
        tally
    }

    fn with(mut self, other: Tally) -> Tally {
        self.same += other.same;
        self.optimiser += other.optimiser;
        self.letter += other.letter;
        self.endless += other.endless;
        self.refused += other.refused;
        self.matched += other.matched;
        self.faults.extend(other.faults);
        self
    }

    /// Compares one expression on all frames; an answer is what went wrong.
    fn compare(&mut self, expression: &str, frames: &[Vec<u8>]) -> Option<String> {
        // What libpcap cannot compile, and we can: see the module's page.
        const STRICTER: [&str; 4] = ["division by zero", "modulus by zero", "shift by more than", "too many registers"];
        let (ours, theirs) = (compile(expression, false), tcpdump(expression, true)?);
        let program = match (&ours, theirs) {
            (Ok(_), Theirs::Program(program)) => program,
            (Ok(_), Theirs::Nothing) => vec![super::super::code::Instruction::new(6, 0)],
            (_, Theirs::Refused(reason)) if STRICTER.iter().any(|stricter| reason.contains(stricter)) => {
                self.refused += 1;
                return None;
            }
            (Err(_), Theirs::Refused(_)) => {
                self.refused += 1;
                return None;
            }
            (Ok(_), Theirs::Refused(reason)) => {
                return Some(format!("{expression}\n  taken, but tcpdump says {reason}"));
            }
            (Err(error), _) => return Some(format!("{expression}\n  {error}")),
        };
        let ours = ours.ok()?;
        let mut others = None;
        let (mut optimiser, mut letter, mut endless) = (false, false, false);
        for (n, frame) in frames.iter().enumerate() {
            let run = |program: &Program| program.run(&Whole(frame), frame.len() as u32) != 0;
            let Some(theirs) = reference::run(&program, frame) else {
                endless = true;
                continue;
            };
            self.matched += usize::from(run(&ours));
            if run(&ours) == (theirs != 0) {
                continue;
            }
            let (plain, literal) = others.get_or_insert_with(|| {
                let plain = match tcpdump(expression, false) {
                    Some(Theirs::Program(program)) => program,
                    _ => panic!("{expression}: tcpdump -O refuses it"),
                };
                (plain, compile(expression, true).unwrap())
            });
            let Some(plain) = reference::run(plain, frame).map(|returned| returned != 0) else {
                endless = true;
                continue;
            };
            if plain == run(&ours) {
                optimiser = true;
            } else if plain == run(literal) {
                letter = true;
            } else {
                return Some(format!(
                    "{expression}\n  frame {n}: {}, tcpdump {}, without its optimiser {plain}: {frame:02x?}",
                    run(&ours),
                    theirs != 0
                ));
            }
        }
        match (optimiser, letter, endless) {
            (_, true, _) => self.letter += 1,
            (true, ..) => self.optimiser += 1,
            (_, _, true) => self.endless += 1,
            _ => self.same += 1,
        }
        None
    }
}

fn agree(count: usize) {
    if let Err(why) = super::judge() {
        println!("SKIPPED the agreement with tcpdump: {why}");
        return;
    }
    let frames = corpus::frames(FRAMES);
    let mut chance = Chance(7);
    let expressions: Vec<String> = (0..count).map(|_| random::expression(&mut chance, 2)).collect();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let tally = thread::scope(|scope| {
        let share = |expressions| {
            let frames = &frames;
            scope.spawn(move || Tally::of(expressions, frames))
        };
        let shares: Vec<_> = expressions.chunks(count.div_ceil(workers)).map(share).collect();
        shares.into_iter().map(|share| share.join().unwrap()).fold(Tally::default(), Tally::with)
    });
    println!("{tally:?}");
    let faults = &tally.faults;
    assert!(faults.is_empty(), "{} of {count} differ:\n{}", faults.len(), faults[..faults.len().min(12)].join("\n"));
    assert_eq!(tally.same + tally.optimiser + tally.letter + tally.endless + tally.refused, count);
    assert!(tally.same > count * 3 / 4, "most agree, frame by frame: {tally:?}");
    assert!(tally.refused < count / 50, "few are refused: {tally:?}");
    assert!(tally.matched > count * 100, "expressions match something: {tally:?}");
}

#[test]
fn the_plainest_interpreter_lets_through_what_tcpdump_lets_through() {
    let frames = corpus::frames(FRAMES);
    let mut chance = Chance(17);
    let mut matched = 0;
    for _ in 0..60 {
        let expression = random::expression(&mut chance, 2);
        let Some(theirs) = tcpdump(&expression, true) else {
            println!("SKIPPED the comparison with tcpdump -r: it is not installed");
            return;
        };
        let Theirs::Program(program) = theirs else { continue };
        // What reads scratch memory that was never written is an accident in libpcap.
        if program.iter().any(|instruction| instruction.code & 7 == 2) && expression.contains("geneve") {
            continue;
        }
        let through = |n: &usize| reference::run(&program, &frames[*n]) != Some(0);
        let ours: Vec<usize> = (0..frames.len()).filter(through).collect();
        assert_eq!(Some(&ours), super::tcpdump(&frames, &expression).as_ref(), "{expression}");
        matched += ours.len();
    }
    assert!(matched > 10_000, "{matched}");
}

#[test]
fn tcpdump_s_compiler_agrees_on_random_expressions() {
    agree(SOME);
}

#[test]
#[ignore = "10,000 processes of tcpdump; scripts/test runs it"]
fn tcpdump_s_compiler_agrees_on_ten_thousand_random_expressions() {
    agree(ALL);
}
