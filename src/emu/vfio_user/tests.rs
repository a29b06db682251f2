//! The server against a client that knows only the protocol.

use super::*;
use crate::emu::wire::{Counters, Random};
use crate::emu::{Spec, build};
use crate::sys::EventFd;
use proptest::prelude::*;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

mod ports;

struct Served {
    stop: Arc<AtomicBool>,
    /// Sees to it that the counters are looked at between two clients.
    look: Arc<AtomicBool>,
    /// What has passed on the wire when they were.
    counted: Arc<Mutex<Counters>>,
    thread: Option<JoinHandle<Counters>>,
    path: PathBuf,
    seen: Arc<Mutex<Vec<Access>>>,
    _directory: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        Served::of("82599,wire=loop,link=1us")
    }

    fn of(spec: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("card.sock");
        let spec: Spec = spec.parse().unwrap();
        let wire = spec.open_wire(&mut Default::default()).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let look = Arc::new(AtomicBool::new(false));
        let counted = Arc::new(Mutex::new(Counters::default()));
        let (looking, passed) = (Arc::clone(&look), Arc::clone(&counted));
        let (stopping, log) = (Arc::clone(&stop), Arc::clone(&seen));
        let observer = Box::new(move |access: &Access| log.lock().unwrap().push(access.clone()));
        let mut server = Server::bind(&path, Card::new(build(&spec, wire).unwrap()), Some(observer)).unwrap();
        let thread = thread::spawn(move || {
            let stopped = || stopping.load(Ordering::Relaxed);
            while !stopped() {
                server.run(|| stopped() || looking.load(Ordering::Acquire)).unwrap();
                *passed.lock().unwrap() = server.card().board().port.mac.counters();
                looking.store(false, Ordering::Release);
            }
            server.card().board().port.mac.counters()
        });
        Served { stop, look, counted, thread: Some(thread), path, seen, _directory: directory }
    }

    fn connect(&self) -> Client {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Client { stream, id: 0 }
    }
}

impl Served {
    /// What has passed on the wire; no client is there.
    fn passed(&self) -> Counters {
        self.look.store(true, Ordering::Release);
        let serves = || self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        while serves() && self.look.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
        }
        *self.counted.lock().unwrap()
    }

    /// Ends the server; what has passed on the wire.
    fn end(&mut self) -> Option<Counters> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(|thread| thread.join().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
        assert!(!self.path.exists(), "the socket is removed");
    }
}

struct Client {
    stream: UnixStream,
    id: u16,
}

impl Client {
    /// Sends a command and returns the reply's payload, or the errno.
    fn ask(&mut self, command: u16, payload: &[u8]) -> std::result::Result<Vec<u8>, u32> {
        self.ask_with(command, payload, &[])
    }

    fn ask_with(&mut self, command: u16, payload: &[u8], fds: &[BorrowedFd<'_>]) -> std::result::Result<Vec<u8>, u32> {
        self.id += 1;
        let message = message(self.id, command, payload);
        assert_eq!(sys::net::send_with_fds(self.stream.as_fd(), &message, fds).unwrap(), message.len());
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header).unwrap();
        assert_eq!(header[..2], self.id.to_ne_bytes());
        let mut reply = vec![0; u32_at(&header, 4).unwrap() as usize - HEADER];
        self.stream.read_exact(&mut reply).unwrap();
        match u32_at(&header, 8).unwrap() {
            1 => Ok(reply),
            _ => Err(u32_at(&header, 12).unwrap()),
        }
    }

