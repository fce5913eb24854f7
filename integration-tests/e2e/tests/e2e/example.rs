//! The example projects on the servers of a lake.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::lake::Lake;
use crate::harness::servers::Kafka;

/// A file or folder of an example.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(name)
}

/// Makes the lake's project a copy of an example; what says where things are stays the lake's.
pub fn install(lake: &mut Lake, name: &str) {
    copy(&path(name), lake.folder());
}

/// As [`install`], of an example that reads from this topic.
pub fn install_on(lake: &mut Lake, name: &str, kafka: &Kafka, topic: &str) {
    install(lake, name);
    lake.set("BERGLAKE_VARIABLES__TOPIC", topic);
    lake.set(
        "BERGLAKE_CONNECTIONS__MAIN__BOOTSTRAP_SERVERS",
        kafka.brokers(),
    );
}

/// Copies a project without what a run of it has made there.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if !entry.file_type().unwrap().is_dir() {
            fs::copy(entry.path(), target).unwrap();
        } else if entry.file_name() != ".berglake" {
            copy(&entry.path(), &target);
        }
    }
}
