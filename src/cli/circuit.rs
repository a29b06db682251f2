//! A sender and a receiver: one port whose wire leads back, or two ports.
//!
//! ```text
//!   one     A tx ──loopback plug──> A rx        both run in one thread and
//!   two     A tx ──cable──────────> B rx        read the same clock
//! ```

use super::Context;
use super::session::{Defaults, NOMINAL_SPEED, Session};
use crate::dma::{BUFFER_SIZE, Pool};
use crate::driver::queue::Loop;
use crate::driver::{self, Config, Description, InTurn, Port, RxQueue, TxQueue};
use crate::error::{Error, Kind, Result};
use crate::measure::probe::MIN_LEN;
use std::time::Duration;

/// Bytes of the frame check sequence, which the card adds and takes off.
pub const FCS: usize = 4;

/// The two ends of a measurement.
#[derive(Debug, clap::Args)]
pub struct Circuit {
    /// Card that sends, and card that receives: 0000:03:00.0, emu:82599, packet:IFACE, xdp:IFACE
    ///
    /// With one card its wire must lead back to it (a loopback plug, or --loop).
    /// Without any: the card that `bmnic bind` handed to vfio-pci if there is one,
    /// otherwise an emulated 82599 on a loop. One that somebody else bound is not
    /// touched.
    #[arg(value_name = "DEV", num_args = 0..=2)]
    devices: Vec<String>,
    /// Send to ourselves inside the card, where no cable leads back
    #[arg(long = "loop")]
    loopback: bool,
}

impl Circuit {
    /// Opens the cards. Emulated ones are on a loop, or joined to each other.
    pub fn open(&self, context: &Context, config: &Config, duration: Option<Duration>) -> anyhow::Result<Session> {
        self.open_on(context, config, duration, false)
    }

    /// The same; what crosses an emulated card's PCIe link takes time, of the default link
    /// where its name says none.
    pub fn open_with_link(
        &self,
        context: &Context,
        config: &Config,
        duration: Option<Duration>,
    ) -> anyhow::Result<Session> {
        self.open_on(context, config, duration, true)
    }

    fn open_on(
        &self,
        context: &Context,
        config: &Config,
        duration: Option<Duration>,
        link: bool,
    ) -> anyhow::Result<Session> {
        let wires: &[&str] = if self.devices.len() == 2 { &["peer", "peer"] } else { &["loop"] };
        let config = Config { loopback: self.loopback, ..config.clone() };
        Session::open(context, &self.devices, Defaults { wires, duration, link }, &config)
    }

    /// The error when nothing came back, with the likely cause.
    pub fn nothing_came(&self, devices: &[Description], sent: u64) -> Error {
        let cause = match devices {
            [_] if !self.loopback => "does its wire lead back to it? Use a loopback plug, --loop, or a second card",
            [_] => "the card did not loop them inside",
            _ => "are the two cards connected to each other?",
        };
        let device = devices.first().map_or("", |device| &device.device);
        Error::new(Kind::Timeout, format!("{device}: {sent} packets were sent and none came back; {cause}"))
    }
}

/// A pool for the session, the rings of the first `queues` receiving queues filled from it.
///
/// # Errors
/// [`Kind::Unsupported`] if frames would come by others, where nobody can keep them from it.
pub fn filled_pool(session: &mut Session, queues: usize) -> Result<Pool> {
    if let (Some(device), Some(port)) = (session.devices.last(), session.ports.last())
        && device.driver == "af_xdp"
        && port.rx.len() > queues
    {
        let (device, has) = (&device.device, port.rx.len());
        let name = device.strip_prefix("xdp:").unwrap_or(device);
        let line = format!(
            "{device} receives by {has} queues and {queues} would be read, so what comes by the others would be missed; give it {queues} with `ethtool -L {name} combined {queues}`, or use packet:{name}"
        );
        return Err(Error::new(Kind::Unsupported, line));
    }
    let pool = session.pool()?;
    let receiving = session.ports.last_mut().into_iter().flat_map(|port| &mut port.rx);
    receiving.take(queues).try_for_each(|queue| queue.fill(&pool))?;
    Ok(pool)
}

/// Addresses to send from and to.
pub fn addresses(session: &Session) -> [[u8; 6]; 2] {
    let mac = |device: Option<&Description>| device.map_or([0; 6], |device| device.mac.0);
    [mac(session.devices.first()), mac(session.devices.last())]
}

