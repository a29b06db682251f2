//! `bmnic pktgen --template`: stacks of headers, as tshark reads them, which knows nothing of how
//! they were made.

use bmnic::pcap::read::Recording;
use bmnic::pcap::record::{Format, Record};
use bmnic::pcap::section::Section;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bmnic")).arg("pktgen").args(words).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes `count` frames of a template to `out`.
fn write(template: &Path, sizes: &[&str], count: &str, out: &Path) {
    let words = ["--template", template.to_str().unwrap(), "-c", count, "-w", out.to_str().unwrap()];
    let output = run(&[&words[..], sizes].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// What each frame is to tshark: its protocols from the outermost on, without types between them and data.
const STACKS: [(&str, &str); 11] = [
    ("eth src=rand\nipv4 dst=10.0.0.0/8/rand ttl=1-255\nudp sport=20000-30000", "eth:ip:udp"),
    ("eth\nipv6 dst=2001:db8::1-2001:db8::ff label=rand\nicmp6 id=rand", "eth:ipv6:icmpv6"),
    ("eth\nvlan id=1-9 priority=5\nvlan id=rand\nipv4\ntcp seq=rand flags=2 dport=rand", "eth:ieee8021ad:vlan:ip:tcp"),
    ("eth\nmpls label=16-99\nmpls label=100 tc=rand\nipv4 id=rand\nudp sport=20000", "eth:mpls:ip:udp"),
    (
        "eth\nipv4\nudp sport=rand\nvxlan vni=1-100\neth src=rand\nipv6 src=2001:db8::/48/rand\nudp dport=20001-20009",
        "eth:ip:udp:vxlan:eth:ipv6:udp",
    ),
    (
        "eth\nipv6\nudp\nvxlan vni=rand\neth\nvlan id=7\nipv4 src=10.1.0.0/24/rand\ntcp window=rand",
        "eth:ipv6:udp:vxlan:eth:vlan:ip:tcp",
    ),
    ("eth\nipv4\ngre\nipv6 dst=2001:db8::/32/rand\nudp sport=20000", "eth:ip:gre:ipv6:udp"),
    ("eth\nipv4 tos=rand\ngre\neth\nipv4\nicmp id=rand seq=1-9", "eth:ip:gre:eth:ip:icmp"),
    ("eth\nipv6 ttl=rand\nudp\ngeneve vni=rand\neth\nipv4\nudp sport=20000", "eth:ipv6:udp:geneve:eth:ip:udp"),
    ("eth\nipv4\nipv6\ntcp ack=rand urgent=0-9", "eth:ip:ipv6:tcp"),
    ("eth\nipv4\nudp\npayload 68656c6c6f20776f726c6421", "eth:ip:udp"),
];

#[test]
fn tshark_reads_each_header_and_finds_nothing_malformed_and_no_wrong_checksum() {
    if Command::new("tshark").arg("--version").output().is_err() {
        eprintln!("SKIPPED: tshark is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let (mut all, mut want) = (Vec::new(), Vec::new());
    Format::Pcap.header(&mut all, 65_535, &Section::default());
    for (template, protocols) in STACKS {
        std::fs::write(path("template"), template).unwrap();
        // Lengths that are odd and even, and one with a short payload.
        for sizes in [&["-s", "200-204"][..], &["-s", "1518"], &[]] {
            write(&path("template"), sizes, "10", &path("out"));
            for packet in Recording::open(&path("out")).unwrap().packets() {
                let len = packet.bytes.len();
                Format::Pcap.put(&mut all, &Record { interface: 0, time: 7, wire_len: len, parts: &[packet.bytes] });
                want.push(protocols);
            }
        }
    }
    std::fs::write(path("all"), all).unwrap();
    let sums = ["ip", "udp", "tcp", "icmp", "icmpv6"].map(|protocol| format!("{protocol}.checksum.status"));
    let fields = ["frame.protocols", "_ws.malformed", "_ws.expert.message"].into_iter();
    let fields = fields.chain(sums.iter().map(String::as_str)).flat_map(|field| ["-e", field]);
    let checks = ["ip", "udp", "tcp"].map(|protocol| format!("{protocol}.check_checksum:TRUE"));
    let output = Command::new("tshark")
        .args(["-r", path("all").to_str().unwrap(), "-T", "fields", "-E", "separator=|"])
        .args(fields)
        .args(checks.iter().flat_map(|check| ["-o", check]))
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert_eq!(said.lines().count(), want.len(), "{}", text(&output.stderr));
    for (line, protocols) in said.lines().zip(want) {
        let mut parts = line.split('|');
        let (seen, malformed) = (parts.next().unwrap(), parts.next().unwrap());
        let seen = seen.split(':').filter(|name| !["ethertype", "data"].contains(name)).collect::<Vec<_>>().join(":");
        assert!(seen == protocols && malformed.is_empty(), "{protocols}: {line}");
        let _notes = parts.next();
        let sums: Vec<&str> = parts.flat_map(|sums| sums.split(',')).filter(|sum| !sum.is_empty()).collect();
        let checked = protocols.split(':').filter(|name| ["ip", "udp", "tcp", "icmp", "icmpv6"].contains(name));
        assert_eq!(sums.len(), checked.count(), "{protocols}: {line}");
        // 1 is good; bad is 0.
        assert!(sums.iter().all(|sum| ["1", "Good"].contains(sum)), "{protocols}: {line}");
    }
}

#[test]
fn the_example_has_a_hundred_networks_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.pcap");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/vxlan.txt");
    write(&example, &[], "200", &out);
    let recording = Recording::open(&out).unwrap();
    for (packet, n) in recording.packets().zip(0..200) {
        assert_eq!(packet.bytes[46..50], [0, 0, n % 100 + 1, 0], "frame {n}");
    }
}

#[test]
fn a_template_is_sent_at_a_rate_by_threads_and_at_times_of_a_list() {
    let dir = tempfile::tempdir().unwrap();
    let (template, list) = (dir.path().join("template"), dir.path().join("list"));
    std::fs::write(&template, "eth\nipv4\ngre\nipv6\nudp dport=1-9\n").unwrap();
    std::fs::write(&list, "0\n1000 size=200\n2000\n").unwrap();
    let words = ["-i", "emu:82599,link=1ms", "--strict", "--template", template.to_str().unwrap(), "-c", "5000"];
    for more in [&["--cores", "2", "-r", "100k"][..], &["-s", "120,1518"]] {
        let output = run(&[&words[..], more, &["--allow-shortfall", "100%"]].concat());
        let said = text(&output.stdout);
        assert!(
            output.status.success() && said.contains("card      5 000 packets") && said.contains("the same"),
            "{said}"
        );
    }
    let words = ["--template", template.to_str().unwrap(), "--schedule", list.to_str().unwrap(), "--print"];
    let printed = text(&run(&words).stdout);
    let lengths: Vec<&str> = printed.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(lengths, ["90", "196", "90"], "{printed}");
}

#[test]
fn a_template_that_makes_no_sense_is_refused_in_one_line_with_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let (template, list) = (dir.path().join("template"), dir.path().join("list"));
    std::fs::write(&list, "0 dport=80\n").unwrap();
    let refused = |template: &Path, more: &[&str]| {
        let output = run(&[&["-c", "1", "-w", "/dev/null", "--template", template.to_str().unwrap()], more].concat());
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}");
        line
    };
    for (text_of, more, part) in [
        ("eth\nipv4 ttl=300", &[][..], "line 2 of "),
        ("eth\nipv4\nudp", &["-s", "64", "--schedule", list.to_str().unwrap()], "said in its file"),
        ("eth\nipv6\ntcp", &["-s", "64"], "use 78 to"),
        ("eth", &["--dport", "80"], "--dport"),
        ("eth", &["--bad-csum", "l4"], "--bad-csum"),
    ] {
        std::fs::write(&template, text_of).unwrap();
        let line = refused(&template, more);
        assert!(line.contains(part), "{text_of}: {line}");
    }
    assert!(refused(Path::new("/nonexistent"), &[]).contains("reading the template"));
}

#[test]
fn the_help_names_every_field_of_every_header() {
    let dir = tempfile::tempdir().unwrap();
    let template = dir.path().join("template");
    let help = text(&run(&["--help"]).stdout);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = |line: &str| {
        std::fs::write(&template, line).unwrap();
        text(&run(&["--template", template.to_str().unwrap(), "--print"]).stderr)
    };
    let names = said("nothing");
    let names = names.lines().next().unwrap().split_once("there are ").unwrap().1.split_once(" and payload").unwrap().0;
    assert!(help.contains(&format!("{names}, payload")), "{names}");
    for name in names.split(", ") {
        let fields = said(&format!("{name} nothing=1"));
        let fields = fields.lines().next().unwrap().split_once("it has ").unwrap().1.to_string();
        assert!(
            help.contains(&format!("{name}: {fields};")) || help.contains(&format!("{name}: {fields}.")),
            "{name}: {fields}"
        );
    }
}
