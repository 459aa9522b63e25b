//! Hardware.
