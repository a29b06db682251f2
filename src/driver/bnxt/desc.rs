//! Descriptors and completions: 16 bytes each.
