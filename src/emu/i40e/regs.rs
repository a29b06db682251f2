//! The register table (X710 datasheet 332464, chapter 10), as one function sees it.
//!
//! Arrays of pairs (48-bit statistics, filter input sets) are one row: even
//! numbers are low halves. Queue registers are numbered from the function's
//! first queue on, and there are as many as it was given. Registers of the port
//! and of the device outlive a reset of the function, except those that are the
//! function's share of them.

use super::super::Mode::{Rc, Ro, Rw};
use super::super::Reset::Power;
use super::super::{Row, registers};
use super::{I40e, QUEUES, VECTORS};

type R = Row<I40e>;

const fn reg(at: u32) -> R {
    Row::new(at, Rw)
}

/// Of the port or the device.
const fn shared(at: u32) -> R {
    reg(at).until(Power)
}

/// Facts of the card that a driver only reads.
const fn fact(at: u32, value: u32) -> R {
    Row::new(at, Ro).reset(value).until(Power)
}

/// Says what happened, until those bits are written as ones.
const fn told(at: u32) -> R {
    reg(at).takes(|card, place, value| card.regs.poke(place.at, card.regs.peek(place.at) & !value))
}

/// Changes how frames are received.
const fn config(at: u32) -> R {
    reg(at).then(|card, _, _| card.stale = true)
}

/// Lists of the causes of a vector.
const fn causes(at: u32) -> R {
    reg(at).then(|card, _, _| card.irq.stale = true)
}

const fn queue(row: R) -> R {
    row.array(QUEUES, 4)
}

const fn vector(row: R) -> R {
    row.array(VECTORS - 1, 4)
}

/// A port's counter: 4 ports, two words each.
const fn port(at: u32) -> R {
    fact(at, 0).array(8, 4)
}

/// A VSI's counter: 384 of them, two words each.
const fn vsi(at: u32) -> R {
    fact(at, 0).array(768, 4)
}

/// A switch element's counter: 16 of them, two words each.
const fn veb(at: u32) -> R {
    fact(at, 0).array(32, 4)
}

/// A switch element's counter of 8 traffic classes.
const fn veb_tc(at: u32) -> R {
    fact(at, 0).array(256, 4)
}

/// Size of the shadow RAM as GLNVM_GENS says it: 1024 << n bytes.
pub const SHADOW_RAM: u32 = 2;

/// Bytes of the BAR that are registers: all of it.
pub const SIZE: u32 = 4 << 20;

