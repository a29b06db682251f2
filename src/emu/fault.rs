//! Faults of a card and of its firmware, on demand: `fault=timeout`, `fault=error:7`,
//! `fault=denied:0x613`.
//!
//! A driver speaks to firmware through a mailbox and must survive whatever comes
//! back, at any command of its own choice. So a fault strikes every command, or
//! with a number behind it the one of that number, counted from power-on, or with
//! the code of a command, which is written in hexadecimal, that command each time.
//!
//! Faults of the silicon are there to be found by `bmnic check`. Some can be had of any
//! card (`flaw`), and others of one family, which shows what all would do.

use std::fmt;

/// Declares faults, one a line: `Name "as it is written" which: what goes wrong`, where
/// `command` strikes single commands, by number or code, and `single` frames or doorbells,
/// or is a matter of how many.
macro_rules! faults {
    (@counts command) => { Counts::Commands };
    (@counts single) => { Counts::Others };
    (@counts whole) => { Counts::Nothing };
    ($($kind:ident $name:literal $counts:ident: $doc:literal;)*) => {
        /// What goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FaultKind {
            $(#[doc = $doc] $kind,)*
        }

        impl FaultKind {
            /// All of them, in the order in which they are listed.
            pub const ALL: [FaultKind; [$($name),*].len()] = [$(FaultKind::$kind,)*];

            /// Its name, as it is read and printed.
            pub fn name(self) -> &'static str {
                match self {
                    $(FaultKind::$kind => $name,)*
                }
            }

            /// What it counts, and so can have behind it.
            pub(super) fn counts(self) -> Counts {
                match self {
                    $(FaultKind::$kind => faults!(@counts $counts),)*
                }
            }
        }
    };
}

