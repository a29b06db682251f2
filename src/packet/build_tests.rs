//! What etherparse and plain arithmetic say of the frames that are built.

use super::*;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

fn frames(recipe: &Recipe, n: usize) -> Vec<Vec<u8>> {
    let mut builder = Builder::new(recipe).unwrap();
    (0..n)
        .map(|i| {
            // What was in the buffer before must not shine through.
            let mut frame = vec![0xa5; builder.next_len()];
            builder.write(&mut frame, 1_700_000_000_000_000_000 + i as u64);
            frame
        })
        .collect()
}

/// Checks lengths and checksums with etherparse and returns the payload.
pub(super) fn judge(frame: &[u8]) -> Vec<u8> {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let tags = 4 * packet.vlan_ids().len();
    let net = packet.net.expect("a network header");
    let transport = packet.transport.expect("a transport header");
    let (v4, v6) = match &net {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
            assert_eq!(usize::from(header.total_len), frame.len() - 14 - tags);
            (Some(header), None)
        }
        NetSlice::Ipv6(ip) => (None, Some(ip.header().to_header())),
        NetSlice::Arp(_) => panic!("ARP has no transport"),
    };
    match transport {
        TransportSlice::Udp(udp) => {
            let (header, payload) = (udp.to_header(), udp.payload());
            let want = match (&v4, &v6) {
                (Some(ip), _) => header.calc_checksum_ipv4(ip, payload).unwrap(),
                (_, Some(ip)) => header.calc_checksum_ipv6(ip, payload).unwrap(),
                _ => unreachable!(),
            };
            assert_eq!(header.checksum, want);
            payload.to_vec()
        }
        TransportSlice::Tcp(tcp) => {
            let (header, payload) = (tcp.to_header(), tcp.payload());
            let want = match (&v4, &v6) {
                (Some(ip), _) => header.calc_checksum_ipv4(ip, payload).unwrap(),
                (_, Some(ip)) => header.calc_checksum_ipv6(ip, payload).unwrap(),
                _ => unreachable!(),
            };
            assert_eq!(header.checksum, want);
            payload.to_vec()
        }
        TransportSlice::Icmpv4(icmp) => {
            let header = icmp.header();
            let mut again = header.clone();
            again.update_checksum(icmp.payload());
            assert_eq!(header.checksum, again.checksum);
            icmp.payload().to_vec()
        }
        TransportSlice::Icmpv6(icmp) => {
            let ip = v6.unwrap();
            assert!(icmp.is_checksum_valid(ip.source, ip.destination));
            icmp.payload().to_vec()
        }
        TransportSlice::Igmp(_) => panic!("nobody asked for IGMP"),
    }
}

#[test]
fn the_default_frame_is_sixty_bytes_of_udp_in_the_test_network() {
    let frame = &frames(&Recipe::default(), 1)[0];
    assert_eq!(frame.len(), 60);
    judge(frame);
    assert_eq!(frame[26..34], [198, 18, 0, 1, 198, 19, 0, 1]);
    assert_eq!(trailer(frame, 18), (Some(0), Some(1_700_000_000_000_000_000)));
}

#[test]
fn the_sequence_number_is_where_ixy_looks_for_it() {
    for (n, frame) in frames(&Recipe::default(), 300).iter().enumerate() {
        assert_eq!(u32::from_le_bytes(*frame.last_chunk().unwrap()), n as u32);
    }
    let mut builder = Builder::new(&Recipe::default()).unwrap();
    builder.set_sequence(u64::from(u32::MAX));
    let mut frame = [0; 60];
    for sequence in [0xffff_ffff, 0x1_0000_0000] {
        builder.write(&mut frame, 0);
        assert_eq!(trailer(&frame, 18).0, Some(sequence), "it does not wrap at 32 bits");
        judge(&frame);
    }
}

#[test]
fn a_short_payload_has_as_much_of_the_trailer_as_fits() {
    let tcp = Recipe { proto: Proto::Tcp, ..Recipe::default() };
    let frame = &frames(&tcp, 2)[1];
    assert_eq!(frame.len(), 60);
    judge(frame);
    assert_eq!(trailer(frame, 6), (Some(1), None));
    let v6 = Recipe { destination: Some("2001:2::5".parse().unwrap()), ..Recipe::default() };
    assert_eq!(frames(&v6, 1)[0].len(), 66, "as short as the headers and a sequence number allow");
    let exact = Recipe { sizes: "66".parse().unwrap(), ..v6 };
    assert!(judge(&frames(&exact, 1)[0]).is_empty());
}