registers! { I40e;
    // Admin queues.
    "§7.10" {
        PF_ATQBAL = reg(0x80000).bits(!0).then(|card, _, _| card.commands_placed());
        PF_ARQBAL = reg(0x80080).bits(!0).then(|card, _, _| card.events_placed());
        PF_ATQBAH = reg(0x80100).bits(!0);
        PF_ARQBAH = reg(0x80180).bits(!0);
        PF_ATQLEN = reg(0x80200).bits(0xf000_03ff);
        PF_ARQLEN = reg(0x80280).bits(0xf000_03ff);
        PF_ATQH = reg(0x80300).bits(0x3ff);
        PF_ARQH = reg(0x80380).bits(0x3ff);
        PF_ATQT = reg(0x80400).bits(0x3ff).then(|card, _, _| card.commands_given());
        PF_ARQT = reg(0x80480).bits(0x3ff).then(|card, _, _| card.buffers_given());
    }
    // Resets and the state of the device.
    "§4.2" {
        GL_FWSTS = fact(0x83048, 0);
        PRTDCB_GENS = shared(0x83020);
        PFGEN_CTRL = reg(0x92400).bits(1).then(|card, _, _| card.reset_written());
        PFGEN_DRUN = reg(0x92500).bits(1);
        PFGEN_STATE = reg(0x88000).bits(0xf);
        GLGEN_RSTCTL = shared(0xb8180).reset(2).bits(0x13f);
        GLGEN_RSTAT = fact(0xb8188, 0).gives(|card, _| card.reset_status());
        GLGEN_RTRIG = shared(0xb8190).bits(7).then(|card, _, _| card.reset_device());
        GLGEN_STAT = fact(0xb612c, 0);
        // Drivers write to it, to no effect that is known.
        PRTGEN_STATUS = shared(0xb8100).reset(3).bits(!0).takes(|_, _, _| {});
        // Port 0 is there, the other three are not.
        PRTGEN_CNF = fact(0xb8120, 0).array(4, 4).gives(|_, port| u32::from(port.n != 0));
        PRTGEN_CNF2 = shared(0xb8160).bits(1);
        PFGEN_PORTNUM = fact(0x1c0480, 0);
        GLGEN_PCIFCNCNT = fact(0x1c0ab4, 1);
        GLVFGEN_TIMER = fact(0x881bc, 0).gives(|card, _| (card.board.now / 1_000_000) as u32);
        GLGEN_MSCA = shared(0x8818c).array(4, 4).bits(!0);
        GLGEN_MSRWD = shared(0x8819c).array(4, 4).bits(!0);
        // Linux sets bit 2 too.
        GLGEN_GPIO_CTL = shared(0x88100).array(30, 4).bits(!0);
        GLGEN_LED_CTL = shared(0x88178);
        GLGEN_MDIO_I2C_SEL = shared(0x881c0).array(4, 4).bits(0x9fff_ffff);
    }
    // PCIe and what the function was given.
    "§10.2.2" {
        PF_FUNC_RID = fact(0x9c000, 0);
        PF_PCI_CIAA = reg(0x9c080).bits(0x0007_ffff);
        PF_PCI_CIAD = reg(0x9c100).bits(!0);
        GLPCI_CAPSUP = fact(0xbe4a8, 0);
        GLPCI_CNF2 = fact(0xbe494, (VECTORS as u32) << 2 | 2 << 13);
        GLPCI_LBARCTRL = fact(0xbe484, 0);
        PFPCI_SUBSYSID = fact(0xbe100, 0);
        PF_VT_PFALLOC = fact(0x1c0500, 0);
        PFLAN_QALLOC = fact(0x1c0400, 1 << 31 | (QUEUES as u32 - 1) << 16);
    }
    // Shadow RAM.
    "§6" {
        GLNVM_GENS = fact(0xb6100, 1 | SHADOW_RAM << 5);
        GLNVM_FLA = fact(0xb6108, 1 << 6);
        GLNVM_ULD = fact(0xb6008, 0x1ff).gives(|card, _| card.loaded());
        GLNVM_SRCTL = shared(0xb6110).reset(1 << 31).bits(0xffff_c001).status(1 << 31)
            .then(|card, _, _| card.shadow_ram());
        GLNVM_SRDATA = shared(0xb6114).bits(!0);
    }
    // Host memory cache.
    "§7.9" {
        PFHMC_SDCMD = reg(0xc0000).bits(0x8000_8fff).then(|card, _, _| card.segment_command());
        PFHMC_SDDATALOW = reg(0xc0100).bits(!0);
        PFHMC_SDDATAHIGH = reg(0xc0200).bits(!0);
        PFHMC_PDINV = reg(0xc0300).bits(0x01ff_8fff);
        PFHMC_ERRORINFO = reg(0xc0400).bits(0x801f_0f9f);
        PFHMC_ERRORDATA = reg(0xc0500).bits(0x3fff_ffff);
        GLHMC_SDPART = shared(0xc0800).array(16, 4).reset(0x1000_0000).bits(0x1fff_0fff);
        GLHMC_PFASSIGN = shared(0xc0c00).array(16, 4);
        GLHMC_LANTXOBJSZ = fact(0xc2004, 7);
        GLHMC_LANQMAX = fact(0xc2008, QUEUES as u32);
        GLHMC_LANRXOBJSZ = fact(0xc200c, 5);
        GLHMC_FCOEDDPOBJSZ = fact(0xc2010, 6);
        GLHMC_FCOEMAX = fact(0xc2014, 0);
        GLHMC_FCOEFOBJSZ = fact(0xc2018, 6);
        GLHMC_FCOEFMAX = fact(0xc20d0, 0x1000);
        GLHMC_LANTXBASE = reg(0xc6200).array(16, 4).bits(0x00ff_ffff);
        GLHMC_LANTXCNT = reg(0xc6300).array(16, 4).bits(0x7ff);
        GLHMC_LANRXBASE = reg(0xc6400).array(16, 4).bits(0x00ff_ffff);
        GLHMC_LANRXCNT = reg(0xc6500).array(16, 4).bits(0x7ff);
        GLHMC_FCOEDDPBASE = shared(0xc6600).array(16, 4).bits(0x00ff_ffff);
        GLHMC_FCOEDDPCNT = shared(0xc6700).array(16, 4).bits(0x000f_ffff);
        GLHMC_FCOEFBASE = shared(0xc6800).array(16, 4).bits(0x00ff_ffff);
        GLHMC_FCOEFCNT = shared(0xc6900).array(16, 4).bits(0x007f_ffff);
    }
    // Queues.
    "§8" {
        QTX_ENA = queue(reg(0x100000)).bits(7).then(|card, q, _| card.tx_enable_written(q.n));
        QTX_CTL = queue(reg(0x104000)).bits(0xffff);
        QTX_TAIL = queue(reg(0x108000)).bits(0x1fff);
        QTX_HEAD = queue(reg(0xe4000)).bits(0x1_1fff).gives(|card, q| card.tx_head(q.n));
        GLLAN_TXPRE_QDIS = reg(0xe6500).array(12, 4).bits(0xc001_07ff)
            .takes(|card, block, value| card.announced(block.n, value));
        QRX_ENA = queue(reg(0x120000)).bits(7).then(|card, q, _| card.rx_enable_written(q.n));
        QRX_TAIL = queue(reg(0x128000)).bits(0x1fff);
        GLLAN_RCTL_0 = reg(0x12a500).bits(1);
        GLLAN_TSOMSK_F = reg(0x442d8).reset(0x009).bits(0xfff);
        GLLAN_TSOMSK_M = reg(0x442dc).reset(0x089).bits(0xfff);
        GLLAN_TSOMSK_L = reg(0x442e0).reset(0x080).bits(0xfff);
        GLLAN_MSSMIN = reg(0xe64dc).reset(256 << 16 | 0x40);
        GL_MDET_TX = told(0xe6480).bits(!0).until(Power);
        PF_MDET_TX = told(0xe6400).bits(0xffff);
        GL_MDET_RX = told(0x12a510).bits(!0).until(Power);
        PF_MDET_RX = told(0x12a400).bits(0xffff);
        PFCM_LANCTXDATA = reg(0x10c100).array(4, 128).bits(!0);
        PFCM_LANCTXCTL = reg(0x10c300).bits(0x7_ffff).then(|card, _, _| card.context_command());
        PFCM_LANCTXSTAT = reg(0x10c380).bits(3);
        VSILAN_QBASE = reg(0x20c800).array(384, 4).bits(0xfff);
    }
    // Interrupts.
    "§7.5" {
        PFINT_ICR0 = reg(0x38780).bits(!0).gives(|card, _| card.read_icr0());
        PFINT_ICR0_ENA = reg(0x38800).bits(0xffff_01ff).then(|card, _, _| card.causes_enabled());
        PFINT_DYN_CTL0 = reg(0x38480).bits(0xc701_ffff).then(|card, _, value| card.control_written(0, value));
        PFINT_DYN_CTLN = vector(reg(0x34800)).bits(0xc701_ffff)
            .then(|card, place, value| card.control_written(place.n + 1, value));
        PFINT_LNKLST0 = causes(0x38500).reset(0x7ff).bits(0x1fff);
        PFINT_LNKLSTN = vector(causes(0x35000)).reset(0x7ff).bits(0x1fff);
        QINT_RQCTL = queue(causes(0x3a000)).bits(0xdfff_f8ff);
        QINT_TQCTL = queue(causes(0x3c000)).bits(0xdfff_f8ff);
        PFINT_ITR0 = reg(0x38000).array(3, 128).bits(0xfff);
        PFINT_ITRN_RX = vector(reg(0x30000)).bits(0xfff);
        PFINT_ITRN_TX = vector(reg(0x30800)).bits(0xfff);
        PFINT_ITRN_SW = vector(reg(0x31000)).bits(0xfff);
        PFINT_RATE0 = reg(0x38580).bits(0x7f);
        PFINT_RATEN = vector(reg(0x35800)).bits(0x7f);
        PFINT_STAT_CTL0 = reg(0x38400).bits(0xc);
        GLINT_CTL = shared(0x3f800).bits(7);
    }
    // Filters and RSS.
    "§7.1" {
        PFQF_CTL_0 = config(0x1c0ac0).bits(0x03ff_ffff);
        PFQF_CTL_1 = reg(0x245d80).bits(1).then(|card, _, _| card.clear_filters());
        PFQF_HKEY = config(0x244800).array(13, 128).bits(!0);
        PFQF_HLUT = config(0x240000).array(128, 128).bits(0x3f3f_3f3f);
        PFQF_HENA = config(0x245900).array(2, 128).bits(!0);
        PFQF_HREGION = reg(0x245400).array(8, 128).bits(!0);
        PFQF_FDSTAT = R::new(0x246380, Ro).gives(|card, _| card.filters_used(16));
        PFQF_FDALLOC = reg(0x246280).bits(0xffff);
        PRTQF_CTL_0 = shared(0x256e60).bits(1);
        GLQF_HKEY = shared(0x270140).array(13, 4).bits(!0);
        GLQF_CTL = shared(0x269ba4).bits(!0);
        GLQF_SWAP = shared(0x267e00).array(128, 4).bits(!0);
        GLQF_HSYM = shared(0x269d00).array(64, 4).bits(1);
        GLQF_FD_MSK = shared(0x267200).array(128, 4).bits(0x003f_ffff);
        GLQF_HASH_INSET = shared(0x267600).array(128, 4).bits(!0);
        GLQF_HASH_MSK = shared(0x267a00).array(128, 4).bits(0x003f_ffff);
        GLQF_PCNT = shared(0x266800).array(512, 4).bits(!0).takes(|card, place, _| card.regs.poke(place.at, 0));
        GLQF_FDCNT_0 = fact(0x269bac, 0).gives(|card, _| card.filters_used(13));
        GLQF_FDEVICTENA = shared(0x270384).array(2, 4).bits(!0);
        PRTQF_FD_INSET = config(0x250000).array(128, 32).bits(!0).until(Power);
        PRTQF_FD_FLXINSET = shared(0x253800).array(64, 32).bits(0xff);
        PRTQF_FD_MSK = shared(0x252000).array(128, 32).bits(0x003f_ffff);
        PRTQF_FLX_PIT = shared(0x255200).array(9, 32).bits(0xffff);
        GLQF_ORT = shared(0x268900).array(64, 4).bits(0xff);
        GLQF_PIT = shared(0x268c80).array(24, 4).bits(0xffff);
        GLQF_L3_MAP = shared(0x26c700).array(64, 4);
        GL_SWR_PM_UP_THR = shared(0x269fbc);
        GL_SWR_PRI_JOIN_MAP = shared(0x26ce00).array(3, 4);
        GL_SWR_DEF_ACT = shared(0x270200).array(36, 4).bits(!0);
        GL_SWR_DEF_ACT_EN = shared(0x26cfb8).array(2, 4).bits(!0);
        GL_PRS_FVBM = shared(0x269760).array(4, 4).bits(0x8000_3f7f);
        VSI_TSR = reg(0x50800).array(384, 4);
        VSI_L2TAGSTXVALID = reg(0x42800).array(384, 4);
        GL_SWT_L2TAGCTRL = shared(0x1c0a70).array(8, 4);
        PRT_L2TAGSEN = shared(0x1c0b20).bits(0xff);
    }
    // Port.
    "§10.2.2" {
        PRTGL_SAL = shared(0x1e2120).bits(!0);
        PRTGL_SAH = shared(0x1e2140).bits(!0).gives(|card, _| card.read_longest());
        PRTMAC_LINKSTA = fact(0x1e2420, 0).gives(|card, _| card.read_link_register());
        PRTMAC_MACC = shared(0x1e24e0);
        PRTDCB_FCCFG = shared(0x1e4640).bits(0x18);
        PRTDCB_MFLCN = shared(0x1e2400).bits(0xfff);
        PRTMAC_HSEC_CTL_RX_PAUSE_ENABLE = shared(0x1e30c0).bits(0x1ff);
        PRTMAC_HSEC_CTL_TX_PAUSE_ENABLE = shared(0x1e30d0).bits(0x1ff);
        PFPM_APM = reg(0xb8080).bits(1);
        PFPM_WUFC = reg(0x6b400).bits(0x80ff_0fff);
        PRTPM_EEE_STAT = shared(0x1e4320);
        PRTPM_EEEC = shared(0x1e4380);
        PRTPM_TLPIC = shared(0x1e43c0);
        PRTPM_RLPIC = shared(0x1e43a0);
    }
    // IEEE 1588.
    "§8.5" {
        PRTTSYN_CTL0 = shared(0x1e4200).bits(0xf000_ffff);
        PRTTSYN_CTL1 = shared(0x85020).bits(0x8fff_ffff);
        PRTTSYN_INC_L = shared(0x1e4040).bits(!0);
        PRTTSYN_INC_H = shared(0x1e4060).bits(0x3f).then(|card, _, high| card.set_rate(high));
        PRTTSYN_TIME_L = shared(0x1e4100).bits(!0).gives(|card, _| card.read_time());
        PRTTSYN_TIME_H = shared(0x1e4120).bits(!0)
            .gives(|card, _| card.read_time_high())
            .then(|card, _, high| card.set_time(high));
        PRTTSYN_ADJ = shared(0x1e4280).bits(!0).then(|card, _, by| card.adjust_time(by));
        PRTTSYN_TXTIME_L = shared(0x1e41c0).bits(!0);
        PRTTSYN_TXTIME_H = shared(0x1e41e0).bits(!0);
        PRTTSYN_RXTIME_L = shared(0x850c0).array(4, 32).bits(!0);
        PRTTSYN_RXTIME_H = shared(0x85040).array(4, 32).bits(!0).gives(|card, slot| card.take_stamp(slot.n));
        PRTTSYN_STAT_0 = R::new(0x1e4220, Rc).until(Power);
        PRTTSYN_STAT_1 = shared(0x85140).bits(0xf);
        PRTTSYN_AUX_0 = shared(0x1e42a0).array(2, 32).bits(0x0003_0f0f);
        PRTTSYN_AUX_1 = shared(0x1e42e0).array(2, 32).bits(3);
        PRTTSYN_TGT_L = shared(0x1e4140).array(2, 32).bits(!0);
        PRTTSYN_TGT_H = shared(0x1e4180).array(2, 32).bits(!0);
        PRTTSYN_EVNT_L = shared(0x1e4080).array(2, 32).bits(!0);
        PRTTSYN_EVNT_H = shared(0x1e40c0).array(2, 32).bits(!0);
        PRTTSYN_CLKO = shared(0x1e4240).array(2, 32).bits(!0);
    }
    // Statistics: they count up, wrap, and nothing clears them.
    "§10.2.2.19" {
        GLPRT_GORC = port(0x300000);
        GLPRT_MLFC = port(0x300020);
        GLPRT_MRFC = port(0x300040);
        GLPRT_CRCERRS = port(0x300080);
        GLPRT_RLEC = port(0x3000a0);
        GLPRT_ERRBC = port(0x3000c0);
        GLPRT_ILLERRC = port(0x3000e0);
        GLPRT_RUC = port(0x300100);
        GLPRT_ROC = port(0x300120);
        GLPRT_LXONRXC = port(0x300140);
        GLPRT_LXOFFRXC = port(0x300160);
        GLPRT_PXONRXC = fact(0x300180, 0).array(64, 4);
        GLPRT_PXOFFRXC = fact(0x300280, 0).array(64, 4);
        GLPRT_RXON2OFFCNT = fact(0x300380, 0).array(64, 4);
        GLPRT_PRC64 = port(0x300480);
        GLPRT_PRC127 = port(0x3004a0);
        GLPRT_PRC255 = port(0x3004c0);
        GLPRT_PRC511 = port(0x3004e0);
        GLPRT_PRC1023 = port(0x300500);
        GLPRT_PRC1522 = port(0x300520);
        GLPRT_PRC9522 = port(0x300540);
        GLPRT_RFC = port(0x300560);
        GLPRT_RJC = port(0x300580);
        GLPRT_UPRC = port(0x3005a0);
        GLPRT_MPRC = port(0x3005c0);
        GLPRT_BPRC = port(0x3005e0);
        GLPRT_RDPC = port(0x300600);
        GLPRT_RUPP = port(0x300660);
        GLPRT_GOTC = port(0x300680);
        GLPRT_PTC64 = port(0x3006a0);
        GLPRT_PTC127 = port(0x3006c0);
        GLPRT_PTC255 = port(0x3006e0);
        GLPRT_PTC511 = port(0x300700);
        GLPRT_PTC1023 = port(0x300720);
        GLPRT_PTC1522 = port(0x300740);
        GLPRT_PTC9522 = port(0x300760);
        GLPRT_PXONTXC = fact(0x300780, 0).array(64, 4);
        GLPRT_PXOFFTXC = fact(0x300880, 0).array(64, 4);
        GLPRT_LXONTXC = port(0x300980);
        GLPRT_LXOFFTXC = port(0x3009a0);
        GLPRT_UPTC = port(0x3009c0);
        GLPRT_MPTC = port(0x3009e0);
        GLPRT_BPTC = port(0x300a00);
        GLPRT_TDOLD = port(0x300a20);
        GLV_RDPC = vsi(0x310000);
        GL_RXERR1 = vsi(0x318000);
        GLV_GOTC = vsi(0x328000);
        GLV_UPTC = vsi(0x33c000);
        GLV_MPTC = vsi(0x33cc00);
        GLV_BPTC = vsi(0x33d800);
        GLV_TEPC = vsi(0x344000);
        GLV_GORC = vsi(0x358000);
        GLV_UPRC = vsi(0x36c000);
        GLV_MPRC = vsi(0x36cc00);
        GLV_BPRC = vsi(0x36d800);
        GLV_RUPP = vsi(0x36e400);
        // Switch elements: frames between VSIs, of which there are none here.
        GLSW_GOTC = veb(0x32c000);
        GLSW_UPTC = veb(0x340000);
        GLSW_MPTC = veb(0x340080);
        GLSW_BPTC = veb(0x340100);
        GLSW_TDPC = veb(0x348000);
        GLSW_GORC = veb(0x35c000);
        GLSW_UPRC = veb(0x370000);
        GLSW_MPRC = veb(0x370080);
        GLSW_BPRC = veb(0x370100);
        GLSW_RUPP = veb(0x370180);
        GLVEBTC_TBC = veb_tc(0x334000);
        GLVEBTC_TPC = veb_tc(0x338000);
        GLVEBTC_RBC = veb_tc(0x364000);
        GLVEBTC_RPC = veb_tc(0x368000);
        GLGEN_STAT_CLEAR = shared(0x390004).bits(1);
    }
}
