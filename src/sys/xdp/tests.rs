//! Rings with a kernel that is played by hand.

use super::*;

/// A ring of so many entries, of which the kernel has written none.
fn ring(entries: u32) -> Ring {
    let map = MmapRaw::from(MmapOptions::new().len(4096).map_anon().unwrap());
    Ring {
        map,
        offsets: Offsets { producer: 0, consumer: 64, flags: 128, entries: 192 },
        mask: entries - 1,
        next: 0,
        seen: 0,
    }
}

#[test]
fn entries_are_read_as_far_as_the_kernel_has_written_and_given_back() {
    let mut ring = ring(8);
    assert!(!ring.has_entry());
    for n in 0..3 {
        ring.next = n;
        ring.write_descriptor(u64::from(n) * CHUNK as u64, 60 + n);
    }
    (ring.next, ring.seen) = (0, 0);
    ring.word(0).store(3, Ordering::Release);
    let mut read = Vec::new();
    while ring.has_entry() {
        read.push(ring.read_descriptor());
        ring.next = ring.next.wrapping_add(1);
    }
    assert_eq!(read, [(0, 60), (4096, 61), (8192, 62)]);
    ring.release();
    assert_eq!(ring.word(64).load(Ordering::Relaxed), 3);
}

#[test]
fn positions_go_round_and_a_kernel_that_is_beside_itself_has_written_nothing() {
    let mut ring = ring(8);
    (ring.next, ring.seen) = (u32::MAX, u32::MAX);
    ring.word(0).store(0, Ordering::Release);
    assert!(ring.has_entry(), "one, across the end of the numbers");
    ring.next = 0;
    assert!(!ring.has_entry());
    for absurd in [9, 1_000, u32::MAX] {
        (ring.next, ring.seen) = (0, 0);
        ring.word(0).store(absurd, Ordering::Release);
        assert!(!ring.has_entry(), "{absurd} of 8");
    }
}

#[test]
fn a_frame_lies_within_one_chunk_of_the_memory_or_nowhere() {
    let memory = MmapRaw::from(MmapOptions::new().len(4 * CHUNK).map_anon().unwrap());
    let null = std::fs::File::open("/dev/null").unwrap();
    let socket = Socket { fd: null.into(), memory: Arc::new(Memory(memory)) };
    let chunk = CHUNK as u64;
    assert_eq!(socket.range(chunk + 256, 60), Some((CHUNK + 256, 60)));
    assert_eq!(socket.range(3 * chunk, CHUNK as u32), Some((3 * CHUNK, CHUNK)));
    for (address, len) in [(0, 0), (chunk - 10, 20), (4 * chunk, 1), (u64::MAX, 1), (3 * chunk, u32::MAX)] {
        assert_eq!(socket.range(address, len), None, "{address:#x} {len}");
    }
}
