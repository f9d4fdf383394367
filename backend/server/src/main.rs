//! The one binary.

fn main() -> std::process::ExitCode {
    syndarix::cli::run()
}
