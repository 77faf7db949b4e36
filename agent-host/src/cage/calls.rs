//! The step `seccomp`: which system calls the agent and all that it starts may make.
//!
//! A list of what is denied, since what is run inside is not known: shells, compilers, browsers. It
//! holds what changes the machine, what reaches into other processes, and large parts of the kernel
//! that no agent needs. Denied calls fail with EPERM, as for an unprivileged user, so that programs say what
//! is wrong and go on. One is said not to exist (ENOSYS), because libraries then take another way:
//! `clone3`, whose flags a filter cannot see.

use std::collections::BTreeMap;

use kennel_shared::cage::Network;
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use super::report::Trouble;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

/// Newer than the C library's list; the same on all architectures.
const OPEN_TREE_ATTR: i64 = 467;

/// Calls that are denied whatever their arguments.
const DENIED: &[i64] = &[
    // The file system's shape.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_fanotify_init,
    // Files by handle, past their folders.
    libc::SYS_open_by_handle_at,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Other namespaces.
    libc::SYS_unshare,
    libc::SYS_setns,
    // The kernel.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_syslog,
    // Its keyrings are shared by all processes of a user.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Opens, connects and sends without a system call that could be filtered.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Flags of `clone` that make a namespace.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Types of internet sockets are in the low bits of the argument.
const TYPE_MASK: u64 = 0xf;

/// Protocols that an agent with a list of ports may name: none, ICMP, TCP, UDP, ICMP of version 6. Not
/// among them: multipath TCP, whose connections Landlock does not hold.
const PROTOCOLS: [libc::c_int; 5] = [
    0,
    libc::IPPROTO_ICMP,
    libc::IPPROTO_TCP,
    libc::IPPROTO_UDP,
    libc::IPPROTO_ICMPV6,
];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Bars the calls from this thread and all that comes of it.
pub(super) fn restrict(network: &Network) -> Result<String, Trouble> {
    let denied = denied(network)?;
    let count = denied.len();
    apply_filter(&program(denied, libc::EPERM)?)?;
    apply_filter(&program(unknown(), libc::ENOSYS)?)?;
    #[cfg(target_arch = "x86_64")]
    apply_filter(&NO_X32)?;
    Ok(match network {
        Network::Open => format!("{count} system calls are denied, or some of what they do"),
        Network::Ports(_) => {
            format!("{count} system calls are denied; no transport but TCP and UDP")
        }
        Network::Closed => {
            format!("{count} system calls are denied, among them all network sockets")
        }
    })
}

/// Everything else is allowed.
fn program(rules: Rules, errno: libc::c_int) -> Result<BpfProgram, seccompiler::BackendError> {
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.cast_unsigned()),
        ARCHITECTURE,
    )?
    .try_into()
}

/// Calls that this kernel is said not to have: programs then use older ones.
fn unknown() -> Rules {
    BTreeMap::from([(libc::SYS_clone3, Vec::new())])
}

fn denied(network: &Network) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let namespaces: Result<_, _> = NAMESPACES
        .into_iter()
        .map(|flag| rule([has(0, bits(flag))?]))
        .collect();
    rules.insert(libc::SYS_clone, namespaces?);
    // To type into a terminal, and to move its selection there.
    let terminals: Result<_, _> = [libc::TIOCSTI, libc::TIOCLINUX]
        .into_iter()
        .map(|request| rule([is(1, request)?]))
        .collect();
    rules.insert(libc::SYS_ioctl, terminals?);
    rules.insert(libc::SYS_socket, sockets(network)?);
    rules.insert(
        libc::SYS_socketpair,
        vec![rule([is_not(0, libc::AF_UNIX)?])?],
    );
    if matches!(network, Network::Ports(_)) {
        // Data in the first packet makes a connection that Landlock is not asked about.
        let fast_open = bits(libc::MSG_FASTOPEN);
        for (call, flags) in [
            (libc::SYS_sendto, 3),
            (libc::SYS_sendmsg, 2),
            (libc::SYS_sendmmsg, 3),
        ] {
            rules.insert(call, vec![rule([has(flags, fast_open)?])?]);
        }
    }
    Ok(rules)
}

