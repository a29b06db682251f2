//! Native programs on emulated cards: what they see, what they can do to a card,
//! and that nothing of it is left when they have ended.

#[path = "native/bars.rs"]
mod bars;
#[path = "common/families.rs"]
mod families;
#[path = "common/native.rs"]
mod native;

use native::bmnic;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Runs a program on a machine with one strict 82599.
fn on_82599(command: &[&str]) -> Output {
    let words = [&["--strict", "emulate", "82599", "--"], command].concat();
    bmnic(&words).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A program made of C, or why there is none.
fn compiled(body: &str) -> Option<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("a.c"), dir.path().join("a"));
    let head = r#"
        #include <fcntl.h>
        #include <immintrin.h>
        #include <stdint.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <unistd.h>
        #define CHECK(what) if (!(what)) { printf("line %d: %s\n", __LINE__, #what); return 1; }
        static volatile uint8_t *map(void) {
            int fd = open("/sys/bus/pci/devices/0000:99:00.0/resource0", O_RDWR);
            void *bar = mmap(0, 512 << 10, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            close(fd);
            return bar == MAP_FAILED ? 0 : bar;
        }
        static uint32_t rd(volatile uint8_t *bar, int at) { return *(volatile uint32_t *)(bar + at); }
        static void wr(volatile uint8_t *bar, int at, uint32_t v) { *(volatile uint32_t *)(bar + at) = v; }
    "#;
    fs::write(&source, format!("{head}{body}")).unwrap();
    let made = Command::new("cc").args(["-O2", "-msse4.1", "-o"]).arg(&program).arg(&source).output().ok()?;
    assert!(made.status.success(), "{}", text(&made.stderr));
    Some((dir, program))
}

/// Whether these tests can run here.
fn can_run() -> bool {
    let can = native::is_root() && cfg!(target_arch = "x86_64");
    if !can {
        println!("SKIPPED  native programs on emulated cards: they take root, and x86-64");
    }
    can
}

#[test]
fn a_program_sees_the_emulated_card_and_no_device_of_the_machine() {
    if !can_run() {
        return;
    }
    let shown = on_82599(&["sh", "-c", "ls /sys/bus/pci/devices /dev/uio*; cat /sys/bus/pci/devices/*/device; exit 7"]);
    let (out, error) = (text(&shown.stdout), text(&shown.stderr));
    assert_eq!(shown.status.code(), Some(7), "the program's own exit code: {error}");
    assert_eq!(
        out.split_whitespace().collect::<Vec<_>>(),
        ["/dev/uio0", "/sys/bus/pci/devices:", "0000:99:00.0", "0x10fb"]
    );
    let killed = on_82599(&["sh", "-c", "kill -TERM $$"]);
    assert_eq!(killed.status.code(), Some(143), "{}", text(&killed.stderr));
    let missing = on_82599(&["/nonexistent/program"]);
    assert_eq!((missing.status.code(), text(&missing.stderr).contains("is it installed")), (Some(1), true));
}

#[test]
fn registers_answer_a_program_that_maps_them_as_they_answer_a_driver() {
    if !can_run() {
        return;
    }
    let Some((_dir, program)) = compiled(
        r#"
        int main(void) {
            volatile uint8_t *bar = map();
            CHECK(bar);
            // Link, after a reset that clears itself; the factory address.
            wr(bar, 0x0, 1 << 26);
            for (int i = 0; rd(bar, 0x0) >> 26 & 1; i++) CHECK(i < 1000);
            usleep(10000);
            CHECK((rd(bar, 0xa200) & 0xffffff) == 0x211b00);
            CHECK(rd(bar, 0xa204) >> 31 == 1);
            // A semaphore that reading takes.
            CHECK((rd(bar, 0x10140) & 1) == 0);
            CHECK((rd(bar, 0x10140) & 1) == 1);
            wr(bar, 0x10140, 0);
            // The EEPROM's first word, by its handshake.
            wr(bar, 0x10014, 1);
            for (int i = 0; !(rd(bar, 0x10014) & 2); i++) CHECK(i < 1000);
            CHECK(rd(bar, 0x10014) >> 16 == 0x1b00);
            // A pair of registers at once, and in a vector register.
            uint64_t both = *(volatile uint64_t *)(bar + 0xa200);
            CHECK((both & 0xffffff) == 0x211b00 && both >> 63 == 1);
            wr(bar, 0x5200, 0x11111111); wr(bar, 0x5204, 0x22222222);
            wr(bar, 0x5208, 0x33333333); wr(bar, 0x520c, 0x44444444);
            __m128i four;
            __asm__ volatile("movdqu (%1), %0" : "=x"(four) : "r"(bar + 0x5200));
            uint32_t words[4];
            memcpy(words, &four, 16);
            CHECK(words[0] == 0x11111111 && words[3] == 0x44444444);
            __asm__ volatile("movq %0, (%1)" :: "x"(_mm_set1_epi32(0x55)), "r"(bar + 0x5200) : "memory");
            CHECK(rd(bar, 0x5204) == 0x55 && rd(bar, 0x5208) == 0x33333333);
            // Doorbells are memory; another mapping of them is the same memory.
            volatile uint8_t *other = map();
            CHECK(other && other != bar);
            wr(bar, 0x1018 + 0x40 * 5, 0);
            CHECK(rd(other, 0x1018 + 0x40 * 5) == 0 && rd(other, 0xa204) >> 31 == 1);
            // A child shares the card, and has its own registers.
            fflush(stdout);
            puts("ok");
            return 0;
        }
        "#,
    ) else {
        println!("SKIPPED  registers under a native program: there is no C compiler");
        return;
    };
    let ran = on_82599(&[program.to_str().unwrap()]);
    assert_eq!((text(&ran.stdout).trim(), ran.status.code()), ("ok", Some(0)), "{}", text(&ran.stderr));
}

