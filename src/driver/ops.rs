//! What a family implements: its part of [`Nic`](super::nic::Nic).

use super::pluggable::Pluggable;
use super::stats::Stats;
use crate::dma::{L4, Timestamp};
use crate::error::{Error, Kind, Remedy, Result};
use crate::net::MacAddr;
use crate::pci::{self, Function};
use crate::sys::packet::Instruction;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// State of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether frames can pass.
    pub up: bool,
    /// Speed in bits a second; 0 while down, or where the card does not know.
    pub speed: u64,
}

/// A flow to steer to a queue: a field that is `None` matches anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRule {
    /// Source address.
    pub source: Option<IpAddr>,
    /// Destination address, a multicast group for one.
    pub destination: Option<IpAddr>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// Transport.
    pub protocol: L4,
    /// Queue to receive it on.
    pub queue: u16,
}

/// What is wanted of all frames that come; a part that is `None` wants any, and all parts
/// hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Destination addresses.
    pub destinations: Option<Vec<MacAddr>>,
    /// VLANs of the outermost tag, of those frames that have one.
    pub vlans: Option<Vec<u16>>,
    /// Flows, whatever their queues.
    pub flows: Option<Vec<FlowRule>>,
    /// Frames that pass a whole expression, where the kernel judges them.
    pub expression: Option<Arc<Expression>>,
}

/// An expression, and its program in classic BPF, which returns 0 for a frame that it does not
/// want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// As it was written.
    pub text: String,
    /// What judges a whole frame.
    pub program: Vec<Instruction>,
}

impl Wanted {
    /// Whether anything is.
    pub fn is_anything(&self) -> bool {
        *self == Wanted::default()
    }
}

/// Where receive timestamps come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampSource {
    /// The card stamps each packet as it arrives.
    Hardware,
    /// The kernel stamps each packet as it takes it over from its driver.
    Kernel,
    /// The processor's counter when the batch was taken off the ring; one stamp a batch.
    Tsc,
}

impl fmt::Display for TimestampSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimestampSource::Hardware => "hw",
            TimestampSource::Kernel => "kernel",
            TimestampSource::Tsc => "tsc",
        })
    }
}

/// The time on a card's clock, between two readings of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The other clock, right before.
    pub before: u64,
    /// The card's time.
    pub time: Timestamp,
    /// The other clock, right after.
    pub after: u64,
    /// Step of the card's clock, in picoseconds.
    pub step_ps: u32,
}

/// What a card says, where it may have nothing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said<T> {
    /// Nothing: why, in a few words.
    Nothing(String),
    /// This.
    This(T),
}

/// What a card is.
#[derive(Clone, Debug)]
pub struct Description {
    /// Name the user gave.
    pub device: String,
    /// Model, as in "Intel 82599ES".
    pub model: &'static str,
    /// Driver family, as in "ixgbe".
    pub driver: &'static str,
    /// What stands behind it.
    pub kind: pci::Kind,
    /// Ethernet address.
    pub mac: MacAddr,
    /// Where receive timestamps come from as configured.
    pub timestamps: TimestampSource,
    /// Version of its firmware as far as the firmware tells it, where the driver has asked.
    pub firmware: Option<String>,
    /// Most receive queues it can have.
    pub max_rx_queues: u16,
    /// Most transmit queues it can have.
    pub max_tx_queues: u16,
    /// Bytes of the longest frame that the network behind it takes, without FCS and tags,
    /// where the device says so: what is longer is not sent.
    pub longest_sent: Option<u16>,
    /// Descriptors of its receive rings and of its transmit rings, where the device has set
    /// them: [`Config`](super::Config) has asked for others, or might as well have.
    pub own_rings: Option<[u16; 2]>,
    /// The same where they are shorter than [`Config`](super::Config) has asked for, as the
    /// device can have no longer ones.
    pub short_rings: Option<[u16; 2]>,
    /// Its count of received frames is taken before its filters, so that those are among them
    /// which [`Nic::narrow`](super::Nic::narrow) leaves out.
    pub counts_before_filters: bool,
    /// What was asked for and cannot be had, a few words each, where the rest can be done
    /// without it.
    pub lacks: Vec<String>,
}

/// For [`Description::lacks`]: frames for other addresses.
pub const NOT_PROMISCUOUS: &str = "it may receive no frames for other addresses than its own and those of groups";

