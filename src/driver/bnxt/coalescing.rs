//! How long completions may wait for others: not at all.

use super::cmd::{ring_aggint_qcaps, ring_cmpl_ring_cfg_aggint_params as aggint};
use super::hw::Hw;
use crate::driver::mailbox::{Field, Reply, Request};
use crate::error::Result;

/// How completions are reported at once. A card that is not told holds them back,
/// in the hope of more.
#[derive(Clone, Debug, Default)]
pub struct Coalescing {
    flags: u64,
    enables: u64,
    /// Values that delay least; none may be zero.
    values: Vec<(Field, u64)>,
}

impl Coalescing {
    /// What the card can be told.
    pub fn ask(hw: &Hw) -> Result<Coalescing> {
        let reply = hw.ask_optional(Request::new(ring_aggint_qcaps::COMMAND))?;
        Ok(Coalescing::of(reply.as_ref()))
    }

    /// From its answer; without one, what all of them can be told.
    fn of(reply: Option<&Reply>) -> Coalescing {
        use aggint::input;
        use ring_aggint_qcaps::output;
        const ALL: u64 = 0x1ff;
        const RING_IDLE: u64 = 1 << 3;
        const WHEN_IDLE: u64 = 1 << 1;
        let can = reply.map_or(ALL, |reply| reply.get(output::CMPL_PARAMS));
        let least = |field| reply.map_or(1, |reply| reply.get(field).max(1));
        // A bit of the capabilities, the bit that enables it, field, least value.
        let all = [
            (4, Some(0), input::NUM_CMPL_DMA_AGGR, output::NUM_DMA_AGGR_MIN),
            (5, Some(1), input::NUM_CMPL_DMA_AGGR_DURING_INT, output::NUM_DMA_AGGR_DURING_INT_MIN),
            (6, Some(2), input::CMPL_AGGR_DMA_TMR, output::DMA_TMR_MIN),
            (7, None, input::CMPL_AGGR_DMA_TMR_DURING_INT, output::DMA_TMR_DURING_INT_MIN),
            (0, Some(3), input::INT_LAT_TMR_MIN, output::LAT_MIN_MIN),
            (1, Some(4), input::INT_LAT_TMR_MAX, output::LAT_MAX_MIN),
            (8, Some(5), input::NUM_CMPL_AGGR_INT, output::NUM_AGGR_INT_MIN),
        ];
        let said = all.iter().filter(|(bit, ..)| can >> bit & 1 != 0);
        Coalescing {
            flags: if can & RING_IDLE != 0 { WHEN_IDLE } else { 0 },
            enables: said.clone().filter_map(|(_, enable, ..)| *enable).fold(0, |bits, bit| bits | 1 << bit),
            values: said.map(|&(_, _, field, min)| (field, least(min))).collect(),
        }
    }

    /// Tells the card of ring `id`. One that will not be told works all the same.
    pub fn set(&self, hw: &Hw, id: u16) -> Result<()> {
        let request = Request::new(aggint::COMMAND)
            .with(aggint::input::RING_ID, u64::from(id))
            .with(aggint::input::FLAGS, self.flags)
            .with(aggint::input::ENABLES, self.enables);
        let request = self.values.iter().fold(request, |request, &(field, value)| request.with(field, value));
        hw.ask_optional(request).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_wait_for_nothing_and_no_value_is_zero() {
        let all = Coalescing::of(None);
        assert_eq!((all.flags, all.enables, all.values.len()), (2, 0x3f, 7));
        assert!(all.values.iter().all(|&(_, value)| value == 1));
        let mut body = vec![0; 0x2f];
        body[8..10].copy_from_slice(&0x112u16.to_le_bytes());
        body[0x24] = 4;
        let some = Coalescing::of(Some(&Reply::new(ring_aggint_qcaps::COMMAND, body)));
        assert_eq!((some.flags, some.enables), (0, 0x31));
        assert_eq!(some.values.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [1, 4, 1]);
    }
}
