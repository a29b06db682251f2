//! Modes of `bmnic fwd`, by testpmd's names: what each does to frames, and to which.

use super::extras::Part;
use super::rewrite::Rewrite;
use crate::cli::session::Session;
use crate::error::Result;
use crate::net::MacAddr;
use crate::packet::build::{Builder, Recipe};
use crate::packet::values::Macs;

/// What is done to frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Nothing
    Io,
    /// Set both addresses: from the port, to its peer
    Mac,
    /// Swap source and destination address
    Macswap,
    /// Swap source and destination: MAC and IP addresses, ports of UDP and TCP
    #[value(name = "5tswap")]
    FiveTupleSwap,
    /// Have the card fill in the checksums of IPv4, TCP and UDP, whatever they were
    Csum,
    /// Count what comes, and let it go
    Rxonly,
    /// Send UDP datagrams of 64 bytes as fast as the port takes them, and let go of what comes
    Txonly,
    /// Answer ARP requests, for any address, and echo requests; let all else go
    Icmpecho,
}

impl Mode {
    /// Whether what comes by a port leaves by another.
    pub fn pairs(self) -> bool {
        !matches!(self, Mode::Rxonly | Mode::Txonly | Mode::Icmpecho)
    }

    /// Wire of the default cards: line rate, and no faster than it is forwarded.
    pub fn default_wire(self) -> &'static str {
        if self == Mode::Txonly { "sink" } else { "source:pause=on" }
    }

    /// What became of the frames that are counted, in a word.
    pub fn done(self) -> &'static str {
        match self {
            Mode::Rxonly => "received",
            Mode::Txonly => "sent",
            Mode::Icmpecho => "answered",
            _ => "forwarded",
        }
    }

    /// Which frames the mode lets go, in words that follow a count of frames.
    pub fn lets_go(self) -> &'static str {
        match self {
            Mode::Icmpecho => "that ask for nothing let go",
            _ => "that came let go",
        }
    }

    /// What is done to frames that leave by port `to`.
    pub fn rewrite(self, to: usize, session: &Session, peers: &[MacAddr]) -> Rewrite {
        match self {
            Mode::Io | Mode::Rxonly | Mode::Txonly | Mode::Icmpecho => Rewrite::Nothing,
            Mode::Macswap => Rewrite::SwapMacs,
            Mode::FiveTupleSwap => Rewrite::SwapFlow,
            Mode::Csum => Rewrite::Checksums,
            Mode::Mac => Rewrite::SetMacs { source: session.devices[to].mac, destination: peer(to, peers) },
        }
    }

    /// What becomes of frames, for a lane that sends by port `to`.
    ///
    /// # Errors
    /// What making frames needs.
    pub fn part(self, to: usize, session: &Session, peers: &[MacAddr]) -> Result<Part> {
        let mac = session.devices[to].mac;
        Ok(match self {
            Mode::Rxonly => Part::LetGo,
            Mode::Icmpecho => Part::Answer(mac),
            Mode::Txonly => {
                let (source_mac, destination_mac) = (Macs::one(mac), Macs::one(peer(to, peers)));
                Part::Make(Box::new(Builder::new(&Recipe { source_mac, destination_mac, ..Recipe::default() })?))
            }
            _ => Part::Pass,
        })
    }
}

/// Who is behind port `to`: as testpmd has it, 02:00:00:00:00:00 is behind the first.
fn peer(to: usize, peers: &[MacAddr]) -> MacAddr {
    peers.get(to).copied().unwrap_or(MacAddr([2, 0, 0, 0, 0, to as u8]))
}
