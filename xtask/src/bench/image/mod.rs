//! Native builds beside what they replace, in one run and in memory, so that a shared disk does not
//! decide: `buildah` with the equivalent Dockerfile on a slim base from a registry on this machine,
//! tar with zstd, and the size of that base.

mod peer;
mod reproducible;
mod room;

pub use reproducible::BENCH as REPRODUCIBLE;

use super::harness::{Contender, compare, interleave, median};
use super::{Bench, Measured, Options};
use crate::process::{read, run};
use crate::{Failure, workspace};
use peer::Peer;
use room::Room;
use std::path::{Path, PathBuf};

pub const BENCH: Bench = Bench {
    name: "image",
    about: "native builds beside buildah, tar with zstd, and a slim base (root, network)",
    run: measure,
};

const ROUNDS: usize = 7;
const SERVICE: &str = "examples/guestbook/web";

/// The program that is measured, with a release build.
fn program() -> Result<PathBuf, Failure> {
    let root = workspace::root();
    run(&root, "cargo", &["build", "--quiet", "--release", "-p", "build", "--example", "native"])?;
    Ok(root.join("target/release/examples/native"))
}

/// One call of the program, and what it said.
fn service(program: &Path, project: &Path, work: &Path) -> Result<String, Failure> {
    let arguments = ["service", &project.to_string_lossy(), &work.to_string_lossy()];
    read(&workspace::root(), &program.to_string_lossy(), &arguments)
}

/// `assembly 123.4 ms, 99.1 ms of processor time`: the number at `position` of the line.
fn figure(said: &str, word: &str, position: usize) -> Result<f64, Failure> {
    let line = said.lines().find(|line| line.starts_with(word));
    let number = line.and_then(|line| line.split_whitespace().nth(position)?.parse().ok());
    number.ok_or_else(|| format!("the program did not say `{word}`").into())
}

fn measure(_: &Options) -> Result<Vec<Measured>, Failure> {
    let program = program()?;
    crate::packages::provide_image_peers()?;
    let room = Room::new("image")?;
    let project = workspace::root().join(SERVICE);
    let work = room.directory("work")?;
    // The first build downloads.
    let first = service(&program, &project, &work)?;
    let peer = Peer::start(&room, &project, &work)?;
    let mut said = Vec::new();
    let ours = Contender::new("juchu", || {
        said.push(service(&program, &project, &work)?);
        Ok(())
    });
    let theirs = Contender::new("buildah", || peer.build());
    let series = interleave(1, ROUNDS, vec![ours, theirs])?;
    eprint!("{}", compare(&series).to_text());
    let of = |word: &str, position: usize| -> Result<f64, Failure> {
        Ok(median(said[1..].iter().map(|one| figure(one, word, position)).collect::<Result<_, _>>()?))
    };
    let (assembly, assembly_cpu) = (of("assembly", 1)?, of("assembly", 3)?);
    let (changed, changed_cpu) = (of("application-only", 1)?, of("application-only", 3)?);
    let (wall, cpu) = (
        series[0].ratio(&series[1]),
        series[0].cpu_median().as_secs_f64() / series[1].cpu_median().as_secs_f64(),
    );
    let size = figure(&first, "packed", 1)? / peer.packed_bytes as f64;
    let mut rows = vec![
        Measured {
            number: "native build of a small Python service from fetched packages, assembly",
            promised: "≤ 250 ms",
            value: format!("{assembly:.0} ms ({assembly_cpu:.0} ms of processor time)"),
            kept: Some(assembly <= 250.0),
        },
        Measured {
            number: "the same, only the application changed",
            promised: "≤ 50 ms",
            value: format!("{changed:.1} ms ({changed_cpu:.0} ms of processor time)"),
            kept: Some(changed <= 50.0),
        },
        Measured {
            number: "the same in all, over `buildah bud --no-cache` with the equivalent Dockerfile",
            promised: "≤ 0.2×",
            value: format!("{wall:.2}× ({cpu:.2}× of processor time)"),
            kept: Some(wall <= 0.2),
        },
        Measured {
            number: "size of that image, over the slim base of the equivalent alone, both packed by zstd",
            promised: "≤ 0.6×",
            value: format!(
                "{size:.2}× ({:.1} MB beside {:.1} MB)",
                figure(&first, "packed", 1)? / 1e6,
                peer.packed_bytes as f64 / 1e6
            ),
            kept: Some(size <= 0.6),
        },
    ];
    rows.push(layer(&program, &peer.root, &room)?);
    Ok(rows)
}

/// A root file system into one layer, its digests and its directory, beside tar with the same compressor.
fn layer(program: &Path, directory: &Path, room: &Room) -> Result<Measured, Failure> {
    let work = room.directory("layer")?;
    let tree = directory.join("usr");
    let packed = room.path().join("tar.zst").to_string_lossy().into_owned();
    let (program, tree, work) = (
        program.to_string_lossy().into_owned(),
        tree.to_string_lossy().into_owned(),
        work.to_string_lossy().into_owned(),
    );
    let root = workspace::root();
    let mut bytes = 0.0;
    let ours = Contender::new("juchu", || {
        bytes = figure(&read(&root, &program, &["layer", &tree, &work])?, "unpacked", 1)?;
        Ok(())
    });
    let theirs = Contender::new("tar, zstd -3", || {
        let tar = ["-C", &tree, "--use-compress-program=zstd -3", "-cf", &packed, "."];
        read(&root, "tar", &tar).map(drop)
    });
    let series = interleave(1, ROUNDS, vec![theirs, ours])?;
    eprint!("{}", compare(&series).to_text());
    let (speed, cpu) = (
        series[0].ratio(&series[1]),
        series[0].cpu_median().as_secs_f64() / series[1].cpu_median().as_secs_f64(),
    );
    Ok(Measured {
        number: "a root file system into a layer and its directory, speed over tar with the same compressor",
        promised: "≥ 0.6×",
        value: format!("{speed:.2}× ({cpu:.2}× by processor time; {:.0} MB)", bytes / 1e6),
        kept: Some(speed >= 0.6),
    })
}
