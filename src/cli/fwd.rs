//! `bmnic fwd`: packets that come in by one port leave by the other.
//!
//! ```text
//!   thread "fwd"     lanes A>B and B>A in turns: no call, no lock, no register
//!   main thread      once an interval: statistics registers, the live lines
//! ```
//!
//! With --cores there are several such threads, each with lanes of its own ([`deal`]). They
//! share nothing but the flag that ends them and what is left of a count ([`Left`]).

mod deal;
mod direction;
mod extras;
mod impair;
mod lane;
#[cfg(test)]
mod lines_tests;
mod mode;
mod report;
mod rewrite;
mod threads;
mod until;

use super::account::LossLimit;
use super::args::{JUMBO, Limits, Rings, RunLength};
use super::cards::Card;
use super::cores::{self, Cores};
use super::hang;
use super::looks::{Look, Looks};
use super::output::Output;
use super::sandbox::{Keeps, Sandbox};
use super::session::{DEFAULT_DURATION, Defaults, Session};
use super::share::Left;
use super::signal::Ending;
use super::{Context, Outcome, units};
use crate::dma::BATCH_MAX;
use crate::driver::{Config, Description, Nic, Port};
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Counter};
use crate::net::MacAddr;
use crate::packet::Filter;
use deal::Hand;
use extras::Extras;
use lane::{Lane, PATIENCE, Wait, Work};
use mode::Mode;
use report::{Report, Way};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use threads::Threads;
use until::Until;

/// Arguments of `bmnic fwd`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ports: 0000:03:00.0, 03:00.0, emu:82599,OPTIONS, or packet:IFACE, xdp:IFACE of the kernel
    ///
    /// Two and two are a pair, as they are named: of A B C D, what comes in by A
    /// leaves by B, by C leaves by D, and the other way round. With one port only,
    /// what comes in leaves by the same port. Without any: the cards that
    /// `bmnic bind` handed to vfio-pci if there are any, otherwise two emulated 82599,
    /// each with a traffic source on its wire. Cards that somebody else bound are not
    /// touched.
    #[arg(value_name = "PORT", num_args = 0..=deal::MOST_PORTS)]
    ports: Vec<String>,
    /// What to do to frames on their way
    ///
    /// The modes and their names are testpmd's. With rxonly, txonly and icmpecho each port
    /// is for itself, and any number of ports can be named.
    #[arg(short, long, value_name = "MODE", default_value = "io")]
    mode: Mode,
    /// Forward from A to B only, from C to D, and so on
    #[arg(short, long)]
    unidirectional: bool,
    /// Destination address for --mode mac and txonly: the first is for port A, the second for B, and so on
    #[arg(long, value_name = "MAC", value_delimiter = ',', num_args = 1)]
    eth_peer: Vec<MacAddr>,
    /// Forward the packets of this expression only, in the language of tcpdump
    ///
    /// Others are let go as soon as they are received, and counted as left out by the
    /// filter: they are not lost. --count counts those that are forwarded.
    #[arg(short, long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// How to wait for packets
    ///
    /// A thread that sleeps does so for one receive queue, so there is one for each.
    #[arg(short, long, value_name = "HOW", default_value = "poll")]
    wait: WaitArg,
    /// Looks in a row that find nothing, after which --wait adaptive sleeps [default: 1024]
    #[arg(long, value_name = "N")]
    sleep_after: Option<u32>,
    /// Do to frames what a bad wire does: loss=1%,dup=0.1%,reorder=1%,corrupt=0.1%,delay=1ms
    ///
    /// Also jitter=, by which the delay varies, limit=, frames a second, and seed=. A:loss=1%
    /// is for what comes in by port A only; without a letter it is for all ports that are
    /// not named. It is done between filter and rewriting, and counted by cause: such
    /// frames are not lost. The same frames with the same seed meet the same fate, but
    /// for one that waits to be overtaken: after a millisecond it goes alone. --count
    /// counts what goes in.
    #[arg(long, value_name = "WORDS")]
    impair: Vec<impair::Asked>,
    /// Count the cycles that a packet takes, as testpmd does with --record-core-cycles
    ///
    /// Those of turns that moved packets: receiving, rewriting, sending, and giving
    /// buffers back. Of emulated cards also what crosses PCIe for a packet, which is
    /// counted after the run on a card of its own.
    #[arg(long)]
    cycles: bool,
    /// Time between two looks at the counters: each is a line, or with --json-lines a document
    #[arg(short = 'I', long, value_name = "TIME", value_parser = units::duration)]
    interval: Option<Duration>,
    /// Longest frame to forward, in bytes without FCS [default: 9216, or what the card takes]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(60..=15_872))]
    max_frame: Option<u16>,
    /// Play emulated cards in the thread that forwards for them, not in one of their own
    ///
    /// So each processor has all that a packet needs. With --cores name a pair of
    /// cards for each thread; without any there is one of emulated 82599 for each.
    #[arg(long)]
    inline: bool,
    #[command(flatten)]
    cores: Cores,
    #[command(flatten)]
    loss: LossLimit,
    #[command(flatten)]
    length: RunLength,
    #[command(flatten)]
    rings: Rings,
    #[command(flatten)]
    sandbox: Sandbox,
}