    fn read(&mut self, region: u32, offset: u64, count: u32) -> std::result::Result<Vec<u8>, u32> {
        let payload = [offset.to_ne_bytes().to_vec(), words(&[region, count])].concat();
        self.ask(9, &payload).map(|reply| reply[16..].to_vec())
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> std::result::Result<Vec<u8>, u32> {
        let head = [offset.to_ne_bytes().to_vec(), words(&[region, data.len() as u32])].concat();
        self.ask(10, &[&head, data].concat())
    }
}

#[test]
fn a_client_sees_the_cards_identity_and_regions() {
    let served = Served::new();
    let mut client = served.connect();
    assert_eq!(&client.ask(1, &[0, 0, 0, 0, b'{', b'}', 0]).unwrap()[..4], &[0; 4]);
    assert_eq!(client.ask(4, &words(&[16, 0, 0, 0])).unwrap(), words(&[16, 3, 9, 5]));
    let bar0 = client.ask(5, &words(&[32, 0, 0, 0, 0, 0, 0, 0])).unwrap();
    assert_eq!((u32_at(&bar0, 4), u64_at(&bar0, 16)), (Some(3), Some(512 << 10)));
    assert_eq!(client.ask(5, &words(&[32, 0, 9, 0, 0, 0, 0, 0])), Err(libc::EINVAL as u32));
    assert_eq!(u32_at(&client.ask(7, &words(&[16, 0, 2, 0])).unwrap(), 12), Some(64));
    // All of configuration space in one message, as QEMU asks.
    let config = client.read(7, 0, 4096).unwrap();
    assert_eq!((config.len(), &config[..4]), (4096, &[0x86, 0x80, 0xfb, 0x10][..]));
    assert_eq!(client.ask(99, &[]), Err(libc::EOPNOTSUPP as u32));
}

#[test]
fn registers_are_read_written_and_seen_by_the_observer() {
    let served = Served::new();
    let mut client = served.connect();
    // FCTTV(0), plain storage.
    client.write(0, 0x3200, &[1, 2, 3, 4]).unwrap();
    assert_eq!(client.read(0, 0x3200, 4).unwrap(), [1, 2, 3, 4]);
    let seen = served.seen.lock().unwrap().clone();
    let name = Some("FCTTV(0)".to_owned());
    let access = Access { write: true, bar: 0, offset: 0x3200, size: 4, value: 0x0403_0201, name };
    assert_eq!(seen, [access.clone(), Access { write: false, ..access }]);
    assert_eq!(client.read(0, (512 << 10) - 2, 4), Err(libc::EINVAL as u32));
    assert_eq!(client.read(0, u64::MAX, 4), Err(libc::EINVAL as u32));
    assert_eq!(client.read(6, 0, 4), Err(libc::EINVAL as u32));
}

#[test]
fn a_card_is_powered_on_anew_for_the_next_client() {
    let served = Served::new();
    let mut first = served.connect();
    first.write(0, 0x3200, &[9; 4]).unwrap();
    drop(first);
    assert_eq!(served.connect().read(0, 0x3200, 4).unwrap(), [0; 4]);
}

#[test]
fn a_socket_in_use_is_refused_and_a_stale_one_taken_over() {
    let served = Served::new();
    let card = || {
        let spec = Spec::new("82599");
        let wire = spec.open_wire(&mut Default::default()).unwrap();
        Card::new(build(&spec, wire).unwrap())
    };
    let refused = Server::bind(&served.path, card(), None).err().unwrap();
    assert_eq!(refused.kind(), Kind::Usage);
    let directory = tempfile::tempdir().unwrap();
    let stale = directory.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    assert!(Server::bind(&stale, card(), None).is_ok());
    let file = directory.path().join("file");
    std::fs::write(&file, "of somebody").unwrap();
    assert!(Server::bind(&file, card(), None).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "of somebody", "what is no socket stays");
}

#[test]
fn maps_without_a_file_are_accepted_and_unknown_ranges_unmapped() {
    let served = Served::new();
    let mut client = served.connect();
    let range = [0xc_0000_u64.to_ne_bytes(), 0x1000_u64.to_ne_bytes()].concat();
    let map = [words(&[32, 3]), 0_u64.to_ne_bytes().to_vec(), range.clone()].concat();
    assert_eq!(client.ask(2, &map), Ok(Vec::new()));
    let unmap = [words(&[24, 0]), range].concat();
    assert_eq!(client.ask(3, &unmap), Ok(unmap.clone()));
    let all = [words(&[24, 0]), 0_u64.to_ne_bytes().to_vec(), u64::MAX.to_ne_bytes().to_vec()].concat();
    assert_eq!(client.ask(3, &all), Ok(all.clone()));
}

#[test]
fn transfers_are_cut_into_aligned_accesses() {
    let cut = |offset, count: usize| pieces(if count == 8 { 8 } else { 4 }, offset, count).collect::<Vec<_>>();
    assert_eq!(cut(0, 8), [(0, 8)]);
    assert_eq!(cut(4, 8), [(4, 4), (8, 4)]);
    assert_eq!(cut(0, 12), [(0, 4), (4, 4), (8, 4)]);
    assert_eq!(pieces(4, 0, 8).collect::<Vec<_>>(), [(0, 4), (4, 4)]);
    assert_eq!(cut(1, 6), [(1, 1), (2, 2), (4, 2), (6, 1)]);
    assert_eq!(cut(4, 0), []);
}

#[test]
fn memory_is_reached_through_its_file_and_interrupts_through_eventfds() {
    let served = Served::new();
    let mut client = served.connect();
    let (memory, event) = (memory(), EventFd::new().unwrap());
    assert_eq!(client.ask_with(2, &map(0x10_0000, 0, MEMORY), &[memory.as_fd()]), Ok(Vec::new()));
    assert_eq!(client.ask_with(2, &map(0x10_1000, 0, 0x1000), &[memory.as_fd()]), Err(libc::EEXIST as u32));
    assert_eq!(client.ask_with(2, &map(u64::MAX - 0xfff, 0, 0x1000), &[memory.as_fd()]), Err(libc::EEXIST as u32));
    for (offset, size) in [(0, MEMORY + 0x1000), (MEMORY, 0x1000), (u64::MAX - 0xfff, 0x1000), (0, 0), (1, 0x1000)] {
        let map = map(0x100_0000, offset, size);
        assert_eq!(client.ask_with(2, &map, &[memory.as_fd()]), Err(libc::EINVAL as u32), "{offset:#x} {size:#x}");
    }
    assert_eq!(client.ask_with(8, &vectors(0, 1), &[event.as_fd()]), Ok(Vec::new()));
    assert_eq!(client.ask_with(8, &vectors(64, 1), &[event.as_fd()]), Err(libc::EINVAL as u32));
    assert_eq!(client.ask_with(8, &vectors(0, 1), &[memory.as_fd()]), Err(libc::EINVAL as u32), "not an eventfd");
    let vectors = vectors(0, u32::MAX);
    assert_eq!(client.ask_with(8, &vectors, &[]), Err(libc::EINVAL as u32));
}

#[test]
fn a_client_that_stops_in_the_middle_of_a_message_does_not_keep_the_server() {
    let served = Served::new();
    let mut slow = served.connect();
    let begun = Instant::now();
    // One byte now and then: the header would be whole in twice the time there is.
    let ended = loop {
        thread::sleep(2 * MESSAGE / HEADER as u32);
        if slow.stream.write_all(&[9]).is_err() {
            break begun.elapsed();
        }
        assert!(begun.elapsed() < 5 * MESSAGE, "still listened to");
    };
    assert!(ended >= MESSAGE);
    assert_eq!(served.connect().read(7, 0, 2).unwrap(), [0x86, 0x80]);
}

#[test]
fn a_client_that_takes_no_answers_does_not_keep_the_server() {
    let served = Served::new();
    let deaf = served.connect();
    let mut client = Client { stream: deaf.stream.try_clone().unwrap(), id: 0 };
    client.stream.set_write_timeout(Some(5 * MESSAGE)).unwrap();
    let question = message(1, 9, &[0_u64.to_ne_bytes().to_vec(), words(&[7, 4096])].concat());
    while client.stream.write_all(&question).is_ok() {}
    assert_eq!(served.connect().read(7, 0, 2).unwrap(), [0x86, 0x80]);
}

/// Bytes of the memory that the sessions below map.
const MEMORY: u64 = 16 << 12;

/// A file in memory, as QEMU's of a guest's memory.
fn memory() -> std::fs::File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(MEMORY).unwrap();
    file
}

