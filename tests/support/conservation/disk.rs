//! A disk that can stand still: a pipe, whose reader is another library's.

use bmnic::pcap::record::{Format, Totals};
use bmnic::pcap::section::Section;
use bmnic::pcap::write::{Plan, Recorder, Written};
use pcap_file::pcap::PcapReader;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes that are kept of a packet, and held while the disk is slow.
const SNAPLEN: usize = 60;
const BUFFER: usize = 2 << 20;

/// How long the reader may take to catch up, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A recorder, and the packets that have come out behind it.
pub struct Disk {
    pub recorder: Recorder,
    seen: Arc<AtomicU64>,
    stalled: Arc<AtomicBool>,
    reader: JoinHandle<()>,
}

impl Disk {
    pub fn new() -> Self {
        let (pipe, end) = std::io::pipe().unwrap();
        let (seen, stalled) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counts, waits) = (Arc::clone(&seen), Arc::clone(&stalled));
        let reader = std::thread::spawn(move || {
            let mut packets = PcapReader::new(pipe).unwrap();
            while let Some(packet) = packets.next_raw_packet() {
                assert_eq!(packet.unwrap().data.len(), SNAPLEN);
                counts.fetch_add(1, Ordering::Relaxed);
                while waits.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
        });
        let path = format!("/dev/fd/{}", end.as_raw_fd());
        let section = Section::of(["conservation"]);
        let path = Path::new(&path);
        let plan = Plan { path, format: Format::Pcap, snaplen: SNAPLEN, buffer: BUFFER, section: &section };
        let recorder = Recorder::create(&plan, |_| {}).unwrap();
        Disk { recorder, seen, stalled, reader }
    }

    /// Takes nothing any more, or goes on.
    pub fn stall(&self, on: bool) {
        self.stalled.store(on, Ordering::Relaxed);
    }

    /// Packets in the file, once all that was taken is.
    pub fn settled(&mut self) -> u64 {
        self.recorder.flush();
        let deadline = Instant::now() + PATIENCE;
        while self.seen.load(Ordering::Relaxed) < self.recorder.taken() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(50));
        }
        self.seen.load(Ordering::Relaxed)
    }

    /// Ends the file: what was written by the recorder's own count, and the packets in it.
    pub fn end(self) -> (Written, u64) {
        let written = self.recorder.finish(Totals::default());
        self.reader.join().unwrap();
        (written, self.seen.load(Ordering::Relaxed))
    }
}
