//! Memory of this process: pages, files of it, and where it lies.

use super::check;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::OnceLock;

/// Bytes in a page of this kernel: 4 KiB on x86-64; 4, 16 or 64 KiB on ARM64.
#[inline]
pub fn page_size() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    // SAFETY: takes no pointer.
    let ask = || usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    *BYTES.get_or_init(ask)
}

/// Whether `len` bytes more can be mapped now. None stay so.
///
/// # Errors
/// Why not.
pub fn has_room_for(len: usize) -> io::Result<()> {
    memmap2::MmapMut::map_anon(len).map(drop)
}

/// A file of `len` zeroes that is memory and has no name.
pub fn memory_file(len: u64) -> io::Result<File> {
    // SAFETY: the name is a string that lives through the call.
    let fd = check(unsafe { libc::memfd_create(c"bmnic".as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: a fresh descriptor that nothing else owns.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.set_len(len)?;
    Ok(file)
}

/// A file of `len` zeroes that is memory, has no name and can be sealed; of huge pages
/// of 2 MiB if asked for, in multiples of which `len` must be then.
pub fn sealable_memory(len: u64, huge: bool) -> io::Result<File> {
    let pages = if huge { libc::MFD_HUGETLB | libc::MFD_HUGE_2MB } else { 0 };
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | pages;
    // SAFETY: the name is a string that lives through the call.
    let fd = check(unsafe { libc::memfd_create(c"bmnic-ring".as_ptr(), flags) })?;
    // SAFETY: a fresh descriptor that nothing else owns.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.set_len(len)?;
    Ok(file)
}

/// Has such memory keep its size, and be written only through mappings that are there
/// (`F_SEAL_FUTURE_WRITE`, Linux 5.1).
pub fn seal(file: &File) -> io::Result<()> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SEAL;
    // SAFETY: the descriptor is open; no memory is involved.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(drop)
}

/// Whether a file is memory that will never shrink, and of which no page can be taken away.
pub fn is_sealed(file: &File) -> bool {
    let wanted = libc::F_SEAL_SHRINK | libc::F_SEAL_FUTURE_WRITE;
    // SAFETY: the descriptor is open; no memory is involved.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & wanted == wanted
}

/// Another open of the same file, for reading only.
pub fn reopen(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Maps `len` bytes of a file from `offset`, shared, for reading and writing.
/// The caller makes sure that nobody uses them any more.
pub fn map_shared(file: &File, offset: u64, len: usize) -> io::Result<NonNull<u8>> {
    let offset = libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh mapping; no existing memory is affected.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), offset) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

/// Physical address behind a page of this process's memory, from an open
/// `/proc/self/pagemap` (Linux, admin-guide/mm/pagemap: bit 63 present, bits
/// 54:0 frame number, which reads as zero without `CAP_SYS_ADMIN`). None if the
/// page is not there or the kernel hides it.
pub fn physical_address(pagemap: &File, address: usize) -> io::Result<Option<u64>> {
    let page = page_size();
    let mut entry = [0; 8];
    pagemap.read_exact_at(&mut entry, (address / page) as u64 * 8)?;
    let entry = u64::from_ne_bytes(entry);
    let frame = entry & ((1 << 55) - 1);
    Ok((entry >> 63 != 0 && frame != 0).then_some(frame * page as u64))
}

/// Words of a set of NUMA nodes: 1024 of them, more than any kernel has.
const NODE_WORDS: usize = 1024 / u64::BITS as usize;

/// Has the pages of a mapping that are not there yet come from `node`, if that has any left
/// (Linux, mbind(2), `MPOL_PREFERRED`).
pub fn prefer_node(base: NonNull<u8>, len: usize, node: u16) -> io::Result<()> {
    let mut nodes = [0_u64; NODE_WORDS];
    let word = nodes.get_mut(usize::from(node) / 64).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    *word = 1 << (node % 64);
    // The kernel looks at one bit less than it is told.
    let bits = NODE_WORDS * 64 + 1;
    // SAFETY: the set is readable, of the bits that are passed; a policy changes no contents.
    let done =
        unsafe { libc::syscall(libc::SYS_mbind, base.as_ptr(), len, libc::MPOL_PREFERRED, nodes.as_ptr(), bits, 0) };
    check(done as i32).map(drop)
}

/// The node that the page at `base` is to come from, if one is preferred.
#[cfg(test)]
pub fn preferred_node(base: NonNull<u8>) -> io::Result<Option<u16>> {
    // `MPOL_F_ADDR` of Linux, mempolicy.h.
    const OF_ADDRESS: libc::c_int = 1 << 1;
    let (mut mode, mut nodes) = (0_i32, [0_u64; NODE_WORDS]);
    // SAFETY: mode and set are writable, of the bits that are passed.
    let done = unsafe {
        let (mode, nodes) = (&raw mut mode, nodes.as_mut_ptr());
        libc::syscall(libc::SYS_get_mempolicy, mode, nodes, NODE_WORDS * 64, base.as_ptr(), OF_ADDRESS)
    };
    check(done as i32)?;
    let first = nodes.iter().position(|&word| word != 0).map(|at| at as u32 * 64 + nodes[at].trailing_zeros());
    Ok(first.filter(|_| mode == libc::MPOL_PREFERRED).map(|node| node as u16))
}

/// Whether this kernel, and what filters system calls, tells of nodes; says so if not.
#[cfg(test)]
pub fn tells_nodes() -> bool {
    let there = 0_u64;
    match preferred_node(NonNull::from(&there).cast()) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
            println!("SKIPPED  the node that memory is of: get_mempolicy: {e}");
            false
        }
        _ => true,
    }
}

/// Has a page be there for each byte of a mapping, without touching any that cannot be had
/// (Linux 5.14, `MADV_POPULATE_WRITE`).
///
/// # Errors
/// `EINVAL` from a kernel that does not know how; nothing was done then.
pub fn populate(base: NonNull<u8>, len: usize) -> io::Result<()> {
    // SAFETY: the caller's mapping; no byte of it is changed.
    check(unsafe { libc::madvise(base.as_ptr().cast(), len, libc::MADV_POPULATE_WRITE) }).map(drop)
}
