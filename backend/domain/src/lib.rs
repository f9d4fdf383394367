//! syndarix-domain.
