//! `bmnic demo`: what bmnic does, in three seconds and on no hardware.
//!
//! ```text
//!   port 0          port 1   port 2          port 3
//!   pktgen ──wire──>  fwd ───> fwd  ──wire──> capture
//! ```
//!
//! Four ports of emulated cards, each driven by the driver that a real one would have. One
//! thread does all in turn, the cards' part too, so it runs on any machine, and no ring is ever
//! full for want of a processor. All that is printed was counted in this run, and adds up.

mod chain;
mod report;

use super::output::Output;
use super::progress::Goal;
use super::session::{Defaults, Session};
use super::{Context, Outcome, units};
use crate::dma::BATCH_MAX;
use crate::driver::{Config, Port, RxQueue, TxQueue};
use crate::emu::Spec;
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Machine};
use crate::pcap::record::{Format, Totals};
use crate::pcap::section::Section;
use crate::pcap::write::{BUFFER, Plan, Recorder, SNAPLEN};
use chain::{Chain, Counts};
use report::Report;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `bmnic demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Emulated card: emu:82599, emu:x710, and what else `bmnic emulate --list` names
    ///
    /// With its options, but for its wire. No card of this machine is touched.
    #[arg(value_name = "CARD", default_value = "emu:82599")]
    card: String,
    /// How long packets are sent
    #[arg(short, long, value_name = "TIME", default_value = "2s", value_parser = units::duration)]
    duration: Duration,
    /// Write what is captured into this file; without it none is made
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// Packets a second: what one thread manages for all four ports without haste.
const RATE: f64 = 100_000.0;

/// The wires of the ports.
const WIRES: [&str; 4] = ["peer:demo-in", "peer:demo-in", "peer:demo-out", "peer:demo-out"];

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let names = names(&args.card)?;
    if args.duration.is_zero() {
        return Err(Error::new(Kind::Usage, "in no time nothing can be shown; name a time like 2s").into());
    }
    if args.write.as_deref() == Some(Path::new("-")) {
        let line = "what the demo says goes to standard output; name a file, or `bmnic capture - | tcpdump -r -`";
        return Err(Error::new(Kind::Usage, line).into());
    }
    let output = Output::new(&context.global);
    let defaults = Defaults { wires: &WIRES, duration: None, link: false };
    let mut session = Session::open(context, &names, defaults, &Config::default())?;
    let mut recorder = args.write.as_deref().map(|path| recorder(path, &session)).transpose()?;
    report::announce(&output, &args.card, &session)?;
    let mut clock = Clock::new();
    clock.refine();
    let ports = std::mem::take(&mut session.ports);
    let (mut nics, queues): (Vec<_>, Vec<_>) = ports.into_iter().map(|Port { nic, rx, tx }| (nic, (rx, tx))).unzip();
    let (mut rx, mut tx): (Vec<Vec<RxQueue>>, Vec<Vec<TxQueue>>) = queues.into_iter().unzip();
    let buffers = rx.iter().flatten().map(RxQueue::buffers).sum::<usize>()
        + tx.iter().flatten().map(TxQueue::buffers).sum::<usize>();
    let pool = session.pool_of(0, buffers + 3 * BATCH_MAX)?;
    rx.iter_mut().flatten().try_for_each(|queue| queue.fill(&pool))?;
    let before = report::counters(&session, &mut nics)?;
    let counts = {
        let _bar = output.bar(Goal::Time(args.duration));
        let ends = (Chain { rx: &mut rx, tx: &mut tx, pool: &pool, clock: &clock, stop: &session.stop }, &session);
        chain::run(ends.0, ends.1, RATE, args.duration, recorder.as_mut())?
    };
    let after = report::counters(&session, &mut nics)?;
    let written = recorder.map(|recorder| recorder.finish(Totals::default()));
    clock.refine();
    let report = Report::new(counts, RATE, &session, &before, &after, written);
    report.print(&output, args.write.as_deref())?;
    let machine = Machine::record(&context.roots, &clock);
    report.document(&output, &session, &machine, args.write.as_deref())?;
    drop((rx, tx, nics));
    if let Some(error) = report.failure(args.write.as_deref()) {
        return Err(error.into());
    }
    session.check(&output)?;
    session.stop.judge(report.check())
}

/// The names of the four ports.
///
/// # Errors
/// [`Kind::Usage`] for what is no emulated card, or one on a wire of its own.
fn names(card: &str) -> Result<Vec<String>> {
    let usage = |line: String| Err(Error::new(Kind::Usage, line));
    let Some(text) = card.strip_prefix("emu:") else {
        return usage(format!(
            "'{card}' is no emulated card, and the demo touches no other; name one like emu:x710, or leave it out"
        ));
    };
    if text.contains("wire=") {
        return usage(format!("{card}: the demo plugs its cards together itself; leave wire= out"));
    }
    let _: Spec = text.parse()?;
    Ok(vec![card.to_string(); WIRES.len()])
}

/// What writes the captured packets.
fn recorder(path: &Path, session: &Session) -> Result<Recorder> {
    session.check_write(path)?;
    let section = Section::of(["demo"]);
    let plan = Plan { path, format: Format::Pcap, snaplen: SNAPLEN, buffer: BUFFER, section: &section };
    Recorder::create(&plan, |_| {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_emulated_card_without_a_wire_is_taken() {
        assert_eq!(names("emu:x710,loss=1%").unwrap(), ["emu:x710,loss=1%"; 4]);
        for card in ["0000:03:00.0", "eth0", "emu:82599,wire=loop", "emu:", "x710"] {
            assert_eq!(names(card).unwrap_err().kind(), Kind::Usage, "{card}");
        }
    }
}
