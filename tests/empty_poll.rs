//! A poll that finds nothing only reads: it writes none of the lines that a card and a driver
//! share, and takes none over to write it. Told by stepping through `recv`, instruction by
//! instruction, on the rings of each family.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

#[path = "common/families.rs"]
mod families;
#[path = "support/silicon/mod.rs"]
mod silicon;

use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::Config;
use families::all_rings;
use iced_x86::{Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register};
use silicon::Opened;
use std::arch::asm;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const RING: u16 = 64;

/// Registers that an address is made of, as the kernel and the decoder name them.
const REGISTERS: [(i32, Register); 16] = [
    (libc::REG_RAX, Register::RAX),
    (libc::REG_RBX, Register::RBX),
    (libc::REG_RCX, Register::RCX),
    (libc::REG_RDX, Register::RDX),
    (libc::REG_RSI, Register::RSI),
    (libc::REG_RDI, Register::RDI),
    (libc::REG_RBP, Register::RBP),
    (libc::REG_RSP, Register::RSP),
    (libc::REG_R8, Register::R8),
    (libc::REG_R9, Register::R9),
    (libc::REG_R10, Register::R10),
    (libc::REG_R11, Register::R11),
    (libc::REG_R12, Register::R12),
    (libc::REG_R13, Register::R13),
    (libc::REG_R14, Register::R14),
    (libc::REG_R15, Register::R15),
];

/// Most instructions of a piece of code.
const MOST: usize = 1 << 14;

/// Longest instruction.
const LONGEST: usize = 15;

/// Before each instruction: where it is, and the registers.
static BEFORE: [[AtomicU64; 17]; MOST] = [const { [const { AtomicU64::new(0) }; 17] }; MOST];
static COUNT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_step(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid ucontext.
    let registers = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let Some(before) = BEFORE.get(COUNT.fetch_add(1, Ordering::Relaxed)) else { return };
    before[16].store(registers[libc::REG_RIP as usize] as u64, Ordering::Relaxed);
    for ((index, _), place) in REGISTERS.iter().zip(before) {
        place.store(registers[*index as usize] as u64, Ordering::Relaxed);
    }
}

/// What a piece of code did to memory.
#[derive(Debug, Default)]
struct Touched {
    /// Addresses that it wrote to.
    written: Vec<u64>,
    /// Addresses whose lines it fetched to write to them.
    fetched: Vec<u64>,
}

impl Touched {
    /// Notes what `instruction` does where the registers are as `value` says.
    fn note(&mut self, instruction: &Instruction, value: impl Fn(Register) -> u64) {
        let mut factory = InstructionInfoFactory::new();
        for memory in factory.info(instruction).used_memory() {
            let address = memory.virtual_address(0, |register, _, _| Some(value(register)));
            let address = address.unwrap_or_else(|| panic!("{instruction:?}"));
            let writes = [OpAccess::Write, OpAccess::CondWrite, OpAccess::ReadWrite, OpAccess::ReadCondWrite];
            if instruction.mnemonic() == Mnemonic::Prefetchw {
                self.fetched.push(address);
            } else if writes.contains(&memory.access()) {
                self.written.push(address);
            }
        }
    }
}

/// Steps through `code`.
#[inline(never)]
fn watch<R>(code: impl FnOnce() -> R) -> (R, Touched) {
    COUNT.store(0, Ordering::Relaxed);
    // SAFETY: sets the trap flag; the handler returns to where it was.
    unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
    let result = code();
    // SAFETY: clears it.
    unsafe { asm!("pushfq", "and qword ptr [rsp], 0xfffffffffffffeff", "popfq") };
    let count = COUNT.load(Ordering::Relaxed);
    assert!((10..MOST).contains(&count), "{count} instructions");
    let mut touched = Touched::default();
    for before in &BEFORE[..count] {
        let [.., rip] = before;
        let rip = rip.load(Ordering::Relaxed);
        // SAFETY: the program's own code, of which more follows.
        let code = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(rip as usize), LONGEST) };
        let instruction = Decoder::with_ip(64, code, rip, DecoderOptions::NONE).decode();
        touched.note(&instruction, |register| {
            let at = REGISTERS.iter().position(|(_, name)| *name == register.full_register());
            // A segment, which begins at 0.
            at.map_or(0, |at| before[at].load(Ordering::Relaxed))
        });
    }
    (result, touched)
}

/// Bytes of the stack about a place on it.
fn stack_about(place: &u8) -> Range<u64> {
    let place = std::ptr::from_ref(place).expose_provenance() as u64;
    place.saturating_sub(1 << 18)..place + (1 << 16)
}

#[test]
fn a_poll_that_finds_nothing_writes_nothing_that_is_shared() {
    // SAFETY: plain integers; all zeroes is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_step as extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: action is valid, and the handler has the signature that SA_SIGINFO asks for.
    assert_eq!(unsafe { libc::sigaction(libc::SIGTRAP, &action, std::ptr::null_mut()) }, 0);

    let place = 0;
    let stack = stack_about(&place);
    for rings in all_rings() {
        let config = Config { rx_ring: RING, tx_ring: RING * rings.tx_factor, ..Config::default() };
        let Opened { function, mut port, mut device } = silicon::open(rings, &config);
        let pool = Pool::new(1024, Addressing::Translated).unwrap();
        function.map(pool.arena()).unwrap();
        let mut rx = port.rx.remove(0);
        rx.fill(&pool).unwrap();
        device.attach();
        // The queue, the batch and the pool are on the stack.
        let mut batch = Batch::new(&pool);
        let shared = |addresses: &[u64]| addresses.iter().filter(|at| !stack.contains(at)).count();
        // In every place of a step in which descriptors are given.
        for n in 0..RING {
            device.play(1, 60);
            let (received, touched) = watch(|| rx.recv(&mut batch));
            assert_eq!(received, 1, "{}: {n}", rings.name);
            assert!(shared(&touched.written) > 0, "{}: {n}: a slot is given", rings.name);
            batch.clear();
            let (received, touched) = watch(|| rx.recv(&mut batch));
            assert_eq!(received, 0, "{}: {n}", rings.name);
            assert_eq!(shared(&touched.written), 0, "{}: {n}: {touched:x?}", rings.name);
            assert!(touched.fetched.is_empty(), "{}: {n}: {touched:x?}", rings.name);
        }
        port.rx.insert(0, rx);
        port.close([&pool]);
    }
}
