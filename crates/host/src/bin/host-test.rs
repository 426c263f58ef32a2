//! The roles of this crate as a program, for its own tests and benchmarks; and an engine that starts
//! one instance and is there to be killed.

use host::{HostConfig, HostEngine, LayerSource};
use model::{Digest, InstanceId};
use run::engine::Engine;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_ref().and_then(|role| role.to_str()) {
        Some("shim") => host::shim::main(arguments),
        Some("enter") => host::enter::main(arguments),
        Some("oci") => host::oci::main(arguments),
        Some("start") => {
            let text: Vec<String> = arguments.filter_map(|argument| argument.into_string().ok()).collect();
            let [directory, instance] = &text[..] else { return refuse("start takes DIR and INSTANCE") };
            start(Path::new(directory), instance)
        }
        _ => refuse("the first argument is shim, enter, oci or start"),
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(2)
}

/// Says `starting` and then how it went, over the directories of a test, and waits for its end.
fn start(directory: &Path, instance: &str) -> ExitCode {
    let Ok(id) = InstanceId::new(instance) else { return refuse("this is no instance's id") };
    let config = HostConfig {
        state: directory.join("state"),
        runtime: directory.join("run"),
        layers: Arc::new(Layers(directory.join("layers"))),
        volumes: directory.join("volumes"),
        executable: std::env::current_exe().expect("this program has a file"),
        log_budget_bytes: 64 << 20,
        unprivileged: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let engine = HostEngine::open(config).await.expect("the engine opens");
        println!("starting");
        println!("{:?}", engine.start(&id).await);
        std::future::pending().await
    })
}

struct Layers(PathBuf);

impl LayerSource for Layers {
    fn layer_dir(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.0.join(digest.hex()))
    }
}
