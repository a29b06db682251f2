use super::layout::Shape;
use super::ring::{Memory, Reader, Writer};
use super::*;
use crate::sys;
use crate::testing::allocations;
use proptest::prelude::*;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

/// A packet whose bytes follow from its number.
fn packet(sequence: u64, len: usize) -> Vec<u8> {
    let mut bytes = sequence.to_le_bytes().to_vec();
    bytes.resize_with(len.max(8), || 0);
    for (i, byte) in bytes.iter_mut().enumerate().skip(8) {
        *byte = (sequence as usize * 31 + i) as u8;
    }
    bytes
}

fn plan(name: &str) -> Plan<'_> {
    Plan { name, size: 2 << 20, snaplen: 2048, readers: &Readers::Own, source: "emu:82599" }
}

/// A ring in a folder of its own, and a reader of it.
fn ring(plan: &Plan<'_>, begin: Begin) -> (tempfile::TempDir, Publisher, Subscriber) {
    let folder = tempfile::tempdir().unwrap();
    let publisher = Publisher::create_in(folder.path(), plan).unwrap();
    let subscriber = Subscriber::open_in(folder.path(), plan.name, begin).unwrap();
    (folder, publisher, subscriber)
}

/// Packets that are there, each checked against its number; how many.
fn read(subscriber: &mut Subscriber, len: impl Fn(u64) -> usize) -> u64 {
    let mut count = 0;
    while let Event::Packet(got, bytes) = subscriber.read().unwrap() {
        let whole = packet(got.sequence, len(got.sequence));
        assert_eq!((got.time, got.wire_len), (got.sequence * 10, whole.len()));
        assert_eq!(bytes, &whole[..whole.len().min(2048)]);
        count += 1;
    }
    count
}

#[test]
fn packets_of_every_length_arrive_as_they_were_up_to_the_snaplen() {
    let len = |sequence: u64| (sequence as usize * 7) % 2300;
    for parts in [1, 2, 3] {
        let (_folder, mut publisher, mut subscriber) = ring(&plan("a"), Begin::Now);
        let mut received = 0;
        for sequence in 0..5_000 {
            let bytes = packet(sequence, len(sequence));
            if parts == 1 {
                publisher.put(sequence * 10, &bytes);
            } else {
                let pieces: Vec<&[u8]> = bytes.chunks(bytes.len().div_ceil(parts)).collect();
                publisher.put_parts(sequence * 10, &pieces);
            }
            publisher.publish();
            received += read(&mut subscriber, len);
        }
        assert_eq!((received, subscriber.lost(), publisher.count()), (5_000, 0, 5_000));
        assert_eq!(publisher.end(), 5_000);
        assert_eq!(subscriber.read().unwrap(), Event::End(End::Ended));
    }
}

#[test]
fn what_was_not_published_is_not_seen_and_one_who_was_lapped_knows_what_it_lost() {
    let (_folder, mut publisher, mut subscriber) = ring(&plan("a"), Begin::Now);
    publisher.put(0, &packet(0, 60));
    assert_eq!(read(&mut subscriber, |_| 60), 0);
    publisher.publish();
    assert_eq!(read(&mut subscriber, |_| 60), 1);
    // 88 bytes a record: three times what the ring holds.
    let count = 3 * (2 << 20) / 88;
    for sequence in 1..count {
        publisher.put(sequence * 10, &packet(sequence, 60));
    }
    publisher.publish();
    let received = 1 + read(&mut subscriber, |_| 60);
    assert_eq!(received + subscriber.lost(), count);
    // It goes on half a ring behind the writer.
    assert!((2 << 20) / 88 * 4 / 10 < received && received < (2 << 20) / 88 * 6 / 10, "{received} of {count}");
}

#[test]
fn a_reader_begins_with_the_next_packet_or_with_the_oldest_that_will_last() {
    let (folder, mut publisher, _) = ring(&plan("a"), Begin::Now);
    let open = |begin| Subscriber::open_in(folder.path(), "a", begin).unwrap();
    let mut sequence = 0;
    for more in [0, 1, 500, 10_000, 100_000] {
        for _ in 0..more {
            publisher.put(sequence * 10, &packet(sequence, 60));
            sequence += 1;
        }
        publisher.publish();
        let (mut now, mut oldest) = (open(Begin::Now), open(Begin::Oldest));
        assert_eq!(now.first(), sequence);
        assert_eq!(read(&mut oldest, |_| 60), sequence - oldest.first());
        // All but an eighth of the ring, if there was as much.
        assert!(sequence - oldest.first() >= sequence.min((2 << 20) / 88 * 8 / 10), "{}", oldest.first());
        publisher.put(sequence * 10, &packet(sequence, 60));
        publisher.publish();
        sequence += 1;
        for reader in [&mut now, &mut oldest] {
            assert_eq!((read(reader, |_| 60), reader.lost()), (1, 0));
        }
    }
}

