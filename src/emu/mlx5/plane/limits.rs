//! What a card can: the capabilities that creating objects and moving packets depend on.

use super::be::{bit, bits};

/// Events that every card has: of queue pairs and queues, port, pages, commands.
const EVENTS: u64 = 0x001f_0fbe;

/// Capabilities of the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Logarithms of the longest completion, event and work queues.
    pub log_cq: u8,
    /// See `log_cq`.
    pub log_eq: u8,
    /// See `log_cq`.
    pub log_wq: u8,
    /// Event queues.
    pub eqs: usize,
    /// Bytes of the longest entries of send and receive queues.
    pub sq_entry: usize,
    /// See `sq_entry`.
    pub rq_entry: usize,
    /// Events that queues may ask for.
    pub events: u64,
    /// Stamps of send and of receive queues: 0 free-running, 1 time of day, 2 both.
    pub sq_stamps: u8,
    /// See `sq_stamps`.
    pub rq_stamps: u8,
    /// Completions name the user's index.
    pub user_index: bool,
    /// Receive queues may consist of strides; less than 512 to an entry.
    pub striding: bool,
    /// See `striding`.
    pub few_strides: bool,
    /// Completions may be compressed.
    pub compression: bool,
    /// Their short forms may name strides.
    pub stride_index: bool,
    /// All completions may be of 128 bytes.
    pub cqe_128_always: bool,
    /// Completion queues may ignore overrun, and be moderated.
    pub cq_oi: bool,
    /// See `cq_oi`.
    pub moderation: bool,
    /// The period may begin with a completion.
    pub period_from_cqe: bool,
    /// Frames that are received may be filled up to cache lines.
    pub end_pad: bool,
    /// Short frames that are sent are filled up.
    pub pad_tx: bool,
    /// Received frames may come with their check sequence.
    pub scatter_fcs: bool,
    /// Frames may wait for buffers.
    pub delay_drop: bool,
    /// Tags may be inserted.
    pub vlan_insert: bool,
    /// Headers that must be inline: 0 L2, 1 what the vport says, 2 none.
    pub inline_mode: u8,
    /// Entries may hold several packets.
    pub multi_packet: bool,
    /// See `multi_packet`, in the newer form.
    pub enhanced_multi_packet: bool,
    /// Logarithm of the longest packet to segment; 0 is none.
    pub log_lso: u8,
    /// Received packets may be merged.
    pub lro: bool,
    /// Headers inside tunnels are seen.
    pub tunnels: bool,
    /// Loopback of a TIR may be changed.
    pub self_lb_modifiable: bool,
    /// Loopback of the vport may be turned off: unicast, multicast.
    pub local_lb: [bool; 2],
    /// Logarithm of the longest table of receive queues.
    pub log_rqt: u8,
    /// Kinds of flow tables that there are, by number.
    pub tables: u8,
    /// Logarithm of the largest flow table.
    pub log_table: u8,
    /// Highest level of a flow table.
    pub level: u8,
    /// The first table may be chosen.
    pub modify_root: bool,
    /// Entries may count.
    pub flow_counters: bool,
    /// Entries may be changed.
    pub flow_modify: bool,
    /// Tables may be changed.
    pub table_modify: bool,
    /// Logarithm of the most destinations of an entry.
    pub log_destinations: u8,
    /// Fields of headers that are matched, as bits of the capability.
    pub fields: u32,
    /// Logarithms of the longest lists of unicast, multicast addresses and tags.
    pub log_lists: [u8; 3],
    /// Logarithm of the distance of UAR pages, in 4 KiB.
    pub log_uar_page: u8,
    /// Logarithm of the bytes of a register that entries are stored into.
    pub log_bf: u8,
    /// Ticks of the clock in a millisecond; 0 is told where that is not known.
    pub khz: u32,
}

