//! Both ends in one process, in two, and one of them killed.

use super::*;
use proptest::prelude::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::{Child, Command, Stdio};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn pair(dir: &Path) -> (Cable, Cable) {
    (Cable::open_in(dir, "t", true).unwrap(), Cable::open_in(dir, "t", true).unwrap())
}

/// Waits for at most 2 s.
fn soon(mut true_at_last: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        if true_at_last() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

#[test]
fn what_one_end_sends_the_other_receives() {
    let dir = folder();
    let mut a = Cable::open_in(dir.path(), "t", true).unwrap();
    assert!(!a.carrier());
    let mut b = Cable::open_in(dir.path(), "t", true).unwrap();
    assert!(a.carrier() && b.carrier());
    let jumbo = vec![9; crate::emu::wire::MAX_FRAME];
    assert!(a.send(b"hello", 1000) && a.send(&jumbo, 3000));
    // The other clock is ahead; the spacing stays.
    assert_eq!(b.peek(500_000), Some((&b"hello"[..], 500_000)));
    b.advance();
    assert_eq!(b.peek(502_000).map(|(f, at)| (f.len(), at)), Some((jumbo.len(), 502_000)));
    b.advance();
    assert!(b.send(b"back", 0));
    assert_eq!(a.peek(7), Some((&b"back"[..], 7)));
}

#[test]
fn frames_keep_their_spacing_and_never_come_before_they_were_sent() {
    let dir = folder();
    let (mut a, mut b) = pair(dir.path());
    for at in [0, 100, 300, 600] {
        a.send(&[0; 60], at);
    }
    // Seen late, then in time: the difference of the clocks is 5000.
    for (now, arrival) in [(9000, 9000), (9000, 9000), (5300, 5300), (5700, 5600)] {
        assert_eq!(b.peek(now).unwrap().1, arrival);
        b.advance();
    }
}

#[test]
fn a_third_end_is_refused_in_one_line() {
    let dir = folder();
    let _ends = pair(dir.path());
    let error = Cable::open_in(dir.path(), "t", true).err().unwrap();
    assert_eq!(error.kind(), Kind::Refused);
    let me = std::process::id();
    let line = format!("cable t: both ends are taken (by processes {me} and {me}); a cable has two, use another name");
    assert_eq!(error.to_string(), line);
}

#[test]
fn the_last_end_removes_the_file() {
    let dir = folder();
    let (a, b) = pair(dir.path());
    assert_eq!(fs::metadata(dir.path().join("bmnic-cable-t")).unwrap().mode() & 0o777, 0o600);
    drop(a);
    assert!(!b.carrier());
    assert!(dir.path().join("bmnic-cable-t").exists());
    drop(b);
    assert!(!dir.path().join("bmnic-cable-t").exists());
}

#[test]
fn an_end_can_leave_and_another_take_its_place() {
    let dir = folder();
    let (mut a, mut b) = pair(dir.path());
    a.send(b"one", 0);
    b.send(b"lost with a", 0);
    drop(a);
    assert!(b.carrier(), "one is still on its way");
    assert_eq!(b.peek(0).unwrap().0, b"one");
    b.advance();
    assert!(!b.carrier());
    let mut a = Cable::open_in(dir.path(), "t", true).unwrap();
    assert!(a.carrier() && b.carrier());
    assert_eq!(a.peek(0), None);
    a.send(b"two", 0);
    b.send(b"three", 0);
    assert_eq!(b.peek(0).unwrap().0, b"two");
    assert_eq!(a.peek(0).unwrap().0, b"three");
}

#[test]
fn a_full_cable_pauses_or_loses_as_asked() {
    let dir = folder();
    let (mut a, b) = pair(dir.path());
    let frame = [0; 9000];
    let taken = (0..10_000).take_while(|_| a.send(&frame, 0)).count();
    assert_eq!(taken, ROOM / 9024);
    assert!(a.waits());
    a.pause = false;
    assert!(a.send(&frame, 0) && !a.waits());
    a.pause = true;
    drop(b);
    assert!(a.send(&frame, 0), "nobody there to wait for");
}

#[test]
fn a_file_left_behind_is_taken_over_and_a_foreign_one_is_not() {
    let dir = folder();
    let path = dir.path().join("bmnic-cable-t");
    fs::write(&path, b"left behind").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let (mut a, mut b) = pair(dir.path());
    a.send(b"frame", 0);
    assert_eq!(b.peek(0).unwrap().0, b"frame");
    drop((a, b));

    fs::write(&path, b"open to all").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(Cable::open_in(dir.path(), "t", true).err().unwrap().kind(), Kind::Refused);
    assert_eq!(fs::read(&path).unwrap(), b"open to all");
    fs::remove_file(&path).unwrap();

    std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
    assert!(Cable::open_in(dir.path(), "t", true).is_err());
}

#[test]
fn a_cable_of_another_version_is_refused() {
    let dir = folder();
    let _a = Cable::open_in(dir.path(), "t", true).unwrap();
    let file = File::options().write(true).open(dir.path().join("bmnic-cable-t")).unwrap();
    file.write_all_at(&(VERSION + 1).to_le_bytes(), 8).unwrap();
    let error = Cable::open_in(dir.path(), "t", true).err().unwrap();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("not a cable of this version"), "{error}");
}

