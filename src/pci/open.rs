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
/// wakes it by itself. Where that resets the function the kernel's idea of its BARs stays,
/// so they are put back (PCI power management 1.2 §5.4.1, §5.6.1: 10 ms until it answers).
fn leave_d3hot(function: &dyn Function) -> Result<()> {
    const POWER_MANAGEMENT: u8 = 0x01;
    const BARS: [u16; 6] = [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24];
    const STATE: u32 = 3;
    const ANSWERS: Duration = Duration::from_millis(10);
    let Some(power) = capabilities(function, POWER_MANAGEMENT)?.first().copied() else { return Ok(()) };
    let control = function.config_read(power + 4, 2)?;
    if control & STATE == 0 {
        return Ok(());
    }
    let bars = BARS.map(|at| function.config_read(at, 4));
    function.config_write(power + 4, 2, control & !STATE)?;
    function.wait(ANSWERS);
    for (at, bar) in BARS.into_iter().zip(bars) {
        function.config_write(at, 4, bar?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emu::{Drive, Engine};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree(driver: Option<&str>, config: [u8; 64]) -> (tempfile::TempDir, Roots, Address) {
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
    fn a_card_that_sleeps_is_woken_and_keeps_its_bars() {
        for card in ["82599", "x710"] {
            let (function, _tap) = Engine::new(Drive::Manual).open(&card.parse().unwrap()).unwrap();
            function.config_write(0x10, 4, 0xf700_0000).unwrap();
            let base = function.config_read(0x10, 4).unwrap();
            function.config_write(0x44, 2, 3).unwrap();
            assert_eq!(function.bar(0).unwrap().read32(0), u32::MAX);
            wake(&*function).unwrap();
            assert_ne!(function.bar(0).unwrap().read32(0), u32::MAX, "{card}");
            assert_eq!(function.config_read(0x10, 4).unwrap(), base, "{card}");
            assert_eq!(function.config_read(4, 2).unwrap(), 0x402, "{card}");
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
