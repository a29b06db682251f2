//! `bmnic pktgen`: packets at a rate.
//!
//! ```text
//!   recipe or recording ──> threads "pktgen": what is due now, each into its ring
//!   main thread             once an interval: counters, the live line
//! ```
//!
//! Below line rate every packet has its place in an absolute schedule
//! ([`Pace`](crate::measure::Pace), or the times of a recording); at line rate
//! the ring is kept full and the card's own clock is the schedule. Each place of a
//! schedule was used or has a cause why it was not.

mod answer;
mod due;
mod facts;
mod feed;
mod frames;
mod hand;
mod listed;
mod prepared;
mod replay;
mod report;
mod send;
mod shortfall;
mod threads;
mod times;
mod traffic;

use super::account::{self, LossLimit, ShortfallLimit};
use super::args::{DeviceArg, Limits, Rings, RunLength};
use super::cores::{self, Cores};
use super::hang;
use super::output::{self, Output};
use super::sandbox::{Keeps, Sandbox};
use super::session::{DEFAULT_DURATION, Defaults, NOMINAL_SPEED, Session};
use super::units::{self, Rate};
use super::{Context, Outcome};
use crate::driver::{Config, Port};
use crate::error::{Error, Kind, Result};
use crate::measure::probe::wire_bits;
use crate::measure::{Clock, Machine};
use crate::net::MacAddr;
use crate::packet::respond::Responder;
use crate::pcap::record::Format;
use answer::{Answers, Respond};
use frames::Frames;
use listed::List;
use replay::Replay;
use report::Report;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use threads::Plan;
use times::Times;
use traffic::{Schedule, Traffic};

