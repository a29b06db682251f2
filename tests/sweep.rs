//! The sweep: every command that a driver sends to its card's firmware goes wrong
//! in turn, in each way that firmware is known to have.
//!
//! ```text
//!   denied       the function may not give it          (EPERM)
//!   unsupported  firmware does not know it             (ENOENT, ENOSYS)
//!   busy         refused once, done at the second try  (EBUSY, EAGAIN)
//!   hollow       done, says the answer, and the buffer is as it was
//!   timeout      never answered, nor is any after it
//! ```
//!
//! The table of a family says what each does: the card cannot be opened, in one
//! line, and is left stopped; or it is opened, frames pass, and one line says what
//! it does without; or nothing at all is lost. What the kernel's driver survives,
//! ours survives.
//!
//! A family joins with a table in `sweep/` and a card whose faults have codes:
//! see [`bmnic::emu::Fault`].

#[path = "sweep/bnxt.rs"]
mod bnxt;
#[path = "sweep/ef10.rs"]
mod ef10;
#[path = "common/families.rs"]
mod families;
#[path = "sweep/i40e.rs"]
mod i40e;
#[path = "sweep/mlx5.rs"]
mod mlx5;
#[path = "sweep/rows.rs"]
mod rows;
#[path = "support/silicon/mod.rs"]
mod silicon;

use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{self, Config, Port};
use bmnic::emu::{Drive, Engine, Spec};
use bmnic::{Error, Kind};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::thread;

/// As many commands as any family gives until a card is closed again.
const FIRST_COMMANDS: u32 = 290;

/// What becomes of a card.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// Nothing is lost.
    On,
    /// It goes on, with one line of which this is a part.
    Lost(&'static str),
    /// It cannot be opened: a part of the line.
    Fatal(&'static str),
    /// It goes on, and says that there is no link.
    Dark,
    /// It goes on until it is asked for its link, and then says why not: a part of the line.
    After(&'static str),
}

/// A command, and what becomes of a card where it goes wrong.
pub struct Command {
    /// In the numbers of its family.
    pub code: u32,
    /// Part of the names of the cards that are given it; empty is all of the family.
    pub of: &'static str,
    /// What becomes of a card that denies it.
    pub denied: End,
    /// Of one that does not know it.
    pub unsupported: End,
    /// Of one that answers without having done it, if it has a buffer.
    pub hollow: End,
    /// Of one that never answers it.
    pub timeout: End,
    /// Why what is fatal must be.
    pub why: &'static str,
}

/// A family's cards, and all its commands.
pub struct Family {
    /// One of each generation that is given other commands.
    pub cards: &'static [&'static str],
    /// A configuration in which this command is given.
    pub config: fn(u32) -> Config,
    /// All of them.
    pub commands: &'static [Command],
    /// Part of a line that is said for a configuration alone, whatever goes wrong.
    pub usual: Option<&'static str>,
}

/// One way for all of a family's commands, each on a card of its own: one after the
/// other, or, where nothing is answered, some at once, as patience is real.
fn sweep(family: &Family, way: &str, end: impl Fn(&Command) -> End + Sync) {
    let workers = if way == "timeout" { 12 } else { 1 };
    for (n, card) in family.cards.iter().enumerate() {
        // Where nothing is answered all generations are the same.
        let swept =
            |command: &&Command| card.contains(command.of) && (n == 0 || way != "timeout" || !command.of.is_empty());
        let commands = Mutex::new(family.commands.iter().filter(swept));
        let next = || commands.lock().unwrap().next();
        let failed = Mutex::new(Vec::new());
        let work = || {
            while let Some(command) = next() {
                let name = format!("{card},strict,link=2ms,fault={way}:{:#x}", command.code);
                let trial = || {
                    let mut played = play(&name, &(family.config)(command.code));
                    if let (Ok(played), Some(usual)) = (&mut played, family.usual) {
                        played.lost.retain(|line| !line.contains(usual));
                    }
                    check(&name, &played, end(command), command.why);
                };
                if panic::catch_unwind(AssertUnwindSafe(trial)).is_err() {
                    failed.lock().unwrap().push(format!("{:#x}", command.code));
                }
            }
        };
        thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
        let failed = failed.into_inner().unwrap();
        assert!(failed.is_empty(), "{card}, {way}: {}", failed.join(" "));
    }
}

/// One command denied once, at each place where one is given: whatever that is, it costs
/// one line, if anything.
fn once(family: &Family) {
    for number in 1..=FIRST_COMMANDS {
        let name = format!("{},strict,link=2ms,fault=denied:{number}", family.cards[0]);
        match play(&name, &(family.config)(0)) {
            Ok(Played { lost, up: Ok(true) }) => assert!(lost.len() <= 1, "{name}: {lost:?}"),
            Ok(Played { up: Ok(false), .. }) => panic!("{name}: no link"),
            Ok(Played { up: Err(error), .. }) => assert_eq!(error.to_string().lines().count(), 1, "{name}: {error}"),
            Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{name}: {error}"),
        }
    }
}

/// What became of a card is what should.
fn check(name: &str, played: &Result<Played, Error>, end: End, why: &str) {
    match (played, end) {
        (Ok(Played { lost, up: Ok(true) }), End::On) if lost.is_empty() => {}
        (Ok(Played { lost, up: Ok(false) }), End::Dark) if lost.is_empty() => {}
        (Ok(Played { lost, up: Ok(true) }), End::Lost(part)) if lost.len() == 1 && lost[0].contains(part) => {}
        (Err(error), End::Fatal(part)) | (Ok(Played { up: Err(error), .. }), End::After(part)) => {
            let line = error.to_string();
            assert!(line.contains(part) && line.lines().count() == 1, "{name}: {line}");
            assert!(!why.is_empty(), "{name}: why?");
        }
        _ => panic!("{name}: {played:?}, and it should be {end:?}"),
    }
}

/// What a card said that it goes without, and whether there was a link, or why it would
/// not say.
#[derive(Debug)]
struct Played {
    lost: Vec<String>,
    up: Result<bool, Error>,
}

/// Opens a card, sends frames to its own address on a loop, and closes it: what it
/// said, or why it cannot be opened.
fn play(card: &str, config: &Config) -> Result<Played, Error> {
    let engine = Engine::new(Drive::Manual);
    let (function, tap) = engine.open(&card.parse::<Spec>().unwrap()).unwrap();
    let pool = Pool::new(2048, Addressing::Translated).unwrap();
    function.map(pool.arena()).unwrap();
    let opened = driver::open(Arc::clone(&function), config);
    let played = opened.map(|port| {
        let lost = port.nic.describe().lacks.clone();
        Played { lost, up: traffic(card, &engine, port, &pool) }
    });
    assert_eq!(function.config_read(4, 2).unwrap() & 4, 0, "{card}: it may still write to memory");
    assert_eq!(tap.violations(), [], "{card}: {played:?}");
    played
}

/// Frames pass, if there is a link: whether there is.
fn traffic(card: &str, engine: &Engine, port: Port, pool: &Pool) -> Result<bool, Error> {
    const FRAMES: usize = 8;
    let Port { mut rx, mut tx, mut nic } = port;
    let run = || {
        for _ in 0..50 {
            engine.advance(2_000_000);
            engine.step();
        }
    };
    rx.iter_mut().for_each(|queue| queue.fill(pool).map(|_| ()).unwrap());
    let mut up = false;
    for _ in 0..1000 {
        run();
        up = nic.link()?.up;
        if up {
            break;
        }
    }
    if !up {
        return Ok(false);
    }
    let mut frame = [0x5a; 100];
    frame[..6].copy_from_slice(&nic.describe().mac.0);
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 8, 0x88, 0xb5]);
    let mut batch = Batch::new(pool);
    (0..FRAMES).for_each(|_| assert!(batch.push_frame(&frame)));
    tx[0].send(&mut batch);
    drop(batch);
    (0..10).for_each(|_| run());
    let mut got = Batch::new(pool);
    let received: usize = rx.iter_mut().map(|queue| queue.recv(&mut got)).sum();
    assert_eq!(received, FRAMES, "{card}");
    let counted = nic.stats()?;
    if counted.rx_packets < FRAMES as u64 {
        // Some counts are written once a second.
        engine.advance(1_100_000_000_000);
        engine.step();
    }
    let stats = nic.stats()?;
    assert_eq!((stats.rx_packets, stats.tx_packets), (FRAMES as u64, FRAMES as u64), "{card}");
    drop(got);
    Port { rx, tx, nic }.close([pool]);
    Ok(true)
}

