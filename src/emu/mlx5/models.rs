//! The cards of this family.

use super::super::{Board, FaultKind, Layout, Model, ModelInfo, Picos, Profile};
use super::caps::{self, Differences};
use super::{Mlx5, link};
use crate::pci::Id;

/// What cards of the family differ in.
#[derive(Debug)]
pub struct Kind {
    /// Device number.
    pub device: u16,
    /// Firmware: major, minor, and below.
    pub firmware: [u16; 3],
    /// Name of its set of parameters.
    pub psid: &'static [u8],
    /// Where its capabilities differ from those of the recorded ConnectX-4 Lx.
    pub caps: &'static [Differences],
    /// Pages of memory that firmware wants for INIT_HCA, where its queue pairs are
    /// 2^14 and where they are 2^17.
    pub pages: [i64; 2],
    /// How long INIT_HCA takes.
    pub init_time: Picos,
    /// Speeds as bits of PTYS: the older register field, and the newer one.
    pub speeds: [u32; 2],
    /// The cage is of the wide kind.
    pub wide: bool,
    /// It reports what the port drops; one that does not has no counters by queue either
    /// (nasty).
    pub counts_drops: bool,
    /// A software reset by nic_interface is survived.
    pub bears_reset: bool,
    /// PCIe link: speed and width.
    pub pcie: u32,
}

/// Speeds of PTYS: the older bits.
const G1: u32 = 1 << 1;
const G10: u32 = 1 << 12 | 1 << 13 | 1 << 14;
const G25: u32 = 1 << 27 | 1 << 28 | 1 << 29;
const G40: u32 = 1 << 6 | 1 << 7 | 1 << 15;
const G50: u32 = 1 << 30 | 1 << 31;
const G100: u32 = 1 << 20 | 1 << 21 | 1 << 22;

const MILLISECOND: Picos = 1_000_000_000;

/// ConnectX-4 Lx.
pub static CX4LX: Kind = Kind {
    device: 0x1015,
    firmware: [14, 12, 1220],
    psid: b"MT_2430110027",
    caps: &[caps::CX4LX],
    pages: [4232, 12_868],
    init_time: 189 * MILLISECOND,
    speeds: [G1 | G10 | G25, 0],
    wide: false,
    counts_drops: false,
    bears_reset: true,
    pcie: 0x0040_0083,
};

/// ConnectX-5.
pub static CX5: Kind = Kind {
    device: 0x1017,
    firmware: [16, 35, 4030],
    psid: b"MT_0000000012",
    caps: &[caps::CX5],
    pages: [112, 560],
    init_time: 20 * MILLISECOND,
    speeds: [G1 | G10 | G25 | G40 | G50 | G100, 0],
    wide: true,
    counts_drops: true,
    bears_reset: false,
    pcie: 0x0040_0103,
};

static CX6DX: Kind = Kind {
    device: 0x101d,
    firmware: [22, 39, 3004],
    psid: b"MT_0000000359",
    caps: &[caps::CX5, caps::CX6DX],
    speeds: [G1 | G10 | G25 | G40 | G50 | G100, 0x07f2],
    pcie: 0x0040_0104,
    ..CX5
};

static CX7: Kind = Kind {
    device: 0x1021,
    firmware: [28, 41, 1000],
    psid: b"MT_0000000838",
    speeds: [G10 | G25 | G40 | G50 | G100, 0x1_fff0],
    pcie: 0x0040_0105,
    ..CX6DX
};

/// What their firmware can do wrong.
const FAULTS: &[FaultKind] = &[
    FaultKind::Timeout,
    FaultKind::Crash,
    FaultKind::Error,
    FaultKind::Denied,
    FaultKind::Unsupported,
    FaultKind::Hollow,
    FaultKind::Busy,
    FaultKind::InitSlow,
    FaultKind::NicDisabled,
    FaultKind::Dirty,
    FaultKind::Issi0,
    FaultKind::ReleaseAll,
    FaultKind::SlowCmd,
    FaultKind::Late,
    FaultKind::LoseEqe,
    FaultKind::Vf,
    FaultKind::VfUntrusted,
    FaultKind::DpuHost,
    FaultKind::Ib,
    FaultKind::FtPool,
    FaultKind::FtBusy,
    FaultKind::TeardownFail,
    FaultKind::TakeStuck,
    FaultKind::NoModule,
    FaultKind::I2cStuck,
    FaultKind::HealthFrozen,
    FaultKind::Gone,
    FaultKind::ResetByPeer,
    FaultKind::VpdTorn,
    FaultKind::VpdSum,
];

