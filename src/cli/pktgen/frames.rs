//! What frames hold, as `bmnic pktgen` is told.

use crate::error::{Error, Kind, Result};
use crate::net::MacAddr;
use crate::packet::build::{
    Builder, Bytes, Dscp, Ecn, Ethertype, Proto, Recipe, Sizes, Stack, TcpFlags, Tos, Tpid, Vlans, Wrong,
};
use crate::packet::values::{Ips, Macs, Ports};
use clap::{Args, FromArgMatches};

/// Seed of what is random, if none is named.
const SEED: u64 = 1;

/// Options of what is in a frame.
#[derive(Clone, Debug, Args)]
pub struct Frames {
    /// Frame sizes with FCS: 64, a list 64,1518, a range 64-1518, or imix (IMIX_v4_1 of CSIT)
    #[arg(short, long, value_name = "SIZES")]
    size: Option<Sizes>,
    /// What the frames hold [default: udp]
    #[arg(long, value_name = "PROTO")]
    proto: Option<ProtoArg>,
    /// Source address: one, a-b, a-b/step, a-b/rand, or rand [default: the card's]
    ///
    /// In turn, over and over, for each packet the next. A range whose end is less than its
    /// begin goes on from 0 behind the greatest value: this is so for addresses and ports.
    #[arg(long, value_name = "MAC", help_heading = "Frames")]
    src_mac: Option<Macs>,
    /// Destination address, as above [default: 02:00:00:00:00:02; broadcast for ARP]
    #[arg(long, value_name = "MAC", help_heading = "Frames")]
    dst_mac: Option<Macs>,
    /// Source address, IPv4 or IPv6: one, a-b, a network a/prefix, either with /step or /rand,
    /// or rand (of the test network) [default: 198.18.0.1]
    ///
    /// Of an IPv4 network the hosts' addresses: its first and its last are left out, unless the
    /// prefix has 31 bits or more. Of an IPv6 network all.
    #[arg(long, value_name = "IP", help_heading = "Frames")]
    src_ip: Option<Ips>,
    /// Destination address, as above [default: 198.19.0.1]
    #[arg(long, value_name = "IP", help_heading = "Frames")]
    dst_ip: Option<Ips>,
    /// Source port, or identifier of ICMP: one, a-b, a-b/step, a-b/rand, or rand [default: 9]
    #[arg(long, value_name = "PORT", help_heading = "Frames")]
    sport: Option<Ports>,
    /// Destination port, as above [default: 9]
    #[arg(long, value_name = "PORT", help_heading = "Frames")]
    dport: Option<Ports>,
    /// VLAN tag: id or id:priority, the id one, a-b, a-b/step, a-b/rand, or rand; 10.20 is two
    /// tags, outer.inner
    #[arg(long, value_name = "ID", help_heading = "Frames")]
    vlan: Option<Vlans>,
    /// Type of the first tag: 0x8100, 0x88a8 or 0x9100 [default: 0x88a8 of two tags, else 0x8100]
    #[arg(long, value_name = "TYPE", requires = "vlan", help_heading = "Frames")]
    outer_tpid: Option<Tpid>,
    /// Time to live, or hop limit [default: 64]
    #[arg(long, value_name = "N", help_heading = "Frames")]
    ttl: Option<u8>,
    /// Type of service of IPv4 and traffic class of IPv6, a byte: 0 to 255 or 0x00 to 0xff
    #[arg(long, value_name = "N", conflicts_with_all = ["dscp", "ecn"], help_heading = "Frames")]
    tos: Option<Tos>,
    /// The upper six bits of it: 0 to 63, or a name like ef, af41 or cs6
    #[arg(long, value_name = "CLASS", help_heading = "Frames")]
    dscp: Option<Dscp>,
    /// The lower two bits of it: not-ect, ect0, ect1 or ce
    #[arg(long, value_name = "CODE", help_heading = "Frames")]
    ecn: Option<Ecn>,
    /// Flags of TCP: syn, syn,ack, a number like 0x12, or none [default: ack]
    #[arg(long, value_name = "FLAGS", help_heading = "Frames")]
    tcp_flags: Option<TcpFlags>,
    /// Type of what follows the Ethernet header of --proto raw [default: 0x88b5, experimental]
    #[arg(long, value_name = "TYPE", help_heading = "Frames")]
    ethertype: Option<Ethertype>,
    /// What is behind the headers: hexadecimal digits, or a file that has the bytes
    ///
    /// It is sent as it is, without sequence number and time. Without --size a frame is as
    /// long as it takes, 64 bytes at least, and headers tell the length of the payload; with
    /// it zeros follow that belong to it. A file whose name is digits is written ./beef.
    #[arg(long, value_name = "HEX|FILE", help_heading = "Frames")]
    payload: Option<Bytes>,
    /// Send wrong checksums, to see what finds them: of the IP header, of UDP, TCP or ICMP, or both
    #[arg(long, value_name = "WHICH", help_heading = "Frames")]
    bad_csum: Option<BadSum>,
    /// Headers of any stack from a file, a line for each: eth, vlan, mpls, ipv4, ipv6, udp, tcp,
    /// icmp, icmp6, vxlan, geneve, gre, payload
    ///
    /// A line is a header and its fields, "ipv4 src=10.0.0.0/24 ttl=8", with values as those of
    /// the options: ranges, steps, rand; numbers may be hexadecimal, 0x1f. Types, protocols,
    /// lengths and checksums are filled in unless the line says them. The payload is
    /// hexadecimal digits; without it sequence number and time are at the end. What follows a
    /// # is a comment. Fields are, of eth: dst, src, type; vlan: priority, dei, id, type; mpls:
    /// label, tc, bottom, ttl; ipv4: version, ihl, tos, length, id, flags, offset, ttl, proto,
    /// checksum, src, dst; ipv6: version, tos, label, length, proto, ttl, src, dst; udp: sport,
    /// dport, length, checksum; tcp: sport, dport, seq, ack, offset, flags, window, checksum,
    /// urgent; icmp: type, code, checksum, id, seq; icmp6: type, code, checksum, id, seq; vxlan:
    /// flags, vni; geneve: flags, type, vni; gre: flags, type. Of two in the same 16 bits of
    /// their header one may change. Example: examples/vxlan.txt.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "proto", "src_mac", "dst_mac", "src_ip", "dst_ip", "sport", "dport", "vlan", "outer_tpid",
        "ttl", "tos", "dscp", "ecn", "tcp_flags", "ethertype", "payload", "bad_csum",
    ], help_heading = "Frames")]
    template: Option<Stack>,
    /// Seed of what is random, in frames and in times [default: 1]
    #[arg(long, value_name = "N", help_heading = "Frames")]
    seed: Option<u64>,
}

