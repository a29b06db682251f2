//! What a card can do: the gate of everything that not all cards have.
//!
//! A card refuses a bit of a context that it has no capability for, so none is set
//! but by what is asked here. Tables as in `cmd`; places count from the structure.

use super::cmd::{header, query_hca_cap, set_hca_cap};
use super::hw::Hw;
use super::layout::structures;
use crate::driver::mailbox::{Bits, Field, Request};
use crate::error::{Kind, Result};

structures! {
    /// Of the function.
    general 0x100 {
        LOG_MAX_QP 0x10[4:0]  LOG_MAX_CQ_SZ 0x18[23:16]
        LOG_MAX_EQ_SZ 0x1c[31:24]  LOG_MAX_EQ 0x1c[3:0]  VPORT_COUNTERS 0x30[30]
        VPORT_GROUP_MANAGER 0x34[31]  ETH_VIRT 0x34[28]  NIC_FLOW_TABLE 0x34[25]  PORT_TYPE 0x34[9:8]
        CMDIF_CHECKSUM 0x40[15:14]  ETH_NET_OFFLOADS 0x40[3]  CQ_OI 0x44[31]
        BF 0x4c[31]  LOG_BF_REG_SIZE 0x4c[20:16]
        LOG_MAX_RQT_SIZE 0x70[12:8]  LOG_MAX_STRIDE_SZ_RQ 0x74[28:24]  LOG_MIN_STRIDE_SZ_RQ 0x74[20:16]
        LOG_MAX_WQ_SZ 0x78[4:0]
        DISABLE_LOCAL_LB_UC 0x7c[30]  DISABLE_LOCAL_LB_MC 0x7c[29]
        LOG_MAX_CURRENT_MC_LIST 0x7c[12:8]  LOG_MAX_CURRENT_UC_LIST 0x7c[4:0]
        SQ_TS_FORMAT 0x88[31:30]  RQ_TS_FORMAT 0x88[29:28]  MAX_NUM_EQS 0x8c[15:0]
        LOG_MAX_L2_TABLE 0x90[28:24]  LOG_UAR_PAGE_SZ 0x90[15:0]
        DEVICE_FREQUENCY_KHZ 0x9c[31:0]  CQE_COMPRESSION 0xb4[0]
    }

    /// Of Ethernet.
    ethernet 0x100 {
        CSUM_CAP 0x00[31]  VLAN_CAP 0x00[30]  WQE_VLAN_INSERT 0x00[24]  WQE_INLINE_MODE 0x00[13:12]
        RSS_IND_TBL_CAP 0x00[11:8]  ENHANCED_MULTI_PKT_SEND_WQE 0x00[5]
    }

    /// Of tables of received flows.
    flow 0x100 { FT_SUPPORT 0x40[31]  LOG_MAX_FT_SIZE 0x44[29:24]  MAX_FT_LEVEL 0x44[7:0] }
}

/// Kinds of capabilities.
mod kind {
    pub const GENERAL: u64 = 0;
    pub const ETHERNET: u64 = 1;
    pub const FLOW: u64 = 7;
}

/// What a card can do, as it was told.
#[derive(Clone, Debug, Default)]
pub struct Caps {
    general: Vec<u8>,
    ethernet: Vec<u8>,
    flow: Vec<u8>,
}

impl Caps {
    /// One of the function's.
    pub fn general(&self, bits: Bits) -> u32 {
        bits.read(&self.general).unwrap_or(0) as u32
    }

    /// One of Ethernet's.
    pub fn ethernet(&self, bits: Bits) -> u32 {
        bits.read(&self.ethernet).unwrap_or(0) as u32
    }

    /// One of the tables of received flows.
    pub fn flow(&self, bits: Bits) -> u32 {
        bits.read(&self.flow).unwrap_or(0) as u32
    }

