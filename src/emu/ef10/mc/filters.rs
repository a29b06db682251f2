//! Filters and RSS contexts, as commands.

use super::super::Ef10;
use super::super::bytes::{field, put, reply, u32_at, u64_at};
use super::super::filter::{Context, Refused, SUPPORTED, Target};
use super::errno::{EBUSY, EINVAL, ENOENT, ENOSPC, EPERM};
use super::{Answer, No};
use crate::emu::frame::Toeplitz;

/// Shortest input that describes a filter.
const DESCRIBED: usize = 0x6c;

pub fn operate(card: &mut Ef10, input: &[u8]) -> Answer {
    const INSERT: u32 = 0;
    const REMOVE: u32 = 1;
    const SUBSCRIBE: u32 = 2;
    const UNSUBSCRIBE: u32 = 3;
    const REPLACE: u32 = 4;
    let (operation, handle) = (u32_at(input, 0), u64_at(input, 4));
    let handle = match operation {
        INSERT | SUBSCRIBE | REPLACE if input.len() < DESCRIBED => {
            card.board.violations.note("FILTER_OP without a description of the filter");
            return Err(No::Code(EINVAL));
        }
        INSERT | SUBSCRIBE => {
            let target = target(card, input)?;
            card.filters.insert(input, target, operation == INSERT).map_err(|refused| {
                No::Code(match refused {
                    Refused::Unsupported => {
                        card.board
                            .violations
                            .note(format!("filter of kind {:#x}, which is not listed", u32_at(input, 0x10)));
                        EINVAL
                    }
                    Refused::Taken => EBUSY,
                    Refused::Full => ENOSPC,
                })
            })?
        }
        REPLACE => {
            let target = target(card, input)?;
            if !card.filters.redirect(handle, target) {
                return Err(No::Code(ENOENT));
            }
            handle
        }
        REMOVE | UNSUBSCRIBE => {
            if !card.filters.remove(handle) {
                return Err(No::Code(ENOENT));
            }
            handle
        }
        _ => return Err(No::Code(EINVAL)),
    };
    Ok(reply(12, &[(0, operation), (4, handle as u32), (8, (handle >> 32) as u32)]))
}

/// Where the filter sends its frames.
fn target(card: &mut Ef10, input: &[u8]) -> Result<Target, No> {
    const DROP: u32 = 0;
    const HOST: u32 = 1;
    const RSS: u32 = 1;
    let (to, queue, mode, context) =
        (u32_at(input, 0x14), u32_at(input, 0x18), u32_at(input, 0x1c), u32_at(input, 0x20));
    if to == DROP {
        return Ok(Target::Drop);
    }
    if to != HOST {
        return Err(No::Code(EPERM));
    }
    if queue >= u32::from(card.mc.vis) {
        if !card.mc.unnoticed() {
            card.board.violations.note("filter to a queue on a VI that was not allocated");
        }
        return Err(No::Code(ENOENT));
    }
    if mode & RSS == 0 {
        return Ok(Target::Queue(queue as u16));
    }
    if card.filters.context(context).is_none() {
        card.board.violations.note("filter by an RSS context that was not allocated");
        return Err(No::Code(ENOENT));
    }
    Ok(Target::Spread(queue as u16, context))
}

/// GET_PARSER_DISP_INFO: the kinds of filters, the most specific first.
pub fn supported(_: &mut Ef10, input: &[u8]) -> Answer {
    let operation = u32_at(input, 0);
    if operation != 1 {
        return Err(No::Code(EINVAL));
    }
    let mut bytes = reply(8 + 4 * SUPPORTED.len(), &[(0, operation), (4, SUPPORTED.len() as u32)]);
    for (n, mask) in SUPPORTED.iter().enumerate() {
        put(&mut bytes, 8 + 4 * n, &mask.to_le_bytes());
    }
    Ok(bytes)
}

pub fn rss_alloc(card: &mut Ef10, input: &[u8]) -> Answer {
    const EXCLUSIVE: u32 = 0;
    let (kind, queues) = (u32_at(input, 4), u32_at(input, 8));
    if !(1..=64).contains(&queues) || kind > 2 {
        return Err(No::Code(EINVAL));
    }
    let id = card.filters.allocate_context(queues, kind != EXCLUSIVE).ok_or(No::Code(ENOSPC))?;
    Ok(reply(4, &[(0, id)]))
}

pub fn rss_free(card: &mut Ef10, input: &[u8]) -> Answer {
    let id = u32_at(input, 0);
    if card.filters.context_in_use(id) {
        card.board.violations.note("RSS_CONTEXT_FREE of a context that filters use");
        return Err(No::Code(EBUSY));
    }
    if card.filters.free_context(id) { Ok(Vec::new()) } else { Err(No::Code(ENOENT)) }
}

fn context<'a>(card: &'a mut Ef10, input: &[u8]) -> Result<&'a mut Context, No> {
    card.filters.context(u32_at(input, 0)).ok_or(No::Code(ENOENT))
}

pub fn rss_set_key(card: &mut Ef10, input: &[u8]) -> Answer {
    context(card, input)?.toeplitz = Toeplitz::new(field(input, 4));
    Ok(Vec::new())
}

pub fn rss_key(card: &mut Ef10, input: &[u8]) -> Answer {
    let mut bytes = reply(0x2c, &[]);
    put(&mut bytes, 4, context(card, input)?.toeplitz.key());
    Ok(bytes)
}

pub fn rss_set_table(card: &mut Ef10, input: &[u8]) -> Answer {
    let context = context(card, input)?;
    let table: [u8; 128] = field(input, 4);
    if table.iter().any(|offset| u32::from(*offset) >= context.queues) {
        card.board.violations.note("RSS table names a queue that the context does not have");
        return Err(No::Code(EINVAL));
    }
    context.table = table;
    Ok(Vec::new())
}

pub fn rss_table(card: &mut Ef10, input: &[u8]) -> Answer {
    let mut bytes = reply(0x84, &[]);
    put(&mut bytes, 4, &context(card, input)?.table);
    Ok(bytes)
}

pub fn rss_set_flags(card: &mut Ef10, input: &[u8]) -> Answer {
    context(card, input)?.flags = u32_at(input, 4);
    Ok(Vec::new())
}

pub fn rss_flags(card: &mut Ef10, input: &[u8]) -> Answer {
    let flags = context(card, input)?.flags;
    Ok(reply(8, &[(4, flags)]))
}
