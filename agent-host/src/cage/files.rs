//! The step `landlock`: which files, TCP ports and processes are within reach.
//!
//! Landlock can only allow, and a folder is allowed with all that is in it. So the lists below name
//! what programs need and hold no one's secrets, and [`around`] takes a folder apart that holds one of
//! the supervisor's. A rule is bound to the file that is there now: one that is replaced later (by
//! renaming, as editors and network managers do) is out of reach until the agent's next start; where
//! that matters, the folder is allowed.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use kennel_shared::cage::{CageSpec, Network};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{report::Trouble, restricts};

/// The newest that this code was written for; an older kernel gives what it has.
const NEWEST: ABI = ABI::V9;

/// Programs and libraries. Not `/opt`: what is installed there by hand may well hold its own
/// configuration, or Kennel itself.
const SYSTEM: [&str; 9] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/run/current-system",
];

/// What the kernel tells about itself and about processes; programs size themselves by it.
const KERNEL: [&str; 3] = ["/proc", "/sys/devices/system", "/sys/fs/cgroup"];

/// What of `/etc` programs cannot do without. Folders are named where there is nothing but public
/// things in them: not `/etc/ssl`, where private keys are too.
const SETTINGS: [&str; 47] = [
    // Whom to trust.
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/ca-trust",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    // Names of hosts, users and services.
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/nsswitch.conf",
    "/etc/networks",
    "/etc/services",
    "/etc/protocols",
    "/etc/passwd",
    "/etc/group",
    // The loader.
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/ld-musl-x86_64.path",
    "/etc/ld-musl-aarch64.path",
    "/etc/alternatives",
    // Shells and what they start.
    "/etc/profile",
    "/etc/profile.d",
    "/etc/bash.bashrc",
    "/etc/inputrc",
    "/etc/shells",
    "/etc/terminfo",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/locale.conf",
    "/etc/locale.alias",
    "/etc/mime.types",
    "/etc/magic",
    "/etc/fonts",
    "/etc/gitconfig",
    "/etc/os-release",
    "/etc/lsb-release",
    "/etc/debian_version",
    "/etc/python3",
];

/// Folders in which `resolv.conf` is renewed by replacing it; allowed as a whole if it is in there.
const RESOLVERS: [&str; 2] = ["/run/systemd/resolve", "/run/resolvconf"];

/// Devices that are no hardware.
const DEVICES: [&str; 8] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
];

/// What belongs to the agent.
pub(super) struct Own<'a> {
    /// Its folder: store, lock, temporary files.
    pub(super) home: &'a Path,
    /// Where the link socket is; a supervisor that comes later makes it anew.
    pub(super) runtime: &'a Path,
}

/// What may be done to what is read.
fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// What may be done in the agent's own folders: everything but making device nodes.
fn everything() -> BitFlags<AccessFs> {
    AccessFs::from_all(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock)
}

/// The folders from which programs can be run, by their real names.
pub(super) fn programs(spec: &CageSpec, home: &Path) -> Vec<PathBuf> {
    let own = [home, spec.workspace.as_path()];
    let listed = spec.read.iter().chain(&spec.write).map(PathBuf::as_path);
    own.into_iter()
        .chain(SYSTEM.into_iter().map(Path::new))
        .chain(listed)
        .filter_map(|path| fs::canonicalize(path).ok())
        .collect()
}

pub(super) fn restrict(spec: &CageSpec, own: &Own<'_>) -> Result<String, Trouble> {
    for path in spec.write.iter().chain([&spec.workspace]) {
        if let Some(hidden) = held(path, &spec.hidden) {
            return Err(Trouble::Failed(format!(
                "{} may be written to and holds {}, which no agent may see",
                path.display(),
                hidden.display()
            )));
        }
    }
    let mut left_out = Vec::new();
    let mut rules = Rules::new(spec)?;
    rules.must(own.home, everything())?;
    rules.must(&spec.workspace, everything())?;
    for path in &spec.write {
        if !rules.may(path, everything())? {
            left_out.push(path.clone());
        }
    }
    for path in &spec.read {
        if !rules.around(path, &spec.hidden, reading() | AccessFs::Execute)? {
            left_out.push(path.clone());
        }
    }
    for path in SYSTEM {
        rules.around(Path::new(path), &spec.hidden, reading() | AccessFs::Execute)?;
    }
    for path in KERNEL
        .into_iter()
        .chain(SETTINGS)
        .map(PathBuf::from)
        .chain(found())
    {
        rules.may(&path, reading())?;
    }
    for path in DEVICES {
        let use_it = reading() | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
        rules.may(Path::new(path), use_it)?;
    }
    rules.may(own.runtime, AccessFs::ResolveUnix.into())?;
    let status = rules.0.restrict_self()?;
    let abi = match (status.ruleset, status.landlock) {
        (
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced,
            LandlockStatus::Available { effective_abi, .. },
        ) => effective_abi,
        (_, LandlockStatus::NotEnabled) => {
            return Err(Trouble::Failed("Landlock is not enabled at boot".into()));
        }
        _ => return Err(Trouble::Failed("this kernel has no Landlock".into())),
    };
    verdict(abi, &spec.network, &left_out)
}