/// What frames hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ProtoArg {
    /// UDP datagrams
    Udp,
    /// TCP segments of no connection
    Tcp,
    /// Echo requests, ICMP or ICMPv6
    Icmp,
    /// ARP requests for the destination address
    Arp,
    /// Nothing but --payload behind the Ethernet header
    Raw,
}

/// Which checksums are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum BadSum {
    /// That of the IPv4 header
    Ip,
    /// That of UDP, TCP or ICMP
    L4,
    /// Both of them
    Both,
    /// The check sequence of the frame, which cards make themselves
    Fcs,
}

impl Frames {
    /// What frames to make with a card whose address is `mac`.
    pub fn recipe(&self, mac: Option<MacAddr>) -> Recipe {
        let default = Recipe::default();
        let (proto, target) = match self.proto() {
            ProtoArg::Udp => (Proto::Udp, default.destination_mac),
            ProtoArg::Tcp => (Proto::Tcp, default.destination_mac),
            ProtoArg::Icmp => (Proto::Icmp, default.destination_mac),
            ProtoArg::Arp => (Proto::Arp, Macs::one(MacAddr([0xff; 6]))),
            ProtoArg::Raw => (Proto::Raw, default.destination_mac),
        };
        let tos = self.dscp.map_or(0, |Dscp(code)| code << 2) | self.ecn.map_or(0, |Ecn(code)| code);
        let is = |sums: [BadSum; 2]| self.bad_csum.is_some_and(|sum| sums.contains(&sum));
        Recipe {
            proto,
            sizes: self.size.clone().unwrap_or(Sizes::Shortest),
            source_mac: self.src_mac.or(mac.map(Macs::one)).unwrap_or(default.source_mac),
            destination_mac: self.dst_mac.unwrap_or(target),
            source: self.src_ip,
            destination: self.dst_ip,
            source_port: self.sport.unwrap_or(default.source_port),
            destination_port: self.dport.unwrap_or(default.destination_port),
            vlans: Vlans { tpid: self.outer_tpid, ..self.vlan.clone().unwrap_or_default() },
            ttl: self.ttl.unwrap_or(default.ttl),
            tos: self.tos.unwrap_or(Tos(tos)),
            tcp_flags: self.tcp_flags.unwrap_or(default.tcp_flags),
            ethertype: self.ethertype.unwrap_or(default.ethertype),
            data: self.payload.clone(),
            wrong: Wrong { ip: is([BadSum::Ip, BadSum::Both]), l4: is([BadSum::L4, BadSum::Both]) },
            seed: self.seed(),
        }
    }

