//! The plugs into the kernel, in a network namespace of the test's own.

use super::{Fate, Packet, Tap, Wire};
use crate::emu::frame::{Parsed, Verdict};
use crate::sys::net;
use crate::sys::packet::PacketSocket;
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs `test` in a thread with a network namespace that nobody else has and
/// that goes with it; says so if it cannot.
fn in_namespace(name: &str, test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if let Err(e) = net::leave_namespace() {
            return Some(format!("no network namespace of our own: {e}"));
        }
        if Command::new("ip").arg("-V").output().is_err() {
            return Some("no `ip` (iproute2)".to_string());
        }
        std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
        test();
        None
    });
    match thread.join() {
        Ok(None) => {}
        Ok(Some(reason)) => eprintln!("SKIPPED {name}: {reason}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn ip(command: &str) {
    let output = Command::new("ip").args(command.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The payload of the next UDP datagram to port 9 that arrives within a second,
/// after its checksums have been looked at.
fn next_datagram(wire: &mut dyn Wire) -> Vec<u8> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        let frame = wire.peek(1).map(|(frame, _)| frame.to_vec());
        let Some(frame) = frame else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        wire.advance();
        assert!(frame.len() >= 60);
        let parsed = Parsed::of(&frame);
        let Some(TransportSlice::Udp(udp)) = SlicedPacket::from_ethernet(&frame).unwrap().transport else { continue };
        if udp.destination_port() == 9 {
            assert_eq!((parsed.ip_checksum(&frame), parsed.l4_checksum(&frame)), (Verdict::Good, Verdict::Good));
            return udp.payload().to_vec();
        }
    }
    panic!("nothing within five seconds");
}

fn datagram(destination_mac: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], destination_mac);
    builder.ipv4([10, 7, 0, 2], [10, 7, 0, 1], 9).udp(9, 7777).write(&mut frame, payload).unwrap();
    frame
}

/// A conversation between the stack (10.7.0.1 on `interface`) and a wire.
fn converse(interface: &str, wire: &mut dyn Wire) {
    ip(&format!("addr add 10.7.0.1/24 dev {interface}"));
    ip(&format!("neigh add 10.7.0.2 lladdr 02:00:00:00:00:09 dev {interface}"));
    // The stack sends nothing before it has noticed that the link is up.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !net::is_running(interface).unwrap() {
        assert!(Instant::now() < deadline, "{interface} does not come up");
        std::thread::sleep(Duration::from_millis(5));
    }
    let socket = UdpSocket::bind("10.7.0.1:7777").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    for payload in [&b"to the wire"[..], &[5; 1472], &[]] {
        socket.send_to(payload, "10.7.0.2:9").unwrap();
        let received = next_datagram(wire);
        assert_eq!(received, payload);
    }
    // Not from /sys, which shows the namespace that it was mounted in.
    let output = Command::new("ip").args(["-o", "link", "show", interface]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mac = text.split("link/ether ").nth(1).unwrap()[..17].split(':');
    let mac: Vec<_> = mac.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    for payload in [&b"to the stack"[..], &[6; 1472]] {
        assert!(wire.send(&datagram(mac[..].try_into().unwrap(), payload), 0));
        let mut buffer = [0; 2000];
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from.to_string().as_str()), (payload, "10.7.0.2:9"));
    }
}

