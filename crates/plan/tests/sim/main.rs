//! The planner by stories: events go in, the plans that follow are compared as text.

mod world;

mod failures;
mod first_deploy;
mod networks;
mod restarts;
mod rollouts;
mod routes;
mod shapes;
