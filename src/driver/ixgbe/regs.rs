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

    CTRL     = 0x00000, "Device control.";
    STATUS   = 0x00008, "Device status.";
    GCR_EXT  = 0x11050, "PCIe control, extended.";
    CTRL_EXT = 0x00018, "Extended device control.";
    ESDP     = 0x00020, "Software-definable pins: the wires to the SFP+ cage.";
    I2CCTL   = 0x00028, "The I2C bus to the SFP+ module, bit by bit.";

    // ---- EEPROM and semaphores (§8.2.3.2, §10.5.4) ----

    EEC  = 0x10010, "EEPROM control.";
    EERD = 0x10014, "EEPROM read.";
    SWSM = 0x10140, "Software semaphore: between the two functions, and with firmware.";
    GSSR = 0x10160, "Software-firmware synchronisation: who uses which shared resource.";

    // ---- Commands to the firmware (X550) ----

    FLEX_MNG[448] = 0x15800 + 4, "A command, and its answer.";
    HICR          = 0x15f00,     "Host interface control.";
    FWSTS         = 0x15f0c,     "State of the firmware.";

    // ---- Interrupts (§8.2.3.5) ----

    EICR     = 0x00800,     "Causes; reading clears.";
    EIAC     = 0x00810,     "Causes cleared when their MSI-X message is sent.";
    EITR[16] = 0x00820 + 4, "Throttling of a vector.";
    EIMS     = 0x00880,     "Mask set: 1 enables.";
    EIMC     = 0x00888,     "Mask clear: 1 disables.";
    EIAM     = 0x00890,     "Causes masked when their message is sent.";
    GPIE     = 0x00898,     "General purpose interrupt enable.";
    IVAR[64] = 0x00900 + 4, "Which vector a queue interrupts: four bytes, receive and transmit of two queues.";

    // ---- Receive (§8.2.3.8) ----

    RDBAL[64]      = 0x01000 + 0x40, "Ring base, low.";
    RDBAH[64]      = 0x01004 + 0x40, "Ring base, high.";
    RDLEN[64]      = 0x01008 + 0x40, "Ring length in bytes.";
    RDH[64]        = 0x01010 + 0x40, "Head: the next descriptor that the card will use.";
    RDT[64]        = 0x01018 + 0x40, "Tail: the first descriptor that the card may not use.";
    RXDCTL[64]     = 0x01028 + 0x40, "Descriptor control.";
    RSCCTL[64]     = 0x0102c + 0x40, "Receive-side coalescing.";
    SRRCTL[16]     = 0x02100 + 4,    "Split and replication: buffer size, descriptor type.";
    DCA_RXCTRL[16] = 0x02200 + 4,    "Cache hints; one bit of it spoils packets unless cleared.";
    RQSMR[32]      = 0x02300 + 4,    "Which counter set a receive queue uses: four queues a register.";
    RDRXCTL        = 0x02f00,        "Receive DMA control.";
    RXCTRL         = 0x03000,        "Receive control.";
    RXPBSIZE[8]    = 0x03c00 + 4,    "Receive packet buffer of a traffic class, in bytes.";
    RXCSUM         = 0x05000,        "Receive checksum control.";
    RFCTL          = 0x05008,        "Receive filter control.";
    FCTRL          = 0x05080,        "Filter control: broadcast, promiscuous.";
    VLNCTRL        = 0x05088,        "VLAN control.";
    MCSTCTRL       = 0x05090,        "Multicast control.";
    MTA[128]       = 0x05200 + 4,    "Multicast table: 4096 hash buckets.";
    UTA[128]       = 0x0f400 + 4,    "Unicast table.";
    VFTA[128]      = 0x0a000 + 4,    "VLAN filter table.";
    RAL[128]       = 0x0a200 + 8,    "Receive address, low: bytes 0 to 3.";
    RAH[128]       = 0x0a204 + 8,    "Receive address, high: bytes 4 and 5, and whether it is valid.";
    MPSAR_LO[128]  = 0x0a600 + 8,    "Pools of a receive address, low.";
    MPSAR_HI[128]  = 0x0a604 + 8,    "Pools of a receive address, high.";
    SECRXCTRL      = 0x08d00,        "Security engine on receive: stops the path while RXEN changes.";
    SECRXSTAT      = 0x08d04,        "Whether the receive path is empty.";

    // ---- Which queue a packet goes to (§7.1.2, §8.2.3.7) ----

    MRQC          = 0x05818,     "Multiple receive queues command.";
    RETA[32]      = 0x05c00 + 4, "Redirection table, four entries a register.";
    ERETA[96]     = 0x0ee80 + 4, "Redirection table of the X550, entries 128 to 511.";
    RSSRK[10]     = 0x05c80 + 4, "Toeplitz key.";
    SAQF[128]     = 0x0e000 + 4, "5-tuple filter: source address.";
    DAQF[128]     = 0x0e200 + 4, "5-tuple filter: destination address.";
    SDPQF[128]    = 0x0e400 + 4, "5-tuple filter: ports.";
    FTQF[128]     = 0x0e600 + 4, "5-tuple filter: protocol, what to compare, enable.";
    L34TIMIR[128] = 0x0e800 + 4, "5-tuple filter: queue.";

    // ---- Transmit (§8.2.3.9) ----

    TDBAL[128]      = 0x06000 + 0x40, "Ring base, low.";
    TDBAH[128]      = 0x06004 + 0x40, "Ring base, high.";
    TDLEN[128]      = 0x06008 + 0x40, "Ring length in bytes.";
    DCA_TXCTRL[128] = 0x0600c + 0x40, "Cache hints.";
    TDH[128]        = 0x06010 + 0x40, "Head.";
    TDT[128]        = 0x06018 + 0x40, "Tail.";
    TXDCTL[128]     = 0x06028 + 0x40, "Descriptor control.";
    TDWBAL[128]     = 0x06038 + 0x40, "Head write-back address, low; bit 0 enables.";
    DMATXCTL        = 0x04a80,        "Transmit DMA control.";
    RTTDCS          = 0x04900,        "Arbiter control.";
    RTTDQSEL        = 0x04904,        "Queue that RTTBCNRC speaks of.";
    RTTBCNRM        = 0x04980,        "KiB that a queue of a rate may make up for.";
    RTTBCNRC        = 0x04984,        "Rate limit of the selected queue.";
    TXPBTHRESH[8]   = 0x04950 + 4,    "Packet buffer threshold.";
    DTXMXSZRQ       = 0x08100,        "Most bytes requested at once.";
    MTQC            = 0x08120,        "Multiple transmit queues command.";
    TXPBSIZE[8]     = 0x0cc00 + 4,    "Transmit packet buffer of a traffic class, in bytes.";

    // ---- MAC, link, flow control (§8.2.3.22) ----

    HLREG0   = 0x04240,     "MAC core control.";
    MSCA     = 0x0425c,     "MDIO command.";
    MSRWD    = 0x04260,     "MDIO data: written below, read above.";
    MAXFRS   = 0x04268,     "Longest frame, in the upper half, with FCS.";
    MFLCN    = 0x04294,     "Flow control of the MAC.";
    AUTOC    = 0x042a0,     "Link mode and auto-negotiation.";
    LINKS    = 0x042a4,     "Link state.";
    AUTOC2   = 0x042a8,     "Link mode, second.";
    ANLP1    = 0x042b0,     "Auto-negotiation link partner, and the state of the machine.";
    MACC     = 0x04330,     "MAC control of the X540 and X550.";
    CORECTL  = 0x14f00,     "Where the words of a module's init list are written.";
    FCRTL[8] = 0x03220 + 4, "Flow control low threshold.";
    FCRTH[8] = 0x03260 + 4, "Flow control high threshold.";
    FCCFG    = 0x03d00,     "Transmit flow control.";

    // ---- Time (§8.2.3.25) ----

    TSYNCRXCTL = 0x05188, "Receive timestamps.";
    SYSTIMR    = 0x08c58, "Clock, fraction (X550).";
    SYSTIML    = 0x08c0c, "Clock, low: nanoseconds (X550).";
    SYSTIMH    = 0x08c10, "Clock, high: seconds (X550).";
    TIMINCA    = 0x08c14, "Clock increment.";
    TSAUXC     = 0x08c20, "Auxiliary control: bit 31 stops the clock.";

    // ---- Statistics, cleared by reading (§8.2.3.23) ----

    CRCERRS   = 0x04000,        "Frames with a wrong FCS.";
    RLEC      = 0x04040,        "Frames whose length field lies.";
    MPC[8]    = 0x03fa0 + 4,    "Frames lost because the packet buffer was full.";
    GPTC      = 0x04080,        "Good frames sent.";
    GOTCL     = 0x04090,        "Bytes of good frames sent with FCS, low.";
    GOTCH     = 0x04094,        "Bytes of good frames sent with FCS, high 4 bits.";
    RUC       = 0x040a4,        "Frames below 64 bytes with a good FCS.";
    RFC       = 0x040a8,        "Frames below 64 bytes with a bad FCS.";
    ROC       = 0x040ac,        "Frames above the maximum.";
    RJC       = 0x040b0,        "Frames above the maximum with a bad FCS.";
    QPRC[16]  = 0x01030 + 0x40, "Frames received into a queue.";
    QBRCL[16] = 0x01034 + 0x40, "Bytes received into a queue, low.";
    QBRCH[16] = 0x01038 + 0x40, "Bytes received into a queue, high 4 bits.";
    QPRDC[16] = 0x01430 + 0x40, "Frames lost because a queue had no descriptor.";
}

