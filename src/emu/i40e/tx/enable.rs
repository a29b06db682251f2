//! Transmit queues that go on and off (X710 §8.4.3.1).

use super::super::hmc::Way;
use super::super::regs::{self, QTX_ENA, QTX_TAIL};
use super::super::{I40e, QUEUES};
use super::TxQueue;

const REQUEST: u32 = 1;

impl I40e {
    /// GLLAN_TXPRE_QDIS(block) was written: a queue is about to be enabled, or
    /// disabled. Its number may be within the block of 128, or absolute.
    pub(in super::super) fn announced(&mut self, block: u16, value: u32) {
        const SET: u32 = 1 << 30;
        const CLEAR: u32 = 1 << 31;
        const STATUS: u32 = 1 << 16;
        let index = value & 0x7ff;
        let absolute = if index < 128 { 128 * u32::from(block) + index } else { index };
        let queue = absolute.checked_sub(u32::from(self.first_queue)).filter(|q| *q < u32::from(QUEUES));
        let Some(queue) = queue.map(|q| &mut self.tx.queues[q as usize]) else {
            return self.board.violations.note("GLLAN_TXPRE_QDIS for a queue that is not the function's");
        };
        match value & (SET | CLEAR) {
            SET => (queue.may_start, queue.may_stop) = (false, true),
            CLEAR => (queue.may_start, queue.may_stop) = (true, false),
            _ => {}
        }
        let status = if value & SET != 0 { STATUS } else { 0 };
        self.regs.poke(regs::GLLAN_TXPRE_QDIS.nth(block.into()), value & 0x7ff | status);
    }

    /// QTX_ENA of queue `q` was written.
    pub(in super::super) fn tx_enable_written(&mut self, q: u16) {
        const PF_QUEUE: u32 = 2;
        let at = QTX_ENA.nth(q.into());
        let on = self.regs.peek(at) & REQUEST != 0;
        let enabled = self.tx.queues[usize::from(q)].enabled;
        if on && !enabled && self.load_context(Way::Tx, q) {
            if self.regs.peek(regs::QTX_CTL.nth(q.into())) & 0x3f != PF_QUEUE {
                self.board.violations.note("transmit queue enabled that QTX_CTL does not give to the function");
            }
            let queue = &mut self.tx.queues[usize::from(q)];
            queue.enable(&mut self.board.violations);
            // What the queue announced in a former life is over: Linux enables it
            // again without a word to its tail.
            self.regs.poke(QTX_TAIL.nth(q.into()), queue.ring.head);
            if queue.enabled {
                self.tx.turns.start(q);
            }
        } else if !on && enabled {
            let queue = &mut self.tx.queues[usize::from(q)];
            if !queue.may_stop {
                self.board.violations.note("transmit queue disabled without GLLAN_TXPRE_QDIS.SET_QDIS");
            }
            *queue = TxQueue { context: queue.context, ..TxQueue::default() };
            self.tx.turns.stop(q);
        }
        self.follow(at, on);
    }

    /// QTX_HEAD reads the head of a queue that sends.
    pub(in super::super) fn tx_head(&self, q: u16) -> u32 {
        let queue = &self.tx.queues[usize::from(q)];
        if queue.enabled { queue.ring.head } else { self.regs.peek(regs::QTX_HEAD.nth(q.into())) }
    }
}
