//! What must not work, and what the operator is told then.

use crate::{Place, chain, count, run};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use syndarix_postgres::{Error, start};
use tokio::task::JoinSet;

#[tokio::test]
async fn a_second_instance_on_the_same_data_is_refused_and_told_who_holds_it() {
    let place = Place::new();
    let server = place.start().await;
    let error = start(place.options()).await.unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    assert!(server.answers().await, "the first one is not disturbed");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn of_many_starts_at_once_exactly_one_succeeds() {
    let place = Place::new();
    let starts: JoinSet<_> = (0..6).map(|_| start(place.options())).collect();
    let mut servers = Vec::new();
    for attempt in starts.join_all().await {
        match attempt {
            Ok(server) => servers.push(server),
            Err(error) => assert!(matches!(error, Error::InUse { .. }), "{}", chain(&error)),
        }
    }
    assert_eq!(servers.len(), 1);
    servers.pop().unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn stale_files_naming_a_living_stranger_do_not_stop_a_start() {
    let place = Place::new();
    let server = place.start().await;
    run(server.url(), "create table t as select generate_series(1, 3)").await;
    server.stop().await.unwrap();
    let pgdata = place.data_dir().join("pgdata");
    let stranger = Stranger::start(&pgdata);
    let pid = stranger.0.id();
    fs::write(pgdata.join("postmaster.pid"), format!("{pid}\n{}\n1\n5432\n", pgdata.display())).unwrap();
    let run_dir = place.run_base().join("left");
    fs::create_dir_all(&run_dir).unwrap();
    let server = place.start().await;
    let socket_dir = fs::read_dir(place.run_base()).unwrap().map(|entry| entry.unwrap().path());
    let socket_dir: PathBuf = socket_dir.into_iter().find(|path| *path != run_dir).unwrap();
    server.stop().await.unwrap();

    fs::create_dir_all(&socket_dir).unwrap();
    drop(std::os::unix::net::UnixListener::bind(socket_dir.join(".s.PGSQL.5432")).unwrap());
    fs::write(socket_dir.join(".s.PGSQL.5432.lock"), format!("{pid}\n/elsewhere\n")).unwrap();
    let server = place.start().await;
    assert_eq!(count(server.url()).await, 3);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_socket_path_that_is_too_long_is_refused_before_anything_is_made() {
    let place = Place::new();
    let mut options = place.options();
    options.run_base = place.run_base().join("x".repeat(100));
    let error = start(options).await.unwrap_err();
    assert!(matches!(error, Error::SocketPathTooLong { .. }), "{}", chain(&error));
    assert!(!place.data_dir().join("pgdata").exists());
}

#[tokio::test]
async fn a_long_data_directory_is_no_problem() {
    let place = Place::new();
    let mut options = place.options();
    options.data_dir = place.data_dir().join("y".repeat(120)).join("a folder with spaces");
    start(options).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn data_of_another_major_version_is_left_alone() {
    let place = Place::new();
    place.start().await.stop().await.unwrap();
    fs::write(place.data_dir().join("pgdata/PG_VERSION"), "14\n").unwrap();
    let error = start(place.options()).await.unwrap_err();
    assert!(matches!(error, Error::MajorVersion { wanted: 14, .. }), "{}", chain(&error));
    assert!(error.to_string().contains("pg_dump"), "{error}");
}

#[tokio::test]
async fn a_setting_the_server_refuses_is_shown_with_its_log() {
    let place = Place::new();
    let mut options = place.options();
    options.settings = vec![("wal_level".into(), "nonsense".into())];
    let error = start(options).await.unwrap_err();
    assert!(error.to_string().contains("invalid value for parameter \"wal_level\""), "{error}");
    place.start().await.stop().await.unwrap();
}

#[tokio::test]
async fn a_failing_initdb_is_shown_with_its_output_and_leaves_nothing_behind() {
    let place = Place::new();
    let mut options = place.options();
    options.binaries =
        Some(fake_binaries(place.0.path(), "echo 'initdb: error: No space left on device' >&2; exit 1"));
    let error = start(options).await.unwrap_err();
    assert!(error.to_string().contains("No space left on device"), "{error}");
    let left: Vec<_> =
        fs::read_dir(place.data_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("pgdata")), "{left:?}");
    place.start().await.stop().await.unwrap();
}

#[tokio::test]
async fn binaries_without_pgvector_are_refused_by_name() {
    let place = Place::new();
    let mut options = place.options();
    let bin_dir = fake_binaries(place.0.path(), "exit 0");
    fs::remove_dir_all(place.0.path().join("fake/share")).unwrap();
    options.binaries = Some(bin_dir.clone());
    let message = start(options).await.unwrap_err().to_string();
    assert!(
        message.contains(&format!("{}: PostgreSQL 18.0 without pgvector", bin_dir.display())),
        "{message}"
    );
}

#[tokio::test]
async fn a_closed_folder_above_the_data_is_named_to_root_and_no_matter_to_anybody_else() {
    let place = Place::new();
    let closed = place.0.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let options = place.options().in_dir(closed.join("data"));
    match start(options).await {
        Ok(server) => {
            assert!(!rustix::process::geteuid().is_root());
            server.stop().await.unwrap();
        }
        Err(error) => {
            assert!(rustix::process::geteuid().is_root(), "{}", chain(&error));
            assert!(error.to_string().contains(&format!("chmod o+x {}", closed.display())), "{error}");
        }
    }
}

/// A process of the data's owner: PostgreSQL heeds no other, nor its own parent.
struct Stranger(Child);

impl Stranger {
    fn start(pgdata: &Path) -> Self {
        let owner = fs::metadata(pgdata).unwrap();
        let mut command = Command::new("sleep");
        command.arg("600").stdout(Stdio::null()).stderr(Stdio::null());
        if rustix::process::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        Self(command.spawn().unwrap())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that looks like a PostgreSQL 18 with pgvector, whose `initdb` runs `script`.
fn fake_binaries(place: &Path, script: &str) -> PathBuf {
    let bin_dir = place.join("fake/bin");
    let extensions = place.join("fake/share/extension");
    fs::create_dir_all(&bin_dir).unwrap();
    fs::create_dir_all(&extensions).unwrap();
    fs::write(extensions.join("vector.control"), "").unwrap();
    for (name, script) in [("postgres", "echo 'postgres (PostgreSQL) 18.0'"), ("initdb", script)] {
        fs::write(bin_dir.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(bin_dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    bin_dir
}
