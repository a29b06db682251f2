//! Why a command on the data plane was refused: the error code of its response.

/// An error code of HWRM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(pub u16);

impl Refusal {
    /// It failed, and there is no better word for it.
    pub const FAIL: Refusal = Refusal(1);
    /// An argument makes no sense.
    pub const INVALID: Refusal = Refusal(2);
    /// The function may not.
    pub const DENIED: Refusal = Refusal(3);
    /// There is no more of it.
    pub const ALLOC: Refusal = Refusal(4);
    /// Not supported in this form.
    pub const UNSUPPORTED: Refusal = Refusal(9);
}

/// What a command on the data plane comes to.
pub type Outcome<T> = std::result::Result<T, Refusal>;
