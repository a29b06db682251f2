//! The control plane of an interface that the kernel keeps: asked, and not changed for longer
//! than the process lives.

use super::counters::{Counters, Counts};
use crate::dma::Timestamp;
use crate::driver::ops::{ClockReading, FlowRule, Link, NicOps, Said, Wanted};
use crate::driver::pluggable::Pluggable;
use crate::driver::stats::Stats;
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use crate::pci::{Function, Interface};
use crate::sys::packet::socket::Socket;
use crate::sys::realtime_ns;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Frames that the kernel had no room for since the queues were opened.
pub type Missed = Box<dyn FnMut() -> std::io::Result<u64> + Send>;

/// The control plane.
pub struct Ops {
    interface: Interface,
    /// That the interface's memberships end with.
    socket: Arc<Socket>,
    /// Those that the kernel can judge for.
    judged: Vec<Arc<Socket>>,
    promiscuous: bool,
    groups: Vec<MacAddr>,
    /// By receive queue, and by transmit queue.
    counters: [Vec<Arc<Counters>>; 2],
    missed: Missed,
    /// What the interface had dropped when it was opened.
    tx_dropped: u64,
    stamps: bool,
}

impl Ops {
    /// Of queues that count here, with a socket for memberships and those that the kernel can judge
    /// for; `missed` is what the kernel had no room for, and it stamps
    /// packets if it `stamps`.
    pub fn new(
        interface: &Interface,
        (socket, judged): (Arc<Socket>, Vec<Arc<Socket>>),
        counters: [Vec<Arc<Counters>>; 2],
        missed: Missed,
        stamps: bool,
    ) -> Result<Self> {
        let tx_dropped = interface.link()?.tx_dropped;
        let (promiscuous, groups) = (false, Vec::new());
        Ok(Ops {
            interface: interface.clone(),
            socket,
            judged,
            promiscuous,
            groups,
            counters,
            missed,
            tx_dropped,
            stamps,
        })
    }

    fn error(&self, kind: Kind, text: impl fmt::Display) -> Error {
        Error::new(kind, format!("{}: {text}", self.interface.name()))
    }

    fn failed(&self, doing: &str) -> impl FnOnce(std::io::Error) -> Error {
        let doing = format!("{}: {doing}", self.interface.name());
        move |e| Error::io(doing, e)
    }

    /// What the kernel has and does not share.
    fn kept(&self, what: &str) -> Error {
        self.error(
            Kind::Unsupported,
            format_args!("the kernel keeps this interface and its {what}; `ip` and `ethtool` change it"),
        )
    }
}

impl NicOps for Ops {
    fn link(&mut self) -> Result<Link> {
        let link = self.interface.link()?;
        let up = link.is_running();
        Ok(Link { up, speed: if up { self.interface.speed(&link) } else { 0 } })
    }

    fn set_promiscuous(&mut self, on: bool) -> Result<()> {
        if on != self.promiscuous {
            let set = self.socket.set_promiscuous(self.interface.index(), on);
            set.map_err(self.failed("receiving frames for other addresses"))?;
            self.promiscuous = on;
        }
        Ok(())
    }

    /// What it does not take is judged by the program alone.
    fn narrow(&mut self, wanted: &Wanted) -> Result<Wanted> {
        let expression = wanted.expression.clone().filter(|_| !self.judged.is_empty());
        let program = expression.as_ref().map(|expression| &expression.program[..]);
        let failed = self.failed("ending the kernel's filter");
        if self.judged.iter().all(|socket| socket.set_filter(program).is_ok()) {
            return Ok(Wanted { expression, ..Wanted::default() });
        }
        self.judged.iter().try_for_each(|socket| socket.set_filter(None)).map_err(failed)?;
        Ok(Wanted::default())
    }

    fn set_multicast(&mut self, groups: &[MacAddr]) -> Result<()> {
        let index = self.interface.index();
        let (gone, new): (Vec<_>, Vec<_>) = (
            self.groups.iter().filter(|group| !groups.contains(group)).copied().collect(),
            groups.iter().filter(|group| !self.groups.contains(group)).copied().collect(),
        );
        for (group, on) in
            gone.into_iter().map(|group| (group, false)).chain(new.into_iter().map(|group| (group, true)))
        {
            self.socket.set_group(index, group.0, on).map_err(self.failed("joining a multicast group"))?;
            match on {
                true => self.groups.push(group),
                false => self.groups.retain(|other| *other != group),
            }
        }
        Ok(())
    }

    fn set_mac(&mut self, _mac: MacAddr) -> Result<()> {
        Err(self.kept("address"))
    }

    fn set_rss_table(&mut self, _table: &[u16]) -> Result<()> {
        Err(self.kept("redirection table"))
    }

    fn steer(&mut self, _slot: usize, _rule: &FlowRule) -> Result<()> {
        Err(self.kept("flow filters"))
    }

    /// Frames and bytes are those that the queues took off the ring or gave to the kernel; of
    /// the latter the interface's own count of what it dropped is taken off, without what it
    /// refused and is sent again. Their bytes are reckoned by the mean length.
    fn stats(&mut self) -> Result<Stats> {
        let missed = (self.missed)();
        let missed = missed.map_err(self.failed("reading the kernel's counts"))?;
        let [received, sent] = &self.counters;
        let sum = |queues: &[Arc<Counters>]| queues.iter().fold(Counts::default(), |all, queue| all.and(&queue.read()));
        let (received, sent) = (sum(received), sum(sent));
        let dropped = self.interface.link()?.tx_dropped.saturating_sub(self.tx_dropped).saturating_sub(sent.refused);
        let dropped = dropped.min(sent.packets);
        let dropped_bytes = u128::from(sent.bytes) * u128::from(dropped) / u128::from(sent.packets.max(1));
        Ok(Stats {
            rx_packets: received.packets,
            rx_bytes: received.bytes,
            tx_packets: sent.packets - dropped,
            tx_bytes: sent.bytes - dropped_bytes as u64,
            rx_missed: Some(missed),
            rx_oversize: received.oversize,
            rx_unfinished: received.unfinished,
            ..Stats::default()
        })
    }

    fn nvm(&mut self) -> Result<Said<String>> {
        Ok(Said::Nothing("the kernel keeps the card".into()))
    }

    fn module(&mut self) -> Result<Said<Pluggable>> {
        Ok(Said::Nothing("the kernel keeps the card".into()))
    }

    fn clock(&mut self, other: &mut dyn FnMut() -> u64) -> Result<Option<ClockReading>> {
        if !self.stamps {
            return Ok(None);
        }
        let before = other();
        let time = Timestamp(Duration::from_nanos(realtime_ns()));
        Ok(Some(ClockReading { before, time, after: other(), step_ps: 1_000 }))
    }
}
