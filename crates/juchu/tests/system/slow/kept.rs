//! What builds keep for later ones stays within its bound; a jar runs with Java's authorities.

use super::machine::{Machine, tiny};
use base64::Engine;
use std::fs;
use std::io::Write;
use std::time::{Duration, SystemTime};
use testkit::{free_port, wait_until};

/// `public class Main` for Java 11: `main` asks the default `X509TrustManager` for its accepted
/// issuers, prints `authorities known: ` and whether there are more than 100, and sleeps.
const MAIN_CLASS: &str = "\
    yv66vgAAADcAVgoAAgADBwAEDAAFAAYBABBqYXZhL2xhbmcvT2JqZWN0AQAGPGluaXQ+AQADKClWCgAIAAkHAAoMAAsADAEAIWph\
    dmF4L25ldC9zc2wvVHJ1c3RNYW5hZ2VyRmFjdG9yeQEAE2dldERlZmF1bHRBbGdvcml0aG0BABQoKUxqYXZhL2xhbmcvU3RyaW5n\
    OwoACAAODAAPABABAAtnZXRJbnN0YW5jZQEANyhMamF2YS9sYW5nL1N0cmluZzspTGphdmF4L25ldC9zc2wvVHJ1c3RNYW5hZ2Vy\
    RmFjdG9yeTsHABIBABZqYXZhL3NlY3VyaXR5L0tleVN0b3JlCgAIABQMABUAFgEABGluaXQBABsoTGphdmEvc2VjdXJpdHkvS2V5\
    U3RvcmU7KVYKAAgAGAwAGQAaAQAQZ2V0VHJ1c3RNYW5hZ2VycwEAHygpW0xqYXZheC9uZXQvc3NsL1RydXN0TWFuYWdlcjsHABwB\
    AB5qYXZheC9uZXQvc3NsL1g1MDlUcnVzdE1hbmFnZXILABsAHgwAHwAgAQASZ2V0QWNjZXB0ZWRJc3N1ZXJzAQAnKClbTGphdmEv\
    c2VjdXJpdHkvY2VydC9YNTA5Q2VydGlmaWNhdGU7CQAiACMHACQMACUAJgEAEGphdmEvbGFuZy9TeXN0ZW0BAANvdXQBABVMamF2\
    YS9pby9QcmludFN0cmVhbTsSAAAAKAwAKQAqAQAXbWFrZUNvbmNhdFdpdGhDb25zdGFudHMBABUoWilMamF2YS9sYW5nL1N0cmlu\
    ZzsKACwALQcALgwALwAwAQATamF2YS9pby9QcmludFN0cmVhbQEAB3ByaW50bG4BABUoTGphdmEvbGFuZy9TdHJpbmc7KVYFAAAA\
    AAAJJ8AKADQANQcANgwANwA4AQAQamF2YS9sYW5nL1RocmVhZAEABXNsZWVwAQAEKEopVgcAOgEABE1haW4BAARDb2RlAQAPTGlu\
    ZU51bWJlclRhYmxlAQAEbWFpbgEAFihbTGphdmEvbGFuZy9TdHJpbmc7KVYBAA1TdGFja01hcFRhYmxlBwBBAQATW0xqYXZhL2xh\
    bmcvU3RyaW5nOwEACkV4Y2VwdGlvbnMHAEQBABNqYXZhL2xhbmcvRXhjZXB0aW9uAQAKU291cmNlRmlsZQEACU1haW4uamF2YQEA\
    EEJvb3RzdHJhcE1ldGhvZHMPBgBJCgBKAEsHAEwMACkATQEAJGphdmEvbGFuZy9pbnZva2UvU3RyaW5nQ29uY2F0RmFjdG9yeQEA\
    mChMamF2YS9sYW5nL2ludm9rZS9NZXRob2RIYW5kbGVzJExvb2t1cDtMamF2YS9sYW5nL1N0cmluZztMamF2YS9sYW5nL2ludm9r\
    ZS9NZXRob2RUeXBlO0xqYXZhL2xhbmcvU3RyaW5nO1tMamF2YS9sYW5nL09iamVjdDspTGphdmEvbGFuZy9pbnZva2UvQ2FsbFNp\
    dGU7CABPAQAUYXV0aG9yaXRpZXMga25vd246IAEBAAxJbm5lckNsYXNzZXMHAFIBACVqYXZhL2xhbmcvaW52b2tlL01ldGhvZEhh\
    bmRsZXMkTG9va3VwBwBUAQAeamF2YS9sYW5nL2ludm9rZS9NZXRob2RIYW5kbGVzAQAGTG9va3VwACEAOQACAAAAAAACAAEABQAG\
    AAEAOwAAAB0AAQABAAAABSq3AAGxAAAAAQA8AAAABgABAAAABAAJAD0APgACADsAAACTAAMAAwAAADy4AAe4AA1MKwHAABG2ABMr\
    tgAXAzLAABu5AB0BAL49sgAhHBBkpAAHBKcABAO6ACcAALYAKxQAMbgAM7EAAAACADwAAAAaAAYAAAAGAAcABwAPAAgAHwAJADUA\
    CgA7AAsAPwAAACUAAv8ALAADBwBABwAIAQABBwAs/wAAAAMHAEAHAAgBAAIHACwBAEIAAAAEAAEAQwADAEUAAAACAEYARwAAAAgA\
    AQBIAAEATgBQAAAACgABAFEAUwBVABk=";