#[test]
fn an_arp_request_asks_for_the_destination() {
    let recipe = Recipe {
        proto: Proto::Arp,
        source: Some("10.0.0.1".parse().unwrap()),
        destination: Some("10.0.0.7-10.0.0.9".parse().unwrap()),
        destination_mac: "ff:ff:ff:ff:ff:ff".parse().unwrap(),
        source_mac: "02:00:00:00:00:01-02:00:00:00:00:03".parse().unwrap(),
        ..Recipe::default()
    };
    for (i, frame) in frames(&recipe, 3).iter().enumerate() {
        let i = i as u8;
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(NetSlice::Arp(arp)) = packet.net else { panic!() };
        assert_eq!(arp.sender_hw_addr(), [2, 0, 0, 0, 0, 1 + i]);
        assert_eq!(frame[6..12], [2, 0, 0, 0, 0, 1 + i]);
        assert_eq!(
            (arp.sender_protocol_addr(), arp.target_protocol_addr()),
            (&[10, 0, 0, 1][..], &[10, 0, 0, 7 + i][..])
        );
        assert_eq!(arp.target_hw_addr(), [0; 6]);
        assert_eq!(trailer(frame, 18).0, Some(i.into()));
    }
}

#[test]
fn sizes_take_turns_and_their_mean_is_the_imix_mean() {
    let recipe = Recipe { sizes: "imix".parse().unwrap(), ..Recipe::default() };
    let builder = Builder::new(&recipe).unwrap();
    assert!((builder.mean_len() + 4.0 - (7.0 * 64.0 + 4.0 * 570.0 + 1518.0) / 12.0).abs() < 1e-9);
    let range = Recipe { sizes: "64-66".parse().unwrap(), ..Recipe::default() };
    let lens: Vec<usize> = frames(&range, 4).iter().map(|frame| judge(frame).len() + 42).collect();
    assert_eq!(lens, [60, 61, 62, 60]);
}

#[test]
fn sizes_of_a_list_may_have_blanks_between_them() {
    assert_eq!("64, 128 ,1518".parse::<Sizes>().unwrap(), Sizes::List(vec![60, 124, 1514]));
    assert_eq!("64 - 128".parse::<Sizes>().unwrap(), Sizes::Range(60, 124));
}

/// The values of `at..at + len` in so many frames.
fn numbers(recipe: &Recipe, n: usize, at: usize, len: usize) -> Vec<u128> {
    let number = |frame: &Vec<u8>| frame[at..at + len].iter().fold(0, |n, &byte| n << 8 | u128::from(byte));
    frames(recipe, n).iter().map(number).collect()
}

#[test]
fn a_range_that_passes_the_greatest_value_goes_on_from_zero() {
    let sizes: Sizes = "100".parse().unwrap();
    let recipe = Recipe {
        source_port: "65534-1".parse().unwrap(),
        source: Some("255.255.255.254-0.0.0.1/3".parse().unwrap()),
        destination_mac: "ff:ff:ff:ff:ff:ff-00:00:00:00:00:00".parse().unwrap(),
        sizes: sizes.clone(),
        ..Recipe::default()
    };
    assert_eq!(numbers(&recipe, 5, 34, 2), [65_534, 65_535, 0, 1, 65_534]);
    let most = u128::from(u32::MAX);
    assert_eq!(numbers(&recipe, 3, 26, 4), [most - 1, 1, most - 1]);
    assert_eq!(numbers(&recipe, 3, 0, 6), [0xffff_ffff_ffff, 0, 0xffff_ffff_ffff]);
    let v6 = Recipe { destination: Some("ffff::-::ffff".parse().unwrap()), sizes, ..Recipe::default() };
    assert_eq!(numbers(&v6, 2, 38, 16), [0xffff_u128 << 112, (0xffff_u128 << 112) + 1]);
    frames(&recipe, 100).iter().chain(&frames(&v6, 100)).for_each(|frame| drop(judge(frame)));
}

