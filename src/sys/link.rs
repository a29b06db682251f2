//! What the kernel says of an interface (rtnetlink(7), `RTM_GETLINK`; linux/if_link.h), and a
//! socket that can be read once it is gone.
//!
//! An interface is asked for by its number, which it keeps when it is renamed, and in the
//! network namespace in which the socket was opened.

use super::check;
use super::net::request;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// An interface as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// What it is called now.
    pub name: String,
    /// What else it is called (`ip link property add altname`).
    pub altnames: Vec<String>,
    /// `IFF_UP`, `IFF_RUNNING`, `IFF_LOOPBACK` and others.
    pub flags: u32,
    /// `ARPHRD_ETHER` or another.
    pub hardware: u16,
    /// Bytes of the longest packet, without the Ethernet header.
    pub mtu: u32,
    /// Its address, zeroes if it has none of six bytes.
    pub mac: [u8; 6],
    /// Frames that it was to send and dropped, those of all programs.
    pub tx_dropped: u64,
    /// Receive queues.
    pub rx_queues: u32,
    /// Transmit queues.
    pub tx_queues: u32,
    /// The XDP program that it has, if any.
    pub xdp_program: Option<u32>,
}

impl Link {
    /// Whether somebody has it up.
    pub fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }

    /// Whether it is up and has carrier.
    pub fn is_running(&self) -> bool {
        self.is_up() && self.flags & libc::IFF_RUNNING as u32 != 0
    }

    /// Whether what it sends comes back to it.
    pub fn is_loopback(&self) -> bool {
        self.flags & libc::IFF_LOOPBACK as u32 != 0
    }

    /// Whether its frames are those of Ethernet; a loopback interface's look like them.
    pub fn is_ethernet(&self) -> bool {
        matches!(self.hardware, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK)
    }
}

/// A socket that asks the kernel for interfaces of one namespace.
#[derive(Debug)]
pub struct LinkSocket {
    socket: OwnedFd,
    /// One question at a time.
    asking: Mutex<Vec<u8>>,
}

/// Bytes of an answer, more than any interface takes.
const ANSWER: usize = 64 << 10;

/// Bytes of `struct nlmsghdr` and of `struct ifinfomsg`.
const HEAD: usize = 16;
const INFO: usize = 16;

/// The attributes of other names, and how long one may be with the zero at its end
/// (linux/if_link.h, linux/if.h: `ALTIFNAMSIZ`).
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;
const ALTNAME: usize = 128;

impl LinkSocket {
    /// Opens one in this thread's namespace.
    pub fn open() -> io::Result<Self> {
        Ok(LinkSocket { socket: netlink(0)?, asking: Mutex::new(vec![0; ANSWER]) })
    }

    /// Interface number `index`.
    ///
    /// # Errors
    /// `ENODEV` if there is none.
    pub fn ask(&self, index: u32) -> io::Result<Link> {
        self.answer(index, &[])
    }