/// How packets are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum WaitArg {
    /// Look again and again: fastest, takes a core
    Poll,
    /// Sleep until the card interrupts
    Irq,
    /// Look while there is traffic, and sleep when there is none for a while
    Adaptive,
}

/// Runs it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    let places = args.cores.places()?;
    let filter = args.filter.as_deref().map(Filter::parse).transpose()?;
    let wires = vec![args.mode.default_wire(); args.ports.len().max(if args.inline { 2 * places.len() } else { 2 })];
    let defaults = Defaults { wires: &wires, duration: Some(DEFAULT_DURATION), link: false };
    let mut rose = None;
    let opened = Session::open_for(context, &args.ports, defaults, |cards| {
        let config = args.config(cards, places.len())?;
        rose = (config.rx_queues > args.rings.rxq).then_some(config.rx_queues);
        Ok(config)
    });
    let mut session = opened.map_err(|error| match (rose, error.downcast::<Error>()) {
        (Some(queues), Ok(error)) if error.kind() == Kind::Usage => {
            let threads = places.len();
            error.hint(format_args!("{threads} threads ask for {queues} receive queues of each port")).into()
        }
        (_, Ok(error)) => error.into(),
        (_, Err(other)) => other,
    })?;
    session.announce(&output)?;
    cores::warn_of_far(&places, &session, &context.roots, &output);
    args.rings.lengths.warn_of_others(&session.devices, &output);
    let limits = session.limits(&args.length);
    let ports = std::mem::take(&mut session.ports);
    let (mut nics, pairs) = args.connect(&session, ports, filter.as_ref())?;
    let threads = args.threads(pairs, places)?;
    if args.wait == WaitArg::Poll {
        threads.warn(&output);
    }
    args.sandbox.enter(Keeps::default(), &session, &context.roots, &output)?;
    let mut report =
        args.forward(&session, context, &output, &mut nics, threads, limits).map_err(|error| session.blame(error))?;
    drop(nics);
    if args.cycles {
        match session.crossings(args.rings.batch()) {
            Ok(crossings) => report.crossings = crossings,
            Err(error) => output.warn(format_args!("what crosses PCIe was not counted: {error}")),
        }
    }
    report.print(context, &output, &session, args.cycles)?;
    session.warn_of_stale(&output);
    session.check(&output)?;
    let lost = report.losses().total();
    let kept = args.loss.check(lost, report.came());
    // What was not sent is a loss, and no hang.
    session.stop.judge(kept.and_then(|()| if lost == 0 { hang::check(report.stuck()) } else { Ok(()) }))
}

/// The lanes that packets take, and what passes by each.
type Lanes = Vec<(Lane, Way)>;

impl Args {
    /// How these cards are set up for so many threads.
    fn config(&self, cards: &[Card], threads: usize) -> Result<Config> {
        if self.mode.pairs() {
            deal::check_pairs(cards.len())?;
        } else if self.unidirectional {
            let line = "--unidirectional is for pairs, and with this mode each port is for itself; name those that are to take part";
            return Err(Error::new(Kind::Usage, line));
        }
        if self.sleep_after.is_some() && self.wait != WaitArg::Adaptive {
            let line = "--sleep-after is for --wait adaptive, which looks for a while before it sleeps; leave it out, or ask for that";
            return Err(Error::new(Kind::Usage, line));
        }
        impair::check(&self.impair, cards.len())?;
        if !self.impair.is_empty() && self.mode == Mode::Rxonly {
            let line = "--mode rxonly passes nothing on that --impair could be done to; leave one out";
            return Err(Error::new(Kind::Usage, line));
        }
        if self.inline {
            deal::check_inline(cards, threads)?;
            if self.wait != WaitArg::Poll {
                let line =
                    "a thread that sleeps until a card interrupts cannot play that card; leave --inline out, or --wait";
                return Err(Error::new(Kind::Usage, line));
            }
        }
        let receiving = if self.unidirectional { cards.len().div_ceil(2) } else { cards.len() };
        let rxq = if self.inline { self.rings.rxq } else { deal::queues(self.rings.rxq, threads, receiving) };
        Ok(Config {
            rx_queues: rxq,
            // Each receive queue has a transmit queue of its own on the far side.
            tx_queues: self.rings.txq.max(rxq),
            interrupts: self.wait != WaitArg::Poll,
            max_frame: self.max_frame.unwrap_or(JUMBO),
            shorter_frames: self.max_frame.is_none(),
            ..self.rings.config()
        })
    }

