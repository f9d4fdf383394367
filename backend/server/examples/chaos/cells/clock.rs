//! A clock that can be set, for whatever is started with it: a small library, loaded before the C library, moves what a
//! process is told (`clock.c`, built with the compiler that links Rust). No machine's clock is turned for it.

use crate::Failure;
use std::{
    fs::{self, File, OpenOptions, Permissions},
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

const LIBRARY: &str = include_str!("clock.c");

/// The library, and the file from which it reads how far off the clock is.
pub(super) struct Clock {
    dir: PathBuf,
    library: String,
    path: String,
    file: File,
}

impl Clock {
    pub(super) fn build(dir: &Path) -> Result<Self, Failure> {
        let (source, library, path) = (dir.join("clock.c"), dir.join("clock.so"), dir.join("clock"));
        fs::write(&source, LIBRARY)?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let built =
            cc.status().map_err(|error| format!("this cell needs a C compiler called cc: {error}"))?;
        if !built.success() {
            return Err(format!("clock.c does not compile: {built}").into());
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        let (library, path) = (library.display().to_string(), path.display().to_string());
        let clock = Self { dir: dir.to_owned(), library, path, file };
        clock.set(0)?;
        Ok(clock)
    }

    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("LD_PRELOAD", self.library.clone()), ("SYNDARIX_CHAOS_CLOCK", self.path.clone())]
    }

    /// How far off the clock is from now on, in seconds.
    pub(super) fn set(&self, seconds: i64) -> Result<(), Failure> {
        Ok(self.file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }

    /// A folder of programs like this one, of which the server has this clock. PostgreSQL is started with an environment
    /// that says nothing about ours, so a script in its place says it.
    pub(super) fn programs(&self, real: &Path) -> Result<PathBuf, Failure> {
        let folder = self.dir.join("clocked");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let programs = folder.join("bin");
        fs::create_dir_all(&programs)?;
        let variables: Vec<String> =
            self.environment().iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
        let (server, variables) = (real.join("postgres"), variables.concat());
        let script = format!("#!/bin/sh\n{variables}exec '{}' \"$@\"\n", server.display());
        fs::write(programs.join("postgres"), script)?;
        fs::set_permissions(programs.join("postgres"), Permissions::from_mode(0o755))?;
        symlink(real.join("initdb"), programs.join("initdb"))?;
        // Beside the programs lies what they are looked at for: whether they have the extension.
        if let Some(beside) = real.parent() {
            symlink(beside.join("share"), folder.join("share"))?;
        }
        Ok(programs)
    }
}
