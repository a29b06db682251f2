//! Registers of the X710 family, the ones this driver uses.
//!
//! Offsets are those of the X710/XXV710/XL710 datasheet (332464), chapter 10,
//! which the X722 repeats. Queue registers are counted within the function.

pub use crate::driver::regs::Reg;
use crate::driver::regs::{bits, registers};

/// Bytes of BAR 0 that hold every register declared here.
pub const BAR_LEN: u64 = 0x37_0000;

/// Queues of one function that have registers.
pub const QUEUES: u16 = 1536;

/// Counter sets of VSIs.
pub const COUNTER_SETS: u16 = 384;

registers! {
    // ---- Admin queues (§7.10) ----

    PF_ATQBAL = 0x00080000, "Send queue base, low.";
    PF_ATQBAH = 0x00080100, "Send queue base, high.";
    PF_ATQLEN = 0x00080200, "Send queue length and state.";
    PF_ATQH   = 0x00080300, "Send queue head.";
    PF_ATQT   = 0x00080400, "Send queue tail.";
    PF_ARQBAL = 0x00080080, "Event queue base, low.";
    PF_ARQBAH = 0x00080180, "Event queue base, high.";
    PF_ARQLEN = 0x00080280, "Event queue length and state.";
    PF_ARQH   = 0x00080380, "Event queue head.";
    PF_ARQT   = 0x00080480, "Event queue tail.";

    // ---- Reset, identity, NVM ----

    GL_FWSTS      = 0x00083048, "Firmware status.";
    GLGEN_RSTCTL  = 0x000b8180, "Reset control: the delay of a global reset.";
    GLGEN_RSTAT   = 0x000b8188, "Reset status of the device.";
    PFGEN_CTRL    = 0x00092400, "Reset of this function.";
    PFGEN_PORTNUM = 0x001c0480, "Port of this function.";
    PF_FUNC_RID   = 0x0009c000, "Bus, device and function.";
    GLPCI_CNF2    = 0x000be494, "PCI configuration: vectors of a function.";
    GLPCI_CAPSUP  = 0x000be4a8, "Capabilities: alternative routing ids.";
    PFLAN_QALLOC  = 0x001c0400, "Queues of the device that are this function's.";
    GLNVM_GENS    = 0x000b6100, "What the NVM is: the size of its shadow RAM.";
    GLNVM_FLA     = 0x000b6108, "Flash access.";
    GLNVM_ULD     = 0x000b6008, "Units that have loaded their part of the NVM.";
    GLNVM_SRCTL   = 0x000b6110, "Shadow RAM control.";
    GLNVM_SRDATA  = 0x000b6114, "Shadow RAM data.";

    // ---- Host memory cache (§7.9) ----

    GLHMC_LANTXOBJSZ    = 0x000c2004,     "Size of a transmit context, as a power of two.";
    GLHMC_LANQMAX       = 0x000c2008,     "Most LAN queues.";
    GLHMC_LANRXOBJSZ    = 0x000c200c,     "Size of a receive context, as a power of two.";
    GLHMC_LANTXBASE[16] = 0x000c6200 + 4, "Base of a function's transmit contexts, in 512 bytes.";
    GLHMC_LANTXCNT[16]  = 0x000c6300 + 4, "Count of a function's transmit contexts.";
    GLHMC_LANRXBASE[16] = 0x000c6400 + 4, "Base of a function's receive contexts, in 512 bytes.";
    GLHMC_LANRXCNT[16]  = 0x000c6500 + 4, "Count of a function's receive contexts.";
    PFHMC_SDCMD         = 0x000c0000,     "Segment descriptor command.";
    PFHMC_SDDATALOW     = 0x000c0100,     "Segment descriptor, low.";
    PFHMC_SDDATAHIGH    = 0x000c0200,     "Segment descriptor, high.";
    PFHMC_ERRORINFO     = 0x000c0400,     "What went wrong in the host memory cache.";

    // ---- Queues (§8.3, §8.4) ----

    QTX_ENA[1536]        = 0x00100000 + 4, "Transmit queue enable.";
    QTX_CTL[1536]        = 0x00104000 + 4, "Transmit queue: whose it is.";
    QTX_TAIL[1536]       = 0x00108000 + 4, "Transmit tail.";
    QTX_HEAD[1536]       = 0x000e4000 + 4, "Transmit head.";
    QRX_ENA[1536]        = 0x00120000 + 4, "Receive queue enable.";
    QRX_TAIL[1536]       = 0x00128000 + 4, "Receive tail.";
    GLLAN_TXPRE_QDIS[12] = 0x000e6500 + 4, "Warning that a transmit queue of 128 will go off or come on.";
    GL_MDET_TX           = 0x000e6480,     "Queue whose packet was taken for malicious.";
    GL_MDET_RX           = 0x0012a510,     "Queue whose descriptor was.";
    PF_MDET_TX           = 0x000e6400,     "Whether a transmit queue of this function was stopped so.";
    PF_MDET_RX           = 0x0012a400,     "Whether a receive queue was.";
    GLLAN_RCTL_0         = 0x0012a500,     "Receive control: whether firmware's boot agent still has it.";

    // ---- Interrupts (§7.5) ----

    PFINT_ICR0          = 0x00038780,     "Causes of vector 0; reading clears.";
    PFINT_ICR0_ENA      = 0x00038800,     "Causes of vector 0 that are on.";
    PFINT_DYN_CTL0      = 0x00038480,     "Vector 0.";
    PFINT_DYN_CTLN[511] = 0x00034800 + 4, "Vector n + 1.";
    PFINT_LNKLST0       = 0x00038500,     "First queue of vector 0.";
    PFINT_LNKLSTN[511]  = 0x00035000 + 4, "First queue of vector n + 1.";
    PFINT_ITRN0[511]    = 0x00030000 + 4, "Throttling of vector n + 1, index 0.";
    PFINT_RATEN[511]    = 0x00035800 + 4, "Rate limit of vector n + 1.";
    QINT_RQCTL[1536]    = 0x0003a000 + 4, "Receive queue's cause.";
    QINT_TQCTL[1536]    = 0x0003c000 + 4, "Transmit queue's cause.";
    GLINT_CTL           = 0x0003f800,     "Interrupt control of the device.";

    // ---- Which queue a packet goes to (§7.1) ----

    PFQF_CTL_0              = 0x001c0ac0,       "Filter control of this function.";
    PFQF_HKEY[13]           = 0x00244800 + 128, "Hash key.";
    PFQF_HLUT[128]          = 0x00240000 + 128, "Hash table, four entries a register.";
    PFQF_HENA[2]            = 0x00245900 + 128, "Packet types that are hashed.";
    PRTQF_FD_INSET_LOW[64]  = 0x00250000 + 64,  "Fields that flow director compares, bits 31:0, of packet type n.";
    PRTQF_FD_INSET_HIGH[64] = 0x00250020 + 64,  "Fields that flow director compares, bits 63:32, of packet type n.";

    // ---- Port ----

    PRTGL_SAH = 0x001e2140, "The port's longest frame, and half of an address.";

    // ---- Statistics, which only count up (§10.2.2.25) ----

    GLPRT_CRCERRS[4] = 0x00300080 + 8, "Frames with a wrong FCS, of port n.";
    GLPRT_ILLERRC[4] = 0x003000e0 + 8, "Frames with an illegal byte.";
    GLPRT_RLEC[4]    = 0x003000a0 + 8, "Frames whose length field lies.";
    GLPRT_RUC[4]     = 0x00300100 + 8, "Frames below 64 bytes with a good FCS.";
    GLPRT_ROC[4]     = 0x00300120 + 8, "Frames above the maximum with a good FCS.";
    GLPRT_RFC[4]     = 0x00300560 + 8, "Frames below 64 bytes with a bad FCS.";
    GLPRT_RJC[4]     = 0x00300580 + 8, "Frames above the maximum with a bad FCS.";
    GLPRT_RDPC[4]    = 0x00300600 + 8, "Frames lost because the packet buffer was full.";
    GL_RXERR1[144]   = 0x00318000 + 8, "Frames of a port that were too long for their queue, from entry 128 on.";
    GLV_RDPC[384]    = 0x00310000 + 8, "Frames of a VSI lost because its ring had no descriptor.";
    GLV_GORC[384]    = 0x00358000 + 8, "Bytes that a VSI received, with FCS.";
    GLV_UPRC[384]    = 0x0036c000 + 8, "Unicast frames that a VSI received.";
    GLV_MPRC[384]    = 0x0036cc00 + 8, "Multicast frames that a VSI received.";
    GLV_BPRC[384]    = 0x0036d800 + 8, "Broadcast frames that a VSI received.";
    GLV_GOTC[384]    = 0x00328000 + 8, "Bytes that a VSI sent, with FCS.";
    GLV_UPTC[384]    = 0x0033c000 + 8, "Unicast frames that a VSI sent.";
    GLV_MPTC[384]    = 0x0033cc00 + 8, "Multicast frames that a VSI sent.";
    GLV_BPTC[384]    = 0x0033d800 + 8, "Broadcast frames that a VSI sent.";
}