/// Speed of the slower end that is known, bits a second.
pub fn speed(session: &Session) -> u64 {
    session.speeds.iter().copied().filter(|speed| *speed > 0).min().unwrap_or(NOMINAL_SPEED)
}

/// Runs `body` with the first port as the sender and the last as the receiver.
pub fn run<L: Loop>(session: &mut Session, body: L) -> Result<L::Output> {
    let (rx, tx) = ends(session);
    match (rx.first_mut(), tx.first_mut()) {
        (Some(rx), Some(tx)) => Ok(driver::with_pair(rx, tx, body)),
        _ => Err(Error::new(Kind::NotFound, "no card to measure; name one, `bmnic list` shows what there is")),
    }
}

/// Whether both ends have so many queues.
///
/// # Errors
/// [`Kind::Unsupported`] if one has fewer.
pub fn check_queues(session: &mut Session, queues: usize) -> Result<()> {
    let (rx, tx) = ends(session);
    let has = rx.len().min(tx.len());
    if has >= queues {
        return Ok(());
    }
    let line = format!("{queues} queues were asked for, and the card has {has}; ask for {has} or fewer");
    Err(Error::new(Kind::Unsupported, line))
}

/// As [`run`] on the first `queues` queues of each, which all packets are spread over; and how
/// many packets came out of each.
///
/// # Errors
/// As [`check_queues`].
pub fn run_on<L: Loop>(session: &mut Session, queues: usize, body: L) -> Result<(L::Output, Vec<u64>)> {
    check_queues(session, queues)?;
    let (rx, tx) = ends(session);
    let (mut rx, mut tx) = (InTurn::new(&mut rx[..queues]), InTurn::new(&mut tx[..queues]));
    let output = body.run(&mut rx, &mut tx);
    Ok((output, rx.counts()))
}

/// Spreads what the receiving card receives over its first `queues` queues.
///
/// # Errors
/// What telling the card meets.
pub fn spread(session: &mut Session, queues: u16) -> Result<()> {
    let table: Vec<u16> = (0..queues).collect();
    session.ports.last_mut().map_or(Ok(()), |port| port.nic.set_rss_table(&table))
}

/// The queues of the receiver, and of the sender.
fn ends(session: &mut Session) -> (&mut [RxQueue], &mut [TxQueue]) {
    match &mut session.ports[..] {
        [Port { rx, tx, .. }] => (rx, tx),
        [sender, .., receiver] => (&mut receiver.rx, &mut sender.tx),
        [] => (&mut [], &mut []),
    }
}

/// Reads a frame size with FCS that a probe can have.
pub fn frame_size(text: &str) -> Result<usize> {
    let (least, most) = (MIN_LEN + FCS, BUFFER_SIZE + FCS);
    text.trim().parse().ok().filter(|size| (least..=most).contains(size)).ok_or_else(|| {
        let line = format!("'{text}' is not a frame size for a probe; it is {least} to {most} bytes, FCS included");
        Error::new(Kind::Usage, line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_outside_their_range_are_refused() {
        assert_eq!((frame_size("64").unwrap(), frame_size("2052").unwrap()), (64, 2_052));
        for text in ["", "63", "2053", "-64", "64.0", "99999999999999999999"] {
            assert_eq!(frame_size(text).unwrap_err().kind(), Kind::Usage, "{text}");
        }
    }

    #[test]
    fn silence_has_a_likely_cause() {
        let circuit = |loopback| Circuit { devices: vec![], loopback };
        let device = Description {
            device: "0000:03:00.0".into(),
            model: "some card",
            driver: "ixgbe",
            kind: crate::pci::Kind::Sysfs,
            mac: crate::net::MacAddr([2, 0, 0, 0, 0, 1]),
            timestamps: crate::driver::TimestampSource::Tsc,
            max_rx_queues: 1,
            max_tx_queues: 1,
            longest_sent: None,
            own_rings: None,
            counts_before_filters: false,
            short_rings: None,
            firmware: None,
            lacks: Vec::new(),
        };
        let one = std::slice::from_ref(&device);
        assert!(circuit(false).nothing_came(one, 7).to_string().contains("Use a loopback plug, --loop"));
        assert!(circuit(true).nothing_came(one, 7).to_string().contains("did not loop them inside"));
        let two = [device.clone(), device.clone()];
        let error = circuit(false).nothing_came(&two, 7);
        assert_eq!(error.kind(), Kind::Timeout);
        assert!(error.to_string().starts_with("0000:03:00.0: 7 packets were sent and none came back; are the two"));
    }
}
