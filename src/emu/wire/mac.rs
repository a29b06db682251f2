//! The MAC: when does each bit pass?
//!
//! ```text
//!                          preamble+SFD   frame   FCS   gap
//!   n bytes take   8  +  max(n, 60)  +  4  +  12   byte times     (IEEE 802.3 §4.4.2)
//! ```
//!
//! At 10 Gbit/s a byte takes 800 ps, so 14 880 952 frames of 60 bytes (64 with
//! FCS) pass in a second. No two frames overlap on the wire's clock, in either
//! direction, whatever the wire or the machine does.
//!
//! # Behind the clock
//!
//! A model is stepped now and then, and does in each step what the card would
//! have done since the last one. So a frame of a sender that was busy may start as
//! early as the last step, one of a sender that was idle no sooner than this step,
//! and none before the wire is free. Two things bound how far the wire may lag
//! behind the clock:
//!
//! * After a *stall* (nobody stepped the model for 20 µs and more, because the
//!   operating system ran something else) a sender that was busy may work off
//!   what it was kept from, but no more than the packet buffer holds
//!   ([`BUFFER`]). The rest of the stall is wire time lost.
//! * Received frames wait for the model for no longer than line rate takes to
//!   fill the packet buffer. What waits longer either has been held back by
//!   pause frames and arrives from then on at line rate ([`Wire::waits`]), or
//!   is what a card loses to a full buffer: [`Mac::overrun`] says so.

use super::clock::{ByteTime, Clock};
use super::{MIN_FRAME, Note, OVERHEAD, Picos, Speed, Wire};

/// Packet buffer for received frames, in bytes (82599 §1.2: 512 KB).
pub const BUFFER: usize = 512 * 1024;

/// How long the packet buffer lasts on a wire without a line rate.
const MAX_BUFFER: Picos = 500_000_000;

/// A gap between steps that is not the model's own doing.
const STALL: Picos = 20_000_000;

/// What became of a frame that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Taken; its last bit leaves at this time.
    Done(Picos),
    /// Not taken: an earlier frame is still on the wire. Offer it in a later step.
    Busy,
    /// Not taken: the far end asks for a pause. Offer it in a later step.
    Paused,
}

/// What has passed since the MAC was made. Bytes without FCS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames that had to wait because the far end asked for a pause.
    pub pauses: u64,
    /// Received frames that the card's filters did not want ([`Mac::pass_over`]).
    pub unwanted: u64,
    /// Received frames that the model lost ([`Mac::drop_frame`]).
    pub drops: u64,
    /// Times nobody stepped the model for 20 µs and more.
    pub stalls: u64,
}

/// A port's end of its wire: line rate and time on top of a [`Wire`].
pub struct Mac {
    wire: Box<dyn Wire>,
    byte: ByteTime,
    /// How long [`BUFFER`] lasts at line rate.
    buffer: Picos,
    now: Picos,
    /// How far ahead of the clock frames may be sent.
    ahead: Picos,
    /// When the last frame's gap ends, each way.
    tx_free: Clock,
    rx_free: Clock,
    /// Wire time that a busy sender may still make up after a stall.
    owed: Picos,
    /// The sender offered a frame in this step.
    sending: bool,
    /// The sender had one whose time had not come.
    held: bool,
    /// The last offer was refused for a pause, already counted.
    paused: bool,
    /// End and length of the frame on offer; a length of 0 is none.
    offer: (Clock, usize),
    counters: Counters,
    /// No light comes through (fault).
    pub dark: bool,
}

impl Mac {
    /// A MAC at the end of `wire`.
    pub fn new(wire: Box<dyn Wire>, speed: Speed) -> Self {
        let mut mac = Mac {
            wire,
            byte: ByteTime::default(),
            buffer: 0,
            now: 0,
            ahead: 0,
            tx_free: Clock::default(),
            rx_free: Clock::default(),
            owed: 0,
            sending: false,
            held: false,
            paused: false,
            offer: (Clock::default(), 0),
            counters: Counters::default(),
            dark: false,
        };
        mac.set_speed(speed);
        mac
    }

