//! What a trace shows of a command: its entry, and the mailboxes that are used.

use super::{CommandQueue, DATA, INLINE, MAILBOX, Posted, Slot};
use crate::dma::Region;
use crate::driver::mailbox::Command;

/// Bytes of a mailbox that the card reads and writes.
const USED: usize = 0x240;

impl CommandQueue {
    /// Notes a command of so many bytes, which lies ready.
    pub(super) fn note_command(&self, slot: Slot, command: Command, bytes: usize) {
        if let Some(trace) = self.segment.bar().trace() {
            let boxes = self.boxes(slot);
            let memory = [vec![self.entry(slot)], used(&boxes.input, bytes), used(&boxes.output, command.output)];
            trace.command(command.code.into(), command.name, &memory.concat());
        }
    }

    /// Notes that one was answered, or not delivered.
    pub(super) fn note_answer(&self, posted: &Posted, delivery: u8) {
        if let Some(trace) = self.segment.bar().trace() {
            let Posted { slot, command, .. } = *posted;
            let said = if delivery == 0 { "delivered".into() } else { format!("not delivered: {delivery:#x}") };
            let memory = [vec![self.entry(slot)], used(&self.boxes(slot).output, command.output)];
            trace.answer(command.name, said, &memory.concat());
        }
    }
}

/// The mailboxes of a request or an answer of so many bytes.
fn used(memory: &Region, bytes: usize) -> Vec<Region> {
    (0..bytes.saturating_sub(INLINE).div_ceil(DATA)).map(|n| memory.part(n * MAILBOX, USED)).collect()
}
