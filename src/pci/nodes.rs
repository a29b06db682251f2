//! Giving away the files that VFIO makes for a card.

use super::discover::Device;
use super::kernel::Kernel;
use super::{Address, guard};
use crate::error::{Error, Kind, Result};
use crate::sys::Roots;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Permissions of a user, and of a group, to read and write.
const USER: u32 = 0o600;
const GROUP: u32 = 0o060;

/// Gives the card's VFIO nodes away: the group's, and the newer one of its own. Where there
/// are no groups (CONFIG_VFIO_GROUP=n), a card is opened through IOMMUFD alone, whose node
/// goes to the same user: by itself that opens no card.
pub(super) fn own(
    kernel: &dyn Kernel,
    roots: &Roots,
    address: Address,
    user: Option<u32>,
    group: Option<u32>,
) -> Result<()> {
    let nodes = || {
        let nodes = Device::read(roots, address).map(|device| guard::vfio_nodes(roots, &device)).unwrap_or_default();
        nodes.into_iter().filter(|node| node.exists()).collect::<Vec<_>>()
    };
    // devtmpfs and udev make them in their own time.
    if !kernel.settled(&mut || !nodes().is_empty()) {
        return Err(Error::new(
            Kind::NotFound,
            format!("{address}: vfio made no device node that could be given to a user"),
        ));
    }
    let wanted = if group.is_some() { USER | GROUP } else { USER };
    // VFIO makes its nodes rw for the owner alone, never for everybody.
    let mut nodes: Vec<(PathBuf, u32)> = nodes().into_iter().map(|node| (node, wanted)).collect();
    let own = roots.dev.join("vfio/devices");
    if nodes.iter().all(|(node, _)| node.starts_with(&own)) {
        let (node, mode) = iommufd(roots, address, user, group)?;
        nodes.push((node, mode | wanted));
    }
    for (node, mode) in nodes {
        kernel
            .own(&node, user, group, mode)
            .map_err(|e| Error::io(format!("changing the owner of {}", node.display()), e))?;
    }
    Ok(())
}

/// What the user should know of [`own`] before anything is done, where VFIO is loaded and
/// so shows whether it has groups.
///
/// # Errors
/// What [`own`] would meet.
pub(super) fn check(roots: &Roots, address: Address, user: Option<u32>, group: Option<u32>) -> Result<Option<String>> {
    // Linux, drivers/vfio: vfio_main.c makes the class of cards, group.c that of groups.
    let class = |name: &str| roots.sys.join("class").join(name).exists();
    if !class("vfio-dev") || class("vfio") {
        return Ok(None);
    }
    let (node, _) = iommufd(roots, address, user, group)?;
    let node = node.display();
    Ok(Some(format!(
        "{address}: {node} goes to the same user or group, and stays theirs until this machine boots again"
    )))
}

/// IOMMUFD's node, which all cards share, and its permissions: if it can go to `user` and
/// `group`, and nobody loses it.
fn iommufd(roots: &Roots, address: Address, user: Option<u32>, group: Option<u32>) -> Result<(PathBuf, u32)> {
    let node = roots.dev.join("iommu");
    let found = fs::metadata(&node).map_err(|e| {
        Error::io(format!("{address}: this kernel's VFIO has no groups, and opening {}", node.display()), e)
            .hint("a card cannot be opened without it; load the module iommufd")
    })?;
    let loses = |owner: u32, wanted: Option<u32>| owner != 0 && wanted.is_some_and(|wanted| wanted != owner);
    let text = if loses(found.uid(), user) {
        format!("user {}, who would lose it; give the cards to a group that both users are in", found.uid())
    } else if loses(found.gid(), group) {
        format!("group {}, which would lose it; give the cards to that group, or to a user alone", found.gid())
    } else {
        return Ok((node, found.mode() & 0o777));
    };
    Err(Error::new(Kind::Refused, format!("{address}: {} belongs to {text}", node.display())))
}
