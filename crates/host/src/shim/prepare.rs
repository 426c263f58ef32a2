//! File tree, specification and container of an instance, in a process that ends when they stand.

use crate::apart::Turn;
use crate::cgroup::{Cgroup, UnifiedView};
use crate::container::{self, Streams};
use crate::executor::Launch;
use crate::record::{Job, StartFailure};
use crate::{capabilities, durable, rootfs, seccomp, spec, sys};
use serde_json::Value;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

/// The inner ends of what connects the supervisor with the instance.
pub struct Inside {
    pub streams: Streams,
    /// Gets why the program could not start.
    pub report: OwnedFd,
}

/// Answers the instance's first process, which waits to be let go.
pub fn prepare(
    job: &Job,
    group: &Cgroup,
    resources: &Value,
    console: Option<&Path>,
    inside: Inside,
    turn: Turn,
) -> Result<i32, StartFailure> {
    let tree = make_tree(job)?;
    let mounts = spec::prepare_mounts(job, &tree)?;
    let plan = spec::plan(job, &tree, &mounts, &group.hierarchies, resources)?;
    drop(tree);
    let config = serde_json::to_vec(&plan.config).expect("values are plain");
    fs::write(job.layout.bundle().join("config.json"), config).map_err(other("write the bundle"))?;
    let launch = launch(job, &plan, inside.report)?;
    durable::make_private_dir(&job.layout.container_root())
        .map_err(other("make the container's directory"))?;
    let is_placed = turn.is_placed;
    if !turn.wait() {
        return Err(StartFailure::Other { reason: "the supervisor gave up".to_owned() });
    }
    group.join_self().map_err(other("join the control groups"))?;
    let _view = UnifiedView::over(group, is_placed).map_err(other("show the control groups"))?;
    container::create(
        job.spec.id.as_str(),
        &job.layout.container_root(),
        &job.layout.bundle(),
        launch,
        inside.streams,
        console,
    )
    .map_err(|reason| StartFailure::Other { reason })
}

fn make_tree(job: &Job) -> Result<rootfs::Tree, StartFailure> {
    sys::new_mount_namespace().map_err(other("make a mount name space"))?;
    let root = job.layout.rootfs();
    let mount_problem =
        |error: io::Error| StartFailure::Mount { path: root.clone(), reason: error.to_string() };
    rootfs::mount_overlay(&job.layout, &job.layers, job.unprivileged.is_some()).map_err(mount_problem)?;
    rootfs::Tree::open(&root).map_err(mount_problem)
}

fn launch(job: &Job, plan: &spec::Plan, report: OwnedFd) -> Result<Launch, StartFailure> {
    let process = &job.spec.process;
    let filters = seccomp::filters_of(process, process.privileged, &plan.capabilities)
        .map_err(|error| StartFailure::Other { reason: error.to_string() })?;
    Ok(Launch {
        filters: Rc::new(filters),
        capabilities: Some(capabilities::for_user(&plan.capabilities, plan.identity.uid)),
        no_new_privileges: process.no_new_privileges,
        report: Some(Rc::new(report)),
        die_with_parent: true,
        init: process.init,
        ..Launch::default()
    })
}

pub fn other(what: &'static str) -> impl FnOnce(io::Error) -> StartFailure {
    move |error| StartFailure::Other { reason: format!("{what}: {error}") }
}
