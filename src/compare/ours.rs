//! bmnic's driver as a contender.

use super::Contender;
use crate::dma::{BATCH_MAX, Batch, Meta, Pool};
use crate::driver::{self, Config, Port, RxQueue, TxQueue};
use crate::error::Result;
use crate::pci::Function;
use std::hint::black_box;
use std::sync::Arc;

/// A port with one receive and one transmit queue.
pub struct Ours<'p> {
    rx: RxQueue,
    tx: TxQueue,
    batch: Batch<'p>,
    metas: [Meta; BATCH_MAX],
    /// Whether all that the card said of a packet is decoded at once, as DPDK does
    /// into its header, or when somebody asks.
    pub all_metadata: bool,
    nic: driver::Nic,
}

impl<'p> Ours<'p> {
    /// Opens a card with rings of `ring` descriptors.
    pub fn start(function: Arc<dyn Function>, ring: u16, pool: &'p Pool) -> Result<Self> {
        let config = Config { rx_ring: ring, tx_ring: ring, ..Config::default() };
        function.map(pool.arena())?;
        let Port { mut rx, mut tx, nic } = driver::open(function, &config)?;
        let (mut rx, tx) = (rx.remove(0), tx.remove(0));
        rx.fill(pool)?;
        Ok(Ours { rx, tx, batch: Batch::new(pool), metas: [Meta::default(); BATCH_MAX], all_metadata: false, nic })
    }

    /// Frames received and sent, as the driver has them of the card.
    pub fn counted(&mut self) -> Result<(u64, u64)> {
        let stats = self.nic.stats()?;
        Ok((stats.rx_packets, stats.tx_packets))
    }
}

impl Contender for Ours<'_> {
    #[inline]
    fn receive(&mut self, burst: usize) -> usize {
        self.batch.set_limit(burst);
        let n = self.rx.recv(&mut self.batch);
        if self.all_metadata {
            black_box(self.batch.metas(&mut self.metas));
        }
        n
    }

    #[inline]
    fn send(&mut self) -> usize {
        let sent = self.tx.send(&mut self.batch);
        self.batch.clear();
        sent
    }

    fn discard(&mut self) {
        self.batch.clear();
    }
}
