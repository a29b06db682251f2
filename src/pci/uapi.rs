//! The kernel's VFIO and IOMMUFD calls, one thin wrapper each.
//!
//! Numbers and layouts are those of Linux `include/uapi/linux/vfio.h` and
//! `iommufd.h`; tests hold every size and number against them. A wrapper fills
//! in sizes and flags, makes one ioctl and returns what the kernel returned:
//! what a failure means is for [`super::vfio`] to say.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// `_IO(';', number)`: neither API encodes size or direction in its numbers.
const fn request(number: u64) -> u64 {
    (b';' as u64) << 8 | number
}

const GET_API_VERSION: u64 = request(100);
const CHECK_EXTENSION: u64 = request(101);
const SET_IOMMU: u64 = request(102);
const GROUP_GET_STATUS: u64 = request(103);
const GROUP_SET_CONTAINER: u64 = request(104);
const GROUP_GET_DEVICE_FD: u64 = request(106);
const DEVICE_GET_INFO: u64 = request(107);
const DEVICE_GET_REGION_INFO: u64 = request(108);
const DEVICE_GET_IRQ_INFO: u64 = request(109);
const DEVICE_SET_IRQS: u64 = request(110);
const DEVICE_RESET: u64 = request(111);
const IOMMU_GET_INFO: u64 = request(112);
const IOMMU_MAP_DMA: u64 = request(113);
const IOMMU_UNMAP_DMA: u64 = request(114);
const DEVICE_BIND_IOMMUFD: u64 = request(118);
const DEVICE_ATTACH_IOMMUFD_PT: u64 = request(119);
const IOAS_ALLOC: u64 = request(0x81);
const IOAS_IOVA_RANGES: u64 = request(0x84);
const IOAS_MAP: u64 = request(0x85);
const IOAS_UNMAP: u64 = request(0x86);

/// The one version of the container API there has been.
pub(super) const API_VERSION: i32 = 0;
/// IOMMU model of a container: page tables, exact unmapping.
pub(super) const TYPE1V2_IOMMU: u32 = 3;
/// IOMMU model of a container without one.
pub(super) const NOIOMMU_IOMMU: u32 = 8;

/// A region that can be mapped into this process.
pub(super) const REGION_MMAP: u32 = 1 << 2;
const INFO_CAPS: u32 = 1 << 3;
const REGION_CAP_SPARSE_MMAP: u16 = 1;
/// Region index of configuration space; 0 to 5 are the BARs.
pub(super) const CONFIG_REGION: u32 = 7;

/// Interrupt index of MSI-X; INTx is 0, MSI 1.
pub(super) const MSIX_IRQ: u32 = 2;
/// Interrupt index of errors that PCIe reports and that are not corrected (AER).
pub(super) const ERR_IRQ: u32 = 3;
/// Interrupt index of the kernel's request to close the device.
pub(super) const REQ_IRQ: u32 = 4;
const IRQ_DATA_NONE: u32 = 1 << 0;
const IRQ_DATA_EVENTFD: u32 = 1 << 2;
const IRQ_ACTION_TRIGGER: u32 = 1 << 5;

/// `DeviceInfo::flags`: the function can be reset.
pub(super) const DEVICE_CAN_RESET: u32 = 1 << 0;

const IOMMU_INFO_CAPS: u32 = 1 << 1;
const IOMMU_CAP_IOVA_RANGE: u16 = 1;
const MAP_READ_WRITE: u32 = 1 << 0 | 1 << 1;
const IOAS_MAP_FIXED_READ_WRITE: u32 = 1 << 0 | 1 << 1 | 1 << 2;

#[repr(C)]
#[derive(Default)]
pub(super) struct GroupStatus {
    argsz: u32,
    flags: u32,
}

impl GroupStatus {
    /// Whether every member of the group is with VFIO or without a driver.
    pub(super) fn viable(&self) -> bool {
        self.flags & 1 != 0
    }
}

