//! Capabilities: the words that QUERY_HCA_CAP gives, by type, of each chip.
//!
//! ```text
//!   recording of a ConnectX-4 Lx (firmware 14.12.1220), as it is
//!      |  + fields of a chip that differ              in force = most, less what is
//!      v                                              raised only by SET_HCA_CAP
//!   most that there can be  --------------------------------->  what is in force
//! ```
//!
//! A field is a place in such a structure; offsets are the structure's.

use super::plane::be;

/// Bytes of the structure of a type.
pub const SIZE: usize = 0x1000;

/// Types.
pub const GENERAL: u16 = 0;
pub const ETHERNET: u16 = 1;
pub const ATOMIC: u16 = 3;
pub const ROCE: u16 = 4;
pub const FLOW: u16 = 7;
const ESWITCH_FLOW: u16 = 8;
const ESWITCH: u16 = 9;

/// A field: its word's offset, its highest and its lowest bit.
pub type Field = (usize, u32, u32);

// General.
pub const LOG_MAX_QP: Field = (0x10, 4, 0);
const GID_TABLE_SIZE: Field = (0x2c, 2, 0);
const PKEY_TABLE_SIZE: Field = (0x30, 3, 0);
pub const VPORT_GROUP_MANAGER: Field = (0x34, 31, 31);
const ETS: Field = (0x34, 26, 26);
pub const ESWITCH_MANAGER: Field = (0x34, 24, 24);
pub const MCAM_REG: Field = (0x34, 22, 22);
pub const PCAM_REG: Field = (0x34, 21, 21);
const PORT_MODULE_EVENT: Field = (0x34, 15, 15);
pub const PORT_TYPE: Field = (0x34, 9, 8);
const GENERAL_NOTIFICATION: Field = (0x38, 13, 13);
const CQE_VERSION: Field = (0x3c, 3, 0);
const CMDIF_CHECKSUM: Field = (0x40, 15, 14);
pub const ROCE_CAP: Field = (0x40, 2, 2);
const ATOMIC_CAP: Field = (0x40, 1, 1);
/// Whether a period begins with a completion may be changed.
pub const CQ_PERIOD_MODE_MODIFY: Field = (0x44, 28, 28);
const ETH_NET_OFFLOADS: Field = (0x40, 3, 3);
const NIC_FLOW_TABLE: Field = (0x34, 25, 25);
pub const DRIVER_VERSION: Field = (0x4c, 30, 30);
const PAD_TX: Field = (0x4c, 29, 29);
const LOG_MAX_TRANSPORT_DOMAIN: Field = (0x64, 28, 24);
const LOG_MAX_QUEUES: Field = (0x6c, 31, 0);
const LOG_MAX_RQT: Field = (0x70, 20, 16);
const LOG_MAX_WQ: Field = (0x78, 4, 0);
const LOCAL_LB: Field = (0x7c, 30, 29);
pub const TS_FORMATS: Field = (0x88, 31, 28);
const MAX_NUM_EQS: Field = (0x8c, 15, 0);
pub const LOG_MAX_L2_TABLE: Field = (0x90, 28, 24);
pub const LOG_UAR_PAGE: Field = (0x90, 15, 0);
const FREQUENCY_MHZ: Field = (0x98, 31, 0);
const FREQUENCY_KHZ: Field = (0x9c, 31, 0);
/// The longest lists: of unicast addresses, of groups, of tags.
pub const LOG_MAX_LISTS: [Field; 3] = [(0x7c, 4, 0), (0x7c, 12, 8), (0x7c, 20, 16)];
/// Loopback may be turned off: to one address, to many.
pub const LOCAL_LB_OFF: [Field; 2] = [(0x7c, 30, 30), (0x7c, 29, 29)];
/// Firmware may take all its pages for returned at once.
pub const RELEASE_ALL_PAGES: Field = (0x28, 26, 26);

