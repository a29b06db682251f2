//! The control plane of any card: what is asked of it is checked here, once,
//! and done by its family ([`NicOps`]).

use super::limits;
use super::ops::{ClockReading, Description, FlowRule, Link, NicOps, Said, Wanted};
use super::pluggable::Pluggable;
use super::stats::Stats;
use super::tally::Tally;
use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The control plane of a card. Dropping it stops the card: queues off, bus
/// mastering off, and only then is memory released.
pub struct Nic {
    description: Description,
    /// Receive queues that frames can be sent to.
    rx_queues: u16,
    /// Transmit queues.
    tx_queues: u16,
    /// The flows that were asked for, by slot of the filters.
    rules: Vec<FlowRule>,
    /// What the device did wrong, a queue each.
    tallies: Vec<Arc<Tally>>,
    ops: Box<dyn NicOps>,
}

impl Nic {
    /// Of a card with so many receive queues that flows can be spread over, and transmit queues,
    /// which count what goes wrong in `tallies`.
    pub(super) fn new(
        ops: Box<dyn NicOps>,
        description: Description,
        [rx_queues, tx_queues]: [u16; 2],
        tallies: Vec<Arc<Tally>>,
    ) -> Self {
        Nic { description, rx_queues, tx_queues, rules: Vec::new(), tallies, ops }
    }

    /// What it is.
    pub fn describe(&self) -> &Description {
        &self.description
    }

    /// State of the link now.
    pub fn link(&mut self) -> Result<Link> {
        self.ops.link()
    }

