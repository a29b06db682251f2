//! DPDK's own drivers, unchanged and native, judge the emulated cards: they
//! bring them up, and what they forward arrives byte for byte.

#[path = "common/families.rs"]
mod families;
#[path = "common/native.rs"]
mod native;

use bmnic::emu::wire::{Cable, Wire};
use families::{Dpdk, EACH};
use native::bmnic;
use std::io::Write;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

/// Frames that are forwarded.
const FRAMES: usize = 4_000;

/// Frames on their way at a time: fewer than a ring holds, so that none is lost.
const WINDOW: usize = 100;

/// Has DPDK's drivers do without vectors.
const SCALAR: &[&str] = &["--force-max-simd-bitwidth=64"];

/// How long a program may take for what it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Frame `n`: of many sizes, no two alike.
fn frame(n: usize) -> Vec<u8> {
    let len = [60, 61, 64, 127, 128, 255, 512, 1024, 1500, 1514][n % 10];
    let mut frame: Vec<u8> = (0..len).map(|i| (n * 31 + i * 7 + n / 256) as u8).collect();
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    frame
}

/// testpmd forwarding on an emulated card, at the end of a cable.
struct Testpmd {
    child: Child,
    cable: Cable,
    start: Instant,
}

impl Testpmd {
    fn start(card: &str, eal: &[&str]) -> Self {
        let name = format!("dpdk-{}", std::process::id());
        let cable = Cable::open(&name, true).unwrap();
        let card = format!("{card},wire=cable:{name}");
        let cores = if std::thread::available_parallelism().map_or(1, usize::from) > 1 { "0@0,1@1" } else { "0@0,1@0" };
        let mut words = vec!["emulate", &card, "--", "dpdk-testpmd", "--lcores", cores, "-m", "64"];
        words.extend(["--no-telemetry", "--file-prefix", "bmnic-test", "-a", "0000:99:00.0"]);
        words.extend(eal);
        words.extend(["--", "--auto-start", "--no-lsc-interrupt", "--rxd=512", "--txd=512"]);
        words.extend(["--total-num-mbufs=4096", "--nb-cores=1"]);
        let child = bmnic(&words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Testpmd { child, cable, start: Instant::now() }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64 * 1000
    }

    fn send(&mut self, frame: &[u8]) {
        let now = self.now();
        while !self.cable.send(frame, now) {
            std::thread::yield_now();
        }
    }

    /// The next frame that comes back, or None after `patience`.
    fn receive(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let now = self.now();
            if let Some((frame, _)) = self.cable.peek(now) {
                let frame = frame.to_vec();
                self.cable.advance();
                return Some(frame);
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        None
    }

    /// Ends it; what it said.
    fn end(mut self) -> (bool, String) {
        // A line ends it; it may have ended by itself.
        let _ = self.child.stdin.take().unwrap().write_all(b"\n");
        let Output { status, stdout, stderr } = self.child.wait_with_output().unwrap();
        (status.success(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
    }
}

/// Lets testpmd forward frames on `card` and checks every byte of each, that the
/// counts that its driver reads of the card are right, and that it broke the rules
/// that it is known to break and no others.
fn forwards(card: &str, eal: &[&str]) {
    let Dpdk { breaks, lag, .. } = families::card(card).dpdk;
    let Some(_turn) = native::dpdk() else { return };
    let mut testpmd = Testpmd::start(card, eal);
    // Whatever comes before it forwards is lost: knock until something answers,
    // then wait for what is still on its way.
    let knock = vec![0xee; 60];
    let (mut knocks, mut answered) = (0, 0);
    let waiting =
        |testpmd: &mut Testpmd| testpmd.start.elapsed() < PATIENCE && testpmd.child.try_wait().unwrap().is_none();
    while answered == 0 && waiting(&mut testpmd) {
        testpmd.send(&knock);
        knocks += 1;
        answered += usize::from(testpmd.receive(Duration::from_millis(20)).is_some());
    }
    while testpmd.receive(Duration::from_millis(300)).is_some() {
        answered += 1;
    }
    let mut returned = 0;
    for n in 0..FRAMES + WINDOW {
        if answered == 0 {
            break;
        }
        if n < FRAMES {
            testpmd.send(&frame(n));
        }
        if n >= WINDOW {
            let Some(back) = testpmd.receive(PATIENCE) else { break };
            assert!(back == frame(returned), "frame {returned} is not what was sent");
            returned += 1;
        }
    }
    std::thread::sleep(lag);
    let (good, said) = testpmd.end();
    assert!(good && returned == FRAMES, "{returned} of {FRAMES} frames came back: {said}");
    let counted = |name: &str| {
        let (_, rest) = said.split_once(name).unwrap_or_else(|| panic!("no '{name}' in: {said}"));
        rest.split_whitespace().next().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(counted("TX-packets: "), FRAMES + answered, "{said}");
    // What came before it forwarded it may or may not count as received.
    assert!((FRAMES..=FRAMES + knocks).contains(&counted("RX-packets: ")), "{said}");
    let broken = said.lines().filter_map(|line| line.split_once(": violation ")?.1.split_once(" x "));
    assert_eq!(broken.map(|(_, rule)| rule).collect::<Vec<_>>(), breaks, "{said}");
}

/// A test for each card that DPDK has a driver of its own for: one may be left out by name.
macro_rules! forwards_every_byte {
    ($($test:ident: $card:literal,)*) => {
        $(
            #[test]
            fn $test() {
                forwards($card, &[]);
            }
        )*

        #[test]
        fn no_card_is_forgotten() {
            let compared = EACH.iter().filter(|card| card.dpdk.compared).map(|card| card.name);
            assert_eq!(compared.collect::<Vec<_>>(), [$($card),*]);
        }
    };
}

forwards_every_byte! {
    net_ixgbe_forwards_every_byte_through_an_82599: "82599",
    net_i40e_forwards_every_byte_through_an_x710: "x710",
    net_sfc_forwards_every_byte_through_an_x2522: "x2522",
    net_bnxt_forwards_every_byte_through_a_bcm57414: "bcm57414",
    net_bnxt_forwards_every_byte_through_a_bcm57508: "bcm57508",
    net_virtio_forwards_every_byte_through_a_virtio_card: "virtio",
}

#[test]
fn net_ixgbe_without_vectors_forwards_every_byte_through_an_82599() {
    forwards("82599", SCALAR);
}

#[test]
fn net_ixgbe_forwards_every_byte_through_an_x540() {
    forwards("x540", &[]);
}
