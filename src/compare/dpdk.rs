//! DPDK, loaded into this process when it runs: nothing of it is linked.
//!
//! ```text
//!   librte_eal.so.N    rte_eal_init, rte_version, rte_openlog_stream
//!   librte_mbuf.so.N   rte_pktmbuf_pool_create, rte_pktmbuf_free_bulk
//!   librte_ethdev.so.N rte_eth_*, and rte_eth_fp_ops: a row of 128 bytes a port
//! ```
//!
//! Receive and transmit are inline functions in DPDK's headers that call through
//! that row. Where its members are depends on the ABI, which is the number in
//! the libraries' names: one that is not known here is refused. The drivers are
//! plug-ins that the EAL loads by itself.

#![allow(unsafe_code)]

use super::Contender;
use crate::error::{Error, Kind, Result};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::io;
use std::mem;
use std::ptr;

/// Where `struct rte_eth_fp_ops` has what, in bytes.
struct Abi {
    /// `rx_pkt_burst`, a function.
    rx: usize,
    /// `rxq.data`, an array of queues.
    rx_queues: usize,
    /// `tx_pkt_burst`.
    tx: usize,
    /// `txq.data`.
    tx_queues: usize,
}

/// DPDK 22.11 (`rte_ethdev_core.h`).
const ABI_23: Abi = Abi { rx: 0, rx_queues: 24, tx: 64, tx_queues: 88 };

/// DPDK 23.11 to 25.11, which moved the queues to the front.
const ABI_24: Abi = Abi { rx: 16, rx_queues: 0, tx: 80, tx_queues: 64 };

/// The ABIs that are known, newest first.
const KNOWN: [(u32, &Abi); 4] = [(26, &ABI_24), (25, &ABI_24), (24, &ABI_24), (23, &ABI_23)];

/// Those that are looked for, to say that they are not.
const LOOKED_FOR: std::ops::Range<u32> = 20..40;

/// Bytes of a row of `rte_eth_fp_ops`.
const ROW: usize = 128;

/// Most frames in a burst.
const BURST: usize = 64;

/// A configuration of zeroes: `struct rte_eth_conf` has 2272 bytes in ABI 23. In words.
const CONF: usize = 8192 / 8;

/// `txmode.offloads` in it, in words, and the offload that testpmd asks for:
/// `RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE`, all buffers are from one pool.
const TX_OFFLOADS: usize = 72 / 8;
const FAST_FREE: u64 = 1 << 16;

/// Buffers of the pool, and of its cache; testpmd's own figures.
pub const BUFFERS: c_uint = 8192;
const CACHE: c_uint = 256;

/// `RTE_MBUF_DEFAULT_BUF_SIZE`: 2 KiB behind a headroom of 128 bytes.
const ROOM: u16 = 2048 + 128;

/// `SOCKET_ID_ANY`.
const ANY_SOCKET: c_int = -1;

type Burst = unsafe extern "C" fn(*mut c_void, *mut *mut c_void, u16) -> u16;

/// DPDK's library of functions, all that are needed.
struct Library {
    abi: u32,
    layout: &'static Abi,
    /// The libraries that were opened; they are never closed.
    handles: Vec<*mut c_void>,
}

impl Library {
    /// Opens the newest DPDK of this machine that is known.
    ///
    /// # Errors
    /// [`Kind::Missing`] if there is none, [`Kind::Unsupported`] if only others.
    fn open() -> Result<Self> {
        for (abi, layout) in KNOWN {
            let open = |name: &str| open(&format!("librte_{name}.so.{abi}"));
            if let [Some(eal), Some(mbuf), Some(ethdev)] = [open("eal"), open("mbuf"), open("ethdev")] {
                return Ok(Library { abi, layout, handles: vec![eal, mbuf, ethdev] });
            }
        }
        let other = LOOKED_FOR.rev().find(|n| open(&format!("librte_eal.so.{n}")).is_some());
        Err(match other {
            Some(n) => Error::new(
                Kind::Unsupported,
                format!(
                    "DPDK is here with ABI {n}, whose structures are not known; 23 to 26 are (DPDK 22.11 to 25.11)"
                ),
            ),
            None => Error::new(
                Kind::Missing,
                "DPDK's libraries are not on this machine, and without them there is nothing to compare with; `sudo apt-get install dpdk-dev` brings them",
            ),
        })
    }