/// What a driver may change of the general ones.
const SETTABLE: [Field; 6] =
    [LOG_MAX_QP, GID_TABLE_SIZE, PKEY_TABLE_SIZE, CMDIF_CHECKSUM, LOG_UAR_PAGE, RELEASE_ALL_PAGES];

/// Recorded words: from an offset on.
type Words = &'static [(usize, &'static [u32])];

/// A ConnectX-4 Lx, general: the most that there can be.
#[rustfmt::skip]
const RECORDED_GENERAL: Words = &[
    (0x10, &[0x0f0f_0017, 0x0017_0000, 0x0016_0018, 0x1618_0008]),
    (0x20, &[0x0440_1010, 0x0004_0004, 0x0004_0004, 0xe000_0004]),
    (0x30, &[0x40ff_0005, 0xc710_0101, 0x1e00_0000, 0x0001_0001]),
    (0x40, &[0xc006_cc0e, 0xe2fa_030f, 0x0005_000c, 0xa009_0000]),
    (0x50, &[0x0000_0400, 0x0000_0200, 0x0000_0100, 0x0000_0030]),
    (0x60, &[0x0000_0015, 0x1018_0018, 0x0000_0000, 0x1717_1717]),
    (0x70, &[0x9710_0900, 0x0904_0606, 0x0000_000f, 0x800c_0e0a]),
    (0x90, &[0x1000_0008, 0x0000_0000, 0x0000_0113, 0x0000_0000]),
    (0xb4, &[0x0000_0001, 0x0008_0010]),
];

#[rustfmt::skip]
const RECORDED_ETHERNET: Words = &[
    (0x00, &[0xe872_5903, 0x0000_0000, 0x0000_0544]),
    (0x30, &[0x08, 0x10, 0x20, 0x200]),
];

const RECORDED_ATOMIC: Words = &[(0x10, &[0x0f, 0x3c, 0x3c])];
const RECORDED_ROCE: Words = &[(0x00, &[0x4000_0000]), (0x10, &[0x0007_0007, 0x0000_12b7, 0xffff_c000, 0x100])];

/// Received frames, their sniffer, sent frames, their sniffer.
#[rustfmt::skip]
const RECORDED_FLOW: Words = &[
    (0x040, &[0xc800_0000, 0x1000_00ff, 0, 9, 0xa, 0x19, 0, 0, 0xeeef_ffc1, 0xeeef_fe00, 0, 0, 0xeeef_ffc0, 0xeeef_fe00]),
    (0x0c0, &[0xc800_0000, 0x1000_00ff, 0, 9, 0xa, 0x19, 0, 0, 0xeeef_ffc0, 0xeeef_fe00, 0, 0, 0xeeef_ffc0, 0xeeef_fe00]),
    (0x100, &[0x8800_0000, 0x1000_00ff, 0, 9, 0xa, 0x19, 0, 0, 0xeeef_ffc0, 0xeeef_fe00, 0, 0, 0xeeef_ffc0, 0xeeef_fe00]),
    (0x180, &[0xc800_0000, 0x1000_00ff, 0, 9, 0xa, 0x19, 0, 0, 0xeeef_ffc0, 0xeeef_fe00, 0, 0, 0xeeef_ffc0, 0xeeef_fe00]),
];

/// What a chip has otherwise: types, fields, values.
pub type Differences = &'static [(u16, Field, u32)];

/// Of what the recorded card can, this one has neither offloads inside of tunnels nor the
/// older form of several packets in one entry, and so it does not tell of them.
pub const CX4LX: Differences = &[(ETHERNET, (0x00, 4, 0), 0), (ETHERNET, (0x00, 15, 14), 0)];

