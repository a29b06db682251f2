use super::super::wire::{MIN_SPEED, PcapSpec, Playback, Rate, Sizes, SourceSpec};
use super::setting::decimal;
use super::*;
use crate::error::Kind;
use proptest::prelude::*;
use std::path::PathBuf;

#[test]
fn a_specification_is_taken_apart() {
    let spec: Spec = "82599,wire=loop:pause=on,queues=4,seed=7,nasty,strict,loss=0.1%,mac=02:00:00:00:00:01,\
                      link=5ms,speed=2.5G,delay=10us,jitter=1.5us,dup=0.002"
        .parse()
        .unwrap();
    let wanted = Spec {
        model: "82599".into(),
        wire: WireSpec::Loop { pause: true },
        impairment: Impairment {
            loss: Share(1_000_000),
            duplicate: Share(2_000_000),
            delay: 10_000_000,
            jitter: 1_500_000,
            ..Impairment::default()
        },
        queues: Some(4),
        seed: 7,
        nasty: true,
        strict: true,
        spin: false,
        mac: Some([2, 0, 0, 0, 0, 1]),
        link: Some(5_000_000_000),
        speed: Some(Speed::Bits(2_500_000_000)),
        fault: None,
        pcie: None,
    };
    assert_eq!(spec, wanted);
}

#[test]
fn a_bare_model_is_on_a_loop() {
    assert_eq!("X540".parse::<Spec>().unwrap(), Spec::new("x540"));
}

#[test]
fn each_bad_option_is_refused_with_what_it_takes() {
    let cases = [
        ("", "not the name of a card"),
        ("wire=loop", "not the name of a card"),
        ("82599,", "there is no option ''"),
        ("82599,color=red", "options are wire=, queues="),
        ("82599,queues=0", "a number from 1 to 128"),
        ("82599,queues", "'queues' makes no sense without a value"),
        ("82599,queues=", "'queues' takes a value"),
        ("82599,nasty=1", "takes no value"),
        ("82599,seed=1,seed=2", "given twice"),
        ("82599,seed=-1", "a number from 0 to"),
        ("82599,loss=101%", "at most 100%"),
        ("82599,loss=NaN", "a share like"),
        ("82599,loss=..1", "a share like"),
        ("82599,limit=0", "frames a second from 1 to 1G"),
        ("82599,limit=2Mpps", "frames a second from 1 to 1G"),
        ("82599,delay=5", "a time like"),
        ("82599,delay=5h", "a time like"),
        ("82599,link=3601s", "at most 3600s"),
        ("82599,speed=0", "1M to 1000G"),
        ("82599,speed=fast", "1M to 1000G, or max"),
        ("82599,speed=99999999999G", "1M to 1000G, or max"),
        ("82599,mac=01:00:5e:00:00:01", "not a multicast"),
        ("82599,mac=02:00", "an address like"),
        ("82599,pcie=gen6x8", "a link like gen3x8"),
        ("82599,wire=string", "there is no wire 'string'"),
        ("82599,wire=loop:pause=maybe", "on or off"),
    ];
    for (text, part) in cases {
        let error = text.parse::<Spec>().expect_err(text);
        assert_eq!(error.kind(), Kind::Usage, "{text}");
        let line = error.to_string();
        assert!(line.contains(part) && !line.contains('\n'), "{text}: {line}");
    }
}

#[test]
fn numbers_are_read_exactly() {
    assert_eq!(decimal("14.88", 1_000_000), Some(14_880_000));
    assert_eq!(decimal("0.000001", 1_000_000), Some(1));
    assert_eq!(decimal("0.0000001", 1_000_000), Some(0));
    assert_eq!(decimal(".5", 10), Some(5));
    assert_eq!(decimal("18446744073709551615", 1), Some(u64::MAX));
    for bad in ["", ".", "1.2.3", "-1", "1e3", "18446744073709551616", "٣"] {
        assert_eq!(decimal(bad, 1), None, "{bad}");
    }
}