/// A message with everything in order.
fn message(id: u16, command: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [id.to_ne_bytes(), command.to_ne_bytes()].concat();
    bytes.extend(words(&[(HEADER + payload.len()) as u32, 0, 0]));
    bytes.extend_from_slice(payload);
    bytes
}

fn map(address: u64, offset: u64, size: u64) -> Vec<u8> {
    let fields = [offset, address, size].map(u64::to_ne_bytes).concat();
    [words(&[32, 3]), fields].concat()
}

/// Connects eventfds to MSI-X vectors.
fn vectors(start: u32, count: u32) -> Vec<u8> {
    words(&[20, 0x24, MSIX, start, count])
}

/// Files that come with a message of a session.
#[derive(Clone, Copy, Debug)]
enum With {
    Nothing,
    Memory,
    Event,
}

/// A session as QEMU's, which brings the card to where it moves frames: agree,
/// map, interrupts, bus mastering, a ring each way, and doorbells.
fn session() -> Vec<(u16, Vec<u8>, With)> {
    let write = |region: u32, offset: u64, value: u32| {
        let head = [offset.to_ne_bytes().to_vec(), words(&[region, 4])].concat();
        (10, [head, value.to_ne_bytes().to_vec()].concat(), With::Nothing)
    };
    let read = |region: u32, offset: u64, count: u32| {
        (9, [offset.to_ne_bytes().to_vec(), words(&[region, count])].concat(), With::Nothing)
    };
    let mut session = vec![
        (1, vec![0, 0, 0, 0, b'{', b'}', 0], With::Nothing),
        (2, map(0, 0, MEMORY / 2), With::Memory),
        (2, map(0x10_0000, MEMORY / 2, MEMORY / 2), With::Memory),
        (4, words(&[16, 0, 0, 0]), With::Nothing),
        (5, words(&[32, 0, 0, 0, 0, 0, 0, 0]), With::Nothing),
        read(7, 0, 4096),
        (8, vectors(0, 1), With::Event),
        (8, vectors(1, 1), With::Event),
        // Reset. Command register: memory and bus mastering; MSI-X on.
        write(0, 0, 0x0400_0008),
        write(7, 4, 6),
        write(7, 0x70, 0x8000_0000),
        // Receive: ring 0 with 128 descriptors, RXDCTL, RXCTRL.
        write(0, 0x5080, 0x702),
        write(0, 0x1000, 0),
        write(0, 0x1008, 2048),
        write(0, 0x1014, 0x0200_0402),
        write(0, 0x1028, 1 << 25),
        write(0, 0x3000, 1),
        write(0, 0x1018, 127),
        // Transmit: DMATXCTL, ring 0, TXDCTL, then frames.
        write(0, 0x4a80, 1),
        write(0, 0x6000, 0x10_0000),
        write(0, 0x6008, 2048),
        write(0, 0x6028, 1 << 25),
        write(0, 0x900, 0x8180),
        write(0, 0x880, 0xffff_ffff),
        write(0, 0x6018, 8),
        read(0, 0x800, 4),
        read(0, 0x6010, 4),
        write(0, 0x6018, 100),
        (3, [words(&[24, 0]), [0, MEMORY / 2].map(u64::to_ne_bytes).concat()].concat(), With::Nothing),
        write(0, 0x6018, 20),
        (13, Vec::new(), With::Nothing),
    ];
    session.extend(session.clone().into_iter().skip(8).take(16));
    session
}