/// No switch of its own, no RDMA, no bandwidth by class, packets are not merged; headers
/// need not be inline, tags are inserted, an entry may hold several packets.
#[rustfmt::skip]
pub const CX5: Differences = &[
    (GENERAL, ESWITCH_MANAGER, 0),
    (GENERAL, ETS, 0),
    (GENERAL, PCAM_REG, 1),
    (GENERAL, PORT_MODULE_EVENT, 1),
    (GENERAL, GENERAL_NOTIFICATION, 1),
    (GENERAL, ROCE_CAP, 0),
    (GENERAL, ATOMIC_CAP, 0),
    (GENERAL, CQ_PERIOD_MODE_MODIFY, 1),
    (GENERAL, DRIVER_VERSION, 1),
    (GENERAL, LOCAL_LB, 3),
    (GENERAL, RELEASE_ALL_PAGES, 1),
    (GENERAL, FREQUENCY_MHZ, 78),
    (GENERAL, FREQUENCY_KHZ, 78_125),
    (ETHERNET, (0x00, 31, 0), 0xc192_2920),
    (ETHERNET, (0x08, 15, 0), 0),
];

/// The same with stamps of both kinds and a faster clock.
#[rustfmt::skip]
pub const CX6DX: Differences = &[
    (GENERAL, MCAM_REG, 1),
    (GENERAL, TS_FORMATS, 0b1010),
    (GENERAL, FREQUENCY_MHZ, 1000),
    (GENERAL, FREQUENCY_KHZ, 1_000_000),
];

/// The structures of one chip: the most that there can be.
#[derive(Clone, Debug)]
pub struct Caps {
    most: Vec<(u16, Vec<u8>)>,
    /// The general ones that are in force.
    general: Vec<u8>,
}

/// What is asked for is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// A structure with these words in it.
fn blob(words: Words) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    for (at, words) in words {
        let field: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes[*at..*at + field.len()].copy_from_slice(&field);
    }
    bytes
}

fn get(bytes: &[u8], (at, high, low): Field) -> u32 {
    be::bits(bytes, at, high, low)
}

fn set(bytes: &mut [u8], (at, high, low): Field, value: u32) {
    be::set_bits(bytes, at, high, low, value);
}

impl Caps {
    /// Those of a chip that differs so from the recorded one.
    pub fn new(differences: &[Differences]) -> Self {
        let recorded = [
            (GENERAL, RECORDED_GENERAL),
            (ETHERNET, RECORDED_ETHERNET),
            (ATOMIC, RECORDED_ATOMIC),
            (ROCE, RECORDED_ROCE),
            (FLOW, RECORDED_FLOW),
            (ESWITCH_FLOW, &[]),
            (ESWITCH, &[]),
        ];
        let most = recorded.map(|(kind, words)| (kind, blob(words))).to_vec();
        let mut caps = Caps { most, general: Vec::new() };
        for &(kind, field, value) in differences.iter().copied().flatten() {
            caps.limit(kind, field, value);
        }
        caps.start(14);
        caps
    }

    /// What is in force when the function was enabled: queue pairs as the firmware
    /// likes, and nothing that needs a driver's consent.
    pub fn start(&mut self, log_qp: u32) {
        let mut general = self.most(GENERAL).to_vec();
        for field in [GID_TABLE_SIZE, PKEY_TABLE_SIZE, CMDIF_CHECKSUM, LOG_UAR_PAGE, RELEASE_ALL_PAGES] {
            set(&mut general, field, 0);
        }
        let least = log_qp.min(get(&general, LOG_MAX_QP));
        set(&mut general, LOG_MAX_QP, least);
        self.general = general;
    }

    /// Changes the most that there can be.
    pub fn limit(&mut self, kind: u16, field: Field, value: u32) {
        if let Some((_, bytes)) = self.most.iter_mut().find(|(of, _)| *of == kind) {
            set(bytes, field, value);
        }
    }

    /// Changes what is in force.
    pub fn force(&mut self, field: Field, value: u32) {
        set(&mut self.general, field, value);
    }

