//! Conditions and numbers: what the parser makes of a text, and the compiler turns
//! into a program.
//!
//! All places in the frame are known here: a load names its bytes, not a layer.

/// A word of scratch memory.
pub type Slot = u8;

/// A condition.
#[derive(Clone, Debug)]
pub enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Compare(Value, Relation, Value),
    /// Remembers a number and holds.
    Set(Slot, Value),
}

/// A number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    Number(u32),
    /// Length of the frame on the wire.
    Length,
    /// What a [`Test::Set`] remembered.
    Slot(Slot),
    /// 1, 2 or 4 bytes of the frame, `k` bytes on from where the number says or from
    /// its beginning, most significant first.
    Load(Option<Box<Value>>, u32, u8),
    Binary(Box<Value>, Operator, Box<Value>),
}

/// Others are these, negated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Equal,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// A place that no frame has: a load from there rejects.
const BEYOND: u32 = u32::MAX;

impl Test {
    /// Holds always.
    pub const TRUE: Test = Test::All(Vec::new());

    /// Both must hold, `self` first.
    pub fn and(self, other: Test) -> Test {
        match self {
            Test::All(mut tests) => {
                tests.push(other);
                Test::All(tests)
            }
            first => Test::All(vec![first, other]),
        }
    }

    /// One must hold, `self` is tried first.
    pub fn or(self, other: Test) -> Test {
        match self {
            Test::Any(mut tests) => {
                tests.push(other);
                Test::Any(tests)
            }
            first => Test::Any(vec![first, other]),
        }
    }

    pub fn negated(self) -> Test {
        Test::Not(Box::new(self))
    }

    pub fn equal(value: Value, number: u32) -> Test {
        Test::Compare(value, Relation::Equal, Value::Number(number))
    }

    /// Some bits of a value are those of `number`.
    pub fn masked(value: Value, mask: u32, number: u32) -> Test {
        Test::equal(if mask == u32::MAX { value } else { value.with(Operator::And, mask) }, number)
    }

    pub fn at_least(value: Value, number: u32) -> Test {
        Test::Compare(value, Relation::GreaterOrEqual, Value::Number(number))
    }

    pub fn at_most(value: Value, number: u32) -> Test {
        Test::Compare(value, Relation::Greater, Value::Number(number)).negated()
    }
}

impl Value {
    /// `size` bytes, `k` bytes on from `at`. A place beyond 2^32 is beyond the end,
    /// not at the beginning again.
    pub fn load(at: Value, k: u32, size: u8) -> Value {
        match at {
            Value::Number(at) => Value::Load(None, at.checked_add(k).unwrap_or(BEYOND), size),
            at => Value::Load(Some(Box::new(at)), k, size),
        }
    }

    /// This and `other`; worked out now if both are known.
    pub fn with(self, operator: Operator, other: impl Into<Value>) -> Value {
        match (self, operator, other.into()) {
            (Value::Number(left), _, Value::Number(right)) if operator.apply(left, right).is_some() => {
                Value::Number(operator.apply(left, right).unwrap_or_default())
            }
            (Value::Number(0), Operator::Add, value) | (value, Operator::Add, Value::Number(0)) => value,
            (left, _, right) => Value::Binary(Box::new(left), operator, Box::new(right)),
        }
    }

    /// Whether it changes when something is remembered.
    pub fn remembers(&self) -> bool {
        match self {
            Value::Number(_) | Value::Length | Value::Load(None, ..) => false,
            Value::Slot(_) => true,
            Value::Load(Some(at), ..) => at.remembers(),
            Value::Binary(left, _, right) => left.remembers() || right.remembers(),
        }
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Number(number)
    }
}

impl Operator {
    /// In 32 bits without a sign; none for a division by zero.
    pub fn apply(self, left: u32, right: u32) -> Option<u32> {
        Some(match self {
            Operator::Add => left.wrapping_add(right),
            Operator::Subtract => left.wrapping_sub(right),
            Operator::Multiply => left.wrapping_mul(right),
            Operator::Divide => left.checked_div(right)?,
            Operator::Remainder => left.checked_rem(right)?,
            Operator::And => left & right,
            Operator::Or => left | right,
            Operator::Xor => left ^ right,
            Operator::ShiftLeft => left.checked_shl(right).unwrap_or(0),
            Operator::ShiftRight => left.checked_shr(right).unwrap_or(0),
        })
    }
}
