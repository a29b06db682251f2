//! BARs as a program finds them: files, resources, pages that are memory.

use super::{bmnic, can_run, compiled, native, on_82599, text};
use std::process::Stdio;

/// A driver takes a BAR's size from its file, as many do, and maps that much.
#[test]
fn the_file_of_a_bar_is_as_long_as_the_bar_and_its_mapping_is_the_card() {
    if !can_run() {
        return;
    }
    let Some((_dir, program)) = compiled(
        r#"
        #include <sys/stat.h>
        #define DEVICE "/sys/bus/pci/devices/0000:99:00.0/"
        int main(void) {
            struct stat by_name, by_file;
            CHECK(stat(DEVICE "resource4", &by_name) == 0 && by_name.st_size == 16 << 10);
            CHECK(lstat(DEVICE "resource0", &by_name) == 0 && S_ISREG(by_name.st_mode));
            int fd = open(DEVICE "resource0", O_RDWR | O_SYNC);
            CHECK(fd >= 0 && fstat(fd, &by_file) == 0);
            CHECK(by_file.st_size == 512 << 10 && by_file.st_size == by_name.st_size);
            // Touched first by a write, and by a read; filled ahead.
            for (int way = 0; way < 3; way++) {
                int flags = MAP_SHARED | (way == 2 ? MAP_POPULATE : 0);
                volatile uint8_t *bar = mmap(0, by_file.st_size, PROT_READ | PROT_WRITE, flags, fd, 0);
                CHECK(bar != MAP_FAILED);
                if (way == 0) wr(bar, 0x5200, 0x1234);
                CHECK(rd(bar, 0x5200) == 0x1234);
                // A semaphore that reading takes: the card answers, not memory.
                CHECK((rd(bar, 0x10140) & 1) == 0);
                CHECK((rd(bar, 0x10140) & 1) == 1);
                wr(bar, 0x10140, 0);
            }
            puts("ok");
            return 0;
        }
        "#,
    ) else {
        println!("SKIPPED  sizes of BARs under a native program: there is no C compiler");
        return;
    };
    let ran = on_82599(&[program.to_str().unwrap()]);
    assert_eq!((text(&ran.stdout).trim(), ran.status.code()), ("ok", Some(0)), "{}", text(&ran.stderr));
}

/// Resources are of the kind that configuration space says (Linux ioport.h), and in places
/// that such BARs can have.
#[test]
fn resources_are_what_configuration_space_says() {
    if !can_run() {
        return;
    }
    let device = "cd /sys/bus/pci/devices/0000:99:00.0";
    let script = format!("{device} && od -An -v -tx4 -w4 -j16 -N24 config; cat resource; stat -c '%n %s' resource?");
    let mut kinds = std::collections::BTreeSet::new();
    for card in ["82599", "82599,nasty", "x550", "x710", "virtio", "bcm57508", "sfc9120", "x2522", "cx5"] {
        let ran = bmnic(&["emulate", card, "--", "sh", "-c", &script]).stdin(Stdio::null()).output().unwrap();
        assert!(ran.status.success(), "{card}: {}", text(&ran.stderr));
        let lines: Vec<String> = text(&ran.stdout).lines().map(|line| line.trim().to_string()).collect();
        let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
        let (bars, rest) = lines.split_at(6);
        let (resources, files) = rest.split_at(13);
        let mut files = files.iter();
        for (n, (bar, resource)) in bars.iter().zip(resources).enumerate() {
            let words: Vec<u64> = resource.split_whitespace().map(hex).collect();
            let (size, what) = (words[1] - words[0] + 1, format!("{card}, BAR {n}: {resource}, {bar}"));
            let flags = match hex(bar) & 0xf {
                // Nothing, or the upper half of another; nothing is mapped there.
                0 if words[2] == 0 => continue,
                1 => 0x40101,
                kind => 0x40200 | kind | (kind & 8) << 10 | (kind & 4) << 18,
            };
            assert_eq!(words[2], flags, "{what}");
            kinds.insert(flags);
            assert!(size.is_power_of_two() && words[0].is_multiple_of(size), "{what}");
            let above = if flags & 0x100 != 0 {
                1 << 16
            } else if flags & 4 == 0 {
                1 << 32
            } else {
                u64::MAX
            };
            assert!(words[1] < above, "{what}");
            // Ports are reached by instructions; here there is no file of them.
            if flags & 0x200 != 0 {
                assert_eq!(files.next().unwrap(), &format!("resource{n} {size}"), "{what}");
            }
        }
        assert_eq!(files.next(), None, "{card}");
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), [0x40101, 0x40200, 0x140204, 0x14220c]);
}