/// What the client cuts off its memory's file while the card's rings are there
/// reads as zero from then on, and takes nobody down.
#[test]
fn a_client_that_takes_its_memory_away_does_not_take_the_server_down() {
    let mut served = Served::new();
    served.survives_a_cut(&mut served.connect());
    served.end().unwrap();
}

/// Nor does one that has mapped a thousand other pieces before.
#[test]
fn a_client_of_many_pieces_that_takes_one_away_does_not_take_the_server_down() {
    const PIECES: u64 = 1_000;
    let mut served = Served::new();
    let mut client = served.connect();
    let other = memory();
    for piece in 0..PIECES {
        let map = map(0x1_0000_0000 + piece * 0x2000, 0, 0x1000);
        assert_eq!(client.ask_with(2, &map, &[other.as_fd()]), Ok(Vec::new()), "piece {piece}");
    }
    served.survives_a_cut(&mut client);
    served.end().unwrap();
}

impl Served {
    /// Plays the session to the server, and cuts the memory's file off in the midst of it.
    fn survives_a_cut(&self, client: &mut Client) {
        let (memory, event) = (memory(), EventFd::new().unwrap());
        let receive_ring_on = session().iter().position(|(_, bytes, _)| bytes.starts_with(&0x1028_u64.to_ne_bytes()));
        for (at, (command, payload, with)) in session().into_iter().enumerate() {
            if Some(at) == receive_ring_on {
                memory.set_len(0).unwrap();
            }
            let fd = match with {
                With::Nothing => None,
                With::Memory => Some(memory.as_fd()),
                With::Event => Some(event.as_fd()),
            };
            let _ = client.ask_with(command, &payload, fd.as_slice());
        }
        thread::sleep(Duration::from_millis(20));
        assert_eq!(client.read(7, 0, 2).unwrap(), [0x86, 0x80]);
        client.stream.shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(self.connect().read(7, 0, 2).unwrap(), [0x86, 0x80]);
    }
}

