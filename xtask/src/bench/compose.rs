//! How long parsing and resolving Compose files takes, and `docker-compose config` beside it.

use super::harness::{Contender, compare, interleave, milliseconds};
use super::{Bench, Measured, Options};
use crate::oracle::Reference;
use crate::process::{read, run};
use crate::{Failure, workspace};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const BENCH: Bench = Bench {
    name: "compose",
    about: "parsing and resolving files of 20 and of 5,000 services, docker-compose beside it",
    run: measure,
};

const SMALL: usize = 20;
const LARGE: usize = 5_000;

fn measure(_: &Options) -> Result<Vec<Measured>, Failure> {
    let root = workspace::root();
    run(&root, "cargo", &["build", "--quiet", "--release", "-p", "compose", "--example", "load"])?;
    let directory = root.join(format!("target/bench-compose-{}", std::process::id()));
    let measured = series(&root.join("target/release/examples/load"), &directory);
    std::fs::remove_dir_all(&directory)?;
    measured
}

fn series(example: &Path, directory: &Path) -> Result<Vec<Measured>, Failure> {
    let small = project(directory, SMALL)?;
    let large = project(directory, LARGE)?;
    let reference = Reference::provide(None)?;
    let (small_time, _) = load(example, &small, 101)?;
    let (large_time, large_memory) = load(example, &large, 5)?;
    let small_theirs = beside(example, &reference, &small, 20)?;
    // The reference takes more than ten seconds for this file.
    let large_theirs = beside(example, &reference, &large, 1)?;
    let megabytes = large_memory as f64 / 1024.0;
    Ok(vec![
        Measured {
            number: "20 services, parsed and resolved",
            promised: "≤ 10 ms",
            value: format!(
                "{}; as a process {} beside {} of docker-compose",
                milliseconds(small_time),
                milliseconds(small_theirs[0]),
                milliseconds(small_theirs[1]),
            ),
            kept: Some(small_time <= Duration::from_millis(10)),
        },
        Measured {
            number: "5,000 services in one file, parsed and resolved",
            promised: "≤ 1 s",
            value: format!(
                "{}; docker-compose, as a process, {}",
                milliseconds(large_time),
                milliseconds(large_theirs[1]),
            ),
            kept: Some(large_time <= Duration::from_secs(1)),
        },
        Measured {
            number: "the same, most memory of the process",
            promised: "–",
            value: format!("{megabytes:.1} MiB"),
            kept: None,
        },
    ])
}

/// The median of loads within one process, and the most memory it had in KiB.
fn load(example: &Path, file: &Path, rounds: usize) -> Result<(Duration, u64), Failure> {
    let arguments = [&file.to_string_lossy(), rounds.to_string().as_str()].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = read(&workspace::root(), &example.to_string_lossy(), &arguments)?;
    eprint!("{said}");
    let before = |unit: &str| {
        let words: Vec<&str> = said.split([' ', ',', '\n']).filter(|word| !word.is_empty()).collect();
        let at = words.iter().position(|word| *word == unit)?;
        words.get(at.checked_sub(1)?)?.parse::<u64>().ok()
    };
    let micros = before("µs").ok_or("the example did not say its time")?;
    let memory = before("KiB").ok_or("the example did not say its memory")?;
    Ok((Duration::from_micros(micros), memory))
}

/// Medians of whole processes: a load by the library, and docker-compose.
fn beside(
    example: &Path,
    reference: &Reference,
    file: &Path,
    rounds: usize,
) -> Result<[Duration; 2], Failure> {
    let (example, file) = (example.to_string_lossy(), file.to_string_lossy());
    let program = reference.program().to_string_lossy();
    let ours = [&*file, "0"];
    let theirs = ["-f", &*file, "config", "--quiet"];
    let contenders = vec![
        Contender::command("ours", &example, &ours),
        Contender::command("docker-compose config", &program, &theirs),
    ];
    let series = interleave(usize::from(rounds > 1), rounds, contenders)?;
    eprint!("{}", compare(&series).to_text());
    Ok([series[0].wall_median(), series[1].wall_median()])
}

/// A file of so many services, like people write them.
fn project(directory: &Path, services: usize) -> Result<PathBuf, Failure> {
    let place = directory.join(services.to_string());
    std::fs::create_dir_all(&place)?;
    let file = place.join("compose.yaml");
    std::fs::write(&file, text(services))?;
    Ok(file)
}

fn text(services: usize) -> String {
    let mut text = "name: shop\nx-common: &common\n  restart: unless-stopped\nservices:\n".to_owned();
    for number in 0..services {
        text += &format!(
            r#"  service{number}:
    <<: *common
    image: registry.example/app{number}:${{TAG:-1.{number}}}
    environment:
      LEVEL: ${{LEVEL:-info}}
      PEER: http://service{peer}:8080
    ports: ["{port}:8080"]
    volumes: ["data{number}:/data", "./conf:/etc/app:ro"]
    healthcheck: {{test: ["CMD", "true"], interval: 5s, retries: 3}}
    deploy: {{resources: {{limits: {{memory: 256m, cpus: "0.5"}}}}}}
"#,
            peer = number.saturating_sub(1),
            port = 10_000 + number,
        );
    }
    text += "volumes:\n";
    (0..services).for_each(|number| text += &format!("  data{number}: {{}}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_so_many_services() {
        let text = text(3);
        assert_eq!(text.matches("    image: ").count(), 3);
        assert!(text.contains("  service2:\n") && text.contains("  data2: {}\n"));
    }
}
