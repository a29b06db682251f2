//! PIO buffers: memory in the card that a driver writes packets into.
//!
//! ```text
//!   LINK_PIOBUF(handle, n):   window n's page at 0x1000 --> buffer --> transmit queue n
//! ```
//!
//! A buffer can be linked to several windows: one through which it is written,
//! others whose queues send from it. Each window has a page of its own here, as
//! an attachment may map it; what is written through one that is trapped goes
//! to all that share the buffer. It is written by aligned words of 64 bits, and by
//! nothing else (Linux tx.c, efx_memcpy_64).

/// Bytes of a buffer.
pub const SIZE: usize = 2048;

/// Buffers of the function.
const BUFFERS: usize = 16;

/// Which buffers are in use, and through which windows.
#[derive(Default)]
pub struct PioBuffers {
    allocated: [bool; BUFFERS],
    /// Window and buffer.
    links: Vec<(u16, usize)>,
}

impl PioBuffers {
    /// How many there are.
    pub fn len(&self) -> usize {
        BUFFERS
    }

    /// A buffer's handle; none if all are taken. Handles count from 1.
    pub fn allocate(&mut self) -> Option<u32> {
        let buffer = self.allocated.iter().position(|taken| !taken)?;
        self.allocated[buffer] = true;
        Some(buffer as u32 + 1)
    }

    fn find(&self, handle: u32) -> Option<usize> {
        (handle as usize).checked_sub(1).filter(|buffer| self.allocated.get(*buffer) == Some(&true))
    }

    /// Gives a buffer back; none if there is no such.
    pub fn free(&mut self, handle: u32) -> Option<()> {
        let buffer = self.find(handle)?;
        self.allocated[buffer] = false;
        self.links.retain(|(_, linked)| *linked != buffer);
        Some(())
    }

    /// Makes a window, and its transmit queue, one of this buffer.
    pub fn link(&mut self, handle: u32, window: u16) -> Option<()> {
        let buffer = self.find(handle)?;
        self.links.retain(|(linked, _)| *linked != window);
        self.links.push((window, buffer));
        Some(())
    }

    /// Undoes that.
    pub fn unlink(&mut self, window: u16) -> Option<()> {
        let at = self.links.iter().position(|(linked, _)| *linked == window)?;
        self.links.remove(at);
        Some(())
    }

    /// Whether a window has a buffer.
    pub fn linked(&self, window: u16) -> bool {
        self.links.iter().any(|(linked, _)| *linked == window)
    }

    /// All windows of the buffer that this one is linked to.
    pub fn sharing(&self, window: u16) -> impl Iterator<Item = u16> {
        let buffer = self.links.iter().find(|(linked, _)| *linked == window).map(|(_, buffer)| *buffer);
        self.links.iter().filter(move |(_, linked)| Some(*linked) == buffer).map(|(window, _)| *window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_reached_through_each_window_it_is_linked_to() {
        let mut pio = PioBuffers::default();
        let handle = pio.allocate().unwrap();
        assert!(pio.link(handle, 5).is_some() && pio.link(handle, 0).is_some());
        assert_eq!(pio.sharing(5).collect::<Vec<_>>(), [5, 0]);
        assert_eq!(pio.sharing(1).count(), 0);
        assert!(pio.unlink(5).is_some() && pio.unlink(5).is_none());
        assert!(!pio.linked(5) && pio.linked(0));
        assert!(pio.free(handle).is_some() && pio.free(handle).is_none());
        assert!(!pio.linked(0) && pio.link(handle, 0).is_none());
        assert_eq!((0..).map_while(|_| pio.allocate()).count(), BUFFERS);
    }
}