#[test]
fn a_torn_cable_loses_carrier_and_nothing_else() {
    let dir = folder();
    let (mut a, mut b) = pair(dir.path());
    let file = File::options().write(true).open(dir.path().join("bmnic-cable-t")).unwrap();
    file.write_all_at(&[0xa5; 4096], CONTROL as u64).unwrap();
    assert_eq!(b.peek(0), None);
    assert!(!b.carrier());
    assert!(b.send(b"into the void", 0));
    while a.carrier() {
        assert!(a.send(&[0; 9000], 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn garbage_in_the_file_brings_neither_end_down(
        spots in prop::collection::vec((0u64..3, 0u64..600, prop::collection::vec(any::<u8>(), 1..40)), 1..20),
    ) {
        let dir = folder();
        let (mut a, mut b) = pair(dir.path());
        let file = File::options().write(true).open(dir.path().join("bmnic-cable-t")).unwrap();
        for (place, offset, bytes) in spots {
            a.send(&[1; 700], 5);
            b.send(&[2; 60], 6);
            let place = [0, CONTROL as u64, 2 * CONTROL as u64][place as usize];
            file.write_all_at(&bytes, place + offset).unwrap();
            for end in [&mut a, &mut b] {
                for now in 0..5 {
                    if end.peek(now).is_some() {
                        end.advance();
                    }
                }
                let _ = end.carrier();
            }
        }
        let _ = Cable::open_in(dir.path(), "t", true);
    }
}

/// Not a test of its own: the other process of the tests below. It echoes
/// frames until it is killed or its standard input ends.
#[test]
#[ignore = "run by other tests in a process of its own"]
fn echo() {
    let Some(dir) = std::env::var_os("BMNIC_TEST_CABLE") else { return };
    let mut cable = Cable::open_in(Path::new(&dir), "t", true).unwrap();
    println!("\nready");
    std::io::stdout().flush().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        match cable.peek(0).map(|(frame, at)| (frame.to_vec(), at)) {
            Some((frame, _)) if frame == b"end" => return,
            Some((frame, at)) => {
                cable.advance();
                while !cable.send(&frame, at) {}
            }
            None => std::thread::yield_now(),
        }
    }
}

/// The process, and its output, which must stay open for it to end well.
fn echo_process(dir: &Path) -> (Child, impl BufRead) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "emu::wire::cable::tests::echo", "--ignored", "--nocapture"])
        .env("BMNIC_TEST_CABLE", dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    assert!(output.by_ref().lines().map_while(std::result::Result::ok).any(|line| line == "ready"));
    (child, output)
}

fn echoed(cable: &mut Cable, count: u32) {
    let mut next = 0_u32;
    let mut sent = 0;
    assert!(soon(|| {
        while sent < count && cable.send(&[&sent.to_le_bytes()[..], &[7; 60]].concat(), 0) {
            sent += 1;
        }
        while let Some((frame, _)) = cable.peek(0) {
            assert_eq!(frame[..4], next.to_le_bytes());
            next += 1;
            cable.advance();
        }
        next == count
    }));
}

#[test]
fn a_killed_process_takes_the_light_with_it_and_another_brings_it_back() {
    let dir = folder();
    let mut cable = Cable::open_in(dir.path(), "t", true).unwrap();
    for _ in 0..2 {
        let (mut child, _output) = echo_process(dir.path());
        assert!(cable.carrier());
        echoed(&mut cable, 5000);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(soon(|| !cable.carrier()));
    }
    let (mut child, _output) = echo_process(dir.path());
    echoed(&mut cable, 10);
    assert!(cable.send(b"end", 0));
    assert!(child.wait().unwrap().success());
    assert!(!cable.carrier());
}
