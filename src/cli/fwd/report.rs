//! What `bmnic fwd` prints: live lines, the table at the end, the document.

use super::direction::Direction;
use super::lane::{Counts, Lane, Waits};
use super::mode::Mode;
use super::threads::Ended;
use crate::cli::Context;
use crate::cli::account::{self, DEVICE_ERRORS, Losses, UNACCOUNTED};
use crate::cli::crossing::Crossing;
use crate::cli::output::{self, Output};
use crate::cli::session::Session;
use crate::driver::{Anomalies, Nic, Stats};
use crate::emu::wire::Note;
use crate::error::Result;
use crate::measure::{Clock, Machine};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A direction: from which port to which, and what has passed.
pub struct Way {
    /// Index of the port it comes in by.
    pub from: usize,
    /// Index of the port it leaves by.
    pub to: usize,
    /// Receive queue.
    pub queue: usize,
    /// Thread that passes it on.
    pub thread: usize,
    /// Packets that its ring holds, at most.
    pub holds: u64,
    /// What the lane did.
    pub counts: Arc<Counts>,
}

/// Counters of a run, sampled.
pub struct Report {
    ways: Vec<Way>,
    mode: Mode,
    /// `A emu:82599`: two ports may have the same name. The options of an emulated one are
    /// told once, when it is opened.
    devices: Vec<String>,
    /// Which of them have rings of their own.
    own_rings: Vec<bool>,
    started: Instant,
    /// From the program's start to that of the lanes.
    setup: Duration,
    anomalies: Anomalies,
    threads: Vec<Ended>,
    /// What was lost, and what the wires had done, before the rings took packets.
    earlier: Vec<Stats>,
    notes: Vec<Vec<Note>>,
    last: Sample,
    before: Sample,
    /// Whether the last counters are older than what the lanes did, as a card is gone.
    stale: bool,
    /// What crosses PCIe for a packet of each port, if that was asked for and can be had.
    pub crossings: Vec<Option<Crossing>>,
    /// Whether lanes were asked to impair.
    pub impaired: bool,
}

/// The counters of all ports at a moment.
#[derive(Clone, Debug, Default)]
struct Sample {
    at: Duration,
    stats: Vec<Stats>,
}

impl Report {
    /// A run that starts at `started`, `setup` after the program.
    pub fn new(
        session: &Session,
        nics: &mut [Nic],
        ways: Vec<Way>,
        mode: Mode,
        started: Instant,
        setup: Duration,
    ) -> Result<Self> {
        let name = |name: &str| name.split(',').next().unwrap_or_default().to_string();
        let devices = session.devices.iter().map(|device| name(&device.device)).enumerate();
        let devices = devices.map(|(i, name)| format!("{} {name}", letter(i))).collect();
        let own_rings = session.devices.iter().map(|device| device.own_rings.is_some()).collect();
        let anomalies = Anomalies::default();
        let none = Sample::default();
        // No packet was received before the rings were filled, but some were lost.
        let lost = |stats: Stats| Stats {
            rx_missed: stats.rx_missed,
            rx_overflow: stats.rx_overflow,
            rx_errors: stats.rx_errors,
            rx_oversize: stats.rx_oversize,
            ..Stats::default()
        };
        let earlier = read(session, nics)?.into_iter().map(lost).collect();
        let notes = session.notes_by_port();
        let (last, before) = (none.clone(), none);
        Ok(Report {
            ways,
            mode,
            devices,
            own_rings,
            started,
            setup,
            anomalies,
            threads: Vec::new(),
            earlier,
            notes,
            last,
            before,
            stale: false,
            crossings: Vec::new(),
            impaired: false,
        })
    }

    /// Reads the counters of all ports.
    pub fn sample(&mut self, session: &Session, nics: &mut [Nic]) -> Result<()> {
        let now = read(session, nics)?;
        let stats = now.iter().zip(&self.earlier).map(|(now, earlier)| now.since(earlier)).collect();
        let now = Sample { at: self.started.elapsed(), stats };
        self.before = std::mem::replace(&mut self.last, now);
        self.stale = session.is_stale();
        Ok(())
    }