    /// What makes the frames with a card whose address is `mac`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for frames that cannot be.
    pub fn builder(&self, mac: Option<MacAddr>) -> Result<Builder> {
        match &self.template {
            Some(stack) => Builder::stacked(stack, self.size.as_ref().unwrap_or(&Sizes::Shortest), mac, self.seed()),
            None => Builder::new(&self.recipe(mac)),
        }
    }

    fn proto(&self) -> ProtoArg {
        self.proto.unwrap_or(ProtoArg::Udp)
    }

    /// What reads such options for [`Frames::with`]. To make it costs far more than to use it.
    pub fn reader() -> clap::Command {
        let command = clap::Command::new("fields").no_binary_name(true).disable_help_flag(true);
        Frames::augment_args_for_update(command)
    }

    /// These, with others in the place of those that `words` name, as in `dport=80 size=128`;
    /// `command` is [`Frames::reader`]'s.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn with(&self, words: &str, command: &mut clap::Command) -> std::result::Result<Frames, String> {
        if let Some(word) = words.split_whitespace().find(|word| !word.contains('=')) {
            return Err(format!("'{word}' is no field; write name=value, with a name of an option, like dport=80"));
        }
        if self.template.is_some() && words.split_whitespace().any(|word| !word.starts_with("size=")) {
            return Err("the fields of a template are said in its file; write only size here, or nothing".into());
        }
        let words = words.split_whitespace().map(|word| format!("--{word}"));
        let matches = command.try_get_matches_from_mut(words);
        let mut frames = self.clone();
        let updated = matches.and_then(|matches| frames.update_from_arg_matches(&matches));
        // Of what it says the first line is what is wrong.
        updated.map_err(|error| {
            let said = error.to_string();
            said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_string()
        })?;
        frames.check().map_err(|error| error.to_string())?;
        Ok(frames)
    }

    /// Refuses options that say nothing of these frames.
    ///
    /// # Errors
    /// [`Kind::Usage`] with the option.
    pub fn check(&self) -> Result<()> {
        let has_ip = matches!(self.proto(), ProtoArg::Udp | ProtoArg::Tcp | ProtoArg::Icmp);
        let line = match self.proto() {
            _ if !has_ip && self.ttl.is_some() => {
                "--ttl is that of an IP header, and these frames have none; leave it out, or ask for UDP, TCP or ICMP"
            }
            ProtoArg::Arp | ProtoArg::Raw if self.sport.is_some() => {
                "--sport is that of UDP or TCP, or an identifier of ICMP, and these frames have none; leave it out"
            }
            ProtoArg::Icmp | ProtoArg::Arp | ProtoArg::Raw if self.dport.is_some() => {
                "--dport is that of UDP or TCP, and these frames have none; leave it out"
            }
            _ if self.bad_csum == Some(BadSum::Fcs) => {
                "no card here sends a wrong FCS: each makes that of a frame itself; of an emulated one corrupt frames on the wire, as `bmnic emulate --list` says"
            }
            ProtoArg::Udp | ProtoArg::Icmp | ProtoArg::Arp | ProtoArg::Raw if self.tcp_flags.is_some() => {
                "--tcp-flags are those of --proto tcp, and these frames have no TCP header; leave them out"
            }
            ProtoArg::Udp | ProtoArg::Icmp | ProtoArg::Arp | ProtoArg::Tcp if self.ethertype.is_some() => {
                "--ethertype is that of --proto raw, and these frames have one of their own; leave it out"
            }
            _ => return Ok(()),
        };
        Err(Error::new(Kind::Usage, line))
    }

    /// Seed of what is random.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(SEED)
    }

    /// Whether somebody named one.
    pub fn is_seeded(&self) -> bool {
        self.seed.is_some()
    }

    /// Bytes of tags in a frame; none if nothing is said of them.
    pub fn tags(&self) -> Option<usize> {
        let template = self.template.as_ref().map(Stack::tags);
        template.or(self.vlan.as_ref().map(|vlans| 4 * vlans.tags.len()))
    }
}
