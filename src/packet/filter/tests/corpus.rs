//! Frames of every sort that expressions tell apart, with values from small sets, so
//! that expressions with values from the same sets match some of them.

use super::chance::Chance;

pub const MACS: [[u8; 6]; 4] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [0xff; 6], [1, 0, 0x5e, 0, 0, 5]];
pub const V4: [[u8; 4]; 5] = [[10, 0, 0, 1], [10, 0, 0, 2], [192, 168, 7, 9], [239, 1, 1, 1], [172, 16, 0, 5]];
pub const V6: [[u8; 16]; 3] = [
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0xff, 0xfe, 0, 0, 1],
];
pub const PORTS: [u16; 8] = [53, 80, 443, 1024, 4789, 6081, 8005, 8080];
pub const PROTOCOLS: [u8; 16] = [6, 6, 6, 17, 17, 17, 17, 132, 1, 58, 2, 9, 47, 51, 103, 112];
pub const VLANS: [u16; 4] = [5, 77, 100, 4095];
pub const LABELS: [u32; 3] = [16, 1024, 0xfffff];

/// So many frames; every fourth is cut short somewhere.
pub fn frames(count: usize) -> Vec<Vec<u8>> {
    let mut chance = Chance(2);
    (0..count)
        .map(|n| {
            let mut frame = Vec::new();
            ethernet(&mut chance, &mut frame, 2);
            if n % 4 == 3 {
                let len = frame.len().min(90);
                frame.truncate(chance.below(len + 1));
            } else if chance.once_in(2) {
                frame.resize(frame.len().max(60), 0);
            }
            frame
        })
        .collect()
}

fn ethernet(chance: &mut Chance, frame: &mut Vec<u8>, depth: usize) {
    for _ in 0..2 {
        let mac = chance.one(&MACS);
        frame.extend(mac);
    }
    while chance.once_in(4) {
        let tag: [u8; 2] = chance.one(&[[0x81, 0], [0x88, 0xa8], [0x91, 0]]);
        frame.extend(tag);
        frame.extend((chance.one(&VLANS) | (chance.below(8) as u16) << 13).to_be_bytes());
    }
    match chance.below(24) {
        0..=9 => typed(frame, 0x0800, |frame| ipv4(chance, frame, depth)),
        10..=14 => typed(frame, 0x86dd, |frame| ipv6(chance, frame, depth)),
        15 | 16 => {
            let ether = chance.one(&[0x0806_u16, 0x8035]);
            typed(frame, ether, |frame| arp(chance, frame));
        }
        17 | 18 => llc(chance, frame),
        19 | 20 => typed(frame, 0x8847, |frame| mpls(chance, frame, depth)),
        21 => typed(frame, 0x8864, |frame| pppoe(chance, frame, depth)),
        22 => typed(frame, 0x6003, |frame| decnet(chance, frame)),
        _ => {
            let ether =
                chance.one(&[0x8863_u16, 0x6004, 0x6007, 0x6001, 0x6002, 0x809b, 0x80f3, 0x8137, 0x88f7, 0x9000]);
            typed(frame, ether, |frame| random(chance, frame, 50));
        }
    }
}

fn typed(frame: &mut Vec<u8>, ether: u16, rest: impl FnOnce(&mut Vec<u8>)) {
    frame.extend(ether.to_be_bytes());
    rest(frame);
}

fn random(chance: &mut Chance, frame: &mut Vec<u8>, most: usize) {
    let len = chance.below(most);
    frame.extend((0..len).map(|_| chance.next() as u8));
}