    fn symbol(&self, name: &CStr) -> Result<*mut c_void> {
        // SAFETY: the handles are open libraries, the name is a string.
        let found = self.handles.iter().map(|handle| unsafe { libc::dlsym(*handle, name.as_ptr()) });
        found.into_iter().find(|symbol| !symbol.is_null()).ok_or_else(|| {
            let name = name.to_string_lossy();
            Error::new(Kind::Unsupported, format!("DPDK of ABI {} has no {name}; is it whole?", self.abi))
        })
    }
}

fn open(name: &str) -> Option<*mut c_void> {
    let name = CString::new(name).ok()?;
    // SAFETY: loading DPDK's libraries runs their constructors, which register
    // drivers and nothing else.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    (!handle.is_null()).then_some(handle)
}

/// A function of DPDK's, as its header declares it.
macro_rules! function {
    ($library:expr, $name:literal, fn($($argument:ty),*) -> $result:ty) => {{
        let symbol = $library.symbol($name)?;
        // SAFETY: the symbol is the function that DPDK's headers declare so; the
        // declaration is part of the ABI, whose number was checked.
        unsafe { mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> $result>(symbol) }
    }};
}

/// How a card is to be driven.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// PCI address of the card, with its driver's arguments.
    pub device: &'a str,
    /// Processor for DPDK's main thread: this one.
    pub cpu: usize,
    /// Widest vectors that drivers may use, in bits; 64 forbids them.
    pub vectors: Option<u16>,
    /// Descriptors in each ring.
    pub ring: u16,
    /// The transmit queue that is used; those before it only stand there.
    pub tx_queue: u16,
}

/// A port of DPDK's with one receive and one transmit queue.
pub struct Dpdk {
    rx: Burst,
    rx_queue: *mut c_void,
    tx: Burst,
    tx_queue: *mut c_void,
    free: unsafe extern "C" fn(*mut *mut c_void, c_uint),
    stats: unsafe extern "C" fn(u16, *mut u64) -> c_int,
    stop: unsafe extern "C" fn(u16) -> c_int,
    held: [*mut c_void; BURST],
    count: usize,
    /// As DPDK calls itself: `DPDK 22.11.11`.
    pub version: String,
    /// Of the libraries.
    pub abi: u32,
    /// Which of its functions it chose, in its own words.
    pub path: String,
    /// Whether it was given the offload `MBUF_FAST_FREE`.
    pub fast_free: bool,
}

