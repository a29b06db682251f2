//! Commands of the firmware: their layouts, as a table.
//!
//! Numbers, names and places are those of the vendor's reference manual. Every
//! request begins with its number and a modifier, every answer with a status and
//! a syndrome ([`header`]). Contexts that lie in a request are in `ctx`. Only
//! commands that this driver gives are here, and only fields that it needs.

use super::layout::{commands, structures};

structures! {
    /// What requests and answers begin with.
    header 0x08 { OPCODE 0x00[31:16]  OP_MOD 0x04[15:0] }

    /// What answers begin with.
    outcome 0x08 { STATUS 0x00[31:24]  SYNDROME 0x04[31:0] }
}

commands! {
    /// What the function can do; the modifier says of which kind, and the most or what is set.
    query_hca_cap QUERY_HCA_CAP 0x100 at CAPABILITY 0x10
        in 0x10 {}
        out 0x1010 {}

    /// Starts it, once it has the pages that it wants.
    init_hca INIT_HCA 0x102
        in 0x10 {}
        out 0x10 {}

    /// Stops it.
    teardown_hca TEARDOWN_HCA 0x103
        in 0x10 { PROFILE 0x08[15:0] }
        out 0x10 { STATE 0x0c[0] }

    /// Takes the function into use.
    enable_hca ENABLE_HCA 0x104
        in 0x10 { FUNCTION_ID 0x08[15:0] }
        out 0x10 {}

    /// Gives it up.
    disable_hca DISABLE_HCA 0x105
        in 0x10 { FUNCTION_ID 0x08[15:0] }
        out 0x10 {}

    /// How many pages it wants; the modifier says for what.
    query_pages QUERY_PAGES 0x107
        in 0x10 { FUNCTION_ID 0x08[15:0] }
        out 0x10 { EMBEDDED_CPU 0x08[31]  FUNCTION_ID 0x08[15:0]  NUM_PAGES 0x0c[31:0] }

    /// Gives pages, takes them back, or says that there are none.
    manage_pages MANAGE_PAGES 0x108 at PAS 0x10
        in 0x10 { EMBEDDED_CPU 0x08[31]  FUNCTION_ID 0x08[15:0]  INPUT_NUM_ENTRIES 0x0c[31:0] }
        out 0x10 { OUTPUT_NUM_ENTRIES 0x08[31:0] }

    /// Changes what the function can do.
    set_hca_cap SET_HCA_CAP 0x109 at CAPABILITY 0x10
        in 0x1010 {}
        out 0x10 {}

    /// Which forms of the interface it speaks.
    query_issi QUERY_ISSI 0x10a
        in 0x10 {}
        out 0x70 { CURRENT_ISSI 0x08[15:0]  SUPPORTED_ISSI_DW0 0x6c[31:0] }

    /// Which form is spoken from now on.
    set_issi SET_ISSI 0x10b
        in 0x10 { CURRENT_ISSI 0x08[15:0] }
        out 0x10 {}

    /// Makes a key to memory.
    create_mkey CREATE_MKEY 0x200 at CONTEXT 0x10
        in 0x110 {}
        out 0x10 { MKEY_INDEX 0x08[23:0] }

    /// Takes it back.
    destroy_mkey DESTROY_MKEY 0x202
        in 0x10 { MKEY_INDEX 0x08[23:0] }
        out 0x10 {}

    /// Makes an event queue; pages follow.
    create_eq CREATE_EQ 0x301 at CONTEXT 0x10
        in 0x110 { EVENT_BITMASK 0x58[63:0] }
        out 0x10 { EQ_NUMBER 0x08[7:0] }

    /// Takes it back.
    destroy_eq DESTROY_EQ 0x302
        in 0x10 { EQ_NUMBER 0x08[7:0] }
        out 0x10 {}

    /// Makes a completion queue; pages follow.
    create_cq CREATE_CQ 0x400 at CONTEXT 0x10
        in 0x110 {}
        out 0x10 { CQN 0x08[23:0] }

    /// Takes it back.
    destroy_cq DESTROY_CQ 0x401
        in 0x10 { CQN 0x08[23:0] }
        out 0x10 {}

    /// Whether the port has a link.
    query_vport_state QUERY_VPORT_STATE 0x750
        in 0x10 { OTHER_VPORT 0x08[31]  VPORT_NUMBER 0x08[15:0] }
        out 0x10 { ADMIN_STATE 0x0c[7:4]  STATE 0x0c[3:0] }

    /// The function's place at the card's switch.
    query_nic_vport_context QUERY_NIC_VPORT_CONTEXT 0x754 at CONTEXT 0x10
        in 0x10 { ALLOWED_LIST_TYPE 0x0c[26:24] }
        out 0x110 {}

    /// Changes what FIELD_SELECT names of it; a list of addresses may follow.
    modify_nic_vport_context MODIFY_NIC_VPORT_CONTEXT 0x755 at CONTEXT 0x100
        in 0x200 { FIELD_SELECT 0x0c[31:0] }
        out 0x10 {}

    /// What has passed the function's place at the switch.
    query_vport_counter QUERY_VPORT_COUNTER 0x770
        in 0x20 { CLEAR 0x18[31] }
        out 0x210 {
            RECEIVED_BROADCAST_PACKETS 0x70[63:0]    RECEIVED_BROADCAST_OCTETS 0x78[63:0]
            TRANSMITTED_BROADCAST_PACKETS 0x80[63:0] TRANSMITTED_BROADCAST_OCTETS 0x88[63:0]
            RECEIVED_UNICAST_PACKETS 0x90[63:0]      RECEIVED_UNICAST_OCTETS 0x98[63:0]
            TRANSMITTED_UNICAST_PACKETS 0xa0[63:0]   TRANSMITTED_UNICAST_OCTETS 0xa8[63:0]
            RECEIVED_MULTICAST_PACKETS 0xb0[63:0]    RECEIVED_MULTICAST_OCTETS 0xb8[63:0]
            TRANSMITTED_MULTICAST_PACKETS 0xc0[63:0] TRANSMITTED_MULTICAST_OCTETS 0xc8[63:0]
        }

    /// Makes counters of what queues drop.
    alloc_q_counter ALLOC_Q_COUNTER 0x771
        in 0x10 {}
        out 0x10 { COUNTER_SET_ID 0x08[7:0] }

    /// Takes them back.
    dealloc_q_counter DEALLOC_Q_COUNTER 0x772
        in 0x10 { COUNTER_SET_ID 0x08[7:0] }
        out 0x10 {}

    /// Reads them.
    query_q_counter QUERY_Q_COUNTER 0x773
        in 0x20 { CLEAR 0x18[31]  COUNTER_SET_ID 0x1c[7:0] }
        out 0x100 { OUT_OF_BUFFER 0x30[31:0] }

    /// Makes a protection domain.
    alloc_pd ALLOC_PD 0x800
        in 0x10 {}
        out 0x10 { PD 0x08[23:0] }

    /// Takes it back.
    dealloc_pd DEALLOC_PD 0x801
        in 0x10 { PD 0x08[23:0] }
        out 0x10 {}

    /// Gives a page of doorbells.
    alloc_uar ALLOC_UAR 0x802
        in 0x10 {}
        out 0x10 { UAR 0x08[23:0] }

    /// Takes it back.
    dealloc_uar DEALLOC_UAR 0x803
        in 0x10 { UAR 0x08[23:0] }
        out 0x10 {}

    /// Reads or writes a register of the port; its data follow.
    access_register ACCESS_REGISTER 0x805 at DATA 0x10
        in 0x10 { REGISTER_ID 0x08[15:0]  ARGUMENT 0x0c[31:0] }
        out 0x10 {}

    /// Makes a transport domain.
    alloc_transport_domain ALLOC_TRANSPORT_DOMAIN 0x816
        in 0x10 {}
        out 0x10 { TRANSPORT_DOMAIN 0x08[23:0] }

    /// Takes it back.
    dealloc_transport_domain DEALLOC_TRANSPORT_DOMAIN 0x817
        in 0x10 { TRANSPORT_DOMAIN 0x08[23:0] }
        out 0x10 {}

    /// Has frames for an address given to this function.
    set_l2_table_entry SET_L2_TABLE_ENTRY 0x829
        in 0x40 { TABLE_INDEX 0x14[23:0]  VLAN_VALID 0x1c[12]  MAC_47_32 0x20[15:0]  MAC_31_0 0x24[31:0] }
        out 0x10 {}

    /// Has them not given any more.
    delete_l2_table_entry DELETE_L2_TABLE_ENTRY 0x82b
        in 0x40 { TABLE_INDEX 0x14[23:0] }
        out 0x10 {}

    /// Makes a place that frames are received at.
    create_tir CREATE_TIR 0x900 at CONTEXT 0x20
        in 0x110 {}
        out 0x10 { TIRN 0x08[23:0] }

    /// Takes it back.
    destroy_tir DESTROY_TIR 0x902
        in 0x10 { TIRN 0x08[23:0] }
        out 0x10 {}

    /// Makes a send queue; pages follow.
    create_sq CREATE_SQ 0x904 at CONTEXT 0x20 at WQ 0x50
        in 0x110 {}
        out 0x10 { SQN 0x08[23:0] }

    /// Changes its state.
    modify_sq MODIFY_SQ 0x905 at CONTEXT 0x20
        in 0x110 { SQ_STATE 0x08[31:28]  SQN 0x08[23:0]  MODIFY_BITMASK 0x10[63:0] }
        out 0x10 {}

    /// Takes it back.
    destroy_sq DESTROY_SQ 0x906
        in 0x10 { SQN 0x08[23:0] }
        out 0x10 {}

    /// Its context.
    query_sq QUERY_SQ 0x907 at CONTEXT 0x20
        in 0x10 { SQN 0x08[23:0] }
        out 0x110 {}

    /// Makes a receive queue; pages follow.
    create_rq CREATE_RQ 0x908 at CONTEXT 0x20 at WQ 0x50
        in 0x110 {}
        out 0x10 { RQN 0x08[23:0] }

    /// Changes its state.
    modify_rq MODIFY_RQ 0x909 at CONTEXT 0x20
        in 0x110 { RQ_STATE 0x08[31:28]  RQN 0x08[23:0]  MODIFY_BITMASK 0x10[63:0] }
        out 0x10 {}

    /// Takes it back.
    destroy_rq DESTROY_RQ 0x90a
        in 0x10 { RQN 0x08[23:0] }
        out 0x10 {}

    /// Its context.
    query_rq QUERY_RQ 0x90b at CONTEXT 0x20
        in 0x10 { RQN 0x08[23:0] }
        out 0x110 {}

    /// Makes a place that frames are sent from.
    create_tis CREATE_TIS 0x912 at CONTEXT 0x20
        in 0xc0 {}
        out 0x10 { TISN 0x08[23:0] }

    /// Takes it back.
    destroy_tis DESTROY_TIS 0x914
        in 0x10 { TISN 0x08[23:0] }
        out 0x10 {}

    /// Makes a table of receive queues; their numbers follow.
    create_rqt CREATE_RQT 0x916 at CONTEXT 0x20
        in 0x110 {}
        out 0x10 { RQTN 0x08[23:0] }

    /// Changes its queues; their numbers follow.
    modify_rqt MODIFY_RQT 0x917 at CONTEXT 0x20
        in 0x110 { RQTN 0x08[23:0]  RQN_LIST 0x14[0] }
        out 0x10 {}

    /// Takes it back.
    destroy_rqt DESTROY_RQT 0x918
        in 0x10 { RQTN 0x08[23:0] }
        out 0x10 {}

    /// Names the table that frames are looked up in first.
    set_flow_table_root SET_FLOW_TABLE_ROOT 0x92f
        in 0x40 { TABLE_TYPE 0x10[31:24]  TABLE_ID 0x14[23:0] }
        out 0x10 {}

    /// Makes a table of flows.
    create_flow_table CREATE_FLOW_TABLE 0x930
        in 0x40 { TABLE_TYPE 0x10[31:24]  TABLE_MISS_ACTION 0x18[27:24]  LEVEL 0x18[23:16]  LOG_SIZE 0x18[7:0] }
        out 0x10 { TABLE_ID 0x08[23:0] }

    /// Takes it back.
    destroy_flow_table DESTROY_FLOW_TABLE 0x931
        in 0x40 { TABLE_TYPE 0x10[31:24]  TABLE_ID 0x14[23:0] }
        out 0x10 {}

    /// Makes a group of entries that match the same fields.
    create_flow_group CREATE_FLOW_GROUP 0x933 at MATCH_CRITERIA 0x40
        in 0x400 {
            TABLE_TYPE 0x10[31:24]  TABLE_ID 0x14[23:0]  START_FLOW_INDEX 0x1c[31:0]  END_FLOW_INDEX 0x24[31:0]
            MATCH_CRITERIA_ENABLE 0x3c[7:0]
        }
        out 0x10 { GROUP_ID 0x08[23:0] }

    /// Takes it back.
    destroy_flow_group DESTROY_FLOW_GROUP 0x934
        in 0x40 { TABLE_TYPE 0x10[31:24]  TABLE_ID 0x14[23:0]  GROUP_ID 0x18[31:0] }
        out 0x10 {}

    /// Makes an entry; destinations follow.
    set_flow_table_entry SET_FLOW_TABLE_ENTRY 0x936 at MATCH_VALUE 0x80
        in 0x340 {
            TABLE_TYPE 0x10[31:24]  TABLE_ID 0x14[23:0]  MODIFY_ENABLE_MASK 0x18[7:0]  FLOW_INDEX 0x20[31:0]
            GROUP_ID 0x44[31:0]  FLOW_TAG 0x48[23:0]  ACTION 0x4c[15:0]  DESTINATION_LIST_SIZE 0x50[23:0]
        }
        out 0x10 {}

    /// Takes it back.
    delete_flow_table_entry DELETE_FLOW_TABLE_ENTRY 0x938
        in 0x40 { TABLE_TYPE 0x10[31:24]  TABLE_ID 0x14[23:0]  FLOW_INDEX 0x20[31:0] }
        out 0x10 {}
}

#[cfg(test)]
mod tests {
    use super::super::layout::assert_apart;
    use super::*;

    #[test]
    fn fields_lie_in_their_commands_and_share_no_bit() {
        for (command, input, output) in TABLE {
            let what = |way| format!("{} {way}", command.name);
            assert_apart(&what("in"), command.input, &[&[header::OPCODE, header::OP_MOD], *input].concat());
            assert_apart(&what("out"), command.output, &[&[outcome::STATUS, outcome::SYNDROME], *output].concat());
        }
        for (name, bytes, fields) in STRUCTURES {
            assert_apart(name, *bytes, fields);
        }
    }

    #[test]
    fn no_two_commands_have_one_number_and_a_few_are_known_by_heart() {
        let mut codes: Vec<_> = TABLE.iter().map(|(command, ..)| command.code).collect();
        codes.dedup();
        assert!(codes.is_sorted() && codes.len() == TABLE.len());
        assert_eq!((codes[0], create_sq::COMMAND.code, set_flow_table_entry::COMMAND.code), (0x100, 0x904, 0x936));
    }
}