    /// Waits until the link is up, at most `patience`. What the card turns out to go
    /// without is then part of its description.
    pub fn wait_for_link(&mut self, patience: Duration) -> Result<Link> {
        let deadline = Instant::now() + patience;
        loop {
            let link = self.link()?;
            if link.up {
                self.description.lacks.extend(self.ops.lacks());
                return Ok(link);
            }
            if Instant::now() >= deadline {
                return Err(self.no_link(patience));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// The error for a link that did not come up in `patience`, with what the card says
    /// of it.
    pub fn no_link(&mut self, patience: Duration) -> Error {
        let said = self.ops.why_down().map_or(String::new(), |why| format!(" (its firmware says: {why})"));
        let seconds = patience.as_secs_f64();
        let ask = "is a cable or module plugged in, and is the far end up?";
        self.error(Kind::Timeout, format!("no link after {seconds:.1} s{said}; {ask}"))
    }

    /// Receive frames for any address, or only for those asked for.
    pub fn set_promiscuous(&mut self, on: bool) -> Result<()> {
        self.ops.set_promiscuous(on)
    }

    /// Receive no frames that are not `wanted`, as far as the card can leave them out; which
    /// parts of it hold from now on. Destinations and VLANs leave out no frame that is wanted,
    /// with any tag or none. Flows do: fragments, and what the card's parser does not take for
    /// a packet of one. To be called while all frames are received; what is wanted before and
    /// after is received throughout, and nothing wanted in particular has all received again.
    ///
    /// # Errors
    /// What telling the card meets.
    pub fn narrow(&mut self, wanted: &Wanted) -> Result<Wanted> {
        self.ops.narrow(wanted)
    }

    /// Receive these multicast groups, and no others.
    ///
    /// # Errors
    /// [`Kind::Usage`] for an address that is no group's, or more groups than
    /// the card has room for.
    pub fn set_multicast(&mut self, groups: &[MacAddr]) -> Result<()> {
        if let Some(wrong) = groups.iter().find(|group| !group.is_group()) {
            return Err(self.error(Kind::Usage, format!("{wrong} is no multicast address: the first byte is even")));
        }
        let mut groups = groups.to_vec();
        groups.sort_unstable();
        groups.dedup();
        self.ops.set_multicast(&groups)
    }

    /// Changes the card's own address until it is reset.
    ///
    /// # Errors
    /// [`Kind::Usage`] for one that names a group or nobody.
    pub fn set_mac(&mut self, mac: MacAddr) -> Result<()> {
        if !mac.is_unicast() {
            return Err(
                self.error(Kind::Usage, format!("{mac} cannot be a card's own address: it names a group or nobody"))
            );
        }
        self.ops.set_mac(mac)?;
        self.description.mac = mac;
        Ok(())
    }

    /// Changes the redirection table while running.
    ///
    /// # Errors
    /// [`Kind::Usage`] if it names a queue beyond the last.
    pub fn set_rss_table(&mut self, table: &[u16]) -> Result<()> {
        limits::check_table(&self.description.device, table, self.rx_queues)?;
        self.ops.set_rss_table(table)
    }

    /// Has the card itself send packets of a transmit queue no faster than this: bits a second
    /// of frames with FCS, without preambles and gaps. Each packet begins as much later than the
    /// last one as that one takes at the rate. `None` is as fast as the link. The rate is lost if
    /// the link comes up at another speed.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for a card that cannot; [`Kind::Usage`] for a queue beyond the last,
    /// or a rate that is not below that of the link or too far below it.
    pub fn set_tx_rate(&mut self, queue: u16, bits: Option<u64>) -> Result<()> {
        if queue >= self.tx_queues {
            let queues = self.tx_queues;
            let text = format!("queue {queue} cannot have a rate: there are {queues}, counted from 0");
            return Err(self.error(Kind::Usage, text));
        }
        if self.ops.set_tx_rate(queue, bits)? {
            return Ok(());
        }
        let driver = self.description.driver;
        let text =
            format!("the card has no rate for a transmit queue that the driver {driver} knows; let software pace");
        Err(self.error(Kind::Unsupported, text))
    }

    /// Steers a flow to a queue. A rule for the same flow is replaced.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a queue beyond the last, addresses of two families, or
    /// a rule that the card's filters have no room for.
    pub fn steer(&mut self, rule: &FlowRule) -> Result<()> {
        if rule.queue >= self.rx_queues {
            let (queue, queues) = (rule.queue, self.rx_queues);
            let text = format!("a flow cannot be steered to queue {queue}: there are {queues}, counted from 0");
            return Err(self.error(Kind::Usage, text));
        }
        if let (Some(IpAddr::V4(_)), Some(IpAddr::V6(_))) | (Some(IpAddr::V6(_)), Some(IpAddr::V4(_))) =
            (rule.source, rule.destination)
        {
            return Err(self.error(Kind::Usage, "a flow is of IPv4 or of IPv6, its addresses are of both"));
        }
        let same_flow = |other: &FlowRule| FlowRule { queue: rule.queue, ..*other } == *rule;
        let slot = self.rules.iter().position(same_flow).unwrap_or(self.rules.len());
        self.ops.steer(slot, rule)?;
        match self.rules.get_mut(slot) {
            Some(replaced) => *replaced = *rule,
            None => self.rules.push(*rule),
        }
        Ok(())
    }

    /// Counters since the port was opened, read from the card's own.
    pub fn stats(&mut self) -> Result<Stats> {
        let mut stats = self.ops.stats()?;
        for tally in &self.tallies {
            stats.anomalies.add(&tally.read());
        }
        Ok(stats)
    }

    /// What can be told of the memory that firmware and settings are in (NVM, EEPROM):
    /// whether it is whole, and its version. It takes up to seconds.
    ///
    /// # Errors
    /// [`Kind::Device`] if it is damaged, and what reading it meets.
    pub fn nvm(&mut self) -> Result<Said<String>> {
        self.ops.nvm()
    }

    /// The module in the card's cage. That there is none, that it cannot be read, or that
    /// there is no cage is nothing, with a reason.
    ///
    /// # Errors
    /// [`Kind::Device`] if what it says of itself has a wrong checksum, and what reading it
    /// meets but that.
    pub fn module(&mut self) -> Result<Said<Pluggable>> {
        self.ops.module()
    }

    /// Reads the clock that stamps received packets; `None` if none does.
    /// `other` is read right before the card is asked for its time and right after.
    pub fn clock(&mut self, other: &mut dyn FnMut() -> u64) -> Result<Option<ClockReading>> {
        self.ops.clock(other)
    }

    fn error(&self, kind: Kind, text: impl fmt::Display) -> Error {
        Error::new(kind, format!("{}: {text}", self.description.device))
    }
}
