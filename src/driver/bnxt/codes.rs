//! Values in commands: who, which kind, which errors.

/// The function that asks.
pub const SELF: u64 = 0xffff;

/// No ring, group or context.
pub const NONE: u16 = 0xffff;

/// What the firmware says of itself (VER_GET).
pub mod version {
    /// Requests may lie in memory.
    pub const SHORT_SUPPORTED: u64 = 1 << 2;
    /// They must.
    pub const SHORT_REQUIRED: u64 = 1 << 3;
    /// Flags: it has not finished starting.
    pub const NOT_READY: u64 = 1 << 0;
    /// Flags: memory of the chip is not ready, what needs it is busy.
    pub const MEMORY_NOT_READY: u64 = 1 << 2;
}

/// What a function can do (FUNC_QCAPS).
pub mod caps {
    /// It has a clock.
    pub const PTP: u64 = 1 << 2;
    /// It names registers that tell whether it is well.
    pub const ERROR_RECOVERY: u64 = 1 << 23;
    /// Tags are left to the firmware on the way out.
    pub const TX_VLAN_DISABLED: u64 = 1 << 27;
    /// In the second word of extensions: every received frame can be stamped.
    pub const RX_ALL_STAMPS: u64 = 1 << 0;
    /// Also there: it wants to be told when lost doorbells were rung again.
    pub const DOORBELL_RECOVERY: u64 = 1 << 4;
    /// When a frame left comes with its completion.
    pub const TX_STAMP_COMPLETIONS: u64 = 1 << 9;
}

/// Of a driver that signs on (FUNC_DRV_RGTR).
pub mod register {
    /// Its version is in 16 bits each.
    pub const VERSION_16: u64 = 1 << 2;
    /// It lives without tags being taken out of received frames (NPAR 1.2).
    pub const NPAR_1_2: u64 = 1 << 9;
    /// Enables: system, version, events.
    pub const ENABLES: u64 = 0x13;
    /// A system that the firmware has no number for.
    pub const OS_OTHER: u64 = 1;
    /// In the answer: FUNC_DRV_IF_CHANGE is wanted.
    pub const IF_CHANGE: u64 = 1 << 0;
}

/// Of FUNC_DRV_IF_CHANGE.
pub mod if_change {
    /// Rings are about to be used.
    pub const UP: u64 = 1 << 0;
    /// In the answer: other resources are there than before.
    pub const RESOURCES: u64 = 1 << 0;
    /// The firmware has restarted, and everything is lost.
    pub const RESTARTED: u64 = 1 << 1;
    /// It can do other things than before.
    pub const CAPABILITIES: u64 = 1 << 2;
}

/// What is set by FUNC_CFG.
pub mod func {
    /// Contexts to spread flows with.
    pub const RSSCOS: u64 = 1 << 2;
    /// Completion rings.
    pub const CMPL: u64 = 1 << 3;
    /// Transmit rings.
    pub const TX: u64 = 1 << 4;
    /// Receive rings.
    pub const RX: u64 = 1 << 5;
    /// Places for received frames.
    pub const VNICS: u64 = 1 << 7;
    /// Counters.
    pub const STAT: u64 = 1 << 8;
    /// Ring for events.
    pub const ASYNC_RING: u64 = 1 << 14;
    /// Groups of rings.
    pub const GROUPS: u64 = 1 << 19;
    /// Vectors, and so notification queues.
    pub const MSIX: u64 = 1 << 21;
    /// In FUNC_QCFG: the port is another host's too.
    pub const MULTI_HOST: u64 = 1 << 5;
}

/// Errors.
pub mod refusal {
    /// It failed.
    pub const FAIL: u32 = 0x1;
    /// A value makes no sense.
    pub const INVALID_PARAMS: u32 = 0x2;
    /// Not for this function.
    pub const ACCESS_DENIED: u32 = 0x3;
    /// There is no more of it.
    pub const ALLOC_ERROR: u32 = 0x4;
    /// A flag that it does not know.
    pub const INVALID_FLAGS: u32 = 0x5;
    /// A field that it does not know.
    pub const INVALID_ENABLES: u32 = 0x6;
    /// No memory.
    pub const NO_BUFFER: u32 = 0x8;
    /// Not supported.
    pub const UNSUPPORTED_OPTION: u32 = 0x9;
    /// It restarts.
    pub const HOT_RESET_PROGRESS: u32 = 0xa;
    /// Ask again.
    pub const BUSY: u32 = 0x10;
    /// Somebody else holds it.
    pub const RESOURCE_LOCKED: u32 = 0x11;
    /// The function is not there.
    pub const PF_UNAVAILABLE: u32 = 0x12;
    /// Not known to this firmware.
    pub const CMD_NOT_SUPPORTED: u32 = 0xffff;

    /// Name of a code.
    pub fn name(code: u32) -> &'static str {
        match code {
            FAIL => "FAIL",
            INVALID_PARAMS => "INVALID_PARAMS",
            ACCESS_DENIED => "RESOURCE_ACCESS_DENIED",
            ALLOC_ERROR => "RESOURCE_ALLOC_ERROR",
            INVALID_FLAGS => "INVALID_FLAGS",
            INVALID_ENABLES => "INVALID_ENABLES",
            0x7 => "UNSUPPORTED_TLV",
            NO_BUFFER => "NO_BUFFER",
            UNSUPPORTED_OPTION => "UNSUPPORTED_OPTION_ERR",
            HOT_RESET_PROGRESS => "HOT_RESET_PROGRESS",
            0xb => "HOT_RESET_FAIL",
            BUSY => "BUSY",
            RESOURCE_LOCKED => "RESOURCE_LOCKED",
            PF_UNAVAILABLE => "PF_UNAVAILABLE",
            CMD_NOT_SUPPORTED => "CMD_NOT_SUPPORTED",
            _ => "an unknown error",
        }
    }
}
