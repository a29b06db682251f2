//! What a capture file says of itself: its format, and what pcapng has before the packets.

use crate::cli::output::PROGRAM;
use crate::cli::session::Session;
use crate::driver::Description;
use crate::error::{Error, Kind, Result};
use crate::measure::{Clock, Machine};
use crate::packet::Filter;
use crate::pcap::record::Format;
use crate::pcap::section::{Interface, Section, fits};
use crate::sys::Roots;

/// What the file is, and what it says before the packets.
pub struct About {
    pub format: Format,
    pub section: Section,
}

/// The format of a file for so many cards and these comments, if `asked` is what was asked for,
/// and why it is another. `by_default` if that was only asked for where nothing speaks against it.
///
/// # Errors
/// [`Kind::Usage`] if the one that was asked for cannot hold them.
pub fn format(
    asked: Option<Format>,
    by_default: bool,
    cards: usize,
    comments: &[String],
) -> Result<(Format, Option<&'static str>)> {
    let why = match (cards, comments) {
        (2.., _) => "packets of several cards are told apart in no other",
        (_, [_, ..]) => "a comment has its place in no other",
        _ => return Ok((asked.unwrap_or_default(), None)),
    };
    match asked {
        Some(Format::Pcapng) => Ok((Format::Pcapng, None)),
        Some(Format::Pcap) if !by_default => {
            Err(Error::new(Kind::Usage, format!("the format is to be pcap, but {why} than pcapng; leave --format out")))
        }
        _ => Ok((Format::Pcapng, Some(why))),
    }
}

/// Refuses a filter that the file has no room to tell.
///
/// # Errors
/// [`Kind::Usage`] with how long it is.
pub fn check(format: Format, filter: &Filter) -> Result<()> {
    if format == Format::Pcapng { fits("a filter", &filter.to_string(), 1) } else { Ok(()) }
}

/// A comment that fits into a file.
pub fn comment(text: &str) -> Result<String> {
    fits("a comment", text, 0).map(|()| text.to_string())
}

impl About {
    /// A file of the cards of `session`, past `filter`.
    pub fn cards(format: Format, session: &Session, filter: &Filter, comments: &[String], roots: &Roots) -> Self {
        let mut about = About::new(format, Section::default(), comments, roots);
        let (filter, os) = (filter.to_string(), about.section.os.clone());
        let interface = |(device, &speed): (&Description, &u64)| Interface {
            name: device.device.clone(),
            description: Some(format!("{} {}, bmnic's driver {}", device.kind, device.model, device.driver)),
            mac: Some(device.mac),
            speed: Some(speed).filter(|speed| *speed > 0),
            filter: Some(filter.clone()).filter(|filter| !filter.is_empty()),
            os: os.clone(),
            hardware: Some(device.model.to_string()),
        };
        about.section.interfaces = session.devices.iter().zip(&session.speeds).map(interface).collect();
        about
    }

    /// A file of packets that come from `source`, past `filter`.
    pub fn source(format: Format, source: &str, filter: &Filter, comments: &[String], roots: &Roots) -> Self {
        let mut section = Section::of([source]);
        let filter = filter.to_string();
        section.interfaces[0].filter = Some(filter).filter(|filter| !filter.is_empty());
        About::new(format, section, comments, roots)
    }

    fn new(format: Format, section: Section, comments: &[String], roots: &Roots) -> Self {
        let Machine { cpu, kernel, .. } = Machine::record(roots, &Clock::new());
        let section = Section {
            comments: comments.to_vec(),
            hardware: cpu,
            os: kernel.map(|release| format!("Linux {release}")),
            application: Some(PROGRAM.to_string()),
            ..section
        };
        About { format, section }
    }

    /// What the packets come from, by the name of the first.
    pub fn name(&self) -> &str {
        self.section.interfaces.first().map_or("", |interface| &interface.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pcapng_is_taken_where_pcap_has_no_place_and_pcap_is_refused_if_it_was_asked_for() {
        let (pcap, pcapng) = (Some(Format::Pcap), Some(Format::Pcapng));
        let comment = ["why".to_string()];
        assert_eq!(format(None, false, 1, &[]).unwrap(), (Format::Pcap, None));
        assert_eq!(format(pcapng, false, 1, &[]).unwrap(), (Format::Pcapng, None));
        for (cards, comments) in [(2, &[][..]), (1, &comment)] {
            let (taken, why) = format(None, false, cards, comments).unwrap();
            assert!(taken == Format::Pcapng && why.is_some());
            assert_eq!(format(pcapng, false, cards, comments).unwrap(), (Format::Pcapng, None));
            // From the environment.
            assert_eq!(format(pcap, true, cards, comments).unwrap(), (taken, why));
            let refused = format(pcap, false, cards, comments).unwrap_err();
            assert!(refused.kind() == Kind::Usage && refused.to_string().ends_with("leave --format out"), "{refused}");
        }
    }
}
