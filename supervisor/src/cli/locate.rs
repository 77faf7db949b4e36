//! Which configuration, and which supervisor.
//!
//! The socket: `--socket`, else what the configuration says, else the default one. The configuration:
//! `--config`, else the first file that exists of the usual places. What the environment says is read
//! once, in [`Locator::from_env`]; the rest is a function of it.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::{
    exit::{Exit, Failure},
    output::Output,
};
use crate::config::{Config, Diagnostics, Directories, Edit, EditError, LimitChange, Loaded};

/// The name that is looked for.
pub(super) const FILE_NAME: &str = "kennel.toml";

/// Finds configuration and socket.
#[derive(Debug)]
pub(super) struct Locator {
    config: Option<PathBuf>,
    socket: Option<PathBuf>,
    places: Vec<PathBuf>,
    directories: Directories,
}

impl Locator {
    /// `config` and `socket` are the options, which have taken their variables in already.
    pub(super) fn from_env(config: Option<PathBuf>, socket: Option<PathBuf>) -> Self {
        let directories = Directories::from_env();
        let config_home = env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(directories.home.as_ref()?.join(".config")));
        Self {
            config,
            socket,
            places: places(config_home.as_deref()),
            directories,
        }
    }

    /// The configuration file, if there is one.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let usual = || self.places.iter().find(|path| path.exists()).cloned();
        self.config.clone().or_else(usual)
    }

    /// The configuration file, for a command that cannot do without.
    pub(super) fn config_file(&self) -> Result<PathBuf, Failure> {
        self.file().ok_or_else(|| {
            Failure::new("there is no configuration here")
                .exit(Exit::Usage)
                .hint("write one with `kennel init`, or name one with --config")
                .detail(format!("looked for: {}", self.looked()))
        })
    }

    /// The usual places of a configuration.
    pub(super) fn looked(&self) -> String {
        let places = self.places.iter().map(|place| place.display().to_string());
        places.collect::<Vec<_>>().join(", ")
    }

    /// Where things go when a configuration does not say.
    pub(super) fn directories(&self) -> &Directories {
        &self.directories
    }

    /// Reads a configuration and prints what is wrong with it, or what there is to say about it.
    pub(super) fn load(&self, file: &Path, out: &Output) -> Result<Loaded, Failure> {
        match Config::load(file, &self.directories) {
            Ok(loaded) => {
                out.diagnostics(&loaded.warnings);
                Ok(loaded)
            }
            Err(found) => {
                out.diagnostics(&found);
                Err(Failure::new(format!(
                    "{} is refused: {}",
                    file.display(),
                    found.summary()
                ))
                .exit(Exit::Usage))
            }
        }
    }

    /// Reads a configuration and leaves it to the caller to print what was found.
    pub(super) fn inspect(&self, file: &Path) -> Result<Loaded, Diagnostics> {
        Config::load(file, &self.directories)
    }

    /// Prepares to save an agent's caps in a configuration.
    pub(super) fn edit(
        &self,
        file: &Path,
        agent: &str,
        changes: &[LimitChange],
    ) -> Result<Edit, EditError> {
        Edit::limits(file, &self.directories, agent, changes)
    }

    /// The control socket.
    pub(super) fn socket(&self, out: &Output) -> Result<PathBuf, Failure> {
        self.find_socket().map_err(|(file, found)| {
            out.diagnostics(&found);
            Failure::new(format!(
                "{} does not say where the supervisor is: {}",
                file.display(),
                found.summary()
            ))
            .exit(Exit::Usage)
            .hint("mend the configuration, or name the control socket with --socket")
        })
    }

    /// The control socket, or the configuration that would say where it is and is refused. A supervisor that runs
    /// where a refused one says that it does is found all the same: who breaks the file needs it most.
    pub(super) fn find_socket(&self) -> Result<PathBuf, (PathBuf, Diagnostics)> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let Some(file) = self.file() else {
            return Ok(self.directories.runtime.join("control.sock"));
        };
        // What there is to say about the configuration is said by `check` and `up`.
        match self.inspect(&file) {
            Ok(loaded) => Ok(loaded.config.supervisor.control_socket()),
            Err(found) => Config::control_socket_of(&file, &self.directories)
                .filter(|socket| socket.exists())
                .ok_or((file, found)),
        }
    }

    /// Where the user's own state goes; `None` when that cannot be told.
    pub(super) fn state_dir(&self, out: &Output) -> Option<PathBuf> {
        let Some(file) = self.file() else {
            return Some(self.directories.state.clone());
        };
        if let Ok(loaded) = self.inspect(&file) {
            return Some(loaded.config.supervisor.state_dir);
        }
        out.note(format_args!("no history: {} is refused", file.display()));
        None
    }
}

