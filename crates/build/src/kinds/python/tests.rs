//! Python projects at the level of plans.

use super::install::tests::make_wheel;
use crate::kinds::Kind;
use crate::kinds::testing::{FakeRunner, Fixture};
use crate::plan::ImagePlan;

fn paths(plan: &ImagePlan) -> Vec<&str> {
    plan.app.iter().chain(&plan.base_extra).map(|entry| entry.path.as_str()).collect()
}

#[test]
fn a_project_of_the_standard_library_needs_no_network() {
    let fixture = Fixture::new()
        .file("app.py", "print(1)\n")
        .file("static/a.css", "a")
        .file("tests/__pycache__/x.pyc", "");
    let planned = fixture.plan().unwrap();
    assert_eq!(planned.kind, Kind::Python);
    let plan = &planned.plan;
    assert_eq!(plan.config.command, ["python3", "app.py"]);
    assert_eq!((plan.config.user.as_str(), plan.config.working_dir.as_str()), ("10001:10001", "/app"));
    assert_eq!(plan.config.environment["PYTHONUNBUFFERED"], "1");
    assert_eq!(paths(plan), ["/app", "/app/app.py", "/app/static/a.css", "/usr/local/bin/python"]);
    assert!(plan.packages.contains(&"python3".to_owned()));
}

#[test]
fn secrets_of_a_dot_env_file_stay_out_unless_asked_for() {
    let fixture = Fixture::new().file("app.py", "").file(".env", "PASSWORD=x");
    let planned = fixture.plan().unwrap();
    assert!(!paths(&planned.plan).contains(&"/app/.env"));
    assert!(planned.notes[0].contains("env_file"));
    let asked = fixture.file(".dockerignore", "!.env\n").plan().unwrap();
    assert!(paths(&asked.plan).contains(&"/app/.env") && asked.notes.is_empty());
}

#[test]
fn the_same_project_gives_the_same_plan_and_a_changed_one_another() {
    let fixture = Fixture::new().file("app.py", "print(1)\n").file("requirements.txt", "# nothing\n");
    let (a, b) = (fixture.plan().unwrap(), fixture.plan().unwrap());
    assert_eq!(format!("{:?}", a.plan), format!("{:?}", b.plan));
    assert_eq!(a.fingerprint, fixture.fingerprint());
    let fixture = fixture.file("app.py", "print(2)\n");
    assert_ne!(fixture.plan().unwrap().plan.inputs, a.plan.inputs);
}

fn pip_that_makes(files: &'static [&'static str]) -> FakeRunner {
    FakeRunner::new(move |request| {
        let out = request.mounts.iter().find(|mount| mount.target == "/out").ok_or("no /out")?;
        for file in files {
            let name = file.split('-').next().unwrap();
            make_wheel(&out.source.join(file), &[(&format!("{name}/__init__.py"), "x = 1\n")]);
        }
        Ok(0)
    })
}

#[test]
fn open_requirements_are_resolved_once_by_pip() {
    let fixture = Fixture::new().file("main.py", "").file("requirements.txt", "flask>=3\n");
    let pip = pip_that_makes(&["flask-3.0-py3-none-any.whl", "click-8.0-py3-none-any.whl"]);
    let planned = fixture.plan_by(&pip).unwrap();
    assert!(paths(&planned.plan).contains(&"/usr/local/lib/python3.13/dist-packages/click/__init__.py"));
    assert!(
        planned.notes[0].contains("2 packages were chosen") && planned.notes[0].contains("resolved-python")
    );
    assert!(pip.asked.lock().unwrap()[0].contains(&"wheel".to_owned()));
    // The list is kept: no runner is asked again, also when the program itself changes.
    let again = fixture.file("main.py", "print(2)").plan().unwrap();
    assert_eq!(again.plan.base_extra.len(), planned.plan.base_extra.len());
}

#[test]
fn what_pip_says_reaches_the_person() {
    let fixture = Fixture::new().file("main.py", "").file("requirements.txt", "flask>=3\n");
    let failing = FakeRunner::new(|_| Ok(1));
    let error = fixture.plan_by(&failing).unwrap_err().to_string();
    assert!(
        error.contains("pip could not get the requirements") && error.ends_with("the tool says hello"),
        "{error}"
    );
    let absent = fixture.plan().unwrap_err();
    assert!(absent.to_string().contains("no engine is there"), "{absent}");
    assert!(absent.report().hints[0].contains("pin every requirement"));
}

#[test]
fn settings_of_pip_are_valid_inside_the_container() {
    let fixture =
        Fixture::new().file("main.py", "").file("requirements.txt", "flask>=3\n").file("ca.pem", "CA");
    let ca = fixture.root().join("ca.pem").display().to_string();
    let fixture = fixture
        .variable("PIP_CERT", &ca)
        .variable("PIP_INDEX_URL", "https://i/simple")
        .variable("SECRET", "x");
    let runner = FakeRunner::new(|request| {
        assert_eq!(request.environment["PIP_CERT"], "/in/ca.pem");
        assert_eq!(request.environment["PIP_INDEX_URL"], "https://i/simple");
        assert!(!request.environment.contains_key("SECRET"));
        let input = request.mounts.iter().find(|mount| mount.target == "/in").unwrap();
        assert_eq!(std::fs::read_to_string(input.source.join("ca.pem")).unwrap(), "CA");
        Ok(1)
    });
    fixture.plan_by(&runner).unwrap_err();
    assert_eq!(runner.asked.lock().unwrap().len(), 1);
}