/// What a kernel with this ABI holds, in words, and whether that is what was asked for.
fn verdict(abi: ABI, network: &Network, left_out: &[PathBuf]) -> Result<String, Trouble> {
    let mut missing = Vec::new();
    for (since, what) in [
        (ABI::V3, "truncating files"),
        (ABI::V5, "device controls"),
        (ABI::V6, "signals and abstract sockets"),
    ] {
        if abi < since {
            missing.push(what);
        }
    }
    let mut said = format!("ABI {abi}");
    if abi < ABI::V2 {
        said.push_str("; files cannot be moved between folders");
    }
    if !missing.is_empty() {
        let _ = write!(said, "; not held: {}", missing.join(", "));
    }
    if let Some(first) = left_out.first() {
        let _ = write!(said, "; not there: {}", first.display());
    }
    match network {
        Network::Ports(_) if abi < ABI::V4 => {
            return Err(Trouble::Short(format!(
                "{said}; TCP ports are held from ABI 4 (Linux 6.7) on"
            )));
        }
        Network::Ports(ports) => {
            let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
            let _ = write!(said, "; TCP to {} only", ports.join(", "));
        }
        Network::Open | Network::Closed => {}
    }
    if missing.is_empty() && left_out.is_empty() {
        Ok(said)
    } else {
        Err(Trouble::Partly(said))
    }
}

/// What is named by others: the resolver's real file, and the environment's certificates.
fn found() -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(real) = fs::canonicalize("/etc/resolv.conf") {
        let folder = RESOLVERS
            .iter()
            .map(Path::new)
            .find(|folder| real.starts_with(folder));
        found.push(folder.map_or_else(|| real.clone(), Path::to_owned));
    }
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(paths) = std::env::var_os(name) {
            found.extend(std::env::split_paths(&paths));
        }
    }
    found
}

/// The first hidden path that is this one or lies in it.
fn held<'a>(path: &Path, hidden: &'a [PathBuf]) -> Option<&'a PathBuf> {
    let real = real(path);
    hidden
        .iter()
        .find(|hidden| self::real(hidden).starts_with(&real))
}

fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A folder without what is hidden in it: itself where nothing is, else its entries, each in the same
/// way.
fn around(path: &Path, hidden: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let path = fs::canonicalize(path)?;
    if held(&path, hidden).is_none() {
        return Ok(vec![path]);
    }
    if hidden.iter().any(|hidden| real(hidden) == path) {
        return Ok(Vec::new());
    }
    let mut allowed = Vec::new();
    for entry in fs::read_dir(&path)? {
        let entry = entry?;
        // What a link points to is allowed where that lies, or not.
        if !entry.file_type()?.is_symlink() {
            allowed.extend(around(&entry.path(), hidden)?);
        }
    }
    Ok(allowed)
}

/// The rules as they are collected.
struct Rules(RulesetCreated);

impl Rules {
    fn new(spec: &CageSpec) -> Result<Self, RulesetError> {
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?;
        if restricts(&spec.network) {
            ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
        }
        if spec.network == Network::Closed {
            ruleset = ruleset.handle_access(AccessNet::BindTcp)?;
        }
        let mut rules = ruleset.create()?;
        if let Network::Ports(ports) = &spec.network {
            for port in ports {
                rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
            }
        }
        Ok(Self(rules))
    }

    /// Allows what must be there.
    fn must(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), Trouble> {
        if self.may(path, access)? {
            Ok(())
        } else {
            let path = path.display();
            Err(Trouble::Failed(format!("{path} is not there, or closed")))
        }
    }

    /// Allows what may be there; says whether it is.
    fn may(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<bool, Trouble> {
        let (Ok(opened), Ok(metadata)) = (PathFd::new(path), fs::metadata(path)) else {
            return Ok(false);
        };
        let access = if metadata.is_dir() {
            access
        } else {
            access & AccessFs::from_file(NEWEST)
        };
        (&mut self.0).add_rule(PathBeneath::new(opened, access))?;
        Ok(true)
    }

    /// Allows what may be there but for what is hidden in it; says whether it is there.
    fn around(
        &mut self,
        path: &Path,
        hidden: &[PathBuf],
        access: BitFlags<AccessFs>,
    ) -> Result<bool, Trouble> {
        let Ok(paths) = around(path, hidden) else {
            return Ok(false);
        };
        for path in &paths {
            self.may(path, access)?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
