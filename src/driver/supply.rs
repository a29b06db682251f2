//! Where the buffers of a ring come from: one pool at a time, which the card
//! can reach.
//!
//! A card that is given memory it cannot reach says nothing: what it receives
//! goes nowhere, and the buffers show what was in them before. So a ring asks
//! [`Function::reaches`] before it takes the first buffer of a pool, and
//! remembers the pool: no packet pays for it.

use crate::dma::{Pool, PoolId};
use crate::error::{Error, Kind, Result};
use crate::pci::Function;
use std::cell::Cell;
use std::sync::{Arc, Weak};

/// The pool of the buffers in a ring.
#[derive(Debug)]
pub struct Supply {
    pool: Cell<Option<PoolId>>,
    /// Weak, as a queue must not keep a card open.
    card: Weak<dyn Function>,
}

impl Supply {
    /// Of a ring of `card`: no pool yet.
    pub fn new(card: &Arc<dyn Function>) -> Self {
        Supply { pool: Cell::new(None), card: Arc::downgrade(card) }
    }

    /// Whether `pool` is the one.
    #[inline(always)]
    pub fn is(&self, pool: &Pool) -> bool {
        self.pool.get() == Some(pool.id())
    }

    /// Takes to `pool`, once no buffer of another is in the ring.
    ///
    /// # Errors
    /// [`Kind::Usage`] if the card cannot reach its memory, [`Kind::Gone`] if
    /// the card was closed.
    #[cold]
    pub fn adopt(&self, pool: &Pool) -> Result<()> {
        let Some(card) = self.card.upgrade() else {
            return Err(Error::new(Kind::Gone, "the card of this queue was closed; open it again"));
        };
        if !card.reaches(pool.arena()) {
            let text = format!(
                "{}: the card cannot reach the memory of this pool, so packets would be lost; map it first: `function.map(pool.arena())`",
                card.name()
            );
            return Err(Error::new(Kind::Usage, text));
        }
        self.pool.set(Some(pool.id()));
        Ok(())
    }

    /// Forgets the pool: the ring has no buffers any more.
    pub fn end(&self) {
        self.pool.set(None);
    }
}