#[test]
fn the_start_command_is_found_in_order() {
    let check = |files: &[(&str, &str)], expect: &[&str]| {
        let fixture = files.iter().fold(Fixture::new(), |fixture, (path, text)| fixture.file(path, text));
        let plan = fixture.plan_by(&pip_that_makes(&["gunicorn-1.0-py3-none-any.whl"])).unwrap().plan;
        assert_eq!(plan.config.command, expect, "{files:?}");
    };
    check(&[("server.py", "")], &["python3", "server.py"]);
    check(
        &[("main.py", ""), ("Procfile", "release: x\nweb: python3 x.py --port $PORT\n")],
        &["python3", "x.py", "--port", "8080"],
    );
    check(
        &[("pyproject.toml", "[project]\nname = 'a'\n[project.scripts]\na = 'm:f'\n"), ("main.py", "")],
        &["a"],
    );
    check(
        &[("app.py", "app = Flask(__name__)\n"), ("requirements.txt", "gunicorn\n")],
        &["python3", "-m", "gunicorn", "--bind", "0.0.0.0:8080", "--worker-tmp-dir", "/dev/shm", "app:app"],
    );
}

#[test]
fn frameworks_are_started_by_their_servers() {
    let check = |files: &[(&str, &str)], wheels: &'static [&'static str], expect: &str| {
        let files = files.iter().chain(&[("requirements.txt", "something\n")]);
        let fixture = files.fold(Fixture::new(), |fixture, (path, text)| fixture.file(path, text));
        let plan = fixture.plan_by(&pip_that_makes(wheels)).unwrap().plan;
        assert_eq!(plan.config.command.join(" "), expect);
        assert_eq!(plan.config.ports, [(8080, "tcp".to_owned())]);
    };
    let django =
        &[("manage.py", ""), ("shop/wsgi.py", "application = 1\n"), ("shop/asgi.py", "application = 1\n")];
    check(
        django,
        &["django-5.0-py3-none-any.whl", "gunicorn-1.0-py3-none-any.whl"],
        "python3 -m gunicorn --bind 0.0.0.0:8080 --worker-tmp-dir /dev/shm shop.wsgi:application",
    );
    check(
        django,
        &["django-5.0-py3-none-any.whl", "uvicorn-1.0-py3-none-any.whl"],
        "python3 -m uvicorn shop.asgi:application --host 0.0.0.0 --port 8080",
    );
    check(django, &["django-5.0-py3-none-any.whl"], "python3 manage.py runserver --noreload 0.0.0.0:8080");
    let fastapi = &[("app/main.py", "from fastapi import FastAPI\napp = FastAPI()\n")];
    check(
        fastapi,
        &["fastapi-1.0-py3-none-any.whl", "uvicorn-1.0-py3-none-any.whl"],
        "python3 -m uvicorn app.main:app --host 0.0.0.0 --port 8080",
    );
    let own = &[
        ("pyproject.toml", "[project]\nname = 'web-shop'\n"),
        ("src/web_shop/app.py", "app = Flask(__name__)\n"),
    ];
    check(
        own,
        &["flask-3.0-py3-none-any.whl"],
        "python3 -m flask --app web_shop.app run --host 0.0.0.0 --port 8080",
    );
}

#[test]
fn a_lock_of_another_manifest_is_an_error_that_names_both() {
    let pyproject = include_str!("../../../tests/projects/python/pyproject.toml");
    let locks = [
        ("uv.lock", include_str!("../../../tests/projects/python/uv.lock")),
        ("pylock.toml", include_str!("../../../tests/projects/python/pylock.toml")),
    ];
    for (name, lock) in locks {
        let check = |from: &str, to: &str, expect: &str| {
            let fixture = Fixture::new().file("main.py", "").file(name, lock);
            let fixture = fixture.file("pyproject.toml", &pyproject.replace(from, to));
            assert_eq!(fixture.plan().unwrap_err().to_string(), expect);
        };
        let start = format!("{name} does not match pyproject.toml: it asks for ");
        check("redis>=5", "redis>=99", &format!("{start}`redis>=99`, the lock has 8.1.0"));
        check("redis>=5", "flask>=3", &format!("{start}`flask>=3`, the lock does not have it"));
    }
}

