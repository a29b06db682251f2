//! What the firmware is asked at the start: who it is, what the card can do,
//! where this function is in its switch (§7.4, §7.10.9, §7.10.10).

use super::adminq::{AdminQueue, Answer, BUFFER, Buffer, Code, le16, le32};
use super::hw::Hw;
use super::ids::Mac;
use super::regs::{self, fla, fwsts, srctl, uld};
use crate::error::{Kind, Result};
use crate::net::MacAddr;
use std::time::Duration;

/// The admin queue's version that this driver speaks, and the oldest minor one
/// that has every command it uses: reading and writing filter registers (0206,
/// 0207) came with 1.5.
const API_MAJOR: u16 = 1;
const API_MINOR: u16 = 5;

/// The same of the X722, whose filter registers are read and written as any others.
const API_MINOR_X722: u16 = 3;

/// Refuses a card whose flash holds no image, or whose firmware runs without
/// one (§6.1).
pub fn check_image(hw: &Hw) -> Result<()> {
    const UPDATE: &str = "write its NVM with Intel's update utility (nvmupdate64e), then power the machine off and on";
    // Values of the recovery mode, of the two generations.
    let state = (hw.read(regs::GL_FWSTS) & fwsts::FWS1B) >> 16;
    if matches!(state, 0x30..=0x33) || hw.mac == Mac::X722 && matches!(state, 0xb | 0xc) {
        return Err(hw.error(
            Kind::Unsupported,
            format!(
                "its firmware is in recovery mode (GL_FWSTS state {state:#04x}) because its NVM is damaged; {UPDATE}"
            ),
        ));
    }
    if hw.read(regs::GLNVM_FLA) & fla::LOCKED == 0 {
        return Err(hw.error(Kind::Unsupported, format!("its NVM is blank; {UPDATE}")));
    }
    let loaded = uld::DONE;
    hw.wait("loading the NVM", regs::GLNVM_ULD, loaded, loaded, Duration::from_secs(10))?;
    Ok(())
}

/// Refuses firmware of another age (command 0001). Returns its version as Linux writes it.
pub fn check_version(aq: &mut AdminQueue, hw: &Hw) -> Result<String> {
    let version = aq.tell_first("its version", 0x0001)?.params;
    let [firmware, firmware_minor, major, minor] = [8, 10, 12, 14].map(|at| le16(&version, at));
    let least = match hw.mac {
        Mac::Xl710 => API_MINOR,
        Mac::X722 => API_MINOR_X722,
    };
    if major == API_MAJOR && minor >= least {
        let build = le32(&version, 4);
        return Ok(format!("{firmware}.{firmware_minor}.{build:05} api {major}.{minor}"));
    }
    let (age, what) =
        if major > API_MAJOR { ("too new", "update bmnic") } else { ("too old", "update its NVM (nvmupdate64e)") };
    Err(hw.error(
        Kind::Unsupported,
        format!("its firmware {firmware}.{firmware_minor} is {age}: it speaks version {major}.{minor} of the admin queue, this driver {API_MAJOR}.{least} or later; {what}"),
    ))
}

/// Refuses a card whose NVM does not say that it is valid: control word, bits 7:6
/// (§6.3.1). Returns the version of its image, if it can be read.
pub fn check_nvm(aq: &mut AdminQueue, hw: &Hw) -> Result<Option<u16>> {
    const CONTROL: u16 = 0;
    const VERSION: u16 = 0x18;
    let mut damaged = 0;
    // Twice, as what is read may be garbage once.
    for _ in 0..2 {
        let Some(control) = nvm_word(aq, hw, CONTROL)? else { return Ok(None) };
        if control >> 6 & 0b11 == 0b01 {
            return nvm_word(aq, hw, VERSION);
        }
        damaged = control;
    }
    Err(hw.error(
        Kind::Device,
        format!(
            "its NVM is damaged (control word {damaged:#06x}); write it anew with Intel's update utility (nvmupdate64e)"
        ),
    ))
}