impl Dpdk {
    /// Starts DPDK and its driver for the only card there is. Once in a process.
    ///
    /// # Errors
    /// What DPDK said last; [`Kind::Missing`] if it is not here, [`Kind::Unsupported`]
    /// if its ABI is not known.
    pub fn start(setup: &Setup<'_>) -> Result<Self> {
        let library = Library::open()?;
        let log = Log::new(&library)?;
        let version = function!(library, c"rte_version", fn() -> *const c_char);
        // SAFETY: returns a string that is never freed.
        let version = unsafe { CStr::from_ptr(version()) }.to_string_lossy().into_owned();
        log.explain(init(&library, setup), "starting its environment")?;

        let count = function!(library, c"rte_eth_dev_count_avail", fn() -> u16);
        // SAFETY: DPDK has been started.
        let ports = unsafe { count() };
        log.explain(if ports == 1 { 0 } else { -libc::ENODEV }, "finding a driver for the card")?;
        let fast_free = match configure(&library, FAST_FREE, setup)? {
            0 => true,
            // Not every driver has it; then it refuses.
            _ => log.explain(configure(&library, 0, setup)?, "configuring the port").map(|()| false)?,
        };
        log.explain(start_queues(&library, setup)?, "setting up its queues")?;
        let path = path(&library, &log, setup.tx_queue)?;

        let row = library.symbol(c"rte_eth_fp_ops")?.cast::<u8>();
        // SAFETY: the symbol is an array of rows, this is port 0's; members are
        // aligned pointers at the offsets of this ABI, and set as the port has started.
        let member = |offset: usize| unsafe {
            debug_assert!(offset < ROW);
            row.add(offset).cast::<*mut c_void>().read()
        };
        let burst = |offset: usize| {
            let function = member(offset);
            // SAFETY: so are these declared (`eth_rx_burst_t`, `eth_tx_burst_t`).
            unsafe { mem::transmute::<*mut c_void, Burst>(function) }
        };
        // SAFETY: `data` is an array with the queue of each number; these were set up.
        let queue = |offset: usize, n: u16| unsafe { member(offset).cast::<*mut c_void>().add(n.into()).read() };
        let Abi { rx, rx_queues, tx, tx_queues } = *library.layout;
        Ok(Dpdk {
            rx: burst(rx),
            rx_queue: queue(rx_queues, 0),
            tx: burst(tx),
            tx_queue: queue(tx_queues, setup.tx_queue),
            free: function!(library, c"rte_pktmbuf_free_bulk", fn(*mut *mut c_void, c_uint) -> ()),
            stats: function!(library, c"rte_eth_stats_get", fn(u16, *mut u64) -> c_int),
            stop: function!(library, c"rte_eth_dev_stop", fn(u16) -> c_int),
            held: [ptr::null_mut(); BURST],
            count: 0,
            version,
            abi: library.abi,
            path,
            fast_free,
        })
    }

    /// Frames received and sent, as DPDK has them of the card.
    pub fn counted(&self) -> (u64, u64) {
        // `struct rte_eth_stats` begins with ipackets and opackets; 704 bytes.
        let mut stats = [0u64; 256];
        // SAFETY: port 0 is there, and the buffer is longer than the structure.
        unsafe { (self.stats)(0, stats.as_mut_ptr()) };
        (stats[0], stats[1])
    }

    /// Stops the card.
    pub fn stop(&mut self) {
        self.drop_held();
        // SAFETY: port 0 is there. A card that does not stop is left as it is.
        unsafe { (self.stop)(0) };
    }

    fn drop_held(&mut self) {
        // SAFETY: the first `count` are buffers that were received and not sent.
        unsafe { (self.free)(self.held.as_mut_ptr(), self.count as c_uint) };
        self.count = 0;
    }
}

impl Contender for Dpdk {
    #[inline]
    fn receive(&mut self, burst: usize) -> usize {
        let wanted = (self.count + burst).min(BURST);
        let before = self.count;
        // Some vector paths give 32 at most, however many are asked for.
        while self.count < wanted {
            let room = (wanted - self.count) as u16;
            // SAFETY: the queue is this port's and only used here; there is room for so many.
            let n = unsafe { (self.rx)(self.rx_queue, self.held.as_mut_ptr().add(self.count), room) };
            self.count += usize::from(n);
            if n == 0 {
                break;
            }
        }
        self.count - before
    }

    #[inline]
    fn send(&mut self) -> usize {
        // SAFETY: the first `count` are buffers that this port has received.
        let sent = usize::from(unsafe { (self.tx)(self.tx_queue, self.held.as_mut_ptr(), self.count as u16) });
        if sent != self.count {
            self.held.copy_within(sent..self.count, 0);
            self.count -= sent;
            self.drop_held();
        }
        self.count = 0;
        sent
    }

    fn discard(&mut self) {
        self.drop_held();
    }
}

