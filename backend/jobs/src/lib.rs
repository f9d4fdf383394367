//! syndarix-jobs.
