//! The register table (X710 datasheet 332464 §10.2), as one function sees it.
//!
//! Arrays of pairs (48-bit statistics, filter input sets) are one row: even
//! numbers are low halves. Queue registers are numbered from the function's
//! first queue on, and there are as many as it was given.

use super::super::Mode::{Rc, Ro, Rw};
use super::super::Row;
use super::{QUEUES, VECTORS};

/// What an access does besides moving bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Plain,
    /// Changes how frames are received.
    Config,
    /// Lists of the causes of a vector.
    Causes,
    /// Admin queues: doorbells and enables.
    Admin,
    /// Function reset.
    PfReset,
    /// Global resets.
    GlobalReset,
    /// Shadow RAM.
    SrCtl,
    /// Free-running microsecond timer.
    Timer,
    /// Segment descriptors.
    SdCmd,
    /// Access to a queue's context without memory.
    ContextCtl,
    /// Transmit queue enable, association, announced disable, head, tail.
    TxEna,
    /// See TxEna.
    TxHead,
    /// See TxEna.
    TxTail,
    /// See TxEna.
    TxPreQdis,
    /// Receive queue enable, tail.
    RxEna,
    /// See RxEna.
    RxTail,
    /// Interrupt causes of vector 0, cleared by reading.
    Icr0,
    /// What of them is enabled.
    Icr0Ena,
    /// Control of vector 0, and of the others.
    DynCtl0,
    /// See DynCtl0.
    DynCtlN,
    /// Flow director: table flush, counters.
    ClearFd,
    /// See ClearFd.
    FdCount,
    /// Link state of the MAC.
    LinkSta,
    /// The IEEE 1588 clock.
    Clock,
    /// Upper half of a stamp: reading it frees the slot.
    RxStamp,
    /// See RxStamp.
    TxStamp,
}

use Effect::*;

type R = Row<Effect>;

const fn reg(name: &'static str, offset: u32) -> R {
    Row::new(name, offset, Rw, Plain)
}

const fn does(name: &'static str, offset: u32, effect: Effect) -> R {
    Row::new(name, offset, Rw, effect)
}

/// Facts of the card that a driver only reads.
const fn fact(name: &'static str, offset: u32, value: u32) -> R {
    Row::new(name, offset, Ro, Plain).reset(value)
}

const fn txq(name: &'static str, offset: u32, effect: Effect) -> R {
    Row::new(name, offset, Rw, effect).array(QUEUES, 4)
}

const fn vector(name: &'static str, offset: u32, effect: Effect) -> R {
    Row::new(name, offset, Rw, effect).array(VECTORS - 1, 4)
}

/// A port's counter: 4 ports, two words each.
const fn port(name: &'static str, offset: u32) -> R {
    Row::new(name, offset, Ro, Plain).array(8, 4)
}

/// A VSI's counter: 384 of them, two words each.
const fn vsi(name: &'static str, offset: u32) -> R {
    Row::new(name, offset, Ro, Plain).array(768, 4)
}

/// A switch element's counter: 16 of them, two words each.
const fn veb(name: &'static str, offset: u32) -> R {
    Row::new(name, offset, Ro, Plain).array(32, 4)
}

/// A switch element's counter of 8 traffic classes.
const fn veb_tc(name: &'static str, offset: u32) -> R {
    Row::new(name, offset, Ro, Plain).array(256, 4)
}

/// Bytes of the BAR that are registers: all of it.
pub const SIZE: u32 = 4 << 20;

