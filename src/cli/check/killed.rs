//! A process that is killed while packets flow: the next one finds a card that it can open.
//!
//! ```text
//!   bmnic check DEV                      bmnic check DEV --victim
//!     closes the card, starts  ------->    opens it, sends and receives
//!     reads a line             <-------    once packets flow
//!     kills it (SIGKILL)       ------->    is gone; the kernel closes the card
//!     opens the card
//! ```

use super::bench::{Bench, bad};
use super::packets::burst;
use super::port::{config, link};
use super::{Args, Seen};
use crate::cli::signal::Stop;
use crate::cli::{Context, Outcome};
use crate::error::{Error, Kind, Result};
use crate::sys;
use signal_hook::consts::SIGKILL;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What the victim says once packets flow.
const FLOWING: &str = "flowing";

/// Packets at once, of the victim and after it.
const AT_ONCE: u32 = 32;

/// It opens after a process that was killed.
pub fn reopened(bench: &mut Bench) -> Result<Seen> {
    const ROUNDS: u32 = 3;
    const ENOUGH: Duration = Duration::from_secs(4);
    /// So that it strikes packets on their way.
    const FLOWS_FOR: Duration = Duration::from_millis(100);
    let Some(cards) = bench.of_the_machine() else {
        return Ok(Seen::Skipped("an emulated card ends with the process that drives it".into()));
    };
    if bench.has_physical_memory() {
        let why = "it is given physical addresses, and would go on writing to memory that is another's by then";
        return Ok(Seen::Skipped(why.into()));
    }
    let mut words = vec!["check".to_string(), "--victim".to_string()];
    words.extend(cards.first().map(ToString::to_string));
    match cards.get(1) {
        Some(peer) => words.extend(["--peer".to_string(), peer.to_string()]),
        None if !bench.loops_inside() => words.push("--cable".to_string()),
        None => {}
    }
    let begun = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS && begun.elapsed() < ENOUGH {
        rounds += 1;
        bench.leave_nothing();
        let link_wait = bench.link_wait();
        let mut victim = match Victim::start(&words, link_wait) {
            Err(_) if link_wait < bench.link_wait && bench.is_late() => {
                return Ok(Seen::Skipped("no time is left for the link".into()));
            }
            started => started?,
        };
        thread::sleep(FLOWS_FOR);
        by_sigkill(victim.kill()?)?;
        let round = |error: Error| error.of(format_args!("round {rounds}"));
        if let skipped @ Seen::Skipped(_) = bench.open(&config()).and_then(|()| link(bench)).map_err(round)? {
            return Ok(skipped);
        }
        burst(bench, AT_ONCE).map_err(round)?;
    }
    Ok(Seen::Good(format!("{rounds} times")))
}

/// Whether it ended by what it was to end by.
fn by_sigkill(status: ExitStatus) -> Result<()> {
    match status.signal() {
        Some(SIGKILL) => Ok(()),
        _ => Err(bad(format_args!("the process that was to be killed ended by itself ({status})"))),
    }
}

/// The process that is going to be killed, in whose hands packets flow.
struct Victim(Child);

impl Victim {
    /// Starts it, and waits until packets flow.
    fn start(words: &[String], link_wait: Duration) -> Result<Victim> {
        let failed = |e| Error::io("starting the process that is to be killed", e);
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        let wait = format!("{}ms", link_wait.as_millis().max(1));
        command
            .args(words)
            .args(["--link-wait", &wait])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        sys::die_with_parent(&mut command);
        Victim::flowing(command, link_wait + Duration::from_secs(10))
    }

    /// Starts a command, and waits until it says that packets flow.
    fn flowing(mut command: Command, patience: Duration) -> Result<Victim> {
        let failed = |e| Error::io("starting the process that is to be killed", e);
        let mut child = command.spawn().map_err(failed)?;
        let (said, hear) = mpsc::channel();
        let out = child.stdout.take();
        thread::spawn(move || {
            let mut line = String::new();
            // That it says nothing is said by the line.
            let _ = out.map(|out| BufReader::new(out).read_line(&mut line));
            let _ = said.send(line);
        });
        let mut victim = Victim(child);
        match hear.recv_timeout(patience) {
            Ok(line) if line.trim() == FLOWING => Ok(victim),
            _ => {
                victim.kill()?;
                let mut why = String::new();
                if let Some(err) = victim.0.stderr.take() {
                    let _ = BufReader::new(err).read_line(&mut why);
                }
                let why = why.trim().trim_start_matches("bmnic: ");
                let why = if why.is_empty() { "it said nothing" } else { why };
                Err(bad(format_args!("no packets flowed in the process that was to be killed: {why}")))
            }
        }
    }

    /// Kills it, and waits for its end.
    fn kill(&mut self) -> Result<ExitStatus> {
        let failed = |e| Error::io("killing a process of ours", e);
        self.0.kill().map_err(failed)?;
        self.0.wait().map_err(failed)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It has ended already unless something went wrong, which was told.
        let _ = self.kill();
    }
}

/// What the victim does: sends and receives until it is killed.
pub fn victim(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let mut bench = Bench::plug(args, context, Stop::install()?)??;
    // What is still on its way when it is killed is not taken for what is sent next.
    bench.numbers(1 << 31);
    let config = config();
    bench.open(&config)?;
    if let Seen::Skipped(why) = link(&mut bench)? {
        return Err(bad(why).into());
    }
    burst(&mut bench, AT_ONCE)?;
    let mut out = sys::standard_output()?.lock();
    writeln!(out, "{FLOWING}")?;
    out.flush()?;
    while !bench.stop.requested() {
        burst(&mut bench, AT_ONCE)?;
    }
    bench.leave_nothing();
    let why = "it was to be killed while packets flow, and was asked to end";
    bench.stop.signal().map_or_else(|| Err(Error::new(Kind::Device, why).into()), |signal| Ok(Outcome::Signal(signal)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<ExitStatus> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut victim = Victim::flowing(command, Duration::from_secs(60))?;
        // One that ends by itself has the time to.
        if script.ends_with("exit 3") {
            return victim.0.wait().map_err(|e| Error::io("waiting", e));
        }
        victim.kill()
    }

    #[test]
    fn a_process_is_killed_once_its_packets_flow() {
        by_sigkill(shell("echo flowing; exec sleep 60").unwrap()).unwrap();
    }

    #[test]
    fn one_that_ends_by_itself_or_without_packets_is_told() {
        let error = by_sigkill(shell("echo flowing; exit 3").unwrap()).unwrap_err();
        assert!(error.to_string().contains("ended by itself (exit status: 3)"), "{error}");
        let error = shell("echo 'bmnic: 0000:03:00.0: no link' >&2").unwrap_err();
        assert!(error.to_string().ends_with("was to be killed: 0000:03:00.0: no link"), "{error}");
    }
}
