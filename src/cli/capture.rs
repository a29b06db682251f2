//! `bmnic capture`: packets into a file, or printed.
//!
//! ```text
//!   thread "capture"   rings of all cards -> filter -> record into a chunk; never waits
//!   thread "writer"    chunks -> file                  (pcap::write)
//!   others             a ring that is published -> their files   (publish)
//!   thread "control"   `bmnic ctl` -> orders for those that capture (control, orders)
//!   main thread        once a second: counters, the card's clock, the live line
//! ```
//!
//! Lines of text take the same way: the thread that writes makes them of records ([`printed`]), so
//! that no reader of them is waited for, and what it is too slow for is counted.
//!
//! Every packet that the card saw is accounted for: it is in the file, or the
//! filter left it out, or it is named in the table of losses. So it is of each card where
//! several go into one file ([`cards`]). With --cores there are several such threads, which
//! share nothing but the file and what is left of a count ([`Left`]).

mod about;
mod asked;
mod card;
mod cards;
mod control;
mod files;
mod from;
mod guard;
mod intake;
#[cfg(test)]
mod lines_tests;
mod merge;
mod orders;
mod perf;
mod printed;
mod receive;
mod report;
mod ring;
mod said;
mod sink;
mod threads;
mod times;

pub use report::live_line;

use super::account::LossLimit;
use super::args::{DevicesArg, Rings, RunLength};
use super::cores::{self, Cores};
use super::output::{self, Output};
use super::sandbox::Sandbox;
use super::session::{DEFAULT_DURATION, Defaults, Session};
use super::share::{Left, Share};
use super::signal::{Interrupted, Stop};
use super::{Context, Outcome, list, units};
use crate::dma::BATCH_MAX;
use crate::driver::{Port, RxQueue};
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Machine};
use crate::packet::Filter;
use crate::pcap::record::Format;
use crate::pcap::repair::{self, Repaired};
use crate::pcap::write::SNAPLEN;
use crate::publish::Readers;
use about::About;
use card::PushDown;
use cards::{Counted, Tally};
use control::{Board, Control, Name};
use files::Files;
use orders::Desk;
use perf::Part;
use printed::Look;
use receive::{Ended, Receiver};
use report::{InCard, Report};
use ring::Ring;
use sink::Sink;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use threads::Run;
use times::{Gauge, Times};

