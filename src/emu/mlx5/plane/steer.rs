//! Flow tables: which received frame goes where.
//!
//! ```text
//!   root --> table, level 0            table, level 1                 TIR
//!            group: mask                group ...
//!              entry: value ---------->   entry ----------------------> (several perhaps)
//!            group ...                  nothing matches: dropped, or on to another table
//!            (in the order of places)
//! ```
//!
//! Frames pass on to higher levels only, so each comes to an end. Without a root nothing
//! is received.

use super::super::super::Board;
use super::super::super::frame::Parsed;
use super::be::{bits, id_at, set_bits, u16_at, u32_at};
use super::fields::{self, Header, LEN, masked, words};
use super::flows::{EntrySpec, GroupSpec, TableSpec};
use super::owned::context;
use super::slab::Slab;
use super::{Outcome, Plane, Status};
use std::collections::{BTreeMap, HashMap};

/// Kinds of tables.
const RECEIVE: u8 = 0;
const KINDS: usize = 8;

/// Tables that a frame passes at most: several destinations each would be without end.
const STEPS: u32 = 1024;

/// Actions of entries.
const ALLOW: u16 = 1;
const DROP: u16 = 2;
const FORWARD: u16 = 4;
const COUNT: u16 = 8;

/// Where an entry leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Table(u32),
    Tir(u32),
}

/// An entry.
struct Entry {
    value: Header,
    tag: u32,
    action: u16,
    to: Vec<To>,
}

/// Entries with the same mask.
struct Group {
    table: u32,
    first: u32,
    last: u32,
    mask: Header,
    entries: BTreeMap<u32, Entry>,
    /// Places by what is matched; the lowest counts.
    places: HashMap<Header, u32>,
}

struct Table {
    spec: TableSpec,
    /// Groups in the order of their places.
    groups: Vec<u32>,
    context: Vec<u8>,
}

/// All tables.
pub struct Steering {
    tables: Slab<Table>,
    groups: Slab<Group>,
    roots: [Option<u32>; KINDS],
}

impl Steering {
    /// No tables.
    pub fn new() -> Self {
        Steering { tables: Slab::new(1), groups: Slab::new(1), roots: [None; KINDS] }
    }

    /// How many tables there are.
    pub fn count(&self) -> usize {
        self.tables.count()
    }

    /// Whether an entry leads to that TIR.
    pub fn leads_to_tir(&self, tir: u32) -> bool {
        self.leads_to(To::Tir(tir))
    }

    fn leads_to(&self, to: To) -> bool {
        self.groups.iter().any(|(_, group)| group.entries.values().any(|entry| entry.to.contains(&to)))
    }

    /// Whether there is a root that received frames are looked up in.
    #[inline]
    pub(super) fn listens(&self) -> bool {
        self.roots[usize::from(RECEIVE)].is_some()
    }

    /// The TIRs that a received frame goes to, and its flow's tag.
    #[inline]
    pub fn route(&self, header: &Header, to: &mut Vec<(u32, u32)>) {
        to.clear();
        if let Some(root) = self.roots[usize::from(RECEIVE)] {
            self.walk(root, header, 0, &mut { STEPS }, to);
        }
    }

    fn walk(&self, table: u32, header: &Header, tag: u32, steps: &mut u32, to: &mut Vec<(u32, u32)>) {
        let Some(table) = self.tables.get(table).filter(|_| *steps != 0) else { return };
        *steps -= 1;
        let groups = table.groups.iter().filter_map(|id| self.groups.get(*id));
        let mut matches = groups.filter_map(|group| {
            if group.mask == [0; 8] {
                return group.entries.values().next();
            }
            group.entries.get(group.places.get(&masked(header, &group.mask))?)
        });
        match matches.next() {
            Some(entry) => {
                let tag = if entry.tag != 0 { entry.tag } else { tag };
                for target in entry.to.iter().filter(|_| entry.action & DROP == 0) {
                    match *target {
                        To::Tir(tir) => to.push((tir, tag)),
                        To::Table(next) => self.walk(next, header, tag, steps, to),
                    }
                }
            }
            None if table.spec.miss == 1 => self.walk(table.spec.miss_table, header, tag, steps, to),
            None => {}
        }
    }

    /// A table, if it is of that kind.
    fn table(&self, id: u32, kind: u8) -> Outcome<&Table> {
        self.tables.get(id).filter(|table| table.spec.kind == kind).ok_or(Status::BAD_RESOURCE)
    }

    /// Whether a table may pass frames on to another.
    fn check_step(&self, from: &TableSpec, to: u32) -> Outcome<()> {
        let next = self.table(to, from.kind)?;
        if next.spec.level > from.level { Ok(()) } else { Err(Status::BAD_PARAMETER) }
    }