#[test]
fn the_end_is_told_from_a_failure_and_from_a_death() {
    let (_folder, mut publisher, mut subscriber) = ring(&plan("a"), Begin::Now);
    publisher.put(0, &packet(0, 60));
    drop(publisher);
    assert_eq!(read(&mut subscriber, |_| 60), 1, "what it had is there");
    assert_eq!(subscriber.read().unwrap(), Event::End(End::Failed));

    // As the kernel leaves it, whose lock goes with the memory's last writer.
    let (shared, file) = Shared::create(2 << 20, 2048, "").unwrap();
    let whose = Whose { user: 0, pid: 0 };
    let mut subscriber = Subscriber::attach(file, whose, "a", Begin::Now).unwrap();
    let mut writer = Writer::new(shared);
    writer.put(0, &packet(0, 60));
    std::thread::sleep(std::time::Duration::from_millis(60));
    assert_eq!(subscriber.read().unwrap(), Event::Nothing, "it lives");
    writer.publish();
    drop(writer);
    assert_eq!(read(&mut subscriber, |_| 60), 1);
    std::thread::sleep(std::time::Duration::from_millis(60));
    assert_eq!(subscriber.read().unwrap(), Event::End(End::Killed));
}

#[test]
fn nobody_but_the_publisher_can_write_to_the_memory_or_take_it_away() {
    let (folder, publisher, _) = ring(&plan("a"), Begin::Now);
    let (memory, whose) = door::ask(&path(folder.path(), "a").unwrap(), "a").unwrap();
    assert_eq!(whose, Whose { user: sys::effective_user(), pid: std::process::id() as i32 });
    // As it was handed out, and as its owner and root can open it again.
    let again =
        std::fs::OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    for file in [Some(memory), again.ok()].into_iter().flatten() {
        assert!(sys::map_shared(&file, 0, 2 << 20).is_err(), "mapped for writing");
        for len in [0, 1 << 20, 4 << 20] {
            assert!(file.set_len(len).is_err(), "made {len} bytes long");
        }
        assert!(sys::release(&file, 0, 2 << 20).is_err(), "a hole was made in it");
        let written = std::os::unix::fs::FileExt::write_at(&file, b"x", 0);
        assert!(written.is_err(), "written");
    }
    drop(publisher);
}

#[test]
fn what_could_shrink_or_is_no_ring_is_refused() {
    let whose = Whose { user: 0, pid: 0 };
    let refused = |file: File, words: &str| {
        let error = Subscriber::attach(file, whose, "a", Begin::Now).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    refused(sys::memory_file(2 << 20).unwrap(), "may shrink");
    for len in [0, 4095, 2 << 20] {
        let file = sys::sealable_memory(len, false).unwrap();
        sys::seal(&file).unwrap();
        refused(file, if len < 4096 { "too short" } else { "does not begin like one" });
    }
    let file = sys::sealable_memory(2 << 20, false).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, &layout::MAGIC.to_ne_bytes(), 0).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, &7_u64.to_ne_bytes(), 8).unwrap();
    refused(file.try_clone().unwrap(), "may shrink");
    sys::seal(&file).unwrap();
    refused(file, "version 7");
}

#[test]
fn a_name_is_one_publishers_and_what_a_killed_one_left_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let create = |name: &str| Publisher::create_in(folder.path(), &plan(name));
    for name in ["", "..", "a/b", ".hidden", &"x".repeat(65), "a b", "a\0"] {
        assert_eq!(create(name).unwrap_err().kind(), Kind::Usage, "{name:?}");
    }
    let first = create("a").unwrap();
    let error = create("a").unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains(&format!("process {} of user", std::process::id())), "{error}");
    drop(first);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    let error = Subscriber::open_in(folder.path(), "a", Begin::Now).unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("nobody publishes")), (Kind::NotFound, true));
    // A socket at which nobody listens any more.
    drop(std::os::unix::net::UnixListener::bind(path(folder.path(), "a").unwrap()).unwrap());
    let error = Subscriber::open_in(folder.path(), "a", Begin::Now).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    drop(create("a").unwrap());
    // What is no socket was left by somebody else.
    let file = path(folder.path(), "a").unwrap();
    std::fs::write(&file, "of somebody").unwrap();
    assert_eq!(create("a").unwrap_err().kind(), Kind::Refused);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "of somebody");
}