/// Arguments of `bmnic capture`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    device: DevicesArg,
    /// A card, the capture file, and which packets to keep; any of them may be left out
    ///
    /// Cards are as for --device. The file is a word with a slash or the ending of a capture file
    /// (out.pcap), or one that is there; - is standard output, and --write names any other. The
    /// rest is an expression in the language of tcpdump: tcp port 80 and not host 10.0.0.1.
    ///
    /// Without a file packets are printed, a line each as tcpdump -n does it; -v prints fields of
    /// the IP header and whether checksums are right.
    ///
    /// A file is on the disk when the command ends. A pipe whose reader takes less than
    /// 256 KiB in 3 s after the end of the capture is given up, with an error and the count of
    /// what is lost.
    #[arg(value_name = "DEV|FILE|EXPRESSION", value_hint = clap::ValueHint::AnyPath)]
    words: Vec<OsString>,
    /// The capture file, as dumpcap and tcpdump name it
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    look: Look,
    /// Whether packets are printed.
    #[arg(skip)]
    printed: bool,
    /// With their details.
    #[arg(skip)]
    details: bool,
    /// Packets to keep, as one word
    ///
    /// Names of hosts in it are looked up, once and before anything is opened, as long as
    /// that takes.
    #[arg(short, long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// What of the filter is left to the card, where it can: what is exact, flows too, or nothing
    ///
    /// exact: where destination addresses follow from the expression, as with `ether dst
    /// 01:00:5e:01:01:01 and udp`, cards of the families of the 82599 and the X2522 receive no
    /// others, and where a VLAN does, as with `vlan 5`, those of the 82599's no frames of
    /// others. No packet that the expression wants is left out; the program judges what comes.
    ///
    /// flows: where protocol, destination address and port follow, as with `udp and dst host
    /// 239.1.2.3 and dst port 5000`, the X2522's family receives these alone. Fragments do not
    /// come then, nor what the card's parser takes for no packet of the flow, though the
    /// expression may want them.
    ///
    /// An interface of the kernel, packet:, has all of the expression judged there, but for frames
    /// whose VLAN tag the kernel took out, which the program judges.
    ///
    /// The 82599's family does not count what it leaves out, nor does the kernel.
    #[arg(long, value_name = "WHAT", value_enum, hide_possible_values = true, default_value = "exact")]
    push_down: PushDown,
    /// List cards, as dumpcap lists interfaces and `bmnic list` does, and capture nothing
    #[arg(short = 'D', long)]
    list_interfaces: bool,
    /// Print the filter's program, as tcpdump -d does, and capture nothing
    ///
    /// It is classic BPF, as bmnic runs it. All words are the expression.
    #[arg(long)]
    print_filter: bool,
    /// Format of the file: pcap (in nanoseconds) or pcapng [default: pcap, or pcapng if that is needed]
    ///
    /// Several cards and comments need pcapng.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// A comment on the file, in pcapng; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = about::comment, conflicts_with = "repair")]
    capture_comment: Vec<String>,
    /// Bytes to keep of each packet; 0 is all of it
    #[arg(short, long, value_name = "BYTES", default_value = "0", value_parser = snaplen)]
    snaplen: usize,
    #[command(flatten)]
    files: Files,
    /// Memory that bridges the pauses of the disk
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = buffer)]
    buffer: u64,
    /// The same in huge pages, which are all there before the first packet, like 8G
    ///
    /// A thread of its own writes then in any case. Of several processors of --cpu the last is
    /// that thread's, unless --cores asks for as many. Where huge pages are missing nothing is
    /// begun.
    #[arg(long, value_name = "SIZE", value_parser = ring::size, conflicts_with_all = ["buffer", "repair", "guard"])]
    ring: Option<u64>,
    /// Longest frame to receive, in bytes without FCS [default: 9216, or what the card takes]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(60..=15_868))]
    max_frame: Option<u16>,
    /// Keep packets in a ring of this name, which any number of programs read meanwhile
    ///
    /// `bmnic capture --from NAME` reads it, or a program that includes bmnic_ring.h; who reads is
    /// not noticed and not waited for. Without FILE nothing is written, and nothing printed.
    #[arg(long, value_name = "NAME")]
    publish: Option<String>,
    /// Memory of the ring: what readers may be behind
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = units::size, requires = "publish")]
    publish_size: u64,
    /// Who may read the ring besides this user and root: a group, or all
    #[arg(long, value_name = "GROUP", requires = "publish")]
    publish_to: Option<Readers>,
    /// Take packets out of the ring that another process publishes, not off a card
    #[arg(long, value_name = "NAME", conflicts_with_all = ["publish", "device", "repair", "perf_test"])]
    from: Option<String>,
    /// Begin with the oldest packet that is left in the ring, not with the next
    #[arg(long, requires = "from")]
    history: bool,
    /// Listen to `bmnic ctl NAME`, which changes the filter and asks for counts meanwhile
    ///
    /// From a program of this user or of root on this machine.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "repair", "guard", "perf_test"])]
    control: Option<String>,
    /// Capture nothing: cut a record off the end of FILE that a crash has torn
    ///
    /// FILE may be of any link type. It is replaced as a whole, and left as it is if
    /// anything but a torn end is wrong with it.
    #[arg(long)]
    repair: bool,
    /// Stand by and cut a torn record off the end of FILE when standard input ends
    #[arg(long, hide = true)]
    guard: bool,
    /// Capture nothing: replace these parts by dummies and say what the rest manages
    ///
    /// Several with commas between them. FILE is written unless the ring or the disk is a dummy.
    /// The dummy of a card has the packets of the emulated one that --device names, as fast as
    /// they are taken.
    #[arg(long, value_name = "PART", value_delimiter = ',', conflicts_with_all = ["repair", "guard", "publish"])]
    perf_test: Vec<Part>,
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