/// Arguments of `bmnic pktgen`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArg,
    /// The same as --device
    #[arg(value_name = "DEV", conflicts_with = "device")]
    port: Option<String>,
    #[command(flatten)]
    times: Times,
    #[command(flatten)]
    frames: Frames,
    /// Send the packets of this pcap or pcapng file; - is standard input
    ///
    /// What cannot be sent is left out with a warning: packets of other links than
    /// Ethernet, and those shorter than an Ethernet header. The first 64 MiB are read before
    /// the run, the rest while it lasts. Where a packet was not read when it was due, that is
    /// a cause of its own in the summary: reader-bound.
    #[arg(long, value_name = "FILE", help_heading = "Replay", conflicts_with_all = [
        "size", "proto", "src_mac", "dst_mac", "src_ip", "dst_ip", "sport", "dport", "vlan", "outer_tpid", "ttl", "tos", "dscp", "ecn", "tcp_flags",
        "ethertype", "payload", "bad_csum", "template",
    ])]
    pcap: Option<PathBuf>,
    /// How fast to replay, against how it was recorded: 1x, 0.5x, 10x [default: 1x]
    #[arg(long, value_name = "FACTOR", value_parser = speed, requires = "pcap", conflicts_with = "rate", help_heading = "Replay")]
    speed: Option<f64>,
    /// Longest gap between two packets, as they are sent; longer ones are cut to it
    #[arg(long, value_name = "TIME", value_parser = units::duration, requires = "pcap", conflicts_with = "rate", help_heading = "Replay")]
    max_gap: Option<Duration>,
    /// How often to replay the file; 0 is until told to stop
    ///
    /// A file of one packet, or of packets that were all recorded at one moment, has
    /// no length of time to go round in: it takes --rate as well. One that has changed when it
    /// is read again ends the run, with exit code 1.
    #[arg(long, short = 'l', value_name = "N", value_parser = units::count, default_value = "1", requires = "pcap", help_heading = "Replay")]
    r#loop: u64,
    /// Send packets at the times of this file, - is standard input: a line for each, with the
    /// nanoseconds from the start and what leaves then
    ///
    /// With --pcap that is the number of a packet of that file, as Wireshark counts them:
    /// "1500 7". Without it nothing, for the next frame of those that the other options ask
    /// for, or fields of its own by the long names of options: "1500 dport=80 size=128". What
    /// follows a # is a comment. Times rise from line to line. A packet that is later than 20 us
    /// is skipped, and the summary says what was the matter when it was due: packets of the list
    /// = sent + skipped.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rate", "pattern", "burst", "speed", "max_gap", "loop"])]
    schedule: Option<PathBuf>,
    /// Answer ARP, neighbour discovery and ping for the addresses that packets are sent from
    ///
    /// In a thread and with a transmit queue of its own, to what comes in on the receive queues;
    /// with =only nothing else is sent, and --count is of answers. The summary says how many were
    /// answered.
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "beside",
        conflicts_with_all = ["pcap", "schedule", "prepare", "template", "print", "write"])]
    respond: Option<Respond>,
    /// Print the first packets and send none
    #[arg(long)]
    print: bool,
    /// Write the packets to this capture file and send none
    #[arg(short, long, value_name = "FILE", conflicts_with = "print")]
    write: Option<PathBuf>,
    /// Format of that file: pcap or pcapng
    #[arg(long, value_name = "FORMAT", default_value = "pcap", requires = "write")]
    format: Format,
    /// Transmit queues, used in turn; at least one for each thread; the same as --txq
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    queues: Option<u16>,
    #[command(flatten)]
    prepared: prepared::PreparedArgs,
    #[command(flatten)]
    cores: Cores,
    #[command(flatten)]
    loss: LossLimit,
    #[command(flatten)]
    shortfall: ShortfallLimit,
    #[command(flatten)]
    length: RunLength,
    #[command(flatten)]
    rings: Rings,
    #[command(flatten)]
    sandbox: Sandbox,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    if let Some(path) = &args.prepared.prepare {
        return prepared::run(args, path, context, &output);
    }
    // What can be refused is refused before any card is touched.
    args.cores.places()?;
    args.times.check()?;
    args.frames.check()?;
    if args.respond == Some(Respond::Only) && args.times.rate.is_some() {
        let line = "--respond=only sends nothing at a rate; leave --rate out, or --respond without =only";
        return Err(Error::new(Kind::Usage, line).into());
    }
    let source = args.source()?;
    if let Source::Replay(replay) = &source {
        let known = replay.known();
        known.facts.warnings().iter().filter(|_| known.whole).for_each(|warning| output.warn(warning));
    }
    if args.print || args.write.is_some() {
        let to_pipe = args.write.as_deref() == Some(Path::new("-"));
        let output = if to_pipe { output.on_stderr() } else { output };
        return args.dry_run(context, &output, source);
    }
    send_all(args, context, &output, source)
}

/// Where frames come from, and the longest that is known before a card is.
enum Source {
    /// Made as they are needed.
    Built(usize),
    /// Recorded earlier.
    Replay(Box<Replay>),
    /// Of a list.
    List(Box<List>, usize),
}

impl Source {
    /// Bytes of the longest frame, without FCS.
    fn longest(&self) -> usize {
        match self {
            Source::Built(longest) | Source::List(_, longest) => *longest,
            Source::Replay(replay) => replay.known().facts.longest,
        }
    }

    /// What is sent with a card whose address is `mac`.
    fn traffic(self, frames: &Frames, mac: Option<MacAddr>) -> Result<Traffic> {
        Ok(match self {
            Source::Built(_) => Traffic::Built(frames.builder(mac)?),
            Source::Replay(replay) => Traffic::Replay(replay),
            Source::List(mut list, _) => Traffic::Listed(Box::new(list.frames(frames, mac)?)),
        })
    }
}

