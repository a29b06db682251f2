//! Traces: what is written of a card is what its model answers when it is replayed; what is
//! changed in one is found and named; and traces of cards that are not ours differ where a
//! list says so, and nowhere else.

#[path = "replay/connectx.rs"]
mod connectx;
#[path = "replay/hostile.rs"]
mod hostile;

use bmnic::driver::{self, Config};
use bmnic::emu::replay::{Replayed, names, replay};
use bmnic::emu::{self, Drive, Engine, Spec};
use bmnic::net::MacAddr;
use bmnic::pci::trace::{Event, Recording, begin, trace};
use bmnic::pci::{Vpd, vpd};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

/// A card of each family and generation that differs in how it is asked.
const CARDS: &[&str] = &[
    "82599",
    "x540",
    "x550",
    "x710",
    "x722",
    "x2522",
    "bcm57414",
    "bcm57508",
    "cx4lx",
    "cx5",
    "cx6dx",
    "virtio",
    "virtio-legacy",
    "virtio-packed",
];

/// An address of which no half is seldom seen by chance.
const ADDRESS: &str = "02:5e:a7:c3:d9:b5";

/// What is done to a card in every trace: set up, asked for all that it can, left. So many
/// times, closed and opened between as VFIO does it.
fn drive(spec: &str, path: &Path, times: usize) {
    let engine = Engine::new(Drive::Manual);
    let (function, tap) = engine.open(&spec.parse().unwrap()).unwrap();
    let model = spec.split(',').next().unwrap();
    let info = emu::models().find(|info| info.profile.name == model).unwrap();
    let config: Vec<u8> = (0..256).map(|at| function.config_read(at, 1).unwrap() as u8).collect();
    let (first, trace) = begin(Arc::clone(&function), path, names(info, &config).unwrap()).unwrap();
    let again = (1..times).map(|_| {
        // A legacy device has nothing of the kind.
        function.reset().unwrap();
        trace.resume(Arc::clone(&function))
    });
    for function in std::iter::once(first).chain(again) {
        let mut port = driver::open(Arc::clone(&function), &Config::default()).unwrap();
        // Time that the trace knows of, too.
        function.wait(Duration::from_millis(5));
        engine.step();
        port.nic.link().unwrap();
        port.nic.set_multicast(&[MacAddr([1, 0, 0x5e, 1, 2, 3])]).unwrap();
        port.nic.set_promiscuous(true).unwrap();
        port.nic.set_mac(MacAddr([2, 0, 0, 0, 0, 9])).unwrap();
        port.nic.stats().unwrap();
        port.nic.nvm().unwrap();
        port.nic.module().unwrap();
    }
    assert_eq!(tap.violations(), [], "{spec}");
}

/// A trace of a card with an address of its own.
fn traced(model: &str) -> (String, Recording) {
    traced_often(model, 1)
}

/// The same of one that is closed and opened again.
fn traced_often(model: &str, times: usize) -> (String, Recording) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("card.trace");
    drive(&format!("{model},strict,wire=loop,link=2ms,mac={ADDRESS}"), &path, times);
    (std::fs::read_to_string(&path).unwrap(), Recording::open(&path).unwrap())
}

fn replayed(model: &str, recording: &Recording) -> Replayed {
    replay(&format!("{model},wire=loop,link=2ms").parse::<Spec>().unwrap(), recording).unwrap()
}

#[test]
fn the_trace_of_a_model_replays_to_it_without_a_difference() {
    for model in CARDS {
        let (_, recording) = traced(model);
        assert_eq!(recording.torn, None, "{model}");
        let found = replayed(model, &recording);
        assert_eq!(found.differences, [], "{model}");
        assert_eq!(found.violations, [], "{model}: it has all memory that it needs");
        assert!(found.accesses > 50, "{model}: {found:?}");
        // The families without firmware are asked by registers only.
        let asked = !matches!(*model, "82599" | "x540" | "x550");
        assert_eq!(found.commands > 0, asked, "{model}: {found:?}");
    }
}