fn places(config_home: Option<&Path>) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from(FILE_NAME)];
    places.extend(config_home.map(|home| home.join("kennel").join(FILE_NAME)));
    places.push(Path::new("/etc/kennel").join(FILE_NAME));
    places
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::output::Verbosity;

    struct Place {
        dir: tempfile::TempDir,
        locator: Locator,
    }

    fn place(config: Option<&str>, socket: Option<&str>) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let locator = Locator {
            config: config.map(at),
            socket: socket.map(PathBuf::from),
            places: vec![at("first.toml"), at("second.toml")],
            directories: Directories::below(dir.path()),
        };
        Place { dir, locator }
    }

    fn write(place: &Place, name: &str, runtime_dir: &str) {
        let text = format!(
            "[supervisor]\nruntime_dir = \"{runtime_dir}\"\n\n{}",
            crate::config::starter_file()
        );
        fs::write(place.dir.path().join(name), text).unwrap();
    }

    fn socket(place: &Place) -> Result<PathBuf, Failure> {
        place.locator.socket(&Output::new(Verbosity::Quiet))
    }

    #[test]
    fn the_option_wins_even_over_a_broken_file() {
        let place = place(Some("named.toml"), Some("/a/control.sock"));
        fs::write(place.dir.path().join("named.toml"), "][").unwrap();
        assert_eq!(socket(&place).unwrap(), Path::new("/a/control.sock"));
    }

    #[test]
    fn a_broken_file_still_says_where_a_supervisor_runs() {
        let place = place(Some("named.toml"), None);
        let run = place.dir.path().join("elsewhere");
        let socket_of = run.join("control.sock");
        let broken = format!(
            "[supervisor]\nruntime_dir = '{}'\n[agents.a]\nx = ][\n",
            run.display()
        );
        fs::write(place.dir.path().join("named.toml"), broken).unwrap();
        assert_eq!(
            socket(&place).unwrap_err().exit,
            Exit::Usage,
            "nobody runs there"
        );
        fs::create_dir(&run).unwrap();
        fs::write(&socket_of, "").unwrap();
        assert_eq!(socket(&place).unwrap(), socket_of);
    }

    #[test]
    fn a_named_file_wins_over_the_usual_places() {
        let place = place(Some("named.toml"), None);
        write(&place, "named.toml", "/named");
        write(&place, "first.toml", "/first");
        assert_eq!(socket(&place).unwrap(), Path::new("/named/control.sock"));
    }

    #[test]
    fn the_first_usual_place_that_exists_wins() {
        let place = place(None, None);
        assert_eq!(
            socket(&place).unwrap(),
            place.dir.path().join("run/control.sock")
        );
        write(&place, "second.toml", "/second");
        assert_eq!(socket(&place).unwrap(), Path::new("/second/control.sock"));
        write(&place, "first.toml", "/first");
        assert_eq!(socket(&place).unwrap(), Path::new("/first/control.sock"));
    }

    #[test]
    fn a_named_file_that_is_missing_is_an_error() {
        let place = place(Some("absent.toml"), None);
        write(&place, "first.toml", "/first");
        assert_eq!(socket(&place).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn the_usual_places_are_in_order() {
        let found = places(Some(Path::new("/home/x/.config")));
        let expected = [
            "kennel.toml",
            "/home/x/.config/kennel/kennel.toml",
            "/etc/kennel/kennel.toml",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