/// Opens the card and sends.
fn send_all(args: &Args, context: &Context, output: &Output, source: Source) -> anyhow::Result<Outcome> {
    let mut clock = Clock::new();
    let names: Vec<String> = args.device.device.iter().chain(&args.port).cloned().collect();
    let defaults = Defaults { wires: &["sink"], duration: Some(DEFAULT_DURATION), link: false };
    let mut session = Session::open(context, &names, defaults, &args.config(&source))?;
    session.announce(output)?;
    cores::warn_of_far(&args.cores.places()?, &session, &context.roots, output);
    args.rings.lengths.warn_of_others(&session.devices, output);
    session.may_send(source.longest().saturating_sub(args.tags()))?;
    let mut limits = session.limits(&args.length);
    if !matches!(source, Source::Built(_)) && args.length.duration.is_none() {
        // A replay ends where its file does, and a list too.
        limits.duration = None;
    }
    let speed = session.speeds.first().copied().filter(|speed| *speed > 0).unwrap_or(NOMINAL_SPEED);
    let mac = session.devices.first().map(|device| device.mac);
    // The longer the clock has been watched, the truer the schedule.
    clock.refine();
    let traffic = source.traffic(&args.frames, mac)?;
    let line = traffic.line_rate(speed);
    let schedule = args.schedule(&clock, &traffic, line, speed, output)?;
    let most = if traffic.is_guess() { f64::INFINITY } else { line };
    let wanted = args.times.rate.map(|rate| times::in_packets(rate, line, speed));
    let mut report = Report::new(&traffic, &schedule, line, wanted);

    let Some(Port { rx, mut tx, mut nic }) = std::mem::take(&mut session.ports).into_iter().next() else {
        return Err(Error::new(Kind::NotFound, "no card to send with; name one with --device").into());
    };
    // Of frames with FCS, without preambles and gaps.
    let frame_bits = traffic.mean_bits() - 20.0 * 8.0;
    let plan = Plan { traffic, schedule, limits, batch: args.rings.batch(), clock: clock.clone() };
    let places = if args.respond == Some(Respond::Only) { Vec::new() } else { args.cores.places()? };
    let responder = Responder::new(&args.frames.recipe(mac), mac.unwrap_or_default());
    let own = args.respond.and_then(|_| tx.pop());
    if let Schedule::Card { asked } = plan.schedule {
        // Each queue counts its own bits: of several sizes the short ones' would run ahead.
        let longest = wire_bits(plan.traffic.longest());
        if tx.len() > 1 && longest - plan.traffic.mean_bits() > 0.5 {
            let line = "the card keeps a rate of bits for each queue, so frames of several sizes keep theirs in one alone; send one size, or use one queue (--txq 1) and one thread";
            return Err(Error::new(Kind::Usage, line).into());
        }
        times::pace_by_card(&mut nic, tx.len(), asked * frame_bits)?;
    }
    // Beside others it ends with them.
    let until = if places.is_empty() { limits } else { Limits::default() };
    let answers = own.map(|tx| Answers::new(rx, tx, responder, clock.clone(), until, &session)).transpose()?;
    let senders = if places.is_empty() { Vec::new() } else { plan.divide(&session, tx, places.len())? };
    // A recording that is sent again is opened again.
    let keeps = Keeps { played: args.pcap.iter().cloned().collect(), ..Keeps::default() };
    args.sandbox.enter(keeps, &session, &context.roots, output)?;
    let (before, noted) = (session.stats(0, &mut nic)?, session.notes());
    let (shares, answered) = threads::run(senders, &places, &mut nic, &session, output, most, answers)
        .map_err(|error| session.blame(error))?;
    clock.refine();
    // The card's counters may be a moment behind its write-backs.
    let patience = Instant::now() + Duration::from_millis(100);
    let mut stats = session.stats(0, &mut nic).map_err(|error| session.blame(error))?;
    let packets = shares.iter().map(|share| share.sent.packets).sum::<u64>() + answered.map_or(0, |a| a.sent());
    while stats.tx_packets - before.tx_packets < packets && !session.is_stale() && Instant::now() < patience {
        thread::sleep(Duration::from_millis(1));
        stats = session.stats(0, &mut nic)?;
    }
    let notes = account::notes_since(session.notes(), &noted);
    report.answered = answered;
    report.finish(&clock, shares, stats.since(&before), notes, session.is_stale());
    drop(nic);
    report.print(output)?;
    report.news().iter().for_each(|warning| output.warn(warning));
    session.warn_of_stale(output);
    let machine = Machine::record(&context.roots, &clock);
    output.document(&output::document("pktgen", &session.devices, &machine, report.json()))?;
    session.check(output)?;
    session.stop.judge(args.judge(&report))
}