#[test]
fn an_ipv6_range_may_be_of_any_width() {
    let all = |text: &str, n| {
        let recipe = Recipe { destination: Some(text.parse().unwrap()), ..Recipe::default() };
        frames(&recipe, n).iter().for_each(|frame| drop(judge(frame)));
        numbers(&recipe, n, 38, 16)
    };
    let at = |text: &str| u128::from(text.parse::<std::net::Ipv6Addr>().unwrap());
    assert_eq!(
        all("2001:db8::ffff:ffff:ffff:ffff-2001:db8:0:1::", 3),
        [at("2001:db8::ffff:ffff:ffff:ffff"), at("2001:db8:0:1::"), at("2001:db8::ffff:ffff:ffff:ffff")]
    );
    let networks = ["2001:db8::", "2001:db8:1::", "2001:db8:2::", "2001:db8:3::", "2001:db8::"].map(at);
    assert_eq!(all("2001:db8::/46/1208925819614629174706176", 5), networks);
    let drawn = all("2001:db8::/32/rand", 500);
    assert!(drawn.iter().all(|address| address >> 96 == 0x2001_0db8));
    let upper: std::collections::HashSet<u128> = drawn.iter().map(|address| address >> 64).collect();
    assert!(upper.len() > 490, "{} networks", upper.len());
}

#[test]
fn tags_are_counted_through_and_the_outer_one_of_two_is_a_providers() {
    let recipe = |vlans: &str| Recipe { vlans: vlans.parse().unwrap(), ..Recipe::default() };
    assert_eq!(numbers(&recipe("100-102:5"), 4, 12, 4), [0x8100_a064, 0x8100_a065, 0x8100_a066, 0x8100_a064]);
    assert_eq!(
        numbers(&recipe("10.20-22/2:1"), 3, 12, 8),
        [0x88a8_000a_8100_2014, 0x88a8_000a_8100_2016, 0x88a8_000a_8100_2014]
    );
    let mut old = recipe("10.20");
    old.vlans.tpid = Some("0x8100".parse().unwrap());
    assert_eq!(numbers(&old, 1, 12, 8), [0x8100_000a_8100_0014]);
    for id in numbers(&recipe("rand:7.rand"), 500, 14, 2) {
        assert!((1..=4094).contains(&(id & 0xfff)) && id >> 12 == 0xe, "{id:x}");
    }
}

#[test]
fn what_cannot_be_built_is_refused() {
    let refused = |recipe: Recipe| Builder::new(&recipe).unwrap_err().to_string();
    let v4 = Some("10.0.0.1".parse().unwrap());
    let v6 = Some("2001:2::1".parse().unwrap());
    assert!(refused(Recipe { source: v4, destination: v6, ..Recipe::default() }).contains("one family"));
    assert!(refused(Recipe { proto: Proto::Arp, source: v6, ..Recipe::default() }).contains("IPv4"));
    let short = Recipe { source: v6, sizes: "64".parse().unwrap(), ..Recipe::default() };
    assert!(refused(short).contains("use 66 to 15872"));
    for text in ["", "0", "63", "15873", "1518-64", "64,", "64-", "imix,64"] {
        assert_eq!(text.parse::<Sizes>().unwrap_err().kind(), Kind::Usage, "{text}");
    }
    for text in ["", "4096", "1:8", "x", "1:2:3", "1.2.3", "1.", "9-1", "4095-1"] {
        assert_eq!(text.parse::<Vlans>().unwrap_err().kind(), Kind::Usage, "{text}");
    }
    for text in ["", "0x800", "0x86dd", "8100x", "33024"] {
        assert_eq!(text.parse::<Tpid>().unwrap_err().kind(), Kind::Usage, "{text}");
    }
}

#[test]
fn the_same_seed_makes_the_same_frames() {
    let recipe =
        |seed| Recipe { source: Some(Ips::Rand), source_port: "rand".parse().unwrap(), seed, ..Recipe::default() };
    assert_eq!(frames(&recipe(3), 50), frames(&recipe(3), 50));
    assert_ne!(frames(&recipe(3), 50), frames(&recipe(4), 50));
    for frame in frames(&recipe(3), 50) {
        assert!(frame[26] == 198 && frame[27] & 0xfe == 18, "random addresses stay in the test network");
    }
}

#[test]
fn writing_a_frame_asks_the_allocator_for_nothing() {
    let recipe = Recipe {
        source: Some(Ips::Rand),
        source_port: "rand".parse().unwrap(),
        destination_port: "1-100/7".parse().unwrap(),
        sizes: "imix".parse().unwrap(),
        ..Recipe::default()
    };
    let mut builder = Builder::new(&recipe).unwrap();
    let mut frame = vec![0; builder.longest()];
    let asked = crate::testing::allocations(|| {
        for time in 0..1_000 {
            let len = builder.next_len();
            builder.write(&mut frame[..len], time);
        }
    });
    assert_eq!(asked, 0);
}

