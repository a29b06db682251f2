//! The other end of something shared: of a cable, of a published ring, of a socket; and the
//! files that the kernel shows of a card.

use super::{Input, Plain, Target};
use bmnic::emu::wire::{Cable, MAX_FRAME, Wire};
use bmnic::emu::{Card, Spec, build, vfio_user};
use bmnic::pci::discover;
use bmnic::publish::layout::Shape;
use bmnic::publish::ring::{Begin, Memory, Reader};
use bmnic::sys::{self, Roots};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

pub fn targets() -> impl Iterator<Item = Target> {
    let targets: [(&str, Plain); 4] =
        [("ring", ring), ("cable", cable), ("vfio-user", client), ("sysfs", card_of_the_kernel)];
    targets.into_iter().map(|(name, body)| Target::of(name, body))
}

/// A ring that a publisher of no good will writes.
struct Published {
    shape: Shape,
    head: AtomicU64,
    opened: AtomicU64,
    data: Vec<AtomicU64>,
}

impl Memory for &Published {
    type Word = AtomicU64;

    fn shape(&self) -> Shape {
        self.shape
    }

    fn opened(&self) -> &AtomicU64 {
        &self.opened
    }

    fn head(&self) -> &AtomicU64 {
        &self.head
    }

    fn data(&self) -> &[AtomicU64] {
        &self.data
    }

    fn fence(order: Ordering) {
        std::sync::atomic::fence(order);
    }
}

/// A published ring of any content, which changes while it is read.
fn ring(data: &[u8]) {
    let mut input = Input::new(data);
    let (block, blocks) = (8 + u64::from(input.byte() & 31), 2 + u64::from(input.byte() & 3));
    let most = input.byte();
    let Some(shape) = Shape::checked(block, blocks, u64::from(most), 1 << 20) else { return };
    let begin = if most & 1 == 0 { Begin::Now } else { Begin::Oldest };
    let mut word = |bytes| AtomicU64::new(input.number(bytes));
    let (head, opened) = (word(2), word(2));
    let data = (0..shape.block * shape.blocks).map(|_| word(2)).collect();
    let published = Published { shape, head, opened, data };
    let Ok(mut reader) = Reader::new(&published, begin) else { return };
    let mut bytes = vec![0; shape.most];
    for _ in 0..256 {
        match reader.next(&mut bytes) {
            Ok(Some(packet)) => assert!(packet.len <= shape.most),
            Ok(None) if input.is_over() => break,
            Ok(None) => {}
            Err(_) => break,
        }
        match input.byte() {
            0 => published.head.store(input.number(8), Ordering::Relaxed),
            1 => published.opened.store(input.number(8), Ordering::Relaxed),
            _ => published.data[input.number(2) as usize % published.data.len()]
                .store(input.number(8), Ordering::Relaxed),
        }
    }
}

/// A cable whose file somebody else writes to.
fn cable(data: &[u8]) {
    let mut input = Input::new(data);
    let name = format!("fuzz-{}", std::process::id());
    let (Ok(mut a), Ok(mut b)) = (Cable::open(&name, true), Cable::open(&name, input.byte() & 1 != 0)) else {
        panic!("cable {name}: in use");
    };
    let file = File::options().write(true).open(format!("/dev/shm/bmnic-cable-{name}")).unwrap();
    for _ in 0..64 {
        if input.is_over() {
            break;
        }
        let (what, at) = (input.byte(), input.number(2));
        match what & 3 {
            // The head of the file, and the two directions.
            0 => drop(file.write_all_at(&input.number(8).to_le_bytes()[..1 + usize::from(what >> 5)], at % 0x4000)),
            1 => drop(a.send(&vec![1; at as usize % (MAX_FRAME + 1)], at)),
            2 => drop(b.send(&[2; 60], at)),
            _ => {
                for end in [&mut a, &mut b] {
                    if let Some((frame, _)) = end.peek(at) {
                        assert!(frame.len() <= MAX_FRAME);
                        end.advance();
                    }
                    let _ = end.carrier();
                }
            }
        }
    }
    drop((a, b));
    let _ = fs::remove_file(format!("/dev/shm/bmnic-cable-{name}"));
}

/// A client of an emulated card's socket; the next one is served whatever this one sent.
fn client(data: &[u8]) {
    let mut input = Input::new(data);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("card.sock");
    let spec: Spec = "82599,wire=loop,link=1us".parse().unwrap();
    let wire = spec.open_wire(&mut Default::default()).unwrap();
    let mut server = vfio_user::Server::bind(&path, Card::new(build(&spec, wire).unwrap()), None).unwrap();
    let stop = AtomicBool::new(false);
    let memory = tempfile::tempfile().unwrap();
    memory.set_len(16 << 12).unwrap();
    thread::scope(|scope| {
        let server = scope.spawn(|| server.run(|| stop.load(Ordering::Relaxed)));
        let mut stream = UnixStream::connect(&path).unwrap();
        let mut answers = stream.try_clone().unwrap();
        let listener = scope.spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
        for id in 0..32_u16 {
            if input.is_over()
                || sys::net::send_with_fds(stream.as_fd(), &message(id, &mut input), &[memory.as_fd()]).is_err()
            {
                break;
            }
        }
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = listener.join();
        stream = UnixStream::connect(&path).unwrap();
        // The card's identity, of configuration space.
        let question =
            [vec![1, 0, 9, 0], [32_u32, 0, 0].map(u32::to_le_bytes).concat(), vec![0; 8], vec![7, 0, 0, 0, 2, 0, 0, 0]];
        sys::net::send_with_fds(stream.as_fd(), &question.concat(), &[]).unwrap();
        let mut answer = [0; 34];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[32..], [0x86, 0x80]);
        drop(stream);
        stop.store(true, Ordering::Relaxed);
        server.join().unwrap().unwrap();
    });
}

/// A message whose header says what it is, but for some.
fn message(id: u16, input: &mut Input<'_>) -> Vec<u8> {
    let (command, len) = (u16::from(input.byte()), input.byte());
    let payload = input.bytes(usize::from(len & 0x7f));
    let size = if len & 0x80 == 0 { 16 + payload.len() as u32 } else { input.number(4) as u32 };
    let head = [id.to_le_bytes(), command.to_le_bytes()].concat();
    [head, [size, 0, 0].map(u32::to_le_bytes).concat(), payload.to_vec()].concat()
}

/// Files of a card's folder, in the order in which an input fills them.
const FILES: [&str; 12] = [
    "vendor",
    "device",
    "class",
    "resource",
    "config",
    "subsystem_vendor",
    "subsystem_device",
    "revision",
    "numa_node",
    "current_link_speed",
    "current_link_width",
    "max_link_width",
];

/// A card as the kernel shows it: files, parted by a byte 0xff.
fn card_of_the_kernel(data: &[u8]) {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let roots = Roots::under(directory.path());
    let folder = roots.pci().join("devices/0000:01:00.0");
    fs::create_dir_all(&folder).unwrap();
    for (name, content) in FILES.iter().zip(data.split(|byte| *byte == 0xff)) {
        fs::write(folder.join(name), content).unwrap();
    }
    for device in discover::all(&roots) {
        let _ = (device.is_network(), device.is_bridge(), device.interface_names());
    }
    let _ = discover::find(&roots, "01:00.0");
    let _ = discover::find_matching(&roots, "0000:01:*");
}
