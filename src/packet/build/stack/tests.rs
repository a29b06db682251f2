use super::super::tests::judge;
use super::super::{Builder, FCS, Sizes, trailer};
use super::headers::HEADERS;
use super::*;
use proptest::prelude::*;

fn stack(text: &str) -> Stack {
    Stack::read(text, "template").unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn frames(text: &str, sizes: &str, count: usize) -> Vec<Vec<u8>> {
    let sizes = if sizes.is_empty() { Sizes::Shortest } else { sizes.parse().unwrap() };
    let mut builder = Builder::stacked(&stack(text), &sizes, None, 5).unwrap();
    let write = |_| {
        // What was in the buffer before must not shine through.
        let mut frame = vec![0xa5; builder.next_len()];
        builder.write(&mut frame, 1_700_000_000_000_000_000);
        frame
    };
    (0..count).map(write).collect()
}

#[test]
fn a_tunnel_has_right_lengths_types_and_checksums_outside_and_inside() {
    for outer in ["ipv4 src=10.0.0.0/24/rand", "ipv6 dst=2001:2::/32/rand"] {
        for inner in ["ipv4 dst=10.1.0.0/16/rand\nudp", "ipv6 src=::-ffff::/rand\ntcp sport=1-9", "ipv4\nicmp id=5-7"] {
            for vni in ["7", "1-100", "rand"] {
                let text = format!(
                    "eth\n{outer}\nudp sport=rand\nvxlan vni={vni}\neth src=02:00:00:00:00:01-02:00:00:00:00:09\n{inner}"
                );
                for frame in frames(&text, "200,201,1518", 30) {
                    let tunnel = judge(&frame);
                    let at = frame.len() - tunnel.len();
                    assert_eq!((&frame[at - 6..at - 4], tunnel[0], tunnel[7]), (&[0x12, 0xb5][..], 8, 0), "VXLAN");
                    judge(&tunnel[8..]);
                }
            }
        }
    }
}

#[test]
fn fields_run_through_their_values_and_the_rest_is_the_usual() {
    let all = frames("eth\nvlan id=100-102 priority=5\nipv4 ttl=9 tos=0xb8\nudp sport=65534-1 dport=80", "", 5);
    let words = |at: usize| -> Vec<u16> { all.iter().map(|f| u16::from_be_bytes([f[at], f[at + 1]])).collect() };
    assert_eq!(words(14), [0xa064, 0xa065, 0xa066, 0xa064, 0xa065]);
    assert_eq!(words(38), [65_534, 65_535, 0, 1, 65_534]);
    assert!(all.iter().all(|frame| (frame[12..14] == [0x81, 0]) && frame[16..18] == [8, 0] && frame.len() == 60));
    assert!(all.iter().all(|frame| (frame[19], frame[26], frame[27]) == (0xb8, 9, 17)));
    for (n, frame) in all.iter().enumerate() {
        judge(frame);
        assert_eq!(trailer(frame, 14).0, Some(n as u64));
    }
}

#[test]
fn a_field_may_change_wherever_it_lies_and_the_sum_is_right() {
    // Most share 16 bits with one that does not change, on this side or on that.
    for text in [
        "eth\nipv4 version=4\nudp\nvxlan vni=rand\neth\nipv4 tos=1-9/2\nicmp code=rand",
        "eth\nipv4 offset=0-5000/3\ntcp offset=5-15 flags=0x10",
        "eth\nipv4 flags=0-3 id=1-9/rand\nudp checksum=rand length=1-9",
        "eth\nipv6 tos=rand proto=17\nudp",
        "eth\nipv6 label=1-9 src=2001:db8::1-2001:db8::9/rand\ntcp",
        "eth\nipv6 src=2001:db8::/64/2 dst=2001:db8:0:1::/64\nicmp6 type=128-255/rand",
        "eth\nipv4 ttl=1-255\nudp",
        "eth\nipv4 tos=rand id=rand\ntcp window=rand flags=rand",
        "eth\nipv6 ttl=rand\nicmp6 seq=rand",
    ] {
        let all = frames(text, "200,201", 600);
        let all: Vec<&[u8]> = all.iter().map(|frame| &frame[..frame.len() - 16]).collect();
        assert!(all.iter().any(|frame| frame != &all[0]), "{text}");
        // Wrong lengths, offsets and checksums are what was asked for.
        if !["offset=", "checksum=", "flags=0-3"].iter().any(|asked| text.contains(asked)) {
            frames(text, "200,201", 600).iter().for_each(|frame| drop(judge(frame)));
        }
    }
}

#[test]
fn a_field_stays_within_its_bits_and_has_all_of_its_values() {
    let bits = |text: &str, first: usize, bits: usize| -> Vec<u64> {
        let number = |frame: &Vec<u8>| {
            (first..first + bits).fold(0, |all, bit| all << 1 | u64::from(frame[bit / 8] >> (7 - bit % 8) & 1))
        };
        frames(text, "", 500).iter().map(number).collect()
    };
    let labels = "eth\nmpls label=16-18 ttl=7\nmpls\nipv4\nudp";
    assert_eq!(bits(labels, 112, 20)[..4], [16, 17, 18, 16]);
    assert!(bits(labels, 132, 12).iter().all(|rest| *rest == 7), "not the last, and its time to live");
    assert!(bits(labels, 164, 12).iter().all(|rest| *rest == 0x140), "the last");
    for (field, at, wide, least, most) in [
        ("vlan id=rand priority=3", 116, 12, 1, 4094),
        ("vlan priority=0-7/rand id=9", 112, 3, 0, 7),
        ("mpls tc=rand label=99", 132, 3, 0, 7),
        ("mpls label=1000000-1000003/rand", 112, 20, 1_000_000, 1_000_003),
        ("ipv6 label=rand", 124, 20, 0, 0xf_ffff),
    ] {
        let inner = if field.starts_with("ipv6") { "udp" } else { "ipv4\nudp" };
        let seen = bits(&format!("eth\n{field}\n{inner}"), at, wide);
        assert!(seen.iter().all(|value| (least..=most).contains(value)), "{field}: {seen:?}");
        let (low, high) = (seen.iter().min().unwrap() - least, most - seen.iter().max().unwrap());
        assert!(low.max(high) <= (most - least) / 50, "{field} has values near both ends: {seen:?}");
    }
    // The half of an address that stays.
    let sources = bits("eth\nipv6 src=2001:db8::7-2001:db8::9\nudp", 8 * 22, 64);
    assert!(sources.iter().all(|half| *half == 0x2001_0db8_0000_0000));
}

#[test]
fn each_header_names_the_one_behind_it() {
    for (text, at, want) in [
        ("eth\nvlan\nipv4", 12, &[0x81, 0][..]),
        ("eth\nvlan id=10\nvlan id=20\nipv4", 12, &[0x88, 0xa8, 0, 10, 0x81, 0, 0, 20, 8, 0]),
        ("eth\nmpls\nipv6", 12, &[0x88, 0x47, 0, 1, 1, 64]),
        ("eth\nipv4\ngre\nmpls\neth", 34, &[0, 0, 0x88, 0x47, 0, 1, 1, 64]),
        ("eth\nipv6\ngre\neth", 54, &[0, 0, 0x65, 0x58]),
        ("eth\nipv4\nudp\nmpls\nipv4", 36, &[0x19, 0xeb]),
        ("eth\nipv4\nudp\ngeneve vni=5\neth", 42, &[0, 0, 0x65, 0x58, 0, 0, 5, 0]),
        ("eth", 12, &[0x88, 0xb5]),
    ] {
        assert_eq!(&frames(text, "", 1)[0][at..at + want.len()], want, "{text}");
    }
    let tags = |text: &str| stack(text).tags();
    assert_eq!([tags("eth\nipv4"), tags("eth\nvlan\nvlan\nipv4"), tags("eth\nipv4\ngre\neth\nvlan")], [0, 8, 0]);
}

#[test]
fn what_a_line_says_is_not_filled_in() {
    let frame = &frames(
        "eth type=0x1234\nipv4 length=7 checksum=0xbeef proto=99\nudp checksum=1 length=3\npayload 0102",
        "",
        1,
    )[0];
    assert_eq!(
        (&frame[12..14], &frame[16..18], frame[23], &frame[24..26]),
        (&[0x12, 0x34][..], &[0, 7][..], 99, &[0xbe, 0xef][..])
    );
    assert_eq!((&frame[38..42], &frame[42..44]), (&[0, 3, 0, 1][..], &[1, 2][..]));
    assert!(frame.len() == 60 && frame[44..].iter().all(|byte| *byte == 0));
}

#[test]
fn builders_that_share_a_stack_write_together_what_one_writes_alone() {
    let stack =
        stack("eth\nipv6 src=::/0/rand\nudp sport=rand\nvxlan vni=1-9/2\neth\nipv4 dst=10.0.0.0/8/3\ntcp seq=rand");
    let alone = Builder::stacked(&stack, &Sizes::Range(200, 203), None, 3).unwrap();
    let mut shares: Vec<Builder> = (0..3).map(|first| alone.clone().share(first, 3, 2)).collect();
    let mut alone = alone;
    for n in 0..3_000 {
        let writer = &mut shares[n / 2 % 3];
        let (mut a, mut b) = (vec![0; alone.next_len()], vec![0; writer.next_len()]);
        alone.write(&mut a, 7);
        writer.write(&mut b, 7);
        assert!(a == b, "frame {n}");
    }
}

#[test]
fn a_line_that_makes_no_sense_is_named_by_its_number() {
    for (text, why) in [
        ("", "no Ethernet header"),
        ("ipv4", "no Ethernet header"),
        ("eth\n\nipv7", "line 3 of template: 'ipv7' is no header"),
        ("eth\nipv4 colour=1", "line 2 of template: ipv4 has no field 'colour'; it has version"),
        ("eth\nipv4 ttl", "'ttl' is no field"),
        ("eth\nipv4 ttl=256", "a number of 8 bits"),
        ("eth\nipv4 ttl=1 ttl=2", "said twice"),
        ("eth\nipv4 src=::1", "another family"),
        ("eth\nipv4 offset=9-5", "a range of offset does not go on from 0"),
        ("eth\nvlan id=9-1", "ends before it begins"),
        ("eth\nvlan id=1-9 priority=rand", "id lie too near"),
        ("eth\nvlan id=4096", "a VLAN id from 0 to 4095"),
        ("eth\nmpls label=0x100000", "a number of 20 bits"),
        ("eth\nipv4\nudp dport=1/2", "a step needs a range"),
        ("eth\nmpls\nudp", "udp cannot follow mpls"),
        ("eth\nipv4 ttl=1-9 proto=rand", "lie too near"),
        ("eth\nudp", "udp cannot follow eth"),
        ("eth\nipv4\ntcp\nvxlan", "vxlan cannot follow tcp"),
        ("eth\npayload 01\nipv4", "behind the payload"),
        ("eth\npayload 0", "hexadecimal digits"),
        (&"eth\n".repeat(2), "eth cannot follow eth"),
        (&format!("eth\n{}", "vlan\n".repeat(16)), "more than the 16"),
    ] {
        let line = Stack::read(text, "template").unwrap_err().to_string();
        assert!(line.contains(why) && !line.contains('\n'), "{text}: {line}");
    }
    let short =
        Builder::stacked(&stack("eth\nipv6\ntcp"), &Sizes::List(vec![64 - FCS]), None, 1).unwrap_err().to_string();
    assert!(short.contains("use 78 to"), "{short}");
    let long = format!("eth\nipv4\nudp\npayload {}", "00".repeat(15_827));
    let long = Builder::stacked(&stack(&long), &Sizes::Shortest, None, 1).unwrap_err().to_string();
    assert!(long.contains("this payload take 15873 bytes with FCS, and a frame has 15872 at most"), "{long}");
}

#[test]
fn a_file_that_is_no_text_or_has_no_end_is_refused() {
    for (name, why) in [("/dev/zero", "longer than 1048576 bytes"), ("/dev", "reading the template"), ("", "reading")] {
        let line = name.parse::<Stack>().unwrap_err().to_string();
        assert!(line.contains(why) && !line.contains('\n'), "{line}");
    }
}

/// Lines that are headers and fields, most of the time.
fn lines() -> impl Strategy<Value = String> {
    let name = prop_oneof![9 => prop::sample::select(HEADERS.iter().map(|h| h.name).collect::<Vec<_>>()), 1 => Just("payload 0")];
    let field = prop::sample::select(HEADERS.iter().flat_map(|h| h.places).map(|p| p.name).collect::<Vec<_>>());
    let value = "rand|0|0xff|[0-9]{1,6}|[0-9]-[0-9]{1,4}(/rand|/[1-9])?|::/0/rand|10\\.0\\.0\\.0/8|2001::-2001::f|02:00:00:00:00:0[1-9]";
    let fields = prop::collection::vec((field, value), 0..3);
    let line = (name, fields).prop_map(|(name, fields)| {
        fields.iter().fold(name.to_string(), |line, (field, value)| format!("{line} {field}={value}"))
    });
    prop::collection::vec(line, 0..7).prop_map(|lines| lines.join("\n"))
}

/// Reads it, and writes frames of it if it can be read; nothing panics.
fn try_all(text: &str, sizes: &Sizes) -> std::result::Result<(), TestCaseError> {
    let builder = Stack::read(text, "t").and_then(|stack| Builder::stacked(&stack, sizes, None, 1));
    match builder {
        Ok(mut builder) => {
            for time in [0, u64::MAX] {
                let mut frame = vec![0; builder.next_len()];
                builder.write(&mut frame, time);
                prop_assert!(frame.len() >= 60);
            }
        }
        Err(error) => prop_assert!(!error.to_string().contains('\n'), "{error}"),
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in "\\PC{0,40}(\n\\PC{0,40}){0,3}", range in any::<bool>()) {
        let sizes = if range { Sizes::Range(60, 64) } else { Sizes::Shortest };
        try_all(&text, &sizes)?;
        try_all(&format!("eth\n{text}"), &sizes)?;
    }

    #[test]
    fn no_template_is_too_odd(text in lines()) {
        try_all(&format!("eth\n{text}"), &Sizes::Shortest)?;
        try_all(&format!("eth\n{text}"), &Sizes::List(vec![400, 401]))?;
        try_all(&format!("eth\nvlan\nipv6\nudp\nvxlan\neth\n{text}"), &Sizes::Shortest)?;
    }
}
