//! A card through VFIO: the way for machines with an IOMMU, without root once
//! the card's node belongs to the user.
//!
//! ```text
//!   device file --region 0..5--> BARs: mapped, or read and written at an offset (ports)
//!               --region 7-----> configuration space
//!               --SET_IRQS-----> MSI-X vectors signal eventfds
//!   Attachment  --map----------> arenas, at the IOVAs they name
//! ```
//!
//! All of it is mapped uncached: stores to a card are not combined
//! ([`Function::combining`]).
//!
//! Closing turns bus mastering off, then interrupts, and only then takes the
//! memory away. If this process is killed the kernel does the same; a legacy virtio device
//! stops by that only if its host looks at bus mastering.

use super::alarm::is_silent;
use super::bar::Mapped;
use super::config::Config;
use super::discover::Device;
use super::iommu::{Attachment, Nodes};
use super::ports::Ports;
use super::uapi::{self, RegionInfo};
use super::{Alarm, Bar, Doorbell, Function, Id, Kind, Registers, discover, explain};
use crate::dma::{Addressing, Arena};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::sys::bus::Lost;
use crate::sys::{EventFd, Roots, page_size};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

/// A function opened through VFIO.
#[derive(Debug)]
pub(super) struct Vfio {
    name: String,
    id: Id,
    numa_node: Option<u16>,
    can_reset: bool,
    vectors: u16,
    config_base: u64,
    /// Whether vectors are set up: the kernel refuses to turn off what is not on.
    interrupts: Mutex<bool>,
    file: Arc<File>,
    /// Whether its registers were taken away.
    lost: Arc<Lost>,
    /// What the kernel signals of its own.
    told: Vec<(Alarm, EventFd)>,
    /// Declared last: memory is unmapped when the device has been closed.
    attachment: Attachment,
}

impl Vfio {
    /// Opens a device that VFIO has.
    pub(super) fn open(roots: &Roots, device: &Device) -> Result<Vfio> {
        let name = device.address.to_string();
        let group = device.iommu_group.ok_or_else(|| {
            let text = format!("{name}: no IOMMU group, so VFIO cannot open it; enable VT-d or AMD-Vi in the firmware");
            Error::new(ErrorKind::Unsupported, text)
        })?;
        let node =
            discover::entries(&device.directory(roots).join("vfio-dev")).into_iter().find(|n| n.starts_with("vfio"));
        let (attachment, file) = Attachment::open(&Nodes {
            name: &name,
            group,
            device: node.map(|node| roots.dev.join("vfio/devices").join(node)),
            dev: &roots.dev,
            sys: &roots.sys,
            strangers: &|| explain::strangers(&discover::group_members(roots, group)),
        })?;
        let asking = |e: io::Error| Error::io(format!("{name}: asking VFIO what it is"), e);
        let info = uapi::device_info(&file).map_err(asking)?;
        let vectors = uapi::irq_count(&file, uapi::MSIX_IRQ).map_err(asking)?;
        let config = uapi::region_info(&file, uapi::CONFIG_REGION).map_err(asking)?;
        let eventfd = |e: io::Error| Error::io(format!("{name}: making an eventfd"), e);
        let mut told = Vec::new();
        for (index, alarm) in [(uapi::REQ_IRQ, Alarm::Wanted), (uapi::ERR_IRQ, Alarm::Failed)] {
            let event = EventFd::new().map_err(eventfd)?;
            // Not every kernel and device has them, and the card can be used without.
            if uapi::irq_count(&file, index).is_ok_and(|count| count == 1)
                && uapi::set_irqs(&file, index, &[event.as_raw_fd()]).is_ok()
            {
                told.push((alarm, event));
            }
        }
        Ok(Vfio {
            lost: Lost::new().map_err(eventfd)?,
            told,
            id: device.id,
            numa_node: device.numa_node,
            can_reset: info.flags & uapi::DEVICE_CAN_RESET != 0,
            vectors: u16::try_from(vectors).unwrap_or(u16::MAX),
            config_base: config.offset,
            interrupts: Mutex::new(false),
            file: Arc::new(file),
            attachment,
            name,
        })
    }

    fn config(&self) -> Config<'_> {
        Config { file: &self.file, base: self.config_base, name: &self.name }
    }
}

