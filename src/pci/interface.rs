//! An interface of the kernel in place of a card: it has neither registers nor a
//! configuration space, and its driver asks the kernel instead.
//!
//! The kernel goes on to use it, and nothing of it is changed for longer than the process lives.

use super::{Alarm, Function, Kind};
use crate::error::{self, Error, Result};
use crate::sys::link::{Link, LinkLoss, LinkSocket};
use crate::sys::net;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// An interface of the network namespace in which it was opened.
#[derive(Clone, Debug)]
pub struct Interface {
    name: Arc<str>,
    kind: Kind,
    index: u32,
    links: Arc<LinkSocket>,
    loss: Arc<LinkLoss>,
}

impl Interface {
    /// Opens the interface `name`, to be used as `kind` says; it is then called `packet:NAME`.
    ///
    /// # Errors
    /// [`error::Kind::NotFound`] if there is none, [`error::Kind::Unsupported`] if it is down or not one of
    /// Ethernet.
    pub fn open(kind: Kind, name: &str) -> Result<Arc<dyn Function>> {
        let device = format!("{}:{name}", if kind == Kind::AfXdp { "xdp" } else { "packet" });
        let failed = |e| Error::io(format!("{device}: asking the kernel for the interface"), e);
        let index = net::interface_index(name).map_err(|_| {
            let text =
                format!("{device}: no interface has that name here; `ip link` shows those of this network namespace");
            Error::new(error::Kind::NotFound, text)
        })?;
        let links = LinkSocket::open().map_err(failed)?;
        // Before it is asked for: what happens from then on is heard.
        let loss = LinkLoss::of(index).map_err(failed)?;
        let link = links.ask(index).map_err(failed)?;
        let refusal = if !link.is_ethernet() {
            "its frames are not those of Ethernet, and nothing else is supported".into()
        } else if !link.is_up() {
            format!("the interface is down; `ip link set {} up` brings it up", link.name)
        } else {
            let (links, loss) = (Arc::new(links), Arc::new(loss));
            return Ok(Arc::new(Interface { name: device.into(), kind, index, links, loss }));
        };
        Err(Error::new(error::Kind::Unsupported, format!("{device}: {refusal}")))
    }

    /// Its number, which it keeps.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// What the kernel says of it now.
    ///
    /// # Errors
    /// [`error::Kind::NotFound`] if it is there no more.
    pub fn link(&self) -> Result<Link> {
        self.links
            .ask(self.index)
            .map_err(|e| Error::io(format!("{}: asking the kernel for the interface", self.name), e))
    }

    /// Bits a second; 0 where its driver does not say.
    pub fn speed(&self, link: &Link) -> u64 {
        self.links.speed(&link.name).unwrap_or(0)
    }
}

impl Function for Interface {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn interface(&self) -> Option<&Interface> {
        Some(self)
    }

    fn alarms(&self) -> Vec<(Alarm, BorrowedFd<'_>)> {
        vec![(Alarm::Down, self.loss.as_fd())]
    }

    fn loss(&self) -> Alarm {
        Alarm::Down
    }

    fn is_gone(&self) -> bool {
        !self.links.ask(self.index).is_ok_and(|link| link.is_up())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_or_no_name_is_said_to_be_so() {
        for name in ["no-such-device", "", "a-name-that-is-too-long", "../lo"] {
            let error = Interface::open(Kind::Packet, name).map(drop).unwrap_err();
            assert_eq!(error.kind(), error::Kind::NotFound, "{name}");
            assert!(error.to_string().starts_with(&format!("packet:{name}: no interface has that name")), "{error}");
        }
    }

    #[test]
    fn an_interface_has_a_name_and_no_registers() {
        let lo = Interface::open(Kind::Packet, "lo").unwrap();
        assert_eq!((lo.name(), lo.kind().to_string(), lo.is_gone()), ("packet:lo", "packet".into(), false));
        assert_eq!(lo.bar(0).unwrap_err().kind(), error::Kind::Unsupported);
        assert_eq!(lo.interface().unwrap().index(), 1);
    }
}