    /// Event queues that it can have.
    pub fn event_queues(&self) -> u32 {
        match self.general(general::MAX_NUM_EQS) {
            0 => 1 << self.general(general::LOG_MAX_EQ),
            count => count,
        }
    }
}

/// Which of two values each capability has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// The most that it can be set to.
    Most = 0,
    /// What is set.
    Set = 1,
}

fn query(kind: u64, which: Which) -> Request {
    Request::new(query_hca_cap::COMMAND).with_bits(header::OP_MOD, kind << 1 | which as u64)
}

fn ask(hw: &Hw, kind: u64, which: Which) -> Result<Vec<u8>> {
    let reply = hw.ask(query(kind, which))?;
    Ok(reply.body().get(query_hca_cap::CAPABILITY..).unwrap_or(&[]).to_vec())
}

/// Most queues, as a logarithm, that memory is wanted for: a card keeps contexts for
/// as many as it is told, whether they come or not.
const LOG_QUEUES: u64 = 12;

/// Before the firmware is started: changes the little that must be otherwise. A
/// refusal is survived, as all of it is asked for again later.
pub fn choose(hw: &mut Hw) -> Result<()> {
    let most = ask(hw, kind::GENERAL, Which::Most)?;
    let set = ask(hw, kind::GENERAL, Which::Set)?;
    hw.caps.general.clone_from(&set);
    // Before any memory is given for it.
    check_port(hw)?;
    let mut wanted = set.clone();
    let queues = general::LOG_MAX_QP.read(&set).unwrap_or(0).min(LOG_QUEUES);
    let queues = queues.min(general::LOG_MAX_QP.read(&most).unwrap_or(0));
    for (bits, value) in [(general::LOG_MAX_QP, queues), (general::CMDIF_CHECKSUM, 0), (general::LOG_UAR_PAGE_SZ, 0)] {
        bits.write(&mut wanted, value);
    }
    if wanted != set {
        let body = Field { offset: set_hca_cap::CAPABILITY, bytes: wanted.len() };
        hw.ask_optional(Request::new(set_hca_cap::COMMAND).with_bytes(body, &wanted))?;
    }
    Ok(())
}

/// Once the firmware runs: what is set now.
pub fn learn(hw: &mut Hw) -> Result<()> {
    hw.caps.general = ask(hw, kind::GENERAL, Which::Set)?;
    check_port(hw)?;
    for (bits, what) in [(general::ETH_NET_OFFLOADS, "Ethernet offloads"), (general::NIC_FLOW_TABLE, "flow tables")] {
        if hw.caps.general(bits) == 0 {
            let text = format!("its firmware has no {what} for this function; update the firmware");
            return Err(hw.error(Kind::Unsupported, text));
        }
    }
    hw.caps.ethernet = ask(hw, kind::ETHERNET, Which::Set)?;
    hw.caps.flow = ask(hw, kind::FLOW, Which::Set)?;
    if hw.caps.flow(flow::FT_SUPPORT) == 0 {
        let text = "its firmware lets this function have no flow tables, so nothing could be received";
        return Err(hw.error(Kind::Unsupported, text));
    }
    Ok(())
}

/// Refuses a port that is not Ethernet's.
fn check_port(hw: &Hw) -> Result<()> {
    const ETHERNET: u32 = 1;
    if hw.caps.general(general::PORT_TYPE) == ETHERNET { Ok(()) } else { Err(infiniband(hw)) }
}

/// The error for a port of InfiniBand.
pub fn infiniband(hw: &Hw) -> crate::Error {
    hw.error(
        Kind::Unsupported,
        "its port is set to InfiniBand; set LINK_TYPE to Ethernet in the card's settings (mlxconfig), then switch the machine off and on",
    )
}

#[cfg(test)]
mod tests {
    use super::super::layout::assert_apart;
    use super::*;

    #[test]
    fn capabilities_lie_in_their_structures() {
        for (name, bytes, fields) in STRUCTURES {
            assert_apart(name, *bytes, fields);
        }
    }
}