    /// Reads the counters for the last time; those of a card may be a moment
    /// behind what it has sent.
    pub fn close(&mut self, session: &Session, nics: &mut [Nic]) -> Result<()> {
        let patience = Instant::now() + Duration::from_millis(100);
        self.sample(session, nics)?;
        while self.unsent() > 0 && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
            self.sample(session, nics)?;
        }
        let now = session.notes_by_port().into_iter().zip(&self.notes);
        self.notes = now.map(|(now, before)| account::notes_since(now, before)).collect();
        Ok(())
    }

    /// Packets that were given to a card and that it has not sent. Not known of one that is
    /// gone.
    fn unsent(&self) -> u64 {
        if self.stale {
            return 0;
        }
        let unsent = |(to, stats): (usize, &Stats)| {
            let given: u64 = self.directions().filter(|way| way.to == to).map(|way| way.frames).sum();
            given.saturating_sub(stats.tx_packets)
        };
        self.last.stats.iter().enumerate().map(unsent).sum()
    }

    /// What was to be forwarded and came off no ring, by cause.
    fn lost_arriving(&self) -> Losses {
        let mut losses = Losses::default();
        for way in self.directions() {
            let Some(stats) = self.last.stats.get(way.from) else { continue };
            losses.add_arriving(&self.notes[way.from]);
            losses.add_port(&Stats { anomalies: Anomalies::default(), ..*stats }, self.own_rings[way.from]);
            let elsewhere = self.left_over(way.from, stats).saturating_sub(way.surplus);
            let rings = self.ways.iter().filter(|other| other.from == way.from).map(|other| other.holds).sum();
            losses.add("unaccounted", UNACCOUNTED, elsewhere.saturating_sub(rings));
        }
        losses.add("device_errors", DEVICE_ERRORS, self.anomalies.total());
        losses
    }

    /// What was lost in all, by cause: also what left a card and reached nobody.
    pub fn losses(&self) -> Losses {
        let mut losses = self.lost_arriving();
        if !self.stale {
            losses.add("unsent", "given to the card and not sent: does the far end pause it?", self.unsent());
        }
        for way in self.directions() {
            losses.add_departing(&self.notes[way.to]);
        }
        losses
    }

    /// Packets that came, or should have.
    pub fn came(&self) -> u64 {
        self.directions().map(|way| way.received() + way.made).sum::<u64>() + self.lost_arriving().total()
    }

    fn joined_notes(&self) -> Vec<Note> {
        account::joined(self.notes.iter().flatten().cloned())
    }

    /// Adds the next thread, whose lanes have ended: where it ran, what processor time it had,
    /// and what their devices did wrong.
    pub fn finish_thread(&mut self, lanes: &[Lane], place: Option<usize>, had: Duration, waits: Option<Waits>) {
        self.threads.push(Ended { place, had, waits });
        for lane in lanes {
            self.anomalies.add(&lane.anomalies());
        }
    }

    /// A line for each port about the time between the last two samples.
    pub fn lines(&self) -> Vec<String> {
        let seconds = (self.last.at.saturating_sub(self.before.at)).as_secs_f64();
        let width = self.devices.iter().map(String::len).max().unwrap_or(0);
        let line = |(i, device): (usize, &String)| {
            let now = self.last.stats.get(i).copied().unwrap_or_default();
            let then = self.before.stats.get(i).copied().unwrap_or_default();
            let [rx, tx] = Flow::both(&then, &now);
            let lost = now.rx_lost().saturating_sub(then.rx_lost());
            format!(
                "{device:width$}  rx {:>6.3} Mpps {:>6.3} Gbit/s  tx {:>6.3} Mpps {:>6.3} Gbit/s  dropped {}",
                rx.mpps(seconds),
                rx.gbits(seconds),
                tx.mpps(seconds),
                tx.gbits(seconds),
                output::grouped(lost),
            )
        };
        self.devices.iter().enumerate().map(line).collect()
    }

    /// The same for a line of `--json-lines`, with the counters since the run began.
    pub fn figures(&self) -> Value {
        let seconds = (self.last.at.saturating_sub(self.before.at)).as_secs_f64();
        let port = |(i, now): (usize, &Stats)| {
            let then = self.before.stats.get(i).copied().unwrap_or_default();
            let mut port = rates(i, Flow::both(&then, now), seconds);
            port.insert("dropped".into(), now.rx_lost().saturating_sub(then.rx_lost()).into());
            port.insert("counters".into(), output::stats(now));
            Value::Object(port)
        };
        let ports: Vec<Value> = self.last.stats.iter().enumerate().map(port).collect();
        json!({ "elapsed_ns": output::ns(self.last.at), "ports": ports })
    }

    /// The summary; how lanes waited is in it if that was `asked` for, or with `-v`.
    pub fn print(&self, context: &Context, output: &Output, session: &Session, asked: bool) -> anyhow::Result<()> {
        if output.is_json() {
            let machine = Machine::record(&context.roots, &Clock::new());
            let document = output::document("fwd", &session.devices, &machine, self.json());
            return Ok(output.document(&document)?);
        }
        let seconds = self.last.at.as_secs_f64();
        let header = ["port", "", "packets", "Mpps", "Gbit/s", "no buffer", "bad frame", "too long", "left over"];
        let mut table = output::table(&header, 2);
        for (i, (device, stats)) in self.devices.iter().zip(&self.last.stats).enumerate() {
            for (name, packets, bytes) in
                [("rx", stats.rx_packets, stats.rx_bytes), ("tx", stats.tx_packets, stats.tx_bytes)]
            {
                let flow = Flow { packets, bytes };
                let mut row = vec![
                    device.clone(),
                    name.to_string(),
                    output::grouped(packets),
                    format!("{:.3}", flow.mpps(seconds)),
                    format!("{:.3}", flow.gbits(seconds)),
                ];
                if name == "rx" {
                    // Not all devices count what found no buffer.
                    row.push(stats.rx_missed.map_or("-".into(), |missed| output::grouped(missed + stats.rx_overflow)));
                    let causes = [stats.rx_errors, stats.rx_oversize, self.left_over(i, stats)];
                    row.extend(causes.map(output::grouped));
                }
                table.add_row(row);
            }
        }
        output.table(&table)?;
        for way in self.directions() {
            way.lines(self.mode, self.impaired).iter().try_for_each(|line| output.result(line))?;
        }
        if self.threads.len() > 1 || self.ways.iter().any(|way| way.queue > 0) {
            for (n, thread) in self.threads.iter().enumerate() {
                output.result(thread.line(n, &self.ways, self.mode))?;
            }
        }
        for (n, thread) in self.threads.iter().enumerate() {
            if let Some(line) = thread.waits_line(n) {
                if asked { output.result(line)? } else { output.detail(line)? }
            }
        }
        for (device, crossing) in self.devices.iter().zip(&self.crossings) {
            if let Some(crossing) = crossing {
                output.result(format_args!("{device}: {crossing}"))?;
            }
        }
        let losses = self.losses();
        if losses.total() > 0 {
            losses.print(output)?;
        }
        account::print_meant(&self.joined_notes(), output)?;
        if self.stuck() > 0 {
            output.warn(format_args!(
                "{} packets are still in the cards' rings: given and never reported as sent",
                self.stuck()
            ));
        }
        let odd = self.anomalies.total();
        if odd > 0 {
            output.warn(format_args!(
                "{odd} times a card wrote what it must not, dropped and survived: {:?}",
                self.anomalies
            ));
        }
        if let Some(first) = self.first() {
            let ms = first.as_secs_f64() * 1e3;
            output.detail(format_args!("first packet {ms:.2} ms after the program's start"))?;
        }
        let what = if session.is_emulated() { "emulated: what driver and model do, no wire; " } else { "" };
        output.info(format_args!("{seconds:.2} s; {what}Gbit/s with preamble, FCS and gap"))?;
        Ok(())
    }

    fn json(&self) -> Value {
        let seconds = self.last.at.as_secs_f64();
        let ports: Vec<Value> = self
            .last
            .stats
            .iter()
            .enumerate()
            .map(|(i, stats)| {
                let crossing = self.crossings.get(i).copied().flatten().map(|crossing| crossing.json());
                let mut port = rates(i, Flow::both(&Stats::default(), stats), seconds);
                port.insert("left_over".into(), self.left_over(i, stats).into());
                port.insert("crossings_a_packet".into(), crossing.into());
                port.insert("counters".into(), output::stats(stats));
                Value::Object(port)
            })
            .collect();
        let directions: Vec<Value> = self.directions().map(|way| way.json(self.impaired)).collect();
        let threads: Vec<Value> = self.threads.iter().enumerate().map(|(n, t)| t.json(n, &self.ways)).collect();
        json!({
            "elapsed_ns": output::ns(self.last.at),
            "first_packet_ns": self.first().map(output::ns),
            "ports": ports,
            "directions": directions,
            "threads": threads,
            "anomalies": self.anomalies.total(),
            "still_in_rings": self.stuck(),
            "lost": self.losses().json(),
            "wire": account::notes_json(&self.joined_notes()),
        })
    }

    /// What passed from each port to each other, over all queues.
    fn directions(&self) -> impl Iterator<Item = Direction> {
        (0..self.devices.len()).filter_map(|from| Direction::of(from, &self.ways))
    }

    /// Packets that cards have not reported as sent.
    pub fn stuck(&self) -> u64 {
        self.ways.iter().map(|way| way.counts.stuck.load(Ordering::Relaxed)).sum()
    }

    /// Frames that port `i` had put into memory when the run ended, and that
    /// were not passed on any more.
    fn left_over(&self, i: usize, stats: &Stats) -> u64 {
        let passed = self.directions().find(|way| way.from == i).map_or(0, |way| way.received());
        let odd = self.anomalies.total();
        stats.rx_packets.saturating_sub(passed).saturating_sub(odd)
    }

    /// From the program's start to the first packet.
    fn first(&self) -> Option<Duration> {
        let first = |way: &Way| way.counts.first.load(Ordering::Relaxed).checked_sub(1);
        self.ways.iter().filter_map(first).min().map(|ns| self.setup + Duration::from_nanos(ns))
    }
}