bits! {
    /// Device control.
    ctrl {
        GIO_DIS = 1 << 2,  "Stop issuing requests on PCIe.";
        LNK_RST = 1 << 3,  "Reset of the link and the MAC.";
        RST     = 1 << 26, "Reset of the function.";
    }
    /// Device status.
    status {
        LAN_ID = 0b11 << 2, "Port of the card: 0 or 1.";
        GIO    = 1 << 19,   "Requests may be on their way over PCIe.";
    }
    /// Extended device control.
    ctrl_ext {
        NS_DIS   = 1 << 16, "No PCIe no-snoop requests.";
        DRV_LOAD = 1 << 28, "A driver owns the port.";
    }
    /// SFP+ pins.
    esdp {
        SDP3     = 1 << 3,  "Laser off.";
        SDP5     = 1 << 5,  "Rate: 1 is 10 Gbit/s.";
        SDP3_DIR = 1 << 11, "SDP3 is an output.";
        SDP5_DIR = 1 << 13, "SDP5 is an output.";
    }
    /// I2C bus.
    i2cctl {
        CLK_IN   = 1 << 0, "Clock as seen.";
        CLK_OUT  = 1 << 1, "Clock as driven.";
        DATA_IN  = 1 << 2, "Data as seen.";
        DATA_OUT = 1 << 3, "Data as driven.";
    }
    /// EEPROM control.
    eec {
        ARD = 1 << 9, "What the EEPROM holds has been read after reset.";
    }
    /// EEPROM read.
    eerd {
        START = 1 << 0, "Begin.";
        DONE  = 1 << 1, "Done.";
    }
    /// Software semaphore.
    swsm {
        SMBI    = 1 << 0, "Reading it as 0 takes it.";
        SWESMBI = 1 << 1, "Sticks if the firmware does not hold it.";
    }
    /// Shared resources. The firmware's bit is five above each of the first four of ours.
    gssr {
        EEPROM   = 1 << 0,  "EEPROM.";
        PHY0     = 1 << 1,  "PHY or I2C bus of port 0; the next bit is port 1's.";
        MAC_CSR  = 1 << 3,  "MAC configuration.";
        COMMANDS = 1 << 10, "The buffer for commands to the firmware (X550).";
        REGSMP   = 1 << 31, "A second lock on this register (X540, X550).";
    }
    /// Host interface control.
    hicr {
        ENABLED = 1 << 0, "The firmware takes commands.";
        COMMAND = 1 << 1, "One is in the buffer.";
        VALID   = 1 << 2, "It was done.";
    }
    /// State of the firmware.
    fwsts {
        FWRI = 1 << 9, "It has restarted; writing 1 clears it.";
    }
    /// General purpose interrupt enable.
    gpie {
        MSIX_MODE   = 1 << 4,  "MSI-X with one vector a queue.";
        EIAME       = 1 << 30, "EIAM applies when a message is sent.";
        PBA_SUPPORT = 1 << 31, "The pending bits are those of the MSI-X table.";
    }
    /// Interrupt vector of a queue, in its byte of IVAR.
    ivar {
        VALID = 0x80, "The byte counts.";
    }
    /// Queue enable, in RXDCTL and TXDCTL alike.
    xdctl {
        ENABLE = 1 << 25, "On.";
        VME    = 1 << 30, "Take VLAN tags out (receive).";
    }
    /// Split and replication.
    srrctl {
        BSIZEPKT_2K         = 2,       "Buffers of 2 KiB, in its unit of 1 KiB.";
        ADVANCED_ONE_BUFFER = 1 << 25, "Advanced descriptors, one buffer each.";
        DROP_EN             = 1 << 28, "Drop a frame when the ring is empty instead of holding up the others.";
    }
    /// Receive DMA control.
    rdrxctl {
        CRCSTRIP    = 1 << 1,     "Strip the FCS.";
        DMAIDONE    = 1 << 3,     "DMA is ready after reset.";
        RSCFRSTSIZE = 0x1f << 17, "First coalesced size: 0 when not coalescing.";
        RSCACKC     = 1 << 25,    "Must be set.";
        FCOE_WRFIX  = 1 << 26,    "Must be set.";
    }
    /// Receive control.
    rxctrl {
        RXEN = 1 << 0, "On.";
    }
    /// Receive checksum control.
    rxcsum {
        PCSD = 1 << 13, "The descriptor carries the RSS hash, not a raw checksum.";
    }
    /// Receive filter control.
    rfctl {
        RSC_DIS = 1 << 5, "No coalescing.";
    }
    /// Filter control.
    fctrl {
        MPE = 1 << 8,  "All multicast.";
        UPE = 1 << 9,  "All unicast.";
        BAM = 1 << 10, "Broadcast.";
    }
    /// VLAN control.
    vlnctrl {
        VET   = 0xffff,  "EtherType of a tag.";
        CFIEN = 1 << 29, "Filter by a tag's CFI.";
        VFE   = 1 << 30, "Filter by VLAN.";
    }
    /// Multicast control.
    mcstctrl {
        MFE = 1 << 2, "Use the table, on address bits 47:36.";
    }
    /// Receive address.
    rah {
        AV = 1 << 31, "Valid.";
    }
    /// Security engine on receive.
    secrx {
        RX_DIS = 1 << 1, "Stop the path.";
        RDY    = 1 << 0, "It is empty (in SECRXSTAT).";
    }
    /// Multiple receive queues.
    mrqc {
        RSSEN    = 1,       "RSS.";
        IPV4_TCP = 1 << 16, "Hash IPv4 with TCP ports.";
        IPV4     = 1 << 17, "Hash IPv4.";
        IPV6     = 1 << 20, "Hash IPv6.";
        IPV6_TCP = 1 << 21, "Hash IPv6 with TCP ports.";
        IPV4_UDP = 1 << 22, "Hash IPv4 with UDP ports.";
        IPV6_UDP = 1 << 23, "Hash IPv6 with UDP ports.";
    }
    /// 5-tuple filter.
    ftqf {
        TCP                  = 0,       "TCP.";
        UDP                  = 1,       "UDP.";
        SCTP                 = 2,       "SCTP.";
        PRIORITY_7           = 7 << 2,  "Highest priority.";
        ANY_SOURCE           = 1 << 25, "Do not compare the source address.";
        ANY_DESTINATION      = 1 << 26, "Do not compare the destination address.";
        ANY_SOURCE_PORT      = 1 << 27, "Do not compare the source port.";
        ANY_DESTINATION_PORT = 1 << 28, "Do not compare the destination port.";
        ANY_POOL             = 1 << 30, "Do not compare the pool.";
        ENABLE               = 1 << 31, "On.";
    }
    /// 5-tuple filter's queue.
    l34timir {
        RESERVED    = 0x0008_0000, "Required constant of bits 19:13.";
        QUEUE_SHIFT = 21,          "Where the queue starts.";
    }
    /// Cache hints of a queue.
    dca {
        RX_BIT12    = 1 << 12, "Receive: spoils packets if set.";
        RX_DATA_WRO = 1 << 13, "Receive: relaxed ordering of data writes.";
        RX_HEAD_WRO = 1 << 15, "Receive: relaxed ordering of header writes.";
        TX_DESC_WRO = 1 << 11, "Transmit: relaxed ordering of write-backs.";
    }
    /// Transmit DMA.
    dmatxctl {
        TE = 1 << 0, "On.";
    }
    /// Arbiter.
    rttdcs {
        ARBDIS = 1 << 6, "Off while MTQC changes.";
    }
    /// MAC core.
    hlreg0 {
        TXCRCEN   = 1 << 0,  "Append the FCS.";
        RXCRCSTRP = 1 << 1,  "Strip the FCS.";
        JUMBOEN   = 1 << 2,  "Frames above 1518 bytes.";
        TXPADEN   = 1 << 10, "Pad to 60 bytes.";
        LPBK      = 1 << 15, "Send to ourselves.";
    }
    /// PCIe control, extended.
    gcr_ext {
        BUFFERS_CLEAR = 1 << 30, "Forget what is on its way.";
    }
    /// Flow control of the MAC.
    mflcn {
        DPF = 1 << 1, "Discard pause frames.";
    }
    /// Link mode.
    autoc {
        FLU            = 1 << 0,      "Force the link up.";
        AN_RESTART     = 1 << 12,     "Negotiate anew; clears itself.";
        PMA_1G         = 1 << 9,      "Kind of 1 Gbit/s: 0 is over the module's lanes.";
        LMS            = 0b111 << 13, "Link mode select.";
        LMS_10G_NO_AN  = 1 << 13,     "10 Gbit/s without negotiation.";
        LMS_1G_AN      = 2 << 13,     "1 Gbit/s with negotiation.";
        LMS_10G_SERIAL = 3 << 13,     "10 Gbit/s serial: SFI.";
        LMS_HIGH       = 1 << 15,     "Its highest bit, toggled by a pipeline reset.";
    }
    /// Link mode, second.
    autoc2 {
        LINK_DISABLE   = 0b111 << 28, "Keep the link down.";
        PMA_10G_SERIAL = 0b11 << 16,  "Serial PMA.";
        PMA_10G_SFI    = 2 << 16,     "SFI.";
    }
    /// Link partner.
    anlp1 {
        AN_STATE = 0xf << 16, "State of auto-negotiation: 0 while reset.";
    }
    /// MAC control.
    macc {
        FLU     = 1 << 0,     "Force the link up.";
        FSV_10G = 0b11 << 16, "Forced speed is 10 Gbit/s.";
        FS      = 1 << 18,    "Force the speed.";
    }
    /// Link state.
    links {
        UP      = 1 << 30,    "Up; latched low.";
        SPEED   = 0b11 << 28, "Speed.";
        NON_STD = 1 << 27,    "Not the speed named but its NBASE-T neighbour (X550).";
    }
    /// MDIO.
    msca {
        COMMAND = 1 << 30, "Start; clears itself.";
        ADDRESS = 0 << 26, "Address cycle.";
        WRITE   = 1 << 26, "Write.";
        READ    = 3 << 26, "Read.";
    }
    /// Receive timestamps.
    tsyncrxctl {
        EN         = 1 << 4,     "On.";
        TYPE_ALL   = 4 << 1,     "Every packet (X550).";
        TSIP_UT_EN = 1 << 23,    "In the packet (X550).";
        TSIP_UP    = 0xff << 24, "For every user priority (X550).";
    }
    /// Clock.
    tsauxc {
        DISABLE_SYSTIME = 1 << 31, "Stop it.";
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
