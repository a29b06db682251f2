//! Every family, every fault of the data path, every command: none panics or hangs, each says
//! by name what went wrong, what came adds up, and the exit code is the same each time.
//!
//! A fault that a driver can tell is a loss with a name or an error (exit codes 3 and 1). Of
//! some it cannot know: a virtqueue's buffer that never comes back, a length that fits, a
//! write that the IOMMU refused. Then the run is as asked, and only the card tells.
//!
//! What a pass does not prove: that a real card's fault looks like this one.

#[path = "common/families.rs"]
mod families;
#[path = "common/forward.rs"]
mod forward;
#[path = "common/schema.rs"]
mod schema;

use families::{Card, EACH};
use forward::{bmnic, number};
use serde_json::Value;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

/// A command may take this long: a second for what does not leave, and a busy machine.
const BOUND: Duration = Duration::from_secs(60);

/// Packets that are asked for.
const ASKED: u64 = 300;

/// A fault, and the exit codes that commands end with.
struct Row {
    fault: &'static str,
    commands: &'static [Command],
    codes: &'static [u8],
    /// Cards for which it is otherwise.
    but: &'static [(&'static str, &'static [u8])],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Fwd,
    Pktgen,
    Capture,
    Throughput,
    Latency,
}

use Command::{Capture, Fwd, Latency, Pktgen, Throughput};

const RECEIVE: &[Command] = &[Fwd, Capture];
const SEND: &[Command] = &[Fwd, Pktgen];
const ROUND: &[Command] = &[Throughput];

const TABLE: &[Row] = &[
    // The ring of the 82599 and of the X710 stands still; others count what is missing, and a
    // virtqueue's buffer is nobody's.
    Row {
        fault: "rx-stuck:50",
        commands: RECEIVE,
        codes: &[3],
        but: &[("virtio", &[0]), ("virtio-packed", &[0]), ("virtio-legacy", &[0])],
    },
    // A descriptor that is returned looks like any other.
    Row { fault: "rx-dup:50", commands: &[Fwd], codes: &[3], but: &[("82599", &[0]), ("x710", &[0])] },
    Row { fault: "rx-length=0:50", commands: RECEIVE, codes: &[3], but: &[] },
    Row { fault: "rx-length=1600:50", commands: RECEIVE, codes: &[0], but: &[] },
    // As long as a buffer of a ConnectX is, where long frames are received.
    Row { fault: "rx-length=9000:50", commands: RECEIVE, codes: &[3], but: &[("cx5", &[0])] },
    Row { fault: "rx-late=5ms:50", commands: RECEIVE, codes: &[0], but: &[] },
    // A device that meets a buffer which it was not given stops.
    Row {
        fault: "rx-other:50",
        commands: RECEIVE,
        codes: &[3],
        but: &[("virtio", &[1, 3]), ("virtio-packed", &[0, 3]), ("virtio-legacy", &[1, 3])],
    },
    Row {
        fault: "rx-endless:50",
        commands: RECEIVE,
        codes: &[3],
        but: &[("cx5", &[2]), ("virtio", &[0]), ("virtio-packed", &[0]), ("virtio-legacy", &[2])],
    },
    // The bytes are not there, and nobody says so; bnxt and mlx5 report it.
    Row {
        fault: "rx-iommu:50",
        commands: RECEIVE,
        codes: &[0],
        but: &[("bcm57414", &[3]), ("bcm57508", &[3]), ("cx5", &[3])],
    },
    // Rings that name what they report go on with the next report.
    Row {
        fault: "tx-stuck:2",
        commands: SEND,
        codes: &[0],
        but: &[
            ("82599", &[1]),
            ("x710", &[1]),
            ("virtio", &[1, 3]),
            ("virtio-packed", &[1, 3]),
            ("virtio-legacy", &[1, 3]),
        ],
    },
    Row {
        fault: "tx-stuck:2-",
        commands: SEND,
        codes: &[1],
        but: &[("virtio", &[1, 3]), ("virtio-packed", &[1, 3]), ("virtio-legacy", &[1, 3])],
    },
    Row { fault: "tx-dup:2", commands: &[Fwd], codes: &[3], but: &[("82599", &[0]), ("x710", &[0])] },
    Row { fault: "tx-late=5ms:2", commands: SEND, codes: &[0], but: &[] },
    // Rings by place stand still; the X710 stops the queue, and a virtio device itself. What a
    // Broadcom card names is the packet behind: one that waits too, or none, which is told.
    Row {
        fault: "tx-other:2",
        commands: &[Fwd],
        codes: &[3],
        but: &[
            ("82599", &[1]),
            ("x710", &[1]),
            ("bcm57414", &[0, 3]),
            ("bcm57508", &[0, 3]),
            ("virtio", &[1, 3]),
            ("virtio-packed", &[1, 3]),
            ("virtio-legacy", &[1, 3]),
        ],
    },
    // A virtio device has no word for it.
    Row {
        fault: "tx-iommu:50",
        commands: SEND,
        codes: &[3],
        but: &[("x710", &[1]), ("virtio", &[0]), ("virtio-packed", &[0]), ("virtio-legacy", &[0])],
    },
    Row { fault: "link-flap=5ms:50", commands: &[Fwd, Capture, Pktgen], codes: &[0], but: &[] },
    Row { fault: "pulled:50", commands: &[Fwd, Capture, Pktgen, Throughput], codes: &[1], but: &[] },
    // There is no rate of a ring that stands still.
    Row { fault: "tx-stuck:2-", commands: ROUND, codes: &[1], but: &[] },
    // What a rate came of is said beside it.
    Row { fault: "rx-length=0:/50", commands: ROUND, codes: &[0], but: &[] },
    Row { fault: "rx-stuck:50", commands: &[Throughput, Latency], codes: &[0, 3], but: &[] },
    // An index of a virtqueue that ran ahead is never believed again.
    Row {
        fault: "tx-dup:/2",
        commands: ROUND,
        codes: &[0],
        but: &[("virtio", &[1]), ("virtio-packed", &[1]), ("virtio-legacy", &[1])],
    },
];