faults! {
    Timeout        "timeout"            command: "A command is never answered, nor is any after it.";
    Crash          "crash"              command: "Firmware stops with its critical error flag up.";
    Opcode         "opcode"             command: "The answer names another command.";
    Short          "short"              command: "The answer is shorter than it says.";
    Error          "error"              command: "The answer is an error.";
    Denied         "denied"             command: "The function may not give this command.";
    Unsupported    "unsupported"        command: "Firmware does not know this command.";
    Hollow         "hollow"             command: "A command with an answer in a buffer is answered as done without it: in the buffer is what the driver had left there.";
    Flood          "flood"              whole: "Events without end.";
    Old            "old"                whole: "Firmware from before the interface that drivers know.";
    Nvm            "nvm"                whole: "The checksum over the non-volatile memory is wrong.";
    OldNvm         "old-nvm"            whole: "The image in the non-volatile memory is of an earlier age.";
    NvmHeld        "nvm-held"           whole: "Another function has the lock of the non-volatile memory for the first second.";
    Media          "media"              whole: "A module that the card does not support is in its cage.";
    MediaLate      "media-late"         whole: "Whether the module in the cage is one that the card supports is known 0.3 seconds after a reset.";
    FrameIgnored   "frame-ignored"      whole: "The port's longest frame is 1518 bytes, as a driver left it, and stays so whatever is asked for while the link is down.";
    FrameRefused   "frame-refused"      whole: "The same, and what is asked for while the link is down is refused.";
    FrameKept      "frame-kept"         whole: "The same, for ever.";
    PhyBusy        "phy-busy"           whole: "The PHY cannot be asked for the first 0.3 seconds.";
    PhyUnknown     "phy-unknown"        whole: "The PHY is none that firmware knows.";
    SlowStart      "slow-start"         whole: "Firmware does not see commands in the first 0.8 seconds after a reset.";
    SlowReset      "slow-reset"         whole: "Another function has just reset the device, and resets take their time.";
    Busy           "busy"               command: "Firmware has no time for a command, but for the same one at a second try.";
    NotReady       "not-ready"          whole: "Firmware says for ever that it is not ready, and is.";
    StoreBusy      "store-busy"         whole: "The contexts' memory is not ready for the first second.";
    ShortRequests  "short-requests"     whole: "Requests are of 128 bytes at most.";
    OldResources   "old-resources"      whole: "Firmware from before what is there of each resource could be asked.";
    NoResources    "no-resources"       whole: "Whatever is reserved is granted not at all.";
    Npar           "npar"               whole: "The function is one of several of its port, and may not touch the link.";
    Npar12         "npar12"             whole: "A driver that does not know of partitions without VLANs is turned away.";
    NoAutoneg      "no-autoneg"         whole: "The PHY cannot negotiate.";
    PortDisabled   "port-disabled"      whole: "The port is switched off.";
    OtherPort      "other-port"         whole: "The other port runs at a speed that excludes this one's.";
    Fec            "fec"                whole: "The other side wants FEC, and at power-on there is none here.";
    NoModule       "no-module"          whole: "There is no module in the cage.";
    Partner        "partner-negotiates" whole: "The other side negotiates, and takes no speed that is not negotiated.";
    LinkHeld       "link-held"          whole: "Somebody else keeps the link up.";
    HotReset       "hot-reset"          whole: "Firmware announces that it starts over, and does.";
    Echo           "echo"               whole: "Firmware asks whether the driver lives, and gives up if it does not.";
    FewGroups      "few-groups"         whole: "The function has two multicast addresses.";
    FarQueue       "far-queue"          whole: "The first queue of the scheduler is none that a NIC may use.";
    NoMac          "no-mac"             whole: "The function has no address.";
    MacLocked      "mac-locked"         whole: "The function may have no address but its own.";
    NoNtuple       "no-ntuple"          whole: "Flows cannot be steered.";
    PtpTaken       "ptp-taken"          whole: "Another function has the clock.";
    SmallMtu       "small-mtu"          whole: "Frames are of the usual length at most.";
    Half           "half"               single: "The second half of a completion never comes.";
    Opaque         "opaque"             single: "A buffer is reported twice.";
    Doorbell       "doorbell"           single: "A doorbell is lost, and an event says so.";
    Promiscuous    "promiscuous"        whole: "The function may not receive everything.";
    Vlan           "vlan"               whole: "Tags are taken off frames, whatever a driver asks for.";
    InitSlow       "init-slow"          whole: "The function takes longer to initialise than a driver waits.";
    NicDisabled    "nic-disabled"       command: "The function's interface is disabled: from power-on, or at a command.";
    Dirty          "dirty"              whole: "The function is as a driver that died left it, until it is reset.";
    Issi0          "issi0"              whole: "Firmware from before interfaces had numbers.";
    ReleaseAll     "release-all"        whole: "Firmware takes all its pages for returned.";
    SlowCmd        "slow-cmd"           whole: "Enabling, initialising and tearing down take seconds.";
    Late           "late"               command: "An answer comes when its driver does not wait for it any more.";
    LoseEqe        "lose-eqe"           command: "The event that says that a command is complete is lost.";
    LoseIrq        "lose-irq"           whole: "Interrupts are lost.";
    Vf             "vf"                 whole: "The function is a virtual one.";
    VfUntrusted    "vf-untrusted"       whole: "The same, and it may receive its own address only.";
    DpuHost        "dpu-host"           whole: "The port belongs to processors on the card.";
    Ib             "ib"                 whole: "The port is an InfiniBand one.";
    FtPool         "ft-pool"            whole: "There is no flow table of more than one entry left.";
    FtBusy         "ft-busy"            whole: "No flow table can be made.";
    TeardownFail   "teardown-fail"      whole: "The function cannot be torn down.";
    TakeStuck      "take-stuck"         whole: "Firmware does not give its pages back.";
    I2cStuck       "i2c-stuck"          whole: "The module in the cage does not answer.";
    HealthFrozen   "health-frozen"      whole: "The counter that says that firmware lives stands still.";
    Gone           "gone"               command: "The function is gone from its bus: a while after it was initialised, or at a command.";
    ResetByPeer    "reset-by-peer"      whole: "Another function resets the card.";
    PastIommu      "past-iommu"         whole: "The device goes past the IOMMU: whatever address it is given is the machine's.";
    FixedSize      "fixed-size"         whole: "Queues are as long as they are.";
    FewDescriptors "few-descriptors"    single: "Queues have 16 descriptors at most, or as many as the number says.";
    PioNotify      "pio-notify"         whole: "Notifications can be given through a port, too, which is named first.";
    NoMergeable    "no-mergeable"       whole: "A frame is in one buffer (no MRG_RXBUF).";
    NoAnyLayout    "no-any-layout"      whole: "A header has a descriptor to itself (no ANY_LAYOUT).";
    NoControl      "no-control"         whole: "There is no control queue (no CTRL_VQ).";
    BackendRestarts "backend-restarts"  whole: "The program behind the device starts over after a hundred frames, and its place in the queues is lost.";
    PhyLeft        "phy-left"           whole: "The PHY is as the last driver left it: switched off, and offering 100 Mbit/s only.";
    Unlicensed     "unlicensed"         whole: "There is no licence for low latency.";
    PtpUnlicensed  "ptp-unlicensed"     whole: "There is no licence for the clock.";
    PtpShared      "ptp-shared"         whole: "Another function is told the time, and with it the state of the clock.";
    Asserted       "asserted"           whole: "Firmware failed before its driver came, and waits for a debugger.";
    PackedStream   "packed-stream"      whole: "Firmware is the variant for packed streams.";
    ModuleGigabit  "module-1g"          whole: "The module in the cage is one for 1 Gbit/s, and its partner negotiates (clause 37).";
    ModuleDual     "module-dual"        whole: "The module in the cage has two rates, and its partner the lower one.";
    ModuleSilent   "module-10gbase-t"   whole: "The module in the cage is one for twisted pair, which has no code for what it is.";
    ModuleSwap     "module-swap"        whole: "The module in the cage is swapped for one of 1 Gbit/s soon after the link is up.";
    ModuleBoots    "module-boots"       whole: "The module in the cage acknowledges its first reads and answers them with rubbish.";
    CageUnwired    "cage-unwired"       whole: "The pin that says that there is a module is not connected, and the last driver left the laser off.";
    I2cHeld        "i2c-held"           whole: "The module in the cage was left in the middle of a byte, and holds the data line.";
    LinkStuck      "link-stuck"         whole: "What starts the link right after a reset leads nowhere.";
    LocksLeft      "locks-left"         whole: "A driver that is gone has left the locks taken that ports share.";
    NarrowCounters "narrow-counters"    whole: "The counters of good frames have 16 bits, and so are full in seconds, not minutes.";
    Malicious      "malicious"          whole: "The hundredth packet to be sent is taken for malicious, and its queue stops.";
    QueueLingers   "queue-lingers"      whole: "A receive queue that says that it is off goes on for 50 ms.";
    RequestsStuck  "requests-stuck"     whole: "Requests of the driver before do not end, until they are flushed before the reset.";
    Held           "held"               single: "Received frames stay in the card until there are two of them, or as many as the number says.";
    LoseEach       "lose-each"          single: "Every hundredth received frame is lost, or as the number says.";
    LoseLong       "lose-long"          single: "Received frames of more than 1500 bytes are lost, or of more than the number says.";
    SendStuck      "send-stuck"         single: "No frame is ever sent, or none from that of the number on.";
    ClockBack      "clock-back"         whole: "The clock that stamps received frames runs backwards.";
    ClockSlow      "clock-slow"         whole: "The clock that stamps received frames runs at half its rate.";
    ResetFatal     "reset-fatal"        single: "The card is gone from its bus after a function level reset, or after that of the number.";
    OneQueue       "one-queue"          whole: "Received frames all come on the first queue.";
    SteerWrong     "steer-wrong"        whole: "A flow that is steered comes on a queue beside its own.";
    SumsLie        "sums-lie"           whole: "Right checksums are called wrong, and wrong ones right.";
    TagLost        "tag-lost"           whole: "A tag that is taken off a frame is not told.";
    Miscount       "miscount"           whole: "The counters of good frames show half of them.";
    CtpioTorn      "ctpio-torn"         whole: "What is sent by CTPIO leaves with its last byte inverted.";
    NoVersion      "no-version"         whole: "Firmware says that its version is 0.0.0.";
    VpdTorn        "vpd-torn"           whole: "The vital product data is whole up to its byte 64, and behind that as it was never written.";
    VpdSum         "vpd-sum"            whole: "The checksum of the vital product data is wrong.";
    ResetBehind    "reset-behind"       whole: "The function is reset soon after its link is up, and nobody is told.";
}

/// What a fault counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// Nothing: it can have neither number nor code.
    Nothing,
    /// Commands: a number, or a code.
    Commands,
    /// Frames, doorbells, descriptors: a number.
    Others,
}

/// Which command a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// That of this number, the first being 1.
    Number(u32),
    /// That of this code, in its family's numbers, each time.
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
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same() {
        for kind in FaultKind::ALL {
            let at: &[_] = match kind.counts() {
                Counts::Nothing => &[None],
                Counts::Others => &[None, Some(At::Number(31))],
                Counts::Commands => &[None, Some(At::Number(31)), Some(At::Code(0x613))],
            };
            for &at in at {
                let mut spec = Spec::new("x710");
                spec.fault = Some(Fault { kind, at });
                assert_eq!(spec.to_string().parse::<Spec>().unwrap(), spec);
            }
        }
    }

    #[test]
    fn a_fault_that_there_is_not_is_one_clear_line() {
        let codes = ["half:0x50", "opaque:0x50", "doorbell:0x50", "few-descriptors:0x8"];
        for bad in ["bogus", "error:0", "error:x", "error:0xg", "flood:3", ""].into_iter().chain(codes) {
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