#[test]
fn a_tap_carries_frames_both_ways_and_goes_with_its_port() {
    in_namespace("tap", || {
        let mut tap = Tap::open("bmtap").unwrap();
        assert!(tap.carrier());
        converse("bmtap", &mut tap);
        let second = Tap::open("bmtap").err().unwrap().to_string();
        assert!(second.contains("another program has it open"), "{second}");
        drop(tap);
        // A process that another test is just starting holds a copy of every
        // descriptor until it executes its program.
        let deadline = Instant::now() + Duration::from_secs(5);
        while net::interface_index("bmtap").is_ok() {
            assert!(Instant::now() < deadline, "the interface stays");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn a_packet_wire_carries_finished_frames_both_ways() {
    in_namespace("packet", || {
        ip("link add bm0 type veth peer name bm1");
        ip("link set bm0 up");
        let mut packet = Packet::open("bm1").unwrap();
        assert!(!packet.carrier(), "one end is down");
        ip("link set bm1 up");
        let deadline = Instant::now() + Duration::from_secs(1);
        while !packet.carrier() {
            assert!(Instant::now() < deadline);
        }
        converse("bm0", &mut packet);
        // What we send must not come back to us.
        assert!(packet.peek(1).is_none());
        // Longer than the interface carries: lost, counted, and nothing else.
        assert!(packet.send(&[0; 9000], 0));
        let lost: Vec<_> = packet.report().into_iter().filter(|note| note.frames > 0).collect();
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert_eq!((lost[0].key, lost[0].frames, lost[0].fate), ("over_mtu", 1, Fate::LostOut));
    });
}

/// More frames than the kernel keeps for a wire that nobody looks at, and how many
/// of them the wire shows afterwards.
fn overflow(interface: &str, wire: &mut dyn Wire) -> u64 {
    const FRAMES: u64 = 40_000;
    let deadline = Instant::now() + Duration::from_secs(5);
    while !net::is_running(interface).unwrap() {
        assert!(Instant::now() < deadline, "{interface} does not come up");
        std::thread::sleep(Duration::from_millis(5));
    }
    let sender = PacketSocket::open(net::interface_index(interface).unwrap(), 1, 1 << 16).unwrap();
    let frame = [&[2; 12][..], &[0x88, 0xb5], &[7; 46]].concat();
    for _ in 0..FRAMES {
        // A device that is slow to come up has a queue that can be full.
        while sender.send(&frame).is_err() {
            assert!(Instant::now() < deadline, "the kernel takes no frames");
        }
    }
    let mut seen = 0;
    while let Some((got, _)) = wire.peek(1) {
        seen += u64::from(got == frame);
        wire.advance();
    }
    let lost: Vec<_> = wire.report().into_iter().filter(|note| note.frames > 0).collect();
    assert!(lost.iter().all(|note| (note.key, note.fate) == ("kernel_dropped", Fate::LostIn)), "{lost:?}");
    let dropped: u64 = lost.iter().map(|note| note.frames).sum();
    assert_eq!(seen + dropped, FRAMES, "each frame is shown or named");
    seen
}

#[test]
fn what_the_kernel_had_no_room_for_is_named_and_a_second_reading_says_the_same() {
    in_namespace("overflow", || {
        ip("link add bm0 type veth peer name bm1");
        ip("link set bm0 up");
        ip("link set bm1 up");
        let mut packet = Packet::open("bm1").unwrap();
        let seen = overflow("bm0", &mut packet);
        assert!((30_000..40_000).contains(&seen), "{seen}: 32 ms of a million frames a second");
        assert_eq!(packet.report(), packet.report());
        let mut tap = Tap::open("bmtap").unwrap();
        let seen = overflow("bmtap", &mut tap);
        assert!((30_000..40_000).contains(&seen), "{seen}: 32 ms of a million frames a second");
        assert_eq!(tap.report(), tap.report());
    });
}

#[test]
fn two_packet_wires_carry_any_frame_byte_for_byte() {
    in_namespace("packet to packet", || {
        ip("link add bm0 mtu 9000 type veth peer name bm1 mtu 9000");
        ip("link set bm0 up");
        ip("link set bm1 up");
        let (mut a, mut b) = (Packet::open("bm0").unwrap(), Packet::open("bm1").unwrap());
        // The kernel takes the tag of a tagged frame out; it must be put back.
        let mut tagged = datagram([0xff; 6], b"tagged");
        tagged.splice(12..12, [0x81, 0, 0x60, 5]);
        tagged.resize(64, 0);
        let jumbo = datagram([2; 6], &[8; 8900]);
        let unknown = [&[1; 12][..], &[0x12, 0x34], &[9; 46]].concat();
        let frames = [tagged, jumbo, unknown];
        for (n, frame) in frames.iter().enumerate() {
            // The kernel drops what it is given before it has noticed that the
            // link is up: then it is sent again, and copies of what came are passed over.
            let deadline = Instant::now() + Duration::from_secs(10);
            let mut again = Instant::now();
            loop {
                let got = b.peek(1).map(|(got, _)| got.to_vec());
                match got {
                    Some(got) => {
                        b.advance();
                        if got == *frame {
                            break;
                        }
                        assert!(frames[..n].contains(&got), "another frame: {got:02x?}");
                    }
                    None if Instant::now() >= again => {
                        assert!(a.send(frame, 0));
                        again = Instant::now() + Duration::from_millis(300);
                    }
                    None => assert!(Instant::now() < deadline, "frame {n} never came"),
                }
            }
        }
    });
}

#[test]
fn an_interface_that_is_not_there_is_one_clear_line() {
    let error = Packet::open("bm-not-there").err().unwrap();
    assert_eq!(error.kind(), crate::Kind::NotFound);
    assert!(error.to_string().starts_with("packet:bm-not-there: looking for the interface: "), "{error}");
}
