//! Faults of a card's firmware, on demand: `fault=timeout`, `fault=error:7`,
//! `fault=denied:0x613`.
//!
//! A driver speaks to firmware through a mailbox and must survive whatever comes
//! back, at any command of its own choice. So a fault strikes every command, or
//! with a number behind it the one of that number, counted from power-on, or with
//! the code of a command, which is written in hexadecimal, that command each time.

use std::fmt;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A command is never answered, nor is any after it.
    Timeout,
    /// Firmware stops with its critical error flag up.
    Crash,
    /// The answer names another command.
    Opcode,
    /// The answer is shorter than it says.
    Short,
    /// The answer is an error.
    Error,
    /// The function may not give this command.
    Denied,
    /// Firmware does not know this command.
    Unsupported,
    /// A command with a buffer is answered as done, and nothing was done: in the
    /// buffer is what the driver had left there.
    Hollow,
    /// Events without end.
    Flood,
    /// Firmware from before the interface that drivers know.
    Old,
    /// The checksum over the non-volatile memory is wrong.
    Nvm,
    /// The image in the non-volatile memory is of an earlier age.
    OldNvm,
    /// Another function has the lock of the non-volatile memory for the first second.
    NvmHeld,
    /// A module that the card does not support is in its cage.
    Media,
    /// The PHY cannot be asked for the first 0.3 seconds.
    PhyBusy,
    /// The PHY is none that firmware knows.
    PhyUnknown,
    /// Firmware does not see commands in the first 0.8 seconds after a reset.
    SlowStart,
    /// Another function has just reset the device, and resets take their time.
    SlowReset,
    /// Firmware has no time for a command, but for the same one at a second try.
    Busy,
    /// Firmware says for ever that it is not ready, and is.
    NotReady,
    /// The contexts' memory is not ready for the first second.
    StoreBusy,
    /// Requests are of 128 bytes at most.
    ShortRequests,
    /// Firmware from before what is there of each resource could be asked.
    OldResources,
    /// Whatever is reserved is granted not at all.
    NoResources,
    /// The function is one of several of its port, and may not touch the link.
    Npar,
    /// A driver that does not know of partitions without VLANs is turned away.
    Npar12,
    /// The PHY cannot negotiate.
    NoAutoneg,
    /// The port is switched off.
    PortDisabled,
    /// The other port runs at a speed that excludes this one's.
    OtherPort,
    /// The other side wants FEC, and at power-on there is none here.
    Fec,
    /// There is no module in the cage.
    NoModule,
    /// The other side negotiates, and takes no speed that is not negotiated.
    Partner,
    /// Somebody else keeps the link up.
    LinkHeld,
    /// Firmware announces that it starts over, and does.
    HotReset,
    /// Firmware asks whether the driver lives, and gives up if it does not.
    Echo,
    /// The function has two multicast addresses.
    FewGroups,
    /// The first queue of the scheduler is none that a NIC may use.
    FarQueue,
    /// The function has no address.
    NoMac,
    /// The function may have no address but its own.
    MacLocked,
    /// Flows cannot be steered.
    NoNtuple,
    /// Another function has the clock.
    PtpTaken,
    /// Frames are of the usual length at most.
    SmallMtu,
    /// The second half of a completion never comes.
    Half,
    /// A buffer is reported twice.
    Opaque,
    /// A doorbell is lost, and an event says so.
    Doorbell,
    /// The function may not receive everything.
    Promiscuous,
    /// Tags are taken off frames, whatever a driver asks for.
    Vlan,
    /// The function takes longer to initialise than a driver waits.
    InitSlow,
    /// The function's interface is disabled: from power-on, or at a command.
    NicDisabled,
    /// The function is as a driver that died left it, until it is reset.
    Dirty,
    /// Firmware from before interfaces had numbers.
    Issi0,
    /// Firmware takes all its pages for returned.
    ReleaseAll,
    /// Enabling, initialising and tearing down take seconds.
    SlowCmd,
    /// An answer comes when its driver does not wait for it any more.
    Late,
    /// The event that says that a command is complete is lost.
    LoseEqe,
    /// Interrupts are lost.
    LoseIrq,
    /// The function is a virtual one.
    Vf,
    /// The same, and it may receive its own address only.
    VfUntrusted,
    /// The port belongs to processors on the card.
    DpuHost,
    /// The port is an InfiniBand one.
    Ib,
    /// There is no flow table of more than one entry left.
    FtPool,
    /// No flow table can be made.
    FtBusy,
    /// The function cannot be torn down.
    TeardownFail,
    /// Firmware does not give its pages back.
    TakeStuck,
    /// The module in the cage does not answer.
    I2cStuck,
    /// The counter that says that firmware lives stands still.
    HealthFrozen,
    /// The function is gone from its bus: a while after it was initialised, or at a command.
    Gone,
    /// Another function resets the card.
    ResetByPeer,
    /// The device goes past the IOMMU: whatever address it is given is the machine's.
    PastIommu,
    /// Queues are as long as they are.
    FixedSize,
    /// Notifications can be given through a port, too, which is named first.
    PioNotify,
    /// The PHY is as the last driver left it: switched off, and offering 100 Mbit/s only.
    PhyLeft,
    /// There is no licence for low latency.
    Unlicensed,
    /// There is no licence for the clock.
    PtpUnlicensed,
    /// Another function is told the time, and with it the state of the clock.
    PtpShared,
}