fn init(library: &Library, setup: &Setup<'_>) -> c_int {
    let cpu = setup.cpu;
    let mut words = vec!["bmnic".to_string(), "--lcores".into(), format!("0@{cpu}")];
    words.extend(["-m", "48", "--huge-dir", crate::emu::native::HUGE_PAGES].map(String::from));
    words.extend(["--file-prefix", "bmnic", "--no-telemetry", "-a", setup.device].map(String::from));
    // What the drivers say of the path that they take.
    words.push("--log-level=pmd.net.*:debug".into());
    if let Some(bits) = setup.vectors {
        words.push(format!("--force-max-simd-bitwidth={bits}"));
    }
    // DPDK keeps pointers into them.
    let words: Vec<*mut c_char> =
        words.into_iter().filter_map(|word| CString::new(word).ok()).map(CString::into_raw).collect();
    let words: &'static mut [*mut c_char] = words.leak();
    let Ok(init) = (|| Ok::<_, Error>(function!(library, c"rte_eal_init", fn(c_int, *mut *mut c_char) -> c_int)))()
    else {
        return -libc::ENOSYS;
    };
    // SAFETY: the words are strings that are never freed, as many as is said.
    unsafe { init(words.len() as c_int, words.as_mut_ptr()) }.min(0)
}

fn configure(library: &Library, tx_offloads: u64, setup: &Setup<'_>) -> Result<c_int> {
    let configure = function!(library, c"rte_eth_dev_configure", fn(u16, u16, u16, *const u64) -> c_int);
    let mut conf = [0; CONF];
    conf[TX_OFFLOADS] = tx_offloads;
    // SAFETY: the configuration is zeroes of more than its size, but for one word.
    Ok(unsafe { configure(0, 1, setup.tx_queue + 1, conf.as_ptr()) })
}

fn start_queues(library: &Library, setup: &Setup<'_>) -> Result<c_int> {
    let ring = setup.ring;
    let pool = function!(
        library,
        c"rte_pktmbuf_pool_create",
        fn(*const c_char, c_uint, c_uint, u16, u16, c_int) -> *mut c_void
    );
    let rx =
        function!(library, c"rte_eth_rx_queue_setup", fn(u16, u16, u16, c_int, *const c_void, *mut c_void) -> c_int);
    let tx = function!(library, c"rte_eth_tx_queue_setup", fn(u16, u16, u16, c_int, *const c_void) -> c_int);
    let promiscuous = function!(library, c"rte_eth_promiscuous_enable", fn(u16) -> c_int);
    let start = function!(library, c"rte_eth_dev_start", fn(u16) -> c_int);
    // SAFETY: the name is a string; no configuration means the driver's own; the
    // pool is checked before it is used. The port was configured with these queues.
    unsafe {
        let pool = pool(c"bmnic".as_ptr(), BUFFERS, CACHE, 0, ROOM, ANY_SOCKET);
        if pool.is_null() {
            return Ok(-libc::ENOMEM);
        }
        let senders = || (0..=setup.tx_queue).map(|n| tx(0, n, ring, ANY_SOCKET, ptr::null()));
        let steps: [&dyn Fn() -> c_int; 4] = [
            &|| rx(0, 0, ring, ANY_SOCKET, ptr::null(), pool),
            &|| senders().find(|&code| code != 0).unwrap_or(0),
            &|| start(0),
            // Some cards cannot, and receive all the same.
            &|| promiscuous(0).max(0),
        ];
        Ok(steps.iter().map(|step| step()).find(|&code| code != 0).unwrap_or(0))
    }
}

