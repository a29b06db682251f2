//! The virtual port: what a function receives, and how its own frames come back.
//!
//! ```text
//!   wire --> in front of a function with others beside it: own address, everyone's,
//!            addresses entered into the table of L2 addresses, or promiscuous
//!        --> lists of groups --> flow tables
//! ```

use super::super::super::wire::MAX_FRAME;
use super::MTU;

/// What firmware is told of the port; the data plane looks at it for each frame.
#[derive(Clone, Debug)]
pub struct Vport {
    /// Its address.
    pub mac: [u8; 6],
    /// All unicast frames, all multicast frames, all frames are received.
    pub promiscuous: [bool; 3],
    /// Addresses that are received besides.
    pub unicast: Vec<[u8; 6]>,
    /// Groups that are received.
    pub multicast: Vec<[u8; 6]>,
    /// Entries of the table of L2 addresses, by index.
    pub l2: Vec<(u32, [u8; 6])>,
    /// The function looks after such a table: a list of addresses alone then brings no
    /// foreign frame.
    pub shared: bool,
    /// The function is not trusted: it may say that it is promiscuous, and is not.
    pub distrusted: bool,
    /// Longest frame with tag and check sequence, 22 bytes more than the payload; 0 is
    /// as long as the port's.
    pub mtu: u16,
    /// Own frames do not come back: to one address, to many.
    pub no_loopback: [bool; 2],
    /// Headers that must be inline in entries of send queues: 0 none, 1 L2, 2 L3, 3 L4.
    pub inline: u8,
}

impl Default for Vport {
    fn default() -> Self {
        Vport {
            mac: [0; 6],
            promiscuous: [false; 3],
            unicast: Vec::new(),
            multicast: Vec::new(),
            l2: Vec::new(),
            shared: true,
            distrusted: false,
            mtu: MTU,
            no_loopback: [false; 2],
            inline: 1,
        }
    }
}

impl Vport {
    /// Whether a frame is longer than it may be.
    #[inline]
    pub fn too_long(&self, frame: usize) -> bool {
        const FCS: usize = 4;
        frame > MAX_FRAME || self.mtu != 0 && frame + FCS > usize::from(self.mtu)
    }

    /// Whether a frame from the wire reaches the function.
    #[inline]
    pub fn takes(&self, frame: &[u8]) -> bool {
        let Some(to) = frame.first_chunk::<6>() else { return false };
        let [unicast, multicast, all] = self.promiscuous.map(|on| on && !self.distrusted);
        if *to == self.mac || *to == [0xff; 6] || all {
            return true;
        }
        if to[0] & 1 == 1 {
            return multicast || self.multicast.contains(to);
        }
        let listed = !self.shared && self.unicast.contains(to);
        unicast || listed || self.l2.iter().any(|(_, address)| address == to)
    }

    /// Whether a frame that the function sends goes to its own address, and comes back.
    #[inline]
    pub fn loops(&self, frame: &[u8]) -> bool {
        let Some(to) = frame.first_chunk::<6>() else { return false };
        if to[0] & 1 == 1 { !self.no_loopback[1] } else { *to == self.mac && !self.no_loopback[0] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];

    #[test]
    fn a_function_receives_its_own_address_and_everyones_until_it_asks_for_more() {
        let mut vport = Vport { mac: OWN, ..Vport::default() };
        let taken = |vport: &Vport| [OWN, [0xff; 6], OTHER, GROUP].map(|to| vport.takes(&to));
        assert_eq!(taken(&vport), [true, true, false, false]);
        vport.unicast.push(OTHER);
        assert_eq!(taken(&vport), [true, true, false, false], "a list is not the table of addresses");
        vport.l2.push((0, OTHER));
        vport.multicast.push(GROUP);
        assert_eq!(taken(&vport), [true; 4]);
        let vport = Vport { mac: OWN, promiscuous: [false, false, true], ..Vport::default() };
        assert_eq!(taken(&vport), [true; 4]);
        assert_eq!(taken(&Vport { distrusted: true, ..vport }), [true, true, false, false]);
        let alone = Vport { mac: OWN, shared: false, unicast: vec![OTHER], ..Vport::default() };
        assert_eq!(taken(&alone), [true, true, true, false]);
    }
}