/// A word of the shadow RAM: by register, or of the X722 by command 0701. Both
/// under the lock of the NVM, which ports and firmware share. `None`, and a line,
/// if the firmware does not let us.
fn nvm_word(aq: &mut AdminQueue, hw: &Hw, word: u16) -> Result<Option<u16>> {
    const LOST: &str = "whether its NVM is damaged was not checked";
    const LAST: u8 = 1;
    let lock = lock_nvm(aq, hw)?;
    if lock.code != Code::OK {
        let why = lock.why(0x0008);
        aq.lacks.note(format!("its firmware refused the lock of its NVM ({why}): {LOST}"));
        return Ok(None);
    }
    let read = match hw.mac {
        Mac::Xl710 => {
            let done = |hw: &Hw| {
                hw.wait("a read of the NVM", regs::GLNVM_SRCTL, srctl::DONE, srctl::DONE, Duration::from_millis(500))
            };
            done(hw).and_then(|_| {
                hw.write(regs::GLNVM_SRCTL, srctl::START | u32::from(word) << 14);
                done(hw)?;
                Ok(Some((hw.read(regs::GLNVM_SRDATA) >> 16) as u16))
            })
        }
        Mac::X722 => {
            let mut params = [LAST, 0, 2, 0, 0, 0, 0, 0];
            params[4..6].copy_from_slice(&(2 * word).to_le_bytes());
            let answer = aq.try_tell("a read of the NVM", 0x0701, &params, Buffer::Receive(2), LOST);
            answer.map(|answer| answer.map(|answer| le16(&answer.data, 0)))
        }
    };
    // The lock ends by itself after its time: a refusal changes nothing.
    let back = aq.ask("the lock of its NVM back", 0x0009, &LOCK, Buffer::None);
    read.and_then(|read| back.map(|_| read))
}

/// The lock of the NVM: resource 1, for reading, for 3 s.
const LOCK: [u8; 8] = [1, 0, 1, 0, 0xb8, 0x0b, 0, 0];

/// Asks for the lock of the NVM until its owner gives it back: another
/// function that starts, or one whose driver died and that has it for the rest of
/// its time. The answer says how long that may be.
fn lock_nvm(aq: &mut AdminQueue, hw: &Hw) -> Result<Answer> {
    const STEP: Duration = Duration::from_millis(10);
    /// 18 s, which is what Intel's drivers wait.
    const STEPS: u32 = 1800;
    let mut step = 0;
    loop {
        let answer = aq.ask_once("the lock of its NVM", 0x0008, &LOCK, Buffer::None)?;
        let left = le32(&answer.params, 4);
        step += 1;
        if answer.code != Code::EBUSY || left == 0 || step == STEPS {
            return Ok(answer);
        }
        hw.settle(STEP);
    }
}

/// Tells the firmware who drives the card (command 0002). It is told for its own
/// records: a refusal changes nothing.
pub fn introduce(aq: &mut AdminQueue) -> Result<()> {
    let number = |text: &str| text.parse().unwrap_or(0u8);
    let version =
        [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")].map(number);
    let name = concat!("bmnic ", env!("CARGO_PKG_VERSION"));
    aq.ask("the driver's version", 0x0002, &version, Buffer::Send(name.as_bytes()))?;
    Ok(())
}

/// Ends the boot agent's mode, in which descriptors are fetched one at a time
/// (command 0110). It has ended already where no boot agent was.
pub fn leave_boot_mode(aq: &mut AdminQueue, hw: &Hw) -> Result<()> {
    const RX_COUNT: u8 = 2;
    let answer = aq.ask("the end of boot mode", 0x0110, &[RX_COUNT], Buffer::None)?;
    if !matches!(answer.code, Code::OK | Code::EEXIST) {
        let why = answer.why(0x0110);
        aq.lacks
            .note(format!("its firmware refused the end of boot mode ({why}): it may be slow after a boot from it"));
    }
    hw.set(regs::GLLAN_RCTL_0, regs::rctl::PXE_MODE);
    Ok(())
}

/// What this function may have (command 000a).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Receive queues.
    pub rx_queues: u32,
    /// Transmit queues.
    pub tx_queues: u32,
    /// MSI-X vectors.
    pub vectors: u32,
    /// Entries of the hash table.
    pub rss_entries: u32,
    /// Flow director filters: guaranteed and, if free, more.
    pub flow_filters: u32,
}

