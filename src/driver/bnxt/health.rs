//! Whether the firmware is well: its state word, and what it does while it runs.
//!
//! ```text
//!   state    0 .. 8000   starts      8000  runs      above, or a flag: has failed
//!   pulse    1, 2, 3, 4 ...          stands still: it hangs
//!   resets   7, 7, 7, 8              it has restarted since
//! ```
//!
//! A firmware that restarts says so in an event, unless it cannot. It may be through
//! with it when it is asked the next time: then its state tells nothing, and it
//! answers, of rings that it does not know any more. So where it names a count of
//! its resets and a pulse, these are looked at now and then.

use super::cmd::error_recovery_qcfg;
use super::codes::caps;
use super::hw::Hw;
use super::regs::fw_status;
use crate::driver::mailbox::Request;
use crate::error::Result;
use std::time::{Duration, Instant};

/// Least time between two looks, whatever the firmware says.
const OFTEN: Duration = Duration::from_secs(1);

/// Most.
const SELDOM: Duration = Duration::from_secs(60);

/// What the firmware shows while it runs.
pub struct Pulse {
    /// Where a count of its own goes on, and where that of resets is.
    places: [u32; 2],
    /// Time between two looks.
    every: Duration,
    seen: Seen,
}

/// What was there at the last look.
struct Seen {
    when: Instant,
    beat: Option<u32>,
    resets: Option<u32>,
    /// The pulse was seen to go on. It need not where nobody has the firmware recovered.
    beats: bool,
}

impl Pulse {
    /// Asks where to look, if the firmware can tell.
    pub fn find(hw: &Hw, now: Instant) -> Result<Option<Pulse>> {
        use error_recovery_qcfg::output;
        const UNIT: Duration = Duration::from_millis(100);
        if hw.caps.flags & caps::ERROR_RECOVERY == 0 {
            return Ok(None);
        }
        let Some(reply) = hw.ask_optional(Request::new(error_recovery_qcfg::COMMAND))? else { return Ok(None) };
        let places = [output::FW_HEARTBEAT_REG, output::FW_RESET_CNT_REG].map(|field| reply.get(field) as u32);
        let every = UNIT.saturating_mul(reply.get(output::DRIVER_POLLING_FREQ) as u32).clamp(OFTEN, SELDOM);
        let [beat, resets] = look(hw, places);
        Ok(Some(Pulse { places, every, seen: Seen { when: now, beat, resets, beats: false } }))
    }

    /// Looks, if it is time to.
    ///
    /// # Errors
    /// [`crate::Kind::Device`] if the firmware has restarted, or hangs.
    pub fn check(&mut self, hw: &Hw, now: Instant) -> Result<()> {
        if now < self.seen.when + self.every {
            return Ok(());
        }
        let [beat, resets] = look(hw, self.places);
        let Seen { beat: beat_before, resets: resets_before, beats, .. } = self.seen;
        if resets.zip(resets_before).is_some_and(|(now, before)| now != before) {
            return Err(hw.lost("its firmware has restarted and did not say so"));
        }
        let goes_on = beat.zip(beat_before).is_some_and(|(now, before)| now != before);
        if beats && beat.is_some() && !goes_on {
            return Err(hw.lost(format_args!("its firmware hangs: its pulse stands still for {:?}", self.every)));
        }
        self.seen = Seen { when: now, beat, resets: resets.or(resets_before), beats: beats || goes_on };
        Ok(())
    }
}

/// What is there. A card that is gone says so elsewhere.
fn look(hw: &Hw, places: [u32; 2]) -> [Option<u32>; 2] {
    let hwrm = hw.hwrm();
    places.map(|place| hwrm.register(place).filter(|&value| value != u32::MAX))
}

/// Whether a firmware in that state answers no more. One that starts may yet.
pub fn has_failed(state: u32) -> bool {
    let stopped = fw_status::RECOVERING | fw_status::CRASHED | fw_status::SHUTDOWN;
    state != u32::MAX && (state & stopped != 0 || state & fw_status::CODE > fw_status::HEALTHY)
}

/// What the firmware's state means.
pub fn explain(state: u32) -> String {
    let code = state & fw_status::CODE;
    let what = if state == u32::MAX {
        "the card does not answer"
    } else if state & fw_status::RECOVERING != 0 {
        "it is being recovered"
    } else if state & fw_status::CRASHED != 0 {
        "it has crashed"
    } else if state & fw_status::SHUTDOWN != 0 {
        "it was stopped"
    } else if code == fw_status::HEALTHY {
        "it says that it runs"
    } else if code == 0 {
        "it does not say what it does"
    } else if code < fw_status::HEALTHY {
        "it is starting"
    } else {
        "it has failed"
    };
    format!("{what}: state {state:#010x}")
}
