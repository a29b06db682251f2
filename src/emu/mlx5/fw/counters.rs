//! What was counted: of the vport by command, of the port by register.

use super::super::Mlx5;
use super::super::cmd::Request;
use super::super::plane::{Counters, Traffic};
use super::{Answer, Reply};

/// Unicast, multicast, broadcast, as they are counted.
const UNICAST: usize = 0;
const MULTICAST: usize = 1;
const BROADCAST: usize = 2;

/// QUERY_VPORT_COUNTER: packets and octets, of many kinds.
pub fn vport(card: &mut Mlx5, request: &Request) -> Answer {
    let Counters { rx, tx, rx_errors, tx_errors, looped, .. } = card.plane.counters;
    let pairs = [
        (0x10, [rx_errors, 0]),
        (0x20, [tx_errors, 0]),
        (0x70, [rx.frames[BROADCAST], rx.bytes[BROADCAST]]),
        (0x80, [tx.frames[BROADCAST], tx.bytes[BROADCAST]]),
        (0x90, [rx.frames[UNICAST], rx.bytes[UNICAST]]),
        (0xa0, [tx.frames[UNICAST], tx.bytes[UNICAST]]),
        (0xb0, [rx.frames[MULTICAST], rx.bytes[MULTICAST]]),
        (0xc0, [tx.frames[MULTICAST], tx.bytes[MULTICAST]]),
        (0xd0, looped),
    ];
    let mut reply = Reply::new(0x210);
    for (at, [packets, octets]) in pairs {
        reply = reply.u64(at, packets).u64(at + 8, octets);
    }
    if request.bits(0x18, 31, 31) == 1 {
        card.plane.counters = Counters::default();
    }
    Ok(reply)
}

/// Octets as the port counts them, with check sequences.
fn octets(traffic: &Traffic) -> u64 {
    traffic.octets() + 4 * traffic.total()
}

/// A group of the port's counters (PPCNT); one that is not kept is all 0.
pub fn group(card: &Mlx5, group: u32) -> Vec<(usize, u64)> {
    let port = &card.plane.port;
    let (rx, tx) = (&port.rx, &port.tx);
    match group {
        // IEEE 802.3.
        0x00 => vec![
            (0x00, tx.total()),
            (0x08, rx.total()),
            (0x20, octets(tx)),
            (0x28, octets(rx)),
            (0x30, tx.frames[MULTICAST]),
            (0x38, tx.frames[BROADCAST]),
            (0x40, rx.frames[MULTICAST]),
            (0x48, rx.frames[BROADCAST]),
            (0x60, port.too_long),
        ],
        // RFC 2863. Discards are of a port that is congested, as none is here: what finds
        // no buffer in memory is counted for its queue.
        0x01 => vec![
            (0x00, octets(rx)),
            (0x08, rx.frames[UNICAST]),
            (0x18, port.too_long + port.too_short),
            (0x28, octets(tx)),
            (0x30, tx.frames[UNICAST]),
            (0x48, rx.frames[MULTICAST]),
            (0x50, rx.frames[BROADCAST]),
            (0x58, tx.frames[MULTICAST]),
            (0x60, tx.frames[BROADCAST]),
        ],
        // RFC 2819: by length from 0x60 on.
        0x02 => {
            let mut counters = vec![
                (0x08, octets(rx)),
                (0x10, rx.total()),
                (0x18, rx.frames[BROADCAST]),
                (0x20, rx.frames[MULTICAST]),
                (0x30, port.too_short),
                (0x38, port.too_long),
            ];
            counters.extend(port.lengths.iter().enumerate().map(|(n, count)| (0x58 + 8 * n, *count)));
            counters
        }
        _ => Vec::new(),
    }
}
