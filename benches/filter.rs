//! What a filter costs a frame: `cargo bench --bench filter`.
//!
//! Each figure is the best of several rounds in one thread, over frames that the
//! filters tell apart and that lie in the cache: it is the filter's work alone.

use bmnic::packet::Filter;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 15;
const PASSES: usize = 400;

const FILTERS: [&str; 14] = [
    "",
    "ip",
    "tcp",
    "udp port 53",
    "host 10.0.0.1",
    "udp port 53 and not host 10.0.0.1",
    "net 10.1.0.0/16 or net 192.168.0.0/16",
    "port 80 or port 443",
    "vlan 77 and udp",
    "tcp[tcpflags] & tcp-syn != 0",
    "greater 1000",
    "udp and dst portrange 8000-9000",
    "ether host 02:00:00:00:00:01",
    "ip[2:2] - ((ip[0] & 0xf) << 2) > 20",
];

/// Frames of UDP, TCP and IPv6, half of them to port 53.
fn frames() -> Vec<Vec<u8>> {
    let frame = |n: u8| {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0];
        frame.extend([10, 0, 0, n % 5, 10, 0, 0, 2, 4, 0, if n.is_multiple_of(2) { 0 } else { 35 }, 53]);
        frame.resize(60, 0);
        if n % 7 == 3 {
            frame[23] = 6;
        }
        if n % 16 == 5 {
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        }
        frame
    };
    (0..64).map(frame).collect()
}

fn main() {
    let frames = frames();
    for text in FILTERS {
        let filter = Filter::parse(text).expect("a filter that compiles");
        let instructions = filter.listing().lines().count();
        let round = || {
            let start = Instant::now();
            for _ in 0..PASSES {
                for frame in &frames {
                    black_box(black_box(&filter).matches(black_box(frame), frame.len()));
                }
            }
            start.elapsed().as_nanos() as f64 / (PASSES * frames.len()) as f64
        };
        let ns = (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min);
        let what = if text.is_empty() { "(everything)" } else { text };
        println!("{what:<42} {instructions:>3} instructions  {ns:6.1} ns  {:6.1} Mpps", 1000.0 / ns);
    }
}
