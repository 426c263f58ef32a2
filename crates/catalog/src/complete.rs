//! What a service with a component left open: a place for its data, a health check, how to stop it,
//! and the few capabilities its entry program needs. What the service states stays as it is.

use crate::error::CatalogError;
use crate::recipe::{Embedded, Recipe};
use model::image::ImageSource;
use model::mount::{Mount, MountSource};
use model::service::{ExposedPort, HealthTest, Healthcheck, Transport};
use model::stack::Volume;
use model::{DurationMs, Service, Stack, VolumeName};

/// Completes every service that asks for a component. Idempotent.
pub fn complete(stack: &mut Stack) -> Result<(), CatalogError> {
    let names: Vec<_> = stack.services.keys().cloned().collect();
    for name in names {
        let service = stack.services.get_mut(&name).expect("its name comes from the map itself");
        let ImageSource::Component { name: component, .. } = &service.image else { continue };
        let embedded =
            Embedded::find(component).ok_or_else(|| CatalogError::Unknown { name: component.clone() })?;
        let recipe = embedded.recipe();
        complete_service(service, &recipe)?;
        if !has_place_for_data(service, &recipe) {
            add_volume(stack, &name, &recipe);
        }
    }
    Ok(())
}

fn complete_service(service: &mut Service, recipe: &Recipe) -> Result<(), CatalogError> {
    if service.replicas > 1 {
        return Err(CatalogError::Replicas {
            service: service.name.clone(),
            replicas: service.replicas,
            title: recipe.title.clone(),
        });
    }
    service.healthcheck.get_or_insert_with(|| healthcheck(recipe));
    service.stop_signal.get_or_insert_with(|| recipe.stop_signal.clone());
    if !service.stop_grace_given {
        service.stop_grace = DurationMs::from_secs(recipe.stop_grace_seconds);
    }
    let port = ExposedPort { port: recipe.port, transport: Transport::Tcp };
    if !service.expose.contains(&port) {
        service.expose.push(port);
    }
    let process = &mut service.process;
    let states_rights = !process.cap_add.is_empty() || !process.cap_drop.is_empty() || process.privileged;
    if !states_rights && process.user.is_none() {
        process.cap_drop = vec!["ALL".to_owned()];
        process.cap_add = recipe.capabilities.clone();
    }
    Ok(())
}

pub(crate) fn healthcheck(recipe: &Recipe) -> Healthcheck {
    let health = &recipe.health;
    Healthcheck {
        test: HealthTest::Shell { script: health.script.clone() },
        interval: Some(DurationMs::from_secs(health.interval_seconds)),
        timeout: Some(DurationMs::from_secs(health.timeout_seconds)),
        retries: Some(health.retries),
        start_period: Some(DurationMs::from_secs(health.start_period_seconds)),
        start_interval: Some(DurationMs(500)),
    }
}

/// Something is mounted at the data's directory, above it, or below it.
fn has_place_for_data(service: &Service, recipe: &Recipe) -> bool {
    let stated = service.environment.get("PGDATA").filter(|_| recipe.environment.contains_key("PGDATA"));
    let data = stated.unwrap_or(&recipe.volume).trim_end_matches('/');
    let within = |path: &str, directory: &str| {
        path == directory || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
    };
    service.mounts.iter().any(|mount| {
        let target = mount.target.trim_end_matches('/');
        within(data, target) || within(target, data)
    })
}

/// A named volume `STACK_SERVICE-data`, so that data outlives the instance.
fn add_volume(stack: &mut Stack, service: &model::ServiceName, recipe: &Recipe) {
    let key = format!("{service}-data");
    let name = match stack.volumes.get(&key) {
        Some(volume) => volume.name.clone(),
        None => {
            let text = format!("{}_{key}", stack.name);
            let hashed = || format!("{}-data", model::Digest::of(text.as_bytes()).short());
            VolumeName::new(text.clone())
                .or_else(|_| VolumeName::new(hashed()))
                .expect("twelve digits make a name")
        }
    };
    stack.volumes.entry(key).or_insert_with(|| Volume {
        name: name.clone(),
        external: false,
        options: Default::default(),
        labels: Default::default(),
    });
    let source = MountSource::Volume { name, no_copy: false, subpath: None };
    let mount = Mount { source, target: recipe.volume.clone(), read_only: false, options: Vec::new() };
    if let Some(service) = stack.services.get_mut(service) {
        service.mounts.push(mount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ServiceName, StackName};
    use serde_json::json;

    fn stack(service: serde_json::Value) -> Stack {
        let mut value = json!({
            "name": "db", "image": {"type": "component", "name": "postgres", "options": null},
            "replicas": 1, "stop_grace": 10000
        });
        value.as_object_mut().unwrap().extend(service.as_object().unwrap().clone());
        let service: Service = serde_json::from_value(value).unwrap();
        Stack {
            name: StackName::new("shop").unwrap(),
            directory: "/s".into(),
            files: Vec::new(),
            services: [(service.name.clone(), service)].into(),
            networks: Default::default(),
            volumes: Default::default(),
            configs: Default::default(),
            secrets: Default::default(),
            policy: serde_json::Value::Null,
        }
    }

    fn completed(service: serde_json::Value) -> (Stack, Service) {
        let mut stack = stack(service);
        complete(&mut stack).unwrap();
        let once = stack.clone();
        complete(&mut stack).unwrap();
        assert_eq!(stack, once, "completing twice changes nothing");
        let service = stack.services[&ServiceName::new("db").unwrap()].clone();
        (stack, service)
    }

    #[test]
    fn what_is_left_open_is_filled() {
        let (stack, service) = completed(json!({}));
        assert_eq!(stack.volumes["db-data"].name.as_str(), "shop_db-data");
        assert_eq!(service.mounts[0].target, "/var/lib/postgresql/data");
        assert_eq!(service.stop_signal.as_deref(), Some("SIGINT"));
        assert_eq!(service.stop_grace, DurationMs::from_secs(60));
        assert!(service.healthcheck.is_some());
        assert_eq!(service.expose[0].port, 5432);
        assert_eq!((service.process.cap_drop, service.process.cap_add.len()), (vec!["ALL".to_owned()], 5));
    }

    #[test]
    fn what_is_stated_stays() {
        let (stack, service) = completed(json!({
            "healthcheck": {"test": {"type": "none"}}, "stop_signal": "SIGTERM", "stop_grace": 10000, "stop_grace_given": true,
            "environment": {"PGDATA": "/pg/data/17"}, "process": {"cap_drop": ["NET_RAW"]},
            "mounts": [{"source": {"type": "bind", "path": "/srv", "create": false}, "target": "/pg/data/"}]
        }));
        assert!(stack.volumes.is_empty());
        assert_eq!(service.mounts.len(), 1);
        assert_eq!(service.healthcheck.unwrap().test, HealthTest::None);
        assert_eq!(
            (service.stop_signal.as_deref(), service.stop_grace),
            (Some("SIGTERM"), DurationMs(10_000))
        );
        assert!(service.process.cap_add.is_empty());
    }

    #[test]
    fn one_volume_has_one_writer() {
        let error = complete(&mut stack(json!({"replicas": 2}))).unwrap_err();
        assert_eq!(error.to_string(), "service db: 2 instances of PostgreSQL would share one volume");
    }
}