#[test]
fn a_trace_goes_on_when_its_card_is_opened_again() {
    for model in CARDS {
        let (once, twice) = (traced(model).1, traced_often(model, 2).1);
        assert_eq!((twice.torn, twice.address), (None, once.address), "{model}");
        let opened = twice.events.iter().filter(|event| **event == Event::Opened).count();
        assert_eq!((opened, once.events.contains(&Event::Opened)), (1, false), "{model}");
        let [first, both] = [&once, &twice].map(|recording| replayed(model, recording));
        assert_eq!((both.differences, both.violations), (vec![], vec![]), "{model}");
        // A legacy device is asked no less, and one whose firmware is up already some less.
        assert!(2 * both.accesses > 3 * first.accesses, "{model}: {} and {}", first.accesses, both.accesses);
    }
}

#[test]
fn a_trace_has_another_address_than_the_card() {
    let real: MacAddr = ADDRESS.parse().unwrap();
    let [_, _, c, d, e, f] = real.0;
    for model in CARDS {
        let (text, recording) = traced(model);
        let other = bmnic::pci::trace::stand_in(real);
        assert_eq!(recording.address, Some(other), "{model}");
        // Three bytes in a row, either way round; and of what is the card's own, too, of another
        // range.
        let far = d ^ 0x5a;
        for three in [[c, d, e], [e, d, c], [d, e, f], [f, e, d], [c, far, e], [far, e, f], [f, e, far]] {
            let digits: String = three.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!text.contains(&digits), "{model}: {digits}");
        }
    }
}

#[test]
fn a_trace_has_no_serial_number_of_a_module() {
    const SERIAL: &[u8] = b"EMULATED-SN";
    // Firmware of bcm57414 and cx5 answers with more than was asked for.
    for (model, shown) in [("x710", true), ("x2522", true), ("bcm57414", true), ("cx5", true), ("82599", false)] {
        let (_, recording) = traced(model);
        let memory = recording.events.iter().filter_map(|event| match event {
            Event::Got(bytes) | Event::Put(bytes) => Some(bytes.bytes.clone()),
            _ => None,
        });
        let memory: Vec<u8> = memory.flatten().collect();
        let has = |what: &[u8]| memory.windows(what.len()).any(|part| part == what);
        assert!(!has(SERIAL), "{model}");
        // The same module's maker is shown where it is read at once.
        let maker: &[u8] = if model == "cx5" { b"Mellanox" } else { b"Broadcom" };
        assert_eq!(has(maker), shown && !matches!(model, "x710" | "x2522"), "{model}");
    }
}

