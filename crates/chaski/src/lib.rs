//! chaski.