    /// The interface that is called so, by its name or by one of its others (Linux 5.5).
    ///
    /// # Errors
    /// `ENODEV` if there is none.
    pub fn called(&self, name: &str) -> io::Result<Link> {
        let len = 4 + name.len() + 1;
        if name.is_empty() || name.len() >= ALTNAME || name.contains('\0') {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        let mut attribute = vec![0; len.next_multiple_of(4)];
        attribute[0..2].copy_from_slice(&(len as u16).to_ne_bytes());
        attribute[2..4].copy_from_slice(&IFLA_ALT_IFNAME.to_ne_bytes());
        attribute[4..4 + name.len()].copy_from_slice(name.as_bytes());
        self.answer(0, &attribute)
    }

    /// The answer to a question about interface number `index`, or about that of an attribute.
    fn answer(&self, index: u32, attribute: &[u8]) -> io::Result<Link> {
        let mut answer = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut question = vec![0; HEAD + INFO];
        question.extend(attribute);
        let len = question.len() as u32;
        question[0..4].copy_from_slice(&len.to_ne_bytes());
        question[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
        question[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
        question[20..24].copy_from_slice(&index.to_ne_bytes());
        let fd = self.socket.as_raw_fd();
        // SAFETY: the question is readable for its length.
        check(unsafe { libc::send(fd, question.as_ptr().cast(), question.len(), 0) as i32 })?;
        // SAFETY: the answer is writable for its length.
        let len = check(unsafe { libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0) as i32 })?;
        let message = answer.get(..len as usize).unwrap_or_default();
        let word = |at: usize| half(message, at).unwrap_or(0);
        if i32::from(word(4)) == libc::NLMSG_ERROR {
            let code =
                message.get(HEAD..HEAD + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
            return Err(io::Error::from_raw_os_error(-code));
        }
        parse(message).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Bits a second of the interface of this name, if its driver says so
    /// (linux/ethtool.h, `ETHTOOL_GSET`).
    pub fn speed(&self, name: &str) -> Option<u64> {
        const SIOCETHTOOL: libc::c_ulong = 0x8946;
        const ETHTOOL_GSET: u32 = 1;
        /// Bytes of `struct ethtool_cmd`, and where the halves of the speed are in it.
        const COMMAND: usize = 44;
        const LOW: usize = 12;
        const HIGH: usize = 28;
        // SAFETY: takes integers only.
        let fd = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }).ok()?;
        // SAFETY: a new descriptor that nobody else has.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut command = [0_u32; COMMAND / 4];
        command[0] = ETHTOOL_GSET;
        let mut request = request(name).ok()?;
        request.ifr_ifru.ifru_data = command.as_mut_ptr().cast();
        // SAFETY: SIOCETHTOOL reads an ifreq and writes the command that it leads to.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &request) }).ok()?;
        let mut bytes = [0; COMMAND];
        bytes.chunks_exact_mut(4).zip(command).for_each(|(to, word)| to.copy_from_slice(&word.to_ne_bytes()));
        let megabits = u32::from(half(&bytes, HIGH)?) << 16 | u32::from(half(&bytes, LOW)?);
        // "Unknown" is all ones, in 16 bits or in 32.
        Some(megabits)
            .filter(|speed| !matches!(*speed, 0 | 0xffff | u32::MAX))
            .map(|speed| u64::from(speed) * 1_000_000)
    }
}

/// What there is in an answer.
fn parse(message: &[u8]) -> Option<Link> {
    const IFLA_ADDRESS: u16 = 1;
    const IFLA_IFNAME: u16 = 3;
    const IFLA_MTU: u16 = 4;
    const IFLA_STATS64: u16 = 23;
    const IFLA_NUM_TX_QUEUES: u16 = 31;
    const IFLA_NUM_RX_QUEUES: u16 = 32;
    const IFLA_XDP: u16 = 43;
    const IFLA_XDP_PROG_ID: u16 = 4;
    /// In `struct rtnl_link_stats64`.
    const TX_DROPPED: usize = 7 * 8;
    let mut link = Link { hardware: half(message, HEAD + 2)?, flags: word(message, HEAD + 8)?, ..Link::default() };
    for (kind, value) in attributes(message.get(HEAD + INFO..)?) {
        match kind {
            IFLA_ADDRESS => link.mac = value.try_into().unwrap_or_default(),
            IFLA_IFNAME => link.name = text(value),
            IFLA_PROP_LIST => {
                let names = attributes(value).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
                link.altnames = names.map(|(_, name)| text(name)).collect();
            }
            IFLA_MTU => link.mtu = word(value, 0)?,
            IFLA_STATS64 => {
                link.tx_dropped = u64::from_ne_bytes(value.get(TX_DROPPED..TX_DROPPED + 8)?.try_into().ok()?);
            }
            IFLA_NUM_TX_QUEUES => link.tx_queues = word(value, 0)?,
            IFLA_NUM_RX_QUEUES => link.rx_queues = word(value, 0)?,
            IFLA_XDP => {
                let program = attributes(value).find(|(kind, _)| *kind == IFLA_XDP_PROG_ID);
                link.xdp_program = program.and_then(|(_, id)| word(id, 0)).filter(|id| *id != 0);
            }
            _ => {}
        }
    }
    Some(link)
}

/// The attributes in `bytes`: type and value, each at a multiple of four (`struct rtattr`).
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// Flags in the type.
    const NESTED: u16 = 3 << 14;
    std::iter::from_fn(move || {
        let len = usize::from(half(bytes, 0)?);
        let kind = half(bytes, 2)? & !NESTED;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').into()
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A netlink socket that hears of these groups.
fn netlink(groups: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: takes integers only.
    let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
    // SAFETY: a new descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    if groups != 0 {
        // SAFETY: plain integers.
        let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
        (address.nl_family, address.nl_groups) = (libc::AF_NETLINK as u16, groups);
        // SAFETY: address is a sockaddr_nl of the size that is passed.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32) })?;
    }
    Ok(socket)
}

/// Can be read once an interface was taken down, removed, or moved to another namespace.
#[derive(Debug)]
pub struct LinkLoss(OwnedFd);

impl LinkLoss {
    /// Of interface number `index`, in this thread's namespace.
    pub fn of(index: u32) -> io::Result<Self> {
        // What bridges say of their ports has another family. Numbers are in the machine's byte
        // order, and a filter loads them in the network's.
        const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
        const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
        const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        const ANY_OF: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
        const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
        let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        let seen = |value: u32| u32::from_be_bytes(value.to_ne_bytes());
        let kind = |value: u16| u32::from(u16::from_be_bytes(value.to_ne_bytes()));
        let mut program = [
            line(LOAD_BYTE, 0, 0, HEAD as u32),
            line(EQUAL, 0, 8, libc::AF_UNSPEC as u32),
            line(LOAD, 0, 0, (HEAD + 4) as u32),
            line(EQUAL, 0, 6, seen(index)),
            line(LOAD_HALF, 0, 0, 4),
            line(EQUAL, 3, 0, kind(libc::RTM_DELLINK)),
            line(EQUAL, 0, 3, kind(libc::RTM_NEWLINK)),
            line(LOAD, 0, 0, (HEAD + 8) as u32),
            line(ANY_OF, 1, 0, seen(libc::IFF_UP as u32)),
            line(RETURN, 0, 0, u32::MAX),
            line(RETURN, 0, 0, 0),
        ];
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        let socket = netlink(libc::RTMGRP_LINK as u32)?;
        let (value, len) = ((&raw const filter).cast(), size_of_val(&filter) as u32);
        // SAFETY: value is a sock_fprog that leads to as many instructions as it says.
        check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, value, len) })?;
        Ok(LinkLoss(socket))
    }
}