#[test]
fn builders_with_a_share_each_write_together_what_one_writes_alone() {
    let recipe = Recipe {
        source: Some(Ips::Rand),
        destination: Some("10.0.0.1-10.0.0.29/3".parse().unwrap()),
        source_port: "rand".parse().unwrap(),
        destination_port: "1-100/7".parse().unwrap(),
        source_mac: "02:00:00:00:00:00-02:00:00:00:00:0a".parse().unwrap(),
        vlans: "10-12/rand.rand".parse().unwrap(),
        sizes: "imix".parse().unwrap(),
        ..Recipe::default()
    };
    let write = |builder: &mut Builder| {
        let mut frame = vec![0; builder.next_len()];
        builder.write(&mut frame, 1_700_000_000_000_000_000);
        frame
    };
    for (among, run) in [(1, 1), (2, 1), (3, 1), (5, 4), (64, 64), (3, 4096)] {
        let mut alone = Builder::new(&recipe).unwrap();
        let mut shares: Vec<Builder> = (0..among).map(|first| alone.clone().share(first, among, run)).collect();
        for n in 0..20_000_u64.max(2 * among * run) {
            let writer = &mut shares[(n / run % among) as usize];
            assert_eq!(writer.sequence(), n);
            assert!(write(writer) == write(&mut alone), "frame {n} of {among} builders, runs of {run}");
        }
    }
}

#[test]
fn a_share_of_the_widest_ranges_does_not_overflow() {
    let narrow = u128::from(u64::MAX);
    let narrow = [Some(1), Some(3), Some(narrow), None].map(|step| Values { first: 0, span: narrow, step });
    let wide = [Some(1), Some(3), Some(u128::MAX / 2), Some(u128::MAX), None].map(|step| Values {
        first: 7,
        span: u128::MAX,
        step,
    });
    for values in narrow.into_iter().chain(wide) {
        let recipe = Recipe { destination: Some(Ips::V6(values)), ..Recipe::default() };
        let mut alone = Builder::new(&recipe).unwrap();
        let mut second = alone.clone().share(1, 2, 1);
        for n in 0..10 {
            let (mut a, mut b) = (vec![0; alone.next_len()], vec![0; alone.next_len()]);
            alone.write(&mut a, 0);
            if n % 2 == 1 {
                second.write(&mut b, 0);
                assert_eq!(a, b, "{values:?}");
            }
        }
    }
}

/// Of values of so many bits: anywhere, as wide as can be, past the greatest too.
fn values(bits: u32) -> impl Strategy<Value = Values> {
    let most = u128::MAX >> (128 - bits);
    let spans = prop_oneof![0..1000_u128, any::<u128>(), any::<u64>().prop_map(u128::from)];
    let steps = prop_oneof![Just(None), (1..50_u128).prop_map(Some), (1..=u128::MAX).prop_map(Some)];
    (any::<u128>(), spans, steps).prop_map(move |(first, span, step)| Values {
        first: first & most,
        span: span & most,
        step,
    })
}

fn ips() -> impl Strategy<Value = (Option<Ips>, Option<Ips>)> {
    prop_oneof![
        Just((None, None)),
        Just((Some(Ips::Rand), Some(Ips::Rand))),
        values(32).prop_map(|values| (Some(Ips::V4(values)), None)),
        values(128).prop_map(|values| (Some(Ips::V6(values)), Some(Ips::Rand))),
        (values(128), values(128)).prop_map(|(a, b)| (Some(Ips::V6(a)), Some(Ips::V6(b)))),
    ]
}

fn vlans() -> impl Strategy<Value = Vlans> {
    let tag = (1..4000_u16, 0..90_u16, 0..8_u8).prop_map(|(id, more, priority)| {
        let ids = format!("{id}-{}", id + more).parse().unwrap();
        Vlan { ids, priority }
    });
    prop::collection::vec(tag, 0..3).prop_map(|tags| Vlans { tags, tpid: None })
}

/// A payload of any length, or none that was given.
fn data() -> impl Strategy<Value = Option<Bytes>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 1..90).prop_map(Bytes))
}