    /// Changes the line rate, from the next frame on.
    pub fn set_speed(&mut self, speed: Speed) {
        self.byte = ByteTime::new(speed);
        self.buffer = match speed {
            Speed::Bits(_) => Clock::default().later(self.byte.of(BUFFER)).picos(),
            Speed::Max => MAX_BUFFER,
        };
    }

    /// Takes frames so far ahead of the wire, as they are fetched.
    pub fn fetch_ahead(&mut self, ahead: Picos) {
        self.ahead = ahead;
    }

    /// Sends a frame. Shorter ones than 60 bytes take the time of 60; padding
    /// them is the caller's work.
    #[inline]
    pub fn send(&mut self, frame: &[u8], now: Picos) -> Sent {
        self.send_ready(frame, now, 0)
    }

    /// Sends a frame that is in the card at `ready`, and is not on the wire before.
    #[inline]
    pub fn send_ready(&mut self, frame: &[u8], now: Picos, ready: Picos) -> Sent {
        self.tick(now);
        self.sending = true;
        if self.tx_free.picos() > now + self.ahead {
            self.owed = 0;
            return Sent::Busy;
        }
        let free = self.tx_free.not_before(ready).later(self.byte.of(frame.len().max(MIN_FRAME) + OVERHEAD));
        if !self.wire.send(frame, free.picos()) {
            self.counters.pauses += u64::from(!self.paused);
            self.paused = true;
            return Sent::Paused;
        }
        self.paused = false;
        self.tx_free = free;
        self.counters.tx_frames += 1;
        self.counters.tx_bytes += frame.len() as u64;
        Sent::Done(free.picos())
    }

    /// The sender has a frame whose time has not come: it is not idle, and that frame may leave
    /// at its time ([`Mac::send_ready`]) however long nobody steps the model.
    pub fn hold(&mut self, now: Picos) {
        self.tick(now);
        (self.sending, self.held) = (true, true);
    }