impl AsFd for LinkLoss {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_says_what_it_is() {
        let socket = LinkSocket::open().unwrap();
        let link = socket.ask(1).unwrap();
        assert_eq!((link.name.as_str(), link.is_loopback(), link.mac), ("lo", true, [0; 6]));
        assert!(link.is_ethernet() && link.mtu >= 1_500 && link.rx_queues > 0, "{link:?}");
        assert_eq!(socket.speed("lo"), None);
        assert_eq!(socket.ask(0x7fff_ffff).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn an_interface_is_found_by_any_of_its_names() {
        let other = "the-loopback-interface-by-another-name";
        let elsewhere = std::thread::spawn(move || {
            crate::sys::net::leave_namespace().unwrap();
            let words = ["link", "property", "add", "dev", "lo", "altname", other];
            assert!(std::process::Command::new("ip").args(words).status().unwrap().success());
            let socket = LinkSocket::open().unwrap();
            for name in ["lo", other] {
                let link = socket.called(name).unwrap();
                assert_eq!((link.name.as_str(), link.altnames), ("lo", vec![other.to_string()]), "{name}");
                assert_eq!(crate::sys::net::interface_index(name).unwrap(), 1);
            }
            for name in ["", "nobody-is-called-like-this", &"x".repeat(200)] {
                assert_eq!(socket.called(name).unwrap_err().raw_os_error(), Some(libc::ENODEV), "{name}");
            }
        });
        elsewhere.join().unwrap();
    }

    #[test]
    fn a_torn_answer_is_no_interface_and_no_panic() {
        let mut whole = vec![0; HEAD + INFO];
        whole.extend([8, 0, 4, 0, 0xdc, 5, 0, 0]);
        assert_eq!(parse(&whole).unwrap().mtu, 1500);
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_none_or(|link| link.mtu == 0), "{len}");
        }
        assert_eq!(attributes(&[3, 0, 1, 0, 9, 9, 9, 9]).count(), 0, "shorter than its own head");
    }
}
