//! Reads a Compose file of 20 services and makes the first plan for it; prints the median in µs.

use compose::{Files, Input};
use model::image::{BuiltImage, ImageConfig};
use model::{Digest, Release, ReleaseId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

const SERVICES: usize = 20;
const ROUNDS: usize = 51;

struct OneFile(String);

impl Files for OneFile {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        match path.ends_with("compose.yaml") {
            true => Ok(self.0.clone().into_bytes()),
            false => Err(std::io::ErrorKind::NotFound.into()),
        }
    }
    fn exists(&self, path: &Path) -> bool {
        path.ends_with("compose.yaml")
    }
    fn is_dir(&self, path: &Path) -> bool {
        path.ends_with("shop")
    }
}

fn file() -> String {
    let mut text =
        String::from("name: shop\nx-common: &common\n  restart: unless-stopped\n  logging: {}\nservices:\n");
    for number in 0..SERVICES {
        text += &format!(
            r#"  service{number}:
    <<: *common
    image: registry.example/app{number}:${{TAG:-1.{number}}}
    environment:
      PORT: "80{number:02}"
      LEVEL: ${{LEVEL:-info}}
      PEER: http://service{peer}:80{peer:02}
    ports: ["80{number:02}:80{number:02}"]
    volumes: ["data{number}:/data", "./conf:/etc/app:ro"]
    healthcheck: {{ test: ["CMD", "true"], interval: 5s, retries: 3 }}
    deploy: {{ resources: {{ limits: {{ memory: 256m, cpus: "0.5" }} }} }}
"#,
            peer = number.saturating_sub(1),
        );
        if number > 0 {
            text +=
                &format!("    depends_on: {{ service{}: {{ condition: service_healthy }} }}\n", number - 1);
        }
    }
    text += "volumes:\n";
    (0..SERVICES).for_each(|number| text += &format!("  data{number}: {{}}\n"));
    text
}

fn once(files: &OneFile) -> usize {
    let input = Input {
        files: vec!["/srv/shop/compose.yaml".into()],
        directory: "/srv/shop".into(),
        ..Input::default()
    };
    let loaded = compose::load(&input, files);
    let stack = loaded.stack.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    assert_eq!(stack.services.len(), SERVICES);
    let image = BuiltImage {
        manifest: Digest::of(b"image"),
        layers: vec![Digest::of(b"layer")],
        config: ImageConfig { command: vec!["run".into()], ..ImageConfig::default() },
        origin: "image".into(),
    };
    let images = stack.services.keys().map(|name| (name.clone(), image.clone())).collect();
    let addresses = plan::address::allocate(&stack, None, &[], "/home", &[]).expect("there is room");
    let (id, made) = (ReleaseId(1), Timestamp(0));
    let (files, hashes) = (BTreeMap::new(), Default::default());
    let release = Release { id, stack, images, files, hashes, addresses, made };
    let networks = release
        .addresses
        .values()
        .map(|n| plan::spec::network_spec(n, &plan::Foreign::default()))
        .map(|n| (n.bridge.clone(), n))
        .collect();
    let plan = plan::plan(&plan::Input {
        foreign: &plan::Foreign::default(),
        stack: &release.stack.name,
        desired: Some(&release),
        last: None,
        remove_volumes: false,
        stopped: &BTreeSet::new(),
        restart_before: &BTreeMap::new(),
        fallback: None,
        direction: plan::Direction::Forward,
        is_paused: false,
        in_flight: &BTreeMap::new(),
        instances: &[],
        networks: &networks,
        now: Timestamp(0),
        number: 1,
        settings: &plan::Settings { files: "/files".into() },
    });
    assert_eq!(plan.steps.len(), 1, "the first of a chain");
    plan.steps.len() + plan.waiting.len()
}

fn main() {
    let files = OneFile(file());
    let mut times: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(once(&files), SERVICES);
            begun.elapsed().as_micros()
        })
        .collect();
    times.sort_unstable();
    println!("{} µs for {SERVICES} services, median of {ROUNDS}", times[ROUNDS / 2]);
}