impl Limits {
    /// By the capabilities that are in force: general, Ethernet offloads, flow tables.
    pub fn of(general: &[u8], ethernet: &[u8], flow: &[u8]) -> Self {
        let byte = |at, high, low| bits(general, at, high, low) as u8;
        let events = [(0x34, 15, 0x16), (0x38, 15, 0x17), (0x38, 13, 0x22), (0x7c, 31, 0x0d), (0x44, 24, 0x0c)];
        let optional = events.iter().map(|(at, own, event)| u64::from(bit(general, *at, *own)) << event).sum::<u64>();
        // The layouts of receive and transmit tables, and of their sniffers.
        let kinds = [(0, 0x40), (1, 0x100), (5, 0xc0), (6, 0x180)];
        let eqs = match bits(general, 0x8c, 15, 0) {
            0 => 1 << byte(0x1c, 3, 0),
            most => most as usize,
        };
        Limits {
            log_cq: byte(0x18, 23, 16),
            log_eq: byte(0x1c, 31, 24),
            log_wq: byte(0x78, 4, 0),
            eqs,
            sq_entry: bits(general, 0x50, 15, 0) as usize,
            rq_entry: bits(general, 0x54, 15, 0) as usize,
            events: EVENTS | optional,
            sq_stamps: byte(0x88, 31, 30),
            rq_stamps: byte(0x88, 29, 28),
            user_index: byte(0x3c, 3, 0) != 0,
            striding: bit(general, 0x40, 30),
            few_strides: false,
            compression: bit(general, 0xb4, 0),
            stride_index: bit(general, 0xb4, 3),
            cqe_128_always: bit(general, 0xb4, 2),
            cq_oi: bit(general, 0x44, 31),
            moderation: bit(general, 0x44, 29),
            period_from_cqe: bit(general, 0x44, 20),
            end_pad: bit(general, 0x2c, 31),
            pad_tx: bit(general, 0x4c, 29),
            scatter_fcs: bit(ethernet, 0x00, 6),
            delay_drop: false,
            vlan_insert: bit(ethernet, 0x00, 24),
            inline_mode: bits(ethernet, 0x00, 13, 12) as u8,
            multi_packet: bits(ethernet, 0x00, 15, 14) != 0,
            enhanced_multi_packet: bit(ethernet, 0x00, 5),
            log_lso: bits(ethernet, 0x00, 20, 16) as u8,
            lro: bit(ethernet, 0x00, 29),
            tunnels: bits(ethernet, 0x00, 4, 0) != 0,
            self_lb_modifiable: bit(ethernet, 0x00, 23),
            local_lb: [bit(general, 0x7c, 30), bit(general, 0x7c, 29)],
            log_rqt: byte(0x70, 12, 8).max(bits(ethernet, 0x00, 11, 8) as u8),
            tables: kinds.iter().filter(|(_, at)| bit(flow, *at, 31)).map(|(kind, _)| 1 << kind).sum(),
            log_table: bits(flow, 0x44, 29, 24) as u8,
            level: bits(flow, 0x44, 7, 0) as u8,
            modify_root: bit(flow, 0x40, 27),
            flow_counters: bit(flow, 0x40, 29),
            flow_modify: bit(flow, 0x40, 28),
            table_modify: bit(flow, 0x40, 25),
            log_destinations: bits(flow, 0x50, 7, 0) as u8,
            fields: bits(flow, 0x60, 31, 0),
            log_uar_page: bits(general, 0x90, 15, 0).min(16) as u8,
            log_bf: byte(0x4c, 20, 16),
            log_lists: [byte(0x7c, 4, 0), byte(0x7c, 12, 8), byte(0x7c, 20, 16)],
            khz: match (bits(general, 0x9c, 31, 0), bits(general, 0x98, 31, 0)) {
                (0, mhz) => mhz * 1000,
                (khz, _) => khz,
            },
        }
    }

    /// Those of a ConnectX-4 Lx.
    #[cfg(test)]
    pub const CX4LX: Limits = Limits {
        log_cq: 22,
        log_eq: 22,
        log_wq: 15,
        eqs: 256,
        sq_entry: 0x400,
        rq_entry: 0x200,
        events: EVENTS | 1 << 0x0d,
        sq_stamps: 0,
        rq_stamps: 0,
        user_index: true,
        striding: true,
        few_strides: false,
        compression: true,
        stride_index: false,
        cqe_128_always: false,
        cq_oi: true,
        moderation: true,
        period_from_cqe: true,
        end_pad: true,
        pad_tx: true,
        scatter_fcs: false,
        delay_drop: false,
        vlan_insert: false,
        inline_mode: 1,
        multi_packet: true,
        enhanced_multi_packet: false,
        log_lso: 18,
        lro: true,
        tunnels: true,
        self_lb_modifiable: false,
        local_lb: [false; 2],
        log_rqt: 9,
        tables: 0x63,
        log_table: 16,
        level: 255,
        modify_root: true,
        flow_counters: false,
        flow_modify: false,
        table_modify: false,
        log_destinations: 10,
        fields: 0xeeef_ffc1,
        log_lists: [10, 14, 12],
        log_uar_page: 0,
        log_bf: 9,
        khz: 275_000,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words at offsets.
    fn blob(words: &[(usize, u32)]) -> Vec<u8> {
        let mut bytes = vec![0; 0x200];
        words.iter().for_each(|(at, word)| bytes[*at..*at + 4].copy_from_slice(&word.to_be_bytes()));
        bytes
    }

    #[test]
    fn what_a_connectx_4_lx_can_is_read_from_its_capabilities() {
        let general = blob(&[
            (0x18, 0x0016_0018),
            (0x1c, 0x1618_0008),
            (0x2c, 0xe000_0000),
            (0x3c, 0x0000_0001),
            (0x40, 0xc006_0c0e),
            (0x44, 0xe2fa_030f),
            (0x4c, 0xa009_0000),
            (0x50, 0x0000_0400),
            (0x54, 0x0000_0200),
            (0x70, 0x9710_0900),
            (0x78, 0x0000_000f),
            (0x7c, 0x800c_0e0a),
            (0x98, 0x0000_0113),
            (0xb4, 0x0000_0001),
        ]);
        let flow = blob(&[
            (0x40, 0xc800_0000),
            (0x44, 0x1000_00ff),
            (0x50, 0x0000_000a),
            (0x60, 0xeeef_ffc1),
            (0xc0, 0xc800_0000),
            (0x100, 0x8800_0000),
            (0x180, 0xc800_0000),
        ]);
        assert_eq!(Limits::of(&general, &blob(&[(0, 0xe872_5903)]), &flow), Limits::CX4LX);
    }
}
