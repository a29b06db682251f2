//! Several queues: what decides which one a packet comes on.

use super::bench::{Bench, bad};
use super::packets::all;
use super::port::{self, set_up};
use super::{Seen, frames};
use crate::dma::L4;
use crate::driver::{Config, FlowRule};
use crate::error::{Kind, Result};
use std::collections::BTreeMap;

/// Queues that are opened.
const QUEUES: u16 = 4;

/// Opens the card with several queues.
fn several(bench: &mut Bench) -> Result<std::result::Result<(), Seen>> {
    let most = bench.rx_queues;
    if most < 2 {
        return Ok(Err(Seen::Skipped("it has one queue".into())));
    }
    let config = Config { rx_queues: QUEUES.min(most), ..port::config() };
    set_up(bench, &config)
}

/// Flows come on all queues, and each flow on one.
pub fn spread(bench: &mut Bench) -> Result<Seen> {
    const FLOWS: u16 = 256;
    const AT_ONCE: u16 = 32;
    if let Err(skipped) = several(bench)? {
        return Ok(skipped);
    }
    let ends = bench.addresses()?;
    let queues = bench.receiver()?.rx.len().min(usize::from(QUEUES));
    let mut of = BTreeMap::new();
    for _ in 0..2 {
        for first in (0..FLOWS).step_by(usize::from(AT_ONCE)) {
            let numbers = bench.numbers(u32::from(AT_ONCE));
            for (flow, number) in (first..first + AT_ONCE).zip(numbers) {
                bench.send(&frames::udp(ends, flow, number, 60))?;
            }
            for arrival in all(bench, u32::from(AT_ONCE))? {
                let Some(flow) = frames::flow_of(&arrival.bytes) else { return Err(bad("a packet of no flow came")) };
                if let Some(before) = of.insert(flow, arrival.queue).filter(|before| *before != arrival.queue) {
                    return Err(bad(format_args!("flow {flow} came on queue {before}, then on {}", arrival.queue)));
                }
            }
        }
    }
    let counts: Vec<usize> = (0..queues).map(|queue| of.values().filter(|of| **of == queue).count()).collect();
    shared(&counts, usize::from(FLOWS))
}

/// What there is to say of how many flows each queue got: by a hash none goes without, but
/// some get more than others.
fn shared(counts: &[usize], flows: usize) -> Result<Seen> {
    let text = format!("{flows} flows as {counts:?}");
    match counts.iter().filter(|count| **count == 0).count() {
        0 => Ok(Seen::Good(text)),
        idle => Err(bad(format_args!("{text}: nothing on {idle} of {} queues", counts.len()))),
    }
}

/// A flow comes on the queue that it was steered to, and another does not.
pub fn steer(bench: &mut Bench) -> Result<Seen> {
    const FLOW: u16 = 77;
    const OTHER: u16 = 78;
    if let Err(skipped) = several(bench)? {
        return Ok(skipped);
    }
    let ends = bench.addresses()?;
    let queues = QUEUES.min(bench.receiver()?.rx.len() as u16);
    let mut others = Vec::new();
    // Each queue in turn, so that none is right by chance.
    for queue in 0..queues {
        let rule = FlowRule {
            source: Some([198, 18, 0, 1].into()),
            destination: Some([198, 19, 0, 1].into()),
            source_port: Some(frames::FIRST_PORT + FLOW),
            destination_port: Some(7),
            protocol: L4::Udp,
            queue,
        };
        match bench.receiver()?.nic.steer(&rule) {
            Err(error) if error.kind() == Kind::Unsupported => return Ok(Seen::Skipped(error.to_string())),
            steered => steered?,
        }
        let number = bench.number();
        bench.send(&frames::udp(ends, FLOW, number, 60))?;
        match bench.receive(1)?.first() {
            Some(arrival) if arrival.queue == usize::from(queue) => {}
            Some(arrival) => return Err(bad(format_args!("steered to queue {queue} it came on {}", arrival.queue))),
            None => return Err(bad(format_args!("steered to queue {queue} it did not arrive"))),
        }
        let number = bench.number();
        bench.send(&frames::udp(ends, OTHER, number, 60))?;
        others.extend(all(bench, 1)?.iter().map(|arrival| arrival.queue));
    }
    unmoved(&others)?;
    Ok(Seen::Good(format!("on each of {queues} queues")))
}

/// Whether the flow that was not steered came on one queue, whichever the other was steered
/// to.
fn unmoved(queues: &[usize]) -> Result<()> {
    match queues.windows(2).all(|pair| pair[0] == pair[1]) {
        true => Ok(()),
        false => Err(bad(format_args!("another flow, which was not steered, came on queues {queues:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_that_follows_a_rule_for_another_is_told() {
        unmoved(&[2, 2, 2, 2]).unwrap();
        let error = unmoved(&[0, 1, 2, 3]).unwrap_err();
        assert_eq!(error.to_string(), "another flow, which was not steered, came on queues [0, 1, 2, 3]");
    }

    #[test]
    fn a_queue_without_flows_is_told() {
        assert!(matches!(shared(&[70, 60, 60, 66], 256), Ok(Seen::Good(_))));
        let Err(error) = shared(&[128, 0, 128, 0], 256) else { panic!() };
        assert_eq!(error.to_string(), "256 flows as [128, 0, 128, 0]: nothing on 2 of 4 queues");
    }
}
