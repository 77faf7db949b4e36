//! What can be wrong with an agent, and the ids that ask for it.

/// What an agent does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Ends with 0, at once.
    Exit0,
    /// Ends by SIGABRT, at once.
    Crash,
    /// Does not even read its bootstrap.
    UnreadStdin,
    /// Never connects.
    Silent,
    /// Connects and says nothing.
    Mute,
    /// Says hello in another version.
    Version,
    /// Says hello with a token of its own.
    Token,
    /// Says hello as the generation before.
    Generation,
    /// Says garbage in place of hello.
    HelloGarbage,
    /// Announces 4 GiB in place of hello.
    HelloLength,
    /// Says half a hello and closes.
    HelloHalf,
    /// Never says that it is ready.
    NoReady,
    /// Neither drains nor minds TERM.
    IgnoreTerm,
    /// Loses its connection after every piece of an answer, and resumes.
    Reconnect,
    /// Closes the cage as the real one does, and then runs what the test has left in its folder.
    Hostile,

    /// On request: ends with 0.
    Leave,
    /// On request: stops its loop.
    Hang,
    /// On request: its loop spins.
    Spin,
    /// On request: sends garbage.
    Garbage,
    /// On request: announces 4 GiB.
    Length,
    /// On request: sends half a frame and no more.
    HalfStall,
    /// On request: sends half a frame and closes.
    HalfClose,
    /// On request: leaves a number out.
    Gap,
    /// On request: acknowledges what was never sent.
    Ack,
    /// On request: stops reading, and goes on with its heartbeat.
    NoRead,
    /// On request: reconnects from a position where it never was.
    Resume,
    /// On request: sends text for turns that nobody asked for, as fast as it can.
    FloodLink,
    /// On request: sends heartbeats as fast as it can.
    FloodBeats,
    /// On request: prints as fast as it can.
    FloodLog,
    /// On request: opens descriptors until it gets no more.
    FdLeak,
    /// On request: leaves a grandchild in its process group.
    DoubleFork,
    /// On request: leaves a grandchild in a session of its own; see [`leave_orphan`](super::orphan::leave).
    Orphan,
    /// Leaves the same grandchild at once, before it connects, and is a good agent after that.
    OrphanEarly,
    /// On request: eight threads spin; the loop is sound.
    SpinAll,
    /// On request: begins a turn and never ends it, while eight threads spin.
    SpinTurn,
    /// On request: takes memory up to a bound, gives it back, and does so again.
    Memory,
    /// On request: takes memory and keeps it, each time more.
    Hoard,
    /// On request: forks until it is denied, and goes on trying.
    Fork,
    /// On request: floods link and log at once.
    Flood,
    /// On request: writes a file to its disk and deletes it.
    Disk,
    /// Answers every message with [`LONG_ANSWER_BYTES`](super::LONG_ANSWER_BYTES).
    LongAnswer,
}

const FAULTS: [(&str, Fault); 41] = [
    ("exit0", Fault::Exit0),
    ("crash", Fault::Crash),
    ("unread-stdin", Fault::UnreadStdin),
    ("silent", Fault::Silent),
    ("mute", Fault::Mute),
    ("version", Fault::Version),
    ("token", Fault::Token),
    ("generation", Fault::Generation),
    ("hello-garbage", Fault::HelloGarbage),
    ("hello-length", Fault::HelloLength),
    ("hello-half", Fault::HelloHalf),
    ("noready", Fault::NoReady),
    ("ignore-term", Fault::IgnoreTerm),
    ("reconnect", Fault::Reconnect),
    ("hostile", Fault::Hostile),
    ("leave", Fault::Leave),
    ("hang", Fault::Hang),
    ("spin", Fault::Spin),
    ("garbage", Fault::Garbage),
    ("length", Fault::Length),
    ("half-stall", Fault::HalfStall),
    ("half-close", Fault::HalfClose),
    ("gap", Fault::Gap),
    ("ack", Fault::Ack),
    ("noread", Fault::NoRead),
    ("resume", Fault::Resume),
    ("flood-link", Fault::FloodLink),
    ("flood-beats", Fault::FloodBeats),
    ("flood-log", Fault::FloodLog),
    ("fdleak", Fault::FdLeak),
    ("doublefork", Fault::DoubleFork),
    ("orphan", Fault::Orphan),
    ("orphan-early", Fault::OrphanEarly),
    ("spin-all", Fault::SpinAll),
    ("spin-turn", Fault::SpinTurn),
    ("memory", Fault::Memory),
    ("hoard", Fault::Hoard),
    ("fork", Fault::Fork),
    ("flood", Fault::Flood),
    ("disk", Fault::Disk),
    ("long-answer", Fault::LongAnswer),
];

impl Fault {
    /// The fault that an agent's id asks for; `None` for a good agent.
    pub(super) fn of(id: &str) -> Option<Self> {
        let name = id.strip_prefix("bad-")?;
        let name = match name.rsplit_once('-') {
            Some((kind, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => kind,
            _ => name,
        };
        let found = FAULTS.iter().find(|(known, _)| *known == name);
        Some(found.unwrap_or_else(|| panic!("no such fault: {name}")).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_a_fault_and_perhaps_a_number() {
        assert_eq!(Fault::of("good"), None);
        assert_eq!(Fault::of("bad-hang"), Some(Fault::Hang));
        assert_eq!(Fault::of("bad-hang-12"), Some(Fault::Hang));
        assert_eq!(Fault::of("bad-orphan-early"), Some(Fault::OrphanEarly));
        assert_eq!(Fault::of("bad-orphan-early-2"), Some(Fault::OrphanEarly));
        assert_eq!(Fault::of("bad-exit0"), Some(Fault::Exit0));
    }
}
