//! The register table (82599 datasheet §8.2.3, with what X540 and X550 add).
//!
//! The 82599 keeps the addresses of its forerunner for the first 16 entries of
//! some arrays: `also`. Where drivers set bits that only an older card has, or that
//! the datasheet calls reserved, those count as defined here, with a word why.

use super::super::Mode::{Rc, Ro, Rw, W1c, Wo};
use super::super::Reset::{Link, Power};
use super::super::{Row, registers};
use super::Ixgbe;

type R = Row<Ixgbe>;

const fn reg(at: u32) -> R {
    Row::new(at, Rw)
}

/// Changes how frames are filtered, sent or received.
const fn config(at: u32) -> R {
    reg(at).then(|card, _, _| card.stale = true)
}

/// Statistics.
const fn stat(at: u32) -> R {
    Row::new(at, Rc).gives(|card, place| card.read_counter(place.at))
}

/// A receive queue's, in two pieces.
const fn rx(at: u32) -> R {
    reg(at).array(128, 0x40).rest(64, at + 0xc000).then(|card, place, _| card.rx_queue_written(place.n))
}

const fn tx(at: u32) -> R {
    reg(at).array(128, 0x40).then(|card, place, _| card.tx_queue_written(place.n))
}

/// Where a stamp is held: its control register, its lower and its upper half.
pub type Stamp = [u32; 3];
/// A received packet's, and a sent one's.
pub const RX_STAMP: Stamp = [TSYNCRXCTL.at, RXSTMPL.at, RXSTMPH.at];
pub const TX_STAMP: Stamp = [TSYNCTXCTL.at, TXSTMPL.at, TXSTMPH.at];

/// Registers end here: the highest any driver touches is below.
pub const SIZE: u32 = 0x20000;

