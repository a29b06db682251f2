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

    /// Send queue base, low.
    PF_ATQBAL = 0x00080000;
    /// Send queue base, high.
    PF_ATQBAH = 0x00080100;
    /// Send queue length and state.
    PF_ATQLEN = 0x00080200;
    /// Send queue head.
    PF_ATQH = 0x00080300;
    /// Send queue tail.
    PF_ATQT = 0x00080400;
    /// Event queue base, low.
    PF_ARQBAL = 0x00080080;
    /// Event queue base, high.
    PF_ARQBAH = 0x00080180;
    /// Event queue length and state.
    PF_ARQLEN = 0x00080280;
    /// Event queue head.
    PF_ARQH = 0x00080380;
    /// Event queue tail.
    PF_ARQT = 0x00080480;

    // ---- Reset, identity, NVM ----

    /// Firmware status.
    GL_FWSTS = 0x00083048;
    /// Reset control: the delay of a global reset.
    GLGEN_RSTCTL = 0x000b8180;
    /// Reset status of the device.
    GLGEN_RSTAT = 0x000b8188;
    /// Reset of this function.
    PFGEN_CTRL = 0x00092400;
    /// Port of this function.
    PFGEN_PORTNUM = 0x001c0480;
    /// Bus, device and function.
    PF_FUNC_RID = 0x0009c000;
    /// PCI configuration: vectors of a function.
    GLPCI_CNF2 = 0x000be494;
    /// Capabilities: alternative routing ids.
    GLPCI_CAPSUP = 0x000be4a8;
    /// Queues of the device that are this function's.
    PFLAN_QALLOC = 0x001c0400;
    /// Flash access.
    GLNVM_FLA = 0x000b6108;
    /// Units that have loaded their part of the NVM.
    GLNVM_ULD = 0x000b6008;
    /// Shadow RAM control.
    GLNVM_SRCTL = 0x000b6110;
    /// Shadow RAM data.
    GLNVM_SRDATA = 0x000b6114;

    // ---- Host memory cache (§7.9) ----

    /// Size of a transmit context, as a power of two.
    GLHMC_LANTXOBJSZ = 0x000c2004;
    /// Most LAN queues.
    GLHMC_LANQMAX = 0x000c2008;
    /// Size of a receive context, as a power of two.
    GLHMC_LANRXOBJSZ = 0x000c200c;
    /// Base of a function's transmit contexts, in 512 bytes.
    GLHMC_LANTXBASE[16] = 0x000c6200 + 4;
    /// Count of a function's transmit contexts.
    GLHMC_LANTXCNT[16] = 0x000c6300 + 4;
    /// Base of a function's receive contexts, in 512 bytes.
    GLHMC_LANRXBASE[16] = 0x000c6400 + 4;
    /// Count of a function's receive contexts.
    GLHMC_LANRXCNT[16] = 0x000c6500 + 4;
    /// Segment descriptor command.
    PFHMC_SDCMD = 0x000c0000;
    /// Segment descriptor, low.
    PFHMC_SDDATALOW = 0x000c0100;
    /// Segment descriptor, high.
    PFHMC_SDDATAHIGH = 0x000c0200;
    /// What went wrong in the host memory cache.
    PFHMC_ERRORINFO = 0x000c0400;

    // ---- Queues (§8.3, §8.4) ----

    /// Transmit queue enable.
    QTX_ENA[1536] = 0x00100000 + 4;
    /// Transmit queue: whose it is.
    QTX_CTL[1536] = 0x00104000 + 4;
    /// Transmit tail.
    QTX_TAIL[1536] = 0x00108000 + 4;
    /// Transmit head.
    QTX_HEAD[1536] = 0x000e4000 + 4;
    /// Receive queue enable.
    QRX_ENA[1536] = 0x00120000 + 4;
    /// Receive tail.
    QRX_TAIL[1536] = 0x00128000 + 4;
    /// Warning that a transmit queue of 128 will go off or come on.
    GLLAN_TXPRE_QDIS[12] = 0x000e6500 + 4;
    /// Receive control: whether firmware's boot agent still has it.
    GLLAN_RCTL_0 = 0x0012a500;

    // ---- Interrupts (§7.5) ----

    /// Causes of vector 0; reading clears.
    PFINT_ICR0 = 0x00038780;
    /// Causes of vector 0 that are on.
    PFINT_ICR0_ENA = 0x00038800;
    /// Vector 0.
    PFINT_DYN_CTL0 = 0x00038480;
    /// Vector n + 1.
    PFINT_DYN_CTLN[511] = 0x00034800 + 4;
    /// First queue of vector 0.
    PFINT_LNKLST0 = 0x00038500;
    /// First queue of vector n + 1.
    PFINT_LNKLSTN[511] = 0x00035000 + 4;
    /// Throttling of vector n + 1, index 0.
    PFINT_ITRN0[511] = 0x00030000 + 4;
    /// Rate limit of vector n + 1.
    PFINT_RATEN[511] = 0x00035800 + 4;
    /// Receive queue's cause.
    QINT_RQCTL[1536] = 0x0003a000 + 4;
    /// Transmit queue's cause.
    QINT_TQCTL[1536] = 0x0003c000 + 4;
    /// Interrupt control of the device.
    GLINT_CTL = 0x0003f800;

    // ---- Which queue a packet goes to (§7.1) ----

    /// Filter control of this function.
    PFQF_CTL_0 = 0x001c0ac0;
    /// Hash key.
    PFQF_HKEY[13] = 0x00244800 + 128;
    /// Hash table, four entries a register.
    PFQF_HLUT[128] = 0x00240000 + 128;
    /// Packet types that are hashed.
    PFQF_HENA[2] = 0x00245900 + 128;
    /// Fields that flow director compares, bits 31:0, of packet type n.
    PRTQF_FD_INSET_LOW[64] = 0x00250000 + 64;
    /// Fields that flow director compares, bits 63:32, of packet type n.
    PRTQF_FD_INSET_HIGH[64] = 0x00250020 + 64;

    // ---- Statistics, which only count up (§10.2.2.25) ----

    /// Frames with a wrong FCS, of port n.
    GLPRT_CRCERRS[4] = 0x00300080 + 8;
    /// Frames with an illegal byte.
    GLPRT_ILLERRC[4] = 0x003000e0 + 8;
    /// Frames whose length field lies.
    GLPRT_RLEC[4] = 0x003000a0 + 8;
    /// Frames below 64 bytes with a good FCS.
    GLPRT_RUC[4] = 0x00300100 + 8;
    /// Frames above the maximum with a good FCS.
    GLPRT_ROC[4] = 0x00300120 + 8;
    /// Frames below 64 bytes with a bad FCS.
    GLPRT_RFC[4] = 0x00300560 + 8;
    /// Frames above the maximum with a bad FCS.
    GLPRT_RJC[4] = 0x00300580 + 8;
    /// Frames lost because the packet buffer was full.
    GLPRT_RDPC[4] = 0x00300600 + 8;
    /// Frames of a port that were too long for their queue, from entry 128 on.
    GL_RXERR1[144] = 0x00318000 + 8;
    /// Frames of a VSI lost because its ring had no descriptor.
    GLV_RDPC[384] = 0x00310000 + 8;
    /// Bytes that a VSI received, with FCS.
    GLV_GORC[384] = 0x00358000 + 8;
    /// Unicast frames that a VSI received.
    GLV_UPRC[384] = 0x0036c000 + 8;
    /// Multicast frames that a VSI received.
    GLV_MPRC[384] = 0x0036cc00 + 8;
    /// Broadcast frames that a VSI received.
    GLV_BPRC[384] = 0x0036d800 + 8;
    /// Bytes that a VSI sent, with FCS.
    GLV_GOTC[384] = 0x00328000 + 8;
    /// Unicast frames that a VSI sent.
    GLV_UPTC[384] = 0x0033c000 + 8;
    /// Multicast frames that a VSI sent.
    GLV_MPTC[384] = 0x0033cc00 + 8;
    /// Broadcast frames that a VSI sent.
    GLV_BPTC[384] = 0x0033d800 + 8;
}

