//! Registers of the 82599 family, the ones this driver uses.
//!
//! Offsets and sections are those of the 82599 datasheet (331520), which the
//! X540 and X550 datasheets repeat. Arrays that have an address from the 82598
//! for their first sixteen entries are used at that address, which is where all
//! drivers have always written them.

pub use crate::driver::regs::Reg;
use crate::driver::regs::{bits, registers};

/// Bytes of BAR 0 that hold every register declared here.
pub const BAR_LEN: u64 = 0x20000;

registers! {
    // ---- General (§8.2.3.1) ----

    /// Device control.
    CTRL = 0x00000;
    /// Device status.
    STATUS = 0x00008;
    /// Extended device control.
    CTRL_EXT = 0x00018;
    /// Software-definable pins: the wires to the SFP+ cage.
    ESDP = 0x00020;
    /// The I2C bus to the SFP+ module, bit by bit.
    I2CCTL = 0x00028;

    // ---- EEPROM and semaphores (§8.2.3.2, §10.5.4) ----

    /// EEPROM control.
    EEC = 0x10010;
    /// EEPROM read.
    EERD = 0x10014;
    /// Software semaphore: between the two functions, and with firmware.
    SWSM = 0x10140;
    /// Software-firmware synchronisation: who uses which shared resource.
    GSSR = 0x10160;

    // ---- Interrupts (§8.2.3.5) ----

    /// Causes; reading clears.
    EICR = 0x00800;
    /// Causes cleared when their MSI-X message is sent.
    EIAC = 0x00810;
    /// Throttling of a vector.
    EITR[16] = 0x00820 + 4;
    /// Mask set: 1 enables.
    EIMS = 0x00880;
    /// Mask clear: 1 disables.
    EIMC = 0x00888;
    /// Causes masked when their message is sent.
    EIAM = 0x00890;
    /// General purpose interrupt enable.
    GPIE = 0x00898;
    /// Which vector a queue interrupts: four bytes, receive and transmit of two queues.
    IVAR[64] = 0x00900 + 4;

    // ---- Receive (§8.2.3.8) ----

    /// Ring base, low.
    RDBAL[64] = 0x01000 + 0x40;
    /// Ring base, high.
    RDBAH[64] = 0x01004 + 0x40;
    /// Ring length in bytes.
    RDLEN[64] = 0x01008 + 0x40;
    /// Head: the next descriptor that the card will use.
    RDH[64] = 0x01010 + 0x40;
    /// Tail: the first descriptor that the card may not use.
    RDT[64] = 0x01018 + 0x40;
    /// Descriptor control.
    RXDCTL[64] = 0x01028 + 0x40;
    /// Receive-side coalescing.
    RSCCTL[64] = 0x0102c + 0x40;
    /// Split and replication: buffer size, descriptor type.
    SRRCTL[16] = 0x02100 + 4;
    /// Cache hints; one bit of it spoils packets unless cleared.
    DCA_RXCTRL[16] = 0x02200 + 4;
    /// Which counter set a receive queue uses: four queues a register.
    RQSMR[32] = 0x02300 + 4;
    /// Receive DMA control.
    RDRXCTL = 0x02f00;
    /// Receive control.
    RXCTRL = 0x03000;
    /// Receive packet buffer of a traffic class, in bytes.
    RXPBSIZE[8] = 0x03c00 + 4;
    /// Receive checksum control.
    RXCSUM = 0x05000;
    /// Receive filter control.
    RFCTL = 0x05008;
    /// Filter control: broadcast, promiscuous.
    FCTRL = 0x05080;
    /// VLAN control.
    VLNCTRL = 0x05088;
    /// Multicast control.
    MCSTCTRL = 0x05090;
    /// Multicast table: 4096 hash buckets.
    MTA[128] = 0x05200 + 4;
    /// Unicast table.
    UTA[128] = 0x0f400 + 4;
    /// VLAN filter table.
    VFTA[128] = 0x0a000 + 4;
    /// Receive address, low: bytes 0 to 3.
    RAL[128] = 0x0a200 + 8;
    /// Receive address, high: bytes 4 and 5, and whether it is valid.
    RAH[128] = 0x0a204 + 8;
    /// Pools of a receive address, low.
    MPSAR_LO[128] = 0x0a600 + 8;
    /// Pools of a receive address, high.
    MPSAR_HI[128] = 0x0a604 + 8;
    /// Security engine on receive: stops the path while RXEN changes.
    SECRXCTRL = 0x08d00;
    /// Whether the receive path is empty.
    SECRXSTAT = 0x08d04;

    // ---- Which queue a packet goes to (§7.1.2, §8.2.3.7) ----

    /// Multiple receive queues command.
    MRQC = 0x05818;
    /// Redirection table, four entries a register.
    RETA[32] = 0x05c00 + 4;
    /// Redirection table of the X550, entries 128 to 511.
    ERETA[96] = 0x0ee80 + 4;
    /// Toeplitz key.
    RSSRK[10] = 0x05c80 + 4;
    /// 5-tuple filter: source address.
    SAQF[128] = 0x0e000 + 4;
    /// 5-tuple filter: destination address.
    DAQF[128] = 0x0e200 + 4;
    /// 5-tuple filter: ports.
    SDPQF[128] = 0x0e400 + 4;
    /// 5-tuple filter: protocol, what to compare, enable.
    FTQF[128] = 0x0e600 + 4;
    /// 5-tuple filter: queue.
    L34TIMIR[128] = 0x0e800 + 4;

    // ---- Transmit (§8.2.3.9) ----

    /// Ring base, low.
    TDBAL[128] = 0x06000 + 0x40;
    /// Ring base, high.
    TDBAH[128] = 0x06004 + 0x40;
    /// Ring length in bytes.
    TDLEN[128] = 0x06008 + 0x40;
    /// Cache hints.
    DCA_TXCTRL[128] = 0x0600c + 0x40;
    /// Head.
    TDH[128] = 0x06010 + 0x40;
    /// Tail.
    TDT[128] = 0x06018 + 0x40;
    /// Descriptor control.
    TXDCTL[128] = 0x06028 + 0x40;
    /// Head write-back address, low; bit 0 enables.
    TDWBAL[128] = 0x06038 + 0x40;
    /// Transmit DMA control.
    DMATXCTL = 0x04a80;
    /// Arbiter control.
    RTTDCS = 0x04900;
    /// Queue that the next register speaks of.
    RTTDQSEL = 0x04904;
    /// Rate limit of the selected queue.
    RTTBCNRC = 0x04984;
    /// Packet buffer threshold.
    TXPBTHRESH[8] = 0x04950 + 4;
    /// Most bytes requested at once.
    DTXMXSZRQ = 0x08100;
    /// Multiple transmit queues command.
    MTQC = 0x08120;
    /// Transmit packet buffer of a traffic class, in bytes.
    TXPBSIZE[8] = 0x0cc00 + 4;

    // ---- MAC, link, flow control (§8.2.3.22) ----

    /// MAC core control.
    HLREG0 = 0x04240;
    /// MDIO command.
    MSCA = 0x0425c;
    /// MDIO data: written below, read above.
    MSRWD = 0x04260;
    /// Longest frame, in the upper half, with FCS.
    MAXFRS = 0x04268;
    /// Flow control of the MAC.
    MFLCN = 0x04294;
    /// Link mode and auto-negotiation.
    AUTOC = 0x042a0;
    /// Link state.
    LINKS = 0x042a4;
    /// Link mode, second.
    AUTOC2 = 0x042a8;
    /// Auto-negotiation link partner, and the state of the machine.
    ANLP1 = 0x042b0;
    /// MAC control of the X540 and X550.
    MACC = 0x04330;
    /// Where the words of a module's init list are written.
    CORECTL = 0x14f00;
    /// Flow control low threshold.
    FCRTL[8] = 0x03220 + 4;
    /// Flow control high threshold.
    FCRTH[8] = 0x03260 + 4;
    /// Transmit flow control.
    FCCFG = 0x03d00;

    // ---- Time (§8.2.3.25) ----

    /// Receive timestamps.
    TSYNCRXCTL = 0x05188;
    /// Clock, fraction (X550).
    SYSTIMR = 0x08c58;
    /// Clock, low: nanoseconds (X550).
    SYSTIML = 0x08c0c;
    /// Clock, high: seconds (X550).
    SYSTIMH = 0x08c10;
    /// Clock increment.
    TIMINCA = 0x08c14;
    /// Auxiliary control: bit 31 stops the clock.
    TSAUXC = 0x08c20;

    // ---- Statistics, cleared by reading (§8.2.3.23) ----

    /// Frames with a wrong FCS.
    CRCERRS = 0x04000;
    /// Frames whose length field lies.
    RLEC = 0x04040;
    /// Frames lost because the packet buffer was full.
    MPC[8] = 0x03fa0 + 4;
    /// Good frames sent.
    GPTC = 0x04080;
    /// Bytes of good frames sent with FCS, low.
    GOTCL = 0x04090;
    /// Bytes of good frames sent with FCS, high 4 bits.
    GOTCH = 0x04094;
    /// Frames below 64 bytes with a good FCS.
    RUC = 0x040a4;
    /// Frames below 64 bytes with a bad FCS.
    RFC = 0x040a8;
    /// Frames above the maximum.
    ROC = 0x040ac;
    /// Frames above the maximum with a bad FCS.
    RJC = 0x040b0;
    /// Frames received into a queue.
    QPRC[16] = 0x01030 + 0x40;
    /// Bytes received into a queue, low.
    QBRCL[16] = 0x01034 + 0x40;
    /// Bytes received into a queue, high 4 bits.
    QBRCH[16] = 0x01038 + 0x40;
    /// Frames lost because a queue had no descriptor.
    QPRDC[16] = 0x01430 + 0x40;
}