/// Each way as a test of its own, for each family.
macro_rules! ways {
    ($($family:ident),*) => {
        $(mod $family {
            use crate::{End, $family::FAMILY as ALL, once, sweep};

            #[test]
            fn denied() {
                sweep(&ALL, "denied", |command| command.denied);
            }

            #[test]
            fn denied_once() {
                once(&ALL);
            }

            #[test]
            fn unsupported() {
                sweep(&ALL, "unsupported", |command| command.unsupported);
            }

            #[test]
            fn busy() {
                sweep(&ALL, "busy", |_| End::On);
            }

            #[test]
            fn hollow() {
                sweep(&ALL, "hollow", |command| command.hollow);
            }

            #[test]
            fn timeout() {
                sweep(&ALL, "timeout", |command| command.timeout);
            }
        })*
    };
}

mod swept {
    ways!(i40e, ef10, bnxt, mlx5);
}

#[test]
fn no_command_of_the_i40e_is_left_out() {
    let card = silicon::i40e::card(silicon::i40e::Fault::None);
    drop(driver::open(card.function(), &i40e::config(0)).unwrap());
    let known: Vec<u32> = i40e::FAMILY.commands.iter().map(|command| command.code).collect();
    for code in silicon::i40e::commands(&card) {
        assert!(known.contains(&u32::from(code)), "{code:#06x} is not swept");
    }
}

#[test]
fn no_command_of_the_ef10_is_left_out() {
    let card = silicon::efvi::card(silicon::efvi::Fault::None);
    drop(driver::open(card.function(), &ef10::config(0)).unwrap());
    let known: Vec<u32> = ef10::FAMILY.commands.iter().map(|command| command.code).collect();
    for code in card.asked() {
        assert!(known.contains(&u32::from(code)), "{code:#06x} is not swept");
    }
}

#[test]
fn no_command_of_the_mlx5_is_left_out() {
    let card = silicon::mlx5::card(silicon::mlx5::Grants::default());
    drop(driver::open(card.function(), &mlx5::config(0)).unwrap());
    let known: Vec<u32> = mlx5::FAMILY.commands.iter().map(|command| command.code).collect();
    let asked = card.asked();
    assert!(!asked.is_empty());
    for code in asked {
        assert!(known.contains(&u32::from(code)), "{code:#x} is not swept");
    }
}

#[test]
fn a_way_that_is_none_is_refused() {
    let refused = |card: &str| {
        let engine = Engine::new(Drive::Manual);
        engine.open(&card.parse::<Spec>().unwrap()).err().unwrap().kind()
    };
    assert_eq!(refused("82599,fault=denied:0x613"), Kind::Usage, "a card without firmware");
    assert_eq!(refused("x710,fault=vf"), Kind::Usage, "a fault that its firmware does not have");
}
