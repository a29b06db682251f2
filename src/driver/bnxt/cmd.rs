//! Commands of the firmware (HWRM): their layouts, as a table.
//!
//! Offsets, lengths and names are those of the firmware's own interface
//! description, which the vendor publishes with its drivers. Offsets count from
//! the header, of 16 bytes in a request and 8 in an answer; a request is as long as
//! the fields need that this driver sets, an answer as long as the oldest that has
//! what is needed. Only commands that this driver gives are here;
//! [`commands!`] says how a line is read.

#[cfg(test)]
use crate::driver::mailbox::Field;
use crate::driver::mailbox::commands;

commands! {
    Little;

    /// Which firmware this is, and how it is to be spoken to.
    ver_get VER_GET 0x0
        in 0x18 { INTF_MAJ 0x10/1  INTF_MIN 0x11/1  INTF_UPD 0x12/1 }
        out 0x80 {
            INTF_MAJ 0x08/1  INTF_MIN 0x09/1  INTF_UPD 0x0a/1
            FW_MAJ 0x0c/1  FW_MIN 0x0d/1  FW_BLD 0x0e/1
            DEV_CAPS 0x18/4  CHIP_NUM 0x70/2  CHIP_REV 0x72/1
            MAX_REQ_WIN_LEN 0x76/2  MAX_RESP_LEN 0x78/2  DEF_REQ_TIMEOUT 0x7a/2  FLAGS 0x7c/1
            FW_MAJOR 0x88/2  FW_MINOR 0x8a/2  FW_BUILD 0x8c/2  MAX_EXT_REQ_LEN 0xa8/2
        }

    /// Where the firmware shows whether it is well.
    error_recovery_qcfg ERROR_RECOVERY_QCFG 0xc
        in 0x18 {}
        out 0x30 { DRIVER_POLLING_FREQ 0x0c/4  FW_HEARTBEAT_REG 0x24/4  FW_RESET_CNT_REG 0x28/4 }

    /// Says that the function's rings are about to be used, or are not any more.
    func_drv_if_change FUNC_DRV_IF_CHANGE 0xd
        in 0x18 { FLAGS 0x10/4 }
        out 0x10 { FLAGS 0x08/4 }

    /// Drops everything that the function has.
    func_reset FUNC_RESET 0x11
        in 0x18 { ENABLES 0x10/4  VF_ID 0x14/2  LEVEL 0x16/1 }
        out 0x10 {}

    /// What the function is and can have at most.
    func_qcaps FUNC_QCAPS 0x15
        in 0x18 { FID 0x10/2 }
        out 0x50 {
            FID 0x08/2  PORT_ID 0x0a/2  FLAGS 0x0c/4  MAC_ADDRESS 0x10/6
            MAX_RSSCOS_CTX 0x16/2  MAX_CMPL_RINGS 0x18/2  MAX_TX_RINGS 0x1a/2  MAX_RX_RINGS 0x1c/2
            MAX_L2_CTXS 0x1e/2  MAX_VNICS 0x20/2  MAX_STAT_CTX 0x26/2
            MAX_MCAST_FILTERS 0x40/4  MAX_HW_RING_GRPS 0x48/4
            FLAGS_EXT 0x50/4  FLAGS_EXT2 0x58/4
        }

    /// What it has.
    func_qcfg FUNC_QCFG 0x16
        in 0x18 { FID 0x10/2 }
        out 0x50 {
            FID 0x08/2  PORT_ID 0x0a/2  FLAGS 0x0e/2  MAC_ADDRESS 0x10/6
            ALLOC_RSSCOS_CTX 0x18/2  ALLOC_CMPL_RINGS 0x1a/2  ALLOC_TX_RINGS 0x1c/2  ALLOC_RX_RINGS 0x1e/2
            ALLOC_VNICS 0x22/2  ADMIN_MTU 0x24/2  MRU 0x26/2  PORT_PARTITION_TYPE 0x2a/1  PORT_PF_CNT 0x2b/1
            MAX_MTU_CONFIGURED 0x2e/2  ALLOC_HW_RING_GRPS 0x40/4  ALLOC_STAT_CTX 0x46/2  ALLOC_MSIX 0x48/2
        }

    /// Doorbells that were lost have been rung again.
    func_dbr_recovery_completed FUNC_DBR_RECOVERY_COMPLETED 0x1aa
        in 0x18 { EPOCH 0x10/4 }
        out 0x10 {}

    /// Reserves what it is to have.
    func_cfg FUNC_CFG 0x17
        in 0x58 {
            FID 0x10/2  NUM_MSIX 0x12/2  FLAGS 0x14/4  ENABLES 0x18/4
            NUM_RSSCOS_CTXS 0x20/2  NUM_CMPL_RINGS 0x22/2  NUM_TX_RINGS 0x24/2  NUM_RX_RINGS 0x26/2
            NUM_VNICS 0x2a/2  NUM_STAT_CTXS 0x2c/2  NUM_HW_RING_GRPS 0x2e/2
            DFLT_MAC_ADDR 0x30/6  ASYNC_EVENT_CR 0x50/2
        }
        out 0x10 {}

    /// Signs the driver off.
    func_drv_unrgtr FUNC_DRV_UNRGTR 0x1a
        in 0x18 { FLAGS 0x10/4 }
        out 0x10 {}

    /// Signs the driver on, and says of which events it wants to hear.
    func_drv_rgtr FUNC_DRV_RGTR 0x1d
        in 0x70 {
            FLAGS 0x10/4  ENABLES 0x14/4  OS_TYPE 0x18/2  VER_MAJ_8B 0x1a/1  VER_MIN_8B 0x1b/1  VER_UPD_8B 0x1c/1
            ASYNC_EVENT_FWD 0x48/32  VER_MAJ 0x68/2  VER_MIN 0x6a/2  VER_UPD 0x6c/2  VER_PATCH 0x6e/2
        }
        out 0x10 { FLAGS 0x08/4 }

    /// Sets the PHY up.
    port_phy_cfg PORT_PHY_CFG 0x20
        in 0x38 {
            FLAGS 0x10/4  ENABLES 0x14/4  PORT_ID 0x18/2  FORCE_LINK_SPEED 0x1a/2
            AUTO_MODE 0x1c/1  AUTO_DUPLEX 0x1d/1  AUTO_PAUSE 0x1e/1  AUTO_LINK_SPEED_MASK 0x22/2
            LPBK 0x25/1  FORCE_PAUSE 0x26/1  FORCE_PAM4_LINK_SPEED 0x2e/2  AUTO_LINK_PAM4_SPEED_MASK 0x34/2
        }
        out 0x10 {}

    /// Sets the MAC up.
    port_mac_cfg PORT_MAC_CFG 0x21
        in 0x28 { FLAGS 0x10/4  ENABLES 0x14/4  PORT_ID 0x18/2  LPBK 0x1b/1 }
        out 0x10 {}

    /// A time of the port's clock.
    port_ts_query PORT_TS_QUERY 0x22
        in 0x18 { FLAGS 0x10/4  PORT_ID 0x14/2 }
        out 0x18 { PTP_MSG_TS 0x08/8 }

    /// Writes the port's counters to memory.
    port_qstats PORT_QSTATS 0x23
        in 0x28 { PORT_ID 0x10/2  FLAGS 0x12/1  TX_STAT_HOST_ADDR 0x18/8  RX_STAT_HOST_ADDR 0x20/8 }
        out 0x10 { TX_STAT_SIZE 0x08/2  RX_STAT_SIZE 0x0a/2 }

    /// State of PHY and link.
    port_phy_qcfg PORT_PHY_QCFG 0x27
        in 0x18 { PORT_ID 0x10/2 }
        out 0x38 {
            LINK 0x08/1  ACTIVE_FEC 0x09/1  LINK_SPEED 0x0a/2  SUPPORT_SPEEDS 0x0e/2  FORCE_LINK_SPEED 0x10/2
            AUTO_MODE 0x12/1  AUTO_LINK_SPEED_MASK 0x16/2  LPBK 0x19/1  MODULE_STATUS 0x1b/1
            MEDIA_TYPE 0x24/1  FEC_CFG 0x34/2  LINK_DOWN_REASON 0x5f/1
        }

    /// Reads the module's memory.
    port_phy_i2c_read PORT_PHY_I2C_READ 0x2c
        in 0x28 {
            FLAGS 0x10/4  ENABLES 0x14/4  PORT_ID 0x18/2  I2C_SLAVE_ADDR 0x1a/1
            PAGE_NUMBER 0x1c/2  PAGE_OFFSET 0x1e/2  DATA_LENGTH 0x20/1
        }
        out 0x50 { DATA 0x08/64 }

    /// Where the stamps of the port's clock are.
    port_mac_ptp_qcfg PORT_MAC_PTP_QCFG 0x29
        in 0x18 { PORT_ID 0x10/2 }
        out 0x10 { FLAGS 0x08/1  TS_REF_CLOCK_LOWER 0x48/4  TS_REF_CLOCK_UPPER 0x4c/4 }

    /// What the PHY can do.
    port_phy_qcaps PORT_PHY_QCAPS 0x2a
        in 0x18 { PORT_ID 0x10/2 }
        out 0x18 {
            FLAGS 0x08/1  PORT_CNT 0x09/1  FORCE_SPEEDS 0x0a/2  AUTO_SPEEDS 0x0c/2
            PAM4_AUTO_SPEEDS 0x18/2  PAM4_FORCE_SPEEDS 0x1a/2  FLAGS2 0x1c/2
        }

    /// Which of the port's queues frames can be sent to.
    queue_qportcfg QUEUE_QPORTCFG 0x30
        in 0x18 { FLAGS 0x10/4  PORT_ID 0x14/2  DRV_QMAP_CAP 0x16/1 }
        out 0x20 { MAX_CONFIGURABLE_QUEUES 0x08/1  QUEUES 0x0f/16 }

    /// Makes a place for received frames to be delivered to.
    vnic_alloc VNIC_ALLOC 0x40
        in 0x18 { FLAGS 0x10/4 }
        out 0x10 { VNIC_ID 0x08/4 }

    /// Takes it back.
    vnic_free VNIC_FREE 0x41
        in 0x18 { VNIC_ID 0x10/4 }
        out 0x10 {}

    /// Where its frames go.
    vnic_cfg VNIC_CFG 0x42
        in 0x28 {
            FLAGS 0x10/4  ENABLES 0x14/4  VNIC_ID 0x18/2  DFLT_RING_GRP 0x1a/2  RSS_RULE 0x1c/2
            COS_RULE 0x1e/2  LB_RULE 0x20/2  MRU 0x22/2  DEFAULT_RX_RING_ID 0x24/2  DEFAULT_CMPL_RING_ID 0x26/2
        }
        out 0x10 {}

    /// Whether frames of a flow are put together.
    vnic_tpa_cfg VNIC_TPA_CFG 0x44
        in 0x28 { FLAGS 0x10/4  ENABLES 0x14/4  VNIC_ID 0x18/2 }
        out 0x10 {}

    /// How its frames are spread over rings.
    vnic_rss_cfg VNIC_RSS_CFG 0x46
        in 0x30 {
            HASH_TYPE 0x10/4  VNIC_ID 0x14/2  PAIR_INDEX 0x16/1  HASH_MODE_FLAGS 0x17/1
            TABLE_ADDR 0x18/8  KEY_ADDR 0x20/8  RSS_CTX_IDX 0x28/2
        }
        out 0x10 {}

    /// How frames are placed in buffers.
    vnic_plcmodes_cfg VNIC_PLCMODES_CFG 0x48
        in 0x28 { FLAGS 0x10/4  ENABLES 0x14/4  VNIC_ID 0x18/4  JUMBO_THRESH 0x1c/2 }
        out 0x10 {}

    /// Starts a ring.
    ring_alloc RING_ALLOC 0x50
        in 0x58 {
            ENABLES 0x10/4  RING_TYPE 0x14/1  CMPL_COAL_CNT 0x15/1  FLAGS 0x16/2  PAGE_TBL_ADDR 0x18/8
            FBO 0x20/4  PAGE_SIZE 0x24/1  PAGE_TBL_DEPTH 0x25/1  LENGTH 0x28/4
            LOGICAL_ID 0x2c/2  CMPL_RING_ID 0x2e/2  QUEUE_ID 0x30/2  RX_BUF_SIZE 0x32/2
            RX_RING_ID 0x34/2  NQ_RING_ID 0x36/2  STAT_CTX_ID 0x40/4  INT_MODE 0x4c/1  CQ_HANDLE 0x50/8
        }
        out 0x10 { RING_ID 0x08/2  LOGICAL_RING_ID 0x0a/2 }

    /// Stops it.
    ring_free RING_FREE 0x51
        in 0x18 { RING_TYPE 0x10/1  RING_ID 0x12/2 }
        out 0x10 {}

    /// How long completions may wait for others.
    ring_cmpl_ring_cfg_aggint_params RING_CMPL_RING_CFG_AGGINT_PARAMS 0x53
        in 0x28 {
            RING_ID 0x10/2  FLAGS 0x12/2  NUM_CMPL_DMA_AGGR 0x14/2  NUM_CMPL_DMA_AGGR_DURING_INT 0x16/2
            CMPL_AGGR_DMA_TMR 0x18/2  CMPL_AGGR_DMA_TMR_DURING_INT 0x1a/2
            INT_LAT_TMR_MIN 0x1c/2  INT_LAT_TMR_MAX 0x1e/2  NUM_CMPL_AGGR_INT 0x20/2  ENABLES 0x22/2
        }
        out 0x10 {}

    /// What can be said about that.
    ring_aggint_qcaps RING_AGGINT_QCAPS 0x54
        in 0x10 {}
        out 0x30 {
            CMPL_PARAMS 0x08/4  NUM_DMA_AGGR_MIN 0x10/2  NUM_DMA_AGGR_DURING_INT_MIN 0x14/2  DMA_TMR_MIN 0x18/2
            DMA_TMR_DURING_INT_MIN 0x1c/2  LAT_MIN_MIN 0x20/2  LAT_MAX_MIN 0x24/2  NUM_AGGR_INT_MIN 0x28/2
        }

    /// A receive ring with the rings that go with it.
    ring_grp_alloc RING_GRP_ALLOC 0x60
        in 0x18 { CR 0x10/2  RR 0x12/2  AR 0x14/2  SC 0x16/2 }
        out 0x10 { RING_GROUP_ID 0x08/4 }

    /// Ends that.
    ring_grp_free RING_GRP_FREE 0x61
        in 0x18 { RING_GROUP_ID 0x10/4 }
        out 0x10 {}

    /// Makes a context for spreading.
    vnic_rss_cos_lb_ctx_alloc VNIC_RSS_COS_LB_CTX_ALLOC 0x70
        in 0x10 {}
        out 0x10 { CTX_ID 0x08/2 }

    /// Takes it back.
    vnic_rss_cos_lb_ctx_free VNIC_RSS_COS_LB_CTX_FREE 0x71
        in 0x18 { CTX_ID 0x10/2 }
        out 0x10 {}

    /// Delivers frames to an address.
    cfa_l2_filter_alloc CFA_L2_FILTER_ALLOC 0x90
        in 0x60 { FLAGS 0x10/4  ENABLES 0x14/4  L2_ADDR 0x18/6  L2_ADDR_MASK 0x20/6  DST_ID 0x4e/2 }
        out 0x18 { L2_FILTER_ID 0x08/8 }

    /// Ends that.
    cfa_l2_filter_free CFA_L2_FILTER_FREE 0x91
        in 0x18 { L2_FILTER_ID 0x10/8 }
        out 0x10 {}

    /// Delivers broadcasts, groups, or everything.
    cfa_l2_set_rx_mask CFA_L2_SET_RX_MASK 0x93
        in 0x38 { VNIC_ID 0x10/4  MASK 0x14/4  MC_TBL_ADDR 0x18/8  NUM_MC_ENTRIES 0x20/4 }
        out 0x10 {}

    /// Delivers a flow to a ring.
    cfa_ntuple_filter_alloc CFA_NTUPLE_FILTER_ALLOC 0x99
        in 0x80 {
            FLAGS 0x10/4  ENABLES 0x14/4  L2_FILTER_ID 0x18/8  ETHERTYPE 0x26/2  IP_ADDR_TYPE 0x28/1  IP_PROTOCOL 0x29/1
            DST_ID 0x2a/2  RFS_RING_TBL_IDX 0x2c/2  SRC_IPADDR 0x30/16  SRC_IPADDR_MASK 0x40/16
            DST_IPADDR 0x50/16  DST_IPADDR_MASK 0x60/16
            SRC_PORT 0x70/2  SRC_PORT_MASK 0x72/2  DST_PORT 0x74/2  DST_PORT_MASK 0x76/2
        }
        out 0x18 { NTUPLE_FILTER_ID 0x08/8 }

    /// Ends that.
    cfa_ntuple_filter_free CFA_NTUPLE_FILTER_FREE 0x9a
        in 0x18 { NTUPLE_FILTER_ID 0x10/8 }
        out 0x10 {}

    /// Makes counters for rings.
    stat_ctx_alloc STAT_CTX_ALLOC 0xb0
        in 0x20 { STATS_DMA_ADDR 0x10/8  UPDATE_PERIOD_MS 0x18/4  STAT_CTX_FLAGS 0x1c/1  STATS_DMA_LENGTH 0x1e/2 }
        out 0x10 { STAT_CTX_ID 0x08/4 }

    /// Takes them back.
    stat_ctx_free STAT_CTX_FREE 0xb1
        in 0x18 { STAT_CTX_ID 0x10/4 }
        out 0x10 {}

    /// Reads them.
    stat_ctx_query STAT_CTX_QUERY 0xb2
        in 0x18 { STAT_CTX_ID 0x10/4  FLAGS 0x14/1 }
        out 0xa8 {
            TX_UCAST_PKTS 0x08/8  TX_MCAST_PKTS 0x10/8  TX_BCAST_PKTS 0x18/8
            TX_UCAST_BYTES 0x30/8  TX_MCAST_BYTES 0x38/8  TX_BCAST_BYTES 0x40/8
            RX_UCAST_PKTS 0x48/8  RX_MCAST_PKTS 0x50/8  RX_BCAST_PKTS 0x58/8
            RX_DISCARD_PKTS 0x60/8  RX_ERROR_PKTS 0x68/8
            RX_UCAST_BYTES 0x70/8  RX_MCAST_BYTES 0x78/8  RX_BCAST_BYTES 0x80/8
        }

    /// Sets them to zero.
    stat_ctx_clr_stats STAT_CTX_CLR_STATS 0xb3
        in 0x18 { STAT_CTX_ID 0x10/4 }
        out 0x10 {}

    /// How flows can be steered.
    cfa_adv_flow_mgnt_qcaps CFA_ADV_FLOW_MGNT_QCAPS 0x124
        in 0x20 {}
        out 0x10 { FLAGS 0x08/4 }

    /// What this function may reserve.
    func_resource_qcaps FUNC_RESOURCE_QCAPS 0x190
        in 0x18 { FID 0x10/2 }
        out 0x38 {
            MAX_MSIX 0x0a/2  MAX_RSSCOS_CTX 0x10/2  MAX_CMPL_RINGS 0x14/2  MAX_TX_RINGS 0x18/2  MAX_RX_RINGS 0x1c/2
            MAX_VNICS 0x24/2  MAX_STAT_CTX 0x28/2  MAX_HW_RING_GRPS 0x2c/2  MAX_TX_SCHED 0x2e/2
        }

    /// Which memory the chip needs to run in.
    func_backing_store_qcaps FUNC_BACKING_STORE_QCAPS 0x192
        in 0x10 {}
        out 0x48 {
            QP_MIN_QP1_ENTRIES 0x0c/2  QP_MAX_L2_ENTRIES 0x0e/2  QP_ENTRY_SIZE 0x10/2
            SRQ_MAX_L2_ENTRIES 0x12/2  SRQ_ENTRY_SIZE 0x18/2  CQ_MAX_L2_ENTRIES 0x1a/2  CQ_ENTRY_SIZE 0x20/2
            VNIC_MAX_VNIC_ENTRIES 0x22/2  VNIC_MAX_RING_TABLE_ENTRIES 0x24/2  VNIC_ENTRY_SIZE 0x26/2
            STAT_MAX_ENTRIES 0x28/4  STAT_ENTRY_SIZE 0x2c/2
            TQM_ENTRY_SIZE 0x2e/2  TQM_MIN_ENTRIES_PER_RING 0x30/4  TQM_MAX_ENTRIES_PER_RING 0x34/4
            TQM_ENTRIES_MULTIPLE 0x46/1  CTX_KIND_INITIALIZER 0x47/1  CTX_INIT_MASK 0x48/2
            QP_INIT_OFFSET 0x4a/1  SRQ_INIT_OFFSET 0x4b/1  CQ_INIT_OFFSET 0x4c/1  VNIC_INIT_OFFSET 0x4d/1
            TQM_FP_RINGS_COUNT 0x4e/1  STAT_INIT_OFFSET 0x4f/1  TQM_FP_RINGS_COUNT_EXT 0x51/1
        }

    /// Gives it that memory.
    func_backing_store_cfg FUNC_BACKING_STORE_CFG 0x193
        in 0x150 {
            FLAGS 0x10/4  ENABLES 0x14/4
            QPC_LEVEL 0x18/1  SRQ_LEVEL 0x19/1  CQ_LEVEL 0x1a/1  VNIC_LEVEL 0x1b/1  STAT_LEVEL 0x1c/1
            TQM_LEVELS 0x1d/9
            QPC_PAGE_DIR 0x28/8  SRQ_PAGE_DIR 0x30/8  CQ_PAGE_DIR 0x38/8  VNIC_PAGE_DIR 0x40/8  STAT_PAGE_DIR 0x48/8
            TQM_PAGE_DIRS 0x50/72
            QP_NUM_ENTRIES 0xa8/4  SRQ_NUM_ENTRIES 0xac/4  CQ_NUM_ENTRIES 0xb0/4  STAT_NUM_ENTRIES 0xb4/4
            TQM_NUM_ENTRIES 0xb8/36
            QP_NUM_QP1_ENTRIES 0xe4/2  QP_NUM_L2_ENTRIES 0xe6/2  QP_ENTRY_SIZE 0xe8/2
            SRQ_NUM_L2_ENTRIES 0xea/2  SRQ_ENTRY_SIZE 0xec/2  CQ_NUM_L2_ENTRIES 0xee/2  CQ_ENTRY_SIZE 0xf0/2
            VNIC_NUM_VNIC_ENTRIES 0xf2/2  VNIC_NUM_RING_TABLE_ENTRIES 0xf4/2  VNIC_ENTRY_SIZE 0xf6/2
            STAT_ENTRY_SIZE 0xf8/2  TQM_ENTRY_SIZE 0xfa/2
            TQM_RING8_LEVEL 0x100/1  TQM_RING8_NUM_ENTRIES 0x104/4  TQM_RING8_PAGE_DIR 0x108/8
        }
        out 0x10 {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::mailbox::Request;

    #[test]
    fn every_field_of_a_request_lies_within_it_and_behind_its_header() {
        let end = |fields: &[Field]| fields.iter().map(|field| field.offset + field.bytes).max().unwrap_or(0);
        for (command, input, output) in TABLE {
            assert!(end(input) <= command.input, "{}", command.name);
            assert!(input.iter().all(|field| field.offset >= 0x10), "{}", command.name);
            assert!(output.iter().all(|field| field.offset >= 0x08), "{}", command.name);
            assert!(command.input >= 0x10 && command.output >= 0x10, "{}", command.name);
        }
    }

    /// What a request says behind its header, without zeros at the end.
    fn says(request: &Request) -> String {
        let body = &request.body()[0x10..];
        let end = body.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        body[..end].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn requests_are_those_that_other_drivers_were_seen_to_send() {
        let ask = Request::new;
        let mac = [0x00, 0x0a, 0xf7, 0x01, 0x02, 0x03];
        let ver = ask(ver_get::COMMAND).with(ver_get::input::INTF_MAJ, 1).with(ver_get::input::INTF_MIN, 10);
        let reset = ask(func_reset::COMMAND).with(func_reset::input::LEVEL, 1);
        let cfg = {
            use func_cfg::input::*;
            let request = ask(func_cfg::COMMAND).with(FID, 0xffff).with(ENABLES, 0x801bc);
            let request = request.with(NUM_RSSCOS_CTXS, 1).with(NUM_CMPL_RINGS, 1).with(NUM_TX_RINGS, 1);
            request.with(NUM_RX_RINGS, 2).with(NUM_VNICS, 1).with(NUM_STAT_CTXS, 1).with(NUM_HW_RING_GRPS, 1)
        };
        let thor = {
            use func_cfg::input::*;
            let request = ask(func_cfg::COMMAND).with(FID, 0xffff).with(NUM_MSIX, 1).with(ENABLES, 0x2001bc);
            let request = request.with(NUM_RSSCOS_CTXS, 1).with(NUM_CMPL_RINGS, 2).with(NUM_TX_RINGS, 1);
            request.with(NUM_RX_RINGS, 2).with(NUM_VNICS, 1).with(NUM_STAT_CTXS, 1)
        };
        let events = {
            use func_cfg::input::*;
            ask(func_cfg::COMMAND).with(FID, 0xffff).with(ENABLES, 0x4000).with(ASYNC_EVENT_CR, 1)
        };
        let stat = {
            use stat_ctx_alloc::input::*;
            let request = ask(stat_ctx_alloc::COMMAND).with(STATS_DMA_ADDR, 0x25e_3000);
            request.with(UPDATE_PERIOD_MS, 1000).with(STATS_DMA_LENGTH, 160)
        };
        let transmit = {
            use ring_alloc::input::*;
            let request = ask(ring_alloc::COMMAND).with(RING_TYPE, 1).with(PAGE_TBL_ADDR, 0x367_0000);
            let request = request.with(PAGE_SIZE, 12).with(PAGE_TBL_DEPTH, 1).with(LENGTH, 512);
            request.with(CMPL_RING_ID, 1).with(STAT_CTX_ID, 1)
        };
        let aggregation = {
            use ring_alloc::input::*;
            let request = ask(ring_alloc::COMMAND).with(ENABLES, 0x1c0).with(RING_TYPE, 4);
            let request = request.with(PAGE_TBL_ADDR, 0x2c5_a000).with(PAGE_SIZE, 12).with(PAGE_TBL_DEPTH, 1);
            let request = request.with(LENGTH, 2048).with(LOGICAL_ID, 1).with(RX_BUF_SIZE, 4096);
            request.with(RX_RING_ID, 4).with(NQ_RING_ID, 1).with(STAT_CTX_ID, 1)
        };
        let completions = {
            use ring_alloc::input::*;
            let request = ask(ring_alloc::COMMAND).with(ENABLES, 0x80).with(PAGE_TBL_ADDR, 0x32a_7000);
            let request = request.with(PAGE_SIZE, 12).with(PAGE_TBL_DEPTH, 1).with(LENGTH, 4096);
            request.with(NQ_RING_ID, 1).with(CQ_HANDLE, 0x100_0001)
        };
        let group = {
            use ring_grp_alloc::input::*;
            ask(ring_grp_alloc::COMMAND).with(CR, 1).with(RR, 3).with(AR, 4).with(SC, 1)
        };
        let place = {
            use vnic_cfg::input::*;
            let request = ask(vnic_cfg::COMMAND).with(FLAGS, 2).with(ENABLES, 0x13).with(DFLT_RING_GRP, 1);
            request.with(RSS_RULE, 1).with(COS_RULE, 0xffff).with(LB_RULE, 0xffff).with(MRU, 1518)
        };
        let pair = {
            use vnic_cfg::input::*;
            let request = ask(vnic_cfg::COMMAND).with(FLAGS, 2).with(ENABLES, 0x60).with(MRU, 1518);
            request.with(DEFAULT_RX_RING_ID, 4).with(DEFAULT_CMPL_RING_ID, 5)
        };
        let spread = {
            use vnic_rss_cfg::input::*;
            let request = ask(vnic_rss_cfg::COMMAND).with(HASH_TYPE, 0x3f).with(HASH_MODE_FLAGS, 1);
            request.with(TABLE_ADDR, 0x25e_9000).with(KEY_ADDR, 0x25e_9100).with(RSS_CTX_IDX, 1)
        };
        let placement = {
            use vnic_plcmodes_cfg::input::*;
            ask(vnic_plcmodes_cfg::COMMAND).with(FLAGS, 2).with(ENABLES, 1).with(JUMBO_THRESH, 2048)
        };
        let filter = {
            use cfa_l2_filter_alloc::input::*;
            let request = ask(cfa_l2_filter_alloc::COMMAND).with(FLAGS, 9).with(ENABLES, 0x8003);
            request.with_bytes(L2_ADDR, &mac).with_bytes(L2_ADDR_MASK, &[0xff; 6])
        };
        let mask = {
            use cfa_l2_set_rx_mask::input::*;
            let request = ask(cfa_l2_set_rx_mask::COMMAND).with(MASK, 0xa).with(MC_TBL_ADDR, 0x25e_4000);
            request.with(NUM_MC_ENTRIES, 1)
        };
        let timers = {
            use ring_cmpl_ring_cfg_aggint_params::{COMMAND, input::*};
            let request = ask(COMMAND).with(RING_ID, 1).with(FLAGS, 3).with(NUM_CMPL_DMA_AGGR, 0x1e);
            let request = request.with(NUM_CMPL_DMA_AGGR_DURING_INT, 2).with(CMPL_AGGR_DMA_TMR, 0x1f);
            let request = request.with(CMPL_AGGR_DMA_TMR_DURING_INT, 0xc).with(INT_LAT_TMR_MIN, 0x3e);
            request.with(INT_LAT_TMR_MAX, 0x7d).with(NUM_CMPL_AGGR_INT, 0x1e).with(ENABLES, 0x3f)
        };
        let free = ask(ring_free::COMMAND).with(ring_free::input::RING_TYPE, 2).with(ring_free::input::RING_ID, 4);
        let down = ask(port_phy_cfg::COMMAND).with(port_phy_cfg::input::FLAGS, 0x4000);
        for (request, seen) in [
            (ver, "010a"),
            (reset, "00000000000001"),
            (ask(func_qcaps::COMMAND).with(func_qcaps::input::FID, 0xffff), "ffff"),
            (cfg, "ffff000000000000bc01080000000000010001000100020000000100010001"),
            (thor, "ffff010000000000bc0120000000000001000200010002000000010001"),
            (stat, "00305e0200000000e80300000000a0"),
            (
                transmit,
                "00000000010000000000670300000000000000000c01000000020000000001000000000000000000000000000000000001",
            ),
            (
                aggregation,
                "c00100000400000000a0c50200000000000000000c01000000080000010000000000001004000100000000000000000001",
            ),
            (group, "01000300040001"),
            (ask(vnic_alloc::COMMAND).with(vnic_alloc::input::FLAGS, 1), "01"),
            (place, "0200000013000000000001000100ffffffffee05"),
            (pair, "020000006000000000000000000000000000ee05040005"),
            (spread, "3f0000000000000100905e020000000000915e020000000001"),
            (placement, "0200000001000000000000000008"),
            (filter, "0900000003800000000af70102030000ffffffffffff"),
            (mask, "000000000a00000000405e020000000001"),
            (timers, "010003001e0002001f000c003e007d001e003f"),
            (free, "020004"),
            (down, "0040"),
        ] {
            assert_eq!(says(&request), seen, "{}", request.command().name);
        }
        // These are longer: what stands at their end is looked at alone.
        assert!(says(&events).starts_with("ffff0000000000000040") && says(&events).len() == 2 * 0x41);
        assert!(says(&completions).starts_with("800000000000000000702a0300000000000000000c01000000100000"));
        assert!(says(&completions).ends_with("01000001"));
    }
}
