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
use super::{Address, Function};
use crate::error::{Error, Kind, Remedy, Result};
use crate::sys::Roots;
use std::sync::Arc;

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

/// Makes sure that the card answers and that its registers can be reached:
/// with memory decoding off each access would be a bus error.
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
    let command = function.config_read(COMMAND, 2)?;
    function.config_write(COMMAND, 2, (command | MEMORY_SPACE | INTX_DISABLE) & !BUS_MASTER)
}

#[cfg(test)]
mod tests {
    use super::*;
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