    /// Makes lanes of the ports' queues, pair by pair. Queues that no lane uses are
    /// dropped: what comes in by them is lost, and the card counts it.
    fn connect(&self, session: &Session, ports: Vec<Port>, filter: Option<&Filter>) -> Result<(Vec<Nic>, Vec<Lanes>)> {
        let count = ports.len();
        let mut nics = Vec::new();
        let (mut rx, mut tx) = (Vec::new(), Vec::new());
        for port in ports {
            rx.push(port.rx.into_iter());
            tx.push(port.tx.into_iter());
            nics.push(port.nic);
        }
        let mut pairs = Vec::new();
        for first in (0..count).step_by(2) {
            let last = if self.unidirectional { first } else { (first + 1).min(count - 1) };
            let mut lanes = Vec::new();
            for queue in 0.. {
                let before = lanes.len();
                for (from, queues) in rx.iter_mut().enumerate().take(last + 1).skip(first) {
                    let to = if self.mode.pairs() { deal::peer(from, count) } else { from };
                    let Some(into) = queues.next() else { continue };
                    let Some(out) = tx[to].next() else {
                        return Err(too_few(&session.devices, [from, to], queue + 1 + queues.len()));
                    };
                    let rings = into.buffers() + out.buffers();
                    let pool = session.pool_of(from, rings + 2 * BATCH_MAX)?;
                    let lane =
                        Lane::new(into, out, pool, self.rings.batch(), self.mode.rewrite(to, session, &self.eth_peer))?;
                    let lane = lane.with(self.extras([from, to, queue], session, filter)?);
                    let holds = lane.most_received() as u64;
                    let way = Way { from, to, queue, thread: 0, holds, counts: lane.counts() };
                    lanes.push((lane, way));
                }
                if lanes.len() == before {
                    break;
                }
            }
            pairs.push(lanes);
        }
        Ok((nics, pairs))
    }

    /// Deals lanes to the threads that are to run at `places`.
    fn threads(&self, pairs: Vec<Lanes>, places: Vec<Option<usize>>) -> Result<Threads> {
        let lanes = pairs.iter().map(Vec::len).sum::<usize>();
        let places = match (self.wait, self.cores.asked()) {
            // One thread polls all lanes in turns; one that sleeps does so for one lane.
            (WaitArg::Irq | WaitArg::Adaptive, None) => vec![None; lanes],
            (WaitArg::Irq | WaitArg::Adaptive, Some(threads)) if threads < lanes => {
                let line = format!(
                    "a thread that waits for interrupts sleeps for one receive queue, and {threads} threads are too few for {lanes}; ask for {lanes}, or poll"
                );
                return Err(Error::new(Kind::Usage, line));
            }
            _ => places,
        };
        let (hands, ways) = deal::deal(pairs, places.len(), self.inline)?;
        Ok(Threads { places, hands, ways })
    }

    /// What a lane between these ports does besides, if anything; the queue tells its chances
    /// from those of others.
    fn extras(
        &self,
        [from, to, queue]: [usize; 3],
        session: &Session,
        filter: Option<&Filter>,
    ) -> Result<Option<Extras>> {
        let part = self.mode.part(to, session, &self.eth_peer)?;
        let speed = session.speeds.get(from).copied().unwrap_or(0);
        let impaired = impair::of(&self.impair, from, queue, speed);
        let asked = filter.is_some() || impaired.is_some() || !matches!(part, extras::Part::Pass);
        Ok(asked.then(|| Extras { filter: filter.cloned(), part, impaired }))
    }