impl FaultKind {
    /// All of them, in the order in which they are listed.
    pub const ALL: [FaultKind; 75] = [
        FaultKind::Timeout,
        FaultKind::Crash,
        FaultKind::Opcode,
        FaultKind::Short,
        FaultKind::Error,
        FaultKind::Denied,
        FaultKind::Unsupported,
        FaultKind::Hollow,
        FaultKind::Flood,
        FaultKind::Old,
        FaultKind::Nvm,
        FaultKind::OldNvm,
        FaultKind::NvmHeld,
        FaultKind::Media,
        FaultKind::PhyBusy,
        FaultKind::PhyUnknown,
        FaultKind::SlowStart,
        FaultKind::SlowReset,
        FaultKind::Busy,
        FaultKind::NotReady,
        FaultKind::StoreBusy,
        FaultKind::ShortRequests,
        FaultKind::OldResources,
        FaultKind::NoResources,
        FaultKind::Npar,
        FaultKind::Npar12,
        FaultKind::NoAutoneg,
        FaultKind::PortDisabled,
        FaultKind::OtherPort,
        FaultKind::Fec,
        FaultKind::NoModule,
        FaultKind::Partner,
        FaultKind::LinkHeld,
        FaultKind::HotReset,
        FaultKind::Echo,
        FaultKind::FewGroups,
        FaultKind::FarQueue,
        FaultKind::NoMac,
        FaultKind::MacLocked,
        FaultKind::NoNtuple,
        FaultKind::PtpTaken,
        FaultKind::SmallMtu,
        FaultKind::Half,
        FaultKind::Opaque,
        FaultKind::Doorbell,
        FaultKind::Promiscuous,
        FaultKind::Vlan,
        FaultKind::InitSlow,
        FaultKind::NicDisabled,
        FaultKind::Dirty,
        FaultKind::Issi0,
        FaultKind::ReleaseAll,
        FaultKind::SlowCmd,
        FaultKind::Late,
        FaultKind::LoseEqe,
        FaultKind::LoseIrq,
        FaultKind::Vf,
        FaultKind::VfUntrusted,
        FaultKind::DpuHost,
        FaultKind::Ib,
        FaultKind::FtPool,
        FaultKind::FtBusy,
        FaultKind::TeardownFail,
        FaultKind::TakeStuck,
        FaultKind::I2cStuck,
        FaultKind::HealthFrozen,
        FaultKind::Gone,
        FaultKind::ResetByPeer,
        FaultKind::PastIommu,
        FaultKind::FixedSize,
        FaultKind::PioNotify,
        FaultKind::PhyLeft,
        FaultKind::Unlicensed,
        FaultKind::PtpUnlicensed,
        FaultKind::PtpShared,
    ];