#[test]
fn an_instruction_that_is_not_known_is_named_and_ends_the_program() {
    if !can_run() {
        return;
    }
    let Some((_dir, program)) = compiled(
        r#"
        int main(void) {
            volatile uint8_t *bar = map();
            __asm__ volatile("shll $1, (%0)" :: "r"(bar + 0x5200) : "memory");
            puts("not reached");
            return 0;
        }
        "#,
    ) else {
        println!("SKIPPED  an unknown instruction: there is no C compiler");
        return;
    };
    let ran = on_82599(&[program.to_str().unwrap()]);
    let error = text(&ran.stderr);
    assert_eq!((ran.status.code(), text(&ran.stdout).as_str()), (Some(1), ""), "{error}");
    assert!(error.contains("unknown instruction d1") && error.contains("BAR 0 at 0x5200"), "{error}");
}

#[test]
fn a_fault_of_the_programs_own_stays_its_own() {
    if !can_run() {
        return;
    }
    let Some((_dir, program)) = compiled(
        r#"
        #include <signal.h>
        static void caught(int signal) { (void)signal; puts("caught"); fflush(stdout); _exit(3); }
        int main(void) {
            volatile uint8_t *bar = map();
            (void)rd(bar, 8);
            signal(SIGSEGV, caught);
            *(volatile int *)16 = 0;
            return 0;
        }
        "#,
    ) else {
        println!("SKIPPED  a program's own fault: there is no C compiler");
        return;
    };
    let ran = on_82599(&[program.to_str().unwrap()]);
    assert_eq!((ran.status.code(), text(&ran.stdout).as_str()), (Some(3), "caught\n"), "{}", text(&ran.stderr));
}

