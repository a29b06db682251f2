//! An emulated card for another program, over a socket.

use super::kept;
use super::record::Record;
use crate::cli::account;
use crate::cli::output::Output;
use crate::cli::signal::Stop;
use crate::cli::{Context, Outcome};
use crate::emu::offload::Used;
use crate::emu::vfio_user::{Observer, Server};
use crate::emu::{Access, Card, Spec, build};
use crate::error::Result;
use serde_json::json;
use std::path::Path;

/// Serves the card `spec` at `socket` until a signal ends it, and then says what
/// passed and what its drivers did wrong: a rule of the datasheet a line.
pub fn serve(spec: &Spec, socket: &Path, trace: Option<&Path>, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    let stop = Stop::install()?;
    let observer = trace.map(observer).transpose()?;
    let wire = spec.open_wire(&mut Default::default())?;
    let mut server = Server::bind(socket, Card::new(build(spec, wire)?), observer)?;
    output.info(format_args!("emu:{spec} served at {}", socket.display()))?;
    server.run(|| stop.requested())?;

    let card = server.card();
    let (wire, notes) = (card.board().port.mac.counters(), card.wire_report());
    let Used { summed, segmented, tagged, untagged } = card.board().used;
    let violations = card.violations();
    output.facts(
        &context.roots,
        "emulate",
        json!({
            "device": format!("emu:{spec}"),
            "wire": account::wire_json(&wire, &notes),
            "offloads": { "summed": summed, "segmented": segmented, "tagged": tagged, "untagged": untagged },
            "violations": violations.iter().map(|(name, n)| json!({ "rule": name, "count": n })).collect::<Vec<_>>(),
        }),
    )?;
    output.result(format_args!(
        "sent {} frames, received {}, dropped {}, unwanted {}",
        wire.tx_frames, wire.rx_frames, wire.drops, wire.unwanted
    ))?;
    account::print_notes(&notes, &output)?;
    if summed | segmented | tagged | untagged != 0 {
        output.result(format_args!(
            "offloads: {summed} summed, {segmented} segmented, {tagged} tagged; {untagged} untagged"
        ))?;
    }
    for (rule, count) in &violations {
        output.result(format_args!("violation {count:>6} x {rule}"))?;
    }
    if spec.strict || context.global.strict {
        kept(violations.len())?;
    }
    Ok(stop.outcome())
}

/// Writes one line an access.
fn observer(path: &Path) -> Result<Observer> {
    let mut record = Record::create(path)?;
    Ok(Box::new(move |access: &Access| record.line(access)))
}