/// Sessions that begin well and then go wrong: messages repeated, left out,
/// swapped, with bits inverted, lengths that lie, and plain noise. Whatever was
/// sent, the next client finds a card that was just powered on.
#[test]
fn no_session_brings_the_server_down() {
    const PATIENCE: Duration = Duration::from_secs(4);
    let mut served = Served::new();
    let (memory, event) = (memory(), EventFd::new().unwrap());
    let mut random = Random::new(7);
    // Descriptors that make sense as a rule, for both directions: an address;
    // EOP, IFCS and RS with a length. Frames that come in go over them.
    let mut descriptor = || match random.number() % 4 {
        0 => [random.number(), random.number()],
        _ => [random.below(MEMORY / 2), 0x0b00_0000 | (60 + random.below(1400))],
    };
    let content: Vec<u8> = (0..MEMORY / 16).flat_map(|_| descriptor()).flat_map(u64::to_ne_bytes).collect();
    (&memory).write_all(&content).unwrap();
    let begun = Instant::now();
    let mut sessions = 0;
    // How far one gets depends on how often the card's thread runs between two messages.
    let far = |wire: &Counters| wire.tx_frames > 100 && wire.rx_frames > 100;
    while sessions < 400 && begun.elapsed() < PATIENCE || begun.elapsed() < 15 * PATIENCE && !far(&served.passed()) {
        let client = served.connect();
        // Nobody waits for answers, but somebody takes them.
        let mut answers = client.stream.try_clone().unwrap();
        let listener = thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
        let mut script = session();
        for _ in 0..random.number() % 4 {
            let [a, b] = [0; 2].map(|_| random.below(script.len() as u64) as usize);
            match random.number() % 3 {
                0 => script.swap(a, b),
                1 => script.insert(a, script[b].clone()),
                _ => drop(script.remove(a)),
            }
        }
        for (id, (command, payload, with)) in script.into_iter().enumerate() {
            let mut bytes = message(id as u16, command, &payload);
            match random.number() % 40 {
                0 => bytes = (0..random.below(64)).map(|_| random.number() as u8).collect(),
                1 => bytes[2] = random.number() as u8,
                // Values, not headers: it is understood, and strange.
                2..=9 if !payload.is_empty() => {
                    for _ in 0..1 + random.number() % 3 {
                        let at = HEADER + random.below(payload.len() as u64) as usize;
                        bytes[at] = if random.number().is_multiple_of(2) { random.number() as u8 } else { 0xff };
                    }
                }
                10 => bytes[4..8].copy_from_slice(&(random.number() as u32 % 100).to_ne_bytes()),
                _ => {}
            }
            let fds = match with {
                With::Nothing => vec![],
                With::Memory => vec![memory.as_fd()],
                With::Event => vec![event.as_fd(); 1 + random.below(2) as usize],
            };
            if !bytes.is_empty() && sys::net::send_with_fds(client.stream.as_fd(), &bytes, &fds).is_err() {
                break;
            }
        }
        let _ = client.stream.shutdown(std::net::Shutdown::Write);
        let _ = listener.join().unwrap();
        sessions += 1;
    }
    assert!(sessions > 10, "{sessions} sessions in {PATIENCE:?}");
    let mut client = served.connect();
    assert_eq!(client.read(7, 0, 6).unwrap(), [0x86, 0x80, 0xfb, 0x10, 0, 0], "bus mastering is off");
    assert_eq!(client.read(0, 0x6028, 4).unwrap(), [0; 4], "no queue is on");
    drop(client);
    let wire = served.end().unwrap();
    assert!(far(&wire), "the sessions got no further than {wire:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_message_brings_the_server_down(
        command in 0..20_u16,
        payload in proptest::collection::vec(any::<u8>(), 0..80),
        lie in proptest::option::of(any::<u32>()),
    ) {
        let served = Served::new();
        let mut client = served.connect();
        let mut message = [1_u16.to_ne_bytes(), command.to_ne_bytes()].concat();
        message.extend(words(&[lie.unwrap_or((HEADER + payload.len()) as u32), 0, 0]));
        message.extend_from_slice(&payload);
        client.stream.write_all(&message).unwrap();
        drop(client);
        // Whatever that was, the next client is served.
        prop_assert_eq!(&served.connect().read(7, 0, 2).unwrap(), &[0x86, 0x80]);
    }
}
