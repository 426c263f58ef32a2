//! Compilers run in build containers: the crates come before, the network does not, and of this
//! machine they see their toolchain.

use super::machine::Machine;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

const MANIFEST: &str = "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                        [dependencies]\ntiny = \"1\"\n";
const SUM: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const VENDORED: &str = "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\ndirectory = \"vendor\"\n";
const COMPOSE: &str = "name: rust\nservices:\n  web:\n    build: {context: ./web, secrets: [token]}\n\
                       secrets: {token: {file: ./token}}\n";

fn write(directory: &Path, path: &str, text: &str) {
    let path = directory.join(path);
    fs::create_dir_all(path.parent().expect("below the project")).expect("a directory");
    fs::write(path, text).expect("written");
}

#[test]
fn a_rust_project_is_compiled_in_a_container_without_network() {
    let Some(machine) = Machine::new("compile rust") else { return };
    let directory = machine.project("rust", COMPOSE);
    write(&directory, "token", "a-secret-of-the-build");
    let web = directory.join("web");
    write(&web, "Cargo.toml", MANIFEST);
    let lock = format!(
        "version = 4\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\ndependencies = [\n \"tiny\",\n]\n\n\
         [[package]]\nname = \"tiny\"\nversion = \"1.0.0\"\n\
         source = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"{SUM}\"\n"
    );
    write(&web, "Cargo.lock", &lock);
    write(&web, ".cargo/config.toml", VENDORED);
    write(&web, "vendor/tiny/Cargo.toml", "[package]\nname = \"tiny\"\nversion = \"1.0.0\"\n");
    write(&web, "vendor/tiny/src/lib.rs", "pub fn word() -> &'static str { \"one\" }\n");
    write(&web, "vendor/tiny/.cargo-checksum.json", &format!("{{\"files\":{{}},\"package\":\"{SUM}\"}}"));
    write(&web, "src/main.rs", "fn main() { println!(\"{}\", tiny::word()) }\n");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let looks = format!(
        "use std::{{fs, path::Path}};\nfn main() {{\n\
         assert!(std::net::TcpStream::connect({:?}).is_err(), \"there is a network\");\n\
         assert!(!Path::new({:?}).exists(), \"the machine shows\");\n\
         assert!(fs::write(\"/cargo/registry\", \"\").is_err(), \"crates can be changed\");\n\
         assert!(fs::write(\"/rust/bin/x\", \"\").is_err(), \"the toolchain can be changed\");\n\
         let token = fs::read_to_string(\"/run/secrets/token\").unwrap();\n\
         println!(\"cargo:warning={{token}}\");\n}}\n",
        listener.local_addr().expect("bound").to_string(),
        directory.display().to_string(),
    );
    write(&web, "build.rs", &looks);
    let said = machine.run(&directory, &["build"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("in a build container"), "{}", said.err);
    assert!(!said.err.contains("a-secret-of-the-build"), "{}", said.err);
    let sbom = machine.must(&directory, &["image", "sbom", "rust/web"]);
    assert!(sbom.contains("pkg:cargo/tiny@1.0.0"), "{sbom}");
    assert!(!web.join("target").exists() && !web.join("build").exists());

    write(&web, "src/main.rs", "fn main() { println!(\"{}\", tiny::words()) }\n");
    let said = machine.run(&directory, &["build"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("cannot find function `words`"), "{}", said.err);
    assert!(said.err.contains("src/main.rs:1:"), "{}", said.err);
    super::build_limits::nothing_stays(&machine);
}
