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

mod due;
mod facts;
mod feed;
mod hand;
mod replay;
mod report;
mod send;
mod shortfall;
mod threads;
mod traffic;

use super::account::{self, LossLimit, ShortfallLimit};
use super::args::{DeviceArg, Limits, Rings, RunLength};
use super::cores::{self, Cores};
use super::hang;
use super::output::{self, Output};
use super::session::{DEFAULT_DURATION, Defaults, NOMINAL_SPEED, Session};
use super::units::{self, Rate};
use super::{Context, Outcome};
use crate::driver::{Config, Port};
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Machine, Pace};
use crate::net::MacAddr;
use crate::packet::build::{Builder, Proto, Recipe, Sizes, Tpid, Vlans};
use crate::packet::values::{Ips, Macs, Ports};
use crate::pcap::record::Format;
use replay::Replay;
use report::Report;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use threads::Plan;
use traffic::{Schedule, Traffic};

/// Arguments of `bmnic pktgen`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DeviceArg,
    /// The same as --device
    #[arg(value_name = "DEV", conflicts_with = "device")]
    port: Option<String>,
    /// How fast: 14.88M or 1kpps (packets), 2Gbit (on the wire, with preamble and gap), 50%, line
    ///
    /// Without it as fast as ring and link take packets, and no rate is too low. A rate
    /// that was asked for and not kept ends with exit code 3: see --allow-shortfall.
    ///
    /// Each packet has a place in a schedule that begins with the run. A place that is later
    /// than 64 packets, or 20 us if that is longer, is skipped. The summary says how many were,
    /// to the packet, and what was the matter when they were due: the ring was full, so that
    /// card and link took no more; the system ran something else; no buffer was free; or the
    /// sender itself was slower than the rate. Places until the end = sent + skipped. It also
    /// says how far the times between two doorbells, as the sender sees them, were from those
    /// between their places.
    #[arg(short, long, value_name = "RATE")]
    rate: Option<Rate>,
    /// Frame sizes with FCS: 64, a list 64,1518, a range 64-1518, or imix (IMIX_v4_1 of CSIT)
    #[arg(short, long, value_name = "SIZES")]
    size: Option<Sizes>,
    /// What the frames hold
    #[arg(long, value_name = "PROTO", default_value = "udp")]
    proto: ProtoArg,
    /// Source address: one, a-b, a-b/step, a-b/rand, or rand [default: the card's]
    ///
    /// In turn, over and over, for each packet the next. A range whose end is less than its
    /// begin goes on from 0 behind the greatest value: this is so for addresses and ports.
    #[arg(long, value_name = "MAC", help_heading = "Frames")]
    src_mac: Option<Macs>,
    /// Destination address, as above [default: 02:00:00:00:00:02; broadcast for ARP]
    #[arg(long, value_name = "MAC", help_heading = "Frames")]
    dst_mac: Option<Macs>,
    /// Source address, IPv4 or IPv6: one, a-b, a network a/prefix, either with /step or /rand,
    /// or rand (of the test network) [default: 198.18.0.1]
    ///
    /// Of an IPv4 network the hosts' addresses: its first and its last are left out, unless the
    /// prefix has 31 bits or more. Of an IPv6 network all.
    #[arg(long, value_name = "IP", help_heading = "Frames")]
    src_ip: Option<Ips>,
    /// Destination address, as above [default: 198.19.0.1]
    #[arg(long, value_name = "IP", help_heading = "Frames")]
    dst_ip: Option<Ips>,
    /// Source port, or identifier of ICMP: one, a-b, a-b/step, a-b/rand, or rand
    #[arg(long, value_name = "PORT", default_value = "9", help_heading = "Frames")]
    sport: Ports,
    /// Destination port, as above
    #[arg(long, value_name = "PORT", default_value = "9", help_heading = "Frames")]
    dport: Ports,
    /// VLAN tag: id or id:priority, the id one, a-b, a-b/step, a-b/rand, or rand; 10.20 is two
    /// tags, outer.inner
    #[arg(long, value_name = "ID", help_heading = "Frames")]
    vlan: Option<Vlans>,
    /// Type of the first tag: 0x8100, 0x88a8 or 0x9100 [default: 0x88a8 of two tags, else 0x8100]
    #[arg(long, value_name = "TYPE", requires = "vlan", help_heading = "Frames")]
    outer_tpid: Option<Tpid>,
    /// Time to live, or hop limit
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Frames")]
    ttl: u8,
    /// Seed of what is random
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Frames")]
    seed: u64,
    /// Send the packets of this pcap or pcapng file; - is standard input
    ///
    /// What cannot be sent is left out with a warning: packets of other links than
    /// Ethernet, and those shorter than an Ethernet header. The first 64 MiB are read before
    /// the run, the rest while it lasts. Where a packet was not read when it was due, that is
    /// a cause of its own in the summary: reader-bound.
    #[arg(long, value_name = "FILE", help_heading = "Replay", conflicts_with_all = [
        "size", "proto", "src_mac", "dst_mac", "src_ip", "dst_ip", "sport", "dport", "vlan", "outer_tpid", "ttl", "seed",
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
    /// no length of time to go round in: it takes --rate as well.
    #[arg(long, short = 'l', value_name = "N", value_parser = units::count, default_value = "1", requires = "pcap", help_heading = "Replay")]
    r#loop: u64,
    /// Packets that leave together; the rate stays [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    burst: Option<u16>,
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
    cores: Cores,
    #[command(flatten)]
    loss: LossLimit,
    #[command(flatten)]
    shortfall: ShortfallLimit,
    #[command(flatten)]
    length: RunLength,
    #[command(flatten)]
    rings: Rings,
}

