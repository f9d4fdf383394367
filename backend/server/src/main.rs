//! The one binary.

/// A fifth of the client's time under load was glibc's allocator (adrs/0020-group-commit.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    syndarix::cli::run()
}
