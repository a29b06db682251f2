//! Packets: build, parse, filter, capture files.