#[test]
fn a_trace_has_no_vital_product_data() {
    let engine = Engine::new(Drive::Manual);
    for (model, at) in [("cx5", 0x48), ("bcm57414", 0x50), ("x2522", 0xd0)] {
        let (function, _tap) = engine.open(&model.parse().unwrap()).unwrap();
        // What somebody else read last is shown, and by that a piece of the serial number may be.
        let serial = (0x20..0x60).step_by(4).find(|offset| {
            function.config_write(at + 2, 2, *offset).unwrap();
            function.config_read(at + 4, 4).unwrap().to_le_bytes().contains(&b'-')
        });
        assert!(serial.is_some(), "{model}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("card.trace");
        let function = trace(function, &path, Box::new(|_, _| None)).unwrap();
        assert_eq!(function.config_read(0, 2).unwrap(), u32::from(function.id().vendor));
        assert!(matches!(vpd(&*function), Ok(Vpd::Product(_))), "{model}");
        drop(function);
        let recording = Recording::open(&path).unwrap();
        let shown = &recording.config[usize::from(at)..][..8];
        assert_eq!((shown[0], &shown[2..]), (0x03, &[0; 6][..]), "{model}");
        let touched = |event: &Event| match event {
            Event::Config(config, _) => Some(config.offset),
            _ => None,
        };
        let offsets: Vec<u16> = recording.events.iter().filter_map(touched).collect();
        assert!(offsets.contains(&0) && offsets.contains(&at), "{model}: {offsets:x?}");
        let hidden = at + 2..at + 8;
        assert!(!offsets.iter().any(|offset| hidden.contains(offset)), "{model}: {offsets:x?}");
        assert!(!recording.events.iter().any(|event| matches!(event, Event::Settle(_))), "{model}");
    }
}

/// Inverts the lowest bit of the first answer that `is` it; its name.
fn change(recording: &mut Recording, is: &str) {
    let mut command = String::new();
    for event in &mut recording.events {
        match event {
            Event::Access(access, _) if !access.write && access.name.as_deref() == Some(is) => {
                access.value ^= 1;
                return;
            }
            Event::Answer(name, _) => command.clone_from(name),
            Event::Got(memory) if command == is => {
                *memory.bytes.last_mut().unwrap() ^= 1;
                return;
            }
            _ => {}
        }
    }
    panic!("there is no {is}");
}

#[test]
fn an_answer_that_was_changed_is_found_and_named() {
    for (model, what) in [
        ("82599", "EEC"),
        ("x710", "GLHMC_LANTXOBJSZ"),
        ("x710", "its_address"),
        ("x2522", "GET_CAPABILITIES"),
        ("bcm57414", "FUNC_QCAPS"),
        ("bcm57508", "RING_ALLOC"),
        ("cx5", "CMDIF_REV"),
        ("cx5", "QUERY_PAGES"),
        ("virtio", "num_queues"),
        ("virtio", "the_multicast_table"),
    ] {
        let (_, mut recording) = traced(model);
        change(&mut recording, what);
        let found = replayed(model, &recording);
        let [difference] = &found.differences[..] else { panic!("{model}, {what}: {:?}", found.differences) };
        assert!(difference.name.split(' ').next() == Some(what) && difference.times == 1, "{difference:?}");
        assert_ne!(difference.card, difference.model);
    }
}

#[test]
fn a_model_may_need_more_or_fewer_reads_than_the_card() {
    let (_, recording) = traced("cx5");
    let is_poll =
        |event: &Event| matches!(event, Event::Access(access, _) if access.name.as_deref() == Some("INITIALIZING"));
    let first = recording.events.iter().position(is_poll).unwrap();
    let Event::Access(poll, _) = &recording.events[first] else { unreachable!() };
    let mut slow = recording.clone();
    for _ in 0..3 {
        let busy = emu::Access { value: 0x80, ..poll.clone() };
        slow.events.insert(first, Event::Access(busy, 0));
    }
    assert_eq!(replayed("cx5", &slow).differences, []);
    // Of a card that was ready at once: time passes for the model.
    let mut fast = recording;
    let last = fast.events.iter().rposition(is_poll).unwrap();
    let mut n = 0;
    fast.events.retain(|event| {
        n += 1;
        !is_poll(event) || n > last
    });
    assert_eq!(replayed("cx5", &fast).differences, []);
}

#[test]
fn qemus_virtio_net_answers_otherwise_than_the_model_where_the_list_says_why() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recording = Recording::open(&top.join("tests/recordings/qemu-virtio-net.trace")).unwrap();
    assert_eq!(recording.torn, None);
    let found = replay(&"virtio".parse().unwrap(), &recording).unwrap();
    assert_eq!((found.accesses, found.commands, found.violations), (140, 2, vec![]));
    let list = std::fs::read_to_string(top.join("tests/traces/virtio.md")).unwrap();
    let rows = list.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut explained: Vec<&str> = rows.filter(|(_, why)| why.len() > 40).map(|(what, _)| what).collect();
    let mut differs: Vec<&str> = found.differences.iter().map(|difference| difference.name.as_str()).collect();
    explained.sort_unstable();
    differs.sort_unstable();
    assert_eq!(differs, explained);
}

/// The next of numbers that are the same in each run.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

#[test]
fn no_trace_however_wrong_makes_a_model_panic() {
    let mut seed = 7;
    for model in CARDS {
        let (_, recording) = traced(model);
        for _ in 0..2 {
            let mut wrong = recording.clone();
            for _ in 0..20 {
                let n = next(&mut seed) as usize % wrong.events.len();
                let bits = next(&mut seed) << 32 | next(&mut seed);
                match &mut wrong.events[n] {
                    // Reads would only wait, a minute of the model's each.
                    Event::Access(access, _) if access.write => {
                        access.value = bits & (u64::MAX >> (64 - 8 * u32::from(access.size)));
                        access.offset ^= bits >> 40 & 0xff8;
                    }
                    Event::Put(memory) if !memory.bytes.is_empty() => {
                        let at = bits as usize % memory.bytes.len();
                        memory.bytes[at] ^= 1 << (bits >> 60 & 7);
                    }
                    Event::Settle(time) => *time = bits,
                    _ => {
                        wrong.events.remove(n);
                    }
                }
            }
            // What is not found, or found where nothing was given, is said and no more.
            if let Err(error) = replay(&model.parse::<Spec>().unwrap(), &wrong) {
                assert!(error.to_string().contains("which the card was not given"), "{model}: {error}");
            }
        }
    }
}