/// Pairs of queues that a driver can have.
const QUEUES: u16 = 63;

/// MSI-X vectors.
const VECTORS: u16 = 64;

/// All of them.
pub const MODELS: &[ModelInfo] = &[
    model(&CX5, "cx5", 0x0008, 100, "NVIDIA ConnectX-5 100 GbE (mlx5)", |board| Box::new(Mlx5::new(&CX5, board))),
    model(&CX4LX, "cx4lx", 0x0003, 25, "NVIDIA ConnectX-4 Lx 25 GbE (mlx5)", |board| {
        Box::new(Mlx5::new(&CX4LX, board))
    }),
    model(&CX6DX, "cx6dx", 0x0016, 100, "NVIDIA ConnectX-6 Dx 100 GbE (mlx5)", |board| {
        Box::new(Mlx5::new(&CX6DX, board))
    }),
    model(&CX7, "cx7", 0x0053, 200, "NVIDIA ConnectX-7 200 GbE (mlx5)", |board| Box::new(Mlx5::new(&CX7, board))),
];

/// A card with a line rate of `gigabits` a second.
const fn model(
    kind: &'static Kind,
    name: &'static str,
    subsystem: u16,
    gigabits: u64,
    text: &'static str,
    build: fn(Board) -> Box<dyn Model>,
) -> ModelInfo {
    let profile = Profile {
        name,
        id: Id { vendor: 0x15b3, device: kind.device, subsystem_vendor: 0x15b3, subsystem, revision: 0 },
        bars: [32 << 20, 0, 0, 0, 0, 0],
        io: (0, 0),
        vectors: VECTORS,
        msix: (0, 0x2000, 0x3000),
        speed: gigabits * 1_000_000_000,
    };
    ModelInfo { profile, text, queues: QUEUES, faults: FAULTS, oui: [0x0c, 0x42, 0xa1], link_delay: link::DELAY, build }
}

/// The vendor's own capability: a gateway to the chip's registers, which is not there.
const GATEWAY: &[u8] = &[0x09, 0, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Configuration space as dumps of cards show it: the list begins at 0x60 and is not in
/// order. There are no virtual functions, so no capability for them.
const LAYOUT: Layout = Layout {
    list: &[0x60, 0x48, 0x9c, 0xc0, 0x40],
    power: 0x40,
    vpd: Some((0x48, "ConnectX, emulated")),
    msi: 0,
    msix: 0x9c,
    pcie: 0x60,
    vendor: Some((0xc0, GATEWAY)),
    // No soft reset, PME from D3cold with 375 mA.
    power_can: 0x81c3,
    power_rest: 0x0008,
    // 512 bytes, extended tags, any latency, function level reset.
    device: 0x1000_8fe2,
    // Completion timeouts A to D, and none.
    device2: 0x0000_001f,
    link_target: 3,
    extended: &[(0x100, 0x0001_0001), (0x150, 0x0001_000e), (0x1c0, 0x0001_0019), (0x230, 0x0001_000d)],
    serial: [0; 2],
    ..Layout::INTEL
};

impl Kind {
    /// Where the capabilities are in configuration space, and which class it is.
    pub fn layout(&self, infiniband: bool) -> Layout {
        Layout { link: self.pcie, class: if infiniband { 0x0207 } else { 0x0200 }, ..LAYOUT }
    }

    /// Pages for INIT_HCA, where queue pairs are 2^`log_qp`.
    pub fn init_pages(&self, log_qp: u32) -> i64 {
        let [few, many] = self.pages;
        let more = (1 << log_qp.min(40)) - (1_i64 << 14);
        (few + (many - few) * more / (7 << 14)).max(0)
    }
}
