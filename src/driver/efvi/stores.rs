//! What it takes for frames to be stored into the card: its memory or its transmitter,
//! and a host that combines stores.

use super::cmd::{alloc_piobuf, free_piobuf, link_piobuf, refusal, unlink_piobuf};
use super::hw::{Capability, Hw};
use super::ids::Generation;
use crate::driver::config::TxPath;
use crate::driver::mailbox::Request;
use crate::error::{Error, Kind, Remedy, Result};

/// Packet memory of a transmit queue.
pub fn packet_memory(hw: &Hw, vi: u16) -> Result<u64> {
    let none = |why: &str| -> Error {
        hw.error(Kind::Unsupported, format!("no packet memory (PIO) for its transmit queue: {why}"))
            .with_remedy(Remedy::Push)
    };
    if hw.caps.pio_buffers == 0 || usize::from(hw.caps.pio_bytes) < super::path::PIO_SLICE {
        return Err(none("its firmware offers none"));
    }
    let handle = match hw.try_ask(Request::new(alloc_piobuf::COMMAND))? {
        Ok(buffer) => buffer.get(alloc_piobuf::output::PIOBUF_HANDLE),
        Err(refusal::ENOSPC) => return Err(none("all of it is taken")),
        Err(code) => return Err(none(&alloc_piobuf::COMMAND.refused_with(refusal::name(code), code))),
    };
    let link = Request::new(link_piobuf::COMMAND)
        .with(link_piobuf::input::PIOBUF_HANDLE, handle)
        .with(link_piobuf::input::TXQ_INSTANCE, u64::from(vi));
    if let Err(code) = hw.try_ask(link)? {
        hw.ask_any(free(handle))?;
        return Err(none(&link_piobuf::COMMAND.refused_with(refusal::name(code), code)));
    }
    Ok(handle)
}

/// Gives packet memory back.
pub fn free_packet_memory(hw: &Hw, vi: u16, handle: u64) -> Result<()> {
    hw.ask_optional(Request::new(unlink_piobuf::COMMAND).with(unlink_piobuf::input::TXQ_INSTANCE, u64::from(vi)))?;
    hw.ask_optional(free(handle))?;
    Ok(())
}

fn free(handle: u64) -> Request {
    Request::new(free_piobuf::COMMAND).with(free_piobuf::input::PIOBUF_HANDLE, handle)
}

/// Refuses ways for a frame to be stored into the card that cannot be had, and says where
/// stores are not combined.
pub fn check(hw: &Hw, path: TxPath) -> Result<()> {
    const WHY: &str = "stores are not combined on their way to it (VFIO maps registers uncached, and the kernel combines stores to prefetchable ones only)";
    if let TxPath::Ctpio { .. } = path {
        check_ctpio(hw)?;
    }
    match path {
        _ if hw.combines() => {}
        TxPath::Ctpio { threshold: Some(bytes) } => {
            let text = format!(
                "a frame cannot begin after {bytes} bytes (CTPIO): {WHY}, so the rest comes later than the wire needs it, and the frame is spoiled"
            );
            return Err(hw.error(Kind::Unsupported, text).with_remedy(Remedy::WholeFrame));
        }
        TxPath::Ctpio { threshold: None } | TxPath::Pio => {
            hw.lacks.note(format!("{WHY}: long frames take longer to be stored than to be fetched"));
        }
        _ => {}
    }
    Ok(())
}

/// Refuses CTPIO where it cannot be had.
fn check_ctpio(hw: &Hw) -> Result<()> {
    let why = if hw.generation != Generation::Medford2 {
        "only X2 cards have it"
    } else if !hw.caps.has(Capability::Ctpio) {
        "its firmware does not offer it; the low-latency variant does (sfboot)"
    } else if hw.caps.stride < 0x4000 {
        "the windows of its queues are too small for it; let the firmware make them 16 KiB"
    } else {
        return Ok(());
    };
    let text = format!("frames cannot be stored into its transmitter (CTPIO): {why}");
    Err(hw.error(Kind::Unsupported, text).with_remedy(Remedy::Push))
}