/// Asks for the capabilities.
pub fn capabilities(aq: &mut AdminQueue, hw: &Hw) -> Result<Capabilities> {
    const ELEMENT: usize = 32;
    let answer = aq.tell("the list of its capabilities", 0x000a, &[], Buffer::Receive(BUFFER))?;
    let mut found = Capabilities::default();
    let listed = le32(&answer.params, 4) as usize;
    for element in answer.data.chunks_exact(ELEMENT).take(listed) {
        let (number, logical) = (le32(element, 4), le32(element, 8));
        match le16(element, 0) {
            0x40 => found.rss_entries = number,
            0x41 => found.rx_queues = number,
            0x42 => found.tx_queues = number,
            0x43 => found.vectors = number,
            0x45 => found.flow_filters = number.saturating_add(logical),
            _ => {}
        }
    }
    if found.rx_queues == 0 || found.tx_queues == 0 || !matches!(found.rss_entries, 128 | 512) {
        return Err(hw.error(
            Kind::Device,
            format!(
                "its firmware names {} receive queues, {} transmit queues and a hash table of {}, which no such card has; its NVM may be damaged: update it",
                found.rx_queues, found.tx_queues, found.rss_entries
            ),
        ));
    }
    Ok(found)
}

/// The function's own address (command 0107).
pub fn mac(aq: &mut AdminQueue, hw: &Hw) -> Result<MacAddr> {
    const LAN: u16 = 0x10;
    let answer = aq.tell("its address", 0x0107, &[], Buffer::Receive(24))?;
    let mut mac = MacAddr::default();
    if let Some(bytes) = answer.data.get(..6) {
        mac.0.copy_from_slice(bytes);
    }
    hw.bar().note_address(mac);
    if le16(&answer.params, 0) & LAN == 0 || !mac.is_unicast() {
        return Err(
            hw.error(Kind::Device, format!("its NVM gives it no valid address ({mac}); it may be blank or broken"))
        );
    }
    Ok(mac)
}

/// The function's place in the device's switch (command 0200): the element that
/// is its virtual station interface (VSI), and what that is plugged into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Switch element id (SEID) of the VSI.
    pub seid: u16,
    /// Of the element above it.
    pub uplink: u16,
}

/// Finds the place.
pub fn place(aq: &mut AdminQueue, hw: &Hw) -> Result<Place> {
    const HEADER: usize = 16;
    const ELEMENT: usize = 16;
    const VSI: u8 = 19;
    /// Answers that a list of elements may take.
    const MOST: usize = 16;
    let mut from = 0u16;
    for _ in 0..MOST {
        let answer = aq.tell("its switch", 0x0200, &from.to_le_bytes(), Buffer::Receive(512))?;
        let reported = usize::from(le16(&answer.data, 0));
        let mut elements = answer.data.get(HEADER..).unwrap_or_default().chunks_exact(ELEMENT).take(reported);
        if let Some(element) = elements.find(|element| element[0] == VSI) {
            return Ok(Place { seid: le16(element, 2), uplink: le16(element, 4) });
        }
        from = le16(&answer.params, 0);
        if from == 0 {
            break;
        }
    }
    Err(hw.error(Kind::Device, "its switch has no interface for this function; its NVM may be damaged: update it"))
}
