//! Contexts: what lies in commands that make things, and in memory that the
//! card writes events to. As tables; see `layout`.

use super::layout::structures;

structures! {
    /// An event queue.
    eqc 0x40 {
        EC 0x00[18]  OI 0x00[17]  ST 0x00[11:8]
        LOG_EQ_SIZE 0x0c[28:24]  UAR_PAGE 0x0c[23:0]
        INTR 0x14[11:0]  LOG_PAGE_SIZE 0x18[28:24]
    }

    /// A key to memory.
    mkc 0x40 {
        LW 0x00[11]  LR 0x00[10]  ACCESS_MODE_1_0 0x00[9:8]
        QPN 0x04[31:8]  MKEY_7_0 0x04[7:0]  LENGTH64 0x0c[31]  PD 0x0c[23:0]
    }

    /// A completion queue.
    cqc 0x40 {
        CQE_SZ 0x00[23:21]  CC 0x00[20]  OI 0x00[17]  CQ_PERIOD_MODE 0x00[16:15]
        CQE_COMP_EN 0x00[14]  MINI_CQE_RES_FORMAT 0x00[13:12]
        LOG_CQ_SIZE 0x0c[28:24]  UAR_PAGE 0x0c[23:0]
        C_EQN 0x14[7:0]  LOG_PAGE_SIZE 0x18[28:24]  DBR_ADDR 0x38[63:0]
    }

    /// A place that frames are sent from.
    tisc 0xa0 { PRIO 0x00[19:16]  TRANSPORT_DOMAIN 0x24[23:0]  PD 0x2c[23:0] }

    /// A send queue.
    sqc 0x30 {
        RLKY 0x00[31]  FLUSH_IN_ERROR_EN 0x00[28]  ALLOW_MULTI_PKT_SEND_WQE 0x00[27]
        MIN_WQE_INLINE_MODE 0x00[26:24]  STATE 0x00[23:20]  TS_FORMAT 0x00[5:4]
        USER_INDEX 0x04[23:0]  CQN 0x08[23:0]  TIS_LST_SZ 0x20[31:16]  TIS_NUM_0 0x2c[23:0]
    }

    /// A receive queue.
    rqc 0x30 {
        RLKY 0x00[31]  SCATTER_FCS 0x00[29]  VSD 0x00[28]  MEM_RQ_TYPE 0x00[27:24]  STATE 0x00[23:20]
        FLUSH_IN_ERROR_EN 0x00[18]  TS_FORMAT 0x00[5:4]
        USER_INDEX 0x04[23:0]  CQN 0x08[23:0]  COUNTER_SET_ID 0x0c[31:24]
    }

    /// The ring of either.
    wq 0xc0 {
        WQ_TYPE 0x00[31:28]  END_PADDING_MODE 0x00[26:25]
        PD 0x08[23:0]  UAR_PAGE 0x0c[23:0]  DBR_ADDR 0x10[63:0]
        LOG_WQ_STRIDE 0x20[19:16]  LOG_WQ_PG_SZ 0x20[12:8]  LOG_WQ_SZ 0x20[4:0]
        LOG_WQE_NUM_OF_STRIDES 0x24[11:8]  LOG_WQE_STRIDE_SIZE 0x24[2:0]
    }

    /// A table of receive queues.
    rqtc 0xf0 { RQT_MAX_SIZE 0x14[15:0]  RQT_ACTUAL_SIZE 0x18[15:0] }

    /// A place that frames are received at.
    tirc 0xf0 {
        DISP_TYPE 0x04[31:28]  INLINE_RQN 0x1c[23:0]
        RX_HASH_SYMMETRIC 0x20[31]  INDIRECT_TABLE 0x20[23:0]
        RX_HASH_FN 0x24[31:28]  SELF_LB_BLOCK 0x24[25:24]  TRANSPORT_DOMAIN 0x24[23:0]
        HASH_L3 0x50[31]  HASH_L4 0x50[30]  HASH_FIELDS 0x50[29:0]
    }

    /// The function's place at the card's switch.
    nic_vport_context 0x100 {
        MIN_WQE_INLINE_MODE 0x00[26:24]  DISABLE_MC_LOCAL_LB 0x00[2]  DISABLE_UC_LOCAL_LB 0x00[1]
        MTU 0x24[15:0]
        SYSTEM_IMAGE_GUID 0x28[63:0]  PORT_GUID 0x30[63:0]  NODE_GUID 0x38[63:0]
        PROMISC_UC 0xf0[31]  PROMISC_MC 0xf0[30]  PROMISC_ALL 0xf0[29]
        ALLOWED_LIST_TYPE 0xf0[26:24]  ALLOWED_LIST_SIZE 0xf0[11:0]
        PERMANENT_ADDRESS_47_32 0xf4[15:0]  PERMANENT_ADDRESS_31_0 0xf8[31:0]
    }

    /// What of a frame's headers a flow matches.
    headers 0x40 {
        ETHERTYPE 0x04[15:0]  DMAC_47_16 0x08[31:0]  DMAC_15_0 0x0c[31:16]
        IP_PROTOCOL 0x10[31:24]  FRAG 0x10[13]
        TCP_SPORT 0x14[31:16]  TCP_DPORT 0x14[15:0]  UDP_SPORT 0x1c[31:16]  UDP_DPORT 0x1c[15:0]
        SRC_IPV6_127_64 0x20[63:0]  SRC_IPV6_63_0 0x28[63:0]  DST_IPV6_127_64 0x30[63:0]  DST_IPV6_63_0 0x38[63:0]
    }

    /// Where a flow goes.
    destination 0x08 { TYPE 0x00[31:24]  ID 0x00[23:0] }

    /// An event.
    eqe 0x40 {
        EVENT_TYPE 0x00[23:16]  EVENT_SUB_TYPE 0x00[7:0]
        CQ_ERROR_CQN 0x20[23:0]  CQ_ERROR_SYNDROME 0x28[7:0]
        PAGES_EMBEDDED_CPU 0x20[31]  PAGES_RELEASE_ALL 0x20[30]  PAGES_FUNCTION_ID 0x20[15:0]  PAGES_NUM 0x24[31:0]
        OWNER 0x3c[0]
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::assert_apart;
    use super::*;

    #[test]
    fn fields_lie_in_their_structures() {
        for (name, bytes, fields) in STRUCTURES {
            // The data of an event mean one thing or another.
            if *name != "eqe" {
                assert_apart(name, *bytes, fields);
            }
        }
    }
}
