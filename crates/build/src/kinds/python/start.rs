//! What a Python project runs: Procfile, the project's own script, a known application server, or a
//! file by one of the usual names, in this order.

use super::Wheel;
use super::install::{entry_point, launcher};
use super::requirement::normalise;
use crate::BuildError;
use crate::kinds::detect::{PYTHON_STARTS, python_program};
use crate::kinds::draft::{Draft, file_with};
use crate::kinds::settings::Project;
use toml::{Table, Value};

pub const SERVER_PORT: u16 = 8080;

/// Fills the command and port of `draft`; leaves them empty when nothing fits.
pub fn find(
    draft: &mut Draft,
    project: &Project,
    pyproject: &Table,
    wheels: &[Wheel],
) -> Result<(), BuildError> {
    let tree = project.tree()?;
    if let Some(text) = tree.text("Procfile")?
        && let Some(line) = text.lines().find_map(|line| line.strip_prefix("web:"))
    {
        return procfile(draft, project, line);
    }
    if let Some(name) = project_script(draft, pyproject)? {
        draft.command = vec![name];
        return Ok(());
    }
    if let Some(command) = application_server(draft, project, pyproject, wheels)? {
        draft.command = command;
        draft.ports = vec![(SERVER_PORT, "tcp".to_owned())];
        return Ok(());
    }
    if let Some(file) = python_program(tree) {
        draft.command = vec!["python3".to_owned(), file];
    }
    Ok(())
}

/// `web: gunicorn app:app --bind 0.0.0.0:$PORT`, split into words without a shell.
fn procfile(draft: &mut Draft, project: &Project, line: &str) -> Result<(), BuildError> {
    let port = project.image().environment.get("PORT").cloned().unwrap_or_else(|| SERVER_PORT.to_string());
    let text = line.replace("${PORT:-8000}", &port).replace("${PORT}", &port).replace("$PORT", &port);
    let uses_port = text != line;
    let words = words(text.trim()).ok_or_else(|| {
        BuildError::input_hint(
            format!("the `web:` line of {}/Procfile needs a shell", project.place()),
            "state the command in the Compose file: `command: [\"sh\", \"-c\", \"…\"]`",
        )
    })?;
    draft.command = words;
    if uses_port {
        draft.ports.extend(port.parse().ok().map(|port| (port, "tcp".to_owned())));
        draft.environment.insert("PORT".to_owned(), port);
    }
    Ok(())
}

/// Words with simple quotes; `None` when the text means something only to a shell.
pub fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (Some('"'), '$' | '`' | '\\') => return None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '$' | '`' | '|' | '&' | ';' | '<' | '>' | '(' | ')' | '*' | '\\' | '~' | '#') => {
                return None;
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    // `NAME=value command` is an assignment to a shell.
    (quote.is_none() && words.first().is_some_and(|first| !first.contains('='))).then_some(words)
}

/// The only entry of `[project.scripts]`, or the one with the project's name.
fn project_script(draft: &mut Draft, pyproject: &Table) -> Result<Option<String>, BuildError> {
    let Some(project) = pyproject.get("project").and_then(Value::as_table) else { return Ok(None) };
    let Some(scripts) = project.get("scripts").and_then(Value::as_table) else { return Ok(None) };
    let own_name = normalise(project.get("name").and_then(Value::as_str).unwrap_or(""));
    let mut chosen = None;
    for (name, target) in scripts {
        let entry = target.as_str().and_then(|target| entry_point(name, target)).ok_or_else(|| {
            BuildError::input_hint(
                format!("`[project.scripts]` of pyproject.toml has `{name}`, which does not name a function"),
                "write it as `name = \"package.module:function\"`",
            )
        })?;
        draft.app.push(file_with(format!("/usr/local/bin/{name}"), launcher(&entry.1, &entry.2), true));
        if scripts.len() == 1 || normalise(name) == own_name {
            chosen = Some(name.clone());
        }
    }
    Ok(chosen)
}

/// Where applications usually stand, beside the usual names at the top.
const APPLICATION_PLACES: &[&str] = &[
    "app/main.py",
    "app/app.py",
    "app/__init__.py",
    "src/main.py",
    "src/app.py",
    "api/main.py",
    "wsgi.py",
    "asgi.py",
];

