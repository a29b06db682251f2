//! What a command on the data plane comes to, if it fails.

/// Status and syndrome of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The status; never 0.
    pub status: u8,
    /// What firmware adds; 0 where it is not known.
    pub syndrome: u32,
}

/// What a command comes to.
pub type Outcome<T> = Result<T, Status>;

impl Status {
    const fn of(status: u8) -> Self {
        Status { status, syndrome: 0 }
    }

    /// Opcode or modifier not supported.
    pub const BAD_OPERATION: Status = Status::of(0x02);
    /// A field makes no sense.
    pub const BAD_PARAMETER: Status = Status::of(0x03);
    /// Not now.
    pub const BAD_SYSTEM_STATE: Status = Status::of(0x04);
    /// An object that is named is not there.
    pub const BAD_RESOURCE: Status = Status::of(0x05);
    /// An object is in use.
    pub const RESOURCE_BUSY: Status = Status::of(0x06);
    /// More than there may be.
    pub const EXCEEDS_LIMIT: Status = Status::of(0x08);
    /// The object is not in a state for it.
    pub const BAD_RESOURCE_STATE: Status = Status::of(0x09);
    /// An index outside its object.
    pub const BAD_INDEX: Status = Status::of(0x0a);
    /// There is no more of it.
    pub const NO_RESOURCES: Status = Status::of(0x0f);
    /// A queue is in another state than the command says.
    pub const BAD_QUEUE_STATE: Status = Status::of(0x10);
    /// A field that must be there lies beyond the input.
    pub const BAD_INPUT_LENGTH: Status = Status::of(0x50);

    /// The same with a syndrome.
    pub const fn with(self, syndrome: u32) -> Self {
        Status { syndrome, ..self }
    }
}
