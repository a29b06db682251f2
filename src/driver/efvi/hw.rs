//! A card as the control plane holds it: its windows, its management
//! controller, and what both can do.

use super::cmd::{asserts, get_asserts, get_capabilities, reboot, refusal};
use super::ids::{Generation, Model};
use super::mcdi::Mcdi;
use super::regs::{self, MIN_STRIDE};
use super::stats::TooLong;
use crate::dma::Region;
use crate::driver::lacks::Lacks;
use crate::driver::mailbox::{Failure, Reply, Request};
use crate::driver::regs::Reg;
use crate::error::{Error, Kind, Result};
use crate::pci::{Bar, Doorbell, Function, Window};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The control plane's hold on a card.
pub struct Hw {
    device: String,
    bar: Bar,
    /// The same for stores that are combined, if frames are stored into the card and the
    /// host has it.
    combining: Option<Bar>,
    /// Generation of the silicon.
    pub generation: Generation,
    /// What the firmware can do.
    pub caps: Capabilities,
    /// EVQ_RPTR must be written in a roundabout way.
    pub indirect: bool,
    /// Frames that the queues dropped for their length.
    pub too_long: TooLong,
    /// The firmware knows that there is a driver.
    pub attached: bool,
    mcdi: Mutex<Mcdi>,
    /// What the card goes without.
    pub lacks: Lacks,
}

/// What firmware and silicon can do, from GET_CAPABILITIES.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    flags1: u32,
    flags2: u32,
    /// Which firmware receives.
    pub rx_firmware: u16,
    /// Bytes from one window to the next.
    pub stride: u64,
    /// Buffers of packet memory.
    pub pio_buffers: u16,
    /// Bytes of each.
    pub pio_bytes: u16,
    /// Counters of the MAC.
    pub stats: u16,
}

/// Capabilities by name: which word, which bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Addresses may change while filters are in.
    SetMacWithFilters,
    /// Flows may be spread by more fields.
    MoreRssModes,
    /// Tags can be put into frames that are sent.
    VlanInsert,
    /// A prefix of 14 bytes before each received frame.
    Prefix14,
    /// Received frames are stamped.
    RxTimestamp,
    /// Event queues have types.
    InitEvqV2,
    /// Sent frames are stamped.
    TxTimestamp,
    /// Frames can be stored into the transmitter.
    Ctpio,
}

impl Capabilities {
    /// Whether it can.
    pub fn has(&self, what: Capability) -> bool {
        let (word, bit) = match what {
            Capability::SetMacWithFilters => (self.flags1, 11),
            Capability::MoreRssModes => (self.flags1, 13),
            Capability::VlanInsert => (self.flags1, 19),
            Capability::Prefix14 => (self.flags1, 23),
            Capability::RxTimestamp => (self.flags1, 24),
            Capability::InitEvqV2 => (self.flags2, 7),
            Capability::TxTimestamp => (self.flags2, 8),
            Capability::Ctpio => (self.flags2, 15),
        };
        word >> bit & 1 != 0
    }

    /// From the firmware's answer, which older firmware makes shorter.
    pub fn read(reply: &Reply) -> Option<Capabilities> {
        use get_capabilities::output;
        let optional = |field, default| reply.optional(field).unwrap_or(default);
        let stride = match optional(output::VI_WINDOW_MODE, 0) {
            0 => 0x2000,
            1 => 0x4000,
            2 => 0x1_0000,
            _ => return None,
        };
        Some(Capabilities {
            flags1: reply.get(output::FLAGS1) as u32,
            rx_firmware: reply.get(output::RX_FIRMWARE) as u16,
            flags2: optional(output::FLAGS2, 0) as u32,
            stride,
            pio_buffers: optional(output::NUM_PIO_BUFFS, 0) as u16,
            pio_bytes: optional(output::SIZE_PIO_BUFF, 0) as u16,
            stats: optional(output::MAC_STATS_NUM_STATS, 0x61) as u16,
        })
    }
}

