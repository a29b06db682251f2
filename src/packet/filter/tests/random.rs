//! Random expressions over the whole language, with the values of the corpus.

use super::chance::Chance;
use super::corpus::{LABELS, MACS, PORTS, V4, V6, VLANS};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What has moved the layers so far decides what may follow.
#[derive(Clone, Copy, Default)]
pub struct Context {
    labels: bool,
    ppp: bool,
    tunnel: bool,
}

/// An expression; `depth` bounds its nesting.
pub fn expression(chance: &mut Chance, depth: usize) -> String {
    let mut context = Context::default();
    let text = joined(chance, depth, &mut context);
    if context.labels || context.ppp || !chance.once_in(6) {
        return text;
    }
    // What a tunnel remembers is read to its right alone, and only in its frames.
    context.tunnel = true;
    let (joint, id) = (chance.one(&["and", "or"]), chance.one(&["", "5", "6"]));
    format!("({text}) {joint} (geneve {id} and ({}))", joined(chance, depth, &mut context))
}

fn joined(chance: &mut Chance, depth: usize, context: &mut Context) -> String {
    let mut text = term(chance, depth, context);
    for _ in 0..chance.below(3) {
        let (joint, other) = (chance.one(&["and", "or", "&&", "||"]), term(chance, depth, context));
        text = format!("{text} {joint} {other}");
    }
    text
}

fn term(chance: &mut Chance, depth: usize, context: &mut Context) -> String {
    match chance.below(12) {
        0 => format!("{} {}", chance.one(&["not", "!"]), term(chance, depth, context)),
        1 | 2 if depth > 0 => format!("({})", joined(chance, depth - 1, context)),
        3 => relation(chance, *context),
        4 => wrapping(chance, context),
        _ => primitive(chance, *context),
    }
}

fn wrapping(chance: &mut Chance, context: &mut Context) -> String {
    if context.labels {
        return if context.tunnel { "len > 5".into() } else { number(chance, "mpls", &LABELS) };
    }
    match chance.below(5) {
        0 | 1 if !context.ppp => number(chance, "vlan", &VLANS),
        2 if !context.tunnel => {
            context.labels = true;
            number(chance, "mpls", &LABELS)
        }
        3 if !context.tunnel => {
            context.ppp = true;
            number(chance, "pppoes", &[0x11_u32, 0x12])
        }
        _ => "pppoed".into(),
    }
}

fn number<T: Copy + Into<u32>>(chance: &mut Chance, word: &str, of: &[T]) -> String {
    let number: u32 = chance.one(of).into();
    match chance.below(3) {
        0 => word.into(),
        1 => format!("{word} {number:#x}"),
        _ => format!("{word} {number}"),
    }
}

fn mac(chance: &mut Chance) -> String {
    let [a, b, c, d, e, f] = chance.one(&MACS);
    match chance.below(5) {
        0 => format!("{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}"),
        1 => format!("{a:02x}-{b:02x}-{c:02x}-{d:02x}-{e:02x}-{f:02x}"),
        2 => format!("{a:02x}{b:02x}.{c:02x}{d:02x}.{e:02x}{f:02x}"),
        3 => format!("{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}"),
        _ => format!("{a:02X}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
    }
}

/// A name, or its number where the system does not know it.
fn known((name, number): (&'static str, &'static str)) -> &'static str {
    let files = ["/etc/services", "/etc/protocols"];
    if files.iter().all(|file| std::path::Path::new(file).exists()) { name } else { number }
}

fn v4(chance: &mut Chance) -> Ipv4Addr {
    chance.one(&V4).into()
}

fn v6(chance: &mut Chance) -> Ipv6Addr {
    chance.one(&V6).into()
}

fn direction(chance: &mut Chance) -> &'static str {
    chance.one(&["", "src ", "dst ", "src or dst ", "src and dst ", "dst or src "])
}

/// One operand, or several with what stands before them in common.
fn operands(chance: &mut Chance, mut one: impl FnMut(&mut Chance) -> String) -> String {
    let first = one(chance);
    match chance.below(8) {
        0 => format!("{first} or {}", one(chance)),
        1 => format!("({first} or {})", one(chance)),
        2 => format!("{first} and not {}", one(chance)),
        _ => first,
    }
}

