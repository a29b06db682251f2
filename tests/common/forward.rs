//! Runs of `bmnic fwd`, and what all of them keep to.

#![allow(dead_code)] // each test program uses a part

use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A command of bmnic with none of its variables set but strictness.
pub fn bmnic(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmnic"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BMNIC_")) {
        command.env_remove(name);
    }
    command.env("BMNIC_STRICT", "true").args(words).stdin(Stdio::null());
    command
}

/// Runs it to its end, which must be a good one; its JSON document. Sources send
/// more than two busy cores may forward: what is lost must be named.
pub fn run(words: &[&str]) -> Value {
    let output = bmnic(words).args(["--json", "--allow-loss", "100%"]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    super::schema::document(&output.stdout)
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a count"))
}

/// Every frame is somewhere: sent by the far port, or left over, or lost by name.
pub fn adds_up(document: &Value) {
    assert_eq!(number(&document["lost"]["unaccounted"]), 0, "{document:#}");
    assert_eq!(number(&document["lost"]["unsent"]), 0, "{document:#}");
    let mut all = 0;
    for direction in document["directions"].as_array().unwrap() {
        let port = |letter: &Value| {
            let ports = document["ports"].as_array().unwrap();
            ports.iter().find(|port| port["port"] == *letter).unwrap()
        };
        let frames = number(&direction["frames"]);
        let (from, to) = (port(&direction["from"]), port(&direction["to"]));
        assert_eq!(number(&from["counters"]["rx_packets"]), frames + number(&from["left_over"]), "{document:#}");
        assert_eq!(number(&to["counters"]["tx_packets"]), frames, "{document:#}");
        all += frames;
    }
    assert!(all > 0, "{document:#}");
}

/// The frames of a capture file.
pub fn frames(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::new(File::open(path).unwrap()).unwrap();
    std::iter::from_fn(|| reader.next_packet().map(|packet| packet.unwrap().data.into_owned())).collect()
}

/// Writes frames, a microsecond apart.
pub fn write(path: &Path, frames: &[Vec<u8>]) {
    let mut writer = PcapWriter::new(File::create(path).unwrap()).unwrap();
    for (n, frame) in frames.iter().enumerate() {
        let packet = PcapPacket::new(Duration::from_micros(n as u64), frame.len() as u32, frame);
        writer.write_packet(&packet).unwrap();
    }
}
