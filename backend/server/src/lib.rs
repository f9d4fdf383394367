//! syndarix.
