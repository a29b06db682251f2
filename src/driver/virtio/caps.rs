//! Where a device has its registers: vendor capabilities in configuration space
//! (VIRTIO 1.2 §4.1.4).
//!
//! ```text
//!   [ 0x09 next len type | bar id . . | offset | length | multiplier ]
//!                              notification capability only ---^
//! ```

use crate::error::{Error, Kind, Result};
use crate::pci::{Bar, Function, capabilities};

/// A capability of the vendor's own.
const VENDOR: u8 = 0x09;

/// A structure's type (§4.1.4).
const COMMON: u32 = 1;
const NOTIFY: u32 = 2;
const DEVICE: u32 = 4;

/// Bytes of the common structure that every device has (§4.1.4.3).
const COMMON_LEN: u64 = 56;

/// A structure in a BAR.
#[derive(Clone, Debug)]
pub struct Window {
    bar: Bar,
    start: u64,
    len: u64,
}

impl Window {
    /// Bytes in it.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The BAR, and where in it byte `offset` of the structure is.
    pub fn at(&self, offset: u64) -> (&Bar, u64) {
        (&self.bar, self.start + offset)
    }
}

/// The structures of a device.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Common configuration.
    pub common: Window,
    /// Notifications, and the bytes between two of them.
    pub notify: (Window, u32),
    /// What is particular to a network device.
    pub device: Window,
}

impl Layout {
    /// Finds them. The first capability of a type counts; what lies outside its
    /// BAR, or in a BAR that is not there, is passed over (§4.1.4.1). `None` if one
    /// is missing: a device older than VIRTIO 1.0, or none at all.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] and [`Kind::Device`] if they cannot be what they say.
    pub fn find(function: &dyn Function) -> Result<Option<Layout>> {
        let mut found: [Option<(Window, u32)>; 5] = Default::default();
        for at in capabilities(function, VENDOR)? {
            let kind = function.config_read(at + 3, 1)?;
            if (COMMON..=DEVICE).contains(&kind) && found[kind as usize].is_none() {
                found[kind as usize] = window(function, at, kind)?;
            }
        }
        let [_, common, notify, _, device] = found;
        let name = function.name();
        let (Some((common, _)), Some((notify, multiplier)), Some((device, _))) = (common, notify, device) else {
            return Ok(None);
        };
        common.bar.require(name, common.start + COMMON_LEN)?;
        if !common.start.is_multiple_of(4) || !notify.start.is_multiple_of(2) || !device.start.is_multiple_of(4) {
            return Err(Error::new(
                Kind::Device,
                format!("{name}: its registers are at odd places; it cannot be driven"),
            ));
        }
        Ok(Some(Layout { common, notify: (notify, multiplier), device }))
    }
}

/// The structure that the capability at `at` names, if it is there.
fn window(function: &dyn Function, at: u16, kind: u32) -> Result<Option<(Window, u32)>> {
    let index = function.config_read(at + 4, 1)? as u8;
    let start = u64::from(function.config_read(at + 8, 4)?);
    let len = u64::from(function.config_read(at + 12, 4)?);
    let needed = if kind == COMMON { COMMON_LEN } else { 1 };
    if index > 5 || len < needed {
        return Ok(None);
    }
    let multiplier = if kind == NOTIFY { function.config_read(at + 16, 4)? } else { 0 };
    // A host may offer several ways to one structure. Ports are not it: a queue could not
    // store into them.
    if function.is_port_bar(index)? {
        return Ok(None);
    }
    let Ok(bar) = function.bar(index) else { return Ok(None) };
    let inside = start + len <= bar.size();
    Ok(inside.then_some((Window { bar, start, len }, multiplier)))
}
