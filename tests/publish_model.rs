//! The protocol of a published ring under loom: every order in which a writer and readers can come by, and
//! every older value that a load may still give.
//!
//! The ring is the smallest in which a reader can be lapped while it copies: two blocks,
//! each with room for one packet of a word. What a pass does not prove: anything of a
//! larger ring, and more changes of threads than [`CHANGES`] that are not forced.
//!
//! It is a program of its own, as loom's threads come with signal handlers.

#[path = "common/watched.rs"]
mod watched;

use bmnic::publish::layout::Shape;
use bmnic::publish::ring::{Begin, Memory, Reader, Writer};
use loom::sync::Arc;
use loom::sync::atomic::{self, AtomicU64};
use loom::thread;
use std::sync::atomic::Ordering;
use watched::{SOUND, Watched};

/// Changes from a thread that could go on.
const CHANGES: usize = 3;

/// A ring whose readers, or whose writer, may lack their fences.
struct Model<const ACQUIRE: bool, const RELEASE: bool> {
    shape: Shape,
    opened: Watched<AtomicU64>,
    head: Watched<AtomicU64>,
    data: Vec<Watched<AtomicU64>>,
}

impl<const A: bool, const R: bool> Model<A, R> {
    fn new(shape: Shape) -> Self {
        let word = || Watched::<AtomicU64>::new(0, SOUND);
        let data = (0..shape.block * shape.blocks).map(|_| word()).collect();
        Model { shape, opened: word(), head: word(), data }
    }
}

/// The same ring for both.
struct Shared<const A: bool, const R: bool>(Arc<Model<A, R>>);

impl<const A: bool, const R: bool> Memory for Shared<A, R> {
    type Word = Watched<AtomicU64>;

    fn shape(&self) -> Shape {
        self.0.shape
    }

    fn opened(&self) -> &Watched<AtomicU64> {
        &self.0.opened
    }

    fn head(&self) -> &Watched<AtomicU64> {
        &self.0.head
    }

    fn data(&self) -> &[Watched<AtomicU64>] {
        &self.0.data
    }

    fn fence(order: Ordering) {
        if if order == Ordering::Acquire { A } else { R } {
            atomic::fence(order);
        }
    }
}

/// What the packet of this number carries.
fn content(sequence: u64) -> u64 {
    (sequence + 1) * 0x0101_0101
}

/// A writer of `packets` packets, and a reader that looks `looks` times meanwhile and
/// reads the rest at the end: each packet is whole, and each is had or counted as lost.
fn play<const A: bool, const R: bool>(block: usize, packets: u64, looks: usize, begin: Begin) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(CHANGES);
    builder.check(move || {
        let memory = Arc::new(Model::<A, R>::new(Shape { block, blocks: 2, most: 8 }));
        let mut writer = Writer::new(Shared(Arc::clone(&memory)));
        let writing = thread::spawn(move || {
            for sequence in 0..packets {
                writer.put(sequence, &content(sequence).to_ne_bytes());
                writer.publish();
            }
        });
        // A writer that is always faster than the reader begins is none of a sound ring's.
        let reader = Reader::new(Shared(memory), begin);
        let Ok(mut reader) = reader else { panic!("no place to begin at") };
        let (mut bytes, mut received) = ([0; 8], 0);
        let mut look = |reader: &mut Reader<_>| match reader.next(&mut bytes) {
            Ok(Some(packet)) => {
                let next = reader.first() + received + reader.lost();
                let got = (packet.sequence, packet.time, packet.len, u64::from_ne_bytes(bytes));
                assert_eq!(got, (next, next, 8, content(next)), "torn");
                received += 1;
                true
            }
            Ok(None) => false,
            Err(damaged) => panic!("{damaged:?}"),
        };
        for _ in 0..looks {
            look(&mut reader);
        }
        writing.join().unwrap();
        while look(&mut reader) {}
        assert_eq!(reader.first() + received + reader.lost(), packets);
    });
}

#[test]
fn a_packet_is_whole_and_had_or_counted_as_lost_whoever_comes_when() {
    // Four words are a record: it fills a block, or leaves a word of it out.
    play::<true, true>(4, 3, 1, Begin::Oldest);
    play::<true, true>(5, 3, 1, Begin::Oldest);
    play::<true, true>(4, 3, 1, Begin::Now);
}

#[test]
#[should_panic(expected = "torn")]
fn without_the_readers_fence_packets_are_torn() {
    play::<false, true>(4, 3, 1, Begin::Oldest);
}

#[test]
#[should_panic(expected = "torn")]
fn without_the_writers_fence_packets_are_torn() {
    play::<true, false>(4, 3, 1, Begin::Oldest);
}
