//! syndarix-forge.