impl Function for Vfio {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        self.attachment.kind()
    }

    fn id(&self) -> Id {
        self.id
    }

    fn bar(&self, index: u8) -> Result<Bar> {
        let none = || Error::new(ErrorKind::NotFound, format!("{}: it has no BAR {index}", self.name));
        let doing = || format!("{}: mapping BAR {index}", self.name);
        if index > 5 {
            return Err(none());
        }
        let info = uapi::region_info(&self.file, u32::from(index)).map_err(|e| Error::io(doing(), e))?;
        if info.size == 0 {
            return Err(none());
        }
        let through_file = Ports { file: Arc::clone(&self.file), start: info.offset };
        let function: &dyn Function = self;
        if function.is_port_bar(index)? {
            function.enable_ports()?;
            return Ok(Bar::Served(Arc::new(through_file), info.size));
        }
        let areas = mappable(&info, page_size() as u64);
        let map = |(offset, len): (u64, u64)| {
            let mapped = Mapped::of_file(&self.file, info.offset + offset, len, &self.lost);
            mapped.map(Bar::Mapped).map_err(|e| Error::io(doing(), e))
        };
        if areas == [(0, info.size)] {
            return map(areas[0]);
        }
        let mut parts = Vec::new();
        for (offset, len) in areas {
            parts.push((offset, len, map((offset, len))?));
        }
        let region = Patchwork { rest: through_file, parts };
        Ok(Bar::Served(Arc::new(region), info.size))
    }

    fn config_read(&self, offset: u16, size: u8) -> Result<u32> {
        self.config().read(offset, size)
    }

    fn config_write(&self, offset: u16, size: u8, value: u32) -> Result<()> {
        self.config().write(offset, size, value)
    }

    fn addressing(&self) -> Addressing {
        self.attachment.addressing()
    }

    fn address_physically(&self) {
        self.attachment.address_physically();
    }

    fn map(&self, arena: &Arc<Arena>) -> Result<()> {
        self.attachment.map(arena)
    }

    fn reaches(&self, arena: &Arc<Arena>) -> bool {
        self.attachment.reaches(arena)
    }

    fn irq_vectors(&self) -> u16 {
        self.vectors
    }

    fn set_irqs(&self, fds: &[RawFd]) -> Result<()> {
        if fds.len() > usize::from(self.vectors) {
            let text = format!("{}: {} interrupt vectors asked for, it has {}", self.name, fds.len(), self.vectors);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let mut on = self.interrupts.lock().unwrap_or_else(PoisonError::into_inner);
        let doing = || format!("{}: setting up {} MSI-X vectors", self.name, fds.len());
        // The number of vectors is fixed while they are on.
        if *on {
            uapi::set_irqs(&self.file, uapi::MSIX_IRQ, &[]).map_err(|e| Error::io(doing(), e))?;
            *on = false;
        }
        if !fds.is_empty() {
            uapi::set_irqs(&self.file, uapi::MSIX_IRQ, fds).map_err(|e| Error::io(doing(), e))?;
            *on = true;
        }
        Ok(())
    }

    fn numa_node(&self) -> Option<u16> {
        self.numa_node
    }

    fn check_memory(&self) -> Result<()> {
        self.attachment.check_memory()
    }

    fn alarms(&self) -> Vec<(Alarm, BorrowedFd<'_>)> {
        let told = self.told.iter().map(|(alarm, event)| (*alarm, event.as_fd()));
        told.chain([(Alarm::Gone, self.lost.as_fd())]).collect()
    }

    fn is_gone(&self) -> bool {
        self.lost.seen() || is_silent(&self.config_read(0, 4))
    }

    fn reset(&self) -> Result<bool> {
        if self.can_reset {
            uapi::device_reset(&self.file).map_err(|e| Error::io(format!("{}: resetting it", self.name), e))?;
        }
        Ok(self.can_reset)
    }
}

impl Drop for Vfio {
    fn drop(&mut self) {
        // A card that is gone cannot be told anything, and needs not be.
        let _ = (self as &dyn Function).set_bus_master(false);
        let _ = self.set_irqs(&[]);
    }
}

/// The parts of a region that can be mapped by a kernel of `page` bytes a page: page by page, in order, none twice.
fn mappable(info: &RegionInfo, page: u64) -> Vec<(u64, u64)> {
    if info.flags & uapi::REGION_MMAP == 0 {
        return Vec::new();
    }
    let mut areas = info.areas.clone().unwrap_or_else(|| vec![(0, info.size)]);
    areas.sort_unstable();
    let mut end = 0;
    areas.retain(|&(offset, len)| {
        let inside = len > 0 && offset.is_multiple_of(page) && offset >= end && len <= info.size.saturating_sub(offset);
        if inside {
            end = offset + len;
        }
        inside
    });
    areas
}