bits! {
    /// Admin queue length and state, of either queue.
    aqlen {
        /// Descriptors.
        LEN = 0x3ff;
        /// An event found no descriptor.
        OVERFLOW = 1 << 29;
        /// Firmware has met a critical error.
        CRITICAL = 1 << 30;
        /// On.
        ENABLE = 1 << 31;
    }
    /// Firmware status.
    fwsts {
        /// What it is doing.
        FWS1B = 0xff << 16;
    }
    /// Device reset.
    rstat {
        /// 0: not in reset.
        DEVSTATE = 0b11;
    }
    /// Reset control.
    rstctl {
        /// Delay in tenths of a second.
        GRSTDEL = 0x3f;
    }
    /// Function reset.
    pfgen_ctrl {
        /// Reset; clears itself.
        PFSWR = 1 << 0;
    }
    /// Flash access.
    fla {
        /// The flash is protected, as it is once it holds an image.
        LOCKED = 1 << 6;
    }
    /// Loaded units.
    uld {
        /// Core and global parts.
        DONE = 1 << 3 | 1 << 4;
    }
    /// Shadow RAM control.
    srctl {
        /// Start a read.
        START = 1 << 30;
        /// Done.
        DONE = 1 << 31;
    }
    /// Queues of this function.
    qalloc {
        /// It has some.
        VALID = 1 << 31;
    }
    /// Segment descriptor, low word.
    sddatalow {
        /// Valid.
        VALID = 1 << 0;
        /// One block of 2 MiB, not a page of page descriptors.
        DIRECT = 1 << 1;
        /// 512 pages.
        PAGES = 512 << 2;
    }
    /// Segment descriptor command.
    sdcmd {
        /// Write.
        WRITE = 1 << 31;
    }
    /// Host memory cache errors.
    hmc_error {
        /// There is one.
        DETECTED = 1 << 31;
    }
    /// Queue enable.
    qena {
        /// Wanted.
        REQUEST = 1 << 0;
        /// So.
        STATE = 1 << 2;
    }
    /// Transmit queue owner.
    qtx_ctl {
        /// The physical function.
        PF = 2;
        /// Where its number starts.
        PF_SHIFT = 2;
    }
    /// Warning of a change.
    txpre {
        /// It will go off.
        SET = 1 << 30;
        /// It will come on.
        CLEAR = 1 << 31;
    }
    /// Receive control.
    rctl {
        /// Writing 1 leaves the boot agent's mode.
        PXE_MODE = 1 << 0;
    }
    /// A vector.
    dyn_ctl {
        /// Messages are let through.
        INTENA = 1 << 0;
        /// Forget what is pending.
        CLEARPBA = 1 << 1;
        /// Change no throttling interval.
        ITR_NONE = 3 << 3;
    }
    /// A list of queues.
    lnklst {
        /// Nothing in it.
        END = 0x7ff;
    }
    /// A queue's cause.
    qint {
        /// Where the next queue's number starts.
        NEXT_SHIFT = 16;
        /// On.
        CAUSE_ENA = 1 << 30;
    }
    /// Interrupts of the device.
    glint {
        /// A message does not mask its vector.
        DIS_AUTOMASK = 1 << 2;
    }
    /// Filter control.
    pfqf {
        /// The hash table has 512 entries.
        HASHLUTSIZE_512 = 1 << 16;
        /// Flow director is on.
        FD_ENA = 1 << 17;
        /// EtherType filters are on.
        ETYPE_ENA = 1 << 18;
        /// MAC and VLAN filters are on.
        MACVLAN_ENA = 1 << 19;
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
