//! Several queues: what decides which one a packet comes on.

use super::bench::Bench;
use super::{Seen, frames, port};
use crate::dma::L4;
use crate::driver::{Config, FlowRule};
use crate::error::{Kind, Result};
use std::collections::BTreeMap;

/// Queues that are opened.
const QUEUES: u16 = 4;

/// Opens the card with several queues.
fn open(bench: &mut Bench) -> Result<Option<Seen>> {
    // Two ends have at least as many as the one that has fewer.
    let most = bench.description.as_ref().map_or(1, |card| card.max_rx_queues);
    if most < 2 {
        return Ok(Some(Seen::Skipped("it has one queue".into())));
    }
    let config = Config { rx_queues: QUEUES.min(most), vlan_strip: false, timestamps: false, ..port::config(bench) };
    match bench.open(&config) {
        Err(error) if error.kind() == Kind::Unsupported => return Ok(Some(Seen::Skipped(error.to_string()))),
        opened => opened?,
    }
    port::link(bench)?;
    Ok(None)
}

/// Flows come on all queues, and each flow on one.
pub fn spread(bench: &mut Bench) -> Result<Seen> {
    const FLOWS: u16 = 256;
    if let Some(skipped) = open(bench)? {
        return Ok(skipped);
    }
    let ends = bench.addresses()?;
    let queues = bench.receiver()?.rx.len();
    let mut of = BTreeMap::new();
    for number in 0..2 {
        for first in (0..FLOWS).step_by(32) {
            for flow in first..first + 32 {
                bench.send(&frames::udp(ends, flow, number, 60))?;
            }
            let came = bench.receive(32)?;
            if came.len() < 32 {
                return Err(bench.error(format_args!("of 32 packets {} arrived", came.len())));
            }
            for arrival in came {
                let flow = u16::from_be_bytes([arrival.bytes[34], arrival.bytes[35]]) - 1024;
                if let Some(before) = of.insert(flow, arrival.queue).filter(|before| *before != arrival.queue) {
                    let text = format!("flow {flow} came on queue {before}, then on {}", arrival.queue);
                    return Err(bench.error(text));
                }
            }
        }
    }
    let counts: Vec<usize> = (0..queues).map(|queue| of.values().filter(|of| **of == queue).count()).collect();
    let text = format!("{FLOWS} flows as {counts:?}");
    match counts.iter().take(usize::from(QUEUES)).filter(|count| **count > 0).count() {
        0 | 1 => Err(bench.error(format_args!("{text}: all on one"))),
        _ => Ok(Seen::Good(text)),
    }
}

/// A flow comes on the queue that it was steered to, and another does not.
pub fn steer(bench: &mut Bench) -> Result<Seen> {
    const FLOW: u16 = 77;
    if let Some(skipped) = open(bench)? {
        return Ok(skipped);
    }
    let ends = bench.addresses()?;
    let queues = bench.receiver()?.rx.len() as u16;
    // Each queue in turn, so that none is right by chance.
    for queue in 0..queues.min(QUEUES) {
        let rule = FlowRule {
            source: Some([198, 18, 0, 1].into()),
            destination: Some([198, 19, 0, 1].into()),
            source_port: Some(1024 + FLOW),
            destination_port: Some(7),
            protocol: L4::Udp,
            queue,
        };
        match bench.receiver()?.nic.steer(&rule) {
            Err(error) if error.kind() == Kind::Unsupported => return Ok(Seen::Skipped(error.to_string())),
            steered => steered?,
        }
        bench.send(&frames::udp(ends, FLOW, 0, 60))?;
        match bench.receive(1)?.first() {
            Some(arrival) if arrival.queue == usize::from(queue) => {}
            Some(arrival) => {
                return Err(bench.error(format_args!("steered to queue {queue} it came on {}", arrival.queue)));
            }
            None => return Err(bench.error(format_args!("steered to queue {queue} it did not arrive"))),
        }
    }
    Ok(Seen::Good(format!("on each of {} queues", queues.min(QUEUES))))
}