proptest! {
    #[test]
    fn a_given_payload_is_behind_headers_that_tell_its_length(
        proto in prop_oneof![Just(Proto::Udp), Just(Proto::Tcp), Just(Proto::Icmp)],
        (source, destination) in ips(),
        data in data(),
        (tos, flags) in any::<(u8, u8)>(),
        seed: u64,
    ) {
        let (tos, tcp_flags) = (Tos(tos), TcpFlags(flags));
        let recipe = Recipe { proto, source, destination, data, tos, tcp_flags, seed, ..Recipe::default() };
        for frame in frames(&recipe, 3) {
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            if let Some(TransportSlice::Tcp(tcp)) = &packet.transport {
                prop_assert_eq!(tcp.slice()[13], flags);
            }
            let (class, length) = match packet.net.unwrap() {
                NetSlice::Ipv4(ip) => (ip.header().slice()[1], 14 + usize::from(ip.header().total_len())),
                NetSlice::Ipv6(ip) => (ip.header().traffic_class(), 54 + usize::from(ip.header().payload_length())),
                NetSlice::Arp(_) => unreachable!(),
            };
            prop_assert_eq!(class, tos.0);
            prop_assert_eq!(frame.len(), length.max(60));
            // Without its padding it is a frame of that length.
            prop_assert!(frame[length..].iter().all(|byte| *byte == 0));
            let payload = judge(&frame[..length]);
            if let Some(Bytes(data)) = &recipe.data {
                prop_assert_eq!(&payload, data);
            }
        }
    }

    #[test]
    fn a_checksum_that_is_to_be_wrong_is_wrong_in_every_frame(
        proto in prop_oneof![Just(Proto::Udp), Just(Proto::Tcp), Just(Proto::Icmp)],
        (source, destination) in ips(),
        port in values(16),
        sequence: u64,
        seed: u64,
    ) {
        let right = Recipe { proto, source, destination, source_port: Ports(port), seed, ..Recipe::default() };
        let v6 = matches!((source, destination), (Some(Ips::V6(_)), _) | (_, Some(Ips::V6(_))));
        let wrong = Recipe { wrong: Wrong { ip: !v6, l4: true }, ..right.clone() };
        let [mut right, mut wrong] = [right, wrong].map(|recipe| Builder::new(&recipe).unwrap());
        let l4 = if v6 { 54 } else { 34 };
        let at = l4 + match proto { Proto::Udp => 6, Proto::Tcp => 16, _ => 2 };
        for builder in [&mut right, &mut wrong] {
            builder.set_sequence(sequence);
        }
        for _ in 0..20 {
            let (mut a, mut b) = (vec![0; right.next_len()], vec![0; wrong.next_len()]);
            right.write(&mut a, seed);
            wrong.write(&mut b, seed);
            let sums: &[usize] = if v6 { &[at] } else { &[24, at] };
            for &at in sums {
                // Zero and all ones are the same sum, and zero is none in UDP.
                let [is, was] = [&b, &a].map(|frame| u16::from_be_bytes([frame[at], frame[at + 1]]));
                prop_assert!(is % 0xffff != was % 0xffff && !(proto == Proto::Udp && at != 24 && is == 0));
                b[at..at + 2].copy_from_slice(&a[at..at + 2]);
            }
            prop_assert_eq!(a, b);
        }
    }

    #[test]
    fn every_frame_of_every_recipe_satisfies_etherparse(
        proto in prop_oneof![Just(Proto::Udp), Just(Proto::Tcp), Just(Proto::Icmp)],
        (source, destination) in ips(),
        len in 86_usize..2000,
        port in values(16),
        vlans in vlans(),
        sequence: u64,
        seed: u64,
    ) {
        let recipe = Recipe {
            proto, source, destination, seed,
            vlans,
            sizes: Sizes::List(vec![len, len + 1]),
            source_port: Ports(port),
            destination_port: "rand".parse().unwrap(),
            ..Recipe::default()
        };
        let mut builder = Builder::new(&recipe).unwrap();
        builder.set_sequence(sequence);
        for i in 0..6 {
            let mut frame = vec![0xff; builder.next_len()];
            builder.write(&mut frame, seed);
            let payload = judge(&frame);
            let (number, time) = trailer(&frame, payload.len());
            let want = sequence.wrapping_add(i);
            prop_assert_eq!(number, Some(if payload.len() < 8 { want & 0xffff_ffff } else { want }));
            if payload.len() >= 16 {
                prop_assert_eq!(time, Some(seed));
            }
        }
    }
}