/// Rings of eight descriptors, whose drivers go by the head's register alone: it lies in a
/// page that is memory to them.
#[test]
fn heads_of_rings_are_current_in_pages_that_a_program_has_mapped() {
    if !can_run() {
        return;
    }
    let _turn = native::turn();
    native::huge_pages(4);
    let Some((_dir, program)) = compiled(
        r#"
        #include <stdlib.h>
        enum { RING = 8, TOTAL = 1000 };
        static uint64_t at(volatile void *page) {
            uint64_t entry = 0;
            int pagemap = open("/proc/self/pagemap", O_RDONLY);
            if (pread(pagemap, &entry, 8, (uintptr_t)page / 4096 * 8) != 8) exit(2);
            close(pagemap);
            return (entry & ((1ull << 55) - 1)) * 4096;
        }
        /* Enables the queue whose registers begin at `base`. */
        static int on(volatile uint8_t *bar, int base, uint64_t ring) {
            wr(bar, base, ring), wr(bar, base + 4, ring >> 32), wr(bar, base + 8, RING * 16);
            wr(bar, base + 0x10, 0), wr(bar, base + 0x18, 0);
            wr(bar, base + 0x28, 1 << 25);
            usleep(20000);
            return rd(bar, base + 0x28) >> 25 & 1;
        }
        /* Uses a ring until the head has gone by TOTAL descriptors. */
        static int go_round(volatile uint8_t *bar, int base, volatile uint64_t *ring, const uint64_t words[2]) {
            uint32_t given = 0, done = 0;
            for (int idle = 0; done < TOTAL; idle++) {
                CHECK(idle < 5000);
                for (; given - done < RING - 1; given++) {
                    ring[given % RING * 2] = words[0];
                    ring[given % RING * 2 + 1] = words[1];
                }
                wr(bar, base + 0x18, given % RING);
                uint32_t head = rd(bar, base + 0x10);
                CHECK(head < RING);
                uint32_t moved = (head - done) % RING;
                CHECK(moved <= given - done);
                if (moved) idle = 0; else usleep(1000);
                done += moved;
            }
            return 0;
        }
        int main(int argc, char **argv) {
            volatile uint8_t *bar = map();
            CHECK(bar);
            int config = open("/sys/bus/pci/devices/0000:99:00.0/config", O_RDWR);
            uint16_t command = 6;
            CHECK(pwrite(config, &command, 2, 4) == 2);
            int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB;
            volatile uint8_t *page = mmap(0, 2 << 20, PROT_READ | PROT_WRITE, flags, -1, 0);
            CHECK(page != MAP_FAILED);
            memset((void *)page, 0, 16384);
            uint64_t buffer = at(page) + 8192;
            int n = atoi(argv[2]);
            if (*argv[1] == 't') {
                wr(bar, 0x4a80, 1);
                int base = 0x6000 + 0x40 * n;
                CHECK(on(bar, base, at(page)));
                const uint64_t frame[2] = { buffer, 60 | 3ull << 24 }; /* end of packet, FCS; no report */
                return go_round(bar, base, (volatile uint64_t *)page, frame);
            }
            wr(bar, 0x5080, 7 << 8); /* all frames */
            wr(bar, 0x1014, 2 | 1 << 25);
            CHECK(on(bar, 0x1000, at(page)));
            wr(bar, 0x3000, 1);
            const uint64_t free[2] = { buffer, 0 };
            return go_round(bar, 0x1000, (volatile uint64_t *)page, free);
        }
        "#,
    ) else {
        println!("SKIPPED  a program made of C: there is no compiler");
        return;
    };
    // Of transmit queues the first, and one whose registers are in the next page.
    for (card, way, queue) in [
        ("82599,wire=sink,link=0ms", "transmit", "0"),
        ("82599,wire=sink,link=0ms", "transmit", "70"),
        ("82599,wire=source,link=0ms", "receive", "0"),
    ] {
        let output = bmnic(&["emulate", card, "--", program.to_str().unwrap(), way, queue]).output().unwrap();
        assert!(output.status.success(), "{card} {queue}: {} {}", text(&output.stdout), text(&output.stderr));
    }
}

/// Instructions that reach ports would reach this machine's.
#[test]
fn a_card_whose_registers_are_ports_is_refused_to_a_program() {
    let ran = bmnic(&["emulate", "virtio-legacy", "--", "echo", "ran"]).stdin(Stdio::null()).output().unwrap();
    let told = text(&ran.stderr);
    assert!(!ran.status.success() && ran.stdout.is_empty(), "{told}");
    assert!(told.contains("its registers are ports") && told.contains("--vfio-user"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}
