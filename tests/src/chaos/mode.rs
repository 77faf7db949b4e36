//! How the messages of a chat wait, and what a person there may expect.

/// A queue mode of a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A turn answers all that waits, and says what of it was dropped.
    Collect,
    /// A turn for each.
    Followup,
    /// The last one counts: those before it are answered, or ended by it.
    Interrupt,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Collect, Self::Followup, Self::Interrupt];

    /// One for each of so many chats, no two alike as long as there are enough.
    pub(super) fn deal(seed: u64, chats: usize) -> Vec<Self> {
        let mut modes = Self::ALL;
        fastrand::Rng::with_seed(seed).shuffle(&mut modes);
        modes.into_iter().cycle().take(chats).collect()
    }

    /// As TOML. What is collected waits for some quiet, and there is less room than people may want.
    pub(super) fn queue(self) -> &'static str {
        match self {
            Self::Collect => "{ mode = 'collect', debounce = '40ms', cap = 4, drop = 'summarize' }",
            Self::Followup => "{ mode = 'followup', cap = 1000 }",
            Self::Interrupt => "{ mode = 'interrupt' }",
        }
    }

    /// Messages of one person that may wait for their answers.
    pub(super) fn ahead(self) -> usize {
        match self {
            // More than there is room for, and fewer than a line about what was dropped has words of.
            Self::Collect => 6,
            Self::Followup | Self::Interrupt => 3,
        }
    }

    /// Whether an answer to a message tells whoever waits that those before it are done with.
    pub(super) fn answers_what_was_before(self) -> bool {
        self == Self::Interrupt
    }
}
