//! The tunnel harness.