registers! { Ixgbe;
    // General.
    "§8.2.3.1" {
        CTRL = reg(0x00000).bits(0x0400_000c).then(|card, _, _| card.control_written());
        STATUS = R::new(0x00008, Ro).gives(|card, _| card.status());
        CTRL_EXT = reg(0x00018).bits(0x1403_4000);
        ESDP = reg(0x00020).bits(0x00ff_ffff).until(Power)
            .gives(|card, _| card.read_esdp())
            .then(|card, _, _| card.poll_link());
        I2CCTL = reg(0x00028).bits(0xf).until(Power)
            .gives(|card, _| card.read_i2c())
            .takes(|card, _, value| card.write_i2c(value));
        EODSDP = reg(0x0002c);
        TSSDP = reg(0x0003c);
        FRTIMER = R::new(0x00048, Ro).gives(|card, _| (card.board.now / 1_000_000) as u32);
        TCPTIMER = reg(0x0004c).bits(0xfff);
        LEDCTL = reg(0x00200);
        I2CCTL_X550 = reg(0x15f5c).until(Power).gives(|card, _| card.read_i2c_x550());
    }
    // EEPROM.
    "§8.2.3.2" {
        EEC = reg(0x10010).bits(!0).until(Power).gives(|card, _| card.read_eec());
        EERD = reg(0x10014).bits(!0).then(|card, _, _| card.eerd_written());
        EEWR = reg(0x10018).bits(!0).then(|card, _, _| card.eewr_written());
        FLA = reg(0x1001c).until(Power);
        EEMNGCTL = reg(0x10110).reset(0x000c_0000).until(Power);
        EEMNGDATA = reg(0x10114).until(Power);
        GRC = reg(0x10200).bits(3);
    }
    // Semaphores.
    "§10.5.4" {
        SWSM = reg(0x10140).bits(0xf).until(Power).gives(|card, _| card.read_swsm());
        FWSM = reg(0x10148).reset(1 << 15).until(Power);
        FACTPS = reg(0x10150).until(Power);
        GSSR = reg(0x10160).bits(!0).until(Power).gives(|card, _| card.read_gssr());
    }
    // PCIe.
    "§8.2.3.4" {
        GCR = reg(0x11000);
        GCR_EXT = reg(0x11050).then(|card, _, value| card.flush_requests(value));
        PCIE_CTRL = reg(0x11064);
        PBACL = reg(0x11068).array(4, 4).rest(1, 0x110c4);
        DCA_ID = reg(0x11070);
        DCA_CTRL = reg(0x11074).bits(0x1f);
    }
    // Interrupts.
    "§8.2.3.5" {
        EICR = reg(0x00800).bits(!0).gives(|card, _| card.read_eicr()).takes(|card, _, bits| card.clear_causes(bits));
        EICS = reg(0x00808).bits(!0).gives(|card, _| card.read_eics()).takes(|card, _, bits| card.write_eics(bits));
        // Linux and DPDK name more causes than can be cleared.
        EIAC = reg(0x00810).bits(!0);
        // Linux sets bits 2:0.
        EITR = reg(0x00820).array(128, 4).rest(24, 0x12300).bits(0xffff_8fff);
        EIMS = reg(0x00880).bits(!0).gives(|card, _| card.read_eims()).takes(|card, _, bits| card.write_eims(bits));
        EIMC = R::new(0x00888, Wo).bits(!0).takes(|card, _, bits| card.write_eimc(bits));
        EIAM = reg(0x00890).bits(!0);
        EITRSEL = reg(0x00894).bits(!0);
        GPIE = reg(0x00898).bits(0xc000_ffff);
        IVAR = reg(0x00900).array(64, 4).bits(0xbfbf_bfbf).then(|card, _, entries| card.ivar_written(entries));
        IVAR_MISC = reg(0x00a00).bits(0xbfbf).then(|card, _, entries| card.ivar_written(entries));
        EICS_EX = R::new(0x00a90, Wo).array(2, 4).bits(!0).takes(|card, half, bits| card.write_eics_ex(half.n, bits));
        EIMS_EX = reg(0x00aa0).array(2, 4).bits(!0)
            .gives(|card, half| card.read_eims_ex(half.n))
            .takes(|card, half, bits| card.write_eims_ex(half.n, bits));
        EIMC_EX = R::new(0x00ab0, Wo).array(2, 4).bits(!0).takes(|card, half, bits| card.write_eimc_ex(half.n, bits));
        EIAM_EX = reg(0x00ad0).array(2, 4).bits(!0);
    }
    // Receive filters.
    "§8.2.3.7" {
        RXCSUM = config(0x05000).bits(0x3000);
        RFCTL = config(0x05008).bits(0x0003_ffff);
        // Bits 15:12 are the 82598's; drivers set PMCF and DPF.
        FCTRL = config(0x05080).bits(0xf782);
        VLNCTRL = config(0x05088).reset(0x8100).bits(0xf000_ffff);
        MCSTCTRL = config(0x05090).bits(7);
        EXVET = config(0x05078).bits(0xffff_0000);
        MTA = config(0x05200).array(128, 4).bits(!0);
        UTA = config(0x0f400).array(128, 4).bits(!0);
        VFTA = config(0x0a000).array(128, 4).bits(!0);
        RAL = config(0x0a200).array(128, 8).also(0x05400, 16, 8).bits(!0);
        RAH = config(0x0a204).array(128, 8).also(0x05404, 16, 8).bits(0x8000_ffff);
        MPSAR_LO = reg(0x0a600).array(128, 8).bits(!0);
        MPSAR_HI = reg(0x0a604).array(128, 8).bits(!0);
        PSRTYPE = reg(0x0ea00).array(64, 4).also(0x05480, 16, 4).bits(0xe007_ffff);
        MRQC = config(0x05818).also(0x0ec80, 1, 4).bits(0x01ff_e00f);
        RETA = config(0x05c00).array(32, 4).also(0x0eb00, 32, 4).bits(0x3f3f_3f3f);
        RSSRK = config(0x05c80).array(10, 4).also(0x0eb80, 10, 4).bits(!0);
        ERETA = config(0x0ee80).array(96, 4).bits(0x3f3f_3f3f);
        SAQF = config(0x0e000).array(128, 4).bits(!0);
        DAQF = config(0x0e200).array(128, 4).bits(!0);
        SDPQF = config(0x0e400).array(128, 4).bits(!0);
        FTQF = config(0x0e600).array(128, 4).bits(0xfe00_3f1f);
        // Bits 19:13 are reserved and have to be 1000000b.
        L34T_IMIR = config(0x0e800).array(128, 4).bits(0x0fff_f000);
        ETQF = config(0x05128).array(8, 4).bits(!0);
        ETQS = config(0x0ec00).array(8, 4).bits(0xa07f_0000);
        SYNQF = config(0x0ec30).bits(0x8000_00ff);
        RQTC = reg(0x0ec70).bits(0x7777_7777);
    }
    // Receive queues.
    "§8.2.3.8" {
        RDBAL = rx(0x01000).bits(0xffff_ff80).then(|card, place, _| card.rx_base_written(place.n));
        RDBAH = rx(0x01004).bits(!0).then(|card, place, _| card.rx_base_written(place.n));
        RDLEN = rx(0x01008).bits(0x000f_ff80).then(|card, place, _| card.rx_base_written(place.n));
        // Bit 12 spoils packets.
        DCA_RXCTRL = rx(0x0100c).also(0x02200, 16, 4).bits(0xffff_aae0);
        RDH = rx(0x01010).bits(0xffff)
            .gives(|card, place| card.rx_head(place.n))
            .then(|card, place, head| card.rx_head_written(place.n, head));
        SRRCTL = rx(0x01014).also(0x02100, 16, 4).bits(0x1fc0_3fff);
        RDT = rx(0x01018).bits(0xffff);
        RXDCTL = rx(0x01028).bits(0x4600_bfff);
        RSCCTL = rx(0x0102c).bits(0xf);
        RQSMR = reg(0x02300).array(32, 4).bits(0x0f0f_0f0f);
        RDRXCTL = config(0x02f00).reset(8).bits(0x3fff_00ff).gives(|card, _| card.dma_state());
        RXDSTATCTRL = reg(0x02f40);
        RSCDBU = reg(0x03028).bits(0xff);
        RXCTRL = config(0x03000).bits(3);
        RXPBSIZE = reg(0x03c00).array(8, 4).reset(0x80000).bits(0x000f_fc00);
        DROPEN = reg(0x03d04);
    }
    // Transmit.
    "§8.2.3.9" {
        TDBAL = tx(0x06000).bits(0xffff_ff80).then(|card, place, _| card.tx_base_written(place.n));
        TDBAH = tx(0x06004).bits(!0).then(|card, place, _| card.tx_base_written(place.n));
        TDLEN = tx(0x06008).bits(0x000f_ff80).then(|card, place, _| card.tx_base_written(place.n));
        DCA_TXCTRL = tx(0x0600c).bits(0xffff_ffe0);
        TDH = tx(0x06010).bits(0xffff)
            .gives(|card, place| card.tx_head(place.n))
            .then(|card, place, head| card.tx_head_written(place.n, head));
        TDT = tx(0x06018).bits(0xffff);
        TXDCTL = tx(0x06028).bits(0x067f_7f7f);
        TDWBAL = tx(0x06038).bits(0xffff_fffd);
        TDWBAH = tx(0x0603c).bits(!0);
        DMATXCTL = config(0x04a80).reset(0x8100_0000).bits(0xffff_007f);
        DTXMXSZRQ = reg(0x08100).bits(0xfff);
        DTXTCPFLGL = config(0x04a88).reset(0x0ff6_0ff6).bits(0x0fff_0fff);
        DTXTCPFLGH = config(0x04a8c).reset(0xf7f).bits(0xfff);
        MTQC = reg(0x08120).bits(0xf);
        TXPBTHRESH = reg(0x04950).array(8, 4).bits(0x3ff);
        TXPBSIZE = reg(0x0cc00).array(8, 4).bits(0x000f_fc00);
        TIPG = reg(0x0cb00);
        TQSM = reg(0x08600).array(32, 4).bits(0x0f0f_0f0f);
    }
    // DCB.
    "§8.2.3.10" {
        RTTDCS = reg(0x04900).bits(0xffff_007f);
        RTTDQSEL = reg(0x04904).bits(0x7f);
        RTTDT1C = reg(0x04908).bits(0x3fff);
        RTTDT2C = reg(0x04910).array(8, 4).bits(0xc0ff_ffff);
        RTTPT2C = reg(0x0cd20).array(8, 4).bits(0xc0ff_ffff);
        RTTPCS = reg(0x0cd00);
        RTTUP2TC = reg(0x0c800).bits(0x00ff_ffff);
        RTRUP2TC = reg(0x03020).bits(0x00ff_ffff);
        RTRPCS = reg(0x02430);
        RTRPT4C = reg(0x02140).array(8, 4).bits(0xc0ff_ffff);
        RTTBCNRM = reg(0x04980).bits(0x7ff);
        RTTBCNRC = reg(0x04984).bits(0x80ff_ffff).gives(|card, _| card.read_rate()).takes(|card, _, rate| card.write_rate(rate));
    }
    // Security blocks.
    "§8.2.3.12" {
        SECRXCTRL = config(0x08d00).bits(3);
        SECRXSTAT = R::new(0x08d04, Ro).reset(1);
        SECTXCTRL = config(0x08800).bits(7);
        SECTXSTAT = R::new(0x08804, Ro).reset(1);
        SECTXBUFFAF = reg(0x08808).bits(0x3ff);
        SECTXMINIFG = reg(0x08810).bits(0x1fff);
    }
    // Flow director.
    "§7.1.2.7" {
        FDIRCTRL = reg(0x0ee00).bits(0xffff_ffbb).then(|card, _, _| card.fdir_control());
        FDIRSIPV6("FDIRSIPv6") = reg(0x0ee0c).array(3, 4).bits(!0);
        FDIRIPSA = reg(0x0ee18).bits(!0);
        FDIRIPDA = reg(0x0ee1c).bits(!0);
        FDIRPORT = reg(0x0ee20).bits(!0);
        FDIRVLAN = reg(0x0ee24).bits(!0);
        FDIRHASH = reg(0x0ee28).bits(!0);
        FDIRCMD = reg(0x0ee2c).bits(0x3fff_ffff).then(|card, _, _| card.fdir_command());
        FDIRFREE = stat(0x0ee38);
        FDIRDIP4M = reg(0x0ee3c).bits(!0);
        FDIRSIP4M = reg(0x0ee40).bits(!0);
        FDIRTCPM = reg(0x0ee44).bits(!0);
        FDIRUDPM = reg(0x0ee48).bits(!0);
        FDIRLEN = stat(0x0ee4c);
        FDIRUSTAT = stat(0x0ee50);
        FDIRFSTAT = stat(0x0ee54);
        FDIRMATCH = stat(0x0ee58);
        FDIRMISS = stat(0x0ee5c);
        FDIRHKEY = reg(0x0ee68).bits(!0);
        FDIRSKEY = reg(0x0ee6c).bits(!0);
        FDIRM = reg(0x0ee70).bits(0x7f);
        FDIRIP6M = reg(0x0ee74).bits(!0);
        FDIRSCTPM = reg(0x0ee78).bits(!0);
    }
    // MAC and link.
    "§8.2.3.22" {
        CORECTL = reg(0x14f00).bits(!0);
        PCS1GLCTL = reg(0x04208);
        PCS1GLSTA = reg(0x0420c);
        PCS1GANA = reg(0x04218);
        PCS1GANLP = reg(0x0421c);
        HLREG0 = config(0x04240).reset(0x403).bits(0x18f3_8c07);
        HLREG1 = reg(0x04244);
        PAP = reg(0x04248).bits(0xffff);
        MSCA = reg(0x0425c).bits(!0).takes(|card, _, value| card.write_msca(value));
        MSRWD = reg(0x04260).bits(!0);
        MAXFRS = config(0x04268).reset(0x05ee_0000).bits(0xffff_0000);
        MFLCN = config(0x04294).bits(0xfff);
        AUTOC = reg(0x042a0).reset(0x6000).bits(!0).until(Link).then(|card, _, _| card.autoc_written());
        LINKS = R::new(0x042a4, Ro).until(Link).gives(|card, _| card.read_links());
        // Drivers write back what they read, with the serial kind of 10 Gbit/s and
        // the link-disable bits changed.
        AUTOC2 = reg(0x042a8).reset(2 << 16).bits(0x7007_0000).until(Link).then(|card, _, _| card.poll_link());
        ANLP1 = reg(0x042b0).reset(0x0001_0c00).until(Power);
        ANLP2 = reg(0x042b4);
        MMNGC = reg(0x042d0).until(Power);
        LINKS2 = reg(0x04324);
        MACC = reg(0x04330).bits(0x0007_0003).until(Link).then(|card, _, _| card.poll_link());
        MACS = reg(0x0429c);
        EEER = reg(0x043a0);
        EEE_SU = reg(0x04380);
        EEE_STAT = reg(0x04398);
    }
    // Flow control.
    "§8.2.3.3" {
        FCTTV = reg(0x03200).array(4, 4).bits(!0);
        // Linux tests bit 4 too.
        FCRTL = reg(0x03220).array(8, 4).bits(0x8007_fff0);
        // Where flow control is off, drivers write RXPBSIZE - 24 KiB, of empty buffers too.
        FCRTH = reg(0x03260).array(8, 4).bits(!0);
        FCRTV = reg(0x032a0).bits(0xffff);
        FCCFG = reg(0x03d00).bits(0x18);
        TFCS = reg(0x0ce00);
        PFCTOP = reg(0x03008);
    }
    // Wake-up, management.
    "§8.2.3.24" {
        MANC = reg(0x05820);
        WUC = reg(0x05800);
        WUFC = reg(0x05808);
        WUS = R::new(0x05810, W1c).until(Power);
        IPAV = reg(0x05838);
        LPLU = reg(0x05860);
    }
    // IEEE 1588.
    "§7.9" {
        TSYNCRXCTL = config(0x05188).bits(0xff80_003f);
        RXSTMPL = R::new(0x051e8, Ro);
        RXSTMPH = R::new(0x051a4, Ro).gives(|card, _| card.take_stamp(RX_STAMP));
        RXSATRL = reg(0x051a0);
        RXSATRH = reg(0x051a8);
        RXMTRL = reg(0x05120).bits(!0);
        TSYNCTXCTL = config(0x08c00).bits(0x3f);
        TXSTMPL = R::new(0x08c04, Ro);
        TXSTMPH = R::new(0x08c08, Ro).gives(|card, _| card.take_stamp(TX_STAMP));
        SYSTIML = reg(0x08c0c).bits(!0).gives(|card, _| card.read_systiml());
        SYSTIMH = reg(0x08c10).bits(!0).gives(|card, _| card.read_systimh()).then(|card, _, high| card.set_clock(high));
        TIMINCA = reg(0x08c14).bits(!0).then(|card, _, rate| card.set_rate(rate));
        TIMADJL = reg(0x08c18).bits(!0);
        TIMADJH = reg(0x08c1c).bits(!0);
        TSAUXC = reg(0x08c20).bits(!0);
        TRGTTIML = reg(0x08c24).array(4, 4).bits(!0);
        CLKTIM = reg(0x08c34).array(2, 4);
        AUXSTMP = reg(0x08c3c).array(4, 4);
        SYSTIMR = reg(0x08c58).bits(!0).gives(|card, _| card.read_systimr());
        TSICR = reg(0x08c60);
        TSIM = reg(0x08c68);
    }
    // Virtualization.
    "§7.10" {
        PFDTXGSWC = config(0x08220).bits(1);
        VT_CTL = config(0x051b0).bits(0xe000_1f81);
        VFRE = reg(0x051e0).array(2, 4).bits(!0);
        VFTE = reg(0x08110).array(2, 4).bits(!0);
        VMOLR = reg(0x0f000).array(64, 4).bits(0x1fc0_0000);
        VLVF = reg(0x0f100).array(64, 4).bits(0x8000_0fff);
        VLVFB = reg(0x0f200).array(128, 4).bits(!0);
        MRCTL = reg(0x0f600).array(4, 4).bits(0x1f0f);
        VMRVLAN = reg(0x0f610).array(8, 4).bits(!0);
        VMRVM = reg(0x0f630).array(8, 4).bits(!0);
        VMVIR = reg(0x08000).array(64, 4).bits(0xc000_ffff);
        VMECM = reg(0x08790).array(2, 4);
        VMTXSW = reg(0x05180).array(2, 4);
        PFVFSPOOF = reg(0x08200).array(8, 4).bits(0x00ff_ffff);
        PFVML2FLTNS = reg(0x050b0).array(4, 4);
        LLITHRESH = reg(0x0ec90);
        PFMAILBOX = reg(0x04b00).array(64, 4).bits(0x1f);
        PFMBMEM = reg(0x13000).array(1024, 4).bits(!0);
        PFMBICR = R::new(0x00710, W1c).array(4, 4);
        PFMBIMR = reg(0x00720).array(2, 4).bits(!0);
        PFVFLREC = R::new(0x00700, W1c).array(2, 4);
        PFVFLRE = reg(0x00600).array(2, 4);
        PFVFLRE_ODD = reg(0x001c0);
    }
    // Firmware, IPsec, FCoE, MACsec.
    "§8.2.3" {
        FLEX_MNG = reg(0x15800).array(448, 4).bits(!0);
        HICR = reg(0x15f00).bits(0xc7).until(Power)
            .gives(|card, _| card.read_hicr())
            .then(|card, _, _| card.host_command());
        FWSTS = reg(0x15f0c).bits(1 << 9);
        IPSTXIDX = reg(0x08900).bits(0xc000_1fff);
        IPSTXSALT = reg(0x08904).bits(!0);
        IPSTXKEY = reg(0x08908).array(4, 4).bits(!0);
        IPSRXIDX = reg(0x08e00).bits(0xc000_1fff);
        IPSRXIPADDR = reg(0x08e04).array(4, 4).bits(!0);
        IPSRXSPI = reg(0x08e14).bits(!0);
        IPSRXIPIDX = reg(0x08e18).bits(0x7f);
        IPSRXKEY = reg(0x08e1c).array(4, 4).bits(!0);
        IPSRXSALT = reg(0x08e2c).bits(!0);
        IPSRXMOD = reg(0x08e30).bits(0x1f);
        FCOE = reg(0x05100);
        FCRXCTRL = reg(0x05108).array(2, 4);
        FCBUFF = reg(0x02418);
        FCPTRL = reg(0x02410).array(2, 4);
        FCDMARW = reg(0x02420);
        REOFF = reg(0x05158);
        TEOFF = reg(0x04a94);
        TSOFF = reg(0x04a98);
        RSOFF = reg(0x051f8);
        FCDDC = reg(0x0241c);
        FCRECTL = reg(0x0ed00).bits(1);
        FCRETA = reg(0x0ed10).array(8, 4).bits(0x007f_007f);
        LSECTXUT = stat(0x08a3c);
        LSECTXPKTE = stat(0x08a40);
        LSECTXPKTP = stat(0x08a44);
        LSECTXOCTE = stat(0x08a48);
        LSECTXOCTP = stat(0x08a4c);
        LSECRXUT = stat(0x08f40);
        LSECRXOCTE = stat(0x08f44);
        LSECRXOCTP = stat(0x08f48);
        LSECRXBAD = stat(0x08f4c);
        LSECRXNOSCI = stat(0x08f50);
        LSECRXUNSCI = stat(0x08f54);
        LSECRXUNCH = stat(0x08f58);
        LSECRXDELAY = stat(0x08f5c);
        LSECRXLATE = stat(0x08f60);
        LSECRXOK = stat(0x08f64).array(2, 4);
        LSECRXINV = stat(0x08f6c).array(2, 4);
        LSECRXNV = stat(0x08f74).array(2, 4);
        LSECRXUNSA = stat(0x08f7c);
        LSECRXNUSA = stat(0x08f80);
        FCCRC = stat(0x05118);
        FCLAST = stat(0x02424);
        FCOEPRC = stat(0x02428);
        FCOEDWRC = stat(0x0242c);
        FCOEPTC = stat(0x08784);
        FCOEDWTC = stat(0x08788);
    }
    // Statistics.
    "§8.2.3.23" {
        CRCERRS = stat(0x04000);
        ILLERRC = stat(0x04004);
        ERRBC = stat(0x04008);
        MSPDC = stat(0x04010);
        MPC = stat(0x03fa0).array(8, 4);
        MLFC = stat(0x04034);
        MRFC = stat(0x04038);
        RLEC = stat(0x04040);
        LXONTXC = stat(0x03f60);
        LXONRXC = stat(0x0cf60);
        LXOFFTXC = stat(0x03f68);
        LXOFFRXC = stat(0x0cf68);
        LXONRXCNT = stat(0x041a4);
        LXOFFRXCNT = stat(0x041a8);
        PXONTXC = stat(0x03f00).array(8, 4);
        PXOFFTXC = stat(0x03f20).array(8, 4);
        PXONRXCNT = stat(0x04140).array(8, 4);
        PXOFFRXCNT = stat(0x04160).array(8, 4);
        PXON2OFFCNT = stat(0x03240).array(8, 4);
        PRC64 = stat(0x0405c);
        PRC127 = stat(0x04060);
        PRC255 = stat(0x04064);
        PRC511 = stat(0x04068);
        PRC1023 = stat(0x0406c);
        PRC1522 = stat(0x04070);
        GPRC = stat(0x04074);
        BPRC = stat(0x04078);
        MPRC = stat(0x0407c);
        GPTC = stat(0x04080);
        GORCL = stat(0x04088);
        GORCH = stat(0x0408c);
        GOTCL = stat(0x04090);
        GOTCH = stat(0x04094);
        RNBC = stat(0x03fc0).array(8, 4);
        RUC = stat(0x040a4);
        RFC = stat(0x040a8);
        ROC = stat(0x040ac);
        RJC = stat(0x040b0);
        MNGPRC = stat(0x040b4);
        MNGPDC = stat(0x040b8);
        MNGPTC = stat(0x0cf90);
        TORL = stat(0x040c0);
        TORH = stat(0x040c4);
        TPR = stat(0x040d0);
        TPT = stat(0x040d4);
        PTC64 = stat(0x040d8);
        PTC127 = stat(0x040dc);
        PTC255 = stat(0x040e0);
        PTC511 = stat(0x040e4);
        PTC1023 = stat(0x040e8);
        PTC1522 = stat(0x040ec);
        MPTC = stat(0x040f0);
        BPTC = stat(0x040f4);
        XEC = stat(0x04120);
        SSVPC = stat(0x08780);
        QPRC = stat(0x01030).array(16, 0x40);
        QBRC_L = stat(0x01034).array(16, 0x40);
        QBRC_H = stat(0x01038).array(16, 0x40);
        QPRDC = stat(0x01430).array(16, 0x40);
        QPTC = stat(0x08680).array(16, 4).also(0x06030, 16, 0x40);
        QBTC_L = stat(0x08700).array(16, 8);
        QBTC_H = stat(0x08704).array(16, 8);
        RXDGPC = stat(0x02f50);
        RXDGBCL = stat(0x02f54);
        RXDGBCH = stat(0x02f58);
        RXDDPC = stat(0x02f5c);
        RXDDBCL = stat(0x02f60);
        RXDDBCH = stat(0x02f64);
        RXLPBKPC = stat(0x02f68);
        RXLPBKBCL = stat(0x02f6c);
        RXLPBKBCH = stat(0x02f70);
        RXDLPBKPC = stat(0x02f74);
        RXDLPBKBCL = stat(0x02f78);
        RXDLPBKBCH = stat(0x02f7c);
        TXDGPC = stat(0x087a0);
        TXDGBCL = stat(0x087a4);
        TXDGBCH = stat(0x087a8);
        B2OSPC = stat(0x041c0);
        B2OGPRC = stat(0x02f90);
        O2BGPTC = stat(0x041c4);
        O2BSPC = stat(0x087b0);
        BUPRC = stat(0x04180);
        BMPRC = stat(0x04184);
        BBPRC = stat(0x04188);
        BUPTC = stat(0x0418c);
        BMPTC = stat(0x04190);
        BBPTC = stat(0x04194);
        BCRCERRS = stat(0x04198);
        BXONRXC = stat(0x0419c);
        BXOFFRXC = stat(0x041e0);
        BXONTXC = stat(0x041e4);
        BXOFFTXC = stat(0x041e8);
    }
}
