//! A Redis of the cell's own.

use crate::{Failure, process::free_port};
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const START_LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    pub(super) fn start() -> Result<Self, Failure> {
        let port = free_port()?;
        let redis = Self { child: spawn(port)?, port };
        redis.answers()?;
        Ok(redis)
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    fn answers(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        while tell(&self.url(), "PING").is_err() {
            if begun.elapsed() > START_LIMIT {
                return Err("Redis does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One command, in the protocol's form for people.
pub(super) fn tell(url: &str, command: &str) -> Result<String, Failure> {
    let place = url.trim_start_matches("redis://").trim_end_matches('/');
    let mut stream = TcpStream::connect(place)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = [0; 256];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn spawn(port: u16) -> Result<Child, Failure> {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| {
            format!("this cell needs the program redis-server (`make setup` installs it): {error}").into()
        })
}