impl Description {
    /// Of a card of which nothing more is known yet: no address, stamps by the
    /// processor, one queue of each kind.
    pub fn new(function: &dyn Function, driver: &'static str, model: &'static str) -> Self {
        Description {
            device: function.name().to_owned(),
            model,
            driver,
            kind: function.kind(),
            mac: MacAddr::default(),
            timestamps: TimestampSource::Tsc,
            firmware: None,
            max_rx_queues: 1,
            max_tx_queues: 1,
            longest_sent: None,
            own_rings: None,
            short_rings: None,
            counts_before_filters: false,
            lacks: Vec::new(),
        }
    }
}

/// What each family does in its own way. What is asked of it was checked:
/// see [`Nic`](super::nic::Nic), whose methods these are. Dropping it stops the
/// card: queues off, bus mastering off, and only then is memory released.
pub trait NicOps: Send {
    /// State of the link now.
    fn link(&mut self) -> Result<Link>;

    /// What the card says of a link that does not come up, to go into a line.
    fn why_down(&mut self) -> Option<String> {
        None
    }

    /// What the card turned out to go without since this was last asked: more for
    /// [`Description::lacks`].
    fn lacks(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Receive frames for any address, or only for those asked for.
    fn set_promiscuous(&mut self, on: bool) -> Result<()>;

    /// As [`Nic::narrow`](super::nic::Nic::narrow).
    fn narrow(&mut self, _wanted: &Wanted) -> Result<Wanted> {
        Ok(Wanted::default())
    }

    /// Receive these multicast groups, each named once, and no others.
    fn set_multicast(&mut self, groups: &[MacAddr]) -> Result<()>;

    /// Changes the card's own address to `mac`, which is a unicast address.
    fn set_mac(&mut self, mac: MacAddr) -> Result<()>;

    /// Changes the redirection table; all queues that it names are there.
    fn set_rss_table(&mut self, table: &[u16]) -> Result<()>;

    /// Puts `rule` into slot `slot` of the flow filters: that of a rule for the
    /// same flow, or the first that is free. Its queue is there.
    fn steer(&mut self, slot: usize, rule: &FlowRule) -> Result<()>;

    /// As [`Nic::set_tx_rate`](super::nic::Nic::set_tx_rate); the queue is there. Whether it can
    /// be done.
    fn set_tx_rate(&mut self, _queue: u16, _bits: Option<u64>) -> Result<bool> {
        Ok(false)
    }

    /// Counters since the port was opened, but for the anomalies.
    fn stats(&mut self) -> Result<Stats>;

    /// As [`Nic::nvm`](super::nic::Nic::nvm).
    fn nvm(&mut self) -> Result<Said<String>>;

    /// As [`Nic::module`](super::nic::Nic::module).
    fn module(&mut self) -> Result<Said<Pluggable>>;

    /// As [`Nic::clock`](super::nic::Nic::clock).
    fn clock(&mut self, _other: &mut dyn FnMut() -> u64) -> Result<Option<ClockReading>> {
        Ok(None)
    }
}

/// What a family has opened: queues of its own types, as `R` and `T`, which are
/// made of them.
pub struct Opened<R, T> {
    /// Receive queues, in order.
    pub rx: Vec<R>,
    /// Transmit queues, in order.
    pub tx: Vec<T>,
    /// What the card is.
    pub description: Description,
    /// Its control plane.
    pub ops: Box<dyn NicOps>,
}

impl FlowRule {
    /// Source and destination, for a card whose filters compare nothing but IPv4.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if one is of IPv6.
    pub fn ipv4(&self, device: impl fmt::Display) -> Result<[Option<Ipv4Addr>; 2]> {
        let ipv4 = |address| match address {
            Some(IpAddr::V6(address)) => Err(Error::new(
                Kind::Unsupported,
                format!("{device}: its flow filters are for IPv4 only, not for {address}"),
            )),
            Some(IpAddr::V4(address)) => Ok(Some(address)),
            None => Ok(None),
        };
        Ok([ipv4(self.source)?, ipv4(self.destination)?])
    }
}

/// The error for a card that no family knows.
pub fn no_driver(function: &dyn Function) -> Error {
    let (name, id) = (function.name(), function.id());
    let text = format!("{name}: no driver for PCI id {:04x}:{:04x}", id.vendor, id.device);
    Error::new(Kind::Unsupported, text).with_remedy(Remedy::ListCards)
}