    /// Its name, as it is read and printed.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Timeout => "timeout",
            FaultKind::Crash => "crash",
            FaultKind::Opcode => "opcode",
            FaultKind::Short => "short",
            FaultKind::Error => "error",
            FaultKind::Denied => "denied",
            FaultKind::Unsupported => "unsupported",
            FaultKind::Hollow => "hollow",
            FaultKind::Flood => "flood",
            FaultKind::Old => "old",
            FaultKind::Nvm => "nvm",
            FaultKind::OldNvm => "old-nvm",
            FaultKind::NvmHeld => "nvm-held",
            FaultKind::Media => "media",
            FaultKind::PhyBusy => "phy-busy",
            FaultKind::PhyUnknown => "phy-unknown",
            FaultKind::SlowStart => "slow-start",
            FaultKind::SlowReset => "slow-reset",
            FaultKind::Busy => "busy",
            FaultKind::NotReady => "not-ready",
            FaultKind::StoreBusy => "store-busy",
            FaultKind::ShortRequests => "short-requests",
            FaultKind::OldResources => "old-resources",
            FaultKind::NoResources => "no-resources",
            FaultKind::Npar => "npar",
            FaultKind::Npar12 => "npar12",
            FaultKind::NoAutoneg => "no-autoneg",
            FaultKind::PortDisabled => "port-disabled",
            FaultKind::OtherPort => "other-port",
            FaultKind::Fec => "fec",
            FaultKind::NoModule => "no-module",
            FaultKind::Partner => "partner-negotiates",
            FaultKind::LinkHeld => "link-held",
            FaultKind::HotReset => "hot-reset",
            FaultKind::Echo => "echo",
            FaultKind::FewGroups => "few-groups",
            FaultKind::FarQueue => "far-queue",
            FaultKind::NoMac => "no-mac",
            FaultKind::MacLocked => "mac-locked",
            FaultKind::NoNtuple => "no-ntuple",
            FaultKind::PtpTaken => "ptp-taken",
            FaultKind::SmallMtu => "small-mtu",
            FaultKind::Half => "half",
            FaultKind::Opaque => "opaque",
            FaultKind::Doorbell => "doorbell",
            FaultKind::Promiscuous => "promiscuous",
            FaultKind::Vlan => "vlan",
            FaultKind::InitSlow => "init-slow",
            FaultKind::NicDisabled => "nic-disabled",
            FaultKind::Dirty => "dirty",
            FaultKind::Issi0 => "issi0",
            FaultKind::ReleaseAll => "release-all",
            FaultKind::SlowCmd => "slow-cmd",
            FaultKind::Late => "late",
            FaultKind::LoseEqe => "lose-eqe",
            FaultKind::LoseIrq => "lose-irq",
            FaultKind::Vf => "vf",
            FaultKind::VfUntrusted => "vf-untrusted",
            FaultKind::DpuHost => "dpu-host",
            FaultKind::Ib => "ib",
            FaultKind::FtPool => "ft-pool",
            FaultKind::FtBusy => "ft-busy",
            FaultKind::TeardownFail => "teardown-fail",
            FaultKind::TakeStuck => "take-stuck",
            FaultKind::I2cStuck => "i2c-stuck",
            FaultKind::HealthFrozen => "health-frozen",
            FaultKind::Gone => "gone",
            FaultKind::ResetByPeer => "reset-by-peer",
            FaultKind::PastIommu => "past-iommu",
            FaultKind::FixedSize => "fixed-size",
            FaultKind::PioNotify => "pio-notify",
            FaultKind::PhyLeft => "phy-left",
            FaultKind::Unlicensed => "unlicensed",
            FaultKind::PtpUnlicensed => "ptp-unlicensed",
            FaultKind::PtpShared => "ptp-shared",
        }
    }

    /// Whether it strikes single commands, frames or doorbells, and so can have a
    /// number.
    pub(super) fn counts(self) -> bool {
        let single = [
            FaultKind::Timeout,
            FaultKind::Crash,
            FaultKind::Opcode,
            FaultKind::Short,
            FaultKind::Error,
            FaultKind::Denied,
            FaultKind::Unsupported,
            FaultKind::Hollow,
            FaultKind::Busy,
            FaultKind::Half,
            FaultKind::Opaque,
            FaultKind::Doorbell,
            FaultKind::NicDisabled,
            FaultKind::Late,
            FaultKind::LoseEqe,
            FaultKind::Gone,
        ];
        single.contains(&self)
    }
}

