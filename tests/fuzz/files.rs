//! What is read: files, filters, and the words of the command line.

use super::{Plain, Target};
use bmnic::emu::Spec;
use bmnic::packet::Filter;
use bmnic::pcap::decode::LONGEST;
use bmnic::pcap::read::Recording;

pub fn targets() -> impl Iterator<Item = Target> {
    let targets: [(&str, Plain); 3] = [("pcap", recording), ("filter", filter), ("spec", spec)];
    #[cfg(feature = "cli")]
    let targets = targets.into_iter().chain([("command-line", command_line as Plain)]);
    targets.into_iter().map(|(name, body)| Target::of(name, body))
}

/// A capture file of either format, packed or not.
fn recording(data: &[u8]) {
    let Ok(recording) = Recording::parse(data.to_vec(), "fuzzed") else { return };
    let packets = recording.packets();
    assert_eq!(packets.len(), recording.len());
    for packet in packets {
        assert!(packet.bytes.len() <= LONGEST);
    }
}

/// A filter, and a frame behind a zero.
fn filter(data: &[u8]) {
    let (text, frame) = data.split_at(data.iter().position(|byte| *byte == 0).unwrap_or(data.len()));
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(filter) = Filter::parse(text) else { return };
    let whole = filter.matches(frame, frame.len());
    let parts: Vec<&[u8]> = frame.chunks(13).collect();
    assert_eq!(whole, filter.matches_parts(&parts, frame.len()), "{text}");
    assert!(!filter.listing().is_empty());
}

/// An emulated card as text: what is printed reads back as the same.
fn spec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(spec) = text.parse::<Spec>() else { return };
    assert_eq!(spec.to_string().parse::<Spec>().as_ref().ok(), Some(&spec), "{spec}");
}

/// Words that are parted by line ends.
#[cfg(feature = "cli")]
fn command_line(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = <bmnic::cli::Cli as clap::Parser>::try_parse_from(std::iter::once("bmnic").chain(text.lines()));
}
