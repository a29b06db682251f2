//! Notifications, and the page that they are stored into (VIRTIO 1.2 §4.1.5.2).

use super::super::polled;
use super::config::status;
use super::features::NOTIFICATION_DATA;
use super::regs::{NOTIFY_AT, NOTIFY_STEP};
use super::{QUEUES, SILENT, Virtio};

impl Virtio {
    /// A notification, from a register access or out of the page.
    pub(super) fn notified(&mut self, offset: u32, size: u8, value: u32) {
        let place = (offset - NOTIFY_AT) / NOTIFY_STEP;
        let with_data = self.has(NOTIFICATION_DATA);
        let Some(queue) = self.queues.get_mut(place as usize) else {
            self.board.violations.note("notification of a queue that does not exist");
            return;
        };
        let data = (value >> 16) as u16;
        let wrong = if !offset.is_multiple_of(NOTIFY_STEP) || size != if with_data { 4 } else { 2 } {
            Some("notification of the wrong size or place")
        } else if value & 0xffff != place || !with_data && data != 0 {
            Some("notification with the wrong queue index")
        } else if self.common.status & status::DRIVER_OK == 0 {
            Some("notification before DRIVER_OK")
        } else if with_data && queue.ring.as_ref().is_some_and(|ring| !ring.data_is_sane(data)) {
            Some("notification with an index outside the queue")
        } else if queue.ring.is_none() {
            Some("notification of a queue that is off")
        } else {
            None
        };
        match wrong {
            Some(rule) => {
                queue.busy = false;
                self.board.violations.note(rule);
            }
            None => self.attend(place as usize),
        }
    }

    /// A queue is looked at from here on, until it is found empty.
    pub(super) fn attend(&mut self, q: usize) {
        let queue = &mut self.queues[q];
        queue.busy = true;
        if let (Some(ring), Some(meter)) = (&queue.ring, self.board.bus.memory.meter()) {
            ring.hear(meter);
        }
        if let Some(ring) = &queue.ring
            && let Err(rule) = ring.want_notice(&self.board.bus.memory, false)
        {
            self.stop(rule);
        }
    }

    /// Looks for notifications in the page.
    pub(super) fn look_at_page(&mut self) {
        for place in 0..QUEUES {
            if let Some(value) = polled::take(&self.notify[usize::from(place)], SILENT) {
                // A store of 16 bits leaves the upper half as it was.
                let (size, value) = if self.has(NOTIFICATION_DATA) { (4, value) } else { (2, value & 0xffff) };
                self.notified(NOTIFY_AT + NOTIFY_STEP * u32::from(place), size, value);
            }
        }
    }
}
