//! Faults of a card's firmware, on demand: `fault=timeout`, `fault=error:7`.
//!
//! A driver speaks to firmware through a mailbox and must survive whatever comes
//! back, at any command of its own choice. So a fault strikes every command, or
//! with a number behind it the one of that number, counted from power-on.

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
    /// Events without end.
    Flood,
    /// Firmware from before the interface that drivers know.
    Old,
    /// The checksum over the non-volatile memory is wrong.
    Nvm,
    /// A module that the card does not support is in its cage.
    Media,
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
    /// The module in the cage is one for 1 Gbit/s, and its partner negotiates (clause 37).
    ModuleGigabit,
    /// The module in the cage has two rates, and its partner the lower one.
    ModuleDual,
    /// The module in the cage is one for twisted pair, which has no code for what it is.
    ModuleSilent,
    /// The module in the cage is swapped for one of 1 Gbit/s soon after the link is up.
    ModuleSwap,
    /// The module in the cage acknowledges its first reads and answers them with rubbish.
    ModuleBoots,
    /// The pin that says that there is a module is not connected, and the last driver left
    /// the laser off.
    CageUnwired,
    /// The module in the cage was left in the middle of a byte, and holds the data line.
    I2cHeld,
    /// What starts the link right after a reset leads nowhere.
    LinkStuck,
    /// A driver that is gone has left the locks taken that ports share.
    LocksLeft,
    /// The counters of good frames have 16 bits, and so are full in seconds, not minutes.
    NarrowCounters,
    /// The function is reset soon after its link is up, and nobody is told.
    ResetBehind,
}

impl FaultKind {
    /// All of them, in the order in which they are listed.
    pub const ALL: [FaultKind; 74] = [
        FaultKind::Timeout,
        FaultKind::Crash,
        FaultKind::Opcode,
        FaultKind::Short,
        FaultKind::Error,
        FaultKind::Flood,
        FaultKind::Old,
        FaultKind::Nvm,
        FaultKind::Media,
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
        FaultKind::ModuleGigabit,
        FaultKind::ModuleDual,
        FaultKind::ModuleSilent,
        FaultKind::ModuleSwap,
        FaultKind::ModuleBoots,
        FaultKind::CageUnwired,
        FaultKind::I2cHeld,
        FaultKind::LinkStuck,
        FaultKind::LocksLeft,
        FaultKind::NarrowCounters,
        FaultKind::ResetBehind,
    ];

    /// Its name, as it is read and printed.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Timeout => "timeout",
            FaultKind::Crash => "crash",
            FaultKind::Opcode => "opcode",
            FaultKind::Short => "short",
            FaultKind::Error => "error",
            FaultKind::Flood => "flood",
            FaultKind::Old => "old",
            FaultKind::Nvm => "nvm",
            FaultKind::Media => "media",
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
            FaultKind::ModuleGigabit => "module-1g",
            FaultKind::ModuleDual => "module-dual",
            FaultKind::ModuleSilent => "module-10gbase-t",
            FaultKind::ModuleSwap => "module-swap",
            FaultKind::ModuleBoots => "module-boots",
            FaultKind::CageUnwired => "cage-unwired",
            FaultKind::I2cHeld => "i2c-held",
            FaultKind::LinkStuck => "link-stuck",
            FaultKind::LocksLeft => "locks-left",
            FaultKind::NarrowCounters => "narrow-counters",
            FaultKind::ResetBehind => "reset-behind",
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

/// A fault, and which command it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// The number of the command, the first being 1; `None` is every command.
    pub at: Option<u32>,
}

impl Fault {
    /// Whether the `number`th command meets this.
    pub fn strikes(self, kind: FaultKind, number: u32) -> bool {
        self.kind == kind && self.at.is_none_or(|at| at == number)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        self.at.map_or(Ok(()), |at| write!(f, ":{at}"))
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
    fn what_is_printed_reads_back_as_the_same() {
        for kind in FaultKind::ALL {
            for at in [None, kind.counts().then_some(31)] {
                let mut spec = Spec::new("x710");
                spec.fault = Some(Fault { kind, at });
                assert_eq!(spec.to_string().parse::<Spec>().unwrap(), spec);
            }
        }
    }

    #[test]
    fn a_fault_that_there_is_not_is_one_clear_line() {
        for bad in ["bogus", "error:0", "error:x", "flood:3", ""] {
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
