//! An image stated by hand: packages, files and what to run.

use super::binary::add_packages;
use super::draft::{Draft, add_stated_files};
use super::libraries::packages_for;
use super::settings::Project;
use crate::BuildError;
use crate::plan::{EntryKind, Source};

pub fn plan(project: &Project) -> Result<Draft, BuildError> {
    let mut draft = Draft::default();
    add_stated_files(&mut draft, project)?;
    let placed: Vec<_> = draft
        .app
        .iter()
        .filter_map(|entry| match &entry.kind {
            EntryKind::File(Source::Path(path)) => Some((path.clone(), entry.path.clone())),
            _ => None,
        })
        .collect();
    let beside = |library: &str| placed.iter().any(|(_, target)| target.rsplit('/').next() == Some(library));
    for (path, target) in &placed {
        if let Some(packages) = packages_for(project, path, target, &beside)? {
            add_packages(&mut draft, packages);
        }
    }
    Ok(draft)
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::Fixture;

    #[test]
    fn packages_files_and_an_entry_point_are_enough() {
        let fixture = Fixture::new().file("conf/a.conf", "a").file("conf/sub/b.conf", "b").image(|image| {
            image.packages = vec!["redis-server".into()];
            image.files = [("/etc/app".to_owned(), "conf".to_owned())].into();
            image.entrypoint = Some(vec!["/usr/bin/redis-server".into()]);
            image.expose = vec!["6379".into(), "53/udp".into()];
            image.user = Some("root".into());
        });
        let plan = fixture.plan().unwrap().plan;
        assert_eq!(plan.packages, ["redis-server"]);
        assert_eq!(plan.config.entrypoint, ["/usr/bin/redis-server"]);
        assert_eq!(plan.config.ports, [(6379, "tcp".to_owned()), (53, "udp".to_owned())]);
        assert_eq!(plan.config.user, "0:0");
        let paths: Vec<_> = plan.app.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(paths, ["/etc/app", "/etc/app/a.conf", "/etc/app/sub/b.conf"]);
    }

    #[test]
    fn without_a_context_only_packages_are_needed() {
        let fixture = Fixture::without_context().image(|image| {
            image.packages = vec!["busybox".into()];
            image.entrypoint = Some(vec!["/bin/busybox".into(), "sleep".into(), "9".into()]);
        });
        assert_eq!(fixture.plan().unwrap().plan.packages, ["busybox"]);
        let nothing = Fixture::without_context();
        assert!(nothing.plan().unwrap_err().to_string().contains("does not say what to run"));
    }

    #[test]
    fn a_missing_file_or_a_bad_place_is_named() {
        let fixture = |target: &str, source: &str| {
            let file = (target.to_owned(), source.to_owned());
            Fixture::new().image(move |image| {
                image.files = [file].into();
                image.entrypoint = Some(vec!["/x".into()]);
            })
        };
        let error = |f: Fixture| f.plan().unwrap_err().to_string();
        assert!(error(fixture("/x", "nope")).contains("names `nope`"));
        assert!(error(fixture("x", "nope")).contains("not an absolute path"));
        assert!(error(fixture("/x/../y", "nope")).contains("not an absolute path"));
        assert!(error(fixture("/x", "../../etc/passwd")).contains("not in"));
    }
}