#[test]
fn nothing_is_left_behind_even_when_bmnic_is_killed() {
    if !can_run() {
        return;
    }
    let mounts = || fs::read_to_string("/proc/mounts").unwrap();
    let before = mounts();
    let mut child = bmnic(&["emulate", "82599", "--", "sh", "-c", "echo $$; exec sleep 600"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = [0; 16];
    let len = child.stdout.as_mut().unwrap().read(&mut first).unwrap();
    let pid: u32 = text(&first[..len]).trim().parse().unwrap();
    let process = PathBuf::from(format!("/proc/{pid}"));
    assert!(process.exists());
    assert_eq!(mounts(), before, "the mounts are the program's own");
    child.kill().unwrap();
    child.wait().unwrap();
    let start = Instant::now();
    // A zombie of an orphan is gone too: its new parent collects it.
    let gone = || !process.exists() || fs::read_to_string(process.join("cmdline")).is_ok_and(|line| line.is_empty());
    while !gone() {
        assert!(start.elapsed() < Duration::from_secs(10), "process {pid} outlives its tracer");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(mounts(), before);
}

#[test]
fn bmnic_drives_the_cards_that_it_emulates_as_it_does_cards_in_sysfs() {
    if !can_run() {
        return;
    }
    let _turn = native::turn();
    let free = native::huge_pages(24);
    for card in families::MODELS.iter().chain(&families::PLAIN).filter(|card| !card.ports).map(|card| card.name) {
        let words = ["--strict", "emulate", card, "--", env!("CARGO_BIN_EXE_bmnic"), "--json", "latency"];
        let words =
            [&words[..], &["0000:99:00.0", "-c", "500", "--allow-loss", "90%", "--allow-shortfall", "100%"]].concat();
        let output = bmnic(&words).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success(), "{card}: {said}");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["devices"][0]["kind"], "sysfs", "{card}");
        // A busy machine may not give the program its turn before the ring is full.
        let [received, lost] = ["received", "lost"].map(|of| document["results"][0][of].as_u64().unwrap());
        assert_eq!(received + lost, 500, "{card}: {document:#}");
        assert!(!said.contains("violation"), "{card}: {said}");
        // Other programs of the machine may hold some for a while.
        let start = Instant::now();
        while native::free_pages() < free {
            assert!(start.elapsed() < Duration::from_secs(10), "{card}: {} of {free} pages", native::free_pages());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The lock of a card is the machine's: a card of this machine, or of another program, may
/// have the address that the program's card has in its own.
#[test]
fn a_card_of_another_machine_at_the_same_address_is_in_nobodys_way() {
    if !can_run() {
        return;
    }
    let _turn = native::turn();
    native::huge_pages(4);
    let lock = Path::new("/run/bmnic/0000:99:00.0.lock");
    let was_there = lock.exists();
    fs::create_dir_all("/run/bmnic").unwrap();
    let other = fs::File::create(lock).unwrap();
    // Held by another program, if not by this one.
    let _ = other.try_lock();
    let words = ["emulate", "virtio", "--", env!("CARGO_BIN_EXE_bmnic"), "latency", "0000:99:00.0", "-c", "10"];
    let limits = ["--allow-loss", "100%", "--allow-shortfall", "100%"];
    let output = bmnic(&[&words[..], &limits].concat()).output().unwrap();
    if !was_there {
        fs::remove_file(lock).unwrap();
    }
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Whose stages nobody reckons.
#[test]
fn the_ways_of_a_card_of_the_machine_are_told_without_a_model() {
    if !can_run() {
        return;
    }
    let _turn = native::turn();
    native::huge_pages(24);
    let words = ["emulate", "cx5", "--", env!("CARGO_BIN_EXE_bmnic"), "latency", "0000:99:00.0", "--tx-path", "all"];
    let limits = ["-d", "200ms", "--allow-loss", "100%", "--allow-shortfall", "100%"];
    let output = bmnic(&[&words[..], &limits].concat()).output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", text(&output.stderr));
    assert!(said.contains("service p50") && said.contains("dma"), "{said}");
    assert!(!said.contains("model") && !said.contains("emulated") && !said.contains("to wire"), "{said}");
}

/// A frame is sent from a huge page whose file has lost its name: before it was mapped, as
/// temporary files do, or after it.
#[test]
fn a_card_reaches_huge_pages_whose_file_has_no_name_any_more() {
    if !can_run() {
        return;
    }
    let _turn = native::turn();
    native::huge_pages(4);
    let Some((_dir, program)) = compiled(
        r#"
        static int send_one(volatile uint8_t *bar, int early) {
            int fd = open("/dev/hugepages/bmnic-test", O_CREAT | O_RDWR, 0600);
            CHECK(fd >= 0);
            if (early) unlink("/dev/hugepages/bmnic-test");
            CHECK(ftruncate(fd, 2 << 20) == 0);
            volatile uint8_t *page = mmap(0, 2 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            CHECK(page != MAP_FAILED);
            memset((void *)page, 0, 8192);
            if (!early) unlink("/dev/hugepages/bmnic-test");
            close(fd);
            uint64_t entry = 0;
            int pagemap = open("/proc/self/pagemap", O_RDONLY);
            CHECK(pread(pagemap, &entry, 8, (uintptr_t)page / 4096 * 8) == 8);
            close(pagemap);
            uint64_t at = (entry & ((1ull << 55) - 1)) * 4096;
            volatile uint64_t *descriptor = (volatile uint64_t *)page;
            descriptor[0] = at + 4096;
            descriptor[1] = 60 | 0xbull << 24; /* end of packet, FCS, report */
            wr(bar, 0x6028, 0);
            wr(bar, 0x6000, at), wr(bar, 0x6004, at >> 32), wr(bar, 0x6008, 8 * 16);
            wr(bar, 0x6010, 0), wr(bar, 0x6018, 0);
            wr(bar, 0x4a80, 1);
            wr(bar, 0x6028, 1 << 25);
            for (int i = 0; i < 1000 && !(rd(bar, 0x6028) >> 25 & 1); i++) usleep(1000);
            wr(bar, 0x6018, 1);
            int tries = 5000;
            while (!(descriptor[1] >> 32 & 1) && tries-- > 0) usleep(1000);
            CHECK(descriptor[1] >> 32 & 1);
            wr(bar, 0x6028, 0);
            usleep(1000);
            munmap((void *)page, 2 << 20);
            return 0;
        }
        int main(void) {
            volatile uint8_t *bar = map();
            CHECK(bar);
            int config = open("/sys/bus/pci/devices/0000:99:00.0/config", O_RDWR);
            uint16_t command = 6;
            CHECK(pwrite(config, &command, 2, 4) == 2);
            for (int early = 0; early < 2; early++) {
                if (send_one(bar, early)) { printf("early: %d\n", early); return 1; }
            }
            return 0;
        }
        "#,
    ) else {
        println!("SKIPPED  a program made of C: there is no compiler");
        return;
    };
    let output = bmnic(&["emulate", "82599,wire=sink,link=0ms", "--", program.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{} {}", text(&output.stdout), text(&output.stderr));
}
