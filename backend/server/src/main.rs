//! The one binary.

/// Busy servers allocate small pieces on all cores: glibc's allocator costs twice as much, and gives less back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    syndarix::cli::run()
}