/// The help of --rxd: as short as rings of others are, they would lose what comes while the
/// thread that receives is kept from it.
pub const RXD: &str =
    "Descriptors in each receive ring, a power of two from 64 to 4096 [default: 4096, or 512 and more of several]";

/// Wire of the default card: what two cores carry into a file without a loss.
const DEFAULT_WIRE: &str = "source:rate=100k";

/// Runs it.
pub fn run(mut args: Args, context: &Context) -> anyhow::Result<Outcome> {
    if args.list_interfaces {
        return list::run(list::Args::default(), context);
    }
    if args.print_filter {
        write!(io::stdout().lock(), "{}", args.program(context.taken.has("filter"))?.listing())?;
        return Ok(Outcome::Done);
    }
    // What can be refused is refused before a card or a file is touched.
    let (named, filter) = args.target(context)?;
    if !context.global.restore_on_exit {
        args.device.devices = super::cards::observed(&context.roots, &args.device.devices);
    }
    let file = named.as_deref().or(args.printed.then_some(Path::new("-")));
    let output = Output::new(&context.global);
    let output = if file == Some(Path::new("-")) { output.on_stderr() } else { output };
    // Lines that reach a terminal, even behind another program, leave no room for a bar.
    let output = if args.printed { output.without_live() } else { output };
    let by_default = |option: &str| context.taken.has(option);
    let whole = files::Whole { path: named.as_deref(), dummies: &args.perf_test, by_default: &by_default };
    args.files.settle(whole, &mut args.length)?;
    let cards = args.device.devices.len().max(1);
    let (format, why) = about::format(args.format, by_default("format"), cards, &args.capture_comment)?;
    about::check(format, &filter)?;
    args.check_ring(named.is_some(), &context.roots)?;
    if let Some(path) = file {
        if args.guard {
            guard::stand(path, args.format.unwrap_or_default(), args.files.is_packed(path), args.sandbox, context)?;
            return Ok(Outcome::Done);
        }
        if args.repair {
            return mend(path, context, &output);
        }
        if let Some(name) = &args.from {
            return from::run(&args, name, path, &filter, format, context, &output);
        }
        if args.perf_test.contains(&Part::Card) {
            return perf::without_card(&args, context, &output, path, format, filter);
        }
    }
    let (places, writer) = args.places()?;
    let threads = places.len();
    args.may_publish(threads, cards)?;
    let name = args.control.as_deref().map(Name::take).transpose()?;
    let processors = cores::processors().unwrap_or(1);
    let mut clock = Clock::new();
    let wires = vec![if args.printed { printed::WIRE } else { DEFAULT_WIRE }; cards];
    let defaults = Defaults { wires: &wires, duration: Some(DEFAULT_DURATION), link: false };
    // Before a model's thread is started, and others.
    let all_places = [&places[..], &[writer]].concat();
    cores::step_aside(&all_places)?;
    let mut session = Session::open(context, &args.device.devices, defaults, &args.config(&filter, threads, cards))?;
    file.map_or(Ok(()), |path| session.check_write(path))?;
    args.files.spared = session.played();
    perf::announce(&args.perf_test, &output)?;
    // A model runs beside, and so does what the kernel receives by.
    let kernels = session.devices.iter().any(|device| device.kind.is_kernels());
    let spare = processors > threads + usize::from(session.is_emulated() || kernels);
    // A filter that may be changed is not that of all packets in the file.
    let lasting = if name.is_some() { Filter::parse("")? } else { filter.clone() };
    let about = About::cards(format, &session, &lasting, &args.capture_comment, &context.roots);
    let held = Ring::reserve(&args, &nodes(&session, threads), writer, &context.roots)?;
    let (sinks, guard) = sink::several(&args, file, &about, held, spare, &session.stop, &output)?;
    let turner = sinks.first().and_then(Sink::turner);
    session.announce(&output)?;
    cores::warn_of_far(&all_places, &session, &context.roots, &output);
    if let Some(why) = why.filter(|_| named.is_some()) {
        output.info(format_args!("format    pcapng, as {why}"))?;
    }
    args.rings.lengths.warn_of_others(&session.devices, &output);
    let ports = std::mem::take(&mut session.ports);
    let (mut nics, queues): (Vec<_>, Vec<_>) = ports.into_iter().map(|Port { rx, tx: _, nic }| (nic, rx)).unzip();
    clock.refine();
    let limits = session.limits(&args.length);
    let mut gauges = Vec::new();
    let mut times: Vec<_> = (0..threads).map(|_| Vec::new()).collect();
    for nic in &mut nics {
        let (gauge, of_threads) = Gauge::new(nic, clock.clone(), threads)?;
        gauges.push(gauge);
        times.iter_mut().zip(of_threads).for_each(|(thread, times)| thread.push(times));
    }
    let left = limits.count.map(|count| Left::new(count, threads, &session.stop));
    // Of several cards each would need orders of its own.
    let push_down = if cards == 1 { args.push_down } else { PushDown::Off };
    let (mut desk, board) = (Desk::default(), Arc::new(Board::new(push_down, kernels)));
    if let [nic] = &mut nics[..] {
        board.card.narrow(nic, filter.wanted())?;
    }
    board.card.announce(&filter, &output)?;
    let mut receivers = Vec::new();
    // Where packets are put in order, batches of all queues are held.
    let several = queues.iter().map(Vec::len).sum::<usize>() > threads;
    let merged = several && times.iter().flatten().any(Times::by_card);
    let held: Vec<usize> = queues.iter().map(|queues| in_memory(queues, merged) + threads * BATCH_MAX).collect();
    for ((hand, sink), (times, &place)) in
        dealt(queues, threads).into_iter().zip(sinks).zip(times.into_iter().zip(&places))
    {
        let (rings, queues): (Vec<intake::Ring>, Vec<RxQueue>) = hand.into_iter().unzip();
        let near = rings.first().map_or(0, |ring| ring.card);
        receivers.push(Receiver {
            pool: session.pool_of(near, in_memory(&queues, merged) + BATCH_MAX)?,
            queues,
            rings,
            batch: args.rings.batch(),
            filter: filter.clone(),
            sink,
            clock: clock.clone(),
            times,
            duration: limits.duration,
            share: Share::new(left.as_ref()),
            place,
            stop: session.stop.clone(),
            counts: Arc::default(),
            orders: desk.post(),
        });
    }
    args.sandbox.enter(args.keeps(file)?, &session, &context.roots, &output)?;
    let empty = Counted::now(&session, &mut nics)?;
    for Receiver { pool, queues, .. } in &mut receivers {
        queues.iter_mut().try_for_each(|queue| queue.fill(pool))?;
    }
    // From here on the rings take packets, and what is lost is lost.
    let before = Counted::now(&session, &mut nics)?.counting_from(&empty, &session);
    let control = name.map(|name| Control::listen(name, desk, &board, &filter, turner, &session.stop)).transpose()?;
    let Run { ended, counted, elapsed, failed } =
        threads::run(receivers, &session, &output, &mut nics, &mut gauges, &before, &board)?;
    board.card.close();
    drop(control);
    let rule = board.rule();
    let filter = rule.filter.unwrap_or(filter);
    clock.refine();
    drop(nics);
    // What was captured is written, whatever became of the card.
    let (counted, gone) = match counted {
        Ok(counted) => (counted, None),
        Err(error) => (before.clone(), Some(error)),
    };
    let Ended { sinks, rings, times, failed: _ } = ended;
    let narrowed = board.card.was_narrowed();
    let each = session.devices.iter().enumerate().zip(times).zip(held);
    let cards: Vec<Tally> = each
        .map(|((card, times), held)| Tally::new(card, &rings, times, &before, &counted, (held, narrowed)))
        .collect();
    let time = clock.wall_ns(clock.now());
    let totals: Vec<_> = cards.iter().enumerate().map(|(n, card)| card.totals(n, time)).collect();
    let written = Sink::finish_all(sinks, &totals);
    let report = Report::new(cards, written, elapsed, args.perf_test.clone(), threads);
    let in_card = InCard::of(&board.card, &report.cards);
    let report = Report { changes: rule.changes, in_card, ..report };
    if let Some(guard) = guard {
        guard.dismiss();
    }
    report.print(&output, file, &filter)?;
    session.warn_of_stale(&output);
    let machine = Machine::record(&context.roots, &clock);
    output.document(&output::document("capture", &session.devices, &machine, report.json(file, &filter)))?;
    match failed.or(gone).or(report::failure(&report.written, file)) {
        Some(error) => Err(session.blame(error)),
        None => {
            session.check(&output)?;
            // A test of the parts has no loss that may not be.
            let is_test = !args.perf_test.is_empty();
            let lost = if is_test || report::reader_left(&report.written) { 0 } else { report.lost() };
            session.stop.judge(args.loss.check(lost, report.came()))
        }
    }
}