impl Args {
    /// Whether the run kept its limits: what was sent arrived somewhere, and at the
    /// rate that was asked for; and a recording was sent as often.
    fn judge(&self, report: &Report) -> Result<()> {
        report.check_recording()?;
        let lost = report.losses().total();
        self.loss.check(lost, report.sent())?;
        if lost == 0 {
            // What was not sent is a loss, and no hang.
            hang::check(report.stuck())?;
        }
        match report.rates() {
            // Without --rate nobody asked for the line's.
            Some([asked, sent]) if self.times.rate.is_some() || self.pcap.is_some() || self.schedule.is_some() => {
                self.shortfall.check(asked, sent, report.seconds())
            }
            _ => Ok(()),
        }
    }

    /// Opens what frames come from, and refuses what cannot be sent.
    fn source(&self) -> Result<Source> {
        if let Some(path) = &self.schedule {
            self.check_threads("a schedule")?;
            let mut list = List::open(path, self.pcap.as_deref())?;
            let longest = list.frames(&self.frames, None)?.longest();
            return Ok(Source::List(Box::new(list), longest));
        }
        if let Some(path) = &self.pcap {
            let replay = self.open(path)?;
            self.check_replay(&replay)?;
            return Ok(Source::Replay(Box::new(replay)));
        }
        Ok(Source::Built(self.frames.builder(None)?.longest()))
    }

    /// Refuses several threads for `what`, which has one order.
    fn check_threads(&self, what: &str) -> Result<()> {
        if self.cores.asked().is_none_or(|threads| threads == 1) {
            return Ok(());
        }
        let line = format!(
            "{what} keeps its order only if one thread sends it; leave --cores out, and name one processor with --cpu"
        );
        Err(Error::new(Kind::Usage, line))
    }

    /// Opens a recording.
    fn open(&self, path: &Path) -> Result<Replay> {
        // What is sent faster has shorter gaps.
        let factor = self.speed.unwrap_or(1.0);
        let max_gap = self.max_gap.map_or(u64::MAX, |gap| (gap.as_nanos() as f64 * factor) as u64);
        let share = matches!(self.times.rate, Some(Rate::Bits(_) | Rate::Percent(_)));
        Replay::open(path, self.r#loop, max_gap, share)
    }

    /// Refuses what a replay cannot do.
    fn check_replay(&self, replay: &Replay) -> Result<()> {
        self.check_threads("a recording")?;
        let refused = |line: &str| Err(Error::new(Kind::Usage, line));
        match (self.times.rate, self.times.burst) {
            _ if self.frames.is_seeded() && !self.times.is_random() => refused(
                "nothing of a recording is random, so --seed would do nothing; leave it out, or ask for --pattern poisson",
            ),
            (None, Some(_)) => refused(
                "a replay as recorded has its own bursts, so --burst would do nothing; leave it out, or say how fast with --rate",
            ),
            (None, None) if self.r#loop != 1 && replay.is_momentary() => refused(
                "all packets of the recording leave at one moment, so to repeat it as recorded has no rate; say how fast with --rate",
            ),
            _ => Ok(()),
        }
    }

    /// Bytes of tags in it: those of a file may have one, and each is looked at when it is
    /// sent.
    fn tags(&self) -> usize {
        let file = 4 * usize::from(self.pcap.is_some() || self.schedule.is_some());
        self.frames.tags().unwrap_or(file)
    }

