//! The link: what the port was told, when it is up, what is told of it.
//!
//! ```text
//!   INIT_HCA, PAOS up, PTYS --delay--> up, if the wire has light and both sides agree
//!   PAOS down, a reset of the chip --> down
//! ```
//!
//! What the port was told stays over a reset of the function. An event says that the link
//! changed; a nasty card's comes early too, or twice, so the state is to be asked for. It
//! is not lost: Linux asks only then.

use super::super::wire::Speed;
use super::super::{Board, FaultKind, Picos};
use super::{Kind, Mlx5};

/// How long the link takes, unless the specification says.
pub const DELAY: Picos = 2_000_000_000;
/// The same of a nasty card, at least and at most more.
const LATE: Picos = 1_000_000_000_000;
const LATER: Picos = 4_000_000_000_000;

/// The event, and what it says.
const PORT_CHANGE: u8 = 0x09;
const DOWN: u8 = 1;
const UP: u8 = 4;

/// Speeds in Gbit/s, and their bits: older field, newer field.
const SPEEDS: [(u64, u32, u32); 8] = [
    (1, 1 << 1, 1 << 1),
    (10, 1 << 12 | 1 << 13 | 1 << 14 | 1 << 4, 1 << 4),
    (25, 1 << 27 | 1 << 28 | 1 << 29, 1 << 6),
    (40, 1 << 6 | 1 << 7 | 1 << 15 | 1 << 16, 1 << 5),
    (50, 1 << 18 | 1 << 30 | 1 << 31, 1 << 7 | 1 << 8),
    (100, 0xf << 20, 1 << 9 | 1 << 10 | 1 << 11),
    (200, 0, 1 << 12 | 1 << 13),
    (400, 0, 1 << 15 | 1 << 16),
];

/// State of the port.
#[derive(Debug)]
pub struct Link {
    /// It is to be up.
    pub admin: bool,
    /// Speeds that it may have: older field, newer field.
    pub offered: [u32; 2],
    /// Nothing is negotiated.
    pub fixed: bool,
    /// Frames go round inside the port.
    pub loops: bool,
    /// Speed of the other side, in Gbit/s.
    line: u64,
    /// When the link may be up; never, while nobody has started it.
    ready: Option<Picos>,
    up: bool,
}

impl Link {
    /// What power-on makes of it; a nasty card was left with its link down.
    pub fn new(kind: &Kind, board: &Board) -> Self {
        let line = match board.speed {
            Speed::Bits(bits) if SPEEDS.iter().any(|(speed, ..)| speed * 1_000_000_000 == bits) => bits,
            Speed::Bits(_) | Speed::Max => board.profile.speed,
        };
        Link {
            admin: !board.nasty,
            offered: kind.speeds,
            fixed: false,
            loops: false,
            line: line / 1_000_000_000,
            ready: None,
            up: false,
        }
    }

    /// The bits of the speed that it runs at.
    pub fn speed(&self) -> [u32; 2] {
        let row = SPEEDS.iter().find(|(speed, ..)| *speed == self.line);
        row.map_or([0; 2], |(_, older, newer)| [*older, *newer])
    }

    /// Whether both sides agree on a speed.
    fn agreed(&self) -> bool {
        self.speed().iter().zip(self.offered).any(|(line, offered)| line & offered != 0)
    }
}

impl Mlx5 {
    /// Whether frames can pass.
    #[inline]
    pub(super) fn link_up(&self) -> bool {
        self.link.up
    }

    /// The link starts over: down now, up after the delay.
    pub(super) fn restart_link(&mut self) {
        let late = if self.board.nasty { LATE + self.board.random.below(LATER) } else { self.board.link_delay };
        self.link.ready = Some(self.board.now + late);
        self.change_link(false);
        self.poll_link();
    }

    /// INIT_HCA brings the link up, if it is not.
    pub(super) fn start_link(&mut self) {
        if self.link.ready.is_none() {
            self.restart_link();
        }
    }

    /// The port goes down, and comes up when somebody starts it.
    pub(super) fn drop_link(&mut self) {
        self.link.ready = None;
        self.change_link(false);
    }

    /// Time passed, or the wire or the port changed.
    pub(super) fn poll_link(&mut self) {
        let bare = self.faulty(FaultKind::NoModule);
        let light = self.board.port.mac.carrier() && self.link.admin && self.link.agreed() && !bare;
        let ready = self.link.ready.is_some_and(|ready| self.board.now >= ready);
        self.change_link(ready && (light || self.link.loops));
    }

    fn change_link(&mut self, up: bool) {
        if std::mem::replace(&mut self.link.up, up) == up {
            return;
        }
        self.plane.set_link(up);
        let events = if self.board.nasty { 1 + self.board.random.below(2) } else { 1 };
        for _ in 0..events {
            self.tell_link(up);
        }
    }

    fn tell_link(&mut self, up: bool) {
        let mut data = [0; 28];
        // The port's number, in the upper half of a byte.
        data[8] = 0x10;
        self.plane.event(&mut self.board, PORT_CHANGE, if up { UP } else { DOWN }, data);
    }

    /// PAOS: the port is to be up, or down.
    pub(super) fn set_admin(&mut self, up: bool) {
        let before = std::mem::replace(&mut self.link.admin, up);
        if up && before && self.link.ready.is_some() {
            return;
        }
        // The event may be there before the link is.
        if up && self.board.nasty && self.board.random.below(3) == 0 {
            self.tell_link(true);
        }
        if up { self.restart_link() } else { self.drop_link() }
    }

    /// PPLR: frames go round inside the port.
    pub(super) fn set_port_loopback(&mut self, on: bool) {
        self.link.loops = on;
        self.plane.set_loopback(on);
        self.board.port.empty_loop();
        self.poll_link();
    }
}