fn any_wire() -> impl Strategy<Value = WireSpec> {
    let rate = prop_oneof![
        Just(Rate::Line),
        (1..=1_000_000_000_u64).prop_map(Rate::Frames),
        (MIN_SPEED..=1_000_000_000_000).prop_map(Rate::Bits),
    ];
    let sizes = prop_oneof![Just(Sizes::Imix), prop::collection::vec(64..=9018_u16, 1..6).prop_map(Sizes::List)];
    let source = (rate, sizes, 1..=65536_u32, prop::option::of(any::<u64>()), any::<bool>());
    let speed = prop_oneof![Just(Playback::Line), (1..=1_000_000_u64).prop_map(Playback::Thousandths)];
    let file = "[ -~]{1,20}".prop_map(PathBuf::from);
    prop_oneof![
        any::<bool>().prop_map(|pause| WireSpec::Loop { pause }),
        "[a-z0-9]{0,9}".prop_map(WireSpec::peer),
        Just(WireSpec::Sink),
        source.prop_map(|(rate, sizes, flows, count, pause)| {
            WireSpec::Source(SourceSpec { rate, sizes, flows, count, pause })
        }),
        "[!-$&-.0-9;-~]{3,15}".prop_map(|name| WireSpec::Packet { name }),
        (file.clone(), prop::option::of(file), speed, any::<u64>())
            .prop_map(|(file, out, speed, times)| { WireSpec::Pcap(PcapSpec { file, out, speed, times }) }),
        ("[a-zA-Z0-9._-]{1,64}", any::<bool>()).prop_map(|(name, pause)| WireSpec::Cable { name, pause }),
    ]
}

prop_compose! {
    fn any_spec()(
        wire in any_wire(),
        shares in prop::array::uniform4(0u32..=1_000_000_000),
        times in prop::array::uniform3(0u64..=3_600_000_000_000_000),
        limit in 0u64..=1_000_000_000,
        queues in prop::option::of(1u16..=128),
        seed in any::<u64>(),
        flags in any::<[bool; 3]>(),
        speed in prop_oneof![
            Just(None), Just(Some(Speed::Max)), (MIN_SPEED..1_000_000_000_000).prop_map(|b| Some(Speed::Bits(b)))
        ],
        pcie in prop::option::of((1u8..=5, 0u32..=4, 0u64..=100_000).prop_map(|(generation, lanes, trip)| {
            let text = format!("gen{generation}x{}:{trip}ns", 1 << lanes);
            Link::of(&Setting { whose: "emu", key: "pcie", value: Some(&text) }).unwrap()
        })),
        mac in prop::option::of(any::<[u8; 5]>().prop_map(|[a, b, c, d, e]| [2, a, b, c, d, e])),
    ) -> Spec {
        let [loss, duplicate, reorder, corrupt] = shares.map(Share);
        let impairment = Impairment { loss, limit, duplicate, reorder, corrupt, delay: times[0], jitter: times[1] };
        let [nasty, strict, spin] = flags;
        let link = Some(times[2]);
        let rest = Spec { pcie, ..Spec::new("x550") };
        Spec { wire, impairment, queues, seed, nasty, strict, spin, mac, link, speed, ..rest }
    }
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_as_the_same(spec in any_spec()) {
        prop_assert_eq!(spec.to_string().parse::<Spec>().unwrap(), spec);
    }

    #[test]
    fn no_text_brings_the_reader_down(text in "[a-z0-9,=:.%\\\\]{0,60}|\\PC{0,40}") {
        let _ = text.parse::<Spec>();
        let _ = format!("82599,{text}").parse::<Spec>();
        let _ = format!("82599,wire={text}").parse::<Spec>();
    }

    #[test]
    fn an_escaped_name_is_one_word_and_comes_back(name in "[a-z,:\\\\]{0,12}") {
        let escaped = escape(&name);
        prop_assert_eq!(split(&escaped, ',').count(), 1);
        prop_assert_eq!(split(&escaped, ':').count(), 1);
        prop_assert_eq!(unescape(&escaped), name);
    }
}
