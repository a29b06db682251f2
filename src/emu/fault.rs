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
//!
//! Faults of the data path (`slip`) strike every packet, or with a number behind them the one
//! of that number (`rx-stuck:1000`), every so many-th (`rx-stuck:/1000`), or all from one on
//! (`rx-stuck:1000-`). Some have a size or a time: `rx-length=0:1000`, `tx-late=5ms:/100`.

use super::spec::Time;
use std::fmt;

/// Declares faults, one a line: `Name "as it is written" which: what goes wrong`, where
/// `command` strikes single commands, by number or code, and `single` frames or doorbells,
/// or is a matter of how many. `packet` strikes packets by number, `bytes` with a size that
/// is said of them, and `time` with one.
macro_rules! faults {
    (@counts command) => { Counts::Commands };
    (@counts single) => { Counts::Others };
    (@counts whole) => { Counts::Nothing };
    (@counts packet) => { Counts::Packets(Measure::None) };
    (@counts bytes) => { Counts::Packets(Measure::Bytes) };
    (@counts time) => { Counts::Packets(Measure::Time) };
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

            /// What goes wrong, in a sentence.
            pub fn text(self) -> &'static str {
                match self {
                    $(FaultKind::$kind => $doc,)*
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
    LoseIrq        "lose-irq"           single: "Interrupts are lost, or those from that of the number on.";
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
    HoldLast       "hold-last"          whole: "The last received frame stays in the card until another one comes.";
    LoseEach       "lose-each"          single: "Every hundredth received frame is lost, or as the number says.";
    LoseLong       "lose-long"          single: "Received frames of more than 1500 bytes are lost, or of more than the number says.";
    SendStuck      "send-stuck"         single: "No frame is ever sent, or none from that of the number on.";
    ClockBack      "clock-back"         whole: "The clock that stamps received frames runs backwards.";
    ClockSlow      "clock-slow"         whole: "The clock that stamps received frames runs at half its rate.";
    ResetFatal     "reset-fatal"        single: "The card is gone from its bus after a function level reset, or after that of the number.";
    OneQueue       "one-queue"          whole: "Received frames all come on the first queue.";
    SteerWrong     "steer-wrong"        whole: "A flow that is steered comes on a queue beside its own.";
    SteerAll       "steer-all"          whole: "Once a flow is steered, all others come on its queue, too.";
    SumsLie        "sums-lie"           whole: "Right checksums are called wrong, and wrong ones right.";
    TagLost        "tag-lost"           whole: "A tag that is taken off a frame is not told.";
    Miscount       "miscount"           whole: "The counters of good frames show half of them.";
    CtpioTorn      "ctpio-torn"         whole: "What is sent by CTPIO leaves with its last byte inverted.";
    NoVersion      "no-version"         whole: "Firmware says that its version is 0.0.0.";
    VpdTorn        "vpd-torn"           whole: "The vital product data is whole up to its byte 64, and behind that as it was never written.";
    VpdSum         "vpd-sum"            whole: "The checksum of the vital product data is wrong.";
    ModuleSum      "module-sum"         whole: "The checksum over what the module in the cage says that it is is wrong.";
    ResetBehind    "reset-behind"       whole: "The function is reset soon after its link is up, and nobody is told.";
    RxStuck        "rx-stuck"           packet: "A received packet is never reported.";
    TxStuck        "tx-stuck"           packet: "A sent packet is never reported.";
    RxDup          "rx-dup"             packet: "A received packet is reported twice.";
    TxDup          "tx-dup"             packet: "A sent packet is reported twice.";
    RxLength       "rx-length"          bytes: "A received packet is reported with this length: 0, or longer than its buffer or the MTU.";
    RxLate         "rx-late"            time: "A received packet is reported so much later.";
    TxLate         "tx-late"            time: "A sent packet is reported so much later.";
    RxOther        "rx-other"           packet: "A received packet is reported as that of the descriptor behind its own.";
    TxOther        "tx-other"           packet: "A sent packet is reported as that of the descriptor behind its own.";
    RxEndless      "rx-endless"         packet: "A received packet is reported without its end.";
    RxIommu        "rx-iommu"           packet: "A received packet is written to an address that the card was not given, and refused.";
    TxIommu        "tx-iommu"           packet: "A packet to be sent is read from an address that the card was not given, and refused.";
    LinkFlap       "link-flap"          time: "The link goes down for so long.";
    Pulled         "pulled"             packet: "The card is pulled: its registers read as ones.";
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
    /// Packets of the data path: one, every so many-th, or all from one on; and what is
    /// measured besides.
    Packets(Measure),
}

/// What a fault of the data path has besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// Nothing.
    None,
    /// Bytes; 0 unless it is said.
    Bytes,
    /// A time; 1 ms unless it is said.
    Time,
}

/// Which command a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// That of this number, the first being 1.
    Number(u32),
    /// That of this code, in its family's numbers, each time.
    Code(u32),
    /// Every so many-th packet.
    Every(u32),
    /// The packet of this number, and all behind it.
    From(u32),
}