bits! {
    /// Device control.
    ctrl {
        /// Stop issuing requests on PCIe.
        GIO_DIS = 1 << 2;
        /// Reset of the link and the MAC.
        LNK_RST = 1 << 3;
        /// Reset of the function.
        RST = 1 << 26;
    }
    /// Device status.
    status {
        /// Port of the card: 0 or 1.
        LAN_ID = 0b11 << 2;
        /// Requests may be on their way over PCIe.
        GIO = 1 << 19;
    }
    /// Extended device control.
    ctrl_ext {
        /// No PCIe no-snoop requests.
        NS_DIS = 1 << 16;
        /// A driver owns the port.
        DRV_LOAD = 1 << 28;
    }
    /// SFP+ pins.
    esdp {
        /// Module present.
        SDP2 = 1 << 2;
        /// Laser off.
        SDP3 = 1 << 3;
        /// Rate: 1 is 10 Gbit/s.
        SDP5 = 1 << 5;
        /// SDP3 is an output.
        SDP3_DIR = 1 << 11;
        /// SDP5 is an output.
        SDP5_DIR = 1 << 13;
    }
    /// I2C bus.
    i2cctl {
        /// Clock as seen.
        CLK_IN = 1 << 0;
        /// Clock as driven.
        CLK_OUT = 1 << 1;
        /// Data as seen.
        DATA_IN = 1 << 2;
        /// Data as driven.
        DATA_OUT = 1 << 3;
    }
    /// EEPROM control.
    eec {
        /// What the EEPROM holds has been read after reset.
        ARD = 1 << 9;
    }
    /// EEPROM read.
    eerd {
        /// Begin.
        START = 1 << 0;
        /// Done.
        DONE = 1 << 1;
    }
    /// Software semaphore.
    swsm {
        /// Reading it as 0 takes it.
        SMBI = 1 << 0;
        /// Sticks if the firmware does not hold it.
        SWESMBI = 1 << 1;
    }
    /// Shared resources. The firmware's bit is five above ours.
    gssr {
        /// PHY or I2C bus of port 0; the next bit is port 1's.
        PHY0 = 1 << 1;
        /// MAC configuration.
        MAC_CSR = 1 << 3;
        /// A second lock on this register (X540, X550).
        REGSMP = 1 << 31;
    }
    /// General purpose interrupt enable.
    gpie {
        /// MSI-X with one vector a queue.
        MSIX_MODE = 1 << 4;
        /// EIAM applies when a message is sent.
        EIAME = 1 << 30;
        /// The pending bits are those of the MSI-X table.
        PBA_SUPPORT = 1 << 31;
    }
    /// Interrupt vector of a queue, in its byte of IVAR.
    ivar {
        /// The byte counts.
        VALID = 0x80;
    }
    /// Queue enable, in RXDCTL and TXDCTL alike.
    xdctl {
        /// On.
        ENABLE = 1 << 25;
        /// Take VLAN tags out (receive).
        VME = 1 << 30;
    }
    /// Split and replication.
    srrctl {
        /// Buffers of 2 KiB, in its unit of 1 KiB.
        BSIZEPKT_2K = 2;
        /// Advanced descriptors, one buffer each.
        ADVANCED_ONE_BUFFER = 1 << 25;
        /// Drop a frame when the ring is empty instead of holding up the others.
        DROP_EN = 1 << 28;
    }
    /// Receive DMA control.
    rdrxctl {
        /// Strip the FCS.
        CRCSTRIP = 1 << 1;
        /// DMA is ready after reset.
        DMAIDONE = 1 << 3;
        /// First coalesced size: 0 when not coalescing.
        RSCFRSTSIZE = 0x1f << 17;
        /// Must be set.
        RSCACKC = 1 << 25;
        /// Must be set.
        FCOE_WRFIX = 1 << 26;
    }
    /// Receive control.
    rxctrl {
        /// On.
        RXEN = 1 << 0;
    }
    /// Receive checksum control.
    rxcsum {
        /// The descriptor carries the RSS hash, not a raw checksum.
        PCSD = 1 << 13;
    }
    /// Receive filter control.
    rfctl {
        /// No coalescing.
        RSC_DIS = 1 << 5;
    }
    /// Filter control.
    fctrl {
        /// All multicast.
        MPE = 1 << 8;
        /// All unicast.
        UPE = 1 << 9;
        /// Broadcast.
        BAM = 1 << 10;
    }
    /// VLAN control.
    vlnctrl {
        /// Filter by VLAN.
        VFE = 1 << 30;
    }
    /// Multicast control.
    mcstctrl {
        /// Use the table, on address bits 47:36.
        MFE = 1 << 2;
    }
    /// Receive address.
    rah {
        /// Valid.
        AV = 1 << 31;
    }
    /// Security engine on receive.
    secrx {
        /// Stop the path.
        RX_DIS = 1 << 1;
        /// It is empty (in SECRXSTAT).
        RDY = 1 << 0;
    }
    /// Multiple receive queues.
    mrqc {
        /// RSS.
        RSSEN = 1;
        /// Hash IPv4 with TCP ports.
        IPV4_TCP = 1 << 16;
        /// Hash IPv4.
        IPV4 = 1 << 17;
        /// Hash IPv6.
        IPV6 = 1 << 20;
        /// Hash IPv6 with TCP ports.
        IPV6_TCP = 1 << 21;
        /// Hash IPv4 with UDP ports.
        IPV4_UDP = 1 << 22;
        /// Hash IPv6 with UDP ports.
        IPV6_UDP = 1 << 23;
    }
    /// 5-tuple filter.
    ftqf {
        /// TCP.
        TCP = 0;
        /// UDP.
        UDP = 1;
        /// SCTP.
        SCTP = 2;
        /// Highest priority.
        PRIORITY_7 = 7 << 2;
        /// Do not compare the source address.
        ANY_SOURCE = 1 << 25;
        /// Do not compare the destination address.
        ANY_DESTINATION = 1 << 26;
        /// Do not compare the source port.
        ANY_SOURCE_PORT = 1 << 27;
        /// Do not compare the destination port.
        ANY_DESTINATION_PORT = 1 << 28;
        /// Do not compare the pool.
        ANY_POOL = 1 << 30;
        /// On.
        ENABLE = 1 << 31;
    }
    /// 5-tuple filter's queue.
    l34timir {
        /// Required constant of bits 19:13.
        RESERVED = 0x0008_0000;
        /// Where the queue starts.
        QUEUE_SHIFT = 21;
    }
    /// Cache hints of a queue.
    dca {
        /// Receive: spoils packets if set.
        RX_BIT12 = 1 << 12;
        /// Receive: relaxed ordering of data writes.
        RX_DATA_WRO = 1 << 13;
        /// Receive: relaxed ordering of header writes.
        RX_HEAD_WRO = 1 << 15;
        /// Transmit: relaxed ordering of write-backs.
        TX_DESC_WRO = 1 << 11;
    }
    /// Transmit DMA.
    dmatxctl {
        /// On.
        TE = 1 << 0;
    }
    /// Arbiter.
    rttdcs {
        /// Off while MTQC changes.
        ARBDIS = 1 << 6;
    }
    /// MAC core.
    hlreg0 {
        /// Append the FCS.
        TXCRCEN = 1 << 0;
        /// Strip the FCS.
        RXCRCSTRP = 1 << 1;
        /// Frames above 1518 bytes.
        JUMBOEN = 1 << 2;
        /// Pad to 60 bytes.
        TXPADEN = 1 << 10;
        /// Send to ourselves.
        LPBK = 1 << 15;
    }
    /// Flow control of the MAC.
    mflcn {
        /// Discard pause frames.
        DPF = 1 << 1;
    }
    /// Link mode.
    autoc {
        /// Force the link up.
        FLU = 1 << 0;
        /// Negotiate anew; clears itself.
        AN_RESTART = 1 << 12;
        /// Link mode select.
        LMS = 0b111 << 13;
        /// 10 Gbit/s without negotiation.
        LMS_10G_NO_AN = 1 << 13;
        /// 10 Gbit/s serial: SFI.
        LMS_10G_SERIAL = 3 << 13;
        /// Its highest bit, toggled by a pipeline reset.
        LMS_HIGH = 1 << 15;
    }
    /// Link mode, second.
    autoc2 {
        /// Keep the link down.
        LINK_DISABLE = 0b111 << 28;
        /// Serial PMA.
        PMA_10G_SERIAL = 0b11 << 16;
        /// SFI.
        PMA_10G_SFI = 2 << 16;
    }
    /// Link partner.
    anlp1 {
        /// State of auto-negotiation: 0 while reset.
        AN_STATE = 0xf << 16;
    }
    /// MAC control.
    macc {
        /// Force the link up.
        FLU = 1 << 0;
        /// Forced speed is 10 Gbit/s.
        FSV_10G = 0b11 << 16;
        /// Force the speed.
        FS = 1 << 18;
    }
    /// Link state.
    links {
        /// Up; latched low.
        UP = 1 << 30;
        /// Speed.
        SPEED = 0b11 << 28;
        /// Not the speed named but its NBASE-T neighbour (X550).
        NON_STD = 1 << 27;
    }
    /// MDIO.
    msca {
        /// Start; clears itself.
        COMMAND = 1 << 30;
        /// Address cycle.
        ADDRESS = 0 << 26;
        /// Write.
        WRITE = 1 << 26;
        /// Read.
        READ = 3 << 26;
    }
    /// Receive timestamps.
    tsyncrxctl {
        /// On.
        EN = 1 << 4;
        /// Every packet (X550).
        TYPE_ALL = 4 << 1;
        /// In the packet (X550).
        TSIP_UT_EN = 1 << 23;
        /// For every user priority (X550).
        TSIP_UP = 0xff << 24;
    }
    /// Clock.
    tsauxc {
        /// Stop it.
        DISABLE_SYSTIME = 1 << 31;
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
        assert_eq!(RDT.at(63).offset, 0x1fd8);
        assert_eq!(TDT.at(127).offset, 0x7fd8);
        assert_eq!(RAH.at(127).offset, 0xa5fc);
        assert_eq!(IVAR.at(63).offset, 0x9fc);
        assert_eq!(MTA.all().count(), 128);
    }
}