    fn check_miss(&self, spec: &TableSpec) -> Outcome<()> {
        match spec.miss {
            0 => Ok(()),
            1 => self.check_step(spec, spec.miss_table),
            _ => Err(Status::BAD_PARAMETER),
        }
    }

    /// What an entry asks for.
    fn destinations(&self, table: &TableSpec, spec: &EntrySpec, tir: impl Fn(u32) -> bool) -> Outcome<Vec<To>> {
        if spec.to.len() != spec.count as usize {
            return Err(Status::BAD_INPUT_LENGTH);
        }
        let to = |&(kind, id): &(u8, u32)| match kind {
            1 => self.check_step(table, id).map(|()| To::Table(id)),
            2 if tir(id) => Ok(To::Tir(id)),
            2 => Err(Status::BAD_RESOURCE),
            _ => Err(Status::BAD_PARAMETER),
        };
        spec.to.iter().map(to).collect()
    }
}

impl Group {
    /// Finds the places of values anew.
    fn order(&mut self) {
        self.places.clear();
        for (place, entry) in self.entries.iter().rev() {
            self.places.insert(entry.value, *place);
        }
    }
}

impl Plane {
    /// CREATE_FLOW_TABLE: its number.
    pub fn create_table(&mut self, board: &mut Board, request: &[u8]) -> Outcome<u32> {
        let spec = TableSpec::of(request);
        let limits = &self.limits;
        let kind = spec.kind < 8 && limits.tables >> spec.kind & 1 == 1;
        if !kind || spec.log_size > limits.log_table || spec.level > limits.level {
            return Err(Status::BAD_PARAMETER);
        }
        self.steering.check_miss(&spec)?;
        let table = Table { spec, groups: Vec::new(), context: context(request, 0x18, 0x28) };
        let nasty = board.nasty.then_some(&mut board.random);
        self.steering.tables.insert(table, nasty).ok_or(Status::NO_RESOURCES)
    }

    /// MODIFY_FLOW_TABLE: where frames go that match nothing.
    pub fn modify_table(&mut self, request: &[u8]) -> Outcome<()> {
        let (changed, id) = (TableSpec::of(request), id_at(request, 0x14));
        if u16_at(request, 0x0e) & !1 != 0 {
            return Err(Status::BAD_PARAMETER);
        }
        let mut spec = self.steering.table(id, changed.kind)?.spec;
        (spec.miss, spec.miss_table) = (changed.miss, changed.miss_table);
        self.steering.check_miss(&spec)?;
        if let Some(table) = self.steering.tables.get_mut(id) {
            table.spec = spec;
            set_bits(&mut table.context, 0, 27, 24, spec.miss.into());
            set_bits(&mut table.context, 4, 23, 0, spec.miss_table);
        }
        Ok(())
    }

    /// QUERY_FLOW_TABLE: its context.
    pub fn query_table(&self, request: &[u8]) -> Outcome<Vec<u8>> {
        let table = self.steering.table(id_at(request, 0x14), bits(request, 0x10, 31, 24) as u8)?;
        let mut answer = vec![0; 8];
        answer.extend_from_slice(&table.context);
        Ok(answer)
    }

    /// DESTROY_FLOW_TABLE: it must be empty, and nothing lead there. If it was the root
    /// there is none.
    pub fn destroy_table(&mut self, request: &[u8]) -> Outcome<()> {
        let (id, kind) = (id_at(request, 0x14), bits(request, 0x10, 31, 24) as u8);
        let table = self.steering.table(id, kind)?;
        let missed = |(_, other): (u32, &Table)| other.spec.miss == 1 && other.spec.miss_table == id;
        if !table.groups.is_empty() || self.steering.leads_to(To::Table(id)) || self.steering.tables.iter().any(missed)
        {
            return Err(Status::RESOURCE_BUSY);
        }
        self.steering.roots.iter_mut().for_each(|root| *root = root.filter(|root| *root != id));
        self.steering.tables.remove(id).map(drop).ok_or(Status::BAD_RESOURCE)
    }

    /// SET_FLOW_TABLE_ROOT.
    pub fn set_root(&mut self, request: &[u8]) -> Outcome<()> {
        let (id, kind) = (id_at(request, 0x14), bits(request, 0x10, 31, 24) as u8);
        if !self.limits.modify_root {
            return Err(Status::BAD_OPERATION);
        }
        self.steering.table(id, kind)?;
        let root = self.steering.roots.get_mut(usize::from(kind)).ok_or(Status::BAD_PARAMETER)?;
        *root = match u16_at(request, 0x06) {
            0 => Some(id),
            1 => None,
            _ => return Err(Status::BAD_OPERATION),
        };
        Ok(())
    }

