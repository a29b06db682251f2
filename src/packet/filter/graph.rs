//! From conditions to a graph of decisions, with what is known left out.
//!
//! ```text
//!   a and b or c        a --yes--> b --yes--> accept
//!                       |          |no
//!                       +---no---> c --yes--> accept, --no--> reject
//! ```
//!
//! All edges lead to nodes that were made earlier, so the way from the last node to
//! the first visits each after all that lead to it. One such pass suffices to leave
//! out what is decided already: on each edge the comparisons on all ways to it are
//! known, and an edge to a node whose answer they give goes on to where that leads. A
//! value that was compared has been loaded, so nothing is left out that could have
//! rejected a frame.

use super::expression::{Operator, Relation, Slot, Test, Value};
use std::collections::HashMap;

/// Place of a node in [`Graph::nodes`].
pub type Id = usize;

pub const REJECT: Id = 0;
pub const ACCEPT: Id = 1;

/// One step of a program.
#[derive(Clone, Debug)]
pub enum Node {
    Reject,
    Accept,
    Branch { left: Value, relation: Relation, right: Value, yes: Id, no: Id },
    Set { slot: Slot, value: Value, next: Id },
}

/// A program before its instructions.
#[derive(Debug)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub root: Id,
}

impl Graph {
    pub fn new(test: &Test) -> Graph {
        let mut graph = Graph { nodes: vec![Node::Reject, Node::Accept], root: ACCEPT };
        graph.root = graph.add(test, ACCEPT, REJECT);
        graph.simplify();
        graph
    }

    /// The node where a test begins that leads to `yes` or `no`.
    fn add(&mut self, test: &Test, yes: Id, no: Id) -> Id {
        match test {
            Test::All(tests) => tests.iter().rev().fold(yes, |yes, test| self.add(test, yes, no)),
            Test::Any(tests) => tests.iter().rev().fold(no, |no, test| self.add(test, yes, no)),
            Test::Not(test) => self.add(test, no, yes),
            Test::Compare(left, relation, right) => {
                let (left, relation, right) = (left.clone(), *relation, right.clone());
                self.push(Node::Branch { left, relation, right, yes, no })
            }
            Test::Set(slot, value) => self.push(Node::Set { slot: *slot, value: value.clone(), next: yes }),
        }
    }

    fn push(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Leads each edge past the nodes whose answers are known on it.
    fn simplify(&mut self) {
        let mut known: Vec<Option<Facts>> = vec![None; self.nodes.len()];
        let nothing = Facts::default();
        self.root = self.past(self.root, &nothing);
        known[self.root] = Some(nothing);
        for id in (0..self.nodes.len()).rev() {
            let Some(facts) = known[id].take() else { continue };
            match self.nodes[id].clone() {
                Node::Reject | Node::Accept => {}
                Node::Set { next, .. } => {
                    let next = self.past(next, &facts);
                    if let Node::Set { next: edge, .. } = &mut self.nodes[id] {
                        *edge = next;
                    }
                    meet(&mut known[next], facts);
                }
                Node::Branch { left, relation, right, yes, no } => {
                    let mut ends = [yes, no];
                    for (end, answer) in ends.iter_mut().zip([true, false]) {
                        let mut facts = facts.clone();
                        facts.learn(&left, relation, &right, answer);
                        *end = self.past(*end, &facts);
                        meet(&mut known[*end], facts);
                    }
                    self.nodes[id] = Node::Branch { left, relation, right, yes: ends[0], no: ends[1] };
                }
            }
        }
    }

    /// Where an edge to `id` leads when this is known.
    fn past(&self, mut id: Id, facts: &Facts) -> Id {
        while let Node::Branch { left, relation, right, yes, no } = &self.nodes[id] {
            id = match facts.answer(left, *relation, right) {
                Some(true) => *yes,
                Some(false) => *no,
                None => return id,
            };
        }
        id
    }
}

/// What is known of values that do not change.
#[derive(Clone, Debug, Default)]
struct Facts(HashMap<Value, Range>);

/// What a value may be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    low: u32,
    high: u32,
    /// None of these, within.
    but: Vec<u32>,
}

impl Facts {
    fn learn(&mut self, left: &Value, relation: Relation, right: &Value, answer: bool) {
        let (Value::Number(number), false) = (right, left.remembers()) else { return };
        let range = self.0.entry(left.clone()).or_insert_with(|| Range::most(left));
        match (relation, answer) {
            (Relation::Equal, true) => (range.low, range.high) = (*number, *number),
            (Relation::Equal, false) => range.but.push(*number),
            (Relation::Greater, true) => range.low = range.low.max(number.saturating_add(1)),
            (Relation::Greater, false) => range.high = range.high.min(*number),
            (Relation::GreaterOrEqual, true) => range.low = range.low.max(*number),
            (Relation::GreaterOrEqual, false) => range.high = range.high.min(number.saturating_sub(1)),
        }
    }

    /// What a comparison must say.
    fn answer(&self, left: &Value, relation: Relation, right: &Value) -> Option<bool> {
        let Value::Number(number) = *right else { return None };
        if let Value::Number(left) = *left {
            return Some(match relation {
                Relation::Equal => left == number,
                Relation::Greater => left > number,
                Relation::GreaterOrEqual => left >= number,
            });
        }
        let Range { low, high, but } = self.0.get(left)?;
        let (all, none) = match relation {
            Relation::Equal => {
                (*low == number && *high == number, number < *low || number > *high || but.contains(&number))
            }
            Relation::Greater => (*low > number, *high <= number),
            Relation::GreaterOrEqual => (*low >= number, *high < number),
        };
        if all { Some(true) } else { none.then_some(false) }
    }
}

impl Range {
    /// All that a value can be.
    fn most(value: &Value) -> Range {
        let high = match value {
            Value::Load(_, _, 1) => 0xff,
            Value::Load(_, _, 2) => 0xffff,
            Value::Binary(_, Operator::And, mask) => match **mask {
                Value::Number(mask) => mask,
                _ => u32::MAX,
            },
            _ => u32::MAX,
        };
        Range { low: 0, high, but: Vec::new() }
    }
}

/// Leaves what is known on both of two ways.
fn meet(known: &mut Option<Facts>, other: Facts) {
    let Some(known) = known else {
        *known = Some(other);
        return;
    };
    known.0.retain(|value, range| {
        let Some(other) = other.0.get(value) else { return false };
        let excluded =
            |number: &u32, other: &Range| *number < other.low || *number > other.high || other.but.contains(number);
        // What one range excludes by its ends and the other by name stays excluded.
        let mut but: Vec<u32> = range.but.iter().filter(|number| excluded(number, other)).copied().collect();
        but.extend(other.but.iter().filter(|number| !range.but.contains(number) && excluded(number, range)));
        *range = Range { low: range.low.min(other.low), high: range.high.max(other.high), but };
        true
    });
}