impl Row {
    fn codes(&self, card: &Card) -> &'static [u8] {
        self.but.iter().find(|(name, _)| *name == card.name).map_or(self.codes, |(_, codes)| codes)
    }

    /// How it is named in a document.
    fn key(&self) -> String {
        let name = self.fault.split([':', '=']).next().unwrap();
        format!("fault_{}", name.replace('-', "_"))
    }
}

impl Command {
    fn words(self, card: &Card, fault: &str) -> Vec<String> {
        let (name, fault) = (card.name, format!(",fault={fault}"));
        let (first, second) = if fault.starts_with(",fault=tx") { ("", &fault[..]) } else { (&fault[..], "") };
        // Its sender waits for a card that is slow, so that nothing is lost but by the fault.
        let source = "wire=source:rate=100k:pause=on";
        let words = match self {
            Fwd => format!(
                "fwd emu:{name},link=1ms{first},{source} emu:{name},link=1ms{second},wire=sink -c {ASKED} -d 300ms"
            ),
            Pktgen => format!("pktgen emu:{name},link=1ms{fault},wire=sink -c 1000 -d 300ms"),
            Capture => format!("capture -i emu:{name},link=1ms{fault},{source} -c {ASKED} -d 300ms -w /dev/null"),
            Throughput => format!("throughput emu:{name},link=1ms{fault} -s 64 -t 20ms"),
            Latency => format!("latency emu:{name},link=1ms{fault} -c {ASKED} -r 10k -d 300ms --warmup 0ms"),
        };
        words.split(' ').map(str::to_owned).collect()
    }
}

/// Runs it to its end, which must come.
fn run(words: &[String]) -> Output {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut child = bmnic(&words)
        .env_remove("BMNIC_STRICT")
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > BOUND {
            child.kill().unwrap();
            panic!("{words:?} did not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// What came is what was kept and what was lost by name.
fn adds_up(command: Command, document: &Value) {
    match command {
        Fwd => {
            let port = |n: usize| &document["ports"][n];
            let passed = number(&document["directions"][0]["frames"]);
            let (left, odd) = (number(&port(0)["left_over"]), number(&document["anomalies"]));
            let received = number(&port(0)["counters"]["rx_packets"]);
            assert!(passed + left + odd >= received, "{document:#}");
            let unsent = number(&document["lost"]["unsent"]) + number(&document["still_in_rings"]);
            assert!(number(&port(1)["counters"]["tx_packets"]) + unsent >= passed, "{document:#}");
        }
        Pktgen => {
            let lost = number(&document["lost"]["unsent"]);
            assert_eq!(number(&document["counted_by_card"]) + lost, number(&document["sent"]), "{document:#}");
        }
        Capture => {
            let losses = document["lost"].as_object().unwrap();
            let total: u64 = losses.iter().filter(|(name, _)| *name != "total").map(|(_, lost)| number(lost)).sum();
            assert_eq!(total, number(&losses["total"]), "{document:#}");
            let kept = ["captured", "filtered", "beyond"].map(|what| number(&document[what])).iter().sum::<u64>();
            assert_eq!(kept, number(&document["received"]), "{document:#}");
        }
        Throughput | Latency => {}
    }
}

fn check(card: &Card, row: &Row, command: Command) {
    let words = command.words(card, row.fault);
    let output = run(&words);
    let errors = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().unwrap_or_else(|| panic!("{words:?} was killed: {errors}"));
    assert!(!errors.contains("panicked"), "{words:?}: {errors}");
    let codes = row.codes(card);
    assert!(codes.iter().any(|&known| i32::from(known) == code), "{words:?} ends with {code}, not {codes:?}: {errors}");
    match serde_json::from_slice::<Value>(&output.stdout) {
        // Without a result there is a line that says why, and whose card it is.
        Ok(document) if document["error"].is_object() => {
            let why = document["error"]["message"].as_str().unwrap();
            assert!(code != 0 && why.contains("fault"), "{words:?}: {document:#}");
        }
        Ok(document) => {
            // Of a latency it stands in the row.
            let of = if command == Latency { &document["results"][0] } else { &document };
            let struck = &of["wire"][row.key()];
            // A run that ends before anything was struck shows nothing.
            assert!(struck.as_u64().is_some_and(|times| times > 0), "{words:?} does not name it: {document:#}");
            if code != 1 {
                adds_up(command, &document);
            }
        }
        Err(error) => panic!("{words:?}: {error}: {errors}"),
    }
}

fn all_of(card: &Card) {
    for row in TABLE {
        for &command in row.commands {
            check(card, row, command);
        }
    }
}

/// Each card as a test of its own: they run side by side.
macro_rules! cards {
    ($($name:ident: $at:expr),*) => { $(#[test] fn $name() { all_of(&EACH[$at]); })* };
}

cards! { ixgbe: 0, i40e: 1, efvi: 2, bnxt_p4: 3, bnxt_p5: 4, mlx5: 5, virtio: 6, virtio_packed: 7, virtio_legacy: 8 }

#[test]
fn no_card_is_left_out() {
    let names = EACH.map(|card| card.name);
    let here = ["82599", "x710", "x2522", "bcm57414", "bcm57508", "cx5", "virtio", "virtio-packed", "virtio-legacy"];
    assert_eq!(names, here, "name them in the cards above");
}