/// The path that the driver took: as it answers, or else as it has logged.
fn path(library: &Library, log: &Log, tx_queue: u16) -> Result<String> {
    type Mode = unsafe extern "C" fn(u16, u16, *mut [u8; 2048]) -> c_int;
    let ask = |name: &CStr, queue: u16| -> Result<Option<String>> {
        let symbol = library.symbol(name)?;
        // SAFETY: both are declared so; `struct rte_eth_burst_mode` is 8 bytes of
        // flags and 1024 of text.
        let mode = unsafe { mem::transmute::<*mut c_void, Mode>(symbol) };
        let mut answer = [0; 2048];
        // SAFETY: the port and the queue are there, the buffer is longer than the structure.
        let code = unsafe { mode(0, queue, &raw mut answer) };
        let text = CStr::from_bytes_until_nul(&answer[8..]).unwrap_or_default().to_string_lossy().into_owned();
        Ok((code == 0 && !text.is_empty()).then_some(text))
    };
    let rx = ask(c"rte_eth_rx_burst_mode_get", 0)?;
    let tx = ask(c"rte_eth_tx_burst_mode_get", tx_queue)?;
    Ok(match (rx, tx) {
        (Some(rx), Some(tx)) => format!("rx {rx}, tx {tx}"),
        _ => said_of_paths(&log.read()),
    })
}

/// Lines of a driver's log that tell which functions it chose.
fn said_of_paths(log: &str) -> String {
    let words =
        ["vector", "bulk", "simple", "scatter", "in-order", "inorder", "mergeable", "standard", "full-featured"];
    let mut said: Vec<&str> = Vec::new();
    for line in log.lines() {
        let line = line.split_once("(): ").map_or(line, |(_, text)| text).trim();
        let lower = line.to_ascii_lowercase();
        let told = ["using", "enabled", "chosen", "use "].iter().any(|word| lower.contains(word));
        if told && words.iter().any(|word| lower.contains(word)) && !said.contains(&line) {
            said.push(line);
        }
    }
    if said.is_empty() { "its default".into() } else { said.join("; ") }
}

/// What DPDK says, kept to be asked for.
struct Log {
    stream: *mut libc::FILE,
}

impl Log {
    fn new(library: &Library) -> Result<Self> {
        let redirect = function!(library, c"rte_openlog_stream", fn(*mut libc::FILE) -> c_int);
        // SAFETY: takes nothing.
        let stream = unsafe { libc::tmpfile() };
        if stream.is_null() {
            return Err(Error::io("making a file for DPDK's log", io::Error::last_os_error()));
        }
        // SAFETY: the stream is open and never closed; it is to have no buffer, so
        // that what was said last is there whatever happens next.
        unsafe {
            libc::setvbuf(stream, ptr::null_mut(), libc::_IONBF, 0);
            redirect(stream);
        }
        Ok(Log { stream })
    }

    fn read(&self) -> String {
        use std::io::{Read, Seek};
        use std::os::fd::{BorrowedFd, OwnedFd};
        // SAFETY: the stream is open, and so is its descriptor.
        let fd = unsafe { BorrowedFd::borrow_raw(libc::fileno(self.stream)) };
        let mut text = String::new();
        // A duplicate shares its position with the stream: that is put back to the end.
        let read = fd.try_clone_to_owned().map(|fd: OwnedFd| std::fs::File::from(fd)).and_then(|mut file| {
            file.rewind()?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            text = String::from_utf8_lossy(&bytes).into_owned();
            Ok(())
        });
        if let Err(error) = read {
            text = format!("its log cannot be read: {error}");
        }
        text
    }

    /// An error of DPDK's, with what it said of it.
    fn explain(&self, code: c_int, doing: &str) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        let log = self.read();
        let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(3)..].join(" | ");
        Err(Error::new(Kind::Device, format!("DPDK failed at {doing} (code {code}); it said: {last}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_are_found_in_a_log() {
        let log = "ixgbe_set_rx_function(): Vector rx enabled, please make sure RX burst size no less than 4 (port=0).\n\
                   ixgbe_set_tx_function(): Using simple tx code path\n\
                   ixgbe_set_tx_function(): Vector tx enabled.\n\
                   eth_ixgbe_dev_init(): MAC: 2, PHY: 12";
        assert_eq!(
            said_of_paths(log),
            "Vector rx enabled, please make sure RX burst size no less than 4 (port=0).; Using simple tx code path; Vector tx enabled."
        );
        assert_eq!(said_of_paths(""), "its default");
    }
}
