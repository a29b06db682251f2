//! Where received frames go: one queue, or one of a table by a hash.
//!
//! ```text
//!   TIR: which headers, key --hash--> table[hash mod entries] --> receive queue
//! ```

use super::super::super::Board;
use super::super::super::frame::{L3, L4, Parsed, Toeplitz};
use super::be::{bits, id_at, set_bits};
use super::owned::{context, free};
use super::spec::{RqtSpec, TirSpec};
use super::{Outcome, Plane, Status};
use std::cell::OnceCell;

/// Bytes of a context, and of a table's before its list.
const CONTEXT: usize = 0xf0;

/// Hash functions.
const NONE: u8 = 0;
const XOR: u8 = 1;
const TOEPLITZ: u8 = 2;

/// What is hashed: headers, and fields of them.
const V6: u32 = 1 << 31;
const UDP: u32 = 1 << 30;
const SOURCE: u32 = 1;
const DESTINATION: u32 = 2;
const SOURCE_PORT: u32 = 4;
const DESTINATION_PORT: u32 = 8;

/// A table of receive queues.
pub struct Rqt {
    max: u16,
    pub rqns: Vec<u32>,
    context: Vec<u8>,
}

/// Where frames go.
pub struct Tir {
    pub spec: TirSpec,
    /// Made when it is needed: it is large.
    toeplitz: OnceCell<Toeplitz>,
    context: Vec<u8>,
}

/// A hash and what it is of, as completions tell it.
pub type Hashed = (u32, u8);

impl Tir {
    /// The hash of a frame: zero of one that has not the headers.
    #[inline]
    fn hash(&self, frame: &[u8], headers: &Parsed) -> Hashed {
        const ALL: u32 = SOURCE | DESTINATION | SOURCE_PORT | DESTINATION_PORT;
        let fields = self.spec.outer;
        if fields & ALL == 0 {
            return (0, 0);
        }
        let v6 = fields & V6 != 0;
        let layer = match headers.l3 {
            Some(L3::V4 { .. }) if !v6 => 1,
            Some(L3::V6 { .. }) if v6 => 2,
            _ => return (0, 0),
        };
        let ports = fields & (SOURCE_PORT | DESTINATION_PORT) != 0;
        let transport = match (headers.l4, fields & UDP != 0) {
            (Some(L4::Tcp), false) if ports => 1,
            (Some(L4::Udp), true) if ports => 2,
            _ if ports => return (0, 0),
            _ => 0,
        };
        let mut input = [0; 36];
        let len = self.input(frame, headers, transport != 0, &mut input);
        let input = &input[..len];
        let hash = match self.spec.function {
            TOEPLITZ => self.toeplitz.get_or_init(|| Toeplitz::new(self.spec.key)).hash(input, &[]),
            XOR => u32::from(!input.iter().fold(0, |sum, byte| sum ^ byte)),
            _ => return (0, 0),
        };
        (hash, layer << 2 | transport << 6)
    }

    /// The fields that are hashed, one behind the other; how many bytes.
    fn input(&self, frame: &[u8], headers: &Parsed, ports: bool, to: &mut [u8; 36]) -> usize {
        let addresses = headers.address_bytes(frame);
        let ports = if ports { headers.port_bytes(frame) } else { &[] };
        let mut pairs = [addresses.split_at(addresses.len() / 2), ports.split_at(ports.len() / 2)];
        if self.spec.symmetric {
            // The lesser end comes first, from whichever end it was sent.
            let [(source, destination), (from, to)] = pairs;
            if (source, from) > (destination, to) {
                pairs = [(destination, source), (to, from)];
            }
        }
        let [(source, destination), (from, to_port)] = pairs;
        let fields = [(SOURCE, source), (DESTINATION, destination), (SOURCE_PORT, from), (DESTINATION_PORT, to_port)];
        let mut len = 0;
        for (bit, bytes) in fields {
            if self.spec.outer & bit != 0 {
                to[len..len + bytes.len()].copy_from_slice(bytes);
                len += bytes.len();
            }
        }
        len
    }

    /// Whether own frames come in here.
    #[inline]
    pub fn takes_own(&self, td: u32, frame: &[u8]) -> bool {
        let many = frame.first().is_some_and(|first| first & 1 == 1);
        self.spec.td == td && self.spec.loopback & if many { 2 } else { 1 } != 0
    }
}

impl Plane {
    /// The receive queue for a frame, and its hash.
    #[inline]
    pub(super) fn spread(&self, tir: &Tir, frame: &[u8], headers: &Parsed) -> Option<(u32, Hashed)> {
        let hashed = if tir.spec.function == NONE { (0, 0) } else { tir.hash(frame, headers) };
        if !tir.spec.indirect {
            return Some((tir.spec.rqn, hashed));
        }
        let rqns = &self.rqts.get(tir.spec.rqtn)?.rqns;
        Some((*rqns.get(hashed.0 as usize % rqns.len())?, hashed))
    }

    /// The list of a table: as long as it says, a power of two, of queues that there are.
    fn check_list(&self, spec: &RqtSpec, max: u16) -> Outcome<()> {
        let len = usize::from(spec.actual);
        if !len.is_power_of_two() || spec.actual > max {
            return Err(Status::BAD_PARAMETER);
        }
        if spec.rqns.len() < len {
            return Err(Status::BAD_INPUT_LENGTH);
        }
        if spec.rqns.iter().all(|rqn| self.rqs.holds(*rqn)) { Ok(()) } else { Err(Status::BAD_RESOURCE) }
    }

