//! What a user of the journal may rely on, tried on real files.

mod crash;
mod damage;
mod full_disk;
mod golden;
mod grouping;
mod history;
mod kit;
mod opening;
mod property;
mod pruning;