    /// The frame that has arrived by `now` and is next, if any, and when its
    /// last bit came. It stays until [`Mac::advance`] or [`Mac::drop_frame`].
    #[inline]
    pub fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
        self.tick(now);
        let (frame, at) = self.wire.peek(now)?;
        if self.offer.1 == 0 {
            if self.rx_free == Clock::default() {
                // Nothing had arrived before somebody listened.
                self.rx_free = self.rx_free.not_before(now);
            }
            let earliest = self.rx_free.not_before(now.saturating_sub(self.buffer));
            let end = earliest.later(self.byte.of(frame.len().max(MIN_FRAME) + OVERHEAD)).not_before(at);
            if end.picos() > now {
                return None;
            }
            self.offer = (end, frame.len().max(1));
        }
        Some((frame, self.offer.0.picos()))
    }

    /// Done with the frame that `peek` showed: it was received.
    #[inline]
    pub fn advance(&mut self) {
        self.counters.rx_frames += 1;
        self.counters.rx_bytes += self.next() as u64;
    }

    /// Done with the frame that `peek` showed: it was not for this port.
    #[inline]
    pub fn pass_over(&mut self) {
        self.counters.unwanted += 1;
        self.next();
    }

    /// Done with the frame that `peek` showed: it was for this port, and is lost.
    #[inline]
    pub fn drop_frame(&mut self) {
        self.counters.drops += 1;
        self.next();
    }

    /// Whether the frame that `peek` showed is one that a card whose driver
    /// gives it no descriptors has lost by now, because its packet buffer is full.
    #[inline]
    pub fn overrun(&self, now: Picos) -> bool {
        self.offer.1 != 0 && !self.wire.waits() && now.saturating_sub(self.offer.0.picos()) > self.buffer
    }

    /// Whether there is light on the wire.
    pub fn carrier(&self) -> bool {
        !self.dark && self.wire.carrier()
    }

    /// Whether a frame that cannot be received yet may wait on the wire, or is lost.
    pub fn waits(&self) -> bool {
        self.wire.waits()
    }

    /// Whether all that the wire had to bring has been taken, if it brings anything at all.
    pub fn is_over(&self) -> Option<bool> {
        self.wire.is_over()
    }

    /// What the wire itself did to frames or saw.
    pub fn report(&mut self) -> Vec<Note> {
        self.wire.report()
    }

    /// What has passed so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes the frame on offer off the wire; its length.
    #[inline]
    fn next(&mut self) -> usize {
        let (end, len) = std::mem::take(&mut self.offer);
        debug_assert!(len != 0, "advance without peek");
        self.rx_free = end;
        self.wire.advance();
        len
    }

    /// Moves to the step at `now`, which a model does in each step even if it
    /// neither sends nor receives: the wire may have been free since the last
    /// step, or for as long as a busy sender was kept from it.
    #[inline]
    pub fn tick(&mut self, now: Picos) {
        if now <= self.now {
            return;
        }
        // The first step comes after nothing.
        let stalled = now - self.now > STALL && self.now != 0;
        self.counters.stalls += u64::from(stalled);
        if !self.sending || self.held {
            self.owed = 0;
        } else if stalled {
            self.owed = (self.owed + (now - self.now)).min(self.buffer);
        }
        // What a driver offers after a step in which it offered nothing came since
        // then, nobody knows when: it leaves now, so that it cannot leave before it came.
        let offered = if self.sending { self.now - self.owed.min(self.now) } else { now };
        if !self.held {
            self.tx_free = self.tx_free.not_before(offered.max(now.saturating_sub(self.buffer)));
        }
        (self.sending, self.held) = (false, false);
        self.now = now;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FrameQueue, Loop};
    use super::*;
    use proptest::prelude::*;

    const STEP: Picos = 1_000_000;
    const SECOND: Picos = 1_000_000_000_000;

    /// Swallows what is sent, remembers when, and always has a frame to offer.
    struct Endless {
        frame: Vec<u8>,
        sent: std::sync::mpsc::Sender<Picos>,
    }

    impl Wire for Endless {
        fn send(&mut self, _: &[u8], at: Picos) -> bool {
            self.sent.send(at).unwrap();
            true
        }
        fn peek(&mut self, _: Picos) -> Option<(&[u8], Picos)> {
            Some((&self.frame, 0))
        }
        fn advance(&mut self) {}
        fn carrier(&self) -> bool {
            true
        }
        fn waits(&self) -> bool {
            false
        }
    }

    fn endless(len: usize, speed: Speed) -> (Mac, std::sync::mpsc::Receiver<Picos>) {
        let (sent, times) = std::sync::mpsc::channel();
        (Mac::new(Box::new(Endless { frame: vec![0; len], sent }), speed), times)
    }

    fn send_all(mac: &mut Mac, frame: &[u8], now: Picos) {
        while mac.send(frame, now) != Sent::Busy {}
    }

    fn receive_all(mac: &mut Mac, now: Picos) -> Vec<Picos> {
        let mut ends = Vec::new();
        while let Some((_, end)) = mac.peek(now) {
            ends.push(end);
            mac.advance();
        }
        ends
    }

    #[test]
    fn a_full_wire_carries_line_rate_at_every_speed_and_size() {
        for bits in [1_000_000_000, 2_500_000_000, 10_000_000_000, 25_000_000_000, 100_000_000_000_u64] {
            for len in [1, 60, 124, 252, 508, 1020, 1276, 1514, 9014] {
                let (mut mac, _times) = endless(len, Speed::Bits(bits));
                // A millisecond each, which no speed here divides unevenly.
                for step in 1..=1000 {
                    send_all(&mut mac, &vec![0; len], step * STEP);
                    receive_all(&mut mac, step * STEP);
                }
                let frame_bits = 8 * (len.max(60) + 24) as u64;
                let line_rate = bits / 1000 / frame_bits;
                let counters = mac.counters();
                // The first step starts at 1 us; the last frame may still be on its way.
                assert!(counters.tx_frames.abs_diff(line_rate) <= 1 + bits / 1_000_000 / frame_bits, "{bits} {len}");
                assert!(counters.rx_frames <= line_rate, "{bits} {len}");
                assert!(counters.rx_frames + 1 + bits / 1_000_000 / frame_bits >= line_rate, "{bits} {len}");
            }
        }
    }

    #[test]
    fn ten_gigabits_are_14_880_952_frames_of_60_bytes_a_second() {
        let (mut mac, times) = endless(60, Speed::Bits(10_000_000_000));
        // A tenth of a second.
        for step in 1..=100_000 {
            send_all(&mut mac, &[0; 60], step * STEP);
        }
        let times: Vec<_> = times.try_iter().collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 67_200));
        assert!(times.len().abs_diff(1_488_095) <= 15, "{}", times.len());
    }

    #[test]
    fn an_idle_wire_does_not_save_time_up() {
        let (mut mac, _times) = endless(60, Speed::Bits(10_000_000_000));
        for step in 1..=1000 {
            assert_eq!(mac.peek(step * STEP).map(|_| ()), (step > 1).then_some(()));
        }
        // Nothing was sent for a millisecond; what is sent now came after the last step.
        let Sent::Done(at) = mac.send(&[0; 60], 1001 * STEP) else { panic!("busy") };
        assert_eq!(at, 1001 * STEP + 67_200);
        // The next one may have been there since.
        let Sent::Done(at) = mac.send(&[0; 60], 1002 * STEP) else { panic!("busy") };
        assert_eq!(at, 1001 * STEP + 2 * 67_200);
    }

    #[test]
    fn a_stalled_busy_sender_makes_up_no_more_than_the_packet_buffer() {
        let (mut mac, times) = endless(60, Speed::Bits(10_000_000_000));
        send_all(&mut mac, &[0; 60], STEP);
        // Ten seconds without a step, then a step for every burst of 512.
        let mut now = STEP + 10 * SECOND;
        let mut steps = 0;
        while (0..512).all(|_| mac.send(&[0; 60], now) != Sent::Busy) {
            now += STEP;
            steps += 1;
        }
        let made_up = times.try_iter().filter(|&at| at > 2 * STEP && at <= STEP + 10 * SECOND).count() * 84;
        assert!(made_up.abs_diff(BUFFER) < 200, "{made_up} bytes");
        assert!(steps > 10);
        assert_eq!(mac.counters().stalls, 1);
    }

    #[test]
    fn a_frame_that_is_held_leaves_at_its_time_however_long_the_model_stood_still() {
        let (mut mac, _times) = endless(60, Speed::Bits(10_000_000_000));
        mac.hold(STEP);
        let (now, due) = (STEP + SECOND, 3 * STEP);
        assert_eq!(mac.send_ready(&[0; 60], now, due), Sent::Done(due + 67_200));
        assert_eq!(mac.send_ready(&[0; 60], now, 2 * due), Sent::Done(2 * due + 67_200));
        // From the next step on it is as for others.
        mac.tick(now + STEP);
        assert_eq!(mac.send_ready(&[0; 60], now + STEP, 3 * due), Sent::Done(now + 67_200));
    }

    #[test]
    fn a_stalled_receiver_finds_no_more_than_the_packet_buffer() {
        let (mut mac, _times) = endless(60, Speed::Bits(10_000_000_000));
        receive_all(&mut mac, STEP);
        let ends = receive_all(&mut mac, STEP + SECOND);
        assert!((ends.len() * 84).abs_diff(BUFFER) < 200, "{}", ends.len() * 84);
    }

    #[test]
    fn what_finds_no_descriptor_is_overrun_when_the_packet_buffer_is_full() {
        let (mut mac, _times) = endless(60, Speed::Bits(10_000_000_000));
        receive_all(&mut mac, STEP);
        let full = 2 * STEP + BUFFER as u64 * 800;
        assert!(mac.peek(2 * STEP).is_some());
        assert!(!mac.overrun(full - STEP));
        assert!(mac.overrun(full));
        mac.drop_frame();
        assert!(mac.peek(full).is_some() && !mac.overrun(full));
        assert_eq!((mac.counters().drops, mac.counters().rx_frames), (1, 0));
    }

    #[test]
    fn a_pause_is_counted_once_however_often_the_frame_is_offered() {
        let mut mac = Mac::new(Box::new(Loop::new(true)), Speed::Max);
        while mac.send(&[0; 9000], 5) != Sent::Paused {}
        assert_eq!(mac.send(&[0; 9000], 6), Sent::Paused);
        assert_eq!(mac.counters().pauses, 1);
        assert_eq!(mac.peek(7).map(|(frame, _)| frame.len()), Some(9000));
        mac.advance();
        assert!(matches!(mac.send(&[0; 9000], 7), Sent::Done(_)));
        assert_eq!(mac.send(&[0; 9000], 7), Sent::Paused);
        assert_eq!(mac.counters().pauses, 2);
    }

    #[test]
    fn without_a_line_rate_frames_take_no_time() {
        let mut mac = Mac::new(Box::new(Loop::new(false)), Speed::Max);
        for _ in 0..100 {
            assert!(matches!(mac.send(&[0; 1514], 1000), Sent::Done(at) if at <= 1000));
        }
        assert_eq!(receive_all(&mut mac, 1000).len(), 100);
    }

    /// Frames given beforehand, as a capture that is played.
    struct Script(FrameQueue);

    impl Wire for Script {
        fn send(&mut self, _: &[u8], _: Picos) -> bool {
            true
        }
        fn peek(&mut self, now: Picos) -> Option<(&[u8], Picos)> {
            self.0.front().filter(|&(_, at)| at <= now)
        }
        fn advance(&mut self) {
            self.0.pop();
        }
        fn carrier(&self) -> bool {
            true
        }
        fn waits(&self) -> bool {
            true
        }
    }

    proptest! {
        #[test]
        fn no_frames_ever_overlap_whatever_the_steps(
            bits in 1_000_000u64..200_000_000_000,
            steps in prop::collection::vec((1u64..2_000_000_000, 0usize..40, 1usize..9000), 1..60),
        ) {
            let (mut mac, times) = endless(60, Speed::Bits(bits));
            let (mut now, mut lengths, mut last_rx) = (0, Vec::new(), 0);
            for (gap, count, len) in steps {
                now += gap;
                for _ in 0..count {
                    if matches!(mac.send(&vec![0; len], now), Sent::Done(_)) {
                        lengths.push(len);
                    }
                    if let Some((_, end)) = mac.peek(now) {
                        prop_assert!(u128::from(end - last_rx + 1) * u128::from(bits) >= 8 * 84 * 1_000_000_000_000);
                        last_rx = end;
                        mac.advance();
                    }
                }
            }
            let times: Vec<_> = times.try_iter().collect();
            for (pair, len) in times.windows(2).zip(lengths.iter().skip(1)) {
                let bits_passed = u128::from(pair[1] - pair[0] + 1) * u128::from(bits);
                prop_assert!(bits_passed >= 8 * (*len).max(60) as u128 * 1_000_000_000_000);
            }
        }

        #[test]
        fn played_frames_keep_their_times_where_line_rate_lets_them(gaps in prop::collection::vec(0u64..500_000, 1..100)) {
            let mut queue = FrameQueue::new(1 << 20);
            let mut at = 1_000_000;
            let mut ats = Vec::new();
            for gap in gaps {
                at += gap;
                ats.push(at);
                prop_assert!(queue.push(&[0; 60], at));
            }
            let mut mac = Mac::new(Box::new(Script(queue)), Speed::Bits(10_000_000_000));
            let mut ends = Vec::new();
            for step in 1..=60 {
                ends.extend(receive_all(&mut mac, step * STEP));
            }
            prop_assert_eq!(ends.len(), ats.len());
            let mut free = 0;
            for (end, at) in ends.into_iter().zip(ats).skip(1) {
                prop_assert!(end >= at);
                prop_assert!(end == at || end - at < 67_200 * 100);
                prop_assert!(free == 0 || end >= free + 67_200);
                free = end;
            }
        }
    }
}