/// Uses the package index that the machine's pip settings name.
#[test]
fn registry_locks_of_every_form_are_fetched_and_checked() {
    let pyproject = include_str!("../../../tests/projects/python/pyproject.toml");
    let uv = include_str!("../../../tests/projects/python/uv.lock");
    let pylock = include_str!("../../../tests/projects/python/pylock.toml");
    for (name, lock) in [("uv.lock", uv), ("pylock.toml", pylock)] {
        let fixture = Fixture::new().file("main.py", "").file("pyproject.toml", pyproject).file(name, lock);
        let plan = fixture.plan().unwrap().plan;
        for file in ["tzdata/__init__.py", "redis/__init__.py", "dateutil/__init__.py"] {
            let path = format!("/usr/local/lib/python3.13/dist-packages/{file}");
            assert!(paths(&plan).contains(&path.as_str()), "{name}: {path}");
        }
        assert!(
            !paths(&plan).iter().any(|path| path.contains("iniconfig") || path.contains("tomli")),
            "{name}"
        );
    }
}

#[test]
fn what_has_no_wheel_is_built_from_a_source_of_the_lock() {
    let lock = "lock-version = '1.0'\n[[packages]]\nname = 'demo'\nversion = '1.0'\n\
        sdist = { url = 'https://h/demo-1.0.tar.gz', hashes = { sha256 = 'AB' } }\n";
    let fixture = Fixture::new().file("main.py", "").file("pylock.toml", lock);
    let runner = FakeRunner::new(|request| {
        assert!(request.argv.contains(&"--no-deps".to_owned()));
        let mount = |target: &str| request.mounts.iter().find(|mount| mount.target == target).unwrap();
        let asked = std::fs::read_to_string(mount("/in").source.join("requirements.txt")).unwrap();
        assert_eq!(asked, "demo==1.0 --hash=sha256:ab\n");
        make_wheel(&mount("/out").source.join("demo-1.0-py3-none-any.whl"), &[("demo.py", "x = 1\n")]);
        Ok(0)
    });
    let planned = fixture.plan_by(&runner).unwrap();
    assert!(paths(&planned.plan).contains(&"/usr/local/lib/python3.13/dist-packages/demo.py"));
    // Kept: no runner is asked again.
    assert_eq!(fixture.plan().unwrap().plan.inputs, planned.plan.inputs);
    let none = lock.replace(".tar.gz", ".exe");
    let error = fixture.file("pylock.toml", &none).plan().unwrap_err().to_string();
    assert_eq!(error, "pylock.toml names no file of demo 1.0 that fits Python 3.13 on x86_64");
}

#[test]
fn a_package_that_has_to_be_compiled_gets_a_compiler() {
    let fixture = Fixture::new().file("main.py", "").file("requirements.txt", "demo\n");
    let runner = FakeRunner::new(|request| {
        let compiles = request.image.packages.contains(&"gcc".to_owned());
        let out = request.mounts.iter().find(|mount| mount.target == "/out").unwrap();
        make_wheel(&out.source.join("demo-1.0-py3-none-any.whl"), &[("demo.py", "x = 1\n")]);
        Ok(if compiles { 0 } else { 1 })
    })
    .saying("error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory");
    let plan = fixture.plan_by(&runner).unwrap().plan;
    assert_eq!(runner.asked.lock().unwrap().len(), 2);
    assert!(!plan.packages.contains(&"gcc".to_owned()), "a compiler is no part of the image");
}

#[test]
fn a_project_without_a_start_is_an_error_unless_the_service_states_one() {
    let mut fixture = Fixture::new().file("requirements.txt", "").file("lib/x.py", "");
    assert!(fixture.plan().unwrap_err().to_string().contains("nothing says what"));
    fixture.states_command = true;
    assert!(fixture.plan().unwrap().plan.config.command.is_empty());
}

#[test]
fn other_manifests_say_what_to_do() {
    let error = Fixture::new().file("setup.py", "").file("main.py", "").plan().unwrap_err();
    assert!(error.to_string().contains("setup.py") && error.to_string().contains("not read yet"), "{error}");
    let broken = Fixture::new().file("pyproject.toml", "[project\n").plan().unwrap_err().to_string();
    assert!(broken.contains("pyproject.toml:1"), "{broken}");
}

/// Uses the package index that the machine's pip settings name.
#[test]
fn registry_pinned_requirements_are_fetched_and_checked_without_pip() {
    let good = "six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\n";
    let fixture = Fixture::new().file("main.py", "import six\n").file("requirements.txt", good);
    let plan = fixture.plan().unwrap().plan;
    assert!(paths(&plan).contains(&"/usr/local/lib/python3.13/dist-packages/six.py"));
    let bad = good.replace("4721", "4722");
    let error = fixture.file("requirements.txt", &bad).plan().unwrap_err().to_string();
    assert!(error.contains("no file of six 1.17.0"), "{error}");
    let incomplete = "redis==5.0.0\npython-dateutil==2.9.0.post0\n";
    let error = Fixture::new().file("main.py", "").file("requirements.txt", incomplete).plan().unwrap_err();
    assert!(error.to_string().contains("build container"), "a missing dependency is left to pip: {error}");
    let unknown =
        Fixture::new().file("main.py", "").file("requirements.txt", "six==0.0.77\n").plan().unwrap_err();
    assert_eq!(unknown.to_string(), "the package index has no six 0.0.77");
}
