//! A trace of a card, replayed to a model.

use crate::cli::output::{self, Output};
use crate::cli::{Context, Outcome, tracing};
use crate::driver;
use crate::emu::replay::{Difference, Replayed, replay};
use crate::emu::{self, Spec};
use crate::error::{Error, Kind, Result};
use crate::pci::Id;
use crate::pci::trace::Recording;
use crate::sys::Roots;
use serde_json::{Value, json};
use std::path::Path;

/// Asks the card `spec` what the card of the trace was asked, and prints where its
/// answers are others.
pub fn run(spec: &Spec, path: &Path, context: &Context) -> anyhow::Result<Outcome> {
    let output = Output::new(&context.global);
    let recording = Recording::open(path)?;
    check_family(spec, recording.id, path)?;
    if let Some(line) = recording.torn {
        output.warn(format_args!(
            "{} ends after line {line} without its last, as if its program was killed; what it has is replayed",
            path.display()
        ));
    }
    let found = replay(spec, &recording)?;
    print(&found, spec, recording.id, &context.roots, &output)?;
    match found.differences.len() {
        0 if found.compared == 0 => {
            let text = "nothing was compared: it has no answer of a card that says what the card is";
            Err(Error::new(Kind::Device, format!("{}: {text}; trace a command that opens one", path.display())).into())
        }
        0 => Ok(Outcome::Done),
        n => {
            let places = if n == 1 { "one place" } else { &format!("{n} places") };
            let text = format!("emu:{spec} answers otherwise than the card of {} in {places}", path.display());
            Err(Error::new(Kind::Device, text).into())
        }
    }
}

/// Refuses a card of another family.
fn check_family(spec: &Spec, id: Id, path: &Path) -> Result<()> {
    let own = emu::models().find(|model| model.profile.name == spec.model).map(|model| model.profile.id);
    let (Some(own), theirs) = (own, driver::driver_for(id)) else { return Ok(()) };
    if driver::driver_for(own) == theirs {
        return Ok(());
    }
    let (path, Id { vendor, device, .. }) = (path.display(), id);
    let advice = match tracing::model(id) {
        Some(model) => format!("replay it to emu:{}", model.profile.name),
        None => "no emulated card is of its family".into(),
    };
    let text = format!(
        "{path} is of a card {vendor:04x}:{device:04x}, which is of another family than emu:{}; {advice}",
        spec.model
    );
    Err(Error::new(Kind::Usage, text))
}

fn print(found: &Replayed, spec: &Spec, id: Id, roots: &Roots, output: &Output) -> Result<()> {
    let Replayed { accesses, commands, compared, differences, violations } = found;
    let Id { vendor, device, .. } = id;
    let row = |difference: &Difference| -> Value {
        let Difference { name, card, model, times } = difference;
        json!({ "name": name, "card": card, "model": model, "times": times })
    };
    output.facts(
        roots,
        "emulate",
        json!({
            "device": format!("emu:{spec}"),
            "card": format!("{vendor:04x}:{device:04x}"),
            "accesses": accesses,
            "commands": commands,
            "compared": compared,
            "differences": differences.iter().map(row).collect::<Vec<_>>(),
            "violations": violations.iter().map(|(name, n)| json!({ "rule": name, "count": n })).collect::<Vec<_>>(),
        }),
    )?;
    if !differences.is_empty() {
        let mut table = output::table(&["what", "card", "model", "times"], 3);
        for Difference { name, card, model, times } in differences {
            table.add_row([name.clone(), card.clone(), model.clone(), times.to_string()]);
        }
        output.table(&table)?;
    }
    output.result(format_args!(
        "{accesses} accesses and {commands} commands to a card {vendor:04x}:{device:04x} replayed to emu:{spec}: {compared} answers compared, {}",
        plural(differences.len(), "difference")
    ))?;
    for (rule, count) in violations {
        output.detail(format_args!("violation {count:>6} x {rule}"))?;
    }
    Ok(())
}

/// So many of a thing.
fn plural(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