fn primitive(chance: &mut Chance, context: Context) -> String {
    const OVER_IP: [&str; 12] =
        ["ip", "ip6", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim", "vrrp", "ah"];
    const OTHERS: [&str; 26] = [
        "arp", "rarp", "atalk", "aarp", "decnet", "lat", "sca", "moprc", "mopdl", "iso", "clnp", "esis", "isis", "l1",
        "l2", "iih", "lsp", "snp", "csnp", "psnp", "stp", "ipx", "netbeui", "es-is", "esp", "carp",
    ];
    let labels = context.labels;
    let direction = direction(chance);
    match chance.below(22) {
        0..=3 => chance.one(&OVER_IP).into(),
        4 if !labels => chance.one(&OTHERS).into(),
        5 | 6 => format!(
            "{}{direction}host {}",
            if labels { "" } else { chance.one(&["", "ip ", "arp ", "rarp "]) },
            operands(chance, |c| v4(c).to_string())
        ),
        7 => format!("{}{direction}host {}", chance.one(&["", "ip6 "]), operands(chance, |c| v6(c).to_string())),
        8 => {
            let nets = [
                "10",
                "10.0",
                "192.168",
                "10.0.0.0/8",
                "192.168.0.0/16",
                "10.0.0.0/30",
                "0.0.0.0/0",
                "172.16.0.0 mask 255.255.0.0",
                "224.0.0.0/4",
            ];
            let proto = if labels { "" } else { chance.one(&["", "ip ", "arp "]) };
            format!("{proto}{direction}net {}", chance.one(&nets))
        }
        9 => format!(
            "{direction}net {}",
            chance.one(&["2001:db8::/32", "ff02::/16", "fe80::/10", "2001:db8::1/128", "::/0"])
        ),
        10..=12 => {
            let port = |c: &mut Chance| match c.below(5) {
                0 => format!("{:#x}", c.one(&PORTS)),
                1 => known(c.one(&[("domain", "53"), ("http", "80"), ("https", "443")])).to_owned(),
                _ => c.one(&PORTS).to_string(),
            };
            // Not every service is known for every transport.
            let proto = chance.one(&["", "", "tcp ", "udp ", "sctp "]);
            let text = operands(chance, port);
            if !proto.is_empty() && text.contains(['d', 'h']) && !text.contains("0x") {
                return format!("{direction}port {text}");
            }
            format!("{proto}{direction}port {text}")
        }
        13 => {
            let (low, high) = (chance.one(&PORTS), chance.one(&PORTS));
            format!("{}{direction}portrange {low}-{high}", chance.one(&["", "tcp ", "udp ", "sctp "]))
        }
        14 => {
            let proto = chance.one(&["", "ip ", "ip6 "]);
            format!(
                "{proto}proto {}",
                known(chance.one(&[
                    ("6", "6"),
                    ("0x3a", "58"),
                    ("\\tcp", "6"),
                    ("\\udp", "17"),
                    ("51", "51"),
                    ("132", "132"),
                    ("gre", "47"),
                    ("44", "44")
                ]))
            )
        }
        15 if !labels => format!(
            "ether proto {}",
            chance.one(&[
                "0x800", "\\ip6", "\\arp", "0x88f7", "0x42", "\\stp", "\\ipx", "34525", "6", "\\atalk", "0x9000"
            ])
        ),
        15 | 16 if !context.ppp => match chance.below(3) {
            0 => format!("ether {direction}host {}", operands(chance, mac)),
            1 => format!("ether {} {}", chance.one(&["src", "dst"]), mac(chance)),
            _ => chance.one(&["broadcast", "multicast", "ether broadcast", "ether multicast"]).into(),
        },
        17 => chance.one(&["ip multicast", "ip6 multicast"]).into(),
        18 => format!("{} {}", chance.one(&["less", "greater"]), 20 + chance.below(100)),
        19 if !context.ppp => format!(
            "llc {}",
            chance.one(&[
                "", "i", "s", "u", "rr", "rnr", "rej", "ui", "ua", "disc", "dm", "sabme", "test", "xid", "frmr"
            ])
        ),
        20 if !labels => match chance.below(4) {
            0 => format!("decnet {direction}host 1.{}", chance.one(&[5, 6])),
            1 => format!("iso proto {}", chance.one(&["\\isis", "\\esis", "\\clnp", "0x83"])),
            2 => format!("isis proto {}", chance.one(&[15, 18, 27])),
            _ => {
                format!("byte {} {} {}", chance.below(16), chance.one(&["=", "<", ">"]), chance.one(&[0, 1, 2, 8, 255]))
            }
        },
        21 if !context.tunnel => {
            format!("{}protochain {}", chance.one(&["", "ip ", "ip6 "]), chance.one(&["6", "17", "58", "51", "0"]))
        }
        _ => chance.one(&["tcp", "udp", "ip", "ip6"]).into(),
    }
}

fn relation(chance: &mut Chance, context: Context) -> String {
    let (left, right) = (arithmetic(chance, 3, context), arithmetic(chance, 1, context));
    match chance.below(5) {
        0 => format!("{left} {} {right}", chance.one(&["=", "==", "!=", "<", "<=", ">", ">="])),
        1 => format!(
            "{} & {} != 0",
            bytes(chance, 1, context),
            chance.one(&["1", "0xf", "0x1fff", "tcp-syn", "(tcp-fin|tcp-push)"])
        ),
        2 => format!("icmp[icmptype] = {}", chance.one(&["icmp-echo", "icmp-unreach", "icmp-timxceed", "0"])),
        3 => format!(
            "tcp[tcpflags] & {} {} 0",
            chance.one(&["tcp-syn", "tcp-ack", "tcp-cwr", "0x3f"]),
            chance.one(&["=", "!="])
        ),
        _ => format!(
            "{left} {} {}",
            chance.one(&["=", "!=", "<", "<=", ">", ">="]),
            chance.one(&[0, 1, 4, 6, 8, 17, 40, 60, 64, 100, 255, 65535])
        ),
    }
}

fn bytes(chance: &mut Chance, depth: usize, context: Context) -> String {
    let protos: &[&str] = if context.labels {
        &["ip", "ip6", "tcp", "udp", "icmp", "icmp6", "ether"]
    } else {
        &[
            "ether", "ether", "ip", "ip", "ip6", "arp", "rarp", "tcp", "udp", "icmp", "icmp6", "igmp", "pim", "vrrp",
            "sctp", "link", "decnet", "atalk",
        ]
    };
    let at = if depth > 0 && chance.once_in(4) {
        arithmetic(chance, depth - 1, context)
    } else {
        chance.below(30).to_string()
    };
    let proto = chance.one(protos);
    match chance.below(3) {
        0 => format!("{proto}[{at}]"),
        1 => format!("{proto}[{at}:2]"),
        _ => format!("{proto}[{at}:{}]", chance.one(&[1, 2, 4])),
    }
}

fn arithmetic(chance: &mut Chance, depth: usize, context: Context) -> String {
    if depth == 0 || chance.once_in(3) {
        return match chance.below(4) {
            0 => "len".into(),
            1 => chance.one(&["0", "1", "2", "4", "13", "0x3f", "60", "1500"]).into(),
            _ => bytes(chance, depth, context),
        };
    }
    let left = arithmetic(chance, depth - 1, context);
    match chance.below(10) {
        0 => format!("-{left}"),
        1 => format!("({left}) {} {}", chance.one(&["/", "%"]), chance.one(&["1", "3", "4", "len"])),
        2 => format!("{left} {} {}", chance.one(&["<<", ">>"]), chance.below(9)),
        3 | 4 => {
            let operator = chance.one(&["+", "-", "*", "&", "|", "^", "%", "/"]);
            format!("{left} {operator} {}", arithmetic(chance, depth - 1, context))
        }
        _ => format!(
            "{left} {} {}",
            chance.one(&["+", "-", "*", "&", "|", "^"]),
            chance.one(&["1", "2", "0xf", "20", "len"])
        ),
    }
}
