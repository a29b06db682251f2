//! An emulated card for another program, over a socket.

use crate::cli::output::Output;
use crate::cli::signal::Stop;
use crate::cli::{Context, Outcome};
use crate::emu::offload::Used;
use crate::emu::vfio_user::{Observer, Server};
use crate::emu::wire::Counters;
use crate::emu::{Access, Card, Spec, build};
use crate::error::Error;
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Serves the card `spec` at `socket` until a signal ends it, and then says what
/// passed and what its drivers did wrong: a rule of the datasheet a line.
pub fn serve(spec: &Spec, socket: &Path, trace: Option<&Path>, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    let stop = Stop::install()?;
    let observer = trace.map(tracer).transpose()?;
    let wire = spec.open_wire(&mut Default::default())?;
    let mut server = Server::bind(socket, Card::new(build(spec, wire)?), observer)?;
    output.info(format_args!("emu:{spec} served at {}", socket.display()))?;
    server.run(|| stop.requested())?;

    let card = server.card();
    let Counters { tx_frames, tx_bytes, rx_frames, rx_bytes, drops, .. } = card.model().wire_counters();
    let Used { summed, segmented, tagged, untagged } = card.model().offloads_used();
    let violations = card.violations();
    output.document(&json!({
        "command": "emulate",
        "device": format!("emu:{spec}"),
        "wire": {
            "tx_frames": tx_frames, "tx_bytes": tx_bytes, "rx_frames": rx_frames, "rx_bytes": rx_bytes, "drops": drops,
        },
        "offloads": { "summed": summed, "segmented": segmented, "tagged": tagged, "untagged": untagged },
        "violations": violations.iter().map(|(name, n)| json!({ "rule": name, "count": n })).collect::<Vec<_>>(),
    }))?;
    output.result(format_args!("sent {tx_frames} frames, received {rx_frames}, dropped {drops}"))?;
    if summed | segmented | tagged | untagged != 0 {
        output.result(format_args!(
            "offloads: {summed} summed, {segmented} segmented, {tagged} tagged; {untagged} untagged"
        ))?;
    }
    for (rule, count) in &violations {
        output.result(format_args!("violation {count:>6} x {rule}"))?;
    }
    Ok(stop.outcome())
}

/// Writes one line an access: `W RDT(0) = 0x1ff`.
fn tracer(path: &Path) -> Result<Observer, Error> {
    let file = File::create(path).map_err(|e| Error::io(format!("creating {}", path.display()), e))?;
    let mut file = BufWriter::new(file);
    let mut whole = true;
    Ok(Box::new(move |access: &Access| {
        if whole {
            // A full disk ends the trace, not the card.
            whole = line(&mut file, access).is_ok();
        }
    }))
}

fn line(file: &mut impl Write, access: &Access) -> std::io::Result<()> {
    let way = if access.write { 'W' } else { 'R' };
    match &access.name {
        Some(name) => writeln!(file, "{way} {:05x} {name} = {:#x}", access.offset, access.value),
        None => writeln!(file, "{way} {:05x} BAR{} = {:#x}", access.offset, access.bar, access.value),
    }
}
