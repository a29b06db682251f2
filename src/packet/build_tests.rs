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
fn judge(frame: &[u8]) -> Vec<u8> {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let net = packet.net.expect("a network header");
    let transport = packet.transport.expect("a transport header");
    let (v4, v6) = match &net {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
            assert_eq!(usize::from(header.total_len), frame.len() - (if frame[12] == 0x81 { 18 } else { 14 }));
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
    for text in ["", "4096", "1:8", "x", "1:2:3"] {
        assert_eq!(text.parse::<Vlan>().unwrap_err().kind(), Kind::Usage, "{text}");
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
        sizes: "imix".parse().unwrap(),
        ..Recipe::default()
    };
    let write = |builder: &mut Builder| {
        let mut frame = vec![0; builder.next_len()];
        builder.write(&mut frame, 1_700_000_000_000_000_000);
        frame
    };
    for (among, run) in [(1, 1), (2, 1), (3, 1), (5, 4), (7, 64), (64, 4096)] {
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
    let values = |step| Values { first: 0, span: u64::MAX, step };
    for step in [Some(1), Some(3), Some(u64::MAX), None] {
        let recipe = Recipe { destination: Some(Ips::V6(values(step))), ..Recipe::default() };
        let mut alone = Builder::new(&recipe).unwrap();
        let mut second = alone.clone().share(1, 2, 1);
        for n in 0..10 {
            let (mut a, mut b) = (vec![0; alone.next_len()], vec![0; alone.next_len()]);
            alone.write(&mut a, 0);
            if n % 2 == 1 {
                second.write(&mut b, 0);
                assert_eq!(a, b, "{step:?}");
            }
        }
    }
}

fn ips() -> impl Strategy<Value = (Option<Ips>, Option<Ips>)> {
    prop_oneof![
        Just((None, None)),
        Just((Some(Ips::Rand), Some(Ips::Rand))),
        (any::<u32>(), 0_u64..1000, 1_u64..50).prop_map(|(first, span, step)| {
            let values =
                Values { first: u128::from(first), span: span.min(u64::from(u32::MAX - first)), step: Some(step) };
            (Some(Ips::V4(values)), None)
        }),
        (any::<u128>(), 0_u64..1000).prop_map(|(first, span)| {
            let values = Values { first, span: span.min(u64::MAX - first as u64), step: None };
            (Some(Ips::V6(values)), Some(Ips::Rand))
        }),
    ]
}

proptest! {
    #[test]
    fn every_frame_of_every_recipe_satisfies_etherparse(
        proto in prop_oneof![Just(Proto::Udp), Just(Proto::Tcp), Just(Proto::Icmp)],
        (source, destination) in ips(),
        len in 82_usize..2000,
        ports in (any::<u16>(), 0_u64..3000),
        vlan in prop::option::of(0_u16..=u16::MAX),
        sequence: u64,
        seed: u64,
    ) {
        let port = Values { first: ports.0.into(), span: ports.1.min(u64::from(u16::MAX - ports.0)), step: Some(7) };
        let recipe = Recipe {
            proto, source, destination, seed,
            vlan: vlan.map(Vlan),
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