fn bmnic(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bmnic")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_command_writes_a_trace_and_another_replays_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("card.trace");
    let file = path.to_str().unwrap();
    let (code, _, errors) = said(&bmnic(&["pktgen", "-i", "emu:virtio,wire=sink", "-c", "10", "-q", "--trace", file]));
    assert_eq!(code, Some(0), "{errors}");
    let (code, out, errors) = said(&bmnic(&["emulate", "virtio", "--replay", file]));
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{out}");
    assert!(
        out.contains("to a card 1af4:1041 replayed to emu:virtio: ") && out.contains(" compared, 0 differences"),
        "{out}"
    );

    let whole = std::fs::read_to_string(&path).unwrap();
    let refused = |text: &str, model: &str| {
        std::fs::write(&path, text).unwrap();
        let (code, out, errors) = said(&bmnic(&["emulate", model, "--replay", file]));
        assert!(errors.lines().count() <= 1, "{errors}");
        (code, out, errors)
    };
    let changed = whole.replacen("num_queues = 0x11", "num_queues = 0x15", 1);
    assert!(changed != whole);
    let (code, out, errors) = refused(&changed, "virtio");
    assert!(code == Some(1) && errors.contains("otherwise than the card"), "{errors}");
    assert!(out.contains("num_queues") && out.contains("0x15") && out.ends_with(" compared, 1 difference\n"), "{out}");

    let (code, out, errors) = refused(&whole[..whole.len() - 30], "virtio");
    assert!(code == Some(0) && errors.contains("as if its program was killed"), "{errors}");
    assert!(out.contains("0 differences"), "{out}");

    let (code, _, errors) = refused(&whole, "82599");
    assert!(code == Some(2) && errors.contains("replay it to emu:virtio"), "{errors}");

    let (code, _, errors) = refused(&whole.replacen("R 0:", "R zero:", 1), "virtio");
    assert!(code == Some(1) && errors.contains("is no line of a trace"), "{errors}");

    // With this line in it, before the device is touched.
    let with = |line: &str| {
        let text = whole.replacen("bar 0", &format!("{line}\nbar 0"), 1);
        let body = text.rsplit_once("end ").unwrap().0.to_owned();
        format!("{body}end {}\n", body.lines().count())
    };
    let (code, out, errors) = refused(&with("R 0:fffffff0/4 X = 0x1 @1"), "virtio");
    assert!(code == Some(1) && out.contains("outside BAR 0"), "{out}{errors}");
    let (code, _, errors) = refused(&with("map 1000 ffffffffffffff"), "virtio");
    assert!(code == Some(1) && errors.contains("which no driver does"), "{errors}");
    let (code, _, errors) = refused(&with("> 10 4"), "virtio");
    assert!(code == Some(1) && errors.contains("which the card was not given"), "{errors}");
    // Whatever stands there, time and all.
    let late = "settle 18446744073709551615\nW 0:03000/4 X = 0xffffffff @18446744073709551615";
    let (code, out, _) = refused(&with(late), "virtio");
    assert!(matches!(code, Some(0 | 1)) && out.contains(" difference"), "{out}");
}

#[test]
fn a_trace_is_of_a_command_that_opens_a_card() {
    for arguments in [&["list"][..], &["bind", "--list"], &["emulate", "--list"], &["compare-dpdk"]] {
        let (code, _, errors) = said(&bmnic(&[arguments, &["--trace", "/nonexistent/x"]].concat()));
        assert!(code == Some(2) && errors.lines().count() == 1, "{arguments:?}: {errors}");
    }
    let (code, _, errors) =
        said(&bmnic(&["pktgen", "-i", "emu:virtio,wire=sink", "-c", "1", "--trace", "/nonexistent/x"]));
    assert!(code == Some(1) && errors.contains("/nonexistent/x"), "{errors}");
}