/// Buffers that these queues use: in their rings, and held where they are merged.
fn in_memory(queues: &[RxQueue], merged: bool) -> usize {
    let held = if merged { merge::HELD * queues.len() * BATCH_MAX } else { 0 };
    queues.iter().map(RxQueue::buffers).sum::<usize>() + held
}

/// The NUMA node of the card that each of so many threads has its first queue of.
fn nodes(session: &Session, threads: usize) -> Vec<Option<u16>> {
    let cards = session.ports.iter().enumerate().flat_map(|(card, port)| port.rx.iter().map(move |_| card));
    let mut nodes: Vec<_> = cards.take(threads).map(|card| session.numa_node(card)).collect();
    nodes.resize(threads, None);
    nodes
}

/// The queues of all cards in turn, one after the other to each of the threads.
fn dealt(cards: Vec<Vec<RxQueue>>, threads: usize) -> Vec<Vec<(intake::Ring, RxQueue)>> {
    let mut hands: Vec<Vec<(intake::Ring, RxQueue)>> = (0..threads).map(|_| Vec::new()).collect();
    let all = cards.into_iter().enumerate().flat_map(|(card, queues)| {
        let ring = move |queue| intake::Ring { card, queue, ..intake::Ring::default() };
        queues.into_iter().enumerate().map(move |(queue, own)| (ring(queue), own))
    });
    all.enumerate().for_each(|(n, one)| hands[n % threads].push(one));
    hands
}

