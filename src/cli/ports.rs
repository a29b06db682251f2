//! Ports that share a pool: one buffer, one address, whichever card it is given to.

use crate::dma::Addressing;
use crate::driver::{self, Config, Port, RxQueue, TxQueue};
use crate::error::Result;
use crate::pci::{Function, Kind};
use std::sync::Arc;

/// Opens a port on each function, set up as `configs` says. Where one of them needs physical
/// addresses all are given those. Emulated ones take any.
///
/// # Errors
/// What opening one of them meets.
pub fn open(functions: &[Arc<dyn Function>], configs: &[Config]) -> Result<Vec<Port>> {
    let open = |i: usize| driver::open(Arc::clone(&functions[i]), &configs[i]);
    let mut ports = (0..functions.len()).map(|i| open(i).map(Some)).collect::<Result<Vec<_>>>()?;
    if addressing(functions) == Addressing::Physical {
        let differs = |function: &Arc<dyn Function>| {
            function.addressing() == Addressing::Translated
                && function.kind() != Kind::Emulated
                && function.interface().is_none()
        };
        let others: Vec<usize> = (0..functions.len()).filter(|i| differs(&functions[*i])).collect();
        // Their rings have addresses of the other sort: all are closed before one is opened again.
        for i in &others {
            ports[*i] = None;
            functions[*i].address_physically();
        }
        for i in others {
            let again = open(i).map_err(|error| error.hint("another card of this run needs physical addresses"));
            ports[i] = Some(again?);
        }
    }
    Ok(ports.into_iter().flatten().collect())
}

/// Which addresses memory must have that all of them reach.
pub fn addressing(functions: &[Arc<dyn Function>]) -> Addressing {
    let physical = functions.iter().any(|function| function.addressing() == Addressing::Physical);
    if physical { Addressing::Physical } else { Addressing::Translated }
}

/// Buffers that the rings of all of them hold at most.
pub fn buffers<'a>(ports: impl IntoIterator<Item = &'a Port>) -> usize {
    let rx = |port: &Port| port.rx.iter().map(RxQueue::buffers).sum::<usize>();
    let tx = |port: &Port| port.tx.iter().map(TxQueue::buffers).sum::<usize>();
    ports.into_iter().map(|port| rx(port) + tx(port)).sum()
}
