//! `bmnic emulate`: lists the emulated cards and how they are named, or serves some
//! of them to another program.

#[cfg(target_arch = "x86_64")]
mod program;
mod record;
mod replay;
mod serve;

use super::output::{self, Output};
use super::{Context, Outcome};
use crate::emu::wire::check_files;
use crate::emu::{self, FaultKind, Spec};
use crate::error::{Error, Kind, Result};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Arguments of `bmnic emulate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// List the cards, their wires and their options (this is the default)
    #[arg(short, long)]
    list: bool,
    /// Card to serve, such as 82599,wire=cable:w0; several for a program
    card: Vec<String>,
    /// Serve the card at this socket, for QEMU's vfio-user-pci
    #[arg(long, value_name = "SOCKET", requires = "card", conflicts_with = "command")]
    vfio_user: Option<PathBuf>,
    /// Ask the card what was asked of the one in this trace, and print where it answers otherwise
    ///
    /// A trace is what `--trace` writes, of a real card or an emulated one. The exit code is 0
    /// if all answers are the same.
    #[arg(long, value_name = "FILE", requires = "card", conflicts_with_all = ["vfio_user", "command", "trace"])]
    replay: Option<PathBuf>,
    /// Run this program with the cards in place of all PCI devices: dpdk-testpmd,
    /// or anything that maps resource0 and polls
    #[arg(last = true, value_name = "COMMAND", requires = "card")]
    command: Vec<String>,
}

impl Args {
    /// Whether a card is served, to be accessed by somebody.
    pub fn serves(&self) -> bool {
        !self.card.is_empty() && self.replay.is_none()
    }
}

/// Fails if drivers broke rules of cards that were to be strict; each has been listed.
fn kept(rules: usize) -> Result<()> {
    match rules {
        0 => Ok(()),
        _ => Err(Error::new(
            Kind::Device,
            format!("its driver broke {rules} rules of the card, which are listed above; without `strict` it goes on"),
        )),
    }
}

/// A part of a name: how it is written, and what it does.
pub(super) struct Part {
    pub(super) name: &'static str,
    example: &'static str,
    pub(super) text: &'static str,
}

/// What a port can be plugged into.
pub(super) const WIRES: &[Part] = &[
    Part { name: "loop", example: "loop:pause=on", text: "itself: what is sent comes back" },
    Part { name: "peer", example: "peer:a", text: "the other port of this process that says the same" },
    Part { name: "switch", example: "switch:a", text: "the same, with a switch between that others are on" },
    Part {
        name: "source",
        example: "source:rate=10M:size=imix:flows=8",
        text: "a traffic generator that counts what comes back",
    },
    Part { name: "sink", example: "sink", text: "nothing, with the light on" },
    Part { name: "tap:NAME", example: "tap:tap0", text: "a TAP device of the kernel" },
    Part { name: "packet:IFACE", example: "packet:veth0", text: "an interface of the kernel" },
    Part {
        name: "pcap:FILE",
        example: "pcap:in.pcap:out=sent.pcap",
        text: "a capture that is played (speed=, loop=), and one of what is sent",
    },
    Part { name: "cable:NAME", example: "cable:w0", text: "the port of another process that says the same" },
];

/// What else can be said of a card.
pub(super) const OPTIONS: &[Part] = &[
    Part { name: "wire=", example: "wire=loop", text: "what the port is plugged into" },
    Part { name: "queues=", example: "queues=4", text: "receive and transmit queues to use" },
    Part { name: "seed=", example: "seed=7", text: "seed of all that is random" },
    Part { name: "speed=", example: "speed=1G", text: "line rate in bits a second, or max" },
    Part { name: "link=", example: "link=5ms", text: "time from reset to link" },
    Part { name: "mac=", example: "mac=02:00:00:00:00:01", text: "factory address" },
    Part { name: "loss=", example: "loss=0.1%", text: "share of the frames that vanishes" },
    Part {
        name: "limit=",
        example: "limit=2M",
        text: "frames a second that pass, bursts of 128; what is over is lost",
    },
    Part { name: "dup=", example: "dup=0.1%", text: "share that comes twice" },
    Part { name: "reorder=", example: "reorder=1%", text: "share that comes after the frame behind it" },
    Part { name: "corrupt=", example: "corrupt=0.01%", text: "share of which one bit is inverted" },
    Part { name: "delay=", example: "delay=10us", text: "how much later each frame comes" },
    Part { name: "jitter=", example: "jitter=2us", text: "by how much the delay varies" },
    Part {
        name: "fault=",
        example: "fault=error:7",
        text: "what goes wrong: in firmware at every command, the one of that number, or that of a code like 0x613; \
               with packets as below",
    },
    Part {
        name: "pcie=",
        example: "pcie=gen3x8:500ns",
        text: "PCIe link whose time doorbells, reads and writes take: generation, lanes, round trip (533ns)",
    },
    Part { name: "nasty", example: "nasty", text: "do all that the datasheet allows and drivers do not expect" },
    Part { name: "strict", example: "strict", text: "fail if the driver breaks a rule of the datasheet" },
    Part { name: "spin", example: "spin", text: "never nap, for the smallest delay" },
];

// The text of `limit=` names it.
const _: () = assert!(crate::emu::wire::BURST == 128);

/// Runs it.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Outcome> {
    let parse = |card: &String| card.strip_prefix("emu:").unwrap_or(card).parse::<Spec>();
    let specs = args.card.iter().map(parse).collect::<Result<Vec<_>>>()?;
    let trace = context.global.trace.as_deref();
    check_files(specs.iter().map(|spec| &spec.wire), &Vec::from_iter(trace))?;
    if let Some(path) = &args.replay {
        let [spec] = &specs[..] else {
            return Err(Error::new(Kind::Usage, "a trace is of one card; name one to replay it to").into());
        };
        return replay::run(spec, path, context);
    }
    match (&specs[..], &args.vfio_user, &args.command[..]) {
        ([], ..) => {}
        ([spec], Some(socket), _) => return serve::serve(spec, socket, trace, context),
        (_, Some(_), _) => return Err(Error::new(Kind::Usage, "a socket serves one card; name one").into()),
        (_, None, []) => {
            let what =
                "serve the card to whom? `--vfio-user SOCKET` for QEMU, or `-- COMMAND` for a program of this machine";
            return Err(Error::new(Kind::Usage, what).into());
        }
        #[cfg(target_arch = "x86_64")]
        (_, None, command) => return program::run(&specs, command, trace, context),
        #[cfg(not(target_arch = "x86_64"))]
        (_, None, _) => {
            let what = "a native program's register accesses can be trapped on x86-64 only; `--vfio-user` works here";
            return Err(Error::new(Kind::Unsupported, what).into());
        }
    }
    let output = Output::new(&context.global);
    output.facts(&context.roots, "emulate", document())?;
    let mut cards = output::table(&["card", "PCI id", "queues", "what it is"], 4);
    for model in emu::models() {
        cards.add_row([
            format!("emu:{}", model.profile.name),
            format!("{:04x}:{:04x}", model.profile.id.vendor, model.profile.id.device),
            model.queues.to_string(),
            model.text.to_string(),
        ]);
    }
    output.table(&cards)?;
    for (title, parts) in [("wire", WIRES), ("option", OPTIONS)] {
        let mut table = output::table(&[title, "for example", "what it does"], 3);
        for part in parts {
            table.add_row([part.name, part.example, part.text]);
        }
        output.result("")?;
        output.table(&table)?;
    }
    let (packets, others): (Vec<_>, Vec<_>) = FaultKind::ALL.into_iter().partition(|kind| kind.example().is_some());
    let mut table = output::table(&["fault of packets", "for example", "what it does"], 3);
    for kind in packets {
        table.add_row([kind.name(), kind.example().unwrap_or_default(), kind.text()]);
    }
    output.result("")?;
    output.table(&table)?;
    output.result(
        "\n:1000 is the 1000th packet or its report, :/1000 every 1000th, :1000- all from it on; else every one",
    )?;
    let kinds = others.into_iter().map(FaultKind::name).collect::<Vec<_>>().join(", ");
    output.result(format_args!("\nother faults, where a card can have them: {kinds}"))?;
    output.info("\nas in: bmnic fwd emu:82599,wire=cable:w0,queues=4 emu:82599,wire=sink,loss=0.1%")?;
    Ok(Outcome::Done)
}

fn document() -> Value {
    let parts = |parts: &[Part]| -> Value {
        parts.iter().map(|p| json!({ "name": p.name, "example": p.example, "text": p.text })).collect()
    };
    let models: Value = emu::models()
        .map(|model| {
            json!({
                "name": format!("emu:{}", model.profile.name),
                "kind": crate::pci::Kind::Emulated.to_string(),
                "vendor": format!("{:04x}", model.profile.id.vendor),
                "device": format!("{:04x}", model.profile.id.device),
                "queues": model.queues,
                "text": model.text,
                "faults": model.faults().map(FaultKind::name).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "models": models, "wires": parts(WIRES), "options": parts(OPTIONS) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the parser itself says there is, from the text of its refusal.
    fn named_by_parser(bad: &str) -> Vec<String> {
        let error = bad.parse::<Spec>().unwrap_err().to_string();
        let (_, list) = error.rsplit_once(" are ").expect("a refusal names what there is");
        list.split(',').map(|name| name.trim().to_string()).collect()
    }

    #[test]
    fn every_example_can_be_typed() {
        for wire in WIRES {
            let text = format!("82599,wire={}", wire.example);
            text.parse::<Spec>().unwrap();
            assert!(wire.example.starts_with(wire.name.split(':').next().unwrap()));
        }
        for option in OPTIONS {
            format!("82599,{}", option.example).parse::<Spec>().unwrap();
            assert!(option.example.starts_with(option.name));
        }
    }

    #[test]
    fn what_the_parser_knows_is_listed_and_nothing_else() {
        let listed = |parts: &[Part]| {
            let mut names: Vec<String> = parts.iter().map(|p| p.name.to_string()).collect();
            names.sort();
            names
        };
        let mut options = named_by_parser("82599,bogus=1");
        let mut wires = named_by_parser("82599,wire=rope");
        options.sort();
        wires.sort();
        assert_eq!(listed(OPTIONS), options);
        assert_eq!(listed(WIRES), wires);
    }

    #[test]
    fn the_document_names_every_model() {
        let document = document();
        assert_eq!(document["models"].as_array().unwrap().len(), emu::models().count());
        assert_eq!(document["models"][0]["name"], "emu:82599");
    }
}
