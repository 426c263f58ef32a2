//! A registry on a port, asked by other programs, by hand, and by peers that mean harm.

mod clients;
mod harness;
mod hostile;
mod rights;
