//! What the control plane knows of stacks, services and instances, as series.

use super::instances::Running;
use model::instance::Health;
use observe::collect::Sink;
use run::control::{InstanceStatus, ServiceStatus, StackStatus, State};

/// The instances that run.
pub fn running(stacks: &[StackStatus]) -> Vec<Running> {
    let services = stacks.iter().flat_map(|stack| stack.services.iter().map(move |service| (stack, service)));
    let instances =
        services.flat_map(|(stack, service)| service.instances.iter().map(move |i| (stack, service, i)));
    instances
        .filter_map(|(stack, service, instance)| {
            Some(Running {
                id: instance.id.clone(),
                stack: stack.name.clone(),
                service: service.name.clone(),
                release: instance.release,
                image: service.image.clone(),
                pid: instance.pid?,
            })
        })
        .collect()
}

pub fn put(stacks: &[StackStatus], sink: &mut dyn Sink) {
    let mut total = 0;
    let mut up = 0;
    for stack in stacks {
        let name = stack.name.as_str();
        let ready = if stack.state == State::Ready { 1.0 } else { 0.0 };
        sink.gauge("juchu_stack_ready", &[("stack", name)], ready);
        if let Some(release) = stack.release {
            sink.gauge("juchu_stack_release", &[("stack", name)], number(&release.to_string()));
        }
        for service in &stack.services {
            put_service(name, service, sink);
            total += service.instances.len();
            up += service.instances.iter().filter(|instance| instance.pid.is_some()).count();
        }
    }
    sink.gauge("juchu_stacks", &[], stacks.len() as f64);
    sink.gauge("juchu_containers", &[("state", "all")], total as f64);
    sink.gauge("juchu_containers", &[("state", "up")], up as f64);
}

/// `r12` is 12.
fn number(release: &str) -> f64 {
    release.trim_start_matches('r').parse().unwrap_or_default()
}

fn put_service(stack: &str, service: &ServiceStatus, sink: &mut dyn Sink) {
    let labels = [("service", service.name.as_str()), ("stack", stack)];
    sink.gauge("juchu_service_replicas", &labels, f64::from(service.replicas));
    sink.gauge("juchu_service_ready", &labels, f64::from(service.ready));
    for instance in &service.instances {
        put_instance(&labels, instance, sink);
    }
}

fn put_instance(labels: &[(&str, &str); 2], instance: &InstanceStatus, sink: &mut dyn Sink) {
    let id = instance.id.to_string();
    let labels = [("instance", &*id), labels[0], labels[1]];
    let truth = |is: bool| if is { 1.0 } else { 0.0 };
    sink.gauge("juchu_instance_up", &labels, truth(instance.pid.is_some()));
    sink.gauge("juchu_instance_ready", &labels, truth(instance.state == State::Ready));
    sink.gauge("juchu_instance_healthy", &labels, truth(instance.health != Health::Unhealthy));
    sink.counter("juchu_instance_starts_total", &labels, f64::from(instance.starts));
    if let Some(since) = instance.since {
        sink.gauge("container_start_time_seconds", &labels, since.0 as f64 / 1000.0);
    }
}
