//! The last table on disk, so that a gateway that starts alone knows what it served.

use model::route::RouteTable;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Version of the form of the file.
const KEPT_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub version: u32,
    pub table: RouteTable,
    /// The ports chosen for those who asked for any.
    #[serde(default)]
    pub ports: Vec<KeptPort>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPort {
    pub asked: SocketAddr,
    pub backend: String,
    pub port: u16,
}

impl Kept {
    pub fn new(table: RouteTable, ports: Vec<KeptPort>) -> Self {
        Self { version: KEPT_VERSION, table, ports }
    }
}

/// Reads the file; one that cannot be understood is set aside, with a sentence about it.
pub fn load(path: &Path) -> Result<Option<Kept>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{} could not be read: {error}", path.display())),
    };
    let reason = match serde_json::from_slice::<Kept>(&bytes) {
        Ok(kept) if kept.version == KEPT_VERSION => return Ok(Some(kept)),
        Ok(kept) => format!("it has version {}, known is {KEPT_VERSION}", kept.version),
        Err(error) => error.to_string(),
    };
    let aside = beside(path, ".bad");
    let told = match fs::rename(path, &aside) {
        Ok(()) => format!("it was set aside as {}", aside.display()),
        Err(error) => format!("it could not be set aside: {error}"),
    };
    Err(format!("{} is not a route table ({reason}); {told}", path.display()))
}

/// Writes the file so that after a power cut either the old or the new one is there.
pub fn save(path: &Path, kept: &Kept) -> io::Result<()> {
    let temporary = beside(path, ".new");
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kept for ever: a gateway of a later version starts with what this one wrote.
    const GOLDEN: &str = r#"{"version":1,"table":{"version":1,"revision":7,"listeners":[{"address":"127.0.0.1:0","protocol":"auto","backend":"shop/web:80","public":true}],"backends":{"shop/web:80":{"endpoints":[{"instance":"web1","address":"10.89.0.3:80","draining":false}]}},"zones":[{"listen":"10.89.0.1","names":{"web":["10.89.0.2"]},"forward":true}]},"ports":[{"asked":"127.0.0.1:0","backend":"shop/web:80","port":41000}]}"#;

    #[test]
    fn the_first_version_reads_and_writes_as_ever() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("table.json");
        fs::write(&path, GOLDEN).expect("the directory is writable");
        let kept = load(&path).expect("it is valid").expect("it is there");
        assert_eq!((kept.table.revision, kept.ports[0].port), (7, 41000));
        save(&path, &kept).expect("the directory is writable");
        assert_eq!(fs::read_to_string(&path).expect("it was written"), GOLDEN);
    }

    #[test]
    fn what_is_no_table_is_set_aside() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("table.json");
        assert_eq!(load(&path), Ok(None));
        for bad in [&GOLDEN[..100], "", "{}", &GOLDEN.replacen("\"version\":1", "\"version\":2", 1)] {
            fs::write(&path, bad).expect("the directory is writable");
            let told = load(&path).expect_err("it is no table");
            assert!(told.contains("set aside"), "{told}");
            assert_eq!(load(&path), Ok(None));
        }
    }
}