bits! {
    /// Admin queue length and state, of either queue.
    aqlen {
        LEN      = 0x3ff,   "Descriptors.";
        OVERFLOW = 1 << 29, "An event found no descriptor.";
        CRITICAL = 1 << 30, "Firmware has met a critical error.";
        ENABLE   = 1 << 31, "On.";
    }
    /// Firmware status.
    fwsts {
        FWS1B = 0xff << 16, "What it is doing.";
    }
    /// Device reset.
    rstat {
        DEVSTATE = 0b11, "0: not in reset.";
    }
    /// Reset control.
    rstctl {
        GRSTDEL = 0x3f, "Delay in tenths of a second.";
    }
    /// Function reset.
    pfgen_ctrl {
        PFSWR = 1 << 0, "Reset; clears itself.";
    }
    /// What the NVM is.
    gens {
        SIZE = 5, "The lowest of three bits: kilobytes of the shadow RAM as a power of two.";
    }
    /// Flash access.
    fla {
        LOCKED = 1 << 6, "The flash is protected, as it is once it holds an image.";
    }
    /// Loaded units.
    uld {
        DONE = 1 << 3 | 1 << 4, "Core and global parts.";
    }
    /// Shadow RAM control.
    srctl {
        START = 1 << 30, "Start a read.";
        DONE  = 1 << 31, "Done.";
    }
    /// Queues of this function.
    qalloc {
        VALID = 1 << 31, "It has some.";
    }
    /// Segment descriptor, low word.
    sddatalow {
        VALID  = 1 << 0,   "Valid.";
        DIRECT = 1 << 1,   "One block of 2 MiB, not a page of page descriptors.";
        PAGES  = 512 << 2, "512 pages.";
    }
    /// Segment descriptor command.
    sdcmd {
        WRITE = 1 << 31, "Write.";
    }
    /// Host memory cache errors.
    hmc_error {
        DETECTED = 1 << 31, "There is one.";
    }
    /// Queue enable.
    qena {
        REQUEST = 1 << 0, "Wanted.";
        STATE   = 1 << 2, "So.";
    }
    /// Transmit queue owner.
    qtx_ctl {
        PF       = 2, "The physical function.";
        PF_SHIFT = 2, "Where its number starts.";
    }
    /// Warning of a change.
    txpre {
        SET   = 1 << 30, "It will go off.";
        CLEAR = 1 << 31, "It will come on.";
    }
    /// What a function did that is malicious.
    pf_mdet {
        VALID = 1 << 0,  "It did.";
        ALL   = 0xffff,  "All there is, to clear it.";
    }
    /// The first event of all functions, until it is written with ones.
    gl_mdet {
        VALID = 1 << 31, "There is one.";
    }
    /// The port's longest frame.
    sah {
        MFS_SHIFT = 16, "Where it starts: bytes with FCS.";
    }
    /// Receive control.
    rctl {
        PXE_MODE = 1 << 0, "Writing 1 leaves the boot agent's mode.";
    }
    /// A vector.
    dyn_ctl {
        INTENA   = 1 << 0, "Messages are let through.";
        ITR_NONE = 3 << 3, "Change no throttling interval.";
    }
    /// A list of queues.
    lnklst {
        END = 0x7ff, "Nothing in it.";
    }
    /// A queue's cause.
    qint {
        NEXT_SHIFT = 16,      "Where the next queue's number starts.";
        CAUSE_ENA  = 1 << 30, "On.";
    }
    /// Interrupts of the device.
    glint {
        DIS_AUTOMASK = 1 << 2, "A message does not mask its vector.";
    }
    /// Filter control.
    pfqf {
        HASHLUTSIZE_512 = 1 << 16, "The hash table has 512 entries.";
        FD_ENA          = 1 << 17, "Flow director is on.";
        ETYPE_ENA       = 1 << 18, "EtherType filters are on.";
        MACVLAN_ENA     = 1 << 19, "MAC and VLAN filters are on.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_registers_share_an_offset_and_all_are_in_the_bar() {
        crate::driver::regs::assert_apart(TABLE, BAR_LEN);
    }

    #[test]
    fn arrays_begin_and_end_where_the_datasheet_says() {
        assert_eq!(QTX_TAIL.at(QUEUES - 1).offset, 0x1097fc);
        assert_eq!(QRX_TAIL.at(QUEUES - 1).offset, 0x1297fc);
        assert_eq!(PFQF_HLUT.at(127).offset, 0x243f80);
        assert_eq!(GLV_BPRC.at(COUNTER_SETS - 1).offset, 0x36e3f8);
        assert_eq!(PRTQF_FD_INSET_HIGH.at(31).offset, 0x2507e0);
    }
}