#[test]
fn caches_are_brought_within_their_bound_before_a_build() {
    let Some(machine) = Machine::new("cache bound") else { return };
    let directory = tiny(&machine, "kept", free_port(), "one", "");
    let cache = machine.home().join("cache");
    let entry = |path: &str, days: u64| {
        let path = cache.join(path);
        fs::create_dir_all(path.parent().expect("an area")).expect("a directory");
        fs::write(&path, vec![1; 3 << 20]).expect("written");
        let used = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        fs::File::open(&path).and_then(|file| file.set_modified(used)).expect("an old file");
    };
    entry("programs/old", 9);
    entry("programs/young", 1);
    let within = |most: &str| {
        let mut command = machine.command(&directory, &["build"]);
        let said = machine.finish(&["build"], command.env("JUCHU_CACHE_MAX", most));
        assert_eq!(said.code, 0, "{}", said.err);
        said.err
    };
    within("1g");
    assert!(cache.join("programs/old").exists());
    let said = within("5m");
    assert!(said.contains("the caches of builds hold more than 5 MiB: 1 entries"), "{said}");
    assert!(!cache.join("programs/old").exists() && cache.join("programs/young").exists());
    let checkup = machine.run(&directory, &["doctor"]);
    assert!(checkup.out.contains("the caches of builds hold 3"), "{}", checkup.out);
    let mut command = machine.command(&directory, &["build"]);
    let refused = machine.finish(&["build"], command.env("JUCHU_CACHE_MAX", "much"));
    assert!(refused.err.contains("JUCHU_CACHE_MAX: "), "{}", refused.err);
    assert!(refused.err.contains("hint: "), "{}", refused.err);
}

#[test]
fn a_jar_runs_and_knows_the_authorities() {
    let Some(machine) = Machine::new("java") else { return };
    let directory = machine.project("java", "name: java\nservices:\n  app: {build: ./app}\n");
    fs::create_dir_all(directory.join("app")).expect("a directory");
    let file = fs::File::create(directory.join("app/app.jar")).expect("made");
    let mut jar = zip::ZipWriter::new(file);
    let class = base64::engine::general_purpose::STANDARD.decode(MAIN_CLASS).expect("base64");
    for (name, content) in [
        ("META-INF/MANIFEST.MF", &b"Manifest-Version: 1.0\r\nMain-Class: Main\r\n"[..]),
        ("Main.class", &class),
    ] {
        jar.start_file(name, zip::write::SimpleFileOptions::default()).expect("a file");
        jar.write_all(content).expect("written");
    }
    jar.finish().expect("a jar");
    machine.must(&directory, &["up", "--detach"]);
    let knows = || machine.run(&directory, &["logs"]).out.contains("authorities known: true");
    wait_until(Duration::from_secs(60), "the program to speak", knows);
}
