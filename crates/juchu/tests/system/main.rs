//! The whole program as a person uses it: real daemon, gateway, containers and images, each test
//! with a home of its own.

mod machine;

/// Each needs seconds and the machine's network for itself.
mod slow {
    use super::machine;

    mod bad_input;
    mod build_limits;
    mod build_worker;
    mod calls;
    mod compile;
    mod cutover;
    mod death;
    mod dockerfile;
    mod guestbook;
    mod images;
    mod incidents;
    mod judged;
    mod kept;
    mod keys;
    mod lacks;
    mod life;
    mod provenance;
    mod registry;
    mod routes;
    mod rows;
    mod scraped;
    mod unprivileged;
    mod watch;
    mod wires;
}
