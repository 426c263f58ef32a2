//! How long an image takes: `cargo bench -p build`. Packages come from the Debian archive once and
//! from the cache below the target directory after that; the download is not measured.

use build::archive::ArchiveChoice;
use build::{Entry, EntryKind, ImagePlan, ImageStore, Job, Options, Source, assemble, assemble_with};
use model::image::ImageConfig;
use model::{Digest, Timestamp};
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;

fn plan(text: &str) -> ImagePlan {
    ImagePlan {
        packages: ["python3", "ca-certificates", "tzdata"].map(str::to_owned).to_vec(),
        exclude: Vec::new(),
        archive: ArchiveChoice::default(),
        users: Vec::new(),
        app: (0..200)
            .map(|i| Entry {
                path: format!("/app/module{i}.py"),
                kind: EntryKind::File(Source::Bytes(text.repeat(200).into_bytes().into())),
                mode: 0o644,
                uid: 0,
                gid: 0,
            })
            .collect(),
        base_extra: Vec::new(),
        config: ImageConfig::default(),
        inputs: Digest::of(b"bench"),
        origin: "bench".to_owned(),
        created: Timestamp(0),
    }
}

fn store(root: &Path) -> ImageStore {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("archive-cache");
    std::fs::create_dir_all(&cache).expect("the target directory can be written");
    let _ = std::os::unix::fs::symlink(&cache, root.join("archive"));
    ImageStore::open(root).expect("a new store opens")
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    println!(
        "{what:<48} median {:>7.1} ms   worst {:>7.1} ms",
        ms(times[times.len() / 2]),
        ms(times[times.len() - 1])
    );
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn main() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let first = store(root.path());
    assemble(&plan("warm"), &first, &|text| eprintln!("{text}")).expect("the archive can be reached");
    let measure = |work: &dyn Fn(usize)| -> Vec<Duration> {
        (0..ROUNDS)
            .map(|round| {
                let start = Instant::now();
                work(round);
                start.elapsed()
            })
            .collect()
    };
    // All directories are kept to the end: ext4 looks long for an inode where many were just freed.
    let roots: Vec<_> = (0..ROUNDS).map(|_| tempfile::tempdir().expect("a temporary directory")).collect();
    let done = measure(&|round| {
        assemble(&plan(&format!("{round}")), &store(roots[round].path()), &|_| {}).expect("an image");
    });
    report("whole image from cached packages", done);
    let done = measure(&|round| {
        assemble(&plan(&format!("app {round}")), &first, &|_| {}).expect("an image");
    });
    report("changed application, base there", done);
    let done = measure(&|_| {
        let options = Options { job: Job::unstoppable(&|_| {}), force_fresh: true };
        assemble_with(&plan("warm"), &first, &options).expect("an image");
    });
    report("made anew and compared, archive asked", done);
}