/// Mends a file that was torn and says what was done.
fn mend(path: &Path, context: &Context, output: &Output) -> anyhow::Result<Outcome> {
    if path == Path::new("-") {
        return Err(Error::new(Kind::Usage, "a stream cannot be mended; write it into a file first").into());
    }
    let stop = Stop::install()?;
    let mended = repair::repair(path, &|| stop.requested());
    if let (Err(_), Some(signal)) = (&mended, stop.signal()) {
        return Err(Interrupted(signal).into());
    }
    let Repaired { packets, cut: gone } = mended?;
    let shown = path.display();
    let what =
        if gone == 0 { "was whole".to_string() } else { format!("is whole again, {gone} bytes were cut off its end") };
    output.result(format_args!("{shown} {what}; {} packets are in it", output::grouped(packets)))?;
    let result = serde_json::json!({ "file": shown.to_string(), "packets": packets, "cut_bytes": gone });
    output.facts(&context.roots, "capture", result)?;
    Ok(Outcome::Done)
}

/// Bytes to keep of a packet.
fn snaplen(text: &str) -> Result<usize> {
    match units::size(text)? {
        0 => Ok(SNAPLEN),
        len => usize::try_from(len).ok().filter(|len| *len <= SNAPLEN).ok_or_else(|| {
            Error::new(
                Kind::Usage,
                format!("'{text}' is longer than any packet; keep 1 to {SNAPLEN} bytes, or 0 for all"),
            )
        }),
    }
}

/// Memory for the file's chunks.
fn buffer(text: &str) -> Result<u64> {
    let size = units::size(text)?;
    if (2 << 20..=16 << 30).contains(&size) {
        return Ok(size);
    }
    Err(Error::new(Kind::Usage, format!("a buffer of '{text}' is not possible; use 2M to 16G")))
}
