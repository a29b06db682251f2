//! Giving away the files that VFIO makes for a card.

use super::discover::Device;
use super::kernel::Kernel;
use super::{Address, guard};
use crate::error::{Error, Kind, Result};
use crate::sys::Roots;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Gives the card's VFIO nodes away: the group's, and the newer one of its own. Where there
/// are no groups (CONFIG_VFIO_GROUP=n), a card is opened through IOMMUFD alone, whose node
/// goes along: by itself that opens no card.
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
    let mut nodes = nodes();
    let own = roots.dev.join("vfio/devices");
    if nodes.iter().all(|node| node.starts_with(&own)) {
        nodes.push(iommufd(roots, address, user)?);
    }
    for node in nodes {
        kernel
            .own(&node, user, group)
            .map_err(|e| Error::io(format!("changing the owner of {}", node.display()), e))?;
    }
    Ok(())
}

/// IOMMUFD's node, if it can go to `user` and nobody loses it.
fn iommufd(roots: &Roots, address: Address, user: Option<u32>) -> Result<PathBuf> {
    let node = roots.dev.join("iommu");
    let found = fs::metadata(&node).map_err(|e| {
        Error::io(format!("{address}: this kernel's VFIO has no groups, and opening {}", node.display()), e)
            .hint("a card cannot be opened without it; load the module iommufd")
    })?;
    match (found.uid(), user) {
        (0, _) | (_, None) => Ok(node),
        (owner, Some(user)) if owner == user => Ok(node),
        (owner, _) => Err(Error::new(
            Kind::Refused,
            format!(
                "{address}: {} belongs to user {owner}, who would lose it; give the cards to a group that both users are in",
                node.display()
            ),
        )),
    }
}
