//! Who the process is: its user, and the privileges that it gives up.

use std::path::Path;

use kennel_shared::cage::UserIds;
use nix::{
    errno::Errno,
    unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid},
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use super::report::Trouble;
use crate::sys::raw;

/// Becomes this user and nobody else, for good.
pub(super) fn become_user(ids: UserIds) -> Result<String, String> {
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    if ids.uid == 0 || ids.gid == 0 {
        return Err("root is no user for an agent".into());
    }
    let become_them = || {
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        Ok::<_, Errno>((getresuid()?, getresgid()?, getgroups()?))
    };
    let (users, groups, others) =
        become_them().map_err(|errno| format!("uid {uid} and gid {gid} cannot be had: {errno}"))?;
    let all = [users.real, users.effective, users.saved];
    let all_groups = [groups.real, groups.effective, groups.saved];
    if all.iter().any(|is| *is != uid)
        || all_groups.iter().any(|is| *is != gid)
        || others.iter().any(|is| *is != gid)
    {
        return Err(format!("uid {uid} and gid {gid} were not taken in full"));
    }
    if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
        return Err("the way back to root is open".into());
    }
    Ok(format!("uid {uid}, gid {gid}, no other groups"))
}

/// Bars every privilege from ever being gained by starting a program. How many there were; an error
/// where the right to bar them is missing.
pub(super) fn drop_bounding() -> Result<u32, Errno> {
    let mut dropped = 0;
    for capability in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << capability))
        {
            Ok(()) => dropped += 1,
            // The first number that the kernel does not know.
            Err(rustix::io::Errno::INVAL) => break,
            Err(errno) => return Err(Errno::from_raw(errno.raw_os_error())),
        }
    }
    Ok(dropped)
}

/// Gives up every privilege that is held.
pub(super) fn drop_all(bounding: Result<u32, Errno>, workspace: &Path) -> Result<String, Trouble> {
    let before = capabilities(None)?;
    let reached = raw::is_writable(workspace);
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    let after = capabilities(None)?;
    if !(after.effective | after.permitted | after.inheritable).is_empty() {
        return Err(Trouble::Failed(format!("some are left: {after:?}")));
    }
    // Root without privileges is a user like others, and its workspace may be somebody's.
    if reached && !raw::is_writable(workspace) {
        return Err(Trouble::Partly(
            "none left; the workspace belongs to another user and cannot be written to: set `user`"
                .into(),
        ));
    }
    match bounding {
        Ok(barred) => Ok(format!("none left, {barred} barred")),
        Err(_) if before.permitted.is_empty() => Ok("there were none".into()),
        Err(errno) => Err(Trouble::Partly(format!(
            "none left; the bounding set stays, which no-new-privs makes useless: {errno}"
        ))),
    }
}
