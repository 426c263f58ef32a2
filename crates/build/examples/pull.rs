//! Pulls an image into a store, as `juchu image pull` does: `pull STORE REFERENCE`. For
//! `cargo xtask bench pull`, which would otherwise have to build the whole program.

use build::{ImageStore, Job, PullOptions};
use model::image::PullPolicy;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, reference] = &arguments[..] else {
        eprintln!("usage: pull STORE REFERENCE");
        return ExitCode::from(2);
    };
    let pulled = ImageStore::open(Path::new(store)).and_then(|store| {
        let options = PullOptions::new(Job::unstoppable(&|_| {}), PullPolicy::Always);
        build::pull(reference, &store, &options)
    });
    match pulled {
        Ok(image) => {
            println!("{}", image.manifest);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprint!("{}", error.report());
            ExitCode::from(error.report().kind.exit_code())
        }
    }
}
