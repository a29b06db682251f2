//! Packets as lines of text, where no file is written.

use super::Args;
use super::about::About;
use crate::cli::environment::Taken;
use crate::error::{Error, Kind, Result};
use crate::packet::print::{Bytes, How, Packet, Printer};
use crate::pcap::write::Lines;

/// Arguments about the lines of packets.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Look {
    /// Print the bytes of each packet too, behind its Ethernet header
    #[arg(short = 'x', long)]
    hex: bool,
    /// The same, and as letters beside it
    #[arg(short = 'X', long, conflicts_with = "hex")]
    hex_text: bool,
    /// Print the Ethernet header of each packet too
    #[arg(short = 'e', long)]
    ethernet: bool,
}

impl Look {
    /// What is printed of each packet, with its details or without.
    fn how(self, details: bool) -> How {
        let text = self.hex_text.then_some(Bytes::HexAndText);
        How { details, link: self.ethernet, bytes: text.or(self.hex.then_some(Bytes::Hex)) }
    }
}

/// Packets a second of the default card's wire, where a person reads them.
pub const WIRE: &str = "source:rate=10";

impl Args {
    /// Refuses what is said of a file where packets are printed, and of lines where a file is
    /// written; not what a variable says.
    pub(super) fn check_printed(&self, taken: &Taken) -> Result<()> {
        let of_lines = [(self.look.hex, "hex"), (self.look.hex_text, "hex-text"), (self.look.ethernet, "ethernet")];
        let of_file = [(self.format.is_some(), "format"), (!self.capture_comment.is_empty(), "capture-comment")];
        let (options, why) = match self.printed {
            true => (&of_file[..], "is of a file, and packets are printed as none is named; name one, out.pcap"),
            false => {
                (&of_lines[..], "is of packets that are printed, and these go elsewhere; name no file, or leave it out")
            }
        };
        match options.iter().find(|(given, option)| *given && !taken.has(option)) {
            Some((_, option)) => Err(Error::new(Kind::Usage, format!("--{option} {why}"))),
            None => Ok(()),
        }
    }

    /// What makes lines of the packets of these cards, if they are printed.
    pub(super) fn lines(&self, about: &About) -> Option<Lines> {
        if !self.printed {
            return None;
        }
        let mut printer = Printer::new(self.look.how(self.details));
        let names: Vec<String> = about.section.interfaces.iter().map(|interface| interface.name.clone()).collect();
        Some(Box::new(move |taken, text| {
            let packet = Packet { time: taken.time, bytes: taken.bytes, wire_len: taken.wire_len };
            let name = names.get(taken.interface as usize).filter(|_| names.len() > 1);
            printer.print(text, &packet, name.map(String::as_str));
        }))
    }
}