#[repr(C)]
#[derive(Default)]
pub(super) struct DeviceInfo {
    argsz: u32,
    pub(super) flags: u32,
    num_regions: u32,
    num_irqs: u32,
    cap_offset: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RegionHead {
    argsz: u32,
    flags: u32,
    index: u32,
    cap_offset: u32,
    size: u64,
    offset: u64,
}

/// A BAR or configuration space, as a range of the device file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RegionInfo {
    pub(super) flags: u32,
    pub(super) size: u64,
    /// Where it begins in the device file.
    pub(super) offset: u64,
    /// The parts (offset in the region, size) that can be mapped; none means all of it.
    pub(super) areas: Option<Vec<(u64, u64)>>,
}

#[repr(C)]
#[derive(Default)]
struct IrqInfo {
    argsz: u32,
    flags: u32,
    index: u32,
    count: u32,
}

/// Header of `vfio_irq_set`; eventfds follow as 32-bit words.
const IRQ_SET_WORDS: usize = 5;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct IommuInfoHead {
    argsz: u32,
    flags: u32,
    iova_pgsizes: u64,
    cap_offset: u32,
    pad: u32,
}

#[repr(C)]
struct DmaMap {
    argsz: u32,
    flags: u32,
    vaddr: u64,
    iova: u64,
    size: u64,
}

#[repr(C)]
struct DmaUnmap {
    argsz: u32,
    flags: u32,
    iova: u64,
    size: u64,
}

#[repr(C)]
struct BindIommufd {
    argsz: u32,
    flags: u32,
    iommufd: i32,
    out_devid: u32,
}

#[repr(C)]
struct AttachIommufdPt {
    argsz: u32,
    flags: u32,
    pt_id: u32,
}

#[repr(C)]
struct IoasAlloc {
    size: u32,
    flags: u32,
    out_ioas_id: u32,
}

#[repr(C)]
struct IoasIovaRanges {
    size: u32,
    ioas_id: u32,
    num_iovas: u32,
    reserved: u32,
    allowed_iovas: u64,
    out_iova_alignment: u64,
}

#[repr(C)]
struct IoasMap {
    size: u32,
    flags: u32,
    ioas_id: u32,
    reserved: u32,
    user_va: u64,
    length: u64,
    iova: u64,
}

#[repr(C)]
struct IoasUnmap {
    size: u32,
    ioas_id: u32,
    iova: u64,
    length: u64,
}

/// A range of IOVAs, both ends included.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) last: u64,
}

