use super::*;
use memmap2::MmapMut;
use proptest::prelude::*;
use std::collections::VecDeque;

const SIZE: usize = 1 << 20;

fn memory() -> Arc<MmapRaw> {
    Arc::new(MmapMut::map_anon(CONTROL + SIZE).unwrap().into())
}

fn lane() -> (Writer, Reader) {
    let map = memory();
    (Writer::new(&map, 0, SIZE), Reader::new(&map, 0, SIZE))
}

#[test]
fn a_full_lane_takes_no_more_until_it_is_read() {
    let (mut writer, mut reader) = lane();
    let frame = [1; 1000];
    let mut count = 0;
    while writer.push(&frame, count).unwrap() {
        count += 1;
    }
    assert_eq!(count, SIZE as u64 / record(1000));
    for at in 0..count {
        assert_eq!(reader.front(), Ok(Some((&frame[..], at))));
        reader.pop();
    }
    assert_eq!(reader.front(), Ok(None));
    assert!(reader.is_empty());
    assert!(writer.push(&frame, 0).unwrap());
}

#[test]
fn a_lane_that_is_emptied_uses_little_of_its_memory() {
    let (mut writer, mut reader) = lane();
    let mut furthest = 0;
    for at in 0..100_000 {
        assert!(writer.push(&[0; 60], at).unwrap());
        furthest = furthest.max(SIZE as u64 - writer.lane.to_end(writer.head));
        assert_eq!(reader.front().unwrap().unwrap().1, at);
        reader.pop();
    }
    assert!(furthest <= HOT + HOT / 4 + 128, "{furthest}");
}

#[test]
fn without_more_memory_a_lane_is_full_sooner_and_goes_on_when_it_is_read() {
    let map: Arc<MmapRaw> = Arc::new(MmapMut::map_anon(CONTROL + 8 * SIZE).unwrap().into());
    let (mut writer, mut reader) = (Writer::new(&map, 0, 8 * SIZE), Reader::new(&map, 0, 8 * SIZE));
    // Nothing can be allocated in a file that is open for reading.
    (writer.backed, writer.file) = (CHUNK, Some((File::open("/dev/null").unwrap(), 0)));
    for _ in 0..100 {
        let mut count = 0;
        // A refused frame is offered again, and only then the lane starts over.
        while writer.push(&[5; 1500], count).unwrap() || writer.push(&[5; 1500], count).unwrap() {
            count += 1;
        }
        assert!(count > 600 && count * record(1500) <= CHUNK, "{count}");
        for at in 0..count {
            assert_eq!(reader.front(), Ok(Some((&[5; 1500][..], at))));
            reader.pop();
        }
    }
}

#[test]
fn a_later_writer_goes_on_and_a_later_reader_starts_afresh() {
    let map = memory();
    let mut writer = Writer::new(&map, 0, SIZE);
    let mut reader = Reader::new(&map, 0, SIZE);
    writer.push(b"first", 1).unwrap();
    let mut writer = Writer::new(&map, 0, SIZE);
    writer.push(b"second", 2).unwrap();
    assert_eq!(reader.front(), Ok(Some((&b"first"[..], 1))));
    reader.pop();
    assert_eq!(reader.front(), Ok(Some((&b"second"[..], 2))));
    let mut later = Reader::new(&map, 0, SIZE);
    assert_eq!(later.front(), Ok(None));
    writer.push(b"third", 3).unwrap();
    assert_eq!(later.front(), Ok(Some((&b"third"[..], 3))));
}

#[test]
fn two_threads_pass_frames_in_order_and_whole() {
    let (mut writer, mut reader) = lane();
    const COUNT: u64 = 200_000;
    let sender = std::thread::spawn(move || {
        for n in 0..COUNT {
            let len = 8 + (n * 7919 % 1500) as usize;
            let mut frame = vec![n as u8; len];
            frame[..8].copy_from_slice(&n.to_le_bytes());
            while !writer.push(&frame, n).unwrap() {
                std::thread::yield_now();
            }
        }
    });
    for n in 0..COUNT {
        let (frame, at) = loop {
            match reader.front().unwrap() {
                Some(_) => break reader.front().unwrap().unwrap(),
                None => std::thread::yield_now(),
            }
        };
        assert_eq!((at, frame.len()), (n, 8 + (n * 7919 % 1500) as usize));
        assert_eq!(frame[..8], n.to_le_bytes());
        assert!(frame[8..].iter().all(|&b| b == n as u8));
        reader.pop();
    }
    sender.join().unwrap();
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_from_anywhere_and_where_indices_wrap(
        ops in prop::collection::vec((any::<bool>(), 0usize..=MAX_FRAME), 1..400),
        before in prop_oneof![Just(0), 0u64..1 << 17, Just(1 << 59)],
    ) {
        let map = memory();
        Mapped::new(&map, 0, SIZE).head().store((before * 16).wrapping_neg(), Ordering::Relaxed);
        let (mut reader, mut writer) = (Reader::new(&map, 0, SIZE), Writer::new(&map, 0, SIZE));
        let mut model = VecDeque::new();
        for (serial, (push, len)) in ops.into_iter().enumerate() {
            if push {
                let frame = vec![serial as u8; len];
                if writer.push(&frame, serial as u64).unwrap() {
                    model.push_back((frame, serial as u64));
                }
            } else {
                reader.pop();
                model.pop_front();
            }
            let wanted = model.front().map(|(frame, at)| (&frame[..], *at));
            prop_assert_eq!(reader.front().unwrap(), wanted);
        }
    }

    #[test]
    fn garbage_tears_the_lane_and_nothing_else(
        words in prop::collection::vec((0usize..64, any::<u64>()), 0..16),
        head in prop_oneof![any::<u64>(), 0u64..100_000, (0u64..6000).prop_map(|n| n * 16)],
        tail in any::<u64>(),
        small in any::<bool>(),
    ) {
        let map = memory();
        let (mut writer, mut reader) = (Writer::new(&map, 0, SIZE), Reader::new(&map, 0, SIZE));
        for n in 0..10 {
            writer.push(&[7; 100], n).unwrap();
        }
        for (at, word) in words {
            let word = if small { word % 20_000 } else { word };
            writer.lane.word(8 * at as u64).store(word, Ordering::Relaxed);
        }
        writer.lane.head().store(head, Ordering::Relaxed);
        writer.lane.tail().store(tail, Ordering::Relaxed);
        // Those who were there, and those who come to it.
        for late in [false, true] {
            if late {
                (writer, reader) = (Writer::new(&map, 0, SIZE), Reader::new(&map, 0, SIZE));
                writer.lane.head().store(head.wrapping_add(160), Ordering::Relaxed);
            }
            for _ in 0..100 {
                match reader.front() {
                    Ok(Some((frame, _))) => prop_assert!(frame.len() <= MAX_FRAME),
                    Ok(None) | Err(Torn) => break,
                }
                reader.pop();
            }
            for n in 0..1000 {
                if writer.push(&[7; 1500], n) == Err(Torn) {
                    break;
                }
            }
        }
    }
}
