//! What a frame of 60 bytes costs on the wire, without a card: `cargo bench --bench wire`.
//!
//! Each figure is the best of several rounds in one thread, in nanoseconds and
//! as a share of the 67.2 ns that such a frame takes at 10 Gbit/s. It says what
//! a wire adds to a model, not what a link can carry.

use bmnic::emu::Spec;
use bmnic::emu::wire::{Mac, Patch, Source, SourceSpec, Speed, Wire};
use bmnic::publish::{Begin, Event, Plan, Publisher, Readers, Subscriber};
use std::hint::black_box;
use std::time::Instant;

const FRAMES: u32 = 1_000_000;
const ROUNDS: u32 = 7;
const LINE: f64 = 67.2;

/// Runs `round` several times; the best, in nanoseconds a frame.
fn best(mut round: impl FnMut()) -> f64 {
    let once = |round: &mut dyn FnMut()| {
        let start = Instant::now();
        round();
        start.elapsed().as_nanos() as f64 / f64::from(FRAMES)
    };
    (0..ROUNDS).map(|_| once(&mut round)).fold(f64::INFINITY, f64::min)
}

fn print(what: &str, ns: f64) {
    println!("{what:<42} {ns:6.1} ns  {:5.1} Mpps  {:4.0} % of line rate's time", 1000.0 / ns, 100.0 * ns / LINE);
}

/// Bursts of 32 through two ends.
fn pass(send: &mut dyn Wire, receive: &mut dyn Wire) {
    let frame = [7; 60];
    for now in 0..u64::from(FRAMES / 32) {
        for _ in 0..32 {
            assert!(send.send(&frame, now));
        }
        for _ in 0..32 {
            black_box(receive.peek(now).map(|(frame, _)| frame[59]));
            receive.advance();
        }
    }
}

fn pair(wire: &str) -> (Box<dyn Wire>, Box<dyn Wire>) {
    let mut patch = Patch::default();
    let spec: Spec = format!("82599,wire={wire}").parse().expect("a valid specification");
    let mut open = || spec.open_wire(&mut patch).expect("an end of the wire");
    (open(), open())
}

fn main() {
    let mut source = Source::new(&SourceSpec { flows: 64, ..SourceSpec::default() });
    let generate = best(|| {
        for now in 0..u64::from(FRAMES) {
            black_box(source.peek(now));
            source.advance();
        }
    });
    print("source: make a frame", generate);

    let mut mac = Mac::new(Box::new(Source::new(&SourceSpec::default())), Speed::Bits(10_000_000_000));
    let mut now = 1;
    let receive = best(|| {
        for _ in 0..FRAMES {
            while mac.peek(now).is_none() {
                now += 1_000_000;
            }
            mac.advance();
        }
    });
    print("source through a MAC at 10 Gbit/s", receive);

    for wire in ["peer", &format!("cable:bench-{}", std::process::id())] {
        let (mut a, mut b) = pair(wire);
        let what = wire.split(':').next().unwrap_or(wire);
        print(&format!("{what}: send and receive"), best(|| pass(&mut *a, &mut *b)));
    }

    ring();
}

/// A frame into a ring that others read, and out of it again.
fn ring() {
    let name = format!("bench-{}", std::process::id());
    let plan = Plan { name: &name, size: 64 << 20, snaplen: 2048, readers: &Readers::Own, source: "a bench" };
    let mut publisher = Publisher::create(&plan).expect("a ring");
    let pages = if publisher.is_huge() { "huge pages" } else { "ordinary pages" };
    let frame = [7; 60];
    let mut publish = |read: &mut dyn FnMut()| {
        for now in 0..u64::from(FRAMES / 32) {
            (0..32).for_each(|_| publisher.put(now, black_box(&frame)));
            publisher.publish();
            read();
        }
    };
    print(&format!("ring of {pages}: publish"), best(|| publish(&mut || ())));
    let mut subscriber = Subscriber::open(&name, Begin::Now).expect("that ring");
    let mut read = || {
        while let Event::Packet(_, bytes) = subscriber.read().expect("a sound ring") {
            black_box(bytes[59]);
        }
    };
    print("the same, and read in the same thread", best(|| publish(&mut read)));
}