    /// CREATE_FLOW_GROUP: its number. Groups of a table do not overlap.
    pub fn create_group(&mut self, board: &mut Board, request: &[u8]) -> Outcome<u32> {
        const OUTER: u8 = 1;
        let spec = GroupSpec::of(request);
        let table = self.steering.table(spec.table, spec.kind)?;
        let overlaps = |id: &u32| {
            let group = self.steering.groups.get(*id);
            group.is_some_and(|group| spec.first <= group.last && group.first <= spec.last)
        };
        let others = spec.mask[LEN..].iter().any(|byte| *byte != 0);
        let outer = spec.mask[..LEN].iter().any(|byte| *byte != 0);
        if spec.first > spec.last
            || spec.last.checked_shr(table.spec.log_size.into()).unwrap_or(0) != 0
            || table.groups.iter().any(overlaps)
            || others
            || outer && spec.criteria & OUTER == 0
        {
            return Err(Status::BAD_PARAMETER);
        }
        let group = Group {
            table: spec.table,
            first: spec.first,
            last: spec.last,
            mask: words(&spec.mask),
            entries: BTreeMap::new(),
            places: HashMap::new(),
        };
        let Steering { tables, groups, .. } = &mut self.steering;
        let id = groups.insert(group, board.nasty.then_some(&mut board.random)).ok_or(Status::NO_RESOURCES)?;
        if let Some(table) = tables.get_mut(spec.table) {
            let first = |id: &u32| groups.get(*id).map_or(0, |group| group.first);
            let at = table.groups.partition_point(|id| first(id) < spec.first);
            table.groups.insert(at, id);
        }
        Ok(id)
    }

    /// DESTROY_FLOW_GROUP: it must be empty.
    pub fn destroy_group(&mut self, request: &[u8]) -> Outcome<()> {
        let (table, id) = (id_at(request, 0x14), u32_at(request, 0x18));
        let Steering { tables, groups, .. } = &mut self.steering;
        let group = groups.get(id).filter(|group| group.table == table).ok_or(Status::BAD_RESOURCE)?;
        if !group.entries.is_empty() {
            return Err(Status::RESOURCE_BUSY);
        }
        groups.remove(id);
        if let Some(table) = tables.get_mut(table) {
            table.groups.retain(|group| *group != id);
        }
        Ok(())
    }

    /// SET_FLOW_TABLE_ENTRY.
    pub fn set_entry(&mut self, board: &mut Board, request: &[u8]) -> Outcome<()> {
        const TAG: u8 = 1 << 1;
        const TO: u8 = 1 << 2;
        let spec = EntrySpec::of(request);
        let table = self.steering.table(spec.table, spec.kind)?.spec;
        let known = ALLOW | DROP | FORWARD | if self.limits.flow_counters { COUNT } else { 0 };
        if spec.action & !known != 0 || (spec.action & FORWARD != 0) != (spec.count != 0) {
            return Err(Status::BAD_PARAMETER);
        }
        let to = self.steering.destinations(&table, &spec, |tir| self.tirs.holds(tir))?;
        let group = self.steering.groups.get_mut(spec.group).filter(|group| group.table == spec.table);
        let group = group.ok_or(Status::BAD_RESOURCE)?;
        if !(group.first..=group.last).contains(&spec.index) {
            return Err(Status::BAD_INDEX);
        }
        let value = words(&spec.value);
        if masked(&value, &group.mask) != value {
            board.violations.note("flow with a value in bits that its group does not match");
        }
        match (spec.modify, group.entries.get_mut(&spec.index)) {
            (None, None) => {
                let value = masked(&value, &group.mask);
                group.entries.insert(spec.index, Entry { value, tag: spec.tag, action: spec.action, to });
                group.order();
            }
            (Some(what), Some(entry)) => {
                entry.action = spec.action;
                if what & TAG != 0 {
                    entry.tag = spec.tag;
                }
                if what & TO != 0 {
                    entry.to = to;
                }
            }
            (None, Some(_)) => return Err(Status::BAD_RESOURCE_STATE),
            (Some(_), None) => return Err(Status::BAD_INDEX),
        }
        Ok(())
    }

    /// DELETE_FLOW_TABLE_ENTRY.
    pub fn delete_entry(&mut self, request: &[u8]) -> Outcome<()> {
        let (table, index) = (id_at(request, 0x14), u32_at(request, 0x20));
        let groups = self.steering.table(table, bits(request, 0x10, 31, 24) as u8)?.groups.clone();
        for id in groups {
            if let Some(group) = self.steering.groups.get_mut(id)
                && group.entries.remove(&index).is_some()
            {
                group.order();
                return Ok(());
            }
        }
        Err(Status::BAD_INDEX)
    }

    /// The TIRs that a received frame goes to.
    #[inline]
    pub(super) fn route(&self, frame: &[u8], headers: &Parsed, to: &mut Vec<(u32, u32)>) {
        self.steering.route(&fields::header(frame, headers), to);
    }
}
