//! A word that threads share: of memory, or of a test that plays every order of its loads and
//! stores.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// An atomic `T`, with the operations that the standard library's have.
pub trait Word<T> {
    /// Reads it.
    fn load(&self, order: Ordering) -> T;

    /// Writes it.
    fn store(&self, value: T, order: Ordering);

    /// Writes it; what was there.
    fn swap(&self, value: T, order: Ordering) -> T;

    /// Writes it if `current` is there; what was there, as `Err` if it was something else.
    ///
    /// # Errors
    /// What was there instead.
    fn compare_exchange(&self, current: T, new: T, success: Ordering, failure: Ordering) -> Result<T, T>;
}

macro_rules! word {
    ($($atomic:ty: $value:ty),*) => {$(
        impl Word<$value> for $atomic {
            #[inline(always)]
            fn load(&self, order: Ordering) -> $value {
                <$atomic>::load(self, order)
            }

            #[inline(always)]
            fn store(&self, value: $value, order: Ordering) {
                <$atomic>::store(self, value, order);
            }

            #[inline(always)]
            fn swap(&self, value: $value, order: Ordering) -> $value {
                <$atomic>::swap(self, value, order)
            }

            #[inline(always)]
            fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                <$atomic>::compare_exchange(self, current, new, success, failure)
            }
        }
    )*};
}

word!(AtomicBool: bool, AtomicU32: u32, AtomicU64: u64);