    /// The card is an InfiniBand one.
    pub fn infiniband(&mut self) {
        for field in [PORT_TYPE, ETH_NET_OFFLOADS, NIC_FLOW_TABLE] {
            self.limit(GENERAL, field, 0);
        }
        for kind in [ETHERNET, FLOW] {
            self.most.retain(|(of, _)| *of != kind);
            self.most.push((kind, blob(&[])));
        }
    }

    /// A function that is not the card's first: nothing of the port or of others is
    /// its to decide, and it has few event queues.
    pub fn virtual_function(&mut self) {
        for field in [VPORT_GROUP_MANAGER, ESWITCH_MANAGER, MCAM_REG, PCAM_REG, PORT_MODULE_EVENT] {
            self.limit(GENERAL, field, 0);
        }
        self.limit(GENERAL, MAX_NUM_EQS, 8);
    }

    /// Less than the recorded card had, and time-of-day stamps alone where there are
    /// such; the clock's rate is not told (nasty).
    pub fn meagre(&mut self) {
        self.limit(GENERAL, LOG_MAX_QP, 17);
        self.limit(GENERAL, FREQUENCY_KHZ, 0);
        if get(self.most(GENERAL), TS_FORMATS) != 0 {
            self.limit(GENERAL, TS_FORMATS, 0b0101);
        }
    }

    /// The most that there can be of a type.
    pub fn most(&self, kind: u16) -> &[u8] {
        self.most.iter().find(|(of, _)| *of == kind).map_or(&[], |(_, bytes)| bytes)
    }

    /// What is in force of a type.
    pub fn current(&self, kind: u16) -> &[u8] {
        if kind == GENERAL { &self.general } else { self.most(kind) }
    }

    /// A general field that is in force.
    pub fn get(&self, field: Field) -> u32 {
        get(&self.general, field)
    }

    /// Whether there is this type: its bit among the general ones says so.
    pub fn has(&self, kind: u16) -> bool {
        let bit = match kind {
            GENERAL => return true,
            ETHERNET => ETH_NET_OFFLOADS,
            ATOMIC => ATOMIC_CAP,
            ROCE => ROCE_CAP,
            FLOW => NIC_FLOW_TABLE,
            ESWITCH_FLOW | ESWITCH => ESWITCH_MANAGER,
            _ => return false,
        };
        self.get(bit) != 0
    }

    /// What is shown of a type while nobody has said which interface is spoken.
    pub fn veiled(&self, kind: u16, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match kind {
            GENERAL => {
                let hidden = [ETH_NET_OFFLOADS, NIC_FLOW_TABLE, CQE_VERSION, PAD_TX, LOG_MAX_TRANSPORT_DOMAIN];
                for field in hidden.into_iter().chain([LOG_MAX_QUEUES, LOG_MAX_RQT, LOG_MAX_WQ]) {
                    set(&mut bytes, field, 0);
                }
            }
            ETHERNET | FLOW => bytes.fill(0),
            _ => {}
        }
        bytes
    }

    /// SET_HCA_CAP, general: what it says beyond its end stays, and what is veiled is not
    /// looked at.
    ///
    /// # Errors
    /// A value above the most, or a change of what cannot be changed.
    pub fn change(&mut self, wanted: &[u8], veiled: bool) -> Result<(), Refused> {
        let shown = if veiled { self.veiled(GENERAL, &self.general) } else { self.general.clone() };
        let len = wanted.len().min(SIZE) & !3;
        let mut rest = shown.clone();
        rest[..len].copy_from_slice(&wanted[..len]);
        let changes = SETTABLE.map(|field| (field, get(&rest, field)));
        for (field, value) in changes {
            if value > get(self.most(GENERAL), field) {
                return Err(Refused);
            }
            set(&mut rest, field, get(&shown, field));
        }
        if rest != shown {
            return Err(Refused);
        }
        for (field, value) in changes {
            self.force(field, value);
        }
        Ok(())
    }

    /// Whether entries that are given back are signed. Those that come are not checked.
    pub fn signs(&self) -> bool {
        self.get(CMDIF_CHECKSUM) != 0
    }
}