/// What the command line calls port `i`.
pub fn letter(i: usize) -> char {
    char::from_u32('A' as u32 + i as u32).unwrap_or('?')
}

/// The rates of port `i`, for a document.
fn rates(i: usize, [rx, tx]: [Flow; 2], seconds: f64) -> Map<String, Value> {
    Map::from_iter([
        ("port".into(), letter(i).to_string().into()),
        ("rx_pps".into(), (rx.mpps(seconds) * 1e6).into()),
        ("rx_l1_bits_per_second".into(), (rx.gbits(seconds) * 1e9).into()),
        ("tx_pps".into(), (tx.mpps(seconds) * 1e6).into()),
        ("tx_l1_bits_per_second".into(), (tx.gbits(seconds) * 1e9).into()),
    ])
}

/// The counters of all ports.
fn read(session: &Session, nics: &mut [Nic]) -> Result<Vec<Stats>> {
    nics.iter_mut().enumerate().map(|(i, nic)| session.stats(i, nic)).collect()
}

/// Packets and bytes (without FCS) over some time.
struct Flow {
    packets: u64,
    bytes: u64,
}

impl Flow {
    /// What was received and what was sent from one moment to another.
    fn both(then: &Stats, now: &Stats) -> [Flow; 2] {
        [
            Flow::between(then.rx_packets, now.rx_packets, then.rx_bytes, now.rx_bytes),
            Flow::between(then.tx_packets, now.tx_packets, then.tx_bytes, now.tx_bytes),
        ]
    }

