//! syndarix-bus.
