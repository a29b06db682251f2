//! The server against a client that knows only the protocol.

use super::*;
use crate::emu::{Spec, build};
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

struct Served {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
    seen: Arc<Mutex<Vec<Access>>>,
    _directory: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("card.sock");
        let spec = Spec::new("82599");
        let wire = spec.open_wire(&mut Default::default()).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stopping, log) = (Arc::clone(&stop), Arc::clone(&seen));
        let observer = Box::new(move |access: &Access| log.lock().unwrap().push(access.clone()));
        let mut server = Server::bind(&path, Card::new(build(&spec, wire).unwrap()), Some(observer)).unwrap();
        let thread = thread::spawn(move || {
            let stopped = || stopping.load(Ordering::Relaxed);
            server.run(stopped).unwrap();
        });
        Served { stop, thread: Some(thread), path, seen, _directory: directory }
    }

    fn connect(&self) -> Client {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Client { stream, id: 0 }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
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
        self.id += 1;
        let mut message = [self.id.to_ne_bytes(), command.to_ne_bytes()].concat();
        message.extend(words(&[(HEADER + payload.len()) as u32, 0, 0]));
        message.extend_from_slice(payload);
        self.stream.write_all(&message).unwrap();
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
    let cut = |offset, count| pieces(offset, count).collect::<Vec<_>>();
    assert_eq!(cut(0, 8), [(0, 4), (4, 4)]);
    assert_eq!(cut(1, 6), [(1, 1), (2, 2), (4, 2), (6, 1)]);
    assert_eq!(cut(4, 0), []);
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