/// All registers.
pub const TABLE: &[R] = &[
    // Admin queues.
    does("PF_ATQBAL", 0x80000, Admin),
    does("PF_ARQBAL", 0x80080, Admin),
    does("PF_ATQBAH", 0x80100, Admin),
    does("PF_ARQBAH", 0x80180, Admin),
    does("PF_ATQLEN", 0x80200, Admin).bits(0xf000_03ff),
    does("PF_ARQLEN", 0x80280, Admin).bits(0xf000_03ff),
    does("PF_ATQH", 0x80300, Admin).bits(0x3ff),
    does("PF_ARQH", 0x80380, Admin).bits(0x3ff),
    does("PF_ATQT", 0x80400, Admin).bits(0x3ff),
    does("PF_ARQT", 0x80480, Admin).bits(0x3ff),
    // Resets and the state of the device.
    fact("GL_FWSTS", 0x83048, 0),
    reg("PRTDCB_GENS", 0x83020),
    does("PFGEN_CTRL", 0x92400, PfReset).bits(1),
    reg("PFGEN_DRUN", 0x92500).bits(1),
    reg("PFGEN_STATE", 0x88000),
    reg("GLGEN_RSTCTL", 0xb8180).reset(2),
    fact("GLGEN_RSTAT", 0xb8188, 0),
    does("GLGEN_RTRIG", 0xb8190, GlobalReset).bits(7),
    fact("GLGEN_STAT", 0xb612c, 0),
    fact("PRTGEN_STATUS", 0xb8100, 3),
    // Port 0 is there, the other three are not.
    fact("PRTGEN_CNF", 0xb8120, 0),
    fact("PRTGEN_CNF", 0xb8124, 1).array(3, 4).from(1),
    reg("PRTGEN_CNF2", 0xb8160),
    fact("PFGEN_PORTNUM", 0x1c0480, 0),
    fact("GLGEN_PCIFCNCNT", 0x1c0ab4, 1),
    Row::new("GLVFGEN_TIMER", 0x881bc, Ro, Timer),
    reg("GLGEN_MSCA", 0x8818c).array(4, 4),
    reg("GLGEN_MSRWD", 0x8819c).array(4, 4),
    reg("GLGEN_GPIO_CTL", 0x88100).array(30, 4),
    reg("GLGEN_LED_CTL", 0x88178),
    reg("GLGEN_MDIO_I2C_SEL", 0x881c0).array(4, 4),
    // PCIe and what the function was given.
    fact("PF_FUNC_RID", 0x9c000, 0),
    reg("PF_PCI_CIAA", 0x9c080),
    reg("PF_PCI_CIAD", 0x9c100),
    fact("GLPCI_CAPSUP", 0xbe4a8, 0),
    fact("GLPCI_CNF2", 0xbe494, (VECTORS as u32) << 2 | 2 << 13),
    fact("GLPCI_LBARCTRL", 0xbe484, 0),
    fact("PFPCI_SUBSYSID", 0xbe100, 0),
    fact("PF_VT_PFALLOC", 0x1c0500, 0),
    fact("PFLAN_QALLOC", 0x1c0400, 1 << 31 | (QUEUES as u32 - 1) << 16),
    // Shadow RAM.
    fact("GLNVM_GENS", 0xb6100, 1 | super::nvm::SIZE << 5),
    fact("GLNVM_FLA", 0xb6108, 1 << 6),
    fact("GLNVM_ULD", 0xb6008, 0x1ff),
    does("GLNVM_SRCTL", 0xb6110, SrCtl).reset(1 << 31).bits(0x7fff_c000),
    reg("GLNVM_SRDATA", 0xb6114),
    // Host memory cache.
    does("PFHMC_SDCMD", 0xc0000, SdCmd).bits(0x8000_0fff),
    reg("PFHMC_SDDATALOW", 0xc0100),
    reg("PFHMC_SDDATAHIGH", 0xc0200),
    reg("PFHMC_PDINV", 0xc0300).bits(0x01ff_0fff),
    reg("PFHMC_ERRORINFO", 0xc0400),
    reg("PFHMC_ERRORDATA", 0xc0500),
    reg("GLHMC_SDPART", 0xc0800).array(16, 4).reset(0x1000_0000),
    reg("GLHMC_PFASSIGN", 0xc0c00).array(16, 4),
    fact("GLHMC_LANTXOBJSZ", 0xc2004, 7),
    fact("GLHMC_LANQMAX", 0xc2008, QUEUES as u32),
    fact("GLHMC_LANRXOBJSZ", 0xc200c, 5),
    fact("GLHMC_FCOEDDPOBJSZ", 0xc2010, 6),
    fact("GLHMC_FCOEMAX", 0xc2014, 0),
    fact("GLHMC_FCOEFOBJSZ", 0xc2018, 6),
    fact("GLHMC_FCOEFMAX", 0xc20d0, 0x1000),
    reg("GLHMC_LANTXBASE", 0xc6200).array(16, 4).bits(0x00ff_ffff),
    reg("GLHMC_LANTXCNT", 0xc6300).array(16, 4).bits(0x7ff),
    reg("GLHMC_LANRXBASE", 0xc6400).array(16, 4).bits(0x00ff_ffff),
    reg("GLHMC_LANRXCNT", 0xc6500).array(16, 4).bits(0x7ff),
    reg("GLHMC_FCOEDDPBASE", 0xc6600).array(16, 4),
    reg("GLHMC_FCOEDDPCNT", 0xc6700).array(16, 4),
    reg("GLHMC_FCOEFBASE", 0xc6800).array(16, 4),
    reg("GLHMC_FCOEFCNT", 0xc6900).array(16, 4),
    // Queues.
    txq("QTX_ENA", 0x100000, TxEna).bits(7),
    txq("QTX_CTL", 0x104000, Plain).bits(0xffff),
    txq("QTX_TAIL", 0x108000, TxTail).bits(0x1fff),
    txq("QTX_HEAD", 0xe4000, TxHead).bits(0x1_1fff),
    does("GLLAN_TXPRE_QDIS", 0xe6500, TxPreQdis).array(12, 4).bits(0xc001_07ff),
    txq("QRX_ENA", 0x120000, RxEna).bits(7),
    txq("QRX_TAIL", 0x128000, RxTail).bits(0x1fff),
    reg("GLLAN_RCTL_0", 0x12a500).bits(1),
    reg("GLLAN_TSOMSK_F", 0x442d8).reset(0x009).bits(0xfff),
    reg("GLLAN_TSOMSK_M", 0x442dc).reset(0x089).bits(0xfff),
    reg("GLLAN_TSOMSK_L", 0x442e0).reset(0x080).bits(0xfff),
    reg("GLLAN_MSSMIN", 0xe64dc).reset(256 << 16 | 0x40),
    reg("GL_MDET_TX", 0xe6480),
    reg("PF_MDET_TX", 0xe6400),
    reg("GL_MDET_RX", 0x12a510),
    reg("PF_MDET_RX", 0x12a400),
    does("PFCM_LANCTXDATA", 0x10c100, Plain).array(4, 128),
    does("PFCM_LANCTXCTL", 0x10c300, ContextCtl).bits(0x7_ffff),
    reg("PFCM_LANCTXSTAT", 0x10c380),
    reg("VSILAN_QBASE", 0x20c800).array(384, 4),
    // Interrupts.
    Row::new("PFINT_ICR0", 0x38780, Rw, Icr0),
    does("PFINT_ICR0_ENA", 0x38800, Icr0Ena),
    does("PFINT_DYN_CTL0", 0x38480, DynCtl0),
    vector("PFINT_DYN_CTLN", 0x34800, DynCtlN),
    does("PFINT_LNKLST0", 0x38500, Causes).reset(0x7ff).bits(0x1fff),
    vector("PFINT_LNKLSTN", 0x35000, Causes).reset(0x7ff).bits(0x1fff),
    txq("QINT_RQCTL", 0x3a000, Causes),
    txq("QINT_TQCTL", 0x3c000, Causes),
    reg("PFINT_ITR0", 0x38000).array(3, 128).bits(0xfff),
    vector("PFINT_ITRN_RX", 0x30000, Plain).bits(0xfff),
    vector("PFINT_ITRN_TX", 0x30800, Plain).bits(0xfff),
    vector("PFINT_ITRN_SW", 0x31000, Plain).bits(0xfff),
    reg("PFINT_RATE0", 0x38580).bits(0x7f),
    vector("PFINT_RATEN", 0x35800, Plain).bits(0x7f),
    reg("PFINT_STAT_CTL0", 0x38400).bits(0xc),
    reg("GLINT_CTL", 0x3f800),
    // Filters and RSS.
    does("PFQF_CTL_0", 0x1c0ac0, Config),
    does("PFQF_CTL_1", 0x245d80, ClearFd),
    does("PFQF_HKEY", 0x244800, Config).array(13, 128),
    does("PFQF_HLUT", 0x240000, Config).array(128, 128),
    does("PFQF_HENA", 0x245900, Config).array(2, 128),
    reg("PFQF_HREGION", 0x245400).array(8, 128),
    Row::new("PFQF_FDSTAT", 0x246380, Ro, FdCount),
    reg("PFQF_FDALLOC", 0x246280),
    reg("PRTQF_CTL_0", 0x256e60),
    reg("GLQF_HKEY", 0x270140).array(13, 4),
    reg("GLQF_CTL", 0x269ba4),
    reg("GLQF_SWAP", 0x267e00).array(128, 4),
    reg("GLQF_HSYM", 0x269d00).array(64, 4),
    reg("GLQF_FD_MSK", 0x267200).array(128, 4),
    reg("GLQF_HASH_INSET", 0x267600).array(128, 4),
    reg("GLQF_HASH_MSK", 0x267a00).array(128, 4),
    does("GLQF_PCNT", 0x266800, FdCount).array(512, 4),
    Row::new("GLQF_FDCNT_0", 0x269bac, Ro, FdCount),
    reg("GLQF_FDEVICTENA", 0x270384).array(2, 4),
    does("PRTQF_FD_INSET", 0x250000, Config).array(128, 32),
    reg("PRTQF_FD_FLXINSET", 0x253800).array(64, 32),
    reg("PRTQF_FD_MSK", 0x252000).array(128, 32),
    reg("PRTQF_FLX_PIT", 0x255200).array(9, 32),
    reg("GLQF_ORT", 0x268900).array(64, 4),
    reg("GLQF_PIT", 0x268c80).array(24, 4),
    reg("GLQF_L3_MAP", 0x26c700).array(64, 4),
    reg("GL_SWR_PM_UP_THR", 0x269fbc),
    reg("GL_SWR_PRI_JOIN_MAP", 0x26ce00).array(3, 4),
    reg("GL_SWR_DEF_ACT", 0x270200).array(36, 4),
    reg("GL_SWR_DEF_ACT_EN", 0x26cfb8).array(2, 4),
    reg("GL_PRS_FVBM", 0x269760).array(4, 4),
    reg("VSI_TSR", 0x50800).array(384, 4),
    reg("VSI_L2TAGSTXVALID", 0x42800).array(384, 4),
    reg("GL_SWT_L2TAGCTRL", 0x1c0a70).array(8, 4),
    reg("PRT_L2TAGSEN", 0x1c0b20),
    // Port.
    reg("PRTGL_SAL", 0x1e2120),
    reg("PRTGL_SAH", 0x1e2140).reset(0x2600_0000),
    Row::new("PRTMAC_LINKSTA", 0x1e2420, Ro, LinkSta),
    reg("PRTMAC_MACC", 0x1e24e0),
    reg("PRTDCB_FCCFG", 0x1e4640),
    reg("PRTDCB_MFLCN", 0x1e2400),
    reg("PRTMAC_HSEC_CTL_RX_PAUSE_ENABLE", 0x1e30c0),
    reg("PRTMAC_HSEC_CTL_TX_PAUSE_ENABLE", 0x1e30d0),
    reg("PFPM_APM", 0xb8080),
    reg("PFPM_WUFC", 0x6b400),
    reg("PRTPM_EEE_STAT", 0x1e4320),
    reg("PRTPM_EEEC", 0x1e4380),
    reg("PRTPM_TLPIC", 0x1e43c0),
    reg("PRTPM_RLPIC", 0x1e43a0),
    // IEEE 1588.
    reg("PRTTSYN_CTL0", 0x1e4200),
    reg("PRTTSYN_CTL1", 0x85020),
    does("PRTTSYN_INC_L", 0x1e4040, Clock),
    does("PRTTSYN_INC_H", 0x1e4060, Clock),
    does("PRTTSYN_TIME_L", 0x1e4100, Clock),
    does("PRTTSYN_TIME_H", 0x1e4120, Clock),
    does("PRTTSYN_ADJ", 0x1e4280, Clock),
    reg("PRTTSYN_TXTIME_L", 0x1e41c0),
    does("PRTTSYN_TXTIME_H", 0x1e41e0, TxStamp),
    reg("PRTTSYN_RXTIME_L", 0x850c0).array(4, 32),
    does("PRTTSYN_RXTIME_H", 0x85040, RxStamp).array(4, 32),
    Row::new("PRTTSYN_STAT_0", 0x1e4220, Rc, Plain),
    reg("PRTTSYN_STAT_1", 0x85140),
    reg("PRTTSYN_AUX_0", 0x1e42a0).array(2, 32),
    reg("PRTTSYN_AUX_1", 0x1e42e0).array(2, 32),
    reg("PRTTSYN_TGT_L", 0x1e4140).array(2, 32),
    reg("PRTTSYN_TGT_H", 0x1e4180).array(2, 32),
    reg("PRTTSYN_EVNT_L", 0x1e4080).array(2, 32),
    reg("PRTTSYN_EVNT_H", 0x1e40c0).array(2, 32),
    reg("PRTTSYN_CLKO", 0x1e4240).array(2, 32),
    // Statistics: they count up, wrap, and nothing clears them.
    port("GLPRT_GORC", 0x300000),
    port("GLPRT_MLFC", 0x300020),
    port("GLPRT_MRFC", 0x300040),
    port("GLPRT_CRCERRS", 0x300080),
    port("GLPRT_RLEC", 0x3000a0),
    port("GLPRT_ERRBC", 0x3000c0),
    port("GLPRT_ILLERRC", 0x3000e0),
    port("GLPRT_RUC", 0x300100),
    port("GLPRT_ROC", 0x300120),
    port("GLPRT_LXONRXC", 0x300140),
    port("GLPRT_LXOFFRXC", 0x300160),
    Row::new("GLPRT_PXONRXC", 0x300180, Ro, Plain).array(64, 4),
    Row::new("GLPRT_PXOFFRXC", 0x300280, Ro, Plain).array(64, 4),
    Row::new("GLPRT_RXON2OFFCNT", 0x300380, Ro, Plain).array(64, 4),
    port("GLPRT_PRC64", 0x300480),
    port("GLPRT_PRC127", 0x3004a0),
    port("GLPRT_PRC255", 0x3004c0),
    port("GLPRT_PRC511", 0x3004e0),
    port("GLPRT_PRC1023", 0x300500),
    port("GLPRT_PRC1522", 0x300520),
    port("GLPRT_PRC9522", 0x300540),
    port("GLPRT_RFC", 0x300560),
    port("GLPRT_RJC", 0x300580),
    port("GLPRT_UPRC", 0x3005a0),
    port("GLPRT_MPRC", 0x3005c0),
    port("GLPRT_BPRC", 0x3005e0),
    port("GLPRT_RDPC", 0x300600),
    port("GLPRT_RUPP", 0x300660),
    port("GLPRT_GOTC", 0x300680),
    port("GLPRT_PTC64", 0x3006a0),
    port("GLPRT_PTC127", 0x3006c0),
    port("GLPRT_PTC255", 0x3006e0),
    port("GLPRT_PTC511", 0x300700),
    port("GLPRT_PTC1023", 0x300720),
    port("GLPRT_PTC1522", 0x300740),
    port("GLPRT_PTC9522", 0x300760),
    Row::new("GLPRT_PXONTXC", 0x300780, Ro, Plain).array(64, 4),
    Row::new("GLPRT_PXOFFTXC", 0x300880, Ro, Plain).array(64, 4),
    port("GLPRT_LXONTXC", 0x300980),
    port("GLPRT_LXOFFTXC", 0x3009a0),
    port("GLPRT_UPTC", 0x3009c0),
    port("GLPRT_MPTC", 0x3009e0),
    port("GLPRT_BPTC", 0x300a00),
    port("GLPRT_TDOLD", 0x300a20),
    vsi("GLV_RDPC", 0x310000),
    vsi("GL_RXERR1", 0x318000),
    vsi("GLV_GOTC", 0x328000),
    vsi("GLV_UPTC", 0x33c000),
    vsi("GLV_MPTC", 0x33cc00),
    vsi("GLV_BPTC", 0x33d800),
    vsi("GLV_TEPC", 0x344000),
    vsi("GLV_GORC", 0x358000),
    vsi("GLV_UPRC", 0x36c000),
    vsi("GLV_MPRC", 0x36cc00),
    vsi("GLV_BPRC", 0x36d800),
    vsi("GLV_RUPP", 0x36e400),
    // Switch elements: frames between VSIs, of which there are none here.
    veb("GLSW_GOTC", 0x32c000),
    veb("GLSW_UPTC", 0x340000),
    veb("GLSW_MPTC", 0x340080),
    veb("GLSW_BPTC", 0x340100),
    veb("GLSW_TDPC", 0x348000),
    veb("GLSW_GORC", 0x35c000),
    veb("GLSW_UPRC", 0x370000),
    veb("GLSW_MPRC", 0x370080),
    veb("GLSW_BPRC", 0x370100),
    veb("GLSW_RUPP", 0x370180),
    veb_tc("GLVEBTC_TBC", 0x334000),
    veb_tc("GLVEBTC_TPC", 0x338000),
    veb_tc("GLVEBTC_RBC", 0x364000),
    veb_tc("GLVEBTC_RPC", 0x368000),
    reg("GLGEN_STAT_CLEAR", 0x390004),
];

/// What a reset of the function leaves alone: the port's and the device's
/// registers, except those that are the function's share of them.
pub fn outlives_function(name: &str) -> bool {
    let shared = name.starts_with("GL") || name.starts_with("PRT");
    shared && !name.starts_with("GLHMC_LAN") && !name.starts_with("GLLAN")
}
