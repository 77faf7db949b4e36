//! IRC as others wrote it: a real server ([`Server`], ngircd) and a real client ([`Person`], the Python package `irc`).

mod person;
mod server;

pub use person::Person;
pub use server::{Server, Terms};