impl Hw {
    /// The card behind `function`, its controller running; `buffer` is for
    /// questions to it. `stores`: frames will be stored into the card.
    pub fn new(function: &dyn Function, model: &Model, buffer: Region, stores: bool) -> Result<Hw> {
        let combining = if stores { function.combining(model.bar)? } else { None };
        let bar = function.bar(model.bar)?;
        bar.require(function.name(), MIN_STRIDE)?;
        let device = function.name().to_owned();
        let mcdi = Mutex::new(Mcdi::new(&device, bar.clone(), buffer)?);
        Ok(Hw {
            device,
            bar,
            combining,
            generation: model.generation,
            caps: Capabilities::default(),
            indirect: false,
            too_long: TooLong::default(),
            attached: false,
            mcdi,
            lacks: Lacks::default(),
        })
    }

    /// Asks the controller, and takes no refusal.
    pub fn ask(&self, request: Request) -> Result<Reply> {
        let mut mcdi = self.mcdi();
        mcdi.ask(&request).map_err(|failure| match failure {
            Failure::Broken(error) => error,
            Failure::Refused(code) => mcdi.refused(request.command(), code),
        })
    }

    /// Asks the controller, which may refuse with one of `codes`: then `None`.
    pub fn ask_if(&self, request: Request, codes: &[u32]) -> Result<Option<Reply>> {
        let mut mcdi = self.mcdi();
        match mcdi.ask(&request) {
            Ok(reply) => Ok(Some(reply)),
            Err(Failure::Refused(code)) if codes.contains(&code) => Ok(None),
            Err(Failure::Refused(code)) => Err(mcdi.refused(request.command(), code)),
            Err(Failure::Broken(error)) => Err(error),
        }
    }

    /// Asks for what can be gone without: whatever it is refused with, `None`.
    pub fn ask_any(&self, request: Request) -> Result<Option<Reply>> {
        self.ask_or(request, |_| ())
    }

    /// The same; `lost` says in a few words what that means.
    pub fn ask_or_lose(&self, request: Request, lost: &str) -> Result<Option<Reply>> {
        self.ask_or(request, |refusal| self.lacks.note(format!("{refusal}: {lost}")))
    }

    fn ask_or(&self, request: Request, refused: impl Fn(String)) -> Result<Option<Reply>> {
        let command = request.command();
        Ok(self.try_ask(request)?.map_err(|code| refused(command.refused_with(refusal::name(code), code))).ok())
    }

    /// Asks the controller, which may refuse: with which code.
    pub fn try_ask(&self, request: Request) -> Result<std::result::Result<Reply, u32>> {
        match self.mcdi().ask(&request) {
            Ok(reply) => Ok(Ok(reply)),
            Err(Failure::Refused(code)) => Ok(Err(code)),
            Err(Failure::Broken(error)) => Err(error),
        }
    }

    /// Has firmware that failed before this driver came start anew: it may wait for a
    /// debugger (Linux mcdi.c, efx_mcdi_read_assertion and efx_mcdi_exit_assertion).
    pub fn recover(&self) -> Result<()> {
        let mut mcdi = self.mcdi();
        let Some(flags) = failure(&mut mcdi)? else { return Ok(()) };
        let reboot = Request::new(reboot::COMMAND).with(reboot::input::FLAGS, asserts::AFTER_ASSERTION);
        let became = match mcdi.ask(&reboot) {
            Ok(_) => "was started anew".into(),
            // Attaching tells whether it runs all the same.
            Err(Failure::Refused(code)) => {
                format!("cannot be started anew by this function (REBOOT: {})", refusal::name(code))
            }
            Err(Failure::Broken(_)) if mcdi.may_begin_anew() => {
                mcdi.begin_anew()?;
                "was started anew".into()
            }
            Err(Failure::Broken(error)) => return Err(error),
        };
        self.lacks.note(format_args!(
            "its firmware had failed before (GET_ASSERTS {flags:#x}) and {became}; if that comes again, update it"
        ));
        Ok(())
    }

