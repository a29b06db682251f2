//! Options that mean the same in every subcommand that has them.

use super::output::Output;
use super::progress::Goal;
use super::units;
use crate::driver::{Config, Description};
use std::time::Duration;

/// Longest frame of a network with jumbo frames, as most switches take them, in
/// bytes without FCS.
pub const JUMBO: u16 = 9216;

/// The card to use.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DeviceArg {
    /// Card: 0000:03:00.0, 03:00.0, emu:82599,OPTIONS, or packet:IFACE, xdp:IFACE of the kernel
    ///
    /// packet:IFACE is an interface that the kernel keeps and goes on to use: it takes no more
    /// than CAP_NET_RAW. xdp:IFACE takes what comes in from the kernel's stack as long as the
    /// command runs; it takes CAP_NET_ADMIN and CAP_BPF besides.
    ///
    /// Without it: the card that `bmnic bind` handed to vfio-pci if there is one,
    /// otherwise an emulated 82599. One that somebody else bound is not touched. `bmnic list` shows cards, `bmnic emulate --list` the
    /// emulated ones and their options.
    #[arg(short = 'i', long, value_name = "DEV")]
    pub device: Option<String>,
}

/// The cards to use.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DevicesArg {
    /// Card: 0000:03:00.0, 03:00.0, emu:82599,OPTIONS, or IFACE of the kernel; several with -i for each
    ///
    /// eth0 or packet:eth0 is an interface that the kernel keeps and goes on to use: what comes
    /// in is captured and what goes out, as by tcpdump, and it takes no more than CAP_NET_RAW. xdp:eth0 takes what comes in from the
    /// kernel's stack as long as the command runs, and sees nothing else.
    ///
    /// Without it: the card that `bmnic bind` handed to vfio-pci if there is one,
    /// otherwise an emulated 82599. One that somebody else bound is not touched. `bmnic list` shows cards, `bmnic emulate --list` the
    /// emulated ones and their options.
    #[arg(short = 'i', long = "device", id = "device", value_name = "DEV")]
    pub devices: Vec<String>,
}

/// How long to run.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct RunLength {
    /// Stop after this time: 500ms, 2s, 1m; 0 is until Ctrl-C
    ///
    /// On the emulated default the time is 10 s unless this or --count says
    /// otherwise; on a card that was named it is until Ctrl-C.
    #[arg(short, long, value_name = "TIME", value_parser = units::duration)]
    pub duration: Option<Duration>,
    /// Stop after this many packets: 1000, 1M; 0 is no limit
    #[arg(short, long, value_name = "N", value_parser = units::count)]
    pub count: Option<u64>,
}

/// When a run ends; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Time from the first packet's chance to come.
    pub duration: Option<Duration>,
    /// Packets.
    pub count: Option<u64>,
}

impl Limits {
    /// What a bar shows of them: of both the time, as that is sure to come.
    pub fn goal(&self) -> Goal {
        self.duration.map(Goal::Time).or(self.count.map(Goal::Count)).unwrap_or(Goal::Open)
    }
}

impl RunLength {
    /// The limits, with `default` as the duration if neither was given.
    pub fn limits(&self, default: Option<Duration>) -> Limits {
        let duration = match (self.duration, self.count) {
            (None, None) => default,
            (duration, _) => duration.filter(|d| !d.is_zero()),
        };
        Limits { duration, count: self.count.filter(|&n| n != 0) }
    }
}

/// Queues and rings.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Rings {
    /// Receive queues; more than one are fed by RSS
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=128))]
    pub rxq: u16,
    /// Transmit queues
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=128))]
    pub txq: u16,
    /// How long they are.
    #[command(flatten)]
    pub lengths: RingLengths,
    /// Most packets to take in one go, 1 to 64
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub batch: u16,
}

impl Rings {
    /// The batch size, for [`crate::dma::Batch::with_limit`].
    pub fn batch(&self) -> usize {
        usize::from(self.batch)
    }

    /// A port with these queues and rings, the rest as usual.
    pub fn config(&self) -> Config {
        self.lengths.of(Config { rx_queues: self.rxq, tx_queues: self.txq, ..Config::default() })
    }
}

/// Lengths of rings, where they are asked for.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct RingLengths {
    /// Descriptors in each receive ring, a power of two from 64 to 4096 [default: 512]
    #[arg(long, value_name = "N", value_parser = units::ring)]
    pub rxd: Option<u16>,
    /// Descriptors in each transmit ring, a power of two from 64 to 4096 [default: 512]
    #[arg(long, value_name = "N", value_parser = units::ring)]
    pub txd: Option<u16>,
}

impl RingLengths {
    /// `config` with rings of these lengths.
    pub fn of(&self, config: Config) -> Config {
        let (rx_ring, tx_ring) = (self.rxd.unwrap_or(config.rx_ring), self.txd.unwrap_or(config.tx_ring));
        Config { rx_ring, tx_ring, ..config }
    }

    /// Says of each option that a device does not obey what it has instead.
    pub fn warn_of_others(&self, devices: &[Description], output: &Output) {
        devices.iter().flat_map(|device| self.others(device)).for_each(|line| output.warn(line));
    }

    /// A line for each option that a device does not obey.
    fn others(&self, Description { device, own_rings, short_rings, .. }: &Description) -> Vec<String> {
        let options = |[rx, tx]: [u16; 2]| [(self.rxd, rx, "--rxd"), (self.txd, tx, "--txd")];
        let own = own_rings.iter().copied().flat_map(options).filter_map(|(asked, has, option)| {
            let asked = asked.filter(|asked| *asked != has)?;
            Some(format!(
                "{device}: its host gives it rings of {has} descriptors, and {option} {asked} changes nothing"
            ))
        });
        let short = short_rings.iter().copied().flat_map(options).filter_map(|(asked, has, option)| {
            let asked = asked.filter(|asked| *asked > has)?;
            Some(format!("{device}: its rings have {has} descriptors at most, and {option} {asked} asks for more"))
        });
        own.chain(short).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emu::{Drive, Engine};

    #[test]
    fn a_device_that_has_its_own_rings_is_told_from_one_that_has_short_ones() {
        let engine = Engine::new(Drive::Manual);
        let (function, _tap) = engine.open(&"virtio".parse().unwrap()).unwrap();
        let plain = Description::new(&*function, "virtio", "virtio-net");
        let rings = Some([256, 1024]);
        let lengths = RingLengths { rxd: Some(512), txd: Some(512) };
        let own = lengths.others(&Description { own_rings: rings, ..plain.clone() });
        assert_eq!(own.len(), 2, "{own:?}");
        assert!(own[1].ends_with("rings of 1024 descriptors, and --txd 512 changes nothing"), "{own:?}");
        let short = lengths.others(&Description { short_rings: rings, ..plain.clone() });
        assert_eq!(short.len(), 1, "{short:?}");
        assert!(short[0].ends_with("256 descriptors at most, and --rxd 512 asks for more"), "{short:?}");
        assert_eq!(RingLengths::default().others(&Description { own_rings: rings, ..plain }), [""; 0]);
    }

    #[test]
    fn a_run_has_the_default_length_only_if_nothing_was_asked() {
        let ten = Some(Duration::from_secs(10));
        let limits = |duration, count| RunLength { duration, count }.limits(ten);
        assert_eq!(limits(None, None), Limits { duration: ten, count: None });
        assert_eq!(limits(None, Some(5)), Limits { duration: None, count: Some(5) });
        assert_eq!(limits(Some(Duration::ZERO), None), Limits::default());
        assert_eq!(limits(None, Some(0)), Limits::default());
    }
}