    fn between(packets_then: u64, packets: u64, bytes_then: u64, bytes: u64) -> Self {
        Flow { packets: packets.saturating_sub(packets_then), bytes: bytes.saturating_sub(bytes_then) }
    }

    fn mpps(&self, seconds: f64) -> f64 {
        per_second(self.packets as f64, seconds) / 1e6
    }

    /// With what a frame has around it on the wire: FCS, preamble and gap.
    fn gbits(&self, seconds: f64) -> f64 {
        per_second(8.0 * (self.bytes as f64 + 24.0 * self.packets as f64), seconds) / 1e9
    }
}

fn per_second(amount: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { amount / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_rate_of_the_smallest_frames_is_ten_gigabits() {
        let flow = Flow { packets: 14_880_952, bytes: 14_880_952 * 60 };
        assert!((flow.mpps(1.0) - 14.880_952).abs() < 1e-9);
        assert!((flow.gbits(1.0) - 10.0).abs() < 1e-5);
        assert_eq!(flow.mpps(0.0), 0.0, "nothing can be said of no time");
    }

    #[test]
    fn a_counter_that_was_reset_makes_no_huge_rate() {
        let flow = Flow::between(100, 5, 6000, 300);
        assert_eq!((flow.packets, flow.bytes), (0, 0));
    }
}
