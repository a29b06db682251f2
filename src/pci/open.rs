//! Opening a card of the machine: by what it is bound to.
//!
//! ```text
//!   vfio-pci (or another VFIO driver)     vfio
//!   uio_pci_generic, no driver            sysfs
//!   a kernel driver                       refused: it is in use
//! ```

use super::discover;
use super::sysfs::{self, Sysfs};
use super::vfio::Vfio;
use super::{Address, Function, capabilities};
use crate::error::{Error, Kind, Remedy, Result};
use crate::sys::Roots;
use std::sync::Arc;
use std::time::Duration;

/// Opens the function at `address`, memory decoding on, bus mastering and INTx off.
///
/// # Errors
/// [`Kind::NotFound`] if there is no such function, [`Kind::Refused`] if a
/// kernel driver or another program has it, [`Kind::Permission`], and
/// [`Kind::Gone`] if it does not answer.
pub fn open(roots: &Roots, address: Address) -> Result<Arc<dyn Function>> {
    let device = discover::find(roots, &address.to_string())?;
    let function: Arc<dyn Function> = match device.driver.as_deref() {
        Some(driver) if driver.contains("vfio") => Arc::new(Vfio::open(roots, &device)?),
        Some(driver) if !sysfs::is_offered_by(driver) => {
            let text = format!("{address}: the kernel's {driver} has it");
            return Err(Error::new(Kind::Refused, text).with_remedy(Remedy::Bind(address.to_string())));
        }
        _ => Arc::new(Sysfs::open(roots, &device)?),
    };
    wake(&*function)?;
    Ok(function)
}

/// Makes sure that the card answers and that its registers can be reached: with memory
/// decoding off each access would be a bus error, and in D3hot it reads all ones.
fn wake(function: &dyn Function) -> Result<()> {
    const ID: u16 = 0x00;
    const COMMAND: u16 = 0x04;
    const MEMORY_SPACE: u32 = 1 << 1;
    const BUS_MASTER: u32 = 1 << 2;
    // A line that is asserted with MSI-X off would wake the kernel without end: nobody here
    // listens to it, and the next driver switches it on again.
    const INTX_DISABLE: u32 = 1 << 10;
    if function.config_read(ID, 4)? == u32::MAX {
        return Err(Error::new(
            Kind::Gone,
            format!("{}: the card does not answer (all ones); it was pulled, lost power or hangs", function.name()),
        ));
    }
    leave_d3hot(function)?;
    let command = function.config_read(COMMAND, 2)?;
    function.config_write(COMMAND, 2, (command | MEMORY_SPACE | INTX_DISABLE) & !BUS_MASTER)
}

/// Has the function fully on: one that nobody uses may be left asleep, and VFIO alone
/// wakes it by itself. Where that resets the function the kernel knows nothing of it, so
/// what the kernel and firmware had set is put back (PCI power management 1.2 §3.2.4,
/// §5.4.1, §5.6.1: 10 ms until it answers).
fn leave_d3hot(function: &dyn Function) -> Result<()> {
    const POWER_MANAGEMENT: u8 = 0x01;
    const STATE: u32 = 3;
    const NO_SOFT_RESET: u32 = 1 << 3;
    /// Cleared by writing a one, which is for those who look for it.
    const PME_STATUS: u32 = 1 << 15;
    const ANSWERS: Duration = Duration::from_millis(10);
    const TRIES: u32 = 10;
    let Some(power) = capabilities(function, POWER_MANAGEMENT)?.first().copied() else { return Ok(()) };
    let control = function.config_read(power + 4, 2)?;
    if control & STATE == 0 {
        return Ok(());
    }
    let kept = if control & NO_SOFT_RESET == 0 { settings(function)? } else { Vec::new() };
    function.config_write(power + 4, 2, control & !(STATE | PME_STATUS))?;
    for _ in 0..TRIES {
        function.wait(ANSWERS);
        if function.config_read(power + 4, 2)? & STATE == 0 {
            return kept.into_iter().try_for_each(|(at, size, value)| function.config_write(at, size, value));
        }
    }
    let text = format!("{}: the card sleeps (D3hot) and does not wake; only power off and on helps", function.name());
    Err(Error::new(Kind::Gone, text))
}

