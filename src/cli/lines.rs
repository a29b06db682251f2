//! What two threads of a data path write: no line of 64 bytes is written by both.
//!
//! It is seen from outside: all memory of the process is compared before and after a turn of
//! one thread while the other waits, and the other way round. So each line that changed is
//! known to be of one of them; it runs in a process of its own, as other tests would write
//! meanwhile. A line that is stored to and stays the same is not seen, so there are several
//! turns. What is a card's register is left out: on silicon it is in no cache, and cards have
//! those of two queues beside each other (X710, QTX_TAIL).

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const LINE: usize = 64;

/// Turns of each thread that are looked at.
const TURNS: usize = 6;

/// A card of each family.
pub const FAMILIES: [&str; 7] = ["82599", "x710", "virtio", "x2522", "bcm57414", "bcm57508", "cx5"];

/// The memory that emulated registers lie in, by its name.
const REGISTERS: &str = "/memfd:bmnic";
/// Bytes that are compared, or cannot be read, at once.
const PAGE: usize = 4096;

/// All memory that this process can write, but for registers and the stacks of its threads.
struct Memory {
    ranges: Vec<Range<usize>>,
    memory: File,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Memory {
    /// With an address in each of these stacks: the kernel writes there where a thread runs
    /// (rseq(2)), whether or not it has its turn.
    fn new(stacks: &[usize]) -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let range = |line: &str| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let number = |hex| usize::from_str_radix(hex, 16).unwrap();
            let range = number(start)..number(end);
            let stack = line.ends_with("[stack]") || stacks.iter().any(|stack| range.contains(stack));
            (rest.starts_with("rw") && !stack && !rest.contains(REGISTERS)).then_some(range)
        };
        let ranges: Vec<_> = maps.lines().filter_map(range).collect();
        let total = ranges.iter().map(Range::len).sum();
        let memory = File::open("/proc/self/mem").unwrap();
        Memory { ranges, memory, before: vec![0; total], after: vec![0; total] }
    }

    fn read(ranges: &[Range<usize>], memory: &File, into: &mut [u8]) {
        let mut rest = into;
        for range in ranges {
            let (part, more) = rest.split_at_mut(range.len());
            // What was given back since the ranges were read cannot be; the rest of its range can.
            if memory.read_exact_at(part, range.start as u64).is_err() {
                for (n, page) in part.chunks_mut(PAGE).enumerate() {
                    memory.read_exact_at(page, (range.start + n * PAGE) as u64).unwrap_or_else(|_| page.fill(0));
                }
            }
            rest = more;
        }
    }

    /// The lines that change while `work` is done.
    fn changed(&mut self, work: impl FnOnce()) -> BTreeSet<usize> {
        let Memory { ranges, memory, before, after } = self;
        Self::read(ranges, memory, before);
        work();
        Self::read(ranges, memory, after);
        let own = [before.as_ptr_range(), after.as_ptr_range()].map(|own| own.start.addr()..own.end.addr());
        let mut lines = BTreeSet::new();
        let mut at = 0;
        for range in &*ranges {
            for start in range.clone().step_by(PAGE) {
                let page = at + start - range.start..at + start - range.start + PAGE;
                if before[page.clone()] == after[page.clone()] {
                    continue;
                }
                let pairs = before[page.clone()].chunks(LINE).zip(after[page].chunks(LINE));
                let differ = pairs.enumerate().filter(|(_, (before, after))| before != after);
                lines.extend(differ.map(|(n, _)| start + n * LINE));
            }
            at += range.len();
        }
        lines.retain(|line| !own.iter().any(|own| own.contains(line)));
        lines
    }
}

/// A turn; how many buffers it moved.
pub type Turn<'t> = Box<dyn FnMut() -> usize + 't>;

/// A thread that makes a turn when it is told to, in a line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Turns {
    wanted: AtomicUsize,
    made: AtomicUsize,
    /// Buffers that were moved.
    moved: AtomicUsize,
    /// An address in its stack.
    stack: AtomicUsize,
}

/// No turn but the end.
const END: usize = usize::MAX;

impl Turns {
    fn run(&self, mut turn: Turn<'_>) {
        let mut made = 0;
        self.stack.store((&raw const made).addr(), Ordering::Relaxed);
        loop {
            match self.wanted.load(Ordering::Acquire) {
                END => return,
                wanted if wanted == made => thread::yield_now(),
                wanted => {
                    self.moved.fetch_add(turn(), Ordering::Relaxed);
                    made = wanted;
                    self.made.store(made, Ordering::Release);
                }
            }
        }
    }

    /// Has a turn made.
    fn make(&self) {
        let wanted = self.wanted.fetch_add(1, Ordering::Release) + 1;
        while self.made.load(Ordering::Acquire) != wanted {
            thread::yield_now();
        }
    }
}

/// Ends the threads, however the test does.
struct Ends<'t>(&'t [Box<Turns>; 2]);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|turns| turns.wanted.store(END, Ordering::Release));
    }
}

/// What two threads write lies in no common line. Each makes its turns by what its `start`
/// gives, which says how many buffers were moved; `step` has more packets come.
pub fn write_no_common_line<'t>(name: &str, step: impl Fn(), starts: [impl FnOnce() -> Turn<'t> + Send; 2]) {
    let threads: [Box<Turns>; 2] = Default::default();
    let mut lines = [BTreeSet::new(), BTreeSet::new()];
    thread::scope(|scope| {
        let _ends = Ends(&threads);
        for (start, turns) in starts.into_iter().zip(&threads) {
            scope.spawn(move || turns.run(start()));
        }
        // Until rings, queues and shares are as they will be.
        for _ in 0..60 {
            step();
            threads.iter().for_each(|turns| turns.make());
        }
        let before = threads.each_ref().map(|turns| turns.moved.load(Ordering::Relaxed));
        let here = 0;
        let [one, other] = threads.each_ref().map(|turns| turns.stack.load(Ordering::Relaxed));
        let mut memory = Memory::new(&[one, other, (&raw const here).addr()]);
        for _ in 0..TURNS {
            step();
            for (lines, turns) in lines.iter_mut().zip(&threads) {
                lines.append(&mut memory.changed(|| turns.make()));
            }
        }
        for (turns, before) in threads.iter().zip(before) {
            let moved = turns.moved.load(Ordering::Relaxed) - before;
            assert!(moved > TURNS, "{name}: {moved} buffers moved are too few to show anything");
        }
    });
    let [one, other] = &lines;
    assert!(one.len() > TURNS && other.len() > TURNS, "{name}: {} and {} lines", one.len(), other.len());
    let common: Vec<String> = one.intersection(other).map(|line| format!("{line:#x}")).collect();
    assert!(common.is_empty(), "{name}: both threads write {common:?}");
}

/// Processes in which there may be a common line by chance, and must not be in each.
const PROCESSES: usize = 6;

/// Runs the test of this name and path in processes that do nothing else; true in one of them. What
/// two threads write lies in a common line in all of them if it belongs together, and in one
/// of several if the allocator has put two small things beside each other.
pub fn alone(test: &str) -> bool {
    if std::env::var_os("BMNIC_TEST_ALONE").is_some() {
        return true;
    }
    let mut said = String::new();
    let passed = (0..PROCESSES).any(|_| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--test-threads=1"]).env("BMNIC_TEST_ALONE", "1");
        let output = command.output().unwrap();
        let last = [output.stdout, output.stderr].concat();
        said += &String::from_utf8_lossy(&last);
        output.status.success() && String::from_utf8_lossy(&last).contains("1 passed")
    });
    assert!(passed, "{said}");
    false
}