/// gunicorn, uvicorn or a framework's own server when it is a requirement and a module has an `app`.
fn application_server(
    draft: &mut Draft,
    project: &Project,
    pyproject: &Table,
    wheels: &[Wheel],
) -> Result<Option<Vec<String>>, BuildError> {
    let has = |name: &str| wheels.iter().any(|wheel| wheel.name == name);
    if let Some(command) = django(draft, project, &has)? {
        return Ok(Some(command));
    }
    if !["gunicorn", "uvicorn", "flask"].iter().any(|name| has(name)) {
        return Ok(None);
    }
    for file in candidates(pyproject) {
        let Some(text) = project.tree()?.text(&file)? else { continue };
        let Some(made_by) = app_made_by(&text) else { continue };
        let module = module_of(&file);
        let is_async =
            ["FastAPI(", "Starlette(", "Quart(", "Litestar("].iter().any(|name| made_by.contains(name));
        let argv = if has("uvicorn") && (is_async || !has("gunicorn")) {
            format!("python3 -m uvicorn {module}:app --host 0.0.0.0 --port {SERVER_PORT}")
        } else if has("gunicorn") {
            format!("python3 -m gunicorn {GUNICORN} {module}:app")
        } else if made_by.contains("Flask(") && !text.contains("__main__") {
            draft.note("Flask's own server is for development; add gunicorn to the requirements");
            format!("python3 -m flask --app {module} run --host 0.0.0.0 --port {SERVER_PORT}")
        } else {
            continue;
        };
        return Ok(Some(words_of(&argv)));
    }
    Ok(None)
}

const GUNICORN: &str = "--bind 0.0.0.0:8080 --worker-tmp-dir /dev/shm";

fn words_of(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// Files that may hold an application: by name, by place, and in the project's own package.
fn candidates(pyproject: &Table) -> Vec<String> {
    let name = pyproject.get("project").and_then(|project| project.get("name")).and_then(Value::as_str);
    let package = name.map(|name| normalise(name).replace('-', "_"));
    let own = package.iter().flat_map(|package| {
        let files = PYTHON_STARTS.iter().copied().chain(["__init__.py"]);
        files.flat_map(move |file| [format!("{package}/{file}"), format!("src/{package}/{file}")])
    });
    PYTHON_STARTS.iter().chain(APPLICATION_PLACES).map(|file| (*file).to_owned()).chain(own).collect()
}

/// `src/shop/main.py` → `shop.main`: both the project and its `src` are on Python's path.
fn module_of(file: &str) -> String {
    let file = file.strip_prefix("src/").unwrap_or(file);
    file.trim_end_matches(".py").trim_end_matches("/__init__").replace('/', ".")
}

/// A Django project: `manage.py`, and the module with the application for servers.
fn django(
    draft: &mut Draft,
    project: &Project,
    has: &dyn Fn(&str) -> bool,
) -> Result<Option<Vec<String>>, BuildError> {
    let tree = project.tree()?;
    if !has("django") || !tree.has("manage.py") {
        return Ok(None);
    }
    let module = |name: &str| {
        let end = format!("/{name}.py");
        let found =
            tree.files.iter().find(|file| file.path.ends_with(&end) && file.path.matches('/').count() == 1);
        found.map(|file| module_of(&file.path))
    };
    let line = match (module("wsgi"), module("asgi")) {
        (Some(module), _) if has("gunicorn") => {
            format!("python3 -m gunicorn {GUNICORN} {module}:application")
        }
        (_, Some(module)) if has("uvicorn") => {
            format!("python3 -m uvicorn {module}:application --host 0.0.0.0 --port {SERVER_PORT}")
        }
        _ => {
            draft.note("Django's own server is for development; add gunicorn to the requirements");
            format!("python3 manage.py runserver --noreload 0.0.0.0:{SERVER_PORT}")
        }
    };
    Ok(Some(words_of(&line)))
}

/// The right side of `app = …` at the start of a line.
fn app_made_by(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix("app")?.trim_start();
        let rest = rest
            .strip_prefix(':')
            .and_then(|typed| typed.split_once('=').map(|x| x.1))
            .or(rest.strip_prefix('='));
        rest.filter(|rest| !rest.starts_with('='))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_words_or_need_a_shell() {
        assert_eq!(words("python -m x 'a b' \"c d\"").unwrap(), ["python", "-m", "x", "a b", "c d"]);
        for shell in ["a && b", "a | b", "X=1 a", "a $HOME", "a \"$B\"", "a 'b", ""] {
            assert_eq!(words(shell), None, "{shell}");
        }
    }

    #[test]
    fn an_application_is_found_by_its_assignment() {
        assert_eq!(app_made_by("import x\napp = Flask(__name__)\n"), Some(" Flask(__name__)"));
        assert_eq!(app_made_by("app: FastAPI = FastAPI()"), Some(" FastAPI()"));
        assert_eq!(app_made_by("apple = 1\n  app = 2\napp == 3"), None);
    }
}
