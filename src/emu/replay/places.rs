//! Where a virtio device has its registers: each structure in a BAR that a capability
//! names (VIRTIO 1.2 §4.1.4), so that the same register has other places in other devices.

/// Who has such.
const VIRTIO: u16 = 0x1af4;

/// Capabilities of the vendor's own.
const VENDOR: u8 = 0x09;

/// The structure of notifications, which has a distance between queues.
const NOTIFY: u8 = 2;

/// Structures that are read and written by BAR.
const MAPPED: std::ops::RangeInclusive<u8> = 1..=4;

/// A structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    kind: u8,
    bar: u8,
    offset: u64,
    len: u64,
    /// Bytes from one queue's to the next's.
    stride: u64,
}

/// From the registers of one device to those of another.
#[derive(Clone, Debug, Default)]
pub struct Places {
    from: Vec<Place>,
    to: Vec<Place>,
}

impl Places {
    /// Of two devices with these configuration spaces. Where they are no virtio devices a
    /// register has the same place in both.
    pub fn between(from: &[u8], to: &[u8]) -> Places {
        Places { from: structures(from), to: structures(to) }
    }

    /// Whether both have structures.
    pub fn known(&self) -> bool {
        !self.from.is_empty() && !self.to.is_empty()
    }

    /// Where the other device has this register; as it is if that is not known.
    pub fn translate(&self, bar: u8, offset: u64) -> (u8, u64) {
        let hit =
            |place: &&Place| place.bar == bar && offset.checked_sub(place.offset).is_some_and(|at| at < place.len);
        let Some(from) = self.from.iter().find(hit) else { return (bar, offset) };
        let Some(to) = self.to.iter().find(|to| to.kind == from.kind) else { return (bar, offset) };
        let at = offset - from.offset;
        let at = match (from.kind, from.stride) {
            (NOTIFY, 1..) => at / from.stride * to.stride + at % from.stride,
            _ => at,
        };
        (to.bar, to.offset.saturating_add(at))
    }
}

fn structures(config: &[u8]) -> Vec<Place> {
    let word = |at: usize| Some(u32::from_le_bytes(*config.get(at..)?.first_chunk()?));
    let byte = |at: usize| config.get(at).copied().unwrap_or(0);
    let mut found: Vec<Place> = Vec::new();
    if word(0).map(|word| word as u16) != Some(VIRTIO) {
        return found;
    }
    let mut at = usize::from(byte(0x34) & !3);
    // A list may lead back into itself.
    for _ in 0..48 {
        if at < 0x40 {
            break;
        }
        let kind = byte(at + 3);
        // The first of a kind is the one that is used (§4.1.4.1).
        if byte(at) == VENDOR
            && MAPPED.contains(&kind)
            && !found.iter().any(|place| place.kind == kind)
            && let (Some(offset), Some(len)) = (word(at + 8), word(at + 12))
        {
            let stride = if kind == NOTIFY { word(at + 16).unwrap_or(0) } else { 0 };
            found.push(Place {
                kind,
                bar: byte(at + 4),
                offset: offset.into(),
                len: len.into(),
                stride: stride.into(),
            });
        }
        at = usize::from(byte(at + 1) & !3);
    }
    found
}