#[test]
fn only_those_may_read_to_whom_it_is_published() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let folder = tempfile::tempdir().unwrap();
    for (readers, mode) in [(Readers::Own, 0o600), (Readers::Group("root".into()), 0o660), (Readers::All, 0o666)] {
        let publisher = match Publisher::create_in(folder.path(), &Plan { readers: &readers, ..plan("a") }) {
            Err(error) if sys::effective_user() != 0 && error.kind() == Kind::Permission => continue,
            other => other.unwrap(),
        };
        let socket = std::fs::metadata(publisher.path()).unwrap();
        assert_eq!(socket.permissions().mode() & 0o777, mode);
        assert!(readers != Readers::Group("root".into()) || socket.gid() == 0);
    }
    let readers = Readers::Group("no such group".into());
    let error = Publisher::create_in(folder.path(), &Plan { readers: &readers, ..plan("a") }).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!("".parse::<Readers>().is_err() && "all".parse::<Readers>().unwrap() == Readers::All);
}

#[test]
fn publishing_asks_for_no_memory() {
    let (_folder, mut publisher, mut subscriber) = ring(&plan("a"), Begin::Now);
    let frame = [7; 60];
    let asked = allocations(|| {
        for _ in 0..100_000 {
            publisher.put(0, &frame);
            publisher.put_parts(0, &[&frame, &frame]);
            publisher.publish();
        }
    });
    assert_eq!(asked, 0);
    let mut events = 0;
    assert_eq!(
        allocations(|| while let Event::Packet(..) = subscriber.read().unwrap() {
            events += 1
        }),
        0
    );
    assert!(events > 1_000);
}

/// Memory of which each word is what somebody else wants.
#[derive(Clone)]
struct Any(Shape, std::rc::Rc<(Vec<std::sync::atomic::AtomicU64>, [std::sync::atomic::AtomicU64; 2])>);

impl Memory for Any {
    type Word = std::sync::atomic::AtomicU64;

    fn shape(&self) -> Shape {
        self.0
    }

    fn opened(&self) -> &Self::Word {
        &self.1.1[0]
    }

    fn head(&self) -> &Self::Word {
        &self.1.1[1]
    }

    fn data(&self) -> &[Self::Word] {
        &self.1.0
    }

    fn fence(_: Ordering) {}
}

/// A number that may make sense.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(layout::SKIP), any::<u64>(), 0..64_u64, (0..40_u64).prop_map(|n| n | n << 32)]
}

proptest! {
    #[test]
    fn garbage_makes_no_reader_fall(
        changes in prop::collection::vec((0..66_usize, number()), 0..60),
        now in any::<bool>(),
        fill in 0..40_u64,
    ) {
        let shape = Shape { block: 16, blocks: 4, most: 100 };
        let words = (0..64).map(|_| Default::default()).collect();
        let memory = Any(shape, std::rc::Rc::new((words, Default::default())));
        let mut writer = Writer::new(memory.clone());
        for n in 0..fill {
            writer.put(n, &[1; 20]);
        }
        writer.publish();
        let begin = if now { Begin::Now } else { Begin::Oldest };
        let mut reader = Reader::new(memory.clone(), begin).unwrap();
        let mut bytes = [0; 100];
        for (at, value) in changes {
            match at.checked_sub(64) {
                Some(i) => memory.1.1[i].store(value, Ordering::Relaxed),
                None => memory.1.0[at].store(value, Ordering::Relaxed),
            }
            if let Ok(Some(packet)) = reader.next(&mut bytes) {
                prop_assert!(packet.len <= 100 && packet.len <= packet.wire_len);
            }
            // One that comes now may find nothing to begin with.
            if let Ok(mut late) = Reader::new(memory.clone(), begin) {
                let _ = late.next(&mut bytes);
            }
        }
    }

    #[test]
    fn a_shape_that_is_believed_lies_in_its_memory(
        block in number(), blocks in number(), most in number(), size in 4096..1_u64 << 40,
    ) {
        if let Some(shape) = Shape::checked(block, blocks, most, size) {
            prop_assert!(4096 + 8 * shape.block as u64 * shape.blocks as u64 <= size);
            prop_assert!(shape.most + 24 <= 8 * shape.block);
        }
    }
}

#[test]
fn every_size_has_blocks_that_fit() {
    for size in [2 << 20, 4 << 20, 64 << 20, 1 << 30, 64 << 30_u64] {
        let shape = Shape::of(size, usize::MAX);
        let Shape { block, blocks, most } = shape;
        assert_eq!(Shape::checked(block as u64, blocks as u64, most as u64, size), Some(shape), "{size}");
        assert!(blocks >= 31 && 8 * block * (blocks + 1) + 4096 > size as usize);
    }
}