    /// Transmit queues of what is sent at a rate.
    fn tx_queues(&self) -> u16 {
        self.queues.unwrap_or(self.rings.txq).max(self.cores.asked().unwrap_or(1) as u16)
    }

    fn config(&self, source: &Source) -> Config {
        let longest = source.longest();
        Config {
            tx_queues: self.tx_queues() + u16::from(self.respond == Some(Respond::Beside)),
            max_frame: longest.clamp(1518, crate::packet::build::MAX_FRAME) as u16,
            ..self.rings.config()
        }
    }

    /// When packets go.
    fn schedule(&self, clock: &Clock, traffic: &Traffic, line: f64, speed: u64, output: &Output) -> Result<Schedule> {
        match traffic {
            Traffic::Listed(listed) => return Ok(Schedule::listed(clock, listed.len())),
            Traffic::Replay(_) if self.times.rate.is_none() => {
                return Ok(Schedule::recorded(clock, self.speed.unwrap_or(1.0)));
            }
            Traffic::Replay(_) | Traffic::Built(_) => {}
        }
        // Of what is not known to its end only a rate in packets is asked for.
        let line = if traffic.is_guess() { f64::INFINITY } else { line };
        self.times.schedule(clock, line, speed, self.frames.seed(), output)
    }

    /// Prints packets or writes them to a file.
    fn dry_run(&self, context: &Context, output: &Output, source: Source) -> anyhow::Result<Outcome> {
        let mut traffic = source.traffic(&self.frames, None)?;
        let limits = self.length.limits(None);
        let line = traffic.line_rate(NOMINAL_SPEED);
        let clock = Clock::new();
        // Nobody waits for its places: they are told in nanoseconds.
        let nanoseconds = Clock::by_hand(Arc::default());
        let schedule = self.schedule(&nanoseconds, &traffic, line, NOMINAL_SPEED, output)?;
        let Some(path) = &self.write else {
            let limits = Limits { count: Some(limits.count.unwrap_or(10)), ..limits };
            traffic::print(&mut traffic, &schedule, line, limits, output)?;
            news(traffic, output);
            return Ok(Outcome::Done);
        };
        if limits == Limits::default() && !traffic.ends() {
            let line = "a file needs an end; say how many packets with --count or how long with --duration";
            return Err(Error::new(Kind::Usage, line).into());
        }
        let start = clock.wall_ns(clock.now());
        let (packets, bytes) = traffic::write(&mut traffic, &schedule, line, limits, path, self.format, start)?;
        news(traffic, output);
        let shown = path.display();
        output.result(format_args!(
            "{} packets written to {shown}, {} bytes",
            output::grouped(packets),
            output::grouped(bytes)
        ))?;
        let machine = Machine::record(&context.roots, &clock);
        let result = serde_json::json!({ "file": shown.to_string(), "packets": packets, "bytes": bytes });
        output.document(&output::document("pktgen", &[], &machine, result))?;
        Ok(Outcome::Done)
    }
}

/// Warns of what was met in a recording that was not known before.
fn news(traffic: Traffic, output: &Output) {
    let guess = traffic.is_guess();
    traffic.met().iter().flat_map(|met| met.news(guess)).for_each(|warning| output.warn(warning));
}

/// A factor of speed: `1x`, `0.5`, `10x`.
fn speed(text: &str) -> Result<f64> {
    let digits = text.trim().strip_suffix(['x', 'X']).unwrap_or(text.trim());
    let factor = digits.parse::<f64>().ok().filter(|factor| (1e-6..=1e6).contains(factor));
    factor.ok_or_else(|| {
        Error::new(
            Kind::Usage,
            format!("'{text}' is not a speed; write how many times as fast as recorded, like 1x or 0.5x"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_factor_and_nonsense_is_refused() {
        assert_eq!(speed("1x").unwrap(), 1.0);
        assert_eq!(speed("0.5").unwrap(), 0.5);
        for text in ["", "x", "0x", "-1x", "infx", "nan", "1e9x"] {
            assert_eq!(speed(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }
}
