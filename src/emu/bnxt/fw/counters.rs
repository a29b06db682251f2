//! What was counted: by statistics context, by function, by port.

use super::super::Bnxt;
use super::super::hwrm::{Answer, Reply, Request};
use super::super::plane::{Counters, WIDTH};
use super::Refusal;

/// A flag of all queries: not the counters, but how wide they are.
const WIDTHS: u8 = 1;

/// STAT_CTX_QUERY and FUNC_QSTATS: what was sent comes first.
fn answer(counters: &Counters, masks: bool) -> Reply {
    let Counters { rx_packets, rx_discards, rx_errors, rx_bytes, .. } = *counters;
    let Counters { tx_packets, tx_errors, tx_discards, tx_bytes, .. } = *counters;
    let values = [
        &tx_packets[..],
        &[tx_discards, tx_errors],
        &tx_bytes,
        &rx_packets,
        &[rx_discards, rx_errors],
        &rx_bytes,
        &[0; 4],
    ];
    let mut reply = Reply::new(176);
    for (n, value) in values.concat().into_iter().enumerate() {
        reply = reply.u64(8 + 8 * n, if masks { WIDTH } else { value });
    }
    reply
}

pub fn context(card: &mut Bnxt, request: &Request) -> Answer {
    let mut counters = card.plane.stat(request.u32(0x10))?;
    // P5 is known to read as zero now and then.
    if card.board.nasty && card.chip().p5() && card.board.random.below(500) == 0 {
        counters = Counters::default();
    }
    Ok(answer(&counters, request.u8(0x14) & WIDTHS != 0))
}

pub fn function(card: &mut Bnxt, request: &Request) -> Answer {
    Ok(answer(&card.plane.totals(), request.u8(0x12) & WIDTHS != 0))
}

pub fn clear_context(card: &mut Bnxt, request: &Request) -> Answer {
    card.plane.clear_stat(request.u32(0x10))?;
    Ok(Reply::done())
}

/// PORT_QSTATS: written to memory, sent and received apart.
pub fn port(card: &mut Bnxt, request: &Request) -> Answer {
    let masks = request.u8(0x12) & WIDTHS != 0;
    let (tx, rx) = card.plane.port();
    let bytes = |words: &[u64]| -> Vec<u8> {
        words.iter().flat_map(|&word| if masks { WIDTH } else { word }.to_le_bytes()).collect()
    };
    let (tx, rx) = (bytes(tx), bytes(rx));
    let memory = &card.board.bus.memory;
    if !memory.write(request.u64(0x18), &tx) || !memory.write(request.u64(0x20), &rx) {
        return Err(Refusal::INVALID);
    }
    Ok(Reply::new(16).u16s(8, &[tx.len() as u16, rx.len() as u16]))
}

/// PORT_QSTATS_EXT: counters of pause, FEC and queues, all of which are zero here. As
/// much is written as there is and the driver has room for.
pub fn port_extended(card: &mut Bnxt, request: &Request) -> Answer {
    const TX: u16 = 264;
    const RX: u16 = 280;
    const QUEUES: u16 = 1;
    let (tx, rx) = (request.u16(0x12).min(TX), request.u16(0x14).min(RX));
    for (at, len) in [(request.u64(0x18), tx), (request.u64(0x20), rx)] {
        if len > 0 && !card.board.bus.memory.write(at, &vec![0; len.into()]) {
            return Err(Refusal::INVALID);
        }
    }
    Ok(Reply::new(16).u16s(8, &[tx, rx, QUEUES]))
}

pub fn clear_port(card: &mut Bnxt, _: &Request) -> Answer {
    card.plane.clear_port();
    Ok(Reply::done())
}