/// What frames hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ProtoArg {
    /// UDP datagrams
    Udp,
    /// TCP segments of no connection
    Tcp,
    /// Echo requests, ICMP or ICMPv6
    Icmp,
    /// ARP requests for the destination address
    Arp,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    // What can be refused is refused before any card is touched.
    args.cores.places()?;
    let replay = args.pcap.as_deref().map(|path| args.open(path)).transpose()?;
    if let Some(replay) = &replay {
        args.check_replay(replay)?;
        let known = replay.known();
        known.facts.warnings().iter().filter(|_| known.whole).for_each(|warning| output.warn(warning));
    }
    if args.print || args.write.is_some() {
        let to_pipe = args.write.as_deref() == Some(Path::new("-"));
        let output = if to_pipe { output.on_stderr() } else { output };
        return args.dry_run(context, &output, replay);
    }
    Builder::new(&args.recipe(None))?;
    send_all(args, context, &output, replay)
}

/// Opens the card and sends.
fn send_all(args: &Args, context: &Context, output: &Output, replay: Option<Replay>) -> anyhow::Result<Outcome> {
    let mut clock = Clock::new();
    let names: Vec<String> = args.device.device.iter().chain(&args.port).cloned().collect();
    let defaults = Defaults { wires: &["sink"], duration: Some(DEFAULT_DURATION), link: false };
    let mut session = Session::open(context, &names, defaults, &args.config(replay.as_ref()))?;
    session.announce(output)?;
    cores::warn_of_far(&args.cores.places()?, &session, &context.roots, output);
    args.rings.lengths.warn_of_others(&session.devices, output);
    session.may_send(args.longest(replay.as_ref()).saturating_sub(args.tags()))?;
    let mut limits = session.limits(&args.length);
    if replay.is_some() && args.length.duration.is_none() {
        // A replay ends where its file does.
        limits.duration = None;
    }
    let speed = session.speeds.first().copied().filter(|speed| *speed > 0).unwrap_or(NOMINAL_SPEED);
    let mac = session.devices.first().map(|device| device.mac);
    // The longer the clock has been watched, the truer the schedule.
    clock.refine();
    let traffic = match replay {
        Some(replay) => Traffic::Replay(Box::new(replay)),
        None => Traffic::Built(Builder::new(&args.recipe(mac))?),
    };
    let line = traffic.line_rate(speed);
    let schedule = args.schedule(&clock, &traffic, line, speed, output)?;
    let most = if traffic.is_guess() { f64::INFINITY } else { line };
    let wanted = args.rate.map(|rate| in_packets(rate, line, speed));
    let mut report = Report::new(&traffic, &schedule, line, wanted);

    let Some(Port { rx: _, tx, mut nic }) = std::mem::take(&mut session.ports).into_iter().next() else {
        return Err(Error::new(Kind::NotFound, "no card to send with; name one with --device").into());
    };
    let plan = Plan { traffic, schedule, limits, batch: args.rings.batch(), clock: clock.clone() };
    let places = args.cores.places()?;
    let senders = plan.divide(&session, tx, places.len())?;
    let (before, noted) = (session.stats(0, &mut nic)?, session.notes());
    let shares =
        threads::run(senders, &places, &mut nic, &session, output, most).map_err(|error| session.blame(error))?;
    clock.refine();
    // The card's counters may be a moment behind its write-backs.
    let patience = Instant::now() + Duration::from_millis(100);
    let mut stats = session.stats(0, &mut nic).map_err(|error| session.blame(error))?;
    let packets = shares.iter().map(|share| share.sent.packets).sum();
    while stats.tx_packets - before.tx_packets < packets && !session.is_stale() && Instant::now() < patience {
        thread::sleep(Duration::from_millis(1));
        stats = session.stats(0, &mut nic)?;
    }
    let notes = account::notes_since(session.notes(), &noted);
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
    /// rate that was asked for.
    fn judge(&self, report: &Report) -> Result<()> {
        let lost = report.losses().total();
        self.loss.check(lost, report.sent())?;
        if lost == 0 {
            // What was not sent is a loss, and no hang.
            hang::check(report.stuck())?;
        }
        match report.rates() {
            // Without --rate nobody asked for the line's.
            Some([asked, sent]) if self.rate.is_some() || self.pcap.is_some() => {
                self.shortfall.check(asked, sent, report.seconds())
            }
            _ => Ok(()),
        }
    }

    /// Opens a recording.
    fn open(&self, path: &Path) -> Result<Replay> {
        // What is sent faster has shorter gaps.
        let factor = self.speed.unwrap_or(1.0);
        let max_gap = self.max_gap.map_or(u64::MAX, |gap| (gap.as_nanos() as f64 * factor) as u64);
        let share = matches!(self.rate, Some(Rate::Bits(_) | Rate::Percent(_)));
        Replay::open(path, self.r#loop, max_gap, share)
    }

    /// Refuses what a replay cannot do.
    fn check_replay(&self, replay: &Replay) -> Result<()> {
        let refused = |line: &str| Err(Error::new(Kind::Usage, line));
        match (self.rate, self.burst) {
            _ if self.cores.asked().is_some_and(|threads| threads > 1) => refused(
                "a recording keeps its order only if one thread sends it; leave --cores out, and name one processor with --cpu",
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

    fn recipe(&self, mac: Option<MacAddr>) -> Recipe {
        let default = Recipe::default();
        let (proto, target) = match self.proto {
            ProtoArg::Udp => (Proto::Udp, default.destination_mac),
            ProtoArg::Tcp => (Proto::Tcp, default.destination_mac),
            ProtoArg::Icmp => (Proto::Icmp, default.destination_mac),
            ProtoArg::Arp => (Proto::Arp, Macs::one(MacAddr([0xff; 6]))),
        };
        Recipe {
            proto,
            sizes: self.size.clone().unwrap_or(Sizes::Shortest),
            source_mac: self.src_mac.or(mac.map(Macs::one)).unwrap_or(default.source_mac),
            destination_mac: self.dst_mac.unwrap_or(target),
            source: self.src_ip,
            destination: self.dst_ip,
            source_port: self.sport,
            destination_port: self.dport,
            vlans: Vlans { tpid: self.outer_tpid, ..self.vlan.clone().unwrap_or_default() },
            ttl: self.ttl,
            seed: self.seed,
        }
    }

    /// Bytes of the longest frame that is sent, without FCS.
    fn longest(&self, replay: Option<&Replay>) -> usize {
        match replay {
            Some(replay) => replay.known().facts.longest,
            None => Builder::new(&self.recipe(None)).map_or(0, |builder| builder.longest()),
        }
    }

    /// Bytes of tags in it: those of a file may have one, and each is looked at when it is
    /// sent.
    fn tags(&self) -> usize {
        let file = usize::from(self.pcap.is_some());
        4 * self.vlan.as_ref().map_or(file, |vlans| vlans.tags.len())
    }

    fn config(&self, replay: Option<&Replay>) -> Config {
        let longest = self.longest(replay);
        Config {
            tx_queues: self.queues.unwrap_or(self.rings.txq).max(self.cores.asked().unwrap_or(1) as u16),
            max_frame: longest.clamp(1518, crate::packet::build::MAX_FRAME) as u16,
            ..self.rings.config()
        }
    }

    /// When packets go.
    fn schedule(&self, clock: &Clock, traffic: &Traffic, line: f64, speed: u64, output: &Output) -> Result<Schedule> {
        let rate = match (self.rate, self.speed, traffic) {
            (Some(rate), ..) => rate,
            (None, factor, Traffic::Replay(_)) => return Ok(Schedule::recorded(clock, factor.unwrap_or(1.0))),
            (None, ..) => Rate::Line,
        };
        // Of what is not known to its end only a rate in packets is asked for.
        let line = if traffic.is_guess() { f64::INFINITY } else { line };
        let pps = in_packets(rate, line, speed);
        if pps > line * 1.000_001 {
            output.warn(format_args!(
                "{rate} is more than the link carries; sending at line rate, {}",
                output::pps(line)
            ));
        }
        if pps >= line * 0.999_999 {
            return Ok(Schedule::Line);
        }
        let burst = usize::from(self.burst.unwrap_or(1));
        // A burst has one place in the schedule.
        let pace = Pace::new(clock, pps / burst as f64)?;
        Ok(Schedule::Rate { pace: Box::new(pace), burst, asked: pps })
    }

    /// Prints packets or writes them to a file.
    fn dry_run(&self, context: &Context, output: &Output, replay: Option<Replay>) -> anyhow::Result<Outcome> {
        let mut traffic = match replay {
            Some(replay) => Traffic::Replay(Box::new(replay)),
            None => Traffic::Built(Builder::new(&self.recipe(None))?),
        };
        let limits = self.length.limits(None);
        let line = traffic.line_rate(NOMINAL_SPEED);
        let clock = Clock::new();
        let schedule = self.schedule(&clock, &traffic, line, NOMINAL_SPEED, output)?;
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

/// A rate in packets a second, on a link of `speed` bits a second that carries `line`
/// of these frames: shares of the line are worked out for them.
fn in_packets(rate: Rate, line: f64, speed: u64) -> f64 {
    match rate {
        Rate::Pps(pps) => pps,
        Rate::Bits(bits) => bits / speed as f64 * line,
        Rate::Percent(percent) => line * percent / 100.0,
        Rate::Line => line,
    }
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
