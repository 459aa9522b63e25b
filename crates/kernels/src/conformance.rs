//! One suite for all variants of all ops.
