//! Where a program runs for its turn: on an emulated card in place of all devices
//! of this machine, or on a card of this machine.

use crate::emu::native::{self, Ended, Machine};
use crate::emu::{Drive, Spec};
use crate::error::{Error, Kind, Result};
use crate::sys;
use serde_json::Value;
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a program may take until its first frame has left, and for its end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a program may take to start on a card of this machine, link and all,
/// before its time counts.
const START: Duration = Duration::from_secs(3);

/// From its first frame until it is measured.
const SETTLE: Duration = Duration::from_millis(300);

/// What came of a turn.
#[derive(Debug)]
pub struct Turn {
    /// What the program wrote to standard output and standard error.
    pub output: String,
    pub errors: String,
    /// What the card counted, if it is emulated.
    pub counted: Option<Counted>,
}

/// Frames that passed an emulated card.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Time that was counted for, in seconds.
    pub seconds: f64,
    /// Frames that the program was given in it.
    pub received: u64,
    /// Frames that it sent.
    pub sent: u64,
    /// Of those, what its driver says that it sent, if it could be asked.
    pub said_sent: Option<u64>,
}

/// Reads a pipe to its end.
pub fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth a look.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Both ends of what a command is to write.
fn listen(command: &mut Command) -> Result<[JoinHandle<String>; 2]> {
    let pipe = || io::pipe().map_err(|e| Error::io("making a pipe", e));
    let ((output, to_output), (errors, to_errors)) = (pipe()?, pipe()?);
    command.stdin(Stdio::null()).stdout(to_output).stderr(to_errors);
    Ok([collect(output), collect(errors)])
}

/// What was written, once all that could write it has ended.
fn heard(command: Command, readers: [JoinHandle<String>; 2]) -> [String; 2] {
    drop(command);
    readers.map(|reader| reader.join().unwrap_or_default())
}

/// Runs the command that `make` makes for an emulated card, whose address it is
/// given, and counts for `window` what passes the card. `sent` asks the program.
pub fn emulated(
    spec: &Spec,
    window: Duration,
    make: impl FnOnce(&str) -> Command + Send,
    sent: impl Fn() -> Option<u64> + Send + Sync,
) -> Result<Turn> {
    // The mount namespace is this thread's, and goes with it.
    let turn = thread::scope(|scope| scope.spawn(|| on_emulated(spec, window, make, sent)).join());
    turn.unwrap_or_else(|_| Err(Error::new(Kind::Device, "the thread with the emulated card panicked")))
}

fn on_emulated(
    spec: &Spec,
    window: Duration,
    make: impl FnOnce(&str) -> Command,
    sent: impl Fn() -> Option<u64> + Send + Sync,
) -> Result<Turn> {
    let machine = Machine::enter(Drive::Thread, std::slice::from_ref(spec))?;
    let address = machine.addresses().next().unwrap_or_default();
    let mut command = make(address);
    let readers = listen(&mut command)?;
    let tap = machine.tap(0);
    let begin = Instant::now();
    let mut stage = Stage::Waiting;
    let ended = native::run(&machine, &mut command, |pid| {
        let wire = tap.wire();
        let now = Instant::now();
        stage = match stage {
            Stage::Waiting if wire.tx_frames > 0 => Stage::Settling(now),
            Stage::Settling(since) if now - since >= SETTLE => {
                let said = sent();
                Stage::Counting(Instant::now(), tap.wire(), said)
            }
            Stage::Counting(since, before, said) if now - since >= window => {
                let said = said.and_then(|before| sent()?.checked_sub(before));
                let (now, wire) = (Instant::now(), tap.wire());
                // It may have ended by itself.
                let _ = sys::trace::kill(pid, libc::SIGINT);
                let counted = Counted {
                    seconds: (now - since).as_secs_f64(),
                    received: wire.rx_frames - before.rx_frames,
                    sent: wire.tx_frames - before.tx_frames,
                    said_sent: said,
                };
                Stage::Counted(now, counted)
            }
            Stage::Waiting if now - begin > PATIENCE => end(pid),
            Stage::Counted(since, _) if now - since > PATIENCE => end(pid),
            same => same,
        };
    })?;
    let [output, errors] = heard(command, readers);
    match (stage, ended) {
        (Stage::Counted(_, counted), Ended::Exited(_)) => Ok(Turn { output, errors, counted: Some(counted) }),
        (Stage::Hung, _) => Err(complaint("it stood still for 30 s", &output, &errors)),
        (_, Ended::Exited(code)) => Err(complaint(&format!("it ended early with exit code {code}"), &output, &errors)),
        (_, Ended::Killed(signal)) => Err(complaint(&format!("signal {signal} ended it"), &output, &errors)),
    }
}

/// How far a turn on an emulated card is.
#[derive(Clone, Copy)]
enum Stage {
    Waiting,
    Settling(Instant),
    Counting(Instant, crate::emu::wire::Counters, Option<u64>),
    Counted(Instant, Counted),
    Hung,
}

/// Ends a program that does not end.
fn end(pid: i32) -> Stage {
    // It may have ended just now.
    let _ = sys::trace::kill(pid, libc::SIGKILL);
    Stage::Hung
}

/// Runs a command on a card of this machine for `window` once it has had time to
/// start, and then asks it to end.
pub fn real(mut command: Command, window: Duration) -> Result<Turn> {
    let window = START + window;
    let readers = listen(&mut command)?;
    sys::die_with_parent(&mut command);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|e| Error::io(format!("starting {program}"), e))?;
    let pid = child.id() as i32;
    let waiting = |e| Error::io(format!("waiting for {program}"), e);
    let begin = Instant::now();
    let mut asked = false;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(waiting)? {
            break status;
        }
        let elapsed = begin.elapsed();
        if elapsed >= window && !asked {
            asked = true;
            // Gone already, at worst.
            let _ = sys::trace::kill(pid, libc::SIGINT);
        } else if elapsed >= window + PATIENCE {
            child.kill().map_err(waiting)?;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let [output, errors] = heard(command, readers);
    if !asked || status.code().is_none() {
        return Err(complaint(&format!("{status}"), &output, &errors));
    }
    Ok(Turn { output, errors, counted: None })
}

/// Why a turn failed, with the last line that the program wrote.
fn complaint(what: &str, output: &str, errors: &str) -> Error {
    // bmnic's own error is a document.
    let document: Value = serde_json::from_str(output).unwrap_or_default();
    if let Some(message) = document["error"]["message"].as_str() {
        return Error::new(Kind::Device, format!("{what}; it says: {message}"));
    }
    let last = errors.lines().chain(output.lines()).rev().find(|line| line.contains("bmnic: ") || line.contains("EAL"));
    let line = last.or(errors.lines().last()).or(output.lines().last()).unwrap_or("it said nothing");
    Error::new(Kind::Device, format!("{what}; its last words: {line}"))
}
