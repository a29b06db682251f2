//! Registers that no driver works with, and that Linux reads all the same when it is asked
//! for all of them (`ethtool -d`, ixgbe_ethtool.c; names of ixgbe_type.h).

use super::super::Mode::{Ro, Rw};
use super::super::{Row, registers};
use super::Ixgbe;

type R = Row<Ixgbe>;

/// Reads as 0: what a card shows here, nothing in this model moves.
const fn shown(at: u32) -> R {
    Row::new(at, Ro)
}

registers! { Ixgbe;
    // What each class of traffic has left.
    "§8.2.3.10" {
        RTRPT4S = shown(0x02160).array(8, 4);
        RTTDT2S = shown(0x04930).array(8, 4);
        RTTPT2S = shown(0x0cd40).array(8, 4);
        RTTBCNRD = shown(0x0498c);
        RTTQCNTG = shown(0x04a90);
        RTTQCNCR = shown(0x08b00);
        TXLLQ = shown(0x082e0).array(4, 4);
        MNGTXMAP = shown(0x0cd10);
    }
    "§8.2.3.24" {
        IP4AT = Row::new(0x05840, Rw);
        IP6AT = Row::new(0x05880, Rw);
        WUPL = shown(0x05900);
        WUPM = shown(0x05a00);
        FHFT = Row::new(0x09000, Rw);
    }
    "§8.2.3.2" {
        FLMNGCTL = shown(0x10118);
        FLMNGDATA = shown(0x1011c);
        FLMNGCNT = shown(0x10120);
        FLOP = shown(0x1013c);
    }
    // The MAC's, and its PCS's.
    "§8.2.3.22" {
        PCS1GCFIG = shown(0x04200);
        PCS1GDBG = shown(0x04210).array(2, 4);
        PCS1GANNP = shown(0x04220);
        PCS1GANLPNP = shown(0x04224);
        MACA = shown(0x0424c);
        APAE = shown(0x04250);
        ARD = shown(0x04254);
        AIS = shown(0x04258);
        MLADD = shown(0x04264);
        TREG = shown(0x0426c);
        PCSS = shown(0x04288).array(2, 4);
        XPCSS = shown(0x04290);
        SERDESC = shown(0x04298);
        AUTOC3 = shown(0x042ac);
        ATLASCTL = shown(0x04800);
    }
    "ixgbe_type.h: diagnostics" {
        RDSTAT = shown(0x02c00).array(8, 4);
        RDSTATCTL = shown(0x02c20);
        RDHMPN = shown(0x02f08);
        RIC_DW = shown(0x02f10).array(4, 4);
        RDPROBE = shown(0x02f20);
        PBRXECC = shown(0x03300);
        RXBUFCTRL = shown(0x03600);
        RXBUFDATA = shown(0x03610).array(4, 4);
        MDFTC1 = shown(0x042b8);
        MDFTC2 = shown(0x042c0);
        MDFTFIFO = shown(0x042c4).array(2, 4);
        MDFTS = shown(0x042cc);
        RFVAL = shown(0x050a4);
        PBTXECC = shown(0x0c300);
        TXBUFCTRL = shown(0x0c600);
        TXBUFDATA = shown(0x0c610).array(4, 4);
        PCIEECCCTL = shown(0x1106c);
        PCIE_DIAG = shown(0x11090).array(8, 4);
    }
    // The driver looks where the 82598 had these, or for what is in another BAR; on these
    // cards that is a queue's place with nothing there.
    "ixgbe_type.h: 82598" {
        MSIXPBA = shown(0x02000);
        VMD_CTL = shown(0x0581c);
        IMIR = shown(0x05a80).array(8, 4);
        IMIREXT = shown(0x05aa0).array(8, 4);
        IMIRVP = shown(0x05ac0);
        DCA_TXCTRL_5("DCA_TXCTRL+14") = shown(0x07214);
        DCA_TXCTRL_7("DCA_TXCTRL+1c") = shown(0x0721c).array(3, 4);
        DCA_TXCTRL_11("DCA_TXCTRL+2c") = shown(0x0722c).array(3, 4);
        TDSTAT_5("TDSTAT+14") = shown(0x07c14);
        TDSTAT_7("TDSTAT+1c") = shown(0x07c1c);
        TDSTATCTL = shown(0x07c20);
        TIC_DW_1("TIC_DW+4") = shown(0x07f14);
        TIC_DW_3("TIC_DW+c") = shown(0x07f1c);
        TDPROBE = shown(0x07f20);
    }
}