    /// Asks for something that not every firmware knows or every function may do.
    pub fn ask_optional(&self, request: Request) -> Result<Option<Reply>> {
        use refusal::{EACCES, ENOENT, ENOSYS, ENOTSUP, EPERM, NO_PRIVILEGE};
        self.ask_if(request, &[EPERM, ENOENT, EACCES, ENOSYS, ENOTSUP, NO_PRIVILEGE])
    }

    /// Fails if the card does not answer any more, or has forgotten its queues.
    pub fn check(&self) -> Result<()> {
        self.mcdi().check()
    }

    /// Windows that the BAR has.
    pub fn windows(&self) -> u64 {
        self.bar.size() / self.caps.stride
    }

    /// The data path's pointer to a register of window `vi`.
    pub fn doorbell(&self, vi: u16, reg: Reg) -> Result<Doorbell> {
        self.bar.doorbell(self.at(vi, reg))
    }

    /// The data path's view of `len` bytes of window `vi`.
    pub fn window(&self, vi: u16, reg: Reg, len: usize) -> Result<Window> {
        self.bar.window(self.at(vi, reg), len)
    }

    /// The data path's view of `len` bytes of window `vi` that frames are stored into:
    /// with stores combined where they can be.
    pub fn frame_window(&self, vi: u16, reg: Reg, len: usize) -> Result<Window> {
        self.combining.as_ref().unwrap_or(&self.bar).window(self.at(vi, reg), len)
    }

    /// Whether stores of frames are combined.
    pub fn combines(&self) -> bool {
        self.combining.is_some()
    }

    fn at(&self, vi: u16, reg: Reg) -> u64 {
        u64::from(vi) * self.caps.stride + u64::from(reg.offset)
    }

    /// Says that a queue's events up to `index` are read, and asks for an
    /// interrupt when there are more.
    pub fn prime(&self, vi: u16, index: u32) {
        use regs::indirect::{RPTR_HIGH, RPTR_LOW};
        if self.indirect {
            let at = self.at(vi, regs::TX_DESC_UPD);
            self.bar.write32(at, RPTR_HIGH | index >> 8 & 0x7f);
            self.bar.write32(at, RPTR_LOW | index & 0xff);
        } else {
            self.bar.write32(self.at(vi, regs::EVQ_RPTR), index & 0x7fff);
        }
    }

    /// An error about this card.
    pub fn error(&self, kind: Kind, text: impl fmt::Display) -> Error {
        Error::new(kind, format!("{self}: {text}"))
    }

    /// A panic while it was held was reported where it happened.
    fn mcdi(&self) -> MutexGuard<'_, Mcdi> {
        self.mcdi.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the firmware failed, if it has; that is forgotten then. Who may not ask goes on.
fn failure(mcdi: &mut Mcdi) -> Result<Option<u64>> {
    const TRIES: u32 = 3;
    let question = Request::new(get_asserts::COMMAND).with(get_asserts::input::CLEAR, 1);
    for _ in 0..TRIES {
        match mcdi.ask(&question) {
            Ok(reply) => {
                let flags = reply.get(get_asserts::output::FLAGS);
                return Ok((flags > asserts::NO_FAILS).then_some(flags));
            }
            Err(Failure::Refused(refusal::EINTR | refusal::EIO)) => {}
            Err(Failure::Refused(_)) => return Ok(None),
            Err(Failure::Broken(_)) if mcdi.may_begin_anew() => mcdi.begin_anew()?,
            Err(Failure::Broken(error)) => return Err(error),
        }
    }
    Ok(None)
}

impl Hw {
    /// Its registers.
    pub fn bar(&self) -> &Bar {
        &self.bar
    }
}

impl fmt::Display for Hw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.device)
    }
}

impl fmt::Debug for Hw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hw({})", self.device)
    }
}