    /// CREATE_RQT: its number.
    pub fn create_rqt(&mut self, board: &mut Board, request: &[u8]) -> Outcome<u32> {
        let spec = RqtSpec::of(request);
        if !spec.max.is_power_of_two() || u32::from(spec.max) > 1 << self.limits.log_rqt {
            return Err(Status::BAD_PARAMETER);
        }
        self.check_list(&spec, spec.max)?;
        let rqt = Rqt { max: spec.max, rqns: spec.rqns, context: context(request, 0x20, CONTEXT) };
        self.rqts.insert(rqt, board.nasty.then_some(&mut board.random)).ok_or(Status::NO_RESOURCES)
    }

    /// MODIFY_RQT: its list.
    pub fn modify_rqt(&mut self, request: &[u8]) -> Outcome<()> {
        let (id, spec) = (id_at(request, 0x08), RqtSpec::of(request));
        let max = self.rqts.get(id).ok_or(Status::BAD_RESOURCE)?.max;
        if bits(request, 0x14, 0, 0) == 0 {
            return Ok(());
        }
        self.check_list(&spec, max)?;
        if let Some(rqt) = self.rqts.get_mut(id) {
            rqt.rqns = spec.rqns;
            set_bits(&mut rqt.context, 0x18, 15, 0, spec.actual.into());
        }
        Ok(())
    }

    /// QUERY_RQT: its context.
    pub fn query_rqt(&self, id: u32) -> Outcome<Vec<u8>> {
        let rqt = self.rqts.get(id).ok_or(Status::BAD_RESOURCE)?;
        let mut context = rqt.context.clone();
        rqt.rqns.iter().for_each(|rqn| context.extend_from_slice(&rqn.to_be_bytes()));
        Ok(context)
    }

    /// DESTROY_RQT: nothing may spread over it.
    pub fn destroy_rqt(&mut self, id: u32) -> Outcome<()> {
        let used = self.tirs.iter().any(|(_, tir)| tir.spec.indirect && tir.spec.rqtn == id);
        let rqts = &mut self.rqts;
        free(used, || rqts.remove(id).ok_or(Status::BAD_RESOURCE))
    }

    /// Whether what a TIR asks for can be had.
    fn check_hash(&self, spec: &TirSpec) -> Outcome<()> {
        let limits = &self.limits;
        let beyond =
            spec.tls || (spec.merges != 0 || spec.merging != 0) && !limits.lro || spec.tunneled && !limits.tunnels;
        if beyond || spec.function > TOEPLITZ { Err(Status::BAD_PARAMETER) } else { Ok(()) }
    }

    /// CREATE_TIR: its number.
    pub fn create_tir(&mut self, board: &mut Board, request: &[u8]) -> Outcome<u32> {
        let spec = TirSpec::of(request);
        self.check_hash(&spec)?;
        let to = if spec.indirect { self.rqts.holds(spec.rqtn) } else { self.rqs.holds(spec.rqn) };
        if !to || !self.tds.holds(spec.td) {
            return Err(Status::BAD_RESOURCE);
        }
        let tir = Tir { spec, toeplitz: OnceCell::new(), context: context(request, 0x20, CONTEXT) };
        self.tirs.insert(tir, board.nasty.then_some(&mut board.random)).ok_or(Status::NO_RESOURCES)
    }

    /// MODIFY_TIR: what is hashed, and loopback.
    pub fn modify_tir(&mut self, request: &[u8]) -> Outcome<()> {
        const MERGING: u32 = 1 << 0;
        const TABLE: u32 = 1 << 1;
        const HASH: u32 = 1 << 2;
        const LOOPBACK: u32 = 1 << 4;
        let (spec, what) = (TirSpec::of(request), bits(request, 0x14, 31, 0));
        self.check_hash(&spec)?;
        if what & TABLE != 0 && !self.rqts.holds(spec.rqtn) {
            return Err(Status::BAD_RESOURCE);
        }
        let tir = self.tirs.get_mut(id_at(request, 0x08)).ok_or(Status::BAD_RESOURCE)?;
        if what & !(MERGING | TABLE | HASH | LOOPBACK) != 0 {
            return Err(Status::BAD_PARAMETER);
        }
        let own = &mut tir.spec;
        if what & TABLE != 0 {
            (own.indirect, own.rqtn) = (true, spec.rqtn);
        }
        if what & HASH != 0 {
            (own.function, own.symmetric, own.key, own.outer) = (spec.function, spec.symmetric, spec.key, spec.outer);
            tir.toeplitz = OnceCell::new();
            tir.context[0x28..0x50].copy_from_slice(&spec.key);
            set_bits(&mut tir.context, 0x20, 31, 31, spec.symmetric.into());
            set_bits(&mut tir.context, 0x24, 31, 28, spec.function.into());
            set_bits(&mut tir.context, 0x50, 31, 0, spec.outer);
        }
        if what & LOOPBACK != 0 {
            tir.spec.loopback = spec.loopback;
            set_bits(&mut tir.context, 0x24, 25, 24, spec.loopback.into());
        }
        Ok(())
    }

    /// QUERY_TIR: its context.
    pub fn query_tir(&self, id: u32) -> Outcome<Vec<u8>> {
        self.tirs.get(id).map(|tir| tir.context.clone()).ok_or(Status::BAD_RESOURCE)
    }

    /// DESTROY_TIR: no flow may lead there.
    pub fn destroy_tir(&mut self, id: u32) -> Outcome<()> {
        let (used, tirs) = (self.steering.leads_to_tir(id), &mut self.tirs);
        free(used, || tirs.remove(id).ok_or(Status::BAD_RESOURCE))
    }
}
