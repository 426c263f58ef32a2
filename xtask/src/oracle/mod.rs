//! `cargo xtask oracle`: what the reference implementation, Docker Compose itself, makes of Compose
//! files: the golden results of our corpus, and a comparison over any other files.

mod compare;
mod golden;
mod reference;

use crate::{Failure, Outcome, workspace};
use std::path::PathBuf;

pub use reference::{Answer, Reference};

/// The corpus with its golden results.
fn corpus() -> PathBuf {
    workspace::root().join("crates/compose/tests/corpus")
}

/// What can be said after `oracle`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    compare: bool,
    unpack: bool,
    /// `--reference PATH`: a docker-compose that is there already.
    reference: Option<PathBuf>,
    /// `--program PATH`: the build of juchu that is compared.
    program: Option<PathBuf>,
    names: Vec<String>,
}

impl Options {
    fn take(arguments: &[&str]) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("`{argument}` needs a value"));
            match *argument {
                "--compare" => options.compare = true,
                "--unpack" => options.unpack = true,
                "--reference" => options.reference = Some(value()?.into()),
                "--program" => options.program = Some(value()?.into()),
                other if other.starts_with('-') => return Err(format!("no option `{other}`").into()),
                name => options.names.push(name.to_owned()),
            }
        }
        if (options.compare || options.unpack) && options.names.is_empty() {
            return Err("say which: `--compare DIR…`, `--unpack AREA/NAME…`".into());
        }
        Ok(options)
    }
}

pub fn run(arguments: &[&str]) -> Outcome {
    let options = Options::take(arguments)?;
    if options.unpack {
        return golden::unpack(&corpus(), &options.names);
    }
    let reference = Reference::provide(options.reference.clone())?;
    match options.compare {
        true => compare::run(&reference, options.program, &options.names),
        false => golden::refresh(&corpus(), &reference, &options.names),
    }
}

/// Works through `items` on all cores; results keep their order, the first failure ends it.
fn on_all_cores<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, Failure> + Sync,
) -> Result<Vec<R>, Failure> {
    let cores = std::thread::available_parallelism()?.get();
    let share = items.len().div_ceil(cores).max(1);
    let work = &work;
    let shares: Vec<Result<Vec<R>, String>> = std::thread::scope(|scope| {
        let one = |items| {
            move || -> Result<Vec<R>, String> {
                let items: &[T] = items;
                items.iter().map(|item| work(item).map_err(|e| e.to_string())).collect()
            }
        };
        let threads: Vec<_> = items.chunks(share).map(|items| scope.spawn(one(items))).collect();
        threads.into_iter().map(|thread| thread.join().expect("the work does not panic")).collect()
    });
    let mut all = Vec::with_capacity(items.len());
    for share in shares {
        all.extend(share?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_among_names() {
        let options = Options::take(&["--compare", "a", "--program", "p", "b"]).expect("valid");
        assert_eq!((options.compare, options.program), (true, Some("p".into())));
        assert_eq!(options.names, ["a", "b"]);
        assert!(Options::take(&["--compare"]).is_err());
        assert!(Options::take(&["--fast"]).is_err());
    }

    #[test]
    fn work_on_all_cores_keeps_its_order() {
        let doubled = on_all_cores(&[1, 2, 3, 4, 5], |n| Ok(n * 2)).expect("no failure");
        assert_eq!(doubled, [2, 4, 6, 8, 10]);
        let failed = on_all_cores(&[1, 2], |n| if *n == 2 { Err("two".into()) } else { Ok(()) });
        assert_eq!(failed.expect_err("the second fails").to_string(), "two");
    }
}