/// Which command a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// That of this number, the first being 1.
    Number(u32),
    /// That of this code, in its family's numbers, each time. Only cards that can
    /// have [`FaultKind::Denied`] tell their commands apart.
    Code(u32),
}

/// A fault, and which command it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Which command; `None` is every one.
    pub at: Option<At>,
}

impl Fault {
    /// Whether the `number`th command meets this, of a card that does not tell its
    /// commands apart.
    pub fn strikes(self, kind: FaultKind, number: u32) -> bool {
        self.kind == kind && self.at.is_none_or(|at| at == At::Number(number))
    }

    /// Whether the `number`th command, which has this code, meets this.
    pub fn strikes_command(self, kind: FaultKind, number: u32, code: u32) -> bool {
        self.strikes(kind, number) || self.kind == kind && self.at == Some(At::Code(code))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        match self.at {
            None => Ok(()),
            Some(At::Number(number)) => write!(f, ":{number}"),
            Some(At::Code(code)) => write!(f, ":{code:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Spec;
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_fault_strikes_every_command_or_the_one_of_its_number() {
        let fault = |text: &str| format!("x710,fault={text}").parse::<Spec>().unwrap().fault.unwrap();
        assert!(fault("error").strikes(FaultKind::Error, 1) && fault("error").strikes(FaultKind::Error, 90));
        assert!(!fault("error").strikes(FaultKind::Short, 1));
        assert!(fault("short:7").strikes(FaultKind::Short, 7) && !fault("short:7").strikes(FaultKind::Short, 8));
    }

    #[test]
    fn a_fault_of_a_code_strikes_that_command_each_time() {
        let fault = "x710,fault=denied:0x0613".parse::<Spec>().unwrap().fault.unwrap();
        assert!([1, 90].iter().all(|&number| fault.strikes_command(FaultKind::Denied, number, 0x613)));
        assert!(!fault.strikes_command(FaultKind::Denied, 1, 0x603) && !fault.strikes(FaultKind::Denied, 1));
        let numbered = "x710,fault=denied:2".parse::<Spec>().unwrap().fault.unwrap();
        assert!(numbered.strikes_command(FaultKind::Denied, 2, 0x613));
        assert!(!numbered.strikes_command(FaultKind::Denied, 3, 0x613));
        let spec: Spec = "bcm57414,fault=busy:0x15".parse().unwrap();
        let refused = super::super::build(&spec, spec.open_wire(&mut Default::default()).unwrap()).err().unwrap();
        assert!(refused.to_string().contains("its commands have no codes"), "{refused}");
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same() {
        for kind in FaultKind::ALL {
            let at = [At::Number(31), At::Code(0x613)].map(Some).into_iter().filter(|_| kind.counts());
            for at in at.chain([None]) {
                let mut spec = Spec::new("x710");
                spec.fault = Some(Fault { kind, at });
                assert_eq!(spec.to_string().parse::<Spec>().unwrap(), spec);
            }
        }
    }

    #[test]
    fn a_fault_that_there_is_not_is_one_clear_line() {
        for bad in ["bogus", "error:0", "error:x", "error:0xg", "flood:3", ""] {
            let error = format!("x710,fault={bad}").parse::<Spec>().unwrap_err();
            assert_eq!((error.kind(), error.to_string().lines().count()), (Kind::Usage, 1), "{error}");
        }
    }

    #[test]
    fn a_card_without_firmware_is_refused_a_fault_of_it() {
        let spec: Spec = "82599,fault=error".parse().unwrap();
        let refused = super::super::build(&spec, spec.open_wire(&mut Default::default()).unwrap()).err().unwrap();
        assert_eq!(refused.kind(), Kind::Usage);
        assert!(refused.to_string().contains("82599 cannot have the fault 'error'"), "{refused}");
    }
}
