//! The cards that both drivers know.

#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only their names are needed, to be refused"))]

use crate::error::{Error, Kind, Result};

/// A card, and how DPDK is to drive it.
#[derive(Debug)]
pub struct Nic {
    /// What it is called here.
    pub name: &'static str,
    /// Name of its model.
    pub model: &'static str,
    /// Name of DPDK's driver.
    pub pmd: &'static str,
    /// Whole programs can be compared on it: no two queues share a doorbell.
    pub whole: bool,
    /// All queues have one doorbell.
    pub crowded: bool,
    /// The transmit queue that DPDK sends by: one whose doorbell no other queue in use
    /// has too.
    pub tx_queue: u16,
    /// DPDK's ways, the best first.
    pub ways: &'static [Way],
}

/// A way of DPDK's driver.
#[derive(Debug)]
pub struct Way {
    /// What it is called here.
    pub name: &'static str,
    /// Arguments of its driver.
    pub arguments: &'static str,
    /// Widest vectors, in bits, if that is to be said.
    pub vectors: Option<u16>,
    /// Fewest frames that it receives at a time.
    pub least: usize,
}

const BEST: Way = Way { name: "vector", arguments: "", vectors: None, least: 4 };
const SCALAR: Way = Way { name: "scalar", arguments: "", vectors: Some(64), least: 1 };

/// Its vectors take eight frames at a time.
const BNXT: [Way; 2] = [Way { least: 8, ..BEST }, SCALAR];

/// All of them; the first is the default.
pub static NICS: [Nic; 6] = [
    Nic {
        name: "82599",
        model: "82599",
        pmd: "net_ixgbe",
        whole: true,
        crowded: false,
        tx_queue: 0,
        ways: &[BEST, SCALAR],
    },
    Nic {
        name: "x710",
        model: "x710",
        pmd: "net_i40e",
        whole: true,
        crowded: false,
        tx_queue: 0,
        // Its vectors of 256 bits take eight frames at a time.
        ways: &[Way { least: 8, ..BEST }, SCALAR],
    },
    Nic {
        name: "virtio",
        // DPDK's vector path takes no mergeable buffers.
        model: "virtio-single",
        pmd: "net_virtio",
        whole: true,
        crowded: false,
        tx_queue: 0,
        ways: &[Way { name: "vector", arguments: ",vectorized=1", vectors: None, least: 8 }, SCALAR],
    },
    Nic {
        name: "x2522",
        model: "x2522",
        pmd: "net_sfc",
        whole: true,
        crowded: false,
        tx_queue: 0,
        ways: &[
            Way { name: "simple", arguments: ",tx_datapath=ef10_simple", vectors: None, least: 1 },
            Way { name: "full", arguments: "", vectors: None, least: 1 },
        ],
    },
    // Rings of one number share a doorbell: the receive ring has 0, its completion
    // queue 1. On the newer generation all rings share one.
    Nic {
        name: "bcm57414",
        model: "bcm57414",
        pmd: "net_bnxt",
        whole: false,
        crowded: false,
        tx_queue: 2,
        ways: &BNXT,
    },
    Nic { name: "bcm57508", model: "bcm57508", pmd: "net_bnxt", whole: false, crowded: true, tx_queue: 0, ways: &BNXT },
];

/// Cards that cannot be compared on a model, and why.
const NOT_HERE: [(&str, &str); 1] = [(
    "mlx5",
    "mlx5 is not comparable here: DPDK's driver does not drive the card itself but asks libibverbs, the kernel's mlx5_ib and its device files to, which no emulated card stands in for; where there is a ConnectX, `--pci` runs both on it",
)];

/// Names for the command line.
pub fn names() -> Vec<&'static str> {
    NICS.iter().map(|nic| nic.name).chain(NOT_HERE.map(|(name, _)| name)).collect()
}

/// The card of this name.
///
/// # Errors
/// [`Kind::Unsupported`], with the reason, for one that has no model that both know.
pub fn find(name: &str) -> Result<&'static Nic> {
    NICS.iter().find(|nic| nic.name == name).ok_or_else(|| {
        let why = NOT_HERE.iter().find(|(known, _)| *known == name);
        Error::new(Kind::Unsupported, why.map_or("no such card", |(_, why)| why))
    })
}
