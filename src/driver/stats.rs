//! Counters of a port, whatever its family: what passed, what was lost, and what
//! the device did that it must not.

/// Counters of a port since it was opened. Bytes without FCS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames received into memory. Where a device counts these and not `rx_missed`,
    /// those that it lost are among them.
    pub rx_packets: u64,
    /// Bytes received into memory. The X710 and mlx5 families count
    /// those of lost frames among them.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames the card lost because the ring had no free descriptor or its
    /// packet buffer was full. `None`: the device keeps no such count, so that
    /// nobody can say.
    pub rx_missed: Option<u64>,
    /// Frames the MAC itself did not take in: it had no room, or, where a card
    /// counts both as one, they were too long.
    pub rx_overflow: u64,
    /// Frames with a wrong FCS or length.
    pub rx_errors: u64,
    /// Frames that were too long to receive.
    pub rx_oversize: u64,
    /// Frames, received or not, that the kernel had not finished: a checksum was still open, or
    /// it was several segments in one. No card has any.
    pub rx_unfinished: u64,
    /// Whether packets and bytes are the device's own counts; if not, the driver
    /// has counted what the device told it of.
    pub by_device: bool,
    /// What the driver had to drop because the device's words made no sense.
    pub anomalies: Anomalies,
}

impl Stats {
    /// What was counted since `before`; nothing is ever negative.
    #[must_use]
    pub fn since(&self, before: &Stats) -> Stats {
        let less = u64::saturating_sub;
        Stats {
            rx_packets: less(self.rx_packets, before.rx_packets),
            rx_bytes: less(self.rx_bytes, before.rx_bytes),
            tx_packets: less(self.tx_packets, before.tx_packets),
            tx_bytes: less(self.tx_bytes, before.tx_bytes),
            rx_missed: self.rx_missed.map(|now| less(now, before.rx_missed.unwrap_or(0))),
            rx_overflow: less(self.rx_overflow, before.rx_overflow),
            rx_errors: less(self.rx_errors, before.rx_errors),
            rx_oversize: less(self.rx_oversize, before.rx_oversize),
            rx_unfinished: less(self.rx_unfinished, before.rx_unfinished),
            by_device: self.by_device,
            anomalies: self.anomalies.since(&before.anomalies),
        }
    }

    /// Frames that reached the port and that nobody received, as far as the
    /// device counts them.
    pub fn rx_lost(&self) -> u64 {
        self.rx_missed.unwrap_or(0) + self.rx_overflow + self.rx_errors + self.rx_oversize
    }
}

/// Things a device did that it must not, and one that an application must not,
/// each counted and survived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// A length of zero or beyond the buffer.
    pub bad_length: u64,
    /// An index or id outside its ring, or not in use.
    pub bad_index: u64,
    /// A chain of buffers that ends nowhere, or within another.
    pub bad_chain: u64,
    /// A frame flagged broken by the card.
    pub frame_error: u64,
    /// A queue that had to be set up anew.
    pub queue_reset: u64,
    /// A call of [`RxQueue::recv`](super::RxQueue::recv) or [`TxQueue::send`](super::TxQueue::send) with a batch of a pool that
    /// the card cannot reach ([`Function::map`](crate::pci::Function::map)): it moved nothing.
    pub unmapped: u64,
}

impl Anomalies {
    /// All of them together.
    pub fn total(&self) -> u64 {
        self.bad_length + self.bad_index + self.bad_chain + self.frame_error + self.queue_reset + self.unmapped
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Anomalies) -> Anomalies {
        Anomalies {
            bad_length: self.bad_length.saturating_sub(before.bad_length),
            bad_index: self.bad_index.saturating_sub(before.bad_index),
            bad_chain: self.bad_chain.saturating_sub(before.bad_chain),
            frame_error: self.frame_error.saturating_sub(before.frame_error),
            queue_reset: self.queue_reset.saturating_sub(before.queue_reset),
            unmapped: self.unmapped.saturating_sub(before.unmapped),
        }
    }

    /// Adds another queue's.
    pub fn add(&mut self, other: &Anomalies) {
        self.bad_length += other.bad_length;
        self.bad_index += other.bad_index;
        self.bad_chain += other.bad_chain;
        self.frame_error += other.frame_error;
        self.queue_reset += other.queue_reset;
        self.unmapped += other.unmapped;
    }
}
