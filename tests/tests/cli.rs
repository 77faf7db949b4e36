//! The command line as a user meets it: the real `kennel`, against a scripted supervisor, and on a
//! terminal against a real one.

mod cli {
    mod command;
    mod pty;
    mod scripted;
    mod snapshots;
    mod talk;
    mod top;
}