/// What a reset takes from the function besides the command register: offset, bytes, value
/// (PCI 3.0 §6.1, PCIe 3.0 §7.8).
fn settings(function: &dyn Function) -> Result<Vec<(u16, u8, u32)>> {
    const PCIE: u8 = 0x10;
    /// Cache line and latency timer, BARs, ROM, interrupt line.
    const HEADER: [(u16, u8); 9] =
        [(0x0c, 2), (0x10, 4), (0x14, 4), (0x18, 4), (0x1c, 4), (0x20, 4), (0x24, 4), (0x30, 4), (0x3c, 1)];
    /// In device control: starts another reset, or for a bridge says something else.
    const INITIATE_FLR: u32 = 1 << 15;
    let mut kept = Vec::new();
    if let Some(pcie) = capabilities(function, PCIE)?.first().copied() {
        let flags = function.config_read(pcie + 2, 2)?;
        let (version, endpoint) = (flags & 0xf, flags >> 4 & 0xf <= 1);
        kept.push((pcie + 0x08, 2, function.config_read(pcie + 0x08, 2)? & !INITIATE_FLR));
        // Link control, which the first version has of an endpoint only; device control 2.
        for at in [(version > 1 || endpoint).then_some(0x10), (version > 1).then_some(0x28)].into_iter().flatten() {
            kept.push((pcie + at, 2, function.config_read(pcie + at, 2)?));
        }
    }
    for (at, size) in HEADER {
        kept.push((at, size, function.config_read(at, size)?));
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emu::{Drive, Engine};
    use crate::pci::troubled::Troubled;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::Ordering;

    fn tree<const N: usize>(driver: Option<&str>, config: [u8; N]) -> (tempfile::TempDir, Roots, Address) {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        let address: Address = "0000:03:00.0".parse().unwrap();
        let dir = discover::directory(&roots, address);
        fs::create_dir_all(&dir).unwrap();
        for (file, text) in [("vendor", "0x8086"), ("device", "0x10fb"), ("class", "0x020000")] {
            fs::write(dir.join(file), text).unwrap();
        }
        fs::write(dir.join("config"), config).unwrap();
        if let Some(driver) = driver {
            symlink(format!("../../../../bus/pci/drivers/{driver}"), dir.join("driver")).unwrap();
        }
        (temp, roots, address)
    }

    #[test]
    fn a_card_of_the_kernel_is_refused_with_what_to_run() {
        let (_temp, roots, address) = tree(Some("ixgbe"), [0; 64]);
        let error = open(&roots, address).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert_eq!(error.remedy(), Some(&Remedy::Bind("0000:03:00.0".into())), "{error}");
        assert!(!roots.run.exists(), "nothing was touched");
    }

    #[test]
    fn a_card_without_a_driver_or_with_uio_opens_through_sysfs_with_bus_mastering_off() {
        for driver in [None, Some("uio_pci_generic")] {
            let mut config = [0; 64];
            config[4] = 0x04;
            let (_temp, roots, address) = tree(driver, config);
            let function = open(&roots, address).unwrap();
            assert_eq!(function.kind(), crate::pci::Kind::Sysfs);
            assert_eq!(function.config_read(4, 2).unwrap(), 0x402, "and with no interrupt by a line");
        }
    }

    #[test]
    fn a_card_with_vfio_is_never_opened_another_way() {
        let (_temp, roots, address) = tree(Some("vfio-pci"), [0; 64]);
        let error = open(&roots, address).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "no IOMMU group: {error}");
        symlink("../../../kernel/iommu_groups/9000009", discover::directory(&roots, address).join("iommu_group"))
            .unwrap();
        let error = open(&roots, address).unwrap_err();
        assert!(error.to_string().contains("vfio/9000009"), "{error}");
    }

    /// Asleep its registers read all ones, and on an 82599 the way back is a reset.
    #[test]
    fn a_card_that_sleeps_is_woken_and_keeps_what_it_was_set_to() {
        // Device control, link control, device control 2, cache line, interrupt line.
        const SET: [(u16, u8, u32); 5] =
            [(0xa8, 2, 0x5936), (0xb0, 2, 0x0040), (0xc8, 2, 0x0005), (0x0c, 1, 0x10), (0x3c, 1, 0x0b)];
        for card in ["82599", "x710"] {
            let (function, _tap) = Engine::new(Drive::Manual).open(&card.parse().unwrap()).unwrap();
            function.config_write(0x10, 4, 0xf700_0000).unwrap();
            let base = function.config_read(0x10, 4).unwrap();
            for (at, size, value) in SET {
                function.config_write(at, size, value).unwrap();
                assert_eq!(function.config_read(at, size).unwrap(), value, "{card}, {at:#x}");
            }
            function.config_write(0x44, 2, 3).unwrap();
            assert_eq!(function.bar(0).unwrap().read32(0), u32::MAX);
            wake(&*function).unwrap();
            assert_ne!(function.bar(0).unwrap().read32(0), u32::MAX, "{card}");
            assert_eq!(function.config_read(0x10, 4).unwrap(), base, "{card}");
            assert_eq!(function.config_read(4, 2).unwrap(), 0x402, "{card}");
            for (at, size, value) in SET {
                assert_eq!(function.config_read(at, size).unwrap(), value, "{card}, {at:#x}");
            }
        }
    }

    /// A card of a plain file, which shows what was written to it.
    fn sleeping() -> [u8; 256] {
        let mut config = [0; 256];
        // Capabilities: power management, then PCIe of version 1.
        (config[0x06], config[0x34]) = (0x10, 0x40);
        config[0x40..0x48].copy_from_slice(&[0x01, 0x50, 3, 0, 0x03, 0x81, 0, 0]);
        config[0x50..0x5a].copy_from_slice(&[0x10, 0, 0x01, 0, 0, 0, 0, 0, 0x10, 0xa8]);
        config
    }

    #[test]
    fn waking_a_card_clears_no_status_and_starts_no_reset() {
        let (_temp, roots, address) = tree(None, sleeping());
        let function = open(&roots, address).unwrap();
        assert_eq!(function.config_read(0x44, 2).unwrap(), 0x0100, "awake, and its PME status was not written");
        assert_eq!(function.config_read(0x58, 2).unwrap(), 0x2810, "device control, without its reset");
    }

    #[test]
    fn a_card_that_wakes_slowly_is_waited_for_and_one_that_does_not_is_gone() {
        for (looks, ended) in [(1, Ok(())), (5, Ok(())), (1_000, Err(Kind::Gone))] {
            let (card, _tap) = Engine::new(Drive::Manual).open(&"82599".parse().unwrap()).unwrap();
            card.config_write(0x3c, 1, 0x0b).unwrap();
            let slow = Troubled::of(card);
            slow.sleepy.store(looks, Ordering::Relaxed);
            assert_eq!(wake(&slow).map_err(|error| error.kind()), ended, "{looks}");
            assert_eq!(slow.config_read(0x3c, 1).unwrap(), 0x0b, "{looks}");
        }
    }

    #[test]
    fn a_card_that_reads_all_ones_is_gone() {
        let (_temp, roots, address) = tree(None, [0xff; 64]);
        assert_eq!(open(&roots, address).unwrap_err().kind(), Kind::Gone);
    }

    #[test]
    fn a_card_that_is_not_there_is_not_found() {
        let (_temp, roots, _) = tree(None, [0; 64]);
        assert_eq!(open(&roots, "01:00.0".parse().unwrap()).unwrap_err().kind(), Kind::NotFound);
    }
}
