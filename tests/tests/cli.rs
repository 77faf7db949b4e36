//! The command line as a user meets it: the real `kennel`, against a scripted supervisor.

mod cli {
    mod command;
    mod scripted;
    mod snapshots;
    mod talk;
}
