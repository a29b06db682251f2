//! Bring-up: from a function of which nothing is known to firmware that runs.
//!
//! ```text
//!   reset, bus mastering     whatever a driver that was killed has left
//!   initializing = 0         firmware that starts takes up to two minutes
//!   queue of commands
//!   ENABLE_HCA               refused if somebody else has the function
//!   QUERY_ISSI, SET_ISSI     before capabilities are asked for: they depend on it
//!   pages to say what it can
//!   SET_HCA_CAP              as little as possible; how many pages it wants depends on it
//!   pages to start
//!   INIT_HCA
//!   capabilities
//! ```

use super::caps;
use super::cmd::{access_register, header, query_issi, set_issi};
use super::cmdq::Failure;
use super::codes::status;
use super::hca::Stage;
use super::health;
use super::hw::Hw;
use super::ports::register;
use super::regs::{self, cmdq, initializing};
use crate::driver::mailbox::Request;
use crate::driver::wait;
use crate::error::{Kind, Result};
use crate::pci::Function;
use std::time::Duration;

/// The command interface that is spoken.
const INTERFACE: u32 = 5;

/// How long firmware may take to start, and to take note of the command queue.
const START: Duration = Duration::from_secs(120);
const NOTE: Duration = Duration::from_secs(2);
const TAKE_NOTE: Duration = Duration::from_millis(10);

/// Brings the firmware to where queues can be made.
pub fn bring_up(function: &dyn Function, hw: &mut Hw) -> Result<()> {
    enable(function, hw)?;
    choose_interface(hw)?;
    hw.hca().give_pages(Stage::Boot)?;
    say_order_of_bytes(hw)?;
    caps::choose(hw)?;
    let mut hca = hw.hca();
    hca.give_pages(Stage::Init)?;
    hca.init()?;
    hca.give_pages(Stage::Regular)?;
    drop(hca);
    caps::learn(hw)
}

/// Takes the function into use; one that is in use is reset once more.
fn enable(function: &dyn Function, hw: &Hw) -> Result<()> {
    refuse_infiniband(function, hw)?;
    let mut again = true;
    loop {
        connect(function, hw)?;
        let outcome = hw.hca().enable();
        match outcome {
            Ok(_) => return Ok(()),
            Err(Failure::Refused(refusal)) if refusal.status == status::BAD_SYS_STATE && again => again = false,
            Err(Failure::Refused(refusal)) if refusal.status == status::BAD_SYS_STATE => {
                let text = format!(
                    "its firmware says that the function is in use ({refusal}), also after a reset; another driver has it or has left it so: unload mlx5_core on this machine and others that share the card, or switch the machine off and on"
                );
                return Err(hw.error(Kind::Device, text));
            }
            Err(failure) => {
                let request = Request::new(super::cmd::enable_hca::COMMAND);
                return Err(hw.hca().explain(&request, failure));
            }
        }
    }
}

/// A function of class "InfiniBand" is not even started.
fn refuse_infiniband(function: &dyn Function, hw: &Hw) -> Result<()> {
    const CLASS: u16 = 0x0a;
    const INFINIBAND: u32 = 0x0207;
    match function.config_read(CLASS, 2)? {
        INFINIBAND => Err(caps::infiniband(hw)),
        _ => Ok(()),
    }
}

/// Resets the function, and tells it where commands are.
fn connect(function: &dyn Function, hw: &Hw) -> Result<()> {
    function.set_bus_master(false)?;
    function.reset()?;
    function.set_bus_master(true)?;
    hw.hca().queue.begin();
    wait_started(function, hw, START)?;
    let revision = hw.segment.read(regs::CMDIF_REV) >> 16;
    if revision != INTERFACE {
        let text =
            format!("its firmware speaks command interface {revision}, this driver {INTERFACE}; update the firmware");
        return Err(hw.error(Kind::Unsupported, text));
    }
    match (hw.segment.read(regs::CMDQ_ADDR_LOW) & cmdq::NIC_INTERFACE) >> 8 {
        0 => {}
        2 => {
            let text = "the function is set up for a boot program only; switch the machine off and on";
            return Err(hw.error(Kind::Device, text));
        }
        state => return Err(hw.hca().queue.dead(health::Dead::Disabled(state as u8))),
    }
    hw.hca().queue.connect()?;
    // A command that comes right behind the address was seen to be overlooked.
    function.wait(TAKE_NOTE);
    wait_started(function, hw, NOTE)
}

/// Waits until the firmware says that it has started.
fn wait_started(function: &dyn Function, hw: &Hw, patience: Duration) -> Result<()> {
    const STEP: Duration = Duration::from_millis(2);
    let mut passed = Duration::ZERO;
    // A function that was just reset may not answer for a moment.
    const ABSENCE: Duration = Duration::from_millis(500);
    loop {
        let word = hw.segment.read(regs::INITIALIZING);
        if word == u32::MAX && passed >= ABSENCE {
            return Err(wait::gone(hw, regs::INITIALIZING.name));
        }
        if word & initializing::BUSY == 0 {
            return Ok(());
        }
        if passed >= patience {
            let (major, minor) = version(hw);
            let text = format!(
                "its firmware {major}.{minor} has not started in {} s; it may be in recovery, or wait for the card's own processor (BlueField): switch the machine off and on, or burn its firmware anew",
                patience.as_secs()
            );
            return Err(hw.error(Kind::Timeout, text));
        }
        function.wait(STEP);
        passed += STEP;
    }
}

/// Version of the firmware: major and minor.
pub fn version(hw: &Hw) -> (u32, u32) {
    let word = hw.segment.read(regs::FW_REV);
    (word & 0xffff, word >> 16)
}

/// Speaks the form of the interface that this driver knows.
fn choose_interface(hw: &Hw) -> Result<()> {
    const ISSI: u64 = 1;
    let reply = hw.ask_optional(Request::new(query_issi::COMMAND))?;
    // What is not told is tried.
    let knows = reply.is_none_or(|reply| reply.bits(query_issi::output::SUPPORTED_ISSI_DW0) >> ISSI & 1 != 0);
    let request = Request::new(set_issi::COMMAND).with_bits(set_issi::input::CURRENT_ISSI, ISSI);
    if !knows || hw.ask_optional(request)?.is_none() {
        let (major, minor) = version(hw);
        let text =
            format!("its firmware {major}.{minor} does not know interface step 1 (ISSI), which is needed; update it");
        return Err(hw.error(Kind::Unsupported, text));
    }
    Ok(())
}

/// Says in which order this machine has the bytes of numbers. Only of use to some
/// cards, and only physical functions may.
fn say_order_of_bytes(hw: &Hw) -> Result<()> {
    const BYTES: usize = 16;
    let mut data = [0; BYTES];
    data[0] = if cfg!(target_endian = "big") { 0x80 } else { 0 };
    let request = Request::new(access_register::COMMAND)
        .with_bits(header::OP_MOD, register::WRITE)
        .with_bits(access_register::input::REGISTER_ID, register::HOST_ENDIANNESS)
        .with_more(&data)
        .with_output(access_register::DATA + BYTES);
    hw.ask_optional(request).map(drop)
}