fn ipv4(chance: &mut Chance, frame: &mut Vec<u8>, depth: usize) {
    let protocol = chance.one(&PROTOCOLS);
    let words = if chance.once_in(4) { 5 + chance.below(11) as u8 } else { 5 };
    let fragment: u16 = if chance.once_in(5) { chance.one(&[0x2000, 0x2010, 0x0010]) } else { 0x4000 };
    frame.extend([0x40 | words, 0, 0, 40 + chance.below(80) as u8, 0, chance.below(4) as u8]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([chance.one(&[1, 9, 64]), protocol, 0, 0]);
    let (source, destination) = (chance.one(&V4), chance.one(&V4));
    frame.extend(source);
    frame.extend(destination);
    frame.extend((20..usize::from(words) * 4).map(|_| chance.next() as u8));
    transport(chance, frame, protocol, depth, false);
}

fn ipv6(chance: &mut Chance, frame: &mut Vec<u8>, depth: usize) {
    let mut chain = vec![];
    while chance.once_in(3) && chain.len() < 5 {
        chain.push(chance.one(&[0_u8, 60, 43, 44, 51]));
    }
    let protocol = chance.one(&PROTOCOLS);
    chain.push(protocol);
    frame.extend([0x60, 0, 0, 0, 0, 40 + chance.below(80) as u8, chain[0], chance.one(&[1, 9, 64])]);
    let (source, destination) = (chance.one(&V6), chance.one(&V6));
    frame.extend(source);
    frame.extend(destination);
    for (header, next) in chain.iter().zip(&chain[1..]) {
        let more = if *header == 44 { 0 } else { chance.below(2) as u8 };
        let len = if *header == 51 { (usize::from(more) + 2) * 4 } else { (usize::from(more) + 1) * 8 };
        frame.extend([*next, more]);
        frame.extend((2..len).map(|_| chance.below(3) as u8));
    }
    transport(chance, frame, protocol, depth, true);
}

fn transport(chance: &mut Chance, frame: &mut Vec<u8>, protocol: u8, depth: usize, v6: bool) {
    let (source, destination) = (chance.one(&PORTS), chance.one(&PORTS));
    match protocol {
        6 => {
            frame.extend(source.to_be_bytes());
            frame.extend(destination.to_be_bytes());
            frame.extend([
                0,
                0,
                0,
                7,
                0,
                0,
                0,
                9,
                0x50,
                chance.one(&[0x02, 0x12, 0x10, 0x11, 0x18, 0xc2]),
                2,
                0,
                0,
                0,
                0,
                0,
            ]);
            random(chance, frame, 40);
        }
        17 => {
            frame.extend(source.to_be_bytes());
            frame.extend(destination.to_be_bytes());
            frame.extend([0, 8 + chance.below(60) as u8, 0, 0]);
            match destination {
                6081 if depth > 0 => geneve(chance, frame, depth - 1),
                4789 if depth > 0 => {
                    frame.extend([chance.one(&[8, 8, 8, 0]), 0, 0, 0, 0, 0, chance.one(&[5, 6]), 0]);
                    ethernet(chance, frame, depth - 1);
                }
                _ => random(chance, frame, 60),
            }
        }
        132 => {
            frame.extend(source.to_be_bytes());
            frame.extend(destination.to_be_bytes());
            random(chance, frame, 40);
        }
        1 | 58 => {
            frame.extend([chance.one(&[0, 3, 8, 11, 128, 135, 143]), chance.below(3) as u8]);
            random(chance, frame, 40);
        }
        // Behind IPv4 as well: what AH is followed by.
        51 if !v6 => {
            let next = chance.one(&PROTOCOLS);
            frame.extend([next, 1]);
            frame.extend([0; 10]);
            random(chance, frame, 40);
        }
        _ => random(chance, frame, 60),
    }
}

fn geneve(chance: &mut Chance, frame: &mut Vec<u8>, depth: usize) {
    let options = chance.below(3);
    let protocol = chance.one(&[0x6558_u16, 0x6558, 0x0800, 0x86dd]);
    frame.push(chance.one(&[0, 0, 0, 0x40]) | options as u8);
    frame.push(0);
    frame.extend(protocol.to_be_bytes());
    frame.extend([0, 0, chance.one(&[5, 6]), 0]);
    frame.extend((0..options * 4).map(|_| chance.next() as u8));
    match protocol {
        0x0800 => ipv4(chance, frame, depth),
        0x86dd => ipv6(chance, frame, depth),
        _ => ethernet(chance, frame, depth),
    }
}

fn arp(chance: &mut Chance, frame: &mut Vec<u8>) {
    frame.extend([0, 1, 8, 0, 6, 4, 0, chance.one(&[1, 2])]);
    for _ in 0..2 {
        let (mac, address) = (chance.one(&MACS), chance.one(&V4));
        frame.extend(mac);
        frame.extend(address);
    }
}

fn llc(chance: &mut Chance, frame: &mut Vec<u8>) {
    frame.extend([chance.one(&[0, 0, 5]), chance.one(&[38, 60, 220])]);
    match chance.below(6) {
        0 => {
            frame.extend([0xaa, 0xaa, 3]);
            let organisation = chance.one(&[[0, 0, 0], [8, 0, 7]]);
            frame.extend(organisation);
            let protocol: [u8; 2] = chance.one(&[[0x80, 0x9b], [0x80, 0xf3], [0x81, 0x37], [8, 0]]);
            frame.extend(protocol);
        }
        1 => frame.extend([0xff, 0xff]),
        2 => {
            // IS-IS, ES-IS and CLNP.
            frame.extend([0xfe, 0xfe, 3, chance.one(&[0x81, 0x82, 0x83, 0x83, 0x83]), 27, 1, 0]);
            frame.push(chance.one(&[15, 16, 17, 18, 20, 24, 25, 26, 27]));
        }
        _ => {
            let sap = chance.one(&[0x42, 0xe0, 0xf0, 0x06, 0xfe]);
            frame.extend([sap, if chance.once_in(4) { 0 } else { sap }]);
            frame.push(chance.one(&[0x03, 0x00, 0x01, 0x05, 0x09, 0x63, 0x43, 0x0f, 0x6f, 0xe3, 0xaf, 0x87]));
        }
    }
    random(chance, frame, 40);
}

fn mpls(chance: &mut Chance, frame: &mut Vec<u8>, depth: usize) {
    loop {
        let last = !chance.once_in(3);
        let entry = chance.one(&LABELS) << 12 | u32::from(last) << 8 | 64;
        frame.extend(entry.to_be_bytes());
        if last {
            break;
        }
    }
    if chance.once_in(3) { ipv6(chance, frame, depth) } else { ipv4(chance, frame, depth) }
}

fn pppoe(chance: &mut Chance, frame: &mut Vec<u8>, depth: usize) {
    frame.extend([0x11, 0, 0, chance.one(&[0x11, 0x12]), 0, 60]);
    match chance.below(6) {
        0 => frame.extend([0xc0, 0x21, 1, 1, 0, 4]),
        1 => typed(frame, 0x0057, |frame| ipv6(chance, frame, depth)),
        2 => typed(frame, 0x0281, |frame| mpls(chance, frame, depth)),
        3 => {
            let protocol = chance.one(&[0x0023_u16, 0x0027, 0x0029, 0x002b, 0x0031]);
            typed(frame, protocol, |frame| random(chance, frame, 40));
        }
        _ => typed(frame, 0x0021, |frame| ipv4(chance, frame, depth)),
    }
}

fn decnet(chance: &mut Chance, frame: &mut Vec<u8>) {
    frame.extend([30, 0]);
    let flags: &[u8] = chance.one(&[&[0x02][..], &[0x81, 0x02], &[0x06], &[0x81, 0x06]]);
    frame.extend(flags);
    // Nodes 1.5 and 1.6, low byte first, wherever one may be.
    frame.push(0);
    for _ in 0..10 {
        frame.extend([chance.one(&[5, 6]), 4]);
    }
}