/// A region of which only parts can be mapped, because the kernel keeps the
/// MSI-X table to itself or the program that serves the device must see each access:
/// the rest is read and written through the device's file.
struct Patchwork {
    rest: Ports,
    parts: Vec<(u64, u64, Bar)>,
}

impl Patchwork {
    /// The mapped part that `offset` is in, and where in it.
    fn part(&self, offset: u64) -> Option<(&Bar, u64)> {
        let inside = |&&(start, len, _): &&(u64, u64, Bar)| offset >= start && offset - start < len;
        self.parts.iter().find(inside).map(|(start, _, bar)| (bar, offset - start))
    }
}

impl Registers for Patchwork {
    fn read(&self, offset: u64, size: u8) -> u64 {
        match (self.part(offset), size) {
            (Some((bar, at)), 1) => u64::from(bar.read8(at)),
            (Some((bar, at)), 2) => u64::from(bar.read16(at)),
            (Some((bar, at)), 4) => u64::from(bar.read32(at)),
            _ => self.rest.read(offset, size),
        }
    }

    fn write(&self, offset: u64, size: u8, value: u64) {
        match (self.part(offset), size) {
            (Some((bar, at)), 1) => bar.write8(at, value as u8),
            (Some((bar, at)), 2) => bar.write16(at, value as u16),
            (Some((bar, at)), 4) => bar.write32(at, value as u32),
            _ => self.rest.write(offset, size, value),
        }
    }

    fn doorbell(&self, offset: u64) -> Option<Doorbell> {
        let (bar, at) = self.part(offset)?;
        bar.doorbell(at).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn region(size: u64, areas: Option<Vec<(u64, u64)>>) -> RegionInfo {
        RegionInfo { flags: uapi::REGION_MMAP, size, offset: 0, areas }
    }

    #[test]
    fn only_whole_pages_inside_a_region_are_mapped() {
        assert_eq!(mappable(&region(0x8000, None), 0x1000), [(0, 0x8000)]);
        assert_eq!(mappable(&RegionInfo { flags: 0, ..region(0x8000, None) }, 0x1000), []);
        let odd = vec![
            (0x4000, 0x1000),
            (0, 0x2000),
            (0x1000, 0x1000),
            (0x5100, 0x100),
            (0x7000, 0x2000),
            (0x6000, 0),
            (u64::MAX, 1),
        ];
        assert_eq!(mappable(&region(0x8000, Some(odd)), 0x1000), [(0, 0x2000), (0x4000, 0x1000)]);
    }

    #[test]
    fn pages_are_those_of_the_kernel_and_not_always_of_4_kib() {
        let areas = vec![(0, 0x1000), (0x4000, 0x8000), (0x1_0000, 0x1_0000), (0x2_4000, 0x1_c000)];
        let mapped = |page| mappable(&region(0x4_0000, Some(areas.clone())), page);
        assert_eq!(mapped(0x4000), areas);
        assert_eq!(mapped(0x1_0000), [(0, 0x1000), (0x1_0000, 0x1_0000)], "no other begins with a page");
    }

    #[test]
    fn registers_outside_the_mapped_parts_go_through_the_file() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        file.set_len(0x3000).unwrap();
        let part = Bar::Mapped(Mapped::of_file(&file, 0x2000, 0x1000, &Lost::new().unwrap()).unwrap());
        let patchwork =
            Patchwork { rest: Ports { file: Arc::clone(&file), start: 0x1000 }, parts: vec![(0x1000, 0x1000, part)] };
        let bar = Bar::Served(Arc::new(patchwork), 0x2000);
        bar.write32(0x10, 0x1122_3344);
        bar.write32(0x1010, 0x5566_7788);
        let mut word = [0; 4];
        file.read_exact_at(&mut word, 0x1010).unwrap();
        assert_eq!(u32::from_le_bytes(word), 0x1122_3344);
        file.read_exact_at(&mut word, 0x2010).unwrap();
        assert_eq!(u32::from_le_bytes(word), 0x5566_7788, "mapped and file are one");
        assert_eq!((bar.read16(0x12), bar.read8(0x1013)), (0x1122, 0x55));
        assert_eq!(bar.read32(0x2000), u32::MAX, "past the end of the file: gone");
        assert!(bar.doorbell(0x10).is_err());
        bar.doorbell(0x1020).unwrap().ring(9);
        assert_eq!(bar.read32(0x1020), 9);
    }
}
