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
            let (input, output) =
                (used(&boxes.input, bytes, usize::MAX), used(&boxes.output, command.output, usize::MAX));
            let memory = [vec![self.entry(slot)], input, output];
            trace.command(command.code.into(), command.name, &memory.concat());
        }
    }

    /// Notes that one was answered, or not delivered.
    pub(super) fn note_answer(&self, posted: &Posted, delivery: u8) {
        if let Some(trace) = self.segment.bar().trace() {
            let Posted { slot, command, shown, .. } = *posted;
            let said = if delivery == 0 { "delivered".into() } else { format!("not delivered: {delivery:#x}") };
            let memory = [vec![self.entry(slot)], used(&self.boxes(slot).output, command.output, shown)];
            trace.answer(command.name, said, &memory.concat());
        }
    }
}

/// The mailboxes of a request or an answer of so many bytes, without those of its bytes that
/// are behind the first `shown`.
fn used(memory: &Region, bytes: usize, shown: usize) -> Vec<Region> {
    let [bytes, shown] = [bytes, shown].map(|bytes| bytes.saturating_sub(INLINE));
    let parts = |n: usize| match shown.saturating_sub(n * DATA) {
        left if shown >= bytes || left >= DATA => vec![memory.part(n * MAILBOX, USED)],
        left => [(0, left), (DATA, USED - DATA)].map(|(at, len)| memory.part(n * MAILBOX + at, len)).to_vec(),
    };
    (0..bytes.div_ceil(DATA)).flat_map(parts).collect()
}
