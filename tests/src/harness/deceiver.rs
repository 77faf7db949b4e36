//! A program for upgrades that passes its trial and then does not come up.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use super::{Kennel, program};

impl Kennel {
    /// A `kennel` that takes over with the configuration `text` instead of that which it was tried with.
    pub fn deceiver(&self, text: &str) -> PathBuf {
        let other = self.root().join("other.toml");
        fs::write(&other, text).expect("the configuration is written");
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *--take-over*) shift 2; set -- --config '{}' \"$@\";; esac\nexec '{}' \"$@\"\n",
            other.display(),
            program("kennel").display()
        );
        let path = self.root().join("deceiver");
        // Written aside: a file that is being written cannot be run.
        let aside = self.root().join("deceiver.new");
        fs::write(&aside, script).expect("the program is written");
        fs::set_permissions(&aside, Permissions::from_mode(0o700)).expect("its mode is set");
        fs::rename(&aside, &path).expect("the program is put in place");
        path
    }
}
