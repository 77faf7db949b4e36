//! The fake Telegram server, held against what a client can see of the real one: by hand (`protocol`), through two
//! independent clients that must not tell it apart (`clients`), and as a program (`program`).

mod clients;
mod http;
mod program;
mod protocol;
mod script;