fn sockets(network: &Network) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let families: &[libc::c_int] = match network {
        Network::Closed => &[libc::AF_UNIX, libc::AF_NETLINK],
        _ => &[
            libc::AF_UNIX,
            libc::AF_NETLINK,
            libc::AF_INET,
            libc::AF_INET6,
        ],
    };
    // Of all that could be: Bluetooth, virtual machines' sockets, packets as they are on the wire, …
    let others: Result<_, _> = families.iter().map(|family| is_not(0, *family)).collect();
    let mut rules = vec![SeccompRule::new(others?)?];
    // The C library asks it for addresses; the others configure the kernel.
    rules.push(rule([
        is(0, libc::AF_NETLINK)?,
        is_not(2, libc::NETLINK_ROUTE)?,
    ])?);
    for family in [libc::AF_INET, libc::AF_INET6] {
        rules.push(rule([
            is(0, family)?,
            masked(1, TYPE_MASK, bits(libc::SOCK_RAW))?,
        ])?);
        if matches!(network, Network::Ports(_)) {
            let mut conditions = vec![is(0, family)?];
            for protocol in PROTOCOLS {
                conditions.push(is_not(2, protocol)?);
            }
            rules.push(SeccompRule::new(conditions)?);
        }
    }
    Ok(rules)
}

type Condition = Result<SeccompCondition, seccompiler::BackendError>;

fn rule<const N: usize>(
    conditions: [SeccompCondition; N],
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(conditions.into())
}

fn is(argument: u8, value: impl Bits) -> Condition {
    compare(argument, SeccompCmpOp::Eq, value.bits())
}

fn is_not(argument: u8, value: impl Bits) -> Condition {
    compare(argument, SeccompCmpOp::Ne, value.bits())
}

fn has(argument: u8, flag: u64) -> Condition {
    masked(argument, flag, flag)
}

fn masked(argument: u8, mask: u64, value: u64) -> Condition {
    compare(argument, SeccompCmpOp::MaskedEq(mask), value)
}

/// All arguments here are 32 bits wide to the kernel; it does not look at the other half.
fn compare(argument: u8, operator: SeccompCmpOp, value: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

/// A constant of the C library, whose types differ, as the kernel compares it.
trait Bits {
    fn bits(self) -> u64;
}

impl Bits for libc::c_int {
    fn bits(self) -> u64 {
        self.cast_unsigned().into()
    }
}

impl Bits for libc::c_ulong {
    fn bits(self) -> u64 {
        self
    }
}

fn bits(value: impl Bits) -> u64 {
    value.bits()
}

/// Calls by the numbers of the x32 interface, where a kernel has it: the same calls, past the lists
/// above. Three instructions that the crate has no words for.
#[cfg(target_arch = "x86_64")]
const NO_X32: [seccompiler::sock_filter; 4] = {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const X32: u32 = 0x4000_0000;
    const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> seccompiler::sock_filter {
        seccompiler::sock_filter { code, jt, jf, k }
    }
    [
        instruction(LOAD_NUMBER, 0, 0, 0),
        instruction(JUMP_IF_AT_LEAST, 0, 1, X32),
        instruction(
            RETURN,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned(),
        ),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_has_a_filter_that_the_kernel_takes() {
        for network in [Network::Open, Network::Ports(vec![443]), Network::Closed] {
            let program = program(denied(&network).unwrap(), libc::EPERM).unwrap();
            // The kernel's own limit.
            assert!(program.len() < 4096, "{network:?}: {}", program.len());
        }
    }

    #[test]
    fn no_call_is_named_twice() {
        let mut calls = DENIED.to_vec();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), DENIED.len());
    }
}