impl At {
    /// The number, of a fault that does not tell commands apart.
    pub(super) fn number(self) -> u32 {
        match self {
            At::Number(number) | At::Code(number) | At::Every(number) | At::From(number) => number,
        }
    }
}

/// A fault, and which command it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Which command or packet; `None` is every one.
    pub at: Option<At>,
    /// Bytes, or a time in picoseconds, of a fault that has such a thing, where it is said.
    pub measure: Option<u64>,
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

    /// Whether the `number`th packet, the first being 1, meets it.
    pub(super) fn strikes_packet(self, number: u64) -> bool {
        match self.at {
            None => true,
            Some(At::Every(nth)) => number.is_multiple_of(u64::from(nth)),
            Some(At::From(first)) => number >= u64::from(first),
            Some(At::Number(one) | At::Code(one)) => number == u64::from(one),
        }
    }
}

impl FaultKind {
    /// How it is written, if it is one of packets.
    pub fn example(self) -> Option<&'static str> {
        Some(match self {
            FaultKind::RxStuck => "rx-stuck:1000",
            FaultKind::TxStuck => "tx-stuck:1000-",
            FaultKind::RxDup => "rx-dup:/1000",
            FaultKind::TxDup => "tx-dup:/1000",
            FaultKind::RxLength => "rx-length=0:1000",
            FaultKind::RxLate => "rx-late=5ms:1000",
            FaultKind::TxLate => "tx-late=5ms:1000",
            FaultKind::RxOther => "rx-other:1000",
            FaultKind::TxOther => "tx-other:1000",
            FaultKind::RxEndless => "rx-endless:1000",
            FaultKind::RxIommu => "rx-iommu:/1000",
            FaultKind::TxIommu => "tx-iommu:/1000",
            FaultKind::LinkFlap => "link-flap=20ms:/1000",
            FaultKind::Pulled => "pulled:1000",
            _ => return None,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        match (self.measure, self.kind.counts()) {
            (Some(time), Counts::Packets(Measure::Time)) => write!(f, "={}", Time(time))?,
            (Some(bytes), _) => write!(f, "={bytes}")?,
            (None, _) => {}
        }
        match self.at {
            None => Ok(()),
            Some(At::Number(number)) => write!(f, ":{number}"),
            Some(At::Code(code)) => write!(f, ":{code:#x}"),
            Some(At::Every(number)) => write!(f, ":/{number}"),
            Some(At::From(number)) => write!(f, ":{number}-"),
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
    fn a_fault_of_packets_strikes_one_every_so_many_th_or_all_from_one_on() {
        let struck = |text: &str| {
            let fault = format!("82599,fault={text}").parse::<Spec>().unwrap().fault.unwrap();
            (1..=9).filter(|&number| fault.strikes_packet(number)).collect::<Vec<u64>>()
        };
        assert_eq!(struck("rx-stuck:3"), [3]);
        assert_eq!(struck("rx-stuck:/3"), [3, 6, 9]);
        assert_eq!(struck("tx-late=5us:7-"), [7, 8, 9]);
        assert_eq!(struck("rx-length=0"), (1..=9).collect::<Vec<u64>>());
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same() {
        for kind in FaultKind::ALL {
            let at: &[_] = match kind.counts() {
                Counts::Nothing => &[None],
                Counts::Others => &[None, Some(At::Number(31))],
                Counts::Commands => &[None, Some(At::Number(31)), Some(At::Code(0x613))],
                Counts::Packets(_) => &[None, Some(At::Number(31)), Some(At::Every(31)), Some(At::From(31))],
            };
            let measures: &[_] = match kind.counts() {
                Counts::Packets(Measure::Bytes) => &[None, Some(0), Some(9000)],
                Counts::Packets(Measure::Time) => &[None, Some(2_500_000), Some(20_000_000_000)],
                _ => &[None],
            };
            for (&at, &measure) in at.iter().flat_map(|at| measures.iter().map(move |measure| (at, measure))) {
                let mut spec = Spec::new("x710");
                spec.fault = Some(Fault { kind, at, measure });
                assert_eq!(spec.to_string().parse::<Spec>().unwrap(), spec);
            }
        }
    }

    #[test]
    fn a_fault_that_there_is_not_is_one_clear_line() {
        let codes = ["half:0x50", "opaque:0x50", "doorbell:0x50", "few-descriptors:0x8", "rx-stuck:0x8"];
        let packets = ["rx-stuck:/0", "rx-stuck:/", "rx-stuck:-", "rx-stuck:0-", "rx-stuck=3", "rx-late=3"];
        let sizes = ["rx-length=16384", "rx-length=x", "error:/3", "error:3-", "error=3", "half=1us"];
        let numbers = ["bogus", "error:0", "error:x", "error:0xg", "flood:3", ""];
        for bad in numbers.into_iter().chain(codes).chain(packets).chain(sizes) {
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
