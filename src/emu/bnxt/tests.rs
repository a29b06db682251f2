//! The model driven by hand.
