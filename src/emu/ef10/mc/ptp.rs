//! The clock, as commands.

use super::super::super::FaultKind;
use super::super::Ef10;
use super::super::bytes::{reply, u32_at, u64_at};
use super::errno::{EINVAL, ENOENT, ENOTSUP, EPERM, ERANGE};
use super::{Answer, No};

/// Time sets that one synchronisation may ask for.
const SETS: u32 = 50;

pub fn run(card: &mut Ef10, input: &[u8]) -> Answer {
    const ENABLE: u32 = 0x1;
    const DISABLE: u32 = 0x2;
    const READ_NIC_TIME: u32 = 0x4;
    const STATUS: u32 = 0x5;
    const ADJUST: u32 = 0x6;
    const SYNCHRONIZE: u32 = 0x7;
    const CLOCK_OFFSET_ADJUST: u32 = 0xe;
    const CLOCK_FREQ_ADJUST: u32 = 0xf;
    const GET_ATTRIBUTES: u32 = 0x16;
    const GET_TIMESTAMP_CORRECTIONS: u32 = 0x17;
    const TIME_EVENT_SUBSCRIBE: u32 = 0x18;
    const TIME_EVENT_UNSUBSCRIBE: u32 = 0x19;
    const SET_SYNC_STATUS: u32 = 0x1b;
    if card.board.faulty(FaultKind::PtpUnlicensed) {
        return Err(No::Code(EPERM));
    }
    let now = card.board.now;
    let word = |at| u32_at(input, at);
    match word(0) {
        ENABLE | DISABLE => Ok(Vec::new()),
        SET_SYNC_STATUS => {
            card.clock.keep_step(word(8) == 1);
            Ok(Vec::new())
        }
        READ_NIC_TIME => {
            let (seconds, minor) = card.clock.parts(now);
            Ok(reply(8, &[(0, seconds), (4, minor)]))
        }
        STATUS => Ok(reply(0x40, &[])),
        ADJUST => {
            card.clock.tune(u64_at(input, 8) as i64, now);
            card.clock.shift(word(0x10) as i32, word(0x14) as i32);
            Ok(Vec::new())
        }
        CLOCK_OFFSET_ADJUST => {
            card.clock.shift(word(8) as i32, word(0xc) as i32);
            Ok(Vec::new())
        }
        CLOCK_FREQ_ADJUST => {
            card.clock.tune(u64_at(input, 8) as i64, now);
            Ok(Vec::new())
        }
        SYNCHRONIZE => {
            let (sets, start) = (word(8), u64_at(input, 0xc));
            if !(1..=SETS).contains(&sets) || !card.start_synchronising(sets, start) {
                return Err(No::Code(EINVAL));
            }
            Err(No::Later)
        }
        GET_ATTRIBUTES => {
            // Format, shortest synchronisation in nanoseconds, REPORT_SYNC.
            Ok(reply(0x18, &[(0, card.clock.format()), (4, 120), (8, 1)]))
        }
        GET_TIMESTAMP_CORRECTIONS => {
            let (sent, received) = card.clock.corrections();
            let (sent, received) = (sent as u32, received as u32);
            Ok(reply(0x18, &[(0, sent), (4, received), (0x10, sent), (0x14, received)]))
        }
        TIME_EVENT_SUBSCRIBE => {
            let queue = word(8) as u16;
            if card.evq(queue).is_none() {
                return Err(No::Code(ENOENT));
            }
            // REPORT_SYNC_STATUS: all who are told are told the same.
            let state = word(8) >> 31 == 1;
            let others = card.board.faulty(FaultKind::PtpShared).then_some(true);
            if card.clock.told().or(others).is_some_and(|told| told != state) {
                return Err(No::Code(ERANGE));
            }
            card.clock.subscribe(queue, state);
            Ok(Vec::new())
        }
        TIME_EVENT_UNSUBSCRIBE => {
            const ALL: u32 = 1;
            if word(8) == ALL {
                card.clock.unsubscribe_all();
            } else {
                card.clock.unsubscribe(word(0xc) as u16);
            }
            Ok(Vec::new())
        }
        _ => Err(No::Code(ENOTSUP)),
    }
}