/// # Safety
/// `argument` must be what `number` expects: a value, or a pointer to the
/// structure of that call with its size in the first word.
unsafe fn ioctl(file: &File, number: u64, argument: usize) -> io::Result<i32> {
    // SAFETY: passed on to the caller; the descriptor is open.
    match unsafe { libc::ioctl(file.as_raw_fd(), number as _, argument) } {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// # Safety
/// `T` must be the structure of `number`, its size in its first word.
unsafe fn ioctl_on<T>(file: &File, number: u64, argument: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes at most the size in the first word,
    // which the caller vouches for.
    unsafe { ioctl(file, number, std::ptr::from_mut(argument) as usize) }
}

const fn size_of_u32<T>() -> u32 {
    size_of::<T>() as u32
}

/// Version of a container's API.
pub(super) fn api_version(container: &File) -> io::Result<i32> {
    // SAFETY: takes no argument.
    unsafe { ioctl(container, GET_API_VERSION, 0) }
}

/// Whether a container knows an IOMMU model.
pub(super) fn has_extension(container: &File, model: u32) -> io::Result<bool> {
    // SAFETY: takes a number.
    Ok(unsafe { ioctl(container, CHECK_EXTENSION, model as usize) }? > 0)
}

/// Chooses a container's IOMMU model; it must have a group by then.
pub(super) fn set_iommu(container: &File, model: u32) -> io::Result<()> {
    // SAFETY: takes a number.
    unsafe { ioctl(container, SET_IOMMU, model as usize) }.map(drop)
}

/// Whether a group can be used.
pub(super) fn group_status(group: &File) -> io::Result<GroupStatus> {
    let mut status = GroupStatus { argsz: size_of_u32::<GroupStatus>(), flags: 0 };
    // SAFETY: the structure of this call.
    unsafe { ioctl_on(group, GROUP_GET_STATUS, &mut status) }?;
    Ok(status)
}

/// Puts a group into a container.
pub(super) fn group_set_container(group: &File, container: &File) -> io::Result<()> {
    let mut fd = container.as_raw_fd();
    // SAFETY: takes a pointer to a descriptor.
    unsafe { ioctl_on(group, GROUP_SET_CONTAINER, &mut fd) }.map(drop)
}

/// Opens the member of a group that is named by its PCI address.
pub(super) fn group_device(group: &File, name: &str) -> io::Result<File> {
    let name = CString::new(name)?;
    // SAFETY: takes a pointer to a string that ends in zero.
    let fd = unsafe { ioctl(group, GROUP_GET_DEVICE_FD, name.as_ptr() as usize) }?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// What a device is capable of.
pub(super) fn device_info(device: &File) -> io::Result<DeviceInfo> {
    let mut info = DeviceInfo { argsz: size_of_u32::<DeviceInfo>(), ..Default::default() };
    // SAFETY: the structure of this call.
    unsafe { ioctl_on(device, DEVICE_GET_INFO, &mut info) }?;
    Ok(info)
}

/// Where a region is and how it may be reached.
pub(super) fn region_info(device: &File, index: u32) -> io::Result<RegionInfo> {
    let mut head = RegionHead { argsz: size_of_u32::<RegionHead>(), index, ..Default::default() };
    // SAFETY: the structure of this call.
    unsafe { ioctl_on(device, DEVICE_GET_REGION_INFO, &mut head) }?;
    let mut info = RegionInfo { flags: head.flags, size: head.size, offset: head.offset, areas: None };
    if head.flags & INFO_CAPS != 0 && head.argsz > size_of_u32::<RegionHead>() {
        // Ask again with room for the capabilities, which follow the head.
        let mut buffer = Buffer::new(head.argsz)?;
        buffer.words[2] = index;
        // SAFETY: the structure of this call; the buffer has the bytes its first word says.
        unsafe { buffer.ioctl(device, DEVICE_GET_REGION_INFO) }?;
        let bytes = buffer.bytes();
        info.areas = sparse_areas(&bytes, word32(&bytes, 12).unwrap_or(0));
    }
    Ok(info)
}

/// How many interrupts an index has.
pub(super) fn irq_count(device: &File, index: u32) -> io::Result<u32> {
    let mut info = IrqInfo { argsz: size_of_u32::<IrqInfo>(), index, ..Default::default() };
    // SAFETY: the structure of this call.
    unsafe { ioctl_on(device, DEVICE_GET_IRQ_INFO, &mut info) }?;
    Ok(info.count)
}

/// Signals `eventfds[i]` for interrupt `i` of `index`; none turns the index off.
pub(super) fn set_irqs(device: &File, index: u32, eventfds: &[RawFd]) -> io::Result<()> {
    let data = if eventfds.is_empty() { IRQ_DATA_NONE } else { IRQ_DATA_EVENTFD };
    let size = (IRQ_SET_WORDS + eventfds.len()) * 4;
    let mut set = vec![size as u32, data | IRQ_ACTION_TRIGGER, index, 0, eventfds.len() as u32];
    set.extend(eventfds.iter().map(|&fd| fd as u32));
    // SAFETY: the structure of this call; the vector holds the bytes its first word says.
    unsafe { ioctl(device, DEVICE_SET_IRQS, set.as_mut_ptr() as usize) }.map(drop)
}

/// Resets a device.
pub(super) fn device_reset(device: &File) -> io::Result<()> {
    // SAFETY: takes no argument.
    unsafe { ioctl(device, DEVICE_RESET, 0) }.map(drop)
}

/// The IOVAs a container can map, if the kernel says (since Linux 5.4).
pub(super) fn container_windows(container: &File) -> io::Result<Option<Vec<Window>>> {
    let mut head = IommuInfoHead { argsz: size_of_u32::<IommuInfoHead>(), ..Default::default() };
    // SAFETY: the structure of this call.
    unsafe { ioctl_on(container, IOMMU_GET_INFO, &mut head) }?;
    if head.flags & IOMMU_INFO_CAPS == 0 || head.argsz <= size_of_u32::<IommuInfoHead>() {
        return Ok(None);
    }
    let mut buffer = Buffer::new(head.argsz)?;
    // SAFETY: the structure of this call; the buffer has the bytes its first word says.
    unsafe { buffer.ioctl(container, IOMMU_GET_INFO) }?;
    let bytes = buffer.bytes();
    Ok(iova_windows(&bytes, word32(&bytes, 16).unwrap_or(0)))
}

/// Lets the devices of a container reach memory.
///
/// # Safety
/// The `len` bytes at `vaddr` must be memory that devices may write, until they
/// are unmapped again.
pub(super) unsafe fn container_map(container: &File, vaddr: u64, iova: u64, len: u64) -> io::Result<()> {
    let mut map = DmaMap { argsz: size_of_u32::<DmaMap>(), flags: MAP_READ_WRITE, vaddr, iova, size: len };
    // SAFETY: the structure of this call; the memory is the caller's promise.
    unsafe { ioctl_on(container, IOMMU_MAP_DMA, &mut map) }.map(drop)
}

/// Takes memory away from the devices of a container.
pub(super) fn container_unmap(container: &File, iova: u64, len: u64) -> io::Result<()> {
    let mut unmap = DmaUnmap { argsz: size_of_u32::<DmaUnmap>(), flags: 0, iova, size: len };
    // SAFETY: the structure of this call.
    unsafe { ioctl_on(container, IOMMU_UNMAP_DMA, &mut unmap) }.map(drop)
}

/// Claims a device that was opened by its own file for `iommufd`.
pub(super) fn device_bind(device: &File, iommufd: &File) -> io::Result<()> {
    let iommufd = iommufd.as_raw_fd();
    let mut bind = BindIommufd { argsz: size_of_u32::<BindIommufd>(), flags: 0, iommufd, out_devid: 0 };
    // SAFETY: the structure of this call.
    unsafe { ioctl_on(device, DEVICE_BIND_IOMMUFD, &mut bind) }.map(drop)
}

/// Puts a claimed device behind an address space.
pub(super) fn device_attach(device: &File, ioas: u32) -> io::Result<()> {
    let mut attach = AttachIommufdPt { argsz: size_of_u32::<AttachIommufdPt>(), flags: 0, pt_id: ioas };
    // SAFETY: the structure of this call.
    unsafe { ioctl_on(device, DEVICE_ATTACH_IOMMUFD_PT, &mut attach) }.map(drop)
}

/// Makes an empty address space.
pub(super) fn ioas_alloc(iommufd: &File) -> io::Result<u32> {
    let mut alloc = IoasAlloc { size: size_of_u32::<IoasAlloc>(), flags: 0, out_ioas_id: 0 };
    // SAFETY: the structure of this call.
    unsafe { ioctl_on(iommufd, IOAS_ALLOC, &mut alloc) }?;
    Ok(alloc.out_ioas_id)
}

/// The IOVAs an address space can map, given the devices behind it.
pub(super) fn ioas_windows(iommufd: &File, ioas: u32) -> io::Result<Vec<Window>> {
    let mut windows = vec![Window::default(); 64];
    let mut query = IoasIovaRanges {
        size: size_of_u32::<IoasIovaRanges>(),
        ioas_id: ioas,
        num_iovas: windows.len() as u32,
        reserved: 0,
        allowed_iovas: windows.as_mut_ptr() as u64,
        out_iova_alignment: 0,
    };
    // SAFETY: the structure of this call; the array has num_iovas entries.
    unsafe { ioctl_on(iommufd, IOAS_IOVA_RANGES, &mut query) }?;
    windows.truncate(query.num_iovas as usize);
    Ok(windows)
}

/// Lets the devices behind an address space reach memory.
///
/// # Safety
/// As [`container_map`].
pub(super) unsafe fn ioas_map(iommufd: &File, ioas: u32, vaddr: u64, iova: u64, len: u64) -> io::Result<()> {
    let mut map = IoasMap {
        size: size_of_u32::<IoasMap>(),
        flags: IOAS_MAP_FIXED_READ_WRITE,
        ioas_id: ioas,
        reserved: 0,
        user_va: vaddr,
        length: len,
        iova,
    };
    // SAFETY: the structure of this call; the memory is the caller's promise.
    unsafe { ioctl_on(iommufd, IOAS_MAP, &mut map) }.map(drop)
}

/// Takes memory away from the devices behind an address space.
pub(super) fn ioas_unmap(iommufd: &File, ioas: u32, iova: u64, len: u64) -> io::Result<()> {
    let mut unmap = IoasUnmap { size: size_of_u32::<IoasUnmap>(), ioas_id: ioas, iova, length: len };
    // SAFETY: the structure of this call.
    unsafe { ioctl_on(iommufd, IOAS_UNMAP, &mut unmap) }.map(drop)
}

/// Room for a structure with capabilities behind it.
struct Buffer {
    words: Vec<u32>,
}

impl Buffer {
    fn new(argsz: u32) -> io::Result<Self> {
        // Many times what any kernel has wanted.
        if argsz > 1 << 16 {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        let mut words = vec![0; (argsz as usize).div_ceil(4)];
        words[0] = argsz;
        Ok(Buffer { words })
    }

    /// # Safety
    /// The structure of `number` must begin with its size.
    unsafe fn ioctl(&mut self, file: &File, number: u64) -> io::Result<i32> {
        // SAFETY: the buffer has at least the bytes its first word says.
        unsafe { ioctl(file, number, self.words.as_mut_ptr() as usize) }
    }

    fn bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn word64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The capability `id` in a chain of {id: u16, version: u16, next: u32, ...}
/// whose offsets count from the beginning of the structure.
fn capability(bytes: &[u8], first: u32, id: u16) -> Option<usize> {
    let mut at = first as usize;
    // A chain cannot be longer than the structure, so a loop in it ends here.
    for _ in 0..bytes.len() / 8 {
        if at == 0 {
            return None;
        }
        if word32(bytes, at)? as u16 == id {
            return Some(at);
        }
        at = word32(bytes, at + 4)? as usize;
    }
    None
}

/// The (a, b) pairs of 64-bit words after {header, count, reserved} of a capability.
fn pairs(bytes: &[u8], at: usize) -> Option<Vec<(u64, u64)>> {
    let count = word32(bytes, at + 8)? as usize;
    let entry = |i: usize| Some((word64(bytes, at + 16 + i * 16)?, word64(bytes, at + 24 + i * 16)?));
    // What is not all there is not there.
    (0..count.min(bytes.len() / 16 + 1)).map(entry).collect()
}

fn sparse_areas(bytes: &[u8], first: u32) -> Option<Vec<(u64, u64)>> {
    pairs(bytes, capability(bytes, first, REGION_CAP_SPARSE_MMAP)?)
}

fn iova_windows(bytes: &[u8], first: u32) -> Option<Vec<Window>> {
    let ranges = pairs(bytes, capability(bytes, first, IOMMU_CAP_IOVA_RANGE)?)?;
    Some(ranges.into_iter().map(|(start, last)| Window { start, last }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        assert_eq!(size_of::<GroupStatus>(), 8);
        assert_eq!(size_of::<DeviceInfo>(), 24);
        assert_eq!(size_of::<RegionHead>(), 32);
        assert_eq!(size_of::<IrqInfo>(), 16);
        assert_eq!(IRQ_SET_WORDS * 4, 20);
        assert_eq!(size_of::<IommuInfoHead>(), 24);
        assert_eq!(std::mem::offset_of!(IommuInfoHead, cap_offset), 16);
        assert_eq!(size_of::<DmaMap>(), 32);
        assert_eq!(size_of::<DmaUnmap>(), 24);
        assert_eq!(size_of::<BindIommufd>(), 16);
        assert_eq!(size_of::<AttachIommufdPt>(), 12);
        assert_eq!(size_of::<IoasAlloc>(), 12);
        assert_eq!(size_of::<IoasIovaRanges>(), 32);
        assert_eq!(size_of::<IoasMap>(), 40);
        assert_eq!(size_of::<IoasUnmap>(), 24);
        assert_eq!(size_of::<Window>(), 16);
    }

    #[test]
    fn requests_have_the_numbers_of_the_kernel() {
        assert_eq!(GET_API_VERSION, 0x3b64);
        assert_eq!(DEVICE_RESET, 0x3b6f);
        assert_eq!(IOMMU_UNMAP_DMA, 0x3b72);
        assert_eq!(DEVICE_ATTACH_IOMMUFD_PT, 0x3b77);
        assert_eq!(IOAS_UNMAP, 0x3b86);
    }

    #[test]
    fn a_file_that_is_not_vfio_says_so_for_every_call() {
        let file = tempfile::tempfile().unwrap();
        let errno = |result: io::Result<()>| result.unwrap_err().raw_os_error();
        assert_eq!(errno(api_version(&file).map(drop)), Some(libc::ENOTTY));
        assert_eq!(errno(group_status(&file).map(drop)), Some(libc::ENOTTY));
        assert_eq!(errno(region_info(&file, 0).map(drop)), Some(libc::ENOTTY));
        assert_eq!(errno(set_irqs(&file, MSIX_IRQ, &[1, 2])), Some(libc::ENOTTY));
        assert_eq!(errno(ioas_alloc(&file).map(drop)), Some(libc::ENOTTY));
        assert_eq!(errno(ioas_windows(&file, 1).map(drop)), Some(libc::ENOTTY));
    }

    /// A region's structure: 32 bytes of head, an unknown capability, then the
    /// sparse one with two areas.
    fn with_sparse_areas() -> Vec<u8> {
        let mut bytes = vec![0; 32];
        let mut put = |words: &[u32]| words.iter().for_each(|w| bytes.extend(w.to_ne_bytes()));
        put(&[1 << 16 | 3, 40]);
        put(&[1 << 16 | 1, 0, 2, 0]);
        put(&[0, 0, 0x2000, 0]);
        put(&[0x3000, 0, 0x1000, 0]);
        bytes
    }

    #[test]
    fn sparse_areas_are_read_from_the_chain() {
        let bytes = with_sparse_areas();
        assert_eq!(sparse_areas(&bytes, 32), Some(vec![(0, 0x2000), (0x3000, 0x1000)]));
        assert_eq!(sparse_areas(&bytes, 0), None, "no chain");
        assert_eq!(sparse_areas(&bytes[..bytes.len() - 1], 32), None, "cut short");
    }

    #[test]
    fn a_chain_that_loops_ends() {
        let mut bytes = with_sparse_areas();
        bytes[36..40].copy_from_slice(&32u32.to_ne_bytes());
        assert_eq!(sparse_areas(&bytes, 32), None);
    }

    proptest! {
        #[test]
        fn nonsense_in_a_chain_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..256), first: u32) {
            let _ = sparse_areas(&bytes, first % 300);
            let _ = iova_windows(&bytes, first);
        }
    }
}