    /// Runs the lanes in their threads and watches from this one.
    #[allow(clippy::too_many_arguments)] // all of a run comes together here
    fn forward(
        &self,
        session: &Session,
        context: &Context,
        output: &Output,
        nics: &mut [Nic],
        threads: Threads,
        limits: Limits,
    ) -> anyhow::Result<Report> {
        let Threads { places, hands, ways } = threads;
        let left = limits.count.map(|n| Left::new(n, places.len(), &session.stop));
        let until = Until { stop: session.stop.clone(), left, counted: Arc::default() };
        let started = Instant::now();
        // From here on the rings take packets, and what is lost is lost.
        let mut report = Report::new(session, nics, ways, self.mode, started, started - context.started)?;
        report.sample(session, nics)?;
        let clock = self.cycles.then(Clock::new);
        if clock.as_ref().is_some_and(|clock| clock.counter() == Counter::Kernel) {
            let what = "--cycles takes the processor's own counter, and this machine's is not steady; go without it";
            return Err(Error::new(Kind::Unsupported, what).into());
        }
        report.impaired = !self.impair.is_empty();
        let wait = match self.wait {
            WaitArg::Poll => Wait::Poll,
            WaitArg::Irq => Wait::Interrupt { after: 0 },
            WaitArg::Adaptive => Wait::Interrupt { after: self.sleep_after.unwrap_or(1024) },
        };
        let (done, ended) = mpsc::channel::<()>();
        let mut threads = Vec::new();
        let name = |n| if places.len() == 1 { "fwd".into() } else { format!("fwd-{n}") };
        for (n, (&place, Hand { mut lanes, ports })) in places.iter().zip(hands).enumerate() {
            let (run, done, clock) = (until.clone(), done.clone(), clock.clone());
            let cards = self.inline.then(|| session.inline(&ports)).flatten();
            let body = move || {
                let _whatever_happens = Ending(run.stop.clone());
                let clock = clock.as_ref();
                let work = Work { lanes: &mut lanes, cards, patience: PATIENCE, wait, until: &run, clock };
                let stayed = cores::stay(place).inspect_err(|_| run.stop.end());
                let result = stayed.and_then(|()| {
                    lane::run(work, || {
                        // Where no frame comes any more each lane finds its own end.
                        if !run.stop.is_dry() {
                            run.stop.end();
                        }
                        drop(done);
                    })
                });
                (lanes, result)
            };
            let thread = thread::Builder::new().name(name(n)).spawn(body);
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    until.stop.end();
                    until.counted.store(true, Ordering::Relaxed);
                    // Its own trouble is the smaller one.
                    threads.into_iter().for_each(|thread| drop(thread.join()));
                    return Err(Error::thread("starting a forwarding thread", error).into());
                }
            }
        }
        drop(done);
        let watched = self.watch(session, output, nics, &mut report, limits.duration, &ended);
        until.stop.end();
        // The lanes have let the last frame leave; counters are read while the
        // cards still run.
        let _ = ended.recv();
        let counted = report.close(session, nics);
        until.counted.store(true, Ordering::Relaxed);
        for (thread, place) in threads.into_iter().zip(places) {
            let (lanes, result) = thread.join().map_err(|_| anyhow::anyhow!("a forwarding thread panicked"))?;
            let (had, waits) = result?;
            report.finish_thread(&lanes, place, had, (wait != Wait::Poll).then_some(waits));
        }
        watched?;
        counted?;
        Ok(report)
    }

    /// Looks at the counters once an interval until the lanes end or time is up.
    fn watch(
        &self,
        session: &Session,
        output: &Output,
        nics: &mut [Nic],
        report: &mut Report,
        duration: Option<Duration>,
        ended: &mpsc::Receiver<()>,
    ) -> anyhow::Result<()> {
        let interval = self.interval.filter(|i| !i.is_zero()).unwrap_or(Duration::from_secs(1));
        let live = output.live(nics.len());
        for look in Looks::new(session, ended, interval).at_most(duration) {
            let Look::Figures { asked, .. } = look else { continue };
            report.sample(session, nics)?;
            output.interval("fwd", || report.figures())?;
            for (i, line) in report.lines().into_iter().enumerate() {
                if asked {
                    output.now(&line);
                } else if self.interval.is_some() && !live.is_visible() {
                    output.result(&line)?;
                }
                live.show(i, line);
            }
        }
        Ok(())
    }
}

/// The error where the second of these ports has no transmit queue for each of so many receive
/// queues of the first.
fn too_few(devices: &[Description], [from, to]: [usize; 2], queues: usize) -> Error {
    let (from, Description { device, max_tx_queues: most, .. }) = (&devices[from].device, &devices[to]);
    let what = match usize::from(*most) < queues {
        // An interface has as many as its own driver says, whatever was asked for.
        true => {
            let name = from.strip_prefix("xdp:").unwrap_or(from);
            format!(
                "it can have {most}: give {from} so many with `ethtool -L {name} combined {most}`, or use packet:{name}"
            )
        }
        false => format!("give --rxq {queues}"),
    };
    let line =
        format!("{device} has fewer transmit queues than {from}, which it forwards for, has receive queues; {what}");
    Error::new(Kind::Usage, line)
}
